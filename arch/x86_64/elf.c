/* arch/x86_64/elf.c - loads an ELF64 kernel: a vmlinux, or any freestanding guest. It needs no
 * decompression in the guest, and its PVH note, if any, says where to start it.
 *
 * System V ABI, chapters 4 and 5; Xen, docs/misc/pvh.pandoc for the note. */
#include "arch/x86_64/boot_priv.h"

#include <elf.h>
#include <inttypes.h>

enum {
    PHDRS_MAX = 128,               /* vmlinux has 5 */
    NOTES_MAX = 64 * 1024,         /* vmlinux has 500 bytes */
    XEN_ELFNOTE_PHYS32_ENTRY = 18, /* owner "Xen": where to start by PVH */
    PROTOCOL = 0x020c, /* what we follow when the file has no header of its own to say so */
};

bool elf_probe(const uint8_t head[BOOT_HEAD])
{
    return memcmp(head, ELFMAG, SELFMAG) == 0;
}

static int ehdr_check(const struct boot_file *f, const Elf64_Ehdr *h, struct err *e)
{
    if (f->size < sizeof(*h))
        return err_input(e, 0, "%s %s: truncated within its ELF header", f->what, f->name);
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB)
        return err_input(e, 0, "%s %s: a 32-bit or big-endian ELF file, where x86-64 is needed",
                         f->what, f->name);
    if (h->e_machine != EM_X86_64)
        return err_input(e, 0, "%s %s: an ELF file for machine %u, where x86-64 (%u) is needed",
                         f->what, f->name, h->e_machine, EM_X86_64);
    if (h->e_type != ET_EXEC && h->e_type != ET_DYN)
        return err_input(e, 0, "%s %s: an ELF file of type %u, where an executable is needed",
                         f->what, f->name, h->e_type);
    if (!h->e_phnum || h->e_phnum > PHDRS_MAX || h->e_phentsize != sizeof(Elf64_Phdr))
        return err_input(e, 0, "%s %s: %u program headers of %u bytes make no kernel", f->what,
                         f->name, h->e_phnum, h->e_phentsize);
    return 0;
}

/* The part of the file that a segment comes from. */
static int segment_in_file(const struct boot_file *f, const Elf64_Phdr *p, unsigned n,
                           struct err *e)
{
    if (p->p_offset > f->size || p->p_filesz > f->size - p->p_offset)
        return err_input(e, 0,
                         "%s %s: truncated: segment %u has %" PRIu64 " bytes at offset %" PRIu64
                         ", the file has %" PRIu64,
                         f->what, f->name, n, (uint64_t)p->p_filesz, (uint64_t)p->p_offset,
                         f->size);
    return 0;
}

static int segment_load(const struct gmem *m, const struct boot_file *f, const Elf64_Phdr *p,
                        unsigned n, uint64_t ram_low, struct err *e)
{
    uint8_t *dst;
    int r = segment_in_file(f, p, n, e);

    if (r < 0)
        return r;
    if (p->p_filesz > p->p_memsz)
        return err_input(e, 0, "%s %s: segment %u is larger in the file than in memory", f->what,
                         f->name, n);
    if (p->p_paddr < LAYOUT_BIOS_END)
        return err_input(e, 0, "%s %s: segment %u begins at 0x%" PRIx64 ", below 1 MiB", f->what,
                         f->name, n, (uint64_t)p->p_paddr);
    dst = gmem_at(m, GPA(p->p_paddr), p->p_memsz);
    if (!dst || p->p_paddr >= ram_low) /* not in RAM above the hole either */
        return err_input(e, 0,
                         "%s %s: segment %u needs %" PRIu64 " bytes from 0x%" PRIx64
                         " on, and RAM ends at 0x%" PRIx64,
                         f->what, f->name, n, (uint64_t)p->p_memsz, (uint64_t)p->p_paddr, ram_low);
    r = boot_file_read(f, p->p_offset, dst, p->p_filesz, e);
    if (r < 0)
        return r;
    /* Not every guest clears its own bss, and RAM need not be fresh. */
    memset(dst + p->p_filesz, 0, p->p_memsz - p->p_filesz);
    return 0;
}

