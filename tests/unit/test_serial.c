/* tests/unit/test_serial.c - the 16550A as drivers use it, register by register, and its state. */
#include "tests/unit/serial_try.h"

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
