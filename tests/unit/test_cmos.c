/* tests/unit/test_cmos.c - the clock as a driver reads and sets it, and the memory size as old
 * kernels look it up; the host's time is the test's own. */
#include <criterion/criterion.h>
#include <time.h>

#include "arch/x86_64/cmos_priv.h"

#define S 1000000000ll

static struct bus *pio;
static struct cmos *cmos;
static int64_t now;

static int64_t clock_fn(void *ctx)
{
    cr_assert_eq(ctx, (void *)&now);
    return now;
}

static struct cmos *make(uint64_t low, uint64_t high)
{
    struct cmos *c = NULL;
    cr_assert_eq(bus_new("pio", &pio), 0);
    cr_assert_eq(cmos_new(pio, low, high, &c), 0);
    cmos_set_clock(c, clock_fn, &now);
    return c;
}

static void teardown(void)
{
    cmos_free(cmos);
    bus_free(pio);
}

static void setup(void)
{
    cmos = make(GIB(2), GIB(1));
    now = 1709210096 * S; /* Thursday, 29 February 2024, 12:34:56 */
}

static void poke(uint8_t reg, uint8_t v)
{
    uint64_t index = reg, val = v;
    cr_assert(bus_access(pio, GPA(PORT_CMOS), 1, true, &index));
    cr_assert(bus_access(pio, GPA(PORT_CMOS + 1), 1, true, &val));
}

static unsigned peek(uint8_t reg)
{
    uint64_t index = reg, val = 0;
    cr_assert(bus_access(pio, GPA(PORT_CMOS), 1, true, &index));
    cr_assert(bus_access(pio, GPA(PORT_CMOS + 1), 1, false, &val));
    cr_assert_lt(val, 256u);
    return (unsigned)val;
}

static void expect(unsigned century, unsigned year, unsigned month, unsigned day, unsigned weekday,
                   unsigned hour, unsigned minute, unsigned second)
{
    cr_assert_eq(peek(0x32), century, "century %x", peek(0x32));
    cr_assert_eq(peek(9), year, "year %x", peek(9));
    cr_assert_eq(peek(8), month, "month %x", peek(8));
    cr_assert_eq(peek(7), day, "day %x", peek(7));
    cr_assert_eq(peek(6), weekday, "weekday %x", peek(6));
    cr_assert_eq(peek(4), hour, "hour %x", peek(4));
    cr_assert_eq(peek(2), minute, "minute %x", peek(2));
    cr_assert_eq(peek(0), second, "second %x", peek(0));
}

TestSuite(cmos, .init = setup, .fini = teardown);

Test(cmos, tells_the_hosts_time_in_bcd)
{
    cr_assert_eq(peek(0xb), 2u);
    expect(0x20, 0x24, 0x02, 0x29, 5, 0x12, 0x34, 0x56);
    now += 86400 * S;
    expect(0x20, 0x24, 0x03, 0x01, 6, 0x12, 0x34, 0x56);
    now = 0;
    expect(0x19, 0x70, 0x01, 0x01, 5, 0, 0, 0);
    now = -1;
    expect(0x19, 0x69, 0x12, 0x31, 4, 0x23, 0x59, 0x59);
}

Test(cmos, every_day_agrees_with_the_library)
{
    for (int64_t day = -62092; day < 106000; day++) { /* 1800 to 2260 */
        time_t t = day * 86400 + 3661;
        struct tm tm;
        cr_assert_not_null(gmtime_r(&t, &tm));
        now = t * S;
        unsigned year = (unsigned)tm.tm_year + 1900;
        unsigned got_year = (peek(0x32) >> 4) * 1000 + (peek(0x32) & 15) * 100 +
                            (peek(9) >> 4) * 10 + (peek(9) & 15);
        cr_assert_eq(got_year, year, "day %lld", (long long)day);
        cr_assert_eq((peek(8) >> 4) * 10 + (peek(8) & 15), (unsigned)tm.tm_mon + 1);
        cr_assert_eq((peek(7) >> 4) * 10 + (peek(7) & 15), (unsigned)tm.tm_mday);
        cr_assert_eq(peek(6), (unsigned)tm.tm_wday + 1);
    }
}

Test(cmos, index_ignores_the_nmi_bit_and_cannot_be_read)
{
    uint64_t v = 0;
    poke(0x40, 0x5a);
    cr_assert_eq(peek(0xc0), 0x5au);
    cr_assert(bus_access(pio, GPA(PORT_CMOS), 1, false, &v));
    cr_assert_eq(v & 0xff, 0xffu);
    cr_assert(bus_access(pio, GPA(PORT_CMOS), 2, false, &v));
    cr_assert_eq(v & 0xffff, 0xffffu);
}

