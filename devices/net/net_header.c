/* devices/net/net_header.c - the header in front of every frame (5.1.6): what a driver, or whoever
 * is at the other end of the back end, may say in it. What passes here makes sense and was
 * negotiated. */
#include "devices/net/net_priv.h"

/* Which feature lets a type of segmentation through; each direction has its own. */
static const struct {
    uint8_t type;
    uint64_t tx, rx;
} gso_types[] = {
    {VIRTIO_NET_HDR_GSO_TCPV4, NET_F(VIRTIO_NET_F_HOST_TSO4), NET_F(VIRTIO_NET_F_GUEST_TSO4)},
    {VIRTIO_NET_HDR_GSO_TCPV6, NET_F(VIRTIO_NET_F_HOST_TSO6), NET_F(VIRTIO_NET_F_GUEST_TSO6)},
    {VIRTIO_NET_HDR_GSO_UDP, NET_F(VIRTIO_NET_F_HOST_UFO), NET_F(VIRTIO_NET_F_GUEST_UFO)},
    {VIRTIO_NET_HDR_GSO_UDP_L4, NET_F(VIRTIO_NET_F_HOST_USO),
     NET_F(VIRTIO_NET_F_GUEST_USO4) | NET_F(VIRTIO_NET_F_GUEST_USO6)},
};

/* Bits that we do not know, such as those of tunnels, are types that we do not know. */
static bool gso_allowed(uint8_t type, uint64_t features, bool tx)
{
    uint64_t ecn = NET_F(tx ? VIRTIO_NET_F_HOST_ECN : VIRTIO_NET_F_GUEST_ECN);
    if (type & VIRTIO_NET_HDR_GSO_ECN && !(features & ecn))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(gso_types); i++) {
        if (gso_types[i].type == (type & ~VIRTIO_NET_HDR_GSO_ECN))
            return features & (tx ? gso_types[i].tx : gso_types[i].rx);
    }
    return false;
}

static bool header_ok(net_hdr_t *h, size_t len, uint64_t features, bool tx)
{
    bool csum = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
    if (csum && (size_t)le16toh(h->csum_start) + le16toh(h->csum_offset) + 2 > len)
        return false;
    if (!csum)
        h->csum_start = h->csum_offset = 0;
    if ((h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_NONE) {
        h->gso_type = VIRTIO_NET_HDR_GSO_NONE;
        h->gso_size = 0;
    } else if (!csum || h->gso_size == 0 || !gso_allowed(h->gso_type, features, tx)) {
        return false;
    }
    if (le16toh(h->hdr_len) > len) /* a hint, not to be relied on (5.1.6.2.2) */
        h->hdr_len = htole16((uint16_t)len);
    return true;
}

bool net_tx_header_ok(const struct net_settings *s, net_hdr_t *h, size_t len)
{
    bool csum = s->tx_offloads & NET_F(VIRTIO_NET_F_CSUM);
    h->flags &= csum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0; /* the rest we do not recognize */
    h->num_buffers = 0;
    return header_ok(h, len, s->tx_offloads, true);
}

/* hdr_len covers the headers up to the transport's (5.1.6.4.1), whatever the other end says of it:
 * the transport's is where its checksum begins. */
static void cover_headers(net_hdr_t *h, const uint8_t *head, size_t head_len, size_t len)
{
    enum { UDP = 8, TCP = 20, TCP_WORDS = 12 };
    uint8_t type = h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
    size_t all = le16toh(h->csum_start), words = all + TCP_WORDS;
    if (type == VIRTIO_NET_HDR_GSO_UDP || type == VIRTIO_NET_HDR_GSO_UDP_L4)
        all += UDP;
    else
        all += words < head_len ? MAX((head[words] >> 4) * 4, (int)TCP) : TCP;
    all = MIN(all, len);
    if (type != VIRTIO_NET_HDR_GSO_NONE && le16toh(h->hdr_len) < all && all <= UINT16_MAX)
        h->hdr_len = htole16((uint16_t)all);
}

bool net_rx_header_ok(const struct net_settings *s, net_hdr_t *h, const uint8_t *head,
                      size_t head_len, size_t len)
{
    if (!(s->rx_offloads & NET_F(VIRTIO_NET_F_GUEST_CSUM))) {
        /* A frame from before the offload was switched off is not worth a checksum of ours. */
        if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
            return false;
        h->flags = 0;
    }
    h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID;
    if (!header_ok(h, len, s->rx_offloads, false))
        return false;
    cover_headers(h, head, head_len, len);
    return true;
}
