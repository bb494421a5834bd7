/* tests/race/race_attack.c - every class of device at once, each on its own transport, and a guest
 * that rewrites descriptors, indices, tables and buffers while they work: vCPUs that make requests,
 * one that does nothing but scribble, and a user who pauses, resets, saves, plugs and unplugs.
 * Under ThreadSanitizer, where Criterion cannot start. Exits with 0 when every device serves a
 * request after a last reset. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "base/chardev.h"
#include "base/log.h"
#include "base/loop.h"
#include "tests/race/race_regs.h"
#include "tests/rig/claim.h"

enum {
    VCPUS = 3,
    ACTIONS = 3000,   /* of each vCPU */
    SCRIBBLES = 4000, /* turns of the one that scribbles */
    CONTROLS = 400,   /* of the user */
    DEVICES = 11,
    NET = 5,
    QUEUES = 16, /* of a device, at most */
    SLOTS = 16,  /* of a vCPU in each ring */
    RAM = 16 << 20,
    BUFFERS = 8 << 20,
    BUFFER = 2048, /* what is said, and from the middle on what is heard */
    HEARS = BUFFER / 2,
    FILE_LEN = 4 << 20,
};

/* --- the devices: a request of each, in bytes --- */

static const uint8_t inquiry[51] = {1, 0, 0x40, [19] = 0x12, [23] = 36};
static const uint8_t fuse_init[104] = {104, [4] = FUSE_INIT, [8] = 5, [40] = 7, [44] = 36};
static const uint8_t vsock_rst[44] = {3, [8] = 2, [28] = 1, [30] = 3};
static const uint8_t state[24] = {3, [16] = 1}, zeroes[72], a_clock[16] = {1};
static const uint8_t a_page[4] = {0, 0x0c}; /* 12 MiB */

static const struct plan {
    const char *name, *options; /* %s: a file, or what it stands for, of its own */
    const char *user[2];        /* what a user may change it to */
    unsigned queue;             /* that takes the request */
    const uint8_t *say;
    uint32_t says, hears;
} plan[DEVICES] = {
    {"balloon",
     "size=1M,stats=1,hinting,reporting",
     {"size=0,stats=0,hinting,reporting", "size=2M,stats=1,hinting,reporting,hints=1"},
     0,
     a_page,
     4,
     0},
    {"blk",
     "path=%s,queues=2,iops=100000",
     {"path=%s,queues=2,iops=50000", "path=%s,queues=2"},
     0,
     zeroes,
     16,
     513},
    {"console", "", {NULL}, 1, zeroes, 5, 0},
    {"fs", "dir=%s,tag=race,ro", {NULL}, 1, fuse_init, 104, 80},
    {"mem",
     "size=1G,requested=8M",
     {"size=1G,requested=0", "size=1G,requested=64M"},
     0,
     state,
     24,
     10},
    {"net",
     "backend=socket,fd=%s,vnet_hdr",
     {"backend=socket,fd=%s,vnet_hdr,link=down", "backend=socket,fd=%s,vnet_hdr"},
     1,
     zeroes,
     72,
     0},
    {"pmem", "%s", {NULL}, 0, zeroes, 4, 4},
    {"rng", "", {NULL}, 0, NULL, 0, 64},
    {"rtc", "", {NULL}, 0, a_clock, 16, 16},
    {"scsi", "ro=%s", {"ro=1:0:%s", "ro=%s,ro=1:0:%s"}, 2, inquiry, 51, 144},
    {"vsock", "cid=3,uds=%s", {NULL}, 1, vsock_rst, 44, 0},
};

static struct device {
    struct vdev *dev;
    struct transport *transport;
    unsigned queues;
    char with[64]; /* instead of %s */
} devices[DEVICES];
static bool packed;
static int peer; /* of the network device */

/* --- the driver --- */

static unsigned ring_of(unsigned d, unsigned queue)
{
    return d * QUEUES + queue;
}

/* Of packed rings. */
static uint16_t slot[RINGS_MAX];
static bool lap[RINGS_MAX];

