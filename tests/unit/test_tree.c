/* tests/unit/test_tree.c - a shared folder's nodes, names and open files, and that nothing else of
 * the host's can be reached through them. */
#include "tree_try.h"

#include <linux/fs.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "devices/fs/tree_priv.h"

BOTH(tree, a_name_is_one_component)
{
    char longest[300];
    memset(longest, 'x', sizeof(longest));
    longest[TREE_NAME_MAX + 1] = 0;
    const char *bad[] = {"", ".", "..", "/", "a/b", "/etc", "../outside", "x/", "./x", longest};
    struct tree_entry en = {.id = 77};
    uint64_t h = 77;
    int before = open(share, O_RDONLY | O_CLOEXEC);
    close(before);
    host_file(at("x"), "x");
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        int want = bad[i] == longest ? -ENAMETOOLONG : -EINVAL;
        cr_assert_eq(lookup(TREE_ROOT, bad[i], &en), want, "%s", bad[i]);
        cr_assert_eq(make_dir(TREE_ROOT, bad[i], &en), want);
        cr_assert_eq(create(TREE_ROOT, bad[i], &en, &h), want);
        cr_assert_eq(WITH(TREE_ROOT, tree_mknod(t, &root_user, n, bad[i], S_IFREG, 0, &en)), want);
        cr_assert_eq(WITH(TREE_ROOT, tree_symlink(t, &root_user, n, bad[i], "x", &en)), want);
        cr_assert_eq(WITH(TREE_ROOT, tree_link(t, n, n, bad[i], &en)), want);
        cr_assert_eq(do_unlink(TREE_ROOT, bad[i], false), want);
        cr_assert_eq(do_unlink(TREE_ROOT, bad[i], true), want);
        cr_assert_eq(do_rename(TREE_ROOT, bad[i], TREE_ROOT, "y", 0), want);
        cr_assert_eq(do_rename(TREE_ROOT, "x", TREE_ROOT, bad[i], 0), want);
    }
    cr_assert_eq(en.id, 77);
    cr_assert_eq(h, 77);
    cr_assert_eq(tree_nodes(t), 1);
    cr_assert_eq(tree_files(t), 0);
    int after = open(share, O_RDONLY | O_CLOEXEC);
    cr_assert_eq(after, before, "no descriptor is lost");
}

BOTH(tree, a_link_is_a_link)
{
    struct tree_entry en;
    uint64_t h;
    cr_assert_eq(symlink("../outside", at("out")), 0);
    cr_assert_eq(symlink("/proc/self/fd", at("magic")), 0);
    cr_assert_eq(symlink("/etc/passwd", at("abs")), 0);
    const char *names[] = {"out", "magic", "abs"};
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(lookup(TREE_ROOT, names[i], &en), 0);
        cr_assert(S_ISLNK(en.st.stx_mode));
        uint64_t id = en.id;
        cr_assert_eq(lookup(id, "canary", &en), -ENOTDIR);
        cr_assert_eq(make_dir(id, "made", &en), -ENOTDIR);
        cr_assert_eq(do_unlink(id, "canary", false), -ENOTDIR);
        cr_assert_eq(do_rename(id, "canary", TREE_ROOT, "mine", 0), -ENOTDIR);
        cr_assert_eq(open_id(id, O_RDONLY, &h), -ELOOP);
        cr_assert_eq(WITH(id, tree_open_folder(t, n, &h)), -ENOTDIR);
        /* O_CREAT onto a link that dangles would make a file elsewhere. */
        cr_assert_eq(create(TREE_ROOT, names[i], &en, &h), -ELOOP);
    }
    cr_assert_eq(symlink("../outside/made", at("dangling")), 0);
    cr_assert_eq(create(TREE_ROOT, "dangling", &en, &h), -ELOOP);
    char made[128];
    snprintf(made, sizeof(made), "%s/made", outside);
    cr_assert_eq(access(made, F_OK), -1);
}

