/* tests/rig/test_blk_limits.c - a disk with rate limits: what waits, for how long, what does not,
 * and that nothing is lost of what waited, whatever happens meanwhile. */
#include "tests/rig/blk_try.h"
#include "tests/rig/own_clock.h"
#include "tests/rig/reported.h"

enum { IN = VIRTIO_BLK_T_IN, OUT = VIRTIO_BLK_T_OUT, FLUSH = VIRTIO_BLK_T_FLUSH };

static const struct rig_options several_queues = {.transport = RIG_PCI};

static int do_one(struct rig *r, unsigned q, uint32_t type, uint32_t len)
{
    static uint8_t data[64 << 10];
    return request_on(r, q, type, 0, data, len, type == IN || type == VIRTIO_BLK_T_GET_ID);
}

static void passes(struct rig *r, uint32_t type, uint32_t len)
{
    cr_assert_eq(do_one(r, 0, type, len), VIRTIO_BLK_S_OK);
}

static void waits(struct rig *r, uint32_t type, uint32_t len)
{
    cr_assert_eq(do_one(r, 0, type, len), -1);
}

static unsigned done(struct rig *r, unsigned q)
{
    unsigned n = 0;
    uint32_t id, len;
    while (rig_used(r, q, &id, &len))
        n++;
    return n;
}

/* --- how much, and when --- */

Test(blk_limits, operations)
{
    static const struct rig_options formats[] = {{0},
                                                 {.packed = true},
                                                 {.in_order = true},
                                                 {.packed = true, .in_order = true},
                                                 {.no_event_idx = true},
                                                 {.transport = RIG_MMIO_LEGACY}};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct rig *r = up_with(",iops=2", &formats[i]);
        passes(r, IN, 512);
        passes(r, OUT, 512);
        cr_assert_eq(reported(r, "read_throttled"), 0);
        cr_assert_eq(next_timer(), 0, "nothing waits");
        waits(r, IN, 512);
        cr_assert_eq(next_timer(), NS / 2);
        pass(r, NS / 2 - 1);
        cr_assert_eq(done(r, 0), 0);
        pass(r, 1);
        cr_assert_eq(done(r, 0), 1);
        cr_assert_eq(reported(r, "read_throttled"), 1);
        cr_assert_eq(reported(r, "read_throttled_ns"), NS / 2);
        cr_assert_eq(reported(r, "write_throttled"), 0);
        cr_assert_eq(reported(r, "write_throttled_ns"), 0);
        down(r);
        memset(own_timers, 0, sizeof(own_timers));
    }
}

Test(blk_limits, bytes_and_a_request_that_is_bigger_than_the_bucket)
{
    struct rig *r = up_with(",bps=1000/100ms", NULL);
    passes(r, IN, 4096);
    waits(r, OUT, 512);
    cr_assert_eq(next_timer(), (4096 - 999) * MS / 10);
    pass(r, next_timer());
    cr_assert_eq(done(r, 0), 1);
    waits(r, IN, 1024); /* 511 are owed, and one is to be there */
    cr_assert_eq(next_timer(), 512 * MS / 10);
    pass(r, 100 * NS);
    cr_assert_eq(done(r, 0), 1);
    passes(r, IN, 512); /* full again, and no more than full */
    passes(r, IN, 512);
    waits(r, IN, 512);
    cr_assert_eq(next_timer(), 25 * MS / 10);
    down(r);
}

Test(blk_limits, what_comes_once)
{
    struct rig *r = up_with(",iops=1/10s+2", NULL);
    for (unsigned i = 0; i < 3; i++)
        passes(r, OUT, 512);
    waits(r, OUT, 512);
    cr_assert_eq(next_timer(), 10 * NS);
    down(r);
}

