/* tests/rig/test_net.c - the network device: what it offers, and frames from drivers that mean well
 * and that do not. */
#include <netinet/in.h>

#include "tests/rig/net_fixture.h"
#include "tests/rig/ways.h"

#define WITHOUT(...) (&(struct rig_options){.without = __VA_ARGS__})

static uint8_t frame[70000], got[70000];

/* --- what it offers --- */

Test(net, configuration)
{
    PROVES("Device Types / Network Device / Device configuration layout#01");
    PROVES("Device Types / Network Device / Device configuration layout#02");
    PROVES("Device Types / Network Device / Device configuration layout#03");
    PROVES("Device Types / Network Device / Device configuration layout#10");
    PROVES("Device Types / Network Device / Device configuration layout#07");
    PROVES("Device Types / Network Device / Device configuration layout#08");
    PROVES("Device Types / Network Device / Device configuration layout#13");
    PROVES("Device Types / Network Device / Device configuration layout#14");
    struct fx *f = fx_up(2, false, ",rss,hash", NULL);
    struct virtio_net_config c = fx_config(f);
    cr_expect_arr_eq(c.mac, TO_GUEST, 6);
    cr_expect_eq(c.status, VIRTIO_NET_S_LINK_UP);
    cr_expect_eq(c.max_virtqueue_pairs, 2);
    cr_expect_eq(c.mtu, 1500);
    cr_expect_eq(c.speed, 10000);
    cr_expect_eq(c.duplex, 1); /* full, as the field's own text has it */
    cr_expect_geq(c.rss_max_key_size, 40);
    cr_expect_geq(c.rss_max_indirection_table_length, 128);
    cr_expect_eq(c.supported_hash_types, 0x1ff);
    uint64_t all = fx_offered(f);
    cr_expect(all >> VIRTIO_NET_F_CTRL_VQ & 1);
    cr_expect_not(all & (NET_TX_OFFLOADS | NET_RX_OFFLOADS)); /* its cable has no header */
    cr_expect_eq(vdev_queue_count(f->r->dev), 5);
    fx_down(f);
}

