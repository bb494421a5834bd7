/* tests/rig/test_net_mq.c - a network device with several queues: which one a frame comes on, by
 * the memory of flows and by RSS, and the hash that is reported. */
#include <linux/virtio_config.h>

#include "devices/net/rss.h"
#include "tests/rig/net_fixture.h"
#include "tests/rig/ways.h"

#define WITHOUT(...) (&(struct rig_options){.without = __VA_ARGS__})

static uint8_t frame[4096], got[4096];

static const uint8_t key[NET_RSS_KEY_MAX] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

/* UDP from 10.0.0.1 port `from` to 10.0.0.2 port `to`, or back. */
static size_t udp(uint16_t from, uint16_t to, bool back)
{
    size_t len = fx_frame(frame, TO_GUEST, 0x0800, 100);
    static const uint8_t ip[20] = {0x45, 0, 0,  86, 0, 0, 0,  0, 64, 17,
                                   0,    0, 10, 0,  0, 1, 10, 0, 0,  2};
    memcpy(frame + 14, ip, sizeof(ip));
    frame[29] = back ? 2 : 1;
    frame[33] = back ? 1 : 2;
    frame[34] = (uint8_t)(from >> 8);
    frame[35] = (uint8_t)from;
    frame[36] = (uint8_t)(to >> 8);
    frame[37] = (uint8_t)to;
    return len;
}

static void post_all(struct fx *f, unsigned pairs)
{
    for (unsigned i = 0; i < pairs; i++) {
        fx_post(f, 2 * i, 40, 2000);
        rig_kick(f->r, 2 * i);
    }
    rig_settle(f->r);
}

/* The pair that the frame comes on, or -1; `b` is its buffer. */
static int comes_on(struct fx *f, unsigned peer, size_t len, const uint8_t **b)
{
    uint32_t n;
    fx_send(f, peer, NULL, frame, len);
    rig_settle(f->r);
    for (unsigned i = 0; i < NET_PEERS; i++) {
        if (f->peer[i] >= 0 && (*b = fx_used(f, 2 * i, &n)) != NULL) {
            cr_expect_eq(n, len + f->hdr);
            cr_expect_arr_eq(*b + f->hdr, frame, len);
            return (int)i;
        }
    }
    return -1;
}

static int pairs(struct fx *f, uint16_t n)
{
    return fx_ctrl(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &n, 2);
}

Test(net_mq, where_the_control_queue_is)
{
    struct fx *f = fx_up(3, true, NULL, NULL);
    cr_expect_eq(fx_ctrl_queue(f), 6);
    cr_expect_eq(pairs(f, 3), VIRTIO_NET_OK);
    cr_expect_eq(pairs(f, 0), VIRTIO_NET_ERR);
    cr_expect_eq(pairs(f, 4), VIRTIO_NET_ERR);
    fx_down(f);
    f = fx_up(3, true, NULL, WITHOUT(NET_F(VIRTIO_NET_F_MQ)));
    cr_expect_eq(fx_ctrl_queue(f), 2);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_OK);
    /* A queue that does not exist then. */
    struct rig_seg s = {.at = rig_alloc(f->r, 64), .len = 64};
    rig_add(f->r, 6, &s, 1, &s, 1);
    rig_add(f->r, 3, &s, 1, NULL, 0);
    rig_kick(f->r, 6);
    rig_kick(f->r, 3);
    rig_settle(f->r);
    uint32_t id, len;
    cr_expect_not(rig_used(f->r, 6, &id, &len) || rig_used(f->r, 3, &id, &len));
    cr_expect_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 0);
    fx_down(f);
}

Test(net_mq, one_queue_until_more_are_asked_for)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode#01");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode#02");
    struct fx *f = fx_up(2, true, NULL, NULL);
    const uint8_t *b;
    post_all(f, 2);
    cr_expect_eq(comes_on(f, 0, udp(1, 2, false), &b), 0);
    cr_expect_eq(comes_on(f, 1, udp(1, 2, false), &b), 0);
    cr_expect_eq(pairs(f, 2), VIRTIO_NET_OK);
    cr_expect_eq(comes_on(f, 1, udp(1, 2, false), &b), 1);
    cr_expect_eq(pairs(f, 1), VIRTIO_NET_OK);
    cr_expect_eq(comes_on(f, 1, udp(1, 2, false), &b), 0);
    cr_expect_eq(pairs(f, 2), VIRTIO_NET_OK);
    rig_negotiate(f->r);
    post_all(f, 2);
    cr_expect_eq(comes_on(f, 1, udp(1, 2, false), &b), 0);
    fx_down(f);
}

