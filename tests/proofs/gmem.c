/* tests/proofs/gmem.c - guest memory, asked for any range: what Frama-C's Eva analyses
 * (tools/prove).
 *
 * Lengths are taken one by one: to know that a range ends inside its region, Eva has to know how
 * long it is. Addresses and bases are any at once; but for what is given back to the host, where
 * they are those at the edges of pages and regions.
 *
 * inlined: any, any64, any64_upto, vq_host, gmem_region_at, well_formed */
#include <linux/falloc.h>
#include <stddef.h>
#include <sys/types.h>

int memfd_create(const char *name, unsigned flags);
int madvise(void *at, size_t len, int advice);
int fallocate(int fd, int mode, off_t off, off_t len);
#include "base/gmem.c"
#include "devices/virtio/vq_priv.h"
#include "tests/proofs/any.h"

/* --- memory of a guest's, and of devices --- */

enum { ONE = 1, FEW = 8, BLOCKS = 64 }; /* the last: of a byte each, with a word of bits */
#define MUCH (1ull << 40)

static uint8_t one[ONE], few[FEW], much[MUCH], fixed[FEW], blocks[BLOCKS], pairs[FEW];
static _Atomic uint64_t present[1], pair_present[1];

static gpa_t any_base(uint64_t len)
{
    return GPA(any64_upto(UINT64_MAX - len)); /* gmem_new(), gmem_add() */
}

/* Regions as gmem_new() and gmem_add() let them in, and such as overlap, too. */
static struct gmem m;
static void any_memory(void)
{
    m.n = 3;
    m.n_all = 6;
    m.fd = -1;
    m.regions[0] = (struct gmem_region){.base = any_base(ONE), .len = ONE, .host = one};
    m.regions[1] = (struct gmem_region){.base = any_base(FEW), .len = FEW, .host = few};
    m.regions[2] = (struct gmem_region){.base = any_base(MUCH), .len = MUCH, .host = much};
    m.regions[3] =
        (struct gmem_region){.base = any_base(FEW), .len = FEW, .host = fixed, .ro = true};
    m.regions[4] = (struct gmem_region){
        .base = any_base(BLOCKS), .len = BLOCKS, .host = blocks, .block = 1, .present = present};
    m.regions[5] = (struct gmem_region){
        .base = any_base(FEW), .len = FEW, .host = pairs, .block = 2, .present = pair_present};
}

/* All of it may be touched, from the first byte to the last. */
static void touch(const void *at, uint64_t len)
{
    const volatile uint8_t *p = at;
    if (!p)
        return;
    (void)p[0];
    if (len)
        (void)p[len - 1];
}

static void look_up_any(const struct vq *q, uint64_t len)
{
    gpa_t at = GPA(any64());
    touch(gmem_at(&m, at, len), len);
    touch(gmem_at_ro(&m, at, len), len);
    touch(vq_host(q, at.v, len, true), len);
    touch(vq_host(q, at.v, len, false), len);
}

static void look_ups(void)
{
    static const uint64_t large[] = {UINT32_MAX, MUCH - 1,       MUCH,      MUCH + 1,
                                     1ull << 63, UINT64_MAX - 1, UINT64_MAX};
    struct vq q = {.mem = &m};
    any_memory();
    q.n_ram = gmem_regions(&m, &q.ram);
    for (uint64_t len = 0; len <= BLOCKS + 1; len++)
        look_up_any(&q, len);
    for (unsigned i = 0; i < ARRAY_SIZE(large); i++)
        look_up_any(&q, large[i]);
}

/* --- regions that are added --- */

enum { PAGE = 4096 };

/* Behind n regions and `added` more, that lie from address 0 on without a gap. */
static void add(unsigned n, unsigned added, uint64_t base, uint64_t block)
{
    const struct gmem_region r = {
        .base = GPA(base), .len = PAGE, .host = NULL, .block = block, .present = present};
    m.n = n;
    m.n_all = n + added;
    for (unsigned i = 0; i < m.n_all; i++)
        m.regions[i] = (struct gmem_region){.base = GPA(i * PAGE), .len = PAGE, .host = one};
    bool fits = base >= m.n_all * PAGE && added < MAX_ADDED && block && PAGE % block == 0;
    check((gmem_add(&m, &r) == 0) == fits);
    check(m.n_all == n + added + fits && m.n_all <= MAX_ALL);
}

static void adds(void)
{
    static const uint64_t base[] = {0, PAGE, 40 * PAGE, UINT64_MAX - 2 * PAGE + 1};
    for (unsigned i = 0; i < ARRAY_SIZE(base); i++) {
        for (unsigned block = 0; block <= 3; block++)
            add(1, 0, base[i], block);
        for (unsigned n = 1; n <= MAX_REGIONS; n += MAX_REGIONS - 1) {
            add(n, MAX_ADDED - 1, base[i], PAGE);
            add(n, MAX_ADDED, base[i], PAGE);
        }
    }
}

/* What both gmem_new() and gmem_add() ask of a region first. */
static void shapes(void)
{
    static const uint64_t len[] = {0, 1, PAGE, 1ull << 63, UINT64_MAX - PAGE + 1, UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_SIZE(len); i++) {
        const struct gmem_region r = {.base = GPA(any64()), .len = len[i]};
        if (well_formed(&r))
            check(r.len != 0 && r.base.v <= UINT64_MAX - r.len);
    }
}

/* --- what is given back to the host --- */

static uint8_t ram[3 * PAGE];

int madvise(void *at, size_t len, int advice)
{
    (void)advice;
    check(((uint8_t *)at - ram) % PAGE == 0 && len % PAGE == 0 && len > 0);
    touch(at, len);
    return -(int)any(0, 1);
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
    (void)fd, (void)mode;
    check(off >= 0 && off % PAGE == 0 && len > 0 && len % PAGE == 0 && off + len <= 3 * PAGE);
    return -(int)any(0, 1);
}

static void give_back(gpa_t at)
{
    static const uint64_t len[] = {0,        1,        PAGE - 1, PAGE,           PAGE + 1,
                                   2 * PAGE, 3 * PAGE, 4 * PAGE, UINT64_MAX - 1, UINT64_MAX};
    for (unsigned i = 0; i < ARRAY_SIZE(len); i++)
        check(gmem_release(&m, at, len[i]) <= MIN(len[i], (uint64_t)3 * PAGE));
}

static void gifts(void)
{
    /* Behind each other, with a hole, and at the last address there may be. */
    static const uint64_t second[] = {2 * PAGE, 9 * PAGE, UINT64_MAX - 2 * PAGE + 1};
    for (unsigned i = 0; i < ARRAY_SIZE(second); i++) {
        m.n = m.n_all = 2;
        m.fd = (int)any(0, 1) - 1;
        m.huge = any(0, 1);
        m.prefault = any(0, 1);
        m.regions[0] = (struct gmem_region){.base = GPA(0), .len = 2 * PAGE, .host = ram};
        m.regions[1] =
            (struct gmem_region){.base = GPA(second[i]), .len = PAGE, .host = ram + 2 * PAGE};
        for (uint64_t at = 0; at <= 4 * PAGE; at += PAGE / 2 - 1)
            give_back(GPA(at));
        for (uint64_t off = 0; off < 3; off++) {
            give_back(GPA(second[i] + off - 1));
            give_back(GPA(second[i] + PAGE + off - 1));
        }
        give_back(GPA(UINT64_MAX));
        gmem_discard(&m);
    }
}

int main(void)
{
    look_ups();
    adds();
    shapes();
    gifts();
    return 0;
}
