/* tests/unit/test_pci_irq.c - a PCI function's interrupts: MSI-X with all that masks it, and INTx
 * as a level on a line that others share. */
#include "pci_try.h"

#include "tests/rig/proves.h"
#include <stdio.h>
#include <sys/mman.h>

enum { VECTORS = 70, CAP = 0x40 };
enum { BUS_MASTER = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER };
enum { ENABLE = PCI_MSIX_FLAGS_ENABLE, MASKALL = PCI_MSIX_FLAGS_MASKALL };

static struct gadget g2; /* without MSI-X */

static void control(unsigned flags)
{
    cfg_put(1, CAP + PCI_MSIX_FLAGS, 2, flags);
}

static void up(void)
{
    pci_up();
    gadget_new(&g1, 1);
    pci_add_msix(g1.f, 0, VECTORS);
    cr_assert_eq(pci_function_start(g1.f), 0);
    gadget_new(&g2, 2);
    cr_assert_eq(pci_function_start(g2.f), 0);
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER);
}

static void down(void)
{
    pci_function_free(g1.f);
    pci_function_free(g2.f);
    for (unsigned i = 0; i < irqs.n_msi; i++)
        cr_expect_not(irqs.msi[i].open, "vector %u leaks", i);
    pci_down();
}

TestSuite(msix, .init = up, .fini = down, .timeout = 60);

static uint64_t entry(unsigned v)
{
    return MEM32 + 16 * v;
}

static uint64_t pba(unsigned word)
{
    return get(mmio, MEM32 + 0x1000 + 8 * word, 8);
}

static void mask(unsigned v, bool masked)
{
    put(mmio, entry(v) + 12, 4, masked);
}

static void program(unsigned v, uint64_t address, uint32_t data)
{
    put(mmio, entry(v), 4, (uint32_t)address);
    put(mmio, entry(v) + 4, 4, address >> 32);
    put(mmio, entry(v) + 8, 4, data);
}

/* --- MSI-X --- */

Test(msix, capability)
{
    cr_expect_eq(cfg(1, CAP, 1), PCI_CAP_ID_MSIX);
    cr_expect_eq(cfg(1, CAP + PCI_MSIX_FLAGS, 2), VECTORS - 1);
    cr_expect_eq(cfg(1, CAP + PCI_MSIX_TABLE, 4), 0);
    cr_expect_eq(cfg(1, CAP + PCI_MSIX_PBA, 4), 0x1000);
    cfg_put(1, CAP + PCI_MSIX_FLAGS, 2, 0xffff);
    cr_expect_eq(cfg(1, CAP + PCI_MSIX_FLAGS, 2), 0xc000 | (VECTORS - 1));
    cr_expect_eq(pci_msix_vectors(g1.f), VECTORS);
    cr_expect_eq(pci_msix_vectors(g2.f), 0);
    cr_expect(pci_msix_enabled(g1.f));
    cr_expect_not(pci_msix_enabled(g2.f));
    pci_msix_raise(g2.f, 0);
}

