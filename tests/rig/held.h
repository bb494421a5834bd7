/* tests/rig/held.h - a device of the tests' own: one queue, whose requests it holds until it is
 * told to complete them, so that any order and any moment can be had. One at a time in a process.
 */
#pragma once

#include "tests/rig/rig.h"

enum { HELD_MAX = 4096, HELD_STATE = 24 /* bytes of a request's state */ };

extern struct held {
    struct vq_req *req[HELD_MAX];
    struct vq *vq;
    unsigned n, kicks, resets, drains, config_writes, frees;
    uint8_t config;            /* the first byte of eight that count up; the driver can write it */
    uint8_t config_written[8]; /* what the device was shown when the driver wrote last */
    bool hold, unpop_once;
    bool aborting;         /* what vq_aborting() said of the last drain */
    unsigned take_at_most; /* a kick; 0: all */
    void (*on_take)(void); /* whenever one was taken; NULL: nothing */
} held;

extern const struct vdev_class held_class;

struct rig *held_up(const struct rig_options *o, uint16_t size);
/* With a packed ring, of any size: the device's is the next power of two. */
struct rig *held_up_packed(struct rig_options o, uint16_t size);

/* One writable buffer of `len` bytes; a notification and all that follows; what is used next. */
uint16_t held_add(struct rig *r, uint32_t len);
void held_run(struct rig *r);
void held_expect(struct rig *r, uint16_t id, uint32_t len);
void held_expect_none(struct rig *r);

/* Completes the i-th of those held, which is forgotten then. */
void held_complete(unsigned i, uint32_t written);

/* For classes that differ in something else. */
void held_kick(struct vdev *d, struct vq *q);
void held_config_read(struct vdev *d, void *cfg);
void held_free(struct vdev *d);
