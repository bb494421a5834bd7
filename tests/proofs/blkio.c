/* tests/proofs/blkio.c - a transfer of a disk, cut into steps: what Frama-C's Eva analyses
 * (tools/prove).
 *
 * By induction: a transfer begins sound(), wherever in its segments, and each step of one that is
 * sound asks for memory of its segments only, and leaves it sound, however much the host did.
 *
 * inlined: any, advance, next, transferred */
#include <linux/falloc.h>
#include <stddef.h>
#include <sys/types.h>

int fallocate(int fd, int mode, off_t off, off_t len);
#define IOV_MAX 1024
#include "devices/blkio.c"
#include "tests/proofs/segments.h"

static struct iovec segments[SEGMENTS];
static bool asked, ended;

bool vq_aborting(const struct vq *q)
{
    (void)q;
    return any(0, 1);
}

void loop_io(struct loop *l, struct loop_io *io)
{
    (void)l;
    struct blkio *o = container_of(io, struct blkio, io);
    asked = true;
    check(io->n_iov >= 1 && io->n_iov <= IOV_MAX);
    check(io->iov->iov_base == (uint8_t *)o->iov->iov_base + o->skip);
    size_t sum = touch(io->iov, io->n_iov);
    check(sum >= 1 && sum <= o->left && sum <= STEP_MAX && io->off == o->pos);
}

static void done(struct blkio *o, int result)
{
    (void)o;
    check(result <= 0);
    ended = true;
}

/* What is left of it is there. */
static void check_sound(const struct blkio *o)
{
    size_t rest = 0;
    for (unsigned i = 0; i < o->n_iov; i++)
        rest += o->iov[i].iov_len;
    if (o->left == 0)
        return;
    check(o->n_iov > 0 && o->iov + o->n_iov == segments + SEGMENTS);
    check(o->skip < o->iov->iov_len && o->left <= rest - o->skip);
}

static void one_step(struct blkio *o, int64_t result)
{
    asked = ended = false;
    transferred(&o->io, result);
    check(asked != ended);
    check_sound(o);
}

/* From byte `skip` on, `left` of them, of which the host does so many. */
static void transfer_from(size_t skip, size_t left, size_t part)
{
    static const struct blkfile file = {.fd = 3, .plain_fd = -1};
    struct blkio o = {.file = &file, .done = done};
    blkio_read(&o, segments, SEGMENTS, skip, 0, left);
    check(asked);
    check_sound(&o);
    one_step(&o, part == 0 ? -(int64_t)any(0, 4095) : (int64_t)part);
}

int main(void)
{
    for (unsigned choice = 0; choice < CHOICES; choice++) {
        size_t sum = make_segments(segments, choice);
        for (size_t skip = 0; skip < sum; skip++) {
            for (size_t left = 1; left <= sum - skip; left++) {
                for (size_t part = 0; part <= left; part++)
                    transfer_from(skip, left, part);
            }
        }
    }
    return 0;
}
