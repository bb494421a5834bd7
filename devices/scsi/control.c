/* devices/scsi/control.c - the control queue (virtio 1.4, 5.6.6.2): task management functions, and
 * asynchronous notifications, of which no unit has any.
 *
 * A file operation that has begun cannot be taken back, so a function that ends commands forbids
 * them another step, decides their response, and is answered when the last of them has ended. */
#include "devices/scsi/scsi_priv.h"

enum { IN_ORDER = 35 }; /* VIRTIO_F_IN_ORDER: newer than the UAPI header */

static void answer(struct vq *q, struct vq_req *req, size_t at, uint8_t response)
{
    if (vq_req_write(req, at, &response, 1) == 0)
        req->written = (uint32_t)at + 1;
    vq_complete(q, req);
}

/* --- waiting --- */

void scsi_tmf_task(void *scsi)
{
    struct scsi *s = scsi;
    for (uint64_t left = s->tmf_used; left; left &= left - 1) {
        struct scsi_tmf *t = &s->tmf[__builtin_ctzll(left)];
        if (t->pending > 0)
            continue;
        s->tmf_used &= ~(left & -left);
        answer(t->q, t->req, 0, VIRTIO_SCSI_S_OK); /* FUNCTION COMPLETE */
    }
}

/* Not in place: what a command's queue publishes at the end of the turn comes first (5.6.6.2). */
static void answer_soon(struct scsi *s)
{
    loop_defer_cancel(s->loop, &s->tmf_task); /* behind that, also when it was due already */
    loop_defer(s->loop, &s->tmf_task);
}

void scsi_tmf_ended(struct scsi *s, uint64_t waiters)
{
    bool last = false;
    for (; waiters; waiters &= waiters - 1)
        last |= --s->tmf[__builtin_ctzll(waiters)].pending == 0;
    if (last)
        answer_soon(s);
}

/* The driver takes the queue away: nobody learns any more how a function ends. */
void scsi_control_drain(struct scsi *s, struct vq *q)
{
    if (!vq_aborting(q))
        return;
    for (struct scsi_cmd *c = s->commands; c; c = c->next)
        c->waiters = 0;
    for (; s->tmf_used; s->tmf_used &= s->tmf_used - 1) {
        const struct scsi_tmf *t = &s->tmf[__builtin_ctzll(s->tmf_used)];
        answer(t->q, t->req, 0, VIRTIO_SCSI_S_FAILURE);
    }
}

/* --- task management functions --- */

struct scope {
    struct scsi_address at;
    bool target, one; /* a whole target; one command */
    uint64_t id;
};

static bool covers(const struct scope *w, const struct scsi_cmd *c)
{
    return !c->all_targets && c->to.target == w->at.target &&
           (w->target || (!c->well_known && c->to.lun == w->at.lun)) && (!w->one || c->id == w->id);
}

static bool any(const struct scsi *s, const struct scope *w)
{
    for (const struct scsi_cmd *c = s->commands; c; c = c->next) {
        if (covers(w, c))
            return true;
    }
    return false;
}

/* Ends the commands; the function waits for them. With IN_ORDER the driver sees none of them before
 * those that were taken earlier, so it waits for all. */
static void end_commands(struct scsi *s, struct vq *q, struct vq_req *req, const struct scope *w,
                         uint8_t response)
{
    bool in_order = vdev_has(s->dev, IN_ORDER);
    unsigned slot = (unsigned)__builtin_ctzll(~s->tmf_used);
    struct scsi_tmf *t = &s->tmf[slot];
    *t = (struct scsi_tmf){.q = q, .req = req};
    s->tmf_used |= 1ull << slot;
    for (struct scsi_cmd *c = s->commands; c; c = c->next) {
        bool mine = covers(w, c);
        if (mine && !c->ended) {
            c->ended = response;
            c->io.cancel = true;
        }
        if (mine || in_order) {
            c->waiters |= 1ull << slot;
            t->pending++;
        }
    }
    if (t->pending == 0)
        answer_soon(s);
}

static void reset_units(struct scsi *s, const struct scope *w)
{
    for (unsigned i = 0; i < s->n_units; i++) {
        struct scsi_unit *u = s->units[i];
        if (u->at.target == w->at.target && (w->target || u->at.lun == w->at.lun))
            scsi_unit_reset(u, UA_RESET);
    }
}