/* CVE-2020-35517, CVE-2023-2861: a guest that makes, or finds, what is no file. */
BOTH(tree, only_files_and_folders_are_opened)
{
    uint64_t h = 5;
    struct tree_entry en;
    cr_assert_eq(mkfifo(at("fifo"), 0666), 0);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    strcpy(addr.sun_path, at("socket"));
    cr_assert_eq(bind(s, (struct sockaddr *)&addr, sizeof(addr)), 0);
    close(s);
    const char *names[] = {"fifo", "socket", "device"};
    bool device = mknod(at("device"), S_IFCHR | 0666, makedev(1, 5)) == 0;
    for (unsigned i = 0; i < (device ? 3 : 2); i++) {
        uint64_t id = id_of(TREE_ROOT, names[i]);
        for (unsigned how = O_RDONLY; how <= O_RDWR; how++)
            cr_assert_eq(open_id(id, how, &h), -EPERM, "%s", names[i]);
        cr_assert_eq(create(TREE_ROOT, names[i], &en, &h), -EPERM);
        struct tree_change c = {.what = TREE_SET_SIZE};
        cr_assert_eq(do_change(id, &c, &en.st), -EINVAL);
        cr_assert_eq(WITH(id, tree_syncfs(t, n)), -EINVAL);
    }
    cr_assert_eq(open_id(TREE_ROOT, O_RDONLY, &h), -EISDIR);
    cr_assert_eq(h, 5);
    cr_assert_eq(tree_files(t), 0);
}

/* A device that the guest makes would be the host's: only "whiteouts" are made. */
BOTH(tree, no_device_is_made)
{
    struct tree_entry en;
#define MKNOD(name, mode, rdev) WITH(TREE_ROOT, tree_mknod(t, &root_user, n, name, mode, rdev, &en))
    cr_assert_eq(MKNOD("mem", S_IFCHR | 0666, makedev(1, 1)), -EPERM);
    cr_assert_eq(MKNOD("disk", S_IFBLK | 0666, makedev(8, 0)), -EPERM);
    cr_assert_eq(MKNOD("nulldisk", S_IFBLK | 0666, 0), -EPERM);
    cr_assert_eq(MKNOD("folder", S_IFDIR | 0777, 0), -EINVAL);
    cr_assert_eq(MKNOD("link", S_IFLNK | 0777, 0), -EINVAL);
    cr_assert_eq(tree_nodes(t), 1);
    cr_assert_eq(MKNOD("white", S_IFCHR | 0600, 0), 0);
    cr_assert(S_ISCHR(en.st.stx_mode));
    cr_assert_eq(MKNOD("fifo", S_IFIFO | 0600, 99), 0);
    cr_assert(S_ISFIFO(en.st.stx_mode));
    cr_assert_eq(MKNOD("socket", S_IFSOCK | 0600, 0), 0);
    cr_assert(S_ISSOCK(en.st.stx_mode));
    cr_assert_eq(MKNOD("file", 0666, 0), 0);
    cr_assert_eq(en.st.stx_mode, S_IFREG | 0666, "the guest's umask, not ours");
#undef MKNOD
}

BOTH(tree, one_file_is_one_node)
{
    struct tree_entry a, b;
    host_file(at("a"), "x");
    cr_assert_eq(link(at("a"), at("b")), 0);
    cr_assert_eq(lookup(TREE_ROOT, "a", &a), 0);
    cr_assert_eq(lookup(TREE_ROOT, "b", &b), 0);
    cr_assert_eq(a.id, b.id);
    cr_assert_eq(tree_nodes(t), 2);
    tree_forget(t, a.id, 1);
    cr_assert_eq(WITH(a.id, 1), 1);
    tree_forget(t, a.id, 1);
    cr_assert_null(tree_get(t, a.id));
    cr_assert_eq(tree_nodes(t), 1);
    uint64_t old = a.id;
    cr_assert_eq(lookup(TREE_ROOT, "a", &a), 0);
    cr_assert_gt(a.id, old, "an id is never used twice");
}

BOTH(tree, forgetting_too_much)
{
    struct tree_entry en;
    tree_forget(t, TREE_ROOT, UINT64_MAX);
    tree_forget(t, 0, 1);
    tree_forget(t, 12345, UINT64_MAX);
    cr_assert_eq(make_dir(TREE_ROOT, "d", &en), 0);
    tree_forget(t, en.id, 0);
    cr_assert_eq(WITH(en.id, 1), 1);
    tree_forget(t, en.id, UINT64_MAX);
    tree_forget(t, en.id, 1);
    cr_assert_null(tree_get(t, en.id));
    cr_assert_null(tree_get(t, UINT64_MAX));
    cr_assert_eq(make_dir(TREE_ROOT, "e", &en), 0, "the root is still there");
}

