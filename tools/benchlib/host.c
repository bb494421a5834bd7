/* tools/benchlib/host.c - the laboratory's side of "tools/bench lab": starts a VMM, tells the guest
 * on its console what to do (tools/benchlib/guest.c), and counts what the VMM and KVM did
 * meanwhile.
 *
 * usage: host NAME SAMPLES|modes|counts ROWS COMMAND [ARG]...
 *
 * ROWS is a file of lines "ROW<tab>COMMAND OF THE GUEST". Each is done once to get warm, SAMPLES
 * times for its time, with nothing of this program's in the way, ten times to see where the time
 * goes, and five times to be counted: by the kernel's own trace points, as perf counters of each
 * thread of the VMM. What asking the guest costs (its command "null") is taken off. A ROW without
 * a name is done once and not measured. Prints, for tools/benchlib/lab.py:
 *
 *   bench start NAME
 *   bench boot NAME NS                       execve() to the first word of process 1
 *   bench modes NAME USER KERNEL GUEST       with "modes": ns of it in each, asked every 20 us
 *                                            (which makes the boot longer)
 *   bench counts NAME COUNT...               with "counts": of the boot, in the order of "points"
 *                                            (which makes it longer too)
 *   bench row NAME ROW                       its first operation begins
 *   bench time NAME ROW OPERATIONS NS
 *   bench split NAME ROW OPERATIONS USER KERNEL GUEST    ns of it in each, asked every 100 us
 *   bench count NAME ROW OPERATIONS COUNT... in the order of "points"
 *   bench end NAME                           the guest has powered off
 *   bench stopped NAME WHAT                  or it did not */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { POINTS = 5, THREADS_MAX = 128, COUNTED = 5, LIMIT_MS = 8000, MODES_SIZE = 2 << 20 };

static const char *const points[POINTS] = {"kvm/kvm_exit", "kvm/kvm_userspace_exit",
                                           "raw_syscalls/sys_enter", "kvm/kvm_inj_virq",
                                           "sched/sched_switch"};

static const char *name;
static pid_t vmm;
static int to_guest, from_guest;

static uint64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void stopped(const char *what)
{
    printf("bench stopped %s %s\n", name, what);
    if (vmm > 0)
        (void)kill(vmm, SIGKILL);
    exit(1);
}

static int perf_open(struct perf_event_attr *attr, pid_t pid, int cpu)
{
    attr->size = sizeof(*attr);
    return (int)syscall(SYS_perf_event_open, attr, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* ---- Counting ---- */

static int counters[POINTS][THREADS_MAX];
static unsigned threads;

static uint64_t point_id(const char *point)
{
    char path[128], text[32] = "";
    (void)snprintf(path, sizeof(path), "/sys/kernel/tracing/events/%s/id", point);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
        stopped("there is no trace point");
    (void)close(fd);
    return strtoull(text, NULL, 10);
}

static void count_thread(unsigned t, pid_t tid, bool from_exec)
{
    for (unsigned p = 0; p < POINTS; p++) {
        struct perf_event_attr attr = {.type = PERF_TYPE_TRACEPOINT,
                                       .config = point_id(points[p]),
                                       .disabled = from_exec,
                                       .enable_on_exec = from_exec,
                                       .inherit = 1};
        counters[p][t] = perf_open(&attr, tid, -1);
        if (counters[p][t] < 0 && errno != ESRCH)
            stopped("no counter");
    }
}

/* Of the threads that are there; what they start is counted with them. */
static void start_counting(void)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)vmm);
    DIR *tasks = opendir(path);
    pid_t tids[THREADS_MAX];
    threads = 0;
    for (struct dirent *e; tasks && (e = readdir(tasks)) && threads < THREADS_MAX;)
        if (e->d_name[0] != '.')
            tids[threads++] = (pid_t)strtol(e->d_name, NULL, 10);
    (void)closedir(tasks);
    for (unsigned t = 0; t < threads; t++)
        count_thread(t, tids[t], false);
}

static void stop_counting(uint64_t *counts)
{
    for (unsigned p = 0; p < POINTS; p++) {
        counts[p] = 0;
        for (unsigned t = 0; t < threads; t++) {
            uint64_t n = 0;
            if (read(counters[p][t], &n, sizeof(n)) == sizeof(n))
                counts[p] += n;
            (void)close(counters[p][t]);
        }
    }
}

