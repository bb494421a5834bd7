/* tests/unit/test_tree_attr.c - attributes, extended ones, and locks of a shared folder's files. */
#include "tree_try.h"

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static struct stat of(const char *name)
{
    struct stat st;
    cr_assert_eq(lstat(at(name), &st), 0, "%s", name);
    return st;
}

BOTH(tree_attr, mode_size_times)
{
    host_file(at("f"), "hello");
    uint64_t id = id_of(TREE_ROOT, "f");
    struct statx st;
    struct tree_change c = {
        .what = TREE_SET_MODE | TREE_SET_SIZE | TREE_SET_ATIME | TREE_SET_MTIME,
        .mode = S_IFDIR | 0640,
        .size = 3,
        .atime = {.tv_sec = 1000, .tv_nsec = 5},
        .mtime = {.tv_sec = 2000},
    };
    if (geteuid() != 0)
        cr_assert_eq(chmod(at("f"), 0600), 0);
    cr_assert_eq(do_change(id, &c, &st), 0);
    cr_assert_eq(st.stx_mode, S_IFREG | 0640);
    cr_assert_eq(st.stx_size, 3);
    cr_assert_eq(st.stx_atime.tv_sec, 1000);
    cr_assert_eq(st.stx_atime.tv_nsec, 5);
    cr_assert_eq(st.stx_mtime.tv_sec, 2000);
    c = (struct tree_change){.what = TREE_SET_MTIME, .mtime = {.tv_nsec = UTIME_NOW}};
    cr_assert_eq(do_change(id, &c, &st), 0);
    cr_assert_gt(st.stx_mtime.tv_sec, 2000);
    cr_assert_eq(st.stx_atime.tv_sec, 1000);
    c = (struct tree_change){.what = TREE_SET_ATIME, .atime = {.tv_nsec = 1000000000}};
    cr_assert_eq(do_change(id, &c, &st), -EINVAL);
    c = (struct tree_change){.what = TREE_SET_SIZE, .size = UINT64_MAX};
    cr_assert_eq(do_change(id, &c, &st), -EFBIG);
    c.size = 0;
    cr_assert_eq(do_change(TREE_ROOT, &c, &st), -EISDIR);
    c = (struct tree_change){0};
    cr_assert_eq(do_change(id, &c, &st), 0);
}

BOTH(tree_attr, size_through_an_open_file)
{
    struct tree_entry en;
    uint64_t h, ro;
    struct statx st;
    struct tree_change c = {.what = TREE_SET_SIZE, .size = 5};
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(open_id(en.id, O_RDONLY, &ro), 0);
    cr_assert_eq(chmod(at("f"), 0), 0);
#define CHANGE(handle) WITH_FILE(handle, WITH(en.id, tree_change(t, &root_user, n, f, &c, &st)))
    cr_assert_eq(CHANGE(h), 0, "by what was opened when it might be");
    cr_assert_eq(st.stx_size, 5);
    c.size = UINT64_MAX;
    cr_assert_eq(CHANGE(h), -EFBIG);
    c.size = 6;
    cr_assert_eq(CHANGE(ro), geteuid() == 0 ? 0 : -EACCES);
#undef CHANGE
}

BOTH(tree_attr, nothing_of_a_link_s_target)
{
    cr_assert_eq(symlink("../outside/canary", at("l")), 0);
    struct stat before, after;
    char canary[128];
    snprintf(canary, sizeof(canary), "%s/canary", outside);
    cr_assert_eq(stat(canary, &before), 0);
    uint64_t id = id_of(TREE_ROOT, "l");
    struct statx st;
    struct tree_change c = {.what = TREE_SET_MODE, .mode = 0777};
    cr_assert_eq(do_change(id, &c, &st), -EOPNOTSUPP);
    c.what = TREE_SET_SIZE;
    cr_assert_eq(do_change(id, &c, &st), -EINVAL);
    c.what = TREE_SET_KILL_SUID;
    cr_assert_eq(do_change(id, &c, &st), 0);
    c.what = TREE_SET_UID | TREE_SET_GID;
    cr_assert_eq(do_change(id, &c, &st), 0);
    c = (struct tree_change){.what = TREE_SET_MTIME, .mtime = {.tv_sec = 5}};
    cr_assert_eq(do_change(id, &c, &st), 0);
    cr_assert_eq(of("l").st_mtime, 5, "the link's own");
    char buf[64];
    cr_assert_eq(WITH(id, tree_getxattr(t, n, "user.x", buf, sizeof(buf))), -ENODATA);
    cr_assert_eq(WITH(id, tree_listxattr(t, n, buf, sizeof(buf))), 0);
    cr_assert_eq(WITH(id, tree_setxattr(t, n, "user.x", "y", 1, 0)), -EPERM);
    cr_assert_eq(WITH(id, tree_removexattr(t, n, "user.x")), -EPERM);
    cr_assert_eq(stat(canary, &after), 0);
    cr_assert_eq(memcmp(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim)), 0);
}

