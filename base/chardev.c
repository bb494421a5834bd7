/* base/chardev.c - see chardev.h: moves bytes between the host's end and the clients. Everything
 * but chardev_write() happens on the loop's thread, where after each event one function,
 * update(), works out anew which descriptors are worth watching. */
#include "base/chardev_priv.h"

#include <assert.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "base/log.h"

/* Output. */

/* Bytes taken, or -errno; -EAGAIN when the host's side is full. Locked. */
static ssize_t write_once(struct chardev *c, const uint8_t *p, size_t len)
{
    ssize_t n;

    switch (c->how) {
    case OUT_SOCKET:
        n = sendmsg(c->out_fd,
                    &(struct msghdr){.msg_iov = &(struct iovec){(void *)p, len}, .msg_iovlen = 1},
                    MSG_DONTWAIT | MSG_NOSIGNAL);
        break;
    case OUT_POLLED:
        if (!poll_now(c->out_fd, POLLOUT))
            return -EAGAIN;
        n = write(c->out_fd, p, MIN(len, c->at_once));
        break;
    case OUT_PLAIN:
    default:
        n = write(c->out_fd, p, len);
        break;
    }
    if (n == 0)
        return -EAGAIN;
    return n < 0 ? -errno : n;
}

static bool nobody_reads(struct chardev *c)
{
    if (c->kind == CHARDEV_PTY) /* asked each time: no event tells that the slave was opened */
        return poll_now(c->out_fd, 0) & POLLHUP;
    return c->dead || !c->connected;
}

/* Locked. */
static size_t write_all(struct chardev *c, const uint8_t *p, size_t len)
{
    size_t taken = 0;

    while (taken < len) {
        ssize_t n = write_once(c, p + taken, len - taken);
        if (n > 0) {
            taken += (size_t)n;
        } else if (n == -EAGAIN) {
            c->blocked = true;
            return taken;
        } else if (n != -EINTR) {
            /* A peer that went is noticed by the loop, and another may come. */
            if (!chardev_is_duplex(c)) {
                c->dead = true;
                log_warn("console: output is lost from here on: %s", strerror((int)-n));
            }
            return len;
        }
    }
    return len;
}

size_t chardev_write(struct chardev *c, const void *p, size_t len)
{
    size_t taken = len;
    bool was_blocked, blocked;

    pthread_mutex_lock(&c->lock);
    was_blocked = c->blocked;
    if (!nobody_reads(c))
        taken = was_blocked ? 0 : write_all(c, p, len);
    blocked = c->blocked;
    pthread_mutex_unlock(&c->lock);
    if (blocked && !was_blocked)
        loop_post(c->loop, &c->task); /* it watches for POLLOUT */
    return taken;
}

static bool is_blocked(struct chardev *c)
{
    pthread_mutex_lock(&c->lock);
    bool blocked = c->blocked;
    pthread_mutex_unlock(&c->lock);
    return blocked;
}

static void unblock(struct chardev *c)
{
    pthread_mutex_lock(&c->lock);
    bool was_blocked = c->blocked;
    c->blocked = false;
    pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; was_blocked && i < c->n_clients; i++)
        c->clients[i].writable(c->clients[i].ctx);
}

static void tell(struct chardev *c, enum chardev_event ev)
{
    for (unsigned i = 0; i < c->n_clients; i++) {
        if (c->clients[i].event)
            c->clients[i].event(c->clients[i].ctx, ev);
    }
}

/* Input. */

static size_t room(struct chardev *c, struct chardev_client **who)
{
    for (unsigned i = 0; i < c->n_clients; i++) {
        *who = &c->clients[i];
        if ((*who)->wants_input((*who)->ctx))
            return (*who)->room((*who)->ctx);
    }
    return 0;
}

static void deliver(struct chardev *c)
{
    struct chardev_hold *h = &c->hold;
    struct chardev_client *who;

    while (h->from < h->to) {
        size_t n = MIN(room(c, &who), h->to - h->from);
        if (n == 0)
            return;
        who->receive(who->ctx, h->buf + h->from, n);
        h->from += n;
    }
    h->from = h->to = 0;
}

/* How much may be read now; makes space for it. */
static size_t read_limit(struct chardev *c)
{
    struct chardev_hold *h = &c->hold;
    struct chardev_client *who;

    if (!c->started || c->in_fd < 0 || c->in_ended || (chardev_is_duplex(c) && !c->connected))
        return 0;
    if (c->terminal)
        return h->cap - (h->to - h->from);
    return h->from < h->to ? 0 : MIN(room(c, &who), h->cap);
}