/* ---- What the processor does ---- */

enum mode { VMM, KERNEL, GUEST, ELSEWHERE, MODES };

static int modes_fd;
static uint64_t modes_period;
static struct perf_event_mmap_page *modes_ring;

/* Asks it every so often: there is one processor. */
static void start_modes(uint64_t period_ns)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
                                   .config = PERF_COUNT_SW_CPU_CLOCK,
                                   .sample_period = period_ns,
                                   .sample_type = PERF_SAMPLE_TID,
                                   .disabled = 1};
    modes_period = period_ns;
    modes_fd = perf_open(&attr, -1, 0);
    modes_ring = mmap(NULL, MODES_SIZE + (size_t)getpagesize(), PROT_READ | PROT_WRITE, MAP_SHARED,
                      modes_fd, 0);
    if (modes_fd < 0 || modes_ring == MAP_FAILED || ioctl(modes_fd, PERF_EVENT_IOC_ENABLE, 0) < 0)
        stopped("no samples of the processor");
}

/* The other end of a connection is elsewhere, and so is idleness. */
static enum mode mode_of(unsigned misc, uint32_t pid)
{
    switch (misc & PERF_RECORD_MISC_CPUMODE_MASK) {
    case PERF_RECORD_MISC_USER:
        return pid == (uint32_t)vmm ? VMM : ELSEWHERE;
    case PERF_RECORD_MISC_KERNEL:
        return pid ? KERNEL : ELSEWHERE;
    default:
        return GUEST;
    }
}

static void stop_modes(uint64_t *ns)
{
    (void)ioctl(modes_fd, PERF_EVENT_IOC_DISABLE, 0);
    memset(ns, 0, MODES * sizeof(*ns));
    const char *data = (const char *)modes_ring + getpagesize();
    for (uint64_t at = 0; at < modes_ring->data_head;) {
        const struct perf_event_header *h = (const void *)(data + at);
        if (h->type == PERF_RECORD_LOST || modes_ring->data_head > MODES_SIZE)
            stopped("lost samples of the processor");
        if (h->type == PERF_RECORD_SAMPLE)
            ns[mode_of(h->misc, ((const uint32_t *)(h + 1))[0])] += modes_period;
        at += h->size;
    }
    (void)munmap(modes_ring, MODES_SIZE + (size_t)getpagesize());
    (void)close(modes_fd);
}

static void print_modes(void)
{
    uint64_t ns[MODES];
    stop_modes(ns);
    printf("bench modes %s %lu %lu %lu\n", name, (unsigned long)ns[VMM], (unsigned long)ns[KERNEL],
           (unsigned long)ns[GUEST]);
}

static void print_counts(void)
{
    uint64_t counts[POINTS];
    stop_counting(counts);
    printf("bench counts %s", name);
    for (unsigned p = 0; p < POINTS; p++)
        printf(" %lu", (unsigned long)counts[p]);
    printf("\n");
}

/* ---- The guest ---- */

/* Waits for the next line of process 1's, which begins with "@"; the kernel's are passed over. */
static void hear(char *line, size_t size)
{
    static char buf[4096];
    static size_t have;
    while (1) {
        char *end;
        while ((end = memchr(buf, '\n', have))) {
            *end = 0;
            bool ours = buf[0] == '@';
            if (ours)
                (void)snprintf(line, size, "%.*s", (int)size - 1, buf + 1);
            have -= (size_t)(end + 1 - buf);
            memmove(buf, end + 1, have);
            if (ours)
                return;
        }
        struct pollfd p = {.fd = from_guest, .events = POLLIN};
        if (have == sizeof(buf))
            have = 0;
        if (poll(&p, 1, LIMIT_MS) != 1)
            stopped("the guest says nothing");
        ssize_t n = read(from_guest, buf + have, sizeof(buf) - have);
        if (n <= 0)
            stopped("the VMM has ended");
        have += (size_t)n;
    }
}

