/* guest-tests/hostile_regs.c - attacks on a device's registers: status, features, selectors,
 * notifications, configuration (virtio 1.4, 2.1 to 2.5, 3.1). The same cases for every transport,
 * since two transports with two validators is how others had their bugs. */
#include "hostile.h"

enum {
    BEGIN = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
    FEATURES_OK = VIRTIO_CONFIG_S_FEATURES_OK,
    DRIVER_OK = VIRTIO_CONFIG_S_DRIVER_OK,
    ALL = BEGIN | FEATURES_OK | DRIVER_OK,
    CONFIG_SWEEP = 0x120, /* past the longest configuration there is */
};

static void set_status(struct target *t, uint32_t v)
{
    virtio_set(&t->dev, VR_STATUS, v);
}

static uint32_t status(const struct target *t)
{
    return virtio_get(&t->dev, VR_STATUS);
}

/* --- status --- */

/* A start that skips steps, then a kick: a device that is not ready touches nothing. */
static bool status_order(struct target *t, unsigned i)
{
    static const uint8_t steps[][4] = {
        {DRIVER_OK},
        {BEGIN | DRIVER_OK, DRIVER_OK},
        {FEATURES_OK, FEATURES_OK | DRIVER_OK},
        {VIRTIO_CONFIG_S_DRIVER, VIRTIO_CONFIG_S_DRIVER | FEATURES_OK, ALL},
        {VIRTIO_STATUS_SUSPEND, ALL | VIRTIO_STATUS_SUSPEND},
        {VIRTIO_CONFIG_S_NEEDS_RESET, ALL | VIRTIO_CONFIG_S_NEEDS_RESET},
        {VIRTIO_CONFIG_S_FAILED, ALL},
        {0xff, 0xff},
        {0x20, ALL | 0x20},
    };
    if (i == ARRAY_SIZE(steps))
        return false;
    virtio_reset(&t->dev);
    for (unsigned k = 0; k < ARRAY_SIZE(steps[0]) && steps[i][k]; k++)
        set_status(t, steps[i][k]);
    virtio_notify(&t->dev, t->queue);
    return true;
}

/* Bits may not be cleared one by one, nor set again: the device goes on. */
static bool status_live(struct target *t, unsigned i)
{
    static const uint8_t writes[] = {BEGIN,
                                     ALL & ~FEATURES_OK,
                                     ALL & ~DRIVER_OK,
                                     DRIVER_OK,
                                     FEATURES_OK,
                                     ALL,
                                     ALL | 0x20,
                                     1,
                                     VIRTIO_CONFIG_S_NEEDS_RESET,
                                     ALL & ~0x01,
                                     VIRTIO_STATUS_SUSPEND};
    if (i == ARRAY_SIZE(writes))
        return false;
    uint32_t before = status(t);
    set_status(t, writes[i]);
    CHECK_EQ(status(t), before);
    return true;
}

static bool status_failed(struct target *t, unsigned i)
{
    if (i)
        return false;
    set_status(t, ALL | VIRTIO_CONFIG_S_FAILED);
    set_status(t, ALL);
    t->submit(t);
    return true;
}

/* 3.4. While it is suspended everything is tried, and when it is resumed it goes on as it was. */
static bool suspend_games(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    if (i >= 6 || !virtio_has(v, VIRTIO_SUSPEND_BIT))
        return false;
    set_status(t, ALL | VIRTIO_STATUS_SUSPEND);
    CHECK_EQ(status(t), (ALL & ~DRIVER_OK) | VIRTIO_STATUS_SUSPEND);
    if (i == 1)
        set_status(t, ALL | VIRTIO_STATUS_SUSPEND); /* resumes and suspends in one write */
    if (i == 2) {
        virtio_set(v, VR_QUEUE_SEL, t->queue);
        virtio_set(v, VR_QUEUE_RESET, 1);
        virtio_set_area(v, VR_DESC, scratch);
        virtio_set(v, VR_QUEUE_SIZE, 1);
        virtio_set(v, VR_QUEUE_READY, 1);
    }
    if (i == 3) {
        for (unsigned k = 0; k < 16; k++)
            virtio_notify(v, t->queue);
    }
    if (i == 4) {
        for (unsigned off = 0; off < CONFIG_SWEEP; off += 4)
            virtio_config_write(v, off, 4, UINT32_MAX);
    }
    if (i == 5) {
        t->submit(t); /* waits in the ring until the end of it */
        set_status(t, ALL);
        CHECK(t->finish(t));
    }
    set_status(t, ALL);
    CHECK_EQ(status(t), ALL);
    return true;
}

