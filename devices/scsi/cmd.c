/* devices/scsi/cmd.c - one command from the buffer to the response (virtio 1.4, 5.6.6.1): where its
 * data is, which unit and which function it is for, and what the driver is told. */
#include "devices/scsi/scsi_priv.h"

enum { HEAD_LEN = 19, RESP_LEN = 12 }; /* struct virtio_scsi_req_cmd without its arrays */
enum { GOOD = 0, CHECK_CONDITION = 2, TASK_SET_FULL = 0x28 }; /* SAM-5, 5.3.1 */
enum { FIXED_CURRENT = 0x70, INFORMATION_VALID = 0x80 };

/* --- the end --- */

void scsi_sense_fixed(uint8_t sense[SCSI_SENSE_LEN], enum scsi_sense what)
{
    memset(sense, 0, SCSI_SENSE_LEN);
    sense[0] = FIXED_CURRENT;
    sense[2] = (uint8_t)((unsigned)what >> 16);
    sense[7] = SCSI_SENSE_LEN - 8;
    put_be(sense + 12, what & 0xffff, 2);
}

struct ending {
    uint8_t response, status;
    uint64_t moved;
    const uint8_t *sense; /* SCSI_SENSE_LEN bytes, or NULL */
};

static void write_response(const struct scsi_cmd *c, const struct ending *e)
{
    struct vq_req *req = c->req;
    uint8_t resp[RESP_LEN + SCSI_SENSE_MAX] = {0};
    size_t sense_len = e->sense ? MIN((size_t)SCSI_SENSE_LEN, (size_t)c->sense_size) : 0;
    uint64_t whole = c->out_len + c->in_len; /* one of them is 0 */
    put_bytes(resp, sense_len, 4);
    put_bytes(resp + 4, MIN(whole - e->moved, (uint64_t)UINT32_MAX), 4);
    resp[10] = e->status;
    resp[11] = e->response;
    if (sense_len)
        memcpy(resp + RESP_LEN, e->sense, sense_len);
    if (vq_req_write(req, 0, resp, c->in_at) == 0)
        req->written = (uint32_t)(c->in_at + (c->in_len ? e->moved : 0));
}

static void unlink_cmd(struct scsi_cmd *c)
{
    if (!c->at)
        return;
    *c->at = c->next;
    if (c->next)
        c->next->at = c->at;
}

static void end(struct scsi_cmd *c, struct ending e)
{
    struct scsi *s = c->s;
    if (c->ended)
        e = (struct ending){.response = c->ended, .moved = e.moved};
    write_response(c, &e);
    if (e.response != VIRTIO_SCSI_S_OK || e.status != GOOD)
        ++*(c->unit ? &c->unit->failed : &s->refused);
    unlink_cmd(c);
    if (c->unit)
        scsi_unit_release(c->unit);
    uint64_t waiters = c->waiters;
    vq_complete(c->q, c->req);
    scsi_tmf_ended(s, waiters);
}

void scsi_good(struct scsi_cmd *c, uint64_t moved)
{
    end(c, (struct ending){.moved = moved});
}

void scsi_respond(struct scsi_cmd *c, uint8_t response)
{
    end(c, (struct ending){.response = response});
}

void scsi_task_set_full(struct scsi_cmd *c)
{
    end(c, (struct ending){.status = TASK_SET_FULL});
}

void scsi_check(struct scsi_cmd *c, enum scsi_sense what)
{
    uint8_t sense[SCSI_SENSE_LEN];
    scsi_sense_fixed(sense, what);
    end(c, (struct ending){.status = CHECK_CONDITION, .sense = sense});
}

void scsi_check_at(struct scsi_cmd *c, enum scsi_sense what, uint64_t moved, uint64_t lba)
{
    uint8_t sense[SCSI_SENSE_LEN];
    scsi_sense_fixed(sense, what);
    if (lba <= UINT32_MAX) {
        sense[0] |= INFORMATION_VALID;
        put_be(sense + 3, lba, 4);
    }
    end(c, (struct ending){.status = CHECK_CONDITION, .moved = moved, .sense = sense});
}

/* --- data --- */

static bool enough(struct scsi_cmd *c, size_t have, uint64_t len)
{
    if (len > have)
        scsi_respond(c, VIRTIO_SCSI_S_OVERRUN);
    return len <= have;
}

bool scsi_has_out(struct scsi_cmd *c, uint64_t len)
{
    return enough(c, c->out_len, len);
}

bool scsi_has_in(struct scsi_cmd *c, uint64_t len)
{
    return enough(c, c->in_len, len);
}

int scsi_out(const struct scsi_cmd *c, size_t off, void *dst, size_t len)
{
    return off <= c->out_len ? vq_req_read(c->req, c->out_at + off, dst, len) : -EMSGSIZE;
}

void scsi_data(struct scsi_cmd *c, const void *data, size_t len, size_t allowed)
{
    if (!scsi_has_in(c, allowed))
        return;
    len = MIN(len, allowed);
    if (vq_req_write(c->req, c->in_at, data, len) < 0)
        len = 0;
    scsi_good(c, len);
}

/* --- the beginning --- */

