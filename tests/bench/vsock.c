/* tests/bench/vsock.c - a stream between a guest and a program of the host's, beside a plain socket
 * of the program's kind and a copy of as many bytes.
 *
 * A sample is the time of the sending side for a packet of 64 KiB: of the device, from the guest's
 * notification on; of send(); of memcpy(). The program takes the bytes between two packets. */
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/bench/bench.h"
#include "tests/bench/driver.h"

enum { RX, TX };
enum { CID = 3, GUEST_PORT = 1000, HOST_PORT = 52, PACKET = 64 << 10, RX_SLOTS = 16 };

enum how { BY_MEMCPY, BY_SOCKET, BY_DEVICE };

struct vsock_work {
    enum how how;
    uint8_t *from, *to;
    int fd, peer; /* the program's end, and of a plain socket the other */
    struct machine m;
    struct driver rx, tx;
    struct virtio_vsock_hdr last; /* packet that was received */
};

/* --- the driver --- */

static void put(struct vsock_work *w, unsigned op, uint32_t len)
{
    const struct virtio_vsock_hdr h = {.src_cid = CID,
                                       .dst_cid = VMADDR_CID_HOST,
                                       .src_port = GUEST_PORT,
                                       .dst_port = HOST_PORT,
                                       .len = len,
                                       .type = VIRTIO_VSOCK_TYPE_STREAM,
                                       .op = (uint16_t)op,
                                       .buf_alloc = PACKET};
    struct request *r = &w->tx.requests[0];
    memcpy(machine_at(&w->m, r->at[0], sizeof(h)), &h, sizeof(h));
    r->len[1] = len;
    driver_describe(&w->tx, 0);
    driver_wish(&w->tx);
    driver_add(&w->tx, 0);
    driver_publish(&w->tx);
}

static void wait_sent(struct vsock_work *w)
{
    vdev_kick(w->m.dev, TX);
    while (driver_reap(&w->tx) < 0)
        (void)loop_step(w->m.loop, -1);
}

/* What the device sends is read, and there is room for more. */
static void receive(struct vsock_work *w)
{
    driver_wish(&w->rx);
    for (int slot; (slot = driver_reap(&w->rx)) >= 0;) {
        memcpy(&w->last, machine_at(&w->m, w->rx.requests[slot].at[0], sizeof(w->last)),
               sizeof(w->last));
        driver_add(&w->rx, (unsigned)slot);
    }
    driver_publish(&w->rx);
    if (driver_must_kick(&w->rx))
        vdev_kick(w->m.dev, RX);
}

/* --- up and down --- */

static void device_up(struct vsock_work *w)
{
    const struct shape rx = {.event_idx = true, .segments = 1, .writable = 1, .slots = RX_SLOTS};
    const struct shape tx = {.event_idx = true, .segments = 2, .slots = 1};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char uds[80], spec[128];
    (void)snprintf(uds, sizeof(uds), "%s/vsock", bench_folder());
    (void)snprintf(spec, sizeof(spec), "vsock,cid=%u,uds=%s", CID, uds);
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s_%u", uds, HOST_PORT);
    machine_up(&w->m);
    machine_device(&w->m, spec);
    machine_negotiate(&w->m, &tx);
    driver_up(&w->rx, &w->m, RX, &rx);
    driver_up(&w->tx, &w->m, TX, &tx);
    w->tx.requests[0].at[1] = machine_high(&w->m, PACKET);
    w->tx.requests[0].len[0] = sizeof(struct virtio_vsock_hdr);
    machine_driver_ok(&w->m);
    for (unsigned i = 0; i < RX_SLOTS; i++)
        driver_add(&w->rx, i);
    receive(w);

    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BENCH_MUST(server >= 0 && bind(server, (struct sockaddr *)&at, sizeof(at)) == 0 &&
               listen(server, 1) == 0);
    put(w, VIRTIO_VSOCK_OP_REQUEST, 0);
    wait_sent(w);
    loop_settle(w->m.loop);
    receive(w);
    BENCH_MUST(w->last.op == VIRTIO_VSOCK_OP_RESPONSE);
    w->fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    BENCH_MUST(w->fd >= 0);
    (void)close(server);
    (void)unlink(at.sun_path);
}

