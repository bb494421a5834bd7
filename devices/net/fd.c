/* devices/net/fd.c - back ends whose queues are descriptors: a tap's, or a packet socket's. A frame
 * goes between the guest's buffers and the kernel in one system call and is never copied here. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/log.h"
#include "devices/net/backend.h"

struct fd_queue {
    struct fd_backend *owner;
    struct loop_watch watch;
    int fd;
    bool want_in, want_out, gone;
};

struct fd_backend {
    struct net_backend b;
    char what[64];
    struct log_limit complaints;
    bool vnet;
    struct fd_queue q[NET_QUEUES_MAX];
};

static struct fd_backend *of(struct net_backend *b)
{
    return container_of(b, struct fd_backend, b);
}

int net_fd(const struct net_backend *b, unsigned queue)
{
    return container_of(b, const struct fd_backend, b)->q[queue].fd;
}

/* --- watching --- */

static void on_ready(void *ctx, uint32_t events);

/* One watch for both directions: epoll takes a descriptor only once. */
static void rewatch(struct fd_queue *q)
{
    uint32_t want = (q->want_in ? POLLIN : 0u) | (q->want_out ? POLLOUT : 0u);
    if (q->gone)
        want = 0;
    if (q->watch.slot && q->watch.events == want)
        return;
    struct loop *loop = q->owner->b.sink.loop[q - q->owner->q];
    loop_unwatch(loop, &q->watch);
    if (!want)
        return;
    q->watch = (struct loop_watch){.fd = q->fd, .events = want, .fn = on_ready, .ctx = q};
    if (loop_watch(loop, &q->watch) < 0)
        log_limited(&q->owner->complaints, LOG_ERROR,
                    "%s: no memory to watch it: the network stands still", q->owner->what);
}

/* Nothing comes any more: whoever was at the other end has left, or the interface was removed. */
static void give_up(struct fd_queue *q, int rc)
{
    if (!q->gone)
        log_warn("%s: nothing more can be received: %s", q->owner->what,
                 rc ? strerror(-rc) : "the other end was closed");
    q->gone = true;
    bool waited = q->want_out;
    q->want_out = false;
    rewatch(q);
    if (waited) /* what was to be sent is dropped from now on, and does not wait */
        q->owner->b.sink.writable(q->owner->b.sink.ctx, (unsigned)(q - q->owner->q));
}

/* What a datagram socket says of one frame that it sent, and not of itself. */
static bool passes_by(int rc)
{
    return rc == -ECONNREFUSED || rc == -EHOSTUNREACH || rc == -ENETUNREACH;
}

static bool error_passes_by(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && passes_by(-error);
}

static void on_ready(void *ctx, uint32_t events)
{
    struct fd_queue *q = ctx;
    struct fd_backend *f = q->owner;
    unsigned i = (unsigned)(q - f->q);
    if (q->want_out && events & (POLLOUT | POLLERR | POLLHUP)) {
        q->want_out = false;
        rewatch(q);
        f->b.sink.writable(f->b.sink.ctx, i);
    }
    if (events & POLLIN && q->want_in)
        f->b.sink.readable(f->b.sink.ctx, i);
    else if (events & (POLLERR | POLLHUP | POLLNVAL | POLLRDHUP) && !error_passes_by(q->fd))
        give_up(q, 0); /* level-triggered: it would be said for ever, unasked for too (io_uring) */
}

void net_fd_listen(struct net_backend *b, unsigned queue, bool on)
{
    struct fd_queue *q = &of(b)->q[queue];
    q->want_in = on;
    rewatch(q);
}

void net_fd_quiet(struct net_backend *b, unsigned queue)
{
    struct fd_queue *q = &of(b)->q[queue];
    q->want_in = q->want_out = false;
    rewatch(q);
}

void net_fd_complain(struct net_backend *b, const char *sentence, int rc)
{
    struct fd_backend *f = of(b);
    log_limited(&f->complaints, LOG_WARN, "%s: %s: %s", f->what, sentence, strerror(-rc));
}

/* --- frames --- */

/* A packet socket's neighbour may send nothing, which is a frame, or leave. */
static bool hung_up(const struct fd_queue *q)
{
    return poll_now(q->fd, POLLRDHUP) & (POLLHUP | POLLRDHUP);
}

ssize_t net_fd_recv(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct fd_backend *f = of(b);
    struct fd_queue *q = &f->q[queue];
    size_t head = f->vnet ? iov[0].iov_len : 0;
    if (q->gone)
        return -EAGAIN;
    ssize_t r;
    do
        r = f->vnet ? readv(q->fd, iov, (int)n) : readv(q->fd, iov + 1, (int)n - 1);
    while (r < 0 && errno == EINTR);
    int rc = r < 0 ? -errno : 0;
    if (rc == -EAGAIN || passes_by(rc))
        return -EAGAIN;
    if (r < 0 || (r == 0 && hung_up(q))) {
        give_up(q, rc);
        return -EAGAIN;
    }
    if (!f->vnet)
        memset(iov[0].iov_base, 0, iov[0].iov_len);
    return (size_t)r < head ? 0 : r - (ssize_t)head;
}

