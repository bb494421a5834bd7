/* tests/fuzz/fuzz_registers.c - the registers of each kind of transport, accessed at any offset, in
 * any width and order: virtio's, a PCI function's configuration space with its window into BARs,
 * the BARs wherever they are at the moment, the configuration ports. Behind them is the tests' own
 * device, with queues and shared memory. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>

#include "tests/fuzz/oracle.h"
#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"

enum {
    STEPS_MAX = 300,
    WINDOW = 4096,
    REGISTERS = 256,
    ECAM = 0xe0000000,
    PORT_CONFIG = 0xcf8,
    PAGES = 64
};

static enum rig_transport transport_of(const char *which, bool legacy_side)
{
    for (enum rig_transport t = 0; t < RIG_TRANSPORTS; t++) {
        if (strcmp(rig_transport_names[t], which) == 0)
            return t == RIG_PCI_TRANSITIONAL && legacy_side ? RIG_PCI_TRANSITIONAL_LEGACY : t;
    }
    EXPECT(false, "%s", which);
    return 0;
}

/* --- accesses that may go wrong --- */

static uint64_t get(struct bus *b, uint64_t at, unsigned size)
{
    uint64_t v = 0;
    (void)bus_access(b, GPA(at), size, false, &v);
    return v;
}

static void put(struct bus *b, uint64_t at, unsigned size, uint64_t v)
{
    (void)bus_access(b, GPA(at), size, true, &v);
}

static uint64_t config_at(const struct rig *r)
{
    return ECAM + r->pci->slot * 0x8000ull;
}

/* Where it is now, if it is. */
static struct bus *bar_now(const struct rig *r, unsigned i, uint64_t *at)
{
    uint64_t low = get(r->bus, config_at(r) + PCI_BASE_ADDRESS_0 + 4 * i, 4);
    if (low & PCI_BASE_ADDRESS_SPACE_IO) {
        *at = low & ~3ull;
        return r->pio;
    }
    *at = low & ~15ull;
    if (low & PCI_BASE_ADDRESS_MEM_TYPE_64 && i + 1 < PCI_BARS)
        *at |= get(r->bus, config_at(r) + PCI_BASE_ADDRESS_0 + 4 * i + 4, 4) << 32;
    return r->bus;
}

/* Numbers that mean something come up more often than they would. */
static uint64_t some_value(const struct rig *r, struct script *s)
{
    uint8_t how = take8(s);
    switch (how & 7) {
    case 0:
        return take(s, 8);
    case 1:
        return RIG_RAM / 2 + (how >> 3) * 4096ull; /* where a ring may be */
    case 2:
        return RIG_RAM / 2 / 4096 + (how >> 3); /* the same, to a legacy driver */
    case 3:
        return how >> 3;
    case 4:
        return ~0ull << (how >> 3);
    case 5:
        return r->pci ? r->pci->bar[(how >> 3) % PCI_BARS].at : RIG_SHM;
    default:
        return take(s, 1 + how / 8 % 4);
    }
}

static void access_one(const struct rig *r, struct script *s, struct bus *b, uint64_t at)
{
    uint8_t how = take8(s);
    unsigned size = how & 0x40 ? 1u + how % 8 : 1u << how % 4;
    if (how & 0x80)
        put(b, at, size, some_value(r, s));
    else
        (void)get(b, at, size);
}

/* 4.1.4.9: a BAR, seen through configuration space. */
static void through_window(const struct rig *r, struct script *s)
{
    uint64_t cap = config_at(r) + r->pci->cap[VIRTIO_PCI_CAP_PCI_CFG].at;
    if (!r->pci->cap[VIRTIO_PCI_CAP_PCI_CFG].there)
        return;
    put(r->bus, cap + VIRTIO_PCI_CAP_BAR, 1, take8(s));
    put(r->bus, cap + VIRTIO_PCI_CAP_OFFSET, 4, take(s, take8(s) % 2 ? 4 : 2));
    put(r->bus, cap + VIRTIO_PCI_CAP_LENGTH, 4, take8(s));
    access_one(r, s, r->bus, cap + sizeof(struct virtio_pci_cap));
}

