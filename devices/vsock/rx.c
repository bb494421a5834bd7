/* devices/vsock/rx.c - packets to the driver (virtio 1.4, 5.10.6). Connections take turns, of a
 * packet or of as much as a packet has at most; nothing is read from a socket before there is a
 * buffer and credit for it. */
#include "devices/vsock/vsock_priv.h"

enum { TURNS = 1024 }; /* of connections, before other devices have theirs */

/* Buffers that were taken and are empty yet, in the order of the ring. */
struct rx {
    struct vsock *v;
    struct vq *q;
    struct vq_req *req[VSOCK_GATHER];
    unsigned n;
};

static void put_header(struct vq_req *req, const struct virtio_vsock_hdr *h, size_t payload)
{
    if (vq_req_write(req, 0, h, sizeof(*h)) == 0) /* it fits: vsock_rx() */
        /* The analyzer does not know that the parts of send_data() add up to all that came. */
        req->written = (uint32_t)(sizeof(*h) + payload); /* NOLINT(*-core.NullDereference) */
}

static void send_packet(struct conn *c, struct vq_req *req, unsigned op, uint32_t flags, size_t len)
{
    const struct virtio_vsock_hdr h = {.src_cid = htole64(VSOCK_CID_HOST),
                                       .dst_cid = htole64(c->v->cid),
                                       .src_port = htole32(c->host_port),
                                       .dst_port = htole32(c->guest_port),
                                       .len = htole32((uint32_t)len),
                                       .type = htole16(c->type),
                                       .op = htole16((uint16_t)op),
                                       .flags = htole32(flags),
                                       .buf_alloc = htole32(VSOCK_BUF),
                                       .fwd_cnt = htole32(c->fwd_cnt)};
    put_header(req, &h, len);
    c->fwd_told = c->fwd_cnt;
}

static void send_reply(struct vsock *v, struct vq_req *req)
{
    const struct reply *r = &v->replies[v->reply_first];
    const struct virtio_vsock_hdr h = {.src_cid = htole64(r->src_cid),
                                       .dst_cid = htole64(r->dst_cid),
                                       .src_port = htole32(r->src_port),
                                       .dst_port = htole32(r->dst_port),
                                       .type = htole16(r->type),
                                       .op = htole16(VIRTIO_VSOCK_OP_RST)};
    put_header(req, &h, 0);
    v->reply_first = (v->reply_first + 1) % VSOCK_REPLIES;
    v->reply_n--;
}

/* The first of what is due. */
static void send_due(struct conn *c, struct vq_req *req)
{
    unsigned due = c->due & -(unsigned)c->due;
    c->due &= (uint8_t)~due;
    switch (due) {
    case DUE_REQUEST:
        c->requested = true;
        send_packet(c, req, VIRTIO_VSOCK_OP_REQUEST, 0, 0);
        break;
    case DUE_RESPONSE:
        send_packet(c, req, VIRTIO_VSOCK_OP_RESPONSE, 0, 0);
        break;
    case DUE_CREDIT:
        send_packet(c, req, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
        break;
    case DUE_ASK:
        send_packet(c, req, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0, 0);
        break;
    default:
        c->shut_sent = c->shut_due;
        send_packet(c, req, VIRTIO_VSOCK_OP_SHUTDOWN, c->shut_sent, 0);
        if (c->shut_sent == (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND))
            conn_deadline(c, VSOCK_CLOSE_TICKS);
    }
}

/* There is an i-th buffer, and where need be it is taken. */
static bool at_hand(struct rx *rx, unsigned i)
{
    struct vq_req *req = i == rx->n ? vq_next(rx->q) : NULL;
    if (req)
        rx->req[rx->n++] = req;
    return i < rx->n;
}

/* The first n of them are the driver's again. */
static void give(struct rx *rx, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        rx->v->count.rx_packets += rx->req[i]->written > 0;
        vq_complete(rx->q, rx->req[i]);
    }
    rx->n -= n;
    for (unsigned i = 0; i < rx->n; i++)
        rx->req[i] = rx->req[i + n];
}

/* The first buffer at hand can hold a packet. One that cannot is given back when it is the first,
 * and no earlier: what was taken before it may have to go back into the ring, and in its order. */
static bool ready(struct rx *rx)
{
    while (at_hand(rx, 0) && rx->req[0]->in_len < VSOCK_HDR) {
        rx->v->count.short_buffers++;
        give(rx, 1);
    }
    return rx->n > 0;
}

