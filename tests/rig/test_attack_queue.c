/* tests/rig/test_attack_queue.c - queues set up by a driver that cheats, on each way to a device:
 * two transports with two validators is how others had their bugs. What is done is in
 * tests/attacks/attacks.tsv. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <malloc.h>

#include "base/log.h"
#include "tests/rig/board.h"
#include "tests/rig/core_fixture.h"
#include "tests/rig/rig_pci.h"
#include "tests/rig/ways.h"

enum { A = 1, D = 2, OK = 4, FOK = 8, FAILED = 128, SIZE = 8, Q = 0, NO_VECTOR = 0xffff };

static struct rig *up(void)
{
    return held_up(NULL, SIZE);
}

static void expect_served(struct rig *r)
{
    held.hold = false;
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
}

/* A legacy driver on PCI has no way to choose. */
static void size_set(struct rig *r, uint32_t size)
{
    if (r->regs->queue_size)
        r->regs->queue_size(r, Q, size);
}

/* --- a queue that is live --- */

static void write_all_of_it(struct rig *r, uint32_t v)
{
    size_set(r, v);
    r->regs->queue_areas(r, Q, (uint64_t)v << 12 | 0x10000000000, v & ~15u, UINT64_MAX - 15);
    r->regs->queue_enable(r, Q);
}

TEST_EACH_WAY(ALL_WAYS, attack_queue, what_is_live_is_written)
{
    struct rig *r = up();
    HOLDS(r, "1");
    const struct vq_config before = *vdev_queue_config(r->dev, Q);
    static const uint32_t values[] = {0, 1, 2, 4, 0x7fff, 0x8000, 0xffff, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        if (values[i] || !r->legacy) /* 0 takes a legacy driver's queue away */
            write_all_of_it(r, values[i]);
        cr_assert(memcmp(&before, vdev_queue_config(r->dev, Q), sizeof(before)) == 0);
        expect_served(r);
    }
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

/* While it works, and over and over: nothing is kept of what does not count. */
TEST_EACH_WAY(ALL_WAYS, attack_queue, set_up_without_end)
{
    struct rig *r = up();
    HOLDS(r, "5");
    struct mallinfo2 before = {0};
    for (unsigned i = 0; i < 600; i++) {
        uint64_t ram = r->ram_next;
        write_all_of_it(r, i + 1);
        if (i % 3 == 0 && r->regs->queue_reset)
            r->regs->queue_reset(r, Q);
        rig_negotiate(r);
        expect_served(r);
        r->ram_next = ram;
        if (i == 99)
            before = mallinfo2();
    }
    cr_assert_leq(mallinfo2().uordblks, before.uordblks + 1024);
    rig_down(r);
}

/* --- one that is no queue --- */

static void must_be_refused(struct rig *r)
{
    unsigned kicks = held.kicks;
    cr_assert_not(r->regs->queue_enabled(r, Q));
    cr_assert(rig_needs_reset(r));
    if (!r->legacy)
        rig_driver_ok(r);
    held_run(r);
    cr_assert_eq(held.kicks, kicks, "nothing is looked for where there is no queue");
    rig_negotiate(r);
    expect_served(r);
}

/* What a transport does not take is as if it had not been written. */
TEST_EACH_WAY(ALL_WAYS, attack_queue, longer_than_there_are)
{
    static const uint32_t sizes[] = {SIZE + 1, 2 * SIZE, 0x8000, 0xffff, 0x10000 + SIZE, 0};
    struct rig *r = up();
    uint64_t ram = r->ram_next;
    for (size_t i = 0; r->regs->queue_size && i < ARRAY_SIZE(sizes); i++) {
        HOLDS(r, "2");
        r->ram_next = ram;
        rig_negotiate_features(r);
        gpa_t at = rig_alloc_at(r, 0x20000, 4096);
        size_set(r, sizes[i]);
        r->regs->queue_areas(r, Q, at.v, at.v + 0x8000, at.v + 0x10000);
        r->regs->queue_enable(r, Q);
        if (r->regs->queue_enabled(r, Q))
            cr_assert_eq(vdev_queue_config(r->dev, Q)->size, SIZE, "%#x", sizes[i]);
        else
            must_be_refused(r);
    }
    rig_negotiate(r);
    expect_served(r);
    rig_down(r);
}

/* Its last byte is memory, and its first is not: memory begins in the middle of it. */
static void begin_outside(struct rig *r, const uint64_t at[3])
{
    rig_negotiate_features(r);
    size_set(r, SIZE);
    r->regs->queue_areas(r, Q, at[0], at[1], at[2]);
    r->regs->queue_enable(r, Q);
    must_be_refused(r);
}

TEST_EACH_WAY(ALL_WAYS, attack_queue, begins_where_nothing_is)
{
    static uint8_t more[16 * 4096] __attribute__((aligned(4096)));
    const struct gmem_region region = {.base = GPA(RIG_PLACES), .len = sizeof(more), .host = more};
    struct rig *r = up();
    cr_assert_eq(gmem_add(r->mem, &region), 0);
    HOLDS(r, "7 22b");
    const uint64_t ok = rig_alloc_at(r, 4096, 4096).v, before = RIG_PLACES - 4096;
    const uint64_t pages[] = {before, RIG_RAM - 4096, RIG_RAM, RIG_BASE, 0xfffffffff000};
    for (size_t i = 0; r->legacy && i < ARRAY_SIZE(pages); i++) /* a legacy ring is two pages */
        begin_outside(r, (const uint64_t[]){pages[i], 0, 0});
    for (unsigned area = 0; !r->legacy && area < 3; area++) {
        /* Descriptors are 128 bytes; a packed ring's other areas are four. */
        const uint64_t len = area == 0 ? 16 * SIZE : r->o.packed ? 4 : 8;
        const uint64_t places[] = {RIG_PLACES - 16,     RIG_RAM - len + 16 * (area == 0) + 4,
                                   0 - (uint64_t)16,    RIG_BASE,
                                   RIG_RAM + (1 << 20), RIG_PLACES + sizeof(more)};
        for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
            uint64_t at[] = {ok, ok + 1024, ok + 2048};
            at[area] = places[i] & ~(area == 0 ? 15ull : 3ull);
            begin_outside(r, at);
        }
    }
    rig_down(r);
}

