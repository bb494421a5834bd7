/* tests/rig/test_virtio_pci_notify.c - how a driver notifies (virtio 1.4, 4.1.4.4, 4.1.5.2): the
 * notification structure, and the doorbells that the transports ask of the machine. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "tests/rig/bells.h"
#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"

enum { A = 1, D = 2, OK = 4, FOK = 8 };

static struct bells bells;

static struct rig *up(enum rig_transport t, unsigned queues, struct vdev_options v)
{
    bells = (struct bells){0};
    v.ring_reset = true;
    return board_up(
        (struct board_options){.queues = queues},
        &(struct rig_options){
            .transport = t, .vdev = &v, .doorbell = bells_bind, .doorbell_ctx = &bells});
}

static void down(struct rig *r)
{
    rig_down(r);
    cr_assert_eq(bells.n, 0, "a device that is gone listens to nobody");
}

static uint64_t notify_at(struct rig *r, unsigned q)
{
    const struct rig_cap *c = &r->pci->cap[VIRTIO_PCI_CAP_NOTIFY_CFG];
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
    return r->pci->bar[c->bar].at + c->off +
           rig_common(r, VIRTIO_PCI_COMMON_Q_NOFF, 2) * r->pci->multiplier;
}

/* --- the structure --- */

static bool power_of_two(uint64_t n)
{
    return n && (n & (n - 1)) == 0;
}

/* `width` bytes are written to a doorbell: all are in the structure, also the last queue's. */
static void expect_room(struct rig *r, unsigned queues, unsigned width)
{
    const struct rig_cap *c = &r->pci->cap[VIRTIO_PCI_CAP_NOTIFY_CFG];
    cr_assert_eq(c->off % width, 0);
    cr_assert_geq(c->len, width);
    cr_assert_leq(c->off + c->len, r->pci->bar[c->bar].size);
    for (unsigned q = 0; q < queues; q++) {
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
        cr_assert_neq(rig_common(r, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
        cr_assert_geq(c->len,
                      rig_common(r, VIRTIO_PCI_COMMON_Q_NOFF, 2) * r->pci->multiplier + width);
    }
}

Test(notify, the_structure_for_16_bits)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#02");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#03");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#04");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#05");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#06");
    static const unsigned counts[] = {1, 2, 7, 14};
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        struct rig *r = up(RIG_PCI, counts[i], (struct vdev_options){.admin_vq = true});
        uint32_t m = r->pci->multiplier;
        cr_assert(m == 0 || (power_of_two(m) && __builtin_ctz(m) % 2 == 0 && m % 2 == 0));
        expect_room(r, counts[i] + 1, 2);
        down(r);
    }
}

Test(notify, the_structure_for_32_bits)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#07");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#08");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#09");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#10");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#11");
    static const unsigned counts[] = {1, 2, 7, 14};
    for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
        struct rig *r = up(RIG_PCI, counts[i],
                           (struct vdev_options){.admin_vq = true, .notification_data = true});
        uint32_t m = r->pci->multiplier;
        cr_assert(m == 0 || (power_of_two(m) && m % 4 == 0));
        expect_room(r, counts[i] + 1, 4);
        down(r);
    }
}

/* Each queue has a place, and what is written there, of whatever width, is no matter. */
Test(notify, where_it_is_says_which)
{
    struct rig *r = up(RIG_PCI, 3, (struct vdev_options){.notif_config_data = true});
    const unsigned sizes[] = {2, 4, 1, 8};
    for (unsigned q = 0; q < 3; q++) {
        for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
            struct rig_seg in = {rig_alloc(r, 8), 8};
            uint64_t value = 0xdeadbeefcafe + i;
            uint32_t id, len;
            rig_add(r, q, NULL, 0, &in, 1);
            for (unsigned other = 0; other < 3; other++) {
                if (other != q)
                    cr_assert(bus_access(r->bus, GPA(notify_at(r, other)), 4, true, &value));
            }
            rig_settle(r);
            cr_assert_not(rig_used(r, q, &id, &len));
            cr_assert(bus_access(r->bus, GPA(notify_at(r, q)), sizes[i], true, &value));
            rig_settle(r);
            cr_assert(rig_used(r, q, &id, &len), "queue %u, %u bytes", q, sizes[i]);
        }
    }
    down(r);
}

