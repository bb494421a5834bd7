/* transport/mmio.c - virtio-mmio: version 2 (virtio 1.4, 4.2.2) and the legacy version 1 (4.2.4), a
 * register file in front of vdev_ctl.h. Control registers answer aligned 32-bit accesses only;
 * anything else reads as zero and is not written. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdatomic.h>

#include "transport/transport_priv.h"

enum {
    MAGIC = 0x74726976,  /* "virt" */
    VENDOR = 0x4d4d5600, /* "\0VMM" */
    WINDOW = 0x1000,
    QUEUE_RESET = 0x0c0, /* newer than the UAPI header */
    STATE_VERSION = 2,
};

struct mmio {
    struct transport t;
    gpa_t base;
    int irq_fd;
    bool legacy;
    atomic_uint interrupt_status;
    uint32_t device_features_sel, driver_features_sel, queue_sel, shm_sel;
    unsigned listening;     /* queues that take notifications; under the device's control lock */
    uint32_t page_size;     /* legacy: the unit of QueuePFN, */
    uint32_t queue_align[]; /* and where each used ring begins */
};

/* 4.2.2: a bit stays until it is acknowledged. The line is pulsed each time, also while a bit is
 * pending: a pulse that met a masked pin is lost, and the next one mends that. */
static void raise_irq(struct vdev_port *p, enum vdev_irq why, unsigned queue)
{
    (void)queue;
    struct mmio *m = container_of(p, struct mmio, t.port);
    unsigned bit = why == VDEV_IRQ_QUEUE ? VIRTIO_MMIO_INT_VRING : VIRTIO_MMIO_INT_CONFIG;
    (void)atomic_fetch_or(&m->interrupt_status, bit);
    event_signal(m->irq_fd);
}

/* All queues ring at one address, told apart by the value. With NOTIFICATION_DATA the value says
 * more than the queue (2.9), so one doorbell for any value wakes all of them. */
static void listen(struct vdev_port *p, unsigned queue, bool on)
{
    struct mmio *m = container_of(p, struct mmio, t.port);
    struct doorbell b = {.at = m->base.v + VIRTIO_MMIO_QUEUE_NOTIFY, .len = 4, .value = queue};
    bool edge = on ? m->listening++ == 0 : --m->listening == 0;
    if (vdev_has(m->t.dev, VDEV_F_NOTIFICATION_DATA)) {
        if (!edge)
            return;
        b.any = true;
        b.value = 0;
    }
    b.fd = b.any ? vdev_kick_all_fd(m->t.dev) : vdev_kick_fd(m->t.dev, queue);
    if (m->t.env.doorbell(m->t.env.ctx, &b, on) < 0)
        return; /* its notifications trap instead, and mean the same */
}

/* --- what both versions have --- */

/* An administration virtqueue is PCI's alone (2.13): there is none behind the others here. */
static const struct vq_config *selected(const struct mmio *m)
{
    return m->queue_sel < vdev_queue_count(m->t.dev) ? vdev_queue_config(m->t.dev, m->queue_sel)
                                                     : NULL;
}

static uint32_t common_read(struct mmio *m, uint64_t off)
{
    const struct vq_config *q = selected(m);
    switch (off) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MAGIC;
    case VIRTIO_MMIO_VERSION:
        return m->legacy ? 1 : 2;
    case VIRTIO_MMIO_DEVICE_ID:
        return vdev_id(m->t.dev);
    case VIRTIO_MMIO_VENDOR_ID:
        return VENDOR;
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return q ? q->max_size : 0;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        return atomic_load(&m->interrupt_status);
    case VIRTIO_MMIO_STATUS:
        return vdev_status(m->t.dev);
    default:
        return 0;
    }
}

static void status_write(struct mmio *m, uint32_t v)
{
    if (v > UINT8_MAX)
        return;
    if (m->legacy)
        vdev_legacy_status_write(m->t.dev, (uint8_t)v);
    else
        vdev_status_write(m->t.dev, (uint8_t)v);
    if (v == 0)
        atomic_store(&m->interrupt_status, 0);
}

static void common_write(struct mmio *m, uint64_t off, uint32_t v)
{
    struct vq_config *q;
    switch (off) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        m->device_features_sel = v;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        m->driver_features_sel = v;
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        m->queue_sel = v;
        break;
    case VIRTIO_MMIO_QUEUE_NUM:
        q = vdev_queue_program(m->t.dev, m->queue_sel);
        if (q)
            q->size = v <= UINT16_MAX ? (uint16_t)v : 0; /* 0 is refused when it is enabled */
        break;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        (void)atomic_fetch_and(&m->interrupt_status, ~v);
        break;
    case VIRTIO_MMIO_STATUS:
        status_write(m, v);
        break;
    default:
        break;
    }
}

/* --- version 2 --- */

