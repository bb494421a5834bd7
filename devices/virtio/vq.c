/* devices/virtio/vq.c - what all ring formats share: slots for requests in flight, the drain
 * budget, the latch of a broken ring, and byte access to a request. */
#include "base/probe.h"
#include "devices/virtio/vdev.h"
#include "devices/virtio/vq_priv.h"

struct slot {
    struct vq_req req; /* first: a request is its slot */
    struct iovec inline_iov[VQ_INLINE_SEGMENTS];
    _Alignas(16) uint8_t state[];
};

static struct slot *slot_at(const struct vq *q, unsigned i)
{
    return (struct slot *)(void *)(q->slot_mem + i * q->slot_size);
}

static void run_task(void *ctx)
{
    vq_run(ctx);
}

static void publish(struct vq *q);

static void publish_task(void *ctx)
{
    publish(ctx);
}

static void idle_task(void *ctx)
{
    struct vq *q = ctx;
    vdev_queue_idle(q->dev, q->index); /* and a vCPU may have freed the queue */
}

static bool poll_ready(void *ctx)
{
    const struct vq *q = ctx;
    return q->ops->ready(q);
}

static bool poll_arm(void *ctx)
{
    struct vq *q = ctx;
    q->armed = true;
    return q->ops->arm(q);
}

int vq_open(const struct vq_open_args *a, struct vq **out)
{
    /* Lines of its own: what is beside it in the heap may be another loop's. */
    struct vq *q = aligned_alloc(VQ_LINE, align_up(sizeof(*q), VQ_LINE));
    if (!q)
        return -ENOMEM;
    *q = (struct vq){0};
    q->ops = a->packed ? &vq_packed_ops : &vq_split_ops;
    q->dev = a->dev;
    q->name = vdev_name(a->dev);
    q->mem = a->mem;
    q->n_ram = gmem_regions(a->mem, &q->ram);
    q->loop = a->loop;
    q->index = a->index;
    q->size = a->cfg->size;
    q->indirect = a->indirect;
    q->event_idx = a->event_idx;
    q->task = (struct loop_task){.fn = run_task, .ctx = q};
    q->poll = (struct loop_poll){.ready = poll_ready, .arm = poll_arm, .ctx = q, .task = &q->task};
    q->publish = (struct loop_task){.fn = publish_task, .ctx = q};
    q->idle = (struct loop_task){.fn = idle_task, .ctx = q};

    int rc = a->cfg->size <= a->cfg->max_size ? q->ops->open(q, a->cfg) : -EINVAL;
    if (rc == 0) {
        q->slots = MIN(q->size, VQ_IN_FLIGHT_MAX);
        q->slot_size = align_up(sizeof(struct slot) + a->req_size, VQ_LINE);
        q->slot_mem = aligned_alloc(VQ_LINE, q->slots * q->slot_size);
        q->free_slots = calloc(q->slots, sizeof(q->free_slots[0]));
        q->busy = calloc((q->n_ids + 63u) / 64, sizeof(q->busy[0]));
        q->order = a->in_order ? calloc(q->slots, sizeof(q->order[0])) : NULL;
        rc = q->slot_mem && q->free_slots && q->busy && (q->order || !a->in_order) ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        vq_close(q);
        return rc;
    }
    *out = q;
    return 0;
}

void vq_close(struct vq *q)
{
    if (!q)
        return;
    for (unsigned i = 0; i < q->touched; i++) {
        struct slot *s = slot_at(q, i);
        if (s->req.iov != s->inline_iov)
            free(s->req.iov);
    }
    free(q->slot_mem);
    free(q->free_slots);
    free(q->busy);
    free(q->order);
    free(q);
}

void vq_start(struct vq *q)
{
    q->stopping = false;
    /* What the ring says about notifications may be stale after a load: begin from "off", and the
     * first time that the queue is seen empty arms it. */
    q->armed = false;
    q->ops->disarm(q);
    vq_run(q);
}

