/* devices/net/net.h - what others may do to a network device while it runs. */
#pragma once

#include "base/base.h"

struct vdev;

/* Plugs the cable in, or pulls it: the driver is told (5.1.4, VIRTIO_NET_S_LINK_UP), and while it
 * is out frames are dropped both ways. Any thread. */
void net_set_link(struct vdev *d, bool up);
/* Asks the driver to announce itself to its neighbours (5.1.6.5.4), if it knows how; after the
 * guest was moved. Any thread. */
void net_announce(struct vdev *d);
