/* tests/rig/test_blk.c - the block device's requests (virtio 1.4, 5.2.6) on files, on both
 * back ends of the loop. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/rig/blk_try.h"
#include "tests/rig/proves.h"
#include "tests/rig/reported.h"
#include "tests/rig/ways.h"

static void read_write(const char *extra, enum loop_backend backend)
{
    struct rig *r = up_with(extra, &(struct rig_options){.backend = backend});
    uint8_t data[1024], back[1024];
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 5, data, sizeof(data), true), VIRTIO_BLK_S_OK);
    cr_assert_eq(data[0], 5);
    cr_assert_eq(data[512], 6);
    memset(data, 0xab, sizeof(data));
    cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 9, data, sizeof(data), false), VIRTIO_BLK_S_OK);
    cr_assert_eq(request(r, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false), VIRTIO_BLK_S_OK);
    file_bytes(9 * 512, back, sizeof(back));
    cr_assert(memcmp(back, data, sizeof(back)) == 0);
    down(r);
}

Test(blk, reads_and_writes_by_io_uring)
{
    read_write("", LOOP_URING);
}

Test(blk, reads_and_writes_by_a_worker)
{
    read_write("", LOOP_EPOLL);
}

Test(blk, tells_what_it_has_done)
{
    struct rig *r = up();
    uint8_t data[1024] = {0};
    (void)request(r, VIRTIO_BLK_T_IN, 5, data, 1024, true);
    (void)request(r, VIRTIO_BLK_T_OUT, 9, data, 512, false);
    (void)request(r, VIRTIO_BLK_T_OUT, 9, data, 512, false);
    (void)request(r, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false);
    (void)request(r, VIRTIO_BLK_T_GET_ID, 0, data, 20, true);
    (void)request(r, VIRTIO_BLK_T_IN, UINT64_MAX, data, 512, true);
    cr_expect_eq(reported(r, "reads"), 1);
    cr_expect_eq(reported(r, "read_bytes"), 1024);
    cr_expect_eq(reported(r, "writes"), 2);
    cr_expect_eq(reported(r, "write_bytes"), 1024);
    cr_expect_eq(reported(r, "flushes"), 1);
    cr_expect_eq(reported(r, "other_requests"), 1);
    cr_expect_eq(reported(r, "failed_requests"), 1);
    down(r);
}

Test(blk, unaligned_requests_pass_under_direct_io)
{
    struct rig *r = up_with(",direct", NULL);
    gpa_t a = GPA(rig_alloc(r, 8192).v + 3); /* no alignment at all */
    const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = 7};
    memcpy(rig_at(r, a, sizeof(h)), &h, sizeof(h));
    const struct rig_seg out = {a, sizeof(h)}, in = {GPA(a.v + 100), 4097};
    uint32_t id, len;
    rig_add(r, 0, &out, 1, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 4097);
    cr_assert_eq(*(uint8_t *)rig_at(r, GPA(a.v + 100), 1), 7);
    down(r);
}

/* 2.6.4.1: the device makes no assumption about where buffers were cut. */
Test(blk, any_framing)
{
    struct rig *r = up();
    for (uint32_t cut = 1; cut < 600; cut += 37) {
        gpa_t a = rig_alloc(r, 2048);
        const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = 3};
        memcpy(rig_at(r, a, sizeof(h)), &h, sizeof(h));
        memset(rig_at(r, GPA(a.v + 16), 1024), (int)cut, 1024);
        cut = MIN(cut, 1039u);
        const struct rig_seg out[] = {{a, cut}, {GPA(a.v + cut), 1040 - cut}};
        const struct rig_seg in = {GPA(a.v + 1040), 1};
        uint32_t id, len;
        uint8_t back[1024], expected[1024];
        rig_add_indirect(r, 0, out, 2, &in, 1);
        rig_kick(r, 0);
        rig_settle(r);
        cr_assert(rig_used(r, 0, &id, &len));
        cr_assert_eq(*(uint8_t *)rig_at(r, in.at, 1), VIRTIO_BLK_S_OK);
        file_bytes(3 * 512, back, sizeof(back));
        memset(expected, (int)cut, sizeof(expected));
        cr_assert(memcmp(back, expected, sizeof(back)) == 0, "cut at %u", cut);
    }
    down(r);
}

