/* tests/rig/test_scsi.c - the SCSI host (virtio 1.4, 5.6.6.1): commands and their responses. */
#include "tests/rig/scsi_try.h"

static uint64_t be(const uint8_t *p, unsigned n)
{
    uint64_t v = 0;
    while (n--)
        v = v << 8 | *p++;
    return v;
}

Test(scsi, what_units_are)
{
    struct rig *r = up();
    struct cmd c = run_in(r, CMD(0, 0, 0x12, 0, 0, 0, 36, 0), 36);
    is_good(c);
    cr_assert_eq(c.in[0], 0);
    cr_assert_eq(memcmp(c.in + 8, "VMM     VIRTUAL-DISK    ", 24), 0);
    cr_assert_eq(c.in[4], 31);
    cr_assert_eq(c.residual, 0);
    cr_assert_eq(c.used, RESP + 36);
    c = run_in(r, CMD(1, 0, 0x12, 0, 0, 0, 36, 0), 36);
    cr_assert(c.in[0] == 5 && c.in[1] == 0x80);
    c = run_in(r, CMD(0, 7, 0x12, 0, 0, 0, 36, 0), 36); /* no such unit of the target */
    is_good(c);
    cr_assert_eq(c.in[0], 0x7f);
    is_refused(run_in(r, CMD(0, 7, 0x28), 512), KEY_ILLEGAL, 0x25, 0);
    is_refused(run(r, CMD(0, 7, TEST_UNIT_READY)), KEY_ILLEGAL, 0x25, 0);
    c = run_in(r, CMD(0, 7, 0x03, 0, 0, 0, 18, 0), 18);
    is_good(c);
    cr_assert(c.in[2] == 5 && c.in[12] == 0x25);
    is_refused(run_in(r, CMD(0, 0, 0x12, 0, 0x80, 0, 36, 0), 36), KEY_ILLEGAL, 0x24, 0);
    is_refused(run_in(r, CMD(0, 0, 0x12, 2, 0, 0, 36, 0), 36), KEY_ILLEGAL, 0x24, 0);
    is_refused(run_in(r, CMD(0, 0, 0x12, 0, 0, 0, 36, 4), 36), KEY_ILLEGAL, 0x24, 0); /* NACA */
    rig_down(r);
}

Test(scsi, vital_product_data)
{
    struct rig *r = up();
    static const uint8_t pages[] = {0, 0x80, 0x83, 0xb0, 0xb1, 0xb2};
    for (size_t i = 0; i < sizeof(pages); i++) {
        struct cmd c = run_in(r, CMD(0, 0, 0x12, 1, pages[i], 0, 255, 0), 255);
        is_good(c);
        cr_assert_eq(c.in[1], pages[i]);
        cr_assert_eq(c.residual, 255 - 4 - be(c.in + 2, 2));
        if (pages[i] == 0)
            cr_assert(be(c.in + 2, 2) == 6 && memcmp(c.in + 4, pages, 6) == 0);
        if (pages[i] == 0x80)
            cr_assert_eq(be(c.in + 2, 2), 16);
        if (pages[i] == 0x83)
            cr_assert(c.in[4] == 2 && c.in[5] == 1 && c.in[7] == 24);
        if (pages[i] == 0xb0)
            cr_assert(be(c.in + 20, 4) == 1 << 22 && be(c.in + 24, 4) == 64 &&
                      be(c.in + 36, 8) == 1 << 15 && be(c.in + 8, 4) == 1 << 17 &&
                      be(c.in + 6, 2) == 8 && c.in[4] == 1);
        if (pages[i] == 0xb1)
            cr_assert_eq(be(c.in + 4, 2), 1);
        if (pages[i] == 0xb2)
            cr_assert(c.in[5] == 0xe4 && c.in[6] == 2);
    }
    is_refused(run_in(r, CMD(0, 0, 0x12, 1, 0xb3, 0, 255, 0), 255), KEY_ILLEGAL, 0x24, 0);
    is_refused(run_in(r, CMD(1, 0, 0x12, 1, 0xb0, 0, 255, 0), 255), KEY_ILLEGAL, 0x24, 0);
    is_good(run_in(r, CMD(1, 0, 0x12, 1, 0x83, 0, 255, 0), 255));
    rig_down(r);
}

