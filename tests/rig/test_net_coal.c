/* tests/rig/test_net_coal.c - a network device that is asked for fewer interrupts (5.1.6.5.7):
 * whose parameters are whose, and what is told when. */
#include "tests/rig/net_fixture.h"
#include "tests/rig/published.h"

static uint8_t frame[4096];

struct params {
    uint32_t max_packets, max_usecs;
};

static int coal_all(struct fx *f, uint8_t cmd, uint32_t packets, uint32_t usecs)
{
    struct params p = {packets, usecs};
    return fx_ctrl(f, VIRTIO_NET_CTRL_NOTF_COAL, cmd, &p, sizeof(p));
}

static int coal_set(struct fx *f, uint16_t queue, uint32_t packets, uint32_t usecs)
{
    struct {
        uint16_t queue, reserved;
        struct params p;
    } c = {queue, 0xffff, {packets, usecs}};
    return fx_ctrl(f, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, &c, sizeof(c));
}

/* max_packets of a queue, or -1. */
static int64_t coal_get(struct fx *f, uint16_t queue)
{
    uint16_t c[2] = {queue, 0xffff};
    uint8_t reply[9];
    uint32_t written;
    (void)fx_ctrl_reply(f, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET, c,
                        sizeof(c), reply, sizeof(reply), &written);
    if (written == 1)
        return reply[0] == VIRTIO_NET_ERR ? -1 : -2;
    return written == 9 && reply[8] == VIRTIO_NET_OK ? (int64_t)get_bytes(reply, 4) : -3;
}

/* The example of 5.1.6.5.7. */
Test(net_coal, parameters)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#01");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#03");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#04");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#05");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#06");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#09");
    struct fx *f = fx_up(2, true, NULL, NULL);
    enum { TX = VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, RX = VIRTIO_NET_CTRL_NOTF_COAL_RX_SET };
    cr_expect_eq(coal_get(f, 0), 0);
    cr_expect_eq(coal_all(f, RX, 11, 100), VIRTIO_NET_OK);
    cr_expect(coal_get(f, 0) == 11 && coal_get(f, 2) == 11 && coal_get(f, 1) == 0);
    cr_expect_eq(coal_set(f, 0, 12, 100), VIRTIO_NET_OK);
    cr_expect(coal_get(f, 0) == 12 && coal_get(f, 2) == 11);
    cr_expect_eq(coal_set(f, 1, 13, 100), VIRTIO_NET_OK);
    cr_expect(coal_get(f, 1) == 13 && coal_get(f, 3) == 0);
    cr_expect_eq(coal_all(f, TX, 14, 100), VIRTIO_NET_OK);
    cr_expect(coal_get(f, 1) == 14 && coal_get(f, 3) == 14);
    cr_expect_eq(coal_set(f, 1, 15, 100), VIRTIO_NET_OK);
    cr_expect_eq(coal_set(f, 4, 1, 1), VIRTIO_NET_ERR, "the control queue");
    cr_expect_eq(coal_get(f, 4), -1);
    cr_expect_eq(coal_get(f, 0xffff), -1);
    vdev_queue_reset(f->r->dev, 1);
    vdev_queue_reset(f->r->dev, 0);
    cr_expect_eq(coal_set(f, 0, 1, 1), VIRTIO_NET_ERR);
    cr_expect_eq(coal_get(f, 1), -1);
    rig_queue_up(f->r, 0);
    rig_queue_up(f->r, 1);
    rig_settle(f->r);
    cr_expect_eq(coal_get(f, 1), 14);
    cr_expect_eq(coal_get(f, 0), 11);
    rig_negotiate(f->r);
    for (uint16_t i = 0; i < 4; i++)
        cr_expect_eq(coal_get(f, i), 0);
    /* Nobody has set what they are to go back to, now. */
    cr_expect_eq(coal_set(f, 0, 12, 100), VIRTIO_NET_OK);
    cr_expect_eq(coal_set(f, 1, 13, 100), VIRTIO_NET_OK);
    for (uint16_t i = 0; i < 2; i++) {
        vdev_queue_reset(f->r->dev, i);
        rig_queue_up(f->r, i);
        rig_settle(f->r);
        cr_expect_eq(coal_get(f, i), 0);
    }
    fx_down(f);
}

