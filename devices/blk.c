/* devices/blk.c - block device (virtio 1.4, 5.2) on a raw image file or a block device of the host.
 *
 * A request is checked, becomes one or more asynchronous file operations on the loop, and is
 * completed with a status; nothing here waits. What the host's file system refuses at run time is
 * the request's VIRTIO_BLK_S_IOERR, never the device's end. */
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "devices/blkio.h"
#include "devices/limiter.h"
#include "devices/virtio/vdev.h"

enum {
    SECTOR = 512,
    QUEUE_SIZE = 256,
    QUEUES_MAX = 64,
    FRAMING = 2,                   /* a header and a status take a descriptor each */
    RANGES_MAX = 64,               /* segments of one discard request */
    DISCARD_SECTORS_MAX = 1 << 22, /* of one segment: 2 GiB, which a file system does at once */
    ZEROES_SECTORS_MAX = 1 << 15,  /* 16 MiB in one segment, which may have to be written */
    LEGACY_FLUSH_OUT = 5,          /* a synonym for VIRTIO_BLK_T_FLUSH: 5.2.6.3 */
};

struct blk_opts {
    const char *path, *serial, *id;
    uint32_t queues; /* 0: one */
    bool ro, direct;
    struct limits limits; /* ways: enum blk_way */
};

/* Of one queue, since creation, in a cache line of its own; written by the queue's loop. */
enum { OTHERS, READS, WRITES, FLUSHES, FAILED, READ_BYTES, WRITE_BYTES, COUNTS };
struct blk_counts {
    _Alignas(64) _Atomic uint64_t n[COUNTS];
};

/* As the host's disk sees it: what discards or zeroes writes. */
enum blk_way { WAY_READ, WAY_WRITE };

struct blk {
    struct vdev *dev;
    char name[64]; /* for the log */
    struct blkfile file;
    uint64_t sectors;
    uint32_t seg_max;
    uint16_t queues;
    char serial[VIRTIO_BLK_ID_BYTES];
    atomic_int writeback; /* what the driver wrote, or -1 */
    struct log_limit errors;
    struct limiter limiter;
    struct blk_counts *counts;
};

struct blk_req { /* vq_req_state() */
    struct blkio io;
    struct blk *b;
    struct vq *q;
    struct vq_req *req;
    uint32_t type;
    uint8_t *status;
    struct { /* discard, write-zeroes: the segment at work */
        unsigned index, count;
        uint64_t pos, len;
        bool hole;
    } range;
    bool dsync;
};

/* --- the end of a request --- */

static void count(const struct blk_req *r, unsigned what, uint64_t n)
{
    counter_add(&r->b->counts[vq_index(r->q)].n[what], n);
}

/* `written`: how many bytes from the first writable one on hold what the device wrote (2.7.8.2). */
static void finish(struct blk_req *r, uint8_t status, size_t written)
{
    static const unsigned kinds[] = {
        [VIRTIO_BLK_T_IN] = READS, [VIRTIO_BLK_T_OUT] = WRITES, [VIRTIO_BLK_T_FLUSH] = FLUSHES};
    *r->status = status;
    unsigned type = r->type < ARRAY_SIZE(kinds) ? kinds[r->type] : OTHERS;
    count(r, status == VIRTIO_BLK_S_OK ? type : FAILED, 1);
    r->req->written = r->req->in_len == 1 ? 1 : (uint32_t)written;
    vq_complete(r->q, r->req);
}

static void refuse(struct blk_req *r, uint8_t status)
{
    finish(r, status, 0);
}

/* Of an operation on the file that did not end well. */
static void fail(struct blk_req *r, int result)
{
    static const char *const verbs[] = {[VIRTIO_BLK_T_IN] = "read",
                                        [VIRTIO_BLK_T_OUT] = "write",
                                        [VIRTIO_BLK_T_FLUSH] = "flush",
                                        [VIRTIO_BLK_T_DISCARD] = "discard",
                                        [VIRTIO_BLK_T_WRITE_ZEROES] = "write zeroes"};
    if (result != -ECANCELED)
        log_limited(&r->b->errors, LOG_WARN, "%s: %s at byte %llu failed: %s", r->b->name,
                    verbs[r->type], (unsigned long long)r->io.pos,
                    result == -ENODATA ? "the file ends early" : strerror(-result));
    refuse(r, VIRTIO_BLK_S_IOERR);
}

