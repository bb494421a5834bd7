/* tests/rig/test_mmio.c - virtio-mmio's registers (virtio 1.4, 4.2.2), feature negotiation and the
 * status machine (2.1, 2.2, 3.1), seen through the entropy device, which adds nothing of its own.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "tests/rig/rig.h"
#include "tests/rig/ways.h"

enum { QUEUE_RESET = 0x0c0, A = 1, D = 2, OK = 4, FOK = 8, FAILED = 128 };

static struct rig *up(void)
{
    return rig_up("rng", NULL);
}

static uint8_t status(struct rig *r)
{
    return (uint8_t)rig_reg(r, VIRTIO_MMIO_STATUS);
}

static void set_status(struct rig *r, uint8_t s)
{
    rig_reg_set(r, VIRTIO_MMIO_STATUS, s);
}

static void accept_features(struct rig *r, uint32_t low, uint32_t high)
{
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, low);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, high);
}

/* Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK with VERSION_1 only. */
static void to_features_ok(struct rig *r)
{
    set_status(r, 0);
    set_status(r, A);
    set_status(r, A | D);
    accept_features(r, 0, 1);
    set_status(r, A | D | FOK);
    cr_assert_eq(status(r), A | D | FOK);
}

Test(mmio, identity)
{
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#01");
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#02");
    struct rig *r = up();
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_VERSION), 2);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_DEVICE_ID), 4);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_CONFIG - 4), 0, "no register");
    set_status(r, 0xff);
    cr_assert(status(r) & FAILED, "every bit is one status, too");
    rig_down(r);
}

Test(mmio, feature_words)
{
    struct rig *r = up();
    const uint32_t expected[] = {1u << 28 | 1u << 29, 1u << 0 | 1u << 8 | 1u << 11, 0, 0, 0};
    for (uint32_t word = 0; word < ARRAY_SIZE(expected); word++) {
        rig_reg_set(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
        cr_assert_eq(rig_reg(r, VIRTIO_MMIO_DEVICE_FEATURES), expected[word], "word %u", word);
    }
    rig_reg_set(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, UINT32_MAX);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    rig_down(r);
}

Test(mmio, an_unoffered_feature_is_refused)
{
    struct rig *r = up();
    for (unsigned bit = 0; bit < 64; bit++) {
        set_status(r, 0);
        set_status(r, A);
        set_status(r, A | D);
        accept_features(r, bit < 32 ? 1u << bit : 0, 1 | (bit >= 32 ? 1u << (bit - 32) : 0));
        set_status(r, A | D | FOK);
        bool offered = bit == 28 || bit == 29 || bit == 32 || bit == 40 || bit == 43;
        cr_assert_eq(status(r), A | D | (offered ? FOK : 0), "bit %u", bit);
    }
    rig_down(r);
}

Test(mmio, a_driver_without_version_1_is_refused)
{
    struct rig *r = up();
    set_status(r, 0);
    set_status(r, A);
    set_status(r, A | D);
    accept_features(r, 0, 0);
    set_status(r, A | D | FOK);
    cr_assert_eq(status(r), A | D);
    rig_down(r);
}

Test(mmio, features_are_final_after_features_ok)
{
    struct rig *r = up();
    to_features_ok(r);
    accept_features(r, 1u << 29, 1);
    cr_assert_not(vdev_has(r->dev, 29));
    rig_down(r);
}

/* Row 13: bits that vanish, or come before their time. */
Test(mmio, status_goes_forward_only)
{
    struct rig *r = up();
    set_status(r, 0);
    set_status(r, A | D | OK); /* DRIVER_OK without FEATURES_OK */
    cr_assert_eq(status(r), A | D);
    set_status(r, A); /* a bit taken back */
    cr_assert_eq(status(r), A | D);
    set_status(r, 0);
    accept_features(r, 0, 1);
    set_status(r, FOK); /* FEATURES_OK without the first two */
    cr_assert_eq(status(r), 0);
    to_features_ok(r);
    set_status(r, A | D | FOK | 32); /* a bit that nobody defined */
    cr_assert_eq(status(r), A | D | FOK);
    set_status(r, A | D | FOK | VIRTIO_CONFIG_S_NEEDS_RESET); /* the device's own */
    cr_assert_eq(status(r), A | D | FOK);
    set_status(r, A | D | FOK | FAILED);
    cr_assert_eq(status(r), A | D | FOK | FAILED);
    set_status(r, A | D | FOK | FAILED | OK); /* only a reset helps now */
    cr_assert_eq(status(r), A | D | FOK | FAILED);
    set_status(r, 0);
    cr_assert_eq(status(r), 0);
    rig_down(r);
}

Test(mmio, the_queue_registers)
{
    struct rig *r = up();
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 1);
    const uint32_t absent[] = {1, 2, 65535, 65536, UINT32_MAX}; /* row 8 */
    for (size_t i = 0; i < ARRAY_SIZE(absent); i++) {
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, absent[i]);
        cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
        cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 0);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, 8);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_READY, 1);
        rig_reg_set(r, QUEUE_RESET, 1);
    }
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

