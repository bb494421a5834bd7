/* tests/unit/test_loop_poll.c - what a loop does before it sleeps: whom it asks, whom it tells that
 * it will not ask any more, what ends the look, and what it counts. No time is measured: a window
 * is over at once, or not within the test. */
#include <sys/eventfd.h>

#include "base/loop_priv.h"
#include "tests/unit/loop_try.h"

#define AT_ONCE 1
#define NEVER   (1ull << 60)

static struct asked {
    struct loop_poll poll;
    struct loop_task task;
    unsigned asked, armed, ran;
    unsigned ready_at; /* the question that is answered with yes; 0: none */
    bool late;         /* what arm() says */
    int fd;            /* written at the third question, if there is one */
} a;

static bool is_ready(void *ctx)
{
    struct asked *s = ctx;
    if (++s->asked == 3 && s->fd >= 0)
        event_signal(s->fd);
    return s->asked == s->ready_at;
}

static bool arm(void *ctx)
{
    struct asked *s = ctx;
    s->armed++;
    return s->late;
}

static void came(void *ctx)
{
    ((struct asked *)ctx)->ran++;
}

static void begin(uint64_t window)
{
    a = (struct asked){.fd = -1, .task = {.fn = came, .ctx = &a}};
    a.poll = (struct loop_poll){.ready = is_ready, .arm = arm, .ctx = &a, .task = &a.task};
    loop_poll_set(l, window);
    cr_assert(loop_poll_join(l, &a.poll));
    cr_assert(loop_poll_join(l, &a.poll), "once more is no more");
}

static void expect_counts(uint64_t sleeps, uint64_t polls, uint64_t found)
{
    cr_expect_eq(l->sleeps, sleeps, "slept %lu times", l->sleeps);
    cr_expect_eq(l->poll.polls, polls, "looked %lu times", l->poll.polls);
    cr_expect_eq(l->poll.found, found, "found something %lu times", l->poll.found);
    cr_expect_eq(l->poll.ns > 0, polls > 0);
}

BOTH(nobody_joins_where_nobody_looks)
{
    struct loop_poll p = {.ready = is_ready};
    cr_expect_not(loop_poll_join(l, &p));
    (void)loop_step(l, 1);
    expect_counts(1, 0, 0);
}

BOTH(each_turn_asks)
{
    begin(NEVER);
    a.ready_at = 2;
    (void)loop_step(l, 0);
    cr_expect(a.asked == 1 && a.ran == 0);
    cr_expect_eq(loop_step(l, 0), 1);
    cr_expect(a.asked == 2 && a.ran == 1);
    (void)loop_step(l, 0);
    cr_expect_eq(a.asked, 2, "who was ready has left");
    cr_expect_eq(a.armed, 0);
    expect_counts(0, 0, 0);
}

/* Whoever is left to itself by a busy loop would wait for ever. */
BOTH(a_busy_loop_asks_too)
{
    struct asked other = {0};
    struct loop_task t = {.fn = came, .ctx = &other};
    begin(NEVER);
    a.ready_at = 1;
    loop_post(l, &t);
    cr_expect_eq(loop_step(l, -1), 2);
    cr_expect_eq(a.ran, 1);
}

BOTH(a_look_finds)
{
    begin(NEVER);
    a.ready_at = 5;
    (void)loop_step(l, -1);
    cr_expect(a.ran == 1 && a.armed == 0);
    expect_counts(0, 1, 1);
}

static void drain(void *ctx, uint32_t events)
{
    uint64_t n;
    (void)events;
    cr_assert_eq(read(*(int *)ctx, &n, sizeof(n)), (ssize_t)sizeof(n));
}

BOTH(a_descriptor_ends_the_look)
{
    AUTO_FD fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct loop_watch w = {.fd = fd, .events = POLLIN, .fn = drain, .ctx = &fd};
    cr_assert_eq(loop_watch(l, &w), 0);
    begin(NEVER);
    a.fd = fd;
    cr_expect_eq(loop_step(l, -1), 1);
    cr_expect_eq(a.armed, 0);
    expect_counts(0, 1, 1);
    loop_poll_leave(l, &a.poll);
    loop_unwatch(l, &w);
}

