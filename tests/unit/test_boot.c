/* tests/unit/test_boot.c - bzImages and initrds, good and hostile, command lines and memory maps:
 * what boot_load refuses, where it puts what it accepts, and that it touches nothing else. */
#include "tests/unit/boot_try.h"

#include <asm/bootparam.h>
#include <fcntl.h>

enum { SETUP = 1024, CODE = 8192, BZ_LEN = SETUP + CODE };
static const uint64_t init_size = 4 << 20;

/* A bzImage */

struct bz {
    uint8_t bytes[BZ_LEN];
};

static struct setup_header *bz_header(struct bz *b)
{
    return (struct setup_header *)(b->bytes + 0x1f1);
}

static struct bz bz_new(void)
{
    struct bz b;

    for (size_t i = 0; i < sizeof(b.bytes); i++)
        b.bytes[i] = (uint8_t)(i * 7 + i / 256);
    memset(b.bytes, 0, SETUP);
    *bz_header(&b) = (struct setup_header){
        .setup_sects = 1,
        .syssize = CODE / 16,
        .boot_flag = 0xaa55,
        .jump = 0x66eb,
        .header = 0x53726448,
        .version = 0x020f,
        .loadflags = LOADED_HIGH,
        .initrd_addr_max = 0x7fffffff,
        .kernel_alignment = 0x200000,
        .relocatable_kernel = 1,
        .xloadflags = XLF_KERNEL_64,
        .cmdline_size = 2047,
        .pref_address = LAYOUT_KERNEL,
        .init_size = (uint32_t)init_size,
    };
    return b;
}

/* Kernel file refused, for each way of spoiling a good bzImage. */
#define BZ_REFUSED(name, spoil, sentence)                                                          \
    Test(boot, bz_##name)                                                                          \
    {                                                                                              \
        struct bz b = bz_new();                                                                    \
        struct setup_header *h = bz_header(&b);                                                    \
        spoil;                                                                                     \
        struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));                          \
        refused(&t, sentence);                                                                     \
    }

BZ_REFUSED(old_protocol, h->version = 0x020b,
           "kernel vmlinuz: boot protocol 2.11 is too old; 2.12 is needed")
BZ_REFUSED(no_64_bit_entry, h->xloadflags = 0, "kernel vmlinuz: it has no 64-bit entry point")
BZ_REFUSED(zimage, h->loadflags = 0, "kernel vmlinuz: it has no 64-bit entry point")
BZ_REFUSED(no_code, h->syssize = 0x20, "kernel vmlinuz: its header promises no code")
BZ_REFUSED(promise_of_64_gib, h->syssize = UINT32_MAX,
           "kernel vmlinuz: truncated: its header promises 68719477744 bytes, the file has 9216")
BZ_REFUSED(does_not_fit, h->init_size = 17 << 20,
           "kernel vmlinuz: it needs 17 MiB of RAM from 0x1000000 on, and RAM ends at 0x2000000")
BZ_REFUSED(init_size_max, h->init_size = UINT32_MAX,
           "kernel vmlinuz: it needs 4096 MiB of RAM from 0x1000000 on, and RAM ends at 0x2000000")
BZ_REFUSED(odd_alignment, h->kernel_alignment = 3 << 20,
           "kernel vmlinuz: its alignment, 0x300000, is no power of two")
BZ_REFUSED(no_alignment, h->kernel_alignment = 0,
           "kernel vmlinuz: its alignment, 0x0, is no power of two")
BZ_REFUSED(fixed_on_our_tables, (h->relocatable_kernel = 0, h->pref_address = 0x7000),
           "kernel vmlinuz: it must be loaded at 0x7000, below 1 MiB")
BZ_REFUSED(fixed_at_the_end_of_all, (h->relocatable_kernel = 0, h->pref_address = UINT64_MAX),
           "kernel vmlinuz: it needs 4 MiB of RAM from 0xffffffffffffffff on, and RAM ends at "
           "0x2000000")
