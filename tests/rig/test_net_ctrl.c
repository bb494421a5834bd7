/* tests/rig/test_net_ctrl.c - the network device's control queue: what a driver wants to receive,
 * offloads, announcements, statistics. */
#include "devices/net/net_priv.h"
#include "tests/rig/net_fixture.h"
#include "tests/rig/ways.h"

#define WITHOUT(...) (&(struct rig_options){.without = __VA_ARGS__})

static uint8_t frame[4096];

static int rx_mode(struct fx *f, uint8_t mode, uint8_t on)
{
    return fx_ctrl(f, VIRTIO_NET_CTRL_RX, mode, &on, 1);
}

/* Does a frame to that address come through? */
static bool hears(struct fx *f, const char *to)
{
    size_t len = fx_frame(frame, to, 0x0800, 100);
    fx_post(f, 0, 1, 2000);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, len);
    return fx_arrives(f, 0, frame, len);
}

static bool hears_vlan(struct fx *f, unsigned id)
{
    size_t len = fx_frame(frame, TO_GUEST, 0x8100, 100);
    frame[14] = (uint8_t)(0xe0 | id >> 8); /* a priority, which does not matter */
    frame[15] = (uint8_t)id;
    fx_post(f, 0, 1, 2000);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, len);
    return fx_arrives(f, 0, frame, len);
}

static int mac_table(struct fx *f, const char *one, const char *many)
{
    uint8_t data[4 + 6 + 4 + 6] = {0};
    size_t n = 4;
    if (one) {
        data[0] = 1;
        memcpy(data + n, one, 6);
        n += 6;
    }
    data[n] = many ? 1 : 0;
    n += 4;
    if (many) {
        memcpy(data + n, many, 6);
        n += 6;
    }
    return fx_ctrl(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data, n);
}

/* --- commands --- */

Test(net_ctrl, commands_that_make_no_sense)
{
    struct fx *f = fx_up(2, true, ",rss,hash", NULL);
    static const uint8_t junk[64] = {0xff, 0xff, 0xff, 0xff};
    for (unsigned class = 0; class < 12; class ++) {
        for (unsigned cmd = 0; cmd < 8; cmd++) {
            bool ack_announce = class == VIRTIO_NET_CTRL_ANNOUNCE && cmd == 0;
            bool query = class == VIRTIO_NET_CTRL_STATS && cmd == VIRTIO_NET_CTRL_STATS_QUERY;
            bool get = class == VIRTIO_NET_CTRL_STATS && cmd == VIRTIO_NET_CTRL_STATS_GET;
            if (ack_announce || query) /* these have no data to be wrong */
                continue;
            cr_expect_eq(fx_ctrl(f, (uint8_t) class, (uint8_t)cmd, junk, 0),
                         get ? VIRTIO_NET_OK : VIRTIO_NET_ERR, "%u %u", class, cmd);
            cr_expect_eq(fx_ctrl(f, (uint8_t) class, (uint8_t)cmd, junk, 64), VIRTIO_NET_ERR,
                         "%u %u", class, cmd);
        }
    }
    uint32_t id, len;
    struct rig_seg out = {.at = rig_alloc(f->r, 8), .len = 1}, in = {.at = out.at, .len = 1};
    rig_add(f->r, fx_ctrl_queue(f), &out, 1, &in, 1);  /* half a command */
    rig_add(f->r, fx_ctrl_queue(f), &out, 1, NULL, 0); /* no room for an answer */
    rig_kick(f->r, fx_ctrl_queue(f));
    rig_settle(f->r);
    cr_expect(rig_used(f->r, fx_ctrl_queue(f), &id, &len) && len == 1);
    cr_expect_eq(*(uint8_t *)rig_at(f->r, in.at, 1), VIRTIO_NET_ERR);
    cr_expect(rig_used(f->r, fx_ctrl_queue(f), &id, &len) && len == 0);
    cr_expect_not(rig_needs_reset(f->r));
    fx_down(f);
}

