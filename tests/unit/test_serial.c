/* tests/unit/test_serial.c - the 16550A as drivers use it: register by register, and driven by an
 * interrupt handler that only ever sees edges. */
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
static void connect_peer(void)
{
    struct chardev_spec spec = {.kind = CHARDEV_UNIX, .path = path};
    struct err e;
    cr_assert_eq(chardev_new(&spec, l, &c, &e), 0, "%s", e.msg);
}

static void call_host(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    peer = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    strcpy(addr.sun_path, path);
    cr_assert_eq(connect(peer, (struct sockaddr *)&addr, sizeof(addr)), 0);
    loop_settle(l);
    cr_assert(chardev_connected(c));
}

static void setup(void)
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

static void teardown(void)
{
    chardev_free(c);
    serial_free(s);
    bus_free(pio);
    loop_free(l);
    close(irq);
    close(peer);
    rmdir(dir);
}

static unsigned in(unsigned reg)
{
    uint64_t v = 0;
    cr_assert(bus_access(pio, GPA(PORT_SERIAL + reg), 1, false, &v));
    cr_assert_lt(v, 256u);
    return (unsigned)v;
}

static void out(unsigned reg, unsigned val)
{
    uint64_t v = val;
    cr_assert(bus_access(pio, GPA(PORT_SERIAL + reg), 1, true, &v));
}

static bool pulsed(void)
{
    uint64_t n;
    return read(irq, &n, sizeof(n)) == sizeof(n);
}

static void type(const char *text)
{
    size_t len = strlen(text);
    cr_assert_eq(write(peer, text, len), (ssize_t)len);
    loop_settle(l);
}

static void expect_output(const char *text)
{
    char got[64] = {0};
    ssize_t n = read(peer, got, sizeof(got) - 1);
    cr_assert_eq(MAX(n, (ssize_t)0), (ssize_t)strlen(text), "%zd bytes", n);
    cr_assert_str_eq(got, text);
}

/* As a kernel sets it up: FIFOs, modem lines with OUT2, interrupts. */
static void enable(unsigned fcr, unsigned ier)
{
    out(FCR, fcr);
    out(MCR, 0x0b);
    out(IER, ier);
    loop_settle(l);
    (void)pulsed();
}

TestSuite(serial, .init = setup, .fini = teardown, .timeout = 60);

Test(serial, registers_after_reset)
{
    cr_assert_eq(in(IER), 0u);
    cr_assert_eq(in(IIR), 0x01u);
    cr_assert_eq(in(LCR), 0u);
    cr_assert_eq(in(MCR), 0u);
    cr_assert_eq(in(LSR), 0x60u);
    cr_assert_eq(in(MSR), 0xb0u);
    cr_assert_eq(in(SCR), 0u);
    cr_assert_eq(in(DATA), 0u);
}

Test(serial, scratch_and_masks)
{
    for (unsigned v = 0; v < 256; v++) {
        out(SCR, v);
        out(LCR, v & 0x7f);
        out(IER, v);
        cr_assert_eq(in(SCR), v);
        cr_assert_eq(in(LCR), v & 0x7f);
        cr_assert_eq(in(IER), v & 0x0f);
    }
    out(LSR, 0xff);
    cr_assert_eq(in(LSR), 0x60u);
    out(MCR, 0xef);
    cr_assert_eq(in(MCR), 0x0fu);
}

Test(serial, divisor_latch_hides_data_and_ier)
{
    out(IER, 0x05);
    out(LCR, 0x83);
    out(DLL, 0x0c);
    out(DLM, 0x34);
    cr_assert_eq(in(DLL), 0x0cu);
    cr_assert_eq(in(DLM), 0x34u);
    out(LCR, 0x03);
    cr_assert_eq(in(IER), 0x05u);
    cr_assert_eq(in(DATA), 0u);
    out(LCR, 0x83);
    cr_assert_eq(in(DLL), 0x0cu);
    expect_output("");
}

Test(serial, only_bytes)
{
    uint64_t v = 0;
    cr_assert(bus_access(pio, GPA(PORT_SERIAL + SCR - 1), 2, false, &v));
    cr_assert_eq(v & 0xffff, 0xffffu);
    v = 0x4141;
    cr_assert(bus_access(pio, GPA(PORT_SERIAL), 2, true, &v));
    expect_output("");
}