Test(blk, many_at_once_come_back_in_one_interrupt)
{
    struct rig *r = up_with("", &(struct rig_options){.no_event_idx = true});
    enum { MANY = 60 };
    gpa_t st[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN, .sector = i};
        gpa_t hdr = rig_alloc(r, sizeof(h));
        memcpy(rig_at(r, hdr, sizeof(h)), &h, sizeof(h));
        const struct rig_seg out = {hdr, sizeof(h)};
        const struct rig_seg in[] = {{rig_alloc(r, 512), 512}, {st[i] = rig_alloc(r, 1), 1}};
        memset(rig_at(r, st[i], 1), 0xff, 1);
        rig_add(r, 0, &out, 1, in, 2);
    }
    (void)rig_irqs(r);
    rig_kick(r, 0);
    host.n[LOOP_READV] = 0;
    (void)loop_step(r->loop, 0);
    cr_assert_eq(host.n[LOOP_READV], MANY, "all are taken in one turn, for one submission");
    rig_settle(r);
    for (unsigned i = 0; i < MANY; i++)
        cr_assert_eq(*(uint8_t *)rig_at(r, st[i], 1), 0);
    unsigned irqs = rig_irqs(r);
    cr_assert(irqs >= 1 && irqs < MANY / 4, "%u", irqs);
    down(r);
}

TEST_EACH_WAY(ALL_WAYS, blk, out_of_range_is_an_error)
{
    struct rig *r = up();
    HOLDS(r, "29a 29b");
    uint8_t data[1024] = {0};
    const uint64_t bad[] = {SECTORS, SECTORS - 1, UINT64_MAX, UINT64_MAX / 512, 1ull << 55};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        cr_assert_eq(request(r, VIRTIO_BLK_T_IN, bad[i], data, 1024, true), VIRTIO_BLK_S_IOERR);
        cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, bad[i], data, 1024, false), VIRTIO_BLK_S_IOERR);
    }
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 0, data, 511, true), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 0, data, 513, false), VIRTIO_BLK_S_IOERR);
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_size, DISK, "the file has not grown");
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, SECTORS - 2, data, 1024, true), VIRTIO_BLK_S_OK);
    down(r);
}

Test(blk, read_only)
{
    PROVES("Device Types / Block Device / Device Operation#03");
    PROVES("Device Types / Block Device / Device Operation#04");
    struct rig *r = up_with(",ro", &(struct rig_options){.without = 1ull << VIRTIO_BLK_F_RO});
    uint8_t data[512] = {0};
    cr_assert_eq(vdev_features(r->dev, 0) >> VIRTIO_BLK_F_RO & 1, 1, "offered, if not accepted");
    cr_assert_not(rig_has(r, VIRTIO_BLK_F_DISCARD));
    memset(&host, 0, sizeof(host));
    cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 1, data, 512, false), VIRTIO_BLK_S_IOERR);
    struct virtio_blk_discard_write_zeroes seg = {.num_sectors = 1};
    cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, &seg, sizeof(seg), false),
                 VIRTIO_BLK_S_IOERR);
    cr_assert_eq(host.n[LOOP_WRITEV] + host.n[LOOP_FALLOCATE], 0, "not even tried");
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 1, data, 512, true), VIRTIO_BLK_S_OK);
    down(r);
}

Test(blk, serial_number)
{
    struct rig *r = up_with(",serial=ABC-123", NULL);
    char id[21] = {0};
    cr_assert_eq(request(r, VIRTIO_BLK_T_GET_ID, 0, id, 20, true), VIRTIO_BLK_S_OK);
    cr_assert_str_eq(id, "ABC-123");
    cr_assert_eq(request(r, VIRTIO_BLK_T_GET_ID, 0, id, 19, true), VIRTIO_BLK_S_IOERR);
    down(r);
}

