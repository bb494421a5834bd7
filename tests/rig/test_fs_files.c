/* tests/rig/test_fs_files.c - each request about files and names, seen from both sides: by the
 * guest's protocol, and by the host's system calls. */
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include "tests/rig/fs_fixture.h"
#include "tests/rig/ways.h"

static struct stat host_stat(const char *name)
{
    struct stat st;
    cr_assert_eq(lstat(in_folder(name), &st), 0, "%s: %m", name);
    return st;
}

static bool on_host(const char *name)
{
    struct stat st;
    return lstat(in_folder(name), &st) == 0;
}

/* --- names --- */

Test(fs_files, lookup_and_attributes)
{
    struct fuse_entry_out e;
    struct fuse_attr a;
    up();
    write_file("f", "four", 4);
    cr_assert_eq(lookup(FUSE_ROOT_ID, "f", &e), 0);
    struct stat st = host_stat("f");
    cr_assert_eq(e.generation, 0);
    cr_assert_eq(e.attr.ino, st.st_ino);
    cr_assert_eq(e.attr.size, 4);
    cr_assert_eq(e.attr.mode, st.st_mode);
    cr_assert_eq(e.attr.nlink, 1);
    cr_assert_eq(e.attr.uid, st.st_uid);
    cr_assert_eq(e.attr.mtime, st.st_mtim.tv_sec);
    cr_assert_eq(e.attr.mtimensec, st.st_mtim.tv_nsec);
    cr_assert_eq(e.attr.ctime, st.st_ctim.tv_sec);
    cr_assert_eq(e.attr.atimensec, st.st_atim.tv_nsec);
    cr_assert_eq(e.attr.blocks, st.st_blocks);
    cr_assert_eq(e.attr.blksize, st.st_blksize);
    cr_assert_eq(getattr(e.nodeid, &a), 0);
    cr_assert_eq(memcmp(&a, &e.attr, sizeof(a)), 0);
    cr_assert_eq(lookup(FUSE_ROOT_ID, "g", &e), -ENOENT);
    cr_assert_eq(lookup(e.nodeid + 1000, "f", &e), -ESTALE);
    cr_assert_eq(lookup(node_of("f"), "f", &e), -ENOTDIR);
    down();
}

Test(fs_files, folders)
{
    const struct fuse_mkdir_in in = {.mode = 0751};
    struct fuse_entry_out e, f;
    up();
    cr_assert_eq(ask_for(FUSE_MKDIR, FUSE_ROOT_ID, ARGS(VALUE(in), TEXT("d")), &e, sizeof(e)), 0);
    cr_assert_eq(host_stat("d").st_mode, S_IFDIR | 0751);
    cr_assert_eq(ask_for(FUSE_MKDIR, e.nodeid, ARGS(VALUE(in), TEXT("e")), &f, sizeof(f)), 0);
    cr_assert(on_host("d/e"));
    cr_assert_eq(ask_for(FUSE_MKDIR, FUSE_ROOT_ID, ARGS(VALUE(in), TEXT("d")), &f, sizeof(f)),
                 -EEXIST);
    cr_assert_eq(ask_for(FUSE_UNLINK, FUSE_ROOT_ID, ARGS(TEXT("d")), NULL, 0), -EISDIR);
    cr_assert_eq(ask_for(FUSE_RMDIR, FUSE_ROOT_ID, ARGS(TEXT("d")), NULL, 0), -ENOTEMPTY);
    cr_assert_eq(ask_for(FUSE_RMDIR, e.nodeid, ARGS(TEXT("e")), NULL, 0), 0);
    cr_assert_eq(ask_for(FUSE_RMDIR, FUSE_ROOT_ID, ARGS(TEXT("d")), NULL, 0), 0);
    cr_assert_not(on_host("d"));
    down();
}

