/* devices/fs/ops_lock.c - FUSE requests about locks of files. None of them waits here: see waits.c
 * for those that are to. */
#include "devices/fs/fs_priv.h"

/* Both ends are part of a range; the last byte that there can be means all that follow. */
static int range_of(const struct fuse_file_lock *lk, struct flock *l)
{
    if (lk->type != F_RDLCK && lk->type != F_WRLCK && lk->type != F_UNLCK)
        return -EINVAL;
    if (lk->start > lk->end || lk->end > INT64_MAX)
        return -EINVAL;
    *l = (struct flock){.l_type = (short)lk->type,
                        .l_whence = SEEK_SET,
                        .l_start = (off_t)lk->start,
                        .l_len = lk->end == INT64_MAX ? 0 : (off_t)(lk->end - lk->start + 1),
                        .l_pid = (pid_t)lk->pid};
    return 0;
}

int fuse_getlk(struct fuse_call *c)
{
    const struct fuse_lk_in in = FUSE_ARG(c, struct fuse_lk_in);
    struct flock l;
    int rc = range_of(&in.lk, &l);
    if (rc < 0)
        return rc;
    struct tree_file *f = tree_file_get(c->tree, in.fh);
    if (!f)
        return -EBADF;
    rc = tree_lock_test(c->tree, f, in.owner, &l);
    tree_file_put(c->tree, f);
    if (rc < 0)
        return rc;
    const struct fuse_lk_out out = {
        .lk = {.start = (uint64_t)l.l_start,
               .end = l.l_len ? (uint64_t)(l.l_start + l.l_len - 1) : INT64_MAX,
               .type = (uint32_t)l.l_type,
               .pid = (uint32_t)l.l_pid}};
    FUSE_OUT(c, out);
    return 0;
}

static int set(struct fuse_call *c)
{
    const struct fuse_lk_in in = FUSE_ARG(c, struct fuse_lk_in);
    struct flock l;
    int rc = range_of(&in.lk, &l);
    if (rc < 0)
        return rc;
    struct tree_file *f = tree_file_get(c->tree, in.fh);
    if (!f)
        return -EBADF;
    rc = tree_lock(c->tree, f, in.owner, &l, in.lk_flags & FUSE_LK_FLOCK);
    tree_file_put(c->tree, f);
    return rc;
}

int fuse_setlk(struct fuse_call *c)
{
    return set(c);
}

int fuse_setlkw(struct fuse_call *c)
{
    int rc = set(c);
    if (rc == -EAGAIN)
        c->r->outcome = FS_PARK;
    return rc;
}
