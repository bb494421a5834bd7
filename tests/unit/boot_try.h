/* tests/unit/boot_try.h - one attempt to boot a file: a small machine whose RAM was painted first,
 * so that a test sees what was written and what was not. */
#pragma once

#include "arch/x86_64/boot.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/mman.h>

enum { PAINT = 0xa5 };
static const uint64_t ram_bytes = 32 << 20;

/* The machine */

static inline struct gmem *ram_new(uint64_t low)
{
    struct gmem_region r = {.base = GPA(0), .len = low};
    struct gmem_options o = {.backing = GMEM_4K};
    struct gmem *m = NULL;
    struct err e;

    cr_assert_eq(gmem_new(&r, 1, &o, &m, &e), 0);
    memset(gmem_at(m, GPA(0), low), PAINT, low);
    return m;
}

static const struct mmio_slot slots[] = {
    {.base = GPA(LAYOUT_VIRTIO_MMIO), .len = 4096, .irq = 16},
    {.base = GPA(LAYOUT_VIRTIO_MMIO + 4096), .len = 4096, .irq = 17},
};

static inline struct platform machine(enum discovery d)
{
    return (struct platform){
        .cpus = 2, .ram_low = ram_bytes, .mmio = slots, .n_mmio = 2, .discovery = d};
}

static inline int file_of(const void *bytes, size_t len)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
    return fd;
}

/* Everything that a test may vary. */
struct
try {
    struct gmem *m;
    struct platform p;
    struct boot_spec spec;
    struct boot_entry entry;
    struct err e;
};

static inline struct try try_new(enum discovery d, const void *kernel, size_t len)
{
    struct try t = {.m = ram_new(ram_bytes), .p = machine(d)};

    t.spec = (struct boot_spec){.kernel_fd = file_of(kernel, len),
                                .kernel_name = "vmlinuz",
                                .initrd_fd = -1,
                                .initrd_name = "initrd.img",
                                .cmdline = "quiet"};
    t.entry.rip = 0xdead;
    return t;
}

static inline int try_load(struct try *t)
{
    t->spec.platform = &t->p;
    return boot_load(t->m, &t->spec, &t->entry, &t->e);
}

static inline void try_end(struct try *t)
{
    close(t->spec.kernel_fd);
    if (t->spec.initrd_fd >= 0)
        close(t->spec.initrd_fd);
    gmem_free(t->m);
}

static const uint8_t *at(const struct try *t, uint64_t gpa)
{
    return gmem_at(t->m, GPA(gpa), 1);
}

static inline bool painted(const struct try *t, uint64_t from, uint64_t to)
{
    const uint8_t *p = gmem_at(t->m, GPA(from), to - from);

    return to == from || (p[0] == PAINT && memcmp(p, p + 1, to - from - 1) == 0);
}

/* The load must fail with exactly this sentence. */
static inline void refused(struct try *t, const char *sentence)
{
    cr_expect_lt(try_load(t), 0);
    cr_expect_eq(t->e.kind, ERR_INPUT);
    cr_expect_str_eq(t->e.msg, sentence);
    cr_expect_eq(t->entry.rip, 0xdead, "out-parameter touched on failure");
    cr_expect(painted(t, 0, LAYOUT_BIOS_END), "tables written for a machine that will not run");
    try_end(t);
}

/* RAM above 4 GiB is not for kernels: the page tables end there, and so does PVH's mode. */

static inline void refused_above_4_gib(const void *kernel, size_t len, const char *sentence)
{
    struct gmem_region r[] = {{.base = GPA(0), .len = ram_bytes},
                              {.base = GPA(LAYOUT_HOLE_END), .len = ram_bytes}};
    struct gmem_options o = {.backing = GMEM_4K};
    struct try t = try_new(DISCOVERY_ACPI, kernel, len);

    gmem_free(t.m);
    cr_assert_eq(gmem_new(r, 2, &o, &t.m, &t.e), 0);
    t.p.ram_high = ram_bytes;
    memset(gmem_at(t.m, GPA(0), ram_bytes), PAINT, ram_bytes);
    refused(&t, sentence);
}
