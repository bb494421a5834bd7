/* tests/proofs/requests.c - slots, order, drain and copies: what Frama-C's Eva analyses
 * (tools/prove). The real vq.c; a ring format, a device and a loop that may do whatever their
 * headers let them stand for the rest.
 *
 * That a slot is never given away twice is proven by induction: vq_open() makes a queue that is
 * sound(), and whatever is called of a queue that is sound leaves one that is. All that are sound
 * and have SLOTS slots are gone through; what does not tell where memory is (whether notifications
 * are armed, how much is not published yet) is anything in each of them.
 *
 * SLOTS        1 to 3
 * IN_ORDER     1: requests end in the order in which they were taken
 *
 * inlined: any, vq_open, vq_next, vq_complete, vq_unpop, vq_req_grow, slot_take, slot_give,
 * inlined: release, push, next_in_order, order_add, take, end, give_back */
#include <stddef.h>

void *aligned_alloc(size_t align, size_t len);
#include "devices/virtio/vq.c"
#include "tests/proofs/any.h"

enum { SIZE = 4, STATE = 24 }; /* entries, and bytes of a device's for each request */

void *aligned_alloc(size_t align, size_t len)
{
    check(len % align == 0);
    return malloc(len);
}

/* --- a loop --- */

static struct vq *queue;
static bool task_due, idle_due, publish_due, kicked;

void loop_post(struct loop *l, struct loop_task *t)
{
    (void)l;
    check(t == &queue->task || t == &queue->idle);
    if (t == &queue->task)
        task_due = true;
    else
        idle_due = true;
}

void loop_task_cancel(struct loop *l, struct loop_task *t)
{
    (void)l;
    check(t == &queue->task);
    task_due = false;
}

void loop_defer(struct loop *l, struct loop_task *t)
{
    (void)l;
    check(t == &queue->publish);
    publish_due = true;
}

void loop_defer_cancel(struct loop *l, struct loop_task *t)
{
    (void)l;
    check(t == &queue->publish);
    publish_due = false;
}

bool loop_poll_join(struct loop *l, struct loop_poll *p)
{
    (void)l, (void)p;
    return any(0, 1);
}

void loop_took(struct loop *l, unsigned n)
{
    (void)l, (void)n;
}

void loop_poll_leave(struct loop *l, struct loop_poll *p)
{
    (void)l, (void)p;
}

/* --- what is sound --- */

static bool is_free(const struct vq *q, unsigned slot)
{
    for (unsigned i = 0; i < q->n_free; i++) {
        if (q->free_slots[i] == slot)
            return true;
    }
    return false;
}

/* Each slot that was ever used is either free, once, or in flight; with IN_ORDER those in flight
 * have a turn, each one. */
static void check_sound(const struct vq *q)
{
    bool seen[SLOTS] = {false};
    check(q->touched <= SLOTS && q->n_free <= q->touched);
    check(q->in_flight == q->touched - q->n_free);
    for (unsigned i = 0; i < q->n_free; i++) {
        check(q->free_slots[i] < q->touched && !seen[q->free_slots[i]]);
        seen[q->free_slots[i]] = true;
    }
    if (!q->order)
        return;
    check(q->order_n == q->in_flight && q->order_first < SLOTS);
    for (unsigned i = 0; i < q->order_n; i++) {
        uint16_t slot = q->order[(q->order_first + i) % SLOTS];
        check(slot < q->touched && !seen[slot]);
        seen[slot] = true;
    }
}

/* --- a ring format --- */

static int format_open(struct vq *q, const struct vq_config *cfg)
{
    (void)cfg;
    q->n_ids = SLOTS;
    return any(0, 1) ? 0 : -EINVAL;
}

static int format_pop(struct vq *q, struct vq_req *r)
{
    (void)q;
    check(r->n_out == 0 && r->n_in == 0 && r->out_len == 0 && r->in_len == 0 && r->written == 0);
    check(r->core.cap == VQ_INLINE_SEGMENTS);
    r->iov[VQ_INLINE_SEGMENTS - 1].iov_len = any64(); /* it is there */
    r->core.head = (uint16_t)any(0, UINT16_MAX);
    if (any(0, 1))
        return 1;
    return any(0, 1) ? 0 : -(int)any(1, 200);
}

static void format_unpop(struct vq *q, const struct vq_req *r)
{
    check(!is_free(q, r->core.slot));
}

static void format_push(struct vq *q, const struct vq_req *r)
{
    check(!is_free(q, r->core.slot));
}

static bool format_any(struct vq *q)
{
    (void)q;
    return any(0, 1);
}

static bool format_ready(const struct vq *q)
{
    (void)q;
    return any(0, 1);
}

static void format_disarm(struct vq *q)
{
    (void)q;
}

static void format_save(const struct vq *q, struct vq_config *cfg)
{
    (void)q, (void)cfg;
}

#define FORMAT                                                                                     \
    {                                                                                              \
        .open = format_open, .pop = format_pop, .unpop = format_unpop, .push = format_push,        \
        .publish = format_any, .ready = format_ready, .arm = format_any, .disarm = format_disarm,  \
        .save = format_save                                                                        \
    }
