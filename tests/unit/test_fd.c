/* tests/unit/test_fd.c - descriptors: how many devices may make us hold, and that what one of them
 * keeps for itself is nobody else's. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/base.h"

static void limit(rlim_t soft, rlim_t hard)
{
    const struct rlimit l = {.rlim_cur = soft, .rlim_max = hard};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
}

static unsigned take_all(void)
{
    unsigned n = 0;
    while (fd_take())
        n++;
    return n;
}

Test(fd, who_made_a_name_removes_only_its_own)
{
    char path[] = "/tmp/vmm-test-fd.XXXXXX", other[] = "/tmp/vmm-test-fd.XXXXXX";
    struct own_path none = {0}, own = {0};
    close(mkstemp(path));
    close(mkstemp(other));
    own_path_remove(&none, path);
    cr_assert_eq(own_path_made(&own, path), 0);
    cr_assert_eq(rename(other, path), 0); /* both are there, so they are two */
    own_path_remove(&own, path);
    cr_assert_eq(access(path, F_OK), 0);
    cr_assert_eq(own_path_made(&own, path), 0);
    own_path_remove(&own, path);
    cr_assert_eq(access(path, F_OK), -1);
    own_path_remove(&own, path);
    cr_assert_eq(own_path_made(&own, path), -ENOENT);
}

Test(fd, the_limit_is_raised_once_and_a_part_is_kept)
{
    struct rlimit l;
    limit(100, 200);
    cr_assert_eq(fd_room(), 150);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
    cr_assert_eq(l.rlim_cur, 200);
    limit(100, 100);
    cr_assert_eq(fd_room(), 150);
}

Test(fd, of_many_a_thousand_are_kept)
{
    struct rlimit l;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
    if (l.rlim_max < 8192)
        cr_skip_test("the hard limit is too low");
    limit(64, 8192);
    cr_assert_eq(fd_room(), 8192 - 1024);
}

Test(fd, all_that_are_taken_fit_the_room)
{
    limit(200, 200);
    cr_assert_eq(fd_share(20), 20);
    cr_assert_eq(fd_share(1000), (150 - 20) / 4);
    cr_assert_eq(fd_room(), 150 - 20 - 32);
    cr_assert_eq(take_all(), 150 - 20 - 32);
    cr_assert_not(fd_take(), "a refusal takes nothing");
    fd_give();
    cr_assert_eq(take_all(), 1);
    fd_unshare(20);
    cr_assert_eq(take_all(), 20);
}
