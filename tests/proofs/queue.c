/* tests/proofs/queue.c - a ring format with any guest: what Frama-C's Eva analyses (tools/prove). */
#ifdef PACKED
#include "devices/virtio/vq_packed.c"
#else
#include "devices/virtio/vq_split.c"
#endif
#include <__fc_builtin.h>
int main(void) { return 0; }
