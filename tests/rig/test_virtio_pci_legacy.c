/* tests/rig/test_virtio_pci_legacy.c - the I/O BAR of legacy drivers (virtio 1.4, 4.1.4.10), alone
 * and beside the modern structures. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"

enum { A = 1, D = 2, OK = 4, NO_VECTOR = 0xffff, WITHOUT_MSIX = 20, WITH_MSIX = 24 };

static const enum rig_transport legacy[] = {RIG_PCI_LEGACY, RIG_PCI_TRANSITIONAL_LEGACY};

static struct rig *up(enum rig_transport t, bool intx)
{
    return board_up((struct board_options){.queues = 2},
                    &(struct rig_options){.transport = t, .intx = intx});
}

static uint64_t io(struct rig *r, unsigned off, unsigned size)
{
    uint64_t v = 0;
    rig_bar_access(r, 0, off, size, false, &v);
    return v;
}

static void io_set(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    rig_bar_access(r, 0, off, size, true, &v);
}

static void msix_enable(struct rig *r, bool on)
{
    uint32_t flags = rig_pci_get(r, r->pci->msix + PCI_MSIX_FLAGS, 2) & ~PCI_MSIX_FLAGS_ENABLE;
    rig_pci_put(r, r->pci->msix + PCI_MSIX_FLAGS, 2, flags | (on ? PCI_MSIX_FLAGS_ENABLE : 0));
}

Test(legacy_pci, a_notification_is_no_field)
{
    struct rig *r = up(RIG_PCI_LEGACY, false);
    for (unsigned size = 1; size <= 4; size *= 2)
        cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_NOTIFY, size), 0);
    rig_down(r);
}

/* It is behind the others, for modern drivers alone (2.13). */
Test(legacy_pci, no_administration_virtqueue)
{
    const struct vdev_options v = {.admin_vq = true, .ring_reset = true};
    struct rig *r = board_up((struct board_options){0},
                             &(struct rig_options){.transport = RIG_PCI_TRANSITIONAL, .vdev = &v});
    cr_assert(rig_has(r, VDEV_F_ADMIN_VQ));
    io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, 1);
    cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_NUM, 2), 0);
    io_set(r, VIRTIO_MSI_QUEUE_VECTOR, 2, 0);
    cr_assert_eq(io(r, VIRTIO_MSI_QUEUE_VECTOR, 2), NO_VECTOR);
    cr_assert_neq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), 0, "nor was it written");
    rig_down(r);
}

Test(legacy_pci, is_in_the_first_bar)
{
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Layout / Legacy Interfaces: A Note on PCI Device Layout#01");
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI-specific Initialization And Device Operation / "
           "Device Initialization / Virtio Device Configuration Layout Detection / "
           "Legacy Interface: A Note on Device Layout Detection#01");
    static const enum rig_transport kinds[] = {RIG_PCI_LEGACY, RIG_PCI_TRANSITIONAL, RIG_PCI};
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct rig *r = up(kinds[i], false);
        bool there = kinds[i] != RIG_PCI;
        cr_assert_eq(r->pci->bar[0].size != 0, there);
        cr_assert_eq(rig_pci_get(r, PCI_BASE_ADDRESS_0, 4) & 3,
                     there ? PCI_BASE_ADDRESS_SPACE_IO : 0);
        for (unsigned b = 1; b < PCI_BARS; b++)
            cr_assert_not(r->pci->bar[b].io);
        if (there) {
            cr_assert_geq(r->pci->bar[0].size, WITH_MSIX + BOARD_CONFIG_LEN);
            cr_assert_eq(io(r, VIRTIO_PCI_STATUS, 1), rig_status(r));
            io_set(r, VIRTIO_PCI_STATUS, 1, 0);
            cr_assert_eq(rig_status(r), 0);
            cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_NUM, 2), 8);
        }
        rig_down(r);
    }
}

/* One whose configuration fits behind the shorter header, but not behind the longer one. */
Test(legacy_pci, has_room_for_the_longer_header)
{
    struct rig *r = rig_up("console", &(struct rig_options){.transport = RIG_PCI_LEGACY});
    cr_assert_eq(vdev_config_len(r->dev), 12);
    cr_assert_geq(r->pci->bar[0].size, WITH_MSIX + 12);
    rig_down(r);
}

/* Right behind the header, which is longer while MSI-X is on. */
Test(legacy_pci, configuration_moves_with_msix)
{
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Layout / Legacy Interfaces: A Note on PCI Device Layout#06");
    for (unsigned i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = up(legacy[i], true);
        for (unsigned n = 0; n < 4; n++) {
            unsigned at = n & 1 ? WITH_MSIX : WITHOUT_MSIX;
            msix_enable(r, n & 1);
            for (unsigned off = 0; off < BOARD_CONFIG_LEN; off++)
                cr_assert_eq(io(r, at + off, 1), board.config[off], "%u", off);
            cr_assert_eq(io(r, at + BOARD_CONFIG_LEN, 4), 0);
            io_set(r, at, 1, 0x10 + n);
            cr_assert_eq(board.config[0], 0x10 + n);
            if (n & 1)
                cr_assert_eq(io(r, VIRTIO_MSI_CONFIG_VECTOR, 2), NO_VECTOR);
        }
        rig_down(r);
    }
}

