/* tests/unit/test_bus.c - who answers an access: look-ups against a reference that cannot be wrong,
 * the edges of regions and of the address space, and readers while the table changes under them. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/bus.h"
#include "base/log.h"
#include "tests/rig/proves.h"

/* A region that answers with its own number, and remembers what was asked of it. */
struct owner {
    uint64_t number, off, val;
    unsigned size, reads, writes;
};

static uint64_t owner_read(void *ctx, uint64_t off, unsigned size)
{
    struct owner *o = ctx;
    o->off = off;
    o->size = size;
    o->reads++;
    return o->number;
}

static void owner_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct owner *o = ctx;
    o->off = off;
    o->size = size;
    o->val = val;
    o->writes++;
}

static const struct region_ops owner_ops = {.read = owner_read, .write = owner_write};

static struct bus *bus;

static void up(void)
{
    cr_assert_eq(bus_new("test", &bus), 0);
}

static void down(void)
{
    bus_free(bus);
}

TestSuite(bus, .init = up, .fini = down, .timeout = 60);

static int map(uint64_t base, uint64_t len, struct owner *o)
{
    const struct region r = {
        .name = "test", .base = GPA(base), .len = len, .ops = &owner_ops, .ctx = o};
    return bus_map(bus, &r);
}

/* Whose number an access at `at` reads; all ones where nobody answers. */
static uint64_t ask(uint64_t at, unsigned size)
{
    uint64_t v = 0x5a5a;
    bool answered = bus_access(bus, GPA(at), size, false, &v);
    cr_assert_eq(answered, v != UINT64_MAX, "at %#lx", at);
    return v;
}

static bool put(uint64_t at, unsigned size, uint64_t v)
{
    return bus_access(bus, GPA(at), size, true, &v);
}

Test(bus, hands_over_offset_size_and_value)
{
    struct owner o = {.number = 7};
    cr_assert_eq(map(0x1000, 0x100, &o), 0);
    for (unsigned size = 1; size <= 8; size *= 2) {
        cr_assert_eq(ask(0x1010 + size, size), 7);
        cr_assert_eq(o.off, 0x10 + size);
        cr_assert_eq(o.size, size);
        cr_assert(put(0x1020 + size, size, 0x1122334455667788));
        cr_assert_eq(o.off, 0x20 + size);
        cr_assert_eq(o.size, size);
        cr_assert_eq(o.val, 0x1122334455667788);
    }
    cr_assert_eq(o.reads, 4);
    cr_assert_eq(o.writes, 4);
}

Test(bus, nobody_answers_outside)
{
    struct owner o = {.number = 7};
    cr_assert_eq(ask(0, 8), UINT64_MAX, "an empty bus");
    cr_assert_eq(map(0x1000, 0x100, &o), 0);
    const uint64_t outside[] = {0, 0xfff, 0x1100, 0x10ff0, UINT64_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
        cr_assert_eq(ask(outside[i], 1), UINT64_MAX);
        cr_assert_not(put(outside[i], 1, 0));
    }
    cr_assert_eq(o.reads + o.writes, 0);
    cr_assert_eq(ask(0x1000, 1), 7);
    cr_assert_eq(ask(0x10ff, 1), 7);
}

Test(bus, straddling_is_nobodys)
{
    HOLDS_HERE("12c");
    struct owner a = {.number = 1}, b = {.number = 2};
    cr_assert_eq(map(0x1000, 0x10, &a), 0);
    cr_assert_eq(map(0x1010, 0x10, &b), 0);
    for (unsigned size = 2; size <= 8; size *= 2) {
        for (unsigned in = 1; in < size; in++) {
            cr_assert_eq(ask(0x1010 - in, size), UINT64_MAX, "between two");
            cr_assert_not(put(0x1010 - in, size, 1));
            cr_assert_eq(ask(0x1000 - in, size), UINT64_MAX, "into the first");
            cr_assert_eq(ask(0x1020 - in, size), UINT64_MAX, "out of the last");
        }
        cr_assert_eq(ask(0x1010 - size, size), 1);
        cr_assert_eq(ask(0x1010, size), 2);
    }
    cr_assert_eq(a.writes + b.writes, 0);
}

Test(bus, a_region_smaller_than_the_access)
{
    struct owner o = {.number = 1};
    cr_assert_eq(map(0x60, 1, &o), 0);
    cr_assert_eq(ask(0x60, 1), 1);
    cr_assert_eq(ask(0x60, 2), UINT64_MAX);
    cr_assert_eq(ask(0x60, 8), UINT64_MAX);
}

