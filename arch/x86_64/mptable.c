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
    BUS_ISA = 0,
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

struct mp_tail { /* everything behind the CPUs */
    struct mp_bus isa;
    struct mp_ioapic ioapic;
    struct mp_interrupt io[IRQ_COUNT], local[2];
} __attribute__((packed));
struct mp_ebda {
    struct mp_floating_pointer fp;
    struct mp_header header;
    struct mp_cpu cpu[]; /* then struct mp_tail */
} __attribute__((packed));
enum {
    EBDA_SIZE = LAYOUT_LOW_END - LAYOUT_EBDA,
    CPUS_MAX =
        (EBDA_SIZE - sizeof(struct mp_ebda) - sizeof(struct mp_tail)) / sizeof(struct mp_cpu),
};

/* Pin n is line n of an ISA bus, also from 16 on, of which ISA has none: a PCI bus numbers its
 * lines by slot and INTx, and there are no slots here. Edge and active high are written out, so
 * that nothing depends on what "conforms to the bus" means to the kernel. */
static void tail_fill(struct mp_tail *t)
{
    *t = (struct mp_tail){
        .isa = {ENTRY_BUS, BUS_ISA, "ISA   "},
        .ioapic = {ENTRY_IOAPIC, IOAPIC_ID, IOAPIC_VERSION, ENABLED, LAYOUT_IOAPIC},
        .local = {{ENTRY_LOCAL_INTERRUPT, EXTINT, CONFORMS, BUS_ISA, 0, ALL_LAPICS, 0},
                  {ENTRY_LOCAL_INTERRUPT, NMI, CONFORMS, BUS_ISA, 0, ALL_LAPICS, 1}},
    };
    for (unsigned i = 0; i < IRQ_COUNT; i++)
        t->io[i] = (struct mp_interrupt){ENTRY_IO_INTERRUPT, INT,       EDGE_ACTIVE_HIGH, BUS_ISA,
                                         (uint8_t)i,         IOAPIC_ID, (uint8_t)i};
}

int mptable_write(const struct gmem *m, const struct platform *p, struct err *e)
{
    unsigned cpus = MIN(p->cpus, (unsigned)CPUS_MAX);
    struct mp_ebda *t = boot_low(m, LAYOUT_EBDA, EBDA_SIZE, e);
    uint8_t *segment = boot_low(m, BDA_EBDA_SEGMENT, 2, e);

    if (!t || !segment)
        return -EINVAL;
    if (cpus < p->cpus)
        log_line(p->discovery == DISCOVERY_CMDLINE ? LOG_WARN : LOG_DEBUG,
                 "MP table: it has room for %u CPUs; the guest will not see the other %u", cpus,
                 p->cpus - cpus);
    put_bytes(segment, LAYOUT_EBDA >> 4, 2);

    uint16_t len =
        (uint16_t)(sizeof(t->header) + cpus * sizeof(t->cpu[0]) + sizeof(struct mp_tail));
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
        .entries = (uint16_t)(cpus + 2 + IRQ_COUNT + 2),
        .lapic = LAYOUT_LAPIC,
    };
    for (unsigned i = 0; i < cpus; i++)
        t->cpu[i] = (struct mp_cpu){.type = ENTRY_CPU,
                                    .apic_id = (uint8_t)i,
                                    .apic_version = LAPIC_VERSION,
                                    .flags = (uint8_t)(ENABLED | (i == 0 ? BOOT_CPU : 0))};
    tail_fill((struct mp_tail *)&t->cpu[cpus]);
    t->header.checksum = boot_checksum(&t->header, len);
    return 0;
}
