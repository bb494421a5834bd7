/* devices/net/user.c - a network in user space: libslirp is a router, DHCP and DNS server whose
 * outside is ordinary sockets of this process, so it needs no privilege.
 *
 * libslirp wants to be polled. Its sockets sit in an epoll set of their own, which the loop watches
 * as one descriptor, and only while the guest has room for what they bring. */
#include <arpa/inet.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>

#include "base/log.h"
#include "devices/net/backend.h"
#include "devices/net/text.h"

enum {
    WAITING_MAX = 1 << 20, /* bytes of frames that the guest has no buffer for yet */
    TIMERS_MAX = 4,
    MTU_MAX = 65521, /* libslirp's own limit */
};

struct frame {
    struct frame *next;
    size_t len;
    uint8_t bytes[];
};

struct user_fd {        /* by number */
    uint32_t want, set; /* epoll events: what libslirp wants now, what the set has */
    uint32_t got;       /* SLIRP_POLL_ bits */
    unsigned round;     /* of the last time that it was wanted */
    bool listed;
};

struct user_timer {
    SlirpTimerId id;
    void *ctx;
    int64_t at_ms; /* 0: not set */
    bool used;
};

struct user {
    struct net_backend b;
    struct loop *loop;
    char what[64];
    Slirp *slirp;
    int epoll_fd;
    struct loop_watch watch; /* of epoll_fd */
    struct loop_timer timer;
    struct loop_task after; /* something went into libslirp */
    struct user_timer timers[TIMERS_MAX];

    struct user_fd *fds;
    int *list; /* those with anything in `want` or `set` */
    size_t n_fds, n_list;
    unsigned round;

    struct frame *first, **last; /* for the guest */
    size_t waiting;
    bool listening;
    struct log_limit complaints;
    uint8_t out[NET_FRAME_MAX]; /* a frame from the guest, in one piece */
};

static struct user *of(struct net_backend *b)
{
    return container_of(b, struct user, b);
}

static int64_t now_ns(void *opaque)
{
    struct timespec t;
    (void)opaque;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- its sockets --- */

static const struct {
    int slirp;
    uint32_t epoll;
} event_map[] = {
    {SLIRP_POLL_IN, EPOLLIN},   {SLIRP_POLL_OUT, EPOLLOUT}, {SLIRP_POLL_PRI, EPOLLPRI},
    {SLIRP_POLL_ERR, EPOLLERR}, {SLIRP_POLL_HUP, EPOLLHUP},
};

static int grow(struct user *u, int fd)
{
    if ((size_t)fd < u->n_fds)
        return 0;
    size_t n = MAX((size_t)fd + 1, u->n_fds * 2);
    struct user_fd *fds = realloc(u->fds, n * sizeof(*fds));
    if (!fds)
        return -ENOMEM;
    memset(fds + u->n_fds, 0, (n - u->n_fds) * sizeof(*fds));
    u->fds = fds;
    int *list = realloc(u->list, n * sizeof(*list));
    if (!list)
        return -ENOMEM;
    u->list = list;
    u->n_fds = n;
    return 0;
}

static int add_poll(int fd, int events, void *opaque)
{
    struct user *u = opaque;
    if (fd < 0 || grow(u, fd) < 0)
        return -1; /* its connection stands still; there is no way to say so */
    struct user_fd *f = &u->fds[fd];
    if (f->round != u->round)
        f->want = 0;
    f->round = u->round;
    for (size_t i = 0; i < ARRAY_SIZE(event_map); i++) {
        if (events & event_map[i].slirp)
            f->want |= event_map[i].epoll;
    }
    if (!f->listed)
        u->list[u->n_list++] = fd;
    f->listed = true;
    return fd;
}

static int get_events(int index, void *opaque)
{
    struct user *u = opaque;
    return index < 0 ? 0 : (int)u->fds[index].got;
}

static void epoll_apply(struct user *u, int fd)
{
    struct user_fd *f = &u->fds[fd];
    struct epoll_event ev = {.events = f->want, .data.fd = fd};
    int op = !f->want ? EPOLL_CTL_DEL : f->set ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(u->epoll_fd, op, fd, &ev) < 0 && op == EPOLL_CTL_MOD && errno == ENOENT)
        (void)epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, fd, &ev); /* a new socket of that number */
    f->set = f->want;
}

static void forget_fd(int fd, void *opaque)
{
    struct user *u = opaque;
    if (fd < 0 || (size_t)fd >= u->n_fds || !u->fds[fd].set)
        return;
    u->fds[fd].want = 0;
    epoll_apply(u, fd);
    u->fds[fd].got = 0;
}

