/* tests/rig/test_virtio_pci_common.c - the common configuration structure (virtio 1.4, 4.1.4.3):
 * features, generation, status, queues and their reset, the administration virtqueue's place. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"
#include "transport/transport_priv.h"

enum { A = 1, D = 2, OK = 4, FOK = 8, SIZE = 8, NO_VECTOR = 0xffff };

static const struct vdev_options with_admin = {.ring_reset = true, .admin_vq = true};

static struct rig *up(unsigned queues, struct rig_options o)
{
    if (o.transport == RIG_MMIO)
        o.transport = RIG_PCI;
    return board_up((struct board_options){.queues = queues}, &o);
}

static void select_queue(struct rig *r, unsigned q)
{
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
}

static uint64_t queue_field(struct rig *r, unsigned q, unsigned off, unsigned size)
{
    select_queue(r, q);
    return rig_common(r, off, size);
}

/* --- features --- */

Test(common, features_offered_by_word)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#03");
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = up(1, (struct rig_options){.packed = packed});
        const uint32_t expected[] = {
            1u << VIRTIO_RING_F_INDIRECT_DESC | 1u << VIRTIO_RING_F_EVENT_IDX,
            1u << (VIRTIO_F_VERSION_1 - 32) | 1u << (VIRTIO_F_RING_RESET - 32) |
                1u << (VDEV_F_SUSPEND - 32) | packed << (VIRTIO_F_RING_PACKED - 32)};
        const uint32_t selects[] = {1,       0,          2,          3,          4, 5,
                                    0x10000, 0x40000000, 0x80000001, UINT32_MAX, 0};
        for (unsigned i = 0; i < ARRAY_SIZE(selects); i++) {
            rig_common_set(r, VIRTIO_PCI_COMMON_DFSELECT, 4, selects[i]);
            cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), selects[i]);
            cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DF, 4),
                         selects[i] < 2 ? expected[selects[i]] : 0, "word %#x", selects[i]);
        }
        rig_common_set(r, VIRTIO_PCI_COMMON_DF, 4, 0);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DF, 4), expected[0],
                     "it is not to be written");
        rig_down(r);
    }
}

/* Also those that were not offered, up to FEATURES_OK. */
/* Between the structures there is nothing. */
static uint64_t behind(struct rig *r, unsigned type, unsigned off, unsigned size)
{
    const struct rig_cap *c = &r->pci->cap[type];
    uint64_t v = 1;
    rig_bar_access(r, c->bar, c->off + off, size, false, &v);
    return v;
}

Test(common, behind_a_structure)
{
    struct rig *r = up(1, (struct rig_options){0});
    cr_assert_eq(behind(r, VIRTIO_PCI_CAP_COMMON_CFG, 64, 4), 0);
    cr_assert_eq(behind(r, VIRTIO_PCI_CAP_COMMON_CFG, 0xffc, 4), 0);
    for (unsigned off = 1; off < 8; off++)
        cr_assert_eq(behind(r, VIRTIO_PCI_CAP_ISR_CFG, off, 1), 0);
    rig_down(r);
}

Test(common, features_of_the_driver_are_read_back)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#04");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#05");
    struct rig *r = up(1, (struct rig_options){0});
    const uint32_t words[] = {0x12345678, 0x9abcdef1, 0x0f0f0f0f, 0xffffffff};
    rig_status_set(r, 0);
    rig_status_set(r, A);
    rig_status_set(r, A | D);
    for (uint32_t w = 0; w < ARRAY_SIZE(words); w++)
        r->regs->accept(r, w, words[w]);
    r->regs->accept(r, 4, UINT32_MAX);
    for (uint32_t w = 0; w < ARRAY_SIZE(words); w++)
        cr_assert_eq(r->regs->accepted(r, w), words[w], "word %u", w);
    cr_assert_eq(r->regs->accepted(r, 4), 0);
    rig_status_set(r, A | D | FOK);
    cr_assert_eq(rig_status(r), A | D);

    rig_negotiate(r);
    uint32_t low = r->regs->accepted(r, 0), high = r->regs->accepted(r, 1);
    cr_assert_eq(low | (uint64_t)high << 32, r->features);
    r->regs->accept(r, 0, 0);
    cr_assert_eq(r->regs->accepted(r, 0), low, "they are final");
    rig_down(r);
}

/* --- generation --- */

static uint32_t generation_after_read(struct rig *r, unsigned off)
{
    (void)rig_config(r, off, 1);
    return r->regs->generation(r);
}

static const enum rig_transport with_generation[] = {RIG_MMIO, RIG_PCI, RIG_PCI_TRANSITIONAL};

