/* tests/unit/test_loop_share.c - a loop that has one CPU together with the vCPUs: when its thread
 * lets them finish first, and when it stops trying. The test's own thread is the loop's here. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "base/loop_priv.h"
#include "tests/unit/loop_try.h"

enum { TRIAL = 8, REST_MAX = 31 }; /* loop_share.c's */

static void begin(void)
{
    cr_assert_eq(loop_new("test", LOOP_EPOLL, &l), 0);
    loop_share_cpu(l);
}

static void expect_policy(int policy, const char *when)
{
    cr_expect_eq(sched_getscheduler(0), policy, "%s: policy %d", when, sched_getscheduler(0));
}

static void took(unsigned times, unsigned n)
{
    for (unsigned i = 0; i < times; i++)
        loop_took(l, n);
}

Test(share, not_where_there_are_more_cpus)
{
    cr_assert_eq(loop_new("test", LOOP_EPOLL, &l), 0);
    took(1000, 4);
    expect_policy(SCHED_OTHER, "nobody said that it shares one");
    down();
}

Test(share, goes_on_where_requests_come_together)
{
    begin();
    expect_policy(SCHED_OTHER, "before anything came");
    took(1, 1);
    expect_policy(SCHED_BATCH, "a trial");
    took(1000, 2);
    took(TRIAL / 2, 1), took(TRIAL / 2, 3); /* on an average they do */
    expect_policy(SCHED_BATCH, "requests by twos");
    cr_expect_eq(l->share.trials, 1);
    down();
}

Test(share, is_tried_the_more_seldom_the_more_often_it_was_in_vain)
{
    begin();
    for (unsigned rest = 0, n = 0; n < 7; n++, rest = MIN(2 * rest + 1, (unsigned)REST_MAX)) {
        took(rest * TRIAL, 1);
        expect_policy(SCHED_OTHER, "it rests");
        took(1, 1);
        expect_policy(SCHED_BATCH, "a trial");
        cr_expect_eq(l->share.trials, n + 1);
        took(TRIAL - 1, 1);
        expect_policy(SCHED_BATCH, "it is not over");
        took(1, 1);
        expect_policy(SCHED_OTHER, "one by one");
    }
    took(REST_MAX * TRIAL + 1, 4);
    took(TRIAL, 4);
    took(TRIAL, 1);
    expect_policy(SCHED_OTHER, "one by one again");
    took(TRIAL + 1, 1);
    expect_policy(SCHED_BATCH, "what was worth it is tried again soon");
    down();
}

Test(share, a_look_that_found_nothing_says_nothing)
{
    begin();
    took(1000, 0);
    expect_policy(SCHED_OTHER, "no request came");
    took(1, 1);
    took(TRIAL, 0);
    expect_policy(SCHED_BATCH, "nor in a trial");
    down();
}

/* A host, as a container may be one, that does not let us choose. */
Test(share, a_host_that_refuses_is_asked_once)
{
    struct sock_filter insns[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setscheduler, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    begin();
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
                       &(struct sock_fprog){.len = ARRAY_SIZE(insns), .filter = insns}),
                 0);
    took(1000, 4);
    expect_policy(SCHED_OTHER, "it was refused");
    cr_expect_not(l->share.on);
    cr_expect_eq(l->share.trials, 0);
    down();
}
