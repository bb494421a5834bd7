/* devices/balloon/balloon_priv.h - a balloon from inside: what its device (balloon.c), its pages
 * (pages.c), its statistics and hints (stats.c, hints.c) and its saved state (state.c) share. */
#pragma once

#include <linux/virtio_balloon.h>
#include <stdatomic.h>

#include "base/gmem.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"

/* What a queue is for, and its number in the specification (5.5.2). */
enum role { INFLATE, DEFLATE, STATS, HINTS, REPORTS, ROLES };

enum { STAT_TAGS = 16 }; /* of the specification, and those that Linux has added since */

/* The one request of a queue that is not finished in one turn, or is kept. */
struct work {
    struct vq_req *req;
    size_t done; /* bytes of it */
};

struct balloon_opts {
    uint64_t size;
    uint32_t stats, hints; /* seconds; 0: never */
    bool deflate_on_oom, hinting, reporting, page_poison;
};

struct balloon {
    struct vdev *dev;
    struct gmem *mem;
    struct loop *loop;
    /* Configuration space: vCPU threads and the loop. */
    atomic_uint target, actual; /* pages of 4096 bytes */
    atomic_uint draft;          /* `actual` as far as the driver has written it */
    atomic_uint poison, cmd_id;

    bool compact;                /* how the driver has numbered its queues; set at the start, */
    uint8_t role_of[ROLES];      /* and what follows; ROLES: for nothing */
    struct work work[ROLES];     /* the rest is the loop's */
    uint32_t last_id, driver_id; /* the command ID that was issued last, and the driver's current */
    struct loop_timer stats_timer, hints_timer;
    uint32_t stats_every, hints_every; /* seconds */
    bool stats_begun;                  /* the driver's first buffer has gone back */
    uint32_t stats_have;               /* bits: tags that the driver has supplied */
    uint64_t stats[STAT_TAGS];
    uint64_t inflated, deflated, reported, hinted; /* bytes the guest named, and those of them */
    uint64_t released;                             /* that the host has got back */
    uint64_t stats_updates, hint_rounds;
};

/* pages.c. Each goes on with w->req for as long as *left lasts, which is work to be done in this
 * turn; true when the request is finished. */
enum { TURN_BYTES = 64 << 20 };
bool balloon_inflate(struct balloon *b, struct work *w, uint64_t *left);
bool balloon_report(struct balloon *b, struct work *w, uint64_t *left);
bool balloon_release_segments(struct balloon *b, struct work *w, uint64_t *left);

/* stats.c */
void balloon_stats_kick(struct balloon *b, struct vq *q);
void balloon_stats_tick(void *balloon);
void balloon_stats_report(const struct balloon *b, struct report *r);

/* hints.c */
bool balloon_hint(struct balloon *b, struct work *w, uint64_t *left);
void balloon_hints_tick(void *balloon);
void balloon_hints_end(struct balloon *b); /* DONE: hints are of no use any more */

/* balloon.c */
void balloon_number_queues(struct balloon *b); /* by `compact` */

/* state.c */
void balloon_save(const struct vdev *d, struct state_out *s);
int CHECKED balloon_load(struct vdev *d, struct state_in *s);
