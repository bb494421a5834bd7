/* devices/rtc/state.c - clocks and alarms saved and loaded. Time goes on meanwhile; the clocks are
 * the new host's, and only a monotonic one must not notice. */
#include "devices/rtc/rtc_priv.h"

enum { ENABLED = 1, REACHED = 2, SERVING = 4 };

void rtc_save(const struct vdev *d, struct state_out *s)
{
    const struct rtc *r = vdev_priv(d);
    state_begin(s, "RTCK", 1);
    state_u8(s, (uint8_t)r->n);
    for (unsigned i = 0; i < r->n; i++) {
        const struct rtc_clock *c = &r->clocks[i];
        state_u8(s, c->type);
        state_u8(s, c->smearing);
        state_u8(s, (c->enabled ? ENABLED : 0) | (c->reached ? REACHED : 0) |
                        (c->serving ? SERVING : 0));
        state_u64(s, c->alarm);
        state_u64(s, c->offset);
        state_u64(s, c->last);
    }
    state_end(s);
}

/* Not less than was read there. */
static void continue_at(struct rtc_clock *c, uint64_t offset, uint64_t last)
{
    uint64_t now;
    if (c->type != RTC_MONOTONIC)
        return;
    c->offset = offset;
    c->last = 0;
    if (rtc_clock_read(c, &now) == 0 && now < last)
        c->offset += last - now;
    c->last = last;
}

/* A driver that has asked which clocks there are may not be told otherwise. A clock outlives any
 * reset: so all of it is read before the first is touched. */
int rtc_load(struct vdev *d, struct state_in *s)
{
    struct rtc *r = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "RTCK", 1, &version);
    if (rc < 0)
        return rc;
    struct {
        uint8_t flags;
        uint64_t alarm, offset, last;
    } saved[RTC_CLOCKS_MAX] = {0};
    bool same = state_get_u8(s) == r->n;
    for (unsigned i = 0; i < r->n; i++) {
        same &= state_get_u8(s) == r->clocks[i].type;
        same &= state_get_u8(s) == r->clocks[i].smearing;
        saved[i].flags = state_get_u8(s);
        saved[i].alarm = state_get_u64(s);
        saved[i].offset = state_get_u64(s);
        saved[i].last = state_get_u64(s);
    }
    rc = state_close(s);
    if (rc < 0 || !same)
        return -EBADMSG;
    for (unsigned i = 0; i < r->n; i++) {
        struct rtc_clock *c = &r->clocks[i];
        continue_at(c, saved[i].offset, saved[i].last);
        if (!c->has_alarm)
            continue;
        c->alarm = saved[i].alarm;
        c->enabled = saved[i].flags & ENABLED;
        c->reached = c->enabled && saved[i].flags & REACHED;
        c->serving = c->enabled && saved[i].flags & SERVING;
        rtc_alarm_look(c);
    }
    return 0;
}