/* Asks libslirp what it waits for, and waits for that. */
static void update(struct user *u)
{
    uint32_t timeout_ms = UINT32_MAX;
    u->round++;
    slirp_pollfds_fill(u->slirp, &timeout_ms, add_poll, u);
    size_t kept = 0;
    for (size_t i = 0; i < u->n_list; i++) {
        struct user_fd *f = &u->fds[u->list[i]];
        if (f->round != u->round)
            f->want = 0;
        if (f->want != f->set)
            epoll_apply(u, u->list[i]);
        f->listed = f->want != 0;
        if (f->listed)
            u->list[kept++] = u->list[i];
    }
    u->n_list = kept;

    int64_t now = now_ns(NULL) / 1000000;
    for (size_t i = 0; i < TIMERS_MAX; i++) {
        const struct user_timer *t = &u->timers[i];
        if (t->used && t->at_ms)
            timeout_ms = (uint32_t)MIN((int64_t)timeout_ms, MAX(t->at_ms - now, (int64_t)1));
    }
    loop_timer_set(&u->timer, timeout_ms == UINT32_MAX ? 0 : MAX(timeout_ms, 1u) * 1000000ull);
}

/* --- frames for the guest --- */

static ssize_t to_guest(const void *buf, size_t len, void *opaque)
{
    struct user *u = opaque;
    struct frame *f = NULL;
    if (len <= NET_FRAME_MAX && u->waiting + len <= WAITING_MAX)
        f = malloc(sizeof(*f) + len);
    if (f) {
        *f = (struct frame){.len = len};
        memcpy(f->bytes, buf, len);
        *u->last = f;
        u->last = &f->next;
        u->waiting += len;
    }
    return (ssize_t)len; /* dropped ones are sent again by whoever cares */
}

static ssize_t user_recv(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct user *u = of(b);
    struct frame *f = u->first;
    (void)queue;
    if (!f)
        return -EAGAIN;
    size_t len = f->len, done = 0;
    memset(iov[0].iov_base, 0, iov[0].iov_len);
    for (unsigned i = 1; i < n && done < len; i++) {
        size_t part = MIN(iov[i].iov_len, len - done);
        memcpy(iov[i].iov_base, f->bytes + done, part);
        done += part;
    }
    u->first = f->next;
    if (!u->first)
        u->last = &u->first;
    u->waiting -= len;
    free(f);
    return (ssize_t)len;
}

/* After every call into libslirp, but not inside: the device may call back. */
static void after(void *ctx)
{
    struct user *u = ctx;
    if (u->first && u->listening)
        u->b.sink.readable(u->b.sink.ctx, 0);
    if (u->first && u->listening)
        loop_post(u->loop, &u->after); /* the device has had its share of this turn */
    update(u);
}

static void sockets_ready(void *ctx, uint32_t events)
{
    struct user *u = ctx;
    struct epoll_event ev[64];
    (void)events;
    int n = epoll_wait(u->epoll_fd, ev, ARRAY_SIZE(ev), 0);
    for (int i = 0; i < n; i++) {
        struct user_fd *f = &u->fds[ev[i].data.fd];
        for (size_t k = 0; k < ARRAY_SIZE(event_map); k++) {
            if (ev[i].events & event_map[k].epoll)
                f->got |= (uint32_t)event_map[k].slirp;
        }
    }
    slirp_pollfds_poll(u->slirp, 0, get_events, u);
    for (int i = 0; i < n; i++)
        u->fds[ev[i].data.fd].got = 0;
    after(u);
}

static void time_is_up(void *ctx)
{
    struct user *u = ctx;
    int64_t now = now_ns(NULL) / 1000000;
    for (size_t i = 0; i < TIMERS_MAX; i++) {
        struct user_timer *t = &u->timers[i];
        if (t->used && t->at_ms && t->at_ms <= now) {
            t->at_ms = 0;
            slirp_handle_timer(u->slirp, t->id, t->ctx);
        }
    }
    slirp_pollfds_poll(u->slirp, 0, get_events, u);
    after(u);
}

static void user_listen(struct net_backend *b, unsigned queue, bool on)
{
    struct user *u = of(b);
    (void)queue;
    if (u->listening == on)
        return;
    u->listening = on;
    loop_unwatch(u->loop, &u->watch);
    u->watch =
        (struct loop_watch){.fd = u->epoll_fd, .events = POLLIN, .fn = sockets_ready, .ctx = u};
    if (on && loop_watch(u->loop, &u->watch) < 0)
        log_error("%s: no memory to watch it: the network stands still", u->what);
    if (on)
        loop_post(u->loop, &u->after);
}

/* --- frames from the guest --- */

static int user_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct user *u = of(b);
    size_t len = 0;
    (void)queue;
    for (unsigned i = 1; i < n; i++) {
        if (iov[i].iov_len > sizeof(u->out) - len)
            return -EMSGSIZE;
        memcpy(u->out + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }
    slirp_input(u->slirp, u->out, (int)len);
    loop_post(u->loop, &u->after);
    return 0;
}

static void user_set_offloads(struct net_backend *b, uint64_t features)
{
    (void)b, (void)features; /* it has none */
}

/* --- what libslirp calls --- */

static void guest_error(const char *msg, void *opaque)
{
    struct user *u = opaque;
    log_limited(&u->complaints, LOG_INFO, "%s: %s", u->what, msg);
}

static void *timer_new(SlirpTimerId id, void *ctx, void *opaque)
{
    struct user *u = opaque;
    for (size_t i = 0; i < TIMERS_MAX; i++) {
        if (!u->timers[i].used) {
            u->timers[i] = (struct user_timer){.id = id, .ctx = ctx, .used = true};
            return &u->timers[i];
        }
    }
    return NULL;
}

