/* tests/fuzz/fuzz_boot.c - kernels and initrds as hostile files, on machines of many a shape: what
 * is loaded lies in RAM, and the tables that describe the machine fit their places. */
#include <sys/mman.h>

#include "arch/x86_64/boot.h"
#include "tests/fuzz/fuzz.h"

enum { RAM = 32 << 20, NAMES = 32 };

static int file_of(struct script *s, size_t len)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    len = MIN(len, s->len);
    EXPECT(fd >= 0 && write(fd, s->p, len) == (ssize_t)len);
    s->p += len;
    s->len -= len;
    return fd;
}

static void tables(const struct gmem *m, const struct platform *p)
{
    struct err e = {0};
    AUTO_FREE void *tree = NULL;
    AUTO_FREE char *words = NULL;
    size_t len;
    EXPECT(acpi_write(m, p, &e) == 0, "%s", e.msg);
    EXPECT(mptable_write(m, p, &e) == 0, "%s", e.msg);
    EXPECT(fdt_build(p, "quiet", &tree, &len) == 0);
    EXPECT(cmdline_devices(p, &words) == 0);
}

/* A bzImage says how much it needs, from 512 bytes before its entry point. */
static uint64_t kernel_needs(const uint8_t *zero_page)
{
    enum { SYSSIZE = 0x1f4, INIT_SIZE = 0x260 };
    return MAX(get_bytes(zero_page + SYSSIZE, 4) * 16, get_bytes(zero_page + INIT_SIZE, 4));
}

/* Where the kernel is told that its initrd is: all of it, in RAM, and not where the kernel will be.
 */
static void initrd_is(const struct gmem *m, const struct boot_entry *entry, const uint8_t *bytes,
                      size_t len)
{
    enum { RAMDISK_IMAGE = 0x218, RAMDISK_SIZE = 0x21c, MODULES = 12, MODULE_LIST = 16 };
    enum { ENTRY_64 = 512 };
    const uint8_t *info = gmem_at(m, GPA(entry->info), 4096);
    uint64_t at = get_bytes(info + RAMDISK_IMAGE, 4), size = get_bytes(info + RAMDISK_SIZE, 4);
    if (entry->mode == BOOT_PVH && get_bytes(info + MODULES, 4) > 0) {
        const uint8_t *module = gmem_at(m, GPA(get_bytes(info + MODULE_LIST, 8)), 16);
        EXPECT(module);
        at = get_bytes(module, 8);
        size = get_bytes(module + 8, 8);
    } else if (entry->mode == BOOT_PVH) {
        size = 0;
    }
    EXPECT(size == len, "%lu bytes of %zu", (unsigned long)size, len);
    if (len == 0)
        return;
    const uint8_t *there = gmem_at(m, GPA(at), len);
    EXPECT(there && memcmp(there, bytes, len) == 0, "initrd at %#lx", (unsigned long)at);
    EXPECT(entry->rip - at >= len, "the entry point %#lx is in the initrd", entry->rip);
    if (entry->mode == BOOT_LONG64 && kernel_needs(info) > 0)
        EXPECT(at + len <= entry->rip - ENTRY_64 ||
                   at >= entry->rip - ENTRY_64 + kernel_needs(info),
               "the initrd at %#lx is in the kernel", (unsigned long)at);
}

void fuzz_boot(struct script *s, const char *which)
{
    enum { PCI = 4, INITRD = 8, HIGH = 16, TABLES = 32 };
    struct mmio_slot slots[LAYOUT_MMIO_MAX];
    uint8_t how = take8(s);
    const struct gmem_region ram[] = {{.base = GPA(0), .len = RAM},
                                      {.base = GPA(LAYOUT_HOLE_END), .len = RAM}};
    const struct gmem_options plain = {0};
    struct platform p = {.cpus = 1u + take8(s),
                         .ram_low = RAM,
                         .ram_high = how & HIGH ? RAM : 0,
                         .mmio = slots,
                         .n_mmio = take8(s) % LAYOUT_MMIO_MAX,
                         .discovery = how % 3};
    struct gmem *m;
    struct err e = {0};
    (void)which;
    for (unsigned i = 0; i < p.n_mmio; i++)
        slots[i] = (struct mmio_slot){
            .base = GPA(LAYOUT_VIRTIO_MMIO + i * LAYOUT_MMIO_STRIDE), .len = 4096, .irq = 5 + i};
    if (how & PCI)
        pci_host_init(&p.pci, LAYOUT_HOLE_END + p.ram_high, platform_address_limit(46));
    EXPECT(gmem_new(ram, how & HIGH ? 2 : 1, &plain, &m, &e) == 0, "%s", e.msg);
    if (how & TABLES)
        tables(m, &p);
    char *cmdline = take_text(s, '\n');
    size_t initrd_len = how & INITRD ? take(s, 2) : 0;
    const uint8_t *initrd_bytes = s->p;
    initrd_len = MIN(initrd_len, s->len);
    AUTO_FD initrd = how & INITRD ? file_of(s, initrd_len) : -1;
    AUTO_FD kernel = file_of(s, s->len);
    const struct boot_spec spec = {.platform = &p,
                                   .kernel_fd = kernel,
                                   .kernel_name = "kernel",
                                   .initrd_fd = initrd,
                                   .initrd_name = "initrd",
                                   .cmdline = cmdline};
    struct boot_entry entry;
    if (boot_load(m, &spec, &entry, &e) == 0) {
        EXPECT(entry.rip < RAM && entry.info < RAM, "%#lx", (unsigned long)entry.rip);
        initrd_is(m, &entry, initrd_bytes, initrd_len);
    } else {
        EXPECT(e.kind == ERR_INPUT && e.msg[0], "%s", e.msg);
    }
    free(cmdline);
    gmem_free(m);
}
