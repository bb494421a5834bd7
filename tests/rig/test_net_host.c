/* tests/rig/test_net_host.c - what a network device is connected to, as the user writes it: taps of
 * this host, where it has any, captures, and everything that is refused in one line. */
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "tests/rig/net_fixture.h"

static uint8_t frame[70000], got[70000];

extern const struct vdev_class net_class;

/* What create() says about "key=value,...", with the kind of failure; 0: it takes it. */
static int create(const char *text, char *msg, size_t size)
{
    uint8_t opts[1024] = {0};
    struct err e = {0};
    const struct gmem_region ram = {.base = GPA(0), .len = 1 << 20};
    const struct gmem_options plain = {0};
    struct build_env env = {0};
    struct vdev *d = NULL;
    struct gmem *mem;
    cr_assert_leq(net_class.opts_size, sizeof(opts));
    cr_assert_eq(gmem_new(&ram, 1, &plain, &mem, &e), 0);
    cr_assert_eq(loop_new("test", LOOP_AUTO, &env.loop), 0);
    env.mem = mem;
    int rc = opts_parse(net_class.opts, "--net", text, opts, &e);
    if (rc == 0)
        rc = net_class.create(opts, &env, &d, &e);
    if (rc == 0)
        vdev_free(d);
    snprintf(msg, size, "%s", e.msg);
    loop_free(env.loop);
    gmem_free(mem);
    return rc < 0 ? (int)e.kind : 0;
}

static void refuses(const char *text, int kind, const char *sentence)
{
    char msg[512];
    cr_expect_eq(create(text, msg, sizeof(msg)), kind, "%s", text);
    cr_expect_str_eq(msg, sentence);
    cr_expect_null(strchr(msg, '\n'));
}

Test(net_host, bad_input)
{
    refuses("user,mac=01:00:00:00:00:01", ERR_INPUT,
            "net user: mac \"01:00:00:00:00:01\" is no address of one interface, as "
            "52:54:00:12:34:56");
    refuses("user,mac=x", ERR_INPUT,
            "net user: mac \"x\" is no address of one interface, as 52:54:00:12:34:56");
    refuses("user,queues=2", ERR_INPUT, "net user: has one pair of queues, not 2");
    refuses("none,queues=17", ERR_INPUT, "--net: queues: 17 is out of range (1 to 16)");
    refuses("none,mtu=67", ERR_INPUT, "--net: mtu: 67 is out of range (68 to 65535)");
    refuses("user,mtu=65535", ERR_INPUT, "net user: mtu 65535 is more than 65521, its most");
    refuses("user,fd=3", ERR_INPUT, "net user: has no use for fd");
    refuses("none,ifname=x", ERR_INPUT, "net none x: has no use for ifname");
    refuses("tap,ifname=x,hostfwd=tcp::1-:2", ERR_INPUT, "net tap x: has no use for hostfwd");
    refuses("user,hostfwd=tcp:1-:2", ERR_INPUT,
            "net user: hostfwd \"tcp:1-:2\": tcp:[HOSTADDR]:PORT-[GUESTADDR]:PORT is wanted");
    refuses("user,net=10.0.2.1/24", ERR_INPUT,
            "net user: net \"10.0.2.1/24\": ADDRESS/BITS is wanted, as 10.0.2.0/24, at most 28");
    refuses("tap", ERR_INPUT, "net tap: ifname or fd is missing: the interface to use");
    refuses("tap,ifname=x,fd=5", ERR_INPUT, "net tap x: ifname and fd contradict");
    refuses("macvtap", ERR_INPUT, "net macvtap: ifname is missing: the interface to use");
    refuses("tap,ifname=no-such-tap", ERR_INPUT,
            "net tap no-such-tap: there is no interface \"no-such-tap\"");
    refuses("tap,ifname=../lo", ERR_INPUT, "net tap ../lo: there is no interface \"../lo\"");
    refuses("tap,ifname=lo", ERR_INPUT, "net tap lo: lo is no tap");
    refuses("macvtap,ifname=lo", ERR_INPUT, "net macvtap lo: lo is no macvtap");
    refuses("socket", ERR_INPUT, "net socket: fd is missing: the socket to use");
    refuses("socket,fd=900", ERR_INPUT, "net socket: fd 900 cannot be used: Bad file descriptor");
    refuses("socket,fd=1", ERR_INPUT, "net socket: fd 1 cannot be used");
    refuses("socket,fd=3:x,queues=2", ERR_INPUT,
            "net socket: fd \"3:x\": a number for each of 2 queues is wanted, as 3:4");
    refuses("socket,fd=3:3,queues=2", ERR_INPUT, "net socket: fd 3 is given twice");
    refuses("none,pcap=/no/such/file", ERR_INPUT,
            "net none: pcap /no/such/file: No such file or directory");
    refuses("none,pcap=/dev/null", ERR_INPUT, "net none: pcap /dev/null: is no regular file");
}