/* 5.1.6.5.5: what was sent on transmitqX comes back on receiveqX. */
Test(net_mq, flows_come_back_where_they_went_out)
{
    PROVES("stray:Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode#03");
    struct fx *f = fx_up(3, true, NULL, NULL);
    const uint8_t *b;
    post_all(f, 3);
    cr_expect_eq(pairs(f, 3), VIRTIO_NET_OK);
    for (uint16_t i = 0; i < 6; i++) {
        size_t len = udp(1000 + i, 53, false);
        fx_tx(f, 2 * (i % 3) + 1, NULL, frame, len);
        cr_expect_neq(fx_recv(f, i % 3, NULL, got, sizeof(got)), 0);
    }
    for (uint16_t i = 0; i < 6; i++)
        cr_expect_eq(comes_on(f, 0, udp(53, 1000 + i, true), &b), i % 3, "%u", i);
    /* It moves. */
    fx_tx(f, 3, NULL, frame, udp(1000, 53, false));
    cr_expect_eq(comes_on(f, 0, udp(53, 1000, true), &b), 1);
    fx_down(f);
}

/* With several queues one without buffers must not stop the others. */
Test(net_mq, a_queue_without_buffers)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode#03");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode#04");
    struct fx *f = fx_up(2, true, NULL, NULL);
    const uint8_t *b;
    fx_post(f, 0, 40, 2000);
    rig_kick(f->r, 0);
    cr_expect_eq(pairs(f, 2), VIRTIO_NET_OK);
    for (unsigned i = 0; i < 10; i++)
        cr_expect_eq(comes_on(f, 1, udp(1, 2, false), &b), -1);
    cr_expect_eq(comes_on(f, 0, udp(1, 2, false), &b), 0);
    vdev_queue_reset(f->r->dev, 2);
    cr_expect_eq(comes_on(f, 1, udp(1, 2, false), &b), 0);
    vdev_queue_reset(f->r->dev, 0);
    cr_expect_eq(comes_on(f, 0, udp(1, 2, false), &b), -1);
    rig_queue_up(f->r, 0);
    rig_settle(f->r);
    fx_post(f, 0, 4, 2000);
    rig_kick(f->r, 0);
    cr_expect_eq(comes_on(f, 0, udp(1, 2, false), &b), 0);
    fx_down(f);
}

/* --- RSS --- */

struct rss {
    uint32_t types;
    uint16_t mask, unclassified, table[128], max_tx;
    uint8_t key_len;
    size_t extra; /* bytes too many or, negative, too few */
};

static int rss_config(struct fx *f, const struct rss *c)
{
    uint8_t p[1024] = {0};
    size_t n = 0;
    put_bytes(p, c->types, 4);
    put_bytes(p + 4, c->mask, 2);
    put_bytes(p + 6, c->unclassified, 2);
    n = 8;
    for (unsigned i = 0; i <= MIN((unsigned)c->mask, 127u); i++, n += 2)
        put_bytes(p + n, c->table[i], 2);
    put_bytes(p + n, c->max_tx, 2);
    p[n + 2] = c->key_len;
    memcpy(p + n + 3, key, MIN(c->key_len, sizeof(key)));
    return fx_ctrl(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG, p,
                   n + 3 + c->key_len + c->extra);
}

static uint32_t expected_hash(void)
{
    static struct net_toeplitz t;
    net_toeplitz_key(&t, key, sizeof(key));
    return net_toeplitz(&t, frame + 26, 12); /* addresses and ports stand in the right order */
}

TEST_EACH_WAY(W_MODERN, net_mq, rss)
{
    PROVES("stray:Device Types / Network Device / Device Operation / Processing of Incoming "
           "Packets / Hash calculation for incoming packets#02");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Receive-side "
           "scaling (RSS) / RSS processing#01");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Receive-side "
           "scaling (RSS) / RSS processing#02");
    struct fx *f = fx_up(4, true, ",rss,hash", NULL);
    HOLDS(f->r, "30a");
    const uint8_t *b;
    struct rss c = {.types = 4, .mask = 7, .unclassified = 3, .max_tx = 4, .key_len = 40};
    f->hdr = 20;
    for (unsigned i = 0; i < 8; i++)
        c.table[i] = (uint16_t)(i * 5 % 3);
    post_all(f, 4);
    cr_assert_eq(rss_config(f, &c), VIRTIO_NET_OK);
    unsigned seen = 0;
    for (uint16_t port = 1; port < 40; port++) {
        size_t len = udp(port, 7, false);
        uint32_t hash = expected_hash();
        int at = comes_on(f, port % 4, len, &b);
        cr_expect_eq(at, c.table[hash & 7]);
        seen |= 1u << at;
        cr_expect_eq(get_bytes(b + 12, 4), hash);
        cr_expect_eq(get_bytes(b + 16, 2), VIRTIO_NET_HASH_REPORT_UDPv4);
        cr_expect_eq(get_bytes(b + 18, 2), 0);
    }
    cr_expect_eq(seen, 7, "the test used all three");
    cr_expect_eq(comes_on(f, 0, fx_frame(frame, TO_GUEST, 0x0806, 60), &b), 3);
    cr_expect_eq(get_bytes(b + 16, 2), VIRTIO_NET_HASH_REPORT_NONE);
    vdev_queue_reset(f->r->dev, 6);
    cr_expect_eq(comes_on(f, 0, fx_frame(frame, TO_GUEST, 0x0806, 60), &b), -1);
    /* The last command counts. */
    cr_expect_eq(pairs(f, 1), VIRTIO_NET_OK);
    cr_expect_eq(comes_on(f, 2, udp(1, 7, false), &b), 0);
    fx_down(f);
}

