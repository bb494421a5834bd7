/* tests/unit/test_tree_state.c - a shared folder is saved and found again, by a host whose folder
 * has changed meanwhile. */
#include <sys/file.h>

#include "tree_saved.h"

/* Here all that is looked up is in one place of its table. */
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned flags)
{
    (void)flags;
    memset(buf, 0, len);
    return (ssize_t)len;
}

BOTH(tree_state, what_is_loaded_is_saved_as_it_was)
{
    struct tree_entry en;
    uint64_t h;
    for (char name[2] = "a"; name[0] < 'e'; name[0]++) {
        cr_assert_eq(create(TREE_ROOT, name, &en, &h), 0);
        cr_assert_eq(open_id(en.id, O_RDONLY, &h), 0);
    }
    save();
    struct state_out was = saved;
    struct state_in in = {.buf = was.buf, .len = was.len};
    saved = (struct state_out){0};
    cr_assert_eq(tree_load(t, &in), 0);
    save();
    cr_assert_eq(saved.len, was.len);
    cr_assert_arr_eq(saved.buf, was.buf, was.len);
    state_out_free(&was);
}

BOTH(tree_state, everything_is_found_again)
{
    struct tree_entry a, b, f, g;
    uint64_t h, folder, gone;
    char buf[8] = "";
    cr_assert_eq(make_dir(TREE_ROOT, "a", &a), 0);
    cr_assert_eq(make_dir(a.id, "b", &b), 0);
    cr_assert_eq(create(b.id, "f", &f, &h), 0);
    cr_assert_eq(create(b.id, "g", &g, &gone), 0);
    tree_close(t, gone);
    cr_assert_eq(id_of(b.id, "f"), f.id);
    cr_assert_eq(WITH_FILE(h, pwrite(tree_file_fd(f), "hello", 5, 0)), 5);
    cr_assert_eq(WITH(b.id, tree_open_folder(t, n, &folder)), 0);
    /* Names as they are now, not as they were. */
    cr_assert_eq(do_rename(b.id, "g", TREE_ROOT, "G", 0), 0);
    cr_assert_eq(do_rename(TREE_ROOT, "a", TREE_ROOT, "A", 0), 0);
    save_and_reopen();
    cr_assert_eq(load(), 0);
    cr_assert_eq(tree_nodes(t), 5);
    cr_assert_eq(tree_files(t), 2);
    cr_assert_eq(id_of(TREE_ROOT, "A"), a.id);
    cr_assert_eq(id_of(a.id, "b"), b.id);
    cr_assert_eq(id_of(TREE_ROOT, "G"), g.id);
    cr_assert_eq(WITH_FILE(h, tree_file_flags(f)), O_RDWR);
    cr_assert_eq(WITH_FILE(h, pread(tree_file_fd(f), buf, 8, 0)), 5);
    cr_assert_str_eq(buf, "hello");
    _Alignas(8) char entries[1024];
    cr_assert_gt(WITH_FILE(folder, tree_read_folder(t, f, 0, entries, sizeof(entries))), 0);
    cr_assert_null(tree_file_get(t, gone));
    tree_forget(t, f.id, 1);
    cr_assert_eq(stat_id(f.id), 0, "it was known twice");
    tree_forget(t, f.id, 1);
    cr_assert_null(tree_get(t, f.id));
    struct tree_entry next;
    uint64_t h2;
    cr_assert_eq(create(TREE_ROOT, "new", &next, &h2), 0);
    cr_assert_gt(next.id, g.id);
    cr_assert_gt(h2, gone);
}