TEST_EACH_WAY(ALL_WAYS, blk, unknown_requests)
{
    PROVES("Device Types / Block Device / Device Operation#18");
    struct rig *r = up();
    HOLDS(r, "29e");
    uint8_t data[512];
    const uint32_t types[] = {2, 3, 5, 10, 14, 15, 16, 18, 20, 22, 24, 26, 99, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        bool was_one = r->legacy && types[i] == 5; /* a flush, once */
        cr_assert(was_one || request(r, types[i], 0, data, 512, true) == VIRTIO_BLK_S_UNSUPP);
    }
    down(r);
}

TEST_EACH_WAY(ALL_WAYS, blk, requests_without_header_or_status)
{
    struct rig *r = up();
    HOLDS(r, "29a");
    gpa_t a = rig_alloc(r, 512);
    struct rig_seg out = {a, 8}, in = {GPA(a.v + 64), 1};
    uint32_t id, len;
    rig_add(r, 0, &out, 1, &in, 1); /* half a header */
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(*(uint8_t *)rig_at(r, in.at, 1), VIRTIO_BLK_S_IOERR);
    out.len = 16;
    rig_add(r, 0, &out, 1, NULL, 0); /* nowhere to put a status */
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 0);
    cr_assert_not(rig_needs_reset(r));
    down(r);
}

/* What the file takes on the host; its length stays. */
static off_t blocks(void)
{
    struct stat st;
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_size, DISK);
    return st.st_blocks;
}

static void ranges(enum loop_backend backend)
{
    struct rig *r = up_with("", &(struct rig_options){.backend = backend});
    uint8_t back[3 * 512], zeroes[3 * 512] = {0};
    struct virtio_blk_discard_write_zeroes seg[2] = {{.sector = 10, .num_sectors = 3},
                                                     {.sector = 20, .num_sectors = 1, .flags = 1}};
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, &seg[i], sizeof(seg[i]), false),
                     VIRTIO_BLK_S_OK);
    cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, seg, sizeof(seg), false),
                 VIRTIO_BLK_S_IOERR, "one segment at a time");
    file_bytes(10 * 512, back, sizeof(back));
    cr_assert(memcmp(back, zeroes, sizeof(back)) == 0);
    file_bytes(20 * 512, back, 512);
    cr_assert(memcmp(back, zeroes, 512) == 0);
    file_bytes(13 * 512, back, 1);
    cr_assert_eq(back[0], 13, "and not one more");
    seg[0].sector = 0;
    seg[0].num_sectors = SECTORS;
    off_t before = blocks();
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, seg, sizeof(seg[0]), false), VIRTIO_BLK_S_OK);
    cr_assert_lt(blocks(), before, "the file has shrunk on the host");
    down(r);
}

Test(blk, discard_and_write_zeroes)
{
    PROVES("Device Types / Block Device / Device Operation#07");
    PROVES("Device Types / Block Device / Device Operation#09");
    ranges(LOOP_URING);
    ranges(LOOP_EPOLL);
}

Test(blk, write_zeroes_may_unmap)
{
    PROVES("Device Types / Block Device / Device Operation#08");
    PROVES("Device Types / Block Device / Device Operation#10");
    struct rig *r = up();
    struct virtio_blk_discard_write_zeroes seg = {.num_sectors = SECTORS, .flags = 1};
    uint8_t back[512], zeroes[512] = {0};
    off_t before = blocks();
    cr_assert_eq(config(r).write_zeroes_may_unmap, 1);
    cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, &seg, sizeof(seg), false),
                 VIRTIO_BLK_S_OK);
    cr_assert_lt(blocks(), before);
    file_bytes(512, back, 512);
    cr_assert(memcmp(back, zeroes, 512) == 0);
    down(r);
    r = up_with(",ro", NULL);
    cr_assert_eq(config(r).write_zeroes_may_unmap, 0);
    down(r);
}

/* A file in memory. The host cannot zero a part of it in place, and where it is sealed cannot make
 * a hole either. */