/* --- numbers of queues that there are not --- */

/* The administration virtqueue is one for those who agreed on it, and some cannot. */
TEST_EACH_WAY(ALL_WAYS, attack_queue, numbers_that_there_are_not)
{
    struct vdev_options all = vdev_options_default;
    all.admin_vq = true;
    struct rig *r =
        board_up((struct board_options){.queues = 2},
                 &(struct rig_options){.vdev = &all, .without = 1ull << VDEV_F_ADMIN_VQ});
    HOLDS(r, "8");
    static const uint32_t none[] = {2, 3, 63, 64, 0x7fff, 0x8000, 0xffff, 0x10002, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        cr_assert_eq(r->regs->queue_max(r, none[i]), 0, "queue %#x", none[i]);
        cr_assert_not(r->regs->queue_enabled(r, none[i]));
        if (r->regs->queue_size)
            r->regs->queue_size(r, none[i], 8);
        for (unsigned k = 0; k < 2; k++) { /* a legacy driver's own way to its areas */
            if (r->o.transport == RIG_MMIO_LEGACY) {
                rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, none[i]);
                rig_reg_set(r, VIRTIO_MMIO_QUEUE_ALIGN, k ? UINT32_MAX : 4096);
                rig_reg_set(r, VIRTIO_MMIO_QUEUE_PFN, k);
            }
        }
        if (r->regs->queue_reset)
            r->regs->queue_reset(r, none[i]);
        r->regs->notify(r, none[i], none[i]);
        vdev_kick(r->dev, none[i]);
        rig_settle(r);
        cr_assert_not(rig_needs_reset(r));
    }
    cr_assert(board_serves(r, 0, rig_kick) && board_serves(r, 1, rig_kick));
    rig_down(r);
}

