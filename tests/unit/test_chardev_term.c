/* tests/unit/test_chardev_term.c - a terminal as the host's end, which comes back as it was, and
 * a pseudo-terminal. */
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>

#include "tests/unit/chardev_try.h"

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

/* As "vmm &" in a shell: an answer, and not a process that is stopped. */
static int open_in_background(void)
{
    struct chardev_spec spec = {.kind = CHARDEV_STDIO};
    struct err e = {0};
    struct termios before = {0}, after = {0};
    if (setpgid(0, 0) < 0 || tcgetattr(slave, &before) < 0)
        return 1;
    if (chardev_new_fds(&spec, slave, slave, l, &c, &e) >= 0 || e.kind != ERR_INPUT)
        return 2;
    if (!strstr(e.msg, "background"))
        return 3;
    return tcgetattr(slave, &after) == 0 && !memcmp(&before, &after, sizeof(before)) ? 0 : 4;
}

static int open_as_a_shell_does(void)
{
    int status = 0;
    if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0) < 0)
        return 10;
    pid_t job = fork();
    if (job == 0)
        _exit(open_in_background());
    if (waitpid(job, &status, WUNTRACED) != job)
        return 11;
    if (WIFSTOPPED(status)) {
        (void)kill(job, SIGKILL);
        return 12;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 13;
}

TEST_BOTH(terminal_is_not_for_the_background)
{
    int status = 0;
    open_terminal();
    pid_t shell = fork();
    if (shell == 0)
        _exit(open_as_a_shell_does());
    cr_assert_eq(waitpid(shell, &status, 0), shell);
    cr_assert(WIFEXITED(status));
    cr_expect_eq(WEXITSTATUS(status), 0, "%d", WEXITSTATUS(status));
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
