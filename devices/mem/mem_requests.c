/* devices/mem/mem_requests.c - what a driver asks of the memory device (virtio 1.4, 5.15.6). Only
 * an unplug takes long: it goes in steps, and what comes after it waits in the queue. */
#include <assert.h>
#include <linux/falloc.h>
#include <linux/virtio_mem.h>

#include "devices/mem/mem_priv.h"

#define STEP MIB(256) /* of one turn of the loop, and of one file operation */

static void answer(struct mem *m, struct vq *q, struct vq_req *req, uint16_t type, uint16_t state)
{
    const struct virtio_mem_resp resp = {.type = htole16(type), .u.state.state = htole16(state)};
    size_t len = MIN(req->in_len, sizeof(resp));
    if (len >= sizeof(resp.type) && vq_req_write(req, 0, &resp, len) == 0)
        req->written = (uint32_t)len;
    m->refusals += type != VIRTIO_MEM_RESP_ACK;
    vq_complete(q, req);
}

static void job_end(struct mem *m, uint16_t type)
{
    struct mem_job *j = &m->job;
    struct vq *q = j->q;
    m->unplugs += type == VIRTIO_MEM_RESP_ACK;
    answer(m, q, TAKE_PTR(j->req), type, 0);
    vq_poke(q);
}

static void punch_next(struct mem *m);

static void punched(struct loop_io *io, int64_t result)
{
    struct mem *m = container_of(io, struct mem, job.punch);
    if (result < 0) /* it is out of the guest's reach all the same */
        log_limited(&m->errors, LOG_WARN, "mem: unplugged memory stays with us: %s",
                    strerror((int)-result));
    m->job.pos += io->len;
    if (m->job.pos < m->job.end)
        punch_next(m);
    else
        job_end(m, VIRTIO_MEM_RESP_ACK);
}

static void punch_next(struct mem *m)
{
    struct mem_job *j = &m->job;
    j->punch = (struct loop_io){.op = LOOP_FALLOCATE,
                                .fd = m->fd,
                                .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                .off = j->pos,
                                .len = MIN(j->end - j->pos, STEP),
                                .done = punched};
    loop_io(m->loop, &j->punch);
}

/* Nothing has changed yet that the guest could have seen, had it kept its hands off. */
static void job_undo(struct mem *m)
{
    struct mem_job *j = &m->job;
    for (uint64_t off = j->begin; off < j->pos; off += m->block) {
        if (mem_is_plugged(m, off) && mem_let_guest(m, off, off + m->block, true) < 0)
            log_limited(&m->errors, LOG_WARN, "mem: a block is lost to the guest");
    }
    job_end(m, VIRTIO_MEM_RESP_BUSY);
}

static void protect_next(void *ctx)
{
    struct mem *m = ctx;
    struct mem_job *j = &m->job;
    uint64_t to = j->pos + MIN(j->end - j->pos, STEP);
    if (mem_let_guest(m, j->pos, to, false) < 0) { /* the host has no memory to split a mapping */
        job_undo(m);
        return;
    }
    j->pos = to;
    if (j->pos < j->end) {
        loop_post(m->loop, &j->protect);
        return;
    }
    atomic_fetch_sub(&m->plugged, mem_count(m, j->begin, j->end));
    mem_mark(m, j->begin, j->end, false);
    if (j->begin == 0 && j->end == m->size) /* all: 5.15.6.3 */
        atomic_store(&m->usable, mem_usable_for(m, atomic_load(&m->requested)));
    j->pos = j->begin;
    punch_next(m);
}

static void job_start(struct mem *m, struct vq *q, struct vq_req *req, uint64_t begin, uint64_t end)
{
    assert(!m->job.req);
    m->job = (struct mem_job){.q = q,
                              .req = req,
                              .begin = begin,
                              .end = end,
                              .pos = begin,
                              .protect = {.fn = protect_next, .ctx = m}};
    protect_next(m);
}

/* The blocks of a request as offsets; false unless all of them are in the usable region. */
static bool range_of(const struct mem *m, const struct virtio_mem_req *r, uint64_t *begin,
                     uint64_t *end)
{
    uint64_t usable = atomic_load(&m->usable), n = le16toh(r->u.plug.nb_blocks);
    uint64_t off = le64toh(r->u.plug.addr) - m->at.v; /* large where the address is below */
    if (off >= usable || off % m->block || n == 0 || n > (usable - off) / m->block)
        return false;
    *begin = off;
    *end = off + n * m->block;
    return true;
}

static void plug(struct mem *m, struct vq *q, struct vq_req *req, uint64_t begin, uint64_t end)
{
    uint16_t type = VIRTIO_MEM_RESP_ACK;
    if (mem_count(m, begin, end) > 0)
        type = VIRTIO_MEM_RESP_ERROR;
    else if (atomic_load(&m->plugged) + (end - begin) > atomic_load(&m->requested))
        type = VIRTIO_MEM_RESP_NACK;
    else if (mem_let_guest(m, begin, end, true) < 0)
        type = VIRTIO_MEM_RESP_BUSY;
    if (type == VIRTIO_MEM_RESP_ACK) {
        mem_mark(m, begin, end, true);
        atomic_fetch_add(&m->plugged, end - begin);
        m->plugs++;
    }
    answer(m, q, req, type, 0);
}

static uint16_t state_of(const struct mem *m, uint64_t begin, uint64_t end)
{
    uint64_t n = mem_count(m, begin, end);
    return n == end - begin ? VIRTIO_MEM_STATE_PLUGGED
           : n              ? VIRTIO_MEM_STATE_MIXED
                            : VIRTIO_MEM_STATE_UNPLUGGED;
}

static void handle(struct mem *m, struct vq *q, struct vq_req *req)
{
    struct virtio_mem_req r = {0};
    uint64_t begin = 0, end = m->size;
    bool good = vq_req_read(req, 0, &r, MIN(req->out_len, sizeof(r))) == 0 &&
                req->out_len >= sizeof(r.type);
    uint16_t type = le16toh(r.type);
    if (good && type != VIRTIO_MEM_REQ_UNPLUG_ALL)
        good = type <= VIRTIO_MEM_REQ_STATE && range_of(m, &r, &begin, &end);
    if (good && type == VIRTIO_MEM_REQ_UNPLUG)
        good = mem_count(m, begin, end) == end - begin;
    if (!good)
        answer(m, q, req, VIRTIO_MEM_RESP_ERROR, 0);
    else if (type == VIRTIO_MEM_REQ_STATE)
        answer(m, q, req, VIRTIO_MEM_RESP_ACK, state_of(m, begin, end));
    else if (type == VIRTIO_MEM_REQ_PLUG)
        plug(m, q, req, begin, end);
    else
        job_start(m, q, req, begin, end);
}

void mem_kick(struct vdev *d, struct vq *q)
{
    struct mem *m = vdev_priv(d);
    struct vq_req *req;
    while (!m->job.req && (req = vq_next(q)) != NULL)
        handle(m, q, req);
}
