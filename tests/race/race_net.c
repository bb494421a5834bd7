/* tests/race/race_net.c - a network device, its loop's thread, a driver, a neighbour and a control
 * thread that pauses it, pulls the cable and asks for its configuration, all at once; under
 * ThreadSanitizer. Exits with 0 when frames still come through in the end. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>

#include "base/gmem.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/net/net.h"
#include "devices/net/spec.h"
#include "devices/virtio/vdev.h"
#include "devices/virtio/vdev_ctl.h"

/* A guest's own accesses are not instrumented. */
#define GUEST __attribute__((no_sanitize("thread"), noinline))

enum { ROUNDS = 300, PAIRS = 2, QUEUES = 2 * PAIRS + 1, QSIZE = 64, BUFFER = 2048, RAM = 8 << 20 };

static struct gmem *mem;
static struct loop *loop;
static struct vdev *dev;
static int peers[PAIRS];
static atomic_bool done;
static atomic_uint interrupts, received, sent;

static void on_interrupt(struct vdev_port *p, enum vdev_irq why, unsigned queue)
{
    (void)p, (void)why, (void)queue;
    interrupts++;
}
static struct vdev_port port = {.raise = on_interrupt};

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

static void negotiate(uint16_t idx[QUEUES])
{
    uint8_t zero[0x3000] = {0}, s = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    vdev_status_write(dev, 0);
    vdev_status_write(dev, s);
    for (unsigned w = 0; w < 2; w++)
        vdev_features_write(dev, w, vdev_features(dev, w));
    vdev_status_write(dev, s |= VIRTIO_CONFIG_S_FEATURES_OK);
    for (unsigned q = 0; q < QUEUES; q++) {
        struct vq_config *c = vdev_queue_program(dev, q);
        store(ring_of(q), zero, sizeof(zero));
        idx[q] = 0;
        if (!c)
            continue;
        c->size = QSIZE;
        c->desc = GPA(ring_of(q));
        c->driver = GPA(ring_of(q) + 0x1000);
        c->device = GPA(ring_of(q) + 0x2000);
        vdev_queue_enable(dev, q);
    }
    vdev_status_write(dev, s | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void command(uint16_t idx[QUEUES], unsigned round)
{
    const uint8_t commands[][4] = {{VIRTIO_NET_CTRL_MQ, 0, 1 + round % PAIRS, 0},
                                   {VIRTIO_NET_CTRL_ANNOUNCE, 0},
                                   {VIRTIO_NET_CTRL_VLAN, 0, 7, 0}};
    store(buffer_of(QUEUES - 1, idx[QUEUES - 1] % QSIZE), commands[round % 3], 4);
    offer(QUEUES - 1, &idx[QUEUES - 1], 4, false); /* no room for an ack: it is used all the same */
    vdev_kick(dev, QUEUES - 1);
}

static void *driver_main(void *arg)
{
    uint16_t idx[QUEUES];
    (void)arg;
    for (unsigned round = 0; round < ROUNDS; round++) {
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
        if ((uint16_t)(idx[QUEUES - 1] - used(QUEUES - 1)) < QSIZE / 2)
            command(idx, round);
        if (round % 33 == 32) /* it is left that way until the next negotiation */
            vdev_queue_reset(dev, 2);
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

static void *control_main(void *arg)
{
    uint8_t config[24];
    (void)arg;
    for (unsigned i = 0; !done; i++) {
        vdev_config_get(dev, 0, config, sizeof(config));
        net_set_link(dev, i % 8 != 0);
        if (i % 5 == 0)
            net_announce(dev);
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

static bool device_up(void)
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
    struct build_env env = {0};
    if (gmem_new(&ram, 1, &plain, &mem, &e) < 0 || loop_new("loop", LOOP_EPOLL, &loop) < 0)
        return false;
    env.mem = mem;
    env.loop = loop;
    if (opts_parse(net_class.opts, "--net", text, opts, &e) < 0 ||
        net_class.create(opts, &env, &dev, &e) < 0) {
        printf("race_net: %s\n", e.msg);
        return false;
    }
    vdev_attach(dev, &port, all);
    return loop_start(loop) == 0;
}

int main(void)
{
    pthread_t driver, peer, control;
    (void)signal(SIGPIPE, SIG_IGN);
    log_set_level(LOG_ERROR);
    if (!device_up())
        return 1;
    (void)pthread_create(&driver, NULL, driver_main, NULL);
    (void)pthread_create(&peer, NULL, peer_main, NULL);
    (void)pthread_create(&control, NULL, control_main, NULL);
    (void)pthread_join(driver, NULL);
    done = true;
    (void)pthread_join(control, NULL);
    (void)pthread_join(peer, NULL);

    uint16_t idx[QUEUES];
    uint8_t buf[2048];
    negotiate(idx);
    while (read(peers[0], buf, sizeof(buf)) > 0)
        ;
    offer(1, &idx[1], 12 + 100, false);
    vdev_kick(dev, 1);
    bool works = false;
    for (unsigned i = 0; i < 500 && !works; i++) {
        works = read(peers[0], buf, sizeof(buf)) == 12 + 100;
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    printf("race_net: %u sent, %u received, %u interrupts%s\n", atomic_load(&sent),
           atomic_load(&received), atomic_load(&interrupts),
           works ? "" : ", and then nothing more");
    loop_stop(loop);
    vdev_free(dev);
    loop_free(loop);
    gmem_free(mem);
    return works && received > 100 ? 0 : 1;
}