static bool suspend_storm(struct target *t, unsigned i)
{
    if (i || !virtio_has(&t->dev, VIRTIO_SUSPEND_BIT))
        return false;
    for (unsigned k = 0; k < 50; k++) {
        leave_in_flight(t, k % 3);
        set_status(t, ALL | VIRTIO_STATUS_SUSPEND);
        set_status(t, ALL);
    }
    return true;
}

/* --- features --- */

static void negotiate(struct target *t, uint32_t word, uint32_t bits)
{
    uint64_t wanted = FEATURE(VIRTIO_F_VERSION_1);
    virtio_reset(&t->dev);
    set_status(t, BEGIN);
    for (unsigned k = 0; k < 2; k++) {
        virtio_set(&t->dev, VR_DRIVER_FEATURES_SEL, k);
        virtio_set(&t->dev, VR_DRIVER_FEATURES, (uint32_t)(wanted >> 32 * k));
    }
    virtio_set(&t->dev, VR_DRIVER_FEATURES_SEL, word);
    virtio_set(&t->dev, VR_DRIVER_FEATURES, bits | (word == 1 ? 1u : 0));
    set_status(t, BEGIN | FEATURES_OK);
    t->refused = !(status(t) & FEATURES_OK);
}

/* What was not offered is refused: all of a word's bits at once, and a few one by one. */
static bool features_unoffered(struct target *t, unsigned i)
{
    enum { WORDS = 4, EACH = 4 };
    if (i == WORDS * EACH)
        return false;
    uint32_t word = i / EACH;
    virtio_set(&t->dev, VR_DEVICE_FEATURES_SEL, word);
    uint32_t missing = ~virtio_get(&t->dev, VR_DEVICE_FEATURES);
    for (unsigned k = i % EACH; k > 0 && missing & (missing - 1); k--)
        missing &= missing - 1; /* without the lowest */
    negotiate(t, word, i % EACH ? missing & -missing : missing);
    return true;
}

/* Words that there are not take nothing. */
static bool features_beyond(struct target *t, unsigned i)
{
    static const uint32_t words[] = {4, 5, 31, 0x80000000, UINT32_MAX};
    if (i == ARRAY_SIZE(words))
        return false;
    virtio_set(&t->dev, VR_DEVICE_FEATURES_SEL, words[i]);
    CHECK_EQ(virtio_get(&t->dev, VR_DEVICE_FEATURES), 0);
    negotiate(t, words[i], UINT32_MAX);
    CHECK(!t->refused);
    return true;
}

static bool features_without_version_1(struct target *t, unsigned i)
{
    if (i)
        return false;
    negotiate(t, 1, 0);
    virtio_reset(&t->dev);
    set_status(t, BEGIN);
    set_status(t, BEGIN | FEATURES_OK);
    t->refused = !(status(t) & FEATURES_OK);
    return true;
}

static bool features_late(struct target *t, unsigned i)
{
    if (i >= 4)
        return false;
    virtio_set(&t->dev, VR_DRIVER_FEATURES_SEL, i);
    virtio_set(&t->dev, VR_DRIVER_FEATURES, i % 2 ? 0 : UINT32_MAX);
    return true;
}

/* A legacy driver cannot be refused: what is not offered is not there. */
static bool features_legacy(struct target *t, unsigned i)
{
    if (i)
        return false;
    virtio_reset(&t->dev);
    set_status(t, BEGIN);
    virtio_set(&t->dev, VR_DRIVER_FEATURES, UINT32_MAX);
    set_status(t, BEGIN | DRIVER_OK);
    virtio_set(&t->dev, VR_DRIVER_FEATURES, UINT32_MAX);
    return true;
}

/* --- selectors and notifications --- */

static const uint32_t strange_queues[] = {1,      2,      7,      64,         255,       1024,
                                          0x7fff, 0x8000, 0xffff, 0x80000000, UINT32_MAX};

static bool queue_select(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    if (i == ARRAY_SIZE(strange_queues))
        return false;
    if (virtio_is_pci(v) && (uint16_t)strange_queues[i] == t->queue)
        return true; /* the register has 16 bits, and these are a queue that there is */
    virtio_set(v, VR_QUEUE_SEL, strange_queues[i]);
    if (!virtio_is_legacy(v)) {
        CHECK_EQ(virtio_get(v, VR_QUEUE_MAX), 0);
        CHECK_EQ(virtio_get(v, VR_QUEUE_READY), 0);
    }
    for (enum virtio_reg r = VR_QUEUE_MAX; r < VR_STATUS; r++) {
        (void)virtio_get(v, r);
        virtio_set(v, r, UINT32_MAX);
        virtio_set(v, r, 1);
        virtio_set(v, r, 0);
    }
    (void)virtio_get(v, VR_QUEUE_VECTOR);
    virtio_set(v, VR_QUEUE_VECTOR, 0);
    if (v->kind == VIRTIO_PCI)
        CHECK_EQ(virtio_get(v, VR_QUEUE_VECTOR), VIRTIO_NO_VECTOR);
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    return true;
}

