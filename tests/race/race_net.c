/* tests/race/race_net.c - a network device, the thread of its loop or of two, a driver that sends,
 * receives, commands and resets, a neighbour, and a control thread that pauses it, moves it, pulls
 * the cable, changes its limits and asks for what it says of itself, all at once; under
 * ThreadSanitizer. Exits with 0 when frames still come through in the end, by each pair. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/gmem.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/net/backend.h"
#include "devices/net/net.h"
#include "devices/net/spec.h"
#include "devices/virtio/vdev.h"
#include "devices/virtio/vdev_ctl.h"

/* A guest's own accesses are not instrumented. */
#define GUEST __attribute__((no_sanitize("thread"), noinline))

enum { ROUNDS = 300, PAIRS = 2, QUEUES = 2 * PAIRS + 1, QSIZE = 64, BUFFER = 2048, RAM = 8 << 20 };
enum { CTRL = QUEUES - 1, COMMANDS = QSIZE / 2, ACK = BUFFER - 1 };

static struct gmem *mem;
static struct loop *loops[2];
static struct vdev *dev;
static pthread_rwlock_t parked; /* written: the driver is not in the middle of anything */
static int peers[PAIRS];
static atomic_bool done;
static atomic_uint interrupts, received, sent, answered;

static void on_interrupt(struct vdev_port *p, enum vdev_irq why, unsigned queue)
{
    (void)p, (void)why, (void)queue;
    interrupts++;
}
static struct vdev_port port = {.raise = on_interrupt, .modern = true};

static uint64_t ring_of(unsigned q)
{
    return 0x10000 + q * 0x4000u;
}

static uint64_t buffer_of(unsigned q, unsigned i)
{
    return 0x100000 + (q * QSIZE + i) * (uint64_t)BUFFER;
}

GUEST static void store(uint64_t at, const void *p, size_t len)
{
    uint8_t *to = gmem_at(mem, GPA(at), len);
    for (size_t i = 0; i < len; i++)
        ((volatile uint8_t *)to)[i] = ((const uint8_t *)p)[i];
}

GUEST static void offer(unsigned q, uint16_t *idx, uint32_t len, bool in)
{
    unsigned i = *idx % QSIZE;
    struct vring_desc d = {
        .addr = buffer_of(q, i), .len = len, .flags = in ? VRING_DESC_F_WRITE : 0};
    uint16_t head = (uint16_t)i;
    store(ring_of(q) + i * sizeof(d), &d, sizeof(d));
    store(ring_of(q) + 0x1000 + 4 + 2u * i, &head, 2);
    (*idx)++;
    atomic_thread_fence(memory_order_seq_cst);
    *(volatile uint16_t *)gmem_at(mem, GPA(ring_of(q) + 0x1002), 2) = *idx;
}

GUEST static uint16_t used(unsigned q)
{
    return *(volatile uint16_t *)gmem_at(mem, GPA(ring_of(q) + 0x2002), 2);
}

static void queue_up(unsigned q, uint16_t *idx)
{
    const uint8_t zero[0x3000] = {0};
    struct vq_config *c = vdev_queue_program(dev, q);
    store(ring_of(q), zero, sizeof(zero));
    *idx = 0;
    if (!c)
        return;
    c->size = QSIZE;
    c->desc = GPA(ring_of(q));
    c->driver = GPA(ring_of(q) + 0x1000);
    c->device = GPA(ring_of(q) + 0x2000);
    vdev_queue_enable(dev, q);
}

static void negotiate(uint16_t idx[QUEUES])
{
    uint8_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    vdev_status_write(dev, 0);
    vdev_status_write(dev, s);
    for (unsigned w = 0; w < 2; w++)
        vdev_features_write(dev, w, vdev_features(dev, w));
    vdev_status_write(dev, s |= VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned q = 0; q < QUEUES; q++)
        queue_up(q, &idx[q]);
    vdev_status_write(dev, s | VIRTIO_CONFIG_S_DRIVER_OK);
}

static const struct {
    uint8_t len, bytes[24];
} commands[] = {
    {4, {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2}},
    {4, {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 7}},
    {2, {VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK}},
    {3, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, 1}},
    {10, {VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET}},
    {10, {VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_RX_SET, 3, 0, 0, 0, 200}},
    {14, {VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, 2, 0, 0, 0, 5, 0, 0, 0, 99}},
    {3, {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_NOBCAST, 0}},
    {16, {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 1, 0, 0, 0, 2, 2, 2, 2, 2, 2}},
    {6, {VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET, 2}},
    {18, {VIRTIO_NET_CTRL_STATS, VIRTIO_NET_CTRL_STATS_GET, 2, 0, 0, 0, 0, 0, 0, 0, 1}},
    {8, {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 2, 2, 2, 2, 2, 3}},
    {4, {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 1}},
};

