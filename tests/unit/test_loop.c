/* tests/unit/test_loop.c - the event loop, the same for io_uring and for epoll: what is watched is
 * heard of, and what is posted runs once and in order. */
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "tests/unit/loop_try.h"

/* --- watches --- */

BOTH(the_back_end_is_the_one_that_was_wanted)
{
    cr_assert_eq(loop_backend(l), LOOP_AUTO, "none before the first turn");
    (void)loop_step(l, 0);
    cr_assert_eq(loop_backend(l), backend);
}

BOTH(readiness_is_a_level)
{
    int p[2];
    struct heard h = {0};
    make_pipe(p, "");
    watch(&h, p[0], POLLIN);
    steps(3);
    cr_assert_eq(h.ran, 0);
    cr_assert_eq(write(p[1], "x", 1), 1);
    for (unsigned i = 1; i <= 5; i++) {
        (void)loop_step(l, 1000);
        cr_assert_eq(h.ran, i, "again while it holds");
        cr_assert_eq(h.events, POLLIN);
    }
    h.drain = true;
    (void)loop_step(l, 1000);
    cr_assert_eq(h.ran, 6);
    h.drain = false;
    steps(5);
    cr_assert_leq(h.ran, 6, "no more once it does not");
    loop_unwatch(l, &h.w);
    close_pipe(p);
}

BOTH(a_step_waits_no_longer_than_it_is_told)
{
    struct timespec a, b;
    (void)loop_step(l, 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &a);
    cr_assert_eq(loop_step(l, 50), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &b);
    double ms = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
    cr_assert(ms > 45 && ms < 5000, "%f ms", ms);
}

BOTH(writable_and_hung_up)
{
    int p[2];
    struct heard out = {0}, in = {0};
    make_pipe(p, "");
    watch(&out, p[1], POLLOUT);
    watch(&in, p[0], POLLIN);
    (void)loop_step(l, 1000);
    cr_assert_eq(out.ran, 1);
    cr_assert_eq(out.events, POLLOUT);
    cr_assert_eq(in.ran, 0);
    loop_unwatch(l, &out.w);
    (void)loop_step(l, 0); /* the kernel lets go of the end that is closed now */
    close(p[1]);
    (void)loop_step(l, 1000);
    cr_assert_eq(in.ran, 1);
    cr_assert(in.events & POLLHUP);
    loop_unwatch(l, &in.w);
    close(p[0]);
}

BOTH(unwatched_inside_its_own_function)
{
    int p[2];
    struct heard h = {0};
    make_pipe(p, "x");
    watch(&h, p[0], POLLIN);
    h.unwatch = &h.w;
    (void)loop_step(l, 1000);
    steps(5);
    cr_assert_eq(h.ran, 1);
    cr_assert_null(h.w.slot);
    close_pipe(p);
}

BOTH(unwatched_by_another_that_is_ready_too)
{
    int p[2], q[2];
    struct heard a = {0}, b = {0};
    make_pipe(p, "x");
    make_pipe(q, "x");
    watch(&a, p[0], POLLIN);
    watch(&b, q[0], POLLIN);
    a.unwatch = &b.w;
    b.unwatch = &a.w;
    steps(10);
    cr_assert((a.ran == 0) != (b.ran == 0), "%u and %u", a.ran, b.ran);
    loop_unwatch(l, &a.w);
    loop_unwatch(l, &b.w);
    close_pipe(p);
    close_pipe(q);
}

BOTH(watched_anew_inside_its_own_function)
{
    int p[2];
    struct heard h = {0};
    make_pipe(p, "x");
    watch(&h, p[0], POLLIN);
    h.unwatch = &h.w;
    h.rewatch = true;
    for (unsigned i = 0; i < 5; i++)
        (void)loop_step(l, 1000);
    cr_assert_geq(h.ran, 4);
    cr_assert_leq(h.ran, 5);
    loop_unwatch(l, &h.w);
    unsigned ran = h.ran;
    steps(5);
    cr_assert_eq(h.ran, ran);
    close_pipe(p);
}

