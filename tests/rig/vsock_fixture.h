/* tests/rig/vsock_fixture.h - what the socket device's tests share: a driver's packets, Unix
 * sockets of the host's programs, and seconds that pass when a test says so. */
#pragma once

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "devices/vsock/vsock_priv.h"
#include "tests/rig/reported.h"
#include "tests/rig/rig.h"

enum { CID = 3, GUEST_PORT = 1000, HOST_PORT = 52, BUF = 64 * 1024, RX_LEN = 4096 };
enum { STREAM = VIRTIO_VSOCK_TYPE_STREAM, SEQPACKET = VIRTIO_VSOCK_TYPE_SEQPACKET };
enum { SHUT_RECV = 1, SHUT_SEND = 2 }; /* bits 0 and 1: 5.10.6.5 */

#define OP(name) VIRTIO_VSOCK_OP_##name

/* --- seconds --- */

static struct loop_timer *ticker; /* that is set */

void __real_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t ns)
{
    if (t->fn != conns_tick)
        __real_loop_timer_set(t, ns);
    else
        ticker = ns ? t : NULL;
}

/* --- the machine --- */

struct packet {
    struct virtio_vsock_hdr h;
    uint8_t data[VSOCK_PACKET_MAX];
};

struct guest {
    struct rig *r;
    char dir[32], path[64];
    gpa_t tx;        /* room for a packet */
    gpa_t rx[65536]; /* by the id of its buffer */
    uint32_t rx_len[65536];
    bool repost;     /* what was read is given again */
    struct packet p; /* the last one that was received */
    /* The connection that guest_*() below are about. */
    uint16_t type;
    uint32_t guest_port, host_port, buf_alloc, fwd_cnt;
};

static inline void pass(struct guest *g, unsigned seconds)
{
    for (unsigned i = 0; i < seconds && ticker; i++) {
        struct loop_timer *t = ticker;
        ticker = NULL;
        t->fn(t->ctx);
        rig_settle(g->r);
    }
}

static inline void guest_post(struct guest *g, uint32_t len, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct rig_seg in = {rig_alloc(g->r, len), len};
        uint16_t id = rig_add(g->r, VSOCK_RX, NULL, 0, &in, 1);
        g->rx[id] = in.at;
        g->rx_len[id] = len;
    }
    rig_kick(g->r, VSOCK_RX);
    rig_settle(g->r);
}

static inline void guest_path(struct guest *g)
{
    strcpy(g->dir, "/tmp/vmm-vsock-XXXXXX");
    cr_assert(mkdtemp(g->dir) != NULL);
    (void)snprintf(g->path, sizeof(g->path), "%s/s", g->dir);
}

/* A guest whose device has rx buffers, unless `o` says otherwise or rx is 0. */
static inline struct guest *guest_up(const struct rig_options *o, unsigned rx)
{
    struct guest *g = calloc(1, sizeof(*g));
    char spec[128];
    guest_path(g);
    (void)snprintf(spec, sizeof(spec), "vsock,cid=%u,uds=%s", CID, g->path);
    g->r = rig_up(spec, o);
    g->tx = rig_alloc(g->r, sizeof(struct packet) + BUF);
    g->type = STREAM;
    g->guest_port = GUEST_PORT;
    g->host_port = HOST_PORT;
    g->buf_alloc = BUF;
    g->repost = true;
    guest_post(g, RX_LEN, rx);
    return g;
}

static inline void guest_down(struct guest *g)
{
    char path[128];
    rig_down(g->r);
    cr_assert_eq(access(g->path, F_OK), -1, "the socket is still there");
    (void)snprintf(path, sizeof(path), "%s_%u", g->path, HOST_PORT);
    (void)unlink(path);
    cr_assert_eq(rmdir(g->dir), 0);
    free(g);
}

/* --- packets --- */

static inline struct virtio_vsock_hdr header(const struct guest *g, unsigned op)
{
    return (struct virtio_vsock_hdr){.src_cid = CID,
                                     .dst_cid = VSOCK_CID_HOST,
                                     .src_port = g->guest_port,
                                     .dst_port = g->host_port,
                                     .type = g->type,
                                     .op = (uint16_t)op,
                                     .buf_alloc = g->buf_alloc,
                                     .fwd_cnt = g->fwd_cnt};
}

/* Header and payload in one buffer; it does not wait for its use. */
static inline void guest_put(struct guest *g, const struct virtio_vsock_hdr *h, const void *data,
                             size_t len, gpa_t at)
{
    memcpy(rig_at(g->r, at, sizeof(*h)), h, sizeof(*h));
    if (len)
        memcpy(rig_at(g->r, GPA(at.v + sizeof(*h)), len), data, len);
    struct rig_seg out = {at, (uint32_t)(sizeof(*h) + len)};
    rig_add(g->r, VSOCK_TX, &out, 1, NULL, 0);
}

static inline void guest_send_raw(struct guest *g, const struct virtio_vsock_hdr *h,
                                  const void *data, size_t len)
{
    uint32_t id, used;
    guest_put(g, h, data, len, g->tx);
    rig_kick(g->r, VSOCK_TX);
    rig_settle(g->r);
    cr_assert(rig_used(g->r, VSOCK_TX, &id, &used), "the packet was not taken");
    cr_assert_eq(used, 0);
}

