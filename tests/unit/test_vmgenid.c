/* tests/unit/test_vmgenid.c - a machine's generation ID: never the same twice, the same after a
 * reset, and an event when it changes. */
#include <criterion/criterion.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "arch/x86_64/devices.h"

enum { LEN = 16, PAINT = 0xa5 };
static struct gmem *mem;
static struct vmgenid *gen;
static int irq = -1;

static void setup(void)
{
    struct gmem_region r = {.base = GPA(0), .len = 2 << 20};
    struct gmem_options o = {.backing = GMEM_4K};
    struct err e;
    cr_assert_eq(gmem_new(&r, 1, &o, &mem, &e), 0);
    irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    cr_assert_eq(vmgenid_new(mem, irq, &gen), 0);
}

static void teardown(void)
{
    vmgenid_free(gen);
    gmem_free(mem);
    (void)close(irq);
}

static const uint8_t *in_ram(void)
{
    return gmem_at(mem, GPA(LAYOUT_VMGENID), LEN);
}

static bool told(void)
{
    uint64_t n;
    return read(irq, &n, sizeof(n)) > 0;
}

TestSuite(vmgenid, .init = setup, .fini = teardown);

Test(vmgenid, every_machine_has_its_own)
{
    uint8_t first[LEN];
    vmgenid_write(gen);
    memcpy(first, in_ram(), LEN);
    struct vmgenid *other = NULL;
    cr_assert_eq(vmgenid_new(mem, irq, &other), 0);
    vmgenid_write(other);
    cr_expect_neq(memcmp(first, in_ram(), LEN), 0);
    vmgenid_free(other);
}

Test(vmgenid, a_reset_keeps_it)
{
    uint8_t first[LEN];
    vmgenid_write(gen);
    memcpy(first, in_ram(), LEN);
    gmem_discard(mem);
    cr_assert_neq(memcmp(first, in_ram(), LEN), 0);
    vmgenid_write(gen);
    cr_expect_eq(memcmp(first, in_ram(), LEN), 0);
    cr_expect_not(told());
}

Test(vmgenid, a_change_is_in_ram_when_the_guest_is_told)
{
    uint8_t first[LEN];
    vmgenid_write(gen);
    memcpy(first, in_ram(), LEN);
    cr_assert_eq(vmgenid_change(gen), 0);
    cr_expect(told());
    cr_expect_neq(memcmp(first, in_ram(), LEN), 0);
    cr_expect_not(told());
    vmgenid_write(gen);
    cr_expect_neq(memcmp(first, in_ram(), LEN), 0);
}

Test(vmgenid, only_the_id_is_written)
{
    uint8_t *around = gmem_at(mem, GPA(LAYOUT_VMGENID - 1), LEN + 2);
    memset(around, PAINT, LEN + 2);
    vmgenid_write(gen);
    cr_expect_eq(around[0], PAINT);
    cr_expect_eq(around[LEN + 1], PAINT);
}

Test(vmgenid, a_machine_without_that_ram)
{
    struct gmem_region r = {.base = GPA(0), .len = 64 << 10};
    struct gmem_options o = {.backing = GMEM_4K};
    struct gmem *small = NULL;
    struct vmgenid *v = NULL;
    struct err e;
    cr_assert_eq(gmem_new(&r, 1, &o, &small, &e), 0);
    cr_assert_eq(vmgenid_new(small, irq, &v), 0);
    vmgenid_write(v);
    cr_expect_eq(vmgenid_change(v), 0);
    vmgenid_free(v);
    gmem_free(small);
}
