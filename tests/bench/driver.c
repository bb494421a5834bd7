/* tests/bench/driver.c - see driver.h. */
#include "tests/bench/driver.h"

#include <immintrin.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "tests/bench/bench.h"

enum { LOW_LEN = 32 << 20, HIGH_LEN = 256 << 20, PAGE = 4096, DESC = 16, IDX = 2, RING = 4 };
enum { PACKED_AVAIL = 1 << 7, PACKED_USED = 1 << 15, FLAGS = 14, WRAP = 1 << 15 };
static const uint64_t high_base = GIB(4);

/* --- the machine --- */

void machine_up(struct machine *m)
{
    const struct gmem_region ram[] = {{.base = GPA(0), .len = LOW_LEN},
                                      {.base = GPA(high_base), .len = HIGH_LEN}};
    const struct gmem_options plain = {0};
    struct err e = {0};
    *m = (struct machine){.irq_fd = -1, .low = PAGE, .high = high_base};
    BENCH_MUST(gmem_new(ram, ARRAY_SIZE(ram), &plain, &m->mem, &e) == 0);
    BENCH_MUST(loop_new("bench", LOOP_AUTO, &m->loop) == 0);
}

void machine_down(struct machine *m)
{
    vdev_free(m->dev);
    loop_free(m->loop);
    gmem_free(m->mem);
    fd_cleanup_(&m->irq_fd);
}

gpa_t machine_low(struct machine *m, size_t len)
{
    gpa_t at = GPA(m->low);
    m->low = align_up(m->low + len, PAGE);
    BENCH_MUST(m->low <= LOW_LEN);
    return at;
}

gpa_t machine_high(struct machine *m, size_t len)
{
    gpa_t at = GPA(m->high);
    m->high = align_up(m->high + len, PAGE);
    BENCH_MUST(m->high <= high_base + HIGH_LEN);
    memset(machine_at(m, at, len), 0, len); /* no page is found later */
    return at;
}

void *machine_at(struct machine *m, gpa_t at, size_t len)
{
    void *p = gmem_at(m->mem, at, len);
    BENCH_MUST(p != NULL);
    return p;
}

static const struct vdev_options everything = {
    .packed = true, .indirect = true, .event_idx = true, .in_order = true, .ring_reset = true};

void machine_env(struct machine *m, struct build_env *env)
{
    *env = (struct build_env){.mem = m->mem, .loop = m->loop, .options = &everything};
}

void machine_device(struct machine *m, const char *device)
{
    size_t len = strcspn(device, ",");
    const struct vdev_class *const *c = vdev_classes;
    while (*c && (strlen((*c)->name) != len || memcmp((*c)->name, device, len) != 0))
        c++;
    BENCH_MUST(*c != NULL);
    AUTO_FREE void *opts = calloc(1, (*c)->opts_size + 1);
    BENCH_MUST(opts != NULL);
    if ((*c)->opts_default)
        memcpy(opts, (*c)->opts_default, (*c)->opts_size);
    struct err e = {0};
    struct build_env env;
    machine_env(m, &env);
    BENCH_MUST(device[len] == '\0' ||
               opts_parse((*c)->opts, "--device", device + len + 1, opts, &e) == 0);
    BENCH_MUST((*c)->create(opts, &env, &m->dev, &e) == 0);
}

static void on_interrupt(struct vdev_port *p, enum vdev_irq why, unsigned queue)
{
    struct machine *m = container_of(p, struct machine, port);
    (void)why, (void)queue;
    m->interrupts++;
    if (m->irq_fd >= 0)
        event_signal(m->irq_fd);
}

