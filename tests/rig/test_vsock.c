/* tests/rig/test_vsock.c - the socket device (virtio 1.4, 5.10): what it offers, how connections
 * begin from either side, and how they end. */
#include "tests/rig/vsock_fixture.h"

static uint64_t without(unsigned bit)
{
    return 1ull << bit;
}

/* --- what it offers --- */

Test(vsock, offers_its_features_and_a_cid)
{
    PROVES("Device Types / Socket Device / Feature bits#01");
    struct guest *g = guest_up(NULL, 0);
    cr_assert_eq(vdev_features(g->r->dev, 0) & 7, 7);
    cr_assert_eq(rig_config(g->r, 0, 4), CID);
    cr_assert_eq(rig_config(g->r, 4, 4), 0);
    guest_down(g);
}

Test(vsock, has_no_reserved_cid)
{
    PROVES("Device Types / Socket Device / Device Operation / Receive and Transmit#01");
    static const char *const bad[] = {"0",          "1",           "2",
                                      "0xffffffff", "0x100000003", "0xffffffffffffffff"};
    const struct opt_desc *table = NULL;
    for (const struct vdev_class *const *c = vdev_classes; *c; c++) {
        if (strcmp((*c)->name, "vsock") == 0)
            table = (*c)->opts;
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char text[64];
        struct {
            uint64_t cid;
            const char *uds;
        } o = {0};
        struct err e;
        (void)snprintf(text, sizeof(text), "cid=%s,uds=/tmp/x", bad[i]);
        cr_assert_lt(opts_parse(table, "--device", text, &o, &e), 0, "%s", bad[i]);
        cr_assert_eq(e.kind, ERR_INPUT);
    }
}

static bool accepts(struct guest *g, uint16_t type)
{
    bool stream = type == STREAM;
    int server = host_server(g, stream ? SOCK_STREAM : SOCK_SEQPACKET, HOST_PORT);
    char path[128];
    g->type = type;
    guest_op(g, OP(REQUEST), 0);
    cr_assert(guest_recv(g));
    guest_op(g, OP(RST), 0);
    close(server);
    (void)snprintf(path, sizeof(path), "%s_%u", g->path, HOST_PORT);
    cr_assert_eq(unlink(path), 0);
    cr_assert(g->p.h.op == OP(RESPONSE) || g->p.h.op == OP(RST));
    return g->p.h.op == OP(RESPONSE);
}

/* A driver that accepts the features `bits` of three. */
static void types(unsigned bits, bool stream, bool seqpacket)
{
    struct guest *g = guest_up(&(struct rig_options){.without = ~bits & 7u}, 8);
    cr_assert_eq(accepts(g, STREAM), stream, "features %u", bits);
    cr_assert_eq(accepts(g, SEQPACKET), seqpacket, "features %u", bits);
    guest_down(g);
}

Test(vsock, has_the_types_that_were_negotiated)
{
    PROVES("Device Types / Socket Device / Feature bits#02");
    PROVES("Device Types / Socket Device / Feature bits#03");
    types(0, true, false);
    types(1, true, false);
    types(2, true, true);
    types(3, true, true);
    types(4, false, false);
    types(5, true, false);
    types(6, false, true);
    types(7, true, true);
}

/* --- the host's path --- */

static void refuses(const char *path, const char *words)
{
    char spec[512];
    (void)snprintf(spec, sizeof(spec), "vsock,cid=3,uds=%s", path);
    rig_refuses(spec, NULL, words);
}

Test(vsock, refuses_a_path_that_exists_or_cannot_be)
{
    char path[512] = "/tmp/", dir[] = "/tmp/vmm-vsock-XXXXXX";
    cr_assert(mkdtemp(dir) != NULL);
    refuses(dir, "exists");
    cr_assert_eq(rmdir(dir), 0);
    memset(path + 5, 'x', 200);
    refuses(path, "has at most 96 characters");
    (void)snprintf(path, sizeof(path), "%s/none/s", dir);
    refuses(path, "No such file");
}

