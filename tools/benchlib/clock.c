/* tools/benchlib/clock.c - the clock of "tools/bench start": how long a program takes from execve()
 * to its first output, what memory it has then, and how often it can be run. In C because an
 * interpreter is too coarse for a millisecond and would take the processor from what is measured.
 *
 * usage: clock first RAM_KIB COMMAND [ARG]...
 *
 *   prints "MICROSECONDS PSS_KIB PRIVATE_KIB": from just before execve() to after read() gave the
 *   first byte of the command's standard output, and the memory that the command has then, less the
 *   mapping of RAM_KIB (guest RAM). The command is killed then.
 *
 * usage: clock rate WORKERS COUNT COMMAND [ARG]...
 *
 *   runs the command COUNT times to its end, WORKERS at a time, and prints "SECONDS CPU_SECONDS":
 *   of all of them together, user and system.
 *
 * Status 1 if the command does not do what it should within ten seconds. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT_MS = 10000 };

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "clock: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* *start, if there, is shared with the child, which writes to it last thing before execve().
 * Without out, the command's standard output is this program's. */
static pid_t start_command(char **argv, double *start, int out)
{
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0 || dup2(null, 0) < 0 || dup2(out < 0 ? null : out, 1) < 0)
            _exit(127);
        if (start)
            *start = now();
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    return pid;
}

static void read_memory(pid_t pid, long ram, long *pss, long *private)
{
    char path[64], line[512];
    (void)snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        fail(path);
    long size = 0, kib;
    *pss = *private = 0;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Size: %ld", &kib) == 1)
            size = kib;
        else if (size < ram && sscanf(line, "Pss: %ld", &kib) == 1)
            *pss += kib;
        else if (size < ram && sscanf(line, "Private_%*[^:]: %ld", &kib) == 1)
            *private += kib;
    }
    (void)fclose(f);
}

static int first(long ram, char **argv)
{
    double *start =
        mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int fds[2];
    if (start == MAP_FAILED || pipe2(fds, O_CLOEXEC) < 0)
        fail("setting up");
    pid_t pid = start_command(argv, start, fds[1]);
    (void)close(fds[1]);

    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    char byte;
    bool seen = poll(&p, 1, LIMIT_MS) == 1 && read(fds[0], &byte, 1) == 1;
    double seconds = now() - *start;
    long pss = 0, private = 0;
    if (seen && ram)
        read_memory(pid, ram, &pss, &private);
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, NULL, 0);
    if (seen)
        (void)printf("%.1f %ld %ld\n", seconds * 1e6, pss, private);
    return seen ? 0 : 1;
}

static double cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_CHILDREN, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int rate(long workers, long count, char **argv)
{
    long started = 0;
    double start = now();
    for (long ended = 0; ended < count;) {
        for (; started < count && started - ended < workers; started++)
            (void)start_command(argv, NULL, -1);
        int status;
        if (waitpid(-1, &status, 0) < 0)
            fail("wait");
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            return 1;
        ended++;
    }
    (void)printf("%.6f %.6f\n", now() - start, cpu_seconds());
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 4 && !strcmp(argv[1], "first"))
        return first(strtol(argv[2], NULL, 10), argv + 3);
    if (argc >= 5 && !strcmp(argv[1], "rate")) {
        (void)alarm(10 + (unsigned)strtol(argv[3], NULL, 10) / 2);
        return rate(strtol(argv[2], NULL, 10), strtol(argv[3], NULL, 10), argv + 4);
    }
    (void)fprintf(stderr, "usage: see the beginning of tools/benchlib/clock.c\n");
    return 2;
}
