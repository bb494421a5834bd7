/* tests/fuzz/requests.c - see requests.h. */
#include "tests/fuzz/requests.h"

#include "tests/fuzz/world.h"

#include <linux/fuse.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_vsock.h>

struct maker {
    struct script *s;
    const uint64_t *pool;
    struct request *q;
};

static void put(struct maker *m, uint64_t v, unsigned bytes)
{
    if (m->q->n_out + bytes <= REQUEST_OUT_MAX) {
        put_bytes(m->q->out + m->q->n_out, v, bytes);
        m->q->n_out += bytes;
    }
}

static void put_zeroes(struct maker *m, unsigned n)
{
    while (n-- > 0)
        put(m, 0, 1);
}

/* Words that mean something in many a protocol. */
static void put_tokens(struct maker *m)
{
    enum { END, POOL, NAME, SMALL16, SMALL32, SMALL64, ZEROES, RAW, ONES, MANY, TOKENS };
    static const char *const names[] = {"a", "d", "l", "b", "n", "m", "..", "user.x"};
    for (unsigned i = 0; i < 16; i++) {
        uint8_t t = take8(m->s), arg = t / TOKENS;
        const char *name = names[arg % ARRAY_SIZE(names)];
        switch (t % TOKENS) {
        case END:
            return;
        case POOL:
            put(m, m->pool[arg % REQUEST_POOL], 8);
            break;
        case NAME:
            for (size_t k = 0; k <= strlen(name); k++)
                put(m, (uint8_t)name[k], 1);
            break;
        case SMALL16:
            put(m, arg, 2);
            break;
        case SMALL32:
            put(m, arg, 4);
            break;
        case SMALL64:
            put(m, arg, 8);
            break;
        case ZEROES:
            put_zeroes(m, arg);
            break;
        case RAW:
            put(m, take(m->s, 1 + arg % 8), 1 + arg % 8);
            break;
        case ONES:
            put(m, UINT64_MAX, 1 + arg % 8);
            break;
        case MANY:
            put_zeroes(m, 64u * arg);
            break;
        }
    }
}

static uint32_t some_room(struct script *s)
{
    uint8_t n = take8(s);
    return n < 192 ? n : 512u << n % 8;
}

/* --- by class --- */

static void balloon(struct maker *m)
{
    m->q->queue = take8(m->s) % 5;
    put_tokens(m);
    m->q->n_in = m->q->queue >= 3 ? 4096 : 0;
}

