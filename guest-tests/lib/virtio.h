/* guest-tests/lib/virtio.h - a small virtio driver core: virtio-mmio version 2 and split rings
 * (virtio 1.4, 4.2 and 2.7), polled or by interrupt. One CPU uses it. */
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "guest.h"

#define FEATURE(bit) (1ull << (bit))
enum { VIRTIO_QUEUE_RESET = 0x0c0, VIRTIO_RING_RESET_BIT = 40 };

struct virtio {
    uint64_t base;
    unsigned pin;      /* of the I/O APIC */
    uint64_t features; /* agreed on */
};

/* The nth slot that virtio_mmio.device= names (--discovery cmdline); false: there is none. */
bool virtio_slot(unsigned nth, struct virtio *v);
/* The first device of this kind; without one the test ends. */
void virtio_find(uint32_t id, struct virtio *v);

uint32_t virtio_read(const struct virtio *v, uint32_t reg);
void virtio_write(const struct virtio *v, uint32_t reg, uint32_t value);
uint64_t virtio_offered(const struct virtio *v);

/* Reset, and as far as FEATURES_OK with those of `wanted` that are offered; VERSION_1 is. */
void virtio_begin(struct virtio *v, uint64_t wanted);
/* DRIVER_OK. */
void virtio_go(struct virtio *v);
void virtio_reset(struct virtio *v);
bool virtio_has(const struct virtio *v, unsigned bit);

struct ring {
    const struct virtio *dev;
    unsigned index;
    uint16_t size;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    uint16_t free_head, n_free, last_used, last_kicked;
    uint32_t n_kicks; /* notifications that were sent */
};
struct seg {
    const void *at;
    uint32_t len;
    bool writable; /* by the device */
};
enum { RING_MAX = 256 };

/* (Re)programs and enables the queue; the ring's memory is taken the first time only. */
void ring_start(struct ring *r, const struct virtio *v, unsigned index, uint16_t size);
/* Puts a chain into the ring; its head, or -1 if there is no room. */
int ring_add(struct ring *r, const struct seg *s, unsigned n);
/* The same as one indirect descriptor, whose table is the caller's until it comes back. */
int ring_add_indirect(struct ring *r, struct vring_desc *table, const struct seg *s, unsigned n);
/* Notifies the device, if it wants to hear of what was added since the last time. */
void ring_kick(struct ring *r);
/* Next completion: false if there is none. */
bool ring_take(struct ring *r, uint16_t *head, uint32_t *len);
/* Interrupts from this ring: none, or one at the next completion. */
void ring_quiet(struct ring *r, bool quiet);
