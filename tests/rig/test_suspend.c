/* tests/rig/test_suspend.c - Device Suspend (virtio 1.4, 3.4), where only the device that holds
 * requests can show it: what is in flight, and configuration that changes meanwhile. */
#include <linux/virtio_config.h>

#include "tests/rig/held.h"

enum { Q = 0, RUNNING = 15, SUSPENDED = 11 | VDEV_S_SUSPEND, SIZE = 8, FIRST = 0x10 };

static const enum rig_transport modern[] = {RIG_MMIO, RIG_PCI, RIG_PCI_TRANSITIONAL};

static struct rig *up(enum rig_transport t, bool packed)
{
    return held_up(&(struct rig_options){.transport = t, .packed = packed}, SIZE);
}

static void suspend(struct rig *r)
{
    rig_status_set(r, RUNNING | VDEV_S_SUSPEND);
    cr_assert_eq(rig_status(r), SUSPENDED);
}

/* Nor does it come of itself, or before its time. */
Test(suspend, only_when_it_is_asked_for)
{
    for (unsigned k = 0; k < ARRAY_SIZE(modern); k++) {
        struct rig *r = up(modern[k], false);
        rig_status_set(r, RUNNING);
        cr_assert_eq(rig_status(r), RUNNING, "the same again");
        r->o.stop_before_driver_ok = true;
        rig_negotiate(r);
        rig_status_set(r, 11 | VDEV_S_SUSPEND);
        cr_assert_eq(rig_status(r), 11, "before DRIVER_OK");
        rig_down(r);
    }
}

/* Used and announced before the status register says that it is suspended. */
Test(suspend, what_is_in_flight_ends_first)
{
    PROVES("General Initialization And Device Operation / Device Suspend#08");
    for (unsigned k = 0; k < 2 * ARRAY_SIZE(modern); k++) {
        struct rig *r = up(modern[k / 2], k & 1);
        for (unsigned i = 0; i < 3; i++) { /* whatever was said of those before them */
            uint16_t id = held_add(r, 8);
            held_run(r);
            held_expect(r, id, 8);
        }
        held.hold = true;
        uint16_t ids[3];
        for (unsigned i = 0; i < 3; i++)
            ids[i] = held_add(r, 8);
        held_run(r);
        rig_listen(r, Q);
        (void)rig_irqs(r);
        suspend(r);
        cr_assert_eq(held.n, 0);
        cr_assert_geq(rig_irqs(r), 1);
        for (unsigned i = 3; i-- > 0;) /* as that device drains */
            held_expect(r, ids[i], 0);
        uint16_t late = held_add(r, 8);
        held_run(r);
        held_expect_none(r);
        held.hold = false;
        rig_status_set(r, RUNNING);
        rig_settle(r);
        held_expect(r, late, 8);
        rig_down(r);
    }
}

Test(suspend, configuration_stands_still)
{
    PROVES("General Initialization And Device Operation / Device Suspend#02");
    for (unsigned k = 0; k < ARRAY_SIZE(modern); k++) {
        struct rig *r = up(modern[k], false);
        cr_assert_eq(rig_config(r, 0, 1), FIRST);
        suspend(r);
        held.config = 0x40; /* the device's doing */
        vdev_config_changed(r->dev);
        cr_assert_eq(rig_config(r, 0, 1), FIRST);
        rig_config_set(r, 0, 1, 0x77); /* the driver's */
        cr_assert_eq(held.config_writes, 0);
        rig_status_set(r, RUNNING);
        cr_assert_eq(rig_config(r, 0, 1), 0x40);
        rig_config_set(r, 0, 1, 0x77);
        cr_assert_eq(rig_config(r, 0, 1), 0x77);
        rig_down(r);
    }
}

/* And so it does in a device that was saved and loaded while it was suspended. */
Test(suspend, configuration_stands_still_across_a_load)
{
    struct rig *r = up(RIG_MMIO, false);
    suspend(r);
    held.config = 0x40;
    vdev_config_changed(r->dev);
    (void)rig_irqs(r);
    rig_save_and_load(r);
    cr_assert_eq(rig_status(r), SUSPENDED);
    cr_assert_eq(rig_config(r, 0, 1), FIRST);
    cr_assert_eq(r->regs->pending(r), 0);
    rig_status_set(r, RUNNING);
    cr_assert_eq(rig_config(r, 0, 1), 0x40);
    cr_assert_eq(r->regs->pending(r), 2, "the change is not forgotten");
    rig_down(r);
}

Test(suspend, a_change_is_announced_once)
{
    struct rig *r = up(RIG_MMIO, false);
    for (unsigned suspended = 0; suspended < 2; suspended++) {
        if (suspended)
            suspend(r);
        vdev_config_changed(r->dev);
        if (suspended)
            rig_status_set(r, RUNNING);
        cr_assert_eq(rig_irqs(r), 1);
        suspend(r);
        rig_status_set(r, RUNNING);
        rig_settle(r);
        cr_assert_eq(rig_irqs(r), 0);
    }
    rig_down(r);
}

/* A change that nobody was told of ends with a reset, as all does. */
Test(suspend, a_reset_forgets_what_was_pending)
{
    struct rig *r = up(RIG_MMIO, false);
    suspend(r);
    vdev_config_changed(r->dev);
    rig_negotiate(r);
    suspend(r);
    rig_status_set(r, RUNNING);
    cr_assert_eq(r->regs->pending(r), 0);
    cr_assert(vdev_started(r->dev));
    r->regs->queue_reset(r, Q);
    rig_queue_up(r, Q);
    rig_settle(r);
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
    rig_down(r);
}

/* A device that breaks meanwhile is silent (3.4), and says so when it is to go on (2.1.2). */
Test(suspend, a_failure_is_announced_afterwards)
{
    struct rig *r = up(RIG_MMIO, false);
    suspend(r);
    vdev_fail(r->dev, "for the test's sake");
    cr_assert_eq(rig_status(r), SUSPENDED | VIRTIO_CONFIG_S_NEEDS_RESET);
    cr_assert_eq(rig_irqs(r), 0);
    unsigned kicks = held.kicks;
    rig_status_set(r, RUNNING);
    rig_settle(r);
    cr_assert_eq(rig_status(r), RUNNING | VIRTIO_CONFIG_S_NEEDS_RESET);
    cr_assert_eq(r->regs->pending(r), 2);
    cr_assert_eq(held.kicks, kicks);
    rig_negotiate(r);
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
    rig_down(r);
}