Test(scsi, reads_and_writes_of_each_size)
{
    struct rig *r = up();
    uint8_t data[1024], back[1024];
    const struct cmd writes[] = {CMD(0, 0, 0x0a, 0, 0, 10, 2, 0),
                                 CMD(0, 0, 0x2a, 0, 0, 0, 0, 20, 0, 0, 2, 0),
                                 CMD(0, 0, 0xaa, 0, 0, 0, 0, 30, 0, 0, 0, 2, 0, 0),
                                 CMD(0, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, 2)};
    const uint8_t reads[] = {0x08, 0x28, 0xa8, 0x88};
    for (size_t i = 0; i < ARRAY_SIZE(writes); i++) {
        memset(data, (int)(0xa0 + i), sizeof(data));
        is_good(run_out(r, writes[i], data, sizeof(data)));
        image_bytes(disk, (10 + 10 * i) * BLOCK, back, sizeof(back));
        cr_assert_eq(memcmp(data, back, sizeof(back)), 0);
        struct cmd c = writes[i];
        c.cdb[0] = reads[i];
        c = run_in(r, c, sizeof(data));
        is_good(c);
        cr_assert_eq(memcmp(data, c.in, sizeof(data)), 0);
        cr_assert_eq(c.used, RESP + 1024);
    }
    cr_assert(!host.dsync);
    is_good(run_out(r, CMD(0, 0, 0x2a, 8, 0, 0, 0, 20, 0, 0, 2, 0), data, sizeof(data)));
    cr_assert(host.dsync, "FUA");
    cr_assert_eq(reported(r, "target0_lun0_reads"), 4);
    cr_assert_eq(reported(r, "target0_lun0_writes"), 5);
    cr_assert_eq(reported(r, "target0_lun0_write_bytes"), 5 * 1024);
    struct cmd c = run_in(r, CMD(1, 0, 0x28, 0, 0, 0, 0, 5, 0, 0, 1, 0), 2048);
    is_good(c);
    cr_assert(c.in[0] == 5 && c.in[2047] == 5);
    rig_down(r);
}

Test(scsi, six_byte_reads_of_256)
{
    struct rig *r = up();
    struct cmd c = run_in(r, CMD(0, 0, 0x08, 0, 0, 0, 0, 0), 256 * BLOCK);
    is_good(c);
    cr_assert_eq(c.residual, 0);
    rig_down(r);
}

