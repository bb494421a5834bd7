/* tests/bench/block.c - the disk: reads of 4 KiB from one file, random or one behind the other,
 * through the device and its queue, beside a plain loop of io_uring and beside fio, where that is
 * installed.
 *
 * The device's driver is on the same thread and in its time: a notification is a write to an
 * eventfd, and so is an interrupt. */
#include <fcntl.h>
#include <liburing.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "tests/bench/bench.h"
#include "tests/bench/driver.h"

enum { BLOCK = 4096, SECTOR = 512, BLOCKS = BENCH_FILE / 4096, DEPTH_MAX = 32, COUNTED = 64 };

struct block_shape {
    unsigned depth;
    bool direct, sequential;
};

struct block_work {
    const struct block_shape *shape;
    uint64_t seed, next, kicks;
    /* The device's. */
    struct machine m;
    struct driver d;
    unsigned in_flight;
    /* The plain ring's. */
    struct io_uring ring;
    int fd;
    uint8_t *buffers;
};

static uint64_t which_block(struct block_work *w)
{
    if (w->shape->sequential)
        return w->next++ % BLOCKS;
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return w->seed % BLOCKS;
}

static unsigned operations(const struct block_work *w, bool once)
{
    return once ? COUNTED : w->shape->direct ? 8000 : 100000; /* fio has whole milliseconds */
}

static struct block_work *work_new(const struct bench_row *r)
{
    struct block_work *w = calloc(1, sizeof(*w));
    BENCH_MUST(w != NULL);
    w->shape = r->shape;
    w->seed = 88172645463325252u;
    w->fd = -1;
    return w;
}

/* --- the device --- */

static void offer(struct block_work *w, unsigned slot)
{
    const struct request *r = &w->d.requests[slot];
    const struct virtio_blk_outhdr h = {.type = VIRTIO_BLK_T_IN,
                                        .sector = which_block(w) * (BLOCK / SECTOR)};
    memcpy(machine_at(&w->m, r->at[0], sizeof(h)), &h, sizeof(h));
    *(uint8_t *)machine_at(&w->m, r->at[2], 1) = 0xff;
    driver_add(&w->d, slot);
    w->in_flight++;
}

static void notify(struct block_work *w)
{
    driver_publish(&w->d);
    if (driver_must_kick(&w->d)) {
        vdev_kick(w->m.dev, 0);
        w->kicks++;
    }
}

/* What has come back; each was good. */
static unsigned reap(struct block_work *w, unsigned slots[DEPTH_MAX])
{
    unsigned n = 0;
    driver_wish(&w->d);
    for (int slot; (slot = driver_reap(&w->d)) >= 0; n++) {
        BENCH_MUST(*(uint8_t *)machine_at(&w->m, w->d.requests[slot].at[2], 1) == 0);
        slots[n] = (unsigned)slot;
    }
    w->in_flight -= n;
    return n;
}

static void by_device(struct block_work *w, unsigned n)
{
    unsigned slots[DEPTH_MAX], begun = MIN(n, w->shape->depth);
    for (unsigned i = 0; i < begun; i++)
        offer(w, i);
    notify(w);
    while (w->in_flight > 0) {
        unsigned back = reap(w, slots), again = MIN(back, n - begun);
        for (unsigned i = 0; i < again; i++)
            offer(w, slots[i]);
        begun += again;
        if (again > 0)
            notify(w);
        if (back == 0)
            (void)loop_step(w->m.loop, -1);
    }
}

static void *device_up(const struct bench_row *r)
{
    struct block_work *w = work_new(r);
    const struct shape s = {
        .indirect = true, .event_idx = true, .segments = 3, .writable = 2, .slots = DEPTH_MAX};
    char spec[128];
    (void)snprintf(spec, sizeof(spec), "blk,%s,ro%s", bench_file(),
                   w->shape->direct ? ",direct" : "");
    machine_up(&w->m);
    w->m.irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    BENCH_MUST(w->m.irq_fd >= 0);
    machine_device(&w->m, spec);
    machine_negotiate(&w->m, &s);
    driver_up(&w->d, &w->m, 0, &s);
    for (unsigned i = 0; i < DEPTH_MAX; i++) {
        w->d.requests[i].len[0] = sizeof(struct virtio_blk_outhdr);
        w->d.requests[i].len[2] = 1;
        driver_describe(&w->d, i);
    }
    machine_driver_ok(&w->m);
    by_device(w, COUNTED);
    return w;
}

static void device_down(void *work)
{
    struct block_work *w = work;
    machine_down(&w->m);
    driver_down(&w->d);
    free(w);
}

static double device_sample(void *work, bool once)
{
    struct block_work *w = work;
    unsigned n = operations(w, once);
    uint64_t t0 = bench_wall_ns();
    by_device(w, n);
    return n * 1e9 / (double)(bench_wall_ns() - t0);
}

static void device_counted(void *work)
{
    by_device(work, COUNTED);
}