static void timer_free(void *timer, void *opaque)
{
    (void)opaque;
    if (timer)
        ((struct user_timer *)timer)->used = false;
}

static void timer_mod(void *timer, int64_t at_ms, void *opaque)
{
    (void)opaque;
    if (timer)
        ((struct user_timer *)timer)->at_ms = at_ms; /* update() follows every call */
}

static void ignore_fd(int fd, void *opaque)
{
    (void)fd, (void)opaque; /* it is asked for by name when it is wanted */
}

static void ignore_notify(void *opaque)
{
    (void)opaque; /* update() follows every call */
}

static const SlirpCb callbacks = {.send_packet = to_guest,
                                  .guest_error = guest_error,
                                  .clock_get_ns = now_ns,
                                  .timer_new_opaque = timer_new,
                                  .timer_free = timer_free,
                                  .timer_mod = timer_mod,
                                  .register_poll_fd = ignore_fd,
                                  .unregister_poll_fd = forget_fd,
                                  .notify = ignore_notify};

/* --- from start to end --- */

static void user_free(struct net_backend *b)
{
    struct user *u = of(b);
    if (u->slirp)
        slirp_cleanup(u->slirp);
    loop_task_cancel(u->loop, &u->after);
    loop_unwatch(u->loop, &u->watch);
    loop_timer_close(&u->timer);
    for (struct frame *f = u->first, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    fd_cleanup_(&u->epoll_fd);
    free(u->fds);
    free(u->list);
    free(u);
}

static const struct net_backend_ops user_ops = {.recv = user_recv,
                                                .send = user_send,
                                                .listen = user_listen,
                                                .set_offloads = user_set_offloads,
                                                .free = user_free};

static int forward(struct user *u, const char *text, struct err *e)
{
    struct net_hostfwd f;
    if (net_parse_hostfwd(text, &f) < 0)
        return err_input(e, 0, "%s: hostfwd \"%s\": tcp:[HOSTADDR]:PORT-[GUESTADDR]:PORT is wanted",
                         u->what, text);
    errno = 0;
    if (slirp_add_hostfwd(u->slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0)
        return err_host(e, errno ? -errno : -EADDRNOTAVAIL, "%s: hostfwd %s", u->what, text);
    return 0;
}

static struct in_addr address(uint32_t v)
{
    return (struct in_addr){.s_addr = htonl(v)};
}

static int configure(struct user *u, const struct net_backend_spec *s, struct err *e)
{
    uint32_t net = 0x0a000200, mask = 0xffffff00;
    if (s->net && net_parse_subnet(s->net, &net, &mask) < 0)
        return err_input(e, 0, "%s: net \"%s\": ADDRESS/BITS is wanted, as 10.0.2.0/24, at most 28",
                         s->what, s->net);
    if (s->mtu > MTU_MAX)
        return err_input(e, 0, "%s: mtu %u is more than %d, its most", s->what, s->mtu, MTU_MAX);
    SlirpConfig c = {.version = 4,
                     .restricted = s->restricted,
                     .in_enabled = true,
                     .vnetwork = address(net),
                     .vnetmask = address(mask),
                     .vhost = address(net + 2),
                     .vnameserver = address(net + 3),
                     .vdhcp_start = address(net + 15 < (net | ~mask) ? net + 15 : net + 4),
                     .in6_enabled = true,
                     .vprefix_len = 64,
                     .if_mtu = s->mtu,
                     .if_mru = s->mtu};
    (void)inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
    (void)inet_pton(AF_INET6, "fec0::2", &c.vhost6);
    (void)inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
    u->slirp = slirp_new(&c, &callbacks, u);
    return u->slirp ? 0 : err_host(e, 0, "%s: libslirp refuses to start", s->what);
}

int net_user_open(const struct net_backend_spec *s, struct loop *l, struct net_backend **out,
                  struct err *e)
{
    if (s->queues > 1)
        return err_input(e, 0, "%s: has one pair of queues, not %u", s->what, s->queues);
    struct user *u = calloc(1, sizeof(*u));
    if (!u)
        return err_host(e, -ENOMEM, "%s", s->what);
    u->b = (struct net_backend){.ops = &user_ops, .queues = 1, .steers = true};
    u->loop = l;
    u->last = &u->first;
    u->after = (struct loop_task){.fn = after, .ctx = u};
    (void)snprintf(u->what, sizeof(u->what), "%s", s->what);
    u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int rc = u->epoll_fd < 0 ? -errno : loop_timer_open(l, &u->timer, time_is_up, u);
    if (rc < 0)
        (void)err_host(e, rc, "%s", s->what);
    else
        rc = configure(u, s, e);
    for (unsigned i = 0; rc == 0 && i < s->hostfwd.n; i++)
        rc = forward(u, s->hostfwd.v[i], e);
    if (rc < 0) {
        user_free(&u->b);
        return rc;
    }
    loop_post(l, &u->after);
    *out = &u->b;
    return 0;
}
