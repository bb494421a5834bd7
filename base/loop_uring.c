/* base/loop_uring.c - the loop on io_uring: polls and file I/O in one ring, handed over and waited
 * for with one system call a turn. */
#include <limits.h>
#include <poll.h>

#include "base/loop_priv.h"

/* The completion ring must hold all I/O that can complete, and more: overflowing it costs the
 * kernel memory. Polls that a guest's doorbells set off faster than they are reaped end, and are
 * armed again. */
enum { RING_ENTRIES = 128, COMPLETIONS = 1024, IN_FLIGHT_MAX = COMPLETIONS - 256 };

/* Of operations put together: 1 MiB in pages. */
enum { JOINED_SEGMENTS = 256, JOINED_BYTES = 1 << 20 };

/* What user_data points to, in its low bits. */
enum tag { TAG_IO, TAG_SLOT, TAG_IGNORE, TAG_MASK = 3 };

/* seccomp does not see what a ring is asked for, so the ring takes nothing else than this. */
static int restrict_ring(struct io_uring *ring)
{
    static const uint8_t ops[] = {IORING_OP_POLL_ADD,  IORING_OP_READ,        IORING_OP_READV,
                                  IORING_OP_WRITE,     IORING_OP_WRITEV,      IORING_OP_FSYNC,
                                  IORING_OP_FALLOCATE, IORING_OP_ASYNC_CANCEL};
    struct io_uring_restriction all[ARRAY_SIZE(ops) + 1];
    unsigned n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++)
        all[n++] =
            (struct io_uring_restriction){.opcode = IORING_RESTRICTION_SQE_OP, .sqe_op = ops[i]};
    all[n++] = (struct io_uring_restriction){.opcode = IORING_RESTRICTION_REGISTER_OP,
                                             .register_op = IORING_REGISTER_SYNC_CANCEL};
    int rc = io_uring_register_restrictions(ring, all, n);
    return rc < 0 ? rc : io_uring_enable_rings(ring);
}

static int up(struct loop *l)
{
    /* Completions are then run when the loop asks for them, not by interrupting it (Linux 6.1); and
     * a flag in memory says that there are some. */
    struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
                                         IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                                         IORING_SETUP_R_DISABLED,
                                .cq_entries = COMPLETIONS};
    int rc = io_uring_queue_init_params(RING_ENTRIES, &l->ring, &p);
    if (rc == -EINVAL) {
        p = (struct io_uring_params){.flags = IORING_SETUP_CQSIZE | IORING_SETUP_R_DISABLED,
                                     .cq_entries = COMPLETIONS};
        rc = io_uring_queue_init_params(RING_ENTRIES, &l->ring, &p);
    }
    if (rc == 0 && !(p.features & IORING_FEAT_RSRC_TAGS)) { /* nor polls that stay (Linux 5.13) */
        io_uring_queue_exit(&l->ring);
        return -ENOSYS;
    }
    if (rc == 0 && (rc = restrict_ring(&l->ring)) < 0)
        io_uring_queue_exit(&l->ring);
    return rc;
}

/* NULL when even a submission does not make room: try again next turn. */
static struct io_uring_sqe *sqe_get(struct loop *l)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&l->ring);
    if (!sqe && io_uring_submit(&l->ring) >= 0)
        sqe = io_uring_get_sqe(&l->ring);
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, void *p, enum tag t)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)p | t);
}

static void arm(struct loop *l)
{
    l->rearm = false;
    for (struct loop_slot *s = l->slots; s; s = s->next) {
        if (s->armed || !s->watch)
            continue;
        struct io_uring_sqe *sqe = sqe_get(l);
        if (!sqe) {
            l->rearm = true;
            return;
        }
        if (s->watch->counter) /* stays, and tells of each signal */
            io_uring_prep_poll_multishot(sqe, s->watch->fd, s->watch->events);
        else
            io_uring_prep_poll_add(sqe, s->watch->fd, s->watch->events);
        tag(sqe, s, TAG_SLOT);
        s->armed = true;
    }
}

