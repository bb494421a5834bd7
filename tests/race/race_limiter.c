/* tests/race/race_limiter.c - one limiter and queues on two loops, whose limits are changed and
 * reported all the time: nobody who waits is forgotten, and no more passes than may. */
#include <stdio.h>

#include "devices/limiter.h"

enum { QUEUES = 6, LOOPS = 2, OPERATIONS = 1000, RATE = 20 }; /* of each queue; in a millisecond */

static struct limiter limiter;
static struct loop *loops[LOOPS];
static struct queue {
    struct loop_task ask;
    unsigned number, left;
} queues[QUEUES];
static atomic_uint busy = QUEUES, changes;
static uint64_t reported;

static unsigned way_of(const struct queue *q)
{
    return q->number / LOOPS % LIMITER_WAYS;
}

static void ask(void *ctx)
{
    struct queue *q = ctx;
    if (q->left == 0) /* told once more */
        return;
    for (; q->left > 0; q->left--) {
        if (limiter_holds(&limiter, way_of(q), q->number))
            return;
        limiter_take(&limiter, way_of(q), 1);
    }
    atomic_fetch_sub(&busy, 1);
}

static void resume(void *ctx, unsigned way, unsigned queue)
{
    (void)ctx, (void)way;
    loop_post(loops[queue % LOOPS], &queues[queue].ask);
}

/* The rate of both ways stays; that of one comes and goes. */
static void change(void *ctx)
{
    unsigned n = atomic_fetch_add(&changes, 1);
    struct limits to = {.shared.ops = {.size = RATE, .refill_ms = 1}};
    (void)ctx;
    if (n % 3)
        to.way[n % 2].bytes = (struct bucket_limit){.size = n % 3 * RATE / 2, .refill_ms = 2};
    limiter_set(&limiter, &to);
}

static void count(struct report *r, const char *name, uint64_t value)
{
    (void)r;
    if (strstr(name, "_ns"))
        reported += value;
}

static void tell(void *ctx)
{
    struct report r = {.number = count};
    (void)ctx;
    reported = 0;
    limiter_report(&limiter, &r);
}

static bool race(enum loop_backend backend)
{
    for (unsigned i = 0; i < LOOPS; i++) {
        if (loop_new("loop", backend, &loops[i]) < 0)
            return false;
    }
    if (limiter_init(&limiter, loops[0], resume, NULL, "one", "other") < 0)
        return false;
    uint64_t start = loop_now_ns();
    change(NULL);
    for (unsigned i = 0; i < LOOPS; i++) {
        if (loop_start(loops[i]) < 0)
            return false;
    }
    atomic_store(&busy, QUEUES);
    for (unsigned i = 0; i < QUEUES; i++) {
        struct queue *q = &queues[i];
        *q = (struct queue){.ask = {.fn = ask, .ctx = q}, .number = i, .left = OPERATIONS};
        loop_post(loops[i % LOOPS], &q->ask);
    }
    while (atomic_load(&busy) > 0) {
        loop_call(loops[0], change, NULL);
        loop_call(loops[0], tell, NULL);
    }
    /* Each loop may be past the question when the last token goes. */
    uint64_t most = RATE + LOOPS + (loop_now_ns() - start) * RATE / 1000000;
    limiter_close(&limiter);
    for (unsigned i = 0; i < LOOPS; i++)
        loop_free(loops[i]);
    return most >= QUEUES * OPERATIONS && reported > 0;
}

int main(void)
{
    (void)alarm(120); /* what hangs is wrong, too */
    bool ok = race(LOOP_AUTO) && race(LOOP_EPOLL);
    printf("race_limiter: %u queues on %u loops, %u changes of the limits: %s\n", QUEUES, LOOPS,
           atomic_load(&changes), ok ? "all of them are done" : "FAILED");
    return ok ? 0 : 1;
}
