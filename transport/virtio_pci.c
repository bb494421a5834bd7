/* transport/virtio_pci.c - a virtio device as a PCI function (virtio 1.4, 4.1): modern, legacy or
 * transitional by what it shows; how it interrupts and how it is notified. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include "transport/virtio_pci.h"

enum {
    VENDOR = 0x1af4,
    MODERN_DEVICE = 0x1040,   /* and the virtio device ID: 4.1.2 */
    MODERN_SUBSYSTEM = 0x40,  /* at least */
    NOTHING_CLASS = 0xff0000, /* a device whose class says nothing */
    MSIX_VECTORS_MAX = 0x800, /* 4.1.5.1.2.1 */
    LEGACY_HEADER = VIRTIO_PCI_CONFIG_OFF(true),
    STATE_VERSION = 1,
};

static struct virtio_pci *virtio_pci_of(struct transport *t)
{
    return container_of(t, struct virtio_pci, t);
}

static bool has_modern(const struct virtio_pci *p)
{
    return p->kind != TRANSPORT_PCI_LEGACY;
}

static bool has_legacy(const struct virtio_pci *p)
{
    return p->kind != TRANSPORT_PCI;
}

/* --- interrupts (4.1.5.3, 4.1.5.4) --- */

static void isr_raise(struct virtio_pci *p, uint8_t bit)
{
    (void)pthread_mutex_lock(&p->isr_lock);
    p->isr |= bit;
    pci_intx_set(p->f, true);
    (void)pthread_mutex_unlock(&p->isr_lock);
}

uint8_t virtio_pci_isr_read(struct virtio_pci *p)
{
    (void)pthread_mutex_lock(&p->isr_lock);
    uint8_t isr = p->isr;
    p->isr = 0;
    pci_intx_set(p->f, false);
    (void)pthread_mutex_unlock(&p->isr_lock);
    return isr;
}

static void raise_irq(struct vdev_port *port, enum vdev_irq why, unsigned queue)
{
    struct virtio_pci *p = container_of(port, struct virtio_pci, t.port);
    bool msix = pci_msix_enabled(p->f);
    if (why == VDEV_IRQ_CONFIG)
        isr_raise(p, ISR_CONFIG); /* with MSI-X too: 4.1.4.5.1 */
    else if (!msix)
        isr_raise(p, ISR_QUEUE);
    if (msix)
        pci_msix_raise(p->f, atomic_load(why == VDEV_IRQ_CONFIG ? &p->config_vector
                                                                : &p->queues[queue].vector));
}

void virtio_pci_set_vector(struct virtio_pci *p, _Atomic uint16_t *event, uint16_t v)
{
    atomic_store(event, v < pci_msix_vectors(p->f) ? v : PCI_NO_VECTOR);
}

/* --- doorbells --- */

/* Under doorbell_lock. A driver of either face has its own, and the queue is the same. */
static void bind(struct virtio_pci *p, unsigned queue, bool on)
{
    bool modern = vdev_has(p->t.dev, VIRTIO_F_VERSION_1);
    struct doorbell b = {.fd = vdev_kick_fd(p->t.dev, queue)};
    if (modern && p->regs_on) {
        b.at = p->regs_at + REGS_NOTIFY + (uint64_t)queue * NOTIFY_MULTIPLIER;
        b.any = true;
    } else if (!modern && p->legacy_on) {
        b.port = true;
        b.at = p->legacy_at + VIRTIO_PCI_QUEUE_NOTIFY;
        b.len = 2;
        b.value = queue;
    } else {
        return;
    }
    /* One that is refused: its notifications trap instead, and mean the same. */
    (void)p->t.env.doorbell(p->t.env.ctx, &b, on);
}

static void listen(struct vdev_port *port, unsigned queue, bool on)
{
    struct virtio_pci *p = container_of(port, struct virtio_pci, t.port);
    (void)pthread_mutex_lock(&p->doorbell_lock);
    p->queues[queue].listening = on;
    bind(p, queue, on);
    (void)pthread_mutex_unlock(&p->doorbell_lock);
}

static void bind_all(struct virtio_pci *p, bool on)
{
    for (unsigned i = 0; i < p->n_queues; i++) {
        if (p->queues[i].listening)
            bind(p, i, on);
    }
}