Test(net_ctrl, commands_that_were_not_negotiated)
{
    PROVES(
        "Device Types / Network Device / Device Operation / Control Virtqueue / VLAN Filtering#01");
    struct fx *f =
        fx_up(1, true, NULL,
              WITHOUT(NET_F(VIRTIO_NET_F_CTRL_RX) | NET_F(VIRTIO_NET_F_CTRL_VLAN) |
                      NET_F(VIRTIO_NET_F_CTRL_MAC_ADDR) | NET_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
                      NET_F(VIRTIO_NET_F_GUEST_ANNOUNCE)));
    uint64_t zero = 0;
    cr_expect_eq(rx_mode(f, VIRTIO_NET_CTRL_RX_PROMISC, 1), VIRTIO_NET_ERR);
    cr_expect_eq(rx_mode(f, VIRTIO_NET_CTRL_RX_ALLUNI, 1), VIRTIO_NET_OK, "a feature of its own");
    cr_expect_eq(mac_table(f, NULL, NULL), VIRTIO_NET_ERR);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, TO_OTHER, 6),
                 VIRTIO_NET_ERR);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, "\1\0", 2),
                 VIRTIO_NET_ERR);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &zero, 8), VIRTIO_NET_ERR);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_ANNOUNCE, 0, NULL, 0), VIRTIO_NET_ERR);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MQ, 0, "\1\0", 2), VIRTIO_NET_ERR);
    cr_expect(hears(f, TO_OTHER), "without CTRL_RX everything passes");
    cr_expect(hears_vlan(f, 7));
    fx_down(f);
}

/* --- what is received --- */

Test(net_ctrl, modes)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Setting MAC "
           "Address Filtering#04");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#01");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#04");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#05");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#06");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#07");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#08");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#09");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#10");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#11");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#12");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#13");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#02");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Packet Receive "
           "Filtering#03");
    struct fx *f = fx_up(1, true, NULL, NULL);
    enum { PROMISC, ALLMULTI, ALLUNI, NOMULTI, NOUNI, NOBCAST };
    cr_expect(hears(f, TO_GUEST) && hears(f, TO_ALL) && !hears(f, TO_OTHER) && !hears(f, TO_GROUP));
    cr_expect_eq(rx_mode(f, ALLMULTI, 1), VIRTIO_NET_OK);
    cr_expect(hears(f, TO_GROUP) && !hears(f, TO_OTHER));
    cr_expect_eq(rx_mode(f, ALLUNI, 1), VIRTIO_NET_OK);
    cr_expect(hears(f, TO_OTHER));
    cr_expect_eq(rx_mode(f, NOMULTI, 1), VIRTIO_NET_OK);
    cr_expect_not(hears(f, TO_GROUP));
    cr_expect(hears(f, TO_ALL));
    cr_expect_eq(rx_mode(f, NOUNI, 1), VIRTIO_NET_OK);
    cr_expect(!hears(f, TO_OTHER) && !hears(f, TO_GUEST));
    cr_expect_eq(rx_mode(f, NOBCAST, 1), VIRTIO_NET_OK);
    cr_expect_not(hears(f, TO_ALL));
    cr_expect_eq(rx_mode(f, PROMISC, 1), VIRTIO_NET_OK);
    cr_expect(hears(f, TO_ALL) && hears(f, TO_OTHER) && hears(f, TO_GROUP) && hears(f, TO_GUEST));
    for (uint8_t mode = PROMISC; mode <= NOBCAST; mode++) {
        cr_expect_eq(rx_mode(f, mode, 2), VIRTIO_NET_ERR);
        cr_expect_eq(rx_mode(f, mode, 0), VIRTIO_NET_OK);
    }
    cr_expect(hears(f, TO_GUEST) && hears(f, TO_ALL) && !hears(f, TO_OTHER) && !hears(f, TO_GROUP));
    fx_down(f);
}

