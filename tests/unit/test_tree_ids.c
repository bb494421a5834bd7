/* tests/unit/test_tree_ids.c - whose files are, in both modes; a folder that may only be read; how
 * much there may be; and what a set-up is refused for. */
#include "tree_try.h"

#include "tests/rig/proves.h"
#include <linux/capability.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static struct stat of(const char *name)
{
    struct stat st;
    cr_assert_eq(lstat(at(name), &st), 0, "%s", name);
    return st;
}

static void map(struct opt_strs *m, const char *a, const char *b)
{
    *m = (struct opt_strs){.v = {a, b}, .n = b ? 2 : 1};
}

static int make_file(const struct tree_user *u, const char *name, uint32_t mode,
                     struct tree_entry *out)
{
    uint64_t h;
    return WITH(TREE_ROOT, tree_create(t, u, n, name, mode, O_RDWR, false, out, &h));
}

Test(tree_ids, as_it_is, .init = setup_root, .fini = teardown)
{
    struct tree_entry en;
    struct statx st;
    cr_assert_eq(chmod(share, 0700), 0);
    cr_assert_eq(make_file(&somebody, "f", 0644, &en), 0, "its kernel has looked who may");
    cr_assert(en.st.stx_uid == 1000 && en.st.stx_gid == 1001);
    cr_assert_eq(WITH(TREE_ROOT, tree_mkdir(t, &somebody, n, "d", 0755, &en)), 0);
    cr_assert_eq(WITH(TREE_ROOT, tree_symlink(t, &somebody, n, "l", "x", &en)), 0);
    cr_assert_eq(WITH(TREE_ROOT, tree_mknod(t, &somebody, n, "p", S_IFIFO | 0600, 0, &en)), 0);
    static const char *const names[] = {"f", "d", "l", "p"};
    for (unsigned i = 0; i < 4; i++)
        cr_assert(of(names[i]).st_uid == 1000 && of(names[i]).st_gid == 1001, "%s", names[i]);
    /* Back to what we are: nobody else's rights, and all of ours. */
    cr_assert_eq(setfsuid((uid_t)-1), 0);
    cr_assert_eq(setfsgid((gid_t)-1), 0);
    struct tree_change c = {.what = TREE_SET_UID | TREE_SET_GID, .uid = 7, .gid = 8};
    cr_assert_eq(do_change(en.id, &c, &st), 0);
    cr_assert(st.stx_uid == 7 && st.stx_gid == 8);
    c = (struct tree_change){.what = TREE_SET_GID, .gid = 9};
    cr_assert_eq(do_change(en.id, &c, &st), 0);
    cr_assert(st.stx_uid == 7 && st.stx_gid == 9);
    c = (struct tree_change){.what = TREE_SET_UID, .uid = UINT32_MAX};
    cr_assert_eq(do_change(en.id, &c, &st), -EINVAL);
    struct tree_user none = {.uid = UINT32_MAX};
    cr_assert_eq(make_file(&none, "g", 0644, &en), -EOVERFLOW);
    cr_assert_eq(make_file(&root_user, "r", 04755, &en), 0);
    cr_assert(of("r").st_uid == 0 && (of("r").st_mode & 07777) == 04755);
}

Test(tree_ids, the_thread_is_as_before, .init = setup_root, .fini = teardown)
{
    struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
    uint32_t before[6], after[6];
    struct tree_entry en;
    cr_assert_eq(syscall(SYS_capget, &h, before), 0);
    cr_assert_eq(make_file(&somebody, "f", 0644, &en), 0);
    cr_assert_eq(make_file(&somebody, "no/f", 0644, &en), -EINVAL);
    cr_assert_eq(WITH(en.id, tree_mkdir(t, &somebody, n, "x", 0755, &en)), -ENOTDIR);
    cr_assert_eq(syscall(SYS_capget, &h, after), 0);
    cr_assert_eq(memcmp(before, after, sizeof(before)), 0);
    cr_assert_eq(setfsuid((uid_t)-1), 0);
    cr_assert_eq(umask(0), 022);
}

