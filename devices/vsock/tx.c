/* devices/vsock/tx.c - packets from the driver (virtio 1.4, 5.10.6). Each header is copied once;
 * what is no packet of a connection is answered by a RST, of which a bounded number may wait. */
#include <sys/socket.h>

#include "devices/vsock/vsock_priv.h"

enum { SHUT_FLAGS = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND };

struct packet {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port, len, flags, buf_alloc, fwd_cnt;
    uint16_t type, op;
    struct vq_req *req;
};

/* Packets with data of one stream, one behind the other, which goes to the host with one system
 * call; the driver has them back after that. */
struct run {
    struct vq *q;
    struct conn *c; /* NULL: there are none */
    struct vq_req *req[VSOCK_GATHER];
    struct iovec iov[VSOCK_SEGMENTS];
    unsigned n, n_iov;
    size_t len;
};

/* 5.10.3.2: without any bit it is streams; and with SEQPACKET alone streams are implied. */
bool vsock_has_type(const struct vsock *v, uint16_t type)
{
    bool stream = vdev_has(v->dev, VSOCK_F_STREAM);
    bool seqpacket = vdev_has(v->dev, VIRTIO_VSOCK_F_SEQPACKET);
    bool implied = !vdev_has(v->dev, VSOCK_F_NO_IMPLIED_STREAM);
    return type == VIRTIO_VSOCK_TYPE_STREAM ? stream || implied
                                            : type == VIRTIO_VSOCK_TYPE_SEQPACKET && seqpacket;
}

/* A RST is never answered by one. */
static void refuse(struct vsock *v, const struct packet *p)
{
    if (p->op == VIRTIO_VSOCK_OP_RST)
        return;
    v->count.refused++;
    v->replies[(v->reply_first + v->reply_n++) % VSOCK_REPLIES] =
        (struct reply){.src_cid = (uint32_t)p->dst_cid,
                       .dst_cid = (uint32_t)p->src_cid,
                       .src_port = p->dst_port,
                       .dst_port = p->src_port,
                       .type = p->type};
}

/* The driver does what it must not: the connection is over. */
static void violated(struct conn *c)
{
    c->v->count.violations++;
    conn_end(c, false);
}

static void request(struct vsock *v, const struct packet *p)
{
    int fd = v->transport_reset ? -EAGAIN : host_connect(v, p->dst_port, p->type);
    if (fd < 0) {
        refuse(v, p);
        return;
    }
    struct conn *c = conn_new(v, CONN_OPEN, fd);
    if (!c || host_watch(c) < 0) {
        if (c)
            conn_free(c);
        else
            (void)close(fd);
        refuse(v, p);
        return;
    }
    c->type = p->type;
    c->peer_buf_alloc = p->buf_alloc;
    c->peer_fwd_cnt = p->fwd_cnt;
    conn_hash(c, p->src_port, p->dst_port);
    v->count.opened_by_guest++;
    conn_due(c, DUE_RESPONSE);
}

static void response(struct conn *c)
{
    if (c->state != CONN_ASKING || !c->requested) {
        violated(c);
        return;
    }
    c->state = CONN_OPEN;
    conn_deadline(c, 0);
    c->v->count.opened_by_host++;
    c->in_ready = true; /* a client need not wait before it sends more */
    if (!host_confirm(c))
        conn_end(c, false);
}

static void shut_down(struct conn *c, uint32_t flags)
{
    c->guest_shut |= flags & SHUT_FLAGS;
    if (c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV)
        (void)shutdown(c->fd, SHUT_RD);
    conn_settle(c);
}

static void pass(struct conn *c, const struct iovec *iov, unsigned n, size_t skip, size_t len,
                 bool end)
{
    if (host_send(c, iov, n, skip, len, end) < 0)
        conn_end(c, false);
    else
        conn_settle(c);
}

static void run_end(struct run *r)
{
    if (!r->c)
        return;
    pass(r->c, r->iov, r->n_iov, 0, r->len, false);
    for (unsigned i = 0; i < r->n; i++)
        vq_complete(r->q, r->req[i]);
    r->c = NULL;
    r->n = r->n_iov = 0;
    r->len = 0;
}

static bool run_goes_on(const struct run *r, const struct packet *p)
{
    return r->c && p->op == VIRTIO_VSOCK_OP_RW && p->type == r->c->type &&
           p->src_port == r->c->guest_port && p->dst_port == r->c->host_port;
}

