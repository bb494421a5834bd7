/* tests/unit/test_i6300esb.c - the watchdog's registers, driven as a driver does and as one should
 * not; time is what the test says. */
#include "base/state.h"
#include "tests/unit/pci_try.h"
#include "transport/pci/i6300esb.h"

enum { CONFIG = 0x60, LOCK = 0x68, LOCKED = 1, ENABLE = 2, FREE_RUN = 4, FAST = 4, OFF = 0x20 };
enum { P1 = 0, P2 = 4, INTERRUPT = 8, RELOAD = 12, NOW = 0x100, BITTEN = 0x200 };

static struct i6300esb *dog;
static struct loop_timer *timer;
static uint64_t ns; /* that it was set to last; 0: stopped */
static unsigned bites;

void __wrap_loop_timer_set(struct loop_timer *t, uint64_t n);
void __wrap_loop_timer_set(struct loop_timer *t, uint64_t n)
{
    timer = t;
    ns = n;
}

static void bite(void *ctx)
{
    cr_assert_eq(ctx, (void *)&bites);
    bites++;
}

static void run_out(void)
{
    loop_settle(loop);
    cr_assert_neq(ns, 0, "it does not run");
    ns = 0;
    timer->fn(timer->ctx);
    loop_settle(loop);
}

static void setup(void)
{
    pci_up();
    cr_assert_eq(i6300esb_new(pci, loop, bite, &bites, &dog), 0);
    decode(PCI_COMMAND_MEMORY);
}

static void teardown(void)
{
    i6300esb_free(dog);
    pci_down();
}

TestSuite(i6300esb, .init = setup, .fini = teardown);

static uint64_t reg(unsigned off, unsigned size)
{
    return get(mmio, (bar(0) & ~15ull) + off, size);
}

static void reg_put(unsigned off, unsigned size, uint64_t v)
{
    put(mmio, (bar(0) & ~15ull) + off, size, v);
}

static void unlocked_put(unsigned off, unsigned size, uint64_t v)
{
    reg_put(RELOAD, 2, 0x80);
    reg_put(RELOAD, 2, 0x86);
    reg_put(off, size, v);
}

static uint64_t ticks(uint64_t n, unsigned shift)
{
    return (n << shift) * 1000000000 / 33000000;
}

static void expect_timer(uint64_t want)
{
    loop_settle(loop);
    cr_expect_eq(ns, want, "%llu", (unsigned long long)ns);
}

