/* devices/scsi/block.c - commands on blocks (SBC-3): they are checked, and become operations on the
 * file of which each is done in bounded steps. */
#include "devices/scsi/scsi_priv.h"

/* What a CDB of 6, 10, 12 or 16 bytes says. */
struct range {
    uint64_t lba, n;
};

static struct range range_of(const struct scsi_cmd *c)
{
    const uint8_t *b = c->cdb;
    switch (c->op->len) {
    case 6:
        return (struct range){get_be(b + 1, 3) & 0x1fffff, b[4] ? b[4] : 256};
    case 10:
        return (struct range){get_be(b + 2, 4), get_be(b + 7, 2)};
    case 12:
        return (struct range){get_be(b + 2, 4), get_be(b + 6, 4)};
    default:
        return (struct range){get_be(b + 2, 8), get_be(b + 10, 4)};
    }
}

static bool inside(const struct scsi_unit *u, struct range r)
{
    return r.lba < u->blocks && r.n <= u->blocks - r.lba;
}

/* False, and it has ended. */
static bool checked(struct scsi_cmd *c, struct range r)
{
    bool good = inside(c->unit, r);
    if (!good)
        scsi_check_at(c, SENSE_RANGE, 0, r.lba);
    return good;
}

/* --- the end of an operation on the file --- */

static void fail(struct scsi_cmd *c, int result, enum scsi_sense sense)
{
    if (result == -ECANCELED) {
        scsi_respond(c, VIRTIO_SCSI_S_FAILURE); /* unless a function has decided otherwise */
        return;
    }
    log_limited(&c->s->errors, LOG_WARN, "%s: target %u, unit %u: command %#x at byte %llu: %s",
                c->s->name, c->to.target, c->to.lun, c->cdb[0], (unsigned long long)c->io.pos,
                result == -ENODATA ? "the file ends early" : strerror(-result));
    if (result == -ENOSPC && sense == SENSE_WRITE_ERROR)
        sense = SENSE_NO_SPACE;
    /* What was moved of a block that failed does not count. */
    uint64_t moved = c->in_len ? c->io.moved - c->io.moved % c->unit->block : c->io.moved;
    scsi_check_at(c, sense, moved, c->io.pos / c->unit->block);
}

static void read_done(struct blkio *io, int result)
{
    struct scsi_cmd *c = container_of(io, struct scsi_cmd, io);
    c->unit->read_bytes += io->moved;
    c->unit->reads += result == 0;
    if (result < 0)
        fail(c, result, SENSE_READ_ERROR);
    else
        scsi_good(c, io->moved);
}

static void write_done(struct blkio *io, int result)
{
    struct scsi_cmd *c = container_of(io, struct scsi_cmd, io);
    c->unit->write_bytes += io->moved;
    c->unit->writes += result == 0;
    if (result < 0)
        fail(c, result, SENSE_WRITE_ERROR);
    else
        scsi_good(c, io->moved);
}

static void done(struct blkio *io, int result)
{
    struct scsi_cmd *c = container_of(io, struct scsi_cmd, io);
    c->unit->others += result == 0;
    if (result < 0)
        fail(c, result, SENSE_WRITE_ERROR);
    else
        scsi_good(c, c->said);
}

/* --- READ, WRITE, VERIFY --- */

/* Protection information is for units that are formatted with it. */
static bool wants_protection(const struct scsi_cmd *c)
{
    return c->op->len > 6 && c->cdb[1] >> 5;
}

/* A pause waits for what is in flight, so one command must have an end. False, and it has ended. A
 * CD has no page to say how much it takes; there a chain's length is the end. */
static bool short_enough(struct scsi_cmd *c, uint64_t len)
{
    bool good = c->unit->cd || len <= SCSI_MOVE_MAX;
    if (!good)
        scsi_check(c, SENSE_FIELD);
    return good;
}

static void read_write(struct scsi_cmd *c)
{
    static const uint8_t fua = 8;
    struct scsi_unit *u = c->unit;
    struct range r = range_of(c);
    bool in = !(c->op->flags & OP_WRITES);
    const struct vq_req *req = c->req;
    if (wants_protection(c)) {
        scsi_check(c, SENSE_FIELD);
        return;
    }
    uint64_t len = r.n * u->block;
    if (!checked(c, r) || !short_enough(c, len) ||
        !(in ? scsi_has_in(c, len) : scsi_has_out(c, len)))
        return;
    c->io.file = &u->file;
    c->io.done = in ? read_done : write_done;
    if (len == 0)
        scsi_good(c, 0);
    else if (in)
        blkio_read(&c->io, req->iov + req->n_out, req->n_in, c->in_at, r.lba * u->block, len);
    else
        blkio_write(&c->io, req->iov, req->n_out, c->out_at, r.lba * u->block, len,
                    c->op->len > 6 && c->cdb[1] & fua);
}

