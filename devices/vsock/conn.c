/* devices/vsock/conn.c - connections: the table of them, the turns that they take, their deadlines,
 * and how they end (virtio 1.4, 5.10.6.5). */
#include <sys/random.h>
#include <sys/socket.h>

#include "devices/vsock/vsock_priv.h"

enum { BOTH = VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND };
enum { PORT_FIRST = 0x40000000, PORT_LAST = 0x7fffffff }; /* of the host's clients */
#define TICK_NS 1000000000ull

/* --- the table --- */

void conns_init(struct vsock *v)
{
    TAILQ_INIT(&v->turns);
    for (unsigned i = VSOCK_CONNS; i-- > 0;) {
        v->conns[i] = (struct conn){.v = v, .fd = -1};
        LIST_INSERT_HEAD(&v->free, &v->conns[i], link);
    }
    v->next_port = PORT_FIRST;
    if (getrandom(&v->seed, sizeof(v->seed), 0) != sizeof(v->seed))
        v->seed = (uintptr_t)v; /* no more than a guest's own table is at stake */
}

void conns_end(struct vsock *v, bool clients)
{
    for (unsigned i = 0; i < VSOCK_CONNS; i++) {
        if (clients || v->conns[i].state != CONN_LINE)
            conn_free(&v->conns[i]);
    }
    v->reply_n = 0;
    v->tx_waits = false;
}

/* Ports are the guest's choice: with a seed it cannot choose its bucket. */
static struct conn_list *bucket(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
    uint64_t x = v->seed ^ ((uint64_t)guest_port << 32 | host_port);
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93ull;
    return &v->buckets[(x ^ x >> 32) % VSOCK_BUCKETS];
}

struct conn *conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port)
{
    struct conn *c;
    LIST_FOREACH(c, bucket(v, guest_port, host_port), link)
    {
        if (c->guest_port == guest_port && c->host_port == host_port)
            return c;
    }
    return NULL;
}

void conn_hash(struct conn *c, uint32_t guest_port, uint32_t host_port)
{
    c->guest_port = guest_port;
    c->host_port = host_port;
    c->hashed = true;
    LIST_INSERT_HEAD(bucket(c->v, guest_port, host_port), c, link);
}

bool conn_hash_free_port(struct conn *c, uint32_t guest_port)
{
    struct vsock *v = c->v;
    for (unsigned i = 0; i <= VSOCK_CONNS; i++) {
        uint32_t port = v->next_port;
        v->next_port = port == PORT_LAST ? PORT_FIRST : port + 1;
        if (!conn_find(v, guest_port, port)) {
            conn_hash(c, guest_port, port);
            return true;
        }
    }
    return false;
}

static void unhash(struct conn *c)
{
    if (c->hashed)
        LIST_REMOVE(c, link);
    c->hashed = false;
}

struct conn *conn_new(struct vsock *v, enum conn_state s, int fd)
{
    struct conn *c = LIST_FIRST(&v->free);
    if (!c || v->conn_n >= v->conn_max)
        return NULL;
    LIST_REMOVE(c, link);
    *c = (struct conn){
        .v = v, .state = s, .generation = c->generation + 1, .fd = fd, .out_ready = true};
    v->conn_n++;
    return c;
}

void conn_close_fd(struct conn *c)
{
    fd_cleanup_(&c->fd); /* leaves the epoll set by that */
    c->fd = -1;
    c->in_ready = c->out_ready = false;
    store_free(&c->out);
    free(c->message);
    c->message = NULL;
}

void conn_free(struct conn *c)
{
    if (c->state == CONN_FREE)
        return;
    struct vsock *v = c->v;
    conn_close_fd(c);
    unhash(c);
    if (c->queued)
        TAILQ_REMOVE(&v->turns, c, turn);
    c->queued = false;
    c->state = CONN_FREE;
    c->ticks = 0;
    c->asked = false;
    v->conn_n--;
    LIST_INSERT_HEAD(&v->free, c, link);
}

/* --- credit and turns --- */

/* 5.10.6.3. A driver whose counters make no sense has no room. */
uint32_t conn_credit(const struct conn *c)
{
    uint32_t on_the_way = c->tx_cnt - c->peer_fwd_cnt;
    return on_the_way < c->peer_buf_alloc ? c->peer_buf_alloc - on_the_way : 0;
}

