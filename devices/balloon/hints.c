/* devices/balloon/hints.c - free page hinting (virtio 1.4, 5.5.6.5). The device begins a round by a
 * new command ID; the driver answers with that ID, with pages, and with STOP; the device says DONE,
 * and the driver has its pages back. */
#include <endian.h>

#include "devices/balloon/balloon_priv.h"

static bool in_a_round(const struct balloon *b)
{
    return atomic_load(&b->cmd_id) > VIRTIO_BALLOON_CMD_ID_DONE;
}

void balloon_hints_end(struct balloon *b)
{
    if (!in_a_round(b))
        return;
    atomic_store(&b->cmd_id, VIRTIO_BALLOON_CMD_ID_DONE);
    vdev_config_changed(b->dev);
}

/* An ID is never used twice; there are enough for a round each second in 136 years. */
static void begin(struct balloon *b)
{
    if (in_a_round(b) || b->last_id == UINT32_MAX || !vdev_started(b->dev) ||
        !vdev_has(b->dev, VIRTIO_BALLOON_F_FREE_PAGE_HINT))
        return;
    b->last_id = MAX(b->last_id, (uint32_t)VIRTIO_BALLOON_CMD_ID_DONE) + 1;
    b->hint_rounds++;
    atomic_store(&b->cmd_id, b->last_id);
    vdev_config_changed(b->dev);
}

void balloon_hints_tick(void *balloon)
{
    struct balloon *b = balloon;
    begin(b);
    loop_timer_set(&b->hints_timer, b->hints_every * UINT64_C(1000000000));
}

/* A STOP that answers an earlier round may come late. */
static void command(struct balloon *b, uint32_t id)
{
    bool stops = id == VIRTIO_BALLOON_CMD_ID_STOP && b->driver_id == atomic_load(&b->cmd_id);
    b->driver_id = id;
    if (stops)
        balloon_hints_end(b);
}

bool balloon_hint(struct balloon *b, struct work *w, uint64_t *left)
{
    uint32_t id;
    if (w->done == 0 && vq_req_read(w->req, 0, &id, sizeof(id)) == 0)
        command(b, le32toh(id));
    if (!in_a_round(b) || b->driver_id != atomic_load(&b->cmd_id))
        return true; /* pages of another round, or of none */
    if (w->done == 0)
        b->hinted += w->req->in_len;
    return balloon_release_segments(b, w, left);
}
