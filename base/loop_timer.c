/* base/loop_timer.c - see loop.h: a timer is a timerfd that the loop watches. */
#include <poll.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/loop.h"

/* The descriptor does not block: what was ready may have been set anew by an earlier callback of
 * the same turn. */
static void expired(void *ctx, uint32_t events)
{
    struct loop_timer *t = ctx;
    uint64_t times;
    (void)events;
    if (read(t->fd, &times, sizeof(times)) == sizeof(times))
        t->fn(t->ctx);
}

int loop_timer_open(struct loop *l, struct loop_timer *t, loop_fn *fn, void *ctx)
{
    AUTO_FD fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    *t = (struct loop_timer){.fn = fn, .ctx = ctx, .loop = l, .fd = fd};
    t->watch = (struct loop_watch){.fd = fd, .events = POLLIN, .fn = expired, .ctx = t};
    int rc = loop_watch(l, &t->watch);
    if (rc < 0)
        *t = (struct loop_timer){0};
    else
        t->fd = TAKE_FD(fd);
    return rc;
}

void loop_timer_set(struct loop_timer *t, uint64_t ns)
{
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)}};
    (void)timerfd_settime(t->fd, 0, &when, NULL); /* only bad arguments fail */
}

void loop_timer_close(struct loop_timer *t)
{
    if (!t->loop)
        return;
    loop_unwatch(t->loop, &t->watch);
    (void)close(t->fd);
    t->loop = NULL;
}

uint64_t loop_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
