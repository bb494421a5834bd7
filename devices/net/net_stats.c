/* devices/net/net_stats.c - what a driver may ask about its queues (5.1.6.5.8): the kinds whose
 * every counter we know. */
#include "devices/net/net_priv.h"

enum { REPLY_HEADER = 8, VALUES_MAX = 6 };

/* What one kind tells of a queue. */
struct kind {
    uint8_t type;      /* bit in the bitmap, and number in the reply */
    int role;          /* 0 receive, 1 transmit, 2 control */
    uint64_t features; /* one of them must have been negotiated; 0: none */
    unsigned n;
    void (*values)(struct net *n, unsigned queue, uint64_t v[VALUES_MAX]);
};

static uint64_t counted(struct net *n, unsigned queue, enum net_count what)
{
    return counter_get(&net_counters(n, queue)->n[what]);
}

static void cvq(struct net *n, unsigned queue, uint64_t v[VALUES_MAX])
{
    v[0] = counted(n, queue, NET_COMMANDS);
    v[1] = counted(n, queue, NET_OK);
}

static void basic(struct net *n, unsigned queue, uint64_t v[VALUES_MAX])
{
    vdev_queue_counts(n->dev, queue, &v[0], &v[3]);
    v[1] = counted(n, queue, NET_PACKETS);
    v[2] = counted(n, queue, NET_BYTES);
    v[4] = counted(n, queue, NET_DROPS);
    v[5] = counted(n, queue, queue % 2 ? NET_MALFORMED : NET_OVERRUNS);
}

/* No checksum is verified here, so none is found to be wrong: v[3] stays 0. */
static void rx_csum(struct net *n, unsigned queue, uint64_t v[VALUES_MAX])
{
    v[0] = counted(n, queue, NET_CSUM_VALID);
    v[1] = counted(n, queue, NET_NEEDS_CSUM);
    v[2] = counted(n, queue, NET_CSUM_NONE);
}

static void tx_csum(struct net *n, unsigned queue, uint64_t v[VALUES_MAX])
{
    v[0] = counted(n, queue, NET_CSUM_NONE);
    v[1] = counted(n, queue, NET_NEEDS_CSUM);
}

/* Nothing is coalesced here: v[2] and v[3] stay 0. */
static void rx_gso(struct net *n, unsigned queue, uint64_t v[VALUES_MAX])
{
    v[0] = counted(n, queue, NET_GSO_PACKETS);
    v[1] = counted(n, queue, NET_GSO_BYTES);
}

/* And nothing is segmented: all pass as they are. */
static void tx_gso(struct net *n, unsigned queue, uint64_t v[VALUES_MAX])
{
    v[0] = v[4] = counted(n, queue, NET_GSO_PACKETS);
    v[1] = v[5] = counted(n, queue, NET_GSO_BYTES);
}

static const struct kind kinds[] = {
    {0, 0, 0, 6, basic},
    {1, 0, NET_F(VIRTIO_NET_F_GUEST_CSUM), 4, rx_csum},
    {2, 0, NET_F(VIRTIO_NET_F_GUEST_TSO4) | NET_F(VIRTIO_NET_F_GUEST_TSO6), 4, rx_gso},
    {16, 1, 0, 6, basic},
    {17, 1, NET_F(VIRTIO_NET_F_CSUM), 2, tx_csum},
    {18, 1,
     NET_F(VIRTIO_NET_F_HOST_TSO4) | NET_F(VIRTIO_NET_F_HOST_TSO6) | NET_F(VIRTIO_NET_F_HOST_USO),
     6, tx_gso},
    {32, 2, 0, 2, cvq},
};

static int role_of(const struct net *n, unsigned queue)
{
    if ((int)queue == net_ctrl_index(n))
        return 2;
    return queue < 2 * net_usable_pairs(n) ? (int)(queue % 2) : -1;
}

/* The kinds of one request, or -EINVAL when one of them is not to be had of this queue. */
static int check(const struct net *n, unsigned queue, uint64_t types)
{
    int role = role_of(n, queue);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const struct kind *k = &kinds[i];
        uint64_t have = n->set.tx_offloads | n->set.rx_negotiated;
        if (k->role == role && (!k->features || k->features & have))
            types &= ~(1ull << k->type);
    }
    return role < 0 || types ? -EINVAL : 0;
}

/* Appends to the reply as much as there is room for. */
static void put(struct net_cmd *c, const void *p, size_t len)
{
    size_t room = c->req->in_len - c->written;
    if (vq_req_write(c->req, c->written, p, MIN(len, room)) == 0)
        c->written += MIN(len, room);
}

static void reply(struct net *n, struct net_cmd *c, unsigned queue, uint64_t types)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        const struct kind *k = &kinds[i];
        uint64_t v[VALUES_MAX] = {0};
        struct {
            uint8_t type, reserved;
            uint16_t queue, reserved1, size;
        } h = {.type = k->type,
               .queue = htole16((uint16_t)queue),
               .size = htole16((uint16_t)(REPLY_HEADER + k->n * sizeof(v[0])))};
        if (!(types >> k->type & 1))
            continue;
        k->values(n, queue, v);
        put(c, &h, sizeof(h));
        put(c, v, k->n * sizeof(v[0]));
    }
}

static int query(struct net *n, struct net_cmd *c)
{
    uint64_t types = 0;
    (void)n;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        types |= 1ull << kinds[i].type;
    types = htole64(types);
    put(c, &types, sizeof(types));
    return 0;
}

struct wanted { /* of struct virtio_net_ctrl_queue_stats */
    uint16_t queue, reserved[3];
    uint64_t types;
};

/* All are checked before the first is answered: one mistake fails the command. */
static int get(struct net *n, struct net_cmd *c)
{
    size_t count = c->len / sizeof(struct wanted);
    struct wanted w[NET_VQS_MAX]; /* each queue once is as much as makes sense */
    if (c->len % sizeof(w[0]) || count > ARRAY_SIZE(w) || net_cmd_data(c, 0, w, c->len) < 0)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (check(n, le16toh(w[i].queue), le64toh(w[i].types)) < 0)
            return -EINVAL;
    }
    for (size_t i = 0; i < count; i++)
        reply(n, c, le16toh(w[i].queue), le64toh(w[i].types));
    return 0;
}

int net_cmd_stats(struct net *n, struct net_cmd *c)
{
    switch (c->command) {
    case VIRTIO_NET_CTRL_STATS_QUERY:
        return query(n, c);
    case VIRTIO_NET_CTRL_STATS_GET:
        return get(n, c);
    default:
        return -EOPNOTSUPP;
    }
}

void net_report(const struct vdev *d, struct report *r)
{
    static const struct {
        const char *name;
        unsigned way;
        enum net_count what;
    } rows[] = {
        {"rx_packets", 0, NET_PACKETS}, {"rx_bytes", 0, NET_BYTES}, {"rx_drops", 0, NET_DROPS},
        {"tx_packets", 1, NET_PACKETS}, {"tx_bytes", 1, NET_BYTES}, {"tx_drops", 1, NET_DROPS},
    };
    struct net *n = vdev_priv(d);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t sum = 0;
        for (unsigned pair = 0; pair < n->pairs_max; pair++)
            sum += counted(n, 2 * pair + rows[i].way, rows[i].what);
        report_number(r, rows[i].name, sum);
    }
    limiter_report(&n->limiter, r);
}
