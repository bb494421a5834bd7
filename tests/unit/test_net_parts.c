/* tests/unit/test_net_parts.c - the parts of the network device that need no device: the Toeplitz
 * hash by Microsoft's vectors, flows, filters, and what users write. */
#include <arpa/inet.h>
#include <criterion/criterion.h>

#include "devices/net/filter.h"
#include "devices/net/rss.h"
#include "devices/net/text.h"
#include "tests/rig/proves.h"

static const uint8_t key[NET_RSS_KEY_MAX] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa};

static const struct {
    const char *from, *to;
    uint16_t from_port, to_port;
    uint32_t ip, tcp;
} vectors[] = {
    {"66.9.149.187", "161.142.100.80", 2794, 1766, 0x323e8fc2, 0x51ccc178},
    {"199.92.111.2", "65.69.140.83", 14230, 4739, 0xd718262a, 0xc626b0ea},
    {"24.19.198.95", "12.22.207.184", 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
    {"38.27.205.30", "209.142.163.6", 48228, 2217, 0x82989176, 0xafc7327f},
    {"153.39.163.191", "202.188.127.2", 44251, 1303, 0x5d1809c5, 0x10e828a2},
    {"3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x2cc18cd5, 0x40207d3d},
    {"3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0x0f0c461c, 0xdde51bbf},
    {"3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x4b61e985,
     0x02d1feef},
};

/* A frame of vector i with that transport, and `extra` bytes of extension headers; its length. */
static size_t build(uint8_t *p, size_t i, uint8_t protocol, const uint8_t *extra, size_t n)
{
    bool six = strchr(vectors[i].from, ':');
    size_t at = six ? 54 : 34;
    memset(p, 0, NET_HEAD_MAX);
    p[12] = six ? 0x86 : 0x08;
    p[13] = six ? 0xdd : 0x00;
    p[14] = six ? 0x60 : 0x45;
    p[six ? 20 : 23] = n ? extra[0] : protocol;
    cr_assert_eq(inet_pton(six ? AF_INET6 : AF_INET, vectors[i].from, p + (six ? 22 : 26)), 1);
    cr_assert_eq(inet_pton(six ? AF_INET6 : AF_INET, vectors[i].to, p + (six ? 38 : 30)), 1);
    if (n) {
        memcpy(p + at, extra + 1, n - 1);
        p[at] = protocol;
        at += n - 1;
    }
    p[at] = (uint8_t)(vectors[i].from_port >> 8);
    p[at + 1] = (uint8_t)vectors[i].from_port;
    p[at + 2] = (uint8_t)(vectors[i].to_port >> 8);
    p[at + 3] = (uint8_t)vectors[i].to_port;
    return at + 4;
}

static uint16_t hash_of(const uint8_t *p, size_t len, uint32_t types, uint32_t *hash)
{
    static struct net_toeplitz t;
    struct net_flow f;
    net_toeplitz_key(&t, key, sizeof(key));
    net_flow_of(p, len, &f);
    return net_flow_hash(&f, types, &t, hash);
}

Test(net_parts, verification_vectors)
{
    uint8_t p[NET_HEAD_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        bool six = strchr(vectors[i].from, ':');
        uint32_t hash = 0;
        size_t len = build(p, i, IPPROTO_TCP, NULL, 0);
        cr_expect_eq(hash_of(p, len, 0x1ff, &hash), six ? 5 : 2);
        cr_expect_eq(hash, vectors[i].tcp, "%s", vectors[i].from);
        cr_expect_eq(hash_of(p, len, 0x9, &hash), six ? 4 : 1);
        cr_expect_eq(hash, vectors[i].ip, "%s", vectors[i].from);
        cr_expect_eq(hash_of(p, len, six ? 0x7 : 0x1f8, &hash), 0, "the other family's types");
        len = build(p, i, IPPROTO_UDP, NULL, 0);
        cr_expect_eq(hash_of(p, len, 0x1ff, &hash), six ? 6 : 3);
        cr_expect_eq(hash, vectors[i].tcp, "the same fields");
        len = build(p, i, 50, NULL, 0);
        cr_expect_eq(hash_of(p, len, 0x1ff, &hash), six ? 4 : 1);
        cr_expect_eq(hash, vectors[i].ip);
    }
}

Test(net_parts, a_short_key)
{
    static struct net_toeplitz t;
    net_toeplitz_key(&t, key, 0);
    cr_expect_eq(net_toeplitz(&t, key, NET_HASH_INPUT_MAX), 0);
    net_toeplitz_key(&t, key, 4);
    cr_expect_eq(net_toeplitz(&t, (const uint8_t[]){0x80}, 1), 0x6d5a56da);
}

Test(net_parts, extension_headers)
{
    uint8_t p[NET_HEAD_MAX];
    uint32_t hash, plain, with;
    /* Destination options with a home address, 5.1.6.4.2.3: it takes the source's place. */
    uint8_t home[1 + 24] = {IPPROTO_DSTOPTS, 0, 2, 0, 0, 0, 0, 0xc9, 16};
    size_t len = build(p, 5, IPPROTO_TCP, home, sizeof(home));
    cr_expect_eq(hash_of(p, len, 0x1ff, &with), VIRTIO_NET_HASH_REPORT_TCPv6_EX);
    cr_expect_eq(hash_of(p, len, 0x3f, &plain), VIRTIO_NET_HASH_REPORT_TCPv6);
    cr_expect_eq(plain, vectors[5].tcp, "the header is skipped when no _EX is enabled");
    cr_expect_neq(with, plain);
    cr_expect_eq(hash_of(p, len, 0x78, &hash), VIRTIO_NET_HASH_REPORT_IPv6_EX, "before TCPv6");
    memcpy(home + 9, "\x3f\xfe\x25\x01\x02\x00\x1f\xff\0\0\0\0\0\0\0\7", 16);
    len = build(p, 5, IPPROTO_TCP, home, sizeof(home));
    cr_expect_eq(hash_of(p, len, 0x1ff, &hash), VIRTIO_NET_HASH_REPORT_TCPv6_EX);
    cr_expect_eq(hash, vectors[5].tcp, "a home address that is the source's own");
    uint8_t routing[1 + 24] = {IPPROTO_ROUTING, 0, 2, 2, 1};
    len = build(p, 5, IPPROTO_UDP, routing, sizeof(routing));
    cr_expect_eq(hash_of(p, len, 0x1ff, &hash), VIRTIO_NET_HASH_REPORT_UDPv6_EX);
    cr_expect_neq(hash, vectors[5].tcp);
}

/* A frame that ends anywhere, and lengths that lie: nothing is read past what is there. */
Test(net_parts, frames_cut_short)
{
    HOLDS_HERE("30e");
    uint8_t home[1 + 24] = {IPPROTO_DSTOPTS, 0, 2, 0, 0, 0, 0, 0xc9, 16};
    uint8_t whole[NET_HEAD_MAX];
    unsigned seed = 3;
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        bool six = strchr(vectors[i].from, ':');
        size_t len = build(whole, i, IPPROTO_TCP, home, six ? sizeof(home) : 0);
        for (size_t cut = 0; cut <= len; cut++) {
            uint8_t *p = malloc(cut + 1); /* for the sanitizer to see the end */
            uint32_t hash;
            memcpy(p, whole, cut);
            (void)hash_of(p, cut, 0x1ff, &hash);
            for (unsigned round = 0; round < 20 && cut > 14; round++) {
                p[14 + (unsigned)rand_r(&seed) % (cut - 14)] = (uint8_t)rand_r(&seed);
                (void)hash_of(p, cut, 0x1ff, &hash);
            }
            free(p);
        }
    }
    uint32_t hash;
    size_t len = build(whole, 0, IPPROTO_TCP, NULL, 0);
    whole[14] = 0x4f; /* a header longer than the frame */
    cr_expect_eq(hash_of(whole, len, 0x1ff, &hash), VIRTIO_NET_HASH_REPORT_IPv4);
    whole[14] = 0x41; /* and one shorter than any */
    cr_expect_eq(hash_of(whole, len, 0x1ff, &hash), VIRTIO_NET_HASH_REPORT_NONE);
    len = build(whole, 0, IPPROTO_TCP, NULL, 0);
    whole[21] = 9; /* a fragment has no ports */
    cr_expect_eq(hash_of(whole, len, 0x1ff, &hash), VIRTIO_NET_HASH_REPORT_IPv4);
}

Test(net_parts, both_directions_are_one_flow)
{
    uint8_t p[NET_HEAD_MAX], q[NET_HEAD_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
        struct net_flow there, back;
        size_t len = build(p, i, IPPROTO_TCP, NULL, 0);
        bool six = strchr(vectors[i].from, ':');
        size_t a = six ? 16 : 4, at = six ? 22 : 26;
        memcpy(q, p, sizeof(q));
        memcpy(q + at, p + at + a, a);
        memcpy(q + at + a, p + at, a);
        memcpy(q + at + 2 * a, p + at + 2 * a + 2, 2);
        memcpy(q + at + 2 * a + 2, p + at + 2 * a, 2);
        net_flow_of(p, len, &there);
        net_flow_of(q, len, &back);
        cr_expect_eq(net_flow_slot(&there), net_flow_slot(&back));
        cr_expect_lt(net_flow_slot(&there), NET_FLOWS);
    }
}

/* --- filters --- */

Test(net_parts, filters_that_are_not_on)
{
    const uint8_t mine[6] = {2, 0, 0, 0, 0, 1};
    uint8_t head[18] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 3, 0x81, 0, 0xff, 0xff};
    struct net_filter f = {0};
    cr_expect(net_filter_passes(&f, mine, head, 18));
    f.by_vlan = true;
    cr_expect_not(net_filter_passes(&f, mine, head, 18));
    net_filter_vlan(&f, 4095, true);
    cr_expect(net_filter_passes(&f, mine, head, 18));
    net_filter_vlan(&f, 4095, false);
    cr_expect_not(net_filter_passes(&f, mine, head, 18));
    cr_expect(net_filter_passes(&f, mine, head, 14), "no room for a tag");
    f.by_address = f.promisc = true;
    cr_expect(net_filter_passes(&f, mine, head, 18));
    f.promisc = false;
    f.by_vlan = false;
    cr_expect_not(net_filter_passes(&f, mine, head, 18));
    f.unicast.overflow = true;
    cr_expect(net_filter_passes(&f, mine, head, 18));
}

/* --- text --- */

Test(net_parts, mac)
{
    static const char *const bad[] = {"",
                                      "52:54:00:12:34",
                                      "52:54:00:12:34:56:78",
                                      "52:54:00:12:34:5",
                                      "52-54-00-12-34-56",
                                      "5g:54:00:12:34:56",
                                      "01:00:5e:00:00:01",
                                      "ff:ff:ff:ff:ff:ff",
                                      "00:00:00:00:00:00",
                                      "52:54:00:12:34:56 ",
                                      " 2:54:00:12:34:56"};
    uint8_t mac[6] = {9, 9, 9, 9, 9, 9};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        cr_expect_eq(net_parse_mac(bad[i], mac), -EINVAL, "%s", bad[i]);
    cr_expect_eq(mac[0], 9, "untouched on failure");
    cr_assert_eq(net_parse_mac("52:54:00:aB:Cd:eF", mac), 0);
    cr_expect_arr_eq(mac, "\x52\x54\x00\xab\xcd\xef", 6);
}

Test(net_parts, hostfwd)
{
    static const char *const bad[] = {"",
                                      "tcp",
                                      "tcp:",
                                      "tcp::",
                                      "tcp::80",
                                      "tcp::80-",
                                      "tcp::80-80",
                                      "tcp::80-:",
                                      "tcp::0-:80",
                                      "tcp::80-:0",
                                      "tcp::65536-:80",
                                      "tcp::80-:65536",
                                      "sctp::80-:80",
                                      "tcp:host:80-:80",
                                      "tcp::80-10.0.2.15",
                                      "tcp::80-x:80",
                                      "tcp::80-:80x",
                                      "tcp::80 -:80",
                                      "tcp:1.2.3:80-:80",
                                      "tcp::99999999999999999999-:80",
                                      "tcp:1.2.3.4.5.6.7.8.9.0.1.2:80-:80",
                                      "tcp80-:80"};
    struct net_hostfwd f;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        cr_expect_eq(net_parse_hostfwd(bad[i], &f), -EINVAL, "%s", bad[i]);
    cr_assert_eq(net_parse_hostfwd("tcp::8080-:80", &f), 0);
    cr_expect(!f.udp && f.host_port == 8080 && f.guest_port == 80 && f.guest.s_addr == 0);
    cr_expect_eq(f.host.s_addr, htonl(INADDR_LOOPBACK), "this host alone, unless it says so");
    cr_assert_eq(net_parse_hostfwd("udp:0.0.0.0:65535-10.0.2.99:1", &f), 0);
    cr_expect(f.udp && f.host.s_addr == 0 && f.host_port == 65535 && f.guest_port == 1);
    cr_expect_eq(f.guest.s_addr, inet_addr("10.0.2.99"));
}

Test(net_parts, subnet)
{
    static const char *const bad[] = {"",           "10.0.2.0",    "10.0.2.0/",
                                      "10.0.2.0/0", "10.0.2.0/29", "10.0.2.1/24",
                                      "10.0.2/24",  "10.0.2.0/24x"};
    uint32_t net, mask;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        cr_expect_eq(net_parse_subnet(bad[i], &net, &mask), -EINVAL, "%s", bad[i]);
    cr_assert_eq(net_parse_subnet("192.168.4.0/22", &net, &mask), 0);
    cr_expect_eq(net, 0xc0a80400);
    cr_expect_eq(mask, 0xfffffc00);
}
