/* tests/rig/test_console.c - the console (virtio 1.4, 5.3): bytes both ways without loss, ports and
 * their control messages, emergency writes. */
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/chardev_priv.h"
#include "tests/rig/proves.h"
#include "tests/rig/reported.h"
#include "tests/rig/rig.h"

enum { RX, TX, CRX, CTX, RX1, TX1 };

static char out_path[64], sock_path[64];

static struct rig *up_file(void)
{
    (void)snprintf(out_path, sizeof(out_path), "/tmp/vmm-test-con-%d", (int)getpid());
    return rig_up("console", &(struct rig_options){.console_path = out_path});
}

static void transmit(struct rig *r, unsigned q, const void *data, uint32_t len)
{
    gpa_t a = rig_alloc(r, len);
    memcpy(rig_at(r, a, len), data, len);
    const struct rig_seg out = {a, len};
    rig_add(r, q, &out, 1, NULL, 0);
    rig_kick(r, q);
    rig_settle(r);
}

static void expect_file(const char *text)
{
    char buf[256] = {0};
    int fd = open(out_path, O_RDONLY);
    cr_assert_geq(read(fd, buf, sizeof(buf) - 1), 0);
    close(fd);
    cr_assert_str_eq(buf, text);
}

Test(console, output_reaches_the_host)
{
    struct rig *r = up_file();
    uint32_t id, len;
    transmit(r, TX, "hello, ", 7);
    transmit(r, TX, "world", 5);
    cr_assert(rig_used(r, TX, &id, &len));
    cr_assert_eq(len, 0, "nothing was written into the buffer");
    expect_file("hello, world");
    cr_assert_eq(reported(r, "output_bytes"), 12);
    cr_assert_eq(reported(r, "input_bytes"), 0);
    rig_down(r);
    unlink(out_path);
}

Test(console, emergency_write_needs_no_driver) /* 5.3.5.1 */
{
    PROVES("Device Types / Console Device / Device Initialization#01");
    PROVES("Device Types / Console Device / Device Initialization#02");
    struct rig *r = up_file();
    rig_reg_set(r, 0x70, 0);
    rig_reg_set(r, 0x100 + 8, 'X' | 0x4200);
    expect_file("X");
    rig_down(r);
    unlink(out_path);
}

/* Linux learns the size only from a change. */
Test(console, first_output_announces_the_size)
{
    struct rig *r = up_file();
    uint32_t size = rig_reg(r, 0x100), before = rig_reg(r, 0x0fc);
    transmit(r, TX, "a", 1);
    cr_assert(rig_reg(r, 0x60) & 2, "a configuration interrupt");
    cr_assert_eq(rig_reg(r, 0x100), size);
    cr_assert_neq(rig_reg(r, 0x0fc), before);
    rig_irqs(r);
    transmit(r, TX, "b", 1);
    cr_assert_not(rig_reg(r, 0x60) & 2, "once");
    rig_down(r);
    unlink(out_path);
}

Test(console, config_without_a_terminal)
{
    struct rig *r = up_file();
    cr_assert_eq(rig_reg(r, 0x100), 80 | 25 << 16);
    cr_assert_eq(rig_reg(r, 0x104), 1);
    cr_assert_not(rig_has(r, VIRTIO_CONSOLE_F_MULTIPORT));
    rig_down(r);
    unlink(out_path);
}

/* --- with a channel --- */

static struct rig *up_channel_on(enum rig_transport t)
{
    char spec[160];
    (void)snprintf(sock_path, sizeof(sock_path), "/tmp/vmm-test-chan-%d", (int)getpid());
    (void)unlink(sock_path);
    (void)snprintf(spec, sizeof(spec), "console,channel=org.test.0:%s", sock_path);
    struct rig *r = rig_up(spec, &(struct rig_options){.transport = t});
    cr_assert(rig_has(r, VIRTIO_CONSOLE_F_MULTIPORT));
    return r;
}

static struct rig *up_channel(void)
{
    return up_channel_on(RIG_MMIO);
}

static int dial(struct rig *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", sock_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    rig_settle(r);
    return fd;
}

static void control(struct rig *r, uint32_t id, uint16_t event, uint16_t value)
{
    const struct virtio_console_control m = {.id = id, .event = event, .value = value};
    transmit(r, CTX, &m, sizeof(m));
}

static gpa_t offer_rx(struct rig *r, unsigned q, uint32_t len)
{
    struct rig_seg in = {rig_alloc(r, len), len};
    rig_add(r, q, NULL, 0, &in, 1);
    rig_kick(r, q);
    rig_settle(r);
    return in.at;
}