/* --- read and write --- */

static void transfer_done(struct blkio *io, int result)
{
    struct blk_req *r = container_of(io, struct blk_req, io);
    bool in = r->type == VIRTIO_BLK_T_IN;
    count(r, in ? READ_BYTES : WRITE_BYTES, io->moved);
    if (result < 0)
        fail(r, result);
    else
        finish(r, VIRTIO_BLK_S_OK, in ? r->req->in_len : 0);
}

static void start_transfer(struct blk_req *r, uint64_t sector)
{
    const struct blk *b = r->b;
    const struct vq_req *req = r->req;
    bool in = r->type == VIRTIO_BLK_T_IN;
    size_t len = in ? req->in_len - 1 : req->out_len - sizeof(struct virtio_blk_outhdr);
    if (len % SECTOR || sector > b->sectors || len / SECTOR > b->sectors - sector ||
        (!in && b->file.ro)) {
        refuse(r, VIRTIO_BLK_S_IOERR);
        return;
    }
    r->io.done = transfer_done;
    limiter_take(&r->b->limiter, in ? WAY_READ : WAY_WRITE, len);
    if (len == 0)
        finish(r, VIRTIO_BLK_S_OK, 0);
    else if (in)
        blkio_read(&r->io, req->iov + req->n_out, req->n_in, 0, sector * SECTOR, len);
    else
        blkio_write(&r->io, req->iov, req->n_out, sizeof(struct virtio_blk_outhdr), sector * SECTOR,
                    len, r->dsync);
}

/* --- flush --- */

static void sync_done(struct blkio *io, int result)
{
    struct blk_req *r = container_of(io, struct blk_req, io);
    if (result < 0)
        fail(r, result);
    else
        finish(r, VIRTIO_BLK_S_OK, 0);
}

static void sync_file(struct blk_req *r)
{
    r->io.done = sync_done;
    blkio_flush(&r->io);
}

/* --- discard and write zeroes (5.2.6) --- */

static void next_range(struct blk_req *r);

static void range_done(struct blkio *io, int result)
{
    struct blk_req *r = container_of(io, struct blk_req, io);
    if (result == 0 && blkio_given_up(io))
        result = -ECANCELED;
    if (result < 0)
        fail(r, result);
    else
        next_range(r);
}

