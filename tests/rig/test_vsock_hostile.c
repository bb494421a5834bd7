/* tests/rig/test_vsock_hostile.c - what makes no sense to a socket device, and what is too much of
 * it: it is answered as the specification says (virtio 1.4, 5.10.6.4), and harms nobody else. */
#include <sys/resource.h>

#include "tests/rig/vsock_fixture.h"

static const uint8_t hundred[100];

/* --- packets --- */

Test(vsock_hostile, unknown_types_are_answered_by_rst)
{
    PROVES("Device Types / Socket Device / Device Operation / Receive and Transmit#02");
    struct guest *g = guest_up(NULL, 8);
    static const uint16_t types[] = {0, 3, 0xffff};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        for (unsigned op = 0; op < 10; op++) {
            g->type = types[i];
            guest_op(g, op, 0);
            if (op != OP(RST))
                guest_expect(g, OP(RST));
            guest_expect_none(g);
        }
    }
    int fd = guest_connects(g, STREAM);
    g->type = 3;
    guest_op(g, OP(RW), 0);
    g->type = STREAM; /* to the connection that it is about */
    guest_expect(g, OP(RST));
    guest_expect_none(g);
    cr_assert(host_sees_end(g, fd));
    close(fd);
    guest_down(g);
}

Test(vsock_hostile, what_is_of_no_connection_is_answered_by_rst)
{
    struct guest *g = guest_up(NULL, 8);
    for (unsigned op = 0; op < 10; op++) {
        guest_op(g, op, 0);
        if (op != OP(RST))
            guest_expect(g, OP(RST));
        guest_expect_none(g);
    }
    guest_down(g);
}

Test(vsock_hostile, wrong_cids_are_answered_by_rst)
{
    struct guest *g = guest_up(NULL, 8);
    int server = host_server(g, SOCK_STREAM, HOST_PORT);
    static const struct {
        uint64_t src, dst;
    } bad[] = {{4, 2}, {3, 3}, {3, 1}, {3, 0}, {0x100000003, 2}, {3, 0x100000002}, {2, 3}};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct virtio_vsock_hdr h = header(g, OP(REQUEST));
        h.src_cid = bad[i].src;
        h.dst_cid = bad[i].dst;
        guest_send_raw(g, &h, NULL, 0);
        cr_assert(guest_recv(g));
        cr_assert_eq(g->p.h.op, OP(RST));
        cr_assert_eq(g->p.h.src_cid, (uint32_t)bad[i].dst, "the upper half is reserved");
        cr_assert_eq(g->p.h.dst_cid, (uint32_t)bad[i].src);
        cr_assert_eq(g->p.h.src_port, HOST_PORT);
        cr_assert_eq(g->p.h.dst_port, GUEST_PORT);
    }
    cr_assert_eq(reported(g->r, "bad_packets"), ARRAY_SIZE(bad));
    close(server);
    guest_down(g);
}

/* Each of these ends a connection, in a way that both sides see. */
Test(vsock_hostile, packets_out_of_place_end_a_connection)
{
    struct guest *g = guest_up(NULL, 8);
    static const unsigned ops[] = {OP(INVALID), OP(REQUEST), OP(RESPONSE), 8, 0xffff};
    for (size_t i = 0; i < ARRAY_SIZE(ops) + 3; i++) {
        int fd = guest_connects(g, STREAM);
        struct virtio_vsock_hdr h = header(g, OP(RW));
        if (i < ARRAY_SIZE(ops)) {
            guest_op(g, ops[i], 0);
        } else if (i == ARRAY_SIZE(ops)) {
            h.len = 101; /* and the buffer ends at 100 */
            guest_send_raw(g, &h, hundred, 100);
        } else if (i == ARRAY_SIZE(ops) + 1) {
            h.len = UINT32_MAX;
            guest_send_raw(g, &h, hundred, 100);
        } else {
            guest_op(g, OP(SHUTDOWN), SHUT_SEND);
            guest_data(g, "x", 1, 0); /* which it said it would not */
        }
        guest_expect(g, OP(RST));
        guest_expect_none(g);
        cr_assert(host_sees_end(g, fd));
        cr_assert_eq(reported(g->r, "violations"), i + 1);
        close(fd);
    }
    int fd = host_client(g);
    host_says(g, fd, "CONNECT 1000\n");
    cr_assert(guest_recv(g));
    g->host_port = g->p.h.src_port;
    guest_data(g, "x", 1, 0); /* before it has accepted */
    guest_expect(g, OP(RST));
    cr_assert(host_sees_end(g, fd));
    close(fd);
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_down(g);
}

