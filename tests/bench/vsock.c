/* tests/bench/vsock.c - a stream between a guest and a program of the host's, beside a plain socket
 * of the program's kind and a copy of as many bytes.
 *
 * A sample is the time of one side for 64 KiB. To the host: of the device, from the guest's
 * notification on; of send(); of memcpy(). To the guest, whose buffers have a page each, as Linux's
 * have: of the device, from the moment when they are in the socket; of recv(). What the program
 * does is not in it. */
#include <linux/virtio_vsock.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/bench/bench.h"
#include "tests/bench/driver.h"

enum { RX, TX };
enum { CID = 3, GUEST_PORT = 1000, HOST_PORT = 52, PIECE = 64 << 10, RX_SLOTS = 32, TX_SLOTS = 16 };

enum how { BY_MEMCPY, BY_SEND, BY_RECV, TO_HOST, TO_GUEST };

struct vsock_shape {
    enum how how;
    unsigned packets; /* TO_HOST: that the piece is in */
};

struct vsock_work {
    const struct vsock_shape *shape;
    uint8_t *from, *to;
    int fd, peer; /* the program's end, and of a plain socket the other */
    struct machine m;
    struct driver rx, tx;
    struct virtio_vsock_hdr last; /* packet that was received */
    uint32_t received;            /* payload of all of them */
};

/* --- the driver --- */

static bool by_device(const struct vsock_work *w)
{
    return w->shape->how == TO_HOST || w->shape->how == TO_GUEST;
}

static void put(struct vsock_work *w, unsigned slot, unsigned op, uint32_t len)
{
    const struct virtio_vsock_hdr h = {.src_cid = CID,
                                       .dst_cid = VMADDR_CID_HOST,
                                       .src_port = GUEST_PORT,
                                       .dst_port = HOST_PORT,
                                       .len = len,
                                       .type = VIRTIO_VSOCK_TYPE_STREAM,
                                       .op = (uint16_t)op,
                                       .buf_alloc = 2 * PIECE,
                                       .fwd_cnt = w->received};
    struct request *r = &w->tx.requests[slot];
    memcpy(machine_at(&w->m, r->at[0], sizeof(h)), &h, sizeof(h));
    r->len[1] = len;
    driver_describe(&w->tx, slot);
    driver_add(&w->tx, slot);
}

static void publish(struct vsock_work *w)
{
    driver_wish(&w->tx);
    driver_publish(&w->tx);
}

static void wait_sent(struct vsock_work *w, unsigned n)
{
    vdev_kick(w->m.dev, TX);
    while (n > 0) {
        if (driver_reap(&w->tx) >= 0)
            n--;
        else
            (void)loop_step(w->m.loop, -1);
    }
}

static void say(struct vsock_work *w, unsigned op)
{
    put(w, 0, op, 0);
    publish(w);
    wait_sent(w, 1);
    loop_settle(w->m.loop);
}

