/* devices/net/backend.h - the host's end of a network device: where frames go to and come from.
 *
 * What is said of a queue is said and answered on that queue's loop, which is the device's own
 * unless the back end keeps its queues `apart`. It never waits. */
#pragma once

#include "base/loop.h"
#include "base/opts.h"
#include "base/sandbox.h"
#include "devices/net/spec.h"

enum net_backend_kind { NET_USER, NET_TAP, NET_MACVTAP, NET_SOCKET, NET_NONE };
enum {
    NET_QUEUES_MAX = 16,
    NET_IOV_MAX = 1024, /* segments that one system call takes (UIO_MAXIOV) */
};

struct net_backend;
struct net_backend_ops {
    /* One frame. iov[0] is a net_hdr_t in memory of ours, the rest takes the frame and is long
     * enough. Its length, or -EAGAIN; another error: there will be no more. */
    ssize_t (*recv)(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n);
    /* One frame, iov[0] as above: 0 when it is out, -EAGAIN when writable() will follow, another
     * error when it was dropped. */
    int (*send)(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n);
    /* Call readable() while there is a frame to receive, or do not. */
    void (*listen)(struct net_backend *b, unsigned queue, bool on);
    /* The guest takes frames with these of NET_RX_OFFLOADS from now on; any thread. */
    void (*set_offloads)(struct net_backend *b, uint64_t features);
    /* Neither readable() nor writable() from now on, until listen() or send() asks for it again. */
    void (*quiet)(struct net_backend *b, unsigned queue);
    /* The guest uses that queue, which is quiet, or does not; with `detaches` only. */
    void (*attach)(struct net_backend *b, unsigned queue, bool on);
    void (*free)(struct net_backend *b); /* no loop runs; before they end */
};

struct net_sink { /* the device */
    void (*readable)(void *ctx, unsigned queue);
    void (*writable)(void *ctx, unsigned queue); /* once, after send() said -EAGAIN */
    void *ctx;
    struct loop *loop[NET_QUEUES_MAX]; /* of each queue */
};

struct net_backend {
    const struct net_backend_ops *ops;
    struct net_sink sink; /* filled in by the device, before it listens */
    uint64_t offloads;    /* what it can do: of NET_TX_OFFLOADS and NET_RX_OFFLOADS */
    unsigned queues;      /* 1 to NET_QUEUES_MAX */
    bool steers;          /* a flow's frames come on the queue that it was sent on (5.1.6.5.5) */
    bool detaches;        /* attach() works: frames come on no other queues */
    bool apart;           /* steers, detaches, and queues share nothing but what is atomic */
    uint32_t mtu;         /* of the host's interface; 0: it has none of its own */
    bool has_mac;         /* the guest must have this one, or frames do not come */
    uint8_t mac[NET_MAC_LEN];
};

/* What the user wrote; borrowed strings. */
struct net_backend_spec {
    enum net_backend_kind kind;
    const char *what; /* for messages: "net user" */
    unsigned queues;
    uint32_t mtu;       /* 0: the back end's own */
    const char *ifname; /* tap, macvtap */
    const char *fds;    /* tap, socket: "3:4" */
    bool vnet_hdr;      /* socket: each frame begins with a net_hdr_t */
    bool restricted;    /* user */
    const char *net;    /* user: "10.0.2.0/24" */
    struct opt_strs hostfwd;
};
int CHECKED net_backend_open(const struct net_backend_spec *s, struct loop *l,
                             struct net_backend **out, struct err *e);
void net_backend_free(struct net_backend *b); /* NULL is fine */

/* The kinds, and the system calls that each needs. */
extern const struct sandbox_list net_user_calls, net_fd_calls, net_tap_calls, net_pcap_calls;
int CHECKED net_user_open(const struct net_backend_spec *s, struct loop *l,
                          struct net_backend **out, struct err *e);
int CHECKED net_tap_open(const struct net_backend_spec *s, struct loop *l, struct net_backend **out,
                         struct err *e);
int CHECKED net_socket_open(const struct net_backend_spec *s, struct loop *l,
                            struct net_backend **out, struct err *e);
int CHECKED net_none_open(const struct net_backend_spec *s, struct loop *l,
                          struct net_backend **out, struct err *e);

/* A back end that writes what passes `inner` to a file (pcap.c). Takes `inner` over on success. */
int CHECKED net_pcap_open(const char *path, const char *what, struct net_backend *inner,
                          struct net_backend **out, struct err *e);

/* One whose queues are descriptors which carry one frame for each read or write (fd.c). Takes the
 * descriptors over, also when it fails. With `vnet` each frame begins with a net_hdr_t. */
int CHECKED net_fd_new(const char *what, const int *fds, unsigned n, bool vnet,
                       const struct net_backend_ops *ops, struct net_backend **out, struct err *e);
ssize_t net_fd_recv(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n);
int net_fd_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n);
void net_fd_listen(struct net_backend *b, unsigned queue, bool on);
void net_fd_free(struct net_backend *b);
int net_fd(const struct net_backend *b, unsigned queue);
void net_fd_quiet(struct net_backend *b, unsigned queue);
void net_fd_complain(struct net_backend *b, const char *sentence, int rc);
/* "3:4:5", n of them, each once and open; non-blocking and not inherited from now on. */
int CHECKED net_fds_take(const struct net_backend_spec *s, int fds[NET_QUEUES_MAX], struct err *e);