static size_t length(const struct loop_io *io)
{
    size_t len = 0;
    for (unsigned i = 0; i < io->n_iov; i++)
        len += io->iov[i].iov_len;
    return len;
}

/* Whether the first one of the backlog goes on in the file where these end. One that waits for the
 * disk goes alone: the host reports an earlier write that was lost once for each file, and were
 * that to end a joined one, none of those that are begun again would hear of it. */
static bool goes_on(const struct loop *l, const struct loop_io *first, const struct loop_io *last)
{
    const struct loop_io *next = l->backlog.head;
    return next && next->op == first->op && next->fd == first->fd && next->tries == 0 &&
           first->tries == 0 && (next->op == LOOP_READV || next->op == LOOP_WRITEV) &&
           !next->dsync && !first->dsync && next->off == last->off + length(last) &&
           next->off + length(next) - first->off <= JOINED_BYTES && l->in_flight < IN_FLIGHT_MAX;
}

/* Those become one operation with it, in a list, for a file's way is longer than a page's copy.
 * Their segments are put together; the kernel has a copy once it has taken the operation. */
static void gather(struct loop *l, struct loop_io *io, const struct iovec **iov, unsigned *n_iov)
{
    struct iovec *all = l->segments + l->n_segments;
    unsigned n = io->n_iov, most = MIN((unsigned)JOINED_SEGMENTS, LOOP_SEGMENTS - l->n_segments);
    struct loop_io *last = io;
    while (goes_on(l, io, last) && n + l->backlog.head->n_iov <= most) {
        if (last == io)
            memcpy(all, io->iov, n * sizeof(*all));
        last = last->next = loop_list_pop(&l->backlog);
        memcpy(all + n, last->iov, last->n_iov * sizeof(*all));
        n += last->n_iov;
        l->in_flight++;
        l->joined++;
    }
    l->n_segments += last != io ? n : 0;
    *iov = last != io ? all : io->iov;
    *n_iov = n;
    last->next = NULL;
}

/* One segment goes by itself: an array the kernel would have to fetch, and to check. */
static void prepare(struct io_uring_sqe *sqe, const struct loop_io *io, const struct iovec *iov,
                    unsigned n_iov)
{
    bool one = n_iov == 1;
    unsigned len = one ? (unsigned)MIN(iov->iov_len, (size_t)INT_MAX) : 0;
    switch (io->op) {
    case LOOP_READV:
        if (one)
            io_uring_prep_read(sqe, io->fd, iov->iov_base, len, io->off);
        else
            io_uring_prep_readv(sqe, io->fd, iov, n_iov, io->off);
        break;
    case LOOP_WRITEV:
        if (one)
            io_uring_prep_write(sqe, io->fd, iov->iov_base, len, io->off);
        else
            io_uring_prep_writev(sqe, io->fd, iov, n_iov, io->off);
        sqe->rw_flags = io->dsync ? RWF_DSYNC : 0;
        break;
    case LOOP_FDATASYNC:
        io_uring_prep_fsync(sqe, io->fd, IORING_FSYNC_DATASYNC);
        break;
    case LOOP_FALLOCATE:
        io_uring_prep_fallocate(sqe, io->fd, io->mode, (off_t)io->off, (off_t)io->len);
        break;
    }
}

static void submit_io(struct loop *l)
{
    while (l->backlog.head && l->in_flight < IN_FLIGHT_MAX) {
        struct io_uring_sqe *sqe = sqe_get(l);
        if (!sqe)
            return;
        struct loop_io *io = loop_list_pop(&l->backlog);
        const struct iovec *iov;
        unsigned n_iov;
        l->in_flight++;
        gather(l, io, &iov, &n_iov);
        prepare(sqe, io, iov, n_iov);
        tag(sqe, io, TAG_IO);
    }
}

/* What ended whole has ended. If they were not all of it, each of the others is begun again, alone,
 * for a result of its own. */
