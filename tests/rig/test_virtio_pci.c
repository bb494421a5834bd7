/* tests/rig/test_virtio_pci.c - a virtio device as PCI enumerates it (virtio 1.4, 4.1.1 to 4.1.4):
 * IDs, header, BARs, capabilities and what they point to. */
#include <linux/pci_regs.h>
#include <linux/virtio_ids.h>

#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"

enum { VENDOR = 0x1af4, NOTHING_CLASS = 0xff0000, CAPS_MAX = 48, CAP_LEN = 16 };

static const enum rig_transport pci_kinds[] = {RIG_PCI, RIG_PCI_TRANSITIONAL,
                                               RIG_PCI_TRANSITIONAL_LEGACY, RIG_PCI_LEGACY};

/* --- IDs --- */

Test(pci_ids, modern)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Discovery#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Discovery#02");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Discovery#04");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Discovery#05");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Discovery#06");
    static const uint16_t types[] = {1, 2, 3, 4, 5, 8, 9, 16, 18, 26, 41, 48, 63};
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        struct rig *r = board_up((struct board_options){.virtio_id = types[i]},
                                 &(struct rig_options){.transport = RIG_PCI});
        cr_assert_eq(rig_pci_get(r, PCI_VENDOR_ID, 2), VENDOR);
        cr_assert_eq(rig_pci_get(r, PCI_DEVICE_ID, 2), 0x1040 + types[i]);
        cr_assert_eq(rig_pci_get(r, PCI_REVISION_ID, 1), 1);
        cr_assert_geq(rig_pci_get(r, PCI_SUBSYSTEM_ID, 2), 0x40);
        cr_assert_eq(rig_pci_get(r, PCI_SUBSYSTEM_VENDOR_ID, 2), VENDOR);
        rig_down(r);
    }
}

Test(pci_ids, of_those_that_legacy_drivers_find)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Discovery#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Discovery#02");
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Discovery / "
           "Legacy Interfaces: A Note on PCI Device Discovery#01");
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Discovery / "
           "Legacy Interfaces: A Note on PCI Device Discovery#02");
    PROVES("legacy:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Discovery / "
           "Legacy Interfaces: A Note on PCI Device Discovery#03");
    static const struct {
        uint16_t type, device;
    } ids[] = {{VIRTIO_ID_NET, 0x1000},     {VIRTIO_ID_BLOCK, 0x1001}, {VIRTIO_ID_BALLOON, 0x1002},
               {VIRTIO_ID_CONSOLE, 0x1003}, {VIRTIO_ID_SCSI, 0x1004},  {VIRTIO_ID_RNG, 0x1005},
               {VIRTIO_ID_9P, 0x1009}};
    for (unsigned i = 0; i < ARRAY_SIZE(ids) * 2; i++) {
        struct rig *r = board_up(
            (struct board_options){.virtio_id = ids[i / 2].type},
            &(struct rig_options){.transport = i & 1 ? RIG_PCI_TRANSITIONAL : RIG_PCI_LEGACY});
        cr_assert_eq(rig_pci_get(r, PCI_VENDOR_ID, 2), VENDOR);
        cr_assert_eq(rig_pci_get(r, PCI_DEVICE_ID, 2), ids[i / 2].device);
        cr_assert_eq(rig_pci_get(r, PCI_REVISION_ID, 1), 0);
        cr_assert_eq(rig_pci_get(r, PCI_SUBSYSTEM_ID, 2), ids[i / 2].type);
        rig_down(r);
    }
}

Test(pci_ids, class)
{
    static const uint32_t classes[] = {0x010000, 0x020000, 0};
    for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
        struct rig *r = board_up((struct board_options){.pci_class = classes[i]},
                                 &(struct rig_options){.transport = RIG_PCI});
        cr_assert_eq(rig_pci_get(r, PCI_CLASS_REVISION, 4) >> 8,
                     classes[i] ? classes[i] : NOTHING_CLASS);
        rig_down(r);
    }
}