/* GHSA-mv2v, CVE-2022-0358: a file in a folder of a group's does not get that group's rights by
 * somebody who is not in it, although we are. */
static void in_a_group(void)
{
    gid_t group = GROUP;
    if (geteuid() == 0)
        cr_assert_eq(setgroups(1, &group), 0);
    setup_root();
}

Test(tree_ids, no_group_that_is_ours, .init = in_a_group, .fini = teardown)
{
    HOLDS_HERE("33d");
    struct tree_entry en;
    cr_assert_eq(chown(share, 0, GROUP), 0);
    cr_assert_eq(chmod(share, 02777), 0);
    cr_assert_eq(make_file(&somebody, "f", 02755, &en), 0);
    cr_assert_eq(of("f").st_gid, GROUP);
    cr_assert_eq(of("f").st_mode & 07777, 0755);
    cr_assert_eq(WITH(TREE_ROOT, tree_mknod(t, &somebody, n, "n", S_IFREG | 02755, 0, &en)), 0);
    cr_assert_eq(of("n").st_mode & 07777, 0755);
    struct tree_user member = {.uid = 1000, .gid = GROUP};
    cr_assert_eq(make_file(&member, "m", 02755, &en), 0);
    cr_assert_eq(of("m").st_mode & 07777, 02755);
    gid_t group = 0;
    cr_assert(getgroups(1, &group) == 1 && group == GROUP, "and we are as before");
}

static void setup_map(void)
{
    map(&config.uid_map, "0:100000:1000", "5000:70000:1");
    map(&config.gid_map, "0:200000:1000", NULL);
    if (geteuid() != 0)
        cr_skip_test("needs root");
    make_folders();
    cr_assert_eq(chown(share, 100000, 200000), 0);
    new_tree();
}

Test(tree_map, ids_are_others_in_the_guest, .init = setup_map, .fini = teardown)
{
    struct tree_entry en;
    struct statx st;
    struct tree_user u = {.uid = 999, .gid = 999}, far = {.uid = 5000, .gid = 0};
    cr_assert_eq(make_file(&u, "f", 04755, &en), 0);
    cr_assert(of("f").st_uid == 100999 && of("f").st_gid == 200999);
    cr_assert(en.st.stx_uid == 999 && en.st.stx_gid == 999);
    cr_assert_eq(make_file(&far, "far", 0644, &en), 0);
    cr_assert(of("far").st_uid == 70000 && of("far").st_gid == 200000);
    cr_assert_eq(make_file(&root_user, "r", 0644, &en), 0);
    cr_assert(of("r").st_uid == 100000 && of("r").st_gid == 200000);
    struct tree_user beyond[] = {
        {.uid = 1000}, {.gid = 1000}, {.uid = 4999}, {.uid = 5001}, {.uid = 100000}};
    for (unsigned i = 0; i < ARRAY_SIZE(beyond); i++)
        cr_assert_eq(make_file(&beyond[i], "b", 0644, &en), -EOVERFLOW);
    cr_assert_eq(access(at("b"), F_OK), -1);
    struct tree_change c = {.what = TREE_SET_UID, .uid = 1000};
    cr_assert_eq(do_change(en.id, &c, &st), -EINVAL);
    c = (struct tree_change){.what = TREE_SET_GID, .gid = 1000};
    cr_assert_eq(do_change(en.id, &c, &st), -EINVAL);
    c = (struct tree_change){.what = TREE_SET_UID, .uid = 5000};
    cr_assert_eq(do_change(en.id, &c, &st), 0);
    cr_assert_eq(st.stx_uid, 5000);
    cr_assert_eq(of("r").st_uid, 70000);
}

