/* tests/rig/test_net_backend.c - a network device and a back end that is the test's own: what the
 * device asks of it, and when. */
#include "tests/rig/net_fake.h"

/* As a tap with its queues; or with ones that are always attached. */
static struct rig *up(bool detaches, const struct rig_options *o)
{
    fake = (struct fake){
        .b = {.offloads = NET_RX_OFFLOADS | NET_TX_OFFLOADS, .steers = true, .detaches = detaches},
        .len = fx_frame(frame, TO_GUEST, 0x0800, sizeof(frame))};
    fake.len = 100;
    return rig_up("net,backend=none,queues=2,mac=52:54:00:00:00:01", o);
}

static void set_pairs(struct rig *r, uint8_t pairs)
{
    struct rig_seg out = {.at = rig_alloc(r, 4), .len = 4}, in = {.at = rig_alloc(r, 1), .len = 1};
    uint32_t id, len;
    memcpy(rig_at(r, out.at, 4), (uint8_t[]){VIRTIO_NET_CTRL_MQ, 0, pairs, 0}, 4);
    rig_add(r, 2 * QUEUES, &out, 1, &in, 1);
    rig_kick(r, 2 * QUEUES);
    rig_settle(r);
    cr_assert(rig_used(r, 2 * QUEUES, &id, &len));
    cr_assert_eq(*(uint8_t *)rig_at(r, in.at, 1), VIRTIO_NET_OK);
}

static bool listens(void)
{
    return fake.listens[0] || fake.listens[1];
}

/* Nothing is heard of the back end while there is nobody to take it. */
Test(net_backend, is_watched_while_the_device_runs)
{
    for (unsigned detaches = 0; detaches < 2; detaches++) {
        const struct rig_options o = {.stop_before_driver_ok = true};
        struct rig *r = up(detaches, &o);
        cr_expect_not(listens(), "before DRIVER_OK");
        rig_driver_ok(r);
        cr_expect_not(fake.offloads & ~(uint64_t)NET_RX_OFFLOADS);
        cr_expect_eq(fake.offloads, NET_RX_OFFLOADS);
        post(r, 0, 4);
        arrive(r, 0);
        cr_expect(used(r, 0) && fake.listens[0]);

        vdev_pause(r->dev);
        arrive(r, 0);
        cr_expect(fake.waiting[0] == 1 && !fake.listens[0], "paused");
        struct state_out s = {0};
        vdev_save(r->dev, &s);
        vdev_resume(r->dev);
        rig_settle(r);
        cr_expect(used(r, 0) && listens());

        vdev_reset(r->dev);
        cr_expect_not(listens(), "reset");
        cr_expect_eq(fake.offloads, 0);
        struct state_in in = {.buf = s.buf, .len = s.len};
        cr_assert_eq(vdev_load(r->dev, &in), 0);
        cr_expect_not(listens(), "loaded");
        vdev_resume(r->dev);
        rig_settle(r);
        cr_expect(listens());
        state_out_free(&s);
        rig_down(r);
    }
}

/* 3.4, and the frame is there when the driver is. */
Test(net_backend, is_not_watched_while_the_device_is_suspended)
{
    struct rig *r = up(false, NULL);
    post(r, 0, 4);
    rig_status_set(r, rig_status(r) | VDEV_S_SUSPEND);
    cr_assert(rig_status(r) & VDEV_S_SUSPEND);
    arrive(r, 0);
    cr_expect(fake.waiting[0] == 1 && !fake.listens[0]);
    cr_expect_not(used(r, 0));
    rig_status_set(r, (rig_status(r) & ~VDEV_S_SUSPEND) | VIRTIO_CONFIG_S_DRIVER_OK);
    rig_settle(r);
    cr_expect(used(r, 0));
    rig_down(r);
}

/* A broken ring latches the device, also for what comes from outside; a reset revives it. */
Test(net_backend, is_not_watched_when_the_device_needs_a_reset)
{
    struct rig *r = up(false, NULL);
    set_pairs(r, 2);
    post(r, 0, 60);
    arrive(r, 0);
    cr_assert(used(r, 0), "it holds buffers now");
    rig_put16(r, GPA(r->q[1].avail.v + 2), 20000); /* more than the queue has */
    rig_kick(r, 1);
    rig_settle(r);
    cr_assert(rig_needs_reset(r));
    arrive(r, 0);
    arrive(r, 1);
    cr_expect(fake.waiting[0] == 1 && fake.waiting[1] == 1 && !listens());
    cr_expect_not(used(r, 0));
    rig_negotiate(r);
    fake.waiting[0] = 0;
    post(r, 0, 4);
    arrive(r, 0);
    cr_expect(used(r, 0));
    rig_down(r);
}

Test(net_backend, has_as_many_queues_as_are_used)
{
    struct rig *r = up(true, NULL);
    cr_expect(fake.attached[0] && !fake.attached[1]);
    set_pairs(r, 2);
    cr_expect(fake.attached[0] && fake.attached[1]);
    vdev_reset(r->dev);
    cr_expect(fake.attached[0] && !fake.attached[1]);
    rig_down(r);
}

/* A frame waits for room on a queue that is given up: it must not wait for ever. */
Test(net_backend, a_transmit_queue_that_waits_for_what_is_detached)
{
    struct rig *r = up(true, NULL);
    set_pairs(r, 2);
    fake.full[1] = true;
    transmit(r, 3);
    cr_expect_not(used(r, 3));
    set_pairs(r, 1);
    cr_expect(fake.sent[0] == 1 && used(r, 3));
    transmit(r, 3);
    cr_expect(fake.sent[0] == 2 && used(r, 3));
    rig_down(r);
}

/* One that knows where flows belong names a queue; while that is being reset it is another one. */
Test(net_backend, another_queue_while_one_is_reset)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode#03");
    struct rig *r = up(false, NULL);
    set_pairs(r, 2);
    post(r, 0, 4);
    post(r, 2, 4);
    arrive(r, 1);
    cr_expect(used(r, 2) && !used(r, 0));
    vdev_queue_reset(r->dev, 2);
    arrive(r, 1);
    cr_expect(used(r, 0));
    rig_queue_up(r, 2);
    post(r, 2, 4);
    arrive(r, 1);
    cr_expect(used(r, 2) && !used(r, 0));
    rig_down(r);
}

Test(net_backend, frames_of_no_length)
{
    struct rig *r = up(false, NULL);
    static const size_t bad[] = {0, 1, NET_ETH_LEN - 1, NET_FRAME_MAX + 1};
    post(r, 0, 60);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        fake.len = bad[i];
        arrive(r, 0);
        cr_expect(fake.waiting[0] == 0 && !used(r, 0), "%zu", bad[i]);
    }
    fake.len = NET_ETH_LEN;
    arrive(r, 0);
    cr_expect(used(r, 0));
    rig_down(r);
}