/* --- the header (PCI Local Bus 3.0, 6.1, 6.2) --- */

static void expect_read_only(struct rig *r, unsigned off, uint32_t but)
{
    uint32_t was = rig_pci_get(r, off, 4);
    rig_pci_put(r, off, 4, ~was);
    cr_assert_eq((rig_pci_get(r, off, 4) ^ was) & ~but, 0, "at %#x", off);
    rig_pci_put(r, off, 4, was);
}

/* Of 32 bits, or of a pair that holds 64. Decoding has to be off. */
static uint64_t bar_size(struct rig *r, unsigned bar, bool wide)
{
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * bar;
    uint64_t mask = 0;
    for (unsigned i = 0; i <= wide; i++) {
        uint32_t was = rig_pci_get(r, at + 4 * i, 4);
        rig_pci_put(r, at + 4 * i, 4, UINT32_MAX);
        mask |= (uint64_t)rig_pci_get(r, at + 4 * i, 4) << 32 * i;
        rig_pci_put(r, at + 4 * i, 4, was);
    }
    if (!wide)
        mask |= mask ? UINT64_MAX << 32 : 0;
    return ~(mask & ~(mask & 1 ? 3ull : 15ull)) + 1;
}

static void expect_silent(struct rig *r, const struct rig_bar *b)
{
    uint64_t v = 0;
    cr_assert(bus_access(b->io ? r->pio : r->bus, GPA(b->at), 4, false, &v));
    cr_assert_eq(v, UINT32_MAX, "a BAR answers, and its space is off");
}

static void expect_bars(struct rig *r)
{
    rig_pci_put(r, PCI_COMMAND, 2, 0);
    for (unsigned i = 0; i < PCI_BARS; i++) {
        const struct rig_bar *b = &r->pci->bar[i];
        if (!b->size) {
            cr_assert_eq(rig_pci_get(r, PCI_BASE_ADDRESS_0 + 4 * i, 4), 0);
            expect_read_only(r, PCI_BASE_ADDRESS_0 + 4 * i, 0);
            continue;
        }
        uint64_t size = bar_size(r, i, false);
        cr_assert(size >= (b->io ? 4 : 16) && (size & (size - 1)) == 0 && b->at % size == 0);
        for (unsigned k = 0; k < i; k++)
            cr_assert(b->io != r->pci->bar[k].io ||
                          b->at >= r->pci->bar[k].at + r->pci->bar[k].size ||
                          r->pci->bar[k].at >= b->at + b->size,
                      "BARs %u and %u overlap", i, k);
        expect_silent(r, b);
    }
}

Test(pci, header_and_bars)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus#01");
    for (unsigned k = 0; k < ARRAY_SIZE(pci_kinds); k++) {
        struct rig *r = board_up((struct board_options){.pci_class = 0x010000},
                                 &(struct rig_options){.transport = pci_kinds[k]});
        cr_assert_eq(rig_pci_get(r, PCI_HEADER_TYPE, 1), 0, "one function, no bridge");
        cr_assert_eq(rig_pci_get(r, PCI_INTERRUPT_PIN, 1), 1);
        expect_read_only(r, PCI_VENDOR_ID, 0);
        expect_read_only(r, PCI_CLASS_REVISION, 0);
        expect_read_only(r, PCI_SUBSYSTEM_VENDOR_ID, 0);
        expect_read_only(r, PCI_CAPABILITY_LIST, 0);
        expect_read_only(r, PCI_INTERRUPT_LINE, 0xff); /* software's scratch byte */
        rig_pci_put(r, PCI_COMMAND, 2, 0xffff);
        cr_assert_eq(rig_pci_get(r, PCI_COMMAND, 2),
                     PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
                         PCI_COMMAND_INTX_DISABLE,
                     "what a function does not implement is zero (6.2.2)");
        expect_bars(r);
        rig_down(r);
    }
}

