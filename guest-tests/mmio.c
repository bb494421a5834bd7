/* guest-tests/mmio.c - memory-mapped I/O of every width and by several kinds of instruction: to
 * virtio-mmio's registers and configuration space, to nobody, across the end of a region, and to
 * the interrupt controllers inside KVM. */
#include <linux/virtio_blk.h>

#include "lib/irq.h"
#include "lib/virtio.h"

static void test_registers(const struct virtio *v)
{
    uint64_t at = v->base;
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_VERSION), 2);
    uint32_t id = mmio_read32(at + VIRTIO_MMIO_DEVICE_ID);
    CHECK(id != 0);
    out("mmio: device %u at %#lx, pin %u, features %#lx\n", id, at, v->pin, virtio_offered(v));
    /* 4.2.2.2: the driver uses 32-bit aligned accesses; anything else reads as 0 here... */
    CHECK_EQ(mmio_read8(at), 0);
    CHECK_EQ(mmio_read16(at), 0);
    CHECK_EQ(mmio_read64(at), 0);
    CHECK_EQ(mmio_read32(at + 2), 0);
    CHECK_EQ(mmio_read32(at + 1), 0);
    /* ...and writes nothing. */
    mmio_write8(at + VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    mmio_write16(at + VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    mmio_write64(at + VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_STATUS), 0);
    mmio_write32(at + VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    mmio_write32(at + VIRTIO_MMIO_STATUS, 0);
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_STATUS), 0);
    mmio_write32(at + VIRTIO_MMIO_MAGIC_VALUE, 0); /* read-only */
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_CONFIG - 4), mmio_read32(at + 0x0fc));
}

static void test_config(const struct virtio *blk)
{
    uint64_t at = blk->base + VIRTIO_MMIO_CONFIG;
    uint64_t capacity = mmio_read64(at), by_bytes = 0, by_words = 0;
    CHECK_EQ(capacity, arg_number("sectors", capacity));
    CHECK(capacity > 0);
    for (unsigned i = 0; i < 8; i++)
        by_bytes |= (uint64_t)mmio_read8(at + i) << 8 * i;
    for (unsigned i = 0; i < 4; i++)
        by_words |= (uint64_t)mmio_read16(at + 2 * i) << 16 * i;
    CHECK_EQ(by_bytes, capacity);
    CHECK_EQ(by_words, capacity);
    CHECK_EQ(mmio_read32(at) | (uint64_t)mmio_read32(at + 4) << 32, capacity);
    CHECK_EQ(mmio_read32(at + 2), (uint32_t)(capacity >> 16)); /* configuration may be unaligned */
    CHECK_EQ(mmio_read32(at + offsetof(struct virtio_blk_config, blk_size)), 512);
    /* Read-only, and nothing behind its end. */
    mmio_write64(at, 1);
    mmio_write8(at, 1);
    CHECK_EQ(mmio_read64(at), capacity);
    CHECK_EQ(mmio_read64(at + 0x800), 0);
    mmio_write64(at + 0x800, UINT64_MAX);
    CHECK_EQ(mmio_read64(at + 0x800), 0);
}

static void nobody(uint64_t at)
{
    mmio_write8(at, 0);
    mmio_write16(at, 0);
    mmio_write32(at, 0);
    mmio_write64(at, 0);
    CHECK_EQ(mmio_read8(at), UINT8_MAX);
    CHECK_EQ(mmio_read16(at), UINT16_MAX);
    CHECK_EQ(mmio_read32(at), UINT32_MAX);
    CHECK_EQ(mmio_read64(at), UINT64_MAX);
}

static void test_unclaimed(uint64_t behind_devices)
{
    nobody(MMIO_HOLE_FIRST);
    nobody(MMIO_NOTHING);
    nobody(MMIO_NOTHING + 1);
    nobody(MMIO_NOTHING - 3); /* across two pages that nobody has */
    nobody(behind_devices);
    nobody(MMIO_SYSCON + 4);
}

/* If any of these reached the register as a whole, the machine would be off. */
static void test_straddling(uint64_t behind_devices)
{
    CHECK_EQ(mmio_read32(MMIO_SYSCON), 0);
    CHECK_EQ(mmio_read64(MMIO_SYSCON), UINT64_MAX);
    CHECK_EQ(mmio_read32(MMIO_SYSCON + 2), UINT32_MAX);
    CHECK_EQ(mmio_read16(MMIO_SYSCON + 3), UINT16_MAX);
    mmio_write64(MMIO_SYSCON, SYSCON_POWER_OFF);
    mmio_write64(MMIO_SYSCON, (uint64_t)SYSCON_POWER_OFF << 32 | SYSCON_POWER_OFF);
    mmio_write32(MMIO_SYSCON + 2, SYSCON_POWER_OFF);
    mmio_write16(MMIO_SYSCON, SYSCON_POWER_OFF);
    mmio_write8(MMIO_SYSCON, SYSCON_POWER_OFF);
    mmio_write32(MMIO_SYSCON, SYSCON_RESET + 1);
    CHECK_EQ(mmio_read32(MMIO_SYSCON), 0);
    /* KVM splits at a page's end: what is left is the last device's configuration, past its end,
     * and nobody. */
    CHECK_EQ(mmio_read64(behind_devices - 4), 0xffffffff00000000);
    CHECK_EQ(mmio_read16(behind_devices - 1), 0xff00);
    mmio_write64(behind_devices - 4, 0);
}

