/* devices/net/net_priv.h - a network device's insides. net.c is the device to its core; net_lane.c
 * says what lives on which loop; net_rx.c and net_tx.c move frames, net_ctrl.c does what the driver
 * commands.
 *
 * Pairs of queues live in lanes. A lane is all that one loop does, and is touched by that loop
 * only; it has one pair where the back end keeps pairs apart, and all of them elsewhere. What the
 * driver commands is kept by the control queue in a struct net_settings, of which each lane has a
 * copy of its own to read from: net_hand_over(). The rest of the device is atomic, or was fixed
 * when it was created. */
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

/* Of one queue, written by its loop; they wrap (5.1.6.5.8). */
enum net_count {
    NET_PACKETS,
    NET_BYTES,
    NET_DROPS,
    NET_OVERRUNS,
    NET_MALFORMED,
    NET_NEEDS_CSUM,
    NET_CSUM_VALID,
    NET_CSUM_NONE,
    NET_GSO_PACKETS,
    NET_GSO_BYTES,
    NET_COMMANDS,
    NET_OK,
    NET_COUNTS
};
struct net_counters {
    _Atomic uint64_t n[NET_COUNTS];
};

/* Buffers that the driver offered and that no frame has filled yet, oldest first. */
struct net_rxq {
    struct vq_req *held[NET_QUEUE_SIZE];
    unsigned first, n;
    size_t room;         /* their bytes */
    atomic_bool enabled; /* it has run, and the driver has not reset it; saved by another loop */
};

/* Where frames come from: a queue of the back end, and the one frame that was read and has not
 * found its place. Its first `direct` bytes are in the held buffers of its receive queue already.
 */
struct net_source {
    struct net_lane *lane;
    unsigned index;
    struct virtio_net_hdr_v1_hash hdr;
    size_t len, direct; /* len 0: there is none */
    size_t expected;    /* how long the next one is likely to be */
    unsigned target;    /* receive queue */
    bool blocked;       /* until the driver offers buffers */
    struct loop_task resume;
    uint8_t bounce[NET_FRAME_MAX + 1]; /* for what the held buffers have no room for */
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
    struct vq_req *done[NET_QUEUE_SIZE];
    unsigned n, segments;
    uint32_t packets;
    int64_t deadline_ns;
};
struct net_coal_params {
    uint32_t max_packets, max_usecs;
};

/* All zeroes but for `pairs` until the driver says otherwise. */
struct net_settings {
    /* Negotiated: from start to reset. */
    bool mrg, hash_report;
    unsigned hdr_len;
    uint64_t tx_offloads, rx_negotiated;
    /* Commanded. */
    uint64_t rx_offloads; /* now (5.1.6.5.6.1) */
    unsigned pairs;       /* receive queues in use */
    unsigned steered;     /* another number: frames come in another way from now on */
    struct net_filter filter;
    struct net_rss rss;
    struct net_coal_params coal_default[2]; /* receive, transmit */
    struct net_coal_params coal[2 * NET_QUEUES_MAX];
};

struct net_pair {
    struct net_rxq rxq;
    struct net_coal coal[2]; /* receive, transmit */
    bool tx_blocked;
    struct net_counters counters[2];
    struct net_source source; /* the back end's queue of the same number */
};

struct net_lane {
    struct net *net;
    struct loop *loop;
    unsigned first, last; /* its pairs, and the back end's queues: [first, last) */
    struct net_settings set;
    struct net_settings next;       /* while they are handed over */
    struct loop_task take, follows; /* of the hand-over */
    struct loop_timer stall;        /* a frame waits for the rest of its buffers */
    struct loop_timer coal_timer;
    uint8_t flows[NET_FLOWS]; /* the queue that a flow was sent on, plus one */
    struct iovec iov[NET_IOV_MAX];
    uint8_t tx_copy[NET_FRAME_MAX];
};

/* A command (5.1.6.5) as its readable bytes behind class and command. */
struct net_cmd {
    struct vq *queue;
    struct vq_req *req;
    uint8_t class, command, ack;
    size_t len;
    size_t ack_at, written; /* among the writable bytes; `written` with the ack */
};

