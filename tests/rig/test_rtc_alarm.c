/* tests/rig/test_rtc_alarm.c - alarms of the real time clock (virtio 1.4, 5.23.6.6): when they
 * expire and when not, who is told and how often, and what a reset and a save make of them. */
#include <linux/virtio_config.h>

#include "tests/rig/rtc_fixture.h"

static const uint64_t T = 1600000000ull * 1000000000;

/* UTC and monotonic stand at T. */
static struct rig *up(void)
{
    fake(CLOCK_REALTIME, (int64_t)T);
    fake(CLOCK_BOOTTIME, (int64_t)T);
    return rig_up("rtc", NULL);
}

static void advance(struct rig *r, unsigned clock, uint64_t to)
{
    fake(clock ? CLOCK_BOOTTIME : CLOCK_REALTIME, (int64_t)to);
    fire(r, clock);
}

static uint8_t enable(struct rig *r, uint16_t clock, bool on)
{
    return ask(r, RTC_REQ_SET_ALARM_ENABLED, clock, on).status;
}

Test(rtc_alarm, expires_when_its_clock_gets_there)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#04");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#06");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#07");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#11");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#12");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#14");
    struct rig *r = up();
    gpa_t at;
    for (unsigned clock = 0; clock < 2; clock++) {
        post(r, 16, &at);
        cr_assert_eq(set_alarm(r, (uint16_t)clock, T + 100, 1), RTC_OK);
        cr_assert_eq(armed[clock].at.tv_sec * NS + armed[clock].at.tv_nsec, T + 100);
        cr_assert(armed[clock].flags & TFD_TIMER_ABSTIME);
        cr_assert_eq(!!(armed[clock].flags & TFD_TIMER_CANCEL_ON_SET), clock == 0);
        advance(r, clock, T + 99);
        cr_assert_eq(announced(r, at), -1, "too early");
        rig_listen(r, RTC_ALARMQ);
        (void)rig_irqs(r);
        advance(r, clock, T + 100);
        cr_assert_eq(announced(r, at), (int)clock);
        cr_assert_eq(rig_irqs(r), 1);
        cr_assert_geq(read_clock(r, (uint16_t)clock), T + 100);
        post(r, 16, &at);
        advance(r, clock, T + 200);
        cr_assert_eq(announced(r, at), -1, "once for each event");
        expect_alarm(r, (uint16_t)clock, T + 100, true);
        /* The posted buffer serves the next clock. */
        if (clock == 0) {
            cr_assert_eq(set_alarm(r, 0, 0, 1), RTC_OK);
            cr_assert_eq(announced(r, at), 0);
        }
    }
    cr_assert_eq(reported(r, "alarms_expired"), 3);
    cr_assert_eq(reported(r, "alarms_notified"), 3);
    rig_down(r);
}

Test(rtc_alarm, expires_by_a_step_and_again_after_a_step_back)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#07");
    struct rig *r = up();
    gpa_t at;
    post(r, 16, &at);
    cr_assert_eq(set_alarm(r, 0, T + 100, 1), RTC_OK);
    advance(r, 0, T + 3600 * NS); /* a step over it */
    cr_assert_eq(announced(r, at), 0);
    post(r, 16, &at);
    cr_assert_gt(armed[0].at.tv_sec, 1ll << 32, "only a step is of interest now");
    advance(r, 0, T); /* and back */
    cr_assert_eq(announced(r, at), -1);
    cr_assert_eq(armed[0].at.tv_sec * NS + armed[0].at.tv_nsec, T + 100);
    advance(r, 0, T + 100);
    cr_assert_eq(announced(r, at), 0, "it is reached once more");
    rig_down(r);
}

