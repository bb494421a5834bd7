/* tests/rig/board.h - a device of the tests' own for what is the transport's business: any type, as
 * many queues as a test wants, configuration of every width, shared memory. Its requests are taken
 * and held as those of held.h. One at a time in a process. */
#pragma once

#include "tests/rig/held.h"

enum { BOARD_CONFIG_LEN = 32, BOARD_SHM_FIRST = 3 };
/* Nobody looks at it. */
#define BOARD_SHM_HOST(i) ((void *)(((uintptr_t)(i) + 1) << 40))

struct board_options {
    uint16_t virtio_id; /* 0: one that has a legacy interface */
    uint32_t pci_class;
    unsigned queues; /* 0: one */
    bool bare;       /* has no configuration */
    uint64_t shm[2]; /* lengths, of the ids from BOARD_SHM_FIRST; 0: there is none */
};
extern struct board {
    struct board_options o;
    uint8_t config[BOARD_CONFIG_LEN]; /* the driver can write it */
    void (*draining)(void);           /* while a queue is being stopped; NULL: nothing */
} board;

struct rig *board_up(struct board_options o, const struct rig_options *ro);
/* Whether a request of eight bytes comes back when `notify` is called for its queue. */
bool board_serves(struct rig *r, unsigned q, void (*notify)(struct rig *r, unsigned q));
