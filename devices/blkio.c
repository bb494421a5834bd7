/* devices/blkio.c - see blkio.h. */
#include "devices/blkio.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "devices/hostfile.h"
#include "devices/virtio/vq.h"

enum {
    STEP_MAX = 4 << 20, /* bytes of one file operation */
    ZERO_CHUNK = 64 * 1024,
};
#define ALLOCATE_MAX GIB(2) /* of one that gives blocks back, or marks them as zeroes */

enum blkio_how { READ, WRITE, FLUSH, DISCARD, HOLE, ZERO, FILL };

/* --- the file --- */

static int measure_file(struct blkfile *f, const char *what, const char *path, uint64_t size,
                        uint32_t unit, struct err *e)
{
    if (size == 0)
        return err_input(e, 0, "%s %s: is empty", what, path);
    if (size % unit)
        return err_input(e, 0, "%s %s: %llu bytes are not a multiple of %u", what, path,
                         (unsigned long long)size, unit);
    f->regular = true;
    f->size = size;
    f->block = unit;
    while (unit << f->physical_exp < 4096) /* file systems work in 4 KiB */
        f->physical_exp++;
    /* A hole past the end changes nothing, and tells whether this file system can make one. */
    f->punch = !f->ro &&
               fallocate(f->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, (off_t)size, 4096) == 0;
    return 0;
}

static int measure_block_device(struct blkfile *f, const char *what, const char *path,
                                struct err *e)
{
    unsigned physical;
    int logical;
    if (ioctl(f->fd, BLKGETSIZE64, &f->size) < 0 || ioctl(f->fd, BLKSSZGET, &logical) < 0 ||
        ioctl(f->fd, BLKPBSZGET, &physical) < 0)
        return err_input(e, -errno, "%s %s: cannot be measured", what, path);
    f->block = f->align = (uint32_t)logical;
    while ((uint32_t)logical << f->physical_exp < physical && f->physical_exp < 8)
        f->physical_exp++;
    f->punch = !f->ro; /* where it cannot, the first attempt says so */
    return 0;
}

int blkfile_open(const char *what, const char *path, bool ro, bool direct, uint32_t unit,
                 struct blkfile *out, struct err *e)
{
    struct stat st = {0};
    struct blkfile *f = out;
    *f = (struct blkfile){.fd = -1, .plain_fd = -1, .ro = ro, .align = 4096};
    int rc = hostfile_open(what, path, ro, 0, &f->fd, &st, e);
    if (rc == 0)
        rc = S_ISREG(st.st_mode) ? measure_file(f, what, path, (uint64_t)st.st_size, unit, e)
                                 : measure_block_device(f, what, path, e);
    if (rc < 0 || !direct)
        return rc;

