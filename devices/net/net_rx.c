/* devices/net/net_rx.c - frames for the driver (5.1.6.3, 5.1.6.4): from the back end straight into
 * the buffers that it offered, as far as these reach.
 *
 * A frame that finds too few buffers waits, and with it the back end, until the driver offers more.
 * With several queues and a back end that does not know which a flow belongs to, a frame is read
 * aside first; it is dropped when its queue has no room, so that one queue cannot stop others. */
#include "devices/net/net_priv.h"

enum {
    STALL_NS = 200 * 1000 * 1000,
    EXPECT_DECAY = 16, /* frames: how long a long one is remembered */
};

static struct net_counters *counters(struct net *n, unsigned pair)
{
    return &n->counters[net_rx_index(pair)];
}

/* Which queue a frame is for depends on what is in it, or is one for several sources. */
static bool reads_aside(const struct net *n)
{
    return n->sources > 1 && (n->rss.steers || !n->host->steers || n->sources > n->pairs);
}

/* Whether frames are to be read, be it to be dropped because the driver has reset every queue
 * (5.1.6.5.5.2). While the device is paused or suspended, and until the last queue runs again, they
 * stay where they are. */
bool net_rx_awake(struct net *n)
{
    bool awake = vdev_started(n->dev);
    for (unsigned i = 0; awake && i < n->pairs; i++)
        awake = !n->rxq[i].enabled || vdev_queue(n->dev, net_rx_index(i));
    return awake;
}

/* --- buffers --- */

static struct vq_req *held(const struct net_rxq *r, unsigned i)
{
    return r->held[(r->first + i) % NET_QUEUE_SIZE];
}

static struct vq_req *take_first(struct net_rxq *r)
{
    struct vq_req *req = held(r, 0);
    r->first = (r->first + 1) % NET_QUEUE_SIZE;
    r->n--;
    r->room -= req->in_len;
    return req;
}

/* A frame's first buffer must hold the header at least (5.1.6.3.1). What is too short for that goes
 * back when its turn has come and not before: what is held must stay in one piece, because only
 * the newest can be given back. */
static void shed_runts(struct net *n, unsigned pair, struct vq *q)
{
    struct net_rxq *r = &n->rxq[pair];
    while (r->n > 0 && held(r, 0)->in_len < n->hdr_len) {
        counters(n, pair)->malformed++;
        vq_complete(q, take_first(r));
    }
}

/* Takes buffers until they have room for `want` bytes, or there are no more. */
static void gather(struct net *n, unsigned pair, size_t want)
{
    struct net_rxq *r = &n->rxq[pair];
    struct vq *q = vdev_queue(n->dev, net_rx_index(pair));
    unsigned most = n->mrg ? NET_QUEUE_SIZE : 1;
    while (q && r->room < want && r->n < most) {
        struct vq_req *req = vq_next(q);
        if (!req)
            return;
        r->held[(r->first + r->n++) % NET_QUEUE_SIZE] = req;
        r->room += req->in_len;
        shed_runts(n, pair, q);
    }
}

/* Adds the held buffers' segments behind the header's place until they have `want` bytes; how many
 * they have. */
static size_t map_held(struct net *n, unsigned pair, size_t want, unsigned *k)
{
    const struct net_rxq *r = &n->rxq[pair];
    size_t skip = n->hdr_len, bytes = 0;
    for (unsigned i = 0; i < r->n && bytes < want; i++) {
        const struct vq_req *req = held(r, i);
        for (unsigned s = 0; s < req->n_in; s++) {
            const struct iovec *v = &req->iov[req->n_out + s];
            if (skip >= v->iov_len) {
                skip -= v->iov_len;
                continue;
            }
            if (*k + 1 == NET_IOV_MAX)
                return bytes; /* the rest is written by copying */
            net_add_segment(n->iov, k, (uint8_t *)v->iov_base + skip, v->iov_len - skip);
            bytes += v->iov_len - skip;
            skip = 0;
        }
    }
    return bytes;
}

/* --- one frame --- */

static void drop(struct net *n, struct net_source *s)
{
    counters(n, s->target)->drops++;
    s->len = 0;
}

/* Copies the beginning of what was just read. */
static size_t read_head(const struct net *n, unsigned k, size_t len, uint8_t head[NET_HEAD_MAX])
{
    size_t done = 0, want = MIN(len, (size_t)NET_HEAD_MAX);
    for (unsigned i = 1; i < k && done < want; i++) {
        size_t part = MIN(n->iov[i].iov_len, want - done);
        memcpy(head + done, n->iov[i].iov_base, part);
        done += part;
    }
    return done;
}

/* 5.1.4: no frame that was not segmented is longer than the MTU that was negotiated. */
static bool too_long(const struct net *n, const struct net_source *s, const uint8_t *head)
{
    size_t most = NET_FRAME_MAX;
    if (s->hdr.hdr.gso_type == VIRTIO_NET_HDR_GSO_NONE && vdev_has(n->dev, VIRTIO_NET_F_MTU))
        most = n->mtu + NET_ETH_LEN + (net_ethertype(head) == 0x8100 ? NET_VLAN_LEN : 0);
    return s->len > most;
}

