/* tests/rig/test_rtc.c - the real time clock (virtio 1.4, 5.23): each request, everything that can
 * be wrong with one, alarms, on clocks of the test's own where they must step, and on the host's.
 */
#include "tests/rig/rtc_fixture.h"

/* --- clocks --- */

Test(rtc, which_clocks_there_are)
{
    PROVES("Device Types / RTC Device / Device Operation#01");
    PROVES("Device Types / RTC Device / Device Operation#16");
    PROVES("Device Types / RTC Device / Device Operation#17");
    PROVES("Device Types / RTC Device / Device Operation#18");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#21");
    fake_tai = 37;
    struct rig *r = rig_up("rtc", NULL);
    for (unsigned again = 0; again < 4; again++) { /* and again after a reset */
        struct answer a = ask_cfg(r);
        cr_assert_eq(a.status, RTC_OK);
        cr_assert_eq(a.len, 16);
        cr_assert_eq(a.word[4], 3, "num_clocks");
        expect_cap(r, 0, RTC_UTC_MAYBE_SMEARED, RTC_SMEAR_UNSPECIFIED, ALARM_CAP);
        expect_cap(r, 1, RTC_MONOTONIC, RTC_SMEAR_UNSPECIFIED, ALARM_CAP);
        expect_cap(r, 2, RTC_TAI, RTC_SMEAR_UNSPECIFIED, 0);
        for (uint16_t id = 3; id; id++) /* each one that is none */
            if (id < 10 || id > 65530)
                cr_assert_eq(ask(r, RTC_REQ_CLOCK_CAP, id, 0).status, RTC_ENODEV);
        if (again == 1) {
            rig_status_set(r, 0);
            fake_tai = 0; /* which the host forgot meanwhile */
            rig_negotiate(r);
        }
    }
    rig_down(r);
}

/* All that the device says of itself: every answer that may not change. */
enum { ANSWERS = 13 };
static void ask_all(struct rig *r, struct answer a[ANSWERS])
{
    unsigned n = 0;
    a[n++] = ask_cfg(r);
    for (uint16_t id = 0; id < 4; id++) {
        a[n++] = ask(r, RTC_REQ_CLOCK_CAP, id, 0);
        a[n++] = ask(r, RTC_REQ_CROSS_CAP, id, RTC_COUNTER_X86_TSC);
        a[n++] = ask(r, RTC_REQ_CROSS_CAP, id, RTC_COUNTER_ARM_VCT);
    }
    cr_assert_eq(n, ANSWERS);
}

/* Whatever happens to the host's clocks, to the alarms, and to the device. */
Test(rtc, what_it_is_never_changes)
{
    PROVES("Device Types / RTC Device / Device Operation#16");
    PROVES("Device Types / RTC Device / Device Operation#17");
    fake_tai = 37;
    struct rig *r = rig_up("rtc", NULL);
    struct answer first[ANSWERS], now[ANSWERS];
    ask_all(r, first);
    for (unsigned step = 0; step < 11; step++) {
        if (step == 1)
            fake_tai = 0; /* which the host forgets */
        else if (step == 2)
            fake_tai = 36;
        else if (step == 3)
            fake(CLOCK_REALTIME, 1000 * (int64_t)NS);
        else if (step == 4)
            cr_assert_eq(read_clock(r, 0), 1000 * NS);
        else if (step == 5)
            cr_assert_eq(set_alarm(r, 0, 1, 1), RTC_OK); /* it is served from now on */
        else if (step == 6)
            fake_error = EINVAL;
        else if (step == 7)
            cr_assert_eq(ask(r, RTC_REQ_READ, 0, 0).status, RTC_EIO);
        else if (step == 8)
            fake_error = 0, fake_tai = 0, rig_negotiate(r);
        else if (step == 9)
            transport_reset(r->transport), rig_up_again(r);
        else if (step == 10)
            rig_save_and_load(r);
        ask_all(r, now);
        for (unsigned i = 0; i < ANSWERS; i++) {
            cr_assert_eq(now[i].status, first[i].status, "step %u: answer %u", step, i);
            cr_assert_eq(now[i].len, first[i].len, "step %u: answer %u", step, i);
            cr_assert_arr_eq(now[i].byte, first[i].byte, sizeof(now[i].byte), "step %u: answer %u",
                             step, i);
        }
    }
    rig_down(r);
}