Test(fs_files, links)
{
    struct fuse_entry_out e, f;
    char to[64] = "";
    up();
    write_file("f", "x", 1);
    cr_assert_eq(
        ask_for(FUSE_SYMLINK, FUSE_ROOT_ID, ARGS(TEXT("s"), TEXT("../some/where")), &e, sizeof(e)),
        0);
    cr_assert_eq(e.attr.mode & S_IFMT, S_IFLNK);
    cr_assert_eq(readlink(in_folder("s"), to, sizeof(to)), 13);
    cr_assert_str_eq(to, "../some/where");
    memset(to, 0, sizeof(to));
    cr_assert_eq(ask(FUSE_READLINK, e.nodeid, NOTHING, to, 13), 13);
    cr_assert_str_eq(to, "../some/where");
    cr_assert_eq(ask(FUSE_READLINK, node_of("f"), NOTHING, to, 13), -EINVAL);

    const struct fuse_link_in in = {.oldnodeid = node_of("f")}, none = {.oldnodeid = 999};
    cr_assert_eq(ask_for(FUSE_LINK, FUSE_ROOT_ID, ARGS(VALUE(in), TEXT("g")), &f, sizeof(f)), 0);
    cr_assert_eq(f.nodeid, in.oldnodeid, "the same file");
    cr_assert_eq(f.attr.nlink, 2);
    cr_assert_eq(host_stat("g").st_ino, host_stat("f").st_ino);
    cr_assert_eq(ask_for(FUSE_LINK, FUSE_ROOT_ID, ARGS(VALUE(none), TEXT("h")), &f, sizeof(f)),
                 -ESTALE);
    cr_assert_eq(ask_for(FUSE_UNLINK, FUSE_ROOT_ID, ARGS(TEXT("f")), NULL, 0), 0);
    cr_assert_not(on_host("f"));
    struct fuse_attr a;
    cr_assert_eq(getattr(in.oldnodeid, &a), 0);
    cr_assert_eq(a.nlink, 1);
    down();
}

TEST_EACH_WAY(W_PLAIN, fs_files, special_files)
{
    const struct fuse_mknod_in fifo = {.mode = S_IFIFO | 0600}, file = {.mode = S_IFREG | 0640},
                               disk = {.mode = S_IFBLK | 0600, .rdev = 0x800};
    struct fuse_entry_out e;
    up();
    HOLDS(rig, "33b");
    cr_assert_eq(ask_for(FUSE_MKNOD, FUSE_ROOT_ID, ARGS(VALUE(file), TEXT("r")), &e, sizeof(e)), 0);
    cr_assert_eq(host_stat("r").st_mode, S_IFREG | 0640);
    (void)ask_for(FUSE_MKNOD, FUSE_ROOT_ID, ARGS(VALUE(fifo), TEXT("p")), &e, sizeof(e));
    if (on_host("p")) {
        uint64_t fh;
        cr_assert_lt(open_node(node_of("p"), O_RDONLY, &fh), 0, "a pipe of the host's is not ours");
    }
    cr_assert_eq(ask_for(FUSE_MKNOD, FUSE_ROOT_ID, ARGS(VALUE(disk), TEXT("b")), &e, sizeof(e)),
                 -EPERM);
    cr_assert_not(on_host("b"));
    down();
}

static int rename2(const char *from, const char *to, uint32_t flags)
{
    const struct fuse_rename2_in in = {.newdir = FUSE_ROOT_ID, .flags = flags};
    return ask_for(FUSE_RENAME2, FUSE_ROOT_ID, ARGS(VALUE(in), TEXT(from), TEXT(to)), NULL, 0);
}

