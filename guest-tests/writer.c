/* guest-tests/writer.c - a guest that writes and flushes for ever, or `rounds=` times, and says
 * after each flush how far it has come: whatever happens to the VMM then, that much is on the disk.
 *
 * Round n writes BATCH blocks, whose places and bytes follow from n, so that
 * tests/faults/program.py knows them too. how=through: without flushes, since each write is to be
 * stable by itself. how=full: writes may fail, and are counted. */
#include <linux/virtio_blk.h>

#include "lib/virtio.h"

enum { SECTOR = 512, WORDS = SECTOR / 8, BLOCK = 8, BATCH = 8, FIRST = 8, QUEUE = 64 };
#define MAGIC 0x7265746972772d76ull

struct request {
    struct virtio_blk_outhdr header;
    uint8_t status;
};

static struct virtio disk;
static struct ring ring;
static struct request requests[BATCH + 1];
static uint64_t *data[BATCH];

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

static void submit(unsigned i, uint32_t type, uint64_t sector)
{
    struct request *r = &requests[i];
    r->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
    r->status = 0xff;
    struct seg s[3] = {{.at = &r->header, .len = sizeof(r->header)}};
    unsigned n = 1;
    if (type == VIRTIO_BLK_T_OUT)
        s[n++] = (struct seg){.at = data[i], .len = BLOCK * SECTOR};
    s[n++] = (struct seg){.at = &r->status, .len = 1, .writable = true};
    if (ring_add(&ring, s, n) < 0)
        end_fail("no room in the queue");
}

static void await(unsigned n)
{
    uint16_t head;
    uint32_t len;
    ring_kick(&ring);
    while (n > 0) {
        if (!WAIT_FOR(ring_take(&ring, &head, &len)))
            end_fail("%u requests do not complete", n);
        n--;
    }
}

/* How many of its writes failed. */
static unsigned write_round(uint64_t n, uint64_t blocks)
{
    unsigned failed = 0;
    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t sector = FIRST + mix(n, i) % blocks * BLOCK;
        fill(data[i], sector, n);
        submit(i, VIRTIO_BLK_T_OUT, sector);
    }
    await(BATCH);
    for (unsigned i = 0; i < BATCH; i++)
        failed += requests[i].status != VIRTIO_BLK_S_OK;
    return failed;
}

void guest_main(void)
{
    uint64_t rounds = arg_number("rounds", UINT64_MAX), failed = 0;
    bool flushes = !arg_is("how", "through");
    virtio_find(VIRTIO_ID_BLOCK, &disk);
    virtio_begin(&disk, flushes ? FEATURE(VIRTIO_BLK_F_FLUSH) : 0);
    CHECK_EQ(virtio_has(&disk, VIRTIO_BLK_F_FLUSH), flushes);
    ring_start(&ring, &disk, 0, QUEUE);
    virtio_go(&disk);
    ring_quiet(&ring, true);
    uint64_t blocks = (virtio_config_read(&disk, 0, 8) - FIRST) / BLOCK;
    for (unsigned i = 0; i < BATCH; i++)
        data[i] = pages(BLOCK * SECTOR / 4096);
    out("writer: %lu blocks\n", blocks);
    for (uint64_t n = 1; n <= rounds; n++) {
        failed += write_round(n, blocks);
        if (failed && !arg_is("how", "full"))
            end_fail("a write failed in round %lu", n);
        if (flushes) {
            submit(BATCH, VIRTIO_BLK_T_FLUSH, 0);
            await(1);
            if (requests[BATCH].status != VIRTIO_BLK_S_OK)
                end_fail("a flush failed in round %lu", n);
        }
        out("flushed %lu\n", n);
    }
    out("writer: %lu writes failed\n", failed);
    end();
}