void machine_negotiate(struct machine *m, const struct shape *s)
{
    static const uint32_t all[VDEV_FEATURE_WORDS] = {~0u, ~0u, ~0u, ~0u};
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    const struct {
        unsigned bit;
        bool want;
    } wishes[] = {{VIRTIO_F_RING_PACKED, s->packed},
                  {VIRTIO_RING_F_INDIRECT_DESC, s->indirect},
                  {VIRTIO_RING_F_EVENT_IDX, s->event_idx},
                  {VIRTIO_F_IN_ORDER, s->in_order}};
    m->port = (struct vdev_port){.raise = on_interrupt};
    vdev_attach(m->dev, &m->port, all);
    vdev_status_write(m->dev, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    vdev_status_write(m->dev, status);
    uint64_t features = vdev_features(m->dev, 0) | (uint64_t)vdev_features(m->dev, 1) << 32;
    for (size_t i = 0; i < ARRAY_SIZE(wishes); i++) {
        if (!wishes[i].want)
            features &= ~(1ull << wishes[i].bit);
    }
    vdev_features_write(m->dev, 0, (uint32_t)features);
    vdev_features_write(m->dev, 1, (uint32_t)(features >> 32));
    vdev_status_write(m->dev, status | VIRTIO_CONFIG_S_FEATURES_OK);
    BENCH_MUST(vdev_status(m->dev) & VIRTIO_CONFIG_S_FEATURES_OK);
    for (size_t i = 0; i < ARRAY_SIZE(wishes); i++)
        BENCH_MUST(vdev_has(m->dev, wishes[i].bit) == wishes[i].want);
}

void machine_driver_ok(struct machine *m)
{
    vdev_status_write(m->dev, vdev_status(m->dev) | VIRTIO_CONFIG_S_DRIVER_OK);
    loop_settle(m->loop);
    BENCH_MUST(vdev_started(m->dev));
}

/* --- rings --- */

static void store16(uint8_t *p, uint16_t v)
{
    atomic_store_explicit((_Atomic uint16_t *)(void *)p, v, memory_order_release);
}

static void store64(uint8_t *p, uint64_t v)
{
    atomic_store_explicit((_Atomic uint64_t *)(void *)p, v, memory_order_release);
}

static uint16_t load16(const uint8_t *p)
{
    return atomic_load_explicit((const _Atomic uint16_t *)(const void *)p, memory_order_acquire);
}

static void put_desc(uint8_t *table, unsigned i, gpa_t at, uint32_t len, uint16_t w6, uint16_t w7)
{
    uint8_t *p = table + (size_t)i * DESC;
    put_bytes(p, at.v, 8);
    put_bytes(p + 8, len | (uint64_t)w6 << 32 | (uint64_t)w7 << 48, 8);
}

void driver_up(struct driver *d, struct machine *m, unsigned index, const struct shape *s)
{
    uint16_t size = s->slots;
    while (!s->indirect && size < s->slots * s->segments)
        size *= 2;
    struct vq_config *cfg = vdev_queue_program(m->dev, index);
    BENCH_MUST(cfg && size <= cfg->max_size && s->segments <= ARRAY_SIZE(d->requests->at));
    cfg->size = size;
    cfg->desc = machine_low(m, size * (size_t)DESC);
    cfg->driver = machine_low(m, RING + size * 2u + 2);
    cfg->device = machine_low(m, RING + size * 8u + 2);
    *d = (struct driver){.m = m,
                         .s = *s,
                         .size = size,
                         .avail_wrap = true,
                         .used_wrap = true,
                         .desc = machine_at(m, cfg->desc, size * (size_t)DESC),
                         .avail = machine_at(m, cfg->driver, RING + size * 2u + 2),
                         .used = machine_at(m, cfg->device, RING + size * 8u + 2),
                         .requests = calloc(s->slots, sizeof(*d->requests))};
    BENCH_MUST(d->requests != NULL);
    for (unsigned slot = 0; slot < s->slots; slot++) {
        struct request *r = &d->requests[slot];
        if (s->indirect)
            r->table = machine_low(m, s->segments * (size_t)DESC);
        for (unsigned i = 0; i < s->segments; i++) {
            r->at[i] = machine_high(m, PAGE);
            r->len[i] = PAGE;
        }
        driver_describe(d, slot);
    }
    vdev_queue_enable(m->dev, index);
    BENCH_MUST(vdev_queue_config(m->dev, index)->enabled);
}

void driver_down(struct driver *d)
{
    free(d->requests);
}

static uint16_t flags_of(const struct driver *d, unsigned segment)
{
    bool last = segment + 1 == d->s.segments;
    bool in = segment >= d->s.segments - d->s.writable;
    return (last ? 0 : VRING_DESC_F_NEXT) | (in ? VRING_DESC_F_WRITE : 0);
}

void driver_describe(struct driver *d, unsigned slot)
{
    const struct request *r = &d->requests[slot];
    unsigned n = d->s.segments, first = d->s.indirect ? 0 : slot * n;
    uint8_t *table = d->s.indirect ? machine_at(d->m, r->table, n * (size_t)DESC) : d->desc;
    if (d->s.packed && !d->s.indirect)
        return; /* written anew each time */
    for (unsigned i = 0; i < n; i++) {
        if (d->s.packed)
            put_desc(table, i, r->at[i], r->len[i], 0, flags_of(d, i) & VRING_DESC_F_WRITE);
        else
            put_desc(table, first + i, r->at[i], r->len[i], flags_of(d, i),
                     (uint16_t)(first + i + 1));
    }
    if (d->s.indirect && !d->s.packed)
        put_desc(d->desc, slot, r->table, n * DESC, VRING_DESC_F_INDIRECT, 0);
}

static void advance(const struct driver *d, uint16_t *index, bool *wrap, unsigned n)
{
    unsigned at = *index + n;
    *wrap ^= at >= d->size;
    *index = (uint16_t)(at & (d->size - 1));
}

static unsigned span(const struct driver *d)
{
    return d->s.indirect ? 1 : d->s.segments;
}

bool driver_all_back(const struct driver *d)
{
    if (!d->s.packed)
        return load16(d->used + IDX) == d->used_idx;
    unsigned last = (d->used_idx + (unsigned)d->size - span(d)) & (d->size - 1u);
    bool wrap = d->used_wrap ^ (last > d->used_idx);
    uint16_t flags = load16(d->desc + (size_t)last * DESC + FLAGS);
    return !!(flags & PACKED_AVAIL) == wrap && !!(flags & PACKED_USED) == wrap;
}

static void cool(const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i += 64)
        _mm_clflush(p + i);
}

