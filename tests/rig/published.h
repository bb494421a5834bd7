/* tests/rig/published.h - the interrupts in the order in which queues were published; the linker
 * sees to it (--wrap=vdev_queue_interrupt). */
#pragma once

#include "tests/rig/rig.h"

static unsigned published[8], n_published;

void __real_vdev_queue_interrupt(struct vdev *d, unsigned i);
void __wrap_vdev_queue_interrupt(struct vdev *d, unsigned i);
void __wrap_vdev_queue_interrupt(struct vdev *d, unsigned i)
{
    if (n_published < ARRAY_SIZE(published))
        published[n_published++] = i;
    __real_vdev_queue_interrupt(d, i);
}