/* What belongs to nobody of the guest's is for it what it is for everybody. */
Test(tree_map, what_is_not_the_guest_s, .init = setup_map, .fini = teardown)
{
    struct tree_entry en;
    struct statx st;
    uint64_t h;
    char buf[8];
    host_file(at("private"), "secret");
    cr_assert_eq(chmod(at("private"), 0600), 0);
    host_file(at("public"), "hello");
    cr_assert_eq(mkdir(at("theirs"), 0700), 0);
    cr_assert_eq(mkdir(at("shown"), 0755), 0);
    host_file(at("shown/x"), "x");
    uint64_t private = id_of(TREE_ROOT, "private"), public = id_of(TREE_ROOT, "public");
    uint64_t theirs = id_of(TREE_ROOT, "theirs"), shown = id_of(TREE_ROOT, "shown");
    cr_assert_eq(WITH(private, tree_stat(t, n, &st)), 0);
    cr_assert(st.stx_uid == 65534 && st.stx_gid == 65534);
    cr_assert_eq(open_id(private, O_RDONLY, &h), -EACCES);
    cr_assert_eq(open_id(private, O_WRONLY, &h), -EACCES);
    cr_assert_eq(open_id(private, O_RDONLY | O_TRUNC, &h), -EACCES);
    cr_assert_eq(open_id(public, O_RDONLY, &h), 0);
    /* A lock needs no more either: the host could not run a program that is open for writing. */
    struct flock l = {.l_type = F_RDLCK};
    cr_assert_eq(WITH_FILE(h, tree_lock(t, f, 1, &l, false)), 0);
    int fd = open(at("public"), O_RDONLY | O_CLOEXEC);
    cr_assert_eq(fcntl(fd, F_SETLEASE, F_RDLCK), 0);
    close(fd);
    cr_assert_eq(open_id(public, O_RDWR, &h), -EACCES);
    cr_assert_eq(make_file(&root_user, "private", 0644, &en), -EACCES);
    cr_assert_eq(WITH(theirs, tree_open_folder(t, n, &h)), -EACCES);
    cr_assert_eq(lookup(theirs, "x", &en), -EACCES);
    cr_assert_eq(make_dir(theirs, "x", &en), -EACCES);
    cr_assert_eq(create(theirs, "x", &en, &h), -EACCES);
    cr_assert_eq(WITH(shown, tree_open_folder(t, n, &h)), 0);
    cr_assert_eq(lookup(shown, "x", &en), 0);
    cr_assert_eq(make_dir(shown, "y", &en), -EACCES);
    cr_assert_eq(do_unlink(shown, "x", false), -EACCES);
    cr_assert_eq(do_rename(shown, "x", TREE_ROOT, "x", 0), -EACCES);
    cr_assert_eq(do_rename(TREE_ROOT, "private", shown, "x", 0), -EACCES);
    uint64_t no_links[] = {private, public};
    for (unsigned i = 0; i < 2; i++) {
        struct tree_node *what = tree_get(t, no_links[i]);
        cr_assert_eq(WITH(TREE_ROOT, tree_link(t, what, n, "mine", &en)), -EPERM);
        tree_put(t, what);
    }
    unsigned owners[] = {TREE_SET_MODE, TREE_SET_UID, TREE_SET_GID, TREE_SET_ATIME};
    for (unsigned i = 0; i < ARRAY_SIZE(owners); i++) {
        struct tree_change c = {.what = owners[i], .mode = 0777};
        cr_assert_eq(do_change(public, &c, &st), -EPERM, "%u", i);
    }
    struct tree_change c = {.what = TREE_SET_SIZE};
    cr_assert_eq(do_change(public, &c, &st), -EACCES);
    c = (struct tree_change){.what = TREE_SET_MTIME, .mtime = {.tv_nsec = UTIME_NOW}};
    cr_assert_eq(do_change(public, &c, &st), -EACCES);
    cr_assert_eq(WITH(private, tree_getxattr(t, n, "user.x", buf, 8)), -EACCES);
    cr_assert_eq(WITH(private, tree_listxattr(t, n, buf, 8)), -EACCES);
    cr_assert_eq(WITH(public, tree_setxattr(t, n, "user.x", "", 0, 0)), -EACCES);
    cr_assert_eq(WITH(public, tree_access(t, &root_user, n, W_OK)), -EACCES);
    cr_assert_eq(WITH(public, tree_access(t, &root_user, n, R_OK)), 0);
    cr_assert_eq(of("private").st_size, 6);
    cr_assert_eq(of("public").st_mode & 07777, 0644);
}

