/* devices/virtio/vdev.c - one virtio device: features, status, configuration, queues, and the way
 * in which everything stops (virtio 1.4, 2.1 to 2.6, 3).
 *
 * Two parties meet here. Control comes from vCPU threads, one at a time, under `control`. Data runs
 * on the loop, which owns each queue from start to stop and never takes `control`: so a vCPU may
 * wait for the loop while it holds the lock. What both read is atomic. */
#include "devices/virtio/vdev.h"

#include <assert.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "devices/virtio/vdev_ctl.h"
#include "devices/virtio/vq_priv.h"

enum { CONFIG_MAX = 256, SHM_MAX = 2, STATE_VERSION = 1 };

struct queue {
    struct vdev *dev;
    struct vq_config cfg;
    struct vq *vq; /* while enabled; control's */
    int kick_fd;
    struct vq *live; /* from start to stop; the loop's, and the watch too */
    struct loop_watch watch;
    struct loop_task start;
    bool abort;                 /* how it is stopped */
    uint64_t kicks, interrupts; /* the loop's */
};

struct vdev {
    const struct vdev_class *class;
    const struct vdev_ops *ops;
    struct build_env env;
    void *priv;
    struct vdev_port *port;

    pthread_mutex_t control;
    uint32_t offered[VDEV_FEATURE_WORDS], driver[VDEV_FEATURE_WORDS];
    atomic_uchar status;
    atomic_uint generation;
    atomic_bool resetting; /* the loop announces nothing any more */
    bool paused;

    pthread_mutex_t idle_lock; /* a vCPU waits here for queues to drain */
    pthread_cond_t idle;
    unsigned draining;

    struct vdev_shm {
        gpa_t base;
        uint64_t len;
        uint8_t id;
    } shm[SHM_MAX];
    unsigned n_shm;
    struct log_limit faults;
    unsigned n;
    struct queue queues[];
};

/* What the core itself implements for every device. */
static const unsigned core_features[] = {VIRTIO_F_VERSION_1, VIRTIO_RING_F_INDIRECT_DESC,
                                         VIRTIO_RING_F_EVENT_IDX, VIRTIO_F_RING_RESET};

int vdev_new(const struct vdev_class *c, const struct build_env *env, void *priv,
             const uint16_t *sizes, unsigned n, struct vdev **out)
{
    struct vdev *d = calloc(1, sizeof(*d) + n * sizeof(d->queues[0]));
    if (!d)
        return -ENOMEM;
    assert(c->ops->config_len <= CONFIG_MAX);
    d->class = c;
    d->ops = c->ops;
    d->env = *env;
    d->n = n;
    (void)pthread_mutex_init(&d->control, NULL);
    (void)pthread_mutex_init(&d->idle_lock, NULL);
    (void)pthread_cond_init(&d->idle, NULL);
    for (unsigned i = 0; i < n; i++)
        d->queues[i].kick_fd = -1;
    for (unsigned i = 0; i < n; i++) {
        struct queue *q = &d->queues[i];
        q->dev = d;
        q->cfg.max_size = q->cfg.size = sizes[i];
        q->kick_fd = eventfd(0, EFD_CLOEXEC);
        if (q->kick_fd < 0) {
            int rc = -errno;
            d->ops = NULL; /* priv is still the caller's */
            vdev_free(d);
            return rc;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(core_features); i++)
        vdev_offer(d, core_features[i]);
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
    for (unsigned i = 0; i < d->n; i++)
        fd_cleanup_(&d->queues[i].kick_fd);
    (void)pthread_mutex_destroy(&d->control);
    (void)pthread_mutex_destroy(&d->idle_lock);
    (void)pthread_cond_destroy(&d->idle);
    free(d);
}

void vdev_attach(struct vdev *d, struct vdev_port *p, const uint32_t mask[VDEV_FEATURE_WORDS])
{
    d->port = p;
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        d->offered[i] &= mask[i];
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
    return d->driver[feature / 32] >> (feature % 32) & 1;
}

uint32_t vdev_features(const struct vdev *d, unsigned word)
{
    return word < VDEV_FEATURE_WORDS ? d->offered[word] : 0;
}

void vdev_features_write(struct vdev *d, unsigned word, uint32_t bits)
{
    (void)pthread_mutex_lock(&d->control);
    if (word < VDEV_FEATURE_WORDS && !(vdev_status(d) & VIRTIO_CONFIG_S_FEATURES_OK))
        d->driver[word] = bits;
    (void)pthread_mutex_unlock(&d->control);
}

static bool features_acceptable(struct vdev *d)
{
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++) {
        if (d->driver[i] & ~d->offered[i])
            return false;
    }
    return vdev_has(d, VIRTIO_F_VERSION_1) && (!d->ops->features_ok || d->ops->features_ok(d));
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
    if ((old & VIRTIO_CONFIG_S_DRIVER_OK) && !(old & VIRTIO_CONFIG_S_NEEDS_RESET) &&
        !atomic_load(&d->resetting))
        d->port->raise(d->port, VDEV_IRQ_CONFIG, 0); /* 2.1.2 */
}

