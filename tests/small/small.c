/* tests/small/small.c - see small.h: the memory, the queue's side, and what stands for a device and
 * a loop. */
#include "tests/small/small.h"

#include <criterion/criterion.h>
#include <sys/mman.h>

enum { PAGE = 4096 };
/* Where the buffers are, and how many bytes. */
static const uint64_t buffers = 1ull << 32;
static struct small *now; /* one at a time */

static uint64_t at_of(enum small_area a)
{
    return (2ull * a + 1) * PAGE; /* with a hole behind each */
}

/* --- what a queue asks of its device and its loop --- */

static struct loop_task *deferred;

const char *vdev_name(const struct vdev *d)
{
    (void)d;
    return "small";
}
bool vdev_failed(const struct vdev *d)
{
    (void)d;
    return false; /* the queue's own latch is what is tried */
}
void vdev_fail(struct vdev *d, const char *fmt, ...)
{
    (void)d, (void)fmt;
    now->is.broken = true;
}
void vdev_queue_interrupt(struct vdev *d, unsigned i)
{
    (void)d, (void)i;
    now->is.interrupts++;
}
void vdev_queue_idle(struct vdev *d, unsigned i)
{
    (void)d, (void)i;
}
void loop_defer(struct loop *l, struct loop_task *t)
{
    (void)l;
    deferred = t;
}
void loop_defer_cancel(struct loop *l, struct loop_task *t)
{
    (void)l, (void)t;
    deferred = NULL;
}
void loop_post(struct loop *l, struct loop_task *t)
{
    (void)l, (void)t; /* the budget of a turn is over, and small_run() gives another */
}
void loop_task_cancel(struct loop *l, struct loop_task *t)
{
    (void)l, (void)t;
}
bool loop_poll_join(struct loop *l, struct loop_poll *p)
{
    (void)l, (void)p;
    return false;
}
void loop_took(struct loop *l, unsigned n)
{
    (void)l, (void)n;
}

void loop_poll_leave(struct loop *l, struct loop_poll *p)
{
    (void)l, (void)p;
}

static uint64_t guest_of(const struct small *s, const uint8_t *host)
{
    const struct gmem_region *ram;
    (void)gmem_regions(s->mem, &ram);
    for (enum small_area a = 0; a < AREAS; a++) {
        if (host >= s->page[a] && host < s->page[a] + PAGE)
            return at_of(a) + (uint64_t)(host - s->page[a]);
    }
    return ram->base.v + (uint64_t)(host - ram->host);
}

static void take_note(struct small *s, const struct vq_req *r)
{
    cr_assert_lt(s->is.n, SMALL_REQS);
    struct small_req *o = &s->is.req[s->is.n++];
    *o = (struct small_req){.id = r->core.head,
                            .n_desc = s->c->packed ? r->core.n_desc : 0,
                            .n_out = r->n_out,
                            .n_in = r->n_in,
                            .len = r->out_len + r->in_len};
    cr_assert_leq(r->n_out + r->n_in, SMALL_SEGS);
    for (unsigned i = 0; i < r->n_out + r->n_in; i++)
        o->seg[i] = (struct small_seg){guest_of(s, r->iov[i].iov_base), r->iov[i].iov_len};
}

static void finish(struct small *s, struct vq_req *r)
{
    r->written = r->n_in;
    vq_complete(s->q, r);
}

void vdev_queue_kicked(struct vdev *d, struct vq *q)
{
    struct small *s = now;
    (void)d;
    vq_for_each (r, q) {
        if (s->c->mode == SMALL_UNPOP) {
            vq_unpop(q, r);
            q->budget = q->size; /* as in the next turn */
            r = vq_next(q);
            cr_assert(r, "what was given back is there again");
        }
        take_note(s, r);
        if (s->c->mode == SMALL_HOLD)
            s->held[s->n_held++] = r;
        else
            finish(s, r);
    }
}

/* --- the queue's side --- */

static int queue_open(struct small *s)
{
    const struct vq_open_args a = {.index = 0,
                                   .mem = s->mem,
                                   .cfg = &s->cfg,
                                   .packed = s->c->packed,
                                   .indirect = s->c->indirect,
                                   .event_idx = s->c->event_idx,
                                   .in_order = s->c->in_order};
    now = s;
    deferred = NULL;
    s->n_held = 0;
    return vq_open(&a, &s->q);
}

