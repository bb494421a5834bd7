/* devices/net/net_create.c - a network device as the user describes it: options, back end, and the
 * features that come of them. */
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdio.h>

#include "devices/net/net.h"
#include "devices/net/net_class.h"
#include "devices/net/net_priv.h"
#include "devices/net/text.h"

enum { MTU_DEFAULT = 1500, MTU_MIN = 68, MTU_MAX = 65535 }; /* 5.1.4.1 */

struct net_opts { /* all zeroes is the default */
    int backend;  /* enum net_backend_kind */
    const char *mac, *ifname, *fds, *net, *pcap;
    struct opt_strs hostfwd;
    uint32_t mtu, queues;
    int link, offload, mrg_rxbuf, coalesce; /* 0: up, on */
    bool restricted, vnet_hdr, rss, hash;
    struct limits limits; /* ways: enum net_way */
};

static const char *const backend_names[] = {
    [NET_USER] = "user",     [NET_TAP] = "tap",   [NET_MACVTAP] = "macvtap",
    [NET_SOCKET] = "socket", [NET_NONE] = "none", NULL};
static const char *const link_names[] = {"up", "down", NULL};
static const char *const on_names[] = {"on", "off", NULL};

#define LIMIT(field) offsetof(struct net_opts, limits.field)
static const struct opt_desc net_opts[] = {
    {.key = "backend",
     .type = OPT_ENUM,
     .offset = offsetof(struct net_opts, backend),
     .help = "what the guest is connected to: a network of its own with a way out by the host's "
             "sockets, an interface of the host, an inherited socket, or nothing",
     .names = backend_names,
     .positional = true,
     .required = true},
    {.key = "mac",
     .type = OPT_STR,
     .offset = offsetof(struct net_opts, mac),
     .metavar = "ADDRESS",
     .help = "Ethernet address; default: a random one, or the macvtap's"},
    {.key = "mtu",
     .type = OPT_U32,
     .offset = offsetof(struct net_opts, mtu),
     .metavar = "N",
     .help = "longest packet, 68 to 65535 bytes; default: the host interface's, 16384 "
             "with user, or 1500",
     .min = MTU_MIN,
     .max = MTU_MAX},
    {.key = "queues",
     .type = OPT_U32,
     .offset = offsetof(struct net_opts, queues),
     .metavar = "N",
     .help = "pairs of queues, 1 to 16",
     .min = 1,
     .max = NET_QUEUES_MAX},
    {.key = "link",
     .type = OPT_ENUM,
     .offset = offsetof(struct net_opts, link),
     .help = "whether the cable is plugged in",
     .names = link_names,
     .live = true},
    {.key = "ifname",
     .type = OPT_STR,
     .offset = offsetof(struct net_opts, ifname),
     .metavar = "NAME",
     .help = "tap, macvtap: the interface, which must exist"},
    {.key = "fd",
     .type = OPT_STR,
     .offset = offsetof(struct net_opts, fds),
     .metavar = "N[:N...]",
     .help = "tap, socket: inherited descriptors, one for each queue"},
    {.key = "vnet_hdr",
     .type = OPT_FLAG,
     .offset = offsetof(struct net_opts, vnet_hdr),
     .help = "socket: each frame begins with a struct virtio_net_hdr_v1"},
    {.key = "hostfwd",
     .type = OPT_STRS,
     .offset = offsetof(struct net_opts, hostfwd),
     .metavar = "PROTO:[ADDRESS]:PORT-[ADDRESS]:PORT",
     .help = "user: a tcp or udp port of the host that leads to one of the guest; without the "
             "first address it is 127.0.0.1"},
    {.key = "restrict",
     .type = OPT_FLAG,
     .offset = offsetof(struct net_opts, restricted),
     .help = "user: no way out but by hostfwd"},
    {.key = "net",
     .type = OPT_STR,
     .offset = offsetof(struct net_opts, net),
     .metavar = "ADDRESS/BITS",
     .help = "user: the guest's network; default 10.0.2.0/24: router .2, DNS .3, guest .15"},
    {.key = "pcap",
     .type = OPT_STR,
     .offset = offsetof(struct net_opts, pcap),
     .metavar = "FILE",
     .help = "write every frame to FILE, for tcpdump or wireshark"},
    {.key = "offload",
     .type = OPT_ENUM,
     .offset = offsetof(struct net_opts, offload),
     .help = "leave checksums and segmentation to the host's kernel where it can",
     .names = on_names},
    {.key = "mrg_rxbuf",
     .type = OPT_ENUM,
     .offset = offsetof(struct net_opts, mrg_rxbuf),
     .help = "offer to spread a frame over several buffers",
     .names = on_names},
    {.key = "coalesce",
     .type = OPT_ENUM,
     .offset = offsetof(struct net_opts, coalesce),
     .help = "let the driver ask for fewer interrupts",
     .names = on_names},
    {.key = "rss",
     .type = OPT_FLAG,
     .offset = offsetof(struct net_opts, rss),
     .help = "offer receive-side scaling, which copies each frame"},
    {.key = "hash",
     .type = OPT_FLAG,
     .offset = offsetof(struct net_opts, hash),
     .help = "offer to report each frame's hash"},
    LIMIT_ROW(
        "rx_bps", LIMIT(way[NET_WAY_RX].bytes),
        "bytes (not bits) received at most: 50M each second; 5M/100ms; 1G more, once: 50M+1G"),
    LIMIT_ROW("rx_pps", LIMIT(way[NET_WAY_RX].ops), "frames received at most, in the same way"),
    LIMIT_ROW("tx_bps", LIMIT(way[NET_WAY_TX].bytes), "bytes sent at most"),
    LIMIT_ROW("tx_pps", LIMIT(way[NET_WAY_TX].ops), "frames sent at most"),
    {.type = OPT_END},
};

