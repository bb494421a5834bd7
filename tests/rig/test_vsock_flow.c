/* tests/rig/test_vsock_flow.c - the socket device's bounds: credit in both directions (virtio 1.4,
 * 5.10.6.3), queues that one side neglects (5.10.6.1), peers that are slow or leave. */
#include "tests/rig/vsock_pattern.h"

static int send_fails; /* with this errno */

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    if (!send_fails)
        return __real_sendmsg(fd, m, flags);
    errno = send_fails;
    return -1;
}

TestSuite(vsock_flow, .init = fill_pattern);

/* --- credit: what the driver has room for --- */

Test(vsock_flow, sends_no_more_than_the_driver_has_room_for)
{
    PROVES("Device Types / Socket Device / Device Operation / Buffer Space Management#01");
    struct guest *g = guest_up(NULL, 32);
    g->buf_alloc = 10000;
    int fd = guest_connects(g, STREAM);
    host_sends_much(g, fd, 25000);
    guest_reads(g, 0, 10000);
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_expect_none(g);
    g->fwd_cnt = 3000;
    guest_op(g, OP(CREDIT_UPDATE), 0);
    guest_reads(g, 10000, 3000);
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_expect_none(g);
    g->fwd_cnt = 13000;
    g->buf_alloc = 4000;      /* less than before */
    guest_data(g, "x", 1, 0); /* any packet tells */
    guest_reads(g, 13000, 4000);
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_expect_none(g);
    g->buf_alloc = 10;
    guest_op(g, OP(CREDIT_UPDATE), 0); /* less than is on the way */
    guest_expect_none(g);
    g->buf_alloc = 20000;
    guest_op(g, OP(CREDIT_UPDATE), 0);
    guest_reads(g, 17000, 8000);
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

Test(vsock_flow, counters_of_the_driver_may_be_nonsense)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    g->fwd_cnt = 5; /* more than was ever sent */
    guest_op(g, OP(CREDIT_UPDATE), 0);
    host_says(g, fd, "hello");
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_expect_none(g);
    g->fwd_cnt = 0;
    guest_op(g, OP(CREDIT_UPDATE), 0);
    guest_expect_data(g, "hello");
    close(fd);
    guest_down(g);
}

Test(vsock_flow, asks_again_when_there_was_none)
{
    struct guest *g = guest_up(NULL, 32);
    g->buf_alloc = 0;
    int fd = guest_connects(g, STREAM);
    host_says(g, fd, "hello");
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_op(g, OP(CREDIT_UPDATE), 0);
    guest_expect_none(g);
    pass(g, 1);
    guest_expect(g, OP(CREDIT_REQUEST));
    g->buf_alloc = 100;
    guest_op(g, OP(CREDIT_UPDATE), 0);
    guest_expect_data(g, "hello");
    pass(g, 3);
    guest_expect_none(g);
    cr_assert(!ticker, "nothing is waited for");
    close(fd);
    guest_down(g);
}

Test(vsock_flow, does_not_ask_a_guest_that_receives_no_more)
{
    struct guest *g = guest_up(NULL, 32);
    g->buf_alloc = 0;
    int fd = guest_connects(g, STREAM);
    host_says(g, fd, "hello");
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_op(g, OP(SHUTDOWN), SHUT_RECV);
    pass(g, 2);
    guest_expect_none(g);
    cr_assert(!ticker, "nothing is waited for");
    close(fd);
    guest_down(g);
}

