/* tests/race/race_regs.h - a device's registers by virtio-mmio or by PCI, for a race that has both:
 * a bus of PCI's, whose functions are the devices in their order, and where their structures are.
 */
#pragma once

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>

#include "tests/race/race.h"
#include "transport/pci/pci.h"

enum { ECAM = 0xe0000000, FUNCTION = 0x8000, DEVICES_MAX = 16 };
enum { Q_RESET = 58 };      /* newer than the UAPI header */
static struct pci_bus *pci; /* NULL: it is virtio-mmio */
static struct {
    uint64_t at, doorbells; /* PCI */
} regs[DEVICES_MAX];

/* --- registers, by either transport --- */

enum field { STATUS, OFFER_SEL, OFFER, TAKE_SEL, TAKE, SEL, MOST, SIZE, READY, RESET };
static const struct {
    uint16_t mmio, pci, size; /* size: PCI's */
} fields[] = {
    [STATUS] = {VIRTIO_MMIO_STATUS, VIRTIO_PCI_COMMON_STATUS, 1},
    [OFFER_SEL] = {VIRTIO_MMIO_DEVICE_FEATURES_SEL, VIRTIO_PCI_COMMON_DFSELECT, 4},
    [OFFER] = {VIRTIO_MMIO_DEVICE_FEATURES, VIRTIO_PCI_COMMON_DF, 4},
    [TAKE_SEL] = {VIRTIO_MMIO_DRIVER_FEATURES_SEL, VIRTIO_PCI_COMMON_GFSELECT, 4},
    [TAKE] = {VIRTIO_MMIO_DRIVER_FEATURES, VIRTIO_PCI_COMMON_GF, 4},
    [SEL] = {VIRTIO_MMIO_QUEUE_SEL, VIRTIO_PCI_COMMON_Q_SELECT, 2},
    [MOST] = {VIRTIO_MMIO_QUEUE_NUM_MAX, VIRTIO_PCI_COMMON_Q_SIZE, 2},
    [SIZE] = {VIRTIO_MMIO_QUEUE_NUM, VIRTIO_PCI_COMMON_Q_SIZE, 2},
    [READY] = {VIRTIO_MMIO_QUEUE_READY, VIRTIO_PCI_COMMON_Q_ENABLE, 2},
    [RESET] = {QUEUE_RESET, Q_RESET, 2},
};

static inline uint32_t access_at(uint64_t at, unsigned size, bool write, uint64_t v)
{
    check(bus_access(m.bus, GPA(at), size, write, &v), "registers are gone");
    return (uint32_t)v;
}

static inline uint32_t field(unsigned d, enum field f, bool write, uint64_t v)
{
    if (regs[d].at)
        return access_at(regs[d].at + fields[f].pci, fields[f].size, write, v);
    return access_at(window + d * 0x1000 + fields[f].mmio, 4, write, v);
}

static inline void set(unsigned d, enum field f, uint64_t v)
{
    (void)field(d, f, true, v);
}

static inline void set_area(unsigned d, unsigned area, uint64_t at)
{
    uint64_t low = regs[d].at ? regs[d].at + VIRTIO_PCI_COMMON_Q_DESCLO + area * 8
                              : window + d * 0x1000 + VIRTIO_MMIO_QUEUE_DESC_LOW + area * 16;
    (void)access_at(low, 4, true, (uint32_t)at);
    (void)access_at(low + 4, 4, true, at >> 32);
}

static inline void ring_the_bell(unsigned d, unsigned queue)
{
    if (regs[d].at)
        (void)access_at(regs[d].doorbells + queue * 4ull, 2, true, queue);
    else
        kick(d, queue);
}

/* Which a reset ends. */
static inline void decode(unsigned d)
{
    if (pci)
        (void)access_at(ECAM + (d + 1ull) * FUNCTION + PCI_COMMAND, 2, true,
                        PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* --- PCI --- */

static inline int msi_open(void *ctx, unsigned *id, int *fd)
{
    (void)ctx;
    *id = 0;
    *fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return 0;
}

static inline int msi_route(void *ctx, unsigned id, uint64_t address, uint32_t data)
{
    (void)ctx, (void)id, (void)address, (void)data;
    return 0;
}

static inline void msi_close(void *ctx, unsigned id, int fd)
{
    (void)ctx, (void)id;
    close(fd);
}

static inline int intx_open(void *ctx, unsigned pin, int *trigger, int *resample)
{
    (void)ctx, (void)pin;
    *trigger = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    *resample = eventfd(0, EFD_CLOEXEC);
    return 0;
}

static const struct pci_irq_ops irq_ops = {
    .msi_open = msi_open, .msi_route = msi_route, .msi_close = msi_close, .intx_open = intx_open};

static inline int bus_up(void)
{
    const struct pci_env env = {.pio = m.bus, /* nothing of it is used */
                                .mmio = m.bus,
                                .loop = m.loop,
                                .ecam = GPA(ECAM),
                                .io = {0x1000, 0x1000},
                                .mem32 = {0xc0000000, 0x10000000},
                                .mem64 = {0x400000000, GIB(16)},
                                .irq = &irq_ops};
    return pci_bus_new(&env, &pci);
}

static inline uint32_t config(unsigned d, unsigned off, unsigned size)
{
    return access_at(ECAM + (d + 1ull) * FUNCTION + off, size, false, 0);
}

/* Where a structure of virtio's is. */
static inline uint64_t structure(unsigned d, unsigned type)
{
    for (unsigned at = config(d, PCI_CAPABILITY_LIST, 1); at; at = config(d, at + 1, 1)) {
        if (config(d, at, 1) != PCI_CAP_ID_VNDR ||
            config(d, at + VIRTIO_PCI_CAP_CFG_TYPE, 1) != type)
            continue;
        unsigned bar = PCI_BASE_ADDRESS_0 + 4 * config(d, at + VIRTIO_PCI_CAP_BAR, 1);
        uint32_t low = config(d, bar, 4);
        uint64_t base = low & ~15u;
        if (low & PCI_BASE_ADDRESS_MEM_TYPE_64)
            base |= (uint64_t)config(d, bar + 4, 4) << 32;
        return base + config(d, at + VIRTIO_PCI_CAP_OFFSET, 4);
    }
    check(false, "a structure is missing");
    return 0;
}

/* A device has been put on its transport. */
static inline void registers_found(unsigned d)
{
    regs[d].at = pci ? structure(d, VIRTIO_PCI_CAP_COMMON_CFG) : 0;
    regs[d].doorbells = pci ? structure(d, VIRTIO_PCI_CAP_NOTIFY_CFG) : 0;
    decode(d);
}
