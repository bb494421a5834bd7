/* tests/small/test_small_split.c - every split ring of up to four entries, of a small alphabet,
 * against a model from virtio 1.4, 2.7. */
#include <criterion/criterion.h>

#include "tests/small/small.h"

enum { N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };
enum { FLAGS = 0, IDX = 2, RING = 4 };

static struct {
    uint16_t avail, taken, used;
    bool in_flight[SMALL_SIZE];
} model;

static size_t ring_end(const struct small *s, size_t entry)
{
    return RING + s->c->size * entry;
}

static void begin(struct small *s)
{
    model.avail = model.taken = s->c->next_avail;
    model.used = s->c->next_used;
    memset(model.in_flight, 0, sizeof(model.in_flight));
    if (!s->c->event_idx)
        small_write(s, DEVICE, FLAGS, VRING_USED_F_NO_NOTIFY, 2);
}

struct desc {
    struct small_seg seg;
    uint16_t flags, next;
};

/* A descriptor of the ring or of the table, chosen when it is looked at first. */
static struct desc look(struct small *s, enum small_area a, unsigned i)
{
    size_t off = (size_t)i * VQ_DESC_SIZE;
    if (!s->known[a == TABLE][i]) {
        static const uint16_t all[] = {0, W, N, N | W, I, I | W, I | N};
        uint16_t flags = all[small_choose(s, s->c->alphabet == SMALL_ALL ? ARRAY_SIZE(all) : 5)];
        unsigned n = a == TABLE ? SMALL_TABLE : s->c->size;
        struct small_seg seg = flags & I ? small_choose_table(s) : small_choose_seg(s);
        small_write(s, a, off, seg.at, 8);
        small_write(s, a, off + 8, seg.len, 4);
        small_write(s, a, off + 12, flags, 2);
        small_write(s, a, off + 14, flags & N ? small_choose(s, n + 1) : UINT16_MAX, 2);
        s->known[a == TABLE][i] = true;
    }
    return (struct desc){.seg = {small_read(s, a, off, 8), small_read(s, a, off + 8, 4)},
                         .flags = (uint16_t)small_read(s, a, off + 12, 2),
                         .next = (uint16_t)small_read(s, a, off + 14, 2)};
}

/* A chain from descriptor i of a table of n, the first of which is `first` of its area. */
static bool chain(struct small *s, struct small_req *r, enum small_area a, unsigned first,
                  unsigned n, unsigned i)
{
    for (unsigned seen = 0; seen < n; seen++) {
        if (i >= n)
            return false;
        struct desc d = look(s, a, first + i);
        if (d.flags & I) {
            return a == DESC && s->c->indirect && !(d.flags & N) && small_is_table(d.seg) &&
                   chain(s, r, TABLE, small_table_at(d.seg), (unsigned)d.seg.len / VQ_DESC_SIZE, 0);
        }
        if (!small_inside(d.seg) || !small_add(r, d.seg, d.flags & W))
            return false;
        if (!(d.flags & N))
            return true;
        i = d.next;
    }
    return false; /* more than there are descriptors: a loop */
}

static void use(struct small *s, const struct small_req *r)
{
    size_t at = RING + (size_t)(model.used % s->c->size) * 8;
    put_bytes(s->image[DEVICE] + at, r->id, 4);
    put_bytes(s->image[DEVICE] + at + 4, r->n_in, 4);
    model.in_flight[r->id] = false;
    model.used++;
}

/* One after the other, as the specification has it: an interrupt when the entry is written that the
 * driver asked for (2.7.7.2). */
static bool announce(struct small *s, uint16_t from)
{
    bool due = false;
    if (from == model.used)
        return false;
    put_bytes(s->image[DEVICE] + IDX, model.used, 2);
    if (!s->c->event_idx)
        return !(small_read(s, DRIVER, FLAGS, 2) & VRING_AVAIL_F_NO_INTERRUPT);
    for (; from != model.used; from++)
        due |= from == small_read(s, DRIVER, ring_end(s, 2), 2);
    return due;
}

static bool take(struct small *s, uint16_t head)
{
    struct small_req *r = &s->must.req[s->must.n];
    *r = (struct small_req){.id = head};
    if (head >= s->c->size || model.in_flight[head] || !chain(s, r, DESC, 0, s->c->size, head))
        return false;
    model.in_flight[head] = true;
    s->must.n++;
    if (!s->c->event_idx) /* there is work, and no need to be told of more */
        put_bytes(s->image[DEVICE] + FLAGS, VRING_USED_F_NO_NOTIFY, 2);
    return true;
}

static uint16_t choose_head(struct small *s)
{
    unsigned i = small_choose(s, s->c->size + (s->c->alphabet == SMALL_ALL ? 2u : 1u));
    return i > s->c->size ? 0xffff : (uint16_t)i;
}

