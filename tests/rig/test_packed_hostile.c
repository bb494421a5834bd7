/* tests/rig/test_packed_hostile.c - drivers that cheat on a packed ring (virtio 1.4, 2.8): each
 * must latch the device, and a reset must revive it. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/rig/held.h"
#include "tests/rig/ways.h"

enum { Q = 0, N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };

static struct rig *up(uint16_t size)
{
    return held_up_packed((struct rig_options){0}, size);
}

static void expect_latched(struct rig *r, const char *rows)
{
    HOLDS(r, rows);
    held_run(r);
    cr_assert(rig_needs_reset(r));
    cr_assert(r->regs->pending(r) & 2, "2.1.2: a change of the configuration is announced");
    unsigned kicks = held.kicks;
    held_run(r);
    cr_assert_eq(held.kicks, kicks, "it takes nothing more");
    held.hold = false;
    rig_negotiate(r);
    cr_assert_not(rig_needs_reset(r));
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
    rig_down(r);
}

static void list_must_latch(const char *rows, const struct rig_packed *d, unsigned n)
{
    struct rig *r = up(8);
    rig_place(r, Q, d, n);
    expect_latched(r, rows);
}
#define LIST_MUST_LATCH(rows, ...)                                                                 \
    list_must_latch(rows, (const struct rig_packed[])__VA_ARGS__,                                  \
                    sizeof((const struct rig_packed[])__VA_ARGS__) / sizeof(struct rig_packed))

TEST_EACH_WAY(W_PACKED, packed_hostile, indirect_with_next)
{
    LIST_MUST_LATCH("19c", {{0x1000, 16, I | N, 1}, {0x1000, 8, W, 1}});
}
/* 2.8.7: a list is all direct or one table. */
TEST_EACH_WAY(W_PACKED, packed_hostile, indirect_after_direct)
{
    LIST_MUST_LATCH("19c", {{0x1000, 8, N, 1}, {0x1000, 16, I, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, writable_before_readable)
{
    LIST_MUST_LATCH("19c", {{0x1000, 8, N | W, 1}, {0x1000, 8, 0, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, address_outside_ram)
{
    LIST_MUST_LATCH("25", {{RIG_BASE, 8, W, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, buffer_past_the_end_of_ram)
{
    LIST_MUST_LATCH("23a", {{RIG_RAM - 4, 8, W, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, address_wraps)
{
    LIST_MUST_LATCH("21d", {{UINT64_MAX - 3, 8, W, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, a_list_longer_than_the_ring)
{
    LIST_MUST_LATCH("16c 19a", {{0x1000, 1, N, 1},
                                {0x1000, 1, N, 1},
                                {0x1000, 1, N, 1},
                                {0x1000, 1, N, 1},
                                {0x1000, 1, N, 1},
                                {0x1000, 1, N, 1},
                                {0x1000, 1, N, 1},
                                {0x1000, 1, N, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, indirect_of_no_entries)
{
    LIST_MUST_LATCH("19b", {{0x1000, 0, I, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, indirect_of_odd_length)
{
    LIST_MUST_LATCH("19c", {{0x1000, 24, I, 1}});
}
TEST_EACH_WAY(W_PACKED, packed_hostile, indirect_outside_ram)
{
    LIST_MUST_LATCH("25", {{RIG_BASE, 16, I, 1}});
}

TEST_EACH_WAY(W_PACKED, packed_hostile, indirect_without_negotiation)
{
    struct rig *r = held_up_packed((struct rig_options){.no_indirect = true}, 8);
    rig_place(r, Q, &(struct rig_packed){0x1000, 16, I, 1}, 1);
    expect_latched(r, "15");
}

static void table_must_latch(const char *rows, unsigned n, uint64_t addr, uint32_t len)
{
    struct rig *r = up(8);
    gpa_t table = rig_alloc(r, n * 16);
    for (unsigned i = 0; i < n; i++)
        rig_forge(r, table, i, addr, len, W, 0);
    rig_place(r, Q, &(struct rig_packed){table.v, n * 16, I, 1}, 1);
    expect_latched(r, rows);
}

TEST_EACH_WAY(W_PACKED, packed_hostile, sum_past_four_gigabytes)
{
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues / Scatter-Gather Support#02");
    table_must_latch("21a 21b", 300, 0, 16 << 20);
    table_must_latch("19a", 2000, 0x1000, 1); /* more segments than any device takes */
    table_must_latch("24a", 2000, 0x1000, 0); /* empty ones count too */
}

/* 2.8.14: an ID is the driver's again when its buffer was used, not before. */
TEST_EACH_WAY(W_PACKED, packed_hostile, id_twice_in_flight)
{
    struct rig *r = up(8);
    held.hold = true;
    gpa_t a = rig_alloc(r, 8);
    rig_place(r, Q, &(struct rig_packed){a.v, 8, W, 5}, 1);
    rig_place(r, Q, &(struct rig_packed){a.v, 8, W, 5}, 1);
    held_run(r);
    cr_assert_eq(held.n, 1);
    expect_latched(r, "17");
}

/* The slot of a buffer in flight, made available a lap early. */
TEST_EACH_WAY(W_PACKED, packed_hostile, more_available_than_the_ring_is_long)
{
    struct rig *r = up(4);
    held.hold = true;
    struct rig_seg in = {rig_alloc(r, 8), 8};
    for (unsigned i = 0; i < 2; i++)
        rig_add(r, Q, &in, 1, &in, 1);
    held_run(r);
    cr_assert_eq(held.n, 2);
    rig_add_indirect(r, Q, NULL, 0, &in, 1);
    expect_latched(r, "16b");
}

TEST_EACH_WAY(W_PACKED, packed_hostile, a_list_into_what_is_in_flight)
{
    struct rig *r = up(4);
    held.hold = true;
    for (unsigned i = 0; i < 3; i++)
        held_add(r, 8);
    held_run(r);
    cr_assert_eq(held.n, 3);
    rig_place(r, Q, (const struct rig_packed[]){{0x1000, 1, N, 9}, {0x1000, 1, 0, 9}}, 2);
    expect_latched(r, "16b 16c");
}

/* --- what is no queue --- */

static void bad_queue(uint32_t size, uint64_t desc, uint64_t driver, uint64_t device)
{
    struct rig *r = up(8);
    rig_negotiate_features(r);
    r->regs->queue_size(r, Q, size);
    r->regs->queue_areas(r, Q, desc, driver, device);
    r->regs->queue_enable(r, Q);
    cr_assert_not(r->regs->queue_enabled(r, Q), "size %u, %#lx", size, (unsigned long)desc);
    cr_assert(rig_needs_reset(r));
    HOLDS(r, "2 7 22b");
    unsigned kicks = held.kicks;
    rig_driver_ok(r);
    held_run(r);
    cr_assert_eq(held.kicks, kicks);
    rig_negotiate(r);
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
    rig_down(r);
}

TEST_EACH_WAY(W_PACKED, packed_hostile, bad_queues_are_refused)
{
    const uint64_t ok = 0x10000, end = RIG_RAM;
    bad_queue(0, ok, ok, ok);
    bad_queue(9, ok, ok, ok); /* more than there are */
    bad_queue(32768, ok, ok, ok);
    bad_queue(7, ok + 8, ok, ok); /* 2.8.10.1: 16, 4 and 4 bytes */
    bad_queue(7, ok, ok + 2, ok);
    bad_queue(7, ok, ok, ok + 2);
    bad_queue(7, end - 6 * 16, ok, ok);
    bad_queue(7, ok, end, ok);
    bad_queue(7, ok, ok, end);
    bad_queue(7, UINT64_MAX - 15, ok, ok);
}

/* What is ahead of the request that is taken is looked at for a hint, and read anew in its turn:
 * the ring ends where RAM does. */
TEST_EACH_WAY(W_PACKED, packed_hostile, what_is_ahead_is_read_in_its_turn)
{
    static const uint64_t wild[] = {UINT64_MAX - 3, RIG_BASE, RIG_RAM - 8, RIG_RAM};
    for (size_t i = 0; i < ARRAY_SIZE(wild); i++) {
        for (unsigned mended = 0; mended < 2; mended++) {
            struct rig *r = up(6);
            r->ram_next = RIG_RAM - 256;
            rig_negotiate(r);
            held.hold = true;
            held.take_at_most = 1;
            struct rig_packed good = {0x1000, 8, W, 0}, bad = {wild[i], 16, I, 1};
            rig_place(r, Q, &good, 1);
            rig_place(r, Q, &bad, 1);
            held_run(r);
            cr_assert_eq(held.n, 1);
            cr_assert_not(rig_needs_reset(r));
            if (mended)
                rig_forge(r, r->q[Q].desc, 1, 0x1000, 16, W | 1 << VRING_PACKED_DESC_F_AVAIL, 1);
            held_run(r);
            cr_assert_eq(held.n, mended ? 2 : 1);
            cr_assert_eq(rig_needs_reset(r), !mended);
            rig_down(r);
        }
    }
}