/* Row 1: nothing of a queue can be changed once it is enabled. */
Test(mmio, a_live_queue_is_frozen)
{
    struct rig *r = up();
    const struct vq_config *q = vdev_queue_config(r->dev, 0);
    struct vq_config before = *q;
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, 2);
    for (uint32_t off = VIRTIO_MMIO_QUEUE_DESC_LOW; off <= VIRTIO_MMIO_QUEUE_USED_HIGH; off += 4)
        rig_reg_set(r, off, 0xfffffff0);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_READY, 1);
    cr_assert(memcmp(&before, q, sizeof(before)) == 0);
    rig_down(r);
}

static void bad_queue(uint32_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
    struct rig *r = up();
    to_features_ok(r);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, size);
    const uint64_t at[] = {desc, avail, used};
    for (uint32_t i = 0; i < 3; i++) {
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_DESC_LOW + 16 * i, (uint32_t)at[i]);
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_DESC_HIGH + 16 * i, (uint32_t)(at[i] >> 32));
    }
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_READY, 1);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 0);
    cr_assert(rig_needs_reset(r));
    rig_irqs(r);
    set_status(r, A | D | FOK | OK);
    rig_kick(r, 0);
    rig_settle(r);
    set_status(r, 0);
    cr_assert_eq(status(r), 0);
    rig_negotiate(r);
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

Test(mmio, bad_queues_are_refused) /* rows 1, 2, 7 */
{
    const uint64_t ok = 0x10000, end = 32 << 20;
    bad_queue(0, ok, ok, ok);
    bad_queue(3, ok, ok, ok);
    bad_queue(128, ok, ok, ok); /* above QueueSizeMax */
    bad_queue(65536 + 8, ok, ok, ok);
    bad_queue(8, ok + 8, ok, ok);
    bad_queue(8, ok, ok + 1, ok);
    bad_queue(8, ok, ok, ok + 2);
    bad_queue(8, end - 64, ok, ok);
    bad_queue(8, ok, end - 8, ok);
    bad_queue(8, ok, ok, end - 8);
    bad_queue(8, RIG_BASE, ok, ok);
    bad_queue(8, ok, UINT64_MAX - 1, ok);
}

Test(mmio, a_queue_is_not_programmed_before_its_time)
{
    struct rig *r = up();
    set_status(r, 0);
    set_status(r, A | D);
    rig_queue_up(r, 0);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 0);
    rig_down(r);
}