/* --- capabilities --- */

struct cap {
    unsigned at, len, type, bar, id;
    uint64_t off, size;
};

static unsigned virtio_caps(struct rig *r, struct cap *out)
{
    unsigned n = 0;
    for (unsigned at = rig_pci_get(r, PCI_CAPABILITY_LIST, 1); at;
         at = rig_pci_get(r, at + PCI_CAP_LIST_NEXT, 1)) {
        if (rig_pci_get(r, at, 1) != PCI_CAP_ID_VNDR)
            continue;
        cr_assert_lt(n, CAPS_MAX);
        struct cap *c = &out[n++];
        c->at = at;
        c->len = rig_pci_get(r, at + VIRTIO_PCI_CAP_LEN, 1);
        c->type = rig_pci_get(r, at + VIRTIO_PCI_CAP_CFG_TYPE, 1);
        c->bar = rig_pci_get(r, at + VIRTIO_PCI_CAP_BAR, 1);
        c->id = rig_pci_get(r, at + VIRTIO_PCI_CAP_BAR + 1, 1);
        c->off = rig_pci_get(r, at + VIRTIO_PCI_CAP_OFFSET, 4);
        c->size = rig_pci_get(r, at + VIRTIO_PCI_CAP_LENGTH, 4);
        if (c->type == RIG_CAP_SHARED_MEMORY) {
            c->off |= (uint64_t)rig_pci_get(r, at + CAP_LEN, 4) << 32;
            c->size |= (uint64_t)rig_pci_get(r, at + CAP_LEN + 4, 4) << 32;
        }
    }
    return n;
}

static unsigned count(const struct cap *c, unsigned n, unsigned type)
{
    unsigned found = 0;
    for (unsigned i = 0; i < n; i++)
        found += c[i].type == type;
    return found;
}

Test(pci, a_capability_for_each_structure)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#02");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Notification capability#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "ISR status capability#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "PCI configuration access capability#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Device-specific configuration#01");
    PROVES("stray:Virtio Transport Options / Virtio Over PCI Bus / "
           "PCI Device Layout / Device-specific configuration#01");
    for (unsigned bare = 0; bare < 2; bare++) {
        struct cap c[CAPS_MAX];
        struct rig *r = board_up((struct board_options){.bare = bare},
                                 &(struct rig_options){.transport = RIG_PCI});
        unsigned n = virtio_caps(r, c);
        cr_assert_eq(n, bare ? 4 : 5, "each is there once");
        cr_assert_eq(count(c, n, VIRTIO_PCI_CAP_COMMON_CFG), 1);
        cr_assert_eq(count(c, n, VIRTIO_PCI_CAP_NOTIFY_CFG), 1);
        cr_assert_eq(count(c, n, VIRTIO_PCI_CAP_ISR_CFG), 1);
        cr_assert_eq(count(c, n, VIRTIO_PCI_CAP_DEVICE_CFG), bare ? 0 : 1);
        cr_assert_eq(count(c, n, VIRTIO_PCI_CAP_PCI_CFG), 1);
        for (unsigned i = 0; i < n; i++) {
            if (c[i].type == VIRTIO_PCI_CAP_PCI_CFG)
                continue;
            cr_assert(c[i].off + c[i].size <= r->pci->bar[c[i].bar].size);
            if (c[i].type != VIRTIO_PCI_CAP_ISR_CFG)
                cr_assert_eq(c[i].off % 4, 0);
            if (c[i].type == VIRTIO_PCI_CAP_ISR_CFG)
                cr_assert_eq(c[i].size, 1);
            if (c[i].type == VIRTIO_PCI_CAP_COMMON_CFG)
                cr_assert_geq(c[i].size, RIG_ADMIN_NUM + 2);
            if (c[i].type == VIRTIO_PCI_CAP_DEVICE_CFG)
                cr_assert_eq(c[i].size, BOARD_CONFIG_LEN);
        }
        rig_down(r);
    }
}