/* Instructions other than a plain load or store. */
static void test_instructions(const struct virtio *v)
{
    uint64_t at = v->base;
    uint32_t words[2] = {0, 0}, status = VIRTIO_CONFIG_S_ACKNOWLEDGE;
    const void *from = (const void *)at;
    void *to = words;
    size_t n = 2;
    __asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
    CHECK_EQ(words[0], 0x74726976);
    CHECK_EQ(words[1], 2);

    uint64_t zero_extended = UINT64_MAX, sign_extended = 0;
    __asm__ volatile("movzbl %1, %k0" : "+r"(zero_extended) : "m"(*(uint8_t *)MMIO_NOTHING));
    CHECK_EQ(zero_extended, 0xff);
    __asm__ volatile("movswq %1, %0" : "=r"(sign_extended) : "m"(*(uint16_t *)MMIO_NOTHING));
    CHECK_EQ(sign_extended, UINT64_MAX);

    __asm__ volatile("xchgl %0, %1" /* a read and a write */
                     : "+r"(status), "+m"(*(volatile uint32_t *)(at + VIRTIO_MMIO_STATUS)));
    CHECK_EQ(status, 0);
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
    __asm__ volatile("orl %1, %0"
                     : "+m"(*(volatile uint32_t *)(at + VIRTIO_MMIO_STATUS))
                     : "r"((uint32_t)VIRTIO_CONFIG_S_DRIVER));
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_STATUS),
             VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    __asm__ volatile("movl $0, %0" : "=m"(*(volatile uint32_t *)(at + VIRTIO_MMIO_STATUS)));
    CHECK_EQ(mmio_read32(at + VIRTIO_MMIO_STATUS), 0);

    bool equal;
    __asm__ volatile("cmpl $2, %1"
                     : "=@ccz"(equal)
                     : "m"(*(volatile uint32_t *)(at + VIRTIO_MMIO_VERSION)));
    CHECK(equal);

    to = (void *)MMIO_NOTHING;
    n = 64;
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(0) : "memory");
    CHECK_EQ(mmio_read64(MMIO_NOTHING), UINT64_MAX);
}

static void test_interrupt_controllers(void)
{
    out("mmio: local APIC %u in %s mode, version %#x\n", lapic_id(),
        lapic_is_x2apic() ? "x2APIC" : "xAPIC", lapic_read(LAPIC_VERSION));
    uint32_t version = lapic_read(LAPIC_VERSION) & 0xff;
    CHECK(version >= 0x10 && version <= 0x15);
    CHECK_EQ(lapic_id(), 0);
    lapic_init();
    CHECK_EQ(lapic_read(LAPIC_SVR), SVR_ENABLE | VECTOR_SPURIOUS);
    uint32_t v = ioapic_read(IOAPIC_VERSION);
    CHECK_EQ(v >> 16 & 0xff, IOAPIC_PINS - 1);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        CHECK(ioapic_read((uint8_t)(IOAPIC_PIN_0 + 2 * pin)) & IOAPIC_MASKED);
    ioapic_write(IOAPIC_PIN_0 + 2 * 23, IOAPIC_MASKED | 0x77);
    CHECK_EQ(ioapic_read(IOAPIC_PIN_0 + 2 * 23), IOAPIC_MASKED | 0x77);
}

void guest_main(void)
{
    struct virtio v;
    unsigned n = 0;
    for (; virtio_slot(n, &v); n++) {
        test_registers(&v);
        test_instructions(&v);
    }
    CHECK(n >= 3); /* the disk, and what the VMM adds */
    uint64_t behind = MMIO_HOLE_FIRST;
    for (unsigned i = 0; virtio_slot(i, &v); i++)
        behind = v.base + VIRTIO_WINDOW > behind ? v.base + VIRTIO_WINDOW : behind;
    virtio_find(VIRTIO_ID_BLOCK, &v);
    test_config(&v);
    test_unclaimed(behind);
    test_straddling(behind);
    test_interrupt_controllers();
}
