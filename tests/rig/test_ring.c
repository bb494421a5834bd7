/* tests/rig/test_ring.c - the split ring and the request interface, against the device that holds
 * requests until it is told to complete them: service, notifications, reset, and saved state. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

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
