/* tests/rig/test_net_rx.c - frames for the driver: from neighbours that mean well and that do not,
 * into buffers of every size, and none. */
#include "tests/rig/net_fixture.h"
#include "tests/rig/reported.h"
#include "tests/rig/ways.h"

#define WITHOUT(...) (&(struct rig_options){.without = __VA_ARGS__})

static uint8_t frame[70000], got[70000];

/* What the device's last readv() was given, and what it came to. */
static struct {
    unsigned n;
    size_t aside; /* bytes that went to its last segment, which is the device's own */
} last_read;

ssize_t __real_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n);
ssize_t __wrap_readv(int fd, const struct iovec *iov, int n)
{
    ssize_t r = __real_readv(fd, iov, n);
    size_t room = 0;
    for (int i = 0; i < n - 1; i++)
        room += iov[i].iov_len;
    if (r > 0) {
        last_read.n = (unsigned)n;
        last_read.aside = (size_t)r - MIN((size_t)r, room);
    }
    return r;
}

Test(net_rx, a_frame_comes_in)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    fx_post(f, 0, 8, 2000);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 300));
    cr_assert(fx_arrives(f, 0, frame, 300));
    cr_expect_eq(rig_irqs(f->r), 1);
    fx_down(f);
}

/* Short frames are not read into room for long ones, and a long one is copied once and not again.
 */
Test(net_rx, as_much_room_as_is_likely)
{
    enum { LONG = 60000, SIZE = 1526, PIECES = (LONG + HDR + SIZE - 1) / SIZE };
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t gso = {
        .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 1448};
    fx_frame(frame, TO_GUEST, 0x0800, LONG);
    for (unsigned i = 0; i < 100; i++) {
        fx_post(f, 0, i ? 1 : 3 * PIECES, SIZE);
        rig_kick(f->r, 0);
        fx_send(f, 0, NULL, frame, 66);
        cr_assert(fx_arrives(f, 0, frame, 66));
    }
    cr_expect_eq(last_read.n, 3, "%u segments", last_read.n); /* header, a buffer, ours */
    for (unsigned i = 0; i < 2; i++) {
        size_t len = 0;
        uint32_t part;
        fx_send(f, 0, &gso, frame, LONG);
        rig_settle(f->r);
        for (const uint8_t *b; len < LONG + HDR && (b = fx_used(f, 0, &part)) != NULL; len += part)
            memcpy(got + len, b, part);
        cr_assert_eq(len, LONG + HDR);
        cr_expect_arr_eq(got + HDR, frame, LONG);
        cr_expect_eq(last_read.aside > 0, i == 0, "%zu bytes", last_read.aside);
    }
    fx_down(f);
}

/* Buffers that lie side by side are one segment. */
Test(net_rx, neighbours)
{
    enum { SIZE = 2048, PIECES = 4, LEN = PIECES * SIZE - HDR };
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t gso = {
        .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 1448};
    uint32_t part;
    fx_frame(frame, TO_GUEST, 0x0800, LEN);
    fx_post(f, 0, PIECES, SIZE);
    rig_alloc(f->r, SIZE); /* a gap */
    fx_post(f, 0, PIECES, SIZE);
    rig_kick(f->r, 0);
    fx_send(f, 0, &gso, frame, LEN);
    rig_settle(f->r);
    for (unsigned i = 0; i < PIECES; i++) {
        const uint8_t *b = fx_used(f, 0, &part);
        cr_assert(b && part == SIZE);
        memcpy(got + (size_t)i * SIZE, b, SIZE);
    }
    cr_expect_arr_eq(got + HDR, frame, LEN);
    cr_expect_eq(last_read.n, 4, "%u segments", last_read.n); /* header, two rows, ours */
    fx_down(f);
}

/* Without MRG_RXBUF. */
Test(net_rx, one_buffer_for_a_frame)
{
    PROVES("Device Types / Network Device / Device Operation / Setting Up Receive Buffers#02");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#01");
    struct fx *f = fx_up(1, true, NULL, WITHOUT(NET_F(VIRTIO_NET_F_MRG_RXBUF)));
    uint32_t len;
    fx_post(f, 0, 3, 1526);
    rig_kick(f->r, 0);
    fx_frame(frame, TO_GUEST, 0x0800, 1600);
    net_hdr_t gso = {.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 9};
    fx_send(f, 0, &gso, frame, 1600); /* does not fit */
    fx_send(f, 0, NULL, frame, 1514);
    rig_settle(f->r);
    const uint8_t *b = fx_used(f, 0, &len);
    cr_assert(b);
    cr_expect_eq(len, 1526);
    cr_expect_arr_eq(b + HDR, frame, 1514);
    cr_expect_eq(((const net_hdr_t *)b)->num_buffers, 1);
    cr_expect_null(fx_used(f, 0, &len));
    fx_down(f);
}

