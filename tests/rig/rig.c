/* tests/rig/rig.c - see rig.h. */
#include "tests/rig/rig.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "base/gmem.h"

enum { RAM = 32 << 20 };

static int no_doorbell(void *ctx, const struct doorbell *b, bool on)
{
    (void)ctx, (void)b, (void)on;
    return -ENOSYS; /* every notification traps */
}

static const struct vdev_class *class_of(const char *device, size_t len)
{
    for (const struct vdev_class *const *c = vdev_classes; *c; c++) {
        if (strlen((*c)->name) == len && memcmp((*c)->name, device, len) == 0)
            return *c;
    }
    cr_assert_fail("no class %s", device);
    return NULL;
}

struct rig *rig_up(const char *device, const struct rig_options *o)
{
    size_t len = strcspn(device, ",");
    const struct vdev_class *c = class_of(device, len);
    void *opts = calloc(1, c->opts_size + 1);
    struct err e = {0};
    if (device[len] == ',')
        cr_assert_eq(opts_parse(c->opts, "--device", device + len + 1, opts, &e), 0, "%s", e.msg);
    struct rig *r = rig_up_class(c, opts, o);
    free(opts);
    return r;
}

struct rig *rig_up_class(const struct vdev_class *c, const void *opts, const struct rig_options *o)
{
    struct rig *r = calloc(1, sizeof(*r));
    struct err e = {0};
    const struct gmem_region ram = {.base = GPA(0), .len = RAM};
    const struct gmem_options plain = {0};
    r->o = o ? *o : (struct rig_options){0};
    r->ram_next = 0x10000;
    cr_assert_eq(gmem_new(&ram, 1, &plain, &r->mem, &e), 0, "%s", e.msg);
    cr_assert_eq(bus_new("rig", &r->bus), 0);
    cr_assert_eq(loop_new("rig", r->o.backend, &r->loop), 0);
    const struct chardev_spec spec = {.kind = r->o.console_path ? CHARDEV_FILE : CHARDEV_NONE,
                                      .path = r->o.console_path};
    r->console = r->o.console;
    if (!r->console) {
        cr_assert_eq(chardev_new(&spec, r->loop, &r->console, &e), 0, "%s", e.msg);
        r->own_console = true;
    }
    const struct build_env env = {.mem = r->mem, .loop = r->loop, .console = r->console};
    const struct transport_env tenv = {.mmio = r->bus, .doorbell = no_doorbell};
    cr_assert_eq(c->create(opts, &env, &r->dev, &e), 0, "%s", e.msg);
    r->irq_fd = eventfd(0, EFD_NONBLOCK);
    const struct transport_place at = {.base = GPA(RIG_BASE), .irq_fd = dup(r->irq_fd)};
    cr_assert_eq(transport_new(TRANSPORT_MMIO, r->dev, &tenv, &at, &r->transport), 0);
    if (r->own_console)
        cr_assert_eq(chardev_start(r->console), 0);
    rig_negotiate(r);
    return r;
}

void rig_down(struct rig *r)
{
    transport_free(r->transport);
    if (r->own_console)
        chardev_free(r->console);
    loop_free(r->loop);
    bus_free(r->bus);
    gmem_free(r->mem);
    close(r->irq_fd);
    free(r);
}

uint32_t rig_reg(struct rig *r, uint32_t off)
{
    uint64_t v = 0;
    cr_assert(bus_access(r->bus, GPA(RIG_BASE + off), 4, false, &v));
    return (uint32_t)v;
}

void rig_reg_set(struct rig *r, uint32_t off, uint32_t v)
{
    uint64_t wide = v;
    cr_assert(bus_access(r->bus, GPA(RIG_BASE + off), 4, true, &wide));
}

bool rig_has(const struct rig *r, unsigned feature)
{
    return r->features >> feature & 1;
}

bool rig_needs_reset(struct rig *r)
{
    return rig_reg(r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

gpa_t rig_alloc(struct rig *r, size_t len)
{
    gpa_t at = GPA(r->ram_next);
    r->ram_next = align_up(r->ram_next + len, 16);
    void *p = gmem_at(r->mem, at, len);
    cr_assert(p, "the rig's RAM is used up");
    memset(p, 0, len);
    return at;
}

void *rig_at(struct rig *r, gpa_t at, size_t len)
{
    void *p = gmem_at(r->mem, at, len);
    cr_assert(p);
    return p;
}

uint16_t rig_get16(struct rig *r, gpa_t at)
{
    return (uint16_t)get_bytes(rig_at(r, at, 2), 2);
}

void rig_put16(struct rig *r, gpa_t at, uint16_t v)
{
    put_bytes(rig_at(r, at, 2), v, 2);
}

static void put_addr(struct rig *r, uint32_t low, gpa_t at)
{
    rig_reg_set(r, low, (uint32_t)at.v);
    rig_reg_set(r, low + 4, (uint32_t)(at.v >> 32));
}

void rig_queue_up(struct rig *r, unsigned i)
{
    struct rig_queue *q = &r->q[i];
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, i);
    uint32_t max = rig_reg(r, VIRTIO_MMIO_QUEUE_NUM_MAX);
    if (max == 0)
        return;
    *q = (struct rig_queue){.size = r->o.queue_size ? r->o.queue_size : (uint16_t)max};
    q->desc = rig_alloc(r, q->size * 16u);
    q->avail = rig_alloc(r, 6 + q->size * 2u);
    q->used = rig_alloc(r, 6 + q->size * 8u);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, q->size);
    put_addr(r, VIRTIO_MMIO_QUEUE_DESC_LOW, q->desc);
    put_addr(r, VIRTIO_MMIO_QUEUE_AVAIL_LOW, q->avail);
    put_addr(r, VIRTIO_MMIO_QUEUE_USED_LOW, q->used);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_READY, 1);
}

