/* tests/unit/test_elf.c - ELF kernels, good and hostile: which are refused, where segments and bss
 * go, and which of the two ways to start them is taken. */
#include "tests/unit/boot_try.h"

#include <asm/bootparam.h>
#include <elf.h>

enum { ENTRY = LAYOUT_KERNEL + 0x10, PVH_ENTRY = LAYOUT_KERNEL + 0x40, SEG = 4096 };
struct elf {
    Elf64_Ehdr h;
    Elf64_Phdr load, bss, note;
    struct {
        Elf64_Nhdr other;
        char other_name[4], other_desc[8];
        Elf64_Nhdr pvh;
        char name[4];
        uint64_t entry;
    } __attribute__((packed)) notes;
    uint8_t data[SEG];
} __attribute__((packed));

static struct elf elf_new(bool pvh)
{
    struct elf f = {
        .h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
              .e_type = ET_EXEC,
              .e_machine = EM_X86_64,
              .e_version = EV_CURRENT,
              .e_entry = ENTRY,
              .e_phoff = offsetof(struct elf, load),
              .e_ehsize = 64,
              .e_phentsize = sizeof(Elf64_Phdr),
              .e_phnum = pvh ? 3 : 2},
        .load = {.p_type = PT_LOAD,
                 .p_offset = offsetof(struct elf, data),
                 .p_vaddr = 0xffffffff81000000,
                 .p_paddr = LAYOUT_KERNEL,
                 .p_filesz = SEG,
                 .p_memsz = 2 * SEG},
        .bss = {.p_type = PT_LOAD, .p_paddr = LAYOUT_KERNEL + 4 * SEG, .p_memsz = SEG},
        .note = {.p_type = PT_NOTE,
                 .p_offset = offsetof(struct elf, notes),
                 .p_filesz = sizeof(f.notes),
                 .p_align = 4},
        .notes = {.other = {.n_namesz = 4, .n_descsz = 5, .n_type = 18},
                  .other_name = "GNU",
                  .pvh = {.n_namesz = 4, .n_descsz = 8, .n_type = 18},
                  .name = "Xen",
                  .entry = PVH_ENTRY},
    };
    for (unsigned i = 0; i < SEG; i++)
        f.data[i] = (uint8_t)(i * 3 + i / 256);
    return f;
}

#define ELF_REFUSED(name, spoil, sentence)                                                         \
    Test(elf, name)                                                                                \
    {                                                                                              \
        struct elf f = elf_new(true);                                                              \
        spoil;                                                                                     \
        struct try t = try_new(DISCOVERY_ACPI, &f, sizeof(f));                                     \
        refused(&t, sentence);                                                                     \
    }

ELF_REFUSED(aarch64, f.h.e_machine = EM_AARCH64,
            "kernel vmlinuz: an ELF file for machine 183, where x86-64 (62) is needed")
ELF_REFUSED(of_32_bits, f.h.e_ident[EI_CLASS] = ELFCLASS32,
            "kernel vmlinuz: a 32-bit or big-endian ELF file, where x86-64 is needed")
ELF_REFUSED(relocatable, f.h.e_type = ET_REL,
            "kernel vmlinuz: an ELF file of type 1, where an executable is needed")
ELF_REFUSED(no_headers, f.h.e_phnum = 0,
            "kernel vmlinuz: 0 program headers of 56 bytes make no kernel")
ELF_REFUSED(many_headers, f.h.e_phnum = 0xffff,
            "kernel vmlinuz: 65535 program headers of 56 bytes make no kernel")
ELF_REFUSED(odd_headers, f.h.e_phentsize = 55,
            "kernel vmlinuz: 3 program headers of 55 bytes make no kernel")
ELF_REFUSED(headers_beyond, f.h.e_phoff = UINT64_MAX - 8,
            "kernel vmlinuz: truncated: its program headers lie beyond its 4376 bytes")
ELF_REFUSED(headers_half_beyond, f.h.e_phoff = sizeof(f) - 167,
            "kernel vmlinuz: truncated: its program headers lie beyond its 4376 bytes")
ELF_REFUSED(segment_beyond_file, f.load.p_offset = UINT64_MAX,
            "kernel vmlinuz: truncated: segment 0 has 4096 bytes at offset 18446744073709551615, "
            "the file has 4376")
