/* devices/net/rss.c - see rss.h. Every length and offset in a frame is its sender's claim: all that
 * is read lies inside what was copied of it. */
#include "devices/net/rss.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

/* --- the Toeplitz hash --- */

/* 32 bits of the key, from bit `at` on. */
static uint32_t window(const uint8_t *key, unsigned at)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 5; i++)
        v = v << 8 | (at / 8 + i < NET_RSS_KEY_MAX ? key[at / 8 + i] : 0);
    return (uint32_t)(v >> (8 - at % 8));
}

void net_toeplitz_key(struct net_toeplitz *t, const uint8_t *key, size_t len)
{
    *t = (struct net_toeplitz){.key_len = (uint8_t)len};
    memcpy(t->key, key, len);
    for (unsigned i = 0; i < 2 * NET_HASH_INPUT_MAX; i++) {
        for (unsigned v = 0; v < 16; v++) {
            for (unsigned bit = 0; bit < 4; bit++) {
                if (v & 8 >> bit)
                    t->add[i][v] ^= window(t->key, i * 4 + bit);
            }
        }
    }
}

uint32_t net_toeplitz(const struct net_toeplitz *t, const uint8_t *in, size_t len)
{
    uint32_t hash = 0;
    for (size_t i = 0; i < len; i++)
        hash ^= t->add[2 * i][in[i] >> 4] ^ t->add[2 * i + 1][in[i] & 15];
    return hash;
}

/* --- frames --- */

static void read_ports(struct net_flow *f, unsigned protocol, const uint8_t *p, size_t left)
{
    if (left < sizeof(f->ports) || (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP))
        return;
    f->transport = protocol == IPPROTO_TCP ? NET_FLOW_TCP : NET_FLOW_UDP;
    memcpy(f->ports, p, sizeof(f->ports));
}

static void read_ip4(struct net_flow *f, const uint8_t *p, size_t left)
{
    if (left < 20 || p[0] >> 4 != 4 || (p[0] & 15) < 5)
        return;
    size_t header = (p[0] & 15) * 4u;
    f->ip = NET_FLOW_IP4;
    memcpy(f->addrs, p + 12, 8);
    bool fragment = (p[6] << 8 | p[7]) & 0x3fff; /* only the first has ports: none counts */
    if (!fragment && header <= left)
        read_ports(f, p[9], p + header, left - header);
}

/* RFC 6275, 6.3: the home address in the destination options. */
static void read_home_address(struct net_flow *f, const uint8_t *p, size_t len)
{
    enum { PAD1 = 0, HOME_ADDRESS = 0xc9 };
    for (size_t i = 2; i + 2 <= len;) {
        if (p[i] == PAD1) {
            i++;
            continue;
        }
        if (p[i] == HOME_ADDRESS && p[i + 1] == 16 && i + 18 <= len)
            memcpy(f->ex_addrs, p + i + 2, 16);
        i += 2u + p[i + 1];
    }
}

static void read_ip6(struct net_flow *f, const uint8_t *p, size_t left)
{
    if (left < 40 || p[0] >> 4 != 6)
        return;
    unsigned next = p[6];
    f->ip = NET_FLOW_IP6;
    memcpy(f->addrs, p + 8, 32);
    memcpy(f->ex_addrs, f->addrs, 32);
    p += 40;
    left -= 40;
    while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
           next == IPPROTO_FRAGMENT) {
        f->extended = true;
        if (left < 8)
            return;
        size_t len = next == IPPROTO_FRAGMENT ? 8 : (p[1] + 1u) * 8;
        if (next == IPPROTO_FRAGMENT && (p[2] << 8 | p[3]) & 0xfff9)
            return;
        if (len > left)
            return;
        if (next == IPPROTO_DSTOPTS)
            read_home_address(f, p, len);
        else if (next == IPPROTO_ROUTING && p[2] == 2 && p[3] == 1 && len == 24)
            memcpy(f->ex_addrs + 16, p + 8, 16);
        next = p[0];
        p += len;
        left -= len;
    }
    read_ports(f, next, p, left);
}