/* Bytes of the whole, however they are asked for; written so too. */
Test(legacy_pci, configuration_of_any_width)
{
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Layout / Legacy Interfaces: A Note on PCI Device Layout#03");
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Layout / Legacy Interfaces: A Note on PCI Device Layout#04");
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(legacy); i++) {
        struct rig *r = up(legacy[i / 2], i & 1);
        unsigned at = i & 1 ? WITHOUT_MSIX : WITH_MSIX;
        for (unsigned size = 1; size <= 8; size *= 2) {
            for (unsigned off = 0; off + size <= BOARD_CONFIG_LEN; off++)
                cr_assert_eq(io(r, at + off, size), get_bytes(board.config + off, size));
        }
        for (unsigned size = 1; size <= 8; size *= 2) {
            uint8_t expected[BOARD_CONFIG_LEN];
            uint64_t v = 0x8877665544332211u + size;
            io_set(r, at + 5, size, v);
            io_set(r, at + 16, size, v);
            memcpy(expected, board.config, sizeof(expected));
            put_bytes(expected + 5, v, size);
            put_bytes(expected + 16, v, size);
            cr_assert_eq(memcmp(expected, board.config, sizeof(expected)), 0, "%u bytes", size);
            cr_assert_eq(io(r, at + 16, size), get_bytes(&v, size));
        }
        rig_down(r);
    }
}

/* Whatever is offered: what a legacy driver cannot read, it has not accepted. */
Test(legacy_pci, features_above_31_are_not_acknowledged)
{
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Layout / Legacy Interfaces: A Note on PCI Device Layout#07");
    const struct vdev_options all = {.packed = true,
                                     .indirect = true,
                                     .event_idx = true,
                                     .in_order = true,
                                     .notification_data = true,
                                     .notif_config_data = true,
                                     .ring_reset = true,
                                     .order_platform = true,
                                     .suspend = true,
                                     .admin_vq = true};
    for (unsigned i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = board_up((struct board_options){0},
                                 &(struct rig_options){.transport = legacy[i], .vdev = &all});
        cr_assert(vdev_has(r->dev, VIRTIO_RING_F_EVENT_IDX));
        for (unsigned bit = 32; bit < 128; bit++)
            cr_assert_not(vdev_has(r->dev, bit), "bit %u", bit);
        cr_assert(board_serves(r, 0, rig_kick), "so it is a split ring");
        io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, 1);
        cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_NUM, 2), 0, "and no administration virtqueue");
        rig_down(r);
    }
}

Test(legacy_pci, header)
{
    for (unsigned i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = up(legacy[i], false);
        io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, 1);
        cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_SEL, 2), 1);
        cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_NUM, 2), 8);
        cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_PFN, 4), r->q[1].desc.v >> 12);
        io_set(r, VIRTIO_PCI_QUEUE_NUM, 2, 4);
        cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_NUM, 2), 8, "there is no way to have less");
        cr_assert_eq(io(r, VIRTIO_PCI_GUEST_FEATURES, 4), (uint32_t)r->features);
        static const uint16_t none[] = {2, 3, 0x8000, 0xffff};
        for (unsigned k = 0; k < ARRAY_SIZE(none); k++) {
            io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, none[k]);
            io_set(r, VIRTIO_PCI_QUEUE_PFN, 4, 0x100);
            io_set(r, VIRTIO_MSI_QUEUE_VECTOR, 2, 0);
            cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_NUM, 2), 0);
            cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_PFN, 4), 0);
            cr_assert_eq(io(r, VIRTIO_MSI_QUEUE_VECTOR, 2), NO_VECTOR);
        }
        cr_assert_eq(rig_status(r), A | D | OK);
        cr_assert(board_serves(r, 1, rig_kick));
        rig_down(r);
    }
}

Test(legacy_pci, vectors)
{
    for (unsigned i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = up(legacy[i], false);
        for (unsigned v = 0; v <= 4; v++) {
            io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, 1);
            io_set(r, VIRTIO_MSI_CONFIG_VECTOR, 2, v);
            io_set(r, VIRTIO_MSI_QUEUE_VECTOR, 2, v);
            cr_assert_eq(io(r, VIRTIO_MSI_CONFIG_VECTOR, 2), v < 3 ? v : NO_VECTOR);
            cr_assert_eq(io(r, VIRTIO_MSI_QUEUE_VECTOR, 2), v < 3 ? v : NO_VECTOR);
        }
        io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, 0);
        cr_assert_eq(io(r, VIRTIO_MSI_QUEUE_VECTOR, 2), RIG_VECTOR_QUEUES);
        rig_status_set(r, 0);
        cr_assert_eq(io(r, VIRTIO_MSI_CONFIG_VECTOR, 2), NO_VECTOR);
        cr_assert_eq(io(r, VIRTIO_MSI_QUEUE_VECTOR, 2), NO_VECTOR);
        rig_down(r);
    }
}

