/* tools/bench.c - the clock of tools/bench: runs a command, and says when a text came out of it,
 * when it ended and what memory it had. In C because a shell's clock is too coarse for a
 * millisecond.
 *
 * usage: bench TEXT RAM_KIB LIMIT_MS COMMAND [ARG]...
 *
 * Prints "TEXT_MS END_MS PSS_KIB PRIVATE_KIB". Times are CLOCK_MONOTONIC from just before execve()
 * to after read() gave the last byte of TEXT from the command's standard output, and to its end.
 * With RAM_KIB, the memory is looked at when TEXT was there, less the mapping of that size (guest
 * RAM), and the command is killed then; END_MS is "-". With 0 the memory is "-". Status 1 if TEXT
 * did not come or the command did not end well in time. */
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_ms(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void fail(const char *what)
{
    (void)fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* *start is shared with the child, which writes to it last thing before it becomes the command. */
static pid_t start_command(char **argv, double *start, int *out)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        fail("pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null < 0 || dup2(null, 0) < 0 || dup2(fds[1], 1) < 0)
            _exit(127);
        *start = now_ms();
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    (void)close(fds[1]);
    *out = fds[0];
    return pid;
}

/* Reads on until the text is there. Returns 1; 0 at the end of the output; -1 at the deadline. */
static int wait_for(int fd, const char *text, double deadline)
{
    size_t at = 0;
    while (1) {
        double left = deadline - now_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, (int)left + 1) <= 0)
            return -1;
        char buf[4096];
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n <= 0)
            return 0;
        for (ssize_t i = 0; i < n && text[at]; i++)
            at = buf[i] == text[at] ? at + 1 : buf[i] == text[0];
        if (*text && !text[at])
            return 1;
    }
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

int main(int argc, char **argv)
{
    if (argc < 5) {
        (void)fprintf(stderr, "usage: bench TEXT RAM_KIB LIMIT_MS COMMAND [ARG]...\n");
        return 2;
    }
    long ram = strtol(argv[2], NULL, 10), pss, private;
    double deadline = now_ms() + strtod(argv[3], NULL);
    double *start =
        mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED)
        fail("mmap");
    int out, status;
    pid_t pid = start_command(argv + 4, start, &out);

    bool seen = wait_for(out, argv[1], deadline) == 1;
    double text_ms = now_ms() - *start;
    if (seen && ram)
        read_memory(pid, ram, &pss, &private);
    bool ended = seen && !ram && wait_for(out, "", deadline) == 0;
    if (!ended)
        (void)kill(pid, SIGKILL);
    (void)waitpid(pid, &status, 0);
    double end_ms = now_ms() - *start;

    if (!seen || (!ram && (!ended || !WIFEXITED(status) || WEXITSTATUS(status))))
        return 1;
    if (ram)
        (void)printf("%.3f - %ld %ld\n", text_ms, pss, private);
    else
        (void)printf("%.3f %.3f - -\n", text_ms, end_ms);
    return 0;
}
