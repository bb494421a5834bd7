/* devices/net/net_lane.c - which pairs live on which loop, and how what the driver commands comes
 * to them: each lane reads from a copy of the settings that its own loop has made, so no frame
 * meets a lock. No loop waits for another one: it is told, and answers. */
#include <linux/virtio_config.h>

#include "devices/net/net_priv.h"

/* --- settings --- */

void net_steer(struct net *n, unsigned pairs, bool rss)
{
    n->set.pairs = pairs;
    n->set.rss.steers = rss;
    n->set.steered++;
}

static uint64_t negotiated(struct vdev *d, uint64_t among)
{
    uint64_t have = 0;
    for (unsigned f = 0; f < 64; f++) {
        if (among >> f & 1 && vdev_has(d, f))
            have |= NET_F(f);
    }
    return have;
}

void net_settings_begin(struct net *n)
{
    struct vdev *d = n->dev;
    struct net_settings *s = &n->set;
    *s = (struct net_settings){.mrg = vdev_has(d, VIRTIO_NET_F_MRG_RXBUF),
                               .hash_report = vdev_has(d, VIRTIO_NET_F_HASH_REPORT),
                               .hdr_len = sizeof(net_hdr_t),
                               .tx_offloads = negotiated(d, NET_TX_OFFLOADS),
                               .rx_negotiated = negotiated(d, NET_RX_OFFLOADS),
                               .filter = {.by_address = vdev_has(d, VIRTIO_NET_F_CTRL_RX),
                                          .by_vlan = vdev_has(d, VIRTIO_NET_F_CTRL_VLAN)}};
    if (s->hash_report)
        s->hdr_len = sizeof(struct virtio_net_hdr_v1_hash);
    else if (!vdev_has(d, VIRTIO_F_VERSION_1) && !s->mrg)
        s->hdr_len = sizeof(struct virtio_net_hdr); /* 5.1.6.1: without num_buffers */
    /* Without MQ it is a queue that may be on another loop than the device is. */
    n->ctrl_loop = vdev_queue_loop(d, 2 * net_usable_pairs(n));
    atomic_store(&n->announces, vdev_has(d, VIRTIO_NET_F_GUEST_ANNOUNCE));
    s->rx_offloads = s->rx_negotiated;
    net_steer(n, 1, false);
}

/* --- handing them over --- */

static bool was_last(struct net *n)
{
    return atomic_fetch_sub(&n->behind, 1) == 1;
}

static void all_follow(void *ctx)
{
    net_ctrl_done(ctx);
}

static void follows(void *ctx)
{
    const struct net_lane *l = ctx;
    if (was_last(l->net))
        loop_post(l->net->ctrl_loop, &l->net->all_follow);
}

/* What is asked of the whole back end the first lane asks, so a vCPU never does. */
static void tell_host(const struct net_lane *l)
{
    if (l->first == 0)
        l->net->host->ops->set_offloads(l->net->host, l->set.rx_offloads);
}

static void take(struct net_lane *l)
{
    bool offloads = l->set.rx_offloads != l->next.rx_offloads;
    bool steered = l->set.steered != l->next.steered;
    for (unsigned i = 2 * l->first; i < 2 * l->last; i++) {
        struct vq *q = vdev_queue(l->net->dev, i);
        if (q && memcmp(&l->set.coal[i], &l->next.coal[i], sizeof(l->set.coal[i])) != 0)
            net_coal_flush(l, q); /* due or not: more often than asked for is allowed */
    }
    l->set = l->next;
    if (offloads)
        tell_host(l);
    if (steered)
        net_rx_steered(l);
}

static void take_and_tell(void *ctx)
{
    struct net_lane *l = ctx;
    take(l);
    loop_defer(l->loop, &l->follows); /* what it has ended is published first (5.1.6.5.5.2) */
}

void net_hand_over(struct net *n)
{
    atomic_store(&n->behind, 1); /* this one */
    for (unsigned i = 0; i < n->n_lanes; i++) {
        struct net_lane *l = &n->lanes[i];
        l->next = n->set;
        if (loop_runs(l->loop)) {
            (void)atomic_fetch_add(&n->behind, 1);
            loop_post(l->loop, &l->take);
        } else {
            take(l);
        }
    }
    if (was_last(n))
        net_ctrl_done(n);
}

static void begin_lane(void *lane)
{
    struct net_lane *l = lane;
    l->set = l->net->set;
    tell_host(l);
    net_rx_steered(l);
}

void net_begin_with(struct net *n)
{
    for (unsigned i = 0; i < n->n_lanes; i++)
        loop_call(n->lanes[i].loop, begin_lane, &n->lanes[i]);
}

/* --- from creation to the end --- */

static int lane_init(struct net *n, unsigned i, struct loop *loop)
{
    struct net_lane *l = &n->lanes[i];
    unsigned each = n->pairs_max / n->n_lanes; /* one, or all */
    l->net = n;
    l->loop = loop;
    l->first = i * each;
    l->last = l->first + each;
    l->set.pairs = 1;
    l->take = (struct loop_task){.fn = take_and_tell, .ctx = l};
    l->follows = (struct loop_task){.fn = follows, .ctx = l};
    for (unsigned p = l->first; p < l->last; p++) {
        struct net_source *s = &n->pairs[p].source;
        s->lane = l;
        s->index = p;
        s->blocked = true;
        s->expected = NET_FRAME_MAX;
        s->resume = (struct loop_task){.fn = net_rx_resume, .ctx = s};
        n->host->sink.loop[p] = loop;
    }
    int rc = loop_timer_open(loop, &l->stall, net_rx_stalled, l);
    return rc < 0 ? rc : loop_timer_open(loop, &l->coal_timer, net_coal_timer, l);
}

int net_lanes_new(struct net *n, const struct build_env *env)
{
    n->ctrl_loop = env->loop;
    n->set.pairs = 1;
    n->all_follow = (struct loop_task){.fn = all_follow, .ctx = n};
    n->n_lanes = n->host->apart && !n->rss_offered ? n->pairs_max : 1;
    n->pairs = calloc(n->pairs_max, sizeof(n->pairs[0]));
    n->lanes = calloc(n->n_lanes, sizeof(n->lanes[0]));
    int rc = n->pairs && n->lanes ? 0 : -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < n->n_lanes; i++)
        rc = lane_init(n, i, vdev_env_loop(env, i));
    return rc;
}

void net_lanes_free(struct net *n)
{
    for (unsigned i = 0; n->lanes && i < n->n_lanes && n->lanes[i].loop; i++) {
        struct net_lane *l = &n->lanes[i];
        loop_task_cancel(l->loop, &l->take);
        loop_defer_cancel(l->loop, &l->follows);
        loop_timer_close(&l->stall);
        loop_timer_close(&l->coal_timer);
        for (unsigned p = l->first; p < l->last; p++)
            loop_task_cancel(l->loop, &n->pairs[p].source.resume);
    }
    if (n->ctrl_loop)
        loop_task_cancel(n->ctrl_loop, &n->all_follow);
    free(n->lanes);
    free(n->pairs);
}