/* What a user of the host's loses by writing to a program that anybody may write to: we have
 * CAP_FSETID, and only the guest's kernel knows whether its user has. */
Test(tree_map, programs_that_are_not_the_guest_s, .init = setup_map, .fini = teardown)
{
    struct tree_entry en;
    struct statx st;
    uint64_t h;
    host_file(at("program"), "#!");
    uint64_t program = id_of(TREE_ROOT, "program");
    static const unsigned flags[] = {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC};
    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        cr_assert_eq(chmod(at("program"), 06777), 0);
        cr_assert_eq(open_id(program, O_RDONLY, &h), 0);
        cr_assert_eq(of("program").st_mode & 07777, 06777);
        cr_assert_eq(open_id(program, flags[i], &h), 0);
        cr_assert_eq(of("program").st_mode & 07777, 0777, "%u", i);
    }
    cr_assert_eq(chmod(at("program"), 06777), 0);
    struct tree_change c = {.what = TREE_SET_SIZE};
    cr_assert_eq(do_change(program, &c, &st), 0);
    cr_assert_eq(st.stx_mode & 07777, 0777);
    cr_assert_eq(make_file(&root_user, "mine", 06755, &en), 0);
    cr_assert_eq(open_id(en.id, O_RDWR, &h), 0);
    cr_assert_eq(of("mine").st_mode & 07777, 06755);
}

/* The host's kernel asks these of a user, but not of us, who have all rights. */
Test(tree_map, names_of_what_is_not_the_guest_s, .init = setup_map, .fini = teardown)
{
    struct tree_entry mine, en;
    uint64_t h;
    cr_assert_eq(mkdir(at("sticky"), 0777), 0);
    cr_assert_eq(chmod(at("sticky"), 01777), 0);
    host_file(at("sticky/theirs"), "x");
    cr_assert_eq(mkdir(at("folder"), 0755), 0);
    uint64_t sticky = id_of(TREE_ROOT, "sticky");
    cr_assert_eq(create(sticky, "mine", &en, &h), 0);
    cr_assert_eq(make_dir(TREE_ROOT, "mine", &mine), 0);
    cr_assert_eq(do_unlink(sticky, "theirs", false), -EPERM);
    cr_assert_eq(do_rename(sticky, "theirs", mine.id, "x", 0), -EPERM);
    cr_assert_eq(do_rename(sticky, "theirs", sticky, "x", 0), -EPERM);
    cr_assert_eq(do_rename(sticky, "mine", sticky, "theirs", 0), -EPERM);
    cr_assert_eq(do_rename(sticky, "mine", sticky, "theirs", RENAME_EXCHANGE), -EPERM);
    cr_assert_eq(do_rename(sticky, "none", sticky, "x", 0), -ENOENT);
    cr_assert_eq(do_unlink(sticky, "none", false), -ENOENT);
    cr_assert_eq(do_rename(sticky, "mine", sticky, "also mine", 0), 0);
    cr_assert_eq(do_unlink(sticky, "also mine", false), 0);
    /* A folder that is moved is changed: its "..". */
    cr_assert_eq(do_rename(TREE_ROOT, "folder", mine.id, "f", 0), -EACCES);
    cr_assert_eq(do_rename(TREE_ROOT, "folder", TREE_ROOT, "renamed", 0), 0);
    cr_assert_eq(make_dir(mine.id, "d", &en), 0);
    cr_assert_eq(do_rename(mine.id, "d", TREE_ROOT, "renamed", RENAME_EXCHANGE), -EACCES);
    cr_assert_eq(do_rename(mine.id, "d", TREE_ROOT, "d", 0), 0);
    cr_assert_eq(do_unlink(TREE_ROOT, "renamed", true), 0, "as in the guest's own folder");
}

