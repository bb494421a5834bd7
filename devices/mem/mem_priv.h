/* devices/mem/mem_priv.h - the memory device from inside: mem.c makes and configures it,
 * mem_blocks.c knows which blocks are plugged, mem_requests.c does what the driver asks.
 *
 * One memfd is mapped twice. The guest's CPUs see the one mapping, in which blocks that are not
 * plugged are inaccessible: to touch one ends the guest. We see the other, in which nothing ever
 * faults, so that a ring or a request in flight may lie in a block that is being unplugged. New
 * requests cannot lead there: gmem_at() looks at the same bitmap. What is unplugged goes back to
 * the host by a hole in the memfd. */
#pragma once

#include <stdatomic.h>

#include "base/log.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"

enum {
    MEM_BLOCK_MIN = 2 << 20,
    /* Where every second block is plugged, each is a mapping of its own, and a process may have
     * 65530 of them. */
    MEM_BLOCKS_MAX = 8192,
    MEM_WORD_BITS = 64,
};

/* An unplug at work; one at a time, and what comes later waits in the queue. */
struct mem_job {
    struct vq *q;
    struct vq_req *req;       /* NULL: there is none */
    uint64_t begin, end, pos; /* bytes from the region's start */
    struct loop_task protect; /* step 1: the guest cannot reach it any more, */
    struct loop_io punch;     /* step 2: and the host has it back */
};

struct mem {
    struct loop *loop;
    int fd;
    uint8_t *own, *guest; /* the two mappings */
    gpa_t at;
    uint64_t size, block;
    /* The loop's to change; usable is never less than requested. */
    _Atomic uint64_t usable, requested, plugged;
    _Atomic uint64_t *present; /* a bit for each block */
    struct mem_job job;
    uint64_t plugs, unplugs, refusals;
    struct log_limit errors;
};

/* Offsets are bytes from the start of the region, and multiples of the block. */
size_t mem_words(const struct mem *m); /* of the bitmap */
bool mem_is_plugged(const struct mem *m, uint64_t off);
void mem_mark(struct mem *m, uint64_t begin, uint64_t end, bool on);
uint64_t mem_count(const struct mem *m, uint64_t begin, uint64_t end); /* bytes that are plugged */
/* Whether the guest's CPUs reach it. -ENOMEM: the host cannot split a mapping. */
int CHECKED mem_let_guest(struct mem *m, uint64_t begin, uint64_t end, bool on);
/* How much of the region a driver may use when so much is requested. */
uint64_t mem_usable_for(const struct mem *m, uint64_t requested);

/* As in struct vdev_ops. */
void mem_kick(struct vdev *d, struct vq *q);
void mem_power_on(struct vdev *d);
void mem_save(const struct vdev *d, struct state_out *s);
int mem_load(struct vdev *d, struct state_in *s);
