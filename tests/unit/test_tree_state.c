/* tests/unit/test_tree_state.c - a shared folder is saved and found again, by a host whose folder
 * has changed meanwhile, or from a state that somebody has made up. */
#include "tree_try.h"

#include <sys/file.h>

#include "devices/fs/tree_priv.h"

static struct state_out saved;

static void save(void)
{
    state_out_free(&saved);
    tree_save(t, &saved);
    cr_assert_eq(saved.error, 0);
}

static int load(void)
{
    struct state_in in = {.buf = saved.buf, .len = saved.len};
    return tree_load(t, &in);
}

/* In a new process, as it were. */
static void save_and_reopen(void)
{
    save();
    tree_free(t);
    new_tree();
}

static int stat_id(uint64_t id)
{
    struct statx st;
    return WITH(id, tree_stat(t, n, &st));
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

/* ---- A state that somebody has made up ---- */

static struct stat stat_of(const char *name)
{
    struct stat st = {0};
    (void)!lstat(at(name), &st);
    return st;
}

static uint64_t born(const char *name)
{
    struct statx st = {0};
    (void)!statx(AT_FDCWD, at(name), AT_SYMLINK_NOFOLLOW, STATX_BTIME, &st);
    return (uint64_t)st.stx_btime.tv_sec;
}

static void begin(uint64_t last_id, uint32_t nodes)
{
    state_out_free(&saved);
    state_begin(&saved, "FSTR", 1);
    state_u64(&saved, last_id);
    state_u64(&saved, 10);
    state_u32(&saved, nodes);
}

static int64_t older; /* seconds, for the time of birth */

/* With the identity of what is at `real` (from the shared folder). */
static void put_node(uint64_t id, uint64_t parent, const char *name, size_t len, const char *real)
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

static void put_file(uint64_t handle, uint64_t node, uint32_t flags)
{
    state_u64(&saved, handle);
    state_u64(&saved, node);
    state_u32(&saved, flags);
}

static int finish(void)
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

static int one_node(uint64_t id, uint64_t parent, const char *name, size_t len, const char *real)
{
    begin(100, 1);
    put_node(id, parent, name, len, real);
    state_u32(&saved, 0);
    return finish();
}

BOTH(tree_state, names_that_lead_away)
{
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(symlink("../outside", at("out")), 0);
    host_file(at("f"), "x");
    cr_assert_eq(one_node(2, 1, "d", 1, "d"), 0);
    cr_assert_eq(stat_id(2), 0);
    cr_assert_eq(one_node(2, 1, "../outside", 10, "../outside"), -EBADMSG);
    cr_assert_eq(one_node(2, 1, "..", 2, ".."), -EBADMSG);
    cr_assert_eq(one_node(2, 1, ".", 1, "."), -EBADMSG);
    cr_assert_eq(one_node(2, 1, "d\0x", 3, "d"), -EBADMSG);
    cr_assert_eq(one_node(2, 1, "d/", 2, "d"), -EBADMSG);
    char longest[256];
    memset(longest, 'x', sizeof(longest));
    cr_assert_eq(one_node(2, 1, longest, 256, "d"), -EBADMSG);
    cr_assert_eq(one_node(2, 1, longest, 255, "d"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
    cr_assert_eq(one_node(2, 1, "", 0, "d"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
    /* Through a link to a folder outside. */
    begin(100, 2);
    put_node(2, 1, "out", 3, "out");
    put_node(3, 2, "canary", 6, "../outside/canary");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq(stat_id(2), 0);
    cr_assert_eq(stat_id(3), -ESTALE);
    /* The type of the link's target. */
    cr_assert_eq(one_node(2, 1, "out", 3, "../outside"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
}

/* A number may have been given to a new file. */
BOTH(tree_state, a_file_that_is_younger)
{
    host_file(at("f"), "x");
    if (born("f") == 0)
        return; /* the file system does not tell */
    older = 1;
    cr_assert_eq(one_node(2, 1, "f", 1, "f"), 0);
    cr_assert_eq(stat_id(2), -ESTALE);
    older = 0;
    cr_assert_eq(one_node(2, 1, "f", 1, "f"), 0);
    cr_assert_eq(stat_id(2), 0);
}

BOTH(tree_state, ids_that_cannot_be)
{
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(one_node(0, 1, "d", 1, "d"), -EBADMSG);
    cr_assert_eq(one_node(1, 1, "d", 1, "d"), -EBADMSG);
    cr_assert_eq(one_node(101, 1, "d", 1, "d"), -EBADMSG);
    begin(UINT64_MAX, 0);
    state_u32(&saved, 0);
    cr_assert_eq(finish(), -EBADMSG);
    begin(100, 2); /* the same twice */
    put_node(2, 1, "d", 1, "d");
    put_node(2, 1, "d", 1, "d");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), -EBADMSG);
    begin(100, 2); /* two for one file: the other one is lost */
    put_node(2, 1, "d", 1, "d");
    put_node(3, 1, "d", 1, "d");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq((stat_id(2) == 0) + (stat_id(3) == 0), 1);
    begin(100, UINT32_MAX);
    put_node(2, 1, "d", 1, "d");
    cr_assert_eq(finish(), -EBADMSG);
}

BOTH(tree_state, folders_that_come_later_or_never)
{
    struct tree_entry en;
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    cr_assert_eq(mkdir(at("d/e"), 0777), 0);
    cr_assert_eq(mkdir(at("d/e/f"), 0777), 0);
    begin(100, 4);
    put_node(5, 4, "f", 1, "d/e/f");
    put_node(4, 9, "e", 1, "d/e");
    put_node(9, 1, "d", 1, "d");
    put_node(6, 77, "f", 1, "d/e/f");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq(stat_id(5), 0);
    cr_assert_eq(stat_id(4), 0);
    cr_assert_eq(stat_id(6), -ESTALE);
    cr_assert_eq(lookup(9, "e", &en), 0);
    cr_assert_eq(en.id, 4);
    begin(100, 4); /* in a circle, by itself, and below one */
    put_node(2, 3, "d", 1, "d");
    put_node(3, 2, "e", 1, "d/e");
    put_node(4, 4, "f", 1, "d/e/f");
    put_node(5, 2, "e", 1, "d/e");
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    for (uint64_t id = 2; id <= 5; id++)
        cr_assert_eq(stat_id(id), -ESTALE);
}

BOTH(tree_state, files_that_cannot_be)
{
    static const struct {
        uint64_t handle, node;
        uint32_t flags;
        int rc, fd; /* fd: 1 opened, -ESTALE lost */
    } row[] = {
        {1, 2, O_RDWR, 0, 1},          {10, 2, O_RDONLY | O_SYNC, 0, 1},
        {0, 2, O_RDWR, -EBADMSG, 0},   {11, 2, O_RDWR, -EBADMSG, 0},
        {1, 3, O_RDWR, -EBADMSG, 0},   {1, 2, O_CREAT, -EBADMSG, 0},
        {1, 2, O_TRUNC, -EBADMSG, 0},  {1, 2, O_PATH, -EBADMSG, 0},
        {1, 2, O_ACCMODE, 0, -ESTALE}, {1, 2, O_DIRECTORY, 0, -ESTALE},
        {1, 4, O_RDONLY, 0, -ESTALE},  {1, 5, O_RDONLY, 0, -ESTALE},
        {1, 6, O_DIRECTORY, 0, 1},     {1, 6, O_RDONLY, 0, -ESTALE},
    };
    host_file(at("f"), "x");
    cr_assert_eq(mkfifo(at("p"), 0666), 0);
    cr_assert_eq(symlink("../outside/canary", at("l")), 0);
    cr_assert_eq(mkdir(at("d"), 0777), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(row); i++) {
        begin(100, 4);
        put_node(2, 1, "f", 1, "f");
        put_node(4, 1, "p", 1, "p");
        put_node(5, 1, "l", 1, "l");
        put_node(6, 1, "d", 1, "d");
        state_u32(&saved, 1);
        put_file(row[i].handle, row[i].node, row[i].flags);
        cr_assert_eq(finish(), row[i].rc, "row %u", i);
        if (row[i].rc < 0)
            continue;
        int fd = WITH_FILE(row[i].handle, tree_file_fd(f));
        cr_assert_eq(fd < 0 ? fd : 1, row[i].fd, "row %u", i);
    }
    begin(100, 1); /* the same twice */
    put_node(2, 1, "f", 1, "f");
    state_u32(&saved, 2);
    put_file(1, 2, O_RDWR);
    put_file(1, 2, O_RDWR);
    cr_assert_eq(finish(), -EBADMSG);
}

BOTH(tree_state, cut_anywhere)
{
    struct tree_entry d, f;
    uint64_t h;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &d), 0);
    cr_assert_eq(create(d.id, "f", &f, &h), 0);
    struct flock l = {.l_type = F_WRLCK};
    cr_assert_eq(WITH_FILE(h, tree_lock(t, f, 1, &l, false)), 0);
    save();
    struct state_out whole = saved;
    for (size_t len = 16; len < whole.len; len++) {
        /* A section of its own of that length: the checksum does not save us. */
        saved = (struct state_out){0};
        state_begin(&saved, "FSTR", 1);
        for (size_t i = 16; i < len; i++)
            state_u8(&saved, whole.buf[i]);
        state_end(&saved);
        cr_assert_eq(load(), -EBADMSG, "%zu", len);
        cr_assert_eq(tree_nodes(t), 1);
        state_out_free(&saved);
    }
    saved = whole;
    saved.buf[0] ^= 1;
    cr_assert_eq(load(), -EBADMSG);
    saved.buf[0] ^= 1;
    cr_assert_eq(load(), 0);
}

/* Whatever is in it: a whole tree, or the empty one; and one that works. */
BOTH(tree_state, any_byte_changed)
{
    static const uint8_t with[] = {0xff, 0x80, 0x01, 0x7f};
    struct tree_entry d, f, x;
    uint64_t h, hd;
    cr_assert_eq(make_dir(TREE_ROOT, "d", &d), 0);
    cr_assert_eq(create(d.id, "f", &f, &h), 0);
    cr_assert_eq(WITH(d.id, tree_open_folder(t, n, &hd)), 0);
    struct flock l = {.l_type = F_WRLCK, .l_start = 3, .l_len = 4};
    cr_assert_eq(WITH_FILE(h, tree_lock(t, f, 1, &l, false)), 0);
    save();
    struct state_out whole = saved;
    unsigned loaded = 0, refused = 0;
    for (size_t i = 16; i < whole.len * ARRAY_SIZE(with); i++) {
        size_t changed = i / ARRAY_SIZE(with);
        saved = (struct state_out){0};
        state_begin(&saved, "FSTR", 1);
        for (size_t k = 16; k < whole.len; k++)
            state_u8(&saved, whole.buf[k] ^ (k == changed ? with[i % ARRAY_SIZE(with)] : 0));
        state_end(&saved);
        int rc = load();
        loaded += rc == 0;
        refused += rc < 0;
        cr_assert(rc == 0 || (tree_nodes(t) == 1 && tree_files(t) == 0));
        cr_assert_eq(lookup(TREE_ROOT, "d", &x), 0);
        state_out_free(&saved);
    }
    cr_assert(loaded > 0 && refused > 0);
    saved = whole;
    cr_assert_eq(load(), 0);
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

/* Numbers are given out once, up to the last one; and a state that was refused gives none away. */
BOTH(tree_state, numbers_that_come_to_their_end)
{
    struct tree_entry en;
    uint64_t h;
    host_file(at("f"), "x");
    host_file(at("g"), "x");
    begin(INT64_MAX, 7);
    state_end(&saved);
    cr_assert_eq(load(), -EBADMSG);
    cr_assert_eq(id_of(TREE_ROOT, "f"), 2);
    begin(INT64_MAX - 1, 0);
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    cr_assert_eq(id_of(TREE_ROOT, "f"), INT64_MAX);
    cr_assert_eq(lookup(TREE_ROOT, "g", &en), -ENFILE);
    cr_assert_eq(tree_nodes(t), 2);
    cr_assert_eq(id_of(TREE_ROOT, "f"), INT64_MAX);
    save();
    cr_assert_eq(load(), 0, "what was saved can be loaded");
    cr_assert_eq(lookup(TREE_ROOT, "g", &en), -ENFILE);
    tree_free(t);
    new_tree();
    state_out_free(&saved);
    state_begin(&saved, "FSTR", 1);
    state_u64(&saved, 100);
    state_u64(&saved, INT64_MAX - 1);
    state_u32(&saved, 0);
    state_u32(&saved, 0);
    cr_assert_eq(finish(), 0);
    uint64_t f = id_of(TREE_ROOT, "f");
    cr_assert_eq(open_id(f, O_RDONLY, &h), 0);
    cr_assert_eq(h, INT64_MAX);
    cr_assert_eq(open_id(f, O_RDONLY, &h), -ENFILE);
    cr_assert_eq(tree_files(t), 1);
    save();
    cr_assert_eq(load(), 0);
}

/* Whoever makes up a state chooses ids, handles and what files are said to be; a guest chooses
 * which handles it keeps. */
enum { CHOSEN = 120 };

static void load_chosen(uint64_t step)
{
    state_out_free(&saved);
    state_begin(&saved, "FSTR", 1);
    state_u64(&saved, INT64_MAX);
    state_u64(&saved, INT64_MAX);
    state_u32(&saved, CHOSEN);
    for (uint64_t i = 0; i < CHOSEN; i++)
        put_node(2 + i * step, 1, "f", 1, i % 2 ? "f" : ".");
    state_u32(&saved, CHOSEN);
    for (uint64_t i = 0; i < CHOSEN; i++)
        put_file(2 + i * step, 2, O_RDONLY);
    cr_assert_eq(finish(), 0);
}

static unsigned longest(void)
{
    unsigned most = 0;
    for (uint64_t b = 0; b < tree_buckets(t); b++) {
        unsigned nodes = 0, files = 0;
        for (struct tree_node *n = t->by_id[b]; n; n = n->next_by_id)
            nodes++;
        for (struct tree_file *f = t->by_handle[b]; f; f = f->next)
            files++;
        most = MAX(most, MAX(nodes, files));
    }
    return most;
}

BOTH(tree_state, nobody_chooses_what_meets)
{
    static const uint64_t steps[] = {1, 1024, 1 << 20, 1ull << 40};
    host_file(at("f"), "x");
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        unsigned most = CHOSEN;
        for (unsigned tries = 0; tries < 5 && most > CHOSEN / 4; tries++) { /* by chance */
            tree_free(t);
            new_tree();
            load_chosen(steps[i]);
            most = longest();
        }
        cr_assert_leq(most, CHOSEN / 4, "step %lu: %u", (unsigned long)steps[i], most);
    }
    unsigned by_key = 0;
    for (uint64_t b = 0; b < tree_buckets(t); b++) {
        for (struct tree_node *n = t->by_key[b]; n; n = n->next_by_key)
            by_key++;
    }
    cr_assert_eq(by_key, 2, "by what it is, only what was found");
}
