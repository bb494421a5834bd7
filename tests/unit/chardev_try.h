/* tests/unit/chardev_try.h - what the tests of the character device share: clients whose room the
 * test decides, and a host's end that is filled and drained. */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include "base/chardev_priv.h"

enum { PASTE = 64 * 1024 };

struct fake {
    bool wants;
    size_t room, len;
    uint8_t got[2 * PASTE];
    unsigned writable, connected, disconnected, resized;
};
static struct loop *l;
static struct chardev *c;
static struct fake a, b;
static unsigned quits;
static bool stepped = true; /* the loop is, by hand */
static char dir[] = "/tmp/test_chardev_XXXXXX", path[64];
static uint8_t pattern[PASTE];

static inline bool wants_input(void *ctx)
{
    return ((struct fake *)ctx)->wants;
}

static inline size_t room(void *ctx)
{
    return ((struct fake *)ctx)->room;
}

static inline void receive(void *ctx, const uint8_t *p, size_t len)
{
    struct fake *f = ctx;
    cr_assert_leq(len, f->room, "more than there is room for");
    cr_assert_leq(f->len + len, sizeof(f->got));
    memcpy(f->got + f->len, p, len);
    f->len += len;
    f->room -= len;
}

static inline void writable(void *ctx)
{
    ((struct fake *)ctx)->writable++;
}

static inline void event(void *ctx, enum chardev_event ev)
{
    struct fake *f = ctx;
    f->connected += ev == CHARDEV_CONNECTED;
    f->disconnected += ev == CHARDEV_DISCONNECTED;
    f->resized += ev == CHARDEV_RESIZED;
}

static inline void quit(void *ctx)
{
    cr_assert_eq(ctx, (void *)&quits);
    quits++;
}

static inline void setup_with(enum loop_backend backend)
{
    signal(SIGPIPE, SIG_IGN);
    cr_assert_eq(loop_new("test", backend, &l), 0);
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/end", dir);
    uint32_t x = 1;
    for (size_t i = 0; i < PASTE; i++) {
        x = x * 1103515245 + 12345;
        pattern[i] = (uint8_t)(x >> 16) | 0x20; /* never Ctrl-A */
    }
}

/* What each test here checks, it checks on both of the loop's back ends. */
#define TEST_BOTH(name)                                                                            \
    static void name##_body(void);                                                                 \
    Test(uring, name)                                                                              \
    {                                                                                              \
        name##_body();                                                                             \
    }                                                                                              \
    Test(epoll, name)                                                                              \
    {                                                                                              \
        name##_body();                                                                             \
    }                                                                                              \
    static void name##_body(void)

static inline void setup_uring(void)
{
    setup_with(LOOP_AUTO);
}

static inline void setup_epoll(void)
{
    setup_with(LOOP_EPOLL);
}

static inline void teardown(void)
{
    chardev_free(c);
    loop_free(l);
    unlink(path);
    rmdir(dir);
}

TestSuite(uring, .init = setup_uring, .fini = teardown, .timeout = 30);
TestSuite(epoll, .init = setup_epoll, .fini = teardown, .timeout = 30);

static inline void start_on(const struct chardev_spec *spec, int in, int out)
{
    struct chardev_client ca = {wants_input, room, receive, writable, event, &a}, cb = ca;
    struct err e = {0};
    cb.ctx = &b;
    cr_assert_eq(chardev_new_fds(spec, in, out, l, &c, &e), 0, "%s", e.msg);
    chardev_attach(c, &ca);
    chardev_attach(c, &cb);
    loop_settle(l);
    cr_assert_eq(a.len, 0u, "read before the start");
    cr_assert_eq(chardev_start(c), 0);
}

static inline void start(int in, int out)
{
    struct chardev_spec spec = {.kind = CHARDEV_STDIO, .quit = quit, .quit_ctx = &quits};
    start_on(&spec, in, out);
}

static inline void send_all(int fd, const void *p, size_t len)
{
    cr_assert_eq(write(fd, p, len), (ssize_t)len);
}

/* Runs the loop until the condition holds; a second is for timers and slow hosts. */
#define EVENTUALLY(cond)                                                                           \
    do {                                                                                           \
        for (int tries_ = 0; tries_ < 200 && !(cond); tries_++)                                    \
            (void)loop_step(l, 10);                                                                \
        cr_assert(cond, "never: " #cond);                                                          \
    } while (0)

/* With nothing to do, the loop must sleep: a callback may come late, but not again and again. */
static inline void expect_quiet(void)
{
    unsigned ran = 0;
    for (int i = 0; i < 20; i++)
        ran += loop_step(l, 1);
    cr_assert_leq(ran, 4u, "spins: %u callbacks in 20 turns", ran);
}

static inline void give(struct fake *f, size_t n)
{
    f->wants = true;
    f->room += n;
    chardev_rx_ready(c);
}

/* Fills a descriptor's far end through chardev_write(), until it stays full: a terminal's buffers
 * make room once more when the kernel has moved bytes on. */
static inline size_t fill(void)
{
    size_t total = 0;
    unsigned was_writable;
    do {
        size_t at, n;
        was_writable = a.writable;
        do {
            at = total % PASTE;
            n = chardev_write(c, pattern + at, PASTE - at);
            total += n;
            cr_assert_lt(total, (size_t)64 << 20, "never full");
        } while (n == PASTE - at);
        for (int i = 0; i < 3 && stepped; i++)
            (void)loop_step(l, 10);
    } while (a.writable != was_writable);
    a.writable = b.writable = 0;
    return total;
}

static inline size_t drain(int fd, size_t want)
{
    size_t total = 0;
    uint8_t buf[4096];
    while (total < want) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 200) <= 0)
            break;
        ssize_t n = read(fd, buf, MIN(sizeof(buf), want - total));
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(buf[i], pattern[(total + (size_t)i) % PASTE], "byte %zu", total);
        total += (size_t)n;
    }
    return total;
}

static inline void full_then_drained(int near, int far)
{
    int flags = fcntl(near, F_GETFL);
    start(open("/dev/null", O_RDONLY), near);
    cr_assert_eq(fcntl(near, F_GETFL), flags, "inherited flags");
    size_t total = fill();
    cr_assert_eq(chardev_write(c, "x", 1), 0u);
    expect_quiet();
    cr_assert_eq(a.writable, 0u);
    size_t got = drain(far, total);
    cr_assert_eq(got, total);
    EVENTUALLY(a.writable == 1 && b.writable == 1);
    cr_assert_eq(chardev_write(c, pattern, 100), 100u);
    cr_assert_eq(drain(far, 100), 100u);
    expect_quiet();
    cr_assert_eq(a.writable, 1u);
    cr_assert_eq(fcntl(near, F_GETFL), flags, "inherited flags");
}

static inline void expect_dead(void)
{
    for (int i = 0; i < 100; i++)
        cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
    expect_quiet();
}
