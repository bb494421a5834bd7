/* tests/rig/held.c - see held.h. */
#include "tests/rig/held.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>

enum { CONFIG_LEN = 8, CONFIG_FIRST = 0x10 };

struct held held;

void held_kick(struct vdev *d, struct vq *q)
{
    (void)d;
    held.vq = q;
    held.kicks++;
    unsigned taken = 0;
    while (!held.take_at_most || taken < held.take_at_most) {
        struct vq_req *req = vq_next(q);
        if (!req)
            break;
        taken++;
        memset(vq_req_state(q, req), (int)(uintptr_t)req >> 4, HELD_STATE);
        if (held.on_take)
            held.on_take();
        if (held.unpop_once) {
            held.unpop_once = false;
            vq_unpop(q, req);
            break;
        }
        if (held.hold) {
            held.req[held.n++] = req;
        } else {
            req->written = (uint32_t)req->in_len;
            vq_complete(q, req);
        }
    }
}

void held_complete(unsigned i, uint32_t written)
{
    struct vq_req *req = held.req[i];
    uint8_t mine[HELD_STATE];
    memset(mine, (int)(uintptr_t)req >> 4, HELD_STATE);
    cr_assert_eq(memcmp(vq_req_state(held.vq, req), mine, HELD_STATE), 0, "another's state");
    memmove(&held.req[i], &held.req[i + 1], (--held.n - i) * sizeof(held.req[0]));
    req->written = written;
    vq_complete(held.vq, req);
}

static void drain(struct vdev *d, struct vq *q)
{
    (void)d;
    held.drains++;
    held.aborting = vq_aborting(q);
    while (held.n > 0) /* the newest first: no order is too odd */
        vq_complete(q, held.req[--held.n]);
}

static void reset(struct vdev *d)
{
    (void)d;
    held.resets++;
}

void held_config_read(struct vdev *d, void *cfg)
{
    (void)d;
    for (unsigned i = 0; i < CONFIG_LEN; i++)
        ((uint8_t *)cfg)[i] = (uint8_t)(held.config + i);
}

static void config_write(struct vdev *d, const void *cfg, size_t off, size_t len)
{
    (void)d, (void)len;
    held.config_writes++;
    memcpy(held.config_written, cfg, sizeof(held.config_written));
    if (off == 0)
        held.config = *(const uint8_t *)cfg;
}

void held_free(struct vdev *d)
{
    (void)d;
    held.frees++;
}

static const struct vdev_ops ops = {.config_len = CONFIG_LEN,
                                    .req_size = HELD_STATE,
                                    .config_read = held_config_read,
                                    .config_write = config_write,
                                    .reset = reset,
                                    .kick = held_kick,
                                    .drain = drain,
                                    .free = held_free};

static int create(const void *opts, const struct build_env *env, struct vdev **out, struct err *e)
{
    (void)e;
    uint16_t size = *(const uint16_t *)opts;
    held = (struct held){.config = CONFIG_FIRST};
    return vdev_new(&held_class, env, NULL, &size, 1, out);
}

/* An ID that has a legacy interface, of a device that we do not have. */
const struct vdev_class held_class = {
    .name = "held", .virtio_id = VIRTIO_ID_9P, .ops = &ops, .create = create};

struct rig *held_up(const struct rig_options *o, uint16_t size)
{
    return rig_up_class(&held_class, &size, o);
}

struct rig *held_up_packed(struct rig_options o, uint16_t size)
{
    uint16_t most = 1;
    while (most < size)
        most *= 2;
    o.packed = true;
    o.queue_size = size;
    struct rig *r = held_up(&o, most);
    cr_assert(rig_has(r, VIRTIO_F_RING_PACKED));
    return r;
}

uint16_t held_add(struct rig *r, uint32_t len)
{
    struct rig_seg in = {rig_alloc(r, len), len};
    return rig_add(r, 0, NULL, 0, &in, 1);
}

void held_run(struct rig *r)
{
    rig_kick(r, 0);
    rig_settle(r);
}

void held_expect(struct rig *r, uint16_t id, uint32_t len)
{
    uint32_t got_id, got_len;
    cr_assert(rig_used(r, 0, &got_id, &got_len), "buffer %u is not used", id);
    cr_assert_eq(got_id, id, "%u, not %u", got_id, id);
    cr_assert_eq(got_len, len, "buffer %u: %u bytes, not %u", id, got_len, len);
}

void held_expect_none(struct rig *r)
{
    uint32_t id, len;
    cr_assert_not(rig_used(r, 0, &id, &len));
}
