/* tests/rig/rig.c - see rig.h: the machine around a device, and what every driver does whatever the
 * transport and the ring. */
#include "tests/rig/rig.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "tests/rig/rig_priv.h"

const char *const rig_transport_names[] = {
    [RIG_MMIO] = "mmio",
    [RIG_MMIO_LEGACY] = "mmio-legacy",
    [RIG_PCI] = "pci",
    [RIG_PCI_TRANSITIONAL] = "pci-transitional",
    [RIG_PCI_TRANSITIONAL_LEGACY] = "pci-transitional by its legacy interface",
    [RIG_PCI_LEGACY] = "pci-legacy",
};

struct rig_way rig_way;

static const struct {
    enum transport_kind kind;
    const struct rig_regs *regs;
    bool legacy;
} transports[RIG_TRANSPORTS] = {
    [RIG_MMIO] = {TRANSPORT_MMIO, &rig_mmio_regs, false},
    [RIG_MMIO_LEGACY] = {TRANSPORT_MMIO_LEGACY, &rig_mmio_legacy_regs, true},
    [RIG_PCI] = {TRANSPORT_PCI, &rig_pci_regs, false},
    [RIG_PCI_TRANSITIONAL] = {TRANSPORT_PCI_TRANSITIONAL, &rig_pci_regs, false},
    [RIG_PCI_TRANSITIONAL_LEGACY] = {TRANSPORT_PCI_TRANSITIONAL, &rig_pci_legacy_regs, true},
    [RIG_PCI_LEGACY] = {TRANSPORT_PCI_LEGACY, &rig_pci_legacy_regs, true},
};

const char *rig_where(const struct rig *r)
{
    static char where[80];
    (void)snprintf(where, sizeof(where), "%s %s", rig_transport_names[r->o.transport],
                   rig_has(r, VIRTIO_F_RING_PACKED) ? "packed" : "split");
    return where;
}

/* --- lifetime --- */

static int doorbell(void *ctx, const struct doorbell *b, bool on)
{
    const struct rig *r = ctx;
    if (!r->o.doorbell)
        return -ENOSYS; /* every notification traps */
    return r->o.doorbell(r->o.doorbell_ctx, b, on);
}

/* --- memory of devices, as KVM would have it: what overlaps is refused --- */

static int show(struct rig *r, gpa_t at, void *host, uint64_t len, bool ro)
{
    struct rig_window *to = NULL;
    for (unsigned i = 0; i < RIG_WINDOWS; i++) {
        struct rig_window *w = &r->windows[i];
        if (w->len == 0)
            to = w;
        else if (at.v < w->at.v + w->len && w->at.v < at.v + len)
            return -EEXIST;
    }
    cr_assert(at.v >= RIG_RAM && to && len && len % 4096 == 0 && at.v % 4096 == 0);
    *to = (struct rig_window){at, len, host, ro, at.v >= RIG_PLACES && at.v < RIG_SHM};
    return 0;
}

static int place(void *ctx, void *host, uint64_t len, uint64_t align, bool ro, gpa_t *at)
{
    struct rig *r = ctx;
    if (r->o.no_window)
        return -ENOSPC;
    gpa_t to = GPA(align_up(RIG_PLACES + r->place_next, align));
    int rc = show(r, to, host, len, ro);
    if (rc == 0) {
        r->place_next = to.v + len - RIG_PLACES;
        *at = to;
    }
    return rc;
}

static int window(void *ctx, gpa_t at, void *host, uint64_t len, bool on)
{
    struct rig *r = ctx;
    if (on)
        return r->o.no_window ? -EOPNOTSUPP : show(r, at, host, len, false);
    for (unsigned i = 0; i < RIG_WINDOWS; i++) {
        struct rig_window *w = &r->windows[i];
        if (w->len && w->at.v == at.v) {
            cr_assert_eq(w->host, host, "it removes what is another's");
            w->len = 0;
            return 0;
        }
    }
    cr_assert_fail("nothing is at %#lx to be removed", (unsigned long)at.v);
    return -ENOENT;
}

