/* devices/fs/tree_attr.c - attributes of files: all through the descriptor that the guest's node
 * is, never by a name, so that nothing can be put in its place. */
#include <stdio.h>

#include "devices/fs/tree_priv.h"

int tree_stat(struct tree *t, struct tree_node *n, struct statx *out)
{
    return n->fd < 0 ? n->fd : tree_statx(t, n->fd, out);
}

/* Never for a link's: some file systems would change it, and some kernels what it points to. */
static int set_mode(const struct tree *t, int fd, mode_t mode)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", fd);
    return fchmodat(t->proc, number, mode & 07777, 0) < 0 ? tree_errno() : 0;
}

int tree_clear_suid(const struct tree *t, int fd)
{
    struct statx st;
    int rc = tree_statx(t, fd, &st);
    if (rc < 0)
        return rc;
    mode_t drop = st.stx_mode & S_ISUID;
    if ((st.stx_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP)) /* without X: no privilege */
        drop |= S_ISGID;
    if (!S_ISREG(st.stx_mode) || !drop)
        return 0;
    rc = set_mode(t, fd, st.stx_mode & ~drop);
    /* Of a file that is not ours the host's kernel does it, when the data changes. */
    return rc == -EPERM && !t->keeps_suid ? 0 : rc;
}

/* Whoever may not change the data may not change the mode by the way, as in a folder that is only
 * read. */
int tree_kill_suid(struct tree *t, struct tree_file *f)
{
    if (f->fd < 0)
        return f->fd;
    return (f->flags & O_ACCMODE) == O_RDONLY ? -EBADF : tree_clear_suid(t, f->node->fd);
}

int tree_truncate(const struct tree *t, const struct tree_node *n, uint64_t size)
{
    if (size > INT64_MAX)
        return -EFBIG;
    if (!S_ISREG(n->type))
        return S_ISDIR(n->type) ? -EISDIR : -EINVAL;
    AUTO_FD fd = tree_reopen(t, n->fd, O_WRONLY);
    if (fd < 0)
        return fd;
    return ftruncate(fd, (off_t)size) < 0 ? tree_errno() : 0;
}

static int set_size(const struct tree *t, const struct tree_node *n, const struct tree_file *f,
                    uint64_t size)
{
    if (!f || f->fd < 0 || (f->flags & O_ACCMODE) == O_RDONLY || size > INT64_MAX)
        return tree_truncate(t, n, size);
    return ftruncate(f->fd, (off_t)size) < 0 ? tree_errno() : 0;
}

struct owner {
    uid_t uid;
    gid_t gid;
};

static int owner_of(const struct tree *t, const struct tree_change *c, struct owner *o)
{
    *o = (struct owner){(uid_t)-1, (gid_t)-1};
    if (((c->what & TREE_SET_UID) && !tree_to_host(&t->uids, c->uid, &o->uid)) ||
        ((c->what & TREE_SET_GID) && !tree_to_host(&t->gids, c->gid, &o->gid)))
        return t->privileged ? -EINVAL : -EPERM;
    return 0;
}

static int set_times(int fd, const struct tree_change *c)
{
    struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
    if (c->what & TREE_SET_ATIME)
        ts[0] = c->atime;
    if (c->what & TREE_SET_MTIME)
        ts[1] = c->mtime;
    return utimensat(fd, "", ts, AT_EMPTY_PATH) < 0 ? tree_errno() : 0;
}

/* What only an owner may do, and what somebody who may write. */
enum {
    OWNERS = TREE_SET_MODE | TREE_SET_UID | TREE_SET_GID,
    TIMES = TREE_SET_ATIME | TREE_SET_MTIME,
};

static int may_change(const struct tree *t, const struct tree_node *n, const struct tree_change *c)
{
    int want = 0;
    if (t->ro)
        return -EROFS;
    if (n->fd < 0)
        return n->fd;
    if ((c->what & TREE_SET_MODE) && S_ISLNK(n->type))
        return -EOPNOTSUPP;
    bool now = (!(c->what & TREE_SET_ATIME) || c->atime.tv_nsec == UTIME_NOW) &&
               (!(c->what & TREE_SET_MTIME) || c->mtime.tv_nsec == UTIME_NOW);
    if ((c->what & OWNERS) || ((c->what & TIMES) && !now))
        want = TREE_OWNER;
    else if (c->what & (TREE_SET_SIZE | TIMES | TREE_SET_KILL_SUID))
        want = W_OK;
    return want ? tree_may(t, n->fd, want) : 0;
}

