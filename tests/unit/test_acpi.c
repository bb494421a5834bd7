/* tests/unit/test_acpi.c - the ACPI tables as a kernel reads them: found by their signatures, with
 * sums of zero, and accepted by ACPICA's own disassembler and compiler. */
#include "arch/x86_64/aml.h"
#include "arch/x86_64/boot.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { PAINT = 0xa5 };
static const uint64_t ram_bytes = 2 << 20;

static struct gmem *ram_new(void)
{
    struct gmem_region r = {.base = GPA(0), .len = ram_bytes};
    struct gmem_options o = {.backing = GMEM_4K};
    struct gmem *m = NULL;
    struct err e;

    cr_assert_eq(gmem_new(&r, 1, &o, &m, &e), 0);
    memset(gmem_at(m, GPA(0), ram_bytes), PAINT, ram_bytes);
    return m;
}

static struct mmio_slot slots[LAYOUT_MMIO_MAX];

static struct platform machine(unsigned cpus, unsigned n_mmio)
{
    for (unsigned i = 0; i < n_mmio; i++)
        slots[i] = (struct mmio_slot){.base = GPA(LAYOUT_VIRTIO_MMIO + i * LAYOUT_MMIO_STRIDE),
                                      .len = LAYOUT_MMIO_STRIDE,
                                      .irq = 16 + i % 8};
    return (struct platform){.cpus = cpus, .ram_low = ram_bytes, .mmio = slots, .n_mmio = n_mmio};
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

static const uint8_t *table_at(const struct gmem *m, uint64_t at, const char *signature)
{
    const uint8_t *t = gmem_at(m, GPA(at), 36);

    cr_assert_eq(memcmp(t, signature, 4), 0, "%s", signature);
    cr_assert_not_null(gmem_at(m, GPA(at), get_bytes(t + 4, 4)));
    cr_expect_eq(sum(t, get_bytes(t + 4, 4)), 0, "checksum of %s", signature);
    cr_expect_geq(at, LAYOUT_RSDP);
    cr_expect_leq(at + get_bytes(t + 4, 4), LAYOUT_BIOS_END);
    return t;
}

struct tables {
    const uint8_t *rsdp, *xsdt, *fadt, *madt, *dsdt, *mcfg;
};

static struct tables tables_of(const struct gmem *m, bool pci)
{
    struct tables t;

    t.rsdp = gmem_at(m, GPA(LAYOUT_RSDP), 36);
    cr_assert_eq(memcmp(t.rsdp, "RSD PTR ", 8), 0);
    cr_expect_eq(sum(t.rsdp, 20), 0);
    cr_expect_eq(sum(t.rsdp, 36), 0);
    cr_expect_eq(t.rsdp[15], 2);
    cr_expect_eq(get_bytes(t.rsdp + 20, 4), 36);
    t.xsdt = table_at(m, get_bytes(t.rsdp + 24, 8), "XSDT");
    cr_expect_eq(get_bytes(t.xsdt + 4, 4), 36 + (pci ? 3 : 2) * 8);
    t.fadt = table_at(m, get_bytes(t.xsdt + 36, 8), "FACP");
    t.madt = table_at(m, get_bytes(t.xsdt + 44, 8), "APIC");
    t.dsdt = table_at(m, get_bytes(t.fadt + 140, 8), "DSDT");
    t.mcfg = pci ? table_at(m, get_bytes(t.xsdt + 52, 8), "MCFG") : NULL;
    return t;
}

static struct tables written(struct gmem *m, unsigned cpus, unsigned n_mmio)
{
    struct platform p = machine(cpus, n_mmio);
    struct err e = {0};

    cr_assert_eq(acpi_write(m, &p, &e), 0, "%s", e.msg);
    return tables_of(m, false);
}

static struct tables with_pci(struct gmem *m, unsigned n_mmio, unsigned bits)
{
    struct platform p = machine(4, n_mmio);
    struct err e = {0};

