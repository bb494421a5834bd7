/* devices/rtc/clocks.c - which clocks there are (virtio 1.4, 5.23.6.4): the host's own, and as good
 * as the host keeps them. */
#include <sys/timex.h>

#include "devices/rtc/rtc_priv.h"

/* What leap seconds do to the host's CLOCK_REALTIME depends on who sets it; the kernel itself
 * steps, but a time server may smear. */
static const struct {
    uint8_t type, smearing;
} utc_kinds[] = {
    [LEAP_UNKNOWN] = {RTC_UTC_MAYBE_SMEARED, RTC_SMEAR_UNSPECIFIED},
    [LEAP_STEP] = {RTC_UTC, RTC_SMEAR_UNSPECIFIED},
    [LEAP_SMEAR] = {RTC_UTC_SMEARED, RTC_SMEAR_UNSPECIFIED},
    [LEAP_NOON_LINEAR] = {RTC_UTC_SMEARED, RTC_SMEAR_NOON_LINEAR},
    [LEAP_UTC_SLS] = {RTC_UTC_SMEARED, RTC_SMEAR_UTC_SLS},
};

static void add(struct rtc *r, uint8_t type, uint8_t smearing, clockid_t host, bool has_alarm)
{
    r->clocks[r->n++] = (struct rtc_clock){
        .rtc = r, .type = type, .smearing = smearing, .host = host, .has_alarm = has_alarm};
}

/* The kernel's TAI is its UTC and an offset, which is 0 until somebody has told it. */
static bool host_knows_tai(enum rtc_leap leap)
{
    struct timex t = {0};
    return (leap == LEAP_UNKNOWN || leap == LEAP_STEP) && adjtimex(&t) >= 0 && t.tai > 0;
}

/* CLOCK_MONOTONIC stands still while the host sleeps, which physical time does not; and there are
 * no timers on CLOCK_TAI from user space. */
void rtc_clocks_find(struct rtc *r, enum rtc_leap leap)
{
    add(r, utc_kinds[leap].type, utc_kinds[leap].smearing, CLOCK_REALTIME, true);
    add(r, RTC_MONOTONIC, RTC_SMEAR_UNSPECIFIED, CLOCK_BOOTTIME, true);
    if (host_knows_tai(leap))
        add(r, RTC_TAI, RTC_SMEAR_UNSPECIFIED, CLOCK_TAI, false);
}

int rtc_clock_read(struct rtc_clock *c, uint64_t *ns)
{
    struct timespec t;
    if (clock_gettime(c->host, &t) < 0)
        return -errno;
    if (t.tv_sec < 0)
        return -ERANGE; /* before the epoch */
    uint64_t now = (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec + c->offset;
    if (c->type == RTC_MONOTONIC)
        now = c->last = MAX(now, c->last);
    *ns = now;
    return 0;
}
