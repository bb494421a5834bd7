/* devices/rtc/alarms.c - alarms (virtio 1.4, 5.23.6.6): a timerfd on the clock itself for each, so
 * that the kernel follows the clock wherever it steps. */
#include <poll.h>
#include <sys/timerfd.h>

#include "devices/rtc/rtc_priv.h"

static const uint64_t far_ns = INT64_MAX;

/* At an absolute time of the host's clock; 0 is never. */
static void arm(struct rtc_clock *c, uint64_t ns)
{
    int flags = TFD_TIMER_ABSTIME;
    if (c->host == CLOCK_REALTIME) /* also at once when somebody sets it */
        flags |= TFD_TIMER_CANCEL_ON_SET;
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)}};
    (void)timerfd_settime(c->watch.fd, flags, &when, NULL); /* only bad arguments fail */
}

static void expire(struct rtc_clock *c)
{
    c->rtc->expired++;
    c->serving = true;
    rtc_alarms_send(c->rtc);
}

/* Armed first, read then: a step in between is an event. After the alarm there is one still, the
 * clock's step back to before it. */
void rtc_alarm_look(struct rtc_clock *c)
{
    uint64_t now;
    for (bool changed = true; changed;) {
        uint64_t at = c->alarm > c->offset ? c->alarm - c->offset : 0;
        arm(c, !c->enabled ? 0 : c->reached ? far_ns : MIN(at, far_ns));
        bool reached = c->enabled && rtc_clock_read(c, &now) == 0 && now >= c->alarm;
        changed = reached != c->reached;
        c->reached = reached;
        if (reached && changed)
            expire(c);
    }
}

void rtc_alarm_set(struct rtc_clock *c, uint64_t ns, bool enabled)
{
    c->alarm = ns;
    c->enabled = enabled;
    c->serving = c->reached = false; /* what is before this is obsolete */
    rtc_alarm_look(c);
}

void rtc_alarms_send(struct rtc *r)
{
    struct vq *q = vdev_queue(r->dev, RTC_ALARMQ);
    if (!q || !vdev_has(r->dev, RTC_F_ALARM))
        return;
    for (unsigned i = 0; i < r->n; i++) {
        const struct rtc_notif m = {.msg_type = htole16(RTC_NOTIF_ALARM),
                                    .clock_id = htole16((uint16_t)i)};
        while (r->clocks[i].serving) {
            struct vq_req *req = vq_next(q);
            if (!req)
                return; /* goes on when the driver adds buffers */
            if (vq_req_write(req, 0, &m, sizeof(m)) == 0) {
                req->written = sizeof(m);
                r->clocks[i].serving = false;
                r->notified++;
            }
            vq_complete(q, req);
        }
    }
}

static void on_timer(void *ctx, uint32_t events)
{
    struct rtc_clock *c = ctx;
    uint64_t times;
    (void)events;
    /* How often, or ECANCELED, is of no matter: the clock is asked. */
    if (read(c->watch.fd, &times, sizeof(times)) >= 0 || errno == ECANCELED)
        rtc_alarm_look(c);
}

int rtc_alarms_open(struct rtc *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        struct rtc_clock *c = &r->clocks[i];
        if (!c->has_alarm)
            continue;
        AUTO_FD fd = timerfd_create(c->host, TFD_CLOEXEC | TFD_NONBLOCK);
        if (fd < 0)
            return -errno;
        c->watch = (struct loop_watch){.fd = fd, .events = POLLIN, .fn = on_timer, .ctx = c};
        int rc = loop_watch(r->loop, &c->watch);
        if (rc < 0) {
            c->watch.fd = 0;
            return rc;
        }
        c->watch.fd = TAKE_FD(fd);
    }
    return 0;
}

void rtc_alarms_close(struct rtc *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        struct loop_watch *w = &r->clocks[i].watch;
        if (w->fd <= 0)
            continue;
        loop_unwatch(r->loop, w);
        (void)close(w->fd);
    }
}

void rtc_alarms_reset(struct rtc *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        if (r->clocks[i].has_alarm)
            rtc_alarm_set(&r->clocks[i], 0, false);
    }
}