/* A read that returns something else than was there at the last one, of whatever bytes. */
Test(common, generation_tells_of_a_change_between_two_reads)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#06");
    PROVES("Virtio Transport Options / Virtio Over MMIO / "
           "MMIO Device Register Layout#06");
    for (unsigned k = 0; k < ARRAY_SIZE(with_generation); k++) {
        struct rig *r = board_up((struct board_options){0},
                                 &(struct rig_options){.transport = with_generation[k]});
        uint32_t first = generation_after_read(r, 0);
        for (unsigned i = 0; i < 4; i++)
            cr_assert_eq(generation_after_read(r, i), first, "nothing has changed");
        board.config[0] ^= 1; /* not announced yet */
        uint32_t second = generation_after_read(r, 8);
        cr_assert_neq(second, first);
        vdev_config_changed(r->dev);
        cr_assert_eq(r->regs->generation(r), second, "not before it is read");
        uint32_t third = generation_after_read(r, 0);
        cr_assert_neq(third, second);
        cr_assert_eq(generation_after_read(r, 0), third);
        board.config[31] ^= 1;
        rig_status_set(r, 0); /* a reset makes nobody forget it */
        cr_assert_neq(generation_after_read(r, 0), third);
        rig_down(r);
    }
}

/* Of a counter with eight bits, 256 changes would be none. */
Test(common, generation_does_not_come_full_circle)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#06");
    PROVES("Virtio Transport Options / Virtio Over MMIO / "
           "MMIO Device Register Layout#06");
    static const unsigned changes[] = {1, 255, 256, 257, 65536};
    for (unsigned k = 0; k < ARRAY_SIZE(with_generation); k++) {
        struct rig *r = board_up((struct board_options){0},
                                 &(struct rig_options){.transport = with_generation[k]});
        for (unsigned i = 0; i < ARRAY_SIZE(changes); i++) {
            uint32_t before = generation_after_read(r, 0);
            for (unsigned n = 0; n < changes[i]; n++) {
                board.config[n % 4]++;
                vdev_config_changed(r->dev);
            }
            cr_assert_neq(generation_after_read(r, 0), before, "%u changes", changes[i]);
        }
        rig_down(r);
    }
}

/* What the driver of a loaded device read last, nobody knows. */
Test(common, generation_after_a_load)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#06");
    struct rig *r = up(1, (struct rig_options){0});
    uint32_t before = generation_after_read(r, 0);
    struct state_out s = rig_save(r);
    transport_reset(r->transport);
    r->regs->up(r);
    board.config[0] ^= 1;
    (void)generation_after_read(r, 0); /* before the load: it does not count */
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    cr_assert_eq(r->regs->generation(r), before);
    cr_assert_neq(generation_after_read(r, 0), before);
    state_out_free(&s);
    rig_down(r);
}

/* --- reset --- */

Test(common, a_reset_of_the_device)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#07");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#08");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#09");
    struct rig *r = up(3, (struct rig_options){0});
    held.hold = true;
    uint16_t id = held_add(r, 8);
    held_run(r);
    cr_assert_eq(held.n, 1);
    for (unsigned q = 0; q < 3; q++)
        cr_assert(r->regs->queue_enabled(r, q));
    rig_status_set(r, 0);
    cr_assert_eq(rig_status(r), 0);
    cr_assert_eq(held.n, 0, "buffer %u is the driver's again", id);
    for (uint32_t w = 0; w < 2; w++)
        cr_assert_eq(r->regs->accepted(r, w), 0);
    for (unsigned q = 0; q < 3; q++) {
        cr_assert_eq(queue_field(r, q, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
        cr_assert_eq(queue_field(r, q, RIG_QUEUE_RESET, 2), 0);
        cr_assert_eq(queue_field(r, q, VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
        cr_assert_eq(queue_field(r, q, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
        cr_assert_eq(queue_field(r, q, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), 0);
        cr_assert_eq(queue_field(r, q, VIRTIO_PCI_COMMON_Q_USEDLO, 8), 0);
    }
    rig_status_set(r, 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_GFSELECT, 4), 0);
    held.hold = false;
    rig_negotiate(r);
    cr_assert(board_serves(r, 2, rig_kick));
    rig_down(r);
}

/* The machine's reset, of what the driver's leaves alone, too. */
Test(common, a_reset_of_the_machine)
{
    struct rig *r = up(2, (struct rig_options){0});
    vdev_config_changed(r->dev);
    rig_common_set(r, VIRTIO_PCI_COMMON_DFSELECT, 4, 0x11223344);
    rig_common_set(r, VIRTIO_PCI_COMMON_GFSELECT, 4, 0x22334455);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 0x11223344);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_GFSELECT, 4), 0x22334455);
    select_queue(r, 1);
    transport_reset(r->transport);
    r->regs->up(r);
    cr_assert_eq(rig_status(r), 0);
    cr_assert_eq(rig_structure(r, VIRTIO_PCI_CAP_ISR_CFG, 0, 1), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_GFSELECT, 4), 0);
    rig_negotiate(r);
    cr_assert(board_serves(r, 1, rig_kick));
    rig_down(r);
}

