/* guest-tests/reboot.c - every way in which a guest ends or restarts its machine. how=restart goes
 * through three resets and looks, after each, for anything of the life before; the other values of
 * how= do one thing, after which nothing may follow.
 *
 * The clock's memory has a battery, so it survives a reset: it counts the lives. */
#include <linux/virtio_blk.h>

#include "lib/ap.h"
#include "lib/irq.h"
#include "lib/virtio.h"

enum {
    CMOS_LIFE = 0x70,
    CMOS_MAGIC = 0x71,
    MAGIC = 0x5d,
    LIVES = 4,
    SCRATCH = 0x99,
    IN_FLIGHT = 8,
    LAPIC_ISR = 0x100,
    LAPIC_IRR = 0x200,
    MSR_STAR = 0xc0000081,
    MSR_LSTAR = 0xc0000082,
    MSR_KERNEL_GS = 0xc0000102,
    CR4_PGE = 0x80,
};
#define FAR_MEMORY 0x6000000ull /* 96 MiB: neither the guest's image nor anything of the VMM's */
#define FAR_SIGN   0x0123456789abcdefull

static volatile uint64_t in_data = 1, in_bss, ap_beats;
static uint64_t *far;

/* --- what a life leaves behind --- */

static struct virtio disk;
static struct ring ring;
static struct virtio_blk_outhdr header;
static uint8_t status[IN_FLIGHT];

static void leave_requests_in_flight(void)
{
    virtio_begin(&disk, 0);
    ring_start(&ring, &disk, 0, 64);
    virtio_go(&disk);
    for (unsigned i = 0; i < IN_FLIGHT; i++) {
        const struct seg s[] = {{.at = &header, .len = sizeof(header)},
                                {.at = far + 512 + 64 * i, .len = 512, .writable = true},
                                {.at = &status[i], .len = 1, .writable = true}};
        CHECK(ring_add(&ring, s, ARRAY_SIZE(s)) >= 0);
    }
    ring_kick(&ring);
}

static void ap_main(void)
{
    for (;;)
        ap_beats++; /* until the reset, and not after it */
}

static void live(void)
{
    in_data = 2;
    in_bss = 2;
    far[0] = FAR_SIGN;
    memset((void *)(far + 256), 0xaa, 512);
    port_write8(PORT_SERIAL_SCRATCH, SCRATCH);
    msr_write(MSR_STAR, 0x123400000000);
    msr_write(MSR_LSTAR, FAR_SIGN >> 20);
    msr_write(MSR_KERNEL_GS, 0x1000);
    __asm__ volatile("mov %0, %%dr0" : : "r"(0x4321ull));
    __asm__ volatile("mov %0, %%cr4" : : "r"(0x20ull | CR4_PGE));
    lapic_init();
    lapic_write(LAPIC_TPR, 0x30);
    ioapic_write(IOAPIC_PIN_0 + 2 * 20, 0x71);
    lapic_send(0, ICR_FIXED | 0x72); /* requested for ever, because interrupts are off */
    if (cpuid(1, 0).ebx >> 16 & 0xff && arg_number("cpus", 1) > 1) {
        ap_start(1, ap_main);
        CHECK(WAIT_FOR(ap_beats > 0));
    }
    leave_requests_in_flight();
}

/* --- what must not be left --- */

