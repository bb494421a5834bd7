/* devices/virtio/vdev.c - one virtio device: features, status, configuration space, shared memory
 * (virtio 1.4, 2.1 to 2.5, 2.10, 3). */
#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "devices/virtio/vdev_priv.h"

enum { LEGACY_ANY_LAYOUT = 1 << VIRTIO_F_ANY_LAYOUT };

const struct vdev_options vdev_options_default = {
    .indirect = true, .event_idx = true, .ring_reset = true, .suspend = true};

#define SWITCH(name, text)                                                                         \
    {                                                                                              \
        .key = #name, .type = OPT_FLAG, .offset = offsetof(struct vdev_options, name),             \
        .help = (text)                                                                             \
    }
const struct opt_desc vdev_option_keys[] = {
    SWITCH(packed, "offer packed rings"),
    SWITCH(indirect, "offer indirect descriptors [on]"),
    SWITCH(event_idx, "offer notification suppression by index [on]"),
    SWITCH(in_order, "offer to use buffers in the order in which they came"),
    SWITCH(notification_data, "offer notifications that say how far the driver is"),
    SWITCH(notif_config_data, "offer a value of the device's in notifications (PCI)"),
    SWITCH(ring_reset, "offer the reset of a single queue [on]"),
    SWITCH(order_platform, "offer barriers as for a device outside of the CPU"),
    SWITCH(suspend, "offer to be suspended by the driver [on]"),
    SWITCH(admin_vq, "offer an administration virtqueue (PCI)"),
    {.key = "queue_size",
     .type = OPT_U32,
     .offset = offsetof(struct vdev_options, queue_size),
     .metavar = "N",
     .help = "entries of each queue at most: a power of two up to 32768; 0: as the device likes",
     .max = VQ_SIZE_MAX},
    {.type = OPT_END},
};

static void offer_core(struct vdev *d, const struct vdev_options *o)
{
    const struct {
        bool on;
        unsigned feature;
    } core[] = {
        {true, VIRTIO_F_VERSION_1},
        {o->indirect, VIRTIO_RING_F_INDIRECT_DESC},
        {o->event_idx, VIRTIO_RING_F_EVENT_IDX},
        {o->packed, VIRTIO_F_RING_PACKED},
        {o->in_order, VIRTIO_F_IN_ORDER},
        {o->order_platform, VIRTIO_F_ORDER_PLATFORM},
        {o->notification_data, VDEV_F_NOTIFICATION_DATA},
        {o->notif_config_data, VDEV_F_NOTIF_CONFIG_DATA},
        {o->ring_reset, VIRTIO_F_RING_RESET},
        {o->suspend, VDEV_F_SUSPEND},
        {o->admin_vq, VDEV_F_ADMIN_VQ},
    };
    for (size_t i = 0; i < ARRAY_SIZE(core); i++) {
        if (core[i].on)
            vdev_offer(d, core[i].feature);
    }
}

static int new_queue(struct vdev *d, unsigned i, uint32_t size)
{
    struct queue *q = &d->queues[i];
    q->dev = d;
    q->loop = d->env.loop;
    q->cfg.max_size = q->cfg.size = (uint16_t)size;
    q->kick_fd = eventfd(0, EFD_CLOEXEC);
    return q->kick_fd < 0 ? -errno : 0;
}

int vdev_new(const struct vdev_class *c, const struct build_env *env, void *priv,
             const uint16_t *sizes, unsigned n, struct vdev **out)
{
    enum { ADMIN_SIZE = 64 };
    const struct vdev_options *o = env->options ? env->options : &vdev_options_default;
    unsigned all = n + o->admin_vq;
    struct vdev *d = calloc(1, sizeof(*d) + all * sizeof(d->queues[0]));
    if (!d)
        return -ENOMEM;
    assert(c->ops->config_len <= VDEV_CONFIG_MAX);
    d->class = c;
    d->env = *env;
    d->all_fd = -1;
    d->n = n;
    d->n_all = all;
    (void)pthread_mutex_init(&d->control, NULL);
    (void)pthread_mutex_init(&d->idle_lock, NULL);
    (void)pthread_cond_init(&d->idle, NULL);
    for (unsigned i = 0; i < all; i++)
        d->queues[i].kick_fd = -1;
    admin_reset(&d->admin);
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < all; i++)
        rc = new_queue(d, i, i == n ? ADMIN_SIZE : o->queue_size ? o->queue_size : sizes[i]);
    if (rc < 0) {
        vdev_free(d); /* which has no ops yet, so that priv is still the caller's */
        return rc;
    }
    offer_core(d, o);
    d->ops = c->ops;
    d->priv = priv;
    *out = d;
    return 0;
}