Test(net_rx, several_buffers_for_a_frame)
{
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#04");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#02");
    PROVES("Device Types / Network Device / Device Operation / Setting Up Receive Buffers#01");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#03");
    struct fx *f = fx_up(1, true, NULL, NULL);
    uint32_t len[4];
    fx_post(f, 0, 2, 500);
    fx_post(f, 0, 6, 700);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 1400));
    rig_settle(f->r);
    const uint8_t *b[4];
    for (unsigned i = 0; i < 4; i++)
        b[i] = fx_used(f, 0, &len[i]);
    cr_assert(b[0] && b[1] && b[2] && !b[3]);
    cr_expect_eq(((const net_hdr_t *)b[0])->num_buffers, 3);
    cr_expect_eq(len[0], 500);
    cr_expect_eq(len[1], 500);
    cr_expect_eq(len[2], 1400 + HDR - 1000);
    cr_expect_arr_eq(b[0] + HDR, frame, 500 - HDR);
    cr_expect_arr_eq(b[1], frame + 500 - HDR, 500);
    cr_expect_arr_eq(b[2], frame + 1000 - HDR, 1400 + HDR - 1000);
    cr_expect_eq(rig_irqs(f->r), 1);
    fx_down(f);
}

/* CVE-2020-16843: a ring that was empty must not stop reception for ever. */
TEST_EACH_WAY(ALL_WAYS, net_rx, no_buffers_and_then_some)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    HOLDS(f->r, "30f");
    uint32_t len;
    for (unsigned i = 0; i < 5; i++) {
        fx_frame(frame, TO_GUEST, 0x0800, 600);
        frame[20] = (uint8_t)i;
        fx_send(f, 0, NULL, frame, 600);
    }
    rig_settle(f->r); /* returns: nobody spins on what cannot be read */
    cr_expect_null(fx_used(f, 0, &len));
    for (unsigned i = 0; i < 5; i++) {
        fx_post(f, 0, 1, 1000);
        rig_kick(f->r, 0);
        rig_settle(f->r);
        const uint8_t *b = fx_used(f, 0, &len);
        cr_assert(b, "frame %u", i);
        cr_expect_eq(b[HDR + 20], i, "none is lost, and in order");
    }
    fx_down(f);
}

/* The beginning is in its buffer already when the rest has to wait. */
Test(net_rx, a_frame_waits_for_the_rest_of_its_buffers)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    uint32_t len;
    fx_post(f, 0, 1, 400);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 1000));
    rig_settle(f->r);
    cr_expect_null(fx_used(f, 0, &len));
    fx_post(f, 0, 4, 400);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    for (size_t off = 0, i = 0; i < 3; i++) {
        const uint8_t *b = fx_used(f, 0, &len);
        cr_assert(b);
        size_t head = i == 0 ? HDR : 0;
        cr_expect_arr_eq(b + head, frame + off, len - head);
        off += len - head;
        cr_expect(i < 2 || off == 1000);
    }
    fx_down(f);
}

/* A driver that cannot offer more, because we use none of what it has, must not wait for ever. */
Test(net_rx, a_ring_too_small_for_a_frame)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    fx_post(f, 0, 1, 400);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 1000));
    fx_send(f, 0, NULL, frame, 100);
    rig_settle(f->r);
    (void)loop_step(f->r->loop, 2000); /* the device's patience ends */
    cr_expect(fx_arrives(f, 0, frame, 100));
    fx_down(f);
}

TEST_EACH_WAY(ALL_WAYS, net_rx, runt_buffers)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    HOLDS(f->r, "24b 30d");
    uint32_t len;
    fx_post(f, 0, 1, 1);
    fx_post(f, 0, 1, HDR - 1);
    fx_post(f, 0, 40, HDR); /* a header, or twelve bytes of a frame */
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 62));
    rig_settle(f->r);
    cr_expect(fx_used(f, 0, &len) && len == 0);
    cr_expect(fx_used(f, 0, &len) && len == 0);
    const uint8_t *b = fx_used(f, 0, &len);
    cr_assert(b);
    cr_expect_eq(((const net_hdr_t *)b)->num_buffers, 7);
    for (size_t off = 0; off < 62; off += len) {
        b = fx_used(f, 0, &len);
        cr_assert(b);
        cr_expect_arr_eq(b, frame + off, len);
    }
    cr_expect_not(rig_needs_reset(f->r));
    fx_down(f);
}