Test(mmio, nothing_is_consumed_before_driver_ok) /* 2.1.2 */
{
    struct rig *r = rig_up("rng", &(struct rig_options){.stop_before_driver_ok = true});
    struct rig_seg in = {rig_alloc(r, 16), 16};
    uint32_t id, len;
    rig_add(r, 0, NULL, 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert_not(rig_used(r, 0, &id, &len));
    cr_assert_eq(rig_irqs(r), 0);
    set_status(r, A | D | FOK | OK);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len), "and what was posted is found afterwards");
    rig_down(r);
}

Test(mmio, interrupt_status_stays_until_acknowledged)
{
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#03");
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#04");
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#05");
    struct rig *r = up();
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    struct rig_seg in = {rig_alloc(r, 16), 16};
    rig_add(r, 0, NULL, 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    rig_reg_set(r, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    vdev_config_changed(r->dev);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS), 3);
    rig_reg_set(r, VIRTIO_MMIO_INTERRUPT_ACK, 1);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 1);
    set_status(r, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 0);
    rig_down(r);
}

static bool reads_anything(struct rig *r)
{
    struct rig_seg in = {rig_alloc(r, 16), 16};
    uint32_t id, len;
    rig_add(r, 0, NULL, 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    return rig_used(r, 0, &id, &len) || rig_irqs(r);
}

Test(mmio, a_queue_that_is_not_ready_is_not_touched)
{
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#07");
    struct rig *r = up();
    to_features_ok(r);
    r->regs->queue_size(r, 0, r->q[0].size);
    r->regs->queue_areas(r, 0, r->q[0].desc.v, r->q[0].avail.v, r->q[0].used.v);
    set_status(r, A | D | FOK | OK);
    cr_assert_not(reads_anything(r), "all of it is there, but QueueReady");
    rig_negotiate(r);
    cr_assert(reads_anything(r));
    rig_irqs(r);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_READY, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 0);
    cr_assert_not(reads_anything(r), "it was ready");
    rig_down(r);
}

Test(mmio, queue_reset_reads_0_when_it_can_be_read)
{
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#08");
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#09");
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#10");
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#12");
    struct rig *r = up();
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    cr_assert_eq(rig_reg(r, QUEUE_RESET), 0, "it is enabled");
    rig_reg_set(r, QUEUE_RESET, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 1, "only 1 does it");
    rig_reg_set(r, QUEUE_RESET, 1);
    cr_assert_eq(rig_reg(r, QUEUE_RESET), 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 0);
    cr_assert_not(reads_anything(r));
    rig_queue_up(r, 0);
    cr_assert_eq(rig_reg(r, QUEUE_RESET), 0);
    cr_assert(reads_anything(r));
    rig_reg_set(r, QUEUE_RESET, 1);
    set_status(r, 0);
    cr_assert_eq(rig_reg(r, QUEUE_RESET), 0);
    rig_down(r);
}

Test(mmio, each_half_of_an_address)
{
    struct rig *r = up();
    const struct vq_config *c = vdev_queue_config(r->dev, 0);
    to_features_ok(r);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    for (uint32_t i = 0; i < 6; i++)
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_DESC_LOW + 16 * (i / 2) + 4 * (i % 2), 0x11223341 + i);
    cr_assert_eq(c->desc.v, 0x1122334211223341);
    cr_assert_eq(c->driver.v, 0x1122334411223343);
    cr_assert_eq(c->device.v, 0x1122334611223345);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_AVAIL_LOW, 1);
    cr_assert_eq(c->driver.v, 0x1122334400000001);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
    cr_assert_eq(c->driver.v, 1);
    for (uint32_t size = 1; size <= 0x100000; size *= 2) {
        rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, size);
        cr_assert_eq(c->size, MIN(size, 0xffffu));
    }
    rig_down(r);
}

/* 2.13: administration virtqueues are PCI's alone. */
Test(mmio, no_administration_virtqueue)
{
    const struct vdev_options v = {.admin_vq = true};
    struct rig *r = rig_up("rng", &(struct rig_options){.vdev = &v});
    cr_assert_not(rig_has(r, VDEV_F_ADMIN_VQ));
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 1);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    rig_down(r);
}

