/* tests/unit/test_pm.c - every way out of a machine raises its event, once; nothing else does. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "arch/x86_64/devices.h"

static struct bus *pio, *mmio;
static struct pm *pm;
static unsigned count[3];

static void raised(void *ctx, enum platform_event ev)
{
    cr_assert_eq(ctx, (void *)count);
    count[ev]++;
}

static void make(struct chardev *debug)
{
    struct platform_events ev = {.raise = raised, .ctx = count};
    cr_assert_eq(bus_new("pio", &pio), 0);
    cr_assert_eq(bus_new("mmio", &mmio), 0);
    cr_assert_eq(pm_new(pio, mmio, &ev, debug, &pm), 0);
}

static void setup(void)
{
    make(NULL);
}

static void teardown(void)
{
    pm_free(pm);
    bus_free(pio);
    bus_free(mmio);
}

static uint64_t in(struct bus *b, uint64_t at, unsigned size)
{
    uint64_t v = 0;
    cr_assert(bus_access(b, GPA(at), size, false, &v));
    return v;
}

static void out(struct bus *b, uint64_t at, unsigned size, uint64_t v)
{
    cr_assert(bus_access(b, GPA(at), size, true, &v));
}

static void expect(unsigned power_off, unsigned reset, unsigned panic)
{
    cr_assert_eq(count[PLATFORM_POWER_OFF], power_off);
    cr_assert_eq(count[PLATFORM_RESET], reset);
    cr_assert_eq(count[PLATFORM_PANIC], panic);
}

TestSuite(pm, .init = setup, .fini = teardown);

Test(pm, keyboard_controller_resets_on_0xfe_alone)
{
    for (unsigned v = 0; v < 256; v++) {
        if (v != 0xfe)
            out(pio, PORT_I8042_CMD, 1, v);
        out(pio, PORT_I8042_DATA, 1, v);
    }
    expect(0, 0, 0);
    out(pio, PORT_I8042_CMD, 1, 0xfe);
    expect(0, 1, 0);
}

Test(pm, keyboard_controller_never_makes_wait)
{
    unsigned full = 0, run = 0;
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t status = in(pio, PORT_I8042_CMD, 1);
        cr_assert_eq(status & 2, 0u, "input full");
        full += status & 1;
        if (i < 17)
            run += status & 1;
        cr_assert_eq(in(pio, PORT_I8042_DATA, 1) & 0xff, 0xffu);
    }
    cr_assert_eq(run, 17u, "Linux probes on");
    cr_assert_lt(full, 10000u, "a drain loop never ends");
    cr_assert_gt(full, 9990u);
}

Test(pm, acpi_sleep_wants_s5_and_slp_en)
{
    for (unsigned v = 0; v < 256; v++) {
        if (!(v & PM_SLP_EN) || (v >> PM_SLP_TYP_SHIFT & 7) != PM_S5)
            out(pio, PORT_PM + PM_SLEEP_CONTROL, 1, v);
    }
    expect(0, 0, 0);
    out(pio, PORT_PM + PM_SLEEP_CONTROL, 1, PM_S5 << PM_SLP_TYP_SHIFT | PM_SLP_EN);
    expect(1, 0, 0);
    cr_assert_eq(in(pio, PORT_PM + PM_SLEEP_STATUS, 1), 0u);
    out(pio, PORT_PM + PM_SLEEP_STATUS, 1, 0x80);
    out(pio, PORT_PM + PM_SLEEP_CONTROL, 2, PM_S5 << PM_SLP_TYP_SHIFT | PM_SLP_EN);
    expect(1, 0, 0);
}

Test(pm, acpi_reset_register)
{
    out(pio, PORT_PM + PM_RESET, 1, 0);
    out(pio, PORT_PM + PM_RESET, 1, PM_RESET_VALUE + 1);
    expect(0, 0, 0);
    out(pio, PORT_PM + PM_RESET, 1, PM_RESET_VALUE);
    expect(0, 1, 0);
}

Test(pm, pvpanic)
{
    cr_assert_eq(in(pio, PORT_PVPANIC, 1), 1u);
    out(pio, PORT_PVPANIC, 1, 2);
    expect(0, 0, 0);
    out(pio, PORT_PVPANIC, 1, 1);
    expect(0, 0, 1);
    out(pio, PORT_PVPANIC, 1, 3);
    expect(0, 0, 2);
}

Test(pm, syscon_takes_whole_words)
{
    cr_assert_eq(in(mmio, LAYOUT_SYSCON, 4), 0u);
    out(mmio, LAYOUT_SYSCON, 4, 0);
    out(mmio, LAYOUT_SYSCON, 4, 3);
    out(mmio, LAYOUT_SYSCON, 1, 1);
    out(mmio, LAYOUT_SYSCON, 2, 2);
    expect(0, 0, 0);
    out(mmio, LAYOUT_SYSCON, 4, 1);
    expect(1, 0, 0);
    out(mmio, LAYOUT_SYSCON, 4, 2);
    expect(1, 1, 0);
}

Test(pm, debugcon_without_anyone)
{
    cr_assert_eq(in(pio, PORT_DEBUGCON, 1), 0xe9u);
    out(pio, PORT_DEBUGCON, 1, 'x');
    expect(0, 0, 0);
}

Test(pm, free_unmaps_and_takes_null)
{
    uint64_t v = 0;
    pm_free(pm);
    pm = NULL;
    cr_assert_not(bus_access(pio, GPA(PORT_PVPANIC), 1, false, &v));
    cr_assert_not(bus_access(mmio, GPA(LAYOUT_SYSCON), 4, false, &v));
}

Test(pm, busy_ports_are_refused_whole)
{
    struct platform_events ev = {.raise = raised, .ctx = count};
    struct pm *second = NULL;
    cr_assert_eq(pm_new(pio, mmio, &ev, NULL, &second), -EBUSY);
    cr_assert_null(second);
    cr_assert_eq(in(pio, PORT_DEBUGCON, 1), 0xe9u);
}

Test(pm_debugcon, bytes_reach_the_chardev_in_order, .fini = teardown)
{
    char path[] = "/tmp/test_pm_XXXXXX", got[8] = {0};
    int fd = mkstemp(path);
    struct loop *l;
    struct chardev *c;
    struct err e;
    struct chardev_spec spec = {.kind = CHARDEV_FILE, .path = path};
    cr_assert_eq(loop_new("test", LOOP_AUTO, &l), 0);
    cr_assert_eq(chardev_new(&spec, l, &c, &e), 0);
    make(c);
    out(pio, PORT_DEBUGCON, 1, 'h');
    uint64_t wide = 'X';
    (void)bus_access(pio, GPA(PORT_DEBUGCON), 2, true, &wide); /* does not fit the port */
    out(pio, PORT_DEBUGCON, 1, 'i');
    cr_assert_eq(read(fd, got, sizeof(got)), 2);
    cr_assert_str_eq(got, "hi");
    chardev_free(c);
    loop_free(l);
    close(fd);
    unlink(path);
}