enum scsi_sense scsi_attention_take(struct scsi_unit *u)
{
    static const unsigned senses[] = {0x062900, 0x062903, 0x062800, 0x062a09, 0x063f0e};
    if (!u->attention)
        return SENSE_NONE;
    unsigned first = (unsigned)__builtin_ctz(u->attention);
    u->attention &= ~(1u << first);
    return (enum scsi_sense)senses[first];
}

static const struct scsi_op *find_op(const struct scsi_cmd *c)
{
    static const struct scsi_op *const tables[] = {scsi_primary_ops, scsi_block_ops, scsi_cd_ops};
    unsigned kind = !c->unit ? OP_NO_UNIT : c->unit->cd ? OP_CD : OP_DISK;
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        for (const struct scsi_op *op = tables[i]; op->run; op++) {
            if (op->code == c->cdb[0] && op->flags & kind)
                return op;
        }
    }
    return NULL;
}

/* What the unit has to say before it does anything. */
static enum scsi_sense not_now(const struct scsi_cmd *c, size_t cdb_size)
{
    static const unsigned naca = 1 << 2; /* in the last byte, CONTROL */
    struct scsi_unit *u = c->unit;
    const struct scsi_op *op = c->op;
    if (!op && !u && !c->well_known)
        return SENSE_NO_UNIT;
    enum scsi_sense attention = SENSE_NONE;
    if (u && !(op && op->flags & OP_ANYTIME))
        attention = scsi_attention_take(u);
    if (attention != SENSE_NONE)
        return attention;
    if (!op)
        return SENSE_OPCODE;
    if (op->len > cdb_size || c->cdb[op->len - 1] & naca)
        return SENSE_FIELD;
    if (u && op->flags & OP_MEDIUM && u->ejected)
        return SENSE_NO_MEDIUM;
    if (u && op->flags & OP_MEDIUM && u->stopped)
        return SENSE_NOT_STARTED;
    if (u && op->flags & OP_WRITES && u->file.ro)
        return SENSE_PROTECTED;
    return SENSE_NONE;
}

static void link_cmd(struct scsi_cmd *c)
{
    c->next = c->s->commands;
    c->at = &c->s->commands;
    if (c->next)
        c->next->at = &c->next;
    c->s->commands = c;
}

/* False: nobody is there, and it has ended. */
static bool find_unit(struct scsi_cmd *c, const uint8_t lun[8])
{
    enum scsi_where where = scsi_lun_decode(lun, &c->to);
    c->all_targets = where == SCSI_ALL_TARGETS;
    c->well_known = where == SCSI_WELL_KNOWN || where == SCSI_ALL_TARGETS;
    if (where == SCSI_NOWHERE ||
        (where != SCSI_ALL_TARGETS && !scsi_target_exists(c->s, c->to.target))) {
        c->s->unaddressed++;
        scsi_respond(c, VIRTIO_SCSI_S_BAD_TARGET);
        return false;
    }
    if (where == SCSI_UNIT && (c->unit = scsi_unit_at(c->s, c->to)))
        c->unit->users++;
    return true;
}

static void run(struct scsi_cmd *c, const uint8_t lun[8], size_t cdb_size)
{
    if (c->out_len && c->in_len) { /* VIRTIO_SCSI_F_INOUT is not offered: 5.6.6.1.1 */
        scsi_respond(c, VIRTIO_SCSI_S_FAILURE);
        return;
    }
    if (!find_unit(c, lun))
        return;
    link_cmd(c);
    c->op = find_op(c);
    enum scsi_sense sense = not_now(c, cdb_size);
    if (sense != SENSE_NONE)
        scsi_check(c, sense);
    else
        c->op->run(c);
}

/* A request without room for what it must have: as much of an answer as fits. */
static void refuse_shape(struct scsi *s, struct vq *q, struct vq_req *req)
{
    const uint8_t resp[RESP_LEN] = {[11] = VIRTIO_SCSI_S_FAILURE};
    if (vq_req_write(req, 0, resp, sizeof(resp)) == 0)
        req->written = sizeof(resp);
    s->refused++;
    vq_complete(q, req);
}

static void start(struct scsi *s, struct vq *q, struct vq_req *req)
{
    struct scsi_cmd *c = vq_req_state(q, req);
    uint8_t head[HEAD_LEN + SCSI_CDB_MAX];
    size_t cdb_size = atomic_load(&s->cdb_size), sense_size = atomic_load(&s->sense_size);
    size_t out_at = HEAD_LEN + cdb_size, in_at = RESP_LEN + sense_size;
    if (req->in_len < in_at || vq_req_read(req, 0, head, out_at) < 0) {
        refuse_shape(s, q, req);
        return;
    }
    *c = (struct scsi_cmd){.io = {.loop = s->loop, .q = q},
                           .s = s,
                           .q = q,
                           .req = req,
                           .id = get_bytes(head + 8, 8),
                           .sense_size = (uint16_t)sense_size,
                           .out_at = out_at,
                           .out_len = req->out_len - out_at,
                           .in_at = in_at,
                           .in_len = req->in_len - in_at};
    memcpy(c->cdb, head + HEAD_LEN, MIN(cdb_size, sizeof(c->cdb)));
    run(c, head, cdb_size);
}

void scsi_cmds_start(struct scsi *s, struct vq *q)
{
    vq_for_each (req, q)
        start(s, q, req);
}
