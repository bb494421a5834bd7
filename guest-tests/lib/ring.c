/* guest-tests/lib/ring.c - rings, see virtio.h. The orders of accesses are those that the
 * specification asks of a driver (2.7.13, 2.7.14, 2.8.21), no weaker and no stronger, to be a fair
 * counterpart. */
#include "virtio.h"

enum { PAGE = 4096, RING_PAGES = 3, AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL };
enum { USED = 1 << VRING_PACKED_DESC_F_USED, WRAP = 1 << VRING_PACKED_EVENT_F_WRAP_CTR };

/* --- life --- */

static void clear(void *at, uint64_t n)
{
    memset(at, 0, (n + 7) & ~7ull);
}

/* RING_MAX entries of each area fit into a page; legacy wants all in one piece (2.7.2). */
void ring_lay_out(struct ring *r, const struct virtio *v, unsigned index, uint16_t size)
{
    if (!r->memory)
        r->memory = pages(RING_PAGES);
    uint8_t *second = r->memory + (virtio_is_legacy(v) ? size * sizeof(*r->desc) : PAGE);
    uint64_t behind = (uint64_t)second + sizeof(*r->avail) + (size + 1) * sizeof(uint16_t);
    r->dev = v;
    r->index = index;
    r->size = r->n_free = size;
    r->packed = virtio_has(v, VIRTIO_F_RING_PACKED);
    r->desc = (void *)r->memory;
    r->slots = (void *)r->memory;
    r->avail = (void *)second;
    r->driver = (void *)second;
    r->used = (void *)((behind + PAGE - 1) & ~(uint64_t)(PAGE - 1));
    r->device = (void *)r->used;
    clear(r->desc, size * sizeof(*r->desc));
    clear(r->avail, behind - (uint64_t)second);
    clear(r->used, sizeof(*r->used) + size * sizeof(r->used->ring[0]) + sizeof(uint16_t));
    r->free_head = r->last_used = r->last_kicked = r->next_avail = r->n_added = 0;
    r->avail_wrap = r->used_wrap = true;
    for (uint16_t i = 0; i < size; i++) {
        r->next[i] = i + 1;
        if (!r->packed)
            r->desc[i].next = i + 1;
    }
}

static void program(const struct ring *r)
{
    const struct virtio *v = r->dev;
    virtio_set(v, VR_QUEUE_SEL, r->index);
    if (virtio_is_legacy(v)) {
        CHECK_EQ(virtio_get(v, VR_QUEUE_PFN), 0);
        virtio_set(v, VR_PAGE_SIZE, PAGE);
        virtio_set(v, VR_QUEUE_SIZE, r->size);
        virtio_set(v, VR_QUEUE_ALIGN, PAGE);
        virtio_set(v, VR_QUEUE_PFN, (uint32_t)((uint64_t)r->memory / PAGE));
        CHECK_EQ(virtio_get(v, VR_QUEUE_PFN), (uint64_t)r->memory / PAGE);
        return;
    }
    CHECK_EQ(virtio_get(v, VR_QUEUE_READY), 0);
    CHECK(virtio_get(v, VR_QUEUE_MAX) >= r->size);
    virtio_set(v, VR_QUEUE_SIZE, r->size);
    virtio_set_area(v, VR_DESC, (uint64_t)r->desc);
    virtio_set_area(v, VR_DRIVER, (uint64_t)r->avail);
    virtio_set_area(v, VR_DEVICE, (uint64_t)r->used);
    virtio_set(v, VR_QUEUE_READY, 1);
    CHECK_EQ(virtio_get(v, VR_QUEUE_READY), 1);
}

void ring_start(struct ring *r, const struct virtio *v, unsigned index, uint16_t size)
{
    if (v->kind == VIRTIO_PCI_LEGACY) {
        virtio_set(v, VR_QUEUE_SEL, index);
        size = (uint16_t)virtio_get(v, VR_QUEUE_MAX);
        if (size == 0 || size > RING_MAX)
            end_fail("queue %u has %u entries", index, size);
    }
    ring_lay_out(r, v, index, size);
    program(r);
}