Test(rtc, what_the_user_says_of_leap_seconds)
{
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#21");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#22");
    static const struct {
        const char *spec;
        uint8_t type, smearing, clocks;
    } t[] = {{"rtc,leap=unknown", RTC_UTC_MAYBE_SMEARED, RTC_SMEAR_UNSPECIFIED, 3},
             {"rtc,leap=step", RTC_UTC, RTC_SMEAR_UNSPECIFIED, 3},
             {"rtc,leap=smear", RTC_UTC_SMEARED, RTC_SMEAR_UNSPECIFIED, 2},
             {"rtc,leap=noon-linear", RTC_UTC_SMEARED, RTC_SMEAR_NOON_LINEAR, 2},
             {"rtc,leap=utc-sls", RTC_UTC_SMEARED, RTC_SMEAR_UTC_SLS, 2}};
    fake_tai = 37;
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        struct rig *r = rig_up(t[i].spec, NULL);
        expect_cap(r, 0, t[i].type, t[i].smearing, ALARM_CAP);
        cr_assert_eq(ask_cfg(r).word[4], t[i].clocks, "TAI of a UTC that smears is none");
        rig_down(r);
    }
    fake_tai = 0;
    struct rig *r = rig_up("rtc,leap=step", NULL);
    cr_assert_eq(ask_cfg(r).word[4], 2, "the host does not know TAI");
    rig_down(r);
}

/* On the host's own clocks, in nanoseconds, between two readings of ours. */
static void expect_reading(struct rig *r, uint16_t id, clockid_t clock)
{
    uint64_t before = now_ns(clock), got = read_clock(r, id), after = now_ns(clock);
    cr_assert(before <= got && got <= after, "clock %u", id);
}

Test(rtc, readings_are_the_hosts)
{
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#01");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#02");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#03");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#04");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#17");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#18");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#19");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#20");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#01");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#06");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#07");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#08");
    fake_tai = 37;
    static const char *const specs[] = {"rtc,leap=step", "rtc,leap=smear", "rtc"};
    for (unsigned i = 0; i < 3; i++) {
        struct rig *r = rig_up(specs[i], NULL);
        expect_reading(r, 0, CLOCK_REALTIME);
        expect_reading(r, 1, CLOCK_BOOTTIME);
        if (i != 1)
            expect_reading(r, 2, CLOCK_TAI);
        rig_down(r);
    }
}

/* What the host's clock does at a leap second, the guest's does. */
Test(rtc, leap_seconds_are_passed_on)
{
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#05");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#06");
    struct rig *r = rig_up("rtc,leap=step", NULL);
    fake(CLOCK_REALTIME, 1483228800 * NS - 1);
    cr_assert_eq(read_clock(r, 0), 1483228800 * NS - 1);
    fake(CLOCK_REALTIME, 1483228799 * NS); /* 23:59:60 */
    cr_assert_eq(read_clock(r, 0), 1483228799 * NS);
    fake(CLOCK_REALTIME, 1483228799 * NS - 1); /* and a negative one */
    cr_assert_eq(read_clock(r, 0), 1483228799 * NS - 1);
    fake(CLOCK_REALTIME, 1483228800 * NS);
    cr_assert_eq(read_clock(r, 0), 1483228800 * NS);
    rig_down(r);
}

Test(rtc, a_monotonic_clock_never_goes_back)
{
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#05");
    struct rig *r = rig_up("rtc", NULL);
    fake(CLOCK_BOOTTIME, 1000 * NS);
    cr_assert_eq(read_clock(r, 1), 1000 * NS);
    fake(CLOCK_BOOTTIME, 999 * NS);
    cr_assert_eq(read_clock(r, 1), 1000 * NS);
    fake(CLOCK_BOOTTIME, 1001 * NS);
    cr_assert_eq(read_clock(r, 1), 1001 * NS);
    rig_down(r);
}

/* Each reading is later than that of the request before it: the clock here moves when it is read.
 */
