/* devices/net/net_priv.h - a network device's insides. net.c is the device to its core; net_rx.c
 * and net_tx.c move frames, net_ctrl.c does what the driver commands.
 *
 * All but the atomics and what creation fixed belongs to the loop. */
#pragma once

#include <stdatomic.h>

#include "base/log.h"
#include "devices/limiter.h"
#include "devices/net/backend.h"
#include "devices/net/filter.h"
#include "devices/net/rss.h"
#include "devices/virtio/vdev.h"

enum {
    NET_QUEUE_SIZE = 256,
    NET_CTRL_SIZE = 64,
    NET_VQS_MAX = 2 * NET_QUEUES_MAX + 1,
    NET_HDR_MAX = 20,     /* with HASH_REPORT; we offer nothing that makes it longer (5.1.6) */
    NET_TURN_FRAMES = 64, /* what one queue may do before others have their turn */
    NET_TURN_BYTES = 1 << 20,
};

struct net_counters { /* of one queue; they wrap (5.1.6.5.8) */
    uint64_t packets, bytes, drops;
    uint64_t overruns, malformed;
    uint64_t needs_csum, csum_valid, csum_none;
    uint64_t gso_packets, gso_bytes;
    uint64_t commands, ok;
};

/* Buffers that the driver offered and that no frame has filled yet, oldest first. */
struct net_rxq {
    struct vq_req *held[NET_QUEUE_SIZE];
    unsigned first, n;
    size_t room;  /* their bytes */
    bool enabled; /* it has run, and the driver has not reset it */
};

/* Where frames come from: a queue of the back end, and the one frame that was read and has not
 * found its place. Its first `direct` bytes are in the held buffers of its receive queue already.
 */
struct net_source {
    struct net *net;
    unsigned index;
    uint8_t *bounce; /* NET_FRAME_MAX + 1 bytes, for what the held buffers have no room for */
    struct virtio_net_hdr_v1_hash hdr;
    size_t len, direct; /* len 0: there is none */
    size_t expected;    /* how long the next one is likely to be */
    unsigned target;    /* receive queue */
    bool blocked;       /* until the driver offers buffers */
};

enum net_way { NET_WAY_RX, NET_WAY_TX };

struct net_rss {
    bool steers; /* the last command was RSS_CONFIG */
    uint32_t types;
    uint16_t mask, unclassified;
    uint16_t table[NET_RSS_TABLE_MAX];
    struct net_toeplitz key;
};

/* 5.1.6.5.7. What is done but not told yet stays with the device: see net_coal.c. */
struct net_coal {
    uint32_t max_packets, max_usecs;
    struct vq_req *done[NET_QUEUE_SIZE];
    unsigned n, segments;
    uint32_t packets;
    int64_t deadline_ns;
};

struct net {
    struct vdev *dev;
    struct loop *loop;
    char what[64]; /* for the log */
    struct net_backend *host;
    unsigned pairs_max;
    uint32_t mtu;
    uint8_t own_mac[NET_MAC_LEN]; /* what a reset goes back to */
    bool rss_offered, hash_offered;
    atomic_ullong mac;     /* net_mac() */
    atomic_uint status;    /* VIRTIO_NET_S_ */
    atomic_bool announces; /* the driver knows how */

    /* From start to reset. */
    bool mrg, hash_report;
    unsigned hdr_len;
    uint64_t tx_offloads, rx_negotiated;

    uint64_t rx_offloads; /* now (5.1.6.5.6.1) */
    unsigned pairs;       /* receive queues in use */
    unsigned sources;     /* queues of the back end in use */
    struct net_filter filter;
    struct net_rss rss;
    uint8_t flows[NET_FLOWS]; /* the queue that a flow was sent on, plus one */
    struct net_source source[NET_QUEUES_MAX];
    struct net_rxq rxq[NET_QUEUES_MAX];
    bool tx_blocked[NET_QUEUES_MAX];
    struct loop_timer stall; /* a frame waits for the rest of its buffers */

    struct net_coal coal[2 * NET_QUEUES_MAX];
    struct {
        uint32_t max_packets, max_usecs;
    } coal_default[2]; /* receive, transmit */
    struct loop_timer coal_timer;

    struct limiter limiter; /* of sources, and of transmit queues by their pair */
    struct net_counters counters[NET_VQS_MAX];
    struct iovec iov[NET_IOV_MAX];
    uint8_t tx_copy[NET_FRAME_MAX];
};

