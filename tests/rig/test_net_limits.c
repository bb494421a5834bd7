/* tests/rig/test_net_limits.c - a network device with rate limits: each way waits for itself, and
 * nothing is lost of what waited, whatever happens meanwhile. */
#include "tests/rig/net_fixture.h"
#include "tests/rig/own_clock.h"
#include "tests/rig/reported.h"

enum { LEN = 100 };
static uint8_t frame[LEN];

/* Frames to the guest, into buffers that it has. */
static void arrive(struct fx *f, unsigned peer, unsigned n)
{
    fx_frame(frame, TO_GUEST, 0x0800, LEN);
    for (unsigned i = 0; i < n; i++)
        fx_send(f, peer, NULL, frame, LEN);
    rig_settle(f->r);
}

static void offer(struct fx *f, unsigned q, unsigned n)
{
    fx_post(f, q, n, 2000);
    rig_kick(f->r, q);
    rig_settle(f->r);
}

static unsigned received(struct fx *f, unsigned q)
{
    unsigned n = 0;
    uint32_t len;
    while (fx_used(f, q, &len))
        n++;
    return n;
}

static void transmit(struct fx *f, unsigned q, unsigned n)
{
    fx_frame(frame, TO_OTHER, 0x0800, LEN);
    for (unsigned i = 0; i < n; i++)
        fx_tx(f, q, NULL, frame, LEN);
}

static unsigned sent(struct fx *f, unsigned peer)
{
    uint8_t buf[LEN];
    unsigned n = 0;
    while (fx_recv(f, peer, NULL, buf, sizeof(buf)))
        n++;
    return n;
}

static void no_timer(void)
{
    memset(own_timers, 0, sizeof(own_timers));
}

Test(net_limits, sending)
{
    static const struct rig_options formats[] = {
        {0}, {.packed = true}, {.in_order = true}, {.no_event_idx = true}};
    for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
        struct fx *f = fx_up(1, true, ",tx_pps=2", &formats[i]);
        transmit(f, 1, 2);
        cr_assert_eq(sent(f, 0), 2);
        cr_assert_eq(reported(f->r, "tx_throttled"), 0);
        cr_assert_eq(next_timer(), 0);
        transmit(f, 1, 3);
        cr_assert_eq(sent(f, 0), 0);
        cr_assert_eq(next_timer(), NS / 2);
        pass(f->r, NS / 2 - 1);
        cr_assert_eq(sent(f, 0), 0);
        pass(f->r, 1);
        cr_assert_eq(sent(f, 0), 1);
        pass(f->r, NS);
        cr_assert_eq(sent(f, 0), 2);
        cr_assert_eq(received(f, 1), 5);
        cr_assert_eq(reported(f->r, "tx_throttled"), 3);
        cr_assert_eq(reported(f->r, "tx_throttled_ns"), 3 * NS / 2);
        cr_assert_eq(reported(f->r, "rx_throttled_ns"), 0);
        fx_down(f);
        no_timer();
    }
}

Test(net_limits, receiving)
{
    struct fx *f = fx_up(1, true, ",rx_pps=2", NULL);
    offer(f, 0, 10);
    arrive(f, 0, 2);
    cr_assert_eq(received(f, 0), 2);
    cr_assert_eq(reported(f->r, "rx_throttled"), 0, "nothing is there to wait");
    cr_assert_eq(next_timer(), 0);
    arrive(f, 0, 3);
    cr_assert_eq(received(f, 0), 0);
    cr_assert_eq(next_timer(), NS / 2);
    pass(f->r, NS / 2 - 1);
    offer(f, 0, 1);
    cr_assert_eq(received(f, 0), 0);
    pass(f->r, 1);
    cr_assert_eq(received(f, 0), 1);
    pass(f->r, NS);
    cr_assert_eq(received(f, 0), 2);
    cr_assert_eq(next_timer(), 0);
    cr_assert_eq(reported(f->r, "rx_throttled"), 3);
    cr_assert_eq(reported(f->r, "rx_throttled_ns"), 3 * NS / 2);
    cr_assert_eq(reported(f->r, "tx_throttled"), 0);
    fx_down(f);
}

