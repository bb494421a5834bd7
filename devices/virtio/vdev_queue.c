/* devices/virtio/vdev_queue.c - a device's queues: how they are enabled and started, and the way in
 * which everything stops (virtio 1.4, 2.6). */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sys/eventfd.h>

#include "base/probe.h"
#include "devices/virtio/vdev_priv.h"

/* --- on the loop --- */

struct vq *vdev_queue(struct vdev *d, unsigned i)
{
    return i < d->n ? d->queues[i].live : NULL;
}

void vdev_poke(struct vdev *d, unsigned i)
{
    struct queue *q = &d->queues[i];
    if (loop_runs(q->loop))
        event_signal(q->kick_fd); /* only its loop knows whether it is live */
    else if (q->live)
        vq_poke(q->live);
}

void vdev_queue_kicked(struct vdev *d, struct vq *q)
{
    if (vdev_failed(d))
        return;
    if (vq_index(q) >= d->n)
        admin_kick(d, q);
    else
        d->ops->kick(d, q);
}

void vdev_queue_interrupt(struct vdev *d, unsigned i)
{
    counter_add(&d->queues[i].interrupts, 1);
    d->port->raise(d->port, VDEV_IRQ_QUEUE, i);
}

void vdev_queue_counts(const struct vdev *d, unsigned i, uint64_t *kicks, uint64_t *interrupts)
{
    *kicks = i < d->n ? counter_get(&d->queues[i].kicks) : 0;
    *interrupts = i < d->n ? counter_get(&d->queues[i].interrupts) : 0;
}

void vdev_queue_idle(struct vdev *d, unsigned i)
{
    (void)pthread_mutex_lock(&d->idle_lock);
    d->queues[i].draining = false;
    (void)pthread_cond_signal(&d->idle);
    (void)pthread_mutex_unlock(&d->idle_lock);
}

static void on_kick(void *ctx, uint32_t events)
{
    struct queue *q = ctx;
    (void)events;
    counter_add(&q->kicks, 1);
    PROBE(notify, q->live->name, q->dev, q->live->index);
    vq_run(q->live);
}

static void on_kick_all(void *ctx, uint32_t events)
{
    struct vdev *d = ctx;
    (void)events;
    for (unsigned i = 0; i < d->n_all; i++) {
        struct queue *q = &d->queues[i];
        if (q->loop != d->env.loop) {
            event_signal(q->kick_fd); /* only its loop knows whether it is live */
        } else if (q->live) {
            PROBE(notify, q->live->name, q->dev, q->live->index);
            vq_run(q->live);
        }
    }
}

static void start_on_loop(void *ctx)
{
    struct queue *q = ctx;
    struct vdev *d = q->dev;
    q->watch = (struct loop_watch){
        .fd = q->kick_fd, .events = POLLIN, .counter = true, .fn = on_kick, .ctx = q};
    if (loop_watch(q->loop, &q->watch) < 0) {
        vdev_fail(d, "no memory to watch queue %u", q->vq->index);
        return;
    }
    q->live = q->vq;
    vq_start(q->live);
}

static void stop_on_loop(void *ctx)
{
    struct queue *q = ctx;
    struct vdev *d = q->dev;
    loop_task_cancel(q->loop, &q->start);
    loop_unwatch(q->loop, &q->watch);
    q->live = NULL;
    /* First, so that the last completion inside drain() finds it said. */
    (void)pthread_mutex_lock(&d->idle_lock);
    q->draining = true;
    (void)pthread_mutex_unlock(&d->idle_lock);
    if (vq_stop(q->vq, q->abort))
        vdev_queue_idle(d, vq_index(q->vq));
    else if (d->ops->drain && vq_index(q->vq) < d->n)
        d->ops->drain(d, q->vq);
}

/* --- from a vCPU; `control` is held --- */