Test(rtc_alarm, expires_at_once_when_the_time_has_passed)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#08");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#09");
    struct rig *r = up();
    gpa_t at;
    const uint64_t past[] = {0, 1, T - 1, T};
    for (size_t i = 0; i < ARRAY_SIZE(past); i++) {
        post(r, 16, &at);
        cr_assert_eq(set_alarm(r, 0, past[i], 0), RTC_OK);
        cr_assert_eq(announced(r, at), -1, "it is not enabled");
        cr_assert_eq(enable(r, 0, true), RTC_OK);
        cr_assert_eq(announced(r, at), 0, "by enabling it");
        post(r, 16, &at);
        cr_assert_eq(enable(r, 0, true), RTC_OK);
        cr_assert_eq(announced(r, at), 0, "and once more, though it was");
        post(r, 16, &at);
        cr_assert_eq(set_alarm(r, 0, past[i], 1), RTC_OK);
        cr_assert_eq(announced(r, at), 0, "by setting it");
    }
    post(r, 16, &at);
    cr_assert_eq(set_alarm(r, 0, T + 1, 1), RTC_OK);
    cr_assert_eq(announced(r, at), -1, "in the future");
    rig_down(r);
}

Test(rtc_alarm, is_set_and_read)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#03");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#04");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#05");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#06");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#07");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#08");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#09");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#10");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#11");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#12");
    struct rig *r = up();
    const uint64_t times[] = {0, 1, NS - 1, NS, T, T + 1, INT64_MAX, 1ull << 63, UINT64_MAX};
    expect_alarm(r, 0, 0, false);
    for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
        for (uint16_t clock = 0; clock < 2; clock++) {
            cr_assert_eq(set_alarm(r, clock, times[i], 1), RTC_OK);
            expect_alarm(r, clock, times[i], true);
            cr_assert_eq(enable(r, clock, false), RTC_OK);
            expect_alarm(r, clock, times[i], false);
            cr_assert_eq(enable(r, clock, true), RTC_OK);
            expect_alarm(r, clock, times[i], true);
            cr_assert_eq(set_alarm(r, clock, times[i] / 2, 0), RTC_OK);
            expect_alarm(r, clock, times[i] / 2, false);
        }
    }
    rig_down(r);
}

Test(rtc_alarm, waits_for_a_buffer)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#12");
    struct rig *r = up();
    gpa_t at, first, second;
    cr_assert_eq(set_alarm(r, 1, T, 1), RTC_OK);
    cr_assert_eq(set_alarm(r, 0, T, 1), RTC_OK);
    cr_assert_eq(set_alarm(r, 0, T, 1), RTC_OK);
    cr_assert_eq(reported(r, "alarms_notified"), 0);
    uint32_t id, len;
    post(r, 15, &at);
    cr_assert(rig_used(r, RTC_ALARMQ, &id, &len) && len == 0, "too small for what there is to say");
    const struct rig_seg out = {at, 16};
    rig_add(r, RTC_ALARMQ, &out, 1, NULL, 0);
    rig_kick(r, RTC_ALARMQ);
    rig_settle(r);
    cr_assert(rig_used(r, RTC_ALARMQ, &id, &len) && len == 0, "nothing to write to");
    post(r, 16, &first);
    cr_assert_eq(announced(r, first), 0);
    post(r, 32, &second);
    cr_assert_eq(announced(r, second), 1);
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), -1, "once for each");
    rig_down(r);
}

Test(rtc_alarm, disabled_it_is_not_announced)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#16");
    struct rig *r = up();
    gpa_t at;
    cr_assert_eq(set_alarm(r, 0, T, 1), RTC_OK); /* expired, and nobody was told */
    cr_assert_eq(enable(r, 0, false), RTC_OK);
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), -1);
    cr_assert_eq(set_alarm(r, 0, T + 50, 1), RTC_OK);
    cr_assert_eq(set_alarm(r, 0, T + 50, 0), RTC_OK);
    cr_assert_eq(armed[0].at.tv_sec + armed[0].at.tv_nsec, 0, "no timer");
    advance(r, 0, T + 100);
    cr_assert_eq(announced(r, at), -1);
    cr_assert_eq(reported(r, "alarms_expired"), 1);
    rig_down(r);
}

