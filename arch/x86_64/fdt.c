/* arch/x86_64/fdt.c - the machine as a flattened device tree, for kernels with CONFIG_OF that get
 * it through the zero page. x86 has no bindings but those of Intel's CE4100, so its names are here.
 *
 * Devicetree Specification 0.4; Linux, Documentation/devicetree/bindings, intel,ce4100-ioapic; PCI
 * Bus Binding to IEEE 1275, revision 2.1. */
#include "arch/x86_64/boot.h"

#include <assert.h>
#include <inttypes.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>

enum { PHANDLE_IOAPIC = 1, PHANDLE_SYSCON = 2 };
/* The second cell of an interrupt, as Linux's arch/x86/kernel/devicetree.c reads it: 3 is edge and
 * active high. (The binding's text has 0 and 3 the other way round.) */
enum { IOAPIC_LEVEL_LOW = 2, IOAPIC_EDGE_HIGH = 3 };
enum { ISA_MEMORY = 0, ISA_IO = 1 }; /* first address cell on an ISA bus */

/* Remembers the first error of libfdt, after which nothing more happens. */
struct tree {
    void *fdt;
    int rc;
};

static void check(struct tree *t, int rc)
{
    if (!t->rc)
        t->rc = rc;
}

static void begin(struct tree *t, const char *name)
{
    check(t, t->rc ? 0 : fdt_begin_node(t->fdt, name));
}

static void begin_at(struct tree *t, const char *name, uint64_t unit)
{
    char full[64];

    (void)snprintf(full, sizeof(full), "%s@%" PRIx64, name, unit);
    begin(t, full);
}

static void end(struct tree *t)
{
    check(t, t->rc ? 0 : fdt_end_node(t->fdt));
}

static void string(struct tree *t, const char *name, const char *value)
{
    check(t, t->rc ? 0 : fdt_property(t->fdt, name, value, (int)strlen(value) + 1));
}

static void flag(struct tree *t, const char *name)
{
    check(t, t->rc ? 0 : fdt_property(t->fdt, name, NULL, 0));
}