Test(vsock_flow, counters_go_round)
{
    struct guest *g = guest_up(NULL, 32);
    g->fwd_cnt = UINT32_MAX - 100; /* as if 2^32 - 101 bytes had passed before */
    g->buf_alloc = 1000;
    int fd = guest_connects(g, STREAM);
    host_says(g, fd, "hello");
    guest_expect_data(g, "hello"); /* 0 - fwd_cnt is 101: some room is left */
    host_sends_much(g, fd, 2000);
    guest_reads(g, 0, 894);
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

/* --- credit: what the device has room for --- */

Test(vsock_flow, every_packet_tells_the_room_that_there_is)
{
    PROVES("Device Types / Socket Device / Device Operation / Buffer Space Management#02");
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    guest_data(g, pattern, 1000, 0);
    host_reads_much(g, fd, 0, 1000);
    guest_op(g, OP(CREDIT_REQUEST), 0);
    guest_expect(g, OP(CREDIT_UPDATE));
    cr_assert_eq(g->p.h.fwd_cnt, 1000);
    cr_assert_eq(g->p.h.buf_alloc, VSOCK_BUF);
    guest_data(g, pattern, 500, 0);
    host_says(g, fd, "x");
    guest_expect_data(g, "x");
    cr_assert_eq(g->p.h.fwd_cnt, 1500);
    cr_assert_eq(g->p.h.buf_alloc, VSOCK_BUF);
    cr_assert_eq(shutdown(fd, SHUT_WR), 0);
    guest_expect(g, OP(SHUTDOWN));
    cr_assert_eq(g->p.h.fwd_cnt, 1500);
    cr_assert_eq(g->p.h.buf_alloc, VSOCK_BUF);
    close(fd);
    guest_down(g);
}

/* Sends until the device's room is used up, and returns how much that was. */
static size_t guest_fills(struct guest *g, int fd)
{
    size_t total = 0;
    uint32_t fwd = 0;
    int small = 4096;
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    for (;;) {
        while (guest_recv(g)) {
            cr_assert_eq(g->p.h.op, OP(CREDIT_UPDATE));
            fwd = g->p.h.fwd_cnt;
        }
        size_t room = VSOCK_BUF - (total - fwd), len = MIN(room, (size_t)BUF);
        if (room == 0)
            return total;
        cr_assert_lt(total + len, sizeof(pattern) - 1);
        guest_data(g, pattern + total, len, 0);
        total += len;
    }
}

Test(vsock_flow, a_slow_reader_gets_everything)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    size_t total = guest_fills(g, fd);
    cr_assert_geq(total, VSOCK_BUF);
    guest_expect_none(g);
    host_reads_much(g, fd, 0, total);
    guest_expect(g, OP(CREDIT_UPDATE)); /* unasked for */
    while (guest_recv(g))
        ;
    guest_op(g, OP(CREDIT_REQUEST), 0);
    guest_expect(g, OP(CREDIT_UPDATE));
    cr_assert_eq(g->p.h.fwd_cnt, total);
    close(fd);
    guest_down(g);
}

/* A message that needs the room of one before it, which is little: nothing else would tell. */
Test(vsock_flow, the_rest_of_a_message_finds_room)
{
    enum { FIRST = 20000 };
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, SEQPACKET);
    static uint8_t got[VSOCK_BUF];
    guest_data(g, pattern, FIRST, VIRTIO_VSOCK_SEQ_EOM);
    cr_assert_eq(recv(fd, got, sizeof(got), 0), FIRST);
    size_t at = 0, len = VSOCK_BUF - FIRST;
    for (size_t part; at < len; at += part)
        guest_data(g, pattern + at, part = MIN(len - at, (size_t)BUF), 0);
    guest_expect(g, OP(CREDIT_UPDATE));
    cr_assert_eq(g->p.h.fwd_cnt, FIRST);
    guest_expect_none(g);
    guest_data(g, pattern + at, FIRST, VIRTIO_VSOCK_SEQ_EOM);
    rig_settle(g->r);
    cr_assert_eq(recv(fd, got, sizeof(got), 0), VSOCK_BUF);
    cr_assert_eq(memcmp(got, pattern, VSOCK_BUF), 0);
    close(fd);
    guest_down(g);
}

Test(vsock_flow, more_than_there_was_room_for_ends_the_connection)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    guest_fills(g, fd);
    guest_data(g, "x", 1, 0);
    guest_expect(g, OP(RST));
    cr_assert_eq(reported(g->r, "violations"), 1);
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_down(g);
}

Test(vsock_flow, what_the_guest_sent_before_it_closed_still_comes)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    size_t total = guest_fills(g, fd);
    guest_op(g, OP(SHUTDOWN), SHUT_RECV | SHUT_SEND);
    guest_expect(g, OP(RST)); /* it need not wait for the host's program */
    cr_assert_eq(reported(g->r, "connections"), 1);
    pass(g, VSOCK_LINGER_TICKS - 1);
    host_reads_much(g, fd, 0, total / 2);
    pass(g, VSOCK_LINGER_TICKS - 1); /* anew, since it takes some */
    host_reads_much(g, fd, total / 2, total - total / 2);
    cr_assert(host_sees_end(g, fd));
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_down(g);
}