static void expect_order(uint16_t clock, clockid_t host)
{
    enum { N = 20 };
    struct rig *r = rig_up("rtc", NULL);
    struct rig_seg in[N];
    uint16_t head[N];
    fake(host, (int64_t)NS);
    for (unsigned i = 0; i < N; i++) {
        struct rig_seg out = request(r, RTC_REQ_READ, clock, 0);
        in[i] = (struct rig_seg){rig_alloc(r, 16), 16};
        head[i] = rig_add(r, 0, &out, 1, &in[i], 1);
    }
    fake_tick = 1; /* from when they are available: a reading from before is too early */
    fake(host, 2 * (int64_t)NS);
    rig_kick(r, 0);
    rig_settle(r);
    for (unsigned i = 0; i < N; i++) {
        uint32_t id, len;
        cr_assert(rig_used(r, 0, &id, &len));
        cr_assert_eq(id, head[i]);
        cr_assert_eq(get_bytes(rig_at(r, GPA(in[i].at.v + 8), 8), 8), 2 * NS + i);
    }
    rig_down(r);
}

Test(rtc, requests_are_served_in_their_order)
{
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#02");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#04");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#08");
    expect_order(0, CLOCK_REALTIME);
    expect_order(1, CLOCK_BOOTTIME);
    fake_tai = 37;
    expect_order(2, CLOCK_TAI);
}

/* --- what can be wrong with a request --- */

Test(rtc, sizes)
{
    PROVES("Device Types / RTC Device / Device Operation#08");
    PROVES("Device Types / RTC Device / Device Operation#09");
    PROVES("Device Types / RTC Device / Device Operation#10");
    PROVES("Device Types / RTC Device / Device Operation#12");
    PROVES("Device Types / RTC Device / Device Operation#13");
    PROVES("Device Types / RTC Device / Device Operation#14");
    struct rig *r = rig_up("rtc", NULL);
    for (size_t t = 0; t < ARRAY_SIZE(request_types); t++) {
        const struct request_type *q = &request_types[t];
        uint8_t status = q->type == RTC_REQ_READ_CROSS ? RTC_EOPNOTSUPP : RTC_OK;
        struct rig_seg out = request(r, q->type, 0, RTC_COUNTER_X86_TSC);
        for (unsigned len = 0; len <= 24; len++) {
            struct answer a = submit(r, (struct rig_seg){out.at, len}, 40);
            cr_assert_eq(a.status, len < q->len ? RTC_EINVAL : status, "%#x, %u", q->type, len);
            cr_assert_eq(a.len, a.status == RTC_OK ? q->resp_len : 8);
            for (unsigned i = 1; i < 40; i++)
                cr_assert(i >= 8 || a.byte[i] == 0, "reserved");
            for (unsigned i = a.len; i < 40; i++)
                cr_assert_eq(a.byte[i], FILL, "%#x: byte %u behind the response", q->type, i);
        }
        for (unsigned len = 0; len < q->resp_len; len++) {
            struct answer a = submit(r, (struct rig_seg){out.at, q->len}, len);
            cr_assert_eq(a.status, len == 0 ? FILL : RTC_EINVAL, "%#x, %u", q->type, len);
            cr_assert_eq(a.len, MIN(len, 8u));
            for (unsigned i = a.len; i < 40; i++)
                cr_assert_eq(a.byte[i], FILL);
        }
    }
    cr_assert(!rig_needs_reset(r));
    rig_down(r);
}

Test(rtc, reserved_fields_are_zero)
{
    PROVES("Device Types / RTC Device / Device Operation#02");
    PROVES("Device Types / RTC Device / Device Operation#07");
    PROVES("Device Types / RTC Device / Device Operation#14");
    PROVES("Device Types / RTC Device / Device Operation#15");
    struct rig *r = rig_up("rtc", NULL);
    for (size_t t = 0; t < ARRAY_SIZE(request_types); t++) {
        const struct request_type *q = &request_types[t];
        struct rig_seg out = request(r, q->type, 0, RTC_COUNTER_X86_TSC);
        uint8_t *p = rig_at(r, out.at, 24);
        if (q->type == RTC_REQ_READ_CROSS)
            continue; /* it is refused anyway */
        for (unsigned i = 2; i < q->len; i++) {
            if (i >= 8 && i < q->used)
                continue;
            p[i] = 0x80;
            struct answer a = submit(r, out, 40);
            cr_assert_eq(a.status, RTC_EINVAL, "%#x: byte %u", q->type, i);
            p[i] = 0;
        }
        struct answer a = submit(r, out, 40);
        cr_assert_eq(a.status, RTC_OK);
        for (unsigned i = 1; i < q->resp_len; i++)
            cr_assert(!(q->resp_reserved >> i & 1) || a.byte[i] == 0, "%#x: byte %u", q->type, i);
    }
    /* Flags that the specification does not know. The alarm was enabled above. */
    expect_alarm(r, 0, 0, true);
    for (unsigned bit = 1; bit < 8; bit++) {
        cr_assert_eq(set_alarm(r, 0, 5, (uint8_t)(1 << bit)), RTC_EINVAL);
        cr_assert_eq(ask(r, RTC_REQ_SET_ALARM_ENABLED, 0, (uint8_t)(1 << bit)).status, RTC_EINVAL);
    }
    expect_alarm(r, 0, 0, true);
    rig_down(r);
}

