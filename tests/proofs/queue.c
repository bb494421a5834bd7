/* tests/proofs/queue.c - a ring format with any guest: what Frama-C's Eva analyses (tools/prove).
 *
 * The ring's memory may hold anything at each load (frama_c.h). A queue may be in any
 * state that its format's operations can leave it in; each operation is then called once.
 *
 * SIZE, TABLE  descriptors of the ring, and of an indirect table
 * INDIRECT     1: tables were negotiated, but none is in memory; 0: take_table() walks one. Not
 *              both at once: Eva forgets which length belongs to which table
 *
 * inlined: vq_add_segment, vq_host, vq_indirect_table, vq_desc_load, vq_req_grow, gmem_at,
 * inlined: gmem_at_ro, any */
#ifdef PACKED
#include "devices/virtio/vq_packed.c"
#else
#include "devices/virtio/vq_split.c"
#endif
#include "tests/proofs/any.h"

enum { CAP = 2 }; /* segments, before there is need for more */

/* --- what stands for the rest --- */

static uint8_t table[TABLE * VQ_DESC_SIZE]; /* the one that descriptors may refer to, */
static uint8_t byte;                        /* and all other memory, which is only pointed to */

const void *gmem_at_ro(const struct gmem *m, gpa_t at, uint64_t len)
{
    (void)m, (void)at;
    if (any(0, 1) || (INDIRECT && len % VQ_DESC_SIZE == 0))
        return NULL;
    return len == TABLE * VQ_DESC_SIZE ? table : &byte;
}

void *gmem_at(const struct gmem *m, gpa_t at, uint64_t len)
{
    (void)m, (void)at, (void)len;
    return any(0, 1) ? &byte : NULL;
}

static struct iovec few[CAP], more[2 * CAP];

int vq_req_grow(struct vq_req *r)
{
    if (r->core.cap != CAP || any(0, 1))
        return -ENOMEM;
    r->iov = more;
    r->core.cap = 2 * CAP;
    return 0;
}

/* --- a queue, each area as long as it is --- */

#ifdef PACKED
enum { DRIVER_LEN = 4, DEVICE_LEN = 4, N_IDS = IDS };
static const struct vq_ring_ops *const ops = &vq_packed_ops;
#else
enum { DRIVER_LEN = 6 + 2 * SIZE, DEVICE_LEN = 6 + 8 * SIZE, N_IDS = SIZE };
static const struct vq_ring_ops *const ops = &vq_split_ops;
#endif
static uint8_t desc[SIZE * VQ_DESC_SIZE], driver[DRIVER_LEN], device[DEVICE_LEN];
static uint64_t busy[(N_IDS + 63) / 64];

/* With so many descriptors in flight, which a split ring does not count. */
static struct vq any_queue(unsigned descs)
{
    struct vq q = {.size = SIZE,
                   .desc = desc,
                   .avail = driver,
                   .used = device,
                   .n_ids = N_IDS,
                   .busy = busy,
                   .indirect = INDIRECT,
                   .event_idx = any(0, 1),
                   .armed = any(0, 1),
                   .budget = (uint16_t)any(0, SIZE),
                   .unpublished = any(0, 1)};
#ifdef PACKED
    q.next_avail = (uint16_t)any(0, SIZE - 1);
    q.next_used = (uint16_t)any(0, SIZE - 1);
    q.avail_wrap = any(0, 1);
    q.used_wrap = any(0, 1);
    q.descs = descs;
    q.held_at = (uint16_t)any(0, SIZE - 1);
    q.held_span = (uint16_t)any(0, SIZE);
#else
    q.next_avail = (uint16_t)any(0, UINT16_MAX);
    q.seen_avail = (uint16_t)any(0, UINT16_MAX);
    q.hinted = (uint16_t)any(0, UINT16_MAX);
    q.hinted_tables = (uint16_t)any(0, UINT16_MAX);
    q.next_used = (uint16_t)any(0, UINT16_MAX);
    q.published_used = (uint16_t)any(0, UINT16_MAX);
#endif
    for (unsigned i = 0; i < ARRAY_SIZE(busy); i++)
        busy[i] = any64();
    return q;
}

/* A table of that many descriptors, whatever is in them. */
static int take_table(const struct vq *q, struct vq_req *r)
{
    const struct vq_desc d = {
        .addr = any64(), .len = TABLE * VQ_DESC_SIZE, .flags = (uint16_t)any(0, UINT16_MAX)};
#ifdef PACKED
    return add_table(q, r, d);
#else
    return walk_indirect(q, r, d);
#endif
}

/* What any_queue() begins with holds afterwards, too. */
static void check_places(const struct vq *q)
{
#ifdef PACKED
    check(q->next_avail < SIZE && q->next_used < SIZE && q->held_at < SIZE);
#else
    (void)q;
#endif
}

static void take(unsigned descs)
{
    struct vq q = any_queue(descs);
    struct vq_req r = {.iov = few, .core.cap = CAP};
    if (ops->pop(&q, &r) == 1) {
        check(r.core.head < N_IDS && q.descs <= SIZE);
        check_places(&q);
    }
}

/* One of those that are in flight, of so many descriptors. */
static void give(unsigned descs, uint16_t n_desc)
{
    struct vq q = any_queue(descs);
    struct vq_req r = {.written = any(0, UINT32_MAX), .core.n_desc = n_desc};
    r.core.head = (uint16_t)any(0, N_IDS - 1);
    if (any(0, 1)) {
        ops->unpop(&q, &r);
    } else {
        ops->push(&q, &r);
        (void)ops->publish(&q);
    }
    check_places(&q);
}

static void notifications(void)
{
    struct vq q = any_queue(0);
    switch (any(0, 2)) {
    case 0:
        (void)ops->publish(&q);
        break;
    case 1:
        if (!ops->ready(&q))
            (void)ops->arm(&q);
        break;
    default:
        ops->disarm(&q);
    }
}

int main(void)
{
    struct vq q = any_queue(0);
    struct vq_req r = {.iov = few, .core.cap = CAP};
    for (unsigned descs = 0; descs <= SIZE; descs++) {
        take(descs);
        for (unsigned n = 1; n <= descs; n++)
            give(descs, (uint16_t)n);
    }
    (void)take_table(&q, &r);
    notifications();
    return 0;
}
