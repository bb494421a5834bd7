/* devices/vsock/vsock_priv.h - a socket device from inside (virtio 1.4, 5.10): what its connections
 * (conn.c), packets from the driver (tx.c), packets to the driver (rx.c), sockets of the host
 * (host.c) and buffers (store.c) share.
 *
 * Everything here is the loop's. A connection is a slot of a fixed table; nothing is allocated in
 * proportion to what a guest says. docs/adr/0010-vsock.md has the decisions. */
#pragma once

#include <endian.h>
#include <linux/virtio_vsock.h>
#include <sys/queue.h>

#include "base/iov.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"

/* Newer than the UAPI headers. */
enum { VSOCK_F_STREAM = 0, VSOCK_F_NO_IMPLIED_STREAM = 2 };
enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };
enum { VSOCK_CID_HOST = 2 };
enum { VSOCK_HDR = sizeof(struct virtio_vsock_hdr) };
_Static_assert(VSOCK_HDR == 44, "as on the wire");

enum {
    VSOCK_CONNS = 1024,
    VSOCK_BUCKETS = 1024,
    VSOCK_REPLIES = 256,             /* RSTs to what is no connection, while rx has no buffer */
    VSOCK_BUF = 128 * 1024,          /* our buf_alloc, of each connection */
    VSOCK_MESSAGE_MAX = 1024 * 1024, /* of the host's, if the driver has room for it */
    VSOCK_PACKET_MAX = 64 * 1024,    /* payload of a packet to the driver */
    VSOCK_SEGMENTS = 64,             /* in one system call: of one buffer, or of */
    VSOCK_GATHER = 16,               /* that many of the driver's rx buffers */
    VSOCK_LINE_MAX = 32,             /* "CONNECT 4294967295\n" */
};

/* Deadlines, in ticks of a second. */
enum {
    VSOCK_LINE_TICKS = 30,   /* the host's client says what it wants, */
    VSOCK_ANSWER_TICKS = 10, /* the driver says whether it accepts, */
    VSOCK_CLOSE_TICKS = 8,   /* and that a connection that was shut down is gone; */
    VSOCK_LINGER_TICKS = 30, /* the host takes some of what a closed connection has left */
};

/* What the driver sent and the host has not taken: a ring of VSOCK_BUF bytes. Of messages only
 * whole ones are taken; a bit for each byte says that one ends there. */
struct store {
    uint8_t *bytes; /* NULL until first needed */
    uint64_t *ends; /* seqpacket */
    uint32_t from, len;
    uint32_t whole; /* of len: what may be taken */
};

enum conn_state {
    CONN_FREE,
    CONN_LINE,   /* a client of the host's that has not said where to; no addresses yet */
    CONN_ASKING, /* the driver is asked, or is about to be */
    CONN_OPEN,
    CONN_ENDED,  /* a RST is to be sent; what is in the store still goes to the host */
    CONN_LINGER, /* and it was sent: the addresses are free again */
};

/* Packets that are due; sent in this order. */
enum { DUE_REQUEST = 1, DUE_RESPONSE = 2, DUE_CREDIT = 4, DUE_ASK = 8, DUE_SHUTDOWN = 16 };

struct vsock;
struct conn {
    struct vsock *v;
    enum conn_state state;
    uint32_t generation; /* of the slot's users, so that a late event is known as such */
    uint16_t type;
    uint32_t guest_port, host_port;
    int fd; /* -1: none any more */
    bool in_ready, out_ready;
    bool requested; /* the driver has seen our REQUEST */
    bool host_eof;  /* the host sends no more */
    bool host_deaf; /* the host receives no more */
    bool write_shut;
    uint8_t due;
    uint8_t guest_shut, shut_due, shut_sent; /* VIRTIO_VSOCK_SHUTDOWN_* */
    bool asked;                              /* for credit, and nothing was heard since */
    uint16_t ticks;                          /* left; 0: no deadline */
    int unread;                              /* host_takes_some() */
    /* 5.10.6.3; free-running. Ours first: what came, what was passed on, and what of that the
     * driver knows. */
    uint32_t rx_cnt, fwd_cnt, fwd_told;
    uint32_t tx_cnt, peer_buf_alloc, peer_fwd_cnt;
    struct store out;
    uint8_t *message; /* seqpacket: one of the host's that did not fit whole */
    size_t message_len, message_at;
    uint8_t filled; /* rx buffers by the last turn, if there may be more */
    bool queued, hashed;
    TAILQ_ENTRY(conn) turn; /* of those with something for the driver */
    LIST_ENTRY(conn) link;  /* of a bucket, or of the free ones */
};

/* A RST to what is no connection. */
struct reply {
    uint32_t src_cid, dst_cid, src_port, dst_port;
    uint16_t type;
};

struct vsock_counters {
    uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes; /* as the driver sees it */
    uint64_t opened_by_guest, opened_by_host, refused, expired;
    uint64_t resets, bad_packets, violations, short_buffers, held_up, transport_resets;
};

