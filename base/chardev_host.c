/* base/chardev_host.c - opens the host's end of a chardev, each kind its own way. Nothing here may
 * change what was inherited: descriptors 0 and 1 are shared with the shell and its other children,
 * and so are their flags. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>

#include "base/chardev_priv.h"
#include "base/jail.h"

enum { HOLD_MAX = 256 * 1024, HOLD_DIRECT = 4096 };

static int hold_init(struct chardev *c, size_t cap, struct err *e)
{
    c->hold.buf = malloc(cap);
    if (!c->hold.buf)
        return err_host(e, -ENOMEM, "console");
    c->hold.cap = cap;
    return 0;
}

#define LAST_WORDS "at a reset, what the serial port has left when its writer was about to go on"
const struct sandbox_list chardev_socket_calls = {
    .name = "console on a socket",
    .calls =
        (const struct sandbox_call[]){{.nr = SYS_sendmsg, .on = ON_VCPU | ON_LOOP},
                                      {.nr = SYS_sendmsg, .on = ON_MAIN, .why = LAST_WORDS},
                                      {.nr = SYS_accept4, .on = ON_LOOP},
                                      {.nr = SYS_newfstatat, .on = ON_MAIN}, /* it is removed */
                                      {.nr = SYS_unlink, .on = ON_MAIN},
                                      {0}}};

static int open_stdio(struct chardev *c, int in_fd, int out_fd, struct err *e)
{
    struct stat st;

    c->out_fd = out_fd;
    c->how = OUT_PLAIN;
    c->connected = true;
    if (fstat(out_fd, &st) < 0) {
        c->dead = true; /* started with it closed */
    } else if (S_ISSOCK(st.st_mode)) {
        c->how = OUT_SOCKET;
        sandbox_need(&chardev_socket_calls);
    } else if (S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)) {
        int own = fd_unblocked(out_fd);
        c->out_owned = own >= 0;
        c->out_fd = own >= 0 ? own : out_fd;
        c->how = own >= 0 ? OUT_PLAIN : OUT_POLLED;
        c->at_once = isatty(out_fd) ? 1 : PIPE_BUF;
    }
    if (fcntl(in_fd, F_GETFD) >= 0)
        c->in_fd = in_fd;
    if (c->in_fd >= 0 && isatty(c->in_fd)) {
        int r = term_open(c, e);
        if (r < 0)
            return r;
    }
    return hold_init(c, c->terminal ? HOLD_MAX : HOLD_DIRECT, e);
}

static int open_file(struct chardev *c, const char *path, struct err *e)
{
    /* Non-blocking, so that a FIFO without a reader is an error and not a wait. */
    int flags = O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    c->out_fd = open(path, flags, 0666);
    if (c->out_fd < 0)
        return err_input(e, -errno, "%s", path);
    c->out_owned = c->connected = true;
    return 0;
}

static int open_timer(struct chardev *c, struct err *e)
{
    c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return c->timer_fd < 0 ? err_host(e, -errno, "console: timer") : 0;
}

static int open_pty(struct chardev *c, struct err *e)
{
    char name[64];
    struct termios t;

    c->in_fd = c->out_fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (c->in_fd < 0 || grantpt(c->in_fd) < 0 || unlockpt(c->in_fd) < 0)
        return err_host(e, -errno, "pty");
    int r = ptsname_r(c->in_fd, name, sizeof(name));
    if (r != 0)
        return err_host(e, -r, "pty: name");
    /* Raw, or the line discipline would echo the guest's output back as input. Closing the slave
     * again makes the master say POLLHUP, which it does not before a first open. */
    AUTO_FD slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || tcgetattr(slave, &t) < 0)
        return err_host(e, -errno, "pty: %s", name);
    cfmakeraw(&t);
    if (tcsetattr(slave, TCSANOW, &t) < 0)
        return err_host(e, -errno, "pty: %s", name);
    c->path = strdup(name);
    if (!c->path)
        return err_host(e, -ENOMEM, "pty");
    r = open_timer(c, e);
    return r < 0 ? r : hold_init(c, HOLD_MAX, e);
}

/* Makes way for bind(): removes a socket that its owner left behind, and nothing else. */
static int remove_stale(const struct sockaddr_un *addr, struct err *e)
{
    const char *path = addr->sun_path;
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_input(e, -errno, "%s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_input(e, 0, "%s: exists and is not a socket", path);
    AUTO_FD probe = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (probe < 0)
        return err_host(e, -errno, "%s: socket", path);
    if (connect(probe, (const struct sockaddr *)addr, sizeof(*addr)) == 0 || errno == EAGAIN)
        return err_input(e, 0, "%s: somebody else listens on it", path);
    if (errno != ECONNREFUSED || unlink(path) < 0)
        return err_input(e, -errno, "%s", path);
    return 0;
}

static int open_unix(struct chardev *c, const char *path, struct err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t size = strlen(path) + 1;

    if (size == 1 || size > sizeof(addr.sun_path))
        return err_input(e, 0, "%s: a socket's path has 1 to %zu characters", path,
                         sizeof(addr.sun_path) - 1);
    memcpy(addr.sun_path, path, size);
    int r = remove_stale(&addr, e);
    if (r < 0)
        return r;
    c->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->listen_fd < 0)
        return err_host(e, -errno, "%s: socket", path);
    /* bind() gives the path the mode that the socket has: a console is for its owner. */
    (void)fchmod(c->listen_fd, 0600);
    if (bind(c->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
        return err_input(e, -errno, "%s", path);
    c->path = strdup(path);
    r = c->path ? own_path_made(&c->own, path) : -ENOMEM;
    if (r == 0 && listen(c->listen_fd, 4) < 0)
        r = -errno;
    if (r < 0)
        return err_host(e, r, "%s", path);
    sandbox_need(&chardev_socket_calls);
    sandbox_path(path, SANDBOX_REMOVE);
    jail_remove_at_end(path);
    r = open_timer(c, e);
    return r < 0 ? r : hold_init(c, HOLD_MAX, e);
}

int chardev_open(struct chardev *c, const struct chardev_spec *spec, int in_fd, int out_fd,
                 struct err *e)
{
    switch (spec->kind) {
    case CHARDEV_STDIO:
        return open_stdio(c, in_fd, out_fd, e);
    case CHARDEV_PTY:
        return open_pty(c, e);
    case CHARDEV_FILE:
        return open_file(c, spec->path, e);
    case CHARDEV_UNIX:
        return open_unix(c, spec->path, e);
    case CHARDEV_NONE:
        break;
    }
    return 0;
}

void chardev_close(struct chardev *c)
{
    if (c->terminal)
        term_close();
    if (chardev_is_duplex(c))
        fd_cleanup_(&c->in_fd);
    else if (c->out_owned)
        fd_cleanup_(&c->out_fd);
    fd_cleanup_(&c->listen_fd);
    fd_cleanup_(&c->timer_fd);
    own_path_remove(&c->own, c->path);
    free(c->path);
    free(c->hold.buf);
}

bool chardev_size(const struct chardev *c, uint16_t *cols, uint16_t *rows)
{
    struct winsize ws;
    /* A socket's descriptor changes with its peer, but has no size whichever it is. */
    if (c->kind == CHARDEV_UNIX || c->kind == CHARDEV_NONE)
        return false;
    if (ioctl(c->out_fd, TIOCGWINSZ, &ws) < 0 &&
        (!c->terminal || ioctl(c->in_fd, TIOCGWINSZ, &ws) < 0))
        return false;
    if (!ws.ws_col || !ws.ws_row)
        return false;
    *cols = ws.ws_col;
    *rows = ws.ws_row;
    return true;
}
