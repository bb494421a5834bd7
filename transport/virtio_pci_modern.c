/* transport/virtio_pci_modern.c - the structures that virtio 1.x drivers use: common configuration,
 * ISR, device configuration, notifications (virtio 1.4, 4.1.4.3 to 4.1.4.6). */
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "transport/virtio_pci.h"

/* Newer than the UAPI header. */
enum {
    QUEUE_NOTIF_CONFIG = 56,
    QUEUE_RESET = 58,
    ADMIN_INDEX = 60,
    ADMIN_NUM = 62,
    COMMON_LEN = 64
};

static bool available(const struct virtio_pci *p, unsigned queue)
{
    if (queue < vdev_queue_count(p->t.dev))
        return true;
    return queue < p->n_queues && vdev_has(p->t.dev, VDEV_F_ADMIN_VQ);
}

static void fill_queue(struct virtio_pci *p, uint8_t c[COMMON_LEN])
{
    unsigned i = p->queue_select;
    const struct vq_config *q = available(p, i) ? vdev_queue_config(p->t.dev, i) : NULL;
    put_bytes(c + VIRTIO_PCI_COMMON_Q_MSIX, PCI_NO_VECTOR, 2);
    if (!q)
        return;
    put_bytes(c + VIRTIO_PCI_COMMON_Q_SIZE, q->size, 2);
    put_bytes(c + VIRTIO_PCI_COMMON_Q_MSIX, atomic_load(&p->queues[i].vector), 2);
    put_bytes(c + VIRTIO_PCI_COMMON_Q_ENABLE, q->enabled, 2);
    put_bytes(c + VIRTIO_PCI_COMMON_Q_NOFF, i, 2);
    put_bytes(c + VIRTIO_PCI_COMMON_Q_DESCLO, q->desc.v, 8);
    put_bytes(c + VIRTIO_PCI_COMMON_Q_AVAILLO, q->driver.v, 8);
    put_bytes(c + VIRTIO_PCI_COMMON_Q_USEDLO, q->device.v, 8);
    if (vdev_has(p->t.dev, VDEV_F_NOTIF_CONFIG_DATA))
        put_bytes(c + QUEUE_NOTIF_CONFIG, i, 2);
    /* QUEUE_RESET reads 0: a reset has always ended when its write has. */
}

/* The whole structure, of which any width at any place can be read. */
static void fill_common(struct virtio_pci *p, uint8_t c[COMMON_LEN])
{
    struct vdev *d = p->t.dev;
    put_bytes(c + VIRTIO_PCI_COMMON_DFSELECT, p->device_feature_select, 4);
    put_bytes(c + VIRTIO_PCI_COMMON_DF, vdev_features(d, p->device_feature_select), 4);
    put_bytes(c + VIRTIO_PCI_COMMON_GFSELECT, p->driver_feature_select, 4);
    put_bytes(c + VIRTIO_PCI_COMMON_GF, vdev_features_driver(d, p->driver_feature_select), 4);
    put_bytes(c + VIRTIO_PCI_COMMON_MSIX, atomic_load(&p->config_vector), 2);
    put_bytes(c + VIRTIO_PCI_COMMON_NUMQ, vdev_queue_count(d), 2);
    c[VIRTIO_PCI_COMMON_STATUS] = vdev_status(d);
    c[VIRTIO_PCI_COMMON_CFGGENERATION] = (uint8_t)vdev_generation(d);
    put_bytes(c + VIRTIO_PCI_COMMON_Q_SELECT, p->queue_select, 2);
    fill_queue(p, c);
    if (vdev_has_admin_queue(d)) {
        put_bytes(c + ADMIN_INDEX, vdev_queue_count(d), 2);
        put_bytes(c + ADMIN_NUM, 1, 2);
    }
}

static uint64_t common_read(struct virtio_pci *p, unsigned off, unsigned size)
{
    uint8_t c[COMMON_LEN] = {0};
    if (off >= COMMON_LEN)
        return 0;
    fill_common(p, c);
    return get_bytes(c + off, MIN(size, COMMON_LEN - off));
}

static void size_write(struct virtio_pci *p, uint16_t size)
{
    struct vq_config *q = vdev_queue_program(p->t.dev, p->queue_select);
    bool power = (size & (size - 1)) == 0;
    /* What is shown must be a power of two, unless rings are packed (4.1.4.3.1). */
    if (q && (power || vdev_has(p->t.dev, VIRTIO_F_RING_PACKED)))
        q->size = size;
}

