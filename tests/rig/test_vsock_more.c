/* tests/rig/test_vsock_more.c - the socket device's messages (virtio 1.4, 5.10.6.6), its state,
 * with the event that follows a load (5.10.6.7), and a hundred connections at once. */
#include "tests/rig/vsock_fixture.h"
#include "tests/rig/ways.h"

enum { EOM = VIRTIO_VSOCK_SEQ_EOM };

static uint8_t pattern[VSOCK_BUF];

static void fill_pattern(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 11 + i / 241);
}
TestSuite(vsock_more, .init = fill_pattern);

/* --- messages --- */

static void host_gets_message(struct guest *g, int fd, const void *p, size_t len)
{
    static uint8_t got[VSOCK_BUF + 1];
    rig_settle(g->r);
    ssize_t n = recv(fd, got, sizeof(got), 0);
    cr_assert_eq(n, (ssize_t)len, "%zd bytes, not %zu", n, len);
    cr_assert_eq(memcmp(got, p, len), 0);
}

Test(vsock_more, a_message_of_many_packets_is_one)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, SEQPACKET);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert(host_sees_nothing(g, fd));
        guest_data(g, pattern + i * 10000, 10000, i == 9 ? EOM : 0);
    }
    host_gets_message(g, fd, pattern, 100000);
    guest_data(g, "a", 1, 0);
    guest_data(g, NULL, 0, EOM); /* its end by itself */
    host_gets_message(g, fd, "a", 1);
    guest_data(g, NULL, 0, EOM); /* empty: a Unix socket would tell it as the end */
    guest_data(g, "b", 1, EOM);
    host_gets_message(g, fd, "b", 1);
    guest_data(g, pattern, VSOCK_BUF / 2, 0); /* the longest */
    guest_data(g, pattern + VSOCK_BUF / 2, VSOCK_BUF / 2 - 2, 0);
    while (guest_recv(g))
        cr_assert_eq(g->p.h.op, OP(CREDIT_UPDATE));
    guest_data(g, "zz", 2, EOM);
    memcpy(pattern + VSOCK_BUF - 2, "zz", 2);
    host_gets_message(g, fd, pattern, VSOCK_BUF);
    close(fd);
    guest_down(g);
}

/* The socket is full; boundaries are kept while messages wait, and there are very many of them. */
Test(vsock_more, a_slow_reader_gets_message_by_message)
{
    struct guest *g = guest_up(NULL, 64);
    int fd = guest_connects(g, SEQPACKET);
    unsigned sent = 0, got = 0;
    uint32_t fwd = 0, total = 0;
    for (unsigned round = 0; round < 3; round++) {
        uint8_t m[97];
        for (;;) {
            uint32_t len = 1 + sent % 97;
            while (guest_recv(g))
                fwd = g->p.h.fwd_cnt;
            if (VSOCK_BUF - (total - fwd) < len)
                break;
            memset(m, (int)(sent & 0xff), sizeof(m));
            guest_data(g, m, len, EOM);
            total += len;
            sent++;
        }
        for (; got < sent; got++) {
            memset(m, (int)(got & 0xff), sizeof(m));
            host_gets_message(g, fd, m, 1 + got % 97);
        }
    }
    cr_assert_gt(sent, 5000);
    cr_assert(host_sees_nothing(g, fd));
    guest_op(g, OP(CREDIT_REQUEST), 0);
    do
        cr_assert(guest_recv(g));
    while (g->p.h.fwd_cnt != total);
    close(fd);
    guest_down(g);
}

Test(vsock_more, what_is_no_whole_message_is_not_delivered)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, SEQPACKET);
    guest_data(g, "whole", 5, EOM);
    guest_data(g, "part", 4, 0);
    guest_expect(g, OP(CREDIT_UPDATE)); /* for the rest, which does not come */
    guest_op(g, OP(SHUTDOWN), SHUT_SEND | SHUT_RECV);
    guest_expect(g, OP(RST));
    host_gets_message(g, fd, "whole", 5);
    cr_assert(host_sees_end(g, fd));
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_down(g);
}

