/* tests/race/race_virtio.c - two devices on two loops, over which one of them is spread, and vCPUs
 * that do everything at once and little of it properly; under ThreadSanitizer, where Criterion
 * cannot start. Exits with 0 when everything still works after a last reset. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/log.h"
#include "base/loop.h"
#include "tests/race/race.h"

enum {
    VCPUS = 4,
    ACTIONS = 6000, /* of each vCPU */
    CONTROLS = 600, /* of the control thread */
    DEVICES = 2,
    RNG = 0,
    BLK = 1,
    RINGS = 3, /* the disk has two */
    RAM = 4 << 20,
    BUFFERS = 0x40000,
    BUFFER = 8192,
    DISK = 1 << 20,
};
static struct vdev *dev[DEVICES];
static struct transport *transport[DEVICES];

/* --- the guest's driver --- */

static unsigned device_of(unsigned ring)
{
    return ring == 0 ? RNG : BLK;
}

static unsigned queue_of(unsigned ring)
{
    return ring == 2;
}

static void negotiate(unsigned d)
{
    uint32_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    reg_set(d, VIRTIO_MMIO_STATUS, 0);
    reg_set(d, VIRTIO_MMIO_STATUS, s);
    reg_set(d, VIRTIO_MMIO_STATUS, s |= VIRTIO_CONFIG_S_DRIVER);
    for (uint32_t word = 0; word < 2; word++) {
        reg_set(d, VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
        reg_set(d, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
        reg_set(d, VIRTIO_MMIO_DRIVER_FEATURES, reg(d, VIRTIO_MMIO_DEVICE_FEATURES));
    }
    reg_set(d, VIRTIO_MMIO_STATUS, s |= VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned ring = 0; ring < RINGS; ring++) {
        if (device_of(ring) == d)
            queue_up(d, queue_of(ring), ring);
    }
    reg_set(d, VIRTIO_MMIO_STATUS, s | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* --- what a vCPU does --- */

static uint64_t buffer_of(struct vcpu *v)
{
    return BUFFERS + (v->number * 8 + rnd(v, 8)) * BUFFER;
}

/* A request as it should be, in descriptors of the vCPU's own: one in four is indirect. */
static void submit(struct vcpu *v, unsigned ring)
{
    unsigned d = device_of(ring);
    unsigned slot = v->number * 12 + rnd(v, 4) * 3;
    uint64_t buf = buffer_of(v);
    bool indirect = rnd(v, 4) == 0;
    uint64_t table = indirect ? buf + BUFFER - 48 : desc_of(ring);
    unsigned first = indirect ? 0 : slot;
    if (d == RNG) {
        put_desc(table, first, buf + rnd(v, 8), 1 + rnd(v, 2000), VRING_DESC_F_WRITE, 0);
    } else {
        static const uint32_t types[] = {VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
                                         VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
                                         VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
        uint32_t type = types[rnd(v, ARRAY_SIZE(types))];
        uint32_t n = type >= VIRTIO_BLK_T_DISCARD ? 16 : 512 * (1 + rnd(v, 4));
        bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
        put64(buf, type);
        put64(buf + 8, rnd(v, DISK / 512));
        put64(buf + 64, rnd(v, DISK / 512));
        put64(buf + 72, 1 + rnd(v, 8));
        put_desc(table, first, buf, 16, VRING_DESC_F_NEXT, first + 1);
        put_desc(table, first + 1, buf + 64, n, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0),
                 first + 2);
        put_desc(table, first + 2, buf + 32, 1, VRING_DESC_F_WRITE, 0);
    }
    if (indirect)
        put_desc(desc_of(ring), slot, table, d == RNG ? 16 : 48, VRING_DESC_F_INDIRECT, 0);
    offer(ring, (uint16_t)slot);
    kick(d, queue_of(ring));
}

/* Bytes that belong to somebody else by now, or that nobody may change. */
static void scribble(struct vcpu *v, unsigned ring)
{
    switch (rnd(v, 12)) {
    case 0:
        put16(avail_of(ring) + 2, (uint16_t)rnd(v, 65536));
        break;
    case 1:
        put16(avail_of(ring) + 4 + 2 * rnd(v, QSIZE), (uint16_t)rnd(v, 2 * QSIZE));
        break;
    case 2:
        put_desc(desc_of(ring), rnd(v, QSIZE), (uint64_t)rnd(v, 0x10000) << 12, rnd(v, 5000),
                 rnd(v, 8), rnd(v, QSIZE + 1));
        break;
    case 3:
        put64(used_of(ring) + 8 * rnd(v, QSIZE), v->seed);
        break;
    case 4:
        put16(avail_of(ring), (uint16_t)rnd(v, 2));
        break;
    case 5:
        put16(avail_of(ring) + 4 + 2 * QSIZE, (uint16_t)rnd(v, 65536));
        break;
    default: /* a buffer, or the table in it */
        put64(BUFFERS + 8 * rnd(v, VCPUS * 8 * BUFFER / 8), v->seed);
        break;
    }
}

static void poke_registers(struct vcpu *v, unsigned d)
{
    uint64_t val = v->seed;
    unsigned size = 1u << rnd(v, 4);
    bool write = rnd(v, 2);
    uint32_t off = rnd(v, 0x200 / size) * size;
    if (write && (off & ~3u) == VIRTIO_MMIO_STATUS)
        val &= 0xff;
    check(bus_access(m.bus, GPA(window + d * 0x1000 + off), size, write, &val),
          "the window is gone");
}

static void reset_queue(unsigned ring)
{
    unsigned d = device_of(ring);
    reg_set(d, VIRTIO_MMIO_QUEUE_SEL, queue_of(ring));
    reg_set(d, QUEUE_RESET, 1);
    queue_up(d, queue_of(ring), ring);
}

static void config(struct vcpu *v, unsigned d)
{
    uint64_t wce = rnd(v, 2), at = window + d * 0x1000 + VIRTIO_MMIO_CONFIG;
    (void)bus_access(m.bus, GPA(at + offsetof(struct virtio_blk_config, wce)), 1, true, &wce);
    (void)bus_access(m.bus, GPA(at), 8, false, &wce);
    check(d == RNG || wce == DISK / 512, "the disk's size is wrong");
}

static void act(struct vcpu *v)
{
    unsigned ring = rnd(v, RINGS), d = device_of(ring), what = rnd(v, 1000);
    if (what < 800)
        submit(v, ring);
    else if (what < 830)
        scribble(v, ring);
    else if (what < 880)
        config(v, d);
    else if (what < 920)
        reset_queue(ring);
    else if (what < 930)
        poke_registers(v, d);
    else if (what < 940)
        reg_set(d, VIRTIO_MMIO_STATUS, 0);
    else if (what < 960)
        negotiate(d);
    else
        reg_set(d, VIRTIO_MMIO_INTERRUPT_ACK, reg(d, VIRTIO_MMIO_INTERRUPT_STATUS));
    if (reg(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET && rnd(v, 4) == 0)
        negotiate(d);
}

static void *vcpu_main(void *arg)
{
    struct vcpu *v = arg;
    for (unsigned i = 0; i < ACTIONS; i++) {
        (void)pthread_rwlock_rdlock(&m.parked);
        act(v);
        (void)pthread_rwlock_unlock(&m.parked);
    }
    return NULL;
}

/* --- what the machine does meanwhile --- */

static void *control_main(void *arg)
{
    struct vcpu v = {.seed = 88172645463325252};
    (void)arg;
    for (unsigned i = 0; i < CONTROLS; i++) {
        unsigned d = rnd(&v, DEVICES);
        struct timespec nap = {.tv_nsec = 1000 * (long)rnd(&v, 2000)};
        (void)nanosleep(&nap, NULL);
        switch (rnd(&v, 8)) {
        case 0: /* with the vCPUs parked, as the machine does it */
            (void)pthread_rwlock_wrlock(&m.parked);
            transport_reset(transport[d]);
            (void)pthread_rwlock_unlock(&m.parked);
            negotiate(d);
            break;
        case 1:
            save_and_load(dev[d], transport[d]);
            break;
        case 2:
        case 3:
            vdev_config_changed(dev[d]);
            break;
        default: /* while they run */
            vdev_pause(dev[d]);
            (void)nanosleep(&nap, NULL);
            vdev_resume(dev[d]);
            break;
        }
    }
    return NULL;
}

/* --- the machine --- */

static bool device_up(unsigned d, const char *name, const char *opts)
{
    const struct vdev_class *c = class_of(name);
    AUTO_FREE void *parsed = calloc(1, c->opts_size + 1);
    struct err e;
    struct loop *loops[] = {d == RNG ? m.second : m.loop, d == RNG ? m.loop : m.second};
    const struct build_env env = {
        .mem = m.mem, .loop = loops[0], .loops = loops, .n_loops = ARRAY_SIZE(loops)};
    const struct transport_env tenv = {.mmio = m.bus, .doorbell = no_doorbell};
    if ((opts && opts_parse(c->opts, "--device", opts, parsed, &e) < 0) ||
        c->create(parsed, &env, &dev[d], &e) < 0) {
        printf("race_virtio: %s\n", e.msg);
        return false;
    }
    const struct transport_place at = {.base = GPA(window + d * 0x1000),
                                       .irq_fd = eventfd(0, EFD_CLOEXEC)};
    return transport_new(TRANSPORT_MMIO, dev[d], &tenv, &at, &transport[d]) == 0;
}

/* Long enough to meet most of what comes, and short enough to sleep as well. */
enum { POLL_NS = 50000 };

static bool loops_up(enum loop_backend backend, unsigned poll_ns)
{
    if (loop_new("loop", backend, &m.loop) < 0 || loop_new("second", backend, &m.second) < 0)
        return false;
    loop_poll_set(m.loop, poll_ns);
    loop_poll_set(m.second, poll_ns);
    return true;
}

static bool machine_up(enum loop_backend backend, const char *disk, unsigned poll_ns)
{
    const struct gmem_region ram = {.base = GPA(0), .len = RAM};
    const struct gmem_options plain = {0};
    struct err e;
    (void)pthread_rwlock_init(&m.parked, NULL);
    if (gmem_new(&ram, 1, &plain, &m.mem, &e) < 0)
        return false;
    guest_ram_is_the_guests(RAM);
    return bus_new("race", &m.bus) == 0 && loops_up(backend, poll_ns) &&
           device_up(RNG, "rng", NULL) && device_up(BLK, "blk", disk) && loop_start(m.loop) == 0 &&
           loop_start(m.second) == 0;
}

/* --- the last reset --- */

static bool disk_request(unsigned ring, uint32_t type, uint64_t buf)
{
    bool in = type == VIRTIO_BLK_T_IN;
    negotiate(BLK);
    put64(BUFFERS, type);
    put64(BUFFERS + 8, 100);
    put64(BUFFERS + 32, 0xff);
    put_desc(desc_of(ring), 0, BUFFERS, 16, VRING_DESC_F_NEXT, 1);
    put_desc(desc_of(ring), 1, buf, 512, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), 2);
    put_desc(desc_of(ring), 2, BUFFERS + 32, 1, VRING_DESC_F_WRITE, 0);
    offer(ring, 0);
    kick(BLK, queue_of(ring));
    return comes_back(used_of(ring), in ? 513 : 1) &&
           (uint8_t)get64(BUFFERS + 32) == VIRTIO_BLK_S_OK;
}

static void everything_works(void)
{
    for (unsigned d = 0; d < DEVICES; d++)
        transport_reset(transport[d]);
    negotiate(RNG);
    put_desc(desc_of(RNG), 0, BUFFERS, 100, VRING_DESC_F_WRITE, 0);
    offer(RNG, 0);
    kick(RNG, 0);
    check(comes_back(used_of(RNG), 100), "rng does not answer after the last reset");
    for (unsigned i = 0; i < 512; i += 8)
        put64(BUFFERS + 0x1000 + i, 0x0101010101010101u * i + 7);
    check(disk_request(1, VIRTIO_BLK_T_OUT, BUFFERS + 0x1000), "blk does not write after it");
    clear(BUFFERS + 0x2000, 512);
    check(disk_request(2, VIRTIO_BLK_T_IN, BUFFERS + 0x2000), "blk does not read after it");
    bool same = true;
    for (unsigned i = 0; i < 512; i += 8)
        same = same && get64(BUFFERS + 0x2000 + i) == get64(BUFFERS + 0x1000 + i);
    check(same, "blk does not give back what was written");
}

static bool race(enum loop_backend backend, const char *disk, unsigned poll_ns)
{
    struct vcpu vcpus[VCPUS];
    pthread_t control;
    if (!machine_up(backend, disk, poll_ns))
        return false;
    for (unsigned d = 0; d < DEVICES; d++)
        negotiate(d);
    for (unsigned i = 0; i < VCPUS; i++) {
        vcpus[i] = (struct vcpu){.number = i, .seed = 0x9e3779b97f4a7c15 * (i + 1)};
        if (pthread_create(&vcpus[i].thread, NULL, vcpu_main, &vcpus[i]) != 0)
            return false;
    }
    if (pthread_create(&control, NULL, control_main, NULL) != 0)
        return false;
    for (unsigned i = 0; i < VCPUS; i++)
        (void)pthread_join(vcpus[i].thread, NULL);
    (void)pthread_join(control, NULL);
    everything_works();
    machine_down(transport, DEVICES);
    return true;
}

int main(void)
{
    char path[] = "/tmp/race_virtio_XXXXXX", opts[64];
    AUTO_FD fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 || ftruncate(fd, DISK) < 0)
        return 1;
    (void)snprintf(opts, sizeof(opts), "path=%s,queues=2", path);
    (void)alarm(120); /* what hangs is wrong, too */
    log_set_level(LOG_OFF);

    bool ran = race(LOOP_AUTO, opts, 0) && race(LOOP_AUTO, opts, POLL_NS) &&
               race(LOOP_EPOLL, opts, POLL_NS);
    (void)unlink(path);
    bool ok = ran && broken == 0;
    printf(
        "race_virtio: %u vCPUs, %u actions each, io_uring or epoll, with and without polling: %s\n",
        VCPUS, ACTIONS, ok ? "everything still works" : "FAILED");
    return ok ? 0 : 1;
}