/* --- packed --- */

uint16_t ring_avail_bits(const struct ring *r)
{
    return r->avail_wrap ? AVAIL : USED;
}

void ring_advance(struct ring *r, unsigned n)
{
    r->n_added += (uint16_t)n;
    r->next_avail += (uint16_t)n;
    if (r->next_avail >= r->size) {
        r->next_avail -= r->size;
        r->avail_wrap = !r->avail_wrap;
    }
}

static uint16_t packed_flags(const struct seg *s, bool more)
{
    return (uint16_t)((s->writable ? VRING_DESC_F_WRITE : 0) | (more ? VRING_DESC_F_NEXT : 0));
}

static uint16_t take_id(struct ring *r, unsigned n)
{
    uint16_t id = r->free_head;
    r->free_head = r->next[id];
    r->length[id] = (uint16_t)n;
    r->n_free -= (uint16_t)n;
    return id;
}

/* The first descriptor's flags come last: they make the whole list available. */
static int packed_add(struct ring *r, const struct seg *s, unsigned n)
{
    uint16_t id = take_id(r, n), first = r->next_avail, first_flags = 0;
    for (unsigned i = 0; i < n; i++) {
        struct vring_packed_desc *d = &r->slots[r->next_avail];
        uint16_t flags = packed_flags(&s[i], i + 1 < n) | ring_avail_bits(r);
        d->addr = (uint64_t)s[i].at;
        d->len = s[i].len;
        d->id = id;
        if (i == 0)
            first_flags = flags;
        else
            d->flags = flags;
        ring_advance(r, 1);
    }
    __atomic_store_n(&r->slots[first].flags, first_flags, __ATOMIC_RELEASE);
    return id;
}

static bool packed_take(struct ring *r, uint16_t *head, uint32_t *len)
{
    const struct vring_packed_desc *d = &r->slots[r->last_used];
    uint16_t flags = __atomic_load_n(&d->flags, __ATOMIC_ACQUIRE);
    if (!!(flags & AVAIL) != r->used_wrap || !!(flags & USED) != r->used_wrap)
        return false;
    if (d->id >= r->size)
        end_fail("queue %u: used buffer %u", r->index, d->id);
    *head = d->id;
    *len = flags & VRING_DESC_F_WRITE ? d->len : 0; /* 2.8.6: without the flag it says nothing */
    r->last_used += r->length[d->id];
    if (r->last_used >= r->size) {
        r->last_used -= r->size;
        r->used_wrap = !r->used_wrap;
    }
    r->n_free += r->length[d->id];
    r->next[d->id] = r->free_head;
    r->free_head = d->id;
    return true;
}

static bool packed_wants_kick(const struct ring *r)
{
    uint16_t flags = __atomic_load_n(&r->device->flags, __ATOMIC_RELAXED);
    uint16_t event = __atomic_load_n(&r->device->off_wrap, __ATOMIC_RELAXED);
    if (flags != VRING_PACKED_EVENT_FLAG_DESC)
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    uint16_t at = event & (WRAP - 1);
    if (!!(event & WRAP) != r->avail_wrap)
        at -= r->size;
    return vring_need_event(at, r->next_avail, r->next_avail - r->n_added);
}

/* --- split --- */

static uint16_t *used_event(const struct ring *r)
{
    return &r->avail->ring[r->size];
}

static uint16_t avail_event(const struct ring *r)
{
    const void *behind = &r->used->ring[r->size];
    return __atomic_load_n((const uint16_t *)behind, __ATOMIC_RELAXED);
}

static void set_desc(struct vring_desc *d, const struct seg *s, bool more)
{
    d->addr = (uint64_t)s->at;
    d->len = s->len;
    d->flags = packed_flags(s, more);
}

