/* tests/unit/test_chardev.c - every host's end, with a client whose room the test decides: nothing
 * is lost, nothing blocks, nothing spins, and the terminal comes back as it was. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <time.h>

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

static bool wants_input(void *ctx)
{
    return ((struct fake *)ctx)->wants;
}

static size_t room(void *ctx)
{
    return ((struct fake *)ctx)->room;
}

static void receive(void *ctx, const uint8_t *p, size_t len)
{
    struct fake *f = ctx;
    cr_assert_leq(len, f->room, "more than there is room for");
    cr_assert_leq(f->len + len, sizeof(f->got));
    memcpy(f->got + f->len, p, len);
    f->len += len;
    f->room -= len;
}

static void writable(void *ctx)
{
    ((struct fake *)ctx)->writable++;
}

static void event(void *ctx, enum chardev_event ev)
{
    struct fake *f = ctx;
    f->connected += ev == CHARDEV_CONNECTED;
    f->disconnected += ev == CHARDEV_DISCONNECTED;
    f->resized += ev == CHARDEV_RESIZED;
}

static void quit(void *ctx)
{
    cr_assert_eq(ctx, (void *)&quits);
    quits++;
}

static void setup_with(enum loop_backend backend)
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

static void setup_uring(void)
{
    setup_with(LOOP_AUTO);
}

static void setup_epoll(void)
{
    setup_with(LOOP_EPOLL);
}

static void teardown(void)
{
    chardev_free(c);
    loop_free(l);
    unlink(path);
    rmdir(dir);
}

TestSuite(uring, .init = setup_uring, .fini = teardown, .timeout = 30);
TestSuite(epoll, .init = setup_epoll, .fini = teardown, .timeout = 30);

static void start_on(const struct chardev_spec *spec, int in, int out)
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

static void start(int in, int out)
{
    struct chardev_spec spec = {.kind = CHARDEV_STDIO, .quit = quit, .quit_ctx = &quits};
    start_on(&spec, in, out);
}

static void send_all(int fd, const void *p, size_t len)
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
static void expect_quiet(void)
{
    unsigned ran = 0;
    for (int i = 0; i < 20; i++)
        ran += loop_step(l, 1);
    cr_assert_leq(ran, 4u, "spins: %u callbacks in 20 turns", ran);
}

static void give(struct fake *f, size_t n)
{
    f->wants = true;
    f->room += n;
    chardev_rx_ready(c);
}

/* Fills a descriptor's far end through chardev_write(), until it stays full: a terminal's buffers
 * make room once more when the kernel has moved bytes on. */
static size_t fill(void)
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

static size_t drain(int fd, size_t want)
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

/* Standard input and output. */

TEST_BOTH(input_waits_for_room)
{
    int in[2];
    cr_assert_eq(pipe(in), 0);
    start(in[0], STDOUT_FILENO);
    send_all(in[1], "hello world", 11);
    loop_settle(l);
    cr_assert_eq(a.len, 0u);
    give(&a, 5);
    EVENTUALLY(a.len == 5);
    expect_quiet();
    cr_assert_eq(a.len, 5u);
    int left = 0;
    cr_assert_eq(ioctl(in[0], FIONREAD, &left), 0);
    cr_assert_eq(left, 6, "what nobody has room for stays in the pipe");
    give(&a, 100);
    EVENTUALLY(a.len == 11);
    cr_assert_eq(memcmp(a.got, "hello world", 11), 0);
}

TEST_BOTH(first_client_that_wants_it)
{
    int in[2];
    cr_assert_eq(pipe(in), 0);
    start(in[0], STDOUT_FILENO);
    give(&b, 3);
    send_all(in[1], "bbb", 3);
    EVENTUALLY(b.len == 3);
    give(&b, 3);
    give(&a, 3);
    send_all(in[1], "aaaAA", 5);
    EVENTUALLY(a.len == 3);
    expect_quiet();
    cr_assert_eq(b.len, 3u, "the first is full, and the input still its own");
    a.wants = false;
    chardev_rx_ready(c);
    EVENTUALLY(b.len == 5);
    cr_assert_eq(memcmp(b.got, "bbbAA", 5), 0);
}

