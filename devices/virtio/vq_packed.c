/* devices/virtio/vq_packed.c - the packed ring (virtio 1.4, 2.8): one table in which the driver
 * makes descriptors available and the device overwrites them when they are used, told apart by two
 * bits and a wrap counter on each side. Barriers name their pair in Linux's virtio_ring.c.
 *
 * Ring memory belongs to the guest and changes at any time: only copies are checked and used, and
 * what a hint looked at before proves nothing. */
#include "devices/virtio/vq_priv.h"

enum {
    AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL,
    USED = 1 << VRING_PACKED_DESC_F_USED,
    LINE = VQ_LINE / VQ_DESC_SIZE, /* descriptors of a cache line */
    HINT_LINES = 4,
    EVENT_FLAGS_SHIFT = 16, /* of an event suppression structure as one word */
    EVENT_FLAGS_MASK = 3,
    WRAP = 1 << 15, /* beside an index */
    IDS = 1 << 16,  /* a buffer ID is any number (2.8.10) */
};

static uint8_t *slot_of(const struct vq *q, uint16_t i)
{
    return q->desc + (size_t)i * VQ_DESC_SIZE;
}

/* The second half of a descriptor of the ring: len, id and flags. */
static uint64_t load_half(const struct vq *q, uint16_t i)
{
    return vq_load64(slot_of(q, i) + VQ_DESC_LEN, memory_order_acquire);
}

static uint16_t flags_of(uint64_t half)
{
    return (uint16_t)(half >> 48);
}

/* 2.8.1: available when its bit is as our wrap counter and the used bit is not. */
static bool is_available(uint16_t flags, bool wrap)
{
    return !!(flags & AVAIL) == wrap && !!(flags & USED) != wrap;
}

static struct vq_desc load_desc(const uint8_t *table, unsigned i)
{
    struct vq_desc d = vq_desc_load(table, i);
    uint16_t id = d.flags; /* the split ring has its flags and next where this has id and flags */
    d.flags = d.next;
    d.next = id;
    return d;
}

static int open_ring(struct vq *q, const struct vq_config *cfg)
{
    uint16_t avail = cfg->next_avail & (uint16_t)~WRAP, used = cfg->next_used & (uint16_t)~WRAP;
    if (cfg->size == 0 || cfg->size > VQ_SIZE_MAX || avail >= cfg->size || used >= cfg->size)
        return -EINVAL;
    if (cfg->desc.v % 16 || cfg->driver.v % 4 || cfg->device.v % 4)
        return -EINVAL;
    q->desc = gmem_at(q->mem, cfg->desc, (uint64_t)cfg->size * VQ_DESC_SIZE);
    q->avail = gmem_at(q->mem, cfg->driver, 4);
    q->used = gmem_at(q->mem, cfg->device, 4);
    if (!q->desc || !q->avail || !q->used)
        return -EINVAL;
    q->next_avail = avail;
    q->next_used = used;
    q->avail_wrap = cfg->next_avail & WRAP;
    q->used_wrap = cfg->next_used & WRAP;
    q->n_ids = IDS;
    return 0;
}

/* Moves an index and its wrap counter on by n, at most the queue's size. */
static void advance(const struct vq *q, uint16_t *index, bool *wrap, unsigned n)
{
    unsigned at = *index + n;
    if (at >= q->size) {
        at -= q->size;
        *wrap = !*wrap;
    }
    *index = (uint16_t)at;
}

/* At each new line of the ring: where a line's worth of requests came at once, more lines are
 * likely to be there, and come together. Where they do not, the driver is about to write them and
 * has them for itself. The tables that descriptors refer to come a line ahead, too. See
 * vq_hint_table(). */
static inline void hint(const struct vq *q)
{
    if (q->next_avail % LINE)
        return;
    unsigned at = q->next_avail, taken = (unsigned)q->size - q->budget, end = at + LINE;
    if (taken >= LINE) {
        for (unsigned i = 1; i <= HINT_LINES; i++)
            __builtin_prefetch(slot_of(q, (uint16_t)(at + i * LINE)));
        end += LINE;
    }
    if (!q->indirect)
        return;
    end = MIN(end, (unsigned)q->size);
    for (unsigned i = taken >= 2 * LINE ? at + LINE : at + 1; i < end; i++) {
        struct vq_desc d = load_desc(q->desc, i);
        vq_hint_table(q, d.addr, d.flags);
    }
}

