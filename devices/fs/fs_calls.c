/* devices/fs/fs_calls.c - the system calls of a shared folder's threads: what FUSE has a request
 * for, and to be the guest's user meanwhile. */
#include "devices/fs/fs_priv.h"

#define CALL(name)                                                                                 \
    {                                                                                              \
        .nr = SYS_##name, .on = ON_POOL                                                            \
    }
#define AS_ROOT(name)                                                                              \
    {                                                                                              \
        .nr = SYS_##name, .on = ON_POOL, .why = "root's, for others: test_tree_ids"                \
    }

const struct sandbox_list fs_files = {
    .name = "fs",
    .calls = (const struct sandbox_call[]){CALL(openat2),
                                           CALL(openat),
                                           CALL(preadv),
                                           CALL(pwritev2),
                                           CALL(lseek),
                                           CALL(fsync),
                                           CALL(fdatasync),
                                           CALL(syncfs),
                                           CALL(fallocate),
                                           CALL(copy_file_range),
                                           CALL(ftruncate),
                                           CALL(getdents64),
                                           CALL(fcntl),
                                           CALL(flock),
                                           CALL(statx),
                                           CALL(newfstatat),
                                           CALL(fstatfs),
                                           CALL(readlinkat),
                                           CALL(mkdirat),
                                           CALL(mknodat),
                                           CALL(symlinkat),
                                           CALL(linkat),
                                           CALL(unlinkat),
                                           CALL(renameat2),
                                           CALL(fchmodat),
                                           AS_ROOT(fchownat),
                                           CALL(utimensat),
                                           CALL(fgetxattr),
                                           CALL(flistxattr),
                                           CALL(fsetxattr),
                                           CALL(fremovexattr),
                                           CALL(umask),
                                           CALL(unshare),
                                           AS_ROOT(capget),
                                           AS_ROOT(capset),
                                           AS_ROOT(setgroups),
                                           AS_ROOT(setfsuid),
                                           AS_ROOT(setfsgid),
                                           /* The loop reads what is in memory. */
                                           {.nr = SYS_preadv2, .on = ON_LOOP, .why = SANDBOX_LAB},
                                           {0}}};