const struct vq_ring_ops vq_split_ops = FORMAT, vq_packed_ops = FORMAT;

/* --- a device --- */

const char *vdev_name(const struct vdev *d)
{
    (void)d;
    return "any";
}

void vdev_fail(struct vdev *d, const char *fmt, ...)
{
    (void)d, (void)fmt;
}

bool vdev_failed(const struct vdev *d)
{
    (void)d;
    return any(0, 1);
}

void vdev_queue_interrupt(struct vdev *d, unsigned i)
{
    (void)d, (void)i;
}

void vdev_queue_idle(struct vdev *d, unsigned i)
{
    (void)d, (void)i;
    check(queue->in_flight == 0);
}

void vdev_queue_kicked(struct vdev *d, struct vq *q)
{
    (void)d;
    check(!q->stopping && q->budget == q->size);
    kicked = true;
}

unsigned gmem_regions(const struct gmem *m, const struct gmem_region **out)
{
    (void)m;
    *out = NULL;
    return 0;
}

/* --- induction --- */

enum { SLOT_SIZE = (sizeof(struct slot) + STATE + VQ_LINE - 1) / VQ_LINE * VQ_LINE };
static uint8_t slot_mem[SLOTS * SLOT_SIZE] __attribute__((aligned(64)));
static uint16_t free_slots[SLOTS], order[SLOTS];
static struct vq any_q;

/* In each row any of the first n rows is a permutation of the first slots, if n is 1, 2 or 6. */
static const uint8_t permutations[6][3] = {{0, 1, 2}, {1, 0, 2}, {0, 2, 1},
                                           {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};

/* Of `touched` slots the first n_free of a row are free, and the rest was taken in that order. */
static void make(unsigned touched, unsigned n_free, unsigned row, unsigned first)
{
    struct vq *q = queue = &any_q;
    q->ops = &vq_split_ops;
    q->size = SIZE;
    q->slots = SLOTS;
    q->slot_size = SLOT_SIZE;
    q->slot_mem = slot_mem;
    q->free_slots = free_slots;
    q->touched = touched;
    q->n_free = n_free;
    q->in_flight = touched - n_free;
    q->order = IN_ORDER ? order : NULL;
    q->order_first = first;
    q->order_n = IN_ORDER ? q->in_flight : 0;
    q->task = (struct loop_task){.fn = run_task, .ctx = q};
    q->poll = (struct loop_poll){.ready = poll_ready, .arm = poll_arm, .ctx = q, .task = &q->task};
    q->publish = (struct loop_task){.fn = publish_task, .ctx = q};
    q->idle = (struct loop_task){.fn = idle_task, .ctx = q};
    q->stopping = any(0, 1);
    q->abort = any(0, 1);
    q->broken = any(0, 1);
    q->armed = any(0, 1);
    q->stalled = any(0, 1);
    q->unpublished = any(0, 1);
    q->budget = (uint16_t)any(0, SIZE);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *s = slot_at(q, i);
        uint16_t slot = permutations[row][i];
        free_slots[i] = i < n_free ? slot : (uint16_t)any(0, UINT16_MAX);
        order[i] = (uint16_t)any(0, UINT16_MAX);
        s->req.iov = s->inline_iov;
        s->req.core = (struct vq_core){.cap = VQ_INLINE_SEGMENTS, .slot = (uint16_t)i};
        s->req.core.done = any(0, 1);
    }
    for (unsigned i = n_free; i < touched; i++)
        order[(first + i - n_free) % SLOTS] = permutations[row][i];
    if (n_free < touched) /* or its turn would have ended it */
        slot_at(q, permutations[row][n_free])->req.core.done = false;
    task_due = any(0, 1);
    publish_due = any(0, 1);
    idle_due = kicked = false;
}

static void take(struct vq *q)
{
    unsigned before = q->in_flight;
    bool free_before[SLOTS], may = !q->stopping && !q->broken && q->budget > 0;
    for (unsigned i = 0; i < SLOTS; i++)
        free_before[i] = i >= q->touched || is_free(q, i);
    struct vq_req *r = vq_next(q);
    check_sound(q);
    check(q->in_flight == before + (r != NULL));
    if (r) {
        check(may && free_before[r->core.slot]);
        memset(vq_req_state(q, r), 0, STATE);
    }
}

static void end(struct vq *q, unsigned i)
{
    struct vq_req *r = &slot_at(q, i)->req;
    if (i >= q->touched || is_free(q, i) || (IN_ORDER && r->core.done))
        return;
    vq_complete(q, r);
    check_sound(q);
    check(IN_ORDER || is_free(q, i));
    check(idle_due == (q->stopping && q->in_flight == 0));
}

static void give_back(struct vq *q, unsigned newest)
{
    if (q->in_flight == 0)
        return;
    vq_unpop(q, &slot_at(q, newest)->req);
    check_sound(q);
    check(is_free(q, newest));
}

static void stop(struct vq *q)
{
    bool idle = vq_stop(q, any(0, 1));
    check(idle == (q->in_flight == 0) && q->stopping && !task_due && !publish_due);
    check(vq_next(q) == NULL);
    vq_poke(q);
    check(!task_due && !idle_due && !kicked);
    check_sound(q);
}