Test(vsock, leaves_a_path_alone_that_is_not_its_own_any_more)
{
    struct guest *g = guest_up(NULL, 0);
    struct stat st;
    cr_assert_eq(stat(g->path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0600);
    cr_assert_eq(unlink(g->path), 0);
    int fd = open(g->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    rig_down(g->r);
    cr_assert_eq(unlink(g->path), 0);
    cr_assert_eq(rmdir(g->dir), 0);
    free(g);
}

/* --- the guest connects --- */

static void guest_session(uint16_t type)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, type);
    uint32_t eom = type == SEQPACKET ? VIRTIO_VSOCK_SEQ_EOM : 0;
    cr_assert_eq(g->p.h.buf_alloc, VSOCK_BUF);
    guest_data(g, "hello", 5, eom);
    host_reads(g, fd, "hello");
    host_says(g, fd, "good day");
    guest_expect_data(g, "good day");
    cr_assert_eq(g->p.h.flags, eom);
    cr_assert_eq(g->p.h.fwd_cnt, 5);
    cr_assert_eq(reported(g->r, "connections"), 1);
    cr_assert_eq(reported(g->r, "opened_by_guest"), 1);
    cr_assert_eq(reported(g->r, "rx_bytes"), 8);
    cr_assert_eq(reported(g->r, "tx_bytes"), 5);
    guest_op(g, OP(SHUTDOWN), SHUT_RECV | SHUT_SEND);
    guest_expect(g, OP(RST));
    cr_assert(host_sees_end(g, fd));
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

Test(vsock, carries_a_stream_that_the_guest_opens)
{
    guest_session(STREAM);
}

Test(vsock, carries_messages_of_a_connection_that_the_guest_opens)
{
    guest_session(SEQPACKET);
}

Test(vsock, answers_rst_where_nobody_listens)
{
    struct guest *g = guest_up(NULL, 8);
    guest_op(g, OP(REQUEST), 0);
    guest_expect(g, OP(RST));
    int server = host_server(g, SOCK_SEQPACKET, HOST_PORT); /* the other type is not it either */
    guest_op(g, OP(REQUEST), 0);
    guest_expect(g, OP(RST));
    close(server); /* and nobody behind it */
    g->type = SEQPACKET;
    guest_op(g, OP(REQUEST), 0);
    guest_expect(g, OP(RST));
    cr_assert_eq(reported(g->r, "connections"), 0);
    cr_assert_eq(reported(g->r, "refused"), 3);
    guest_down(g);
}

/* --- the host connects --- */

Test(vsock, carries_a_stream_that_the_host_opens)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = host_connects(g);
    host_says(g, fd, "good day");
    guest_expect_data(g, "good day");
    guest_data(g, "hello", 5, 0);
    host_reads(g, fd, "hello");
    cr_assert_eq(reported(g->r, "opened_by_host"), 1);
    close(fd);
    guest_expect_shutdown(g, SHUT_RECV | SHUT_SEND);
    guest_op(g, OP(RST), 0);
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_expect_none(g);
    guest_down(g);
}

Test(vsock, a_client_need_not_wait_for_the_answer)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = host_client(g);
    host_says(g, fd, "CONN"); /* nor send its line in one piece */
    guest_expect_none(g);
    host_says(g, fd, "ECT 1000\nat once");
    cr_assert(guest_recv(g));
    g->host_port = g->p.h.src_port;
    guest_expect_none(g);
    guest_op(g, OP(RESPONSE), 0);
    guest_expect_data(g, "at once");
    close(fd);
    guest_down(g);
}

Test(vsock, a_client_whom_the_guest_refuses_sees_the_end)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = host_client(g);
    host_says(g, fd, "CONNECT 1000\n");
    cr_assert(guest_recv(g));
    g->host_port = g->p.h.src_port;
    guest_op(g, OP(RST), 0);
    cr_assert(host_sees_end(g, fd));
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

Test(vsock, clients_that_make_no_sense_see_the_end)
{
    static const char *const bad[] = {"\n",
                                      "CONNECT \n",
                                      "CONNECT 4294967295\n", /* any port */
                                      "CONNECT 4294967296\n",
                                      "CONNECT 99999999999999999999\n",
                                      "CONNECT 12x\n",
                                      "CONNECT -1\n",
                                      "connect 1\n",
                                      "CONNECT 00000000000000000000000000000001\n",
                                      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    struct guest *g = guest_up(NULL, 8);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        int fd = host_client(g);
        host_says(g, fd, bad[i]);
        cr_assert(host_sees_end(g, fd), "%s", bad[i]);
        close(fd);
    }
    int fd = host_client(g);
    close(fd);
    guest_expect_none(g);
    cr_assert_eq(reported(g->r, "refused"), ARRAY_SIZE(bad) + 1);
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_down(g);
}

Test(vsock, clients_need_a_driver_with_streams)
{
    struct guest *g = guest_up(&(struct rig_options){.without = without(VSOCK_F_STREAM)}, 8);
    int fd = host_client(g);
    host_says(g, fd, "CONNECT 1000\n");
    cr_assert(host_sees_end(g, fd));
    close(fd);
    rig_status_set(g->r, 0);
    fd = host_client(g);
    host_says(g, fd, "CONNECT 1000\n");
    cr_assert(host_sees_end(g, fd));
    close(fd);
    guest_down(g);
}

/* --- how it ends --- */

