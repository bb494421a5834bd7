/* tests/rig/test_fs_hostile.c - requests that no driver sends: cut off, giant, without room for an
 * answer, with names that are none. Each is answered or used, and the device goes on. */
#include "tests/rig/fs_fixture.h"
#include "tests/rig/ways.h"

static void still_well(void)
{
    struct fuse_attr a;
    cr_assert_not(rig_needs_reset(rig));
    cr_assert_eq(getattr(FUSE_ROOT_ID, &a), 0);
}

/* What comes of these bytes: the used length, and the error in it (1: there is no answer). */
static uint32_t submit_raw(unsigned q, uint32_t out_len, uint32_t in_len, int *error)
{
    struct fuse_out_header o;
    submit(q, out_len, in_at, in_len);
    rig_settle(rig);
    uint32_t used = take_answer(q, in_at, &o);
    *error = used ? o.error : 1;
    return used;
}

Test(fs_hostile, requests_that_are_cut_off)
{
    int error;
    up();
    for (uint32_t op = 0; op < 64; op++) {
        uint8_t arg[200] = {0};
        for (uint32_t len = 1; len < HEAD_IN + sizeof(arg); len += len < 60 ? 1 : 7) {
            if (op == FUSE_DESTROY || (op == FUSE_INIT && len >= HEAD_IN + 16))
                continue;
            struct fuse_in_header h = header(op, FUSE_ROOT_ID, sizeof(arg));
            (void)place(&h, ARGS(RAW(arg, sizeof(arg))));
            uint32_t used = submit_raw(REQUESTS, len, 256, &error);
            if (len < HEAD_IN)
                cr_assert_eq(used, 0, "%u: nobody knows whom it is to", op);
            else if (op != FUSE_FORGET && op != FUSE_BATCH_FORGET && op != FUSE_INTERRUPT)
                cr_assert_lt(error, 0, "%u of %u bytes, that says it has more", op, len);
        }
    }
    still_well();
    down();
}

/* A header whose length is less than its own, or anything. */
Test(fs_hostile, lengths_that_lie)
{
    static const uint32_t lens[] = {0, 1, 39, 41, 57, 1 << 20, INT32_MAX, UINT32_MAX};
    const struct fuse_getattr_in in = {0};
    int error;
    up();
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        struct fuse_in_header h = header(FUSE_GETATTR, FUSE_ROOT_ID, sizeof(in));
        uint32_t len = place(&h, ARGS(VALUE(in)));
        put_bytes(rig_at(rig, out_at, 4), lens[i], 4);
        (void)submit_raw(REQUESTS, len, 256, &error);
        cr_assert_eq(error, -EINVAL, "%u", lens[i]);
    }
    write_file("f", "12345678", 8);
    uint64_t fh = open_name("f", O_RDWR);
    char buf[8];
    struct fuse_read_in rd = {.fh = fh, .size = UINT32_MAX};
    cr_assert_eq(ask(FUSE_READ, 0, ARGS(VALUE(rd)), buf, 8), -EINVAL, "there is no such room");
    struct fuse_write_in w = {.fh = fh, .size = UINT32_MAX};
    struct fuse_write_out out;
    cr_assert_eq(ask(FUSE_WRITE, 0, ARGS(VALUE(w), RAW("x", 1)), &out, 8), -EINVAL);
    w.size = 0;
    cr_assert_eq(ask(FUSE_WRITE, 0, ARGS(VALUE(w), RAW("x", 1)), &out, 8), -EINVAL);
    const uint32_t xattr[2] = {UINT32_MAX, 0};
    cr_assert_eq(ask(FUSE_SETXATTR, 1, ARGS(VALUE(xattr), TEXT("user.a"), RAW("v", 1)), NULL, 0),
                 -EINVAL);
    const struct fuse_getxattr_in get = {.size = UINT32_MAX};
    cr_assert_lt(ask(FUSE_GETXATTR, 1, ARGS(VALUE(get), TEXT("user.a")), buf, 8), 0);
    rd.size = UINT32_MAX;
    cr_assert_eq(ask(FUSE_READDIR, 0, ARGS(VALUE(rd)), buf, 8), -ENOTDIR);
    still_well();
    down();
}

