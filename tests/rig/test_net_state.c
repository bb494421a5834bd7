/* tests/rig/test_net_state.c - a network device's state, saved and loaded; and as hostile input. */
#include "base/log.h"
#include "tests/rig/net_fixture.h"
#include "tests/rig/ways.h"

enum { HEADER = 16, LENGTH = 8, CHECKSUM = 12 };

static uint8_t frame[200];

static void command(struct fx *f, uint8_t class, uint8_t cmd, const void *data, size_t len)
{
    cr_assert_eq(fx_ctrl(f, class, cmd, data, len), VIRTIO_NET_OK, "%u %u", class, cmd);
}

/* Something of everything that a driver may have said; `rss`: by the table, or by flows. */
static struct fx *up(bool rss)
{
    struct fx *f = fx_up(2, true, ",rss,hash", NULL);
    static const uint8_t tables[18] = {1, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 2};
    static const uint8_t steering[] = {4, 0, 0, 0, 1, 0, 1, 0, /* UDPv4, mask, default */
                                       0, 0, 1, 0, 2, 0, 4, 1, 2, 3, 4 /* table, max_tx, key */};
    static const uint8_t coal[] = {0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0};
    f->hdr = 20;
    command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 14);
    command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "\x52\x54\0\0\0\x42", 6);
    command(f, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, "\1", 1);
    command(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\x4d\0", 2);
    command(f, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, coal, sizeof(coal));
    if (rss)
        command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, steering, sizeof(steering));
    else
        command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\2\0", 2);
    net_announce(f->r->dev);
    for (unsigned q = 0; q <= 2; q += 2) {
        fx_post(f, q, 8, 2000);
        rig_kick(f->r, q);
    }
    rig_settle(f->r);
    return f;
}

static struct state_out save(struct fx *f)
{
    struct state_out s = {0};
    vdev_pause(f->r->dev);
    vdev_save(f->r->dev, &s);
    cr_assert_eq(s.error, 0);
    return s;
}

static int load(struct fx *f, const uint8_t *buf, size_t len)
{
    vdev_reset(f->r->dev);
    struct state_in in = {.buf = buf, .len = len};
    return vdev_load(f->r->dev, &in);
}

Test(net_state, saved_and_loaded)
{
    for (unsigned rss = 0; rss < 2; rss++) {
        struct fx *f = up(rss);
        uint32_t len;
        struct state_out s = save(f);
        cr_assert_eq(load(f, s.buf, s.len), 0);
        struct state_out again = save(f);
        cr_assert_eq(again.len, s.len);
        cr_expect_arr_eq(again.buf, s.buf, s.len, "nothing was lost");
        cr_expect_arr_eq(fx_config(f).mac, "\x52\x54\0\0\0\x42", 6);
        cr_expect_eq(fx_config(f).status, VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
        vdev_resume(f->r->dev);
        rig_settle(f->r);
        /* What is for nobody is dropped; the rest is where it belongs, and coalesced on queue 0. */
        fx_send(f, 1, NULL, frame, fx_frame(frame, TO_ALL, 0x0800, 100));
        fx_send(f, 1, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 100));
        fx_send(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 100));
        rig_settle(f->r);
        cr_expect(fx_arrives(f, 1, frame, 100));
        cr_expect_null(fx_used(f, 2, &len));
        state_out_free(&s);
        state_out_free(&again);
        fx_down(f);
    }
}

Test(net_state, cut_short)
{
    struct fx *f = up(true);
    struct state_out s = save(f);
    for (size_t n = 0; n < s.len; n++)
        cr_assert_eq(load(f, s.buf, n), -EBADMSG, "%zu bytes", n);
    state_out_free(&s);
    fx_down(f);
}

/* FNV-1a of a section but for the checksum itself, as base/state.c has it. */
static void reseal(uint8_t *section)
{
    size_t len = get_bytes(section + LENGTH, 4);
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < HEADER + len; i++)
        h = i >= CHECKSUM && i < HEADER ? h : (h ^ section[i]) * 16777619u;
    put_bytes(section + CHECKSUM, h, 4);
}