Test(vsock_flow, but_not_to_a_program_that_takes_nothing)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    guest_fills(g, fd);
    guest_op(g, OP(SHUTDOWN), SHUT_RECV | SHUT_SEND);
    guest_expect(g, OP(RST));
    pass(g, VSOCK_LINGER_TICKS);
    cr_assert_eq(reported(g->r, "connections"), 0);
    cr_assert_eq(reported(g->r, "expired"), 1);
    fd = (close(fd), guest_connects(g, STREAM)); /* the addresses were free long ago */
    guest_fills(g, fd);
    guest_op(g, OP(SHUTDOWN), SHUT_RECV | SHUT_SEND);
    guest_expect(g, OP(RST));
    close(fd); /* nor to one that leaves */
    rig_settle(g->r);
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_down(g);
}

/* The addresses are another connection's by then, which the failure of this one is nothing to. */
Test(vsock_flow, a_closed_connection_that_fails)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    size_t total = guest_fills(g, fd);
    guest_op(g, OP(SHUTDOWN), SHUT_RECV | SHUT_SEND);
    guest_expect(g, OP(RST));
    int other = guest_connects(g, STREAM);
    send_fails = ENOBUFS;
    host_reads_much(g, fd, 0, total - VSOCK_BUF); /* so that there is room for more */
    send_fails = 0;
    guest_expect_none(g);
    cr_assert_eq(reported(g->r, "connections"), 1);
    host_says(g, other, "hello");
    guest_expect_data(g, "hello");
    close(fd);
    close(other);
    guest_down(g);
}

Test(vsock_flow, a_program_that_leaves_in_the_middle)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    size_t total = guest_fills(g, fd);
    host_says(g, fd, "bye");
    close(fd); /* with most of it unread */
    bool told = false;
    while (guest_recv(g)) {
        cr_assert(g->p.h.op == OP(RW) || g->p.h.op == OP(SHUTDOWN) ||
                  g->p.h.op == OP(CREDIT_UPDATE));
        told = g->p.h.op == OP(SHUTDOWN) && g->p.h.flags == (SHUT_RECV | SHUT_SEND);
    }
    cr_assert(told);
    cr_assert_eq(g->p.h.fwd_cnt, total, "what nobody reads takes no room");
    guest_data(g, "more", 4, 0); /* which was on its way already */
    guest_expect_none(g);
    guest_op(g, OP(RST), 0);
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_down(g);
}

Test(vsock_flow, a_program_that_only_writes)
{
    struct guest *g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    cr_assert_eq(shutdown(fd, SHUT_RD), 0);
    guest_data(g, "nobody", 6, 0);
    guest_expect(g, OP(SHUTDOWN));
    cr_assert_eq(g->p.h.flags, SHUT_RECV);
    host_says(g, fd, "hello");
    guest_expect_data(g, "hello");
    cr_assert_eq(g->p.h.fwd_cnt, 6);
    close(fd);
    guest_expect_shutdown(g, SHUT_RECV | SHUT_SEND);
    guest_down(g);
}

/* --- queues that are neglected --- */

Test(vsock_flow, tx_goes_on_while_rx_has_no_buffers)
{
    PROVES("Device Types / Socket Device / Device Operation / Virtqueue Flow Control#01");
    struct guest *g = guest_up(NULL, 1);
    g->repost = false;
    int fd = guest_connects(g, STREAM); /* and that was the only one */
    for (unsigned i = 0; i < 10; i++)
        guest_data(g, pattern + i * 100, 100, 0);
    host_reads_much(g, fd, 0, 1000);
    uint32_t port = g->host_port;
    g->host_port = 77; /* each of these is owed a RST */
    for (unsigned i = 0; i < VSOCK_REPLIES; i++)
        guest_op(g, OP(REQUEST), 0);
    cr_assert_eq(reported(g->r, "held_up"), 1);

    g->host_port = port; /* more cannot be remembered: the device waits for the driver */
    struct virtio_vsock_hdr h = header(g, OP(RW));
    uint32_t id, used;
    h.len = 4;
    guest_put(g, &h, "late", 4, g->tx);
    rig_kick(g->r, VSOCK_TX);
    cr_assert(host_sees_nothing(g, fd));
    cr_assert(!rig_used(g->r, VSOCK_TX, &id, &used));

    guest_post(g, RX_LEN, 1);
    host_reads(g, fd, "late");
    cr_assert(rig_used(g->r, VSOCK_TX, &id, &used));
    guest_post(g, RX_LEN, 240);
    unsigned n = 0;
    while (guest_recv(g)) {
        cr_assert_eq(g->p.h.op, OP(RST));
        cr_assert_eq(g->p.h.src_port, 77);
        n++;
        guest_post(g, RX_LEN, 1);
    }
    cr_assert_eq(n, VSOCK_REPLIES, "%u", n);
    close(fd);
    guest_down(g);
}

