/* tests/fuzz/fuzz_rings.c - the two ring formats against each other and against a model of ten
 * lines: one sequence of buffers, good and bad, notifications, completions in any order, resets and
 * migrations. The device must see the same requests in both, and the driver get the same back; or
 * both rings are broken, and at the same buffer.
 *
 * The drivers ring only when the device asked for it, so a lost wake-up is a request that one side
 * has not seen. What only one format can say (indices that jump, a table in a table) is left to the
 * targets of the devices. */
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "devices/virtio/vdev.h"
#include "tests/rig/rig_priv.h"

enum { STEPS_MAX = 200, BUFFERS_MAX = 256, DESCS_MAX = 5, SIZE_MAX_LOG = 4, SIDES = 2 };
enum { ARENA = 24 << 20, ARENA_LEN = 64 << 10 };

/* --- the device: keeps what it takes until it is told to give it back --- */

struct seen {
    struct rig_seg seg[DESCS_MAX];
    unsigned n_out, n_in;
};
struct taker {
    struct vq *vq;
    struct vq_req *held[BUFFERS_MAX];
    unsigned n;
    struct seen seen[BUFFERS_MAX]; /* since the driver looked last */
    unsigned n_seen;
    bool unpop; /* the next one is given back once */
    const uint8_t *ram;
};

static void note(struct taker *t, const struct vq_req *q)
{
    struct seen *s = &t->seen[t->n_seen++];
    size_t out = 0, in = 0;
    EXPECT(t->n_seen <= BUFFERS_MAX && q->n_out + q->n_in <= DESCS_MAX);
    s->n_out = q->n_out;
    s->n_in = q->n_in;
    for (unsigned i = 0; i < q->n_out + q->n_in; i++) {
        const struct iovec *v = &q->iov[i];
        s->seg[i] = (struct rig_seg){GPA((uint64_t)((uint8_t *)v->iov_base - t->ram)),
                                     (uint32_t)v->iov_len};
        *(i < q->n_out ? &out : &in) += v->iov_len;
    }
    EXPECT(out == q->out_len && in == q->in_len);
}

static void kick(struct vdev *d, struct vq *q)
{
    struct taker *t = vdev_priv(d);
    t->vq = q;
    vq_for_each (req, q) {
        if (t->unpop) {
            t->unpop = false;
            vq_unpop(q, req);
            vq_poke(q);
            return;
        }
        note(t, req);
        t->held[t->n++] = req;
    }
}

static void drain(struct vdev *d, struct vq *q)
{
    struct taker *t = vdev_priv(d);
    while (t->n > 0) {
        t->held[--t->n]->written = 0;
        vq_complete(q, t->held[t->n]);
    }
}

static void no_config(struct vdev *d, void *cfg)
{
    (void)d, (void)cfg;
}

static void free_taker(struct vdev *d)
{
    free(vdev_priv(d));
}

static const struct vdev_ops ops = {
    .config_read = no_config, .kick = kick, .drain = drain, .free = free_taker};
static int create(const void *opts, const struct build_env *env, struct vdev **out, struct err *e);
static const struct vdev_class taker_class = {
    .name = "taker", .virtio_id = VIRTIO_ID_9P, .ops = &ops, .create = create};

static int create(const void *opts, const struct build_env *env, struct vdev **out, struct err *e)
{
    struct taker *t = calloc(1, sizeof(*t));
    (void)e;
    EXPECT(t);
    t->ram = gmem_at(env->mem, GPA(0), 1);
    return vdev_new(&taker_class, env, t, opts, 1, out);
}

/* --- buffers, and what becomes of them --- */

struct buffer {
    struct rig_packed desc[DESCS_MAX]; /* flags: WRITE only */
    unsigned n;
    bool indirect, with_next;   /* NEXT beside INDIRECT */
    uint32_t table_off;         /* bytes that the table's length is wrong by */
    gpa_t table_at;             /* 0: where the table is */
    const struct buffer *again; /* in flight already when it was added */
    struct {
        uint16_t id, slots[DESCS_MAX]; /* split: the descriptors that it has */
        unsigned n_slots;
    } side[SIDES];
    enum { ADDED, TAKEN, DONE, USED } state;
    uint32_t written;
};