BOTH(before_it_sleeps_it_says_so)
{
    begin(AT_ONCE);
    (void)loop_step(l, 1);
    cr_expect(a.armed == 1 && a.ran == 0);
    cr_expect_eq(l->sleeps, 1);
    unsigned asked = a.asked;
    (void)loop_step(l, 0);
    cr_expect_eq(a.asked, asked, "it does not ask any more");
}

/* Else this would sleep for ever. */
BOTH(who_came_before_that_is_heard)
{
    begin(AT_ONCE);
    a.late = true;
    cr_expect_eq(loop_step(l, -1), 1);
    cr_expect(a.armed == 1 && a.ran == 1);
    cr_expect_eq(l->sleeps, 0);
}

BOTH(who_has_left_is_left_alone)
{
    begin(AT_ONCE);
    a.ready_at = 1;
    loop_poll_leave(l, &a.poll);
    loop_poll_leave(l, &a.poll);
    (void)loop_step(l, 1);
    cr_expect(a.asked == 0 && a.armed == 0 && a.ran == 0);
}

BOTH(long_sleeps_close_the_window)
{
    begin(AT_ONCE);
    (void)loop_step(l, 1);
    cr_expect_not(loop_poll_join(l, &a.poll));
    uint64_t polls = l->poll.polls;
    (void)loop_step(l, 1);
    cr_expect_eq(l->poll.polls, polls, "an idle loop does not look");
    cr_expect_eq(l->sleeps, 2);
}

BOTH(short_ones_open_it)
{
    loop_poll_set(l, NEVER);
    l->poll.window_ns = 0;
    (void)loop_step(l, 1);
    uint64_t first = l->poll.window_ns;
    cr_expect(first > 0 && first < NEVER);
    loop_post(l, &(struct loop_task){.fn = came, .ctx = &a});
    (void)loop_step(l, 1);
    cr_expect_eq(l->poll.window_ns, first, "it was not idle");
}

BOTH(what_was_in_vain_is_tried_later)
{
    begin(AT_ONCE);
    for (unsigned n = 1; n <= 3; n = 2 * n + 1) { /* so many short ones are let pass */
        (void)loop_step(l, 1);
        cr_expect_eq(l->poll.window_ns, 0);
        l->poll.most_ns = NEVER;
        for (unsigned i = 0; i < n; i++) {
            (void)loop_step(l, 1);
            cr_expect_eq(l->poll.window_ns, 0, "%u of %u", i, n);
        }
        (void)loop_step(l, 1);
        cr_expect_neq(l->poll.window_ns, 0);
        l->poll.most_ns = l->poll.window_ns = AT_ONCE;
    }
    loop_poll_set(l, NEVER);
    a.asked = 0;
    a.ready_at = 5;
    cr_assert(loop_poll_join(l, &a.poll));
    (void)loop_step(l, -1);
    cr_expect_eq(l->poll.rest, 0, "until one is not");
}

/* seccomp does not see what a ring is asked for. */
Test(uring, a_ring_does_what_the_loop_asks_for_and_nothing_else)
{
    static const uint8_t others[] = {IORING_OP_NOP,    IORING_OP_OPENAT,   IORING_OP_CONNECT,
                                     IORING_OP_SOCKET, IORING_OP_UNLINKAT, IORING_OP_SENDMSG};
    struct loop *one;
    cr_assert_eq(loop_new("ring", LOOP_AUTO, &one), 0);
    (void)loop_step(one, 0);
    if (loop_backend(one) != LOOP_URING)
        cr_skip("this host refuses io_uring");
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        struct io_uring_sqe *sqe = io_uring_get_sqe(&one->ring);
        struct io_uring_cqe *cqe;
        io_uring_prep_nop(sqe);
        sqe->opcode = others[i];
        cr_assert_eq(io_uring_submit(&one->ring), 1);
        cr_assert_eq(io_uring_wait_cqe(&one->ring, &cqe), 0);
        cr_assert_eq(cqe->res, -EACCES, "operation %u: %d", others[i], cqe->res);
        io_uring_cqe_seen(&one->ring, cqe);
    }
    int fds[] = {0};
    cr_assert_eq(io_uring_register_files(&one->ring, fds, 1), -EACCES);
    loop_free(one);
}
