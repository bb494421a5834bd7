/* tests/race/race_virtio.c - two devices, one loop thread, and vCPUs that do everything at once and
 * little of it properly; under ThreadSanitizer, where Criterion cannot start. Exits with 0 when
 * everything still works after a last reset.
 *
 * What the guest does to its memory is not instrumented, as a real guest's accesses are not: races
 * for those bytes are by design, and nothing else needs to be excused for them. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/bus.h"
#include "base/gmem.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"
#include "transport/transport.h"

#define GUEST __attribute__((no_sanitize("thread"), noinline))

enum {
    VCPUS = 4,
    ACTIONS = 6000, /* of each vCPU */
    CONTROLS = 600, /* of the control thread */
    DEVICES = 2,
    RNG = 0,
    BLK = 1,
    RAM = 4 << 20,
    QSIZE = 64,
    BUFFERS = 0x40000,
    BUFFER = 8192,
    DISK = 1 << 20,
    QUEUE_RESET = 0x0c0,
};
static const uint64_t window = 0xd0000000;

struct machine {
    struct gmem *mem;
    struct bus *bus;
    struct loop *loop;
    struct vdev *dev[DEVICES];
    struct transport *transport[DEVICES];
    pthread_rwlock_t parked; /* written: no vCPU is in the middle of anything */
};
static struct machine m;
static atomic_uint broken; /* what a device must never do */

static void check(bool ok, const char *what)
{
    if (ok)
        return;
    broken++;
    printf("race_virtio: %s\n", what);
}

/* --- the guest's memory --- */

GUEST static void put16(uint64_t at, uint16_t v)
{
    _Atomic uint16_t *p = gmem_at(m.mem, GPA(at), 2);
    atomic_store_explicit(p, v, memory_order_release);
}

GUEST static uint16_t get16(uint64_t at)
{
    const _Atomic uint16_t *p = gmem_at(m.mem, GPA(at), 2);
    return atomic_load_explicit(p, memory_order_acquire);
}

GUEST static void put64(uint64_t at, uint64_t v)
{
    _Atomic uint64_t *p = gmem_at(m.mem, GPA(at), 8);
    atomic_store_explicit(p, v, memory_order_relaxed);
}

GUEST static uint64_t get64(uint64_t at)
{
    const _Atomic uint64_t *p = gmem_at(m.mem, GPA(at), 8);
    return atomic_load_explicit(p, memory_order_relaxed);
}

GUEST static void clear(uint64_t at, size_t len)
{
    for (size_t i = 0; i < len; i += 8)
        put64(at + i, 0);
}

/* Both devices' rings are close together, so that a wild write of one hits the other. */
static uint64_t desc_of(unsigned d)
{
    return 0x10000 + d * 0x4000u;
}
static uint64_t avail_of(unsigned d)
{
    return desc_of(d) + 0x1000;
}
static uint64_t used_of(unsigned d)
{
    return desc_of(d) + 0x2000;
}

static void put_desc(uint64_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
                     unsigned next)
{
    put64(table + i * 16, addr);
    put64(table + i * 16 + 8, len | (uint64_t)flags << 32 | (uint64_t)next << 48);
}

/* A lock of the guest's own: seen by the sanitizer it would order the vCPUs. */
static atomic_flag guest_lock[DEVICES];

GUEST static void lock(unsigned d)
{
    while (atomic_flag_test_and_set_explicit(&guest_lock[d], memory_order_acquire))
        ;
}

GUEST static void unlock(unsigned d)
{
    atomic_flag_clear_explicit(&guest_lock[d], memory_order_release);
}

static void offer(unsigned d, uint16_t head)
{
    lock(d);
    uint16_t idx = get16(avail_of(d) + 2);
    put16(avail_of(d) + 4 + 2u * (idx % QSIZE), head);
    put16(avail_of(d) + 2, (uint16_t)(idx + 1));
    unlock(d);
}

/* --- the guest's registers --- */

static uint32_t reg(unsigned d, uint32_t off)
{
    uint64_t v = 0;
    check(bus_access(m.bus, GPA(window + d * 0x1000 + off), 4, false, &v), "a register is gone");
    return (uint32_t)v;
}

static void reg_set(unsigned d, uint32_t off, uint64_t v)
{
    check(bus_access(m.bus, GPA(window + d * 0x1000 + off), 4, true, &v), "a register is gone");
}

