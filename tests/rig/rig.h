/* tests/rig/rig.h - a driver in this process: guest RAM between guard pages, a device behind its
 * transport's registers, and nothing that sleeps. Speaks to a device only as a guest could: by
 * register accesses on the bus and by bytes in RAM. It may cheat, too. */
#pragma once

#include <criterion/criterion.h>

#include "base/bus.h"
#include "base/chardev.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"
#include "transport/transport.h"

enum { RIG_QUEUES = 16, RIG_BASE = 0xd0000000 };

struct rig_options {
    bool no_indirect, no_event_idx; /* the driver does not accept these */
    uint64_t without;               /* nor these low 64 feature bits */
    uint16_t queue_size;            /* 0: what the device offers at most */
    enum loop_backend backend;
    const char *console_path; /* port 0 writes there; NULL: nowhere */
    struct chardev *console;  /* or this one */
    bool stop_before_driver_ok;
};
struct rig_queue {
    gpa_t desc, avail, used;
    uint16_t size, free, avail_idx, used_idx;
};
struct rig {
    struct gmem *mem;
    struct bus *bus;
    struct loop *loop;
    struct chardev *console;
    struct transport *transport;
    struct vdev *dev;
    int irq_fd;
    uint64_t ram_next;
    uint64_t features;
    bool own_console;
    struct rig_options o;
    struct rig_queue q[RIG_QUEUES];
};

/* "blk,path=..." as on the command line; asserts that creation succeeds and negotiation too. */
struct rig *rig_up(const char *device, const struct rig_options *o);
struct rig *rig_up_class(const struct vdev_class *c, const void *opts, const struct rig_options *o);
void rig_down(struct rig *r);

uint32_t rig_reg(struct rig *r, uint32_t off);
void rig_reg_set(struct rig *r, uint32_t off, uint32_t v);
void rig_negotiate(struct rig *r); /* reset, features, queues, DRIVER_OK */
void rig_queue_up(struct rig *r, unsigned q);
bool rig_has(const struct rig *r, unsigned feature);
bool rig_needs_reset(struct rig *r);

gpa_t rig_alloc(struct rig *r, size_t len); /* zeroed, 16-byte aligned */
void *rig_at(struct rig *r, gpa_t at, size_t len);

/* A buffer by its host pointers (inside guest RAM): out segments, then in ones. Places descriptors,
 * makes them available, does not notify. Returns the head. */
struct rig_seg {
    gpa_t at;
    uint32_t len;
};
uint16_t rig_add(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                 const struct rig_seg *in, unsigned n_in);
uint16_t rig_add_indirect(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                          const struct rig_seg *in, unsigned n_in);
/* Raw writes into a descriptor table. */
void rig_forge(struct rig *r, gpa_t table, unsigned slot, uint64_t addr, uint32_t len,
               uint16_t flags, uint16_t next);
void rig_offer(struct rig *r, unsigned q, uint16_t head); /* avail ring and idx only */

void rig_kick(struct rig *r, unsigned q);
void rig_settle(struct rig *r); /* runs the loop until nothing is left to do */
/* The next used entry, if there is one. */
bool rig_used(struct rig *r, unsigned q, uint32_t *id, uint32_t *len);
/* Interrupts since the last call; acknowledges them as a driver does. */
unsigned rig_irqs(struct rig *r);

uint16_t rig_get16(struct rig *r, gpa_t at);
void rig_put16(struct rig *r, gpa_t at, uint16_t v);
