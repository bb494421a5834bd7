/* devices/net/net_coal.c - fewer interrupts (5.1.6.5.7). A queue that coalesces keeps the buffers
 * it is done with to itself until there are max_packets, or max_usecs have passed: so what is told
 * late is told in one piece, and the core's rules of when to interrupt stay as they are.
 *
 * A driver that runs out of buffers hears of them at once, whatever it asked for. */
#include "devices/net/net_priv.h"

enum {
    SEGMENTS_MAX = NET_QUEUE_SIZE / 2, /* the ring must not be empty because of us */
    USECS_MAX = 1000 * 1000,           /* nobody waits longer than a second */
};

static struct net_coal *of(const struct net_lane *l, unsigned queue)
{
    return &l->net->pairs[queue / 2].coal[queue % 2];
}

static bool coalesces(const struct net_coal_params *p)
{
    return p->max_packets && p->max_usecs;
}

void net_coal_flush(struct net_lane *l, struct vq *q)
{
    struct net_coal *c = of(l, vq_index(q));
    for (unsigned i = 0; i < c->n; i++)
        vq_complete(q, c->done[i]);
    c->n = c->segments = c->packets = 0;
    c->deadline_ns = 0;
}

void net_done(struct net_lane *l, struct vq *q, struct vq_req *req)
{
    struct net_coal *c = of(l, vq_index(q));
    if (!coalesces(&l->set.coal[vq_index(q)])) {
        vq_complete(q, req);
        return;
    }
    if (c->n == ARRAY_SIZE(c->done)) /* a frame in many pieces; it is told in one all the same */
        net_coal_flush(l, q);
    c->done[c->n++] = req;
    c->segments += MAX(req->n_out + req->n_in, 1u);
}

/* The first deadline of all queues is the timer's. */
static void arm(struct net_lane *l)
{
    int64_t first = 0;
    for (unsigned i = 2 * l->first; i < 2 * l->last; i++) {
        int64_t at = of(l, i)->deadline_ns;
        if (at && (!first || at < first))
            first = at;
    }
    loop_timer_set(&l->coal_timer,
                   first ? (uint64_t)MAX(first - (int64_t)loop_now_ns(), (int64_t)1) : 0);
}

void net_packet_done(struct net_lane *l, struct vq *q)
{
    const struct net_coal_params *p = &l->set.coal[vq_index(q)];
    struct net_coal *c = of(l, vq_index(q));
    if (!coalesces(p))
        return;
    c->packets++;
    if (c->packets >= p->max_packets || c->segments >= SEGMENTS_MAX) {
        net_coal_flush(l, q);
    } else if (!c->deadline_ns) {
        c->deadline_ns =
            (int64_t)loop_now_ns() + (int64_t)MIN(p->max_usecs, (uint32_t)USECS_MAX) * 1000;
        arm(l);
    }
}

void net_coal_timer(void *lane)
{
    struct net_lane *l = lane;
    int64_t now = (int64_t)loop_now_ns();
    for (unsigned i = 2 * l->first; i < 2 * l->last; i++) {
        struct vq *q = vdev_queue(l->net->dev, i);
        int64_t at = of(l, i)->deadline_ns;
        if (q && at && at <= now)
            net_coal_flush(l, q);
    }
    arm(l);
}

/* --- commands --- */

/* Parameters as they stand in commands. */
static int read_params(const struct net_cmd *c, size_t off, struct net_coal_params *p)
{
    int rc = net_cmd_data(c, off, p, sizeof(*p));
    p->max_packets = le32toh(p->max_packets);
    p->max_usecs = le32toh(p->max_usecs);
    return rc;
}

static int set_all(struct net *n, struct net_cmd *c, unsigned tx)
{
    struct net_coal_params p = {0};
    if (!vdev_has(n->dev, VIRTIO_NET_F_NOTF_COAL) || c->len != sizeof(p) ||
        read_params(c, 0, &p) < 0)
        return -EINVAL;
    n->set.coal_default[tx] = p;
    for (unsigned i = 0; i < net_usable_pairs(n); i++)
        n->set.coal[2 * i + tx] = p;
    return 0;
}

/* The index in front of both commands; the two bytes behind it are ignored. */
static int read_queue(struct net *n, struct net_cmd *c, size_t len, unsigned *queue)
{
    uint16_t index;
    if (!vdev_has(n->dev, VIRTIO_NET_F_VQ_NOTF_COAL) || c->len != len ||
        net_cmd_data(c, 0, &index, sizeof(index)) < 0)
        return -EINVAL;
    *queue = le16toh(index);
    return *queue < 2 * net_usable_pairs(n) && vdev_queue_enabled(n->dev, *queue) ? 0 : -EINVAL;
}

static int set_one(struct net *n, struct net_cmd *c)
{
    struct net_coal_params p = {0};
    unsigned queue;
    if (read_queue(n, c, 4 + sizeof(p), &queue) < 0 || read_params(c, 4, &p) < 0)
        return -EINVAL;
    n->set.coal[queue] = p;
    return 0;
}

/* What is read stands where it stands in the structure: behind the index, in front of the ack. */
static int get_one(struct net *n, struct net_cmd *c)
{
    unsigned queue;
    if (read_queue(n, c, 4, &queue) < 0)
        return -EINVAL;
    const struct net_coal_params *now = &n->set.coal[queue];
    const struct net_coal_params p = {htole32(now->max_packets), htole32(now->max_usecs)};
    if (c->req->in_len < sizeof(p) + 1 || vq_req_write(c->req, 0, &p, sizeof(p)) < 0)
        return -EINVAL;
    c->ack_at = sizeof(p);
    c->written = sizeof(p) + 1;
    return 0;
}

int net_cmd_coal(struct net *n, struct net_cmd *c)
{
    switch (c->command) {
    case VIRTIO_NET_CTRL_NOTF_COAL_TX_SET:
        return set_all(n, c, 1);
    case VIRTIO_NET_CTRL_NOTF_COAL_RX_SET:
        return set_all(n, c, 0);
    case VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET:
        return set_one(n, c);
    case VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET:
        return get_one(n, c);
    default:
        return -EOPNOTSUPP;
    }
}
