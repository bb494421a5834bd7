/* tests/small/test_small_packed.c - every packed ring of up to four entries, of a small alphabet,
 * against a model from virtio 1.4, 2.8. */
#include <criterion/criterion.h>

#include "tests/small/small.h"

enum {
    N = VRING_DESC_F_NEXT,
    W = VRING_DESC_F_WRITE,
    I = VRING_DESC_F_INDIRECT,
    A = 1 << VRING_PACKED_DESC_F_AVAIL,
    U = 1 << VRING_PACKED_DESC_F_USED,
    WRAP = 1 << 15,
};

/* A place in the ring, and the lap it is in: 2.8.1. */
struct place {
    unsigned at;
    bool wrap;
};

static struct {
    struct place taken, used;
    unsigned n_in_flight, batch; /* descriptors */
    bool id_known[SMALL_SIZE];
    unsigned ids[SMALL_SIZE], n_ids;
    uint8_t *first, half[8]; /* where a batch begins, and what will be there */
} model;

static struct place after(const struct small *s, struct place p, unsigned n)
{
    for (; n > 0; n--) {
        if (++p.at == s->c->size) {
            p.at = 0;
            p.wrap = !p.wrap;
        }
    }
    return p;
}

static uint16_t as_word(struct place p)
{
    return (uint16_t)(p.at | (p.wrap ? WRAP : 0));
}

static struct place as_place(uint16_t word)
{
    return (struct place){word & (WRAP - 1), word & WRAP};
}

/* What the device says about notifications: 2.8.14. */
static void tell(struct small *s, uint16_t desc, uint16_t flags)
{
    put_bytes(s->image[DEVICE], desc, 2);
    put_bytes(s->image[DEVICE] + 2, flags, 2);
}