TEST_BOTH(paste_in_small_bites)
{
    int in[2];
    cr_assert_eq(pipe(in), 0);
    cr_assert_geq(fcntl(in[1], F_SETPIPE_SZ, PASTE), PASTE);
    start(in[0], STDOUT_FILENO);
    send_all(in[1], pattern, PASTE);
    for (size_t sent = 0; sent < PASTE; sent += 16) {
        give(&a, 16);
        EVENTUALLY(a.room == 0);
    }
    cr_assert_eq(a.len, (size_t)PASTE);
    cr_assert_eq(memcmp(a.got, pattern, PASTE), 0);
}

TEST_BOTH(end_of_input_is_silent)
{
    int in[2];
    cr_assert_eq(pipe(in), 0);
    start(in[0], STDOUT_FILENO);
    send_all(in[1], "last", 4);
    close(in[1]);
    expect_quiet(); /* POLLHUP, and nobody has room */
    give(&a, 100);
    EVENTUALLY(a.len == 4);
    expect_quiet();
    cr_assert_eq(a.disconnected, 0u);
}

TEST_BOTH(dev_null)
{
    int in = open("/dev/null", O_RDWR);
    a.wants = true;
    a.room = 100;
    start(in, in);
    expect_quiet();
    cr_assert_eq(a.len, 0u);
    cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
}

TEST_BOTH(regular_files)
{
    FILE *f = tmpfile();
    cr_assert_eq(fwrite(pattern, 1, PASTE, f), (size_t)PASTE);
    cr_assert_eq(fflush(f), 0);
    int in = fileno(f), out = open(path, O_RDWR | O_CREAT, 0600);
    cr_assert_eq(lseek(in, 0, SEEK_SET), 0);
    start(in, out);
    expect_quiet();
    for (size_t sent = 0; sent < PASTE; sent += 1000) {
        give(&a, MIN((size_t)1000, PASTE - sent));
        EVENTUALLY(a.room == 0);
    }
    a.room = 100;
    chardev_rx_ready(c);
    expect_quiet();
    cr_assert_eq(memcmp(a.got, pattern, PASTE), 0);
    cr_assert_eq(a.len, (size_t)PASTE);
    cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
    cr_assert_eq(lseek(out, 0, SEEK_SET), 0);
    cr_assert_eq(drain(out, PASTE + 1), (size_t)PASTE);
    fclose(f);
}

TEST_BOTH(no_escapes_without_a_terminal)
{
    int in[2];
    cr_assert_eq(pipe(in), 0);
    start(in[0], STDOUT_FILENO);
    give(&a, 100);
    send_all(in[1], "\1x\1h\1\1", 6);
    EVENTUALLY(a.len == 6);
    cr_assert_eq(quits, 0u);
    cr_assert_eq(memcmp(a.got, "\1x\1h\1\1", 6), 0);
}

static void full_then_drained(int near, int far)
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

TEST_BOTH(full_pipe)
{
    int out[2];
    cr_assert_eq(pipe(out), 0);
    full_then_drained(out[1], out[0]);
}

TEST_BOTH(full_socket)
{
    int out[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, out), 0);
    full_then_drained(out[1], out[0]);
}

/* Without /proc there is no second description to be had. */
TEST_BOTH(full_pipe_polled)
{
    int out[2];
    cr_assert_eq(pipe(out), 0);
    start(open("/dev/null", O_RDONLY), out[1]);
    if (c->out_owned)
        close(c->out_fd);
    c->out_owned = false;
    c->out_fd = out[1];
    c->how = OUT_POLLED;
    size_t total = fill();
    cr_assert_eq(drain(out[0], total), total);
    EVENTUALLY(a.writable == 1);
}

static void expect_dead(void)
{
    for (int i = 0; i < 100; i++)
        cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
    expect_quiet();
}