BOTH(watched_twice_is_refused)
{
    int p[2];
    struct heard h = {0};
    make_pipe(p, "x");
    watch(&h, p[0], POLLIN);
    cr_assert_eq(loop_watch(l, &h.w), -EBUSY);
    (void)loop_step(l, 1000);
    cr_assert_eq(loop_watch(l, &h.w), -EBUSY);
    cr_assert_eq(h.ran, 1);
    loop_unwatch(l, &h.w);
    loop_unwatch(l, &h.w); /* twice is fine */
    cr_assert_eq(loop_watch(l, &h.w), 0);
    (void)loop_step(l, 1000);
    cr_assert_eq(h.ran, 2);
    loop_unwatch(l, &h.w);
    close_pipe(p);
}

BOTH(unwatched_before_the_first_turn)
{
    int p[2];
    struct heard h = {0};
    make_pipe(p, "x");
    watch(&h, p[0], POLLIN);
    loop_unwatch(l, &h.w);
    steps(3);
    cr_assert_eq(h.ran, 0);
    close_pipe(p);
}

BOTH(a_number_that_is_used_again)
{
    int p[2], q[2];
    struct heard old = {0}, new = {0};
    make_pipe(p, "");
    watch(&old, p[0], POLLIN);
    (void)loop_step(l, 0);
    loop_unwatch(l, &old.w);
    close_pipe(p);
    make_pipe(q, "x");
    cr_assert_eq(q[0], p[0], "the test needs the same number");
    watch(&new, q[0], POLLIN);
    (void)loop_step(l, 1000);
    (void)loop_step(l, 1000);
    cr_assert_geq(new.ran, 1);
    cr_assert_eq(old.ran, 0);
    loop_unwatch(l, &new.w);
    close_pipe(q);
}

BOTH(a_regular_file_is_always_ready)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), p[2];
    struct heard h = {0}, other = {0};
    make_pipe(p, "x");
    watch(&h, fd, POLLIN);
    watch(&other, p[0], POLLIN);
    for (unsigned i = 1; i <= 5; i++)
        (void)loop_step(l, -1);
    cr_assert_geq(h.ran, 4);
    cr_assert(h.events & POLLIN);
    cr_assert_geq(other.ran, 2, "and it does not starve the rest");
    h.unwatch = &h.w;
    (void)loop_step(l, -1);
    (void)loop_step(l, -1);
    unsigned ran = h.ran;
    steps(5);
    cr_assert_eq(h.ran, ran);
    loop_unwatch(l, &other.w);
    close(fd);
    close_pipe(p);
}

BOTH(a_counter_is_heard_of_once_for_each_signal)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    struct heard h = {0};
    watch(&h, fd, POLLIN);
    loop_unwatch(l, &h.w);
    h.w.counter = true;
    cr_assert_eq(loop_watch(l, &h.w), 0);
    steps(3);
    cr_assert_eq(h.ran, 0);
    for (unsigned i = 1; i <= 3; i++) {
        const uint64_t five = 5;
        cr_assert_eq(write(fd, &five, 8), 8);
        cr_assert_eq(write(fd, &five, 8), 8);
        (void)loop_step(l, 1000);
        steps(3);
        cr_assert_eq(h.ran, i, "both at once, and not again");
        cr_assert(h.events & POLLIN);
    }
    loop_unwatch(l, &h.w);
    cr_assert_eq(write(fd, &(const uint64_t){1}, 8), 8);
    steps(3);
    cr_assert_eq(h.ran, 3);
    cr_assert_eq(loop_watch(l, &h.w), 0);
    steps(3);
    cr_assert_eq(h.ran, 4, "what came in between is not lost");
    loop_unwatch(l, &h.w);
    steps(3);
    cr_assert_eq(h.ran, 4);
    close(fd);
}

BOTH(more_watches_than_a_ring_has_entries)
{
    enum { N = 400 };
    static struct heard h[N];
    static int p[N][2];
    struct rlimit files = {.rlim_cur = 2048, .rlim_max = 2048}, old;
    (void)getrlimit(RLIMIT_NOFILE, &old);
    files.rlim_max = old.rlim_max;
    files.rlim_cur = MIN(files.rlim_cur, old.rlim_max);
    if (setrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur < 2 * N + 64)
        cr_skip("not enough descriptors here");
    for (unsigned i = 0; i < N; i++) {
        make_pipe(p[i], "x");
        watch(&h[i], p[i][0], POLLIN);
        h[i].drain = true;
    }
    for (unsigned i = 0; i < 50; i++)
        (void)loop_step(l, 10);
    for (unsigned i = 0; i < N; i++) {
        cr_assert_eq(h[i].ran, 1, "%u", i);
        loop_unwatch(l, &h[i].w);
        close_pipe(p[i]);
    }
    steps(5);
}

