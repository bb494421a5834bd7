/* tests/fuzz/fuzz.h - what all fuzz targets share. A target is a function of bytes: it does with
 * the product what they say, and whatever they say must end well.
 *
 * There is one program for all targets. With clang and the preset `fuzz` libFuzzer drives it
 * (fuzz.c has its two entry points); in every other build replay.c has main(), and it runs the
 * inputs that it is given. docs/fuzzing.md is the guide. */
#pragma once

#include "base/base.h"

/* An input that is read from its front. Past its end it is zeroes for ever. */
struct script {
    const uint8_t *p;
    size_t len;
};
uint64_t take(struct script *s, unsigned bytes); /* at most 8, little-endian */
static inline uint8_t take8(struct script *s)
{
    return (uint8_t)take(s, 1);
}
void take_bytes(struct script *s, void *to, size_t len);
/* A piece of text up to the next `end`, which is taken too, or all that is left; malloc'ed. */
char *take_text(struct script *s, char end);

struct fuzz_target {
    const char *name;
    void (*run)(struct script *s, const char *which);
    const char *which; /* what of its kind: a device class, a transport */
};
/* By name, or NULL; one for each line of fuzz_list(). */
const struct fuzz_target *fuzz_find(const char *name);
void fuzz_list(void); /* on standard output */
/* From the first to the last byte, in a world that is new each time. What the target did not give
 * back (memory is the sanitizer's business) is a finding. */
void fuzz_one(const struct fuzz_target *t, const uint8_t *data, size_t len);

void fuzz_api(struct script *s, const char *which);
void fuzz_boot(struct script *s, const char *which);
void fuzz_device(struct script *s, const char *class);
void fuzz_options(struct script *s, const char *which);
void fuzz_platform(struct script *s, const char *which);
void fuzz_registers(struct script *s, const char *transport);
void fuzz_rings(struct script *s, const char *which);
void fuzz_state(struct script *s, const char *which);

/* A finding: says where and why, and aborts. */
_Noreturn void fuzz_finding(const char *file, int line, const char *what, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
#define EXPECT(cond, ...)                                                                          \
    ((cond) ? (void)0 : fuzz_finding(__FILE__, __LINE__, #cond, " " __VA_ARGS__))
