/* devices/net/net_state.c - what a driver has told a network device, saved and loaded. Counters and
 * frames on their way are not part of it. */
#include "devices/net/net_priv.h"

enum { VERSION = 2 };

/* --- saving --- */

static uint8_t mode_bits(const struct net_filter *f)
{
    return (uint8_t)(f->promisc | f->allmulti << 1 | f->alluni << 2 | f->nomulti << 3 |
                     f->nouni << 4 | f->nobcast << 5 | f->unicast.overflow << 6 |
                     f->multicast.overflow << 7);
}

static void save_table(struct state_out *s, const struct net_mac_table *t)
{
    state_u32(s, t->n);
    state_bytes(s, t->mac, (size_t)t->n * NET_MAC_LEN);
}

static void save_rss(struct state_out *s, const struct net_rss *r)
{
    state_u8(s, r->steers);
    state_u32(s, r->types);
    state_u16(s, r->mask);
    state_u16(s, r->unclassified);
    for (unsigned i = 0; i < NET_RSS_TABLE_MAX; i++)
        state_u16(s, r->table[i]);
    state_bytes(s, r->key.key, r->key.key_len);
}

static void save_coal(struct state_out *s, const struct net *n)
{
    for (unsigned i = 0; i < ARRAY_SIZE(n->set.coal_default); i++) {
        state_u32(s, n->set.coal_default[i].max_packets);
        state_u32(s, n->set.coal_default[i].max_usecs);
    }
    for (unsigned i = 0; i < 2 * n->pairs_max; i++) {
        state_u32(s, n->set.coal[i].max_packets);
        state_u32(s, n->set.coal[i].max_usecs);
    }
}

void net_save(const struct vdev *d, struct state_out *s)
{
    const struct net *n = vdev_priv(d);
    state_begin(s, "NET ", VERSION);
    state_u32(s, n->pairs_max);
    state_u64(s, atomic_load(&n->mac));
    state_u8(s, (uint8_t)atomic_load(&n->status));
    state_u64(s, n->set.rx_offloads);
    state_u32(s, n->set.pairs);
    state_u8(s, mode_bits(&n->set.filter));
    save_table(s, &n->set.filter.unicast);
    save_table(s, &n->set.filter.multicast);
    state_bytes(s, n->set.filter.vlans, sizeof(n->set.filter.vlans));
    save_rss(s, &n->set.rss);
    save_coal(s, n);
    for (unsigned i = 0; i < n->pairs_max; i++)
        state_u8(s, atomic_load(&n->pairs[i].rxq.enabled));
    state_end(s);
}

/* --- loading --- */

static void load_modes(struct net_filter *f, uint8_t bits)
{
    f->promisc = bits & 1;
    f->allmulti = bits >> 1 & 1;
    f->alluni = bits >> 2 & 1;
    f->nomulti = bits >> 3 & 1;
    f->nouni = bits >> 4 & 1;
    f->nobcast = bits >> 5 & 1;
    f->unicast.overflow = bits >> 6 & 1;
    f->multicast.overflow = bits >> 7 & 1;
}

static int load_table(struct state_in *s, struct net_mac_table *t)
{
    uint32_t count = state_get_u32(s);
    if (count > NET_MACS_MAX)
        return -EBADMSG;
    t->n = count;
    state_get_bytes(s, t->mac, (size_t)count * NET_MAC_LEN);
    return 0;
}

static void load_rss(struct state_in *s, struct net_rss *r)
{
    uint8_t key[NET_RSS_KEY_MAX];
    r->steers = state_get_u8(s) & 1;
    r->types = state_get_u32(s);
    r->mask = state_get_u16(s);
    r->unclassified = state_get_u16(s);
    for (unsigned i = 0; i < NET_RSS_TABLE_MAX; i++)
        r->table[i] = state_get_u16(s);
    size_t len = state_get_blob(s, key, sizeof(key));
    net_toeplitz_key(&r->key, key, len);
}

static void load_coal(struct state_in *s, struct net *n)
{
    for (unsigned i = 0; i < ARRAY_SIZE(n->set.coal_default); i++) {
        n->set.coal_default[i].max_packets = state_get_u32(s);
        n->set.coal_default[i].max_usecs = state_get_u32(s);
    }
    for (unsigned i = 0; i < 2 * n->pairs_max; i++) {
        n->set.coal[i].max_packets = state_get_u32(s);
        n->set.coal[i].max_usecs = state_get_u32(s);
    }
}

/* A refused state ends in a reset, so what is half loaded is forgotten. */
static int load(struct net *n, struct state_in *s)
{
    if (state_get_u32(s) != n->pairs_max)
        return -EBADMSG;
    uint64_t mac = state_get_u64(s);
    uint8_t status = state_get_u8(s);
    uint64_t offloads = state_get_u64(s);
    uint32_t pairs = state_get_u32(s);
    struct net_rss rss = {0};
    load_modes(&n->set.filter, state_get_u8(s));
    if (load_table(s, &n->set.filter.unicast) < 0 || load_table(s, &n->set.filter.multicast) < 0)
        return -EBADMSG;
    state_get_bytes(s, n->set.filter.vlans, sizeof(n->set.filter.vlans));
    load_rss(s, &rss);
    load_coal(s, n);
    for (unsigned i = 0; i < n->pairs_max; i++)
        atomic_store(&n->pairs[i].rxq.enabled, state_get_u8(s) & 1);
    if (s->error || mac >> 48 || mac & 1 || pairs < 1 || pairs > net_usable_pairs(n) ||
        offloads & ~n->set.rx_negotiated || net_rss_check(n, &rss) < 0 ||
        status & ~(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE))
        return -EBADMSG;
    for (unsigned i = 0; rss.steers && i <= rss.mask; i++) {
        if (rss.table[i] >= pairs)
            return -EBADMSG;
    }
    if (rss.steers && rss.unclassified >= pairs)
        return -EBADMSG;
    atomic_store(&n->mac, mac);
    atomic_store(&n->status, status);
    n->set.rss = rss;
    n->set.rx_offloads = offloads;
    net_steer(n, pairs, rss.steers);
    return 0;
}

int net_load(struct vdev *d, struct state_in *s)
{
    struct net *n = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "NET ", VERSION, &version);
    if (rc < 0 || version != VERSION)
        return -EBADMSG;
    net_settings_begin(n);
    rc = load(n, s);
    return rc < 0 ? rc : state_close(s);
}
