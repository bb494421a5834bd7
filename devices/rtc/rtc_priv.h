/* devices/rtc/rtc_priv.h - a real time clock from inside: messages as they are on the wire (virtio
 * 1.4, 5.23; newer than the UAPI headers), and what its requests (rtc.c), clocks (clocks.c), alarms
 * (alarms.c) and saved state (state.c) share. */
#pragma once

#include <endian.h>
#include <time.h>

#include "base/loop.h"
#include "devices/virtio/vdev.h"

enum { RTC_F_ALARM = 0 };
enum { RTC_REQUESTQ, RTC_ALARMQ, RTC_QUEUES };

enum rtc_status { RTC_OK = 0, RTC_EOPNOTSUPP = 2, RTC_ENODEV = 3, RTC_EINVAL = 4, RTC_EIO = 5 };
enum rtc_type { RTC_UTC, RTC_TAI, RTC_MONOTONIC, RTC_UTC_SMEARED, RTC_UTC_MAYBE_SMEARED };
enum rtc_smearing { RTC_SMEAR_UNSPECIFIED, RTC_SMEAR_NOON_LINEAR, RTC_SMEAR_UTC_SLS };
enum { RTC_COUNTER_ARM_VCT = 0, RTC_COUNTER_X86_TSC = 1, RTC_COUNTER_INVALID = 0xff };
enum {
    RTC_REQ_READ = 0x0001,
    RTC_REQ_READ_CROSS = 0x0002,
    RTC_REQ_CFG = 0x1000,
    RTC_REQ_CLOCK_CAP = 0x1001,
    RTC_REQ_CROSS_CAP = 0x1002,
    RTC_REQ_READ_ALARM = 0x1003,
    RTC_REQ_SET_ALARM = 0x1004,
    RTC_REQ_SET_ALARM_ENABLED = 0x1005,
    RTC_NOTIF_ALARM = 0x2000,
};
enum { RTC_FLAG_ALARM_CAP = 1, RTC_FLAG_ALARM_ENABLED = 1 };

union rtc_req {
    uint8_t bytes[24];
    struct {
        uint16_t msg_type;
        uint8_t reserved[6];
        uint16_t clock_id;
        uint8_t flags_or_counter;
    } any; /* all but CFG, which ends before clock_id, and SET_ALARM */
    struct {
        uint8_t head[8];
        uint64_t alarm_time;
        uint16_t clock_id;
        uint8_t flags;
    } set_alarm;
};
union rtc_resp {
    uint8_t bytes[24];
    struct {
        uint8_t status, reserved[7];
        uint16_t num_clocks;
    } cfg;
    struct {
        uint8_t status, reserved[7];
        uint8_t type, leap_second_smearing, flags;
    } clock_cap;
    struct {
        uint8_t status, reserved[7];
        uint64_t time; /* clock_reading, alarm_time */
        uint8_t flags;
    } time;
};
struct rtc_notif {
    uint16_t msg_type;
    uint8_t reserved[6];
    uint16_t clock_id;
    uint8_t reserved2[6];
};
_Static_assert(sizeof(union rtc_req) == 24 && sizeof(union rtc_resp) == 24 &&
                   sizeof(struct rtc_notif) == 16,
               "as on the wire");

/* What the user knows of the host's UTC, in the order of the option's names. */
enum rtc_leap { LEAP_UNKNOWN, LEAP_STEP, LEAP_SMEAR, LEAP_NOON_LINEAR, LEAP_UTC_SLS };

struct rtc_clock {
    struct rtc *rtc;
    uint8_t type, smearing;
    clockid_t host;
    /* MONOTONIC: added to the host's, after a move to a host whose clock is behind; and what was
     * read last. */
    uint64_t offset, last;
    bool has_alarm;
    bool enabled;
    bool reached; /* the clock has come to the alarm time, and that has been served */
    bool serving; /* the driver is still to be told */
    uint64_t alarm;
    struct loop_watch watch; /* a timerfd of the same clock */
};

enum { RTC_CLOCKS_MAX = 3 };
struct rtc {
    struct vdev *dev;
    struct loop *loop;
    struct rtc_clock clocks[RTC_CLOCKS_MAX]; /* the loop's, once the device lives */
    unsigned n;
    uint64_t requests, refused, expired, notified;
};

/* clocks.c */
void rtc_clocks_find(struct rtc *r, enum rtc_leap leap);
int CHECKED rtc_clock_read(struct rtc_clock *c, uint64_t *ns); /* -errno of the host's */

/* alarms.c: on the loop */
int CHECKED rtc_alarms_open(struct rtc *r);
void rtc_alarms_close(struct rtc *r);
void rtc_alarms_reset(struct rtc *r);
void rtc_alarm_set(struct rtc_clock *c, uint64_t ns, bool enabled);
void rtc_alarm_look(struct rtc_clock *c); /* has it expired? when will it? */
void rtc_alarms_send(struct rtc *r);      /* tells the driver, as far as it has buffers */

/* state.c */
void rtc_save(const struct vdev *d, struct state_out *s);
int CHECKED rtc_load(struct vdev *d, struct state_in *s);
