/* devices/virtio/vq.h - a virtqueue as a device sees it: requests to take, bytes to read and write,
 * completions to give back (virtio 1.4, 2.6 to 2.8). Split or packed, a device cannot tell.
 *
 * Everything here runs on the loop that owns the queue, from the moment the device is started until
 * its queue has drained for a reset. */
#pragma once

#include "base/base.h"

struct loop;
struct vq;

/* One buffer that the driver made available. Its descriptors were copied once, checked, and mapped
 * to host memory: readable segments first, then writable ones, none of them empty. What the
 * segments hold may still change at any time. */
struct vq_req {
    struct iovec *iov;
    unsigned n_out, n_in;   /* readable, then writable segments */
    size_t out_len, in_len; /* their bytes; segments may overlap, so these prove nothing */
    uint32_t written;       /* becomes the used length: bytes written from the first writable one */
    struct vq_core {        /* the core's own */
        unsigned cap;
        uint16_t head, slot, n_desc;
        bool done; /* IN_ORDER: completed, and an earlier one is not */
    } core;
};

/* The next request, or NULL when there is none for now. Notifications from the driver are off while
 * a device drains; before NULL is returned they are on again and the ring was looked at once more,
 * or a loop that polls looks at it from now on.
 * A broken ring or chain latches, fails the device and reads as empty: a device never handles a bad
 * chain. After as many requests as the queue has entries NULL is returned too, and the device is
 * kicked again after others had their turn. */
struct vq_req *vq_next(struct vq *q);
/* NOLINTNEXTLINE(bugprone-macro-parentheses): `req` is declared here */
#define vq_for_each(req, q) for (struct vq_req * req; ((req) = vq_next(q)) != NULL;)

/* Byte addressing that ignores where the driver cut its segments (2.6.4.1). -EMSGSIZE when the
 * range is not inside the readable or writable part. */
int CHECKED vq_req_read(const struct vq_req *r, size_t off, void *dst, size_t len);
int CHECKED vq_req_write(struct vq_req *r, size_t off, const void *src, size_t len);

/* ops->req_size bytes of the device's, preallocated, not cleared. */
void *vq_req_state(struct vq *q, struct vq_req *r);

/* Completions may come in any order and later. What completes in one turn of the loop is published
 * together at its end, with at most one interrupt. */
void vq_complete(struct vq *q, struct vq_req *r);
/* Gives the newest request back as if it had not been taken. Kick again by vq_poke(). */
void vq_unpop(struct vq *q, struct vq_req *r);

/* Has the device's kick() run soon, as if the driver had notified. */
void vq_poke(struct vq *q);

/* The driver has given up what is in flight (a reset, not a pause): end it as soon as can be. */
bool vq_aborting(const struct vq *q);

unsigned vq_index(const struct vq *q);
struct loop *vq_loop(const struct vq *q); /* that owns it */
