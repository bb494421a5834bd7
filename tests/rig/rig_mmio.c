/* tests/rig/rig_mmio.c - a driver's way to virtio-mmio, version 2 (virtio 1.4, 4.2.2) and version 1
 * (4.2.4). */
#include <linux/virtio_mmio.h>

#include "tests/rig/rig_priv.h"

enum { QUEUE_RESET = 0x0c0 }; /* newer than the UAPI header */

uint32_t rig_reg(struct rig *r, uint32_t off)
{
    uint64_t v = 0;
    cr_assert(bus_access(r->bus, GPA(RIG_BASE + off), 4, false, &v));
    return (uint32_t)v;
}

void rig_reg_set(struct rig *r, uint32_t off, uint32_t v)
{
    uint64_t wide = v;
    cr_assert(bus_access(r->bus, GPA(RIG_BASE + off), 4, true, &wide));
}

static void nothing(struct rig *r)
{
    (void)r;
}

static uint8_t status(struct rig *r)
{
    return (uint8_t)rig_reg(r, VIRTIO_MMIO_STATUS);
}

static void status_set(struct rig *r, uint8_t s)
{
    rig_reg_set(r, VIRTIO_MMIO_STATUS, s);
}

static uint32_t features(struct rig *r, uint32_t word)
{
    rig_reg_set(r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, word);
    return rig_reg(r, VIRTIO_MMIO_DEVICE_FEATURES);
}

static void accept(struct rig *r, uint32_t word, uint32_t bits)
{
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, bits);
}

static uint16_t queue_max(struct rig *r, uint32_t q)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    return (uint16_t)rig_reg(r, VIRTIO_MMIO_QUEUE_NUM_MAX);
}

static void queue_size(struct rig *r, uint32_t q, uint32_t size)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_NUM, size);
}

static void put_addr(struct rig *r, uint32_t low, uint64_t at)
{
    rig_reg_set(r, low, (uint32_t)at);
    rig_reg_set(r, low + 4, (uint32_t)(at >> 32));
}

static void queue_areas(struct rig *r, uint32_t q, uint64_t desc, uint64_t driver, uint64_t device)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    put_addr(r, VIRTIO_MMIO_QUEUE_DESC_LOW, desc);
    put_addr(r, VIRTIO_MMIO_QUEUE_AVAIL_LOW, driver);
    put_addr(r, VIRTIO_MMIO_QUEUE_USED_LOW, device);
}

static void queue_enable(struct rig *r, uint32_t q)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_READY, 1);
}

static bool queue_enabled(struct rig *r, uint32_t q)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    return rig_reg(r, VIRTIO_MMIO_QUEUE_READY);
}

static void queue_reset(struct rig *r, uint32_t q)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    rig_reg_set(r, QUEUE_RESET, 1);
}

static bool queue_resetting(struct rig *r, uint32_t q)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    return rig_reg(r, QUEUE_RESET);
}

static void notify(struct rig *r, uint32_t q, uint32_t value)
{
    (void)q;
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_NOTIFY, value);
}

static void config_read(struct rig *r, unsigned off, unsigned size, uint64_t *v)
{
    cr_assert(bus_access(r->bus, GPA(RIG_BASE + VIRTIO_MMIO_CONFIG + off), size, false, v));
}

static void config_write(struct rig *r, unsigned off, unsigned size, uint64_t v)
{
    cr_assert(bus_access(r->bus, GPA(RIG_BASE + VIRTIO_MMIO_CONFIG + off), size, true, &v));
}

static uint32_t generation(struct rig *r)
{
    return rig_reg(r, VIRTIO_MMIO_CONFIG_GENERATION);
}

static unsigned pending(struct rig *r)
{
    return rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS);
}

static unsigned acknowledge(struct rig *r)
{
    unsigned what = pending(r);
    rig_reg_set(r, VIRTIO_MMIO_INTERRUPT_ACK, what);
    return what;
}

static unsigned interrupts(struct rig *r)
{
    uint64_t n = 0;
    return read(r->irq_fd, &n, sizeof(n)) < 0 ? 0 : (unsigned)n;
}

const struct rig_regs rig_mmio_regs = {.up = nothing,
                                       .status = status,
                                       .status_set = status_set,
                                       .features = features,
                                       .accept = accept,
                                       .queue_max = queue_max,
                                       .queue_size = queue_size,
                                       .queue_areas = queue_areas,
                                       .queue_enable = queue_enable,
                                       .queue_enabled = queue_enabled,
                                       .queue_reset = queue_reset,
                                       .queue_resetting = queue_resetting,
                                       .notify = notify,
                                       .config_read = config_read,
                                       .config_write = config_write,
                                       .generation = generation,
                                       .pending = pending,
                                       .acknowledge = acknowledge,
                                       .interrupts = interrupts};

/* --- version 1 --- */

static void legacy_up(struct rig *r)
{
    rig_reg_set(r, VIRTIO_MMIO_GUEST_PAGE_SIZE, RIG_PAGE);
}

/* 4.2.4: one page number, and the rest by the layout. */
static void legacy_areas(struct rig *r, uint32_t q, uint64_t desc, uint64_t driver, uint64_t device)
{
    (void)driver, (void)device;
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_ALIGN, RIG_PAGE);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, (uint32_t)(desc / RIG_PAGE));
}

static void legacy_enable(struct rig *r, uint32_t q)
{
    (void)r, (void)q;
}

static bool legacy_enabled(struct rig *r, uint32_t q)
{
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, q);
    return rig_reg(r, VIRTIO_MMIO_QUEUE_PFN);
}

const struct rig_regs rig_mmio_legacy_regs = {.up = legacy_up,
                                              .status = status,
                                              .status_set = status_set,
                                              .features = features,
                                              .accept = accept,
                                              .queue_max = queue_max,
                                              .queue_size = queue_size,
                                              .queue_areas = legacy_areas,
                                              .queue_enable = legacy_enable,
                                              .queue_enabled = legacy_enabled,
                                              .notify = notify,
                                              .config_read = config_read,
                                              .config_write = config_write,
                                              .pending = pending,
                                              .acknowledge = acknowledge,
                                              .interrupts = interrupts};