ELF_REFUSED(segment_half_beyond_file, f.load.p_filesz++,
            "kernel vmlinuz: truncated: segment 0 has 4097 bytes at offset 280, the file has 4376")
ELF_REFUSED(segment_larger_in_file, f.load.p_memsz = SEG - 1,
            "kernel vmlinuz: segment 0 is larger in the file than in memory")
ELF_REFUSED(segment_on_our_tables, f.load.p_paddr = LAYOUT_ZERO_PAGE,
            "kernel vmlinuz: segment 0 begins at 0x7000, below 1 MiB")
ELF_REFUSED(segment_beyond_ram, f.load.p_paddr = ram_bytes - SEG,
            "kernel vmlinuz: segment 0 needs 8192 bytes from 0x1fff000 on, and RAM ends at "
            "0x2000000")
ELF_REFUSED(segment_around_the_end, f.bss.p_paddr = UINT64_MAX,
            "kernel vmlinuz: segment 1 needs 4096 bytes from 0xffffffffffffffff on, and RAM ends "
            "at 0x2000000")
ELF_REFUSED(segment_of_all_memory, f.bss.p_memsz = UINT64_MAX,
            "kernel vmlinuz: segment 1 needs 18446744073709551615 bytes from 0x1004000 on, and RAM "
            "ends at 0x2000000")
ELF_REFUSED(nothing_to_load, f.load.p_type = f.bss.p_type = PT_NULL,
            "kernel vmlinuz: an ELF file with nothing to load")
ELF_REFUSED(pvh_entry_outside, f.notes.entry = LAYOUT_ZERO_PAGE,
            "kernel vmlinuz: its entry point, 0x7000, is in no segment")
ELF_REFUSED(entry_outside, (f.h.e_phnum = 2, f.h.e_entry = LAYOUT_KERNEL + 2 * SEG),
            "kernel vmlinuz: its entry point, 0x1002000, is in no segment")
ELF_REFUSED(note_beyond_file, f.note.p_offset = sizeof(f),
            "kernel vmlinuz: truncated: segment 2 has 48 bytes at offset 4376, the file has 4376")