struct game {
    struct rig *r[SIDES]; /* split, packed */
    struct taker *dev[SIDES];
    uint16_t size;
    bool has_indirect, has_events, in_order, listens, broken;
    unsigned later;    /* the driver wants to hear of this one of the next; 0: as `listens` says */
    bool heard[SIDES]; /* it has: a packed ring counts descriptors, so it may be before its time */
    struct buffer b[BUFFERS_MAX]; /* of this life of the queue, as they were added */
    unsigned n, taken;            /* the first `taken` were */
    unsigned order[BUFFERS_MAX];  /* as they were used, */
    unsigned n_order, n_got;      /* and how many of these the driver has had back */
    uint32_t slots;               /* split: a bit for each descriptor in use */
    unsigned descs;               /* packed: of buffers that were not used yet */
};

/* 2.7.4.2, 2.8.17: readable first; empty ones are none. False: not a chain that a driver may make.
 */
static bool model_chain(const struct buffer *b, struct seen *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < b->n; i++) {
        const struct rig_packed *d = &b->desc[i];
        bool in = d->flags & VRING_DESC_F_WRITE;
        if (!in && out->n_in)
            return false;
        if (d->len == 0)
            continue;
        if (d->addr >= RIG_RAM || d->len > RIG_RAM - d->addr)
            return false;
        out->seg[out->n_out + out->n_in] = (struct rig_seg){GPA(d->addr), d->len};
        *(in ? &out->n_in : &out->n_out) += 1;
    }
    return true;
}

static bool model_valid(const struct game *g, const struct buffer *b, struct seen *out)
{
    if (b->indirect && (!g->has_indirect || b->with_next || b->table_off || b->table_at.v))
        return false;
    if (b->again && b->again->state == TAKEN)
        return false;
    return model_chain(b, out);
}

/* 2.7.9, 2.8.9: with IN_ORDER what is done waits for what came before it. */
static void model_complete(struct game *g, unsigned done, uint32_t written)
{
    g->b[done].written = written;
    g->b[done].state = DONE;
    for (unsigned i = g->in_order ? 0 : done; i < g->taken; i++) {
        if (g->b[i].state == DONE) {
            g->b[i].state = USED;
            g->order[g->n_order++] = i;
        }
        if (!g->in_order || g->b[i].state == TAKEN)
            return;
    }
}

/* --- the drivers --- */

static unsigned ring_descs(const struct buffer *b)
{
    return b->indirect ? 1 : b->n;
}

static gpa_t table_new(struct rig *r, const struct buffer *b, bool packed)
{
    gpa_t table = rig_alloc(r, (b->n + 1) * 16u);
    for (unsigned i = 0; i < b->n; i++) {
        bool more = !packed && i + 1 < b->n;
        rig_forge(r, table, i, b->desc[i].addr, b->desc[i].len,
                  b->desc[i].flags | (more ? VRING_DESC_F_NEXT : 0), packed ? 0 : i + 1);
    }
    return table;
}

static struct rig_packed head_of(struct rig *r, const struct buffer *b, bool packed)
{
    gpa_t table = table_new(r, b, packed);
    return (struct rig_packed){
        .addr = b->table_at.v ? b->table_at.v : table.v,
        .len = b->n * 16 + b->table_off,
        .flags = VRING_DESC_F_INDIRECT | (b->with_next ? VRING_DESC_F_NEXT : 0),
    };
}

static void add_split(struct game *g, struct buffer *b)
{
    struct rig *r = g->r[0];
    unsigned n = ring_descs(b);
    if (b->again) { /* its descriptors are never free again */
        b->side[0].id = b->again->side[0].id;
        rig_offer(r, 0, b->side[0].id);
        return;
    }
    for (uint16_t i = 0; b->side[0].n_slots < n; i++) {
        if (g->slots >> i & 1)
            continue;
        g->slots |= 1u << i;
        b->side[0].slots[b->side[0].n_slots++] = i;
    }
    struct rig_packed head = b->indirect ? head_of(r, b, false) : (struct rig_packed){0};
    for (unsigned i = 0; i < n; i++) {
        const struct rig_packed *d = b->indirect ? &head : &b->desc[i];
        bool more = i + 1 < n;
        rig_forge(r, r->q[0].desc, b->side[0].slots[i], d->addr, d->len,
                  d->flags | (more ? VRING_DESC_F_NEXT : 0), more ? b->side[0].slots[i + 1] : 0);
    }
    b->side[0].id = b->side[0].slots[0];
    rig_offer(r, 0, b->side[0].id);
}