Test(net_host, descriptors_of_another_kind)
{
    char text[64], want[128];
    int pair[2], file = open("/dev/zero", O_RDWR);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    snprintf(text, sizeof(text), "socket,fd=%d", pair[0]);
    snprintf(want, sizeof(want), "net socket: fd %d is no socket that keeps frames apart", pair[0]);
    refuses(text, ERR_INPUT, want);
    snprintf(text, sizeof(text), "tap,fd=%d", file);
    snprintf(want, sizeof(want), "net tap: fd %d is no tap (IFF_TAP, IFF_NO_PI)", file);
    refuses(text, ERR_INPUT, want);
}

Test(net_host, a_port_that_is_taken)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    char text[64], want[128];
    int s = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(s, (struct sockaddr *)&a, len), 0);
    cr_assert_eq(listen(s, 1), 0);
    cr_assert_eq(getsockname(s, (struct sockaddr *)&a, &len), 0);
    snprintf(text, sizeof(text), "user,hostfwd=tcp:127.0.0.1:%u-:22", ntohs(a.sin_port));
    snprintf(want, sizeof(want), "net user: hostfwd tcp:127.0.0.1:%u-:22: Address already in use",
             ntohs(a.sin_port));
    refuses(text, ERR_HOST, want);
    close(s);
}

Test(net_host, random_addresses)
{
    struct rig *one = rig_up("net,backend=none", NULL), *two = rig_up("net,backend=none", NULL);
    uint8_t a[6], b[6];
    vdev_config_get(one->dev, 0, a, 6);
    vdev_config_get(two->dev, 0, b, 6);
    cr_expect_arr_neq(a, b, 6);
    cr_expect_eq(a[0] & 3, 2, "locally administered, and one interface's");
    rig_down(one);
    rig_down(two);
}

/* --- captures --- */

static char pcap_path[] = "/tmp/test_net_host.XXXXXX";

static void read_pcap(const char *fields, char *buf, size_t size)
{
    char command[200];
    snprintf(command, sizeof(command), "tshark -r %s -T fields %s 2>/dev/null || echo no tshark",
             pcap_path, fields);
    FILE *p = popen(command, "r");
    size_t n = fread(buf, 1, size - 1, p);
    buf[n] = '\0';
    pclose(p);
}