/* What Linux's autoconfig() does to tell a 16550A from its relatives. */
Test(serial, is_taken_for_a_16550a)
{
    out(IER, 0);
    out(IER, 0x0f);
    cr_assert_eq(in(IER), 0x0fu);
    out(IER, 0);
    out(MCR, 0x1a);
    cr_assert_eq(in(MSR)&0xf0, 0x90u, "loopback");
    out(MCR, 0);
    cr_assert_eq(in(IIR) >> 6, 0u);
    out(FCR, 0x01);
    cr_assert_eq(in(IIR) >> 6, 3u);
    out(LCR, 0xbf); /* a 16650 has a register of zero here */
    cr_assert_neq(in(IIR), 0u);
    out(LCR, 0);
    out(FCR, 0x27); /* a 16750 has bit 5 */
    cr_assert_eq(in(IIR) >> 5, 6u);
    out(IER, 0x40); /* an XScale has a unit enable */
    cr_assert_eq(in(IER), 0u);
}

Test(serial, fcr_bits_count_only_with_enable)
{
    out(FCR, 0xc0);
    cr_assert_eq(in(IIR), 0x01u);
    enable(0x01, 0x01);
    type("abc");
    out(FCR, 0x01); /* no change, no reset */
    cr_assert_eq(in(DATA), 'a');
    out(FCR, 0x00); /* a change resets */
    cr_assert_eq(in(LSR), 0x60u);
}

Test(serial, output_is_immediate)
{
    for (const char *p = "hello"; *p; p++) {
        out(DATA, (unsigned)*p);
        cr_assert_eq(in(LSR)&0x60, 0x60u);
    }
    expect_output("hello");
    cr_assert_not(pulsed());
}

Test(serial, without_a_peer_output_is_dropped)
{
    close(peer);
    peer = -1;
    loop_settle(l);
    for (unsigned i = 0; i < 1000; i++) {
        out(DATA, 'x');
        cr_assert_eq(in(LSR)&0x60, 0x60u);
    }
}

Test(serial, input_waits_for_the_receive_interrupt)
{
    type("ab");
    cr_assert_eq(in(LSR)&1, 0u);
    enable(0x01, 0x01);
    cr_assert_eq(in(LSR)&1, 1u);
    cr_assert_eq(in(DATA), 'a');
    cr_assert_eq(in(DATA), 'b');
    cr_assert_eq(in(LSR)&1, 0u);
}

Test(serial, one_byte_without_fifos)
{
    enable(0x00, 0x01);
    type("abc");
    cr_assert_eq(in(IIR), 0x04u);
    for (const char *p = "abc"; *p; p++) {
        cr_assert_eq(in(LSR)&3, 1u);
        cr_assert_eq(in(DATA), (unsigned)*p);
        cr_assert_eq(in(LSR)&1, 0u);
        loop_settle(l);
    }
}

Test(serial, trigger_levels)
{
    static const unsigned levels[] = {1, 4, 8, 14};
    for (unsigned i = 0; i < 4; i++) {
        enable(0x03 | i << 6, 0x01);
        for (unsigned n = 1; n <= 16; n++) {
            type("x");
            cr_assert_eq(in(IIR), n >= levels[i] ? 0xc4u : 0xccu, "%u of %u", n, levels[i]);
            cr_assert(pulsed());
        }
        type("y");
        cr_assert_eq(in(LSR)&2, 0u, "overrun");
        for (unsigned n = 0; n < 16; n++)
            cr_assert_eq(in(DATA), 'x');
        loop_settle(l);
        cr_assert_eq(in(DATA), 'y');
        cr_assert_eq(in(IIR), 0xc1u);
    }
}

Test(serial, fifo_resets)
{
    enable(0x01, 0x01);
    type("0123456789abcdefGH");
    out(FCR, 0x03);
    cr_assert_eq(in(LSR)&1, 0u);
    loop_settle(l);
    cr_assert_eq(in(DATA), 'G'); /* what the host kept comes after */
}

