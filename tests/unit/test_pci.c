/* tests/unit/test_pci.c - the PCI bus as a guest's kernel finds it: configuration by both ways,
 * BARs that are sized and moved, capabilities; and as a guest at its worst treats it. */
#include "pci_try.h"

#include <stdio.h>
#include <sys/mman.h>

TestSuite(pci, .init = pci_up, .fini = pci_down, .timeout = 60);

enum { ADDRESS = 0xcf8, DATA = 0xcfc };

static void select_config(unsigned devfn, unsigned off)
{
    put(pio, ADDRESS, 4, 0x80000000 | devfn << 8 | off);
}

/* --- the bus and its bridge --- */

Test(pci, a_host_bridge_is_all_there_is)
{
    cr_expect_eq(cfg(0, PCI_VENDOR_ID, 4), 0x00081b36);
    cr_expect_eq(cfg(0, PCI_CLASS_REVISION, 4), 0x06000000);
    cr_expect_eq(cfg(0, PCI_HEADER_TYPE, 1), 0);
    cr_expect_eq(cfg(0, PCI_INTERRUPT_PIN, 1), 0);
    cr_expect_eq(irqs.n_pins, 0, "and it interrupts nobody");
    for (unsigned devfn = 1; devfn < 256; devfn++)
        cr_expect_eq(get(mmio, ECAM + devfn * 4096, 4), UINT32_MAX, "%#x", devfn);
    cr_expect_eq(cfg(0, 256, 4), UINT32_MAX, "no extended configuration space");
    cr_expect_eq(cfg(0, 4095, 1), 0xff);
    cr_expect_eq(cfg(1, 0, 1), 0xff);
    cr_expect_eq(cfg(1, 0, 2), 0xffff);
    cr_expect_eq(cfg(1, 0, 8), UINT64_MAX);
}

Test(pci, needs_its_places)
{
    struct pci_bus *second = NULL;
    cr_expect_eq(pci_bus_new(&env, &second), -EBUSY);
    cr_expect_null(second);
    pci_bus_free(NULL);
    pci_function_free(NULL);
    /* What was mapped before the refusal is free again. */
    env.ecam = GPA(0xe8000000);
    cr_expect_eq(pci_bus_new(&env, &second), -EBUSY, "the ports");
    cr_expect_eq(pci_bus_new(&env, &second), -EBUSY, "still the ports, not ECAM");
    const struct region r = {.base = GPA(0xe8000000), .len = 16, .ops = &gadget_bar};
    cr_expect_eq(bus_map(mmio, &r), 0);
}

Test(pci, without_windows)
{
    struct pci_bus *second = NULL;
    struct bus *other = NULL;
    cr_assert_eq(bus_new("other", &other), 0);
    env.pio = env.mmio = other;
    env.io.len = env.mem32.len = env.mem64.len = 0;
    cr_assert_eq(pci_bus_new(&env, &second), 0);
    struct gadget g = {0};
    cr_assert_eq(pci_function_new(second, "g", &gadget_ids, 0, &gadget_ops, &g, &g.f), 0);
    gadget_bar_add(&g, 0, PCI_BAR_MEM32, 16);
    cr_expect_eq(pci_function_start(g.f), -ENOSPC);
    cr_expect_eq(get(other, ECAM + 0x8000, 4), UINT32_MAX, "not on the bus");
    pci_function_free(g.f);
    pci_bus_free(second);
    bus_free(other);
}

/* --- slots --- */