static void begin(struct small *s)
{
    memset(&model, 0, sizeof(model));
    model.taken = as_place(s->c->next_avail);
    model.used = as_place(s->c->next_used);
    tell(s, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}

static uint16_t flags_at(const struct small *s, enum small_area a, unsigned i)
{
    return (uint16_t)small_read(s, a, (size_t)i * VQ_DESC_SIZE + 14, 2);
}

struct desc {
    struct small_seg seg;
    uint16_t flags;
    bool ok;
};

static void choose_desc(struct small *s, enum small_area a, unsigned i)
{
    static const uint16_t all[] = {0, W, N, N | W, I, I | W, I | N};
    uint16_t flags = all[small_choose(s, s->c->alphabet == SMALL_ALL ? ARRAY_SIZE(all) : 5)];
    struct small_seg seg;
    if (a == DESC && flags & I) /* a lone list's table, or what breaks it */
        seg = small_choose_table(s);
    else
        seg = small_choose_seg(s);
    size_t off = (size_t)i * VQ_DESC_SIZE;
    uint16_t old = a == DESC ? flags_at(s, a, i) & (A | U) : 0;
    small_write(s, a, off, seg.at, 8);
    small_write(s, a, off + 8, seg.len, 4);
    small_write(s, a, off + 14, flags | old, 2);
}

/* What a descriptor says beside AVAIL and USED, chosen when it is looked at first; the device may
 * have overwritten it since. */
static struct desc look(struct small *s, enum small_area a, unsigned i)
{
    if (!s->known[a == TABLE][i])
        choose_desc(s, a, i);
    s->known[a == TABLE][i] = true;
    size_t off = (size_t)i * VQ_DESC_SIZE;
    struct desc d = {.seg = {small_read(s, a, off, 8), small_read(s, a, off + 8, 4)},
                     .flags = flags_at(s, a, i)};
    d.ok = small_inside(d.seg);
    return d;
}

/* The buffer ID is looked at in the last descriptor of a list only. */
static unsigned look_id(struct small *s, unsigned i)
{
    static const uint16_t ids[] = {0, 0xffff, 1};
    size_t off = (size_t)i * VQ_DESC_SIZE + 12;
    if (!model.id_known[i])
        small_write(s, DESC, off, ids[small_choose(s, s->c->alphabet == SMALL_ALL ? 3 : 2)], 2);
    model.id_known[i] = true;
    return (unsigned)small_read(s, DESC, off, 2);
}

/* 2.8.7: of the flags in a table only WRITE counts. */
static bool add_table(struct small *s, struct small_req *r, struct small_seg table)
{
    unsigned first = small_table_at(table);
    for (unsigned i = 0; i < table.len / VQ_DESC_SIZE; i++) {
        struct desc d = look(s, TABLE, first + i);
        if (!d.ok || !small_add(r, d.seg, d.flags & W))
            return false;
    }
    return true;
}

/* A list that begins where the device is. The driver has written all of it, and whether the others
 * say AVAIL is not to be asked (2.8.21). */
static bool list(struct small *s, struct small_req *r)
{
    for (struct place p = model.taken;; p = after(s, p, 1)) {
        if (++r->n_desc > s->c->size - model.n_in_flight)
            return false;
        struct desc d = look(s, DESC, p.at);
        if (d.flags & I) {
            if (!s->c->indirect || d.flags & N || r->n_desc > 1 || !small_is_table(d.seg))
                return false;
            r->id = look_id(s, p.at);
            return add_table(s, r, d.seg);
        }
        if (!d.ok || !small_add(r, d.seg, d.flags & W))
            return false;
        if (!(d.flags & N)) {
            r->id = look_id(s, p.at);
            return true;
        }
    }
}

/* Whether the driver has made the next descriptor available: it may have done so with any that it
 * owns, and cheat with the others. */
static bool choose_available(struct small *s)
{
    size_t off = model.taken.at * (size_t)VQ_DESC_SIZE + 14;
    if (!s->known[0][model.taken.at]) {
        static const uint16_t flags[] = {A, U, 0, A | U};
        small_write(s, DESC, off, flags[small_choose(s, ARRAY_SIZE(flags))], 2);
    }
    uint16_t flags = flags_at(s, DESC, model.taken.at);
    return !!(flags & A) == model.taken.wrap && !!(flags & U) != model.taken.wrap;
}

static bool take(struct small *s)
{
    struct small_req *r = &s->must.req[s->must.n];
    *r = (struct small_req){0};
    if (!list(s, r))
        return false;
    for (unsigned i = 0; i < model.n_ids; i++) {
        if (model.ids[i] == r->id)
            return false;
    }
    model.ids[model.n_ids++] = r->id;
    model.n_in_flight += r->n_desc;
    model.taken = after(s, model.taken, r->n_desc);
    s->must.n++;
    tell(s, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
    return true;
}

static void forget_id(unsigned id)
{
    for (unsigned i = 0; i < model.n_ids; i++) {
        if (model.ids[i] == id)
            model.ids[i] = model.ids[--model.n_ids];
    }
}

/* 2.8.6: one used descriptor for a whole list, in the place of its first. That of a batch's first
 * is written last, and a driver sees none of them before. */
static void use(struct small *s, const struct small_req *r)
{
    uint8_t *d = s->image[DESC] + model.used.at * (size_t)VQ_DESC_SIZE + 8;
    uint8_t half[8];
    put_bytes(half, r->n_in, 4);
    put_bytes(half + 4, r->id, 2);
    put_bytes(half + 6, (r->n_in ? W : 0u) | (model.used.wrap ? A | U : 0u), 2);
    memcpy(model.first ? d : model.half, half, sizeof(half));
    model.first = model.first ? model.first : d;
    forget_id(r->id);
    model.n_in_flight -= r->n_desc;
    model.batch += r->n_desc;
    model.used = after(s, model.used, r->n_desc);
}

static void publish(void)
{
    if (model.first)
        memcpy(model.first, model.half, sizeof(model.half));
    model.first = NULL;
}

/* One descriptor after the other: 2.8.10. */
static bool announce(const struct small *s, struct place from)
{
    uint16_t desc = (uint16_t)small_read(s, DRIVER, 0, 2);
    uint16_t flags = small_read(s, DRIVER, 2, 2) & 3;
    bool due = false, some = false;
    for (; as_word(from) != as_word(model.used); from = after(s, from, 1)) {
        some = true;
        due |= as_word(from) == desc;
    }
    if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
        return false;
    return flags == VRING_PACKED_EVENT_FLAG_DESC && s->c->event_idx ? due : some;
}

static void driver_asks(struct small *s)
{
    if (!s->c->wishes)
        return;
    unsigned flags = small_choose(s, 4);
    small_write(s, DRIVER, 2, flags | 4, 2); /* reserved bits are not to be looked at */
    if (flags == VRING_PACKED_EVENT_FLAG_DESC) {
        unsigned at = small_choose(s, s->c->size * 2u);
        small_write(s, DRIVER, 0, as_word((struct place){at % s->c->size, at >= s->c->size}), 2);
    }
}

static void round_of(struct small *s)
{
    unsigned first = s->must.n;
    struct place from = model.used;
    memset(s->known[0], 0, sizeof(s->known[0])); /* the driver may have written all of it anew */
    model.batch = 0;
    memset(model.id_known, 0, sizeof(model.id_known));
    driver_asks(s);
    while (model.n_in_flight < s->c->size && choose_available(s)) {
        s->must.broken = !take(s);
        if (s->must.broken)
            return;
        if (s->c->mode != SMALL_HOLD)
            use(s, &s->must.req[s->must.n - 1]);
    }
    for (unsigned i = s->must.n; s->c->mode == SMALL_HOLD && i > first; i--)
        use(s, &s->must.req[s->c->in_order ? first + s->must.n - i : i - 1]);
    publish();
    s->must.any_interrupts |=
        model.batch > s->c->size; /* some of them twice, before they were used */
    s->must.interrupts += announce(s, from);
    if (s->c->event_idx)
        tell(s, as_word(model.taken), VRING_PACKED_EVENT_FLAG_DESC);
    else
        tell(s, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
}

static void at(uint16_t *avail, uint16_t *used)
{
    *avail = as_word(model.taken);
    *used = as_word(model.used);
}

static const struct small_model packed = {.at = at, .begin = begin, .round = round_of};

static unsigned long states;

static void try(struct small_case c)
{
    c.packed = true;
    small_try(&c, &packed, &states);
}

/* A queue that begins at a place and in a lap: of 0 to 2 * size - 1. */
static struct small_case from(struct small_case c, unsigned place)
{
    c.next_avail = c.next_used = as_word((struct place){place % c.size, place / c.size});
    return c;
}

/* Of each mode, with and without indirect tables, from each place and in each lap. */
static void try_all(struct small_case c)
{
    for (unsigned i = 0; i < 12u * c.size; i++) {
        c.mode = i % 3;
        c.indirect = i / 3 % 2;
        c.event_idx = c.indirect;
        try(from(c, i / 6));
    }
}

Test(small_packed, areas) /* 2.8.10.1: aligned, and inside memory to their last byte */
{
    static const int align[] = {[DESC] = 16, [DRIVER] = 4, [DEVICE] = 4};
    for (enum small_area a = DESC; a <= DEVICE; a++) {
        for (uint16_t size = 1; size <= SMALL_SIZE; size++) {
            const struct small_case c = {.packed = true, .size = size};
            cr_assert_eq(small_open_moved(&c, a, 0), 0);
            cr_assert_eq(small_open_moved(&c, a, -align[a]), 0);
            cr_assert_eq(small_open_moved(&c, a, -align[a] / 2), -EINVAL);
            cr_assert_eq(small_open_moved(&c, a, align[a]), -EINVAL);
        }
    }
}

Test(small_packed, places) /* of a saved state's: each inside the ring, in either lap */
{
    for (uint16_t lap = 0; lap <= 1; lap++) {
        uint16_t last = (uint16_t)(2 | lap << 15), behind = (uint16_t)(3 | lap << 15);
        struct small_case c = {.packed = true, .size = 3, .next_avail = last, .next_used = last};
        cr_assert_eq(small_open_moved(&c, DESC, 0), 0);
        c.next_avail = behind;
        cr_assert_eq(small_open_moved(&c, DESC, 0), -EINVAL);
        c.next_avail = last;
        c.next_used = behind;
        cr_assert_eq(small_open_moved(&c, DESC, 0), -EINVAL);
    }
}

Test(small_packed, one_entry)
{
    try_all((struct small_case){.size = 1, .alphabet = SMALL_ALL, .rounds = 1});
    try_all((struct small_case){.size = 1, .alphabet = SMALL_SOME, .rounds = 2});
}

Test(small_packed, two_entries)
{
    try_all((struct small_case){.size = 2, .alphabet = SMALL_SOME, .rounds = 1});
    try((struct small_case){.size = 2, .alphabet = SMALL_ALL, .rounds = 1, .mode = SMALL_HOLD});
}

Test(small_packed, two_entries_twice)
{
    for (enum small_mode mode = SMALL_AT_ONCE; mode <= SMALL_UNPOP; mode++)
        try(from(
            (struct small_case){
                .size = 2, .alphabet = SMALL_SOME, .rounds = 2, .in_order = true, .mode = mode},
            1));
}

Test(small_packed, interrupts)
{
    struct small_case c = {.event_idx = true, .wishes = true, .rounds = 1};
    for (c.size = 1; c.size <= 3; c.size++) {
        for (unsigned place = 0; place < 2u * c.size; place++)
            try(from(c, place));
    }
}

Test(small_packed, three_entries)
{
    struct small_case c = {.size = 3, .alphabet = SMALL_SOME, .rounds = 1};
    for (unsigned i = 0; i < 6; i++) {
        c.mode = i % 3;
        try(from(c, i));
    }
    c.indirect = true;
    c.alphabet = SMALL_FEW;
    try(from(c, 5));
}

Test(small_packed, four_entries)
{
    struct small_case c = {.size = 4, .alphabet = SMALL_SOME, .rounds = 1};
    for (unsigned i = 0; i < 8; i++) {
        c.mode = i % 3;
        try(from(c, i));
    }
}
