/* tests/unit/test_loop.c - the event loop, the same for io_uring and for epoll: what is watched is
 * heard of, what is posted runs once and in order, and every file operation ends. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "base/loop.h"

static struct loop *l;
static enum loop_backend backend;

static void up(enum loop_backend be)
{
    struct loop *probe;
    backend = be;
    cr_assert_eq(loop_new("probe", be, &probe), 0);
    int rc = loop_start(probe);
    loop_free(probe);
    if (rc < 0 && be == LOOP_URING) {
        printf("test_loop: io_uring is refused here (%s): skipped\n", strerror(-rc));
        cr_skip("io_uring is refused here");
    }
    cr_assert_eq(rc, 0);
    cr_assert_eq(loop_new("test", be, &l), 0);
}

static void down(void)
{
    loop_free(l);
    l = NULL;
}

TestSuite(uring, .timeout = 30);
TestSuite(epoll, .timeout = 30);

/* One body, a test for each back end; the loop is stepped by hand unless the body starts it. */
#define BOTH(name)                                                                                 \
    static void name(void);                                                                        \
    Test(uring, name)                                                                              \
    {                                                                                              \
        up(LOOP_URING);                                                                            \
        name();                                                                                    \
        down();                                                                                    \
    }                                                                                              \
    Test(epoll, name)                                                                              \
    {                                                                                              \
        up(LOOP_EPOLL);                                                                            \
        name();                                                                                    \
        down();                                                                                    \
    }                                                                                              \
    static void name(void)

static void wait_for(sem_t *s)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    while (sem_timedwait(s, &until) < 0)
        cr_assert_eq(errno, EINTR, "it never came");
}

/* --- watches --- */

struct heard {
    struct loop_watch w;
    unsigned ran;
    uint32_t events;
    struct loop_watch *unwatch; /* what fn unwatches */
    bool rewatch, drain;
};

static void on_ready(void *ctx, uint32_t events)
{
    struct heard *h = ctx;
    h->ran++;
    h->events = events;
    if (h->drain) {
        char buf[64];
        cr_assert_gt(read(h->w.fd, buf, sizeof(buf)), 0);
    }
    if (h->unwatch)
        loop_unwatch(l, h->unwatch);
    if (h->rewatch)
        cr_assert_eq(loop_watch(l, &h->w), 0);
}

static void watch(struct heard *h, int fd, uint32_t events)
{
    h->w = (struct loop_watch){.fd = fd, .events = events, .fn = on_ready, .ctx = h};
    cr_assert_eq(loop_watch(l, &h->w), 0);
}

static void steps(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)loop_step(l, 0);
}

static void make_pipe(int p[2], const char *text)
{
    cr_assert_eq(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    if (*text)
        cr_assert_eq(write(p[1], text, strlen(text)), (ssize_t)strlen(text));
}

static void close_pipe(const int p[2])
{
    close(p[0]);
    close(p[1]);
}

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

BOTH(a_counter_is_read_first)
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
        cr_assert_eq(h.ran, i, "all counts at once");
        cr_assert(h.events & POLLIN);
        struct pollfd pfd = {.fd = fd, .events = POLLIN};
        cr_assert_eq(poll(&pfd, 1, 0), 0, "it is at 0 again");
    }
    loop_unwatch(l, &h.w);
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

/* --- threads --- */

static pthread_t loop_thread;
static sem_t sem;

static void note_thread(void *ctx)
{
    *(pthread_t *)ctx = pthread_self();
}

static void post_sem(void *ctx)
{
    sem_post(ctx);
}

static void start(void)
{
    cr_assert_eq(loop_start(l), 0);
    loop_call(l, note_thread, &loop_thread);
    cr_assert_not(pthread_equal(loop_thread, pthread_self()));
    cr_assert(loop_runs(l));
}

BOTH(a_call_runs_on_the_loops_thread)
{
    pthread_t where;
    cr_assert_not(loop_runs(l));
    loop_call(l, note_thread, &where);
    cr_assert(pthread_equal(where, pthread_self()), "without a thread: in place");
    start();
    cr_assert_eq(loop_backend(l), backend);
    char name[32] = "";
    cr_assert_eq(pthread_getname_np(loop_thread, name, sizeof(name)), 0);
    cr_assert_str_eq(name, "test");
    loop_stop(l);
    cr_assert_not(loop_runs(l));
    loop_stop(l);
}

static void call_from_itself(void *ctx)
{
    pthread_t where;
    cr_assert_not(loop_runs(l), "not from its own thread");
    loop_call(l, note_thread, &where);
    *(bool *)ctx = pthread_equal(where, pthread_self());
}

BOTH(a_call_from_its_own_thread_runs_in_place)
{
    bool same = false;
    start();
    loop_call(l, call_from_itself, &same);
    cr_assert(same);
    loop_stop(l);
}

