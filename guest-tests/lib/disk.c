/* guest-tests/lib/disk.c - see disk.h. */
#include "disk.h"

enum { QUEUE = 64 };

struct virtio disk;
struct disk_request disk_requests[DISK_REQUESTS];
static struct ring ring;

void disk_up(bool flush)
{
    virtio_begin(&disk, flush ? FEATURE(VIRTIO_BLK_F_FLUSH) : 0);
    ring_start(&ring, &disk, 0, QUEUE);
    virtio_go(&disk);
    ring_quiet(&ring, true);
}

uint64_t disk_find(bool flush)
{
    virtio_find(VIRTIO_ID_BLOCK, &disk);
    disk_up(flush);
    for (unsigned i = 0; i < DISK_REQUESTS; i++)
        disk_requests[i].data = pages(DISK_BYTES / 4096);
    return virtio_config_read(&disk, 0, 8);
}

void disk_submit(unsigned i, uint32_t type, uint64_t sector, uint32_t len)
{
    struct disk_request *r = &disk_requests[i];
    r->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
    r->status = 0xff;
    struct seg s[3] = {{.at = &r->header, .len = sizeof(r->header)}};
    unsigned n = 1;
    if (len)
        s[n++] = (struct seg){.at = r->data, .len = len, .writable = type == VIRTIO_BLK_T_IN};
    s[n++] = (struct seg){.at = &r->status, .len = 1, .writable = true};
    if (ring_add(&ring, s, n) < 0)
        end_fail("no room in the queue");
}

void disk_kick(void)
{
    ring_kick(&ring);
}

void disk_await(unsigned n)
{
    uint16_t head;
    uint32_t len;
    ring_kick(&ring);
    for (; n > 0; n--) {
        if (!WAIT_FOR(ring_take(&ring, &head, &len)))
            end_fail("%u requests do not complete", n);
    }
}
