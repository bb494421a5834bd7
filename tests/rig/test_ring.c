/* tests/rig/test_ring.c - the split ring and the request interface, against the device that holds
 * requests until it is told to complete them. Each attack names its row of the table of known bugs
 * in virtio devices where there is one. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/rig/held.h"

enum { Q = 0, TEST_SIZE = 256 };

static struct rig *up(void)
{
    return held_up(NULL, TEST_SIZE);
}

/* --- service --- */

Test(ring, a_buffer_comes_back_with_its_id_and_length)
{
    struct rig *r = up();
    struct rig_seg out = {rig_alloc(r, 16), 16}, in = {rig_alloc(r, 100), 100};
    uint32_t id, len;
    uint16_t head = rig_add(r, Q, &out, 1, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert(rig_used(r, Q, &id, &len));
    cr_assert_eq(id, head);
    cr_assert_eq(len, 100);
    cr_assert_not(rig_used(r, Q, &id, &len));
    cr_assert_eq(rig_irqs(r), 1);
    rig_down(r);
}

Test(ring, segments_are_seen_as_they_were_cut)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / The Virtqueue Descriptor Table#02");
    struct rig *r = up();
    held.hold = true;
    gpa_t a = rig_alloc(r, 64);
    const struct rig_seg out[] = {{a, 3}, {GPA(a.v + 3), 5}};
    const struct rig_seg in[] = {{GPA(a.v + 16), 0}, {GPA(a.v + 16), 1}, {GPA(a.v + 20), 7}};
    memcpy(rig_at(r, a, 8), "abcdefgh", 8);
    rig_add(r, Q, out, 2, in, 3);
    rig_kick(r, Q);
    rig_settle(r);
    struct vq_req *q = held.req[0];
    cr_assert_eq(q->n_out, 2);
    cr_assert_eq(q->n_in, 2, "the empty one is left out");
    cr_assert_eq(q->out_len, 8);
    cr_assert_eq(q->in_len, 8);

    char buf[8];
    cr_assert_eq(vq_req_read(q, 1, buf, 6), 0);
    cr_assert(memcmp(buf, "bcdefg", 6) == 0);
    cr_assert_eq(vq_req_read(q, 8, buf, 0), 0);
    cr_assert_eq(vq_req_read(q, 3, buf, 6), -EMSGSIZE, "what is to be written is not read");
    cr_assert_eq(vq_req_read(q, SIZE_MAX, buf, 2), -EMSGSIZE);
    cr_assert_eq(vq_req_write(q, 0, "12345678", 8), 0);
    cr_assert_eq(vq_req_write(q, 1, "12345678", 8), -EMSGSIZE);
    cr_assert(memcmp(rig_at(r, GPA(a.v + 16), 1), "1", 1) == 0);
    cr_assert(memcmp(rig_at(r, GPA(a.v + 20), 7), "2345678", 7) == 0);
    rig_down(r);
}

Test(ring, indirect_alone_and_after_direct_ones)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / The Virtqueue Descriptor Table / "
           "Indirect Descriptors#01");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / The Virtqueue Descriptor Table / "
           "Indirect Descriptors#02");
    struct rig *r = up();
    held.hold = true;
    gpa_t a = rig_alloc(r, 64);
    struct rig_seg out = {a, 4}, in = {GPA(a.v + 4), 8};
    rig_add_indirect(r, Q, &out, 1, &in, 1);

    /* 2.7.5.3: normal descriptors, then one that refers to a table; its WRITE flag is ignored. */
    gpa_t table = rig_alloc(r, 32);
    rig_forge(r, table, 0, a.v + 8, 4, VRING_DESC_F_WRITE, 0);
    uint16_t head = r->q[Q].free;
    rig_forge(r, r->q[Q].desc, head, a.v, 4, VRING_DESC_F_NEXT, head + 1);
    rig_forge(r, r->q[Q].desc, head + 1, table.v, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE,
              0);
    rig_offer(r, Q, head);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_eq(held.n, 2);
    cr_assert_eq(held.req[0]->in_len, 8);
    cr_assert_eq(held.req[1]->out_len, 4);
    cr_assert_eq(held.req[1]->in_len, 4);
    rig_down(r);
}