Test(vsock_flow, a_guest_without_buffers_takes_nothing_from_the_host)
{
    struct guest *g = guest_up(NULL, 1);
    g->repost = false;
    int fd = guest_connects(g, STREAM);
    host_says(g, fd, "hello");
    host_says(g, fd, " there");
    guest_expect_none(g);
    guest_post(g, 20, 2);        /* no room for a header, */
    guest_post(g, VSOCK_HDR, 1); /* nor for data: given back empty */
    uint32_t id, used;
    for (unsigned i = 0; i < 3; i++)
        cr_assert(rig_used(g->r, VSOCK_RX, &id, &used) && used == 0);
    cr_assert_eq(reported(g->r, "short_buffers"), 3);
    guest_post(g, VSOCK_HDR + 4, 3);
    guest_expect_data(g, "hell");
    guest_expect_data(g, "o th");
    guest_expect_data(g, "ere");
    close(fd);
    guest_down(g);
}

/* Both have much to say; neither waits for the other's end. */
Test(vsock_flow, connections_take_turns)
{
    struct guest *g = guest_up(NULL, 1);
    g->repost = false;
    g->buf_alloc = 1 << 20;
    int a = guest_connects(g, STREAM);
    guest_post(g, RX_LEN, 1);
    g->guest_port++;
    int b = guest_connects(g, STREAM);
    host_sends_much(g, a, 150000);
    host_sends_much(g, b, 150000);
    guest_post(g, RX_LEN, 60);
    unsigned from[2] = {0};
    for (unsigned i = 0; i < 60; i++) {
        cr_assert(guest_recv(g));
        cr_assert_eq(g->p.h.op, OP(RW));
        from[g->p.h.dst_port - GUEST_PORT]++;
        cr_assert_leq(from[0], from[1] + VSOCK_GATHER);
        cr_assert_leq(from[1], from[0] + VSOCK_GATHER);
    }
    close(a);
    close(b);
    guest_down(g);
}

Test(vsock_flow, payload_may_be_cut_anywhere)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    enum { LEN = 1500 };
    struct virtio_vsock_hdr h = header(g, OP(RW));
    struct rig_seg out[100];
    uint32_t id, used;
    h.len = LEN;
    uint8_t *p = rig_at(g->r, g->tx, sizeof(h) + LEN);
    memcpy(p, &h, sizeof(h));
    memcpy(p + sizeof(h), pattern, LEN);
    uint32_t at = 0;
    for (unsigned i = 0; i < 99; i++, at += 15)
        out[i] = (struct rig_seg){GPA(g->tx.v + at), 15};
    /* More than there is data: what is behind `len` is of no meaning. */
    out[99] = (struct rig_seg){GPA(g->tx.v + at), (uint32_t)sizeof(h) + LEN - at + 100};
    rig_add(g->r, VSOCK_TX, out, 100, NULL, 0);
    rig_kick(g->r, VSOCK_TX);
    rig_settle(g->r);
    cr_assert(rig_used(g->r, VSOCK_TX, &id, &used));
    host_reads_much(g, fd, 0, LEN);
    cr_assert(host_sees_nothing(g, fd));

    struct rig_seg in[100]; /* and the same into rx, whose 8 other buffers are used up first */
    g->repost = false;
    for (unsigned i = 0; i < 8; i++) {
        host_says(g, fd, "x");
        guest_expect_data(g, "x");
    }
    gpa_t to = rig_alloc(g->r, 3000);
    for (unsigned i = 0; i < 100; i++)
        in[i] = (struct rig_seg){GPA(to.v + i * 30), 30};
    rig_add(g->r, VSOCK_RX, NULL, 0, in, 100);
    rig_kick(g->r, VSOCK_RX);
    host_sends_much(g, fd, 2900);
    cr_assert(rig_used(g->r, VSOCK_RX, &id, &used));
    cr_assert_gt(used, VSOCK_HDR + 1000);
    cr_assert_eq(memcmp(rig_at(g->r, GPA(to.v + VSOCK_HDR), 2900), pattern, used - VSOCK_HDR), 0);
    close(fd);
    guest_down(g);
}
