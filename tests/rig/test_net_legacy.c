/* tests/rig/test_net_legacy.c - a network device and drivers of its legacy interface: a shorter
 * header, an address that is written byte by byte, and everything in the guest's byte order, which
 * is ours.
 */
#include "tests/rig/net_fixture.h"

static uint8_t frame[4096], got[4096];

static const enum rig_transport legacy[] = {RIG_MMIO_LEGACY, RIG_PCI_TRANSITIONAL_LEGACY,
                                            RIG_PCI_LEGACY};
#define for_each_legacy(t)                                                                         \
    for (const enum rig_transport *t = legacy; t < legacy + ARRAY_SIZE(legacy); t++)

static struct fx *up(enum rig_transport t, unsigned queues, uint64_t without)
{
    const struct rig_options o = {.transport = t, .without = without};
    struct fx *f = fx_up(queues, true, NULL, &o);
    f->hdr = rig_has(f->r, VIRTIO_NET_F_MRG_RXBUF) ? HDR : sizeof(struct virtio_net_hdr);
    return f;
}

static bool hears(struct fx *f, const char *to)
{
    size_t len = fx_frame(frame, to, 0x0800, 100);
    fx_post(f, 0, 1, 2000);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, len);
    return fx_arrives(f, 0, frame, len);
}

/* A command in the descriptors that a legacy driver makes of it: class and command, each part of
 * the data, the ack. */
static int command(struct fx *f, uint8_t class, uint8_t cmd, const void *data, size_t len,
                   size_t first)
{
    unsigned q = fx_ctrl_queue(f), n = 2;
    struct rig_seg out[3] = {{.at = rig_alloc(f->r, 2), .len = 2}};
    struct rig_seg in = {.at = rig_alloc(f->r, 1), .len = 1};
    gpa_t at = rig_alloc(f->r, len);
    memcpy(rig_at(f->r, out[0].at, 2), (uint8_t[]){class, cmd}, 2);
    memcpy(rig_at(f->r, at, len), data, len);
    out[1] = (struct rig_seg){.at = at, .len = (uint32_t)first};
    if (first < len)
        out[n++] = (struct rig_seg){.at = GPA(at.v + first), .len = (uint32_t)(len - first)};
    rig_add(f->r, q, out, n, &in, 1);
    rig_kick(f->r, q);
    rig_settle(f->r);
    uint32_t id, written;
    return rig_used(f->r, q, &id, &written) ? *(uint8_t *)rig_at(f->r, in.at, 1) : -1;
}

Test(net_legacy, configuration)
{
    PROVES("legacy:Device Types / Network Device / Device configuration layout / Legacy Interface: "
           "Device configuration layout#01");
    for_each_legacy(t)
    {
        struct fx *f = up(*t, 3, 0);
        for (unsigned i = 0; i < 6; i++)
            cr_expect_eq(rig_config(f->r, i, 1), (uint8_t)TO_GUEST[i]);
        cr_expect_eq(rig_config(f->r, 6, 2), VIRTIO_NET_S_LINK_UP, "status");
        cr_expect_eq(rig_config(f->r, 8, 2), 3, "max_virtqueue_pairs");
        cr_expect_eq(rig_config(f->r, 10, 2), 1500, "mtu");
        fx_down(f);
    }
}

/* With num_buffers only if it was negotiated (5.1.6.1). */
Test(net_legacy, header)
{
    PROVES("legacy:Device Types / Network Device / Device Operation / Legacy Interface: Device "
           "Operation#01");
    const net_hdr_t gso = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
                           .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
                           .hdr_len = 54,
                           .gso_size = 1448,
                           .csum_start = 34,
                           .csum_offset = 16,
                           .num_buffers = 1};
    for_each_legacy(t)
    {
        for (unsigned mrg = 0; mrg < 2; mrg++) {
            struct fx *f = up(*t, 1, mrg ? 0 : NET_F(VIRTIO_NET_F_MRG_RXBUF));
            net_hdr_t out;
            uint32_t len;
            cr_expect_eq(f->hdr, mrg ? 12 : 10);
            fx_frame(frame, TO_GUEST, 0x0800, 2000);
            fx_tx(f, 1, &gso, frame, 2000);
            cr_assert_eq(fx_recv(f, 0, &out, got, sizeof(got)), 2000);
            cr_expect_arr_eq(got, frame, 2000);
            cr_expect_arr_eq(&out, &gso, sizeof(struct virtio_net_hdr));
            fx_post(f, 0, 60, 2100);
            rig_kick(f->r, 0);
            fx_send(f, 0, &gso, frame, 2000);
            rig_settle(f->r);
            const uint8_t *b = fx_used(f, 0, &len);
            cr_assert(b);
            cr_expect_eq(len, 2000 + f->hdr);
            cr_expect_arr_eq(b, &gso, f->hdr);
            cr_expect_arr_eq(b + f->hdr, frame, 2000);
            fx_down(f);
        }
    }
}

