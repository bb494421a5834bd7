/* tests/rig/test_ring_hostile.c - a driver that cheats with a split ring. Each attack names the
 * rows of tests/attacks/attacks.tsv that it is. */
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "tests/rig/held.h"
#include "tests/rig/ways.h"

enum { Q = 0, TEST_SIZE = 256 };

static struct rig *up(void)
{
    return held_up(NULL, TEST_SIZE);
}

/* --- a driver that cheats: each of these must latch, and a reset must revive --- */

static void expect_latched(struct rig *r, const char *rows)
{
    uint32_t id, len;
    HOLDS(r, rows);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert(rig_needs_reset(r));
    cr_assert(r->regs->pending(r) & 2, "2.1.2: a change of the configuration is announced");
    cr_assert_not(rig_used(r, Q, &id, &len));
    /* It takes nothing more, and says nothing more, until a reset. */
    unsigned kicks = held.kicks;
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_eq(held.kicks, kicks);
    rig_negotiate(r);
    cr_assert_not(rig_needs_reset(r));
    struct rig_seg in = {rig_alloc(r, 8), 8};
    held.hold = false;
    rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert(rig_used(r, Q, &id, &len), "a reset revives it");
    rig_down(r);
}

struct forged {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, next;
};

static void chain_must_latch(const char *rows, const struct forged *d, unsigned n)
{
    struct rig *r = held_up(NULL, 8);
    for (unsigned i = 0; i < n; i++)
        rig_forge(r, r->q[Q].desc, i, d[i].addr, d[i].len, d[i].flags, d[i].next);
    rig_offer(r, Q, 0);
    expect_latched(r, rows);
}
#define CHAIN_MUST_LATCH(rows, ...)                                                                \
    chain_must_latch(rows, (const struct forged[])__VA_ARGS__,                                     \
                     sizeof((const struct forged[])__VA_ARGS__) / sizeof(struct forged))

enum { N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };

TEST_EACH_WAY(W_SPLIT, hostile, loop)
{
    CHAIN_MUST_LATCH("16c 21a", {{0x1000, 8, N, 1}, {0x1000, 8, N, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, loop_of_empty_descriptors)
{
    CHAIN_MUST_LATCH("24a", {{0x1000, 0, N, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, next_out_of_range)
{
    CHAIN_MUST_LATCH("16c", {{0x1000, 8, N, 8}});
}
TEST_EACH_WAY(W_SPLIT, hostile, readable_after_writable)
{
    CHAIN_MUST_LATCH("19c", {{0x1000, 8, N | W, 1}, {0x1000, 8, 0, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, address_outside_ram)
{
    CHAIN_MUST_LATCH("25", {{0xd0000000, 8, W, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, buffer_past_the_end_of_ram)
{
    CHAIN_MUST_LATCH("23a", {{(32u << 20) - 4, 8, W, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, address_wraps)
{
    CHAIN_MUST_LATCH("21d", {{UINT64_MAX - 3, 8, W, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, length_of_four_gigabytes)
{
    CHAIN_MUST_LATCH("21b", {{0x1000, UINT32_MAX, W, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, indirect_with_next)
{
    CHAIN_MUST_LATCH("19c", {{0x1000, 16, I | N, 1}, {0x1000, 8, 0, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, indirect_of_no_entries)
{
    CHAIN_MUST_LATCH("19b", {{0x1000, 0, I, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, indirect_of_odd_length)
{
    CHAIN_MUST_LATCH("19c", {{0x1000, 24, I, 0}});
}
TEST_EACH_WAY(W_SPLIT, hostile, indirect_outside_ram)
{
    CHAIN_MUST_LATCH("25", {{0xd0000000, 16, I, 0}});
}

TEST_EACH_WAY(W_SPLIT, hostile, sum_past_four_gigabytes)
{
    struct rig *r = up();
    gpa_t table = rig_alloc(r, 300 * 16);
    for (unsigned i = 0; i < 300; i++)
        rig_forge(r, table, i, 0, 16 << 20, W | (i < 299 ? N : 0), (uint16_t)(i + 1));
    rig_forge(r, r->q[Q].desc, 0, table.v, 300 * 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r, "21a 21b");
}

TEST_EACH_WAY(W_SPLIT, hostile, nested_indirect)
{
    struct rig *r = up();
    gpa_t table = rig_alloc(r, 16);
    rig_forge(r, table, 0, table.v, 16, I, 0);
    rig_forge(r, r->q[Q].desc, 0, table.v, 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r, "19c");
}

TEST_EACH_WAY(W_SPLIT, hostile, indirect_loop)
{
    struct rig *r = up();
    gpa_t table = rig_alloc(r, 32);
    rig_forge(r, table, 0, 0x1000, 8, N, 1);
    rig_forge(r, table, 1, 0x1000, 8, N, 0);
    rig_forge(r, r->q[Q].desc, 0, table.v, 32, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r, "19a 21a");
}

TEST_EACH_WAY(W_SPLIT, hostile, indirect_without_negotiation)
{
    struct rig *r = held_up(&(struct rig_options){.no_indirect = true}, 8);
    rig_forge(r, r->q[Q].desc, 0, 0x1000, 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r, "15");
}

TEST_EACH_WAY(W_SPLIT, hostile, more_segments_than_any_device_takes)
{
    PROVES("Basic Facilities of a Virtio Device / Message Framing#02");
    struct rig *r = up();
    unsigned n = 2000;
    gpa_t table = rig_alloc(r, n * 16);
    for (unsigned i = 0; i < n; i++)
        rig_forge(r, table, i, 0x1000, 1, W | (i + 1 < n ? N : 0), (uint16_t)(i + 1));
    rig_forge(r, r->q[Q].desc, 0, table.v, n * 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r, "19a");
}

TEST_EACH_WAY(W_SPLIT, hostile, head_out_of_range)
{
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#02");
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#03");
    struct rig *r = held_up(NULL, 8);
    rig_offer(r, Q, 8);
    expect_latched(r, "16c");
}

TEST_EACH_WAY(W_SPLIT, hostile, head_twice_in_flight)
{
    struct rig *r = held_up(NULL, 8);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    held.hold = true;
    uint16_t head = rig_add(r, Q, NULL, 0, &in, 1);
    rig_offer(r, Q, head);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_eq(held.n, 1);
    expect_latched(r, "17");
}

TEST_EACH_WAY(W_SPLIT, hostile, index_jumps_past_the_queue)
{
    struct rig *r = held_up(NULL, 8);
    rig_put16(r, GPA(r->q[Q].avail.v + 2), 9);
    expect_latched(r, "16b");
}

TEST_EACH_WAY(W_SPLIT, hostile, index_goes_back)
{
    struct rig *r = held_up(NULL, 8);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    (void)rig_used(r, Q, &id, &len);
    rig_put16(r, GPA(r->q[Q].avail.v + 2), 0);
    expect_latched(r, "16b");
}

/* --- what is ahead of the request that is taken: looked at for a hint, and read anew --- */

static struct rig *up_ahead(void)
{
    struct rig *r = held_up(NULL, 8);
    r->ram_next = RIG_RAM - 4096; /* a look past the ring is one past RAM */
    rig_negotiate(r);
    held.hold = true;
    held.take_at_most = 1;
    rig_forge(r, r->q[Q].desc, 0, 0x1000, 8, W, 0);
    return r;
}

static void take_one(struct rig *r)
{
    rig_kick(r, Q);
    rig_settle(r);
}

TEST_EACH_WAY(W_SPLIT | W_MODERN, hostile, what_was_bad_ahead_is_good_in_its_turn)
{
    struct rig *r = up_ahead();
    rig_forge(r, r->q[Q].desc, 1, UINT64_MAX - 3, 64, I, 0);
    rig_offer(r, Q, 0);
    rig_offer(r, Q, 1);
    rig_offer(r, Q, 0xffff);
    gpa_t third = GPA(r->q[Q].avail.v + 4 + 2 * 2);
    take_one(r);
    cr_assert_eq(held.n, 1);
    cr_assert_not(rig_needs_reset(r));
    rig_forge(r, r->q[Q].desc, 1, 0x1000, 16, W, 0);
    rig_forge(r, r->q[Q].desc, 2, 0x1000, 24, W, 0);
    rig_put16(r, third, 2);
    take_one(r);
    take_one(r);
    cr_assert_eq(held.n, 3);
    cr_assert_eq(held.req[1]->in_len, 16);
    cr_assert_eq(held.req[2]->in_len, 24);
    rig_down(r);
}

TEST_EACH_WAY(W_SPLIT | W_MODERN, hostile, what_was_good_ahead_is_bad_in_its_turn)
{
    struct rig *r = up_ahead();
    gpa_t table = rig_alloc(r, 16);
    rig_forge(r, table, 0, 0x1000, 8, W, 0);
    rig_forge(r, r->q[Q].desc, 1, table.v, 16, I, 0);
    rig_offer(r, Q, 0);
    rig_offer(r, Q, 1);
    take_one(r);
    cr_assert_eq(held.n, 1);
    rig_forge(r, r->q[Q].desc, 1, RIG_BASE, 16, I, 0);
    take_one(r);
    cr_assert_eq(held.n, 1);
    cr_assert(rig_needs_reset(r));
    rig_down(r);
}