static uint32_t shm_word(struct mmio *m, uint64_t off)
{
    gpa_t base;
    uint64_t len;
    if (!vdev_shm(m->t.dev, m->shm_sel, &base, &len))
        return UINT32_MAX;
    switch (off) {
    case VIRTIO_MMIO_SHM_LEN_LOW:
        return (uint32_t)len;
    case VIRTIO_MMIO_SHM_LEN_HIGH:
        return (uint32_t)(len >> 32);
    case VIRTIO_MMIO_SHM_BASE_LOW:
        return (uint32_t)base.v;
    default:
        return (uint32_t)(base.v >> 32);
    }
}

static uint32_t modern_read(struct mmio *m, uint64_t off)
{
    const struct vq_config *q = selected(m);
    switch (off) {
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return vdev_features(m->t.dev, m->device_features_sel);
    case VIRTIO_MMIO_QUEUE_READY:
        return q ? q->enabled : 0;
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
        return shm_word(m, off);
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return vdev_generation(m->t.dev);
    case QUEUE_RESET: /* a reset has always ended when its write has */
        return 0;
    default:
        return common_read(m, off);
    }
}

static void area_write(struct mmio *m, uint64_t off, uint32_t v)
{
    struct vq_config *q = vdev_queue_program(m->t.dev, m->queue_sel);
    if (!q)
        return;
    gpa_t *area = off < VIRTIO_MMIO_QUEUE_AVAIL_LOW  ? &q->desc
                  : off < VIRTIO_MMIO_QUEUE_USED_LOW ? &q->driver
                                                     : &q->device;
    if (off % 16 == 0)
        area->v = (area->v & 0xffffffff00000000) | v;
    else
        area->v = (area->v & 0xffffffff) | (uint64_t)v << 32;
}

static void modern_write(struct mmio *m, uint64_t off, uint32_t v)
{
    switch (off) {
    case VIRTIO_MMIO_DRIVER_FEATURES:
        vdev_features_write(m->t.dev, m->driver_features_sel, v);
        break;
    case VIRTIO_MMIO_QUEUE_READY:
        if (v & 1)
            vdev_queue_enable(m->t.dev, m->queue_sel);
        else
            vdev_queue_disable(m->t.dev, m->queue_sel);
        break;
    case QUEUE_RESET:
        if (v & 1)
            vdev_queue_reset(m->t.dev, m->queue_sel);
        break;
    case VIRTIO_MMIO_SHM_SEL:
        m->shm_sel = v;
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
    case VIRTIO_MMIO_QUEUE_USED_LOW:
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        area_write(m, off, v);
        break;
    default:
        common_write(m, off, v);
        break;
    }
}

/* --- version 1 --- */

static uint32_t legacy_read(struct mmio *m, uint64_t off)
{
    const struct vq_config *q = selected(m);
    switch (off) {
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return m->device_features_sel == 0 ? vdev_legacy_features(m->t.dev) : 0;
    case VIRTIO_MMIO_QUEUE_PFN:
        return q && q->enabled && m->page_size ? (uint32_t)(q->desc.v / m->page_size) : 0;
    default:
        return common_read(m, off);
    }
}

static void legacy_write(struct mmio *m, uint64_t off, uint32_t v)
{
    const struct vq_config *q = selected(m);
    switch (off) {
    case VIRTIO_MMIO_DRIVER_FEATURES:
        if (m->driver_features_sel == 0)
            vdev_legacy_features_write(m->t.dev, v);
        break;
    case VIRTIO_MMIO_GUEST_PAGE_SIZE:
        m->page_size = v;
        break;
    case VIRTIO_MMIO_QUEUE_ALIGN:
        if (q)
            m->queue_align[m->queue_sel] = v;
        break;
    case VIRTIO_MMIO_QUEUE_PFN:
        if (q)
            legacy_queue_set(m->t.dev, m->queue_sel, q->size, GPA((uint64_t)v * m->page_size),
                             m->queue_align[m->queue_sel]);
        break;
    default:
        common_write(m, off, v);
        break;
    }
}

/* --- the window --- */

static bool is_register(uint64_t off, unsigned size)
{
    return off < VIRTIO_MMIO_CONFIG && size == 4 && off % 4 == 0;
}

static uint64_t window_read(void *ctx, uint64_t off, unsigned size)
{
    struct mmio *m = ctx;
    uint64_t v = 0;
    if (off >= VIRTIO_MMIO_CONFIG) {
        vdev_config_get(m->t.dev, off - VIRTIO_MMIO_CONFIG, &v, size);
    } else if (is_register(off, size)) {
        (void)pthread_mutex_lock(&m->t.lock);
        v = m->legacy ? legacy_read(m, off) : modern_read(m, off);
        (void)pthread_mutex_unlock(&m->t.lock);
    }
    return v;
}