static void check_newborn(void)
{
    uint64_t dr0, cr4;
    CHECK_EQ(in_data, 1);
    CHECK_EQ(in_bss, 0);
    CHECK_EQ(far[0], 0);
    for (unsigned i = 0; i < 512; i++)
        CHECK_EQ(far[256 + i], 0);
    CHECK_EQ(status[0], 0);
    CHECK_EQ(port_read8(PORT_SERIAL_SCRATCH), 0);
    CHECK_EQ(msr_read(MSR_STAR), 0);
    CHECK_EQ(msr_read(MSR_LSTAR), 0);
    CHECK_EQ(msr_read(MSR_KERNEL_GS), 0);
    __asm__ volatile("mov %%dr0, %0" : "=r"(dr0));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    CHECK_EQ(dr0, 0);
    CHECK_EQ(cr4, 0x20);
    CHECK(!lapic_is_x2apic());
    CHECK_EQ(lapic_read(LAPIC_SVR), 0xff); /* SDM 11.12.4: disabled */
    CHECK_EQ(lapic_read(LAPIC_TPR), 0);
    for (unsigned i = 0; i < 8; i++) {
        CHECK_EQ(lapic_read(LAPIC_ISR + 16 * i), 0);
        CHECK_EQ(lapic_read(LAPIC_IRR + 16 * i), 0);
    }
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        CHECK(ioapic_read((uint8_t)(IOAPIC_PIN_0 + 2 * pin)) & IOAPIC_MASKED);
    struct virtio v;
    for (unsigned i = 0; virtio_slot(i, &v); i++) {
        CHECK_EQ(virtio_read(&v, VIRTIO_MMIO_STATUS), 0);
        CHECK_EQ(virtio_read(&v, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
        virtio_write(&v, VIRTIO_MMIO_QUEUE_SEL, 0);
        CHECK_EQ(virtio_read(&v, VIRTIO_MMIO_QUEUE_READY), 0);
    }
    for (unsigned i = 0; i < 1000; i++)
        (void)port_read8(0x80);
    CHECK_EQ(ap_beats, 0);
}

/* --- the ways --- */

static void by_acpi(void)
{
    port_write8(PORT_RESET, RESET_VALUE);
}

static void by_i8042(void)
{
    while (port_read8(PORT_I8042_COMMAND) & I8042_INPUT_FULL)
        cpu_pause();
    port_write8(PORT_I8042_COMMAND, I8042_PULSE_RESET);
}

static void by_syscon(void)
{
    mmio_write32(MMIO_SYSCON, SYSCON_RESET);
}

static void by_syscon_off(void)
{
    mmio_write32(MMIO_SYSCON, SYSCON_POWER_OFF);
}

static void by_panic(void)
{
    port_write8(PORT_PVPANIC, PVPANIC_PANICKED);
}

static void by_triple_fault(void)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) none = {0, 0};
    __asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void in_interrupt(unsigned vector)
{
    (void)vector;
    by_i8042();
}

static void restart(void)
{
    unsigned life = cmos_read(CMOS_MAGIC) == MAGIC ? cmos_read(CMOS_LIFE) : 0;
    out("reboot: life %u\n", life);
    virtio_find(VIRTIO_ID_BLOCK, &disk);
    check_newborn();
    cmos_write(CMOS_MAGIC, MAGIC);
    cmos_write(CMOS_LIFE, (uint8_t)(life + 1));
    if (life + 1 == LIVES)
        end();
    live();
    switch (life) {
    case 0:
        by_acpi();
        break;
    case 1: /* with an interrupt in service */
        lapic_write(LAPIC_TPR, 0);
        irq_handle(0x72, in_interrupt);
        interrupts_on();
        (void)WAIT_FOR(false);
        break;
    default:
        by_syscon();
        break;
    }
    end_fail("life %u goes on after its reset", life);
}

void guest_main(void)
{
    static const struct {
        const char *name;
        void (*fn)(void);
    } ways[] = {{"acpi", by_acpi},     {"i8042", by_i8042},
                {"syscon", by_syscon}, {"syscon-off", by_syscon_off},
                {"panic", by_panic},   {"triple-fault", by_triple_fault}};
    far = (uint64_t *)FAR_MEMORY;
    if (arg_is("how", "restart"))
        restart();
    for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
        if (!arg_is("how", ways[i].name))
            continue;
        out("guest-test %s ENDS by %s\n", TEST_NAME, ways[i].name);
        ways[i].fn();
        end_fail("the machine goes on");
    }
    end_fail("how= names no way");
}