Test(net, switches)
{
    struct fx *f = fx_up(1, true, ",offload=off,mrg_rxbuf=off,coalesce=off,link=down", NULL);
    uint64_t off = NET_TX_OFFLOADS | NET_RX_OFFLOADS | NET_F(VIRTIO_NET_F_MRG_RXBUF) |
                   NET_F(VIRTIO_NET_F_NOTF_COAL) | NET_F(VIRTIO_NET_F_VQ_NOTF_COAL) |
                   NET_F(VIRTIO_NET_F_RSS) | NET_F(VIRTIO_NET_F_HASH_REPORT) |
                   NET_F(VIRTIO_NET_F_MQ) | NET_F(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
    cr_expect_not(fx_offered(f) & off);
    cr_expect_eq(fx_config(f).status, 0);
    fx_down(f);
    f = fx_up(1, true, NULL, NULL);
    cr_expect_eq(fx_offered(f) & (NET_TX_OFFLOADS | NET_RX_OFFLOADS),
                 NET_TX_OFFLOADS | NET_RX_OFFLOADS);
    fx_down(f);
}

/* Negotiates this set by hand: is it taken? */
static bool takes(struct fx *f, uint64_t features)
{
    struct vdev *d = f->r->dev;
    features |= NET_F(VIRTIO_F_VERSION_1);
    vdev_status_write(d, 0);
    vdev_status_write(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    vdev_features_write(d, 0, (uint32_t)features);
    vdev_features_write(d, 1, (uint32_t)(features >> 32));
    vdev_status_write(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                             VIRTIO_CONFIG_S_FEATURES_OK);
    return vdev_status(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

/* 5.1.3.1, each rule of it. */
Test(net, features_that_need_others)
{
    static const struct {
        unsigned feature, needs;
    } rules[] = {
        {VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_GUEST_CSUM},
        {VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_CSUM},
        {VIRTIO_NET_F_CTRL_RX, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_VLAN, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_GUEST_ANNOUNCE, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_MQ, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_CTRL_MAC_ADDR, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_NOTF_COAL, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_RSS, VIRTIO_NET_F_CTRL_VQ},
        {VIRTIO_NET_F_VQ_NOTF_COAL, VIRTIO_NET_F_CTRL_VQ},
    };
    struct fx *f = fx_up(2, true, ",rss,hash", NULL);
    cr_expect(takes(f, 0));
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
        cr_expect_not(takes(f, NET_F(rules[i].feature)), "%u", rules[i].feature);
        cr_expect(takes(f, NET_F(rules[i].feature) | NET_F(rules[i].needs)), "%u",
                  rules[i].feature);
    }
    uint64_t csum = NET_F(VIRTIO_NET_F_CSUM) | NET_F(VIRTIO_NET_F_GUEST_CSUM);
    cr_expect_not(takes(f, csum | NET_F(VIRTIO_NET_F_HOST_ECN)));
    cr_expect(takes(f, csum | NET_F(VIRTIO_NET_F_HOST_ECN) | NET_F(VIRTIO_NET_F_HOST_TSO6)));
    cr_expect_not(takes(f, csum | NET_F(VIRTIO_NET_F_GUEST_ECN)));
    cr_expect(takes(f, csum | NET_F(VIRTIO_NET_F_GUEST_ECN) | NET_F(VIRTIO_NET_F_GUEST_TSO4)));
    cr_expect_not(takes(f, NET_F(VIRTIO_NET_F_RSC_EXT)), "not offered");
    fx_down(f);
}

/* What the host's user may change: the cable. */
Test(net, the_link_is_an_option_that_lives)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    static const char *const texts[] = {"none,link=down", "none,link=up"};
    for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
        struct err e = {0};
        cr_assert_eq(rig_update(f->r, texts[i], &e), 0, "%s", e.msg);
        cr_expect_eq(fx_config(f).status, i == 0 ? 0 : VIRTIO_NET_S_LINK_UP);
        cr_expect_eq(rig_irqs(f->r), 1);
    }
    fx_down(f);
}

/* Nothing that a driver or the link does changes the MTU. */
Test(net, the_mtu_stays)
{
    PROVES("Device Types / Network Device / Device configuration layout#04");
    static const enum rig_transport all[] = {RIG_MMIO, RIG_PCI_LEGACY};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        const struct rig_options o = {.transport = all[i]};
        struct fx *f = fx_up(1, true, ",mtu=1300", &o);
        enum { MTU = offsetof(struct virtio_net_config, mtu) };
        rig_config_set(f->r, MTU, 2, 0x1234);
        rig_config_set(f->r, MTU, 1, 0xff);
        cr_expect_eq(rig_config(f->r, MTU, 2), 1300);
        net_set_link(f->r->dev, false);
        net_set_link(f->r->dev, true);
        cr_expect_eq(rig_config(f->r, MTU, 2), 1300);
        rig_negotiate(f->r);
        cr_expect_eq(rig_config(f->r, MTU, 2), 1300);
        fx_down(f);
    }
}

/* --- transmission --- */

Test(net, a_frame_goes_out)
{
    PROVES("Device Types / Network Device / Device configuration layout#06");
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t h;
    uint32_t id, len;
    fx_frame(frame, TO_OTHER, 0x0800, 1514);
    fx_tx(f, 1, NULL, frame, 1514);
    cr_assert_eq(fx_recv(f, 0, &h, got, sizeof(got)), 1514);
    cr_expect_arr_eq(got, frame, 1514);
    cr_expect(rig_used(f->r, 1, &id, &len));
    cr_expect_eq(len, 0);
    cr_expect_eq(rig_irqs(f->r), 1);
    fx_down(f);
}

Test(net, header_fields_that_do_not_count)
{
    PROVES("Device Types / Network Device / Device Operation / Packet Transmission#01");
    PROVES("Device Types / Network Device / Device Operation / Packet Transmission#02");
    PROVES("Device Types / Network Device / Device Operation / Packet Transmission#07");
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t h = {.flags = 0xfe, .csum_start = 60000, .csum_offset = 60000, .gso_size = 77}, out;
    h.hdr_len = 0xffff;
    fx_tx(f, 1, &h, frame, fx_frame(frame, TO_OTHER, 0x0800, 100));
    cr_assert_eq(fx_recv(f, 0, &out, got, sizeof(got)), 100);
    cr_expect_arr_eq(got, frame, 100);
    cr_expect_eq(out.flags, 0);
    cr_expect_eq(out.csum_start, 0);
    cr_expect_eq(out.csum_offset, 0);
    cr_expect_eq(out.gso_size, 0);
    cr_expect_leq(out.hdr_len, 100);
    fx_down(f);
}

