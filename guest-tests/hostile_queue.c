/* guest-tests/hostile_queue.c - attacks on how a queue is set up: its size, where its areas are,
 * and when it may be programmed (virtio 1.4, 2.6, 4.1.4.3, 4.2.3.2, 4.2.4). */
#include "hostile.h"

enum { PAGE = 4096 };

/* --- modern --- */

struct set_up {
    uint32_t size;
    uint64_t area[3];
};

/* Up to DRIVER_OK with a queue as it is told; a device may refuse at any step. */
static void start_with(struct target *t, const struct set_up *s)
{
    struct virtio *v = &t->dev;
    target_begin(t);
    ring_lay_out(&t->ring, v, t->queue, t->size);
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    virtio_set(v, VR_QUEUE_SIZE, s->size);
    virtio_set_area(v, VR_DESC, s->area[0]);
    virtio_set_area(v, VR_DRIVER, s->area[1]);
    virtio_set_area(v, VR_DEVICE, s->area[2]);
    virtio_set(v, VR_QUEUE_READY, 1);
    virtio_set(v, VR_STATUS, virtio_get(v, VR_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
    virtio_notify(v, t->queue);
}

static struct set_up good_set_up(const struct target *t)
{
    const struct ring *r = &t->ring;
    return (struct set_up){t->size, {(uint64_t)r->desc, (uint64_t)r->avail, (uint64_t)r->used}};
}

/* Behind what the ring's memory has room for there is the guard page. */
static bool queue_size(struct target *t, unsigned i)
{
    static const uint32_t sizes[] = {0,      3,        100,        257,       512,
                                     0x8000, 0x8001,   0xffff,     0x10000,   0x10040,
                                     0x8040, 1u << 31, 0x80000040, UINT32_MAX};
    if (i == ARRAY_SIZE(sizes))
        return false;
    struct set_up s = good_set_up(t);
    s.size = sizes[i];
    start_with(t, &s);
    return true;
}

/* Each of the three areas, at each address where they cannot be. */
static bool queue_address(struct target *t, unsigned i)
{
    uint64_t at;
    unsigned area = i % 3;
    struct set_up s = good_set_up(t);
    uint32_t packed_event = 4, len = area == 0 ? t->size * 16u : t->size * 2u + 6;
    if (!bad_address(i / 3, t->ring.packed && area ? packed_event : len, &at))
        return false;
    uint64_t up = (at + 15) & ~15ull; /* what is wrong is the place, not that it is odd */
    s.area[area] = up ? up : at & ~15ull;
    start_with(t, &s);
    return true;
}

/* 2.7, 2.8.10.1: 16, 2 and 4; packed ones 16, 4 and 4. */
static bool queue_unaligned(struct target *t, unsigned i)
{
    static const struct {
        uint8_t area, by;
    } odd[] = {{0, 1}, {0, 4}, {0, 8}, {1, 1}, {2, 1}, {2, 2}, {2, 3}};
    if (i == ARRAY_SIZE(odd))
        return false;
    struct set_up s = good_set_up(t);
    s.area[odd[i].area] += odd[i].by;
    start_with(t, &s);
    return true;
}

/* Only the last descriptor, or the last event index, is outside of RAM. */
static bool queue_across_end(struct target *t, unsigned i)
{
    struct set_up s = good_set_up(t);
    if (i == 3)
        return false;
    uint64_t lens[] = {t->size * 16u, t->size * 2u + 6, t->size * 8u + 6};
    if (t->ring.packed)
        lens[1] = lens[2] = 4;
    s.area[i] = (ram_end - lens[i] + 16) & ~15ull;
    start_with(t, &s);
    return true;
}

/* A queue that is live is programmed anew: row by row of what others did not freeze. */
static bool queue_frozen(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    static const enum virtio_reg areas[] = {VR_DESC, VR_DRIVER, VR_DEVICE};
    static const uint32_t sizes[] = {0, 1, 32, 128, 0xffff};
    if (i >= ARRAY_SIZE(areas) * 2 + ARRAY_SIZE(sizes) + 4)
        return false;
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    if (i < ARRAY_SIZE(areas) * 2) {
        enum virtio_reg r = areas[i / 2];
        uint64_t was = v->kind == VIRTIO_PCI ? virtio_get_area(v, r) : 0;
        virtio_set_area(v, r, i % 2 ? MMIO_LAPIC : scratch);
        if (v->kind == VIRTIO_PCI)
            CHECK_EQ(virtio_get_area(v, r), was);
        return true;
    }
    i -= (unsigned)ARRAY_SIZE(areas) * 2;
    if (i < ARRAY_SIZE(sizes))
        virtio_set(v, VR_QUEUE_SIZE, sizes[i]);
    else if (i == ARRAY_SIZE(sizes))
        virtio_set(v, VR_QUEUE_READY, 1); /* twice */
    else if (v->kind == VIRTIO_PCI)       /* where 0 and other values are no order (4.1.4.3.2) */
        virtio_set(v, VR_QUEUE_READY, i % 2 ? 0 : 0xfffe);
    if (v->kind == VIRTIO_PCI)
        CHECK_EQ(virtio_get(v, VR_QUEUE_SIZE), t->size);
    CHECK_EQ(virtio_get(v, VR_QUEUE_READY), 1);
    return true;
}

/* Row 22: a queue that is not ready is not looked at. */
static bool queue_not_ready(struct target *t, unsigned i)
{
    if (i == 4)
        return false;
    if (i < 2)
        target_begin(t); /* no queue, and no DRIVER_OK unless: */
    else
        virtio_reset(&t->dev);
    if (i == 1)
        virtio_go(&t->dev);
    if (i == 3)
        virtio_set(&t->dev, VR_STATUS, VIRTIO_CONFIG_S_DRIVER_OK);
    uint16_t before = t->ring.used->idx;
    t->submit(t);
    for (unsigned k = 0; k < 16; k++)
        virtio_notify(&t->dev, t->queue);
    CHECK(target_works(neighbour));
    CHECK_EQ(t->ring.used->idx, before);
    return true;
}

/* Programmed before FEATURES_OK, when the format is not known yet. */
static bool queue_early(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    if (i == 2)
        return false;
    virtio_reset(v);
    if (i == 1)
        virtio_set(v, VR_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    virtio_set(v, VR_QUEUE_SIZE, 1);
    virtio_set_area(v, VR_DESC, scratch);
    virtio_set_area(v, VR_DRIVER, scratch);
    virtio_set_area(v, VR_DEVICE, scratch);
    virtio_set(v, VR_QUEUE_READY, 1);
    CHECK_EQ(virtio_get(v, VR_QUEUE_READY), 0);
    virtio_notify(v, t->queue);
    return true;
}

/* The longest queue there can be, where 16 bits are just not enough: all of it made available at
 * once, one chain through it, one entry more than it has, and one buffer for all entries. */
static bool queue_longest(struct target *t, unsigned i)
{
    enum { SIZE = 0x8000, MIB = 1 << 20 };
    struct virtio *v = &t->dev;
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    if (i == 4 || v->kind != VIRTIO_MMIO || virtio_get(v, VR_QUEUE_MAX) < SIZE)
        return false; /* on PCI that register says how long the live one is */
    struct vring_desc *desc = (void *)scratch;
    struct vring_avail *avail = (void *)(scratch + MIB);
    volatile struct vring_used *used = (void *)(scratch + 2 * MIB);
    if (i != 1 && i != 3) /* the one before left nothing else */
        memset(desc, 0, SIZE * sizeof(*desc));
    used->idx = avail->flags = 0;
    for (unsigned k = 0; k < SIZE && (i == 0 || i == 3); k++)
        avail->ring[k] = (uint16_t)(i == 3 ? 0 : k);
    for (unsigned k = 0; k < SIZE && i == 1; k++)
        desc[k] = (struct vring_desc){.flags = VRING_DESC_F_NEXT, .next = (uint16_t)(k + 1)};
    avail->idx = (uint16_t)(i == 2 ? SIZE + 1 : SIZE);
    start_with(t, &(struct set_up){SIZE, {scratch, scratch + MIB, scratch + 2 * MIB}});
    CHECK(WAIT_FOR(target_fails(t) || used->idx == SIZE));
    CHECK_EQ(target_fails(t), i == 1 || i == 2);
    return true;
}

/* --- legacy: one page number says it all --- */

static bool pfn_live(struct target *t, unsigned i)
{
    static const uint32_t pages_tried[] = {1, 0xfee00, 0x80000000, UINT32_MAX};
    struct virtio *v = &t->dev;
    if (i == ARRAY_SIZE(pages_tried))
        return false;
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    uint32_t was = virtio_get(v, VR_QUEUE_PFN);
    virtio_set(v, VR_QUEUE_SIZE, 1);
    virtio_set(v, VR_QUEUE_PFN, pages_tried[i]);
    CHECK_EQ(virtio_get(v, VR_QUEUE_PFN), was);
    return true;
}

static void legacy_begin(struct target *t)
{
    target_begin(t);
    virtio_set(&t->dev, VR_QUEUE_SEL, t->queue);
    virtio_set(&t->dev, VR_PAGE_SIZE, PAGE);
    virtio_set(&t->dev, VR_QUEUE_SIZE, t->size);
    virtio_set(&t->dev, VR_QUEUE_ALIGN, PAGE);
}

static bool pfn_bad(struct target *t, unsigned i)
{
    const uint32_t list[] = {(uint32_t)(ram_end / PAGE),
                             (uint32_t)(ram_end / PAGE - 1),
                             MMIO_HOLE_FIRST / PAGE,
                             MMIO_ECAM / PAGE,
                             MMIO_LAPIC / PAGE,
                             0x100000,
                             0x80000000,
                             UINT32_MAX};
    if (i == ARRAY_SIZE(list))
        return false;
    legacy_begin(t);
    virtio_set(&t->dev, VR_QUEUE_PFN, list[i]);
    virtio_set(&t->dev, VR_STATUS, 7);
    virtio_notify(&t->dev, t->queue);
    return true;
}

/* 4.2.4: units that are none. Where they let a queue be, it is in scratch memory or nowhere. */
static bool pfn_units(struct target *t, unsigned i)
{
    static const uint32_t units[] = {0, 1, 3, 0x7fffffff, UINT32_MAX};
    struct virtio *v = &t->dev;
    enum { N = ARRAY_SIZE(units) };
    if (i == 3 * N)
        return false;
    legacy_begin(t);
    if (i < N) {
        virtio_set(v, VR_PAGE_SIZE, units[i]);
        virtio_set(v, VR_QUEUE_PFN, units[i] == 1 || units[i] == 3 ? (uint32_t)scratch : 0x4000);
    } else if (i < 2 * N) {
        virtio_set(v, VR_QUEUE_ALIGN, units[i - N] | 1);
        virtio_set(v, VR_QUEUE_PFN, (uint32_t)(scratch / PAGE));
    } else {
        virtio_set(v, VR_QUEUE_SIZE, units[i - 2 * N]);
        virtio_set(v, VR_QUEUE_PFN, (uint32_t)(scratch / PAGE));
    }
    virtio_set(v, VR_STATUS, 7);
    virtio_notify(v, t->queue);
    return true;
}

const struct attack queue_attacks[] = {
    {"queue-size", queue_size, .only = ON_MODERN, .spoils = true, .rows = "2"},
    {"queue-address", queue_address, .only = ON_MODERN, .expect = REJECTS, .rows = "7"},
    {"queue-unaligned", queue_unaligned, .only = ON_MODERN, .expect = REJECTS},
    {"queue-across-end", queue_across_end, .only = ON_MODERN, .expect = REJECTS, .rows = "7"},
    {"queue-frozen", queue_frozen, .only = ON_MODERN, .expect = PASSES, .rows = "1"},
    {"queue-not-ready", queue_not_ready, .only = ON_SPLIT, .expect = PASSES, .spoils = true,
     .rows = "22a"},
    {"queue-early", queue_early, .only = ON_MODERN, .expect = PASSES, .spoils = true,
     .rows = "22a"},
    {"queue-longest", queue_longest, .only = ON_MODERN | ON_SPLIT, .spoils = true, .rows = "2 21c"},
    {"pfn-live", pfn_live, .only = ON_LEGACY, .expect = PASSES, .rows = "1"},
    {"pfn-bad", pfn_bad, .only = ON_LEGACY, .expect = REJECTS, .rows = "7"},
    {"pfn-units", pfn_units, .only = ON_LEGACY | ON_MMIO, .spoils = true},
    {.name = NULL},
};