BZ_REFUSED(no_magic, h->header = 0, "kernel vmlinuz: neither a bzImage nor an ELF file")
BZ_REFUSED(no_boot_flag, h->boot_flag = 0, "kernel vmlinuz: neither a bzImage nor an ELF file")
BZ_REFUSED(cmdline_too_long, h->cmdline_size = 4,
           "command line: 5 bytes long, and kernel vmlinuz takes 4")

#define BZ_TRUNCATED(len, sentence)                                                                \
    Test(boot, bz_truncated_at_##len)                                                              \
    {                                                                                              \
        struct bz b = bz_new();                                                                    \
        struct try t = try_new(DISCOVERY_ACPI, b.bytes, len);                                      \
        refused(&t, sentence);                                                                     \
    }

BZ_TRUNCATED(0, "kernel vmlinuz: the file is empty")
BZ_TRUNCATED(1, "kernel vmlinuz: neither a bzImage nor an ELF file")
BZ_TRUNCATED(0x203, "kernel vmlinuz: neither a bzImage nor an ELF file")
BZ_TRUNCATED(0x206, "kernel vmlinuz: boot protocol 0.00 is too old; 2.12 is needed")
BZ_TRUNCATED(1024, "kernel vmlinuz: truncated: its header promises 9216 bytes, the file has 1024")
BZ_TRUNCATED(9215, "kernel vmlinuz: truncated: its header promises 9216 bytes, the file has 9215")

Test(boot, large_bz_truncated_at_64_kib)
{
    struct bz b = bz_new();
    bz_header(&b)->syssize = 9 << 16;
    struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    cr_assert_eq(ftruncate(t.spec.kernel_fd, 65536), 0);
    refused(&t, "kernel vmlinuz: truncated: its header promises 9438208 bytes, the file has 65536");
}

Test(boot, directory)
{
    struct try t = try_new(DISCOVERY_ACPI, "", 1);
    close(t.spec.kernel_fd);
    t.spec.kernel_fd = open("/", O_RDONLY | O_DIRECTORY);
    refused(&t, "kernel vmlinuz: Is a directory");
}

Test(boot, not_a_file)
{
    struct try t = try_new(DISCOVERY_ACPI, "", 1);
    close(t.spec.kernel_fd);
    t.spec.kernel_fd = open("/dev/zero", O_RDONLY);
    refused(&t, "kernel vmlinuz: not a regular file");
}

Test(boot, random_bytes)
{
    uint8_t noise[65536];
    srandom(1);
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)random();
    struct try t = try_new(DISCOVERY_ACPI, noise, sizeof(noise));
    refused(&t, "kernel vmlinuz: neither a bzImage nor an ELF file");
}

/* Headers of noise between the magic numbers: anything may come of it but a write out of place. */
Test(boot, random_headers)
{
    srandom(2);
    for (int round = 0; round < 300; round++) {
        struct bz b = bz_new();
        struct setup_header good = *bz_header(&b);
        for (size_t i = 0; i < sizeof(good); i++)
            if (random() % 8 == 0)
                b.bytes[0x1f1 + i] = (uint8_t)random();
        bz_header(&b)->boot_flag = good.boot_flag;
        bz_header(&b)->header = good.header;
        if (round % 4)
            bz_header(&b)->syssize = good.syssize;
        struct try t = {.m = NULL};
        struct gmem_region r = {.base = GPA(0), .len = ram_bytes};
        struct gmem_options o = {.backing = GMEM_4K};
        cr_assert_eq(gmem_new(&r, 1, &o, &t.m, &t.e), 0);
        t.p = machine(DISCOVERY_ACPI);
        t.spec = (struct boot_spec){.kernel_fd = file_of(b.bytes, sizeof(b.bytes)),
                                    .kernel_name = "k",
                                    .initrd_fd = -1,
                                    .cmdline = ""};
        if (try_load(&t) < 0)
            cr_assert_eq(strncmp(t.e.msg, "kernel k: ", 10), 0, "%s", t.e.msg);
        try_end(&t);
    }
}

