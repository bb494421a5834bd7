/* tests/fuzz/fuzz_device.c - any device of the registry, and a guest that does what the input says
 * (guest.h). */
#include "tests/fuzz/guest.h"

void fuzz_device(struct script *s, const char *class)
{
    struct world *w = world_new(class);
    struct guest *g = guest_new(w, s);
    guest_run(g, s);
    guest_end(g);
    world_free(w);
}
