/* tests/rig/test_scsi_units.c - the SCSI host's configuration, its event queue (virtio 1.4, 5.6.4,
 * 5.6.6.3), units that come and go, and saved state. */
#include "tests/rig/scsi_try.h"
#include "tests/rig/ways.h"

static char second[SCRATCH_PATH];

static uint32_t config32(struct rig *r, unsigned off)
{
    return (uint32_t)rig_config(r, off, 4);
}
#define CONFIG(r, field) config32(r, offsetof(struct virtio_scsi_config, field))

static void set_config(struct rig *r, unsigned off, uint32_t v)
{
    rig_config_set(r, off, 4, v);
}
enum {
    SENSE_SIZE = offsetof(struct virtio_scsi_config, sense_size),
    CDB_SIZE = offsetof(struct virtio_scsi_config, cdb_size)
};

Test(scsi_units, configuration)
{
    PROVES("Device Types / SCSI Host Device / Device configuration layout#01");
    PROVES("stray:Device Types / SCSI Host Device / Device configuration layout#02");
    PROVES("stray:Device Types / SCSI Host Device / Device configuration layout#03");
    struct rig *r = up_as("scsi,disk=%s,cd=%s,queues=3", NULL);
    cr_assert_eq(CONFIG(r, num_queues), 3);
    cr_assert_eq(CONFIG(r, seg_max), 254);
    cr_assert_eq(CONFIG(r, event_info_size), 16);
    cr_assert_eq(CONFIG(r, sense_size), 96);
    cr_assert_eq(CONFIG(r, cdb_size), 32);
    cr_assert_eq(CONFIG(r, max_lun), 16383);
    cr_assert_eq(rig_config(r, offsetof(struct virtio_scsi_config, max_channel), 2), 0);
    cr_assert_eq(rig_config(r, offsetof(struct virtio_scsi_config, max_target), 2), 255);
    static const uint32_t senses[][2] = {{0, 0}, {252, 252}, {253, 252}, {UINT32_MAX, 252}};
    static const uint32_t cdbs[][2] = {{6, 6}, {260, 260}, {5, 260}, {261, 260}, {UINT32_MAX, 260}};
    for (size_t i = 0; i < ARRAY_SIZE(senses); i++) {
        set_config(r, SENSE_SIZE, senses[i][0]);
        cr_assert_eq(CONFIG(r, sense_size), senses[i][1]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(cdbs); i++) {
        set_config(r, CDB_SIZE, cdbs[i][0]);
        cr_assert_eq(CONFIG(r, cdb_size), cdbs[i][1]);
    }
    set_config(r, offsetof(struct virtio_scsi_config, num_queues), 9);
    cr_assert_eq(CONFIG(r, num_queues), 3);
    /* byte by byte, through a value that is none */
    rig_config_set(r, CDB_SIZE, 4, 0x100);
    rig_config_set(r, CDB_SIZE, 1, 0x20);
    rig_config_set(r, CDB_SIZE + 1, 1, 0);
    cr_assert_eq(CONFIG(r, cdb_size), 32);
    set_config(r, CDB_SIZE, 16);
    rig_negotiate(r);
    cr_assert_eq(CONFIG(r, sense_size), 96);
    cr_assert_eq(CONFIG(r, cdb_size), 32);
    cr_assert(rig_has(r, VIRTIO_SCSI_F_HOTPLUG) && rig_has(r, VIRTIO_SCSI_F_CHANGE));
    cr_assert(!rig_has(r, VIRTIO_SCSI_F_INOUT) && !rig_has(r, VIRTIO_SCSI_F_T10_PI));
    struct cmd c = CMD(0, 0, 0x12, 0, 0, 0, 36, 0);
    c.queue = 2;
    is_good(run_in(r, c, 36));
    rig_down(r);
}

/* Where the CDB, the data and the sense are follows the sizes. */
TEST_EACH_WAY(ALL_WAYS, scsi_units, sizes_move_the_data)
{
    struct rig *r = up();
    HOLDS(r, "29f");
    set_config(r, SENSE_SIZE, 8);
    set_config(r, CDB_SIZE, 10);
    gpa_t at = rig_alloc(r, 29 + 20 + 512);
    uint8_t *p = rig_at(r, at, 29 + 20 + 512);
    uint32_t id, len;
    memcpy(p, (const uint8_t[]){1, 0, 0x40}, 3);
    memcpy(p + 19, (const uint8_t[]){0x28, 0, 0, 0, 0, 7, 0, 0, 1, 0}, 10);
    const struct rig_seg out = {at, 29}, in = {GPA(at.v + 29), 20 + 512};
    rig_add(r, 2, &out, 1, &in, 1);
    rig_kick(r, 2);
    rig_settle(r);
    cr_assert(rig_used(r, 2, &id, &len) && len == 20 + 512);
    cr_assert(p[29 + 11] == 0 && p[49] == 7 && p[49 + 511] == 7);
    p[19] = 0x88; /* needs 16 */
    rig_add(r, 2, &out, 1, &in, 1);
    rig_kick(r, 2);
    rig_settle(r);
    cr_assert(rig_used(r, 2, &id, &len) && len == 20);
    cr_assert(p[29] == 8 && p[29 + 10] == 2 && p[29 + 12 + 2] == 5);
    rig_down(r);
}

/* --- events --- */

struct event {
    uint32_t event, reason;
    uint8_t lun[8];
};

static gpa_t event_buffer(struct rig *r, uint32_t len)
{
    gpa_t at = rig_alloc(r, 16);
    memset(rig_at(r, at, 16), 0xee, 16);
    const struct rig_seg in = {at, len};
    rig_add(r, 1, NULL, 0, &in, 1);
    rig_kick(r, 1);
    rig_settle(r);
    return at;
}

static bool event_came(struct rig *r, gpa_t at, struct event *e)
{
    uint32_t id, len;
    rig_settle(r);
    if (!rig_used(r, 1, &id, &len))
        return false;
    const uint8_t *p = rig_at(r, at, 16);
    e->event = (uint32_t)get_bytes(p, 4);
    memcpy(e->lun, p + 4, 8);
    e->reason = (uint32_t)get_bytes(p + 12, 4);
    cr_assert_eq(len, e->event == 0 && e->reason == 0xeeeeeeee ? 4 : 16);
    return true;
}

/* Both images, and what more there is to be; with an error where it is to be refused. */
static int try_update(struct rig *r, const char *format, const char *more, struct err *e)
{
    char text[256];
    (void)snprintf(text, sizeof(text), format, disk, disc, more);
    return rig_update(r, text, e);
}

static void update(struct rig *r, const char *format)
{
    struct err e;
    cr_assert_eq(try_update(r, format, second, &e), 0, "%s", e.msg);
}
#define BOTH      "disk=%s,cd=%s"
#define DISK_ONLY "disk=%s"

Test(scsi_units, a_unit_comes_and_goes)
{
    struct rig *r = up();
    struct event e;
    gpa_t at[3] = {event_buffer(r, 16), event_buffer(r, 16), event_buffer(r, 16)};
    make_image(second, 8, BLOCK);
    update(r, BOTH ",disk=%s");
    cr_assert(event_came(r, at[0], &e));
    cr_assert(e.event == VIRTIO_SCSI_T_TRANSPORT_RESET && e.reason == VIRTIO_SCSI_EVT_RESET_RESCAN);
    cr_assert(e.lun[0] == 1 && e.lun[1] == 2 && e.lun[2] == 0x40 && e.lun[3] == 0);
    calm(r, 2);
    is_good(run(r, CMD(1, 0, TEST_UNIT_READY)));
    struct cmd c = CMD(2, 0, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0);
    c.in_len = 512;
    host.hold = true;
    cmd_add(r, &c);
    update(r, BOTH);
    cr_assert(event_came(r, at[1], &e));
    cr_assert(e.event == VIRTIO_SCSI_T_TRANSPORT_RESET &&
              e.reason == VIRTIO_SCSI_EVT_RESET_REMOVED);
    cr_assert_eq(run(r, CMD(2, 0, TEST_UNIT_READY)).response, VIRTIO_SCSI_S_BAD_TARGET);
    let_go(r);
    cr_assert(cmd_ended(r, &c));
    is_good(c); /* it had begun */
    cr_assert(!event_came(r, at[2], &e));
    /* beside a unit of the same target, which says so */
    update(r, BOTH ",disk=0:5:%s");
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x3f, 0x0e);
    cr_assert_eq(reported(r, "units"), 3);
    rig_down(r);
}