Test(ring, completions_in_any_order)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / The Virtqueue Used Ring#01");
    struct rig *r = up();
    held.hold = true;
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint16_t heads[3];
    uint32_t id, len;
    for (unsigned i = 0; i < 3; i++)
        heads[i] = rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    held_complete(2, 3);
    held_complete(0, 1);
    held_complete(0, 2);
    cr_assert_not(rig_used(r, Q, &id, &len), "nothing before the turn ends");
    const unsigned order[] = {2, 0, 1};
    for (uint32_t i = 0; i < 3; i++) { /* though lengths are there: they come before the index */
        const uint8_t *e = rig_at(r, GPA(r->q[Q].used.v + 4 + 8 * i), 8);
        cr_assert_eq(get_bytes(e + 4, 4), order[i] + 1);
    }
    rig_settle(r);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(rig_used(r, Q, &id, &len));
        cr_assert_eq(id, heads[order[i]]);
        cr_assert_eq(len, order[i] + 1);
    }
    rig_down(r);
}

Test(ring, a_thousand_laps_past_the_index_wrap)
{
    struct rig *r = held_up(NULL, 4);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    for (unsigned i = 0; i < 70000; i++) {
        uint16_t head = rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        rig_settle(r);
        cr_assert(rig_used(r, Q, &id, &len));
        cr_assert_eq(id, head);
    }
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

Test(ring, sizes_from_one_to_the_largest)
{
    for (unsigned size = 1; size <= 32768; size *= 2) {
        struct rig *r = held_up(NULL, (uint16_t)size);
        struct rig_seg in = {rig_alloc(r, 8), 8};
        uint32_t id, len, n = 0;
        for (unsigned i = 0; i < size; i++)
            rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        rig_settle(r);
        while (rig_used(r, Q, &id, &len))
            n++;
        cr_assert_eq(n, size);
        rig_down(r);
    }
}

Test(ring, holds_no_more_than_its_slots_and_goes_on)
{
    struct rig *r = held_up(NULL, 2048);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    held.hold = true;
    for (unsigned i = 0; i < 2048; i++)
        rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_eq(held.n, 1024);
    held_complete(5, 0);
    rig_settle(r);
    cr_assert_eq(held.n, 1024, "the freed slot was filled");
    rig_down(r);
}

Test(ring, unpop_gives_it_back)
{
    struct rig *r = up();
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    uint16_t head = rig_add(r, Q, NULL, 0, &in, 1);
    held.unpop_once = true;
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_not(rig_used(r, Q, &id, &len));
    vq_poke(held.vq);
    rig_settle(r);
    cr_assert(rig_used(r, Q, &id, &len));
    cr_assert_eq(id, head);
    rig_down(r);
}

Test(ring, a_drain_yields_after_a_lap)
{
    /* The driver refills as fast as the device takes: others must get their turn. */
    struct rig *r = held_up(NULL, 4);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    for (unsigned i = 0; i < 4; i++)
        rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    unsigned before = held.kicks;
    (void)loop_step(r->loop, 0);
    (void)loop_step(r->loop, 0);
    cr_assert_geq(held.kicks, before + 1);
    rig_settle(r);
    cr_assert_geq(held.kicks, before + 2, "kicked again after its budget");
    rig_down(r);
}

/* --- notifications --- */

static bool driver_must_kick(struct rig *r, uint16_t old, uint16_t now)
{
    const struct rig_queue *q = &r->q[Q];
    if (rig_has(r, VIRTIO_RING_F_EVENT_IDX))
        return vring_need_event(rig_get16(r, GPA(q->used.v + 4 + 8u * q->size)), now, old);
    return !(rig_get16(r, q->used) & VRING_USED_F_NO_NOTIFY);
}

static void one_at_a_time(const struct rig_options *o)
{
    struct rig *r = held_up(o, 8);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    for (unsigned i = 0; i < 100; i++) {
        rig_add(r, Q, NULL, 0, &in, 1);
        cr_assert(driver_must_kick(r, r->q[Q].avail_idx - 1, r->q[Q].avail_idx),
                  "an idle device must ask for notifications (%u)", i);
        cr_assert_leq(rig_get16(r, r->q[Q].used), 1);
        rig_kick(r, Q);
        rig_settle(r);
        cr_assert(rig_used(r, Q, &id, &len));
    }
    rig_down(r);
}

Test(ring, an_idle_queue_is_armed_by_event_index)
{
    one_at_a_time(NULL);
}

Test(ring, an_idle_queue_is_armed_by_flag)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Available Buffer Notification "
           "Suppression#01");
    one_at_a_time(&(struct rig_options){.no_event_idx = true});
}

