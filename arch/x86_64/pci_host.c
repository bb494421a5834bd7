/* arch/x86_64/pci_host.c - the window for 64-bit BARs: the one part of PCI whose place depends on
 * the machine's size. */
#include "arch/x86_64/platform.h"

uint64_t platform_address_limit(unsigned address_bits)
{
    enum { ARCHITECTURE_BITS = 52 }; /* Intel SDM volume 3, 4.1.4 */
    return 1ull << MIN(address_bits, (unsigned)ARCHITECTURE_BITS);
}

/* A page table's largest page is 1 GiB, so that nothing of RAM shares one with BARs. */
void pci_host_init(struct pci_host *h, uint64_t base_address, uint64_t limit)
{
    uint64_t base = align_up(base_address, LAYOUT_HIGH_ALIGN);

    *h = (struct pci_host){.present = true};
    if (base >= limit)
        return;
    h->mem64.base = base;
    h->mem64.len = MIN(limit - base, GIB(256));
}