Test(tree_user, everything_is_the_user_s, .init = setup_user, .fini = teardown)
{
    struct tree_entry en, theirs;
    struct statx st;
    cr_assert_eq(make_file(&somebody, "f", 0644, &en), 0);
    cr_assert(en.st.stx_uid == 0 && en.st.stx_gid == 0);
    cr_assert(of("f").st_uid == geteuid() && of("f").st_gid == getegid());
    struct tree_change c = {.what = TREE_SET_UID | TREE_SET_GID};
    cr_assert_eq(do_change(en.id, &c, &st), 0, "to whom it belongs");
    c = (struct tree_change){.what = TREE_SET_UID, .uid = 1000};
    cr_assert_eq(do_change(en.id, &c, &st), -EPERM);
    c = (struct tree_change){.what = TREE_SET_GID, .gid = 1};
    cr_assert_eq(do_change(en.id, &c, &st), -EPERM);
    if (seteuid(0) < 0)
        return; /* nobody can make others' files */
    host_file(at("theirs"), "x");
    cr_assert_eq(seteuid(USER), 0);
    cr_assert_eq(lookup(TREE_ROOT, "theirs", &theirs), 0);
    cr_assert(theirs.st.stx_uid == 65534 || getuid() == 0);
    c = (struct tree_change){.what = TREE_SET_MODE, .mode = 0777};
    cr_assert_eq(do_change(theirs.id, &c, &st), -EPERM);
    uint64_t h;
    cr_assert_eq(open_id(theirs.id, O_RDWR, &h), -EACCES);
    /* Its mode is not ours to change, but the host's kernel does that for whoever may write. */
    cr_assert_eq(seteuid(0), 0);
    cr_assert_eq(chmod(at("theirs"), 06777), 0);
    cr_assert_eq(seteuid(USER), 0);
    cr_assert_eq(open_id(theirs.id, O_RDWR, &h), 0);
    cr_assert_eq(WITH_FILE(h, tree_kill_suid(t, f)), 0);
    cr_assert_eq(WITH_FILE(h, pwrite(tree_file_fd(f), "x", 1, 0)), 1);
    cr_assert_eq(of("theirs").st_mode & 07777, 0777);
}

static void setup_named(void)
{
    map(&config.uid_map, "1000:61234:1", NULL);
    map(&config.gid_map, "1001:61235:1", NULL);
    if (geteuid() != 0)
        cr_skip_test("needs root, to be somebody in particular");
    make_folders();
    become_user();
    new_tree();
}

Test(tree_user, may_have_another_number, .init = setup_named, .fini = teardown)
{
    struct tree_entry en;
    cr_assert_eq(make_file(&root_user, "f", 0644, &en), 0);
    cr_assert(en.st.stx_uid == 1000 && en.st.stx_gid == 1001);
}

static void setup_ro(void)
{
    config = (struct tree_config){.ro = true};
    make_folders();
    host_file(at("f"), "x");
    cr_assert_eq(chmod(at("f"), 06755), 0);
    cr_assert_eq(mkdir(at("d"), 0755), 0);
    new_tree();
}

/* Before anything is touched: each of these would otherwise succeed, or be refused for something
 * else. */
