/* devices/vsock/host.c - the host's side: Unix sockets, by the convention that Firecracker set. All
 * of them are in one epoll set, edge-triggered, which the loop watches as one descriptor: a socket
 * that nobody asks, such as one whose peer has gone and whose driver has no room, costs nothing. */
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/jail.h"
#include "devices/vsock/vsock_priv.h"

enum { EVENTS = 64, ACCEPTS = 16, BACKLOG = 128, LISTENER = -1 };
enum { SUFFIX_MAX = sizeof("_4294967295") };

/* --- clients of the host's --- */

bool host_confirm(struct conn *c)
{
    char line[VSOCK_LINE_MAX];
    int n = snprintf(line, sizeof(line), "OK %u\n", c->host_port);
    struct iovec iov = {.iov_base = line, .iov_len = (size_t)n};
    return host_sendmsg(c->fd, &iov, 1) == n;
}

/* "CONNECT port\n", and nothing else. */
static bool parse_line(const char *line, size_t len, uint32_t *port)
{
    static const char WORD[] = "CONNECT ";
    const size_t word = sizeof(WORD) - 1;
    uint64_t v = 0;
    if (len < word + 2 || memcmp(line, WORD, word) != 0)
        return false;
    for (size_t i = word; i < len - 1; i++) {
        if (line[i] < '0' || line[i] > '9' || v > UINT32_MAX)
            return false;
        v = v * 10 + (uint64_t)(line[i] - '0');
    }
    if (v >= UINT32_MAX) /* which is any port */
        return false;
    *port = (uint32_t)v;
    return true;
}

static void refuse(struct conn *c)
{
    c->v->count.refused++;
    conn_free(c);
}

/* Looks without taking: what follows the line is the guest's. */
static void read_line(struct conn *c)
{
    struct vsock *v = c->v;
    char line[VSOCK_LINE_MAX];
    struct iovec iov = {.iov_base = line, .iov_len = sizeof(line)};
    ssize_t n = host_recvmsg(c->fd, &iov, 1, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    const char *end = n > 0 ? memchr(line, '\n', (size_t)n) : NULL;
    if (n > 0 && n < VSOCK_LINE_MAX && !end)
        return;
    size_t len = end ? (size_t)(end - line) + 1 : 0;
    uint32_t port;
    if (!end || !parse_line(line, len, &port) || !vdev_started(v->dev) ||
        !vsock_has_type(v, VIRTIO_VSOCK_TYPE_STREAM)) {
        refuse(c);
        return;
    }
    if (v->transport_reset)
        return; /* what began before the driver is told would end by that */
    iov.iov_len = len;
    if (host_recvmsg(c->fd, &iov, 1, 0) != (ssize_t)len || !conn_hash_free_port(c, port)) {
        refuse(c);
        return;
    }
    c->type = VIRTIO_VSOCK_TYPE_STREAM;
    c->state = CONN_ASKING;
    conn_deadline(c, VSOCK_ANSWER_TICKS);
    conn_due(c, DUE_REQUEST);
}

void host_clients_go_on(struct vsock *v)
{
    for (unsigned i = 0; i < VSOCK_CONNS; i++) {
        if (v->conns[i].state == CONN_LINE)
            read_line(&v->conns[i]);
    }
    vsock_rx(v);
}

static void greet(struct vsock *v)
{
    for (unsigned i = 0; i < ACCEPTS; i++) {
        int fd = accept4(v->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            log_limited(&v->complaints, LOG_WARN, "vsock: %s: %s", v->path, strerror(errno));
            host_listen(v, false); /* or it would be said for ever */
        }
        if (fd < 0)
            return;
        struct conn *c = conn_new(v, CONN_LINE, fd);
        if (!c) {
            (void)close(fd);
            v->count.refused++;
        } else if (host_watch(c) < 0) {
            refuse(c);
        } else {
            conn_deadline(c, VSOCK_LINE_TICKS);
        }
    }
}

/* --- the set --- */

static void hung_up(struct conn *c)
{
    if (c->state == CONN_ASKING && c->requested)
        conn_end(c, false);
    else if (c->state == CONN_ASKING)
        conn_free(c);
    else if (c->state != CONN_LINE) /* which may have said its line before it went */
        host_is_deaf(c);
}

static void on_event(struct conn *c, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->in_ready = true;
    if (events & EPOLLOUT)
        c->out_ready = true;
    if (events & EPOLLHUP)
        hung_up(c);
    if (c->state == CONN_LINE)
        read_line(c);
    else if (c->state != CONN_FREE)
        host_flush(c);
    conn_turn(c);
}

static void on_events(void *ctx, uint32_t ready)
{
    struct vsock *v = ctx;
    struct epoll_event ev[EVENTS];
    (void)ready;
    int n = epoll_wait(v->epoll_fd, ev, EVENTS, 0);
    for (int i = 0; i < n; i++) {
        if (ev[i].data.u64 == (uint64_t)LISTENER) {
            greet(v);
            continue;
        }
        struct conn *c = &v->conns[ev[i].data.u64 % VSOCK_CONNS];
        if (c->state != CONN_FREE && c->generation == ev[i].data.u64 / VSOCK_CONNS)
            on_event(c, ev[i].events);
    }
    vsock_rx(v);
}

int host_watch(struct conn *c)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                             .data.u64 = (uint64_t)c->generation * VSOCK_CONNS +
                                         (uint64_t)(c - c->v->conns)};
    return epoll_ctl(c->v->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0 ? -errno : 0;
}

