/* tests/rig/rig_pci_regs.c - a driver's view of virtio's registers over PCI: the structures that
 * capabilities point to (virtio 1.4, 4.1.4.3 to 4.1.4.6), and the legacy I/O BAR (4.1.4.10). */
#include "tests/rig/rig_pci.h"

uint64_t rig_structure(struct rig *r, unsigned type, unsigned off, unsigned size)
{
    const struct rig_cap *c = &r->pci->cap[type];
    uint64_t v = 0;
    cr_assert(c->there && off + size <= c->len, "structure %u has no %u", type, off);
    rig_bar_access(r, c->bar, c->off + off, size, false, &v);
    return v;
}

void rig_structure_set(struct rig *r, unsigned type, unsigned off, unsigned size, uint64_t v)
{
    const struct rig_cap *c = &r->pci->cap[type];
    cr_assert(c->there && off + size <= c->len, "structure %u has no %u", type, off);
    rig_bar_access(r, c->bar, c->off + off, size, true, &v);
}

uint64_t rig_common(struct rig *r, unsigned off, unsigned size)
{
    return rig_structure(r, VIRTIO_PCI_CAP_COMMON_CFG, off, size);
}

void rig_common_set(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    rig_structure_set(r, VIRTIO_PCI_CAP_COMMON_CFG, off, size, v);
}

static unsigned queue_vector(const struct rig *r, uint32_t q)
{
    unsigned v = RIG_VECTOR_QUEUES + q;
    return v < r->pci->vectors ? v : r->pci->vectors - 1;
}

/* --- modern --- */

static uint8_t status(struct rig *r)
{
    return (uint8_t)rig_common(r, VIRTIO_PCI_COMMON_STATUS, 1);
}

static void status_set(struct rig *r, uint8_t s)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_STATUS, 1, s);
}

static uint32_t features(struct rig *r, uint32_t word)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_DFSELECT, 4, word);
    return (uint32_t)rig_common(r, VIRTIO_PCI_COMMON_DF, 4);
}

static void accept(struct rig *r, uint32_t word, uint32_t bits)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_GFSELECT, 4, word);
    rig_common_set(r, VIRTIO_PCI_COMMON_GF, 4, bits);
}

static uint32_t accepted(struct rig *r, uint32_t word)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_GFSELECT, 4, word);
    return (uint32_t)rig_common(r, VIRTIO_PCI_COMMON_GF, 4);
}

static void select_queue(struct rig *r, uint32_t q)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
}

static uint16_t queue_max(struct rig *r, uint32_t q)
{
    select_queue(r, q);
    return (uint16_t)rig_common(r, VIRTIO_PCI_COMMON_Q_SIZE, 2);
}

static void queue_size(struct rig *r, uint32_t q, uint32_t size)
{
    select_queue(r, q);
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
}

static void put_addr(struct rig *r, unsigned low, uint64_t at)
{
    rig_common_set(r, low, 4, (uint32_t)at);
    rig_common_set(r, low + 4, 4, at >> 32);
}

static void queue_areas(struct rig *r, uint32_t q, uint64_t desc, uint64_t driver, uint64_t device)
{
    select_queue(r, q);
    put_addr(r, VIRTIO_PCI_COMMON_Q_DESCLO, desc);
    put_addr(r, VIRTIO_PCI_COMMON_Q_AVAILLO, driver);
    put_addr(r, VIRTIO_PCI_COMMON_Q_USEDLO, device);
}

/* 4.1.5.1.2: a vector that the device could not take reads back as none. */
static void set_vectors(struct rig *r, uint32_t q)
{
    if (r->o.intx)
        return;
    rig_common_set(r, VIRTIO_PCI_COMMON_MSIX, 2, RIG_VECTOR_CONFIG);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2), RIG_VECTOR_CONFIG);
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, queue_vector(r, q));
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), queue_vector(r, q));
}