Test(serial, interrupt_priorities)
{
    enable(0x01, 0x0f);
    out(MCR, 0x1b); /* loopback, and CTS, DSR, DCD as they were: no delta yet */
    (void)in(MSR);
    out(MCR, 0x1d); /* RTS off, OUT1 on, OUT2 still on */
    for (unsigned i = 0; i < 17; i++)
        out(DATA, 'a' + i); /* one too many */
    cr_assert_eq(in(IIR), 0xc6u);
    cr_assert_eq(in(LSR), 0x63u);
    cr_assert_eq(in(LSR), 0x61u);
    cr_assert_eq(in(IIR), 0xc4u);
    for (unsigned i = 0; i < 16; i++)
        cr_assert_eq(in(DATA), 'a' + i);
    cr_assert_eq(in(IIR), 0xc2u);
    cr_assert_eq(in(IIR), 0xc0u);
    cr_assert_eq(in(MSR)&0x0f, 0x01u);
    cr_assert_eq(in(IIR), 0xc1u);
    out(MCR, 0x19);
    cr_assert_eq(in(MSR)&0x0f, 0x04u, "RI counts when it ends");
    expect_output(""); /* nothing leaves in loopback */
}

Test(serial, loopback_is_deaf)
{
    enable(0x01, 0x01);
    out(MCR, 0x1b);
    loop_settle(l);
    type("x");
    cr_assert_eq(in(LSR)&1, 0u);
    out(MCR, 0x0b);
    chardev_rx_ready(c);
    loop_settle(l);
    cr_assert_eq(in(DATA), 'x');
}

Test(serial, out2_gates_the_interrupt)
{
    out(FCR, 0x01);
    out(IER, 0x02);
    cr_assert_not(pulsed());
    out(MCR, 0x08);
    cr_assert(pulsed());
    cr_assert_not(pulsed());
}

Test(serial, thre_interrupt)
{
    enable(0x01, 0x00);
    out(IER, 0x02); /* enabling raises it */
    cr_assert(pulsed());
    cr_assert_eq(in(IIR), 0xc2u);
    cr_assert_eq(in(IIR), 0xc1u); /* reading clears it */
    cr_assert_not(pulsed());
    out(DATA, 'x'); /* sent at once: empty again */
    cr_assert(pulsed());
    cr_assert_eq(in(IIR), 0xc2u);
    out(IER, 0x00); /* Linux's test for THRE that does not come back */
    out(IER, 0x02);
    cr_assert(pulsed());
    cr_assert_eq(in(IIR), 0xc2u);
    out(IER, 0x02); /* no change */
    cr_assert_eq(in(IIR), 0xc1u);
}

/* A handler that serves one cause for each edge must see an edge for each cause. */
Test(serial, one_cause_an_edge)
{
    enable(0x01, 0x03);
    (void)in(IIR);
    (void)pulsed();
    type("abc");
    cr_assert(pulsed());
    out(DATA, 'x');
    (void)pulsed();
    cr_assert_eq(in(DATA), 'a');
    cr_assert(pulsed(), "two bytes are left");
    cr_assert_eq(in(DATA), 'b');
    cr_assert(pulsed(), "one byte is left");
    cr_assert_eq(in(DATA), 'c');
    cr_assert(pulsed(), "THRE is left");
    cr_assert_eq(in(IIR), 0xc2u);
    cr_assert_not(pulsed());
}

/* Output with a host that reads slowly. */

static unsigned fill_host(void)
{
    unsigned n = 0;
    while (in(LSR)&0x20) {
        out(DATA, n++ & 0xff);
        cr_assert_lt(n, 64u << 20);
    }
    return n;
}

static void drain_host(unsigned n)
{
    uint8_t buf[4096];
    for (unsigned total = 0; total < n;) {
        ssize_t got = read(peer, buf, sizeof(buf));
        cr_assert_gt(got, 0, "lost after %u of %u", total, n);
        for (ssize_t i = 0; i < got; i++)
            cr_assert_eq(buf[i], (uint8_t)total++);
        loop_settle(l);
    }
    cr_assert_lt(read(peer, buf, 1), 0);
}