/* What the device sends is read, and there is room for more. */
static void receive(struct vsock_work *w)
{
    driver_wish(&w->rx);
    for (int slot; (slot = driver_reap(&w->rx)) >= 0;) {
        memcpy(&w->last, machine_at(&w->m, w->rx.requests[slot].at[0], sizeof(w->last)),
               sizeof(w->last));
        w->received += w->last.len;
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
    const struct shape tx = {.event_idx = true, .segments = 2, .slots = TX_SLOTS};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char uds[80], spec[128];
    static unsigned n; /* one for each row */
    (void)snprintf(uds, sizeof(uds), "%s/vsock%u", bench_folder(), n++);
    (void)snprintf(spec, sizeof(spec), "vsock,cid=%u,uds=%s", CID, uds);
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s_%u", uds, HOST_PORT);
    machine_up(&w->m);
    machine_device(&w->m, spec);
    machine_negotiate(&w->m, &tx);
    driver_up(&w->rx, &w->m, RX, &rx);
    driver_up(&w->tx, &w->m, TX, &tx);
    for (unsigned i = 0; i < TX_SLOTS; i++) {
        w->tx.requests[i].at[1] = machine_high(&w->m, PIECE);
        w->tx.requests[i].len[0] = sizeof(struct virtio_vsock_hdr);
    }
    machine_driver_ok(&w->m);
    for (unsigned i = 0; i < RX_SLOTS; i++)
        driver_add(&w->rx, i);
    receive(w);

    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    BENCH_MUST(server >= 0 && bind(server, (struct sockaddr *)&at, sizeof(at)) == 0 &&
               listen(server, 1) == 0);
    say(w, VIRTIO_VSOCK_OP_REQUEST);
    receive(w);
    BENCH_MUST(w->last.op == VIRTIO_VSOCK_OP_RESPONSE);
    w->fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
    BENCH_MUST(w->fd >= 0);
    (void)close(server);
    (void)unlink(at.sun_path);
}

static void socket_up(struct vsock_work *w)
{
    int pair[2];
    BENCH_MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    w->fd = pair[w->shape->how == BY_RECV];
    w->peer = pair[w->shape->how == BY_SEND];
}

static void *up(const struct bench_row *r)
{
    struct vsock_work *w = calloc(1, sizeof(*w));
    BENCH_MUST(w != NULL);
    w->shape = r->shape;
    w->fd = w->peer = -1;
    w->from = aligned_alloc(4096, PIECE);
    w->to = aligned_alloc(4096, PIECE);
    BENCH_MUST(w->from && w->to);
    memset(w->from, 1, PIECE);
    if (by_device(w))
        device_up(w);
    else if (w->shape->how != BY_MEMCPY)
        socket_up(w);
    if (w->fd >= 0) { /* a piece fits, whatever the program does meanwhile */
        int room = 4 * PIECE;
        int from = w->shape->how == BY_SEND ? w->peer : w->fd;
        BENCH_MUST(setsockopt(from, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) == 0);
    }
    (void)r->sample(w, true);
    return w;
}

static void down(void *work)
{
    struct vsock_work *w = work;
    fd_cleanup_(&w->fd);
    fd_cleanup_(&w->peer);
    if (by_device(w)) {
        machine_down(&w->m);
        driver_down(&w->rx);
        driver_down(&w->tx);
    }
    free(w->from);
    free(w->to);
    free(w);
}

/* --- samples --- */

static void take(int fd, uint8_t *to)
{
    for (size_t n = 0; n < PIECE;) {
        ssize_t got = recv(fd, to, PIECE - n, 0);
        BENCH_MUST(got > 0);
        n += (size_t)got;
    }
}

static void give(int fd, const uint8_t *from)
{
    BENCH_MUST(send(fd, from, PIECE, MSG_NOSIGNAL) == PIECE);
}

/* What comes before the piece, the piece, and what comes after it: tools/bench profile knows them
 * by their names. */
static __attribute__((noinline)) void before(struct vsock_work *w)
{
    unsigned n = w->shape->packets;
    if (w->shape->how == TO_HOST) {
        for (unsigned i = 0; i < n; i++)
            put(w, i, VIRTIO_VSOCK_OP_RW, PIECE / n);
        publish(w);
    }
    if (w->shape->how == BY_RECV || w->shape->how == TO_GUEST)
        give(w->fd, w->from);
}

static __attribute__((noinline)) void piece(void *work)
{
    struct vsock_work *w = work;
    switch (w->shape->how) {
    case BY_MEMCPY:
        memcpy(w->to, w->from, PIECE);
        __asm__ volatile("" ::"r"(w->to) : "memory"); /* the copy is wanted */
        break;
    case BY_SEND:
        give(w->peer, w->from);
        break;
    case BY_RECV:
        take(w->peer, w->to);
        break;
    case TO_HOST:
        wait_sent(w, w->shape->packets);
        break;
    case TO_GUEST:
        for (uint32_t from = w->received; w->received - from < PIECE; receive(w))
            (void)loop_step(w->m.loop, -1);
    }
}

static __attribute__((noinline)) void after(struct vsock_work *w)
{
    if (w->shape->how == BY_SEND || w->shape->how == TO_HOST)
        take(w->fd, w->to);
    if (w->shape->how == TO_GUEST)
        say(w, VIRTIO_VSOCK_OP_CREDIT_UPDATE); /* the guest has read it */
    if (by_device(w)) {
        loop_settle(w->m.loop);
        receive(w);
    }
}

static double sample(void *work, bool once)
{
    struct vsock_work *w = work;
    unsigned n = once ? 16 : 2000;
    uint64_t ns = 0;
    for (unsigned i = 0; i < n; i++) {
        before(w);
        uint64_t t0 = bench_wall_ns();
        piece(w);
        ns += bench_wall_ns() - t0;
        after(w);
    }
    return n * (double)PIECE / (1 << 20) * 1e9 / (double)ns;
}

static void exact(const struct bench_row *r, void *work, bool once)
{
    struct vsock_work *w = work;
    if (!by_device(w))
        return;
    before(w);
    uint64_t a = bench_allocations();
    piece(w);
    bench_print_exact(r, "allocations/request", (double)(bench_allocations() - a));
    after(w);
    if (once)
        return;
    before(w);
    struct bench_counts c = bench_count(piece, w);
    after(w);
    bench_print_exact(r, "instructions/request", (double)c.instructions);
    bench_print_exact(r, "system calls/request", (double)c.system_calls);
}

void bench_vsock(void)
{
    static const struct {
        struct vsock_shape shape;
        const char *name;
        unsigned base;
    } rows[] = {
        {{BY_MEMCPY, 0}, "memcpy, 64 KiB", 0},
        {{BY_SEND, 0}, "plain socket, send, 64 KiB", 0},
        {{TO_HOST, 1}, "guest to host, 64 KiB", 1},
        {{TO_HOST, TX_SLOTS}, "guest to host, 16 of 4 KiB", 1},
        {{BY_RECV, 0}, "plain socket, receive, 64 KiB", 0},
        {{TO_GUEST, 0}, "host to guest, 64 KiB", 4},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bench_row r = {.group = "vsock",
                              .unit = "MiB/s",
                              .base = i > 0 ? rows[rows[i].base].name : NULL,
                              .shape = &rows[i].shape,
                              .up = up,
                              .sample = sample,
                              .exact = exact,
                              .down = down};
        (void)snprintf(r.name, sizeof(r.name), "%s", rows[i].name);
        bench_add(&r);
    }
}