Test(net, offload_requests)
{
    PROVES("Device Types / Network Device / Device Operation / Packet Transmission#08");
    PROVES("Device Types / Network Device / Device Operation / Packet Transmission#10");
    static const struct {
        net_hdr_t h;
        bool passes;
    } cases[] = {
        {{.flags = 1, .csum_start = 34, .csum_offset = 16}, true},
        {{.flags = 1, .csum_start = 98, .csum_offset = 0}, true},
        {{.flags = 1, .csum_start = 99, .csum_offset = 0}, false},
        {{.flags = 1, .csum_start = 65535, .csum_offset = 65535}, false},
        {{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 1448}, true},
        {{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 0x81, .gso_size = 9}, true},
        {{.flags = 1, .csum_start = 34, .csum_offset = 6, .gso_type = 5, .gso_size = 9}, true},
        {{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 0}, false},
        {{.flags = 0, .gso_type = 1, .gso_size = 1448}, false},
        {{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 2, .gso_size = 9}, false},
        {{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 0x61, .gso_size = 9}, false},
        {{.flags = 0, .gso_type = 0x21, .gso_size = 9}, false},
        {{.flags = 3, .csum_start = 34, .csum_offset = 16, .gso_type = 0x41, .gso_size = 9}, false},
        {{.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 0x20, .gso_size = 9}, false},
    };
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t h;
    uint32_t id, len;
    fx_frame(frame, TO_OTHER, 0x0800, 100);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        fx_tx(f, 1, &cases[i].h, frame, 100);
        cr_expect_eq(fx_recv(f, 0, &h, got, sizeof(got)), cases[i].passes ? 100 : 0, "%zu", i);
        if (cases[i].passes)
            cr_expect_eq(h.gso_type, cases[i].h.gso_type);
        cr_expect(rig_used(f->r, 1, &id, &len), "%zu", i);
    }
    fx_down(f);
}

/* It is passed on, and nobody says that the checksum was right. */
Test(net, a_checksum_that_is_wrong)
{
    PROVES("Device Types / Network Device / Device Operation / Packet Transmission#11");
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t h = {.flags = VIRTIO_NET_HDR_F_DATA_VALID}, out;
    fx_frame(frame, TO_OTHER, 0x0800, 100);
    frame[14] = 0x45;
    memset(frame + 24, 0xee, 2);
    fx_tx(f, 1, &h, frame, 100);
    cr_assert_eq(fx_recv(f, 0, &out, got, sizeof(got)), 100);
    cr_expect_arr_eq(got, frame, 100);
    cr_expect_eq(out.flags, 0);
    fx_down(f);
}

/* To be used as a hint by those who segment. */
Test(net, the_length_of_the_headers)
{
    PROVES("Device Types / Network Device / Device Operation / Packet Transmission#06");
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t out, h = {.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1};
    h.gso_size = 1000;
    h.hdr_len = 66;
    fx_tx(f, 1, &h, frame, fx_frame(frame, TO_OTHER, 0x0800, 1200));
    cr_assert_eq(fx_recv(f, 0, &out, got, sizeof(got)), 1200);
    cr_expect_eq(out.hdr_len, 66);
    fx_down(f);
}

Test(net, offloads_that_were_not_negotiated)
{
    struct fx *f = fx_up(1, true, NULL, WITHOUT(NET_TX_OFFLOADS));
    net_hdr_t h = {.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 9};
    fx_frame(frame, TO_OTHER, 0x0800, 100);
    fx_tx(f, 1, &h, frame, 100);
    cr_expect_eq(fx_recv(f, 0, &h, got, sizeof(got)), 0);
    fx_down(f);
}

Test(net, odd_framing)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    enum { CUTS = 1000 };
    struct rig_seg out[CUTS];
    gpa_t at = rig_alloc(f->r, HDR + 2000);
    fx_frame(rig_at(f->r, GPA(at.v + HDR), 2000), TO_OTHER, 0x0800, 2000);
    fx_frame(frame, TO_OTHER, 0x0800, 2000);
    for (unsigned i = 0; i < CUTS; i++) /* byte by byte, and the rest in one */
        out[i] = (struct rig_seg){.at = GPA(at.v + i),
                                  .len = i + 1 < CUTS ? 1 : HDR + 2000 - (CUTS - 1)};
    rig_add_indirect(f->r, 1, out, CUTS, NULL, 0);
    rig_kick(f->r, 1);
    rig_settle(f->r);
    cr_assert_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 2000);
    cr_expect_arr_eq(got, frame, 2000);
    fx_down(f);
}