void vdev_free(struct vdev *d)
{
    if (!d)
        return;
    vdev_reset(d);
    if (d->ops)
        d->ops->free(d);
    if (d->all_fd >= 0)
        loop_call(d->env.loop, unwatch_all, d);
    for (unsigned i = 0; i < d->n_all; i++)
        fd_cleanup_(&d->queues[i].kick_fd);
    fd_cleanup_(&d->all_fd);
    (void)pthread_mutex_destroy(&d->control);
    (void)pthread_mutex_destroy(&d->idle_lock);
    (void)pthread_cond_destroy(&d->idle);
    free(d);
}

struct loop *vdev_env_loop(const struct build_env *env, unsigned k)
{
    return env->n_loops ? env->loops[k % env->n_loops] : env->loop;
}

void vdev_queue_on(struct vdev *d, unsigned i, struct loop *l)
{
    d->queues[i].loop = l;
}

struct loop *vdev_queue_loop(const struct vdev *d, unsigned i)
{
    return d->queues[i].loop;
}

static bool offers(const struct vdev *d, unsigned feature)
{
    return d->offered[feature / 32] >> (feature % 32) & 1;
}

void vdev_attach(struct vdev *d, struct vdev_port *p, const uint32_t mask[VDEV_FEATURE_WORDS])
{
    d->port = p;
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        d->offered[i] &= mask[i];
}

uint32_t vdev_pci_class(const struct vdev *d)
{
    return d->class->pci_class;
}

const char *vdev_name(const struct vdev *d)
{
    return d->class->name;
}

uint16_t vdev_id(const struct vdev *d)
{
    return d->class->virtio_id;
}

unsigned vdev_queue_count(const struct vdev *d)
{
    return d->n;
}

bool vdev_has_admin_queue(const struct vdev *d)
{
    return offers(d, VDEV_F_ADMIN_VQ);
}

size_t vdev_config_len(const struct vdev *d)
{
    return d->ops->config_len;
}

void *vdev_priv(const struct vdev *d)
{
    return d->priv;
}

/* --- features (2.2) --- */

void vdev_offer(struct vdev *d, unsigned feature)
{
    d->offered[feature / 32] |= 1u << (feature % 32);
}

bool vdev_has(const struct vdev *d, unsigned feature)
{
    return atomic_load(&d->driver[feature / 32]) >> (feature % 32) & 1;
}

uint32_t vdev_features(const struct vdev *d, unsigned word)
{
    return word < VDEV_FEATURE_WORDS ? d->offered[word] : 0;
}

void vdev_features_write(struct vdev *d, unsigned word, uint32_t bits)
{
    (void)pthread_mutex_lock(&d->control);
    if (word < VDEV_FEATURE_WORDS && !(vdev_status(d) & VIRTIO_CONFIG_S_FEATURES_OK) &&
        !atomic_load(&d->legacy))
        atomic_store(&d->driver[word], bits);
    (void)pthread_mutex_unlock(&d->control);
}

uint32_t vdev_features_driver(const struct vdev *d, unsigned word)
{
    return word < VDEV_FEATURE_WORDS ? atomic_load(&d->driver[word]) : 0;
}

static void forget_features(struct vdev *d)
{
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        atomic_store(&d->driver[i], 0);
}

bool vdev_features_acceptable(struct vdev *d)
{
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++) {
        if (atomic_load(&d->driver[i]) & ~d->offered[i])
            return false;
    }
    return vdev_has(d, VIRTIO_F_VERSION_1) && (!d->ops->features_ok || d->ops->features_ok(d));
}

uint32_t vdev_legacy_features(const struct vdev *d)
{
    return d->offered[0] | LEGACY_ANY_LAYOUT; /* 2.7.4.3 */
}

bool vdev_legacy_locked(struct vdev *d)
{
    if (vdev_status(d) & VIRTIO_CONFIG_S_FEATURES_OK)
        return false;
    if (!atomic_exchange(&d->legacy, true))
        forget_features(d);
    return true;
}

