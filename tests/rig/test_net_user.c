/* tests/rig/test_net_user.c - the user-space network, end to end: a guest made of hand-written
 * frames gets an address, finds its router, and talks TCP to a socket of this process and back. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#include "devices/net/spec.h"
#include "devices/virtio/vdev_ctl.h"
#include "tests/rig/rig.h"

enum { HDR = 12, PATIENCE_MS = 5000, SIZE = 2000 };

static uint8_t mac[6] = {0x52, 0x54, 0, 0, 0, 1}, router[6] = {0x52, 0x55, 10, 0, 2, 2};
static gpa_t buffers[256];
static uint8_t out[SIZE], in[SIZE]; /* a frame from and to the guest */

static struct rig *up(const char *more)
{
    char text[200];
    snprintf(text, sizeof(text), "net,backend=user,mac=52:54:00:00:00:01%s", more);
    struct rig *r = rig_up(text, NULL);
    for (unsigned i = 0; i < 200; i++) {
        struct rig_seg s = {.at = rig_alloc(r, SIZE), .len = SIZE};
        buffers[rig_add(r, 0, NULL, 0, &s, 1)] = s.at;
    }
    rig_kick(r, 0);
    rig_settle(r);
    return r;
}

static void send_frame(struct rig *r, size_t len)
{
    struct rig_seg s = {.at = rig_alloc(r, HDR + len), .len = (uint32_t)(HDR + len)};
    memcpy(rig_at(r, GPA(s.at.v + HDR), len), out, len);
    rig_add(r, 1, &s, 1, NULL, 0);
    rig_kick(r, 1);
    rig_settle(r);
}

static bool next_frame(struct rig *r, size_t *len)
{
    uint32_t id, n;
    if (!rig_used(r, 0, &id, &n))
        return false;
    *len = n - HDR;
    memcpy(in, rig_at(r, GPA(buffers[id].v + HDR), *len), *len);
    return true;
}

/* Waits for a frame of which `wanted` says yes; others, such as router advertisements, pass. */
static bool await(struct rig *r, bool (*wanted)(size_t len))
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    for (time_t end = t.tv_sec + PATIENCE_MS / 1000; t.tv_sec <= end;) {
        for (size_t len; next_frame(r, &len);) {
            if (wanted(len))
                return true;
        }
        (void)loop_step(r->loop, 100);
        clock_gettime(CLOCK_MONOTONIC, &t);
    }
    return false;
}

static uint32_t add(const void *p, size_t len)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += ((const uint8_t *)p)[i] << (i % 2 ? 0 : 8);
    return sum;
}

static void put_sum(uint8_t *at, uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    at[0] = (uint8_t)(~sum >> 8);
    at[1] = (uint8_t)~sum;
}

/* An IPv4 packet to `to` whose payload of len bytes is at out + 34; its transport's checksum goes
 * to out[34 + sum_at]. */
static size_t ip(uint8_t protocol, const uint8_t from[4], const uint8_t to[4], size_t len,
                 size_t sum_at)
{
    size_t total = len + 20;
    uint8_t *h = out + 14;
    memcpy(out, router, 6);
    memcpy(out + 6, mac, 6);
    out[12] = 8, out[13] = 0;
    memset(h, 0, 20);
    h[0] = 0x45, h[2] = (uint8_t)(total >> 8), h[3] = (uint8_t)total, h[8] = 64, h[9] = protocol;
    memcpy(h + 12, from, 4);
    memcpy(h + 16, to, 4);
    put_sum(h + 10, add(h, 20));
    out[34 + sum_at] = out[35 + sum_at] = 0;
    uint32_t pseudo = protocol == IPPROTO_ICMP ? 0 : add(h + 12, 8) + protocol + (uint32_t)len;
    put_sum(out + 34 + sum_at, add(out + 34, len) + pseudo);
    return 14 + total;
}

static const uint8_t me[4] = {10, 0, 2, 15}, host[4] = {10, 0, 2, 2}, nobody[4],
                     all[4] = {255, 255, 255, 255};

