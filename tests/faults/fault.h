/* tests/faults/fault.h - a host that fails when told: the linker leads what the product asks of it
 * through here (--wrap, see tests/CMakeLists.txt), and nothing of this is in the product.
 *
 * Any thread asks; one thread sets. Until something is set nothing fails. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum fault_point {
    FAULT_RESOURCE,  /* memory, mappings, descriptors, threads, rings: whatever can be used up */
    FAULT_URING,     /* a ring by itself, which the kernel may refuse */
    FAULT_LOOP_READ, /* loop_io()s where they end, on either back end; by enum loop_io_op */
    FAULT_LOOP_WRITE,
    FAULT_LOOP_SYNC,
    FAULT_LOOP_ALLOCATE,
    FAULT_READV,
    FAULT_WRITEV,
    FAULT_PREADV,
    FAULT_PWRITEV, /* pwritev2() */
    FAULT_WRITE,
    FAULT_SEND, /* and sendmsg() */
    FAULT_RECVMSG,
    FAULT_POINTS
};
/* `times` calls, after `skip` that are none of its business. With `most` they do their work up to
 * so many bytes, and what would follow is damaged if the caller leaves it at that; or else they do
 * nothing and say `error` (0: what is used up there, ENOMEM or EMFILE or EAGAIN). */
struct fault {
    unsigned skip, times;
    int error;
    size_t most;
};
#define FAULT_ALWAYS (~0u)

void fault_set(enum fault_point at, struct fault f);
unsigned fault_calls(enum fault_point at); /* since it was set; then those that failed */
unsigned fault_hits(enum fault_point at);
void fault_clear(void);        /* all of them */
void fault_pause(bool paused); /* meanwhile nothing fails, nor is counted: the test's own calls */