void host_listen(struct vsock *v, bool on)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = (uint64_t)LISTENER};
    v->deaf = !on || epoll_ctl(v->epoll_fd, EPOLL_CTL_ADD, v->listen_fd, &ev) < 0;
    if (!on)
        (void)epoll_ctl(v->epoll_fd, EPOLL_CTL_DEL, v->listen_fd, NULL);
    if (v->deaf)
        conns_tick_on(v);
}

/* --- sockets --- */

int host_connect(struct vsock *v, uint32_t port, uint16_t type)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    bool messages = type == VIRTIO_VSOCK_TYPE_SEQPACKET;
    (void)snprintf(to.sun_path, sizeof(to.sun_path), "%s_%u", v->path, port); /* host_open() */
    AUTO_FD fd = socket(
        AF_UNIX, (messages ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int room = 2 * VSOCK_BUF; /* the longest message goes out in one piece */
    if (messages)
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
        return -errno;
    return TAKE_FD(fd);
}

static int bind_path(struct vsock *v, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t len = strlen(v->path), most = sizeof(at.sun_path) - SUFFIX_MAX;
    if (len > most)
        return err_input(e, 0, "vsock: %s: the path of a socket has at most %zu characters here",
                         v->path, most);
    memcpy(at.sun_path, v->path, len);
    v->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (v->listen_fd < 0)
        return err_host(e, -errno, "vsock: %s: socket", v->path);
    (void)fchmod(v->listen_fd, 0600); /* which bind() gives to the path: it is for its owner */
    if (bind(v->listen_fd, (const struct sockaddr *)&at, sizeof(at)) < 0)
        return errno == EADDRINUSE
                   ? err_input(e, 0, "vsock: %s: exists; remove it if it is nobody's", v->path)
                   : err_input(e, -errno, "vsock: %s", v->path);
    int rc = own_path_made(&v->own, v->path);
    if (rc < 0)
        return err_host(e, rc, "vsock: %s", v->path);
    sandbox_path(v->path, SANDBOX_REMOVE);
    jail_remove_at_end(v->path);
    return listen(v->listen_fd, BACKLOG) < 0 ? err_host(e, -errno, "vsock: %s", v->path) : 0;
}

int host_open(struct vsock *v, const char *path, struct err *e)
{
    v->path = strdup(path);
    if (!v->path)
        return err_host(e, -ENOMEM, "vsock");
    int rc = bind_path(v, e);
    if (rc < 0)
        return rc;
    v->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (v->epoll_fd < 0)
        return err_host(e, -errno, "vsock: epoll");
    rc = loop_timer_open(v->loop, &v->tick, conns_tick, v);
    v->watch = (struct loop_watch){.fd = v->epoll_fd, .events = POLLIN, .fn = on_events, .ctx = v};
    if (rc == 0)
        rc = loop_watch(v->loop, &v->watch);
    if (rc < 0)
        return err_host(e, rc, "vsock");
    host_listen(v, true);
    return 0;
}

void host_close(struct vsock *v)
{
    loop_unwatch(v->loop, &v->watch);
    loop_timer_close(&v->tick);
    fd_cleanup_(&v->epoll_fd);
    fd_cleanup_(&v->listen_fd);
    own_path_remove(&v->own, v->path);
    free(v->path);
}