/* --- --- */

static bool is_dhcp(size_t len)
{
    return len > 282 && in[23] == IPPROTO_UDP && in[37] == 68 && in[42] == 2;
}

static void dhcp(struct rig *r, uint8_t type)
{
    uint8_t *p = out + 42;
    memset(out, 0, 400);
    out[35] = 68, out[37] = 67; /* ports */
    out[38] = 1, out[39] = 8;   /* 264 bytes */
    p[0] = 1, p[1] = 1, p[2] = 6, p[4] = 0x12;
    memcpy(p + 28, mac, 6);
    memcpy(p + 236, "\x63\x82\x53\x63\x35\x01", 6);
    p[242] = type;
    p[243] = 0xff;
    size_t len = ip(IPPROTO_UDP, nobody, all, 264, 6);
    memset(out, 0xff, 6);
    send_frame(r, len);
}

static bool is_arp(size_t len)
{
    return len >= 42 && in[12] == 8 && in[13] == 6 && in[21] == 2;
}

/* The router learns who the guest is. */
static void say_hello(struct rig *r)
{
    static const uint8_t request[] = {0, 1, 8, 0, 6, 4, 0, 1};
    memset(out, 0xff, 6);
    memcpy(out + 6, mac, 6);
    out[12] = 8, out[13] = 6;
    memcpy(out + 14, request, 8);
    memcpy(out + 22, mac, 6);
    memcpy(out + 28, me, 4);
    memset(out + 32, 0, 6);
    memcpy(out + 38, host, 4);
    send_frame(r, 42);
    cr_assert(await(r, is_arp));
    cr_expect_arr_eq(in + 28, host, 4);
    memcpy(router, in + 6, 6);
}

static bool is_echo(size_t len)
{
    return len >= 42 && in[23] == IPPROTO_ICMP && in[34] == 0;
}

Test(net_user, address_router_echo)
{
    struct rig *r = up("");
    cr_expect_not((vdev_features(r->dev, 0) & (NET_TX_OFFLOADS | NET_RX_OFFLOADS)));
    dhcp(r, 1);
    cr_assert(await(r, is_dhcp), "an offer");
    cr_expect_arr_eq(in + 42 + 16, me, 4);
    say_hello(r);
    memcpy(out + 34, "\x08\x00\x00\x00\x12\x34\x00\x01ping", 12);
    send_frame(r, ip(IPPROTO_ICMP, me, host, 12, 2));
    cr_assert(await(r, is_echo));
    cr_expect_arr_eq(in + 42, "ping", 4);
    rig_down(r);
}

Test(net_user, another_net)
{
    static const uint8_t first[4] = {192, 168, 7, 15};
    struct rig *r = up(",net=192.168.7.0/24");
    dhcp(r, 1);
    cr_assert(await(r, is_dhcp));
    cr_expect_arr_eq(in + 42 + 16, first, 4);
    rig_down(r);
}

/* --- TCP, just enough --- */

static struct {
    uint16_t mine, theirs;
    uint32_t seq, ack;
} tcp;
enum { FIN = 1, SYN = 2, PSH = 8, ACK = 16 };

static void put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24), p[1] = (uint8_t)(v >> 16), p[2] = (uint8_t)(v >> 8),
    p[3] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void tcp_send(struct rig *r, uint8_t flags, const char *text)
{
    size_t len = strlen(text);
    uint8_t *h = out + 34;
    memset(h, 0, 20);
    h[0] = (uint8_t)(tcp.mine >> 8), h[1] = (uint8_t)tcp.mine;
    h[2] = (uint8_t)(tcp.theirs >> 8), h[3] = (uint8_t)tcp.theirs;
    put32(h + 4, tcp.seq);
    put32(h + 8, tcp.ack);
    h[12] = 0x50, h[13] = flags, h[14] = 0x40;
    memcpy(h + 20, text, len);
    tcp.seq += (uint32_t)len + (flags & (SYN | FIN) ? 1 : 0);
    send_frame(r, ip(IPPROTO_TCP, me, host, 20 + len, 16));
}

