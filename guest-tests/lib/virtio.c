/* guest-tests/lib/virtio.c - see virtio.h. The orders of accesses are those that the specification
 * asks of a driver (2.7.13, 2.7.14), no weaker and no stronger, to be a fair counterpart. */
#include "virtio.h"

bool virtio_slot(unsigned nth, struct virtio *v)
{
    const char *s = arg("virtio_mmio.device", nth); /* SIZE@BASE:IRQ */
    if (!s)
        return false;
    *v = (struct virtio){0};
    CHECK_EQ(number(&s), VIRTIO_WINDOW);
    s++;
    v->base = number(&s);
    s++;
    v->pin = (unsigned)number(&s);
    CHECK(v->base >= MMIO_HOLE_FIRST && v->base % VIRTIO_WINDOW == 0 && v->pin < IOAPIC_PINS);
    return true;
}

void virtio_find(uint32_t id, struct virtio *v)
{
    for (unsigned i = 0; virtio_slot(i, v); i++) {
        if (virtio_read(v, VIRTIO_MMIO_DEVICE_ID) == id)
            return;
    }
    end_fail("there is no virtio device %u", id);
}

uint32_t virtio_read(const struct virtio *v, uint32_t reg)
{
    return mmio_read32(v->base + reg);
}

void virtio_write(const struct virtio *v, uint32_t reg, uint32_t value)
{
    mmio_write32(v->base + reg, value);
}