static void add_packed(struct game *g, struct buffer *b, uint16_t id)
{
    struct rig *r = g->r[1];
    struct rig_packed d[DESCS_MAX];
    unsigned n = ring_descs(b);
    if (b->indirect)
        d[0] = head_of(r, b, true);
    else
        memcpy(d, b->desc, sizeof(d));
    b->side[1].id = b->again ? b->again->side[1].id : id;
    for (unsigned i = 0; i < n; i++) {
        d[i].id = b->side[1].id;
        d[i].flags |= i + 1 < n ? VRING_DESC_F_NEXT : 0;
    }
    rig_place(r, 0, d, n);
    g->descs += n;
}

/* Room in both rings; a queue of one entry has room for one. */
static bool has_room(const struct game *g, unsigned n)
{
    return g->n < BUFFERS_MAX && g->descs + n <= g->size &&
           (unsigned)__builtin_popcount(g->slots) + n <= g->size;
}

static void add(struct game *g, struct script *s)
{
    enum { INDIRECT = 8, FAULT = 16 };
    uint8_t shape = take8(s), fault = shape & FAULT ? take8(s) : 0;
    struct buffer b = {.n = 1 + shape % DESCS_MAX, .indirect = shape & INDIRECT};
    for (unsigned i = 0; i < b.n; i++) {
        uint8_t d = take8(s);
        b.desc[i].flags = d & 1 ? VRING_DESC_F_WRITE : 0;
        b.desc[i].addr = ARENA + d * 64u;
        b.desc[i].len = d >> 1 & 0x3f;
    }
    if (shape & FAULT) {
        struct rig_packed *d = &b.desc[fault / 8 % b.n];
        switch (fault % 8) {
        case 0:
            d->addr = take(s, 8);
            break;
        case 1:
            d->addr = RIG_RAM - take8(s);
            break;
        case 2:
            d->len = (uint32_t)take(s, 4);
            break;
        case 3:
            b.table_off = 1 + take8(s) % 15;
            break;
        case 4:
            b.table_at = GPA(RIG_RAM - take8(s) % 16);
            break;
        case 5:
            b.with_next = b.indirect;
            break;
        case 6:
            b.table_off = -(b.n * 16);
            break;
        case 7: /* one that the device has */
            for (unsigned i = g->n; i-- > 0 && !b.again;) {
                if (g->b[i].state == TAKEN && !g->b[i].again) {
                    b = g->b[i];
                    b.again = &g->b[i];
                    b.state = ADDED;
                    g->b[i].side[0].n_slots = 0;
                }
            }
            break;
        }
    }
    if (!has_room(g, ring_descs(&b)))
        return;
    g->b[g->n] = b;
    add_split(g, &g->b[g->n]);
    add_packed(g, &g->b[g->n], (uint16_t)take(s, 1) << 8 | (uint8_t)g->n);
    g->n++;
}

/* --- comparison --- */

static const char *const names[SIDES] = {"split", "packed"};

static bool same(const struct seen *a, const struct seen *b)
{
    if (a->n_out != b->n_out || a->n_in != b->n_in)
        return false;
    for (unsigned i = 0; i < a->n_out + a->n_in; i++) {
        if (a->seg[i].at.v != b->seg[i].at.v || a->seg[i].len != b->seg[i].len)
            return false;
    }
    return true;
}

