/* devices/virtio/vq_split.c - the split ring (virtio 1.4, 2.7). The driver's side of each barrier
 * is named as in Linux's drivers/virtio/virtio_ring.c.
 *
 * Ring memory belongs to the guest and changes at any time: each field is loaded once, by an atomic
 * load, and only the copy is checked and used. A hint that looked at it before proves nothing. */
#include "devices/virtio/vq_priv.h"

enum { HINT_DESCRIPTORS = 16, HINT_TABLES = 8 }; /* requests ahead */
enum { USED_ELEM_SIZE = 8, IDX = 2, RING = 4 };  /* avail and used: flags, idx, ring, event */

static int open_ring(struct vq *q, const struct vq_config *cfg)
{
    uint64_t n = cfg->size;
    if (n == 0 || n > VQ_SIZE_MAX || (n & (n - 1)) != 0)
        return -EINVAL;
    if (cfg->desc.v % 16 || cfg->driver.v % 2 || cfg->device.v % 4)
        return -EINVAL;
    q->desc = gmem_at(q->mem, cfg->desc, n * VQ_DESC_SIZE);
    q->avail = gmem_at(q->mem, cfg->driver, RING + n * 2 + 2);
    q->used = gmem_at(q->mem, cfg->device, RING + n * USED_ELEM_SIZE + 2);
    if (!q->desc || !q->avail || !q->used)
        return -EINVAL;
    q->next_avail = q->seen_avail = q->hinted = q->hinted_tables = cfg->next_avail;
    q->next_used = q->published_used = cfg->next_used;
    q->n_ids = cfg->size;
    return 0;
}

static uint8_t *avail_event(const struct vq *q)
{
    return q->used + RING + (size_t)q->size * USED_ELEM_SIZE;
}

static const uint8_t *used_event(const struct vq *q)
{
    return q->avail + RING + (size_t)q->size * 2;
}

static uint16_t load_head(const struct vq *q, uint16_t at)
{
    uint16_t entry = at & (uint16_t)(q->size - 1);
    return vq_load16(q->avail + RING + (size_t)entry * 2, memory_order_relaxed);
}

/* The lines of what is available come together and not one after the other, each when it is missed:
 * descriptors first, and then the tables that they refer to. See vq_hint_table(). */
static inline void hint(struct vq *q)
{
    while (q->hinted != q->seen_avail && (uint16_t)(q->hinted - q->next_avail) < HINT_DESCRIPTORS) {
        uint16_t head = load_head(q, q->hinted++);
        if (head < q->size)
            __builtin_prefetch(q->desc + (size_t)head * VQ_DESC_SIZE);
    }
    while (q->indirect && q->hinted_tables != q->seen_avail &&
           (uint16_t)(q->hinted_tables - q->next_avail) < HINT_TABLES) {
        uint16_t head = load_head(q, q->hinted_tables++);
        if (head < q->size) {
            struct vq_desc d = vq_desc_load(q->desc, head);
            vq_hint_table(q, d.addr, d.flags);
        }
    }
}

static int walk_indirect(const struct vq *q, struct vq_req *r, struct vq_desc d);

/* Walks a table from `i`: the ring's, or one that a descriptor of the ring refers to. */
static inline int walk(const struct vq *q, struct vq_req *r, const uint8_t *table, unsigned n,
                       unsigned i, bool indirect)
{
    for (unsigned steps = 0;; steps++) {
        if (i >= n)
            return -ERANGE;
        if (steps == n)
            return -ELOOP;
        if (steps == VQ_CHAIN_MAX)
            return -E2BIG; /* empty descriptors count too */
        struct vq_desc d = vq_desc_load(table, i);
        if (d.flags & VRING_DESC_F_INDIRECT) {
            if (indirect || !q->indirect || (d.flags & VRING_DESC_F_NEXT))
                return -EBADMSG; /* nested, not negotiated, or with NEXT: 2.7.5.3.1 */
            return walk_indirect(q, r, d);
        }
        int rc = vq_add_segment(q, r, d);
        if (rc < 0)
            return rc;
        if (!(d.flags & VRING_DESC_F_NEXT))
            return 0;
        i = d.next;
    }
}