/* Two descriptors each: the second takes what is answered. */
GUEST static void command(uint16_t *idx, unsigned which)
{
    uint16_t head = (uint16_t)(*idx % COMMANDS * 2), at = *idx % QSIZE;
    struct vring_desc d[2] = {
        {buffer_of(CTRL, head), commands[which].len, VRING_DESC_F_NEXT, (uint16_t)(head + 1)},
        {buffer_of(CTRL, head + 1u), BUFFER, VRING_DESC_F_WRITE, 0}};
    store(d[0].addr, commands[which].bytes, commands[which].len);
    store(ring_of(CTRL) + head * sizeof(d[0]), d, sizeof(d));
    store(ring_of(CTRL) + 0x1000 + 4 + 2u * at, &head, 2);
    (*idx)++;
    atomic_thread_fence(memory_order_seq_cst);
    *(volatile uint16_t *)gmem_at(mem, GPA(ring_of(CTRL) + 0x1002), 2) = *idx;
}

static void *driver_main(void *arg)
{
    uint16_t idx[QUEUES];
    (void)arg;
    for (unsigned round = 0; round < ROUNDS; round++) {
        (void)pthread_rwlock_rdlock(&parked);
        if (round % 20 == 0)
            negotiate(idx);
        for (unsigned pair = 0; pair < PAIRS; pair++) {
            for (unsigned rx = 2 * pair; (uint16_t)(idx[rx] - used(rx)) < QSIZE / 2;)
                offer(rx, &idx[rx], BUFFER, true);
            for (unsigned tx = 2 * pair + 1; (uint16_t)(idx[tx] - used(tx)) < QSIZE / 2; sent++)
                offer(tx, &idx[tx], 12 + 100, false);
            vdev_kick(dev, 2 * pair);
            vdev_kick(dev, 2 * pair + 1);
        }
        for (; (uint16_t)(idx[CTRL] - used(CTRL)) < 4; answered++)
            command(&idx[CTRL], answered % ARRAY_SIZE(commands));
        vdev_kick(dev, CTRL);
        if (round % 3 == 0) {
            vdev_queue_reset(dev, 2);
            queue_up(2, &idx[2]);
        }
        (void)pthread_rwlock_unlock(&parked);
        (void)nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    return NULL;
}

static void *peer_main(void *arg)
{
    uint8_t frame[112] = {
        [12] = 0xff, [13] = 0xff, [14] = 0xff, [15] = 0xff, [16] = 0xff, [17] = 0xff};
    (void)arg;
    while (!done) {
        for (unsigned i = 0; i < PAIRS; i++) {
            uint8_t buf[2048];
            (void)!write(peers[i], frame, sizeof(frame));
            while (read(peers[i], buf, sizeof(buf)) > 0)
                received++;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    }
    return NULL;
}

static atomic_uint failed;

static void move(void)
{
    struct state_out s = {0};
    (void)pthread_rwlock_wrlock(&parked);
    vdev_pause(dev);
    vdev_save(dev, &s);
    vdev_reset(dev);
    struct state_in in = {.buf = s.buf, .len = s.len};
    failed += s.error || vdev_load(dev, &in) < 0;
    vdev_resume(dev);
    (void)pthread_rwlock_unlock(&parked);
    state_out_free(&s);
}

static void change_limits(const char *text)
{
    extern const struct vdev_class net_class;
    AUTO_FREE void *opts = calloc(1, net_class.opts_size);
    struct err e;
    failed +=
        opts_parse(net_class.opts, "--net", text, opts, &e) < 0 || vdev_update(dev, opts, &e) < 0;
}

static void ignore_number(struct report *r, const char *name, uint64_t value)
{
    (void)r, (void)name, (void)value;
}

static void ignore_text(struct report *r, const char *name, const char *value)
{
    (void)r, (void)name, (void)value;
}

static void *control_main(void *arg)
{
    uint8_t config[24];
    struct report report = {ignore_number, ignore_text};
    (void)arg;
    for (unsigned i = 0; !done; i++) {
        vdev_config_get(dev, 0, config, sizeof(config));
        vdev_report(dev, &report);
        net_set_link(dev, i % 8 != 0);
        if (i % 5 == 0)
            net_announce(dev);
        if (i % 6 == 0)
            change_limits(i % 4 ? "socket" : "socket,rx_pps=500,tx_pps=5000");
        if (i % 9 == 8)
            move();
        if (i % 7 == 0) {
            vdev_pause(dev);
            (void)nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
            vdev_resume(dev);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = 700000}, NULL);
    }
    net_set_link(dev, true);
    return NULL;
}

/* --- the machine --- */

/* Packet sockets, but what the device is told of them is what holds for a tap: each has a loop. */
static bool apart;

static void no_attach(struct net_backend *b, unsigned queue, bool on)
{
    (void)b, (void)queue, (void)on;
}

int __real_net_backend_open(const struct net_backend_spec *s, struct loop *l,
                            struct net_backend **out, struct err *e);
int __wrap_net_backend_open(const struct net_backend_spec *s, struct loop *l,
                            struct net_backend **out, struct err *e);
int __wrap_net_backend_open(const struct net_backend_spec *s, struct loop *l,
                            struct net_backend **out, struct err *e)
{
    static struct net_backend_ops ops;
    int rc = __real_net_backend_open(s, l, out, e);
    if (rc < 0 || !apart)
        return rc;
    ops = *(*out)->ops;
    ops.attach = no_attach;
    (*out)->ops = &ops;
    (*out)->steers = (*out)->detaches = (*out)->apart = true;
    return 0;
}

static bool device_up(enum loop_backend backend)
{
    extern const struct vdev_class net_class;
    const struct gmem_region ram = {.base = GPA(0), .len = RAM};
    const struct gmem_options plain = {0};
    const uint32_t all[VDEV_FEATURE_WORDS] = {~0u, ~0u, ~0u, ~0u};
    AUTO_FREE void *opts = calloc(1, net_class.opts_size);
    char text[100];
    int fds[PAIRS][2];
    struct err e;
    for (unsigned i = 0; i < PAIRS; i++) {
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds[i]) < 0)
            return false;
        peers[i] = fds[i][0];
    }
    (void)snprintf(text, sizeof(text), "socket,fd=%d:%d,queues=%d,vnet_hdr", fds[0][1], fds[1][1],
                   PAIRS);
    if (gmem_new(&ram, 1, &plain, &mem, &e) < 0 || loop_new("loop", backend, &loops[0]) < 0 ||
        loop_new("second", backend, &loops[1]) < 0)
        return false;
    const struct build_env env = {
        .mem = mem, .loop = loops[0], .loops = loops, .n_loops = ARRAY_SIZE(loops)};
    if (opts_parse(net_class.opts, "--net", text, opts, &e) < 0 ||
        net_class.create(opts, &env, &dev, &e) < 0) {
        printf("race_net: %s\n", e.msg);
        return false;
    }
    vdev_attach(dev, &port, all);
    return loop_start(loops[0]) == 0 && loop_start(loops[1]) == 0;
}