Test(pci, slots)
{
    struct gadget a, b, c;
    struct pci_function *f;
    gadget_new(&a, 0);
    gadget_new(&b, 2);
    gadget_new(&c, 0);
    cr_expect_eq(pci_slot(a.f), 1);
    cr_expect_eq(pci_slot(b.f), 2);
    cr_expect_eq(pci_slot(c.f), 3);
    cr_expect_eq(pci_function_new(pci, "d", &gadget_ids, 2, &gadget_ops, NULL, &f), -EBUSY);
    cr_expect_eq(pci_function_new(pci, "d", &gadget_ids, 32, &gadget_ops, NULL, &f), -EINVAL);
    cr_expect_eq(cfg(1, 0, 4), UINT32_MAX, "before it starts");
    cr_assert_eq(pci_function_start(a.f), 0);
    cr_expect_eq(cfg(1, 0, 4), 0x56781234);
    pci_function_free(a.f);
    cr_expect_eq(cfg(1, 0, 4), UINT32_MAX);
    gadget_new(&a, 0);
    cr_expect_eq(pci_slot(a.f), 1, "free again");

    struct gadget more[PCI_SLOTS];
    for (unsigned i = 4; i < PCI_SLOTS; i++)
        gadget_new(&more[i], i);
    cr_expect_eq(pci_function_new(pci, "d", &gadget_ids, 0, &gadget_ops, NULL, &f), -ENOSPC);
    for (unsigned i = 4; i < PCI_SLOTS; i++)
        pci_function_free(more[i].f);
    pci_function_free(a.f);
    pci_function_free(b.f);
    pci_function_free(c.f);
}

TestSuite(pci_function, .init = with_gadget, .fini = without_gadget, .timeout = 60);

Test(pci_function, header)
{
    cr_expect_eq(cfg(1, PCI_VENDOR_ID, 2), 0x1234);
    cr_expect_eq(cfg(1, PCI_DEVICE_ID, 2), 0x5678);
    cr_expect_eq(cfg(1, PCI_COMMAND, 4), 0, "no decoding, no capabilities");
    cr_expect_eq(cfg(1, PCI_CLASS_REVISION, 4), 0x02030442);
    cr_expect_eq(cfg(1, PCI_SUBSYSTEM_VENDOR_ID, 2), 0x9abc);
    cr_expect_eq(cfg(1, PCI_SUBSYSTEM_ID, 2), 0xdef0);
    cr_expect_eq(cfg(1, PCI_CAPABILITY_LIST, 1), 0);
    cr_expect_eq(cfg(1, PCI_INTERRUPT_PIN, 1), 1);
    cr_expect_eq(cfg(1, PCI_INTERRUPT_LINE, 1), 0xff);
    cfg_put(1, PCI_INTERRUPT_LINE, 2, 0x050b);
    cr_expect_eq(cfg(1, PCI_INTERRUPT_LINE, 2), 0x010b, "the pin is not to be written");
    cr_expect_eq(get(mmio, ECAM + 0x9000, 4), UINT32_MAX, "function 1");
    cfg_put(1, PCI_VENDOR_ID, 4, 0);
    cfg_put(1, PCI_CLASS_REVISION, 4, 0);
    cr_expect_eq(cfg(1, PCI_VENDOR_ID, 4), 0x56781234);
    cr_expect_eq(cfg(1, PCI_CLASS_REVISION, 4), 0x02030442);
}

Test(pci_function, command_has_four_bits)
{
    cfg_put(1, PCI_COMMAND, 4, UINT32_MAX);
    cr_expect_eq(cfg(1, PCI_COMMAND, 4), 0x0407);
    cfg_put(1, PCI_COMMAND + 1, 1, 0);
    cr_expect_eq(cfg(1, PCI_COMMAND, 2), 7, "one byte at a time");
}

/* --- the ports --- */

Test(pci_function, by_ports_with_byte_enables)
{
    select_config(1 << 3, PCI_VENDOR_ID);
    cr_expect_eq(get(pio, ADDRESS, 4), 0x80000800);
    cr_expect_eq(get(pio, DATA, 4), 0x56781234);
    cr_expect_eq(get(pio, DATA, 2), 0x1234);
    cr_expect_eq(get(pio, DATA + 2, 2), 0x5678);
    cr_expect_eq(get(pio, DATA + 1, 1), 0x12);
    cr_expect_eq(get(pio, DATA + 3, 1), 0x56);
    select_config(1 << 3, PCI_INTERRUPT_LINE);
    put(pio, DATA + 1, 1, 9);
    cr_expect_eq(get(pio, DATA, 2), 0x01ff);
    put(pio, DATA, 1, 9);
    cr_expect_eq(cfg(1, PCI_INTERRUPT_LINE, 2), 0x0109, "both ways are to one place");
    select_config(1 << 3, PCI_COMMAND);
    put(pio, DATA + 1, 1, 0xff);
    cr_expect_eq(cfg(1, PCI_COMMAND, 2), 0x0400);
}

