/* devices/rtc/rtc.c - real time clock (virtio 1.4, 5.23): a guest reads the host's clocks and sets
 * alarms on them.
 *
 * No cross-timestamps. Their counter must be what the driver would have read, and the guest's TSC
 * is the host's with an offset and a rate that belong to KVM, of which a device knows nothing. */
#include <linux/virtio_ids.h>

#include "devices/rtc/rtc_priv.h"

enum { QUEUE_SIZE = 64, HEAD = 8 };

struct rtc_opts {
    int leap; /* enum rtc_leap */
};

/* --- requests: 0, or an enum rtc_status --- */

typedef enum rtc_status request_fn(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                   union rtc_resp *a);

static enum rtc_status read_clock(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                  union rtc_resp *a)
{
    uint64_t now;
    (void)r, (void)q;
    if (rtc_clock_read(c, &now) < 0)
        return RTC_EIO;
    a->time.time = htole64(now);
    return RTC_OK;
}

static enum rtc_status read_cross(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                  union rtc_resp *a)
{
    (void)r, (void)c, (void)q, (void)a;
    return RTC_EOPNOTSUPP;
}

static enum rtc_status cfg(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                           union rtc_resp *a)
{
    (void)c, (void)q;
    a->cfg.num_clocks = htole16((uint16_t)r->n);
    return RTC_OK;
}

static enum rtc_status clock_cap(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                 union rtc_resp *a)
{
    (void)q;
    a->clock_cap.type = c->type;
    a->clock_cap.leap_second_smearing = c->smearing;
    if (c->has_alarm && vdev_has(r->dev, RTC_F_ALARM))
        a->clock_cap.flags = RTC_FLAG_ALARM_CAP;
    return RTC_OK;
}

static enum rtc_status cross_cap(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                 union rtc_resp *a)
{
    (void)r, (void)c, (void)q, (void)a;
    return RTC_OK; /* and no flag */
}

static enum rtc_status read_alarm(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                  union rtc_resp *a)
{
    (void)r, (void)q;
    a->time.time = htole64(c->alarm);
    a->time.flags = c->enabled ? RTC_FLAG_ALARM_ENABLED : 0;
    return RTC_OK;
}

static enum rtc_status set_alarm(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                 union rtc_resp *a)
{
    (void)r, (void)a;
    if (q->set_alarm.flags & ~RTC_FLAG_ALARM_ENABLED)
        return RTC_EINVAL;
    rtc_alarm_set(c, le64toh(q->set_alarm.alarm_time), q->set_alarm.flags);
    return RTC_OK;
}

static enum rtc_status set_alarm_enabled(struct rtc *r, struct rtc_clock *c, const union rtc_req *q,
                                         union rtc_resp *a)
{
    (void)r, (void)a;
    if (q->any.flags_or_counter & ~RTC_FLAG_ALARM_ENABLED)
        return RTC_EINVAL;
    rtc_alarm_set(c, c->alarm, q->any.flags_or_counter);
    return RTC_OK;
}

#define AT(member)  ((uint8_t)offsetof(union rtc_req, member))
#define END(member) ((uint8_t)(AT(member) + sizeof(((union rtc_req *)0)->member)))
static const struct request_type {
    uint16_t type;
    uint8_t len, resp_len;
    uint8_t clock_at; /* where its clock_id is; 0: it has none */
    uint8_t used;     /* bytes behind these are reserved */
    bool alarm, counter;
    request_fn *run;
} types[] = {
    {RTC_REQ_READ, 16, 16, AT(any.clock_id), END(any.clock_id), .run = read_clock},
    {RTC_REQ_READ_CROSS, 16, 24, AT(any.clock_id), END(any.flags_or_counter), .counter = true,
     .run = read_cross},
    {RTC_REQ_CFG, 8, 16, 0, HEAD, .run = cfg},
    {RTC_REQ_CLOCK_CAP, 16, 16, AT(any.clock_id), END(any.clock_id), .run = clock_cap},
    {RTC_REQ_CROSS_CAP, 16, 16, AT(any.clock_id), END(any.flags_or_counter), .counter = true,
     .run = cross_cap},
    {RTC_REQ_READ_ALARM, 16, 24, AT(any.clock_id), END(any.clock_id), .alarm = true,
     .run = read_alarm},
    {RTC_REQ_SET_ALARM, 24, 8, AT(set_alarm.clock_id), END(set_alarm.flags), .alarm = true,
     .run = set_alarm},
    {RTC_REQ_SET_ALARM_ENABLED, 16, 8, AT(any.clock_id), END(any.flags_or_counter), .alarm = true,
     .run = set_alarm_enabled},
};

static const struct request_type *type_of(uint16_t msg_type)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        if (types[i].type == msg_type)
            return &types[i];
    }
    return NULL;
}

/* Reserved fields are zero, or the request is not of this specification. */
static bool is_clean(const struct request_type *t, const union rtc_req *q)
{
    uint8_t dirt = 0;
    for (unsigned i = sizeof(q->any.msg_type); i < t->len; i++) {
        if (i < HEAD || i >= t->used)
            dirt |= q->bytes[i];
    }
    return !dirt;
}