static void device_exact(const struct bench_row *r, void *work, bool once)
{
    struct block_work *w = work;
    if (w->shape->direct)
        return; /* the host's disk decides what falls together */
    uint64_t a = bench_allocations(), i = w->m.interrupts, k = w->kicks;
    by_device(w, COUNTED);
    k = w->kicks - k;
    bench_print_exact(r, "allocations/request", (double)(bench_allocations() - a) / COUNTED);
    bench_print_exact(r, "interrupts/request", (double)(w->m.interrupts - i) / COUNTED);
    bench_print_exact(r, "notifications/request", (double)k / COUNTED);
    if (once)
        return;
    struct bench_counts c = bench_count(device_counted, w);
    bench_print_exact(r, "instructions/request", (double)c.instructions / COUNTED);
    /* A guest's notification is none of ours. */
    bench_print_exact(r, "system calls/request", (double)(c.system_calls - k) / COUNTED);
}

/* --- a plain ring --- */

static void submit(struct block_work *w, unsigned slot)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
    io_uring_prep_read(sqe, w->fd, w->buffers + (size_t)slot * BLOCK, BLOCK,
                       which_block(w) * BLOCK);
    io_uring_sqe_set_data64(sqe, slot);
}

static void by_ring(struct block_work *w, unsigned n)
{
    unsigned begun = MIN(n, w->shape->depth), done = 0;
    for (unsigned i = 0; i < begun; i++)
        submit(w, i);
    while (done < n) {
        struct io_uring_cqe *cqe;
        BENCH_MUST(io_uring_submit_and_wait(&w->ring, 1) >= 0);
        while (io_uring_peek_cqe(&w->ring, &cqe) == 0) {
            BENCH_MUST(cqe->res == BLOCK);
            unsigned slot = (unsigned)cqe->user_data;
            io_uring_cqe_seen(&w->ring, cqe);
            done++;
            if (begun < n) {
                begun++;
                submit(w, slot);
            }
        }
    }
}

static void *ring_up(const struct bench_row *r)
{
    struct block_work *w = work_new(r);
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    if (io_uring_queue_init_params(2 * DEPTH_MAX, &w->ring, &p) < 0) {
        free(w);
        return NULL;
    }
    w->fd = open(bench_file(), O_RDONLY | O_CLOEXEC | (w->shape->direct ? O_DIRECT : 0));
    BENCH_MUST(w->fd >= 0);
    w->buffers = aligned_alloc(BLOCK, DEPTH_MAX * BLOCK);
    BENCH_MUST(w->buffers != NULL);
    by_ring(w, COUNTED);
    return w;
}

static void ring_down(void *work)
{
    struct block_work *w = work;
    io_uring_queue_exit(&w->ring);
    fd_cleanup_(&w->fd);
    free(w->buffers);
    free(w);
}

static double ring_sample(void *work, bool once)
{
    struct block_work *w = work;
    unsigned n = operations(w, once);
    uint64_t t0 = bench_wall_ns();
    by_ring(w, n);
    return n * 1e9 / (double)(bench_wall_ns() - t0);
}

/* --- fio --- */

static void *fio_up(const struct bench_row *r)
{
    return system("fio --version >/dev/null 2>&1") == 0 ? work_new(r) : NULL;
}

static double fio_sample(void *work, bool once)
{
    struct block_work *w = work;
    enum { READ_IOPS = 8 }; /* field of terse output, from 1 */
    char command[320], line[4096], *field = line;
    (void)snprintf(command, sizeof(command),
                   "fio --name=r --filename=%s --rw=%s --norandommap --bs=4k --iodepth=%u "
                   "--ioengine=io_uring --direct=%d --invalidate=0 --readonly --io_size=%uk "
                   "--output-format=terse",
                   bench_file(), w->shape->sequential ? "read" : "randread", w->shape->depth,
                   w->shape->direct, operations(w, once) * 4);
    FILE *f = popen(command, "r");
    BENCH_MUST(f != NULL);
    BENCH_MUST(fgets(line, sizeof(line), f) != NULL);
    BENCH_MUST(pclose(f) == 0);
    for (unsigned i = 1; i < READ_IOPS; i++) {
        field = strchr(field, ';');
        BENCH_MUST(field != NULL);
        field++;
    }
    return strtod(field, NULL);
}

/* --- rows --- */

void bench_block(void)
{
    static const struct block_shape shapes[] = {
        {1, false, false}, {8, false, false}, {32, false, false}, {32, false, true},
        {1, true, false},  {8, true, false},  {32, true, false},  {32, true, true},
    };
    static const struct bench_row hows[] = {
        {.name = "plain ring", .up = ring_up, .sample = ring_sample, .down = ring_down},
        {.name = "fio", .up = fio_up, .sample = fio_sample, .down = free},
        {.name = "device",
         .up = device_up,
         .sample = device_sample,
         .exact = device_exact,
         .down = device_down},
    };
    static char bases[ARRAY_SIZE(shapes)][BENCH_NAME];
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        const struct block_shape *s = &shapes[i];
        char where[40];
        (void)snprintf(where, sizeof(where), "%s%s, depth %u", s->sequential ? "sequential, " : "",
                       s->direct ? "direct" : "page cache", s->depth);
        (void)snprintf(bases[i], sizeof(bases[i]), "plain ring, %s", where);
        for (size_t h = 0; h < ARRAY_SIZE(hows); h++) {
            struct bench_row r = hows[h];
            r.group = "block";
            r.unit = "requests/s";
            r.shape = s;
            r.base = h > 0 ? bases[i] : NULL;
            (void)snprintf(r.name, sizeof(r.name), "%.20s, %s", hows[h].name, where);
            bench_add(&r);
        }
    }
}
