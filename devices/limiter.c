/* devices/limiter.c - see limiter.h. */
#include "devices/limiter.h"

#include <assert.h>
#include <stdio.h>

static uint64_t wait_ns(struct limiter_pair *p, uint64_t now)
{
    return MAX(bucket_wait_ns(&p->bytes, now), bucket_wait_ns(&p->ops, now));
}

static void take(struct limiter_pair *p, uint64_t bytes, uint64_t now)
{
    bucket_take(&p->bytes, bytes, now);
    bucket_take(&p->ops, 1, now);
}

static void arm(struct limiter *l, uint64_t now)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < LIMITER_WAYS; i++) {
        if (l->way[i].waiting)
            first = MIN(first, l->way[i].due_ns);
    }
    if (first != UINT64_MAX)
        loop_timer_set(&l->timer, first > now ? first - now : 1);
}

/* All of them, each time another one first: there may be enough for one only. */
static void wake(struct limiter *l, unsigned way, uint64_t now)
{
    struct limiter_way *w = &l->way[way];
    uint64_t waiting = w->waiting, behind = waiting & ~((2ull << w->first) - 1);
    if (!waiting)
        return;
    w->waiting = 0;
    w->waited_ns += now - w->since_ns;
    w->first = (unsigned)__builtin_ctzll(behind ? behind : waiting);
    for (unsigned i = 0; i < LIMITER_QUEUES; i++) {
        unsigned queue = (w->first + i) % LIMITER_QUEUES;
        if (waiting >> queue & 1)
            l->resume(l->ctx, way, queue);
    }
}

static void expired(void *ctx)
{
    struct limiter *l = ctx;
    uint64_t now = loop_now_ns();
    for (unsigned i = 0; i < LIMITER_WAYS; i++) {
        if (l->way[i].due_ns <= now)
            wake(l, i, now);
    }
    arm(l, now);
}

static bool any(const struct limits_pair *p)
{
    return p->bytes.size || p->ops.size;
}

static void set(struct limiter_pair *p, const struct limits_pair *to, uint64_t now)
{
    bucket_set(&p->bytes, &to->bytes, now);
    bucket_set(&p->ops, &to->ops, now);
}

int limiter_set(struct limiter *l, const struct limits *to)
{
    uint64_t now = loop_now_ns();
    bool limited = any(&to->shared) || any(&to->way[0]) || any(&to->way[1]);
    int rc = limited && !l->timer.loop ? loop_timer_open(l->loop, &l->timer, expired, l) : 0;
    if (rc < 0)
        return rc;
    l->limited = limited;
    set(&l->shared, &to->shared, now);
    for (unsigned i = 0; i < LIMITER_WAYS; i++)
        set(&l->way[i].own, &to->way[i], now);
    for (unsigned i = 0; i < LIMITER_WAYS; i++)
        wake(l, i, now);
    return 0;
}

static void close_on_loop(void *ctx)
{
    struct limiter *l = ctx;
    loop_timer_close(&l->timer);
}

void limiter_close(struct limiter *l)
{
    if (l->loop)
        loop_call(l->loop, close_on_loop, l);
}

static uint64_t wait_of(struct limiter *l, unsigned way, uint64_t now)
{
    return MAX(wait_ns(&l->shared, now), wait_ns(&l->way[way].own, now));
}

bool limiter_empty(struct limiter *l, unsigned way)
{
    return l->limited && wait_of(l, way, loop_now_ns()) > 0;
}

bool limiter_holds(struct limiter *l, unsigned way, unsigned queue)
{
    struct limiter_way *w = &l->way[way];
    assert(queue < LIMITER_QUEUES);
    if (!l->limited)
        return false;
    uint64_t now = loop_now_ns(), wait = wait_of(l, way, now);
    if (wait == 0)
        return false;
    w->waits += !(w->waiting >> queue & 1);
    if (!w->waiting) { /* for all: nobody is told sooner than the one before */
        w->since_ns = now;
        w->due_ns = now + wait;
        w->waiting = 1ull << queue;
        arm(l, now);
    }
    w->waiting |= 1ull << queue;
    return true;
}

void limiter_take(struct limiter *l, unsigned way, uint64_t bytes)
{
    if (!l->limited)
        return;
    uint64_t now = loop_now_ns();
    take(&l->shared, bytes, now);
    take(&l->way[way].own, bytes, now);
}

void limiter_report(const struct limiter *l, struct report *r)
{
    char name[32];
    for (unsigned i = 0; i < LIMITER_WAYS; i++) {
        const struct limiter_way *w = &l->way[i];
        uint64_t now = w->waiting ? loop_now_ns() - w->since_ns : 0;
        (void)snprintf(name, sizeof(name), "%s_throttled", l->names[i]);
        report_number(r, name, w->waits);
        (void)snprintf(name, sizeof(name), "%s_throttled_ns", l->names[i]);
        report_number(r, name, w->waited_ns + now);
    }
}
