/* guest-tests/lib/irq.h - interrupts: the descriptor table, the local APIC, the I/O APIC.
 *
 * An exception ends the test with FAIL and says where; an interrupt calls its handler. */
#pragma once

#include "guest.h"

enum { VECTOR_FIRST_PIN = 0x40, VECTOR_IPI = 0x60, VECTOR_SPURIOUS = 0xff };

typedef void irq_handler(unsigned vector);

/* Loads the descriptor table into this CPU; start.S's callers need no more than this. */
void irq_init(void);
void irq_handle(unsigned vector, irq_handler *fn);
/* Stray interrupts, for which there is no handler. */
uint64_t irq_stray(void);

/* Enables this CPU's local APIC, in whichever mode it is. */
void lapic_init(void);
bool lapic_is_x2apic(void);
uint32_t lapic_read(uint32_t reg);
void lapic_write(uint32_t reg, uint32_t v);
uint32_t lapic_id(void);
/* `command` is the interrupt command register's lower half. */
void lapic_send(uint32_t to, uint32_t command);
enum {
    LAPIC_ID = 0x20,
    LAPIC_VERSION = 0x30,
    LAPIC_TPR = 0x80,
    LAPIC_EOI = 0xb0,
    LAPIC_SVR = 0xf0,
    LAPIC_ICR = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT_TIMER = 0x320,
    LAPIC_TIMER_COUNT = 0x380,

    SVR_ENABLE = 0x100,
    LVT_MASKED = 0x10000,
    ICR_FIXED = 0x4000, /* with level "assert" */
    ICR_INIT = 0x4500,
    ICR_STARTUP = 0x4600,
    ICR_PENDING = 0x1000,
};

uint32_t ioapic_read(uint8_t reg);
void ioapic_write(uint8_t reg, uint32_t v);
enum { IOAPIC_ID = 0, IOAPIC_VERSION = 1, IOAPIC_PIN_0 = 0x10, IOAPIC_MASKED = 0x10000 };
/* Edge-triggered, to this CPU, unmasked; vector VECTOR_FIRST_PIN + pin. */
void ioapic_connect(unsigned pin, irq_handler *fn);
void ioapic_mask(unsigned pin);
