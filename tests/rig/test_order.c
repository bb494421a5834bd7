/* tests/rig/test_order.c - VIRTIO_F_IN_ORDER (virtio 1.4, 2.7.9, 2.8.12) on both ring formats: the
 * device that holds requests completes them in any order, and the driver sees theirs. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/rig/held.h"

enum { Q = 0, SIZE = 8 };

static struct rig *up(bool packed)
{
    struct rig *r = held_up(&(struct rig_options){.in_order = true, .packed = packed}, SIZE);
    cr_assert(rig_has(r, VIRTIO_F_IN_ORDER));
    cr_assert_eq(rig_has(r, VIRTIO_F_RING_PACKED), packed);
    held.hold = true;
    return r;
}

static void used_as_available(bool packed)
{
    struct rig *r = up(packed);
    for (unsigned lap = 0; lap < 5; lap++) {
        uint16_t ids[6];
        for (unsigned i = 0; i < 6; i++)
            ids[i] = held_add(r, 8);
        held_run(r);
        for (unsigned i = 5; i > 0; i--) /* the newest first; each holds its own length */
            held_complete(i, i + 1);
        rig_settle(r);
        held_expect_none(r);
        cr_assert_eq(rig_irqs(r), 0, "nor is anything announced");
        rig_listen(r, Q);
        held_complete(0, 1);
        rig_settle(r);
        cr_assert_eq(rig_irqs(r), 1, "all of them at once");
        for (unsigned i = 0; i < 6; i++)
            held_expect(r, ids[i], i + 1);
    }
    rig_down(r);
}

Test(in_order, buffers_are_used_as_they_were_made_available)
{
    PROVES("Reserved Feature Bits#05");
    used_as_available(false);
    used_as_available(true);
}

/* A hole in the middle holds up what is behind it only. */
static void in_parts(bool packed)
{
    struct rig *r = up(packed);
    uint16_t ids[5];
    for (unsigned i = 0; i < 5; i++)
        ids[i] = held_add(r, 8);
    held_run(r);
    held_complete(3, 4); /* held: 0 1 2 4 */
    held_complete(1, 2); /* held: 0 2 4 */
    held_complete(0, 1); /* held: 2 4 */
    rig_settle(r);
    held_expect(r, ids[0], 1);
    held_expect(r, ids[1], 2);
    held_expect_none(r);
    held_complete(0, 3);
    rig_settle(r);
    held_expect(r, ids[2], 3);
    held_expect(r, ids[3], 4);
    held_expect_none(r);
    held_complete(0, 5);
    rig_settle(r);
    held_expect(r, ids[4], 5);
    rig_down(r);
}

Test(in_order, a_hole_holds_up_what_is_behind_it)
{
    in_parts(false);
    in_parts(true);
}

static void with_unpop(bool packed)
{
    struct rig *r = up(packed);
    uint16_t first = held_add(r, 8);
    held_run(r);
    uint16_t second = held_add(r, 8), third = held_add(r, 8);
    held.unpop_once = true; /* the second, which comes again */
    held_run(r);
    cr_assert_eq(held.n, 1);
    vq_poke(held.vq);
    rig_settle(r);
    cr_assert_eq(held.n, 3);
    held_complete(2, 3);
    held_complete(1, 2);
    held_complete(0, 1);
    rig_settle(r);
    held_expect(r, first, 1);
    held_expect(r, second, 2);
    held_expect(r, third, 3);
    rig_down(r);
}

Test(in_order, a_request_that_was_given_back_keeps_its_place)
{
    with_unpop(false);
    with_unpop(true);
}

/* The ring breaks while completions wait for their turn. Whatever stops the queue then must see all
 * of them end. */
static void breaks_while_waiting(bool packed, bool one_queue)
{
    struct rig *r = up(packed);
    for (unsigned i = 0; i < 4; i++)
        held_add(r, 8);
    held_run(r);
    cr_assert_eq(held.n, 4);
    held_complete(3, 4);
    held_complete(1, 2);
    rig_settle(r);
    if (packed) {
        rig_place(r, Q, &(struct rig_packed){RIG_BASE, 8, VRING_DESC_F_WRITE, 99}, 1);
    } else {
        rig_forge(r, r->q[Q].desc, 5, RIG_BASE, 8, VRING_DESC_F_WRITE, 0);
        rig_offer(r, Q, 5);
    }
    held_run(r);
    cr_assert(rig_needs_reset(r));
    held_complete(0, 1); /* too late to be seen */
    rig_settle(r);
    held_expect_none(r);
    if (one_queue) {
        r->regs->queue_reset(r, Q);
        cr_assert_not(r->regs->queue_enabled(r, Q));
    } else {
        rig_status_set(r, 0);
        cr_assert_eq(rig_status(r), 0);
    }
    cr_assert_eq(held.n, 0, "nothing is in flight any more");
    held.hold = false;
    rig_negotiate(r);
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
    rig_down(r);
}

Test(in_order, a_broken_ring_with_completions_that_wait)
{
    for (unsigned k = 0; k < 4; k++)
        breaks_while_waiting(k & 1, k & 2);
}

/* Pause lets all of them end, in the driver's order, though the device ends them in the other. */
static void pause_ends_them(bool packed)
{
    struct rig *r = up(packed);
    uint16_t ids[4];
    for (unsigned i = 0; i < 4; i++)
        ids[i] = held_add(r, 8);
    held_run(r);
    vdev_pause(r->dev);
    cr_assert_eq(held.n, 0);
    for (unsigned i = 0; i < 4; i++)
        held_expect(r, ids[i], 0);
    vdev_resume(r->dev);
    held.hold = false;
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
    rig_down(r);
}

Test(in_order, a_pause_ends_what_is_in_flight_in_order)
{
    pause_ends_them(false);
    pause_ends_them(true);
}