static unsigned counted; /* by the loop's thread only */

static void count(void *ctx)
{
    (void)ctx;
    counted++;
}

static void *caller(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 1000; i++)
        loop_call(l, count, NULL);
    return NULL;
}

BOTH(calls_from_many_threads)
{
    pthread_t threads[4];
    counted = 0;
    start();
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, caller, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    loop_stop(l);
    cr_assert_eq(counted, 4000);
}

BOTH(a_post_from_another_thread_wakes_it)
{
    sem_init(&sem, 0, 0);
    struct loop_task t = {.fn = post_sem, .ctx = &sem};
    start();
    for (unsigned i = 0; i < 1000; i++) {
        loop_post(l, &t);
        wait_for(&sem);
    }
    loop_stop(l);
}

BOTH(what_was_posted_before_the_start_runs)
{
    sem_init(&sem, 0, 0);
    struct loop_task t = {.fn = post_sem, .ctx = &sem};
    loop_post(l, &t);
    start();
    wait_for(&sem);
    loop_stop(l);
}

static void *post_many(void *arg)
{
    struct loop_task *t = arg;
    for (unsigned i = 0; i < 1000; i++)
        loop_post(l, &t[i]);
    return NULL;
}

BOTH(posts_from_many_threads)
{
    static struct loop_task t[4][1000];
    pthread_t threads[4];
    counted = 0;
    start();
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 1000; k++)
            t[i][k] = (struct loop_task){.fn = count};
        cr_assert_eq(pthread_create(&threads[i], NULL, post_many, t[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    sem_init(&sem, 0, 0);
    struct loop_task last = {.fn = post_sem, .ctx = &sem};
    loop_post(l, &last);
    wait_for(&sem);
    loop_stop(l);
    cr_assert_eq(counted, 4000);
}

/* --- file I/O --- */

struct op {
    struct loop_io io;
    struct iovec iov[2];
    int64_t result;
    unsigned done;
    struct op *then; /* started when this one is done */
};
static unsigned ops_done;
static pthread_t done_on;

static void op_done(struct loop_io *io, int64_t result)
{
    struct op *o = container_of(io, struct op, io);
    o->result = result;
    o->done++;
    ops_done++;
    done_on = pthread_self();
    if (o->then)
        loop_io(l, &o->then->io);
}

static int64_t run(struct op *o)
{
    o->io.done = op_done;
    o->done = 0;
    loop_io(l, &o->io);
    loop_settle(l);
    cr_assert_eq(o->done, 1);
    return o->result;
}

static int64_t rw(enum loop_io_op what, int fd, void *p, size_t n, uint64_t off)
{
    struct op o = {.io = {.op = what, .fd = fd, .n_iov = 1, .off = off}};
    o.iov[0] = (struct iovec){.iov_base = p, .iov_len = n};
    o.io.iov = o.iov;
    return run(&o);
}

static int scratch(void)
{
    char path[] = "/tmp/test_loop_XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    cr_assert_geq(fd, 0);
    unlink(path);
    return fd;
}

BOTH(write_and_read_by_pieces)
{
    int fd = scratch();
    char a[] = "scatter", b[] = "gather", back[16] = "";
    struct op w = {.io = {.op = LOOP_WRITEV, .fd = fd, .n_iov = 2, .off = 100}};
    w.iov[0] = (struct iovec){.iov_base = a, .iov_len = 7};
    w.iov[1] = (struct iovec){.iov_base = b, .iov_len = 6};
    w.io.iov = w.iov;
    cr_assert_eq(run(&w), 13);
    w.io.dsync = true;
    w.io.off = 200;
    cr_assert_eq(run(&w), 13);
    cr_assert_eq(pread(fd, back, sizeof(back), 200), 13);
    cr_assert_eq(memcmp(back, "scattergather", 13), 0);

    struct op r = {.io = {.op = LOOP_READV, .fd = fd, .n_iov = 2, .off = 98}};
    char c[4], d[6];
    r.iov[0] = (struct iovec){.iov_base = c, .iov_len = 4};
    r.iov[1] = (struct iovec){.iov_base = d, .iov_len = 6};
    r.io.iov = r.iov;
    cr_assert_eq(run(&r), 10);
    cr_assert_eq(memcmp(c, "\0\0sc", 4), 0);
    cr_assert_eq(memcmp(d, "atterg", 6), 0);
    cr_assert_eq(lseek(fd, 0, SEEK_CUR), 0, "the descriptor's own offset stays");

    cr_assert_eq(rw(LOOP_READV, fd, back, 16, 205), 8, "short at the end");
    cr_assert_eq(rw(LOOP_READV, fd, back, 16, 213), 0);
    cr_assert_eq(rw(LOOP_READV, fd, back, 16, 1 << 20), 0);
    close(fd);
}

BOTH(sync_and_holes)
{
    int fd = memfd_create("scratch", MFD_CLOEXEC), file = scratch();
    static char block[8192], back[8192];
    memset(block, 'x', sizeof(block));
    cr_assert_eq(rw(LOOP_WRITEV, fd, block, sizeof(block), 0), (int64_t)sizeof(block));
    struct op sync = {.io = {.op = LOOP_FDATASYNC, .fd = file}};
    cr_assert_eq(run(&sync), 0);
    struct op punch = {.io = {.op = LOOP_FALLOCATE,
                              .fd = fd,
                              .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              .off = 4096,
                              .len = 4096}};
    cr_assert_eq(run(&punch), 0);
    cr_assert_eq(rw(LOOP_READV, fd, back, sizeof(back), 0), (int64_t)sizeof(back));
    cr_assert_eq(memcmp(back, block, 4096), 0);
    for (unsigned i = 4096; i < sizeof(back); i++)
        cr_assert_eq(back[i], 0);
    struct op grow = {.io = {.op = LOOP_FALLOCATE, .fd = fd, .off = 0, .len = 1 << 20}};
    cr_assert_eq(run(&grow), 0);
    cr_assert_eq(lseek(fd, 0, SEEK_END), 1 << 20);
    close(fd);
    close(file);
}

BOTH(what_the_host_refuses_is_the_result)
{
    char byte = 'x';
    int p[2], ro = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), file = scratch();
    cr_assert_eq(rw(LOOP_READV, -1, &byte, 1, 0), -EBADF);
    cr_assert_eq(rw(LOOP_WRITEV, -1, &byte, 1, 0), -EBADF);
    cr_assert_eq(rw(LOOP_WRITEV, ro, &byte, 1, 0), -EBADF);
    struct op sync = {.io = {.op = LOOP_FDATASYNC, .fd = -1}};
    cr_assert_eq(run(&sync), -EBADF);
    struct op punch = {.io = {.op = LOOP_FALLOCATE, .fd = -1, .len = 4096}};
    cr_assert_eq(run(&punch), -EBADF);
    make_pipe(p, "");
    punch.io.fd = p[1];
    cr_assert_eq(run(&punch), -ESPIPE);
    sync.io.fd = p[1];
    cr_assert_eq(run(&sync), -EINVAL);
    punch.io.fd = file;
    punch.io.len = 0;
    cr_assert_eq(run(&punch), -EINVAL);
    struct op many = {.io = {.op = LOOP_READV, .fd = ro, .iov = many.iov, .n_iov = 5000}};
    cr_assert_eq(run(&many), -EINVAL, "more than IOV_MAX");

    struct rlimit old, small;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int64_t past = rw(LOOP_WRITEV, file, &byte, 1, 8192);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_assert_eq(past, -EFBIG);
    close_pipe(p);
    close(ro);
    close(file);
}

enum { MANY = 1000 };
static struct op many[MANY];
static uint64_t values[MANY];

static void prepare_many(enum loop_io_op what, int fd)
{
    ops_done = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct op *o = &many[i];
        *o = (struct op){.io = {.op = what, .fd = fd, .n_iov = 1, .off = i * 8, .done = op_done}};
        o->iov[0] = (struct iovec){.iov_base = &values[i], .iov_len = 8};
        o->io.iov = o->iov;
    }
}

