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

/* A driver that has asked which clocks there are may not be told otherwise. */
int rtc_load(struct vdev *d, struct state_in *s)
{
    struct rtc *r = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "RTCK", 1, &version);
    if (rc < 0)
        return rc;
    if (state_get_u8(s) != r->n)
        return -EBADMSG;
    for (unsigned i = 0; i < r->n; i++) {
        struct rtc_clock *c = &r->clocks[i];
        uint8_t type = state_get_u8(s), smearing = state_get_u8(s), flags = state_get_u8(s);
        uint64_t alarm = state_get_u64(s), offset = state_get_u64(s), last = state_get_u64(s);
        if (type != c->type || smearing != c->smearing || s->error)
            return -EBADMSG;
        continue_at(c, offset, last);
        if (!c->has_alarm)
            continue;
        c->alarm = alarm;
        c->enabled = flags & ENABLED;
        c->reached = c->enabled && flags & REACHED;
        c->serving = c->enabled && flags & SERVING;
        rtc_alarm_look(c);
    }
    return state_close(s);
}