Test(vsock, the_host_closes_half)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    host_says(g, fd, "last");
    cr_assert_eq(shutdown(fd, SHUT_WR), 0);
    guest_expect_data(g, "last");
    guest_expect(g, OP(SHUTDOWN));
    cr_assert_eq(g->p.h.flags, SHUT_SEND);
    guest_data(g, "more", 4, 0);
    host_reads(g, fd, "more");
    guest_op(g, OP(SHUTDOWN), SHUT_SEND);
    cr_assert(host_sees_end(g, fd));
    guest_expect_shutdown(g, SHUT_RECV | SHUT_SEND); /* both are over: the guest is to say so */
    guest_op(g, OP(RST), 0);
    guest_expect_none(g);
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_down(g);
}

Test(vsock, the_guest_closes_half)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    guest_data(g, "last", 4, 0);
    guest_op(g, OP(SHUTDOWN), SHUT_SEND);
    host_reads(g, fd, "last");
    cr_assert(host_sees_end(g, fd));
    guest_expect_none(g);
    host_says(g, fd, "more");
    guest_expect_data(g, "more");
    guest_op(g, OP(SHUTDOWN), 0); /* bits that are clear take nothing back */
    guest_expect_none(g);
    guest_op(g, OP(SHUTDOWN), SHUT_RECV);
    guest_expect(g, OP(RST));
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_down(g);
}

Test(vsock, a_guest_that_receives_no_more_stops_the_host)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    guest_op(g, OP(SHUTDOWN), SHUT_RECV);
    rig_settle(g->r);
    cr_assert_eq(send(fd, "x", 1, MSG_NOSIGNAL), -1);
    cr_assert_eq(errno, EPIPE);
    guest_data(g, "still", 5, 0);
    host_reads(g, fd, "still");
    close(fd);
    guest_expect(g, OP(SHUTDOWN)); /* its other half has nobody left */
    cr_assert(g->p.h.flags & SHUT_RECV);
    guest_down(g);
}

Test(vsock, the_guest_aborts)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    guest_op(g, OP(RST), 0);
    cr_assert(host_sees_end(g, fd));
    guest_expect_none(g);
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_down(g);
}

Test(vsock, a_reset_ends_all_connections)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    rig_up_again(g->r);
    cr_assert(host_sees_end(g, fd));
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_post(g, RX_LEN, 8);
    fd = guest_connects(g, STREAM);
    close(fd);
    guest_down(g);
}

/* --- deadlines --- */

Test(vsock, a_silent_client_is_dropped)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = host_client(g);
    rig_settle(g->r);
    pass(g, VSOCK_LINE_TICKS - 1);
    cr_assert(host_sees_nothing(g, fd));
    pass(g, 1);
    cr_assert(host_sees_end(g, fd));
    cr_assert_eq(reported(g->r, "expired"), 1);
    cr_assert(!ticker, "there is nothing to wait for");
    close(fd);
    guest_down(g);
}

Test(vsock, a_client_does_not_wait_for_a_silent_guest)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = host_client(g);
    host_says(g, fd, "CONNECT 1000\n");
    cr_assert(guest_recv(g));
    g->host_port = g->p.h.src_port;
    pass(g, VSOCK_ANSWER_TICKS - 1);
    cr_assert(host_sees_nothing(g, fd));
    pass(g, 1);
    cr_assert(host_sees_end(g, fd));
    guest_expect(g, OP(RST));
    guest_op(g, OP(RESPONSE), 0); /* too late */
    guest_expect(g, OP(RST));
    close(fd);
    guest_down(g);
}

Test(vsock, nor_for_one_without_buffers)
{
    struct guest *g = guest_up(NULL, 0);
    int fd = host_client(g);
    host_says(g, fd, "CONNECT 1000\n");
    pass(g, VSOCK_ANSWER_TICKS);
    cr_assert(host_sees_end(g, fd));
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_post(g, RX_LEN, 1);
    guest_expect_none(g);
    close(fd);
    guest_down(g);
}

Test(vsock, a_client_that_leaves_while_the_guest_is_asked)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = host_client(g);
    host_says(g, fd, "CONNECT 1000\n");
    cr_assert(guest_recv(g));
    g->host_port = g->p.h.src_port;
    close(fd);
    guest_expect(g, OP(RST));
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_down(g);
}

Test(vsock, a_guest_that_does_not_confirm_a_shutdown_is_told)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    close(fd);
    guest_expect_shutdown(g, SHUT_RECV | SHUT_SEND);
    pass(g, VSOCK_CLOSE_TICKS - 1);
    guest_expect_none(g);
    pass(g, 1);
    guest_expect(g, OP(RST));
    cr_assert_eq(reported(g->r, "connections"), 0);
    guest_down(g);
}
