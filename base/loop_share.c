/* base/loop_share.c - a loop whose only CPU is the vCPUs' as well.
 *
 * A notification wakes the loop, and a thread that wakes up takes the CPU from the vCPU that
 * notified: so requests come one by one, each with an exit, a switch and an interrupt of its own,
 * though the driver was about to make more. A thread of the policy SCHED_BATCH takes the CPU from
 * nobody: it runs when the vCPU waits, and finds all that was made available meanwhile.
 *
 * Where there was no more, the wait was in vain, and it is a dear one: the vCPU sleeps first, and
 * is woken later. So for some notifications it is tried, and the more often that brought nothing,
 * the later it is tried again. */
#include <sched.h>

#include "base/log.h"
#include "base/loop_priv.h"

enum {
    TRIAL = 8,     /* notifications */
    REST_MAX = 31, /* as many of which are left alone */
};

void loop_share_cpu(struct loop *l)
{
    l->share.on = true;
}

static void use_policy(struct loop *l, bool batch)
{
    int rc = sched_setscheduler(0, batch ? SCHED_BATCH : SCHED_OTHER, &(struct sched_param){0});
    if (rc < 0) {
        log_warn("%s: cannot change its scheduling policy: %m", l->name);
        l->share.on = false;
        return;
    }
    l->share.batch = batch;
    l->share.trials += batch;
}

static void judge(struct loop *l)
{
    bool worth = l->share.taken >= 2 * l->share.wakes;
    l->share.wakes = l->share.taken = 0;
    l->share.rest = worth ? 0 : MIN(2 * l->share.rest + 1, (unsigned)REST_MAX);
    l->share.resting = l->share.rest * TRIAL;
    if (!worth)
        use_policy(l, false);
}

void loop_took(struct loop *l, unsigned n)
{
    if (!l->share.on || n == 0)
        return;
    if (l->share.batch) {
        l->share.taken += n;
        if (++l->share.wakes == TRIAL)
            judge(l);
    } else if (l->share.resting) {
        l->share.resting--;
    } else {
        use_policy(l, true);
    }
}