static void tables_right(const struct try *t, uint64_t cmdline_end)
{
    const uint64_t *pt = gmem_at(t->m, GPA(LAYOUT_PAGE_TABLES), 6 * 4096);

    cr_expect_eq(pt[0], (LAYOUT_PAGE_TABLES + 0x1000) | 3);
    cr_expect_eq(pt[1], 0);
    cr_expect_eq(pt[512 + 3], (LAYOUT_PAGE_TABLES + 0x5000) | 3);
    cr_expect_eq(pt[512 + 4], 0);
    cr_expect_eq(pt[1024], 0x83);
    cr_expect_eq(pt[1024 + 2047], 0xffe00083);

    cr_expect(painted(t, 0, 0x40e) && painted(t, 0x410, LAYOUT_GDT));
    cr_expect(painted(t, LAYOUT_GDT + BOOT_GDT_LIMIT + 1, LAYOUT_PVH_INFO));
    cr_expect(painted(t, LAYOUT_ZERO_PAGE + 0x1000, LAYOUT_PAGE_TABLES));
    cr_expect(painted(t, LAYOUT_PAGE_TABLES + 6 * 0x1000, LAYOUT_CMDLINE));
    cr_expect(painted(t, cmdline_end, LAYOUT_SETUP_DATA));
    cr_expect(painted(t, LAYOUT_LOW_END, LAYOUT_RSDP));
    cr_expect(painted(t, LAYOUT_BIOS_END, LAYOUT_KERNEL));
}

Test(boot, bz_loads)
{
    struct bz b = bz_new();
    struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);

    cr_expect_eq(t.entry.mode, BOOT_LONG64);
    cr_expect_eq(t.entry.rip, LAYOUT_KERNEL + 0x200);
    cr_expect_eq(t.entry.info, LAYOUT_ZERO_PAGE);
    cr_expect_eq(memcmp(at(&t, LAYOUT_KERNEL), b.bytes + SETUP, CODE), 0);
    cr_expect(painted(&t, LAYOUT_KERNEL + CODE, ram_bytes));
    cr_expect(painted(&t, LAYOUT_PVH_INFO, LAYOUT_ZERO_PAGE));
    cr_expect(painted(&t, LAYOUT_SETUP_DATA, LAYOUT_EBDA));
    cr_expect_eq(memcmp(at(&t, LAYOUT_EBDA), "_MP_", 4), 0, "found before the 64 KiB are searched");
    tables_right(&t, LAYOUT_CMDLINE + sizeof("quiet"));
    cr_expect_str_eq((const char *)at(&t, LAYOUT_CMDLINE), "quiet");

    const struct boot_params *z = gmem_at(t.m, GPA(LAYOUT_ZERO_PAGE), sizeof(*z));
    cr_expect_eq(z->hdr.type_of_loader, 0xff);
    cr_expect_eq(z->hdr.header, 0x53726448);
    cr_expect_eq(z->hdr.version, 0x020f);
    cr_expect_eq(z->hdr.init_size, init_size);
    cr_expect_eq(z->hdr.cmd_line_ptr, LAYOUT_CMDLINE);
    cr_expect_eq(z->hdr.ramdisk_size, 0);
    cr_expect_eq(z->hdr.setup_data, 0);
    cr_expect_eq(z->acpi_rsdp_addr, LAYOUT_RSDP);
    cr_expect_eq(z->sentinel, 0);
    cr_expect_eq(z->e820_entries, 4);
    cr_expect_eq(z->e820_table[0].size, LAYOUT_EBDA);
    cr_expect_eq(z->e820_table[2].addr, LAYOUT_BIOS_END);
    cr_expect_eq(z->e820_table[2].size, ram_bytes - LAYOUT_BIOS_END);
    cr_expect_eq(memcmp(at(&t, LAYOUT_RSDP), "RSD PTR ", 8), 0);
    try_end(&t);
}

