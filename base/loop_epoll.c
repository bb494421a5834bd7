/* base/loop_epoll.c - the loop on epoll, for hosts that refuse io_uring: readiness from epoll, and
 * a pool of threads for file I/O, which would block the loop. */
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>

#include "base/loop_priv.h"

static int up(struct loop *l)
{
    enum { THREADS = 4 };
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0)
        return -errno;
    int rc = loop_pool_new(l, LOOP_IO_POOL, THREADS, &sandbox_loop_files, &l->io_pool);
    if (rc < 0)
        fd_cleanup_(&l->epoll_fd);
    return rc;
}

static void down(struct loop *l)
{
    loop_pool_free(TAKE_PTR(l->io_pool));
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

static void work_io(struct loop_work *w)
{
    struct loop_io *io = container_of(w, struct loop_io, work);
    io->result = perform(io);
}

static void worked_io(struct loop_work *w)
{
    struct loop_io *io = container_of(w, struct loop_io, work);
    loop_io_finish(io->loop, io, io->result);
}

static void submit_io(struct loop *l)
{
    for (struct loop_io *io; (io = loop_list_pop(&l->backlog)) != NULL;) {
        l->in_flight++;
        io->loop = l;
        io->work = (struct loop_work){.fn = work_io, .done = worked_io};
        loop_work(l->io_pool, &io->work);
    }
}

static void arm(struct loop *l)
{
    l->rearm = false;
    for (struct loop_slot *s = l->slots; s; s = s->next) {
        if (s->armed || !s->watch)
            continue;
        struct epoll_event ev = {.events = s->watch->events | (s->watch->counter ? EPOLLET : 0),
                                 .data.ptr = s};
        int rc = epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->watch->fd, &ev) < 0 ? -errno : 0;
        s->always_ready = rc == -EPERM; /* a regular file */
        s->armed = rc == 0 || s->always_ready;
        l->rearm = l->rearm || !s->armed; /* no memory: tried again next turn */
    }
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
            s->watch->fn(s->watch->ctx, ev[i].events);
            ran++;
        }
    }
    for (struct loop_slot *s = l->slots; always && s; s = s->next) {
        if (s->watch && s->always_ready) {
            s->watch->fn(s->watch->ctx, s->watch->events);
            ran++;
        }
    }
    sweep(l);
    return ran;
}

static bool wait_for(struct loop *l, int timeout_ms)
{
    struct pollfd p = {.fd = l->epoll_fd, .events = POLLIN};
    return poll(&p, 1, timeout_ms) > 0;
}

static void forget(struct loop *l, struct loop_slot *s)
{
    if (s->armed && !s->always_ready)
        (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->watch->fd, NULL);
    s->watch = NULL; /* the turn's sweep frees it */
}

const struct loop_backend_ops loop_epoll_ops = {.calls = &sandbox_loop_epoll,
                                                .up = up,
                                                .down = down,
                                                .turn = turn,
                                                .wait = wait_for,
                                                .forget = forget};
