/* tests/proofs/queue.c - a ring format with any guest: what Frama-C's Eva analyses (tools/prove).
 *
 * The ring's memory may hold anything at each load (frama_c.h). A queue may be in any
 * state that its format's operations can leave it in; each operation is then called once.
 *
 * SIZE, TABLE  descriptors of the ring, and of an indirect table
 * INDIRECT     1: tables were negotiated, but none is in memory; 0: take_table() walks one. Not
 * both at once: Eva forgets which length belongs to which table SHORT        1 to 4: that area is a
 * byte shorter than it ought to be, which must be found */
#ifdef PACKED
#include "devices/virtio/vq_packed.c"
#else
#include "devices/virtio/vq_split.c"
#endif
#include <__fc_builtin.h>

enum { CAP = VQ_INLINE_SEGMENTS };

static unsigned any(unsigned least, unsigned most)
{
    return Frama_C_unsigned_int_interval(least, most);
}

static uint64_t any64(void)
{
    return (uint64_t)any(0, UINT32_MAX) << 32 | any(0, UINT32_MAX);
}

/* --- what stands for the rest --- */

static uint8_t
    table[TABLE * VQ_DESC_SIZE - (SHORT == 4)]; /* the one that descriptors may refer to, */
static uint8_t byte;                            /* and all other memory, which is only pointed to */

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

bool vq_req_grow(struct vq_req *r)
{
    if (r->core.cap != CAP || any(0, 1))
        return false;
    r->iov = more;
    r->core.cap = 2 * CAP;
    return true;
}

/* --- a queue, each area as long as it is --- */

#ifdef PACKED
enum { DRIVER_LEN = 4, DEVICE_LEN = 4, N_IDS = IDS };
static const struct vq_ring_ops *const ops = &vq_packed_ops;
#else
enum { DRIVER_LEN = 6 + 2 * SIZE, DEVICE_LEN = 6 + 8 * SIZE, N_IDS = SIZE };
static const struct vq_ring_ops *const ops = &vq_split_ops;
#endif
static uint8_t desc[SIZE * VQ_DESC_SIZE - (SHORT == 1)], driver[DRIVER_LEN - (SHORT == 2)];
static uint8_t device[DEVICE_LEN - (SHORT == 3)];
static uint64_t busy[(N_IDS + 63) / 64];

static struct vq any_queue(void)
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
                   .unpublished = (uint16_t)any(0, SIZE)};
#ifdef PACKED
    q.next_avail = (uint16_t)any(0, SIZE - 1);
    q.next_used = (uint16_t)any(0, SIZE - 1);
    q.avail_wrap = any(0, 1);
    q.used_wrap = any(0, 1);
    q.descs = any(0, SIZE);
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

int main(void)
{
    struct vq q = any_queue();
    struct vq_req r = {.iov = few, .core.cap = CAP};
    switch (any(0, 5)) {
    case 0:
        if (ops->pop(&q, &r) == 1) {
            r.written = any(0, UINT32_MAX);
            ops->push(&q, &r);
            (void)ops->publish(&q);
        }
        break;
    case 1:
        if (ops->pop(&q, &r) == 1)
            ops->unpop(&q, &r);
        break;
    case 2:
        (void)take_table(&q, &r);
        break;
    case 3:
        (void)ops->publish(&q);
        break;
    case 4:
        if (!ops->ready(&q))
            (void)ops->arm(&q);
        break;
    default:
        ops->disarm(&q);
    }
    return 0;
}
