/* devices/net/filter.c - see filter.h. */
#include "devices/net/filter.h"

#include <linux/if_ether.h>

static bool table_has(const struct net_mac_table *t, const uint8_t *mac)
{
    if (t->overflow)
        return true;
    for (unsigned i = 0; i < t->n; i++) {
        if (!memcmp(t->mac[i], mac, NET_MAC_LEN))
            return true;
    }
    return false;
}

static bool address_passes(const struct net_filter *f, const uint8_t *mine, const uint8_t *to)
{
    static const uint8_t broadcast[NET_MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    if (!memcmp(to, broadcast, NET_MAC_LEN))
        return !f->nobcast;
    if (to[0] & 1)
        return !f->nomulti && (f->allmulti || table_has(&f->multicast, to));
    return !f->nouni && (f->alluni || !memcmp(to, mine, NET_MAC_LEN) || table_has(&f->unicast, to));
}

static bool vlan_passes(const struct net_filter *f, const uint8_t *head, size_t len)
{
    if (net_ethertype(head) != ETH_P_8021Q || len < NET_ETH_LEN + NET_VLAN_LEN)
        return true;
    unsigned id = (head[14] << 8 | head[15]) % NET_VLANS;
    return f->vlans[id / 8] >> id % 8 & 1;
}

bool net_filter_passes(const struct net_filter *f, const uint8_t mac[NET_MAC_LEN],
                       const uint8_t *head, size_t len)
{
    if (f->by_address && f->promisc) /* 5.1.6.5.1.1: whatever else is set */
        return true;
    return (!f->by_address || address_passes(f, mac, head)) &&
           (!f->by_vlan || vlan_passes(f, head, len));
}
