/* tests/bench/file.c - a folder with one file, which all rows read: whole and from the page cache,
 * unless they say otherwise. Both are gone when the program ends. */
#include <fcntl.h>
#include <stdio.h>

#include "tests/bench/bench.h"

static char folder[64], file[80];

static void remove_both(void)
{
    (void)unlink(file);
    (void)rmdir(folder);
}

static void make(void)
{
    static uint8_t chunk[1 << 20];
    (void)strcpy(folder, "/var/tmp/bench-rig-XXXXXX"); /* on a disk: O_DIRECT */
    BENCH_MUST(mkdtemp(folder) != NULL);
    (void)snprintf(file, sizeof(file), "%s/data", folder);
    (void)atexit(remove_both);
    AUTO_FD fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    BENCH_MUST(fd >= 0);
    for (unsigned i = 0; i < BENCH_FILE / sizeof(chunk); i++) {
        memset(chunk, (int)i + 1, sizeof(chunk));
        BENCH_MUST(write(fd, chunk, sizeof(chunk)) == sizeof(chunk));
    }
    BENCH_MUST(fsync(fd) == 0); /* O_DIRECT has nothing to write back first */
}

const char *bench_folder(void)
{
    if (!folder[0])
        make();
    return folder;
}

const char *bench_file(void)
{
    (void)bench_folder();
    return file;
}