struct net {
    struct vdev *dev;
    char what[64]; /* for the log */
    struct net_backend *host;
    unsigned pairs_max, n_lanes;
    struct net_lane *lanes;
    struct net_pair *pairs;
    uint32_t mtu;
    uint8_t own_mac[NET_MAC_LEN]; /* what a reset goes back to */
    bool rss_offered, hash_offered;
    atomic_ullong mac;      /* net_mac() */
    atomic_uint status;     /* VIRTIO_NET_S_ */
    atomic_bool announces;  /* the driver knows how */
    struct limiter limiter; /* of sources, and of transmit queues by their pair */

    /* The control queue's, and while it is stopped of whoever stopped it. */
    struct loop *ctrl_loop;
    struct net_settings set;
    struct net_counters ctrl_counters;
    struct net_cmd cmd;          /* in hand; req NULL: there is none */
    atomic_uint behind;          /* lanes that do not follow it yet, */
    struct loop_task all_follow; /* and when they do */
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
static inline struct net_lane *net_lane_of(const struct net *n, unsigned pair)
{
    return n->pairs[pair].source.lane;
}
static inline struct net_counters *net_counters(struct net *n, unsigned queue)
{
    return queue < 2 * n->pairs_max ? &n->pairs[queue / 2].counters[queue % 2] : &n->ctrl_counters;
}
static inline void net_count(struct net_counters *c, enum net_count what, uint64_t by)
{
    counter_add(&c->n[what], by);
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

/* net_lane.c. Of n->set: what follows from the features; */
void net_settings_begin(struct net *n);
/* another way of receiving: frames go to the first `pairs` queues, and what was read before is
 * dropped; */
void net_steer(struct net *n, unsigned pairs, bool rss);
/* and to all lanes with it. On the control queue's loop: net_ctrl_done() follows, */
void net_hand_over(struct net *n);
/* or by whoever stopped all queues, and is on no loop: they have it when this returns. */
void net_begin_with(struct net *n);
/* When the back end is open: each pair has a loop, if it may. -ENOMEM, or another -errno; what
 * there is by then is net_lanes_free()'s. */
int CHECKED net_lanes_new(struct net *n, const struct build_env *env);
void net_lanes_free(struct net *n); /* half-built ones too; no loop runs */

/* net_rx.c */
void net_rx_readable(void *ctx, unsigned source);
void net_rx_kick(struct net_lane *l, struct vq *q);
void net_rx_drain(struct net_lane *l, struct vq *q);
void net_rx_queue_reset(struct net_lane *l, unsigned pair); /* the driver's, of that one */
void net_rx_steered(struct net_lane *l);
void net_rx_stalled(void *ctx);
void net_rx_resume(void *source);
/* net_tx.c */
void net_tx_writable(void *ctx, unsigned queue);
void net_tx_kick(struct net_lane *l, struct vq *q);
void net_tx_retry(struct net_lane *l); /* what waits, waits for another queue of the back end now */
/* net_ctrl.c */
void net_ctrl_kick(struct net *n, struct vq *q);
void net_ctrl_done(struct net *n); /* the command in hand, everywhere */
/* net_header.c: false when such a frame must not pass. `len` is the frame's, `head` as much of its
 * beginning as is known. */
bool net_tx_header_ok(const struct net_settings *s, net_hdr_t *h, size_t len);
bool net_rx_header_ok(const struct net_settings *s, net_hdr_t *h, const uint8_t *head,
                      size_t head_len, size_t len);

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
void net_done(struct net_lane *l, struct vq *q, struct vq_req *req);
void net_packet_done(struct net_lane *l, struct vq *q);
void net_coal_flush(struct net_lane *l, struct vq *q);
void net_coal_timer(void *lane);

/* net_state.c */
int net_update(struct vdev *d, const void *opts, struct err *e); /* net_create.c */
void net_report(const struct vdev *d, struct report *r);         /* net_stats.c */
void net_save(const struct vdev *d, struct state_out *s);
int net_load(struct vdev *d, struct state_in *s);