Test(fs_files, rename)
{
    char text[8] = "";
    up();
    write_file("a", "A", 1);
    write_file("b", "B", 1);
    cr_assert_eq(mkdir(in_folder("d"), 0755), 0);
    const struct fuse_rename_in in = {.newdir = node_of("d")}, none = {.newdir = 4711};
    cr_assert_eq(ask_for(FUSE_RENAME, FUSE_ROOT_ID, ARGS(VALUE(in), TEXT("a"), TEXT("c")), NULL, 0),
                 0);
    cr_assert(on_host("d/c") && !on_host("a"));
    cr_assert_eq(
        ask_for(FUSE_RENAME, FUSE_ROOT_ID, ARGS(VALUE(none), TEXT("b"), TEXT("c")), NULL, 0),
        -ESTALE);
    write_file("a", "A", 1);
    cr_assert_eq(rename2("a", "b", 1 /* RENAME_NOREPLACE */), -EEXIST);
    cr_assert_eq(rename2("a", "b", 2 /* RENAME_EXCHANGE */), 0);
    (void)read_file("a", text, sizeof(text));
    cr_assert_str_eq(text, "B");
    cr_assert_eq(rename2("a", "b", 4 /* RENAME_WHITEOUT */), -EINVAL);
    cr_assert_eq(rename2("a", "b", 0), 0);
    cr_assert_not(on_host("a"));
    down();
}

/* --- attributes --- */

static int setattr(uint64_t node, struct fuse_setattr_in in, struct fuse_attr *a)
{
    struct fuse_attr_out out;
    int rc = ask_for(FUSE_SETATTR, node, ARGS(VALUE(in)), &out, sizeof(out));
    if (rc == 0)
        *a = out.attr;
    return rc;
}

Test(fs_files, change_attributes)
{
    struct fuse_attr a;
    up();
    write_file("f", "0123456789", 10);
    uint64_t node = node_of("f"), fh = open_name("f", O_RDWR);
    cr_assert_eq(setattr(node, (struct fuse_setattr_in){.valid = FATTR_MODE, .mode = 0604}, &a), 0);
    cr_assert_eq(a.mode, S_IFREG | 0604);
    cr_assert_eq(host_stat("f").st_mode, S_IFREG | 0604);
    cr_assert_eq(setattr(node, (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 4}, &a), 0);
    cr_assert_eq(host_stat("f").st_size, 4);
    cr_assert_eq(
        setattr(node, (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .fh = fh, .size = 9},
                &a),
        0);
    cr_assert_eq(a.size, 9);
    cr_assert_eq(setattr(node,
                         (struct fuse_setattr_in){.valid = FATTR_ATIME | FATTR_MTIME,
                                                  .atime = 1000,
                                                  .atimensec = 5,
                                                  .mtime = 2000,
                                                  .mtimensec = 999999999},
                         &a),
                 0);
    struct stat st = host_stat("f");
    cr_assert(st.st_atim.tv_sec == 1000 && st.st_atim.tv_nsec == 5);
    cr_assert(st.st_mtim.tv_sec == 2000 && st.st_mtim.tv_nsec == 999999999);
    cr_assert_eq(
        setattr(node, (struct fuse_setattr_in){.valid = FATTR_MTIME | FATTR_MTIME_NOW}, &a), 0);
    cr_assert_gt(host_stat("f").st_mtim.tv_sec, 1000000000);
    cr_assert_eq(host_stat("f").st_atim.tv_sec, 1000);

    cr_assert_eq(
        setattr(node, (struct fuse_setattr_in){.valid = FATTR_SIZE, .size = 1ull << 63}, &a),
        -EINVAL);
    cr_assert_eq(setattr(node, (struct fuse_setattr_in){.valid = FATTR_MTIME, .mtimensec = -1}, &a),
                 -EINVAL);
    cr_assert_eq(
        setattr(node, (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .fh = 99}, &a),
        -EBADF);
    write_file("g", "x", 1);
    cr_assert_eq(setattr(node_of("g"),
                         (struct fuse_setattr_in){.valid = FATTR_SIZE | FATTR_FH, .fh = fh}, &a),
                 -EBADF, "a handle of another file");
    cr_assert_eq(host_stat("g").st_size, 1);
    down();
}

