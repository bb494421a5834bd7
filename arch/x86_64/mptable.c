/* arch/x86_64/mptable.c - Intel MP table, for a kernel that finds its devices on the command line
 * and therefore its CPUs and interrupt lines here. Linux takes the IRQ number n of
 * virtio_mmio.device= to mean I/O APIC pin n only if the table says so.
 *
 * Intel MultiProcessor Specification 1.4, chapter 4. */
#include "arch/x86_64/boot_priv.h"
#include "base/log.h"

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_IO_INTERRUPT, ENTRY_LOCAL_INTERRUPT };
enum {
    SPEC_1_4 = 4,
    LAPIC_VERSION = 0x14,
    IOAPIC_VERSION = 0x11,
    ENABLED = 1,
    BOOT_CPU = 2,
    INT = 0,
    NMI = 1,
    EXTINT = 3,
    CONFORMS = 0,           /* to the bus: polarity and trigger mode */
    EDGE_ACTIVE_HIGH = 0x5, /* po = 01, el = 01 */
    LEVEL_ACTIVE_LOW = 0xf, /* po = 11, el = 11 */
    BUS_PCI = 0,            /* has the number that its functions are found by */
    BUS_ISA = 1,
    ALL_LAPICS = 0xff,
    BDA_EBDA_SEGMENT = 0x40e,
};

struct mp_floating_pointer {
    char signature[4];
    uint32_t table;
    uint8_t paragraphs, spec_rev, checksum, feature[5];
} __attribute__((packed));
struct mp_header {
    char signature[4];
    uint16_t length;
    uint8_t spec_rev, checksum;
    char oem[8], product[12];
    uint32_t oem_table;
    uint16_t oem_table_size, entries;
    uint32_t lapic;
    uint16_t extended_length;
    uint8_t extended_checksum, reserved;
} __attribute__((packed));
struct mp_cpu {
    uint8_t type, apic_id, apic_version, flags;
    uint32_t signature, features, reserved[2];
} __attribute__((packed));
struct mp_bus {
    uint8_t type, id;
    char name[6];
} __attribute__((packed));
struct mp_ioapic {
    uint8_t type, id, version, flags;
    uint32_t address;
} __attribute__((packed));
struct mp_interrupt { /* I/O and local alike */
    uint8_t type, kind;
    uint16_t flags;
    uint8_t bus, irq, apic, pin;
} __attribute__((packed));

struct mp_ebda {
    struct mp_floating_pointer fp;
    struct mp_header header;
    struct mp_cpu cpu[]; /* then struct mp_tail */
} __attribute__((packed));
enum { EBDA_SIZE = LAYOUT_LOW_END - LAYOUT_EBDA };

/* Everything behind the CPUs, as long as it is. */
struct mp_tail {
    uint8_t bytes[2 * sizeof(struct mp_bus) + sizeof(struct mp_ioapic) +
                  (IRQ_COUNT + LAYOUT_PCI_SLOTS + 2) * sizeof(struct mp_interrupt)];
    size_t len;
    uint16_t entries;
};

static void add(struct mp_tail *t, const void *entry, size_t len)
{
    memcpy(t->bytes + t->len, entry, len);
    t->len += len;
    t->entries++;
}
#define ADD(tail, type, ...) add((tail), &(type){__VA_ARGS__}, sizeof(type))

/* Pin n is line n of an ISA bus, also from 16 on, of which ISA has none, unless those are PCI's: a
 * PCI bus numbers its lines by slot and INTx. Trigger and polarity are written out, so that nothing
 * depends on what "conforms to the bus" means to the kernel. */
static void add_interrupts(struct mp_tail *t, bool pci)
{
    for (unsigned i = 0; i < IRQ_COUNT; i++) {
        if (!pci || i - IRQ_PCI_FIRST >= LAYOUT_PCI_LINES)
            ADD(t, struct mp_interrupt, ENTRY_IO_INTERRUPT, INT, EDGE_ACTIVE_HIGH, BUS_ISA,
                (uint8_t)i, IOAPIC_ID, (uint8_t)i);
    }
    for (unsigned slot = 1; pci && slot < LAYOUT_PCI_SLOTS; slot++)
        ADD(t, struct mp_interrupt, ENTRY_IO_INTERRUPT, INT, LEVEL_ACTIVE_LOW, BUS_PCI,
            (uint8_t)(slot << 2), IOAPIC_ID, pci_host_irq(slot));
    ADD(t, struct mp_interrupt, ENTRY_LOCAL_INTERRUPT, EXTINT, CONFORMS, BUS_ISA, 0, ALL_LAPICS, 0);
    ADD(t, struct mp_interrupt, ENTRY_LOCAL_INTERRUPT, NMI, CONFORMS, BUS_ISA, 0, ALL_LAPICS, 1);
}

static void tail_fill(struct mp_tail *t, bool pci)
{
    *t = (struct mp_tail){0};
    if (pci)
        ADD(t, struct mp_bus, ENTRY_BUS, BUS_PCI, "PCI   ");
    ADD(t, struct mp_bus, ENTRY_BUS, BUS_ISA, "ISA   ");
    ADD(t, struct mp_ioapic, ENTRY_IOAPIC, IOAPIC_ID, IOAPIC_VERSION, ENABLED, LAYOUT_IOAPIC);
    add_interrupts(t, pci);
}

int mptable_write(const struct gmem *m, const struct platform *p, struct err *e)
{
    struct mp_tail tail;
    tail_fill(&tail, p->pci.present);
    size_t room = EBDA_SIZE - sizeof(struct mp_ebda) - tail.len;
    unsigned cpus = MIN(p->cpus, (unsigned)(room / sizeof(struct mp_cpu)));
    struct mp_ebda *t = boot_low(m, LAYOUT_EBDA, EBDA_SIZE, e);
    uint8_t *segment = boot_low(m, BDA_EBDA_SEGMENT, 2, e);

    if (!t || !segment)
        return -EINVAL;
    if (cpus < p->cpus)
        log_line(p->discovery == DISCOVERY_CMDLINE ? LOG_WARN : LOG_DEBUG,
                 "MP table: it has room for %u CPUs; the guest will not see the other %u", cpus,
                 p->cpus - cpus);
    put_bytes(segment, LAYOUT_EBDA >> 4, 2);

    uint16_t len = (uint16_t)(sizeof(t->header) + cpus * sizeof(t->cpu[0]) + tail.len);
    t->fp = (struct mp_floating_pointer){
        .signature = "_MP_",
        .table = LAYOUT_EBDA + offsetof(struct mp_ebda, header),
        .paragraphs = 1,
        .spec_rev = SPEC_1_4,
    };
    t->fp.checksum = boot_checksum(&t->fp, sizeof(t->fp));
    t->header = (struct mp_header){
        .signature = "PCMP",
        .length = len,
        .spec_rev = SPEC_1_4,
        .oem = "VMM     ",
        .product = "VMM         ",
        .entries = (uint16_t)(cpus + tail.entries),
        .lapic = LAYOUT_LAPIC,
    };
    for (unsigned i = 0; i < cpus; i++)
        t->cpu[i] = (struct mp_cpu){.type = ENTRY_CPU,
                                    .apic_id = (uint8_t)i,
                                    .apic_version = LAPIC_VERSION,
                                    .flags = (uint8_t)(ENABLED | (i == 0 ? BOOT_CPU : 0))};
    memcpy(&t->cpu[cpus], tail.bytes, tail.len);
    t->header.checksum = boot_checksum(&t->header, len);
    return 0;
}