static void queue_round(struct small *s)
{
    vq_run(s->q);
    vq_run(s->q); /* as its device would after the budget of one turn */
    while (s->n_held > 0)
        finish(s, s->held[--s->n_held]);
    vq_run(s->q); /* that may have given it slots */
    if (deferred)
        deferred->fn(deferred->ctx);
    deferred = NULL;
}

static void explain(const struct small *s, const char *what)
{
    cr_log_error("%s: %s ring of %u, state %lu", what, s->c->packed ? "packed" : "split",
                 s->c->size, s->states);
    for (unsigned i = 0; i < s->choices.n; i++)
        cr_log_error("choice %u: %u of %u", i, s->choices.is[i], s->choices.of[i]);
    cr_log_error("taken %u, must be %u; broken %d, must be %d; interrupts %u, must be %u", s->is.n,
                 s->must.n, s->is.broken, s->must.broken, s->is.interrupts, s->must.interrupts);
    cr_assert_fail("%s", what);
}

static void compare(const struct small *s)
{
    if (s->is.broken != s->must.broken)
        explain(s, "one is broken and the other is not");
    if (s->is.n != s->must.n || memcmp(s->is.req, s->must.req, s->is.n * sizeof(s->is.req[0])) != 0)
        explain(s, "not the same requests");
    if (s->is.interrupts != s->must.interrupts && !s->must.any_interrupts)
        explain(s, "not the same interrupts");
    for (enum small_area a = 0; a < AREAS; a++) {
        if (memcmp(s->area[a], s->image[a], s->len[a]) != 0)
            explain(s, "not the same ring");
    }
}

/* --- memory --- */