/* At most `limit` bytes into the hold: bytes read, 0 at the end, or -errno. */
static ssize_t read_hold(struct chardev *c, size_t limit)
{
    struct chardev_hold *h = &c->hold;

    if (h->cap - h->to < limit) {
        memmove(h->buf, h->buf + h->from, h->to - h->from);
        h->to -= h->from;
        h->from = 0;
    }
    ssize_t n = read(c->in_fd, h->buf + h->to, MIN(limit, h->cap - h->to));
    if (n < 0)
        return -errno;
    h->to += c->terminal ? term_filter(c, h->buf + h->to, (size_t)n) : (size_t)n;
    return n;
}

/* The other end of a socket or pty sends no more. What it has sent is bounded by the host's own
 * buffers, so it is taken now and nothing has to be remembered about the descriptor. */
static void read_rest(struct chardev *c)
{
    ssize_t n = 1;
    while (n > 0 && c->hold.to - c->hold.from < c->hold.cap)
        n = read_hold(c, c->hold.cap - (c->hold.to - c->hold.from));
}

static void connected(struct chardev *c)
{
    pthread_mutex_lock(&c->lock);
    c->connected = true;
    pthread_mutex_unlock(&c->lock);
    tell(c, CHARDEV_CONNECTED);
}

/* The peer is gone, or the pty's slave is closed. */
static void hang_up(struct chardev *c)
{
    if (!c->half_closed)
        read_rest(c);
    loop_unwatch(c->loop, &c->in);
    pthread_mutex_lock(&c->lock);
    c->connected = false;
    if (c->kind == CHARDEV_UNIX) {
        fd_cleanup_(&c->in_fd);
        c->in_fd = c->out_fd = -1;
    }
    pthread_mutex_unlock(&c->lock);
    c->half_closed = false;
    tell(c, CHARDEV_DISCONNECTED);
    unblock(c);
}

/* A peer that has only shut down its sending side still reads. io_uring reports that state at every
 * poll, whatever was asked for, so from here on the timer looks after the peer. */
static void half_close(struct chardev *c)
{
    read_rest(c);
    c->half_closed = true;
}

static void input_ended(struct chardev *c)
{
    if (!chardev_is_duplex(c)) {
        c->in_ended = true; /* update() stops watching */
    } else if (c->kind == CHARDEV_PTY || poll_now(c->in_fd, 0) & (POLLHUP | POLLERR)) {
        hang_up(c);
    } else {
        half_close(c);
    }
}

static void read_input(struct chardev *c)
{
    size_t limit = read_limit(c);
    /* Others may read from an inherited descriptor too, and have been faster. */
    if (limit == 0 || !poll_now(c->in_fd, POLLIN))
        return;
    ssize_t n = read_hold(c, limit);
    if (n == 0 || (n < 0 && n != -EAGAIN && n != -EINTR))
        input_ended(c);
}

/* The loop's side. */

static void update(struct chardev *c);

static void set_watch(struct chardev *c, struct loop_watch *w, int fd, bool on, uint32_t events)
{
    if (w->slot && (!on || w->fd != fd || w->events != events))
        loop_unwatch(c->loop, w);
    if (!on || w->slot)
        return;
    w->fd = fd;
    w->events = events;
    if (loop_watch(c->loop, w) < 0)
        log_warn("console: out of memory: input or output stops");
}

enum { TIMER_MS = 100 };

/* What no event tells, the timer finds out: that a pty's slave was opened, that a peer which only
 * listens has gone, that accept() may work again. */
static bool needs_timer(struct chardev *c)
{
    return (c->kind == CHARDEV_PTY && !c->connected) || c->half_closed || c->accept_failed;
}

static void set_timer(struct chardev *c, bool on)
{
    if (c->timer_fd < 0 || on == (c->timer.slot != NULL))
        return;
    struct timespec each = {.tv_nsec = on ? TIMER_MS * 1000000l : 0};
    struct itimerspec its = {.it_interval = each, .it_value = each};
    (void)timerfd_settime(c->timer_fd, 0, &its, NULL);
    set_watch(c, &c->timer, c->timer_fd, on, POLLIN);
}

static void update(struct chardev *c)
{
    deliver(c);
    if (!c->started)
        return;
    bool wants_in = read_limit(c) > 0, blocked = is_blocked(c);
    uint32_t in = wants_in ? POLLIN : 0, out = blocked ? POLLOUT : 0;
    if (chardev_is_duplex(c)) { /* always watched, to hear of its end */
        set_watch(c, &c->in, c->in_fd, c->connected && !c->half_closed, in | out);
    } else {
        set_watch(c, &c->in, c->in_fd, wants_in, in);
        set_watch(c, &c->out, c->out_fd, blocked, out);
    }
    set_watch(c, &c->listen, c->listen_fd, c->listen_fd >= 0 && !c->accept_failed, POLLIN);
    set_timer(c, needs_timer(c));
}

