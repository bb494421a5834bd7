/* guest-tests/lib/guest.h - what a test guest stands on: a beginning, an end, words on the debug
 * console, checks that are counted, and what the host said on the kernel command line.
 *
 * A test defines guest_main(). Its last line on the console is "guest-test NAME PASS|FAIL ...",
 * which guest-tests/run.sh looks for. */
#pragma once

#include <stdarg.h>

#include "cpu.h"
#include "machine.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

void guest_main(void);

/* %s %c %d %u %x with field width, zero padding, and the lengths l, ll and z. */
void out(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void out_v(const char *fmt, va_list ap) __attribute__((format(printf, 1, 0)));

/* Ends the test: PASS, or FAIL if a check failed. */
_Noreturn void end(void);
/* Ends it here: nothing after this could be meaningful. */
_Noreturn void end_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One part cannot be tested here, and this is why. */
void skip(const char *what, const char *why);

void check_failed(const char *file, int line, const char *expr);
void check_counted(void);
#define CHECK(cond) ((cond) ? check_counted() : check_failed(__FILE_NAME__, __LINE__, #cond))
#define CHECK_EQ(got, want)                                                                        \
    check_eq(__FILE_NAME__, __LINE__, #got, (uint64_t)(got), (uint64_t)(want))
void check_eq(const char *file, int line, const char *expr, uint64_t got, uint64_t want);

/* The value of NAME=VALUE on the kernel command line, up to the next space or the end; `nth` of
 * several. NULL: there is none. */
const char *arg(const char *name, unsigned nth);
/* Is WORD the value of NAME=? */
bool arg_is(const char *name, const char *word);
/* A number, decimal or 0x..., with K, M or G behind it; *s moves on behind it. */
uint64_t number(const char **s);
/* The number at NAME=, or `otherwise`. */
uint64_t arg_number(const char *name, uint64_t otherwise);

/* Time, from the CMOS clock: nothing else has a known speed on every host. */
uint8_t cmos_read(uint8_t reg);
void cmos_write(uint8_t reg, uint8_t v);
/* Zeroed to begin with; counts the seconds that began since. */
struct stopwatch {
    uint32_t calls;
    uint8_t second;
    uint32_t seconds;
};
uint32_t stopwatch_seconds(struct stopwatch *s);

/* Polls until COND; false after about ten seconds. */
#define WAIT_FOR(cond)                                                                             \
    ({                                                                                             \
        struct stopwatch watch_ = {0};                                                             \
        bool met_;                                                                                 \
        while (!(met_ = (cond)) && stopwatch_seconds(&watch_) < 10)                                \
            cpu_pause();                                                                           \
        met_;                                                                                      \
    })

/* Pages of zeroes that nobody gives back. */
void *pages(size_t n);

void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