Test(net_legacy, address_filters)
{
    PROVES("legacy:Device Types / Network Device / Device Operation / Control Virtqueue / Setting "
           "MAC Address Filtering / Legacy Interface: Setting MAC Address Filtering#01");
    static const uint8_t table[] = {1, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 2,  /* TO_OTHER */
                                    1, 0, 0, 0, 0x33, 0x33, 0, 0, 0, 5}; /* TO_GROUP */
    for_each_legacy(t)
    {
        struct fx *f = up(*t, 1, 0);
        cr_expect(hears(f, TO_GUEST) && !hears(f, TO_OTHER) && !hears(f, TO_GROUP));
        cr_expect_eq(command(f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table,
                             sizeof(table), sizeof(table) / 2),
                     VIRTIO_NET_OK);
        cr_expect(hears(f, TO_GUEST) && hears(f, TO_OTHER) && hears(f, TO_GROUP));
        fx_down(f);
    }
}

Test(net_legacy, vlans)
{
    PROVES("legacy:Device Types / Network Device / Device Operation / Control Virtqueue / VLAN "
           "Filtering / Legacy Interface: VLAN Filtering#01");
    for_each_legacy(t)
    {
        struct fx *f = up(*t, 1, 0);
        for (unsigned known = 0; known < 2; known++) {
            size_t len = fx_frame(frame, TO_GUEST, 0x8100, 100);
            put_bytes(frame + 14, 0x2301, 2); /* 0x123 on the wire */
            fx_post(f, 0, 1, 2000);
            rig_kick(f->r, 0);
            fx_send(f, 0, NULL, frame, len);
            cr_expect_eq(fx_arrives(f, 0, frame, len), known);
            uint16_t id = 0x123;
            cr_expect_eq(command(f, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &id, 2, 2),
                         VIRTIO_NET_OK);
        }
        fx_down(f);
    }
}

Test(net_legacy, several_queues)
{
    PROVES("legacy:Device Types / Network Device / Device Operation / Control Virtqueue / "
           "Automatic receive steering in multiqueue mode / Legacy Interface: Automatic receive "
           "steering in multiqueue mode#01");
    for_each_legacy(t)
    {
        struct fx *f = up(*t, 2, 0);
        uint16_t pairs = 2;
        fx_post(f, 2, 4, 2000);
        rig_kick(f->r, 2);
        fx_frame(frame, TO_GUEST, 0x0800, 100);
        cr_expect_eq(command(f, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2, 2),
                     VIRTIO_NET_OK);
        fx_send(f, 1, NULL, frame, 100);
        cr_expect(fx_arrives(f, 1, frame, 100));
        fx_down(f);
    }
}

Test(net_legacy, offloads)
{
    PROVES("legacy:Device Types / Network Device / Device Operation / Control Virtqueue / Offloads "
           "State Configuration / Setting Offloads State / Legacy Interface: Setting Offloads "
           "State#01");
    const net_hdr_t gso = {.flags = 1, .gso_type = 1, .gso_size = 9, .csum_start = 34};
    for_each_legacy(t)
    {
        struct fx *f = up(*t, 1, 0);
        uint64_t some = NET_F(VIRTIO_NET_F_GUEST_CSUM) | NET_F(VIRTIO_NET_F_GUEST_TSO4);
        fx_frame(frame, TO_GUEST, 0x0800, 100);
        fx_post(f, 0, 60, 2000);
        rig_kick(f->r, 0);
        for (unsigned on = 0; on < 2; on++) {
            uint64_t bits = on ? some : NET_F(VIRTIO_NET_F_GUEST_CSUM);
            cr_expect_eq(command(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                                 VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &bits, 8, 8),
                         VIRTIO_NET_OK);
            fx_send(f, 0, &gso, frame, 100);
            cr_expect_eq(fx_arrives(f, 0, frame, 100), on);
        }
        fx_down(f);
    }
}

static struct state_out save(struct rig *r)
{
    struct state_out s = {0};
    vdev_pause(r->dev);
    vdev_save(r->dev, &s);
    cr_assert_eq(s.error, 0);
    return s;
}

/* Byte by byte, and a driver that knows the command for it has no other way. An address that is a
 * group's is not taken; so what was taken can be loaded again. */
Test(net_legacy, address_in_the_configuration)
{
    for_each_legacy(t)
    {
        struct fx *f = up(*t, 1, 0);
        rig_config_set(f->r, 5, 1, 9);
        cr_expect_eq(rig_config(f->r, 5, 1), 1);
        fx_down(f);
        f = up(*t, 1, NET_F(VIRTIO_NET_F_CTRL_MAC_ADDR));
        cr_expect(hears(f, TO_GUEST) && !hears(f, TO_OTHER));
        for (unsigned i = 0; i < 6; i++)
            rig_config_set(f->r, i, 1, (uint8_t)TO_OTHER[i]);
        cr_expect(!hears(f, TO_GUEST) && hears(f, TO_OTHER));
        rig_config_set(f->r, 0, 1, 1);
        cr_expect_eq(rig_config(f->r, 0, 1), 0x52);
        struct state_out s = save(f->r);
        vdev_reset(f->r->dev);
        cr_expect_eq(rig_config(f->r, 5, 1), 1, "its own again");
        struct state_in in = {.buf = s.buf, .len = s.len};
        cr_expect_eq(vdev_load(f->r->dev, &in), 0);
        cr_expect_eq(rig_config(f->r, 5, 1), 2);
        state_out_free(&s);
        fx_down(f);
    }
}
