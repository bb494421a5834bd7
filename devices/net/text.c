/* devices/net/text.c - see text.h. */
#include "devices/net/text.h"

#include <arpa/inet.h>
#include <sys/random.h>
#include <time.h>

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c ? strchr(digits, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;
    return at ? (int)(at - digits) : -1;
}

int net_parse_mac(const char *text, uint8_t mac[NET_MAC_LEN])
{
    uint8_t m[NET_MAC_LEN], any = 0;
    for (unsigned i = 0; i < NET_MAC_LEN; i++) {
        int hi = hex_digit(text[0]), lo = hi < 0 ? -1 : hex_digit(text[1]);
        if (lo < 0 || text[2] != (i + 1 < NET_MAC_LEN ? ':' : '\0'))
            return -EINVAL;
        m[i] = (uint8_t)(hi << 4 | lo);
        any |= m[i];
        text += 3;
    }
    if (!any || m[0] & 1)
        return -EINVAL;
    memcpy(mac, m, sizeof(m));
    return 0;
}

void net_random_mac(uint8_t mac[NET_MAC_LEN])
{
    /* Not worth a refusal: early in a host's life the clock and the process must do. */
    if (getrandom(mac, NET_MAC_LEN, GRND_NONBLOCK) != NET_MAC_LEN) {
        struct timespec t;
        (void)clock_gettime(CLOCK_REALTIME, &t);
        put_bytes(mac, (uint64_t)t.tv_nsec * 31 ^ (uint64_t)getpid() << 20, NET_MAC_LEN);
    }
    mac[0] = (uint8_t)((mac[0] & ~1) | 2);
}

/* Reads digits up to `end`, which must stand there. */
static int parse_port(const char **at, char end, uint16_t *out)
{
    unsigned v = 0;
    const char *p = *at;
    for (; *p >= '0' && *p <= '9' && v <= UINT16_MAX; p++)
        v = v * 10 + (unsigned)(*p - '0');
    if (p == *at || *p != end || v == 0 || v > UINT16_MAX)
        return -EINVAL;
    *out = (uint16_t)v;
    *at = p;
    return 0;
}

/* Reads an address up to a colon and goes behind it; an empty one stays what it is. */
static int parse_address(const char **at, struct in_addr *out)
{
    char text[INET_ADDRSTRLEN];
    size_t len = strcspn(*at, ":");
    if (len >= sizeof(text) || (*at)[len] != ':')
        return -EINVAL;
    memcpy(text, *at, len);
    text[len] = '\0';
    if (len && inet_pton(AF_INET, text, out) != 1)
        return -EINVAL;
    *at += len + 1;
    return 0;
}

int net_parse_hostfwd(const char *text, struct net_hostfwd *out)
{
    struct net_hostfwd f = {.host.s_addr = htonl(INADDR_LOOPBACK)};
    f.udp = !strncmp(text, "udp:", 4);
    if (!f.udp && strncmp(text, "tcp:", 4) != 0)
        return -EINVAL;
    text += 4;
    if (parse_address(&text, &f.host) < 0 || parse_port(&text, '-', &f.host_port) < 0)
        return -EINVAL;
    text++;
    if (parse_address(&text, &f.guest) < 0 || parse_port(&text, '\0', &f.guest_port) < 0)
        return -EINVAL;
    *out = f;
    return 0;
}

int net_parse_subnet(const char *text, uint32_t *net, uint32_t *mask)
{
    char addr[INET_ADDRSTRLEN];
    size_t len = strcspn(text, "/");
    struct in_addr a;
    uint16_t bits;
    const char *at = text + len + 1;
    if (len >= sizeof(addr) || !text[len] || parse_port(&at, '\0', &bits) < 0 || bits > 28)
        return -EINVAL;
    memcpy(addr, text, len);
    addr[len] = '\0';
    uint32_t m = UINT32_MAX << (32 - bits);
    if (inet_pton(AF_INET, addr, &a) != 1 || ntohl(a.s_addr) & ~m)
        return -EINVAL;
    *net = ntohl(a.s_addr);
    *mask = m;
    return 0;
}