/* An argument longer than any: refused before it is copied. */
TEST_EACH_WAY(W_PLAIN, fs_hostile, arguments_that_are_too_long)
{
    static uint8_t much[100 << 10];
    struct fuse_attr_out out;
    struct fuse_entry_out e;
    up();
    HOLDS(rig, "33g");
    memset(much, 'a', sizeof(much));
    cr_assert_eq(ask(FUSE_LOOKUP, 1, ARGS(RAW(much, sizeof(much))), &e, sizeof(e)), -E2BIG);
    cr_assert_eq(ask(FUSE_SETXATTR, 1, ARGS(RAW(much, sizeof(much))), NULL, 0), -E2BIG);
    cr_assert_eq(ask(FUSE_GETATTR, 1, ARGS(RAW(much, sizeof(much))), &out, sizeof(out)), -E2BIG);
    much[1000] = 0;
    cr_assert_eq(ask(FUSE_LOOKUP, 1, ARGS(RAW(much, 1001)), &e, sizeof(e)), -ENAMETOOLONG);
    still_well();
    down();
}

/* What would have no answer, or half of one, is not done at all. */
Test(fs_hostile, no_room_for_an_answer)
{
    const struct fuse_create_in in = {.flags = O_RDWR, .mode = 0644};
    int error;
    up();
    for (uint32_t room = 0; room < HEAD_OUT + sizeof(struct fuse_entry_out) + 16; room++) {
        struct fuse_in_header h = header(FUSE_CREATE, FUSE_ROOT_ID, sizeof(in) + 2);
        uint32_t len = place(&h, ARGS(VALUE(in), TEXT("f")));
        uint32_t used = submit_raw(REQUESTS, len, room, &error);
        cr_assert_eq(used, room < HEAD_OUT ? 0 : HEAD_OUT);
        cr_assert_eq(error, room < HEAD_OUT ? 1 : -EINVAL);
        cr_assert_eq(access(in_folder("f"), F_OK), -1);
    }
    cr_assert_eq(reported(rig, "open_files"), 0);
    still_well();
    down();
}

/* Descriptors of one byte each, on both sides. */
Test(fs_hostile, one_byte_at_a_time)
{
    const struct fuse_getattr_in in = {0};
    struct rig_seg out[64], answer[128];
    struct fuse_out_header o;
    up();
    struct fuse_in_header h = header(FUSE_GETATTR, FUSE_ROOT_ID, sizeof(in));
    uint32_t len = place(&h, ARGS(VALUE(in)));
    for (uint32_t i = 0; i < len; i++)
        out[i] = (struct rig_seg){GPA(out_at.v + i), 1};
    for (uint32_t i = 0; i < HEAD_OUT + sizeof(struct fuse_attr_out); i++)
        answer[i] = (struct rig_seg){GPA(in_at.v + i), 1};
    rig_add(rig, REQUESTS, out, len, answer, HEAD_OUT + sizeof(struct fuse_attr_out));
    rig_kick(rig, REQUESTS);
    rig_settle(rig);
    cr_assert_eq(take_answer(REQUESTS, in_at, &o), HEAD_OUT + sizeof(struct fuse_attr_out));
    cr_assert_eq(o.error, 0);
    still_well();
    down();
}

TEST_EACH_WAY(W_PLAIN, fs_hostile, names_that_are_none)
{
    static const struct {
        const char *bytes;
        size_t len;
    } names[] = {{"", 0},           {"", 1},   {"f", 1},    {".", 2},      {"..", 3},
                 {"a/b", 4},        {"/", 2},  {"/etc", 5}, {"f\0g", 4},   {"f\0", 3},
                 {"../../etc", 10}, {"d/", 3}, {"./f", 4},  {"f\0\0\0", 5}};
    struct fuse_entry_out e;
    const struct fuse_mkdir_in mk = {.mode = 0755};
    const struct fuse_mknod_in nod = {.mode = S_IFREG | 0644};
    const struct fuse_create_in cr = {.flags = O_RDWR, .mode = 0644};
    const struct fuse_rename2_in rn = {.newdir = FUSE_ROOT_ID};
    uint8_t room[256];
    up();
    HOLDS(rig, "33c");
    write_file("f", "x", 1);
    cr_assert_eq(mkdir(in_folder("d"), 0755), 0);
    const struct fuse_link_in ln = {.oldnodeid = node_of("f")};
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        const struct arg bad = RAW(names[i].bytes, names[i].len), good = TEXT("new");
        const int64_t rcs[] = {
            ask(FUSE_LOOKUP, 1, ARGS(bad), &e, sizeof(e)),
            ask(FUSE_MKDIR, 1, ARGS(VALUE(mk), bad), &e, sizeof(e)),
            ask(FUSE_MKNOD, 1, ARGS(VALUE(nod), bad), &e, sizeof(e)),
            ask(FUSE_CREATE, 1, ARGS(VALUE(cr), bad), room, sizeof(room)),
            ask(FUSE_UNLINK, 1, ARGS(bad), NULL, 0),
            ask(FUSE_RMDIR, 1, ARGS(bad), NULL, 0),
            ask(FUSE_LINK, 1, ARGS(VALUE(ln), bad), &e, sizeof(e)),
            ask(FUSE_SYMLINK, 1, ARGS(bad, good), &e, sizeof(e)),
            ask(FUSE_RENAME2, 1, ARGS(VALUE(rn), bad, good), NULL, 0),
            ask(FUSE_RENAME2, 1, ARGS(VALUE(rn), good, bad), NULL, 0),
        };
        for (unsigned k = 0; k < ARRAY_SIZE(rcs); k++)
            cr_assert_eq(rcs[k], -EINVAL, "name %u, request %u: %ld", i, k, (long)rcs[k]);
    }
    /* Where a link leads ends with its zero, and with the argument. */
    cr_assert_eq(ask(FUSE_SYMLINK, 1, ARGS(TEXT("s"), RAW("a\0b", 4)), &e, sizeof(e)), -EINVAL);
    cr_assert_eq(ask(FUSE_SYMLINK, 1, ARGS(TEXT("s"), RAW("ab", 2)), &e, sizeof(e)), -EINVAL);
    cr_assert_eq(ask(FUSE_SYMLINK, 1, ARGS(TEXT("s"), RAW("", 1)), &e, sizeof(e)), -ENOENT);
    cr_assert_eq(access(in_folder("f"), F_OK), 0);
    cr_assert_eq(access(in_folder("new"), F_OK), -1);
    still_well();
    down();
}

