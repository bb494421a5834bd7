/* guest-tests/hostile_chain.c - attacks by one buffer: where its descriptors point, how long they
 * are, and how they hang together (virtio 1.4, 2.7.4, 2.7.5, 2.8.6, 2.8.7). Both ring formats have
 * the same words, so most cases are written once. */
#include "hostile.h"

enum {
    W = VRING_DESC_F_WRITE,
    N = VRING_DESC_F_NEXT,
    IND = VRING_DESC_F_INDIRECT,
    MIB = 1 << 20,
    TABLE = 16, /* bytes of an entry */
};

/* Somewhere in scratch memory for what is not the point of a case. */
static uint64_t here(unsigned off)
{
    return scratch + 32 * MIB + off;
}

/* Entry k of an indirect table. A packed one has its flags where the other has `next`, and no
 * `next`: its order is that of the table (2.8.7). */
static void entry(const struct target *t, unsigned k, const struct link *l, uint16_t next)
{
    struct vring_desc *table = (void *)here(0);
    bool packed = t->ring.packed;
    table[k] = (struct vring_desc){.addr = l->addr,
                                   .len = l->len,
                                   .flags = packed ? 0 : l->flags,
                                   .next = packed ? l->flags : next};
}

/* Makes the first `bytes` of that table available. */
static void submit_table(struct target *t, uint32_t bytes)
{
    const struct link l = {here(0), bytes, IND};
    raw_submit(t, &l, 1);
}

/* --- descriptors --- */

static bool address(struct target *t, unsigned i)
{
    enum { LEN = 16 };
    uint64_t at;
    if (!bad_address(i / 2, LEN, &at))
        return false;
    const struct link l[] = {{here(0), LEN, N}, {at, LEN, i % 2 ? W : 0}};
    raw_submit(t, l, ARRAY_SIZE(l));
    return true;
}

static bool length(struct target *t, unsigned i)
{
    const struct link l[] = {
        {scratch, UINT32_MAX, W},     {scratch, (uint32_t)(ram_end - scratch) + 1, W},
        {0, UINT32_MAX, 0},           {1, (uint32_t)ram_end, 0},
        {ram_end - 1, 2, W},          {UINT64_MAX, 2, W},
        {0 - 0x10000ull, 0x20000, W}, {0 - 1ull * UINT32_MAX, UINT32_MAX, 0}};
    if (i == ARRAY_SIZE(l))
        return false;
    raw_submit(t, &l[i], 1);
    return true;
}

/* What is empty is nothing, wherever it is; a request of nothing is one too. */
static bool zero_length(struct target *t, unsigned i)
{
    const struct link l[] = {{here(0), 0, 0},      {here(0), 0, W}, {UINT64_MAX, 0, 0},
                             {MMIO_LAPIC, 0, W},   {here(0), 0, N}, {here(0), 0, N | W},
                             {here(16), 0, W | N}, {ram_end, 0, W}};
    static const struct {
        uint8_t from, n;
    } lists[] = {{0, 1}, {1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 3}};
    if (i == ARRAY_SIZE(lists))
        return false;
    raw_submit(t, &l[lists[i].from], lists[i].n);
    raw_wait(t, lists[i].n);
    return true;
}

/* Fills `l` with n equal ones, which end. */
static void repeat(struct link *l, unsigned n, struct link with)
{
    for (unsigned i = 0; i < n; i++)
        l[i] = with;
    l[n - 1].flags &= (uint16_t)~N;
}

/* As many as the ring's half, of one byte each. */
static bool one_byte(struct target *t, unsigned i)
{
    struct link l[32];
    if (i == 20)
        return false;
    repeat(l, ARRAY_SIZE(l), (struct link){here(i), 1, i % 2 ? N : N | W});
    raw_submit(t, l, ARRAY_SIZE(l));
    raw_wait(t, ARRAY_SIZE(l));
    return true;
}

/* More than 4 GiB in all, from the same memory again and again: by a lot, and by a byte. */
static bool sum(struct target *t, unsigned i)
{
    struct link l = {scratch, 32 * MIB, N};
    unsigned n = 4096 / 32 + 1;
    if (i == 3)
        return false;
    if (i == 0) {
        l.len *= 2;
        n = 1000;
    }
    if (i == 2)
        l.flags |= W;
    for (unsigned k = 0; k < n; k++) {
        struct link one = l;
        if (i && k == 0)
            one.len = 1;
        if (k + 1 == n)
            one.flags &= (uint16_t)~N;
        entry(t, k, &one, (uint16_t)(k + 1));
    }
    submit_table(t, n * TABLE);
    return true;
}