static int publish(struct ring *r, uint16_t head)
{
    uint16_t at = r->avail->idx;
    r->avail->ring[at % r->size] = head;
    __atomic_store_n(&r->avail->idx, at + 1, __ATOMIC_RELEASE);
    return head;
}

static int split_add(struct ring *r, const struct seg *s, unsigned n)
{
    uint16_t head = r->free_head, at = head;
    for (unsigned i = 0; i < n; i++) {
        at = r->free_head;
        set_desc(&r->desc[at], &s[i], i + 1 < n);
        r->free_head = r->desc[at].next;
    }
    r->n_free -= (uint16_t)n;
    return publish(r, head);
}

static bool split_take(struct ring *r, uint16_t *head, uint32_t *len)
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

static bool split_wants_kick(const struct ring *r)
{
    if (virtio_has(r->dev, VIRTIO_RING_F_EVENT_IDX))
        return vring_need_event(avail_event(r), r->avail->idx, r->last_kicked);
    return !(__atomic_load_n(&r->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY);
}

/* --- both --- */

int ring_add(struct ring *r, const struct seg *s, unsigned n)
{
    if (n > r->n_free)
        return -1;
    return r->packed ? packed_add(r, s, n) : split_add(r, s, n);
}

/* Entries of either kind of table are a split ring's but for their last two words, of which only
 * the flags count in a packed one (2.8.7). */
static void packed_table(void *table, const struct seg *s, unsigned n)
{
    struct vring_packed_desc *t = table;
    for (unsigned i = 0; i < n; i++)
        t[i] = (struct vring_packed_desc){
            .addr = (uint64_t)s[i].at, .len = s[i].len, .flags = packed_flags(&s[i], false)};
}

int ring_add_indirect(struct ring *r, struct vring_desc *table, const struct seg *s, unsigned n)
{
    uint32_t len = (uint32_t)(n * sizeof(*table));
    if (r->n_free == 0)
        return -1;
    if (r->packed) {
        packed_table(table, s, n);
        struct vring_packed_desc *d = &r->slots[r->next_avail];
        uint16_t id = take_id(r, 1), flags = VRING_DESC_F_INDIRECT | ring_avail_bits(r);
        d->addr = (uint64_t)table;
        d->len = len;
        d->id = id;
        __atomic_store_n(&d->flags, flags, __ATOMIC_RELEASE);
        ring_advance(r, 1);
        return id;
    }
    for (unsigned i = 0; i < n; i++) {
        set_desc(&table[i], &s[i], i + 1 < n);
        table[i].next = (uint16_t)(i + 1);
    }
    uint16_t head = r->free_head;
    r->free_head = r->desc[head].next;
    r->n_free--;
    r->desc[head].addr = (uint64_t)table;
    r->desc[head].len = len;
    r->desc[head].flags = VRING_DESC_F_INDIRECT;
    return publish(r, head);
}

void ring_kick(struct ring *r)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our index before the device's wish */
    bool wanted = r->packed ? packed_wants_kick(r) : split_wants_kick(r);
    r->last_kicked = r->avail->idx;
    r->n_added = 0;
    if (!wanted)
        return;
    r->n_kicks++;
    virtio_notify(r->dev, r->index);
}

bool ring_take(struct ring *r, uint16_t *head, uint32_t *len)
{
    return r->packed ? packed_take(r, head, len) : split_take(r, head, len);
}

void ring_quiet(struct ring *r, bool quiet)
{
    if (r->packed) {
        r->driver->flags = quiet ? VRING_PACKED_EVENT_FLAG_DISABLE : VRING_PACKED_EVENT_FLAG_ENABLE;
    } else {
        r->avail->flags = quiet ? VRING_AVAIL_F_NO_INTERRUPT : 0;
        if (virtio_has(r->dev, VIRTIO_RING_F_EVENT_IDX)) /* half the number space away is never */
            *used_event(r) = quiet ? (uint16_t)(r->last_used - 1) : r->last_used;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* our wish before the device's index */
}