void vq_run(struct vq *q)
{
    if (q->stopping)
        return;
    q->budget = q->size;
    q->asked = 0;
    vdev_queue_kicked(q->dev, q);
    loop_took(q->loop, q->asked);
}

bool vq_stop(struct vq *q, bool abort)
{
    q->stopping = true;
    q->abort = abort;
    loop_poll_leave(q->loop, &q->poll);
    loop_task_cancel(q->loop, &q->task);
    loop_defer_cancel(q->loop, &q->publish);
    publish(q);
    return q->in_flight == 0;
}

void vq_save(const struct vq *q, struct vq_config *cfg)
{
    q->ops->save(q, cfg);
}

static struct vq_req *slot_take(struct vq *q)
{
    if (q->n_free)
        return &slot_at(q, q->free_slots[--q->n_free])->req;
    if (q->touched == q->slots)
        return NULL;
    struct slot *s = slot_at(q, q->touched);
    s->req.iov = s->inline_iov;
    s->req.core.cap = VQ_INLINE_SEGMENTS;
    s->req.core.slot = (uint16_t)q->touched++;
    return &s->req;
}

static void slot_give(struct vq *q, const struct vq_req *r)
{
    q->free_slots[q->n_free++] = r->core.slot;
}

int vq_req_grow(struct vq_req *r)
{
    if (r->core.cap >= VQ_CHAIN_MAX)
        return -E2BIG;
    /* Kept with the slot, so that a steady load allocates nothing. */
    unsigned cap = MIN(r->core.cap * 4, (unsigned)VQ_CHAIN_MAX);
    struct slot *s = container_of(r, struct slot, req);
    bool first = r->iov == s->inline_iov;
    struct iovec *iov = realloc(first ? NULL : r->iov, cap * sizeof(*iov));
    if (!iov)
        return -ENOMEM;
    if (first)
        memcpy(iov, s->inline_iov, sizeof(s->inline_iov));
    r->iov = iov;
    r->core.cap = cap;
    return 0;
}

/* What a ring format's pop() found; for whoever writes the driver. */
static const char *broken_because(int rc)
{
    switch (rc) {
    case -EOVERFLOW:
        return "more is available than the queue is long";
    case -ERANGE:
        return "a descriptor index is out of range";
    case -EALREADY:
        return "a buffer that is in flight was made available again";
    case -ELOOP:
        return "a chain has a loop";
    case -EFAULT:
        return "a descriptor's range is not inside RAM";
    case -EBADMSG:
        return "a descriptor's flags are not allowed where it stands";
    case -EMSGSIZE:
        return "a chain has more than 4 GiB";
    case -E2BIG:
        return "a chain has too many descriptors";
    default:
        return strerror(-rc);
    }
}

static void order_add(struct vq *q, struct vq_req *r)
{
    if (!q->order)
        return;
    unsigned at = q->order_first + q->order_n++;
    r->core.done = false;
    q->order[at < q->slots ? at : at - q->slots] = r->core.slot;
}

struct vq_req *vq_next(struct vq *q)
{
    if (q->stopping || q->broken || vdev_failed(q->dev))
        return NULL;
    if (q->budget == 0) {
        vq_poke(q);
        return NULL;
    }
    struct vq_req *r = slot_take(q);
    if (!r) {
        q->stalled = true;
        return NULL;
    }
    for (;;) {
        r->n_out = r->n_in = 0;
        r->out_len = r->in_len = 0;
        r->written = 0;
        int rc = q->ops->pop(q, r);
        if (rc > 0) {
            if (q->armed) {
                q->ops->disarm(q);
                q->armed = false;
            }
            q->budget--;
            if (r->n_out > 0)
                q->asked++;
            order_add(q, r);
            q->in_flight++;
            PROBE(submit, q->name, q->dev, q->index, r->core.head, r->out_len, r->in_len);
            return r;
        }
        if (rc < 0) {
            q->broken = true;
            vdev_fail(q->dev, "queue %u: %s", q->index, broken_because(rc));
            break;
        }
        if (q->armed || loop_poll_join(q->loop, &q->poll) || !poll_arm(q))
            break;
    }
    slot_give(q, r);
    return NULL;
}