Test(ring, a_busy_queue_asks_for_no_kicks)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Available Buffer Notification "
           "Suppression#02");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Available Buffer Notification "
           "Suppression#03");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Available Buffer Notification "
           "Suppression#04");
    const struct rig_options flags = {.no_event_idx = true};
    const struct rig_options *both[] = {NULL, &flags};
    for (unsigned k = 0; k < 2; k++) {
        struct rig *r = held_up(both[k], 8);
        struct rig_seg in = {rig_alloc(r, 8), 8};
        held.hold = true;
        held.take_at_most = 1; /* so that it never sees the queue empty */
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        rig_settle(r);
        rig_add(r, Q, NULL, 0, &in, 1);
        cr_assert_not(driver_must_kick(r, 2, 3));
        cr_assert_eq(rig_get16(r, r->q[Q].used), k, "2.7.10: flags stay 0 with EVENT_IDX");
        rig_down(r);
    }
}

Test(ring, interrupts_follow_used_event)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Used Buffer Notification "
           "Suppression#04");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Used Buffer Notification "
           "Suppression#05");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Used Buffer Notification "
           "Suppression#06");
    struct rig *r = held_up(NULL, 16);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    gpa_t used_event = GPA(r->q[Q].avail.v + 4 + 2u * 16);
    rig_put16(r, r->q[Q].avail, VRING_AVAIL_F_NO_INTERRUPT); /* ignored: 2.7.7.2 */
    rig_put16(r, used_event, 2);
    for (unsigned i = 0; i < 5; i++) {
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        rig_settle(r);
        cr_assert_eq(rig_irqs(r), i == 2, "after buffer %u", i);
    }
    /* A batch that passes the event interrupts once. */
    rig_put16(r, used_event, 7);
    for (unsigned i = 0; i < 5; i++)
        rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_eq(rig_irqs(r), 1);
    rig_down(r);
}

Test(ring, interrupts_follow_the_flag)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Used Buffer Notification "
           "Suppression#01");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Used Buffer Notification "
           "Suppression#02");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Used Buffer Notification "
           "Suppression#03");
    struct rig *r = held_up(&(struct rig_options){.no_event_idx = true}, 16);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    rig_put16(r, GPA(r->q[Q].avail.v + 4 + 2u * 16), 999); /* used_event: ignored */
    for (unsigned off = 0; off < 2; off++) {
        rig_put16(r, r->q[Q].avail, off ? VRING_AVAIL_F_NO_INTERRUPT : 0);
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        rig_settle(r);
        cr_assert_eq(rig_irqs(r), !off);
    }
    rig_down(r);
}

Test(ring, spurious_and_absurd_notifications)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Available Buffer Notification "
           "Suppression#05");
    struct rig *r = up();
    rig_kick(r, Q);
    rig_kick(r, 1); /* no such queue: row 8 */
    rig_kick(r, 0xffffffff);
    rig_settle(r);
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

/* --- a driver that cheats: each of these must latch, and a reset must revive --- */