/* Loads all PT_LOAD; *end is one past the highest byte of them. */
static int segments_load(const struct gmem *m, const struct boot_file *f, const Elf64_Phdr *p,
                         unsigned n, uint64_t ram_low, uint64_t *end, struct err *e)
{
    uint64_t top = 0;

    for (unsigned i = 0; i < n; i++) {
        if (p[i].p_type != PT_LOAD || !p[i].p_memsz)
            continue;
        int r = segment_load(m, f, &p[i], i, ram_low, e);
        if (r < 0)
            return r;
        top = MAX(top, (uint64_t)(p[i].p_paddr + p[i].p_memsz));
    }
    if (!top)
        return err_input(e, 0, "%s %s: an ELF file with nothing to load", f->what, f->name);
    *end = top;
    return 0;
}

static bool is_loaded(const Elf64_Phdr *p, unsigned n, uint64_t at)
{
    for (unsigned i = 0; i < n; i++)
        if (p[i].p_type == PT_LOAD && at >= p[i].p_paddr && at - p[i].p_paddr < p[i].p_memsz)
            return true;
    return false;
}

/* Walks one note section; true if it holds the PVH entry point. */
static bool note_find(const uint8_t *b, uint64_t len, uint64_t align, uint64_t *entry)
{
    while (len >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr n;
        memcpy(&n, b, sizeof(n));
        uint64_t desc = sizeof(n) + align_up(n.n_namesz, align); /* 32-bit sizes: no overflow */
        uint64_t next = desc + align_up(n.n_descsz, align);

        if (desc + n.n_descsz > len)
            return false;
        if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == sizeof("Xen") &&
            !memcmp(b + sizeof(n), "Xen", sizeof("Xen")) && (n.n_descsz == 4 || n.n_descsz == 8)) {
            *entry = get_bytes(b + desc, n.n_descsz);
            return true;
        }
        if (next > len)
            return false;
        b += next;
        len -= next;
    }
    return false;
}

/* 1 if there is a PVH entry point, 0 if there is none. */
static int pvh_find(const struct boot_file *f, const Elf64_Phdr *p, unsigned n, uint64_t *entry,
                    struct err *e)
{
    AUTO_FREE uint8_t *buf = NULL;

    for (unsigned i = 0; i < n; i++) {
        if (p[i].p_type != PT_NOTE)
            continue;
        int r = segment_in_file(f, &p[i], i, e);
        if (r < 0)
            return r;
        if (!buf)
            buf = malloc(NOTES_MAX);
        if (!buf)
            return err_host(e, -ENOMEM, "%s %s", f->what, f->name);
        uint64_t len = MIN((uint64_t)p[i].p_filesz, (uint64_t)NOTES_MAX);
        r = boot_file_read(f, p[i].p_offset, buf, len, e);
        if (r < 0)
            return r;
        if (note_find(buf, len, p[i].p_align == 8 ? 8 : 4, entry))
            return 1;
    }
    return 0;
}

int elf_load(const struct gmem *m, const struct boot_file *f, const uint8_t head[BOOT_HEAD],
             uint64_t ram_low, bool pvh, struct boot_image *out, struct err *e)
{
    Elf64_Ehdr h;
    Elf64_Phdr p[PHDRS_MAX];
    struct boot_image img = {
        .mode = BOOT_LONG64,
        .initrd_max = UINT32_MAX,
        .cmdline_max = LAYOUT_CMDLINE_MAX - 1,
        /* What a vmlinux without its setup code would have said. */
        .hdr = {.boot_flag = 0xaa55,
                .header = 0x53726448,
                .version = PROTOCOL,
                .loadflags = LOADED_HIGH,
                .xloadflags = XLF_KERNEL_64},
    };
    int r;

    memcpy(&h, head, sizeof(h));
    r = ehdr_check(f, &h, e);
    if (r < 0)
        return r;
    if (h.e_phoff > f->size || h.e_phnum * sizeof(*p) > f->size - h.e_phoff)
        return err_input(e, 0,
                         "%s %s: truncated: its program headers lie beyond its %" PRIu64 " bytes",
                         f->what, f->name, f->size);
    r = boot_file_read(f, h.e_phoff, p, h.e_phnum * sizeof(*p), e);
    if (r < 0)
        return r;
    r = segments_load(m, f, p, h.e_phnum, ram_low, &img.end, e);
    if (r < 0)
        return r;

    img.entry = h.e_entry;
    if (pvh) {
        r = pvh_find(f, p, h.e_phnum, &img.entry, e);
        if (r < 0)
            return r;
        if (r == 1)
            img.mode = BOOT_PVH;
    }
    if (!is_loaded(p, h.e_phnum, img.entry))
        return err_input(e, 0, "%s %s: its entry point, 0x%" PRIx64 ", is in no segment", f->what,
                         f->name, img.entry);
    *out = img;
    return 0;
}
