/* tests/faults/test_fault_blk.c - a disk on a host that fails, on either back end of the loop: what
 * the host only puts off is no error, what it refuses is the request's, and the device lives. */
#include <signal.h>
#include <sys/resource.h>

#include "tests/faults/fault.h"
#include "tests/rig/blk_try.h"

static const enum loop_backend backends[] = {LOOP_URING, LOOP_EPOLL};
static struct rig *r;

static void up_on(enum loop_backend b)
{
    struct loop *probe;
    cr_assert_eq(loop_new("probe", b, &probe), 0);
    int rc = loop_start(probe);
    loop_free(probe);
    if (rc < 0)
        b = LOOP_EPOLL;
    r = up_with("", &(struct rig_options){.backend = b});
    fault_clear();
}

static void done(void)
{
    uint8_t data[512];
    fault_clear();
    cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_OK, "it lives");
    cr_assert_eq(request(r, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false), VIRTIO_BLK_S_OK);
    cr_assert_not(rig_needs_reset(r));
    down(r);
}
#define BOTH(name)                                                                                 \
    static void name(void);                                                                        \
    Test(fault_blk, name)                                                                          \
    {                                                                                              \
        for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {                                        \
            up_on(backends[i]);                                                                    \
            name();                                                                                \
            done();                                                                                \
        }                                                                                          \
    }                                                                                              \
    static void name(void)

enum { SECTOR = 512, LEN = 8 * SECTOR };
static uint8_t data[LEN], back[LEN];

static int out_at(uint64_t sector)
{
    for (size_t i = 0; i < LEN; i++)
        data[i] = (uint8_t)(i * 7 + sector);
    return request(r, VIRTIO_BLK_T_OUT, sector, data, LEN, false);
}

static int in_at(uint64_t sector)
{
    return request(r, VIRTIO_BLK_T_IN, sector, back, LEN, true);
}

static int flush(void)
{
    return request(r, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false);
}

static int clear(unsigned type)
{
    struct virtio_blk_discard_write_zeroes seg = {.sector = 40, .num_sectors = 8};
    return request(r, type, 0, &seg, sizeof(seg), false);
}

BOTH(what_the_host_refuses_is_the_requests_error)
{
    const int errors[] = {EIO, ENOSPC, EDQUOT, EFBIG, EBADF, ENOMEM};
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        const struct fault once = {.times = 1, .error = errors[i]};
        fault_set(FAULT_LOOP_READ, once);
        cr_assert_eq(in_at(16), VIRTIO_BLK_S_IOERR, "%s", strerror(errors[i]));
        fault_set(FAULT_LOOP_WRITE, once);
        cr_assert_eq(out_at(16), VIRTIO_BLK_S_IOERR);
        fault_set(FAULT_LOOP_SYNC, once);
        cr_assert_eq(flush(), VIRTIO_BLK_S_IOERR);
        fault_set(FAULT_LOOP_ALLOCATE, once);
        cr_assert_eq(clear(VIRTIO_BLK_T_WRITE_ZEROES), VIRTIO_BLK_S_IOERR);
        cr_assert_eq(out_at(16), VIRTIO_BLK_S_OK, "the next one is a new one");
        cr_assert_eq(in_at(16), VIRTIO_BLK_S_OK);
        cr_assert(memcmp(data, back, LEN) == 0);
    }
}

BOTH(what_the_host_puts_off_is_done_in_the_end)
{
    const int errors[] = {EINTR, EAGAIN};
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        for (unsigned times = 1; times < LOOP_IO_TRIES; times += LOOP_IO_TRIES / 2 - 1) {
            const struct fault f = {.times = times, .error = errors[i]};
            fault_clear();
            fault_set(FAULT_LOOP_WRITE, f);
            cr_assert_eq(out_at(24), VIRTIO_BLK_S_OK, "%u times", times);
            fault_set(FAULT_LOOP_READ, f);
            cr_assert_eq(in_at(24), VIRTIO_BLK_S_OK);
            cr_assert(memcmp(data, back, LEN) == 0);
            fault_set(FAULT_LOOP_SYNC, f);
            cr_assert_eq(flush(), VIRTIO_BLK_S_OK);
            cr_assert_eq(fault_calls(FAULT_LOOP_SYNC), times + 1, "the last of them did it");
            fault_set(FAULT_LOOP_ALLOCATE, f);
            cr_assert_eq(clear(VIRTIO_BLK_T_WRITE_ZEROES), VIRTIO_BLK_S_OK);
            cr_assert_eq(clear(VIRTIO_BLK_T_DISCARD), VIRTIO_BLK_S_OK);
            cr_assert_eq(fault_calls(FAULT_LOOP_ALLOCATE), times + 2);
        }
    }
}

BOTH(nor_is_it_tried_for_ever)
{
    const struct fault storm = {.times = FAULT_ALWAYS, .error = EAGAIN};
    for (int p = FAULT_LOOP_READ; p <= FAULT_LOOP_ALLOCATE; p++)
        fault_set((enum fault_point)p, storm);
    cr_assert_eq(in_at(0), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(fault_hits(FAULT_LOOP_READ), LOOP_IO_TRIES);
    cr_assert_eq(out_at(0), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(flush(), VIRTIO_BLK_S_IOERR);
    cr_assert_eq(clear(VIRTIO_BLK_T_WRITE_ZEROES), VIRTIO_BLK_S_IOERR);
}

BOTH(pieces_make_a_whole)
{
    const size_t most[] = {1, 511, 512, 513, LEN - 1};
    for (size_t i = 0; i < ARRAY_SIZE(most); i++) {
        const struct fault f = {.times = FAULT_ALWAYS, .most = most[i]};
        const unsigned pieces = (unsigned)((LEN + most[i] - 1) / most[i]);
        fault_set(FAULT_LOOP_WRITE, f);
        fault_set(FAULT_LOOP_READ, f);
        cr_assert_eq(out_at(32 + i), VIRTIO_BLK_S_OK);
        cr_assert_eq(fault_calls(FAULT_LOOP_WRITE), pieces);
        file_bytes((32 + i) * SECTOR, back, LEN);
        cr_assert(memcmp(data, back, LEN) == 0, "%zu bytes at a time", most[i]);
        memset(back, 0, LEN);
        cr_assert_eq(in_at(32 + i), VIRTIO_BLK_S_OK);
        cr_assert_eq(fault_calls(FAULT_LOOP_READ), pieces);
        cr_assert(memcmp(data, back, LEN) == 0);
    }
}

/* An error in the middle: what came before it does not make the request a success. */
BOTH(a_piece_and_then_an_error)
{
    fault_set(FAULT_LOOP_WRITE, (struct fault){.times = 1, .most = 100});
    cr_assert_eq(out_at(48), VIRTIO_BLK_S_OK);
    const struct rlimit small = {.rlim_cur = 52 * SECTOR, .rlim_max = RLIM_INFINITY};
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    fault_clear();
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int status = out_at(48);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    cr_assert_eq(status, VIRTIO_BLK_S_IOERR);
    fault_set(FAULT_LOOP_READ, (struct fault){.skip = 1, .times = 1, .error = EIO});
    cr_assert_eq(in_at(SECTORS - 9), VIRTIO_BLK_S_OK);
    cr_assert_eq(in_at(SECTORS - 8), VIRTIO_BLK_S_IOERR);
}
