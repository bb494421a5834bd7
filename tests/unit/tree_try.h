/* tests/unit/tree_try.h - a shared folder in a temporary one, next to what the guest must never
 * see; tried as root and as somebody who has no rights. */
#pragma once

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "devices/fs/tree.h"

enum { USER = 61234, GROUP = 61235 };

static struct tree *t;
static struct err e;
static char top[64], share[96], outside[96];
static struct tree_config config;
static const struct tree_user root_user, somebody = {.uid = 1000, .gid = 1001, .pid = 7};

static inline const char *at(const char *name)
{
    static char buf[4][256];
    static unsigned n;
    char *b = buf[n++ % 4];
    snprintf(b, sizeof(buf[0]), "%s/%s", share, name);
    return b;
}

static inline void host_file(const char *path, const char *text)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    cr_assert_geq(fd, 0, "%s", path);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static inline void new_tree(void)
{
    config.dir = share;
    cr_assert_eq(tree_new(&config, &t, &e), 0, "%s", e.msg);
}

static inline void make_folders(void)
{
    umask(022);
    strcpy(top, "/tmp/test_tree_XXXXXX");
    cr_assert_not_null(mkdtemp(top));
    cr_assert_eq(chmod(top, 0755), 0);
    snprintf(share, sizeof(share), "%s/share", top);
    snprintf(outside, sizeof(outside), "%s/outside", top);
    cr_assert_eq(mkdir(share, 0755), 0);
    cr_assert_eq(mkdir(outside, 0755), 0);
    char canary[128];
    snprintf(canary, sizeof(canary), "%s/canary", outside);
    host_file(canary, "secret");
}

static inline void setup_root(void)
{
    if (geteuid() != 0)
        cr_skip_test("needs root");
    make_folders();
    new_tree();
}

/* The saved id stays: tidying up, and what counts lines, are ours again. */
static inline void become_user(void)
{
    if (geteuid() != 0)
        return;
    cr_assert_eq(chown(top, USER, GROUP), 0);
    cr_assert_eq(chown(share, USER, GROUP), 0);
    cr_assert_eq(setgroups(0, NULL), 0);
    cr_assert_eq(setresgid(GROUP, GROUP, 0), 0);
    cr_assert_eq(setresuid(USER, USER, 0), 0);
}

static inline void setup_user(void)
{
    make_folders();
    become_user();
    new_tree();
}

static inline void teardown(void)
{
    tree_free(t);
    t = NULL;
    if (seteuid(0) == 0)
        cr_assert(setresuid(0, 0, 0) == 0 && setresgid(0, 0, 0) == 0);
    if (top[0]) {
        char cmd[128];
        snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
        cr_assert_eq(system(cmd), 0);
    }
}

/* One test, twice. */
#define BOTH(suite, name)                                                                          \
    static void suite##_##name(void);                                                              \
    Test(suite, name##_root, .init = setup_root, .fini = teardown)                                 \
    {                                                                                              \
        suite##_##name();                                                                          \
    }                                                                                              \
    Test(suite, name##_user, .init = setup_user, .fini = teardown)                                 \
    {                                                                                              \
        suite##_##name();                                                                          \
    }                                                                                              \
    static void suite##_##name(void)

/* With the folder of this id, which must be known. */
#define WITH(id, call)                                                                             \
    ({                                                                                             \
        struct tree_node *n = tree_get(t, (id));                                                   \
        cr_assert_not_null(n, "node %lu", (unsigned long)(id));                                    \
        __typeof__(call) with_ = (call);                                                           \
        tree_put(t, n);                                                                            \
        with_;                                                                                     \
    })
#define WITH_FILE(h, call)                                                                         \
    ({                                                                                             \
        struct tree_file *f = tree_file_get(t, (h));                                               \
        cr_assert_not_null(f, "handle %lu", (unsigned long)(h));                                   \
        __typeof__(call) with_ = (call);                                                           \
        tree_file_put(t, f);                                                                       \
        with_;                                                                                     \
    })

static inline int lookup(uint64_t folder, const char *name, struct tree_entry *out)
{
    return WITH(folder, tree_lookup(t, n, name, out));
}

/* Of what must be there. */
static inline uint64_t id_of(uint64_t folder, const char *name)
{
    struct tree_entry en;
    cr_assert_eq(lookup(folder, name, &en), 0, "%s", name);
    return en.id;
}

static inline int open_id(uint64_t id, unsigned flags, uint64_t *h)
{
    return WITH(id, tree_open(t, &root_user, n, flags, false, h));
}

static inline int create(uint64_t folder, const char *name, struct tree_entry *out, uint64_t *h)
{
    return WITH(folder, tree_create(t, &root_user, n, name, 0644, O_RDWR, false, out, h));
}

static inline int make_dir(uint64_t folder, const char *name, struct tree_entry *out)
{
    return WITH(folder, tree_mkdir(t, &root_user, n, name, 0755, out));
}

static inline int do_unlink(uint64_t folder, const char *name, bool dir)
{
    return WITH(folder, tree_unlink(t, n, name, dir));
}

static inline int do_rename(uint64_t from, const char *a, uint64_t to, const char *b, unsigned how)
{
    struct tree_node *other = tree_get(t, to);
    int rc = WITH(from, tree_rename(t, n, a, other, b, how));
    tree_put(t, other);
    return rc;
}

static inline int do_change(uint64_t id, const struct tree_change *c, struct statx *st)
{
    return WITH(id, tree_change(t, &root_user, n, NULL, c, st));
}
