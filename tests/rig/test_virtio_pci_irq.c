/* tests/rig/test_virtio_pci_irq.c - how a device notifies its driver
 * (virtio 1.4, 4.1.4.5, 4.1.5.1.2, 4.1.5.3, 4.1.5.4): vectors of MSI-X, or INTx and the ISR status.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>

#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"
#include "transport/virtio_pci.h"

enum { NO_VECTOR = 0xffff };
enum { COMMAND = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER };

static struct rig *up(unsigned queues, struct rig_options o)
{
    if (o.transport == RIG_MMIO)
        o.transport = RIG_PCI;
    return board_up((struct board_options){.queues = queues}, &o);
}

/* --- MSI-X --- */

static unsigned table_size(struct rig *r)
{
    return (rig_pci_get(r, r->pci->msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
}

static uint64_t map_config(struct rig *r, unsigned vector)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_MSIX, 2, vector);
    return rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2);
}

static uint64_t map_queue(struct rig *r, unsigned q, unsigned vector)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
    return rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2);
}

static uint64_t queue_vector(struct rig *r, unsigned q)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
    return rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2);
}

/* The vector of the one message that has arrived; NO_VECTOR: there was none. */
static unsigned arrived(struct rig *r)
{
    unsigned vector = NO_VECTOR, n = 0;
    for (unsigned i = 0; i < r->pci->n_msi; i++) {
        uint64_t count = 0;
        if (read(r->pci->msi[i].fd, &count, sizeof(count)) < 0)
            continue;
        vector = r->pci->msi[i].data;
        n += (unsigned)count;
    }
    cr_assert_leq(n, 1, "%u messages", n);
    return vector;
}

static bool intx_arrived(struct rig *r)
{
    uint64_t n = 0;
    return read(r->pci->trigger, &n, sizeof(n)) > 0;
}

static unsigned after_a_change(struct rig *r)
{
    vdev_config_changed(r->dev);
    return arrived(r);
}

static unsigned after_a_request(struct rig *r, unsigned q)
{
    rig_listen(r, q);
    cr_assert(board_serves(r, q, rig_kick));
    return arrived(r);
}

Test(msix, one_vector_for_each_event)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#02");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#03");
    static const unsigned counts[] = {1, 2, 15};
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        struct rig *r = up(counts[i], (struct rig_options){0});
        unsigned n = table_size(r);
        cr_assert_eq(n, counts[i] + 1);
        cr_assert(n >= 2 && n <= 0x800);
        cr_assert_eq(map_config(r, n - 1), n - 1, "those of Table Size are there,");
        cr_assert_eq(after_a_change(r), n - 1);
        cr_assert_eq(map_config(r, n), NO_VECTOR, "and no other");
        rig_down(r);
    }
}

Test(msix, any_event_to_any_vector)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#04");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#06");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#08");
    struct rig *r = up(3, (struct rig_options){0});
    unsigned n = table_size(r);
    for (unsigned all = 0; all < n * n * n * n; all++) {
        unsigned v[] = {all % n, all / n % n, all / n / n % n, all / n / n / n};
        cr_assert_eq(map_config(r, v[3]), v[3]);
        for (unsigned q = 0; q < 3; q++)
            cr_assert_eq(map_queue(r, q, v[q]), v[q]);
        for (unsigned q = 0; q < 3; q++)
            cr_assert_eq(queue_vector(r, q), v[q], "by another queue's");
        if (all % 7)
            continue; /* the rest is slower */
        r->ram_next = 0x1000000;
        cr_assert_eq(after_a_change(r), v[3]);
        for (unsigned q = 0; q < 3; q++)
            cr_assert_eq(after_a_request(r, q), v[q]);
    }
    rig_down(r);
}

/* Before any reset, too. */
Test(msix, no_event_is_mapped_at_first)
{
    struct rig *r = up(2, (struct rig_options){.no_reset = true, .intx = true});
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
    for (unsigned q = 0; q < 2; q++)
        cr_assert_eq(queue_vector(r, q), NO_VECTOR);
    rig_down(r);
}

/* Neither a message nor the line, and the rest goes on. */
Test(msix, events_without_a_vector)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#05");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#06");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Used Buffer Notifications#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Notification of Device Configuration Changes#01");
    struct rig *r = up(2, (struct rig_options){0});
    cr_assert_eq(map_config(r, NO_VECTOR), NO_VECTOR);
    cr_assert_eq(map_queue(r, 0, NO_VECTOR), NO_VECTOR);
    cr_assert_eq(after_a_change(r), NO_VECTOR);
    cr_assert_eq(after_a_request(r, 0), NO_VECTOR);
    cr_assert_not(intx_arrived(r));
    cr_assert_eq(after_a_request(r, 1), RIG_VECTOR_QUEUES + 1);
    cr_assert_eq(map_config(r, 0), 0);
    cr_assert_eq(map_queue(r, 0, 2), 2);
    cr_assert_eq(after_a_change(r), 0);
    cr_assert_eq(after_a_request(r, 0), 2);
    rig_down(r);
}

