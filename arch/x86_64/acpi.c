/* arch/x86_64/acpi.c - the ACPI tables of the machine: hardware-reduced, so that a kernel expects
 * neither PIC, PIT, SCI nor fixed registers, and finds its devices by name in the DSDT.
 *
 * "Virtual Machine Generation ID" (Microsoft) for the device VGEN; ACPI 6.5: 5.2.5 RSDP, 5.2.8
 * XSDT, 5.2.9 FADT, 5.2.12 MADT, 4.8.3.7 sleep registers, 6.2.13 _PRT. PCI Firmware 3.3: 4.1.2
 * MCFG, 4.6.1 how host bridges are described. */
#include "arch/x86_64/aml.h"
#include "arch/x86_64/boot_priv.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum; /* of what ACPI 1.0 knew: the first 20 bytes */
    char oem[6];
    uint8_t revision;
    uint32_t rsdt, length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));
struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision;
    char creator[4];
    uint32_t creator_revision;
} __attribute__((packed));
struct acpi_xsdt {
    struct acpi_header h;
    uint64_t table[3]; /* the last may be missing */
} __attribute__((packed));
struct acpi_gas { /* generic address structure, 5.2.3.2 */
    uint8_t space, bit_width, bit_offset, access_size;
    uint64_t address;
} __attribute__((packed));
struct acpi_fadt { /* reserved, here: unused on hardware-reduced platforms */
    struct acpi_header h;
    uint32_t facs, dsdt;
    uint8_t reserved1, pm_profile, reserved2[62], century;
    uint16_t iapc_boot_arch;
    uint8_t reserved3;
    uint32_t flags;
    struct acpi_gas reset;
    uint8_t reset_value;
    uint16_t arm_boot_arch;
    uint8_t minor_revision;
    uint64_t x_facs, x_dsdt;
    struct acpi_gas reserved4[8];
    struct acpi_gas sleep_control, sleep_status;
    uint64_t hypervisor;
} __attribute__((packed));
_Static_assert(offsetof(struct acpi_fadt, iapc_boot_arch) == 109, "5.2.9");
_Static_assert(offsetof(struct acpi_fadt, sleep_control) == 244, "5.2.9");
_Static_assert(sizeof(struct acpi_fadt) == 276, "5.2.9");

struct acpi_madt {
    struct acpi_header h;
    uint32_t lapic, flags;
} __attribute__((packed));
struct madt_ioapic {
    uint8_t type, len, id, reserved;
    uint32_t address, gsi_base;
} __attribute__((packed));
struct madt_lapic {
    uint8_t type, len, uid, apic_id;
    uint32_t flags;
} __attribute__((packed));
struct madt_x2apic {
    uint8_t type, len, reserved[2];
    uint32_t apic_id, flags, uid;
} __attribute__((packed));
enum { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_X2APIC = 9, MADT_ENABLED = 1 };
enum { LAPIC_IDS = 255 }; /* 255 is the xAPIC's broadcast */

struct acpi_mcfg { /* of one segment */
    struct acpi_header h;
    uint64_t reserved1, ecam;
    uint16_t segment;
    uint8_t first_bus, last_bus;
    uint32_t reserved2;
} __attribute__((packed));

/* The area from LAYOUT_RSDP to LAYOUT_VMGENID, filled from below. */
struct acpi_area {
    uint8_t *base;
    size_t cap, len;
};

/* Zeroed and aligned to 16 bytes; NULL when the area is full. */
static void *area_take(struct acpi_area *a, size_t len)
{
    size_t at = align_up(a->len, 16); /* at most cap, which is a multiple of 16 */

    if (len > a->cap - at)
        return NULL;
    a->len = at + len;
    return memset(a->base + at, 0, len);
}

static uint64_t area_address(const struct acpi_area *a, const void *p)
{
    return LAYOUT_RSDP + (uint64_t)((const uint8_t *)p - a->base);
}