/* A header that ends before the fields of newer protocols must not pull code into the zero page. */
Test(boot, bz_header_ends_where_it_says)
{
    struct bz b = bz_new();
    bz_header(&b)->jump = 0x5eeb; /* to 0x260: without init_size */
    struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    const struct boot_params *z = gmem_at(t.m, GPA(LAYOUT_ZERO_PAGE), sizeof(*z));
    cr_expect_eq(z->hdr.pref_address, LAYOUT_KERNEL);
    cr_expect_eq(z->hdr.init_size, 0);
    try_end(&t);
}

Test(boot, bz_at_another_preferred_address)
{
    struct bz b = bz_new();
    bz_header(&b)->pref_address = 0x400000;
    struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    cr_expect_eq(t.entry.rip, 0x400200);
    cr_expect_eq(memcmp(at(&t, 0x400000), b.bytes + SETUP, CODE), 0);
    try_end(&t);
}

Test(boot, bz_with_a_misaligned_preference_moves)
{
    struct bz b = bz_new();
    bz_header(&b)->pref_address = 0x401000;
    struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    cr_expect_eq(t.entry.rip, LAYOUT_KERNEL + 0x200);
    try_end(&t);
}

Test(boot, bz_fits_exactly)
{
    struct bz b = bz_new();
    bz_header(&b)->init_size = (uint32_t)(ram_bytes - LAYOUT_KERNEL);
    struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    cr_expect_eq(try_load(&t), 0, "%s", t.e.msg);
    try_end(&t);
}

/* initrd */

static struct try with_initrd(struct bz *b, uint64_t len)
{
    struct try t = try_new(DISCOVERY_ACPI, b->bytes, sizeof(b->bytes));

    t.spec.initrd_fd = file_of("initrd!", 7);
    cr_assert_eq(ftruncate(t.spec.initrd_fd, (off_t)len), 0);
    return t;
}

static void initrd_lies_at(struct bz *b, uint64_t len, uint64_t where)
{
    struct try t = with_initrd(b, len);
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    const struct boot_params *z = gmem_at(t.m, GPA(LAYOUT_ZERO_PAGE), sizeof(*z));
    cr_expect_eq(z->hdr.ramdisk_image, where, "at 0x%x", z->hdr.ramdisk_image);
    cr_expect_eq(z->hdr.ramdisk_size, len);
    cr_expect_eq(memcmp(at(&t, where), "initrd!", 7), 0);
    cr_expect(painted(&t, LAYOUT_KERNEL + CODE, where));
    cr_expect(painted(&t, where + len, ram_bytes));
    try_end(&t);
}

Test(boot, initrd_as_high_as_ram)
{
    struct bz b = bz_new();
    initrd_lies_at(&b, 5000, ram_bytes - 8192);
    initrd_lies_at(&b, 8192, ram_bytes - 8192);
}

Test(boot, initrd_as_high_as_the_kernel_can_reach)
{
    struct bz b = bz_new();
    bz_header(&b)->initrd_addr_max = 0x17fffff;
    initrd_lies_at(&b, 5000, 0x1800000 - 8192);
}

Test(boot, initrd_fits_exactly)
{
    struct bz b = bz_new();
    uint64_t end = LAYOUT_KERNEL + init_size;
    initrd_lies_at(&b, ram_bytes - end, end);
}

