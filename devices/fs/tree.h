/* devices/fs/tree.h - a folder of the host's and what is below it, for somebody who must not leave
 * it: the files that the guest knows, the files that it has open, and what it may do to them.
 * Knows neither FUSE nor virtio.
 *
 * Each file is an O_PATH descriptor. A name is one component, resolved from its folder's descriptor
 * without following links; no path is ever put together. Only regular files and folders are ever
 * opened; a file is opened again by its descriptor, after its type was looked at.
 *
 * Ids are never used twice. Any thread may call anything; a call may block for as long as the
 * host's file system likes. Calls give 0 or the -errno that the guest shall see, unless they say
 * otherwise. `u` is who asks, in the guest's ids. */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>

#include "base/base.h"
#include "base/opts.h"
#include "base/sandbox.h"
#include "base/state.h"

struct tree;
struct tree_node; /* a file or folder that the guest knows */
struct tree_file; /* one that it has open */

enum { TREE_ROOT = 1, TREE_NAME_MAX = 255 };

struct tree_config {
    const char *dir;
    bool ro;
    struct opt_strs uid_map, gid_map; /* GUEST:HOST:COUNT each; none: see ADR 9 */
    uint64_t max_nodes, max_files;    /* 0: as many as its share of the descriptors */
};
struct tree_user {
    uint32_t uid, gid, pid;
};
struct tree_entry {
    uint64_t id;     /* the guest now knows it once more: tree_forget() */
    struct statx st; /* ids are the guest's */
};

int CHECKED tree_new(const struct tree_config *c, struct tree **out, struct err *e);
void tree_free(struct tree *t); /* NULL is fine */
void tree_forget_all(
    struct tree *t); /* as at first: root is known, nothing is open, no lock held */

/* Borrowed for the length of a call; NULL: there is no such id. */
struct tree_node *tree_get(struct tree *t, uint64_t id);
void tree_put(struct tree *t, struct tree_node *n);
struct tree_file *tree_file_get(struct tree *t, uint64_t handle);
void tree_file_put(struct tree *t, struct tree_file *f);
bool CHECKED tree_file_put_open(struct tree *t, struct tree_file *f); /* false: it would close it */

/* Names. `n` is a folder in all of these. "/", ".", ".." and "" in a name are -EINVAL. */
int CHECKED tree_lookup(struct tree *t, struct tree_node *n, const char *name,
                        struct tree_entry *out);
void tree_forget(struct tree *t, uint64_t id, uint64_t times); /* more than known: all of them */
int CHECKED tree_mkdir(struct tree *t, const struct tree_user *u, struct tree_node *n,
                       const char *name, uint32_t mode, struct tree_entry *out);
/* No devices (-EPERM), but for the one that marks what an overlay file system has removed, 0:0. */
int CHECKED tree_mknod(struct tree *t, const struct tree_user *u, struct tree_node *n,
                       const char *name, uint32_t mode, uint64_t rdev, struct tree_entry *out);
int CHECKED tree_symlink(struct tree *t, const struct tree_user *u, struct tree_node *n,
                         const char *name, const char *target, struct tree_entry *out);
int CHECKED tree_link(struct tree *t, struct tree_node *what, struct tree_node *n, const char *name,
                      struct tree_entry *out);
int CHECKED tree_unlink(struct tree *t, struct tree_node *n, const char *name, bool folder);
/* RENAME_NOREPLACE, RENAME_EXCHANGE. */
int CHECKED tree_rename(struct tree *t, struct tree_node *from, const char *name,
                        struct tree_node *to, const char *new_name, unsigned flags);

/* Attributes. */
int CHECKED tree_stat(struct tree *t, struct tree_node *n, struct statx *out);
enum {
    TREE_SET_MODE = 1,
    TREE_SET_UID = 2,
    TREE_SET_GID = 4,
    TREE_SET_SIZE = 8,
    TREE_SET_ATIME = 16,
    TREE_SET_MTIME = 32,
    TREE_SET_KILL_SUID = 64, /* as a write by somebody without CAP_FSETID does */
};
struct tree_change {
    unsigned what; /* TREE_SET_ */
    uint32_t mode, uid, gid;
    uint64_t size;
    struct timespec atime, mtime; /* tv_nsec may be UTIME_NOW */
};
/* `f`: through this open file, or NULL. */
int CHECKED tree_change(struct tree *t, const struct tree_user *u, struct tree_node *n,
                        struct tree_file *f, const struct tree_change *c, struct statx *out);
