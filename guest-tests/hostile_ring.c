/* guest-tests/hostile_ring.c - attacks by what is made available and when: indices that jump,
 * buffers that are available twice, areas that lie on top of each other, wishes for notifications
 * that are no wishes (virtio 1.4, 2.7.6 to 2.7.10, 2.8.1 to 2.8.10). */
#include "hostile.h"

enum {
    W = VRING_DESC_F_WRITE,
    N = VRING_DESC_F_NEXT,
    AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL,
    USED = 1 << VRING_PACKED_DESC_F_USED,
};

static void notify(struct target *t)
{
    virtio_notify(&t->dev, t->queue);
}

/* --- split --- */

static bool avail_jump(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    const uint16_t by[] = {r->size + 1, 2 * r->size, 0x7fff, 0x8000, 0xff00, 0xffff};
    if (i == ARRAY_SIZE(by))
        return false;
    __atomic_store_n(&r->avail->idx, r->avail->idx + by[i], __ATOMIC_RELEASE);
    notify(t);
    return true;
}

static bool head_range(struct target *t, unsigned i)
{
    const uint16_t heads[] = {t->ring.size, t->ring.size + 1, 0x7fff, 0x8000, 0xffff};
    if (i == ARRAY_SIZE(heads))
        return false;
    split_publish(&t->ring, heads[i]);
    notify(t);
    return true;
}

/* Makes a good request of the disk available twice. While the first is under way, the second is a
 * broken ring; a device that is done at once may serve it twice. */
static bool head_twice(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    if (i == 3)
        return false;
    uint16_t at = r->avail->idx;
    leave_in_flight(t, 1);
    for (unsigned k = 0; k < (i == 2 ? r->size - 1u : i + 1u); k++)
        split_publish(r, r->avail->ring[at % r->size]);
    notify(t);
    return true;
}

/* Both in one look at the index, so that the first cannot be done. */
static bool head_twice_at_once(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    if (i == 2)
        return false;
    static uint64_t header[2]; /* a read of sector 0 */
    struct link l[] = {{(uint64_t)header, 16, N}, {scratch, 4096, N | W}, {scratch + 8192, 1, W}};
    uint16_t first = r->size / 2, at = r->avail->idx;
    for (uint16_t k = 0; k < ARRAY_SIZE(l); k++)
        r->desc[first + k] =
            (struct vring_desc){l[k].addr, l[k].len, l[k].flags, (uint16_t)(first + k + 1)};
    for (uint16_t k = 0; k < (i ? r->size : 2); k++)
        r->avail->ring[(at + k) % r->size] = first;
    __atomic_store_n(&r->avail->idx, at + (i ? r->size : 2), __ATOMIC_RELEASE);
    notify(t);
    return true;
}

/* The device's own index is the driver's to spoil: nobody but the driver goes by it. */
static bool used_written(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    if (i == 3)
        return false;
    uint16_t was = r->used->idx;
    r->used->idx = i == 0 ? was + 100 : i == 1 ? 0xffff : 0;
    r->used->flags = 0xffff;
    memset(r->used->ring, 0xff, r->size * sizeof(r->used->ring[0]));
    notify(t);
    CHECK(target_works(neighbour));
    r->used->idx = was;
    return true;
}

/* --- packed --- */

/* Every pair of the two bits over the whole ring, with everything else garbage. */
static bool packed_bits(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    static const uint16_t bits[] = {0, AVAIL, USED, AVAIL | USED};
    if (i == 8)
        return false;
    for (uint16_t k = 0; k < r->size; k++)
        r->slots[k] = (struct vring_packed_desc){.addr = scratch + k,
                                                 .len = k,
                                                 .id = (uint16_t)random_number(),
                                                 .flags = bits[i % 4] | (i < 4 ? 0 : 0x7f7b)};
    notify(t);
    return true;
}

static bool packed_id_twice(struct target *t, unsigned i)
{
    static uint64_t header[2]; /* a read of sector 0 */
    const struct link l[] = {
        {(uint64_t)header, 16, N}, {scratch, 4096, N | W}, {scratch + 8192, 1, W}};
    static const uint16_t ids[] = {0, 1, 63, 64, 0x7fff, 0xffff};
    if (i == ARRAY_SIZE(ids))
        return false;
    uint16_t first = t->ring.next_avail, flags;
    raw_put(t, ids[i], l, ARRAY_SIZE(l));
    flags = t->ring.slots[first].flags;
    t->ring.slots[first].flags = 0; /* held back, so that both come in one look */
    raw_put(t, ids[i], l, ARRAY_SIZE(l));
    __atomic_store_n(&t->ring.slots[first].flags, flags, __ATOMIC_RELEASE);
    notify(t);
    return true;
}

