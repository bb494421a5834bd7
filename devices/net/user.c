/* devices/net/user.c - a network in user space: libslirp is a router, DHCP and DNS server whose
 * outside is ordinary sockets of this process, so it needs no privilege. */
#include <arpa/inet.h>
#include <limits.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "base/lib.h"
#include "devices/net/text.h"
#include "devices/net/user_priv.h"

struct user_slirp user_slirp;

static int load(struct err *e)
{
    const struct lib_function functions[] = {
        {"slirp_new", &user_slirp.new},
        {"slirp_cleanup", &user_slirp.cleanup},
        {"slirp_add_hostfwd", &user_slirp.add_hostfwd},
        {"slirp_input", &user_slirp.input},
        {"slirp_pollfds_fill", &user_slirp.pollfds_fill},
        {"slirp_pollfds_poll", &user_slirp.pollfds_poll},
        {"slirp_handle_timer", &user_slirp.handle_timer},
    };
    return lib_load(SLIRP_SONAME, functions, ARRAY_SIZE(functions), e);
}

static struct user *of(struct net_backend *b)
{
    return container_of(b, struct user, b);
}

/* --- frames for the guest --- */

static ssize_t to_guest(const void *buf, size_t len, void *opaque)
{
    struct user *u = opaque;
    struct frame *f = NULL;
    if (len <= NET_FRAME_MAX && u->waiting + len <= USER_WAITING_MAX)
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
void user_after(void *ctx)
{
    struct user *u = ctx;
    if (u->first && u->listening)
        u->b.sink.readable(u->b.sink.ctx, 0);
    if (u->first && u->listening)
        loop_post(u->loop, &u->after); /* the device has had its share of this turn */
    user_update(u);
}

static void user_listen(struct net_backend *b, unsigned queue, bool on)
{
    struct user *u = of(b);
    (void)queue;
    if (u->listening == on)
        return;
    u->listening = on;
    loop_unwatch(u->loop, &u->watch);
    u->watch = (struct loop_watch){
        .fd = u->epoll_fd, .events = POLLIN, .fn = user_sockets_ready, .ctx = u};
    if (on && loop_watch(u->loop, &u->watch) < 0)
        log_error("%s: no memory to watch it: the network stands still", u->what);
    if (on)
        loop_post(u->loop, &u->after);
}

static void user_quiet(struct net_backend *b, unsigned queue)
{
    user_listen(b, queue, false); /* there is always room to send */
}

/* --- frames from the guest --- */

/* Whether libslirp may make a socket of it: for a segment that begins a connection, for any
 * datagram or echo, and for what it takes another way to than this. */
static bool may_open(const uint8_t *f, size_t len)
{
    enum { TYPE = 12, IP = 14, IP_LEAST = 20, IP6 = 40, FLAGS = 13, SYN = 2, ACK = 16 };
    if (len < IP + IP_LEAST)
        return false;
    const uint8_t *ip = f + IP;
    unsigned type = (unsigned)f[TYPE] << 8 | f[TYPE + 1];
    size_t at = IP + (type == ETH_P_IP ? (ip[0] & 15) * 4u : IP6) + FLAGS;
    uint8_t protocol = type == ETH_P_IP ? ip[9] : ip[6];
    if (type != ETH_P_IP && type != ETH_P_IPV6)
        return false;
    if (type == ETH_P_IP && ((ip[6] & 0x3f) | ip[7]))
        return true; /* a fragment */
    if (type == ETH_P_IPV6 && protocol == IPPROTO_ICMPV6)
        return false;
    return protocol != IPPROTO_TCP || at >= len || (f[at] & (SYN | ACK)) == SYN;
}

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
    if (may_open(u->out, len)) {
        if (u->n_open < u->most_open && u->n_open + u->maybe_open >= u->most_open)
            user_update(u); /* looks how many did */
        if (u->n_open >= u->most_open) {
            log_limited(&u->complaints, LOG_WARN, "%s: has %u sockets, and may not have more",
                        u->what, u->n_open);
            return 0; /* dropped: whoever cares tries again */
        }
        u->maybe_open++;
    }
    user_slirp.input(u->slirp, u->out, (int)len);
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

static void ignore_notify(void *opaque)
{
    (void)opaque; /* user_update() follows every call */
}

static const SlirpCb callbacks = {.send_packet = to_guest,
                                  .guest_error = guest_error,
                                  .clock_get_ns = user_now_ns,
                                  .timer_new_opaque = user_timer_new,
                                  .timer_free = user_timer_free,
                                  .timer_mod = user_timer_mod,
                                  .register_poll_fd = user_new_fd,
                                  .unregister_poll_fd = user_forget_fd,
                                  .notify = ignore_notify};

/* --- from start to end --- */

static void user_free(struct net_backend *b)
{
    struct user *u = of(b);
    if (u->slirp)
        user_slirp.cleanup(u->slirp);
    loop_task_cancel(u->loop, &u->after);
    loop_unwatch(u->loop, &u->watch);
    loop_timer_close(&u->timer);
    for (struct frame *f = u->first, *next; f; f = next) {
        next = f->next;
        free(f);
    }
    fd_cleanup_(&u->epoll_fd);
    fd_unshare(u->most_open);
    free(u->fds);
    free(u->asked);
    free(u->list);
    free(u);
}

static const struct net_backend_ops user_ops = {.recv = user_recv,
                                                .send = user_send,
                                                .listen = user_listen,
                                                .set_offloads = user_set_offloads,
                                                .quiet = user_quiet,
                                                .free = user_free};

static int forward(struct user *u, const char *text, struct err *e)
{
    struct net_hostfwd f;
    if (net_parse_hostfwd(text, &f) < 0)
        return err_input(e, 0, "%s: hostfwd \"%s\": tcp:[HOSTADDR]:PORT-[GUESTADDR]:PORT is wanted",
                         u->what, text);
    errno = 0;
    if (user_slirp.add_hostfwd(u->slirp, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0)
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
    if (s->mtu > USER_MTU_MAX)
        return err_input(e, 0, "%s: mtu %u is more than %d, its most", s->what, s->mtu,
                         USER_MTU_MAX);
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
                     .if_mtu = u->b.mtu,
                     .if_mru = u->b.mtu};
    (void)inet_pton(AF_INET6, "fec0::", &c.vprefix_addr6);
    (void)inet_pton(AF_INET6, "fec0::2", &c.vhost6);
    (void)inet_pton(AF_INET6, "fec0::3", &c.vnameserver6);
    u->slirp = user_slirp.new(&c, &callbacks, u);
    return u->slirp ? 0 : err_host(e, 0, "%s: libslirp refuses to start", s->what);
}

#define SOCKET(domain)                                                                             \
    {                                                                                              \
        .nr = SYS_socket, .on = ON_SLIRP, .arg = 0, .mask = UINT32_MAX, .value = (domain)          \
    }
#define CALL(name)                                                                                 \
    {                                                                                              \
        .nr = SYS_##name, .on = ON_SLIRP                                                           \
    }
const struct sandbox_list net_user_calls = {
    .name = "net user",
    .calls = (const struct sandbox_call[]){
        SOCKET(AF_INET),
        SOCKET(AF_INET6),
        CALL(connect),
        CALL(accept),
        CALL(shutdown),
        CALL(sendto),
        CALL(recvfrom),
        CALL(recvmsg),
        CALL(getsockopt),
        CALL(setsockopt),
        CALL(getpeername),
        {.nr = SYS_ioctl, .on = ON_SLIRP, .arg = 1, .mask = UINT32_MAX, .value = FIONREAD},
        /* if_nametoindex(), for a name server with a scope. */
        {.nr = SYS_ioctl, .on = ON_SLIRP, .arg = 1, .mask = UINT32_MAX, .value = SIOCGIFINDEX},
        {.nr = SYS_socket,
         .on = ON_SLIRP,
         .arg = 0,
         .mask = UINT32_MAX,
         .value = AF_UNIX,
         .arg2 = 1,
         .mask2 = UINT32_MAX,
         .value2 = SOCK_DGRAM | SOCK_CLOEXEC},
        CALL(fcntl),
        /* Also at the end, of what is still open. */
        {.nr = SYS_epoll_ctl, .on = ON_SLIRP | ON_MAIN},
        /* The host's name server, looked up anew. */
        CALL(openat),
        {.nr = SYS_lseek, .on = ON_SLIRP, .why = "of a file with more servers than it reads"},
        CALL(newfstatat),
        {0}}};

/* Its folder, where the file is replaced when the network changes; but not all of /etc. */
static void allow_resolver(void)
{
    char at[PATH_MAX];
    sandbox_path("/etc/resolv.conf", SANDBOX_READ);
    char *slash = realpath("/etc/resolv.conf", at) ? strrchr(at, '/') : NULL;
    if (!slash || slash == at || !strncmp(at, "/etc/", 5))
        return;
    *slash = '\0';
    sandbox_path(at, SANDBOX_READ);
}

int net_user_open(const struct net_backend_spec *s, struct loop *l, struct net_backend **out,
                  struct err *e)
{
    if (s->queues > 1)
        return err_input(e, 0, "%s: has one pair of queues, not %u", s->what, s->queues);
    sandbox_need(&net_user_calls);
    allow_resolver();
    int rc = load(e);
    if (rc < 0)
        return rc;
    struct user *u = calloc(1, sizeof(*u));
    if (!u)
        return err_host(e, -ENOMEM, "%s", s->what);
    u->b = (struct net_backend){
        .ops = &user_ops, .queues = 1, .steers = true, .mtu = s->mtu ? s->mtu : USER_MTU};
    u->loop = l;
    u->most_open = (unsigned)fd_share(USER_SOCKETS_MAX);
    u->last = &u->first;
    u->after = (struct loop_task){.fn = user_after, .ctx = u};
    (void)snprintf(u->what, sizeof(u->what), "%s", s->what);
    u->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    rc = u->epoll_fd < 0 ? -errno : loop_timer_open(l, &u->timer, user_time_is_up, u);
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
    user_update(u);
    user_forwards(u);
    loop_post(l, &u->after);
    *out = &u->b;
    return 0;
}
