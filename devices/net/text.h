/* devices/net/text.h - what a user writes about networks, read. All return 0 or -EINVAL. */
#pragma once

#include <netinet/in.h>

#include "devices/net/spec.h"

/* "52:54:00:12:34:56". Neither all zeroes nor a group's. */
int CHECKED net_parse_mac(const char *text, uint8_t mac[NET_MAC_LEN]);
/* A random locally administered one (IEEE 802, 9.2). */
void net_random_mac(uint8_t mac[NET_MAC_LEN]);

/* "tcp:HOSTADDR:PORT-GUESTADDR:PORT". Without HOSTADDR it is this host alone, 127.0.0.1; without
 * GUESTADDR whoever has the first address that DHCP gives. */
struct net_hostfwd {
    bool udp;
    struct in_addr host, guest; /* guest 0.0.0.0: the first */
    uint16_t host_port, guest_port;
};
int CHECKED net_parse_hostfwd(const char *text, struct net_hostfwd *out);

/* "10.0.2.0/24": no host bits, and room for sixteen addresses. Host byte order. */
int CHECKED net_parse_subnet(const char *text, uint32_t *net, uint32_t *mask);
