/* arch/x86_64/pci_host.c - the window for 64-bit BARs: the one part of PCI whose place depends on
 * the machine's size. */
#include "arch/x86_64/platform.h"

/* A page table's largest page is 1 GiB, so that nothing of RAM shares one with BARs. */
void pci_host_init(struct pci_host *h, uint64_t ram_high, unsigned address_bits)
{
    enum { ARCHITECTURE_BITS = 52 }; /* Intel SDM volume 3, 4.1.4 */
    uint64_t limit = 1ull << MIN(address_bits, (unsigned)ARCHITECTURE_BITS);
    uint64_t base = align_up(LAYOUT_HOLE_END + ram_high, GIB(1));

    *h = (struct pci_host){.present = true};
    if (base >= limit)
        return;
    h->mem64.base = base;
    h->mem64.len = MIN(limit - base, GIB(256));
}