Test(fs_files, the_file_system)
{
    struct fuse_statfs_out out;
    struct statvfs st;
    up();
    cr_assert_eq(ask_for(FUSE_STATFS, FUSE_ROOT_ID, NOTHING, &out, sizeof(out)), 0);
    cr_assert_eq(statvfs(folder, &st), 0);
    cr_assert_eq(out.st.blocks, st.f_blocks);
    cr_assert_eq(out.st.bsize, st.f_bsize);
    cr_assert_eq(out.st.frsize, st.f_frsize);
    cr_assert_eq(out.st.namelen, st.f_namemax);
    const struct fuse_access_in ok = {.mask = R_OK | X_OK}, bad = {.mask = 8};
    cr_assert_eq(ask_for(FUSE_ACCESS, FUSE_ROOT_ID, ARGS(VALUE(ok)), NULL, 0), 0);
    cr_assert_eq(ask_for(FUSE_ACCESS, FUSE_ROOT_ID, ARGS(VALUE(bad)), NULL, 0), -EINVAL);
    const struct fuse_syncfs_in sync = {0};
    cr_assert_eq(ask_for(FUSE_SYNCFS, FUSE_ROOT_ID, ARGS(VALUE(sync)), NULL, 0), 0);
    for (unsigned op = FUSE_BMAP; op <= FUSE_POLL; op++) {
        const uint8_t arg[64] = {0};
        if (op != FUSE_DESTROY)
            cr_assert_eq(ask_for(op, FUSE_ROOT_ID, ARGS(RAW(arg, 64)), NULL, 0), -ENOSYS);
    }
    cr_assert_eq(ask_for(FUSE_TMPFILE, FUSE_ROOT_ID, NOTHING, NULL, 0), -ENOSYS);
    down();
}

static int setxattr_of(uint64_t node, const char *name, const void *v, uint32_t len, uint32_t flags)
{
    const uint32_t in[2] = {(uint32_t)len, (uint32_t)flags};
    return ask_for(FUSE_SETXATTR, node, ARGS(VALUE(in), TEXT(name), RAW(v, len)), NULL, 0);
}

static int64_t getxattr_of(uint64_t node, const char *name, void *v, uint32_t size, size_t room)
{
    const struct fuse_getxattr_in in = {.size = size};
    return ask(FUSE_GETXATTR, node, ARGS(VALUE(in), TEXT(name)), v, room);
}

Test(fs_files, extended_attributes)
{
    char v[64] = "";
    struct fuse_getxattr_out size;
    up();
    write_file("f", "x", 1);
    uint64_t node = node_of("f");
    int rc = setxattr_of(node, "user.colour", "b\0ue", 4, 0);
    if (rc == -EOPNOTSUPP) {
        down();
        cr_skip("the host's /tmp has none");
    }
    cr_assert_eq(rc, 0);
    cr_assert_eq(getxattr(in_folder("f"), "user.colour", v, sizeof(v)), 4);
    cr_assert_eq(memcmp(v, "b\0ue", 4), 0);
    cr_assert_eq(setxattr_of(node, "user.colour", "x", 1, XATTR_CREATE), -EEXIST);
    cr_assert_eq(setxattr_of(node, "user.none", "x", 1, XATTR_REPLACE), -ENODATA);
    memset(v, 0, sizeof(v));
    cr_assert_eq(getxattr_of(node, "user.colour", v, 64, 64), 4);
    cr_assert_eq(memcmp(v, "b\0ue", 4), 0);
    cr_assert_eq(getxattr_of(node, "user.colour", &size, 0, sizeof(size)), sizeof(size));
    cr_assert_eq(size.size, 4);
    cr_assert_eq(getxattr_of(node, "user.colour", v, 2, 2), -ERANGE);
    cr_assert_eq(getxattr_of(node, "user.none", v, 64, 64), -ENODATA);
    const struct fuse_getxattr_in list = {.size = 64}, count = {0};
    cr_assert_eq(ask(FUSE_LISTXATTR, node, ARGS(VALUE(list)), v, 64), 12);
    cr_assert_str_eq(v, "user.colour");
    cr_assert_eq(ask(FUSE_LISTXATTR, node, ARGS(VALUE(count)), &size, sizeof(size)), 8);
    cr_assert_eq(size.size, 12);
    cr_assert_eq(ask_for(FUSE_REMOVEXATTR, node, ARGS(TEXT("user.colour")), NULL, 0), 0);
    cr_assert_eq(ask_for(FUSE_REMOVEXATTR, node, ARGS(TEXT("user.colour")), NULL, 0), -ENODATA);
    cr_assert_lt(setxattr_of(node, "security.capability", "x", 1, 0), 0);
    cr_assert_lt(setxattr_of(node, "trusted.overlay.opaque", "y", 1, 0), 0);
    down();
}