TEST_BOTH(dev_full)
{
    start(open("/dev/null", O_RDONLY), open("/dev/full", O_WRONLY));
    expect_dead();
}

TEST_BOTH(closed_pipe)
{
    int out[2];
    cr_assert_eq(pipe(out), 0);
    start(open("/dev/null", O_RDONLY), out[1]);
    cr_assert_eq(chardev_write(c, "x", 1), 1u);
    close(out[0]);
    expect_dead();
}

TEST_BOTH(pipe_closed_before_it_was_given)
{
    int out[2];
    cr_assert_eq(pipe(out), 0);
    close(out[0]);
    start(open("/dev/null", O_RDONLY), out[1]);
    expect_dead();
}

TEST_BOTH(pipe_closed_while_full)
{
    int out[2];
    cr_assert_eq(pipe(out), 0);
    start(open("/dev/null", O_RDONLY), out[1]);
    (void)fill();
    close(out[0]);
    EVENTUALLY(a.writable == 1);
    expect_dead();
}

TEST_BOTH(one_warning_for_lost_output)
{
    int err[2], saved = dup(STDERR_FILENO);
    char text[1024] = {0};
    cr_assert_eq(pipe2(err, O_NONBLOCK), 0);
    start(open("/dev/null", O_RDONLY), open("/dev/full", O_WRONLY));
    cr_assert_eq(dup2(err[1], STDERR_FILENO), STDERR_FILENO);
    expect_dead();
    cr_assert_geq(dup2(saved, STDERR_FILENO), 0);
    cr_assert_gt(read(err[0], text, sizeof(text) - 1), 0);
    char *newline = strchr(text, '\n');
    cr_assert_not_null(newline);
    cr_assert_eq(newline[1], '\0', "%s", text);
}

TEST_BOTH(nothing_is_open)
{
    start(1000, 1001);
    expect_dead();
}

TEST_BOTH(file)
{
    struct chardev_spec spec = {.kind = CHARDEV_FILE, .path = path};
    int old = open(path, O_RDWR | O_CREAT, 0600);
    send_all(old, "old contents", 12);
    start_on(&spec, -1, -1);
    cr_assert_eq(chardev_write(c, pattern, 5), 5u);
    cr_assert_eq(chardev_write(c, pattern + 5, 5), 5u);
    cr_assert_eq(lseek(old, 0, SEEK_SET), 0);
    cr_assert_eq(drain(old, 100), 10u);
    cr_assert(chardev_connected(c));
    cr_assert_null(chardev_path(c));
}

TEST_BOTH(files_that_cannot_be)
{
    struct chardev_spec spec = {.kind = CHARDEV_FILE, .path = "/nonexistent/x"};
    struct err e = {0};
    cr_assert_eq(chardev_new(&spec, l, &c, &e), -ENOENT);
    cr_assert_str_eq(e.msg, "/nonexistent/x: No such file or directory");
    cr_assert_eq((int)e.kind, ERR_INPUT);
    cr_assert_null(c);
    cr_assert_eq(mkfifo(path, 0600), 0);
    spec.path = path;
    cr_assert_eq(chardev_new(&spec, l, &c, &e), -ENXIO, "a FIFO without a reader must not wait");
}

TEST_BOTH(none)
{
    struct chardev_spec spec = {.kind = CHARDEV_NONE};
    uint16_t cols, rows;
    a.wants = true;
    a.room = 1;
    start_on(&spec, -1, -1);
    cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
    chardev_rx_ready(c);
    expect_quiet();
    cr_assert_not(chardev_connected(c));
    cr_assert_not(chardev_size(c, &cols, &rows));
}

/* Terminals. */

static int master, slave;

static void open_terminal(void)
{
    master = posix_openpt(O_RDWR | O_NOCTTY);
    cr_assert_geq(master, 0);
    cr_assert_eq(grantpt(master), 0);
    cr_assert_eq(unlockpt(master), 0);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert_geq(slave, 0);
}

