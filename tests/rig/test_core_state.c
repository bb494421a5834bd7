/* tests/rig/test_core_state.c - saved state of the core's that is intact, but was never saved. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "tests/rig/core_fixture.h"

struct vdev_image {
    uint16_t id;
    uint8_t status;
    uint32_t features[VDEV_FEATURE_WORDS], n;
    struct {
        uint64_t desc, driver, device;
        uint16_t size, next;
        uint8_t enabled;
    } q[2];
    unsigned mmio_version, version; /* 0: of today */
    unsigned less, more;            /* queues that are not there; bytes that should not be */
    uint8_t flags; /* 1: legacy, 2: it runs, 4: a change of the configuration is pending */
};

static struct vdev_image image_of(const struct rig *r)
{
    struct vdev_image v = {.id = VIRTIO_ID_9P, .status = 15, .n = 2, .flags = 2};
    for (unsigned i = 0; i < 2; i++) {
        v.features[i] = (uint32_t)(r->features >> 32 * i);
        v.q[i].desc = r->q[i].desc.v;
        v.q[i].driver = r->q[i].avail.v;
        v.q[i].device = r->q[i].used.v;
        v.q[i].size = r->q[i].size;
        v.q[i].enabled = 1;
    }
    return v;
}

static int load_image(struct rig *r, const struct vdev_image *v)
{
    struct state_out s = {0};
    state_begin(&s, "MMIO", v->mmio_version ? v->mmio_version : 2);
    state_u32(&s, 3);                    /* what is pending, */
    for (unsigned i = 0; i < 5 + 2; i++) /* other registers, and an alignment for each queue */
        state_u32(&s, 0);
    state_end(&s);
    state_begin(&s, "VDEV", v->version ? v->version : 2);
    state_u16(&s, v->id);
    state_u8(&s, v->status);
    state_u32(&s, 5);
    state_u8(&s, v->flags);
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        state_u32(&s, v->features[i]);
    static const uint8_t frozen[256]; /* the configuration as it was then */
    if (v->status & VDEV_S_SUSPEND)
        state_bytes(&s, frozen, sizeof(frozen));
    state_u32(&s, v->n);
    for (unsigned i = 0; i < 2 - v->less; i++) {
        state_u64(&s, v->q[i].desc);
        state_u64(&s, v->q[i].driver);
        state_u64(&s, v->q[i].device);
        state_u16(&s, v->q[i].size);
        state_u16(&s, v->q[i].next);
        state_u16(&s, v->q[i].next);
        state_u8(&s, v->q[i].enabled);
    }
    for (unsigned i = 0; i < v->more; i++)
        state_u8(&s, 0);
    state_end(&s);
    int rc = rig_load(r, s.buf, s.len);
    state_out_free(&s);
    return rc;
}

Test(state, an_image_as_it_should_be_is_taken)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    struct vdev_image v = image_of(r);
    (void)rig_config(r, 0, 1);
    cr_assert_eq(load_image(r, &v), 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_CONFIG_GENERATION), 5);
    (void)rig_config(r, 0, 1);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_CONFIG_GENERATION), 6, "who knows what was read before");
    vdev_resume(r->dev);
    cr_assert(served(r, 0) && served(r, 1));
    rig_down(r);
}

static struct vdev_image bad;

static void must_be_refused(struct rig *r, const char *what)
{
    vdev_resume(r->dev);
    cr_assert_eq(load_image(r, &bad), -EBADMSG, "%s", what);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_STATUS), 0, "%s: as after a reset", what);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS), 0, "%s: the transport too", what);
    for (unsigned q = 0; q < 2; q++)
        cr_assert_not(vdev_queue_enabled(r->dev, q), "%s: no queue is left", what);
    rig_negotiate(r);
    cr_assert(served(r, 0) && served(r, 1), "%s: and it works, not paused", what);
    bad = image_of(r);
}

Test(state, an_image_that_makes_no_sense_is_refused)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    bad = image_of(r);
    bad.id = 61;
    must_be_refused(r, "another device");
    bad.n = 3;
    must_be_refused(r, "another number of queues");
    bad.less = 1;
    must_be_refused(r, "a queue is missing");
    bad.mmio_version = 1;
    must_be_refused(r, "registers of another time");
    bad.version = 1;
    must_be_refused(r, "a device of another time");
    bad.more = 1;
    must_be_refused(r, "bytes left over");
    bad.features[3] = 1u << 31;
    must_be_refused(r, "a feature that is not offered");
    bad.features[1] = 0;
    must_be_refused(r, "no VERSION_1");
    bad.q[1].size = 3;
    must_be_refused(r, "a size that is no power of two");
    bad.q[1].size = 16;
    must_be_refused(r, "more than the device has");
    bad.q[1].desc = 0xd0000000;
    must_be_refused(r, "a ring outside RAM");
    bad.q[0].device += 2;
    must_be_refused(r, "a ring that is not aligned");
    rig_down(r);
}