Test(blk_limits, reads_and_writes_apart_and_together)
{
    struct rig *r = up_with(",read_iops=2,write_iops=3,iops=4,read_bps=1M,write_bps=1M", NULL);
    passes(r, IN, 512);
    passes(r, IN, 512);
    passes(r, OUT, 512);
    passes(r, OUT, 512); /* the last of the four */
    waits(r, OUT, 512);
    cr_assert_eq(next_timer(), NS / 4, "the bucket of both");
    pass(r, NS / 4);
    cr_assert_eq(done(r, 0), 1);
    pass(r, NS / 4);
    passes(r, IN, 512);
    waits(r, IN, 512);
    cr_assert_eq(next_timer(), NS / 2, "the bucket of reads");
    down(r);
}

Test(blk_limits, what_no_limit_is_about)
{
    struct rig *r = up_with(",iops=1,bps=1", NULL);
    passes(r, OUT, 512);
    for (unsigned i = 0; i < 10; i++) {
        passes(r, FLUSH, 0);
        passes(r, VIRTIO_BLK_T_GET_ID, 20);
    }
    down(r);
}

/* A request that is refused has moved nothing. */
Test(blk_limits, what_is_refused_is_free)
{
    struct rig *r = up_with(",iops=1", NULL);
    uint8_t data[512];
    for (unsigned i = 0; i < 5; i++) {
        cr_assert_eq(request(r, IN, SECTORS, data, 512, true), VIRTIO_BLK_S_IOERR);
        cr_assert_eq(request(r, OUT, 0, data, 511, false), VIRTIO_BLK_S_IOERR);
        cr_assert_eq(request(r, 77, 0, data, 512, false), VIRTIO_BLK_S_UNSUPP);
    }
    passes(r, IN, 512);
    waits(r, IN, 512);
    down(r);
}

Test(blk_limits, zeroes_are_written_and_a_discard_is_an_operation_for_each_range)
{
    struct rig *r = up_with(",write_bps=4096,write_iops=10", NULL);
    struct virtio_blk_discard_write_zeroes zero = {.num_sectors = 16}, gone[9];
    cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, &zero, sizeof(zero), false),
                 VIRTIO_BLK_S_OK);
    passes(r, IN, 512);
    waits(r, OUT, 512);
    cr_assert_eq(next_timer(), NS + NS / 4096 + 1, "16 sectors: %llu",
                 (unsigned long long)next_timer());
    pass(r, 100 * NS);
    cr_assert_eq(done(r, 0), 1);
    pass(r, 100 * NS);
    for (unsigned i = 0; i < 9; i++)
        gone[i] = (struct virtio_blk_discard_write_zeroes){.sector = i, .num_sectors = 1};
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, gone, sizeof(gone), false), VIRTIO_BLK_S_OK);
    passes(r, OUT, 512);
    waits(r, OUT, 512);
    cr_assert_eq(next_timer(), NS / 10);
    pass(r, NS / 10);
    cr_assert_eq(done(r, 0), 1);
    waits(r, VIRTIO_BLK_T_DISCARD, 0);
    down(r);
}

/* --- who waits --- */

/* What is behind it in the ring stays behind it; another queue goes on. */
Test(blk_limits, the_first_of_a_queue_waits_and_all_behind_it)
{
    struct rig *r = up_with(",read_iops=1,queues=2", &several_queues);
    passes(r, IN, 512);
    waits(r, IN, 512);
    waits(r, OUT, 512);
    waits(r, FLUSH, 0);
    cr_assert_eq(do_one(r, 1, OUT, 512), VIRTIO_BLK_S_OK);
    cr_assert_eq(do_one(r, 1, FLUSH, 0), VIRTIO_BLK_S_OK);
    pass(r, NS);
    cr_assert_eq(done(r, 0), 3);
    cr_assert_eq(next_timer(), 0);
    down(r);
}