int CHECKED tree_readlink(struct tree *t, struct tree_node *n, char *buf, size_t len); /* bytes */
int CHECKED tree_statfs(struct tree *t, struct tree_node *n, struct statvfs *out);
int CHECKED tree_access(struct tree *t, const struct tree_user *u, struct tree_node *n, int mode);
int CHECKED tree_syncfs(struct tree *t, struct tree_node *n);
/* Extended attributes: bytes, or how many there would be when len is 0. Those of "user." only: all
 * others are the host's, and -EOPNOTSUPP. */
int CHECKED tree_getxattr(struct tree *t, struct tree_node *n, const char *name, void *buf,
                          size_t len);
int CHECKED tree_listxattr(struct tree *t, struct tree_node *n, char *buf, size_t len);
int CHECKED tree_setxattr(struct tree *t, struct tree_node *n, const char *name, const void *value,
                          size_t len, int flags);
int CHECKED tree_removexattr(struct tree *t, struct tree_node *n, const char *name);

/* Open files: handles are known until tree_close(). `flags` are Linux's, of which only those that
 * make sense here are used; a guest's O_CREAT or O_NOFOLLOW means nothing. */
int CHECKED tree_open(struct tree *t, const struct tree_user *u, struct tree_node *n,
                      unsigned flags, bool kill_suid, uint64_t *handle);
int CHECKED tree_create(struct tree *t, const struct tree_user *u, struct tree_node *n,
                        const char *name, uint32_t mode, unsigned flags, bool kill_suid,
                        struct tree_entry *out, uint64_t *handle);
int CHECKED tree_open_folder(struct tree *t, struct tree_node *n, uint64_t *handle);
void tree_close(struct tree *t, uint64_t handle);
/* For reading, writing, fsync, fallocate, lseek, copy_file_range, mmap: the descriptor, whose
 * position is nobody's; what it may be used for is tree_file_flags(). Negative, an -errno: the file
 * was gone when it was loaded. */
int tree_file_fd(const struct tree_file *f);
unsigned tree_file_flags(const struct tree_file *f);
struct tree_node *tree_file_node(const struct tree_file *f);
/* Before the data is changed through the descriptor for somebody who has no CAP_FSETID: setuid and
 * setgid bits go; -EBADF when it is not open for writing. What "security.capability" says goes by
 * itself. */
int CHECKED tree_kill_suid(struct tree *t, struct tree_file *f);
/* The folder's next entries from cookie `at` on: bytes of struct linux_dirent64 in buf; 0 at the
 * end. "." and ".." are among them. */
int CHECKED tree_read_folder(struct tree *t, struct tree_file *f, uint64_t at, void *buf,
                             size_t len);

/* Locks of ranges, as POSIX has them, by an owner of the guest's; they never wait: -EAGAIN.
 * `flock`: of the whole file, as flock() has them. */
int CHECKED tree_lock_test(struct tree *t, struct tree_file *f, uint64_t owner, struct flock *l);
int CHECKED tree_lock(struct tree *t, struct tree_file *f, uint64_t owner, const struct flock *l,
                      bool flock);
void tree_unlock_all(struct tree *t, struct tree_file *f, uint64_t owner); /* on FLUSH, RELEASE */

/* Everything above, with files open. Loading opens each file by its folder and name, and looks at
 * whether it is the same; one that is gone answers -ESTALE for ever. Treats its input as hostile.
 */
void tree_save(struct tree *t, struct state_out *s);
int CHECKED tree_load(struct tree *t, struct state_in *s);

/* What there is, for report(). */
uint64_t tree_nodes(struct tree *t);
uint64_t tree_files(struct tree *t);