Test(rtc_alarm, obsolete_it_is_not_announced)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#17");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#19");
    struct rig *r = up();
    gpa_t at;
    cr_assert_eq(set_alarm(r, 0, T, 1), RTC_OK); /* expired, and nobody was told */
    cr_assert_eq(set_alarm(r, 0, T + 50, 1), RTC_OK);
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), -1, "another time was set");
    advance(r, 0, T + 50);
    cr_assert_eq(announced(r, at), 0);
    for (unsigned i = 0; i < 3; i++) { /* and the clock goes back and forth */
        advance(r, 0, T);
        advance(r, 0, T + 50);
    }
    cr_assert_eq(reported(r, "alarms_expired"), 5);
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), 0);
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), -1, "three events, told once");
    rig_down(r);
}

Test(rtc_alarm, a_reset_forgets_it)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#02");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#03");
    struct rig *r = up();
    gpa_t at;
    cr_assert_eq(set_alarm(r, 0, T, 1), RTC_OK);
    cr_assert_eq(set_alarm(r, 1, T + 50, 1), RTC_OK);
    rig_status_set(r, 0);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(armed[i].at.tv_sec + armed[i].at.tv_nsec, 0);
    rig_negotiate(r);
    post(r, 16, &at);
    advance(r, 1, T + 100);
    cr_assert_eq(announced(r, at), -1);
    for (uint16_t clock = 0; clock < 2; clock++)
        expect_alarm(r, clock, 0, false);
    rig_down(r);
}

static void refuses_alarms(struct rig *r, uint16_t clock)
{
    cr_assert_eq(ask(r, RTC_REQ_READ_ALARM, clock, 0).status, RTC_ENODEV);
    cr_assert_eq(set_alarm(r, clock, 0, 1), RTC_ENODEV);
    cr_assert_eq(enable(r, clock, true), RTC_ENODEV);
}

Test(rtc_alarm, not_without_the_feature)
{
    PROVES("Device Types / RTC Device / Feature bits#01");
    PROVES("Device Types / RTC Device / Device Operation#15");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#05");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#06");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#01");
    struct rig *r = rig_up("rtc", NULL);
    cr_assert(rig_has(r, RTC_F_ALARM), "it is offered");
    rig_down(r);
    r = rig_up("rtc", &(struct rig_options){.without = 1 << RTC_F_ALARM});
    for (uint16_t clock = 0; clock < 2; clock++) {
        refuses_alarms(r, clock);
        cr_assert_eq(ask(r, RTC_REQ_CLOCK_CAP, clock, 0).byte[10], 0);
    }
    gpa_t at;
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), -1);
    rig_down(r);
}

Test(rtc_alarm, not_for_a_clock_that_has_none)
{
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation#06");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm Control "
           "Requests#02");
    PROVES("Device Types / RTC Device / Device Operation / Alarm Operation / Alarm "
           "Notifications#01");
    fake_tai = 37;
    struct rig *r = rig_up("rtc", NULL);
    gpa_t at;
    expect_cap(r, 2, RTC_TAI, RTC_SMEAR_UNSPECIFIED, 0);
    refuses_alarms(r, 2);
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), -1);
    rig_down(r);
}

/* --- by the host's clocks --- */

Test(rtc_alarm, wakes_by_the_hosts_clock)
{
    struct rig *r = rig_up("rtc", NULL);
    gpa_t at;
    for (uint16_t clock = 0; clock < 2; clock++) {
        post(r, 16, &at);
        uint64_t when = read_clock(r, clock) + NS / 50;
        cr_assert_eq(set_alarm(r, clock, when, 1), RTC_OK);
        while (reported(r, "alarms_notified") == clock)
            (void)loop_step(r->loop, -1);
        rig_settle(r);
        cr_assert_eq(announced(r, at), clock);
        cr_assert_geq(read_clock(r, clock), when);
    }
    for (uint16_t clock = 0; clock < 2; clock++) { /* the kernel takes these, too */
        cr_assert_eq(set_alarm(r, clock, UINT64_MAX, 1), RTC_OK);
        cr_assert_eq(set_alarm(r, clock, INT64_MAX, 1), RTC_OK);
    }
    rig_settle(r);
    cr_assert_eq(reported(r, "alarms_expired"), 2);
    rig_down(r);
}

