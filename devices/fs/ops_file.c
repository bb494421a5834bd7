/* devices/fs/ops_file.c - FUSE requests about open files. Their data goes straight between the file
 * and the guest's memory. */
#include <limits.h>
#include <linux/falloc.h>

#include "base/iov.h"
#include "devices/fs/fs_priv.h"

enum { COPY_MAX = 16 << 20 }; /* bytes of one COPY_FILE_RANGE: a reset waits for no more */

/* The file of a handle, to be put back, and its descriptor: none when the file was lost on its way
 * to this host. */
static int file_of(struct fuse_call *c, uint64_t handle, struct tree_file **f)
{
    struct tree_file *is = tree_file_get(c->tree, handle);
    int fd = is ? tree_file_fd(is) : -EBADF;
    if (is && fd < 0)
        tree_file_put(c->tree, is);
    if (fd >= 0)
        *f = is;
    return fd;
}

/* --- open, create, release --- */

/* What the guest asks for, and what it needs. With the write-back cache the guest's kernel reads
 * around what it writes. No O_APPEND: pages of its cache it writes by any handle that it finds, to
 * where they belong. */
static unsigned open_flags(const struct fuse_call *c, uint32_t flags)
{
    unsigned f = flags & (O_ACCMODE | O_TRUNC | O_EXCL | O_SYNC | O_DSYNC);
    if (session_has(c->fs, FUSE_WRITEBACK_CACHE) && (f & O_ACCMODE) == O_WRONLY)
        f = (f & ~(unsigned)O_ACCMODE) | O_RDWR;
    return f;
}

/* Whether a write is to go to the end, wherever that is: with the write-back cache the guest's
 * kernel knows alone where. */
static bool appends(const struct fuse_call *c, const struct fuse_write_in *in)
{
    return in->flags & O_APPEND && !(in->write_flags & FUSE_WRITE_CACHE) &&
           !session_has(c->fs, FUSE_WRITEBACK_CACHE);
}

static uint32_t answer_flags(const struct fs *fs)
{
    return fs->cache == FS_CACHE_NONE     ? FOPEN_DIRECT_IO
           : fs->cache == FS_CACHE_ALWAYS ? FOPEN_KEEP_CACHE
                                          : 0;
}

int fuse_open(struct fuse_call *c)
{
    const struct fuse_open_in in = FUSE_ARG(c, struct fuse_open_in);
    struct fuse_open_out out = {.open_flags = answer_flags(c->fs)};
    bool kill = in.open_flags & FUSE_OPEN_KILL_SUIDGID;
    unsigned flags = open_flags(c, in.flags) & ~(unsigned)O_EXCL;
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    int rc = tree_open(c->tree, &c->user, n, flags, kill, &out.fh);
    bool more = (flags ^ in.flags) & O_ACCMODE;
    if (rc == -EACCES && more) /* it was we who wanted to read */
        rc = tree_open(c->tree, &c->user, n, (flags & ~(unsigned)O_ACCMODE) | O_WRONLY, kill,
                       &out.fh);
    if (rc == -EPERM && in.flags & O_APPEND && !session_has(c->fs, FUSE_WRITEBACK_CACHE))
        /* one that can only become longer */
        rc = tree_open(c->tree, &c->user, n, flags | O_APPEND, kill, &out.fh);
    tree_put(c->tree, n);
    if (rc < 0)
        return rc;
    FUSE_OUT(c, out);
    return 0;
}

int fuse_create(struct fuse_call *c)
{
    const struct fuse_create_in in = FUSE_ARG(c, struct fuse_create_in);
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out = {.open.open_flags = answer_flags(c->fs)};
    const char *name;
    struct tree_entry e;
    int rc = fuse_strings(c, sizeof(in), &name, 1);
    if (rc < 0)
        return rc;
    struct tree_node *folder = fuse_node(c);
    if (!folder)
        return -ESTALE;
    rc = tree_create(c->tree, &c->user, folder, name, in.mode, open_flags(c, in.flags),
                     in.open_flags & FUSE_OPEN_KILL_SUIDGID, &e, &out.open.fh);
    tree_put(c->tree, folder);
    if (rc < 0)
        return rc;
    fuse_fill_entry(c->fs, &e, &out.entry);
    FUSE_OUT(c, out);
    return 0;
}

