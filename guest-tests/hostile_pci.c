/* guest-tests/hostile_pci.c - attacks on a PCI function: configuration space, BARs that move,
 * MSI-X, the window of 4.1.4.9, and a transitional device by both of its faces at once. What an
 * attack did to the function is undone behind it, as an operating system would on a bus reset. */
#include "hostile.h"

enum { BARS = 6, CONFIG = 256, CFG_DATA = sizeof(struct virtio_pci_cap) };
enum { ON = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER };
/* No message may be INIT, NMI or SMI to this CPU: that is this driver's own end. */
#define FIXED_DELIVERY 0xfffff8fffffff8ffull

static struct {
    uint32_t bars[BARS];
    unsigned msix;
} kept;

static void keep(const struct target *t)
{
    unsigned slot = t->dev.slot;
    for (unsigned i = 0; i < BARS; i++)
        kept.bars[i] = (uint32_t)pci_read(slot, PCI_BASE_ADDRESS_0 + 4 * i, 4);
    kept.msix = pci_capability(slot, PCI_CAP_ID_MSIX, 0);
}

static void put_back(const struct target *t)
{
    unsigned slot = t->dev.slot;
    pci_command(slot, 0);
    pci_write(slot, kept.msix + PCI_MSIX_FLAGS, 2, 0);
    for (unsigned i = 0; i < BARS; i++)
        pci_write(slot, PCI_BASE_ADDRESS_0 + 4 * i, 4, kept.bars[i]);
    pci_command(slot, ON);
}

/* --- configuration space --- */

/* By ECAM and by the ports, of all widths, at random, 100 each time. */
static bool config_random(struct target *t, unsigned i)
{
    static const unsigned fixed[] = {PCI_VENDOR_ID, PCI_CLASS_REVISION, PCI_SUBSYSTEM_VENDOR_ID,
                                     PCI_CAPABILITY_LIST};
    uint32_t was[ARRAY_SIZE(fixed)];
    unsigned slot = t->dev.slot;
    if (i == 8)
        return false;
    keep(t);
    for (unsigned k = 0; k < ARRAY_SIZE(fixed); k++)
        was[k] = (uint32_t)pci_read(slot, fixed[k], 4);
    for (unsigned k = 0; k < 100; k++) {
        uint64_t r = random_number();
        unsigned off = (unsigned)(r >> 32) % (i < 4 ? CONFIG : PCI_FUNCTION_BYTES);
        if (i % 2)
            pci_port_write(slot, off % CONFIG, 1u << r % 3, (uint32_t)(r >> 8));
        else
            pci_write(slot, off, 1u << r % 4, r >> 4);
    }
    put_back(t);
    for (unsigned k = 0; k < ARRAY_SIZE(fixed); k++)
        CHECK_EQ(pci_read(slot, fixed[k], 4), was[k]);
    (void)pci_capability(slot, 0xee, 0); /* the list still ends */
    return true;
}

static bool config_sweep(struct target *t, unsigned i)
{
    if (i == 4)
        return false;
    for (unsigned off = 0; off < CONFIG + 16; off++)
        (void)pci_read(t->dev.slot, off, 1u << i);
    for (unsigned off = PCI_FUNCTION_BYTES - 8; off < PCI_FUNCTION_BYTES; off++)
        (void)pci_read(t->dev.slot, off, 1u << i);
    return true;
}

/* Functions and slots that there are not, and past the bus. */
static bool nobody_there(struct target *t, unsigned i)
{
    enum { BUS = PCI_SLOTS * 8 * PCI_FUNCTION_BYTES, LAST_SLOT = PCI_SLOTS - 1 };
    if (i == 3)
        return false;
    for (unsigned k = 1; k < 8; k++) {
        unsigned off = i == 0   ? k * PCI_FUNCTION_BYTES
                       : i == 1 ? (LAST_SLOT - t->dev.slot) * 8 * PCI_FUNCTION_BYTES + k
                                : BUS - t->dev.slot * 8 * PCI_FUNCTION_BYTES - k;
        pci_write(t->dev.slot, off, 8, 0);
        CHECK_EQ(pci_read(t->dev.slot, off & ~3u, 4), UINT32_MAX);
    }
    return true;
}