Test(vsock_hostile, a_buffer_without_a_header_is_no_packet)
{
    struct guest *g = guest_up(NULL, 8);
    struct rig_seg out = {g->tx, VSOCK_HDR - 1};
    uint32_t id, used;
    rig_add(g->r, VSOCK_TX, &out, 1, NULL, 0);
    struct rig_seg in = {g->tx, 100};
    rig_add(g->r, VSOCK_TX, NULL, 0, &in, 1);
    rig_kick(g->r, VSOCK_TX);
    rig_settle(g->r);
    for (unsigned i = 0; i < 2; i++)
        cr_assert(rig_used(g->r, VSOCK_TX, &id, &used) && used == 0);
    cr_assert_eq(reported(g->r, "bad_packets"), 2);
    guest_expect_none(g);
    guest_down(g);
}

/* --- as many as there are --- */

Test(vsock_hostile, descriptors_are_left_for_the_machine)
{
    struct rlimit few = {160, 160};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct guest *g = guest_up(NULL, 64);
    int server = host_server(g, SOCK_STREAM, HOST_PORT);
    unsigned open = 0;
    do {
        g->guest_port++;
        guest_op(g, OP(REQUEST), 0);
        cr_assert(guest_recv(g));
    } while (g->p.h.op == OP(RESPONSE) && ++open < 100);
    cr_assert_eq(g->p.h.op, OP(RST));
    cr_assert_eq(open, (160 - 160 / 4) / 4);
    close(server);
    guest_down(g);
}

/* A shared folder may hold any number of them, below ours and above. */
Test(vsock_hostile, descriptors_of_others_are_not_counted)
{
    struct rlimit few = {256, 1024};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct guest *g = guest_up(NULL, 64);
    unsigned n = 0;
    for (; fd_take(); n++)
        cr_assert_geq(dup(STDERR_FILENO), 0);
    cr_assert_eq(n, 768 - 768 / 4);
    int fd = guest_connects(g, STREAM);
    close(fd);
    guest_down(g);
    cr_assert_eq(fd_room(), 768, "the device's are given back");
}

Test(vsock_hostile, the_table_of_connections_has_an_end)
{
    struct guest *g = guest_up(NULL, 64);
    int server = host_server(g, SOCK_STREAM, HOST_PORT);
    unsigned open = 0;
    static int fds[VSOCK_CONNS];
    struct rlimit files;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    bool all = files.rlim_cur > 2 * VSOCK_CONNS + 200; /* their other ends are here, too */
    unsigned most = all ? VSOCK_CONNS : 300;
    for (; open < most; open++) {
        guest_op(g, OP(REQUEST), 0);
        guest_expect(g, OP(RESPONSE));
        fds[open] = host_accept(server);
        g->guest_port++;
    }
    if (all) {
        guest_op(g, OP(REQUEST), 0);
        guest_expect(g, OP(RST));
        int fd = host_client(g);
        cr_assert(host_sees_end(g, fd));
        close(fd);
    }
    cr_assert_eq(reported(g->r, "connections"), open);
    for (unsigned i = 0; i < open; i++)
        close(fds[i]);
    while (guest_recv(g)) {
        if (g->p.h.op == OP(SHUTDOWN) && g->p.h.flags == (SHUT_RECV | SHUT_SEND)) {
            struct virtio_vsock_hdr h = header(g, OP(RST));
            h.src_port = g->p.h.dst_port;
            guest_send_raw(g, &h, NULL, 0);
        }
    }
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(server);
    guest_down(g);
}
