/* tests/rig/test_matrix_state.c - every device class saved, reset, loaded and let go on, in each
 * state that a driver can leave it in; and suspended by the driver (virtio 1.4, 3.4). */
#include <linux/virtio_config.h>

#include "tests/rig/matrix.h"

enum { A = 1, D = 2, OK = 4, FOK = 8, RUNNING = A | D | FOK | OK, SUSPENDED = A | D | FOK | 16 };

enum stage { RESET, FEATURES, QUEUES, USED_EARLY, RUNS, SUSPENDS, STAGES };
static const char *const stage_names[] = {"after a reset",         "with features", "with queues",
                                          "used before DRIVER_OK", "running",       "suspended"};

/* --- save and load --- */

static void reach(struct rig *r, const struct cell *c, enum stage s)
{
    if (s == RESET) {
        rig_status_set(r, 0);
    } else if (s == FEATURES) {
        rig_negotiate_features(r);
    } else if (s != QUEUES) {
        for (unsigned i = 0; i < 5; i++) /* past the end of the ring */
            cell_serve(r, c);
    }
    if (s == SUSPENDS)
        rig_status_set(r, RUNNING | VDEV_S_SUSPEND);
}

/* The rest of the way, and on. */
static void go_on(struct rig *r, const struct cell *c, enum stage s)
{
    r->o.stop_before_driver_ok = false;
    if (s == RESET) {
        rig_negotiate(r);
    } else if (s == FEATURES) {
        for (unsigned i = 0; i < RIG_QUEUES; i++)
            rig_queue_up(r, i);
    }
    if (s != RUNS)
        rig_driver_ok(r);
    for (unsigned i = 0; i < 5; i++)
        cell_serve(r, c);
    MUST(!rig_needs_reset(r), "%s", stage_names[s]);
    rig_listen(r, c->class->queue);
    (void)rig_irqs(r);
    cell_serve(r, c);
    MUST(rig_irqs(r) == 1, "%s", stage_names[s]);
}

static void save_and_load(const struct cell *c, enum stage s)
{
    bool early = s == QUEUES || s == USED_EARLY;
    struct rig *r = cell_up_with(
        c, (struct rig_options){.stop_before_driver_ok = early, .device_queue_size = 4});
    reach(r, c, s);
    uint8_t status = rig_status(r);
    vdev_pause(r->dev);
    struct state_out saved = {0}, again = {0};
    transport_save(r->transport, &saved);
    transport_reset(r->transport);
    struct state_in in = {.buf = saved.buf, .len = saved.len};
    MUST(transport_load(r->transport, &in) == 0, "%s", stage_names[s]);
    MUST(in.pos == saved.len, "%s", stage_names[s]);
    transport_save(r->transport, &again);
    MUST(again.len == saved.len && memcmp(again.buf, saved.buf, saved.len) == 0,
         "%s: not the same when it is saved again", stage_names[s]);
    vdev_resume(r->dev);
    MUST(rig_status(r) == status, "%s: status %#x, not %#x", stage_names[s], rig_status(r), status);
    go_on(r, c, s);
    state_out_free(&saved);
    state_out_free(&again);
    rig_down(r);
}

Test(matrix, goes_on_after_a_save_and_a_load)
{
    for_each_cell(c, CELLS_ALL)
    {
        for (enum stage s = 0; s < STAGES; s++) {
            if (cell_is_legacy(&c) ? s != SUSPENDS : s != USED_EARLY)
                save_and_load(&c, s);
        }
    }
}

/* --- suspend --- */

static void suspend(struct rig *r)
{
    rig_status_set(r, RUNNING | VDEV_S_SUSPEND);
    MUST(rig_status(r) == SUSPENDED, "status %#x", rig_status(r));
    (void)rig_irqs(r);
    (void)r->regs->acknowledge(r);
}

Test(matrix, a_suspended_device_touches_nothing)
{
    PROVES("General Initialization And Device Operation / Device Suspend#03");
    PROVES("General Initialization And Device Operation / Device Suspend#04");
    PROVES("General Initialization And Device Operation / Device Suspend#05");
    PROVES("General Initialization And Device Operation / Device Suspend#06");
    PROVES("General Initialization And Device Operation / Device Suspend#07");
    for_each_cell(c, CELLS_ALL)
    {
        if (cell_is_legacy(&c))
            continue;
        struct rig *r = cell_up(&c, 4);
        unsigned queue = c.class->queue;
        struct matrix_request q;
        cell_serve(r, &c);
        rig_listen(r, queue);
        suspend(r);
        cell_add(r, &c, &q);
        struct ring_image before = ring_image(r, queue);
        rig_kick(r, queue);
        if (c.ring_reset)
            r->regs->queue_reset(r, queue);
        vdev_config_changed(r->dev);
        rig_settle(r);
        MUST(ring_unchanged(r, queue, &before));
        MUST(r->regs->queue_enabled(r, queue));
        MUST(rig_irqs(r) == 0 && r->regs->pending(r) == 0);
        MUST(rig_status(r) == SUSPENDED);

        rig_status_set(r, RUNNING);
        MUST(rig_status(r) == RUNNING);
        MUST(r->regs->pending(r) & 2, "the change is announced now");
        rig_settle(r);
        cell_expect(r, &c, &q);
        MUST(rig_irqs(r) >= 1);
        cell_serve(r, &c);
        suspend(r);                                  /* and once more, without a change */
        rig_status_set(r, RUNNING | VDEV_S_SUSPEND); /* the device clears the bit, not the driver */
        MUST(rig_status(r) == RUNNING);
        MUST(!(r->regs->pending(r) & 2));
        cell_serve(r, &c);
        rig_down(r);
    }
}

Test(matrix, suspend_is_ignored_out_of_its_time)
{
    PROVES("General Initialization And Device Operation / Device Suspend#01");
    for_each_cell(c, CELLS_RINGS)
    {
        if (cell_is_legacy(&c))
            continue;
        struct rig *r = cell_up(&c, 4);
        const uint8_t before[] = {0, A, A | D};
        for (size_t i = 0; i < ARRAY_SIZE(before); i++) {
            rig_status_set(r, 0);
            rig_status_set(r, before[i]);
            rig_status_set(r, before[i] | VDEV_S_SUSPEND);
            MUST(rig_status(r) == before[i]);
        }
        rig_negotiate_features(r);
        rig_status_set(r, A | D | FOK | VDEV_S_SUSPEND);
        MUST(rig_status(r) == (A | D | FOK));
        for (unsigned i = 0; i < RIG_QUEUES; i++)
            rig_queue_up(r, i);
        rig_driver_ok(r);
        cell_serve(r, &c);
        suspend(r);
        rig_status_set(r, 0); /* a reset is always possible */
        MUST(rig_status(r) == 0);
        r->o.without = 1ull << VDEV_F_SUSPEND;
        rig_negotiate(r);
        rig_status_set(r, RUNNING | VDEV_S_SUSPEND); /* not negotiated */
        MUST(rig_status(r) == RUNNING);
        cell_serve(r, &c);
        rig_down(r);
    }
}