static void bar_moved(void *ctx, unsigned bar, bool on, uint64_t at)
{
    struct virtio_pci *p = ctx;
    if (bar == BAR_SHM) {
        transport_shm_place(&p->t, on, at);
        return;
    }
    if (bar != BAR_REGS && bar != BAR_LEGACY)
        return;
    bool *is_on = bar == BAR_REGS ? &p->regs_on : &p->legacy_on;
    uint64_t *is_at = bar == BAR_REGS ? &p->regs_at : &p->legacy_at;
    (void)pthread_mutex_lock(&p->doorbell_lock);
    bind_all(p, false);
    *is_on = on;
    *is_at = at;
    bind_all(p, true);
    (void)pthread_mutex_unlock(&p->doorbell_lock);
}

/* --- VIRTIO_PCI_CAP_PCI_CFG: the registers, through configuration space (4.1.4.9) --- */

/* The window's data begin where `cfg` points; the capability is in front of them. */
static void window_access(struct virtio_pci *p, uint8_t *cfg, bool write)
{
    struct virtio_pci_cap cap;
    memcpy(&cap, cfg - sizeof(cap), sizeof(cap));
    unsigned len = cap.length;
    uint64_t v = 0;
    if ((len != 1 && len != 2 && len != 4) || cap.offset % len)
        return;
    if (write)
        v = get_bytes(cfg, len);
    bool there = pci_bar_access(p->f, cap.bar, cap.offset, len, write, &v);
    if (!write)
        put_bytes(cfg, there ? v : 0, len);
}

static void window_read(void *ctx, uint8_t *cfg, unsigned off, unsigned size)
{
    (void)off, (void)size;
    window_access(ctx, cfg, false);
}

static void window_write(void *ctx, uint8_t *cfg, unsigned off, unsigned size)
{
    (void)off, (void)size;
    window_access(ctx, cfg, true);
}

static const struct pci_function_ops function_ops = {
    .moved = bar_moved, .hook_read = window_read, .hook_write = window_write};

/* --- building --- */

/* The part that all of them begin with; `whole` bytes with what follows it. */
static struct virtio_pci_cap cap_of(uint8_t type, uint8_t bar, uint64_t off, uint64_t len,
                                    size_t whole)
{
    return (struct virtio_pci_cap){.cap_len = (uint8_t)whole,
                                   .cfg_type = type,
                                   .bar = bar,
                                   .offset = (uint32_t)off,
                                   .length = (uint32_t)len};
}

/* pci_add_capability() writes the ID and the link, in front of the length. Where it is. */
static unsigned add_cap(struct virtio_pci *p, const struct virtio_pci_cap *cap,
                        const struct virtio_pci_cfg_cap *writable)
{
    return pci_add_capability(p->f, PCI_CAP_ID_VNDR, &cap->cap_len,
                              cap->cap_len - VIRTIO_PCI_CAP_LEN,
                              writable ? &writable->cap.cap_len : NULL);
}

static void add_region(struct virtio_pci *p, uint8_t type, uint64_t off, uint64_t len)
{
    const struct virtio_pci_cap cap = cap_of(type, BAR_REGS, off, len, sizeof(cap));
    (void)add_cap(p, &cap, NULL);
}

static void add_cfg_window(struct virtio_pci *p)
{
    const struct virtio_pci_cfg_cap window = {
        .cap = cap_of(VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 0, sizeof(window))};
    const struct virtio_pci_cfg_cap writable = {
        .cap = {.bar = 0xff, .offset = UINT32_MAX, .length = UINT32_MAX},
        .pci_cfg_data = {0xff, 0xff, 0xff, 0xff}};
    unsigned at = add_cap(p, &window.cap, &writable);
    pci_hook(p->f, at + (unsigned)offsetof(struct virtio_pci_cfg_cap, pci_cfg_data),
             sizeof(window.pci_cfg_data));
}

static uint64_t power_of_two(uint64_t least)
{
    uint64_t n = 1;
    while (n < least)
        n <<= 1;
    return n;
}

static void add_modern(struct virtio_pci *p)
{
    struct vdev *d = p->t.dev;
    uint64_t doorbells = (uint64_t)p->n_queues * NOTIFY_MULTIPLIER;
    const struct pci_bar regs = {.kind = PCI_BAR_MEM32,
                                 .size = power_of_two(REGS_NOTIFY + doorbells),
                                 .ops = &virtio_pci_regs_ops};
    const struct virtio_pci_notify_cap notify = {
        .cap = cap_of(VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_REGS, REGS_NOTIFY, doorbells, sizeof(notify)),
        .notify_off_multiplier = NOTIFY_MULTIPLIER};
    pci_add_bar(p->f, BAR_REGS, &regs);
    add_region(p, VIRTIO_PCI_CAP_COMMON_CFG, REGS_COMMON, COMMON_LEN);
    (void)add_cap(p, &notify.cap, NULL);
    add_region(p, VIRTIO_PCI_CAP_ISR_CFG, REGS_ISR, 1);
    if (vdev_config_len(d))
        add_region(p, VIRTIO_PCI_CAP_DEVICE_CFG, REGS_DEVICE, vdev_config_len(d));
    add_cfg_window(p);
}