/* The ISR status is there too, and either one acknowledges. */
Test(legacy_pci, isr)
{
    for (unsigned i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = up(legacy[i], true);
        rig_listen(r, 0);
        cr_assert(board_serves(r, 0, rig_kick));
        vdev_config_changed(r->dev);
        cr_assert(rig_pci_get(r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
        cr_assert_eq(io(r, VIRTIO_PCI_ISR, 1), 3);
        cr_assert_eq(io(r, VIRTIO_PCI_ISR, 1), 0);
        cr_assert_not(rig_pci_get(r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
        rig_down(r);
    }
}

/* What is no field, or not of its width, is nothing, and has no effect on its neighbours. */
Test(legacy_pci, odd_accesses)
{
    for (unsigned i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = up(legacy[i], false);
        vdev_config_changed(r->dev);
        io_set(r, VIRTIO_PCI_QUEUE_SEL, 2, 1);
        static const uint8_t width[WITH_MSIX] = {
            [VIRTIO_PCI_HOST_FEATURES] = 4, [VIRTIO_PCI_GUEST_FEATURES] = 4,
            [VIRTIO_PCI_QUEUE_PFN] = 4,     [VIRTIO_PCI_QUEUE_NUM] = 2,
            [VIRTIO_PCI_QUEUE_SEL] = 2,     [VIRTIO_PCI_QUEUE_NOTIFY] = 2,
            [VIRTIO_PCI_STATUS] = 1,        [VIRTIO_PCI_ISR] = 1,
            [VIRTIO_MSI_CONFIG_VECTOR] = 2, [VIRTIO_MSI_QUEUE_VECTOR] = 2};
        for (unsigned off = 0; off < WITH_MSIX; off++) {
            for (unsigned size = 1; size <= 8; size *= 2) {
                if (size == width[off])
                    continue;
                cr_assert_eq(io(r, off, size), 0);
                if (off != VIRTIO_PCI_QUEUE_NOTIFY)
                    io_set(r, off, size, 0);
            }
        }
        cr_assert_eq(rig_status(r), A | D | OK);
        cr_assert_eq(io(r, VIRTIO_PCI_QUEUE_SEL, 2), 1);
        cr_assert_eq(io(r, VIRTIO_MSI_CONFIG_VECTOR, 2), RIG_VECTOR_CONFIG);
        cr_assert_eq(io(r, VIRTIO_PCI_ISR, 1), 2, "it was not read");
        cr_assert(board_serves(r, 0, rig_kick));
        rig_down(r);
    }
}

/* --- both faces of a transitional device --- */

Test(transitional, either_driver_after_the_other)
{
    struct rig *r =
        board_up((struct board_options){.queues = 2},
                 &(struct rig_options){.transport = RIG_PCI_TRANSITIONAL, .packed = true});
    for (unsigned i = 0; i < 4; i++) {
        r->legacy = i & 1;
        r->regs = r->legacy ? &rig_pci_legacy_regs : &rig_pci_regs;
        rig_negotiate(r);
        cr_assert_eq(rig_has(r, VIRTIO_F_RING_PACKED), !r->legacy);
        for (unsigned q = 0; q < 2; q++)
            cr_assert(board_serves(r, q, rig_kick));
        cr_assert_eq(rig_pci_regs.status(r), rig_pci_legacy_regs.status(r), "one device");
    }
    rig_down(r);
}

Test(transitional, the_faces_show_one_state)
{
    struct rig *r = board_up((struct board_options){.queues = 2},
                             &(struct rig_options){.transport = RIG_PCI_TRANSITIONAL});
    io_set(r, VIRTIO_MSI_CONFIG_VECTOR, 2, 2);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2), 2);
    rig_config_set(r, 0, 1, 0x42);
    cr_assert_eq(io(r, WITH_MSIX, 1), 0x42);
    vdev_config_changed(r->dev);
    cr_assert_eq(io(r, VIRTIO_PCI_ISR, 1), 2);
    cr_assert_eq(rig_structure(r, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 0);
    uint32_t low = (uint32_t)io(r, VIRTIO_PCI_HOST_FEATURES, 4);
    cr_assert_eq(low & ~(1u << VIRTIO_F_ANY_LAYOUT), r->regs->features(r, 0));
    rig_down(r);
}
