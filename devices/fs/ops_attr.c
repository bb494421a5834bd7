/* devices/fs/ops_attr.c - FUSE requests about attributes, of files and of the file system. */
#include "devices/fs/fs_priv.h"

static int attr_of(struct fuse_call *c, const struct statx *st)
{
    struct fuse_attr_out out = {.attr_valid = fuse_valid_s(c->fs)};
    fuse_fill_attr(st, &out.attr);
    FUSE_OUT(c, out);
    return 0;
}

/* By its handle or not, it is the same file: the handle is not looked at. */
int fuse_getattr(struct fuse_call *c)
{
    struct tree_node *n = fuse_node(c);
    struct statx st;
    int rc = n ? tree_stat(c->tree, n, &st) : -ESTALE;
    tree_put(c->tree, n);
    return rc < 0 ? rc : attr_of(c, &st);
}

static struct timespec time_of(uint64_t s, uint32_t ns, bool now)
{
    return (struct timespec){.tv_sec = (time_t)s, .tv_nsec = now ? UTIME_NOW : (long)ns};
}

static int change_of(const struct fuse_setattr_in *in, struct tree_change *ch)
{
    static const struct {
        uint32_t valid;
        unsigned what;
    } map[] = {
        {FATTR_MODE, TREE_SET_MODE},
        {FATTR_UID, TREE_SET_UID},
        {FATTR_GID, TREE_SET_GID},
        {FATTR_SIZE, TREE_SET_SIZE},
        {FATTR_ATIME, TREE_SET_ATIME},
        {FATTR_MTIME, TREE_SET_MTIME},
        {FATTR_KILL_SUIDGID, TREE_SET_KILL_SUID},
    };
    if (in->atimensec >= 1000000000 || in->mtimensec >= 1000000000 || in->size > INT64_MAX)
        return -EINVAL;
    *ch = (struct tree_change){
        .mode = in->mode & 07777,
        .uid = in->uid,
        .gid = in->gid,
        .size = in->size,
        .atime = time_of(in->atime, in->atimensec, in->valid & FATTR_ATIME_NOW),
        .mtime = time_of(in->mtime, in->mtimensec, in->valid & FATTR_MTIME_NOW),
    };
    for (size_t i = 0; i < ARRAY_SIZE(map); i++)
        ch->what |= in->valid & map[i].valid ? map[i].what : 0;
    return 0;
}

int fuse_setattr(struct fuse_call *c)
{
    const struct fuse_setattr_in in = FUSE_ARG(c, struct fuse_setattr_in);
    struct tree_change ch;
    struct statx st;
    int rc = change_of(&in, &ch);
    if (rc < 0)
        return rc;
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    struct tree_file *f = in.valid & FATTR_FH ? tree_file_get(c->tree, in.fh) : NULL;
    if (in.valid & FATTR_FH && (!f || tree_file_node(f) != n))
        rc = -EBADF;
    else
        rc = tree_change(c->tree, &c->user, n, f, &ch, &st);
    tree_file_put(c->tree, f);
    tree_put(c->tree, n);
    return rc < 0 ? rc : attr_of(c, &st);
}

int fuse_statfs(struct fuse_call *c)
{
    struct tree_node *n = fuse_node(c);
    struct statvfs st;
    int rc = n ? tree_statfs(c->tree, n, &st) : -ESTALE;
    tree_put(c->tree, n);
    if (rc < 0)
        return rc;
    const struct fuse_statfs_out out = {.st = {.blocks = st.f_blocks,
                                               .bfree = st.f_bfree,
                                               .bavail = st.f_bavail,
                                               .files = st.f_files,
                                               .ffree = st.f_ffree,
                                               .bsize = (uint32_t)st.f_bsize,
                                               .namelen = (uint32_t)st.f_namemax,
                                               .frsize = (uint32_t)st.f_frsize}};
    FUSE_OUT(c, out);
    return 0;
}

int fuse_access(struct fuse_call *c)
{
    const struct fuse_access_in in = FUSE_ARG(c, struct fuse_access_in);
    if (in.mask & ~(uint32_t)(R_OK | W_OK | X_OK))
        return -EINVAL;
    struct tree_node *n = fuse_node(c);
    int rc = n ? tree_access(c->tree, &c->user, n, (int)in.mask) : -ESTALE;
    tree_put(c->tree, n);
    return rc;
}

int fuse_syncfs(struct fuse_call *c)
{
    struct tree_node *n = fuse_node(c);
    int rc = n ? tree_syncfs(c->tree, n) : -ESTALE;
    tree_put(c->tree, n);
    return rc;
}

/* --- extended attributes --- */

/* Without FUSE_SETXATTR_EXT, which is about ACLs only. */
int fuse_setxattr(struct fuse_call *c)
{
    const size_t head = FUSE_COMPAT_SETXATTR_IN_SIZE;
    struct fuse_setxattr_in in;
    memcpy(&in, c->arg, head);
    const char *name = (const char *)c->arg + head;
    size_t name_len = strnlen(name, c->arg_len - head);
    if (name_len == c->arg_len - head || name_len == 0 ||
        in.size != c->arg_len - head - name_len - 1)
        return -EINVAL;
    if (name_len > TREE_NAME_MAX)
        return -ERANGE;
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    int rc = tree_setxattr(c->tree, n, name, name + name_len + 1, in.size, (int)in.flags);
    tree_put(c->tree, n);
    return rc;
}

/* Either the bytes, or with size 0 how many there are. */
static int xattr_answer(struct fuse_call *c, uint32_t size, int rc)
{
    if (rc < 0)
        return rc;
    if (size) {
        c->out_len = (size_t)rc;
        return 0;
    }
    const struct fuse_getxattr_out out = {.size = (uint32_t)rc};
    FUSE_OUT(c, out);
    return 0;
}

static int xattr_room(const struct fuse_call *c, uint32_t size, size_t *len)
{
    if (c->out_max < (size ? 1 : sizeof(struct fuse_getxattr_out)))
        return -EINVAL;
    *len = size ? MIN((size_t)size, c->out_max) : 0;
    return 0;
}

int fuse_getxattr(struct fuse_call *c)
{
    const struct fuse_getxattr_in in = FUSE_ARG(c, struct fuse_getxattr_in);
    const char *name;
    size_t len = 0;
    int rc = fuse_strings(c, sizeof(in), &name, 1);
    if (rc == 0)
        rc = !*name ? -EINVAL : strlen(name) > TREE_NAME_MAX ? -ERANGE : 0;
    if (rc == 0)
        rc = xattr_room(c, in.size, &len);
    if (rc < 0)
        return rc;
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    rc = tree_getxattr(c->tree, n, name, c->out, len);
    tree_put(c->tree, n);
    return xattr_answer(c, in.size, rc);
}

int fuse_listxattr(struct fuse_call *c)
{
    const struct fuse_getxattr_in in = FUSE_ARG(c, struct fuse_getxattr_in);
    size_t len = 0;
    int rc = xattr_room(c, in.size, &len);
    if (rc < 0)
        return rc;
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    rc = tree_listxattr(c->tree, n, (char *)c->out, len);
    tree_put(c->tree, n);
    return xattr_answer(c, in.size, rc);
}

int fuse_removexattr(struct fuse_call *c)
{
    const char *name;
    int rc = fuse_strings(c, 0, &name, 1);
    if (rc < 0)
        return rc;
    if (!*name)
        return -EINVAL;
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    rc = tree_removexattr(c->tree, n, name);
    tree_put(c->tree, n);
    return rc;
}
