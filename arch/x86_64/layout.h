/* arch/x86_64/layout.h - where things are in the guest's physical address space and I/O ports, and
 * which interrupt line belongs to whom. The picture is in docs/architecture.md. */
#pragma once

#include "base/base.h"

/* Below 1 MiB: what the VMM leaves for the kernel to find. */
#define LAYOUT_GDT         0x500ull
#define LAYOUT_PVH_INFO    0x6000ull  /* struct hvm_start_info and its tables */
#define LAYOUT_ZERO_PAGE   0x7000ull  /* struct boot_params */
#define LAYOUT_PAGE_TABLES 0x9000ull  /* PML4, PDPT, four page directories: 6 pages */
#define LAYOUT_CMDLINE     0x20000ull /* up to 64 KiB */
#define LAYOUT_CMDLINE_MAX 0x10000ull
#define LAYOUT_SETUP_DATA  0x30000ull /* setup_data list (device tree), up to the EBDA */
#define LAYOUT_EBDA        0x9fc00ull /* 1 KiB: MP floating pointer and table when used */
#define LAYOUT_LOW_END     0xa0000ull
#define LAYOUT_RSDP        0xe0000ull /* RSDP, then every ACPI table */
#define LAYOUT_VMGENID     0xff000ull /* a page with the machine's generation ID */
#define LAYOUT_BIOS_END    0x100000ull
#define LAYOUT_KERNEL      0x1000000ull /* default load address of a bzImage */

/* The hole below 4 GiB; RAM that does not fit below it continues at 4 GiB. */
#define LAYOUT_HOLE_START    0xc0000000ull
#define LAYOUT_PCI_MEM32     LAYOUT_HOLE_START /* window for BARs */
#define LAYOUT_PCI_MEM32_LEN 0x10000000ull
#define LAYOUT_VIRTIO_MMIO   0xd0000000ull /* one 4 KiB page for each device */
#define LAYOUT_MMIO_STRIDE   0x1000ull
#define LAYOUT_SYSCON        0xd8000000ull /* power off and reset for --discovery fdt */
#define LAYOUT_PCI_ECAM      0xe0000000ull /* configuration space of bus 0 */
#define LAYOUT_PCI_ECAM_LEN  0x100000ull
#define LAYOUT_IOAPIC        0xfec00000ull
#define LAYOUT_LAPIC         0xfee00000ull
#define LAYOUT_KVM_TSS       0xfffbd000ull /* three pages for KVM on Intel */
#define LAYOUT_KVM_IDENTITY  0xfffbc000ull
#define LAYOUT_HOLE_END      0x100000000ull
/* Above RAM: memory of devices, then PCI's window for BARs of 64 bits. */
#define LAYOUT_HIGH_ALIGN 0x40000000ull

/* I/O ports. */
enum {
    PORT_I8042_DATA = 0x60,
    PORT_I8042_CMD = 0x64,
    PORT_CMOS = 0x70, /* index, data */
    PORT_DEBUGCON = 0xe9,
    PORT_SERIAL = 0x3f8,
    PORT_PVPANIC = 0x505,
    PORT_PM = 0x600, /* sleep control, sleep status, reset */
    PORT_PCI_CONFIG = 0xcf8,
    LAYOUT_PCI_IO = 0x1000, /* window for BARs */
    LAYOUT_PCI_IO_LEN = 0xf000,
};
enum { PM_SLEEP_CONTROL = 0, PM_SLEEP_STATUS = 1, PM_RESET = 2, PM_PORTS = 4 };
enum { PM_S5 = 5, PM_SLP_EN = 0x20, PM_SLP_TYP_SHIFT = 2, PM_RESET_VALUE = 1 };

/* Global system interrupts = I/O APIC pins. Those that nobody here has are for virtio-mmio devices,
 * edge-triggered, one for each. */
enum {
    IRQ_GED = 3, /* ACPI's generic event device: the generation ID has changed */
    IRQ_SERIAL = 4,
    IRQ_CMOS = 8,
    IRQ_PCI_FIRST = 16, /* level-triggered: four pins that PCI slots share, if there is PCI */
    IRQ_COUNT = 24,
};
enum { LAYOUT_PCI_LINES = 4, LAYOUT_PCI_SLOTS = 32 };
enum { LAYOUT_MMIO_MAX = 18, IOAPIC_ID = 0 }; /* LAYOUT_PCI_LINES fewer if there is PCI */