Test(scsi_units, without_hotplug_nothing_is_said)
{
    PROVES("Device Types / SCSI Host Device / Device Operation / Device Operation: eventq#03");
    struct rig *r =
        up_as("scsi,disk=%s,cd=%s", &(struct rig_options){.without = 1ull << VIRTIO_SCSI_F_HOTPLUG |
                                                                     1ull << VIRTIO_SCSI_F_CHANGE});
    struct event e;
    gpa_t at = event_buffer(r, 16);
    update(r, DISK_ONLY);
    update(r, BOTH);
    cr_assert_eq(truncate(disk, 4096), 0);
    update(r, BOTH);
    cr_assert(!event_came(r, at, &e));
    cr_assert_eq(reported(r, "events"), 0);
    rig_down(r);
}

Test(scsi_units, a_disk_grows_and_a_disc_is_another)
{
    PROVES("Device Types / SCSI Host Device / Device Operation / Device Operation: eventq#04");
    struct rig *r = up();
    struct event e;
    gpa_t at[2] = {event_buffer(r, 16), event_buffer(r, 16)};
    cr_assert_eq(truncate(disk, 2 * BLOCKS * BLOCK), 0);
    cr_assert_eq(truncate(disc, 2 * CD_BLOCKS * CD_BLOCK), 0);
    update(r, BOTH);
    cr_assert(event_came(r, at[0], &e));
    cr_assert(e.event == VIRTIO_SCSI_T_PARAM_CHANGE && e.reason == 0x092a && e.lun[1] == 0);
    cr_assert(!event_came(r, at[1], &e), "of an MMC device");
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x2a, 9);
    is_refused(run(r, CMD(1, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x28, 0);
    struct cmd c = run_in(r, CMD(0, 0, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8);
    cr_assert(c.in[2] == 0x0f && c.in[3] == 0xff);
    is_good(run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0x0f, 0xff, 0, 0, 1, 0), 512));
    update(r, BOTH);
    cr_assert(!event_came(r, at[1], &e), "the same again");
    rig_down(r);
}