static bool wants_to_send(const struct conn *c)
{
    return c->state == CONN_OPEN && (c->message || (c->in_ready && !c->host_eof)) &&
           !(c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_RCV);
}

bool conn_has_data(const struct conn *c)
{
    return wants_to_send(c) && conn_credit(c) > 0;
}

void conn_turn(struct conn *c)
{
    if (wants_to_send(c) && conn_credit(c) == 0 && !c->asked) {
        c->asked = true;
        c->due |= DUE_ASK;
        conns_tick_on(c->v);
    }
    bool sends = c->state == CONN_ENDED || c->due || conn_has_data(c);
    if (!sends || c->queued || c->state == CONN_FREE)
        return;
    c->queued = true;
    TAILQ_INSERT_TAIL(&c->v->turns, c, turn);
}

void conn_due(struct conn *c, unsigned due)
{
    c->due |= (uint8_t)due;
    conn_turn(c);
}

/* --- how it ends --- */

void conn_end(struct conn *c, bool flush)
{
    if (c->state == CONN_LINGER) { /* the driver knows, and may use the addresses again */
        conn_free(c);
        return;
    }
    if (!flush || c->out.whole == 0 || c->fd < 0)
        conn_close_fd(c);
    c->state = CONN_ENDED;
    c->due = 0;
    c->asked = false;
    if (c->fd >= 0)
        (void)host_takes_some(c);
    conn_deadline(c, c->fd >= 0 ? VSOCK_LINGER_TICKS : 0);
    c->v->count.resets++;
    conn_turn(c);
}

void conn_ended(struct conn *c)
{
    if (c->state != CONN_ENDED || c->fd < 0) {
        conn_free(c);
        return;
    }
    unhash(c);
    c->state = CONN_LINGER;
}

void conn_shut(struct conn *c, unsigned flags)
{
    c->shut_due |= (uint8_t)flags;
    if (c->shut_due & ~c->shut_sent)
        conn_due(c, DUE_SHUTDOWN);
}

void conn_settle(struct conn *c)
{
    bool flushed = c->out.whole == 0;
    if (c->state == CONN_LINGER && flushed) {
        conn_free(c);
    } else if (c->state == CONN_ENDED && flushed) {
        conn_close_fd(c);
        conn_deadline(c, 0);
    } else if (c->state == CONN_OPEN) {
        if (c->guest_shut == BOTH) {
            conn_end(c, true);
            return;
        }
        bool no_more = c->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND && flushed;
        if (no_more && !c->write_shut) {
            (void)shutdown(c->fd, SHUT_WR);
            c->write_shut = true;
        }
        if (c->host_eof)
            conn_shut(c, VIRTIO_VSOCK_SHUTDOWN_SEND | (no_more ? VIRTIO_VSOCK_SHUTDOWN_RCV : 0));
        if (c->host_deaf)
            conn_shut(c, VIRTIO_VSOCK_SHUTDOWN_RCV);
    }
}

/* --- deadlines --- */

void conns_tick_on(struct vsock *v)
{
    if (!v->ticking)
        loop_timer_set(&v->tick, TICK_NS);
    v->ticking = true;
}

void conn_deadline(struct conn *c, unsigned ticks)
{
    c->ticks = (uint16_t)ticks;
    if (ticks)
        conns_tick_on(c->v);
}

static void expire(struct conn *c)
{
    if ((c->state == CONN_ENDED || c->state == CONN_LINGER) && host_takes_some(c)) {
        conn_deadline(c, VSOCK_LINGER_TICKS);
        return;
    }
    c->v->count.expired++;
    if (c->state == CONN_OPEN || (c->state == CONN_ASKING && c->requested))
        conn_end(c, false);
    else if (c->state == CONN_ENDED)
        conn_close_fd(c);
    else
        conn_free(c);
}

void conns_tick(void *ctx)
{
    struct vsock *v = ctx;
    bool more = false;
    v->ticking = false;
    if (v->deaf)
        host_listen(v, true);
    for (unsigned i = 0; i < VSOCK_CONNS; i++) {
        struct conn *c = &v->conns[i];
        if (c->ticks > 0 && --c->ticks == 0)
            expire(c);
        c->asked = c->asked && wants_to_send(c);
        if (c->asked)
            conn_due(c, DUE_ASK); /* the answer was "none", and a driver need not say more */
        more = more || c->ticks > 0 || c->asked;
    }
    if (more || v->deaf)
        conns_tick_on(v);
    vsock_rx(v);
}