/* Reads and checks the segment at range.index, once; VIRTIO_BLK_S_OK, or how to refuse it. */
static uint8_t read_range(struct blk_req *r)
{
    const struct blk *b = r->b;
    bool zeroes = r->type == VIRTIO_BLK_T_WRITE_ZEROES;
    struct virtio_blk_discard_write_zeroes seg;
    size_t off = sizeof(struct virtio_blk_outhdr) + r->range.index * sizeof(seg);
    if (vq_req_read(r->req, off, &seg, sizeof(seg)) < 0)
        return VIRTIO_BLK_S_IOERR;
    uint64_t sector = le64toh(seg.sector), n = le32toh(seg.num_sectors);
    uint32_t flags = le32toh(seg.flags);
    uint64_t max = zeroes ? ZEROES_SECTORS_MAX : DISCARD_SECTORS_MAX;
    if (flags & ~(zeroes ? (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0))
        return VIRTIO_BLK_S_UNSUPP;
    if (n > max || sector > b->sectors || n > b->sectors - sector)
        return VIRTIO_BLK_S_IOERR;
    r->range.pos = sector * SECTOR;
    r->range.len = n * SECTOR;
    r->range.hole = flags != 0;
    return VIRTIO_BLK_S_OK;
}

static void next_range(struct blk_req *r)
{
    for (; r->range.index < r->range.count; r->range.index++) {
        uint8_t status = read_range(r);
        if (status != VIRTIO_BLK_S_OK) {
            refuse(r, status);
            return;
        }
        if (r->range.len == 0)
            continue;
        r->range.index++;
        r->io.done = range_done;
        /* Zeroes may have to be written; a discard moves nothing. */
        limiter_take(&r->b->limiter, WAY_WRITE,
                     r->type == VIRTIO_BLK_T_WRITE_ZEROES ? r->range.len : 0);
        if (r->type == VIRTIO_BLK_T_DISCARD)
            blkio_discard(&r->io, r->range.pos, r->range.len);
        else
            blkio_zero(&r->io, r->range.pos, r->range.len, r->range.hole);
        return;
    }
    if (r->dsync)
        sync_file(r);
    else
        finish(r, VIRTIO_BLK_S_OK, 0);
}

/* The worst that there is to say of any segment, before the first is touched. Each is read and
 * checked again when its turn comes. */
static uint8_t check_ranges(struct blk_req *r)
{
    uint8_t worst = VIRTIO_BLK_S_OK;
    for (; r->range.index < r->range.count; r->range.index++) {
        uint8_t status = read_range(r);
        if (status > worst) /* an unknown flag outdoes a bad range: 5.2.6.2 */
            worst = status;
    }
    r->range.index = 0;
    return worst;
}

static void start_ranges(struct blk_req *r, size_t len)
{
    size_t each = sizeof(struct virtio_blk_discard_write_zeroes);
    bool zeroes = r->type == VIRTIO_BLK_T_WRITE_ZEROES;
    r->range.index = 0;
    r->range.count = (unsigned)MIN(len / each, (size_t)RANGES_MAX + 1);
    uint8_t status = zeroes || r->b->file.punch ? check_ranges(r) : VIRTIO_BLK_S_UNSUPP;
    if (status == VIRTIO_BLK_S_OK && (r->b->file.ro || len % each || r->range.count == 0 ||
                                      r->range.count > (zeroes ? 1 : RANGES_MAX)))
        status = VIRTIO_BLK_S_IOERR;
    if (status == VIRTIO_BLK_S_OK)
        next_range(r);
    else
        refuse(r, status);
}

/* --- requests --- */

/* A legacy driver may set features and cache mode in any order, and up to DRIVER_OK neither has a
 * say in the other (5.2.5.3). */
static bool negotiated(struct vdev *d)
{
    return vdev_has(d, VIRTIO_F_VERSION_1) || vdev_started(d);
}

/* 5.2.5, 5.2.6: is a write stable when it completes, or only after a flush? */
static bool writeback(struct vdev *d)
{
    const struct blk *b = vdev_priv(d);
    int set = atomic_load(&b->writeback);
    if (negotiated(d) && !vdev_has(d, VIRTIO_BLK_F_CONFIG_WCE))
        return vdev_has(d, VIRTIO_BLK_F_FLUSH);
    if (set >= 0)
        return set != 0;
    return !vdev_has(d, VIRTIO_F_VERSION_1) || vdev_has(d, VIRTIO_BLK_F_FLUSH);
}

/* A flush, or a question, is never held up by a limit, but by what stands in front of it. */
static bool has_to_wait(struct blk *b, const struct vq *q, uint32_t type)
{
    switch (type) {
    case VIRTIO_BLK_T_IN:
        return limiter_holds(&b->limiter, WAY_READ, vq_index(q));
    case VIRTIO_BLK_T_OUT:
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        return limiter_holds(&b->limiter, WAY_WRITE, vq_index(q));
    default:
        return false;
    }
}

/* False: it has to wait, and is in the ring again. */
static bool blk_start_request(struct vdev *d, struct vq *q, struct vq_req *req)
{
    struct blk *b = vdev_priv(d);
    struct virtio_blk_outhdr h = {0};
    struct blk_req *r = vq_req_state(q, req);
    if (req->in_len == 0) { /* no room for a status: nothing that could be said */
        vq_complete(q, req);
        return true;
    }
    bool whole = vq_req_read(req, 0, &h, sizeof(h)) == 0;
    if (whole && has_to_wait(b, q, le32toh(h.type))) {
        vq_unpop(q, req);
        return false;
    }
    /* Field by field: a literal would clear the whole of it, most of which a transfer never uses.
     */
    r->io.loop = vq_loop(q);
    r->io.file = &b->file;
    r->io.q = q;
    r->io.cancel = false;
    r->b = b;
    r->q = q;
    r->req = req;
    r->type = le32toh(h.type);
    r->dsync = !writeback(d);

    /* The status is the last writable byte; what is left of the segments is data. */
    const struct iovec *last = &req->iov[req->n_out + req->n_in - 1];
    r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
    if (!whole) {
        refuse(r, VIRTIO_BLK_S_IOERR);
        return true;
    }
    if (r->type == LEGACY_FLUSH_OUT && !vdev_has(d, VIRTIO_F_VERSION_1))
        r->type = VIRTIO_BLK_T_FLUSH;
    switch (r->type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        start_transfer(r, le64toh(h.sector));
        break;
    case VIRTIO_BLK_T_FLUSH:
        sync_file(r);
        break;
    case VIRTIO_BLK_T_GET_ID:
        if (req->in_len > VIRTIO_BLK_ID_BYTES &&
            vq_req_write(req, 0, b->serial, VIRTIO_BLK_ID_BYTES) == 0)
            finish(r, VIRTIO_BLK_S_OK,
                   VIRTIO_BLK_ID_BYTES + (req->in_len == VIRTIO_BLK_ID_BYTES + 1));
        else
            refuse(r, VIRTIO_BLK_S_IOERR);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        start_ranges(r, req->out_len - sizeof(h));
        break;
    default:
        refuse(r, VIRTIO_BLK_S_UNSUPP);
        break;
    }
    return true;
}

static void blk_kick(struct vdev *d, struct vq *q)
{
    if (vq_index(q) > 0 && !vdev_has(d, VIRTIO_BLK_F_MQ)) /* 5.2.2: it does not exist then */
        return;
    vq_for_each (req, q) {
        if (!blk_start_request(d, q, req))
            return; /* resume() goes on */
    }
}

static void resume(void *ctx, unsigned way, unsigned queue)
{
    const struct blk *b = ctx;
    (void)way;
    vdev_poke(b->dev, queue);
}

/* --- configuration --- */

static void blk_config_read(struct vdev *d, void *cfg)
{
    const struct blk *b = vdev_priv(d);
    const struct virtio_blk_config c = {
        .capacity = htole64(b->sectors),
        .seg_max = htole32(b->seg_max),
        .blk_size = htole32(b->file.block),
        .physical_block_exp = b->file.physical_exp,
        .min_io_size = htole16((uint16_t)(1u << b->file.physical_exp)),
        .wce = writeback(d),
        .num_queues = htole16(b->queues),
        .max_discard_sectors = htole32(b->file.punch ? DISCARD_SECTORS_MAX : 0),
        .max_discard_seg = htole32(b->file.punch ? RANGES_MAX : 0),
        .discard_sector_alignment = htole32((b->file.block << b->file.physical_exp) / SECTOR),
        .max_write_zeroes_sectors = htole32(ZEROES_SECTORS_MAX),
        .max_write_zeroes_seg = htole32(1),
        .write_zeroes_may_unmap = b->file.punch,
    };
    memcpy(cfg, &c, sizeof(c));
}

static void blk_config_write(struct vdev *d, const void *cfg, size_t off, size_t len)
{
    struct blk *b = vdev_priv(d);
    size_t wce = offsetof(struct virtio_blk_config, wce);
    if (off <= wce && off + len > wce) /* whether that counts is writeback()'s to say */
        atomic_store(&b->writeback, ((const uint8_t *)cfg)[wce] != 0);
}

static void blk_reset(struct vdev *d)
{
    struct blk *b = vdev_priv(d);
    atomic_store(&b->writeback, -1);
}

static void blk_save(const struct vdev *d, struct state_out *s)
{
    const struct blk *b = vdev_priv(d);
    state_begin(s, "BLK ", 1);
    state_u64(s, b->sectors);
    state_u32(s, (uint32_t)atomic_load(&b->writeback));
    state_end(s);
}

static int blk_load(struct vdev *d, struct state_in *s)
{
    struct blk *b = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "BLK ", 1, &version);
    if (rc < 0)
        return rc;
    uint64_t sectors = state_get_u64(s);
    int32_t wce = (int32_t)state_get_u32(s);
    rc = state_close(s);
    if (rc < 0 || sectors != b->sectors || wce < -1 || wce > 1)
        return -EBADMSG;
    atomic_store(&b->writeback, wce);
    return 0;
}