Test(serial, a_full_host_makes_the_guest_wait)
{
    enable(0x01, 0x02);
    unsigned n = fill_host();
    cr_assert_eq(in(LSR)&0x60, 0u);
    for (unsigned i = 1; i < 16; i++) /* a driver writes as much as the FIFO holds */
        out(DATA, n++ & 0xff);
    (void)pulsed();
    (void)in(IIR);
    loop_settle(l);
    cr_assert_not(pulsed(), "THRE while bytes wait");
    drain_host(n);
    cr_assert(pulsed());
    cr_assert_eq(in(IIR), 0xc2u);
    cr_assert_eq(in(LSR)&0x60, 0x60u);
}

Test(serial, more_than_the_fifo_holds_does_no_harm)
{
    enable(0x01, 0x02);
    unsigned n = fill_host();
    for (unsigned i = 1; i < 1000; i++)
        out(DATA, (n + i - 1) & 0xff);
    drain_host(n + 15);
}

Test(serial, a_peer_that_leaves_frees_the_guest)
{
    enable(0x01, 0x02);
    (void)fill_host();
    (void)pulsed();
    close(peer);
    peer = -1;
    loop_settle(l);
    cr_assert(pulsed());
    cr_assert_eq(in(LSR)&0x60, 0x60u);
}

/* Drivers. The handler runs only when there was an edge since it last began. */

static uint8_t pattern[PASTE], got[PASTE];
static size_t n_got, n_sent, n_queued;

static void make_pattern(void)
{
    uint32_t x = 7;
    for (size_t i = 0; i < PASTE; i++) {
        x = x * 1664525 + 1013904223;
        pattern[i] = (uint8_t)(x >> 24);
    }
}

/* After Linux's serial8250_handle_irq(): looks at IIR once, then at LSR. */
static void linux_handler(void)
{
    if (in(IIR)&1)
        return;
    unsigned lsr = in(LSR);
    while (lsr & 1) {
        cr_assert_lt(n_got, (size_t)PASTE);
        got[n_got++] = (uint8_t)in(DATA);
        lsr = in(LSR);
    }
    (void)in(MSR);
    for (unsigned i = 0; i < 16 && lsr & 0x20 && n_sent < n_queued; i++)
        out(DATA, pattern[n_sent++]);
    if (n_sent == n_queued)
        out(IER, 0x05);
}

/* The least that may be called a handler: one cause, one byte. */
static void lazy_handler(void)
{
    switch (in(IIR)&0x0f) {
    case 0x04:
    case 0x0c:
        cr_assert_lt(n_got, (size_t)PASTE);
        got[n_got++] = (uint8_t)in(DATA);
        break;
    case 0x02:
        if (n_sent < n_queued)
            out(DATA, pattern[n_sent++]);
        break;
    }
}

static void run(void (*handler)(void), size_t want_in, size_t want_out)
{
    static uint8_t back[PASTE];
    size_t typed = 0, n_back = 0;

    make_pattern();
    n_queued = want_out;
    out(FCR, 0xc1);
    out(MCR, 0x0b);
    out(IER, want_out ? 0x07 : 0x05);
    for (unsigned idle = 0; n_got < want_in || n_back < want_out;) {
        size_t before = typed + n_got + n_back;
        if (typed < want_in) {
            ssize_t n = write(peer, pattern + typed, want_in - typed);
            typed += n > 0 ? (size_t)n : 0;
        }
        loop_settle(l);
        while (pulsed())
            handler();
        ssize_t n = read(peer, back + n_back, MIN((size_t)1000, PASTE - n_back));
        n_back += n > 0 ? (size_t)n : 0;
        idle = before == typed + n_got + n_back ? idle + 1 : 0;
        cr_assert_lt(idle, 10u, "hangs: %zu in, %zu out", n_got, n_back);
    }
    cr_assert_eq(memcmp(got, pattern, want_in), 0);
    cr_assert_eq(memcmp(back, pattern, want_out), 0);
    cr_assert_eq(in(LSR)&3, 0u);
}

Test(serial, paste_through_linux)
{
    run(linux_handler, PASTE, 0);
}

Test(serial, both_ways_through_linux)
{
    run(linux_handler, PASTE, PASTE);
}

Test(serial, both_ways_through_a_lazy_driver)
{
    run(lazy_handler, PASTE, PASTE);
}

/* State. */

