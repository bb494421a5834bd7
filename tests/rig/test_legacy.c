/* tests/rig/test_legacy.c - the legacy interface (virtio 1.4, 1.3.1, 2.2.3, 2.7.2, 3.1.2) on the
 * transports that have one, with the device that holds requests; and drivers that mix both. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "tests/rig/held.h"
#include "tests/rig/rig_priv.h"

enum { Q = 0, SIZE = 8, A = 1, D = 2, OK = 4, FOK = 8, FIRST = 0x10 };

static const enum rig_transport legacy[] = {RIG_MMIO_LEGACY, RIG_PCI_TRANSITIONAL_LEGACY,
                                            RIG_PCI_LEGACY};

static struct rig *up(enum rig_transport t, bool early)
{
    return held_up(&(struct rig_options){.transport = t, .stop_before_driver_ok = early}, SIZE);
}

static void expect_served(struct rig *r)
{
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
}

/* 3.1.2: drivers use the device before they say DRIVER_OK. */
Test(legacy, used_before_driver_ok)
{
    PROVES("legacy:Basic Facilities of a Virtio Device / Feature Bits / Legacy Interface: A Note "
           "on Feature Bits#04");
    PROVES("legacy:General Initialization And Device Operation / Device Initialization / "
           "Legacy Interface: Device Initialization#03");
    for (unsigned k = 0; k < ARRAY_SIZE(legacy); k++) {
        struct rig *r = up(legacy[k], true);
        cr_assert_eq(rig_status(r), A | D);
        rig_listen(r, Q);
        expect_served(r);
        cr_assert_geq(rig_irqs(r), 1, "it is announced, too");
        rig_driver_ok(r);
        cr_assert_eq(rig_status(r), A | D | OK);
        expect_served(r);
        rig_down(r);
    }
}

/* 3.1.2: and they write its configuration before they read its features. */
Test(legacy, configured_before_features_are_read)
{
    PROVES("legacy:General Initialization And Device Operation / Device Initialization / "
           "Legacy Interface: Device Initialization#02");
    for (unsigned k = 0; k < ARRAY_SIZE(legacy); k++) {
        struct rig *r = up(legacy[k], true);
        rig_status_set(r, 0);
        rig_status_set(r, A);
        rig_status_set(r, A | D);
        cr_assert_eq(rig_config(r, 0, 1), FIRST);
        rig_config_set(r, 0, 1, 0x33);
        cr_assert_eq(rig_config(r, 0, 1), 0x33);
        cr_assert_eq(rig_config(r, 0, 4), 0x36353433);
        rig_down(r);
    }
}

Test(legacy, knows_no_features_ok_and_no_version_1)
{
    PROVES("legacy:Basic Facilities of a Virtio Device / Feature Bits / "
           "Legacy Interface: A Note on Feature Bits#02");
    for (unsigned k = 0; k < ARRAY_SIZE(legacy); k++) {
        struct rig *r = up(legacy[k], false);
        cr_assert_not(vdev_has(r->dev, VIRTIO_F_VERSION_1));
        rig_status_set(r, A | D | FOK);
        cr_assert_eq(rig_status(r), A | D | OK, "%s", rig_transport_names[legacy[k]]);
        r->regs->accept(r, 0, 0); /* features are final once it is used */
        cr_assert(vdev_has(r->dev, VIRTIO_RING_F_EVENT_IDX));
        expect_served(r);
        rig_down(r);
    }
}

/* What was not offered cannot be refused: it is not there. */
Test(legacy, features_that_were_not_offered_are_not_there)
{
    PROVES("legacy:Reserved Feature Bits / Legacy Interface: Reserved Feature Bits#05");
    PROVES("legacy:Reserved Feature Bits / Legacy Interface: Reserved Feature Bits#03");
    for (unsigned k = 0; k < ARRAY_SIZE(legacy); k++) {
        struct rig *r = up(legacy[k], false);
        uint32_t offered = r->regs->features(r, 0);
        cr_assert(offered & 1u << VIRTIO_F_ANY_LAYOUT);
        cr_assert_not(offered & (1u << VIRTIO_F_NOTIFY_ON_EMPTY | 1u << 30));
        rig_status_set(r, 0);
        rig_status_set(r, A | D);
        r->regs->accept(r, 0, UINT32_MAX);
        for (unsigned bit = 0; bit < 128; bit++)
            cr_assert_eq(vdev_has(r->dev, bit), bit < 32 && (offered >> bit & 1), "%u", bit);
        rig_down(r);
    }
}

