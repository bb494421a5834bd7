/* guest-tests/hostile_flight.c - attacks while requests are under way: resets, queue resets, and
 * registers written in the middle (virtio 1.4, 2.1, 2.6.1). When a reset has been read back, no
 * buffer changes any more; each case holds that against the memory. */
#include "hostile.h"

enum { IN_FLIGHT = 8, FLIGHT_BYTES = 256 * 1024, STEP = 4096, MARK = 0x55 };

/* Ours again: marked, and nobody may wipe that off. */
static void mark(void)
{
    for (uint64_t at = scratch; at < scratch + IN_FLIGHT * FLIGHT_BYTES; at += STEP)
        *(volatile uint8_t *)at = MARK;
}

static void check_marks(void)
{
    unsigned gone = 0;
    for (uint64_t at = scratch; at < scratch + IN_FLIGHT * FLIGHT_BYTES; at += STEP)
        gone += *(volatile uint8_t *)at != MARK;
    CHECK_EQ(gone, 0);
}

static bool reset_in_flight(struct target *t, unsigned i)
{
    if (i == 10)
        return false;
    leave_in_flight(t, IN_FLIGHT);
    for (unsigned k = 0; k < i * 40; k++)
        cpu_pause();
    virtio_reset(&t->dev);
    mark();
    target_start(t);
    CHECK(target_works(t));
    check_marks();
    return true;
}

static bool queue_reset_in_flight(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    if (i == 10)
        return false;
    leave_in_flight(t, IN_FLIGHT);
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    virtio_set(v, VR_QUEUE_RESET, 1);
    CHECK(WAIT_FOR(virtio_get(v, VR_QUEUE_RESET) == 0));
    CHECK_EQ(virtio_get(v, VR_QUEUE_READY), 0);
    mark();
    virtio_notify(v, t->queue); /* nobody answers */
    virtio_set(v, VR_QUEUE_RESET, 1);
    ring_start(&t->ring, v, t->queue, i % 2 ? t->size : t->size / 2);
    ring_quiet(&t->ring, true);
    CHECK(target_works(t));
    check_marks();
    return true;
}

/* Row 5: everything about the queue is written while the device uses it. */
static bool program_in_flight(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    if (i == 5)
        return false;
    leave_in_flight(t, IN_FLIGHT);
    for (enum virtio_reg r = 0; r < VIRTIO_REGS; r++) {
        if (r == VR_STATUS || r == VR_QUEUE_RESET || r == VR_QUEUE_PFN ||
            (r == VR_QUEUE_READY && v->kind == VIRTIO_MMIO)) /* 0 takes it away: 4.2.2.2 */
            continue;
        virtio_set(v, r, (uint32_t)random_number());
    }
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    for (unsigned k = 0; k < IN_FLIGHT; k++) {
        uint16_t head;
        uint32_t len;
        CHECK(WAIT_FOR(ring_take(&t->ring, &head, &len)));
    }
    return true;
}

/* Legacy: page number 0 takes the queue away. */
static bool pfn_0_in_flight(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    if (i == 10)
        return false;
    leave_in_flight(t, IN_FLIGHT);
    virtio_set(v, VR_QUEUE_SEL, t->queue);
    virtio_set(v, VR_QUEUE_PFN, 0);
    CHECK_EQ(virtio_get(v, VR_QUEUE_PFN), 0);
    mark();
    virtio_notify(v, t->queue);
    ring_start(&t->ring, v, t->queue, t->size);
    ring_quiet(&t->ring, true);
    CHECK(target_works(t));
    check_marks();
    return true;
}

/* Taken away and given back without a word in between. */
static bool ready_storm(struct target *t, unsigned i)
{
    struct virtio *v = &t->dev;
    if (i || v->kind != VIRTIO_MMIO)
        return false;
    for (unsigned k = 0; k < 20; k++) {
        leave_in_flight(t, 2);
        virtio_set(v, VR_QUEUE_SEL, t->queue);
        virtio_set(v, VR_QUEUE_READY, 0);
        virtio_set(v, VR_QUEUE_READY, 1);
        virtio_notify(v, t->queue);
    }
    return true;
}

const struct attack flight_attacks[] = {
    {"reset-in-flight", reset_in_flight, .only = ON_BLK, .expect = PASSES, .rows = "27a"},
    {"queue-reset-in-flight", queue_reset_in_flight, .only = ON_BLK | ON_MODERN, .expect = PASSES,
     .rows = "27a"},
    {"program-in-flight", program_in_flight, .only = ON_BLK, .expect = PASSES, .rows = "1 5"},
    {"pfn-0-in-flight", pfn_0_in_flight, .only = ON_BLK | ON_LEGACY, .expect = PASSES,
     .rows = "27a"},
    {"ready-storm", ready_storm, .only = ON_BLK | ON_MODERN, .spoils = true, .rows = "5"},
    {.name = NULL},
};