/* --- data --- */

Test(fs_files, create_write_read)
{
    uint64_t node, fh, fd, same;
    char buf[64] = "";
    up();
    cr_assert_eq(create(FUSE_ROOT_ID, "new", 0640, O_RDWR | O_EXCL, &node, &fh), 0);
    cr_assert_eq(host_stat("new").st_mode, S_IFREG | 0640);
    cr_assert_eq(write_at(fh, 0, "hello", 5), 5);
    cr_assert_eq(write_at(fh, 7, "you", 3), 3);
    cr_assert_eq(read_file("new", buf, sizeof(buf)), 10);
    cr_assert_eq(memcmp(buf, "hello\0\0you", 10), 0);
    memset(buf, 0, sizeof(buf));
    cr_assert_eq(read_at(fh, 3, buf, 64), 7, "what there is");
    cr_assert_eq(memcmp(buf, "lo\0\0you", 7), 0);
    cr_assert_eq(read_at(fh, 10, buf, 8), 0);
    cr_assert_eq(read_at(fh, 1ull << 63, buf, 8), -EINVAL);
    cr_assert_eq(write_at(fh, INT64_MAX, "xy", 2), -EINVAL);
    cr_assert_eq(create(FUSE_ROOT_ID, "new", 0640, O_RDWR | O_EXCL, &same, &fd), -EEXIST);
    cr_assert_eq(open_node(node, O_RDONLY, &fd), 0);
    cr_assert_eq(write_at(fd, 0, "x", 1), -EBADF, "it was opened to read");
    cr_assert_eq(release(fd), 0);
    cr_assert_eq(release(fd), -EBADF);
    cr_assert_eq(open_node(node, O_WRONLY | O_TRUNC, &fd), 0);
    cr_assert_eq(host_stat("new").st_size, 0);
    cr_assert_eq(read_at(fd, 0, buf, 1), -EBADF);
    /* Unlinked, and still there for who has it. */
    cr_assert_eq(ask_for(FUSE_UNLINK, FUSE_ROOT_ID, ARGS(TEXT("new")), NULL, 0), 0);
    cr_assert_eq(write_at(fh, 0, "still", 5), 5);
    cr_assert_eq(read_at(fh, 0, buf, 5), 5);
    const struct fuse_flush_in flush = {.fh = fh};
    cr_assert_eq(ask_for(FUSE_FLUSH, node, ARGS(VALUE(flush)), NULL, 0), 0);
    const struct fuse_flush_in none = {.fh = 4711};
    cr_assert_eq(ask_for(FUSE_FLUSH, node, ARGS(VALUE(none)), NULL, 0), -EBADF);
    down();
}

/* Data that is cut wherever the driver likes, headers too. */
static int64_t write_as(uint64_t fh, uint64_t off, const char *text, uint32_t flags,
                        uint32_t write_flags)
{
    const struct fuse_write_in in = {.fh = fh,
                                     .offset = off,
                                     .size = (uint32_t)strlen(text),
                                     .flags = flags,
                                     .write_flags = write_flags};
    struct fuse_write_out out;
    int rc = ask_for(FUSE_WRITE, FUSE_ROOT_ID, ARGS(VALUE(in), RAW(text, strlen(text))), &out,
                     sizeof(out));
    return rc < 0 ? rc : (int64_t)out.size;
}

static void expect_text(const char *name, const char *text)
{
    char buf[64] = {0};
    (void)read_file(name, buf, sizeof(buf) - 1);
    cr_assert_str_eq(buf, text);
}

/* Pages that a program has changed by mmap() are written by any handle that Linux finds, and where
 * they belong; what is appended goes to the end, whoever else has made that another. */
