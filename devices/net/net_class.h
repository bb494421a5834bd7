/* devices/net/net_class.h - what net.c, the device, and net_create.c, its options, need of each
 * other. */
#pragma once

struct net;
extern const struct vdev_ops net_ops;
void net_destroy(struct net *n); /* half-built ones too; NULL is fine */
