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

static struct net_rxq *rxq_of(const struct net_lane *l, unsigned pair)
{
    return &l->net->pairs[pair].rxq;
}

static struct net_source *source_of(const struct net_lane *l, unsigned i)
{
    return &l->net->pairs[i].source;
}

static struct vq *queue_of(const struct net_lane *l, unsigned pair)
{
    return vdev_queue(l->net->dev, net_rx_index(pair));
}

static void count(struct net_lane *l, unsigned pair, enum net_count what, uint64_t by)
{
    net_count(&l->net->pairs[pair].counters[NET_WAY_RX], what, by);
}

/* Those in use: receive queues end before this one, */
static unsigned pairs_end(const struct net_lane *l)
{
    return MIN(l->last, l->set.pairs);
}

/* and queues of the back end before that. */
static unsigned sources_end(const struct net_lane *l)
{
    return l->net->host->detaches ? pairs_end(l) : l->last;
}

/* Which queue a frame is for depends on what is in it, or is one for several sources. */
static bool reads_aside(const struct net_lane *l)
{
    unsigned sources = sources_end(l);
    return sources > l->first + 1 &&
           (l->set.rss.steers || !l->net->host->steers || sources > l->set.pairs);
}

static unsigned usual_target(const struct net_lane *l, const struct net_source *s)
{
    return s->index < l->set.pairs ? s->index : l->first;
}

/* Whether frames are to be read, be it to be dropped because the driver has reset every queue
 * (5.1.6.5.5.2). While the device is paused or suspended, and until the last queue runs again, they
 * stay where they are. */
static bool is_awake(const struct net_lane *l)
{
    bool awake = vdev_started(l->net->dev);
    for (unsigned i = l->first; awake && i < pairs_end(l); i++)
        awake = !atomic_load(&rxq_of(l, i)->enabled) || queue_of(l, i);
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
static void shed_runts(struct net_lane *l, unsigned pair, struct vq *q)
{
    struct net_rxq *r = rxq_of(l, pair);
    while (r->n > 0 && held(r, 0)->in_len < l->set.hdr_len) {
        count(l, pair, NET_MALFORMED, 1);
        vq_complete(q, take_first(r));
    }
}

/* Takes buffers until they have room for `want` bytes, or there are no more. */
static void gather(struct net_lane *l, unsigned pair, size_t want)
{
    struct net_rxq *r = rxq_of(l, pair);
    struct vq *q = queue_of(l, pair);
    unsigned most = l->set.mrg ? NET_QUEUE_SIZE : 1;
    while (q && r->room < want && r->n < most) {
        struct vq_req *req = vq_next(q);
        if (!req)
            return;
        r->held[(r->first + r->n++) % NET_QUEUE_SIZE] = req;
        r->room += req->in_len;
        shed_runts(l, pair, q);
    }
}

/* Adds the held buffers' segments behind the header's place until they have `want` bytes; how many
 * they have. */
static size_t map_held(struct net_lane *l, unsigned pair, size_t want, unsigned *k)
{
    const struct net_rxq *r = rxq_of(l, pair);
    size_t skip = l->set.hdr_len, bytes = 0;
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
            net_add_segment(l->iov, k, (uint8_t *)v->iov_base + skip, v->iov_len - skip);
            bytes += v->iov_len - skip;
            skip = 0;
        }
    }
    return bytes;
}

/* --- one frame --- */

static void drop(struct net_lane *l, struct net_source *s)
{
    count(l, s->target, NET_DROPS, 1);
    s->len = 0;
}