static void all_done(void)
{
    cr_assert_eq(ops_done, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        cr_assert_eq(many[i].done, 1);
        cr_assert_eq(many[i].result, 8, "%u: %ld", i, many[i].result);
    }
}

BOTH(a_thousand_operations_at_once)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    for (unsigned i = 0; i < MANY; i++) {
        values[i] = i * 0x0101010101;
        loop_io(l, &many[i].io);
    }
    cr_assert_eq(ops_done, 0, "nothing runs in place");
    loop_settle(l);
    all_done();
    memset(values, 0, sizeof(values));
    prepare_many(LOOP_READV, fd);
    for (unsigned i = 0; i < MANY; i++)
        loop_io(l, &many[i].io);
    loop_settle(l);
    all_done();
    for (unsigned i = 0; i < MANY; i++)
        cr_assert_eq(values[i], i * 0x0101010101);
    close(fd);
}

BOTH(one_after_the_other)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    for (unsigned i = 0; i + 1 < MANY; i++)
        many[i].then = &many[i + 1];
    loop_io(l, &many[0].io);
    loop_settle(l);
    all_done();
    close(fd);
}

static void submit_many(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < MANY; i++)
        loop_io(l, &many[i].io);
}

BOTH(done_runs_on_the_loops_thread)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    start();
    loop_call(l, submit_many, NULL);
    for (unsigned i = 0; i < 10000 && ops_done < MANY; i++) {
        struct timespec ms = {.tv_nsec = 1000000};
        (void)nanosleep(&ms, NULL);
        bool ignored;
        loop_call(l, call_from_itself, &ignored);
    }
    all_done();
    cr_assert(pthread_equal(done_on, loop_thread));
    loop_stop(l);
    close(fd);
}

