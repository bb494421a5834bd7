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
static int count_fd = -1; /* open from the start: later the program may open nothing */

__attribute__((constructor)) static void plan(void)
{
    const char *text = getenv("VMM_FAULT"), *path = getenv("VMM_FAULT_COUNT");
    char point[16];
    struct fault f;
    if (path)
        count_fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (text && sscanf(text, "%15[a-z]:%u:%u:%d", point, &f.skip, &f.times, &f.error) == 4) {
        f.most = 0;
        planned = strcmp(point, "uring") == 0 ? FAULT_URING : FAULT_RESOURCE;
        fault_set(planned, f);
    }
}

__attribute__((destructor)) static void tell(void)
{
    char line[16];
    int n = snprintf(line, sizeof(line), "%u\n", fault_calls(planned));
    if (count_fd >= 0)
        (void)!write(count_fd, line, (size_t)n); /* dprintf() makes calls that a sandbox forbids */
}