/* Takes what belongs to the connection; true when it has one of these flags, or data. */
static uint8_t awaited;
static size_t data_at, data_len;
static bool is_tcp(size_t len)
{
    const uint8_t *h = in + 34;
    if (len < 54 || in[23] != IPPROTO_TCP || (h[2] << 8 | h[3]) != tcp.mine)
        return false;
    tcp.theirs = (uint16_t)(h[0] << 8 | h[1]);
    data_at = 34 + (h[12] >> 4) * 4u;
    data_len = (size_t)(in[16] << 8 | in[17]) + 14 - data_at;
    if (awaited == PSH ? data_len == 0 : (h[13] & awaited) != awaited)
        return false;
    tcp.ack = get32(h + 4) + (uint32_t)data_len + (h[13] & (SYN | FIN) ? 1 : 0);
    return true;
}

static bool tcp_await(struct rig *r, uint8_t flags)
{
    awaited = flags;
    return await(r, is_tcp);
}

static int listener(uint16_t *port)
{
    int s = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    cr_assert_eq(bind(s, (struct sockaddr *)&a, len), 0);
    cr_assert_eq(listen(s, 4), 0);
    cr_assert_eq(getsockname(s, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return s;
}

/* Packets are long, unless the user says otherwise: but four fit into a window, for a sender waits
 * until one does, or half of the window. */
Test(net_user, long_packets)
{
    static const struct {
        const char *more;
        unsigned mtu;
    } some[] = {{"", 16384}, {",mtu=65520", 65520}, {",mtu=1500", 1500}};
    for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
        struct rig *r = up(some[i].more);
        tcp.mine = 4000, tcp.seq = 1000, tcp.ack = 0;
        int s = listener(&tcp.theirs);
        cr_expect_eq(rig_config(r, 10, 2), some[i].mtu);
        say_hello(r);
        tcp_send(r, SYN, "");
        cr_assert(tcp_await(r, SYN | ACK));
        cr_expect_arr_eq(in + 54, "\x02\x04", 2); /* it has one option: the longest segment */
        cr_expect_eq(in[56] << 8 | in[57], some[i].mtu - 40);
        cr_expect(i == 1 || 4 * (some[i].mtu - 40) <= UINT16_MAX);
        close(s);
        rig_down(r);
    }
}

/* A socket of the host's, and the guest's first segment is answered. */
static int guest_calls(struct rig *r)
{
    tcp.mine = 4000, tcp.seq = 1000, tcp.ack = 0;
    int s = listener(&tcp.theirs);
    say_hello(r);
    tcp_send(r, SYN, "");
    cr_assert(tcp_await(r, SYN | ACK));
    return s;
}

Test(net_user, a_connection_from_the_guest)
{
    struct rig *r = up("");
    char text[8] = "";
    int s = guest_calls(r);
    tcp_send(r, ACK, "");
    tcp_send(r, ACK | PSH, "hello");
    int c = accept(s, NULL, NULL);
    cr_assert_geq(c, 0);
    cr_assert_eq(read(c, text, sizeof(text)), 5);
    cr_expect_arr_eq(text, "hello", 5);
    cr_assert_eq(write(c, "world", 5), 5);
    cr_assert(tcp_await(r, PSH));
    cr_expect_arr_eq(in + data_at, "world", 5);
    tcp_send(r, ACK, "");
    unsigned ran = 0;
    for (unsigned i = 0; i < 20; i++)
        ran += loop_step(r->loop, 10);
    cr_expect_lt(ran, 10, "an idle connection is idle");
    close(c);
    cr_expect(tcp_await(r, FIN));
    close(s);
    rig_down(r);
}

static uint16_t free_port(void)
{
    uint16_t port;
    close(listener(&port));
    return port;
}

static int call(uint16_t port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int c = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(connect(c, (struct sockaddr *)&a, sizeof(a)), 0);
    return c;
}

Test(net_user, a_connection_to_the_guest)
{
    char text[80], got[8];
    uint16_t port = free_port();
    snprintf(text, sizeof(text), ",restrict,hostfwd=tcp::%u-:22", port);
    struct rig *r = up(text);
    say_hello(r);
    int c = call(port);
    tcp.mine = 22, tcp.seq = 7000;
    cr_assert(tcp_await(r, SYN));
    tcp_send(r, SYN | ACK, "");
    cr_assert_eq(write(c, "knock", 5), 5);
    cr_assert(tcp_await(r, PSH));
    cr_expect_arr_eq(in + data_at, "knock", 5);
    tcp_send(r, ACK | PSH, "come");
    struct timeval patience = {.tv_sec = 5};
    setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    cr_assert_eq(read(c, got, sizeof(got)), 4);
    cr_expect_arr_eq(got, "come", 4);
    close(c);
    rig_down(r);
}

/* --- descriptors are few --- */

/* A host whose processes may have so many. */
static void few_files(rlim_t n)
{
    const struct rlimit l = {n, n};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
}

static size_t udp_frame(uint16_t from, uint16_t to)
{
    uint8_t *h = out + 34;
    memset(h, 0, 8);
    put32(h, (uint32_t)from << 16 | to);
    h[5] = 8 + 2, h[8] = 'h', h[9] = 'i';
    return ip(IPPROTO_UDP, me, host, 10, 6);
}

static void udp(struct rig *r, uint16_t from, uint16_t to)
{
    send_frame(r, udp_frame(from, to));
}

/* Each port that a guest sends from is a socket of the host's, and other devices want some, too. */
Test(net_user, sockets_have_a_bound)
{
    enum { FILES = 400, ROOM = FILES - FILES / 4, MOST = ROOM / 4 };
    few_files(FILES);
    struct rig *r = up("");
    uint16_t port;
    int s = listener(&port);
    say_hello(r);
    unsigned before = rig_open_files();
    for (unsigned i = 0; i < 3 * MOST; i++)
        udp(r, (uint16_t)(5000 + i), 9);
    cr_assert_eq(rig_open_files(), before + MOST);
    tcp.mine = 4000, tcp.theirs = port, tcp.seq = 1000, tcp.ack = 0;
    tcp_send(r, SYN, "");
    cr_assert_eq(rig_open_files(), before + MOST, "nor one of a connection");
    say_hello(r); /* which wants none */
    rig_down(r);
    close(s);
}

/* Frames that may open a socket are counted by what they did. */
Test(net_user, many_datagrams_of_one_port)
{
    enum { MANY = 200 };
    few_files(400);
    struct rig *r = up("");
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(a);
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(bind(s, (struct sockaddr *)&a, size), 0);
    cr_assert_eq(getsockname(s, (struct sockaddr *)&a, &size), 0);
    say_hello(r);
    size_t len = udp_frame(5000, ntohs(a.sin_port));
    for (unsigned i = 0; i < MANY; i++) {
        struct rig_seg seg = {.at = rig_alloc(r, HDR + len), .len = (uint32_t)(HDR + len)};
        memcpy(rig_at(r, GPA(seg.at.v + HDR), len), out, len);
        rig_add(r, 1, &seg, 1, NULL, 0);
    }
    rig_kick(r, 1);
    rig_settle(r);
    unsigned got = 0;
    for (char buf[8]; recv(s, buf, sizeof(buf), 0) == 2;)
        got++;
    cr_assert_eq(got, MANY);
    close(s);
    rig_down(r);
}

/* A connection goes on when there is no room for another. */
Test(net_user, a_connection_outlives_the_bound)
{
    few_files(400);
    struct rig *r = up("");
    char text[8] = "";
    int s = guest_calls(r);
    for (unsigned i = 0; i < 400; i++)
        udp(r, (uint16_t)(5000 + i), 9);
    tcp_send(r, ACK, "");
    tcp_send(r, ACK | PSH, "hello");
    int c = accept(s, NULL, NULL);
    cr_assert_geq(c, 0);
    cr_assert_eq(read(c, text, sizeof(text)), 5);
    close(c);
    close(s);
    rig_down(r);
}

/* A port that is ready and cannot be served is no reason to turn; and is served later. */
Test(net_user, a_call_without_a_descriptor)
{
    char text[80];
    uint16_t port = free_port();
    int spare[1024];
    unsigned n = 0;
    snprintf(text, sizeof(text), ",hostfwd=tcp::%u-:22", port);
    struct rig *r = up(text);
    say_hello(r);
    few_files(rig_open_files() + 100);
    int c = call(port);
    while (n < ARRAY_SIZE(spare) && (spare[n] = dup(c)) >= 0)
        n++;
    unsigned turns = 0;
    for (unsigned i = 0; i < 20; i++)
        turns += loop_step(r->loop, 10);
    cr_expect_lt(turns, 20, "%u", turns);
    while (n > 0)
        close(spare[--n]);
    tcp.mine = 22, tcp.seq = 7000;
    cr_expect(tcp_await(r, SYN), "it is accepted after all");
    close(c);
    rig_down(r);
}

/* Nor are calls taken for which the guest has left no room. */
Test(net_user, a_call_above_the_bound)
{
    char text[80];
    uint16_t port = free_port();
    snprintf(text, sizeof(text), ",hostfwd=tcp::%u-:22", port);
    few_files(400);
    struct rig *r = up(text);
    say_hello(r);
    for (unsigned i = 0; i < 400; i++)
        udp(r, (uint16_t)(5000 + i), 9);
    int c = call(port);
    unsigned before = rig_open_files(), turns = 0;
    for (unsigned i = 0; i < 20; i++)
        turns += loop_step(r->loop, 10);
    cr_expect_lt(turns, 20, "%u", turns);
    cr_expect_eq(rig_open_files(), before);
    close(c);
    rig_down(r);
}

static unsigned timers_set;
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *v, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *v, struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *v, struct itimerspec *old)
{
    timers_set++;
    return __real_timerfd_settime(fd, flags, v, old);
}