static void expect_latched(struct rig *r)
{
    uint32_t id, len;
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert(rig_needs_reset(r));
    cr_assert(rig_reg(r, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
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

static void chain_must_latch(const struct forged *d, unsigned n)
{
    struct rig *r = held_up(NULL, 8);
    for (unsigned i = 0; i < n; i++)
        rig_forge(r, r->q[Q].desc, i, d[i].addr, d[i].len, d[i].flags, d[i].next);
    rig_offer(r, Q, 0);
    expect_latched(r);
}
#define CHAIN_MUST_LATCH(...)                                                                      \
    chain_must_latch((const struct forged[])__VA_ARGS__,                                           \
                     sizeof((const struct forged[])__VA_ARGS__) / sizeof(struct forged))

enum { N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };

Test(hostile, loop) /* row 21 */
{
    CHAIN_MUST_LATCH({{0x1000, 8, N, 1}, {0x1000, 8, N, 0}});
}
Test(hostile, loop_of_empty_descriptors)
{
    CHAIN_MUST_LATCH({{0x1000, 0, N, 0}});
}
Test(hostile, next_out_of_range)
{
    CHAIN_MUST_LATCH({{0x1000, 8, N, 8}});
}
Test(hostile, readable_after_writable)
{
    CHAIN_MUST_LATCH({{0x1000, 8, N | W, 1}, {0x1000, 8, 0, 0}});
}
Test(hostile, address_outside_ram) /* row 23, 25 */
{
    CHAIN_MUST_LATCH({{0xd0000000, 8, W, 0}});
}
Test(hostile, buffer_past_the_end_of_ram)
{
    CHAIN_MUST_LATCH({{(32u << 20) - 4, 8, W, 0}});
}
Test(hostile, address_wraps)
{
    CHAIN_MUST_LATCH({{UINT64_MAX - 3, 8, W, 0}});
}
Test(hostile, length_of_four_gigabytes)
{
    CHAIN_MUST_LATCH({{0x1000, UINT32_MAX, W, 0}});
}
Test(hostile, indirect_with_next)
{
    CHAIN_MUST_LATCH({{0x1000, 16, I | N, 1}, {0x1000, 8, 0, 0}});
}
Test(hostile, indirect_of_no_entries) /* row 19 */
{
    CHAIN_MUST_LATCH({{0x1000, 0, I, 0}});
}
Test(hostile, indirect_of_odd_length)
{
    CHAIN_MUST_LATCH({{0x1000, 24, I, 0}});
}
Test(hostile, indirect_outside_ram)
{
    CHAIN_MUST_LATCH({{0xd0000000, 16, I, 0}});
}

Test(hostile, sum_past_four_gigabytes) /* row 21 */
{
    struct rig *r = up();
    gpa_t table = rig_alloc(r, 300 * 16);
    for (unsigned i = 0; i < 300; i++)
        rig_forge(r, table, i, 0, 16 << 20, W | (i < 299 ? N : 0), (uint16_t)(i + 1));
    rig_forge(r, r->q[Q].desc, 0, table.v, 300 * 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r);
}

Test(hostile, nested_indirect)
{
    struct rig *r = up();
    gpa_t table = rig_alloc(r, 16);
    rig_forge(r, table, 0, table.v, 16, I, 0);
    rig_forge(r, r->q[Q].desc, 0, table.v, 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r);
}

Test(hostile, indirect_loop)
{
    struct rig *r = up();
    gpa_t table = rig_alloc(r, 32);
    rig_forge(r, table, 0, 0x1000, 8, N, 1);
    rig_forge(r, table, 1, 0x1000, 8, N, 0);
    rig_forge(r, r->q[Q].desc, 0, table.v, 32, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r);
}

Test(hostile, indirect_without_negotiation)
{
    struct rig *r = held_up(&(struct rig_options){.no_indirect = true}, 8);
    rig_forge(r, r->q[Q].desc, 0, 0x1000, 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r);
}

Test(hostile, more_segments_than_any_device_takes)
{
    PROVES("Basic Facilities of a Virtio Device / Message Framing#02");
    struct rig *r = up();
    unsigned n = 2000;
    gpa_t table = rig_alloc(r, n * 16);
    for (unsigned i = 0; i < n; i++)
        rig_forge(r, table, i, 0x1000, 1, W | (i + 1 < n ? N : 0), (uint16_t)(i + 1));
    rig_forge(r, r->q[Q].desc, 0, table.v, n * 16, I, 0);
    rig_offer(r, Q, 0);
    expect_latched(r);
}

Test(hostile, head_out_of_range)
{
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#02");
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#03");
    struct rig *r = held_up(NULL, 8);
    rig_offer(r, Q, 8);
    expect_latched(r);
}

Test(hostile, head_twice_in_flight) /* row 17 */
{
    struct rig *r = held_up(NULL, 8);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    held.hold = true;
    uint16_t head = rig_add(r, Q, NULL, 0, &in, 1);
    rig_offer(r, Q, head);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_eq(held.n, 1);
    expect_latched(r);
}

Test(hostile, index_jumps_past_the_queue) /* row 16 */
{
    struct rig *r = held_up(NULL, 8);
    rig_put16(r, GPA(r->q[Q].avail.v + 2), 9);
    expect_latched(r);
}

Test(hostile, index_goes_back)
{
    struct rig *r = held_up(NULL, 8);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    (void)rig_used(r, Q, &id, &len);
    rig_put16(r, GPA(r->q[Q].avail.v + 2), 0);
    expect_latched(r);
}

/* --- reset and state --- */

Test(reset, gives_back_what_is_in_flight)
{
    struct rig *r = up();
    struct rig_seg in = {rig_alloc(r, 8), 8};
    held.hold = true;
    for (unsigned i = 0; i < 5; i++)
        rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert_eq(held.n, 5);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_STATUS), 0);
    cr_assert_eq(held.n, 0);
    cr_assert_geq(held.resets, 2);
    rig_irqs(r);
    rig_kick(r, Q); /* 2.4.1: nothing happens any more */
    rig_settle(r);
    cr_assert_eq(rig_irqs(r), 0);
    rig_down(r);
}

Test(reset, of_one_queue_and_again)
{
    struct rig *r = up();
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    held.hold = true;
    rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, Q);
    rig_reg_set(r, 0x0c0, 1); /* QueueReset */
    cr_assert_eq(rig_reg(r, 0x0c0), 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 0);
    cr_assert_eq(held.n, 0);
    cr_assert(rig_reg(r, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_DRIVER_OK);
    held.hold = false;
    r->o.queue_size = 32; /* another size is observed: 2.6.1.2 */
    rig_queue_up(r, Q);
    rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert(rig_used(r, Q, &id, &len));
    rig_down(r);
}

Test(reset, of_one_queue_needs_the_feature)
{
    struct rig *r = held_up(&(struct rig_options){.without = 1ull << VIRTIO_F_RING_RESET}, 8);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, Q);
    rig_reg_set(r, 0x0c0, 1);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_QUEUE_READY), 1);
    rig_down(r);
}