enum { STATE_VERSION = 2, REGISTERS = 7 };

/* What the transport saves of a device with one queue: all of its registers. */
static void saved_registers(struct rig *r, uint32_t reg[REGISTERS])
{
    struct state_out s = rig_save(r);
    struct state_in in = {.buf = s.buf, .len = s.len};
    uint32_t version;
    cr_assert_eq(state_open(&in, "MMIO", STATE_VERSION, &version), 0);
    cr_assert_eq(version, STATE_VERSION);
    for (unsigned i = 0; i < REGISTERS; i++)
        reg[i] = state_get_u32(&in);
    cr_assert_eq(state_close(&in), 0);
    state_out_free(&s);
}

static void fill_registers(struct rig *r)
{
    static const uint32_t at[] = {VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_MMIO_DRIVER_FEATURES_SEL,
                                  VIRTIO_MMIO_QUEUE_SEL, VIRTIO_MMIO_SHM_SEL};
    vdev_config_changed(r->dev);
    for (unsigned i = 0; i < ARRAY_SIZE(at); i++)
        rig_reg_set(r, at[i], 0x11111111 * (i + 1));
}

Test(mmio, registers_have_another_life)
{
    static const uint32_t expected[] = {2, 0x11111111, 0x22222222, 0x33333333, 0x44444444, 0, 0};
    uint32_t reg[REGISTERS];
    struct rig *r = up();
    fill_registers(r);
    rig_save_and_load(r);
    saved_registers(r, reg);
    cr_assert_arr_eq(reg, expected, sizeof(reg));
    transport_reset(r->transport);
    saved_registers(r, reg);
    for (unsigned i = 0; i < REGISTERS; i++)
        cr_assert_eq(reg[i], 0, "register %u after a reset", i);
    rig_down(r);
}

/* Registers that are read and then found to be too few, or too many. */
Test(mmio, registers_that_are_refused)
{
    for (unsigned n = 0; n < 2 * REGISTERS; n++) {
        struct rig *r = up();
        uint32_t reg[REGISTERS];
        struct state_out s = {0};
        state_begin(&s, "MMIO", STATE_VERSION);
        for (unsigned i = 0; i < n; i++)
            state_u32(&s, 3);
        state_end(&s);
        cr_assert_neq(rig_load(r, s.buf, s.len), 0);
        state_out_free(&s);
        saved_registers(r, reg);
        for (unsigned i = 0; i < REGISTERS; i++)
            cr_assert_eq(reg[i], 0, "register %u of %u", i, n);
        rig_down(r);
    }
}

Test(mmio, legacy_registers_have_another_life)
{
    uint32_t reg[REGISTERS];
    struct rig *r = rig_up("rng", &(struct rig_options){.transport = RIG_MMIO_LEGACY});
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_VERSION), 1);
    rig_reg_set(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
    cr_assert_neq(rig_reg(r, VIRTIO_MMIO_DEVICE_FEATURES), 0);
    rig_reg_set(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_DEVICE_FEATURES), 0, "there is one word");
    rig_reg_set(r, VIRTIO_MMIO_GUEST_PAGE_SIZE, 1024);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 0);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_ALIGN, 2048);
    rig_save_and_load(r);
    saved_registers(r, reg);
    cr_assert_eq(reg[5], 1024);
    cr_assert_eq(reg[6], 2048);
    transport_reset(r->transport);
    saved_registers(r, reg);
    cr_assert(reg[5] == 0 && reg[6] == 0);
    rig_down(r);
}