static int unlock_all(struct fuse_call *c, uint64_t handle, uint64_t owner)
{
    struct tree_file *f = tree_file_get(c->tree, handle);
    if (!f)
        return -EBADF;
    tree_unlock_all(c->tree, f, owner);
    tree_file_put(c->tree, f);
    return 0;
}

int fuse_release(struct fuse_call *c)
{
    const struct fuse_release_in in = FUSE_ARG(c, struct fuse_release_in);
    int rc = unlock_all(c, in.fh, in.lock_owner);
    if (rc == 0)
        tree_close(c->tree, in.fh);
    return rc;
}

int fuse_flush(struct fuse_call *c)
{
    const struct fuse_flush_in in = FUSE_ARG(c, struct fuse_flush_in);
    return unlock_all(c, in.fh, in.lock_owner);
}

/* --- data --- */

static bool in_a_file(uint64_t off, uint64_t len)
{
    return off <= INT64_MAX && len <= INT64_MAX - off;
}

/* What is in memory: all of it, or up to the end of the file. Whatever else there may be, a thread
 * finds out. RWF_NOWAIT is refused by file systems that could not keep it, such as NFS. */
static ssize_t read_now(int fd, const struct iovec *iov, int k, size_t len, off_t off)
{
    uint8_t byte;
    const struct iovec next = {.iov_base = &byte, .iov_len = 1};
    ssize_t got = preadv2(fd, iov, k, off, RWF_NOWAIT);
    bool all =
        got == (ssize_t)len || (got >= 0 && preadv2(fd, &next, 1, off + got, RWF_NOWAIT) == 0);
    return all ? got : -1;
}

int fuse_read(struct fuse_call *c)
{
    const struct fuse_read_in in = FUSE_ARG(c, struct fuse_read_in);
    const struct vq_req *req = c->r->req;
    struct iovec iov[IOV_MAX];
    size_t room = req->in_len - sizeof(struct fuse_out_header);
    size_t len = MIN(in.size, (uint32_t)FS_TRANSFER_MAX);
    if (!in_a_file(in.offset, len) || room < in.size)
        return -EINVAL;
    struct tree_file *f = NULL;
    int fd = file_of(c, in.fh, &f);
    if (fd < 0)
        return fd;
    int k = (int)iov_part(req->iov + req->n_out, req->n_in, sizeof(struct fuse_out_header), len,
                          iov, IOV_MAX, &len);
    ssize_t got;
    int rc = 0;
    if (c->now) {
        got = len <= c->now ? read_now(fd, iov, k, len, (off_t)in.offset) : -1;
        if (!tree_file_put_open(c->tree, f))
            c->r->late = f; /* to close a file may take long */
        if (got < 0 || c->r->late) {
            c->r->outcome = FS_WAITS;
            return 0;
        }
    } else {
        got = preadv(fd, iov, k, (off_t)in.offset);
        rc = got < 0 ? -errno : 0;
        tree_file_put(c->tree, f);
    }
    if (rc < 0)
        return rc;
    c->direct = true;
    c->out_len = (size_t)got;
    c->r->read_bytes = (uint64_t)got;
    return 0;
}