/* Until its output ends, which is when the VMM does. */
static int wait_for_end(void)
{
    struct pollfd p = {.fd = from_guest, .events = POLLIN};
    char buf[4096];
    int status;
    do {
        if (poll(&p, 1, LIMIT_MS) != 1)
            stopped("the VMM does not end");
    } while (read(from_guest, buf, sizeof(buf)) > 0);
    return waitpid(vmm, &status, 0) == vmm ? status : -1;
}

static void ask(const char *command, uint64_t *operations, uint64_t *ns)
{
    char line[256];
    (void)snprintf(line, sizeof(line), "%s\n", command);
    if (write(to_guest, line, strlen(line)) < 0)
        stopped("the VMM has ended");
    hear(line, sizeof(line));
    unsigned long a, b;
    if (sscanf(line, "%lu %lu", &a, &b) != 2)
        stopped(line);
    *operations = a, *ns = b;
}

/* Of several rounds: one alone may fall together in another way than those for the time. */
static void count(const char *command, uint64_t *operations, uint64_t *counts)
{
    uint64_t some, ns;
    *operations = 0;
    start_counting();
    for (int i = 0; i < COUNTED; i++, *operations += some)
        ask(command, &some, &ns);
    stop_counting(counts);
}

/* Ten times, and seldom: each sample makes a guest exit. */
static void split(const char *row, const char *command)
{
    uint64_t operations, all = 0, spent, ns[MODES];
    start_modes(100000);
    for (int i = 0; i < 10; i++, all += operations)
        ask(command, &operations, &spent);
    stop_modes(ns);
    printf("bench split %s %s %lu %lu %lu %lu\n", name, row, (unsigned long)all,
           (unsigned long)ns[VMM], (unsigned long)ns[KERNEL], (unsigned long)ns[GUEST]);
}

static void do_row(const char *row, const char *command, int samples)
{
    uint64_t operations, ns, counts[POINTS], null[POINTS];
    if (*row)
        printf("bench row %s %s\n", name, row);
    ask(command, &operations, &ns);
    if (!*row)
        return;
    for (int i = 0; i < samples; i++) {
        ask(command, &operations, &ns);
        printf("bench time %s %s %lu %lu\n", name, row, (unsigned long)operations,
               (unsigned long)ns);
    }
    split(row, command);
    count("null", &operations, null);
    count(command, &operations, counts);
    printf("bench count %s %s %lu", name, row, (unsigned long)operations);
    for (unsigned p = 0; p < POINTS; p++)
        printf(" %ld", (long)(counts[p] - null[p]));
    printf("\n");
}

static void start_vmm(char **argv, bool modes, bool count, uint64_t *start)
{
    int in[2], out[2], go[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(go, O_CLOEXEC) < 0)
        stopped("no pipe");
    vmm = fork();
    if (vmm == 0) {
        char byte;
        (void)dup2(in[0], 0), (void)dup2(out[1], 1);
        if (read(go[0], &byte, 1) == 1)
            (void)execvp(argv[0], argv);
        _exit(127);
    }
    (void)close(in[0]), (void)close(out[1]);
    to_guest = in[1], from_guest = out[0];
    if (modes)
        start_modes(20000);
    if (count)
        count_thread(0, vmm, true), threads = 1;
    *start = now();
    (void)!write(go[1], "!", 1);
}

int main(int argc, char **argv)
{
    FILE *rows = argc > 4 ? fopen(argv[3], "re") : NULL;
    if (!rows)
        return 2;
    name = argv[1];
    bool modes = !strcmp(argv[2], "modes"), counts = !strcmp(argv[2], "counts");
    int samples = (int)strtol(argv[2], NULL, 10);
    char line[256];
    uint64_t start;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
    printf("bench start %s\n", name);
    start_vmm(argv + 4, modes, counts, &start);
    hear(line, sizeof(line));
    printf("bench boot %s %lu\n", name, (unsigned long)(now() - start));
    if (modes)
        print_modes();
    if (counts)
        print_counts();
    while (fgets(line, sizeof(line), rows)) {
        char *command = strchr(line, '\t');
        line[strcspn(line, "\n")] = 0;
        if (!command)
            continue;
        *command++ = 0;
        do_row(line, command, samples);
    }
    (void)!write(to_guest, "off\n", 4);
    if (wait_for_end() != 0)
        stopped("the VMM ended badly");
    printf("bench end %s\n", name);
    return 0;
}