/* Taken or refused, it is put to use, and whatever was taken can be saved and loaded again. */
static void use(struct fx *f, const struct state_out *s, size_t at)
{
    int rc = load(f, s->buf, s->len);
    cr_assert(rc == 0 || rc == -EBADMSG, "byte %zu: %d", at, rc);
    if (rc < 0)
        return;
    vdev_resume(f->r->dev);
    for (unsigned peer = 0; peer < 2; peer++)
        fx_send(f, peer, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 100));
    for (unsigned q = 0; q < 5; q++)
        vdev_kick(f->r->dev, q);
    rig_settle(f->r);
    (void)fx_config(f);
    struct state_out again = save(f);
    cr_assert_eq(load(f, again.buf, again.len), 0, "byte %zu: it does not load what it saves", at);
    state_out_free(&again);
}

/* CVE-2013-4148, 4150 and 4151: counts, queues and tables that are not what they may be. */
Test(net_state, any_byte_may_be_any_other)
{
    static const uint8_t with[] = {0x01, 0x10, 0x80, 0xff};
    log_set_level(LOG_ERROR);
    for (unsigned rss = 0; rss < 2; rss++) {
        struct fx *f = up(rss);
        struct state_out s = save(f);
        uint8_t *net = s.buf;
        while (memcmp(net, "NET ", 4) != 0)
            net += HEADER + get_bytes(net + LENGTH, 4);
        size_t len = get_bytes(net + LENGTH, 4);
        cr_assert_eq(net + HEADER + len, s.buf + s.len);
        for (size_t i = 4; i < HEADER + len; i++) {
            uint8_t was = net[i];
            for (size_t k = 0; k < ARRAY_SIZE(with); k++) {
                net[i] = was ^ with[k];
                if (i >= HEADER)
                    reseal(net);
                use(f, &s, i);
            }
            net[i] = was;
            reseal(net);
        }
        cr_assert_eq(load(f, s.buf, s.len), 0);
        state_out_free(&s);
        fx_down(f);
    }
}

/* A table of addresses as long as there is room for, and longer, in a stream that is otherwise as
 * it should be. */
/* It has two pairs. */
TEST_EACH_WAY(W_MODERN, net_state, more_queues_than_there_are)
{
    enum { MOST_AT = HEADER, PAIRS_AT = HEADER + 4 + 8 + 1 + 8 };
    static const uint32_t bad[] = {0, 3, 4, 255, 32768, 65537, UINT32_MAX};
    struct fx *f = up(false);
    HOLDS(f->r, "35b");
    struct state_out s = save(f);
    uint8_t *net = s.buf;
    while (memcmp(net, "NET ", 4) != 0)
        net += HEADER + get_bytes(net + LENGTH, 4);
    for (size_t at = MOST_AT; at <= PAIRS_AT; at += PAIRS_AT - MOST_AT) {
        cr_assert_eq(get_bytes(net + at, 4), 2);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
            put_bytes(net + at, bad[i], 4);
            reseal(net);
            cr_assert_eq(load(f, s.buf, s.len), -EBADMSG, "%u", bad[i]);
        }
        put_bytes(net + at, 2, 4);
    }
    reseal(net);
    cr_assert_eq(load(f, s.buf, s.len), 0);
    state_out_free(&s);
    fx_down(f);
}

TEST_EACH_WAY(W_MODERN, net_state, more_addresses_than_there_is_room_for)
{
    enum { COUNT_AT = HEADER + 4 + 8 + 1 + 8 + 4 + 1, MOST = 64 };
    struct fx *f = up(false);
    HOLDS(f->r, "35a");
    struct state_out s = save(f);
    for (uint32_t n = MOST; n <= 2 * MOST; n += MOST / 4) {
        size_t more = (n - 1) * 6u;
        uint8_t *buf = calloc(1, s.len + more), *net = buf;
        memcpy(buf, s.buf, s.len);
        while (memcmp(net, "NET ", 4) != 0)
            net += HEADER + get_bytes(net + LENGTH, 4);
        uint8_t *rest = net + COUNT_AT + 4 + 4 + 6; /* count, length, an address */
        cr_assert_eq(get_bytes(net + COUNT_AT, 4), 1);
        memmove(rest + more, rest, s.len - (size_t)(rest - buf));
        put_bytes(net + COUNT_AT, n, 4);
        put_bytes(net + COUNT_AT + 4, n * 6, 4);
        put_bytes(net + LENGTH, get_bytes(net + LENGTH, 4) + more, 4);
        reseal(net);
        cr_expect_eq(load(f, buf, s.len + more), n <= MOST ? 0 : -EBADMSG, "%u", n);
        free(buf);
    }
    state_out_free(&s);
    fx_down(f);
}
