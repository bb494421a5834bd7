/* devices/virtio/vq_priv.h - inside a queue: what the ring formats share, and the eight functions
 * that are a ring format (vq_split.c; vq_packed.c is to come). */
#pragma once

#include <stdatomic.h>

#include "base/gmem.h"
#include "base/loop.h"
#include "devices/virtio/vdev_ctl.h"
#include "devices/virtio/vq.h"

enum {
    VQ_SIZE_MAX = 32768,     /* 2.7 */
    VQ_CHAIN_MAX = 1026,     /* segments of one request: IOV_MAX, a header, a status */
    VQ_IN_FLIGHT_MAX = 1024, /* requests a device may hold of one queue */
    VQ_INLINE_SEGMENTS = 4,
};

struct vq_open_args {
    struct vdev *dev;
    unsigned index;
    const struct gmem *mem;
    struct loop *loop;
    const struct vq_config *cfg;
    size_t req_size;
    bool indirect, event_idx;
};

struct vq_ring_ops {
    int (*open)(struct vq *q, const struct vq_config *cfg); /* size, alignment, range: once */
    int (*pop)(struct vq *q, struct vq_req *r);             /* 1, 0 empty, <0 broken */
    void (*unpop)(struct vq *q, const struct vq_req *r);
    void (*push)(struct vq *q, const struct vq_req *r);
    bool (*publish)(struct vq *q); /* true: the driver wants an interrupt */
    bool (*arm)(struct vq *q);     /* notifications on; true: more work slipped in */
    void (*disarm)(struct vq *q);
    void (*save)(const struct vq *q, struct vq_config *cfg);
};
extern const struct vq_ring_ops vq_split_ops;

struct vq {
    const struct vq_ring_ops *ops;
    struct vdev *dev;
    const struct gmem *mem;
    struct loop *loop;
    unsigned index;
    uint16_t size;
    bool indirect, event_idx;

    bool live;     /* the device may take requests */
    bool stopping; /* it may not take more; what it holds is being finished */
    bool abort;    /* and nobody waits for its result */
    bool broken;
    bool armed;   /* the driver was told to notify */
    bool stalled; /* out of slots: kick again when one is free */
    uint16_t budget;
    uint16_t unpublished; /* completions since the last publish */

    /* Requests in flight. Slots past `touched` were never used, so their memory never was either.
     */
    unsigned in_flight, slots, touched, n_free;
    size_t slot_size;
    uint8_t *slot_mem;
    uint16_t *free_slots;
    uint64_t *busy; /* a bit for each head that is in flight */

    struct loop_task task;    /* kicks again */
    struct loop_task publish; /* at the end of the turn */
    struct loop_task idle;    /* the last request of a stopping queue has ended */

    /* The split ring. */
    const uint8_t *desc;
    const uint8_t *avail;
    uint8_t *used;
    uint16_t next_avail, seen_avail, next_used, published_used;
};

int CHECKED vq_open(const struct vq_open_args *a, struct vq **out); /* -EINVAL: bad config */
void vq_close(struct vq *q); /* nothing is in flight; NULL is fine */
void vq_start(struct vq *q); /* on the loop: live from now on, and kicked once */
void vq_run(struct vq *q);   /* on the loop: the driver notified */
/* On the loop: takes no more; true when nothing is in flight. Else vdev_queue_idle() follows. */
bool vq_stop(struct vq *q, bool abort);
void vq_save(const struct vq *q, struct vq_config *cfg);
/* For ring formats: room for one more segment, or NULL. */
struct iovec *vq_req_more(struct vq_req *r, unsigned used);

/* vdev.c's side of it. */
void vdev_queue_kicked(struct vdev *d, struct vq *q);
void vdev_queue_interrupt(struct vdev *d, unsigned i);
void vdev_queue_idle(struct vdev *d);
bool vdev_failed(const struct vdev *d);
