/* tests/bench/driver.h - a driver that costs as little as one can: a device by vdev_ctl.h, no
 * transport, and rings whose requests are described once and offered again and again.
 *
 * Guest RAM has the two regions of a machine with more than 3 GiB: rings are in the first one,
 * buffers in the second. */
#pragma once

#include "base/gmem.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"
#include "devices/virtio/vdev_ctl.h"

struct machine {
    struct gmem *mem;
    struct loop *loop;
    struct vdev *dev;
    struct vdev_port port;
    int irq_fd; /* what an interrupt writes to, as to an irqfd; -1: it is only counted */
    uint64_t interrupts;
    uint64_t low, high; /* the next free addresses */
};

/* What the driver accepts, beside all that the device's type offers. */
struct shape {
    bool packed, indirect, event_idx, in_order;
    unsigned segments; /* descriptors of a request: */
    unsigned writable; /* the last of them */
    uint16_t slots;    /* requests that may be in flight: a power of two */
};

struct driver {
    struct machine *m;
    struct shape s;
    uint8_t *desc, *avail, *used;
    uint16_t size;
    uint16_t avail_idx, used_idx, asked;
    bool avail_wrap, used_wrap;
    struct request { /* as its descriptors in the ring are */
        gpa_t at[4];
        uint32_t len[4];
        gpa_t table;
    } * requests;
};

/* Memory, a loop and no device. */
void machine_up(struct machine *m);
void machine_down(struct machine *m);
gpa_t machine_low(struct machine *m, size_t len);  /* for rings, aligned to 4096 */
gpa_t machine_high(struct machine *m, size_t len); /* for buffers, aligned to 4096 */
void *machine_at(struct machine *m, gpa_t at, size_t len);
/* "blk,path=..." as on the command line; or m->dev is the caller's and has been made. Attached, and
 * features are agreed on. */
void machine_device(struct machine *m, const char *device);
void machine_negotiate(struct machine *m, const struct shape *s);
void machine_driver_ok(struct machine *m);
/* What the device is created with. */
void machine_env(struct machine *m, struct build_env *env);

/* Queue `index`, between negotiate and driver_ok. A request's buffers are 4096 bytes for each
 * segment; the caller may describe it otherwise before it is offered the first time. */
void driver_up(struct driver *d, struct machine *m, unsigned index, const struct shape *s);
void driver_down(struct driver *d);
void driver_describe(struct driver *d, unsigned slot); /* after a change of requests[slot] */

/* Offers a request; the device sees what was offered after driver_publish(). */
void driver_add(struct driver *d, unsigned slot);
void driver_publish(struct driver *d);
bool driver_must_kick(struct driver *d); /* of a split ring */
/* A request that came back, or -1. */
int driver_reap(struct driver *d);
/* n requests came back in the order in which they were added; nobody looks. */
void driver_skip(struct driver *d, unsigned n);
bool driver_all_back(const struct driver *d); /* all that were skipped have come back */
/* The rings leave this CPU's caches, as when another has written them. */
void driver_cool(struct driver *d);
/* The next request to come back shall be announced. */
void driver_wish(struct driver *d);