/* 4.1.4.3: the value that the driver is to write, while that was agreed. */
Test(notify, config_data)
{
    for (unsigned on = 0; on < 2; on++) {
        struct rig *r = up(RIG_PCI, 3, (struct vdev_options){.notif_config_data = on});
        for (unsigned q = 0; q < 3; q++) {
            rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
            cr_assert_eq(rig_common(r, RIG_QUEUE_NOTIF_CONFIG, 2), on ? q : 0);
        }
        down(r);
    }
}

/* --- doorbells --- */

static void ring_modern(struct rig *r, unsigned q)
{
    bells_ring(bells_find(&bells, false, notify_at(r, q), 0));
}

static void ring_legacy(struct rig *r, unsigned q)
{
    bells_ring(bells_find(&bells, true, r->pci->bar[0].at + VIRTIO_PCI_QUEUE_NOTIFY, q));
}

static void ring_mmio(struct rig *r, unsigned q)
{
    (void)r;
    bells_ring(bells_find(&bells, false, RIG_BASE + VIRTIO_MMIO_QUEUE_NOTIFY, q));
}

/* One for each queue where it is to be rung, and no other. */
static void expect_bells(struct rig *r, unsigned queues, void (*ring)(struct rig *r, unsigned q))
{
    cr_assert_eq(bells.n, queues);
    for (unsigned q = 0; q < queues; q++) {
        for (unsigned other = 0; other < q; other++)
            ring(r, other);
        rig_settle(r);
        cr_assert(board_serves(r, q, ring));
    }
}

static void expect_kind(bool port, unsigned len, bool any)
{
    for (unsigned i = 0; i < bells.n; i++) {
        cr_assert_eq(bells.on[i].port, port);
        cr_assert_eq(bells.on[i].len, len);
        cr_assert_eq(bells.on[i].any, any);
    }
}

Test(doorbells, are_bound_while_the_queue_is_live)
{
    struct rig *r = up(RIG_PCI, 3, (struct vdev_options){.admin_vq = true});
    expect_kind(false, 0, true);
    cr_assert_eq(bells.n, 4, "the administration virtqueue has one too");
    r->regs->queue_reset(r, 3);
    expect_bells(r, 3, ring_modern);
    r->regs->queue_reset(r, 1);
    cr_assert_eq(bells.n, 2);
    cr_assert_null(bells_find(&bells, false, notify_at(r, 1), 0));
    rig_queue_up(r, 1);
    rig_settle(r);
    expect_bells(r, 3, ring_modern);
    rig_status_set(r, 0);
    cr_assert_eq(bells.n, 0);
    rig_negotiate_features(r);
    for (unsigned q = 0; q < 3; q++)
        rig_queue_up(r, q);
    cr_assert_eq(bells.n, 0, "not before DRIVER_OK");
    rig_driver_ok(r);
    expect_bells(r, 3, ring_modern);
    transport_reset(r->transport);
    cr_assert_eq(bells.n, 0);
    down(r);
}

/* Moves BAR `bar` as a guest does, and tells the rig. */
static void move(struct rig *r, unsigned bar, uint64_t to)
{
    rig_pci_put(r, PCI_BASE_ADDRESS_0 + 4 * bar, 4, (uint32_t)to);
    r->pci->bar[bar].at = to;
}

static void expect_follows(struct rig *r, unsigned bar, uint64_t to, unsigned queues,
                           void (*ring)(struct rig *r, unsigned q))
{
    uint16_t on = (uint16_t)rig_pci_get(r, PCI_COMMAND, 2);
    uint64_t from = r->pci->bar[bar].at;
    expect_bells(r, queues, ring);
    move(r, bar, to);
    expect_bells(r, queues, ring);
    rig_pci_put(r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    cr_assert_eq(bells.n, 0, "it answers nowhere");
    move(r, bar, from);
    cr_assert_eq(bells.n, 0);
    rig_pci_put(r, PCI_COMMAND, 2, on);
    expect_bells(r, queues, ring);
}

Test(doorbells, follow_their_bar)
{
    struct rig *r = up(RIG_PCI, 3, (struct vdev_options){0});
    unsigned bar = r->pci->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].bar;
    expect_follows(r, bar, 0xc8000000, 3, ring_modern);
    move(r, bar, 0x10000000); /* outside of the bridge's window */
    cr_assert_eq(bells.n, 0);
    down(r);
}

