/* base/loop_poll.c - looking before sleeping: for a while the loop asks memory, instead of the
 * kernel, whether something came, so that nobody has to wake it.
 *
 * How long it looks follows from how long it was idle before, as KVM does it for vCPUs: idle times
 * that a longer look would have covered let the window grow, longer ones let it shrink to nothing,
 * so that an idle guest costs nothing. */
#include <time.h>

#include "base/loop_priv.h"

enum { STEPS = 16 }; /* the least window but none is a sixteenth of the most */

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void loop_poll_set(struct loop *l, uint64_t ns)
{
    l->poll.most_ns = l->poll.window_ns = ns;
}

bool loop_poll_join(struct loop *l, struct loop_poll *p)
{
    if (p->listed)
        return true;
    if (l->poll.window_ns == 0)
        return false;
    p->listed = true;
    p->next = l->poll.list;
    l->poll.list = p;
    return true;
}

void loop_poll_leave(struct loop *l, struct loop_poll *p)
{
    if (!p->listed)
        return;
    struct loop_poll **at = &l->poll.list;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    p->listed = false;
}

unsigned loop_poll_ready(struct loop *l)
{
    unsigned n = 0;
    for (struct loop_poll **at = &l->poll.list, *p; (p = *at) != NULL;) {
        if (!p->ready(p->ctx)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        p->listed = false;
        loop_post(l, p->task);
        n++;
    }
    return n;
}

/* Whoever is looked at asks to be woken from now on; true: for somebody it was too late. */
static bool arm_all(struct loop *l)
{
    bool late = false;
    for (struct loop_poll *p; (p = l->poll.list) != NULL;) {
        l->poll.list = p->next;
        p->listed = false;
        if (p->arm(p->ctx)) {
            loop_post(l, p->task);
            late = true;
        }
    }
    return late;
}

static void adapt(struct loop *l, uint64_t idle_ns)
{
    uint64_t least = MAX(l->poll.most_ns / STEPS, (uint64_t)1), w = l->poll.window_ns;
    if (idle_ns <= l->poll.most_ns)
        w = w ? MIN(2 * w, l->poll.most_ns) : least;
    else
        w = w / 2 < least ? 0 : w / 2;
    l->poll.window_ns = w;
}

/* True: something came, or was found. */
static bool look(struct loop *l, uint64_t from, bool (*came)(struct loop *l, int timeout_ms))
{
    uint64_t at = from;
    bool found = false;
    while (!found && at - from < l->poll.window_ns) {
        __builtin_ia32_pause();
        found = came(l, 0) || loop_poll_ready(l) > 0;
        at = now_ns();
    }
    l->poll.polls += at != from;
    l->poll.found += found;
    l->poll.ns += at - from;
    return found;
}

void loop_poll_idle(struct loop *l, int timeout_ms, bool (*wait)(struct loop *l, int timeout_ms))
{
    uint64_t from = now_ns();
    if (look(l, from, wait) || arm_all(l))
        return;
    l->sleeps++;
    (void)wait(l, timeout_ms);
    adapt(l, now_ns() - from);
}