uint64_t virtio_offered(const struct virtio *v)
{
    virtio_write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    uint64_t high = virtio_read(v, VIRTIO_MMIO_DEVICE_FEATURES);
    virtio_write(v, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    return high << 32 | virtio_read(v, VIRTIO_MMIO_DEVICE_FEATURES);
}

void virtio_reset(struct virtio *v)
{
    virtio_write(v, VIRTIO_MMIO_STATUS, 0);
    CHECK(WAIT_FOR(virtio_read(v, VIRTIO_MMIO_STATUS) == 0));
}

static void add_status(const struct virtio *v, uint32_t bits)
{
    virtio_write(v, VIRTIO_MMIO_STATUS, virtio_read(v, VIRTIO_MMIO_STATUS) | bits);
}

void virtio_begin(struct virtio *v, uint64_t wanted)
{
    virtio_reset(v);
    add_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    add_status(v, VIRTIO_CONFIG_S_DRIVER);
    uint64_t offered = virtio_offered(v);
    CHECK(offered & FEATURE(VIRTIO_F_VERSION_1));
    v->features = (wanted | FEATURE(VIRTIO_F_VERSION_1)) & offered;
    for (unsigned i = 0; i < 2; i++) {
        virtio_write(v, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
        virtio_write(v, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(v->features >> 32 * i));
    }
    add_status(v, VIRTIO_CONFIG_S_FEATURES_OK);
    if (!(virtio_read(v, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
        end_fail("the device at %#lx refuses features %#lx", v->base, v->features);
}

void virtio_go(struct virtio *v)
{
    add_status(v, VIRTIO_CONFIG_S_DRIVER_OK);
    CHECK_EQ(virtio_read(v, VIRTIO_MMIO_STATUS),
             VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
                 VIRTIO_CONFIG_S_DRIVER_OK);
}

bool virtio_has(const struct virtio *v, unsigned bit)
{
    return v->features & FEATURE(bit);
}

/* --- rings --- */

static uint16_t *used_event(const struct ring *r)
{
    return &r->avail->ring[r->size];
}

static uint16_t avail_event(const struct ring *r)
{
    const void *behind = &r->used->ring[r->size];
    return __atomic_load_n((const uint16_t *)behind, __ATOMIC_RELAXED);
}

static void program(const struct ring *r)
{
    const struct {
        uint32_t low, high;
        const void *at;
    } areas[] = {
        {VIRTIO_MMIO_QUEUE_DESC_LOW, VIRTIO_MMIO_QUEUE_DESC_HIGH, r->desc},
        {VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, r->avail},
        {VIRTIO_MMIO_QUEUE_USED_LOW, VIRTIO_MMIO_QUEUE_USED_HIGH, r->used},
    };
    virtio_write(r->dev, VIRTIO_MMIO_QUEUE_SEL, r->index);
    CHECK_EQ(virtio_read(r->dev, VIRTIO_MMIO_QUEUE_READY), 0);
    CHECK(virtio_read(r->dev, VIRTIO_MMIO_QUEUE_NUM_MAX) >= r->size);
    virtio_write(r->dev, VIRTIO_MMIO_QUEUE_NUM, r->size);
    for (unsigned i = 0; i < ARRAY_SIZE(areas); i++) {
        virtio_write(r->dev, areas[i].low, (uint32_t)(uint64_t)areas[i].at);
        virtio_write(r->dev, areas[i].high, (uint32_t)((uint64_t)areas[i].at >> 32));
    }
    virtio_write(r->dev, VIRTIO_MMIO_QUEUE_READY, 1);
    CHECK_EQ(virtio_read(r->dev, VIRTIO_MMIO_QUEUE_READY), 1);
}

void ring_start(struct ring *r, const struct virtio *v, unsigned index, uint16_t size)
{
    enum { PAGE = 4096, PAGES_EACH = 1 }; /* RING_MAX entries of 16 bytes, or of 8 and 6 more */
    if (!r->desc) {
        r->desc = pages(PAGES_EACH);
        r->avail = pages(PAGES_EACH);
        r->used = pages(PAGES_EACH);
    }
    memset(r->desc, 0, PAGE);
    memset(r->avail, 0, PAGE);
    memset(r->used, 0, PAGE);
    r->dev = v;
    r->index = index;
    r->size = r->n_free = size;
    r->free_head = r->last_used = r->last_kicked = 0;
    for (uint16_t i = 0; i < size; i++)
        r->desc[i].next = i + 1;
    program(r);
}

static void set_desc(struct vring_desc *d, const struct seg *s, bool more)
{
    d->addr = (uint64_t)s->at;
    d->len = s->len;
    d->flags = (uint16_t)((s->writable ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0));
}

static int publish(struct ring *r, uint16_t head)
{
    uint16_t at = r->avail->idx;
    r->avail->ring[at % r->size] = head;
    __atomic_store_n(&r->avail->idx, at + 1, __ATOMIC_RELEASE);
    return head;
}

int ring_add(struct ring *r, const struct seg *s, unsigned n)
{
    if (n > r->n_free)
        return -1;
    uint16_t head = r->free_head, at = head;
    for (unsigned i = 0; i < n; i++) {
        at = r->free_head;
        set_desc(&r->desc[at], &s[i], i + 1 < n);
        r->free_head = r->desc[at].next;
    }
    r->n_free -= (uint16_t)n;
    return publish(r, head);
}

int ring_add_indirect(struct ring *r, struct vring_desc *table, const struct seg *s, unsigned n)
{
    if (r->n_free == 0)
        return -1;
    for (unsigned i = 0; i < n; i++) {
        set_desc(&table[i], &s[i], i + 1 < n);
        table[i].next = (uint16_t)(i + 1);
    }
    uint16_t head = r->free_head;
    r->free_head = r->desc[head].next;
    r->n_free--;
    r->desc[head].addr = (uint64_t)table;
    r->desc[head].len = (uint32_t)(n * sizeof(*table));
    r->desc[head].flags = VRING_DESC_F_INDIRECT;
    return publish(r, head);
}

void ring_kick(struct ring *r)
{
    uint16_t now = r->avail->idx, before = r->last_kicked;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our index before the device's wish */
    r->last_kicked = now;
    bool wanted =
        virtio_has(r->dev, VIRTIO_RING_F_EVENT_IDX)
            ? vring_need_event(avail_event(r), now, before)
            : !(__atomic_load_n(&r->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
    if (!wanted)
        return;
    r->n_kicks++;
    virtio_write(r->dev, VIRTIO_MMIO_QUEUE_NOTIFY, r->index);
}

bool ring_take(struct ring *r, uint16_t *head, uint32_t *len)
{
    if (__atomic_load_n(&r->used->idx, __ATOMIC_ACQUIRE) == r->last_used)
        return false;
    const struct vring_used_elem e = r->used->ring[r->last_used++ % r->size];
    if (e.id >= r->size)
        end_fail("queue %u: used descriptor %u", r->index, e.id);
    uint16_t last = (uint16_t)e.id, n = 1;
    while (r->desc[last].flags & VRING_DESC_F_NEXT) {
        last = r->desc[last].next;
        n++;
    }
    r->desc[last].next = r->free_head;
    r->free_head = (uint16_t)e.id;
    r->n_free += n;
    *head = (uint16_t)e.id;
    *len = e.len;
    return true;
}

void ring_quiet(struct ring *r, bool quiet)
{
    r->avail->flags = quiet ? VRING_AVAIL_F_NO_INTERRUPT : 0;
    if (virtio_has(r->dev, VIRTIO_RING_F_EVENT_IDX)) /* half the number space away is never */
        *used_event(r) = quiet ? (uint16_t)(r->last_used - 1) : r->last_used;
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our wish before the device's index */
}
