/* devices/fs/tree_limits.c - how many descriptors the guest may make us hold. The room
 * for them is the process's, which all trees share with other devices. */
#include "devices/fs/tree_priv.h"

int tree_errno(void)
{
    return errno == EMFILE ? -ENFILE : -errno;
}

int tree_take_slot(struct tree *t, uint64_t *count, uint64_t max)
{
    if (!fd_take())
        return -ENFILE;
    pthread_mutex_lock(&t->lock);
    bool ok = *count < max;
    if (ok)
        ++*count;
    pthread_mutex_unlock(&t->lock);
    if (ok)
        return 0;
    fd_give(1);
    return -ENFILE;
}

void tree_give_slot(struct tree *t, uint64_t *count)
{
    pthread_mutex_lock(&t->lock);
    --*count;
    pthread_mutex_unlock(&t->lock);
    fd_give(1);
}