Test(net_rx, a_buffer_of_more_segments_than_a_system_call_takes)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    enum { CUTS = 1026 };
    struct rig_seg in[CUTS];
    uint32_t len;
    gpa_t at = rig_alloc(f->r, 3 * CUTS);
    for (unsigned i = 0; i < CUTS; i++)
        in[i] = (struct rig_seg){.at = GPA(at.v + i), .len = 1};
    f->at[0][rig_add_indirect(f->r, 0, NULL, 0, in, CUTS)] = at;
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, CUTS - HDR));
    rig_settle(f->r);
    const uint8_t *b = fx_used(f, 0, &len);
    cr_assert(b);
    cr_expect_eq(len, CUTS);
    cr_expect_arr_eq(b + HDR, frame, CUTS - HDR);
    fx_down(f);
}

static bool passes(struct fx *f, const net_hdr_t *h, size_t size, net_hdr_t *out)
{
    uint32_t len;
    fx_send(f, 0, h, frame, size);
    rig_settle(f->r);
    const uint8_t *b = fx_used(f, 0, &len);
    if (b)
        memcpy(out, b, HDR);
    return b;
}

#define GSO(type_)                                                                                 \
    {                                                                                              \
        .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = type_, .gso_size = 9          \
    }

Test(net_rx, what_a_driver_did_not_ask_for_does_not_come)
{
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#06");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#14");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#17");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#25");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#07");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#08");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#09");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#10");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#13");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#11");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#21");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#26");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#27");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#28");
    static const struct {
        uint64_t without; /* the feature, and those that need it */
        net_hdr_t h;
        bool without_it, with_it;
    } cases[] = {
        {NET_F(VIRTIO_NET_F_GUEST_TSO4), GSO(1), false, true},
        {NET_F(VIRTIO_NET_F_GUEST_UFO), GSO(3), false, true},
        {NET_F(VIRTIO_NET_F_GUEST_TSO6), GSO(4), false, true},
        {NET_F(VIRTIO_NET_F_GUEST_USO4) | NET_F(VIRTIO_NET_F_GUEST_USO6), GSO(5), false, true},
        {NET_F(VIRTIO_NET_F_GUEST_ECN), GSO(0x81), false, true},
        {0, GSO(0x21), false, false},
        {NET_RX_GSO | NET_F(VIRTIO_NET_F_GUEST_ECN), GSO(1), false, true},
        {0, {.gso_type = 1, .gso_size = 9}, false, false},
        {0, {.flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1}, false, false},
        {NET_RX_OFFLOADS, {.flags = 1, .csum_start = 34, .csum_offset = 16}, false, true},
        {0,
         {.flags = 9, .csum_start = 34, .csum_offset = 6, .gso_type = 0x45, .gso_size = 9},
         false,
         false},
        {0, {.flags = 1, .csum_start = 99, .csum_offset = 1}, false, false},
    };
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        for (int with = 0; with < 2; with++) {
            struct fx *f = fx_up(1, true, NULL, WITHOUT(with ? 0 : cases[i].without));
            net_hdr_t out;
            fx_post(f, 0, 60, 2000);
            rig_kick(f->r, 0);
            bool want = with ? cases[i].with_it : cases[i].without_it;
            cr_expect_eq(passes(f, &cases[i].h, 100, &out), want, "%zu %d", i, with);
            if (want) {
                cr_expect_eq(out.gso_type, cases[i].h.gso_type, "%zu", i);
                cr_expect_eq(out.flags, cases[i].h.flags, "%zu", i);
            }
            fx_down(f);
        }
    }
}

Test(net_rx, flags_that_come_in)
{
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#32");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#39");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#42");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#12");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#30");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#05");
    net_hdr_t out, all = {.flags = 0xfe, .csum_start = 9};
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    struct fx *f = fx_up(1, true, NULL, NULL);
    fx_post(f, 0, 60, 2000);
    rig_kick(f->r, 0);
    cr_expect(passes(f, &all, 100, &out));
    cr_expect_eq(out.flags, VIRTIO_NET_HDR_F_DATA_VALID);
    fx_down(f);
    f = fx_up(1, true, NULL, WITHOUT(NET_RX_OFFLOADS));
    fx_post(f, 0, 60, 2000);
    rig_kick(f->r, 0);
    cr_expect(passes(f, &all, 100, &out));
    cr_expect_eq(out.flags, 0);
    fx_down(f);
}