static void io_done(struct loop *l, struct loop_io *io, int64_t result)
{
    if (!io->next) {
        loop_io_finish(l, io, result);
        return;
    }
    for (struct loop_io *next; io; io = next) {
        int64_t len = (int64_t)length(io);
        next = io->next;
        loop_io_finish(l, io, result >= len ? len : -EAGAIN);
        result = result >= len ? result - len : -1;
    }
}

static void slot_done(struct loop *l, struct loop_slot *s, int result, bool more)
{
    struct loop_watch *w = s->watch;
    s->armed = more;
    if (w) {
        l->rearm = l->rearm || !more;
        if (result != -ECANCELED)
            w->fn(w->ctx, result < 0 ? POLLERR : (uint32_t)result);
    } else if (!more) {
        loop_slot_free(l, s);
    }
}

static unsigned reap(struct loop *l)
{
    struct io_uring_cqe *cqe;
    unsigned n = 0;
    /* One at a time: what runs here may cancel what is still queued behind it. At most a ring's
     * worth, so that posted work is not starved. */
    while (n < RING_ENTRIES && io_uring_peek_cqe(&l->ring, &cqe) == 0) {
        uint64_t data = cqe->user_data;
        int result = cqe->res;
        bool more = cqe->flags & IORING_CQE_F_MORE;
        io_uring_cqe_seen(&l->ring, cqe);
        void *p = (void *)(data & ~(uint64_t)TAG_MASK);
        if ((data & TAG_MASK) == TAG_IO)
            io_done(l, p, result);
        else if ((data & TAG_MASK) == TAG_SLOT)
            slot_done(l, p, result, more);
        else
            continue;
        n++;
    }
    return n;
}

/* A ring ends some time after it was closed: end its operations first, so that none takes a count
 * from the next one, or writes to a slot that is gone. */
static void down(struct loop *l)
{
    struct io_uring_sync_cancel_reg all = {.flags = IORING_ASYNC_CANCEL_ANY,
                                           .timeout = {.tv_sec = -1, .tv_nsec = -1}};
    (void)io_uring_submit(&l->ring);
    (void)io_uring_register_sync_cancel(&l->ring, &all);
    do {
        (void)io_uring_get_events(&l->ring);
    } while (reap(l) > 0);
    io_uring_queue_exit(&l->ring);
}

static bool wait_for(struct loop *l, int timeout_ms)
{
    if (timeout_ms < 0) {
        (void)io_uring_submit_and_wait(&l->ring, 1);
    } else if (timeout_ms > 0) {
        struct io_uring_cqe *cqe;
        struct __kernel_timespec ts = {.tv_sec = timeout_ms / 1000,
                                       .tv_nsec = (timeout_ms % 1000) * 1000000ll};
        (void)io_uring_submit_and_wait_timeout(&l->ring, &cqe, 1, &ts, NULL);
    }
    unsigned flags = IO_URING_READ_ONCE(*l->ring.sq.kflags);
    return io_uring_cq_ready(&l->ring) > 0 || flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static unsigned turn(struct loop *l, int timeout_ms)
{
    if (io_uring_sq_ready(&l->ring) == 0)
        l->n_segments = 0;
    if (l->rearm)
        arm(l);
    submit_io(l);
    if (timeout_ms != 0)
        (void)wait_for(l, timeout_ms);
    else
        (void)io_uring_submit(&l->ring); /* reap() enters the kernel if the flag says so */
    return reap(l);
}

static void forget(struct loop *l, struct loop_slot *s)
{
    s->watch = NULL;
    if (!s->armed) {
        loop_slot_free(l, s);
        return;
    }
    struct io_uring_sqe *sqe;
    while ((sqe = sqe_get(l)) == NULL) /* the kernel always takes submissions in the end */
        (void)io_uring_submit_and_wait(&l->ring, 1);
    io_uring_prep_cancel64(sqe, (uint64_t)s | TAG_SLOT, 0);
    tag(sqe, NULL, TAG_IGNORE);
}

const struct loop_backend_ops loop_uring_ops = {.calls = &sandbox_loop_uring,
                                                .up = up,
                                                .down = down,
                                                .turn = turn,
                                                .wait = wait_for,
                                                .forget = forget};