/* The slot is free again; whoever waited for that is told. */
static void release(struct vq *q, const struct vq_req *r)
{
    slot_give(q, r);
    q->in_flight--;
    if (q->stalled && !q->stopping) {
        q->stalled = false;
        vq_poke(q);
    }
    /* Not in place: whoever ends the request may look at the queue until the turn ends. */
    if (q->stopping && q->in_flight == 0)
        loop_post(q->loop, &q->idle);
}

/* Publishes what was completed since the last time. */
static void publish(struct vq *q)
{
    if (!q->unpublished || q->broken)
        return;
    bool notify = q->ops->publish(q);
    q->unpublished = false;
    if (notify) {
        PROBE(inject, q->name, q->dev, q->index);
        vdev_queue_interrupt(q->dev, q->index);
    }
}

static void push(struct vq *q, const struct vq_req *r)
{
    if (q->broken)
        return;
    q->ops->push(q, r);
    if (!q->unpublished && !q->stopping)
        loop_defer(q->loop, &q->publish);
    q->unpublished = true;
}

/* 2.7.9, 2.8.9: what was completed before its turn waits for what came before it. The one whose
 * turn it is, or NULL. */
static struct vq_req *next_in_order(struct vq *q)
{
    if (q->order_n == 0)
        return NULL;
    struct vq_req *r = &slot_at(q, q->order[q->order_first])->req;
    if (!r->core.done)
        return NULL;
    q->order_first = q->order_first + 1 < q->slots ? q->order_first + 1 : 0;
    q->order_n--;
    return r;
}

void vq_complete(struct vq *q, struct vq_req *r)
{
    PROBE(complete, q->name, q->dev, q->index, r->core.head, r->written);
    if (q->order) {
        r->core.done = true;
        r = next_in_order(q);
    }
    while (r) {
        push(q, r);
        release(q, r);
        r = q->order ? next_in_order(q) : NULL;
    }
    if (q->stopping) /* there may be no later */
        publish(q);
}

void vq_unpop(struct vq *q, struct vq_req *r)
{
    q->ops->unpop(q, r);
    if (q->order)
        q->order_n--;
    release(q, r);
}

void vq_poke(struct vq *q)
{
    if (!q->stopping)
        loop_post(q->loop, &q->task);
}

unsigned vq_index(const struct vq *q)
{
    return q->index;
}

struct loop *vq_loop(const struct vq *q)
{
    return q->loop;
}

bool vq_aborting(const struct vq *q)
{
    return q->stopping && q->abort;
}

void *vq_req_state(struct vq *q, struct vq_req *r)
{
    (void)q;
    return container_of(r, struct slot, req)->state;
}

/* Copies between `buf` and the bytes [off, off+len) of one part. */
static int copy(const struct vq_req *r, bool in, size_t off, void *buf, size_t len)
{
    size_t whole = in ? r->in_len : r->out_len;
    if (off > whole || len > whole - off)
        return -EMSGSIZE;
    uint8_t *p = buf;
    for (const struct iovec *s = in ? r->iov + r->n_out : r->iov; len > 0; s++) {
        if (off >= s->iov_len) {
            off -= s->iov_len;
            continue;
        }
        size_t part = MIN(s->iov_len - off, len);
        uint8_t *at = (uint8_t *)s->iov_base + off;
        memcpy(in ? at : p, in ? p : at, part);
        p += part;
        len -= part;
        off = 0;
    }
    return 0;
}

int vq_req_read(const struct vq_req *r, size_t off, void *dst, size_t len)
{
    return copy(r, false, off, dst, len);
}

int vq_req_write(struct vq_req *r, size_t off, const void *src, size_t len)
{
    union {
        const void *c;
        void *m;
    } p = {.c = src}; /* only read through */
    return copy(r, true, off, p.m, len);
}