Test(net_limits, bytes)
{
    struct fx *f = fx_up(1, true, ",rx_bps=150,tx_bps=250", NULL);
    offer(f, 0, 10);
    arrive(f, 0, 3);
    cr_assert_eq(received(f, 0), 2);
    cr_assert_eq(next_timer(), (51 * NS + 149) / 150);
    transmit(f, 1, 4);
    cr_assert_eq(sent(f, 0), 3);
    cr_assert_eq(next_timer(), 51 * NS / 250);
    pass(f->r, next_timer());
    cr_assert_eq(sent(f, 0), 1);
    cr_assert_eq(received(f, 0), 0);
    cr_assert_eq(reported(f->r, "rx_throttled"), 1, "its time has not come");
    pass(f->r, next_timer());
    cr_assert_eq(received(f, 0), 1);
    fx_down(f);
}

/* Neither way stops the other, nor the control queue. */
Test(net_limits, each_way_for_itself)
{
    struct fx *f = fx_up(1, true, ",rx_pps=1/10s,tx_pps=1/10s", NULL);
    offer(f, 0, 10);
    arrive(f, 0, 2);
    cr_assert_eq(received(f, 0), 1);
    transmit(f, 1, 1);
    cr_assert_eq(sent(f, 0), 1);
    cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\1", 1),
                 VIRTIO_NET_OK);
    transmit(f, 1, 1);
    cr_assert_eq(sent(f, 0), 0);
    cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\0", 1),
                 VIRTIO_NET_OK);
    pass(f->r, 10 * NS);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(sent(f, 0), 1);
    fx_down(f);
}

Test(net_limits, what_is_dropped_is_free)
{
    struct fx *f = fx_up(1, true, ",rx_pps=1,tx_pps=1", NULL);
    offer(f, 0, 10);
    cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, "\0", 1),
                 VIRTIO_NET_OK);
    fx_frame(frame, TO_OTHER, 0x0800, LEN);
    for (unsigned i = 0; i < 20; i++)
        fx_send(f, 0, NULL, frame, LEN);
    arrive(f, 0, 1);
    cr_assert_eq(received(f, 0), 1);
    fx_tx(f, 1, NULL, frame, 3); /* no frame at all */
    transmit(f, 1, 1);
    cr_assert_eq(sent(f, 0), 1);
    fx_down(f);
}

/* The buffers that the device holds for the frame that waits go back too. */
Test(net_limits, a_reset)
{
    struct fx *f = fx_up(1, true, ",rx_pps=1,tx_pps=1", NULL);
    offer(f, 0, 10);
    arrive(f, 0, 2);
    transmit(f, 1, 2);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(sent(f, 0), 1);
    rig_status_set(f->r, 0);
    rig_negotiate(f->r);
    offer(f, 0, 10);
    transmit(f, 1, 1);
    cr_assert_eq(received(f, 0), 0);
    cr_assert_eq(sent(f, 0), 0);
    pass(f->r, NS);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(sent(f, 0), 1);
    arrive(f, 0, 1);
    transmit(f, 1, 1);
    rig_status_set(f->r, 0);
    pass(f->r, 5 * NS);
    cr_assert_eq(next_timer(), 0);
    rig_negotiate(f->r);
    offer(f, 0, 10);
    transmit(f, 1, 1);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(sent(f, 0), 1);
    fx_down(f);
}

