/* tests/rig/test_loops.c - a device whose queues are spread over several loops, each stepped alone
 * here; and one whose queues stay together. */
#include "tests/rig/bells.h"
#include "tests/rig/blk_try.h"
#include "tests/rig/board.h"
#include "tests/rig/reported.h"

static struct bells bells;

static struct rig *up_on(unsigned loops, const struct rig_options *more)
{
    struct rig_options o = more ? *more : (struct rig_options){0};
    o.loops = loops;
    return up_with(",queues=4", &o);
}

/* A read that is made available, and that nobody was told of. */
static void offer_read(struct rig *r, unsigned q)
{
    struct rig_seg out = {.at = rig_alloc(r, 16), .len = 16};
    struct rig_seg in[] = {{.at = rig_alloc(r, 512), .len = 512},
                           {.at = rig_alloc(r, 1), .len = 1}};
    rig_add(r, q, &out, 1, in, 2);
}

static bool answered(struct rig *r, unsigned q)
{
    uint32_t id, len;
    return rig_used(r, q, &id, &len);
}

Test(loops, queues_of_a_disk_are_spread)
{
    struct rig *r = up_on(3, NULL);
    for (unsigned q = 0; q < 4; q++) {
        offer_read(r, q);
        rig_kick(r, q);
    }
    for (unsigned l = 3; l-- > 0;) {
        loop_settle(r->loops[l]);
        for (unsigned q = 0; q < 4; q++)
            cr_expect_eq(answered(r, q), q % 3 == l, "queue %u, loop %u", q, l);
    }
    cr_expect_eq(reported(r, "reads"), 4, "whichever loop counted");
    down(r);
}

Test(loops, reset_waits_for_each_of_them)
{
    struct rig *r = up_on(2, NULL);
    for (unsigned q = 0; q < 4; q++) {
        offer_read(r, q);
        rig_kick(r, q);
    }
    for (unsigned l = 0; l < 2; l++) /* the notification is taken, its read not even submitted */
        (void)loop_step(r->loops[l], 0);
    rig_status_set(r, 0);
    cr_expect_eq(rig_status(r), 0);
    for (unsigned q = 0; q < 4; q++)
        cr_expect(answered(r, q), "queue %u has a request in flight after the reset", q);
    rig_up_again(r);
    offer_read(r, 3);
    rig_kick(r, 3);
    rig_settle(r);
    cr_expect(answered(r, 3));
    down(r);
}

Test(loops, a_pause_and_another_life)
{
    struct rig *r = up_on(3, NULL);
    for (unsigned q = 0; q < 4; q++)
        offer_read(r, q);
    rig_save_and_load(r);
    rig_settle(r);
    for (unsigned q = 0; q < 4; q++)
        cr_expect(answered(r, q), "queue %u", q);
    down(r);
}

/* Virtio-mmio with NOTIFICATION_DATA: one doorbell, whoever is meant. */
Test(loops, one_doorbell_for_all)
{
    struct rig *r =
        up_on(2, &(struct rig_options){
                     .notification_data = true, .doorbell = bells_bind, .doorbell_ctx = &bells});
    cr_assert_eq(bells.n, 1);
    for (unsigned q = 0; q < 4; q++)
        offer_read(r, q);
    bells_ring(&bells.on[0]);
    rig_settle(r);
    for (unsigned q = 0; q < 4; q++)
        cr_expect(answered(r, q), "queue %u", q);
    down(r);
}

Test(loops, others_stay_together)
{
    struct rig *r =
        board_up((struct board_options){.queues = 3}, &(struct rig_options){.loops = 3});
    for (unsigned q = 0; q < 3; q++) {
        offer_read(r, q);
        rig_kick(r, q);
    }
    loop_settle(r->loops[1]);
    loop_settle(r->loops[2]);
    for (unsigned q = 0; q < 3; q++)
        cr_expect_not(answered(r, q));
    loop_settle(r->loops[0]);
    for (unsigned q = 0; q < 3; q++)
        cr_expect(answered(r, q));
    rig_down(r);
}