Test(scsi_units, events_that_find_no_buffer)
{
    PROVES("Device Types / SCSI Host Device / Device Operation / Device Operation: eventq#01");
    struct rig *r = up();
    struct event e;
    for (unsigned i = 0; i < 17; i++) { /* two each: 32 wait, two are lost */
        update(r, DISK_ONLY);
        update(r, BOTH);
    }
    cr_assert_eq(reported(r, "lost_events"), 2);
    gpa_t at = event_buffer(r, 8); /* too short: nothing is lost to it */
    cr_assert(event_came(r, at, &e) && e.event == VIRTIO_SCSI_T_NO_EVENT);
    for (unsigned i = 0; i < 32; i++) {
        at = event_buffer(r, 16);
        cr_assert(event_came(r, at, &e));
        cr_assert_eq(e.event,
                     VIRTIO_SCSI_T_TRANSPORT_RESET | (i ? 0 : VIRTIO_SCSI_T_EVENTS_MISSED));
        cr_assert_eq(e.reason,
                     i % 2 ? VIRTIO_SCSI_EVT_RESET_RESCAN : VIRTIO_SCSI_EVT_RESET_REMOVED);
    }
    at = event_buffer(r, 16);
    cr_assert(!event_came(r, at, &e));
    rig_down(r);
}

