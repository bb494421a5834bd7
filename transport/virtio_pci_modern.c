/* transport/virtio_pci_modern.c - the structures that virtio 1.x drivers use: common configuration,
 * ISR, device configuration, notifications (virtio 1.4, 4.1.4.3 to 4.1.4.6). */
#include <assert.h>
#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "transport/virtio_pci.h"

/* The common configuration, little-endian (4.1.4.3); the UAPI header's has not all of it. */
struct common {
    uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
    uint16_t config_vector, num_queues;
    uint8_t status, generation;
    uint16_t queue_select;
    uint16_t queue_size, queue_vector, queue_enable, queue_notify_off;
    uint64_t queue_desc, queue_driver, queue_device;
    uint16_t queue_notif_config, queue_reset, admin_index, admin_num;
};
static_assert(sizeof(struct common) == COMMON_LEN, "as it is declared to drivers");

static bool available(const struct virtio_pci *p, unsigned queue)
{
    if (queue < vdev_queue_count(p->t.dev))
        return true;
    return queue < p->n_queues && vdev_has(p->t.dev, VDEV_F_ADMIN_VQ);
}

static void fill_queue(struct virtio_pci *p, struct common *c)
{
    unsigned i = p->queue_select;
    const struct vq_config *q = available(p, i) ? vdev_queue_config(p->t.dev, i) : NULL;
    c->queue_vector = htole16(PCI_NO_VECTOR);
    if (!q)
        return;
    c->queue_size = htole16(q->size);
    c->queue_vector = htole16(atomic_load(&p->queues[i].vector));
    c->queue_enable = htole16(q->enabled);
    c->queue_notify_off = htole16((uint16_t)i);
    c->queue_desc = htole64(q->desc.v);
    c->queue_driver = htole64(q->driver.v);
    c->queue_device = htole64(q->device.v);
    if (vdev_has(p->t.dev, VDEV_F_NOTIF_CONFIG_DATA))
        c->queue_notif_config = htole16((uint16_t)i);
    /* queue_reset reads 0: a reset has always ended when its write has. */
}

/* The whole structure, of which any width at any place can be read. */
static uint64_t common_read(struct virtio_pci *p, unsigned off, unsigned size)
{
    struct vdev *d = p->t.dev;
    struct common c = {
        .device_feature_select = htole32(p->device_feature_select),
        .device_feature = htole32(vdev_features(d, p->device_feature_select)),
        .driver_feature_select = htole32(p->driver_feature_select),
        .driver_feature = htole32(vdev_features_driver(d, p->driver_feature_select)),
        .config_vector = htole16(atomic_load(&p->config_vector)),
        .num_queues = htole16((uint16_t)vdev_queue_count(d)),
        .status = vdev_status(d),
        .generation = (uint8_t)vdev_generation(d),
        .queue_select = htole16(p->queue_select),
    };
    fill_queue(p, &c);
    if (vdev_has_admin_queue(d)) {
        c.admin_index = c.num_queues; /* behind the others */
        c.admin_num = htole16(1);
    }
    return off < sizeof(c) ? get_bytes((uint8_t *)&c + off, MIN(size, sizeof(c) - off)) : 0;
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
    case offsetof(struct common, queue_reset):
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
