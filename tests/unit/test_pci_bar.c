/* tests/unit/test_pci_bar.c - BARs: their first addresses, sizing, decoding, and moving about, also
 * to where they must not answer. */
#include "pci_try.h"

TestSuite(pci_bar, .init = with_gadget, .fini = without_gadget, .timeout = 60);
TestSuite(pci_bar_alone, .init = pci_up, .fini = pci_down, .timeout = 60);

Test(pci_bar, first_addresses)
{
    cr_expect_eq(bar(0), IO | 1);
    cr_expect_eq(bar(1), MEM32);
    cr_expect_eq(bar(2), (uint32_t)MEM64 | 4);
    cr_expect_eq(bar(3), MEM64 >> 32);
    cr_expect_eq(bar(4), 0xc, "8 GiB are aligned to 8 GiB");
    cr_expect_eq(bar(5), 6);
    struct gadget h;
    gadget_new(&h, 2);
    gadget_bar_add(&h, 0, PCI_BAR_IO, 256);
    gadget_bar_add(&h, 1, PCI_BAR_MEM64, 0x4000);
    gadget_bar_add(&h, 3, PCI_BAR_MEM32, 0x10000);
    gadget_bar_add(&h, 4, PCI_BAR_MEM32, 16);
    cr_assert_eq(pci_function_start(h.f), 0);
    cr_expect_eq(cfg(2, PCI_BASE_ADDRESS_0, 4), (IO + 0x100) | 1);
    cr_expect_eq(cfg(2, PCI_BASE_ADDRESS_1, 8), (MEM64 + MIB(2)) | 4);
    cr_expect_eq(cfg(2, PCI_BASE_ADDRESS_3, 4), MEM32 + 0x10000);
    cr_expect_eq(cfg(2, PCI_BASE_ADDRESS_4, 4), MEM32 + 0x1000, "a gap is used");
    pci_function_free(h.f);
}

Test(pci_bar, a_window_that_is_full)
{
    struct gadget h;
    gadget_new(&h, 2);
    gadget_bar_add(&h, 0, PCI_BAR_MEM64, GIB(8));
    cr_expect_eq(pci_function_start(h.f), -ENOSPC, "16 GiB, and the first 8 are not all free");
    cr_expect_eq(cfg(2, 0, 4), UINT32_MAX);
    pci_function_free(h.f);
}

