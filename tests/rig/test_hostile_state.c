/* tests/rig/test_hostile_state.c - saved state as hostile input, on every transport: streams that
 * are cut, streams with a byte changed, and streams whose changed byte has a checksum that fits. */
#include <linux/virtio_config.h>

#include "base/log.h"
#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"

enum { SIZE = 4, HEADER = 16, VERSION = 4, LENGTH = 8, CHECKSUM = 12, RUNNING = 15 };

enum { PACKED = 1, SUSPENDED = 2, VARIANTS = 4 };

static bool is_legacy(enum rig_transport t)
{
    return t == RIG_MMIO_LEGACY || t == RIG_PCI_LEGACY || t == RIG_PCI_TRANSITIONAL_LEGACY;
}

static void serve(struct rig *r)
{
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
}

/* Whatever was loaded or refused: a reset makes a good device of it. */
static void revive(struct rig *r)
{
    transport_reset(r->transport);
    vdev_resume(r->dev);
    rig_up_again(r);
    serve(r);
}

/* One device in each state worth having; `what` gets its stream. */
static void each_stream(void (*what)(struct rig *r, struct state_out *s, const char *name))
{
    for (enum rig_transport t = 0; t < RIG_TRANSPORTS; t++) {
        for (unsigned v = 0; v < VARIANTS; v++) {
            if (is_legacy(t) && v)
                continue;
            bool packed = v & PACKED;
            struct rig *r = held_up(
                &(struct rig_options){.transport = t, .packed = packed, .in_order = packed}, SIZE);
            for (unsigned i = 0; i < SIZE + 2; i++)
                serve(r);
            if (v & SUSPENDED)
                rig_status_set(r, RUNNING | VDEV_S_SUSPEND);
            struct state_out s = rig_save(r);
            what(r, &s, rig_transport_names[t]);
            state_out_free(&s);
            rig_down(r);
        }
    }
}

static void cut_one(struct rig *r, struct state_out *s, const char *name)
{
    for (size_t n = 0; n < s->len; n++)
        cr_assert_eq(rig_load(r, s->buf, n), -EBADMSG, "%s: %zu bytes", name, n);
}

static void cut(struct rig *r, struct state_out *s, const char *name)
{
    cut_one(r, s, name);
    revive(r);
}

Test(hostile_state, a_stream_that_ends_early)
{
    each_stream(cut);
}

static void flip_one(struct rig *r, struct state_out *s, const char *name)
{
    for (size_t at = 0; at < s->len; at++) {
        s->buf[at] ^= 0x40;
        cr_assert_eq(rig_load(r, s->buf, s->len), -EBADMSG, "%s: byte %zu", name, at);
        s->buf[at] ^= 0x40;
    }
}

static void flip(struct rig *r, struct state_out *s, const char *name)
{
    flip_one(r, s, name);
    revive(r);
}

Test(hostile_state, a_byte_that_was_changed)
{
    each_stream(flip);
}

/* FNV-1a of a section but for the checksum itself, as base/state.c has it. */
static void reseal(uint8_t *section)
{
    size_t len = get_bytes(section + LENGTH, 4);
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < HEADER + len; i++)
        h = i >= CHECKSUM && i < HEADER ? h : (h ^ section[i]) * 16777619u;
    put_bytes(section + CHECKSUM, h, 4);
}

/* Taken or refused, it is put to use: nothing outside the guest may come to harm, and a reset helps
 * afterwards. */
static void use(struct rig *r, const uint8_t *buf, size_t len, const char *name, size_t at)
{
    int rc = rig_load(r, buf, len);
    cr_assert(rc == 0 || rc == -EBADMSG, "%s: byte %zu: %d", name, at, rc);
    vdev_resume(r->dev);
    for (unsigned i = 0; i < 2; i++)
        vdev_kick(r->dev, 0);
    rig_settle(r);
    struct state_out s = rig_save(r);
    if (rc == 0)
        cr_assert_eq(rig_load(r, s.buf, s.len), 0, "%s: byte %zu: it does not load what it saves",
                     name, at);
    state_out_free(&s);
}

static void forge_one(struct rig *r, struct state_out *s, const char *name)
{
    static const uint8_t with[] = {0x01, 0x02, 0x10, 0x40, 0x80, 0xff};
    for (size_t section = 0; section < s->len;
         section += HEADER + get_bytes(s->buf + section + LENGTH, 4)) {
        size_t len = get_bytes(s->buf + section + LENGTH, 4);
        for (size_t i = HEADER; i < HEADER + len; i++) {
            uint8_t *p = &s->buf[section + i], was = *p;
            for (size_t k = 0; k < ARRAY_SIZE(with); k++) {
                *p = was ^ with[k];
                reseal(s->buf + section);
                use(r, s->buf, s->len, name, section + i);
            }
            *p = was;
            reseal(s->buf + section);
        }
    }
}