Test(pci, a_capability_says_how_long_it_is)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / "
           "Virtio Structure PCI Capabilities#01");
    static const uint8_t len[] = {
        [VIRTIO_PCI_CAP_COMMON_CFG] = CAP_LEN,  [VIRTIO_PCI_CAP_NOTIFY_CFG] = CAP_LEN + 4,
        [VIRTIO_PCI_CAP_ISR_CFG] = CAP_LEN,     [VIRTIO_PCI_CAP_DEVICE_CFG] = CAP_LEN,
        [VIRTIO_PCI_CAP_PCI_CFG] = CAP_LEN + 4, [RIG_CAP_SHARED_MEMORY] = CAP_LEN + 8};
    struct cap c[CAPS_MAX];
    struct rig *r = board_up((struct board_options){.shm = {MIB(1), MIB(1)}},
                             &(struct rig_options){.transport = RIG_PCI});
    unsigned n = virtio_caps(r, c);
    cr_assert_eq(n, 7);
    for (unsigned i = 0; i < n; i++) {
        cr_assert_eq(c[i].len, len[c[i].type], "type %u", c[i].type);
        cr_assert_leq(c[i].at + c[i].len, PCI_CFG_SPACE_SIZE);
        for (unsigned k = 0; k < n; k++)
            cr_assert(k == i || c[k].at < c[i].at || c[k].at >= c[i].at + c[i].len);
        if (c[i].type == VIRTIO_PCI_CAP_PCI_CFG)
            continue;
        for (unsigned off = 0; off < c[i].len; off += 4)
            expect_read_only(r, c[i].at + off, 0);
    }
    rig_down(r);
}

/* 4.1.4.10.2: by that a driver tells a legacy device. */
Test(pci, a_legacy_device_has_no_virtio_capabilities)
{
    struct cap c[CAPS_MAX];
    struct rig *r = board_up((struct board_options){.shm = {MIB(1)}},
                             &(struct rig_options){.transport = RIG_PCI_LEGACY});
    cr_assert_eq(virtio_caps(r, c), 0);
    rig_down(r);
    r = board_up((struct board_options){0},
                 &(struct rig_options){.transport = RIG_PCI_TRANSITIONAL});
    cr_assert_eq(virtio_caps(r, c), 5);
    rig_down(r);
}

/* --- fields of 64 bits --- */

static uint64_t config(struct rig *r, unsigned off, unsigned size)
{
    return rig_structure(r, VIRTIO_PCI_CAP_DEVICE_CFG, off, size);
}

Test(pci, halves_of_a_field)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout#01");
    struct rig *r =
        board_up((struct board_options){0},
                 &(struct rig_options){.transport = RIG_PCI, .stop_before_driver_ok = true});
    const uint64_t v = 0x1122334455667788, w = 0xaabbccdd00112233;
    put_bytes(board.config + 8, v, 8);
    cr_assert_eq(config(r, 12, 4), v >> 32);
    cr_assert_eq(config(r, 8, 4), (uint32_t)v);
    cr_assert_eq(config(r, 8, 8), v);
    rig_structure_set(r, VIRTIO_PCI_CAP_DEVICE_CFG, 12, 4, w >> 32);
    cr_assert_eq(get_bytes(board.config + 8, 8), (w >> 32 << 32) | (uint32_t)v);
    rig_structure_set(r, VIRTIO_PCI_CAP_DEVICE_CFG, 8, 4, (uint32_t)w);
    cr_assert_eq(get_bytes(board.config + 8, 8), w);
    cr_assert_eq(board.config[7], 0xa7);
    cr_assert_eq(board.config[16], 0xb0);

    rig_negotiate_features(r); /* and those of a queue */
    for (unsigned off = VIRTIO_PCI_COMMON_Q_DESCLO; off <= VIRTIO_PCI_COMMON_Q_USEDLO; off += 8) {
        rig_common_set(r, off + 4, 4, w >> 32);
        cr_assert_eq(rig_common(r, off, 4), 0);
        cr_assert_eq(rig_common(r, off + 4, 4), w >> 32);
        rig_common_set(r, off, 4, (uint32_t)w);
        cr_assert_eq(rig_common(r, off, 8), w);
        rig_common_set(r, off, 8, v);
        cr_assert_eq(rig_common(r, off, 4), (uint32_t)v);
        cr_assert_eq(rig_common(r, off + 4, 4), v >> 32);
    }
    rig_down(r);
}