void *rig_window_at(struct rig *r, gpa_t at, size_t len)
{
    for (unsigned i = 0; i < RIG_WINDOWS; i++) {
        const struct rig_window *w = &r->windows[i];
        if (at.v - w->at.v < w->len && len <= w->len - (at.v - w->at.v))
            return w->host + (at.v - w->at.v);
    }
    return NULL;
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

static void *default_opts(const struct vdev_class *c)
{
    void *opts = calloc(1, c->opts_size + 1);
    if (c->opts_default)
        memcpy(opts, c->opts_default, c->opts_size);
    return opts;
}

struct rig *rig_up(const char *device, const struct rig_options *o)
{
    size_t len = strcspn(device, ",");
    const struct vdev_class *c = class_of(device, len);
    void *opts = default_opts(c);
    struct err e = {0};
    if (device[len] == ',')
        cr_assert_eq(opts_parse(c->opts, "--device", device + len + 1, opts, &e), 0, "%s", e.msg);
    struct rig *r = rig_up_class(c, opts, o);
    free(opts);
    return r;
}

static void machine_up(struct rig *r)
{
    struct err e = {0};
    const struct gmem_region ram = {.base = GPA(0), .len = RIG_RAM};
    const struct gmem_options plain = {0};
    r->ram_next = 0x10000;
    r->irq_fd = eventfd(0, EFD_NONBLOCK);
    cr_assert_eq(gmem_new(&ram, 1, &plain, &r->mem, &e), 0, "%s", e.msg);
    cr_assert_eq(bus_new("rig", &r->bus), 0);
    cr_assert_eq(bus_new("ports", &r->pio), 0);
    for (r->n_loops = 0; r->n_loops < MAX(r->o.loops, 1u); r->n_loops++) {
        cr_assert_eq(loop_new("rig", r->o.backend, &r->loops[r->n_loops]), 0);
        loop_poll_set(r->loops[r->n_loops], r->o.poll_ns);
    }
    r->loop = r->loops[0];
    const struct chardev_spec spec = {.kind = r->o.console_path ? CHARDEV_FILE : CHARDEV_NONE,
                                      .path = r->o.console_path};
    r->console = r->o.console;
    if (!r->console) {
        cr_assert_eq(chardev_new(&spec, r->loop, &r->console, &e), 0, "%s", e.msg);
        r->own_console = true;
    }
}

static int device_new(struct rig *r, const struct vdev_class *c, const void *opts, struct err *e)
{
    struct vdev_options *v = &r->vdev_options;
    *v = r->o.vdev ? *r->o.vdev : vdev_options_default;
    v->packed |= r->o.packed;
    v->in_order |= r->o.in_order;
    v->notification_data |= r->o.notification_data;
    if (r->o.device_queue_size)
        v->queue_size = r->o.device_queue_size;
    const struct build_env env = {.mem = r->mem,
                                  .loop = r->loop,
                                  .loops = r->loops,
                                  .n_loops = r->n_loops,
                                  .console = r->console,
                                  .options = v,
                                  .place = place,
                                  .place_ctx = r};
    return c->create(opts, &env, &r->dev, e);
}

static void transport_up(struct rig *r)
{
    enum transport_kind k = transports[r->o.transport].kind;
    r->regs = transports[r->o.transport].regs;
    r->legacy = transports[r->o.transport].legacy;
    r->ring = &rig_split_ring;
    const struct transport_env env = {.mmio = r->bus,
                                      .pci = transport_is_pci(k) ? rig_pci_new(r) : NULL,
                                      .doorbell = doorbell,
                                      .window = window,
                                      .ctx = r};
    const struct transport_place at = {.base = GPA(RIG_BASE),
                                       .shm = GPA(RIG_SHM),
                                       .irq_fd = transport_is_pci(k) ? -1 : dup(r->irq_fd)};
    cr_assert_eq(transport_new(k, r->dev, &env, &at, &r->transport), 0, "%s", transport_names[k]);
    r->regs->up(r);
}

struct rig *rig_up_class(const struct vdev_class *c, const void *opts, const struct rig_options *o)
{
    struct rig *r = calloc(1, sizeof(*r));
    r->o = o ? *o : (struct rig_options){0};
    if (r->o.transport == RIG_MMIO)
        r->o.transport = rig_way.transport;
    r->o.packed |= rig_way.packed;
    struct err e = {0};
    machine_up(r);
    cr_assert_eq(device_new(r, c, opts, &e), 0, "%s", e.msg);
    transport_up(r);
    if (r->own_console)
        cr_assert_eq(chardev_start(r->console), 0);
    rig_negotiate(r);
    return r;
}

void rig_up_again(struct rig *r)
{
    r->regs->up(r);
    rig_negotiate(r);
}

static void machine_down(struct rig *r)
{
    if (r->own_console)
        chardev_free(r->console);
    for (unsigned i = 0; i < r->n_loops; i++)
        loop_free(r->loops[i]);
    bus_free(r->bus);
    bus_free(r->pio);
    gmem_free(r->mem);
    close(r->irq_fd);
    for (unsigned i = 0; i < RIG_QUEUES; i++)
        free(r->q[i].span);
    free(r);
}

void rig_down(struct rig *r)
{
    uint64_t v = 0;
    transport_free(r->transport);
    cr_assert_not(bus_access(r->bus, GPA(RIG_BASE), 4, false, &v), "its window answers");
    for (unsigned i = 0; i < RIG_WINDOWS; i++)
        cr_assert(r->windows[i].len == 0 || r->windows[i].placed, "its memory is in the way");
    rig_pci_free(r);
    machine_down(r);
}

void rig_refuses(const char *device, const struct rig_options *o, const char *words)
{
    size_t len = strcspn(device, ",");
    const struct vdev_class *c = class_of(device, len);
    struct rig *r = calloc(1, sizeof(*r));
    void *opts = default_opts(c);
    struct err e = {0};
    r->o = o ? *o : (struct rig_options){0};
    machine_up(r);
    cr_assert_eq(opts_parse(c->opts, "--device", device + len + 1, opts, &e), 0, "%s", e.msg);
    cr_assert_lt(device_new(r, c, opts, &e), 0, "%s", device);
    cr_assert(strstr(e.msg, words), "\"%s\" has not \"%s\"", e.msg, words);
    cr_assert_null(r->dev);
    free(opts);
    machine_down(r);
}

/* --- the host's user --- */

int rig_update(struct rig *r, const char *text, struct err *e)
{
    const char *name = vdev_name(r->dev);
    const struct vdev_class *c = class_of(name, strlen(name));
    AUTO_FREE void *opts = default_opts(c);
    cr_assert_eq(opts_parse(c->opts, name, text, opts, e), 0, "%s", e->msg);
    return vdev_update(r->dev, opts, e);
}

struct state_out rig_save(struct rig *r)
{
    struct state_out s = {0};
    vdev_pause(r->dev);
    transport_save(r->transport, &s);
    cr_assert_eq(s.error, 0);
    return s;
}

int rig_load(struct rig *r, const void *buf, size_t len)
{
    struct state_in in = {.buf = buf, .len = len};
    transport_reset(r->transport);
    int rc = transport_load(r->transport, &in);
    cr_assert(rc != 0 || in.pos == len, "%zu of %zu bytes are read", in.pos, len);
    return rc;
}

void rig_save_and_load(struct rig *r)
{
    struct state_out s = rig_save(r);
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    vdev_resume(r->dev);
    state_out_free(&s);
}

unsigned rig_open_files(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* --- guest RAM --- */

gpa_t rig_alloc_at(struct rig *r, size_t len, uint64_t align)
{
    gpa_t at = GPA(align_up(r->ram_next, align));
    r->ram_next = align_up(at.v + len, 16);
    void *p = gmem_at(r->mem, at, len);
    cr_assert(p, "the rig's RAM is used up");
    memset(p, 0, len);
    return at;
}

gpa_t rig_alloc(struct rig *r, size_t len)
{
    return rig_alloc_at(r, len, 16);
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

/* --- registers --- */

uint8_t rig_status(struct rig *r)
{
    return r->regs->status(r);
}

void rig_status_set(struct rig *r, uint8_t s)
{
    r->regs->status_set(r, s);
}

bool rig_needs_reset(struct rig *r)
{
    return rig_status(r) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

uint64_t rig_config(struct rig *r, unsigned off, unsigned size)
{
    uint64_t v = 0;
    r->regs->config_read(r, off, size, &v);
    return v;
}

void rig_config_set(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    r->regs->config_write(r, off, size, v);
}

unsigned rig_irqs(struct rig *r)
{
    unsigned n = r->regs->interrupts(r);
    (void)r->regs->acknowledge(r);
    return n;
}

/* --- initialization (3.1) --- */

bool rig_has(const struct rig *r, unsigned feature)
{
    return r->features >> feature & 1;
}

static void accept_features(struct rig *r)
{
    uint64_t refused = r->o.without;
    if (r->o.no_indirect)
        refused |= 1ull << VIRTIO_RING_F_INDIRECT_DESC;
    if (r->o.no_event_idx)
        refused |= 1ull << VIRTIO_RING_F_EVENT_IDX;
    r->features = 0;
    for (uint32_t word = 0; word < (r->legacy ? 1 : VDEV_FEATURE_WORDS); word++) {
        uint32_t f = r->regs->features(r, word);
        if (word < 2) {
            f &= ~(uint32_t)(refused >> 32 * word);
            r->features |= (uint64_t)f << 32 * word;
        }
        r->regs->accept(r, word, f);
    }
    r->ring = rig_has(r, VIRTIO_F_RING_PACKED) ? &rig_packed_ring : &rig_split_ring;
}

void rig_negotiate_features(struct rig *r)
{
    if (!r->o.no_reset)
        rig_status_set(r, 0);
    cr_assert_eq(rig_status(r), 0);
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    rig_status_set(r, status);
    rig_status_set(r, status |= VIRTIO_CONFIG_S_DRIVER);
    accept_features(r);
    if (!r->legacy) { /* 3.1.2: a legacy driver knows no such step */
        rig_status_set(r, status | VIRTIO_CONFIG_S_FEATURES_OK);
        cr_assert(rig_status(r) & VIRTIO_CONFIG_S_FEATURES_OK);
    }
}

void rig_driver_ok(struct rig *r)
{
    rig_status_set(r, rig_status(r) | VIRTIO_CONFIG_S_DRIVER_OK);
    rig_settle(r);
}

void rig_negotiate(struct rig *r)
{
    rig_negotiate_features(r);
    for (unsigned i = 0; i < RIG_QUEUES; i++)
        rig_queue_up(r, i);
    if (!r->o.stop_before_driver_ok)
        rig_driver_ok(r);
    rig_settle(r);
}

/* Split and packed alike: the second and third areas of a packed ring are four bytes long. */
static void alloc_areas(struct rig *r, struct rig_queue *q)
{
    size_t driver = 6 + q->size * 2u;
    if (r->legacy) {
        q->desc = rig_alloc_at(r, q->size * 16u + driver, RIG_PAGE);
        q->avail = GPA(q->desc.v + q->size * 16u);
        q->used = rig_alloc_at(r, 6 + q->size * 8u, RIG_PAGE);
    } else {
        q->desc = rig_alloc(r, q->size * 16u);
        q->avail = rig_alloc(r, driver);
        q->used = rig_alloc(r, 6 + q->size * 8u);
    }
}

void rig_queue_up(struct rig *r, unsigned i)
{
    struct rig_queue *q = &r->q[i];
    uint16_t max = r->regs->queue_max(r, i);
    if (max == 0)
        return;
    *q = (struct rig_queue){.span = q->span};
    q->size = r->o.queue_size && r->regs->queue_size ? r->o.queue_size : max;
    alloc_areas(r, q);
    r->ring->init(r, i);
    if (r->regs->queue_size)
        r->regs->queue_size(r, i, q->size);
    r->regs->queue_areas(r, i, q->desc.v, q->avail.v, q->used.v);
    r->regs->queue_enable(r, i);
}

/* --- the rings --- */

void rig_forge(struct rig *r, gpa_t table, unsigned slot, uint64_t addr, uint32_t len,
               uint16_t flags, uint16_t next)
{
    r->ring->forge(r, table, slot, addr, len, flags, next);
}

static uint16_t add(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                    const struct rig_seg *in, unsigned n_in, bool indirect)
{
    unsigned n = n_out + n_in;
    struct rig_seg *all = calloc(n + 1, sizeof(*all));
    for (unsigned i = 0; i < n; i++)
        all[i] = i < n_out ? out[i] : in[i - n_out];
    gpa_t table = indirect ? rig_alloc(r, n * 16u) : GPA(0);
    uint16_t id = r->ring->add(r, q, all, n_out, n, table);
    free(all);
    return id;
}

uint16_t rig_add(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                 const struct rig_seg *in, unsigned n_in)
{
    return add(r, q, out, n_out, in, n_in, false);
}

uint16_t rig_add_indirect(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                          const struct rig_seg *in, unsigned n_in)
{
    return add(r, q, out, n_out, in, n_in, true);
}

bool rig_used(struct rig *r, unsigned q, uint32_t *id, uint32_t *len)
{
    return r->ring->used(r, q, id, len);
}

bool rig_must_kick(struct rig *r, unsigned q)
{
    return r->ring->must_kick(r, q);
}

void rig_hush(struct rig *r, unsigned q)
{
    r->ring->hush(r, q);
}

void rig_listen(struct rig *r, unsigned q)
{
    r->ring->wish(r, q, 0);
}

void rig_listen_at(struct rig *r, unsigned q, unsigned nth)
{
    r->ring->wish(r, q, nth);
}

/* 2.9: with NOTIFICATION_DATA it says how far the driver is. */
void rig_kick(struct rig *r, unsigned i)
{
    uint32_t value = i;
    if (rig_has(r, VDEV_F_NOTIFICATION_DATA) && i < RIG_QUEUES) {
        const struct rig_queue *q = &r->q[i];
        value |= (uint32_t)(q->avail_idx | (q->avail_wrap ? 1u << 15 : 0)) << 16;
    }
    r->regs->notify(r, i, value);
}

void rig_settle(struct rig *r)
{
    loop_settle(r->loop);
    for (unsigned i = 1; i < r->n_loops; i++)
        loop_settle(r->loops[i]); /* none of them has work for the first */
}
