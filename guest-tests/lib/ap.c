/* guest-tests/lib/ap.c - see ap.h; the real-mode part is in start.S. */
#include "ap.h"

#include "irq.h"

enum { STACK = 16384 };

extern const uint8_t ap_trampoline[], ap_trampoline_end[], ap_cr3[], ap_stack[], ap_entry[];

static uint8_t stack[STACK] __attribute__((aligned(16)));
static void (*entry)(void);

static void ap_main(void)
{
    irq_init();
    lapic_init();
    entry();
}

static void put(uint8_t *low, const uint8_t *variable, uint64_t v)
{
    memcpy(low + (variable - ap_trampoline), &v, sizeof(v));
}

void ap_start(uint32_t id, void (*fn)(void))
{
    uint8_t *low = (uint8_t *)LOW_TRAMPOLINE;
    __asm__("" : "+r"(low)); /* an address, whatever the compiler thinks of it */
    memcpy(low, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    put(low, ap_cr3, cr3_read());
    put(low, ap_stack, (uint64_t)(stack + STACK));
    put(low, ap_entry, (uint64_t)ap_main);
    entry = fn;
    lapic_send(id, ICR_INIT);
    for (unsigned i = 0; i < 100; i++)
        (void)port_read8(0x80); /* ten milliseconds on old machines, and nothing here */
    lapic_send(id, ICR_STARTUP | LOW_TRAMPOLINE >> 12);
    lapic_send(id, ICR_STARTUP | LOW_TRAMPOLINE >> 12); /* the second is ignored */
}
