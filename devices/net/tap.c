/* devices/net/tap.c - a tap interface of the host, or a macvtap: the kernel's own end of an
 * Ethernet link. It speaks the device's header (IFF_VNET_HDR), so checksums and segmentation pass
 * through to whoever can do them best. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/log.h"
#include "devices/net/backend.h"

/* Linux 6.2; an older <linux/if_tun.h> does not have them. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { IFNAME_LEN = IFNAMSIZ };

static const struct {
    unsigned feature, flag;
} offload_flags[] = {
    {VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM}, {VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4},
    {VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6}, {VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN},
    {VIRTIO_NET_F_GUEST_UFO, TUN_F_UFO},   {VIRTIO_NET_F_GUEST_USO4, TUN_F_USO4},
    {VIRTIO_NET_F_GUEST_USO6, TUN_F_USO6},
};

static unsigned tun_flags(uint64_t features)
{
    unsigned flags = 0;
    for (size_t i = 0; i < ARRAY_SIZE(offload_flags); i++) {
        if (features & NET_F(offload_flags[i].feature))
            flags |= offload_flags[i].flag;
    }
    return flags;
}

static void tap_set_offloads(struct net_backend *b, uint64_t features)
{
    unsigned flags = b->offloads ? tun_flags(features) : 0;
    /* USO4 and USO6 come together or not at all, and a flow is dropped by us if it does not fit. */
    if (flags & (TUN_F_USO4 | TUN_F_USO6))
        flags |= TUN_F_USO4 | TUN_F_USO6;
    if (ioctl(net_fd(b, 0), TUNSETOFFLOAD, (unsigned long)flags) < 0 && errno != EBADFD)
        net_fd_complain(b, "its offloads cannot be set", -errno);
}

/* Without IFF_MULTI_QUEUE there is one queue, and nothing to attach; nor is the first ever
 * detached. The kernel hands frames out among attached queues only. */
static void tap_attach(struct net_backend *b, unsigned queue, bool on)
{
    struct ifreq r = {.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};
    if (queue > 0)
        (void)ioctl(net_fd(b, queue), TUNSETQUEUE, &r); /* -EINVAL: it is as it should be */
}

#define TUN(request)                                                                               \
    {                                                                                              \
        .nr = SYS_ioctl, .on = ON_LOOP | ON_MAIN, .arg = 1, .mask = UINT32_MAX, .value = (request) \
    }
const struct sandbox_list net_tap_calls = {
    .name = "net tap",
    .calls = (const struct sandbox_call[]){TUN(TUNSETOFFLOAD), TUN(TUNSETQUEUE), {0}}};

static const struct net_backend_ops tap_ops = {.recv = net_fd_recv,
                                               .send = net_fd_send,
                                               .listen = net_fd_listen,
                                               .set_offloads = tap_set_offloads,
                                               .quiet = net_fd_quiet,
                                               .attach = tap_attach,
                                               .free = net_fd_free};

/* What the kernel can give, found by asking for less and less. */
static uint64_t probe_offloads(int fd)
{
    static const uint64_t less[] = {
        0, NET_F(VIRTIO_NET_F_GUEST_USO4) | NET_F(VIRTIO_NET_F_GUEST_USO6),
        NET_F(VIRTIO_NET_F_GUEST_UFO), NET_RX_OFFLOADS & ~NET_F(VIRTIO_NET_F_GUEST_CSUM)};
    uint64_t rx = NET_RX_OFFLOADS;
    for (size_t i = 0; i < ARRAY_SIZE(less); i++) {
        rx &= ~less[i];
        if (ioctl(fd, TUNSETOFFLOAD, (unsigned long)tun_flags(rx)) == 0) {
            uint64_t tx = NET_TX_OFFLOADS;
            if (!(rx & NET_F(VIRTIO_NET_F_GUEST_USO4)))
                tx &= ~NET_F(VIRTIO_NET_F_HOST_USO); /* both came with one kernel */
            return rx | tx;
        }
    }
    return 0;
}

static void read_interface(struct net_backend *b, const char *name, bool macvtap)
{
    struct ifreq r = {0};
    AUTO_FD s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    (void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (s < 0)
        return;
    if (ioctl(s, SIOCGIFMTU, &r) == 0 && r.ifr_mtu > 0)
        b->mtu = (uint32_t)r.ifr_mtu;
    /* A macvtap receives for its own address only. */
    if (macvtap && ioctl(s, SIOCGIFHWADDR, &r) == 0) {
        memcpy(b->mac, r.ifr_hwaddr.sa_data, sizeof(b->mac));
        b->has_mac = true;
    }
}

static int attach(const struct net_backend_spec *s, const int *fds, bool macvtap,
                  struct net_backend **out, struct err *e)
{
    struct ifreq r = {0};
    int len = sizeof(net_hdr_t);
    sandbox_need(&net_tap_calls);
    bool vnet = ioctl(fds[0], TUNGETIFF, &r) == 0 && r.ifr_flags & IFF_VNET_HDR;
    for (unsigned i = 0; vnet && i < s->queues; i++)
        vnet = ioctl(fds[i], TUNSETVNETHDRSZ, &len) == 0;
    uint64_t offloads = vnet ? probe_offloads(fds[0]) : 0;
    int rc = net_fd_new(s->what, fds, s->queues, vnet, &tap_ops, out, e);
    if (rc < 0)
        return rc;
    (*out)->offloads = offloads;
    (*out)->detaches = s->queues > 1;
    (*out)->steers = vnet && !macvtap; /* drivers/net/tun.c remembers flows, tap.c does not */
    (*out)->apart = (*out)->steers && (*out)->detaches;
    read_interface(*out, r.ifr_name, macvtap);
    tap_set_offloads(*out, 0);
    return 0;
}

/* --- by descriptor --- */

static int take(const struct net_backend_spec *s, struct net_backend **out, struct err *e)
{
    int fds[NET_QUEUES_MAX] = {-1};
    int rc = net_fds_take(s, fds, e);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < s->queues; i++) {
        struct ifreq r = {0};
        if (ioctl(fds[i], TUNGETIFF, &r) < 0 || !(r.ifr_flags & IFF_TAP) ||
            !(r.ifr_flags & IFF_NO_PI))
            return err_input(e, 0, "%s: fd %d is no tap (IFF_TAP, IFF_NO_PI)", s->what, fds[i]);
    }
    return attach(s, fds, false, out, e);
}