/* One BAR holds all regions, each at a multiple of its own place in it (4.1.4.7). */
static void add_shm(struct virtio_pci *p)
{
    uint64_t total = vdev_shm_total(p->t.dev);
    if (total == 0)
        return;
    const struct pci_bar bar = {
        .kind = PCI_BAR_MEM64, .prefetchable = true, .size = power_of_two(total)};
    pci_add_bar(p->f, BAR_SHM, &bar);
    struct vdev_shm_region s;
    for (unsigned i = 0; vdev_shm_at(p->t.dev, i, &s); i++) {
        struct virtio_pci_cap64 cap = {
            .cap = cap_of(VIRTIO_PCI_CAP_SHARED_MEMORY_CFG, BAR_SHM, s.off, s.len, sizeof(cap)),
            .offset_hi = (uint32_t)(s.off >> 32),
            .length_hi = (uint32_t)(s.len >> 32)};
        cap.cap.id = s.id;
        (void)add_cap(p, &cap.cap, NULL);
    }
}

/* 4.1.2.1 */
static uint16_t transitional_device(uint16_t virtio_id)
{
    static const uint16_t ids[] = {
        [VIRTIO_ID_NET] = 0x1000,     [VIRTIO_ID_BLOCK] = 0x1001, [VIRTIO_ID_BALLOON] = 0x1002,
        [VIRTIO_ID_CONSOLE] = 0x1003, [VIRTIO_ID_SCSI] = 0x1004,  [VIRTIO_ID_RNG] = 0x1005,
        [VIRTIO_ID_9P] = 0x1009};
    return ids[virtio_id]; /* transport_new() has seen that it is one of these */
}

static struct pci_ids ids_of(const struct virtio_pci *p)
{
    uint16_t type = vdev_id(p->t.dev);
    uint32_t class = vdev_pci_class(p->t.dev);
    struct pci_ids ids = {.vendor = VENDOR,
                          .device = MODERN_DEVICE + type,
                          .subsystem_vendor = VENDOR,
                          .subsystem = MODERN_SUBSYSTEM + type,
                          .revision = 1,
                          .class_code = class ? class : NOTHING_CLASS};
    if (has_legacy(p)) {
        ids.device = transitional_device(type);
        ids.subsystem = type;
        ids.revision = 0;
    }
    return ids;
}

static int build(struct virtio_pci *p, const struct transport_place *at)
{
    struct vdev *d = p->t.dev;
    const struct pci_ids ids = ids_of(p);
    int rc = pci_function_new(p->t.env.pci, vdev_name(d), &ids, at->slot, &function_ops, p, &p->f);
    if (rc < 0)
        return rc;
    if (has_legacy(p)) {
        const struct pci_bar bar = {.kind = PCI_BAR_IO,
                                    .size = power_of_two(LEGACY_HEADER + vdev_config_len(d)),
                                    .ops = &virtio_pci_legacy_ops};
        pci_add_bar(p->f, BAR_LEGACY, &bar);
    }
    pci_add_msix(p->f, BAR_MSIX, MIN(p->n_queues + 1, (unsigned)MSIX_VECTORS_MAX));
    if (has_modern(p)) {
        add_modern(p);
        add_shm(p);
    }
    return pci_function_start(p->f);
}

/* --- one of the transports --- */

void virtio_pci_registers_reset(struct virtio_pci *p)
{
    (void)virtio_pci_isr_read(p);
    p->device_feature_select = p->driver_feature_select = 0;
    p->queue_select = 0;
    atomic_store(&p->config_vector, PCI_NO_VECTOR);
    for (unsigned i = 0; i < p->n_queues; i++)
        atomic_store(&p->queues[i].vector, PCI_NO_VECTOR);
    pci_msix_forget(p->f); /* no event is mapped, so none may arrive: 4.1.5.1.2.1 */
}

