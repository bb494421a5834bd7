/* Both ends of tools/boot-test's test of sockets between a guest and its host, which are two
 * processes of this program. Each end has a server that sends back what it gets, and a client that
 * opens a hundred connections to it at once, some of which read slowly; every byte is checked.
 *
 * usage: vsock-peer host PATH   in the laboratory's L1: beside a VMM with --device vsock,uds=PATH
 *        vsock-peer guest       the guest's end: exit status 0 if all was well */
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
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { ECHO = 5000, MESSAGES = 5001, CONTROL = 5002, GUEST_ECHO = 6000 };
enum { MANY = 100, EACH = 256 * 1024, CHUNK = 8 * 1024, SERVED = 256, SECONDS = 200 };

static const char *path; /* the host's end */

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
    uint32_t len = EACH - c->sent < CHUNK ? EACH - c->sent : CHUNK;
    for (uint32_t i = 0; i < len; i++)
        b[i] = byte_at(id, c->sent + i);
    ssize_t n = send(c->fd, b, len, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        fail("send");
    c->sent += n > 0 ? (uint32_t)n : 0;
    if (c->sent == EACH)
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
                .events = (short)((asleep ? 0 : POLLIN) | (c[i].sent < EACH ? POLLOUT : 0))};
        }
        if (poll(p, MANY, 100) < 0)
            fail("poll");
        for (unsigned i = 0; i < MANY; i++) {
            if (p[i].revents & POLLOUT)
                speak(&c[i], i);
            if (!(p[i].revents & (POLLIN | POLLHUP | POLLERR)) || hear(&c[i], i, i < n_messages))
                continue;
            if (c[i].got != EACH) {
                printf("vsock-peer: connection %u ended at %u\n", i, c[i].got);
                exit(1);
            }
            close(c[i].fd);
            c[i].fd = -1;
            left--;
        }
    }
    printf("vsock-peer: %d connections of %d bytes each way\n", MANY, EACH);
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
    for (;;) {
        int fd = serve_until_called(listeners, 3);
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
    run_clients(guest_open, MANY / 5);
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        serve_until_called(&listener, 1);
    fd = guest_connect(SOCK_STREAM, CONTROL);
    for (size_t n = 0; n < 3;) {
        ssize_t r = read(fd, answer + n, 3 - n);
        if (r <= 0)
            fail("the host's clients");
        n += (size_t)r;
    }
    if (memcmp(answer, "ok\n", 3) != 0)
        fail("the host's answer");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(SECONDS); /* of nothing that stands still is there an end otherwise */
    path = argc > 2 ? argv[2] : "";
    if (argc == 3 && strcmp(argv[1], "host") == 0)
        host();
    else if (argc == 2 && strcmp(argv[1], "guest") == 0)
        guest();
    else
        return 2;
    return 0;
}
