/* tests/bench/bench.h - measures the devices at native speed, with no guest: a driver in this
 * process, on this thread, and the loop stepped by hand. What it prints is for tools/bench.
 *
 * A group adds its rows, and main() takes one sample of each in turn, so that what disturbs the
 * host disturbs all of them. */
#pragma once

#include "base/base.h"

enum { BENCH_NAME = 64 };

struct bench_row {
    const char *group;
    char name[BENCH_NAME];
    const char *unit;  /* of a sample: more is better */
    const char *base;  /* the row of this group that a sample is worth comparing with, or NULL */
    const void *shape; /* the group's own, static */
    /* NULL: not on this host, and the row is left out. */
    void *(*up)(const struct bench_row *r);
    double (*sample)(void *work, bool once); /* once: as little as shows that it works */
    void (*exact)(const struct bench_row *r, void *work,
                  bool once); /* prints counts; may be NULL */
    void (*down)(void *work);
};
void bench_add(const struct bench_row *r);

/* Each adds its rows. */
void bench_queue(void);
void bench_block(void);
void bench_fs(void);
void bench_net(void);
void bench_vsock(void);

/* A file of that many bytes, "data" in a folder of its own; byte n is n / 1 MiB + 1. */
enum { BENCH_FILE = 64 << 20 };
const char *bench_folder(void);
const char *bench_file(void);

/* One line on stdout. */
void bench_print_exact(const struct bench_row *r, const char *unit, double value);

/* Nanoseconds of this thread on a CPU, and of the clock on the wall. */
uint64_t bench_cpu_ns(void);
uint64_t bench_wall_ns(void);

/* Calls of malloc() and its kin by the code that is linked here. */
uint64_t bench_allocations(void);

/* What `fn` does on this thread: instructions in user space, each repetition of a string
 * instruction by itself, and system calls. Takes microseconds for an instruction. */
struct bench_counts {
    uint64_t instructions, system_calls;
};
struct bench_counts bench_count(void (*fn)(void *work), void *work);

/* A setting up that fails ends the program: there is nothing to measure. */
#define BENCH_MUST(ok) bench_must((ok), #ok, __FILE__, __LINE__)
void bench_must(bool ok, const char *what, const char *file, int line);