Test(state, survives_a_save_and_a_load)
{
    struct rig *r = held_up(NULL, 8);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    for (unsigned i = 0; i < 5; i++) {
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        rig_settle(r);
        cr_assert(rig_used(r, Q, &id, &len));
    }
    vdev_pause(r->dev);
    rig_add(r, Q, NULL, 0, &in, 1); /* made available while nobody looks */
    struct state_out s = rig_save(r);
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    struct state_out again = rig_save(r);
    cr_assert_eq(again.len, s.len);
    cr_assert(memcmp(again.buf, s.buf, s.len) == 0, "save, load, save is the identity");
    vdev_resume(r->dev);
    rig_settle(r);
    cr_assert(rig_used(r, Q, &id, &len), "what came meanwhile is found");
    cr_assert(driver_must_kick(r, r->q[Q].avail_idx, r->q[Q].avail_idx + 1));
    state_out_free(&s);
    state_out_free(&again);
    rig_down(r);
}

Test(state, a_hostile_stream_is_refused)
{
    struct rig *r = held_up(NULL, 8);
    struct state_out s = rig_save(r);
    for (size_t cut = 0; cut < s.len; cut++)
        cr_assert_eq(rig_load(r, s.buf, cut), -EBADMSG, "cut at %zu", cut);
    for (size_t at = 0; at < s.len; at++) {
        s.buf[at] ^= 0x40;
        cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG, "flipped at %zu", at);
        s.buf[at] ^= 0x40;
    }
    state_out_free(&s);
    rig_down(r);
}

/* --- the core, where a device with one queue does not reach --- */

struct core_opts {
    uint16_t size;
    bool no_drain, picky;
    int start_rc;
    unsigned shm;
};
static struct core_opts core;
static unsigned core_starts;

static bool core_features_ok(struct vdev *d)
{
    return !core.picky || vdev_has(d, VIRTIO_RING_F_EVENT_IDX);
}

static int core_start(struct vdev *d)
{
    (void)d;
    core_starts++;
    return core.start_rc;
}