Test(vsock_more, a_message_of_the_hosts_comes_in_pieces)
{
    struct guest *g = guest_up(NULL, 8);
    g->buf_alloc = 20000;
    int fd = guest_connects(g, SEQPACKET);
    cr_assert_eq(send(fd, pattern, 15000, 0), 15000);
    cr_assert_eq(send(fd, "", 0, 0), 0); /* which the guest is not told of */
    cr_assert_eq(send(fd, pattern, 15000, 0), 15000);
    size_t at = 0;
    while (at < 15000) {
        guest_expect(g, OP(RW));
        cr_assert_eq(memcmp(g->p.data, pattern + at, g->p.h.len), 0);
        at += g->p.h.len;
        cr_assert_eq(g->p.h.flags, at == 15000 ? EOM : 0, "at %zu", at);
    }
    for (at = 0; at < 5000; at += g->p.h.len) { /* as far as there is room */
        guest_expect(g, OP(RW));
        cr_assert_eq(g->p.h.flags, 0);
    }
    guest_expect(g, OP(CREDIT_REQUEST));
    guest_expect_none(g);
    g->fwd_cnt = 20000;
    guest_op(g, OP(CREDIT_UPDATE), 0);
    for (; at < 15000; at += g->p.h.len) {
        guest_expect(g, OP(RW));
        cr_assert_eq(memcmp(g->p.data, pattern + at, g->p.h.len), 0);
    }
    cr_assert_eq(g->p.h.flags, EOM);
    g->fwd_cnt = 30000;
    guest_op(g, OP(CREDIT_UPDATE), 0);
    cr_assert_eq(send(fd, "", 0, 0), 0);
    guest_expect_none(g);
    host_says(g, fd, "last");
    close(fd);
    guest_expect_data(g, "last");
    guest_expect_shutdown(g, SHUT_RECV | SHUT_SEND);
    guest_down(g);
}

Test(vsock_more, a_message_that_can_never_be_received_ends_the_connection)
{
    struct guest *g = guest_up(NULL, 8);
    g->buf_alloc = 1000;
    int fd = guest_connects(g, SEQPACKET);
    cr_assert_eq(send(fd, pattern, 1001, 0), 1001);
    guest_expect(g, OP(RST));
    cr_assert(host_sees_end(g, fd));
    cr_assert_eq(reported(g->r, "connections"), 0);
    close(fd);
    guest_down(g);
}

/* --- state --- */

/* Into the same device, which has been reset meanwhile. */
static void save_and_load(struct guest *g)
{
    rig_save_and_load(g->r);
    rig_settle(g->r);
}

static gpa_t post_event(struct guest *g, uint32_t len)
{
    struct rig_seg in = {rig_alloc(g->r, 8), len};
    memset(rig_at(g->r, in.at, 8), 0xee, 8);
    rig_add(g->r, VSOCK_EVENT, NULL, 0, &in, 1);
    rig_kick(g->r, VSOCK_EVENT);
    rig_settle(g->r);
    return in.at;
}

