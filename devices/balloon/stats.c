/* devices/balloon/stats.c - statistics of the guest's memory (virtio 1.4, 5.5.6.3). The device has
 * the driver's buffer and gives it back when it wants a newer one; a timer says when. */
#include <endian.h>

#include "devices/balloon/balloon_priv.h"

enum { ENTRIES_MAX = 256 }; /* that are looked at: a buffer has each tag once */

static const char *const tag_names[STAT_TAGS] = {
    "swap_in",    "swap_out",    "majflt",        "minflt",        "memfree",  "memtot",
    "avail",      "caches",      "htlb_pgalloc",  "htlb_pgfail",   "oom_kill", "alloc_stall",
    "async_scan", "direct_scan", "async_reclaim", "direct_reclaim"};

static void take(struct balloon *b, const struct vq_req *req)
{
    struct virtio_balloon_stat s;
    for (size_t i = 0; i < ENTRIES_MAX; i++) {
        if (vq_req_read(req, i * sizeof(s), &s, sizeof(s)) < 0)
            break;
        unsigned tag = le16toh(s.tag);
        if (tag < STAT_TAGS) {
            b->stats[tag] = le64toh(s.val);
            b->stats_have |= 1u << tag;
        }
    }
    b->stats_updates++;
}

void balloon_stats_kick(struct balloon *b, struct vq *q)
{
    struct work *w = &b->work[STATS];
    vq_for_each (req, q) {
        /* Legacy drivers left their first buffer as it was. */
        if (b->stats_begun || vdev_has(b->dev, VIRTIO_F_VERSION_1))
            take(b, req);
        if (w->req) /* a driver is to have one; the newest is kept */
            vq_complete(q, w->req);
        w->req = req;
    }
}

void balloon_stats_tick(void *balloon)
{
    struct balloon *b = balloon;
    struct work *w = &b->work[STATS];
    if (w->req) {
        struct vq *q = NULL;
        for (unsigned i = 0; i < ROLES; i++)
            q = b->role_of[i] == STATS ? vdev_queue(b->dev, i) : q;
        if (q) {
            b->stats_begun = true;
            vq_complete(q, TAKE_PTR(w->req));
        }
    }
    loop_timer_set(&b->stats_timer, b->stats_every * UINT64_C(1000000000));
}

void balloon_stats_report(const struct balloon *b, struct report *r)
{
    report_number(r, "stats_updates", b->stats_updates);
    for (unsigned i = 0; i < STAT_TAGS; i++) {
        if (b->stats_have >> i & 1)
            report_number(r, tag_names[i], b->stats[i]);
    }
}