/* --- suspended, and saved --- */

Test(rtc_alarm, expires_while_the_device_is_suspended)
{
    enum { RUNNING = 15, SUSPEND = 16 };
    struct rig *r = up();
    gpa_t at;
    post(r, 16, &at);
    cr_assert_eq(set_alarm(r, 0, T + 100, 1), RTC_OK);
    rig_status_set(r, RUNNING | SUSPEND);
    advance(r, 0, T + 100);
    cr_assert_eq(announced(r, at), -1, "it touches nothing");
    rig_status_set(r, RUNNING);
    rig_settle(r);
    cr_assert_eq(announced(r, at), 0);
    rig_down(r);
}

static struct state_out save(struct rig *r)
{
    struct state_out s = rig_save(r);
    transport_reset(r->transport);
    return s;
}

static int load(struct rig *r, const struct state_out *s)
{
    int rc = rig_load(r, s->buf, s->len);
    if (rc == 0)
        vdev_resume(r->dev);
    rig_settle(r);
    return rc;
}

Test(rtc_alarm, goes_on_after_a_load)
{
    struct rig *r = up();
    gpa_t at;
    post(r, 16, &at);
    cr_assert_eq(read_clock(r, 1), T);
    cr_assert_eq(set_alarm(r, 0, T + 100, 1), RTC_OK);
    cr_assert_eq(set_alarm(r, 1, T + 200, 1), RTC_OK);
    struct state_out s = save(r);
    /* Here the alarm has passed meanwhile, and the monotonic clock is far behind. */
    fake(CLOCK_REALTIME, (int64_t)(T + 500));
    fake(CLOCK_BOOTTIME, 7);
    cr_assert_eq(load(r, &s), 0);
    cr_assert_eq(announced(r, at), 0);
    expect_alarm(r, 0, T + 100, true);
    expect_alarm(r, 1, T + 200, true);
    cr_assert_eq(read_clock(r, 1), T, "it never goes back");
    cr_assert_eq(armed[1].at.tv_nsec, 207, "in the host's time");
    post(r, 16, &at);
    advance(r, 1, 206);
    cr_assert_eq(announced(r, at), -1);
    advance(r, 1, 207);
    cr_assert_eq(announced(r, at), 1);
    cr_assert_eq(read_clock(r, 1), T + 200);
    state_out_free(&s);
    /* What has been served is not served again. */
    s = save(r);
    post(r, 16, &at);
    cr_assert_eq(load(r, &s), 0);
    cr_assert_eq(announced(r, at), -1);
    cr_assert_eq(read_clock(r, 1), T + 200);
    state_out_free(&s);
    rig_down(r);
}

Test(rtc_alarm, what_is_owed_is_owed_after_a_load)
{
    struct rig *r = up();
    gpa_t at;
    cr_assert_eq(set_alarm(r, 0, T, 1), RTC_OK);
    struct state_out s = save(r);
    cr_assert_eq(load(r, &s), 0);
    post(r, 16, &at);
    cr_assert_eq(announced(r, at), 0);
    state_out_free(&s);
    rig_down(r);
}

Test(rtc_alarm, loads_only_the_same_clocks)
{
    fake_tai = 37;
    struct rig *r = rig_up("rtc", NULL);
    struct state_out s = save(r);
    for (size_t cut = 0; cut < s.len; cut++) {
        struct state_out part = {.buf = s.buf, .len = cut};
        cr_assert_lt(load(r, &part), 0);
    }
    cr_assert_eq(load(r, &s), 0);
    rig_down(r);
    fake_tai = 0;
    r = rig_up("rtc", NULL);
    vdev_pause(r->dev);
    cr_assert_lt(load(r, &s), 0, "this host has no TAI");
    rig_down(r);
    fake_tai = 37;
    r = rig_up("rtc,leap=step", NULL);
    vdev_pause(r->dev);
    cr_assert_lt(load(r, &s), 0, "this host's UTC is another");
    state_out_free(&s);
    rig_down(r);
}
