/* tests/rig/blk_try.h - what the block device's tests share: a disk made for each test, requests as
 * Linux makes them, and a look at what the device asks of the host. */
#pragma once

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <stdio.h>

#include "tests/rig/rig.h"
#include "tests/rig/scratch.h"

enum { SECTORS = 2048, DISK = SECTORS * 512 };

static char path[SCRATCH_PATH];
static int disk = -1;

static inline void make_disk(size_t size)
{
    disk = scratch_new(path);
    for (size_t i = 0; i < size; i += 512) {
        uint8_t sector[512];
        memset(sector, (int)(i / 512), sizeof(sector));
        cr_assert_eq(write(disk, sector, MIN(size - i, sizeof(sector))),
                     (ssize_t)MIN(size - i, sizeof(sector)));
    }
}

static inline void remove_disk(void)
{
    close(disk);
    disk = -1;
}

static inline struct rig *up_with(const char *extra, const struct rig_options *o)
{
    char spec[128];
    make_disk(DISK);
    (void)snprintf(spec, sizeof(spec), "blk,%s%s", path, extra);
    return rig_up(spec, o);
}

static inline struct rig *up(void)
{
    return up_with("", NULL);
}

static inline void down(struct rig *r)
{
    rig_down(r);
    remove_disk();
}

/* --- what reaches the host --- */

/* Each file operation of the device comes through here: the linker sees to it (--wrap). */
static struct {
    unsigned n[LOOP_FALLOCATE + 1]; /* by enum loop_io_op */
    bool dsync;                     /* the last write was to be stable */
    bool hold_sync, fail_sync;
    struct loop_io *held;
} host;

void __real_loop_io(struct loop *l, struct loop_io *io);
void __wrap_loop_io(struct loop *l, struct loop_io *io);
void __wrap_loop_io(struct loop *l, struct loop_io *io)
{
    host.n[io->op]++;
    if (io->op == LOOP_WRITEV)
        host.dsync = io->dsync;
    if (io->op == LOOP_FDATASYNC && host.fail_sync)
        io->fd = -1;
    if (io->op == LOOP_FDATASYNC && host.hold_sync)
        host.held = io;
    else
        __real_loop_io(l, io);
}

/* --- one request --- */

/* In the framing that Linux uses; returns its status, or -1 if it did not come back. `data` is
 * copied out to the guest or back. */
static inline int request_on(struct rig *r, unsigned q, uint32_t type, uint64_t sector, void *data,
                             uint32_t len, bool in)
{
    const struct virtio_blk_outhdr h = {.type = type, .sector = sector};
    gpa_t hdr = rig_alloc(r, sizeof(h)), buf = rig_alloc(r, len + 1), st = rig_alloc(r, 1);
    memcpy(rig_at(r, hdr, sizeof(h)), &h, sizeof(h));
    *(uint8_t *)rig_at(r, st, 1) = 0xff;
    if (!in && len)
        memcpy(rig_at(r, buf, len), data, len);
    const struct rig_seg out[] = {{hdr, sizeof(h)}, {buf, len}}, ins[] = {{buf, len}, {st, 1}};
    uint32_t id, used;
    rig_add(r, q, out, !in && len ? 2 : 1, in && len ? ins : ins + 1, in && len ? 2 : 1);
    rig_kick(r, q);
    rig_settle(r);
    if (!rig_used(r, q, &id, &used))
        return -1;
    int status = *(uint8_t *)rig_at(r, st, 1);
    if (status == VIRTIO_BLK_S_OK)
        cr_assert_eq(used, in ? len + 1 : 1);
    if (in && len)
        memcpy(data, rig_at(r, buf, len), len);
    return status;
}

static inline int request(struct rig *r, uint32_t type, uint64_t sector, void *data, uint32_t len,
                          bool in)
{
    return request_on(r, 0, type, sector, data, len, in);
}

static inline struct virtio_blk_config config(struct rig *r)
{
    struct virtio_blk_config c;
    for (unsigned i = 0; i < sizeof(c); i++)
        ((uint8_t *)&c)[i] = (uint8_t)rig_config(r, i, 1);
    return c;
}

static inline void set_wce(struct rig *r, uint8_t v)
{
    rig_config_set(r, offsetof(struct virtio_blk_config, wce), 1, v);
}

static inline void file_bytes(uint64_t off, void *buf, size_t len)
{
    int fd = open(path, O_RDONLY);
    cr_assert_eq(pread(fd, buf, len, (off_t)off), (ssize_t)len);
    close(fd);
}