Test(net_limits, queues_that_are_reset)
{
    struct fx *f = fx_up(1, true, ",rx_pps=1,tx_pps=1", NULL);
    offer(f, 0, 10);
    arrive(f, 0, 2);
    transmit(f, 1, 2);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(sent(f, 0), 1);
    vdev_queue_reset(f->r->dev, 0);
    vdev_queue_reset(f->r->dev, 1);
    rig_queue_up(f->r, 0);
    rig_queue_up(f->r, 1);
    offer(f, 0, 10);
    transmit(f, 1, 1);
    pass(f->r, NS / 2);
    cr_assert_eq(received(f, 0) + sent(f, 0), 0);
    pass(f->r, NS / 2);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(sent(f, 0), 1);
    fx_down(f);
}

Test(net_limits, a_pause_and_a_saved_state)
{
    for (unsigned how = 0; how < 4; how++) {
        const struct rig_options o = {.packed = how & 1};
        struct fx *f = fx_up(1, true, ",rx_pps=1,tx_pps=1", &o);
        offer(f, 0, 10);
        arrive(f, 0, 3);
        transmit(f, 1, 3);
        cr_assert_eq(received(f, 0), 1);
        cr_assert_eq(sent(f, 0), 1);
        if (how & 2) {
            rig_save_and_load(f->r);
            rig_settle(f->r);
            arrive(f, 0, 2); /* a load is a reset first, which drops nothing of the host's */
        } else {
            vdev_pause(f->r->dev);
            vdev_resume(f->r->dev);
            rig_settle(f->r);
        }
        cr_assert_eq(received(f, 0) + sent(f, 0), 0);
        pass(f->r, NS);
        cr_assert_eq(received(f, 0), 1);
        cr_assert_eq(sent(f, 0), 1);
        vdev_pause(f->r->dev);
        pass(f->r, 5 * NS);
        cr_assert_eq(received(f, 0) + sent(f, 0), 0);
        vdev_resume(f->r->dev);
        rig_settle(f->r);
        cr_assert_eq(received(f, 0), 1);
        cr_assert_eq(sent(f, 0), 1);
        fx_down(f);
        no_timer();
    }
}

Test(net_limits, several_queues_take_turns)
{
    struct fx *f = fx_up(2, true, ",rx_pps=1,tx_pps=1", NULL);
    cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MQ, 0, "\2\0", 2), VIRTIO_NET_OK);
    offer(f, 0, 20);
    offer(f, 2, 20);
    for (unsigned peer = 0; peer < 2; peer++) {
        arrive(f, peer, 4);
        transmit(f, 2 * peer + 1, 4);
    }
    unsigned rx = received(f, 0) + received(f, 2);
    unsigned tx[2] = {sent(f, 0), sent(f, 1)};
    cr_assert_eq(rx, 1);
    cr_assert_eq(tx[0] + tx[1], 1);
    for (unsigned i = 0; i < 6; i++) {
        pass(f->r, NS);
        tx[0] += sent(f, 0);
        tx[1] += sent(f, 1);
        cr_assert_eq(received(f, 0) + received(f, 2), 1);
        cr_assert_eq(tx[0] + tx[1], i + 2);
    }
    cr_assert(tx[0] >= 3 && tx[1] >= 3, "%u, %u", tx[0], tx[1]);
    fx_down(f);
}

Test(net_limits, other_limits)
{
    struct fx *f = fx_up(1, true, ",rx_pps=1/10s,tx_pps=1/10s", NULL);
    struct err err;
    offer(f, 0, 10);
    arrive(f, 0, 3);
    transmit(f, 1, 3);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(sent(f, 0), 1);
    pass(f->r, NS);
    cr_assert_eq(rig_update(f->r, "none,rx_pps=1/10s", &err), 0);
    rig_settle(f->r);
    cr_assert_eq(received(f, 0), 0);
    cr_assert_eq(sent(f, 0), 2);
    cr_assert_eq(next_timer(), 9 * NS);
    cr_assert_eq(rig_update(f->r, "none,rx_pps=1/5s", &err), 0);
    rig_settle(f->r);
    cr_assert_eq(received(f, 0), 1);
    cr_assert_eq(reported(f->r, "rx_throttled_ns"), NS);
    fx_down(f);
}
