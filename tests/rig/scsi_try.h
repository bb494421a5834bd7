/* tests/rig/scsi_try.h - what the SCSI host's tests share: images made for each test, commands as
 * Linux makes them, and a hold on what the device asks of the host. */
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_scsi.h>
#include <stdarg.h>

#include "tests/rig/reported.h"
#include "tests/rig/rig.h"
#include "tests/rig/scratch.h"

enum { BLOCKS = 2048, BLOCK = 512, CD_BLOCKS = 64, CD_BLOCK = 2048, HEAD = 51, RESP = 108 };
enum { KEY_NOT_READY = 2, KEY_MEDIUM = 3, KEY_ILLEGAL = 5, KEY_ATTENTION = 6, KEY_PROTECT = 7 };

static char disk[SCRATCH_PATH], disc[SCRATCH_PATH];

/* Block n is full of n. It lasts as long as the test. */
static inline void make_image(char path[SCRATCH_PATH], unsigned blocks, unsigned block)
{
    int fd = scratch_new(path);
    uint8_t bytes[CD_BLOCK];
    for (unsigned i = 0; i < blocks; i++) {
        memset(bytes, (int)i, sizeof(bytes));
        cr_assert_eq(write(fd, bytes, block), (ssize_t)block);
    }
}

static inline void image_bytes(const char *path, uint64_t off, void *buf, size_t len)
{
    int fd = open(path, O_RDONLY);
    cr_assert_eq(pread(fd, buf, len, (off_t)off), (ssize_t)len);
    close(fd);
}

/* --- what reaches the host: the linker sees to it (--wrap) --- */

static struct {
    unsigned n[LOOP_FALLOCATE + 1]; /* by enum loop_io_op */
    bool dsync;                     /* the last write was to be stable */
    bool hold, no_allocate;
    int fail; /* an errno that everything ends with */
    struct loop_io *held[8];
    unsigned n_held;
} host;

void __real_loop_io(struct loop *l, struct loop_io *io);
void __wrap_loop_io(struct loop *l, struct loop_io *io);
void __wrap_loop_io(struct loop *l, struct loop_io *io)
{
    host.n[io->op]++;
    if (io->op == LOOP_WRITEV)
        host.dsync = io->dsync;
    if (host.hold && host.n_held < ARRAY_SIZE(host.held))
        host.held[host.n_held++] = io;
    else if (host.fail)
        io->done(io, -host.fail);
    else if (host.no_allocate && io->op == LOOP_FALLOCATE)
        io->done(io, -EOPNOTSUPP);
    else
        __real_loop_io(l, io);
}

static inline void let_go(struct rig *r)
{
    host.hold = false;
    for (unsigned i = 0; i < host.n_held; i++)
        __real_loop_io(r->loop, host.held[i]);
    host.n_held = 0;
    rig_settle(r);
}

/* --- commands --- */

struct cmd {
    uint8_t lun[8];
    uint8_t cdb[32];
    uint64_t id;
    const void *out; /* data for the device, */
    uint32_t out_len;
    uint32_t in_len; /* or room for its own */
    unsigned queue;  /* among the request queues */
    gpa_t at;
    uint16_t head;
    /* What came back. */
    uint32_t used, residual, sense_len;
    uint8_t status, response, key, asc, ascq;
    const uint8_t *sense, *in;
};

/* Of unit `lun` of `target`, with this CDB. */
static inline struct cmd cmd_of(unsigned target, unsigned lun, unsigned n, ...)
{
    struct cmd c = {.lun = {1, (uint8_t)target, (uint8_t)(0x40 | lun >> 8), (uint8_t)lun}};
    va_list ap;
    va_start(ap, n);
    for (unsigned i = 0; i < n; i++)
        c.cdb[i] = (uint8_t)va_arg(ap, int);
    va_end(ap);
    return c;
}
#define N_ARGS_(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, n, ...) n
#define N_ARGS(...)                                                                            N_ARGS_(__VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define CMD(target, lun, ...)                                                                  cmd_of(target, lun, N_ARGS(__VA_ARGS__), __VA_ARGS__)