/* The two ports with everything but a whole address of function 0 on bus 0. */
static bool ports(struct target *t, unsigned i)
{
    static const uint32_t addresses[] = {0,          0x7fffffff, 0x80ff0000,
                                         0x80000700, 0x8000f800, UINT32_MAX};
    uint8_t bytes[16];
    if (i == ARRAY_SIZE(addresses))
        return false;
    (void)t;
    port_write32(PORT_PCI_ADDRESS, addresses[i]);
    for (uint16_t k = 0; k < 8; k++) {
        for (unsigned size = 1; size <= 4; size *= 2) {
            uint16_t port = PORT_PCI_ADDRESS + k;
            (void)port_read(port, size);
            if (k) /* else it would be another address */
                port_write(port, size, 0);
        }
    }
    port_read8s(PORT_PCI_DATA, bytes, sizeof(bytes));
    port_write8s(PORT_PCI_DATA + 3, bytes, sizeof(bytes));
    port_write32(PORT_PCI_ADDRESS, 0);
    return true;
}

/* Decoding and bus mastering off while the queue is live; its doorbell goes and comes. */
static bool command(struct target *t, unsigned i)
{
    static const uint16_t bits[] = {
        0,     PCI_COMMAND_IO, PCI_COMMAND_MEMORY, PCI_COMMAND_MASTER, PCI_COMMAND_INTX_DISABLE,
        0xffff};
    if (i == 2 * ARRAY_SIZE(bits))
        return false;
    if (i % 2)
        t->submit(t);
    pci_command(t->dev.slot, bits[i / 2]);
    for (unsigned k = 0; k < 4; k++)
        virtio_notify(&t->dev, t->queue);
    (void)virtio_get(&t->dev, VR_STATUS);
    pci_command(t->dev.slot, ON);
    if (i % 2)
        CHECK(t->finish(t));
    return true;
}

/* --- BARs --- */

static bool bar_move(struct target *t, unsigned i)
{
    unsigned slot = t->dev.slot, bar = i % BARS;
    const uint64_t places[] = {0,
                               scratch, /* RAM stays what it is */
                               neighbour->dev.base & ~0xffull,
                               MMIO_ECAM,
                               MMIO_LAPIC,
                               MMIO_IOAPIC,
                               MMIO_HOLE_FIRST,
                               0xfffff000,
                               UINT32_MAX,
                               PORT_PCI_ADDRESS,
                               PORT_SERIAL};
    if (i == BARS * ARRAY_SIZE(places))
        return false;
    keep(t);
    if (kept.bars[bar] == 0)
        return true; /* there is none */
    pci_write(slot, PCI_BASE_ADDRESS_0 + 4 * bar, 4, places[i / BARS]);
    virtio_notify(&t->dev, t->queue);
    (void)virtio_get(&t->dev, VR_STATUS);
    *(volatile uint64_t *)scratch = i + 1;
    CHECK_EQ(*(volatile uint64_t *)scratch, i + 1);
    put_back(t);
    return true;
}

/* The neighbour's BARs on top of the target's, and away again: whose doorbell is it? */
static bool bar_overlap(struct target *t, unsigned i)
{
    unsigned other = neighbour->dev.slot, bar = i % BARS;
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * bar;
    if (i == 2 * BARS)
        return false;
    uint32_t was = (uint32_t)pci_read(other, at, 4), mine = (uint32_t)pci_read(t->dev.slot, at, 4);
    pci_write(other, at, 4, mine);
    for (unsigned k = 0; k < 4; k++) {
        virtio_notify(&t->dev, t->queue);
        virtio_notify(&neighbour->dev, neighbour->queue);
    }
    if (i >= BARS) { /* away and back while the other is on its place */
        keep(t);
        pci_write(t->dev.slot, at, 4, 0);
        put_back(t);
    }
    pci_write(other, at, 4, was);
    return true;
}

