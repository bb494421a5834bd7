/* devices/net/net_ctrl.c - the control queue (5.1.6.5): each command is checked whole before any of
 * it takes effect, and takes effect before its buffer is used. */
#include "devices/net/net_priv.h"

int net_cmd_data(const struct net_cmd *c, size_t off, void *dst, size_t len)
{
    return vq_req_read(c->req, 2 + off, dst, len);
}

static int announce_ack(struct net *n, struct net_cmd *c)
{
    if (c->command != VIRTIO_NET_CTRL_ANNOUNCE_ACK)
        return -EOPNOTSUPP;
    (void)atomic_fetch_and(&n->status, ~(unsigned)VIRTIO_NET_S_ANNOUNCE);
    return 0;
}

/* 5.1.6.5.6.1 */
static int guest_offloads(struct net *n, struct net_cmd *c)
{
    uint64_t bits;
    if (c->command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || c->len != sizeof(bits) ||
        net_cmd_data(c, 0, &bits, sizeof(bits)) < 0)
        return -EINVAL;
    bits = le64toh(bits);
    if (bits & ~n->rx_negotiated)
        return -EINVAL;
    net_set_offloads(n, bits);
    return 0;
}

static const struct {
    uint64_t features; /* any of them makes the class known */
    uint8_t class;
    int (*run)(struct net *n, struct net_cmd *c);
} classes[] = {
    {NET_F(VIRTIO_NET_F_CTRL_RX) | NET_F(VIRTIO_NET_F_CTRL_RX_EXTRA), VIRTIO_NET_CTRL_RX,
     net_cmd_rx_mode},
    {NET_F(VIRTIO_NET_F_CTRL_RX) | NET_F(VIRTIO_NET_F_CTRL_MAC_ADDR), VIRTIO_NET_CTRL_MAC,
     net_cmd_mac},
    {NET_F(VIRTIO_NET_F_CTRL_VLAN), VIRTIO_NET_CTRL_VLAN, net_cmd_vlan},
    {NET_F(VIRTIO_NET_F_GUEST_ANNOUNCE), VIRTIO_NET_CTRL_ANNOUNCE, announce_ack},
    {NET_F(VIRTIO_NET_F_MQ) | NET_F(VIRTIO_NET_F_RSS) | NET_F(VIRTIO_NET_F_HASH_REPORT),
     VIRTIO_NET_CTRL_MQ, net_cmd_mq},
    {NET_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), VIRTIO_NET_CTRL_GUEST_OFFLOADS, guest_offloads},
    {NET_F(VIRTIO_NET_F_NOTF_COAL) | NET_F(VIRTIO_NET_F_VQ_NOTF_COAL), VIRTIO_NET_CTRL_NOTF_COAL,
     net_cmd_coal},
    {NET_F(VIRTIO_NET_F_DEVICE_STATS), VIRTIO_NET_CTRL_STATS, net_cmd_stats},
};

static bool has_any(const struct net *n, uint64_t features)
{
    for (unsigned f = 0; f < 64; f++) {
        if (features >> f & 1 && vdev_has(n->dev, f))
            return true;
    }
    return false;
}

static int run(struct net *n, struct net_cmd *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        if (classes[i].class == c->class)
            return has_any(n, classes[i].features) ? classes[i].run(n, c) : -EOPNOTSUPP;
    }
    return -EOPNOTSUPP;
}

static void one(struct net *n, unsigned queue, struct vq_req *req)
{
    uint8_t head[2], ack = VIRTIO_NET_ERR;
    struct net_counters *k = &n->counters[queue];
    if (req->in_len == 0) /* no room for an answer: nothing is done */
        return;
    struct net_cmd c = {.req = req, .written = 1};
    k->commands++;
    if (vq_req_read(req, 0, head, sizeof(head)) == 0) {
        c.class = head[0];
        c.command = head[1];
        c.len = req->out_len - sizeof(head);
        k->ok++; /* a reply about this counts the command itself */
        if (run(n, &c) == 0)
            ack = VIRTIO_NET_OK;
        else
            k->ok--;
    }
    if (ack != VIRTIO_NET_OK) {
        c.ack_at = 0;
        c.written = 1;
    }
    if (vq_req_write(req, c.ack_at, &ack, sizeof(ack)) == 0)
        req->written = (uint32_t)c.written;
}

/* One in each turn: it may have the host's kernel wait for all CPUs, and what it ends on other
 * queues is published before it is (5.1.6.5.5.2). */
void net_ctrl_kick(struct net *n, struct vq *q)
{
    struct vq_req *req = vq_next(q);
    if (!req)
        return;
    one(n, vq_index(q), req);
    vq_complete(q, req);
    vq_poke(q);
}