/* Each way to change data takes the bits with which a program gets somebody else's rights. */
BOTH(tree_attr, no_suid_survives_a_change_of_data)
{
    struct tree_entry en;
    struct statx st;
    uint64_t h;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
#define SUID(mode) cr_assert_eq(chmod(at("f"), mode), 0)
    SUID(06777);
    cr_assert_eq(WITH_FILE(h, tree_kill_suid(t, f)), 0);
    cr_assert_eq(of("f").st_mode & 07777, 0777);
    SUID(06777);
    uint64_t ro;
    cr_assert_eq(open_id(en.id, O_RDONLY, &ro), 0);
    cr_assert_eq(WITH_FILE(ro, tree_kill_suid(t, f)), -EBADF);
    cr_assert_eq(of("f").st_mode & 07777, 06777);
    SUID(02767); /* not to be run by the group: a mark for locks, once */
    cr_assert_eq(WITH_FILE(h, tree_kill_suid(t, f)), 0);
    cr_assert_eq(of("f").st_mode & 07777, 02767);
    SUID(06777);
    cr_assert_eq(WITH(en.id, tree_open(t, &root_user, n, O_RDWR | O_TRUNC, true, &h)), 0);
    cr_assert_eq(of("f").st_mode & 07777, 0777);
    SUID(06777);
    struct tree_change c = {.what = TREE_SET_SIZE | TREE_SET_KILL_SUID, .size = 7};
    cr_assert_eq(do_change(en.id, &c, &st), 0);
    cr_assert_eq(st.stx_mode & 07777, 0777);
    SUID(06777);
    struct tree_entry again;
    cr_assert_eq(WITH(TREE_ROOT,
                      tree_create(t, &root_user, n, "f", 0644, O_RDWR | O_TRUNC, true, &again, &h)),
                 0);
    cr_assert_eq(again.st.stx_mode & 07777, 0777);
    SUID(06777);
    c = (struct tree_change){.what = TREE_SET_UID};
    cr_assert_eq(do_change(en.id, &c, &st), 0);
    cr_assert_eq(st.stx_mode & 07777, 0777, "whose it is does as well");
#undef SUID
    /* A folder's means something else. */
    cr_assert_eq(make_dir(TREE_ROOT, "d", &en), 0);
    cr_assert_eq(chmod(at("d"), 02755), 0);
    c = (struct tree_change){.what = TREE_SET_KILL_SUID};
    cr_assert_eq(do_change(en.id, &c, &st), 0);
    cr_assert_eq(st.stx_mode & 07777, 02755);
}