static void driver_asks(struct small *s)
{
    if (s->c->wishes && s->c->event_idx) /* from the one before the last used on */
        small_write(s, DRIVER, ring_end(s, 2),
                    (uint16_t)(model.used - 1 + small_choose(s, s->c->size + 2)), 2);
    else if (s->c->wishes)
        small_write(s, DRIVER, FLAGS, small_choose(s, 2), 2);
    else if (s->c->event_idx)
        small_write(s, DRIVER, ring_end(s, 2), model.used, 2);
}

static void round_of(struct small *s)
{
    unsigned first = s->must.n;
    uint16_t old_used = model.used;
    memset(s->known[0], 0, sizeof(s->known[0])); /* the driver may have written all of it anew */
    driver_asks(s);
    const unsigned wild[] = {s->c->size + 1u, 0x8000, 0xffff};
    unsigned jump = small_choose(s, s->c->size + 1u + ARRAY_SIZE(wild));
    s->must.broken = jump > s->c->size;
    model.avail += (uint16_t)(s->must.broken ? wild[jump - s->c->size - 1u] : jump);
    small_write(s, DRIVER, IDX, model.avail, 2);
    while (!s->must.broken && model.taken != model.avail) {
        uint16_t head = choose_head(s);
        small_write(s, DRIVER, RING + (size_t)(model.taken % s->c->size) * 2, head, 2);
        s->must.broken = !take(s, head);
        model.taken += !s->must.broken;
        if (!s->must.broken && s->c->mode != SMALL_HOLD)
            use(s, &s->must.req[s->must.n - 1]);
    }
    if (!s->must.broken) {
        for (unsigned i = s->must.n; s->c->mode == SMALL_HOLD && i > first; i--)
            use(s, &s->must.req[s->c->in_order ? first + s->must.n - i : i - 1]);
        s->must.interrupts += announce(s, old_used);
        /* It has looked at everything, and wants to be told of more. */
        if (s->c->event_idx)
            put_bytes(s->image[DEVICE] + ring_end(s, 8), model.taken, 2);
        else
            put_bytes(s->image[DEVICE] + FLAGS, 0, 2);
    }
}

static void at(uint16_t *avail, uint16_t *used)
{
    *avail = model.taken;
    *used = model.used;
}

static const struct small_model split = {.at = at, .begin = begin, .round = round_of};

static unsigned long states;

static void try(struct small_case c)
{
    small_try(&c, &split, &states);
}

/* Of each mode, with and without indirect tables. */
static void try_all(struct small_case c)
{
    for (unsigned i = 0; i < 6; i++) {
        c.mode = i / 2;
        c.indirect = i % 2;
        small_try(&c, &split, &states);
    }
}

Test(small_split, areas) /* 2.7: aligned, and inside memory to their last byte */
{
    static const int align[] = {[DESC] = 16, [DRIVER] = 2, [DEVICE] = 4};
    for (enum small_area a = DESC; a <= DEVICE; a++) {
        for (uint16_t size = 1; size <= SMALL_SIZE; size *= 2) {
            const struct small_case c = {.size = size};
            cr_assert_eq(small_open_moved(&c, a, 0), 0);
            cr_assert_eq(small_open_moved(&c, a, -align[a]), 0);
            cr_assert_eq(small_open_moved(&c, a, -align[a] / 2), -EINVAL);
            cr_assert_eq(small_open_moved(&c, a, align[a]), -EINVAL);
        }
    }
}

Test(small_split, one_entry)
{
    try_all((struct small_case){.size = 1, .alphabet = SMALL_ALL, .rounds = 1});
    try_all((struct small_case){
        .size = 1, .alphabet = SMALL_SOME, .rounds = 2, .next_avail = 0xffff, .next_used = 0xfffe});
}

Test(small_split, two_entries)
{
    try_all(
        (struct small_case){.size = 2, .alphabet = SMALL_ALL, .rounds = 1, .next_avail = 0xffff});
}

Test(small_split, two_entries_twice)
{
    for (enum small_mode mode = SMALL_AT_ONCE; mode <= SMALL_UNPOP; mode++)
        try((struct small_case){.size = 2,
                                .alphabet = SMALL_SOME,
                                .rounds = 2,
                                .next_used = 0xffff,
                                .in_order = true,
                                .mode = mode});
}

Test(small_split, interrupts)
{
    try((struct small_case){
        .size = 1, .alphabet = SMALL_SOME, .rounds = 2, .next_used = 0xffff, .wishes = true});
    for (uint16_t used = 0xfffc; used != 1; used++)
        try((struct small_case){
            .size = 2, .rounds = 1, .next_used = used, .event_idx = true, .wishes = true});
}

/* Four million: too many for a sanitizer. */
#ifdef __SANITIZE_ADDRESS__
Test(small_split, four_entries, .disabled = true)
#else
Test(small_split, four_entries)
#endif
{
    try((struct small_case){.size = 4, .rounds = 1, .mode = SMALL_HOLD, .next_avail = 0xfffe});
}