/* --- shared memory (4.1.4.7) --- */

static uint64_t shm_base(struct rig *r, unsigned id)
{
    gpa_t base;
    uint64_t len;
    return vdev_shm(r->dev, id, &base, &len) ? base.v : 0;
}

static void expect_shm_at(struct rig *r, const struct cap *c, unsigned n, uint64_t bar)
{
    for (unsigned i = 0; i < n; i++) {
        if (c[i].type != RIG_CAP_SHARED_MEMORY)
            continue;
        void *host = BOARD_SHM_HOST(c[i].id - BOARD_SHM_FIRST);
        cr_assert_eq(shm_base(r, c[i].id), bar ? bar + c[i].off : 0);
        if (bar)
            cr_assert_eq(rig_window_at(r, GPA(bar + c[i].off), c[i].size), host);
    }
}

Test(pci, shared_memory)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Shared memory capability#01");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Shared memory capability#02");
    static const uint64_t lens[][2] = {
        {MIB(5), 0}, {MIB(5), GIB(4) + MIB(3)}, {GIB(4) + MIB(5), MIB(3)}, {4096, 8192}};
    for (unsigned k = 0; k < ARRAY_SIZE(lens); k++) {
        struct cap c[CAPS_MAX], *s[2] = {NULL, NULL};
        struct rig *r = board_up((struct board_options){.shm = {lens[k][0], lens[k][1]}},
                                 &(struct rig_options){.transport = RIG_PCI});
        unsigned n = virtio_caps(r, c), found = 0;
        for (unsigned i = 0; i < n; i++) {
            if (c[i].type == RIG_CAP_SHARED_MEMORY && found < 2)
                s[found++] = &c[i];
        }
        cr_assert_eq(found, lens[k][1] ? 2 : 1);
        rig_pci_put(r, PCI_COMMAND, 2, 0);
        uint64_t size = bar_size(r, s[0]->bar, true);
        cr_assert_eq(rig_pci_get(r, PCI_BASE_ADDRESS_0 + 4 * s[0]->bar, 4) & 15,
                     PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
        for (unsigned i = 0; i < found; i++) {
            cr_assert_eq(s[i]->id, BOARD_SHM_FIRST + i);
            cr_assert_eq(s[i]->size, lens[k][i]);
            cr_assert_eq(s[i]->bar, s[0]->bar);
            cr_assert(s[i]->off % 4096 == 0 && s[i]->off < size);
            cr_assert_leq(s[i]->size, size - s[i]->off, "it ends in its BAR");
        }
        if (found == 2) {
            cr_assert_neq(s[0]->id, s[1]->id);
            cr_assert_geq(s[1]->off, s[0]->off + s[0]->size);
        }
        cr_assert_eq(vdev_add_shm(r->dev, BOARD_SHM_FIRST, BOARD_SHM_HOST(0), 4096),
                     found == 2 ? -ENOSPC : -EEXIST);
        rig_down(r);
    }
}

/* The register of the BAR that has the shared memory. */
static unsigned shm_bar(const struct cap *c, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (c[i].type == RIG_CAP_SHARED_MEMORY)
            return PCI_BASE_ADDRESS_0 + 4 * c[i].bar;
    }
    cr_assert_fail("no capability is of shared memory");
    return 0;
}