Test(scsi, the_status_and_the_response)
{
    PROVES(
        "Device Types / SCSI Host Device / Device Operation / Device Operation: Request Queues#01");
    PROVES(
        "Device Types / SCSI Host Device / Device Operation / Device Operation: Request Queues#02");
    struct rig *r = up();
    uint8_t data[512] = {0};
    /* OK with GOOD and with CHECK CONDITION */
    is_good(run(r, CMD(0, 0, TEST_UNIT_READY)));
    is_refused(run(r, CMD(0, 0, 0xc7, 0, 0, 0, 0, 0)), KEY_ILLEGAL, 0x20, 0);
    /* OVERRUN: more than there is room for, or than was given; the wrong way; nothing happens */
    struct cmd c = run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0, 1, 0, 0, 2, 0), 1023);
    cr_assert(c.response == VIRTIO_SCSI_S_OVERRUN && c.residual == 1023 && c.used == RESP);
    cr_assert_eq(c.in[0], 0xee);
    c = run_out(r, CMD(0, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0), data, 511);
    cr_assert_eq(c.response, VIRTIO_SCSI_S_OVERRUN);
    c = run_in(r, CMD(0, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0), 512);
    cr_assert_eq(c.response, VIRTIO_SCSI_S_OVERRUN);
    c = run_in(r, CMD(0, 0, 0x12, 0, 0, 0, 37, 0), 36);
    cr_assert_eq(c.response, VIRTIO_SCSI_S_OVERRUN);
    /* more room than is needed */
    c = run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0), 4096);
    is_good(c);
    cr_assert(c.residual == 3584 && c.in[511] == 1 && c.in[512] == 0xee && c.used == RESP + 512);
    c = run_out(r, CMD(0, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0, 0, 0), data, 512);
    is_good(c);
    cr_assert_eq(c.residual, 512);
    /* BAD_TARGET */
    c = run(r, CMD(9, 0, TEST_UNIT_READY));
    cr_assert_eq(c.response, VIRTIO_SCSI_S_BAD_TARGET);
    static const uint8_t nowhere[][8] = {{0},
                                         {2, 0, 0x40, 0},
                                         {1, 0, 0x40, 0, 1},
                                         {1, 0, 0x80, 0},
                                         {1, 0, 0x01, 0},
                                         {0xc1, 2},
                                         {0xc1, 1, 0, 0, 0, 0, 0, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++) {
        c = CMD(0, 0, TEST_UNIT_READY);
        memcpy(c.lun, nowhere[i], 8);
        cr_assert_eq(run(r, c).response, VIRTIO_SCSI_S_BAD_TARGET, "case %zu", i);
    }
    /* FAILURE: both ways at once */
    c = CMD(0, 0, 0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0);
    c.out = data;
    c.out_len = c.in_len = 512;
    cr_assert_eq(run(r, c).response, VIRTIO_SCSI_S_FAILURE);
    image_bytes(disk, BLOCK, data, 1);
    cr_assert_eq(data[0], 1, "nothing was written");
    rig_down(r);
}

Test(scsi, out_of_range)
{
    struct rig *r = up();
    uint8_t data[512] = {0};
    struct cmd c = run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 7, 0xff, 0, 0, 2, 0), 1024);
    is_refused(c, KEY_ILLEGAL, 0x21, 0);
    cr_assert(c.sense[0] == 0xf0 && be(c.sense + 3, 4) == 0x7ff);
    is_good(run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 7, 0xff, 0, 0, 1, 0), 512));
    is_refused(run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 8, 0, 0, 0, 0, 0), 512), KEY_ILLEGAL, 0x21, 0);
    /* lba + length wraps */
    c = run_out(r, CMD(0, 0, 0x8a, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 2), data,
                512);
    is_refused(c, KEY_ILLEGAL, 0x21, 0);
    is_refused(
        run_out(r, CMD(0, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255), data, 512),
        KEY_ILLEGAL, 0x21, 0);
    is_refused(run(r, CMD(0, 0, 0x93, 1, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 2)),
               KEY_ILLEGAL, 0x21, 0);
    is_refused(run(r, CMD(0, 0, 0x35, 0, 0, 0, 8, 1, 0, 0, 1, 0)), KEY_ILLEGAL, 0x21, 0);
    is_refused(run(r, CMD(0, 0, 0x8f, 0, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0, 1)), KEY_ILLEGAL, 0x21,
               0);
    cr_assert_eq(host.n[LOOP_READV], 1);
    cr_assert_eq(host.n[LOOP_WRITEV] + host.n[LOOP_FALLOCATE], 0);
    rig_down(r);
}

