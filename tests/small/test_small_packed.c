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
static const uint64_t table_end = 5 * 4096; /* where small.c has it */

/* A place in the ring, and the lap it is in: 2.8.1. */
struct place {
    unsigned at;
    bool wrap;
};

static struct {
    struct place taken, used;
    unsigned n_in_flight; /* descriptors */
    unsigned ids[SMALL_SIZE], n_ids;
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
static struct desc descs[2][SMALL_SIZE];

/* What a descriptor says beside AVAIL and USED, chosen when it is looked at first. */
static struct desc look(struct small *s, enum small_area a, unsigned i)
{
    struct desc *d = &descs[a == TABLE][i];
    if (s->known[a == TABLE][i])
        return *d;
    s->known[a == TABLE][i] = true;
    static const uint16_t flags[] = {0, W, N, N | W, I, I | W, I | N};
    d->flags = flags[small_choose(s, s->c->alphabet == SMALL_ALL ? ARRAY_SIZE(flags) : 5)];
    if (a == DESC && d->flags & I) {
        static const struct {
            uint8_t before, len;
            bool ok;
        } tables[] = {{32, 32, true},  {32, 16, true}, {16, 16, true},
                      {16, 32, false}, {32, 0, false}, {32, 24, false}};
        unsigned t = small_choose(s, s->c->indirect ? ARRAY_SIZE(tables) : 1);
        d->seg = (struct small_seg){table_end - tables[t].before, tables[t].len};
        d->ok = tables[t].ok;
    } else {
        d->seg = small_choose_seg(s, &d->ok);
    }
    size_t off = (size_t)i * VQ_DESC_SIZE;
    uint16_t old = a == DESC ? flags_at(s, a, i) & (A | U) : 0;
    small_write(s, a, off, d->seg.at, 8);
    small_write(s, a, off + 8, d->seg.len, 4);
    small_write(s, a, off + 14, d->flags | old, 2);
    return *d;
}

/* The buffer ID is looked at in the last descriptor of a list only. */
static unsigned choose_id(struct small *s, unsigned i)
{
    static const uint16_t ids[] = {0, 0xffff, 1};
    uint16_t id = ids[small_choose(s, s->c->alphabet == SMALL_ALL ? 3 : 2)];
    small_write(s, DESC, (size_t)i * VQ_DESC_SIZE + 12, id, 2);
    return id;
}

/* 2.8.7: of the flags in a table only WRITE counts. */
static bool add_table(struct small *s, struct small_req *r, struct small_seg table)
{
    unsigned first = (unsigned)(SMALL_TABLE - (table_end - table.at) / VQ_DESC_SIZE);
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
            if (!s->c->indirect || d.flags & N || r->n_desc > 1 || !d.ok)
                return false;
            r->id = choose_id(s, p.at);
            return add_table(s, r, d.seg);
        }
        if (!d.ok || !small_add(r, d.seg, d.flags & W))
            return false;
        if (!(d.flags & N)) {
            r->id = choose_id(s, p.at);
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

/* 2.8.6: one used descriptor for a whole list, in the place of its first. */
static void use(struct small *s, const struct small_req *r, bool hidden)
{
    uint8_t *d = s->image[DESC] + model.used.at * (size_t)VQ_DESC_SIZE;
    if (!hidden) {
        put_bytes(d + 8, r->n_in, 4);
        put_bytes(d + 12, r->id, 2);
        put_bytes(d + 14, (r->n_in ? W : 0u) | (model.used.wrap ? A | U : 0u), 2);
    }
    forget_id(r->id);
    model.n_in_flight -= r->n_desc;
    model.used = after(s, model.used, r->n_desc);
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
        small_write(s, DRIVER, 0,
                    as_word((struct place){at % s->c->size, at >= s->c->size}), 2);
    }
}

static void round_of(struct small *s)
{
    unsigned first = s->must.n, n;
    struct place from = model.used;
    memset(s->known[0], 0, sizeof(s->known[0])); /* the driver may have written all of it anew */
    driver_asks(s);
    bool more = true;
    while (more) {
        while ((more = model.n_in_flight < s->c->size && choose_available(s))) {
            s->must.broken = !take(s);
            if (s->must.broken)
                return;
        }
        n = s->must.n;
        for (unsigned i = n; i > first; i--)
            use(s, &s->must.req[s->c->in_order ? first + n - i : i - 1], false);
        first = n;
    }
    s->must.interrupts += announce(s, from);
    if (s->c->event_idx)
        tell(s, as_word(model.taken), VRING_PACKED_EVENT_FLAG_DESC);
    else
        tell(s, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
}

static const struct small_model packed = {.begin = begin, .round = round_of};

static unsigned long states;

static void try(struct small_case c)
{
    c.packed = true;
    small_try(&c, &packed, &states);
}

/* Of each mode, with and without indirect tables, from each place and in each lap. */
static void try_all(struct small_case c)
{
    for (unsigned i = 0; i < 12u * c.size; i++) {
        c.mode = i % 3;
        c.indirect = i / 3 % 2;
        c.event_idx = i / 6 % 2;
        c.next_avail = c.next_used = (uint16_t)(i / 12 | (i / 6 % 2 ? WRAP : 0));
        try(c);
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
}

Test(small_packed, two_entries_twice)
{
    for (enum small_mode mode = SMALL_AT_ONCE; mode <= SMALL_UNPOP; mode++)
        try((struct small_case){.size = 2, .rounds = 2, .next_avail = 1, .next_used = 1, .in_order = true, .mode = mode});
}

Test(small_packed, interrupts)
{
    for (unsigned i = 0; i < 8; i++)
        try((struct small_case){.size = (uint16_t)(i / 2 + 1), .rounds = 1, .next_avail = i % 2 ? WRAP : (uint16_t)(i / 2), .next_used = i % 2 ? WRAP : (uint16_t)(i / 2), .event_idx = true, .wishes = true});
}

Test(small_packed, three_entries)
{
    try((struct small_case){.size = 3, .rounds = 1, .mode = SMALL_HOLD, .next_avail = 2, .next_used = 2});
    try((struct small_case){.size = 3, .rounds = 1, .next_avail = 1 | WRAP, .next_used = 1 | WRAP});
}

Test(small_packed, four_entries)
{
    try((struct small_case){.size = 4, .rounds = 1, .mode = SMALL_HOLD, .next_avail = 3, .next_used = 3});
}