/* --- queues, on the loop --- */

struct vq *vdev_queue(struct vdev *d, unsigned i)
{
    return i < d->n ? d->queues[i].live : NULL;
}

void vdev_queue_kicked(struct vdev *d, struct vq *q)
{
    if (!vdev_failed(d))
        d->ops->kick(d, q);
}

void vdev_queue_interrupt(struct vdev *d, unsigned i)
{
    d->queues[i].interrupts++;
    d->port->raise(d->port, VDEV_IRQ_QUEUE, i);
}

void vdev_queue_counts(const struct vdev *d, unsigned i, uint64_t *kicks, uint64_t *interrupts)
{
    *kicks = i < d->n ? d->queues[i].kicks : 0;
    *interrupts = i < d->n ? d->queues[i].interrupts : 0;
}

void vdev_queue_idle(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->idle_lock);
    d->draining--;
    (void)pthread_cond_signal(&d->idle);
    (void)pthread_mutex_unlock(&d->idle_lock);
}

static void on_kick(void *ctx, uint32_t events)
{
    struct queue *q = ctx;
    (void)events;
    q->kicks++;
    vq_run(q->live);
}

static void start_on_loop(void *ctx)
{
    struct queue *q = ctx;
    q->watch = (struct loop_watch){
        .fd = q->kick_fd, .events = POLLIN, .counter = true, .fn = on_kick, .ctx = q};
    if (loop_watch(q->dev->env.loop, &q->watch) < 0) {
        vdev_fail(q->dev, "no memory to watch queue %u", q->vq->index);
        return;
    }
    q->live = q->vq;
    vq_start(q->live);
}

static void stop_on_loop(void *ctx)
{
    struct queue *q = ctx;
    struct vdev *d = q->dev;
    loop_task_cancel(d->env.loop, &q->start);
    loop_unwatch(d->env.loop, &q->watch);
    q->live = NULL;
    /* Counted first, so that the last completion inside drain() finds itself counted. */
    (void)pthread_mutex_lock(&d->idle_lock);
    d->draining++;
    (void)pthread_mutex_unlock(&d->idle_lock);
    if (vq_stop(q->vq, q->abort))
        vdev_queue_idle(d);
    else if (d->ops->drain)
        d->ops->drain(d, q->vq);
}

/* --- queues, from a vCPU; `control` is held --- */

static void queue_start(struct queue *q)
{
    if (q->dev->paused)
        return; /* vdev_resume() will */
    q->start = (struct loop_task){.fn = start_on_loop, .ctx = q};
    loop_post(q->dev->env.loop, &q->start);
}