    /* The same file, whatever the path names by now; the lock stays with the first descriptor. */
    char self[32];
    f->plain_fd = TAKE_FD(f->fd);
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", f->plain_fd);
    f->fd = open(self, (ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_DIRECT);
    if (f->fd < 0)
        return err_input(e, -errno, "%s %s: direct I/O is not possible here", what, path);
    return 0;
}

void blkfile_close(struct blkfile *f)
{
    fd_cleanup_(&f->fd);
    fd_cleanup_(&f->plain_fd);
    f->fd = f->plain_fd = -1;
}

int blkfile_measure(const struct blkfile *f, uint64_t *size)
{
    struct stat st;
    uint64_t bytes = 0;
    if (f->regular && fstat(f->fd, &st) == 0)
        bytes = (uint64_t)st.st_size;
    else if (f->regular || ioctl(f->fd, BLKGETSIZE64, &bytes) < 0)
        return -errno;
    *size = bytes - bytes % f->block;
    return 0;
}

/* --- steps --- */

bool blkio_given_up(const struct blkio *o)
{
    return o->cancel || vq_aborting(o->q);
}

static void step(struct blkio *o);

/* Ends it, or goes on. */
static void next(struct blkio *o, int64_t result, bool failed)
{
    if (failed)
        o->done(o, result < 0 ? (int)result : -ENODATA);
    else if (o->left == 0)
        o->done(o, 0);
    else if (blkio_given_up(o))
        o->done(o, -ECANCELED);
    else
        step(o);
}

static void advance(struct blkio *o, size_t n)
{
    o->moved += n;
    o->left -= n;
    o->pos += n;
    for (n += o->skip; o->n_iov > 0 && n >= o->iov->iov_len; o->n_iov--)
        n -= o->iov++->iov_len;
    o->skip = n;
}

static void transferred(struct loop_io *io, int64_t result)
{
    struct blkio *o = container_of(io, struct blkio, io);
    if (result > 0)
        advance(o, (size_t)result);
    next(o, result, result <= 0);
}

/* Whole segments, as many as make a step; or else a part of one. */
static unsigned step_of(struct blkio *o, const struct iovec **iov)
{
    size_t len = 0, most = MIN(o->left, (uint64_t)STEP_MAX);
    unsigned n = 0;
    while (o->skip == 0 && n < MIN(o->n_iov, (unsigned)IOV_MAX) && o->iov[n].iov_len <= most - len)
        len += o->iov[n++].iov_len;
    *iov = o->iov;
    if (n > 0)
        return n;
    o->part[0] = (struct iovec){.iov_base = (uint8_t *)o->iov->iov_base + o->skip,
                                .iov_len = MIN(o->iov->iov_len - o->skip, most)};
    *iov = o->part;
    return 1;
}

/* The page cache and direct I/O of one file are coherent, so what O_DIRECT would refuse for its
 * alignment simply goes the other way. */
static int fd_for(const struct blkio *o, const struct iovec *iov, unsigned n)
{
    uint64_t bits = o->pos;
    if (o->file->plain_fd < 0)
        return o->file->fd;
    for (unsigned i = 0; i < n; i++)
        bits |= (uint64_t)iov[i].iov_base | iov[i].iov_len;
    return bits & (o->file->align - 1) ? o->file->plain_fd : o->file->fd;
}

static void transfer(struct blkio *o)
{
    const struct iovec *iov;
    unsigned n = step_of(o, &iov);
    o->io = (struct loop_io){.op = o->how == READ ? LOOP_READV : LOOP_WRITEV,
                             .fd = fd_for(o, iov, n),
                             .iov = iov,
                             .n_iov = n,
                             .dsync = o->dsync,
                             .off = o->pos,
                             .done = transferred};
    loop_io(o->loop, &o->io);
}

static void cleared(struct loop_io *io, int64_t result)
{
    struct blkio *o = container_of(io, struct blkio, io);
    bool unsupported = result == -EOPNOTSUPP || result == -ENOTTY || result == -EINVAL;
    if (result == 0) {
        o->pos += io->len;
        o->left -= io->len;
    } else if (unsupported && o->how == DISCARD) {
        o->left = 0;
    } else if (unsupported) {
        o->how = FILL;
    }
    next(o, result, result < 0 && !unsupported);
}

static void deallocate(struct blkio *o)
{
    int how = o->how == ZERO ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE;
    o->io = (struct loop_io){.op = LOOP_FALLOCATE,
                             .fd = o->file->fd,
                             .mode = FALLOC_FL_KEEP_SIZE | how,
                             .off = o->pos,
                             .len = MIN(o->left, ALLOCATE_MAX),
                             .done = cleared};
    loop_io(o->loop, &o->io);
}

static void filled(struct loop_io *io, int64_t result)
{
    struct blkio *o = container_of(io, struct blkio, io);
    if (result > 0) {
        o->pos += (uint64_t)result;
        o->left -= (uint64_t)result;
        o->skip = (o->skip + (size_t)result) % o->fill_len;
    }
    next(o, result, result <= 0);
}

static void fill(struct blkio *o)
{
    uint64_t left = o->left;
    unsigned n = 0;
    size_t skip = o->skip;
    for (; n < BLKIO_PARTS && left > 0; n++, skip = 0) {
        union {
            const uint8_t *c;
            void *m;
        } p = {.c = o->fill + skip}; /* only read through */
        o->part[n] =
            (struct iovec){.iov_base = p.m, .iov_len = MIN(left, (uint64_t)(o->fill_len - skip))};
        left -= o->part[n].iov_len;
    }
    o->io = (struct loop_io){.op = LOOP_WRITEV,
                             .fd = o->file->plain_fd >= 0 ? o->file->plain_fd : o->file->fd,
                             .iov = o->part,
                             .n_iov = n,
                             .off = o->pos,
                             .done = filled};
    loop_io(o->loop, &o->io);
}

static void synced(struct loop_io *io, int64_t result)
{
    struct blkio *o = container_of(io, struct blkio, io);
    next(o, result, result < 0);
}

static void sync_file(struct blkio *o)
{
    o->io = (struct loop_io){.op = LOOP_FDATASYNC, .fd = o->file->fd, .done = synced};
    loop_io(o->loop, &o->io);
}

static void step(struct blkio *o)
{
    if (o->how == READ || o->how == WRITE)
        transfer(o);
    else if (o->how == FLUSH)
        sync_file(o);
    else if (o->how == FILL)
        fill(o);
    else
        deallocate(o);
}

/* --- operations --- */

static void start(struct blkio *o, enum blkio_how how, uint64_t pos, uint64_t len)
{
    static const uint8_t zeroes[ZERO_CHUNK] __attribute__((aligned(4096)));
    o->how = (uint8_t)how;
    o->pos = pos;
    o->left = len;
    o->moved = 0;
    o->dsync = false;
    o->skip = 0;
    o->fill = zeroes;
    o->fill_len = sizeof(zeroes);
}

static void start_transfer(struct blkio *o, const struct iovec *iov, unsigned n, size_t skip)
{
    o->iov = iov;
    o->n_iov = n;
    for (; skip >= o->iov->iov_len; o->n_iov--)
        skip -= o->iov++->iov_len;
    o->skip = skip;
    step(o);
}

void blkio_read(struct blkio *o, const struct iovec *iov, unsigned n, size_t skip, uint64_t pos,
                uint64_t len)
{
    start(o, READ, pos, len);
    start_transfer(o, iov, n, skip);
}

void blkio_write(struct blkio *o, const struct iovec *iov, unsigned n, size_t skip, uint64_t pos,
                 uint64_t len, bool dsync)
{
    start(o, WRITE, pos, len);
    o->dsync = dsync;
    start_transfer(o, iov, n, skip);
}

void blkio_flush(struct blkio *o)
{
    start(o, FLUSH, 0, 0);
    step(o);
}

void blkio_discard(struct blkio *o, uint64_t pos, uint64_t len)
{
    start(o, DISCARD, pos, len);
    step(o);
}

void blkio_zero(struct blkio *o, uint64_t pos, uint64_t len, bool hole)
{
    start(o, hole ? HOLE : ZERO, pos, len);
    step(o);
}

void blkio_fill(struct blkio *o, uint64_t pos, uint64_t len, const void *bytes, size_t n)
{
    start(o, FILL, pos, len);
    o->fill = bytes;
    o->fill_len = n;
    step(o);
}
