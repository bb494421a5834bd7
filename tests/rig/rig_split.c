/* tests/rig/rig_split.c - the driver's side of a split ring (virtio 1.4, 2.7). */
#include <linux/virtio_ring.h>

#include "tests/rig/rig_priv.h"

enum { IDX = 2, RING = 4 };

static void init(struct rig *r, unsigned i)
{
    (void)r, (void)i; /* its memory is zero, and so are its indices */
}

static void forge(struct rig *r, gpa_t table, unsigned slot, uint64_t addr, uint32_t len,
                  uint16_t flags, uint16_t next)
{
    struct vring_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};
    memcpy(rig_at(r, GPA(table.v + slot * sizeof(d)), sizeof(d)), &d, sizeof(d));
}

void rig_offer(struct rig *r, unsigned i, uint16_t head)
{
    struct rig_queue *q = &r->q[i];
    rig_put16(r, GPA(q->avail.v + RING + 2u * (q->avail_idx % q->size)), head);
    q->avail_idx++;
    rig_put16(r, GPA(q->avail.v + IDX), q->avail_idx);
}

/* Fills a table from `first`, wrapping at `size`; returns the slot after the last. */
static unsigned chain(struct rig *r, gpa_t table, unsigned size, unsigned first,
                      const struct rig_seg *s, unsigned n_out, unsigned n)
{
    unsigned slot = first;
    for (unsigned i = 0; i < n; i++) {
        unsigned next = (slot + 1) % size;
        uint16_t flags = (i < n_out ? 0 : VRING_DESC_F_WRITE) | (i + 1 < n ? VRING_DESC_F_NEXT : 0);
        forge(r, table, slot, s[i].at.v, s[i].len, flags, (uint16_t)next);
        slot = next;
    }
    return slot;
}

static uint16_t add(struct rig *r, unsigned i, const struct rig_seg *s, unsigned n_out, unsigned n,
                    gpa_t table)
{
    struct rig_queue *q = &r->q[i];
    uint16_t head = q->free;
    if (table.v) {
        (void)chain(r, table, n + 1, 0, s, n_out, n);
        forge(r, q->desc, head, table.v, n * 16, VRING_DESC_F_INDIRECT, 0);
        q->free = (uint16_t)((head + 1u) % q->size);
    } else {
        q->free = (uint16_t)chain(r, q->desc, q->size, head, s, n_out, n);
    }
    rig_offer(r, i, head);
    return head;
}

static bool used(struct rig *r, unsigned i, uint32_t *id, uint32_t *len)
{
    struct rig_queue *q = &r->q[i];
    if (rig_get16(r, GPA(q->used.v + IDX)) == q->used_idx)
        return false;
    const uint8_t *e = rig_at(r, GPA(q->used.v + RING + 8u * (q->used_idx % q->size)), 8);
    *id = (uint32_t)get_bytes(e, 4);
    *len = (uint32_t)get_bytes(e + 4, 4);
    q->used_idx++;
    return true;
}

static bool must_kick(struct rig *r, unsigned i)
{
    struct rig_queue *q = &r->q[i];
    uint16_t old = q->asked;
    q->asked = q->avail_idx;
    if (rig_has(r, VIRTIO_RING_F_EVENT_IDX))
        return vring_need_event(rig_get16(r, GPA(q->used.v + RING + 8u * q->size)), q->avail_idx,
                                old);
    return !(rig_get16(r, q->used) & VRING_USED_F_NO_NOTIFY);
}

/* With EVENT_IDX an index that has passed is one that does not come. */
static void hush(struct rig *r, unsigned i)
{
    struct rig_queue *q = &r->q[i];
    if (rig_has(r, VIRTIO_RING_F_EVENT_IDX))
        rig_put16(r, GPA(q->avail.v + RING + 2u * q->size), q->used_idx - 1);
    else
        rig_put16(r, q->avail, VRING_AVAIL_F_NO_INTERRUPT);
}

static void wish(struct rig *r, unsigned i, unsigned nth)
{
    struct rig_queue *q = &r->q[i];
    if (rig_has(r, VIRTIO_RING_F_EVENT_IDX))
        rig_put16(r, GPA(q->avail.v + RING + 2u * q->size),
                  (uint16_t)(q->used_idx + (nth ? nth - 1 : 0)));
    else
        rig_put16(r, q->avail, 0);
}

const struct rig_ring rig_split_ring = {.init = init,
                                        .forge = forge,
                                        .add = add,
                                        .used = used,
                                        .must_kick = must_kick,
                                        .hush = hush,
                                        .wish = wish};
