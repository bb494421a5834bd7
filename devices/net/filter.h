/* devices/net/filter.h - which frames a driver wants (5.1.6.5.1 to 5.1.6.5.3). */
#pragma once

#include "devices/net/spec.h"

enum { NET_MACS_MAX = 64, NET_VLANS = 4096 };

/* Too many addresses for a table make it `overflow`: then all of that kind are let through. */
struct net_mac_table {
    uint8_t mac[NET_MACS_MAX][NET_MAC_LEN];
    unsigned n;
    bool overflow;
};
struct net_filter {
    bool by_address, by_vlan; /* negotiated; else all pass */
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    struct net_mac_table unicast, multicast;
    uint8_t vlans[NET_VLANS / 8];
};

/* `head` is the frame's beginning, at least NET_ETH_LEN bytes. */
bool net_filter_passes(const struct net_filter *f, const uint8_t mac[NET_MAC_LEN],
                       const uint8_t *head, size_t len);
static inline void net_filter_vlan(struct net_filter *f, unsigned id, bool on)
{
    uint8_t bit = (uint8_t)(1 << id % 8);
    f->vlans[id / 8] = (uint8_t)(on ? f->vlans[id / 8] | bit : f->vlans[id / 8] & ~bit);
}
static inline uint16_t net_ethertype(const uint8_t *head)
{
    return (uint16_t)(head[12] << 8 | head[13]);
}