/* The last step for every table, which is complete from its 37th byte on. */
static void header_fill(struct acpi_header *h, const char *signature, uint8_t revision, size_t len)
{
    *h = (struct acpi_header){
        .length = (uint32_t)len,
        .revision = revision,
        .oem = "VMM   ",
        .oem_table = "VMM     ",
        .oem_revision = 1,
        .creator = "VMM ",
        .creator_revision = 1,
    };
    memcpy(h->signature, signature, sizeof(h->signature));
    h->checksum = boot_checksum(h, len);
}

static struct acpi_gas port(uint16_t number)
{
    enum { SYSTEM_IO = 1, BYTE_ACCESS = 1 };

    return (struct acpi_gas){SYSTEM_IO, 8, 0, BYTE_ACCESS, number};
}

static void fadt_fill(struct acpi_fadt *f, uint64_t dsdt)
{
    enum { WBINVD = 1 << 0, PWR_BUTTON = 1 << 4, SLP_BUTTON = 1 << 5 }; /* no fixed buttons */
    enum { RESET_REG_SUP = 1 << 10, HW_REDUCED_ACPI = 1 << 20 };
    enum { VGA_NOT_PRESENT = 1 << 2 }; /* and no 8042; MSI and the CMOS clock are fine */

    f->dsdt = (uint32_t)dsdt;
    f->x_dsdt = dsdt;
    f->iapc_boot_arch = VGA_NOT_PRESENT;
    f->flags = WBINVD | PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HW_REDUCED_ACPI;
    f->reset = port(PORT_PM + PM_RESET);
    f->reset_value = PM_RESET_VALUE;
    f->minor_revision = 5;
    f->sleep_control = port(PORT_PM + PM_SLEEP_CONTROL);
    f->sleep_status = port(PORT_PM + PM_SLEEP_STATUS);
    header_fill(&f->h, "FACP", 6, sizeof(*f));
}

static struct acpi_madt *madt_write(struct acpi_area *a, const struct platform *p)
{
    size_t lapics = MIN(p->cpus, (unsigned)LAPIC_IDS), x2apics = p->cpus - lapics;
    size_t len = sizeof(struct acpi_madt) + sizeof(struct madt_ioapic) +
                 lapics * sizeof(struct madt_lapic) + x2apics * sizeof(struct madt_x2apic);
    struct acpi_madt *t = area_take(a, len);

    if (!t)
        return NULL;
    t->lapic = LAYOUT_LAPIC;
    struct madt_ioapic *ioapic = (void *)(t + 1);
    *ioapic = (struct madt_ioapic){MADT_IOAPIC, sizeof(*ioapic), IOAPIC_ID, 0, LAYOUT_IOAPIC, 0};
    struct madt_lapic *l = (void *)(ioapic + 1);
    for (uint32_t id = 0; id < lapics; id++)
        *l++ = (struct madt_lapic){MADT_LAPIC, sizeof(*l), (uint8_t)id, (uint8_t)id, MADT_ENABLED};
    struct madt_x2apic *x = (void *)l;
    for (uint32_t id = LAPIC_IDS; id < p->cpus; id++)
        *x++ = (struct madt_x2apic){MADT_X2APIC, sizeof(*x), {0}, id, MADT_ENABLED, id};
    header_fill(&t->h, "APIC", 5, len);
    return t;
}

static void dsdt_legacy_devices(struct aml *a)
{
    size_t dev = aml_device(a, "COM1");
    aml_name_eisa_id(a, "_HID", "PNP0501");
    aml_name_integer(a, "_UID", 0);
    struct aml_crs crs = aml_crs_open(a);
    aml_io(a, PORT_SERIAL, 8);
    aml_irq(a, IRQ_SERIAL);
    aml_crs_close(a, crs);
    aml_close(a, dev);

    /* Without an interrupt: Linux then leaves alarms alone instead of failing to get line 8. */
    dev = aml_device(a, "RTC_");
    aml_name_eisa_id(a, "_HID", "PNP0B00");
    crs = aml_crs_open(a);
    aml_io(a, PORT_CMOS, 2);
    aml_crs_close(a, crs);
    aml_close(a, dev);

    dev = aml_device(a, "PEVT");
    aml_name_string(a, "_HID", "QEMU0001");
    aml_name_integer(a, "_STA", 0xf); /* present, enabled, shown, working */
    crs = aml_crs_open(a);
    aml_io(a, PORT_PVPANIC, 1);
    aml_crs_close(a, crs);
    aml_close(a, dev);
}

