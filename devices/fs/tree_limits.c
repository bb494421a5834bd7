/* devices/fs/tree_limits.c - how many descriptors the guest may make us hold. The limit is the
 * process's, so all trees share one room, and the rest of the VMM keeps its own part. */
#include <stdatomic.h>
#include <sys/resource.h>

#include "devices/fs/tree_priv.h"

enum { RESERVE = 1024 };

static atomic_uint_least64_t taken, room;

int tree_errno(void)
{
    return errno == EMFILE ? -ENFILE : -errno;
}

int tree_limits(uint64_t *out, struct err *e)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) < 0)
        return err_host(e, -errno, "the limit on open files cannot be read");
    if (l.rlim_cur < l.rlim_max) {
        l.rlim_cur = l.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &l) < 0)
            return err_host(e, -errno, "the limit on open files cannot be raised to its maximum");
    }
    /* A quarter, where there are few. */
    uint64_t all = l.rlim_cur, keep = MIN(all / 4, (uint64_t)RESERVE);
    room = all - keep;
    *out = all - keep;
    return 0;
}

int tree_take_slot(struct tree *t, uint64_t *count, uint64_t max)
{
    if (atomic_fetch_add(&taken, 1) >= room) {
        taken--;
        return -ENFILE;
    }
    pthread_mutex_lock(&t->lock);
    bool ok = *count < max;
    if (ok)
        ++*count;
    pthread_mutex_unlock(&t->lock);
    if (ok)
        return 0;
    taken--;
    return -ENFILE;
}

void tree_give_slot(struct tree *t, uint64_t *count)
{
    pthread_mutex_lock(&t->lock);
    --*count;
    pthread_mutex_unlock(&t->lock);
    taken--;
}