/* 2.7.2: the used ring is where the alignment says. Seen from the layout, not from the device. */
Test(legacy, the_ring_is_laid_out_by_its_alignment)
{
    PROVES("legacy:Basic Facilities of a Virtio Device / Virtqueues / Legacy Interfaces: A Note on "
           "Virtqueue Endianness#01");
    PROVES("legacy:Basic Facilities of a Virtio Device / Virtqueues / "
           "Legacy Interfaces: A Note on Virtqueue Layout#03");
    static const uint32_t aligns[] = {4, 64, 4096, 65536};
    for (unsigned k = 0; k < ARRAY_SIZE(aligns); k++) {
        struct rig *r = up(RIG_MMIO_LEGACY, true);
        struct rig_queue *q = &r->q[Q];
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, Q);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, 0);
        cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_PFN), 0);
        rig_reg_set(r, VIRTIO_MMIO_GUEST_PAGE_SIZE, 512);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, SIZE);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_ALIGN, aligns[k]);
        q->desc = rig_alloc_at(r, 1 << 18, 512);
        q->avail = GPA(q->desc.v + 16 * SIZE);
        q->used = GPA(align_up(q->avail.v + 6 + 2 * SIZE, aligns[k]));
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, (uint32_t)(q->desc.v / 512));
        cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_PFN), q->desc.v / 512);
        for (unsigned i = 0; i < 2 * SIZE; i++)
            expect_served(r);
        rig_down(r);
    }
}

/* No alignment at all: the used ring begins where the other one ends. */
Test(legacy, the_shortest_ring)
{
    struct rig *r = up(RIG_MMIO_LEGACY, true);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, Q);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, 0);
    rig_reg_set(r, VIRTIO_MMIO_GUEST_PAGE_SIZE, 512);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, 1);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_ALIGN, 1);
    gpa_t at = rig_alloc_at(r, 512, 512);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, (uint32_t)(at.v / 512));
    cr_assert_eq(vdev_queue_config(r->dev, Q)->device.v, at.v + 16 + (2 + 2 + 2 + 2));
    rig_down(r);
}

/* 5: seven of the types that there are have a legacy interface. */
Test(legacy, who_has_a_legacy_interface)
{
    static const enum transport_kind kinds[] = {TRANSPORT_PCI_TRANSITIONAL, TRANSPORT_PCI_LEGACY,
                                                TRANSPORT_MMIO_LEGACY};
    for (uint16_t id = 0; id < 100; id++) {
        bool has = (id >= 1 && id <= 5) || id == 8 || id == 9;
        cr_assert_eq(transport_has_legacy(id), has, "type %u", id);
    }
    struct rig *r = rig_up("rtc", NULL);
    const struct transport_env env = {.mmio = r->bus};
    const struct transport_place at = {.base = GPA(RIG_BASE + 0x1000), .irq_fd = -1};
    for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++) {
        struct transport *t = NULL;
        cr_assert_eq(transport_new(kinds[k], r->dev, &env, &at, &t), -EOPNOTSUPP);
        cr_assert_null(t);
    }
    rig_down(r);
}

Test(legacy, a_queue_is_taken_away_and_given_again)
{
    for (unsigned k = 0; k < ARRAY_SIZE(legacy); k++) {
        struct rig *r = up(legacy[k], false);
        held.hold = true;
        (void)held_add(r, 8);
        held_run(r);
        r->regs->queue_areas(r, Q, 0, 0, 0);
        cr_assert_not(r->regs->queue_enabled(r, Q));
        cr_assert_eq(held.n, 0);
        held.hold = false;
        rig_queue_up(r, Q);
        cr_assert(r->regs->queue_enabled(r, Q));
        expect_served(r);
        rig_down(r);
    }
}

