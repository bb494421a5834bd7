/* tests/rig/proves.h - what a test proves. PROVES("id") in the body of a Criterion test names a row
 * of tests/conformance/normative.tsv, a sentence that the specification asks of devices.
 *
 * tools/conformance finds the claims in the source and, through VMM_PROVES, in what ran, and holds
 * both against the tests' results. */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A literal, because the source is searched for it. */
#define PROVES(id) proves("" id)

static inline void proves(const char *id)
{
    const char *path = getenv("VMM_PROVES");
    char line[512];
    if (!path)
        return;
    int n = snprintf(line, sizeof(line), "%s\t%s::%s\t%s\n", id, criterion_current_test->category,
                     criterion_current_test->name, program_invocation_short_name);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    cr_assert(n < (int)sizeof(line) && write(fd, line, (size_t)n) == n, "%s: %m", path);
    close(fd);
}
