/* guest-tests/ports.c - port I/O of every width, single and in strings, to devices, across their
 * ends, and to nobody; and what the small platform devices answer. */
#include "lib/guest.h"

enum { STRING_LEN = 16 };

static void nobody(uint16_t port)
{
    CHECK_EQ(port_read8(port), UINT8_MAX);
    CHECK_EQ(port_read16(port), UINT16_MAX);
    CHECK_EQ(port_read32(port), UINT32_MAX);
    port_write8(port, 0);
    port_write16(port, 0);
    port_write32(port, 0);
    CHECK_EQ(port_read32(port), UINT32_MAX);
}

static void test_unclaimed(void)
{
    static const uint16_t ports[] = {PORT_NOTHING, PORT_NOTHING + 1, 0x80, 0x2f8, 0xfff0, 0xfffc};
    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
        nobody(ports[i]);
    CHECK_EQ(port_read8(UINT16_MAX), UINT8_MAX);
}

static void test_scratch(void)
{
    static const uint8_t values[] = {0x00, 0xff, 0x5a, 0xa5};
    for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
        port_write8(PORT_SERIAL_SCRATCH, values[i]);
        CHECK_EQ(port_read8(PORT_SERIAL_SCRATCH), values[i]);
    }
    /* Across the end, and registers of a byte read as words: all ones, and nothing is written. */
    CHECK_EQ(port_read16(PORT_SERIAL_SCRATCH), UINT16_MAX);
    CHECK_EQ(port_read32(PORT_SERIAL_SCRATCH), UINT32_MAX);
    CHECK_EQ(port_read16(PORT_SERIAL_SCRATCH - 1), UINT16_MAX);
    CHECK_EQ(port_read32(PORT_SERIAL), UINT32_MAX);
    CHECK_EQ(port_read16(PORT_SERIAL - 1), UINT16_MAX);
    port_write16(PORT_SERIAL_SCRATCH, 0);
    port_write16(PORT_SERIAL_SCRATCH - 1, 0);
    port_write32(PORT_SERIAL_SCRATCH - 3, 0);
    CHECK_EQ(port_read8(PORT_SERIAL_SCRATCH), 0xa5);
}

static void test_strings(void)
{
    static const char line[] = "ports: a line by rep outsb\n";
    uint8_t bytes[STRING_LEN + 1];
    uint16_t words[STRING_LEN + 1];
    uint32_t longs[STRING_LEN + 1];
    port_write8s(PORT_DEBUG, (const uint8_t *)line, sizeof(line) - 1);

    memset(bytes, 0x11, sizeof(bytes));
    port_write8(PORT_SERIAL_SCRATCH, 0x77);
    port_read8s(PORT_SERIAL_SCRATCH, bytes, STRING_LEN);
    for (unsigned i = 0; i < STRING_LEN; i++)
        CHECK_EQ(bytes[i], 0x77);
    CHECK_EQ(bytes[STRING_LEN], 0x11);

    memset(words, 0x22, sizeof(words));
    port_read16s(PORT_NOTHING, words, STRING_LEN);
    memset(longs, 0x33, sizeof(longs));
    port_read32s(PORT_NOTHING, longs, STRING_LEN);
    for (unsigned i = 0; i < STRING_LEN; i++) {
        CHECK_EQ(words[i], UINT16_MAX);
        CHECK_EQ(longs[i], UINT32_MAX);
    }
    CHECK_EQ(words[STRING_LEN], 0x2222);
    CHECK_EQ(longs[STRING_LEN], 0x33333333);

    for (unsigned i = 0; i < STRING_LEN; i++)
        bytes[i] = (uint8_t)(0x40 + i);
    port_write8s(PORT_SERIAL_SCRATCH, bytes, STRING_LEN);
    CHECK_EQ(port_read8(PORT_SERIAL_SCRATCH), 0x40 + STRING_LEN - 1);
    port_write8s(PORT_SERIAL_SCRATCH, bytes, 0); /* no iteration, no access */
    CHECK_EQ(port_read8(PORT_SERIAL_SCRATCH), 0x40 + STRING_LEN - 1);
    port_write16s(PORT_NOTHING, words, STRING_LEN);
    port_write32s(PORT_NOTHING, longs, STRING_LEN);

    /* A string long enough for KVM to cut it into several exits. */
    uint8_t *page = pages(2);
    port_read8s(PORT_SERIAL_SCRATCH, page, 5000);
    CHECK_EQ(page[0], 0x4f);
    CHECK_EQ(page[4999], 0x4f);
    CHECK_EQ(page[5000], 0);
}

/* --- the clock --- */

static unsigned from_bcd(uint8_t v)
{
    return (v >> 4) * 10u + (v & 15u);
}