Test(mmio, shared_memory_regions)
{
    struct rig *r = up();
    gpa_t base;
    uint64_t len;
    cr_assert_not(vdev_shm(r->dev, 3, &base, &len));
    cr_assert_eq(vdev_add_shm(r->dev, 3, (void *)4096, 0x1122334000), 0);
    cr_assert_not(vdev_shm(r->dev, 3, &base, &len), "it is nowhere yet");
    vdev_shm_place(r->dev, 0, true, GPA(0x123456789000));
    rig_reg_set(r, VIRTIO_MMIO_SHM_SEL, 3);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_SHM_LEN_LOW), 0x22334000);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_SHM_LEN_HIGH), 0x11);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_SHM_BASE_LOW), 0x56789000);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_SHM_BASE_HIGH), 0x1234);
    rig_reg_set(r, VIRTIO_MMIO_SHM_SEL, 0x100 + 3); /* an id has eight bits; this is none */
    for (uint32_t off = VIRTIO_MMIO_SHM_LEN_LOW; off <= VIRTIO_MMIO_SHM_BASE_HIGH; off += 4)
        cr_assert_eq(rig_reg(r, off), UINT32_MAX);
    vdev_shm_place(r->dev, 0, false, GPA(0));
    rig_down(r);
}

Test(mmio, odd_accesses_do_nothing) /* row 12 */
{
    struct rig *r = up();
    const unsigned sizes[] = {1, 2, 4, 8};
    for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
        for (uint64_t off = 0; off < 0x1000 - 8; off++) {
            uint64_t v = UINT64_MAX;
            bool proper = sizes[s] == 4 && off % 4 == 0;
            if (!proper)
                (void)bus_access(r->bus, GPA(RIG_BASE + off), sizes[s], true, &v);
            (void)bus_access(r->bus, GPA(RIG_BASE + off), sizes[s], false, &v);
            if (!proper || off >= 0x100)
                cr_assert_eq(v, 0, "offset %#lx size %u", (unsigned long)off, sizes[s]);
        }
    }
    cr_assert_eq(status(r), A | D | FOK | OK);
    rig_down(r);
}

Test(mmio, every_register_survives_every_value) /* a fuzzer's first minute, deterministic */
{
    struct rig *r = up();
    uint32_t seed = 1;
    for (unsigned i = 0; i < 200000; i++) {
        seed = seed * 1664525 + 1013904223;
        uint32_t off = (seed >> 8) % 0x140 & ~3u;
        seed = seed * 1664525 + 1013904223;
        uint32_t v = seed >> 30 ? seed >> (seed & 31) : seed;
        rig_reg_set(r, off, v);
        (void)rig_reg(r, off);
        if (i % 64 == 0)
            rig_settle(r);
    }
    rig_negotiate(r);
    struct rig_seg in = {rig_alloc(r, 16), 16};
    uint32_t id, len;
    rig_add(r, 0, NULL, 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    rig_down(r);
}

Test(rng, fills_what_it_is_given)
{
    struct rig *r = up();
    gpa_t a = rig_alloc(r, 1000);
    const struct rig_seg in[] = {{a, 300}, {GPA(a.v + 300), 700}};
    uint32_t id, len;
    rig_add(r, 0, NULL, 0, in, 2);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 1000);
    const uint8_t *p = rig_at(r, a, 1000);
    unsigned zeroes = 0;
    for (unsigned i = 0; i < 1000; i++)
        zeroes += p[i] == 0;
    cr_assert_lt(zeroes, 50, "about four are to be expected");
    rig_down(r);
}

TEST_EACH_WAY(ALL_WAYS, rng, a_giant_request_is_served_in_part)
{
    struct rig *r = up();
    HOLDS(r, "32a");
    struct rig_seg in = {GPA(0x100000), 8 << 20};
    uint32_t id, len;
    rig_add(r, 0, NULL, 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 65536);
    rig_down(r);
}

Test(rng, readable_buffers_come_back_empty)
{
    struct rig *r = up();
    struct rig_seg out = {rig_alloc(r, 16), 16};
    uint32_t id, len;
    rig_add(r, 0, &out, 1, NULL, 0);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert_eq(len, 0);
    rig_down(r);
}