static void reset(struct transport *t)
{
    struct virtio_pci *p = virtio_pci_of(t);
    (void)pthread_mutex_lock(&t->lock);
    virtio_pci_registers_reset(p);
    (void)pthread_mutex_unlock(&t->lock);
    pci_function_reset(p->f);
}

static void save(struct transport *t, struct state_out *s)
{
    struct virtio_pci *p = virtio_pci_of(t);
    pci_function_save(p->f, s);
    state_begin(s, "VPCI", STATE_VERSION);
    state_u8(s, p->isr);
    state_u32(s, p->device_feature_select);
    state_u32(s, p->driver_feature_select);
    state_u16(s, p->queue_select);
    state_u16(s, atomic_load(&p->config_vector));
    for (unsigned i = 0; i < p->n_queues; i++)
        state_u16(s, atomic_load(&p->queues[i].vector));
    state_end(s);
}

static int load_registers(struct virtio_pci *p, struct state_in *s)
{
    uint32_t version;
    int rc = state_open(s, "VPCI", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    uint8_t isr = state_get_u8(s) & (ISR_QUEUE | ISR_CONFIG);
    p->device_feature_select = state_get_u32(s);
    p->driver_feature_select = state_get_u32(s);
    p->queue_select = state_get_u16(s);
    virtio_pci_set_vector(p, &p->config_vector, state_get_u16(s));
    for (unsigned i = 0; i < p->n_queues; i++)
        virtio_pci_set_vector(p, &p->queues[i].vector, state_get_u16(s));
    rc = state_close(s);
    if (rc == 0 && isr)
        isr_raise(p, isr);
    return rc;
}

static int load(struct transport *t, struct state_in *s)
{
    struct virtio_pci *p = virtio_pci_of(t);
    int rc = pci_function_load(p->f, s);
    if (rc == 0)
        rc = load_registers(p, s);
    if (rc < 0)
        reset(t);
    return rc;
}

static void destroy(struct virtio_pci *p)
{
    pci_function_free(p->f);
    (void)pthread_mutex_destroy(&p->isr_lock);
    (void)pthread_mutex_destroy(&p->doorbell_lock);
    transport_destroy(&p->t);
    free(p);
}

static void shell_free(struct transport *t)
{
    destroy(virtio_pci_of(t));
}

static const struct transport_ops virtio_pci_ops = {
    .reset = reset, .save = save, .load = load, .free = shell_free};

/* Everything but SR-IOV, and what the specification reserves (6). */
static const uint32_t carried[VDEV_FEATURE_WORDS] = {
    UINT32_MAX,
    0xfffc0000 | 1u << (VIRTIO_F_VERSION_1 - 32) | 1u << (VIRTIO_F_ACCESS_PLATFORM - 32) |
        1u << (VIRTIO_F_RING_PACKED - 32) | 1u << (VIRTIO_F_IN_ORDER - 32) |
        1u << (VIRTIO_F_ORDER_PLATFORM - 32) | 1u << (VDEV_F_NOTIFICATION_DATA - 32) |
        1u << (VDEV_F_NOTIF_CONFIG_DATA - 32) | 1u << (VIRTIO_F_RING_RESET - 32) |
        1u << (VDEV_F_ADMIN_VQ - 32) | 1u << (VDEV_F_SUSPEND - 32),
    UINT32_MAX,
    UINT32_MAX,
};

int virtio_pci_new(struct vdev *d, enum transport_kind k, const struct transport_place *at,
                   const struct transport_env *env, struct transport **out)
{
    unsigned n = vdev_queue_count(d) + vdev_has_admin_queue(d);
    struct virtio_pci *p = calloc(1, sizeof(*p) + n * sizeof(p->queues[0]));
    if (!p)
        return -ENOMEM;
    transport_init(&p->t, &virtio_pci_ops, d, env);
    p->t.port = (struct vdev_port){.raise = raise_irq,
                                   .listen = listen,
                                   .modern = k != TRANSPORT_PCI_LEGACY,
                                   .legacy = k != TRANSPORT_PCI};
    p->kind = k;
    p->n_queues = n;
    (void)pthread_mutex_init(&p->isr_lock, NULL);
    (void)pthread_mutex_init(&p->doorbell_lock, NULL);
    vdev_attach(d, &p->t.port, carried); /* its last word on the administration virtqueue */
    int rc = build(p, at);
    if (rc < 0) {
        destroy(p);
        return rc;
    }
    virtio_pci_registers_reset(p);
    *out = &p->t;
    return 0;
}
