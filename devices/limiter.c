/* devices/limiter.c - see limiter.h. */
#include "devices/limiter.h"

#include <assert.h>
#include <stdio.h>

enum { TURN_NS = 100 * 1000 }; /* in which who is told has asked, if it has anything to ask for */

static void expired(void *ctx);

int limiter_init(struct limiter *l, struct loop *loop, limiter_resume_fn *resume, void *ctx,
                 const char *name0, const char *name1)
{
    *l = (struct limiter){.loop = loop,
                          .resume = resume,
                          .ctx = ctx,
                          .names = {name0, name1},
                          .lock = PTHREAD_MUTEX_INITIALIZER};
    return loop_timer_open(loop, &l->timer, expired, l);
}

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

static void lock(struct limiter *l)
{
    (void)pthread_mutex_lock(&l->lock);
}

static void unlock(struct limiter *l)
{
    (void)pthread_mutex_unlock(&l->lock);
}

static uint64_t wait_of(struct limiter *l, unsigned way, uint64_t now)
{
    return MAX(wait_ns(&l->shared, now), wait_ns(&l->way[way].own, now));
}

/* These wait no more; returns them. */
static uint64_t end_wait(struct limiter_way *w, uint64_t queues, uint64_t now)
{
    if (w->waiting == queues && queues)
        w->waited_ns += now - w->since_ns;
    w->waiting &= ~queues;
    return queues;
}

/* Without the lock: who is told asks at once, perhaps. */
static void tell(struct limiter *l, const uint64_t queues[LIMITER_WAYS])
{
    for (unsigned way = 0; way < LIMITER_WAYS; way++) {
        for (uint64_t left = queues[way]; left; left &= left - 1)
            l->resume(l->ctx, way, (unsigned)__builtin_ctzll(left));
    }
}

/* One after the other: there may be enough for one only, and which loop is the fastest must not
 * decide who gets it. Who is told and does not ask is not waited for. */
static uint64_t next_turn(struct limiter *l, unsigned way, uint64_t now)
{
    struct limiter_way *w = &l->way[way];
    if (!w->waiting)
        return 0;
    uint64_t wait = wait_of(l, way, now), behind = w->waiting & ~((2ull << w->turn) - 1);
    w->due_ns = now + (wait ? wait : TURN_NS);
    if (wait)
        return 0;
    w->turn = (unsigned)__builtin_ctzll(behind ? behind : w->waiting);
    return end_wait(w, 1ull << w->turn, now);
}

static bool shares(const struct limiter *l)
{
    return l->shared.bytes.limit.size || l->shared.ops.limit.size;
}

/* The ways too, if they share buckets: one of them, and the other one next time. */
static void expired(void *ctx)
{
    struct limiter *l = ctx;
    uint64_t told[LIMITER_WAYS] = {0};
    lock(l);
    uint64_t now = loop_now_ns();
    unsigned first = l->first, other = !first;
    told[first] = next_turn(l, first, now);
    if (told[first])
        l->first = other;
    if (!told[first] || !shares(l))
        told[other] = next_turn(l, other, now);
    else
        l->way[other].due_ns = now + TURN_NS;
    arm(l, now);
    unlock(l);
    tell(l, told);
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

void limiter_set(struct limiter *l, const struct limits *to)
{
    uint64_t told[LIMITER_WAYS];
    bool limited = any(&to->shared) || any(&to->way[0]) || any(&to->way[1]);
    lock(l);
    uint64_t now = loop_now_ns();
    set(&l->shared, &to->shared, now);
    for (unsigned i = 0; i < LIMITER_WAYS; i++) {
        set(&l->way[i].own, &to->way[i], now);
        told[i] = end_wait(&l->way[i], l->way[i].waiting, now);
    }
    atomic_store(&l->limited, limited);
    unlock(l);
    tell(l, told);
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
    (void)pthread_mutex_destroy(&l->lock);
}

bool limiter_empty(struct limiter *l, unsigned way)
{
    if (!atomic_load(&l->limited))
        return false;
    lock(l);
    bool empty = wait_of(l, way, loop_now_ns()) > 0;
    unlock(l);
    return empty;
}

bool limiter_holds(struct limiter *l, unsigned way, unsigned queue)
{
    struct limiter_way *w = &l->way[way];
    assert(queue < LIMITER_QUEUES);
    if (!atomic_load(&l->limited))
        return false;
    lock(l);
    uint64_t now = loop_now_ns(), wait = wait_of(l, way, now), bit = 1ull << queue;
    if (wait > 0) {
        bool first = !w->waiting;
        w->waits += !(w->waiting & bit);
        w->waiting |= bit;
        if (first)
            w->since_ns = now;
        if (first || w->due_ns != now + wait) { /* for all of this way: it is when the way opens */
            w->due_ns = now + wait;
            arm(l, now);
        }
    }
    unlock(l);
    return wait > 0;
}

void limiter_take(struct limiter *l, unsigned way, uint64_t bytes)
{
    if (!atomic_load(&l->limited))
        return;
    lock(l);
    uint64_t now = loop_now_ns();
    take(&l->shared, bytes, now);
    take(&l->way[way].own, bytes, now);
    unlock(l);
}

void limiter_report(struct limiter *l, struct report *r)
{
    char name[32];
    for (unsigned i = 0; i < LIMITER_WAYS; i++) {
        lock(l);
        uint64_t waits = l->way[i].waits, waited = l->way[i].waited_ns;
        waited += l->way[i].waiting ? loop_now_ns() - l->way[i].since_ns : 0;
        unlock(l);
        (void)snprintf(name, sizeof(name), "%s_throttled", l->names[i]);
        report_number(r, name, waits);
        (void)snprintf(name, sizeof(name), "%s_throttled_ns", l->names[i]);
        report_number(r, name, waited);
    }
}
