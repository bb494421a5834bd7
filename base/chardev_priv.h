/* base/chardev_priv.h - a chardev's insides: chardev.c moves bytes, chardev_host.c opens the host's
 * end, chardev_term.c knows terminals. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/chardev.h"

/* Input that was read and that no client has room for yet: all that a terminal sent, so that its
 * escape keys work while the guest is deaf, and what a peer left behind when it went. Everything
 * else waits on the host's side of the descriptor. */
struct chardev_hold {
    uint8_t *buf;
    size_t cap, from, to;
};

/* How to write without blocking. */
enum chardev_out {
    OUT_PLAIN,  /* our own non-blocking descriptor, or a file, which does not block */
    OUT_POLLED, /* an inherited one: look first, then write `at_once` */
    OUT_SOCKET, /* an inherited one, with a flag for it */
};

struct chardev {
    int kind;
    struct loop *loop;
    struct chardev_client clients[CHARDEV_CLIENTS];
    unsigned n_clients;
    char *path; /* PTY: its name; UNIX: what to unlink */
    struct own_path own;
    void (*quit)(void *ctx);
    void *quit_ctx;

    /* The loop's thread only. */
    bool started;
    int in_fd; /* PTY, UNIX: also written to; -1: no input */
    int listen_fd, timer_fd;
    struct loop_watch in, out, listen, timer;
    struct chardev_hold hold;
    bool in_ended;
    bool terminal, escape; /* stdin is one; Ctrl-A was the last key */
    bool half_closed;      /* the peer only listens now */
    bool accept_failed;
    struct loop_task task;
    atomic_bool resized;

    pthread_mutex_t lock; /* everything below */
    int out_fd;
    enum chardev_out how;
    size_t at_once; /* that one look is good for: one byte, where LF may become CR LF */
    bool out_owned, connected, blocked, dead;
};

/* PTY and UNIX: one descriptor for both directions, whose other end comes and goes. */
static inline bool chardev_is_duplex(const struct chardev *c)
{
    return c->kind == CHARDEV_PTY || c->kind == CHARDEV_UNIX;
}

/* chardev_host.c: fills in what the kind needs; what it opened is freed by chardev_free(). */
int CHECKED chardev_open(struct chardev *c, const struct chardev_spec *spec, int in_fd, int out_fd,
                         struct err *e);
void chardev_close(struct chardev *c);

/* chardev_term.c */
int CHECKED term_open(struct chardev *c, struct err *e); /* in_fd is a terminal: make it raw */
void term_close(void);
size_t term_filter(struct chardev *c, uint8_t *p, size_t len); /* in place; what is left */

/* chardev_new() with other descriptors in the place of 0 and 1; for tests. */
int CHECKED chardev_new_fds(const struct chardev_spec *spec, int in_fd, int out_fd, struct loop *l,
                            struct chardev **out, struct err *e);
