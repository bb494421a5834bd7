/* devices/fs/ops_name.c - FUSE requests about names in folders. */
#include <stdio.h>

#include "devices/fs/fs_priv.h"

/* The folder that a request is about, and the one name in its argument from `at` on. */
static int folder_and_name(struct fuse_call *c, size_t at, const char **name,
                           struct tree_node **folder)
{
    int rc = fuse_strings(c, at, name, 1);
    if (rc == 0 && (*folder = fuse_node(c)) == NULL)
        rc = -ESTALE;
    return rc;
}

/* The end of a request that makes a node known: the folder goes back, the entry is the answer. */
static int entry_of(struct fuse_call *c, struct tree_node *folder, int rc,
                    const struct tree_entry *e)
{
    struct fuse_entry_out out;
    tree_put(c->tree, folder);
    if (rc < 0)
        return rc;
    fuse_fill_entry(c->fs, e, &out);
    FUSE_OUT(c, out);
    return 0;
}

int fuse_lookup(struct fuse_call *c)
{
    const char *name = NULL;
    struct tree_node *folder = NULL;
    struct tree_entry e;
    int rc = folder_and_name(c, 0, &name, &folder);
    return rc < 0 ? rc : entry_of(c, folder, tree_lookup(c->tree, folder, name, &e), &e);
}

int fuse_mkdir(struct fuse_call *c)
{
    const struct fuse_mkdir_in in = FUSE_ARG(c, struct fuse_mkdir_in);
    const char *name = NULL;
    struct tree_node *folder = NULL;
    struct tree_entry e;
    int rc = folder_and_name(c, sizeof(in), &name, &folder);
    return rc < 0
               ? rc
               : entry_of(c, folder, tree_mkdir(c->tree, &c->user, folder, name, in.mode, &e), &e);
}

int fuse_mknod(struct fuse_call *c)
{
    const struct fuse_mknod_in in = FUSE_ARG(c, struct fuse_mknod_in);
    const char *name = NULL;
    struct tree_node *folder = NULL;
    struct tree_entry e;
    int rc = folder_and_name(c, sizeof(in), &name, &folder);
    return rc < 0 ? rc
                  : entry_of(c, folder,
                             tree_mknod(c->tree, &c->user, folder, name, in.mode, in.rdev, &e), &e);
}

/* The name comes first, and then where it leads; that may be anything but nothing. */
int fuse_symlink(struct fuse_call *c)
{
    const char *name[2];
    struct tree_entry e;
    int rc = fuse_strings(c, 0, name, 2);
    if (rc < 0)
        return rc;
    if (!*name[1])
        return -ENOENT;
    struct tree_node *folder = fuse_node(c);
    return folder ? entry_of(c, folder,
                             tree_symlink(c->tree, &c->user, folder, name[0], name[1], &e), &e)
                  : -ESTALE;
}

int fuse_link(struct fuse_call *c)
{
    const struct fuse_link_in in = FUSE_ARG(c, struct fuse_link_in);
    const char *name = NULL;
    struct tree_node *folder = NULL;
    struct tree_entry e;
    int rc = folder_and_name(c, sizeof(in), &name, &folder);
    if (rc < 0)
        return rc;
    struct tree_node *what = tree_get(c->tree, in.oldnodeid);
    rc = what ? tree_link(c->tree, what, folder, name, &e) : -ESTALE;
    tree_put(c->tree, what);
    return entry_of(c, folder, rc, &e);
}

static int remove_name(struct fuse_call *c, bool is_folder)
{
    const char *name = NULL;
    struct tree_node *folder = NULL;
    int rc = folder_and_name(c, 0, &name, &folder);
    if (rc < 0)
        return rc;
    rc = tree_unlink(c->tree, folder, name, is_folder);
    tree_put(c->tree, folder);
    return rc;
}

int fuse_unlink(struct fuse_call *c)
{
    return remove_name(c, false);
}

int fuse_rmdir(struct fuse_call *c)
{
    return remove_name(c, true);
}

static int rename_to(struct fuse_call *c, size_t at, uint64_t to_id, uint32_t flags)
{
    const char *name[2];
    int rc = fuse_strings(c, at, name, 2);
    if (rc < 0)
        return rc;
    struct tree_node *from = fuse_node(c), *to = tree_get(c->tree, to_id);
    rc = from && to ? tree_rename(c->tree, from, name[0], to, name[1], flags) : -ESTALE;
    tree_put(c->tree, from);
    tree_put(c->tree, to);
    return rc;
}

int fuse_rename(struct fuse_call *c)
{
    const struct fuse_rename_in in = FUSE_ARG(c, struct fuse_rename_in);
    return rename_to(c, sizeof(in), in.newdir, 0);
}

/* A whiteout would be a device node, of overlay file systems. */
int fuse_rename2(struct fuse_call *c)
{
    const struct fuse_rename2_in in = FUSE_ARG(c, struct fuse_rename2_in);
    if (in.flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    return rename_to(c, sizeof(in), in.newdir, in.flags);
}

int fuse_readlink(struct fuse_call *c)
{
    if (c->arg_len)
        return -EINVAL;
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    int rc = tree_readlink(c->tree, n, (char *)c->out, c->out_max);
    tree_put(c->tree, n);
    if (rc < 0)
        return rc;
    c->out_len = (size_t)rc;
    return 0;
}
