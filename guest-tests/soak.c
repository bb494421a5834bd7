/* guest-tests/soak.c - a guest that never rests: it writes, reads back and flushes, takes random
 * bytes, resets its devices in the middle of that, and after so many rounds resets the machine, by
 * each way in turn; until it has lived `lives=` times, or the disk's first sector says "stop".
 *
 * The clock's memory survives a reset: it counts the lives, for tools/soak to see. */
#include <linux/virtio_blk.h>

#include "lib/virtio.h"

enum {
    SECTOR = 512,
    BATCH = 8,
    QUEUE = 64,
    FIRST = 8,
    BYTES = 4096,
    ROUNDS = 6, /* of a life; in each third one requests are in flight when the device is reset */
    CMOS_LIVES = 0x60, /* two bytes */
};

struct request {
    struct virtio_blk_outhdr header;
    uint8_t status;
};

static struct virtio disk, rng;
static struct ring ring, bytes_ring;
static struct request requests[BATCH + 1];
static uint64_t *data[BATCH];
static uint64_t sectors;
static bool has_rng;

static void submit(unsigned i, uint32_t type, uint64_t sector, uint32_t len)
{
    struct request *r = &requests[i];
    r->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
    r->status = 0xff;
    struct seg s[3] = {{.at = &r->header, .len = sizeof(r->header)}};
    unsigned n = 1;
    if (len)
        s[n++] = (struct seg){.at = data[i], .len = len, .writable = type == VIRTIO_BLK_T_IN};
    s[n++] = (struct seg){.at = &r->status, .len = 1, .writable = true};
    if (ring_add(&ring, s, n) < 0)
        end_fail("no room in the queue");
}

static void await(unsigned n)
{
    uint16_t head;
    uint32_t len;
    ring_kick(&ring);
    for (; n > 0; n--) {
        if (!WAIT_FOR(ring_take(&ring, &head, &len)))
            end_fail("%u requests do not complete", n);
    }
}

static void disk_up(void)
{
    virtio_begin(&disk, FEATURE(VIRTIO_BLK_F_FLUSH));
    ring_start(&ring, &disk, 0, QUEUE);
    virtio_go(&disk);
    ring_quiet(&ring, true);
}

static uint64_t place(unsigned life, unsigned round, unsigned i)
{
    uint64_t slots = (sectors - FIRST) / (BYTES / SECTOR);
    return FIRST + (life * 977ull + round * 31 + i) % slots * (BYTES / SECTOR);
}

static void write_and_read(unsigned life, unsigned round)
{
    for (unsigned i = 0; i < BATCH; i++) {
        data[i][0] = data[i][BYTES / 8 - 1] = (uint64_t)life << 32 | round << 8 | i;
        submit(i, VIRTIO_BLK_T_OUT, place(life, round, i), BYTES);
    }
    await(BATCH);
    submit(BATCH, VIRTIO_BLK_T_FLUSH, 0, 0);
    await(1);
    for (unsigned i = 0; i < BATCH; i++) {
        CHECK_EQ(requests[i].status, VIRTIO_BLK_S_OK);
        data[i][0] = data[i][BYTES / 8 - 1] = 0;
        submit(i, VIRTIO_BLK_T_IN, place(life, round, i), BYTES);
    }
    await(BATCH);
    CHECK_EQ(requests[BATCH].status, VIRTIO_BLK_S_OK);
    for (unsigned i = 0; i < BATCH; i++) {
        CHECK_EQ(data[i][0], (uint64_t)life << 32 | round << 8 | i);
        CHECK_EQ(data[i][BYTES / 8 - 1], data[i][0]);
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
        submit(i, VIRTIO_BLK_T_IN, place(life, round, i), BYTES);
    ring_kick(&ring);
    virtio_reset(&disk);
    disk_up();
}

static bool told_to_stop(void)
{
    submit(0, VIRTIO_BLK_T_IN, 0, SECTOR);
    await(1);
    return memcmp(data[0], "stop", 4) == 0;
}

static _Noreturn void reset_machine(unsigned life)
{
    for (unsigned i = 0; i < BATCH; i++) /* some of it is under way */
        submit(i, VIRTIO_BLK_T_OUT, place(life, ROUNDS, i), BYTES);
    ring_kick(&ring);
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
    virtio_find(VIRTIO_ID_BLOCK, &disk);
    disk_up();
    sectors = virtio_config_read(&disk, 0, 8);
    has_rng = arg_is("rng", "yes");
    if (has_rng) {
        virtio_find(VIRTIO_ID_RNG, &rng);
        virtio_begin(&rng, 0);
        ring_start(&bytes_ring, &rng, 0, QUEUE);
        virtio_go(&rng);
        ring_quiet(&bytes_ring, true);
    }
    for (unsigned i = 0; i < BATCH; i++)
        data[i] = pages(BYTES / 4096);
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