/* There is no way to refuse: what was not offered is not there. */
void vdev_legacy_features_write(struct vdev *d, uint32_t bits)
{
    (void)pthread_mutex_lock(&d->control);
    if (vdev_legacy_locked(d) && !atomic_load(&d->running))
        atomic_store(&d->driver[0], bits & vdev_legacy_features(d));
    (void)pthread_mutex_unlock(&d->control);
}

/* --- notifications of the configuration (2.3) --- */

static void raise_config(struct vdev *d)
{
    bool used = atomic_load(&d->running) || vdev_status(d) & VIRTIO_CONFIG_S_DRIVER_OK;
    atomic_store(&d->config_news, true);
    if (used && !atomic_load(&d->resetting))
        d->port->raise(d->port, VDEV_IRQ_CONFIG, 0);
}

/* The driver may suspend or resume the device at the same moment: whoever of the two comes last
 * sees what the other did. */
void vdev_config_changed(struct vdev *d)
{
    atomic_store(&d->config_pending, true);
    if (!vdev_suspended(d) && atomic_exchange(&d->config_pending, false))
        raise_config(d);
}

/* --- failure --- */

bool vdev_failed(const struct vdev *d)
{
    return vdev_status(d) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void vdev_fail(struct vdev *d, const char *fmt, ...)
{
    char why[160];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    log_limited(&d->faults, LOG_WARN, "%s: needs reset: %s", d->class->name, why);

    uint8_t old = atomic_fetch_or(&d->status, VIRTIO_CONFIG_S_NEEDS_RESET);
    if (!(old & VIRTIO_CONFIG_S_NEEDS_RESET))
        vdev_config_changed(d); /* 2.1.2 */
}

/* --- status (2.1, 3.1) --- */

uint8_t vdev_status(const struct vdev *d)
{
    return atomic_load(&d->status);
}

bool vdev_started(const struct vdev *d)
{
    return atomic_load(&d->running) && !vdev_failed(d) && !atomic_load(&d->resetting);
}

bool vdev_suspended(const struct vdev *d)
{
    return vdev_status(d) & VDEV_S_SUSPEND;
}

void vdev_reset_locked(struct vdev *d)
{
    atomic_store(&d->resetting, true);
    queues_stop(d, 0, d->n_all, true); /* and whatever the loop was about to announce, it has */
    for (unsigned i = 0; i < d->n_all; i++) {
        struct queue *q = &d->queues[i];
        queue_close(q);
        atomic_store(&q->kicks, 0);
        atomic_store(&q->interrupts, 0);
    }
    if (d->ops && d->ops->reset)
        d->ops->reset(d);
    admin_reset(&d->admin);
    forget_features(d);
    atomic_store(&d->legacy, false);
    atomic_store(&d->running, false);
    atomic_store(&d->config_pending, false);
    atomic_store(&d->status, 0); /* last: reading 0 says that all of it is done */
    atomic_store(&d->resetting, false);
}

void vdev_reset(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    vdev_reset_locked(d);
    (void)pthread_mutex_unlock(&d->control);
}

static void power_on_loop(void *ctx)
{
    struct vdev *d = ctx;
    d->ops->power_on(d);
}

void vdev_power_on(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    vdev_reset_locked(d);
    if (d->ops->power_on)
        loop_call(d->env.loop, power_on_loop, d);
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_start_locked(struct vdev *d)
{
    int rc = d->ops->start ? d->ops->start(d) : 0;
    if (rc < 0) {
        vdev_fail(d, "cannot start: %s", strerror(-rc));
        return;
    }
    atomic_store(&d->running, true);
    queues_start(d);
}

/* Whole, as the driver may see it; `control` is held. */
static void config_whole(struct vdev *d, uint8_t cfg[VDEV_CONFIG_MAX])
{
    if (vdev_suspended(d)) {
        memcpy(cfg, d->frozen, sizeof(d->frozen)); /* 3.4: nothing changes */
        return;
    }
    memset(cfg, 0, VDEV_CONFIG_MAX);
    d->ops->config_read(d, cfg);
}

/* 3.4. When SUSPEND reads 1 and DRIVER_OK 0, every buffer in flight has been used and announced. */
static void suspend_locked(struct vdev *d)
{
    queues_stop(d, 0, d->n_all, false);
    if (d->ops->config_read)
        config_whole(d, d->frozen);
    atomic_store(&d->running, false);
    (void)atomic_fetch_or(&d->status, VDEV_S_SUSPEND);
    (void)atomic_fetch_and(&d->status, (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK);
}

static void resume_locked(struct vdev *d)
{
    atomic_store(&d->running, true);
    (void)atomic_fetch_or(&d->status, VIRTIO_CONFIG_S_DRIVER_OK);
    (void)atomic_fetch_and(&d->status, (uint8_t)~VDEV_S_SUSPEND);
    if (atomic_exchange(&d->config_pending, false))
        raise_config(d);
    queues_start(d);
}

/* Of the bits that a driver asks for, those that it may set now. */
static uint8_t steps_allowed(struct vdev *d, uint8_t old, uint8_t fresh)
{
    enum { BEGIN = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER };
    uint8_t all = old | fresh;
    if (atomic_load(&d->legacy) || (all & BEGIN) != BEGIN)
        fresh &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    if (fresh & VIRTIO_CONFIG_S_FEATURES_OK && !vdev_features_acceptable(d))
        fresh &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    if (!(old & VIRTIO_CONFIG_S_FEATURES_OK))
        fresh &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
    return fresh & (BEGIN | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK |
                    VIRTIO_CONFIG_S_FAILED);
}

static void status_write_locked(struct vdev *d, uint8_t s)
{
    uint8_t old = vdev_status(d) & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
    uint8_t keep = old & (uint8_t)~VDEV_S_SUSPEND; /* whose end is the device's to say */
    if (keep & ~s || old & VIRTIO_CONFIG_S_FAILED)
        return; /* a bit may not be cleared, and what failed must be reset */
    uint8_t fresh = steps_allowed(d, old, s & (uint8_t)~old);
    (void)atomic_fetch_or(&d->status, fresh & (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK);
    if (fresh & VIRTIO_CONFIG_S_DRIVER_OK && old & VDEV_S_SUSPEND) {
        resume_locked(d);
    } else if (fresh & VIRTIO_CONFIG_S_DRIVER_OK) {
        (void)atomic_fetch_or(&d->status, VIRTIO_CONFIG_S_DRIVER_OK);
        if (!vdev_failed(d))
            vdev_start_locked(d);
    } else if (s & VDEV_S_SUSPEND && old & VIRTIO_CONFIG_S_DRIVER_OK &&
               vdev_has(d, VDEV_F_SUSPEND) && !vdev_failed(d)) {
        suspend_locked(d);
    }
}

void vdev_status_write(struct vdev *d, uint8_t s)
{
    (void)pthread_mutex_lock(&d->control);
    if (s == 0)
        vdev_reset_locked(d);
    else
        status_write_locked(d, s);
    (void)pthread_mutex_unlock(&d->control);
}

/* 3.1.2: no FEATURES_OK, and the steps in whatever order. */
void vdev_legacy_status_write(struct vdev *d, uint8_t s)
{
    enum {
        STEPS = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK
    };
    (void)pthread_mutex_lock(&d->control);
    if (s == 0) {
        vdev_reset_locked(d);
    } else if (vdev_legacy_locked(d)) {
        (void)atomic_fetch_or(&d->status, s & (STEPS | VIRTIO_CONFIG_S_FAILED));
        if (s & VIRTIO_CONFIG_S_DRIVER_OK && !atomic_load(&d->running) && !vdev_failed(d))
            vdev_start_locked(d);
    }
    (void)pthread_mutex_unlock(&d->control);
}

/* --- configuration space (2.5) --- */

/* What a driver reads, in pieces, belongs together if the generation is the same before and after
 * (2.5). So it moves with the reads, not with the changes: a counter of which a driver sees eight
 * bits could come full circle between two of its reads (4.1.4.3.1).
 *
 * Reads are one at a time, under `control`; a device changes what config_read() says whenever it
 * likes, mostly on the loop, and announces it afterwards. Between the two a read sees new values
 * while config_news is not set yet: hence the comparison. A change that comes after config_news was
 * taken sets it again, for the next read. */
static void config_seen(struct vdev *d, const uint8_t cfg[VDEV_CONFIG_MAX], bool news)
{
    if (!news && memcmp(d->seen, cfg, VDEV_CONFIG_MAX) == 0)
        return;
    memcpy(d->seen, cfg, VDEV_CONFIG_MAX);
    (void)atomic_fetch_add(&d->generation, 1);
}

void vdev_config_get(struct vdev *d, size_t off, void *dst, size_t len)
{
    uint8_t cfg[VDEV_CONFIG_MAX];
    memset(dst, 0, len);
    if (off >= d->ops->config_len)
        return;
    (void)pthread_mutex_lock(&d->control);
    bool news = atomic_exchange(&d->config_news, false);
    config_whole(d, cfg);
    config_seen(d, cfg, news);
    (void)pthread_mutex_unlock(&d->control);
    memcpy(dst, cfg + off, MIN(len, d->ops->config_len - off));
}

void vdev_config_set(struct vdev *d, size_t off, const void *src, size_t len)
{
    uint8_t cfg[VDEV_CONFIG_MAX];
    if (!d->ops->config_write || off >= d->ops->config_len || len > d->ops->config_len - off)
        return;
    (void)pthread_mutex_lock(&d->control);
    if (!vdev_suspended(d)) {
        config_whole(d, cfg);
        memcpy(cfg + off, src, len);
        d->ops->config_write(d, cfg, off, len);
    }
    (void)pthread_mutex_unlock(&d->control);
}

uint32_t vdev_generation(const struct vdev *d)
{
    return atomic_load(&d->generation);
}

/* --- shared memory regions (2.10) --- */

int vdev_add_shm(struct vdev *d, uint8_t id, void *host, uint64_t len)
{
    assert(len && (len | (uint64_t)host) % VDEV_SHM_PAGE == 0);
    if (d->n_shm == VDEV_SHM_MAX)
        return -ENOSPC;
    for (unsigned i = 0; i < d->n_shm; i++) {
        if (d->shm[i].is.id == id)
            return -EEXIST;
    }
    uint64_t off = align_up(vdev_shm_total(d), VDEV_SHM_ALIGN);
    d->shm[d->n_shm++] = (struct vdev_shm){.is = {id, off, len, host}};
    return 0;
}

uint64_t vdev_shm_total(const struct vdev *d)
{
    const struct vdev_shm *last = &d->shm[d->n_shm];
    return d->n_shm ? last[-1].is.off + last[-1].is.len : 0;
}

bool vdev_shm_at(const struct vdev *d, unsigned i, struct vdev_shm_region *out)
{
    if (i >= d->n_shm)
        return false;
    *out = d->shm[i].is;
    return true;
}

void vdev_shm_place(struct vdev *d, unsigned i, bool on, gpa_t at)
{
    (void)pthread_mutex_lock(&d->control);
    d->shm[i].base = at;
    d->shm[i].on = on;
    (void)pthread_mutex_unlock(&d->control);
}

bool vdev_shm(struct vdev *d, uint32_t id, gpa_t *base, uint64_t *len)
{
    bool found = false;
    (void)pthread_mutex_lock(&d->control);
    for (unsigned i = 0; i < d->n_shm && !found; i++) {
        found = d->shm[i].is.id == id && d->shm[i].on;
        if (found) {
            *base = d->shm[i].base;
            *len = d->shm[i].is.len;
        }
    }
    (void)pthread_mutex_unlock(&d->control);
    return found;
}

/* --- the host's side --- */

struct update {
    struct vdev *dev;
    const void *opts;
    struct err *e;
    int rc;
};

static void update_on_loop(void *ctx)
{
    struct update *u = ctx;
    u->rc = u->dev->ops->update(u->dev, u->opts, u->e);
}

int vdev_update(struct vdev *d, const void *opts, struct err *e)
{
    struct update u = {.dev = d, .opts = opts, .e = e};
    if (!d->ops->update)
        return err_input(e, 0, "a %s device has nothing that can be changed", d->class->name);
    loop_call(d->env.loop, update_on_loop, &u);
    return u.rc;
}

struct telling {
    const struct vdev *dev;
    struct report *report;
};

static void report_on_loop(void *ctx)
{
    const struct telling *t = ctx;
    const struct vdev *d = t->dev;
    char name[32];
    report_text(t->report, "io_thread", loop_name(d->env.loop));
    if (d->ops->report)
        d->ops->report(d, t->report);
    for (unsigned i = 0; i < d->n; i++) {
        (void)snprintf(name, sizeof(name), "queue%u_notifications", i);
        report_number(t->report, name, counter_get(&d->queues[i].kicks));
        (void)snprintf(name, sizeof(name), "queue%u_interrupts", i);
        report_number(t->report, name, counter_get(&d->queues[i].interrupts));
    }
}

void vdev_report(const struct vdev *d, struct report *r)
{
    struct telling t = {d, r};
    loop_call(d->env.loop, report_on_loop, &t);
}
