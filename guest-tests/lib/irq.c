/* guest-tests/lib/irq.c - interrupt descriptors and the two kinds of APIC, as far as a test needs
 * them: Intel SDM volume 3, chapters 6 and 10; Intel 82093AA data sheet. */
#include "irq.h"

enum {
    GATE_INTERRUPT = 0x8e, /* present, 64-bit, interrupts off inside */
    EXCEPTIONS = 32,
    VECTORS = 256,
    ENTRY_BYTES = 16,
    MSR_APIC_BASE = 0x1b,
    APIC_BASE_X2 = 1 << 10,
    MSR_X2APIC = 0x800,
    IOREGSEL = 0x00,
    IOWIN = 0x10,
};

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

/* As start.S leaves it on the stack. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

extern const uint8_t irq_entries[];
void irq_dispatch(const struct trap_frame *f);

static struct gate idt[VECTORS] __attribute__((aligned(16)));
static irq_handler *handlers[VECTORS];
static uint64_t n_stray;

void irq_dispatch(const struct trap_frame *f)
{
    if (f->vector < EXCEPTIONS) {
        uint64_t cr2;
        __asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
        end_fail("exception %lu, error code %#lx, at %#lx, CR2 %#lx", f->vector, f->error, f->rip,
                 cr2);
    }
    if (handlers[f->vector])
        handlers[f->vector]((unsigned)f->vector);
    else
        n_stray++;
    if (f->vector != VECTOR_SPURIOUS)
        lapic_write(LAPIC_EOI, 0);
}

void irq_init(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idtr = {sizeof(idt) - 1, (uint64_t)idt};
    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t to = (uint64_t)(irq_entries + (size_t)i * ENTRY_BYTES);
        idt[i] = (struct gate){.offset_low = (uint16_t)to,
                               .selector = SEL_CODE64,
                               .type = GATE_INTERRUPT,
                               .offset_middle = (uint16_t)(to >> 16),
                               .offset_high = (uint32_t)(to >> 32)};
    }
    __asm__ volatile("lidt %0" : : "m"(idtr));
}

void irq_handle(unsigned vector, irq_handler *fn)
{
    handlers[vector] = fn;
}

uint64_t irq_stray(void)
{
    return n_stray;
}

/* --- the local APIC --- */

bool lapic_is_x2apic(void)
{
    return msr_read(MSR_APIC_BASE) & APIC_BASE_X2;
}

uint32_t lapic_read(uint32_t reg)
{
    return lapic_is_x2apic() ? (uint32_t)msr_read(MSR_X2APIC + reg / 16)
                             : mmio_read32(MMIO_LAPIC + reg);
}

void lapic_write(uint32_t reg, uint32_t v)
{
    if (lapic_is_x2apic())
        msr_write(MSR_X2APIC + reg / 16, v);
    else
        mmio_write32(MMIO_LAPIC + reg, v);
}

void lapic_init(void)
{
    lapic_write(LAPIC_TPR, 0);
    lapic_write(LAPIC_SVR, SVR_ENABLE | VECTOR_SPURIOUS);
}

uint32_t lapic_id(void)
{
    uint32_t v = lapic_read(LAPIC_ID);
    return lapic_is_x2apic() ? v : v >> 24;
}

void lapic_send(uint32_t to, uint32_t command)
{
    if (lapic_is_x2apic()) {
        msr_write(MSR_X2APIC + LAPIC_ICR / 16, (uint64_t)to << 32 | command);
        return;
    }
    mmio_write32(MMIO_LAPIC + LAPIC_ICR_HIGH, to << 24);
    mmio_write32(MMIO_LAPIC + LAPIC_ICR, command);
    while (mmio_read32(MMIO_LAPIC + LAPIC_ICR) & ICR_PENDING)
        cpu_pause();
}

/* --- the I/O APIC --- */

uint32_t ioapic_read(uint8_t reg)
{
    mmio_write32(MMIO_IOAPIC + IOREGSEL, reg);
    return mmio_read32(MMIO_IOAPIC + IOWIN);
}

void ioapic_write(uint8_t reg, uint32_t v)
{
    mmio_write32(MMIO_IOAPIC + IOREGSEL, reg);
    mmio_write32(MMIO_IOAPIC + IOWIN, v);
}

void ioapic_connect(unsigned pin, irq_handler *fn)
{
    irq_handle(VECTOR_FIRST_PIN + pin, fn);
    ioapic_write((uint8_t)(IOAPIC_PIN_0 + 2 * pin + 1), lapic_id() << 24);
    ioapic_write((uint8_t)(IOAPIC_PIN_0 + 2 * pin), VECTOR_FIRST_PIN + pin);
}

void ioapic_mask(unsigned pin)
{
    ioapic_write((uint8_t)(IOAPIC_PIN_0 + 2 * pin), IOAPIC_MASKED);
}
