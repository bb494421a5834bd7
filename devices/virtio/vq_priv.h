/* devices/virtio/vq_priv.h - inside a queue: what the ring formats share, and the nine functions
 * that are a ring format (vq_split.c, vq_packed.c). */
#pragma once

#include <endian.h>
#include <linux/virtio_ring.h>
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
    VQ_DESC_SIZE = 16, /* in both formats: addr, len, and two words of 16 bits */
    VQ_DESC_LEN = 8,
    VQ_LINE = 64, /* bytes of a cache line */
};

struct vq_open_args {
    struct vdev *dev;
    unsigned index;
    const struct gmem *mem;
    struct loop *loop;
    const struct vq_config *cfg;
    size_t req_size;
    bool packed, indirect, event_idx, in_order;
};

struct vq_ring_ops {
    uint16_t first; /* vq_config.next_avail and next_used of a queue that begins anew */
    int (*open)(struct vq *q, const struct vq_config *cfg); /* size, alignment, range: once */
    int (*pop)(struct vq *q, struct vq_req *r);             /* 1, 0 empty, <0 broken */
    void (*unpop)(struct vq *q, const struct vq_req *r);
    void (*push)(struct vq *q, const struct vq_req *r);
    bool (*publish)(struct vq *q);     /* what was pushed; true: the driver wants an interrupt */
    bool (*ready)(const struct vq *q); /* something is available that was not popped */
    bool (*arm)(struct vq *q);         /* notifications on; true: more work slipped in */
    void (*disarm)(struct vq *q);
    void (*save)(const struct vq *q, struct vq_config *cfg);
};
extern const struct vq_ring_ops vq_split_ops, vq_packed_ops;

struct vq {
    const struct vq_ring_ops *ops;
    struct vdev *dev;
    const char *name; /* the device's, for probes */
    const struct gmem *mem;
    const struct gmem_region *ram; /* of mem, to look there first */
    unsigned n_ram;
    struct loop *loop;
    unsigned index;
    uint16_t size;
    bool indirect, event_idx;

    bool stopping; /* the device may take none; what it holds is being finished */
    bool abort;    /* and nobody waits for its result */
    bool broken;
    bool armed;   /* the driver was told to notify */
    bool stalled; /* out of slots: kick again when one is free */
    uint16_t budget;
    uint16_t asked;   /* taken since it was run, without buffers that only wait to be filled */
    bool unpublished; /* something was completed since the last publish */

    /* Requests in flight. Slots past `touched` were never used, so their memory never was either.
     */
    unsigned in_flight, slots, touched, n_free;
    size_t slot_size;
    uint8_t *slot_mem;
    uint16_t *free_slots;
    unsigned n_ids;  /* what heads (split) or buffer IDs (packed) are below */
    uint64_t *busy;  /* a bit for each that is in flight */
    uint16_t *order; /* IN_ORDER: slots in flight as they were taken, a ring; else NULL */
    unsigned order_first, order_n;

    struct loop_task task;    /* kicks again */
    struct loop_poll poll;    /* empty, and instead of notifications the loop looks at it */
    struct loop_task publish; /* at the end of the turn */
    struct loop_task idle;    /* the last request of a stopping queue has ended */

    /* The three areas, in the words of the split ring; a packed ring has its event suppression
     * structures where that has its rings. */
    uint8_t *desc; /* written by nobody but a packed ring */
    const uint8_t *avail;
    uint8_t *used;
    uint16_t next_avail, next_used;
    uint16_t seen_avail, published_used; /* split */
    uint16_t hinted, hinted_tables;      /* split: up to where hints were given */
    bool avail_wrap, used_wrap;          /* packed */
    unsigned descs;                      /* packed: descriptors in flight */
    /* Packed: the first used descriptor of a batch, what it will say, and the batch's length. */
    uint64_t held;
    uint16_t held_at, held_span;
};

int CHECKED vq_open(const struct vq_open_args *a, struct vq **out); /* -EINVAL: bad config */
void vq_close(struct vq *q); /* nothing is in flight; NULL is fine */
void vq_start(struct vq *q); /* on the loop: live from now on, and kicked once */
void vq_run(struct vq *q);   /* on the loop: the driver notified */
/* On the loop: takes no more; true when nothing is in flight. Else vdev_queue_idle() follows. */
bool vq_stop(struct vq *q, bool abort);
void vq_save(const struct vq *q, struct vq_config *cfg);

