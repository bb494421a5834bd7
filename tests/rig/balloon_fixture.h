/* tests/rig/balloon_fixture.h - what the tests of the balloon share: pages that are there or not,
 * and a timer that fires when told. */
#pragma once

#include <endian.h>
#include <linux/virtio_balloon.h>
#include <sys/mman.h>

#include "tests/rig/reported.h"

enum { PAGE = 4096, MARK = 0x5a, INFLATEQ = 0, DEFLATEQ, STATSQ, HINTQ, REPORTQ };
enum { NUM_PAGES = 0, ACTUAL = 4, CMD_ID = 8, POISON = 12 };
#define BALLOON_F(x) (1ull << VIRTIO_BALLOON_F_##x)

/* The timer that was armed last, and for how long. */
static struct loop_timer *armed;
static uint64_t armed_ns;
void __real_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns)
{
    armed = t;
    armed_ns = ns;
    __real_loop_timer_set(t, ns);
}

static inline void fire(struct rig *r)
{
    __real_loop_timer_set(armed, 1);
    (void)loop_step(r->loop, -1);
    rig_settle(r);
}

/* Page-aligned, in RAM, and not zero. */
static inline gpa_t pages(struct rig *r, unsigned n)
{
    gpa_t at = rig_alloc_at(r, n * PAGE, PAGE);
    memset(rig_at(r, at, n * PAGE), MARK, n * PAGE);
    return at;
}

static inline bool resident(struct rig *r, gpa_t page)
{
    unsigned char in = 0;
    cr_assert_eq(mincore(rig_at(r, page, PAGE), PAGE, &in), 0);
    return in & 1;
}

static inline gpa_t page_at(gpa_t first, unsigned i)
{
    return GPA(first.v + (uint64_t)i * PAGE);
}

static inline uint8_t byte_at(struct rig *r, gpa_t at)
{
    return *(uint8_t *)rig_at(r, at, 1);
}

/* One buffer, until it is used; its used length. */
static inline uint32_t submit(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                              const struct rig_seg *in, unsigned n_in)
{
    uint32_t id, len;
    rig_add(r, q, out, n_out, in, n_in);
    rig_kick(r, q);
    rig_settle(r);
    cr_assert(rig_used(r, q, &id, &len), "queue %u", q);
    return len;
}

static inline struct rig_seg bytes(struct rig *r, const void *p, uint32_t len)
{
    struct rig_seg s = {rig_alloc(r, len), len};
    memcpy(rig_at(r, s.at, len), p, len);
    return s;
}

/* Page frame numbers on the inflate or the deflate queue. */
static inline void name_pages(struct rig *r, unsigned q, const uint32_t *pfns, unsigned n)
{
    struct rig_seg s = bytes(r, pfns, n * 4);
    cr_assert_eq(submit(r, q, &s, 1, NULL, 0), 0, "nothing is written");
}

static inline void inflate(struct rig *r, gpa_t page)
{
    uint32_t pfn = htole32((uint32_t)(page.v / PAGE));
    name_pages(r, INFLATEQ, &pfn, 1);
}

static const enum rig_transport legacy[] = {RIG_MMIO_LEGACY, RIG_PCI_TRANSITIONAL_LEGACY,
                                            RIG_PCI_LEGACY};
#define for_each_legacy(t)                                                                         \
    for (const enum rig_transport *t = legacy; t < legacy + ARRAY_SIZE(legacy); t++)