BOTH(tree_attr, extended_attributes)
{
    struct tree_entry en;
    uint64_t h;
    char buf[64] = "";
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
#define SET(name, value, len, flags) WITH(en.id, tree_setxattr(t, n, name, value, len, flags))
#define GET(name, len)               WITH(en.id, tree_getxattr(t, n, name, buf, len))
    cr_assert_eq(SET("user.one", "abc", 3, 0), 0);
    cr_assert_eq(SET("user.two", "", 0, XATTR_CREATE), 0);
    cr_assert_eq(SET("user.two", "x", 1, XATTR_CREATE), -EEXIST);
    cr_assert_eq(SET("user.three", "x", 1, XATTR_REPLACE), -ENODATA);
    cr_assert_eq(SET("user.one", "x", 1, 4), -EINVAL);
    cr_assert_eq(SET("user.one", "x", 65537, 0), -E2BIG);
    cr_assert_eq(GET("user.one", 64), 3);
    cr_assert_str_eq(buf, "abc");
    cr_assert_eq(GET("user.one", 0), 3);
    cr_assert_eq(GET("user.one", 2), -ERANGE);
    cr_assert_eq(GET("user.none", 64), -ENODATA);
    cr_assert_eq(GET("user.", 64), -EINVAL);
    char longest[300] = "user.";
    memset(longest + 5, 'x', 294);
    cr_assert_eq(GET(longest, 64), -ERANGE);
    cr_assert_eq(WITH(en.id, tree_listxattr(t, n, buf, 0)), 18);
    cr_assert_eq(WITH(en.id, tree_listxattr(t, n, buf, 17)), -ERANGE);
    cr_assert_eq(WITH(en.id, tree_listxattr(t, n, buf, 18)), 18);
    cr_assert(memmem(buf, 18, "user.one", 9) && memmem(buf, 18, "user.two", 9));
    cr_assert_eq(WITH(en.id, tree_removexattr(t, n, "user.one")), 0);
    cr_assert_eq(WITH(en.id, tree_removexattr(t, n, "user.one")), -ENODATA);
    cr_assert_eq(WITH(en.id, tree_listxattr(t, n, buf, 18)), 9);
    cr_assert_eq(WITH(TREE_ROOT, tree_setxattr(t, n, "user.d", "x", 1, 0)), 0);
    cr_assert_eq(getxattr(share, "user.d", buf, sizeof(buf)), 1);
    /* The host's own. */
    static const char *const theirs[] = {
        "security.capability",
        "security.selinux",
        "trusted.overlay.opaque",
        "system.posix_acl_access",
        "system.posix_acl_default",
        "user",
        "",
        "USER.x",
        "security.user.x",
    };
    for (unsigned i = 0; i < ARRAY_SIZE(theirs); i++) {
        cr_assert_eq(SET(theirs[i], "x", 1, 0), -EOPNOTSUPP, "%s", theirs[i]);
        cr_assert_eq(GET(theirs[i], 64), -EOPNOTSUPP);
        cr_assert_eq(WITH(en.id, tree_removexattr(t, n, theirs[i])), -EOPNOTSUPP);
    }
#undef SET
#undef GET
}

/* CVE-2021-20263: a write takes a program's capabilities away, and they are not shown. */
Test(tree_attr, no_capabilities_survive_a_write, .init = setup_root, .fini = teardown)
{
    struct tree_entry en;
    uint64_t h;
    char buf[64];
    struct {
        uint32_t magic, permitted[2], inheritable[2];
    } cap = {0x02000001, {1 << 10}, {0}};
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(setxattr(at("f"), "security.capability", &cap, 20, 0), 0);
    cr_assert_eq(setxattr(at("f"), "trusted.x", "y", 1, 0), 0);
    cr_assert_eq(WITH(en.id, tree_listxattr(t, n, buf, sizeof(buf))), 0);
    cr_assert_eq(WITH_FILE(h, write(tree_file_fd(f), "x", 1)), 1);
    cr_assert_eq(getxattr(at("f"), "security.capability", buf, sizeof(buf)), -1);
    cr_assert_eq(errno, ENODATA);
    cr_assert_eq(setxattr(at("f"), "security.capability", &cap, 20, 0), 0);
    struct tree_change c = {.what = TREE_SET_SIZE, .size = 9};
    struct statx st;
    cr_assert_eq(do_change(en.id, &c, &st), 0);
    cr_assert_eq(getxattr(at("f"), "security.capability", buf, sizeof(buf)), -1);
}