BOTH(tree_state, what_is_gone_is_lost)
{
    struct tree_entry d, f, g, l, x;
    uint64_t hf, hg, hd;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &d), 0);
    cr_assert_eq(create(d.id, "f", &f, &hf), 0);
    cr_assert_eq(create(TREE_ROOT, "g", &g, &hg), 0);
    cr_assert_eq(create(TREE_ROOT, "l", &l, &hd), 0);
    tree_close(t, hd);
    cr_assert_eq(WITH(d.id, tree_open_folder(t, n, &hd)), 0);
    save();
    tree_free(t);
    cr_assert_eq(rename(at("d"), at("moved")), 0);
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(rename(at("g"), at("g2")), 0);
    host_file(at("g"), "another");
    cr_assert_eq(unlink(at("l")), 0);
    cr_assert_eq(symlink("../outside/canary", at("l")), 0);
    new_tree();
    cr_assert_eq(load(), 0);
    uint64_t lost[] = {d.id, f.id, g.id, l.id};
    for (unsigned i = 0; i < ARRAY_SIZE(lost); i++) {
        struct statx st;
        struct statvfs fs;
        uint64_t h;
        char buf[16];
        struct tree_change c = {.what = TREE_SET_SIZE};
        cr_assert_eq(stat_id(lost[i]), -ESTALE);
        cr_assert_eq(open_id(lost[i], O_RDONLY, &h), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_open_folder(t, n, &h)), -ESTALE);
        cr_assert_eq(lookup(lost[i], "f", &x), -ESTALE);
        cr_assert_eq(make_dir(lost[i], "f", &x), -ESTALE);
        cr_assert_eq(create(lost[i], "f", &x, &h), -ESTALE);
        cr_assert_eq(do_unlink(lost[i], "f", false), -ESTALE);
        cr_assert_eq(do_rename(lost[i], "f", TREE_ROOT, "x", 0), -ESTALE);
        cr_assert_eq(do_rename(TREE_ROOT, "g", lost[i], "x", 0), -ESTALE);
        struct tree_node *what = tree_get(t, lost[i]);
        cr_assert_eq(WITH(TREE_ROOT, tree_link(t, what, n, "x", &x)), -ESTALE);
        tree_put(t, what);
        cr_assert_eq(do_change(lost[i], &c, &st), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_readlink(t, n, buf, 16)), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_statfs(t, n, &fs)), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_syncfs(t, n)), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_access(t, &root_user, n, R_OK)), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_getxattr(t, n, "user.x", buf, 16)), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_listxattr(t, n, buf, 16)), -ESTALE);
        cr_assert_eq(WITH(lost[i], tree_setxattr(t, n, "user.x", "x", 1, 0)), -ESTALE);
    }
    uint64_t handles[] = {hf, hg, hd};
    for (unsigned i = 0; i < ARRAY_SIZE(handles); i++) {
        _Alignas(8) char buf[64];
        struct flock lk = {.l_type = F_RDLCK};
        cr_assert_eq(WITH_FILE(handles[i], tree_file_fd(f)), -ESTALE);
        cr_assert_eq(WITH_FILE(handles[i], tree_read_folder(t, f, 0, buf, 64)), -ESTALE);
        cr_assert_eq(WITH_FILE(handles[i], tree_lock(t, f, 1, &lk, false)), -ESTALE);
        cr_assert_eq(WITH_FILE(handles[i], tree_lock(t, f, 1, &lk, true)), -ESTALE);
        cr_assert_eq(WITH_FILE(handles[i], tree_lock_test(t, f, 1, &lk)), -ESTALE);
        cr_assert_eq(WITH_FILE(handles[i], tree_kill_suid(t, f)), -ESTALE);
        tree_close(t, handles[i]);
    }
    /* And it is saved as what it is. */
    save_and_reopen();
    cr_assert_eq(load(), 0);
    cr_assert_eq(stat_id(d.id), -ESTALE);
    /* What is there by now is another file. */
    cr_assert_gt(id_of(TREE_ROOT, "d"), l.id);
    tree_forget(t, d.id, 1);
    cr_assert_null(tree_get(t, d.id));
}

/* The guest need not know a file any more that it has open. */
BOTH(tree_state, open_but_forgotten)
{
    struct tree_entry f;
    uint64_t h, h2;
    cr_assert_eq(create(TREE_ROOT, "f", &f, &h), 0);
    cr_assert_eq(open_id(f.id, O_RDONLY, &h2), 0);
    tree_forget(t, f.id, 1);
    save_and_reopen();
    cr_assert_eq(load(), 0);
    cr_assert_null(tree_get(t, f.id));
    cr_assert_geq(WITH_FILE(h, tree_file_fd(f)), 0);
    cr_assert_eq(WITH_FILE(h, tree_file_node(f) != NULL), 1);
    cr_assert_eq(tree_nodes(t), 2);
    tree_close(t, h);
    tree_close(t, h2);
    cr_assert_eq(tree_nodes(t), 1);
}

