/* tests/rig/test_virtio_pci_window.c - the structures through configuration space (virtio 1.4,
 * 4.1.4.9), which firmware uses before there is room for BARs. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>

#include "tests/rig/board.h"
#include "tests/rig/rig_pci.h"

enum { DATA = 16, A = 1, D = 2 };

static struct rig *up(bool ports)
{
    return board_up((struct board_options){.queues = 2},
                    &(struct rig_options){.transport = RIG_PCI, .ports = ports});
}

static unsigned cap(struct rig *r)
{
    return r->pci->cap[VIRTIO_PCI_CAP_PCI_CFG].at;
}

static void aim_at(struct rig *r, unsigned bar, uint32_t off, uint32_t len)
{
    rig_pci_put(r, cap(r) + VIRTIO_PCI_CAP_BAR, 1, bar);
    rig_pci_put(r, cap(r) + VIRTIO_PCI_CAP_OFFSET, 4, off);
    rig_pci_put(r, cap(r) + VIRTIO_PCI_CAP_LENGTH, 4, len);
    cr_assert_eq(rig_pci_get(r, cap(r) + VIRTIO_PCI_CAP_BAR, 1), bar);
    cr_assert_eq(rig_pci_get(r, cap(r) + VIRTIO_PCI_CAP_OFFSET, 4), off);
    cr_assert_eq(rig_pci_get(r, cap(r) + VIRTIO_PCI_CAP_LENGTH, 4), len);
}

static void aim(struct rig *r, unsigned type, unsigned off, unsigned len)
{
    aim_at(r, r->pci->cap[type].bar, r->pci->cap[type].off + off, len);
}

/* The data, as they are: all four bytes. */
static uint32_t look(struct rig *r)
{
    return rig_pci_get(r, cap(r) + DATA, 4);
}

static void write_data(struct rig *r, uint32_t v)
{
    rig_pci_put(r, cap(r) + DATA, 4, v);
}

Test(window, writes_as_the_bar_would)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "PCI configuration access capability#02");
    for (unsigned ports = 0; ports < 2; ports++) {
        struct rig *r = up(ports);
        cr_assert_eq(rig_pci_get(r, cap(r) + VIRTIO_PCI_CAP_BAR, 4), 0, "aimed at nothing yet");
        cr_assert_eq(rig_pci_get(r, cap(r) + VIRTIO_PCI_CAP_OFFSET, 4), 0);
        cr_assert_eq(rig_pci_get(r, cap(r) + VIRTIO_PCI_CAP_LENGTH, 4), 0);
        aim(r, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_DFSELECT, 4);
        write_data(r, 0x12345678);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 0x12345678);
        aim(r, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_Q_SELECT, 2);
        write_data(r, 0xffff0001); /* the first two bytes of it */
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_Q_SIZE, 2), 8, "and the next ones are not");
        aim(r, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_STATUS, 1);
        write_data(r, 0xffffff00);
        cr_assert_eq(rig_status(r), 0);
        write_data(r, 0xffffff01);
        cr_assert_eq(rig_status(r), A);
        aim(r, VIRTIO_PCI_CAP_DEVICE_CFG, 6, 1);
        rig_pci_put(r, cap(r) + DATA, 1, 0x77); /* a narrow write is one, too */
        cr_assert_eq(board.config[6], 0x77);
        cr_assert_eq(board.config[7], 0xa7);
        rig_down(r);
    }
}

/* Lengths are of four bytes, too; and where nothing is, nothing is read. */
Test(window, what_is_not_there)
{
    struct rig *r = up(false);
    aim(r, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_DFSELECT, 4);
    write_data(r, 1);
    cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 1);
    for (unsigned shift = 8; shift < 32; shift += 8) {
        aim(r, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_DFSELECT, 4 | 1u << shift);
        write_data(r, 3);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 1, "bit %u", shift);
    }
    const struct rig_bar *b = &r->pci->bar[r->pci->cap[VIRTIO_PCI_CAP_COMMON_CFG].bar];
    aim_at(r, r->pci->cap[VIRTIO_PCI_CAP_COMMON_CFG].bar, (uint32_t)b->size, 4);
    cr_assert_eq(look(r), 0);
    rig_down(r);
}

/* 4.1.4: no larger than need be, and each structure is inside. */
Test(window, bars_are_as_large_as_what_is_in_them)
{
    static const unsigned queues[] = {1, 2, 15};
    for (unsigned i = 0; i < ARRAY_SIZE(queues); i++) {
        struct rig *r = board_up((struct board_options){.queues = queues[i], .shm = {MIB(2u << i)}},
                                 &(struct rig_options){.transport = RIG_PCI});
        cr_assert_eq(r->pci->bar[2].size, MIB(2u << i));
        for (unsigned type = VIRTIO_PCI_CAP_COMMON_CFG; type <= VIRTIO_PCI_CAP_DEVICE_CFG; type++) {
            const struct rig_cap *c = &r->pci->cap[type];
            cr_assert_leq(c->off + c->len, r->pci->bar[c->bar].size, "structure %u", type);
            cr_assert_eq(rig_pci_get(r, c->at + VIRTIO_PCI_CAP_BAR + 1, 1), 0, "its id");
        }
        rig_down(r);
    }
}