/* Those beyond the table, also when the event had one before. */
Test(msix, vectors_that_there_are_not)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#06");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#09");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#02");
    struct rig *r = up(2, (struct rig_options){0});
    const unsigned none[] = {3, 4, 0x7ff, 0x800, 0x7fff, 0xfffe};
    for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
        cr_assert_eq(map_config(r, 1), 1);
        cr_assert_eq(map_queue(r, 0, 1), 1);
        cr_assert_eq(map_config(r, none[i]), NO_VECTOR, "vector %#x", none[i]);
        cr_assert_eq(map_queue(r, 0, none[i]), NO_VECTOR, "vector %#x", none[i]);
        cr_assert_eq(after_a_change(r), NO_VECTOR);
        cr_assert_eq(after_a_request(r, 0), NO_VECTOR);
    }
    rig_down(r);
}

static void mask(struct rig *r, unsigned vector, unsigned on)
{
    uint32_t table = rig_pci_get(r, r->pci->msix + PCI_MSIX_TABLE, 4);
    uint64_t v = on;
    rig_bar_access(r, table & PCI_MSIX_TABLE_BIR,
                   (table & PCI_MSIX_TABLE_OFFSET) + vector * PCI_MSIX_ENTRY_SIZE +
                       PCI_MSIX_ENTRY_VECTOR_CTRL,
                   4, true, &v);
}

/* And a message that waited behind a mask is not sent any more. */
Test(msix, a_reset_unmaps_all)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / MSI-X Vector Configuration#07");
    struct rig *r = up(2, (struct rig_options){.vdev = &(struct vdev_options){.admin_vq = true}});
    mask(r, RIG_VECTOR_QUEUES, 1);
    mask(r, RIG_VECTOR_CONFIG, 1);
    cr_assert_eq(after_a_request(r, 0), NO_VECTOR);
    cr_assert_eq(after_a_change(r), NO_VECTOR);
    cr_assert_neq(queue_vector(r, 2), NO_VECTOR);
    rig_status_set(r, 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
    for (unsigned q = 0; q < 2; q++)
        cr_assert_eq(queue_vector(r, q), NO_VECTOR);
    mask(r, RIG_VECTOR_QUEUES, 0);
    mask(r, RIG_VECTOR_CONFIG, 0);
    cr_assert_eq(arrived(r), NO_VECTOR);
    r->regs->accept(r, 1, 1u << (VDEV_F_ADMIN_VQ - 32));
    cr_assert_eq(queue_vector(r, 2), NO_VECTOR);
    transport_reset(r->transport);
    r->regs->up(r);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
    cr_assert_eq(queue_vector(r, 0), NO_VECTOR);
    rig_down(r);
}

Test(msix, vectors_are_loaded)
{
    struct rig *r = up(2, (struct rig_options){0});
    cr_assert_eq(map_config(r, 2), 2);
    cr_assert_eq(map_queue(r, 0, 0), 0);
    cr_assert_eq(map_queue(r, 1, NO_VECTOR), NO_VECTOR);
    rig_save_and_load(r);
    rig_settle(r);
    cr_assert_eq(after_a_change(r), 2);
    cr_assert_eq(after_a_request(r, 0), 0);
    cr_assert_eq(after_a_request(r, 1), NO_VECTOR);
    rig_down(r);
}

/* --- the ISR status --- */

static unsigned isr(struct rig *r)
{
    return (unsigned)rig_structure(r, VIRTIO_PCI_CAP_ISR_CFG, 0, 1);
}

static bool status_bit(struct rig *r)
{
    return rig_pci_get(r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT;
}

static void raise_events(struct rig *r, unsigned what)
{
    rig_listen(r, 0);
    if (what & ISR_QUEUE)
        cr_assert(board_serves(r, 0, rig_kick));
    if (what & ISR_CONFIG)
        vdev_config_changed(r->dev);
}

/* The ISR status, as a driver would find it that was fast: linked with --wrap=write, which is how a
 * device sends. */
static struct virtio_pci *watched;
static unsigned isr_when_sent;

ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
    if (watched)
        isr_when_sent = watched->isr;
    return __real_write(fd, buf, len);
}

static unsigned isr_when_told(struct rig *r, enum vdev_irq why)
{
    watched = container_of(r->transport, struct virtio_pci, t);
    isr_when_sent = UINT32_MAX;
    watched->t.port.raise(&watched->t.port, why, 0);
    watched = NULL;
    (void)isr(r);
    return isr_when_sent;
}

Test(intx, the_isr_is_there_before_the_interrupt)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#02");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#03");
    struct rig *r = up(1, (struct rig_options){.intx = true});
    cr_assert_eq(isr_when_told(r, VDEV_IRQ_CONFIG), ISR_CONFIG);
    cr_assert_eq(isr_when_told(r, VDEV_IRQ_QUEUE), ISR_QUEUE);
    rig_down(r);
    r = up(1, (struct rig_options){0});
    cr_assert_eq(isr_when_told(r, VDEV_IRQ_CONFIG), ISR_CONFIG);
    rig_down(r);
}

