/* tests/rig/rtc_fixture.h - what the tests of the real time clock share: requests and their
 * answers, and clocks that stand where a test has put them. */
#pragma once

#include <sys/timerfd.h>
#include <sys/timex.h>
#include <time.h>

#include "devices/rtc/rtc_priv.h"
#include "tests/rig/reported.h"

static const uint64_t NS = 1000000000;
enum { FILL = 0xee, ALARM_CAP = 1 };

/* --- the host's clocks, or the test's --- */

static int fake_tai, fake_error;
static unsigned fake_tick; /* ns: a faked clock moves on by so much when it is read */
static bool faked[CLOCK_TAI + 1];
static struct timespec fake_time[CLOCK_TAI + 1];

static inline void fake(clockid_t clock, int64_t ns)
{
    int64_t s = ns / (int64_t)NS - (ns < 0);
    faked[clock] = true;
    fake_time[clock] = (struct timespec){.tv_sec = s, .tv_nsec = ns - s * (int64_t)NS};
}

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
    if (fake_error) {
        errno = fake_error;
        return -1;
    }
    if (!faked[clock])
        return __real_clock_gettime(clock, t);
    *t = fake_time[clock];
    fake_time[clock].tv_nsec += fake_tick;
    return 0;
}

int __wrap_adjtimex(struct timex *t);
int __wrap_adjtimex(struct timex *t)
{
    t->tai = fake_tai;
    return 0;
}

/* When each alarm's timer is to fire, last. With a clock of the test's own the kernel is not told:
 * fire() is the event. */
static struct armed {
    int fd, flags;
    struct timespec at;
} armed[2];

int __real_timerfd_settime(int fd, int flags, const struct itimerspec *when,
                           struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when,
                           struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when, struct itimerspec *old)
{
    struct armed *a = armed[0].fd == 0 || armed[0].fd == fd ? &armed[0] : &armed[1];
    bool other = faked[CLOCK_REALTIME] || faked[CLOCK_BOOTTIME];
    *a = (struct armed){fd, flags, when->it_value};
    const struct itimerspec never = {0};
    return __real_timerfd_settime(fd, flags, other ? &never : when, old);
}

static inline void fire(struct rig *r, unsigned timer)
{
    const struct itimerspec now = {.it_value.tv_nsec = 1};
    cr_assert_eq(__real_timerfd_settime(armed[timer].fd, 0, &now, NULL), 0);
    (void)loop_step(r->loop, -1);
    rig_settle(r);
}

static inline uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    cr_assert_eq(__real_clock_gettime(clock, &t), 0);
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

/* --- requests --- */

/* The specification's, by itself: what is `used` of a request, and which bytes of the response are
 * reserved. */
static const struct request_type {
    uint16_t type;
    unsigned len, used, resp_len;
    uint32_t resp_reserved;
} request_types[] = {
    {RTC_REQ_READ, 16, 10, 16, 0xfe},
    {RTC_REQ_READ_CROSS, 16, 11, 24, 0xfe},
    {RTC_REQ_CFG, 8, 8, 16, 0xfcfe},
    {RTC_REQ_CLOCK_CAP, 16, 10, 16, 0xf8fe},
    {RTC_REQ_CROSS_CAP, 16, 11, 16, 0xfffe}, /* its flags: nothing that we have */
    {RTC_REQ_READ_ALARM, 16, 10, 24, 0xfe00fe},
    {RTC_REQ_SET_ALARM, 24, 19, 8, 0xfe},
    {RTC_REQ_SET_ALARM_ENABLED, 16, 11, 8, 0xfe},
};

struct answer {
    uint8_t status;
    uint32_t len; /* used */
    union {
        uint8_t byte[40];
        uint16_t word[20];
        uint64_t quad[5];
    };
};

/* 24 bytes there, as long as the type is. Of SET_ALARM clock_id and flags are elsewhere. */
static inline struct rig_seg request(struct rig *r, uint16_t type, uint16_t id, uint8_t flags)
{
    struct rig_seg s = {rig_alloc(r, 24), 16};
    uint8_t *p = rig_at(r, s.at, 24);
    put_bytes(p, type, 2);
    for (size_t i = 0; i < ARRAY_SIZE(request_types); i++)
        s.len = request_types[i].type == type ? request_types[i].len : s.len;
    bool far = type == RTC_REQ_SET_ALARM, none = type == RTC_REQ_CFG;
    bool has_flags = type == RTC_REQ_READ_CROSS || type == RTC_REQ_CROSS_CAP ||
                     type == RTC_REQ_SET_ALARM_ENABLED;
    if (!none)
        put_bytes(p + (far ? 16 : 8), id, 2);
    if (has_flags)
        p[10] = flags;
    return s;
}

