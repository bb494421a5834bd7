/* base/gmem.h - guest RAM: page-aligned ranges of guest-physical addresses, each backed by host
 * memory, and the only way from a guest address to a host pointer.
 *
 * A set of regions never changes once a machine runs, so look-ups need no lock and any thread may
 * make them; of a region with blocks, which of them are there may change at any time. A pointer
 * stays good whatever becomes of its block: at worst it leads to memory that the guest does not
 * see. Contents are shared with running vCPUs: a byte may change at any time, so whoever
 * checks a value must check its own copy. */
#pragma once

#include "base/base.h"

struct gmem;

enum gmem_backing { GMEM_4K, GMEM_THP, GMEM_HUGE_2M, GMEM_HUGE_1G };
struct gmem_options {
    enum gmem_backing backing;
    bool prefault; /* touch every page now: no fault later, and no overcommit */
    bool shared;   /* memfd, MAP_SHARED: other processes can map it by gmem_region.fd */
};
struct gmem_region {
    gpa_t base;
    uint64_t len;
    uint8_t *host;
    /* Of added regions only. */
    bool ro;                         /* may not be written, by nobody */
    uint64_t block;                  /* with `present`: bytes, a power of two that divides len */
    const _Atomic uint64_t *present; /* a bit for each block, from bit 0 of word 0 on; NULL: all */
};

/* The x86 hole layout is the caller's: `regions` gives base and len (page-aligned, ascending, not
 * overlapping); `host` is filled in. One mapping, with an inaccessible page at either end. */
int CHECKED gmem_new(const struct gmem_region *regions, unsigned n, const struct gmem_options *o,
                     struct gmem **out, struct err *e);
void gmem_free(struct gmem *m); /* NULL is fine; nothing may use the memory any more */

/* Those that gmem_new() was given, with their host memory. */
unsigned gmem_regions(const struct gmem *m, const struct gmem_region **out);

/* One more, of a device's own memory, which is borrowed and outlives every look-up: from now on
 * descriptors may lead there. Only before the machine runs. -EINVAL: it is not laid out properly;
 * -EEXIST: it overlaps; -ENOSPC: there are too many. gmem_discard() leaves its contents to the
 * device. */
int CHECKED gmem_add(struct gmem *m, const struct gmem_region *r);
int gmem_fd(const struct gmem *m); /* the memfd behind `shared`, or -1 */

/* Host pointer to [at, at+len), or NULL unless all of it lies in one region, may be written and is
 * there; len 0 is allowed wherever at itself is RAM. There is no unchecked twin. */
void *gmem_at(const struct gmem *m, gpa_t at, uint64_t len);
/* The same to read only, so that it may lie in a region that is not to be written. */
const void *gmem_at_ro(const struct gmem *m, gpa_t at, uint64_t len);

/* Where a region has [at, at+len); NULL: it has not all of that. For whoever knows that it may be
 * written and is there, as what gmem_regions() gives always may. */
static inline uint8_t *gmem_region_at(const struct gmem_region *r, gpa_t at, uint64_t len)
{
    uint64_t off = at.v - r->base.v; /* wraps to something large when at is below base */
    return off < r->len && len <= r->len - off ? r->host + off : NULL;
}

/* The guest reads zeroes afterwards, and the host has the pages back, unless they are huge or were
 * prefaulted. For a reset. */
void gmem_discard(struct gmem *m);

/* Gives the host back what [at, at+len) has of whole pages of RAM, and returns how many bytes that
 * were; the rest, and what is no RAM, stays as it is. The guest reads zeroes there afterwards, and
 * touching it makes the host find a page again, also where memory was prefaulted. Nothing of huge
 * pages goes: a pool that has run dry by the time they are touched again would be a SIGBUS. */
uint64_t gmem_release(struct gmem *m, gpa_t at, uint64_t len);