Test(intx, the_isr_says_what_it_is)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#02");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#03");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#04");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#05");
    struct rig *r = up(1, (struct rig_options){.intx = true});
    for (unsigned what = 0; what <= (ISR_QUEUE | ISR_CONFIG); what++) {
        cr_assert_eq(isr(r), 0);
        raise_events(r, what);
        cr_assert_eq(intx_arrived(r), what != 0);
        cr_assert_eq(status_bit(r), what != 0);
        cr_assert_eq(isr(r), what);
        cr_assert_not(status_bit(r));
        cr_assert_eq(isr(r), 0, "a read resets it");
        rig_pci_end_of_interrupt(r);
        rig_settle(r);
        cr_assert_not(intx_arrived(r), "and the line is low");
    }
    rig_down(r);
}

/* Until it is read, the line stays asserted: who shares it ends the interrupt in vain. */
Test(intx, the_line_is_a_level)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#04");
    struct rig *r = up(1, (struct rig_options){.intx = true});
    raise_events(r, ISR_QUEUE);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(intx_arrived(r));
        rig_pci_end_of_interrupt(r);
        rig_settle(r);
    }
    cr_assert(intx_arrived(r));
    cr_assert_eq(isr(r), ISR_QUEUE);
    rig_pci_end_of_interrupt(r);
    rig_settle(r);
    cr_assert_not(intx_arrived(r));
    rig_down(r);
}

/* The command register masks the line, and no register. */
Test(intx, disabled_by_the_command_register)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#04");
    struct rig *r = up(1, (struct rig_options){.intx = true});
    rig_pci_put(r, PCI_COMMAND, 2, COMMAND | PCI_COMMAND_INTX_DISABLE);
    raise_events(r, ISR_QUEUE | ISR_CONFIG);
    cr_assert_not(intx_arrived(r));
    cr_assert(status_bit(r));
    rig_pci_put(r, PCI_COMMAND, 2, COMMAND);
    cr_assert(intx_arrived(r));
    cr_assert_eq(isr(r), ISR_QUEUE | ISR_CONFIG);
    cr_assert_not(status_bit(r));
    rig_down(r);
}

Test(intx, a_reset_acknowledges)
{
    struct rig *r = up(1, (struct rig_options){.intx = true});
    raise_events(r, ISR_QUEUE | ISR_CONFIG);
    cr_assert(intx_arrived(r));
    rig_status_set(r, 0);
    cr_assert_not(status_bit(r));
    cr_assert_eq(isr(r), 0);
    rig_pci_end_of_interrupt(r);
    rig_settle(r);
    cr_assert_not(intx_arrived(r));
    rig_down(r);
}

/* With MSI-X too, but only for the configuration; and then the line is nobody's. */
Test(intx, the_isr_beside_msix)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#02");
    struct rig *r = up(1, (struct rig_options){0});
    raise_events(r, ISR_QUEUE);
    cr_assert_eq(arrived(r), RIG_VECTOR_QUEUES);
    cr_assert_eq(isr(r), 0);
    raise_events(r, ISR_CONFIG);
    cr_assert_eq(arrived(r), RIG_VECTOR_CONFIG);
    cr_assert_not(intx_arrived(r));
    cr_assert_eq(isr(r), ISR_CONFIG);
    cr_assert_eq(isr(r), 0);
    rig_down(r);
}

/* What was said by neither is said by the line when MSI-X is turned off. */
Test(intx, after_msix)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#03");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#04");
    struct rig *r = up(1, (struct rig_options){0});
    vdev_config_changed(r->dev);
    cr_assert_eq(arrived(r), RIG_VECTOR_CONFIG);
    uint32_t flags = rig_pci_get(r, r->pci->msix + PCI_MSIX_FLAGS, 2);
    rig_pci_put(r, r->pci->msix + PCI_MSIX_FLAGS, 2, flags & ~PCI_MSIX_FLAGS_ENABLE);
    cr_assert(status_bit(r));
    cr_assert(intx_arrived(r));
    raise_events(r, ISR_QUEUE);
    cr_assert_eq(arrived(r), NO_VECTOR);
    cr_assert_eq(isr(r), ISR_QUEUE | ISR_CONFIG);
    rig_down(r);
}

Test(intx, the_isr_is_loaded)
{
    struct rig *r = up(1, (struct rig_options){.intx = true});
    struct state_out s = rig_save(r);
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    cr_assert_not(status_bit(r), "there was nothing");
    state_out_free(&s);
    vdev_resume(r->dev);
    raise_events(r, ISR_CONFIG);
    s = rig_save(r);
    transport_reset(r->transport);
    (void)intx_arrived(r);
    cr_assert_not(status_bit(r));
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    vdev_resume(r->dev);
    cr_assert(intx_arrived(r));
    cr_assert(status_bit(r));
    cr_assert_eq(isr(r), ISR_CONFIG);
    cr_assert_not(status_bit(r));
    state_out_free(&s);
    rig_down(r);
}
