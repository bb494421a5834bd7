/* tests/fuzz/guest.c - see guest.h. */
#include "tests/fuzz/guest.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/fuzz/clock.h"
#include "tests/fuzz/oracle.h"
#include "tests/rig/rig_priv.h"

enum {
    STEPS_MAX = 150,
    ARENA = 24 << 20, /* buffers; what the rig allocates is below */
    ARENA_LEN = 256 << 10,
    RIG_RAM_MOST = 16 << 20,
    SEGMENTS_MAX = 4,
    BEHIND = 32,         /* bytes behind what a device may write */
    RAM_FIRST = 0x10000, /* as the rig begins */
};
static const uint64_t MILLISECOND = 1000000;

/* --- numbers as they hurt --- */

/* Mostly where something is; sometimes anywhere. */
static uint64_t some_address(const struct guest *g, struct script *s)
{
    uint8_t how = take8(s);
    const struct rig_queue *q = &g->r->q[how % RIG_QUEUES];
    switch (how >> 6) {
    case 0:
        return ARENA + take(s, 2);
    case 1:
        return (how & 0x20 ? q->used.v : q->desc.v) + take8(s);
    case 2:
        return RIG_RAM - take(s, 2);
    default:
        return take(s, 8);
    }
}

static uint32_t some_length(struct script *s)
{
    uint8_t n = take8(s);
    if (n < 224)
        return n;
    return n < 240 ? 256u << (n - 224) / 2 : (uint32_t)take(s, 4);
}

static unsigned some_queue(const struct guest *g, struct script *s)
{
    unsigned q = take8(s) % RIG_QUEUES;
    for (unsigned i = 0; i < RIG_QUEUES; i++) {
        unsigned k = (q + i) % RIG_QUEUES;
        if (g->r->q[k].size)
            return k;
    }
    return q;
}

/* --- the device's life --- */

static void ram_anew(struct guest *g)
{
    if (g->r->ram_next > RIG_RAM_MOST)
        g->r->ram_next = g->ram_again;
}

static void accept_features(struct rig *r, uint64_t without)
{
    r->features = 0;
    for (uint32_t word = 0; word < (r->legacy ? 1 : VDEV_FEATURE_WORDS); word++) {
        uint32_t f = r->regs->features(r, word);
        if (word < 2) {
            f &= ~(uint32_t)(without >> 32 * word);
            r->features |= (uint64_t)f << 32 * word;
        }
        r->regs->accept(r, word, f);
    }
    r->ring = rig_has(r, VIRTIO_F_RING_PACKED) ? &rig_packed_ring : &rig_split_ring;
}