/* False: it has too many segments. */
static bool run_add(struct run *r, struct conn *c, const struct packet *p)
{
    size_t total;
    unsigned k = iov_part(p->req->iov, p->req->n_out, VSOCK_HDR, p->len, r->iov + r->n_iov,
                          VSOCK_SEGMENTS - r->n_iov, &total);
    if (total < p->len || r->n == VSOCK_GATHER)
        return false;
    r->c = c;
    r->req[r->n++] = p->req;
    r->n_iov += k;
    r->len += total;
    return true;
}

static bool run_has(const struct run *r, const struct vq_req *req)
{
    return r->n > 0 && r->req[r->n - 1] == req;
}

static void data(struct conn *c, const struct packet *p, struct run *r)
{
    bool messages = c->type == VIRTIO_VSOCK_TYPE_SEQPACKET;
    bool good = !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) &&
                p->len <= p->req->out_len - VSOCK_HDR &&
                p->len <= VSOCK_BUF - (c->rx_cnt - c->fwd_cnt);
    if (good) {
        c->rx_cnt += p->len;
        c->v->count.tx_bytes += p->len;
        if (!messages && run_add(r, c, p))
            return;
    }
    run_end(r); /* what was said before it still counts, */
    if (c->state != CONN_OPEN)
        return; /* and did not go well */
    if (!good)
        violated(c);
    else if (messages || !run_add(r, c, p))
        pass(c, p->req->iov, p->req->n_out, VSOCK_HDR, p->len,
             messages && p->flags & VIRTIO_VSOCK_SEQ_EOM);
}

static void dispatch(struct conn *c, const struct packet *p, struct run *r)
{
    bool open = c->state == CONN_OPEN;
    if (p->op == VIRTIO_VSOCK_OP_RST) {
        conn_ended(c);
        return;
    }
    if (c->state == CONN_ENDED)
        return; /* a RST is on its way */
    if (c->type != p->type) {
        violated(c);
        return;
    }
    c->peer_buf_alloc = p->buf_alloc;
    c->peer_fwd_cnt = p->fwd_cnt;
    c->asked = c->asked && conn_credit(c) == 0;
    if (p->op == VIRTIO_VSOCK_OP_RESPONSE)
        response(c);
    else if (open && p->op == VIRTIO_VSOCK_OP_RW)
        data(c, p, r);
    else if (open && p->op == VIRTIO_VSOCK_OP_SHUTDOWN)
        shut_down(c, p->flags);
    else if (open && p->op == VIRTIO_VSOCK_OP_CREDIT_REQUEST)
        conn_due(c, DUE_CREDIT);
    else if (!open || p->op != VIRTIO_VSOCK_OP_CREDIT_UPDATE)
        violated(c);
    conn_turn(c); /* there may be credit now */
}

static bool parse(struct vsock *v, struct vq_req *req, struct packet *p)
{
    struct virtio_vsock_hdr h;
    if (vq_req_read(req, 0, &h, sizeof(h)) < 0) {
        v->count.bad_packets++;
        return false;
    }
    *p = (struct packet){.src_cid = le64toh(h.src_cid),
                         .dst_cid = le64toh(h.dst_cid),
                         .src_port = le32toh(h.src_port),
                         .dst_port = le32toh(h.dst_port),
                         .len = le32toh(h.len),
                         .flags = le32toh(h.flags),
                         .buf_alloc = le32toh(h.buf_alloc),
                         .fwd_cnt = le32toh(h.fwd_cnt),
                         .type = le16toh(h.type),
                         .op = le16toh(h.op),
                         .req = req};
    return true;
}

static void handle(struct vsock *v, const struct packet *p, struct run *r)
{
    if (!run_goes_on(r, p))
        run_end(r);
    if (p->src_cid != v->cid || p->dst_cid != VSOCK_CID_HOST) {
        v->count.bad_packets++;
        refuse(v, p);
        return;
    }
    struct conn *c = conn_find(v, p->src_port, p->dst_port);
    if (c)
        dispatch(c, p, r);
    else if (p->op == VIRTIO_VSOCK_OP_REQUEST && vsock_has_type(v, p->type))
        request(v, p);
    else
        refuse(v, p);
}

/* 5.10.6.1: whether or not rx has buffers, as long as there is room for what may have to be said.
 */
void vsock_tx(struct vsock *v, struct vq *q)
{
    struct run run = {.q = q};
    struct vq_req *req;
    while (!(v->tx_waits = v->reply_n == VSOCK_REPLIES) && (req = vq_next(q))) {
        struct packet p;
        v->count.tx_packets++;
        if (parse(v, req, &p))
            handle(v, &p, &run);
        if (!run_has(&run, req))
            vq_complete(q, req);
    }
    run_end(&run);
    v->count.held_up += v->tx_waits;
}
