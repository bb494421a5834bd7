/* tests/rig/test_fs_state.c - a file system device that is saved in mid-life and loaded again: the
 * guest goes on with its session, its files and its locks; and streams that are no such state. */
#include "tests/rig/fs_fixture.h"

Test(fs_state, in_mid_life)
{
    struct fuse_attr a;
    char buf[16] = "";
    up();
    write_file("f", "text of f", 9);
    cr_assert_eq(mkdir(in_folder("d"), 0755), 0);
    write_file("d/g", "text of g", 9);
    uint64_t d = node_of("d"), f = node_of("f");
    struct fuse_entry_out g;
    cr_assert_eq(lookup(d, "g", &g), 0);
    uint64_t fh = open_name("f", O_RDWR), gh;
    cr_assert_eq(open_node(g.nodeid, O_RDONLY, &gh), 0);
    struct fuse_lk_in lk = {.fh = fh, .owner = 5, .lk = {.end = 3, .type = F_WRLCK, .pid = 1}};
    cr_assert_eq(ask_for(FUSE_SETLK, f, ARGS(VALUE(lk)), NULL, 0), 0);

    struct state_out s = rig_save(rig);
    cr_assert_eq(rig_load(rig, s.buf, s.len), 0);
    vdev_resume(rig->dev);
    cr_assert_eq(getattr(f, &a), 0);
    cr_assert_eq(a.size, 9);
    cr_assert_eq(read_at(fh, 0, buf, 9), 9);
    cr_assert_str_eq(buf, "text of f");
    cr_assert_eq(read_at(gh, 0, buf, 9), 9);
    cr_assert_str_eq(buf, "text of g");
    cr_assert_eq(write_at(gh, 0, "x", 1), -EBADF);
    cr_assert_eq(write_at(fh, 0, "TEXT", 4), 4);
    lk.owner = 6;
    cr_assert_eq(ask_for(FUSE_SETLK, f, ARGS(VALUE(lk)), NULL, 0), -EAGAIN, "the lock is held");
    uint64_t fresh = open_name("f", O_RDONLY);
    cr_assert(fresh != fh && fresh != gh, "a handle is never used twice");
    cr_assert_eq(release(fh), 0);
    state_out_free(&s);
    down();
}

/* What the guest was promised cannot be taken back. */
Test(fs_state, a_device_with_other_options)
{
    static const char *const others[] = {",cache=none", ",cache=auto", ",cache=always,dax=2M"};
    up_with(",cache=always", NULL);
    struct state_out s = rig_save(rig);
    transport_reset(rig->transport);
    rig_down(rig);
    for (unsigned i = 0; i < ARRAY_SIZE(others); i++) {
        rig = fs_rig(others[i], NULL);
        cr_assert_eq(rig_load(rig, s.buf, s.len), -EBADMSG, "%s", others[i]);
        rig_up_again(rig);
        buffers_up();
        (void)init_with(36, ~0ull);
        rig_down(rig);
    }
    rig = fs_rig(",cache=always", NULL);
    cr_assert_eq(rig_load(rig, s.buf, s.len), 0);
    state_out_free(&s);
    down();
}

/* FNV-1a of a section but for the checksum itself, as base/state.c has it. */
static void reseal(uint8_t *section)
{
    enum { HEADER = 16, LENGTH = 8, CHECKSUM = 12 };
    size_t len = get_bytes(section + LENGTH, 4);
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < HEADER + len; i++)
        h = i >= CHECKSUM && i < HEADER ? h : (h ^ section[i]) * 16777619u;
    put_bytes(section + CHECKSUM, h, 4);
}

/* Each byte of the device's sections changed, with a checksum that fits: taken or refused, nothing
 * outside comes to harm, and a reset makes a good device of it. */
Test(fs_state, hostile)
{
    static const char *const tags[] = {"FS  ", "FDAX"};
    up_with(",dax=2M", NULL);
    write_file("f", "text", 4);
    uint64_t node = node_of("f"), fh = open_name("f", O_RDWR);
    const struct fuse_setupmapping_in in = {.fh = fh, .len = 4096, .flags = 3, .moffset = 8192};
    cr_assert_eq(ask_for(FUSE_SETUPMAPPING, node, ARGS(VALUE(in)), NULL, 0), 0);
    struct state_out s = rig_save(rig);
    unsigned tried = 0;
    for (unsigned t = 0; t < ARRAY_SIZE(tags); t++) {
        uint8_t *at = memmem(s.buf, s.len, tags[t], 4);
        cr_assert_not_null(at);
        size_t len = get_bytes(at + 8, 4);
        for (size_t i = 16; i < 16 + len; i++) {
            for (unsigned bit = 0; bit < 8; bit += 7) {
                at[i] ^= (uint8_t)(1u << bit);
                reseal(at);
                int rc = rig_load(rig, s.buf, s.len);
                cr_assert(rc == 0 || rc == -EBADMSG);
                at[i] ^= (uint8_t)(1u << bit);
                tried++;
            }
        }
        reseal(at);
    }
    cr_assert_gt(tried, 80);
    cr_assert_eq(rig_load(rig, s.buf, s.len), 0);
    transport_reset(rig->transport);
    vdev_resume(rig->dev);
    rig_up_again(rig);
    buffers_up();
    (void)init_with(36, ~0ull);
    (void)node_of("f");
    state_out_free(&s);
    down();
}
