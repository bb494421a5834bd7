/* tests/fuzz/criterion/criterion.h - the few words of Criterion that the rig uses, for a program
 * that is no Criterion test: the rig's sources are built with this in front of the real one. */
#pragma once

#include "tests/fuzz/fuzz.h"

#define cr_assert                  EXPECT
#define cr_assert_not(c, ...)      EXPECT(!(c), __VA_ARGS__)
#define cr_assert_null(p, ...)     EXPECT(!(p), __VA_ARGS__)
#define cr_assert_eq(a, b, ...)    EXPECT((a) == (b), __VA_ARGS__)
#define cr_assert_neq(a, b, ...)   EXPECT((a) != (b), __VA_ARGS__)
#define cr_assert_lt(a, b, ...)    EXPECT((a) < (b), __VA_ARGS__)
#define cr_assert_gt(a, b, ...)    EXPECT((a) > (b), __VA_ARGS__)
#define cr_assert_leq(a, b, ...)   EXPECT((a) <= (b), __VA_ARGS__)
#define cr_assert_geq(a, b, ...)   EXPECT((a) >= (b), __VA_ARGS__)
#define cr_assert_not_null(p, ...) EXPECT(p, __VA_ARGS__)
#define cr_assert_fail(...)        fuzz_finding(__FILE__, __LINE__, "unreachable", " " __VA_ARGS__)

static const struct {
    const char *category, *name;
} *const criterion_current_test = NULL; /* nothing is proved here: see tests/rig/proves.h */