BOTH(tree_attr, access_and_file_systems)
{
    struct tree_entry en;
    uint64_t h;
    struct statvfs fs;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(chmod(at("f"), 0640), 0);
#define MAY(u, mode) WITH(en.id, tree_access(t, u, n, mode))
    struct tree_user group = {.uid = 5, .gid = 0};
    cr_assert_eq(MAY(&root_user, F_OK), 0);
    cr_assert_eq(MAY(&root_user, R_OK | W_OK), 0);
    cr_assert_eq(MAY(&root_user, X_OK), -EACCES);
    cr_assert_eq(MAY(&group, R_OK), 0);
    cr_assert_eq(MAY(&group, W_OK), -EACCES);
    cr_assert_eq(MAY(&somebody, R_OK), -EACCES);
    cr_assert_eq(MAY(&somebody, F_OK), 0);
    cr_assert_eq(MAY(&root_user, 8), -EINVAL);
    cr_assert_eq(chmod(at("f"), 0444), 0);
    cr_assert_eq(MAY(&root_user, W_OK), geteuid() == 0 ? 0 : -EACCES, "nor may we");
    cr_assert_eq(chmod(at("f"), 0), 0);
    struct tree_user owner = {.uid = 0, .gid = 9};
    cr_assert_eq(MAY(&owner, X_OK), -EACCES);
#undef MAY
    cr_assert_eq(WITH(en.id, tree_statfs(t, n, &fs)), 0);
    cr_assert_eq(fs.f_flag & ST_RDONLY, 0);
    cr_assert_gt(fs.f_namemax, 0);
    cr_assert_eq(chmod(at("f"), 0600), 0);
    cr_assert_eq(WITH(en.id, tree_syncfs(t, n)), 0);
    cr_assert_eq(WITH(TREE_ROOT, tree_syncfs(t, n)), 0);
}

/* ---- Locks ---- */

static int lock(uint64_t h, uint64_t owner, short type, off_t start, off_t len)
{
    struct flock l = {.l_type = type, .l_start = start, .l_len = len, .l_pid = 99};
    return WITH_FILE(h, tree_lock(t, f, owner, &l, false));
}

static int whole(uint64_t h, short type)
{
    struct flock l = {.l_type = type};
    return WITH_FILE(h, tree_lock(t, f, 0, &l, true));
}

static struct flock test_lock(uint64_t h, uint64_t owner, short type, off_t start, off_t len)
{
    struct flock l = {.l_type = type, .l_start = start, .l_len = len, .l_pid = 99};
    cr_assert_eq(WITH_FILE(h, tree_lock_test(t, f, owner, &l)), 0);
    return l;
}

BOTH(tree_lock, owners)
{
    struct tree_entry en;
    uint64_t h, h2;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(open_id(en.id, O_RDWR, &h2), 0);
    cr_assert_eq(lock(h, 1, F_WRLCK, 0, 10), 0);
    cr_assert_eq(lock(h2, 1, F_WRLCK, 5, 10), 0, "one owner has one view, by all its files");
    cr_assert_eq(lock(h, 2, F_RDLCK, 14, 1), -EAGAIN);
    cr_assert_eq(lock(h, 2, F_RDLCK, 15, 1), 0);
    cr_assert_eq(tree_files(t), 4, "each owner has a descriptor");
    struct flock l = test_lock(h, 2, F_RDLCK, 3, 100);
    cr_assert(l.l_type == F_WRLCK && l.l_start == 0 && l.l_len == 15 && l.l_pid == 0);
    l = test_lock(h, 3, F_WRLCK, 15, 1);
    cr_assert(l.l_type == F_RDLCK && l.l_start == 15 && l.l_len == 1);
    cr_assert_eq(test_lock(h, 3, F_RDLCK, 15, 1).l_type, F_UNLCK);
    cr_assert_eq(test_lock(h2, 1, F_WRLCK, 0, 15).l_type, F_UNLCK);
    cr_assert_eq(lock(h, 1, F_UNLCK, 3, 2), 0);
    cr_assert_eq(test_lock(h, 2, F_WRLCK, 3, 2).l_type, F_UNLCK);
    cr_assert_eq(lock(h, 1, F_UNLCK, 0, 0), 0);
    cr_assert_eq(tree_files(t), 3);
    cr_assert_eq(lock(h, 1, F_UNLCK, 3, 2), 0, "none held");
    WITH_FILE(h, (tree_unlock_all(t, f, 2), 0));
    WITH_FILE(h, (tree_unlock_all(t, f, 77), 0));
    cr_assert_eq(tree_files(t), 2);
    cr_assert_eq(lock(h, 9, F_WRLCK, 0, 0), 0);
    tree_close(t, h);
    cr_assert_eq(test_lock(h2, 8, F_WRLCK, 0, 1).l_type, F_WRLCK, "still open");
    tree_close(t, h2);
    cr_assert_eq(tree_files(t), 0);
    cr_assert_eq(open_id(en.id, O_RDWR, &h), 0);
    cr_assert_eq(test_lock(h, 8, F_WRLCK, 0, 1).l_type, F_UNLCK);
}

