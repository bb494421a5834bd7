/* guest-tests/lib/disk.h - requests of one disk, polled, for guests that need one to be worked and
 * not to be tested: what goes wrong ends the test. */
#pragma once

#include <linux/virtio_blk.h>

#include "virtio.h"

enum { SECTOR = 512, DISK_REQUESTS = 9, DISK_BYTES = 4096 };

struct disk_request {
    struct virtio_blk_outhdr header;
    uint8_t status;
    uint64_t *data; /* DISK_BYTES */
};
extern struct virtio disk;
extern struct disk_request disk_requests[DISK_REQUESTS];

/* The disk, with FLUSH or without it. Its size in sectors. */
uint64_t disk_find(bool flush);
/* Again, after a reset of the device. */
void disk_up(bool flush);
/* Makes request i available, with len bytes of its data. */
void disk_submit(unsigned i, uint32_t type, uint64_t sector, uint32_t len);
void disk_kick(void);
/* Notifies, and waits until n are done. */
void disk_await(unsigned n);