static void queue_enable(struct rig *r, uint32_t q)
{
    select_queue(r, q);
    set_vectors(r, q);
    r->pci->notify_off[q] =
        (uint32_t)rig_common(r, VIRTIO_PCI_COMMON_Q_NOFF, 2) * r->pci->multiplier;
    r->pci->notify_data[q] = rig_has(r, VDEV_F_NOTIF_CONFIG_DATA)
                                 ? (uint32_t)rig_common(r, RIG_QUEUE_NOTIF_CONFIG, 2)
                                 : q;
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static bool queue_enabled(struct rig *r, uint32_t q)
{
    select_queue(r, q);
    return rig_common(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2);
}

static void queue_reset(struct rig *r, uint32_t q)
{
    select_queue(r, q);
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
}

static bool queue_resetting(struct rig *r, uint32_t q)
{
    select_queue(r, q);
    return rig_common(r, RIG_QUEUE_RESET, 2);
}

/* 4.1.5.2: 32 bits when there is more to say than a queue. */
static void notify(struct rig *r, uint32_t q, uint32_t value)
{
    if (q >= RIG_QUEUES || r->pci->notify_off[q] + 4 > r->pci->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].len)
        return; /* a doorbell that does not exist cannot be rung */
    value = (value & 0xffff0000) | r->pci->notify_data[q];
    rig_structure_set(r, VIRTIO_PCI_CAP_NOTIFY_CFG, r->pci->notify_off[q],
                      rig_has(r, VDEV_F_NOTIFICATION_DATA) ? 4 : 2, value);
}

static void config_read(struct rig *r, unsigned off, unsigned size, uint64_t *v)
{
    const struct rig_cap *c = &r->pci->cap[VIRTIO_PCI_CAP_DEVICE_CFG];
    if (c->there) /* also behind its end */
        rig_bar_access(r, c->bar, c->off + off, size, false, v);
}

static void config_write(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    const struct rig_cap *c = &r->pci->cap[VIRTIO_PCI_CAP_DEVICE_CFG];
    if (c->there)
        rig_bar_access(r, c->bar, c->off + off, size, true, &v);
}

static uint32_t generation(struct rig *r)
{
    return (uint32_t)rig_common(r, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
}

/* With INTx the ISR says what it was, and reading it is the acknowledgement: it is remembered. */
static unsigned pending(struct rig *r)
{
    rig_pci_collect(r);
    if (r->o.intx)
        r->pci->what |= (unsigned)rig_structure(r, VIRTIO_PCI_CAP_ISR_CFG, 0, 1);
    return r->pci->what;
}

static unsigned forget(struct rig *r, unsigned what)
{
    r->pci->what = 0;
    if (r->o.intx) {
        rig_pci_end_of_interrupt(r);
        rig_settle(r);
    }
    return what;
}

static unsigned acknowledge(struct rig *r)
{
    return forget(r, pending(r));
}

static unsigned interrupts(struct rig *r)
{
    rig_pci_collect(r);
    unsigned n = r->pci->count;
    r->pci->count = 0;
    return n;
}

const struct rig_regs rig_pci_regs = {.up = rig_pci_up,
                                      .status = status,
                                      .status_set = status_set,
                                      .features = features,
                                      .accept = accept,
                                      .accepted = accepted,
                                      .queue_max = queue_max,
                                      .queue_size = queue_size,
                                      .queue_areas = queue_areas,
                                      .queue_enable = queue_enable,
                                      .queue_enabled = queue_enabled,
                                      .queue_reset = queue_reset,
                                      .queue_resetting = queue_resetting,
                                      .notify = notify,
                                      .config_read = config_read,
                                      .config_write = config_write,
                                      .generation = generation,
                                      .pending = pending,
                                      .acknowledge = acknowledge,
                                      .interrupts = interrupts};

/* --- legacy: BAR 0, an I/O one --- */

static uint64_t io(struct rig *r, unsigned off, unsigned size)
{
    uint64_t v = 0;
    cr_assert(r->pci->bar[0].io, "BAR 0 is not the legacy one");
    rig_bar_access(r, 0, off, size, false, &v);
    return v;
}

static void io_set(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    cr_assert(r->pci->bar[0].io, "BAR 0 is not the legacy one");
    rig_bar_access(r, 0, off, size, true, &v);
}

static uint8_t legacy_status(struct rig *r)
{
    return (uint8_t)io(r, VIRTIO_PCI_STATUS, 1);
}

static void legacy_status_set(struct rig *r, uint8_t s)
{
    io_set(r, VIRTIO_PCI_STATUS, 1, s);
}

static uint32_t legacy_features(struct rig *r, uint32_t word)
{
    return word == 0 ? (uint32_t)io(r, VIRTIO_PCI_HOST_FEATURES, 4) : 0;
}

static void legacy_accept(struct rig *r, uint32_t word, uint32_t bits)
{
    if (word == 0)
        io_set(r, VIRTIO_PCI_GUEST_FEATURES, 4, bits);
}

static uint32_t legacy_accepted(struct rig *r, uint32_t word)
{
    return word == 0 ? (uint32_t)io(r, VIRTIO_PCI_GUEST_FEATURES, 4) : 0;
}

static uint16_t legacy_queue_max(struct rig *r, uint32_t q)
{
    io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, q);
    return (uint16_t)io(r, VIRTIO_PCI_QUEUE_NUM, 2);
}