Test(net_ctrl, mac_tables)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Setting MAC "
           "Address Filtering#02");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Setting MAC "
           "Address Filtering#01");
    struct fx *f = fx_up(1, true, NULL, NULL);
    cr_expect_eq(mac_table(f, TO_OTHER, TO_GROUP), VIRTIO_NET_OK);
    cr_expect(hears(f, TO_OTHER) && hears(f, TO_GROUP) && hears(f, TO_GUEST));
    cr_expect_eq(mac_table(f, NULL, TO_GROUP), VIRTIO_NET_OK);
    cr_expect(!hears(f, TO_OTHER) && hears(f, TO_GROUP));
    /* Claims that the data does not bear out change nothing. */
    static const uint8_t bad[][14] = {{0xff, 0xff, 0xff, 0xff}, {2}, {0x56, 0x55, 0x55, 0x15}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, 0, bad[i], sizeof(bad[i])), VIRTIO_NET_ERR);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, 0, bad[0], 3), VIRTIO_NET_ERR);
    cr_expect(hears(f, TO_GROUP));
    /* More than the table holds: all of the kind. */
    uint8_t many[4 + 65 * 6 + 4] = {65};
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, 0, many, sizeof(many)), VIRTIO_NET_OK);
    cr_expect(hears(f, TO_OTHER) && !hears(f, TO_GROUP));
    rig_negotiate(f->r);
    cr_expect(hears(f, TO_GUEST) && !hears(f, TO_OTHER));
    fx_down(f);
}

Test(net_ctrl, mac_address)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Setting MAC "
           "Address Filtering#03");
    struct fx *f = fx_up(1, true, NULL, NULL);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, TO_OTHER, 6),
                 VIRTIO_NET_OK);
    cr_expect_arr_eq(fx_config(f).mac, TO_OTHER, 6);
    cr_expect(hears(f, TO_OTHER) && !hears(f, TO_GUEST));
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, TO_GROUP, 6),
                 VIRTIO_NET_ERR);
    vdev_config_set(f->r->dev, 0, TO_GUEST, 6); /* only a legacy driver may */
    cr_expect_arr_eq(fx_config(f).mac, TO_OTHER, 6);
    rig_negotiate(f->r);
    cr_expect_arr_eq(fx_config(f).mac, TO_GUEST, 6);
    fx_down(f);
}

TEST_EACH_WAY(ALL_WAYS, net_ctrl, vlans)
{
    PROVES(
        "Device Types / Network Device / Device Operation / Control Virtqueue / VLAN Filtering#03");
    PROVES(
        "Device Types / Network Device / Device Operation / Control Virtqueue / VLAN Filtering#02");
    struct fx *f = fx_up(1, true, NULL, NULL);
    HOLDS(f->r, "30g");
    uint16_t id = 0x123, edge = 4095, beyond = 4096;
    cr_expect_not(hears_vlan(f, id));
    cr_expect(hears(f, TO_GUEST), "without a tag");
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &id, 2), VIRTIO_NET_OK);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &edge, 2),
                 VIRTIO_NET_OK);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &beyond, 2),
                 VIRTIO_NET_ERR);
    cr_expect(hears_vlan(f, id) && hears_vlan(f, edge) && !hears_vlan(f, id + 1));
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, &id, 2), VIRTIO_NET_OK);
    cr_expect(!hears_vlan(f, id) && hears_vlan(f, edge));
    fx_down(f);
}

/* --- announcements and offloads --- */

Test(net_ctrl, announce)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Gratuitous "
           "Packet Sending#01");
    struct fx *f = fx_up(1, true, NULL, NULL);
    (void)rig_irqs(f->r);
    net_announce(f->r->dev);
    cr_expect_eq(fx_config(f).status, VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
    cr_expect_eq(rig_irqs(f->r), 1);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
                 VIRTIO_NET_OK);
    cr_expect_eq(fx_config(f).status, VIRTIO_NET_S_LINK_UP);
    net_announce(f->r->dev);
    rig_negotiate(f->r);
    cr_expect_eq(fx_config(f).status, VIRTIO_NET_S_LINK_UP);
    fx_down(f);
    f = fx_up(1, true, NULL, WITHOUT(NET_F(VIRTIO_NET_F_GUEST_ANNOUNCE)));
    net_announce(f->r->dev);
    cr_expect_eq(fx_config(f).status, VIRTIO_NET_S_LINK_UP, "a driver that could not answer");
    fx_down(f);
}

