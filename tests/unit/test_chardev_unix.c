/* tests/unit/test_chardev_unix.c - a Unix socket as the host's end: peers that come, go, read
 * slowly or not at all, and paths that will not do. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/chardev_try.h"

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