static inline void guest_op(struct guest *g, unsigned op, uint32_t flags)
{
    struct virtio_vsock_hdr h = header(g, op);
    h.flags = flags;
    guest_send_raw(g, &h, NULL, 0);
}

static inline void guest_data(struct guest *g, const void *data, size_t len, uint32_t flags)
{
    struct virtio_vsock_hdr h = header(g, OP(RW));
    h.len = (uint32_t)len;
    h.flags = flags;
    guest_send_raw(g, &h, data, len);
}

/* The next packet, into g->p; false: none. */
static inline bool guest_recv(struct guest *g)
{
    uint32_t id, used;
    rig_settle(g->r);
    if (!rig_used(g->r, VSOCK_RX, &id, &used))
        return false;
    cr_assert_geq(used, sizeof(g->p.h));
    cr_assert_leq(used, sizeof(g->p));
    memcpy(&g->p, rig_at(g->r, g->rx[id], used), used);
    cr_assert_eq(g->p.h.len, used - sizeof(g->p.h));
    if (g->repost) {
        struct rig_seg in = {g->rx[id], g->rx_len[id]};
        gpa_t at = in.at;
        id = rig_add(g->r, VSOCK_RX, NULL, 0, &in, 1);
        g->rx[id] = at;
        g->rx_len[id] = in.len;
        rig_kick(g->r, VSOCK_RX);
    }
    return true;
}

/* It is of this connection, and of this kind. */
static inline void guest_expect(struct guest *g, unsigned op)
{
    cr_assert(guest_recv(g), "no packet where %u was expected", op);
    const struct virtio_vsock_hdr *h = &g->p.h;
    cr_assert_eq(h->op, op, "%u, not %u", h->op, op);
    cr_assert_eq(h->type, g->type);
    cr_assert_eq(h->src_cid, VSOCK_CID_HOST);
    cr_assert_eq(h->dst_cid, CID);
    cr_assert_eq(h->src_port, g->host_port);
    cr_assert_eq(h->dst_port, g->guest_port);
}

static inline void guest_expect_none(struct guest *g)
{
    cr_assert(!guest_recv(g), "a packet that nobody expects: %u", g->p.h.op);
}

static inline void guest_expect_data(struct guest *g, const char *text)
{
    guest_expect(g, OP(RW));
    cr_assert_eq(g->p.h.len, strlen(text));
    cr_assert_eq(memcmp(g->p.data, text, strlen(text)), 0);
}

/* It may be said piece by piece. */
static inline void guest_expect_shutdown(struct guest *g, uint32_t flags)
{
    do {
        guest_expect(g, OP(SHUTDOWN));
        cr_assert_eq(g->p.h.flags & ~flags, 0, "flags %#x", g->p.h.flags);
    } while (g->p.h.flags != flags);
}

/* --- programs of the host's --- */

/* One that listens where port P leads to. */
static inline int host_server(struct guest *g, int type, unsigned port)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof(at.sun_path), "%s_%u", g->path, port);
    int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    cr_assert_eq(listen(fd, 128), 0);
    return fd;
}

static inline int host_accept(int server)
{
    int fd = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    cr_assert_geq(fd, 0, "nobody has connected: %m");
    return fd;
}

static inline int host_client(struct guest *g)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, g->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0, "%m");
    return fd;
}

static inline void host_says(struct guest *g, int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text), "%m");
    rig_settle(g->r);
}

static inline void host_reads(struct guest *g, int fd, const char *text)
{
    char got[256];
    rig_settle(g->r);
    ssize_t n = recv(fd, got, sizeof(got), 0);
    cr_assert_eq(n, (ssize_t)strlen(text), "%zd bytes, not %zu: %m", n, strlen(text));
    cr_assert_eq(memcmp(got, text, strlen(text)), 0);
}

static inline bool host_sees_end(struct guest *g, int fd)
{
    char c;
    rig_settle(g->r);
    ssize_t n = recv(fd, &c, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static inline bool host_sees_nothing(struct guest *g, int fd)
{
    char c;
    rig_settle(g->r);
    return recv(fd, &c, 1, 0) < 0 && errno == EAGAIN;
}

/* --- connections --- */

/* By the guest; returns the host program's end. */
static inline int guest_connects(struct guest *g, uint16_t type)
{
    int server = host_server(g, type == STREAM ? SOCK_STREAM : SOCK_SEQPACKET, g->host_port);
    char path[128];
    g->type = type;
    guest_op(g, OP(REQUEST), 0);
    guest_expect(g, OP(RESPONSE));
    int fd = host_accept(server);
    close(server);
    (void)snprintf(path, sizeof(path), "%s_%u", g->path, g->host_port);
    cr_assert_eq(unlink(path), 0);
    return fd;
}

/* By a program of the host's, to a guest that accepts. */
static inline int host_connects(struct guest *g)
{
    char line[64];
    int fd = host_client(g);
    (void)snprintf(line, sizeof(line), "CONNECT %u\n", g->guest_port);
    host_says(g, fd, line);
    cr_assert(guest_recv(g), "no REQUEST");
    g->host_port = g->p.h.src_port;
    cr_assert_eq(g->p.h.op, OP(REQUEST));
    cr_assert_eq(g->p.h.dst_port, g->guest_port);
    guest_op(g, OP(RESPONSE), 0);
    (void)snprintf(line, sizeof(line), "OK %u\n", g->host_port);
    host_reads(g, fd, line);
    return fd;
}
