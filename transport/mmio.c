/* transport/mmio.c - virtio-mmio, version 2 (virtio 1.4, 4.2.2): a register file in front of
 * vdev_ctl.h. Control registers answer aligned 32-bit accesses only; anything else reads as zero
 * and is not written. */
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdatomic.h>

#include "transport/transport.h"

enum {
    MAGIC = 0x74726976, /* "virt" */
    VERSION = 2,
    VENDOR = 0x4d4d5600, /* "\0VMM" */
    WINDOW = 0x1000,
    QUEUE_RESET = 0x0c0, /* newer than the UAPI header */
    STATE_VERSION = 1,
};

struct mmio_transport {
    struct vdev_port port;
    struct vdev *dev;
    struct bus *bus;
    gpa_t base;
    int irq_fd;
    atomic_uint interrupt_status;
    pthread_mutex_t lock; /* the selectors, and what is done to what they select */
    uint32_t device_features_sel, driver_features_sel, queue_sel, shm_sel;
};

/* 4.2.2: a bit stays until it is acknowledged. The line is pulsed each time, also while a bit is
 * pending: a pulse that met a masked pin is lost, and the next one mends that. */
static void raise_irq(struct vdev_port *p, enum vdev_irq why, unsigned queue)
{
    (void)queue;
    struct mmio_transport *t = container_of(p, struct mmio_transport, port);
    unsigned bit = why == VDEV_IRQ_QUEUE ? VIRTIO_MMIO_INT_VRING : VIRTIO_MMIO_INT_CONFIG;
    (void)atomic_fetch_or(&t->interrupt_status, bit);
    uint64_t one = 1;
    if (write(t->irq_fd, &one, sizeof(one)) < 0)
        return; /* only a closed descriptor fails, and this one is ours */
}

static uint32_t shm_word(struct mmio_transport *t, uint64_t off)
{
    gpa_t base;
    uint64_t len;
    if (!vdev_shm(t->dev, t->shm_sel, &base, &len))
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

static uint32_t reg_read(struct mmio_transport *t, uint64_t off)
{
    const struct vq_config *q = vdev_queue_config(t->dev, t->queue_sel);
    switch (off) {
    case VIRTIO_MMIO_MAGIC_VALUE:
        return MAGIC;
    case VIRTIO_MMIO_VERSION:
        return VERSION;
    case VIRTIO_MMIO_DEVICE_ID:
        return vdev_id(t->dev);
    case VIRTIO_MMIO_VENDOR_ID:
        return VENDOR;
    case VIRTIO_MMIO_DEVICE_FEATURES:
        return vdev_features(t->dev, t->device_features_sel);
    case VIRTIO_MMIO_QUEUE_NUM_MAX:
        return q ? q->max_size : 0;
    case VIRTIO_MMIO_QUEUE_READY:
        return q ? q->enabled : 0;
    case VIRTIO_MMIO_INTERRUPT_STATUS:
        return atomic_load(&t->interrupt_status);
    case VIRTIO_MMIO_STATUS:
        return vdev_status(t->dev);
    case VIRTIO_MMIO_SHM_LEN_LOW:
    case VIRTIO_MMIO_SHM_LEN_HIGH:
    case VIRTIO_MMIO_SHM_BASE_LOW:
    case VIRTIO_MMIO_SHM_BASE_HIGH:
        return shm_word(t, off);
    case VIRTIO_MMIO_CONFIG_GENERATION:
        return vdev_generation(t->dev);
    default: /* QUEUE_RESET among them: a reset has always ended when its write has */
        return 0;
    }
}

static void set_low(gpa_t *a, uint32_t v)
{
    a->v = (a->v & 0xffffffff00000000) | v;
}

static void set_high(gpa_t *a, uint32_t v)
{
    a->v = (a->v & 0xffffffff) | (uint64_t)v << 32;
}

static void queue_write(struct mmio_transport *t, uint64_t off, uint32_t v)
{
    struct vq_config *q = vdev_queue_program(t->dev, t->queue_sel);
    if (!q)
        return;
    switch (off) {
    case VIRTIO_MMIO_QUEUE_NUM:
        q->size = v <= UINT16_MAX ? (uint16_t)v : 0; /* 0 is refused when it is enabled */
        break;
    case VIRTIO_MMIO_QUEUE_DESC_LOW:
        set_low(&q->desc, v);
        break;
    case VIRTIO_MMIO_QUEUE_DESC_HIGH:
        set_high(&q->desc, v);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
        set_low(&q->driver, v);
        break;
    case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
        set_high(&q->driver, v);
        break;
    case VIRTIO_MMIO_QUEUE_USED_LOW:
        set_low(&q->device, v);
        break;
    case VIRTIO_MMIO_QUEUE_USED_HIGH:
        set_high(&q->device, v);
        break;
    default:
        break;
    }
}

static void reg_write(struct mmio_transport *t, uint64_t off, uint32_t v)
{
    switch (off) {
    case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
        t->device_features_sel = v;
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES:
        vdev_features_write(t->dev, t->driver_features_sel, v);
        break;
    case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
        t->driver_features_sel = v;
        break;
    case VIRTIO_MMIO_QUEUE_SEL:
        t->queue_sel = v;
        break;
    case VIRTIO_MMIO_QUEUE_READY:
        if (v & 1)
            vdev_queue_enable(t->dev, t->queue_sel);
        else
            vdev_queue_disable(t->dev, t->queue_sel);
        break;
    case QUEUE_RESET:
        if (v & 1)
            vdev_queue_reset(t->dev, t->queue_sel);
        break;
    case VIRTIO_MMIO_INTERRUPT_ACK:
        (void)atomic_fetch_and(&t->interrupt_status, ~v);
        break;
    case VIRTIO_MMIO_STATUS:
        if (v <= UINT8_MAX)
            vdev_status_write(t->dev, (uint8_t)v);
        if (v == 0)
            atomic_store(&t->interrupt_status, 0);
        break;
    case VIRTIO_MMIO_SHM_SEL:
        t->shm_sel = v;
        break;
    default:
        queue_write(t, off, v);
        break;
    }
}

static bool is_register(uint64_t off, unsigned size)
{
    return off < VIRTIO_MMIO_CONFIG && size == 4 && off % 4 == 0;
}

static uint64_t window_read(void *ctx, uint64_t off, unsigned size)
{
    struct mmio_transport *t = ctx;
    uint64_t v = 0;
    if (off >= VIRTIO_MMIO_CONFIG) {
        vdev_config_get(t->dev, off - VIRTIO_MMIO_CONFIG, &v, size);
    } else if (is_register(off, size)) {
        (void)pthread_mutex_lock(&t->lock);
        v = reg_read(t, off);
        (void)pthread_mutex_unlock(&t->lock);
    }
    return v;
}

static void window_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct mmio_transport *t = ctx;
    if (off >= VIRTIO_MMIO_CONFIG) {
        vdev_config_set(t->dev, off - VIRTIO_MMIO_CONFIG, &val, size);
    } else if (is_register(off, size)) {
        if (off == VIRTIO_MMIO_QUEUE_NOTIFY) { /* a doorbell that was not bound */
            vdev_kick(t->dev, (uint32_t)val);
            return;
        }
        (void)pthread_mutex_lock(&t->lock);
        reg_write(t, off, (uint32_t)val);
        (void)pthread_mutex_unlock(&t->lock);
    }
}