Test(tree_ro, nothing_is_changed, .init = setup_ro, .fini = teardown)
{
    struct tree_entry en;
    struct statx st;
    struct statvfs fs;
    uint64_t h, f = id_of(TREE_ROOT, "f");
    struct stat before = of("f"), folder = of("");
    for (unsigned flags = O_WRONLY; flags <= O_RDWR; flags++)
        cr_assert_eq(open_id(f, flags, &h), -EROFS);
    cr_assert_eq(open_id(f, O_RDONLY | O_TRUNC, &h), -EROFS);
    cr_assert_eq(create(TREE_ROOT, "n", &en, &h), -EROFS);
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), -EROFS);
    cr_assert_eq(make_dir(TREE_ROOT, "n", &en), -EROFS);
    cr_assert_eq(make_dir(TREE_ROOT, "f", &en), -EROFS);
    cr_assert_eq(WITH(TREE_ROOT, tree_mknod(t, &root_user, n, "n", S_IFIFO, 0, &en)), -EROFS);
    cr_assert_eq(WITH(TREE_ROOT, tree_mknod(t, &root_user, n, "n", S_IFBLK, 1, &en)), -EROFS);
    cr_assert_eq(WITH(TREE_ROOT, tree_symlink(t, &root_user, n, "n", "x", &en)), -EROFS);
    cr_assert_eq(do_unlink(TREE_ROOT, "f", false), -EROFS);
    cr_assert_eq(do_unlink(TREE_ROOT, "d", true), -EROFS);
    cr_assert_eq(do_rename(TREE_ROOT, "f", TREE_ROOT, "g", 0), -EROFS);
    struct tree_node *what = tree_get(t, f);
    cr_assert_eq(WITH(TREE_ROOT, tree_link(t, what, n, "n", &en)), -EROFS);
    tree_put(t, what);
    for (unsigned bit = TREE_SET_MODE; bit <= TREE_SET_KILL_SUID; bit *= 2) {
        struct tree_change c = {.what = bit};
        cr_assert_eq(do_change(f, &c, &st), -EROFS);
    }
    cr_assert_eq(WITH(f, tree_setxattr(t, n, "user.x", "", 0, 0)), -EROFS);
    cr_assert_eq(WITH(f, tree_removexattr(t, n, "user.x")), -EROFS);
    cr_assert_eq(WITH(f, tree_access(t, &root_user, n, W_OK)), -EROFS);
    cr_assert_eq(WITH(f, tree_access(t, &root_user, n, R_OK)), 0);
    cr_assert_eq(WITH(f, tree_statfs(t, n, &fs)), 0);
    cr_assert(fs.f_flag & ST_RDONLY);
    cr_assert_eq(open_id(f, O_RDONLY, &h), 0);
    struct flock l = {.l_type = F_RDLCK};
    cr_assert_eq(WITH_FILE(h, tree_lock(t, f, 1, &l, false)), 0);
    cr_assert_eq(WITH_FILE(h, tree_kill_suid(t, f)), -EBADF);
    struct stat after = of("f"), folder_after = of("");
    cr_assert_eq(memcmp(&before.st_ctim, &after.st_ctim, sizeof(before.st_ctim)), 0);
    cr_assert_eq(memcmp(&folder.st_ctim, &folder_after.st_ctim, sizeof(folder.st_ctim)), 0);
}

/* ---- Limits ---- */

static void setup_few(void)
{
    config = (struct tree_config){.max_nodes = 4};
    setup_user();
}

Test(tree_limits, so_many_nodes, .init = setup_few, .fini = teardown)
{
    struct tree_entry a, b, c, x;
    uint64_t h;
    cr_assert_eq(make_dir(TREE_ROOT, "a", &a), 0);
    cr_assert_eq(make_dir(TREE_ROOT, "b", &b), 0);
    cr_assert_eq(make_dir(TREE_ROOT, "c", &c), 0);
    cr_assert_eq(make_dir(TREE_ROOT, "d", &x), -ENFILE);
    cr_assert_eq(create(TREE_ROOT, "d", &x, &h), -ENFILE);
    cr_assert_eq(access(at("d"), F_OK), -1, "refused before it was made");
    tree_forget(t, c.id, 1);
    cr_assert_eq(lookup(TREE_ROOT, "a", &x), 0);
    cr_assert_eq(x.id, a.id);
    cr_assert_eq(lookup(TREE_ROOT, "none", &x), -ENOENT);
    cr_assert_eq(make_dir(TREE_ROOT, "d", &x), 0);
    cr_assert_eq(make_dir(TREE_ROOT, "a", &x), -ENFILE);
    tree_forget(t, x.id, 1);
    cr_assert_eq(make_dir(TREE_ROOT, "a", &x), -EEXIST);
    cr_assert_eq(make_dir(TREE_ROOT, "e", &x), 0, "what failed has given its place back");
}

