/* guest-tests/soak.c - a guest that never rests: it writes, reads back and flushes, takes random
 * bytes, resets its devices in the middle of that, and after so many rounds resets the machine, by
 * each way in turn; until it has lived `lives=` times, or the disk's first sector says "stop".
 *
 * The clock's memory survives a reset: it counts the lives, for tools/soak to see. */
#include "lib/disk.h"

enum {
    BATCH = DISK_REQUESTS - 1,
    QUEUE = 64,
    FIRST = 8,
    BYTES = DISK_BYTES,
    LAST = BYTES / 8 - 1,
    ROUNDS = 6, /* of a life; in each third one requests are in flight when the device is reset */
    CMOS_LIVES = 0x60, /* two bytes */
};

static struct virtio rng;
static struct ring bytes_ring;
static uint64_t sectors;
static bool has_rng;

static uint64_t place(unsigned life, unsigned round, unsigned i)
{
    uint64_t slots = (sectors - FIRST) / (BYTES / SECTOR);
    return FIRST + (life * 977ull + round * 31 + i) % slots * (BYTES / SECTOR);
}

static void write_and_read(unsigned life, unsigned round)
{
    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t *data = disk_requests[i].data;
        data[0] = data[LAST] = (uint64_t)life << 32 | round << 8 | i;
        disk_submit(i, VIRTIO_BLK_T_OUT, place(life, round, i), BYTES);
    }
    disk_await(BATCH);
    disk_submit(BATCH, VIRTIO_BLK_T_FLUSH, 0, 0);
    disk_await(1);
    for (unsigned i = 0; i < BATCH; i++) {
        CHECK_EQ(disk_requests[i].status, VIRTIO_BLK_S_OK);
        disk_requests[i].data[0] = disk_requests[i].data[LAST] = 0;
        disk_submit(i, VIRTIO_BLK_T_IN, place(life, round, i), BYTES);
    }
    disk_await(BATCH);
    CHECK_EQ(disk_requests[BATCH].status, VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < BATCH; i++) {
        CHECK_EQ(disk_requests[i].data[0], (uint64_t)life << 32 | round << 8 | i);
        CHECK_EQ(disk_requests[i].data[LAST], disk_requests[i].data[0]);
    }
}

static void take_bytes(void)
{
    static uint64_t random[8];
    const struct seg s = {.at = random, .len = sizeof(random), .writable = true};
    uint16_t head;
    uint32_t len;
    if (!has_rng)
        return;
    CHECK(ring_add(&bytes_ring, &s, 1) >= 0);
    ring_kick(&bytes_ring);
    if (!WAIT_FOR(ring_take(&bytes_ring, &head, &len)))
        end_fail("no random bytes");
}

static void reset_in_flight(unsigned life, unsigned round)
{
    for (unsigned i = 0; i < BATCH; i++)
        disk_submit(i, VIRTIO_BLK_T_IN, place(life, round, i), BYTES);
    disk_kick();
    virtio_reset(&disk);
    disk_up(true);
}

static bool told_to_stop(void)
{
    disk_submit(0, VIRTIO_BLK_T_IN, 0, SECTOR);
    disk_await(1);
    return memcmp(disk_requests[0].data, "stop", 4) == 0;
}

static _Noreturn void reset_machine(unsigned life)
{
    for (unsigned i = 0; i < BATCH; i++) /* some of it is under way */
        disk_submit(i, VIRTIO_BLK_T_OUT, place(life, ROUNDS, i), BYTES);
    disk_kick();
    if (life % 3 == 0)
        port_write8(PORT_RESET, RESET_VALUE);
    else if (life % 3 == 1)
        port_write8(PORT_I8042_COMMAND, I8042_PULSE_RESET);
    else
        mmio_write32(MMIO_SYSCON, SYSCON_RESET);
    end_fail("life %u goes on after its reset", life);
}

void guest_main(void)
{
    unsigned life = (cmos_read(CMOS_LIVES) | cmos_read(CMOS_LIVES + 1) << 8) + 1u;
    uint64_t lives = arg_number("lives", UINT64_MAX);
    cmos_write(CMOS_LIVES, (uint8_t)life);
    cmos_write(CMOS_LIVES + 1, (uint8_t)(life >> 8));
    sectors = disk_find(true);
    has_rng = arg_is("rng", "yes");
    if (has_rng) {
        virtio_find(VIRTIO_ID_RNG, &rng);
        virtio_begin(&rng, 0);
        ring_start(&bytes_ring, &rng, 0, QUEUE);
        virtio_go(&rng);
        ring_quiet(&bytes_ring, true);
    }
    bool stop = told_to_stop();
    for (unsigned round = 0; round < ROUNDS; round++) {
        write_and_read(life, round);
        take_bytes();
        if (round % 3 == 2)
            reset_in_flight(life, round);
    }
    out("soak: life %u\n", life);
    if (!stop && life < lives)
        reset_machine(life);
    end();
}