static void up(struct small *s, const struct small_case *c)
{
    struct err e;
    const struct gmem_region buffer_region = {.base = GPA(buffers), .len = buffers};
    const struct gmem_options o = {0};
    const struct gmem_region *ram;
    *s = (struct small){.c = c,
                        .len = {[DESC] = c->size * (size_t)VQ_DESC_SIZE,
                                [DRIVER] = c->packed ? 4 : 6 + c->size * 2u,
                                [DEVICE] = c->packed ? 4 : 8 + c->size * 8u,
                                [TABLE] = SMALL_TABLE * VQ_DESC_SIZE}};
    cr_assert_eq(gmem_new(&buffer_region, 1, &o, &s->mem, &e), 0);
    cr_assert_eq(gmem_regions(s->mem, &ram), 1);
    cr_assert_eq(mprotect(ram->host, ram->len, PROT_NONE), 0);
    for (enum small_area a = 0; a < AREAS; a++) {
        s->page[a] = mmap(NULL, 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        cr_assert_neq(s->page[a], MAP_FAILED);
        cr_assert_eq(mprotect(s->page[a], PAGE, PROT_READ | PROT_WRITE), 0);
        const struct gmem_region r = {.base = GPA(at_of(a)), .len = PAGE, .host = s->page[a]};
        cr_assert_eq(gmem_add(s->mem, &r), 0);
        s->area[a] = s->page[a] + PAGE - s->len[a];
    }
    s->cfg = (struct vq_config){.desc = GPA(at_of(DESC) + PAGE - s->len[DESC]),
                                .driver = GPA(at_of(DRIVER) + PAGE - s->len[DRIVER]),
                                .device = GPA(at_of(DEVICE) + PAGE - s->len[DEVICE]),
                                .max_size = c->size,
                                .size = c->size,
                                .next_avail = c->next_avail,
                                .next_used = c->next_used};
}

static void down(struct small *s)
{
    for (enum small_area a = 0; a < AREAS; a++)
        (void)munmap(s->page[a], 2 * PAGE);
    gmem_free(s->mem);
}

void small_try(const struct small_case *c, const struct small_model *m, unsigned long *states)
{
    struct small *s = malloc(sizeof(*s));
    cr_assert(s);
    up(s, c);
    do {
        for (enum small_area a = 0; a < AREAS; a++) {
            /* What is not chosen would break the queue, if it were read. */
            int fill = a == DEVICE || a == DRIVER ? 0 : 0xff;
            memset(s->area[a], fill, s->len[a]);
            memset(s->image[a], fill, s->len[a]);
        }
        memset(&s->is, 0, sizeof(s->is));
        memset(&s->must, 0, sizeof(s->must));
        memset(s->known, 0, sizeof(s->known));
        cr_assert_eq(queue_open(s), 0);
        s->q->ops->disarm(s->q);
        m->begin(s);
        for (unsigned i = 0; i < c->rounds && !s->must.broken; i++) {
            m->round(s);
            queue_round(s);
        }
        struct vq_config saved = s->cfg, at = s->cfg;
        vq_save(s->q, &saved);
        m->at(&at.next_avail, &at.next_used);
        vq_close(s->q);
        if (!s->must.broken &&
            (saved.next_avail != at.next_avail || saved.next_used != at.next_used))
            explain(s, "not as far");
        s->states++;
        s->broken += s->must.broken;
        compare(s);
    } while (choose_next(&s->choices));
    cr_log_info("%s, %u: %lu states, %lu broken", c->packed ? "packed" : "split", c->size,
                s->states, s->broken);
    *states += s->states;
    down(s);
    free(s);
}

int small_open_moved(const struct small_case *c, enum small_area a, int by)
{
    struct small s;
    up(&s, c);
    gpa_t *area[] = {[DESC] = &s.cfg.desc, [DRIVER] = &s.cfg.driver, [DEVICE] = &s.cfg.device};
    area[a]->v += (uint64_t)by;
    int rc = queue_open(&s);
    vq_close(s.q);
    down(&s);
    return rc;
}

/* --- for models --- */

unsigned small_choose(struct small *s, unsigned of)
{
    return choose(&s->choices, of);
}

void small_write(struct small *s, enum small_area a, size_t off, uint64_t v, size_t n)
{
    put_bytes(s->area[a] + off, v, n);
    put_bytes(s->image[a] + off, v, n);
}

uint64_t small_read(const struct small *s, enum small_area a, size_t off, size_t n)
{
    return get_bytes(s->image[a] + off, n);
}

struct small_seg small_choose_seg(struct small *s)
{
    /* At the first byte, at the last one, behind it, and where the sum wraps. */
    const uint64_t at[] = {buffers, 2 * buffers - 1, 2 * buffers, UINT64_MAX};
    const uint32_t len[] = {0, 1, UINT32_MAX};
    static const struct {
        uint8_t at, len;
    } some[] = {{0, 1}, {2, 0}, {1, 2}, {0, 2}};
    static const unsigned n[] = {[SMALL_FEW] = 3, [SMALL_SOME] = 4, [SMALL_ALL] = 12};
    unsigned i = small_choose(s, n[s->c->alphabet]);
    return s->c->alphabet == SMALL_ALL ? (struct small_seg){at[i / 3], len[i % 3]}
                                       : (struct small_seg){at[some[i].at], len[some[i].len]};
}

struct small_seg small_choose_table(struct small *s)
{
    static const struct {
        uint8_t before_end, len;
    } tables[] = {{32, 32}, {32, 16}, {16, 16}, {16, 32}, {32, 0}, {32, 24}};
    unsigned i = small_choose(s, s->c->indirect ? ARRAY_SIZE(tables) : 1);
    return (struct small_seg){at_of(TABLE) + PAGE - tables[i].before_end, tables[i].len};
}

bool small_inside(struct small_seg seg)
{
    for (enum small_area a = 0; a < AREAS; a++) {
        if (seg.at >= at_of(a) && seg.at < at_of(a) + PAGE)
            return seg.len <= at_of(a) + PAGE - seg.at;
    }
    return seg.len == 0 ||
           (seg.at >= buffers && seg.at < 2 * buffers && seg.len <= 2 * buffers - seg.at);
}

bool small_is_table(struct small_seg seg)
{
    return seg.len > 0 && seg.len % VQ_DESC_SIZE == 0 && small_inside(seg);
}

unsigned small_table_at(struct small_seg table)
{
    return (unsigned)(SMALL_TABLE - (at_of(TABLE) + PAGE - table.at) / VQ_DESC_SIZE);
}

bool small_add(struct small_req *r, struct small_seg seg, bool write)
{
    if (!write && r->n_in)
        return false; /* 2.7.4.2 */
    if (seg.len == 0)
        return true; /* nothing, wherever it is */
    r->len += seg.len;
    if (r->len > 1ull << 32)
        return false; /* 2.7.5.2 */
    r->seg[r->n_out + r->n_in] = seg;
    *(write ? &r->n_in : &r->n_out) += 1;
    return true;
}
