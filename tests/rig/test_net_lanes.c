/* tests/rig/test_net_lanes.c - a network device whose pairs of queues live on several loops, each
 * stepped alone here: what is whose, and that each command reaches all of them before it is
 * answered. */
#include <semaphore.h>

#include "tests/rig/net_fake.h"
#include "tests/rig/reported.h"

enum { CTRL = 2 * QUEUES };

/* As a tap with its queues. */
static struct rig *up(const char *more, const struct rig_options *o)
{
    struct rig_options two = o ? *o : (struct rig_options){0};
    char text[128];
    two.loops = 2;
    fake = (struct fake){.b = {.offloads = NET_RX_OFFLOADS | NET_TX_OFFLOADS,
                               .steers = true,
                               .detaches = true,
                               .apart = true}};
    fake.len = 100;
    fx_frame(frame, TO_GUEST, 0x0800, sizeof(frame));
    (void)snprintf(text, sizeof(text), "net,backend=none,queues=2,mac=52:54:00:00:00:01%s", more);
    return rig_up(text, &two);
}

/* Offers a command, which nobody has looked at yet; its answer stands in *answer then. */
static void command(struct rig *r, uint8_t class, uint8_t cmd, const void *data, size_t len,
                    uint8_t **answer)
{
    struct rig_seg out = {.at = rig_alloc(r, 2 + len), .len = (uint32_t)(2 + len)};
    struct rig_seg in = {.at = rig_alloc(r, 9), .len = 9};
    uint8_t *p = rig_at(r, out.at, out.len);
    p[0] = class;
    p[1] = cmd;
    memcpy(p + 2, data, len);
    *answer = rig_at(r, in.at, in.len);
    **answer = 0xee;
    rig_add(r, CTRL, &out, 1, &in, 1);
    rig_kick(r, CTRL);
}

static void does(struct rig *r, uint8_t class, uint8_t cmd, const void *data, size_t len)
{
    uint8_t *answer;
    command(r, class, cmd, data, len, &answer);
    rig_settle(r);
    cr_assert(used(r, CTRL));
    cr_assert_eq(*answer, VIRTIO_NET_OK, "%u %u", class, cmd);
}