/* The process's descriptors: the guest gets so many, and there are some left for everything else.
 */
Test(tree_limits, the_process_never_runs_out, .init = make_folders, .fini = teardown)
{
    struct rlimit l = {.rlim_cur = 100, .rlim_max = 200};
    struct tree_entry en;
    char name[16];
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
    new_tree();
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &l), 0);
    cr_assert_eq(l.rlim_cur, 200, "raised as far as it goes");
    int rc = 0, made = 0;
    for (; rc == 0 && made < 1000; made++) {
        snprintf(name, sizeof(name), "%d", made);
        rc = make_dir(TREE_ROOT, name, &en);
    }
    cr_assert_eq(rc, -ENFILE);
    cr_assert_eq(tree_nodes(t), 113, "three quarters of three quarters");
    uint64_t h;
    for (made = 0; (rc = WITH(TREE_ROOT, tree_open_folder(t, n, &h))) == 0;)
        made++;
    cr_assert_eq(rc, -ENFILE);
    cr_assert_eq(made, 150 - 113);
    int spare[20];
    for (int i = 0; i < 20; i++)
        cr_assert_geq(spare[i] = dup(0), 0);
    /* Another folder shares what there is. */
    struct tree *other = NULL;
    cr_assert_lt(tree_new(&config, &other, &e), 0);
    cr_assert_null(other);
    tree_forget_all(t);
    cr_assert_eq(tree_new(&config, &other, &e), 0, "%s", e.msg);
    tree_free(other);
    /* Where the VMM itself has used them all. */
    while (dup(0) >= 0)
        ;
    cr_assert_eq(lookup(TREE_ROOT, "0", &en), -ENFILE);
    for (int i = 0; i < 20; i++)
        close(spare[i]);
    cr_assert_eq(lookup(TREE_ROOT, "0", &en), 0);
}

static uint64_t known_by(struct tree *of, int *rc)
{
    struct tree *mine = t;
    struct tree_entry en;
    char name[16];
    t = of;
    *rc = 0;
    for (int i = 0; i < 200 && *rc == 0; i++) {
        snprintf(name, sizeof(name), "%d", i);
        *rc = lookup(TREE_ROOT, name, &en);
    }
    t = mine;
    return tree_nodes(of);
}

/* What one folder has is its own, whatever the guest does to the other. */
Test(tree_limits, each_folder_has_its_share, .init = make_folders, .fini = teardown)
{
    const struct rlimit l = {.rlim_cur = 200, .rlim_max = 200};
    struct tree *other = NULL;
    uint64_t h;
    int rc, opened = 0;
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%d", i);
        host_file(at(name), "x");
    }
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
    new_tree();
    cr_assert_eq(tree_new(&config, &other, &e), 0, "%s", e.msg);
    cr_assert_eq(fd_share(10), 10, "a device that has its own for good");
    cr_assert_eq(known_by(t, &rc), 53, "three quarters of one half of 140");
    cr_assert_eq(rc, -ENFILE);
    while ((rc = WITH(TREE_ROOT, tree_open_folder(t, n, &h))) == 0)
        opened++;
    cr_assert_eq(rc, -ENFILE);
    cr_assert_eq(opened, 70 - 53);
    cr_assert_eq(known_by(other, &rc), 53);
    cr_assert_eq(rc, -ENFILE);
    tree_free(other);
    cr_assert_eq(known_by(t, &rc), 105, "alone, it has all of it");
}

/* ---- Set-up ---- */

static int try(enum err_kind kind, const char *says)
{
    struct tree *none = NULL;
    int rc = tree_new(&config, &none, &e);
    cr_assert_lt(rc, 0);
    cr_assert_null(none);
    cr_assert_eq(e.kind, kind, "%s", e.msg);
    cr_assert_not_null(strstr(e.msg, says), "%s", e.msg);
    return rc;
}

