/* devices/fs/tree_names.c - names in folders: what is there, and making, moving and removing it. A
 * name reaches the host's kernel only as the one component that it is. */
#include <linux/fs.h>
#include <stdio.h>
#include <sys/syscall.h>

#include "devices/fs/tree_priv.h"

/* What a change of folder `n` is refused for, before anything is touched. */
static int may_change(const struct tree *t, const struct tree_node *n, const char *name)
{
    int rc = tree_check_name(name);
    if (rc < 0)
        return rc;
    if (t->ro)
        return -EROFS;
    if (n->fd < 0)
        return n->fd;
    return tree_may(t, n->fd, W_OK | X_OK);
}

/* With a slot taken, which is used or given back. */
static int look(struct tree *t, struct tree_node *n, const char *name, struct tree_entry *out)
{
    int fd = tree_openat(n->fd, name, O_PATH, 0);
    if (fd < 0) {
        tree_give_slot(t, &t->nodes);
        return fd;
    }
    return tree_intern(t, fd, n, name, out, NULL);
}

int tree_lookup(struct tree *t, struct tree_node *n, const char *name, struct tree_entry *out)
{
    int rc = tree_check_name(name);
    if (rc == 0 && n->fd < 0)
        rc = n->fd;
    if (rc == 0)
        rc = tree_may(t, n->fd, X_OK);
    if (rc == 0)
        rc = tree_take_slot(t, &t->nodes);
    return rc < 0 ? rc : look(t, n, name, out);
}

/* The four that make something differ in one call. */
struct making {
    mode_t mode;
    const char *target;
};

static int make(int folder, const char *name, const struct making *m)
{
    if (S_ISDIR(m->mode))
        return mkdirat(folder, name, m->mode & 07777);
    if (m->target)
        return symlinkat(m->target, folder, name);
    return mknodat(folder, name, m->mode, 0);
}

static int make_as(struct tree *t, const struct tree_user *u, struct tree_node *n, const char *name,
                   const struct making *m, struct tree_entry *out)
{
    int rc = may_change(t, n, name);
    if (rc == 0)
        rc = tree_take_slot(t, &t->nodes);
    if (rc < 0)
        return rc;
    struct tree_as as;
    rc = tree_as_user(t, u, &as);
    if (rc == 0) {
        rc = make(n->fd, name, m) < 0 ? tree_errno() : 0;
        tree_as_self(t, &as);
    }
    if (rc == 0)
        return look(t, n, name, out);
    tree_give_slot(t, &t->nodes);
    return rc;
}

int tree_mkdir(struct tree *t, const struct tree_user *u, struct tree_node *n, const char *name,
               uint32_t mode, struct tree_entry *out)
{
    struct making m = {.mode = S_IFDIR | (mode & 07777)};
    return make_as(t, u, n, name, &m, out);
}

/* A device of the guest's would be a device of the host's to whoever opens it there: none is made,
 * but for the "whiteout" of overlay file systems, which is the device of nothing. */
int tree_mknod(struct tree *t, const struct tree_user *u, struct tree_node *n, const char *name,
               uint32_t mode, uint64_t rdev, struct tree_entry *out)
{
    struct making m = {.mode = mode & (S_IFMT | 07777)};
    if (t->ro)
        return -EROFS;
    switch (m.mode & S_IFMT) {
    case 0:
        m.mode |= S_IFREG;
        break;
    case S_IFREG:
    case S_IFIFO:
    case S_IFSOCK:
        break;
    case S_IFCHR:
        if (rdev == 0)
            break;
        return -EPERM;
    case S_IFBLK:
        return -EPERM;
    default:
        return -EINVAL;
    }
    return make_as(t, u, n, name, &m, out);
}

int tree_symlink(struct tree *t, const struct tree_user *u, struct tree_node *n, const char *name,
                 const char *target, struct tree_entry *out)
{
    struct making m = {.mode = S_IFLNK, .target = target};
    return make_as(t, u, n, name, &m, out);
}

/* By its descriptor's name in /proc: AT_EMPTY_PATH would take a capability. */
int tree_link(struct tree *t, struct tree_node *what, struct tree_node *n, const char *name,
              struct tree_entry *out)
{
    int rc = may_change(t, n, name);
    if (rc == 0 && what->fd < 0)
        rc = what->fd;
    if (rc == 0 && S_ISDIR(what->type))
        rc = -EPERM;
    if (rc == 0)
        rc = tree_may(t, what->fd, TREE_OWNER); /* as protected_hardlinks has it */
    if (rc == 0)
        rc = tree_take_slot(t, &t->nodes);
    if (rc < 0)
        return rc;
    char number[16];
    snprintf(number, sizeof(number), "%d", what->fd);
    if (linkat(t->proc, number, n->fd, name, AT_SYMLINK_FOLLOW) == 0)
        return look(t, n, name, out);
    rc = tree_errno();
    tree_give_slot(t, &t->nodes);
    return rc;
}

/* Taking a name out of `n`, or giving it to another file, when folder and file may be others'; what
 * the host's kernel asks of a user, and not of us. With `moved`, it goes to another folder. */
static int may_take(const struct tree *t, const struct tree_node *n, const char *name, bool moved)
{
    struct statx folder, st;
    int rc = may_change(t, n, name);
    if (rc < 0 || !t->mapped)
        return rc;
    AUTO_FD fd = tree_openat(n->fd, name, O_PATH, 0);
    if (fd < 0)
        return fd;
    rc = tree_statx(t, n->fd, &folder);
    if (rc == 0)
        rc = tree_statx(t, fd, &st);
    if (rc == 0 && (folder.stx_mode & S_ISVTX) && tree_may(t, n->fd, TREE_OWNER) < 0)
        rc = tree_may(t, fd, TREE_OWNER);
    if (rc == 0 && moved && S_ISDIR(st.stx_mode)) /* what ".." is in it changes */
        rc = tree_may(t, fd, W_OK);
    return rc;
}

int tree_unlink(struct tree *t, struct tree_node *n, const char *name, bool folder)
{
    int rc = may_take(t, n, name, false);
    if (rc < 0)
        return rc;
    return unlinkat(n->fd, name, folder ? AT_REMOVEDIR : 0) < 0 ? tree_errno() : 0;
}

/* RENAME_WHITEOUT makes a file, and it is not said for whom; overlay file systems have another way.
 */
int tree_rename(struct tree *t, struct tree_node *from, const char *name, struct tree_node *to,
                const char *new_name, unsigned flags)
{
    bool moved = from != to, exchange = flags & RENAME_EXCHANGE;
    int rc = may_take(t, from, name, moved);
    if (rc < 0)
        return rc;
    rc = may_take(t, to, new_name, moved && exchange);
    if (rc == -ENOENT && !exchange) /* all the better */
        rc = may_change(t, to, new_name);
    if (rc == 0 && (flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)))
        rc = -EINVAL;
    if (rc < 0)
        return rc;
    if (syscall(SYS_renameat2, from->fd, name, to->fd, new_name, flags) < 0)
        return tree_errno();
    tree_seen_at(t, to, new_name);
    if (flags & RENAME_EXCHANGE)
        tree_seen_at(t, from, name);
    return 0;
}
