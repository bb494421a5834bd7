/* tests/unit/test_fdt.c - the device tree as Linux looks things up in it, and as dtc judges it. */
#include "arch/x86_64/boot.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdio.h>
#include <sys/wait.h>

static const struct mmio_slot slots[] = {
    {.base = GPA(LAYOUT_VIRTIO_MMIO), .len = 4096, .irq = 16},
    {.base = GPA(LAYOUT_VIRTIO_MMIO + 4096), .len = 4096, .irq = 17},
};

static struct pci_host pci;

static void *tree_of(unsigned cpus, uint64_t ram_high, const char *bootargs)
{
    struct platform p = {.cpus = cpus,
                         .ram_low = LAYOUT_HOLE_START,
                         .ram_high = ram_high,
                         .mmio = slots,
                         .n_mmio = 2,
                         .pci = pci,
                         .discovery = DISCOVERY_FDT};
    void *fdt = NULL;
    size_t len = 0;

    cr_assert_eq(fdt_build(&p, bootargs, &fdt, &len), 0);
    cr_assert_eq(fdt_check_full(fdt, len), 0);
    cr_assert_eq(fdt_totalsize(fdt), len);
    return fdt;
}

/* The property must consist of just these cells. */
#define cells_are(fdt, node, name, ...)                                                            \
    cells_are_n((fdt), (node), (name), (const uint32_t[]){__VA_ARGS__},                            \
                sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
static void cells_are_n(const void *fdt, int node, const char *name, const uint32_t *want,
                        unsigned n)
{
    int len = -1;
    const fdt32_t *got = fdt_getprop(fdt, node, name, &len);

    cr_assert_eq(len, (int)(4 * n), "%s: %d", name, len);
    for (unsigned i = 0; i < n; i++)
        cr_expect_eq(fdt32_to_cpu(got[i]), want[i], "%s, cell %u", name, i);
}

static int compatible(const void *fdt, const char *what)
{
    int node = fdt_node_offset_by_compatible(fdt, -1, what);

    cr_assert_geq(node, 0, "%s", what);
    return node;
}

Test(fdt, root_and_chosen)
{
    void *fdt = tree_of(1, 0, "console=ttyS0 -- init");
    cells_are(fdt, 0, "#address-cells", 2);
    cells_are(fdt, 0, "#size-cells", 2);
    int chosen = fdt_path_offset(fdt, "/chosen");
    cr_expect_str_eq(fdt_getprop(fdt, chosen, "bootargs", NULL), "console=ttyS0 -- init");
    free(fdt);
}

Test(fdt, memory)
{
    void *fdt = tree_of(1, GIB(5), "");
    int low = fdt_path_offset(fdt, "/memory@0");
    cells_are(fdt, low, "reg", 0, 0, 0, 0xc0000000);
    cr_expect_str_eq(fdt_getprop(fdt, low, "device_type", NULL), "memory");
    cells_are(fdt, fdt_path_offset(fdt, "/memory@100000000"), "reg", 1, 0, 1, 0x40000000);
    free(fdt);
    fdt = tree_of(1, 0, "");
    cr_expect_lt(fdt_path_offset(fdt, "/memory@100000000"), 0);
    free(fdt);
}

Test(fdt, cpus)
{
    void *fdt = tree_of(300, 0, "");
    int cpus = fdt_path_offset(fdt, "/cpus"), cpu;
    uint32_t id = 0;
    cells_are(fdt, cpus, "#address-cells", 1);
    cells_are(fdt, cpus, "#size-cells", 0);
    fdt_for_each_subnode(cpu, fdt, cpus)
    {
        cr_assert_str_eq(fdt_getprop(fdt, cpu, "device_type", NULL), "cpu");
        cells_are(fdt, cpu, "reg", id);
        id++;
    }
    cr_expect_eq(id, 300);
    free(fdt);
}

Test(fdt, interrupt_controllers)
{
    void *fdt = tree_of(1, 0, "");
    int ioapic = compatible(fdt, "intel,ce4100-ioapic");
    cells_are(fdt, ioapic, "reg", 0, 0xfec00000, 0, 0x1000);
    cells_are(fdt, ioapic, "#interrupt-cells", 2);
    cr_expect_not_null(fdt_getprop(fdt, ioapic, "interrupt-controller", NULL));
    cells_are(fdt, 0, "interrupt-parent", fdt_get_phandle(fdt, ioapic));
    cells_are(fdt, compatible(fdt, "intel,ce4100-lapic"), "reg", 0, 0xfee00000, 0, 0x1000);
    free(fdt);
}

Test(fdt, isa_devices)
{
    void *fdt = tree_of(1, 0, "");
    int isa = compatible(fdt, "isa");
    cr_expect_eq(strncmp(fdt_get_name(fdt, isa, NULL), "isa@", 4), 0, "Linux goes by the name");
    cells_are(fdt, isa, "#address-cells", 2);
    cells_are(fdt, isa, "#size-cells", 1);
    cells_are(fdt, isa, "ranges", 1, 0, 0, 0, 0x10000);
    int serial = compatible(fdt, "ns16550a");
    cr_expect_eq(fdt_parent_offset(fdt, serial), isa);
    cells_are(fdt, serial, "reg", 1, 0x3f8, 8);
    cells_are(fdt, serial, "interrupts", 4, 3);
    cells_are(fdt, serial, "clock-frequency", 1843200);
    cells_are(fdt, compatible(fdt, "qemu,pvpanic-mmio"), "reg", 1, 0x505, 1);
    free(fdt);
}

Test(fdt, virtio_devices)
{
    void *fdt = tree_of(1, 0, "");
    int a = compatible(fdt, "virtio,mmio");
    int b = fdt_node_offset_by_compatible(fdt, a, "virtio,mmio");
    cells_are(fdt, a, "reg", 0, 0xd0000000, 0, 0x1000);
    cells_are(fdt, a, "interrupts", 16, 3);
    cells_are(fdt, b, "reg", 0, 0xd0001000, 0, 0x1000);
    cells_are(fdt, b, "interrupts", 17, 3);
    cr_expect_eq(fdt_node_offset_by_compatible(fdt, b, "virtio,mmio"), -FDT_ERR_NOTFOUND);
    free(fdt);
}

Test(fdt, power)
{
    void *fdt = tree_of(1, 0, "");
    int syscon = compatible(fdt, "syscon");
    cells_are(fdt, syscon, "reg", 0, 0xd8000000, 0, 0x1000);
    static const char *const user[] = {"syscon-poweroff", "syscon-reboot"};
    for (uint32_t i = 0; i < 2; i++) {
        int node = compatible(fdt, user[i]);
        cells_are(fdt, node, "regmap", fdt_get_phandle(fdt, syscon));
        cells_are(fdt, node, "offset", 0);
        cells_are(fdt, node, "value", i + 1);
    }
    free(fdt);
}

Test(fdt, no_pci)
{
    void *fdt = tree_of(1, 0, "");
    cr_expect_lt(fdt_node_offset_by_prop_value(fdt, -1, "device_type", "pci", 4), 0);
    free(fdt);
}

Test(fdt, pci)
{
    pci_host_init(&pci, GIB(5), platform_address_limit(40));
    void *fdt = tree_of(1, GIB(1), "");
    int node = fdt_node_offset_by_prop_value(fdt, -1, "device_type", "pci", 4);
    uint32_t ioapic = fdt_get_phandle(fdt, compatible(fdt, "intel,ce4100-ioapic"));
    cr_assert_geq(node, 0);
    cells_are(fdt, node, "reg", 0, 0xe0000000, 0, 0x100000);
    cells_are(fdt, node, "bus-range", 0, 0);
    cells_are(fdt, node, "#address-cells", 3);
    cells_are(fdt, node, "#size-cells", 2);
    cells_are(fdt, node, "#interrupt-cells", 1);
    cells_are(fdt, node, "ranges", 0x1000000, 0, 0x1000, 0, 0x1000, 0, 0xf000, 0x2000000, 0,
              0xc0000000, 0, 0xc0000000, 0, 0x10000000, 0x3000000, 1, 0x40000000, 1, 0x40000000,
              0x40, 0);
    cells_are(fdt, node, "interrupt-map-mask", 0x1800, 0, 0, 7);
    cells_are(fdt, node, "interrupt-map", 0, 0, 0, 1, ioapic, 16, 2, 0x800, 0, 0, 1, ioapic, 17, 2,
              0x1000, 0, 0, 1, ioapic, 18, 2, 0x1800, 0, 0, 1, ioapic, 19, 2);
    free(fdt);

    pci_host_init(&pci, GIB(5), platform_address_limit(32));
    fdt = tree_of(1, GIB(1), "");
    node = fdt_node_offset_by_prop_value(fdt, -1, "device_type", "pci", 4);
    cells_are(fdt, node, "ranges", 0x1000000, 0, 0x1000, 0, 0x1000, 0, 0xf000, 0x2000000, 0,
              0xc0000000, 0, 0xc0000000, 0, 0x10000000);
    free(fdt);
}

Test(fdt, long_command_line)
{
    char line[65536];
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    void *fdt = tree_of(1, 0, line);
    cr_expect_str_eq(fdt_getprop(fdt, fdt_path_offset(fdt, "/chosen"), "bootargs", NULL), line);
    free(fdt);
}

static void dtc_has_nothing_to_say(void)
{
    char path[] = "/tmp/test_fdt.XXXXXX", line[256], said[4096];
    if (system("dtc --version >/dev/null 2>&1") != 0)
        cr_skip_test("dtc is not installed");
    void *fdt = tree_of(3, GIB(1), "quiet");
    AUTO_FD fd = mkstemp(path);
    cr_assert_eq(write(fd, fdt, fdt_totalsize(fdt)), (ssize_t)fdt_totalsize(fdt));
    (void)snprintf(line, sizeof(line), "dtc -I dtb -O dts -o /dev/null %s 2>&1", path);
    FILE *f = popen(line, "r");
    cr_assert_not_null(f);
    said[fread(said, 1, sizeof(said) - 1, f)] = '\0';
    cr_expect_eq(pclose(f), 0);
    cr_expect_str_eq(said, "");
    (void)unlink(path);
    free(fdt);
}

Test(fdt, dtc_has_nothing_to_say)
{
    dtc_has_nothing_to_say();
}

Test(fdt, dtc_has_nothing_to_say_of_pci)
{
    pci_host_init(&pci, GIB(5), platform_address_limit(40));
    dtc_has_nothing_to_say();
}