static void forge(struct rig *r, struct state_out *s, const char *name)
{
    forge_one(r, s, name);
    revive(r);
}

Test(hostile_state, any_byte_may_be_any_other)
{
    log_set_level(LOG_ERROR);
    each_stream(forge);
}

/* More of them, or fewer, than the device has. What a suspended one shows is in between. */
static void count_queues(struct rig *r, struct state_out *s, const char *name)
{
    enum {
        COUNT = HEADER + 2 + 1 + 4 + 1 + 16
    }; /* behind id, status, generation, flags, features */
    static const uint32_t numbers[] = {0, 2, 3, 255, 65537, UINT32_MAX};
    uint8_t *section = s->buf;
    if (rig_status(r) & VDEV_S_SUSPEND)
        return;
    HOLDS(r, "35c");
    while (memcmp(section, "VDEV", 4) != 0)
        section += HEADER + get_bytes(section + LENGTH, 4);
    cr_assert_eq(get_bytes(section + COUNT, 4), 1);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        put_bytes(section + COUNT, numbers[i], 4);
        reseal(section);
        cr_assert_eq(rig_load(r, s->buf, s->len), -EBADMSG, "%s: %u", name, numbers[i]);
    }
    revive(r);
}

Test(hostile_state, another_number_of_queues)
{
    each_stream(count_queues);
}

/* The devices with state of their own; what is said of each section there is true of theirs. */
static void forge_device(const char *spec)
{
    struct rig *r = rig_up(spec, NULL);
    struct state_out s = rig_save(r);
    cut_one(r, &s, spec);
    flip_one(r, &s, spec);
    forge_one(r, &s, spec);
    transport_reset(r->transport);
    vdev_resume(r->dev);
    rig_up_again(r);
    cr_assert(!rig_needs_reset(r), "%s", spec);
    state_out_free(&s);
    rig_down(r);
}

Test(hostile_state, of_devices_that_save_more)
{
    log_set_level(LOG_ERROR);
    forge_device("balloon,size=1M,hinting,reporting");
    forge_device("rtc");
}

Test(hostile_state, an_alarm_that_was_not_negotiated)
{
    enum { ALARMQ = 1 };
    struct rig *r = rig_up("rtc", &(struct rig_options){.without = 1});
    const struct rig_seg in = {rig_alloc(r, 16), 16};
    uint32_t id, len;
    log_set_level(LOG_ERROR);
    rig_add(r, ALARMQ, NULL, 0, &in, 1);
    struct state_out s = rig_save(r);
    forge_one(r, &s, "rtc without alarms");
    cr_assert(!rig_used(r, ALARMQ, &id, &len));
    state_out_free(&s);
    rig_down(r);
}

/* What one of two interfaces led to, loaded where a driver has only the other one. */
static void of_another_interface(enum rig_transport from, enum rig_transport to)
{
    struct rig *r = held_up(&(struct rig_options){.transport = from}, SIZE);
    struct state_out s = rig_save(r);
    cr_assert_eq(rig_load(r, s.buf, s.len), 0, "%s", rig_transport_names[from]);
    rig_down(r);
    r = held_up(&(struct rig_options){.transport = to}, SIZE);
    cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG, "%s", rig_transport_names[to]);
    revive(r);
    state_out_free(&s);
    rig_down(r);
}

Test(hostile_state, of_an_interface_that_is_not_there)
{
    of_another_interface(RIG_MMIO_LEGACY, RIG_MMIO);
    of_another_interface(RIG_MMIO, RIG_MMIO_LEGACY);
}

/* Its administration virtqueue is enabled, and the features say that there is none. */
Test(hostile_state, an_administration_virtqueue_that_was_not_accepted)
{
    enum { FEATURES = HEADER + 2 + 1 + 4 + 1 };
    struct vdev_options v = vdev_options_default;
    v.admin_vq = true;
    struct rig *r = board_up((struct board_options){0},
                             &(struct rig_options){.transport = RIG_PCI, .vdev = &v});
    struct state_out s = rig_save(r);
    uint8_t *section = s.buf;
    while (memcmp(section, "VDEV", 4) != 0)
        section += HEADER + get_bytes(section + LENGTH, 4);
    section[FEATURES + VDEV_F_ADMIN_VQ / 8] ^= 1u << VDEV_F_ADMIN_VQ % 8;
    reseal(section);
    cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG);
    state_out_free(&s);
    rig_down(r);
}