/* A link of the guest's leads nowhere on the host's side. */
TEST_EACH_WAY(W_PLAIN, fs_hostile, links_out_of_the_folder)
{
    struct fuse_entry_out e;
    uint64_t fh;
    up();
    HOLDS(rig, "33e");
    cr_assert_eq(symlink("/etc", in_folder("etc")), 0);
    cr_assert_eq(symlink("/etc/passwd", in_folder("passwd")), 0);
    cr_assert_eq(lookup(node_of("etc"), "passwd", &e), -ENOTDIR);
    cr_assert_lt(open_node(node_of("passwd"), O_RDONLY, &fh), 0);
    cr_assert_lt(open_node(node_of("etc"), O_RDONLY, &fh), 0);
    down();
}

/* Ids and handles that were never given, or are no more. */
Test(fs_hostile, ids_of_nothing)
{
    static const uint64_t ids[] = {0, 2, 3, 1000, 1ull << 32, UINT64_MAX};
    struct fuse_attr a;
    char c;
    const struct fuse_forget_in all = {UINT64_MAX};
    up();
    for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
        cr_assert_eq(getattr(ids[i], &a), -ESTALE);
        cr_assert_eq(read_at(ids[i], 0, &c, 1), -EBADF);
        cr_assert_eq(release(ids[i]), -EBADF);
        tell(FUSE_FORGET, ids[i], ARGS(VALUE(all)));
    }
    tell(FUSE_FORGET, FUSE_ROOT_ID, ARGS(VALUE(all)));
    still_well();
    write_file("f", "x", 1);
    uint64_t node = node_of("f"), fh = open_name("f", O_RDONLY);
    tell(FUSE_FORGET, node, ARGS(VALUE(all)));
    cr_assert_eq(getattr(node, &a), -ESTALE);
    cr_assert_eq(read_at(fh, 0, &c, 1), 1, "what is open stays so");
    cr_assert_eq(release(fh), 0);
    cr_assert_eq(read_at(fh, 0, &c, 1), -EBADF);
    cr_assert_neq(node_of("f"), node);
    cr_assert_neq(open_name("f", O_RDONLY), fh);
    still_well();
    down();
}

/* An opcode that is none, an order of bytes that is another, the wrong queue. */
Test(fs_hostile, requests_that_are_none)
{
    static const uint32_t ops[] = {0,
                                   7,
                                   19,
                                   FUSE_NOTIFY_REPLY,
                                   FUSE_TMPFILE,
                                   52,
                                   4096,
                                   1u << 31,
                                   UINT32_MAX,
                                   FUSE_INIT_BSWAP_RESERVED,
                                   CUSE_INIT_BSWAP_RESERVED};
    int error;
    up();
    for (unsigned i = 0; i < ARRAY_SIZE(ops); i++)
        cr_assert_eq(ask(ops[i], 1, NOTHING, NULL, 0), -ENOSYS, "%u", ops[i]);
    struct fuse_in_header h = header(FUSE_STATFS, 1, 0);
    uint32_t len = place(&h, NOTHING);
    cr_assert_eq(submit_raw(HIPRIO, len, HEAD_OUT + sizeof(struct fuse_statfs_out), &error),
                 HEAD_OUT + sizeof(struct fuse_statfs_out), "out of place, but harmless");
    cr_assert_eq(error, 0);
    (void)submit_raw(HIPRIO, 1, 0, &error);
    still_well();
    down();
}