Test(fs_files, appending)
{
    up();
    write_file("f", "0123", 4);
    uint64_t fh = open_name("f", O_RDWR | O_APPEND);
    cr_assert_eq(write_as(fh, 0, "ab", O_RDWR | O_APPEND, 0), 2);
    expect_text("f", "0123ab");
    cr_assert_eq(write_as(fh, 0, "zz", 0, FUSE_WRITE_CACHE), 2);
    expect_text("f", "zz23ab");
    cr_assert_eq(write_as(fh, 1, "y", O_RDWR | O_APPEND, FUSE_WRITE_CACHE), 1);
    expect_text("f", "zy23ab");
    cr_assert_eq(write_as(fh, 2, "-", O_RDWR, 0), 1, "F_SETFL took O_APPEND away");
    expect_text("f", "zy-3ab");
    fh = open_name("f", O_WRONLY);
    cr_assert_eq(write_as(fh, 0, "cd", O_WRONLY | O_APPEND, 0), 2, "F_SETFL gave it");
    expect_text("f", "zy-3abcd");
    down();
    up_with(",cache=always", NULL);
    write_file("f", "0123", 4);
    fh = open_name("f", O_WRONLY | O_APPEND);
    cr_assert_eq(write_as(fh, 1, "ab", O_WRONLY | O_APPEND, 0), 2, "it knows where the end is");
    expect_text("f", "0ab3");
    down();
}

/* As chattr(1) does, besides the attributes that the file has: for ext4 the format of its block map
 * is one of them, and to leave that out asks for a conversion, which fails now and then, with the
 * other attributes set all the same. */
static bool only_longer(int fd, bool on)
{
    int attr;
    if (ioctl(fd, FS_IOC_GETFLAGS, &attr) < 0)
        return false;
    attr = on ? attr | FS_APPEND_FL : attr & ~FS_APPEND_FL;
    return ioctl(fd, FS_IOC_SETFLAGS, &attr) == 0;
}

/* A log of the host's: nobody may do anything else to it. */
Test(fs_files, what_can_only_become_longer)
{
    uint64_t fh;
    up();
    write_file("f", "0123", 4);
    int fd = open(in_folder("f"), O_RDONLY);
    if (!only_longer(fd, true)) {
        close(fd);
        down();
        cr_skip_test("needs root, and a file system with that attribute");
    }
    uint64_t n = node_of("f");
    cr_assert_eq(open_node(n, O_WRONLY, &fh), -EPERM);
    cr_assert_eq(open_node(n, O_WRONLY | O_APPEND | O_TRUNC, &fh), -EPERM);
    cr_assert_eq(open_node(n, O_WRONLY | O_APPEND, &fh), 0);
    cr_assert_eq(write_as(fh, 0, "ab", O_WRONLY | O_APPEND, 0), 2);
    expect_text("f", "0123ab");
    cr_assert(only_longer(fd, false));
    close(fd);
    down();
}