    pci_host_init(&p.pci, GIB(9) + MIB(1), platform_address_limit(bits));
    cr_assert_eq(acpi_write(m, &p, &e), 0, "%s", e.msg);
    return tables_of(m, true);
}

Test(acpi, stays_in_its_place)
{
    struct gmem *m = ram_new();
    (void)written(m, 300, LAYOUT_MMIO_MAX);
    cr_expect(painted(m, 0, LAYOUT_RSDP));
    cr_expect(painted(m, LAYOUT_VMGENID, ram_bytes));
    gmem_free(m);
}

Test(acpi, small_machine_touches_one_page)
{
    struct gmem *m = ram_new();
    (void)written(m, 4, 8);
    cr_expect(painted(m, LAYOUT_RSDP + 4096, LAYOUT_BIOS_END));
    gmem_free(m);
}

static void gas_is_port(const uint8_t *gas, uint16_t number)
{
    const uint8_t want[12] = {1, 8, 0, 1, (uint8_t)number, (uint8_t)(number >> 8)};

    cr_expect_eq(memcmp(gas, want, sizeof(want)), 0, "port 0x%x", number);
}

Test(acpi, fadt)
{
    struct gmem *m = ram_new();
    const uint8_t *f = written(m, 1, 1).fadt;
    cr_expect_eq(get_bytes(f + 4, 4), 276);
    cr_expect_eq(f[8], 6);
    uint64_t flags = get_bytes(f + 112, 4);
    cr_expect(flags & 1 << 20, "HW_REDUCED_ACPI");
    cr_expect(flags & 1 << 10, "RESET_REG_SUP");
    cr_expect_eq(get_bytes(f + 109, 2), 4, "no VGA; nothing else");
    gas_is_port(f + 116, PORT_PM + PM_RESET);
    cr_expect_eq(f[128], PM_RESET_VALUE);
    gas_is_port(f + 244, PORT_PM + PM_SLEEP_CONTROL);
    gas_is_port(f + 256, PORT_PM + PM_SLEEP_STATUS);
    cr_expect_eq(get_bytes(f + 40, 4), get_bytes(f + 140, 8), "both pointers to the DSDT");
    cr_expect_eq(sum(f + 148, 244 - 148), 0, "no fixed registers");
    gmem_free(m);
}

/* Walks the MADT; every APIC id must come once, in order, in the right kind of entry. */
static void madt_is(unsigned cpus)
{
    struct gmem *m = ram_new();
    const uint8_t *t = written(m, cpus, 0).madt;
    uint32_t next = 0;
    unsigned ioapics = 0;

    cr_expect_eq(get_bytes(t + 36, 4), LAYOUT_LAPIC);
    cr_expect_eq(get_bytes(t + 40, 4), 0, "no 8259");
    const uint8_t *p = t + 44, *end = t + get_bytes(t + 4, 4);
    for (; p < end; p += p[1]) {
        if (p[0] == 1) {
            cr_expect_eq(p[1], 12);
            cr_expect_eq(p[2], IOAPIC_ID);
            cr_expect_eq(get_bytes(p + 4, 4), LAYOUT_IOAPIC);
            cr_expect_eq(get_bytes(p + 8, 4), 0);
            ioapics++;
        } else if (next < 255) {
            const uint8_t want[8] = {0, 8, (uint8_t)next, (uint8_t)next, 1};
            cr_assert_eq(memcmp(p, want, 8), 0, "CPU %u", next);
            next++;
        } else {
            cr_assert_eq(get_bytes(p, 4), 0x1009, "CPU %u", next);
            cr_assert_eq(get_bytes(p + 4, 4), next);
            cr_assert_eq(get_bytes(p + 8, 4), 1);
            cr_assert_eq(get_bytes(p + 12, 4), next);
            next++;
        }
    }
    cr_expect_eq(p, end);
    cr_expect_eq(next, cpus);
    cr_expect_eq(ioapics, 1);
    gmem_free(m);
}

Test(acpi, madt_1_cpu)
{
    madt_is(1);
}

Test(acpi, madt_255_cpus)
{
    madt_is(255);
}

Test(acpi, madt_300_cpus)
{
    madt_is(300);
}

Test(acpi, too_many_cpus)
{
    struct gmem *m = ram_new();
    struct platform p = machine(9000, LAYOUT_MMIO_MAX);
    struct err e = {0};
    cr_expect_lt(acpi_write(m, &p, &e), 0);
    cr_expect_eq(e.kind, ERR_INPUT);
    cr_expect_str_eq(e.msg, "ACPI: the tables of 9000 CPUs do not fit below 1 MiB");
    cr_expect(painted(m, LAYOUT_VMGENID, ram_bytes));
    gmem_free(m);
}

/* AML that does not fit is cut, never overrun. */
Test(acpi, aml_of_every_length_too_short)
{
    uint8_t whole[256], part[256];
    for (size_t cap = 0; cap <= sizeof(whole); cap++) {
        struct aml a = {.buf = cap == sizeof(whole) ? whole : part, .cap = cap};
        memset(a.buf, PAINT, sizeof(part));
        size_t dev = aml_device(&a, "DEV0");
        aml_name_string(&a, "_HID", "LNRO0005");
        struct aml_crs crs = aml_crs_open(&a);
        aml_io(&a, 0x1234, 1);
        aml_memory32_fixed(&a, 0xd0000000, 4096);
        aml_interrupt(&a, 16);
        aml_bus_range(&a, 0, 0);
        aml_io_window(&a, 0x1000, 0xf000);
        aml_memory_window(&a, GIB(4), GIB(1));
        aml_crs_close(&a, crs);
        size_t method = aml_method(&a, "_EVT", 1);
        aml_notify(&a, "DEV0", 0x80);
        aml_close(&a, method);
        aml_close(&a, dev);
        cr_assert_leq(a.len, cap);
        cr_assert_eq(a.full, cap < 161, "at %zu: %zu", cap, a.len);
        for (size_t i = cap; i < sizeof(part); i++)
            cr_assert_eq(a.buf[i], PAINT);
    }
}

Test(acpi, mcfg)
{
    struct gmem *m = ram_new();
    const uint8_t *t = with_pci(m, 0, 39).mcfg;
    cr_expect_eq(get_bytes(t + 4, 4), 60);
    cr_expect_eq(get_bytes(t + 44, 8), LAYOUT_PCI_ECAM);
    cr_expect_eq(get_bytes(t + 52, 8), 0, "segment 0, bus 0 to 0");
    cr_expect(painted(m, LAYOUT_RSDP + 4096, LAYOUT_BIOS_END), "still one page");
    gmem_free(m);
}

static void mem64_is(uint64_t ram_high, unsigned bits, uint64_t base, uint64_t len)
{
    struct pci_host h;
    memset(&h, PAINT, sizeof(h));
    pci_host_init(&h, GIB(4) + ram_high, platform_address_limit(bits));
    cr_expect(h.present);
    cr_expect_eq(h.mem64.base, base, "%#lx", h.mem64.base);
    cr_expect_eq(h.mem64.len, len, "%#lx", h.mem64.len);
}

Test(acpi, pci_window_above_ram)
{
    mem64_is(0, 46, GIB(4), GIB(256));
    mem64_is(1, 46, GIB(5), GIB(256));
    mem64_is(GIB(3), 46, GIB(7), GIB(256));
    mem64_is(GIB(3), 36, GIB(7), GIB(57));
    mem64_is(GIB(59), 36, GIB(63), GIB(1));
    mem64_is(GIB(59) + 1, 36, 0, 0);
    mem64_is(GIB(60), 36, 0, 0);
    mem64_is(0, 32, 0, 0);
    mem64_is(0, 255, GIB(4), GIB(256));
}

/* iasl */

static int run(const char *dir, const char *command)
{
    char line[512];
    cr_assert_lt(snprintf(line, sizeof(line), "cd %s && %s", dir, command), (int)sizeof(line));
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void save(const char *dir, const char *name, const uint8_t *table)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    size_t len = get_bytes(table + 4, 4);
    cr_assert_eq(write(fd, table, len), (ssize_t)len);
}

static void slurp(const char *dir, const char *name, char *buf, size_t cap)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    AUTO_FD fd = open(path, O_RDONLY);
    ssize_t n = read(fd, buf, cap - 1);
    cr_assert_geq(n, 0, "%s", name);
    buf[n] = '\0';
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

/* And takes away the directory. */
static void recompiles(const char *dir)
{
    static char text[1 << 16];
    char clean[64];
    cr_expect_eq(run(dir, "iasl -we -p again dsdt.dsl >log 2>&1"), 0);
    slurp(dir, "log", text, sizeof(text));
    cr_expect_not_null(strstr(text, "0 Errors, 0 Warnings, 0 Remarks"), "%s", text);
    (void)snprintf(clean, sizeof(clean), "rm -rf %s", dir);
    cr_expect_eq(run("/", clean), 0);
}

Test(acpi, iasl_disassembles_and_recompiles)
{
    static char text[1 << 20];
    char dir[] = "/tmp/test_acpi.XXXXXX";
    struct gmem *m = ram_new();
    struct tables t = written(m, 300, LAYOUT_MMIO_MAX);

    if (system("iasl -v >/dev/null 2>&1") != 0)
        cr_skip_test("iasl is not installed");
    cr_assert_not_null(mkdtemp(dir));
    save(dir, "dsdt.dat", t.dsdt);
    save(dir, "facp.dat", t.fadt);
    save(dir, "apic.dat", t.madt);
    save(dir, "xsdt.dat", t.xsdt);

    cr_expect_eq(run(dir, "iasl -d dsdt.dat facp.dat apic.dat xsdt.dat >log 2>&1"), 0);
    slurp(dir, "log", text, sizeof(text));
    cr_expect_null(strstr(text, "rror"), "%s", text);
    cr_expect_null(strstr(text, "arning"), "%s", text);
    cr_expect_null(strstr(text, "nvalid"), "%s", text);
    static const char *const data_tables[] = {"facp.dsl", "apic.dsl", "xsdt.dsl"};
    for (unsigned i = 0; i < ARRAY_SIZE(data_tables); i++) {
        slurp(dir, data_tables[i], text, sizeof(text));
        cr_expect_null(strstr(text, "/* "), "%s is commented on", data_tables[i]);
        cr_expect_null(strstr(text, "ncorrect"), "%s", data_tables[i]);
        cr_expect_null(strstr(text, "nknown"), "%s", data_tables[i]);
    }

    slurp(dir, "dsdt.dsl", text, sizeof(text));
    cr_expect_null(strstr(text, "Incorrect checksum"));
    cr_expect_eq(count(text, "\"LNRO0005\""), LAYOUT_MMIO_MAX);
    cr_expect_eq(count(text, "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive"),
                 LAYOUT_MMIO_MAX + 1, "and the generic event device's");
    cr_expect_eq(count(text, "Memory32Fixed (ReadWrite,"), LAYOUT_MMIO_MAX);
    char last[64];
    (void)snprintf(last, sizeof(last), "0x%08X,         // Address Base",
                   (unsigned)slots[LAYOUT_MMIO_MAX - 1].base.v);
    cr_expect_eq(count(text, last), 1, "%s", last);
    cr_expect_eq(count(text, "EisaId (\"PNP0501\")"), 1);
    cr_expect_eq(count(text, "0x03F8,             // Range Minimum"), 1);
    cr_expect_eq(count(text, "{4}"), 1);
    cr_expect_eq(count(text, "\"QEMU0001\""), 1);
    cr_expect_eq(count(text, "\"VMGENCTR\""), 1);
    cr_expect_eq(count(text, "\"ACPI0013\""), 1);
    cr_expect_eq(count(text, "0x000FF000"), 1, "ADDR");
    cr_expect_eq(count(text, "Notify (VGEN, 0x80)"), 1);
    cr_expect_eq(count(text, "0x0505,             // Range Minimum"), 1);
    cr_expect_eq(count(text, "Name (_S5, Package (0x04)"), 1);

    recompiles(dir);
    gmem_free(m);
}

/* The PCI bus as iasl shows it, with and without a window above 4 GiB. */
static void iasl_shows_pci(unsigned bits, bool high)
{
    static char text[1 << 20];
    char dir[] = "/tmp/test_acpi.XXXXXX";
    struct gmem *m = ram_new();
    struct tables t = with_pci(m, 2, bits);

    if (system("iasl -v >/dev/null 2>&1") != 0)
        cr_skip_test("iasl is not installed");
    cr_assert_not_null(mkdtemp(dir));
    save(dir, "dsdt.dat", t.dsdt);
    save(dir, "mcfg.dat", t.mcfg);
    cr_expect_eq(run(dir, "iasl -d dsdt.dat mcfg.dat >log 2>&1"), 0);
    slurp(dir, "log", text, sizeof(text));
    cr_expect_null(strstr(text, "rror"), "%s", text);
    cr_expect_null(strstr(text, "arning"), "%s", text);
    slurp(dir, "mcfg.dsl", text, sizeof(text));
    cr_expect_not_null(strstr(text, "Base Address : 00000000E0000000\n"), "%s", text);
    cr_expect_not_null(strstr(text, "End Bus Number : 00\n"));

    slurp(dir, "dsdt.dsl", text, sizeof(text));
    static const char *const once[] = {
        "Name (_HID, EisaId (\"PNP0A08\")",
        "Name (_CID, EisaId (\"PNP0A03\")",
        "EisaId (\"PNP0C02\")",
        "Name (_SEG, Zero)",
        "Name (_BBN, Zero)",
        "WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,",
        "0x0CF8,             // Range Minimum",
        "WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,",
        "0x1000,             // Range Minimum",
        "0xFFFF,             // Range Maximum",
        "0xF000,             // Length",
        "DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,",
        "0xC0000000,         // Range Minimum",
        "0xCFFFFFFF,         // Range Maximum",
        "0x10000000,         // Length",
        "0xE0000000,         // Address Base",
        "0x00100000,         // Address Length",
    };
    for (unsigned i = 0; i < ARRAY_SIZE(once); i++)
        cr_expect_eq(count(text, once[i]), 1, "%s", once[i]);
    cr_expect_eq(count(text, "QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, "
                             "NonCacheable, ReadWrite,"),
                 high);
    cr_expect_eq(count(text, "0x0000000280000000, // Range Minimum"), high);
    cr_expect_eq(count(text, "0x0000000FFFFFFFFF, // Range Maximum"), high);
    cr_expect_eq(count(text, "FFFF, \n"), 31, "routes");
    cr_expect_eq(count(text, "0x10\n"), 7);
    for (unsigned pin = 0x11; pin < 0x14; pin++) {
        char route[16];
        (void)snprintf(route, sizeof(route), "0x%x\n", pin);
        cr_expect_eq(count(text, route), 8, "%s", route);
    }
    recompiles(dir);
    gmem_free(m);
}

Test(acpi, iasl_shows_pci)
{
    iasl_shows_pci(36, true);
}

Test(acpi, iasl_shows_pci_without_a_high_window)
{
    iasl_shows_pci(32, false);
}