static uint32_t vector(struct rig *r, uint32_t q, int set)
{
    uint64_t sel = q, v = (uint64_t)set;
    if (!r->legacy) {
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, sel);
        if (set >= 0)
            rig_common_set(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, v);
        return (uint32_t)rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2);
    }
    rig_bar_access(r, 0, VIRTIO_PCI_QUEUE_SEL, 2, true, &sel);
    if (set >= 0)
        rig_bar_access(r, 0, VIRTIO_MSI_QUEUE_VECTOR, 2, true, &v);
    rig_bar_access(r, 0, VIRTIO_MSI_QUEUE_VECTOR, 2, false, &v);
    return (uint32_t)v;
}

TEST_EACH_WAY(W_PCI, attack_queue, vectors_of_queues_that_there_are_not)
{
    struct rig *r = board_up((struct board_options){.queues = 2}, NULL);
    HOLDS(r, "9");
    static const uint32_t none[] = {2, 3, 64, 0x7fff, 0xffff};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        cr_assert_eq(vector(r, none[i], -1), NO_VECTOR);
        for (int v = 0; v < 4; v++)
            cr_assert_eq(vector(r, none[i], v), NO_VECTOR, "queue %#x", none[i]);
    }
    for (uint32_t q = 0; q < 2; q++)
        cr_assert_eq(vector(r, q, -1), RIG_VECTOR_QUEUES + q);
    cr_assert(board_serves(r, 0, rig_kick) && board_serves(r, 1, rig_kick));
    rig_down(r);
}

/* And then there is something to say. */
TEST_EACH_WAY(W_PCI, attack_queue, vectors_that_there_are_not)
{
    struct rig *r = up();
    HOLDS(r, "10a");
    static const int none[] = {2, 3, 0x7ff, 0x800, 0x8000, 0xfffe};
    for (size_t i = 0; i < ARRAY_SIZE(none); i++) {
        cr_assert_eq(vector(r, Q, none[i]), NO_VECTOR, "vector %#x", none[i]);
        (void)rig_irqs(r);
        rig_listen(r, Q);
        expect_served(r);
        cr_assert_eq(rig_irqs(r), 0);
    }
    cr_assert_eq(vector(r, Q, 1), 1);
    rig_listen(r, Q);
    expect_served(r);
    cr_assert_eq(rig_irqs(r), 1);
    rig_down(r);
}

/* Given away, taken back and masked between a request and its end: what is said comes by what is
 * there by then, or not at all. */
TEST_EACH_WAY(W_PCI, attack_queue, vectors_that_change_while_they_are_used)
{
    struct rig *r = up();
    HOLDS(r, "14");
    static const int to[] = {0, NO_VECTOR, 1, NO_VECTOR, 0, 1};
    uint32_t flags = rig_pci_get(r, r->pci->msix + PCI_MSIX_FLAGS, 2);
    for (size_t i = 0; i < 4 * ARRAY_SIZE(to); i++) {
        int v = to[i % ARRAY_SIZE(to)];
        held.hold = true;
        uint16_t id = held_add(r, 8);
        held_run(r);
        (void)rig_irqs(r);
        rig_listen(r, Q);
        (void)vector(r, Q, v);
        if (i >= 2 * ARRAY_SIZE(to)) { /* off and on again */
            rig_pci_put(r, r->pci->msix + PCI_MSIX_FLAGS, 2, 0);
            rig_pci_put(r, r->pci->msix + PCI_MSIX_FLAGS, 2, flags);
        }
        held_complete(0, 8);
        rig_settle(r);
        held_expect(r, id, 8);
        cr_assert_eq(rig_irqs(r), v != NO_VECTOR, "vector %d", v);
    }
    rig_down(r);
}