/* What the guest gets is the frame that its sender meant once it has done its part. */
Test(net_rx, a_checksum_that_is_left_to_the_driver)
{
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#19");
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#20");
    static const uint8_t udp[28] = {0x45, 0, 0,  86, 0, 0, 0,  0, 64, 17, 0, 0,  10,   0,
                                    0,    1, 10, 0,  0, 2, 16, 0, 16, 1,  0, 66, 0x14, 0x66};
    struct fx *f = fx_up(1, true, NULL, NULL);
    net_hdr_t h = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
    uint32_t len, pseudo = 0, sum = 0;
    fx_frame(frame, TO_GUEST, 0x0800, 100);
    memcpy(frame + 14, udp, sizeof(udp));
    for (unsigned i = 26; i < 34; i += 2)
        pseudo += (uint32_t)(frame[i] << 8 | frame[i + 1]);
    pseudo += 17 + 66;
    fx_post(f, 0, 60, 2000);
    rig_kick(f->r, 0);
    frame[40] = (uint8_t)(pseudo >> 8);
    frame[41] = (uint8_t)pseudo;
    fx_send(f, 0, &h, frame, 100);
    rig_settle(f->r);
    const uint8_t *b = fx_used(f, 0, &len);
    cr_assert(b && len == HDR + 100);
    const net_hdr_t *in = (const net_hdr_t *)b;
    cr_expect_eq(in->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
    b += HDR;
    cr_expect_eq(b[40] << 8 | b[41], pseudo);
    for (unsigned i = in->csum_start; i < 100; i += 2)
        sum += (uint32_t)(b[i] << 8 | b[i + 1]);
    sum = (sum & 0xffff) + (sum >> 16);
    memcpy(frame, b, 100);
    frame[in->csum_start + in->csum_offset] = (uint8_t)(~sum >> 8);
    frame[in->csum_start + in->csum_offset + 1] = (uint8_t)~sum;
    sum = pseudo; /* as its receiver checks it */
    for (unsigned i = 34; i < 100; i += 2)
        sum += (uint32_t)(frame[i] << 8 | frame[i + 1]);
    cr_expect_eq((sum & 0xffff) + (sum >> 16), 0xffff);
    fx_down(f);
}

/* hdr_len covers them, whatever the other end says. */
Test(net_rx, the_length_of_the_headers)
{
    PROVES("Device Types / Network Device / Device Operation / Processing of Incoming Packets#31");
    static const struct {
        uint8_t gso_type, words;
        uint16_t said, want;
    } cases[] = {{1, 0x50, 0, 54}, {1, 0x80, 0, 66},  {4, 0x50, 20, 54},     {1, 0x50, 99, 99},
                 {5, 0x50, 0, 42}, {3, 0x50, 0, 42},  {1, 0xf0, 0, 94},      {1, 0, 0, 54},
                 {0, 0x50, 0, 0},  {0, 0x50, 14, 14}, {1, 0x50, 0xffff, 100}};
    struct fx *f = fx_up(1, true, NULL, NULL);
    fx_post(f, 0, 90, 2000);
    rig_kick(f->r, 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        net_hdr_t out, h = {.flags = 1, .csum_start = 34, .csum_offset = 6, .gso_size = 9};
        h.gso_type = cases[i].gso_type;
        h.hdr_len = cases[i].said;
        fx_frame(frame, TO_GUEST, 0x0800, 100);
        frame[34 + 12] = cases[i].words;
        cr_assert(passes(f, &h, 100, &out), "%zu", i);
        cr_expect_eq(out.hdr_len, cases[i].want, "%zu: %u", i, out.hdr_len);
    }
    fx_down(f);
}

Test(net_rx, mtu)
{
    PROVES("Device Types / Network Device / Device configuration layout#05");
    struct fx *f = fx_up(1, true, ",mtu=1300", NULL);
    net_hdr_t out, gso = GSO(1);
    fx_post(f, 0, 60, 2000);
    rig_kick(f->r, 0);
    fx_frame(frame, TO_GUEST, 0x0800, 1600);
    cr_expect_eq(fx_config(f).mtu, 1300);
    cr_expect(passes(f, NULL, 1314, &out));
    cr_expect_not(passes(f, NULL, 1315, &out));
    cr_expect(passes(f, &gso, 1600, &out));
    fx_down(f);
}

TEST_EACH_WAY(ALL_WAYS, net_rx, frames_shorter_than_an_ethernet_header)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    HOLDS(f->r, "30c");
    net_hdr_t out;
    fx_post(f, 0, 60, 2000);
    rig_kick(f->r, 0);
    fx_frame(frame, TO_GUEST, 0x0800, 60);
    cr_assert_eq(write(f->peer[0], frame, 5), 5); /* not even the cable's header */
    cr_expect_not(passes(f, NULL, 13, &out));
    cr_expect(passes(f, NULL, 14, &out));
    fx_down(f);
}

