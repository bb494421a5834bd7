/* base/loop_poll.c - looking before sleeping: for a while the loop asks memory, instead of the
 * kernel, whether something came, so that nobody has to wake it.
 *
 * How long it looks follows from how long it was idle before, as KVM does it for vCPUs: idle times
 * that a longer look would have covered let the window grow, a longer one closes it, so that an
 * idle guest costs nothing. Where a look keeps away from its CPU the very thing that it waits for,
 * the window would open again at once: so the more often looks were in vain, the later they are
 * tried again. */
#include "base/loop_priv.h"

enum {
    STEPS = 16,     /* the least window but none is a sixteenth of the most */
    REST_MAX = 255, /* short idle times without a look */
};

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
    uint64_t most = l->poll.most_ns, w = l->poll.window_ns;
    if (idle_ns > most) {
        if (w)
            l->poll.rest = MIN(2 * l->poll.rest + 1, (unsigned)REST_MAX);
        l->poll.resting = l->poll.rest;
        l->poll.window_ns = 0;
    } else if (l->poll.resting) {
        l->poll.resting--;
    } else {
        l->poll.window_ns = w ? MIN(2 * w, most) : MAX(most / STEPS, (uint64_t)1);
    }
}

/* True: something came, or was found. */
static bool look(struct loop *l, uint64_t from, bool (*came)(struct loop *l, int timeout_ms))
{
    uint64_t at = from;
    bool found = false;
    while (!found && at - from < l->poll.window_ns) {
        __builtin_ia32_pause();
        found = came(l, 0) || loop_poll_ready(l) > 0;
        at = loop_now_ns();
    }
    l->poll.polls += at != from;
    l->poll.found += found;
    if (found)
        l->poll.rest = 0;
    l->poll.ns += at - from;
    return found;
}

void loop_poll_idle(struct loop *l, int timeout_ms, bool (*wait)(struct loop *l, int timeout_ms))
{
    uint64_t from = loop_now_ns();
    if (look(l, from, wait) || arm_all(l))
        return;
    l->sleeps++;
    (void)wait(l, timeout_ms);
    adapt(l, loop_now_ns() - from);
}
