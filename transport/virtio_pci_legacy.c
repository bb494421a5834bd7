/* transport/virtio_pci_legacy.c - the I/O BAR of virtio 0.9.5 (virtio 1.4, 4.1.4.10): one header of
 * fixed places, and the device's configuration behind it, which moves when MSI-X is on. */
#include <linux/virtio_pci.h>

#include "transport/virtio_pci.h"

enum { PAGE_SHIFT = VIRTIO_PCI_QUEUE_ADDR_SHIFT, ALIGN = VIRTIO_PCI_VRING_ALIGN };

static unsigned config_at(const struct virtio_pci *p)
{
    return VIRTIO_PCI_CONFIG_OFF(pci_msix_enabled(p->f));
}

static uint32_t header_read(struct virtio_pci *p, unsigned off)
{
    struct vdev *d = p->t.dev;
    unsigned i = p->queue_select;
    const struct vq_config *q = i < vdev_queue_count(d) ? vdev_queue_config(d, i) : NULL;
    switch (off) {
    case VIRTIO_PCI_HOST_FEATURES:
        return vdev_legacy_features(d);
    case VIRTIO_PCI_GUEST_FEATURES:
        return vdev_features_driver(d, 0);
    case VIRTIO_PCI_QUEUE_PFN:
        return q && q->enabled ? (uint32_t)(q->desc.v >> PAGE_SHIFT) : 0;
    case VIRTIO_PCI_QUEUE_NUM:
        return q ? q->max_size : 0; /* there is no way to have less */
    case VIRTIO_PCI_QUEUE_SEL:
        return i;
    case VIRTIO_PCI_STATUS:
        return vdev_status(d);
    case VIRTIO_PCI_ISR:
        return virtio_pci_isr_read(p);
    case VIRTIO_MSI_CONFIG_VECTOR:
        return atomic_load(&p->config_vector);
    case VIRTIO_MSI_QUEUE_VECTOR:
        return q ? atomic_load(&p->queues[i].vector) : PCI_NO_VECTOR;
    default:
        return 0;
    }
}

static void header_write(struct virtio_pci *p, unsigned off, uint32_t v)
{
    struct vdev *d = p->t.dev;
    unsigned i = p->queue_select;
    const struct vq_config *q = i < vdev_queue_count(d) ? vdev_queue_config(d, i) : NULL;
    switch (off) {
    case VIRTIO_PCI_GUEST_FEATURES:
        vdev_legacy_features_write(d, v);
        break;
    case VIRTIO_PCI_QUEUE_PFN:
        if (q)
            legacy_queue_set(d, i, q->max_size, GPA((uint64_t)v << PAGE_SHIFT), ALIGN);
        break;
    case VIRTIO_PCI_QUEUE_SEL:
        p->queue_select = (uint16_t)v;
        break;
    case VIRTIO_PCI_STATUS:
        vdev_legacy_status_write(d, (uint8_t)v);
        if ((uint8_t)v == 0)
            virtio_pci_registers_reset(p);
        break;
    case VIRTIO_MSI_CONFIG_VECTOR:
        virtio_pci_set_vector(p, &p->config_vector, (uint16_t)v);
        break;
    case VIRTIO_MSI_QUEUE_VECTOR:
        if (q)
            virtio_pci_set_vector(p, &p->queues[i].vector, (uint16_t)v);
        break;
    default:
        break;
    }
}

/* Each field has its own width; another one reads zero and is not written. A notification is no
 * field. `off` is in front of the device's configuration, wherever that is. */
static bool is_field(unsigned off, unsigned size)
{
    static const uint8_t widths[VIRTIO_PCI_CONFIG_OFF(true)] = {
        [VIRTIO_PCI_HOST_FEATURES] = 4, [VIRTIO_PCI_GUEST_FEATURES] = 4,
        [VIRTIO_PCI_QUEUE_PFN] = 4,     [VIRTIO_PCI_QUEUE_NUM] = 2,
        [VIRTIO_PCI_QUEUE_SEL] = 2,     [VIRTIO_PCI_STATUS] = 1,
        [VIRTIO_PCI_ISR] = 1,           [VIRTIO_MSI_CONFIG_VECTOR] = 2,
        [VIRTIO_MSI_QUEUE_VECTOR] = 2};
    return widths[off] == size;
}

static uint64_t legacy_read(void *ctx, uint64_t off, unsigned size)
{
    struct virtio_pci *p = ctx;
    unsigned config = config_at(p);
    uint64_t v = 0;
    if (off >= config) {
        vdev_config_get(p->t.dev, off - config, &v, size);
    } else if (is_field((unsigned)off, size)) {
        (void)pthread_mutex_lock(&p->t.lock);
        v = header_read(p, (unsigned)off);
        (void)pthread_mutex_unlock(&p->t.lock);
    }
    return v;
}

static void legacy_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct virtio_pci *p = ctx;
    unsigned config = config_at(p);
    if (off >= config) {
        vdev_config_set(p->t.dev, off - config, &val, size);
    } else if (off == VIRTIO_PCI_QUEUE_NOTIFY) { /* a doorbell that is not bound */
        vdev_kick(p->t.dev, (uint16_t)val);
    } else if (is_field((unsigned)off, size)) {
        (void)pthread_mutex_lock(&p->t.lock);
        header_write(p, (unsigned)off, (uint32_t)val);
        (void)pthread_mutex_unlock(&p->t.lock);
    }
}

const struct region_ops virtio_pci_legacy_ops = {.read = legacy_read, .write = legacy_write};
