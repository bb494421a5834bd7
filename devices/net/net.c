/* devices/net/net.c - network device (virtio 1.4, 5.1): features, configuration, and which queue
 * does what. */
#include <linux/virtio_config.h>

#include "devices/net/net.h"
#include "devices/net/net_class.h"
#include "devices/net/net_priv.h"

enum { SPEED_MBITS = 10000, DUPLEX_FULL = 1 }; /* of a link that has no real ones */

/* --- what vCPUs and the loop both look at --- */

void net_mac(const struct net *n, uint8_t mac[NET_MAC_LEN])
{
    put_bytes(mac, atomic_load(&n->mac), NET_MAC_LEN);
}

void net_mac_set(struct net *n, const uint8_t mac[NET_MAC_LEN])
{
    atomic_store(&n->mac, get_bytes(mac, NET_MAC_LEN));
}

void net_set_link(struct vdev *d, bool up)
{
    struct net *n = vdev_priv(d);
    unsigned bit = VIRTIO_NET_S_LINK_UP;
    unsigned old = up ? atomic_fetch_or(&n->status, bit) : atomic_fetch_and(&n->status, ~bit);
    if (!(old & bit) == up)
        vdev_config_changed(d);
}

void net_announce(struct vdev *d)
{
    struct net *n = vdev_priv(d);
    if (!atomic_load(&n->announces))
        return;
    (void)atomic_fetch_or(&n->status, VIRTIO_NET_S_ANNOUNCE);
    vdev_config_changed(d);
}

/* --- configuration space (5.1.4) --- */

static void net_config_read(struct vdev *d, void *cfg)
{
    const struct net *n = vdev_priv(d);
    bool hash = n->rss_offered || n->hash_offered;
    unsigned known =
        VIRTIO_NET_S_LINK_UP | (atomic_load(&n->announces) ? VIRTIO_NET_S_ANNOUNCE : 0);
    struct virtio_net_config k = {
        .status = htole16((uint16_t)(atomic_load(&n->status) & known)),
        .max_virtqueue_pairs = htole16((uint16_t)n->pairs_max),
        .mtu = htole16((uint16_t)n->mtu),
        .speed = htole32(SPEED_MBITS),
        .duplex = DUPLEX_FULL, /* the field's text; the normative sentence has it the other way */
        .rss_max_key_size = hash ? NET_RSS_KEY_MAX : 0,
        .rss_max_indirection_table_length = htole16(n->rss_offered ? NET_RSS_TABLE_MAX : 0),
        .supported_hash_types = htole32(hash ? NET_HASH_TYPES : 0)};
    net_mac(n, k.mac);
    memcpy(cfg, &k, sizeof(k));
}

/* A legacy driver sets its address here, byte by byte (5.1.6.5.2.3); never a group's. */
static void net_config_write(struct vdev *d, const void *cfg, size_t off, size_t len)
{
    struct net *n = vdev_priv(d);
    const uint8_t *mac = cfg;
    (void)len;
    if (off < NET_MAC_LEN && !(mac[0] & 1) && !vdev_has(d, VIRTIO_F_VERSION_1) &&
        !vdev_has(d, VIRTIO_NET_F_CTRL_MAC_ADDR))
        net_mac_set(n, mac);
}

/* --- features (5.1.3.1) --- */