static struct rig *up_in_memory(int *fd, int seal)
{
    char spec[64];
    *fd = memfd_create("disk", MFD_ALLOW_SEALING);
    cr_assert_eq(ftruncate(*fd, DISK), 0);
    cr_assert_eq(pwrite(*fd, "abc", 3, 1024 - 1), 3);
    cr_assert_eq(fcntl(*fd, F_ADD_SEALS, seal), 0);
    (void)snprintf(spec, sizeof(spec), "blk,/proc/self/fd/%d", *fd);
    return rig_up(spec, NULL);
}

Test(blk, zeroes_are_written_where_nothing_else_helps)
{
    PROVES("Device Types / Block Device / Device Operation#09");
    int fd;
    struct rig *r = up_in_memory(&fd, 0);
    struct virtio_blk_discard_write_zeroes seg = {.sector = 2, .num_sectors = SECTORS - 2};
    char back[3];
    memset(&host, 0, sizeof(host));
    cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, &seg, sizeof(seg), false),
                 VIRTIO_BLK_S_OK);
    cr_assert_gt(host.n[LOOP_WRITEV], 1);
    cr_assert_eq(pread(fd, back, 3, 1024 - 1), 3);
    cr_assert(memcmp(back, "a\0\0", 3) == 0);
    rig_down(r);
    close(fd);
}

Test(blk, no_discard_where_the_host_has_none)
{
    PROVES("Device Types / Block Device / Device Operation#10");
    int fd;
    struct rig *r = up_in_memory(&fd, F_SEAL_WRITE);
    struct virtio_blk_discard_write_zeroes seg = {.num_sectors = 1};
    cr_assert_not(rig_has(r, VIRTIO_BLK_F_DISCARD));
    cr_assert_eq(config(r).max_discard_seg, 0);
    cr_assert_eq(config(r).write_zeroes_may_unmap, 0);
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, &seg, sizeof(seg), false),
                 VIRTIO_BLK_S_UNSUPP);
    rig_down(r);
    close(fd);
}

TEST_EACH_WAY(ALL_WAYS, blk, bad_ranges)
{
    PROVES("Device Types / Block Device / Device Operation#05");
    PROVES("Device Types / Block Device / Device Operation#06");
    struct rig *r = up();
    HOLDS(r, "29c 29d");
    memset(&host, 0, sizeof(host));
    static struct virtio_blk_discard_write_zeroes many[65];
    struct virtio_blk_discard_write_zeroes s = {.sector = SECTORS, .num_sectors = 1};
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, &s, sizeof(s), false), VIRTIO_BLK_S_IOERR);
    s = (struct virtio_blk_discard_write_zeroes){.sector = UINT64_MAX, .num_sectors = 2};
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, &s, sizeof(s), false), VIRTIO_BLK_S_IOERR);
    s = (struct virtio_blk_discard_write_zeroes){.num_sectors = UINT32_MAX};
    cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, &s, sizeof(s), false),
                 VIRTIO_BLK_S_IOERR);
    s = (struct virtio_blk_discard_write_zeroes){.num_sectors = 1, .flags = 1};
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, &s, sizeof(s), false), VIRTIO_BLK_S_UNSUPP);
    s.flags = 2;
    cr_assert_eq(request(r, VIRTIO_BLK_T_WRITE_ZEROES, 0, &s, sizeof(s), false),
                 VIRTIO_BLK_S_UNSUPP);
    many[1].sector = SECTORS + 1;
    many[2].flags = 4;
    many[0].num_sectors = 1;
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, many, 3 * sizeof(s), false),
                 VIRTIO_BLK_S_UNSUPP, "an unknown flag, whatever else is wrong");
    many[2].flags = 0;
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, many, 3 * sizeof(s), false),
                 VIRTIO_BLK_S_IOERR);
    memset(many, 0, sizeof(many));
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, &s, 15, false), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, NULL, 0, false), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(r, VIRTIO_BLK_T_DISCARD, 0, many, sizeof(many), false),
                 VIRTIO_BLK_S_IOERR);
    cr_assert_eq(host.n[LOOP_FALLOCATE] + host.n[LOOP_WRITEV], 0, "nothing happened to the data");
    down(r);
}