static void on_in(void *ctx, uint32_t events)
{
    struct chardev *c = ctx;

    if (chardev_is_duplex(c) && events & (POLLHUP | POLLERR)) {
        hang_up(c);
    } else {
        if (events & POLLOUT && chardev_is_duplex(c))
            unblock(c);
        if (chardev_is_duplex(c) && events & POLLRDHUP)
            half_close(c);
        else
            read_input(c);
    }
    update(c);
}

static void on_out(void *ctx, uint32_t events)
{
    struct chardev *c = ctx;
    (void)events;
    unblock(c);
    update(c);
}

static void accept_peer(struct chardev *c)
{
    int fd = accept4(c->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        c->accept_failed = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
        return;
    }
    /* Whoever hangs up and calls again at once may be heard in the wrong order. */
    if (c->in_fd >= 0 && poll_now(c->in_fd, 0) & (POLLHUP | POLLERR))
        hang_up(c);
    if (c->in_fd >= 0) {
        (void)close(fd);
        return;
    }
    pthread_mutex_lock(&c->lock);
    c->in_fd = c->out_fd = fd;
    c->how = OUT_SOCKET;
    pthread_mutex_unlock(&c->lock);
    connected(c);
}

static void on_listen(void *ctx, uint32_t events)
{
    struct chardev *c = ctx;
    (void)events;
    accept_peer(c);
    update(c);
}

static void on_timer(void *ctx, uint32_t events)
{
    struct chardev *c = ctx;
    uint64_t times;
    (void)events;
    if (read(c->timer_fd, &times, sizeof(times)) < 0)
        return; /* stopped meanwhile */
    c->accept_failed = false;
    if (c->kind == CHARDEV_PTY && !c->connected) {
        if (poll_now(c->in_fd, 0) & POLLHUP)
            unblock(c); /* opened, filled and closed between two ticks */
        else
            connected(c);
    }
    if (c->half_closed) {
        uint32_t now = poll_now(c->in_fd, POLLOUT);
        if (now & (POLLHUP | POLLERR))
            hang_up(c);
        else if (now & POLLOUT)
            unblock(c);
    }
    update(c);
}

static void on_task(void *ctx)
{
    struct chardev *c = ctx;
    if (atomic_exchange(&c->resized, false))
        tell(c, CHARDEV_RESIZED);
    update(c);
}

/* Life. */

int chardev_new_fds(const struct chardev_spec *spec, int in_fd, int out_fd, struct loop *l,
                    struct chardev **out, struct err *e)
{
    struct chardev *c = calloc(1, sizeof(*c));
    if (!c)
        return err_host(e, -ENOMEM, "console");
    c->kind = (int)spec->kind;
    c->loop = l;
    c->quit = spec->quit;
    c->quit_ctx = spec->quit_ctx;
    c->in_fd = c->out_fd = c->listen_fd = c->timer_fd = -1;
    c->in = (struct loop_watch){.fn = on_in, .ctx = c};
    c->out = (struct loop_watch){.fn = on_out, .ctx = c};
    c->listen = (struct loop_watch){.fn = on_listen, .ctx = c};
    c->timer = (struct loop_watch){.fn = on_timer, .ctx = c};
    c->task = (struct loop_task){.fn = on_task, .ctx = c};
    pthread_mutex_init(&c->lock, NULL);
    int r = chardev_open(c, spec, in_fd, out_fd, e);
    if (r < 0) {
        chardev_free(c);
        return r;
    }
    *out = c;
    return 0;
}

int chardev_new(const struct chardev_spec *spec, struct loop *l, struct chardev **out,
                struct err *e)
{
    return chardev_new_fds(spec, STDIN_FILENO, STDOUT_FILENO, l, out, e);
}

void chardev_free(struct chardev *c)
{
    if (!c)
        return;
    loop_task_cancel(c->loop, &c->task);
    loop_unwatch(c->loop, &c->in);
    loop_unwatch(c->loop, &c->out);
    loop_unwatch(c->loop, &c->listen);
    loop_unwatch(c->loop, &c->timer);
    chardev_close(c);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void chardev_attach(struct chardev *c, const struct chardev_client *client)
{
    assert(c->n_clients < CHARDEV_CLIENTS && !c->started);
    c->clients[c->n_clients++] = *client;
}

int chardev_start(struct chardev *c)
{
    c->started = true;
    update(c);
    return 0;
}

void chardev_rx_ready(struct chardev *c)
{
    loop_post(c->loop, &c->task);
}

void chardev_resized(struct chardev *c)
{
    atomic_store(&c->resized, true);
    loop_post(c->loop, &c->task);
}

bool chardev_connected(const struct chardev *c)
{
    struct chardev *locked = (struct chardev *)c;
    pthread_mutex_lock(&locked->lock);
    bool connected = c->connected;
    pthread_mutex_unlock(&locked->lock);
    return connected;
}

const char *chardev_path(const struct chardev *c)
{
    return c->kind == CHARDEV_PTY ? c->path : NULL;
}