static void bar_holds(unsigned vectors, uint64_t pba_at, uint64_t size)
{
    struct gadget g;
    gadget_new(&g, 7);
    pci_add_msix(g.f, 2, vectors);
    cr_assert_eq(pci_function_start(g.f), 0);
    cr_expect_eq(cfg(7, CAP + PCI_MSIX_TABLE, 4), 2);
    cr_expect_eq(cfg(7, CAP + PCI_MSIX_PBA, 4), pba_at | 2);
    uint64_t at = cfg(7, PCI_BASE_ADDRESS_2, 4);
    cfg_put(7, PCI_BASE_ADDRESS_2, 4, UINT32_MAX);
    cr_expect_eq(cfg(7, PCI_BASE_ADDRESS_2, 4), (uint32_t)-size, "%u vectors", vectors);
    cfg_put(7, PCI_BASE_ADDRESS_2, 4, at);
    cfg_put(7, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    cr_expect_eq(get(mmio, at + 16 * (vectors - 1) + 12, 4), 1, "the last vector is masked");
    cr_expect_eq(get(mmio, at + 16 * vectors + 12, 4), 0, "and behind it nothing is");
    cr_expect_eq(get(mmio, at + size - 8, 8), 0);
    pci_function_free(g.f);
}

Test(msix, table_and_pending_bits_have_room)
{
    bar_holds(1, 0x1000, 0x2000);
    bar_holds(255, 0x1000, 0x2000);
    bar_holds(256, 0x1000, 0x2000);
    bar_holds(257, 0x2000, 0x4000);
    bar_holds(512, 0x2000, 0x4000);
    bar_holds(2048, 0x8000, 0x10000);
}

Test(msix, table_accesses)
{
    cr_expect_eq(get(mmio, entry(3), 8), 0);
    cr_expect_eq(get(mmio, entry(3) + 8, 8), 1ull << 32, "masked at first");
    put(mmio, entry(3), 8, 0x1122334455667788);
    cr_expect_eq(get(mmio, entry(3), 4), 0x55667788);
    cr_expect_eq(get(mmio, entry(3) + 4, 4), 0x11223344);
    put(mmio, entry(3) + 8, 8, UINT64_MAX);
    cr_expect_eq(get(mmio, entry(3) + 8, 8), 0x1ffffffff, "the rest of control is reserved");
    for (unsigned size = 1; size <= 8; size++) {
        for (unsigned off = 0; off < 16; off++) {
            if ((size == 4 || size == 8) && off % size == 0)
                continue;
            put(mmio, entry(3) + off, size, 0);
            cr_expect_eq(get(mmio, entry(3) + off, size), 0, "%u at %u", size, off);
        }
    }
    cr_expect_eq(get(mmio, entry(3), 8), 0x1122334455667788);
    cr_expect_eq(get(mmio, entry(3) + 8, 8), 0x1ffffffff);
    put(mmio, entry(VECTORS), 8, UINT64_MAX);
    cr_expect_eq(get(mmio, entry(VECTORS), 8), 0, "behind the table");
    put(mmio, MEM32 + 0x1000, 8, UINT64_MAX);
    cr_expect_eq(pba(0), 0, "pending bits are not to be written");
    cr_expect_eq(get(mmio, MEM32 + 0x1010, 8), 0, "behind them");
    uint64_t v = 0;
    cr_expect(pci_bar_access(g1.f, 0, 3 * 16, 8, false, &v));
    cr_expect_eq(v, 0x1122334455667788);
}

Test(msix, sends)
{
    program(3, 0xfee01000, 0x41);
    control(ENABLE);
    cr_expect_eq(irqs.n_msi, 0, "nothing is opened before it is needed");
    mask(3, false);
    cr_assert_eq(irqs.n_msi, 1);
    cr_expect_eq(irqs.msi[0].routes, 1);
    cr_expect_eq(irqs.msi[0].address, 0xfee01000);
    cr_expect_eq(irqs.msi[0].data, 0x41);
    cr_expect_eq(signals(irqs.msi[0].fd), 0);
    pci_msix_raise(g1.f, 3);
    pci_msix_raise(g1.f, 3);
    cr_expect_eq(signals(irqs.msi[0].fd), 2);
    pci_msix_raise(g1.f, VECTORS);
    pci_msix_raise(g1.f, UINT32_MAX);
    pci_msix_raise(g1.f, PCI_NO_VECTOR);
    cr_expect_eq(pba(0), 0);
    cr_expect_eq(pba(1), 0);
}

Test(msix, nothing_is_said_while_it_is_disabled)
{
    mask(3, false);
    pci_msix_raise(g1.f, 3);
    cr_expect_eq(pba(0), 0);
    control(ENABLE);
    cr_assert_eq(irqs.n_msi, 1);
    cr_expect_eq(signals(irqs.msi[0].fd), 0);
    mask(3, true);
    pci_msix_raise(g1.f, 3);
    cr_expect_eq(pba(0), 8);
    control(0);
    control(ENABLE);
    mask(3, false);
    cr_expect_eq(signals(irqs.msi[0].fd), 0, "disabling forgets");
}

Test(msix, a_masked_vector_is_pending)
{
    control(ENABLE);
    for (unsigned v = 0; v < VECTORS; v += 69) {
        pci_msix_raise(g1.f, v);
        pci_msix_raise(g1.f, v);
    }
    cr_expect_eq(pba(0), 1);
    cr_expect_eq(pba(1), 1ull << 5);
    cr_expect_eq(get(mmio, MEM32 + 0x1008, 4), 1 << 5);
    cr_expect_eq(get(mmio, MEM32 + 0x100c, 4), 0);
    mask(0, false);
    mask(69, false);
    cr_assert_eq(irqs.n_msi, 2);
    cr_expect_eq(signals(irqs.msi[0].fd), 1, "once, however often it was raised");
    cr_expect_eq(signals(irqs.msi[1].fd), 1);
    cr_expect_eq(pba(0) | pba(1), 0);
    mask(0, true);
    mask(0, false);
    cr_expect_eq(signals(irqs.msi[0].fd), 0);
}

/* Both mask all vectors at once: the function's mask and the want of bus mastering. */
static void all_masked_by(void (*on)(void), void (*off)(void))
{
    mask(1, false);
    mask(2, false);
    control(ENABLE);
    on();
    pci_msix_raise(g1.f, 1);
    pci_msix_raise(g1.f, 4);
    cr_expect_eq(pba(0), 1 << 1 | 1 << 4);
    cr_expect_eq(signals(irqs.msi[0].fd), 0);
    off();
    cr_expect_eq(signals(irqs.msi[0].fd), 1);
    cr_expect_eq(signals(irqs.msi[1].fd), 0);
    cr_expect_eq(pba(0), 1 << 4, "this one is masked by itself");
}

static void function_mask(void)
{
    control(ENABLE | MASKALL);
}

static void function_unmask(void)
{
    control(ENABLE);
}

static void master_off(void)
{
    cfg_put(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
}

static void master_on(void)
{
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER);
}

Test(msix, function_mask)
{
    all_masked_by(function_mask, function_unmask);
}

Test(msix, a_message_needs_bus_mastering)
{
    all_masked_by(master_off, master_on);
}

Test(msix, routes_only_what_changed)
{
    program(3, 0xfee01000, 0x41);
    mask(3, false);
    control(ENABLE);
    for (unsigned i = 0; i < 10; i++) {
        mask(3, true);
        mask(3, false);
        control(ENABLE | MASKALL);
        control(0);
        control(ENABLE);
    }
    cr_expect_eq(irqs.msi[0].routes, 1);
    mask(3, true);
    program(3, 0xfee02000, 0x41);
    program(3, 0xfee02000, 0x42);
    cr_expect_eq(irqs.msi[0].routes, 1, "not while it is masked");
    mask(3, false);
    cr_expect_eq(irqs.msi[0].routes, 2);
    cr_expect_eq(irqs.msi[0].data, 0x42);
    put(mmio, entry(3) + 8, 4, 0x43);
    cr_expect_eq(irqs.msi[0].routes, 3, "an unmasked vector follows at once");
    cr_expect_eq(irqs.msi[0].data, 0x43);
    put(mmio, entry(3) + 4, 4, 7);
    cr_expect_eq(irqs.msi[0].address, 0x7fee02000);
    cr_expect_eq(irqs.n_msi, 1);
}

Test(msix, an_interrupt_that_the_host_refuses)
{
    int log = memfd_create("log", 0), saved = dup(STDERR_FILENO);
    char text[16384] = "";
    fflush(stderr);
    dup2(log, STDERR_FILENO);
    control(ENABLE);
    irqs.open_fails = -EMFILE;
    for (unsigned i = 0; i < 1000; i++) {
        mask(3, false);
        pci_msix_raise(g1.f, 3);
        mask(3, true);
    }
    irqs.open_fails = 0;
    irqs.route_fails = -EINVAL;
    mask(3, false);
    pci_msix_raise(g1.f, 3);
    dup2(saved, STDERR_FILENO);
    cr_assert_gt(pread(log, text, sizeof(text) - 1, 0), 0);
    unsigned lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    cr_expect_eq(lines, LOG_BURST, "%s", text);
    cr_expect(strstr(text, "gadget: MSI-X vector 3 cannot interrupt: Too many open files\n"), "%s",
              text);
    cr_expect_eq(pba(0), 8, "it waits");
    cr_expect_eq(signals(irqs.msi[0].fd), 0);
    irqs.route_fails = 0;
    mask(3, false);
    cr_expect_eq(signals(irqs.msi[0].fd), 1, "and goes when the host is better");
    close(log);
    close(saved);
}

Test(msix, a_route_that_fails_sends_nothing_to_the_old_place)
{
    program(3, 0xfee01000, 0x41);
    control(ENABLE);
    mask(3, false);
    irqs.route_fails = -EINVAL;
    log_set_level(LOG_OFF);
    put(mmio, entry(3) + 8, 4, 0x99);
    pci_msix_raise(g1.f, 3);
    cr_expect_eq(signals(irqs.msi[0].fd), 0);
    put(mmio, entry(3) + 8, 4, 0x41);
    cr_expect_eq(signals(irqs.msi[0].fd), 1, "as it was: no route is needed");
}

Test(msix, reset)
{
    program(3, 0xfee01000, 0x41);
    control(ENABLE);
    mask(3, false);
    pci_msix_raise(g1.f, 4);
    pci_function_reset(g1.f);
    cr_expect_not(pci_msix_enabled(g1.f));
    pci_msix_raise(g1.f, 3);
    cr_expect_eq(signals(irqs.msi[0].fd), 0);
    cfg_put(1, PCI_COMMAND, 2, BUS_MASTER);
    cr_expect_eq(get(mmio, entry(3), 8), 0);
    cr_expect_eq(get(mmio, entry(3) + 8, 8), 1ull << 32);
    cr_expect_eq(pba(0), 0);
    control(ENABLE);
    pci_msix_raise(g1.f, 3);
    cr_expect_eq(pba(0), 8);
    program(3, 0xfee01000, 0x41);
    mask(3, false);
    cr_expect_eq(signals(irqs.msi[0].fd), 1);
    cr_expect_eq(irqs.msi[0].routes, 1, "the route had not changed");
    cr_expect_eq(irqs.n_msi, 1);
}

static int load(struct gadget *g, const struct state_out *s)
{
    struct state_in in = {.buf = s->buf, .len = s->len};
    return pci_function_load(g->f, &in);
}

Test(msix, state)
{
    struct state_out out = {0};
    program(3, 0x1fee01000, 0x41);
    program(69, 0xfee02000, 0x42);
    control(ENABLE);
    mask(3, false);
    pci_msix_raise(g1.f, 69);
    pci_function_save(g1.f, &out);
    pci_function_free(g1.f);

    gadget_new(&g1, 1); /* another machine */
    pci_add_msix(g1.f, 0, VECTORS);
    cr_assert_eq(pci_function_start(g1.f), 0);
    cr_assert_eq(load(&g1, &out), 0);
    cr_assert_eq(irqs.n_msi, 2);
    cr_expect_eq(irqs.msi[1].address, 0x1fee01000);
    cr_expect_eq(irqs.msi[1].data, 0x41);
    pci_msix_raise(g1.f, 3);
    cr_expect_eq(signals(irqs.msi[1].fd), 1);
    cr_expect_eq(pba(1), 1 << 5);
    mask(69, false);
    cr_expect_eq(irqs.msi[2].data, 0x42);
    cr_expect_eq(signals(irqs.msi[2].fd), 1);

    program(3, 0, 0); /* over something else that is enabled */
    cr_assert_eq(load(&g1, &out), 0);
    cr_expect_eq(irqs.msi[1].address, 0x1fee01000);
    cr_expect_eq(get(mmio, entry(69) + 12, 4), 1);
    cr_expect_eq(pba(1), 1 << 5);
    state_out_free(&out);
}

Test(msix, forged_state)
{
    HOLDS_HERE("35d");
    struct state_out out = {0};
    uint8_t config[256];
    for (unsigned i = 0; i < 256; i++)
        config[i] = (uint8_t)cfg(1, i, 1);
    for (unsigned what = 0; what < 4; what++) {
        state_begin(&out, "PCIF", 1);
        state_u8(&out, 1);
        state_u8(&out, 0);
        state_bytes(&out, config, 256);
        state_u32(&out, VECTORS - (what == 1));
        for (unsigned v = 0; v < VECTORS; v++) {
            state_u64(&out, 0x1234);
            state_u64(&out, (what == 2 && v == VECTORS - 1 ? 2ull : 1ull) << 32);
        }
        state_u64(&out, 0);
        state_u64(&out, what == 3 ? 1ull << 6 : 1ull << 5);
        state_end(&out);
        cr_expect_eq(load(&g1, &out), what ? -EBADMSG : 0, "%u", what);
        cr_expect_eq(get(mmio, entry(1), 8), 0x1234);
        state_out_free(&out);
    }
}

/* A raise and an unmask at the same moment, over and over: one message, neither none nor two. */
static void raise_once(void)
{
    pci_msix_raise(g1.f, 3);
}

Test(msix, no_message_is_lost_to_a_mask)
{
    program(3, 0xfee01000, 0x41);
    control(ENABLE);
    mask(3, false);
    race_start(raise_once);
    for (unsigned i = 0; i < RACES; i++) {
        mask(3, true);
        race_go();
        race_wait(i % 1024);
        mask(3, false);
        race_join();
        cr_assert_eq(signals(irqs.msi[0].fd), 1, "in round %u", i);
        cr_assert_eq(pba(0), 0);
    }
    race_end();
}

/* The worst guest: any table entry at any time, with any value. */
Test(msix, sweep)
{
    static const uint64_t values[] = {0, UINT64_MAX, 0xfee00000, 0x100000000};
    log_set_level(LOG_OFF);
    for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
        control(v % 2 ? ENABLE : ENABLE | MASKALL);
        for (unsigned size = 1; size <= 8; size++) {
            for (unsigned off = 0; off < 0x2000 + 8; off++) {
                put(mmio, MEM32 + off, size, values[v]);
                (void)get(mmio, MEM32 + off, size);
            }
        }
        for (unsigned i = 0; i < VECTORS; i++)
            pci_msix_raise(g1.f, i);
    }
    cr_expect_leq(irqs.n_msi, VECTORS);
}
