/* arch/x86_64/boot.c - puts kernel, initrd, command line and the description of the machine into
 * RAM, by the Linux boot protocol or by PVH. There is no firmware: what a BIOS and a boot loader
 * would have left behind for the kernel is written here, once.
 *
 * Linux, Documentation/arch/x86/boot.rst and zero-page.rst; Xen, docs/misc/pvh.pandoc. */
#include "arch/x86_64/boot.h"
#include "arch/x86_64/boot_priv.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

enum { PAGE = 4096 };

/* Files */

static int boot_file_open(int fd, const char *what, const char *name, struct boot_file *out,
                          struct err *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_input(e, -errno, "%s %s", what, name);
    if (S_ISDIR(st.st_mode))
        return err_input(e, -EISDIR, "%s %s", what, name);
    if (!S_ISREG(st.st_mode))
        return err_input(e, 0, "%s %s: not a regular file", what, name);
    if (st.st_size == 0)
        return err_input(e, 0, "%s %s: the file is empty", what, name);
    *out = (struct boot_file){.fd = fd, .what = what, .name = name, .size = (uint64_t)st.st_size};
    return 0;
}

int boot_file_read(const struct boot_file *f, uint64_t at, void *dst, uint64_t len, struct err *e)
{
    for (uint64_t done = 0; done < len;) {
        ssize_t n = pread(f->fd, (uint8_t *)dst + done, len - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_input(e, -errno, "%s %s", f->what, f->name);
        if (n == 0)
            return err_input(e, 0, "%s %s: truncated while it was read", f->what, f->name);
        done += (uint64_t)n;
    }
    return 0;
}

static int kernel_load(const struct gmem *m, const struct boot_spec *s, struct boot_image *out,
                       struct err *e)
{
    const struct platform *p = s->platform;
    uint8_t head[BOOT_HEAD] = {0};
    struct boot_file f;
    int r = boot_file_open(s->kernel_fd, "kernel", s->kernel_name, &f, e);

    if (r < 0)
        return r;
    r = boot_file_read(&f, 0, head, MIN(f.size, (uint64_t)sizeof(head)), e);
    if (r < 0)
        return r;
    if (bzimage_probe(head))
        return bzimage_load(m, &f, head, p->ram_low, out, e);
    /* A device tree has no place in PVH's start info. */
    if (elf_probe(head))
        return elf_load(m, &f, head, p->ram_low, p->discovery != DISCOVERY_FDT, out, e);
    return err_input(e, 0, "kernel %s: neither a bzImage nor an ELF file", s->kernel_name);
}

/* As high as the kernel can reach, so that nothing is in the way of a kernel that moves itself. */
static int initrd_load(const struct gmem *m, const struct boot_spec *s, struct boot_handover *h,
                       struct err *e)
{
    uint64_t limit = MIN(s->platform->ram_low, h->image->initrd_max + 1);
    struct boot_file f;
    uint64_t at;
    int r;

    if (s->initrd_fd < 0)
        return 0;
    r = boot_file_open(s->initrd_fd, "initrd", s->initrd_name, &f, e);
    if (r < 0)
        return r;
    at = f.size <= limit ? (limit - f.size) & ~(uint64_t)(PAGE - 1) : 0;
    if (at < h->image->end || !gmem_at(m, GPA(at), f.size))
        return err_input(e, 0,
                         "initrd %s: its %" PRIu64 " bytes do not fit into RAM between the "
                         "kernel's end at 0x%" PRIx64 " and 0x%" PRIx64,
                         f.name, f.size, h->image->end, limit);
    r = boot_file_read(&f, 0, gmem_at(m, GPA(at), f.size), f.size, e);
    if (r < 0)
        return r;
    h->initrd = at;
    h->initrd_len = f.size;
    return 0;
}

/* The command line */

int cmdline_devices(const struct platform *p, char **out)
{
    enum { ONE = 64 }; /* " virtio_mmio.device=" and three numbers */
    size_t cap = (size_t)p->n_mmio * ONE + 1, len = 0;
    AUTO_FREE char *s = malloc(cap);

    if (!s)
        return -ENOMEM;
    s[0] = '\0';
    for (unsigned i = 0; i < p->n_mmio; i++) {
        const struct mmio_slot *d = &p->mmio[i];

        assert(d->len % KIB(1) == 0);
        len += (size_t)snprintf(s + len, cap - len,
                                " virtio_mmio.device=%" PRIu64 "K@0x%" PRIx64 ":%" PRIu32,
                                d->len / KIB(1), d->base.v, d->irq);
        assert(len < cap);
    }
    *out = TAKE_PTR(s);
    return 0;
}

static int cmdline_make(const struct boot_spec *s, char **out, struct err *e)
{
    AUTO_FREE char *devices = NULL;

    if (s->platform->discovery == DISCOVERY_CMDLINE) {
        int r = cmdline_devices(s->platform, &devices);
        if (r < 0)
            return err_host(e, r, "command line");
    }
    /* Without the space that separates an appended list from what is before it. */
    const char *first = devices && devices[0] ? devices + 1 : "";
    if (asprintf(out, "%s%s%s", first, *first && *s->cmdline ? " " : "", s->cmdline) < 0)
        return err_host(e, -ENOMEM, "command line");
    return 0;
}

static int cmdline_write(const struct gmem *m, const struct boot_spec *s,
                         const struct boot_handover *h, struct err *e)
{
    size_t len = strlen(h->cmdline);
    uint64_t max = MIN(h->image->cmdline_max, (uint64_t)LAYOUT_CMDLINE_MAX - 1);
    char *dst = boot_low(m, LAYOUT_CMDLINE, LAYOUT_CMDLINE_MAX, e);

    if (!dst)
        return -EINVAL;
    if (len > max)
        return err_input(e, 0, "command line: %zu bytes long, and kernel %s takes %" PRIu64, len,
                         s->kernel_name, max);
    memcpy(dst, h->cmdline, len + 1);
    return 0;
}

/* All of it */

static int discovery_write(const struct gmem *m, const struct platform *p, struct err *e)
{
    switch (p->discovery) {
    case DISCOVERY_ACPI: {
        /* Linux looks for an MP table before it looks at ACPI, and where there is none it searches
         * 64 KiB, remapping each 16 bytes. It uses the MADT all the same. */
        int rc = mptable_write(m, p, e);
        return rc < 0 ? rc : acpi_write(m, p, e);
    }
    case DISCOVERY_CMDLINE:
        return mptable_write(m, p, e);
    case DISCOVERY_FDT:
        break; /* travels in the zero page's setup_data list */
    }
    return 0;
}

int boot_load(const struct gmem *m, const struct boot_spec *s, struct boot_entry *out,
              struct err *e)
{
    AUTO_FREE char *cmdline = NULL;
    struct boot_image image = {0};
    struct boot_handover h = {.platform = s->platform, .image = &image};
    int r = kernel_load(m, s, &image, e);

    if (r < 0)
        return r;
    r = initrd_load(m, s, &h, e);
    if (r < 0)
        return r;
    r = cmdline_make(s, &cmdline, e);
    if (r < 0)
        return r;
    h.cmdline = cmdline;
    r = cmdline_write(m, s, &h, e);
    if (r < 0)
        return r;
    r = discovery_write(m, s->platform, e);
    if (r < 0)
        return r;
    r = boot_write_tables(m, e);
    if (r < 0)
        return r;
    r = image.mode == BOOT_PVH ? handover_pvh(m, &h, e) : handover_linux(m, &h, e);
    if (r < 0)
        return r;
    *out = (struct boot_entry){
        .mode = image.mode,
        .rip = image.entry,
        .info = image.mode == BOOT_PVH ? LAYOUT_PVH_INFO : LAYOUT_ZERO_PAGE,
    };
    return 0;
}