#define ELF_TRUNCATED(len, sentence)                                                               \
    Test(elf, truncated_at_##len)                                                                  \
    {                                                                                              \
        struct elf f = elf_new(true);                                                              \
        struct try t = try_new(DISCOVERY_ACPI, &f, len);                                           \
        refused(&t, sentence);                                                                     \
    }

ELF_TRUNCATED(5, "kernel vmlinuz: truncated within its ELF header")
ELF_TRUNCATED(63, "kernel vmlinuz: truncated within its ELF header")
ELF_TRUNCATED(231, "kernel vmlinuz: truncated: its program headers lie beyond its 231 bytes")
ELF_TRUNCATED(1024, "kernel vmlinuz: truncated: segment 0 has 4096 bytes at offset 280, the file "
                    "has 1024")

static void elf_in_place(const struct try *t, const struct elf *f)
{
    static const uint8_t zero[SEG];

    cr_expect_eq(memcmp(at(t, LAYOUT_KERNEL), f->data, SEG), 0);
    cr_expect_eq(memcmp(at(t, LAYOUT_KERNEL + SEG), zero, SEG), 0, "stale bss");
    cr_expect(painted(t, LAYOUT_KERNEL + 2 * SEG, LAYOUT_KERNEL + 4 * SEG));
    cr_expect_eq(memcmp(at(t, LAYOUT_KERNEL + 4 * SEG), zero, SEG), 0, "stale bss");
    cr_expect(painted(t, LAYOUT_KERNEL + 5 * SEG, ram_bytes - 4096));
}

Test(elf, by_the_64_bit_protocol)
{
    struct elf f = elf_new(false);
    struct try t = try_new(DISCOVERY_ACPI, &f, sizeof(f));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    cr_expect_eq(t.entry.mode, BOOT_LONG64);
    cr_expect_eq(t.entry.rip, ENTRY);
    cr_expect_eq(t.entry.info, LAYOUT_ZERO_PAGE);
    elf_in_place(&t, &f);
    const struct boot_params *z = gmem_at(t.m, GPA(LAYOUT_ZERO_PAGE), sizeof(*z));
    cr_expect_eq(z->hdr.boot_flag, 0xaa55);
    cr_expect_eq(z->hdr.header, 0x53726448);
    cr_expect_eq(z->hdr.version, 0x020c);
    cr_expect_eq(z->acpi_rsdp_addr, LAYOUT_RSDP);
    try_end(&t);
}

Test(elf, by_pvh)
{
    struct elf f = elf_new(true);
    struct try t = try_new(DISCOVERY_ACPI, &f, sizeof(f));
    t.spec.initrd_fd = file_of("initrd!", 7);
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    cr_expect_eq(t.entry.mode, BOOT_PVH);
    cr_expect_eq(t.entry.rip, PVH_ENTRY);
    cr_expect_eq(t.entry.info, LAYOUT_PVH_INFO);
    elf_in_place(&t, &f);
    cr_expect(painted(&t, LAYOUT_ZERO_PAGE, LAYOUT_PAGE_TABLES), "no zero page");

    /* Offsets as docs/misc/pvh.pandoc has them. */
    const uint8_t *i = at(&t, LAYOUT_PVH_INFO);
    cr_expect_eq(get_bytes(i, 4), 0x336ec578);
    cr_expect_eq(get_bytes(i + 4, 4), 1);
    cr_expect_eq(get_bytes(i + 12, 4), 1);
    const uint8_t *mod = at(&t, get_bytes(i + 16, 8));
    cr_expect_eq(get_bytes(mod, 8), ram_bytes - 4096);
    cr_expect_eq(get_bytes(mod + 8, 8), 7);
    cr_expect_str_eq((const char *)at(&t, get_bytes(i + 24, 8)), "quiet");
    cr_expect_eq(get_bytes(i + 32, 8), LAYOUT_RSDP);
    const uint8_t *map = at(&t, get_bytes(i + 40, 8));
    cr_expect_eq(get_bytes(i + 48, 4), 4);
    cr_expect_eq(get_bytes(map + 2 * 24, 8), LAYOUT_BIOS_END);
    cr_expect_eq(get_bytes(map + 2 * 24 + 8, 8), ram_bytes - LAYOUT_BIOS_END);
    cr_expect_eq(get_bytes(map + 2 * 24 + 16, 4), 1);
    try_end(&t);
}

Test(elf, with_a_32_bit_note)
{
    struct elf f = elf_new(true);
    f.notes.pvh.n_descsz = 4;
    f.notes.entry = PVH_ENTRY | 0xffffffff00000000;
    struct try t = try_new(DISCOVERY_CMDLINE, &f, sizeof(f));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    cr_expect_eq(t.entry.mode, BOOT_PVH);
    cr_expect_eq(t.entry.rip, PVH_ENTRY);
    cr_expect_eq(get_bytes(at(&t, LAYOUT_PVH_INFO) + 32, 8), 0, "no RSDP");
    try_end(&t);
}

Test(elf, with_a_device_tree_is_not_pvh)
{
    struct elf f = elf_new(true);
    struct try t = try_new(DISCOVERY_FDT, &f, sizeof(f));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    cr_expect_eq(t.entry.mode, BOOT_LONG64);
    cr_expect_eq(t.entry.rip, ENTRY);
    try_end(&t);
}

/* Notes that end in the middle of something are no notes; under ASan, no overrun either. */
Test(elf, with_broken_notes)
{
    for (unsigned len = 0; len < sizeof(((struct elf *)0)->notes); len++) {
        struct elf f = elf_new(true);
        f.note.p_filesz = len;
        struct try t = try_new(DISCOVERY_ACPI, &f, sizeof(f));
        cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
        cr_assert_eq(t.entry.mode, BOOT_LONG64);
        try_end(&t);
    }
    struct elf f = elf_new(true);
    f.notes.other.n_namesz = f.notes.other.n_descsz = UINT32_MAX;
    struct try t = try_new(DISCOVERY_ACPI, &f, sizeof(f));
    cr_assert_eq(try_load(&t), 0, "%s", t.e.msg);
    cr_expect_eq(t.entry.mode, BOOT_LONG64);
    try_end(&t);
}

Test(elf, above_4_gib)
{
    struct elf f = elf_new(true);
    f.bss.p_paddr = LAYOUT_HOLE_END;
    refused_above_4_gib(&f, sizeof(f),
                        "kernel vmlinuz: segment 1 needs 4096 bytes from 0x100000000 on, and RAM "
                        "ends at 0x2000000");
}
