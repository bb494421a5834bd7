/* tests/rig/core_fixture.h - a device of two queues that has nothing but the core's own behaviour:
 * what the core asks of it, it answers as a test says. One at a time in a process. */
#pragma once

#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "tests/rig/held.h"

struct core_opts {
    uint16_t size;
    bool no_drain, picky;
    bool offers_all; /* features, whatever they mean */
    int start_rc;
    unsigned shm;
};
static struct core_opts core;
static unsigned core_starts, core_power_ons, core_queue_resets[3];

static inline bool core_features_ok(struct vdev *d)
{
    return !core.picky || vdev_has(d, VIRTIO_RING_F_EVENT_IDX);
}

static inline int core_start(struct vdev *d)
{
    (void)d;
    core_starts++;
    return core.start_rc;
}

static inline void core_power_on(struct vdev *d)
{
    (void)d;
    core_power_ons++;
}

static inline void core_queue_reset(struct vdev *d, unsigned queue)
{
    (void)d;
    core_queue_resets[queue]++;
}

static const struct vdev_ops core_ops = {.config_len =
                                             16, /* of which config_read() says the first half */
                                         .req_size = HELD_STATE,
                                         .config_read = held_config_read,
                                         .features_ok = core_features_ok,
                                         .start = core_start,
                                         .power_on = core_power_on,
                                         .queue_reset = core_queue_reset,
                                         .kick = held_kick,
                                         .free = held_free};
static inline int core_create(const void *opts, const struct build_env *env, struct vdev **out,
                              struct err *e);
static const struct vdev_class core_class = {
    .name = "core", .virtio_id = VIRTIO_ID_9P, .ops = &core_ops, .create = core_create};

static inline int core_create(const void *opts, const struct build_env *env, struct vdev **out,
                              struct err *e)
{
    (void)e;
    core = *(const struct core_opts *)opts;
    core_starts = core_power_ons = 0;
    memset(core_queue_resets, 0, sizeof(core_queue_resets));
    memset(&held, 0, sizeof(held));
    held.config = 0x10;
    const uint16_t sizes[] = {core.size, core.size};
    int rc = vdev_new(&core_class, env, NULL, sizes, 2, out);
    for (unsigned i = 0; rc == 0 && core.offers_all && i < 32 * VDEV_FEATURE_WORDS; i++)
        vdev_offer(*out, i);
    for (unsigned i = 0; rc == 0 && i < core.shm; i++)
        cr_assert_eq(vdev_add_shm(*out, (uint8_t)(7 + i), (void *)MIB(8), MIB(i + 1)),
                     i < 2 ? 0 : -ENOSPC);
    return rc;
}

static inline struct rig *core_up(struct core_opts o, const struct rig_options *ro)
{
    o.size = 8;
    return rig_up_class(&core_class, &o, ro);
}

static inline bool served(struct rig *r, unsigned q)
{
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    rig_add(r, q, NULL, 0, &in, 1);
    rig_kick(r, q);
    rig_settle(r);
    return rig_used(r, q, &id, &len);
}
