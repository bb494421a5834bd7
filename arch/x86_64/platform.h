/* arch/x86_64/platform.h - what the tables that describe the machine (ACPI, device tree, MP table,
 * e820) need to know about it. Plain data, filled in by vmm/machine.c; all tables are made from
 * this one description so that they cannot disagree. */
#pragma once

#include "arch/x86_64/layout.h"
#include "base/base.h"

enum discovery { DISCOVERY_ACPI, DISCOVERY_FDT, DISCOVERY_CMDLINE };

struct mmio_slot { /* one virtio-mmio device */
    gpa_t base;
    uint64_t len;
    uint32_t irq;
};
struct pci_host {
    bool present;
    struct {
        uint64_t base, len;
    } mem64;
};
struct platform {
    struct pci_host pci;
    unsigned cpus;     /* APIC ids are 0 .. cpus-1 */
    uint64_t ram_low;  /* bytes from 0, at most LAYOUT_HOLE_START */
    uint64_t ram_high; /* bytes from 4 GiB */
    const struct mmio_slot *mmio;
    unsigned n_mmio;
    enum discovery discovery;
};