/* Offers one control buffer and expects this message in it. */
static void expect_control(struct rig *r, uint32_t id, uint16_t event, uint16_t value,
                           const char *tail)
{
    gpa_t at = offer_rx(r, CRX, 64);
    uint32_t uid, len;
    cr_assert(rig_used(r, CRX, &uid, &len), "no message; event %u was expected", event);
    const struct virtio_console_control *m = rig_at(r, at, 64);
    cr_assert_eq(len, sizeof(*m) + strlen(tail));
    cr_assert_eq(m->id, id);
    cr_assert_eq(m->event, event);
    cr_assert_eq(m->value, value);
    cr_assert(memcmp(m + 1, tail, strlen(tail)) == 0);
}

static void expect_silence(struct rig *r)
{
    uint32_t id, len;
    (void)offer_rx(r, CRX, 64);
    cr_assert_not(rig_used(r, CRX, &id, &len));
}

static void open_ports(struct rig *r)
{
    control(r, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
    expect_control(r, 0, VIRTIO_CONSOLE_PORT_ADD, 0, "");
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_ADD, 0, "");
    control(r, 0, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_control(r, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
    expect_control(r, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
    control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.test.0");
}

Test(console, ports_are_announced_once) /* 5.3.6.2.1 */
{
    PROVES("Device Types / Console Device / Device Operation / Multiport Device Operation#01");
    struct rig *r = up_channel();
    cr_assert_eq(rig_reg(r, 0x104), 2, "max_nr_ports");
    open_ports(r); /* 0 and 1 */
    control(r, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
    expect_silence(r);
    rig_down(r);
}

/* x86 is little-endian, and so are its guests. */
Test(console, a_legacy_driver)
{
    PROVES("legacy:Device Types / Console Device / Device configuration layout / "
           "Legacy Interface: Device configuration layout#01");
    PROVES("legacy:Device Types / Console Device / Device Operation / "
           "Legacy Interface: Device Operation#01");
    static const enum rig_transport legacy[] = {RIG_MMIO_LEGACY, RIG_PCI_TRANSITIONAL_LEGACY,
                                                RIG_PCI_LEGACY};
    for (size_t i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = up_channel_on(legacy[i]);
        cr_assert_eq(rig_config(r, 0, 2), 80);
        cr_assert_eq(rig_config(r, 2, 2), 25);
        cr_assert_eq(rig_config(r, 4, 4), 2);
        open_ports(r);
        rig_down(r);
    }
}

Test(console, a_channel_carries_bytes_both_ways)
{
    struct rig *r = up_channel();
    open_ports(r);
    int fd = dial(r);
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
    char buf[64] = {0};
    transmit(r, TX1, "to the host", 11);
    cr_assert_eq(read(fd, buf, sizeof(buf)), 11);
    cr_assert_str_eq(buf, "to the host");

    cr_assert_eq(write(fd, "to the guest", 12), 12);
    gpa_t at = offer_rx(r, RX1, 5);
    uint32_t id, len;
    cr_assert_not(rig_used(r, RX1, &id, &len), "the guest has not opened the port");
    control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    cr_assert(rig_used(r, RX1, &id, &len));
    cr_assert_eq(len, 5);
    cr_assert(memcmp(rig_at(r, at, 5), "to th", 5) == 0);
    at = offer_rx(r, RX1, 100);
    cr_assert(rig_used(r, RX1, &id, &len));
    cr_assert_eq(len, 7);
    cr_assert(memcmp(rig_at(r, at, 7), "e guest", 7) == 0);

    close(fd);
    rig_settle(r);
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
    rig_down(r);
}

Test(console, a_megabyte_against_a_slow_reader)
{
    struct rig *r = up_channel();
    open_ports(r);
    int fd = dial(r);
    enum { CHUNK = 4096, CHUNKS = 64 };
    gpa_t a = rig_alloc(r, CHUNK);
    for (unsigned i = 0; i < CHUNKS; i++) {
        const struct rig_seg out = {a, CHUNK};
        (void)i;
        rig_add(r, TX1, &out, 1, NULL, 0);
    }
    uint8_t *p = rig_at(r, a, CHUNK);
    for (unsigned i = 0; i < CHUNK; i++)
        p[i] = (uint8_t)(i * 7);
    rig_kick(r, TX1);
    size_t got = 0;
    uint32_t id, len, used = 0;
    for (unsigned idle = 0; got < CHUNK * CHUNKS && idle < 1000; idle++) {
        uint8_t buf[1500];
        (void)loop_step(r->loop, 0);
        ssize_t n = read(fd, buf, sizeof(buf));
        for (ssize_t i = 0; i < n; i++)
            cr_assert_eq(buf[i], (uint8_t)((got + (size_t)i) % CHUNK * 7));
        got += n > 0 ? (size_t)n : 0;
        idle = n > 0 ? 0 : idle;
    }
    rig_settle(r);
    cr_assert_eq(got, CHUNK * CHUNKS);
    while (rig_used(r, TX1, &id, &len))
        used++;
    cr_assert_eq(used, CHUNKS);
    close(fd);
    rig_down(r);
}

/* What the host took of a buffer before a queue reset says nothing about the next buffer. */
Test(console, output_after_a_queue_reset)
{
    struct rig *r = up_channel();
    open_ports(r);
    int fd = dial(r);
    uint32_t big = 1 << 20;
    const struct rig_seg out = {rig_alloc(r, big), big};
    rig_add(r, TX1, &out, 1, NULL, 0);
    rig_kick(r, TX1);
    rig_settle(r); /* the socket is full, the rest is held */
    rig_reg_set(r, 0x30, TX1);
    rig_reg_set(r, 0x44, 0); /* QueueReady */
    char buf[65536];
    while (read(fd, buf, sizeof(buf)) > 0)
        rig_settle(r);
    rig_queue_up(r, TX1);
    transmit(r, TX1, "fresh", 5);
    cr_assert_eq(read(fd, buf, sizeof(buf)), 5);
    cr_assert(memcmp(buf, "fresh", 5) == 0);
    close(fd);
    rig_down(r);
}

Test(console, hostile_control_messages)
{
    struct rig *r = up_channel();
    const uint32_t ids[] = {0, 1, 2, 0x7fffffff, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        for (uint16_t event = 0; event < 12; event++) {
            control(r, ids[i], event, 0);
            control(r, ids[i], event, 1);
            control(r, ids[i], event, 0xffff);
        }
    }
    transmit(r, CTX, "shrt", 4);
    gpa_t a = rig_alloc(r, 64);
    struct rig_seg tiny = {a, 1};
    for (unsigned i = 0; i < 20; i++) /* one-byte buffers for eight-byte messages: row 24 */
        rig_add(r, CRX, NULL, 0, &tiny, 1);
    rig_kick(r, CRX);
    rig_settle(r);
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

Test(console, input_waits_across_a_reset)
{
    struct rig *r = up_channel();
    open_ports(r);
    int fd = dial(r);
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
    cr_assert_eq(write(fd, "early", 5), 5);
    rig_negotiate(r);
    control(r, UINT32_MAX, VIRTIO_CONSOLE_DEVICE_READY, 1);
    expect_control(r, 0, VIRTIO_CONSOLE_PORT_ADD, 0, "");
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_ADD, 0, "");
    control(r, 1, VIRTIO_CONSOLE_PORT_READY, 1);
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "org.test.0");
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
    gpa_t at = offer_rx(r, RX1, 16);
    control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    uint32_t id, len;
    cr_assert(rig_used(r, RX1, &id, &len));
    cr_assert(len == 5 && memcmp(rig_at(r, at, 5), "early", 5) == 0);
    close(fd);
    rig_down(r);
}

Test(console, an_empty_or_unwritable_input_buffer)
{
    struct rig *r = up_channel();
    open_ports(r);
    int fd = dial(r);
    control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    struct rig_seg out = {rig_alloc(r, 16), 16};
    uint32_t id, len;
    rig_add(r, RX1, &out, 1, NULL, 0); /* readable, in a receive queue */
    rig_kick(r, RX1);
    rig_settle(r);
    cr_assert_eq(write(fd, "x", 1), 1);
    rig_settle(r);
    cr_assert(rig_used(r, RX1, &id, &len));
    cr_assert_eq(len, 0);
    gpa_t at = offer_rx(r, RX1, 4);
    cr_assert(rig_used(r, RX1, &id, &len));
    cr_assert_eq(*(char *)rig_at(r, at, 1), 'x');
    close(fd);
    rig_down(r);
}

Test(console, state_round_trip)
{
    struct rig *r = up_channel();
    open_ports(r);
    control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
    struct state_out s = rig_save(r);
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    struct state_out again = rig_save(r);
    cr_assert(s.len == again.len && memcmp(s.buf, again.buf, s.len) == 0);
    vdev_resume(r->dev);
    rig_settle(r);
    int fd = dial(r);
    expect_control(r, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
    cr_assert_eq(write(fd, "on", 2), 2);
    gpa_t at = offer_rx(r, RX1, 4);
    cr_assert(memcmp(rig_at(r, at, 2), "on", 2) == 0, "the port is still open");
    close(fd);
    state_out_free(&s);
    state_out_free(&again);
    rig_down(r);
}
