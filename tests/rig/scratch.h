/* tests/rig/scratch.h - a file for a device that wants the path of one, which goes with the
 * process, however that ends. */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SCRATCH_PATH = 32 };

/* Empty, and without a name: the path is the descriptor's, for as long as that is open. */
static inline int scratch_new(char path[SCRATCH_PATH])
{
    char name[] = "/tmp/vmm-test-XXXXXX";
    int fd = mkostemp(name, O_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(unlink(name), 0);
    (void)snprintf(path, SCRATCH_PATH, "/proc/self/fd/%d", fd);
    return fd;
}