TEST_BOTH(terminal_is_raw_and_comes_back)
{
    struct termios before = {0}, raw = {0}, after = {0};
    struct chardev_spec spec = {.kind = CHARDEV_STDIO};
    struct chardev *second = NULL;
    struct err e;
    open_terminal();
    int flags = fcntl(slave, F_GETFL);
    cr_assert_eq(tcgetattr(slave, &before), 0);
    start(slave, slave);
    cr_assert_eq(tcgetattr(slave, &raw), 0);
    cr_assert_eq(raw.c_lflag & (tcflag_t)(ISIG | ICANON | ECHO | IEXTEN), 0u);
    cr_assert_eq(raw.c_iflag & (tcflag_t)(IXON | ICRNL), 0u);
    cr_assert_lt(chardev_new_fds(&spec, slave, slave, l, &second, &e), 0);
    cr_assert_str_eq(e.msg, "stdio: the terminal is already in use");

    give(&a, 10);
    send_all(master, "\3\4\r\x1a", 4);
    EVENTUALLY(a.len == 4);
    cr_assert_eq(memcmp(a.got, "\3\4\r\x1a", 4), 0);

    chardev_restore_terminal(); /* as from a signal handler; twice does no harm */
    cr_assert_eq(tcgetattr(slave, &after), 0);
    cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0);
    cr_assert_eq(tcsetattr(slave, TCSANOW, &raw), 0);
    chardev_free(c);
    c = NULL;
    cr_assert_eq(tcgetattr(slave, &after), 0);
    cr_assert_eq(memcmp(&before, &after, sizeof(before)), 0);
    cr_assert_eq(fcntl(slave, F_GETFL), flags);
    cr_assert_eq(tcsetattr(slave, TCSANOW, &raw), 0);
    chardev_restore_terminal();
    cr_assert_eq(tcgetattr(slave, &after), 0);
    cr_assert_eq(after.c_lflag & ICANON, 0u, "restored when it was no longer ours");
}

TEST_BOTH(escape_keys)
{
    char help[512] = {0};
    open_terminal();
    start(slave, slave);
    give(&a, 100);
    send_all(master, "a\1\1b\1cd", 7);
    EVENTUALLY(a.len == 5);
    cr_assert_eq(memcmp(a.got, "a\1bcd", 5), 0);
    cr_assert_eq(quits, 0u);

    send_all(master, "\1", 1); /* the two keys may come apart */
    expect_quiet();
    cr_assert_eq(a.len, 5u);
    send_all(master, "x", 1);
    EVENTUALLY(quits == 1);
    send_all(master, "x\1\1x", 4);
    EVENTUALLY(a.len == 8);
    cr_assert_eq(quits, 1u);

    send_all(master, "\1h", 2);
    expect_quiet();
    cr_assert_gt(read(master, help, sizeof(help) - 1), 0);
    cr_assert_not_null(strstr(help, "Ctrl-A x"));
    cr_assert_eq(a.len, 8u);
}

TEST_BOTH(a_deaf_guest_can_be_quit)
{
    open_terminal();
    start(slave, slave);
    send_all(master, "typed\1x", 7);
    EVENTUALLY(quits == 1);
    give(&a, 2);
    EVENTUALLY(a.len == 2);
    give(&a, 100);
    EVENTUALLY(a.len == 5);
    cr_assert_eq(memcmp(a.got, "typed", 5), 0);
}

TEST_BOTH(paste_into_a_terminal)
{
    open_terminal();
    start(slave, slave);
    cr_assert_eq(fcntl(master, F_SETFL, O_NONBLOCK), 0);
    for (size_t sent = 0; sent < PASTE;) {
        ssize_t n = write(master, pattern + sent, MIN((size_t)1000, PASTE - sent));
        if (n > 0)
            sent += (size_t)n;
        (void)loop_step(l, 0);
    }
    while (a.len < PASTE) {
        size_t len = a.len;
        give(&a, 16);
        EVENTUALLY(a.len == len + 16);
    }
    cr_assert_eq(memcmp(a.got, pattern, PASTE), 0);
}