GUEST static void ring_anew(unsigned ring)
{
    lock(ring);
    clear(desc_of(ring), 0x3000);
    slot[ring] = 0;
    lap[ring] = true;
    unlock(ring);
}

static void enable(unsigned d, unsigned queue)
{
    unsigned ring = ring_of(d, queue);
    ring_anew(ring);
    set(d, SEL, queue);
    set(d, SIZE, MIN(field(d, MOST, false, 0), (uint32_t)QSIZE));
    set_area(d, 0, desc_of(ring));
    set_area(d, 1, avail_of(ring));
    set_area(d, 2, used_of(ring));
    set(d, READY, 1);
}

static void begin(unsigned d)
{
    uint32_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    set(d, STATUS, 0);
    set(d, STATUS, s);
    set(d, STATUS, s |= VIRTIO_CONFIG_S_DRIVER);
    for (uint32_t word = 0; word < 2; word++) {
        set(d, OFFER_SEL, word);
        set(d, TAKE_SEL, word);
        set(d, TAKE, field(d, OFFER, false, 0));
    }
    set(d, STATUS, s |= VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned q = 0; q < devices[d].queues; q++)
        enable(d, q);
    set(d, STATUS, s | VIRTIO_CONFIG_S_DRIVER_OK);
}

GUEST static void put_packed(unsigned ring, uint64_t at, uint32_t len, uint16_t flags, uint16_t id)
{
    uint16_t bits = lap[ring] ? 1 << VRING_PACKED_DESC_F_AVAIL : 1 << VRING_PACKED_DESC_F_USED;
    put64(desc_of(ring) + slot[ring] * 16u, at);
    put64(desc_of(ring) + slot[ring] * 16u + 8,
          len | (uint64_t)id << 32 | (uint64_t)(flags | bits) << 48);
    if (++slot[ring] == QSIZE) {
        slot[ring] = 0;
        lap[ring] = !lap[ring];
    }
}

/* `says` bytes at `at`, and room for `hears` behind them. */
GUEST static void request(unsigned d, unsigned queue, unsigned first, uint64_t at, uint32_t says,
                          uint32_t hears)
{
    unsigned ring = ring_of(d, queue);
    if (packed) {
        lock(ring);
        if (says)
            put_packed(ring, at, says, hears ? VRING_DESC_F_NEXT : 0, (uint16_t)first);
        if (hears)
            put_packed(ring, at + HEARS, hears, VRING_DESC_F_WRITE, (uint16_t)first);
        unlock(ring);
    } else {
        if (says)
            put_desc(desc_of(ring), first, at, says, hears ? VRING_DESC_F_NEXT : 0, first + 1);
        if (hears)
            put_desc(desc_of(ring), first + (says > 0), at + HEARS, hears, VRING_DESC_F_WRITE, 0);
        offer(ring, (uint16_t)first);
    }
    ring_the_bell(d, queue);
}

GUEST static void say(unsigned d, uint64_t at)
{
    const struct plan *p = &plan[d];
    for (uint32_t i = 0; i < p->says; i += 8) {
        uint64_t v = 0;
        memcpy(&v, p->say + i, MIN(8u, p->says - i));
        put64(at + i, v);
    }
}

/* --- what a vCPU does --- */

static void submit(struct vcpu *v, unsigned d)
{
    const struct plan *p = &plan[d];
    bool other = rnd(v, 4) == 0; /* to another queue than it is for, or to be filled */
    unsigned queue = other ? rnd(v, devices[d].queues) : p->queue;
    unsigned first = v->number * SLOTS + rnd(v, SLOTS / 2) * 2;
    uint64_t at = BUFFERS + (uint64_t)(d * VCPUS * SLOTS + first) * BUFFER;
    say(d, at);
    if (rnd(v, 3) == 0) /* it says something else somewhere */
        put64(at + rnd(v, 16) * 8, v->seed);
    if (other && rnd(v, 2))
        request(d, queue, first, at, 0, HEARS);
    else
        request(d, queue, first, at, p->says, p->hears);
}