static int walk_indirect(const struct vq *q, struct vq_req *r, struct vq_desc d)
{
    const uint8_t *table = vq_indirect_table(q, d);
    if (!table)
        return -EFAULT;
    return walk(q, r, table, MIN(d.len / VQ_DESC_SIZE, (uint32_t)VQ_SIZE_MAX), 0, true);
}

static int pop(struct vq *q, struct vq_req *r)
{
    if (q->seen_avail == q->next_avail) {
        /* Pairs with virtio_wmb() before the driver's store of avail->idx. */
        q->seen_avail = vq_load16(q->avail + IDX, memory_order_acquire);
        if ((uint16_t)(q->seen_avail - q->next_avail) > q->size)
            return -EOVERFLOW;
        if (q->seen_avail == q->next_avail)
            return 0;
    }
    hint(q);
    uint16_t head = load_head(q, q->next_avail);
    if (head >= q->size)
        return -ERANGE;
    if (vq_busy(q, head))
        return -EALREADY;
    int rc = walk(q, r, q->desc, q->size, head, false);
    if (rc < 0)
        return rc;
    r->core.head = head;
    vq_busy_flip(q, head);
    q->next_avail++;
    return 1;
}

static void unpop(struct vq *q, const struct vq_req *r)
{
    vq_busy_flip(q, r->core.head);
    q->next_avail--;
}

static void push(struct vq *q, const struct vq_req *r)
{
    uint8_t *e = q->used + RING + (size_t)(q->next_used & (q->size - 1)) * USED_ELEM_SIZE;
    put_bytes(e, htole64(r->core.head | (uint64_t)r->written << 32), USED_ELEM_SIZE);
    vq_busy_flip(q, r->core.head);
    q->next_used++;
}

static bool publish(struct vq *q)
{
    uint16_t old = q->published_used, new = q->next_used;
    /* Pairs with virtio_rmb() in virtqueue_get_buf(): elements before the index. */
    vq_store16(q->used + IDX, new, memory_order_release);
    q->published_used = new;
    /* Pairs with virtio_mb() in virtqueue_enable_cb(): the index before the driver's wish. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!q->event_idx)
        return !(vq_load16(q->avail, memory_order_relaxed) & VRING_AVAIL_F_NO_INTERRUPT);
    return vring_need_event(vq_load16(used_event(q), memory_order_relaxed), new, old);
}

static bool ready(const struct vq *q)
{
    return vq_load16(q->avail + IDX, memory_order_relaxed) != q->next_avail;
}

static bool arm(struct vq *q)
{
    if (q->event_idx)
        vq_store16(avail_event(q), q->next_avail, memory_order_relaxed);
    else
        vq_store16(q->used, 0, memory_order_relaxed);
    /* Pairs with virtio_mb() in virtqueue_kick_prepare(): our wish before its index. */
    atomic_thread_fence(memory_order_seq_cst);
    return ready(q);
}

static void disarm(struct vq *q)
{
    /* With EVENT_IDX the event that was asked for has passed: nothing to do, and flags stay 0. */
    if (!q->event_idx)
        vq_store16(q->used, VRING_USED_F_NO_NOTIFY, memory_order_relaxed);
}

static void save(const struct vq *q, struct vq_config *cfg)
{
    cfg->next_avail = q->next_avail;
    cfg->next_used = q->next_used;
}

const struct vq_ring_ops vq_split_ops = {.open = open_ring,
                                         .pop = pop,
                                         .unpop = unpop,
                                         .push = push,
                                         .publish = publish,
                                         .ready = ready,
                                         .arm = arm,
                                         .disarm = disarm,
                                         .save = save};
