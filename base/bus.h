/* base/bus.h - an address space of trapped accesses: which region owns an address, found without a
 * lock in logarithmic time. One bus for I/O ports, one for MMIO.
 *
 * bus_access() runs on any vCPU thread while bus_map() and bus_unmap() publish a new table. */
#pragma once

#include "base/base.h"

struct bus;

/* size is 1 to 8 and the access never straddles the region's end. An access that crosses a page
 * arrives in two parts, so odd sizes happen. Called on vCPU threads,
 * concurrently: the owner takes its own lock. */
struct region_ops {
    uint64_t (*read)(void *ctx, uint64_t off, unsigned size);
    void (*write)(void *ctx, uint64_t off, unsigned size, uint64_t val);
};
struct region {
    const char *name; /* static; for messages */
    gpa_t base;
    uint64_t len;
    const struct region_ops *ops;
    void *ctx;
};

int CHECKED bus_new(const char *name, struct bus **out);
void bus_free(struct bus *b);

int CHECKED bus_map(struct bus *b, const struct region *r); /* copied; -EBUSY on overlap */
void bus_unmap(struct bus *b, gpa_t base);                  /* the region that starts there */

/* Reads into or writes from *val. An access that no region owns, or that leaves its region, reads
 * all ones, is dropped when it writes, and is logged with a limit; returns false then. */
bool bus_access(struct bus *b, gpa_t at, unsigned size, bool write, uint64_t *val);