static void cells_n(struct tree *t, const char *name, const uint32_t *v, unsigned n)
{
    fdt32_t be[32];

    assert(n <= ARRAY_SIZE(be));
    for (unsigned i = 0; i < n; i++)
        be[i] = cpu_to_fdt32(v[i]);
    check(t, t->rc ? 0 : fdt_property(t->fdt, name, be, (int)(n * sizeof(be[0]))));
}
#define cells(t, name, ...)                                                                        \
    cells_n((t), (name), (const uint32_t[]){__VA_ARGS__},                                          \
            sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
#define CELLS64(v) (uint32_t)((uint64_t)(v) >> 32), (uint32_t)(v)

static void reg(struct tree *t, uint64_t base, uint64_t len)
{
    cells(t, "reg", CELLS64(base), CELLS64(len));
}

static void memory(struct tree *t, uint64_t base, uint64_t len)
{
    if (!len)
        return;
    begin_at(t, "memory", base);
    string(t, "device_type", "memory");
    reg(t, base, len);
    end(t);
}

static void cpus(struct tree *t, unsigned n)
{
    begin(t, "cpus");
    cells(t, "#address-cells", 1);
    cells(t, "#size-cells", 0);
    for (uint32_t id = 0; id < n; id++) {
        begin_at(t, "cpu", id);
        string(t, "device_type", "cpu");
        cells(t, "reg", id); /* the APIC id */
        end(t);
    }
    end(t);
}

static void apics(struct tree *t)
{
    begin_at(t, "interrupt-controller", LAYOUT_IOAPIC);
    string(t, "compatible", "intel,ce4100-ioapic");
    reg(t, LAYOUT_IOAPIC, KIB(4));
    flag(t, "interrupt-controller");
    cells(t, "#interrupt-cells", 2);
    cells(t, "#address-cells", 0);
    cells(t, "phandle", PHANDLE_IOAPIC);
    end(t);

    begin_at(t, "lapic", LAYOUT_LAPIC);
    string(t, "compatible", "intel,ce4100-lapic");
    reg(t, LAYOUT_LAPIC, KIB(4));
    flag(t, "intel,virtual-wire-mode"); /* there is no IMCR to leave PIC mode by */
    end(t);
}

/* No node for the CMOS clock: Linux on x86 registers one whatever the tree says, and a second is an
 * error in its log. */
static void isa(struct tree *t)
{
    begin(t, "isa@1,0");
    string(t, "compatible", "isa");
    cells(t, "#address-cells", 2);
    cells(t, "#size-cells", 1);
    cells(t, "ranges", ISA_IO, 0, CELLS64(0), 0x10000); /* port n stays port n */

    begin(t, "serial@i3f8");
    string(t, "compatible", "ns16550a");
    cells(t, "reg", ISA_IO, PORT_SERIAL, 8);
    cells(t, "clock-frequency", 1843200);
    cells(t, "interrupts", IRQ_SERIAL, IOAPIC_EDGE_HIGH);
    end(t);

    begin(t, "pvpanic@i505");
    string(t, "compatible", "qemu,pvpanic-mmio"); /* its driver takes ports as well */
    cells(t, "reg", ISA_IO, PORT_PVPANIC, 1);
    end(t);
    end(t);
}

static void virtio(struct tree *t, const struct mmio_slot *slot)
{
    begin_at(t, "virtio_mmio", slot->base.v);
    string(t, "compatible", "virtio,mmio");
    reg(t, slot->base.v, slot->len);
    cells(t, "interrupts", slot->irq, IOAPIC_EDGE_HIGH);
    end(t);
}

/* Without a compatible that a driver knows: Linux on x86 finds configuration space by its ports,
 * and pci-host-ecam-generic would show it the same bus a second time. It looks at device_type and
 * bus-range, and for INTx at the map; though only on the CE4100, so that elsewhere functions have
 * MSI-X alone. */
static void pci(struct tree *t, const struct pci_host *h)
{
    enum { IO = 1 << 24, MEMORY32 = 2 << 24, MEMORY64 = 3 << 24 }; /* 2.2.1.1: phys.hi */
    enum { SLOT_SHIFT = 11, INTA = 1, ANY_PIN = 7 };
#define PCI_RANGE(space, base, len) (space), CELLS64(base), CELLS64(base), CELLS64(len)
#define PCI_ROUTE(slot)                                                                            \
    (slot) << SLOT_SHIFT, 0, 0, INTA, PHANDLE_IOAPIC, pci_host_irq(slot), IOAPIC_LEVEL_LOW

    begin_at(t, "pci", LAYOUT_PCI_ECAM);
    string(t, "compatible", "pci");
    string(t, "device_type", "pci");
    reg(t, LAYOUT_PCI_ECAM, LAYOUT_PCI_ECAM_LEN);
    cells(t, "bus-range", 0, 0);
    cells(t, "#address-cells", 3);
    cells(t, "#size-cells", 2);
    if (h->mem64.len)
        cells(t, "ranges", PCI_RANGE(IO, LAYOUT_PCI_IO, LAYOUT_PCI_IO_LEN),
              PCI_RANGE(MEMORY32, LAYOUT_PCI_MEM32, LAYOUT_PCI_MEM32_LEN),
              PCI_RANGE(MEMORY64, h->mem64.base, h->mem64.len));
    else
        cells(t, "ranges", PCI_RANGE(IO, LAYOUT_PCI_IO, LAYOUT_PCI_IO_LEN),
              PCI_RANGE(MEMORY32, LAYOUT_PCI_MEM32, LAYOUT_PCI_MEM32_LEN));
    cells(t, "#interrupt-cells", 1);
    cells(t, "interrupt-map-mask", (LAYOUT_PCI_LINES - 1) << SLOT_SHIFT, 0, 0, ANY_PIN);
    cells(t, "interrupt-map", PCI_ROUTE(0), PCI_ROUTE(1), PCI_ROUTE(2), PCI_ROUTE(3));
    end(t);
}

static void syscon_user(struct tree *t, const char *name, const char *compatible, uint32_t value)
{
    begin(t, name);
    string(t, "compatible", compatible);
    cells(t, "regmap", PHANDLE_SYSCON);
    cells(t, "offset", 0);
    cells(t, "value", value);
    end(t);
}

static void syscon(struct tree *t)
{
    begin_at(t, "syscon", LAYOUT_SYSCON);
    string(t, "compatible", "syscon");
    reg(t, LAYOUT_SYSCON, KIB(4));
    cells(t, "phandle", PHANDLE_SYSCON);
    end(t);
    syscon_user(t, "poweroff", "syscon-poweroff", 1);
    syscon_user(t, "reboot", "syscon-reboot", 2);
}

static void root(struct tree *t, const struct platform *p, const char *bootargs)
{
    begin(t, "");
    string(t, "model", "vmm");
    string(t, "compatible", "vmm,x86-64");
    cells(t, "#address-cells", 2);
    cells(t, "#size-cells", 2);
    cells(t, "interrupt-parent", PHANDLE_IOAPIC); /* of every node below */

    begin(t, "chosen");
    string(t, "bootargs", bootargs);
    end(t);
    memory(t, 0, p->ram_low);
    memory(t, LAYOUT_HOLE_END, p->ram_high);
    cpus(t, p->cpus);
    apics(t);
    isa(t);
    for (unsigned i = 0; i < p->n_mmio; i++)
        virtio(t, &p->mmio[i]);
    if (p->pci.present)
        pci(t, &p->pci);
    syscon(t);
    end(t);
}

static int tree_write(void *buf, size_t cap, const struct platform *p, const char *bootargs)
{
    struct tree t = {.fdt = buf, .rc = fdt_create(buf, (int)cap)};

    check(&t, t.rc ? 0 : fdt_finish_reservemap(t.fdt));
    root(&t, p, bootargs);
    check(&t, t.rc ? 0 : fdt_finish(t.fdt));
    return t.rc;
}

int fdt_build(const struct platform *p, const char *bootargs, void **out, size_t *len)
{
    enum { SOME = 8192, EACH = 256 };
    /* Enough at once for what is known to grow; again with more if the guess was too small. */
    size_t cap = SOME + strlen(bootargs) + (size_t)EACH * (p->cpus + p->n_mmio);

    for (; cap <= INT32_MAX; cap *= 2) {
        AUTO_FREE void *buf = calloc(1, cap);

        if (!buf)
            return -ENOMEM;
        int rc = tree_write(buf, cap, p, bootargs);
        if (rc == -FDT_ERR_NOSPACE)
            continue;
        assert(rc == 0); /* all other errors are misuse */
        *len = fdt_totalsize(buf);
        *out = TAKE_PTR(buf);
        return 0;
    }
    return -E2BIG;
}
