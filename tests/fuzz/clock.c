/* tests/fuzz/clock.c - see clock.h. */
#include "tests/fuzz/clock.h"

#include <time.h>

#include "tests/fuzz/fuzz.h"

enum { TIMERS_MAX = 64, FIRINGS_MAX = 64 };
/* A guest may give its devices work without end, a turn of the loop at a time: of an input they
 * have so many turns, and then at least a few whenever it waits for them. */
enum { TURNS_MAX = 500, TURNS_LEAST = 8 };
static const uint64_t second = 1000000000;

static uint64_t now;
static unsigned turns;
static struct running {
    struct loop_timer *t; /* NULL: free */
    uint64_t due;
} running[TIMERS_MAX];

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, t);
    *t = (struct timespec){.tv_sec = (time_t)(now / second), .tv_nsec = (long)(now % second)};
    return 0;
}

void __wrap_loop_settle(struct loop *l);
void __wrap_loop_settle(struct loop *l)
{
    turns = loop_settle_for(l, MAX(turns, (unsigned)TURNS_LEAST));
}

static void stop(const struct loop_timer *t)
{
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        if (running[i].t == t)
            running[i].t = NULL;
    }
}

void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns)
{
    unsigned i = 0;
    stop(t);
    while (i < TIMERS_MAX && running[i].t)
        i++;
    EXPECT(i < TIMERS_MAX, "so many timers");
    if (ns)
        running[i] = (struct running){t, now + ns < now ? UINT64_MAX : now + ns};
}

void __real_loop_timer_close(struct loop_timer *t);
void __wrap_loop_timer_close(struct loop_timer *t);
void __wrap_loop_timer_close(struct loop_timer *t)
{
    stop(t);
    __real_loop_timer_close(t);
}

void clock_begin(void)
{
    now = 5 * second;
    turns = TURNS_MAX;
    for (unsigned i = 0; i < TIMERS_MAX; i++)
        EXPECT(!running[i].t, "a timer runs, and its owner is gone");
}

static struct running *first(uint64_t until)
{
    struct running *f = NULL;
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        if (running[i].t && running[i].due <= until && (!f || running[i].due < f->due))
            f = &running[i];
    }
    return f;
}

void clock_pass(struct loop *l, uint64_t ns)
{
    uint64_t end = now + ns;
    struct running *f;
    for (unsigned n = 0; n < FIRINGS_MAX && (f = first(end)) != NULL; n++) {
        struct loop_timer *t = f->t;
        now = f->due;
        f->t = NULL;
        t->fn(t->ctx);
        loop_settle(l);
    }
    now = end;
    loop_settle(l);
}