static void blk_report(const struct vdev *d, struct report *r)
{
    static const char *const names[COUNTS] = {"other_requests", "reads",           "writes",
                                              "flushes",        "failed_requests", "read_bytes",
                                              "write_bytes"};
    struct blk *b = vdev_priv(d);
    uint64_t sum[COUNTS] = {0};
    for (unsigned i = 0; i < b->queues * COUNTS; i++)
        sum[i % COUNTS] += counter_get(&b->counts[i / COUNTS].n[i % COUNTS]);
    for (unsigned i = 0; i < COUNTS; i++)
        report_number(r, names[i], sum[i]);
    limiter_report(&b->limiter, r);
}

static int blk_update(struct vdev *d, const void *opts, struct err *e)
{
    const struct blk_opts *o = opts;
    struct blk *b = vdev_priv(d);
    (void)e;
    limiter_set(&b->limiter, &o->limits);
    return 0;
}

static void blk_destroy(struct blk *b)
{
    limiter_close(&b->limiter);
    blkfile_close(&b->file);
    free(b->counts);
    free(b);
}

static void blk_free(struct vdev *d)
{
    blk_destroy(vdev_priv(d));
}

/* --- creation --- */

static int blk_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e);

#define LIMIT(field) offsetof(struct blk_opts, limits.field)
static const struct opt_desc blk_opts[] = {
    {.key = "path",
     .type = OPT_STR,
     .offset = offsetof(struct blk_opts, path),
     .metavar = "FILE",
     .help = "raw image or block device",
     .positional = true,
     .required = true},
    {.key = "ro",
     .type = OPT_FLAG,
     .offset = offsetof(struct blk_opts, ro),
     .help = "the guest cannot write"},
    {.key = "direct",
     .type = OPT_FLAG,
     .offset = offsetof(struct blk_opts, direct),
     .help = "bypass the host's page cache (O_DIRECT)"},
    {.key = "serial",
     .type = OPT_STR,
     .offset = offsetof(struct blk_opts, serial),
     .metavar = "TEXT",
     .help = "serial number, at most 20 bytes; default: the id"},
    {.key = "queues",
     .type = OPT_U32,
     .offset = offsetof(struct blk_opts, queues),
     .metavar = "N",
     .help = "queues, at best one for each CPU; default: 1",
     .min = 1,
     .max = QUEUES_MAX},
    {.key = "id",
     .type = OPT_STR,
     .offset = offsetof(struct blk_opts, id),
     .metavar = "NAME",
     .help = "name in messages; default: the file's name"},
    LIMIT_ROW("bps", LIMIT(shared.bytes),
              "bytes read and written at most: 50M each second; 5M/100ms; 1G more, once: 50M+1G"),
    LIMIT_ROW("iops", LIMIT(shared.ops), "requests at most, in the same way"),
    LIMIT_ROW("read_bps", LIMIT(way[WAY_READ].bytes), "bytes read at most"),
    LIMIT_ROW("read_iops", LIMIT(way[WAY_READ].ops), "requests to read at most"),
    LIMIT_ROW("write_bps", LIMIT(way[WAY_WRITE].bytes), "bytes written at most"),
    LIMIT_ROW("write_iops", LIMIT(way[WAY_WRITE].ops), "requests to write at most"),
    {.type = OPT_END},
};

