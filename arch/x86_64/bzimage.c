/* arch/x86_64/bzimage.c - loads a Linux bzImage for its 64-bit entry point. This is the file that
 * distributions ship, so it is the first format of the two.
 *
 * Linux, Documentation/arch/x86/boot.rst: "The Real-Mode Kernel Header", "64-bit Boot Protocol". */
#include "arch/x86_64/boot_priv.h"

#include <inttypes.h>

enum {
    HDR_AT = 0x1f1,       /* of struct setup_header in the file and in the zero page */
    HDR_JUMP_END = 0x202, /* the header ends this far plus the byte before it */
    HDR_BOOT_FLAG = 0xaa55,
    HDR_MAGIC = 0x53726448, /* "HdrS" */
    VERSION_MIN = 0x020c,   /* the first with xloadflags */
    SECTOR = 512,
    SETUP_SECTS_DEFAULT = 4, /* what 0 means */
    ENTRY_64 = 0x200,        /* of the 64-bit entry point, from the load address */
};

static struct setup_header header_copy(const uint8_t head[BOOT_HEAD])
{
    struct setup_header h = {0};
    size_t len = HDR_JUMP_END + head[HDR_JUMP_END - 1] - HDR_AT;

    _Static_assert(HDR_AT + sizeof(h) <= BOOT_HEAD, "the header lies in the head");
    memcpy(&h, head + HDR_AT, MIN(len, sizeof(h)));
    return h;
}

bool bzimage_probe(const uint8_t head[BOOT_HEAD])
{
    struct setup_header h = header_copy(head);

    return h.boot_flag == HDR_BOOT_FLAG && h.header == HDR_MAGIC;
}

static int header_check(const struct boot_file *f, const struct setup_header *h, struct err *e)
{
    if (h->version < VERSION_MIN)
        return err_input(e, 0, "%s %s: boot protocol %d.%02d is too old; 2.12 is needed", f->what,
                         f->name, h->version >> 8, h->version & 0xff);
    if (!(h->xloadflags & XLF_KERNEL_64) || !(h->loadflags & LOADED_HIGH))
        return err_input(e, 0, "%s %s: it has no 64-bit entry point", f->what, f->name);
    return 0;
}

/* Where the kernel wants to be is best: elsewhere it would begin by moving itself. Only a
 * relocatable one may be put somewhere else. */
static int place(const struct boot_file *f, const struct setup_header *h, uint64_t *at,
                 struct err *e)
{
    uint64_t align = h->kernel_alignment;
    bool aligned = align && !(align & (align - 1));

    if (!h->relocatable_kernel) {
        if (h->pref_address < LAYOUT_BIOS_END)
            return err_input(e, 0, "%s %s: it must be loaded at 0x%" PRIx64 ", below 1 MiB",
                             f->what, f->name, (uint64_t)h->pref_address);
        *at = h->pref_address;
        return 0;
    }
    if (!aligned)
        return err_input(e, 0, "%s %s: its alignment, 0x%" PRIx64 ", is no power of two", f->what,
                         f->name, align);
    *at = h->pref_address;
    if (*at < LAYOUT_BIOS_END || *at & (align - 1))
        *at = align_up(LAYOUT_KERNEL, align);
    return 0;
}

int bzimage_load(const struct gmem *m, const struct boot_file *f, const uint8_t head[BOOT_HEAD],
                 uint64_t ram_low, struct boot_image *out, struct err *e)
{
    struct setup_header h = header_copy(head);
    uint64_t sects = h.setup_sects ? h.setup_sects : SETUP_SECTS_DEFAULT;
    uint64_t setup = (sects + 1) * SECTOR;    /* at most 128 KiB */
    uint64_t code = (uint64_t)h.syssize * 16; /* at most 64 GiB: no sum below overflows */
    uint64_t need = MAX((uint64_t)h.init_size, code);
    uint64_t at = 0;
    void *dst;
    int r;

    r = header_check(f, &h, e);
    if (r < 0)
        return r;
    if (setup + code > f->size)
        return err_input(
            e, 0, "%s %s: truncated: its header promises %" PRIu64 " bytes, the file has %" PRIu64,
            f->what, f->name, setup + code, f->size);
    if (code <= ENTRY_64)
        return err_input(e, 0, "%s %s: its header promises no code", f->what, f->name);
    r = place(f, &h, &at, e);
    if (r < 0)
        return r;
    if (at >= ram_low || !gmem_at(m, GPA(at), need)) /* not in RAM above the hole either */
        return err_input(e, 0,
                         "%s %s: it needs %" PRIu64 " MiB of RAM from 0x%" PRIx64
                         " on, and RAM ends at 0x%" PRIx64,
                         f->what, f->name, (need + MIB(1) - 1) / MIB(1), at, ram_low);
    dst = gmem_at(m, GPA(at), code);
    r = boot_file_read(f, setup, dst, code, e);
    if (r < 0)
        return r;

    *out = (struct boot_image){
        .mode = BOOT_LONG64,
        .entry = at + ENTRY_64,
        .end = at + need,
        .initrd_max = h.initrd_addr_max,
        .cmdline_max = h.cmdline_size,
        .hdr = h,
    };
    return 0;
}