Test(net, more_segments_than_a_system_call_takes)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    enum { CUTS = 1026, LEN = CUTS - 1 };
    struct rig_seg out[CUTS];
    gpa_t at = rig_alloc(f->r, HDR + LEN);
    fx_frame(rig_at(f->r, GPA(at.v + HDR), LEN), TO_OTHER, 0x0800, LEN);
    fx_frame(frame, TO_OTHER, 0x0800, LEN);
    out[0] = (struct rig_seg){.at = at, .len = HDR};
    for (unsigned i = 1; i < CUTS; i++)
        out[i] = (struct rig_seg){.at = GPA(at.v + HDR + i - 1), .len = 1};
    rig_add_indirect(f->r, 1, out, CUTS, NULL, 0);
    rig_kick(f->r, 1);
    rig_settle(f->r);
    cr_assert_eq(fx_recv(f, 0, NULL, got, sizeof(got)), LEN);
    cr_expect_arr_eq(got, frame, LEN);
    fx_down(f);
}

TEST_EACH_WAY(ALL_WAYS, net, frames_that_are_none)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    HOLDS(f->r, "30c");
    uint32_t id, len;
    unsigned used = 0;
    struct rig_seg in = {.at = rig_alloc(f->r, 64), .len = 64};
    struct rig_seg runt = {.at = rig_alloc(f->r, 64), .len = 5};
    struct rig_seg giant = {.at = rig_alloc(f->r, 1 << 20), .len = 1 << 20};
    fx_tx(f, 1, NULL, frame, 0);  /* a header */
    fx_tx(f, 1, NULL, frame, 13); /* no whole Ethernet header */
    rig_add(f->r, 1, &runt, 1, NULL, 0);
    rig_add(f->r, 1, &giant, 1, NULL, 0);
    rig_add(f->r, 1, NULL, 0, &in, 1); /* nothing to read in it */
    rig_kick(f->r, 1);
    rig_settle(f->r);
    fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 60));
    cr_expect_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 60, "only the good one");
    cr_expect_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 0);
    while (rig_used(f->r, 1, &id, &len))
        used++;
    cr_expect_eq(used, 6);
    cr_expect_not(rig_needs_reset(f->r));
    fx_down(f);
}

/* Too long, and in more segments than are sent as they are. */
Test(net, a_giant_in_pieces)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    enum { CUTS = 1026, PIECE = 100 };
    struct rig_seg out[CUTS];
    uint32_t id, len;
    gpa_t at = rig_alloc(f->r, PIECE);
    for (unsigned i = 0; i < CUTS; i++)
        out[i] = (struct rig_seg){.at = at, .len = PIECE};
    rig_add_indirect(f->r, 1, out, CUTS, NULL, 0);
    rig_kick(f->r, 1);
    rig_settle(f->r);
    cr_expect(rig_used(f->r, 1, &id, &len));
    cr_expect_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 0);
    fx_down(f);
}

Test(net, a_cable_that_is_full)
{
    struct fx *f = fx_up(1, false, NULL, NULL);
    uint32_t id, len;
    unsigned used = 0, arrived = 0;
    static uint8_t big[20000];
    for (unsigned i = 0; i < 100; i++) {
        fx_frame(big, TO_OTHER, 0x0800, sizeof(big));
        big[14] = (uint8_t)i;
        struct rig_seg out[2] = {{.at = rig_alloc(f->r, HDR), .len = HDR},
                                 {.at = rig_alloc(f->r, sizeof(big)), .len = sizeof(big)}};
        memcpy(rig_at(f->r, out[1].at, sizeof(big)), big, sizeof(big));
        rig_add(f->r, 1, out, 2, NULL, 0);
    }
    rig_kick(f->r, 1);
    rig_settle(f->r); /* returns: nothing spins while the cable is full */
    while (rig_used(f->r, 1, &id, &len))
        used++;
    cr_expect_lt(used, 100);
    for (size_t n; arrived < 100; arrived++) {
        n = fx_recv(f, 0, NULL, got, sizeof(got));
        if (n == 0)
            break;
        cr_assert_eq(n, sizeof(big));
        cr_assert_eq(got[14], arrived, "in order");
        rig_settle(f->r);
    }
    cr_expect_eq(arrived, 100);
    while (rig_used(f->r, 1, &id, &len))
        used++;
    cr_expect_eq(used, 100);
    fx_down(f);
}

Test(net, a_reset_while_the_cable_is_full)
{
    struct fx *f = fx_up(1, false, NULL, NULL);
    for (unsigned i = 0; i < 100; i++)
        fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 20000));
    rig_negotiate(f->r);
    while (fx_recv(f, 0, NULL, got, sizeof(got)))
        rig_settle(f->r);
    fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 100));
    cr_expect_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 100);
    fx_down(f);
}

