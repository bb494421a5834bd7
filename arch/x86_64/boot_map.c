/* arch/x86_64/boot_map.c - the memory map as the kernel is told it, and the page tables and GDT
 * that its 64-bit entry point expects to be running on.
 *
 * ACPI 6.5, 15.2 for the types; Intel SDM volume 3, 3.4.5 and 4.5 for the bits. */
#include "arch/x86_64/boot_priv.h"

enum { E820_RAM = 1, E820_RESERVED = 2 };

/* 0 .. EBDA, 1 MiB .. hole, and 4 GiB .. are RAM. What holds our tables is RAM as well, but not the
 * kernel's to use, and neither are the pages that KVM uses on Intel hosts. Linux believes that
 * there is ECAM where it is told only if that is reserved (its arch/x86/pci/mmconfig-shared.c):
 * here, for as long as it cannot read the DSDT. */
unsigned e820_ranges(const struct platform *p, struct e820_range out[8])
{
    unsigned n = 0;

    out[n++] = (struct e820_range){0, MIN(p->ram_low, (uint64_t)LAYOUT_EBDA), E820_RAM};
    out[n++] = (struct e820_range){LAYOUT_EBDA, LAYOUT_BIOS_END - LAYOUT_EBDA, E820_RESERVED};
    if (p->ram_low > LAYOUT_BIOS_END)
        out[n++] = (struct e820_range){LAYOUT_BIOS_END, p->ram_low - LAYOUT_BIOS_END, E820_RAM};
    if (p->pci.present)
        out[n++] = (struct e820_range){LAYOUT_PCI_ECAM, LAYOUT_PCI_ECAM_LEN, E820_RESERVED};
    out[n++] = (struct e820_range){LAYOUT_KVM_IDENTITY, 4 * KIB(4), E820_RESERVED};
    if (p->ram_high)
        out[n++] = (struct e820_range){LAYOUT_HOLE_END, p->ram_high, E820_RAM};
    return n;
}

void *boot_low(const struct gmem *m, uint64_t at, uint64_t len, struct err *e)
{
    void *p = gmem_at(m, GPA(at), len);

    if (!p)
        (void)err_input(e, 0, "RAM: less than 1 MiB is too little to boot");
    return p;
}

uint8_t boot_checksum(const void *p, size_t len)
{
    uint8_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)p)[i]);
    return (uint8_t)-sum;
}

int boot_write_tables(const struct gmem *m, struct err *e)
{
    enum { ENTRIES = 512, GIBS = 4, PRESENT = 1, WRITABLE = 2, LARGE = 0x80 };
    static const uint64_t gdt[] = {
        [BOOT_CS / 8] = 0x00af9b000000ffff,
        [BOOT_DS / 8] = 0x00cf93000000ffff,
        [BOOT_CS32 / 8] = 0x00cf9b000000ffff,
    };
    uint64_t(*table)[ENTRIES] = boot_low(m, LAYOUT_PAGE_TABLES, (2 + GIBS) * sizeof(*table), e);
    void *g = boot_low(m, LAYOUT_GDT, sizeof(gdt), e);

    _Static_assert(sizeof(gdt) == BOOT_GDT_LIMIT + 1, "boot.h says how long the GDT is");
    if (!table || !g)
        return -EINVAL;
    memcpy(g, gdt, sizeof(gdt));

    /* PML4, PDPT, and a page directory for each GiB. */
    uint64_t base = LAYOUT_PAGE_TABLES, flags = PRESENT | WRITABLE;
    memset(table, 0, 2 * sizeof(*table));
    table[0][0] = (base + sizeof(*table)) | flags;
    for (unsigned i = 0; i < GIBS; i++)
        table[1][i] = (base + (2 + i) * sizeof(*table)) | flags;
    for (unsigned i = 0; i < GIBS * ENTRIES; i++)
        table[2 + i / ENTRIES][i % ENTRIES] = (i * MIB(2)) | flags | LARGE;
    return 0;
}