static uint8_t *section_named(const struct state_out *s, const char *tag)
{
    uint8_t *section = s->buf;
    while (memcmp(section, tag, 4) != 0)
        section += HEADER + get_bytes(section + LENGTH, 4);
    return section;
}

/* The same, but for a byte that should not be there at the end of a section. */
static struct state_out longer_by_one(const struct state_out *was, const char *tag)
{
    struct state_out s = {.buf = malloc(was->len + 1), .len = was->len + 1};
    const uint8_t *old = section_named(was, tag);
    size_t len = get_bytes(old + LENGTH, 4), end = (size_t)(old - was->buf) + HEADER + len;
    memcpy(s.buf, was->buf, end);
    memcpy(s.buf + end + 1, was->buf + end, was->len - end);
    s.buf[end] = 0;
    uint8_t *section = section_named(&s, tag);
    put_bytes(section + LENGTH, len + 1, 4);
    reseal(section);
    return s;
}

/* And some bytes are others. What a device keeps across resets is the same afterwards. */
static void refused_whole(const char *spec, const char *tag, size_t at, size_t n)
{
    struct rig *r = rig_up(spec, NULL);
    transport_reset(r->transport);
    struct state_out was = rig_save(r), s = longer_by_one(&was, tag);
    const uint8_t *old = section_named(&was, tag);
    uint8_t *section = section_named(&s, tag);
    size_t len = get_bytes(old + LENGTH, 4);
    cr_assert_leq(at + n, len);
    for (size_t i = 0; i < n; i++)
        section[HEADER + at + i] ^= 1;
    reseal(section);
    cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG, "%s", spec);
    transport_reset(r->transport);
    struct state_out is = rig_save(r);
    cr_assert_arr_eq(section_named(&is, tag), old, HEADER + len, "%s", spec);
    state_out_free(&was);
    state_out_free(&is);
    free(s.buf);
    rig_down(r);
}

Test(hostile_state, the_target_of_a_refused_balloon)
{
    refused_whole("balloon,size=1M", "BALN", 0, 4);
}

/* The monotonic clock; before it are their number, and another one. */
Test(hostile_state, the_offset_of_a_refused_clock)
{
    enum { CLOCK = 27, OFFSET = 1 + CLOCK + 11 };
    refused_whole("rtc", "RTCK", OFFSET, 16);
}

/* What was taken of it before it was refused is not left in the registers. */
Test(hostile_state, registers_of_a_refused_function)
{
    struct rig *r =
        board_up((struct board_options){.queues = 2}, &(struct rig_options){.transport = RIG_PCI});
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
    rig_common_set(r, VIRTIO_PCI_COMMON_DFSELECT, 4, 3);
    rig_common_set(r, VIRTIO_PCI_COMMON_MSIX, 2, 1);
    struct state_out was = rig_save(r), s = longer_by_one(&was, "VPCI");
    cr_assert_eq(rig_load(r, was.buf, was.len), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2), 1);
    cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG);
    r->regs->up(r);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_MSIX, 2), 0xffff);
    state_out_free(&was);
    free(s.buf);
    rig_down(r);
}

Test(hostile_state, registers_of_a_refused_window)
{
    struct rig *r = held_up(NULL, SIZE);
    struct state_out was = rig_save(r), s = longer_by_one(&was, "MMIO");
    cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG);
    state_out_free(&was);
    free(s.buf);
    rig_down(r);
}

/* Who changes what a section holds gives it another number, here too. */
Test(hostile_state, the_numbers_of_the_layouts)
{
    static const struct {
        enum rig_transport transport;
        const char *tag;
        unsigned version;
    } layouts[] = {{RIG_MMIO, "MMIO", 2}, {RIG_PCI, "VPCI", 1}, {RIG_PCI, "VDEV", 2}};
    for (unsigned i = 0; i < ARRAY_SIZE(layouts); i++) {
        struct rig *r = held_up(&(struct rig_options){.transport = layouts[i].transport}, SIZE);
        struct state_out s = rig_save(r);
        uint8_t *section = section_named(&s, layouts[i].tag);
        cr_assert_eq(get_bytes(section + VERSION, 4), layouts[i].version, "%s", layouts[i].tag);
        put_bytes(section + VERSION, layouts[i].version + 1, 4);
        reseal(section);
        cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG, "%s", layouts[i].tag);
        state_out_free(&s);
        rig_down(r);
    }
}
