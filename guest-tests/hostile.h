/* guest-tests/hostile.h - what the files of the hostile driver share: what is attacked, what an
 * attack is, and words to make one.
 *
 * An attack begins with a device that works. After it the neighbour must have served a request, and
 * the device must serve one too: at once, which is PASS, or after a reset if it said that it needs
 * one or refused what was asked of it, which is REJECT. Anything else ends the test. */
#pragma once

#include "lib/virtio.h"

/* Which run a case belongs to: all of its bits have to be set in the run's. */
enum run {
    ON_MODERN = 1,
    ON_LEGACY = 2,
    ON_PCI = 4,
    ON_MMIO = 8,
    ON_SPLIT = 16,
    ON_PACKED = 32,
    ON_BOTH_FACES = 64, /* a transitional device */
    ON_BLK = 128,       /* requests take their time */
};
enum expect { EITHER, PASSES, REJECTS };

struct target {
    struct virtio dev;
    struct ring ring;
    unsigned queue;
    uint16_t size;
    uint64_t wanted; /* features, of those that are offered */
    bool refused;    /* the attack saw that the device did not do as it was told */
    /* Puts one good request into the ring; and: it came back, and it is right. */
    void (*submit)(struct target *t);
    bool (*finish)(struct target *t);
};

struct attack {
    const char *name;
    /* The ith way of it, on a device that works; false, and nothing done: there are no more. */
    bool (*make)(struct target *t, unsigned i);
    unsigned only; /* enum run */
    enum expect expect;
    bool spoils; /* the driver's side of the ring is unknown behind it: reset the device first */
    const char *rows; /* of tests/attacks/attacks.tsv; NULL: of none */
};
extern const struct attack register_attacks[], queue_attacks[], chain_attacks[], ring_attacks[],
    flight_attacks[], pci_attacks[], fuzz_attacks[]; /* each ends with a NULL name */

extern unsigned run_is;          /* enum run */
extern struct target *neighbour; /* of the one attacked */
/* RAM that nothing else is in, from here to its end: devices may write all over it. */
extern uint64_t scratch, ram_end;
/* A fresh 64-bit number; the same ones in each run with the same seed= on the command line. */
uint64_t random_number(void);

/* From reset to DRIVER_OK with a ring; begin is the same without queue and DRIVER_OK. */
void target_start(struct target *t);
void target_begin(struct target *t);
bool target_fails(const struct target *t); /* DEVICE_NEEDS_RESET */
/* One good request to the end; false: not answered, or wrong. */
bool target_works(struct target *t);

/* Addresses that are no RAM, or leave it within LEN bytes: false past the last. */
bool bad_address(unsigned i, uint32_t len, uint64_t *out);

/* --- raw descriptors, behind the back of lib/ring.c --- */

struct link {
    uint64_t addr;
    uint32_t len;
    uint16_t flags; /* with VRING_DESC_F_NEXT where there is one */
};
/* Makes a list available as it stands and notifies. Split rings take it from the second half of the
 * table, which good requests do not reach. */
void raw_submit(struct target *t, const struct link *l, unsigned n);
/* The same without notifying; buffer ID or first descriptor by the caller. */
void raw_put(struct target *t, uint16_t id, const struct link *l, unsigned n);
/* Waits until it came back or the device failed; n descriptors, as they were put. */
void raw_wait(struct target *t, unsigned n);
void split_publish(struct ring *r, uint16_t head);
/* Large reads of the disk into scratch memory, as many as there is room for up to n; notified. */
void leave_in_flight(struct target *t, unsigned n);
