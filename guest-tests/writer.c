/* guest-tests/writer.c - a guest that writes and flushes for ever, or `rounds=` times, and says
 * after each flush how far it has come: whatever happens to the VMM then, that much is on the disk.
 *
 * Round n writes BATCH blocks, whose places and bytes follow from n, so that
 * tests/faults/program.py knows them too. how=through: without flushes, since each write is to be
 * stable by itself. how=full: writes may fail, and are counted. */
#include "lib/disk.h"

enum { WORDS = SECTOR / 8, BLOCK = DISK_BYTES / SECTOR, BATCH = DISK_REQUESTS - 1, FIRST = 8 };
#define MAGIC 0x7265746972772d76ull

static uint64_t mix(uint64_t a, uint64_t b)
{
    uint64_t x = (a + 1) * 0x9e3779b97f4a7c15 ^ (b + 1) * 0xc2b2ae3d27d4eb4f;
    return x ^ x >> 29;
}

static void fill(uint64_t *p, uint64_t sector, uint64_t n)
{
    for (unsigned i = 0; i < BLOCK; i++, sector++, p += WORDS) {
        p[0] = MAGIC;
        p[1] = sector;
        p[2] = n;
        p[WORDS - 1] = mix(sector, n); /* what is between them stays 0 */
    }
}

/* How many of its writes failed. */
static unsigned write_round(uint64_t n, uint64_t blocks)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t sector = FIRST + mix(n, i) % blocks * BLOCK;
        fill(disk_requests[i].data, sector, n);
        disk_submit(i, VIRTIO_BLK_T_OUT, sector, DISK_BYTES);
    }
    disk_await(BATCH);
    for (unsigned i = 0; i < BATCH; i++)
        failed += disk_requests[i].status != VIRTIO_BLK_S_OK;
    return failed;
}

void guest_main(void)
{
    uint64_t rounds = arg_number("rounds", UINT64_MAX), failed = 0;
    bool flushes = !arg_is("how", "through");
    uint64_t blocks = (disk_find(flushes) - FIRST) / BLOCK;
    CHECK_EQ(virtio_has(&disk, VIRTIO_BLK_F_FLUSH), flushes);
    out("writer: %lu blocks\n", blocks);
    for (uint64_t n = 1; n <= rounds; n++) {
        failed += write_round(n, blocks);
        if (failed && !arg_is("how", "full"))
            end_fail("a write failed in round %lu", n);
        if (flushes) {
            disk_submit(BATCH, VIRTIO_BLK_T_FLUSH, 0, 0);
            disk_await(1);
            if (disk_requests[BATCH].status != VIRTIO_BLK_S_OK)
                end_fail("a flush failed in round %lu", n);
        }
        out("flushed %lu\n", n);
    }
    out("writer: %lu writes failed\n", failed);
    end();
}
