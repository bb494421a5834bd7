/* devices/limiter.h - how fast a device may go. It has two ways, such as reads and writes, each
 * with a bucket of bytes and one of operations; and two more that both ways share.
 *
 * What finds a bucket empty stays where it is, in the driver's ring or with the host, and its queue
 * is told when there is something again. So nothing is kept here but who waits. The limits are the
 * host's: a driver's reset changes nothing of them, and they are no part of a saved state.
 *
 * Queues may be on several loops: those that have limits meet in a lock. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/bucket.h"
#include "base/loop.h"
#include "base/report.h"

enum { LIMITER_WAYS = 2, LIMITER_QUEUES = 64 };

/* As the user wants them; all zeroes: none. */
struct limits {
    struct limits_pair {
        struct bucket_limit bytes, ops;
    } shared, way[LIMITER_WAYS];
};
/* A row of an option table; `at`: where the struct bucket_limit is. */
#define LIMIT_ROW(name, at, text)                                                                  \
    {                                                                                              \
        .key = (name), .type = OPT_RATE, .offset = (at), .metavar = "RATE", .help = (text),        \
        .live = true                                                                               \
    }

/* Such a queue may ask again; it is stopped, perhaps, or has nothing any more. On the limiter's
 * loop, which need not be the queue's. */
typedef void limiter_resume_fn(void *ctx, unsigned way, unsigned queue);

struct limiter {
    struct loop *loop;
    limiter_resume_fn *resume;
    void *ctx;
    const char *names[LIMITER_WAYS];
    struct loop_timer timer;
    atomic_bool limited;
    pthread_mutex_t lock; /* over what follows */
    struct limiter_pair {
        struct bucket bytes, ops;
    } shared;
    struct limiter_way {
        struct limiter_pair own;
        uint64_t waiting;          /* a bit for each queue */
        uint64_t since_ns, due_ns; /* while one waits */
        uint64_t waited_ns, waits;
        unsigned turn; /* who was told last */
    } way[LIMITER_WAYS];
    unsigned first; /* the way that is asked first when the timer expires */
};

/* No limits yet. `loop` is the device's own; the names begin those of the numbers in a report.
 * -errno: there is no timer to be had. It is there from the beginning, or a limit that is set later
 * would have to make one where nothing is made any more (base/sandbox.h). */
int CHECKED limiter_init(struct limiter *l, struct loop *loop, limiter_resume_fn *resume, void *ctx,
                         const char *name0, const char *name1);
/* On the limiter's loop, or before anything runs. Buckets whose limit has changed are full. Whoever
 * waits is told. */
void limiter_set(struct limiter *l, const struct limits *to);
void limiter_close(struct limiter *l); /* any thread; zeroes are fine */

/* These on the queue's loop. Whether nothing may go for now: */
bool limiter_empty(struct limiter *l, unsigned way);
/* and whether this queue, which has something, has to wait: then it is told. */
bool limiter_holds(struct limiter *l, unsigned way, unsigned queue);
/* One operation and its bytes. */
void limiter_take(struct limiter *l, unsigned way, uint64_t bytes);

/* How often a queue had to wait, and for how long at least one did. A wait ends when there is
 * something again, or the limit is another; that the driver has given up meanwhile ends none. */
void limiter_report(struct limiter *l, struct report *r);