static void socket_up(struct vsock_work *w)
{
    int pair[2], room = 4 * PACKET;
    BENCH_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    w->fd = pair[0];
    w->peer = pair[1];
    BENCH_MUST(setsockopt(w->peer, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
}

static void *up(const struct bench_row *r)
{
    struct vsock_work *w = calloc(1, sizeof(*w));
    BENCH_MUST(w != NULL);
    w->how = *(const enum how *)r->shape;
    w->fd = w->peer = -1;
    w->from = aligned_alloc(4096, PACKET);
    w->to = aligned_alloc(4096, PACKET);
    BENCH_MUST(w->from && w->to);
    memset(w->from, 1, PACKET);
    if (w->how == BY_DEVICE)
        device_up(w);
    if (w->how == BY_SOCKET)
        socket_up(w);
    (void)r->sample(w, true);
    return w;
}

static void down(void *work)
{
    struct vsock_work *w = work;
    fd_cleanup_(&w->fd);
    fd_cleanup_(&w->peer);
    if (w->how == BY_DEVICE) {
        machine_down(&w->m);
        driver_down(&w->rx);
        driver_down(&w->tx);
    }
    free(w->from);
    free(w->to);
    free(w);
}

/* --- samples --- */

static void program_reads(struct vsock_work *w)
{
    for (size_t n = 0; n < PACKET;) {
        ssize_t got = recv(w->fd, w->to, PACKET - n, 0);
        BENCH_MUST(got > 0);
        n += (size_t)got;
    }
}

/* One packet; nanoseconds of the sending side. */
static uint64_t packet(struct vsock_work *w)
{
    uint64_t ns;
    if (w->how == BY_DEVICE)
        put(w, VIRTIO_VSOCK_OP_RW, PACKET);
    uint64_t t0 = bench_wall_ns();
    if (w->how == BY_MEMCPY)
        memcpy(w->to, w->from, PACKET);
    else if (w->how == BY_SOCKET)
        BENCH_MUST(send(w->peer, w->from, PACKET, MSG_NOSIGNAL) == PACKET);
    else
        wait_sent(w);
    ns = bench_wall_ns() - t0;
    __asm__ volatile("" ::"r"(w->to) : "memory"); /* the copy is wanted */
    if (w->how != BY_MEMCPY)
        program_reads(w);
    if (w->how == BY_DEVICE) {
        loop_settle(w->m.loop);
        receive(w);
    }
    return ns;
}

static double sample(void *work, bool once)
{
    unsigned n = once ? 16 : 2000;
    uint64_t ns = 0;
    for (unsigned i = 0; i < n; i++)
        ns += packet(work);
    return n * (double)PACKET / (1 << 20) * 1e9 / (double)ns;
}

static void exact(const struct bench_row *r, void *work, bool once)
{
    struct vsock_work *w = work;
    (void)once;
    if (w->how != BY_DEVICE)
        return;
    uint64_t a = bench_allocations();
    (void)packet(w);
    bench_print_exact(r, "allocations/request", (double)(bench_allocations() - a));
}

void bench_vsock(void)
{
    static const struct {
        enum how how;
        const char *name;
    } rows[] = {
        {BY_MEMCPY, "memcpy, 64 KiB"},
        {BY_SOCKET, "plain socket, 64 KiB"},
        {BY_DEVICE, "guest to host, 64 KiB"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bench_row r = {.group = "vsock",
                              .unit = "MiB/s",
                              .base = i > 0 ? rows[i - 1].name : NULL,
                              .shape = &rows[i].how,
                              .up = up,
                              .sample = sample,
                              .exact = exact,
                              .down = down};
        (void)snprintf(r.name, sizeof(r.name), "%s", rows[i].name);
        bench_add(&r);
    }
}