/* That the host could read it is not looked at; comparing with data is not supported. */
static void verify(struct scsi_cmd *c)
{
    static const uint8_t bytchk = 6;
    if (wants_protection(c) || c->cdb[1] & bytchk)
        scsi_check(c, SENSE_FIELD);
    else if (checked(c, range_of(c)))
        scsi_good(c, 0);
}

static void flush(struct scsi_cmd *c)
{
    c->io.file = &c->unit->file;
    c->io.done = done;
    blkio_flush(&c->io);
}

static void synchronize_cache(struct scsi_cmd *c)
{
    if (checked(c, range_of(c)))
        flush(c);
}

/* --- WRITE SAME --- */

static void filled(struct blkio *io, int result)
{
    container_of(io, struct scsi_cmd, io)->unit->filling = false;
    done(io, result);
}

static bool is_zero(const uint8_t *p, size_t n)
{
    return p[0] == 0 && memcmp(p, p + 1, n - 1) == 0;
}

static void fill(struct scsi_cmd *c, struct range r, const uint8_t *block)
{
    struct scsi_unit *u = c->unit;
    if (u->filling) { /* one at a time; there is one buffer */
        scsi_task_set_full(c);
        return;
    }
    for (size_t i = 0; i < SCSI_FILL; i += u->block)
        memcpy(u->fill + i, block, u->block);
    u->filling = true;
    c->io.done = filled;
    blkio_fill(&c->io, r.lba * u->block, r.n * u->block, u->fill, SCSI_FILL);
}

static void write_same(struct scsi_cmd *c)
{
    enum { NDOB = 1, OBSOLETE = 6, UNMAP = 8, ANCHOR = 16 };
    struct scsi_unit *u = c->unit;
    struct range r = range_of(c);
    uint8_t block[SCSI_BLOCK_MAX] = {0}, how = c->cdb[1];
    bool none = how & NDOB && c->op->len == 16;
    if (wants_protection(c) || how & (OBSOLETE | ANCHOR) || (how & NDOB && !none) ||
        (how & UNMAP && !u->file.punch) || r.n == 0 || r.n > SCSI_SAME_MAX / u->block) {
        scsi_check(c, SENSE_FIELD);
        return;
    }
    if (!checked(c, r) || (!none && !scsi_has_out(c, u->block)))
        return;
    if (!none && scsi_out(c, 0, block, u->block) < 0)
        memset(block, 0, sizeof(block));
    c->io.file = &u->file;
    c->io.done = done;
    c->said = none ? 0 : u->block;
    if (is_zero(block, u->block))
        blkio_zero(&c->io, r.lba * u->block, r.n * u->block, how & UNMAP);
    else
        fill(c, r, block);
}

/* --- UNMAP --- */

enum { UNMAP_HEAD = 8, UNMAP_DESC = 16 };

/* The descriptor at c->index, once; how to refuse it. */
static enum scsi_sense read_descriptor(const struct scsi_cmd *c, struct range *out)
{
    uint8_t d[UNMAP_DESC];
    if (scsi_out(c, UNMAP_HEAD + (size_t)c->index * UNMAP_DESC, d, sizeof(d)) < 0)
        return SENSE_LIST_LENGTH;
    struct range r = {get_be(d, 8), get_be(d + 8, 4)};
    if (r.n > SCSI_UNMAP_BLOCKS)
        return SENSE_LIST_FIELD;
    if (r.n > 0 && !inside(c->unit, r))
        return SENSE_RANGE;
    *out = r;
    return SENSE_NONE;
}

static void unmap_next(struct scsi_cmd *c);

static void unmapped(struct blkio *io, int result)
{
    struct scsi_cmd *c = container_of(io, struct scsi_cmd, io);
    if (result == 0 && blkio_given_up(io))
        result = -ECANCELED;
    if (result < 0)
        fail(c, result, SENSE_WRITE_ERROR);
    else
        unmap_next(c);
}

static void unmap_next(struct scsi_cmd *c)
{
    struct scsi_unit *u = c->unit;
    while (c->index < c->count) {
        struct range r = {0};
        enum scsi_sense sense = read_descriptor(c, &r); /* the driver may have changed it */
        if (sense != SENSE_NONE) {
            scsi_check(c, sense);
            return;
        }
        c->index++;
        if (r.n > 0) {
            c->io.done = unmapped;
            blkio_discard(&c->io, r.lba * u->block, r.n * u->block);
            return;
        }
    }
    u->others++;
    scsi_good(c, c->said);
}

/* All descriptors are good, or none is carried out. */
static enum scsi_sense check_descriptors(struct scsi_cmd *c)
{
    enum scsi_sense sense = SENSE_NONE;
    struct range r;
    for (; c->index < c->count && sense == SENSE_NONE; c->index++)
        sense = read_descriptor(c, &r);
    c->index = 0;
    return sense;
}