/* Hash, and the queue that the frame is for. */
static void classify(struct net *n, struct net_source *s, const uint8_t *head, size_t len)
{
    struct net_flow flow;
    uint32_t hash = 0;
    s->target = s->index < n->pairs ? s->index : 0;
    if (!n->hash_report && !reads_aside(n))
        return;
    net_flow_of(head, len, &flow);
    uint16_t report = net_flow_hash(&flow, n->rss.types, &n->rss.key, &hash);
    s->hdr.hash_value = htole32(hash);
    s->hdr.hash_report = htole16(report);
    if (!reads_aside(n))
        return;
    if (n->rss.steers) {
        s->target = report == VIRTIO_NET_HASH_REPORT_NONE ? n->rss.unclassified
                                                          : n->rss.table[hash & n->rss.mask];
        return;
    }
    unsigned sent_on = flow.ip == NET_FLOW_NONE ? 0 : n->flows[net_flow_slot(&flow)];
    if (sent_on && sent_on <= n->pairs)
        s->target = sent_on - 1;
}

/* Reads a frame; false when there is none. It may have been dropped: then s->len is 0. */
static bool fetch(struct net *n, struct net_source *s)
{
    uint8_t head[NET_HEAD_MAX] = {0}, mac[NET_MAC_LEN];
    unsigned k = 1;
    s->hdr = (struct virtio_net_hdr_v1_hash){0};
    s->direct = 0;
    s->target = s->index < n->pairs ? s->index : 0;
    n->iov[0] = (struct iovec){.iov_base = &s->hdr.hdr, .iov_len = sizeof(s->hdr.hdr)};
    if (!reads_aside(n))
        s->direct = map_held(n, s->target, s->expected, &k);
    n->iov[k++] = (struct iovec){.iov_base = s->bounce, .iov_len = NET_FRAME_MAX + 1};
    ssize_t len = n->host->ops->recv(n->host, s->index, n->iov, k);
    if (len < 0)
        return false;
    s->len = (size_t)len;
    s->expected = MAX(s->len, s->expected - s->expected / EXPECT_DECAY);
    s->direct = MIN(s->direct, s->len);
    size_t head_len = read_head(n, k, s->len, head);
    net_mac(n, mac);
    if (s->len < NET_ETH_LEN || !net_link_up(n) ||
        !net_rx_header_ok(n, &s->hdr.hdr, head, head_len, s->len) || too_long(n, s, head) ||
        !net_filter_passes(&n->filter, mac, head, head_len))
        drop(n, s);
    else
        classify(n, s, head, head_len);
    return true;
}

/* Puts what is not there yet where it belongs, the header last; returns how many buffers the frame
 * has. All that is written lies within what gather() counted. */
static unsigned place(struct net *n, struct net_source *s)
{
    const struct net_rxq *r = &n->rxq[s->target];
    size_t off = 0;
    unsigned count = 0;
    do {
        struct vq_req *req = held(r, count);
        size_t head = count == 0 ? n->hdr_len : 0;
        size_t part = MIN(req->in_len - head, s->len - off);
        size_t from = MAX(off, s->direct);
        if (from < off + part && vq_req_write(req, head + from - off, s->bounce + from - s->direct,
                                              off + part - from) < 0)
            return count;
        req->written = (uint32_t)(head + part);
        off += part;
        count++;
    } while (off < s->len);
    s->hdr.hdr.num_buffers = htole16((uint16_t)count); /* 1 without MRG_RXBUF: gather() */
    return vq_req_write(held(r, 0), 0, &s->hdr, n->hdr_len) < 0 ? 0 : count;
}

static void count_frame(struct net_counters *c, const struct net_source *s)
{
    const net_hdr_t *h = &s->hdr.hdr;
    c->packets++;
    c->bytes += s->len;
    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        c->needs_csum++;
    else if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID)
        c->csum_valid++;
    else
        c->csum_none++;
    if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        c->gso_packets++;
        c->gso_bytes += s->len;
    }
}

static void hand_over(struct net *n, struct net_source *s, struct vq *q)
{
    struct net_rxq *r = &n->rxq[s->target];
    unsigned count = place(n, s);
    for (unsigned i = 0; i < count; i++)
        net_done(n, q, take_first(r));
    shed_runts(n, s->target, q);
    count_frame(counters(n, s->target), s);
    limiter_take(&n->limiter, NET_WAY_RX, s->len);
    s->len = 0;
    net_packet_done(n, q);
    if (r->n == 0)
        gather(n, s->target, 1);
    if (r->n == 0)
        net_coal_flush(n, q); /* the driver has no buffer left: it needs to know */
}

/* The queue, or while it is being reset, another one: unless RSS says that it must be this
 * (5.1.6.5.5.2, 5.1.6.5.6.3). NULL: there is none. */