/* --- registers of every width, and where there are none --- */

static void sweep(struct rig *r, struct bus *bus, uint64_t from, uint64_t len, bool write)
{
    for (unsigned size = 1; size <= 8; size++) {
        for (uint64_t off = 0; off < len + 8; off++) {
            uint64_t v = write ? off * 0x9e3779b97f4a7c15 : 0;
            (void)bus_access(bus, GPA(from + off), size, write, &v);
        }
    }
    rig_settle(r);
}

/* The window, or each BAR: registers, the configuration and what is behind its end, the table of
 * vectors and the pending bits. Then a driver begins anew, as if after a bus reset. */
static void sweep_it(struct rig *r, bool write)
{
    if (!r->pci)
        sweep(r, r->bus, RIG_BASE - 8, 0x1000 + 8, write);
    for (unsigned i = 0; r->pci && i < PCI_BARS; i++) {
        const struct rig_bar *b = &r->pci->bar[i];
        if (b->size)
            sweep(r, b->io ? r->pio : r->bus, b->at - 8, MIN(b->size, 0x8000u) + 8, write);
    }
}

TEST_EACH_WAY(ALL_WAYS, attack_queue, accesses_of_any_width_anywhere)
{
    struct rig *r = board_up((struct board_options){.queues = 2}, NULL);
    log_set_level(LOG_OFF);
    HOLDS(r, r->pci ? "10b 10c 12a 12b" : "12a 12b");
    const struct board before = board;
    sweep_it(r, false);
    cr_assert_eq(memcmp(&before, &board, sizeof(board)), 0, "it was only read");
    cr_assert_not(rig_needs_reset(r));
    for (unsigned i = 0; i < 3; i++)
        sweep_it(r, true);
    transport_reset(r->transport);
    rig_up_again(r);
    cr_assert(board_serves(r, 0, rig_kick) && board_serves(r, 1, rig_kick));
    rig_down(r);
}

/* Past the end of the configuration, and across it. */
TEST_EACH_WAY(ALL_WAYS, attack_queue, configuration_past_its_end)
{
    struct rig *r = board_up((struct board_options){0}, NULL);
    HOLDS(r, "12a");
    const struct board before = board;
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned off = BOARD_CONFIG_LEN; off < 200; off++) {
            cr_assert_eq(rig_config(r, off, size), 0, "%u at %u", size, off);
            rig_config_set(r, off, size, UINT64_MAX);
        }
    }
    const uint8_t byte = 0x11;
    static const size_t far[] = {SIZE_MAX, SIZE_MAX - 7, 1ul << 32, 1ul << 63};
    for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
        uint64_t v = UINT64_MAX;
        vdev_config_set(r->dev, far[i], &byte, 1);
        vdev_config_get(r->dev, far[i], &v, sizeof(v));
        cr_assert_eq(v, 0);
    }
    cr_assert_eq(memcmp(before.config, board.config, sizeof(board.config)), 0);
    rig_down(r);
}

/* --- configuration space of PCI --- */

/* Of the list: where its capabilities are and what they are, as one number. */
static uint64_t list_of(struct rig *r)
{
    uint64_t sum = 0;
    unsigned n = 0;
    for (unsigned cap = rig_pci_get(r, PCI_CAPABILITY_LIST, 1); cap;
         cap = rig_pci_get(r, cap + PCI_CAP_LIST_NEXT, 1)) {
        cr_assert_lt(n++, 48, "it has no end");
        sum = (sum ^ cap << 8 ^ rig_pci_get(r, cap + PCI_CAP_LIST_ID, 1)) * 1099511628211u;
    }
    return sum;
}