/* What cannot be followed is refused, and changes nothing. */
Test(net_coal, parameters_that_make_no_sense)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#02");
    struct fx *f = fx_up(1, true, NULL, NULL);
    for (uint8_t cmd = VIRTIO_NET_CTRL_NOTF_COAL_TX_SET; cmd <= VIRTIO_NET_CTRL_NOTF_COAL_RX_SET;
         cmd++) {
        uint16_t queue = cmd == VIRTIO_NET_CTRL_NOTF_COAL_TX_SET ? 1 : 0;
        static const uint8_t data[9] = {7};
        cr_expect_eq(coal_all(f, cmd, 5, 100), VIRTIO_NET_OK);
        cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_NOTF_COAL, cmd, data, 7), VIRTIO_NET_ERR);
        cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_NOTF_COAL, cmd, data, 9), VIRTIO_NET_ERR);
        cr_expect_eq(coal_get(f, queue), 5);
    }
    fx_down(f);
    const struct rig_options without = {.without = NET_F(VIRTIO_NET_F_NOTF_COAL)};
    f = fx_up(1, true, NULL, &without);
    cr_expect_eq(coal_all(f, VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 5, 100), VIRTIO_NET_ERR);
    cr_expect_eq(coal_set(f, 0, 6, 100), VIRTIO_NET_OK, "a feature of its own");
    cr_expect_eq(coal_get(f, 0), 6);
    fx_down(f);
}

static unsigned count_used(struct fx *f, unsigned q)
{
    uint32_t id, len;
    unsigned n = 0;
    rig_settle(f->r);
    while (rig_used(f->r, q, &id, &len))
        n++;
    return n;
}

Test(net_coal, packets)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#07");
    struct fx *f = fx_up(1, false, NULL, NULL);
    cr_expect_eq(coal_set(f, 0, 3, 1000000), VIRTIO_NET_OK);
    cr_expect_eq(coal_set(f, 1, 2, 1000000), VIRTIO_NET_OK);
    fx_post(f, 0, 20, 2000);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    (void)rig_irqs(f->r);
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    for (unsigned i = 0; i < 2; i++)
        fx_send(f, 0, NULL, frame, 100);
    rig_settle(f->r);
    cr_expect_eq(rig_irqs(f->r), 0);
    fx_send(f, 0, NULL, frame, 100);
    cr_expect_eq(count_used(f, 0), 3);
    cr_expect_eq(rig_irqs(f->r), 1, "one for the three");
    fx_tx(f, 1, NULL, frame, 100);
    cr_expect_eq(rig_irqs(f->r), 0);
    fx_tx(f, 1, NULL, frame, 100);
    cr_expect_eq(rig_irqs(f->r), 1);
    cr_expect_eq(count_used(f, 1), 2);
    /* Parameters that make it due. */
    fx_tx(f, 1, NULL, frame, 100);
    cr_expect_eq(count_used(f, 1), 0);
    cr_expect_eq(coal_set(f, 1, 1, 1000000), VIRTIO_NET_OK);
    cr_expect_eq(count_used(f, 1), 1);
    /* A driver without buffers is not left in the dark. */
    cr_expect_eq(coal_set(f, 0, 1000, 1000000), VIRTIO_NET_OK);
    for (unsigned i = 0; i < 17; i++)
        fx_send(f, 0, NULL, frame, 100);
    cr_expect_eq(count_used(f, 0), 17);
    fx_down(f);
}

Test(net_coal, time)
{
    struct fx *f = fx_up(1, false, NULL, NULL);
    cr_expect_eq(coal_set(f, 0, 100, 20000), VIRTIO_NET_OK);
    fx_post(f, 0, 20, 2000);
    rig_kick(f->r, 0);
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    fx_send(f, 0, NULL, frame, 100);
    cr_expect_eq(count_used(f, 0), 0);
    (void)loop_step(f->r->loop, 5000);
    cr_expect_eq(count_used(f, 0), 1);
    /* And a reset with some held back. */
    fx_send(f, 0, NULL, frame, 100);
    rig_settle(f->r);
    rig_negotiate(f->r);
    cr_expect_eq(coal_get(f, 0), 0);
    fx_down(f);
}