int net_fd_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct fd_backend *f = of(b);
    struct fd_queue *q = &f->q[queue];
    ssize_t r;
    do
        r = f->vnet ? writev(q->fd, iov, (int)n) : writev(q->fd, iov + 1, (int)n - 1);
    while (r < 0 && errno == EINTR);
    if (r >= 0)
        return 0;
    int rc = -errno;
    if (rc == -EAGAIN && q->gone)
        return -EPIPE; /* nobody will ever make room */
    if (rc == -EAGAIN) {
        q->want_out = true;
        rewatch(q);
    }
    return rc;
}

void net_fd_free(struct net_backend *b)
{
    struct fd_backend *f = of(b);
    for (unsigned i = 0; i < f->b.queues; i++) {
        loop_unwatch(b->sink.loop[i], &f->q[i].watch);
        fd_cleanup_(&f->q[i].fd);
    }
    free(f);
}

const struct sandbox_list net_fd_calls = {
    .name = "net by descriptor",
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_readv, .on = ON_LOOP},
        {.nr = SYS_writev, .on = ON_LOOP},
        {.nr = SYS_getsockopt, .on = ON_LOOP, .why = "a socket with an error: test_fault_net"},
        {0}}};

int net_fd_new(const char *what, const int *fds, unsigned n, bool vnet,
               const struct net_backend_ops *ops, struct net_backend **out, struct err *e)
{
    sandbox_need(&net_fd_calls);
    struct fd_backend *f = calloc(1, sizeof(*f));
    if (!f) {
        for (unsigned i = 0; i < n; i++)
            (void)close(fds[i]);
        return err_host(e, -ENOMEM, "%s", what);
    }
    f->b = (struct net_backend){.ops = ops, .queues = n};
    f->vnet = vnet;
    (void)snprintf(f->what, sizeof(f->what), "%s", what);
    for (unsigned i = 0; i < n; i++)
        f->q[i] = (struct fd_queue){.owner = f, .fd = fds[i]};
    *out = &f->b;
    return 0;
}

/* --- inherited descriptors --- */

int net_fds_take(const struct net_backend_spec *s, int fds[NET_QUEUES_MAX], struct err *e)
{
    const char *p = s->fds;
    for (unsigned i = 0; i < s->queues; i++) {
        char *end;
        errno = 0;
        long v = strtol(p, &end, 10);
        char want = i + 1 < s->queues ? ':' : '\0';
        if (end == p || *p < '0' || *p > '9' || errno || v > INT32_MAX || *end != want)
            return err_input(e, 0,
                             "%s: fd \"%s\": a number for each of %u queues is wanted, as 3:4",
                             s->what, s->fds, s->queues);
        for (unsigned k = 0; k < i; k++) {
            if (fds[k] == (int)v)
                return err_input(e, 0, "%s: fd %ld is given twice", s->what, v);
        }
        fds[i] = (int)v;
        p = end + 1;
    }
    for (unsigned i = 0; i < s->queues; i++) {
        int flags = fcntl(fds[i], F_GETFL);
        if (fds[i] <= STDERR_FILENO || flags < 0)
            return err_input(e, flags < 0 ? -errno : 0, "%s: fd %d cannot be used", s->what,
                             fds[i]);
        if (fcntl(fds[i], F_SETFL, flags | O_NONBLOCK) < 0 ||
            fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0)
            return err_host(e, -errno, "%s: fd %d", s->what, fds[i]);
    }
    return 0;
}

/* --- sockets --- */

static void socket_set_offloads(struct net_backend *b, uint64_t features)
{
    (void)b, (void)features; /* the peer does not ask; what does not fit is dropped */
}

static const struct net_backend_ops socket_ops = {.recv = net_fd_recv,
                                                  .send = net_fd_send,
                                                  .listen = net_fd_listen,
                                                  .set_offloads = socket_set_offloads,
                                                  .quiet = net_fd_quiet,
                                                  .free = net_fd_free};

int net_socket_open(const struct net_backend_spec *s, struct loop *l, struct net_backend **out,
                    struct err *e)
{
    int fds[NET_QUEUES_MAX];
    (void)l; /* the sink says */
    if (!s->fds)
        return err_input(e, 0, "%s: fd is missing: the socket to use", s->what);
    int rc = net_fds_take(s, fds, e);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < s->queues; i++) {
        int type = 0;
        socklen_t len = sizeof(type);
        if (getsockopt(fds[i], SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
            (type != SOCK_DGRAM && type != SOCK_SEQPACKET))
            return err_input(e, 0, "%s: fd %d is no socket that keeps frames apart", s->what,
                             fds[i]);
    }
    rc = net_fd_new(s->what, fds, s->queues, s->vnet_hdr, &socket_ops, out, e);
    if (rc == 0 && s->vnet_hdr)
        (*out)->offloads = NET_TX_OFFLOADS | NET_RX_OFFLOADS;
    return rc;
}