int net_update(struct vdev *d, const void *opts, struct err *e)
{
    const struct net_opts *o = opts;
    struct net *n = vdev_priv(d);
    (void)e;
    limiter_set(&n->limiter, &o->limits);
    net_set_link(d, o->link == 0);
    return 0;
}

static int net_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e);

/* The device itself needs nothing; each back end has its own: sandbox_need() when it is opened. */
static const struct sandbox_list net_calls = {.name = "net", .calls = &(struct sandbox_call){0}};
static bool on_slirp(const void *opts)
{
    return ((const struct net_opts *)opts)->backend == NET_USER;
}

static const struct sandbox_list *const net_lists[] = {
    &net_calls, &net_user_calls, &net_fd_calls, &net_tap_calls, &net_pcap_calls, NULL};

extern const struct vdev_class net_class;
const struct vdev_class net_class = {
    .name = "net",
    .summary = "network interface",
    .virtio_id = VIRTIO_ID_NET,
    .pci_class = 0x020000,
    .ops = &net_ops,
    .opts = net_opts,
    .opts_size = sizeof(struct net_opts),
    .create = net_create,
    .sandbox = net_lists,
    .on_slirp = on_slirp,
};

void net_destroy(struct net *n)
{
    if (!n)
        return;
    limiter_close(&n->limiter);
    net_backend_free(n->host);
    net_lanes_free(n);
    free(n);
}

static int open_host(struct net *n, const struct net_opts *o, struct loop *l, struct err *e)
{
    const struct net_backend_spec spec = {.kind = (enum net_backend_kind)o->backend,
                                          .what = n->what,
                                          .queues = n->pairs_max,
                                          .mtu = o->mtu,
                                          .ifname = o->ifname,
                                          .fds = o->fds,
                                          .vnet_hdr = o->vnet_hdr,
                                          .restricted = o->restricted,
                                          .net = o->net,
                                          .hostfwd = o->hostfwd};
    int rc = net_backend_open(&spec, l, &n->host, e);
    if (rc == 0 && o->pcap)
        rc = net_pcap_open(o->pcap, n->what, n->host, &n->host, e);
    if (rc < 0)
        return rc;
    n->host->sink =
        (struct net_sink){.readable = net_rx_readable, .writable = net_tx_writable, .ctx = n};
    n->mtu = o->mtu ? o->mtu : n->host->mtu ? MIN(n->host->mtu, (uint32_t)MTU_MAX) : MTU_DEFAULT;
    if (!o->mac && n->host->has_mac)
        memcpy(n->own_mac, n->host->mac, sizeof(n->own_mac));
    net_mac_set(n, n->own_mac);
    return 0;
}