Test(net_host, capture)
{
    char more[64], text[512];
    close(mkstemp(pcap_path));
    snprintf(more, sizeof(more), ",pcap=%s", pcap_path);
    struct fx *f = fx_up(1, true, more, NULL);
    cr_expect(rig_has(f->r, VIRTIO_NET_F_HOST_TSO4), "it can do what the one inside can");
    fx_post(f, 0, 8, 200); /* in pieces */
    rig_kick(f->r, 0);
    fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_OTHER, 0x88b5, 99));
    cr_assert_eq(fx_recv(f, 0, NULL, got, sizeof(got)), 99);
    fx_send(f, 0, NULL, frame, fx_frame(frame, TO_GUEST, 0x88b5, 1000));
    rig_settle(f->r);
    /* Now, while it grows. */
    read_pcap("-e frame.len -e eth.dst -e data.data", text, sizeof(text));
    if (!strncmp(text, "no tshark", 9))
        cr_skip_test("tshark is not installed");
    char *second = strchr(text, '\n');
    cr_assert(second);
    cr_expect_eq(strncmp(text, "99\t52:54:00:00:00:02\t0e0f1011", 29), 0, "%s", text);
    cr_expect_eq(strncmp(second + 1, "1000\t52:54:00:00:00:01\t0e0f", 27), 0, "%s", second);
    fx_down(f);
    unlink(pcap_path);
}

Test(net_host, a_capture_that_cannot_grow)
{
    char more[64];
    close(mkstemp(pcap_path));
    snprintf(more, sizeof(more), ",pcap=%s", pcap_path);
    struct fx *f = fx_up(1, true, more, NULL);
    fx_frame(frame, TO_OTHER, 0x88b5, 1000);
    fx_tx(f, 1, NULL, frame, 1000);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 1500, .rlim_max = RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (unsigned i = 0; i < 3; i++)
        fx_tx(f, 1, NULL, frame, 1000);
    unsigned arrived = 0;
    while (fx_recv(f, 0, NULL, got, sizeof(got)))
        arrived++;
    cr_expect_eq(arrived, 4, "the network goes on");
    fx_down(f);
    FILE *file = fopen(pcap_path, "r");
    fseek(file, 0, SEEK_END);
    cr_expect_eq(ftell(file), 24 + 16 + 1000, "whole records only");
    fclose(file);
    unlink(pcap_path);
}

/* --- taps --- */

static int ctl(unsigned long request, const char *name, short flags)
{
    struct ifreq r = {.ifr_flags = flags};
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    int rc = ioctl(s, request, &r);
    close(s);
    return rc;
}

/* A persistent tap, up; -1: this host has none to give. */
static int make_tap(const char *name, bool multi)
{
    struct ifreq r = {.ifr_flags =
                          IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi ? IFF_MULTI_QUEUE : 0)};
    int fd = open("/dev/net/tun", O_RDWR);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0) {
        close(fd);
        return -1;
    }
    close(fd);
    return ctl(SIOCSIFFLAGS, name, IFF_UP);
}

static void remove_tap(const char *name, bool multi)
{
    struct ifreq r = {.ifr_flags =
                          IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi ? IFF_MULTI_QUEUE : 0)};
    int fd = open("/dev/net/tun", O_RDWR);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    (void)!ioctl(fd, TUNSETIFF, &r);
    (void)!ioctl(fd, TUNSETPERSIST, 0);
    close(fd);
}

