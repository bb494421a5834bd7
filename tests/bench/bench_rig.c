/* tests/bench/bench_rig.c - the program: which rows, how many samples, and one line of JSON for
 * each. See bench.h. */
#include <fnmatch.h>
#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "tests/bench/bench.h"

enum { ROWS_MAX = 128 };

static struct bench_row rows[ROWS_MAX];
static void *work[ROWS_MAX];
static unsigned n_rows;

void bench_add(const struct bench_row *r)
{
    BENCH_MUST(n_rows < ROWS_MAX);
    rows[n_rows++] = *r;
}

void bench_must(bool ok, const char *what, const char *file, int line)
{
    if (ok)
        return;
    (void)fprintf(stderr, "bench_rig: %s:%d: not so: %s (%s)\n", file, line, what, strerror(errno));
    exit(1);
}

uint64_t bench_cpu_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t bench_wall_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- what is printed: names and units are our own, and need no escapes --- */

void bench_print_exact(const struct bench_row *r, const char *unit, double value)
{
    (void)printf("{\"group\":\"%s\",\"name\":\"%s\",\"unit\":\"%s\",\"exact\":%.6g}\n", r->group,
                 r->name, unit, value);
}

static void print_sample(const struct bench_row *r, double value)
{
    (void)printf("{\"group\":\"%s\",\"name\":\"%s\",\"unit\":\"%s\",\"sample\":%.6g", r->group,
                 r->name, r->unit, value);
    if (r->base)
        (void)printf(",\"base\":\"%s\"", r->base);
    (void)printf("}\n");
}

/* --- allocations (linked with --wrap) --- */

static uint64_t allocations;

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n)
{
    allocations++;
    return __real_malloc(n);
}

void *__real_calloc(size_t n, size_t each);
void *__wrap_calloc(size_t n, size_t each);
void *__wrap_calloc(size_t n, size_t each)
{
    allocations++;
    return __real_calloc(n, each);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n)
{
    allocations++;
    return __real_realloc(p, n);
}

uint64_t bench_allocations(void)
{
    return allocations;
}

/* --- the program --- */

static const char usage[] =
    "usage: bench_rig [--once] [--samples N] [PATTERN]\n"
    "  Measures devices without a guest; prints a line of JSON for each sample and count.\n"
    "  --once       no more of anything than shows that it works\n"
    "  --samples N  of each row; default: 10\n"
    "  PATTERN      only rows of which \"group: name\" matches, as of a file; default: all\n";

static bool wanted(const struct bench_row *r, const char *pattern)
{
    char full[128];
    (void)snprintf(full, sizeof(full), "%s: %s", r->group, r->name);
    return fnmatch(pattern, full, 0) == 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"once", no_argument, NULL, '1'},
                                            {"samples", required_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    unsigned long samples = 10;
    bool once = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
        if (c == '1') {
            once = true;
            samples = 1;
        } else if (c == 'n') {
            samples = strtoul(optarg, NULL, 10);
        } else {
            (void)fputs(usage, c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : 2;
        }
    }
    const char *pattern = optind < argc ? argv[optind] : "*";

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    bench_queue();
    bench_block();
    bench_fs();
    bench_net();
    bench_vsock();
    for (unsigned i = 0; i < n_rows; i++)
        work[i] = wanted(&rows[i], pattern) ? rows[i].up(&rows[i]) : NULL;
    for (unsigned long s = 0; s < samples; s++) {
        for (unsigned i = 0; i < n_rows; i++) {
            if (work[i])
                print_sample(&rows[i], rows[i].sample(work[i], once));
        }
    }
    for (unsigned i = 0; i < n_rows; i++) {
        if (work[i] && rows[i].exact)
            rows[i].exact(&rows[i], work[i], once);
        if (work[i])
            rows[i].down(work[i]);
    }
    return 0;
}
