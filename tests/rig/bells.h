/* tests/rig/bells.h - the machine's doorbells, for rig_options.doorbell: which are bound, and a way
 * to ring them as KVM does. */
#pragma once

#include "tests/rig/rig.h"

struct bells {
    struct doorbell on[64];
    unsigned n;
    bool refuse; /* as a kernel that has no room for more */
};

/* A doorbell that is bound twice, or unbound and was not bound so, fails the test. */
int bells_bind(void *ctx, const struct doorbell *b, bool on);
/* The one that a write of `value` to there would ring, or NULL. */
const struct doorbell *bells_find(const struct bells *b, bool port, uint64_t at, uint64_t value);
void bells_ring(const struct doorbell *b);