/* Accesses of a width or at a place that no field has. */
Test(common, odd_writes_do_nothing)
{
    struct rig *r = up(2, (struct rig_options){.stop_before_driver_ok = true});
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
    const struct vq_config *c = vdev_queue_config(r->dev, 0);
    select_queue(r, 0);
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
    cr_assert_not(c->enabled);
    for (unsigned off = 0; off < 64; off++) {
        if (off != VIRTIO_PCI_COMMON_STATUS)
            rig_common_set(r, off, 1, 0);
        bool area = off >= VIRTIO_PCI_COMMON_Q_DESCLO && off <= VIRTIO_PCI_COMMON_Q_USEDHI;
        if (off > VIRTIO_PCI_COMMON_GF && off <= 60 && !(area && off % 4 == 0))
            rig_common_set(r, off, 4, 0x11223344);
        cr_assert_eq(rig_status(r), A | D | FOK, "%u", off);
        cr_assert(c->desc.v == 0 && c->driver.v == 0 && c->device.v == 0, "%u", off);
    }
    cr_assert_not(c->enabled);
    uint64_t v = 1;
    const struct rig_cap *cap = &r->pci->cap[VIRTIO_PCI_CAP_COMMON_CFG];
    rig_bar_access(r, cap->bar, cap->off + RIG_ADMIN_NUM, 4, false, &v);
    cr_assert_eq(v, 0, "nothing is behind it");
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_NUMQ + 1, 2), (A | D | FOK) << 8);
    rig_down(r);
}

static struct rig *resetting;

/* Whoever reads queue_reset now waits for the structure's lock, until the reset has ended. */
static void nobody_can_look(void)
{
    cr_assert_eq(pthread_mutex_trylock(&resetting->transport->lock), EBUSY);
    cr_assert_eq(held.n, 1);
}

Test(common, a_reset_of_a_queue)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#09");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#10");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#11");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#12");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#13");
    struct rig *r = resetting = up(2, (struct rig_options){0});
    board.draining = nobody_can_look;
    held.hold = true;
    (void)held_add(r, 8);
    held_run(r);
    cr_assert_eq(held.n, 1);
    select_queue(r, 0);
    rig_common_set(r, RIG_QUEUE_RESET, 2, 0); /* which means nothing */
    cr_assert_eq(held.n, 1);
    cr_assert(r->regs->queue_enabled(r, 0));
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
    cr_assert_eq(held.n, 0, "reset means: it has ended");
    cr_assert_eq(rig_common(r, RIG_QUEUE_RESET, 2), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    cr_assert(r->regs->queue_enabled(r, 1), "another queue is another queue");
    cr_assert_eq(rig_status(r), A | D | FOK | OK);
    board.draining = NULL;
    held.hold = false;

    rig_queue_up(r, 0);
    cr_assert_eq(queue_field(r, 0, RIG_QUEUE_RESET, 2), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
    rig_settle(r);
    cr_assert(board_serves(r, 0, rig_kick));
    cr_assert(board_serves(r, 1, rig_kick));
    rig_status_set(r, 0);
    cr_assert_eq(queue_field(r, 0, RIG_QUEUE_RESET, 2), 0);
    rig_down(r);
}

/* 2.6.1.1: any state of it, also of one that was never enabled; the vector is a part of it. */
Test(common, a_reset_queue_has_forgotten_all)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#11");
    for (unsigned enabled = 0; enabled < 2; enabled++) {
        struct rig *r = up(2, (struct rig_options){.queue_size = 4});
        select_queue(r, 1);
        rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2);
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_DESCLO, 8, 0x10000);
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_AVAILLO, 8, 0x11000);
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_USEDLO, 8, 0x12000);
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
        rig_common_set(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2, enabled);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2), enabled);
        rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_AVAILLO, 8), 0);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_USEDLO, 8), 0);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
        rig_queue_up(r, 1);
        rig_settle(r);
        cr_assert(board_serves(r, 1, rig_kick));
        rig_down(r);
    }
}

Test(common, a_queue_is_not_reset_by_whom_it_was_not_agreed)
{
    struct rig *r = up(1, (struct rig_options){.without = 1ull << VIRTIO_F_RING_RESET});
    uint16_t vector = (uint16_t)queue_field(r, 0, VIRTIO_PCI_COMMON_Q_MSIX, 2);
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
    cr_assert(r->regs->queue_enabled(r, 0));
    cr_assert_neq(vector, NO_VECTOR);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), vector);
    cr_assert(board_serves(r, 0, rig_kick));
    rig_negotiate_features(r); /* nor one that is not enabled yet */
    select_queue(r, 0);
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_SIZE, 2, 2);
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), vector);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SIZE, 2), 2);
    rig_down(r);
}