static bool net_features_ok(struct vdev *d)
{
    static const uint64_t tso = NET_F(VIRTIO_NET_F_HOST_TSO4) | NET_F(VIRTIO_NET_F_HOST_TSO6);
    static const uint64_t lro = NET_F(VIRTIO_NET_F_GUEST_TSO4) | NET_F(VIRTIO_NET_F_GUEST_TSO6);
    static const struct {
        unsigned feature;
        uint64_t needs; /* one of them */
    } rules[] = {
        {VIRTIO_NET_F_GUEST_TSO4, NET_F(VIRTIO_NET_F_GUEST_CSUM)},
        {VIRTIO_NET_F_GUEST_TSO6, NET_F(VIRTIO_NET_F_GUEST_CSUM)},
        {VIRTIO_NET_F_GUEST_ECN, lro},
        {VIRTIO_NET_F_GUEST_UFO, NET_F(VIRTIO_NET_F_GUEST_CSUM)},
        {VIRTIO_NET_F_GUEST_USO4, NET_F(VIRTIO_NET_F_GUEST_CSUM)},
        {VIRTIO_NET_F_GUEST_USO6, NET_F(VIRTIO_NET_F_GUEST_CSUM)},
        {VIRTIO_NET_F_HOST_TSO4, NET_F(VIRTIO_NET_F_CSUM)},
        {VIRTIO_NET_F_HOST_TSO6, NET_F(VIRTIO_NET_F_CSUM)},
        {VIRTIO_NET_F_HOST_ECN, tso},
        {VIRTIO_NET_F_HOST_UFO, NET_F(VIRTIO_NET_F_CSUM)},
        {VIRTIO_NET_F_HOST_USO, NET_F(VIRTIO_NET_F_CSUM)},
        {VIRTIO_NET_F_CTRL_RX, NET_F(VIRTIO_NET_F_CTRL_VQ)},
        {VIRTIO_NET_F_CTRL_VLAN, NET_F(VIRTIO_NET_F_CTRL_VQ)},
        {VIRTIO_NET_F_GUEST_ANNOUNCE, NET_F(VIRTIO_NET_F_CTRL_VQ)},
        {VIRTIO_NET_F_MQ, NET_F(VIRTIO_NET_F_CTRL_VQ)},
        {VIRTIO_NET_F_CTRL_MAC_ADDR, NET_F(VIRTIO_NET_F_CTRL_VQ)},
        {VIRTIO_NET_F_NOTF_COAL, NET_F(VIRTIO_NET_F_CTRL_VQ)},
        {VIRTIO_NET_F_RSS, NET_F(VIRTIO_NET_F_CTRL_VQ)},
        {VIRTIO_NET_F_VQ_NOTF_COAL, NET_F(VIRTIO_NET_F_CTRL_VQ)},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        bool met = !vdev_has(d, rules[i].feature);
        for (unsigned f = 0; f < 64 && !met; f++)
            met = rules[i].needs >> f & 1 && vdev_has(d, f);
        if (!met)
            return false;
    }
    return true;
}

static uint64_t negotiated(struct vdev *d, uint64_t among)
{
    uint64_t have = 0;
    for (unsigned f = 0; f < 64; f++) {
        if (among >> f & 1 && vdev_has(d, f))
            have |= NET_F(f);
    }
    return have;
}

/* --- queues (5.1.2) --- */

unsigned net_usable_pairs(const struct net *n)
{
    bool several = vdev_has(n->dev, VIRTIO_NET_F_MQ) || vdev_has(n->dev, VIRTIO_NET_F_RSS);
    return several ? n->pairs_max : 1;
}

int net_ctrl_index(const struct net *n)
{
    return vdev_has(n->dev, VIRTIO_NET_F_CTRL_VQ) ? (int)(2 * net_usable_pairs(n)) : -1;
}

static void net_kick(struct vdev *d, struct vq *q)
{
    struct net *n = vdev_priv(d);
    unsigned i = vq_index(q);
    if ((int)i == net_ctrl_index(n))
        net_ctrl_kick(n, q);
    else if (i >= 2 * net_usable_pairs(n))
        return; /* there is no such queue */
    else if (i % 2)
        net_tx_kick(n, q);
    else
        net_rx_kick(n, q);
}

static void net_drain(struct vdev *d, struct vq *q)
{
    struct net *n = vdev_priv(d);
    unsigned i = vq_index(q);
    if (i >= 2 * net_usable_pairs(n))
        return; /* control: nothing is held */
    if (i % 2)
        net_coal_flush(n, q);
    else
        net_rx_drain(n, q);
}

struct queue_call {
    struct net *n;
    unsigned queue;
};

static void queue_reset_on_loop(void *ctx)
{
    const struct queue_call *c = ctx;
    if (c->queue >= 2 * net_usable_pairs(c->n))
        return;
    net_coal_queue_reset(c->n, c->queue);
    if (c->queue % 2 == 0)
        net_rx_queue_reset(c->n, c->queue / 2);
}

