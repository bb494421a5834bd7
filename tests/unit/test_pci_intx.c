/* tests/unit/test_pci_intx.c - INTx: a level on a line that others share, who may show it and when,
 * and that it comes back for as long as it is there. */
#include "pci_try.h"

enum { CAP = 0x40, BUS_MASTER = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER };

static struct gadget g5, g2; /* slots 1 and 5 share a line */

static void up(void)
{
    pci_up();
    gadget_new(&g1, 1);
    pci_add_msix(g1.f, 0, 1);
    cr_assert_eq(pci_function_start(g1.f), 0);
    gadget_new(&g5, 5);
    cr_assert_eq(pci_function_start(g5.f), 0);
    gadget_new(&g2, 2);
    cr_assert_eq(pci_function_start(g2.f), 0);
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER);
}

static void down(void)
{
    pci_function_free(g1.f);
    pci_function_free(g5.f);
    pci_function_free(g2.f);
    pci_down();
}

TestSuite(intx, .init = up, .fini = down, .timeout = 60);

static void resample(unsigned pin)
{
    uint64_t one = 1;
    cr_assert_eq(write(irqs.resample[pin], &one, sizeof(one)), (ssize_t)sizeof(one));
    loop_settle(loop);
}

static bool status_bit(unsigned slot)
{
    return cfg(slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT;
}

Test(intx, lines_are_by_slot)
{
    cr_expect_eq(irqs.n_pins, 0, "nobody has needed one");
    pci_intx_set(g1.f, true);
    pci_intx_set(g5.f, true);
    cr_expect_eq(irqs.n_pins, 1, "slots 1 and 5 share one");
    pci_intx_set(g5.f, false);
    cr_expect_eq(signals(irqs.trigger[1]), 2);
    pci_intx_set(g2.f, true);
    cr_expect_eq(irqs.n_pins, 2);
    cr_expect_eq(signals(irqs.trigger[2]), 1);
    cr_expect_eq(signals(irqs.trigger[1]), 0);
    cr_expect(status_bit(1) && status_bit(2) && !status_bit(5));
    pci_intx_set(g2.f, false);
    cr_expect_not(status_bit(2));
    cr_expect_eq(cfg(1, PCI_COMMAND, 4), BUS_MASTER | (PCI_STATUS_INTERRUPT | PCI_STATUS_CAP_LIST)
                                                          << 16);
}

Test(intx, a_level_that_stays_comes_back)
{
    pci_intx_set(g1.f, true);
    pci_intx_set(g1.f, true);
    cr_expect_eq(signals(irqs.trigger[1]), 1, "it was high");
    for (unsigned i = 0; i < 3; i++) {
        resample(1);
        cr_expect_eq(signals(irqs.trigger[1]), 1);
    }
    pci_intx_set(g1.f, false);
    resample(1);
    cr_expect_eq(signals(irqs.trigger[1]), 0);
    pci_intx_set(g1.f, true);
    cr_expect_eq(signals(irqs.trigger[1]), 1);
    uint64_t n;
    cr_expect_lt(read(irqs.resample[1], &n, sizeof(n)), 0, "it is read");
}

Test(intx, shared_lines)
{
    pci_intx_set(g1.f, true);
    pci_intx_set(g5.f, true);
    (void)signals(irqs.trigger[1]);
    pci_intx_set(g1.f, false);
    resample(1);
    cr_expect_eq(signals(irqs.trigger[1]), 1, "for the other");
    pci_intx_set(g2.f, true);
    pci_intx_set(g5.f, false);
    resample(1);
    cr_expect_eq(signals(irqs.trigger[1]), 0, "slot 2 has another line");
}

Test(intx, disabled_by_the_command_register)
{
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER | PCI_COMMAND_INTX_DISABLE);
    pci_intx_set(g1.f, true);
    cr_expect_eq(irqs.n_pins, 0);
    cr_expect(status_bit(1), "all the same");
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER);
    cr_expect_eq(signals(irqs.trigger[1]), 1);
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER | PCI_COMMAND_INTX_DISABLE);
    resample(1);
    cr_expect_eq(signals(irqs.trigger[1]), 0);
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER);
    cr_expect_eq(signals(irqs.trigger[1]), 1);
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER);
    cr_expect_eq(signals(irqs.trigger[1]), 0);
}

Test(intx, silent_while_msix_is_enabled)
{
    cfg_put(1, CAP + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
    pci_intx_set(g1.f, true);
    cr_expect_eq(irqs.n_pins, 0);
    cr_expect(status_bit(1));
    cfg_put(1, CAP + PCI_MSIX_FLAGS, 2, 0);
    cr_expect_eq(signals(irqs.trigger[1]), 1);
}

Test(intx, reset_lowers_it)
{
    pci_intx_set(g1.f, true);
    (void)signals(irqs.trigger[1]);
    pci_function_reset(g1.f);
    cr_expect_not(status_bit(1));
    resample(1);
    cr_expect_eq(signals(irqs.trigger[1]), 0);
    pci_intx_set(g1.f, true);
    cr_expect_eq(signals(irqs.trigger[1]), 1);
}

Test(intx, a_line_that_the_host_refuses)
{
    irqs.intx_fails = -EMFILE;
    for (unsigned i = 0; i < 100; i++) {
        pci_intx_set(g1.f, true);
        pci_intx_set(g1.f, false);
    }
    cr_expect_eq(irqs.n_pins, 0);
    pci_intx_set(g1.f, true);
    irqs.intx_fails = 0;
    pci_intx_set(g1.f, true);
    cr_expect_eq(signals(irqs.trigger[1]), 1, "it has one now, and was asserted all the time");
    resample(1);
    cr_expect_eq(signals(irqs.trigger[1]), 1);
}

/* A level and the permission to show it at the same moment: the line is asserted. */
static void raise_level(void)
{
    pci_intx_set(g1.f, true);
}

Test(intx, no_level_is_lost_to_a_permission)
{
    race_start(raise_level);
    for (unsigned i = 0; i < RACES; i++) {
        pci_intx_set(g1.f, false);
        cfg_put(1, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
        race_go();
        race_wait(i % 1024);
        cfg_put(1, PCI_COMMAND, 2, 0);
        race_join();
        cr_assert_geq(signals(irqs.trigger[1]), 1, "in round %u", i);
    }
    race_end();
}