Test(scsi, any_framing_in_segments_of_one_byte)
{
    struct rig *r = up();
    enum { N = HEAD + RESP + 512 };
    gpa_t at = rig_alloc(r, N);
    uint8_t *p = rig_at(r, at, N);
    struct rig_seg s[N];
    uint32_t id, len;
    memcpy(p, (const uint8_t[]){1, 0, 0x40}, 3);
    memcpy(p + 19, (const uint8_t[]){0x28, 0, 0, 0, 0, 7, 0, 0, 1}, 9);
    for (unsigned i = 0; i < N; i++)
        s[i] = (struct rig_seg){GPA(at.v + i), 1};
    rig_add_indirect(r, 2, s, HEAD, s + HEAD, RESP + 512);
    rig_kick(r, 2);
    rig_settle(r);
    cr_assert(rig_used(r, 2, &id, &len));
    cr_assert_eq(len, RESP + 512);
    cr_assert(p[HEAD + 11] == 0 && p[HEAD + 10] == 0 && p[HEAD + RESP] == 7 && p[N - 1] == 7);
    /* and all in one */
    memset(p + HEAD, 0xee, N - HEAD);
    const struct rig_seg out = {at, HEAD}, in = {GPA(at.v + HEAD), RESP + 512};
    rig_add(r, 2, &out, 1, &in, 1);
    rig_kick(r, 2);
    rig_settle(r);
    cr_assert(rig_used(r, 2, &id, &len));
    cr_assert(p[HEAD + 11] == 0 && p[HEAD + RESP] == 7 && p[N - 1] == 7);
    rig_down(r);
}

Test(scsi, requests_without_room)
{
    struct rig *r = up();
    gpa_t at = rig_alloc(r, 256);
    uint8_t *p = rig_at(r, at, 256);
    static const struct {
        uint32_t out, in, used;
    } cases[] = {
        {HEAD - 1, RESP, 12}, {HEAD, RESP - 1, 12}, {HEAD, 11, 0}, {HEAD, 0, 0}, {0, RESP, 12}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct rig_seg out = {at, cases[i].out}, in = {GPA(at.v + 64), cases[i].in};
        uint32_t id, len;
        p[64 + 11] = 0xee;
        rig_add(r, 2, &out, cases[i].out ? 1 : 0, &in, cases[i].in ? 1 : 0);
        rig_kick(r, 2);
        rig_settle(r);
        cr_assert(rig_used(r, 2, &id, &len));
        cr_assert_eq(len, cases[i].used);
        cr_assert_eq(p[64 + 11], len ? VIRTIO_SCSI_S_FAILURE : 0xee);
    }
    is_good(run(r, CMD(0, 0, TEST_UNIT_READY)));
    cr_assert(!rig_needs_reset(r));
    rig_down(r);
}

Test(scsi, capacity)
{
    struct rig *r = up();
    struct cmd c = run_in(r, CMD(0, 0, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8);
    cr_assert(be(c.in, 4) == BLOCKS - 1 && be(c.in + 4, 4) == 512);
    c = run_in(r, CMD(0, 0, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 32);
    cr_assert(be(c.in, 8) == BLOCKS - 1 && be(c.in + 8, 4) == 512 && c.in[13] == 3 &&
              c.in[14] == 0xc0);
    c = run_in(r, CMD(1, 0, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8);
    cr_assert(be(c.in, 4) == CD_BLOCKS - 1 && be(c.in + 4, 4) == 2048);
    is_refused(run_in(r, CMD(0, 0, 0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0), 8), KEY_ILLEGAL, 0x24, 0);
    is_refused(run_in(r, CMD(0, 0, 0x9e, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), 32),
               KEY_ILLEGAL, 0x24, 0);
    rig_down(r);
}

Test(scsi, mode_sense)
{
    struct rig *r = up_as("scsi,ro=%s,cd=%s", NULL);
    calm(r, 0);
    calm(r, 1);
    struct cmd c = run_in(r, CMD(0, 0, 0x1a, 0, 8, 0, 192, 0), 192);
    is_good(c);
    cr_assert(c.in[0] == 31 && c.in[2] == 0x90 && c.in[3] == 8 && be(c.in + 4, 4) == BLOCKS);
    cr_assert(c.in[12] == 8 && c.in[13] == 0x12 && c.in[14] == 4);
    c = run_in(r, CMD(0, 0, 0x5a, 8, 0x3f, 0xff, 0, 0, 0, 1, 0, 0), 256);
    is_good(c);
    cr_assert(be(c.in, 2) == 6 + 12 + 20 + 12 && c.in[3] == 0x90 && c.in[7] == 0 && c.in[8] == 1);
    c = run_in(r, CMD(0, 0, 0x1a, 8, 0x48, 0, 64, 0), 64); /* what can be changed */
    cr_assert_eq(c.in[6], 0);
    is_refused(run_in(r, CMD(0, 0, 0x1a, 8, 0xc8, 0, 64, 0), 64), KEY_ILLEGAL, 0x39, 0);
    is_refused(run_in(r, CMD(0, 0, 0x1a, 8, 0x2a, 0, 64, 0), 64), KEY_ILLEGAL, 0x24, 0);
    is_refused(run_in(r, CMD(0, 0, 0x1a, 8, 8, 1, 64, 0), 64), KEY_ILLEGAL, 0x24, 0);
    c = run_in(r, CMD(1, 0, 0x5a, 8, 0x2a, 0, 0, 0, 0, 0, 128, 0), 128);
    is_good(c);
    cr_assert(c.in[8] == 0x2a && c.in[14] == 0x29);
    rig_down(r);
}

Test(scsi, read_only)
{
    struct rig *r = up_as("scsi,ro=%s,cd=%s", NULL);
    uint8_t data[512] = {0};
    calm(r, 0);
    calm(r, 1);
    is_refused(run_out(r, CMD(0, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0), data, 512), KEY_PROTECT, 0x27,
               0);
    is_refused(run_out(r, CMD(0, 0, 0x41, 0, 0, 0, 0, 1, 0, 0, 1, 0), data, 512), KEY_PROTECT, 0x27,
               0);
    is_refused(run_out(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), data, 24), KEY_PROTECT, 0x27,
               0);
    is_refused(run_out(r, CMD(1, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0), data, 512), KEY_ILLEGAL, 0x20,
               0);
    is_good(run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0), 512));
    cr_assert_eq(host.n[LOOP_WRITEV] + host.n[LOOP_FALLOCATE], 0);
    rig_down(r);
}