/* One port for all, told apart by the value. */
Test(doorbells, of_legacy_drivers_are_ports)
{
    static const enum rig_transport kinds[] = {RIG_PCI_LEGACY, RIG_PCI_TRANSITIONAL_LEGACY};
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct rig *r = up(kinds[i], 3, (struct vdev_options){0});
        expect_kind(true, 2, false);
        expect_follows(r, 0, 0x8000, 3, ring_legacy);
        rig_status_set(r, 0);
        cr_assert_eq(bells.n, 0);
        down(r);
    }
}

/* The same queues with a modern driver: the face that it uses has them, the other one has none. */
Test(doorbells, of_a_transitional_device_are_where_its_driver_rings)
{
    struct rig *r = up(RIG_PCI_TRANSITIONAL, 2, (struct vdev_options){0});
    expect_kind(false, 0, true);
    unsigned bar = r->pci->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].bar;
    expect_follows(r, bar, 0xc8000000, 2, ring_modern);
    move(r, 0, 0x8000);
    expect_bells(r, 2, ring_modern);
    down(r);
}

/* 2.9: the value says more than the queue, so it is not compared. */
Test(doorbells, take_any_value_that_was_agreed)
{
    for (unsigned i = 0; i < 4; i++) {
        struct rig *r =
            up(RIG_PCI, 2,
               (struct vdev_options){
                   .notification_data = i & 1, .notif_config_data = i >> 1 & 1, .packed = i & 1});
        expect_kind(false, 0, true);
        expect_bells(r, 2, ring_modern);
        down(r);
    }
}

Test(doorbells, of_mmio)
{
    struct rig *r = up(RIG_MMIO, 3, (struct vdev_options){0});
    expect_kind(false, 4, false);
    expect_bells(r, 3, ring_mmio);
    r->regs->queue_reset(r, 1);
    cr_assert_eq(bells.n, 2);
    rig_status_set(r, 0);
    cr_assert_eq(bells.n, 0);
    down(r);
}

/* With NOTIFICATION_DATA no value is a queue's: one doorbell, that kicks all. */
Test(doorbells, of_mmio_with_notification_data)
{
    struct rig *r = up(RIG_MMIO, 3, (struct vdev_options){.notification_data = true});
    cr_assert_eq(bells.n, 1);
    expect_kind(false, 4, true);
    for (unsigned q = 0; q < 3; q++)
        cr_assert(board_serves(r, q, ring_mmio));
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    for (unsigned q = 0; q < 3; q++)
        rig_add(r, q, NULL, 0, &in, 1);
    ring_mmio(r, 0);
    rig_settle(r);
    for (unsigned q = 0; q < 3; q++)
        cr_assert(rig_used(r, q, &id, &len), "queue %u", q);

    r->regs->queue_reset(r, 0);
    r->regs->queue_reset(r, 2);
    cr_assert_eq(bells.n, 1, "there is one queue yet");
    cr_assert(board_serves(r, 1, ring_mmio));
    r->regs->queue_reset(r, 1);
    cr_assert_eq(bells.n, 0);
    rig_queue_up(r, 1);
    rig_settle(r);
    cr_assert(board_serves(r, 1, ring_mmio));
    rig_status_set(r, 0);
    cr_assert_eq(bells.n, 0);
    down(r);
}

/* A machine that can bind no more: the writes trap, and mean the same. */
Test(doorbells, that_are_refused)
{
    static const enum rig_transport kinds[] = {RIG_PCI, RIG_PCI_LEGACY, RIG_MMIO, RIG_MMIO_LEGACY};
    for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct rig *r = up(kinds[i], 2, (struct vdev_options){0});
        rig_status_set(r, 0);
        bells.refuse = true;
        rig_negotiate(r);
        cr_assert_eq(bells.n, 0);
        cr_assert(board_serves(r, 0, rig_kick));
        cr_assert(board_serves(r, 1, rig_kick));
        down(r);
    }
}

/* They are where the loaded device's BARs are, from when it goes on. */
Test(doorbells, of_a_device_that_was_loaded)
{
    struct rig *r = up(RIG_PCI, 2, (struct vdev_options){0});
    unsigned bar = r->pci->cap[VIRTIO_PCI_CAP_NOTIFY_CFG].bar;
    move(r, bar, 0xc8000000);
    struct state_out s = rig_save(r);
    transport_reset(r->transport);
    cr_assert_eq(bells.n, 0);
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    vdev_resume(r->dev);
    rig_settle(r);
    expect_bells(r, 2, ring_modern);
    state_out_free(&s);
    down(r);
}