static bool write_then_read(struct target *t, unsigned i)
{
    struct link l[] = {
        {here(MIB), 16, N}, {here(MIB), 16, N | W}, {here(MIB), 16, N}, {here(MIB), 1, W}};
    if (i == 3)
        return false;
    if (i == 0)
        raw_submit(t, l, ARRAY_SIZE(l));
    if (i == 1) { /* the last one, too */
        l[2].flags = 0;
        raw_submit(t, l, 3);
    }
    for (unsigned k = 0; i == 2 && k < ARRAY_SIZE(l); k++)
        entry(t, k, &l[k], (uint16_t)(k + 1));
    if (i == 2)
        submit_table(t, sizeof(l) / sizeof(l[0]) * TABLE);
    return true;
}

/* Reserved bits mean nothing. Packed rings own two of them. */
static bool flag_bits(struct target *t, unsigned i)
{
    static const uint16_t bits[] = {0x0008, 0x0040, 0x0078, 0x7f00, 0x7f78};
    if (i == ARRAY_SIZE(bits))
        return false;
    const struct link l[] = {{here(0), 16, N | bits[i]}, {here(16), 1, W | bits[i]}};
    raw_submit(t, l, ARRAY_SIZE(l));
    raw_wait(t, ARRAY_SIZE(l));
    return true;
}

/* --- split: chains that do not end where they should --- */

static bool chain_loop(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    uint16_t first = r->size / 2, last = i == 0 ? first : i == 1 ? first + 1 : r->size - 1;
    if (i == 6)
        return false;
    for (uint16_t k = first; k <= last; k++)
        r->desc[k] = (struct vring_desc){here(0), i < 3 ? 16 : 0, N, k == last ? first : k + 1};
    if (i == 5) /* around everything there is */
        for (uint16_t k = 0; k < r->size; k++)
            r->desc[k] = (struct vring_desc){here(0), 1, N, (uint16_t)((k + 1) % r->size)};
    split_publish(r, first);
    virtio_notify(&t->dev, t->queue);
    return true;
}

static bool next_range(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    const uint16_t next[] = {r->size, r->size + 1, 0x7fff, 0x8000, 0xffff};
    if (i == 2 * ARRAY_SIZE(next))
        return false;
    uint16_t at = i % 2 ? r->size - 1 : r->size / 2;
    r->desc[at] = (struct vring_desc){here(0), 16, N, next[i / 2]};
    split_publish(r, at);
    virtio_notify(&t->dev, t->queue);
    return true;
}

/* --- packed: lists longer than the ring, or in pieces --- */

static bool list_too_long(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    if (i == 3)
        return false;
    for (uint16_t k = 0; k < r->size; k++) {
        bool later =
            i == 1 &&
            k != r->next_avail; /* only the first is available: the rest is taken as it stands */
        r->slots[k] = (struct vring_packed_desc){.addr = here(0),
                                                 .len = i == 2 ? 0 : 16,
                                                 .id = k,
                                                 .flags = later ? N : N | ring_avail_bits(r)};
    }
    virtio_notify(&t->dev, t->queue);
    return true;
}

/* --- indirect --- */

static bool indirect_length(struct target *t, unsigned i)
{
    static const uint32_t lens[] = {0, 1, 8, 15, 17, 24, 0xffff, UINT32_MAX};
    if (i == 2 * ARRAY_SIZE(lens))
        return false;
    const struct link l[] = {{here(0), 16, N}, {here(32), lens[i / 2], IND}};
    if (i % 2 && !t->ring.packed)
        raw_submit(t, l, 2); /* behind a direct one, which a split ring allows */
    else
        raw_submit(t, &l[1], 1);
    return true;
}

static bool indirect_address(struct target *t, unsigned i)
{
    enum { LEN = 2 * TABLE };
    uint64_t at;
    if (!bad_address(i, LEN, &at))
        return false;
    const struct link l = {at, LEN, IND};
    raw_submit(t, &l, 1);
    return true;
}

/* Entries point out of RAM; the table may stand at any address. */
static bool indirect_entry(struct target *t, unsigned i)
{
    uint64_t at;
    if (!bad_address(i, 16, &at))
        return false;
    const struct link e = {at, 16, i % 2 ? W : 0}, l = {here(64 + i), TABLE, IND};
    entry(t, 0, &e, 0);
    memcpy((void *)here(64 + i), (void *)here(0), TABLE);
    raw_submit(t, &l, 1);
    return true;
}

static bool indirect_next(struct target *t, unsigned i)
{
    if (i == 2)
        return false;
    const struct link e = {here(64), 16, W};
    const struct link l[] = {{here(0), TABLE, IND | N}, {here(64), 16, i ? W : 0}};
    entry(t, 0, &e, 0);
    raw_submit(t, l, ARRAY_SIZE(l));
    return true;
}

static bool indirect_nested(struct target *t, unsigned i)
{
    const struct link itself = {here(0), TABLE, IND}, plain = {here(64), 16, N};
    const struct link nested = {here(2 * TABLE), TABLE, IND | W};
    if (i == 2)
        return false;
    entry(t, 0, i ? &plain : &itself, 1);
    entry(t, 1, &nested, 0);
    submit_table(t, 2 * TABLE);
    return true;
}