static void legacy_areas(struct rig *r, uint32_t q, uint64_t desc, uint64_t driver, uint64_t device)
{
    (void)driver, (void)device; /* where the layout has them */
    io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, q);
    if (desc && !r->o.intx) {
        io_set(r, VIRTIO_MSI_CONFIG_VECTOR, 2, RIG_VECTOR_CONFIG);
        cr_assert_eq(io(r, VIRTIO_MSI_CONFIG_VECTOR, 2), RIG_VECTOR_CONFIG);
        io_set(r, VIRTIO_MSI_QUEUE_VECTOR, 2, queue_vector(r, q));
        cr_assert_eq(io(r, VIRTIO_MSI_QUEUE_VECTOR, 2), queue_vector(r, q));
    }
    io_set(r, VIRTIO_PCI_QUEUE_PFN, 4, desc >> VIRTIO_PCI_QUEUE_ADDR_SHIFT);
}

static void legacy_enable(struct rig *r, uint32_t q)
{
    (void)r, (void)q;
}

static bool legacy_enabled(struct rig *r, uint32_t q)
{
    io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, q);
    return io(r, VIRTIO_PCI_QUEUE_PFN, 4);
}

static void legacy_notify(struct rig *r, uint32_t q, uint32_t value)
{
    (void)q;
    io_set(r, VIRTIO_PCI_QUEUE_NOTIFY, 2, (uint16_t)value);
}

/* 4.1.4.10: it moves when MSI-X is on. */
static unsigned legacy_config_at(const struct rig *r, unsigned off)
{
    return VIRTIO_PCI_CONFIG_OFF(!r->o.intx) + off;
}

static void legacy_config_read(struct rig *r, unsigned off, unsigned size, uint64_t *v)
{
    if (legacy_config_at(r, off) + size <= r->pci->bar[0].size)
        *v = io(r, legacy_config_at(r, off), size);
}

static void legacy_config_write(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    if (legacy_config_at(r, off) + size <= r->pci->bar[0].size)
        io_set(r, legacy_config_at(r, off), size, v);
}

static unsigned legacy_pending(struct rig *r)
{
    rig_pci_collect(r);
    if (r->o.intx)
        r->pci->what |= (unsigned)io(r, VIRTIO_PCI_ISR, 1);
    return r->pci->what;
}

static unsigned legacy_acknowledge(struct rig *r)
{
    return forget(r, legacy_pending(r));
}

const struct rig_regs rig_pci_legacy_regs = {.up = rig_pci_up,
                                             .status = legacy_status,
                                             .status_set = legacy_status_set,
                                             .features = legacy_features,
                                             .accept = legacy_accept,
                                             .accepted = legacy_accepted,
                                             .queue_max = legacy_queue_max,
                                             .queue_areas = legacy_areas,
                                             .queue_enable = legacy_enable,
                                             .queue_enabled = legacy_enabled,
                                             .notify = legacy_notify,
                                             .config_read = legacy_config_read,
                                             .config_write = legacy_config_write,
                                             .pending = legacy_pending,
                                             .acknowledge = legacy_acknowledge,
                                             .interrupts = interrupts};