BOTH(tree_lock, what_is_no_lock)
{
    struct tree_entry en;
    uint64_t h, rd, wr;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(open_id(en.id, O_RDONLY, &rd), 0);
    cr_assert_eq(open_id(en.id, O_WRONLY, &wr), 0);
    cr_assert_eq(lock(rd, 1, F_WRLCK, 0, 1), -EBADF);
    cr_assert_eq(lock(wr, 1, F_RDLCK, 0, 1), -EBADF);
    cr_assert_eq(test_lock(rd, 1, F_WRLCK, 0, 1).l_type, F_UNLCK, "to ask is not to lock");
    cr_assert_eq(lock(h, 1, 77, 0, 1), -EINVAL);
    cr_assert_eq(lock(h, 1, F_WRLCK, -1, 1), -EINVAL);
    cr_assert_eq(lock(h, 1, F_WRLCK, 1, -1), -EINVAL);
    cr_assert_eq(lock(h, 1, F_WRLCK, 2, INT64_MAX), -EINVAL);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_END};
    cr_assert_eq(WITH_FILE(h, tree_lock(t, f, 1, &l, false)), -EINVAL);
    l = (struct flock){.l_type = F_UNLCK};
    cr_assert_eq(WITH_FILE(h, tree_lock_test(t, f, 1, &l)), -EINVAL);
    cr_assert_eq(whole(h, 77), -EINVAL);
    cr_assert_eq(tree_files(t), 3);
    cr_assert_eq(lock(rd, 1, F_RDLCK, 0, 1), 0);
    cr_assert_eq(lock(wr, 1, F_WRLCK, 0, 1), 0, "the owner's descriptor can both");
}

BOTH(tree_lock, of_whole_files)
{
    struct tree_entry en;
    uint64_t a, b;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &a), 0);
    cr_assert_eq(open_id(en.id, O_RDONLY, &b), 0);
    cr_assert_eq(whole(a, F_RDLCK), 0);
    cr_assert_eq(whole(b, F_RDLCK), 0);
    cr_assert_eq(whole(a, F_WRLCK), -EAGAIN);
    cr_assert_eq(whole(b, F_UNLCK), 0);
    cr_assert_eq(whole(a, F_WRLCK), 0);
    cr_assert_eq(whole(b, F_RDLCK), -EAGAIN);
    tree_close(t, a);
    cr_assert_eq(whole(b, F_RDLCK), 0);
    cr_assert_eq(WITH(TREE_ROOT, tree_open_folder(t, n, &a)), 0);
    cr_assert_eq(whole(a, F_WRLCK), 0, "folders too");
}

BOTH(tree_lock, between_processes)
{
    struct tree_entry en;
    uint64_t h;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(lock(h, 1, F_WRLCK, 0, 10), 0);
    int go[2], ready[2];
    char c;
    cr_assert(pipe(go) == 0 && pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = open(at("f"), O_RDWR | O_CLOEXEC);
        struct flock l = {.l_type = F_WRLCK, .l_start = 5, .l_len = 1};
        bool refused = fcntl(fd, F_SETLK, &l) < 0;
        l.l_start = 20;
        bool held = fcntl(fd, F_SETLK, &l) == 0;
        c = refused && held;
        (void)!write(ready[1], &c, 1);
        (void)!read(go[0], &c, 1);
        _exit(0);
    }
    cr_assert_eq(read(ready[0], &c, 1), 1);
    cr_assert_eq(c, 1);
    cr_assert_eq(lock(h, 1, F_RDLCK, 20, 1), -EAGAIN);
    struct flock l = test_lock(h, 1, F_RDLCK, 0, 0);
    cr_assert(l.l_type == F_WRLCK && l.l_start == 20);
    cr_assert_eq(l.l_pid, 0, "the host's processes are not told");
    cr_assert_eq(write(go[1], "", 1), 1);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert_eq(lock(h, 1, F_RDLCK, 20, 1), 0);
}