#define INITRD_REFUSED(name, len, addr_max, sentence)                                              \
    Test(boot, initrd_##name)                                                                      \
    {                                                                                              \
        struct bz b = bz_new();                                                                    \
        bz_header(&b)->initrd_addr_max = (addr_max);                                               \
        struct try t = with_initrd(&b, (len));                                                     \
        refused(&t, sentence);                                                                     \
    }

INITRD_REFUSED(one_byte_too_large, (12 << 20) + 1, 0x7fffffff,
               "initrd initrd.img: its 12582913 bytes do not fit into RAM between the kernel's end "
               "at 0x1400000 and 0x2000000")
INITRD_REFUSED(larger_than_ram, 64 << 20, 0x7fffffff,
               "initrd initrd.img: its 67108864 bytes do not fit into RAM between the kernel's end "
               "at 0x1400000 and 0x2000000")
INITRD_REFUSED(out_of_reach, 4096, 0x13fffff,
               "initrd initrd.img: its 4096 bytes do not fit into RAM between the kernel's end at "
               "0x1400000 and 0x1400000")
INITRD_REFUSED(empty, 0, 0x7fffffff, "initrd initrd.img: the file is empty")

/* The command line */

Test(boot, cmdline_of_devices_comes_first)
{
    struct bz b = bz_new();
    struct try t = try_new(DISCOVERY_CMDLINE, b.bytes, sizeof(b.bytes));
    t.spec.cmdline = "quiet -- single";
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    const char *want = "virtio_mmio.device=4K@0xd0000000:16 virtio_mmio.device=4K@0xd0001000:17 "
                       "quiet -- single";
    cr_expect_str_eq((const char *)at(&t, LAYOUT_CMDLINE), want);
    tables_right(&t, LAYOUT_CMDLINE + strlen(want) + 1);
    const struct boot_params *z = gmem_at(t.m, GPA(LAYOUT_ZERO_PAGE), sizeof(*z));
    cr_expect_eq(z->acpi_rsdp_addr, 0);
    cr_expect(painted(&t, LAYOUT_RSDP, LAYOUT_BIOS_END), "no ACPI tables");
    cr_expect_eq(memcmp(at(&t, LAYOUT_EBDA), "_MP_", 4), 0);
    try_end(&t);
}

Test(boot, cmdline_limit_counts_the_devices)
{
    struct bz b = bz_new();
    bz_header(&b)->cmdline_size = 76; /* 71 for two devices, a space, and "quiet" are 77 */
    struct try t = try_new(DISCOVERY_CMDLINE, b.bytes, sizeof(b.bytes));
    refused(&t, "command line: 77 bytes long, and kernel vmlinuz takes 76");
}

Test(boot, cmdline_longer_than_its_place)
{
    struct bz b = bz_new();
    bz_header(&b)->cmdline_size = UINT32_MAX;
    char *line = malloc(LAYOUT_CMDLINE_MAX + 1);
    memset(line, 'x', LAYOUT_CMDLINE_MAX);
    line[LAYOUT_CMDLINE_MAX] = '\0';
    struct try t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    t.spec.cmdline = line;
    refused(&t, "command line: 65536 bytes long, and kernel vmlinuz takes 65535");

    line[LAYOUT_CMDLINE_MAX - 1] = '\0';
    t = try_new(DISCOVERY_ACPI, b.bytes, sizeof(b.bytes));
    t.spec.cmdline = line;
    cr_expect_eq(try_load(&t), 0);
    cr_expect(painted(&t, LAYOUT_SETUP_DATA, LAYOUT_EBDA));
    try_end(&t);
    free(line);
}

Test(boot, cmdline_devices)
{
    struct platform p = machine(DISCOVERY_CMDLINE);
    char *s = NULL;
    cr_assert_eq(cmdline_devices(&p, &s), 0);
    cr_expect_str_eq(s, " virtio_mmio.device=4K@0xd0000000:16 virtio_mmio.device=4K@0xd0001000:17");
    free(s);
    p.n_mmio = 0;
    cr_assert_eq(cmdline_devices(&p, &s), 0);
    cr_expect_str_eq(s, "");
    free(s);
}

/* Device tree */

Test(boot, fdt_travels_in_setup_data)
{
    struct bz b = bz_new();
    struct try t = try_new(DISCOVERY_FDT, b.bytes, sizeof(b.bytes));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    const struct boot_params *z = gmem_at(t.m, GPA(LAYOUT_ZERO_PAGE), sizeof(*z));
    cr_expect_eq(z->hdr.setup_data, LAYOUT_SETUP_DATA);
    cr_expect_eq(z->acpi_rsdp_addr, 0);
    const struct setup_data *d = gmem_at(t.m, GPA(LAYOUT_SETUP_DATA), sizeof(*d));
    cr_expect_eq(d->next, 0);
    cr_expect_eq(d->type, SETUP_DTB);
    cr_expect_eq(memcmp(d->data, "\xd0\x0d\xfe\xed", 4), 0);
    cr_expect(painted(&t, LAYOUT_SETUP_DATA + sizeof(*d) + d->len, LAYOUT_LOW_END));
    cr_expect(painted(&t, LAYOUT_RSDP, LAYOUT_BIOS_END), "no ACPI tables");
    try_end(&t);
}

Test(boot, fdt_too_large)
{
    struct bz b = bz_new();
    struct try t = try_new(DISCOVERY_FDT, b.bytes, sizeof(b.bytes));
    t.p.cpus = 20000;
    cr_expect_lt(try_load(&t), 0);
    cr_expect_eq(t.e.kind, ERR_INPUT);
    cr_expect_eq(strncmp(t.e.msg, "device tree: ", 13), 0);
    cr_expect(painted(&t, LAYOUT_SETUP_DATA, LAYOUT_LOW_END));
    try_end(&t);
}

Test(boot, bz_above_4_gib)
{
    struct bz b = bz_new();
    bz_header(&b)->pref_address = LAYOUT_HOLE_END;
    refused_above_4_gib(
        b.bytes, sizeof(b.bytes),
        "kernel vmlinuz: it needs 4 MiB of RAM from 0x100000000 on, and RAM ends at 0x2000000");
}

/* Too little RAM for anything at all */

Test(boot, ram_below_1_mib)
{
    struct gmem *m = ram_new(KIB(64));
    struct err e = {0};
    cr_expect_lt(boot_write_tables(m, &e) + acpi_write(m, &(struct platform){.cpus = 1}, &e), 0);
    cr_expect_str_eq(e.msg, "RAM: less than 1 MiB is too little to boot");
    gmem_free(m);
}

/* Memory map */

Test(boot, e820_reserves_ecam)
{
    struct platform p = {.ram_low = GIB(3), .ram_high = GIB(1), .pci.present = true};
    struct e820_range got[8];
    cr_assert_eq(e820_ranges(&p, got), 6);
    cr_expect_eq(got[3].base, 0xe0000000);
    cr_expect_eq(got[3].len, 0x100000);
    cr_expect_eq(got[3].type, 2);
    cr_expect_eq(got[5].base, GIB(4));
}

static void map_is(uint64_t low, uint64_t high, const struct e820_range *want, unsigned n)
{
    struct platform p = {.ram_low = low, .ram_high = high};
    struct e820_range got[8];

    cr_assert_eq(e820_ranges(&p, got), n);
    for (unsigned i = 0; i < n; i++) {
        cr_expect_eq(got[i].base, want[i].base, "range %u", i);
        cr_expect_eq(got[i].len, want[i].len, "range %u", i);
        cr_expect_eq(got[i].type, want[i].type, "range %u", i);
    }
}

Test(boot, e820_below_the_hole)
{
    map_is(MIB(128), 0,
           (struct e820_range[]){{0, 0x9fc00, 1},
                                 {0x9fc00, 0x60400, 2},
                                 {0x100000, 0x7f00000, 1},
                                 {0xfffbc000, 0x4000, 2}},
           4);
}

Test(boot, e820_above_the_hole)
{
    map_is(LAYOUT_HOLE_START, GIB(5),
           (struct e820_range[]){{0, 0x9fc00, 1},
                                 {0x9fc00, 0x60400, 2},
                                 {0x100000, 0xbff00000, 1},
                                 {0xfffbc000, 0x4000, 2},
                                 {0x100000000, 0x140000000, 1}},
           5);
}