BOTH(tree, a_borrowed_node_outlives_being_forgotten)
{
    struct tree_entry en;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &en), 0);
    struct tree_node *n = tree_get(t, en.id);
    tree_forget(t, en.id, 1);
    struct statx st;
    cr_assert_eq(tree_stat(t, n, &st), 0);
    cr_assert_eq(tree_nodes(t), 2);
    tree_put(t, n);
    cr_assert_eq(tree_nodes(t), 1);
    tree_put(t, NULL);
}

BOTH(tree, what_is_open_stays_one_node)
{
    struct tree_entry en, again;
    uint64_t h;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    tree_forget(t, en.id, 1);
    cr_assert_null(tree_get(t, en.id));
    cr_assert_eq(lookup(TREE_ROOT, "f", &again), 0);
    cr_assert_gt(again.id, en.id, "but by another id");
    cr_assert_eq(tree_nodes(t), 2);
    cr_assert_eq(WITH(again.id, WITH_FILE(h, tree_file_node(f) == n)), 1);
    tree_close(t, h);
    tree_forget(t, again.id, 1);
    cr_assert_eq(tree_nodes(t), 1);
}

BOTH(tree, an_open_file_that_is_removed_works)
{
    struct tree_entry en;
    uint64_t h;
    char buf[8] = "";
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(do_unlink(TREE_ROOT, "f", false), 0);
    tree_forget(t, en.id, 1);
    cr_assert_eq(WITH_FILE(h, pwrite(tree_file_fd(f), "hello", 5, 0)), 5);
    cr_assert_eq(WITH_FILE(h, pread(tree_file_fd(f), buf, 8, 0)), 5);
    cr_assert_str_eq(buf, "hello");
    struct tree_file *f = tree_file_get(t, h);
    cr_assert_eq(tree_file_flags(f), O_RDWR);
    struct statx st;
    cr_assert_eq(tree_stat(t, tree_file_node(f), &st), 0);
    cr_assert_eq(st.stx_nlink, 0);
    tree_close(t, h);
    cr_assert_null(tree_file_get(t, h));
    cr_assert_eq(pread(tree_file_fd(f), buf, 8, 0), 5, "borrowed");
    tree_file_put(t, f);
    tree_file_put(t, NULL);
    tree_close(t, h);
    tree_close(t, 999);
    cr_assert_eq(tree_files(t), 0);
    cr_assert_eq(tree_nodes(t), 1);
}

/* Not even within the folder, should a name ever get this far with more than one component. */
BOTH(tree, openat_goes_nowhere)
{
    struct tree_node *root = tree_get(t, TREE_ROOT);
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(symlink("d", at("l")), 0);
    cr_assert_eq(symlink("/proc/self/fd", at("m")), 0);
    cr_assert_eq(tree_openat(root->fd, "l/.", O_PATH, 0), -ELOOP);
    cr_assert_eq(tree_openat(root->fd, "m/0", O_PATH, 0), -ELOOP);
    cr_assert_eq(tree_openat(root->fd, "..", O_PATH, 0), -EXDEV);
    cr_assert_eq(tree_openat(root->fd, "d/../../outside", O_PATH, 0), -EXDEV);
    cr_assert_eq(tree_openat(root->fd, "/etc", O_PATH, 0), -EXDEV);
    tree_put(t, root);
}

/* A name that gets another file does not lead to the one before, nor the other way around. */
BOTH(tree, a_node_is_the_file_not_the_name)
{
    host_file(at("f"), "old");
    uint64_t id = id_of(TREE_ROOT, "f"), h;
    cr_assert_eq(rename(at("f"), at("elsewhere")), 0);
    char canary[128];
    snprintf(canary, sizeof(canary), "%s/canary", outside);
    cr_assert_eq(symlink(canary, at("f")), 0);
    cr_assert_eq(open_id(id, O_RDWR, &h), 0);
    char buf[8] = "";
    cr_assert_eq(WITH_FILE(h, pread(tree_file_fd(f), buf, 8, 0)), 3);
    cr_assert_str_eq(buf, "old");
    struct statx st;
    struct tree_change c = {.what = TREE_SET_MODE | TREE_SET_SIZE, .mode = 0600, .size = 1};
    cr_assert_eq(do_change(id, &c, &st), 0);
    struct stat real;
    cr_assert_eq(stat(canary, &real), 0);
    cr_assert_eq(real.st_size, 6);
    cr_assert_eq(real.st_mode & 07777, 0644);
}