static void kick(unsigned d)
{
    reg_set(d, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static void queue_up(unsigned d)
{
    clear(desc_of(d), 0x3000);
    reg_set(d, VIRTIO_MMIO_QUEUE_SEL, 0);
    reg_set(d, VIRTIO_MMIO_QUEUE_NUM, QSIZE);
    reg_set(d, VIRTIO_MMIO_QUEUE_DESC_LOW, desc_of(d));
    reg_set(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
    reg_set(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, avail_of(d));
    reg_set(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
    reg_set(d, VIRTIO_MMIO_QUEUE_USED_LOW, used_of(d));
    reg_set(d, VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
    reg_set(d, VIRTIO_MMIO_QUEUE_READY, 1);
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
    queue_up(d);
    reg_set(d, VIRTIO_MMIO_STATUS, s | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* --- what a vCPU does --- */

struct vcpu {
    pthread_t thread;
    unsigned number;
    uint64_t seed;
};

static uint32_t rnd(struct vcpu *v, uint32_t below)
{
    v->seed ^= v->seed << 13;
    v->seed ^= v->seed >> 7;
    v->seed ^= v->seed << 17;
    return (uint32_t)(v->seed >> 32) % below;
}

static uint64_t buffer_of(struct vcpu *v)
{
    return BUFFERS + (v->number * 8 + rnd(v, 8)) * BUFFER;
}

/* A request as it should be, in descriptors of the vCPU's own: one in four is indirect. */
static void submit(struct vcpu *v, unsigned d)
{
    unsigned slot = v->number * 12 + rnd(v, 4) * 3;
    uint64_t buf = buffer_of(v);
    bool indirect = rnd(v, 4) == 0;
    uint64_t table = indirect ? buf + BUFFER - 48 : desc_of(d);
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
        put_desc(desc_of(d), slot, table, d == RNG ? 16 : 48, VRING_DESC_F_INDIRECT, 0);
    offer(d, (uint16_t)slot);
    kick(d);
}

/* Bytes that belong to somebody else by now, or that nobody may change. */
static void scribble(struct vcpu *v, unsigned d)
{
    switch (rnd(v, 12)) {
    case 0:
        put16(avail_of(d) + 2, (uint16_t)rnd(v, 65536));
        break;
    case 1:
        put16(avail_of(d) + 4 + 2 * rnd(v, QSIZE), (uint16_t)rnd(v, 2 * QSIZE));
        break;
    case 2:
        put_desc(desc_of(d), rnd(v, QSIZE), (uint64_t)rnd(v, 0x10000) << 12, rnd(v, 5000),
                 rnd(v, 8), rnd(v, QSIZE + 1));
        break;
    case 3:
        put64(used_of(d) + 8 * rnd(v, QSIZE), v->seed);
        break;
    case 4:
        put16(avail_of(d), (uint16_t)rnd(v, 2));
        break;
    case 5:
        put16(avail_of(d) + 4 + 2 * QSIZE, (uint16_t)rnd(v, 65536));
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

static void reset_queue(unsigned d)
{
    reg_set(d, VIRTIO_MMIO_QUEUE_SEL, 0);
    reg_set(d, QUEUE_RESET, 1);
    queue_up(d);
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
    unsigned d = rnd(v, DEVICES), what = rnd(v, 1000);
    if (what < 800)
        submit(v, d);
    else if (what < 830)
        scribble(v, d);
    else if (what < 880)
        config(v, d);
    else if (what < 920)
        reset_queue(d);
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

static void save_and_load(unsigned d)
{
    struct state_out s = {0};
    (void)pthread_rwlock_wrlock(&m.parked);
    vdev_pause(m.dev[d]);
    transport_save(m.transport[d], &s);
    transport_reset(m.transport[d]);
    struct state_in in = {.buf = s.buf, .len = s.len};
    /* A driver's rings that were bad when it enabled them were never enabled: what was saved is
     * good. */
    check(transport_load(m.transport[d], &in) == 0, "a state that was saved is refused");
    vdev_resume(m.dev[d]);
    (void)pthread_rwlock_unlock(&m.parked);
    state_out_free(&s);
}

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
            transport_reset(m.transport[d]);
            (void)pthread_rwlock_unlock(&m.parked);
            negotiate(d);
            break;
        case 1:
            save_and_load(d);
            break;
        case 2:
        case 3:
            vdev_config_changed(m.dev[d]);
            break;
        default: /* while they run */
            vdev_pause(m.dev[d]);
            (void)nanosleep(&nap, NULL);
            vdev_resume(m.dev[d]);
            break;
        }
    }
    return NULL;
}

/* --- the machine --- */

static int no_doorbell(void *ctx, const struct doorbell *b, bool on)
{
    (void)ctx, (void)b, (void)on;
    return -ENOSYS; /* every notification traps */
}

static const struct vdev_class *class_of(const char *name)
{
    const struct vdev_class *const *c = vdev_classes;
    while (strcmp((*c)->name, name) != 0)
        c++;
    return *c;
}

static bool device_up(unsigned d, const char *name, const char *opts)
{
    const struct vdev_class *c = class_of(name);
    AUTO_FREE void *parsed = calloc(1, c->opts_size + 1);
    struct err e;
    const struct build_env env = {.mem = m.mem, .loop = m.loop};
    const struct transport_env tenv = {.mmio = m.bus, .doorbell = no_doorbell};
    if ((opts && opts_parse(c->opts, "--device", opts, parsed, &e) < 0) ||
        c->create(parsed, &env, &m.dev[d], &e) < 0) {
        printf("race_virtio: %s\n", e.msg);
        return false;
    }
    const struct transport_place at = {.base = GPA(window + d * 0x1000),
                                       .irq_fd = eventfd(0, EFD_CLOEXEC)};
    return transport_new(TRANSPORT_MMIO, m.dev[d], &tenv, &at, &m.transport[d]) == 0;
}

static bool machine_up(enum loop_backend backend, const char *disk)
{
    const struct gmem_region ram = {.base = GPA(0), .len = RAM};
    const struct gmem_options plain = {0};
    struct err e;
    (void)pthread_rwlock_init(&m.parked, NULL);
    return gmem_new(&ram, 1, &plain, &m.mem, &e) == 0 && bus_new("race", &m.bus) == 0 &&
           loop_new("loop", backend, &m.loop) == 0 && device_up(RNG, "rng", NULL) &&
           device_up(BLK, "blk", disk) && loop_start(m.loop) == 0;
}

static void machine_down(void)
{
    for (unsigned d = 0; d < DEVICES; d++)
        transport_reset(m.transport[d]);
    loop_stop(m.loop);
    for (unsigned d = 0; d < DEVICES; d++)
        transport_free(m.transport[d]);
    loop_free(m.loop);
    bus_free(m.bus);
    gmem_free(m.mem);
    (void)pthread_rwlock_destroy(&m.parked);
}

/* --- the last reset --- */

static bool comes_back(unsigned d, uint32_t want_len)
{
    for (unsigned ms = 0; ms < 10000; ms++) {
        if (get16(used_of(d) + 2) == 1)
            return (uint32_t)(get64(used_of(d) + 4) >> 32) == want_len;
        const struct timespec nap = {.tv_nsec = 1000000};
        (void)nanosleep(&nap, NULL);
    }
    return false;
}

static bool disk_request(uint32_t type, uint64_t buf)
{
    bool in = type == VIRTIO_BLK_T_IN;
    negotiate(BLK);
    put64(BUFFERS, type);
    put64(BUFFERS + 8, 100);
    put64(BUFFERS + 32, 0xff);
    put_desc(desc_of(BLK), 0, BUFFERS, 16, VRING_DESC_F_NEXT, 1);
    put_desc(desc_of(BLK), 1, buf, 512, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), 2);
    put_desc(desc_of(BLK), 2, BUFFERS + 32, 1, VRING_DESC_F_WRITE, 0);
    offer(BLK, 0);
    kick(BLK);
    return comes_back(BLK, in ? 513 : 1) && (uint8_t)get64(BUFFERS + 32) == VIRTIO_BLK_S_OK;
}

static void everything_works(void)
{
    for (unsigned d = 0; d < DEVICES; d++)
        transport_reset(m.transport[d]);
    negotiate(RNG);
    put_desc(desc_of(RNG), 0, BUFFERS, 100, VRING_DESC_F_WRITE, 0);
    offer(RNG, 0);
    kick(RNG);
    check(comes_back(RNG, 100), "rng does not answer after the last reset");
    for (unsigned i = 0; i < 512; i += 8)
        put64(BUFFERS + 0x1000 + i, 0x0101010101010101u * i + 7);
    check(disk_request(VIRTIO_BLK_T_OUT, BUFFERS + 0x1000), "blk does not write after it");
    clear(BUFFERS + 0x2000, 512);
    check(disk_request(VIRTIO_BLK_T_IN, BUFFERS + 0x2000), "blk does not read after it");
    bool same = true;
    for (unsigned i = 0; i < 512; i += 8)
        same = same && get64(BUFFERS + 0x2000 + i) == get64(BUFFERS + 0x1000 + i);
    check(same, "blk does not give back what was written");
}

static bool race(enum loop_backend backend, const char *disk)
{
    struct vcpu vcpus[VCPUS];
    pthread_t control;
    if (!machine_up(backend, disk))
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
    machine_down();
    return true;
}

int main(void)
{
    char path[] = "/tmp/race_virtio_XXXXXX", opts[64];
    AUTO_FD fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 || ftruncate(fd, DISK) < 0)
        return 1;
    (void)snprintf(opts, sizeof(opts), "path=%s", path);
    (void)alarm(120); /* what hangs is wrong, too */
    log_set_level(LOG_OFF);

    bool ran = race(LOOP_AUTO, opts) && race(LOOP_EPOLL, opts);
    (void)unlink(path);
    bool ok = ran && broken == 0;
    printf("race_virtio: %u vCPUs, %u actions each, io_uring or epoll and epoll: %s\n", VCPUS,
           ACTIONS, ok ? "everything still works" : "FAILED");
    return ok ? 0 : 1;
}