TEST_BOTH(terminal_that_nobody_reads)
{
    struct termios t;
    open_terminal();
    cr_assert_eq(tcgetattr(slave, &t), 0);
    cfmakeraw(&t);
    cr_assert_eq(tcsetattr(slave, TCSANOW, &t), 0);
    full_then_drained(slave, master);
}

TEST_BOTH(terminal_hangs_up)
{
    open_terminal();
    start(slave, slave);
    give(&a, 100);
    close(master);
    expect_quiet();
    expect_dead();
}

TEST_BOTH(terminal_size)
{
    struct winsize ws = {.ws_col = 100, .ws_row = 30};
    uint16_t cols = 0, rows = 0;
    open_terminal();
    start(slave, slave);
    cr_assert_not(chardev_size(c, &cols, &rows), "0 by 0 is no size");
    cr_assert_eq(ioctl(master, TIOCSWINSZ, &ws), 0);
    cr_assert(chardev_size(c, &cols, &rows));
    cr_assert_eq(cols, 100);
    cr_assert_eq(rows, 30);
    chardev_resized(c);
    loop_settle(l);
    cr_assert_eq(a.resized, 1u);
    cr_assert_eq(b.resized, 1u);
}

/* Pseudo-terminals. */

static int open_slave(void)
{
    int fd = open(chardev_path(c), O_RDWR | O_NOCTTY);
    cr_assert_geq(fd, 0);
    return fd;
}

static void start_pty(void)
{
    struct chardev_spec spec = {.kind = CHARDEV_PTY};
    start_on(&spec, -1, -1);
    cr_assert_not_null(chardev_path(c));
}

TEST_BOTH(pty_nobody_there)
{
    start_pty();
    give(&a, 100);
    cr_assert_not(chardev_connected(c));
    for (int i = 0; i < 100; i++)
        cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
    expect_quiet();
    cr_assert_eq(a.len, 0u);
    cr_assert_eq(a.writable, 0u);
}

TEST_BOTH(pty_both_ways_without_echo)
{
    start_pty();
    give(&a, 100);
    int fd = open_slave();
    cr_assert_eq(chardev_write(c, pattern, 10), 10u, "before the timer's tick");
    cr_assert_eq(drain(fd, 10), 10u);
    send_all(fd, "in\3\r", 4);
    EVENTUALLY(a.len == 4);
    cr_assert_eq(memcmp(a.got, "in\3\r", 4), 0);
    cr_assert_eq(a.connected, 1u);
    cr_assert(chardev_connected(c));
    cr_assert_eq(chardev_write(c, pattern, 300), 300u);
    expect_quiet();
    cr_assert_eq(a.len, 4u, "echo");
    cr_assert_eq(drain(fd, 300), 300u);
    close(fd);
}

TEST_BOTH(pty_comes_and_goes)
{
    start_pty();
    for (unsigned i = 1; i <= 3; i++) {
        int fd = open_slave();
        EVENTUALLY(a.connected == i);
        send_all(fd, "left", 4);
        close(fd);
        EVENTUALLY(a.disconnected == i);
        cr_assert_not(chardev_connected(c));
        expect_quiet();
    }
    give(&a, 100);
    EVENTUALLY(a.len == 12);
    cr_assert_eq(memcmp(a.got, "leftleftleft", 12), 0);
}

TEST_BOTH(pty_full)
{
    start_pty();
    int fd = open_slave();
    EVENTUALLY(a.connected == 1);
    size_t total = fill();
    expect_quiet();
    cr_assert_eq(drain(fd, total), total);
    EVENTUALLY(a.writable == 1);
    (void)fill();
    close(fd);
    EVENTUALLY(a.disconnected == 1);
    cr_assert_eq(a.writable, 1u, "nobody waits for somebody who left");
    cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
}