/* What passes does not set timers, as long as they are early enough. */
Test(net_user, timers_are_set_when_needed)
{
    struct rig *r = up("");
    say_hello(r);
    timers_set = 0;
    for (unsigned i = 0; i < 20; i++)
        say_hello(r);
    cr_expect_lt(timers_set, 5, "%u", timers_set);
    rig_down(r);
}

/* Frames of every length whose every byte is wrong: the router survives, and so do we. */
Test(net_user, noise)
{
    HOLDS_HERE("36a");
    struct rig *r = up("");
    unsigned seed = 1;
    say_hello(r);
    for (unsigned i = 0; i < 100; i++) {
        size_t len = 14 + (unsigned)rand_r(&seed) % 300;
        for (size_t k = 34; k < len; k++)
            out[k] = (uint8_t)rand_r(&seed);
        (void)ip((uint8_t)(i % 3 ? IPPROTO_TCP : IPPROTO_UDP), me, host, MAX(len, 54ul) - 34, 0);
        if (i % 5 == 0)
            out[14 + i % 20] ^= 0x5a;
        send_frame(r, len);
    }
    say_hello(r);
    rig_down(r);
}

/* What is sent while the guest has no buffers waits for it, and a reset survives. */
Test(net_user, reset_and_again)
{
    struct rig *r = up("");
    for (unsigned i = 0; i < 3; i++) {
        say_hello(r);
        rig_negotiate(r);
        struct rig_seg s[8];
        dhcp(r, 1);
        for (unsigned k = 0; k < 8; k++) {
            s[k] = (struct rig_seg){.at = rig_alloc(r, SIZE), .len = SIZE};
            buffers[rig_add(r, 0, NULL, 0, &s[k], 1)] = s[k].at;
        }
        rig_kick(r, 0);
        cr_assert(await(r, is_dhcp));
    }
    rig_down(r);
}