/* 2.7.8.2: the used length covers what the device wrote, from the first writable byte on. */
Test(blk, used_lengths)
{
    struct rig *r = up();
    const uint32_t types[] = {VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_IN};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        const struct virtio_blk_outhdr h = {.type = types[i]};
        gpa_t a = rig_alloc(r, 1024 + 16);
        memcpy(rig_at(r, a, sizeof(h)), &h, sizeof(h));
        const struct rig_seg out = {a, sizeof(h)}, in = {GPA(a.v + 16), 513};
        uint32_t id, len;
        rig_add(r, 0, &out, 1, &in, 1);
        rig_kick(r, 0);
        rig_settle(r);
        cr_assert(rig_used(r, 0, &id, &len));
        cr_assert_eq(*(uint8_t *)rig_at(r, GPA(a.v + 16 + 512), 1), VIRTIO_BLK_S_OK);
        cr_assert_eq(len, types[i] == VIRTIO_BLK_T_IN ? 513 : 0);
    }
    down(r);
}

/* More bytes than one step, in one segment and in many. */
Test(blk, large_requests)
{
    struct rig *r = up_with("", NULL);
    cr_assert_eq(truncate(path, 12 << 20), 0);
    down(r);
    disk = scratch_new(path);
    cr_assert_eq(ftruncate(disk, 12 << 20), 0);
    cr_assert_eq(pwrite(disk, "mark", 4, (9 << 20) + 512), 4);
    char spec[128];
    (void)snprintf(spec, sizeof(spec), "blk,%s", path);
    r = rig_up(spec, NULL);
    const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN};
    gpa_t hdr = rig_alloc(r, sizeof(h)), st = rig_alloc(r, 1), buf = GPA(0x800000);
    memcpy(rig_at(r, hdr, sizeof(h)), &h, sizeof(h));
    const struct rig_seg out = {hdr, sizeof(h)};
    const struct rig_seg in[] = {{buf, 9 << 20}, {GPA(buf.v + (9 << 20)), 1 << 20}, {st, 1}};
    uint32_t id, len;
    memset(rig_at(r, buf, 10 << 20), 0xee, 10 << 20);
    rig_add(r, 0, &out, 1, in, 3);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, (10 << 20) + 1);
    const uint8_t *p = rig_at(r, buf, 10 << 20);
    cr_assert(memcmp(p + (9 << 20) + 512, "mark", 4) == 0);
    cr_assert_eq(p[0] | p[(4 << 20) - 1] | p[4 << 20] | p[(10 << 20) - 1], 0);
    down(r);
}

/* The host's disk is full: the request fails, the device lives, what was written stays. */
Test(blk, a_full_host_disk)
{
    struct rig *r = up();
    uint8_t data[512];
    memset(data, 0x77, sizeof(data));
    cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 0, data, 512, false), VIRTIO_BLK_S_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    const struct rlimit small = {.rlim_cur = 4096, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0); /* EFBIG stands for ENOSPC */
    cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 100, data, 512, false), VIRTIO_BLK_S_IOERR);
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 100, data, 512, false), VIRTIO_BLK_S_OK);
    cr_assert_not(rig_needs_reset(r));
    uint8_t back[512];
    file_bytes(0, back, 512);
    cr_assert_eq(back[0], 0x77);
    down(r);
}

Test(blk, an_image_that_shrinks_under_it)
{
    struct rig *r = up();
    uint8_t data[512];
    cr_assert_eq(truncate(path, 512), 0);
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 100, data, 512, true), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_OK);
    down(r);
}