static bool notify_range(struct target *t, unsigned i)
{
    const struct virtio *v = &t->dev;
    if (i == ARRAY_SIZE(strange_queues))
        return false;
    if (v->kind == VIRTIO_PCI) {
        uint32_t most = 0x1000 / v->notify_multiplier; /* the structure's page */
        mmio_write16(v->notify + (uint64_t)v->notify_multiplier * (strange_queues[i] % most), 0);
        mmio_write32(v->notify, strange_queues[i]);
        mmio_write64(v->notify + 1, strange_queues[i]);
    } else {
        virtio_notify(v, strange_queues[i]);
    }
    return true;
}

static bool notify_storm(struct target *t, unsigned i)
{
    if (i)
        return false;
    for (unsigned k = 0; k < 2000; k++)
        virtio_notify(&t->dev, t->queue);
    return true;
}

/* --- device configuration --- */

static bool config_sweep(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    unsigned size = 1u << i, last = CONFIG_SWEEP;
    if (v->kind == VIRTIO_PCI_LEGACY) /* behind the BAR is another's */
        last = run_is & ON_BLK ? 0x60 : 8;
    if (size > (v->kind == VIRTIO_PCI_LEGACY ? 4 : 8) || (v->kind == VIRTIO_PCI && !v->config))
        return false;
    for (unsigned off = 0; off < last; off++) {
        uint64_t was = virtio_config_read(v, off, size);
        virtio_config_write(v, off, size, UINT64_MAX);
        virtio_config_write(v, off, size, was);
    }
    return true;
}

/* The end of the window, and across it. */
static bool window_end(struct target *t, unsigned i)
{
    uint64_t end = (t->dev.config & ~0xfffull) + 0x1000;
    if (i >= 8 || !t->dev.config)
        return false;
    mmio_write64(end - i, UINT64_MAX);
    (void)mmio_read64(end - i);
    (void)mmio_read32(end - i % 4);
    return true;
}

/* Strings of accesses by one instruction: the whole structure read, and its selectors written. */
static bool strings(struct target *t, unsigned i)
{
    uint64_t base = t->dev.base & ~0xfffull;
    const void *from = (const void *)base;
    void *to = (void *)scratch;
    size_t n = 0x400;
    if (i >= 4 || t->dev.kind == VIRTIO_PCI_LEGACY)
        return false;
    if (i == 0)
        __asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
    if (i == 1)
        __asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
    if (i == 2)
        __asm__ volatile("rep movsq" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
    to = (void *)base;
    if (i == 3) /* resets it on the way */
        __asm__ volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(0) : "memory");
    return true;
}

static bool reset_storm(struct target *t, unsigned i)
{
    if (i)
        return false;
    for (unsigned k = 0; k < 300; k++)
        set_status(t, 0);
    return true;
}

const struct attack register_attacks[] = {
    {"status-order", status_order, .spoils = true, .rows = "13b"},
    {"status-live", status_live, .only = ON_MODERN, .expect = PASSES, .rows = "13b"},
    {"status-failed", status_failed, .spoils = true},
    {"suspend-games", suspend_games, .only = ON_MODERN, .expect = PASSES},
    {"suspend-storm", suspend_storm, .only = ON_MODERN | ON_BLK, .expect = PASSES, .spoils = true},
    {"features-unoffered", features_unoffered, .only = ON_MODERN, .expect = REJECTS, .rows = "15"},
    {"features-beyond", features_beyond, .only = ON_MODERN, .expect = PASSES, .spoils = true,
     .rows = "15"},
    {"features-no-version-1", features_without_version_1, .only = ON_MODERN, .expect = REJECTS},
    {"features-late", features_late, .only = ON_MODERN, .expect = PASSES},
    {"features-legacy", features_legacy, .only = ON_LEGACY, .expect = PASSES, .spoils = true,
     .rows = "15"},
    {"queue-select", queue_select, .expect = PASSES, .rows = "8"},
    {"notify-range", notify_range, .expect = PASSES, .rows = "8"},
    {"notify-storm", notify_storm, .expect = PASSES},
    {"config-sweep", config_sweep, .expect = PASSES, .rows = "12a 12b"},
    {"window-end", window_end, .expect = PASSES, .rows = "12b"},
    {"strings", strings, .spoils = true, .rows = "12c"},
    {"reset-storm", reset_storm, .expect = PASSES, .spoils = true},
    {.name = NULL},
};