Test(state, an_image_that_started_without_its_features)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    bad = image_of(r);
    bad.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK;
    bad.features[2] = 1;
    must_be_refused(r, "DRIVER_OK without FEATURES_OK, features that nobody checked");
    bad.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    bad.flags = 0;
    must_be_refused(r, "a queue that is enabled before FEATURES_OK");
    rig_down(r);
}

enum { A = 1, D = 2, OK = 4, FOK = 8, ENDS = 64 | 128 };
enum { LEGACY = 1, RUNS = 2, PENDING = 4 };

static const struct rig_options old = {.transport = RIG_MMIO_LEGACY};

/* Which of them writes of a driver's, of one kind or the other, and failures can lead to. */
static bool can_be(uint8_t status, uint8_t flags)
{
    unsigned s = status & ~(unsigned)ENDS;
    bool runs = flags & RUNS, failed = status & 64;
    if (flags >= 8)
        return false;
    if (flags & LEGACY)
        return !(s & ~7u) && (runs || !(s & OK) || status & ENDS);
    if (s & FOK)
        return (s == (A | D | FOK) || s == (A | D | FOK | OK) ||
                s == (A | D | FOK | VDEV_S_SUSPEND)) &&
               (runs == !!(s & OK) || failed);
    return !(s & ~3u) && !runs;
}

/* Every status with every flag. */
static void each_status(const struct rig_options *o, struct vdev_image v, uint8_t kind)
{
    struct rig *r = core_up((struct core_opts){0}, o);
    v.q[0].enabled = v.q[1].enabled = 0;
    for (unsigned status = 0; status < 256; status++) {
        for (uint8_t flags = 0; flags < 16; flags++) {
            bool ok = can_be((uint8_t)status, flags);
            if (flags & LEGACY || status & FOK)
                ok = ok && (flags & LEGACY) == kind;
            struct vdev_image w = v;
            w.status = (uint8_t)status;
            w.flags = flags;
            if (flags & LEGACY) {
                w.features[1] = 0;
                w.features[0] = 1u << VIRTIO_RING_F_EVENT_IDX;
            }
            vdev_resume(r->dev);
            cr_assert_eq(load_image(r, &w), ok ? 0 : -EBADMSG, "status %u, flags %u", status,
                         flags);
            cr_assert_eq(rig_status(r), ok ? status : 0);
        }
    }
    rig_down(r);
}

Test(state, each_status_and_what_it_says_of_the_rest)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    const struct vdev_image whole = image_of(r);
    rig_down(r);
    each_status(NULL, whole, 0);
    each_status(&old, whole, LEGACY);
}

Test(state, features_of_a_legacy_driver)
{
    struct rig *r = core_up((struct core_opts){0}, &old);
    for (unsigned bit = 0; bit < 32 * VDEV_FEATURE_WORDS; bit++) {
        struct vdev_image v = {.id = VIRTIO_ID_9P, .status = A | D, .n = 2, .flags = LEGACY};
        bool known = bit == VIRTIO_RING_F_EVENT_IDX || bit == VIRTIO_RING_F_INDIRECT_DESC ||
                     bit == VIRTIO_F_ANY_LAYOUT;
        v.features[bit / 32] = 1u << bit % 32;
        cr_assert_eq(load_image(r, &v), known ? 0 : -EBADMSG, "feature %u", bit);
    }
    rig_down(r);
}

/* 3.4: who did not accept Device Suspend cannot have been suspended. */
Test(state, suspended_without_the_feature)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    bad = image_of(r);
    bad.status = A | D | FOK | VDEV_S_SUSPEND;
    bad.flags = 0;
    bad.features[VDEV_F_SUSPEND / 32] &= ~(1u << VDEV_F_SUSPEND % 32);
    must_be_refused(r, "suspended without the feature");
    rig_down(r);
}

Test(state, a_queue_that_was_not_enabled)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    struct vdev_image v = image_of(r);
    v.q[0].enabled = 0;
    cr_assert_eq(load_image(r, &v), 0);
    cr_assert_not(r->regs->queue_enabled(r, 0));
    cr_assert(r->regs->queue_enabled(r, 1), "and the next one is loaded");
    vdev_resume(r->dev);
    cr_assert(served(r, 1));
    rig_down(r);
}

/* What was served is not served again, and a change that was pending is, once. */
Test(state, a_life_goes_on_where_it_was)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    for (unsigned i = 0; i < 3; i++)
        cr_assert(served(r, 0));
    (void)rig_irqs(r);
    rig_save_and_load(r);
    rig_settle(r);
    uint32_t id, len;
    cr_assert_not(rig_used(r, 0, &id, &len));
    cr_assert_eq(r->regs->pending(r), 0);
    cr_assert(served(r, 0) && served(r, 1));
    (void)rig_irqs(r);

    struct vdev_image v = image_of(r);
    v.status = A | D | FOK | VDEV_S_SUSPEND;
    for (unsigned pending = 0; pending < 2; pending++) {
        v.flags = pending ? PENDING : 0;
        cr_assert_eq(load_image(r, &v), 0);
        vdev_resume(r->dev);
        (void)r->regs->acknowledge(r);
        rig_status_set(r, 15);
        cr_assert_eq(r->regs->pending(r) & 2, 2 * pending);
    }
    rig_down(r);
}
