/* tests/unit/test_lib.c - a library that is loaded when it is wanted gives its functions; one that
 * is not there, or not the one that was meant, is named. */
#include <criterion/criterion.h>

#include "base/lib.h"

Test(lib, functions_are_found_each_time)
{
    double (*root)(double) = NULL;
    const struct lib_function f[] = {{"sqrt", &root}};
    struct err e;
    for (int i = 0; i < 2; i++) {
        root = NULL;
        cr_assert_eq(lib_load("libm.so.6", f, 1, &e), 0, "%s", e.msg);
        cr_assert_eq(root(81), 9);
    }
}

Test(lib, what_is_missing_is_named)
{
    void (*none)(void) = NULL;
    const struct lib_function f[] = {{"no_such_function", &none}};
    struct err e;
    cr_assert_lt(lib_load("libnone.so.0", f, 1, &e), 0);
    cr_assert_eq(e.kind, ERR_HOST);
    cr_assert(strstr(e.msg, "libnone.so.0"), "%s", e.msg);
    cr_assert_lt(lib_load("libm.so.6", f, 1, &e), 0);
    cr_assert_eq(e.kind, ERR_HOST);
    cr_assert(strstr(e.msg, "libm.so.6") && strstr(e.msg, "no_such_function"), "%s", e.msg);
    cr_assert_null(none);
}