static void call(unsigned what, unsigned newest)
{
    struct vq *q = &any_q;
    switch (what) {
    case 0:
        take(q);
        break;
    case 1:
        give_back(q, newest);
        break;
    case 2:
        stop(q);
        break;
    case 3:
        vq_start(q);
        break;
    case 4:
        q->task.fn(q->task.ctx);
        break;
    case 5:
        q->publish.fn(q->publish.ctx);
        break;
    case 6:
        (void)q->poll.ready(q->poll.ctx);
        (void)q->poll.arm(q->poll.ctx);
        break;
    default:
        end(q, what - 7);
    }
    check_sound(q);
}

static void induction(unsigned touched, unsigned rows)
{
    for (unsigned n_free = 0; n_free <= touched; n_free++) {
        for (unsigned row = 0; row < rows; row++) {
            for (unsigned first = 0; first < (IN_ORDER ? SLOTS : 1); first++) {
                for (unsigned what = 0; what < 7 + SLOTS; what++) {
                    make(touched, n_free, row, first);
                    call(what, permutations[row][touched ? touched - 1 : 0]);
                }
            }
        }
    }
}

/* --- the beginning, and the end --- */

static void open_and_close(void)
{
    const struct vq_config cfg = {.max_size = SLOTS, .size = SLOTS};
    const struct vq_open_args a = {.cfg = &cfg, .req_size = STATE, .in_order = IN_ORDER};
    if (vq_open(&a, &queue) < 0)
        return;
    struct vq *q = queue;
    check_sound(q);
    check(q->slots == SLOTS && q->slot_size == SLOT_SIZE);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct vq_req *r = slot_take(q);
        check(r != NULL);
        memset(vq_req_state(q, r), 0, STATE);
        q->free_slots[i] = 0;
        if (IN_ORDER)
            q->order[i] = 0;
        r->iov[0] = (struct iovec){.iov_base = q, .iov_len = 1};
        if (vq_req_grow(r) == 0) {
            check(r->core.cap > VQ_INLINE_SEGMENTS && r->iov[0].iov_base == q);
            r->iov[r->core.cap - 1].iov_len = 1;
        }
    }
    check(slot_take(q) == NULL);
    vq_close(q);
}

/* Of what was grown before. */
static void grow(unsigned cap)
{
    static struct slot s;
    struct vq_req *r = &s.req;
    r->core.cap = cap;
    r->iov = malloc(cap * sizeof(r->iov[0]));
    if (!r->iov)
        return;
    r->iov[0].iov_len = 1;
    if (vq_req_grow(r) == 0) {
        check(r->core.cap > cap && r->core.cap <= VQ_CHAIN_MAX && r->iov[0].iov_len == 1);
        r->iov[r->core.cap - 1].iov_len = 1;
    }
    free(r->iov);
}

/* --- copies --- */

enum { MOST = 6 };

static void copies(size_t a, size_t b, size_t c, unsigned n_out)
{
    static uint8_t first[2], second[2], third[2], buf[MOST]; /* what is cut off them ends there */
    uint8_t *memory[3] = {first, second, third};
    size_t len[3] = {a, b, c};
    struct iovec iov[3];
    struct vq_req r = {.iov = iov, .n_out = n_out, .n_in = 3 - n_out};
    for (unsigned i = 0; i < 3; i++) {
        iov[i] = (struct iovec){.iov_base = memory[i] + 2 - len[i], .iov_len = len[i]};
        *(i < n_out ? &r.out_len : &r.in_len) += len[i];
    }
    for (size_t off = 0; off <= MOST + 1; off++) {
        for (size_t n = 0; n <= MOST; n++) {
            int rc = vq_req_read(&r, off, buf + MOST - n, n);
            check(rc == (off + n <= r.out_len ? 0 : -EMSGSIZE));
            rc = vq_req_write(&r, off, buf + MOST - n, n);
            check(rc == (off + n <= r.in_len ? 0 : -EMSGSIZE));
        }
        check(vq_req_read(&r, off, buf, MOST + 1 + any64_upto(UINT64_MAX - MOST - 1)) < 0);
    }
    check(vq_req_write(&r, MOST + 1 + any64_upto(UINT64_MAX - MOST - 1), buf, any64()) < 0);
}

int main(void)
{
    open_and_close();
    grow(VQ_INLINE_SEGMENTS + 1);
    grow(VQ_CHAIN_MAX / 4);
    grow(VQ_CHAIN_MAX / 4 + 1);
    grow(VQ_CHAIN_MAX - 1);
    grow(VQ_CHAIN_MAX);
    induction(0, 1);
    induction(1, 1);
    if (SLOTS > 1)
        induction(2, 2);
    if (SLOTS > 2)
        induction(3, 6);
    for (unsigned lens = 0; lens < 8; lens++) {
        for (unsigned n_out = 0; n_out <= 3; n_out++)
            copies(1 + (lens & 1), 1 + (lens >> 1 & 1), 1 + (lens >> 2), n_out);
    }
    return 0;
}