/* 5.23.6.2: what stipulates EOPNOTSUPP or ENODEV goes before what is inconsistent otherwise. */
static enum rtc_status serve(struct rtc *r, const struct vq_req *req, union rtc_resp *a,
                             size_t *len)
{
    union rtc_req q = {0};
    if (vq_req_read(req, 0, &q, HEAD) < 0)
        return RTC_EINVAL;
    const struct request_type *t = type_of(le16toh(q.any.msg_type));
    if (!t)
        return RTC_EOPNOTSUPP;
    if (vq_req_read(req, HEAD, q.bytes + HEAD, t->len - HEAD) < 0 || req->in_len < t->resp_len)
        return RTC_EINVAL;

    struct rtc_clock *c = NULL;
    if (t->clock_at) {
        uint64_t id = get_bytes(q.bytes + t->clock_at, sizeof(uint16_t));
        if (id >= r->n)
            return RTC_ENODEV;
        c = &r->clocks[id];
        if (t->alarm && (!c->has_alarm || !vdev_has(r->dev, RTC_F_ALARM)))
            return RTC_ENODEV;
    }
    uint8_t counter = q.any.flags_or_counter;
    if (t->counter && counter == RTC_COUNTER_INVALID)
        return RTC_EINVAL;
    if (t->counter && counter != RTC_COUNTER_ARM_VCT && counter != RTC_COUNTER_X86_TSC)
        return RTC_EOPNOTSUPP;
    if (!is_clean(t, &q))
        return RTC_EINVAL;
    enum rtc_status status = t->run(r, c, &q, a);
    if (status == RTC_OK)
        *len = t->resp_len;
    return status;
}

static void rtc_kick(struct vdev *d, struct vq *q)
{
    struct rtc *r = vdev_priv(d);
    if (vq_index(q) == RTC_ALARMQ) {
        rtc_alarms_send(r);
        return;
    }
    vq_for_each (req, q) {
        union rtc_resp a = {0};
        size_t len = MIN(req->in_len, (size_t)HEAD); /* of a refusal: what there is room for */
        enum rtc_status status = serve(r, req, &a, &len);
        a.bytes[0] = (uint8_t)status;
        if (vq_req_write(req, 0, &a, len) == 0)
            req->written = (uint32_t)len;
        r->requests++;
        r->refused += status != RTC_OK;
        vq_complete(q, req);
    }
}

/* --- the device --- */

static void reset_on_loop(void *ctx)
{
    rtc_alarms_reset(ctx);
}

static void rtc_reset(struct vdev *d)
{
    struct rtc *r = vdev_priv(d);
    loop_call(r->loop, reset_on_loop, r);
}

static void rtc_report(const struct vdev *d, struct report *r)
{
    const struct rtc *rtc = vdev_priv(d);
    report_number(r, "clocks", rtc->n);
    report_number(r, "requests", rtc->requests);
    report_number(r, "requests_refused", rtc->refused);
    report_number(r, "alarms_expired", rtc->expired);
    report_number(r, "alarms_notified", rtc->notified);
}

static void close_on_loop(void *ctx)
{
    rtc_alarms_close(ctx);
}

static void rtc_free(struct vdev *d)
{
    struct rtc *r = vdev_priv(d);
    loop_call(r->loop, close_on_loop, r);
    free(r);
}

static const struct vdev_ops rtc_ops = {.reset = rtc_reset,
                                        .kick = rtc_kick,
                                        .report = rtc_report,
                                        .save = rtc_save,
                                        .load = rtc_load,
                                        .free = rtc_free};

static int rtc_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e);

static const char *const leap_names[] = {"unknown",     "step",    "smear",
                                         "noon-linear", "utc-sls", NULL};
static const struct opt_desc rtc_opts[] = {
    {.key = "leap",
     .type = OPT_ENUM,
     .offset = offsetof(struct rtc_opts, leap),
     .help = "what the host's UTC does at a leap second, as the guest is told [unknown]",
     .names = leap_names},
    {.type = OPT_END},
};

static const struct sandbox_list rtc_calls = {
    .name = "rtc",
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_adjtimex, .on = ON_LOOP, .why = "no kernel here drives it: test_rtc"}, {0}}};

extern const struct vdev_class rtc_class;
const struct vdev_class rtc_class = {.name = "rtc",
                                     .summary = "the host's clocks, and alarms",
                                     .virtio_id = VIRTIO_ID_CLOCK,
                                     .pci_class = 0x080300,
                                     .ops = &rtc_ops,
                                     .opts = rtc_opts,
                                     .opts_size = sizeof(struct rtc_opts),
                                     .create = rtc_create,
                                     .sandbox =
                                         (const struct sandbox_list *const[]){&rtc_calls, NULL}};

static int rtc_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e)
{
    static const uint16_t sizes[RTC_QUEUES] = {QUEUE_SIZE, QUEUE_SIZE};
    const struct rtc_opts *o = opts;
    struct rtc *r = calloc(1, sizeof(*r));
    if (!r)
        return err_host(e, -ENOMEM, "rtc");
    r->loop = env->loop;
    rtc_clocks_find(r, (enum rtc_leap)o->leap);
    int rc = rtc_alarms_open(r);
    if (rc == 0)
        rc = vdev_new(&rtc_class, env, r, sizes, RTC_QUEUES, out);
    if (rc < 0) {
        rtc_alarms_close(r);
        free(r);
        return err_host(e, rc, "rtc");
    }
    r->dev = *out;
    vdev_offer(*out, RTC_F_ALARM);
    return 0;
}