/* The table is the ring. */
static bool indirect_is_ring(struct target *t, unsigned i)
{
    const struct ring *r = &t->ring;
    const void *const at[] = {r->desc, r->avail, r->used};
    if (i == ARRAY_SIZE(at))
        return false;
    const struct link l = {(uint64_t)at[i], t->size * 16u, IND};
    raw_submit(t, &l, 1);
    return true;
}

/* More entries than a chain may have, however empty; and a loop of them. */
static bool indirect_huge(struct target *t, unsigned i)
{
    enum { ENTRIES = 2000 };
    if (i == 3)
        return false;
    const struct link l = {here(MIB), i != 1, N | W};
    for (unsigned k = 0; k < ENTRIES; k++)
        entry(t, k, &l, (uint16_t)(i == 2 && k == 10 ? 0 : k + 1));
    submit_table(t, i ? ENTRIES * TABLE : 16 * MIB);
    return true;
}

static bool indirect_range(struct target *t, unsigned i)
{
    static const uint16_t next[] = {2, 3, 0x100, 0xffff};
    const struct link l = {here(64), 16, N};
    if (i == ARRAY_SIZE(next))
        return false;
    entry(t, 0, &l, 1);
    entry(t, 1, &l, next[i]);
    submit_table(t, 2 * TABLE);
    return true;
}

/* The device did not agree to it. */
static bool indirect_unasked(struct target *t, unsigned i)
{
    if (i)
        return false;
    uint64_t wanted = t->wanted;
    t->wanted &= ~FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
    target_start(t);
    t->wanted = wanted;
    const struct link l = {here(64), 16, W};
    entry(t, 0, &l, 0);
    submit_table(t, TABLE);
    return true;
}

/* Descriptors become others and the same again, while the device looks at them: no place that they
 * lead to meanwhile is memory. */
static bool changes_its_mind(struct target *t, unsigned i)
{
    enum { LINKS = 3, CHANGES = 20000 };
    static const struct {
        unsigned word; /* of a descriptor */
        uint64_t bits; /* of it */
    } changes[] = {{0, 1ull << 40}, {1, 0xfffffff0}, {1, 0xffffull << 32}, {1, 0xffffull << 48}};
    const struct ring *r = &t->ring;
    uint64_t at = here(2 * MIB);
    struct link l[] = {{at, 16, N}, {at + 64, 512, N | W}, {at + 1024, 1, W}};
    if (i == 4 * ARRAY_SIZE(changes))
        return false;
    volatile uint64_t *d =
        r->packed ? (void *)(r->slots + r->next_avail) : (void *)(r->desc + r->size / 2);
    memset((void *)at, 0, 16);
    if (i % 2) {
        for (unsigned k = 0; k < LINKS; k++)
            entry(t, k, &l[k], (uint16_t)(k + 1));
        d = (void *)here(0);
        submit_table(t, LINKS * TABLE);
    } else {
        raw_submit(t, l, LINKS);
    }
    for (unsigned k = 0; k < CHANGES; k++)
        d[i / 2 % 2 * 2 + changes[i / 4].word] ^= changes[i / 4].bits;
    return true;
}

const struct attack chain_attacks[] = {
    {"chain-address", address, .expect = REJECTS, .rows = "25 28 23a"},
    {"chain-length", length, .expect = REJECTS, .rows = "21d 23a"},
    {"chain-zero-length", zero_length, .expect = PASSES, .rows = "24a"},
    {"chain-one-byte", one_byte, .expect = PASSES, .rows = "24a"},
    {"chain-sum", sum, .expect = REJECTS, .rows = "21a 21b"},
    {"chain-write-then-read", write_then_read, .expect = REJECTS, .rows = "19c"},
    {"chain-flag-bits", flag_bits, .expect = PASSES},
    {"chain-loop", chain_loop, .only = ON_SPLIT, .expect = REJECTS, .rows = "21a"},
    {"chain-next-range", next_range, .only = ON_SPLIT, .expect = REJECTS, .rows = "16c"},
    {"chain-too-long", list_too_long, .only = ON_PACKED, .expect = REJECTS, .rows = "19a"},
    {"chain-changes", changes_its_mind, .spoils = true},
    {"indirect-length", indirect_length, .expect = REJECTS, .rows = "19b"},
    {"indirect-address", indirect_address, .expect = REJECTS, .rows = "25"},
    {"indirect-entry", indirect_entry, .expect = REJECTS, .rows = "25"},
    {"indirect-next", indirect_next, .expect = REJECTS},
    {"indirect-nested", indirect_nested, .only = ON_SPLIT, .expect = REJECTS, .rows = "19c"},
    {"indirect-is-ring", indirect_is_ring, .spoils = true},
    {"indirect-huge", indirect_huge, .expect = REJECTS, .rows = "19a 24a"},
    {"indirect-range", indirect_range, .only = ON_SPLIT, .expect = REJECTS, .rows = "16c"},
    {"indirect-unasked", indirect_unasked, .expect = REJECTS, .rows = "15"},
    {.name = NULL},
};