BOTH(a_watch_may_outlive_the_loop)
{
    int p[2];
    struct heard h = {0};
    make_pipe(p, "");
    watch(&h, p[0], POLLIN);
    (void)loop_step(l, 0);
    loop_free(TAKE_PTR(l));
    close_pipe(p);
}

/* --- tasks --- */

enum { TASKS = 16 };
static struct job {
    struct loop_task t;
    unsigned number, ran;
    bool again;
} jobs[TASKS];
static unsigned order[TASKS * 4], n_order;

static void job_run(void *ctx)
{
    struct job *j = ctx;
    j->ran++;
    if (n_order < ARRAY_SIZE(order))
        order[n_order++] = j->number;
    if (j->again)
        loop_post(l, &j->t);
}

static void jobs_up(void)
{
    n_order = 0;
    for (unsigned i = 0; i < TASKS; i++) {
        jobs[i] = (struct job){.number = i};
        jobs[i].t = (struct loop_task){.fn = job_run, .ctx = &jobs[i]};
    }
}

BOTH(tasks_run_in_order_and_once)
{
    jobs_up();
    for (unsigned i = 0; i < TASKS; i++) {
        loop_post(l, &jobs[i].t);
        loop_post(l, &jobs[i].t);
        loop_post(l, &jobs[0].t);
    }
    cr_assert_eq(n_order, 0, "not in place");
    cr_assert_eq(loop_step(l, -1), TASKS);
    cr_assert_eq(n_order, TASKS);
    for (unsigned i = 0; i < TASKS; i++)
        cr_assert_eq(order[i], i);
    steps(3);
    cr_assert_eq(n_order, TASKS);
    loop_post(l, &jobs[3].t);
    (void)loop_step(l, -1);
    cr_assert_eq(jobs[3].ran, 2, "and may be posted again afterwards");
}

BOTH(a_cancelled_task_does_not_run)
{
    jobs_up();
    const unsigned gone[] = {0, 7, TASKS - 1};
    for (unsigned i = 0; i < TASKS; i++)
        loop_post(l, &jobs[i].t);
    for (unsigned i = 0; i < ARRAY_SIZE(gone); i++) {
        loop_task_cancel(l, &jobs[gone[i]].t);
        loop_task_cancel(l, &jobs[gone[i]].t); /* twice is fine */
    }
    loop_post(l, &jobs[0].t); /* at the end now */
    loop_settle(l);
    cr_assert_eq(n_order, TASKS - 2);
    cr_assert_eq(order[0], 1);
    cr_assert_eq(order[n_order - 2], TASKS - 2);
    cr_assert_eq(order[n_order - 1], 0);
    cr_assert_eq(jobs[7].ran, 0);
    for (unsigned i = 0; i < 3; i++) /* the only one, and the queue is usable after */
        loop_post(l, &jobs[5].t), loop_task_cancel(l, &jobs[5].t);
    loop_post(l, &jobs[6].t);
    loop_settle(l);
    cr_assert_eq(jobs[5].ran, 1);
    cr_assert_eq(jobs[6].ran, 2);
}

static void cancel_next(void *ctx)
{
    loop_task_cancel(l, ctx);
}

BOTH(a_task_cancels_one_that_is_due)
{
    jobs_up();
    struct loop_task canceller = {.fn = cancel_next, .ctx = &jobs[1].t};
    loop_post(l, &jobs[0].t);
    loop_post(l, &canceller);
    loop_post(l, &jobs[1].t);
    loop_post(l, &jobs[2].t);
    loop_settle(l);
    cr_assert_eq(jobs[0].ran, 1);
    cr_assert_eq(jobs[1].ran, 0);
    cr_assert_eq(jobs[2].ran, 1);
}

struct deferring {
    struct loop_task posted, deferred;
    unsigned n_posted, n_deferred, seen; /* n_posted, when it was deferred's turn */
};