static const struct vdev_ops core_ops = {.config_len = 8,
                                         .config_read = held_config_read,
                                         .features_ok = core_features_ok,
                                         .start = core_start,
                                         .kick = held_kick,
                                         .free = held_free};
static int core_create(const void *opts, const struct build_env *env, struct vdev **out,
                       struct err *e);
static const struct vdev_class core_class = {
    .name = "core", .virtio_id = 62, .ops = &core_ops, .create = core_create};

static int core_create(const void *opts, const struct build_env *env, struct vdev **out,
                       struct err *e)
{
    (void)e;
    core = *(const struct core_opts *)opts;
    core_starts = 0;
    memset(&held, 0, sizeof(held));
    held.config = 0x10;
    const uint16_t sizes[] = {core.size, core.size};
    int rc = vdev_new(&core_class, env, NULL, sizes, 2, out);
    for (unsigned i = 0; rc == 0 && i < core.shm; i++)
        cr_assert_eq(vdev_add_shm(*out, (uint8_t)(7 + i), (void *)MIB(8), MIB(i + 1)),
                     i < 2 ? 0 : -ENOSPC);
    return rc;
}

static struct rig *core_up(struct core_opts o, const struct rig_options *ro)
{
    o.size = 8;
    return rig_up_class(&core_class, &o, ro);
}

static bool served(struct rig *r, unsigned q)
{
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    rig_add(r, q, NULL, 0, &in, 1);
    rig_kick(r, q);
    rig_settle(r);
    return rig_used(r, q, &id, &len);
}

Test(core, what_a_transport_may_ask)
{
    struct rig *r = core_up((struct core_opts){.shm = 3}, NULL);
    gpa_t base = GPA(1);
    uint64_t n = 1;
    cr_assert_str_eq(vdev_name(r->dev), "core");
    cr_assert_eq(vdev_id(r->dev), 62);
    cr_assert_eq(vdev_config_len(r->dev), 8);
    cr_assert_eq(vdev_queue_count(r->dev), 2);
    cr_assert_eq(vdev_features(r->dev, VDEV_FEATURE_WORDS), 0);
    cr_assert(vdev_shm(r->dev, 8, &base, &n));
    cr_assert_eq(base.v, RIG_SHM + MIB(2), "each at a multiple of 2 MiB");
    cr_assert_eq(n, MIB(2));
    cr_assert_not(vdev_shm(r->dev, 9, &base, &n), "there was no room for a third");
    cr_assert_eq(vdev_kick_fd(r->dev, 2), -1);
    cr_assert_geq(vdev_kick_fd(r->dev, 1), 0);
    cr_assert_null(vdev_queue(r->dev, 2));
    cr_assert_eq(vq_index(vdev_queue(r->dev, 1)), 1);
    cr_assert_null(vdev_queue_config(r->dev, 2));
    cr_assert_null(vdev_queue_program(r->dev, 0), "it is enabled");
    cr_assert(served(r, 0) && served(r, 1));
    vdev_free(NULL);
    transport_free(NULL);
    rig_down(r);
}

Test(core, no_descriptors_left_to_make_a_queue)
{
    struct rig *r = up();
    const uint16_t sizes[] = {8, 8, 8};
    const struct build_env env = {.mem = r->mem, .loop = r->loop};
    struct vdev *d = NULL;
    struct rlimit old, none;
    int next = dup(0);
    close(next);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)next + 1, .rlim_max = old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    cr_assert_eq(vdev_new(&held_class, &env, NULL, sizes, 3, &d), -EMFILE);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    cr_assert_null(d);
    cr_assert_eq(dup(0), next, "what was opened is closed");
    close(next);
    rig_down(r);
}

Test(core, a_window_that_is_taken)
{
    struct rig *r = up();
    const struct transport_env env = {.mmio = r->bus};
    struct transport *second = NULL;
    const struct transport_place at = {.base = GPA(RIG_BASE + 0x800), .irq_fd = -1};
    cr_assert_eq(transport_new(TRANSPORT_MMIO, r->dev, &env, &at, &second), -EBUSY);
    cr_assert_null(second);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert(rig_used(r, Q, &id, &len), "the device is still the first one's");
    rig_down(r);
}

