/* tests/rig/net_fixture.h - a network device in the rig, and the far end of its cable: packet
 * sockets, one for each queue. */
#pragma once

#include <linux/virtio_config.h>
#include <stdio.h>
#include <sys/socket.h>

#include "devices/net/net.h"
#include "devices/net/spec.h"
#include "devices/virtio/vdev_ctl.h"
#include "tests/rig/rig.h"

enum { HDR = 12, NET_PEERS = 4 };

struct fx {
    struct rig *r;
    int peer[NET_PEERS];
    bool vnet;
    unsigned hdr;              /* bytes of the driver's header */
    gpa_t at[RIG_QUEUES][512]; /* of a buffer, by its head */
};

/* `queues` peers; `more` is ",key=value...". */
static inline struct fx *fx_up(unsigned queues, bool vnet, const char *more,
                               const struct rig_options *o)
{
    struct fx *f = calloc(1, sizeof(*f));
    char text[512], fds[64] = "";
    f->vnet = vnet;
    f->hdr = HDR;
    for (unsigned i = 0; i < queues; i++) {
        int pair[2];
        cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
        f->peer[i] = pair[0];
        snprintf(fds + strlen(fds), sizeof(fds) - strlen(fds), "%s%d", i ? ":" : "", pair[1]);
    }
    snprintf(text, sizeof(text), "net,backend=socket,fd=%s,queues=%u,mac=52:54:00:00:00:01%s%s",
             fds, queues, vnet ? ",vnet_hdr" : "", more ? more : "");
    f->r = rig_up(text, o);
    for (unsigned i = queues; i < NET_PEERS; i++)
        f->peer[i] = -1;
    return f;
}

static inline void fx_down(struct fx *f)
{
    rig_down(f->r);
    for (unsigned i = 0; i < NET_PEERS; i++)
        close(f->peer[i]);
    free(f);
}

/* An Ethernet frame whose payload counts up. */
static inline size_t fx_frame(uint8_t *p, const char *to, uint16_t type, size_t len)
{
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)i;
    memcpy(p, to, 6);
    memcpy(p + 6, "\x52\x54\0\0\0\x99", 6);
    p[12] = (uint8_t)(type >> 8);
    p[13] = (uint8_t)type;
    return len;
}
#define TO_GUEST "\x52\x54\0\0\0\x01"
#define TO_OTHER "\x52\x54\0\0\0\x02"
#define TO_GROUP "\x33\x33\0\0\0\x05"
#define TO_ALL   "\xff\xff\xff\xff\xff\xff"

/* From the far end; with `vnet`, behind `h` or an empty header. */
static inline void fx_send(struct fx *f, unsigned peer, const net_hdr_t *h, const void *p,
                           size_t len)
{
    static const net_hdr_t none;
    struct iovec v[2] = {{.iov_base = (void *)(h ? h : &none), .iov_len = HDR},
                         {.iov_base = (void *)p, .iov_len = len}};
    ssize_t r = f->vnet ? writev(f->peer[peer], v, 2) : writev(f->peer[peer], v + 1, 1);
    cr_assert(r > 0, "%s", strerror(errno));
}

/* What came out at the far end; 0: nothing. */
static inline size_t fx_recv(struct fx *f, unsigned peer, net_hdr_t *h, void *p, size_t size)
{
    net_hdr_t dummy;
    struct iovec v[2] = {{.iov_base = h ? h : &dummy, .iov_len = HDR},
                         {.iov_base = p, .iov_len = size}};
    ssize_t r = f->vnet ? readv(f->peer[peer], v, 2) : readv(f->peer[peer], v + 1, 1);
    return r <= 0 ? 0 : (size_t)r - (f->vnet ? HDR : 0);
}

/* Offers n receive buffers of `size` bytes, without a notification. */
static inline void fx_post(struct fx *f, unsigned q, unsigned n, uint32_t size)
{
    for (unsigned i = 0; i < n; i++) {
        struct rig_seg in = {.at = rig_alloc(f->r, size), .len = size};
        uint16_t head = rig_add(f->r, q, NULL, 0, &in, 1);
        f->at[q][head] = in.at;
    }
}

/* The next used receive buffer, or NULL. */
static inline uint8_t *fx_used(struct fx *f, unsigned q, uint32_t *len)
{
    uint32_t id;
    if (!rig_used(f->r, q, &id, len))
        return NULL;
    return rig_at(f->r, f->at[q][id], *len ? *len : 1);
}

/* A frame arrives, if it does, in one buffer of queue 2 * pair. */
static inline bool fx_arrives(struct fx *f, unsigned pair, const uint8_t *p, size_t len)
{
    uint32_t n;
    rig_settle(f->r);
    const uint8_t *b = fx_used(f, 2 * pair, &n);
    if (!b)
        return false;
    cr_assert_eq(n, len + f->hdr);
    cr_assert_arr_eq(b + f->hdr, p, len);
    return true;
}

/* Sends header and frame on a transmit queue, as two descriptors. */
static inline void fx_tx(struct fx *f, unsigned q, const void *h, const void *p, size_t len)
{
    struct rig_seg out[2] = {{.at = rig_alloc(f->r, f->hdr), .len = f->hdr},
                             {.at = rig_alloc(f->r, len), .len = (uint32_t)len}};
    if (h)
        memcpy(rig_at(f->r, out[0].at, f->hdr), h, f->hdr);
    memcpy(rig_at(f->r, out[1].at, len), p, len);
    rig_add(f->r, q, out, len ? 2 : 1, NULL, 0);
    rig_kick(f->r, q);
    rig_settle(f->r);
}

static inline unsigned fx_ctrl_queue(struct fx *f)
{
    bool several = rig_has(f->r, VIRTIO_NET_F_MQ) || rig_has(f->r, VIRTIO_NET_F_RSS);
    return several ? vdev_queue_count(f->r->dev) - 1 : 2;
}

/* A command; `reply` gets all that the device wrote, the ack included. -1: nothing was used. */
static inline int fx_ctrl_reply(struct fx *f, uint8_t class, uint8_t cmd, const void *data,
                                size_t len, void *reply, uint32_t size, uint32_t *written)
{
    unsigned q = fx_ctrl_queue(f);
    struct rig_seg out = {.at = rig_alloc(f->r, 2 + len), .len = (uint32_t)(2 + len)};
    struct rig_seg in = {.at = rig_alloc(f->r, size), .len = size};
    uint8_t *p = rig_at(f->r, out.at, out.len);
    p[0] = class;
    p[1] = cmd;
    if (len)
        memcpy(p + 2, data, len);
    memset(rig_at(f->r, in.at, size), 0xee, size);
    rig_add(f->r, q, &out, 1, &in, 1);
    rig_kick(f->r, q);
    rig_settle(f->r);
    uint32_t id, n;
    if (!rig_used(f->r, q, &id, &n))
        return -1;
    memcpy(reply, rig_at(f->r, in.at, size), size);
    if (written)
        *written = n;
    return *(uint8_t *)reply;
}

static inline int fx_ctrl(struct fx *f, uint8_t class, uint8_t cmd, const void *data, size_t len)
{
    uint8_t ack;
    return fx_ctrl_reply(f, class, cmd, data, len, &ack, 1, NULL);
}

static inline struct virtio_net_config fx_config(struct fx *f)
{
    struct virtio_net_config c;
    vdev_config_get(f->r->dev, 0, &c, sizeof(c));
    return c;
}

static inline uint64_t fx_offered(struct fx *f)
{
    return vdev_features(f->r->dev, 0) | (uint64_t)vdev_features(f->r->dev, 1) << 32;
}