static inline void cmd_put(struct rig *r, struct cmd *c)
{
    c->at = rig_alloc(r, HEAD + c->out_len + RESP + c->in_len);
    uint8_t *p = rig_at(r, c->at, HEAD + c->out_len + RESP + c->in_len);
    memcpy(p, c->lun, 8);
    memcpy(p + 8, &c->id, 8);
    memcpy(p + 19, c->cdb, 32);
    if (c->out_len)
        memcpy(p + HEAD, c->out, c->out_len);
    memset(p + HEAD + c->out_len, 0xee, RESP + c->in_len);
    const struct rig_seg out[] = {{c->at, HEAD}, {GPA(c->at.v + HEAD), c->out_len}};
    const struct rig_seg in[] = {{GPA(c->at.v + HEAD + c->out_len), RESP},
                                 {GPA(c->at.v + HEAD + c->out_len + RESP), c->in_len}};
    c->head = rig_add(r, 2 + c->queue, out, c->out_len ? 2 : 1, in, c->in_len ? 2 : 1);
}

static inline void cmd_add(struct rig *r, struct cmd *c)
{
    cmd_put(r, c);
    rig_kick(r, 2 + c->queue);
    rig_settle(r);
}

static inline void cmd_parse(struct rig *r, struct cmd *c)
{
    const uint8_t *p = rig_at(r, GPA(c->at.v + HEAD + c->out_len), RESP + c->in_len);
    c->sense_len = (uint32_t)get_bytes(p, 4);
    c->residual = (uint32_t)get_bytes(p + 4, 4);
    c->status = p[10];
    c->response = p[11];
    c->sense = p + 12;
    c->key = c->sense_len ? c->sense[2] : 0;
    c->asc = c->sense_len ? c->sense[12] : 0;
    c->ascq = c->sense_len ? c->sense[13] : 0;
    c->in = p + RESP;
}

static inline bool cmd_ended(struct rig *r, struct cmd *c)
{
    uint32_t id;
    if (!rig_used(r, 2 + c->queue, &id, &c->used))
        return false;
    cr_assert_eq(id, c->head);
    cmd_parse(r, c);
    return true;
}

static inline struct cmd run(struct rig *r, struct cmd c)
{
    cmd_add(r, &c);
    cr_assert(cmd_ended(r, &c), "command %#x did not end", c.cdb[0]);
    return c;
}

/* With room for data; or with data. */
static inline struct cmd run_in(struct rig *r, struct cmd c, uint32_t len)
{
    c.in_len = len;
    return run(r, c);
}
static inline struct cmd run_out(struct rig *r, struct cmd c, const void *data, uint32_t len)
{
    c.out = data;
    c.out_len = len;
    return run(r, c);
}

static inline void is_good(struct cmd c)
{
    cr_assert(c.response == VIRTIO_SCSI_S_OK && c.status == 0,
              "command %#x: response %u, status %u, sense %x/%02x/%02x", c.cdb[0], c.response,
              c.status, c.key, c.asc, c.ascq);
}
static inline void is_refused(struct cmd c, uint8_t key, uint8_t asc, uint8_t ascq)
{
    cr_assert(c.response == VIRTIO_SCSI_S_OK && c.status == 2 && c.key == key && c.asc == asc &&
                  c.ascq == ascq,
              "command %#x: response %u, status %u, sense %x/%02x/%02x", c.cdb[0], c.response,
              c.status, c.key, c.asc, c.ascq);
    cr_assert_eq(c.sense_len, 18);
    cr_assert_eq(c.sense[0] & 0x7f, 0x70);
    cr_assert_eq(c.sense[7], 10);
}

#define TEST_UNIT_READY 0, 0, 0, 0, 0, 0

/* --- the device --- */

/* A disk of 1 MiB as target 0, and a CD as target 1; %s is the disk, %s the disc. */
static inline struct rig *up_as(const char *format, const struct rig_options *o)
{
    char spec[256];
    memset(&host, 0, sizeof(host));
    make_image(disk, BLOCKS, BLOCK);
    make_image(disc, CD_BLOCKS, CD_BLOCK);
    (void)snprintf(spec, sizeof(spec), format, disk, disc);
    return rig_up(spec, o);
}

static inline void calm(struct rig *r, unsigned target)
{
    is_refused(run(r, CMD(target, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x29, 0);
    is_good(run(r, CMD(target, 0, TEST_UNIT_READY)));
}

static inline struct rig *up(void)
{
    struct rig *r = up_as("scsi,disk=%s,cd=%s", NULL);
    calm(r, 0);
    calm(r, 1);
    return r;
}
