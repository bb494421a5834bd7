/* arch/x86_64/boot_priv.h - what boot.c and the loaders of the two kernel formats share: a file
 * that is never read past its end, and what a loader learned from it. */
#pragma once

#include "arch/x86_64/boot.h"

#include <asm/bootparam.h>

struct boot_file {
    int fd;                  /* borrowed */
    const char *what, *name; /* "kernel", "bzImage": how every sentence about it begins */
    uint64_t size;
};
/* Exactly len bytes from offset `at`, or one sentence. */
int CHECKED boot_file_read(const struct boot_file *f, uint64_t at, void *dst, uint64_t len,
                           struct err *e);

struct boot_image {
    enum boot_mode mode;
    uint64_t entry;
    uint64_t end;         /* the initrd may begin here: behind the kernel and its working memory */
    uint64_t initrd_max;  /* highest address that a byte of the initrd may have */
    uint64_t cmdline_max; /* bytes without the NUL */
    struct setup_header hdr; /* for the zero page; BOOT_LONG64 only */
};

/* Both load the kernel between 1 MiB and ram_low. `head` holds the file's first bytes; a file
 * shorter than BOOT_HEAD is followed by zeroes in it. */
enum { BOOT_HEAD = 1024 };
bool bzimage_probe(const uint8_t head[BOOT_HEAD]);
int CHECKED bzimage_load(const struct gmem *m, const struct boot_file *f,
                         const uint8_t head[BOOT_HEAD], uint64_t ram_low, struct boot_image *out,
                         struct err *e);
bool elf_probe(const uint8_t head[BOOT_HEAD]);
/* A PVH note is obeyed only if `pvh` allows it. */
int CHECKED elf_load(const struct gmem *m, const struct boot_file *f, const uint8_t head[BOOT_HEAD],
                     uint64_t ram_low, bool pvh, struct boot_image *out, struct err *e);

/* What the kernel finds besides itself. */
struct boot_handover {
    const struct platform *platform;
    const struct boot_image *image;
    uint64_t initrd, initrd_len; /* 0, 0: none */
    const char *cmdline;         /* as it lies at LAYOUT_CMDLINE */
};
/* The zero page and, for DISCOVERY_FDT, the device tree in the setup_data list. */
int CHECKED handover_linux(const struct gmem *m, const struct boot_handover *h, struct err *e);
/* struct hvm_start_info with its memory map and module list. */
int CHECKED handover_pvh(const struct gmem *m, const struct boot_handover *h, struct err *e);

/* RAM below 1 MiB: there unless RAM itself is too small, and then *e says so. */
void *boot_low(const struct gmem *m, uint64_t at, uint64_t len, struct err *e);

/* The byte that makes the sum of all bytes 0, if it is 0 as yet: ACPI and MP tables alike. */
uint8_t boot_checksum(const void *p, size_t len);