/* Capabilities are where they were, in a list that ends, whatever was written over them. */
TEST_EACH_WAY(W_PCI, attack_queue, capabilities_are_written)
{
    struct rig *r = up();
    HOLDS(r, r->legacy ? "11b 11c" : "11a 11b 11c");
    const struct rig_pci before = *r->pci;
    static const uint32_t values[] = {UINT32_MAX, 0, 0x40404040, 0xfcfcfcfc, 0x80808080};
    const uint32_t status = rig_pci_get(r, PCI_STATUS, 2);
    const uint64_t list = list_of(r);
    log_set_level(LOG_OFF);
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        for (unsigned size = 1; size <= 4; size *= 2) {
            for (unsigned off = 0; off < 256; off += size)
                rig_pci_put(r, off, size, values[i]);
        }
        cr_assert_eq(rig_pci_get(r, PCI_STATUS, 2), status);
        cr_assert_eq(list_of(r), list);
        /* The window of 4.1.4.9, aimed by what was just written, and by all of these. */
        const struct rig_cap *w = &before.cap[VIRTIO_PCI_CAP_PCI_CFG];
        for (size_t k = 0; w->there && k < 7 * ARRAY_SIZE(values); k++) {
            rig_pci_put(r, w->at + VIRTIO_PCI_CAP_BAR, 1, (uint32_t)(k % 7));
            rig_pci_put(r, w->at + VIRTIO_PCI_CAP_OFFSET, 4, values[k / 7] >> (i * 4));
            rig_pci_put(r, w->at + VIRTIO_PCI_CAP_LENGTH, 4, values[(k + i) % 5] >> (k % 8 * 4));
            rig_pci_put(r, w->at + sizeof(struct virtio_pci_cap), 4, values[k % 5]);
            (void)rig_pci_get(r, w->at + sizeof(struct virtio_pci_cap), 4);
        }
    }
    transport_reset(r->transport);
    rig_up_again(r);
    cr_assert_eq(memcmp(before.cap, r->pci->cap, sizeof(before.cap)), 0);
    cr_assert_eq(before.msix, r->pci->msix);
    expect_served(r);
    rig_down(r);
}

/* --- the status --- */

TEST_EACH_WAY(ALL_WAYS, attack_queue, a_start_that_fails)
{
    struct rig *r = core_up((struct core_opts){.start_rc = -EIO},
                            &(struct rig_options){.stop_before_driver_ok = true});
    HOLDS(r, "13a");
    rig_status_set(r, rig_status(r) | OK);
    cr_assert_eq(core_starts, 1);
    cr_assert(rig_needs_reset(r));
    cr_assert(r->regs->pending(r) & 2);
    cr_assert_not(served(r, 0));
    cr_assert_eq(core_starts, 1, "it is not tried again");
    core.start_rc = 0;
    r->o.stop_before_driver_ok = false;
    rig_negotiate(r);
    cr_assert(served(r, 0) && served(r, 1));
    rig_down(r);
}

/* Bits that vanish, that come before their time, and that are the device's own. */
TEST_EACH_WAY(ALL_WAYS, attack_queue, status_out_of_order)
{
    struct rig *r = up();
    HOLDS(r, "13b");
    const uint8_t running = rig_status(r);
    static const uint8_t live[] = {A, D, OK, A | D, A | D | FOK, OK | FOK, 0x20, 0x40, 1 << 5 | 15};
    for (size_t i = 0; i < ARRAY_SIZE(live); i++) {
        rig_status_set(r, live[i]);
        cr_assert_eq(rig_status(r), running, "%#x", live[i]);
        expect_served(r);
    }
    rig_status_set(r, 0);
    static const uint8_t early[] = {D, OK, FOK | OK, A | OK, 64, 0x60 | OK, A | D | FAILED, 0xff};
    for (size_t i = 0; i < ARRAY_SIZE(early); i++) {
        unsigned kicks = held.kicks;
        rig_status_set(r, 0);
        rig_status_set(r, early[i]);
        rig_status_set(r, early[i] | OK);
        cr_assert_not(r->regs->queue_enabled(r, Q));
        held_run(r);
        cr_assert_eq(held.kicks, kicks, "%#x", early[i]);
    }
    rig_negotiate(r);
    expect_served(r);
    rig_down(r);
}

