/* tests/unit/test_serial_flow.c - the 16550A with a host that reads slowly, and driven by an
 * interrupt handler that only ever sees edges. */
#include "tests/unit/serial_try.h"

/* Output with a host that reads slowly. */

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