static void window_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct mmio *m = ctx;
    if (off >= VIRTIO_MMIO_CONFIG) {
        vdev_config_set(m->t.dev, off - VIRTIO_MMIO_CONFIG, &val, size);
    } else if (is_register(off, size)) {
        if (off == VIRTIO_MMIO_QUEUE_NOTIFY) { /* a doorbell that was not bound */
            bool more = vdev_has(m->t.dev, VDEV_F_NOTIFICATION_DATA);
            vdev_kick(m->t.dev, (uint32_t)val & (more ? UINT16_MAX : UINT32_MAX));
            return;
        }
        (void)pthread_mutex_lock(&m->t.lock);
        if (m->legacy)
            legacy_write(m, off, (uint32_t)val);
        else
            modern_write(m, off, (uint32_t)val);
        (void)pthread_mutex_unlock(&m->t.lock);
    }
}

static const struct region_ops window_ops = {.read = window_read, .write = window_write};

/* --- one of the transports --- */

static void registers_reset(struct mmio *m)
{
    atomic_store(&m->interrupt_status, 0);
    m->device_features_sel = m->driver_features_sel = m->queue_sel = m->shm_sel = 0;
    m->page_size = 0;
    for (unsigned i = 0; i < vdev_queue_count(m->t.dev); i++)
        m->queue_align[i] = 0;
}

static void mmio_reset(struct transport *t)
{
    struct mmio *m = container_of(t, struct mmio, t);
    (void)pthread_mutex_lock(&t->lock);
    registers_reset(m);
    (void)pthread_mutex_unlock(&t->lock);
}

static void mmio_save(struct transport *t, struct state_out *s)
{
    struct mmio *m = container_of(t, struct mmio, t);
    state_begin(s, "MMIO", STATE_VERSION);
    state_u32(s, atomic_load(&m->interrupt_status));
    state_u32(s, m->device_features_sel);
    state_u32(s, m->driver_features_sel);
    state_u32(s, m->queue_sel);
    state_u32(s, m->shm_sel);
    state_u32(s, m->page_size);
    for (unsigned i = 0; i < vdev_queue_count(t->dev); i++)
        state_u32(s, m->queue_align[i]);
    state_end(s);
}

static int mmio_load(struct transport *t, struct state_in *s)
{
    struct mmio *m = container_of(t, struct mmio, t);
    uint32_t version;
    int rc = state_open(s, "MMIO", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    atomic_store(&m->interrupt_status,
                 state_get_u32(s) & (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG));
    m->device_features_sel = state_get_u32(s);
    m->driver_features_sel = state_get_u32(s);
    m->queue_sel = state_get_u32(s);
    m->shm_sel = state_get_u32(s);
    m->page_size = state_get_u32(s);
    for (unsigned i = 0; i < vdev_queue_count(t->dev); i++)
        m->queue_align[i] = state_get_u32(s);
    rc = state_close(s);
    if (rc == 0 && version != STATE_VERSION)
        rc = -EBADMSG;
    if (rc < 0)
        registers_reset(m);
    return rc;
}

static void mmio_free(struct transport *t)
{
    struct mmio *m = container_of(t, struct mmio, t);
    bus_unmap(t->env.mmio, m->base);
    fd_cleanup_(&m->irq_fd);
    transport_destroy(t);
    free(m);
}

static const struct transport_ops mmio_ops = {
    .reset = mmio_reset, .save = mmio_save, .load = mmio_load, .free = mmio_free};

/* Everything but what the specification keeps for PCI or reserves (4.2, 6). */
static const uint32_t carried[VDEV_FEATURE_WORDS] = {
    UINT32_MAX,
    /* 50 and above are the devices'; of those below, what is not PCI's */
    0xfffc0000 | 1u << (VIRTIO_F_VERSION_1 - 32) | 1u << (VIRTIO_F_ACCESS_PLATFORM - 32) |
        1u << (VIRTIO_F_RING_PACKED - 32) | 1u << (VIRTIO_F_IN_ORDER - 32) |
        1u << (VIRTIO_F_ORDER_PLATFORM - 32) | 1u << (VDEV_F_NOTIFICATION_DATA - 32) |
        1u << (VIRTIO_F_RING_RESET - 32) | 1u << (VDEV_F_SUSPEND - 32),
    UINT32_MAX,
    UINT32_MAX,
};

int mmio_new(struct vdev *d, bool legacy, const struct transport_place *at,
             const struct transport_env *env, struct transport **out)
{
    struct mmio *m = calloc(1, sizeof(*m) + vdev_queue_count(d) * sizeof(m->queue_align[0]));
    if (!m)
        return -ENOMEM;
    transport_init(&m->t, &mmio_ops, d, env);
    m->t.port = (struct vdev_port){
        .raise = raise_irq, .listen = listen, .modern = !legacy, .legacy = legacy};
    m->base = at->base;
    m->irq_fd = at->irq_fd;
    m->legacy = legacy;
    const struct region r = {
        .name = vdev_name(d), .base = at->base, .len = WINDOW, .ops = &window_ops, .ctx = m};
    int rc = bus_map(env->mmio, &r);
    if (rc < 0) {
        transport_destroy(&m->t);
        free(m);
        return rc;
    }
    vdev_attach(d, &m->t.port, carried);
    if (!legacy) /* which has no registers for it */
        transport_shm_place(&m->t, true, at->shm.v);
    *out = &m->t;
    return 0;
}
