/* tests/rig/test_net_move.c - a network device saved and loaded: a driver goes on in another
 * process, and a state that somebody has tampered with is refused. */
#include "tests/rig/net_fixture.h"

enum { RAM = 32 << 20 };

static uint8_t frame[4096];

/* All that a driver can say, said. */
static void say_everything(struct fx *f)
{
    uint8_t rss[8 + 2 * 2 + 2 + 1 + 40] = {0xff, 1, 0, 0, 1, 0,  0, 0, 1,
                                           0,    1, 0, 2, 0, 40, 1, 2, 3};
    uint8_t table[4 + 6 + 4] = {1, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 2};
    static const uint32_t coal[3] = {0, 9, 100};
    uint8_t on = 1;
    uint16_t vlan = 77;
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, 0, table, sizeof(table)), VIRTIO_NET_OK);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, 1, "\x52\x54\0\0\0\x42", 6), VIRTIO_NET_OK);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, &on, 1), VIRTIO_NET_OK);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_VLAN, 0, &vlan, 2), VIRTIO_NET_OK);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, coal, 12),
                 VIRTIO_NET_OK);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MQ, 1, rss, sizeof(rss)), VIRTIO_NET_OK);
    net_announce(f->r->dev);
}

/* Another process: a device of the same kind, and the RAM of the first. */
static struct fx *move(struct fx *f, const char *options, struct state_out *s)
{
    const struct rig_options fresh = {.stop_before_driver_ok = true};
    vdev_pause(f->r->dev);
    vdev_save(f->r->dev, s);
    cr_assert_eq(s->error, 0);
    struct fx *g = fx_up(2, true, options, &fresh);
    vdev_reset(g->r->dev);
    memcpy(rig_at(g->r, GPA(0), RAM), rig_at(f->r, GPA(0), RAM), RAM);
    memcpy(g->r->q, f->r->q, sizeof(g->r->q));
    g->r->ram_next = f->r->ram_next;
    g->r->features = f->r->features;
    memcpy(g->at, f->at, sizeof(g->at));
    g->hdr = f->hdr;
    return g;
}

Test(net_move, a_driver_moves)
{
    struct fx *f = fx_up(2, true, ",rss,hash", NULL);
    struct state_out s = {0}, again = {0};
    uint32_t len;
    f->hdr = 20;
    say_everything(f);
    for (unsigned pair = 0; pair < 2; pair++) {
        fx_post(f, 2 * pair, 9, 2000);
        rig_kick(f->r, 2 * pair);
    }
    rig_settle(f->r);
    struct fx *g = move(f, ",rss,hash", &s);
    struct state_in in = {.buf = s.buf, .len = s.len};
    cr_assert_eq(vdev_load(g->r->dev, &in), 0);
    vdev_save(g->r->dev, &again);
    cr_assert_eq(again.len, s.len);
    cr_expect_arr_eq(again.buf, s.buf, s.len);
    cr_expect_arr_eq(fx_config(g).mac, "\x52\x54\0\0\0\x42", 6);
    cr_expect_eq(fx_config(g).status, VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);

    vdev_resume(g->r->dev);
    rig_settle(g->r);
    fx_frame(frame, TO_ALL, 0x0800, 100);
    fx_send(g, 0, NULL, frame, 100); /* not wanted */
    fx_frame(frame, TO_OTHER, 0x0800, 100);
    memset(frame + 14, 0, 20);
    frame[14] = 0x45;
    for (unsigned i = 0; i < 9; i++)
        fx_send(g, 0, NULL, frame, 100); /* by the table, for the second queue */
    rig_settle(g->r);
    cr_expect_null(fx_used(g, 0, &len));
    for (unsigned i = 0; i < 9; i++) {
        const uint8_t *b = fx_used(g, 2, &len);
        cr_assert(b, "%u", i);
        cr_expect_eq(len, 120);
        cr_expect_arr_eq(b + 20, frame, 100);
    }
    fx_down(g);
    fx_down(f);
    state_out_free(&s);
    state_out_free(&again);
}

/* A state cut short, or with a byte changed, is refused by its checksums; and what follows works.
 */
Test(net_move, damaged)
{
    struct fx *f = fx_up(2, true, ",rss,hash", NULL);
    struct state_out s = {0};
    say_everything(f);
    struct fx *g = move(f, ",rss,hash", &s);
    for (size_t i = 0; i < s.len; i += 5) {
        struct state_in cut = {.buf = s.buf, .len = i}, changed = {.buf = s.buf, .len = s.len};
        vdev_reset(g->r->dev);
        cr_expect_lt(vdev_load(g->r->dev, &cut), 0);
        s.buf[i] ^= 0x41;
        cr_expect_lt(vdev_load(g->r->dev, &changed), 0, "%zu", i);
        s.buf[i] ^= 0x41;
    }
    struct state_in whole = {.buf = s.buf, .len = s.len};
    cr_expect_eq(vdev_load(g->r->dev, &whole), 0);
    fx_down(g);
    fx_down(f);
    state_out_free(&s);
}
