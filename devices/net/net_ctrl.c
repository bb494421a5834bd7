/* devices/net/net_ctrl.c - the control queue (5.1.6.5): each command is checked whole before any of
 * it takes effect, and takes effect on every loop before its buffer is used. */
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
    if (bits & ~n->set.rx_negotiated)
        return -EINVAL;
    n->set.rx_offloads = bits;
    return 0;
}

static const struct {
    uint64_t features; /* any of them makes the class known */
    uint8_t class;
    int (*run)(struct net *n, struct net_cmd *c);
    bool sets; /* what lanes are to know */
} classes[] = {
    {NET_F(VIRTIO_NET_F_CTRL_RX) | NET_F(VIRTIO_NET_F_CTRL_RX_EXTRA), VIRTIO_NET_CTRL_RX,
     net_cmd_rx_mode, true},
    {NET_F(VIRTIO_NET_F_CTRL_RX) | NET_F(VIRTIO_NET_F_CTRL_MAC_ADDR), VIRTIO_NET_CTRL_MAC,
     net_cmd_mac, true},
    {NET_F(VIRTIO_NET_F_CTRL_VLAN), VIRTIO_NET_CTRL_VLAN, net_cmd_vlan, true},
    {NET_F(VIRTIO_NET_F_GUEST_ANNOUNCE), VIRTIO_NET_CTRL_ANNOUNCE, announce_ack, false},
    {NET_F(VIRTIO_NET_F_MQ) | NET_F(VIRTIO_NET_F_RSS) | NET_F(VIRTIO_NET_F_HASH_REPORT),
     VIRTIO_NET_CTRL_MQ, net_cmd_mq, true},
    {NET_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), VIRTIO_NET_CTRL_GUEST_OFFLOADS, guest_offloads, true},
    {NET_F(VIRTIO_NET_F_NOTF_COAL) | NET_F(VIRTIO_NET_F_VQ_NOTF_COAL), VIRTIO_NET_CTRL_NOTF_COAL,
     net_cmd_coal, true},
    {NET_F(VIRTIO_NET_F_DEVICE_STATS), VIRTIO_NET_CTRL_STATS, net_cmd_stats, false},
};

static bool has_any(const struct net *n, uint64_t features)
{
    for (unsigned f = 0; f < 64; f++) {
        if (features >> f & 1 && vdev_has(n->dev, f))
            return true;
    }
    return false;
}

/* Whether it went well; *sets: and all lanes have to know. */
static bool run(struct net *n, struct net_cmd *c, bool *sets)
{
    for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
        if (classes[i].class != c->class)
            continue;
        bool ok = has_any(n, classes[i].features) && classes[i].run(n, c) == 0;
        *sets = ok && classes[i].sets;
        return ok;
    }
    return false;
}

/* Whether it is to be handed over. */
static bool one(struct net *n, struct net_cmd *c)
{
    struct net_counters *k = net_counters(n, vq_index(c->queue));
    uint8_t head[2];
    bool sets = false;
    c->ack = VIRTIO_NET_ERR;
    c->written = 1;
    if (c->req->in_len == 0) /* no room for an answer: nothing is done */
        return false;
    net_count(k, NET_COMMANDS, 1);
    if (vq_req_read(c->req, 0, head, sizeof(head)) < 0)
        return false;
    c->class = head[0];
    c->command = head[1];
    c->len = c->req->out_len - sizeof(head);
    net_count(k, NET_OK, 1); /* a reply about this counts the command itself */
    if (run(n, c, &sets)) {
        c->ack = VIRTIO_NET_OK;
        return sets;
    }
    net_count(k, NET_OK, -1ull);
    c->ack_at = 0;
    c->written = 1;
    return false;
}

void net_ctrl_done(struct net *n)
{
    struct net_cmd *c = &n->cmd;
    struct vq_req *req = TAKE_PTR(c->req);
    if (vq_req_write(req, c->ack_at, &c->ack, sizeof(c->ack)) == 0)
        req->written = (uint32_t)c->written;
    vq_complete(c->queue, req);
    vq_poke(c->queue);
}

/* One in each turn: it may have the host's kernel wait for all CPUs, and what it ends on other
 * queues is published before it is (5.1.6.5.5.2). */
void net_ctrl_kick(struct net *n, struct vq *q)
{
    struct vq_req *req = n->cmd.req ? NULL : vq_next(q);
    if (!req)
        return;
    n->cmd = (struct net_cmd){.queue = q, .req = req};
    if (one(n, &n->cmd))
        net_hand_over(n);
    else
        net_ctrl_done(n);
}