/* A buffer ID is any number: the device gives it back as it was. */
static bool packed_any_id(struct target *t, unsigned i)
{
    static const uint16_t ids[] = {64, 256, 0x7fff, 0x8000, 0xffff};
    struct ring *r = &t->ring;
    const struct link l = {scratch, 16, W};
    if (i == ARRAY_SIZE(ids))
        return false;
    const struct vring_packed_desc *d = &r->slots[r->next_avail];
    uint16_t both = r->used_wrap ? AVAIL | USED : 0;
    raw_put(t, ids[i], &l, 1);
    notify(t);
    CHECK(WAIT_FOR((d->flags & (AVAIL | USED)) == both || target_fails(t)));
    CHECK_EQ(d->id, ids[i]);
    return true;
}

/* --- both --- */

/* Garbage where each side says when it wants to hear of the other. */
static bool event_garbage(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    uint64_t wanted = t->wanted;
    if (i == 8)
        return false;
    if (i % 4 == 0) {
        t->wanted |= i ? FEATURE(VIRTIO_RING_F_EVENT_IDX) : 0;
        target_start(t);
        t->wanted = wanted;
    }
    for (unsigned k = 0; k < 10; k++) {
        uint32_t garbage = (uint32_t)random_number();
        if (r->packed) {
            memcpy(r->driver, &garbage, sizeof(garbage));
            memcpy(r->device, &garbage, sizeof(garbage));
        } else {
            r->avail->flags = (uint16_t)garbage;
            r->avail->ring[r->size] = (uint16_t)(garbage >> 16);
            memset(&r->used->ring[r->size], (int)garbage, sizeof(uint16_t));
        }
        CHECK(target_works(t));
    }
    return true;
}

/* The areas lie on top of each other, so that the device writes over what it reads. */
static bool overlap(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    static const struct {
        uint16_t desc, driver, device;
    } offs[] = {{0, 0, 4096}, {0, 4096, 0},  {0, 4096, 4096}, {0, 0, 0},
                {0, 16, 4},   {0, 4096, 64}, {4096, 0, 4},    {0, 1024, 1020}};
    if (i == 2 * ARRAY_SIZE(offs))
        return false;
    target_begin(t);
    ring_lay_out(&t->ring, v, t->queue, t->size);
    uint8_t *at = (void *)scratch;
    memset(at, i % 2 ? 0x05 : 0, 2 * 4096);
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    virtio_set(v, VR_QUEUE_SIZE, t->size);
    virtio_set_area(v, VR_DESC, scratch + offs[i / 2].desc);
    virtio_set_area(v, VR_DRIVER, scratch + offs[i / 2].driver);
    virtio_set_area(v, VR_DEVICE, scratch + offs[i / 2].device);
    virtio_set(v, VR_QUEUE_READY, 1);
    virtio_set(v, VR_STATUS, virtio_get(v, VR_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
    for (unsigned k = 0; k < 16; k++) {
        at[k * 37] = (uint8_t)(k * 5);
        notify(t);
    }
    return true;
}

/* What the request's own buffers cover is the ring it is in. */
static bool buffer_is_ring(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    static uint64_t header[2]; /* a read of sector 0 */
    void *const areas[] = {r->desc, r->avail, r->used};
    if (i == ARRAY_SIZE(areas))
        return false;
    const struct link l[] = {{(uint64_t)header, 16, N},
                             {(uint64_t)areas[i], 512, N | W},
                             {(uint64_t)areas[i] + 512, 1, W}};
    const struct link one = {(uint64_t)areas[i], 512, W};
    if (run_is & ON_BLK)
        raw_submit(t, l, ARRAY_SIZE(l));
    else
        raw_submit(t, &one, 1);
    CHECK(target_works(neighbour));
    notify(t);
    return true;
}

const struct attack ring_attacks[] = {
    {"avail-jump", avail_jump, .only = ON_SPLIT, .expect = REJECTS, .rows = "16b"},
    {"head-range", head_range, .only = ON_SPLIT, .expect = REJECTS, .rows = "16c"},
    {"head-twice", head_twice, .only = ON_SPLIT | ON_BLK, .spoils = true, .rows = "17"},
    {"head-twice-at-once", head_twice_at_once, .only = ON_SPLIT | ON_BLK, .expect = REJECTS,
     .rows = "17"},
    {"used-written", used_written, .only = ON_SPLIT, .expect = PASSES},
    {"packed-bits", packed_bits, .only = ON_PACKED, .spoils = true, .rows = "16c"},
    {"packed-id-twice", packed_id_twice, .only = ON_PACKED | ON_BLK, .expect = REJECTS,
     .rows = "17"},
    {"packed-any-id", packed_any_id, .only = ON_PACKED, .expect = PASSES, .spoils = true},
    {"event-garbage", event_garbage, .expect = PASSES},
    {"overlap", overlap, .only = ON_MODERN, .spoils = true},
    {"buffer-is-ring", buffer_is_ring, .spoils = true},
    {.name = NULL},
};