TEST_BOTH(pty_filled_between_two_ticks)
{
    start_pty();
    int fd = open_slave();
    while (chardev_write(c, pattern, PASTE) == PASTE)
        continue;
    close(fd);
    EVENTUALLY(a.writable >= 1);
    cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
}

TEST_BOTH(pty_paste)
{
    start_pty();
    int fd = open_slave();
    EVENTUALLY(a.connected == 1);
    cr_assert_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    for (size_t sent = 0; a.len < PASTE;) {
        ssize_t n = sent < PASTE ? write(fd, pattern + sent, PASTE - sent) : 0;
        sent += n > 0 ? (size_t)n : 0;
        size_t len = a.len;
        give(&a, 16);
        EVENTUALLY(a.len == len + 16);
    }
    cr_assert_eq(memcmp(a.got, pattern, PASTE), 0);
    close(fd);
}

/* Sockets. */

static void start_unix(void)
{
    struct chardev_spec spec = {.kind = CHARDEV_UNIX, .path = path};
    start_on(&spec, -1, -1);
}

static int call(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(addr.sun_path, path);
    cr_assert_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return fd;
}

static bool is_closed(int fd)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
}

TEST_BOTH(unix_one_peer_after_another)
{
    start_unix();
    cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE, "dropped without a peer");
    for (unsigned i = 1; i <= 3; i++) {
        int fd = call();
        EVENTUALLY(a.connected == i);
        cr_assert(chardev_connected(c));
        cr_assert_eq(chardev_write(c, pattern, 100), 100u);
        cr_assert_eq(drain(fd, 100), 100u);
        send_all(fd, "hi", 2);
        give(&a, 2);
        EVENTUALLY(a.len == 2 * i);
        close(fd);
        EVENTUALLY(a.disconnected == i);
        cr_assert_not(chardev_connected(c));
    }
    expect_quiet();
}

TEST_BOTH(unix_second_peer_is_refused)
{
    start_unix();
    int first = call();
    EVENTUALLY(a.connected == 1);
    int second = call();
    EVENTUALLY(is_closed(second));
    cr_assert_not(is_closed(first));
    cr_assert_eq(a.connected, 1u);
    cr_assert_eq(a.disconnected, 0u);
    cr_assert_eq(chardev_write(c, pattern, 10), 10u);
    cr_assert_eq(drain(first, 10), 10u);
    close(first);
    close(second);
}

TEST_BOTH(unix_hang_up_and_call_again_at_once)
{
    start_unix();
    int fd = call();
    EVENTUALLY(a.connected == 1);
    close(fd);
    fd = call();
    EVENTUALLY(a.connected == 2);
    cr_assert_eq(a.disconnected, 1u);
    expect_quiet();
    cr_assert_not(is_closed(fd));
    close(fd);
}

TEST_BOTH(unix_leaves_its_input_behind)
{
    start_unix();
    int fd = call();
    EVENTUALLY(a.connected == 1);
    send_all(fd, pattern, PASTE);
    close(fd);
    EVENTUALLY(a.disconnected == 1);
    expect_quiet();
    fd = call();
    EVENTUALLY(a.connected == 2);
    send_all(fd, "next", 4);
    while (a.len < PASTE + 4) {
        size_t len = a.len, n = MIN((size_t)999, PASTE + 4 - len);
        give(&a, n);
        EVENTUALLY(a.len == len + n);
    }
    cr_assert_eq(memcmp(a.got, pattern, PASTE), 0);
    cr_assert_eq(memcmp(a.got + PASTE, "next", 4), 0);
    close(fd);
}

TEST_BOTH(unix_peer_that_only_listens)
{
    start_unix();
    int fd = call();
    EVENTUALLY(a.connected == 1);
    send_all(fd, "done", 4);
    cr_assert_eq(shutdown(fd, SHUT_WR), 0);
    expect_quiet();
    cr_assert_eq(a.disconnected, 0u);
    give(&a, 100);
    EVENTUALLY(a.len == 4);
    expect_quiet();
    size_t total = fill();
    expect_quiet();
    cr_assert_eq(drain(fd, total), total);
    EVENTUALLY(a.writable == 1);
    cr_assert_eq(a.disconnected, 0u);
    close(fd);
    EVENTUALLY(a.disconnected == 1);
    expect_quiet();
}

