/* tests/rig/test_net_stop.c - a network device whose queues are taken away, or that is paused, in
 * the middle of its work. */
#include "tests/rig/net_fixture.h"

static uint8_t frame[4096];

static void send_marked(struct fx *f, unsigned peer, uint8_t mark)
{
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    frame[20] = mark;
    fx_send(f, peer, NULL, frame, 100);
    rig_settle(f->r);
}

/* The mark of the next frame that was received; -1: there is none, -2: a buffer without one. */
static int next_mark(struct fx *f, unsigned q)
{
    uint32_t len;
    const uint8_t *b = fx_used(f, q, &len);
    return !b ? -1 : len == 0 ? -2 : b[HDR + 20];
}

/* Buffers that are held when the device stops go back as they came, also with one between them that
 * is too short: none is lost, none comes twice, and the pause ends. */
Test(net_stop, a_short_buffer_among_those_that_are_held)
{
    for (unsigned in_order = 0; in_order < 2; in_order++) {
        const struct rig_options o = {.in_order = in_order};
        struct fx *f = fx_up(1, true, NULL, &o);
        fx_post(f, 0, 1, 2000);
        fx_post(f, 0, 1, HDR - 1);
        fx_post(f, 0, 2, 2000);
        rig_kick(f->r, 0);
        rig_settle(f->r);
        for (unsigned i = 0; i < 3; i++) {
            vdev_pause(f->r->dev);
            cr_expect_eq(next_mark(f, 0), -1);
            vdev_resume(f->r->dev);
            rig_settle(f->r);
        }
        for (uint8_t mark = 1; mark <= 3; mark++)
            send_marked(f, 0, mark);
        cr_expect_eq(next_mark(f, 0), 1);
        cr_expect_eq(next_mark(f, 0), -2);
        cr_expect_eq(next_mark(f, 0), 2);
        cr_expect_eq(next_mark(f, 0), 3);
        cr_expect_eq(next_mark(f, 0), -1);
        cr_expect_not(rig_needs_reset(f->r));
        fx_down(f);
    }
}

static void enable_again(struct fx *f, unsigned q)
{
    rig_queue_up(f->r, q);
    fx_post(f, q, 4, 2000);
    rig_kick(f->r, q);
    rig_settle(f->r);
}

/* What comes while no queue can take it belongs to nobody, also when a frame waited already. */
Test(net_stop, all_receive_queues_are_reset)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode#04");
    for (unsigned pairs = 1; pairs <= 2; pairs++) {
        struct fx *f = fx_up(pairs, true, NULL, NULL);
        if (pairs > 1)
            cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MQ, 0, "\2\0", 2), VIRTIO_NET_OK);
        send_marked(f, 0, 1); /* there are no buffers */
        for (unsigned i = 0; i < pairs; i++)
            vdev_queue_reset(f->r->dev, 2 * i);
        rig_settle(f->r);
        for (unsigned i = 0; i < pairs; i++)
            send_marked(f, i, 2);
        for (unsigned i = 0; i < pairs; i++)
            enable_again(f, 2 * i);
        cr_expect_eq(next_mark(f, 0), -1, "%u", pairs);
        send_marked(f, 0, 4);
        cr_expect_eq(next_mark(f, 0), 4);
        fx_down(f);
    }
}

/* A pause is none of that: what comes waits at the back end until the last queue runs again, also
 * if the device has moved in between. */
Test(net_stop, paused_with_several_queues)
{
    for (unsigned moved = 0; moved < 2; moved++) {
        struct fx *f = fx_up(2, true, NULL, NULL);
        cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MQ, 0, "\2\0", 2), VIRTIO_NET_OK);
        for (unsigned q = 0; q <= 2; q += 2) {
            fx_post(f, q, 4, 2000);
            rig_kick(f->r, q);
        }
        rig_settle(f->r);
        vdev_pause(f->r->dev);
        struct state_out s = {0};
        vdev_save(f->r->dev, &s);
        struct state_in in = {.buf = s.buf, .len = s.len};
        if (moved) {
            vdev_reset(f->r->dev);
            cr_assert_eq(vdev_load(f->r->dev, &in), 0);
        }
        send_marked(f, 0, 1);
        send_marked(f, 1, 2);
        cr_expect_eq(next_mark(f, 0), -1);
        vdev_resume(f->r->dev);
        rig_settle(f->r);
        cr_expect_eq(next_mark(f, 0), 1);
        cr_expect_eq(next_mark(f, 2), 2);
        state_out_free(&s);
        fx_down(f);
    }
}

/* A transmit queue that coalesces and is reset, or paused: what was sent is used. */
Test(net_stop, sent_and_not_told_yet)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    const struct {
        uint16_t queue, reserved;
        uint32_t packets, usecs;
    } coal = {1, 0, 100, 1000000};
    uint32_t id, len;
    for (unsigned reset = 0; reset < 2; reset++) {
        cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_NOTF_COAL, 2, &coal, sizeof(coal)), VIRTIO_NET_OK);
        fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 100));
        cr_expect_not(rig_used(f->r, 1, &id, &len));
        if (reset)
            vdev_queue_reset(f->r->dev, 1);
        else
            vdev_pause(f->r->dev);
        cr_expect(rig_used(f->r, 1, &id, &len));
        if (!reset)
            vdev_resume(f->r->dev);
        rig_settle(f->r);
    }
    fx_down(f);
}
