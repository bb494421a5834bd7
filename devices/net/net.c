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
        net_tx_kick(net_lane_of(n, i / 2), q);
    else
        net_rx_kick(net_lane_of(n, i / 2), q);
}

static void net_drain(struct vdev *d, struct vq *q)
{
    struct net *n = vdev_priv(d);
    unsigned i = vq_index(q);
    if (i >= 2 * net_usable_pairs(n))
        return; /* control: lanes answer soon */
    if (i % 2)
        net_coal_flush(net_lane_of(n, i / 2), q);
    else
        net_rx_drain(net_lane_of(n, i / 2), q);
}

struct queue_call {
    struct net *n;
    unsigned queue;
};

static void forget_params(struct net_settings *s, unsigned queue) /* 5.1.6.5.7.5 */
{
    s->coal[queue] = s->coal_default[queue % 2];
}

static void queue_reset_on_ctrl_loop(void *ctx)
{
    const struct queue_call *c = ctx;
    forget_params(&c->n->set, c->queue);
}

static void queue_reset_on_its_loop(void *ctx)
{
    const struct queue_call *c = ctx;
    struct net_lane *l = net_lane_of(c->n, c->queue / 2);
    forget_params(&l->set, c->queue);
    if (c->queue % 2 == 0)
        net_rx_queue_reset(l, c->queue / 2);
}

/* A command may be on its way to the lane: it is ahead of this, or knows of it. */
static void net_queue_reset(struct vdev *d, unsigned queue)
{
    struct queue_call c = {.n = vdev_priv(d), .queue = queue};
    if (queue >= 2 * net_usable_pairs(c.n))
        return;
    loop_call(c.n->ctrl_loop, queue_reset_on_ctrl_loop, &c);
    loop_call(vdev_queue_loop(d, queue), queue_reset_on_its_loop, &c);
}

/* --- from start to reset; no queue is live --- */

static int net_start(struct vdev *d)
{
    struct net *n = vdev_priv(d);
    net_settings_begin(n);
    for (unsigned i = 0; i < n->pairs_max; i++)
        atomic_store(&n->pairs[i].rxq.enabled, false);
    net_begin_with(n);
    return 0;
}

static void net_loaded(struct vdev *d)
{
    net_begin_with(vdev_priv(d));
}

static void forget_counts(struct net_counters *c)
{
    for (unsigned i = 0; i < NET_COUNTS; i++)
        atomic_store(&c->n[i], 0);
}

static void net_reset(struct vdev *d)
{
    struct net *n = vdev_priv(d);
    n->set = (struct net_settings){0};
    net_steer(n, 1, false);
    net_begin_with(n);
    for (unsigned i = 0; i <= 2 * n->pairs_max; i++)
        forget_counts(net_counters(n, i));
    atomic_store(&n->announces, false);
    net_mac_set(n, n->own_mac);
    (void)atomic_fetch_and(&n->status, ~(unsigned)VIRTIO_NET_S_ANNOUNCE);
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
    .loaded = net_loaded,
    .free = net_free,
};