/* What is accepted of it is what was offered, and a modern driver is told: nothing runs. */
TEST_EACH_WAY(ALL_WAYS, attack_queue, features_that_were_not_offered)
{
    struct rig *r = up();
    HOLDS(r, "15");
    rig_status_set(r, 0);
    rig_status_set(r, A);
    rig_status_set(r, A | D);
    uint32_t offered[VDEV_FEATURE_WORDS];
    for (uint32_t w = 0; w < ARRAY_SIZE(offered); w++) {
        offered[w] = r->regs->features(r, w);
        r->regs->accept(r, w, UINT32_MAX);
    }
    if (!r->legacy) {
        rig_status_set(r, A | D | FOK);
        cr_assert_eq(rig_status(r), A | D);
        rig_status_set(r, A | D | FOK | OK);
        cr_assert_eq(rig_status(r), A | D);
    }
    for (unsigned bit = 0; r->legacy && bit < 128; bit++)
        cr_assert_eq(vdev_has(r->dev, bit), bit < 32 && (offered[0] >> bit & 1), "%u", bit);
    unsigned kicks = held.kicks;
    held_run(r);
    cr_assert(r->legacy || held.kicks == kicks);
    rig_negotiate(r);
    expect_served(r);
    rig_down(r);
}

/* --- queues of more and of fewer entries than before --- */

static void all_in_flight_and_back(struct rig *r, uint16_t size)
{
    uint16_t ids[256];
    held.hold = true;
    for (unsigned i = 0; i < size; i++)
        ids[i] = held_add(r, 8);
    held_run(r);
    cr_assert_eq(held.n, size);
    for (unsigned i = 0; i < size; i++) /* the last one first */
        held_complete(held.n - 1, 8);
    rig_settle(r);
    for (unsigned i = 0; i < size; i++)
        held_expect(r, ids[rig_has(r, VIRTIO_F_IN_ORDER) ? i : size - 1u - i], 8);
}

static void sizes_change(bool in_order)
{
    static const uint16_t sizes[] = {2, 256, 1, 128, 4, 256};
    struct rig *r = held_up(&(struct rig_options){.in_order = in_order, .queue_size = 8}, 256);
    HOLDS(r, in_order ? "3" : "4");
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        if (i % 2)
            r->regs->queue_reset(r, Q);
        r->o.queue_size = sizes[i];
        i % 2 ? rig_queue_up(r, Q) : rig_negotiate(r);
        for (unsigned lap = 0; lap < 3; lap++)
            all_in_flight_and_back(r, sizes[i]);
    }
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

TEST_EACH_WAY(W_MODERN, attack_queue, sizes_change_in_any_order)
{
    sizes_change(false);
}

TEST_EACH_WAY(W_MODERN, attack_queue, sizes_change_in_order)
{
    sizes_change(true);
}

/* One chain of as many descriptors as a ring can have: where 16 bits are just not enough. */
TEST_EACH_WAY(W_SPLIT, attack_queue, a_chain_through_the_longest_ring)
{
    enum { LONGEST = 0x8000 };
    struct rig *r = held_up(NULL, LONGEST);
    HOLDS(r, "21c");
    for (unsigned i = 0; i < LONGEST; i++)
        rig_forge(r, r->q[Q].desc, i, 0x1000, 0x20000, VRING_DESC_F_NEXT, (uint16_t)(i + 1));
    rig_offer(r, Q, 0);
    held_run(r);
    cr_assert(rig_needs_reset(r));
    cr_assert_eq(held.n, 0);
    rig_negotiate(r);
    expect_served(r);
    rig_down(r);
}