Test(scsi, the_host_fails)
{
    struct rig *r = up();
    uint8_t data[512] = {0};
    host.fail = EIO;
    struct cmd c = run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0, 9, 0, 0, 1, 0), 512);
    is_refused(c, KEY_MEDIUM, 0x11, 0);
    cr_assert(be(c.sense + 3, 4) == 9 && c.residual == 512);
    is_refused(run_out(r, CMD(0, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0), data, 512), KEY_MEDIUM, 0x0c,
               0);
    is_refused(run(r, CMD(0, 0, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0)), KEY_MEDIUM, 0x0c, 0);
    host.fail = ENOSPC;
    is_refused(run_out(r, CMD(0, 0, 0x2a, 0, 0, 0, 0, 1, 0, 0, 1, 0), data, 512), KEY_PROTECT, 0x27,
               7);
    host.fail = 0;
    cr_assert_eq(truncate(disk, 4 * BLOCK), 0);
    c = run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0, 2, 0, 0, 4, 0), 2048);
    is_refused(c, KEY_MEDIUM, 0x11, 0);
    cr_assert(c.residual == 1024 && be(c.sense + 3, 4) == 4);
    cr_assert_eq(reported(r, "target0_lun0_failed_commands"), 6, "with the attention");
    rig_down(r);
}

