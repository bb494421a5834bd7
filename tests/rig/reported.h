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

static inline uint64_t reported(struct rig *r, const char *name)
{
    struct wanted w = {.report = {.number = wanted_number, .text = wanted_text}, .name = name};
    vdev_report(r->dev, &w.report);
    cr_assert_eq(w.found, 1, "%s is said %u times", name, w.found);
    return w.value;
}
