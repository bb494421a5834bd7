/* devices/scsi/state.c - what a SCSI host has to remember: nothing is in flight, so it is sizes,
 * what each unit has yet to tell, and events that wait. The units themselves are the options'. */
#include "devices/scsi/scsi_priv.h"

enum { VERSION = 1, STOPPED = 1, EJECTED = 2, PREVENTED = 4, FLAGS = 7 };

void scsi_save(const struct vdev *d, struct state_out *out)
{
    const struct scsi *s = vdev_priv(d);
    state_begin(out, "SCSI", VERSION);
    state_u32(out, s->cdb_draft);
    state_u32(out, s->sense_draft);
    state_u32(out, atomic_load(&s->cdb_size));
    state_u32(out, atomic_load(&s->sense_size));
    state_u8(out, s->missed);
    state_u8(out, (uint8_t)s->n_events);
    for (unsigned i = 0; i < s->n_events; i++) {
        state_u32(out, s->events[i].event);
        state_u32(out, s->events[i].reason);
        state_u8(out, s->events[i].at.target);
        state_u16(out, s->events[i].at.lun);
    }
    state_u8(out, (uint8_t)s->n_units);
    for (unsigned i = 0; i < s->n_units; i++) {
        const struct scsi_unit *u = s->units[i];
        state_u8(out, u->at.target);
        state_u16(out, u->at.lun);
        state_u8(out, u->cd);
        state_u32(out, u->block);
        state_u64(out, u->blocks);
        state_u8(out, (uint8_t)u->attention);
        state_u8(out, (uint8_t)((u->stopped ? STOPPED : 0) | (u->ejected ? EJECTED : 0) |
                                (u->prevented ? PREVENTED : 0)));
        state_u8(out, u->media_event);
    }
    state_end(out);
}

/* What a state says of the units and the events, until all of it is known to be good. */
struct loaded {
    uint32_t seen; /* bits: units */
    bool missed;
    unsigned n_events;
    struct scsi_event events[SCSI_EVENTS_MAX];
    struct unit_state {
        uint8_t attention, flags, media_event;
    } units[SCSI_UNITS_MAX];
};

/* One that the device makes. */
static bool is_event(const struct scsi_event *e)
{
    bool known = e->event == VIRTIO_SCSI_T_TRANSPORT_RESET
                     ? e->reason == VIRTIO_SCSI_EVT_RESET_RESCAN ||
                           e->reason == VIRTIO_SCSI_EVT_RESET_REMOVED
                     : e->event == VIRTIO_SCSI_T_PARAM_CHANGE && e->reason == SCSI_CAPACITY_CHANGED;
    return known && e->at.lun <= SCSI_LUN_MAX;
}

static bool get_events(struct loaded *to, struct state_in *in)
{
    uint8_t missed = state_get_u8(in), n = state_get_u8(in);
    if (missed > 1 || n > SCSI_EVENTS_MAX)
        return false;
    to->missed = missed;
    to->n_events = n;
    for (unsigned i = 0; i < n; i++) {
        struct scsi_event *e = &to->events[i];
        e->event = state_get_u32(in);
        e->reason = state_get_u32(in);
        e->at.target = state_get_u8(in);
        e->at.lun = state_get_u16(in);
        if (!is_event(e))
            return false;
    }
    return true;
}

/* A disk has no tray: nothing is ejected, locked or put in. */
static bool is_unit_state(const struct unit_state *t, bool cd)
{
    return t->attention <= UA_ALL && !(t->flags & ~(cd ? FLAGS : STOPPED)) &&
           t->media_event <= (cd ? SCSI_MEDIA_REMOVED : 0);
}

/* The units are these, in any order, and each is there once. */
static bool get_unit(const struct scsi *s, struct loaded *to, struct state_in *in)
{
    struct scsi_address at = {.target = state_get_u8(in)};
    at.lun = state_get_u16(in);
    const struct scsi_unit *u = scsi_unit_at(s, at);
    uint8_t cd = state_get_u8(in);
    uint32_t block = state_get_u32(in);
    uint64_t blocks = state_get_u64(in);
    struct unit_state t = {.attention = state_get_u8(in)};
    t.flags = state_get_u8(in);
    t.media_event = state_get_u8(in);
    if (!u || cd != u->cd || block != u->block || blocks != u->blocks || !is_unit_state(&t, u->cd))
        return false;
    unsigned i = 0;
    while (s->units[i] != u)
        i++;
    if (to->seen >> i & 1)
        return false;
    to->seen |= 1u << i;
    to->units[i] = t;
    return true;
}

static void apply(struct scsi *s, const struct loaded *from)
{
    s->missed = from->missed;
    s->n_events = from->n_events;
    memcpy(s->events, from->events, sizeof(s->events));
    for (unsigned i = 0; i < s->n_units; i++) {
        const struct unit_state *t = &from->units[i];
        struct scsi_unit *u = s->units[i];
        u->attention = t->attention;
        u->stopped = t->flags & STOPPED;
        u->ejected = t->flags & EJECTED;
        u->prevented = t->flags & PREVENTED;
        u->media_event = t->media_event;
    }
}

int scsi_load(struct vdev *d, struct state_in *in)
{
    struct scsi *s = vdev_priv(d);
    struct loaded l = {0};
    uint32_t version;
    int rc = state_open(in, "SCSI", VERSION, &version);
    if (rc < 0)
        return rc;
    uint32_t cdb_draft = state_get_u32(in), sense_draft = state_get_u32(in);
    uint32_t cdb = state_get_u32(in), sense = state_get_u32(in);
    bool good = cdb >= SCSI_CDB_MIN && cdb <= SCSI_CDB_MAX && sense <= SCSI_SENSE_MAX &&
                get_events(&l, in) && state_get_u8(in) == s->n_units;
    for (unsigned i = 0; good && i < s->n_units; i++)
        good = get_unit(s, &l, in);
    rc = state_close(in);
    if (rc < 0 || !good)
        return -EBADMSG;
    apply(s, &l);
    s->cdb_draft = cdb_draft;
    s->sense_draft = sense_draft;
    atomic_store(&s->cdb_size, cdb);
    atomic_store(&s->sense_size, sense);
    return 0;
}