/* The device touches nothing then; the event waits. */
Test(scsi_units, a_unit_goes_while_the_driver_has_suspended_the_device)
{
    enum { RUNNING = 15 };
    struct rig *r = up();
    struct event e;
    gpa_t at = event_buffer(r, 16);
    rig_status_set(r, RUNNING | VDEV_S_SUSPEND);
    update(r, DISK_ONLY);
    cr_assert(!event_came(r, at, &e));
    rig_status_set(r, RUNNING);
    cr_assert(event_came(r, at, &e) && e.reason == VIRTIO_SCSI_EVT_RESET_REMOVED);
    rig_status_set(r, 0);
    update(r, BOTH);
    rig_negotiate(r);
    at = event_buffer(r, 16);
    cr_assert(!event_came(r, at, &e), "a driver that begins looks for itself");
    rig_down(r);
}

Test(scsi_units, an_update_that_fails_changes_nothing)
{
    struct rig *r = up();
    struct err e;
    cr_assert_lt(try_update(r, DISK_ONLY ",ro=/nowhere/disk", NULL, &e), 0);
    cr_assert(strstr(e.msg, "/nowhere/disk"));
    is_good(run(r, CMD(1, 0, TEST_UNIT_READY)));
    cr_assert_lt(try_update(r, "queues=1", NULL, &e), 0);
    cr_assert(strstr(e.msg, "names no disk"));
    cr_assert_eq(reported(r, "units"), 2);
    rig_down(r);
}

Test(scsi_units, where_units_are)
{
    struct rig *r = up_as("scsi,disk=%s,cd=0:0:%s", NULL); /* the other one gives way */
    calm(r, 0);
    calm(r, 1);
    struct cmd c = run_in(r, CMD(0, 0, 0x12, 0, 0, 0, 36, 0), 36);
    cr_assert_eq(c.in[0], 5);
    rig_down(r);
}

Test(scsi_units, what_is_refused)
{
    char spec[256];
    make_image(disk, 8, BLOCK);
    make_image(second, 8, BLOCK);
    rig_refuses("scsi,queues=2", NULL, "names no disk");
    rig_refuses("scsi,disk=/nowhere/x", NULL, "/nowhere/x");
    rig_refuses("scsi,disk=/tmp", NULL, "is a directory");
    rig_refuses("scsi,disk=256:0:/tmp/x", NULL, "more than 255");
    rig_refuses("scsi,disk=0:16384:/tmp/x", NULL, "more than 16383");
    rig_refuses("scsi,disk=0:1:", NULL, "names no file");
    (void)snprintf(spec, sizeof(spec), "scsi,disk=1:2:%s,cd=1:2:%s", disk, second);
    rig_refuses(spec, NULL, "given twice");
    (void)snprintf(spec, sizeof(spec), "scsi,disk=%s,disk=%s", disk, disk);
    rig_refuses(spec, NULL, "in use");
    cr_assert_eq(truncate(second, 513), 0);
    (void)snprintf(spec, sizeof(spec), "scsi,disk=%s,disk=%s", disk, second);
    rig_refuses(spec, NULL, "multiple of 512");
    cr_assert_eq(truncate(second, 1024), 0);
    (void)snprintf(spec, sizeof(spec), "scsi,cd=%s", second);
    rig_refuses(spec, NULL, "multiple of 2048");
}

/* --- how much one command may ask for --- */

/* A disk of 128 MiB. */
static struct rig *big(void)
{
    struct rig *r = up();
    cr_assert_eq(truncate(disk, 128 << 20), 0);
    update(r, BOTH);
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x2a, 9);
    return r;
}

Test(scsi_units, a_transfer_is_64_mib_at_most)
{
    struct rig *r = big();
    static const uint8_t codes[] = {0x88, 0x8a, 0xa8, 0xaa}; /* of 16 and 12 bytes */
    for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
        struct cmd c = CMD(0, 0, codes[i]), more;
        unsigned at = codes[i] < 0xa0 ? 10 : 6;
        c.cdb[at + 1] = 2; /* 1 << 17 blocks, for which there is no room */
        more = c;
        more.cdb[at + 3] = 1;
        cr_assert_eq(run(r, c).response, VIRTIO_SCSI_S_OVERRUN);
        is_refused(run(r, more), KEY_ILLEGAL, 0x24, 0);
    }
    rig_down(r);
}