Test(net_ctrl, guest_offloads)
{
    struct fx *f = fx_up(1, true, NULL, WITHOUT(NET_F(VIRTIO_NET_F_GUEST_TSO6)));
    net_hdr_t gso = {.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 9};
    uint64_t csum = NET_F(VIRTIO_NET_F_GUEST_CSUM), tso4 = csum | NET_F(VIRTIO_NET_F_GUEST_TSO4),
             tso6 = csum | NET_F(VIRTIO_NET_F_GUEST_TSO6);
    fx_frame(frame, TO_GUEST, 0x0800, 200);
    fx_post(f, 0, 90, 2000); /* some for the longest frame are taken ahead */
    rig_kick(f->r, 0);
    fx_send(f, 0, &gso, frame, 200);
    cr_expect(fx_arrives(f, 0, frame, 200), "on from the start");
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &csum, 8), VIRTIO_NET_OK);
    fx_send(f, 0, &gso, frame, 200);
    cr_expect_not(fx_arrives(f, 0, frame, 200));
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &tso6, 8), VIRTIO_NET_ERR);
    cr_expect_eq(fx_ctrl(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &tso4, 8), VIRTIO_NET_OK);
    fx_send(f, 0, &gso, frame, 200);
    cr_expect(fx_arrives(f, 0, frame, 200));
    fx_down(f);
}

/* --- statistics --- */

struct wanted {
    uint16_t queue, reserved[3];
    uint64_t types;
};
struct reply {
    uint8_t ack, type, reserved;
    uint16_t queue, reserved1, size;
    uint64_t v[8];
} __attribute__((packed));

static int stats(struct fx *f, uint16_t queue, unsigned type, struct reply *out)
{
    struct wanted w = {.queue = queue, .types = 1ull << type};
    return fx_ctrl_reply(f, VIRTIO_NET_CTRL_STATS, VIRTIO_NET_CTRL_STATS_GET, &w, sizeof(w), out,
                         sizeof(*out), NULL);
}

Test(net_ctrl, statistics)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Device "
           "Statistics#01");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Device "
           "Statistics#05");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Device "
           "Statistics#04");
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t gso = {.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 9};
    struct reply r;
    uint8_t caps[9];
    uint32_t written;
    cr_expect_eq(fx_ctrl_reply(f, VIRTIO_NET_CTRL_STATS, VIRTIO_NET_CTRL_STATS_QUERY, NULL, 0, caps,
                               sizeof(caps), &written),
                 VIRTIO_NET_OK);
    cr_expect_eq(get_bytes(caps + 1, 8), 0x100070007);
    cr_expect_eq(written, 9);

    fx_post(f, 0, 4, 2000);
    rig_kick(f->r, 0);
    fx_frame(frame, TO_GUEST, 0x0800, 200);
    fx_send(f, 0, NULL, frame, 200);
    fx_send(f, 0, &gso, frame, 300);
    fx_send(f, 0, NULL, frame, 5); /* dropped */
    rig_settle(f->r);
    cr_expect_eq(stats(f, 0, 0, &r), VIRTIO_NET_OK);
    cr_expect(r.type == 0 && r.queue == 0);
    cr_expect_eq(r.size, 8 + 6 * 8);
    cr_expect_eq(r.v[0], 1, "notifications");
    cr_expect_eq(r.v[1], 2, "packets");
    cr_expect_eq(r.v[2], 500, "bytes");
    cr_expect_eq(r.v[3], 1, "interrupts");
    cr_expect_eq(r.v[4], 1, "drops");
    cr_expect_eq(r.v[5], 0, "overruns");
    cr_expect_eq(stats(f, 0, 1, &r), VIRTIO_NET_OK);
    cr_expect(r.v[0] == 0 && r.v[1] == 1 && r.v[2] == 1 && r.v[3] == 0);
    cr_expect_eq(stats(f, 0, 2, &r), VIRTIO_NET_OK);
    cr_expect(r.v[0] == 1 && r.v[1] == 300 && r.v[2] == 0 && r.v[3] == 0);

    fx_tx(f, 1, &gso, frame, 300);
    fx_tx(f, 1, NULL, frame, 3);
    cr_expect_eq(stats(f, 1, 16, &r), VIRTIO_NET_OK);
    cr_expect(r.type == 16 && r.queue == 1);
    cr_expect(r.v[0] == 2 && r.v[1] == 1 && r.v[2] == 300 && r.v[4] == 1 && r.v[5] == 1);
    cr_expect_eq(stats(f, 1, 17, &r), VIRTIO_NET_OK);
    cr_expect(r.v[0] == 0 && r.v[1] == 1);
    cr_expect_eq(stats(f, 1, 18, &r), VIRTIO_NET_OK);
    cr_expect(r.v[0] == 1 && r.v[1] == 300 && r.v[2] == 0 && r.v[4] == 1 && r.v[5] == 300);
    cr_expect_eq(stats(f, 2, 32, &r), VIRTIO_NET_OK);
    cr_expect(r.v[0] == 8 && r.v[1] == 8, "this one included");
    fx_down(f);
}