/* ---- Locks ---- */

static int lock(uint64_t h, uint64_t owner, short type, off_t start, off_t len, bool whole)
{
    struct flock l = {.l_type = type, .l_start = start, .l_len = len};
    return WITH_FILE(h, tree_lock(t, f, owner, &l, whole));
}

/* Another process's view: what type of lock is in the way of a write lock there. */
static short seen(const char *name, off_t start)
{
    int fd = open(at(name), O_RDWR | O_CLOEXEC);
    struct flock l = {.l_type = F_WRLCK, .l_start = start, .l_len = 1};
    cr_assert_eq(fcntl(fd, F_OFD_GETLK, &l), 0);
    close(fd);
    return l.l_type;
}

BOTH(tree_state, locks_are_taken_again)
{
    struct tree_entry f, g;
    uint64_t h, h2, hg;
    cr_assert_eq(create(TREE_ROOT, "f", &f, &h), 0);
    cr_assert_eq(open_id(f.id, O_RDWR, &h2), 0);
    cr_assert_eq(create(TREE_ROOT, "g", &g, &hg), 0);
    cr_assert_eq(lock(h, 1, F_WRLCK, 10, 5, false), 0);
    cr_assert_eq(lock(h, 1, F_RDLCK, 20, 0, false), 0);
    cr_assert_eq(lock(h2, 2, F_RDLCK, 0, 2, false), 0);
    cr_assert_eq(lock(hg, 0, F_WRLCK, 0, 0, true), 0);
    save_and_reopen();
    cr_assert_eq(seen("f", 10), F_UNLCK);
    cr_assert_eq(load(), 0);
    cr_assert_eq(seen("f", 0), F_RDLCK);
    cr_assert_eq(seen("f", 2), F_UNLCK);
    cr_assert_eq(seen("f", 9), F_UNLCK);
    cr_assert_eq(seen("f", 10), F_WRLCK);
    cr_assert_eq(seen("f", 15), F_UNLCK);
    cr_assert_eq(seen("f", 1 << 30), F_RDLCK);
    int fd = open(at("g"), O_RDWR | O_CLOEXEC);
    cr_assert_eq(flock(fd, LOCK_SH | LOCK_NB), -1);
    close(fd);
    cr_assert_eq(lock(h2, 2, F_WRLCK, 10, 1, false), -EAGAIN);
    WITH_FILE(h, (tree_unlock_all(t, f, 1), 0));
    cr_assert_eq(lock(h2, 2, F_WRLCK, 10, 1, false), 0);
    /* Somebody else has it by now. */
    save();
    tree_free(t);
    fd = open(at("f"), O_RDWR | O_CLOEXEC);
    struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 1};
    cr_assert_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
    new_tree();
    cr_assert_eq(load(), 0);
    cr_assert_eq(lock(h, 1, F_WRLCK, 10, 1, false), -EAGAIN);
    close(fd);
    cr_assert_eq(lock(h, 1, F_WRLCK, 10, 1, false), 0);
}

static int one_lock(uint8_t kind, uint64_t handle, uint8_t write, uint64_t start, uint64_t len)
{
    begin(100, 1);
    put_node(2, 1, "f", 1, "f");
    state_u32(&saved, 1);
    put_file(1, 2, O_RDWR);
    state_u8(&saved, kind);
    state_u64(&saved, handle);
    state_u64(&saved, 5);
    state_u8(&saved, write);
    state_u64(&saved, start);
    state_u64(&saved, len);
    return finish();
}