static void wait_idle(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->idle_lock);
    while (d->draining > 0) {
        if (loop_runs(d->env.loop)) {
            (void)pthread_cond_wait(&d->idle, &d->idle_lock);
        } else { /* a test's loop, stepped by hand */
            (void)pthread_mutex_unlock(&d->idle_lock);
            (void)loop_step(d->env.loop, -1);
            (void)pthread_mutex_lock(&d->idle_lock);
        }
    }
    (void)pthread_mutex_unlock(&d->idle_lock);
}

/* Stops queues [first, last), and returns when none of them has a request in flight. With `abort`
 * nobody waits for the results of those. */
static void queues_stop(struct vdev *d, unsigned first, unsigned last, bool abort)
{
    for (unsigned i = first; i < last; i++) {
        d->queues[i].abort = abort;
        if (d->queues[i].vq)
            loop_call(d->env.loop, stop_on_loop, &d->queues[i]);
    }
    wait_idle(d);
}

static void queue_close(struct queue *q)
{
    vq_close(TAKE_PTR(q->vq));
    q->cfg = (struct vq_config){.max_size = q->cfg.max_size, .size = q->cfg.max_size};
}

static int queue_open(struct queue *q)
{
    struct vdev *d = q->dev;
    const struct vq_open_args a = {.dev = d,
                                   .index = (unsigned)(q - d->queues),
                                   .mem = d->env.mem,
                                   .loop = d->env.loop,
                                   .cfg = &q->cfg,
                                   .req_size = d->ops->req_size,
                                   .indirect = vdev_has(d, VIRTIO_RING_F_INDIRECT_DESC),
                                   .event_idx = vdev_has(d, VIRTIO_RING_F_EVENT_IDX)};
    int rc = vq_open(&a, &q->vq);
    q->cfg.enabled = rc == 0;
    return rc;
}

const struct vq_config *vdev_queue_config(const struct vdev *d, unsigned i)
{
    return i < d->n ? &d->queues[i].cfg : NULL;
}

/* After FEATURES_OK the format is known; after DRIVER_OK only RING_RESET lets a queue begin anew.
 */
static bool programmable(const struct vdev *d)
{
    uint8_t s = vdev_status(d);
    return (s & VIRTIO_CONFIG_S_FEATURES_OK) && !(s & VIRTIO_CONFIG_S_NEEDS_RESET) &&
           (!(s & VIRTIO_CONFIG_S_DRIVER_OK) || vdev_has(d, VIRTIO_F_RING_RESET));
}

struct vq_config *vdev_queue_program(struct vdev *d, unsigned i)
{
    return i < d->n && !d->queues[i].cfg.enabled && programmable(d) ? &d->queues[i].cfg : NULL;
}

