/* guest-tests/hostile_fuzz.c - attacks by chance, the same ones for the same seed: writes of any
 * width all over a device's registers, and rings of garbage. Bounded by count.
 *
 * Where a device would take an address, the garbage is scratch memory or no RAM at all: what a
 * driver tells a device to write over, it may, and here that would be the test itself. */
#include "hostile.h"

enum { ROUNDS = 9, WRITES = 100, RINGS = 12, FEW = 32, MIB = 1 << 20 };

static uint32_t address_low(void)
{
    uint64_t r = random_number();
    if (r & 1)
        return (uint32_t)(scratch + (r >> 8) % (ram_end - scratch));
    return (uint32_t)ram_end | (uint32_t)(r >> 32);
}

static uint32_t any_value(void)
{
    uint64_t r = random_number();
    switch (r % 6) {
    case 0:
        return (uint32_t)(r >> 32);
    case 1:
        return 1u << (r >> 8) % 32;
    case 2:
        return (uint32_t)(r >> 8) % 16;
    case 3:
        return UINT32_MAX << (r >> 8) % 32;
    case 4:
        return 0;
    default:
        return address_low();
    }
}

/* --- registers --- */

static bool holds_address(const struct virtio *v, unsigned from, unsigned to)
{
    unsigned first =
        v->kind == VIRTIO_PCI ? VIRTIO_PCI_COMMON_Q_DESCLO : VIRTIO_MMIO_QUEUE_DESC_LOW;
    unsigned last =
        v->kind == VIRTIO_PCI ? VIRTIO_PCI_COMMON_Q_USEDHI : VIRTIO_MMIO_QUEUE_USED_HIGH;
    return !virtio_is_legacy(v) && from < last + 4 && to > first;
}

/* A legacy ring's place is one number, and its unit another: neither by chance. */
static bool legacy_address(const struct virtio *v, unsigned from, unsigned to)
{
    unsigned first =
        v->kind == VIRTIO_PCI_LEGACY ? VIRTIO_PCI_QUEUE_PFN : VIRTIO_MMIO_GUEST_PAGE_SIZE;
    unsigned last = v->kind == VIRTIO_PCI_LEGACY ? VIRTIO_PCI_QUEUE_PFN : VIRTIO_MMIO_QUEUE_PFN;
    return virtio_is_legacy(v) && from < last + 4 && to > first;
}

static void poke(const struct virtio *v)
{
    uint64_t r = random_number();
    unsigned size = 1u << r % (v->kind == VIRTIO_PCI_LEGACY ? 3 : 4);
    unsigned room = v->kind == VIRTIO_PCI_LEGACY ? 0x20 : r & 0x30 ? 0x120 : 0x1000;
    unsigned off = (unsigned)(r >> 16) % room & (r & 0x40 ? ~3u : ~0u);
    uint64_t value = any_value() | (uint64_t)any_value() << 32;
    if (off + size > room)
        return;
    if (holds_address(v, off, off + size))
        value = address_low() | (uint64_t)address_low() << 32;
    if (legacy_address(v, off, off + size)) {
        virtio_set(v, VR_QUEUE_PFN, address_low() / 4096);
        return;
    }
    if (v->kind == VIRTIO_PCI_LEGACY) {
        port_write((uint16_t)(v->base + off), size, (uint32_t)value);
        (void)port_read((uint16_t)(v->base + off), size);
    } else {
        mmio_write(v->base + off, size, value);
        (void)mmio_read(v->base + off, size);
    }
}

static bool fuzz_registers(struct target *t, unsigned i)
{
    if (i == ROUNDS)
        return false;
    if (i % 3 == 1)
        virtio_reset(&t->dev);
    if (i % 3 == 2)
        target_begin(t);
    for (unsigned k = 0; k < WRITES; k++) {
        uint64_t r = random_number();
        if (r % 4) {
            poke(&t->dev);
        } else if (r % 8) {
            enum virtio_reg reg = (enum virtio_reg)((r >> 8) % VIRTIO_REGS);
            bool area = reg >= VR_DESC && reg <= VR_QUEUE_PFN;
            if (reg != VR_PAGE_SIZE)
                virtio_set(&t->dev, reg,
                           reg == VR_QUEUE_PFN ? address_low() / 4096
                           : area              ? address_low()
                                               : any_value());
        } else {
            virtio_notify(&t->dev, t->queue);
        }
    }
    return true;
}

/* --- rings --- */

static uint64_t any_address(void)
{
    uint64_t r = random_number();
    return r % 16 ? scratch + (r >> 8) % (16 * MIB) : address_low() | (r & 0xff0) << 28;
}

static uint32_t any_length(void)
{
    static const uint32_t lens[] = {0, 1, 16, 16, 32, 512, 512, 512, 4096};
    uint64_t r = random_number();
    return r % 16 ? lens[(r >> 8) % ARRAY_SIZE(lens)] : (uint32_t)(r >> 32);
}

/* Mostly such as a chain may have. */
static uint16_t any_flags(void)
{
    uint64_t r = random_number();
    return (uint16_t)(r % 32 ? (r >> 8) % (r % 4 ? 4 : 8) : r >> 32);
}

static void fill_table(struct vring_desc *d, bool packed)
{
    for (unsigned i = 0; i < FEW; i++) {
        uint64_t r = random_number();
        uint16_t flags = any_flags();
        d[i] = (struct vring_desc){any_address(), any_length(), packed ? (uint16_t)r : flags,
                                   packed ? flags : (uint16_t)(r % 64 ? (r >> 8) % FEW : r >> 32)};
    }
}

static void fuzz_split(struct ring *r)
{
    uint64_t x = random_number();
    uint16_t at = r->avail->idx, n = x % 64 ? x % 8 : (uint16_t)(x >> 8);
    fill_table(r->desc, false);
    for (unsigned k = 0; k < 16; k++) {
        x = random_number();
        r->avail->ring[(at + k) % r->size] = (uint16_t)(x % 64 ? (x >> 8) % FEW : x >> 8);
    }
    __atomic_store_n(&r->avail->idx, at + n, __ATOMIC_RELEASE);
}

static void fuzz_packed(struct ring *r)
{
    enum { BITS = 1 << VRING_PACKED_DESC_F_AVAIL | 1 << VRING_PACKED_DESC_F_USED };
    uint64_t x = random_number();
    fill_table(r->desc, true);
    for (unsigned k = 0; k < r->size; k++) {
        uint16_t bits = k < x % 32 ? ring_avail_bits(r) : (uint16_t)random_number() & BITS;
        r->slots[k].flags = (uint16_t)((r->slots[k].flags & ~BITS) | bits);
    }
}

static bool fuzz_rings(struct target *t, unsigned i)
{
    struct ring *r = &t->ring;
    if (i == RINGS)
        return false;
    fill_table((void *)scratch, r->packed);
    for (unsigned k = 0; k < 4; k++) {
        if (r->packed)
            fuzz_packed(r);
        else
            fuzz_split(r);
        virtio_notify(&t->dev, t->queue);
        CHECK(target_works(neighbour));
    }
    return true;
}

const struct attack fuzz_attacks[] = {
    {"fuzz-registers", fuzz_registers, .spoils = true},
    {"fuzz-rings", fuzz_rings, .spoils = true},
    {.name = NULL},
};
