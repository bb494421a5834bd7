/* base/loop_epoll.c - the loop on epoll, for hosts that refuse io_uring: readiness from epoll, and
 * one worker thread for file I/O, which would block the loop. */
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include "base/loop_priv.h"

static int up(struct loop *l)
{
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0)
        return -errno;
    struct loop_worker *w = &l->worker;
    w->started = w->stop = false;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_cond_init(&w->work, NULL);
    loop_list_init(&w->todo);
    loop_list_init(&w->finished);
    return 0;
}

static void down(struct loop *l)
{
    struct loop_worker *w = &l->worker;
    if (w->started) {
        (void)pthread_mutex_lock(&w->lock);
        w->stop = true;
        (void)pthread_cond_signal(&w->work);
        (void)pthread_mutex_unlock(&w->lock);
        (void)pthread_join(w->thread, NULL);
    }
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_cond_destroy(&w->work);
    fd_cleanup_(&l->epoll_fd);
}

static int64_t perform(const struct loop_io *io)
{
    int64_t rc = 0;
    switch (io->op) {
    case LOOP_READV:
        rc = preadv(io->fd, io->iov, (int)io->n_iov, (off_t)io->off);
        break;
    case LOOP_WRITEV:
        rc = pwritev2(io->fd, io->iov, (int)io->n_iov, (off_t)io->off, io->dsync ? RWF_DSYNC : 0);
        break;
    case LOOP_FDATASYNC:
        rc = fdatasync(io->fd);
        break;
    case LOOP_FALLOCATE:
        rc = fallocate(io->fd, io->mode, (off_t)io->off, (off_t)io->len);
        break;
    }
    return rc < 0 ? -errno : rc;
}

static void *worker_main(void *arg)
{
    struct loop *l = arg;
    struct loop_worker *w = &l->worker;
    (void)pthread_setname_np(pthread_self(), "io-worker");
    (void)pthread_mutex_lock(&w->lock);
    for (;;) {
        struct loop_io *io = loop_list_pop(&w->todo);
        if (!io) {
            if (w->stop)
                break;
            (void)pthread_cond_wait(&w->work, &w->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&w->lock);
        io->result = perform(io);
        (void)pthread_mutex_lock(&w->lock);
        loop_list_push(&w->finished, io);
        event_signal(l->wake_fd);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

static void submit_io(struct loop *l)
{
    struct loop_worker *w = &l->worker;
    if (!l->backlog.head)
        return;
    if (!w->started && pthread_create(&w->thread, NULL, worker_main, l) != 0) {
        /* No thread to be had: slow, but right. */
        for (struct loop_io *io; (io = loop_list_pop(&l->backlog)) != NULL;) {
            l->in_flight++;
            loop_io_finish(l, io, perform(io));
        }
        return;
    }
    w->started = true;
    (void)pthread_mutex_lock(&w->lock);
    for (struct loop_io *io; (io = loop_list_pop(&l->backlog)) != NULL; l->in_flight++)
        loop_list_push(&w->todo, io);
    (void)pthread_cond_signal(&w->work);
    (void)pthread_mutex_unlock(&w->lock);
}

static unsigned finish_io(struct loop *l)
{
    struct loop_worker *w = &l->worker;
    unsigned n = 0;
    for (;; n++) {
        (void)pthread_mutex_lock(&w->lock);
        struct loop_io *io = loop_list_pop(&w->finished);
        (void)pthread_mutex_unlock(&w->lock);
        if (!io)
            return n;
        loop_io_finish(l, io, io->result);
    }
}

static void arm(struct loop *l)
{
    l->rearm = false;
    for (struct loop_slot *s = l->slots; s; s = s->next) {
        if (s->armed || !s->watch)
            continue;
        struct epoll_event ev = {.events = s->watch->events, .data.ptr = s};
        int rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->watch->fd, &ev) < 0 ? -errno : 0;
        s->always_ready = rc == -EPERM; /* a regular file */
        s->armed = rc == 0 || s->always_ready;
        l->rearm = l->rearm || !s->armed; /* no memory: tried again next turn */
    }
}

static void slot_ready(struct loop_slot *s, uint32_t events)
{
    struct loop_watch *w = s->watch;
    if (w->counter && read(w->fd, &s->count, sizeof(s->count)) < 0)
        return; /* somebody else was faster */
    w->fn(w->ctx, events);
}

/* Frees what was unwatched while the turn was walking over it. */
static void sweep(struct loop *l)
{
    for (struct loop_slot *s = l->slots, *next; s; s = next) {
        next = s->next;
        if (!s->watch)
            loop_slot_free(l, s);
    }
}

static unsigned turn(struct loop *l, int timeout_ms)
{
    struct epoll_event ev[32];
    unsigned ran = 0;
    if (l->rearm)
        arm(l);
    submit_io(l);
    bool always = false;
    for (const struct loop_slot *s = l->slots; s; s = s->next)
        always = always || (s->watch && s->always_ready);

    int n = epoll_wait(l->epoll_fd, ev, (int)ARRAY_SIZE(ev), always ? 0 : timeout_ms);
    for (int i = 0; i < n; i++) {
        struct loop_slot *s = ev[i].data.ptr;
        if (s->watch) { /* an earlier one of this turn may have unwatched it */
            slot_ready(s, ev[i].events);
            ran++;
        }
    }
    for (struct loop_slot *s = l->slots; always && s; s = s->next) {
        if (s->watch && s->always_ready) {
            slot_ready(s, s->watch->events);
            ran++;
        }
    }
    ran += finish_io(l);
    sweep(l);
    return ran;
}

static void forget(struct loop *l, struct loop_slot *s)
{
    if (s->armed && !s->always_ready)
        (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->watch->fd, NULL);
    s->watch = NULL; /* the turn's sweep frees it */
}

const struct loop_backend_ops loop_epoll_ops = {
    .up = up, .down = down, .turn = turn, .forget = forget};
