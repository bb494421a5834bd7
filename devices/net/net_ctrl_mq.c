/* devices/net/net_ctrl_mq.c - commands about several queues: how many, by which hash, reported or
 * not (5.1.6.5.5, 5.1.6.5.6). The last command says how frames are steered. */
#include "devices/net/net_priv.h"

static int set_pairs(struct net *n, struct net_cmd *c)
{
    uint16_t pairs;
    if (!vdev_has(n->dev, VIRTIO_NET_F_MQ) || c->len != sizeof(pairs) ||
        net_cmd_data(c, 0, &pairs, sizeof(pairs)) < 0)
        return -EINVAL;
    pairs = le16toh(pairs);
    if (pairs < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || pairs > n->pairs_max)
        return -EINVAL;
    net_steer(n, pairs, false);
    return 0;
}

/* The key's length and the key, at `off`; they end the command. */
static int read_key(const struct net_cmd *c, size_t off, struct net_rss *r)
{
    uint8_t len, key[NET_RSS_KEY_MAX];
    if (net_cmd_data(c, off, &len, 1) < 0 || len > sizeof(key) || c->len != off + 1 + len ||
        net_cmd_data(c, off + 1, key, len) < 0)
        return -EINVAL;
    net_toeplitz_key(&r->key, key, len);
    return 0;
}

int net_rss_check(const struct net *n, const struct net_rss *r)
{
    if (r->types & ~(uint32_t)NET_HASH_TYPES || r->mask >= NET_RSS_TABLE_MAX ||
        r->mask & (r->mask + 1) || r->unclassified >= n->pairs_max)
        return -EINVAL;
    for (unsigned i = 0; i <= r->mask; i++) {
        if (r->table[i] >= n->pairs_max) /* or the reserved bit is set */
            return -EINVAL;
    }
    return 0;
}

static unsigned queues_of(const struct net_rss *r)
{
    unsigned most = r->unclassified;
    for (unsigned i = 0; i <= r->mask; i++)
        most = MAX(most, (unsigned)r->table[i]);
    return most + 1;
}

/* struct virtio_net_rss_config, whose table is as long as the mask says. */
static int rss_config(struct net *n, struct net_cmd *c)
{
    struct {
        uint32_t types;
        uint16_t mask, unclassified;
    } head;
    struct net_rss r = {0};
    uint16_t max_tx;
    if (!vdev_has(n->dev, VIRTIO_NET_F_RSS) || net_cmd_data(c, 0, &head, sizeof(head)) < 0)
        return -EINVAL;
    r.types = le32toh(head.types);
    r.mask = le16toh(head.mask);
    r.unclassified = le16toh(head.unclassified);
    if (r.mask >= NET_RSS_TABLE_MAX)
        return -EINVAL;
    size_t table = sizeof(head), tx = table + (r.mask + 1u) * sizeof(r.table[0]);
    if (net_cmd_data(c, table, r.table, tx - table) < 0 ||
        net_cmd_data(c, tx, &max_tx, sizeof(max_tx)) < 0)
        return -EINVAL;
    for (unsigned i = 0; i <= r.mask; i++)
        r.table[i] = le16toh(r.table[i]);
    if (net_rss_check(n, &r) < 0 || read_key(c, tx + sizeof(max_tx), &r) < 0 ||
        le16toh(max_tx) == 0 || le16toh(max_tx) > n->pairs_max)
        return -EINVAL;
    n->set.rss = r;
    net_steer(n, queues_of(&r), true);
    return 0;
}

/* The same structure with an empty table: how to calculate what is reported. */
static int hash_config(struct net *n, struct net_cmd *c)
{
    enum { KEY = 12 };
    struct net_rss r = n->set.rss;
    uint32_t types;
    if (!vdev_has(n->dev, VIRTIO_NET_F_HASH_REPORT) || net_cmd_data(c, 0, &types, 4) < 0 ||
        le32toh(types) & ~(uint32_t)NET_HASH_TYPES || read_key(c, KEY, &r) < 0)
        return -EINVAL;
    n->set.rss.types = le32toh(types);
    n->set.rss.key = r.key;
    return 0;
}

int net_cmd_mq(struct net *n, struct net_cmd *c)
{
    switch (c->command) {
    case VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET:
        return set_pairs(n, c);
    case VIRTIO_NET_CTRL_MQ_RSS_CONFIG:
        return rss_config(n, c);
    case VIRTIO_NET_CTRL_MQ_HASH_CONFIG:
        return hash_config(n, c);
    default:
        return -EOPNOTSUPP;
    }
}