/* Copies the beginning of what was just read. */
static size_t read_head(const struct net_lane *l, unsigned k, size_t len,
                        uint8_t head[NET_HEAD_MAX])
{
    size_t done = 0, want = MIN(len, (size_t)NET_HEAD_MAX);
    for (unsigned i = 1; i < k && done < want; i++) {
        size_t part = MIN(l->iov[i].iov_len, want - done);
        memcpy(head + done, l->iov[i].iov_base, part);
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
static void classify(struct net_lane *l, struct net_source *s, const uint8_t *head, size_t len)
{
    const struct net_rss *rss = &l->set.rss;
    struct net_flow flow;
    uint32_t hash = 0;
    s->target = usual_target(l, s);
    if (!l->set.hash_report && !reads_aside(l))
        return;
    net_flow_of(head, len, &flow);
    uint16_t report = net_flow_hash(&flow, rss->types, &rss->key, &hash);
    s->hdr.hash_value = htole32(hash);
    s->hdr.hash_report = htole16(report);
    if (!reads_aside(l))
        return;
    if (rss->steers) {
        s->target = report == VIRTIO_NET_HASH_REPORT_NONE ? rss->unclassified
                                                          : rss->table[hash & rss->mask];
        return;
    }
    unsigned sent_on = flow.ip == NET_FLOW_NONE ? 0 : l->flows[net_flow_slot(&flow)];
    if (sent_on && sent_on <= l->set.pairs)
        s->target = sent_on - 1;
}

/* Reads a frame; false when there is none. It may have been dropped: then s->len is 0. */
static bool fetch(struct net_lane *l, struct net_source *s)
{
    struct net *n = l->net;
    uint8_t head[NET_HEAD_MAX] = {0}, mac[NET_MAC_LEN];
    unsigned k = 1;
    s->hdr = (struct virtio_net_hdr_v1_hash){0};
    s->direct = 0;
    s->target = usual_target(l, s);
    l->iov[0] = (struct iovec){.iov_base = &s->hdr.hdr, .iov_len = sizeof(s->hdr.hdr)};
    if (!reads_aside(l))
        s->direct = map_held(l, s->target, s->expected, &k);
    l->iov[k++] = (struct iovec){.iov_base = s->bounce, .iov_len = sizeof(s->bounce)};
    ssize_t len = n->host->ops->recv(n->host, s->index, l->iov, k);
    if (len < 0)
        return false;
    s->len = (size_t)len;
    s->expected = MAX(s->len, s->expected - s->expected / EXPECT_DECAY);
    s->direct = MIN(s->direct, s->len);
    size_t head_len = read_head(l, k, s->len, head);
    net_mac(n, mac);
    if (s->len < NET_ETH_LEN || !net_link_up(n) ||
        !net_rx_header_ok(&l->set, &s->hdr.hdr, head, head_len, s->len) || too_long(n, s, head) ||
        !net_filter_passes(&l->set.filter, mac, head, head_len))
        drop(l, s);
    else
        classify(l, s, head, head_len);
    return true;
}

/* Puts what is not there yet where it belongs, the header last; returns how many buffers the frame
 * has. All that is written lies within what gather() counted. */
static unsigned place(struct net_lane *l, struct net_source *s)
{
    const struct net_rxq *r = rxq_of(l, s->target);
    size_t off = 0;
    unsigned count = 0;
    do {
        struct vq_req *req = held(r, count);
        size_t head = count == 0 ? l->set.hdr_len : 0;
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
    return vq_req_write(held(r, 0), 0, &s->hdr, l->set.hdr_len) < 0 ? 0 : count;
}

static void count_frame(struct net_counters *c, const struct net_source *s)
{
    const net_hdr_t *h = &s->hdr.hdr;
    net_count(c, NET_PACKETS, 1);
    net_count(c, NET_BYTES, s->len);
    if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        net_count(c, NET_NEEDS_CSUM, 1);
    else if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID)
        net_count(c, NET_CSUM_VALID, 1);
    else
        net_count(c, NET_CSUM_NONE, 1);
    if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        net_count(c, NET_GSO_PACKETS, 1);
        net_count(c, NET_GSO_BYTES, s->len);
    }
}

static void hand_over(struct net_lane *l, struct net_source *s, struct vq *q)
{
    struct net_rxq *r = rxq_of(l, s->target);
    unsigned pieces = place(l, s);
    for (unsigned i = 0; i < pieces; i++)
        net_done(l, q, take_first(r));
    shed_runts(l, s->target, q);
    count_frame(&l->net->pairs[s->target].counters[NET_WAY_RX], s);
    limiter_take(&l->net->limiter, NET_WAY_RX, s->len);
    s->len = 0;
    net_packet_done(l, q);
    if (r->n == 0)
        gather(l, s->target, 1);
    if (r->n == 0)
        net_coal_flush(l, q); /* the driver has no buffer left: it needs to know */
}

/* The queue, or while it is being reset, another one: unless RSS says that it must be this
 * (5.1.6.5.5.2, 5.1.6.5.6.3). NULL: there is none. */
static struct vq *destination(struct net_lane *l, struct net_source *s)
{
    struct vq *q = queue_of(l, s->target);
    bool any = s->direct == 0 && !l->set.rss.steers;
    for (unsigned i = l->first; !q && any && i < pairs_end(l); i++) {
        q = queue_of(l, i);
        s->target = i;
    }
    return q;
}

/* Gives the frame to the driver, or drops it; false when it has to wait for buffers. */
static bool deliver(struct net_lane *l, struct net_source *s)
{
    struct vq *q = destination(l, s);
    struct net_rxq *r = rxq_of(l, s->target);
    size_t whole = s->len + l->set.hdr_len;
    if (!q) {
        drop(l, s);
        return true;
    }
    gather(l, s->target, whole);
    if (r->room >= whole) {
        hand_over(l, s, q);
        return true;
    }
    bool never = r->n == (l->set.mrg ? NET_QUEUE_SIZE : 1);
    if (!never && (l->set.pairs == 1 || !reads_aside(l))) {
        if (r->n > 0)
            loop_timer_set(&l->stall, STALL_NS);
        return false;
    }
    count(l, s->target, NET_OVERRUNS, !never);
    drop(l, s);
    return true;
}

/* --- a source --- */

static void listen_to(struct net_lane *l, struct net_source *s, bool on)
{
    struct net_backend *host = l->net->host;
    s->blocked = !on;
    host->ops->listen(host, s->index, on);
}

/* Room for the longest frame that may come, so that it needs no second look. */
static size_t longest(const struct net_lane *l)
{
    return l->set.hdr_len + (l->set.rx_offloads & NET_RX_GSO
                                 ? (size_t)NET_FRAME_MAX
                                 : l->net->mtu + NET_ETH_LEN + NET_VLAN_LEN);
}

/* Before reading: is there anything to read into? */
static bool ready(struct net_lane *l, struct net_source *s)
{
    unsigned pair = usual_target(l, s);
    if (!is_awake(l))
        return false;
    if (reads_aside(l) || !atomic_load(&rxq_of(l, pair)->enabled))
        return true;
    gather(l, pair, longest(l));
    return rxq_of(l, pair)->n > 0;
}

static void run(struct net_lane *l, struct net_source *s)
{
    struct limiter *limiter = &l->net->limiter;
    size_t bytes = 0;
    for (unsigned i = 0; i < NET_TURN_FRAMES && bytes < NET_TURN_BYTES; i++) {
        if (s->len == 0 && !ready(l, s)) {
            listen_to(l, s, false);
            return;
        }
        if (s->len == 0 && limiter_empty(limiter, NET_WAY_RX)) {
            if (i == 0 && limiter_holds(limiter, NET_WAY_RX, s->index))
                listen_to(l, s, false);
            return; /* whether another one is there to wait is readable()'s to say */
        }
        if (s->len == 0 && !fetch(l, s))
            return;
        bytes += s->len;
        if (s->len > 0 && !deliver(l, s)) {
            listen_to(l, s, false);
            return;
        }
    }
}

void net_rx_readable(void *ctx, unsigned source)
{
    const struct net *n = ctx;
    struct net_lane *l = net_lane_of(n, source);
    if (source < sources_end(l))
        run(l, source_of(l, source));
}

static void wake(struct net_lane *l, struct net_source *s)
{
    if (s->index >= sources_end(l) || !s->blocked)
        return;
    listen_to(l, s, true);
    run(l, s);
}

void net_rx_resume(void *source)
{
    struct net_source *s = source;
    wake(s->lane, s);
}

/* Whatever has changed, somebody may have waited for it. */
static void wake_all(struct net_lane *l)
{
    for (unsigned i = l->first; i < l->last; i++)
        wake(l, source_of(l, i));
}

void net_rx_kick(struct net_lane *l, struct vq *q)
{
    atomic_bool *enabled = &rxq_of(l, vq_index(q) / 2)->enabled;
    if (!atomic_load(enabled))
        atomic_store(enabled, true);
    wake_all(l);
}

void net_rx_queue_reset(struct net_lane *l, unsigned pair)
{
    atomic_store(&rxq_of(l, pair)->enabled, false);
    wake_all(l);
}

/* The driver offered some buffers, and no more although a frame needs them: it may be waiting for
 * us as we for it. */
void net_rx_stalled(void *ctx)
{
    struct net_lane *l = ctx;
    for (unsigned i = l->first; i < sources_end(l); i++) {
        struct net_source *s = source_of(l, i);
        if (s->len == 0 || rxq_of(l, s->target)->n == 0)
            continue;
        count(l, s->target, NET_OVERRUNS, 1);
        drop(l, s);
        listen_to(l, s, true);
    }
}

static void give_back(struct net_lane *l, unsigned pair, struct vq *q)
{
    struct net_rxq *r = rxq_of(l, pair);
    while (r->n > 0)
        vq_unpop(q, held(r, --r->n)); /* the newest first */
    r->room = 0;
    for (unsigned i = l->first; i < l->last; i++) { /* its beginning was in what is given back */
        struct net_source *s = source_of(l, i);
        if (s->len && s->direct && s->target == pair)
            drop(l, s);
    }
}

void net_rx_drain(struct net_lane *l, struct vq *q)
{
    net_coal_flush(l, q);
    give_back(l, vq_index(q) / 2, q);
}

/* What was read before is dropped: it went by another rule. */
void net_rx_steered(struct net_lane *l)
{
    struct net_backend *host = l->net->host;
    loop_timer_set(&l->stall, 0);
    for (unsigned i = l->first; i < l->last; i++) {
        struct vq *q = queue_of(l, i);
        source_of(l, i)->len = 0;
        host->ops->quiet(host, i);
        if (host->detaches)
            host->ops->attach(host, i, i < sources_end(l));
        if (q && i >= l->set.pairs) /* nothing comes there any more */
            net_coal_flush(l, q);
    }
    memset(l->flows, 0, sizeof(l->flows));
    net_tx_retry(l);
    bool awake = is_awake(l); /* or not until a receive queue starts, which is a kick */
    for (unsigned i = l->first; i < sources_end(l); i++)
        listen_to(l, source_of(l, i), awake);
}
