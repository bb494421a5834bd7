/* devices/fs/fuse.c - the FUSE protocol (linux/fuse.h): which requests there are, and how one gets
 * from its argument to its answer. Runs on a pool's threads. */
#include "devices/fs/fs_priv.h"

enum {
    SMALL = 2048,          /* argument and answer of most requests */
    NAME_ARG = 1024 + 1,   /* what Linux sends at most, with its zero */
    XATTR_VALUE = 1 << 16, /* XATTR_SIZE_MAX */
    TARGET_ARG = 4096,     /* PATH_MAX */
    FOLDER_OUT = 1 << 16,  /* of entries at once */
    MAPPINGS_ARG = 256 * sizeof(struct fuse_removemapping_one),
};

#define ENTRY sizeof(struct fuse_entry_out)
#define ATTR  sizeof(struct fuse_attr_out)
#define ARG(type, more)                                                                            \
    .arg_min = sizeof(struct type), .arg_max = (uint32_t)(sizeof(struct type) + (more))
#define NAMES(n) .arg_max = ((n)*NAME_ARG)
#define OUT(n)   .out_min = (n), .out_max = (n)

const struct fuse_op fuse_ops[] = {
    [FUSE_INIT] = {fuse_init, .arg_min = FUSE_INIT_ARG_MIN, .arg_max = sizeof(struct fuse_init_in),
                   OUT(sizeof(struct fuse_init_out)), .frees_locks = true, .alone = true},
    [FUSE_DESTROY] = {fuse_destroy, .frees_locks = true, .alone = true},
    [FUSE_LOOKUP] = {fuse_lookup, NAMES(1), OUT(ENTRY)},
    [FUSE_GETATTR] = {fuse_getattr, ARG(fuse_getattr_in, 0), OUT(ATTR)},
    [FUSE_SETATTR] = {fuse_setattr, ARG(fuse_setattr_in, 0), OUT(ATTR)},
    [FUSE_READLINK] = {fuse_readlink, .out_max = TARGET_ARG},
    [FUSE_SYMLINK] = {fuse_symlink, .arg_max = NAME_ARG + TARGET_ARG, OUT(ENTRY)},
    [FUSE_MKNOD] = {fuse_mknod, ARG(fuse_mknod_in, NAME_ARG), OUT(ENTRY)},
    [FUSE_MKDIR] = {fuse_mkdir, ARG(fuse_mkdir_in, NAME_ARG), OUT(ENTRY)},
    [FUSE_UNLINK] = {fuse_unlink, NAMES(1)},
    [FUSE_RMDIR] = {fuse_rmdir, NAMES(1)},
    [FUSE_RENAME] = {fuse_rename, ARG(fuse_rename_in, 2 * NAME_ARG)},
    [FUSE_RENAME2] = {fuse_rename2, ARG(fuse_rename2_in, 2 * NAME_ARG)},
    [FUSE_LINK] = {fuse_link, ARG(fuse_link_in, NAME_ARG), OUT(ENTRY)},
    [FUSE_OPEN] = {fuse_open, ARG(fuse_open_in, 0), OUT(sizeof(struct fuse_open_out))},
    [FUSE_CREATE] = {fuse_create, ARG(fuse_create_in, NAME_ARG),
                     OUT(ENTRY + sizeof(struct fuse_open_out))},
    [FUSE_READ] = {fuse_read, ARG(fuse_read_in, 0), .data = true},
    [FUSE_WRITE] = {fuse_write, ARG(fuse_write_in, 0), OUT(sizeof(struct fuse_write_out)),
                    .arg_data = true, .data = true},
    [FUSE_STATFS] = {fuse_statfs, OUT(sizeof(struct fuse_statfs_out))},
    [FUSE_RELEASE] = {fuse_release, ARG(fuse_release_in, 0), .frees_locks = true, .data = true},
    [FUSE_FSYNC] = {fuse_fsync, ARG(fuse_fsync_in, 0), .data = true},
    [FUSE_SETXATTR] = {fuse_setxattr, .arg_min = FUSE_COMPAT_SETXATTR_IN_SIZE,
                       .arg_max = FUSE_COMPAT_SETXATTR_IN_SIZE + NAME_ARG + XATTR_VALUE,
                       .data = true},
    [FUSE_GETXATTR] = {fuse_getxattr, ARG(fuse_getxattr_in, NAME_ARG), .out_max = XATTR_VALUE,
                       .data = true},
    [FUSE_LISTXATTR] = {fuse_listxattr, ARG(fuse_getxattr_in, 0), .out_max = XATTR_VALUE,
                        .data = true},
    [FUSE_REMOVEXATTR] = {fuse_removexattr, NAMES(1), .data = true},
    [FUSE_FLUSH] = {fuse_flush, ARG(fuse_flush_in, 0), .frees_locks = true, .data = true},
    [FUSE_OPENDIR] = {fuse_opendir, ARG(fuse_open_in, 0), OUT(sizeof(struct fuse_open_out))},
    [FUSE_READDIR] = {fuse_readdir, ARG(fuse_read_in, 0), .out_max = FOLDER_OUT, .data = true},
    [FUSE_READDIRPLUS] = {fuse_readdirplus, ARG(fuse_read_in, 0), .out_max = FOLDER_OUT,
                          .data = true},
    [FUSE_RELEASEDIR] = {fuse_releasedir, ARG(fuse_release_in, 0), .data = true},
    [FUSE_FSYNCDIR] = {fuse_fsync, ARG(fuse_fsync_in, 0), .data = true},
    [FUSE_GETLK] = {fuse_getlk, ARG(fuse_lk_in, 0), OUT(sizeof(struct fuse_lk_out)), .data = true},
    [FUSE_SETLK] = {fuse_setlk, ARG(fuse_lk_in, 0), .frees_locks = true, .data = true},
    [FUSE_SETLKW] = {fuse_setlkw, ARG(fuse_lk_in, 0), .frees_locks = true, .data = true},
    [FUSE_ACCESS] = {fuse_access, ARG(fuse_access_in, 0)},
    [FUSE_FALLOCATE] = {fuse_fallocate, ARG(fuse_fallocate_in, 0), .data = true},
    [FUSE_LSEEK] = {fuse_lseek, ARG(fuse_lseek_in, 0), OUT(sizeof(struct fuse_lseek_out)),
                    .data = true},
    [FUSE_COPY_FILE_RANGE] = {fuse_copy, ARG(fuse_copy_file_range_in, 0),
                              OUT(sizeof(struct fuse_write_out)), .data = true},
    [FUSE_SETUPMAPPING] = {fuse_setupmapping, ARG(fuse_setupmapping_in, 0), .data = true},
    [FUSE_REMOVEMAPPING] = {fuse_removemapping, ARG(fuse_removemapping_in, MAPPINGS_ARG),
                            .data = true},
    [FUSE_SYNCFS] = {fuse_syncfs, ARG(fuse_syncfs_in, 0), .data = true},
};
const size_t fuse_n_ops = ARRAY_SIZE(fuse_ops);