/* The host's side of the interface, with the offload header. */
static int host_side(const char *name)
{
    int on = 1, s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x88b5));
    struct sockaddr_ll a = {.sll_family = AF_PACKET,
                            .sll_protocol = htons(0x88b5),
                            .sll_ifindex = (int)if_nametoindex(name)};
    cr_assert_geq(s, 0);
    cr_assert_eq(setsockopt(s, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
    cr_assert_eq(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
    return s;
}

/* The kernel drops what is sent before it has noticed that the interface has a carrier. */
static void await_carrier(const char *name)
{
    struct ifreq r = {0};
    int s = socket(AF_INET, SOCK_DGRAM, 0);
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    for (unsigned i = 0; i < 300 && !(r.ifr_flags & IFF_RUNNING); i++) {
        usleep(10000);
        cr_assert_eq(ioctl(s, SIOCGIFFLAGS, &r), 0);
    }
    close(s);
}

static struct fx *tap_fx(const char *name, unsigned queues, const char *more)
{
    char text[200];
    struct fx *f = calloc(1, sizeof(*f));
    snprintf(text, sizeof(text), "net,backend=tap,ifname=%s,queues=%u,mac=52:54:00:00:00:01%s",
             name, queues, more);
    f->hdr = HDR;
    f->r = rig_up(text, NULL);
    for (unsigned i = 0; i < NET_PEERS; i++)
        f->peer[i] = -1;
    await_carrier(name);
    return f;
}

static uint8_t *tap_used(struct fx *f, unsigned q, uint32_t *len)
{
    for (;;) { /* past what the host itself says on a new interface */
        uint8_t *b = fx_used(f, q, len);
        if (!b || (b[HDR + 12] == 0x88 && b[HDR + 13] == 0xb5))
            return b;
    }
}

Test(net_host, tap)
{
    if (make_tap("vmmt0", false) < 0)
        cr_skip_test("no taps here");
    int s = host_side("vmmt0");
    struct fx *f = tap_fx("vmmt0", 1, "");
    uint32_t len;
    cr_expect(rig_has(f->r, VIRTIO_NET_F_GUEST_TSO4) && rig_has(f->r, VIRTIO_NET_F_HOST_TSO4));
    cr_expect_eq(fx_config(f).mtu, 1500);
    refuses("tap,ifname=vmmt0", ERR_HOST, "net tap vmmt0: vmmt0 is in use by another process");
    /* Out. */
    fx_tx(f, 1, NULL, frame, fx_frame(frame, TO_ALL, 0x88b5, 500));
    cr_assert_eq(read(s, got, sizeof(got)), 10 + 500);
    cr_expect_arr_eq(got + 10, frame, 500);
    /* In, and one that is to be segmented still. */
    fx_post(f, 0, 100, 1536);
    rig_kick(f->r, 0);
    memset(got, 0, 10);
    memcpy(got + 10, frame, fx_frame(frame, TO_GUEST, 0x88b5, 1000));
    cr_assert_eq(write(s, got, 1010), 1010);
    rig_settle(f->r);
    const uint8_t *b = tap_used(f, 0, &len);
    cr_assert(b);
    cr_expect_eq(len, HDR + 1000);
    cr_expect_arr_eq(b + HDR, frame, 1000);
    fx_down(f);
    close(s);
    remove_tap("vmmt0", false);
}

Test(net_host, tap_segmentation)
{
    if (make_tap("vmmt1", false) < 0)
        cr_skip_test("no taps here");
    struct sockaddr_ll a = {.sll_family = AF_PACKET, .sll_halen = 6};
    int on = 1, s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
    a.sll_ifindex = (int)if_nametoindex("vmmt1");
    a.sll_protocol = htons(ETH_P_IP);
    cr_assert_eq(setsockopt(s, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
    struct fx *f = tap_fx("vmmt1", 1, "");
    fx_post(f, 0, 100, 1536);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    /* TCP over IPv4, 4000 bytes of payload. */
    struct {
        struct virtio_net_hdr h;
        uint8_t p[4054];
    } __attribute__((packed)) m = {.h = {.flags = 1,
                                         .gso_type = 1,
                                         .hdr_len = 54,
                                         .gso_size = 1000,
                                         .csum_start = 34,
                                         .csum_offset = 16}};
    static const uint8_t ip[40] = {0x45, 0, 0x0f, 0xc8, 0,  1, 0, 0, 64,   6,    0, 0,
                                   10,   9, 9,    1,    10, 9, 9, 2, 0,    9,    0, 9,
                                   0,    0, 0,    1,    0,  0, 0, 1, 0x50, 0x10, 1, 0};
    fx_frame(m.p, TO_GUEST, 0x0800, sizeof(m.p));
    memcpy(m.p + 14, ip, sizeof(ip));
    memcpy(a.sll_addr, m.p, 6);
    cr_assert_eq(sendto(s, &m, sizeof(m), 0, (struct sockaddr *)&a, sizeof(a)), sizeof(m));
    rig_settle(f->r);
    uint32_t len;
    const uint8_t *b;
    do
        b = fx_used(f, 0, &len);
    while (b && !(b[HDR + 12] == 8 && b[HDR + 13] == 0 && b[HDR + 23] == 6));
    cr_assert(b);
    const net_hdr_t *h = (const net_hdr_t *)b;
    cr_expect_eq(h->gso_type, VIRTIO_NET_HDR_GSO_TCPV4, "whole, as the guest can take it");
    cr_expect_eq(h->gso_size, 1000);
    cr_expect_geq(h->hdr_len, 54);
    cr_expect_eq(h->num_buffers, 3);
    /* And not when the guest has switched it off. */
    uint64_t none = 0;
    cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &none, 8), VIRTIO_NET_OK);
    while (fx_used(f, 0, &len))
        ;
    cr_assert_eq(sendto(s, &m, sizeof(m), 0, (struct sockaddr *)&a, sizeof(a)), sizeof(m));
    rig_settle(f->r);
    unsigned n = 0;
    while ((b = fx_used(f, 0, &len)) != NULL) {
        n += b[HDR + 12] == 8 && b[HDR + 23] == 6;
        cr_expect_eq(b[0], 0);
        cr_expect_eq(b[1], 0);
    }
    cr_expect_eq(n, 4, "the kernel's segments");
    fx_down(f);
    close(s);
    remove_tap("vmmt1", false);
}

Test(net_host, tap_with_queues)
{
    if (make_tap("vmmt2", true) < 0)
        cr_skip_test("no taps here");
    int s = host_side("vmmt2");
    refuses("tap,ifname=vmmt2", 0, ""); /* as it was made, so it is opened */
    struct fx *f = tap_fx("vmmt2", 3, "");
    uint16_t pairs = 3;
    uint32_t len;
    for (unsigned q = 0; q < 3; q++) {
        fx_post(f, 2 * q, 60, 1536);
        rig_kick(f->r, 2 * q);
    }
    memset(got, 0, 10);
    memcpy(got + 10, frame, fx_frame(frame, TO_GUEST, 0x88b5, 100));
    for (unsigned i = 0; i < 10; i++)
        cr_assert_eq(write(s, got, 110), 110);
    rig_settle(f->r);
    unsigned n = 0;
    while (tap_used(f, 0, &len))
        n++;
    cr_expect_eq(n, 10, "one queue is attached until more are asked for: %u", n);
    cr_assert_eq(fx_ctrl(f, VIRTIO_NET_CTRL_MQ, 0, &pairs, 2), VIRTIO_NET_OK);
    for (unsigned q = 0; q < 3; q++) {
        fx_tx(f, 2 * q + 1, NULL, frame, fx_frame(frame, TO_ALL, 0x88b5, 200 + q));
        cr_expect_eq(read(s, got, sizeof(got)), 10 + 200 + q);
    }
    fx_down(f);
    close(s);
    remove_tap("vmmt2", true);
}

Test(net_host, a_tap_without_queues)
{
    if (make_tap("vmmt3", false) < 0)
        cr_skip_test("no taps here");
    refuses("tap,ifname=vmmt3,queues=2", ERR_INPUT,
            "net tap vmmt3: vmmt3 was made without multi_queue");
    remove_tap("vmmt3", false);
}

Test(net_host, a_tap_that_goes_away)
{
    struct ifreq r = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "vmmt4"};
    int fd = open("/dev/net/tun", O_RDWR);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) < 0)
        cr_skip_test("no taps here");
    char text[64];
    snprintf(text, sizeof(text), "net,backend=tap,fd=%d", fd);
    struct rig *rig = rig_up(text, NULL);
    struct rig_seg in = {.at = rig_alloc(rig, 2000), .len = 2000};
    rig_add(rig, 0, NULL, 0, &in, 1);
    rig_kick(rig, 0);
    rig_settle(rig);
    cr_assert_eq(system("ip link delete vmmt4 2>/dev/null"), 0);
    rig_settle(rig); /* returns: said once, and heard once */
    rig_down(rig);
}