Test(rtc, requests_that_nobody_knows)
{
    PROVES("Device Types / RTC Device / Device Operation#02");
    PROVES("Device Types / RTC Device / Device Operation#04");
    struct rig *r = rig_up("rtc", NULL);
    static const uint16_t types[] = {0, 3, 0x0fff, 0x1006, 0x2000, 0x2001, 0x0100, 0x0110, 0xffff};
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        struct answer a = ask(r, types[i], 0, 0);
        cr_assert_eq(a.status, RTC_EOPNOTSUPP, "%#x", types[i]);
        cr_assert_eq(a.len, 8);
    }
    rig_down(r);
}

Test(rtc, clocks_that_are_none)
{
    PROVES("Device Types / RTC Device / Device Operation#06");
    struct rig *r = rig_up("rtc", NULL);
    static const uint16_t ids[] = {2, 3, 255, 256, 257, 0x7fff, 0xffff};
    for (size_t t = 0; t < ARRAY_SIZE(request_types); t++) {
        for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
            if (request_types[t].type == RTC_REQ_CFG || request_types[t].type == RTC_REQ_SET_ALARM)
                continue;
            struct answer a = ask(r, request_types[t].type, ids[i], 0);
            cr_assert_eq(a.status, RTC_ENODEV, "%#x, clock %u", request_types[t].type, ids[i]);
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        cr_assert_eq(set_alarm(r, ids[i], 1, 0), RTC_ENODEV);
    rig_down(r);
}

Test(rtc, cross_timestamps_are_not_had)
{
    PROVES("Device Types / RTC Device / Device Operation#03");
    PROVES("Device Types / RTC Device / Device Operation#05");
    PROVES("Device Types / RTC Device / Device Operation / Control Requests#23");
    PROVES("Device Types / RTC Device / Device Operation / Read Requests#11");
    struct rig *r = rig_up("rtc", NULL);
    for (unsigned counter = 0; counter <= 0xff; counter++) {
        for (uint16_t id = 0; id < 2; id++) {
            bool known = counter == RTC_COUNTER_ARM_VCT || counter == RTC_COUNTER_X86_TSC;
            uint8_t bad = counter == RTC_COUNTER_INVALID ? RTC_EINVAL : RTC_EOPNOTSUPP;
            struct answer a = ask(r, RTC_REQ_CROSS_CAP, id, (uint8_t)counter);
            cr_assert_eq(a.status, known ? RTC_OK : bad, "counter %u", counter);
            cr_assert(!known || a.byte[8] == 0, "no VIRTIO_RTC_FLAG_CROSS_CAP");
            cr_assert_eq(ask(r, RTC_REQ_READ_CROSS, id, (uint8_t)counter).status, bad);
        }
    }
    rig_down(r);
}

Test(rtc, a_clock_that_the_host_cannot_read)
{
    PROVES("Device Types / RTC Device / Device Operation#02");
    PROVES("Device Types / RTC Device / Device Operation#11");
    struct rig *r = rig_up("rtc", NULL);
    fake_error = EINVAL;
    cr_assert_eq(ask(r, RTC_REQ_READ, 0, 0).status, RTC_EIO);
    fake_error = 0;
    cr_assert_eq(ask(r, RTC_REQ_READ, 0, 0).status, RTC_OK);
    fake(CLOCK_REALTIME, -1 * (int64_t)NS);
    cr_assert_eq(ask(r, RTC_REQ_READ, 0, 0).status, RTC_EIO, "before the epoch");
    rig_down(r);
}

Test(rtc, tells_what_it_did)
{
    struct rig *r = rig_up("rtc", NULL);
    ask(r, 99, 0, 0);
    ask_cfg(r);
    cr_assert_eq(reported(r, "requests"), 2);
    cr_assert_eq(reported(r, "requests_refused"), 1);
    cr_assert_eq(reported(r, "clocks"), 2);
    rig_down(r);
}
