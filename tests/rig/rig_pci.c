/* tests/rig/rig_pci.c - the machine around a PCI function, and a driver's way to it as Linux goes:
 * configuration space, capabilities, BARs, MSI-X or INTx. Nothing of virtio's layout is known here
 * but what the capabilities say (virtio 1.4, 4.1.4). rig_pci_regs.c has the registers. */
#include "tests/rig/rig_pci.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>

enum {
    ECAM = 0xe0000000,
    IO = 0x1000,
    MEM32 = 0xc0000000,
    VENDOR = 0x1af4,
    CONFIG_ADDRESS = 0xcf8,
    CONFIG_DATA = 0xcfc,
    CAPS_MAX = 48, /* more do not fit, so there is a loop */
    MSI_ADDRESS = 0xfee00000,
};
#define MEM64 0x400000000ull

/* --- the machine's interrupts --- */

static int msi_open(void *ctx, unsigned *id, int *fd)
{
    struct rig_pci *p = ctx;
    cr_assert_lt(p->n_msi, RIG_VECTORS);
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (event < 0)
        return -errno;
    *id = p->n_msi++;
    *fd = event;
    p->msi[*id] = (struct rig_msi){.fd = dup(*fd)};
    return 0;
}

static int msi_route(void *ctx, unsigned id, uint64_t address, uint32_t data)
{
    struct rig_pci *p = ctx;
    cr_assert_lt(id, p->n_msi);
    p->msi[id].data = address == MSI_ADDRESS ? data : UINT32_MAX; /* a test may forge it */
    return 0;
}

static void msi_close(void *ctx, unsigned id, int fd)
{
    (void)ctx, (void)id;
    close(fd);
}

static int intx_open(void *ctx, unsigned pin, int *trigger, int *resample)
{
    struct rig_pci *p = ctx;
    (void)pin;
    cr_assert_lt(p->trigger, 0, "one function has one pin");
    AUTO_FD t = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    AUTO_FD r = eventfd(0, EFD_CLOEXEC);
    if (t < 0 || r < 0)
        return -errno;
    *trigger = TAKE_FD(t);
    *resample = TAKE_FD(r);
    p->trigger = dup(*trigger);
    p->resample = dup(*resample);
    return 0;
}

static const struct pci_irq_ops irq_ops = {
    .msi_open = msi_open, .msi_route = msi_route, .msi_close = msi_close, .intx_open = intx_open};

struct pci_bus *rig_pci_new(struct rig *r)
{
    struct rig_pci *p = r->pci = calloc(1, sizeof(*p));
    p->trigger = p->resample = -1;
    const struct pci_env env = {.pio = r->pio,
                                .mmio = r->bus,
                                .loop = r->loop,
                                .ecam = GPA(ECAM),
                                .io = {IO, 0xf000},
                                .mem32 = {MEM32, 0x10000000},
                                .mem64 = {MEM64, GIB(16)},
                                .irq = &irq_ops,
                                .irq_ctx = p};
    cr_assert_eq(pci_bus_new(&env, &p->bus), 0);
    return p->bus;
}

void rig_pci_free(struct rig *r)
{
    if (!r->pci)
        return;
    cr_assert_eq(rig_pci_get(r, 0, 4), UINT32_MAX, "a function that was freed answers");
    pci_bus_free(r->pci->bus);
    for (unsigned i = 0; i < r->pci->n_msi; i++)
        close(r->pci->msi[i].fd);
    if (r->pci->trigger >= 0) {
        close(r->pci->trigger);
        close(r->pci->resample);
    }
    free(r->pci);
}

/* --- configuration space, by either way --- */

static void config_access(struct rig *r, unsigned off, unsigned size, bool write, uint64_t *v)
{
    unsigned slot = r->pci->slot;
    if (!r->o.ports) {
        cr_assert(bus_access(r->bus, GPA(ECAM + slot * 0x8000ull + off), size, write, v));
        return;
    }
    uint64_t address = 1u << 31 | slot << 11 | (off & 0xfc);
    cr_assert(bus_access(r->pio, GPA(CONFIG_ADDRESS), 4, true, &address));
    cr_assert(bus_access(r->pio, GPA(CONFIG_DATA + off % 4), size, write, v));
}

uint32_t rig_pci_get(struct rig *r, unsigned off, unsigned size)
{
    uint64_t v = 0;
    config_access(r, off, size, false, &v);
    return (uint32_t)v;
}

void rig_pci_put(struct rig *r, unsigned off, unsigned size, uint32_t v)
{
    uint64_t wide = v;
    config_access(r, off, size, true, &wide);
}

/* --- BARs --- */