static struct rig *up_with_both(const char *more, const struct rig_options *o)
{
    struct rig *r = up(more, o);
    does(r, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\2\0", 2);
    for (unsigned pair = 0; pair < QUEUES; pair++)
        post(r, 2 * pair, 60);
    return r;
}

/* Does a frame that comes there now come through? The same must hold for both pairs. */
static bool hears(struct rig *r)
{
    bool heard[QUEUES];
    for (unsigned i = 0; i < QUEUES; i++) {
        arrive(r, i);
        heard[i] = used(r, 2 * i);
        cr_expect_eq(fake.waiting[i], 0);
    }
    cr_assert_eq(heard[0], heard[1]);
    return heard[0];
}

static void offer_frame(struct rig *r, unsigned q)
{
    struct rig_seg out = {.at = rig_alloc(r, HDR + 100), .len = HDR + 100};
    rig_add(r, q, &out, 1, NULL, 0);
    rig_kick(r, q);
}

Test(net_lanes, a_pair_and_its_loop)
{
    struct rig *r = up_with_both("", NULL);
    uint8_t *answer;
    for (unsigned q = 1; q < CTRL; q += 2)
        offer_frame(r, q);
    command(r, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\7\0", 2, &answer);
    loop_settle(r->loops[1]);
    cr_expect(fake.sent[0] == 0 && fake.sent[1] == 1 && used(r, 3));
    cr_expect_not(used(r, 1) || used(r, CTRL));
    loop_settle(r->loops[0]);
    cr_expect(fake.sent[0] == 1 && used(r, 1) && used(r, CTRL));
    cr_expect_eq(fake.b.sink.loop[0], r->loops[0]);
    cr_expect_eq(fake.b.sink.loop[1], r->loops[1]);
    cr_expect(hears(r));
    cr_expect_eq(reported(r, "rx_packets"), 2, "whichever loop counted");
    cr_expect_eq(reported(r, "tx_packets"), 2);
    rig_down(r);
}

/* RSS may lead any frame to any queue, and a capture is one file. */
Test(net_lanes, some_stay_together)
{
    char file[] = "/tmp/test_net_lanes.XXXXXX", pcap[64];
    int fd = mkstemp(file);
    cr_assert_geq(fd, 0);
    (void)snprintf(pcap, sizeof(pcap), ",pcap=%s", file);
    const char *const with[] = {",rss", pcap};
    for (size_t i = 0; i < ARRAY_SIZE(with); i++) {
        struct rig *r = up_with_both(with[i], NULL);
        offer_frame(r, 3);
        loop_settle(r->loops[1]);
        cr_expect_eq(fake.sent[1], 0, "%s", with[i]);
        loop_settle(r->loops[0]);
        cr_expect_eq(fake.sent[1], 1, "%s", with[i]);
        cr_expect(hears(r));
        rig_down(r);
    }
    close(fd);
    unlink(file);
}

/* Without MQ the control queue is what else were the second pair's: on its loop. */
Test(net_lanes, without_more_than_one_pair)
{
    struct rig *r = up("", &(struct rig_options){.without = NET_F(VIRTIO_NET_F_MQ)});
    struct rig_seg out = {.at = rig_alloc(r, 3), .len = 3}, in = {.at = rig_alloc(r, 1), .len = 1};
    memcpy(rig_at(r, out.at, 3), (uint8_t[]){VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, 1}, 3);
    post(r, 0, 4);
    arrive(r, 0);
    cr_expect(used(r, 0));
    rig_add(r, 2, &out, 1, &in, 1);
    rig_kick(r, 2);
    loop_settle(r->loops[0]);
    cr_expect_not(used(r, 2));
    loop_settle(r->loops[1]);
    cr_expect(used(r, 2));
    arrive(r, 0);
    cr_expect(fake.waiting[0] == 0 && !used(r, 0));
    rig_down(r);
}

/* --- what is commanded, each pair obeys --- */

Test(net_lanes, what_is_received)
{
    struct rig *r = up_with_both("", NULL);
    cr_expect(hears(r));
    does(r, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, "\1", 1);
    cr_expect_not(hears(r));
    does(r, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, "\0", 1);
    does(r, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "\x52\x54\0\0\0\x42", 6);
    cr_expect_not(hears(r));
    does(r, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, "\1\0\0\0\x52\x54\0\0\0\1\0\0\0\0",
         14);
    cr_expect(hears(r));
    fx_frame(frame, TO_GUEST, 0x8100, sizeof(frame));
    memcpy(frame + 14, "\0\7", 2);
    cr_expect_not(hears(r));
    does(r, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\7\0", 2);
    cr_expect(hears(r));
    fake.hdr = (net_hdr_t){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34};
    cr_expect(hears(r));
    does(r, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, "\0\0\0\0\0\0\0",
         8);
    cr_expect_not(hears(r));
    rig_down(r);
}

Test(net_lanes, what_is_reported)
{
    struct rig *r = up(",hash", NULL);
    uint8_t config[12 + 1 + 40] = {[0] = VIRTIO_NET_RSS_HASH_TYPE_IPv4, [12] = 40, [13] = 1};
    frame[14] = 0x45; /* IPv4, of which the rest is of no matter */
    does(r, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\2\0", 2);
    does(r, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_HASH_CONFIG, config, sizeof(config));
    for (unsigned i = 0; i < QUEUES; i++) {
        struct rig_seg in = {.at = rig_alloc(r, 2000), .len = 2000};
        rig_add(r, 2 * i, NULL, 0, &in, 1);
        rig_kick(r, 2 * i);
        rig_settle(r);
        arrive(r, i);
        cr_assert(used(r, 2 * i));
        const uint8_t *b = rig_at(r, in.at, 20);
        cr_expect_eq(get_bytes(b + 16, 2), VIRTIO_NET_HASH_REPORT_IPv4);
    }
    rig_down(r);
}

static void coalesce(struct rig *r, uint32_t packets)
{
    const uint32_t params[2] = {packets, 1000000};
    does(r, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, params, sizeof(params));
}

/* Also of a queue that begins anew, while others go on. */
Test(net_lanes, when_it_is_told)
{
    struct rig *r = up_with_both("", NULL);
    struct {
        uint16_t queue, reserved;
        uint32_t packets, usecs;
    } one = {2, 0, 3, 1000000};
    coalesce(r, 2);
    cr_expect_not(hears(r));
    for (unsigned i = 0; i < QUEUES; i++) {
        arrive(r, i);
        cr_expect(used(r, 2 * i) && used(r, 2 * i), "two at once");
    }
    cr_expect_not(hears(r));
    coalesce(r, 0);
    cr_expect(used(r, 0) && used(r, 2), "what was done is told");
    cr_expect(hears(r));
    coalesce(r, 2);
    does(r, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, &one, sizeof(one));
    vdev_queue_reset(r->dev, 2);
    rig_queue_up(r, 2);
    post(r, 2, 4);
    arrive(r, 1);
    cr_expect_not(used(r, 2));
    arrive(r, 1);
    cr_expect(used(r, 2) && used(r, 2), "as all have it");
    rig_down(r);
}

Test(net_lanes, how_many_there_are)
{
    struct rig *r = up("", NULL);
    for (unsigned pair = 0; pair < QUEUES; pair++)
        post(r, 2 * pair, 4);
    cr_expect(fake.listens[0] && !fake.listens[1] && !fake.attached[1]);
    does(r, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\2\0", 2);
    cr_expect(fake.listens[1] && fake.attached[1]);
    cr_expect(hears(r));
    does(r, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\1\0", 2);
    cr_expect(fake.listens[0] && !fake.listens[1] && fake.attached[0] && !fake.attached[1]);
    transmit(r, 3);
    cr_expect(used(r, 3) && fake.sent[1] == 1, "a detached queue takes what is sent");
    rig_status_set(r, 0);
    cr_expect_not(fake.listens[0] || fake.listens[1] || fake.attached[1]);
    rig_down(r);
}

/* --- stops --- */

Test(net_lanes, a_pause_and_another_life)
{
    struct rig *r = up_with_both("", NULL);
    does(r, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, "\1", 1);
    rig_save_and_load(r);
    rig_settle(r);
    cr_expect(fake.listens[0] && fake.listens[1] && fake.attached[1]);
    cr_expect_not(hears(r));
    does(r, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, "\0", 1);
    cr_expect(hears(r));
    vdev_pause(r->dev);
    for (unsigned i = 0; i < QUEUES; i++) {
        arrive(r, i);
        cr_expect(fake.waiting[i] == 1 && !fake.listens[i]);
    }
    vdev_resume(r->dev);
    rig_settle(r);
    for (unsigned i = 0; i < QUEUES; i++) {
        arrive(r, i);
        cr_expect(used(r, 2 * i) && used(r, 2 * i));
    }
    rig_down(r);
}

/* What another driver had commanded is gone, everywhere. */
Test(net_lanes, a_reset)
{
    struct rig *r = up_with_both("", NULL);
    does(r, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, "\1", 1);
    cr_expect_not(hears(r));
    coalesce(r, 5);
    rig_negotiate(r);
    does(r, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\2\0", 2);
    for (unsigned pair = 0; pair < QUEUES; pair++)
        post(r, 2 * pair, 4);
    cr_expect(hears(r));
    cr_expect_eq(reported(r, "rx_packets"), 2);
    rig_down(r);
}

/* --- limits --- */

/* One bucket for both pairs: who waits for it is run on its own loop. */
Test(net_lanes, limits_are_shared)
{
    struct rig *r = up_with_both(",rx_pps=1/1ms,tx_pps=1/1ms", NULL);
    unsigned in = 0, out = 0;
    for (unsigned i = 0; i < QUEUES; i++) {
        fake.waiting[i] = 3;
        fake.b.sink.readable(fake.b.sink.ctx, i);
        offer_frame(r, 2 * i + 1);
        offer_frame(r, 2 * i + 1);
    }
    for (unsigned steps = 0; (in < 6 || out < 4) && steps < 10000; steps++) {
        for (unsigned i = 0; i < QUEUES; i++) {
            (void)loop_step(r->loops[i], 1);
            if (fake.waiting[i] && fake.listens[i])
                fake.b.sink.readable(fake.b.sink.ctx, i);
            in += used(r, 2 * i);
            out += used(r, 2 * i + 1);
        }
    }
    cr_expect(in == 6 && out == 4, "%u %u", in, out);
    cr_expect_gt(reported(r, "rx_throttled"), 0);
    cr_expect_gt(reported(r, "tx_throttled"), 0);
    rig_down(r);
}

/* --- a loop that is busy --- */

static sem_t is_busy, may_go_on;

static void be_busy(void *ctx)
{
    (void)ctx;
    (void)sem_post(&is_busy);
    (void)sem_wait(&may_go_on);
}

/* A command is answered when all loops follow it, in the order of commands, and none of them waits
 * meanwhile. */
Test(net_lanes, a_loop_that_is_busy, .timeout = 60)
{
    struct rig *r = up_with_both("", NULL);
    struct loop_task busy = {.fn = be_busy};
    uint8_t *first, *second;
    cr_assert(sem_init(&is_busy, 0, 0) == 0 && sem_init(&may_go_on, 0, 0) == 0);
    cr_assert_eq(loop_start(r->loops[1]), 0);
    loop_post(r->loops[1], &busy);
    (void)sem_wait(&is_busy);
    command(r, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, "\1", 1, &first);
    command(r, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOUNI, "\0", 1, &second);
    loop_settle(r->loops[0]);
    rig_kick(r, CTRL);
    loop_settle(r->loops[0]);
    cr_expect(*first == 0xee && *second == 0xee && !used(r, CTRL));
    fake.waiting[0] = 1;
    fake.b.sink.readable(fake.b.sink.ctx, 0);
    cr_expect(fake.waiting[0] == 0, "the other one works");
    loop_settle(r->loops[0]);
    cr_expect_not(used(r, 0), "and follows already");
    (void)sem_post(&may_go_on);
    for (unsigned i = 0; *second == 0xee && i < 1000; i++) {
        cr_expect(*first == VIRTIO_NET_OK || *second == 0xee);
        (void)loop_step(r->loops[0], 10);
    }
    cr_expect(*first == VIRTIO_NET_OK && *second == VIRTIO_NET_OK);
    loop_stop(r->loops[1]);
    rig_settle(r);
    cr_expect(used(r, CTRL) && used(r, CTRL));
    cr_expect(hears(r));
    rig_down(r);
}
