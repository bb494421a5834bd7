/* tests/rig/test_attack_device.c - what guests have done to devices of other programs and no other
 * test here does, on each way to a device. What is done is in tests/attacks/attacks.tsv. */
#include <sys/uio.h>

#include "tests/rig/blk_try.h"
#include "tests/rig/net_fixture.h"
#include "tests/rig/ways.h"

enum { FLIGHT = 8, BIG = 128 << 10, MARK = 0x55, UNTOUCHED = 0xa5 };

static bool all_are(const uint8_t *p, size_t len, uint8_t v)
{
    return p[0] == v && memcmp(p, p + 1, len - 1) == 0;
}

/* --- a reset with operations of the host in flight (row 27) --- */

static void read_ahead(struct rig *r, gpa_t at)
{
    const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN};
    for (unsigned i = 0; i < FLIGHT; i++) {
        gpa_t hdr = rig_alloc(r, sizeof(h)), status = rig_alloc(r, 1);
        memcpy(rig_at(r, hdr, sizeof(h)), &h, sizeof(h));
        const struct rig_seg out = {hdr, sizeof(h)};
        const struct rig_seg in[] = {{GPA(at.v + (uint64_t)i * BIG), BIG}, {status, 1}};
        rig_add(r, 0, &out, 1, in, 2);
    }
    rig_kick(r, 0);
    (void)loop_step(r->loop, 0);
}

static void reset_in_flight(enum loop_backend backend)
{
    struct rig *r = up_with("", &(struct rig_options){.backend = backend});
    HOLDS(r, "27a");
    gpa_t at = rig_alloc(r, FLIGHT * BIG);
    uint8_t *p = rig_at(r, at, FLIGHT * BIG), data[512];
    for (unsigned round = 0; round < 10; round++) {
        uint64_t ram = r->ram_next;
        read_ahead(r, at);
        if (round % 2 && r->regs->queue_reset)
            r->regs->queue_reset(r, 0);
        else
            rig_status_set(r, 0);
        memset(p, MARK, FLIGHT * BIG); /* it is the driver's again */
        rig_settle(r);
        cr_assert(all_are(p, FLIGHT * BIG, MARK), "round %u", round);
        rig_negotiate(r);
        cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 7, data, 512, true), VIRTIO_BLK_S_OK);
        cr_assert(all_are(data, 512, 7));
        cr_assert(all_are(p, FLIGHT * BIG, MARK), "round %u", round);
        r->ram_next = ram;
    }
    down(r);
}

TEST_EACH_WAY(ALL_WAYS, attack_device, a_reset_with_reads_in_flight)
{
    reset_in_flight(LOOP_AUTO);
    reset_in_flight(LOOP_EPOLL); /* whose file operations are a thread's */
}

/* --- what fails shows nothing, and what succeeds no more than there is (row 31) --- */

static void shows(struct rig *r, uint32_t type, uint64_t sector, uint32_t len, uint32_t shown)
{
    const struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    gpa_t hdr = rig_alloc(r, sizeof(h)), at = rig_alloc(r, len + 1);
    uint8_t *p = rig_at(r, at, len + 1);
    uint32_t id, used;
    memcpy(rig_at(r, hdr, sizeof(h)), &h, sizeof(h));
    memset(p, UNTOUCHED, len + 1);
    const struct rig_seg out = {hdr, sizeof(h)}, in = {at, len + 1};
    rig_add(r, 0, &out, 1, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &used));
    cr_assert_eq(p[len] == VIRTIO_BLK_S_OK, shown > 0);
    cr_assert(all_are(p + shown, len - shown, UNTOUCHED), "type %u", type);
}

TEST_EACH_WAY(ALL_WAYS, attack_device, answers_that_are_not_written)
{
    struct rig *r = up_with(",serial=abc", NULL);
    HOLDS(r, "31c");
    shows(r, VIRTIO_BLK_T_IN, SECTORS, 1024, 0);
    shows(r, VIRTIO_BLK_T_IN, SECTORS - 1, 1024, 0);
    shows(r, VIRTIO_BLK_T_IN, UINT64_MAX, 64 << 10, 0);
    shows(r, VIRTIO_BLK_T_IN, 0, 1023, 0);
    shows(r, 99, 0, 4096, 0);
    shows(r, VIRTIO_BLK_T_GET_ID, 0, 4096, VIRTIO_BLK_ID_BYTES);
    cr_assert_eq(truncate(path, 512), 0);
    shows(r, VIRTIO_BLK_T_IN, 100, 1024, 0);
    down(r);
}