Test(cmos, wide_writes_are_ignored)
{
    uint64_t v = 0x1141;
    poke(0x40, 0x5a);
    cr_assert(bus_access(pio, GPA(PORT_CMOS), 2, true, &v));
    v = 0;
    cr_assert(bus_access(pio, GPA(PORT_CMOS + 1), 1, false, &v));
    cr_assert_eq(v, 0x5au);
}

Test(cmos, update_in_progress_announces_the_second)
{
    cr_assert_eq(peek(0xa), 0x26u);
    now += S - 244001;
    cr_assert_eq(peek(0xa), 0x26u);
    now += 1;
    cr_assert_eq(peek(0xa), 0xa6u);
    now += 243999;
    cr_assert_eq(peek(0xa), 0xa6u);
    cr_assert_eq(peek(0), 0x56u);
    now += 1;
    cr_assert_eq(peek(0xa), 0x26u);
    cr_assert_eq(peek(0), 0x57u);
}

Test(cmos, fixed_registers)
{
    poke(0xc, 0xff);
    poke(0xd, 0);
    cr_assert_eq(peek(0xc), 0u);
    cr_assert_eq(peek(0xd), 0x80u);
    poke(0xb, 0x72); /* interrupts cannot be had */
    cr_assert_eq(peek(0xb), 0x02u);
    poke(0xa, 0xa6);
    cr_assert_eq(peek(0xa), 0x26u);
}

/* As Linux's mc146818_set_time() does it: SET, divider in reset, registers, and back. */
static void set_time(bool reset_divider)
{
    poke(0xb, 0x82);
    if (reset_divider)
        poke(0xa, 0x76);
    poke(0x32, 0x19);
    poke(9, 0x99);
    poke(8, 0x12);
    poke(7, 0x31);
    poke(4, 0x23);
    poke(2, 0x59);
    poke(0, 0x58);
    now += 10 * S; /* it stands meanwhile */
    cr_assert_eq(peek(0), 0x58u);
    poke(0xb, 0x02);
    if (reset_divider)
        poke(0xa, 0x26);
}

Test(cmos, can_be_set)
{
    now += S / 4;
    set_time(false);
    expect(0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x58);
    now += S / 2;
    expect(0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x58);
    now += S / 4; /* SET alone leaves the seconds' phase */
    expect(0x19, 0x99, 0x12, 0x31, 6, 0x23, 0x59, 0x59);
    now += S;
    expect(0x20, 0, 0x01, 0x01, 7, 0, 0, 0);
}

Test(cmos, divider_reset_starts_half_a_second_in)
{
    now += S / 4;
    set_time(true);
    now += S / 2 - 1;
    cr_assert_eq(peek(0), 0x58u);
    now += 1;
    cr_assert_eq(peek(0), 0x59u);
}

Test(cmos, single_register_can_be_set_while_running)
{
    poke(2, 0x10);
    expect(0x20, 0x24, 0x02, 0x29, 5, 0x12, 0x10, 0x56);
    poke(6, 1); /* the weekday follows from the date */
    cr_assert_eq(peek(6), 5u);
}

Test(cmos, binary_and_12_hour_modes)
{
    poke(0xb, 0x06);
    expect(20, 24, 2, 29, 5, 12, 34, 56);
    poke(0xb, 0x00);
    cr_assert_eq(peek(4), 0x92u); /* 12 PM */
    now += 3 * 3600 * S;
    cr_assert_eq(peek(4), 0x83u);
    now -= 15 * 3600 * S;
    cr_assert_eq(peek(4), 0x12u); /* 12 AM */
    poke(4, 0x91);                /* 11 PM */
    poke(0xb, 0x02);
    cr_assert_eq(peek(4), 0x23u);
}

Test(cmos, nonsense_dates_do_no_harm)
{
    for (unsigned v = 0; v < 256; v++) {
        poke(0xb, 0x82 | (v & 4));
        for (uint8_t reg = 0; reg < 10; reg++)
            poke(reg, (uint8_t)v);
        poke(0x32, (uint8_t)v);
        poke(0xb, 0x02 | (v & 4));
        (void)peek(9);
        cr_assert_leq(peek(8), 0x12u);
    }
}

