/* base/report.h - how a part of the machine says what it is and what it has counted, to whoever
 * wants to know, in whatever form. */
#pragma once

#include "base/base.h"

/* The listener's. Names are snake_case and last for the call. */
struct report {
    void (*number)(struct report *r, const char *name, uint64_t value);
    void (*text)(struct report *r, const char *name, const char *value);
};

static inline void report_number(struct report *r, const char *name, uint64_t value)
{
    r->number(r, name, value);
}

static inline void report_text(struct report *r, const char *name, const char *value)
{
    r->text(r, name, value);
}
