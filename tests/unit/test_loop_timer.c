/* tests/unit/test_loop_timer.c - timers of the loop, the same for io_uring and for epoll. */
#include <criterion/criterion.h>
#include <time.h>

#include "base/loop.h"

enum { MS = 1000 * 1000 };

struct heard {
    unsigned n;
    int64_t at;
    struct loop_timer *stop; /* another one, from within */
};

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void fired(void *ctx)
{
    struct heard *h = ctx;
    h->n++;
    h->at = now();
    if (h->stop)
        loop_timer_set(h->stop, 0);
}

static void once(enum loop_backend be)
{
    struct loop *l;
    struct loop_timer t = {0};
    struct heard h = {0};
    loop_timer_close(&t); /* what was never open */
    cr_assert_eq(loop_new("test", be, &l), 0);
    cr_assert_eq(loop_timer_open(l, &t, fired, &h), 0);
    cr_expect_eq(loop_step(l, 20), 0, "not set");
    int64_t start = now();
    loop_timer_set(&t, 30 * MS);
    while (h.n == 0 && now() < start + 5000ll * MS)
        (void)loop_step(l, 1000);
    cr_expect_eq(h.n, 1);
    cr_expect_geq(h.at, start + 30 * MS);
    cr_expect_eq(loop_step(l, 50), 0, "once");
    loop_timer_set(&t, 20 * MS);
    loop_timer_set(&t, 0);
    (void)loop_step(l, 50);
    cr_expect_eq(h.n, 1, "stopped");
    loop_timer_set(&t, 1);
    (void)loop_step(l, 1000);
    cr_expect_eq(h.n, 2, "again");
    loop_timer_set(&t, 1);
    loop_timer_close(&t);
    (void)loop_step(l, 20);
    cr_expect_eq(h.n, 2, "closed");
    loop_timer_close(&t);
    loop_free(l);
}

/* Two that are ready in one turn, and the first to run stops the other. */
static void stopped_in_the_same_turn(enum loop_backend be)
{
    struct loop *l;
    struct loop_timer a, b;
    struct heard ha = {.stop = &b}, hb = {.stop = &a};
    cr_assert_eq(loop_new("test", be, &l), 0);
    cr_assert_eq(loop_timer_open(l, &a, fired, &ha), 0);
    cr_assert_eq(loop_timer_open(l, &b, fired, &hb), 0);
    loop_timer_set(&a, 1);
    loop_timer_set(&b, 1);
    (void)nanosleep(&(struct timespec){.tv_nsec = 5 * MS}, NULL);
    for (unsigned i = 0; i < 5; i++)
        (void)loop_step(l, 10);
    cr_expect_eq(ha.n + hb.n, 1);
    loop_timer_close(&a);
    loop_timer_close(&b);
    loop_free(l);
}

Test(loop_timer, once_uring)
{
    once(LOOP_AUTO);
}

Test(loop_timer, once_epoll)
{
    once(LOOP_EPOLL);
}

Test(loop_timer, stopped_in_the_same_turn_uring)
{
    stopped_in_the_same_turn(LOOP_AUTO);
}

Test(loop_timer, stopped_in_the_same_turn_epoll)
{
    stopped_in_the_same_turn(LOOP_EPOLL);
}