Test(bus, overlap_is_refused_at_every_edge)
{
    struct owner o = {.number = 1}, p = {.number = 2};
    cr_assert_eq(map(0x1000, 0x10, &o), 0);
    /* Every region in the neighbourhood, against what overlapping means. */
    for (uint64_t base = 0xfe8; base < 0x1018; base++) {
        for (uint64_t len = 1; len < 0x38; len++) {
            bool overlaps = base < 0x1010 && base + len > 0x1000;
            int rc = map(base, len, &p);
            cr_assert_eq(rc, overlaps ? -EBUSY : 0, "[%#lx,+%#lx)", base, len);
            if (rc == 0)
                bus_unmap(bus, GPA(base));
            cr_assert_eq(ask(0x1000, 8), 1, "a refusal leaves the table as it was");
        }
    }
}

Test(bus, empty_and_wrapping_regions_are_refused)
{
    struct owner o = {.number = 1};
    cr_assert_eq(map(0x1000, 0, &o), -EINVAL);
    cr_assert_eq(map(0, 0, &o), -EINVAL);
    cr_assert_eq(map(UINT64_MAX, 2, &o), -EINVAL);
    cr_assert_eq(map(0x1000, UINT64_MAX, &o), -EINVAL);
    cr_assert_eq(map(0x1000, UINT64_MAX - 0xffe, &o), -EINVAL);
    cr_assert_eq(ask(0x1000, 1), UINT64_MAX);
}

Test(bus, the_end_of_the_address_space)
{
    struct owner a = {.number = 1}, b = {.number = 2};
    cr_assert_eq(map(UINT64_MAX - 7, 8, &a), 0, "the last eight bytes");
    cr_assert_eq(ask(UINT64_MAX - 7, 8), 1);
    cr_assert_eq(ask(UINT64_MAX, 1), 1);
    cr_assert_eq(a.off, 7);
    cr_assert_eq(ask(UINT64_MAX, 2), UINT64_MAX, "it does not go round to 0");
    cr_assert_eq(ask(0, 1), UINT64_MAX);
    cr_assert_eq(map(UINT64_MAX, 1, &b), -EBUSY);
    cr_assert_eq(map(0, UINT64_MAX - 7, &b), 0, "everything before it");
    cr_assert_eq(ask(UINT64_MAX - 8, 1), 2);
    cr_assert_eq(ask(UINT64_MAX - 8, 2), UINT64_MAX);
    cr_assert_eq(map(0, UINT64_MAX, &b), -EBUSY);
}

Test(bus, unmap)
{
    struct owner o[3] = {{.number = 1}, {.number = 2}, {.number = 3}};
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(map(0x1000 + 0x10 * i, 0x10, &o[i]), 0);
    bus_unmap(bus, GPA(0x1018)); /* nothing starts there */
    bus_unmap(bus, GPA(0x5000));
    bus_unmap(bus, GPA(0));
    cr_assert_eq(ask(0x1018, 1), 2);
    bus_unmap(bus, GPA(0x1010));
    cr_assert_eq(ask(0x1018, 1), UINT64_MAX);
    cr_assert_eq(ask(0x1000, 1), 1);
    cr_assert_eq(ask(0x1020, 1), 3);
    bus_unmap(bus, GPA(0x1010)); /* twice */
    cr_assert_eq(map(0x1010, 0x10, &o[0]), 0, "and its place is free again");
    cr_assert_eq(ask(0x1018, 1), 1);
    bus_unmap(bus, GPA(0x1000));
    bus_unmap(bus, GPA(0x1010));
    bus_unmap(bus, GPA(0x1020));
    cr_assert_eq(ask(0x1018, 1), UINT64_MAX);
}

Test(bus, the_region_is_copied)
{
    struct owner o = {.number = 9};
    struct region r = {.name = "r", .base = GPA(0x10), .len = 4, .ops = &owner_ops, .ctx = &o};
    cr_assert_eq(bus_map(bus, &r), 0);
    memset(&r, 0, sizeof(r));
    cr_assert_eq(ask(0x12, 1), 9);
}

/* A thousand regions in random order, and an array that says of each byte whose it is. */
enum { SPACE = 1 << 18, REGIONS = 1000 };
static uint16_t owner_of[SPACE]; /* 0: nobody */
static struct owner owners[REGIONS + 1];
static struct {
    uint32_t base, len;
} where[REGIONS + 1];
static uint64_t seed = 12345;