Test(i6300esb, is_found)
{
    cr_expect_eq(cfg(1, 0, 4), 0x25ab8086);
    cr_expect_eq(cfg(1, PCI_CLASS_REVISION, 4) >> 8, 0x088000);
    cr_expect_eq(cfg(1, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
    cr_expect_eq(cfg(1, CONFIG, 2), 0);
    cr_expect_eq(cfg(1, LOCK, 1), 0);
    bar_put(0, 0xffffffff);
    cr_expect_eq(bar(0), 0xfffffff0);
}

Test(i6300esb, bites_after_both_stages)
{
    unlocked_put(P1, 4, 1000);
    unlocked_put(P2, 4, 500);
    expect_timer(0);
    cfg_put(1, LOCK, 1, ENABLE);
    expect_timer(ticks(1000, 15));
    run_out();
    cr_expect_eq(bites, 0);
    cr_expect_eq(reg(INTERRUPT, 4), 1);
    expect_timer(ticks(500, 15));
    run_out();
    cr_expect_eq(bites, 1);
    cr_expect_eq(reg(RELOAD, 2), BITTEN);
    expect_timer(0);
}

Test(i6300esb, is_fed)
{
    unlocked_put(P1, 4, 7);
    cfg_put(1, LOCK, 1, ENABLE);
    run_out();
    cfg_put(1, LOCK, 1, ENABLE); /* it is on already */
    cfg_put(1, CONFIG, 2, 0);
    expect_timer(ticks(0xfffff, 15));
    unlocked_put(RELOAD, 2, NOW);
    expect_timer(ticks(7, 15));
    run_out();
    cr_expect_eq(bites, 0, "that was the first stage again");
}

Test(i6300esb, nothing_runs_out_while_it_is_paused)
{
    unlocked_put(P1, 4, 7);
    unlocked_put(P2, 4, 9);
    cfg_put(1, LOCK, 1, ENABLE);
    run_out();
    expect_timer(ticks(9, 15));
    i6300esb_pause(dog);
    expect_timer(0);
    unlocked_put(RELOAD, 2, NOW);
    expect_timer(0);
    i6300esb_resume(dog);
    expect_timer(ticks(7, 15));
    i6300esb_pause(dog);
    i6300esb_reset(dog);
    i6300esb_resume(dog);
    expect_timer(0);
    cr_expect_eq(bites, 0);
}

Test(i6300esb, counts_fast_when_told)
{
    cfg_put(1, CONFIG, 2, FAST);
    unlocked_put(P1, 4, 33000);
    cfg_put(1, LOCK, 1, ENABLE);
    expect_timer(ticks(33000, 5));
}

Test(i6300esb, a_stage_has_a_slow_tick_at_least)
{
    unlocked_put(P1, 4, 0);
    cfg_put(1, CONFIG, 2, FAST);
    cfg_put(1, LOCK, 1, ENABLE);
    expect_timer(ticks(1, 15));
}

Test(i6300esb, no_ticks_are_one)
{
    unlocked_put(P1, 4, 0);
    cfg_put(1, LOCK, 1, ENABLE);
    expect_timer(ticks(1, 15));
}

Test(i6300esb, writes_want_their_two_keys)
{
    reg_put(P1, 4, 5);
    cr_expect_eq(reg(P1, 4), 0xfffff);
    reg_put(RELOAD, 2, 0x86);
    reg_put(P1, 4, 5);
    cr_expect_eq(reg(P1, 4), 0xfffff);
    reg_put(RELOAD, 2, 0x80);
    reg_put(P2, 4, 5); /* ends it */
    reg_put(RELOAD, 2, 0x86);
    reg_put(P1, 4, 5);
    cr_expect_eq(reg(P1, 4), 0xfffff);
    unlocked_put(P1, 4, 0xabcde123);
    cr_expect_eq(reg(P1, 4), 0xde123, "20 bits");
    reg_put(P1, 4, 6);
    cr_expect_eq(reg(P1, 4), 0xde123, "the keys are good for one");
}

Test(i6300esb, stops_unless_it_is_locked)
{
    cfg_put(1, LOCK, 1, ENABLE);
    expect_timer(ticks(0xfffff, 15));
    cfg_put(1, LOCK, 1, 0);
    expect_timer(0);
    unlocked_put(RELOAD, 2, NOW);
    expect_timer(0);
    cfg_put(1, LOCK, 1, ENABLE | LOCKED);
    cfg_put(1, LOCK, 1, 0);
    cr_expect_eq(cfg(1, LOCK, 1), ENABLE | LOCKED);
    expect_timer(ticks(0xfffff, 15));
}

Test(i6300esb, locked_off_it_stays_off)
{
    cfg_put(1, LOCK, 1, LOCKED);
    cfg_put(1, LOCK, 1, LOCKED | ENABLE);
    cr_expect_eq(cfg(1, LOCK, 1), LOCKED);
    expect_timer(0);
}

Test(i6300esb, without_output_it_only_counts)
{
    cfg_put(1, CONFIG, 2, OFF);
    cfg_put(1, LOCK, 1, ENABLE | FREE_RUN);
    run_out();
    run_out();
    cr_expect_eq(bites, 0);
    cr_expect_eq(reg(RELOAD, 2), 0);
    cr_expect_neq(ns, 0, "it runs freely");
}

Test(i6300esb, flags_are_cleared_by_ones)
{
    cfg_put(1, LOCK, 1, ENABLE);
    run_out();
    run_out();
    unlocked_put(INTERRUPT, 4, 0);
    unlocked_put(RELOAD, 2, 0);
    cr_expect_eq(reg(INTERRUPT, 4), 1);
    cr_expect_eq(reg(RELOAD, 2), BITTEN);
    unlocked_put(INTERRUPT, 4, 1);
    unlocked_put(RELOAD, 2, BITTEN);
    cr_expect_eq(reg(INTERRUPT, 4), 0);
    cr_expect_eq(reg(RELOAD, 2), 0);
}

Test(i6300esb, a_reset_leaves_the_bite_to_be_seen)
{
    unlocked_put(P1, 4, 3);
    cfg_put(1, LOCK, 1, ENABLE | LOCKED);
    run_out();
    run_out();
    i6300esb_reset(dog);
    cr_expect_eq(ns, 0);
    decode(PCI_COMMAND_MEMORY);
    cr_expect_eq(cfg(1, LOCK, 1), 0);
    cr_expect_eq(reg(P1, 4), 0xfffff);
    cr_expect_eq(reg(INTERRUPT, 4), 0);
    cr_expect_eq(reg(RELOAD, 2), BITTEN);
}

/* Any access of any size, with the keys and without. */
Test(i6300esb, takes_whatever_comes)
{
    static const uint64_t values[] = {0, 1, 0x80, 0x86, NOW, NOW | BITTEN, UINT64_MAX};
    for (unsigned size = 1; size <= 8; size *= 2) {
        for (unsigned off = 0; off + size <= 16; off++) {
            for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
                reg_put(off, size, values[i]);
                unlocked_put(off, size, values[i]);
                (void)reg(off, size);
                cfg_put(1, CONFIG + off, size > 4 ? 4 : size, values[i]);
            }
        }
    }
    loop_settle(loop);
    cr_expect_eq(cfg(1, CONFIG, 2) & ~0x27u, 0);
    cr_expect_eq(cfg(1, LOCK, 1) & ~7u, 0);
    cr_expect_eq(cfg(1, LOCK + 1, 1), 0);
    cr_expect_eq(reg(P1, 4) >> 20, 0);
}

static int load(const struct state_out *out)
{
    struct state_in in = {.buf = out->buf, .len = out->len};
    return i6300esb_load(dog, &in);
}

Test(i6300esb, goes_on_elsewhere)
{
    struct state_out out = {0};
    unlocked_put(P1, 4, 3);
    unlocked_put(P2, 4, 9000);
    cfg_put(1, CONFIG, 2, FAST);
    cfg_put(1, LOCK, 1, ENABLE | LOCKED);
    run_out();
    reg_put(RELOAD, 2, 0x80);
    i6300esb_save(dog, &out);
    i6300esb_free(dog);
    cr_assert_eq(i6300esb_new(pci, loop, bite, &bites, &dog), 0);
    ns = 0;
    cr_assert_eq(load(&out), 0);
    expect_timer(ticks(9000, 5));
    cr_expect_eq(reg(P1, 4), 3);
    cr_expect_eq(reg(INTERRUPT, 4), 1);
    cfg_put(1, LOCK, 1, 0);
    cr_expect_eq(cfg(1, LOCK, 1), ENABLE | LOCKED);
    reg_put(RELOAD, 2, 0x86); /* the second key */
    reg_put(P1, 4, 4);
    cr_expect_eq(reg(P1, 4), 4);
    run_out();
    cr_expect_eq(bites, 1);
    state_out_free(&out);
}

/* What no watchdog could be in. */
Test(i6300esb, forged_states_are_refused)
{
    static const struct {
        uint32_t p1;
        uint8_t unlocked, stage, interrupt, bitten;
    } bad[] = {{1 << 20, 0, 0, 0, 0}, {0, 3, 0, 0, 0}, {0, 0, 3, 0, 0},
               {0, 0, 0, 2, 0},       {0, 0, 0, 0, 2}, {0, 0, 1, 0, 0}};
    struct state_out whole = {0};
    i6300esb_save(dog, &whole);
    cr_assert_eq(load(&whole), 0);
    for (size_t cut = 0; cut < whole.len; cut += 3) {
        struct state_in in = {.buf = whole.buf, .len = cut};
        cr_expect_lt(i6300esb_load(dog, &in), 0);
    }
    state_out_free(&whole);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct state_out forged = {0};
        i6300esb_save(dog, &forged);
        struct state_in in = {.buf = forged.buf, .len = forged.len};
        uint32_t version;
        cr_assert_eq(state_open(&in, "PCIF", 1, &version), 0);
        forged.len = in.section_end;
        state_begin(&forged, "WDOG", 1);
        state_u32(&forged, bad[i].p1);
        state_u32(&forged, 0);
        state_u8(&forged, bad[i].unlocked);
        state_u8(&forged, bad[i].stage);
        state_u8(&forged, bad[i].interrupt);
        state_u8(&forged, bad[i].bitten);
        state_end(&forged);
        cr_expect_lt(load(&forged), 0, "%u", i);
        state_out_free(&forged);
    }
}
