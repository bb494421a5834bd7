/* devices/net/user_priv.h - the user-space network's insides: user.c configures it and moves
 * frames, user_poll.c waits for its sockets and timers. All networks of a process share libslirp's
 * clock and what it remembers of the host's name servers: they are on one loop (vdev.h). */
#pragma once

#include <slirp/libslirp.h>

#include "base/log.h"
#include "devices/net/backend.h"

enum {
    USER_WAITING_MAX = 1 << 20, /* bytes of frames that the guest has no buffer for yet */
    USER_SOCKETS_MAX = 1024,    /* at most; each may have 256 KiB of a connection's in libslirp */
    USER_DEAF_MS = 100,         /* how long none is accepted, after one that could not be */
    USER_TIMERS_MAX = 4,
    USER_MTU_MAX = 65521, /* libslirp's own limit */
    USER_MTU = 16384,     /* a quarter of the largest window of its TCP: docs/adr/0006 */
};

/* What is called of libslirp, which is loaded with the first such network. */
struct user_slirp {
    __typeof__(slirp_new) *new;
    __typeof__(slirp_cleanup) *cleanup;
    __typeof__(slirp_add_hostfwd) *add_hostfwd;
    __typeof__(slirp_input) *input;
    __typeof__(slirp_pollfds_fill) *pollfds_fill;
    __typeof__(slirp_pollfds_poll) *pollfds_poll;
    __typeof__(slirp_handle_timer) *handle_timer;
};
extern struct user_slirp user_slirp;

struct frame {
    struct frame *next;
    size_t len;
    uint8_t bytes[];
};

struct user_fd {        /* by number; events of epoll and poll are the same bits */
    uint32_t want, set; /* epoll events: what libslirp wants now, what the set has */
    uint32_t got;       /* SLIRP_POLL_ bits, while libslirp is told */
    unsigned round;     /* of the last time that it was wanted */
    bool listed;
    bool open;    /* wanted once, and not closed since */
    bool accepts; /* a forwarded port's */
};

struct user_timer {
    SlirpTimerId id;
    void *ctx;
    int64_t at_ms; /* 0: not set */
    bool used;
};

struct user {
    struct net_backend b;
    struct loop *loop;
    char what[64];
    Slirp *slirp;
    int epoll_fd;
    struct loop_watch watch; /* of epoll_fd */
    struct loop_timer timer;
    int64_t wake_ms;        /* what it is set to; 0: it is not */
    struct loop_task after; /* something went into libslirp */
    struct user_timer timers[USER_TIMERS_MAX];

    struct user_fd *fds;
    struct pollfd *asked; /* room for all of the list */
    int *list;            /* those with anything in `want` or `set` */
    size_t n_fds, n_list;
    unsigned round;
    unsigned n_open, most_open; /* sockets that there are, and may be */
    unsigned maybe_open;        /* frames since they were counted that may have opened another */
    uint64_t accepted;
    int64_t deaf_ms; /* until then none is accepted */

    struct frame *first, **last; /* for the guest */
    size_t waiting;
    bool listening;
    struct log_limit complaints;
    uint8_t out[NET_FRAME_MAX]; /* a frame from the guest, in one piece */
};

/* user.c: after every call into libslirp, but not inside. */
void user_after(void *ctx);

/* user_poll.c */
void user_update(struct user *u);   /* asks libslirp what it waits for, and waits for that */
void user_forwards(struct user *u); /* what it waits for now are forwarded ports */
void user_sockets_ready(void *ctx, uint32_t events);
void user_time_is_up(void *ctx);
/* For libslirp; `opaque` is the struct user. */
int64_t user_now_ns(void *opaque);
void user_new_fd(int fd, void *opaque); /* not of each: of connections */
void user_forget_fd(int fd, void *opaque);
void *user_timer_new(SlirpTimerId id, void *ctx, void *opaque);
void user_timer_free(void *timer, void *opaque);
void user_timer_mod(void *timer, int64_t at_ms, void *opaque);