Test(legacy, rings_that_are_nowhere) /* rows 2, 7, 13 */
{
    for (unsigned k = 0; k < ARRAY_SIZE(legacy); k++) {
        struct rig *r = up(legacy[k], false);
        static const uint64_t pages[] = {0xfffffff, 0xd0000, RIG_RAM / RIG_PAGE};
        for (unsigned i = 0; i < ARRAY_SIZE(pages); i++) {
            r->regs->queue_areas(r, Q, 0, 0, 0);
            r->regs->queue_areas(r, Q, pages[i] * RIG_PAGE, 0, 0);
            cr_assert_not(r->regs->queue_enabled(r, Q));
            cr_assert(rig_needs_reset(r));
            rig_negotiate(r);
            expect_served(r);
        }
        rig_down(r);
    }
}

Test(legacy, alignments_that_are_none)
{
    static const uint32_t aligns[] = {0, 1, 3, 4095, UINT32_MAX};
    for (unsigned k = 0; k < 2 * ARRAY_SIZE(aligns); k++) {
        struct rig *r = up(RIG_MMIO_LEGACY, true);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, Q);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, 0);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_ALIGN, aligns[k / 2]);
        rig_reg_set(r, VIRTIO_MMIO_GUEST_PAGE_SIZE, k & 1 ? 4096 : 0);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, 0x100);
        held_run(r);
        rig_reg_set(r, VIRTIO_MMIO_GUEST_PAGE_SIZE, RIG_PAGE);
        r->o.stop_before_driver_ok = false;
        rig_negotiate(r);
        expect_served(r);
        rig_down(r);
    }
}

/* --- drivers that mix both --- */

/* Features that a modern driver wrote, and never had accepted, are not a legacy driver's. */
Test(mixed, a_legacy_driver_after_a_modern_one_that_stopped_half_way)
{
    struct rig *r = held_up(
        &(struct rig_options){.transport = RIG_PCI_TRANSITIONAL_LEGACY, .packed = true}, SIZE);
    rig_status_set(r, 0);
    rig_pci_regs.status_set(r, A | D);
    for (uint32_t word = 0; word < VDEV_FEATURE_WORDS; word++)
        rig_pci_regs.accept(r, word, UINT32_MAX);
    rig_status_set(r, A | D);
    for (unsigned bit = 32; bit < 128; bit++)
        cr_assert_not(vdev_has(r->dev, bit), "feature %u", bit);
    rig_status_set(r, A | D);
    r->regs->accept(r, 0, 0);
    r->features = 0;
    rig_queue_up(r, Q);
    rig_driver_ok(r);
    expect_served(r);
    rig_save_and_load(r);
    expect_served(r);
    rig_down(r);
}

/* Once FEATURES_OK is set, the legacy registers reset the device and do nothing else. */
Test(mixed, legacy_registers_under_a_modern_driver)
{
    struct rig *r =
        held_up(&(struct rig_options){.transport = RIG_PCI_TRANSITIONAL, .packed = true}, SIZE);
    gpa_t ring = rig_alloc_at(r, 2 * RIG_PAGE, RIG_PAGE);
    rig_pci_legacy_regs.status_set(r, A);
    rig_pci_legacy_regs.accept(r, 0, 0);
    rig_pci_legacy_regs.queue_areas(r, Q, 0, 0, 0);
    rig_pci_legacy_regs.queue_areas(r, Q, ring.v, 0, 0);
    cr_assert_eq(rig_status(r), A | D | FOK | OK);
    cr_assert(vdev_has(r->dev, VIRTIO_F_RING_PACKED));
    expect_served(r);
    rig_save_and_load(r);
    expect_served(r);

    r->regs->queue_reset(r, Q);
    rig_pci_legacy_regs.queue_areas(r, Q, ring.v, 0, 0);
    cr_assert_not(r->regs->queue_enabled(r, Q));
    rig_queue_up(r, Q);
    expect_served(r);
    rig_pci_legacy_regs.status_set(r, 0);
    cr_assert_eq(rig_status(r), 0);
    rig_down(r);
}
