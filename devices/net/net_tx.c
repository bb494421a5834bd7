/* devices/net/net_tx.c - frames from the driver (5.1.6.2): the header is copied, checked and sent
 * from the copy, the frame itself from where the driver has it. */
#include "devices/net/net_priv.h"

/* The frame's segments behind `skip` bytes of header; false when the driver cut it into more than
 * the kernel takes at once. */
static bool map_frame(struct net *n, const struct vq_req *req, size_t skip, unsigned *k)
{
    for (unsigned i = 0; i < req->n_out; i++) {
        const struct iovec *v = &req->iov[i];
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        if (*k == NET_IOV_MAX)
            return false;
        net_add_segment(n->iov, k, (uint8_t *)v->iov_base + skip, v->iov_len - skip);
        skip = 0;
    }
    return true;
}

/* 5.1.6.5.5: what comes back of this flow is for this queue. */
static void learn(struct net *n, unsigned pair, const struct vq_req *req, size_t len)
{
    uint8_t head[NET_HEAD_MAX];
    struct net_flow flow;
    size_t some = MIN(len, sizeof(head));
    if (n->pairs == 1 || n->rss.steers || n->host->steers || pair >= n->pairs ||
        vq_req_read(req, n->hdr_len, head, some) < 0)
        return;
    net_flow_of(head, some, &flow);
    if (flow.ip != NET_FLOW_NONE)
        n->flows[net_flow_slot(&flow)] = (uint8_t)(pair + 1);
}

static void count_frame(struct net_counters *c, const net_hdr_t *h, size_t len)
{
    c->packets++;
    c->bytes += len;
    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        c->needs_csum++;
    else
        c->csum_none++;
    if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        c->gso_packets++;
        c->gso_bytes += len;
    }
}

/* 0 when the buffer is done with, also when its frame was dropped; -EAGAIN when it has to wait. */
static int send_one(struct net *n, unsigned pair, const struct vq_req *req)
{
    struct net_counters *c = &n->counters[net_tx_index(pair)];
    net_hdr_t h = {0};
    size_t len = req->out_len - MIN(req->out_len, (size_t)n->hdr_len);
    unsigned k = 1;
    if (len < NET_ETH_LEN || len > NET_FRAME_MAX ||
        vq_req_read(req, 0, &h, MIN((size_t)n->hdr_len, sizeof(h))) < 0 ||
        !net_tx_header_ok(n, &h, len)) {
        c->malformed++;
        c->drops++;
        return 0;
    }
    if (!net_link_up(n)) {
        c->drops++;
        return 0;
    }
    n->iov[0] = (struct iovec){.iov_base = &h, .iov_len = sizeof(h)};
    if (!map_frame(n, req, n->hdr_len, &k)) {
        if (vq_req_read(req, n->hdr_len, n->tx_copy, len) < 0)
            return 0; /* it is inside out_len */
        n->iov[1] = (struct iovec){.iov_base = n->tx_copy, .iov_len = len};
        k = 2;
    }
    int rc = n->host->ops->send(n->host, pair < n->sources ? pair : 0, n->iov, k);
    if (rc == -EAGAIN)
        return rc;
    if (rc < 0) {
        c->drops++; /* such as by a tap that is down: a cable does not say so either */
        return 0;
    }
    limiter_take(&n->limiter, NET_WAY_TX, len);
    learn(n, pair, req, len);
    count_frame(c, &h, len);
    return 0;
}

void net_tx_kick(struct net *n, struct vq *q)
{
    unsigned pair = vq_index(q) / 2;
    size_t bytes = 0;
    if (n->tx_blocked[pair])
        return; /* net_tx_writable() goes on */
    for (unsigned i = 0; i < NET_QUEUE_SIZE && bytes < NET_TURN_BYTES; i++) {
        struct vq_req *req = vq_next(q);
        if (!req)
            return;
        if (limiter_holds(&n->limiter, NET_WAY_TX, pair)) {
            vq_unpop(q, req); /* net_tx_resume() goes on */
            return;
        }
        bytes += MIN(req->out_len, (size_t)NET_FRAME_MAX);
        if (send_one(n, pair, req) == -EAGAIN) {
            n->tx_blocked[pair] = true;
            vq_unpop(q, req);
            return;
        }
        net_done(n, q, req);
        net_packet_done(n, q);
    }
    vq_poke(q);
}

void net_tx_resume(struct net *n, unsigned pair)
{
    struct vq *q = vdev_queue(n->dev, net_tx_index(pair));
    if (q)
        vq_poke(q);
}

static void retry(struct net *n, unsigned pair)
{
    struct vq *q = vdev_queue(n->dev, net_tx_index(pair));
    if (n->tx_blocked[pair] && q)
        vq_poke(q);
    n->tx_blocked[pair] = false;
}

void net_tx_writable(void *ctx, unsigned queue)
{
    struct net *n = ctx;
    for (unsigned pair = 0; pair < n->pairs_max; pair++) {
        if ((pair < n->sources ? pair : 0) == queue)
            retry(n, pair);
    }
}

void net_tx_retry(struct net *n)
{
    for (unsigned pair = 0; pair < n->pairs_max; pair++)
        retry(n, pair);
}