static void unmap(struct scsi_cmd *c)
{
    uint8_t head[UNMAP_HEAD];
    size_t len = get_be(c->cdb + 7, 2);
    enum scsi_sense sense = SENSE_NONE;
    if (!scsi_has_out(c, len))
        return;
    if (!c->unit->file.punch)
        sense = SENSE_OPCODE;
    else if (c->cdb[1] & 1) /* ANCHOR */
        sense = SENSE_FIELD;
    else if (len > 0 && (len < sizeof(head) || scsi_out(c, 0, head, sizeof(head)) < 0))
        sense = SENSE_LIST_LENGTH;
    if (sense == SENSE_NONE && len > 0) {
        c->count = (unsigned)MIN((size_t)get_be(head + 2, 2), len - UNMAP_HEAD) / UNMAP_DESC;
        sense = c->count > SCSI_UNMAP_MAX ? SENSE_LIST_FIELD : check_descriptors(c);
    }
    if (sense != SENSE_NONE) {
        scsi_check(c, sense);
        return;
    }
    c->io.file = &c->unit->file;
    c->said = len;
    unmap_next(c);
}

/* --- capacity, start and stop --- */

static void read_capacity(struct scsi_cmd *c)
{
    const struct scsi_unit *u = c->unit;
    uint8_t d[8];
    put_be(d, MIN(u->blocks - 1, (uint64_t)UINT32_MAX), 4);
    put_be(d + 4, u->block, 4);
    if (c->cdb[8] & 1 || get_be(c->cdb + 2, 4)) /* PMI is obsolete */
        scsi_check(c, SENSE_FIELD);
    else
        scsi_data(c, d, sizeof(d), sizeof(d));
}

static void service_action_in(struct scsi_cmd *c)
{
    enum { READ_CAPACITY_16 = 0x10 };
    static const uint8_t lbpme_lbprz = 0xc0;
    const struct scsi_unit *u = c->unit;
    uint8_t d[32] = {0};
    put_be(d, u->blocks - 1, 8);
    put_be(d + 8, u->block, 4);
    d[13] = u->file.physical_exp;
    d[14] = u->file.punch ? lbpme_lbprz : 0;
    if ((c->cdb[1] & 0x1f) != READ_CAPACITY_16)
        scsi_check(c, SENSE_FIELD);
    else
        scsi_data(c, d, sizeof(d), get_be(c->cdb + 10, 4));
}

static void start_stop(struct scsi_cmd *c)
{
    enum { START = 1, LOEJ = 2, NO_FLUSH = 4 };
    struct scsi_unit *u = c->unit;
    uint8_t what = c->cdb[4];
    if (what >> 4) { /* a power condition is not managed */
        scsi_check(c, SENSE_FIELD);
        return;
    }
    if (what & LOEJ && u->cd) {
        bool eject = !(what & START);
        if (eject && u->prevented) {
            scsi_check(c, SENSE_PREVENTED);
            return;
        }
        if (u->ejected != eject) {
            u->ejected = eject;
            u->media_event = eject ? SCSI_MEDIA_REMOVED : SCSI_MEDIA_NEW;
            u->attention |= eject ? 0 : UA_MEDIUM;
        }
    }
    u->stopped = !(what & START);
    if (u->stopped && !u->file.ro && !(what & NO_FLUSH))
        flush(c);
    else
        scsi_good(c, 0);
}

const struct scsi_op scsi_block_ops[] = {
    {0x08, 6, OP_DISK | OP_MEDIUM, read_write},
    {0x0a, 6, OP_DISK | OP_MEDIUM | OP_WRITES, read_write},
    {0x1b, 6, OP_DISK | OP_CD, start_stop},
    {0x25, 10, OP_DISK | OP_CD | OP_MEDIUM, read_capacity},
    {0x28, 10, OP_DISK | OP_CD | OP_MEDIUM, read_write},
    {0x2a, 10, OP_DISK | OP_MEDIUM | OP_WRITES, read_write},
    {0x2f, 10, OP_DISK | OP_CD | OP_MEDIUM, verify},
    {0x35, 10, OP_DISK | OP_MEDIUM, synchronize_cache},
    {0x41, 10, OP_DISK | OP_MEDIUM | OP_WRITES, write_same},
    {0x42, 10, OP_DISK | OP_MEDIUM | OP_WRITES, unmap},
    {0x88, 16, OP_DISK | OP_MEDIUM, read_write},
    {0x8a, 16, OP_DISK | OP_MEDIUM | OP_WRITES, read_write},
    {0x8f, 16, OP_DISK | OP_MEDIUM, verify},
    {0x91, 16, OP_DISK | OP_MEDIUM, synchronize_cache},
    {0x93, 16, OP_DISK | OP_MEDIUM | OP_WRITES, write_same},
    {0x9e, 16, OP_DISK | OP_MEDIUM, service_action_in},
    {0xa8, 12, OP_DISK | OP_CD | OP_MEDIUM, read_write},
    {0xaa, 12, OP_DISK | OP_MEDIUM | OP_WRITES, read_write},
    {0xaf, 12, OP_DISK | OP_CD | OP_MEDIUM, verify},
    {0},
};
