/* tests/rig/test_net_counts.c - what a frame costs, in counts that no host's speed changes: system
 * calls, allocations, interrupts. */
#include <poll.h>

#include "tests/rig/net_fixture.h"

enum { BATCH = 32, LONG = 60000, SIZE = 1526, PIECES = (LONG + HDR + SIZE - 1) / SIZE };

static uint8_t frame[LONG];
static struct {
    unsigned reads, writes, polls, allocations;
} count;

#define COUNTED(type, name, counter, params, args)                                                 \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        count.counter++;                                                                           \
        return __real_##name args;                                                                 \
    }
COUNTED(ssize_t, readv, reads, (int fd, const struct iovec *v, int n), (fd, v, n))
COUNTED(ssize_t, writev, writes, (int fd, const struct iovec *v, int n), (fd, v, n))
COUNTED(int, ppoll, polls,
        (struct pollfd * p, nfds_t n, const struct timespec *t, const sigset_t *s), (p, n, t, s))
COUNTED(void *, malloc, allocations, (size_t n), (n))
COUNTED(void *, calloc, allocations, (size_t n, size_t size), (n, size))
COUNTED(void *, realloc, allocations, (void *p, size_t n), (p, n))

static void begin(struct fx *f)
{
    (void)rig_irqs(f->r);
    memset(&count, 0, sizeof(count));
}

static unsigned all_used(struct fx *f, unsigned q)
{
    uint32_t id, len;
    unsigned n = 0;
    while (rig_used(f->r, q, &id, &len))
        n++;
    return n;
}

enum { ROUNDS = 2 };
/* An interrupt whenever something is published. */
static const struct rig_options each_time = {.no_event_idx = true};

Test(net_counts, frames_out)
{
    struct fx *f = fx_up(1, true, NULL, &each_time);
    fx_frame(frame, TO_OTHER, 0x0800, 100);
    for (unsigned round = 0; round < ROUNDS; round++) {
        for (unsigned i = 0; i < BATCH; i++) {
            struct rig_seg out[2] = {{.at = rig_alloc(f->r, HDR), .len = HDR},
                                     {.at = rig_alloc(f->r, 100), .len = 100}};
            memcpy(rig_at(f->r, out[1].at, 100), frame, 100);
            rig_add(f->r, 1, out, 2, NULL, 0);
        }
        begin(f);
        rig_kick(f->r, 1);
        rig_settle(f->r);
        cr_expect_eq(count.writes, BATCH, "%u", count.writes);
        cr_expect_eq(rig_irqs(f->r), 1);
        cr_expect_eq(count.allocations, 0, "%u", count.allocations);
        cr_expect_eq(all_used(f, 1), BATCH);
        while (fx_recv(f, 0, NULL, frame, sizeof(frame)) > 0)
            continue;
    }
    fx_down(f);
}

/* `n` frames of `len` bytes come at once; they fill `pieces` buffers each. */
static void frames_in(unsigned n, const net_hdr_t *h, size_t len, unsigned pieces)
{
    struct fx *f = fx_up(1, true, NULL, &each_time);
    fx_frame(frame, TO_GUEST, 0x0800, len);
    for (unsigned round = 0; round < ROUNDS; round++) {
        fx_post(f, 0, n * pieces + PIECES - 1, SIZE); /* there are always some left */
        rig_kick(f->r, 0);
        rig_settle(f->r);
        for (unsigned i = 0; i < n; i++)
            fx_send(f, 0, h, frame, len);
        begin(f);
        rig_settle(f->r);
        cr_expect_eq(count.reads, n + 1, "%u", count.reads); /* and one that finds nothing */
        cr_expect_eq(count.polls, 0);
        cr_expect_eq(rig_irqs(f->r), 1);
        cr_expect_eq(count.allocations, 0, "%u", count.allocations);
        cr_expect_eq(all_used(f, 0), n * pieces);
    }
    fx_down(f);
}

Test(net_counts, short_frames_in)
{
    frames_in(BATCH, NULL, 66, 1);
}

Test(net_counts, long_frames_in)
{
    const net_hdr_t gso = {
        .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1, .gso_size = 1448};
    frames_in(2, &gso, LONG, PIECES); /* as many as a socket holds */
}
