/* arch/x86_64/handover.c - the page that the boot CPU's first register points to: Linux's zero
 * page, or PVH's start info. All the rest of what was put into RAM is found from here.
 *
 * Linux, Documentation/arch/x86/boot.rst and zero-page.rst; Xen, docs/misc/pvh.pandoc. */
#include "arch/x86_64/boot_priv.h"

#include <inttypes.h>

/* The setup_data list has one element at most, and its payload follows at once. */
static int setup_data_fdt(const struct gmem *m, const struct boot_handover *h, struct err *e)
{
    AUTO_FREE void *fdt = NULL;
    uint64_t room = LAYOUT_EBDA - LAYOUT_SETUP_DATA;
    struct setup_data *d = boot_low(m, LAYOUT_SETUP_DATA, room, e);
    size_t len = 0;

    if (!d)
        return -EINVAL;
    int r = fdt_build(h->platform, h->cmdline, &fdt, &len);
    if (r < 0)
        return err_host(e, r, "device tree");
    if (len > room - sizeof(*d))
        return err_input(e, 0, "device tree: %zu bytes for %u CPUs do not fit below 640 KiB", len,
                         h->platform->cpus);
    *d = (struct setup_data){.next = 0, .type = SETUP_DTB, .len = (uint32_t)len};
    memcpy(d->data, fdt, len);
    return 0;
}

int handover_linux(const struct gmem *m, const struct boot_handover *h, struct err *e)
{
    enum { LOADER_UNDEFINED = 0xff, VID_MODE_NORMAL = 0xffff };
    struct boot_params *z = boot_low(m, LAYOUT_ZERO_PAGE, sizeof(*z), e);
    struct e820_range map[8];

    if (!z)
        return -EINVAL;
    memset(z, 0, sizeof(*z));
    z->hdr = h->image->hdr;
    z->hdr.type_of_loader = LOADER_UNDEFINED;
    z->hdr.vid_mode = VID_MODE_NORMAL;
    z->hdr.cmd_line_ptr = LAYOUT_CMDLINE;
    z->hdr.ramdisk_image = (uint32_t)h->initrd; /* below 4 GiB: ram_low ends before */
    z->hdr.ramdisk_size = (uint32_t)h->initrd_len;
    z->hdr.setup_data = 0;

    z->e820_entries = (uint8_t)e820_ranges(h->platform, map);
    for (unsigned i = 0; i < z->e820_entries; i++)
        z->e820_table[i] = (struct boot_e820_entry){map[i].base, map[i].len, map[i].type};

    if (h->platform->discovery == DISCOVERY_ACPI)
        z->acpi_rsdp_addr = LAYOUT_RSDP;
    if (h->platform->discovery == DISCOVERY_FDT) {
        int r = setup_data_fdt(m, h, e);
        if (r < 0)
            return r;
        z->hdr.setup_data = LAYOUT_SETUP_DATA;
    }
    return 0;
}

struct hvm_start_info {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr;
    uint32_t memmap_entries, reserved;
};
struct hvm_modlist_entry {
    uint64_t paddr, size, cmdline_paddr, reserved;
};
struct hvm_memmap_table_entry {
    uint64_t addr, size;
    uint32_t type, reserved;
};
struct pvh_page { /* our arrangement of the three */
    struct hvm_start_info info;
    struct hvm_modlist_entry initrd;
    struct hvm_memmap_table_entry map[8];
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "version 1");
_Static_assert(sizeof(struct pvh_page) <= LAYOUT_ZERO_PAGE - LAYOUT_PVH_INFO, "one page");

int handover_pvh(const struct gmem *m, const struct boot_handover *h, struct err *e)
{
    enum { MAGIC = 0x336ec578, VERSION = 1 };
    struct pvh_page *page = boot_low(m, LAYOUT_PVH_INFO, sizeof(*page), e);
    struct e820_range map[8];

    if (!page)
        return -EINVAL;
    unsigned n = e820_ranges(h->platform, map);
    *page = (struct pvh_page){
        .info =
            {
                .magic = MAGIC,
                .version = VERSION,
                .nr_modules = h->initrd_len ? 1 : 0,
                .modlist_paddr =
                    h->initrd_len ? LAYOUT_PVH_INFO + offsetof(struct pvh_page, initrd) : 0,
                .cmdline_paddr = LAYOUT_CMDLINE,
                .rsdp_paddr = h->platform->discovery == DISCOVERY_ACPI ? LAYOUT_RSDP : 0,
                .memmap_paddr = LAYOUT_PVH_INFO + offsetof(struct pvh_page, map),
                .memmap_entries = n,
            },
        .initrd = {.paddr = h->initrd, .size = h->initrd_len},
    };
    for (unsigned i = 0; i < n; i++)
        page->map[i] = (struct hvm_memmap_table_entry){
            .addr = map[i].base, .size = map[i].len, .type = map[i].type};
    return 0;
}
