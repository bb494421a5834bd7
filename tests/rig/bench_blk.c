/* tests/rig/bench_blk.c - random reads of 4 KiB through the block device and its queue, in turns
 * with a loop of nothing but io_uring on the same file: what is left to gain is the difference.
 * Prints a line for each depth; asserts nothing. */
#include <fcntl.h>
#include <liburing.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <time.h>

#include "tests/rig/rig.h"

enum { BLOCK = 4096, DEPTH_MAX = 32, TURNS = 11 };

static uint64_t blocks; /* of the file */
static unsigned enters, writes;

/* --- system calls: of the loop, and of eventfds (--wrap) --- */

#define COUNTED(counter, type, name, params, args)                                                 \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        counter++;                                                                                 \
        return __real_##name args;                                                                 \
    }
COUNTED(enters, int, io_uring_submit, (struct io_uring * r), (r))
COUNTED(enters, int, io_uring_get_events, (struct io_uring * r), (r))
COUNTED(enters, int, io_uring_submit_and_wait, (struct io_uring * r, unsigned n), (r, n))
COUNTED(writes, ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))

static uint64_t now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t random_block(void)
{
    static uint64_t x = 88172645463325252;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x % blocks;
}

/* --- the device --- */

/* Each slot has a chain of its own, placed once: header, data, status. */
struct drive {
    struct rig *r;
    gpa_t header[DEPTH_MAX], data[DEPTH_MAX], status[DEPTH_MAX];
};

static void place(struct drive *d, unsigned slot)
{
    gpa_t table = d->r->q[0].desc;
    uint16_t at = (uint16_t)(slot * 3);
    d->header[slot] = rig_alloc(d->r, sizeof(struct virtio_blk_outhdr));
    d->data[slot] = rig_alloc_at(d->r, BLOCK, BLOCK);
    d->status[slot] = rig_alloc(d->r, 1);
    rig_forge(d->r, table, at, d->header[slot].v, sizeof(struct virtio_blk_outhdr),
              VRING_DESC_F_NEXT, at + 1);
    rig_forge(d->r, table, at + 1u, d->data[slot].v, BLOCK, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
              at + 2);
    rig_forge(d->r, table, at + 2u, d->status[slot].v, 1, VRING_DESC_F_WRITE, 0);
}

static void ask(struct drive *d, unsigned slot)
{
    struct virtio_blk_outhdr *h = rig_at(d->r, d->header[slot], sizeof(*h));
    h->sector = random_block() * (BLOCK / 512);
    rig_offer(d->r, 0, (uint16_t)(slot * 3));
}

static void by_device(void *ctx, unsigned depth, unsigned ops)
{
    struct drive *d = ctx;
    unsigned asked = 0, ended = 0;
    while (asked < depth)
        ask(d, asked++);
    while (ended < ops) {
        uint32_t id, len;
        if (rig_must_kick(d->r, 0))
            rig_kick(d->r, 0);
        (void)loop_step(d->r->loop, -1);
        while (rig_used(d->r, 0, &id, &len)) {
            unsigned slot = id / 3;
            cr_assert_eq(*(uint8_t *)rig_at(d->r, d->status[slot], 1), VIRTIO_BLK_S_OK);
            ended++;
            if (asked < ops) {
                ask(d, slot);
                asked++;
            }
        }
        rig_listen(d->r, 0);
    }
}

/* --- nothing but a ring --- */

struct plain {
    struct io_uring ring;
    int fd;
    uint8_t *data;
};

static void push(struct plain *p, unsigned slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&p->ring);
    io_uring_prep_read(sqe, p->fd, p->data + (size_t)slot * BLOCK, BLOCK, random_block() * BLOCK);
    io_uring_sqe_set_data64(sqe, slot);
}

static void by_ring(void *ctx, unsigned depth, unsigned ops)
{
    struct plain *p = ctx;
    struct io_uring_cqe *cqe;
    unsigned asked = 0, ended = 0;
    while (asked < depth)
        push(p, asked++);
    while (ended < ops) {
        (void)io_uring_submit_and_wait(&p->ring, 1);
        while (io_uring_peek_cqe(&p->ring, &cqe) == 0) {
            unsigned slot = (unsigned)cqe->user_data;
            cr_assert_eq(cqe->res, BLOCK);
            io_uring_cqe_seen(&p->ring, cqe);
            ended++;
            if (asked < ops) {
                push(p, slot);
                asked++;
            }
        }
    }
}

static double rate(void (*work)(void *, unsigned, unsigned), void *ctx, unsigned depth,
                   unsigned ops)
{
    uint64_t start = now();
    work(ctx, depth, ops);
    return ops * 1e9 / (double)(now() - start);
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v)
{
    qsort(v, TURNS, sizeof(*v), ascending);
    return v[TURNS / 2];
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        (void)fprintf(stderr, "usage: bench_blk FILE cached|direct OPERATIONS [DEPTH...]\n");
        return 2;
    }
    bool direct = strcmp(argv[2], "direct") == 0;
    unsigned ops = (unsigned)atoi(argv[3]);
    struct plain p = {.fd = open(argv[1], O_RDONLY | O_CLOEXEC | (direct ? O_DIRECT : 0))};
    struct io_uring_params flags = {.flags =
                                        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    if (p.fd < 0 || io_uring_queue_init_params(128, &p.ring, &flags) < 0 ||
        (p.data = aligned_alloc(BLOCK, (size_t)DEPTH_MAX * BLOCK)) == NULL)
        return 1;
    blocks = (uint64_t)lseek(p.fd, 0, SEEK_END) / BLOCK;

    char spec[512];
    (void)snprintf(spec, sizeof(spec), "blk,%s,ro%s", argv[1], direct ? ",direct" : "");
    static struct drive d;
    d.r = rig_up(spec, NULL);
    for (unsigned i = 0; i < DEPTH_MAX; i++)
        place(&d, i);
    for (int i = 4; i < argc; i++) {
        unsigned depth = MIN((unsigned)atoi(argv[i]), (unsigned)DEPTH_MAX), e = 0, w = 0;
        double device[TURNS], ring[TURNS], ratio[TURNS];
        for (unsigned t = 0; t < TURNS; t++) {
            ring[t] = rate(by_ring, &p, depth, ops);
            enters = writes = 0;
            device[t] = rate(by_device, &d, depth, ops);
            e = enters, w = writes;
            ratio[t] = device[t] / ring[t];
        }
        printf("%s %u device %.0f ring %.0f ratio %.3f enters %.3f writes %.3f\n", argv[2], depth,
               median(device), median(ring), median(ratio), (double)e / ops, (double)w / ops);
        (void)fflush(stdout);
    }
    rig_down(d.r);
    io_uring_queue_exit(&p.ring);
    free(p.data);
    close(p.fd);
    return 0;
}