int fuse_write(struct fuse_call *c)
{
    const struct fuse_write_in in = FUSE_ARG(c, struct fuse_write_in);
    const struct vq_req *req = c->r->req;
    struct iovec iov[IOV_MAX];
    const size_t head = sizeof(c->r->h) + sizeof(in);
    size_t len = MIN((size_t)in.size, (size_t)FS_TRANSFER_MAX);
    if (in.size != c->r->h.len - head || !in_a_file(in.offset, len))
        return -EINVAL;
    struct tree_file *f = NULL;
    int fd = file_of(c, in.fh, &f);
    if (fd < 0)
        return fd;
    int rc = in.write_flags & FUSE_WRITE_KILL_SUIDGID && len ? tree_kill_suid(c->tree, f) : 0;
    int k = (int)iov_part(req->iov, req->n_out, head, len, iov, IOV_MAX, &len);
    ssize_t put =
        rc < 0 ? 0 : pwritev2(fd, iov, k, (off_t)in.offset, appends(c, &in) ? RWF_APPEND : 0);
    if (put < 0)
        rc = -errno;
    tree_file_put(c->tree, f);
    if (rc < 0)
        return rc;
    const struct fuse_write_out out = {.size = (uint32_t)put};
    c->r->write_bytes = (uint64_t)put;
    FUSE_OUT(c, out);
    return 0;
}

int fuse_fsync(struct fuse_call *c)
{
    const struct fuse_fsync_in in = FUSE_ARG(c, struct fuse_fsync_in);
    struct tree_file *f = NULL;
    int fd = file_of(c, in.fh, &f);
    if (fd < 0)
        return fd;
    int rc = in.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(fd) : fsync(fd);
    rc = rc < 0 ? -errno : 0;
    tree_file_put(c->tree, f);
    return rc;
}

/* With HANDLE_KILLPRIV_V2 setuid and setgid bits are ours to take away, where there is no flag too.
 */
int fuse_fallocate(struct fuse_call *c)
{
    const struct fuse_fallocate_in in = FUSE_ARG(c, struct fuse_fallocate_in);
    const uint32_t known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
    if (in.mode & ~known)
        return -EOPNOTSUPP;
    if (!in_a_file(in.offset, in.length))
        return -EINVAL;
    struct tree_file *f = NULL;
    int fd = file_of(c, in.fh, &f);
    if (fd < 0)
        return fd;
    int rc = tree_kill_suid(c->tree, f);
    if (rc == 0 && fallocate(fd, (int)in.mode, (off_t)in.offset, (off_t)in.length) < 0)
        rc = -errno;
    tree_file_put(c->tree, f);
    return rc;
}

/* Of the positions only those that depend on the file; the guest computes the others. */
int fuse_lseek(struct fuse_call *c)
{
    const struct fuse_lseek_in in = FUSE_ARG(c, struct fuse_lseek_in);
    if ((in.whence != SEEK_DATA && in.whence != SEEK_HOLE) || in.offset > INT64_MAX)
        return -EINVAL;
    struct tree_file *f = NULL;
    int fd = file_of(c, in.fh, &f);
    if (fd < 0)
        return fd;
    off_t at = lseek(fd, (off_t)in.offset, (int)in.whence);
    int rc = at < 0 ? -errno : 0;
    tree_file_put(c->tree, f);
    if (rc < 0)
        return rc;
    const struct fuse_lseek_out out = {.offset = (uint64_t)at};
    FUSE_OUT(c, out);
    return 0;
}

int fuse_copy(struct fuse_call *c)
{
    const struct fuse_copy_file_range_in in = FUSE_ARG(c, struct fuse_copy_file_range_in);
    size_t len = MIN(in.len, (uint64_t)COPY_MAX);
    if (in.flags || !in_a_file(in.off_in, len) || !in_a_file(in.off_out, len))
        return -EINVAL;
    struct tree_file *from = NULL, *to = NULL;
    off_t at_from = (off_t)in.off_in, at_to = (off_t)in.off_out;
    int fd_from = file_of(c, in.fh_in, &from), fd_to = file_of(c, in.fh_out, &to);
    int rc = fd_from < 0 ? fd_from : fd_to < 0 ? fd_to : tree_kill_suid(c->tree, to);
    ssize_t n = rc < 0 ? 0 : copy_file_range(fd_from, &at_from, fd_to, &at_to, len, 0);
    if (n < 0)
        rc = -errno;
    tree_file_put(c->tree, from);
    tree_file_put(c->tree, to);
    if (rc < 0)
        return rc;
    const struct fuse_write_out out = {.size = (uint32_t)n};
    FUSE_OUT(c, out);
    return 0;
}