void net_flow_of(const uint8_t *head, size_t len, struct net_flow *out)
{
    *out = (struct net_flow){0};
    if (len < NET_ETH_LEN)
        return;
    size_t at = 12;
    for (unsigned tags = 0; tags < 2 && at + 2 <= len; tags++) {
        unsigned type = head[at] << 8 | head[at + 1];
        if (type != ETH_P_8021Q && type != ETH_P_8021AD)
            break;
        at += NET_VLAN_LEN;
    }
    if (at + 2 > len)
        return;
    unsigned type = head[at] << 8 | head[at + 1];
    if (type == ETH_P_IP)
        read_ip4(out, head + at + 2, len - at - 2);
    else if (type == ETH_P_IPV6)
        read_ip6(out, head + at + 2, len - at - 2);
}

/* --- the flow's hash --- */

/* In the order of 5.1.6.4.2: the most telling type that is enabled. */
static uint16_t choose(const struct net_flow *f, uint32_t types)
{
    static const uint16_t ip4[] = {[NET_FLOW_TCP] = VIRTIO_NET_HASH_REPORT_TCPv4,
                                   [NET_FLOW_UDP] = VIRTIO_NET_HASH_REPORT_UDPv4};
    static const uint16_t ip6[] = {[NET_FLOW_TCP] = VIRTIO_NET_HASH_REPORT_TCPv6,
                                   [NET_FLOW_UDP] = VIRTIO_NET_HASH_REPORT_UDPv6};
    static const uint16_t ex[] = {[NET_FLOW_TCP] = VIRTIO_NET_HASH_REPORT_TCPv6_EX,
                                  [NET_FLOW_UDP] = VIRTIO_NET_HASH_REPORT_UDPv6_EX};
    const struct {
        bool fits;
        uint16_t report;
    } order[] = {
        {f->ip == NET_FLOW_IP4, ip4[f->transport]},
        {f->ip == NET_FLOW_IP4, VIRTIO_NET_HASH_REPORT_IPv4},
        {f->ip == NET_FLOW_IP6 && f->extended, ex[f->transport]},
        {f->ip == NET_FLOW_IP6 && f->extended, VIRTIO_NET_HASH_REPORT_IPv6_EX},
        {f->ip == NET_FLOW_IP6, ip6[f->transport]},
        {f->ip == NET_FLOW_IP6, VIRTIO_NET_HASH_REPORT_IPv6},
    };
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        /* 5.1.6.4.3: VIRTIO_NET_HASH_TYPE_x = 1 << (VIRTIO_NET_HASH_REPORT_x - 1) */
        if (order[i].fits && order[i].report && types >> (order[i].report - 1) & 1)
            return order[i].report;
    }
    return VIRTIO_NET_HASH_REPORT_NONE;
}

uint16_t net_flow_hash(const struct net_flow *f, uint32_t types, const struct net_toeplitz *t,
                       uint32_t *hash)
{
    uint8_t in[NET_HASH_INPUT_MAX];
    uint16_t report = choose(f, types);
    size_t len = f->ip == NET_FLOW_IP4 ? 8 : 32;
    if (report == VIRTIO_NET_HASH_REPORT_NONE)
        return report;
    memcpy(in, report >= VIRTIO_NET_HASH_REPORT_IPv6_EX ? f->ex_addrs : f->addrs, len);
    if (report != VIRTIO_NET_HASH_REPORT_IPv4 && report != VIRTIO_NET_HASH_REPORT_IPv6 &&
        report != VIRTIO_NET_HASH_REPORT_IPv6_EX) {
        memcpy(in + len, f->ports, sizeof(f->ports));
        len += sizeof(f->ports);
    }
    *hash = net_toeplitz(t, in, len);
    return report;
}

uint32_t net_flow_slot(const struct net_flow *f)
{
    uint32_t sum = f->ip * 3u + f->transport;
    for (size_t i = 0; i < 16; i += 4) {
        /* Source plus destination: which is which does not matter. */
        size_t to = f->ip == NET_FLOW_IP4 ? i + 4 : i + 16;
        if (f->ip == NET_FLOW_IP4 && i > 0)
            break;
        sum =
            sum * 0x01000193 + (uint32_t)(get_bytes(f->addrs + i, 4) + get_bytes(f->addrs + to, 4));
    }
    sum = sum * 0x01000193 + (uint32_t)(get_bytes(f->ports, 2) + get_bytes(f->ports + 2, 2));
    return sum * 0x9e3779b1 >> 22; /* its best bits are the highest */
}
