/* base/loop.h - one thread's event loop: file descriptors that became ready, file I/O that
 * finished, calls posted by other threads, work put off.
 *
 * An io_uring carries all of it, so that a turn of the loop costs one system call; where the host
 * refuses io_uring, epoll and a few threads for file I/O do the same behind this interface. What
 * has no asynchronous form goes to a pool of threads. Everything except loop_post, loop_call and
 * loop_stop belongs to the loop's own thread; before loop_start() that is whoever created it, and
 * loop_step() then runs the loop by hand. */
#pragma once

#include "base/base.h"
#include "base/report.h"

struct loop;

enum loop_backend { LOOP_AUTO, LOOP_URING, LOOP_EPOLL };
/* Makes no ring and no thread yet: the first turn does, on the thread that owns it. Of `name`, 15
 * characters are kept. */
int CHECKED loop_new(const char *name, enum loop_backend want, struct loop **out);
/* What its thread is confined as, SANDBOX_LOOP or another (base/sandbox.h). Before loop_start(). */
void loop_confine_as(struct loop *l, int kind);
void loop_free(struct loop *l); /* stops it first; I/O in flight is waited for; NULL is fine */
enum loop_backend loop_backend(const struct loop *l); /* LOOP_AUTO before the first turn */
const char *loop_name(const struct loop *l);

/* The thread is made here, named as the loop. */
int CHECKED loop_start(struct loop *l);
void loop_stop(struct loop *l);       /* returns when the thread has ended; callable twice */
bool loop_runs(const struct loop *l); /* it has a thread, and this is not it */

/* A watched descriptor. Level-triggered: fn runs again while the condition holds; a descriptor that
 * cannot be polled (a regular file) is always ready. With `counter` the descriptor is an
 * eventfd, and fn runs after each signal instead, or once for several. Nobody takes the count, so
 * one that was ever signalled is heard of again when its watch, or the loop, begins anew. The
 * struct is the caller's and must stay until loop_unwatch(); zero-initialised means not watched. */
typedef void loop_fd_fn(void *ctx, uint32_t poll_events);
struct loop_watch {
    int fd;
    uint32_t events; /* POLLIN, POLLOUT */
    bool counter;
    loop_fd_fn *fn;
    void *ctx;
    struct loop_slot *slot; /* the loop's own */
};
int CHECKED loop_watch(struct loop *l, struct loop_watch *w); /* -ENOMEM, or -EBUSY: watched */
void loop_unwatch(struct loop *l, struct loop_watch *w);      /* fn never runs after this */

/* Work that may block as long as the host likes: fn runs on a thread of the pool, and then done on
 * the loop. Taken in order, ended in any. What blocks holds up its own pool, and nothing else. */
struct loop_work {
    void (*fn)(struct loop_work *w);
    void (*done)(struct loop_work *w);
    struct loop_pool *pool; /* the loop's own */
    struct loop_work *next; /* the loop's own */
};
struct loop_pool;
struct sandbox_list;
/* n threads (0: fn runs at once), which may do what `calls` says (NULL: what all may). Any thread
 * may make one, but for those that are confined; `name` is static, at most 15 characters. -ENOMEM,
 * or another -errno. */
int CHECKED loop_pool_new(struct loop *l, const char *name, unsigned n,
                          const struct sandbox_list *calls, struct loop_pool **out);
/* Any thread; nothing may be in flight any more. NULL is fine. */
void loop_pool_free(struct loop_pool *p);
/* The struct is the caller's and stays until done runs. Never fails to be accepted. */
void loop_work(struct loop_pool *p, struct loop_work *w);

/* One asynchronous file operation. The struct and what it points to must stay until done runs, on
 * this loop; result is bytes, or -errno. Never fails to be accepted. What the host puts off (EINTR,
 * EAGAIN) is begun again, LOOP_IO_TRIES times at most: then that is its result. */