BOTH(tree_state, locks_that_cannot_be)
{
    host_file(at("f"), "x");
    cr_assert_eq(one_lock(1, 1, 1, 3, 1), 0);
    cr_assert_eq(seen("f", 3), F_WRLCK);
    cr_assert_eq(one_lock(2, 1, 1, 0, 0), 0);
    cr_assert_eq(one_lock(3, 1, 1, 3, 1), -EBADMSG);
    cr_assert_eq(one_lock(1, 2, 1, 3, 1), -EBADMSG);
    cr_assert_eq(one_lock(1, 1, 2, 3, 1), -EBADMSG);
    cr_assert_eq(one_lock(1, 1, 1, UINT64_MAX, 1), 0, "no lock, no harm");
    cr_assert_eq(seen("f", 3), F_UNLCK);
    cr_assert_eq(one_lock(1, 1, 1, 2, INT64_MAX), 0);
    cr_assert_eq(seen("f", 3), F_UNLCK);
}

/* As the host's kernel has them: parts of others, neighbours, types that change. */
BOTH(tree_state, ranges_are_what_they_were)
{
    struct tree_entry en;
    uint64_t h;
    cr_assert_eq(create(TREE_ROOT, "f", &en, &h), 0);
    cr_assert_eq(lock(h, 1, F_WRLCK, 0, 100, false), 0);
    cr_assert_eq(lock(h, 1, F_RDLCK, 40, 20, false), 0);
    cr_assert_eq(lock(h, 1, F_UNLCK, 10, 5, false), 0);
    cr_assert_eq(lock(h, 1, F_UNLCK, 55, 20, false), 0);
    cr_assert_eq(lock(h, 1, F_RDLCK, 200, 0, false), 0);
    cr_assert_eq(lock(h, 1, F_UNLCK, 300, 0, false), 0);
    cr_assert_eq(lock(h, 1, F_WRLCK, 100, 10, false), 0);
    short before[320], after[320];
    for (int i = 0; i < 320; i++)
        before[i] = seen("f", i);
    save_and_reopen();
    cr_assert_eq(load(), 0);
    for (int i = 0; i < 320; i++)
        after[i] = seen("f", i);
    cr_assert_arr_eq(before, after, sizeof(before));
    cr_assert(after[9] == F_WRLCK && after[10] == F_UNLCK && after[14] == F_UNLCK &&
              after[15] == F_WRLCK && after[39] == F_WRLCK && after[40] == F_RDLCK &&
              after[54] == F_RDLCK && after[55] == F_UNLCK && after[74] == F_UNLCK &&
              after[75] == F_WRLCK && after[109] == F_WRLCK && after[110] == F_UNLCK &&
              after[200] == F_RDLCK && after[299] == F_RDLCK && after[300] == F_UNLCK);
    /* A whole lock that was to become another, and was lost by that. */
    int fd = open(at("f"), O_RDWR | O_CLOEXEC);
    cr_assert_eq(lock(h, 0, F_RDLCK, 0, 0, true), 0);
    cr_assert_eq(flock(fd, LOCK_SH), 0);
    cr_assert_eq(lock(h, 0, F_WRLCK, 0, 0, true), -EAGAIN);
    close(fd);
    save_and_reopen();
    cr_assert_eq(load(), 0);
    fd = open(at("f"), O_RDWR | O_CLOEXEC);
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
}

static int many_locks(uint8_t kind, unsigned n)
{
    begin(100, 1);
    put_node(2, 1, "f", 1, "f");
    state_u32(&saved, 1);
    put_file(1, 2, O_RDWR);
    for (unsigned i = 0; i < n; i++) {
        state_u8(&saved, kind);
        state_u64(&saved, 1);
        state_u64(&saved, 5);
        state_u8(&saved, 1);
        state_u64(&saved, 2 * (n - i));
        state_u64(&saved, 1);
    }
    return finish();
}

Test(tree_state, more_locks_than_there_can_be, .init = setup_user, .fini = teardown)
{
    enum { MOST = 8192 };
    host_file(at("f"), "x");
    cr_assert_eq(many_locks(1, MOST + 1), -EBADMSG);
    cr_assert_eq(many_locks(2, 2), -EBADMSG, "one for each file");
    cr_assert_eq(many_locks(2, 1), 0);
    cr_assert_eq(many_locks(1, MOST), 0);
    save();
    cr_assert_eq(load(), 0, "as many as there were");
    cr_assert_eq(seen("f", 2), F_WRLCK);
    cr_assert_eq(seen("f", 2 * MOST), F_WRLCK);
}