BOTH(tree_lock, so_many_owners)
{
    struct tree_entry en;
    uint64_t h, owner = 0;
    int rc;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    while ((rc = lock(h, owner, F_RDLCK, 0, 1)) == 0)
        owner++;
    cr_assert_eq(rc, -ENOLCK);
    cr_assert_leq(owner, 4096);
    cr_assert_eq(lock(h, 0, F_RDLCK, 1, 1), 0);
    cr_assert_eq(lock(h, 0, F_UNLCK, 0, 0), 0);
    cr_assert_eq(lock(h, owner, F_RDLCK, 0, 1), 0);
}

/* Each is a record in the host's kernel, and costs no descriptor. */
Test(tree_lock, so_many_ranges, .init = setup_user, .fini = teardown)
{
    enum { MOST = 8192 };
    struct tree_entry en;
    uint64_t h[2];
    off_t at = 0;
    int rc;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h[0]), 0);
    cr_assert_eq(create(TREE_ROOT, "g", &en, &h[1]), 0);
    cr_assert_eq(lock(h[1], 1, F_WRLCK, 0, 10), 0);
    while ((rc = lock(h[0], 2, F_WRLCK, at, 1)) == 0 && at < 3 * MOST)
        at += 2;
    cr_assert_eq(rc, -ENOLCK);
    cr_assert_eq(at / 2, MOST - 1);
    cr_assert_eq(lock(h[1], 3, F_RDLCK, 100, 1), -ENOLCK, "of all files together");
    cr_assert_eq(lock(h[1], 1, F_UNLCK, 5, 1), -ENOLCK, "which makes two of one");
    cr_assert_eq(lock(h[1], 1, F_RDLCK, 5, 1), -ENOLCK);
    struct flock l = test_lock(h[1], 3, F_WRLCK, 5, 1);
    cr_assert(l.l_type == F_WRLCK && l.l_start == 0 && l.l_len == 10, "and nothing has changed");
    cr_assert_eq(lock(h[1], 1, F_WRLCK, 10, 5), 0, "a neighbour adds none");
    cr_assert_eq(lock(h[1], 1, F_UNLCK, 0, 3), 0);
    cr_assert_eq(lock(h[0], 2, F_WRLCK, 1, 1), 0, "two become one");
    cr_assert_eq(lock(h[1], 1, F_UNLCK, 5, 1), 0);
    cr_assert_eq(lock(h[1], 1, F_UNLCK, 7, 1), -ENOLCK);
    WITH_FILE(h[0], (tree_unlock_all(t, f, 2), 0));
    for (at = 0; at < 2 * MOST - 4; at += 2)
        cr_assert_eq(lock(h[0], 4, F_WRLCK, at, 1), 0);
    cr_assert_eq(lock(h[0], 4, F_WRLCK, at, 1), -ENOLCK);
    tree_close(t, h[0]);
    cr_assert_eq(lock(h[1], 3, F_RDLCK, 100, 1), 0, "a file that is closed has none");
}

static void few_files(void)
{
    config = (struct tree_config){.max_files = 3};
    setup_root();
}

Test(tree_lock, there_are_so_many, .init = few_files, .fini = teardown)
{
    struct tree_entry en;
    uint64_t h;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(lock(h, 1, F_RDLCK, 0, 1), 0);
    cr_assert_eq(lock(h, 2, F_RDLCK, 0, 1), 0);
    cr_assert_eq(lock(h, 3, F_RDLCK, 0, 1), -ENOLCK);
    cr_assert_eq(lock(h, 2, F_RDLCK, 0, 9), 0);
    uint64_t more;
    cr_assert_eq(open_id(en.id, O_RDONLY, &more), -ENFILE);
    cr_assert_eq(lock(h, 1, F_UNLCK, 0, 0), 0);
    cr_assert_eq(open_id(en.id, O_RDONLY, &more), 0);
    cr_assert_eq(open_id(en.id, O_RDONLY, &more), -ENFILE);
    cr_assert_eq(WITH(TREE_ROOT, tree_open_folder(t, n, &more)), -ENFILE);
    cr_assert_eq(create(TREE_ROOT, "g", &en, &more), -ENFILE);
    cr_assert_eq(access(at("g"), F_OK), -1, "refused before it was made");
}
