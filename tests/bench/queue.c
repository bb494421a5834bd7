/* tests/bench/queue.c - a queue alone: requests through rings to a device that completes each at
 * once; and frames from a guest, to a network that takes each at once.
 *
 * A sample is one over the device's time for a request: vq_run(), which is what a notification
 * comes to, and the publication that it leaves for the end of the turn; no system call, no event
 * loop. The driver's time, measured by itself, is taken off. Of rows that are called cold it is the
 * median turn, with rings that come from memory, as they come from another CPU's cache to a real
 * device. */
#include <stdio.h>

#include "devices/virtio/vq_priv.h"
#include "tests/bench/bench.h"
#include "tests/bench/driver.h"

enum {
    QUEUE_SIZE = 1024,
    SLOTS = 256,
    REQUESTS = 1 << 18,
    COUNTED = 1 << 10,
    STEPPED = 32,
    COLD_TURNS = 512,
    FRAME = 20 + 1514, /* at most, with its header */
};

struct queue_shape {
    struct shape s;
    const char *device; /* NULL: the one that completes at once */
    unsigned index;     /* of the queue */
    uint32_t len;       /* of a segment */
    unsigned batch;
    bool cold;
    char split[BENCH_NAME]; /* the row of a split ring that is the same otherwise */
};

struct queue_work {
    struct machine m;
    struct driver d;
    const struct queue_shape *shape;
    struct vq *q;
    unsigned next; /* slot */
};

/* --- the device --- */

static void null_kick(struct vdev *dev, struct vq *q)
{
    (void)dev;
    vq_for_each (req, q) {
        req->written = (uint32_t)req->in_len;
        vq_complete(q, req);
    }
}

static void null_free(struct vdev *dev)
{
    (void)dev;
}

static const struct vdev_ops null_ops = {.kick = null_kick, .free = null_free};
static const struct vdev_class null_class = {
    .name = "null", .summary = "completes at once", .virtio_id = 0, .ops = &null_ops};

static void null_device(struct machine *m)
{
    static const uint16_t sizes[] = {QUEUE_SIZE};
    struct build_env env;
    machine_env(m, &env);
    BENCH_MUST(vdev_new(&null_class, &env, NULL, sizes, ARRAY_SIZE(sizes), &m->dev) == 0);
}

/* --- work --- */

static void driver_turn(struct queue_work *w)
{
    driver_wish(&w->d);
    for (unsigned i = 0; i < w->shape->batch; i++)
        driver_add(&w->d, w->next++ % SLOTS);
    driver_publish(&w->d);
    driver_skip(&w->d, w->shape->batch);
}

static void device_turn(struct queue_work *w)
{
    struct vq *q = w->q;
    vq_run(q);
    if (q->publish.queued) {
        loop_defer_cancel(w->m.loop, &q->publish);
        q->publish.fn(q->publish.ctx);
    }
}

static void turns(struct queue_work *w, unsigned requests)
{
    for (unsigned n = 0; n < requests; n += w->shape->batch) {
        driver_turn(w);
        device_turn(w);
    }
}

static void *up(const struct bench_row *r)
{
    const struct queue_shape *shape = r->shape;
    struct queue_work *w = calloc(1, sizeof(*w));
    BENCH_MUST(w != NULL);
    w->shape = shape;
    machine_up(&w->m);
    if (shape->device)
        machine_device(&w->m, shape->device);
    else
        null_device(&w->m);
    machine_negotiate(&w->m, &shape->s);
    driver_up(&w->d, &w->m, shape->index, &shape->s);
    for (unsigned i = 0; i < SLOTS; i++) {
        for (unsigned k = 0; k < shape->s.segments; k++)
            w->d.requests[i].len[k] = shape->len;
        driver_describe(&w->d, i);
    }
    machine_driver_ok(&w->m);
    w->q = vdev_queue(w->m.dev, shape->index);
    turns(w, SLOTS);
    BENCH_MUST(driver_all_back(&w->d));
    return w;
}

static void down(void *work)
{
    struct queue_work *w = work;
    machine_down(&w->m);
    driver_down(&w->d);
    free(w);
}

