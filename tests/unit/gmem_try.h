/* tests/unit/gmem_try.h - guest memory to try. */
#pragma once

#include <criterion/criterion.h>
#include <sys/mman.h>

#include "base/gmem.h"

enum { PAGE = 4096 };

/* As on a PC with a hole: low memory, nothing, and memory from 4 GiB on. */
static const struct gmem_region pc[] = {{.base = GPA(0), .len = 4 << 20},
                                        {.base = GPA(4ull << 30), .len = 2 << 20}};

static inline struct gmem *make(const struct gmem_region *r, unsigned n, struct gmem_options o)
{
    struct gmem *m = NULL;
    struct err e = {0};
    cr_assert_eq(gmem_new(r, n, &o, &m, &e), 0, "%s", e.msg);
    return m;
}