static void resume(void *ctx, unsigned way, unsigned queue)
{
    const struct net *n = ctx;
    if (way == NET_WAY_RX)
        loop_post(net_lane_of(n, queue)->loop, &n->pairs[queue].source.resume);
    else
        vdev_poke(n->dev, net_tx_index(queue));
}

static int build(struct net *n, const struct net_opts *o, const struct build_env *env,
                 struct err *e)
{
    (void)snprintf(n->what, sizeof(n->what), "net %s%s%s", backend_names[o->backend],
                   o->ifname ? " " : "", o->ifname ? o->ifname : "");
    if (o->mac && net_parse_mac(o->mac, n->own_mac) < 0)
        return err_input(e, 0,
                         "%s: mac \"%s\" is no address of one interface, as 52:54:00:12:34:56",
                         n->what, o->mac);
    if (!o->mac)
        net_random_mac(n->own_mac);
    int rc = open_host(n, o, env->loop, e);
    if (rc < 0)
        return rc;
    rc = net_lanes_new(n, env);
    if (rc == 0)
        rc = limiter_init(&n->limiter, env->loop, resume, n, "rx", "tx");
    if (rc == 0)
        limiter_set(&n->limiter, &o->limits);
    return rc < 0 ? err_host(e, rc, "%s", n->what) : 0;
}

static void offer(struct net *n, const struct net_opts *o)
{
    static const unsigned always[] = {VIRTIO_NET_F_MAC,           VIRTIO_NET_F_MTU,
                                      VIRTIO_NET_F_STATUS,        VIRTIO_NET_F_SPEED_DUPLEX,
                                      VIRTIO_NET_F_CTRL_VQ,       VIRTIO_NET_F_CTRL_RX,
                                      VIRTIO_NET_F_CTRL_RX_EXTRA, VIRTIO_NET_F_CTRL_VLAN,
                                      VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_GUEST_ANNOUNCE,
                                      VIRTIO_NET_F_DEVICE_STATS};
    uint64_t offloads = o->offload == 0 ? n->host->offloads : 0;
    const struct {
        bool offered;
        unsigned feature;
    } some[] = {
        {o->mrg_rxbuf == 0, VIRTIO_NET_F_MRG_RXBUF},
        {n->pairs_max > 1, VIRTIO_NET_F_MQ},
        {n->rss_offered, VIRTIO_NET_F_RSS},
        {n->hash_offered, VIRTIO_NET_F_HASH_REPORT},
        {o->coalesce == 0, VIRTIO_NET_F_NOTF_COAL},
        {o->coalesce == 0, VIRTIO_NET_F_VQ_NOTF_COAL},
        {offloads & NET_F(VIRTIO_NET_F_GUEST_CSUM), VIRTIO_NET_F_CTRL_GUEST_OFFLOADS},
    };
    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        vdev_offer(n->dev, always[i]);
    for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
        if (some[i].offered)
            vdev_offer(n->dev, some[i].feature);
    }
    for (unsigned f = 0; f < 64; f++) {
        if (offloads & NET_F(f))
            vdev_offer(n->dev, f);
    }
}

static int net_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e)
{
    const struct net_opts *o = opts;
    uint16_t sizes[NET_VQS_MAX];
    struct net *n = calloc(1, sizeof(*n));
    if (!n)
        return err_host(e, -ENOMEM, "net %s", backend_names[o->backend]);
    n->pairs_max = o->queues ? o->queues : 1;
    n->rss_offered = o->rss;
    n->hash_offered = o->hash;
    atomic_store(&n->status, o->link == 0 ? VIRTIO_NET_S_LINK_UP : 0);
    for (unsigned i = 0; i < 2 * n->pairs_max; i++)
        sizes[i] = NET_QUEUE_SIZE;
    sizes[2 * n->pairs_max] = NET_CTRL_SIZE;
    int rc = build(n, o, env, e);
    if (rc == 0 && (rc = vdev_new(&net_class, env, n, sizes, 2 * n->pairs_max + 1, out)) < 0)
        (void)err_host(e, rc, "%s", n->what);
    if (rc < 0) {
        net_destroy(n);
        return rc;
    }
    n->dev = *out;
    for (unsigned i = 0; i < 2 * n->pairs_max; i++)
        vdev_queue_on(n->dev, i, net_lane_of(n, i / 2)->loop);
    offer(n, o);
    return 0;
}
