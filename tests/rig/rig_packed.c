/* tests/rig/rig_packed.c - the driver's side of a packed ring (virtio 1.4, 2.8). */
#include <linux/virtio_ring.h>

#include "tests/rig/rig_priv.h"

enum {
    AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL,
    USED = 1 << VRING_PACKED_DESC_F_USED,
    WRAP = 1 << VRING_PACKED_EVENT_F_WRAP_CTR,
    FLAGS = 14,      /* in a descriptor, */
    EVENT_FLAGS = 2, /* and in an event suppression structure, behind offset and wrap counter */
};

static gpa_t slot_at(const struct rig_queue *q, unsigned slot)
{
    return GPA(q->desc.v + slot * 16ull);
}

/* 2.8.1: both counters begin at 1. */
static void init(struct rig *r, unsigned i)
{
    struct rig_queue *q = &r->q[i];
    q->avail_wrap = q->used_wrap = q->asked_wrap = true;
    if (!q->span)
        q->span = calloc(UINT16_MAX + 1, sizeof(q->span[0]));
}

static void forge(struct rig *r, gpa_t table, unsigned slot, uint64_t addr, uint32_t len,
                  uint16_t flags, uint16_t id)
{
    struct vring_packed_desc d = {.addr = addr, .len = len, .id = id, .flags = flags};
    memcpy(rig_at(r, GPA(table.v + slot * sizeof(d)), sizeof(d)), &d, sizeof(d));
}

static void advance(const struct rig_queue *q, uint16_t *index, bool *wrap, unsigned n)
{
    unsigned at = *index + n;
    *wrap ^= at >= q->size;
    *index = (uint16_t)(at % q->size);
}

void rig_place(struct rig *r, unsigned i, const struct rig_packed *d, unsigned n)
{
    struct rig_queue *q = &r->q[i];
    for (unsigned k = n; k-- > 0;) { /* the first one's flags make the list available */
        uint16_t slot = q->avail_idx;
        bool wrap = q->avail_wrap;
        advance(q, &slot, &wrap, k);
        forge(r, q->desc, slot, d[k].addr, d[k].len, d[k].flags | (wrap ? AVAIL : USED), d[k].id);
    }
    if (n > 0)
        q->span[d[n - 1].id] = (uint16_t)n;
    advance(q, &q->avail_idx, &q->avail_wrap, n);
}

/* Of a list only the last ID counts, and of an indirect table none: the others are wrong. */
static uint16_t add(struct rig *r, unsigned i, const struct rig_seg *s, unsigned n_out, unsigned n,
                    gpa_t table)
{
    struct rig_queue *q = &r->q[i];
    uint16_t id = q->free++;
    struct rig_packed *d = calloc(n, sizeof(*d));
    for (unsigned k = 0; k < n; k++)
        d[k] = (struct rig_packed){
            .addr = s[k].at.v, .len = s[k].len, .flags = k < n_out ? 0 : VRING_DESC_F_WRITE};
    if (table.v) {
        for (unsigned k = 0; k < n; k++)
            forge(r, table, k, d[k].addr, d[k].len, d[k].flags, 0);
        d[0] = (struct rig_packed){
            .addr = table.v, .len = n * 16, .flags = VRING_DESC_F_INDIRECT, .id = id};
        rig_place(r, i, d, 1);
    } else {
        for (unsigned k = 0; k < n; k++) {
            d[k].id = k + 1 < n ? (uint16_t)~id : id;
            d[k].flags |= k + 1 < n ? VRING_DESC_F_NEXT : 0;
        }
        rig_place(r, i, d, n);
    }
    free(d);
    return id;
}

static bool used(struct rig *r, unsigned i, uint32_t *id, uint32_t *len)
{
    struct rig_queue *q = &r->q[i];
    struct vring_packed_desc d;
    memcpy(&d, rig_at(r, slot_at(q, q->used_idx), sizeof(d)), sizeof(d));
    if (!!(d.flags & AVAIL) != q->used_wrap || !!(d.flags & USED) != q->used_wrap)
        return false;
    *id = d.id;
    *len = d.flags & VRING_DESC_F_WRITE ? d.len : 0; /* 2.8.5: it means nothing without */
    q->used_flags = d.flags;
    cr_assert_gt(q->span[d.id], 0, "buffer %u is not in flight", d.id);
    advance(q, &q->used_idx, &q->used_wrap, q->span[d.id]);
    q->span[d.id] = 0;
    return true;
}

/* 2.8.9: the event is on the lap that its wrap counter names. */
static bool must_kick(struct rig *r, unsigned i)
{
    struct rig_queue *q = &r->q[i];
    uint16_t off = rig_get16(r, q->used), flags = rig_get16(r, GPA(q->used.v + EVENT_FLAGS));
    unsigned laps = q->asked_wrap != q->avail_wrap ? q->size : 0;
    uint16_t added = (uint16_t)(q->avail_idx + laps - q->asked);
    q->asked = q->avail_idx;
    q->asked_wrap = q->avail_wrap;
    if (flags != VRING_PACKED_EVENT_FLAG_DESC)
        return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
    cr_assert(rig_has(r, VIRTIO_RING_F_EVENT_IDX), "2.8.10: DESC without EVENT_IDX");
    int at = off & (WRAP - 1);
    cr_assert_lt(at, q->size, "an event that never comes");
    if (!!(off & WRAP) != q->avail_wrap)
        at -= q->size;
    return vring_need_event((uint16_t)at, q->avail_idx, (uint16_t)(q->avail_idx - added));
}

static void wishes(struct rig *r, unsigned i, uint16_t off, uint16_t flags)
{
    rig_put16(r, r->q[i].avail, off);
    rig_put16(r, GPA(r->q[i].avail.v + EVENT_FLAGS), flags);
}

static void hush(struct rig *r, unsigned i)
{
    wishes(r, i, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

static void wish(struct rig *r, unsigned i, unsigned nth)
{
    if (nth == 0 || !rig_has(r, VIRTIO_RING_F_EVENT_IDX)) {
        wishes(r, i, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
        return;
    }
    uint16_t at = r->q[i].used_idx;
    bool wrap = r->q[i].used_wrap;
    advance(&r->q[i], &at, &wrap, nth - 1);
    wishes(r, i, at | (wrap ? WRAP : 0), VRING_PACKED_EVENT_FLAG_DESC);
}

const struct rig_ring rig_packed_ring = {.init = init,
                                         .forge = forge,
                                         .add = add,
                                         .used = used,
                                         .must_kick = must_kick,
                                         .hush = hush,
                                         .wish = wish};