static void area_write(struct virtio_pci *p, unsigned off, uint32_t v)
{
    struct vq_config *q = vdev_queue_program(p->t.dev, p->queue_select);
    if (!q)
        return;
    gpa_t *area = off < VIRTIO_PCI_COMMON_Q_AVAILLO  ? &q->desc
                  : off < VIRTIO_PCI_COMMON_Q_USEDLO ? &q->driver
                                                     : &q->device;
    bool high = (off - VIRTIO_PCI_COMMON_Q_DESCLO) % 8 == 4;
    area->v =
        high ? (area->v & 0xffffffff) | (uint64_t)v << 32 : (area->v & 0xffffffff00000000) | v;
}

/* 2.6.1.1: any state of it, and the vector is one of its fields. */
static void queue_reset(struct virtio_pci *p, unsigned i)
{
    if (!available(p, i) || !vdev_has(p->t.dev, VIRTIO_F_RING_RESET))
        return;
    vdev_queue_reset(p->t.dev, i);
    if (!vdev_queue_config(p->t.dev, i)->enabled) /* it is not the time while it is suspended */
        atomic_store(&p->queues[i].vector, PCI_NO_VECTOR);
}

static void write32(struct virtio_pci *p, unsigned off, uint32_t v)
{
    switch (off) {
    case VIRTIO_PCI_COMMON_DFSELECT:
        p->device_feature_select = v;
        break;
    case VIRTIO_PCI_COMMON_GFSELECT:
        p->driver_feature_select = v;
        break;
    case VIRTIO_PCI_COMMON_GF:
        vdev_features_write(p->t.dev, p->driver_feature_select, v);
        break;
    default:
        if (off >= VIRTIO_PCI_COMMON_Q_DESCLO && off <= VIRTIO_PCI_COMMON_Q_USEDHI && off % 4 == 0)
            area_write(p, off, v);
        break;
    }
}

static void write16(struct virtio_pci *p, unsigned off, uint16_t v)
{
    unsigned i = p->queue_select;
    switch (off) {
    case VIRTIO_PCI_COMMON_MSIX:
        virtio_pci_set_vector(p, &p->config_vector, v);
        break;
    case VIRTIO_PCI_COMMON_Q_SELECT:
        p->queue_select = v;
        break;
    case VIRTIO_PCI_COMMON_Q_SIZE:
        size_write(p, v);
        break;
    case VIRTIO_PCI_COMMON_Q_MSIX:
        if (available(p, i))
            virtio_pci_set_vector(p, &p->queues[i].vector, v);
        break;
    case VIRTIO_PCI_COMMON_Q_ENABLE:
        if (v == 1) /* a driver never writes 0: 4.1.4.3.2 */
            vdev_queue_enable(p->t.dev, i);
        break;
    case QUEUE_RESET:
        if (v == 1)
            queue_reset(p, i);
        break;
    default:
        break;
    }
}

static void common_write(struct virtio_pci *p, unsigned off, unsigned size, uint64_t v)
{
    if (size == 8) { /* a 64-bit field is two of 32 bits */
        write32(p, off, (uint32_t)v);
        write32(p, off + 4, (uint32_t)(v >> 32));
    } else if (size == 4) {
        write32(p, off, (uint32_t)v);
    } else if (size == 2) {
        write16(p, off, (uint16_t)v);
    } else if (size == 1 && off == VIRTIO_PCI_COMMON_STATUS) {
        vdev_status_write(p->t.dev, (uint8_t)v);
        if (v == 0)
            virtio_pci_registers_reset(p);
    }
}

static uint64_t regs_read(void *ctx, uint64_t off, unsigned size)
{
    struct virtio_pci *p = ctx;
    unsigned at = (unsigned)(off % REGS_STRIDE);
    uint64_t v = 0;
    switch (off - at) {
    case REGS_COMMON:
        (void)pthread_mutex_lock(&p->t.lock);
        v = common_read(p, at, size);
        (void)pthread_mutex_unlock(&p->t.lock);
        break;
    case REGS_ISR:
        v = at == 0 ? virtio_pci_isr_read(p) : 0;
        break;
    case REGS_DEVICE:
        vdev_config_get(p->t.dev, at, &v, size);
        break;
    default:
        break;
    }
    return v;
}

static void regs_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct virtio_pci *p = ctx;
    unsigned at = (unsigned)(off % REGS_STRIDE);
    switch (off - at) {
    case REGS_COMMON:
        (void)pthread_mutex_lock(&p->t.lock);
        common_write(p, at, size, val);
        (void)pthread_mutex_unlock(&p->t.lock);
        break;
    case REGS_ISR:
        break;
    case REGS_DEVICE:
        vdev_config_set(p->t.dev, at, &val, size);
        break;
    default: /* a doorbell that is not bound: where it is says which, whatever the value */
        if (off % NOTIFY_MULTIPLIER == 0)
            vdev_kick(p->t.dev, (unsigned)(off - REGS_NOTIFY) / NOTIFY_MULTIPLIER);
        break;
    }
}

const struct region_ops virtio_pci_regs_ops = {.read = regs_read, .write = regs_write};