Test(pci_bar_alone, wide_bars_where_there_is_no_high_window)
{
    struct gadget h;
    pci_bus_free(pci);
    env.mem64.len = 0;
    cr_assert_eq(pci_bus_new(&env, &pci), 0);
    gadget_new(&h, 1);
    gadget_bar_add(&h, 2, PCI_BAR_MEM64, MIB(1));
    cr_assert_eq(pci_function_start(h.f), 0);
    cr_expect_eq(cfg(1, PCI_BASE_ADDRESS_2, 8), MEM32 | 4);
    cfg_put(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    cr_expect_eq(get(mmio, MEM32, 1), 0);
    cr_expect_eq(h.n_reads, 1);
    pci_function_free(h.f);
}

Test(pci_bar, sizing)
{
    for (unsigned i = 0; i < 6; i++)
        bar_put(i, UINT32_MAX);
    cr_expect_eq(bar(0), 0xffffffc1);
    cr_expect_eq(bar(1), 0xfffff000);
    cr_expect_eq(bar(2), 0xffe00004);
    cr_expect_eq(bar(3), 0xffffffff);
    cr_expect_eq(bar(4), 0x0000000c, "8 GiB, prefetchable");
    cr_expect_eq(bar(5), 0xfffffffe);
    cfg_put(1, PCI_ROM_ADDRESS, 4, UINT32_MAX);
    cr_expect_eq(cfg(1, PCI_ROM_ADDRESS, 4), 0, "no ROM");
    for (unsigned i = 0; i < 6; i++)
        bar_put(i, 0);
    cr_expect_eq(bar(0), 1);
    cr_expect_eq(bar(4), 0xc);
    cr_expect_eq(g1.n_moves, 0, "nothing is decoded");
}

Test(pci_bar, sizing_of_what_is_decoded)
{
    decode(PCI_COMMAND_MEMORY);
    g1.n_moves = 0;
    bar_put(1, UINT32_MAX);
    cr_expect_eq(get(mmio, MEM32, 4), UINT32_MAX);
    bar_put(1, MEM32);
    cr_expect_eq(get(mmio, MEM32, 4), 0);
    cr_assert_eq(g1.n_moves, 2);
    cr_expect(!g1.moves[0].on && g1.moves[0].bar == 1 && g1.moves[0].at == MEM32);
    cr_expect(g1.moves[1].on && g1.moves[1].bar == 1 && g1.moves[1].at == MEM32);
}

Test(pci_bar, accesses_arrive_as_they_are)
{
    decode(PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    for (unsigned size = 1; size <= 8; size++) {
        put(mmio, MEM32 + 0x123, size, 0x1122334455667788);
        cr_expect_eq(g1.off, 0x123);
        cr_expect_eq(g1.size, size);
        uint64_t ones = UINT64_MAX >> (64 - 8 * size);
        cr_expect_eq(get(mmio, MEM32 + 0x123, size), 0x1122334455667788 & ones);
    }
    put(pio, IO + 60, 4, 0xdeadbeef);
    cr_expect_eq(g1.off, 60);
    cr_expect_eq(get(pio, IO + 60, 4), 0xdeadbeef);
    cr_expect_eq(get(mmio, MEM64 + MIB(2) - 4, 4), 0xdeadbeef, "the same 64 bytes");
    cr_expect_eq(g1.off, MIB(2) - 4);

    unsigned before = g1.n_reads;
    cr_expect_eq(get(pio, IO + 62, 4), UINT32_MAX, "it would leave the BAR");
    cr_expect_eq(get(pio, IO + 64, 1), 0xff);
    cr_expect_eq(get(mmio, MEM32 + 0xffc, 8), UINT64_MAX);
    cr_expect_eq(get(mmio, MEM64 + GIB(4), 4), UINT32_MAX, "a BAR that its owner maps");
    put(mmio, MEM32 + 0xffc, 8, 0);
    cr_expect_eq(g1.n_reads, before);
}

Test(pci_bar, decoding_is_by_space)
{
    cr_expect_eq(get(mmio, MEM32, 1), 0xff);
    cr_expect_eq(get(pio, IO, 1), 0xff);
    decode(PCI_COMMAND_IO);
    cr_expect_eq(get(mmio, MEM32, 1), 0xff);
    cr_expect_eq(get(pio, IO, 1), 0);
    cr_expect_eq(g1.n_moves, 1);
    cr_expect(g1.moves[0].on && g1.moves[0].bar == 0 && g1.moves[0].at == IO);
    decode(PCI_COMMAND_MEMORY);
    cr_expect_eq(get(pio, IO, 1), 0xff);
    cr_expect_eq(get(mmio, MEM32, 1), 0);
    cr_expect_eq(get(mmio, MEM64, 1), 0);
    cr_expect_eq(g1.n_moves, 5);
    cr_expect(!g1.moves[1].on && g1.moves[1].bar == 0);
    cr_expect(g1.moves[4].on && g1.moves[4].bar == 4 && g1.moves[4].at == GIB(24));
    decode(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    cr_expect_eq(g1.n_moves, 5, "nothing moved");
    decode(0);
    cr_expect_eq(g1.n_moves, 8);
}

Test(pci_bar, moving)
{
    decode(PCI_COMMAND_MEMORY);
    g1.n_moves = 0;
    bar_put(1, MEM32 + MIB(5));
    cr_assert_eq(g1.n_moves, 2);
    cr_expect(!g1.moves[0].on && g1.moves[0].at == MEM32);
    cr_expect(g1.moves[1].on && g1.moves[1].at == MEM32 + MIB(5));
    cr_expect_eq(get(mmio, MEM32, 1), 0xff);
    cr_expect_eq(get(mmio, MEM32 + MIB(5), 1), 0);
    bar_put(1, MEM32 + MIB(5));
    cr_expect_eq(g1.n_moves, 2, "nothing moved");

    /* 64 bits in two halves: each is an address of its own, in a window or not. */
    g1.n_moves = 0;
    bar_put(2, MIB(64));
    cr_assert_eq(g1.n_moves, 2);
    cr_expect(g1.moves[1].on && g1.moves[1].at == MEM64 + MIB(64));
    bar_put(3, 1);
    cr_expect_eq(g1.n_moves, 3, "4 GiB + 64 MiB is in no window");
    cr_expect_eq(get(mmio, MEM64 + MIB(64), 1), 0xff);
    bar_put(3, 0);
    bar_put(2, MEM32 + MIB(128));
    cr_expect_eq(g1.n_moves, 4);
    cr_expect_eq(get(mmio, MEM32 + MIB(128), 1), 0, "but it may be below 4 GiB");
}

Test(pci_bar, outside_of_the_window)
{
    decode(PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    static const uint32_t nowhere[] = {0,          0x1000,     ECAM,      MEM32 - 0x1000,
                                       0xd0000000, 0xfffff000, 0xfee00000};
    for (unsigned i = 0; i < ARRAY_SIZE(nowhere); i++) {
        bar_put(1, MEM32);
        g1.n_moves = 0;
        bar_put(1, nowhere[i]);
        cr_expect_eq(g1.n_moves, 1, "%#x", nowhere[i]);
        cr_expect_eq(get(mmio, MEM32, 1), 0xff);
    }
    cr_expect_eq(cfg(1, 0, 4), 0x56781234, "ECAM is still there");
    bar_put(0, 0xcf8 & ~63u);
    cr_expect_eq(get(pio, 0xcf8, 4), 0, "and the ports");
    bar_put(0, 0x11000);
    cr_expect_eq(get(pio, IO, 1), 0xff, "ports have 16 bits");
    cfg_put(1, PCI_BASE_ADDRESS_2, 8, 0xfffffffff000);
    cfg_put(1, PCI_BASE_ADDRESS_2, 8, UINT64_MAX);
    cr_expect_eq(get(mmio, MEM64, 1), 0xff);
    bar_put(1, MEM32 + 0xffff000);
    cr_expect_eq(get(mmio, MEM32 + 0xfffffff, 1), 0, "the last page of the window");
}

Test(pci_bar, two_in_one_place)
{
    struct gadget h;
    gadget_new(&h, 2);
    gadget_bar_add(&h, 0, PCI_BAR_MEM32, 0x2000);
    cr_assert_eq(pci_function_start(h.f), 0);
    decode(PCI_COMMAND_MEMORY);
    cfg_put(2, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    cfg_put(2, PCI_BASE_ADDRESS_0, 4, MEM32);
    g1.mem[0] = 1;
    h.mem[0] = 2;
    cr_expect_eq(get(mmio, MEM32, 1), 1, "the first one wins");
    cr_expect_eq(get(mmio, MEM32 + 0x1000, 1), 2);
    decode(0);
    cr_expect_eq(get(mmio, MEM32, 1), 2);
    pci_function_free(h.f);
}

Test(pci_bar, reset)
{
    decode(7);
    bar_put(1, MEM32 + MIB(5));
    bar_put(3, 0x77);
    cfg_put(1, PCI_INTERRUPT_LINE, 1, 3);
    pci_intx_set(g1.f, true);
    g1.n_moves = 0;
    pci_function_reset(g1.f);
    cr_expect_eq(cfg(1, PCI_COMMAND, 4), 0);
    cr_expect_eq(cfg(1, PCI_INTERRUPT_LINE, 1), 0xff);
    cr_expect_eq(bar(1), MEM32);
    cr_expect_eq(bar(3), MEM64 >> 32);
    cr_expect_eq(g1.n_moves, 3, "I/O, BAR 1 and BAR 4 are off; BAR 2 was already");
    for (unsigned i = 0; i < 3; i++)
        cr_expect_not(g1.moves[i].on);
}

Test(pci_bar, bar_access_by_the_function)
{
    uint64_t v = 0x1234;
    cr_expect(pci_bar_access(g1.f, 1, 8, 2, true, &v), "decoded or not");
    cr_expect_eq(g1.off, 8);
    v = 0;
    cr_expect(pci_bar_access(g1.f, 0, 8, 4, false, &v));
    cr_expect_eq(v, 0x1234);
    static const struct {
        unsigned bar;
        uint64_t off;
        unsigned size;
    } bad[] = {{0, 64, 1},         {0, 61, 4},     {0, 0, 0},          {0, 0, 9},
               {3, 0, 1},          {4, 0, 1},      {5, 0, 1},          {6, 0, 1},
               {UINT32_MAX, 0, 1}, {1, 0x1000, 1}, {1, UINT64_MAX, 1}, {1, UINT64_MAX - 3, 8}};
    unsigned calls = g1.n_reads + g1.n_writes;
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        v = 1;
        cr_expect_not(pci_bar_access(g1.f, bad[i].bar, bad[i].off, bad[i].size, i % 2, &v));
        cr_expect_eq(v, 0, "%u", i);
    }
    cr_expect_eq(g1.n_reads + g1.n_writes, calls);
}

Test(pci_bar_alone, a_window_that_ends_within_a_bar)
{
    struct gadget g, h;
    pci_bus_free(pci);
    env.mem32.len = 0x1800;
    cr_assert_eq(pci_bus_new(&env, &pci), 0);
    gadget_new(&g, 1);
    gadget_bar_add(&g, 0, PCI_BAR_MEM32, 0x1000);
    cr_assert_eq(pci_function_start(g.f), 0);
    gadget_new(&h, 2);
    gadget_bar_add(&h, 0, PCI_BAR_MEM32, 0x1000);
    cr_expect_eq(pci_function_start(h.f), -ENOSPC);
    cfg_put(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    cr_expect_eq(g.n_moves, 1);
    cfg_put(1, PCI_BASE_ADDRESS_0, 4, MEM32 + 0x1000);
    cr_expect_eq(g.n_moves, 2, "off, and not on again");
    cr_expect_eq(get(mmio, MEM32 + 0x1000, 1), 0xff);
    pci_function_free(g.f);
    pci_function_free(h.f);
}