void vdev_queue_enable(struct vdev *d, unsigned i)
{
    (void)pthread_mutex_lock(&d->control);
    if (vdev_queue_program(d, i)) {
        struct queue *q = &d->queues[i];
        int rc = queue_open(q);
        if (rc < 0)
            vdev_fail(d, "queue %u cannot be enabled: %s", i, strerror(-rc));
        else if (vdev_status(d) & VIRTIO_CONFIG_S_DRIVER_OK)
            queue_start(q);
    }
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_queue_disable(struct vdev *d, unsigned i)
{
    (void)pthread_mutex_lock(&d->control);
    if (i < d->n && d->queues[i].vq) {
        queues_stop(d, i, i + 1, true);
        queue_close(&d->queues[i]);
        if (d->ops->queue_reset)
            d->ops->queue_reset(d, i);
    }
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_queue_reset(struct vdev *d, unsigned i)
{
    if (vdev_has(d, VIRTIO_F_RING_RESET))
        vdev_queue_disable(d, i);
}

int vdev_kick_fd(const struct vdev *d, unsigned i)
{
    return i < d->n ? d->queues[i].kick_fd : -1;
}

void vdev_kick(struct vdev *d, unsigned i)
{
    uint64_t one = 1;
    if (i < d->n && write(d->queues[i].kick_fd, &one, sizeof(one)) < 0)
        return; /* only a closed descriptor fails, and it lives as long as the device */
}

/* --- status (2.1, 3.1) --- */

uint8_t vdev_status(const struct vdev *d)
{
    return atomic_load(&d->status);
}

bool vdev_started(const struct vdev *d)
{
    return (vdev_status(d) & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) ==
               VIRTIO_CONFIG_S_DRIVER_OK &&
           !atomic_load(&d->resetting);
}

static void reset_locked(struct vdev *d)
{
    atomic_store(&d->resetting, true);
    queues_stop(d, 0, d->n, true); /* and whatever the loop was about to announce, it has */
    for (unsigned i = 0; i < d->n; i++) {
        queue_close(&d->queues[i]);
        d->queues[i].kicks = d->queues[i].interrupts = 0;
    }
    if (d->ops && d->ops->reset)
        d->ops->reset(d);
    memset(d->driver, 0, sizeof(d->driver));
    atomic_store(&d->status, 0); /* last: reading 0 says that all of it is done */
    atomic_store(&d->resetting, false);
}

void vdev_reset(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    reset_locked(d);
    (void)pthread_mutex_unlock(&d->control);
}

static void start_locked(struct vdev *d)
{
    if (d->ops->start) {
        int rc = d->ops->start(d);
        if (rc < 0) {
            vdev_fail(d, "cannot start: %s", strerror(-rc));
            return;
        }
    }
    for (unsigned i = 0; i < d->n; i++) {
        if (d->queues[i].vq)
            queue_start(&d->queues[i]);
    }
}

void vdev_status_write(struct vdev *d, uint8_t s)
{
    enum { STEPS = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER };
    if (s == 0) {
        vdev_reset(d);
        return;
    }
    (void)pthread_mutex_lock(&d->control);
    uint8_t old = vdev_status(d) & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
    uint8_t fresh = s & (uint8_t)~old & (uint8_t)~VIRTIO_CONFIG_S_NEEDS_RESET;
    if (old & ~s || old & VIRTIO_CONFIG_S_FAILED)
        fresh = 0; /* a bit may not be cleared, and what failed must be reset */
    if (fresh & VIRTIO_CONFIG_S_FEATURES_OK &&
        (((old | s) & STEPS) != STEPS || !features_acceptable(d)))
        fresh &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
    if (fresh & VIRTIO_CONFIG_S_DRIVER_OK && !(old & VIRTIO_CONFIG_S_FEATURES_OK))
        fresh &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
    fresh &=
        STEPS | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_FAILED;
    (void)atomic_fetch_or(&d->status, fresh);
    if (fresh & VIRTIO_CONFIG_S_DRIVER_OK && !vdev_failed(d))
        start_locked(d);
    (void)pthread_mutex_unlock(&d->control);
}

/* --- configuration space (2.5) --- */

void vdev_config_get(struct vdev *d, size_t off, void *dst, size_t len)
{
    uint8_t cfg[CONFIG_MAX] = {0};
    memset(dst, 0, len);
    if (off >= d->ops->config_len)
        return;
    (void)pthread_mutex_lock(&d->control);
    d->ops->config_read(d, cfg);
    (void)pthread_mutex_unlock(&d->control);
    memcpy(dst, cfg + off, MIN(len, d->ops->config_len - off));
}

void vdev_config_set(struct vdev *d, size_t off, const void *src, size_t len)
{
    uint8_t cfg[CONFIG_MAX] = {0};
    if (!d->ops->config_write || off >= d->ops->config_len || len > d->ops->config_len - off)
        return;
    (void)pthread_mutex_lock(&d->control);
    d->ops->config_read(d, cfg);
    memcpy(cfg + off, src, len);
    d->ops->config_write(d, cfg, off, len);
    (void)pthread_mutex_unlock(&d->control);
}

uint32_t vdev_generation(const struct vdev *d)
{
    return atomic_load(&d->generation);
}

void vdev_config_changed(struct vdev *d)
{
    (void)atomic_fetch_add(&d->generation, 1);
    if (vdev_started(d))
        d->port->raise(d->port, VDEV_IRQ_CONFIG, 0);
}

/* --- shared memory regions (2.10) --- */

int vdev_add_shm(struct vdev *d, uint8_t id, gpa_t base, uint64_t len)
{
    if (d->n_shm == SHM_MAX)
        return -ENOSPC;
    d->shm[d->n_shm++] = (struct vdev_shm){.base = base, .len = len, .id = id};
    return 0;
}

bool vdev_shm(const struct vdev *d, uint32_t id, gpa_t *base, uint64_t *len)
{
    for (unsigned i = 0; i < d->n_shm; i++) {
        if (d->shm[i].id == id) {
            *base = d->shm[i].base;
            *len = d->shm[i].len;
            return true;
        }
    }
    return false;
}

/* --- pause, save, load --- */

void vdev_pause(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    if (!d->paused)
        queues_stop(d, 0, d->n, false);
    d->paused = true;
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_resume(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    bool was = d->paused;
    d->paused = false;
    if (was && vdev_started(d)) {
        for (unsigned i = 0; i < d->n; i++) {
            if (d->queues[i].vq)
                queue_start(&d->queues[i]);
        }
    }
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_save(const struct vdev *d, struct state_out *s)
{
    state_begin(s, "VDEV", STATE_VERSION);
    state_u16(s, d->class->virtio_id);
    state_u8(s, vdev_status(d));
    state_u32(s, vdev_generation(d));
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        state_u32(s, d->driver[i]);
    state_u32(s, d->n);
    for (unsigned i = 0; i < d->n; i++) {
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
    state_end(s);
    if (d->ops->save)
        d->ops->save(d, s);
}

static int load_queue(struct queue *q, uint8_t status, struct state_in *s)
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
    if (enabled && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
        return -EBADMSG;
    q->cfg = c;
    return enabled ? queue_open(q) : 0;
}

/* What vdev_status_write() could have led to, and features that could have been accepted. */
static bool loadable(struct vdev *d, uint8_t status)
{
    static const uint8_t steps[] = {VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER,
                                    VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_DRIVER_OK};
    uint8_t known = VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED;
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
        known |= steps[i];
    for (size_t i = 2; i < ARRAY_SIZE(steps); i++) {
        if (status & steps[i] && !(status & steps[i - 1]))
            return false;
    }
    return !(status & ~known) &&
           (!(status & VIRTIO_CONFIG_S_FEATURES_OK) || features_acceptable(d));
}

int vdev_load(struct vdev *d, struct state_in *s)
{
    uint32_t version;
    int rc = state_open(s, "VDEV", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&d->control);
    bool was = d->paused;
    d->paused = true;
    rc = state_get_u16(s) == d->class->virtio_id ? 0 : -EBADMSG;
    uint8_t status = state_get_u8(s);
    atomic_store(&d->generation, state_get_u32(s));
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        d->driver[i] = state_get_u32(s);
    if (state_get_u32(s) != d->n)
        rc = -EBADMSG;
    if (rc == 0 && !loadable(d, status))
        rc = -EBADMSG;
    for (unsigned i = 0; rc == 0 && i < d->n; i++)
        rc = load_queue(&d->queues[i], status, s);
    if (rc == 0)
        rc = state_close(s);
    if (rc == 0 && d->ops->load)
        rc = d->ops->load(d, s);
    if (rc == 0) {
        atomic_store(&d->status, status);
    } else {
        reset_locked(d);
        d->paused = was;
    }
    (void)pthread_mutex_unlock(&d->control);
    return rc < 0 ? -EBADMSG : 0;
}