/* Adds a segment of the driver's to `iov`, in which iov[0] is ours: to the one before, if it begins
 * where that ends. Linux cuts its buffers off one piece of memory, and each segment less is some
 * work less for the kernel. */
static inline void net_add_segment(struct iovec *iov, unsigned *k, uint8_t *at, size_t len)
{
    struct iovec *last = &iov[*k - 1];
    if (*k > 1 && (uint8_t *)last->iov_base + last->iov_len == at)
        last->iov_len += len;
    else
        iov[(*k)++] = (struct iovec){.iov_base = at, .iov_len = len};
}
static inline bool net_link_up(const struct net *n)
{
    return atomic_load(&n->status) & VIRTIO_NET_S_LINK_UP;
}
void net_mac(const struct net *n, uint8_t mac[NET_MAC_LEN]);
void net_mac_set(struct net *n, const uint8_t mac[NET_MAC_LEN]);
/* Queue numbers (5.1.2). */
static inline unsigned net_rx_index(unsigned pair)
{
    return 2 * pair;
}
static inline unsigned net_tx_index(unsigned pair)
{
    return 2 * pair + 1;
}
unsigned net_usable_pairs(const struct net *n);
int net_ctrl_index(const struct net *n); /* -1: there is none */

/* Another way of receiving: frames go to the first `pairs` queues. Frames in between are dropped.
 */
void net_steer(struct net *n, unsigned pairs, bool rss);
void net_set_offloads(struct net *n, uint64_t offloads);
void net_begin(void *ctx); /* what follows from the features; no queue is live yet */

/* net_rx.c */
void net_rx_readable(void *ctx, unsigned source);
void net_rx_kick(struct net *n, struct vq *q);
void net_rx_drain(struct net *n, struct vq *q);
void net_rx_queue_reset(struct net *n, unsigned pair); /* the driver's, of that one */
bool net_rx_awake(struct net *n);
void net_rx_stop(struct net *n); /* nothing is received, and what was is dropped */
void net_rx_stalled(void *ctx);
void net_rx_resume(struct net *n, unsigned source);
/* net_tx.c */
void net_tx_writable(void *ctx, unsigned queue);
void net_tx_kick(struct net *n, struct vq *q);
void net_tx_resume(struct net *n, unsigned pair);
void net_tx_retry(struct net *n); /* what waits, waits for another queue of the back end now */
/* net_ctrl.c */
void net_ctrl_kick(struct net *n, struct vq *q);
/* net_header.c: false when such a frame must not pass. `len` is the frame's, `head` as much of its
 * beginning as is known. */
bool net_tx_header_ok(const struct net *n, net_hdr_t *h, size_t len);
bool net_rx_header_ok(const struct net *n, net_hdr_t *h, const uint8_t *head, size_t head_len,
                      size_t len);

/* A command (5.1.6.5) as its readable bytes behind class and command. */
struct net_cmd {
    struct vq_req *req;
    uint8_t class, command;
    size_t len;
    size_t ack_at, written; /* among the writable bytes; `written` with the ack */
};
int CHECKED net_cmd_data(const struct net_cmd *c, size_t off, void *dst, size_t len);
/* net_ctrl_rx.c, net_ctrl_mq.c, net_coal.c, net_stats.c: 0, or -errno: VIRTIO_NET_ERR. */
int net_cmd_rx_mode(struct net *n, struct net_cmd *c);
int net_cmd_mac(struct net *n, struct net_cmd *c);
int net_cmd_vlan(struct net *n, struct net_cmd *c);
int net_cmd_mq(struct net *n, struct net_cmd *c);
int net_cmd_coal(struct net *n, struct net_cmd *c);
int net_cmd_stats(struct net *n, struct net_cmd *c);
int net_rss_check(const struct net *n, const struct net_rss *r);

/* net_coal.c: instead of vq_complete(), for one buffer; and when a packet's are all done. */
void net_done(struct net *n, struct vq *q, struct vq_req *req);
void net_packet_done(struct net *n, struct vq *q);
void net_coal_flush(struct net *n, struct vq *q);
void net_coal_timer(void *ctx);
void net_coal_queue_reset(struct net *n, unsigned queue); /* 5.1.6.5.7.5 */
void net_coal_reset(struct net *n);

/* net_state.c */
int net_update(struct vdev *d, const void *opts, struct err *e); /* net_create.c */
void net_report(const struct vdev *d, struct report *r);         /* net_stats.c */
void net_save(const struct vdev *d, struct state_out *s);
int net_load(struct vdev *d, struct state_in *s);