/* 2.8.7: in an indirect table only the write flag counts, and the order is that of the table. */
static int add_table(const struct vq *q, struct vq_req *r, struct vq_desc d)
{
    const uint8_t *table = vq_indirect_table(q, d);
    if (!table)
        return -EFAULT;
    unsigned n = d.len / VQ_DESC_SIZE;
    if (n > VQ_CHAIN_MAX)
        return -E2BIG;
    for (unsigned i = 0; i < n; i++) {
        int rc = vq_add_segment(q, r, load_desc(table, i));
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* Walks a list from the next descriptor on; *n is how many there are, *id what the last one says.
 */
static int add_list(const struct vq *q, struct vq_req *r, struct vq_desc d, unsigned *n,
                    uint16_t *id)
{
    unsigned at = q->next_avail, room = q->size - q->descs;
    for (unsigned steps = 1;; steps++) {
        if (steps > room)
            return -EOVERFLOW;
        if (steps > VQ_CHAIN_MAX)
            return -E2BIG; /* empty descriptors count too */
        if (d.flags & VRING_DESC_F_INDIRECT)
            return -EBADMSG; /* not in a list, or not negotiated: 2.8.19 */
        int rc = vq_add_segment(q, r, d);
        if (rc < 0)
            return rc;
        if (!(d.flags & VRING_DESC_F_NEXT)) {
            *n = steps;
            *id = d.next;
            return 0;
        }
        at = at + 1 < q->size ? at + 1 : 0;
        d = load_desc(q->desc, at);
    }
}

static int pop(struct vq *q, struct vq_req *r)
{
    /* Pairs with virtio_wmb() before the driver's store of the first descriptor's flags. */
    uint64_t half = load_half(q, q->next_avail);
    if (!is_available(flags_of(half), q->avail_wrap))
        return 0;
    if (q->descs == q->size)
        return -EOVERFLOW; /* all of them are in flight: this one cannot be new */
    struct vq_desc d = {.addr = vq_load64(slot_of(q, q->next_avail), memory_order_relaxed),
                        .len = (uint32_t)half,
                        .flags = flags_of(half),
                        .next = (uint16_t)(half >> 32)};
    unsigned n = 1;
    uint16_t id = d.next;
    int rc;
    hint(q);
    if ((d.flags & VRING_DESC_F_INDIRECT) && !(d.flags & VRING_DESC_F_NEXT) && q->indirect)
        rc = add_table(q, r, d);
    else
        rc = add_list(q, r, d, &n, &id);
    if (rc < 0)
        return rc;
    if (vq_busy(q, id))
        return -EALREADY;
    vq_busy_flip(q, id);
    r->core.head = id;
    r->core.n_desc = (uint16_t)n;
    q->descs += n;
    advance(q, &q->next_avail, &q->avail_wrap, n);
    return 1;
}

static void unpop(struct vq *q, const struct vq_req *r)
{
    vq_busy_flip(q, r->core.head);
    q->descs -= r->core.n_desc;
    if (r->core.n_desc > q->next_avail) {
        q->next_avail += q->size;
        q->avail_wrap = !q->avail_wrap;
    }
    q->next_avail -= r->core.n_desc;
}

/* One used descriptor stands for the whole list. A batch's first one is held back until publish(),
 * and the driver, which reads in order, sees none of the batch before. */
static void push(struct vq *q, const struct vq_req *r)
{
    uint64_t flags = q->used_wrap ? AVAIL | USED : 0;
    if (r->written)
        flags |= VRING_DESC_F_WRITE;
    uint64_t half = r->written | (uint64_t)r->core.head << 32 | flags << 48;
    if (!q->unpublished) {
        q->held = half;
        q->held_at = q->next_used;
        q->held_span = 0;
    } else {
        vq_store64(slot_of(q, q->next_used) + VQ_DESC_LEN, half, memory_order_release);
    }
    q->held_span += r->core.n_desc;
    q->descs -= r->core.n_desc;
    vq_busy_flip(q, r->core.head);
    advance(q, &q->next_used, &q->used_wrap, r->core.n_desc);
}

static bool publish(struct vq *q)
{
    /* Pairs with virtio_rmb() in virtqueue_get_buf_ctx_packed(): id and len before the flags. */
    vq_store64(slot_of(q, q->held_at) + VQ_DESC_LEN, q->held, memory_order_release);
    /* Pairs with virtio_mb() in virtqueue_enable_cb_packed(): the flags before the driver's wish.
     */
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t event = vq_load32(q->avail, memory_order_relaxed);
    switch (event >> EVENT_FLAGS_SHIFT & EVENT_FLAGS_MASK) {
    case VRING_PACKED_EVENT_FLAG_DISABLE:
        return false;
    case VRING_PACKED_EVENT_FLAG_DESC:
        if (q->event_idx)
            break;
        return true; /* reserved, as 3 is: to notify is never wrong */
    default:
        return true;
    }
    /* Both indices on one scale, on which the lap before ours is below 0. */
    uint16_t at = event & (WRAP - 1);
    if (!!(event & WRAP) != q->used_wrap)
        at = (uint16_t)(at - q->size);
    return vring_need_event(at, q->next_used, (uint16_t)(q->next_used - q->held_span));
}

static void store_event(struct vq *q, uint32_t flags, uint32_t at)
{
    vq_store32(q->used, flags << EVENT_FLAGS_SHIFT | at, memory_order_relaxed);
}

static bool ready(const struct vq *q)
{
    return is_available(flags_of(load_half(q, q->next_avail)), q->avail_wrap);
}

static bool arm(struct vq *q)
{
    uint32_t at = q->next_avail | (q->avail_wrap ? WRAP : 0u);
    if (q->event_idx)
        store_event(q, VRING_PACKED_EVENT_FLAG_DESC, at);
    else
        store_event(q, VRING_PACKED_EVENT_FLAG_ENABLE, 0);
    /* Pairs with virtio_mb() in virtqueue_kick_prepare_packed(): our wish before its flags. */
    atomic_thread_fence(memory_order_seq_cst);
    return ready(q);
}

static void disarm(struct vq *q)
{
    /* With EVENT_IDX the event that was asked for has passed, as in a split ring; but a ring that
     * was just made says ENABLE. */
    if (!q->event_idx || !q->armed)
        store_event(q, VRING_PACKED_EVENT_FLAG_DISABLE, 0);
}

static void save(const struct vq *q, struct vq_config *cfg)
{
    cfg->next_avail = q->next_avail | (q->avail_wrap ? WRAP : 0);
    cfg->next_used = q->next_used | (q->used_wrap ? WRAP : 0);
}

const struct vq_ring_ops vq_packed_ops = {.first = WRAP,
                                          .open = open_ring,
                                          .pop = pop,
                                          .unpop = unpop,
                                          .push = push,
                                          .publish = publish,
                                          .ready = ready,
                                          .arm = arm,
                                          .disarm = disarm,
                                          .save = save};
