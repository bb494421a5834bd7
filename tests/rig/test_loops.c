/* tests/rig/test_loops.c - a device whose queues are spread over several loops, each stepped alone
 * here; one whose queues stay together; and loops that look at queues before they sleep. */
#include <sched.h>

#include "tests/rig/bells.h"
#include "tests/rig/blk_try.h"
#include "tests/rig/board.h"
#include "tests/rig/held.h"
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
    for (unsigned q = 0; q < 4; q++) {
        char name[32];
        (void)snprintf(name, sizeof(name), "queue%u_notifications", q);
        cr_expect_eq(reported(r, name), 1, "%s", name);
        (void)snprintf(name, sizeof(name), "queue%u_interrupts", q);
        cr_expect_eq(reported(r, name), 1, "%s", name);
    }
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

/* Requests that one notification brings, by which a loop knows whether it pays to let the driver go
 * on first; what waits to be filled is not asked for by it. */
Test(loops, one_that_shares_its_cpu_counts_requests)
{
    struct rig *r = up_on(1, NULL);
    loop_share_cpu(r->loop);
    for (unsigned n = 2; n > 0; n--) {
        for (unsigned i = 0; i < 9; i++) {
            uint64_t mark = r->ram_next;
            for (unsigned k = 0; k < n; k++)
                offer_read(r, 0);
            rig_kick(r, 0);
            rig_settle(r);
            for (unsigned k = 0; k < n; k++)
                cr_assert(answered(r, 0));
            r->ram_next = mark;
        }
        cr_expect_eq(sched_getscheduler(0), n > 1 ? SCHED_BATCH : SCHED_OTHER, "%u at a time", n);
    }
    down(r);
}

Test(loops, nor_is_it_told_of_buffers_to_be_filled)
{
    struct rig *r = held_up(NULL, 8);
    struct rig_seg seg = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    loop_share_cpu(r->loop);
    for (unsigned n_out = 0; n_out < 2; n_out++) {
        rig_add(r, 0, &seg, n_out, &seg, 1);
        rig_kick(r, 0);
        rig_settle(r);
        cr_assert(rig_used(r, 0, &id, &len));
        cr_expect_eq(sched_getscheduler(0), n_out ? SCHED_BATCH : SCHED_OTHER);
    }
    rig_down(r);
}

/* Virtio-mmio with NOTIFICATION_DATA: one doorbell, whoever is meant. */
Test(loops, one_doorbell_for_all)
{
    struct rig *r =
        up_on(2, &(struct rig_options){
                     .notification_data = true, .doorbell = bells_bind, .doorbell_ctx = &bells});
    cr_assert_eq(bells.n, 1);
    cr_assert_eq(bells.on[0].len, 4);
    for (unsigned q = 0; q < 4; q++)
        offer_read(r, q);
    bells_ring(&bells.on[0]);
    loop_settle(r->loops[0]);
    for (unsigned q = 0; q < 4; q++) {
        uint64_t kicks, interrupts;
        vdev_queue_counts(r->dev, q, &kicks, &interrupts);
        cr_expect_eq(kicks, q % 2 == 0, "queue %u: its own loop looks at it", q);
    }
    rig_settle(r);
    for (unsigned q = 0; q < 4; q++)
        cr_expect(answered(r, q), "queue %u", q);
    rig_status_set(r, 0);
    cr_assert_eq(bells.n, 0);
    rig_up_again(r);
    cr_assert_eq(bells.n, 1, "with the first queue, and without the last one");
    down(r);
}

/* Buckets are all queues', wherever these live: who waits for one is run on its own loop. */
Test(loops, limits_are_shared)
{
    struct rig *r = up_on(2, NULL);
    struct err e = {0};
    char text[128];
    (void)snprintf(text, sizeof(text), "%s,queues=4,iops=1/1ms", path);
    cr_assert_eq(rig_update(r, text, &e), 0, "%s", e.msg);
    for (unsigned q = 0; q < 4; q++) {
        offer_read(r, q);
        rig_kick(r, q);
    }
    unsigned n = 0;
    for (unsigned steps = 0; n < 4 && steps < 10000; steps++) {
        for (unsigned i = 0; i < 2; i++)
            (void)loop_step(r->loops[i], 1);
        for (unsigned q = 0; q < 4; q++)
            n += answered(r, q);
    }
    cr_expect_eq(n, 4);
    cr_expect_gt(reported(r, "read_throttled"), 0);
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

/* --- polling --- */

#define AT_ONCE 1            /* a look is over before it began, */
#define NEVER   (1ull << 60) /* or not within the test */

static const struct rig_options formats[] = {
    {0},
    {.no_event_idx = true},
    {.packed = true},
    {.packed = true, .no_event_idx = true},
    {.notification_data = true},
    {.packed = true, .notification_data = true},
};

static struct rig *polled(unsigned format, uint64_t ns)
{
    struct rig_options o = formats[format];
    o.poll_ns = ns;
    struct rig *r = held_up(&o, 8);
    held.hold = true;
    held_add(r, 8);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert_eq(held.n, 1);
    (void)rig_must_kick(r, 0); /* what was added so far */
    return r;
}

Test(polling, nobody_has_to_notify)
{
    for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
        struct rig *r = polled(f, NEVER);
        for (unsigned n = 2; n < 7; n++) {
            held_add(r, 8);
            cr_expect_not(rig_must_kick(r, 0), "format %u", f);
            (void)loop_step(r->loop, -1);
            cr_expect_eq(held.n, n, "format %u", f);
        }
        rig_down(r);
    }
}

Test(polling, before_it_sleeps_it_asks_for_notifications)
{
    for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
        struct rig *r = polled(f, AT_ONCE);
        (void)loop_step(r->loop, 1);
        held_add(r, 8);
        cr_expect(rig_must_kick(r, 0), "format %u", f);
        (void)loop_step(r->loop, 0);
        cr_expect_eq(held.n, 1, "and nobody looks, format %u", f);
        rig_kick(r, 0);
        rig_settle(r);
        cr_expect_eq(held.n, 2);
        rig_down(r);
    }
}

/* The driver adds a buffer when the loop has looked for the last time, and finds that it need not
 * notify: the loop has to see it when it asks for notifications. Else it sleeps for ever. */
static struct rig *driver;

static bool not_yet(void *ctx)
{
    (void)ctx;
    return false;
}

static bool add_at_the_last_moment(void *ctx)
{
    (void)ctx;
    held_add(driver, 8);
    cr_expect_not(rig_must_kick(driver, 0));
    return false;
}

Test(polling, what_comes_at_the_last_moment_is_seen, .timeout = 20)
{
    for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
        struct loop_poll p = {.ready = not_yet, .arm = add_at_the_last_moment};
        driver = polled(f, AT_ONCE);
        cr_assert(loop_poll_join(driver->loop, &p));
        (void)loop_step(driver->loop, -1);
        cr_expect_eq(held.n, 2, "format %u", f);
        rig_down(driver);
    }
}

Test(polling, a_queue_that_stops_is_left_alone)
{
    for (unsigned f = 0; f < ARRAY_SIZE(formats); f++) {
        struct rig *r = polled(f, NEVER);
        vdev_pause(r->dev);
        held_add(r, 8);
        (void)loop_step(r->loop, 0);
        cr_expect_eq(held.n, 0);
        vdev_resume(r->dev);
        rig_settle(r);
        cr_expect_eq(held.n, 1, "format %u", f);
        rig_status_set(r, 0);
        (void)loop_step(r->loop, 0); /* of a queue that is freed by now, nothing is left */
        rig_down(r);
    }
}