/* 0, or why there is nobody to do it. */
static uint8_t absent(const struct scsi *s, const uint8_t lun[8], bool whole_target,
                      struct scsi_address *at)
{
    enum scsi_where where = scsi_lun_decode(lun, at);
    if (whole_target && lun[0] == 1) { /* the LUN is ignored */
        at->target = lun[1];
        where = SCSI_UNIT;
    }
    if (where == SCSI_NOWHERE || where == SCSI_ALL_TARGETS || !scsi_target_exists(s, at->target))
        return VIRTIO_SCSI_S_BAD_TARGET;
    if (!whole_target && (where != SCSI_UNIT || !scsi_unit_at(s, *at)))
        return VIRTIO_SCSI_S_INCORRECT_LUN;
    return 0;
}

/* A command that the driver made available before it asked is in flight, to it: 5.6.6.2. */
static void take_commands(struct scsi *s)
{
    for (unsigned i = 0; i < s->queues; i++) {
        struct vq *q = vdev_queue(s->dev, SCSI_REQUESTS + i);
        if (q)
            scsi_cmds_start(s, q);
    }
}

static void manage(struct scsi *s, struct vq *q, struct vq_req *req)
{
    struct virtio_scsi_ctrl_tmf_req h;
    if (vq_req_read(req, 0, &h, sizeof(h)) < 0) {
        answer(q, req, 0, VIRTIO_SCSI_S_FAILURE);
        return;
    }
    uint32_t what = le32toh(h.subtype);
    struct scope w = {.target = what == VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET,
                      .one = what == VIRTIO_SCSI_T_TMF_ABORT_TASK ||
                             what == VIRTIO_SCSI_T_TMF_QUERY_TASK,
                      .id = le64toh(h.tag)};
    uint8_t why = absent(s, h.lun, w.target, &w.at);
    s->functions++;
    take_commands(s);
    if (!why && s->tmf_used == UINT64_MAX) /* the user may have made the queue longer */
        why = VIRTIO_SCSI_S_BUSY;
    if (why) {
        answer(q, req, 0, why);
        return;
    }
    switch (what) {
    case VIRTIO_SCSI_T_TMF_ABORT_TASK:
    case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
    case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET: /* of this initiator, and there is no other */
        end_commands(s, q, req, &w, VIRTIO_SCSI_S_ABORTED);
        break;
    case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
    case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
        reset_units(s, &w);
        end_commands(s, q, req, &w, VIRTIO_SCSI_S_RESET);
        break;
    case VIRTIO_SCSI_T_TMF_QUERY_TASK:
    case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
        answer(q, req, 0, any(s, &w) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED : VIRTIO_SCSI_S_OK);
        break;
    default: /* CLEAR ACA: no unit has NORMACA */
        answer(q, req, 0, VIRTIO_SCSI_S_FUNCTION_REJECTED);
        break;
    }
}

/* --- asynchronous notifications --- */

static void notifications(struct scsi *s, struct vq *q, struct vq_req *req)
{
    struct virtio_scsi_ctrl_an_req h;
    struct scsi_address at;
    const uint8_t none[4] = {0}; /* events that a unit can report */
    uint8_t response = VIRTIO_SCSI_S_FAILURE;
    if (vq_req_read(req, 0, &h, sizeof(h)) == 0)
        response = absent(s, h.lun, false, &at);
    if (vq_req_write(req, 0, none, sizeof(none)) == 0)
        answer(q, req, sizeof(none), response);
    else
        vq_complete(q, req);
}

static void unknown(struct vq *q, struct vq_req *req)
{
    const uint8_t response = VIRTIO_SCSI_S_FAILURE;
    if (req->in_len > 0 && vq_req_write(req, req->in_len - 1, &response, 1) == 0)
        req->written = req->in_len == 1;
    vq_complete(q, req);
}

void scsi_control_kick(struct scsi *s, struct vq *q)
{
    vq_for_each (req, q) {
        uint32_t type = UINT32_MAX;
        (void)!vq_req_read(req, 0, &type, sizeof(type));
        switch (le32toh(type)) {
        case VIRTIO_SCSI_T_TMF:
            manage(s, q, req);
            break;
        case VIRTIO_SCSI_T_AN_QUERY:
        case VIRTIO_SCSI_T_AN_SUBSCRIBE:
            notifications(s, q, req);
            break;
        default:
            unknown(q, req);
            break;
        }
    }
}