Test(net_ctrl, statistics_that_cannot_be_had)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Device "
           "Statistics#02");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Device "
           "Statistics#03");
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Device "
           "Statistics#06");
    struct fx *f = fx_up(1, true, NULL, WITHOUT(NET_TX_OFFLOADS | NET_RX_OFFLOADS));
    struct reply r;
    static const struct {
        uint16_t queue, type;
    } bad[] = {{3, 0},  {0xffff, 0}, {0, 16}, {0, 32}, {1, 0},  {2, 0}, {0, 3},
               {0, 63}, {0, 1},      {0, 2},  {1, 17}, {1, 18}, {1, 19}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        memset(&r, 0, sizeof(r));
        cr_expect_eq(stats(f, bad[i].queue, bad[i].type, &r), VIRTIO_NET_ERR, "%zu", i);
    }
    struct wanted two[] = {{.queue = 0, .types = 1}, {.queue = 0, .types = 2}};
    uint32_t written;
    cr_expect_eq(
        fx_ctrl_reply(f, VIRTIO_NET_CTRL_STATS, 1, two, sizeof(two), &r, sizeof(r), &written),
        VIRTIO_NET_ERR);
    cr_expect_eq(written, 1);
    two[1] = (struct wanted){.queue = 1, .types = 1 << 16};
    uint8_t small[1 + 8 + 48 + 10], big[200];
    cr_expect_eq(fx_ctrl_reply(f, VIRTIO_NET_CTRL_STATS, 1, two, sizeof(two), small, sizeof(small),
                               &written),
                 VIRTIO_NET_OK);
    cr_expect_eq(written, sizeof(small));
    cr_expect_eq(
        fx_ctrl_reply(f, VIRTIO_NET_CTRL_STATS, 1, two, sizeof(two), big, sizeof(big), &written),
        VIRTIO_NET_OK);
    cr_expect_eq(written, 1 + 2 * (8 + 48));
    cr_expect_eq(big[written], 0xee, "what lies behind is the driver's");
    fx_down(f);
}

/* A counter at its end, put there by hand. */
Test(net_ctrl, statistics_wrap)
{
    PROVES("Device Types / Network Device / Device Operation / Control Virtqueue / Device "
           "Statistics#07");
    struct fx *f = fx_up(1, true, NULL, NULL);
    struct net *n = vdev_priv(f->r->dev);
    struct reply r;
    net_counters(n, 0)->n[NET_PACKETS] = UINT64_MAX;
    net_counters(n, 0)->n[NET_BYTES] = UINT64_MAX - 1;
    cr_assert(hears(f, TO_GUEST));
    cr_expect_eq(stats(f, 0, 0, &r), VIRTIO_NET_OK);
    cr_expect_eq(r.v[1], 0, "packets");
    cr_expect_eq(r.v[2], 98, "bytes");
    net_counters(n, 2)->n[NET_COMMANDS] = net_counters(n, 2)->n[NET_OK] = UINT64_MAX;
    cr_expect_eq(stats(f, 2, 32, &r), VIRTIO_NET_OK);
    cr_expect(r.v[0] == 0 && r.v[1] == 0);
    fx_down(f);
}