/* The same driver, whose stores nobody sees: a copy, on rings of its own. */
static struct queue_work alone_of(const struct queue_work *w)
{
    static uint8_t desc[QUEUE_SIZE * 16] __attribute__((aligned(4096)));
    static uint8_t avail[6 + QUEUE_SIZE * 2] __attribute__((aligned(4096)));
    struct queue_work alone = *w;
    BENCH_MUST(w->d.size <= QUEUE_SIZE);
    alone.d.desc = desc;
    alone.d.avail = avail;
    return alone;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double cold_sample(struct queue_work *w)
{
    uint64_t ns[COLD_TURNS];
    for (unsigned i = 0; i < COLD_TURNS; i++) {
        driver_turn(w);
        driver_cool(&w->d);
        uint64_t t0 = bench_wall_ns();
        device_turn(w);
        ns[i] = bench_wall_ns() - t0;
    }
    BENCH_MUST(driver_all_back(&w->d));
    qsort(ns, COLD_TURNS, sizeof(ns[0]), by_size);
    return w->shape->batch * 1e9 / (double)ns[COLD_TURNS / 2];
}

static double sample(void *work, bool once)
{
    struct queue_work *w = work;
    if (w->shape->cold)
        return cold_sample(w);
    unsigned n = once ? COUNTED : REQUESTS;
    uint64_t both, driver;
    do { /* again, where something else took more than a short sample lasts */
        uint64_t t0 = bench_cpu_ns();
        turns(w, n);
        both = bench_cpu_ns() - t0;
        BENCH_MUST(driver_all_back(&w->d));

        struct queue_work alone = alone_of(w);
        t0 = bench_cpu_ns();
        for (unsigned i = 0; i < n; i += w->shape->batch)
            driver_turn(&alone);
        driver = bench_cpu_ns() - t0;
    } while (both <= driver);
    return n * 1e9 / (double)(both - driver);
}

static void count_both(void *work)
{
    turns(work, STEPPED);
}

static void count_driver(void *work)
{
    struct queue_work *w = work;
    for (unsigned i = 0; i < STEPPED; i += w->shape->batch)
        driver_turn(w);
}

static void exact(const struct bench_row *r, void *work, bool once)
{
    struct queue_work *w = work;
    if (w->shape->cold)
        return; /* the same */
    uint64_t a = bench_allocations(), i = w->m.interrupts;
    turns(w, COUNTED);
    bench_print_exact(r, "allocations/request", (double)(bench_allocations() - a) / COUNTED);
    bench_print_exact(r, "interrupts/request", (double)(w->m.interrupts - i) / COUNTED);
    if (once)
        return; /* stepping takes its time, most of all under a sanitizer */
    struct bench_counts both = bench_count(count_both, w);
    struct queue_work alone = alone_of(w);
    struct bench_counts driver = bench_count(count_driver, &alone);
    bench_print_exact(r, "instructions/request",
                      (double)(both.instructions - driver.instructions) / STEPPED);
    bench_print_exact(r, "system calls/request", (double)both.system_calls / STEPPED);
}

/* --- rows --- */

#define DIRECT(n)   .segments = (n), .writable = 1
#define INDIRECT(n) DIRECT(n), .indirect = true

static const struct {
    const char *name;
    struct shape s;
    bool cold_too;
} shapes[] = {
    {"direct", {DIRECT(1), .event_idx = true}, true},
    {"direct, 3 segments", {DIRECT(3), .event_idx = true}, true},
    {"indirect, 3 segments", {INDIRECT(3), .event_idx = true}, true},
    {"direct, no event index", {DIRECT(1)}, false},
    {"direct, in order", {DIRECT(1), .event_idx = true, .in_order = true}, false},
};
static const struct {
    unsigned batch;
    bool cold;
} turns_of[] = {{1, false}, {32, false}, {32, true}};
static void name_row(char name[BENCH_NAME], const struct queue_shape *q, bool packed,
                     const char *what)
{
    (void)snprintf(name, BENCH_NAME, "%s, %s, batch %u%s", packed ? "packed" : "split", what,
                   q->batch, q->cold ? ", cold" : "");
}

static void add_row(const struct queue_shape *q, const char *group, const char *what)
{
    struct queue_shape *shape = malloc(sizeof(*shape)); /* as long as the program */
    BENCH_MUST(shape != NULL);
    *shape = *q;
    shape->s.slots = SLOTS;
    name_row(shape->split, q, false, what);
    struct bench_row r = {.group = group,
                          .unit = "requests/s",
                          .base = q->s.packed ? shape->split : NULL,
                          .shape = shape,
                          .up = up,
                          .sample = sample,
                          .exact = exact,
                          .down = down};
    name_row(r.name, q, q->s.packed, what);
    bench_add(&r);
}

/* Two rows of one kind: split, and packed beside it. */
static void add_rows(struct queue_shape q, const char *group, const char *what)
{
    add_row(&q, group, what);
    q.s.packed = true;
    add_row(&q, group, what);
}

void bench_queue(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(shapes); i++) {
        for (size_t t = 0; t < ARRAY_SIZE(turns_of); t++) {
            if (!turns_of[t].cold || shapes[i].cold_too)
                add_rows((struct queue_shape){.s = shapes[i].s,
                                              .len = 4096,
                                              .batch = turns_of[t].batch,
                                              .cold = turns_of[t].cold},
                         "queue", shapes[i].name);
        }
    }
}

void bench_net(void)
{
    for (size_t t = 0; t < ARRAY_SIZE(turns_of); t++)
        add_rows((struct queue_shape){.s = {.segments = 1, .event_idx = true},
                                      .device = "net,none",
                                      .index = 1,
                                      .len = FRAME,
                                      .batch = turns_of[t].batch,
                                      .cold = turns_of[t].cold},
                 "net", "transmit 1500 bytes");
}
