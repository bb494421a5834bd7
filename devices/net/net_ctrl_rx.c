/* devices/net/net_ctrl_rx.c - commands about what a driver wants to receive: modes, addresses,
 * VLANs (5.1.6.5.1 to 5.1.6.5.3). */
#include "devices/net/net_priv.h"

int net_cmd_rx_mode(struct net *n, struct net_cmd *c)
{
    struct net_filter *f = &n->set.filter;
    bool *const modes[] = {
        [VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc, [VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
        [VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,   [VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
        [VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,     [VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
    };
    uint8_t on;
    if (c->command >= ARRAY_SIZE(modes) || c->len != 1 || net_cmd_data(c, 0, &on, 1) < 0)
        return -EINVAL;
    unsigned feature = c->command <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX
                                                                 : VIRTIO_NET_F_CTRL_RX_EXTRA;
    if (on > 1 || !vdev_has(n->dev, feature))
        return -EINVAL;
    *modes[c->command] = on;
    return 0;
}

/* One table of the command, at *off. The count is a claim: whoever reads on at the new *off, or
 * compares it with the command's length, finds out. */
static int read_table(const struct net_cmd *c, size_t *off, struct net_mac_table *t)
{
    uint32_t count;
    if (net_cmd_data(c, *off, &count, sizeof(count)) < 0)
        return -EINVAL;
    *off += sizeof(count);
    count = le32toh(count);
    t->overflow = count > NET_MACS_MAX;
    t->n = t->overflow ? 0 : count;
    int rc = net_cmd_data(c, *off, t->mac, (size_t)t->n * NET_MAC_LEN);
    *off += (size_t)count * NET_MAC_LEN;
    return rc;
}

static int set_table(struct net *n, struct net_cmd *c)
{
    struct net_mac_table unicast = {0}, multicast = {0};
    size_t off = 0;
    if (read_table(c, &off, &unicast) < 0 || read_table(c, &off, &multicast) < 0 || off != c->len)
        return -EINVAL;
    n->set.filter.unicast = unicast;
    n->set.filter.multicast = multicast;
    return 0;
}

int net_cmd_mac(struct net *n, struct net_cmd *c)
{
    uint8_t mac[NET_MAC_LEN];
    switch (c->command) {
    case VIRTIO_NET_CTRL_MAC_TABLE_SET:
        return vdev_has(n->dev, VIRTIO_NET_F_CTRL_RX) ? set_table(n, c) : -EOPNOTSUPP;
    case VIRTIO_NET_CTRL_MAC_ADDR_SET:
        if (!vdev_has(n->dev, VIRTIO_NET_F_CTRL_MAC_ADDR) || c->len != sizeof(mac) ||
            net_cmd_data(c, 0, mac, sizeof(mac)) < 0 || mac[0] & 1)
            return -EINVAL;
        net_mac_set(n, mac);
        return 0;
    default:
        return -EOPNOTSUPP;
    }
}

int net_cmd_vlan(struct net *n, struct net_cmd *c)
{
    uint16_t id;
    if (c->command > VIRTIO_NET_CTRL_VLAN_DEL || c->len != sizeof(id) ||
        net_cmd_data(c, 0, &id, sizeof(id)) < 0 || le16toh(id) >= NET_VLANS)
        return -EINVAL;
    net_filter_vlan(&n->set.filter, le16toh(id), c->command == VIRTIO_NET_CTRL_VLAN_ADD);
    return 0;
}