Test(scsi_units, a_write_same_is_16_mib_at_most)
{
    struct rig *r = big();
    const uint8_t ones[BLOCK] = {1};
    for (unsigned ndob = 0; ndob < 2; ndob++) {
        const uint32_t len = ndob ? 0 : BLOCK;
        struct cmd c = CMD(0, 0, 0x93, ndob, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128, 0);
        is_good(run_out(r, c, ones, len));
        memset(host.n, 0, sizeof(host.n));
        c.cdb[13] = 1;
        is_refused(run_out(r, c, ones, len), KEY_ILLEGAL, 0x24, 0);
        memset(c.cdb + 10, 0, 4); /* which is not the rest of the disk */
        is_refused(run_out(r, c, ones, len), KEY_ILLEGAL, 0x24, 0);
        cr_assert_eq(host.n[LOOP_WRITEV] + host.n[LOOP_FALLOCATE], 0);
    }
    is_refused(run_out(r, CMD(0, 0, 0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0), ones, BLOCK), KEY_ILLEGAL,
               0x24, 0);
    rig_down(r);
}

/* --- saved state --- */

Test(scsi_units, state)
{
    struct rig *r = up();
    struct event e;
    set_config(r, SENSE_SIZE, 18);
    rig_config_set(r, SENSE_SIZE, 4, 96);
    is_good(run(r, CMD(1, 0, 0x1b, 0, 0, 0, 2, 0)));
    is_good(run(r, CMD(0, 0, 0x1b, 0, 0, 0, 0, 0)));
    cr_assert_eq(truncate(disk, 2 * BLOCKS * BLOCK), 0);
    update(r, BOTH);
    rig_save_and_load(r);
    rig_settle(r);
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x2a, 9);
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_NOT_READY, 4, 2);
    is_refused(run(r, CMD(1, 0, TEST_UNIT_READY)), KEY_NOT_READY, 0x3a, 2);
    gpa_t at = event_buffer(r, 16);
    cr_assert(event_came(r, at, &e) && e.event == VIRTIO_SCSI_T_PARAM_CHANGE);
    /* a power-on closes the tray */
    transport_reset(r->transport);
    vdev_power_on(r->dev);
    rig_up_again(r);
    calm(r, 1);
    calm(r, 0);
    rig_down(r);
}

enum { HEADER = 16 };

static uint8_t *section_of(const struct state_out *s)
{
    uint8_t *p = s->buf;
    while (memcmp(p, "SCSI", 4) != 0)
        p += HEADER + get_bytes(p + 8, 4);
    return p;
}

static void reseal(uint8_t *section)
{
    enum { CHECKSUM = 12 };
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < HEADER + get_bytes(section + 8, 4); i++)
        h = i >= CHECKSUM && i < HEADER ? h : (h ^ section[i]) * 16777619u;
    put_bytes(section + CHECKSUM, h, 4);
}

/* Whatever is in it, it is taken or refused, and a reset makes a good device of it. */
Test(scsi_units, hostile_state)
{
    struct rig *r = up();
    update(r, DISK_ONLY); /* an event waits */
    struct state_out s = rig_save(r);
    uint8_t *section = section_of(&s);
    size_t len = get_bytes(section + 8, 4);
    unsigned refused = 0;
    for (size_t i = HEADER; i < HEADER + len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            section[i] ^= (uint8_t)(1 << bit);
            reseal(section);
            int rc = rig_load(r, s.buf, s.len);
            cr_assert(rc == 0 || rc == -EBADMSG);
            refused += rc < 0;
            section[i] ^= (uint8_t)(1 << bit);
        }
    }
    cr_assert_gt(refused, 8 * len / 3);
    transport_reset(r->transport);
    vdev_resume(r->dev);
    rig_up_again(r);
    calm(r, 0);
    state_out_free(&s);
    rig_down(r);
}

/* Where in it things are. */
enum { EVENTS = 18, REASON = 4, LUN = 9, UNIT = 19, FLAGS = 17, MEDIA };

static int load_sealed(struct rig *r, const struct state_out *s)
{
    reseal(section_of(s));
    return rig_load(r, s->buf, s->len);
}