/* As rig_negotiate(), and with no belief that it succeeds. */
static void negotiate(struct guest *g, uint64_t without)
{
    struct rig *r = g->r;
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    ram_anew(g);
    rig_status_set(r, 0);
    EXPECT(rig_status(r) == 0);
    rig_status_set(r, status);
    accept_features(r, without);
    rig_status_set(r, status |= VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned i = 0; i < RIG_QUEUES; i++)
        rig_queue_up(r, i);
    rig_status_set(r, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void machine_reset(struct guest *g)
{
    ram_anew(g);
    transport_reset(g->r->transport);
    vdev_resume(g->r->dev);
    g->r->regs->up(g->r);
}

static void queue_reset(struct guest *g, struct script *s)
{
    struct rig *r = g->r;
    unsigned q = some_queue(g, s);
    if (r->regs->queue_reset)
        r->regs->queue_reset(r, q);
    else
        r->regs->queue_areas(r, q, 0, 0, 0);
    if (take8(s) % 4) {
        ram_anew(g);
        rig_queue_up(r, q);
    }
}

/* --- requests --- */

static gpa_t arena(struct guest *g, uint32_t len)
{
    if (len > ARENA_LEN) { /* it ends outside of RAM, or in what others have */
        g->astray = true;
        return GPA(ARENA + g->at);
    }
    if (g->at + len > ARENA_LEN) {
        g->astray = true; /* requests in flight may have it */
        g->at = 0;
    }
    gpa_t at = GPA(ARENA + g->at);
    g->at += align_up(len, 8);
    return at;
}

static void repeat(struct guest *g, struct rig_seg first)
{
    uint64_t from = (g->at - g->echo.back) % ARENA_LEN;
    if (g->echo.on && g->echo.at + g->echo.len <= first.len && from + g->echo.len <= ARENA_LEN)
        memmove(rig_at(g->r, GPA(first.at.v + g->echo.at), g->echo.len),
                rig_at(g->r, GPA(ARENA + from), g->echo.len), g->echo.len);
    g->echo.on = false;
}

static void request(struct guest *g, struct script *s)
{
    enum { INDIRECT = 0x10, SAYS_LENGTH = 0x20, KICK = 0x40, ZEROES = 0x80 };
    struct rig_seg seg[2 * SEGMENTS_MAX];
    unsigned q = some_queue(g, s);
    uint8_t shape = take8(s);
    unsigned n_out = shape % SEGMENTS_MAX, n_in = shape / SEGMENTS_MAX % SEGMENTS_MAX;
    uint32_t total = 0;
    if (g->r->q[q].size == 0)
        return;
    for (unsigned i = 0; i < n_out + n_in; i++) {
        uint32_t len = some_length(s);
        seg[i] = (struct rig_seg){arena(g, len), len};
        if (i >= n_out)
            continue;
        total += len;
        if (len <= ARENA_LEN && !(shape & ZEROES)) {
            uint32_t there = MIN(len, (uint32_t)s->len);
            take_bytes(s, rig_at(g->r, seg[i].at, there), there);
        }
    }
    if (n_out > 0 && seg[0].len >= 4) {
        repeat(g, seg[0]);
        if (shape & SAYS_LENGTH) /* as requests of many a kind begin */
            put_bytes(rig_at(g->r, seg[0].at, 4), total, 4);
    }
    if (n_out + n_in > 0 && n_out + n_in <= g->r->q[q].size)
        (void)(shape & INDIRECT ? rig_add_indirect : rig_add)(g->r, q, seg, n_out, seg + n_out,
                                                              n_in);
    if (shape & KICK)
        rig_kick(g->r, q);
}

static unsigned cut(struct script *s, struct rig_seg whole, struct rig_seg *to)
{
    unsigned n = 0;
    uint8_t how = take8(s);
    while (whole.len > 0) {
        uint32_t len = n + 1 < SEGMENTS_MAX && how % 4 ? MIN(whole.len, (uint32_t)how) : whole.len;
        to[n++] = (struct rig_seg){whole.at, len};
        whole.at.v += len;
        whole.len -= len;
    }
    return n;
}

/* Many protocols answer with a header of 16 bytes and then with what one asks by. */
static void remember(struct guest *g, gpa_t answer)
{
    enum { ANSWER_AT = 16 };
    g->pool[g->n_pool++ % REQUEST_POOL] = get_bytes(rig_at(g->r, GPA(answer.v + ANSWER_AT), 8), 8);
}

/* A device writes what was given to it to be written, and nothing else. */
static void untouched(const struct guest *g, const struct request *q, gpa_t out, gpa_t behind)
{
    const uint8_t *p = rig_at(g->r, behind, BEHIND);
    if (g->astray)
        return;
    EXPECT(memcmp(rig_at(g->r, out, q->n_out), q->out, q->n_out) == 0, "what it is to read");
    for (unsigned i = 0; i < BEHIND; i++)
        EXPECT(p[i] == BEHIND, "byte %u behind %u", i, q->n_in);
}

/* As a driver of this class would, more or less; its answer is waited for. */
static void plausible_request(struct guest *g, struct script *s)
{
    enum { INDIRECT = 1, IN_PIECES = 2, LATER = 4 };
    struct rig_seg seg[2 * SEGMENTS_MAX];
    struct request q;
    uint8_t how = take8(s);
    if (!request_make(g->w->class->name, s, g->pool, &q)) {
        request(g, s);
        return;
    }
    struct rig_seg out = {arena(g, q.n_out), q.n_out}, in = {arena(g, q.n_in + BEHIND), q.n_in};
    gpa_t behind = GPA(in.at.v + in.len);
    memcpy(rig_at(g->r, out.at, q.n_out), q.out, q.n_out);
    memset(rig_at(g->r, behind, BEHIND), BEHIND, BEHIND);
    unsigned n_out = 0, n_in = 0;
    if (how & IN_PIECES) {
        n_out = cut(s, out, seg);
        n_in = cut(s, in, seg + n_out);
    } else {
        if (q.n_out)
            seg[n_out++] = out;
        if (q.n_in)
            seg[n_out + n_in++] = in;
    }
    if (n_out + n_in == 0 || n_out + n_in > g->r->q[q.queue].size)
        return;
    (void)(how & INDIRECT ? rig_add_indirect : rig_add)(g->r, q.queue, seg, n_out, seg + n_out,
                                                        n_in);
    rig_kick(g->r, q.queue);
    if (!(how & LATER)) {
        rig_settle(g->r);
        untouched(g, &q, out.at, behind);
        remember(g, in.at);
    }
}

static void descriptors(struct guest *g, struct script *s)
{
    unsigned q = some_queue(g, s), n = 1 + take8(s) % 3;
    uint16_t head = (uint16_t)take(s, 2);
    struct rig_packed d[3];
    const struct rig_queue *rq = &g->r->q[q];
    g->astray = true;
    if (rq->size < n)
        return;
    for (unsigned i = 0; i < n; i++) {
        d[i].addr = some_address(g, s);
        d[i].len = some_length(s);
        d[i].flags = (uint16_t)take(s, 2);
        d[i].id = (uint16_t)take(s, 2);
    }
    if (g->r->ring == &rig_packed_ring) {
        rig_place(g->r, q, d, n);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        rig_forge(g->r, rq->desc, (head + i) % rq->size, d[i].addr, d[i].len, d[i].flags, d[i].id);
    rig_offer(g->r, q, head < 0x8000 ? head % rq->size : head);
}

/* Into a queue's areas, or a little behind them. */
static void scribble(struct guest *g, struct script *s)
{
    const struct rig_queue *q = &g->r->q[some_queue(g, s)];
    uint8_t how = take8(s);
    g->astray = true;
    const gpa_t areas[] = {q->desc, q->avail, q->used, GPA(ARENA)};
    uint64_t at = areas[how % 4].v + (how & 4 ? take(s, 2) : take8(s));
    unsigned len = 1 + how / 8 % 8;
    if (at + len <= RIG_RAM)
        take_bytes(s, rig_at(g->r, GPA(at), len), len);
}

static void good_request(struct guest *g)
{
    struct matrix_request q;
    ram_anew(g);
    if (g->r->q[g->cell.class->queue].size >= 4)
        g->cell.class->add(g->r, &q, rig_has(g->r, VIRTIO_RING_F_INDIRECT_DESC));
    rig_kick(g->r, g->cell.class->queue);
    rig_settle(g->r);
}

static void wish(struct guest *g, struct script *s)
{
    unsigned q = some_queue(g, s), nth = take8(s);
    if (g->r->q[q].size == 0)
        return;
    if (nth % 2)
        rig_hush(g->r, q);
    else
        rig_listen_at(g->r, q, nth / 2);
}

static void ignore_number(struct report *r, const char *name, uint64_t value)
{
    (void)r, (void)name, (void)value;
}

static void ignore_text(struct report *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
}

/* --- steps --- */

static void step(struct guest *g, struct script *s)
{
    enum {
        REQUEST,
        SETTLED_REQUEST,
        GOOD,
        KICK,
        SETTLE,
        ECHO,
        DESCRIPTORS,
        SCRIBBLE,
        CONFIG_WRITE,
        CONFIG_READ,
        STATUS,
        QUEUE_RESET,
        UP,
        MACHINE,
        SAVE_AND_LOAD,
        TIME,
        WISH,
        HOST,
        IRQS,
        NOTIFY,
        REPORT,
        PLAUSIBLE,
        STEPS = PLAUSIBLE + 12 /* mostly this */
    };
    struct rig *r = g->r;
    unsigned size;
    switch (take8(s) % STEPS) {
    case REQUEST:
        request(g, s);
        break;
    case SETTLED_REQUEST:
        request(g, s);
        for (unsigned i = 0; i < RIG_QUEUES; i++)
            rig_kick(r, i);
        rig_settle(r);
        break;
    case GOOD:
        good_request(g);
        break;
    case KICK:
        rig_kick(r, some_queue(g, s));
        break;
    case SETTLE:
        rig_settle(r);
        break;
    case ECHO:
        g->echo.on = true;
        g->echo.back = (uint16_t)take(s, 2);
        g->echo.at = take8(s);
        g->echo.len = 1 + take8(s) % 16;
        break;
    case DESCRIPTORS:
        descriptors(g, s);
        break;
    case SCRIBBLE:
        scribble(g, s);
        break;
    case CONFIG_WRITE:
        size = 1u << take8(s) % 3;
        rig_config_set(r, take8(s) & ~(size - 1), size, take(s, size));
        break;
    case CONFIG_READ:
        size = 1u << take8(s) % 3;
        (void)rig_config(r, take8(s) & ~(size - 1), size);
        break;
    case STATUS:
        rig_status_set(r, take8(s));
        break;
    case QUEUE_RESET:
        queue_reset(g, s);
        break;
    case UP:
        negotiate(g, take(s, 8));
        break;
    case MACHINE:
        machine_reset(g);
        negotiate(g, 0);
        break;
    case SAVE_AND_LOAD:
        oracle_migrate(r);
        break;
    case TIME:
        clock_pass(r->loop, MILLISECOND << take8(s) % 16);
        break;
    case WISH:
        wish(g, s);
        break;
    case HOST:
        world_act(g->w, r, s);
        break;
    case IRQS:
        (void)rig_irqs(r);
        break;
    case REPORT:
        vdev_report(r->dev, &(struct report){ignore_number, ignore_text});
        break;
    case NOTIFY:
        r->regs->notify(r, some_queue(g, s), (uint32_t)take(s, 4));
        break;
    default:
        plausible_request(g, s);
    }
}

void guest_run(struct guest *g, struct script *s)
{
    good_request(g); /* with which a session may begin */
    for (unsigned i = 0; i < STEPS_MAX && s->len > 0; i++)
        step(g, s);
    rig_settle(g->r);
    oracle_device(g->r);
}

/* --- lifetime --- */

static bool has_legacy(const char *class)
{
    for (unsigned i = 0; vdev_classes[i]; i++) {
        if (strcmp(vdev_classes[i]->name, class) == 0)
            return transport_has_legacy(vdev_classes[i]->virtio_id);
    }
    return false;
}

/* Sections without their checksums, so that what differs is named, and without what goes on for
 * ever. */
static void comparable(struct state_out *o)
{
    static const struct {
        const char *tag;
        size_t at, len;
    } goes_on[] = {
        {"VDEV", 3, 4},    /* the generation */
        {"BALN", 20, 4},   /* commands have numbers that are never used again, */
        {"FSTR", 0, 16},   /* and so have nodes and open files */
        {"RTCK", 47, 8},   /* what the second clock, the monotonic one, may not go back behind */
        {"SCSI", 16, 256}, /* what its units have yet to report */
    };
    oracle_blank(o, NULL, 0, 0);
    for (size_t i = 0; i < ARRAY_SIZE(goes_on); i++)
        oracle_blank(o, goes_on[i].tag, goes_on[i].at, goes_on[i].len);
}

struct guest *guest_new(struct world *w, struct script *s)
{
    enum { IN_ORDER = 1, NOTIFICATION_DATA = 2, NOTIF_CONFIG_DATA = 4, ADMIN_VQ = 8, PORTS = 16 };
    static const uint16_t sizes[] = {0, 4, 8, 64};
    static struct vdev_options v; /* the rig only borrows it while it begins */
    struct guest *g = calloc(1, sizeof(*g));
    uint8_t how = take8(s), more = take8(s);
    EXPECT(g);
    g->w = w;
    g->cell.class = w->class;
    g->cell.transport = how % RIG_TRANSPORTS;
    if (g->cell.transport != RIG_MMIO && !has_legacy(w->class->name))
        g->cell.transport = RIG_PCI;
    g->cell.packed = how & 0x40 && !cell_is_legacy(&g->cell);
    v = vdev_options_default;
    v.in_order = more & IN_ORDER;
    v.notification_data = more & NOTIFICATION_DATA;
    v.notif_config_data = more & NOTIF_CONFIG_DATA;
    v.admin_vq = more & ADMIN_VQ;
    v.queue_size = sizes[more >> 6];
    struct rig_options o = {.transport = g->cell.transport,
                            .vdev = &v,
                            .packed = g->cell.packed,
                            .intx = how & 0x80,
                            .ports = more & PORTS,
                            .backend = LOOP_EPOLL,
                            .no_event_idx = more & 0x20};
    g->r = rig_up(w->spec, &o);
    g->ram_again = g->r->ram_next;
    g->first = rig_save(g->r);
    comparable(&g->first);
    vdev_resume(g->r->dev);
    return g;
}

/* The same driver has begun again. What the user has changed stays, and is in the state. */
static void as_at_first(struct guest *g)
{
    struct state_out s = rig_save(g->r);
    comparable(&s);
    if (!g->w->turned)
        oracle_same(&g->first, &s);
    state_out_free(&s);
    vdev_resume(g->r->dev);
}

void guest_end(struct guest *g)
{
    struct rig *r = g->r;
    struct matrix_request q;
    unsigned queue = g->cell.class->queue;
    world_check(g->w, rig_at(r, GPA(ARENA), ARENA_LEN), ARENA_LEN);
    r->ram_next = RAM_FIRST;
    machine_reset(g);
    rig_negotiate(r);
    as_at_first(g);
    world_mark(g->w);
    EXPECT(!rig_needs_reset(r), "a reset did not revive it");
    ram_anew(g);
    g->cell.class->add(r, &q, true);
    rig_kick(r, queue);
    for (unsigned i = 0; i < 4; i++) { /* a rate limit may be at its end */
        rig_settle(r);
        clock_pass(r->loop, 1000 * MILLISECOND);
    }
    cell_expect(r, &g->cell, &q);
    rig_down(r);
    state_out_free(&g->first);
    free(g);
}