Test(scsi, write_same)
{
    struct rig *r = up();
    uint8_t data[512], back[4 * 512];
    memset(data, 0x77, sizeof(data));
    struct cmd c = run_out(r, CMD(0, 0, 0x41, 0, 0, 0, 0, 10, 0, 0, 200, 0), data, 512);
    is_good(c);
    cr_assert_eq(c.residual, 0);
    image_bytes(disk, 209 * 512, back, 1024);
    cr_assert(back[0] == 0x77 && back[511] == 0x77 && back[512] == 210);
    memset(data, 0, sizeof(data));
    c = run_out(r, CMD(0, 0, 0x93, 8, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 2), data, 512);
    is_good(c);
    cr_assert_eq(c.residual, 0);
    image_bytes(disk, 10 * 512, back, 1536);
    cr_assert(back[0] == 0 && back[1023] == 0 && back[1024] == 0x77);
    cr_assert_eq(host.n[LOOP_FALLOCATE], 1);
    /* without data, to the end, where the host cannot */
    host.no_allocate = true;
    is_good(run(r, CMD(0, 0, 0x93, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0)));
    image_bytes(disk, 255 * 512, back, 1024);
    cr_assert(back[511] == 255 && back[512] == 0);
    image_bytes(disk, (BLOCKS - 1) * 512, back, 512);
    cr_assert_eq(back[511], 0);
    is_refused(run(r, CMD(0, 0, 0x93, 0x11, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1)), KEY_ILLEGAL, 0x24,
               0);
    is_refused(run(r, CMD(0, 0, 0x41, 1, 0, 0, 0, 0, 0, 0, 1, 0)), KEY_ILLEGAL, 0x24, 0);
    is_refused(run(r, CMD(0, 0, 0x41, 0x20, 0, 0, 0, 0, 0, 0, 1, 0)), KEY_ILLEGAL, 0x24, 0);
    cr_assert_eq(run(r, CMD(0, 0, 0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0)).response,
                 VIRTIO_SCSI_S_OVERRUN);
    /* one pattern at a time */
    struct cmd a = CMD(0, 0, 0x41, 0, 0, 0, 0, 10, 0, 0, 1, 0), b = a;
    memset(data, 1, sizeof(data));
    a.out = b.out = data;
    a.out_len = b.out_len = 512;
    host.hold = true;
    cmd_add(r, &a);
    b = run(r, b);
    cr_assert_eq(b.status, 0x28);
    let_go(r);
    cr_assert(cmd_ended(r, &a));
    is_good(a);
    rig_down(r);
}

Test(scsi, unmap)
{
    struct rig *r = up();
    enum { MOST = 65 };
    static uint8_t list[8 + 16 * MOST];
    uint8_t back[1024];
    list[3] = 32;
    list[8 + 7] = 8; /* blocks 8 to 15, and 32 to 39 */
    list[8 + 11] = 8;
    list[24 + 7] = 32;
    list[24 + 11] = 8;
    struct cmd c = run_out(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), list, 40);
    is_good(c);
    cr_assert_eq(c.residual, 0);
    image_bytes(disk, 15 * 512, back, 1024);
    cr_assert(back[511] == 0 && back[512] == 16);
    image_bytes(disk, 32 * 512, back, 512);
    cr_assert_eq(back[0], 0);
    cr_assert_eq(host.n[LOOP_FALLOCATE], 2);
    list[24 + 6] = 8; /* the second is out of range: neither is done */
    is_refused(run_out(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), list, 40), KEY_ILLEGAL, 0x21,
               0);
    list[24 + 8] = 1; /* too much at once */
    is_refused(run_out(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), list, 40), KEY_ILLEGAL, 0x26,
               0);
    list[24 + 6] = list[24 + 8] = 0;
    put_bytes(list + 2, 0x1004, 2); /* 65 descriptors, each of them good */
    is_refused(run_out(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 4, 24, 0), list, sizeof(list)),
               KEY_ILLEGAL, 0x26, 0);
    is_refused(run_out(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 7, 0), list, 7), KEY_ILLEGAL, 0x1a,
               0);
    is_refused(run_out(r, CMD(0, 0, 0x42, 1, 0, 0, 0, 0, 0, 0, 40, 0), list, 40), KEY_ILLEGAL, 0x24,
               0);
    cr_assert_eq(run_out(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 41, 0), list, 40).response,
                 VIRTIO_SCSI_S_OVERRUN);
    is_good(run(r, CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
    cr_assert_eq(host.n[LOOP_FALLOCATE], 2);
    rig_down(r);
}

Test(scsi, start_and_stop)
{
    struct rig *r = up();
    is_good(run(r, CMD(0, 0, 0x1b, 0, 0, 0, 0, 0)));
    cr_assert_eq(host.n[LOOP_FDATASYNC], 1);
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_NOT_READY, 4, 2);
    is_good(run(r, CMD(0, 0, 0x1b, 0, 0, 0, 1, 0)));
    is_good(run(r, CMD(0, 0, TEST_UNIT_READY)));
    is_refused(run(r, CMD(0, 0, 0x1b, 0, 0, 0, 0x30, 0)), KEY_ILLEGAL, 0x24, 0);
    is_good(run(r, CMD(0, 0, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0)));
    is_good(run(r, CMD(0, 0, 0x2f, 0, 0, 0, 0, 0, 0, 0, 9, 0)));
    is_refused(run(r, CMD(0, 0, 0x2f, 2, 0, 0, 0, 0, 0, 0, 9, 0)), KEY_ILLEGAL, 0x24, 0);
    is_refused(run_in(r, CMD(0, 0, 0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0), 512), KEY_ILLEGAL, 0x24, 0);
    cr_assert_eq(host.n[LOOP_FDATASYNC], 2);
    rig_down(r);
}

