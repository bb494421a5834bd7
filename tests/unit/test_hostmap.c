/* tests/unit/test_hostmap.c - memory that a device shows to the guest: where it is, that it is the
 * file's, and that a host which refuses is left as it was. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "devices/hostmap.h"

enum { LEN = 4 << 20 };

static int file_of(size_t len)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(fd, (off_t)len), 0);
    return fd;
}

/* Of this process's address space, in pages. */
static unsigned long mapped(void)
{
    char text[64] = "";
    AUTO_FD fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    cr_assert_gt(read(fd, text, sizeof(text) - 1), 0);
    return strtoul(text, NULL, 10);
}

Test(hostmap, is_the_file_and_no_more)
{
    unsigned long before = mapped();
    AUTO_FD fd = file_of(LEN);
    uint8_t *p[3], byte = 0;
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(hostmap_new(fd, LEN, PROT_READ | PROT_WRITE, &p[i]), 0);
        cr_assert_eq((uint64_t)p[i] % HOSTMAP_ALIGN, 0);
        cr_assert_eq(mapped(), before + (i + 1) * (LEN / 4096), "what aligned it is given back");
    }
    p[0][LEN - 1] = 7;
    cr_assert_eq(p[1][LEN - 1], 7);
    cr_assert_eq(pread(fd, &byte, 1, LEN - 1), 1);
    cr_assert_eq(byte, 7);
    for (unsigned i = 0; i < 3; i++)
        hostmap_free(p[i], LEN);
    hostmap_free(NULL, LEN);
    cr_assert_eq(mapped(), before);
}

Test(hostmap, what_the_host_refuses_leaves_nothing)
{
    unsigned long before = mapped();
    AUTO_FD fd = file_of(LEN);
    AUTO_FD read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    uint8_t *p = (uint8_t *)&fd;
    cr_assert_eq(hostmap_new(fd, UINT64_MAX - 4095, PROT_READ, &p), -ENOMEM);
    cr_assert_eq(hostmap_new(fd, UINT64_MAX - HOSTMAP_ALIGN + 1, PROT_READ, &p), -ENOMEM);
    cr_assert_eq(hostmap_new(fd, 1ull << 60, PROT_READ, &p), -ENOMEM);
    cr_assert_eq(hostmap_new(-1, LEN, PROT_READ, &p), -EBADF);
    cr_assert_eq(hostmap_new(read_only, LEN, PROT_READ | PROT_WRITE, &p), -EACCES);
    cr_assert_eq(p, (uint8_t *)&fd, "untouched");
    cr_assert_eq(mapped(), before);
}
