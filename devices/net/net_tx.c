/* devices/net/net_tx.c - frames from the driver (5.1.6.2): the header is copied, checked and sent
 * from the copy, the frame itself from where the driver has it. */
#include "devices/net/net_priv.h"

/* The frame's segments behind `skip` bytes of header; false when the driver cut it into more than
 * the kernel takes at once. */
static bool map_frame(struct net_lane *l, const struct vq_req *req, size_t skip, unsigned *k)
{
    for (unsigned i = 0; i < req->n_out; i++) {
        const struct iovec *v = &req->iov[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        if (*k == NET_IOV_MAX)
            return false;
        net_add_segment(l->iov, k, (uint8_t *)v->iov_base + skip, v->iov_len - skip);
        skip = 0;
    }
    return true;
}

/* 5.1.6.5.5: what comes back of this flow is for this queue. */
static void learn(struct net_lane *l, unsigned pair, const struct vq_req *req, size_t len)
{
    uint8_t head[NET_HEAD_MAX];
    struct net_flow flow;
    size_t some = MIN(len, sizeof(head));
    if (l->set.pairs == 1 || l->set.rss.steers || l->net->host->steers || pair >= l->set.pairs ||
        vq_req_read(req, l->set.hdr_len, head, some) < 0)
        return;
    net_flow_of(head, some, &flow);
    if (flow.ip != NET_FLOW_NONE)
        l->flows[net_flow_slot(&flow)] = (uint8_t)(pair + 1);
}

static void count_frame(struct net_counters *c, const net_hdr_t *h, size_t len)
{
    net_count(c, NET_PACKETS, 1);
    net_count(c, NET_BYTES, len);
    net_count(c, h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? NET_NEEDS_CSUM : NET_CSUM_NONE, 1);
    if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        net_count(c, NET_GSO_PACKETS, 1);
        net_count(c, NET_GSO_BYTES, len);
    }
}

/* The back end's queue of the same number; while that is detached, the lane's first, which may be
 * the same: a tap takes what comes on a detached one, and forgets the flow. */
static unsigned way_out(const struct net_lane *l, unsigned pair)
{
    return pair < l->set.pairs || !l->net->host->detaches ? pair : l->first;
}

/* 0 when the buffer is done with, also when its frame was dropped; -EAGAIN when it has to wait. */
static int send_one(struct net_lane *l, unsigned pair, const struct vq_req *req)
{
    struct net *n = l->net;
    struct net_counters *c = &n->pairs[pair].counters[NET_WAY_TX];
    unsigned hdr_len = l->set.hdr_len;
    net_hdr_t h = {0};
    size_t len = req->out_len - MIN(req->out_len, (size_t)hdr_len);
    unsigned k = 1;
    if (len < NET_ETH_LEN || len > NET_FRAME_MAX ||
        vq_req_read(req, 0, &h, MIN((size_t)hdr_len, sizeof(h))) < 0 ||
        !net_tx_header_ok(&l->set, &h, len)) {
        net_count(c, NET_MALFORMED, 1);
        net_count(c, NET_DROPS, 1);
        return 0;
    }
    if (!net_link_up(n)) {
        net_count(c, NET_DROPS, 1);
        return 0;
    }
    l->iov[0] = (struct iovec){.iov_base = &h, .iov_len = sizeof(h)};
    if (!map_frame(l, req, hdr_len, &k)) {
        if (vq_req_read(req, hdr_len, l->tx_copy, len) < 0)
            return 0; /* it is inside out_len */
        l->iov[1] = (struct iovec){.iov_base = l->tx_copy, .iov_len = len};
        k = 2;
    }
    int rc = n->host->ops->send(n->host, way_out(l, pair), l->iov, k);
    if (rc == -EAGAIN)
        return rc;
    if (rc < 0) { /* such as by a tap that is down: a cable does not say so either */
        net_count(c, NET_DROPS, 1);
        return 0;
    }
    limiter_take(&n->limiter, NET_WAY_TX, len);
    learn(l, pair, req, len);
    count_frame(c, &h, len);
    return 0;
}

void net_tx_kick(struct net_lane *l, struct vq *q)
{
    unsigned pair = vq_index(q) / 2;
    size_t bytes = 0;
    if (l->net->pairs[pair].tx_blocked)
        return; /* net_tx_writable() goes on */
    for (unsigned i = 0; i < NET_QUEUE_SIZE && bytes < NET_TURN_BYTES; i++) {
        struct vq_req *req = vq_next(q);
        if (!req)
            return;
        if (limiter_holds(&l->net->limiter, NET_WAY_TX, pair)) {
            vq_unpop(q, req); /* the limiter has it poked */
            return;
        }
        bytes += MIN(req->out_len, (size_t)NET_FRAME_MAX);
        if (send_one(l, pair, req) == -EAGAIN) {
            l->net->pairs[pair].tx_blocked = true;
            vq_unpop(q, req);
            return;
        }
        net_done(l, q, req);
        net_packet_done(l, q);
    }
    vq_poke(q);
}

static void retry(struct net_lane *l, unsigned pair)
{
    struct net *n = l->net;
    struct vq *q = vdev_queue(n->dev, net_tx_index(pair));
    if (n->pairs[pair].tx_blocked && q)
        vq_poke(q);
    n->pairs[pair].tx_blocked = false;
}

void net_tx_writable(void *ctx, unsigned queue)
{
    struct net_lane *l = net_lane_of(ctx, queue);
    for (unsigned pair = l->first; pair < l->last; pair++) {
        if (way_out(l, pair) == queue)
            retry(l, pair);
    }
}

void net_tx_retry(struct net_lane *l)
{
    for (unsigned pair = l->first; pair < l->last; pair++)
        retry(l, pair);
}