static void net_queue_reset(struct vdev *d, unsigned queue)
{
    struct queue_call c = {.n = vdev_priv(d), .queue = queue};
    loop_call(c.n->loop, queue_reset_on_loop, &c);
}

void net_steer(struct net *n, unsigned pairs, bool rss)
{
    unsigned old = n->sources;
    for (unsigned i = 0; i < old; i++) {
        n->source[i].len = 0;
        n->host->ops->listen(n->host, i, false);
    }
    n->pairs = pairs;
    n->rss.steers = rss;
    n->sources = n->host->detaches ? pairs : n->host->queues;
    if (n->host->detaches)
        n->host->ops->set_queues(n->host, pairs);
    memset(n->flows, 0, sizeof(n->flows));
    for (unsigned i = pairs; i < n->pairs_max; i++) { /* nothing comes there any more */
        struct vq *q = vdev_queue(n->dev, net_rx_index(i));
        if (q)
            net_coal_flush(n, q);
    }
    net_tx_retry(n);
    bool awake = net_rx_awake(n);
    for (unsigned i = 0; i < n->sources; i++) {
        n->source[i].blocked = !awake; /* until a receive queue starts, which is a kick */
        n->host->ops->listen(n->host, i, awake);
    }
}

void net_set_offloads(struct net *n, uint64_t offloads)
{
    n->rx_offloads = offloads;
    n->host->ops->set_offloads(n->host, offloads);
}

/* --- from start to reset --- */

void net_begin(void *ctx)
{
    struct net *n = ctx;
    struct vdev *d = n->dev;
    n->mrg = vdev_has(d, VIRTIO_NET_F_MRG_RXBUF);
    n->hash_report = vdev_has(d, VIRTIO_NET_F_HASH_REPORT);
    n->hdr_len = sizeof(net_hdr_t);
    if (n->hash_report)
        n->hdr_len = sizeof(struct virtio_net_hdr_v1_hash);
    else if (!vdev_has(d, VIRTIO_F_VERSION_1) && !n->mrg)
        n->hdr_len = sizeof(struct virtio_net_hdr); /* 5.1.6.1: without num_buffers */
    n->tx_offloads = negotiated(d, NET_TX_OFFLOADS);
    n->rx_negotiated = negotiated(d, NET_RX_OFFLOADS);
    n->filter = (struct net_filter){.by_address = vdev_has(d, VIRTIO_NET_F_CTRL_RX),
                                    .by_vlan = vdev_has(d, VIRTIO_NET_F_CTRL_VLAN)};
    for (unsigned i = 0; i < n->pairs_max; i++)
        n->rxq[i].enabled = false;
    atomic_store(&n->announces, vdev_has(d, VIRTIO_NET_F_GUEST_ANNOUNCE));
    net_set_offloads(n, n->rx_negotiated);
    net_steer(n, 1, false);
}

static int net_start(struct vdev *d)
{
    struct net *n = vdev_priv(d);
    loop_call(n->loop, net_begin, n);
    return 0;
}

static void reset_on_loop(void *ctx)
{
    struct net *n = ctx;
    atomic_store(&n->announces, false);
    net_rx_stop(n);
    net_coal_reset(n);
    memset(&n->rss, 0, sizeof(n->rss));
    memset(n->counters, 0, sizeof(n->counters));
    net_set_offloads(n, 0);
    net_steer(n, 1, false);
    net_mac_set(n, n->own_mac);
    (void)atomic_fetch_and(&n->status, ~(unsigned)VIRTIO_NET_S_ANNOUNCE);
}

static void net_reset(struct vdev *d)
{
    struct net *n = vdev_priv(d);
    loop_call(n->loop, reset_on_loop, n);
}

static void net_free(struct vdev *d)
{
    net_destroy(vdev_priv(d));
}

const struct vdev_ops net_ops = {
    .config_len = sizeof(struct virtio_net_config),
    .config_read = net_config_read,
    .config_write = net_config_write,
    .features_ok = net_features_ok,
    .start = net_start,
    .reset = net_reset,
    .queue_reset = net_queue_reset,
    .kick = net_kick,
    .drain = net_drain,
    .update = net_update,
    .report = net_report,
    .save = net_save,
    .load = net_load,
    .free = net_free,
};
