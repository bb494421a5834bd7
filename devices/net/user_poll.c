/* devices/net/user_poll.c - what libslirp waits for. It wants to be polled: its sockets sit in an
 * epoll set of their own, which the loop watches as one descriptor, and only while the guest has
 * room for what they bring. Which of them it was is asked by ppoll(), as libslirp is itself told of
 * all of them, and its threads have one system call less to be allowed (base/sandbox.h). */
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "devices/net/user_priv.h"

int64_t user_now_ns(void *opaque)
{
    struct timespec t;
    (void)opaque;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- its sockets --- */

static const struct {
    int slirp;
    uint32_t epoll;
} event_map[] = {
    {SLIRP_POLL_IN, EPOLLIN},   {SLIRP_POLL_OUT, EPOLLOUT}, {SLIRP_POLL_PRI, EPOLLPRI},
    {SLIRP_POLL_ERR, EPOLLERR}, {SLIRP_POLL_HUP, EPOLLHUP},
};

static int grow(struct user *u, int fd)
{
    if ((size_t)fd < u->n_fds)
        return 0;
    size_t n = MAX((size_t)fd + 1, u->n_fds * 2);
    struct user_fd *fds = realloc(u->fds, n * sizeof(*fds));
    if (!fds)
        return -ENOMEM;
    memset(fds + u->n_fds, 0, (n - u->n_fds) * sizeof(*fds));
    u->fds = fds;
    int *list = realloc(u->list, n * sizeof(*list));
    if (!list)
        return -ENOMEM;
    u->list = list;
    struct pollfd *asked = realloc(u->asked, n * sizeof(*asked));
    if (!asked)
        return -ENOMEM;
    u->asked = asked;
    u->n_fds = n;
    return 0;
}

/* A connection that is not accepted makes its port ready again at once, so that is not looked at.
 */
static bool is_deaf(const struct user *u)
{
    return u->n_open >= u->most_open || u->deaf_ms;
}

static int add_poll(int fd, int events, void *opaque)
{
    struct user *u = opaque;
    if (fd < 0 || grow(u, fd) < 0)
        return -1; /* its connection stands still; there is no way to say so */
    struct user_fd *f = &u->fds[fd];
    u->n_open += !f->open;
    f->open = true;
    if (f->accepts && is_deaf(u))
        return -1;
    if (f->round != u->round)
        f->want = 0;
    f->round = u->round;
    for (size_t i = 0; i < ARRAY_SIZE(event_map); i++) {
        if (events & event_map[i].slirp)
            f->want |= event_map[i].epoll;
    }
    if (!f->listed)
        u->list[u->n_list++] = fd;
    f->listed = true;
    return fd;
}

static int get_events(int index, void *opaque)
{
    struct user *u = opaque;
    return index < 0 ? 0 : (int)u->fds[index].got;
}

static void epoll_apply(struct user *u, int fd)
{
    struct user_fd *f = &u->fds[fd];
    struct epoll_event ev = {.events = f->want, .data.fd = fd};
    int op = !f->want ? EPOLL_CTL_DEL : f->set ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(u->epoll_fd, op, fd, &ev) < 0 && op == EPOLL_CTL_MOD && errno == ENOENT)
        (void)epoll_ctl(u->epoll_fd, EPOLL_CTL_ADD, fd, &ev); /* a new socket of that number */
    f->set = f->want;
}

void user_new_fd(int fd, void *opaque)
{
    struct user *u = opaque;
    (void)fd; /* it is asked for by name when it is wanted */
    u->accepted++;
}

void user_forget_fd(int fd, void *opaque)
{
    struct user *u = opaque;
    if (fd < 0 || (size_t)fd >= u->n_fds)
        return;
    struct user_fd *f = &u->fds[fd];
    u->n_open -= f->open;
    f->open = false;
    f->got = 0;
    f->want = 0;
    if (f->set)
        epoll_apply(u, fd);
}

/* To wake up early does no harm: so the timer is not set anew for a later time, which would be a
 * system call for all that happens. */
static void wake_in(struct user *u, int64_t now_ms, uint32_t timeout_ms)
{
    int64_t at_ms = now_ms + MAX(timeout_ms, 1u);
    if (timeout_ms == UINT32_MAX || (u->wake_ms && u->wake_ms <= at_ms))
        return;
    u->wake_ms = at_ms;
    loop_timer_set(&u->timer, (uint64_t)(at_ms - now_ms) * 1000000);
}

