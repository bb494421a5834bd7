/* tests/faults/plan.c - a whole program whose faults are said in its environment, before main():
 *
 *   VMM_FAULT=POINT:SKIP:TIMES:ERROR   as in struct fault; POINT is "resource" or "uring"
 *   VMM_FAULT_COUNT=FILE               how often POINT was asked, written there as it exits */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/faults/fault.h"

static enum fault_point planned;

__attribute__((constructor)) static void plan(void)
{
    const char *text = getenv("VMM_FAULT");
    char point[16];
    struct fault f;
    if (text && sscanf(text, "%15[a-z]:%u:%u:%d", point, &f.skip, &f.times, &f.error) == 4) {
        f.most = 0;
        planned = strcmp(point, "uring") == 0 ? FAULT_URING : FAULT_RESOURCE;
        fault_set(planned, f);
    }
}

__attribute__((destructor)) static void tell(void)
{
    const char *path = getenv("VMM_FAULT_COUNT");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd >= 0) {
        (void)dprintf(fd, "%u\n", fault_calls(planned));
        (void)close(fd);
    }
}
