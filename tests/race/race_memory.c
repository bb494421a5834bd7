/* tests/race/race_memory.c - the devices whose host side changes while they run: options and
 * reports from a control thread, while vCPUs fill every queue, read the configuration and reset the
 * devices; under ThreadSanitizer, where Criterion cannot start. Exits with 0 when no configuration
 * was ever torn and everything still works after a last reset. */
#include <fcntl.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_pmem.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/log.h"
#include "base/loop.h"
#include "tests/race/race.h"

enum {
    VCPUS = 3,
    ACTIONS = 8000,  /* of each vCPU */
    CONTROLS = 6000, /* of the control thread */
    RAM = 4 << 20,
    BUFFERS = 0x40000,
    BUFFER = 4096, /* what the driver says, and half-way what it hears */
    HEARS = BUFFER / 2,
    PAGES = 2 << 20, /* where the balloon's are */
    FILE_LEN = 4 << 20,
};
#define MEM_SIZE  GIB(1)
#define MEM_BLOCK MIB(2)

enum device { BALLOON, MEM, PMEM, RTC, DEVICES };
static const struct {
    const char *name, *options;
    unsigned ring, queues; /* the first of its rings, and how many */
} plan[DEVICES] = {
    [BALLOON] = {"balloon", "size=1M,stats=1,hinting,reporting", 0, 5},
    [MEM] = {"mem", "size=1G,requested=8M", 5, 1},
    [PMEM] = {"pmem", NULL, 6, 1},
    [RTC] = {"rtc", "leap=step", 7, 2},
};
enum { INFLATE, DEFLATE, STATS, HINTS, REPORTS };
static struct vdev *dev[DEVICES];
static struct transport *transport[DEVICES];

/* Time is short: what happens every second happens every 50 microseconds. */
void __real_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns)
{
    __real_loop_timer_set(t, ns / 20000);
}

