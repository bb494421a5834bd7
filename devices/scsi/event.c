/* devices/scsi/event.c - the event queue (virtio 1.4, 5.6.6.3): events wait for buffers, up to a
 * number of them; those beyond it are lost, and the driver is told that they are. */
#include "devices/scsi/scsi_priv.h"

static bool wanted(const struct scsi *s, uint32_t event)
{
    if (event == VIRTIO_SCSI_T_PARAM_CHANGE)
        return vdev_has(s->dev, VIRTIO_SCSI_F_CHANGE);
    return vdev_has(s->dev, VIRTIO_SCSI_F_HOTPLUG);
}

static struct scsi_event take(struct scsi *s)
{
    struct scsi_event e = {.event = VIRTIO_SCSI_T_NO_EVENT};
    if (s->n_events > 0) {
        e = s->events[0];
        memmove(s->events, s->events + 1, --s->n_events * sizeof(e));
    }
    if (s->missed)
        e.event |= VIRTIO_SCSI_T_EVENTS_MISSED;
    s->missed = false;
    return e;
}

/* A buffer that is too short takes no event, and goes back saying so as far as it can. */
static bool too_short(struct vq *q, struct vq_req *req)
{
    const uint32_t none = VIRTIO_SCSI_T_NO_EVENT;
    if (req->in_len >= sizeof(struct virtio_scsi_event))
        return false;
    if (vq_req_write(req, 0, &none, sizeof(none)) == 0)
        req->written = sizeof(none);
    vq_complete(q, req);
    return true;
}

void scsi_events_flush(struct scsi *s)
{
    struct vq *q = vdev_queue(s->dev, SCSI_EVENTS);
    struct vq_req *req;
    while (q && (s->n_events > 0 || s->missed) && (req = vq_next(q))) {
        if (too_short(q, req))
            continue;
        struct scsi_event e = take(s);
        struct virtio_scsi_event out = {.event = htole32(e.event), .reason = htole32(e.reason)};
        if ((e.event & ~VIRTIO_SCSI_T_EVENTS_MISSED) != VIRTIO_SCSI_T_NO_EVENT)
            scsi_lun_encode(e.at, out.lun);
        if (vq_req_write(req, 0, &out, sizeof(out)) == 0)
            req->written = sizeof(out);
        s->events_sent++;
        vq_complete(q, req);
    }
}

void scsi_event(struct scsi *s, uint32_t event, struct scsi_address at, uint32_t reason)
{
    if (!s->dev || !wanted(s, event)) /* after a reset it wants none */
        return;
    if (s->n_events < SCSI_EVENTS_MAX) {
        s->events[s->n_events++] = (struct scsi_event){.event = event, .reason = reason, .at = at};
    } else {
        s->missed = true;
        s->events_lost++;
    }
    scsi_events_flush(s);
}