Test(net_rx, the_longest_frame)
{
    struct fx *f = fx_up(1, true, NULL, WITHOUT(NET_F(VIRTIO_NET_F_MRG_RXBUF)));
    net_hdr_t gso = GSO(1);
    fx_post(f, 0, 2, 65601);
    rig_kick(f->r, 0);
    fx_frame(frame, TO_GUEST, 0x0800, 65589);
    fx_send(f, 0, &gso, frame, 65589);
    cr_expect(fx_arrives(f, 0, frame, 65589));
    fx_down(f);
}

Test(net_rx, a_reset_with_buffers_held_and_a_frame_waiting)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    for (unsigned round = 0; round < 3; round++) {
        fx_post(f, 0, 1, 400);
        rig_kick(f->r, 0);
        fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 1000));
        rig_settle(f->r);
        rig_negotiate(f->r); /* returns: what was held is given back */
    }
    fx_post(f, 0, 4, 2000);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, 200);
    cr_expect(fx_arrives(f, 0, frame, 200));
    fx_down(f);
}

/* Buffers that are held when the device is paused are there again when it goes on. */
Test(net_rx, pause_and_resume)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    fx_post(f, 0, 4, 2000);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    for (unsigned i = 0; i < 4; i++) {
        vdev_pause(f->r->dev);
        fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 200));
        rig_settle(f->r);
        uint32_t len;
        cr_expect_null(fx_used(f, 0, &len));
        vdev_resume(f->r->dev);
        cr_expect(fx_arrives(f, 0, frame, 200));
    }
    fx_down(f);
}

/* A frame whose beginning was in buffers that a pause gave back is gone, whole. */
Test(net_rx, pause_with_half_a_frame)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    fx_post(f, 0, 1, 400);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 1000));
    rig_settle(f->r);
    vdev_pause(f->r->dev);
    vdev_resume(f->r->dev);
    fx_post(f, 0, 4, 2000);
    rig_kick(f->r, 0);
    fx_send(f, 0, NULL, frame, 200);
    cr_expect(fx_arrives(f, 0, frame, 200));
    fx_down(f);
}

Test(net_rx, link)
{
    PROVES("Device Types / Network Device / Device configuration layout#12");
    struct fx *f = fx_up(1, true, NULL, NULL);
    fx_post(f, 0, 8, 2000);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    (void)rig_irqs(f->r);
    uint32_t generation = vdev_generation(f->r->dev), speed = fx_config(f).speed;
    net_set_link(f->r->dev, false);
    cr_expect_eq(fx_config(f).status, 0);
    cr_expect_neq(vdev_generation(f->r->dev), generation);
    cr_expect_eq(rig_irqs(f->r), 1);
    net_set_link(f->r->dev, false);
    cr_expect_eq(rig_irqs(f->r), 0, "nothing new");
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x0800, 200));
    cr_expect_not(fx_arrives(f, 0, frame, 200));
    fx_tx(f, 1, NULL, frame, 100);
    cr_expect_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 0);
    cr_expect_eq(reported(f->r, "rx_drops"), 1);
    cr_expect_eq(reported(f->r, "tx_drops"), 1);
    net_set_link(f->r->dev, true);
    cr_expect_eq(fx_config(f).status, VIRTIO_NET_S_LINK_UP);
    cr_expect_eq(fx_config(f).speed, speed);
    fx_send(f, 0, NULL, frame, 200);
    cr_expect(fx_arrives(f, 0, frame, 200), "what came in between was dropped");
    fx_down(f);
}