enum { LOOP_IO_TRIES = 1000 };
enum loop_io_op { LOOP_READV, LOOP_WRITEV, LOOP_FDATASYNC, LOOP_FALLOCATE };
struct loop_io {
    enum loop_io_op op;
    int fd;
    const struct iovec *iov; /* READV, WRITEV */
    unsigned n_iov;
    bool dsync;   /* WRITEV: stable when done, as by RWF_DSYNC */
    int mode;     /* FALLOCATE */
    uint64_t off; /* all but FDATASYNC */
    uint64_t len; /* FALLOCATE */
    void (*done)(struct loop_io *io, int64_t result);
    int64_t result;        /* the loop's own */
    unsigned tries;        /* the loop's own */
    struct loop_io *next;  /* the loop's own */
    struct loop *loop;     /* the loop's own */
    struct loop_work work; /* the loop's own */
};
void loop_io(struct loop *l, struct loop_io *io);

/* fn on the loop's thread, soon: loop_post returns at once, loop_call when fn has returned. Any
 * thread; loop_call from the loop's own thread runs fn in place. */
typedef void loop_fn(void *ctx);
struct loop_task {
    loop_fn *fn;
    void *ctx;
    struct loop_task *next; /* the loop's own */
    bool queued;
};
void loop_call(struct loop *l, loop_fn *fn, void *ctx);
void loop_post(struct loop *l, struct loop_task *t); /* once queued, posting again is a no-op */
void loop_task_cancel(struct loop *l, struct loop_task *t); /* loop's thread: it will not run */

/* fn before this turn of the loop runs what is posted, or else when it ends, before it waits again;
 * in order, and what fn defers in the same turn. The loop's own thread only, and no lock; once
 * deferred, deferring again is a no-op. The struct is not one that is posted, too. */
void loop_defer(struct loop *l, struct loop_task *t);
void loop_defer_cancel(struct loop *l, struct loop_task *t); /* it will not run */

/* Polling: before it sleeps, the loop looks for at most ns whether something came, with no system
 * call (io_uring) and with nobody having to wake it. 0, as a loop begins: it does not. Before
 * loop_start(). */
void loop_poll_set(struct loop *l, uint64_t ns);
/* Something that another CPU changes in memory. From join on until the loop sleeps, or it leaves,
 * each turn asks ready(); when that says true it has left, and its task is posted. Before the loop
 * sleeps everybody leaves, and arm() makes sure that the loop is woken from now on; it says whether
 * something came before that, and then the task is posted. The struct is the caller's. */
struct loop_poll {
    bool (*ready)(void *ctx);
    bool (*arm)(void *ctx);
    void *ctx;
    struct loop_task *task;
    struct loop_poll *next; /* the loop's own */
    bool listed;            /* the loop's own */
};
bool CHECKED loop_poll_join(struct loop *l, struct loop_poll *p); /* false: not now; arm yourself */
void loop_poll_leave(struct loop *l, struct loop_poll *p);

/* Its thread and the vCPUs have one CPU together: notifications need not take it from them at once,
 * where requests come in numbers (the thread's policy is then SCHED_BATCH). Before loop_start(). */
void loop_share_cpu(struct loop *l);
/* So many requests were there when somebody looked at a queue. The loop's own thread only. */
void loop_took(struct loop *l, unsigned n);

/* How often the loop slept, how often it looked before, with what success, and for how long; and
 * how often it tried to let others go first. Any thread but another loop's. */
void loop_report(struct loop *l, struct report *r);

/* Runs fn once, ns from the last loop_timer_set() on; setting again begins anew, 0 stops it. The
 * struct is the caller's and stays where it is until loop_timer_close(); all zeroes is closed. */
struct loop_timer {
    loop_fn *fn;
    void *ctx;
    struct loop *loop;
    int fd;
    struct loop_watch watch;
};
int CHECKED loop_timer_open(struct loop *l, struct loop_timer *t, loop_fn *fn, void *ctx);
void loop_timer_set(struct loop_timer *t, uint64_t ns);
void loop_timer_close(struct loop_timer *t);
uint64_t loop_now_ns(void); /* by the clock of these timers; any thread */

/* Runs what is ready; waits at most timeout_ms (-1: as long as it takes) for the first thing.
 * Returns how many callbacks ran. Only while the loop has no thread. */
unsigned loop_step(struct loop *l, int timeout_ms);
/* Steps until nothing is ready, posted, or in flight; or that many steps had something to do. How
 * many of them are left. */
unsigned loop_settle_for(struct loop *l, unsigned steps);
void loop_settle(struct loop *l); /* however many it takes */