Test(pci_function, the_address_register)
{
    cr_expect_eq(get(pio, ADDRESS, 4), 0);
    cr_expect_eq(get(pio, DATA, 4), UINT32_MAX, "not enabled");
    put(pio, ADDRESS, 4, UINT32_MAX);
    cr_expect_eq(get(pio, ADDRESS, 4), 0x80fffffc);
    select_config(1 << 3, 0);
    put(pio, ADDRESS, 1, 0);
    put(pio, ADDRESS + 1, 1, 6);
    put(pio, ADDRESS, 2, 0);
    put(pio, ADDRESS, 8, 0);
    cr_expect_eq(get(pio, ADDRESS, 4), 0x80000800, "only in 32 bits");
    cr_expect_eq(get(pio, ADDRESS + 1, 1), 0xff);
    cr_expect_eq(get(pio, ADDRESS, 2), 0xffff);
    put(pio, ADDRESS, 4, 0x800);
    cr_expect_eq(get(pio, DATA, 4), UINT32_MAX, "not enabled");
    put(pio, DATA, 4, 0);
    put(pio, ADDRESS, 4, 0x80010800);
    cr_expect_eq(get(pio, DATA, 4), UINT32_MAX, "bus 1");
    put(pio, ADDRESS, 4, 0x80000900);
    cr_expect_eq(get(pio, DATA, 4), UINT32_MAX, "function 1");
    put(pio, ADDRESS, 4, 0x80001000);
    cr_expect_eq(get(pio, DATA, 2), 0xffff, "slot 2");
    pci_bus_reset(pci);
    cr_expect_eq(get(pio, ADDRESS, 4), 0);
}

/* --- capabilities and hooks --- */

