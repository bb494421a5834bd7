/* devices/net/backend.c - which kinds of back end there are, and the one that is a cable with
 * nothing at its other end. */
#include "devices/net/backend.h"

static int (*const openers[])(const struct net_backend_spec *s, struct loop *l,
                              struct net_backend **out, struct err *e) = {
    [NET_USER] = net_user_open,     [NET_TAP] = net_tap_open,   [NET_MACVTAP] = net_tap_open,
    [NET_SOCKET] = net_socket_open, [NET_NONE] = net_none_open,
};

/* Keys that say something to other kinds only. */
static int check_keys(const struct net_backend_spec *s, struct err *e)
{
    bool user = s->kind == NET_USER, socket = s->kind == NET_SOCKET, tap = s->kind == NET_TAP;
    const struct {
        bool given, fits;
        const char *key;
    } keys[] = {
        {s->ifname != NULL, tap || s->kind == NET_MACVTAP, "ifname"},
        {s->fds != NULL, tap || socket, "fd"},
        {s->vnet_hdr, socket, "vnet_hdr"},
        {s->restricted, user, "restrict"},
        {s->net != NULL, user, "net"},
        {s->hostfwd.n > 0, user, "hostfwd"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (keys[i].given && !keys[i].fits)
            return err_input(e, 0, "%s: has no use for %s", s->what, keys[i].key);
    }
    return 0;
}

int net_backend_open(const struct net_backend_spec *s, struct loop *l, struct net_backend **out,
                     struct err *e)
{
    int rc = check_keys(s, e);
    return rc < 0 ? rc : openers[s->kind](s, l, out, e);
}

void net_backend_free(struct net_backend *b)
{
    if (b)
        b->ops->free(b);
}

/* --- none --- */

static ssize_t none_recv(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    (void)b, (void)queue, (void)iov, (void)n;
    return -EAGAIN;
}

static int none_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    (void)b, (void)queue, (void)iov, (void)n;
    return 0;
}

static void none_listen(struct net_backend *b, unsigned queue, bool on)
{
    (void)b, (void)queue, (void)on;
}

static void none_quiet(struct net_backend *b, unsigned queue)
{
    (void)b, (void)queue;
}

static void none_set_offloads(struct net_backend *b, uint64_t features)
{
    (void)b, (void)features;
}

static void none_free(struct net_backend *b)
{
    free(b);
}

static const struct net_backend_ops none_ops = {.recv = none_recv,
                                                .send = none_send,
                                                .listen = none_listen,
                                                .set_offloads = none_set_offloads,
                                                .quiet = none_quiet,
                                                .free = none_free};

/* Whoever drops everything can take everything. */
int net_none_open(const struct net_backend_spec *s, struct loop *l, struct net_backend **out,
                  struct err *e)
{
    (void)l;
    struct net_backend *b = calloc(1, sizeof(*b));
    if (!b)
        return err_host(e, -ENOMEM, "%s", s->what);
    *b = (struct net_backend){.ops = &none_ops,
                              .offloads = NET_TX_OFFLOADS | NET_RX_OFFLOADS,
                              .queues = s->queues,
                              .steers = true};
    *out = b;
    return 0;
}