/* A driver that notifies all the time changes nothing, and is not counted. */
Test(blk_limits, notifications_while_it_waits)
{
    struct rig *r = up_with(",iops=1", NULL);
    passes(r, IN, 512);
    waits(r, IN, 512);
    for (unsigned i = 0; i < 50; i++) {
        pass(r, NS / 100);
        rig_kick(r, 0);
        rig_settle(r);
        cr_assert_eq(done(r, 0), 0);
    }
    cr_assert_eq(reported(r, "read_throttled"), 1);
    cr_assert_eq(reported(r, "read_throttled_ns"), NS / 2, "and goes on");
    cr_assert_eq(next_timer(), NS / 2);
    pass(r, NS / 2);
    cr_assert_eq(done(r, 0), 1);
    down(r);
}

/* One token at a time, and each queue gets its share of them. */
Test(blk_limits, queues_take_turns)
{
    enum { QUEUES = 3, EACH = 4 };
    struct rig *r = up_with(",iops=1,queues=3", &several_queues);
    unsigned got[QUEUES] = {0};
    passes(r, IN, 512);
    for (unsigned q = 0; q < QUEUES; q++) {
        for (unsigned i = 0; i < EACH; i++)
            cr_assert_eq(do_one(r, q, IN, 512), -1);
    }
    for (unsigned i = 1; i <= QUEUES * EACH; i++) {
        unsigned n = 0;
        pass(r, NS);
        for (unsigned q = 0; q < QUEUES; q++) {
            unsigned more = done(r, q);
            got[q] += more;
            n += more;
            cr_assert(got[q] >= i / QUEUES && got[q] <= i / QUEUES + 1, "%u of %u: %u", q, i,
                      got[q]);
        }
        cr_assert_eq(n, 1);
    }
    cr_assert_eq(next_timer(), 0);
    cr_assert_eq(reported(r, "read_throttled_ns"), QUEUES * EACH * NS);
    down(r);
}

/* And so do reads and writes, which wait for the same bucket. */
Test(blk_limits, ways_take_turns)
{
    enum { EACH = 6 };
    struct rig *r = up_with(",iops=1,queues=2", &several_queues);
    unsigned got[2] = {0};
    passes(r, IN, 512);
    for (unsigned i = 0; i < 2 * EACH; i++)
        cr_assert_eq(do_one(r, i % 2, i % 2 ? OUT : IN, 512), -1);
    for (unsigned i = 1; i <= 2 * EACH; i++) {
        pass(r, NS);
        for (unsigned q = 0; q < 2; q++) {
            got[q] += done(r, q);
            cr_assert(got[q] >= i / 2 && got[q] <= (i + 1) / 2, "%u of %u: %u", q, i, got[q]);
        }
    }
    down(r);
}

/* However soon that is. */
Test(blk_limits, each_turn_at_its_time)
{
    struct rig *r = up_with(",iops=100/1ms,queues=2", &several_queues);
    for (unsigned i = 0; i < 100; i++)
        passes(r, IN, 512);
    for (unsigned i = 0; i < 6; i++)
        cr_assert_eq(do_one(r, i % 2, IN, 512), -1);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert_eq(next_timer(), MS / 100);
        pass(r, MS / 100);
        cr_assert_eq(done(r, 0) + done(r, 1), 1);
    }
    pass(r, MS);
    cr_assert_eq(done(r, 0) + done(r, 1), 2);
    cr_assert_eq(next_timer(), 0);
    down(r);
}

/* It was its turn, and it does not come any more. */
Test(blk_limits, a_queue_that_is_gone_holds_up_nobody)
{
    struct rig *r = up_with(",iops=1,queues=2", &several_queues);
    passes(r, IN, 512);
    cr_assert_eq(do_one(r, 1, IN, 512), -1);
    cr_assert_eq(do_one(r, 0, IN, 512), -1);
    cr_assert_eq(next_timer(), NS);
    vdev_queue_reset(r->dev, 1); /* queue 0 was told last, or nobody */
    pass(r, NS);
    cr_assert_eq(done(r, 0), 0);
    pass(r, NS / 1000);
    cr_assert_eq(done(r, 0), 1);
    cr_assert_eq(next_timer(), 0);
    down(r);
}

/* --- what may happen meanwhile --- */