static void device_down(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(loops); i++)
        loop_stop(loops[i]);
    vdev_free(dev);
    for (unsigned i = 0; i < ARRAY_SIZE(loops); i++)
        loop_free(loops[i]);
    for (unsigned i = 0; i < PAIRS; i++)
        (void)close(peers[i]);
    gmem_free(mem);
}

/* --- the end --- */

static bool is_answered(void)
{
    for (unsigned i = 0; i < 500 && used(CTRL) == 0; i++)
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return used(CTRL) > 0;
}

static bool frame_is_out(unsigned pair)
{
    uint8_t buf[2048];
    for (unsigned i = 0; i < 500; i++) {
        if (read(peers[pair], buf, sizeof(buf)) == 12 + 100)
            return true;
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return false;
}

/* One that comes before the buffer is dropped, so it is sent again. */
static bool frame_is_in(unsigned pair)
{
    const uint8_t to_all[112] = {[12] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    for (unsigned i = 0; i < 500 && used(2 * pair) == 0; i++) {
        (void)!write(peers[pair], to_all, sizeof(to_all));
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return used(2 * pair) > 0;
}

static bool everything_works(void)
{
    uint16_t idx[QUEUES];
    uint8_t buf[2048];
    change_limits("socket");
    negotiate(idx);
    command(&idx[CTRL], 0); /* two pairs */
    vdev_kick(dev, CTRL);
    bool works = is_answered();
    for (unsigned pair = 0; works && pair < PAIRS; pair++) {
        while (read(peers[pair], buf, sizeof(buf)) > 0)
            ;
        offer(2 * pair + 1, &idx[2 * pair + 1], 12 + 100, false);
        vdev_kick(dev, 2 * pair + 1);
        offer(2 * pair, &idx[2 * pair], BUFFER, true);
        vdev_kick(dev, 2 * pair);
        works = frame_is_out(pair) && frame_is_in(pair);
    }
    return works;
}

static bool race(bool two_loops, enum loop_backend backend)
{
    pthread_t driver, peer, control;
    apart = two_loops;
    done = false;
    interrupts = received = sent = answered = 0;
    if (!device_up(backend))
        return false;
    (void)pthread_create(&driver, NULL, driver_main, NULL);
    (void)pthread_create(&peer, NULL, peer_main, NULL);
    (void)pthread_create(&control, NULL, control_main, NULL);
    (void)pthread_join(driver, NULL);
    done = true;
    (void)pthread_join(control, NULL);
    (void)pthread_join(peer, NULL);
    bool works = everything_works();
    printf("race_net: %u sent, %u received, %u commands, %u interrupts, %u failed%s\n",
           atomic_load(&sent), atomic_load(&received), atomic_load(&answered),
           atomic_load(&interrupts), atomic_load(&failed), works ? "" : ", and then nothing more");
    works = works && received > 100 && answered > 100 && failed == 0;
    device_down();
    return works;
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    (void)alarm(240); /* what hangs is wrong, too */
    (void)pthread_rwlock_init(&parked, NULL);
    log_set_level(LOG_ERROR);
    bool ok = race(false, LOOP_EPOLL) && race(true, LOOP_EPOLL) && race(true, LOOP_AUTO);
    return ok ? 0 : 1;
}