Test(scsi, a_disc_comes_out_and_goes_in)
{
    struct rig *r = up();
    is_good(run(r, CMD(1, 0, 0x1e, 0, 0, 0, 1, 0)));
    is_refused(run(r, CMD(1, 0, 0x1b, 0, 0, 0, 2, 0)), KEY_ILLEGAL, 0x53, 2);
    is_good(run(r, CMD(1, 0, 0x1e, 0, 0, 0, 0, 0)));
    is_good(run(r, CMD(1, 0, 0x1b, 0, 0, 0, 2, 0)));
    is_refused(run(r, CMD(1, 0, TEST_UNIT_READY)), KEY_NOT_READY, 0x3a, 2);
    struct cmd c = run_in(r, CMD(1, 0, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), 8);
    cr_assert(c.in[1] == 6 && c.in[2] == 4 && c.in[3] == 0x10 && c.in[4] == 3 && c.in[5] == 1);
    c = run_in(r, CMD(1, 0, 0x46, 0, 0, 0, 0, 0, 0, 0, 128, 0), 128);
    cr_assert_eq(be(c.in + 6, 2), 0);
    is_good(run(r, CMD(1, 0, 0x1b, 0, 0, 0, 3, 0)));
    is_refused(run(r, CMD(1, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x28, 0);
    c = run_in(r, CMD(1, 0, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), 8);
    cr_assert(c.in[4] == 2 && c.in[5] == 2);
    c = run_in(r, CMD(1, 0, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), 8);
    cr_assert_eq(c.in[4], 0, "told once");
    is_refused(run_in(r, CMD(1, 0, 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8, 0), 8), KEY_ILLEGAL, 0x24, 0);
    c = run_in(r, CMD(1, 0, 0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8, 0), 8);
    cr_assert(c.in[2] == 0x80 && c.residual == 4);
    rig_down(r);
}

Test(scsi, a_disc_has_one_track)
{
    struct rig *r = up();
    struct cmd c = run_in(r, CMD(1, 0, 0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0), 64);
    cr_assert(be(c.in, 2) == 18 && c.in[5] == 0x14 && c.in[6] == 1 && c.in[14] == 0xaa);
    cr_assert_eq(be(c.in + 16, 4), CD_BLOCKS);
    c = run_in(r, CMD(1, 0, 0x43, 2, 0, 0, 0, 0, 0xaa, 0, 64, 0), 64);
    cr_assert(be(c.in, 2) == 10 && be(c.in + 8, 4) == 0x0240);
    c = run_in(r, CMD(1, 0, 0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40), 12); /* as Linux asks */
    cr_assert(be(c.in, 2) == 10 && c.in[6] == 1);
    is_refused(run_in(r, CMD(1, 0, 0x43, 0, 5, 0, 0, 0, 0, 0, 64, 0), 64), KEY_ILLEGAL, 0x24, 0);
    is_refused(run_in(r, CMD(1, 0, 0x43, 0, 0, 0, 0, 0, 2, 0, 64, 0), 64), KEY_ILLEGAL, 0x24, 0);
    c = run_in(r, CMD(1, 0, 0x46, 0, 0, 0, 0, 0, 0, 0, 128, 0), 128);
    is_good(c);
    cr_assert(be(c.in + 6, 2) == 8 && be(c.in, 4) + 4 == 128 - c.residual);
    c = run_in(r, CMD(1, 0, 0x46, 2, 0, 0x1e, 0, 0, 0, 0, 128, 0), 128);
    cr_assert(be(c.in, 4) == 12 && be(c.in + 8, 2) == 0x1e && c.in[10] == 1);
    c = run_in(r, CMD(1, 0, 0x46, 1, 0, 0, 0, 0, 0, 0, 128, 0), 128);
    cr_assert_eq(be(c.in, 4), 4 + 12 + 12 + 8 + 12 + 8, "no DVD among what is current");
    is_refused(run_in(r, CMD(1, 0, 0x46, 3, 0, 0, 0, 0, 0, 0, 128, 0), 128), KEY_ILLEGAL, 0x24, 0);
    rig_down(r);
}

Test(scsi, which_units_there_are)
{
    struct rig *r = up_as("scsi,disk=3:0:%s,cd=3:300:%s", NULL);
    struct cmd c = run_in(r, CMD(3, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0), 64);
    is_good(c);
    cr_assert(be(c.in, 4) == 16 && be(c.in + 8, 8) == 0 && be(c.in + 16, 2) == 0x412c);
    c = run_in(r, CMD(3, 0, 0xa0, 0, 2, 0, 0, 0, 0, 0, 0, 64, 0, 0), 64);
    cr_assert(be(c.in, 4) == 24 && be(c.in + 24, 2) == 0xc101);
    c = run_in(r, CMD(3, 0, 0xa0, 0, 1, 0, 0, 0, 0, 0, 0, 64, 0, 0), 64);
    cr_assert(be(c.in, 4) == 8 && be(c.in + 8, 2) == 0xc101);
    is_refused(run_in(r, CMD(3, 0, 0xa0, 0, 3, 0, 0, 0, 0, 0, 0, 64, 0, 0), 64), KEY_ILLEGAL, 0x24,
               0);
    is_refused(run_in(r, CMD(3, 9, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0), 64), KEY_ILLEGAL, 0x25,
               0);
    /* the well-known unit of the host, and of the target */
    c = CMD(0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0);
    memcpy(c.lun, (const uint8_t[8]){0xc1, 1}, 8);
    c = run_in(r, c, 64);
    is_good(c);
    cr_assert(be(c.in, 4) == 16 && be(c.in + 8, 4) == 0x01034000 && be(c.in + 16, 4) == 0x0103412c);
    c = CMD(3, 0, 0x12, 0, 0, 0, 36, 0);
    memcpy(c.lun + 2, (const uint8_t[2]){0xc1, 1}, 2);
    c = run_in(r, c, 36);
    is_good(c);
    cr_assert_eq(c.in[0], 0x1e);
    memcpy(c.cdb, (const uint8_t[6]){0}, 6);
    c.in_len = 0;
    is_good(run(r, c));
    c.cdb[0] = 0x25;
    is_refused(run(r, c), KEY_ILLEGAL, 0x20, 0);
    rig_down(r);
}

Test(scsi, request_sense)
{
    struct rig *r = up_as("scsi,disk=%s,cd=%s", NULL);
    struct cmd c = run_in(r, CMD(0, 0, 0x03, 0, 0, 0, 18, 0), 18);
    cr_assert(c.in[0] == 0x70 && c.in[2] == 6 && c.in[12] == 0x29);
    is_good(run(r, CMD(0, 0, TEST_UNIT_READY)));
    c = run_in(r, CMD(0, 0, 0x03, 1, 0, 0, 18, 0), 18);
    cr_assert(c.in[0] == 0x72 && c.in[1] == 0 && c.residual == 10);
    rig_down(r);
}