struct loop_pool *fuse_pool(const struct fs_req *r)
{
    bool data = r->h.opcode < fuse_n_ops && fuse_ops[r->h.opcode].data;
    return data ? r->fs->data : r->fs->names;
}

/* --- arguments --- */

int fuse_strings(const struct fuse_call *c, size_t at, const char **name, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *zero = at < c->arg_len ? memchr(c->arg + at, 0, c->arg_len - at) : NULL;
        if (!zero)
            return -EINVAL;
        name[i] = (const char *)c->arg + at;
        at = (size_t)(zero + 1 - c->arg);
    }
    return at == c->arg_len ? 0 : -EINVAL;
}

struct tree_node *fuse_node(struct fuse_call *c)
{
    return tree_get(c->tree, c->r->h.nodeid);
}

/* --- answers --- */

uint64_t fuse_valid_s(const struct fs *fs)
{
    enum { AUTO = 1, ALWAYS = 86400 };
    return fs->cache == FS_CACHE_NONE ? 0 : fs->cache == FS_CACHE_AUTO ? AUTO : ALWAYS;
}

/* As the kernel's new_encode_dev(). */
static uint32_t encode_dev(uint32_t major, uint32_t minor)
{
    return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~0xffu) << 12;
}

void fuse_fill_attr(const struct statx *st, struct fuse_attr *a)
{
    *a = (struct fuse_attr){
        .ino = st->stx_ino,
        .size = st->stx_size,
        .blocks = st->stx_blocks,
        .atime = (uint64_t)st->stx_atime.tv_sec,
        .mtime = (uint64_t)st->stx_mtime.tv_sec,
        .ctime = (uint64_t)st->stx_ctime.tv_sec,
        .atimensec = st->stx_atime.tv_nsec,
        .mtimensec = st->stx_mtime.tv_nsec,
        .ctimensec = st->stx_ctime.tv_nsec,
        .mode = st->stx_mode,
        .nlink = st->stx_nlink,
        .uid = st->stx_uid,
        .gid = st->stx_gid,
        .rdev = encode_dev(st->stx_rdev_major, st->stx_rdev_minor),
        .blksize = st->stx_blksize,
    };
}

void fuse_fill_entry(const struct fs *fs, const struct tree_entry *e, struct fuse_entry_out *out)
{
    *out = (struct fuse_entry_out){.nodeid = e->id, /* which is never used again: generation 0 */
                                   .entry_valid = fuse_valid_s(fs),
                                   .attr_valid = fuse_valid_s(fs)};
    fuse_fill_attr(&e->st, &out->attr);
}