TEST_BOTH(unix_full)
{
    start_unix();
    int fd = call();
    EVENTUALLY(a.connected == 1);
    size_t total = fill();
    expect_quiet();
    cr_assert_eq(drain(fd, total), total);
    EVENTUALLY(a.writable == 1);
    (void)fill();
    close(fd);
    EVENTUALLY(a.disconnected == 1);
    cr_assert_eq(a.writable, 1u);
    cr_assert_eq(chardev_write(c, pattern, PASTE), (size_t)PASTE);
}

static void expect_unix_error(const char *at, const char *msg)
{
    struct chardev_spec spec = {.kind = CHARDEV_UNIX, .path = at};
    struct chardev *none = NULL;
    struct err e = {0};
    cr_assert_lt(chardev_new(&spec, l, &none, &e), 0);
    cr_assert_null(none);
    cr_assert_eq((int)e.kind, ERR_INPUT);
    cr_assert_not_null(strstr(e.msg, msg), "%s", e.msg);
}

TEST_BOTH(unix_paths)
{
    char longest[300];
    struct stat st;
    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    expect_unix_error(longest, "1 to 107 characters");
    expect_unix_error("", "1 to 107 characters");
    expect_unix_error("/nonexistent/x", "No such file or directory");
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    expect_unix_error(path, "exists and is not a socket");
    cr_assert_eq(stat(path, &st), 0, "somebody's file was removed");
    close(fd);
    unlink(path);

    start_unix();
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600u);
    expect_unix_error(path, "somebody else listens");
    cr_assert_eq(stat(path, &st), 0);
    chardev_free(c);
    c = NULL;
    cr_assert_lt(stat(path, &st), 0, "not unlinked");
}

TEST_BOTH(unix_stale_socket)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int dead = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(addr.sun_path, path);
    cr_assert_eq(bind(dead, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(dead);
    start_unix();
    int fd = call();
    EVENTUALLY(a.connected == 1);
    close(fd);
}

TEST_BOTH(unix_unlinks_only_its_own)
{
    struct stat st;
    start_unix();
    cr_assert_eq(unlink(path), 0);
    close(open(path, O_RDWR | O_CREAT, 0600));
    chardev_free(c);
    c = NULL;
    cr_assert_eq(stat(path, &st), 0);
}

/* On a thread of its own: output from here, input there. */
static void wait_a_little(void)
{
    struct timespec t = {.tv_nsec = 1000000};
    nanosleep(&t, NULL);
}

static void start_there(void *ctx)
{
    (void)ctx;
    cr_assert_eq(chardev_start(c), 0);
}

static void free_there(void *ctx)
{
    (void)ctx;
    chardev_free(TAKE_PTR(c));
}

static atomic_uint writable_there;
static void count_writable(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&writable_there, 1);
}

TEST_BOTH(threads)
{
    int out[2];
    struct err e;
    struct chardev_spec spec = {.kind = CHARDEV_STDIO};
    struct chardev_client client = {wants_input, room, receive, count_writable, NULL, &a};
    cr_assert_eq(pipe(out), 0);
    cr_assert_eq(chardev_new_fds(&spec, open("/dev/null", O_RDONLY), out[1], l, &c, &e), 0);
    chardev_attach(c, &client);
    stepped = false;
    cr_assert_eq(loop_start(l), 0);
    loop_call(l, start_there, NULL);
    for (unsigned round = 1; round <= 20; round++) {
        size_t total = fill();
        cr_assert_eq(drain(out[0], total), total);
        while (atomic_load(&writable_there) < round)
            wait_a_little();
    }
    loop_call(l, free_there, NULL);
    loop_stop(l);
}