/* Where the generation ID is, and the event that says that it has changed (ACPI 6.5, 5.6.9).
 * Drivers know the device by the compatible IDs; VMGENCTR is the one that ACPI's own rules allow,
 * but they do not allow it as _HID. */
static void dsdt_generation(struct aml *a)
{
    enum { ID_CHANGED = 0x80 };
    size_t dev = aml_device(a, "VGEN");
    aml_name_string(a, "_HID", "VMM0001");
    size_t ids = aml_package(a, "_CID", 2);
    aml_string(a, "VMGENCTR");
    aml_string(a, "VM_Gen_Counter");
    aml_close(a, ids);
    aml_name_string(a, "_DDN", "VM_Gen_Counter");
    size_t address = aml_package(a, "ADDR", 2); /* low half, high half */
    aml_integer(a, LAYOUT_VMGENID);
    aml_integer(a, 0);
    aml_close(a, address);
    aml_close(a, dev);

    dev = aml_device(a, "GED_");
    aml_name_string(a, "_HID", "ACPI0013");
    aml_name_integer(a, "_UID", 0);
    struct aml_crs crs = aml_crs_open(a);
    aml_interrupt(a, IRQ_GED);
    aml_crs_close(a, crs);
    size_t event = aml_method(a, "_EVT", 1);
    aml_notify(a, "VGEN", ID_CHANGED);
    aml_close(a, event);
    aml_close(a, dev);
}

static void dsdt_virtio_device(struct aml *a, unsigned n, const struct mmio_slot *slot)
{
    char name[5] = {'V', 'I', (char)('0' + n / 10 % 10), (char)('0' + n % 10), '\0'};
    size_t dev = aml_device(a, name);

    aml_name_string(a, "_HID", "LNRO0005");
    aml_name_integer(a, "_UID", n);
    struct aml_crs crs = aml_crs_open(a);
    aml_memory32_fixed(a, (uint32_t)slot->base.v, (uint32_t)slot->len);
    aml_interrupt(a, slot->irq);
    aml_crs_close(a, crs);
    aml_close(a, dev);
}

/* Slot n's INTA# is wired to a pin of the I/O APIC; no slot has more than that. Level-triggered and
 * active low, since PCI has no others. */
static void dsdt_pci_routing(struct aml *a)
{
    size_t prt = aml_package(a, "_PRT", LAYOUT_PCI_SLOTS - 1);

    for (unsigned slot = 1; slot < LAYOUT_PCI_SLOTS; slot++) {
        enum { ANY_FUNCTION = 0xffff, INTA = 0 };
        size_t route = aml_inner_package(a, 4);
        aml_integer(a, slot << 16 | ANY_FUNCTION);
        aml_integer(a, INTA);
        aml_integer(a, 0); /* no link device: the next is a global interrupt */
        aml_integer(a, pci_host_irq(slot));
        aml_close(a, route);
    }
    aml_close(a, prt);
}

static void dsdt_pci(struct aml *a, const struct pci_host *h)
{
    enum { CONFIG_PORTS = 8 };
    size_t dev = aml_device(a, "PCI0");

    aml_name_eisa_id(a, "_HID", "PNP0A08");
    aml_name_eisa_id(a, "_CID", "PNP0A03");
    aml_name_integer(a, "_SEG", 0);
    aml_name_integer(a, "_BBN", 0);
    aml_name_integer(a, "_UID", 0);
    struct aml_crs crs = aml_crs_open(a);
    aml_bus_range(a, 0, 0);
    aml_io(a, PORT_PCI_CONFIG, CONFIG_PORTS);
    aml_io_window(a, LAYOUT_PCI_IO, LAYOUT_PCI_IO_LEN);
    aml_memory_window(a, LAYOUT_PCI_MEM32, LAYOUT_PCI_MEM32_LEN);
    if (h->mem64.len)
        aml_memory_window(a, h->mem64.base, h->mem64.len);
    aml_crs_close(a, crs);
    dsdt_pci_routing(a);
    aml_close(a, dev);

    /* ECAM is not the bridge's own, but of the motherboard (4.1.2). */
    dev = aml_device(a, "MBRD");
    aml_name_eisa_id(a, "_HID", "PNP0C02");
    aml_name_integer(a, "_UID", 0);
    crs = aml_crs_open(a);
    aml_memory32_fixed(a, (uint32_t)LAYOUT_PCI_ECAM, (uint32_t)LAYOUT_PCI_ECAM_LEN);
    aml_crs_close(a, crs);
    aml_close(a, dev);
}

