/* tests/rig/claim.h - what a test says of itself while it runs, for the tools that hold it against
 * the test's result: a line with ids, the test and two words more into the file that a variable of
 * the environment names; without the variable, nothing. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void claim(const char *variable, const char *ids, const char *test, const char *where,
                         const char *file)
{
    const char *path = getenv(variable);
    char line[512];
    if (!path)
        return;
    int n = snprintf(line, sizeof(line), "%s\t%s\t%s\t%s\n", ids, test, where, file);
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (n >= (int)sizeof(line) || write(fd, line, (size_t)n) != n) {
        perror(path);
        abort(); /* so that the test fails */
    }
    close(fd);
}
