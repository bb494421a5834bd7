/* tools/bench-rings.c - the init of a guest that measures its disk and powers off: random reads of
 * 4 KiB from /dev/vdb past the page cache, one in flight and then 32, by Linux's own asynchronous
 * I/O. Prints a line for each: depth, nanoseconds and interrupts for a thousand reads. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, BLOCKS = 8192, DEPTH_MAX = 32, READS = 4000 };

static uint8_t buffers[DEPTH_MAX][BLOCK] __attribute__((aligned(BLOCK)));

static uint64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Of the second disk, all CPUs together. */
static unsigned long interrupts(void)
{
    unsigned long sum = 0;
    char line[512];
    FILE *f = fopen("/proc/interrupts", "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (!strstr(line, "virtio1-req") && !strstr(line, "virtio1\n"))
            continue;
        char *at = strchr(line, ':');
        for (char *end = at + 1; at != end; at = end)
            sum += strtoul(at = end, &end, 10);
    }
    if (f)
        (void)fclose(f);
    return sum;
}

static void submit(aio_context_t ctx, int fd, unsigned slot)
{
    static uint64_t random = 88172645463325252;
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    struct iocb cb = {.aio_data = slot,
                      .aio_lio_opcode = IOCB_CMD_PREAD,
                      .aio_fildes = (uint32_t)fd,
                      .aio_buf = (uint64_t)buffers[slot],
                      .aio_nbytes = BLOCK,
                      .aio_offset = (int64_t)(random % BLOCKS * BLOCK)};
    struct iocb *cbs[] = {&cb};
    if (syscall(SYS_io_submit, ctx, 1, cbs) != 1) {
        printf("bench-rings: io_submit: %s\n", strerror(errno));
        (void)reboot(RB_POWER_OFF);
    }
}

static void measure(int fd, unsigned depth)
{
    aio_context_t ctx = 0;
    struct io_event done[DEPTH_MAX];
    if (syscall(SYS_io_setup, depth, &ctx) < 0)
        return;
    unsigned long irqs = interrupts();
    uint64_t start = now();
    for (unsigned i = 0; i < depth; i++)
        submit(ctx, fd, i);
    for (unsigned ended = 0; ended < READS;) {
        long n = syscall(SYS_io_getevents, ctx, 1, depth, done, NULL);
        for (long i = 0; i < n; i++, ended++) {
            if (done[i].res != BLOCK)
                printf("bench-rings: a read failed\n");
            if (ended + depth < READS)
                submit(ctx, fd, (unsigned)done[i].data);
        }
    }
    uint64_t ns = now() - start;
    printf("depth %u %lu %lu\n", depth, (unsigned long)(ns * 1000 / READS),
           (interrupts() - irqs) * 1000 / READS);
    (void)syscall(SYS_io_destroy, ctx);
}

int main(void)
{
    (void)mount("dev", "/dev", "devtmpfs", 0, NULL);
    (void)mount("proc", "/proc", "proc", 0, NULL);
    int console = open("/dev/console", O_WRONLY), fd = open("/dev/vdb", O_RDONLY | O_DIRECT);
    (void)dup2(console, 1);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (fd < 0) {
        printf("bench-rings: no /dev/vdb\n");
    } else {
        measure(fd, 1);
        measure(fd, DEPTH_MAX);
    }
    (void)fflush(stdout);
    (void)reboot(RB_POWER_OFF);
    return 1;
}
