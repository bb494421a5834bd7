/* devices/fs/tree_limits.c - how many descriptors the guest may make us hold. The room for them is
 * the process's, and each tree has as much of it as any other, which is its own whether the others
 * use theirs or not. */
#include <stdatomic.h>

#include "devices/fs/tree_priv.h"

static atomic_uint_least64_t trees;

int tree_errno(void)
{
    return errno == EMFILE ? -ENFILE : -errno;
}

void tree_share(bool more)
{
    more ? trees++ : trees--;
}

static uint64_t share(void)
{
    return fd_room() / trees;
}

/* A guest that remembers all it may must still be able to open some of it. */
uint64_t tree_most(const struct tree *t, const uint64_t *count)
{
    uint64_t all = share();
    return count == &t->nodes ? MIN(t->max_nodes, all - all / 4) : MIN(t->max_files, all / 2);
}

/* The room too is looked at: a tree that was made later takes what others had before. */
int tree_take_slot(struct tree *t, uint64_t *count)
{
    if (!fd_take())
        return -ENFILE;
    pthread_mutex_lock(&t->lock);
    bool ok = *count < tree_most(t, count) && t->nodes + t->files < share();
    if (ok)
        ++*count;
    pthread_mutex_unlock(&t->lock);
    if (ok)
        return 0;
    fd_give();
    return -ENFILE;
}

void tree_give_slot(struct tree *t, uint64_t *count)
{
    pthread_mutex_lock(&t->lock);
    --*count;
    pthread_mutex_unlock(&t->lock);
    fd_give();
}