/* All that was added is taken now, up to the first that is not valid. */
static void compare_seen(struct game *g)
{
    unsigned k = 0;
    for (; !g->broken && g->taken < g->n; g->taken++) {
        struct seen want;
        if (!model_valid(g, &g->b[g->taken], &want)) {
            g->broken = true;
            break;
        }
        g->b[g->taken].state = TAKEN;
        for (unsigned i = 0; i < SIDES; i++) {
            EXPECT(k < g->dev[i]->n_seen, "%s has not seen buffer %u", names[i], g->taken);
            EXPECT(same(&g->dev[i]->seen[k], &want), "%s sees buffer %u as another", names[i],
                   g->taken);
        }
        k++;
    }
    for (unsigned i = 0; i < SIDES; i++) {
        EXPECT(g->dev[i]->n_seen == k, "%s has seen %u, not %u", names[i], g->dev[i]->n_seen, k);
        g->dev[i]->n_seen = 0;
        EXPECT(rig_needs_reset(g->r[i]) == g->broken, "%s is%s broken", names[i],
               g->broken ? " not" : "");
    }
}

static void compare_used(struct game *g)
{
    unsigned n = g->n_order - g->n_got;
    bool some = n > 0;
    for (; g->n_got < g->n_order; g->n_got++) {
        struct buffer *b = &g->b[g->order[g->n_got]];
        for (unsigned i = 0; i < SIDES; i++) {
            uint32_t id, len;
            if (i == 1) /* the same ID twice is one that the rig does not expect */
                g->r[1]->q[0].span[b->side[1].id] = (uint16_t)ring_descs(b);
            EXPECT(rig_used(g->r[i], 0, &id, &len), "%s: buffer %u is not used", names[i],
                   g->order[g->n_got]);
            EXPECT(id == b->side[i].id && len == b->written, "%s: ID %u with %u, not %u with %u",
                   names[i], id, len, b->side[i].id, b->written);
        }
        for (unsigned i = 0; i < b->side[0].n_slots; i++)
            g->slots &= ~(1u << b->side[0].slots[i]);
        g->descs -= ring_descs(b);
    }
    for (unsigned i = 0; i < SIDES; i++) {
        uint32_t id, len;
        unsigned irqs = rig_irqs(g->r[i]);
        EXPECT(!rig_used(g->r[i], 0, &id, &len), "%s: more is used", names[i]);
        g->heard[i] |= irqs > 0;
        EXPECT(g->later ? g->heard[i] || n < g->later : irqs > 0 || !some || !g->listens,
               "%s: no interrupt", names[i]);
    }
    g->later -= MIN(g->later, n);
}

static void listen_again(struct game *g)
{
    for (unsigned i = 0; i < SIDES && !g->broken && !g->later; i++) {
        if (g->listens)
            rig_listen(g->r[i], 0);
        else
            rig_hush(g->r[i], 0);
    }
}

/* 2.7.10, 2.8.10: with EVENT_IDX a driver can ask for one interrupt after several buffers. */
static void listen_later(struct game *g, struct script *s)
{
    unsigned nth = 1 + take8(s) % g->size;
    if (!g->has_events || g->broken)
        return;
    g->later = nth;
    for (unsigned i = 0; i < SIDES; i++) {
        g->heard[i] = false;
        rig_listen_at(g->r[i], 0, nth);
    }
}

static void settle(struct game *g)
{
    for (unsigned i = 0; i < SIDES; i++)
        rig_settle(g->r[i]);
}

static void ring_bell(struct game *g)
{
    for (unsigned i = 0; i < SIDES; i++) {
        if (rig_must_kick(g->r[i], 0))
            rig_kick(g->r[i], 0);
    }
    settle(g);
    compare_seen(g);
}

/* --- what happens --- */

static void complete(struct game *g, struct script *s)
{
    unsigned nth = take8(s), written = take8(s), held = g->dev[0]->n, in_len = 0;
    EXPECT(g->dev[1]->n == held, "%u and %u", held, g->dev[1]->n);
    if (held == 0 || g->broken)
        return;
    nth %= held;
    unsigned which = 0;
    for (unsigned n = 0; which < g->taken; which++) {
        if (g->b[which].state == TAKEN && n++ == nth)
            break;
    }
    for (unsigned i = 0; i < SIDES; i++) {
        struct taker *t = g->dev[i];
        struct vq_req *req = t->held[nth];
        memmove(&t->held[nth], &t->held[nth + 1], (--t->n - nth) * sizeof(t->held[0]));
        in_len = (unsigned)req->in_len;
        req->written = MIN(written, in_len);
        vq_complete(t->vq, req);
    }
    model_complete(g, which, MIN(written, in_len));
    settle(g);
    compare_used(g);
    listen_again(g);
}