/* Nor does a disc come out by what is refused behind it. */
Test(scsi_units, a_disk_has_no_tray_to_load)
{
    struct rig *r = up();
    struct state_out s = rig_save(r);
    uint8_t *first = section_of(&s) + HEADER + EVENTS + 1, *then = first + UNIT, of_disk[UNIT];
    cr_assert_eq(first[-2], 0, "no events");
    static const uint8_t bad[][2] = {{FLAGS, 2}, {FLAGS, 3}, {FLAGS, 4}, {MEDIA, 2}, {MEDIA, 3}};
    memcpy(of_disk, first, UNIT);
    memcpy(first, then, UNIT);
    memcpy(then, of_disk, UNIT);
    cr_assert_eq(load_sealed(r, &s), 0);
    first[FLAGS] = 3;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        then[bad[i][0]] = bad[i][1];
        cr_assert_eq(load_sealed(r, &s), -EBADMSG);
        then[bad[i][0]] = 0;
    }
    state_out_free(&s);
    vdev_resume(r->dev);
    rig_up_again(r); /* a power-on would close the tray */
    calm(r, 0);
    calm(r, 1);
    rig_down(r);
}

/* Only events that the device makes, of addresses that there can be. */
Test(scsi_units, events_to_load)
{
    static const struct {
        uint32_t event, reason, lun;
        bool good;
    } cases[] = {
        {VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_REMOVED, 0, true},
        {VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_RESCAN, 16383, true},
        {VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_RESCAN, 16384, false},
        {VIRTIO_SCSI_T_TRANSPORT_RESET, VIRTIO_SCSI_EVT_RESET_HARD, 0, false},
        {VIRTIO_SCSI_T_TRANSPORT_RESET, 3, 0, false},
        {VIRTIO_SCSI_T_PARAM_CHANGE, 0x2a | 0x09 << 8, 0, true},
        {VIRTIO_SCSI_T_PARAM_CHANGE, 0x2a | 0x09 << 8, 0xffff, false},
        {VIRTIO_SCSI_T_PARAM_CHANGE, 0x2a, 0, false},
        {VIRTIO_SCSI_T_ASYNC_NOTIFY, 0, 0, false},
    };
    struct rig *r = up();
    cr_assert_eq(truncate(disk, 2 * BLOCKS * BLOCK), 0);
    update(r, BOTH); /* an event waits */
    struct state_out s = rig_save(r);
    uint8_t *event = section_of(&s) + HEADER + EVENTS;
    cr_assert_eq(event[-1], 1);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        put_bytes(event, cases[i].event, 4);
        put_bytes(event + REASON, cases[i].reason, 4);
        put_bytes(event + LUN, cases[i].lun, 2);
        cr_assert_eq(load_sealed(r, &s), cases[i].good ? 0 : -EBADMSG, "case %zu", i);
    }
    state_out_free(&s);
    rig_down(r);
}

Test(scsi_units, a_legacy_driver)
{
    PROVES(
        "legacy:Device Types / SCSI Host Device / Device configuration layout / Legacy Interface: "
        "Device configuration layout#01");
    PROVES("legacy:Device Types / SCSI Host Device / Device Operation / Device Operation: Request "
           "Queues / Legacy Interface: Device Operation: Request Queues#01");
    PROVES("legacy:Device Types / SCSI Host Device / Device Operation / Device Operation: eventq / "
           "Legacy Interface: Device Operation: eventq#01");
    struct event e;
    struct rig *r = up_as("scsi,disk=%s,cd=%s",
                          &(struct rig_options){.transport = RIG_PCI_TRANSITIONAL_LEGACY});
    calm(r, 0);
    cr_assert_eq(CONFIG(r, sense_size), 96);
    struct cmd c = run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0), 512);
    is_good(c);
    cr_assert_eq(c.in[0], 3);
    c = run_in(r, CMD(0, 0, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0), 1024);
    cr_assert_eq(c.residual, 512);
    gpa_t at = event_buffer(r, 16);
    update(r, DISK_ONLY);
    cr_assert(event_came(r, at, &e));
    cr_assert(e.event == VIRTIO_SCSI_T_TRANSPORT_RESET &&
              e.reason == VIRTIO_SCSI_EVT_RESET_REMOVED);
    rig_down(r);
}
