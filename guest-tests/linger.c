/* guest-tests/linger.c - a guest that stays: it counts, and does what the host asks of it through a
 * balloon and memory to be plugged, and takes what is typed, until the first sector of the disk
 * says "stop". tests/api/ looks at it from outside. */
#include <linux/virtio_balloon.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_mem.h>

#include "lib/virtio.h"

enum { SIZE = 16, SECTOR = 512, ANNOUNCE = 4, PAGE_SHIFT = 12 };

static struct virtio disk, balloon, memory, console;
static struct ring disk_ring, inflate, requests, typed;

static void ask(struct ring *r, const struct seg *s, unsigned n)
{
    uint16_t head;
    uint32_t len;
    CHECK(ring_add(r, s, n) >= 0);
    ring_kick(r);
    if (!WAIT_FOR(ring_take(r, &head, &len)))
        end_fail("no answer");
}

static bool told_to_stop(void)
{
    static struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_IN};
    static char sector[SECTOR];
    static uint8_t status = 0xff;
    const struct seg s[] = {{.at = &header, .len = sizeof(header)},
                            {.at = sector, .len = SECTOR, .writable = true},
                            {.at = &status, .len = 1, .writable = true}};
    ask(&disk_ring, s, ARRAY_SIZE(s));
    CHECK_EQ(status, VIRTIO_BLK_S_OK);
    return memcmp(sector, "stop", 4) == 0;
}

/* All pages that are asked for are one and the same: here it is the number that counts. */
static void follow_balloon(void)
{
    static uint32_t page = 0x3000000 >> PAGE_SHIFT;
    enum { NUM_PAGES = 0, ACTUAL = 4 };
    uint64_t want = virtio_config_read(&balloon, NUM_PAGES, 4);
    uint64_t have = virtio_config_read(&balloon, ACTUAL, 4);
    if (want > have) {
        const struct seg s[] = {{.at = &page, .len = sizeof(page)}};
        ask(&inflate, s, 1);
    }
    if (want != have)
        virtio_config_write(&balloon, ACTUAL, 4, want);
}

static void follow_memory(void)
{
    static struct virtio_mem_req req;
    static struct virtio_mem_resp resp;
    uint64_t block = virtio_config_read(&memory, 0, 8), at = virtio_config_read(&memory, 16, 8);
    uint64_t plugged = virtio_config_read(&memory, 40, 8);
    uint64_t requested = virtio_config_read(&memory, 48, 8);
    if (plugged == requested)
        return;
    bool plug = plugged < requested;
    req.type = plug ? VIRTIO_MEM_REQ_PLUG : VIRTIO_MEM_REQ_UNPLUG;
    req.u.plug.addr = plug ? at + plugged : at + plugged - block;
    req.u.plug.nb_blocks = 1;
    const struct seg s[] = {{.at = &req, .len = sizeof(req)},
                            {.at = &resp, .len = sizeof(resp), .writable = true}};
    ask(&requests, s, ARRAY_SIZE(s));
    CHECK_EQ(resp.type, VIRTIO_MEM_RESP_ACK);
}

/* Always one buffer that waits. */
static void listen(bool first)
{
    static char line[64];
    const struct seg s[] = {{.at = line, .len = sizeof(line), .writable = true}};
    uint16_t head;
    uint32_t len;
    if (!first && !ring_take(&typed, &head, &len))
        return;
    CHECK(ring_add(&typed, s, ARRAY_SIZE(s)) >= 0);
    ring_kick(&typed);
}

void guest_main(void)
{
    virtio_find(VIRTIO_ID_BLOCK, &disk);
    virtio_begin(&disk, 0);
    ring_start(&disk_ring, &disk, 0, SIZE);
    virtio_go(&disk);
    virtio_find(VIRTIO_ID_BALLOON, &balloon);
    virtio_begin(&balloon, 0);
    ring_start(&inflate, &balloon, 0, SIZE);
    virtio_go(&balloon);
    virtio_find(VIRTIO_ID_MEM, &memory);
    virtio_begin(&memory, FEATURE(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE));
    ring_start(&requests, &memory, 0, SIZE);
    virtio_go(&memory);
    virtio_find(VIRTIO_ID_CONSOLE, &console);
    virtio_begin(&console, 0);
    ring_start(&typed, &console, 0, SIZE);
    virtio_go(&console);
    listen(true);
    out("linger: here\n");
    while (!told_to_stop()) {
        follow_balloon();
        follow_memory();
        listen(false);
    }
    end();
}