Test(blk, reset_with_requests_in_flight) /* row 27 */
{
    struct rig *r = up();
    for (unsigned round = 0; round < 50; round++) {
        for (unsigned i = 0; i < 20; i++) {
            const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_OUT, .sector = i};
            gpa_t hdr = rig_alloc(r, sizeof(h));
            memcpy(rig_at(r, hdr, sizeof(h)), &h, sizeof(h));
            const struct rig_seg out[] = {{hdr, sizeof(h)}, {rig_alloc(r, 512), 512}};
            const struct rig_seg in = {rig_alloc(r, 1), 1};
            rig_add(r, 0, out, 2, &in, 1);
        }
        rig_kick(r, 0);
        (void)loop_step(r->loop, 0);
        rig_negotiate(r);
    }
    uint8_t data[512];
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 1, data, 512, true), VIRTIO_BLK_S_OK);
    down(r);
}

/* A request of many parts does not begin another one. */
Test(blk, reset_amid_a_discard)
{
    struct rig *r = up();
    const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_DISCARD};
    const struct virtio_blk_discard_write_zeroes ranges[] = {{.sector = 8, .num_sectors = 8},
                                                             {.sector = 32, .num_sectors = 8}};
    gpa_t hdr = rig_alloc(r, sizeof(h)), list = rig_alloc(r, sizeof(ranges));
    memcpy(rig_at(r, hdr, sizeof(h)), &h, sizeof(h));
    memcpy(rig_at(r, list, sizeof(ranges)), ranges, sizeof(ranges));
    const struct rig_seg out[] = {{hdr, sizeof(h)}, {list, sizeof(ranges)}};
    const struct rig_seg in = {rig_alloc(r, 1), 1};
    rig_add(r, 0, out, 2, &in, 1);
    rig_kick(r, 0);
    while (host.n[LOOP_FALLOCATE] == 0)
        (void)loop_step(r->loop, -1);
    rig_status_set(r, 0);
    cr_assert_eq(host.n[LOOP_FALLOCATE], 1);
    down(r);
}

Test(blk, state_round_trip)
{
    struct rig *r = up();
    set_wce(r, 0);
    rig_save_and_load(r);
    rig_settle(r);
    cr_assert_eq(config(r).wce, 0);
    uint8_t data[512];
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 1, data, 512, true), VIRTIO_BLK_S_OK);
    down(r);
}

/* --- what is refused at the start --- */

static void must_refuse(const char *spec, const char *noun)
{
    extern const struct vdev_class blk_class;
    const struct vdev_class *c = &blk_class;
    void *opts = calloc(1, c->opts_size);
    struct err e = {0};
    struct vdev *d = NULL;
    struct loop *l;
    cr_assert_eq(loop_new("t", LOOP_EPOLL, &l), 0);
    cr_assert_eq(opts_parse(c->opts, "--disk", spec, opts, &e), 0);
    const struct build_env env = {.loop = l};
    cr_assert_lt(c->create(opts, &env, &d, &e), 0, "%s", spec);
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert(strstr(e.msg, noun), "\"%s\" does not say \"%s\"", e.msg, noun);
    loop_free(l);
    free(opts);
}

Test(blk, refuses_what_is_no_disk)
{
    char spec[128];
    must_refuse("/nonexistent/disk.img", "/nonexistent/disk.img: No such file");
    must_refuse("/tmp", "directory");
    must_refuse("/dev/null", "neither");
    make_disk(0);
    must_refuse(path, "empty");
    remove_disk();
    make_disk(1000);
    must_refuse(path, "1000 bytes are not a multiple of 512");
    remove_disk();
    make_disk(512);
    (void)snprintf(spec, sizeof(spec), "%s,serial=123456789012345678901", path);
    must_refuse(spec, "longer than 20");
    remove_disk();
}

Test(blk, one_writer_or_many_readers)
{
    struct rig *r = up();
    char spec[128];
    must_refuse(path, "in use");
    (void)snprintf(spec, sizeof(spec), "%s,ro", path);
    must_refuse(spec, "in use");
    rig_down(r);
    (void)snprintf(spec, sizeof(spec), "blk,%s,ro", path);
    r = rig_up(spec, NULL);
    struct rig *second = rig_up(spec, NULL);
    must_refuse(path, "in use");
    rig_down(second);
    down(r);
}