/* --- MSI-X --- */

static uint64_t table_at(const struct target *t)
{
    bool io;
    uint32_t place = (uint32_t)pci_read(t->dev.slot, kept.msix + PCI_MSIX_TABLE, 4);
    return pci_bar(t->dev.slot, place & PCI_MSIX_TABLE_BIR, &io) + (place & ~7u);
}

static void msix_control(const struct target *t, uint16_t bits)
{
    pci_write(t->dev.slot, kept.msix + PCI_MSIX_FLAGS, 2, bits);
}

static bool msix_vector(struct target *t, unsigned i)
{
    keep(t);
    uint32_t n =
        (uint32_t)(pci_read(t->dev.slot, kept.msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
    const uint32_t tried[] = {n, n + 1, 0x7ff, 0x800, 0x8000, 0xfffe};
    if (i == 2 * ARRAY_SIZE(tried))
        return false;
    enum virtio_reg r = i % 2 ? VR_CONFIG_VECTOR : VR_QUEUE_VECTOR;
    msix_control(t, PCI_MSIX_FLAGS_ENABLE);
    virtio_set(&t->dev, VR_QUEUE_SEL, t->queue);
    virtio_set(&t->dev, r, tried[i / 2]);
    t->refused = virtio_get(&t->dev, r) == VIRTIO_NO_VECTOR;
    ring_quiet(&t->ring, false);
    CHECK(target_works(t)); /* raises what it has not got */
    put_back(t);
    return true;
}

/* The whole BAR and a bit more in all widths: entries, pending bits, and behind both. */
static bool msix_sweep(struct target *t, unsigned i)
{
    static const unsigned from[] = {0, 0x7f0, 0xff0, 0x1ff0};
    keep(t);
    if (i == ARRAY_SIZE(from) * 2)
        return false;
    uint64_t at = table_at(t) + from[i / 2];
    msix_control(t, (uint16_t)(i % 2 ? PCI_MSIX_FLAGS_ENABLE : 0));
    for (unsigned off = 0; off < 0x40 && from[i / 2] + off < 0x1ff9; off++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            (void)mmio_read(at + off, size);
            mmio_write(at + off, size, (off % 3 ? UINT64_MAX : 0) & FIXED_DELIVERY);
        }
    }
    put_back(t);
    return true;
}

/* Entries that name no interrupt controller, unmasked and raised. */
static bool msix_garbage(struct target *t, unsigned i)
{
    const uint64_t to[] = {0,           MMIO_LAPIC, MMIO_LAPIC + 0xff000,
                           0xfeefffff,  scratch,    ram_end,
                           t->dev.base, UINT64_MAX, 1ull << 63 | MMIO_LAPIC};
    if (i == ARRAY_SIZE(to))
        return false;
    keep(t);
    uint64_t table = table_at(t);
    msix_control(t, PCI_MSIX_FLAGS_ENABLE);
    for (unsigned v = 0; v < 2; v++) {
        mmio_write64(table + 16 * v, to[i]);
        mmio_write64(table + 16 * v + 8, random_number() & FIXED_DELIVERY & ~1ull << 32);
    }
    virtio_set(&t->dev, VR_QUEUE_SEL, t->queue);
    virtio_set(&t->dev, VR_QUEUE_VECTOR, 0);
    virtio_set(&t->dev, VR_CONFIG_VECTOR, 1);
    ring_quiet(&t->ring, false);
    for (unsigned k = 0; k < 4; k++)
        CHECK(target_works(t));
    put_back(t);
    return true;
}

/* On and off, masked and unmasked, while there is something to say. */
static bool msix_storm(struct target *t, unsigned i)
{
    static const uint16_t controls[] = {PCI_MSIX_FLAGS_ENABLE, 0,
                                        PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL,
                                        PCI_MSIX_FLAGS_MASKALL};
    if (i == 10)
        return false;
    keep(t);
    uint64_t table = table_at(t);
    virtio_set(&t->dev, VR_QUEUE_SEL, t->queue);
    virtio_set(&t->dev, VR_QUEUE_VECTOR, 0);
    ring_quiet(&t->ring, false);
    t->submit(t);
    for (unsigned k = 0; k < 20; k++) {
        uint64_t r = random_number();
        msix_control(t, controls[r % 4]);
        mmio_write64(table, MMIO_LAPIC);
        mmio_write32(table + 8, (uint32_t)(r >> 8 & 0xff));
        mmio_write32(table + 12, r >> 16 & 1);
    }
    CHECK(t->finish(t));
    put_back(t);
    return true;
}

/* --- VIRTIO_PCI_CAP_PCI_CFG --- */

static unsigned cfg_window(const struct target *t)
{
    unsigned at = 0;
    while ((at = pci_capability(t->dev.slot, PCI_CAP_ID_VNDR, at)) != 0) {
        if (pci_read(t->dev.slot, at + VIRTIO_PCI_CAP_CFG_TYPE, 1) == VIRTIO_PCI_CAP_PCI_CFG)
            break;
    }
    return at;
}

static bool window(struct target *t, unsigned i)
{
    static const uint8_t bars[] = {0, 1, 2, 3, 4, 5, 6, 7, 0xff};
    static const uint32_t lens[] = {0, 1, 2, 3, 4, 8, 0x80000000, UINT32_MAX};
    static const uint32_t offs[] = {0,      1,      0x14,   0x3c,       0x1000,     0x2000,
                                    0x3000, 0x3ffd, 0x4000, 0x80000000, 0xfffffffd, UINT32_MAX};
    unsigned slot = t->dev.slot, cap = cfg_window(t);
    if (i == ARRAY_SIZE(bars) || !cap)
        return false;
    pci_write(slot, cap + VIRTIO_PCI_CAP_BAR, 1, bars[i]);
    for (unsigned k = 0; k < ARRAY_SIZE(lens); k++) {
        pci_write(slot, cap + VIRTIO_PCI_CAP_LENGTH, 4, lens[k]);
        for (unsigned m = 0; m < ARRAY_SIZE(offs); m++) {
            pci_write(slot, cap + VIRTIO_PCI_CAP_OFFSET, 4, offs[m]);
            (void)pci_read(slot, cap + CFG_DATA, 4);
            pci_write(slot, cap + CFG_DATA, 4, k % 2);
        }
        /* Accesses that meet the data with one end only, and what selects it with the other. */
        for (unsigned off = CFG_DATA - 7; off < CFG_DATA + 8; off++)
            (void)pci_read(slot, cap + off, 1u << off % 4);
        pci_write(slot, cap + VIRTIO_PCI_CAP_LENGTH, 8, 4);
    }
    return true;
}

/* --- a transitional device by both faces --- */

static void legacy_pokes(const struct target *t, const struct virtio *legacy)
{
    virtio_set(legacy, VR_DRIVER_FEATURES, UINT32_MAX);
    virtio_set(legacy, VR_QUEUE_SEL, t->queue);
    virtio_set(legacy, VR_QUEUE_PFN, (uint32_t)(scratch / 4096));
    virtio_set(legacy, VR_STATUS, 7);
    virtio_notify(legacy, t->queue);
}

static void modern_pokes(const struct target *t, const struct virtio *modern)
{
    virtio_set(modern, VR_STATUS, 3);
    for (unsigned k = 0; k < 4; k++) {
        virtio_set(modern, VR_DRIVER_FEATURES_SEL, k);
        virtio_set(modern, VR_DRIVER_FEATURES, k == 1);
    }
    virtio_set(modern, VR_STATUS, 11);
    virtio_set(modern, VR_QUEUE_SEL, t->queue);
    virtio_set(modern, VR_QUEUE_SIZE, 16);
    virtio_set_area(modern, VR_DESC, scratch);
    virtio_set_area(modern, VR_DRIVER, scratch + 4096);
    virtio_set_area(modern, VR_DEVICE, scratch + 8192);
    virtio_set(modern, VR_QUEUE_READY, 1);
    virtio_set(modern, VR_STATUS, 15);
    virtio_notify(modern, t->queue);
}

static bool both_faces(struct target *t, unsigned i)
{
    struct virtio legacy, modern;
    if (i == 8 || !virtio_pci_slot(t->dev.slot, true, &legacy) ||
        !virtio_pci_slot(t->dev.slot, false, &modern))
        return false;
    memset((void *)scratch, 0, 16384);
    if (i & 1) /* from the start, one before the other */
        virtio_reset(&t->dev);
    if (i & 2) {
        legacy_pokes(t, &legacy);
        modern_pokes(t, &modern);
    } else {
        modern_pokes(t, &modern);
        legacy_pokes(t, &legacy);
    }
    if (i & 4) {
        virtio_set(&modern, VR_STATUS, 31);
        virtio_notify(&legacy, t->queue);
        virtio_set(&modern, VR_STATUS, 15);
        virtio_set(&modern, VR_STATUS, 31);
    }
    return true;
}

/* Between the steps of a modern driver the other face is told of a queue and rung: it may start
 * once only, and not while it is suspended. */
static bool started_twice(struct target *t, unsigned i)
{
    struct virtio legacy, *v = &t->dev;
    if (i == 4 || v->kind != VIRTIO_PCI || !virtio_pci_slot(v->slot, true, &legacy))
        return false;
    if (i % 2 == 0) {
        target_begin(t);
        ring_start(&t->ring, v, t->queue, t->size);
    } else {
        virtio_set(v, VR_STATUS, 31);
    }
    virtio_set(&legacy, VR_QUEUE_SEL, t->queue);
    virtio_set(&legacy, VR_QUEUE_PFN, (uint32_t)(scratch / 4096));
    virtio_notify(&legacy, t->queue);
    if (i >= 2)
        CHECK(target_works(neighbour)); /* by then the loop has seen it */
    virtio_set(v, VR_STATUS, 15);
    for (unsigned k = 0; k < 16; k++)
        CHECK(target_works(t));
    virtio_reset(v);
    for (unsigned k = 0; k < 16; k++)
        virtio_notify(v, t->queue); /* and it was stopped as often as it was started */
    return true;
}

const struct attack pci_attacks[] = {
    {"config-random", config_random, .only = ON_PCI, .spoils = true, .rows = "11b 11c"},
    {"config-space-sweep", config_sweep, .only = ON_PCI, .expect = PASSES},
    {"config-nobody", nobody_there, .only = ON_PCI, .expect = PASSES},
    {"config-ports", ports, .only = ON_PCI, .expect = PASSES, .rows = "12c"},
    {"command", command, .only = ON_PCI, .expect = PASSES},
    {"bar-move", bar_move, .only = ON_PCI, .expect = PASSES},
    {"bar-overlap", bar_overlap, .only = ON_PCI, .spoils = true},
    {"msix-vector", msix_vector, .only = ON_PCI, .expect = REJECTS, .rows = "10a"},
    {"msix-sweep", msix_sweep, .only = ON_PCI, .expect = PASSES, .rows = "10b 10c"},
    {"msix-garbage", msix_garbage, .only = ON_PCI, .expect = PASSES},
    {"msix-storm", msix_storm, .only = ON_PCI, .expect = PASSES, .rows = "14"},
    {"cfg-window", window, .only = ON_PCI | ON_MODERN, .spoils = true, .rows = "11a"},
    {"both-faces", both_faces, .only = ON_BOTH_FACES, .spoils = true},
    {"started-twice", started_twice, .only = ON_BOTH_FACES, .expect = PASSES, .spoils = true},
    {.name = NULL},
};
