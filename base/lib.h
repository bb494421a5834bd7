/* base/lib.h - shared libraries that only some runs need, loaded when one of them does: what is
 * linked is mapped, relocated and initialised by every start, with all that it needs in turn. */
#pragma once

#include "base/base.h"

struct lib_function {
    const char *name;
    void *at; /* the address of a pointer to a function of this name */
};

/* Loads the library for as long as the process lives, and fills in n pointers; once more is fine.
 * Before other threads use them. */
int CHECKED lib_load(const char *soname, const struct lib_function *f, size_t n, struct err *e);
