/* Both ends of tools/boot-test's tests of sockets between a guest and its host, which are two
 * processes of this program. Each end has a server that sends back what it gets, and a client that
 * opens a hundred connections to it at once, some of which read slowly; every byte is checked. Or
 * one connection carries a lot to a reader that pauses, so that its sender must wait for it.
 *
 * usage: vsock-peer host PATH                  in the laboratory's L1: beside a VMM with --device
 *                                              vsock,uds=PATH
 *        vsock-peer guest KIB SECONDS          connections that carry KIB each
 *        vsock-peer guest up|down MIB SECONDS  one that carries MIB
 * The guest's end has exit status 0 if all was well, and SECONDS for it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { ECHO = 5000, MESSAGES = 5001, CONTROL = 5002, LARGE = 5003, GUEST_ECHO = 6000 };
enum { MANY = 100, CHUNK = 8 * 1024, SERVED = 256 };
enum { LARGE_BLOCK = 64 * 1024, LARGE_PER_MIB = 16 };

static const char *path; /* the host's end */
static uint32_t each;    /* how many bytes a connection of many carries */

static void fail(const char *what)
{
    printf("vsock-peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void unblock(int fd)
{
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("O_NONBLOCK");
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void say_rate(const char *what, uint64_t bytes, double seconds)
{
    printf("vsock-peer: %s: %.1f MiB in %.1f s, %.2f MiB/s\n", what, (double)bytes / (1 << 20),
           seconds, (double)bytes / (1 << 20) / seconds);
}

static void read_all(int fd, void *to, size_t len)
{
    if (recv(fd, to, len, MSG_WAITALL) != (ssize_t)len)
        fail("recv");
}

/* --- a server that sends back --- */

struct served {
    int fd;
    bool eof;
    size_t from, to;
    uint8_t buf[CHUNK];
};

/* False when it is over. */
static bool serve(struct served *s)
{
    if (s->from == s->to && !s->eof) {
        ssize_t n = recv(s->fd, s->buf, sizeof(s->buf), 0);
        if (n < 0)
            return errno == EAGAIN;
        s->from = 0;
        s->to = (size_t)n;
        s->eof = n == 0;
    }
    if (s->from < s->to) {
        ssize_t n = send(s->fd, s->buf + s->from, s->to - s->from, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN;
        s->from += (size_t)n;
    }
    return !s->eof || s->from < s->to;
}

/* Until somebody connects to the last listener; returns that connection. */
static int serve_until_called(const int *listeners, unsigned n_listeners)
{
    static struct served served[SERVED];
    unsigned n = 0;
    for (;;) {
        struct pollfd p[SERVED + 4];
        for (unsigned i = 0; i < n_listeners; i++)
            p[i] = (struct pollfd){.fd = listeners[i], .events = POLLIN};
        for (unsigned i = 0; i < n; i++) {
            bool full = served[i].from < served[i].to;
            p[n_listeners + i] =
                (struct pollfd){.fd = served[i].fd, .events = full ? POLLOUT : POLLIN};
        }
        if (poll(p, n_listeners + n, -1) < 0)
            fail("poll");
        for (unsigned i = n; i-- > 0;) {
            if (p[n_listeners + i].revents == 0 || serve(&served[i]))
                continue;
            close(served[i].fd);
            served[i] = served[--n];
        }
        for (unsigned i = 0; i < n_listeners && n < SERVED; i++) {
            if (!p[i].revents)
                continue;
            int fd = accept(listeners[i], NULL, NULL);
            if (fd < 0)
                fail("accept");
            if (i == n_listeners - 1 && n_listeners > 1)
                return fd;
            unblock(fd);
            served[n++] = (struct served){.fd = fd};
        }
    }
}

/* --- a client that opens many --- */

struct client {
    int fd;
    bool slow;
    uint32_t sent, got;
};

static uint8_t byte_at(uint32_t client, uint32_t i)
{
    return (uint8_t)(i * 2654435761u >> 15 ^ client);
}

static void speak(struct client *c, uint32_t id)
{
    uint8_t b[CHUNK];
    uint32_t len = each - c->sent < CHUNK ? each - c->sent : CHUNK;
    for (uint32_t i = 0; i < len; i++)
        b[i] = byte_at(id, c->sent + i);
    ssize_t n = send(c->fd, b, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        fail("send");
    c->sent += n > 0 ? (uint32_t)n : 0;
    if (c->sent == each)
        shutdown(c->fd, SHUT_WR);
}

static bool hear(struct client *c, uint32_t id, bool messages)
{
    uint8_t b[CHUNK];
    ssize_t n = recv(c->fd, b, c->slow && !messages ? 700 : sizeof(b), 0);
    if (n < 0 && errno == EAGAIN)
        return true;
    if (n < 0)
        fail("recv");
    for (ssize_t i = 0; i < n; i++) {
        if (b[i] != byte_at(id, c->got + (uint32_t)i)) {
            printf("vsock-peer: connection %u: byte %u is wrong\n", id, c->got + (uint32_t)i);
            exit(1);
        }
    }
    c->got += (uint32_t)n;
    return n > 0;
}

static void run_clients(int (*open_one)(bool messages), unsigned n_messages)
{
    static struct client c[MANY];
    unsigned left = MANY;
    for (unsigned i = 0; i < MANY; i++) {
        c[i] = (struct client){.fd = open_one(i < n_messages), .slow = i % 10 == 3};
        unblock(c[i].fd);
    }
    for (unsigned round = 0; left > 0; round++) {
        struct pollfd p[MANY];
        for (unsigned i = 0; i < MANY; i++) {
            bool asleep = c[i].slow && round % 4; /* it only writes in three turns of four */
            p[i] = (struct pollfd){
                .fd = c[i].fd,
                .events = (short)((asleep ? 0 : POLLIN) | (c[i].sent < each ? POLLOUT : 0))};
        }
        if (poll(p, MANY, 2) < 0)
            fail("poll");
        for (unsigned i = 0; i < MANY; i++) {
            if (p[i].revents & POLLOUT)
                speak(&c[i], i);
            if (!(p[i].revents & (POLLIN | POLLHUP | POLLERR)) || hear(&c[i], i, i < n_messages))
                continue;
            if (c[i].got != each) {
                printf("vsock-peer: connection %u ended at %u\n", i, c[i].got);
                exit(1);
            }
            close(c[i].fd);
            c[i].fd = -1;
            left--;
        }
    }
}

/* --- a lot on one connection --- */

/* One way or the other, as the client says. */
struct large {
    uint32_t mib;
    bool up;
};

/* What comes at this place: each block has its own first words. */
static void fill_block(uint8_t *b, uint32_t place)
{
    if (place == 0) {
        for (uint32_t i = 0; i < LARGE_BLOCK; i++)
            b[i] = byte_at(7, i);
    }
    memcpy(b, &place, sizeof(place));
}

static void send_large(int fd, uint32_t mib)
{
    static uint8_t b[LARGE_BLOCK];
    for (uint32_t i = 0; i < mib * LARGE_PER_MIB; i++) {
        fill_block(b, i);
        for (size_t at = 0; at < sizeof(b);) {
            ssize_t n = send(fd, b + at, sizeof(b) - at, MSG_NOSIGNAL);
            if (n < 0)
                fail("send");
            at += (size_t)n;
        }
    }
}

/* Each pause is long enough for the sender to fill whatever there is in between. */
static void read_large_slowly(int fd, uint32_t mib)
{
    static uint8_t b[LARGE_BLOCK], want[LARGE_BLOCK];
    for (uint32_t i = 0; i < mib * LARGE_PER_MIB; i++) {
        if (i % (64 * LARGE_PER_MIB) == 0)
            sleep(2);
        fill_block(want, i);
        read_all(fd, b, sizeof(b));
        if (memcmp(b, want, sizeof(b)) != 0) {
            printf("vsock-peer: block %u of %u is wrong\n", i, mib * LARGE_PER_MIB);
            exit(1);
        }
    }
}

/* The end that was called: a process of its own for each call. */
static void serve_large(int listener)
{
    for (;;) {
        struct large l;
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            fail("accept");
        pid_t child = fork();
        if (child < 0)
            fail("fork");
        if (child == 0) {
            read_all(fd, &l, sizeof(l));
            if (l.up)
                read_large_slowly(fd, l.mib);
            else
                send_large(fd, l.mib);
            if (send(fd, "ok", 2, MSG_NOSIGNAL) != 2)
                fail("the end of much");
            exit(0);
        }
        close(fd);
    }
}

static void call_large(int fd, struct large l)
{
    char answer[2];
    double start = now();
    if (send(fd, &l, sizeof(l), MSG_NOSIGNAL) != sizeof(l))
        fail("send");
    if (l.up)
        send_large(fd, l.mib);
    else
        read_large_slowly(fd, l.mib);
    read_all(fd, answer, sizeof(answer));
    if (memcmp(answer, "ok", 2) != 0)
        fail("the end of much");
    say_rate(l.up ? "from the guest to a reader that pauses"
                  : "from the host to a reader that pauses",
             (uint64_t)l.mib << 20, now() - start);
}

/* --- the host's end --- */

static int unix_socket(int type, const char *name, bool listens)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type, 0);
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", name);
    if (fd < 0 || (listens ? bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 128) < 0
                           : connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0))
        fail(name);
    return fd;
}

static int host_listener(int type, unsigned port)
{
    char name[100];
    snprintf(name, sizeof(name), "%s_%u", path, port);
    return unix_socket(type, name, true);
}

static int host_open(bool messages)
{
    char line[32];
    size_t n = 0;
    int fd = unix_socket(SOCK_STREAM, path, false);
    (void)messages;
    if (dprintf(fd, "CONNECT %d\n", GUEST_ECHO) < 0)
        fail("CONNECT");
    while (n == 0 || line[n - 1] != '\n') {
        if (n == sizeof(line) || read(fd, line + n, 1) != 1)
            fail("the answer to CONNECT");
        n++;
    }
    if (memcmp(line, "OK ", 3) != 0)
        fail("what is not OK");
    return fd;
}

static void host(void)
{
    const int listeners[] = {host_listener(SOCK_STREAM, ECHO),
                             host_listener(SOCK_SEQPACKET, MESSAGES),
                             host_listener(SOCK_STREAM, CONTROL)};
    int large = host_listener(SOCK_STREAM, LARGE);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        serve_large(large);
    for (;;) {
        int fd = serve_until_called(listeners, 3);
        read_all(fd, &each, sizeof(each));
        run_clients(host_open, 0);
        if (write(fd, "ok\n", 3) != 3)
            fail("the answer to the guest");
        close(fd);
    }
}

/* --- the guest's end --- */

static int guest_connect(int type, unsigned port)
{
    struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    int fd = socket(AF_VSOCK, type, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        fail("connect");
    return fd;
}

static int guest_open(bool messages)
{
    return guest_connect(messages ? SOCK_SEQPACKET : SOCK_STREAM, messages ? MESSAGES : ECHO);
}

static void guest(void)
{
    struct sockaddr_vm a = {
        .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = GUEST_ECHO};
    int listener = socket(AF_VSOCK, SOCK_STREAM, 0);
    char answer[4] = "";
    if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 ||
        listen(listener, 128) < 0)
        fail("listen");
    a.svm_cid = VMADDR_CID_HOST;
    a.svm_port = 77; /* where nobody is */
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno != ECONNRESET)
        fail("a connection to nobody");
    close(fd);
    double start = now();
    run_clients(guest_open, MANY / 5);
    say_rate("a hundred connections from the guest, each way", (uint64_t)MANY * each,
             now() - start);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        serve_until_called(&listener, 1);
    start = now();
    fd = guest_connect(SOCK_STREAM, CONTROL);
    if (send(fd, &each, sizeof(each), MSG_NOSIGNAL) != sizeof(each))
        fail("send");
    read_all(fd, answer, 3);
    if (memcmp(answer, "ok\n", 3) != 0)
        fail("the host's answer");
    say_rate("a hundred connections from the host, each way", (uint64_t)MANY * each, now() - start);
}

int main(int argc, char **argv)
{
    bool is_guest = argc >= 4 && strcmp(argv[1], "guest") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (is_guest) /* of nothing that stands still is there an end otherwise */
        alarm((unsigned)atoi(argv[argc - 1]));
    if (argc == 3 && strcmp(argv[1], "host") == 0) {
        path = argv[2];
        host();
    } else if (is_guest && argc == 4) {
        each = (uint32_t)atoi(argv[2]) << 10;
        guest();
    } else if (is_guest && argc == 5) {
        const struct large l = {.mib = (uint32_t)atoi(argv[3]), .up = strcmp(argv[2], "up") == 0};
        call_large(guest_connect(SOCK_STREAM, LARGE), l);
    } else {
        return 2;
    }
    return 0;
}
