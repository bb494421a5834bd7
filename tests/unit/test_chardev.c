/* tests/unit/test_chardev.c - standard input and output and files as the host's end: nothing is
 * lost, nothing blocks, nothing spins. */
#include <limits.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "tests/unit/chardev_try.h"

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
    c->at_once = PIPE_BUF;
    size_t total = fill();
    cr_assert_eq(drain(out[0], total), total);
    EVENTUALLY(a.writable == 1);
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
