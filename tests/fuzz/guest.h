/* tests/fuzz/guest.h - a driver that does what a script says, step by step: good requests and bad
 * ones, descriptors and rings written at will, the device's life turned upside down, time. It goes
 * through the rig's registers, so each step is one that a guest could take. */
#pragma once

#include "tests/fuzz/requests.h"
#include "tests/fuzz/world.h"

struct guest {
    struct rig *r;
    struct world *w;
    struct cell cell;
    uint64_t ram_again; /* where the rig's allocations begin anew */
    uint64_t at;        /* the next buffer, in the arena */
    struct {
        bool on;
        uint16_t back;
        uint8_t at, len;
    } echo;                      /* the next request repeats this of an earlier one's buffers */
    uint64_t pool[REQUEST_POOL]; /* words of answers */
    unsigned n_pool;
    bool astray;            /* some descriptor may lead to what belongs to another */
    struct state_out first; /* the state, when the driver had begun */
};

/* Transport, ring, features and sizes are the script's choice too. */
struct guest *guest_new(struct world *w, struct script *s);
/* Until the script ends, or has taken too many steps. */
void guest_run(struct guest *g, struct script *s);
/* A reset of the machine revives it: it is as it was at first, and a good request is served. Frees
 * the guest. */
void guest_end(struct guest *g);