void queue_start(struct queue *q)
{
    struct vdev *d = q->dev;
    if (!q->listening) {
        q->listening = true;
        if (d->port->listen)
            d->port->listen(d->port, (unsigned)(q - d->queues), true);
    }
    if (d->paused)
        return; /* vdev_resume() will */
    q->start = (struct loop_task){.fn = start_on_loop, .ctx = q};
    loop_post(q->loop, &q->start);
}

void queues_start(struct vdev *d)
{
    for (unsigned i = 0; i < d->n_all; i++) {
        if (d->queues[i].vq)
            queue_start(&d->queues[i]);
    }
}

static void wait_idle(struct vdev *d, const struct queue *q)
{
    (void)pthread_mutex_lock(&d->idle_lock);
    while (q->draining) {
        if (loop_runs(q->loop)) {
            (void)pthread_cond_wait(&d->idle, &d->idle_lock);
        } else { /* a test's loop, stepped by hand */
            (void)pthread_mutex_unlock(&d->idle_lock);
            (void)loop_step(q->loop, -1);
            (void)pthread_mutex_lock(&d->idle_lock);
        }
    }
    (void)pthread_mutex_unlock(&d->idle_lock);
}

void queues_stop(struct vdev *d, unsigned first, unsigned last, bool abort)
{
    for (unsigned i = first; i < last; i++) {
        d->queues[i].abort = abort;
        if (d->queues[i].vq)
            loop_call(d->queues[i].loop, stop_on_loop, &d->queues[i]);
    }
    for (unsigned i = first; i < last; i++)
        wait_idle(d, &d->queues[i]);
}

void queue_close(struct queue *q)
{
    struct vdev *d = q->dev;
    if (q->listening && d->port->listen)
        d->port->listen(d->port, (unsigned)(q - d->queues), false);
    q->listening = false;
    vq_close(TAKE_PTR(q->vq));
    q->cfg = (struct vq_config){.max_size = q->cfg.max_size, .size = q->cfg.max_size};
}

int queue_open(struct queue *q)
{
    struct vdev *d = q->dev;
    const struct vq_open_args a = {.dev = d,
                                   .index = (unsigned)(q - d->queues),
                                   .mem = d->env.mem,
                                   .loop = q->loop,
                                   .cfg = &q->cfg,
                                   .req_size = d->ops->req_size,
                                   .packed = vdev_has(d, VIRTIO_F_RING_PACKED),
                                   .indirect = vdev_has(d, VIRTIO_RING_F_INDIRECT_DESC),
                                   .event_idx = vdev_has(d, VIRTIO_RING_F_EVENT_IDX),
                                   .in_order = vdev_has(d, VIRTIO_F_IN_ORDER)};
    int rc = vq_open(&a, &q->vq);
    q->cfg.enabled = rc == 0;
    return rc;
}

/* A queue that begins anew. */
static void queue_enable(struct queue *q)
{
    struct vdev *d = q->dev;
    bool packed = vdev_has(d, VIRTIO_F_RING_PACKED);
    q->cfg.next_avail = q->cfg.next_used = (packed ? &vq_packed_ops : &vq_split_ops)->first;
    int rc = queue_open(q);
    if (rc < 0)
        vdev_fail(d, "queue %u cannot be enabled: %s", (unsigned)(q - d->queues), strerror(-rc));
    else if (atomic_load(&d->running))
        queue_start(q);
}

const struct vq_config *vdev_queue_config(const struct vdev *d, unsigned i)
{
    return i < d->n_all ? &d->queues[i].cfg : NULL;
}

/* After FEATURES_OK the format is known; after DRIVER_OK only RING_RESET lets a queue begin anew. A
 * legacy driver knows neither. */
static bool programmable(const struct vdev *d)
{
    uint8_t s = vdev_status(d);
    if (s & (VIRTIO_CONFIG_S_NEEDS_RESET | VDEV_S_SUSPEND))
        return false;
    return atomic_load(&d->legacy) ||
           ((s & VIRTIO_CONFIG_S_FEATURES_OK) &&
            (!(s & VIRTIO_CONFIG_S_DRIVER_OK) || vdev_has(d, VIRTIO_F_RING_RESET)));
}

