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

static struct net_coal *of(struct net *n, struct vq *q)
{
    return &n->coal[vq_index(q)];
}

static bool coalesces(const struct net_coal *c)
{
    return c->max_packets && c->max_usecs;
}

void net_coal_flush(struct net *n, struct vq *q)
{
    struct net_coal *c = of(n, q);
    for (unsigned i = 0; i < c->n; i++)
        vq_complete(q, c->done[i]);
    c->n = c->segments = c->packets = 0;
    c->deadline_ns = 0;
}

void net_done(struct net *n, struct vq *q, struct vq_req *req)
{
    struct net_coal *c = of(n, q);
    if (!coalesces(c)) {
        vq_complete(q, req);
        return;
    }
    if (c->n == ARRAY_SIZE(c->done)) /* a frame in many pieces; it is told in one all the same */
        net_coal_flush(n, q);
    c->done[c->n++] = req;
    c->segments += MAX(req->n_out + req->n_in, 1u);
}

/* The first deadline of all queues is the timer's. */
static void arm(struct net *n)
{
    int64_t first = 0;
    for (size_t i = 0; i < ARRAY_SIZE(n->coal); i++) {
        int64_t at = n->coal[i].deadline_ns;
        if (at && (!first || at < first))
            first = at;
    }
    loop_timer_set(&n->coal_timer,
                   first ? (uint64_t)MAX(first - (int64_t)loop_now_ns(), (int64_t)1) : 0);
}

void net_packet_done(struct net *n, struct vq *q)
{
    struct net_coal *c = of(n, q);
    if (!coalesces(c))
        return;
    c->packets++;
    if (c->packets >= c->max_packets || c->segments >= SEGMENTS_MAX) {
        net_coal_flush(n, q);
    } else if (!c->deadline_ns) {
        c->deadline_ns =
            (int64_t)loop_now_ns() + (int64_t)MIN(c->max_usecs, (uint32_t)USECS_MAX) * 1000;
        arm(n);
    }
}

void net_coal_timer(void *ctx)
{
    struct net *n = ctx;
    int64_t now = (int64_t)loop_now_ns();
    for (unsigned i = 0; i < ARRAY_SIZE(n->coal); i++) {
        struct vq *q = vdev_queue(n->dev, i);
        if (q && n->coal[i].deadline_ns && n->coal[i].deadline_ns <= now)
            net_coal_flush(n, q);
    }
    arm(n);
}

/* New parameters, and what is due by them (5.1.6.5.7.4). */
static void set(struct net *n, unsigned queue, uint32_t max_packets, uint32_t max_usecs)
{
    struct net_coal *c = &n->coal[queue];
    struct vq *q = vdev_queue(n->dev, queue);
    c->max_packets = max_packets;
    c->max_usecs = max_usecs;
    if (q) /* due or not: more often than asked for is allowed */
        net_coal_flush(n, q);
}

void net_coal_queue_reset(struct net *n, unsigned queue)
{
    n->coal[queue].max_packets = n->coal_default[queue % 2].max_packets;
    n->coal[queue].max_usecs = n->coal_default[queue % 2].max_usecs;
}

void net_coal_reset(struct net *n)
{
    memset(n->coal, 0, sizeof(n->coal)); /* the queues have drained: it holds no buffer */
    memset(n->coal_default, 0, sizeof(n->coal_default));
    loop_timer_set(&n->coal_timer, 0);
}

/* --- commands --- */

struct params {
    uint32_t max_packets, max_usecs;
};

static int set_all(struct net *n, struct net_cmd *c, unsigned tx)
{
    struct params p;
    if (!vdev_has(n->dev, VIRTIO_NET_F_NOTF_COAL) || c->len != sizeof(p) ||
        net_cmd_data(c, 0, &p, sizeof(p)) < 0)
        return -EINVAL;
    n->coal_default[tx].max_packets = le32toh(p.max_packets);
    n->coal_default[tx].max_usecs = le32toh(p.max_usecs);
    for (unsigned i = 0; i < net_usable_pairs(n); i++)
        set(n, 2 * i + tx, le32toh(p.max_packets), le32toh(p.max_usecs));
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
    return *queue < 2 * net_usable_pairs(n) && vdev_queue(n->dev, *queue) ? 0 : -EINVAL;
}

static int set_one(struct net *n, struct net_cmd *c)
{
    struct params p;
    unsigned queue;
    if (read_queue(n, c, 4 + sizeof(p), &queue) < 0 || net_cmd_data(c, 4, &p, sizeof(p)) < 0)
        return -EINVAL;
    set(n, queue, le32toh(p.max_packets), le32toh(p.max_usecs));
    return 0;
}

/* What is read stands where it stands in the structure: behind the index, in front of the ack. */
static int get_one(struct net *n, struct net_cmd *c)
{
    unsigned queue;
    if (read_queue(n, c, 4, &queue) < 0)
        return -EINVAL;
    struct params p = {.max_packets = htole32(n->coal[queue].max_packets),
                       .max_usecs = htole32(n->coal[queue].max_usecs)};
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
