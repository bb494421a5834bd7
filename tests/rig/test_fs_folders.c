/* tests/rig/test_fs_folders.c - folders are read: every name once, whatever the size of an answer,
 * and while the names that were read are removed. */
#include "tests/rig/fs_fixture.h"

static uint64_t open_folder(uint64_t node)
{
    const struct fuse_open_in in = {0};
    struct fuse_open_out out;
    cr_assert_eq(ask_for(FUSE_OPENDIR, node, ARGS(VALUE(in)), &out, sizeof(out)), 0);
    return out.fh;
}

/* Reads all of it by answers of `size` bytes; each name once. */
static unsigned list(uint64_t fh, uint32_t op, uint32_t size, bool seen[])
{
    static uint8_t buf[1 << 16];
    uint64_t at = 0;
    unsigned n = 0;
    for (;;) {
        const struct fuse_read_in in = {.fh = fh, .offset = at, .size = size};
        int64_t len = ask(op, FUSE_ROOT_ID, ARGS(VALUE(in)), buf, size);
        cr_assert_geq(len, 0);
        if (len == 0)
            return n;
        for (uint8_t *p = buf; p < buf + len; n++) {
            struct fuse_entry_out e = {0};
            struct fuse_dirent d;
            char name[256] = "";
            if (op == FUSE_READDIRPLUS) {
                memcpy(&e, p, sizeof(e));
                p += sizeof(e);
            }
            memcpy(&d, p, FUSE_NAME_OFFSET);
            memcpy(name, p + FUSE_NAME_OFFSET, d.namelen);
            p += FUSE_REC_ALIGN(FUSE_NAME_OFFSET + d.namelen);
            at = d.off;
            bool dots = name[0] == '.';
            cr_assert_eq(e.nodeid != 0, op == FUSE_READDIRPLUS && !dots);
            cr_assert_eq(d.type, dots ? DT_DIR : DT_REG);
            if (dots)
                continue;
            unsigned i = (unsigned)atoi(name + 5);
            cr_assert_not(seen[i], "%s twice", name);
            seen[i] = true;
            if (e.nodeid) {
                cr_assert_eq(e.attr.ino, d.ino);
                cr_assert_eq(e.attr.size, 1);
            }
        }
        cr_assert_leq(len, size);
    }
}

Test(fs_folders, a_folder_is_read)
{
    enum { N = 300 };
    up();
    for (unsigned i = 0; i < N; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "file-%u%.*s", i, (int)(i % 40),
                       "-........................................");
        write_file(name, "x", 1);
    }
    uint64_t fh = open_folder(FUSE_ROOT_ID);
    static const uint32_t sizes[] = {512, 4096, 65536};
    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        bool seen[N] = {false}, again[N] = {false};
        cr_assert_eq(list(fh, FUSE_READDIR, sizes[i], seen), N + 2);
        cr_assert_eq(list(fh, FUSE_READDIRPLUS, sizes[i], again), N + 2);
    }
    cr_assert_eq(reported(rig, "known_files"), N + 1);
    struct fuse_read_in tiny = {.fh = fh, .size = 16};
    char buf[16];
    cr_assert_eq(ask(FUSE_READDIR, FUSE_ROOT_ID, ARGS(VALUE(tiny)), buf, 16), -EINVAL,
                 "not as if there were nothing");
    const struct fuse_fsync_in sync = {.fh = fh};
    cr_assert_eq(ask_for(FUSE_FSYNCDIR, FUSE_ROOT_ID, ARGS(VALUE(sync)), NULL, 0), 0);
    const struct fuse_release_in in = {.fh = fh};
    cr_assert_eq(ask_for(FUSE_RELEASEDIR, FUSE_ROOT_ID, ARGS(VALUE(in)), NULL, 0), 0);
    cr_assert_eq(ask(FUSE_READDIR, FUSE_ROOT_ID, ARGS(VALUE(tiny)), buf, 16), -EBADF);
    down();
}

/* Where the device's descriptor of the folder is. */
static uint64_t host_position(void)
{
    uint64_t pos = 0, is;
    char name[64], to[256], line[64];
    for (int fd = 0; fd < 256; fd++) {
        (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, to, sizeof(to) - 1);
        if (n < 0 || (to[n] = 0, strcmp(to, folder) != 0))
            continue;
        (void)snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
        FILE *f = fopen(name, "r");
        while (f && fgets(line, sizeof(line), f)) {
            if (sscanf(line, "pos: %lu", &is) == 1)
                pos = MAX(pos, is);
        }
        if (f)
            (void)fclose(f);
    }
    return pos;
}

/* A guest removes what it reads, between one answer and the next; on the host's tmpfs too. */
static void empty_by(uint32_t op, const char *where)
{
    enum { N = 500, SIZE = 4096 };
    static uint8_t buf[SIZE];
    char name[64];
    (void)snprintf(folder, sizeof(folder), "%s/vmm-test-fs-XXXXXX", where);
    cr_assert_not_null(mkdtemp(folder));
    for (unsigned i = 0; i < N; i++) {
        (void)snprintf(name, sizeof(name), "%u", i);
        write_file(name, "x", 1);
    }
    rig = fs_rig("", NULL);
    buffers_up();
    (void)init_with(36, ~0ull);
    uint64_t fh = open_folder(FUSE_ROOT_ID), at = 0;
    unsigned n = 0;
    for (;;) {
        const struct fuse_read_in in = {.fh = fh, .offset = at, .size = SIZE};
        int64_t len = ask(op, FUSE_ROOT_ID, ARGS(VALUE(in)), buf, SIZE);
        cr_assert_geq(len, 0);
        if (len == 0)
            break;
        uint64_t there = host_position();
        for (uint8_t *p = buf; p < buf + len;) {
            struct fuse_dirent d;
            p += op == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0;
            memcpy(&d, p, FUSE_NAME_OFFSET);
            memset(name, 0, sizeof(name));
            memcpy(name, p + FUSE_NAME_OFFSET, d.namelen);
            p += FUSE_REC_ALIGN(FUSE_NAME_OFFSET + d.namelen);
            at = d.off;
            if (name[0] != '.')
                n += ask_for(FUSE_UNLINK, FUSE_ROOT_ID, ARGS(TEXT(name)), NULL, 0) == 0;
        }
        cr_assert_eq(there, at, "nothing was read that was not told");
    }
    cr_assert_eq(n, N, "%s: %u of them", where, n);
    down();
}

Test(fs_folders, a_folder_is_emptied)
{
    empty_by(FUSE_READDIR, "/tmp");
    empty_by(FUSE_READDIR, "/dev/shm");
    empty_by(FUSE_READDIRPLUS, "/dev/shm");
}