static struct acpi_header *dsdt_write(struct acpi_area *area, const struct platform *p)
{
    struct acpi_header *h = area_take(area, sizeof(*h));
    struct aml a = {.buf = area->base + area->len, .cap = area->cap - area->len};

    if (!h)
        return NULL;
    size_t sb = aml_scope(&a, "_SB_");
    dsdt_legacy_devices(&a);
    dsdt_generation(&a);
    for (unsigned i = 0; i < p->n_mmio; i++)
        dsdt_virtio_device(&a, i, &p->mmio[i]);
    if (p->pci.present)
        dsdt_pci(&a, &p->pci);
    aml_close(&a, sb);

    size_t s5 = aml_package(&a, "_S5_", 4); /* SLP_TYPa, SLP_TYPb, reserved */
    aml_integer(&a, PM_S5);
    for (unsigned i = 0; i < 3; i++)
        aml_integer(&a, 0);
    aml_close(&a, s5);

    if (a.full)
        return NULL;
    area->len += a.len;
    header_fill(h, "DSDT", 2, sizeof(*h) + a.len);
    return h;
}

static struct acpi_mcfg *mcfg_write(struct acpi_area *a)
{
    struct acpi_mcfg *t = area_take(a, sizeof(*t));

    if (!t)
        return NULL;
    t->ecam = LAYOUT_PCI_ECAM; /* segment 0, bus 0 to 0 */
    header_fill(&t->h, "MCFG", 1, sizeof(*t));
    return t;
}

static void rsdp_fill(struct acpi_rsdp *r, uint64_t xsdt)
{
    enum { ACPI_1_LENGTH = 20 };

    *r = (struct acpi_rsdp){
        .signature = "RSD PTR ",
        .oem = "VMM   ",
        .revision = 2,
        .length = sizeof(*r),
        .xsdt = xsdt,
    };
    r->checksum = boot_checksum(r, ACPI_1_LENGTH);
    r->extended_checksum = boot_checksum(r, sizeof(*r));
}

int acpi_write(const struct gmem *m, const struct platform *p, struct err *e)
{
    struct acpi_area a = {.cap = LAYOUT_VMGENID - LAYOUT_RSDP};

    assert(p->n_mmio <= LAYOUT_MMIO_MAX);
    a.base = boot_low(m, LAYOUT_RSDP, a.cap, e);
    if (!a.base)
        return -EINVAL;

    struct acpi_rsdp *rsdp = area_take(&a, sizeof(*rsdp));
    struct acpi_xsdt *xsdt = area_take(&a, sizeof(*xsdt));
    struct acpi_fadt *fadt = area_take(&a, sizeof(*fadt));
    struct acpi_header *dsdt = dsdt_write(&a, p);
    struct acpi_madt *madt = madt_write(&a, p);
    struct acpi_mcfg *mcfg = p->pci.present ? mcfg_write(&a) : NULL;
    if (!rsdp || !xsdt || !fadt || !dsdt || !madt || (p->pci.present && !mcfg))
        return err_input(e, 0, "ACPI: the tables of %u CPUs do not fit below 1 MiB", p->cpus);

    fadt_fill(fadt, area_address(&a, dsdt));
    unsigned tables = 0;
    xsdt->table[tables++] = area_address(&a, fadt);
    xsdt->table[tables++] = area_address(&a, madt);
    if (mcfg)
        xsdt->table[tables++] = area_address(&a, mcfg);
    header_fill(&xsdt->h, "XSDT", 1, offsetof(struct acpi_xsdt, table[tables]));
    rsdp_fill(rsdp, area_address(&a, xsdt));
    return 0;
}