bool vdev_queue_exists(const struct vdev *d, unsigned i)
{
    return i < d->n || (i < d->n_all && vdev_has(d, VDEV_F_ADMIN_VQ));
}

struct vq_config *vdev_queue_program(struct vdev *d, unsigned i)
{
    return vdev_queue_exists(d, i) && !d->queues[i].cfg.enabled && programmable(d)
               ? &d->queues[i].cfg
               : NULL;
}

void vdev_queue_enable(struct vdev *d, unsigned i)
{
    (void)pthread_mutex_lock(&d->control);
    if (vdev_queue_program(d, i))
        queue_enable(&d->queues[i]);
    (void)pthread_mutex_unlock(&d->control);
}

static void disable(struct vdev *d, unsigned i)
{
    if (i < d->n_all && d->queues[i].vq && !vdev_suspended(d)) {
        queues_stop(d, i, i + 1, true);
        queue_close(&d->queues[i]);
        if (d->ops->queue_reset && i < d->n)
            d->ops->queue_reset(d, i);
    }
}

void vdev_queue_disable(struct vdev *d, unsigned i)
{
    (void)pthread_mutex_lock(&d->control);
    disable(d, i);
    (void)pthread_mutex_unlock(&d->control);
}

/* 2.6.1.1: any state, so also what was programmed and never enabled. */
void vdev_queue_reset(struct vdev *d, unsigned i)
{
    (void)pthread_mutex_lock(&d->control);
    if (vdev_has(d, VIRTIO_F_RING_RESET) && i < d->n_all && !vdev_suspended(d)) {
        if (d->queues[i].vq)
            disable(d, i);
        else
            queue_close(&d->queues[i]);
    }
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_legacy_queue_set(struct vdev *d, unsigned i, uint16_t size, gpa_t desc, gpa_t driver,
                           gpa_t device)
{
    (void)pthread_mutex_lock(&d->control);
    bool mine = vdev_legacy_locked(d);
    struct vq_config *c = mine && desc.v ? vdev_queue_program(d, i) : NULL;
    if (mine && desc.v == 0) {
        disable(d, i);
    } else if (c) {
        c->size = size;
        c->desc = desc;
        c->driver = driver;
        c->device = device;
        queue_enable(&d->queues[i]);
    }
    (void)pthread_mutex_unlock(&d->control);
}

/* --- notifications --- */

int vdev_kick_fd(const struct vdev *d, unsigned i)
{
    return i < d->n_all ? d->queues[i].kick_fd : -1;
}

static void watch_all(void *ctx)
{
    struct vdev *d = ctx;
    d->all_watch = (struct loop_watch){
        .fd = d->all_fd, .events = POLLIN, .counter = true, .fn = on_kick_all, .ctx = d};
    if (loop_watch(d->env.loop, &d->all_watch) < 0)
        fd_cleanup_(&d->all_fd);
}

void unwatch_all(void *ctx)
{
    struct vdev *d = ctx;
    loop_unwatch(d->env.loop, &d->all_watch);
}

int vdev_kick_all_fd(struct vdev *d)
{
    if (d->all_fd < 0 && (d->all_fd = eventfd(0, EFD_CLOEXEC)) >= 0)
        loop_call(d->env.loop, watch_all, d);
    return d->all_fd;
}

/* 3.1.2: legacy drivers used the device before DRIVER_OK. */
static void start_legacy(struct vdev *d)
{
    (void)pthread_mutex_lock(&d->control);
    if (atomic_load(&d->legacy) && !atomic_load(&d->running) && !vdev_failed(d))
        vdev_start_locked(d);
    (void)pthread_mutex_unlock(&d->control);
}

void vdev_kick(struct vdev *d, unsigned i)
{
    if (atomic_load(&d->legacy) && !atomic_load(&d->running))
        start_legacy(d);
    if (i < d->n_all)
        event_signal(d->queues[i].kick_fd);
}