static const struct region_ops window_ops = {.read = window_read, .write = window_write};

/* Everything but what the specification keeps for PCI or reserves (4.2, 6). */
static const uint32_t carried[VDEV_FEATURE_WORDS] = {
    UINT32_MAX,
    /* VERSION_1, ACCESS_PLATFORM, PACKED, IN_ORDER, ORDER_PLATFORM, RING_RESET; 50 and above */
    0xfffc0000 | 1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8,
    UINT32_MAX,
    UINT32_MAX,
};

int mmio_transport_new(struct vdev *d, const struct transport_env *env, gpa_t base, int irq_fd,
                       struct mmio_transport **out)
{
    struct mmio_transport *t = calloc(1, sizeof(*t));
    if (!t)
        return -ENOMEM;
    t->port.raise = raise_irq;
    t->dev = d;
    t->bus = env->mmio;
    t->base = base;
    t->irq_fd = irq_fd;
    (void)pthread_mutex_init(&t->lock, NULL);
    const struct region r = {
        .name = vdev_name(d), .base = base, .len = WINDOW, .ops = &window_ops, .ctx = t};
    int rc = bus_map(env->mmio, &r);
    if (rc < 0) {
        (void)pthread_mutex_destroy(&t->lock);
        free(t);
        return rc;
    }
    vdev_attach(d, &t->port, carried);
    for (unsigned i = 0; i < vdev_queue_count(d); i++) {
        gpa_t at = GPA(base.v + VIRTIO_MMIO_QUEUE_NOTIFY);
        if (env->doorbell(env->ctx, at, 4, i, vdev_kick_fd(d, i)) < 0)
            continue; /* its notifications trap instead, and mean the same */
    }
    *out = t;
    return 0;
}

void mmio_transport_free(struct mmio_transport *t)
{
    if (!t)
        return;
    bus_unmap(t->bus, t->base);
    vdev_free(t->dev);
    fd_cleanup_(&t->irq_fd);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

void mmio_transport_reset(struct mmio_transport *t)
{
    vdev_reset(t->dev);
    (void)pthread_mutex_lock(&t->lock);
    atomic_store(&t->interrupt_status, 0);
    t->device_features_sel = t->driver_features_sel = t->queue_sel = t->shm_sel = 0;
    (void)pthread_mutex_unlock(&t->lock);
}

void mmio_transport_save(struct mmio_transport *t, struct state_out *s)
{
    state_begin(s, "MMIO", STATE_VERSION);
    state_u32(s, atomic_load(&t->interrupt_status));
    state_u32(s, t->device_features_sel);
    state_u32(s, t->driver_features_sel);
    state_u32(s, t->queue_sel);
    state_u32(s, t->shm_sel);
    state_end(s);
    vdev_save(t->dev, s);
}

int mmio_transport_load(struct mmio_transport *t, struct state_in *s)
{
    uint32_t version;
    int rc = state_open(s, "MMIO", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    uint32_t interrupts = state_get_u32(s) & (VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
    uint32_t sel[4];
    for (size_t i = 0; i < ARRAY_SIZE(sel); i++)
        sel[i] = state_get_u32(s);
    rc = state_close(s);
    if (rc == 0)
        rc = vdev_load(t->dev, s);
    if (rc < 0)
        return rc;
    atomic_store(&t->interrupt_status, interrupts);
    t->device_features_sel = sel[0];
    t->driver_features_sel = sel[1];
    t->queue_sel = sel[2];
    t->shm_sel = sel[3];
    return 0;
}
