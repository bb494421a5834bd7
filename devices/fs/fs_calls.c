/* devices/fs/fs_calls.c - the system calls of a shared folder's threads: what FUSE has a request
 * for, and to be the guest's user meanwhile. They are of two kinds because one would have more than
 * forty: docs/adr/0019. */
#include <sched.h>

#include "devices/fs/fs_priv.h"

#define CALL(name)                                                                                 \
    {                                                                                              \
        .nr = SYS_##name, .on = ON_POOL                                                            \
    }
#define AS_ROOT(name)                                                                              \
    {                                                                                              \
        .nr = SYS_##name, .on = ON_POOL, .why = "root's, for others: test_tree_ids"                \
    }

const struct sandbox_list fs_names = {
    .name = FS_NAMES,
    .chosen = true,
    .calls = (const struct sandbox_call[]){
        CALL(openat2),
        CALL(statx),
        CALL(faccessat2),
        CALL(fstatfs),
        CALL(readlinkat),
        CALL(mkdirat),
        CALL(mknodat),
        CALL(symlinkat),
        CALL(linkat),
        CALL(unlinkat),
        CALL(renameat2),
        CALL(ftruncate),
        CALL(fchmodat),
        AS_ROOT(fchownat),
        CALL(utimensat),
        CALL(umask),
        {.nr = SYS_unshare, .on = ON_POOL, .mask = UINT32_MAX, .value = CLONE_FS},
        AS_ROOT(capget),
        AS_ROOT(capset),
        AS_ROOT(setgroups),
        AS_ROOT(setfsuid),
        AS_ROOT(setfsgid),
        {0}}};

const struct sandbox_list fs_data = {
    .name = FS_DATA,
    .chosen = true,
    .calls = (const struct sandbox_call[]){
        CALL(preadv),
        CALL(pwritev2),
        CALL(lseek),
        CALL(fsync),
        CALL(fdatasync),
        CALL(syncfs),
        CALL(fallocate),
        CALL(copy_file_range),
        CALL(getdents64),
        CALL(fcntl),
        CALL(flock),
        CALL(fgetxattr),
        CALL(flistxattr),
        CALL(fsetxattr),
        CALL(fremovexattr),
        /* To look at what is in a folder, to reopen, and to
         * take a setuid bit away before a write. */
        CALL(openat2),
        CALL(statx),
        CALL(fchmodat),
        {.nr = SYS_fstatfs, .on = ON_POOL, .why = "a folder with another file system in it"},
        {0}}};
