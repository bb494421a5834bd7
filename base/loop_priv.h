/* base/loop_priv.h - a loop's insides, and the functions that are a back end. */
#pragma once

#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/loop.h"
#include "base/sandbox.h"

struct loop_list { /* FIFO of loop_io */
    struct loop_io *head, **tail;
};
static inline void loop_list_init(struct loop_list *q)
{
    q->head = NULL;
    q->tail = &q->head;
}
static inline void loop_list_push(struct loop_list *q, struct loop_io *io)
{
    io->next = NULL;
    *q->tail = io;
    q->tail = &io->next;
}
static inline struct loop_io *loop_list_pop(struct loop_list *q)
{
    struct loop_io *io = q->head;
    if (io && (q->head = io->next) == NULL)
        q->tail = &q->head;
    return io;
}

/* One watched descriptor. It outlives its loop_watch while the kernel still holds an operation. */
struct loop_slot {
    struct loop_watch *watch; /* NULL: unwatched, waiting for the kernel to let go */
    bool armed, always_ready;
    struct loop_slot *next;
};

enum { LOOP_SEGMENTS = 1024 };

struct loop {
    char name[16]; /* of the thread; as many as a thread's may have */
    enum loop_backend want, backend;
    enum sandbox_thread kind;
    int wake_fd; /* eventfd: something was posted, or a pool's thread finished something */

    pthread_t thread;
    atomic_bool has_thread; /* asked by any thread */
    atomic_bool stop;

    /* Whether something is posted or worked: a turn that finds it unset leaves the lock alone. Who
     * sets it from another thread wakes the loop afterwards. */
    atomic_bool news;
    pthread_mutex_t lock; /* posted, worked; and to write news */
    struct loop_task *posted, **posted_tail;
    struct loop_work *worked, **worked_tail; /* whose fn has returned */
    unsigned working;                        /* handed to a pool, not yet done; the loop's */

    struct loop_task *deferred, **deferred_tail; /* the loop's */
    struct loop_watch wake;
    struct loop_slot *slots;
    struct loop_list backlog; /* file I/O not yet handed to the back end */
    unsigned in_flight;       /* handed over, not yet done */
    bool rearm;               /* some slot is not armed */

    uint64_t sleeps;
    struct {
        uint64_t most_ns, window_ns; /* how long it may look, and looks at the moment */
        uint64_t polls, found, ns;   /* looks, those with success, their time */
        unsigned rest, resting;      /* short idle times to be left alone: each time, and now */
        struct loop_poll *list;
    } poll;

    struct {
        bool on, batch;         /* whether it may be, and is, of the policy SCHED_BATCH */
        unsigned wakes, taken;  /* of the trial under way */
        unsigned rest, resting; /* wakes to be left alone: in trials each time, and now */
        uint64_t trials;
    } share;

    struct io_uring ring;
    struct iovec segments[LOOP_SEGMENTS]; /* of operations that were put together, */
    unsigned n_segments;                  /* and that the kernel has not taken yet */
    uint64_t joined;                      /* operations that became part of another */
    int epoll_fd;
    struct loop_pool *io_pool; /* epoll's, for file I/O */
};

struct loop_backend_ops {
    const struct sandbox_list *calls; /* of the loop's thread, beyond sandbox_loop */
    int (*up)(struct loop *l);
    void (*down)(struct loop *l);
    /* Arms slots, submits the backlog, waits, and runs what became ready; returns how many. */
    unsigned (*turn)(struct loop *l, int timeout_ms);
    /* Waits only, after a turn that had nothing to run; whether there is something now. With 0 it
     * just looks. */
    bool (*wait)(struct loop *l, int timeout_ms);
    /* The slot's watch is gone; frees it, now or when the kernel lets go. */
    void (*forget)(struct loop *l, struct loop_slot *s);
};
#define LOOP_IO_POOL "io-worker" /* its threads, and their list of system calls */
extern const struct loop_backend_ops loop_uring_ops, loop_epoll_ops;

/* Under the lock, after a change of either list. */
static inline void loop_news(struct loop *l)
{
    atomic_store(&l->news, l->posted || l->worked);
}
void loop_slot_free(struct loop *l, struct loop_slot *s);
/* loop_work.c: runs done of what was worked by now; returns how many. */
unsigned loop_work_finish(struct loop *l);
/* loop_poll.c: posts the tasks of those that are ready; how many. */
unsigned loop_poll_ready(struct loop *l);
/* Nothing is there: looks, and then waits, until something is. */
void loop_poll_idle(struct loop *l, int timeout_ms, bool (*wait)(struct loop *l, int timeout_ms));
/* It ended so: done runs, or it is begun again. */
void loop_io_finish(struct loop *l, struct loop_io *io, int64_t result);