/* Where the next data goes: behind the headers of some buffers, with one system call for all of
 * them. Of one, unless there was more the last time; then of twice as many as were filled, so that
 * who says little takes no more buffers than it needs. */
struct gathered {
    struct iovec iov[VSOCK_SEGMENTS];
    unsigned n_iov;
    size_t part[VSOCK_GATHER], room; /* of each, and of all */
    unsigned n;
};

static void gather(const struct conn *c, struct rx *rx, struct gathered *g)
{
    unsigned most = MIN(c->filled * 2u + 1, (unsigned)VSOCK_GATHER);
    size_t want = MIN(conn_credit(c), (uint32_t)VSOCK_PACKET_MAX);
    g->n = g->n_iov = 0;
    g->room = 0;
    while (g->n < most && g->n_iov < VSOCK_SEGMENTS && g->room < want && at_hand(rx, g->n)) {
        const struct vq_req *req = rx->req[g->n];
        size_t *part = &g->part[g->n];
        g->n_iov += iov_part(req->iov + req->n_out, req->n_in, VSOCK_HDR, want - g->room,
                             g->iov + g->n_iov, VSOCK_SEGMENTS - g->n_iov, part);
        if (*part == 0)
            break; /* no more than a header's place */
        g->room += *part;
        g->n++;
    }
}

/* A packet in each buffer that something came into. */
static void send_data(struct conn *c, struct rx *rx)
{
    struct gathered g;
    bool end = false;
    gather(c, rx, &g);
    if (g.n == 0) {
        rx->v->count.short_buffers++;
        give(rx, 1);
        return;
    }
    ssize_t len = host_recv(c, g.iov, g.n_iov, g.room, &end);
    if (len < 0) {
        conn_end(c, false);
        return;
    }
    conn_settle(c);
    size_t left = (size_t)len;
    unsigned i = 0;
    for (; left > 0; i++) {
        size_t part = MIN(g.part[i], left);
        left -= part;
        c->tx_cnt += (uint32_t)part;
        send_packet(c, rx->req[i], VIRTIO_VSOCK_OP_RW, end && left == 0 ? VIRTIO_VSOCK_SEQ_EOM : 0,
                    part);
    }
    c->filled = end || (size_t)len == g.room ? (uint8_t)i : 0;
    rx->v->count.rx_bytes += (uint64_t)len;
    give(rx, i);
}

/* With a buffer at hand. */
static void take_turn(struct conn *c, struct rx *rx)
{
    TAILQ_REMOVE(&c->v->turns, c, turn);
    c->queued = false;
    if (c->state == CONN_ENDED) {
        send_packet(c, rx->req[0], VIRTIO_VSOCK_OP_RST, 0, 0);
        give(rx, 1);
        conn_ended(c);
    } else if (c->due) {
        send_due(c, rx->req[0]);
        give(rx, 1);
    } else if (conn_has_data(c)) {
        send_data(c, rx);
    }
    conn_turn(c);
}

static bool something_to_say(const struct vsock *v)
{
    return v->reply_n > 0 || !TAILQ_EMPTY(&v->turns);
}

void vsock_rx(struct vsock *v)
{
    struct vq *tx = vdev_queue(v->dev, VSOCK_TX);
    struct rx rx = {.v = v, .q = vdev_queue(v->dev, VSOCK_RX)};
    unsigned turns = 0;
    while (rx.q && something_to_say(v) && turns++ < TURNS) {
        if (!ready(&rx))
            break; /* the driver's turn, or others' */
        if (v->reply_n > 0) {
            send_reply(v, rx.req[0]);
            give(&rx, 1);
        } else {
            take_turn(TAILQ_FIRST(&v->turns), &rx);
        }
    }
    while (rx.n > 0)
        vq_unpop(rx.q, rx.req[--rx.n]); /* the newest first */
    if (turns > TURNS)
        vq_poke(rx.q);
    if (tx && v->tx_waits && v->reply_n < VSOCK_REPLIES)
        vq_poke(tx);
}

void vsock_event(struct vsock *v)
{
    const struct virtio_vsock_event e = {.id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
    struct vq *q = vdev_queue(v->dev, VSOCK_EVENT);
    struct vq_req *req;
    while (q && v->transport_reset && (req = vq_next(q))) {
        if (vq_req_write(req, 0, &e, sizeof(e)) == 0) {
            req->written = sizeof(e);
            v->transport_reset = false;
            v->count.transport_resets++;
        } else {
            v->count.short_buffers++;
        }
        vq_complete(q, req);
        if (!v->transport_reset)
            host_clients_go_on(v);
    }
}
