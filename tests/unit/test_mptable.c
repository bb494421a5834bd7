/* tests/unit/test_mptable.c - the MP table: both checksums, the order and number of its entries,
 * I/O APIC pin n being IRQ n or a PCI slot's, and more CPUs than there is room for. */
#include "arch/x86_64/boot.h"

#include <criterion/criterion.h>

enum { PAINT = 0xa5, RAM = 1 << 20 };

static struct gmem *ram_new(void)
{
    struct gmem_region r = {.base = GPA(0), .len = RAM};
    struct gmem_options o = {.backing = GMEM_4K};
    struct gmem *m = NULL;
    struct err e;

    cr_assert_eq(gmem_new(&r, 1, &o, &m, &e), 0);
    memset(gmem_at(m, GPA(0), RAM), PAINT, RAM);
    return m;
}

static bool painted(const struct gmem *m, uint64_t from, uint64_t to)
{
    const uint8_t *p = gmem_at(m, GPA(from), to - from);

    return p[0] == PAINT && memcmp(p, p + 1, to - from - 1) == 0;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t s = 0;

    for (size_t i = 0; i < len; i++)
        s = (uint8_t)(s + p[i]);
    return s;
}

/* The n-th I/O interrupt: with PCI, pins 16 to 19 are not ISA's, and slots 1 to 31 follow. */
static void io_interrupt_is(const uint8_t *q, unsigned n, bool pci)
{
    uint8_t pin = (uint8_t)(pci && n >= 16 ? n + 4 : n);
    uint8_t want[] = {3, 0, 5, 0, 1, pin, IOAPIC_ID, pin};
    if (pci && n >= 20) {
        uint8_t slot = (uint8_t)(n - 20 + 1);
        const uint8_t route[] = {
            3, 0, 15, 0, 0, (uint8_t)(slot << 2), IOAPIC_ID, (uint8_t)(16 + slot % 4)};
        memcpy(want, route, sizeof(want));
    }
    cr_expect_eq(memcmp(q, want, 8), 0, "interrupt %u", n);
}

static void table_for(unsigned cpus, unsigned told, bool pci)
{
    struct gmem *m = ram_new();
    struct platform p = {
        .cpus = cpus, .ram_low = RAM, .pci.present = pci, .discovery = DISCOVERY_CMDLINE};
    struct err e = {0};
    unsigned seen[5] = {0};

    cr_assert_eq(mptable_write(m, &p, &e), 0, "%s", e.msg);
    const uint8_t *fp = gmem_at(m, GPA(LAYOUT_EBDA), 16);
    cr_expect_eq(memcmp(fp, "_MP_", 4), 0);
    cr_expect_eq(sum(fp, 16), 0);
    cr_expect_eq(fp[8], 1);
    cr_expect_eq(fp[9], 4);
    cr_expect_eq(fp[11], 0, "a table, not a default configuration");

    uint64_t at = get_bytes(fp + 4, 4);
    const uint8_t *t = gmem_at(m, GPA(at), 44);
    uint64_t len = get_bytes(t + 4, 2);
    cr_expect_eq(memcmp(t, "PCMP", 4), 0);
    cr_expect_eq(sum(t, len), 0);
    cr_expect_leq(at + len, LAYOUT_LOW_END);
    cr_expect_eq(get_bytes(t + 36, 4), LAYOUT_LAPIC);

    uint8_t last = 0;
    const uint8_t *q = t + 44;
    for (; q < t + len; q += q[0] == 0 ? 20 : 8) {
        cr_assert_leq(q[0], 4);
        cr_expect_geq(q[0], last, "entries come in the order of their types");
        last = q[0];
        if (q[0] == 0) {
            cr_expect_eq(q[1], seen[0]);
            cr_expect_eq(q[3], seen[0] == 0 ? 3 : 1);
        } else if (q[0] == 1) {
            bool first = pci && seen[1] == 0;
            cr_expect_eq(memcmp(q + 1, first ? "\0PCI   " : "\1ISA   ", 7), 0);
        } else if (q[0] == 2) {
            cr_expect_eq(q[1], IOAPIC_ID);
            cr_expect_eq(get_bytes(q + 4, 4), LAYOUT_IOAPIC);
        } else if (q[0] == 3) {
            io_interrupt_is(q, seen[3], pci);
        } else {
            cr_expect_eq(q[4], 1, "the bus is ISA");
        }
        seen[q[0]]++;
    }
    cr_expect_eq(q, t + len);
    cr_expect_eq(seen[0], told);
    cr_expect_eq(seen[1], pci ? 2 : 1);
    cr_expect_eq(seen[2], 1);
    cr_expect_eq(seen[3], pci ? 51 : 24);
    cr_expect_eq(seen[4], 2);
    cr_expect_eq(get_bytes(t + 34, 2), told + seen[1] + 1 + seen[3] + 2);

    cr_expect_eq(get_bytes(gmem_at(m, GPA(0x40e), 2), 2), LAYOUT_EBDA >> 4);
    cr_expect(painted(m, 0, 0x40e) && painted(m, 0x410, LAYOUT_EBDA));
    cr_expect(painted(m, LAYOUT_LOW_END, RAM));
    gmem_free(m);
}

Test(mptable, one_cpu)
{
    table_for(1, 1, false);
}

Test(mptable, as_many_as_fit)
{
    table_for(37, 37, false);
}

Test(mptable, more_than_fit)
{
    table_for(38, 37, false);
    table_for(300, 37, false);
}

Test(mptable, pci)
{
    table_for(1, 1, true);
    table_for(25, 25, true);
    table_for(26, 25, true);
}