Test(pci, capabilities_are_a_list)
{
    struct gadget g;
    static const uint8_t body[] = {1, 2, 3, 4, 5}, mask[] = {0, 0xff, 0x0f, 0, 0};
    gadget_new(&g, 1);
    unsigned a = pci_add_capability(g.f, PCI_CAP_ID_VNDR, body, sizeof(body), mask);
    unsigned b = pci_add_capability(g.f, PCI_CAP_ID_PM, body, 2, NULL);
    cr_assert_eq(pci_function_start(g.f), 0);
    cr_expect_eq(a, 0x40);
    cr_expect_eq(b, 0x48, "aligned to 4");
    cr_expect(cfg(1, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
    cr_expect_eq(cfg(1, PCI_CAPABILITY_LIST, 1), a);
    cr_expect_eq(cfg(1, a, 4), (PCI_CAP_ID_VNDR | b << 8 | 0x02010000));
    cr_expect_eq(cfg(1, b, 4), (PCI_CAP_ID_PM | 0x02010000));
    for (unsigned i = 0; i < 256; i += 4)
        cfg_put(1, i, 4, UINT32_MAX);
    cr_expect_eq(cfg(1, PCI_CAPABILITY_LIST, 1), a);
    cr_expect_eq(cfg(1, a, 8), (uint64_t)0x05040fff01 << 16 | PCI_CAP_ID_VNDR | b << 8);
    cr_expect_eq(cfg(1, b, 8), (PCI_CAP_ID_PM | 0x02010000));
    pci_function_reset(g.f);
    cr_expect_eq(cfg(1, a, 8), (uint64_t)0x0504030201 << 16 | PCI_CAP_ID_VNDR | b << 8);
    pci_function_free(g.f);
}

Test(pci, hooks_see_their_bytes)
{
    struct gadget g;
    static const uint8_t body[8] = {0}, mask[8] = {0, 0, 0xff, 0xff, 0, 0, 0, 0};
    gadget_new(&g, 1);
    unsigned at = pci_add_capability(g.f, PCI_CAP_ID_VNDR, body, sizeof(body), mask) + 4;
    pci_hook(g.f, at, 4);
    cr_assert_eq(pci_function_start(g.f), 0);
    (void)cfg(1, at - 1, 1);
    (void)cfg(1, at + 4, 4);
    (void)cfg(1, 0, 4);
    cr_expect_eq(g.n_hook_reads, 0, "not its bytes");
    cr_expect_eq(cfg(1, at, 4), 0x7700);
    cr_expect(g.n_hook_reads == 1 && g.hook_off == 0 && g.hook_size == 4);
    cfg_put(1, at - 4, 8, 0xa5a5a5a500000000);
    cr_expect(g.n_hook_writes == 1 && g.hook_off == 0 && g.hook_size == 4,
              "its part of the access");
    cr_expect_eq(g.hook_saw, 0xa5, "after the write");
    (void)cfg(1, at + 3, 4);
    cr_expect(g.n_hook_reads == 2 && g.hook_off == 3 && g.hook_size == 1);
    pci_function_free(g.f);
}

/* --- state --- */

static int reload(struct gadget *to, const struct state_out *s)
{
    struct state_in in = {.buf = s->buf, .len = s->len};
    return pci_function_load(to->f, &in);
}

Test(pci_function, state_comes_back)
{
    struct state_out out = {0};
    decode(7);
    bar_put(1, MEM32 + MIB(5));
    cfg_put(1, PCI_INTERRUPT_LINE, 1, 3);
    pci_intx_set(g1.f, true);
    pci_function_save(g1.f, &out);
    cr_assert_eq(out.error, 0);
    pci_function_reset(g1.f);
    cr_expect_eq(signals(irqs.trigger[1]), 1);
    g1.n_moves = 0;

    cr_assert_eq(reload(&g1, &out), 0);
    cr_expect_eq(g1.n_moves, 4);
    cr_expect(g1.moves[1].on && g1.moves[1].bar == 1 && g1.moves[1].at == MEM32 + MIB(5));
    cr_expect_eq(bar(1), MEM32 + MIB(5));
    cr_expect_eq(cfg(1, PCI_COMMAND, 4), 7 | PCI_STATUS_INTERRUPT << 16);
    cr_expect_eq(cfg(1, PCI_INTERRUPT_LINE, 1), 3);
    cr_expect_eq(signals(irqs.trigger[1]), 1, "the level is asserted again");
    cr_assert_eq(reload(&g1, &out), 0);
    cr_expect_eq(g1.n_moves, 4, "nothing moved");
    cr_expect_eq(signals(irqs.trigger[1]), 1, "also where it was high already");
    state_out_free(&out);
}

static void state_section(struct state_out *s, uint8_t slot, uint8_t level, const uint8_t *config,
                          size_t len, uint32_t vectors)
{
    state_begin(s, "PCIF", 1);
    state_u8(s, slot);
    state_u8(s, level);
    state_bytes(s, config, len);
    state_u32(s, vectors);
    state_end(s);
}

Test(pci_function, forged_state_changes_nothing)
{
    uint8_t good[256];
    for (unsigned i = 0; i < 256; i++)
        good[i] = (uint8_t)cfg(1, i, 1);
    good[PCI_COMMAND] = 7;
    decode(2);
    g1.n_moves = 0;
    for (unsigned i = 0; i < 256 + 4; i++) {
        uint8_t bad[256];
        struct state_out out = {0};
        memcpy(bad, good, 256);
        bool writable = i == PCI_INTERRUPT_LINE || i == PCI_COMMAND || i == PCI_COMMAND + 1 ||
                        (i >= PCI_BASE_ADDRESS_0 && i < PCI_BASE_ADDRESS_0 + 24);
        if (writable)
            continue;
        if (i < 256)
            bad[i] ^= 0x80;
        state_section(&out, i == 256 ? 2 : 1, i == 257 ? 2 : 0, bad, i == 258 ? 255 : 256,
                      i == 259);
        cr_expect_eq(reload(&g1, &out), -EBADMSG, "%u", i);
        state_out_free(&out);
    }
    cr_expect_eq(g1.n_moves, 0);
    cr_expect_eq(cfg(1, PCI_COMMAND, 2), 2);
    struct state_out out = {0};
    state_section(&out, 1, 0, good, 256, 0);
    cr_expect_eq(reload(&g1, &out), 0, "but for that");
    for (size_t len = 0; len < out.len; len++) {
        struct state_in in = {.buf = out.buf, .len = len};
        cr_expect_eq(pci_function_load(g1.f, &in), -EBADMSG, "cut at %zu", len);
    }
    state_out_free(&out);
}

Test(pci, state_of_the_bus)
{
    struct state_out out = {0};
    select_config(3 << 3, 0x10);
    cfg_put(0, PCI_INTERRUPT_LINE, 1, 5);
    pci_bus_save(pci, &out);
    pci_bus_reset(pci);
    cr_expect_eq(cfg(0, PCI_INTERRUPT_LINE, 1), 0xff);
    struct state_in in = {.buf = out.buf, .len = out.len};
    cr_assert_eq(pci_bus_load(pci, &in), 0);
    cr_expect_eq(get(pio, ADDRESS, 4), 0x80001810);
    cr_expect_eq(cfg(0, PCI_INTERRUPT_LINE, 1), 5);

    struct state_out bad = {0};
    state_begin(&bad, "PCIB", 1);
    state_u32(&bad, 1);
    state_end(&bad);
    in = (struct state_in){.buf = bad.buf, .len = bad.len};
    cr_expect_eq(pci_bus_load(pci, &in), -EBADMSG);
    cr_expect_eq(get(pio, ADDRESS, 4), 0x80001810);
    state_out_free(&out);
    state_out_free(&bad);
}

/* --- at its worst --- */

/* Every offset of every place, all sizes, several values: nothing breaks, and the identity stays.
 */
Test(pci_function, sweep)
{
    static const uint64_t values[] = {0, UINT64_MAX, 0xfffffffff000, 0xc0000004, 0x407040704070407};
    log_set_level(LOG_OFF);
    for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
        for (unsigned size = 1; size <= 8; size++) {
            for (unsigned off = 0; off < 0x110; off++) {
                cfg_put(1, off, size, values[v]);
                (void)cfg(1, off, size);
                cfg_put(0, off, size, values[v]);
                (void)get(mmio, ECAM + 0x10000 - off, size);
                put(mmio, ECAM + 0x10000 - off, size, values[v]);
            }
            for (unsigned port = 0xcf8; port < 0xd00; port++) {
                put(pio, port, size, values[v]);
                (void)get(pio, port, size);
            }
            for (unsigned at = 0; at < 0x1008; at++) {
                put(mmio, MEM32 + at, size, values[v]);
                (void)get(mmio, MEM64 + at, size);
                (void)get(pio, IO + at, size);
            }
        }
    }
    cr_expect_eq(cfg(1, PCI_VENDOR_ID, 4), 0x56781234);
    pci_function_reset(g1.f);
    cr_expect_eq(bar(1), MEM32);
}

Test(pci_function, what_nobody_answers_is_logged_with_a_limit)
{
    int log = memfd_create("log", 0), saved = dup(STDERR_FILENO);
    char text[8192] = "";
    log_set_level(LOG_INFO);
    fflush(stderr);
    dup2(log, STDERR_FILENO);
    for (unsigned i = 0; i < 1000; i++) {
        (void)get(mmio, MEM32 + 0x123, 2);
        put(pio, IO + 0x345, 1, 0);
    }
    dup2(saved, STDERR_FILENO);
    cr_assert_gt(pread(log, text, sizeof(text) - 1, 0), 0);
    unsigned lines = 0;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    cr_expect_eq(lines, LOG_BURST, "%s", text);
    cr_expect(strstr(text, "PCI: no BAR answers a 2-byte read at 0xc0000123\n"), "%s", text);
    cr_expect(strstr(text, "PCI: no BAR answers a 1-byte write at port 0x1345\n"), "%s", text);
    close(log);
    close(saved);
}