static void defers(void *ctx)
{
    struct deferring *d = ctx;
    d->n_posted++;
    loop_defer(l, &d->deferred);
    loop_defer(l, &d->deferred); /* a no-op */
}

static void deferred(void *ctx)
{
    struct deferring *d = ctx;
    d->seen = d->n_posted;
    d->n_deferred++;
}

BOTH(what_is_deferred_runs_when_the_turn_ends)
{
    struct deferring d[2];
    for (unsigned i = 0; i < 2; i++) {
        d[i] = (struct deferring){.posted = {.fn = defers, .ctx = &d[i]},
                                  .deferred = {.fn = deferred, .ctx = &d[i]}};
        loop_post(l, &d[i].posted);
    }
    (void)loop_step(l, -1);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(d[i].n_deferred, 1, "in the turn that deferred it");
        cr_assert_eq(d[i].seen, 1);
    }
    loop_defer(l, &d[0].deferred); /* outside of any turn: it does not wait for another reason */
    cr_assert_eq(loop_step(l, -1), 1);
    cr_assert_eq(d[0].n_deferred, 2);
    loop_defer(l, &d[1].deferred);
    loop_settle(l);
    cr_assert_eq(d[1].n_deferred, 2);
}

static struct loop_task chain[4];
static unsigned chained[8], n_chained;

static void chain_run(void *ctx)
{
    const struct loop_task *t = ctx;
    chained[n_chained++] = (unsigned)(t - chain);
    if (t == &chain[1]) {
        loop_defer(l, &chain[3]);
        loop_defer(l, &chain[0]); /* which has run already */
        loop_defer(l, &chain[2]); /* which has not */
    }
}

BOTH(what_is_deferred_runs_in_order)
{
    static const unsigned want[] = {0, 1, 2, 3, 0, 2, 0};
    n_chained = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(chain); i++)
        chain[i] = (struct loop_task){.fn = chain_run, .ctx = &chain[i]};
    for (unsigned i = 0; i < 3; i++)
        loop_defer(l, &chain[i]);
    (void)loop_step(l, -1);
    cr_assert_eq(n_chained, 5, "all in one turn");
    loop_defer(l, &chain[2]); /* the last one cancelled: the next goes behind what is left */
    loop_defer(l, &chain[3]);
    loop_defer_cancel(l, &chain[3]);
    loop_defer(l, &chain[0]);
    (void)loop_step(l, -1);
    cr_assert_eq(n_chained, ARRAY_SIZE(want));
    cr_assert_eq(memcmp(chained, want, sizeof(want)), 0);
}

BOTH(what_is_deferred_and_cancelled_does_not_run)
{
    struct deferring d[3];
    for (unsigned i = 0; i < 3; i++)
        d[i] = (struct deferring){.deferred = {.fn = deferred, .ctx = &d[i]}};
    for (unsigned gone = 0; gone < 3; gone++) { /* the last, one between, the first */
        for (unsigned i = 0; i < 3; i++)
            loop_defer(l, &d[i].deferred);
        loop_defer_cancel(l, &d[gone].deferred);
        loop_defer_cancel(l, &d[gone].deferred); /* twice is fine */
        (void)loop_step(l, 0);
        for (unsigned i = 0; i < 3; i++)
            cr_assert_eq(d[i].n_deferred, i == gone ? 0 : 1);
        for (unsigned i = 0; i < 3; i++)
            d[i].n_deferred = 0;
    }
}

BOTH(a_task_that_posts_itself_starves_nobody)
{
    int p[2];
    struct heard h = {0};
    jobs_up();
    make_pipe(p, "x");
    watch(&h, p[0], POLLIN);
    jobs[0].again = jobs[1].again = true;
    loop_post(l, &jobs[0].t);
    loop_post(l, &jobs[1].t);
    for (unsigned i = 0; i < 10; i++)
        (void)loop_step(l, -1);
    cr_assert_eq(jobs[0].ran, 10, "once a turn");
    cr_assert_eq(jobs[1].ran, 10);
    cr_assert_geq(h.ran, 9);
    jobs[0].again = jobs[1].again = false;
    loop_unwatch(l, &h.w);
    loop_settle(l);
    close_pipe(p);
}
