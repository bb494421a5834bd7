/* tests/rig/test_vsock_gather.c - many packets of the socket device's with few system calls, by
 * which neither bytes nor buffers lose their order. */
#include "tests/rig/vsock_pattern.h"

TestSuite(vsock_gather, .init = fill_pattern);

static int send_fails; /* with this errno */
static unsigned sends, receives;

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    sends++;
    if (!send_fails)
        return __real_sendmsg(fd, m, flags);
    errno = send_fails;
    return -1;
}

ssize_t __real_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *m, int flags)
{
    receives++;
    return __real_recvmsg(fd, m, flags);
}

enum { ROOM = RX_LEN - VSOCK_HDR }; /* of a buffer */

/* Twice as many as were full the last time: 1, 3, 7, of which not all; and there is no more. */
static void much_comes_in_few_calls(const struct rig_options *o)
{
    struct guest *g = guest_up(o, 0);
    g->repost = false;
    guest_post(g, RX_LEN, 1);
    int fd = guest_connects(g, STREAM);
    host_sends_much(g, fd, 10 * ROOM + 1);
    receives = 0;
    guest_post(g, RX_LEN, 30);
    cr_assert_eq(receives, 4);
    for (unsigned i = 0; i < 11; i++) {
        guest_reads(g, i * ROOM, i < 10 ? ROOM : 1);
        cr_assert_eq(reported(g->r, "rx_packets"), 12);
    }
    host_says(g, fd, "more"); /* what was taken too much is the next */
    guest_expect_data(g, "more");
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

Test(vsock_gather, much_comes_in_few_calls)
{
    much_comes_in_few_calls(NULL);
    much_comes_in_few_calls(&(struct rig_options){.packed = true});
    much_comes_in_few_calls(&(struct rig_options){.in_order = true});
    much_comes_in_few_calls(&(struct rig_options){.packed = true, .in_order = true});
}

/* Whatever the lengths of the buffers, the ring's order stays what it is. */
static void buffers_of_any_length(const struct rig_options *o)
{
    struct guest *g = guest_up(o, 0);
    g->repost = false;
    guest_post(g, RX_LEN, 1);
    int fd = guest_connects(g, STREAM);
    host_sends_much(g, fd, 2 * ROOM + 100);
    guest_post(g, RX_LEN, 1);
    struct rig_seg in[6];
    const uint32_t lens[6] = {RX_LEN, 20, VSOCK_HDR, VSOCK_HDR + 60, 43, RX_LEN};
    for (unsigned i = 0; i < 6; i++) {
        in[i] = (struct rig_seg){rig_alloc(g->r, lens[i]), lens[i]};
        g->rx[rig_add(g->r, VSOCK_RX, NULL, 0, &in[i], 1)] = in[i].at;
    }
    rig_kick(g->r, VSOCK_RX);
    guest_reads(g, 0, 2 * ROOM);
    uint32_t id, used;
    for (unsigned i = 0; i < 2; i++)
        cr_assert(rig_used(g->r, VSOCK_RX, &id, &used) && used == 0);
    guest_reads(g, 2 * ROOM, 60);
    cr_assert(rig_used(g->r, VSOCK_RX, &id, &used) && used == 0);
    guest_reads(g, 2 * ROOM + 60, 40);
    cr_assert_eq(reported(g->r, "short_buffers"), 3);
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

Test(vsock_gather, buffers_of_any_length)
{
    buffers_of_any_length(NULL);
    buffers_of_any_length(&(struct rig_options){.packed = true});
}

/* A packet that is not sent yet, on the connection from this port. */
static void guest_puts(struct guest *g, uint32_t port, size_t from, size_t len, unsigned op)
{
    g->guest_port = port;
    struct virtio_vsock_hdr h = header(g, op);
    h.len = (uint32_t)len;
    h.flags = op == OP(SHUTDOWN) ? SHUT_SEND : 0;
    guest_put(g, &h, pattern + from, len, rig_alloc(g->r, (uint32_t)(sizeof(h) + len)));
}

/* As far as packets follow each other on one stream; each is used, and in its order. */
static void many_packets_go_in_one_call(const struct rig_options *o)
{
    struct guest *g = guest_up(o, 8);
    int a = guest_connects(g, STREAM);
    g->guest_port++;
    int b = guest_connects(g, STREAM);
    uint32_t id, used;
    for (unsigned i = 0; i < 10; i++)
        guest_puts(g, GUEST_PORT, i * 1000, 1000, OP(RW));
    guest_puts(g, GUEST_PORT + 1, 0, 700, OP(RW));
    guest_puts(g, GUEST_PORT + 1, 700, 300, OP(RW));
    for (unsigned i = 10; i < 10 + VSOCK_GATHER + 1; i++) /* one more than a run has */
        guest_puts(g, GUEST_PORT, i * 1000, 1000, OP(RW));
    guest_puts(g, GUEST_PORT, 0, 0, OP(SHUTDOWN));
    sends = 0;
    rig_kick(g->r, VSOCK_TX);
    rig_settle(g->r);
    cr_assert_eq(sends, 4);
    for (unsigned i = 0; i < 10 + 2 + VSOCK_GATHER + 1 + 1; i++)
        cr_assert(rig_used(g->r, VSOCK_TX, &id, &used) && used == 0, "%u", i);
    host_reads_much(g, a, 0, 27000);
    cr_assert(host_sees_end(g, a));
    host_reads_much(g, b, 0, 1000);
    cr_assert_eq(reported(g->r, "tx_bytes"), 28000);
    close(a);
    close(b);
    guest_down(g);
}

Test(vsock_gather, many_packets_go_in_one_call)
{
    many_packets_go_in_one_call(NULL);
    many_packets_go_in_one_call(&(struct rig_options){.packed = true});
    many_packets_go_in_one_call(&(struct rig_options){.packed = true, .in_order = true});
}

/* What was good before it is delivered; and once the connection has failed, nothing is. */
Test(vsock_gather, a_bad_packet_behind_good_ones)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    guest_puts(g, GUEST_PORT, 0, 1000, OP(RW));
    guest_puts(g, GUEST_PORT, 1000, 1000, OP(RW));
    struct virtio_vsock_hdr lie = header(g, OP(RW));
    lie.len = 1000; /* of 10 */
    guest_put(g, &lie, pattern, 10, rig_alloc(g->r, sizeof(lie) + 10));
    guest_puts(g, GUEST_PORT, 2000, 1000, OP(RW));
    rig_kick(g->r, VSOCK_TX);
    host_reads_much(g, fd, 0, 2000);
    cr_assert(host_sees_end(g, fd));
    guest_expect(g, OP(RST));
    guest_expect_none(g);
    cr_assert_eq(reported(g->r, "violations"), 1);
    close(fd);
    uint32_t id, used;
    for (unsigned i = 0; i < 4; i++)
        cr_assert(rig_used(g->r, VSOCK_TX, &id, &used));

    fd = guest_connects(g, STREAM);
    for (unsigned i = 0; i < VSOCK_GATHER + 2; i++)
        guest_puts(g, GUEST_PORT, 0, 10, OP(RW));
    send_fails = ENOMEM;
    sends = 0;
    rig_kick(g->r, VSOCK_TX);
    rig_settle(g->r);
    send_fails = 0;
    cr_assert_eq(sends, 1);
    guest_expect(g, OP(RST));
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

/* What makes a run of packets go out is the packet behind it. If the run fails, that one is neither
 * kept for a host that is gone, nor held against the driver. */
static void behind_a_send_that_failed(unsigned good, bool and_a_lie)
{
    struct guest *g = guest_up(NULL, 1); /* for the response: the RST waits, and the connection */
    struct vsock *v = vdev_priv(g->r->dev);
    g->repost = false;
    int fd = guest_connects(g, STREAM);
    for (unsigned i = 0; i < good; i++)
        guest_puts(g, GUEST_PORT, 0, 10, OP(RW));
    struct virtio_vsock_hdr lie = header(g, OP(RW));
    lie.len = 1000; /* of 10 */
    if (and_a_lie)
        guest_put(g, &lie, pattern, 10, rig_alloc(g->r, sizeof(lie) + 10));
    send_fails = ENOMEM;
    rig_kick(g->r, VSOCK_TX);
    rig_settle(g->r);
    send_fails = 0;
    const struct conn *c = conn_find(v, GUEST_PORT, HOST_PORT);
    cr_assert_eq(c->state, CONN_ENDED);
    cr_assert_null(c->out.bytes);
    cr_assert_eq(reported(g->r, "violations"), 0);
    cr_assert_eq(reported(g->r, "resets"), 1);
    guest_post(g, RX_LEN, 2);
    guest_expect(g, OP(RST));
    guest_expect_none(g);
    cr_assert(host_sees_end(g, fd));
    close(fd);
    guest_down(g);
}

Test(vsock_gather, behind_a_send_that_failed)
{
    behind_a_send_that_failed(VSOCK_GATHER + 1, false);
    behind_a_send_that_failed(1, true);
}

static void guest_gets_message(struct guest *g, size_t from, size_t len)
{
    do {
        guest_expect(g, OP(RW));
        cr_assert_leq(g->p.h.len, len);
        cr_assert_eq(memcmp(g->p.data, pattern + from, g->p.h.len), 0, "at %zu", from);
        from += g->p.h.len;
        len -= g->p.h.len;
        cr_assert_eq(g->p.h.flags, len ? 0 : VIRTIO_VSOCK_SEQ_EOM);
    } while (len > 0);
}

/* However many buffers a message takes, the next one begins in one of its own. */
Test(vsock_gather, messages_stay_apart)
{
    struct guest *g = guest_up(NULL, 1);
    int fd = guest_connects(g, SEQPACKET);
    static const size_t lens[] = {3 * ROOM, 2 * ROOM + 1, 1, ROOM, 2 * ROOM, 7};
    for (size_t i = 0, from = 0; i < ARRAY_SIZE(lens); from += lens[i++])
        cr_assert_eq(send(fd, pattern + from, lens[i], 0), (ssize_t)lens[i], "%m");
    guest_post(g, RX_LEN, 30);
    for (size_t i = 0, from = 0; i < ARRAY_SIZE(lens); from += lens[i++])
        guest_gets_message(g, from, lens[i]);
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}