Test(core, a_device_that_cannot_start)
{
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#02");
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#03");
    const struct rig_options early = {.stop_before_driver_ok = true};
    struct rig *r = core_up((struct core_opts){.start_rc = -EIO}, &early);
    cr_assert_eq(core_starts, 0);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 15);
    cr_assert_eq(core_starts, 1);
    cr_assert(rig_needs_reset(r));
    cr_assert_eq(rig_irqs(r), 1, "2.1.2: DRIVER_OK was set, so it is announced");
    cr_assert_not(vdev_started(r->dev));
    cr_assert_not(served(r, 0));
    cr_assert_eq(held.kicks, 0);
    core.start_rc = 0;
    r->o.stop_before_driver_ok = false;
    rig_negotiate(r);
    cr_assert(served(r, 0) && served(r, 1));
    rig_down(r);
}

Test(core, a_device_may_refuse_features)
{
    const struct rig_options early = {.stop_before_driver_ok = true};
    struct rig *r = core_up((struct core_opts){.picky = true}, &early);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 3);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_STATUS), 3);
    rig_down(r);
}

/* A vCPU waits while the loop's own thread finishes what is in flight. */
static void complete_all(void *ctx)
{
    (void)ctx;
    while (held.n > 0)
        vq_complete(held.vq, held.req[--held.n]);
}

static atomic_uint held_now;

static void note_held(void *ctx)
{
    (void)ctx;
    held_now = held.n;
}

static void *complete_later(void *ctx)
{
    const struct timespec nap = {.tv_nsec = 50000000};
    (void)nanosleep(&nap, NULL);
    loop_call(((struct rig *)ctx)->loop, complete_all, NULL);
    return NULL;
}

Test(core, a_reset_waits_for_the_loops_thread)
{
    const struct rig_options late = {.backend = LOOP_EPOLL};
    struct rig *r = core_up((struct core_opts){0}, &late);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    cr_assert_eq(loop_start(r->loop), 0);
    for (unsigned round = 0; round < 3; round++) {
        pthread_t other;
        held.hold = true;
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        for (held_now = 0; held_now < 2;)
            loop_call(r->loop, note_held, NULL);
        cr_assert_eq(pthread_create(&other, NULL, complete_later, r), 0);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
        cr_assert_eq(held.n, 0, "nothing is in flight when the write returns");
        pthread_join(other, NULL);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 1);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 3);
        for (uint32_t word = 0; word < 2; word++) {
            rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
            rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(r->features >> 32 * word));
        }
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 11);
        rig_queue_up(r, Q);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 15);
    }
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
    loop_stop(r->loop);
    rig_down(r);
}

/* --- pause --- */

Test(pause, what_starts_meanwhile_starts_with_the_resume)
{
    const struct rig_options early = {.stop_before_driver_ok = true};
    struct rig *r = core_up((struct core_opts){0}, &early);
    vdev_pause(r->dev);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 15);
    cr_assert_not(served(r, 0), "a paused device takes nothing");
    vdev_resume(r->dev);
    rig_settle(r);
    uint32_t id, len;
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert(served(r, 0) && served(r, 1));

    /* The same for one queue. */
    vdev_pause(r->dev);
    vdev_pause(r->dev);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 1);
    rig_reg_set(r, 0x0c0, 1); /* QueueReset */
    rig_queue_up(r, 1);
    cr_assert_not(served(r, 1));
    vdev_resume(r->dev);
    vdev_resume(r->dev);
    rig_settle(r);
    cr_assert(rig_used(r, 1, &id, &len));
    unsigned kicks = held.kicks;
    rig_kick(r, 1);
    rig_settle(r);
    cr_assert_eq(held.kicks, kicks + 1, "it is watched once");
    rig_down(r);
}

Test(pause, outlasts_a_reset_by_the_driver)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    vdev_pause(r->dev);
    rig_negotiate(r);
    cr_assert_not(served(r, 0));
    vdev_resume(r->dev);
    rig_settle(r);
    uint32_t id, len;
    cr_assert(rig_used(r, 0, &id, &len));
    rig_down(r);
}

/* --- saved state that is intact, but was never saved --- */