void driver_cool(struct driver *d)
{
    cool(d->desc, d->size * (size_t)DESC);
    cool(d->avail, d->s.packed ? 4 : RING + d->size * 2u + 2);
    cool(d->used, d->s.packed ? 4 : RING + d->size * 8u + 2);
    for (unsigned i = 0; d->s.indirect && i < d->s.slots; i++)
        cool(machine_at(d->m, d->requests[i].table, d->s.segments * (size_t)DESC),
             d->s.segments * (size_t)DESC);
    _mm_mfence();
}

/* In words of eight bytes, as the device reads them: on one CPU a read that needs several stores
 * waits for them, which it never does on two. The first descriptor comes last: 2.8.6. */
static void add_packed(struct driver *d, unsigned slot)
{
    const struct request *r = &d->requests[slot];
    uint16_t at = d->avail_idx;
    uint8_t *first = d->desc + (size_t)at * DESC;
    uint64_t first_rest = 0;
    bool wrap = d->avail_wrap;
    for (unsigned i = 0; i < span(d); i++) {
        uint8_t *p = d->desc + (size_t)at * DESC;
        uint64_t flags = wrap ? PACKED_AVAIL : PACKED_USED;
        flags |= d->s.indirect ? VRING_DESC_F_INDIRECT : flags_of(d, i);
        uint64_t len = d->s.indirect ? d->s.segments * DESC : r->len[i];
        uint64_t rest = len | (uint64_t)slot << 32 | flags << 48;
        put_bytes(p, d->s.indirect ? r->table.v : r->at[i].v, 8);
        if (i == 0)
            first_rest = rest;
        else
            store64(p + 8, rest);
        advance(d, &at, &wrap, 1);
    }
    store64(first + 8, first_rest);
    d->avail_idx = at;
    d->avail_wrap = wrap;
}

void driver_add(struct driver *d, unsigned slot)
{
    if (d->s.packed) {
        add_packed(d, slot);
        return;
    }
    store16(d->avail + RING + (size_t)(d->avail_idx & (d->size - 1)) * 2,
            (uint16_t)(d->s.indirect ? slot : slot * d->s.segments));
    d->avail_idx++;
}

void driver_publish(struct driver *d)
{
    if (!d->s.packed)
        store16(d->avail + IDX, d->avail_idx);
    /* As any driver before it asks whether to notify, and it pays for its own stores. */
    atomic_thread_fence(memory_order_seq_cst);
}

bool driver_must_kick(struct driver *d)
{
    BENCH_MUST(!d->s.packed);
    uint16_t old = d->asked;
    d->asked = d->avail_idx;
    if (!d->s.event_idx)
        return !(load16(d->used) & VRING_USED_F_NO_NOTIFY);
    return vring_need_event(load16(d->used + RING + (size_t)d->size * 8), d->avail_idx, old);
}

int driver_reap(struct driver *d)
{
    if (!d->s.packed) {
        if (load16(d->used + IDX) == d->used_idx)
            return -1;
        const uint8_t *e = d->used + RING + (size_t)(d->used_idx & (d->size - 1)) * 8;
        unsigned id = (unsigned)get_bytes(e, 4);
        d->used_idx++;
        return (int)(d->s.indirect ? id : id / d->s.segments);
    }
    const uint8_t *p = d->desc + (size_t)d->used_idx * DESC;
    uint16_t flags = load16(p + FLAGS);
    if (!!(flags & PACKED_AVAIL) != d->used_wrap || !!(flags & PACKED_USED) != d->used_wrap)
        return -1;
    int id = (int)get_bytes(p + 12, 2);
    advance(d, &d->used_idx, &d->used_wrap, span(d));
    return id;
}

void driver_skip(struct driver *d, unsigned n)
{
    if (d->s.packed)
        advance(d, &d->used_idx, &d->used_wrap, n * span(d));
    else
        d->used_idx += (uint16_t)n;
}

void driver_wish(struct driver *d)
{
    if (!d->s.event_idx)
        return; /* each is announced, and always was */
    if (!d->s.packed) {
        store16(d->avail + RING + (size_t)d->size * 2, d->used_idx);
        return;
    }
    store16(d->avail, d->used_idx | (d->used_wrap ? WRAP : 0));
    store16(d->avail + 2, VRING_PACKED_EVENT_FLAG_DESC);
}