Test(cmos, memory_size)
{
    cr_assert_eq(peek(0x15) | peek(0x16) << 8, 640u);
    cr_assert_eq(peek(0x17) | peek(0x18) << 8, 0xffffu);
    cr_assert_eq(peek(0x30) | peek(0x31) << 8, 0xffffu);
    cr_assert_eq(peek(0x34) | peek(0x35) << 8, (unsigned)((GIB(2) - MIB(16)) >> 16));
    cr_assert_eq(peek(0x5b) | peek(0x5c) << 8 | peek(0x5d) << 16, (unsigned)(GIB(1) >> 16));
}

Test(cmos_small, memory_size_of_small_machines, .fini = teardown)
{
    cmos = make(MIB(8), 0);
    cr_assert_eq(peek(0x17) | peek(0x18) << 8, 7u * 1024);
    cr_assert_eq(peek(0x30) | peek(0x31) << 8, 7u * 1024);
    cr_assert_eq(peek(0x34) | peek(0x35) << 8, 0u);
    cr_assert_eq(peek(0x5b) | peek(0x5c) << 8 | peek(0x5d) << 16, 0u);
}

Test(cmos_small, memory_size_of_huge_machines, .fini = teardown)
{
    cmos = make(GIB(3), GIB(1) << 12);
    cr_assert_eq(peek(0x5b) | peek(0x5c) << 8 | peek(0x5d) << 16, 0xffffffu);
}

Test(cmos, reset_is_a_reboot_not_a_dead_battery)
{
    poke(0x40, 0x77);
    poke(0x34, 0);
    poke(2, 0x10);
    poke(0xb, 0x82);
    cmos_reset(cmos);
    cr_assert_eq(peek(0xb), 2u);
    cr_assert_eq(peek(0x40), 0x77u);
    cr_assert_neq(peek(0x35), 0u);
    cr_assert_eq(peek(2), 0x10u);
    now += 60 * S;
    cr_assert_eq(peek(2), 0x11u);
}

Test(cmos, save_and_load)
{
    struct state_out o = {0};
    poke(2, 0x10);
    poke(0x41, 0x99);
    cmos_save(cmos, &o);
    cr_assert_eq(o.error, 0);

    teardown();
    cmos = make(GIB(2), GIB(1));
    struct state_in i = {.buf = o.buf, .len = o.len};
    uint64_t v = 0;
    cr_assert_eq(cmos_load(cmos, &i), 0);
    cr_assert(bus_access(pio, GPA(PORT_CMOS + 1), 1, false, &v));
    cr_assert_eq(v, 0x99u); /* the index came along */
    expect(0x20, 0x24, 0x02, 0x29, 5, 0x12, 0x10, 0x56);
    state_out_free(&o);
}

static int load_with(uint8_t index, int64_t offset, uint32_t ns, uint8_t a, uint8_t b, size_t bytes)
{
    struct state_out o = {0};
    uint8_t ram[200] = {0};
    ram[0xa] = a;
    ram[0xb] = b;
    state_begin(&o, "cmos", 1);
    state_u8(&o, index);
    state_u64(&o, (uint64_t)offset);
    state_u32(&o, ns);
    state_bytes(&o, ram, bytes);
    state_end(&o);
    struct state_in i = {.buf = o.buf, .len = o.len};
    int r = cmos_load(cmos, &i);
    state_out_free(&o);
    return r;
}

Test(cmos, load_is_suspicious)
{
    cr_assert_eq(load_with(0x80, 0, 0, 0x26, 2, 128), -EBADMSG);
    cr_assert_eq(load_with(0, INT64_MAX, 0, 0x26, 2, 128), -EBADMSG);
    cr_assert_eq(load_with(0, INT64_MIN, 0, 0x26, 2, 128), -EBADMSG);
    cr_assert_eq(load_with(0, 0, 1000000000, 0x26, 2, 128), -EBADMSG);
    cr_assert_eq(load_with(0, 0, 0, 0xa6, 2, 128), -EBADMSG);
    cr_assert_eq(load_with(0, 0, 0, 0x26, 0x42, 128), -EBADMSG);
    cr_assert_eq(load_with(0, 0, 0, 0x26, 2, 127), -EBADMSG);
    cr_assert_eq(load_with(0, 0, 0, 0x26, 2, 129), -EBADMSG);
    expect(0x20, 0x24, 0x02, 0x29, 5, 0x12, 0x34, 0x56); /* untouched */
    cr_assert_eq(load_with(0, 1ll << 40, 0, 0x26, 2, 128), 0);
    (void)peek(9); /* far away, and still no harm */
    cr_assert_eq(load_with(0, 86400, 0, 0x26, 2, 128), 0);
    expect(0x20, 0x24, 0x03, 0x01, 6, 0x12, 0x34, 0x56);
}