/* --- the guest's driver --- */

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
    for (unsigned q = 0; q < plan[d].queues; q++)
        queue_up(d, q, plan[d].ring + q);
    reg_set(d, VIRTIO_MMIO_STATUS, s | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* `out` bytes at `buf` are said and `in` bytes behind them heard; either may be none. */
static void request(unsigned d, unsigned q, unsigned slot, uint64_t buf, uint32_t out, uint32_t in)
{
    unsigned ring = plan[d].ring + q, first = 2 * slot, last = first + (out && in);
    if (out)
        put_desc(desc_of(ring), first, buf, out, in ? VRING_DESC_F_NEXT : 0, last);
    if (in)
        put_desc(desc_of(ring), last, buf + HEARS, in, VRING_DESC_F_WRITE, 0);
    offer(ring, (uint16_t)first);
    kick(d, q);
}

static void mem_request(uint64_t buf, uint16_t type, uint64_t block, uint16_t n)
{
    struct virtio_mem_config c;
    vdev_config_get(dev[MEM], 0, &c, sizeof(c));
    put64(buf, type);
    put64(buf + 8, c.addr + block * MEM_BLOCK);
    put64(buf + 16, n);
}

/* --- what a vCPU does --- */

static uint64_t some_page(struct vcpu *v)
{
    return PAGES + rnd(v, (RAM - PAGES) / 4096) * 4096ull;
}

static void submit_balloon(struct vcpu *v, unsigned slot, uint64_t buf)
{
    unsigned q = rnd(v, 5), ring = plan[BALLOON].ring + q;
    if (q == INFLATE || q == DEFLATE) {
        for (unsigned i = 0; i < 4; i++)
            put64(buf + 8 * i, some_page(v) >> 12 | some_page(v) >> 12 << 32);
        request(BALLOON, q, slot, buf, 4 * (1 + rnd(v, 8)), 0);
    } else if (q == STATS) {
        for (unsigned i = 0; i < 8; i++)
            put64(buf + 8 * i, v->seed);
        request(BALLOON, q, slot, buf, 10 * (1 + rnd(v, 5)), 0);
    } else if (q == HINTS && rnd(v, 3) == 0) {
        struct virtio_balloon_config c;
        vdev_config_get(dev[BALLOON], 0, &c, sizeof(c));
        put64(buf, rnd(v, 3) ? c.free_page_hint_cmd_id : rnd(v, 4));
        request(BALLOON, q, slot, buf, 4, 0);
    } else {
        put_desc(desc_of(ring), 2 * slot, some_page(v), 4096, VRING_DESC_F_WRITE, 0);
        offer(ring, (uint16_t)(2 * slot));
        kick(BALLOON, q);
    }
}

static void submit_rtc(struct vcpu *v, unsigned slot, uint64_t buf)
{
    static const uint16_t types[] = {0x0001, 0x0002, 0x1000, 0x1001,
                                     0x1002, 0x1003, 0x1004, 0x1005};
    if (rnd(v, 3) == 0) {
        request(RTC, 1, slot, buf, 0, 16);
        return;
    }
    uint16_t type = types[rnd(v, ARRAY_SIZE(types))], clock = (uint16_t)(rnd(v, 9) / 4);
    struct timespec now;
    (void)clock_gettime(clock ? CLOCK_BOOTTIME : CLOCK_REALTIME, &now);
    uint64_t soon = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + rnd(v, 1000000);
    put64(buf, type);
    bool has_flags = type == 0x0002 || type == 0x1002 || type == 0x1005;
    put64(buf + 8, type == 0x1004 ? soon : clock | (has_flags ? rnd(v, 2) << 16 : 0));
    put64(buf + 16, clock | rnd(v, 2) << 16); /* an alarm's clock, and whether it is on */
    request(RTC, 0, slot, buf, 24, 40);
}

/* Well-formed, in descriptors of the vCPU's own. */
static void submit(struct vcpu *v, unsigned d)
{
    unsigned slot = v->number * 8 + rnd(v, 8);
    uint64_t buf = BUFFERS + slot * BUFFER;
    if (d == BALLOON) {
        submit_balloon(v, slot, buf);
    } else if (d == RTC) {
        submit_rtc(v, slot, buf);
    } else if (d == PMEM) {
        put64(buf, VIRTIO_PMEM_REQ_TYPE_FLUSH);
        request(PMEM, 0, slot, buf, 4, 4);
    } else {
        mem_request(buf, (uint16_t)rnd(v, 4), rnd(v, 513), (uint16_t)(1 + rnd(v, 6)));
        request(MEM, 0, slot, buf, sizeof(struct virtio_mem_req), sizeof(struct virtio_mem_resp));
    }
}

/* One reading of all of it: what belongs together has been changed together, or not yet. */
static void config(struct vcpu *v, unsigned d)
{
    if (d == MEM) {
        struct virtio_mem_config c;
        vdev_config_get(dev[MEM], 0, &c, sizeof(c));
        check(c.block_size == MEM_BLOCK && c.region_size == MEM_SIZE,
              "mem: a constant has changed");
        check(c.usable_region_size >= c.requested_size, "mem: more is requested than is usable");
        check(c.plugged_size <= MEM_SIZE, "mem: more is plugged than there is");
        check((c.usable_region_size | c.requested_size | c.plugged_size) % MEM_BLOCK == 0,
              "mem: a part of a block");
    } else if (d == BALLOON) {
        uint32_t actual = rnd(v, 1000);
        struct virtio_balloon_config c;
        vdev_config_set(dev[BALLOON], offsetof(struct virtio_balloon_config, actual), &actual, 4);
        vdev_config_get(dev[BALLOON], 0, &c, sizeof(c));
        check(c.num_pages <= 512, "balloon: a size that nobody asked for");
    } else {
        (void)reg(d, VIRTIO_MMIO_CONFIG);
    }
}

static void act(struct vcpu *v)
{
    unsigned d = rnd(v, DEVICES), q = rnd(v, plan[d].queues), what = rnd(v, 1000);
    unsigned ring = plan[d].ring + q;
    if (what < 800) {
        submit(v, d);
    } else if (what < 900) {
        config(v, d);
    } else if (what < 910) {
        put16(avail_of(ring) + 2, (uint16_t)rnd(v, 65536));
        kick(d, q);
    } else if (what < 920) {
        reg_set(d, VIRTIO_MMIO_QUEUE_SEL, q);
        reg_set(d, QUEUE_RESET, 1);
        queue_up(d, q, ring);
    } else if (what < 930) {
        reg_set(d, VIRTIO_MMIO_STATUS, 0);
    } else if (what < 950) {
        negotiate(d);
    } else {
        reg_set(d, VIRTIO_MMIO_INTERRUPT_ACK, reg(d, VIRTIO_MMIO_INTERRUPT_STATUS));
    }
    if (!(reg(d, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK) && rnd(v, 4) == 0)
        negotiate(d);
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

/* --- what the host's user does meanwhile --- */

static void *options_of(const struct vdev_class *c, const char *text)
{
    struct err e = {0};
    void *opts = calloc(1, c->opts_size + 1);
    if (c->opts_default)
        memcpy(opts, c->opts_default, c->opts_size);
    check(opts_parse(c->opts, c->name, text, opts, &e) == 0, e.msg);
    return opts;
}

static void update(struct vcpu *v, unsigned d)
{
    char text[96];
    struct err e = {0};
    if (d == BALLOON)
        (void)snprintf(text, sizeof(text), "size=%uM,stats=%u,hinting,reporting,hints=%u",
                       rnd(v, 3), rnd(v, 2), rnd(v, 2));
    else if (d == MEM)
        (void)snprintf(text, sizeof(text), "size=1G,requested=%uM", 2 * rnd(v, 513));
    else
        return;
    AUTO_FREE void *opts = options_of(class_of(plan[d].name), text);
    check(vdev_update(dev[d], opts, &e) == 0, e.msg);
}

struct tally {
    struct report report;
    uint64_t numbers, requested, usable;
};

static void tally_number(struct report *r, const char *name, uint64_t value)
{
    struct tally *t = (struct tally *)(void *)r;
    t->numbers++;
    if (strcmp(name, "requested") == 0)
        t->requested = value;
    if (strcmp(name, "usable") == 0)
        t->usable = value;
}

static void tally_text(struct report *r, const char *name, const char *value)
{
    (void)name, (void)value;
    ((struct tally *)(void *)r)->numbers++;
}

static void report(unsigned d)
{
    struct tally t = {.report = {.number = tally_number, .text = tally_text}};
    vdev_report(dev[d], &t.report);
    check(t.numbers > 0, "a device says nothing");
    check(t.requested <= t.usable, "mem reports more that is requested than is usable");
}

static void *control_main(void *arg)
{
    struct vcpu v = {.seed = 88172645463325252};
    (void)arg;
    for (unsigned i = 0; i < CONTROLS; i++) {
        unsigned d = rnd(&v, DEVICES), what = rnd(&v, 100);
        const struct timespec nap = {.tv_nsec = 1000 * (long)rnd(&v, 200)};
        if (what == 0) { /* with the vCPUs parked, as the machine does it */
            (void)pthread_rwlock_wrlock(&m.parked);
            transport_reset(transport[d]);
            (void)pthread_rwlock_unlock(&m.parked);
        } else if (what < 3) {
            save_and_load(dev[d], transport[d]);
        } else if (what < 10) {
            vdev_pause(dev[d]);
            update(&v, d);
            vdev_resume(dev[d]);
        } else if (what < 20) {
            (void)nanosleep(&nap, NULL);
        } else {
            update(&v, d);
        }
    }
    return NULL;
}

/* As often as it can, for as long as anything else happens. */
static void *reporter_main(void *arg)
{
    const atomic_bool *done = arg;
    for (unsigned d = 0; !*done; d = (d + 1) % DEVICES)
        report(d);
    return NULL;
}

/* --- the machine --- */

static uint64_t placed;

static int place(void *ctx, void *host, uint64_t len, uint64_t align, bool ro, gpa_t *at)
{
    (void)ctx, (void)host, (void)ro;
    *at = GPA(align_up(0x200000000 + placed, align));
    placed = at->v + len - 0x200000000;
    return 0;
}

static bool device_up(unsigned d, const char *options)
{
    const struct vdev_class *c = class_of(plan[d].name);
    AUTO_FREE void *opts = options_of(c, options);
    struct err e = {0};
    const struct build_env env = {.mem = m.mem, .loop = m.loop, .place = place};
    const struct transport_env tenv = {.mmio = m.bus, .doorbell = no_doorbell};
    if (c->create(opts, &env, &dev[d], &e) < 0) {
        printf("race_memory: %s\n", e.msg);
        return false;
    }
    const struct transport_place at = {.base = GPA(window + d * 0x1000),
                                       .irq_fd = eventfd(0, EFD_CLOEXEC)};
    return transport_new(TRANSPORT_MMIO, dev[d], &tenv, &at, &transport[d]) == 0;
}

static bool machine_up(enum loop_backend backend, const char *file)
{
    const struct gmem_region ram = {.base = GPA(0), .len = RAM};
    const struct gmem_options plain = {0};
    struct err e;
    placed = 0;
    (void)pthread_rwlock_init(&m.parked, NULL);
    if (gmem_new(&ram, 1, &plain, &m.mem, &e) < 0 || bus_new("race", &m.bus) < 0 ||
        loop_new("loop", backend, &m.loop) < 0)
        return false;
    for (unsigned d = 0; d < DEVICES; d++) {
        if (!device_up(d, plan[d].options ? plan[d].options : file))
            return false;
    }
    return loop_start(m.loop) == 0;
}

/* --- the last reset --- */

static void everything_works(void)
{
    for (unsigned d = 0; d < DEVICES; d++) {
        transport_reset(transport[d]);
        negotiate(d);
    }
    clear(BUFFERS, BUFFER);
    put64(BUFFERS, PAGES >> 12);
    request(BALLOON, DEFLATE, 0, BUFFERS, 4, 0);
    check(comes_back(used_of(plan[BALLOON].ring + DEFLATE), 0),
          "balloon does not answer after the reset");
    mem_request(BUFFERS, VIRTIO_MEM_REQ_STATE, 0, 1);
    request(MEM, 0, 0, BUFFERS, sizeof(struct virtio_mem_req), sizeof(struct virtio_mem_resp));
    check(comes_back(used_of(plan[MEM].ring), sizeof(struct virtio_mem_resp)), "nor does mem");
    check((uint16_t)get64(BUFFERS + HEARS) == VIRTIO_MEM_RESP_ACK, "mem refuses");
    put64(BUFFERS, VIRTIO_PMEM_REQ_TYPE_FLUSH);
    request(PMEM, 0, 0, BUFFERS, 4, 4);
    check(comes_back(used_of(plan[PMEM].ring), 4), "nor does pmem");
    check((uint32_t)get64(BUFFERS + HEARS) == 0, "pmem does not flush");
    clear(BUFFERS, BUFFER);
    put64(BUFFERS, 0x1000);
    request(RTC, 0, 0, BUFFERS, 8, 16);
    check(comes_back(used_of(plan[RTC].ring), 16), "nor does rtc");
    check((uint8_t)get64(BUFFERS + HEARS) == 0, "rtc refuses");
}

static bool race(enum loop_backend backend, const char *file)
{
    struct vcpu vcpus[VCPUS];
    pthread_t control, reporter;
    atomic_bool done = false;
    if (!machine_up(backend, file))
        return false;
    for (unsigned d = 0; d < DEVICES; d++)
        negotiate(d);
    for (unsigned i = 0; i < VCPUS; i++) {
        vcpus[i] = (struct vcpu){.number = i, .seed = 0x9e3779b97f4a7c15 * (i + 1)};
        if (pthread_create(&vcpus[i].thread, NULL, vcpu_main, &vcpus[i]) != 0)
            return false;
    }
    if (pthread_create(&control, NULL, control_main, NULL) != 0 ||
        pthread_create(&reporter, NULL, reporter_main, &done) != 0)
        return false;
    for (unsigned i = 0; i < VCPUS; i++)
        (void)pthread_join(vcpus[i].thread, NULL);
    (void)pthread_join(control, NULL);
    done = true;
    (void)pthread_join(reporter, NULL);
    everything_works();
    machine_down(transport, DEVICES);
    return true;
}

int main(void)
{
    char path[] = "/tmp/race_memory_XXXXXX", file[64];
    AUTO_FD fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0 || unlink(path) < 0 || ftruncate(fd, FILE_LEN) < 0)
        return 1;
    (void)snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
    (void)alarm(120); /* what hangs is wrong, too */
    log_set_level(LOG_OFF);

    bool ok = race(LOOP_AUTO, file) && race(LOOP_EPOLL, file) && broken == 0;
    printf("race_memory: %u vCPUs, %u actions each, io_uring or epoll and epoll: %s\n", VCPUS,
           ACTIONS, ok ? "everything still works" : "FAILED");
    return ok ? 0 : 1;
}