static void access_pci(struct rig *r, struct script *s)
{
    enum { CONFIG, BAR, WINDOWED, PORTS, NEIGHBOUR, WAYS };
    uint8_t how = take8(s);
    uint64_t at;
    struct bus *b;
    switch (how % WAYS) {
    case CONFIG:
        access_one(r, s, r->bus, config_at(r) + take8(s));
        break;
    case BAR:
        b = bar_now(r, how / WAYS % PCI_BARS, &at);
        /* What is at a BAR's beginning matters most; all of a legacy one is there. */
        access_one(r, s, b, at + (how / WAYS / PCI_BARS % 2 ? take8(s) % 64 : take(s, 2)));
        break;
    case WINDOWED:
        through_window(r, s);
        break;
    case PORTS:
        access_one(r, s, r->pio, PORT_CONFIG + how / WAYS % 8);
        break;
    case NEIGHBOUR:
        access_one(r, s, r->bus, ECAM + take(s, 3));
        break;
    }
}

static void access_somewhere(struct rig *r, struct script *s)
{
    uint64_t at;
    if (r->pci) {
        access_pci(r, s);
        return;
    }
    at = take(s, 2); /* mostly a register */
    access_one(r, s, r->bus, RIG_BASE + (at >> 14 ? at % REGISTERS & ~3ull : at % WINDOW));
}

/* --- the rest of a life --- */

static void scribble(struct rig *r, struct script *s)
{
    uint8_t page = take8(s), len = take8(s);
    uint64_t at = RIG_RAM / 2 + page % PAGES * 4096ull + take(s, 2) % 2048;
    take_bytes(s, rig_at(r, GPA(at), len), len);
}

static void machine_reset(struct rig *r)
{
    transport_reset(r->transport);
    vdev_resume(r->dev);
    r->ram_next = 0x10000;
    rig_up_again(r);
}

static void step(struct rig *r, struct script *s)
{
    enum {
        ACCESS,
        BEGIN = 8,
        ENABLE,
        SETTLE,
        SCRIBBLE,
        KICK,
        MACHINE,
        SAVE_AND_LOAD,
        CONFIG_CHANGED,
        HOLD,
        STEPS
    };
    uint8_t what = take8(s) % STEPS;
    switch (what) {
    case BEGIN:
        rig_status_set(r, 0);
        rig_status_set(r, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
        break;
    case ENABLE: /* whether it is the time for it or not; a driver of PCI would insist on vectors */
        what = take8(s) % 4;
        if (r->pci)
            break;
        r->regs->queue_areas(r, what, RIG_RAM / 2, RIG_RAM / 2 + 4096, RIG_RAM / 2 + 8192);
        r->regs->queue_enable(r, what);
        break;
    case SETTLE:
        rig_settle(r);
        break;
    case SCRIBBLE:
        scribble(r, s);
        break;
    case KICK: /* as a doorbell of the host's kernel does */
        vdev_kick(r->dev, take8(s) % 4);
        break;
    case MACHINE:
        machine_reset(r);
        break;
    case SAVE_AND_LOAD:
        oracle_migrate(r);
        break;
    case CONFIG_CHANGED:
        vdev_config_changed(r->dev);
        break;
    case HOLD:
        held.hold = !held.hold;
        break;
    default:
        access_somewhere(r, s);
    }
}

static void ring_the_bell(struct rig *r, unsigned q)
{
    rig_kick(r, q);
}

void fuzz_registers(struct script *s, const char *which)
{
    enum { INTX = 1, EARLY = 2, LEGACY = 4, PACKED = 8, ADMIN = 16, DATA = 32, NO_SHM = 64 };
    uint8_t how = take8(s);
    struct vdev_options v = vdev_options_default;
    v.admin_vq = how & ADMIN;
    v.notification_data = how & DATA;
    v.notif_config_data = how & DATA;
    const struct rig_options o = {.transport = transport_of(which, how & LEGACY),
                                  .vdev = &v,
                                  .packed = how & PACKED,
                                  .intx = how & INTX,
                                  .stop_before_driver_ok = how & EARLY,
                                  .backend = LOOP_EPOLL};
    struct board_options b = {.queues = 3};
    if (!(how & NO_SHM)) {
        b.shm[0] = MIB(1);
        b.shm[1] = 4096;
    }
    struct rig *r = board_up(b, &o);
    for (unsigned i = 0; i < STEPS_MAX && s->len > 0; i++) {
        step(r, s);
        oracle_device(r);
    }
    rig_settle(r);
    held.hold = false;
    r->o.stop_before_driver_ok = false;
    machine_reset(r);
    EXPECT(board_serves(r, 0, ring_the_bell), "a reset did not revive it");
    rig_down(r);
}