/* The conditions are met, and the driver wants to hear of nothing: used, and not told. */
Test(net_coal, suppressed_notifications)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Notifications "
           "Coalescing#08");
    for (unsigned event_idx = 0; event_idx < 2; event_idx++) {
        const struct rig_options o = {.no_event_idx = !event_idx};
        struct fx *f = fx_up(1, false, NULL, &o);
        cr_expect_eq(coal_set(f, 0, 2, 20000), VIRTIO_NET_OK);
        fx_post(f, 0, 20, 2000);
        rig_kick(f->r, 0);
        rig_settle(f->r);
        (void)rig_irqs(f->r);
        rig_hush(f->r, 0);
        fx_frame(frame, TO_GUEST, 0x0800, 100);
        for (unsigned i = 0; i < 3; i++)
            fx_send(f, 0, NULL, frame, 100);
        cr_expect_eq(count_used(f, 0), 2, "by their number");
        (void)loop_step(f->r->loop, 5000);
        cr_expect_eq(count_used(f, 0), 1, "by the time");
        cr_expect_eq(rig_irqs(f->r), 0);
        fx_down(f);
    }
}

/* A frame in more buffers than are kept, in a queue that is longer than most. */
Test(net_coal, a_frame_in_very_many_buffers)
{
    enum { SINGLE = 127, PIECES = 256, LEN = 1200 };
    const struct rig_options o = {.device_queue_size = 1024};
    struct fx *f = fx_up(1, true, NULL, &o);
    cr_assert_eq(coal_set(f, 0, 100000, 1000000), VIRTIO_NET_OK);
    fx_post(f, 0, SINGLE, 2000);
    fx_post(f, 0, 1, HDR);
    fx_post(f, 0, PIECES - 1, 5);
    rig_kick(f->r, 0);
    fx_frame(frame, TO_GUEST, 0x0800, LEN);
    for (unsigned i = 0; i < SINGLE; i++)
        fx_send(f, 0, NULL, frame, 100);
    cr_expect_eq(count_used(f, 0), 0);
    fx_send(f, 0, NULL, frame, 5 * (PIECES - 1));
    cr_expect_eq(count_used(f, 0), SINGLE + PIECES);
    cr_expect_eq(coal_get(f, 0), 100000, "its parameters are what they were");
    fx_down(f);
}

/* 5.1.6.5.5.2: what was received for a queue that is not used any more is told before the command
 * is done. */
Test(net_coal, packets_of_a_queue_that_is_given_up)
{
    struct fx *f = fx_up(2, true, NULL, &(struct rig_options){.no_event_idx = true});
    uint16_t pairs = 2;
    cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MQ, 0, &pairs, 2), VIRTIO_NET_OK);
    cr_assert_eq(coal_set(f, 2, 100, 1000000), VIRTIO_NET_OK);
    fx_post(f, 2, 20, 2000);
    rig_kick(f->r, 2);
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    fx_send(f, 1, NULL, frame, 100);
    cr_expect_eq(count_used(f, 2), 0);
    /* The device sees two commands at once. */
    struct rig_seg out = {.at = rig_alloc(f->r, 4), .len = 4};
    struct rig_seg in = {.at = rig_alloc(f->r, 1), .len = 1};
    for (uint8_t n = 2; n > 0; n--, out.at = rig_alloc(f->r, 4)) {
        memcpy(rig_at(f->r, out.at, 4), (uint8_t[]){VIRTIO_NET_CTRL_MQ, 0, n, 0}, 4);
        rig_add(f->r, 4, &out, 1, &in, 1);
    }
    rig_kick(f->r, 4);
    uint32_t id, len;
    n_published = 0;
    while (!rig_used(f->r, 4, &id, &len))
        (void)loop_step(f->r->loop, 1000);
    cr_expect(rig_used(f->r, 2, &id, &len));
    cr_expect_eq(len, 100 + HDR);
    rig_settle(f->r);
    cr_expect(n_published == 3 && published[0] == 4 && published[1] == 2 && published[2] == 4,
              "the first command, what was received, the second");
    fx_down(f);
}