struct vsock {
    struct vdev *dev;
    struct loop *loop;
    uint32_t cid;
    char *path;
    struct own_path own;
    int listen_fd, epoll_fd;
    unsigned conn_max;       /* of a descriptor each, which are this device's own: fd_share() */
    struct loop_watch watch; /* the epoll set */
    struct loop_timer tick;
    bool ticking, deaf;   /* deaf: accept() failed, until the next tick */
    bool transport_reset; /* to be told to the driver; until then no connection begins */
    bool tx_waits;        /* for room among the replies */
    uint32_t next_port;
    uint64_t seed;
    struct log_limit complaints;
    struct reply replies[VSOCK_REPLIES];
    unsigned reply_first, reply_n;
    unsigned conn_n;
    TAILQ_HEAD(, conn) turns;
    LIST_HEAD(conn_list, conn) buckets[VSOCK_BUCKETS];
    struct conn_list free;
    struct vsock_counters count;
    struct conn conns[VSOCK_CONNS];
};

/* --- conn.c --- */

void conns_init(struct vsock *v);
/* All of them, without a word; those that have not said where to only with `clients`. */
void conns_end(struct vsock *v, bool clients);
/* NULL: there are enough. Takes fd. */
struct conn *conn_new(struct vsock *v, enum conn_state s, int fd);
struct conn *conn_find(struct vsock *v, uint32_t guest_port, uint32_t host_port);
void conn_hash(struct conn *c, uint32_t guest_port, uint32_t host_port);
bool conn_hash_free_port(struct conn *c, uint32_t guest_port); /* false: none is free */
void conn_free(struct conn *c);
void conn_close_fd(struct conn *c); /* and what was to go there is dropped */
/* The driver is told by a RST; with `flush` the host still gets what is in the store. */
void conn_end(struct conn *c, bool flush);
void conn_ended(struct conn *c);                    /* the driver knows that it is over */
void conn_deadline(struct conn *c, unsigned ticks); /* 0: none */
/* It may have something for the driver: it gets a turn. */
void conn_turn(struct conn *c);
bool conn_has_data(const struct conn *c); /* for the driver, and credit to send it */
uint32_t conn_credit(const struct conn *c);
void conn_due(struct conn *c, unsigned due);
void conn_shut(struct conn *c, unsigned flags); /* what the host does no more is told */
/* After data went to the host, or a direction ended: what follows from it. */
void conn_settle(struct conn *c);
void conns_tick(void *ctx);
void conns_tick_on(struct vsock *v); /* within a second */

/* --- tx.c, rx.c --- */

void vsock_tx(struct vsock *v, struct vq *q);
void vsock_rx(struct vsock *v); /* as many packets as there are buffers */
void vsock_event(struct vsock *v);
bool CHECKED vsock_has_type(const struct vsock *v, uint16_t type);

/* --- host.c --- */

int CHECKED host_open(struct vsock *v, const char *path, struct err *e);
void host_close(struct vsock *v);
void host_listen(struct vsock *v, bool on);
void host_clients_go_on(struct vsock *v); /* those that waited for the driver to be told */
int CHECKED host_connect(struct vsock *v, uint32_t port, uint16_t type); /* a descriptor */
int CHECKED host_watch(struct conn *c);
bool host_confirm(struct conn *c); /* "OK", to a client; false: it could not be said */

/* --- payload.c --- */

/* Payload from the driver: as much as goes to the socket, the rest to the store. -errno: the
 * connection cannot go on. */
/* One message or part of a stream, without waiting; as sendmsg() and recvmsg(). */
ssize_t host_sendmsg(int fd, struct iovec *iov, unsigned n);
ssize_t host_recvmsg(int fd, struct iovec *iov, unsigned n, int flags);
int CHECKED host_send(struct conn *c, const struct iovec *iov, unsigned n, size_t skip, size_t len,
                      bool end_of_message);
void host_flush(struct conn *c);
/* Nobody receives there any more: what the driver sends goes nowhere, and it is told to stop. */
void host_is_deaf(struct conn *c);
/* Since the last call: a program that reads slowly makes room in steps that are long. */
bool host_takes_some(struct conn *c);
/* Into the segments; what of it is a whole message's end. 0: nothing more, for now or for good.
 * -errno: the connection cannot go on. */
ssize_t CHECKED host_recv(struct conn *c, struct iovec *iov, unsigned n, size_t room, bool *end);

/* --- store.c --- */

int CHECKED store_put(struct store *s, bool messages, const struct iovec *iov, unsigned n,
                      size_t skip, size_t len);
void store_end_message(struct store *s);
/* What may be taken next: a whole message, or all there is. */
unsigned store_peek(const struct store *s, struct iovec to[2], size_t *len);
void store_take(struct store *s, size_t len);
void store_free(struct store *s);