/* 3.4: nothing changes in a suspended device, its vectors neither. */
Test(common, a_queue_of_a_suspended_device_is_not_reset)
{
    struct rig *r = up(1, (struct rig_options){0});
    rig_status_set(r, A | D | FOK | OK | VDEV_S_SUSPEND);
    cr_assert_eq(rig_status(r), A | D | FOK | VDEV_S_SUSPEND);
    select_queue(r, 0);
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
    cr_assert_neq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
    rig_status_set(r, A | D | FOK | OK);
    cr_assert(board_serves(r, 0, rig_kick));
    rig_down(r);
}

/* --- queues --- */

Test(common, a_queue_that_there_is_not)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#14");
    struct rig *r = up(2, (struct rig_options){0});
    static const unsigned none[] = {2, 3, 64, 0x7fff, 0xffff};
    for (unsigned i = 0; i < ARRAY_SIZE(none); i++) {
        select_queue(r, none[i]);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SELECT, 2), none[i]);
        for (unsigned write = 0; write < 2; write++) {
            cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
            cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
            for (unsigned off = VIRTIO_PCI_COMMON_Q_ENABLE; off <= RIG_QUEUE_RESET; off += 2)
                cr_assert_eq(rig_common(r, off, 2), 0, "queue %u, %u", none[i], off);
            rig_common_set(r, VIRTIO_PCI_COMMON_Q_SIZE, 2, 4);
            rig_common_set(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
            rig_common_set(r, VIRTIO_PCI_COMMON_Q_DESCLO, 4, 0x10000);
            rig_common_set(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
            rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
        }
    }
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_NUMQ, 2), 2);
    cr_assert(board_serves(r, 0, rig_kick));
    cr_assert(board_serves(r, 1, rig_kick));
    rig_down(r);
}

Test(common, sizes_of_split_rings_are_powers_of_two)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#15");
    struct rig *r = up(1, (struct rig_options){.packed = true, .stop_before_driver_ok = true});
    for (unsigned packed = 0; packed < 2; packed++) {
        r->o.without = packed ? 0 : 1ull << VIRTIO_F_RING_PACKED;
        rig_negotiate_features(r);
        cr_assert_eq(queue_field(r, 0, VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
        for (unsigned size = 1; size <= UINT16_MAX; size++) {
            rig_common_set(r, VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
            uint64_t shown = rig_common(r, VIRTIO_PCI_COMMON_Q_SIZE, 2);
            if (packed || (size & (size - 1)) == 0)
                cr_assert_eq(shown, size);
            else
                cr_assert_eq(shown & (shown - 1), 0, "size %u", (unsigned)shown);
        }
    }
    rig_down(r);
}

/* --- the administration virtqueue's place (2.13, 4.1.4.3) --- */

Test(common, the_administration_virtqueue_is_behind_the_others)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#16");
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#17");
    for (unsigned queues = 1; queues <= 5; queues += 2) {
        struct rig *r = up(queues, (struct rig_options){.vdev = &with_admin});
        uint64_t index = rig_common(r, RIG_ADMIN_INDEX, 2), n = rig_common(r, RIG_ADMIN_NUM, 2);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_NUMQ, 2), queues, "it is not among them");
        cr_assert_geq(index, queues);
        cr_assert_eq(n, 1);
        cr_assert_leq(n, 0x10000 - index);
        cr_assert(queue_field(r, (unsigned)index, VIRTIO_PCI_COMMON_Q_SIZE, 2) > 0);
        cr_assert(r->regs->queue_enabled(r, (uint32_t)index));
        rig_common_set(r, RIG_ADMIN_INDEX, 4, 0);
        cr_assert_eq(rig_common(r, RIG_ADMIN_INDEX, 4), index | n << 16, "not to be written");
        rig_down(r);
    }
}

Test(common, no_administration_virtqueue_unless_it_was_agreed)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "Common configuration structure layout#14");
    struct rig *r =
        up(2, (struct rig_options){.vdev = &with_admin, .without = 1ull << VDEV_F_ADMIN_VQ});
    cr_assert_eq(queue_field(r, 2, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_MSIX, 2, 0);
    rig_common_set(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
    rig_common_set(r, RIG_QUEUE_RESET, 2, 1);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
    rig_down(r);
    r = up(2, (struct rig_options){0});
    cr_assert_eq(rig_common(r, RIG_ADMIN_INDEX, 4), 0, "there is none");
    rig_down(r);
}