static const struct vdev_ops blk_ops = {
    .config_len = sizeof(struct virtio_blk_config),
    .req_size = sizeof(struct blk_req),
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .reset = blk_reset,
    .kick = blk_kick,
    .update = blk_update,
    .save = blk_save,
    .load = blk_load,
    .report = blk_report,
    .free = blk_free,
};
extern const struct vdev_class blk_class;
const struct vdev_class blk_class = {
    .name = "blk",
    .summary = "disk",
    .virtio_id = VIRTIO_ID_BLOCK,
    .pci_class = 0x010000,
    .ops = &blk_ops,
    .opts = blk_opts,
    .opts_size = sizeof(struct blk_opts),
    .create = blk_create,
};

static const unsigned always_offered[] = {VIRTIO_BLK_F_SEG_MAX,    VIRTIO_BLK_F_BLK_SIZE,
                                          VIRTIO_BLK_F_FLUSH,      VIRTIO_BLK_F_TOPOLOGY,
                                          VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_WRITE_ZEROES};

static int blk_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e)
{
    const struct blk_opts *o = opts;
    uint32_t queue_size = env->options ? env->options->queue_size : 0;
    uint16_t sizes[QUEUES_MAX];
    for (size_t i = 0; i < QUEUES_MAX; i++)
        sizes[i] = QUEUE_SIZE;
    const char *serial = o->serial ? o->serial : o->id ? o->id : "";
    if (o->serial && strlen(serial) > VIRTIO_BLK_ID_BYTES)
        return err_input(e, 0, "disk %s: serial \"%s\" is longer than %d bytes", o->path, serial,
                         VIRTIO_BLK_ID_BYTES);
    struct blk *b = calloc(1, sizeof(*b));
    if (!b)
        return err_host(e, -ENOMEM, "disk %s", o->path);
    *b = (struct blk){.queues = (uint16_t)MAX(o->queues, 1u), .writeback = -1};
    /* 2.7.5.3.1: no chain is longer than its queue, indirect or not. */
    queue_size = queue_size ? MIN(queue_size, (uint32_t)QUEUE_SIZE) : QUEUE_SIZE;
    b->seg_max = queue_size > FRAMING ? queue_size - FRAMING : 1;
    memcpy(b->serial, serial, MIN(strlen(serial), sizeof(b->serial)));
    (void)snprintf(b->name, sizeof(b->name), "disk %s", o->id ? o->id : o->path);

    int rc = blkfile_open("disk", o->path, o->ro, o->direct, SECTOR, &b->file, e);
    b->sectors = b->file.size / SECTOR;
    b->counts = aligned_alloc(_Alignof(struct blk_counts), b->queues * sizeof(b->counts[0]));
    if (b->counts)
        memset(b->counts, 0, b->queues * sizeof(b->counts[0]));
    else if (rc == 0)
        rc = err_host(e, -ENOMEM, "disk %s", o->path);
    if (rc == 0 && (rc = limiter_init(&b->limiter, env->loop, resume, b, "read", "write")) < 0)
        (void)err_host(e, rc, "disk %s", o->path);
    if (rc == 0)
        limiter_set(&b->limiter, &o->limits);
    if (rc == 0 && (rc = vdev_new(&blk_class, env, b, sizes, b->queues, out)) < 0)
        (void)err_host(e, rc, "disk %s", o->path);
    if (rc < 0) {
        blk_destroy(b);
        return rc;
    }
    b->dev = *out;
    for (size_t i = 0; i < ARRAY_SIZE(always_offered); i++)
        vdev_offer(*out, always_offered[i]);
    for (unsigned i = 0; i < b->queues; i++)
        vdev_queue_on(*out, i, vdev_env_loop(env, i));
    if (b->queues > 1)
        vdev_offer(*out, VIRTIO_BLK_F_MQ);
    if (b->file.ro)
        vdev_offer(*out, VIRTIO_BLK_F_RO);
    if (b->file.punch)
        vdev_offer(*out, VIRTIO_BLK_F_DISCARD);
    return 0;
}
