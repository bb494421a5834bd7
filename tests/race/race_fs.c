/* tests/race/race_fs.c - a file system device on a loop with a thread, its pools, a driver on one
 * thread that resets it in the middle of everything, and somebody who asks for its counters; under
 * ThreadSanitizer, where Criterion cannot start. Exits with 0 when everything still works at last.
 *
 * What the guest does to its memory is not instrumented: see race_virtio.c. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/gmem.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"
#include "devices/virtio/vdev_ctl.h"

#define GUEST __attribute__((no_sanitize("thread"), noinline))

enum {
    LIVES = 400,
    QUEUES = 3,
    SIZE = 64,
    REQUESTS = SIZE / 2,
    RAM = 4 << 20,
    RINGS = 0x10000, /* of each queue */
    BUFFER = 8192,
    BUFFERS = QUEUES * RINGS,
};

static struct gmem *mem;
static uint8_t *ram;
static struct vdev *dev;
static uint16_t avail[QUEUES];
static atomic_bool over;

static void raise_nothing(struct vdev_port *p, enum vdev_irq why, unsigned queue)
{
    (void)p, (void)why, (void)queue;
}
static struct vdev_port port = {.raise = raise_nothing};

/* --- the driver --- */

static void negotiate(void)
{
    static const uint8_t steps[] = {1, 3, 11, 15};
    for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
        if (steps[i] == 11) {
            vdev_features_write(dev, 0, 0);
            vdev_features_write(dev, 1, 1);
        }
        if (steps[i] == 15) {
            for (unsigned q = 0; q < QUEUES; q++) {
                struct vq_config *c = vdev_queue_program(dev, q);
                memset(ram + q * RINGS, 0, RINGS);
                avail[q] = 0;
                c->size = SIZE;
                c->desc = GPA(q * RINGS);
                c->driver = GPA(q * RINGS + 0x4000);
                c->device = GPA(q * RINGS + 0x8000);
                vdev_queue_enable(dev, q);
            }
        }
        vdev_status_write(dev, steps[i]);
    }
}

static uint8_t *buffer(unsigned q, unsigned i)
{
    return ram + BUFFERS + (q * REQUESTS + i) * BUFFER;
}

GUEST static void put(uint8_t *at, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        ((volatile uint8_t *)at)[i] = (uint8_t)(v >> (8 * i));
}

GUEST static uint64_t get(const uint8_t *at, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v |= (uint64_t)((const volatile uint8_t *)at)[i] << (8 * i);
    return v;
}

/* Request i of a queue: its argument is in place. */
static void offer(unsigned q, unsigned i, uint32_t op, uint64_t node, uint32_t arg_len)
{
    uint8_t *b = buffer(q, i), *desc = ram + q * RINGS + i * 32, *ring = ram + q * RINGS + 0x4000;
    uint64_t at = (uint64_t)(b - ram);
    put(b, sizeof(struct fuse_in_header) + arg_len, 4);
    put(b + 4, op, 4);
    put(b + 8, 1 + i, 8);
    put(b + 16, node, 8);
    put(desc, at, 8);
    put(desc + 8, sizeof(struct fuse_in_header) + arg_len, 4);
    put(desc + 12, VRING_DESC_F_NEXT, 2);
    put(desc + 14, 2 * i + 1, 2);
    put(desc + 16, at + BUFFER / 2, 8);
    put(desc + 24, BUFFER / 2, 4);
    put(desc + 28, VRING_DESC_F_WRITE, 2);
    put(ring + 4 + avail[q] % SIZE * 2, 2 * i, 2);
    atomic_thread_fence(memory_order_release);
    put(ring + 2, ++avail[q], 2);
}

static void wait_for(unsigned q)
{
    while (get(ram + q * RINGS + 0x8002, 2) != avail[q])
        (void)sched_yield();
    atomic_thread_fence(memory_order_acquire);
}

static int error_of(unsigned q, unsigned i)
{
    return (int)get(buffer(q, i) + BUFFER / 2 + 4, 4);
}

#define ARG(q, i) (buffer(q, i) + sizeof(struct fuse_in_header))

static void init(void)
{
    const struct fuse_init_in in = {.major = 7, .minor = 36, .flags = UINT32_MAX};
    const uint8_t *p = (const uint8_t *)&in;
    for (unsigned i = 0; i < sizeof(in); i++)
        put(ARG(1, 0) + i, p[i], 1);
    offer(1, 0, FUSE_INIT, 0, sizeof(in));
    vdev_kick(dev, 1);
    wait_for(1);
}