static void setup_none(void)
{
    make_folders();
    config.dir = share;
}

Test(tree_setup, what_is_no_folder, .init = setup_none, .fini = teardown)
{
    host_file(at("f"), "x");
    config.dir = at("f");
    try(ERR_INPUT, "Not a directory");
    config.dir = at("none");
    try(ERR_INPUT, "No such file");
    config.dir = "/proc/self";
    try(ERR_HOST, "/proc/self");
    tree_free(NULL);
}

Test(tree_setup, maps, .init = setup_none, .fini = teardown)
{
    static const char *const bad[] = {
        "",        "1",      "1:2",   "1:2:",   ":1:2",           "1:2:3:4",
        "1:2:x",   "-1:2:3", "1:2:0", " 1:2:3", "4294967296:1:1", "1:2:3 ",
        "0x1:2:3", "1::3",   "a:b:c",
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        map(&config.uid_map, bad[i], NULL);
        try(ERR_INPUT, "GUEST:HOST:COUNT");
    }
    map(&config.uid_map, "4294967295:1:1", NULL);
    try(ERR_INPUT, "beyond");
    map(&config.uid_map, "1:4294967290:6", NULL);
    try(ERR_INPUT, "beyond");
    map(&config.uid_map, "0:100:10", "5:500:1");
    try(ERR_INPUT, "overlaps");
    map(&config.uid_map, "0:100:10", "50:109:1");
    try(ERR_INPUT, "overlaps");
    map(&config.uid_map, "0:0:1", NULL);
    if (geteuid() == 0)
        try(ERR_INPUT, "needs the other");
    map(&config.gid_map, "x", NULL);
    try(ERR_INPUT, "gid-map=x");
    become_user();
    map(&config.gid_map, "0:0:1", NULL);
    try(ERR_INPUT, "without root's rights");
    map(&config.uid_map, "0:61234:2", NULL);
    try(ERR_INPUT, "without root's rights");
    config.uid_map.n = 0;
    try(ERR_INPUT, "gid-map");
}

static void setup_mounts(void)
{
    if (geteuid() != 0)
        cr_skip_test("needs root, to mount");
    setup_none();
}

/* /proc is where a file is opened by its descriptor: without it, or with something else there,
 * nothing is shared. And what is in it is never given to a guest. */
Test(tree_setup, proc, .init = setup_mounts, .fini = teardown)
{
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    cr_assert_eq(mkdir(at("proc"), 0755), 0);
    cr_assert_eq(mount("proc", at("proc"), "proc", 0, NULL), 0);
    cr_assert_eq(mkdir(at("tmp"), 0755), 0);
    cr_assert_eq(mount("tmpfs", at("tmp"), "tmpfs", 0, NULL), 0);
    host_file(at("tmp/f"), "x");
    new_tree();
    struct tree_entry en;
    cr_assert_eq(lookup(TREE_ROOT, "proc", &en), -EACCES);
    cr_assert_eq(lookup(TREE_ROOT, "tmp", &en), 0, "what is mounted below is shared too");
    cr_assert_eq(lookup(en.id, "f", &en), 0);
    tree_free(t);
    t = NULL;
    cr_assert_eq(umount(at("proc")), 0);
    cr_assert_eq(umount(at("tmp")), 0);
    cr_assert_eq(mount("tmpfs", "/proc", "tmpfs", 0, NULL), 0);
    try(ERR_HOST, "/proc/self/fd");
    cr_assert_eq(mkdir("/proc/self", 0755), 0);
    cr_assert_eq(mkdir("/proc/self/fd", 0755), 0);
    try(ERR_HOST, "is not /proc");
    for (int i = 0; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof(name), "/proc/self/fd/%d", i);
        host_file(name, "x");
    }
    try(ERR_HOST, "is not /proc");
    cr_assert_eq(umount("/proc"), 0);
}