/* --- a raw disk is raw, whatever a guest has made of its first bytes (row 34) --- */

static const struct {
    uint8_t magic[4], version[4], backing_at[8], backing_len[4], cluster_bits[4], size[8];
} qcow2 = {.magic = "QFI\xfb",
           .version = {0, 0, 0, 3},
           .backing_at = {[6] = 1},
           .backing_len = {0, 0, 0, 11},
           .cluster_bits = {0, 0, 0, 16},
           .size = {[4] = 0x40}};

TEST_EACH_WAY(ALL_WAYS, attack_device, a_disk_that_looks_like_another_format)
{
    uint8_t first[512] = {0}, data[512];
    char spec[64];
    struct rig *r = up();
    HOLDS(r, "34");
    memcpy(first, &qcow2, sizeof(qcow2));
    memcpy(first + 256, "/etc/passwd", 11);
    cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 0, first, 512, false), VIRTIO_BLK_S_OK);
    rig_down(r);
    (void)snprintf(spec, sizeof(spec), "blk,%s", path);
    r = rig_up(spec, NULL);
    cr_assert_eq(config(r).capacity, SECTORS);
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_OK);
    cr_assert_arr_eq(data, first, 512);
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 9, data, 512, true), VIRTIO_BLK_S_OK);
    cr_assert(all_are(data, 512, 9));
    down(r);
}

/* --- nobody takes anything, and then everybody does (row 30) --- */

enum { FRAME = 1400, SENT = 120 };

static uint8_t frame[FRAME];

static unsigned fill_the_cable(struct fx *f)
{
    static const net_hdr_t none;
    unsigned n = 0;
    (void)fx_frame(frame, TO_GUEST, 0x0800, FRAME);
    for (;; n++) {
        frame[20] = (uint8_t)n;
        const struct iovec v[] = {{(void *)&none, HDR}, {frame, FRAME}};
        if (writev(f->peer[0], v, 2) < 0)
            return n;
    }
}

TEST_EACH_WAY(ALL_WAYS, attack_device, both_ends_are_full)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    uint32_t id, len;
    HOLDS(f->r, "30f");
    unsigned in = fill_the_cable(f), used = 0;
    rig_settle(f->r);
    (void)fx_frame(frame, TO_OTHER, 0x0800, FRAME);
    for (unsigned i = 0; i < SENT; i++) {
        frame[20] = (uint8_t)i;
        fx_tx(f, 1, NULL, frame, FRAME);
    }
    while (rig_used(f->r, 1, &id, &len))
        used++;
    cr_assert(in > 0 && used < SENT, "%u in, %u out", in, used);
    for (unsigned i = 0; i < in; i++) {
        fx_post(f, 0, 1, 2048);
        rig_kick(f->r, 0);
        rig_settle(f->r);
        const uint8_t *b = fx_used(f, 0, &len);
        cr_assert(b && len == FRAME + HDR && b[HDR + 20] == (uint8_t)i, "frame %u", i);
    }
    for (unsigned i = 0; i < SENT; i++) {
        cr_assert_eq(fx_recv(f, 0, NULL, frame, FRAME), FRAME, "frame %u", i);
        cr_assert_eq(frame[20], (uint8_t)i);
        rig_settle(f->r);
    }
    while (rig_used(f->r, 1, &id, &len))
        used++;
    cr_assert_eq(used, SENT);
    fx_down(f);
}

/* --- receive buffers of one byte (row 24) --- */

/* Hundreds of them for one frame: each comes back as it is, and then good ones are used. */
TEST_EACH_WAY(ALL_WAYS, attack_device, receive_buffers_of_a_byte)
{
    struct fx *f = fx_up(1, true, NULL, NULL);
    uint32_t len;
    HOLDS(f->r, "24b 30d");
    (void)fx_frame(frame, TO_GUEST, 0x0800, FRAME);
    for (unsigned round = 0; round < 3; round++) {
        unsigned n = 0;
        fx_post(f, 0, 150, 1);
        rig_kick(f->r, 0);
        fx_send(f, 0, NULL, frame, FRAME);
        rig_settle(f->r);
        for (; fx_used(f, 0, &len); n++)
            cr_assert_eq(len, 0);
        cr_assert_eq(n, 150);
    }
    cr_assert_not(rig_needs_reset(f->r));
    rig_negotiate(f->r);
    fx_post(f, 0, 8, 2048);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    while (fx_used(f, 0, &len)) /* what waited */
        ;
    fx_send(f, 0, NULL, frame, FRAME);
    cr_assert(fx_arrives(f, 0, frame, FRAME));
    fx_down(f);
}