TEST_EACH_WAY(W_PLAIN, vsock_more, a_load_is_told_to_the_driver)
{
    struct guest *g = guest_up(NULL, 8);
    HOLDS(g->r, "35e");
    uint32_t id, used;
    int fd = guest_connects(g, STREAM);
    gpa_t at = post_event(g, 4);
    cr_assert(!rig_used(g->r, VSOCK_EVENT, &id, &used));
    save_and_load(g);
    cr_assert(rig_used(g->r, VSOCK_EVENT, &id, &used));
    cr_assert_eq(used, 4);
    cr_assert_eq(get_bytes(rig_at(g->r, at, 4), 4), VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
    cr_assert(host_sees_end(g, fd));
    close(fd);
    guest_expect_none(g);
    cr_assert_eq(reported(g->r, "transport_resets"), 1);
    guest_data(g, "x", 1, 0); /* of the connection that was */
    guest_expect(g, OP(RST));
    fd = guest_connects(g, STREAM);
    guest_data(g, "hello", 5, 0);
    host_reads(g, fd, "hello");
    post_event(g, 4);
    cr_assert(!rig_used(g->r, VSOCK_EVENT, &id, &used), "once is enough");
    close(fd);
    guest_down(g);
}

Test(vsock_more, the_event_waits_for_a_buffer_and_connections_for_the_event)
{
    struct guest *g = guest_up(NULL, 8);
    uint32_t id, used;
    save_and_load(g);
    save_and_load(g); /* still to be told */
    int server = host_server(g, SOCK_STREAM, HOST_PORT), client = host_client(g);
    host_says(g, client, "CONNECT 1000\n");
    guest_expect_none(g);
    cr_assert(host_sees_nothing(g, client));
    guest_op(g, OP(REQUEST), 0);
    guest_expect(g, OP(RST)); /* the event would end it as soon as it was there */
    post_event(g, 3);
    cr_assert(rig_used(g->r, VSOCK_EVENT, &id, &used) && used == 0, "too short");
    post_event(g, 8);
    cr_assert(rig_used(g->r, VSOCK_EVENT, &id, &used) && used == 4);
    cr_assert(guest_recv(g), "the client's turn");
    cr_assert_eq(g->p.h.op, OP(REQUEST));
    g->host_port = g->p.h.src_port;
    guest_op(g, OP(RESPONSE), 0);
    g->host_port = HOST_PORT;
    guest_op(g, OP(REQUEST), 0);
    guest_expect(g, OP(RESPONSE));
    close(client);
    close(server);
    guest_down(g);
}

Test(vsock_more, a_driver_that_begins_anew_is_told_nothing)
{
    struct guest *g = guest_up(NULL, 0);
    uint32_t id, used;
    save_and_load(g);
    rig_up_again(g->r);
    post_event(g, 4);
    cr_assert(!rig_used(g->r, VSOCK_EVENT, &id, &used));
    guest_post(g, RX_LEN, 8);
    int fd = guest_connects(g, STREAM);
    close(fd);
    guest_down(g);
}

TEST_EACH_WAY(W_PLAIN, vsock_more, replies_that_are_held_do_not_stop_a_loaded_device)
{
    struct guest *g = guest_up(NULL, 0);
    HOLDS(g->r, "35e");
    for (unsigned i = 0; i < VSOCK_REPLIES; i++)
        guest_op(g, OP(REQUEST), 0);
    struct virtio_vsock_hdr h = header(g, OP(CREDIT_REQUEST));
    uint32_t id, used;
    guest_put(g, &h, NULL, 0, g->tx);
    rig_kick(g->r, VSOCK_TX);
    rig_settle(g->r);
    cr_assert(!rig_used(g->r, VSOCK_TX, &id, &used), "there is no room for its answer");
    save_and_load(g);
    cr_assert(rig_used(g->r, VSOCK_TX, &id, &used), "the store is empty again");
    guest_post(g, RX_LEN, 8);
    guest_expect(g, OP(RST));
    guest_expect_none(g);
    post_event(g, 4);
    int fd = guest_connects(g, STREAM);
    close(fd);
    guest_down(g);
}

Test(vsock_more, a_pause_changes_nothing)
{
    struct guest *g = guest_up(NULL, 8);
    int fd = guest_connects(g, STREAM);
    vdev_pause(g->r->dev);
    host_says(g, fd, "hello");
    guest_expect_none(g);
    struct virtio_vsock_hdr h = header(g, OP(RW));
    h.len = 2;
    guest_put(g, &h, "hi", 2, g->tx);
    rig_kick(g->r, VSOCK_TX);
    cr_assert(host_sees_nothing(g, fd));
    vdev_resume(g->r->dev);
    guest_expect_data(g, "hello");
    host_reads(g, fd, "hi");
    close(fd);
    guest_down(g);
}

Test(vsock_more, hostile_state_is_refused)
{
    struct guest *g = guest_up(NULL, 8);
    static const uint64_t bad[] = {0, 2, 0xffffffff, 0x100000003};
    for (size_t i = 0; i <= ARRAY_SIZE(bad) + 1; i++) {
        struct state_out s = {0};
        state_begin(&s, i == ARRAY_SIZE(bad) ? "NONE" : "VSCK", 1);
        state_u64(&s, i < ARRAY_SIZE(bad) ? bad[i] : CID);
        if (i == ARRAY_SIZE(bad) + 1)
            state_u8(&s, 0); /* left over */
        state_end(&s);
        struct state_in in = {.buf = s.buf, .len = s.len};
        const struct vdev_class *const *c = vdev_classes;
        while (strcmp((*c)->name, "vsock") != 0)
            c++;
        cr_assert_eq((*c)->ops->load(g->r->dev, &in), -EBADMSG, "%zu", i);
        state_out_free(&s);
    }
    int fd = guest_connects(g, STREAM); /* nothing has happened */
    close(fd);
    guest_down(g);
}

/* --- a hundred --- */

enum { MANY = 100, EACH = 300 * 1000 };

/* One connection as both of its ends see it; data is a stream of bytes that tells its place. */
struct pair {
    int fd;
    uint16_t type;
    bool slow; /* its program reads little at a time */
    uint32_t port;
    uint32_t guest_tx, guest_rx, host_tx, host_rx;
    uint32_t guest_told;         /* of guest_rx, by our last packet */
    uint32_t fwd_cnt, buf_alloc; /* the device's */
};
static struct pair pairs[MANY];

static uint8_t byte_at(const struct pair *p, bool from_guest, uint32_t i)
{
    return (uint8_t)((i * 2654435761u >> 13) ^ p->port ^ (from_guest ? 0x5a : 0));
}

static void make(const struct pair *p, bool from_guest, uint32_t from, uint8_t *to, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        to[i] = byte_at(p, from_guest, from + i);
}

static void check(const struct pair *p, bool from_guest, uint32_t from, const uint8_t *b,
                  uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        cr_assert_eq(b[i], byte_at(p, from_guest, from + i), "port %u at %u", p->port, from + i);
}

static void guest_speaks(struct guest *g, struct pair *p)
{
    static uint8_t b[3000];
    uint32_t room = p->buf_alloc - (p->guest_tx - p->fwd_cnt);
    uint32_t len = MIN(MIN((uint32_t)EACH - p->guest_tx, room), (uint32_t)sizeof(b) - p->port % 77);
    if (len == 0)
        return;
    struct virtio_vsock_hdr h = header(g, OP(RW));
    h.src_port = p->port;
    h.type = p->type;
    h.fwd_cnt = p->guest_told = p->guest_rx;
    h.len = len;
    h.flags = EOM;
    make(p, true, p->guest_tx, b, len);
    guest_send_raw(g, &h, b, len);
    p->guest_tx += len;
}

static void guest_hears(struct guest *g)
{
    while (guest_recv(g)) {
        struct pair *p = &pairs[g->p.h.dst_port - GUEST_PORT];
        p->fwd_cnt = g->p.h.fwd_cnt;
        p->buf_alloc = g->p.h.buf_alloc;
        if (g->p.h.op == OP(RW)) {
            check(p, false, p->guest_rx, g->p.data, g->p.h.len);
            p->guest_rx += g->p.h.len;
            cr_assert_leq(p->guest_rx - p->guest_told, g->buf_alloc, "more than was allowed");
        } else {
            cr_assert(g->p.h.op == OP(CREDIT_UPDATE) || g->p.h.op == OP(CREDIT_REQUEST), "%u",
                      g->p.h.op);
        }
        if (g->p.h.op == OP(CREDIT_REQUEST) || p->guest_rx - p->guest_told > g->buf_alloc / 2) {
            struct virtio_vsock_hdr h = header(g, OP(CREDIT_UPDATE));
            h.src_port = p->port;
            h.type = p->type;
            h.fwd_cnt = p->guest_told = p->guest_rx;
            guest_send_raw(g, &h, NULL, 0);
        }
    }
}

static void host_speaks(struct pair *p)
{
    static uint8_t b[5000];
    uint32_t len = MIN((uint32_t)EACH - p->host_tx, (uint32_t)sizeof(b) - p->port % 99);
    if (len == 0)
        return;
    make(p, false, p->host_tx, b, len);
    ssize_t n = send(p->fd, b, len, MSG_NOSIGNAL);
    cr_assert(n > 0 || errno == EAGAIN, "%m");
    p->host_tx += n > 0 ? (uint32_t)n : 0;
}

static void host_hears(struct pair *p)
{
    static uint8_t b[64 * 1024];
    size_t most = p->slow && p->type == STREAM ? 500 : sizeof(b);
    ssize_t n = recv(p->fd, b, most, 0);
    cr_assert(n > 0 || (n < 0 && errno == EAGAIN), "%zd: %m", n);
    if (n > 0) {
        check(p, true, p->host_rx, b, (uint32_t)n);
        p->host_rx += (uint32_t)n;
    }
}

static bool done(const struct pair *p)
{
    return p->guest_tx == EACH && p->guest_rx == EACH && p->host_tx == EACH && p->host_rx == EACH;
}

static void open_pair(struct guest *g, struct pair *p, unsigned i, const int servers[2])
{
    *p = (struct pair){
        .port = GUEST_PORT + i, .type = i % 3 == 2 ? SEQPACKET : STREAM, .slow = i % 10 == 0};
    g->guest_port = p->port;
    g->type = p->type;
    guest_op(g, OP(REQUEST), 0);
    guest_expect(g, OP(RESPONSE));
    p->buf_alloc = g->p.h.buf_alloc;
    p->fd = host_accept(servers[p->type == SEQPACKET]);
}

static void a_hundred(const struct rig_options *o)
{
    struct guest *g = guest_up(o, 16);
    char path[128];
    g->buf_alloc = 30000;
    (void)snprintf(path, sizeof(path), "%s_%u", g->path, HOST_PORT);
    for (unsigned type = 0; type < 2; type++) { /* one path, one type at a time */
        int servers[2] = {-1, -1};
        servers[type] = host_server(g, type ? SOCK_SEQPACKET : SOCK_STREAM, HOST_PORT);
        for (unsigned i = 0; i < MANY; i++) {
            if ((i % 3 == 2) == (type == 1))
                open_pair(g, &pairs[i], i, servers);
        }
        close(servers[type]);
        cr_assert_eq(unlink(path), 0);
    }
    unsigned left = MANY;
    for (unsigned round = 0; left > 0; round++) {
        cr_assert_lt(round, 20000, "it stands still");
        left = 0;
        for (unsigned i = 0; i < MANY; i++) {
            struct pair *p = &pairs[i];
            host_speaks(p);
            guest_speaks(g, p);
            guest_hears(g);
            host_hears(p);
            left += !done(p);
        }
    }
    for (unsigned i = 0; i < MANY; i++)
        close(pairs[i].fd);
    cr_assert_eq(reported(g->r, "violations"), 0);
    cr_assert_eq(reported(g->r, "rx_bytes"), (uint64_t)MANY * EACH);
    cr_assert_eq(reported(g->r, "tx_bytes"), (uint64_t)MANY * EACH);
    guest_down(g);
}

Test(vsock_more, a_hundred_connections_and_every_byte_in_its_place)
{
    a_hundred(NULL);
}

Test(vsock_more, a_hundred_on_pci_with_packed_rings)
{
    a_hundred(&(struct rig_options){.transport = RIG_PCI, .packed = true, .in_order = true});
}

Test(vsock_more, a_hundred_with_epoll)
{
    a_hundred(&(struct rig_options){.backend = LOOP_EPOLL});
}
