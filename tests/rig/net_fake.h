/* tests/rig/net_fake.h - a back end of a network device that is the test's own. The linker puts it
 * in the place of those that there are (--wrap=net_backend_open). */
#pragma once

#include "devices/net/backend.h"
#include "tests/rig/net_fixture.h"

enum { QUEUES = 2 };

static struct fake {
    struct net_backend b;
    bool listens[QUEUES], full[QUEUES], attached[QUEUES];
    unsigned waiting[QUEUES], sent[QUEUES]; /* frames */
    uint64_t offloads;
    net_hdr_t hdr; /* of the frames that wait */
    size_t len;
} fake;

static uint8_t frame[NET_FRAME_MAX + 1];

static ssize_t fake_recv(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    size_t done = 0;
    (void)b;
    if (fake.waiting[queue] == 0)
        return -EAGAIN;
    fake.waiting[queue]--;
    memcpy(iov[0].iov_base, &fake.hdr, iov[0].iov_len);
    for (unsigned i = 1; i < n && done < fake.len; i++) {
        size_t part = MIN(iov[i].iov_len, fake.len - done);
        memcpy(iov[i].iov_base, frame + done, part);
        done += part;
    }
    cr_assert_eq(done, fake.len);
    return (ssize_t)done;
}

static int fake_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    (void)b, (void)iov, (void)n;
    if (fake.full[queue])
        return -EAGAIN;
    fake.sent[queue]++;
    return 0;
}

static void fake_listen(struct net_backend *b, unsigned queue, bool on)
{
    (void)b;
    fake.listens[queue] = on;
}

static void fake_set_offloads(struct net_backend *b, uint64_t features)
{
    (void)b;
    fake.offloads = features;
}

static void fake_quiet(struct net_backend *b, unsigned queue)
{
    fake_listen(b, queue, false);
}

static void fake_attach(struct net_backend *b, unsigned queue, bool on)
{
    (void)b;
    fake.attached[queue] = on;
}

static void fake_free(struct net_backend *b)
{
    (void)b;
}

static const struct net_backend_ops fake_ops = {.recv = fake_recv,
                                                .send = fake_send,
                                                .listen = fake_listen,
                                                .set_offloads = fake_set_offloads,
                                                .quiet = fake_quiet,
                                                .attach = fake_attach,
                                                .free = fake_free};

int __wrap_net_backend_open(const struct net_backend_spec *s, struct loop *l,
                            struct net_backend **out, struct err *e);
int __wrap_net_backend_open(const struct net_backend_spec *s, struct loop *l,
                            struct net_backend **out, struct err *e)
{
    (void)l, (void)e;
    fake.b.ops = &fake_ops;
    fake.b.queues = s->queues;
    *out = &fake.b;
    return 0;
}

/* A frame has come; it is heard as long as somebody listens. */
static inline void arrive(struct rig *r, unsigned queue)
{
    fake.waiting[queue]++;
    while (fake.waiting[queue] && fake.listens[queue])
        fake.b.sink.readable(fake.b.sink.ctx, queue);
    rig_settle(r);
}

static inline void post(struct rig *r, unsigned q, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct rig_seg in = {.at = rig_alloc(r, 2000), .len = 2000};
        rig_add(r, q, NULL, 0, &in, 1);
    }
    rig_kick(r, q);
    rig_settle(r);
}

static inline void transmit(struct rig *r, unsigned q)
{
    struct rig_seg out = {.at = rig_alloc(r, HDR + 100), .len = HDR + 100};
    rig_add(r, q, &out, 1, NULL, 0);
    rig_kick(r, q);
    rig_settle(r);
}

static inline bool used(struct rig *r, unsigned q)
{
    uint32_t id, len;
    return rig_used(r, q, &id, &len);
}