BOTH(tree, creating)
{
    struct tree_entry en, again;
    uint64_t h, h2;
    umask(077);
    cr_assert_eq(WITH(TREE_ROOT, tree_create(t, &root_user, n, "f", 0666, O_RDWR, false, &en, &h)),
                 0);
    umask(022);
    cr_assert_eq(en.st.stx_mode, S_IFREG | 0666, "the guest's umask, not ours");
    cr_assert_eq(WITH_FILE(h, write(tree_file_fd(f), "abc", 3)), 3);
#define CREATE(name, flags)                                                                        \
    WITH(TREE_ROOT, tree_create(t, &root_user, n, name, 0666, flags, true, &again, &h2))
    cr_assert_eq(CREATE("f", O_RDWR | O_EXCL), -EEXIST);
    cr_assert_eq(CREATE("f", O_RDWR), 0);
    cr_assert_eq(again.id, en.id);
    cr_assert_eq(again.st.stx_size, 3);
    cr_assert_eq(CREATE("f", O_WRONLY | O_TRUNC), 0);
    cr_assert_eq(again.st.stx_size, 0);
    cr_assert_eq(CREATE("g", O_ACCMODE), -EINVAL);
    cr_assert_eq(make_dir(TREE_ROOT, "d", &again), 0);
    cr_assert_eq(CREATE("d", O_RDWR), -EISDIR);
#undef CREATE
    cr_assert_eq(create(en.id, "x", &again, &h2), -ENOTDIR);
    cr_assert_eq(open_id(en.id, O_ACCMODE, &h2), -EINVAL);
    /* What a guest's flags must not mean. */
    cr_assert_eq(open_id(en.id, O_RDONLY | O_CREAT | O_EXCL | O_DIRECTORY | O_PATH, &h2), 0);
    cr_assert_eq(WITH_FILE(h2, tree_file_flags(f)), O_RDONLY);
    cr_assert_eq(WITH_FILE(h2, (int)write(tree_file_fd(f), "x", 1)), -1);
}

BOTH(tree, opening_may_truncate)
{
    host_file(at("f"), "abc");
    uint64_t id = id_of(TREE_ROOT, "f"), h;
    cr_assert_eq(open_id(id, O_RDONLY | O_TRUNC, &h), 0);
    struct statx st;
    cr_assert_eq(WITH(id, tree_stat(t, n, &st)), 0);
    cr_assert_eq(st.stx_size, 0);
}

BOTH(tree, renaming)
{
    struct tree_entry d, f, x;
    uint64_t h;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &d), 0);
    cr_assert_eq(create(TREE_ROOT, "f", &f, &h), 0);
    cr_assert_eq(do_rename(TREE_ROOT, "f", d.id, "g", 0), 0);
    cr_assert_eq(lookup(TREE_ROOT, "f", &x), -ENOENT);
    cr_assert_eq(id_of(d.id, "g"), f.id);
    host_file(at("h"), "h");
    cr_assert_eq(do_rename(TREE_ROOT, "h", d.id, "g", RENAME_NOREPLACE), -EEXIST);
    cr_assert_eq(do_rename(TREE_ROOT, "h", d.id, "g", RENAME_EXCHANGE), 0);
    cr_assert_eq(id_of(TREE_ROOT, "h"), f.id);
    cr_assert_eq(do_rename(TREE_ROOT, "h", d.id, "g", RENAME_WHITEOUT), -EINVAL);
    cr_assert_eq(do_rename(TREE_ROOT, "h", d.id, "g", 0x80), -EINVAL);
    cr_assert_eq(do_rename(TREE_ROOT, "d", d.id, "in_itself", 0), -EINVAL);
    cr_assert_eq(do_rename(TREE_ROOT, "no", TREE_ROOT, "where", 0), -ENOENT);
}

BOTH(tree, linking)
{
    struct tree_entry d, f, l;
    uint64_t h;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &d), 0);
    cr_assert_eq(create(TREE_ROOT, "f", &f, &h), 0);
