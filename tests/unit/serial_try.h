/* tests/unit/serial_try.h - what the tests of the 16550A share: its registers, its interrupt, and a
 * host's end that can be slow, or gone. */
#pragma once

#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "arch/x86_64/devices.h"

enum { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR, DLL = DATA, DLM = IER };
enum { PASTE = 64 * 1024 };

static struct bus *pio;
static struct loop *l;
static struct chardev *c;
static struct serial *s;
static int irq, peer = -1;
static char dir[] = "/tmp/test_serial_XXXXXX", path[64];

/* The host's end is a Unix socket, so that the test can be slow, or gone. */
static inline void connect_peer(void)
{
    struct chardev_spec spec = {.kind = CHARDEV_UNIX, .path = path};
    struct err e;
    cr_assert_eq(chardev_new(&spec, l, &c, &e), 0, "%s", e.msg);
}

static inline void call_host(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(addr.sun_path, path);
    cr_assert_eq(connect(peer, (struct sockaddr *)&addr, sizeof(addr)), 0);
    loop_settle(l);
    cr_assert(chardev_connected(c));
}

static inline void setup(void)
{
    cr_assert_not_null(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/console", dir);
    irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    cr_assert_eq(loop_new("test", LOOP_AUTO, &l), 0);
    cr_assert_eq(bus_new("pio", &pio), 0);
    connect_peer();
    cr_assert_eq(serial_new(pio, c, irq, &s), 0);
    cr_assert_eq(chardev_start(c), 0);
    call_host();
}

static inline void teardown(void)
{
    chardev_free(c);
    serial_free(s);
    bus_free(pio);
    loop_free(l);
    close(irq);
    close(peer);
    rmdir(dir);
}

static inline unsigned in(unsigned reg)
{
    uint64_t v = 0;
    cr_assert(bus_access(pio, GPA(PORT_SERIAL + reg), 1, false, &v));
    cr_assert_lt(v, 256u);
    return (unsigned)v;
}

static inline void out(unsigned reg, unsigned val)
{
    uint64_t v = val;
    cr_assert(bus_access(pio, GPA(PORT_SERIAL + reg), 1, true, &v));
}

static inline bool pulsed(void)
{
    uint64_t n;
    return read(irq, &n, sizeof(n)) == sizeof(n);
}

static inline void type(const char *text)
{
    size_t len = strlen(text);
    cr_assert_eq(write(peer, text, len), (ssize_t)len);
    loop_settle(l);
}

static inline void expect_output(const char *text)
{
    char got[64] = {0};
    ssize_t n = read(peer, got, sizeof(got) - 1);
    cr_assert_eq(MAX(n, (ssize_t)0), (ssize_t)strlen(text), "%zd bytes", n);
    cr_assert_str_eq(got, text);
}

/* As a kernel sets it up: FIFOs, modem lines with OUT2, interrupts. */
static inline void enable(unsigned fcr, unsigned ier)
{
    out(FCR, fcr);
    out(MCR, 0x0b);
    out(IER, ier);
    loop_settle(l);
    (void)pulsed();
}

TestSuite(serial, .init = setup, .fini = teardown, .timeout = 60);

static inline unsigned fill_host(void)
{
    unsigned n = 0;
    while (in(LSR)&0x20) {
        out(DATA, n++ & 0xff);
        cr_assert_lt(n, 64u << 20);
    }
    return n;
}