static void act(struct vcpu *v)
{
    unsigned d = rnd(v, DEVICES), queue = rnd(v, devices[d].queues), what = rnd(v, 1000);
    uint64_t word = 0;
    if (what < 850) {
        submit(v, d);
    } else if (what < 900) { /* the configuration, by any width */
        uint64_t at = regs[d].at ? regs[d].at + 0x2000 : window + d * 0x1000 + VIRTIO_MMIO_CONFIG;
        word = v->seed;
        (void)bus_access(m.bus, GPA(at + rnd(v, 64)), 1u << rnd(v, 4), rnd(v, 2), &word);
    } else if (what < 940) {
        set(d, SEL, queue);
        set(d, RESET, 1);
        enable(d, queue);
    } else if (what < 960) { /* what is live, and what somebody else is about to enable */
        set(d, SEL, queue);
        set(d, SIZE, 1u << rnd(v, 16));
        set_area(d, rnd(v, 3), v->seed & 0xfffff0);
        set(d, READY, 1);
    } else if (what < 970) {
        set(d, STATUS, 0);
    } else {
        begin(d);
    }
    if (field(d, STATUS, false, 0) & VIRTIO_CONFIG_S_NEEDS_RESET)
        begin(d);
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

/* One word of a ring, of its indices, or of a buffer; most of them of what is asked for most. */
static void scribble(struct vcpu *v)
{
    unsigned d = rnd(v, DEVICES), queue = rnd(v, 2) ? plan[d].queue : rnd(v, devices[d].queues);
    unsigned ring = ring_of(d, queue);
    uint64_t word = rnd(v, 2) ? v->seed : v->seed & 0xffff;
    switch (rnd(v, 40)) {
    case 0:
        put64(avail_of(ring) + 8 * rnd(v, 4), word);
        break;
    case 1:
        put64(used_of(ring) + 8 * rnd(v, QSIZE), word);
        break;
    case 2:
    case 3:
    case 4:
        put64(desc_of(ring) + 8 * rnd(v, 2 * QSIZE), word);
        break;
    default:
        put64(BUFFERS + 8 * rnd(v, DEVICES * VCPUS * SLOTS * BUFFER / 8), word);
        break;
    }
}

static void *scribbler_main(void *arg)
{
    struct vcpu *v = arg;
    for (unsigned i = 0; i < SCRIBBLES; i++) {
        (void)pthread_rwlock_rdlock(&m.parked);
        for (unsigned k = 0; k < 16; k++)
            scribble(v);
        (void)pthread_rwlock_unlock(&m.parked);
        const struct timespec nap = {.tv_nsec = 20000};
        (void)nanosleep(&nap, NULL);
    }
    return NULL;
}

/* --- what the host's user does meanwhile --- */

__attribute__((format(printf, 2, 0))) static void *options_of(unsigned d, const char *format)
{
    const struct vdev_class *c = class_of(plan[d].name);
    char text[160];
    struct err e = {0};
    const char *with = devices[d].with;
    void *opts = calloc(1, c->opts_size + 1);
    (void)snprintf(text, sizeof(text), format, with, with);
    if (c->opts_default)
        memcpy(opts, c->opts_default, c->opts_size);
    check(!text[0] || opts_parse(c->opts, c->name, text, opts, &e) == 0, e.msg);
    return opts;
}

static void ignore_number(struct report *r, const char *name, uint64_t value)
{
    (void)r, (void)name, (void)value;
}

static void ignore_text(struct report *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
}

static void change(struct vcpu *v, unsigned d)
{
    struct err e = {0};
    struct report r = {.number = ignore_number, .text = ignore_text};
    vdev_report(devices[d].dev, &r);
    if (!plan[d].user[0])
        return;
    AUTO_FREE void *opts = options_of(d, plan[d].user[rnd(v, 2)]);
    check(vdev_update(devices[d].dev, opts, &e) == 0, e.msg);
}

static void wire(struct vcpu *v)
{
    uint8_t frame[1500];
    memset(frame, 0xff, sizeof(frame));
    (void)!write(peer, frame, 12 + 14 + rnd(v, 1400));
    while (read(peer, frame, sizeof(frame)) > 0)
        ;
}

static void *control_main(void *arg)
{
    struct vcpu *v = arg;
    for (unsigned i = 0; i < CONTROLS; i++) {
        unsigned d = rnd(v, DEVICES), what = rnd(v, 10);
        const struct timespec nap = {.tv_nsec = 1000 * (long)rnd(v, 500)};
        (void)nanosleep(&nap, NULL);
        wire(v);
        if (what == 0) { /* with the vCPUs parked, as the machine does it */
            (void)pthread_rwlock_wrlock(&m.parked);
            transport_reset(devices[d].transport);
            decode(d);
            (void)pthread_rwlock_unlock(&m.parked);
        } else if (what == 1) {
            save_and_load(devices[d].dev, devices[d].transport);
        } else if (what < 5) { /* while they run */
            vdev_pause(devices[d].dev);
            (void)nanosleep(&nap, NULL);
            vdev_resume(devices[d].dev);
        } else {
            change(v, d);
        }
    }
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

static struct chardev *console;

static bool device_up(unsigned d)
{
    struct vdev_options options = vdev_options_default;
    options.packed = packed;
    struct err e = {0};
    struct loop *loops[] = {d % 2 ? m.second : m.loop, d % 2 ? m.loop : m.second};
    const struct build_env env = {.mem = m.mem,
                                  .loop = loops[0],
                                  .loops = loops,
                                  .n_loops = ARRAY_SIZE(loops),
                                  .console = console,
                                  .options = &options,
                                  .place = place};
    const struct transport_env tenv = {.mmio = m.bus, .pci = pci, .doorbell = no_doorbell};
    const struct transport_place at = {.base = GPA(window + d * 0x1000),
                                       .shm = GPA(0x300000000),
                                       .irq_fd = pci ? -1 : eventfd(0, EFD_CLOEXEC)};
    AUTO_FREE void *opts = options_of(d, plan[d].options);
    struct device *v = &devices[d];
    if (class_of(plan[d].name)->create(opts, &env, &v->dev, &e) < 0) {
        printf("race_attack: %s: %s\n", plan[d].name, e.msg);
        return false;
    }
    if (transport_new(pci ? TRANSPORT_PCI : TRANSPORT_MMIO, v->dev, &tenv, &at, &v->transport) < 0)
        return false;
    registers_found(d);
    v->queues = vdev_queue_count(v->dev);
    return v->queues <= QUEUES;
}

/* A file of memory, whose name is the descriptor's. */
static bool file_for(unsigned d, char *buf, size_t size)
{
    int fd = memfd_create(plan[d].name, MFD_CLOEXEC);
    (void)snprintf(buf, size, "/proc/self/fd/%d", fd);
    return fd >= 0 && ftruncate(fd, FILE_LEN) == 0;
}

static bool surroundings(const char *dir)
{
    for (unsigned d = 0; d < DEVICES; d++) {
        char *with = devices[d].with;
        size_t size = sizeof(devices[d].with);
        if (strcmp(plan[d].name, "fs") == 0)
            (void)snprintf(with, size, "%s", dir);
        else if (strcmp(plan[d].name, "vsock") == 0)
            (void)snprintf(with, size, "%s.socket", dir);
        else if (d != NET && strchr(plan[d].options, '%') && !file_for(d, with, size))
            return false;
    }
    return true;
}

static bool cable_up(void)
{
    int cable[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, cable) < 0)
        return false;
    peer = cable[0];
    (void)snprintf(devices[NET].with, sizeof(devices[NET].with), "%d", cable[1]);
    return true;
}

static bool machine_up(enum loop_backend backend, bool by_pci)
{
    const struct gmem_region ram = {.base = GPA(0), .len = RAM};
    const struct gmem_options plain = {0};
    const struct chardev_spec none = {.kind = CHARDEV_NONE};
    struct err e;
    placed = 0;
    pci = NULL;
    (void)pthread_rwlock_init(&m.parked, NULL);
    if (gmem_new(&ram, 1, &plain, &m.mem, &e) < 0 || bus_new("race", &m.bus) < 0 ||
        loop_new("loop", backend, &m.loop) < 0 || loop_new("second", backend, &m.second) < 0 ||
        chardev_new(&none, m.loop, &console, &e) < 0 || !cable_up() || (by_pci && bus_up() < 0))
        return false;
    guest_ram_is_the_guests(RAM);
    for (unsigned d = 0; d < DEVICES; d++) {
        if (!device_up(d))
            return false;
    }
    return loop_start(m.loop) == 0 && loop_start(m.second) == 0;
}

static void all_down(void)
{
    struct transport *all[DEVICES];
    for (unsigned d = 0; d < DEVICES; d++)
        all[d] = devices[d].transport;
    devices_down(all, DEVICES);
    pci_bus_free(pci);
    chardev_free(console);
    memory_down();
    close(peer);
}

/* --- the last reset --- */

static bool used(unsigned ring)
{
    for (unsigned ms = 0; ms < 10000; ms++) {
        uint64_t word = packed ? get64(desc_of(ring) + 8) >> 48 : get16(used_of(ring) + 2);
        if (packed ? word >> VRING_PACKED_DESC_F_USED & 1 : word == 1)
            return true;
        const struct timespec nap = {.tv_nsec = 1000000};
        (void)nanosleep(&nap, NULL);
    }
    return false;
}

static void everything_works(void)
{
    for (unsigned d = 0; d < DEVICES; d++) {
        transport_reset(devices[d].transport);
        decode(d);
        begin(d);
        say(d, BUFFERS);
        request(d, plan[d].queue, 0, BUFFERS, plan[d].says, plan[d].hears);
        bool served = used(ring_of(d, plan[d].queue)) &&
                      !(field(d, STATUS, false, 0) & VIRTIO_CONFIG_S_NEEDS_RESET);
        if (!served)
            printf("race_attack: %s does not serve a request any more\n", plan[d].name);
        check(served, "a reset does not help");
    }
}

static bool race(enum loop_backend backend, bool by_pci, bool with_packed)
{
    struct vcpu all[VCPUS + 2]; /* and who scribbles, and the user */
    packed = with_packed;
    if (!machine_up(backend, by_pci))
        return false;
    for (unsigned d = 0; d < DEVICES; d++)
        begin(d);
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++) {
        all[i] = (struct vcpu){.number = i, .seed = 0x9e3779b97f4a7c15 * (i + 1)};
        if (pthread_create(&all[i].thread, NULL,
                           i < VCPUS    ? vcpu_main
                           : i == VCPUS ? scribbler_main
                                        : control_main,
                           &all[i]) != 0)
            return false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
        (void)pthread_join(all[i].thread, NULL);
    everything_works();
    all_down();
    char where[32];
    (void)snprintf(where, sizeof(where), "%s %s", by_pci ? "pci" : "mmio",
                   with_packed ? "packed" : "split");
    claim("VMM_HOLDS", "6 27a", "race_attack", where, __FILE__);
    return true;
}

int main(void)
{
    char dir[] = "/tmp/race_attack_XXXXXX";
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(240); /* what hangs is wrong, too */
    log_set_level(LOG_OFF);
    if (!mkdtemp(dir) || !surroundings(dir))
        return 1;
    bool ran = race(LOOP_AUTO, false, false) && race(LOOP_EPOLL, false, true) &&
               race(LOOP_EPOLL, true, false) && race(LOOP_AUTO, true, true);
    (void)rmdir(dir);
    bool ok = ran && broken == 0;
    printf("race_attack: %u devices, %u vCPUs, %u actions each, by PCI and mmio, split and packed: "
           "%s\n",
           DEVICES, VCPUS, ACTIONS, ok ? "everything still works" : "FAILED");
    return ok ? 0 : 1;
}