static uint64_t clock_now(void)
{
    enum { SECONDS = 0, MINUTES = 2, HOURS = 4, DAY = 7, MONTH = 8, YEAR = 9, CENTURY = 0x32 };
    static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    unsigned s, min, h, day, mon, year;
    do { /* until no second began in between */
        s = from_bcd(cmos_read(SECONDS));
        min = from_bcd(cmos_read(MINUTES));
        h = from_bcd(cmos_read(HOURS));
        day = from_bcd(cmos_read(DAY));
        mon = from_bcd(cmos_read(MONTH));
        year = from_bcd(cmos_read(CENTURY)) * 100 + from_bcd(cmos_read(YEAR));
    } while (s != from_bcd(cmos_read(SECONDS)));
    CHECK(s < 60 && min < 60 && h < 24 && day >= 1 && day <= 31 && mon >= 1 && mon <= 12);
    CHECK(year >= 1970 && year < 2200);
    if (mon < 1 || mon > 12)
        return 0;
    uint64_t past = year - 1; /* whole years */
    uint64_t days =
        past * 365 + past / 4 - past / 100 + past / 400 - 719162 + before[mon - 1] + day - 1;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (leap && mon > 2)
        days++;
    return ((days * 24 + h) * 60 + min) * 60 + s;
}

static void test_clock(void)
{
    enum { REG_B = 0x0b, REG_D = 0x0d, B_24H = 2, RAM = 0x70 };
    CHECK_EQ(cmos_read(REG_B), B_24H); /* and BCD, no interrupts */
    CHECK_EQ(cmos_read(REG_D), 0x80);
    uint64_t host = arg_number("now", 0), first = clock_now();
    out("ports: the clock says %lu, the host said %lu\n", first, host);
    if (host)
        CHECK(first >= host && first - host < 60);
    else
        skip("the time of day", "no now= on the command line");
    CHECK(WAIT_FOR(cmos_read(0) != first % 60 / 10 * 16 + first % 10));
    uint64_t later = clock_now();
    CHECK(later > first && later - first < 10);

    cmos_write(RAM, 0x3c);
    cmos_write(RAM + 1, 0xc3);
    CHECK_EQ(cmos_read(RAM), 0x3c);
    CHECK_EQ(cmos_read(RAM + 1), 0xc3);
    port_write16(PORT_CMOS_INDEX, RAM); /* the ports are a byte wide */
    CHECK_EQ(port_read16(PORT_CMOS_INDEX), UINT16_MAX);
    CHECK_EQ(port_read8(PORT_CMOS_DATA), 0xc3);
}

/* --- the rest --- */

static void test_i8042(void)
{
    for (unsigned i = 0; i < 64; i++)
        CHECK_EQ(port_read8(PORT_I8042_COMMAND) & I8042_INPUT_FULL, 0);
    CHECK_EQ(port_read8(PORT_I8042_DATA), UINT8_MAX);
    CHECK_EQ(port_read16(PORT_I8042_COMMAND), UINT16_MAX);
    port_write8(PORT_I8042_COMMAND, 0xff); /* a command, but not the reset line */
    port_write16(PORT_I8042_COMMAND, I8042_PULSE_RESET);
    port_write8(PORT_I8042_DATA, I8042_PULSE_RESET);
}

/* None of these may end the machine; if one does, the last line is missing. */
static void test_power(void)
{
    CHECK_EQ(port_read8(PORT_PVPANIC), PVPANIC_PANICKED);
    CHECK_EQ(port_read16(PORT_PVPANIC), UINT16_MAX);
    port_write8(PORT_PVPANIC, 0);
    port_write16(PORT_PVPANIC, PVPANIC_PANICKED);
    CHECK_EQ(port_read8(PORT_DEBUG), PORT_DEBUG);
    CHECK_EQ(port_read8(PORT_SLEEP_CONTROL), 0);
    CHECK_EQ(port_read8(PORT_SLEEP_STATUS), 0);
    CHECK_EQ(port_read32(PORT_SLEEP_CONTROL), UINT32_MAX);
    port_write8(PORT_SLEEP_CONTROL, SLEEP_S5 & ~0x20); /* no SLP_EN */
    port_write8(PORT_SLEEP_CONTROL, 0x20);             /* not S5 */
    port_write16(PORT_SLEEP_CONTROL, SLEEP_S5);        /* not a byte */
    port_write8(PORT_SLEEP_STATUS, SLEEP_S5);          /* not the register */
    port_write8(PORT_RESET, 0);
    port_write16(PORT_RESET, RESET_VALUE);
}

void guest_main(void)
{
    test_unclaimed();
    test_scratch();
    test_strings();
    test_clock();
    test_i8042();
    test_power();
}