TEST_EACH_WAY(W_MODERN, net_mq, rss_configurations_that_make_no_sense)
{
    struct fx *f = fx_up(2, true, ",rss,hash", NULL);
    HOLDS(f->r, "30b");
    static const struct rss good = {.types = 0x1ff, .mask = 127, .max_tx = 2, .key_len = 40};
    struct rss c = good;
    cr_expect_eq(rss_config(f, &c), VIRTIO_NET_OK);
#define BAD(field, value)                                                                          \
    do {                                                                                           \
        c = good;                                                                                  \
        c.field = (value);                                                                         \
        cr_expect_eq(rss_config(f, &c), VIRTIO_NET_ERR, #field " " #value);                        \
    } while (0)
    BAD(types, 0x200);
    BAD(types, 0x80000000);
    BAD(mask, 128);
    BAD(mask, 0xffff);
    BAD(mask, 5);
    BAD(unclassified, 2);
    BAD(unclassified, 0x8000);
    BAD(table[0], 2);
    BAD(table[127], 0x8001);
    BAD(max_tx, 0);
    BAD(max_tx, 3);
    BAD(key_len, 41);
    BAD(key_len, 255);
    BAD(extra, 1);
    BAD(extra, (size_t)-1);
    BAD(extra, (size_t)-290);
    c = good;
    c.types = c.key_len = c.mask = 0;
    cr_expect_eq(rss_config(f, &c), VIRTIO_NET_OK);
    fx_down(f);
}

static int hash_config(struct fx *f, const uint8_t c[53])
{
    return fx_ctrl(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_HASH_CONFIG, c, 53);
}

/* With one pair of queues, and with two that flows are steered to. */
TEST_EACH_WAY(W_MODERN, net_mq, hash_report_without_rss)
{
    PROVES("stray:Device Types / Network Device / Device Operation / Processing of Incoming "
           "Packets / Hash calculation for incoming packets#01");
    PROVES("stray:Device Types / Network Device / Device Operation / Processing of Incoming "
           "Packets / Hash calculation for incoming packets#03");
    PROVES("stray:Device Types / Network Device / Device Operation / Control Virtqueue / Automatic "
           "receive steering in multiqueue mode / Hash calculation#01");
    for (unsigned queues = 1; queues <= 2; queues++) {
        struct fx *f = fx_up(queues, true, ",hash", NULL);
        HOLDS(f->r, "30a");
        const uint8_t *b;
        uint8_t c[12 + 1 + 40] = {0};
        f->hdr = 20;
        post_all(f, queues);
        cr_expect_eq(comes_on(f, 0, udp(9, 7, false), &b), 0);
        cr_expect_eq(get_bytes(b + 16, 2), VIRTIO_NET_HASH_REPORT_NONE, "off at first");
        c[0] = 4;
        c[12] = 40;
        memcpy(c + 13, key, 40);
        if (queues > 1)
            cr_expect_eq(pairs(f, 2), VIRTIO_NET_OK);
        cr_expect_eq(hash_config(f, c), VIRTIO_NET_OK);
        int last = (int)queues - 1;
        cr_expect_eq(comes_on(f, queues - 1, udp(9, 7, false), &b), last);
        cr_expect_eq(get_bytes(b + 12, 4), expected_hash());
        cr_expect_eq(get_bytes(b + 16, 2), VIRTIO_NET_HASH_REPORT_UDPv4);
        c[12] = 41;
        cr_expect_eq(hash_config(f, c), VIRTIO_NET_ERR);
        c[12] = 40;
        c[1] = 2;
        cr_expect_eq(hash_config(f, c), VIRTIO_NET_ERR);
        /* A longer header on the way out, too. */
        fx_tx(f, 1, NULL, frame, 100);
        cr_expect_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 100);
        cr_expect_arr_eq(got, frame, 100);
        fx_down(f);
    }
}
