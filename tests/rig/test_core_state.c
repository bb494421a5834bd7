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
    unsigned less, more; /* queues that are not there; bytes that should not be */
};

static struct vdev_image image_of(const struct rig *r)
{
    struct vdev_image v = {.id = VIRTIO_ID_9P, .status = 15, .n = 2};
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
    state_begin(&s, "MMIO", 2);
    for (unsigned i = 0; i < 6 + 2; i++) /* registers, and an alignment for each queue */
        state_u32(&s, 0);
    state_end(&s);
    state_begin(&s, "VDEV", 2);
    state_u16(&s, v->id);
    state_u8(&s, v->status);
    state_u32(&s, 5);
    state_u8(&s, v->status & VIRTIO_CONFIG_S_DRIVER_OK ? 2 : 0); /* it runs */
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        state_u32(&s, v->features[i]);
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
    cr_assert_eq(load_image(r, &v), 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_CONFIG_GENERATION), 5);
    vdev_resume(r->dev);
    cr_assert(served(r, 0) && served(r, 1));
    rig_down(r);
}

static struct vdev_image bad;

static void must_be_refused(struct rig *r, const char *what)
{
    cr_assert_eq(load_image(r, &bad), -EBADMSG, "%s", what);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_STATUS), 0, "%s: as after a reset", what);
    vdev_resume(r->dev);
    rig_negotiate(r);
    cr_assert(served(r, 0) && served(r, 1), "%s: and it works", what);
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
    must_be_refused(r, "a queue that is enabled before FEATURES_OK");
    rig_down(r);
}
