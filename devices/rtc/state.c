/* devices/rtc/state.c - clocks and alarms saved and loaded. Time goes on meanwhile; the clocks are
 * the new host's, and only a monotonic one must not notice. */
#include "devices/rtc/rtc_priv.h"

enum { ENABLED = 1, REACHED = 2, SERVING = 4 };

struct state_call { /* all of it is the loop's */
    struct rtc *r;
    struct state_out *out;
    struct state_in *in;
    int rc;
};

static void save_on_loop(void *ctx)
{
    const struct state_call *call = ctx;
    struct state_out *s = call->out;
    state_u8(s, (uint8_t)call->r->n);
    for (unsigned i = 0; i < call->r->n; i++) {
        const struct rtc_clock *c = &call->r->clocks[i];
        state_u8(s, c->type);
        state_u8(s, c->smearing);
        state_u8(s, (c->enabled ? ENABLED : 0) | (c->reached ? REACHED : 0) |
                        (c->serving ? SERVING : 0));
        state_u64(s, c->alarm);
        state_u64(s, c->offset);
        state_u64(s, c->last);
    }
}

void rtc_save(const struct vdev *d, struct state_out *s)
{
    struct state_call call = {.r = vdev_priv(d), .out = s};
    state_begin(s, "RTCK", 1);
    loop_call(call.r->loop, save_on_loop, &call);
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
static void load_on_loop(void *ctx)
{
    struct state_call *call = ctx;
    struct state_in *s = call->in;
    bool same = state_get_u8(s) == call->r->n;
    for (unsigned i = 0; same && i < call->r->n; i++) {
        struct rtc_clock *c = &call->r->clocks[i];
        uint8_t type = state_get_u8(s), smearing = state_get_u8(s), flags = state_get_u8(s);
        uint64_t alarm = state_get_u64(s), offset = state_get_u64(s), last = state_get_u64(s);
        same = type == c->type && smearing == c->smearing && !s->error;
        if (!same)
            break;
        continue_at(c, offset, last);
        if (!c->has_alarm)
            continue;
        c->alarm = alarm;
        c->enabled = flags & ENABLED;
        c->reached = c->enabled && flags & REACHED;
        c->serving = c->enabled && flags & SERVING;
        rtc_alarm_look(c);
    }
    call->rc = same ? 0 : -EBADMSG;
}

int rtc_load(struct vdev *d, struct state_in *s)
{
    struct state_call call = {.r = vdev_priv(d), .in = s};
    uint32_t version;
    int rc = state_open(s, "RTCK", 1, &version);
    if (rc < 0)
        return rc;
    loop_call(call.r->loop, load_on_loop, &call);
    return call.rc < 0 ? call.rc : state_close(s);
}