Test(net, a_neighbour_that_leaves_while_the_cable_is_full)
{
    struct fx *f = fx_up(1, false, NULL, NULL);
    uint32_t id, len;
    unsigned used = 0;
    for (unsigned i = 0; i < 100; i++)
        fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 20000));
    close(f->peer[0]);
    f->peer[0] = -1;
    rig_settle(f->r);
    while (rig_used(f->r, 1, &id, &len))
        used++;
    cr_expect_eq(used, 100);
    fx_down(f);
}

/* One that says nothing more is taken for gone, whether the guest would have listened or not: its
 * end is heard once, and nothing waits for it. */
static void half_closed(unsigned buffers)
{
    struct fx *f = fx_up(1, false, NULL, NULL);
    uint32_t id, len;
    unsigned used = 0;
    fx_post(f, 0, buffers, 2000);
    rig_kick(f->r, 0);
    for (unsigned i = 0; i < 100; i++)
        fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 20000));
    cr_assert_eq(shutdown(f->peer[0], SHUT_WR), 0);
    rig_settle(f->r);
    while (rig_used(f->r, 1, &id, &len))
        used++;
    cr_expect_eq(used, 100);
    fx_down(f);
}

Test(net, a_neighbour_that_says_nothing_more)
{
    half_closed(4);
    half_closed(0);
}

/* A datagram socket reports that a frame found nobody, and is none the worse for it. */
Test(net, a_neighbour_that_is_not_there_yet)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
                       b = a;
    socklen_t size = sizeof(a);
    char text[64];
    int s = socket(AF_INET, SOCK_DGRAM, 0), peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(peer, (struct sockaddr *)&a, size), 0);
    cr_assert_eq(getsockname(peer, (struct sockaddr *)&a, &size), 0);
    cr_assert_eq(bind(s, (struct sockaddr *)&b, size), 0);
    cr_assert_eq(getsockname(s, (struct sockaddr *)&b, &size), 0);
    cr_assert_eq(connect(s, (struct sockaddr *)&a, size), 0);
    close(peer);
    snprintf(text, sizeof(text), "net,backend=socket,fd=%d,mac=52:54:00:00:00:01", s);
    struct fx *f = calloc(1, sizeof(*f));
    f->hdr = HDR;
    f->r = rig_up(text, NULL);
    fx_post(f, 0, 4, 2000);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    for (unsigned i = 0; i < 3; i++)
        fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x0800, 100));
    peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(peer, (struct sockaddr *)&a, size), 0);
    fx_tx(f, 1, NULL, frame, 100);
    fx_tx(f, 1, NULL, frame, 100);
    cr_expect_eq(read(peer, got, sizeof(got)), 100);
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    cr_assert_eq(sendto(peer, frame, 100, 0, (struct sockaddr *)&b, size), 100);
    cr_expect(fx_arrives(f, 0, frame, 100));
    close(peer);
    rig_down(f->r);
    free(f);
}

/* An empty frame is one that is too short, not the end of the network. */
Test(net, a_neighbour_that_says_nothing)
{
    for (unsigned vnet = 0; vnet < 2; vnet++) {
        int pair[2];
        char text[100];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair), 0);
        snprintf(text, sizeof(text), "net,backend=socket,fd=%d%s", pair[1],
                 vnet ? ",vnet_hdr" : "");
        struct fx f = {.r = rig_up(text, NULL), .peer = {pair[0]}, .vnet = vnet, .hdr = HDR};
        uint32_t len;
        fx_post(&f, 0, 4, 2000);
        rig_kick(f.r, 0);
        cr_assert_eq(send(pair[0], "", 0, 0), 0);
        fx_send(&f, 0, NULL, frame, fx_frame(frame, TO_ALL, 0x0800, 100));
        rig_settle(f.r);
        cr_expect(fx_used(&f, 0, &len) && len == HDR + 100);
        rig_down(f.r);
        close(pair[0]);
    }
}

Test(net, a_neighbour_that_leaves)
{
    struct fx *f = fx_up(1, false, NULL, NULL);
    fx_post(f, 0, 4, 2000);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    close(f->peer[0]);
    f->peer[0] = -1;
    rig_settle(f->r); /* returns: its hang-up is heard once */
    fx_tx(f, 1, NULL, frame, 100);
    uint32_t id, len;
    cr_expect(rig_used(f->r, 1, &id, &len), "what is sent is lost, as on a cable");
    fx_down(f);
}
