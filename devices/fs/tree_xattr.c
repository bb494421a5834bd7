/* devices/fs/tree_xattr.c - extended attributes, of which the guest has the "user." ones. The
 * others mean something to the host: "security.capability" gives rights to a program there,
 * "trusted." is its administrator's, and ACLs hold ids. They are neither seen nor changed; a write
 * drops "security.capability" as it must, since the host's kernel does it (CVE-2021-20263). */
#include <sys/xattr.h>

#include "devices/fs/tree_priv.h"

enum { NAMES_MAX = 65536, VALUE_MAX = 65536, NAME_MAX_LEN = 255 };

static const char prefix[] = "user.";

static bool ours(const char *name)
{
    return strncmp(name, prefix, sizeof(prefix) - 1) == 0;
}

static int check(const struct tree_node *n, const char *name)
{
    if (n->fd < 0)
        return n->fd;
    if (strnlen(name, NAME_MAX_LEN + 1) > NAME_MAX_LEN)
        return -ERANGE;
    if (!ours(name))
        return -EOPNOTSUPP;
    return name[sizeof(prefix) - 1] ? 0 : -EINVAL;
}

/* Linux has "user." attributes on these only. */
static bool has_any(const struct tree_node *n)
{
    return S_ISREG(n->type) || S_ISDIR(n->type);
}

static int done(ssize_t rc)
{
    return rc < 0 ? tree_errno() : (int)rc;
}

int tree_getxattr(struct tree *t, struct tree_node *n, const char *name, void *buf, size_t len)
{
    int rc = check(n, name);
    if (rc == 0 && !has_any(n))
        rc = -ENODATA;
    if (rc == 0)
        rc = tree_may(t, n->fd, R_OK);
    if (rc < 0)
        return rc;
    AUTO_FD fd = tree_reopen(t, n->fd, O_RDONLY);
    return fd < 0 ? fd : done(fgetxattr(fd, name, buf, len));
}

/* Those of the guest's among `names`, if they fit; or how long they are. */
static int pick(const char *names, size_t n, char *buf, size_t len)
{
    size_t sum = 0;
    for (size_t at = 0; at < n;) {
        size_t one = strnlen(names + at, n - at) + 1;
        if (ours(names + at)) {
            if (len && one > len - sum)
                return -ERANGE;
            if (len)
                memcpy(buf + sum, names + at, one);
            sum += one;
        }
        at += one;
    }
    return (int)sum;
}

int tree_listxattr(struct tree *t, struct tree_node *n, char *buf, size_t len)
{
    if (n->fd < 0)
        return n->fd;
    if (!has_any(n))
        return 0;
    int rc = tree_may(t, n->fd, R_OK);
    if (rc < 0)
        return rc;
    AUTO_FREE char *names = malloc(NAMES_MAX + 1);
    if (!names)
        return -ENOMEM;
    AUTO_FD fd = tree_reopen(t, n->fd, O_RDONLY);
    if (fd < 0)
        return fd;
    ssize_t all = flistxattr(fd, names, NAMES_MAX);
    if (all < 0)
        return tree_errno();
    names[all] = 0;
    return pick(names, (size_t)all, buf, len);
}

static int may_set(const struct tree *t, const struct tree_node *n, const char *name)
{
    int rc = t->ro ? -EROFS : check(n, name);
    if (rc == 0 && !has_any(n))
        rc = -EPERM;
    return rc < 0 ? rc : tree_may(t, n->fd, W_OK);
}

int tree_setxattr(struct tree *t, struct tree_node *n, const char *name, const void *value,
                  size_t len, int flags)
{
    int rc = may_set(t, n, name);
    if (rc == 0 && len > VALUE_MAX)
        rc = -E2BIG;
    if (rc == 0 && (flags & ~(XATTR_CREATE | XATTR_REPLACE)))
        rc = -EINVAL;
    if (rc < 0)
        return rc;
    AUTO_FD fd = tree_reopen(t, n->fd, O_RDONLY);
    if (fd < 0)
        return fd;
    return done(fsetxattr(fd, name, value, len, flags));
}

int tree_removexattr(struct tree *t, struct tree_node *n, const char *name)
{
    int rc = may_set(t, n, name);
    if (rc < 0)
        return rc;
    AUTO_FD fd = tree_reopen(t, n->fd, O_RDONLY);
    return fd < 0 ? fd : done(fremovexattr(fd, name));
}
