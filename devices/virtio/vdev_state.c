/* devices/virtio/vdev_state.c - pause, save and load of a device (virtio 1.4 knows none of it):
 * what the driver programmed and how far the rings are. What is loaded is hostile input. */
#include <linux/virtio_config.h>

#include "devices/virtio/vdev_priv.h"

enum { STATE_VERSION = 2 };
enum { WAS_LEGACY = 1, WAS_RUNNING = 2, CONFIG_PENDING = 4 };

void vdev_pause(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    queues_stop(d, 0, d->n_all, false);
    d->paused = true;
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_resume(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    bool was = d->paused;
    d->paused = false;
    if (was && vdev_started(d))
        queues_start(d);
    (void)pthread_mutex_unlock(&d->control);
}

/* What a device keeps is its loop's. */
struct state_call {
    struct vdev *dev;
    const struct vdev *saved;
    struct state_out *out;
    struct state_in *in;
    int rc;
};

static void save_on_loop(void *ctx)
{
    const struct state_call *c = ctx;
    c->saved->ops->save(c->saved, c->out);
}

static void load_on_loop(void *ctx)
{
    struct state_call *c = ctx;
    c->rc = c->dev->ops->load(c->dev, c->in);
}

void vdev_save(const struct vdev *d, struct state_out *s)
{
    state_begin(s, "VDEV", STATE_VERSION);
    state_u16(s, d->class->virtio_id);
    state_u8(s, vdev_status(d));
    state_u32(s, vdev_generation(d));
    state_u8(s, (atomic_load(&d->legacy) ? WAS_LEGACY : 0) |
                    (atomic_load(&d->running) ? WAS_RUNNING : 0) |
                    (atomic_load(&d->config_pending) ? CONFIG_PENDING : 0));
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        state_u32(s, vdev_features_driver(d, i));
    if (vdev_suspended(d))
        state_bytes(s, d->frozen, sizeof(d->frozen));
    state_u32(s, d->n_all);
    for (unsigned i = 0; i < d->n_all; i++) {
        struct vq_config c = d->queues[i].cfg;
        if (d->queues[i].vq)
            vq_save(d->queues[i].vq, &c);
        state_u64(s, c.desc.v);
        state_u64(s, c.driver.v);
        state_u64(s, c.device.v);
        state_u16(s, c.size);
        state_u16(s, c.next_avail);
        state_u16(s, c.next_used);
        state_u8(s, c.enabled);
    }
    if (d->n_all > d->n)
        admin_save(&d->admin, s);
    state_end(s);
    struct state_call c = {.saved = d, .out = s};
    if (d->ops->save)
        loop_call(d->env.loop, save_on_loop, &c);
}

static int load_queue(struct queue *q, bool may_be_enabled, struct state_in *s)
{
    struct vq_config c = {.max_size = q->cfg.max_size};
    c.desc = GPA(state_get_u64(s));
    c.driver = GPA(state_get_u64(s));
    c.device = GPA(state_get_u64(s));
    c.size = state_get_u16(s);
    c.next_avail = state_get_u16(s);
    c.next_used = state_get_u16(s);
    bool enabled = state_get_u8(s) & 1;
    if (s->error)
        return s->error;
    if (enabled && !may_be_enabled)
        return -EBADMSG;
    q->cfg = c;
    return enabled ? queue_open(q) : 0;
}

/* What the status writes could have led to by one of the driver's interfaces, and features that
 * could have been accepted. */
static bool loadable(struct vdev *d, uint8_t status, uint8_t flags)
{
    enum {
        BEGIN = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
        FOK = VIRTIO_CONFIG_S_FEATURES_OK,
        DOK = VIRTIO_CONFIG_S_DRIVER_OK,
        ENDS = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED,
    };
    bool legacy = flags & WAS_LEGACY, running = flags & WAS_RUNNING;
    uint8_t s = status & (uint8_t)~ENDS;
    if (flags & ~(WAS_LEGACY | WAS_RUNNING | CONFIG_PENDING))
        return false;
    if (legacy ? !d->port->legacy : s & FOK && !d->port->modern)
        return false;
    if (legacy)
        return !(s & ~(BEGIN | DOK)) && (running || !(s & DOK) || status & ENDS) &&
               !(vdev_features_driver(d, 0) & ~vdev_legacy_features(d)) &&
               !(vdev_features_driver(d, 1) | vdev_features_driver(d, 2) |
                 vdev_features_driver(d, 3));
    if (running != !!(s & DOK) && !(status & VIRTIO_CONFIG_S_NEEDS_RESET))
        return false;
    if (s & FOK)
        return (s == (BEGIN | FOK) || s == (BEGIN | FOK | DOK) ||
                (s == (BEGIN | FOK | VDEV_S_SUSPEND) && vdev_has(d, VDEV_F_SUSPEND))) &&
               vdev_features_acceptable(d);
    return !(s & ~BEGIN) && !running;
}

static int load(struct vdev *d, struct state_in *s, uint8_t *status, uint8_t *flags)
{
    if (state_get_u16(s) != d->class->virtio_id)
        return -EBADMSG;
    *status = state_get_u8(s);
    atomic_store(&d->generation, state_get_u32(s));
    atomic_store(&d->config_news, true); /* what the driver saw last was not saved */
    *flags = state_get_u8(s);
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        atomic_store(&d->driver[i], state_get_u32(s));
    if (*status & VDEV_S_SUSPEND)
        state_get_bytes(s, d->frozen, sizeof(d->frozen));
    if (state_get_u32(s) != d->n_all || !loadable(d, *status, *flags))
        return -EBADMSG;
    bool negotiated = *status & VIRTIO_CONFIG_S_FEATURES_OK || *flags & WAS_LEGACY;
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < d->n_all; i++)
        rc = load_queue(&d->queues[i], negotiated && vdev_queue_exists(d, i), s);
    if (rc == 0 && d->n_all > d->n)
        rc = admin_load(&d->admin, s);
    if (rc == 0)
        rc = state_close(s);
    if (rc < 0 || !d->ops->load)
        return rc;
    struct state_call c = {.dev = d, .in = s};
    loop_call(d->env.loop, load_on_loop, &c);
    if (c.rc == 0 && d->ops->loaded)
        d->ops->loaded(d);
    return c.rc;
}

int vdev_load(struct vdev *d, struct state_in *s)
{
    uint32_t version;
    uint8_t status, flags;
    int rc = state_open(s, "VDEV", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&d->control);
    bool was = d->paused;
    d->paused = true;
    rc = version == STATE_VERSION ? load(d, s, &status, &flags) : -EBADMSG;
    if (rc == 0) {
        atomic_store(&d->legacy, flags & WAS_LEGACY);
        atomic_store(&d->running, flags & WAS_RUNNING);
        atomic_store(&d->config_pending, flags & CONFIG_PENDING);
        atomic_store(&d->status, status);
    } else {
        vdev_reset_locked(d);
        d->paused = was;
    }
    (void)pthread_mutex_unlock(&d->control);
    return rc < 0 ? -EBADMSG : 0;
}