static void blk(struct maker *m)
{
    static const uint8_t types[] = {VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
                                    VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
                                    VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
    put(m, types[take8(m->s) % ARRAY_SIZE(types)], 4);
    put(m, 0, 4);
    uint8_t sector = take8(m->s); /* near the beginning, or the end */
    put(m, sector < 128 ? sector : WORLD_FILE_LEN / 512 + 128 - sector, 8);
    put_tokens(m);
    m->q->n_in = take8(m->s) % 8 * 512u + 1;
}

static void console(struct maker *m)
{
    m->q->queue = take8(m->s) % 6;
    if (m->q->queue == 3) { /* control: port, event, value */
        put(m, take8(m->s) % 4, 4);
        put(m, take8(m->s) % 8, 2);
        put(m, take8(m->s) % 2, 2);
    } else if (m->q->queue % 2) {
        put_tokens(m);
    } else {
        m->q->n_in = some_room(m->s);
    }
}

static void fs(struct maker *m)
{
    uint8_t node = take8(m->s);
    m->q->queue = node & 0x40 ? 0 : 1;
    put(m, 0, 4); /* its length, at the end */
    put(m, take8(m->s) % 56, 4);
    put(m, 1 + node / 8, 8); /* unique */
    put(m, node & 1 ? m->pool[node / 2 % REQUEST_POOL] : FUSE_ROOT_ID, 8);
    put(m, node & 0x80 ? 1000 : 0, 4);
    put(m, 0, 4);
    put(m, 1, 4);
    put(m, 0, 4);
    put_tokens(m);
    put_bytes(m->q->out, m->q->n_out, 4);
    m->q->n_in = sizeof(struct fuse_out_header) + some_room(m->s);
}

static void mem(struct maker *m)
{
    put(m, take8(m->s) % 5, 2);
    put_zeroes(m, 6);
    put(m, 0x200000000 + take8(m->s) * MIB(1), 8);
    put(m, take8(m->s), 2);
    put_zeroes(m, 6);
    m->q->n_in = 10;
}

/* Two receive queues, two transmit queues between them, and control. */
static void net(struct maker *m)
{
    m->q->queue = take8(m->s) % 5;
    if (m->q->queue == 4) {
        put(m, take8(m->s) % 8, 1);
        put(m, take8(m->s) % 8, 1);
        put_tokens(m);
        m->q->n_in = 1 + some_room(m->s);
    } else if (m->q->queue % 2) {
        put(m, take8(m->s) % 8, 1); /* flags, kind of segmentation */
        put(m, take8(m->s) % 6, 1);
        put(m, take8(m->s), 2); /* lengths and offsets */
        put(m, take8(m->s), 2);
        put(m, take8(m->s), 2);
        put(m, take8(m->s), 2);
        put_zeroes(m, take8(m->s) % 2 ? 2 : 10); /* without and with a hash */
        put_tokens(m);
    } else {
        m->q->n_in = some_room(m->s);
    }
}

static void pmem(struct maker *m)
{
    put(m, take8(m->s) % 2, 4);
    m->q->n_in = some_room(m->s);
}

static void rng(struct maker *m)
{
    m->q->n_in = some_room(m->s);
}

static void rtc(struct maker *m)
{
    uint8_t what = take8(m->s);
    m->q->queue = what >> 7;
    if (m->q->queue == 0) {
        put(m, what & 8 ? 0x1000 + what % 8 : what % 4, 2);
        put_zeroes(m, 6);
        put(m, take8(m->s) % 4, 2); /* clock */
        put_tokens(m);
        put_zeroes(m, m->q->n_out < 24 ? 24 - m->q->n_out : 0);
    }
    m->q->n_in = 16 + take8(m->s) % 32;
}

static void put_lun(struct maker *m, uint8_t which)
{
    put(m, 1, 1);
    put(m, which % 4, 1);
    put(m, 0x40, 1);
    put_zeroes(m, 5);
}

static void scsi(struct maker *m)
{
    static const uint8_t ops[] = {0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2f, 0x35,
                                  0x41, 0x42, 0x43, 0x46, 0x4a, 0x5a, 0x88, 0x8a, 0x8f, 0x91, 0x93,
                                  0x9e, 0xa0, 0xa8, 0xaa, 0x08, 0x0a, 0xa3, 0x5e, 0x16, 0x7f};
    uint8_t how = take8(m->s);
    m->q->queue = how & 0x80 ? how % 2 : 2;
    if (m->q->queue == 0) {
        put(m, take8(m->s) % 4, 4);
        put(m, take8(m->s) % 9, 4);
        put_lun(m, how / 2);
        put(m, take8(m->s) % 8, 8);
        m->q->n_in = 1 + take8(m->s) % 8;
    } else if (m->q->queue == 1) {
        m->q->n_in = 16;
    } else {
        put_lun(m, how);
        put(m, how / 4 % 8, 8);
        put_zeroes(m, 3);
        uint8_t op = take8(m->s);
        put(m, ops[op % ARRAY_SIZE(ops)], 1);
        if (op & 0x80) { /* of the last blocks, in the form of ten bytes */
            put_zeroes(m, 3);
            put(m, WORLD_FILE_LEN / 512 / 256 - 1, 1);
            put(m, 255 - take8(m->s) % 4, 1);
            put_zeroes(m, 2);
            put(m, take8(m->s) % 8, 1);
        }
        put_tokens(m);
        put_zeroes(m, m->q->n_out < 51 ? 51 - m->q->n_out : 0);
        if (how & 0x20) /* data behind the command, of which some is as it should be */
            put_tokens(m);
        m->q->n_in = 108 + some_room(m->s);
    }
}

static void vsock(struct maker *m)
{
    uint8_t how = take8(m->s);
    m->q->queue = how % 4 < 3 ? 1 : how & 4 ? 0 : 2;
    if (m->q->queue != 1) {
        m->q->n_in = 64u << how / 8 % 8;
        return;
    }
    put(m, 3, 8); /* CIDs */
    put(m, 2, 8);
    put(m, how / 8 % 4, 4);                               /* the guest's port, */
    put(m, how & 0x20 ? m->pool[0] : take8(m->s) % 4, 4); /* the host's */
    put(m, 0, 4);                                         /* length, at the end */
    put(m, 1 + how / 128, 2);
    put(m, take8(m->s) % 9, 2); /* operation */
    put(m, take8(m->s) % 8, 4); /* flags */
    put(m, how & 0x40 ? take8(m->s) : 65536, 4);
    put(m, 0, 4);
    put_tokens(m);
    put_bytes(m->q->out + offsetof(struct virtio_vsock_hdr, len), m->q->n_out - 44, 4);
}

bool request_make(const char *class, struct script *s, const uint64_t pool[REQUEST_POOL],
                  struct request *out)
{
    static const struct {
        const char *class;
        void (*make)(struct maker *m);
    } rows[] = {{"balloon", balloon}, {"blk", blk},   {"console", console}, {"fs", fs},
                {"mem", mem},         {"net", net},   {"pmem", pmem},       {"rng", rng},
                {"rtc", rtc},         {"scsi", scsi}, {"vsock", vsock}};
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        struct maker m = {s, pool, out};
        if (strcmp(rows[i].class, class) != 0)
            continue;
        *out = (struct request){0};
        rows[i].make(&m);
        return true;
    }
    return false;
}