/* A bit of everything, with ids and handles that may or may not be. */
static void one(unsigned q, unsigned i, unsigned n)
{
    uint8_t *a = ARG(q, i);
    for (unsigned k = 0; k < 64; k++)
        put(a + k, 0, 1);
    if (q == 0) {
        put(a, n % 3 ? 1 : 1000, 8);
        offer(q, i, n % 5 ? FUSE_FORGET : FUSE_INTERRUPT, 2 + n % 9, 8);
        return;
    }
    switch (n % 9) {
    case 0:
        put(a, 'f', 1);
        offer(q, i, FUSE_LOOKUP, 1, 2);
        break;
    case 1:
        put(a, O_RDWR, 4);
        offer(q, i, FUSE_OPEN, 2 + n % 7, sizeof(struct fuse_open_in));
        break;
    case 2:
        put(a, 1 + n % 20, 8);
        put(a + 16, 1000, 4);
        offer(q, i, FUSE_READ, 2, sizeof(struct fuse_read_in));
        break;
    case 3:
    case 4:
        put(a, 1 + n % 20, 8);
        put(a + 8, n % 4, 8);
        put(a + 32, n % 2 ? F_WRLCK : F_UNLCK, 4);
        offer(q, i, n % 2 ? FUSE_SETLKW : FUSE_SETLK, 2, sizeof(struct fuse_lk_in));
        break;
    case 5:
        put(a, 1 + n % 20, 8);
        offer(q, i, FUSE_RELEASE, 2, sizeof(struct fuse_release_in));
        break;
    case 6:
        put(a, UINT64_MAX, 8);
        put(a + 16, 4096, 8);
        put(a + 24, 3, 8);
        put(a + 32, n % 16 * 4096, 8);
        offer(q, i, FUSE_SETUPMAPPING, 2 + n % 7, sizeof(struct fuse_setupmapping_in));
        break;
    case 7:
        offer(q, i, n % 11 ? FUSE_OPENDIR : FUSE_DESTROY, 1, n % 11 ? 8 : 0);
        break;
    default:
        offer(q, i, FUSE_GETATTR, 1, sizeof(struct fuse_getattr_in));
        break;
    }
}

/* Those that wait for a lock are still there when the next round begins, or the reset comes. */
static void live(unsigned life)
{
    vdev_status_write(dev, 0);
    negotiate();
    init();
    for (unsigned q = 0; q < QUEUES; q++) {
        for (unsigned i = 0; i < REQUESTS; i++)
            one(q, i, life * 7 + q * 131 + i);
        vdev_kick(dev, q);
    }
    if (life % 4 == 1)
        wait_for(0);
    if (life % 4 == 2) {
        vdev_pause(dev);
        vdev_resume(dev);
    }
}

static void text(struct report *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
}

static void number(struct report *r, const char *name, uint64_t value)
{
    (void)r, (void)name, (void)value;
}

static void *ask(void *unused)
{
    struct report r = {.number = number, .text = text};
    while (!atomic_load(&over)) {
        vdev_report(dev, &r);
        (void)sched_yield();
    }
    return unused;
}

int main(void)
{
    char dir[] = "/tmp/race_fs_XXXXXX", path[64], spec[96];
    const struct gmem_region region = {.len = RAM};
    const struct gmem_options how = {0};
    uint32_t mask[VDEV_FEATURE_WORDS] = {UINT32_MAX, UINT32_MAX, 0, 0};
    struct loop *loop;
    struct err e = {0};
    pthread_t asker;
    (void)alarm(200);
    log_set_level(LOG_OFF);
    if (!mkdtemp(dir) || loop_new("io0", LOOP_AUTO, &loop) < 0 ||
        gmem_new(&region, 1, &how, &mem, &e) < 0)
        return 1;
    ram = gmem_at(mem, GPA(0), RAM);
    (void)snprintf(path, sizeof(path), "%s/f", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 1 << 20) < 0)
        return 1;

    const struct vdev_class *c = NULL;
    for (unsigned i = 0; vdev_classes[i]; i++)
        c = strcmp(vdev_classes[i]->name, "fs") == 0 ? vdev_classes[i] : c;
    struct build_env env = {.mem = mem, .loop = loop};
    uint8_t opts[512] = {0};
    memcpy(opts, c->opts_default, c->opts_size);
    (void)snprintf(spec, sizeof(spec), "%s,tag=t,dax=2M,queues=2", dir);
    if (opts_parse(c->opts, "fs", spec, opts, &e) < 0 || c->create(opts, &env, &dev, &e) < 0) {
        printf("race_fs: %s\n", e.msg);
        return 1;
    }
    vdev_attach(dev, &port, mask);
    if (loop_start(loop) < 0 || pthread_create(&asker, NULL, ask, NULL) != 0)
        return 1;
    for (unsigned life = 0; life < LIVES; life++)
        live(life);
    vdev_status_write(dev, 0);
    negotiate();
    init();
    one(1, 1, 8);
    vdev_kick(dev, 1);
    wait_for(1);
    bool ok = error_of(1, 0) == 0 && error_of(1, 1) == 0;
    atomic_store(&over, true);
    (void)pthread_join(asker, NULL);
    vdev_free(dev);
    loop_free(loop);
    gmem_free(mem);
    opts_free_all();
    (void)close(fd);
    (void)unlink(path);
    (void)rmdir(dir);
    printf("race_fs: %u lives: %s\n", LIVES, ok ? "everything still works" : "FAILED");
    return ok ? 0 : 1;
}