#define LINK(what, name)                                                                           \
    ({                                                                                             \
        struct tree_node *w = tree_get(t, what);                                                   \
        int rc = WITH(d.id, tree_link(t, w, n, name, &l));                                         \
        tree_put(t, w);                                                                            \
        rc;                                                                                        \
    })
    cr_assert_eq(LINK(f.id, "l"), 0);
    cr_assert_eq(l.id, f.id);
    cr_assert_eq(l.st.stx_nlink, 2);
    cr_assert_eq(LINK(f.id, "l"), -EEXIST);
    cr_assert_eq(LINK(TREE_ROOT, "r"), -EPERM);
    /* A link to a link is one to the link, not to what it says. */
    struct tree_entry s;
    cr_assert_eq(WITH(TREE_ROOT, tree_symlink(t, &root_user, n, "s", "../outside/canary", &s)), 0);
    cr_assert(S_ISLNK(s.st.stx_mode));
    cr_assert_eq(LINK(s.id, "s2"), 0);
    cr_assert_eq(l.id, s.id);
    cr_assert_eq(do_unlink(TREE_ROOT, "f", false), 0);
    cr_assert_eq(do_unlink(d.id, "l", false), 0);
    cr_assert_eq(LINK(f.id, "back"), -ENOENT, "it has no name any more");
#undef LINK
    char buf[64];
    cr_assert_eq(WITH(s.id, tree_readlink(t, n, buf, sizeof(buf))), 17);
    cr_assert_eq(memcmp(buf, "../outside/canary", 17), 0);
    cr_assert_eq(WITH(s.id, tree_readlink(t, n, buf, 4)), 4);
    cr_assert_eq(WITH(d.id, tree_readlink(t, n, buf, 4)), -EINVAL);
    cr_assert_eq(do_unlink(TREE_ROOT, "d", false), -EISDIR);
    cr_assert_eq(do_unlink(TREE_ROOT, "s", true), -ENOTDIR);
}

struct raw_dirent {
    uint64_t ino, off;
    uint16_t len;
    uint8_t type;
    char name[];
};

/* Entries from `from` on, into a text of names; the cookie after the first one. */
static int list(uint64_t h, uint64_t from, char *names, uint64_t *second, size_t len)
{
    _Alignas(8) char buf[4096];
    int n = WITH_FILE(h, tree_read_folder(t, f, from, buf, len));
    names[0] = 0;
    for (int i = 0; i < n;) {
        struct raw_dirent *d = (void *)(buf + i);
        strcat(strcat(names, d->name), " ");
        if (i == 0)
            *second = d->off;
        struct stat st;
        cr_assert_eq(stat(share, &st), 0);
        if (strcmp(d->name, "..") == 0)
            cr_assert_eq(d->ino, st.st_ino, "what is above is not told");
        i += d->len;
    }
    return n;
}

BOTH(tree, reading_a_folder)
{
    struct tree_entry en;
    uint64_t h, second = 0, ignored;
    char all[256], rest[256];
    cr_assert_eq(make_dir(TREE_ROOT, "one", &en), 0);
    cr_assert_eq(make_dir(TREE_ROOT, "two", &en), 0);
    cr_assert_eq(WITH(TREE_ROOT, tree_open_folder(t, n, &h)), 0);
    cr_assert_gt(list(h, 0, all, &second, 4096), 0);
    cr_assert(strstr(all, "one ") && strstr(all, "two ") && strstr(all, ". ") &&
              strstr(all, ".. "));
    cr_assert_gt(list(h, second, rest, &ignored, 4096), 0);
    cr_assert_str_eq(rest, strchr(all, ' ') + 1);
    cr_assert_gt(list(h, 0, rest, &ignored, 4096), 0);
    cr_assert_str_eq(rest, all);
    cr_assert_eq(list(h, 0, rest, &ignored, 8), -EINVAL);
    cr_assert_lt(list(h, UINT64_MAX, rest, &ignored, 4096), 0);
    host_file(at("f"), "x");
    uint64_t file = id_of(TREE_ROOT, "f"), hf;
    cr_assert_eq(open_id(file, O_RDONLY, &hf), 0);
    cr_assert_eq(list(hf, 0, rest, &ignored, 4096), -ENOTDIR);
    cr_assert_eq(WITH(file, tree_open_folder(t, n, &h)), -ENOTDIR);
}

BOTH(tree, everything_is_forgotten)
{
    struct tree_entry en;
    uint64_t h, last = 0;
    char name[16];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        cr_assert_eq(create(TREE_ROOT, name, &en, &h), 0);
        last = en.id;
    }
    cr_assert_eq(tree_nodes(t), 51);
    cr_assert_eq(tree_files(t), 50);
    tree_forget_all(t);
    cr_assert_eq(tree_nodes(t), 1);
    cr_assert_eq(tree_files(t), 0);
    cr_assert_null(tree_get(t, last));
    cr_assert_gt(id_of(TREE_ROOT, "f1"), last);
}
