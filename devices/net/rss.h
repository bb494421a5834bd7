/* devices/net/rss.h - which flow a frame belongs to: the Toeplitz hash of virtio 1.4, 5.1.6.4.2,
 * and the queue that receives it (5.1.6.5.5, 5.1.6.5.6). */
#pragma once

#include "devices/net/spec.h"

enum {
    NET_RSS_KEY_MAX = 40,
    NET_RSS_TABLE_MAX = 128,
    NET_HASH_INPUT_MAX = 36, /* two IPv6 addresses, two ports */
    NET_HEAD_MAX = 192,      /* of a frame's beginning: as much as is looked at */
    NET_FLOWS = 1024,        /* net_flow_slot() gives ten bits */
};

#define NET_HASH_TYPES                                                                             \
    (VIRTIO_NET_RSS_HASH_TYPE_IPv4 | VIRTIO_NET_RSS_HASH_TYPE_TCPv4 |                              \
     VIRTIO_NET_RSS_HASH_TYPE_UDPv4 | VIRTIO_NET_RSS_HASH_TYPE_IPv6 |                              \
     VIRTIO_NET_RSS_HASH_TYPE_TCPv6 | VIRTIO_NET_RSS_HASH_TYPE_UDPv6 |                             \
     VIRTIO_NET_RSS_HASH_TYPE_IP_EX | VIRTIO_NET_RSS_HASH_TYPE_TCP_EX |                            \
     VIRTIO_NET_RSS_HASH_TYPE_UDP_EX)

/* A key, ready for use: what each four bits of input at each place add. */
struct net_toeplitz {
    uint8_t key[NET_RSS_KEY_MAX];
    uint8_t key_len;
    uint32_t add[2 * NET_HASH_INPUT_MAX][16];
};
void net_toeplitz_key(struct net_toeplitz *t, const uint8_t *key, size_t len);
uint32_t net_toeplitz(const struct net_toeplitz *t, const uint8_t *in, size_t len);

/* What a frame's beginning tells. */
struct net_flow {
    enum { NET_FLOW_NONE, NET_FLOW_IP4, NET_FLOW_IP6 } ip;
    enum { NET_FLOW_OTHER, NET_FLOW_TCP, NET_FLOW_UDP } transport;
    bool extended;        /* IPv6 with extension headers */
    uint8_t addrs[32];    /* source, destination; IPv4: the first eight bytes */
    uint8_t ex_addrs[32]; /* IPv6: home address and routing header 2 in their place */
    uint8_t ports[4];
};
void net_flow_of(const uint8_t *head, size_t len, struct net_flow *out);
/* The hash by the enabled types, and the VIRTIO_NET_HASH_REPORT_ it is; NONE: not calculated. */
uint16_t net_flow_hash(const struct net_flow *f, uint32_t types, const struct net_toeplitz *t,
                       uint32_t *hash);
/* The same in both directions, for the memory of flows. */
uint32_t net_flow_slot(const struct net_flow *f);
