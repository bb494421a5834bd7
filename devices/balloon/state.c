/* devices/balloon/state.c - a balloon saved and loaded: what the driver wrote and was told, and the
 * statistics that it gave. The target is saved too: the driver knows it. */
#include "devices/balloon/balloon_priv.h"

void balloon_save(const struct vdev *d, struct state_out *s)
{
    const struct balloon *b = vdev_priv(d);
    state_begin(s, "BALN", 1);
    state_u32(s, atomic_load(&b->target));
    state_u32(s, atomic_load(&b->actual));
    state_u32(s, atomic_load(&b->draft));
    state_u32(s, atomic_load(&b->poison));
    state_u32(s, atomic_load(&b->cmd_id));
    state_u32(s, b->last_id);
    state_u32(s, b->driver_id);
    state_u8(s, b->compact);
    state_u8(s, b->stats_begun);
    state_u32(s, b->stats_have);
    for (unsigned i = 0; i < STAT_TAGS; i++)
        state_u64(s, b->stats[i]);
    state_end(s);
}

/* Whatever these say, nothing outside the guest depends on it. The target is the user's and
 * outlives a reset, so it is taken only with all the rest. */
int balloon_load(struct vdev *d, struct state_in *s)
{
    struct balloon *b = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "BALN", 1, &version);
    if (rc < 0)
        return rc;
    uint32_t target = state_get_u32(s);
    atomic_store(&b->actual, state_get_u32(s));
    atomic_store(&b->draft, state_get_u32(s));
    atomic_store(&b->poison, state_get_u32(s));
    atomic_store(&b->cmd_id, state_get_u32(s));
    uint32_t last_id = MAX(state_get_u32(s), atomic_load(&b->cmd_id));
    b->driver_id = state_get_u32(s);
    b->compact = state_get_u8(s) & 1;
    b->stats_begun = state_get_u8(s) & 1;
    b->stats_have = state_get_u32(s) & ((1u << STAT_TAGS) - 1);
    for (unsigned i = 0; i < STAT_TAGS; i++)
        b->stats[i] = state_get_u64(s);
    balloon_number_queues(b);
    rc = state_close(s);
    if (rc < 0)
        return rc;
    atomic_store(&b->target, target);
    b->last_id = MAX(b->last_id, last_id); /* none is ever used again */
    return 0;
}