/* The mode after the owner, for a change of owner clears bits of it; the times after the size,
 * which sets them. */
static int change(struct tree *t, struct tree_node *n, struct tree_file *f,
                  const struct tree_change *c, const struct owner *o)
{
    int rc = 0;
    if ((c->what & (TREE_SET_UID | TREE_SET_GID)) &&
        fchownat(n->fd, "", o->uid, o->gid, AT_EMPTY_PATH) < 0)
        rc = tree_errno();
    if (rc == 0 && (c->what & TREE_SET_MODE))
        rc = set_mode(t, n->fd, c->mode);
    if (rc == 0 && ((c->what & TREE_SET_KILL_SUID) ||
                    ((c->what & TREE_SET_SIZE) && !tree_is_guests(t, n->fd))))
        rc = tree_clear_suid(t, n->fd);
    if (rc == 0 && (c->what & TREE_SET_SIZE))
        rc = set_size(t, n, f, c->size);
    if (rc == 0 && (c->what & TIMES))
        rc = set_times(n->fd, c);
    return rc;
}

int tree_change(struct tree *t, const struct tree_user *u, struct tree_node *n, struct tree_file *f,
                const struct tree_change *c, struct statx *out)
{
    (void)u; /* the guest's kernel has looked at whose the file is */
    struct owner o;
    int rc = may_change(t, n, c);
    if (rc == 0)
        rc = owner_of(t, c, &o);
    if (rc == 0)
        rc = change(t, n, f, c, &o);
    return rc < 0 ? rc : tree_stat(t, n, out);
}

int tree_readlink(struct tree *t, struct tree_node *n, char *buf, size_t len)
{
    (void)t;
    if (n->fd < 0)
        return n->fd;
    if (!S_ISLNK(n->type))
        return -EINVAL;
    ssize_t got = readlinkat(n->fd, "", buf, MIN(len, (size_t)INT32_MAX));
    return got < 0 ? tree_errno() : (int)got;
}

int tree_statfs(struct tree *t, struct tree_node *n, struct statvfs *out)
{
    struct statvfs fs;
    if (n->fd < 0)
        return n->fd;
    if (fstatvfs(n->fd, &fs) < 0)
        return tree_errno();
    if (t->ro)
        fs.f_flag |= ST_RDONLY;
    *out = fs;
    return 0;
}

/* By the mode as the guest sees it, and by what this process may do. */
int tree_access(struct tree *t, const struct tree_user *u, struct tree_node *n, int mode)
{
    struct statx st;
    int rc = tree_stat(t, n, &st);
    if (rc < 0)
        return rc;
    if (mode & ~(R_OK | W_OK | X_OK))
        return -EINVAL;
    if ((mode & W_OK) && t->ro && (S_ISREG(n->type) || S_ISDIR(n->type)))
        return -EROFS;
    unsigned may = st.stx_mode & 7;
    if (u->uid == 0)
        may = R_OK | W_OK | (S_ISDIR(n->type) || (st.stx_mode & 0111) ? X_OK : 0);
    else if (u->uid == st.stx_uid)
        may = st.stx_mode >> 6 & 7;
    else if (u->gid == st.stx_gid)
        may = st.stx_mode >> 3 & 7;
    if (mode & ~(int)may)
        return -EACCES;
    rc = tree_may(t, n->fd, mode);
    if (rc == 0 && faccessat(n->fd, "", mode, AT_EACCESS | AT_EMPTY_PATH) < 0)
        rc = tree_errno();
    return rc;
}

int tree_syncfs(struct tree *t, struct tree_node *n)
{
    if (n->fd < 0)
        return n->fd;
    if (!S_ISDIR(n->type) && !S_ISREG(n->type))
        return -EINVAL;
    AUTO_FD fd = tree_reopen(t, n->fd, O_RDONLY);
    if (fd < 0)
        return fd;
    return syncfs(fd) < 0 ? tree_errno() : 0;
}
