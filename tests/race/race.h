/* tests/race/race.h - what the races share: a guest's memory and registers, and vCPUs that decide
 * by dice. What the guest does to its memory is not instrumented, as a real guest's accesses are
 * not: races for those bytes are by design, and nothing else needs to be excused for them. */
#pragma once

#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/bus.h"
#include "base/gmem.h"
#include "devices/virtio/vdev.h"
#include "transport/transport.h"

#define GUEST __attribute__((no_sanitize("thread"), noinline, unused))

enum { QSIZE = 64, RINGS_MAX = 256, QUEUE_RESET = 0x0c0 };
static const uint64_t window = 0xd0000000; /* 4 KiB for each device */

struct machine {
    struct gmem *mem;
    struct bus *bus;
    struct loop *loop, *second; /* NULL: there is one */
    pthread_rwlock_t parked;    /* written: no vCPU is in the middle of anything */
};
static struct machine m;
static atomic_uint broken; /* what a device must never do */

static inline void check(bool ok, const char *what)
{
    if (ok)
        return;
    broken++;
    printf("FAILED: %s\n", what);
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

static inline void put_desc(uint64_t table, unsigned i, uint64_t addr, uint32_t len, unsigned flags,
                            unsigned next)
{
    put64(table + i * 16, addr);
    put64(table + i * 16 + 8, len | (uint64_t)flags << 32 | (uint64_t)next << 48);
}

/* --- rings: close together, so that a wild write of one hits the other --- */

static inline uint64_t desc_of(unsigned ring)
{
    return 0x10000 + ring * 0x4000u;
}

static inline uint64_t avail_of(unsigned ring)
{
    return desc_of(ring) + 0x1000;
}

static inline uint64_t used_of(unsigned ring)
{
    return desc_of(ring) + 0x2000;
}

/* A lock of the guest's own: seen by the sanitizer it would order the vCPUs. */
static atomic_flag guest_lock[RINGS_MAX];

GUEST static void lock(unsigned ring)
{
    while (atomic_flag_test_and_set_explicit(&guest_lock[ring], memory_order_acquire))
        ;
}

GUEST static void unlock(unsigned ring)
{
    atomic_flag_clear_explicit(&guest_lock[ring], memory_order_release);
}

static inline void offer(unsigned ring, uint16_t head)
{
    lock(ring);
    uint16_t idx = get16(avail_of(ring) + 2);
    put16(avail_of(ring) + 4 + 2u * (idx % QSIZE), head);
    put16(avail_of(ring) + 2, (uint16_t)(idx + 1));
    unlock(ring);
}

/* --- the guest's registers --- */

static inline uint32_t reg(unsigned d, uint32_t off)
{
    uint64_t v = 0;
    check(bus_access(m.bus, GPA(window + d * 0x1000 + off), 4, false, &v), "a register is gone");
    return (uint32_t)v;
}

static inline void reg_set(unsigned d, uint32_t off, uint64_t v)
{
    check(bus_access(m.bus, GPA(window + d * 0x1000 + off), 4, true, &v), "a register is gone");
}

static inline void kick(unsigned d, unsigned queue)
{
    reg_set(d, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

static inline void queue_up(unsigned d, unsigned queue, unsigned ring)
{
    clear(desc_of(ring), 0x3000);
    reg_set(d, VIRTIO_MMIO_QUEUE_SEL, queue);
    reg_set(d, VIRTIO_MMIO_QUEUE_NUM, QSIZE);
    reg_set(d, VIRTIO_MMIO_QUEUE_DESC_LOW, desc_of(ring));
    reg_set(d, VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
    reg_set(d, VIRTIO_MMIO_QUEUE_AVAIL_LOW, avail_of(ring));
    reg_set(d, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
    reg_set(d, VIRTIO_MMIO_QUEUE_USED_LOW, used_of(ring));
    reg_set(d, VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
    reg_set(d, VIRTIO_MMIO_QUEUE_READY, 1);
}

/* --- dice --- */

struct vcpu {
    pthread_t thread;
    unsigned number;
    uint64_t seed;
};

static inline uint32_t rnd(struct vcpu *v, uint32_t below)
{
    v->seed ^= v->seed << 13;
    v->seed ^= v->seed >> 7;
    v->seed ^= v->seed << 17;
    return (uint32_t)(v->seed >> 32) % below;
}

/* --- the machine --- */

static inline int no_doorbell(void *ctx, const struct doorbell *b, bool on)
{
    (void)ctx, (void)b, (void)on;
    return -ENOSYS; /* every notification traps */
}

static inline const struct vdev_class *class_of(const char *name)
{
    const struct vdev_class *const *c = vdev_classes;
    while (strcmp((*c)->name, name) != 0)
        c++;
    return *c;
}

static inline void save_and_load(struct vdev *dev, struct transport *transport)
{
    struct state_out s = {0};
    (void)pthread_rwlock_wrlock(&m.parked);
    vdev_pause(dev);
    transport_save(transport, &s);
    transport_reset(transport);
    struct state_in in = {.buf = s.buf, .len = s.len};
    /* A driver's rings that were bad when it enabled them were never enabled: what was saved is
     * good. */
    check(transport_load(transport, &in) == 0, "a state that was saved is refused");
    vdev_resume(dev);
    (void)pthread_rwlock_unlock(&m.parked);
    state_out_free(&s);
}

/* Loops that a guest leads to the same bytes race for them, and only the guest has a part in that.
 * Of the sanitizer's runtime; without it there is none to tell. */
void AnnotateBenignRaceSized(const char *file, int line, const volatile void *mem, uintptr_t size,
                             const char *why) __attribute__((weak));

static inline void guest_ram_is_the_guests(uint64_t len)
{
    if (AnnotateBenignRaceSized)
        AnnotateBenignRaceSized(__FILE__, __LINE__, gmem_at(m.mem, GPA(0), len), len, "guest RAM");
}

/* --- the end --- */

static inline void devices_down(struct transport *const *transport, unsigned n)
{
    for (unsigned d = 0; d < n; d++)
        transport_reset(transport[d]);
    loop_stop(m.loop);
    if (m.second)
        loop_stop(m.second);
    for (unsigned d = 0; d < n; d++)
        transport_free(transport[d]);
}

static inline void memory_down(void)
{
    loop_free(m.loop);
    loop_free(m.second);
    bus_free(m.bus);
    gmem_free(m.mem);
    (void)pthread_rwlock_destroy(&m.parked);
}

static inline void machine_down(struct transport *const *transport, unsigned n)
{
    devices_down(transport, n);
    memory_down();
}

/* The first buffer of the ring whose used area this is. */
static inline bool comes_back(uint64_t used, uint32_t want_len)
{
    for (unsigned ms = 0; ms < 10000; ms++) {
        if (get16(used + 2) == 1)
            return (uint32_t)(get64(used + 4) >> 32) == want_len;
        const struct timespec nap = {.tv_nsec = 1000000};
        (void)nanosleep(&nap, NULL);
    }
    return false;
}