void user_update(struct user *u)
{
    uint32_t timeout_ms = UINT32_MAX;
    int64_t now = user_now_ns(NULL) / 1000000;
    if (u->deaf_ms <= now)
        u->deaf_ms = 0;
    u->maybe_open = 0;
    u->round++;
    user_slirp.pollfds_fill(u->slirp, &timeout_ms, add_poll, u);
    size_t kept = 0;
    for (size_t i = 0; i < u->n_list; i++) {
        struct user_fd *f = &u->fds[u->list[i]];
        if (f->round != u->round)
            f->want = 0;
        if (f->want != f->set)
            epoll_apply(u, u->list[i]);
        f->listed = f->want != 0;
        if (f->listed)
            u->list[kept++] = u->list[i];
    }
    u->n_list = kept;

    if (u->deaf_ms)
        timeout_ms = (uint32_t)MIN((int64_t)timeout_ms, u->deaf_ms - now);
    for (size_t i = 0; i < USER_TIMERS_MAX; i++) {
        const struct user_timer *t = &u->timers[i];
        if (t->used && t->at_ms)
            timeout_ms = (uint32_t)MIN((int64_t)timeout_ms, MAX(t->at_ms - now, (int64_t)1));
    }
    wake_in(u, now, timeout_ms);
}

void user_forwards(struct user *u)
{
    for (size_t i = 0; i < u->n_list; i++) {
        int on = 0;
        socklen_t len = sizeof(on);
        (void)getsockopt(u->list[i], SOL_SOCKET, SO_ACCEPTCONN, &on, &len);
        u->fds[u->list[i]].accepts = on;
    }
}

void user_sockets_ready(void *ctx, uint32_t events)
{
    struct user *u = ctx;
    size_t n = u->n_list;
    uint64_t before = u->accepted;
    bool calls = false; /* somebody wants to be accepted */
    (void)events;
    for (size_t i = 0; i < n; i++) {
        uint32_t want = u->fds[u->list[i]].want;
        u->asked[i] = (struct pollfd){.fd = want ? u->list[i] : -1, .events = (short)want};
    }
    if (poll_ms(u->asked, (unsigned)n, 0) <= 0)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < ARRAY_SIZE(event_map); k++) {
            if ((uint32_t)u->asked[i].revents & event_map[k].epoll)
                u->fds[u->list[i]].got |= (uint32_t)event_map[k].slirp;
        }
        calls |= u->fds[u->list[i]].got && u->fds[u->list[i]].accepts;
    }
    user_slirp.pollfds_poll(u->slirp, 0, get_events, u);
    if (calls && u->accepted == before) /* no descriptor was to be had, or no memory */
        u->deaf_ms = user_now_ns(NULL) / 1000000 + USER_DEAF_MS;
    for (size_t i = 0; i < n; i++)
        u->fds[u->list[i]].got = 0;
    user_after(u);
}

void user_time_is_up(void *ctx)
{
    struct user *u = ctx;
    int64_t now = user_now_ns(NULL) / 1000000;
    u->wake_ms = 0;
    for (size_t i = 0; i < USER_TIMERS_MAX; i++) {
        struct user_timer *t = &u->timers[i];
        if (t->used && t->at_ms && t->at_ms <= now) {
            t->at_ms = 0;
            user_slirp.handle_timer(u->slirp, t->id, t->ctx);
        }
    }
    user_slirp.pollfds_poll(u->slirp, 0, get_events, u);
    user_after(u);
}

/* --- timers --- */

void *user_timer_new(SlirpTimerId id, void *ctx, void *opaque)
{
    struct user *u = opaque;
    for (size_t i = 0; i < USER_TIMERS_MAX; i++) {
        if (!u->timers[i].used) {
            u->timers[i] = (struct user_timer){.id = id, .ctx = ctx, .used = true};
            return &u->timers[i];
        }
    }
    return NULL;
}

void user_timer_free(void *timer, void *opaque)
{
    (void)opaque;
    if (timer)
        ((struct user_timer *)timer)->used = false;
}

void user_timer_mod(void *timer, int64_t at_ms, void *opaque)
{
    (void)opaque;
    if (timer)
        ((struct user_timer *)timer)->at_ms = at_ms; /* user_update() follows every call */
}