/* --- beginning and end --- */

BOTH(starts_and_stops_again_and_again)
{
    int fd = eventfd(0, EFD_CLOEXEC), file = scratch(), p[2];
    sem_init(&sem, 0, 0);
    struct heard h = {0}, quiet = {0};
    make_pipe(p, "");
    watch(&quiet, p[0], POLLIN);
    watch(&h, fd, POLLIN);
    loop_unwatch(l, &h.w);
    h.w.counter = true;
    cr_assert_eq(loop_watch(l, &h.w), 0);
    for (unsigned i = 1; i <= 20; i++) {
        struct loop_task t = {.fn = post_sem, .ctx = &sem};
        const uint64_t one = 1;
        prepare_many(LOOP_WRITEV, file);
        start();
        cr_assert_eq(write(fd, &one, 8), 8);
        loop_call(l, submit_many, NULL);
        loop_post(l, &t);
        wait_for(&sem);
        for (unsigned k = 0; k < 10000 && (ops_done < MANY || h.ran < i); k++) {
            struct timespec ms = {.tv_nsec = 1000000};
            (void)nanosleep(&ms, NULL);
            loop_call(l, count, NULL);
        }
        loop_stop(l);
        all_done();
        cr_assert_eq(h.ran, i);
        cr_assert_eq(quiet.ran, 0, "an end is no event");
    }
    cr_assert_eq(write(p[1], "x", 1), 1);
    (void)loop_step(l, 1000);
    cr_assert_eq(quiet.ran, 1, "and it is still watched");
    loop_unwatch(l, &quiet.w);
    loop_unwatch(l, &h.w);
    close(fd);
    close(file);
    close_pipe(p);
}

BOTH(stepped_by_hand_after_a_stop)
{
    char byte = 'x';
    int file = scratch(), p[2];
    struct heard h = {0};
    start();
    loop_stop(l);
    cr_assert_eq(rw(LOOP_WRITEV, file, &byte, 1, 0), 1);
    make_pipe(p, "x");
    watch(&h, p[0], POLLIN);
    (void)loop_step(l, 1000);
    cr_assert_eq(h.ran, 1);
    loop_unwatch(l, &h.w);
    close_pipe(p);
    close(file);
}

BOTH(started_after_it_was_stepped_by_hand)
{
    sem_init(&sem, 0, 0);
    struct loop_task t = {.fn = post_sem, .ctx = &sem};
    (void)loop_step(l, 0);
    start();
    loop_post(l, &t);
    wait_for(&sem);
    loop_stop(l);
}

BOTH(free_waits_for_what_is_in_flight)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    submit_many(NULL);
    (void)loop_step(l, 0);
    loop_free(TAKE_PTR(l));
    all_done();
    close(fd);
}

BOTH(free_stops_a_thread_with_io_in_flight)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    for (unsigned i = 0; i < MANY; i++)
        many[i].io.dsync = true;
    start();
    loop_call(l, submit_many, NULL);
    loop_free(TAKE_PTR(l));
    all_done();
    close(fd);
}

BOTH(many_unwatched_after_the_thread_has_ended)
{
    enum { N = 200 };
    static struct heard h[N];
    int p[2];
    make_pipe(p, "");
    for (unsigned i = 0; i < N; i++) {
        int fd = dup(p[0]);
        watch(&h[i], fd, POLLIN);
    }
    start();
    loop_call(l, count, NULL);
    loop_call(l, count, NULL);
    loop_stop(l);
    for (unsigned i = 0; i < N; i++) {
        loop_unwatch(l, &h[i].w);
        close(h[i].w.fd);
    }
    close_pipe(p);
}

static unsigned open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

BOTH(leaves_no_descriptor_behind)
{
    int file = scratch();
    unsigned before = open_fds();
    struct loop *kept = TAKE_PTR(l);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_eq(loop_new("test", backend, &l), 0);
        if (i % 2)
            start();
        else
            (void)loop_step(l, 0);
        prepare_many(LOOP_WRITEV, file);
        if (i % 2)
            loop_stop(l);
        else
            submit_many(NULL), loop_settle(l);
        loop_free(l);
    }
    l = kept;
    cr_assert_eq(open_fds(), before);
    close(file);
}

Test(epoll, free_takes_null)
{
    loop_free(NULL);
}

Test(epoll, whatever_there_is)
{
    cr_assert_eq(loop_new("auto", LOOP_AUTO, &l), 0);
    (void)loop_step(l, 0);
    cr_assert_neq(loop_backend(l), LOOP_AUTO);
    loop_free(l);
}
