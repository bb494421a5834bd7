/* tests/rig/reported.h - one number of what a device says about itself. */
#pragma once

#include "tests/rig/rig.h"

struct wanted {
    struct report report;
    const char *name;
    uint64_t value;
    unsigned found;
};

static inline void wanted_number(struct report *r, const char *name, uint64_t value)
{
    struct wanted *w = (struct wanted *)(void *)r;
    if (strcmp(name, w->name) == 0) {
        w->value = value;
        w->found++;
    }
}

static inline void wanted_text(struct report *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
}

static inline struct wanted wanted(struct rig *r, const char *name)
{
    struct wanted w = {.report = {.number = wanted_number, .text = wanted_text},
                       .name = name,
                       .value = UINT64_MAX};
    vdev_report(r->dev, &w.report);
    cr_assert_leq(w.found, 1, "%s is said %u times", name, w.found);
    return w;
}

/* UINT64_MAX: it says nothing by that name. */
static inline uint64_t told(struct rig *r, const char *name)
{
    return wanted(r, name).value;
}

/* What it must say. */
static inline uint64_t reported(struct rig *r, const char *name)
{
    struct wanted w = wanted(r, name);
    cr_assert_eq(w.found, 1, "%s is not said", name);
    return w.value;
}
