/* tests/unit/tree_saved.h - a shared folder's state: saved and loaded, or made up. */
#pragma once

#include "devices/fs/tree_priv.h"
#include "tree_try.h"

static struct state_out saved;

static inline void save(void)
{
    state_out_free(&saved);
    tree_save(t, &saved);
    cr_assert_eq(saved.error, 0);
}

static inline int load(void)
{
    struct state_in in = {.buf = saved.buf, .len = saved.len};
    return tree_load(t, &in);
}

/* In a new process, as it were. */
static inline void save_and_reopen(void)
{
    save();
    tree_free(t);
    new_tree();
}

static inline int stat_id(uint64_t id)
{
    struct statx st;
    return WITH(id, tree_stat(t, n, &st));
}

/* --- made up --- */

static inline struct stat stat_of(const char *name)
{
    struct stat st = {0};
    (void)!lstat(at(name), &st);
    return st;
}

static inline uint64_t born(const char *name)
{
    struct statx st = {0};
    (void)!statx(AT_FDCWD, at(name), AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st);
    return (uint64_t)st.stx_btime.tv_sec;
}

static inline void begin(uint64_t last_id, uint32_t nodes)
{
    state_out_free(&saved);
    state_begin(&saved, "FSTR", 1);
    state_u64(&saved, last_id);
    state_u64(&saved, 10);
    state_u32(&saved, nodes);
}

static int64_t older; /* seconds, for the time of birth */

/* With the identity of what is at `real` (from the shared folder). */
static inline void put_node(uint64_t id, uint64_t parent, const char *name, size_t len,
                            const char *real)
{
    struct stat st = stat_of(real);
    state_u64(&saved, id);
    state_u64(&saved, parent);
    state_u64(&saved, 1);
    state_u32(&saved, st.st_mode & S_IFMT);
    state_u64(&saved, st.st_dev);
    state_u64(&saved, st.st_ino);
    state_u64(&saved, born(real) - older);
    state_bytes(&saved, name, len);
}

static inline void put_file(uint64_t handle, uint64_t node, uint32_t flags)
{
    state_u64(&saved, handle);
    state_u64(&saved, node);
    state_u32(&saved, flags);
}

static inline int finish(void)
{
    state_u8(&saved, 0);
    state_end(&saved);
    int rc = load();
    if (rc < 0) {
        cr_assert_eq(tree_nodes(t), 1, "as at first");
        cr_assert_eq(tree_files(t), 0);
    }
    return rc;
}

static inline int one_node(uint64_t id, uint64_t parent, const char *name, size_t len,
                           const char *real)
{
    begin(100, 1);
    put_node(id, parent, name, len, real);
    state_u32(&saved, 0);
    return finish();
}
