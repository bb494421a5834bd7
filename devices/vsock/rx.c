/* devices/vsock/rx.c - packets to the driver (virtio 1.4, 5.10.6). Connections take turns, a packet
 * each; nothing is read from a socket before there is a buffer and credit for it. */
#include "devices/vsock/vsock_priv.h"

enum { TURNS = 1024 }; /* of connections, before other devices have theirs */

static void put_header(struct vq_req *req, const struct virtio_vsock_hdr *h, size_t payload)
{
    if (vq_req_write(req, 0, h, sizeof(*h)) == 0) /* it fits: vsock_rx() */
        req->written = (uint32_t)(sizeof(*h) + payload);
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

/* False if there was nothing after all. */
static bool send_data(struct conn *c, struct vq_req *req)
{
    struct iovec to[VSOCK_SEGMENTS];
    size_t room = MIN(conn_credit(c), (uint32_t)VSOCK_PACKET_MAX);
    bool end = false;
    /* What there is of it, behind the header. */
    unsigned n = iov_part(req->iov + req->n_out, req->n_in, VSOCK_HDR, room, to, &room);
    if (room == 0) { /* the header's place, and no more */
        c->v->count.short_buffers++;
        return true;
    }
    ssize_t len = host_recv(c, to, n, room, &end);
    if (len < 0) {
        conn_end(c, false);
        return false;
    }
    conn_settle(c);
    if (len == 0)
        return false;
    c->tx_cnt += (uint32_t)len;
    c->v->count.rx_bytes += (uint64_t)len;
    send_packet(c, req, VIRTIO_VSOCK_OP_RW, end ? VIRTIO_VSOCK_SEQ_EOM : 0, (size_t)len);
    return true;
}

static bool take_turn(struct conn *c, struct vq_req *req)
{
    bool used = true;
    TAILQ_REMOVE(&c->v->turns, c, turn);
    c->queued = false;
    if (c->state == CONN_ENDED) {
        send_packet(c, req, VIRTIO_VSOCK_OP_RST, 0, 0);
        conn_ended(c);
    } else if (c->due) {
        send_due(c, req);
    } else {
        used = conn_has_data(c) && send_data(c, req);
    }
    conn_turn(c);
    return used;
}

/* A buffer that can hold a packet. */
static struct vq_req *next_buffer(struct vsock *v, struct vq *q)
{
    struct vq_req *req;
    while ((req = vq_next(q)) && req->in_len < VSOCK_HDR) {
        v->count.short_buffers++;
        vq_complete(q, req);
    }
    return req;
}

static bool something_to_say(const struct vsock *v)
{
    return v->reply_n > 0 || !TAILQ_EMPTY(&v->turns);
}

void vsock_rx(struct vsock *v)
{
    struct vq *q = vdev_queue(v->dev, VSOCK_RX), *tx = vdev_queue(v->dev, VSOCK_TX);
    struct vq_req *req = NULL;
    unsigned turns = 0;
    while (q && something_to_say(v) && turns++ < TURNS) {
        if (!req && !(req = next_buffer(v, q)))
            break; /* the driver's turn, or others' */
        bool used = true;
        if (v->reply_n > 0)
            send_reply(v, req);
        else
            used = take_turn(TAILQ_FIRST(&v->turns), req);
        if (used) {
            v->count.rx_packets += req->written > 0;
            vq_complete(q, req);
            req = NULL;
        }
    }
    if (req)
        vq_unpop(q, req);
    if (turns > TURNS)
        vq_poke(q);
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