/* The device drops what it has, the last one first, and both go on. */
static void migrate(struct game *g)
{
    bool had = g->broken;
    for (unsigned i = g->taken; i-- > 0 && !had;) {
        if (g->b[i].state == TAKEN)
            model_complete(g, i, 0);
    }
    for (unsigned i = 0; i < SIDES; i++)
        rig_save_and_load(g->r[i]);
    settle(g);
    compare_seen(g);
    if (!had)
        compare_used(g);
    listen_again(g);
}

static void begin_life(struct game *g)
{
    for (unsigned i = 0; i < SIDES; i++) {
        g->dev[i]->n_seen = 0;
        EXPECT(g->dev[i]->n == 0);
    }
    g->n = g->taken = g->n_order = g->n_got = g->descs = 0;
    g->slots = 0;
    g->later = 0;
    g->broken = false;
    listen_again(g);
}

static void reset_queue(struct game *g)
{
    if (g->broken)
        return;
    for (unsigned i = 0; i < SIDES; i++) {
        g->r[i]->regs->queue_reset(g->r[i], 0);
        (void)rig_irqs(g->r[i]);
        rig_queue_up(g->r[i], 0);
    }
    settle(g);
    begin_life(g);
}

static void revive(struct game *g)
{
    for (unsigned i = 0; i < SIDES; i++) {
        rig_up_again(g->r[i]);
        (void)rig_irqs(g->r[i]);
    }
    begin_life(g);
}

static void step(struct game *g, struct script *s)
{
    enum {
        ADD,
        ADD_AND_RING,
        ADD_TOO,
        COMPLETE,
        COMPLETE_TOO,
        LISTEN,
        MIGRATE,
        QUEUE_RESET,
        REVIVE,
        UNPOP,
        LATER,
        STEPS
    };
    switch (take8(s) % STEPS) {
    case ADD:
    case ADD_TOO:
        add(g, s);
        break;
    case ADD_AND_RING:
        add(g, s);
        ring_bell(g);
        break;
    case COMPLETE:
    case COMPLETE_TOO:
        ring_bell(g);
        complete(g, s);
        break;
    case LISTEN:
        g->listens = !g->listens;
        listen_again(g);
        break;
    case MIGRATE:
        ring_bell(g);
        migrate(g);
        break;
    case QUEUE_RESET:
        reset_queue(g);
        break;
    case REVIVE:
        revive(g);
        break;
    case UNPOP:
        for (unsigned i = 0; i < SIDES; i++)
            g->dev[i]->unpop = true;
        break;
    case LATER:
        listen_later(g, s);
        break;
    }
}

void fuzz_rings(struct script *s, const char *which)
{
    enum { EVENT_IDX = 0x10, IN_ORDER = 0x20, NO_INDIRECT = 0x40, DATA = 0x80 };
    struct game *g = calloc(1, sizeof(*g));
    uint8_t how = take8(s);
    (void)which;
    EXPECT(g);
    g->size = (uint16_t)(1 << how % (SIZE_MAX_LOG + 1));
    g->in_order = how & IN_ORDER;
    g->has_events = how & EVENT_IDX;
    g->has_indirect = !(how & NO_INDIRECT);
    g->listens = true;
    for (unsigned i = 0; i < SIDES; i++) {
        const struct rig_options o = {.packed = i == 1,
                                      .in_order = g->in_order,
                                      .no_indirect = how & NO_INDIRECT,
                                      .no_event_idx = !(how & EVENT_IDX),
                                      .notification_data = how & DATA,
                                      .backend = LOOP_EPOLL};
        g->r[i] = rig_up_class(&taker_class, &g->size, &o);
        g->dev[i] = vdev_priv(g->r[i]->dev);
    }
    for (unsigned i = 0; i < STEPS_MAX && s->len > 0; i++)
        step(g, s);
    ring_bell(g);
    for (unsigned i = 0; i < SIDES; i++)
        rig_down(g->r[i]);
    free(g);
}