/* It is where the guest put the BAR, while that answers. */
Test(pci, shared_memory_moves_with_its_bar)
{
    struct cap c[CAPS_MAX];
    struct rig *r = board_up((struct board_options){.shm = {MIB(1), MIB(2)}},
                             &(struct rig_options){.transport = RIG_PCI});
    unsigned n = virtio_caps(r, c), at = shm_bar(c, n);
    uint64_t bar = (rig_pci_get(r, at, 4) & ~15u) | (uint64_t)rig_pci_get(r, at + 4, 4) << 32;
    expect_shm_at(r, c, n, bar);
    rig_pci_put(r, at + 4, 4, (uint32_t)(bar >> 32) + 1);
    expect_shm_at(r, c, n, bar + GIB(4));
    rig_pci_put(r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    expect_shm_at(r, c, n, 0);
    rig_pci_put(r, PCI_COMMAND, 2, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
    expect_shm_at(r, c, n, bar + GIB(4));
    rig_down(r);
}

/* A hostile guest aims the BAR at what is there already, and moves it about. */
Test(pci, shared_memory_over_other_memory)
{
    struct cap c[CAPS_MAX];
    struct rig *r = board_up((struct board_options){.shm = {MIB(1), MIB(2)}},
                             &(struct rig_options){.transport = RIG_PCI});
    unsigned n = virtio_caps(r, c), at = shm_bar(c, n);
    uint64_t bar = (rig_pci_get(r, at, 4) & ~15u) | (uint64_t)rig_pci_get(r, at + 4, 4) << 32;
    const uint64_t taken = bar + GIB(1);
    r->windows[0] = (struct rig_window){
        .at = GPA(taken), .len = MIB(2), .host = BOARD_SHM_HOST(7), .placed = true};

    rig_pci_put(r, at, 4, (uint32_t)taken); /* the first region has no place there, the other has */
    cr_assert_eq(shm_base(r, BOARD_SHM_FIRST), 0);
    cr_assert_eq(shm_base(r, BOARD_SHM_FIRST + 1), taken + MIB(2));
    cr_assert_eq(rig_window_at(r, GPA(taken), 1), BOARD_SHM_HOST(7));
    const uint64_t odd[] = {0, MIB(4), 0xd0000000, 0xfee00000, 1ull << 51, UINT64_MAX << 23};
    for (unsigned i = 0; i < 1000; i++) {
        uint64_t to = i % 2 ? odd[i / 2 % ARRAY_SIZE(odd)] : bar + i % 7 * MIB(8);
        rig_pci_put(r, at + 4, 4, (uint32_t)(to >> 32));
        rig_pci_put(r, at, 4, (uint32_t)to);
        cr_assert_eq(shm_base(r, BOARD_SHM_FIRST), i % 2 ? 0 : to);
    }
    cr_assert_eq(rig_window_at(r, GPA(taken), 1), BOARD_SHM_HOST(7), "it was never in the way");
    rig_pci_put(r, at, 4, (uint32_t)taken);
    rig_pci_put(r, at + 4, 4, (uint32_t)(taken >> 32));
    transport_reset(r->transport);
    cr_assert_eq(rig_window_at(r, GPA(taken), 1), BOARD_SHM_HOST(7));
    cr_assert_eq(shm_base(r, BOARD_SHM_FIRST), 0, "no BAR answers after a reset");
    rig_up_again(r);
    expect_shm_at(r, c, n, bar);
    rig_down(r);
}

Test(pci, shared_memory_that_the_machine_does_not_show)
{
    struct cap c[CAPS_MAX];
    struct rig *r = board_up((struct board_options){.shm = {MIB(1), 0}},
                             &(struct rig_options){.transport = RIG_PCI, .no_window = true});
    unsigned n = virtio_caps(r, c);
    expect_shm_at(r, c, n, 0);
    rig_down(r);
}