Test(fs_files, data_in_many_pieces)
{
    enum { LEN = 5000 };
    static uint8_t bytes[LEN], back[LEN];
    uint64_t node, fh;
    uint32_t id, used;
    up();
    for (unsigned i = 0; i < LEN; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    cr_assert_eq(create(FUSE_ROOT_ID, "f", 0644, O_RDWR, &node, &fh), 0);
    struct fuse_write_in w = {.fh = fh, .size = LEN};
    const struct fuse_in_header h = header(FUSE_WRITE, node, sizeof(w) + LEN);
    uint32_t len = place(&h, ARGS(VALUE(w), RAW(bytes, LEN)));
    struct rig_seg out[64], in[64];
    unsigned n = 0, k = 0;
    for (uint32_t at = 0; at < len; n++) {
        uint32_t part = MIN(len - at, n % 2 ? 333u : 1u + n);
        out[n] = (struct rig_seg){GPA(out_at.v + at), part};
        at += part;
    }
    in[0] = (struct rig_seg){in_at, 3};
    in[1] = (struct rig_seg){GPA(in_at.v + 3), 64};
    rig_add(rig, REQUESTS, out, n, in, 2);
    rig_kick(rig, REQUESTS);
    rig_settle(rig);
    cr_assert(rig_used(rig, REQUESTS, &id, &used));
    cr_assert_eq(used, HEAD_OUT + sizeof(struct fuse_write_out));
    cr_assert_eq(read_file("f", back, LEN), LEN);
    cr_assert_eq(memcmp(bytes, back, LEN), 0);

    const struct fuse_read_in rd = {.fh = fh, .size = LEN};
    const struct fuse_in_header g = header(FUSE_READ, node, sizeof(rd));
    out[0] = (struct rig_seg){out_at, place(&g, ARGS(VALUE(rd)))};
    for (uint32_t at = 0; at < HEAD_OUT + LEN; k++) {
        uint32_t part = MIN(HEAD_OUT + LEN - at, k % 2 ? 333u : 1u + k);
        in[k] = (struct rig_seg){GPA(in_at.v + at), part};
        at += part;
    }
    rig_add(rig, REQUESTS, out, 1, in, k);
    rig_kick(rig, REQUESTS);
    rig_settle(rig);
    cr_assert(rig_used(rig, REQUESTS, &id, &used));
    cr_assert_eq(used, HEAD_OUT + LEN);
    cr_assert_eq(memcmp(rig_at(rig, GPA(in_at.v + HEAD_OUT), LEN), bytes, LEN), 0);
    down();
}

TEST_EACH_WAY(W_PLAIN, fs_files, setuid_goes_when_somebody_writes)
{
    up();
    HOLDS(rig, "33d");
    write_file("f", "x", 1);
    cr_assert_eq(chmod(in_folder("f"), 04755), 0);
    uint64_t fh = open_name("f", O_RDWR);
    const struct fuse_write_in in = {.fh = fh, .size = 1, .write_flags = FUSE_WRITE_KILL_SUIDGID};
    struct fuse_write_out out;
    cr_assert_eq(ask_for(FUSE_WRITE, FUSE_ROOT_ID, ARGS(VALUE(in), RAW("y", 1)), &out, sizeof(out)),
                 0);
    cr_assert_eq(host_stat("f").st_mode & 07777, 0755);
    cr_assert_eq(chmod(in_folder("f"), 04755), 0);
    const struct fuse_fallocate_in grow = {.fh = fh, .length = 4096};
    cr_assert_eq(ask_for(FUSE_FALLOCATE, FUSE_ROOT_ID, ARGS(VALUE(grow)), NULL, 0), 0);
    cr_assert_eq(host_stat("f").st_mode & 07777, 0755);
    cr_assert_eq(chmod(in_folder("f"), 04755), 0);
    write_file("g", "from", 4);
    const struct fuse_copy_file_range_in copy = {
        .fh_in = open_name("g", O_RDONLY), .fh_out = fh, .len = 4};
    cr_assert_eq(ask_for(FUSE_COPY_FILE_RANGE, FUSE_ROOT_ID, ARGS(VALUE(copy)), &out, sizeof(out)),
                 0);
    cr_assert_eq(host_stat("f").st_mode & 07777, 0755);
    down();
}

Test(fs_files, holes_and_copies)
{
    uint64_t node, fh, fh2;
    struct fuse_lseek_out at;
    struct fuse_write_out copied;
    char buf[8] = "";
    up();
    cr_assert_eq(create(FUSE_ROOT_ID, "f", 0644, O_RDWR, &node, &fh), 0);
    struct fuse_fallocate_in grow = {.fh = fh, .length = 1 << 20};
    cr_assert_eq(ask_for(FUSE_FALLOCATE, node, ARGS(VALUE(grow)), NULL, 0), 0);
    cr_assert_eq(host_stat("f").st_size, 1 << 20);
    cr_assert_eq(write_at(fh, 0, "begin", 5), 5);
    struct fuse_fallocate_in punch = {.fh = fh,
                                      .offset = 4096,
                                      .length = 1 << 19,
                                      .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    cr_assert_eq(ask_for(FUSE_FALLOCATE, node, ARGS(VALUE(punch)), NULL, 0), 0);
    const struct fuse_lseek_in hole = {.fh = fh, .whence = SEEK_HOLE};
    cr_assert_eq(ask_for(FUSE_LSEEK, node, ARGS(VALUE(hole)), &at, sizeof(at)), 0);
    cr_assert_eq(at.offset, 4096);
    const struct fuse_lseek_in past = {.fh = fh, .whence = SEEK_DATA, .offset = 1 << 21};
    cr_assert_eq(ask_for(FUSE_LSEEK, node, ARGS(VALUE(past)), &at, sizeof(at)), -ENXIO);
    const struct fuse_lseek_in set = {.fh = fh, .whence = SEEK_SET};
    cr_assert_eq(ask_for(FUSE_LSEEK, node, ARGS(VALUE(set)), &at, sizeof(at)), -EINVAL);
    punch.mode = FALLOC_FL_COLLAPSE_RANGE;
    cr_assert_eq(ask_for(FUSE_FALLOCATE, node, ARGS(VALUE(punch)), NULL, 0), -EOPNOTSUPP);
    punch = (struct fuse_fallocate_in){.fh = fh, .offset = UINT64_MAX, .length = 2};
    cr_assert_eq(ask_for(FUSE_FALLOCATE, node, ARGS(VALUE(punch)), NULL, 0), -EINVAL);

    cr_assert_eq(create(FUSE_ROOT_ID, "g", 0644, O_RDWR, &node, &fh2), 0);
    struct fuse_copy_file_range_in copy = {
        .fh_in = fh, .off_in = 1, .nodeid_out = node, .fh_out = fh2, .off_out = 2, .len = 4};
    cr_assert_eq(ask_for(FUSE_COPY_FILE_RANGE, 0, ARGS(VALUE(copy)), &copied, sizeof(copied)), 0);
    cr_assert_eq(copied.size, 4);
    cr_assert_eq(read_file("g", buf, 8), 6);
    cr_assert_eq(memcmp(buf, "\0\0egin", 6), 0);
    copy.fh_out = 99;
    cr_assert_eq(ask_for(FUSE_COPY_FILE_RANGE, 0, ARGS(VALUE(copy)), &copied, sizeof(copied)),
                 -EBADF);
    copy.flags = 1;
    cr_assert_eq(ask_for(FUSE_COPY_FILE_RANGE, 0, ARGS(VALUE(copy)), &copied, sizeof(copied)),
                 -EINVAL);
    for (uint32_t flags = 0; flags < 2; flags++) {
        const struct fuse_fsync_in sync = {.fh = fh, .fsync_flags = flags};
        cr_assert_eq(ask_for(FUSE_FSYNC, 0, ARGS(VALUE(sync)), NULL, 0), 0);
    }
    down();
}

/* --- a folder that must not change --- */

Test(fs_files, read_only)
{
    struct fuse_entry_out e;
    struct fuse_attr a;
    uint64_t node, fh;
    const struct fuse_mkdir_in in = {.mode = 0755};
    make_folder();
    write_file("f", "x", 1);
    rig = fs_rig(",ro", NULL);
    buffers_up();
    (void)init_with(36, ~0ull);
    cr_assert_eq(open_node(node_of("f"), O_RDWR, &fh), -EROFS);
    cr_assert_eq(open_node(node_of("f"), O_RDONLY, &fh), 0);
    cr_assert_eq(create(FUSE_ROOT_ID, "g", 0644, O_RDWR, &node, &fh), -EROFS);
    cr_assert_eq(ask_for(FUSE_MKDIR, FUSE_ROOT_ID, ARGS(VALUE(in), TEXT("d")), &e, sizeof(e)),
                 -EROFS);
    cr_assert_eq(ask_for(FUSE_UNLINK, FUSE_ROOT_ID, ARGS(TEXT("f")), NULL, 0), -EROFS);
    cr_assert_eq(setattr(node_of("f"), (struct fuse_setattr_in){.valid = FATTR_SIZE}, &a), -EROFS);
    cr_assert_eq(host_stat("f").st_size, 1);
    down();
}
