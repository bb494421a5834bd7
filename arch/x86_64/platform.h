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
/* One PCI bus. Where its registers, its windows below 4 GiB and its lines are, layout.h says. */
struct pci_host {
    bool present;
    struct {
        uint64_t base, len; /* len 0: there is none */
    } mem64;
};
/* The first address that there is not, for a CPU with so many physical address bits. */
uint64_t platform_address_limit(unsigned address_bits);
/* The window for 64-bit BARs: from `base_address`, where RAM and devices' memory end (at least
 * 4 GiB), to `limit`, the first address that there is not. */
void pci_host_init(struct pci_host *h, uint64_t base_address, uint64_t limit);

/* INTA# of a slot, as pin of the I/O APIC: neighbours have different ones (PCI Local Bus 3.0,
 * 2.2.6). */
static inline uint8_t pci_host_irq(unsigned slot)
{
    return (uint8_t)(IRQ_PCI_FIRST + slot % LAYOUT_PCI_LINES);
}

struct platform {
    unsigned cpus;     /* APIC ids are 0 .. cpus-1 */
    uint64_t ram_low;  /* bytes from 0, at most LAYOUT_HOLE_START */
    uint64_t ram_high; /* bytes from 4 GiB */
    const struct mmio_slot *mmio;
    unsigned n_mmio;
    struct pci_host pci;
    enum discovery discovery;
};
