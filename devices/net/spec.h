/* devices/net/spec.h - the numbers of virtio 1.4, 5.1 that a Linux 6.1's <linux/virtio_net.h> does
 * not have yet, under the names that later ones give them. */
#pragma once

#include <linux/virtio_net.h>

#include "base/base.h"

#ifndef VIRTIO_NET_F_DEVICE_STATS
#define VIRTIO_NET_F_DEVICE_STATS 50
#endif
#ifndef VIRTIO_NET_F_VQ_NOTF_COAL
#define VIRTIO_NET_F_VQ_NOTF_COAL 52
#endif
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif
#ifndef VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET
#define VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET 2
#define VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET 3
#endif
#ifndef VIRTIO_NET_CTRL_STATS
#define VIRTIO_NET_CTRL_STATS       8
#define VIRTIO_NET_CTRL_STATS_QUERY 0
#define VIRTIO_NET_CTRL_STATS_GET   1
#endif

#define NET_F(feature) (1ull << (feature))

/* What a back end may be able to do, as the features that say so (5.1.3). */
#define NET_TX_OFFLOADS                                                                            \
    (NET_F(VIRTIO_NET_F_CSUM) | NET_F(VIRTIO_NET_F_HOST_TSO4) | NET_F(VIRTIO_NET_F_HOST_TSO6) |    \
     NET_F(VIRTIO_NET_F_HOST_ECN) | NET_F(VIRTIO_NET_F_HOST_UFO) | NET_F(VIRTIO_NET_F_HOST_USO))
#define NET_RX_GSO                                                                                 \
    (NET_F(VIRTIO_NET_F_GUEST_TSO4) | NET_F(VIRTIO_NET_F_GUEST_TSO6) |                             \
     NET_F(VIRTIO_NET_F_GUEST_UFO) | NET_F(VIRTIO_NET_F_GUEST_USO4) |                              \
     NET_F(VIRTIO_NET_F_GUEST_USO6))
#define NET_RX_OFFLOADS                                                                            \
    (NET_F(VIRTIO_NET_F_GUEST_CSUM) | NET_F(VIRTIO_NET_F_GUEST_ECN) | NET_RX_GSO)

enum { NET_MAC_LEN = 6, NET_ETH_LEN = 14, NET_VLAN_LEN = 4 };

/* 5.1.6.3: an Ethernet header, an IPv6 header and the longest payload; and a VLAN's tag. */
enum { NET_FRAME_MAX = NET_ETH_LEN + NET_VLAN_LEN + 40 + 65535 };

/* The twelve bytes that every frame of a modern driver begins with (5.1.6). */
typedef struct virtio_net_hdr_v1 net_hdr_t;
