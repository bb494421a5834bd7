/* tests/rig/test_request.c - what both ring formats share of a queue: requests of any length, those
 * that nobody may take, and what is left to say when a queue stops. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/rig/held.h"

enum { Q = 0, SIZE = 2048, LONGEST = 1026 };

static struct rig *up(bool packed)
{
    struct rig *r = held_up(&(struct rig_options){.packed = packed}, SIZE);
    held.hold = true;
    return r;
}

/* A buffer of n segments with a byte each, none next to the one before. */
static uint16_t add(struct rig *r, gpa_t at, unsigned n)
{
    static struct rig_seg s[LONGEST + 1];
    for (unsigned i = 0; i < n; i++)
        s[i] = (struct rig_seg){GPA(at.v + 2 * i), 1};
    return rig_add(r, Q, s, n / 2, s + n / 2, n - n / 2);
}

/* 2.7.5.3: so many descriptors of the ring, and as many more in a table. */
static void add_mixed(struct rig *r, gpa_t at, unsigned n)
{
    gpa_t table = rig_alloc(r, n * sizeof(struct vring_desc)), ring = r->q[Q].desc;
    for (unsigned i = 0; i < n; i++) {
        rig_forge(r, ring, i, at.v + 4 * i, 1, VRING_DESC_F_NEXT, (uint16_t)(i + 1));
        rig_forge(r, table, i, at.v + 4 * i + 2, 1, i + 1 < n ? VRING_DESC_F_NEXT : 0,
                  (uint16_t)(i + 1));
    }
    rig_forge(r, ring, n, table.v, n * (uint32_t)sizeof(struct vring_desc), VRING_DESC_F_INDIRECT,
              0);
    rig_offer(r, Q, 0);
}

static void expect_segments(struct rig *r, const struct vq_req *q, gpa_t at, unsigned n)
{
    cr_assert_eq(q->n_out, n / 2);
    cr_assert_eq(q->n_in, n - n / 2);
    for (unsigned i = 0; i < n; i++) {
        cr_assert_eq(q->iov[i].iov_base, rig_at(r, GPA(at.v + 2 * i), 1), "%u of %u", i, n);
        cr_assert_eq(q->iov[i].iov_len, 1, "%u of %u", i, n);
    }
}

Test(request, as_many_segments_as_it_has)
{
    static const unsigned lengths[] = {4, 5, 16, 17, 64, 65, 256, 257, 1024, 1025, LONGEST, 2};
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(packed);
        gpa_t at = rig_alloc(r, 2 * SIZE);
        const struct iovec *kept = NULL;
        for (unsigned k = 0; k < ARRAY_SIZE(lengths); k++) {
            uint16_t id = add(r, at, lengths[k]);
            held_run(r);
            cr_assert_eq(held.n, 1, "of %u segments", lengths[k]);
            expect_segments(r, held.req[0], at, lengths[k]);
            if (lengths[k] == LONGEST)
                kept = held.req[0]->iov;
            else if (kept)
                cr_assert_eq(held.req[0]->iov, kept, "the room stays with the slot");
            held_complete(0, 0);
            rig_settle(r);
            held_expect(r, id, 0);
        }
        rig_down(r);
    }
}

Test(request, more_segments_than_a_request_may_have)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(packed);
        add(r, rig_alloc(r, 2 * SIZE), LONGEST + 1);
        held_run(r);
        cr_assert_eq(held.n, 0);
        cr_assert(rig_needs_reset(r));
        rig_down(r);
    }
    for (unsigned over = 0; over < 2; over++) { /* neither part has too many */
        struct rig *r = up(false);
        gpa_t at = rig_alloc(r, 2 * SIZE);
        add_mixed(r, at, LONGEST / 2 + over);
        held_run(r);
        cr_assert_eq(held.n, !over);
        cr_assert_eq(rig_needs_reset(r), over);
        if (!over)
            cr_assert_eq(held.req[0]->iov[LONGEST - 1].iov_base,
                         rig_at(r, GPA(at.v + 4 * (LONGEST / 2 - 1) + 2), 1));
        rig_down(r);
    }
}

Test(request, taken_by_nobody_while_the_queue_stands)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(packed);
        uint16_t first = held_add(r, 8);
        held_run(r);
        uint16_t second = held_add(r, 8);
        vdev_pause(r->dev);
        held_expect(r, first, 0);
        cr_assert_null(vq_next(held.vq), "paused");
        vdev_resume(r->dev);
        rig_settle(r);
        cr_assert_eq(held.n, 1);
        held_complete(0, 8);
        rig_settle(r);
        held_expect(r, second, 8);

        held_add(r, 8);
        vdev_fail(r->dev, "for the test's sake");
        cr_assert_null(vq_next(held.vq), "failed");
        rig_down(r);
    }
}

Test(request, long_ones_at_once)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(packed);
        gpa_t at = rig_alloc(r, 2 * SIZE);
        for (unsigned i = 0; i < 3; i++)
            add(r, at, 20);
        held_run(r);
        cr_assert_eq(held.n, 3);
        for (unsigned i = 0; i < 3; i++)
            expect_segments(r, held.req[i], at, 20);
        rig_down(r);
    }
}

/* And the queue is gone before the turn ends in which that would have been said. */
Test(request, completed_just_before_a_reset)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(packed);
        held_add(r, 8);
        held_run(r);
        held_complete(0, 3);
        rig_negotiate(r);
        rig_settle(r);
        held_expect_none(r);
        rig_down(r);
    }
}

/* Without a turn of the loop between the completion and the end. */
Test(request, completed_just_before_its_queue_stops)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(packed);
        uint16_t first = held_add(r, 8), second = held_add(r, 8);
        held_run(r);
        (void)rig_irqs(r);
        rig_listen(r, Q);
        held_complete(0, 3);
        held_complete(0, 4);
        held_expect_none(r);
        vdev_pause(r->dev);
        held_expect(r, first, 3);
        held_expect(r, second, 4);
        cr_assert_eq(rig_irqs(r), 1);
        vdev_resume(r->dev);
        rig_settle(r);
        cr_assert_eq(rig_irqs(r), 0, "nothing is said twice");
        rig_down(r);
    }
}

/* Whoever was told that there is room again is not told of each that comes after it. */
Test(request, room_is_announced_once)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(packed);
        for (unsigned i = 0; i < 1025; i++)
            held_add(r, 8);
        held_run(r);
        cr_assert_eq(held.n, 1024);
        held_complete(0, 0);
        rig_settle(r);
        cr_assert_eq(held.n, 1024);
        unsigned kicks = held.kicks;
        for (unsigned i = 0; i < 3; i++) {
            held_complete(0, 0);
            rig_settle(r);
        }
        cr_assert_leq(held.kicks, kicks + 1);
        rig_down(r);
    }
}