void rig_negotiate(struct rig *r)
{
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_STATUS), 0);
    uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    rig_reg_set(r, VIRTIO_MMIO_STATUS, status);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_DRIVER);
    uint64_t refused = r->o.without;
    if (r->o.no_indirect)
        refused |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
    if (r->o.no_event_idx)
        refused |= 1ull << VIRTIO_RING_F_EVENT_IDX;
    r->features = 0;
    for (uint32_t word = 0; word < 2; word++) {
        rig_reg_set(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
        uint64_t f = rig_reg(r, VIRTIO_MMIO_DEVICE_FEATURES) & ~(uint32_t)(refused >> 32 * word);
        rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
        rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)f);
        r->features |= f << 32 * word;
    }
    rig_reg_set(r, VIRTIO_MMIO_STATUS, status |= VIRTIO_CONFIG_S_FEATURES_OK);
    cr_assert(rig_reg(r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned i = 0; i < RIG_QUEUES; i++)
        rig_queue_up(r, i);
    if (!r->o.stop_before_driver_ok)
        rig_reg_set(r, VIRTIO_MMIO_STATUS, status | VIRTIO_CONFIG_S_DRIVER_OK);
    loop_settle(r->loop);
}

void rig_forge(struct rig *r, gpa_t table, unsigned slot, uint64_t addr, uint32_t len,
               uint16_t flags, uint16_t next)
{
    struct vring_desc d = {.addr = addr, .len = len, .flags = flags, .next = next};
    memcpy(rig_at(r, GPA(table.v + slot * sizeof(d)), sizeof(d)), &d, sizeof(d));
}

void rig_offer(struct rig *r, unsigned i, uint16_t head)
{
    struct rig_queue *q = &r->q[i];
    rig_put16(r, GPA(q->avail.v + 4 + 2u * (q->avail_idx % q->size)), head);
    q->avail_idx++;
    rig_put16(r, GPA(q->avail.v + 2), q->avail_idx);
}

/* Fills a table from `first`, wrapping at `size`; returns the slot after the last. */
static unsigned chain(struct rig *r, gpa_t table, unsigned size, unsigned first,
                      const struct rig_seg *out, unsigned n_out, const struct rig_seg *in,
                      unsigned n_in)
{
    unsigned slot = first, n = n_out + n_in;
    for (unsigned i = 0; i < n; i++) {
        const struct rig_seg *s = i < n_out ? &out[i] : &in[i - n_out];
        unsigned next = (slot + 1) % size;
        uint16_t flags = (i < n_out ? 0 : VRING_DESC_F_WRITE) | (i + 1 < n ? VRING_DESC_F_NEXT : 0);
        rig_forge(r, table, slot, s->at.v, s->len, flags, (uint16_t)next);
        slot = next;
    }
    return slot;
}

uint16_t rig_add(struct rig *r, unsigned i, const struct rig_seg *out, unsigned n_out,
                 const struct rig_seg *in, unsigned n_in)
{
    struct rig_queue *q = &r->q[i];
    uint16_t head = q->free;
    q->free = (uint16_t)chain(r, q->desc, q->size, head, out, n_out, in, n_in);
    rig_offer(r, i, head);
    return head;
}

uint16_t rig_add_indirect(struct rig *r, unsigned i, const struct rig_seg *out, unsigned n_out,
                          const struct rig_seg *in, unsigned n_in)
{
    struct rig_queue *q = &r->q[i];
    uint16_t head = q->free;
    uint32_t len = (n_out + n_in) * 16;
    gpa_t table = rig_alloc(r, len);
    (void)chain(r, table, n_out + n_in + 1, 0, out, n_out, in, n_in);
    rig_forge(r, q->desc, head, table.v, len, VRING_DESC_F_INDIRECT, 0);
    q->free = (uint16_t)((head + 1) % q->size);
    rig_offer(r, i, head);
    return head;
}

void rig_kick(struct rig *r, unsigned q)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_NOTIFY, q);
}

void rig_settle(struct rig *r)
{
    loop_settle(r->loop);
}

bool rig_used(struct rig *r, unsigned i, uint32_t *id, uint32_t *len)
{
    struct rig_queue *q = &r->q[i];
    if (rig_get16(r, GPA(q->used.v + 2)) == q->used_idx)
        return false;
    const uint8_t *e = rig_at(r, GPA(q->used.v + 4 + 8u * (q->used_idx % q->size)), 8);
    *id = (uint32_t)get_bytes(e, 4);
    *len = (uint32_t)get_bytes(e + 4, 4);
    q->used_idx++;
    return true;
}

unsigned rig_irqs(struct rig *r)
{
    uint64_t n = 0;
    if (read(r->irq_fd, &n, sizeof(n)) < 0)
        n = 0;
    rig_reg_set(r, VIRTIO_MMIO_INTERRUPT_ACK, rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS));
    return (unsigned)n;
}