static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static bool is_free(uint32_t base, uint32_t len)
{
    for (uint32_t i = base; i < base + len; i++) {
        if (owner_of[i])
            return false;
    }
    return true;
}

static void own(uint32_t base, uint32_t len, uint16_t who)
{
    for (uint32_t i = base; i < base + len; i++)
        owner_of[i] = who;
}

static void map_anywhere(uint16_t who)
{
    for (;;) {
        uint32_t len = 1 + rnd(200), base = rnd(SPACE - len);
        bool fits = is_free(base, len);
        owners[who] = (struct owner){.number = who};
        cr_assert_eq(map(base, len, &owners[who]), fits ? 0 : -EBUSY);
        if (!fits)
            continue;
        own(base, len, who);
        where[who].base = base;
        where[who].len = len;
        return;
    }
}

static void agree(void)
{
    for (uint32_t at = 0; at < SPACE - 8; at++) {
        unsigned size = 1u << rnd(4);
        uint16_t who = owner_of[at];
        bool whole = who && at - where[who].base + size <= where[who].len;
        cr_assert_eq(ask(at, size), whole ? who : UINT64_MAX, "%u bytes at %#x", size, at);
    }
}

Test(bus, a_thousand_regions_against_a_reference)
{
    for (uint16_t i = 1; i <= REGIONS; i++)
        map_anywhere(i);
    agree();
    for (unsigned n = 0; n < 500; n++) { /* some go, and come back elsewhere */
        uint16_t who = (uint16_t)(1 + rnd(REGIONS));
        bus_unmap(bus, GPA(where[who].base));
        own(where[who].base, where[who].len, 0);
        if (n % 2)
            map_anywhere(who);
        else
            where[who].len = 0, where[who].base = SPACE - 1;
    }
    agree();
}

/* Stateless, unlike an owner: for several threads. */
static uint64_t constant_read(void *ctx, uint64_t off, unsigned size)
{
    (void)off, (void)size;
    return (uint64_t)ctx;
}

static void ignored_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    (void)ctx, (void)off, (void)size, (void)val;
}

static const struct region_ops constant_ops = {.read = constant_read, .write = ignored_write};
static atomic_bool writer_ends;
static atomic_ulong wrong;

static void *reader(void *arg)
{
    (void)arg;
    for (unsigned long i = 0; !writer_ends || i < 10000; i++) {
        uint64_t v = 0;
        if (!bus_access(bus, GPA(0x5000), 4, false, &v) || v != 0x5000)
            wrong++; /* this one is always there */
        uint64_t at = 0x1000 + i % 8 * 0x1000;
        bool there = bus_access(bus, GPA(at), 4, false, &v);
        if (v != (there ? at : UINT64_MAX))
            wrong++; /* these come and go, but never answer for another */
        (void)bus_access(bus, GPA(at), 4, true, &v);
    }
    return NULL;
}

Test(bus, readers_need_no_lock)
{
    pthread_t threads[3];
    struct region r = {.name = "r",
                       .base = GPA(0x5000),
                       .len = 0x1000,
                       .ops = &constant_ops,
                       .ctx = (void *)0x5000};
    cr_assert_eq(bus_map(bus, &r), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, reader, NULL), 0);
    for (unsigned i = 0; i < 20000; i++) {
        uint64_t at = 0x1000 + rnd(8) * 0x1000;
        if (at == 0x5000)
            continue;
        r.base = GPA(at);
        r.ctx = (void *)at;
        if (bus_map(bus, &r) == -EBUSY)
            bus_unmap(bus, GPA(at));
    }
    writer_ends = true;
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(wrong, 0);
}

Test(bus, what_nobody_answers_is_logged_with_a_limit)
{
    int log = memfd_create("log", 0), saved = dup(STDERR_FILENO);
    char text[8192] = "";
    log_set_level(LOG_INFO);
    fflush(stderr);
    dup2(log, STDERR_FILENO);
    for (unsigned i = 0; i < 1000; i++) {
        (void)ask(0xabc, 2);
        (void)put(0xdef, 4, 0);
    }
    dup2(saved, STDERR_FILENO);
    cr_assert_gt(pread(log, text, sizeof(text) - 1, 0), 0);
    unsigned lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    cr_assert_eq(lines, LOG_BURST, "%s", text);
    cr_assert(strstr(text, "test: nothing answers a 2-byte read at 0xabc\n"), "%s", text);
    cr_assert(strstr(text, "test: nothing answers a 4-byte write at 0xdef\n"), "%s", text);
    close(log);
    close(saved);
}

Test(bus, free_takes_null)
{
    bus_free(NULL);
}