static inline struct answer submit(struct rig *r, struct rig_seg out, uint32_t in_len)
{
    struct answer a;
    uint32_t id;
    struct rig_seg in = {rig_alloc(r, sizeof(a.byte)), in_len};
    memset(rig_at(r, in.at, sizeof(a.byte)), FILL, sizeof(a.byte));
    if (out.len || in.len) {
        rig_add(r, 0, &out, out.len > 0, &in, in.len > 0);
    } else {
        const struct rig_seg empty = {out.at, 0};
        rig_add(r, 0, &empty, 1, NULL, 0);
    }
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &a.len));
    memcpy(a.byte, rig_at(r, in.at, sizeof(a.byte)), sizeof(a.byte));
    a.status = a.byte[0];
    return a;
}

static inline struct answer ask(struct rig *r, uint16_t type, uint16_t id, uint8_t flags)
{
    return submit(r, request(r, type, id, flags), 40);
}

static inline struct answer ask_cfg(struct rig *r)
{
    return ask(r, RTC_REQ_CFG, 0, 0);
}

static inline void expect_cap(struct rig *r, uint16_t id, uint8_t type, uint8_t smearing,
                              uint8_t flags)
{
    struct answer a = ask(r, RTC_REQ_CLOCK_CAP, id, 0);
    cr_assert_eq(a.status, RTC_OK, "clock %u", id);
    cr_assert_eq(a.len, 16);
    cr_assert_eq(a.byte[8], type, "clock %u: type %u", id, a.byte[8]);
    cr_assert_eq(a.byte[9], smearing, "clock %u: smearing %u", id, a.byte[9]);
    cr_assert_eq(a.byte[10], flags, "clock %u: flags %u", id, a.byte[10]);
}

static inline uint64_t read_clock(struct rig *r, uint16_t id)
{
    struct answer a = ask(r, RTC_REQ_READ, id, 0);
    cr_assert_eq(a.status, RTC_OK);
    cr_assert_eq(a.len, 16);
    return a.quad[1];
}

static inline uint8_t set_alarm(struct rig *r, uint16_t id, uint64_t ns, uint8_t flags)
{
    struct rig_seg out = request(r, RTC_REQ_SET_ALARM, id, 0);
    uint8_t *p = rig_at(r, out.at, 24);
    put_bytes(p + 8, ns, 8);
    p[18] = flags;
    return submit(r, out, 40).status;
}

static inline void expect_alarm(struct rig *r, uint16_t id, uint64_t ns, bool enabled)
{
    struct answer a = ask(r, RTC_REQ_READ_ALARM, id, 0);
    cr_assert_eq(a.status, RTC_OK);
    cr_assert_eq(a.len, 24);
    cr_assert_eq(a.quad[1], ns);
    cr_assert_eq(a.byte[16], enabled);
}

/* --- alarmq --- */

static inline void post(struct rig *r, uint32_t len, gpa_t *at)
{
    const struct rig_seg in = {rig_alloc(r, 32), len};
    memset(rig_at(r, in.at, 32), FILL, 32);
    rig_add(r, RTC_ALARMQ, NULL, 0, &in, 1);
    rig_kick(r, RTC_ALARMQ);
    rig_settle(r);
    *at = in.at;
}

/* The clock whose alarm was announced there, or -1: nothing was. */
static inline int announced(struct rig *r, gpa_t at)
{
    uint32_t id, len;
    if (!rig_used(r, RTC_ALARMQ, &id, &len))
        return -1;
    const uint8_t *p = rig_at(r, at, 32);
    cr_assert_eq(len, 16);
    cr_assert_eq(get_bytes(p, 2), RTC_NOTIF_ALARM);
    cr_assert_eq(get_bytes(p + 2, 6), 0, "reserved");
    cr_assert_eq(get_bytes(p + 10, 6), 0, "reserved");
    cr_assert_eq(p[16], FILL);
    return (int)get_bytes(p + 8, 2);
}