struct vdev_image {
    uint16_t id;
    uint8_t status;
    uint32_t features[VDEV_FEATURE_WORDS], n;
    struct {
        uint64_t desc, driver, device;
        uint16_t size, next;
        uint8_t enabled;
    } q[2];
    unsigned less, more; /* queues that are not there; bytes that should not be */
};

static struct vdev_image image_of(const struct rig *r)
{
    struct vdev_image v = {.id = 62, .status = 15, .n = 2};
    for (unsigned i = 0; i < 2; i++) {
        v.features[i] = (uint32_t)(r->features >> 32 * i);
        v.q[i].desc = r->q[i].desc.v;
        v.q[i].driver = r->q[i].avail.v;
        v.q[i].device = r->q[i].used.v;
        v.q[i].size = r->q[i].size;
        v.q[i].enabled = 1;
    }
    return v;
}

static int load_image(struct rig *r, const struct vdev_image *v)
{
    struct state_out s = {0};
    state_begin(&s, "MMIO", 2);
    for (unsigned i = 0; i < 6 + 2; i++) /* registers, and an alignment for each queue */
        state_u32(&s, 0);
    state_end(&s);
    state_begin(&s, "VDEV", 2);
    state_u16(&s, v->id);
    state_u8(&s, v->status);
    state_u32(&s, 5);
    state_u8(&s, v->status & VIRTIO_CONFIG_S_DRIVER_OK ? 2 : 0); /* it runs */
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        state_u32(&s, v->features[i]);
    state_u32(&s, v->n);
    for (unsigned i = 0; i < 2 - v->less; i++) {
        state_u64(&s, v->q[i].desc);
        state_u64(&s, v->q[i].driver);
        state_u64(&s, v->q[i].device);
        state_u16(&s, v->q[i].size);
        state_u16(&s, v->q[i].next);
        state_u16(&s, v->q[i].next);
        state_u8(&s, v->q[i].enabled);
    }
    for (unsigned i = 0; i < v->more; i++)
        state_u8(&s, 0);
    state_end(&s);
    int rc = rig_load(r, s.buf, s.len);
    state_out_free(&s);
    return rc;
}

Test(state, an_image_as_it_should_be_is_taken)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    struct vdev_image v = image_of(r);
    cr_assert_eq(load_image(r, &v), 0);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_CONFIG_GENERATION), 5);
    vdev_resume(r->dev);
    cr_assert(served(r, 0) && served(r, 1));
    rig_down(r);
}

static struct vdev_image bad;

static void must_be_refused(struct rig *r, const char *what)
{
    cr_assert_eq(load_image(r, &bad), -EBADMSG, "%s", what);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_STATUS), 0, "%s: as after a reset", what);
    vdev_resume(r->dev);
    rig_negotiate(r);
    cr_assert(served(r, 0) && served(r, 1), "%s: and it works", what);
    bad = image_of(r);
}

Test(state, an_image_that_makes_no_sense_is_refused)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    bad = image_of(r);
    bad.id = 61;
    must_be_refused(r, "another device");
    bad.n = 3;
    must_be_refused(r, "another number of queues");
    bad.less = 1;
    must_be_refused(r, "a queue is missing");
    bad.more = 1;
    must_be_refused(r, "bytes left over");
    bad.features[3] = 1u << 31;
    must_be_refused(r, "a feature that is not offered");
    bad.features[1] = 0;
    must_be_refused(r, "no VERSION_1");
    bad.q[1].size = 3;
    must_be_refused(r, "a size that is no power of two");
    bad.q[1].size = 16;
    must_be_refused(r, "more than the device has");
    bad.q[1].desc = 0xd0000000;
    must_be_refused(r, "a ring outside RAM");
    bad.q[0].device += 2;
    must_be_refused(r, "a ring that is not aligned");
    rig_down(r);
}

Test(state, an_image_that_started_without_its_features)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    bad = image_of(r);
    bad.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK;
    bad.features[2] = 1;
    must_be_refused(r, "DRIVER_OK without FEATURES_OK, features that nobody checked");
    bad.status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    must_be_refused(r, "a queue that is enabled before FEATURES_OK");
    rig_down(r);
}
