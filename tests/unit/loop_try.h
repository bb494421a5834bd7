/* tests/unit/loop_try.h - what the tests of the event loop share: a body for both back ends, who
 * hears of a descriptor, a thread, and file operations with their results. */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <time.h>

#include "base/loop.h"

static struct loop *l;
static enum loop_backend backend;

static inline void up(enum loop_backend be)
{
    struct loop *probe;
    backend = be;
    cr_assert_eq(loop_new("probe", be, &probe), 0);
    int rc = loop_start(probe);
    loop_free(probe);
    if (rc < 0 && be == LOOP_URING) {
        printf("io_uring is refused here (%s): skipped\n", strerror(-rc));
        cr_skip("io_uring is refused here");
    }
    cr_assert_eq(rc, 0);
    cr_assert_eq(loop_new("test", be, &l), 0);
}

static inline void down(void)
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

static inline void wait_for(sem_t *s)
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

static inline void on_ready(void *ctx, uint32_t events)
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

static inline void watch(struct heard *h, int fd, uint32_t events)
{
    h->w = (struct loop_watch){.fd = fd, .events = events, .fn = on_ready, .ctx = h};
    cr_assert_eq(loop_watch(l, &h->w), 0);
}

static inline void steps(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        (void)loop_step(l, 0);
}

static inline void make_pipe(int p[2], const char *text)
{
    cr_assert_eq(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
    if (*text)
        cr_assert_eq(write(p[1], text, strlen(text)), (ssize_t)strlen(text));
}

static inline void close_pipe(const int p[2])
{
    close(p[0]);
    close(p[1]);
}

/* --- threads --- */

static pthread_t loop_thread;

static inline void note_thread(void *ctx)
{
    *(pthread_t *)ctx = pthread_self();
}

static inline void start(void)
{
    cr_assert_eq(loop_start(l), 0);
    loop_call(l, note_thread, &loop_thread);
    cr_assert_not(pthread_equal(loop_thread, pthread_self()));
    cr_assert(loop_runs(l));
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

static inline void op_done(struct loop_io *io, int64_t result)
{
    struct op *o = container_of(io, struct op, io);
    o->result = result;
    o->done++;
    ops_done++;
    done_on = pthread_self();
    if (o->then)
        loop_io(l, &o->then->io);
}

static inline int64_t run(struct op *o)
{
    o->io.done = op_done;
    o->done = 0;
    loop_io(l, &o->io);
    loop_settle(l);
    cr_assert_eq(o->done, 1);
    return o->result;
}

static inline int64_t rw(enum loop_io_op what, int fd, void *p, size_t n, uint64_t off)
{
    struct op o = {.io = {.op = what, .fd = fd, .n_iov = 1, .off = off}};
    o.iov[0] = (struct iovec){.iov_base = p, .iov_len = n};
    o.io.iov = o.iov;
    return run(&o);
}

static inline int scratch(void)
{
    char path[] = "/tmp/test_loop_XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    cr_assert_geq(fd, 0);
    unlink(path);
    return fd;
}

enum { MANY = 1000 };
static struct op many[MANY];
static uint64_t values[MANY];

static inline void prepare_many(enum loop_io_op what, int fd)
{
    ops_done = 0;
    for (unsigned i = 0; i < MANY; i++) {
        struct op *o = &many[i];
        *o = (struct op){.io = {.op = what, .fd = fd, .n_iov = 1, .off = i * 8, .done = op_done}};
        o->iov[0] = (struct iovec){.iov_base = &values[i], .iov_len = 8};
        o->io.iov = o->iov;
    }
}

static inline void all_done(void)
{
    cr_assert_eq(ops_done, MANY);
    for (unsigned i = 0; i < MANY; i++) {
        cr_assert_eq(many[i].done, 1);
        cr_assert_eq(many[i].result, 8, "%u: %ld", i, many[i].result);
    }
}

static inline void submit_many(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < MANY; i++)
        loop_io(l, &many[i].io);
}
