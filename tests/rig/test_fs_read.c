/* tests/rig/test_fs_read.c - READs that the file system device's loop carries out by itself,
 * because they need not be waited for, and those that it must leave to a thread. */
#include "tests/rig/fs_fixture.h"

#include "devices/fs/fs_priv.h"

static unsigned now, on_threads; /* calls of the one kind and of the other */
static int now_fails;            /* with this errno */
static size_t now_most;          /* bytes that are "in memory"; 0: all */
static uint64_t released;        /* a handle that somebody lets go of meanwhile */

static struct fs *device(void)
{
    return vdev_priv(rig->dev);
}

ssize_t __real_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    cr_assert_eq(flags, RWF_NOWAIT);
    now++;
    if (released)
        tree_close(device()->tree, released);
    released = 0;
    if (now_fails) {
        errno = now_fails;
        return -1;
    }
    struct iovec first = iov[0];
    first.iov_len = now_most ? MIN(first.iov_len, now_most) : first.iov_len;
    return n == 1 ? __real_preadv2(fd, &first, 1, off, flags)
                  : __real_preadv2(fd, iov, n, off, flags);
}

ssize_t __real_preadv(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
    on_threads++;
    return __real_preadv(fd, iov, n, off);
}

static uint64_t up_with_file(const char *text)
{
    up();
    write_file("f", text, strlen(text));
    return open_name("f", O_RDONLY);
}

static void reads(uint64_t fh, uint64_t off, uint32_t len, const char *text, bool by_thread)
{
    char got[64];
    now = on_threads = 0;
    cr_assert_eq(read_at(fh, off, got, len), (int64_t)strlen(text));
    cr_assert_eq(memcmp(got, text, strlen(text)), 0);
    cr_assert_gt(now, 0);
    cr_assert_eq(on_threads, by_thread);
}

Test(fs_read, what_is_in_memory_takes_no_thread)
{
    uint64_t fh = up_with_file("hello there");
    reads(fh, 0, 5, "hello", false);
    cr_assert_eq(now, 1);
    reads(fh, 6, 20, "there", false); /* the end of the file is in memory too */
    cr_assert_eq(now, 2);
    reads(fh, 100, 20, "", false);
    char got[8];
    cr_assert_eq(read_at(fh + 100, 0, got, 8), -EBADF);
    cr_assert_eq(reported(rig, "read_bytes"), 10);
    down();
}

Test(fs_read, what_is_not_is_for_a_thread)
{
    uint64_t fh = up_with_file("hello there");
    now_fails = EAGAIN;
    reads(fh, 0, 11, "hello there", true);
    now_fails = EOPNOTSUPP;
    reads(fh, 0, 11, "hello there", true);
    now_fails = 0;
    now_most = 5; /* and then there is more */
    reads(fh, 0, 11, "hello there", true);
    cr_assert_eq(reported(rig, "read_bytes"), 33);
    cr_assert_eq(reported(rig, "requests"), 6);
    down();
}

/* n READs at once, of len bytes each. */
static void read_many(uint64_t fh, unsigned n, uint32_t len)
{
    const struct fuse_read_in arg = {.fh = fh, .size = len};
    const struct fuse_in_header h = header(FUSE_READ, FUSE_ROOT_ID, sizeof(arg));
    const struct rig_seg out = {out_at, place(&h, ARGS(VALUE(arg)))};
    gpa_t at = rig_alloc(rig, HEAD_OUT + len); /* of all of them */
    struct fuse_out_header o;
    now = on_threads = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct rig_seg in = {at, HEAD_OUT + len};
        rig_add(rig, REQUESTS, &out, 1, &in, 1);
    }
    rig_kick(rig, REQUESTS);
    rig_settle(rig);
    for (unsigned i = 0; i < n; i++)
        cr_assert_eq(take_answer(REQUESTS, at, &o), HEAD_OUT + len);
}

Test(fs_read, much_is_for_threads)
{
    static uint8_t bytes[FS_NOW_MAX + 1];
    up();
    write_file("f", bytes, sizeof(bytes));
    uint64_t fh = open_name("f", O_RDONLY);
    read_many(fh, 1, FS_NOW_MAX + 1);
    cr_assert_eq(on_threads, 1);
    read_many(fh, FS_NOW_TURN / FS_NOW_MAX + 2, FS_NOW_MAX);
    cr_assert_eq(now, FS_NOW_TURN / FS_NOW_MAX);
    cr_assert_eq(on_threads, 2);
    down();
}

/* Who reads it last would close the file, and that may take long: the loop never does. */
Test(fs_read, the_loop_closes_no_file)
{
    char got[8];
    uint64_t fh = released = up_with_file("hello");
    cr_assert_eq(read_at(fh, 0, got, 5), -EBADF);
    cr_assert_eq(now, 1);
    cr_assert_eq(reported(rig, "open_files"), 0);
    down();
}