/* --- a request --- */

void fuse_refuse(struct fs_req *r, int rc)
{
    const struct fuse_out_header o = {.len = sizeof(o), .error = rc, .unique = r->h.unique};
    r->error = rc;
    r->written = vq_req_write(r->req, 0, &o, sizeof(o)) == 0 ? sizeof(o) : 0;
}

static void reply(struct fs_req *r, const struct fuse_call *c)
{
    struct fuse_out_header o = {.len = (uint32_t)(sizeof(o) + c->out_len), .unique = r->h.unique};
    /* There is room: out_max saw to it. */
    int rc = c->direct ? 0 : vq_req_write(r->req, sizeof(o), c->out, c->out_len);
    if (rc < 0 || vq_req_write(r->req, 0, &o, sizeof(o)) < 0)
        fuse_refuse(r, -EIO);
    else
        r->written = o.len;
}

/* With the session's lock. `buf` has room for the argument, its zero, and the answer. */
static void carry_out(struct fs_req *r, const struct fuse_op *op, size_t arg_len, uint8_t *buf,
                      size_t now)
{
    struct fuse_call c = {
        .fs = r->fs,
        .r = r,
        .tree = r->fs->tree,
        .user = {.uid = r->h.uid, .gid = r->h.gid, .pid = r->h.pid},
        .arg = buf,
        .arg_len = arg_len,
        .out = buf + arg_len + 1,
        .out_max = MIN((size_t)op->out_max, r->req->in_len - sizeof(struct fuse_out_header)),
        .now = now,
    };
    if (vq_req_read(r->req, sizeof(r->h), buf, arg_len) < 0) {
        fuse_refuse(r, -EINVAL);
        return;
    }
    buf[arg_len] = 0;
    if (!r->fs->session.up && op->fn != fuse_init) {
        fuse_refuse(r, -EIO);
        return;
    }
    int rc = op->fn(&c);
    r->frees_locks = op->frees_locks && rc == 0;
    if (r->outcome != FS_DONE)
        return;
    if (rc < 0)
        fuse_refuse(r, rc);
    else
        reply(r, &c);
}

/* How much there is in front of what the handler reads by itself; or why it cannot be. */
static int argument(const struct fs_req *r, const struct fuse_op *op, size_t *len)
{
    size_t has = r->h.len - sizeof(r->h);
    if (r->h.len < sizeof(r->h) || r->h.len > r->req->out_len || has < op->arg_min)
        return -EINVAL;
    if (r->req->in_len - sizeof(struct fuse_out_header) < op->out_min)
        return -EINVAL;
    if (has > op->arg_max && !op->arg_data)
        return -E2BIG;
    *len = MIN(has, (size_t)op->arg_max);
    return 0;
}

bool fuse_serve_now(struct fs_req *r, size_t most)
{
    const struct fuse_op *op = &fuse_ops[FUSE_READ];
    uint8_t buf[sizeof(struct fuse_read_in) + 1];
    size_t arg_len;
    if (r->h.opcode != FUSE_READ || most == 0 || argument(r, op, &arg_len) < 0 ||
        pthread_rwlock_tryrdlock(&r->fs->session.lock) != 0)
        return false;
    r->outcome = FS_DONE;
    carry_out(r, op, arg_len, buf, most);
    (void)pthread_rwlock_unlock(&r->fs->session.lock);
    return r->outcome == FS_DONE;
}

void fuse_serve(struct fs_req *r)
{
    tree_file_put(r->fs->tree, TAKE_PTR(r->late));
    const struct fuse_op *op = r->h.opcode < fuse_n_ops ? &fuse_ops[r->h.opcode] : NULL;
    size_t arg_len;
    int rc = op && op->fn ? argument(r, op, &arg_len) : -ENOSYS;
    if (rc == 0 && atomic_load(&r->fs->aborting[r->queue]))
        rc = -EINTR;
    r->outcome = FS_DONE;
    if (rc < 0) {
        fuse_refuse(r, rc);
        return;
    }
    uint8_t small[SMALL];
    AUTO_FREE uint8_t *big = NULL;
    size_t need = arg_len + 1 + op->out_max;
    if (need > sizeof(small) && (big = malloc(need)) == NULL) {
        fuse_refuse(r, -ENOMEM);
        return;
    }
    if (op->alone)
        (void)pthread_rwlock_wrlock(&r->fs->session.lock);
    else
        (void)pthread_rwlock_rdlock(&r->fs->session.lock);
    carry_out(r, op, arg_len, big ? big : small, 0);
    (void)pthread_rwlock_unlock(&r->fs->session.lock);
}
