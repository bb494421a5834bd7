/* base/loop.c - see loop.h: the thread, the posted calls and the watches; loop_uring.c and
 * loop_epoll.c are how it waits. */
#include "base/loop_priv.h"

#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>

static const struct loop_backend_ops *ops_of(const struct loop *l)
{
    return l->backend == LOOP_URING ? &loop_uring_ops : &loop_epoll_ops;
}

static void wake_seen(void *ctx, uint32_t events)
{
    (void)ctx, (void)events; /* the turn that follows looks at everything */
}

int loop_new(const char *name, enum loop_backend want, struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    (void)snprintf(l->name, sizeof(l->name), "%s", name);
    l->want = want;
    l->backend = LOOP_AUTO;
    l->epoll_fd = -1;
    l->posted_tail = &l->posted;
    l->deferred_tail = &l->deferred;
    l->worked_tail = &l->worked;
    loop_list_init(&l->backlog);
    (void)pthread_mutex_init(&l->lock, NULL);
    l->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (l->wake_fd < 0) {
        int rc = -errno;
        loop_free(l);
        return rc;
    }
    l->wake = (struct loop_watch){
        .fd = l->wake_fd, .events = POLLIN, .counter = true, .fn = wake_seen, .ctx = l};
    int rc = loop_watch(l, &l->wake);
    if (rc < 0) {
        loop_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

enum loop_backend loop_backend(const struct loop *l)
{
    return l->backend;
}

void loop_confine_as(struct loop *l, int kind)
{
    l->kind = (enum sandbox_thread)kind;
}

const char *loop_name(const struct loop *l)
{
    return l->name;
}

/* On the owning thread: io_uring may insist that one thread does all the work on a ring. */
static int up(struct loop *l)
{
    if (l->backend != LOOP_AUTO)
        return 0;
    if (l->want != LOOP_EPOLL) {
        int rc = loop_uring_ops.up(l);
        if (rc == 0) {
            l->backend = LOOP_URING;
            return 0;
        }
        if (l->want == LOOP_URING)
            return rc;
    }
    int rc = loop_epoll_ops.up(l);
    if (rc == 0)
        l->backend = LOOP_EPOLL;
    return rc;
}

/* A ring belongs to the thread that made it: what is in flight ends here, and the next owner makes
 * another. */
static void down(struct loop *l)
{
    if (l->backend == LOOP_AUTO)
        return;
    while (l->in_flight || l->working || l->backlog.head) {
        if (loop_work_finish(l) == 0)
            (void)ops_of(l)->turn(l, -1);
    }
    ops_of(l)->down(l);
    l->backend = LOOP_AUTO;
    l->rearm = true;
    for (struct loop_slot *s = l->slots, *next; s; s = next) {
        next = s->next;
        s->armed = s->always_ready = false;
        if (!s->watch)
            loop_slot_free(l, s);
    }
}

static bool on_own_thread(const struct loop *l)
{
    return !l->has_thread || pthread_equal(l->thread, pthread_self());
}

bool loop_runs(const struct loop *l)
{
    return !on_own_thread(l);
}

static bool anything_posted(const struct loop *l)
{
    return atomic_load(&l->news);
}

static struct loop_task *next_posted(struct loop *l)
{
    (void)pthread_mutex_lock(&l->lock);
    struct loop_task *t = l->posted;
    if (t) {
        l->posted = t->next;
        if (!l->posted)
            l->posted_tail = &l->posted;
        t->queued = false;
    }
    loop_news(l);
    (void)pthread_mutex_unlock(&l->lock);
    return t;
}

/* Runs what is posted now, and not what these post again: that waits for the next turn, so that
 * descriptors get their share. */
static unsigned run_posted(struct loop *l)
{
    (void)pthread_mutex_lock(&l->lock);
    unsigned n = 0, ran = 0;
    for (const struct loop_task *t = l->posted; t; t = t->next)
        n++;
    (void)pthread_mutex_unlock(&l->lock);

    for (struct loop_task *t; ran < n && (t = next_posted(l)) != NULL; ran++)
        t->fn(t->ctx);
    return ran;
}

static unsigned run_deferred(struct loop *l)
{
    unsigned n = 0;
    for (struct loop_task *t; (t = l->deferred) != NULL; n++) {
        l->deferred = t->next;
        if (!l->deferred)
            l->deferred_tail = &l->deferred;
        t->queued = false;
        t->fn(t->ctx);
    }
    return n;
}

static unsigned turn(struct loop *l, int timeout_ms)
{
    bool polls = l->poll.most_ns > 0;
    /* In this order: a busy loop looks, too. */
    if (loop_poll_ready(l) > 0 || l->deferred || anything_posted(l))
        timeout_ms = 0;
    l->sleeps += timeout_ms != 0 && !polls;
    unsigned n = ops_of(l)->turn(l, polls ? 0 : timeout_ms);
    if (n == 0 && timeout_ms != 0 && polls) {
        loop_poll_idle(l, timeout_ms, ops_of(l)->wait);
        n = ops_of(l)->turn(l, 0);
    }
    if (anything_posted(l)) {
        n += run_deferred(l); /* what came first is announced before what follows from it */
        n += loop_work_finish(l);
        n += run_posted(l);
    }
    return n + run_deferred(l);
}

unsigned loop_step(struct loop *l, int timeout_ms)
{
    if (up(l) < 0)
        abort(); /* only tests step by hand; they have no host to blame */
    return turn(l, timeout_ms);
}

unsigned loop_settle_for(struct loop *l, unsigned steps)
{
    while (steps > 0) {
        unsigned n = loop_step(l, 0);
        unsigned in_flight = l->in_flight + l->working;
        if (n == 0 && in_flight == 0 && !l->deferred && !anything_posted(l))
            break;
        if (n == 0 && in_flight > 0)
            n = loop_step(l, -1);
        steps -= n > 0;
    }
    return steps;
}

void loop_settle(struct loop *l)
{
    while (loop_settle_for(l, UINT_MAX) == 0)
        ;
}

struct start {
    struct loop *l;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int rc; /* 1 until known */
};

static void *thread_main(void *arg)
{
    struct start *s = arg;
    struct loop *l = s->l;
    (void)pthread_setname_np(pthread_self(), l->name);
    int rc = up(l);
    (void)pthread_mutex_lock(&s->lock);
    s->rc = rc;
    (void)pthread_cond_signal(&s->cond);
    (void)pthread_mutex_unlock(&s->lock);
    if (rc < 0)
        return NULL;
    sandbox_enter(l->kind, ops_of(l)->calls); /* whoever started it goes on meanwhile */
    while (!atomic_load(&l->stop))
        (void)turn(l, -1);
    down(l);
    return NULL;
}

int loop_start(struct loop *l)
{
    struct start s = {
        .l = l, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER, .rc = 1};
    atomic_store(&l->stop, false);
    down(l); /* of a loop that was stepped by hand */
    l->has_thread = true;
    (void)pthread_mutex_lock(&s.lock);
    int rc = -pthread_create(&l->thread, NULL, thread_main, &s);
    while (rc == 0 && s.rc == 1)
        (void)pthread_cond_wait(&s.cond, &s.lock);
    (void)pthread_mutex_unlock(&s.lock);
    if (rc == 0 && s.rc < 0)
        (void)pthread_join(l->thread, NULL);
    if (rc == 0)
        rc = s.rc;
    l->has_thread = rc == 0;
    return rc;
}

static void wake(struct loop *l)
{
    event_signal(l->wake_fd); /* loop_free closes it last */
}

void loop_stop(struct loop *l)
{
    if (!l->has_thread)
        return;
    atomic_store(&l->stop, true);
    wake(l);
    (void)pthread_join(l->thread, NULL);
    l->has_thread = false;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    loop_stop(l);
    down(l);
    while (l->slots)
        loop_slot_free(l, l->slots);
    fd_cleanup_(&l->wake_fd);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

int loop_watch(struct loop *l, struct loop_watch *w)
{
    if (w->slot)
        return -EBUSY;
    struct loop_slot *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->watch = w;
    s->next = l->slots;
    l->slots = s;
    l->rearm = true;
    w->slot = s;
    return 0;
}

void loop_unwatch(struct loop *l, struct loop_watch *w)
{
    struct loop_slot *s = TAKE_PTR(w->slot);
    if (!s)
        return;
    if (l->backend != LOOP_AUTO)
        ops_of(l)->forget(l, s);
    else
        loop_slot_free(l, s);
}

void loop_slot_free(struct loop *l, struct loop_slot *s)
{
    struct loop_slot **at = &l->slots;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    free(s);
}

void loop_io(struct loop *l, struct loop_io *io)
{
    io->tries = 0;
    loop_list_push(&l->backlog, io);
}

void loop_io_finish(struct loop *l, struct loop_io *io, int64_t result)
{
    bool put_off = result == -EINTR || result == -EAGAIN;
    l->in_flight--;
    if (put_off && ++io->tries < LOOP_IO_TRIES)
        loop_list_push(&l->backlog, io);
    else
        io->done(io, result);
}

void loop_post(struct loop *l, struct loop_task *t)
{
    (void)pthread_mutex_lock(&l->lock);
    bool fresh = !t->queued;
    if (fresh) {
        t->queued = true;
        t->next = NULL;
        *l->posted_tail = t;
        l->posted_tail = &t->next;
        loop_news(l);
    }
    (void)pthread_mutex_unlock(&l->lock);
    if (fresh && !on_own_thread(l))
        wake(l);
}

void loop_task_cancel(struct loop *l, struct loop_task *t)
{
    (void)pthread_mutex_lock(&l->lock);
    if (t->queued) {
        struct loop_task **at = &l->posted;
        while (*at != t)
            at = &(*at)->next;
        *at = t->next;
        if (!*at)
            l->posted_tail = at;
        t->queued = false;
        loop_news(l);
    }
    (void)pthread_mutex_unlock(&l->lock);
}

void loop_defer(struct loop *l, struct loop_task *t)
{
    if (t->queued)
        return;
    t->queued = true;
    t->next = NULL;
    *l->deferred_tail = t;
    l->deferred_tail = &t->next;
}

void loop_defer_cancel(struct loop *l, struct loop_task *t)
{
    if (!t->queued)
        return;
    struct loop_task **at = &l->deferred;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    if (!*at)
        l->deferred_tail = at;
    t->queued = false;
}

struct call {
    loop_fn *fn;
    void *ctx;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool done;
};

static void call_run(void *ctx)
{
    struct call *c = ctx;
    c->fn(c->ctx);
    (void)pthread_mutex_lock(&c->lock);
    c->done = true;
    (void)pthread_cond_signal(&c->cond);
    (void)pthread_mutex_unlock(&c->lock);
}

void loop_call(struct loop *l, loop_fn *fn, void *ctx)
{
    if (on_own_thread(l)) {
        fn(ctx);
        return;
    }
    struct call c = {
        .fn = fn, .ctx = ctx, .lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};
    struct loop_task t = {.fn = call_run, .ctx = &c};
    loop_post(l, &t);
    (void)pthread_mutex_lock(&c.lock);
    while (!c.done)
        (void)pthread_cond_wait(&c.cond, &c.lock);
    (void)pthread_mutex_unlock(&c.lock);
}

struct telling {
    struct loop *loop;
    struct report *report;
};

static void report_on_loop(void *ctx)
{
    const struct telling *t = ctx;
    const struct loop *l = t->loop;
    report_text(t->report, "name", l->name);
    report_number(t->report, "sleeps", l->sleeps);
    report_number(t->report, "polls", l->poll.polls);
    report_number(t->report, "polls_found", l->poll.found);
    report_number(t->report, "polled_ns", l->poll.ns);
    report_number(t->report, "joined", l->joined);
    report_number(t->report, "batch_trials", l->share.trials);
}

void loop_report(struct loop *l, struct report *r)
{
    struct telling t = {l, r};
    loop_call(l, report_on_loop, &t);
}