/* PCI Local Bus 3.0, 6.2.5.1: ones are written, and what sticks says how big it is. */
static void probe_bar(struct rig *r, unsigned i)
{
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * i;
    uint32_t was = rig_pci_get(r, at, 4);
    rig_pci_put(r, at, 4, UINT32_MAX);
    uint32_t mask = rig_pci_get(r, at, 4);
    rig_pci_put(r, at, 4, was);
    struct rig_bar *b = &r->pci->bar[i];
    if (mask == 0)
        return;
    b->io = was & PCI_BASE_ADDRESS_SPACE_IO;
    uint32_t address =
        b->io ? (uint32_t)PCI_BASE_ADDRESS_IO_MASK : (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
    b->at = was & address;
    b->size = ~(mask & address) + 1u;
    if (!b->io && (was & PCI_BASE_ADDRESS_MEM_TYPE_64))
        b->at |= (uint64_t)rig_pci_get(r, at + 4, 4) << 32;
}

static void probe_bars(struct rig *r)
{
    rig_pci_put(r, PCI_COMMAND, 2, 0); /* nobody decodes what is not meant */
    for (unsigned i = 0; i < PCI_BARS; i++) {
        probe_bar(r, i);
        if (!r->pci->bar[i].io &&
            rig_pci_get(r, PCI_BASE_ADDRESS_0 + 4 * i, 4) & PCI_BASE_ADDRESS_MEM_TYPE_64)
            i++;
    }
    rig_pci_put(r, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void rig_bar_access(struct rig *r, unsigned bar, uint64_t off, unsigned size, bool write,
                    uint64_t *v)
{
    const struct rig_bar *b = &r->pci->bar[bar];
    cr_assert_leq(off + size, b->size, "BAR %u ends before %#lx", bar, (unsigned long)off);
    cr_assert(bus_access(b->io ? r->pio : r->bus, GPA(b->at + off), size, write, v));
}

/* --- capabilities --- */

static void note_virtio(struct rig *r, unsigned cap)
{
    static const uint8_t least[] = {
        [VIRTIO_PCI_CAP_NOTIFY_CFG] = 20, [VIRTIO_PCI_CAP_PCI_CFG] = 20};
    unsigned type = rig_pci_get(r, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1);
    if (type == 0 || type > VIRTIO_PCI_CAP_PCI_CFG || r->pci->cap[type].there)
        return; /* 4.1.4: the first of a kind that one can use */
    cr_assert_geq(rig_pci_get(r, cap + VIRTIO_PCI_CAP_LEN, 1),
                  type < ARRAY_SIZE(least) && least[type] ? least[type] : 16);
    r->pci->cap[type] = (struct rig_cap){.there = true,
                                         .at = cap,
                                         .bar = rig_pci_get(r, cap + VIRTIO_PCI_CAP_BAR, 1),
                                         .off = rig_pci_get(r, cap + VIRTIO_PCI_CAP_OFFSET, 4),
                                         .len = rig_pci_get(r, cap + VIRTIO_PCI_CAP_LENGTH, 4)};
    if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
        r->pci->multiplier = rig_pci_get(r, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
}

static void walk_capabilities(struct rig *r)
{
    cr_assert(rig_pci_get(r, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
    unsigned n = 0;
    for (unsigned cap = rig_pci_get(r, PCI_CAPABILITY_LIST, 1); cap;
         cap = rig_pci_get(r, cap + PCI_CAP_LIST_NEXT, 1)) {
        cr_assert_lt(n++, CAPS_MAX, "the list of capabilities has a loop");
        cr_assert(cap >= 0x40 && cap % 4 == 0);
        unsigned id = rig_pci_get(r, cap + PCI_CAP_LIST_ID, 1);
        if (id == PCI_CAP_ID_VNDR)
            note_virtio(r, cap);
        else if (id == PCI_CAP_ID_MSIX)
            r->pci->msix = cap;
    }
}

/* --- MSI-X --- */

static void msix_up(struct rig *r)
{
    unsigned cap = r->pci->msix;
    cr_assert_neq(cap, 0);
    uint32_t flags = rig_pci_get(r, cap + PCI_MSIX_FLAGS, 2);
    uint32_t table = rig_pci_get(r, cap + PCI_MSIX_TABLE, 4);
    r->pci->vectors = (flags & PCI_MSIX_FLAGS_QSIZE) + 1;
    rig_pci_put(r, cap + PCI_MSIX_FLAGS, 2, flags | PCI_MSIX_FLAGS_ENABLE);
    for (unsigned i = 0; i < r->pci->vectors; i++) {
        const uint32_t words[] = {MSI_ADDRESS, 0, i, 0}; /* the last one unmasks it */
        for (unsigned w = 0; w < ARRAY_SIZE(words); w++) {
            uint64_t v = words[w];
            rig_bar_access(r, table & PCI_MSIX_TABLE_BIR,
                           (table & PCI_MSIX_TABLE_OFFSET) + i * PCI_MSIX_ENTRY_SIZE + 4 * w, 4,
                           true, &v);
        }
    }
}

void rig_pci_up(struct rig *r)
{
    struct rig_pci *p = r->pci;
    memset(p->bar, 0, sizeof(p->bar));
    memset(p->cap, 0, sizeof(p->cap));
    for (p->slot = 1; p->slot < PCI_SLOTS; p->slot++) {
        if (rig_pci_get(r, PCI_VENDOR_ID, 2) == VENDOR)
            break;
    }
    cr_assert_lt(p->slot, PCI_SLOTS, "no function of virtio's");
    probe_bars(r);
    walk_capabilities(r);
    if (!r->o.intx)
        msix_up(r);
}

/* --- what arrived --- */

static uint64_t signals(int fd)
{
    uint64_t n = 0;
    return read(fd, &n, sizeof(n)) < 0 ? 0 : n;
}

void rig_pci_collect(struct rig *r)
{
    struct rig_pci *p = r->pci;
    for (unsigned i = 0; i < p->n_msi; i++) {
        uint64_t n = signals(p->msi[i].fd);
        p->count += (unsigned)n;
        if (n)
            p->what |= p->msi[i].data == RIG_VECTOR_CONFIG ? 2 : 1;
    }
    if (p->trigger >= 0)
        p->count += (unsigned)signals(p->trigger);
}

void rig_pci_end_of_interrupt(struct rig *r)
{
    uint64_t one = 1;
    if (r->pci->resample >= 0)
        cr_assert_eq(write(r->pci->resample, &one, sizeof(one)), sizeof(one));
}
