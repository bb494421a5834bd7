/* tests/fuzz/world.h - what the host has for a device in a fuzz target: files and folders that are
 * new for each input, and the far end of its sockets. */
#pragma once

#include "tests/rig/matrix.h"

enum { WORLD_TEXT = 256, WORLD_PEERS = 4, WORLD_FILE_LEN = 2 << 20 };
struct world {
    const struct matrix_class *class;
    char spec[WORLD_TEXT]; /* as behind --device */
    int file, disc;        /* behind paths that the device has; -1: none */
    int peer[WORLD_PEERS]; /* of its sockets; -1: none */
    int listens;           /* for a guest that calls; -1: none */
    bool turned;           /* the user has turned a knob */
};
struct world *world_new(const char *class);
/* Nothing outside of what the device was given has changed, nor is it in what the guest has seen.
 */
void world_check(const struct world *w, const void *seen, size_t len);
void world_mark(const struct world *w); /* a disk has what the matrix looks for, again */
void world_free(struct world *w);

/* The host's programs and its user: calls the device, says something to it, hangs up, turns a knob.
 */
void world_act(struct world *w, struct rig *r, struct script *s);