/* For ring formats. Fields of 16, 32 and 64 bits are read and written at once. */
static inline uint16_t vq_load16(const uint8_t *p, memory_order order)
{
    return le16toh(atomic_load_explicit((const _Atomic uint16_t *)(const void *)p, order));
}
static inline void vq_store16(uint8_t *p, uint16_t v, memory_order order)
{
    atomic_store_explicit((_Atomic uint16_t *)(void *)p, htole16(v), order);
}
static inline uint32_t vq_load32(const uint8_t *p, memory_order order)
{
    return le32toh(atomic_load_explicit((const _Atomic uint32_t *)(const void *)p, order));
}
static inline void vq_store32(uint8_t *p, uint32_t v, memory_order order)
{
    atomic_store_explicit((_Atomic uint32_t *)(void *)p, htole32(v), order);
}

static inline uint64_t vq_load64(const uint8_t *p, memory_order order)
{
    return le64toh(atomic_load_explicit((const _Atomic uint64_t *)(const void *)p, order));
}
static inline void vq_store64(uint8_t *p, uint64_t v, memory_order order)
{
    atomic_store_explicit((_Atomic uint64_t *)(void *)p, htole64(v), order);
}

/* 2.7.5. A packed ring's has other names for the last two (2.8.13). */
struct vq_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};
/* Two loads of eight bytes, which a volatile access makes exactly that. A ring is aligned, an
 * indirect table need not be. */
typedef uint64_t __attribute__((aligned(1), may_alias)) vq_unaligned64_t;
static inline struct vq_desc vq_desc_load(const uint8_t *table, unsigned i)
{
    const volatile vq_unaligned64_t *p =
        (const volatile vq_unaligned64_t *)(table + (size_t)i * VQ_DESC_SIZE);
    uint64_t addr = le64toh(p[0]), rest = le64toh(p[1]);
    return (struct vq_desc){.addr = addr,
                            .len = (uint32_t)rest,
                            .flags = (uint16_t)(rest >> 32),
                            .next = (uint16_t)(rest >> 48)};
}
/* gmem_at() and gmem_at_ro(), with what nearly every descriptor leads to in the caller. */
static inline void *vq_host(const struct vq *q, uint64_t at, uint64_t len, bool write)
{
    for (unsigned i = 0; i < q->n_ram; i++) {
        uint8_t *host = gmem_region_at(&q->ram[i], GPA(at), len);
        if (host)
            return host;
    }
    return write ? gmem_at(q->mem, GPA(at), len)
                 : (void *)gmem_at_ro(q->mem, GPA(at), len); /* only read through */
}
int CHECKED vq_req_grow(struct vq_req *r); /* room for more segments; -E2BIG, -ENOMEM */

/* Adds one checked segment to a request, readable or writable by its flags; an empty one is none.
 */
static inline int CHECKED vq_add_segment(const struct vq *q, struct vq_req *r, struct vq_desc d)
{
    bool in = d.flags & VRING_DESC_F_WRITE;
    unsigned n = r->n_out + r->n_in;
    if (!in && r->n_in)
        return -EBADMSG; /* readable after writable: 2.7.4.2, 2.8.17 */
    if (d.len == 0)
        return 0;
    if (r->out_len + r->in_len + d.len > 1ull << 32)
        return -EMSGSIZE; /* 2.7.5.2 */
    void *host = vq_host(q, d.addr, d.len, in);
    if (!host)
        return -EFAULT;
    int rc = n == r->core.cap ? vq_req_grow(r) : 0;
    if (rc < 0)
        return rc;
    r->iov[n] = (struct iovec){.iov_base = host, .iov_len = d.len};
    *(in ? &r->n_in : &r->n_out) += 1;
    *(in ? &r->in_len : &r->out_len) += d.len;
    return 0;
}

/* The table that a descriptor refers to, or NULL: not in RAM, empty, or not whole descriptors. */
static inline const uint8_t *vq_indirect_table(const struct vq *q, struct vq_desc d)
{
    return d.len && d.len % VQ_DESC_SIZE == 0 ? vq_host(q, d.addr, d.len, false) : NULL;
}
/* Has the table that this descriptor refers to, if it does, come nearer: it was written by another
 * CPU, and is wanted soon. A hint, from which nothing else may follow: the descriptor is copied and
 * checked when its turn comes, whatever it says by then. */
static inline void vq_hint_table(const struct vq *q, uint64_t addr, uint16_t flags)
{
    const void *table =
        flags & VRING_DESC_F_INDIRECT ? vq_host(q, addr, VQ_DESC_SIZE, false) : NULL;
    if (table)
        __builtin_prefetch(table);
}
static inline bool vq_busy(const struct vq *q, uint16_t id)
{
    return q->busy[id / 64] >> (id % 64) & 1;
}
static inline void vq_busy_flip(struct vq *q, uint16_t id)
{
    q->busy[id / 64] ^= 1ull << (id % 64);
}

/* vdev.c's side of it. */
void vdev_queue_kicked(struct vdev *d, struct vq *q);
void vdev_queue_interrupt(struct vdev *d, unsigned i);
void vdev_queue_idle(struct vdev *d, unsigned i);
bool vdev_failed(const struct vdev *d);