/* --- by name --- */

/* What the kernel tells about an interface; -ENOENT when it is none of the kind. */
static int read_sys(const char *name, const char *file, char *buf, size_t size)
{
    char path[96];
    (void)snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, file);
    FILE *f = fopen(path, "re");
    if (!f)
        return -errno;
    bool any = fgets(buf, (int)size, f) != NULL;
    (void)fclose(f);
    return any ? 0 : -ENOENT;
}

static int refused(const struct net_backend_spec *s, int rc, struct err *e)
{
    if (rc == -EBUSY)
        return err_host(e, 0, "%s: %s is in use by another process", s->what, s->ifname);
    if (rc == -EPERM || rc == -EACCES)
        return err_host(e, 0, "%s: %s: this user may not open it", s->what, s->ifname);
    if (rc == -ENOENT)
        return err_host(e, 0, "%s: %s: the host has no device file for it", s->what, s->ifname);
    return err_host(e, rc, "%s: %s", s->what, s->ifname);
}

static int open_queue(const char *node, const char *name, short flags, int *out)
{
    struct ifreq r = {.ifr_flags = flags};
    AUTO_FD fd = open(node, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    (void)snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (ioctl(fd, TUNSETIFF, &r) < 0)
        return -errno;
    *out = TAKE_FD(fd);
    return 0;
}

/* Which file and flags; refuses what would otherwise come into being by its name. */
static int find(const struct net_backend_spec *s, char *node, size_t size, short *flags,
                struct err *e)
{
    char text[32];
    bool macvtap = s->kind == NET_MACVTAP;
    if (strlen(s->ifname) >= IFNAME_LEN || strchr(s->ifname, '/') || !if_nametoindex(s->ifname))
        return err_input(e, 0, "%s: there is no interface \"%s\"", s->what, s->ifname);
    *flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (macvtap) {
        (void)snprintf(text, sizeof(text), "macvtap/tap%u/dev", if_nametoindex(s->ifname));
        if (read_sys(s->ifname, text, node, size) < 0)
            return err_input(e, 0, "%s: %s is no macvtap", s->what, s->ifname);
        (void)snprintf(node, size, "/dev/tap%u", if_nametoindex(s->ifname));
        if (s->queues > 1)
            *flags |= IFF_MULTI_QUEUE;
        return 0;
    }
    (void)snprintf(node, size, "/dev/net/tun");
    if (read_sys(s->ifname, "tun_flags", text, sizeof(text)) < 0 ||
        !(strtoul(text, NULL, 16) & IFF_TAP))
        return err_input(e, 0, "%s: %s is no tap", s->what, s->ifname);
    /* As it was made, so it is opened. */
    bool multi = strtoul(text, NULL, 16) & IFF_MULTI_QUEUE;
    if (multi)
        *flags |= IFF_MULTI_QUEUE;
    if (s->queues > 1 && !multi)
        return err_input(e, 0, "%s: %s was made without multi_queue", s->what, s->ifname);
    return 0;
}

int net_tap_open(const struct net_backend_spec *s, struct loop *l, struct net_backend **out,
                 struct err *e)
{
    int fds[NET_QUEUES_MAX] = {-1}, rc = 0;
    char node[64];
    short flags;
    unsigned n = 0;
    (void)l; /* the sink says */
    if (!s->ifname == !s->fds)
        return err_input(e, 0, "%s: %s", s->what,
                         s->fds ? "ifname and fd contradict"
                         : s->kind == NET_MACVTAP
                             ? "ifname is missing: the interface to use"
                             : "ifname or fd is missing: the interface to use");
    if (s->fds)
        return take(s, out, e);
    rc = find(s, node, sizeof(node), &flags, e);
    if (rc < 0)
        return rc;
    for (; n < s->queues && rc == 0; n += rc == 0)
        rc = open_queue(node, s->ifname, flags, &fds[n]);
    if (rc == 0)
        return attach(s, fds, s->kind == NET_MACVTAP, out, e);
    for (unsigned i = 0; i < n; i++)
        (void)close(fds[i]);
    return refused(s, rc, e);
}
