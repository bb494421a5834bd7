/* tests/soak/soak_machine.c - machines with every device, made, run to the end of their guest and
 * taken down one after the other in one process, which must have as much afterwards as it had after
 * the first few: descriptors, threads, mappings, memory.
 *
 * usage: soak_machine TIMES VMM-OPTION...   the guest powers off by itself
 *
 * Prints what it had then and has now. Exit status: 0 as much; 1 more, or a machine failed; 77:
 * there is no /dev/kvm that may be used. */
#include <dirent.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "base/log.h"
#include "vmm/machine.h"
#include "vmm/options.h"

enum { FIRST_FEW = 10 };
#ifdef __SANITIZE_ADDRESS__
enum { MEMORY_IS_OURS = false }; /* its allocator grows, and finds leaks by itself */
#else
enum { MEMORY_IS_OURS = true };
#endif

struct usage {
    unsigned fds, threads, maps;
    size_t heap, rss;
};

static unsigned entries(const char *path)
{
    DIR *d = opendir(path);
    unsigned n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        (void)closedir(d);
    return n;
}

static unsigned lines(const char *path)
{
    FILE *f = fopen(path, "re");
    unsigned n = 0;
    for (int c; f && (c = fgetc(f)) != EOF;)
        n += c == '\n';
    if (f)
        (void)fclose(f);
    return n;
}

static size_t resident(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f || fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f)
        (void)fclose(f);
    return pages * 4096;
}

static struct usage usage(void)
{
    (void)malloc_trim(0);
    return (struct usage){.fds = entries("/proc/self/fd"),
                          .threads = entries("/proc/self/task"),
                          .maps = lines("/proc/self/maps"),
                          .heap = mallinfo2().uordblks,
                          .rss = resident()};
}

static bool one(int argc, char **argv)
{
    struct vm_config cfg;
    enum options_action action;
    struct machine *m;
    struct err e;
    int signo = 0;
    if (options_parse(argc, argv, &cfg, &action, &e) < 0 || machine_build(&cfg, &m, &e) < 0) {
        (void)fprintf(stderr, "soak_machine: %s\n", e.msg);
        return false;
    }
    machine_start(m);
    enum machine_end end = machine_run(m, NULL, &signo);
    machine_free(m);
    options_free(&cfg);
    return end == MACHINE_POWERED_OFF;
}

int main(int argc, char **argv)
{
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        (void)printf("SKIP: there is no /dev/kvm that may be used\n");
        return 77;
    }
    if (argc < 3)
        return 2;
    unsigned times = (unsigned)strtoul(argv[1], NULL, 10);
    struct usage then = {0}, now;
    (void)mallopt(M_ARENA_MAX, 1); /* as main() does */
    (void)signal(SIGPIPE, SIG_IGN);
    argv[1] = argv[0];
    for (unsigned i = 1; i <= times + FIRST_FEW; i++) {
        if (!one(argc - 1, argv + 1))
            return 1;
        if (i == FIRST_FEW)
            then = usage();
    }
    now = usage();
    (void)printf("%u machines: %u -> %u descriptors, %u -> %u threads, %u -> %u mappings, "
                 "%zu -> %zu bytes of heap in use, %zu -> %zu KiB resident\n",
                 times, then.fds, now.fds, then.threads, now.threads, then.maps, now.maps,
                 then.heap, now.heap, then.rss >> 10, now.rss >> 10);
    /* The allocator and its caches for each thread have a slack: what leaks is a multiple. */
    bool more = now.fds > then.fds || now.threads > then.threads;
    if (MEMORY_IS_OURS)
        more = more || now.maps > then.maps || now.heap > then.heap + KIB(4) ||
               now.rss > then.rss + MIB(1) + times * 64ull;
    return more;
}
