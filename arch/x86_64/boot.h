/* arch/x86_64/boot.h - put a Linux kernel, its initrd, command line and machine description into
 * guest RAM, and say how the boot CPU must start.
 *
 * Kernel and initrd are hostile input: whatever a file holds, loading ends with 0 or with one
 * sentence in *e (ERR_INPUT), and writes only inside guest RAM. */
#pragma once

#include "arch/x86_64/platform.h"
#include "base/base.h"
#include "base/gmem.h"

struct boot_spec {
    const struct platform *platform;
    int kernel_fd; /* regular file; read with pread, position unchanged */
    const char *kernel_name;
    int initrd_fd; /* -1: none */
    const char *initrd_name;
    /* The user's. For DISCOVERY_CMDLINE, virtio_mmio.device= goes in front of it, because what
     * follows a "--" belongs to init. */
    const char *cmdline;
};

enum boot_mode {
    BOOT_LONG64, /* Linux 64-bit protocol: long mode, paging on, RSI = zero page */
    BOOT_PVH,    /* PVH: 32-bit protected mode, paging off, EBX = start info */
};
/* The selectors of the GDT at LAYOUT_GDT. */
enum {
    BOOT_CS = 0x10,   /* 64-bit code; the Linux boot protocol asks for these two */
    BOOT_DS = 0x18,   /* flat data */
    BOOT_CS32 = 0x20, /* flat 32-bit code, for BOOT_PVH */
    BOOT_GDT_LIMIT = 0x27,
};
struct boot_entry {
    enum boot_mode mode;
    uint64_t rip;
    uint64_t info; /* RSI or EBX */
};

/* bzImage with the 64-bit protocol (2.12 or newer); ELF64 x86-64 vmlinux by its PVH note, or by
 * the 64-bit protocol where it has none or a device tree must be handed over. Writes the tables of
 * platform->discovery too. */
int CHECKED boot_load(const struct gmem *m, const struct boot_spec *s, struct boot_entry *out,
                      struct err *e);

/* The pieces, for tests and --dump-dtb. */

/* RSDP, XSDT, FADT, MADT, DSDT and, with PCI, MCFG at LAYOUT_RSDP. HW-reduced ACPI: no PIC, PIT or
 * SCI. */
int CHECKED acpi_write(const struct gmem *m, const struct platform *p, struct err *e);
/* A flattened device tree of the same machine, made with libfdt; *out is malloc'ed. */
int CHECKED fdt_build(const struct platform *p, const char *bootargs, void **out, size_t *len);
/* MP floating pointer and configuration table (Intel MP 1.4) in the EBDA. It has room
 * for 37 CPUs, with PCI for 25; more are left out with a warning in the log. */
int CHECKED mptable_write(const struct gmem *m, const struct platform *p, struct err *e);
/* " virtio_mmio.device=4K@0xd0000000:16 ..." for every slot; *out is malloc'ed. */
int CHECKED cmdline_devices(const struct platform *p, char **out);
/* Identity map of the first 4 GiB with 2 MiB pages and a flat GDT, where layout.h says. */
int CHECKED boot_write_tables(const struct gmem *m, struct err *e);
/* e820 entries of the machine; returns how many (at most 8). */
struct e820_range {
    uint64_t base, len;
    uint32_t type; /* 1 RAM, 2 reserved */
};
unsigned e820_ranges(const struct platform *p, struct e820_range out[8]);