Test(window, reads_as_the_bar_would)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "PCI configuration access capability#03");
    for (unsigned ports = 0; ports < 2; ports++) {
        struct rig *r = up(ports);
        write_data(r, 0x55555555);
        aim(r, VIRTIO_PCI_CAP_DEVICE_CFG, 4, 4);
        cr_assert_eq(look(r), 0xa7a6a5a4);
        aim(r, VIRTIO_PCI_CAP_DEVICE_CFG, 10, 2);
        cr_assert_eq(look(r), 0xa7a6abaa, "the first two bytes are new");
        aim(r, VIRTIO_PCI_CAP_DEVICE_CFG, 31, 1);
        cr_assert_eq(look(r), 0xa7a6abbf);
        cr_assert_eq(rig_pci_get(r, cap(r) + DATA, 1), 0xbf);
        board.config[31] = 1;
        cr_assert_eq(rig_pci_get(r, cap(r) + DATA, 1), 1, "each read reads");
        aim(r, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_STATUS, 1);
        cr_assert_eq(look(r) & 0xff, rig_status(r));
        rig_down(r);
    }
}

Test(window, reads_have_their_effects)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "PCI configuration access capability#03");
    struct rig *r = up(false);
    aim(r, VIRTIO_PCI_CAP_ISR_CFG, 0, 1);
    vdev_config_changed(r->dev);
    cr_assert(rig_pci_get(r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    (void)rig_pci_get(r, cap(r) + VIRTIO_PCI_CAP_LENGTH, 4); /* in front of it: not a read of it */
    cr_assert(rig_pci_get(r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    cr_assert_eq(look(r) & 0xff, 2);
    cr_assert_not(rig_pci_get(r, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
    cr_assert_eq(look(r) & 0xff, 0);
    rig_down(r);
}

static void notify_by_window(struct rig *r, unsigned q)
{
    aim(r, VIRTIO_PCI_CAP_NOTIFY_CFG, r->pci->notify_off[q], 2);
    write_data(r, q);
}

/* No BAR need answer for it. */
Test(window, drives_the_whole_device)
{
    PROVES("Virtio Transport Options / Virtio Over PCI Bus / PCI Device Layout / "
           "PCI configuration access capability#02");
    struct rig *r = up(true);
    rig_pci_put(r, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
    for (unsigned q = 0; q < 2; q++)
        cr_assert(board_serves(r, q, notify_by_window));
    aim(r, VIRTIO_PCI_CAP_COMMON_CFG, VIRTIO_PCI_COMMON_STATUS, 1);
    cr_assert_eq(look(r) & 0xff, 15);
    write_data(r, 0);
    cr_assert_eq(look(r) & 0xff, 0);
    rig_down(r);
}

/* A driver must not; the device survives it, and nothing is written. */
Test(window, aimed_at_nothing)
{
    struct rig *r = up(false);
    unsigned bar = r->pci->cap[VIRTIO_PCI_CAP_COMMON_CFG].bar;
    uint32_t size = (uint32_t)r->pci->bar[bar].size;
    uint32_t config = r->pci->cap[VIRTIO_PCI_CAP_DEVICE_CFG].off;
    struct board before = board;
    const struct {
        unsigned bar;
        uint32_t off, len;
    } bad[] = {{bar, 0, 0},
               {bar, 0, 3},
               {bar, 0, 5},
               {bar, 0, 8},
               {bar, 0, UINT32_MAX},
               {bar, 2, 4},
               {bar, size, 4},
               {bar, size - 2, 4},
               {bar, UINT32_MAX, 1},
               {bar, 0xfffffffc, 4},
               {0, 0, 4},
               {6, 0, 4},
               {0xff, 0, 4},
               {bar, VIRTIO_PCI_COMMON_DF, 4},
               {bar, config, 3},
               {bar, config + 1, 2},
               {bar, config + 2, 4}};
    rig_common_set(r, VIRTIO_PCI_COMMON_DFSELECT, 4, 0x1234);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        aim_at(r, bad[i].bar, bad[i].off, bad[i].len);
        write_data(r, 0);
        (void)look(r);
        cr_assert_eq(rig_common(r, VIRTIO_PCI_COMMON_DFSELECT, 4), 0x1234);
        cr_assert_eq(rig_status(r), 15);
        cr_assert_eq(memcmp(board.config, before.config, sizeof(board.config)), 0);
    }
    cr_assert(board_serves(r, 0, notify_by_window));
    rig_down(r);
}

/* Only these are to be written. */
Test(window, fields_that_are_read_only)
{
    struct rig *r = up(false);
    uint32_t first = rig_pci_get(r, cap(r), 4), second = rig_pci_get(r, cap(r) + 4, 4);
    rig_pci_put(r, cap(r), 4, ~first);
    rig_pci_put(r, cap(r) + 4, 4, ~second);
    cr_assert_eq(rig_pci_get(r, cap(r), 4), first);
    cr_assert_eq(rig_pci_get(r, cap(r) + 4, 4), (second & ~0xffu) | (~second & 0xff));
    rig_down(r);
}
