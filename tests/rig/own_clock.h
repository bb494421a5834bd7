/* tests/rig/own_clock.h - a monotonic clock that stands until the test moves it on, and timers of
 * the loop that go by it. The linker sees to it (--wrap). */
#pragma once

#include <time.h>

#include "tests/rig/rig.h"

static const uint64_t NS = 1000000000, MS = 1000000;

static uint64_t clock_ns = 5000000000;
static struct own_timer {
    struct loop_timer *t;
    uint64_t due; /* 0: not set */
} own_timers[8];

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, t);
    *t = (struct timespec){.tv_sec = (time_t)(clock_ns / NS), .tv_nsec = (long)(clock_ns % NS)};
    return 0;
}

void __real_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns)
{
    struct own_timer *o = own_timers;
    while (o->t && o->t != t)
        o++;
    cr_assert_lt(o, own_timers + ARRAY_SIZE(own_timers));
    *o = (struct own_timer){t, ns ? clock_ns + ns : 0};
}

/* When the next timer fires, in ns from now; 0: never. */
static inline uint64_t next_timer(void)
{
    uint64_t first = 0;
    for (const struct own_timer *o = own_timers; o->t; o++) {
        if (o->due && (!first || o->due < first))
            first = o->due;
    }
    return first ? first - clock_ns : 0;
}

/* Each timer at its time. */
static inline void pass(struct rig *r, uint64_t ns)
{
    uint64_t end = clock_ns + ns;
    for (uint64_t next = next_timer(); next && clock_ns + next <= end; next = next_timer()) {
        clock_ns += next;
        for (struct own_timer *o = own_timers; o->t; o++) {
            if (o->due != clock_ns)
                continue;
            o->due = 0;
            __real_loop_timer_set(o->t, 1);
            (void)loop_step(r->loop, -1);
        }
        rig_settle(r);
    }
    clock_ns = end;
}