Test(serial, reset)
{
    enable(0xc1, 0x0f);
    type("abc");
    out(SCR, 0x55);
    out(LCR, 0x83);
    out(DLL, 1);
    serial_reset(s);
    cr_assert_eq(in(LSR), 0x60u);
    cr_assert_eq(in(IER) | in(LCR) | in(MCR) | in(SCR), 0u);
    cr_assert_eq(in(IIR), 0x01u);
    cr_assert_eq(in(MSR), 0xb0u);
    out(LCR, 0x80);
    cr_assert_eq(in(DLL), 0u);
}

static void replace(struct state_out *o)
{
    serial_save(s, o);
    cr_assert_eq(o->error, 0);
    chardev_free(c);
    serial_free(s);
    close(peer);
    connect_peer();
    cr_assert_eq(serial_new(pio, c, irq, &s), 0);
    cr_assert_eq(chardev_start(c), 0);
    call_host();
}

Test(serial, save_and_load)
{
    struct state_out o = {0};
    enable(0x81, 0x0f);
    out(LCR, 0x80);
    out(DLL, 0x12);
    out(DLM, 0x34);
    out(LCR, 0x03);
    out(SCR, 0x77);
    type("abc");
    cr_assert_eq(in(DATA), 'a');
    unsigned n = fill_host(); /* one byte waits */
    replace(&o);
    (void)pulsed();

    struct state_in i = {.buf = o.buf, .len = o.len};
    cr_assert_eq(serial_load(s, &i), 0);
    cr_assert(pulsed(), "an edge may have been lost with the old machine");
    char byte;
    cr_assert_eq(read(peer, &byte, 1), 1);
    cr_assert_eq((uint8_t)byte, (n - 1) & 0xff, "what waited");
    cr_assert_eq(in(IER), 0x0fu);
    cr_assert_eq(in(LCR), 0x03u);
    cr_assert_eq(in(MCR), 0x0bu);
    cr_assert_eq(in(SCR), 0x77u);
    cr_assert_eq(in(IIR), 0xccu, "two bytes, and a trigger of eight");
    type("d");
    cr_assert_eq(in(DATA), 'b');
    cr_assert_eq(in(DATA), 'c');
    cr_assert_eq(in(DATA), 'd');
    out(LCR, 0x83);
    cr_assert_eq(in(DLL), 0x12u);
    cr_assert_eq(in(DLM), 0x34u);
    state_out_free(&o);
}

/* A section as serial_save() writes it, with one register and the receiver's length chosen. */
static int load_with(size_t reg, uint8_t val, size_t rx_len)
{
    struct state_out o = {0};
    uint8_t regs[10] = {0}, bytes[32] = {0};
    regs[reg] = val;
    state_begin(&o, "uart", 1);
    for (size_t i = 0; i < sizeof(regs); i++)
        state_u8(&o, regs[i]);
    state_bytes(&o, bytes, rx_len);
    state_bytes(&o, bytes, 0);
    state_end(&o);
    struct state_in i = {.buf = o.buf, .len = o.len};
    int r = serial_load(s, &i);
    state_out_free(&o);
    return r;
}

Test(serial, load_is_suspicious)
{
    out(SCR, 0x99);
    cr_assert_eq(load_with(0, 0x10, 0), -EBADMSG);
    cr_assert_eq(load_with(1, 0x80, 0), -EBADMSG);
    cr_assert_eq(load_with(1, 0x03, 0), -EBADMSG);
    cr_assert_eq(load_with(3, 0x20, 0), -EBADMSG);
    cr_assert_eq(load_with(7, 0x10, 0), -EBADMSG);
    cr_assert_eq(load_with(8, 2, 0), -EBADMSG);
    cr_assert_eq(load_with(9, 2, 0), -EBADMSG);
    cr_assert_eq(load_with(1, 0, 2), -EBADMSG, "two bytes without FIFOs");
    cr_assert_eq(load_with(1, 1, 17), -EBADMSG);
    struct state_in empty = {0};
    cr_assert_lt(serial_load(s, &empty), 0);
    cr_assert_eq(in(SCR), 0x99u, "untouched");
    cr_assert_eq(load_with(1, 1, 16), 0);
    cr_assert_eq(in(SCR), 0u);
    cr_assert_eq(in(LSR), 0x61u);
}