static struct vq *destination(struct net *n, struct net_source *s)
{
    struct vq *q = vdev_queue(n->dev, net_rx_index(s->target));
    for (unsigned i = 0; !q && s->direct == 0 && !n->rss.steers && i < n->pairs; i++) {
        q = vdev_queue(n->dev, net_rx_index(i));
        s->target = i;
    }
    return q;
}

/* Gives the frame to the driver, or drops it; false when it has to wait for buffers. */
static bool deliver(struct net *n, struct net_source *s)
{
    struct vq *q = destination(n, s);
    struct net_rxq *r = &n->rxq[s->target];
    if (!q) {
        drop(n, s);
        return true;
    }
    gather(n, s->target, s->len + n->hdr_len);
    if (r->room >= s->len + n->hdr_len) {
        hand_over(n, s, q);
        return true;
    }
    bool never = r->n == (n->mrg ? NET_QUEUE_SIZE : 1);
    if (!never && (n->pairs == 1 || !reads_aside(n))) {
        if (r->n > 0)
            loop_timer_set(&n->stall, STALL_NS);
        return false;
    }
    counters(n, s->target)->overruns += !never;
    drop(n, s);
    return true;
}

/* --- a source --- */

static void block(struct net *n, struct net_source *s, bool blocked)
{
    s->blocked = blocked;
    n->host->ops->listen(n->host, s->index, !blocked);
}

/* Room for the longest frame that may come, so that it needs no second look. */
static size_t longest(const struct net *n)
{
    return n->hdr_len +
           (n->rx_offloads & NET_RX_GSO ? NET_FRAME_MAX : n->mtu + NET_ETH_LEN + NET_VLAN_LEN);
}

/* Before reading: is there anything to read into? */
static bool ready(struct net *n, struct net_source *s)
{
    unsigned pair = s->index < n->pairs ? s->index : 0;
    if (!net_rx_awake(n))
        return false;
    if (reads_aside(n) || !n->rxq[pair].enabled)
        return true;
    gather(n, pair, longest(n));
    return n->rxq[pair].n > 0;
}

static void run(struct net *n, struct net_source *s)
{
    size_t bytes = 0;
    for (unsigned i = 0; i < NET_TURN_FRAMES && bytes < NET_TURN_BYTES; i++) {
        if (s->len == 0 && !ready(n, s)) {
            block(n, s, true);
            return;
        }
        if (s->len == 0 && limiter_empty(&n->limiter, NET_WAY_RX)) {
            if (i == 0 && limiter_holds(&n->limiter, NET_WAY_RX, s->index))
                block(n, s, true);
            return; /* whether another one is there to wait is readable()'s to say */
        }
        if (s->len == 0 && !fetch(n, s))
            return;
        bytes += s->len;
        if (s->len > 0 && !deliver(n, s)) {
            block(n, s, true);
            return;
        }
    }
}

void net_rx_readable(void *ctx, unsigned source)
{
    struct net *n = ctx;
    if (source < n->sources)
        run(n, &n->source[source]);
}

/* Whatever has changed, somebody may have waited for it. */
static void wake(struct net *n)
{
    for (unsigned i = 0; i < n->sources; i++) {
        struct net_source *s = &n->source[i];
        if (!s->blocked)
            continue;
        block(n, s, false);
        run(n, s);
    }
}

void net_rx_resume(struct net *n, unsigned source)
{
    struct net_source *s = &n->source[source];
    if (source >= n->sources || !s->blocked)
        return;
    block(n, s, false);
    run(n, s);
}

void net_rx_kick(struct net *n, struct vq *q)
{
    n->rxq[vq_index(q) / 2].enabled = true;
    wake(n);
}

void net_rx_queue_reset(struct net *n, unsigned pair)
{
    n->rxq[pair].enabled = false;
    wake(n);
}

/* The driver offered some buffers, and no more although a frame needs them: it may be waiting for
 * us as we for it. */
void net_rx_stalled(void *ctx)
{
    struct net *n = ctx;
    for (unsigned i = 0; i < n->sources; i++) {
        struct net_source *s = &n->source[i];
        if (s->len == 0 || n->rxq[s->target].n == 0)
            continue;
        counters(n, s->target)->overruns++;
        drop(n, s);
        block(n, s, false);
    }
}

static void give_back(struct net *n, unsigned pair, struct vq *q)
{
    struct net_rxq *r = &n->rxq[pair];
    while (r->n > 0)
        vq_unpop(q, held(r, --r->n)); /* the newest first */
    r->room = 0;
    for (unsigned i = 0; i < n->sources; i++) { /* its beginning was in what is given back */
        if (n->source[i].len && n->source[i].direct && n->source[i].target == pair)
            drop(n, &n->source[i]);
    }
}

void net_rx_drain(struct net *n, struct vq *q)
{
    net_coal_flush(n, q);
    give_back(n, vq_index(q) / 2, q);
}

void net_rx_stop(struct net *n)
{
    for (unsigned i = 0; i < n->host->queues; i++) {
        n->source[i].len = 0;
        n->source[i].blocked = true;
        n->host->ops->listen(n->host, i, false);
    }
    loop_timer_set(&n->stall, 0);
}