/* The limit is the host's: a driver that begins anew does not get around it. */
Test(blk_limits, a_reset)
{
    struct rig *r = up_with(",iops=1", NULL);
    passes(r, IN, 512);
    waits(r, IN, 512);
    rig_status_set(r, 0);
    rig_negotiate(r);
    waits(r, IN, 512);
    cr_assert_eq(next_timer(), NS);
    pass(r, NS);
    cr_assert_eq(done(r, 0), 1);
    waits(r, IN, 512);
    rig_status_set(r, 0);
    pass(r, NS); /* there is no queue to tell */
    cr_assert_eq(next_timer(), 0);
    rig_negotiate(r);
    passes(r, IN, 512);
    down(r);
}

Test(blk_limits, a_queue_that_is_reset)
{
    struct rig *r = up_with(",iops=1", NULL);
    passes(r, IN, 512);
    waits(r, IN, 512);
    vdev_queue_reset(r->dev, 0);
    pass(r, NS / 2);
    rig_queue_up(r, 0);
    waits(r, OUT, 512);
    pass(r, NS / 2);
    cr_assert_eq(done(r, 0), 1);
    waits(r, OUT, 512);
    vdev_queue_reset(r->dev, 0);
    pass(r, NS);
    rig_queue_up(r, 0);
    passes(r, OUT, 512);
    down(r);
}

Test(blk_limits, a_pause_and_a_saved_state)
{
    for (unsigned how = 0; how < 4; how++) {
        struct rig *r = up_with(",iops=1", &(struct rig_options){.packed = how & 1});
        passes(r, IN, 512);
        waits(r, IN, 512);
        waits(r, IN, 512);
        pass(r, NS / 2);
        if (how & 2) {
            rig_save_and_load(r);
            rig_settle(r);
        } else {
            vdev_pause(r->dev);
            vdev_resume(r->dev);
            rig_settle(r);
        }
        cr_assert_eq(done(r, 0), 0);
        pass(r, NS / 2);
        cr_assert_eq(done(r, 0), 1);
        vdev_pause(r->dev);
        pass(r, 5 * NS);
        cr_assert_eq(done(r, 0), 0);
        cr_assert_eq(next_timer(), 0);
        vdev_resume(r->dev);
        rig_settle(r);
        cr_assert_eq(done(r, 0), 1, "time has passed");
        waits(r, IN, 512);
        down(r);
        memset(own_timers, 0, sizeof(own_timers));
    }
}

/* While it waits, and the device is taken away. */
Test(blk_limits, the_end)
{
    struct rig *r = up_with(",iops=1", NULL);
    passes(r, IN, 512);
    waits(r, IN, 512);
    down(r);
}

Test(blk_limits, other_limits)
{
    struct rig *r = up_with("", NULL);
    char text[128];
    struct err err;
#define LIMITS(more)                                                                               \
    do {                                                                                           \
        (void)snprintf(text, sizeof(text), "%s%s", path, more);                                    \
        cr_assert_eq(rig_update(r, text, &err), 0, "%s", err.msg);                                 \
        rig_settle(r);                                                                             \
    } while (0)
    for (unsigned i = 0; i < 100; i++)
        passes(r, OUT, 512);
    LIMITS(",write_iops=1/10s,read_iops=1/20s");
    passes(r, OUT, 512);
    waits(r, OUT, 512);
    pass(r, NS);
    LIMITS(",write_iops=1/10s,read_iops=1/30s");
    cr_assert_eq(done(r, 0), 0, "that of writes is as it was");
    cr_assert_eq(next_timer(), 9 * NS);
    LIMITS(",write_iops=1/5s");
    cr_assert_eq(done(r, 0), 1, "another one is full");
    waits(r, OUT, 512);
    LIMITS("");
    cr_assert_eq(done(r, 0), 1);
    passes(r, OUT, 512);
    passes(r, OUT, 512);
    pass(r, 100 * NS);
    cr_assert_eq(reported(r, "write_throttled_ns"), NS, "and not since then");
    down(r);
}
