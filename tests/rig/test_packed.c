/* tests/rig/test_packed.c - the packed ring (virtio 1.4, 2.8) against the device that holds
 * requests: lists and tables, wrap counters, completion in any order, suppression of notifications,
 * reset, and saved state. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/rig/held.h"

enum {
    Q = 0,
    N = VRING_DESC_F_NEXT,
    W = VRING_DESC_F_WRITE,
    I = VRING_DESC_F_INDIRECT,
    AVAIL = 1 << VRING_PACKED_DESC_F_AVAIL,
    USED = 1 << VRING_PACKED_DESC_F_USED,
    WRAP = 1 << VRING_PACKED_EVENT_F_WRAP_CTR,
};

static struct vring_packed_desc slot(struct rig *r, unsigned i)
{
    struct vring_packed_desc d;
    memcpy(&d, rig_at(r, GPA(r->q[Q].desc.v + i * sizeof(d)), sizeof(d)), sizeof(d));
    return d;
}

static struct rig *up(uint16_t size)
{
    return held_up_packed((struct rig_options){0}, size);
}

/* --- service --- */

Test(packed, a_buffer_comes_back_with_its_id_and_length)
{
    struct rig *r = up(8);
    struct rig_seg out = {rig_alloc(r, 16), 16}, in = {rig_alloc(r, 100), 100};
    uint16_t id = rig_add(r, Q, &out, 1, &in, 1);
    held_run(r);
    held_expect(r, id, 100);
    cr_assert_eq(r->q[Q].used_flags, AVAIL | USED | W, "both bits as the counter, 2.8.1");
    held_expect_none(r);
    cr_assert_eq(rig_irqs(r), 1);
    rig_down(r);
}

/* 2.8.4: WRITE says that something was written; without it the length means nothing. */
Test(packed, the_write_flag_says_that_bytes_were_written)
{
    struct rig *r = up(8);
    held.hold = true;
    held_add(r, 8);
    held_add(r, 8);
    held_run(r);
    held_complete(0, 0);
    held_complete(0, 1);
    rig_settle(r);
    held_expect(r, 0, 0);
    cr_assert_not(r->q[Q].used_flags & W);
    held_expect(r, 1, 1);
    cr_assert(r->q[Q].used_flags & W);
    rig_down(r);
}

Test(packed, a_list_is_one_buffer_in_its_order)
{
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues / The Virtqueue Descriptor "
           "Table#02");
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues / Scatter-Gather Support#01");
    struct rig *r = up(8);
    held.hold = true;
    gpa_t a = rig_alloc(r, 64);
    const struct rig_seg out[] = {{a, 3}, {GPA(a.v + 8), 5}};
    const struct rig_seg in[] = {{GPA(a.v + 16), 0}, {GPA(a.v + 16), 1}, {GPA(a.v + 20), 7}};
    memcpy(rig_at(r, a, 16), "abc.....defgh...", 16);
    uint16_t id = rig_add(r, Q, out, 2, in, 3);
    const struct vring_packed_desc second = slot(r, 1);
    held_run(r);
    char buf[8];
    cr_assert_eq(held.n, 1);
    cr_assert_eq(held.req[0]->n_out, 2);
    cr_assert_eq(held.req[0]->n_in, 2, "the empty one is left out");
    cr_assert_eq(vq_req_read(held.req[0], 0, buf, 8), 0);
    cr_assert(memcmp(buf, "abcdefgh", 8) == 0);
    cr_assert_eq(vq_req_read(held.req[0], 1, buf, 8), -EMSGSIZE, "what is to be written is not");
    cr_assert_eq(vq_req_write(held.req[0], 0, "12345678", 8), 0);
    cr_assert(memcmp(rig_at(r, GPA(a.v + 16), 1), "1", 1) == 0);
    cr_assert(memcmp(rig_at(r, GPA(a.v + 20), 7), "2345678", 7) == 0);
    held_complete(0, 8);
    rig_settle(r);
    held_expect(r, id, 8);
    cr_assert_eq(r->q[Q].used_idx, 5, "one used descriptor for all of them");
    const struct vring_packed_desc after = slot(r, 1);
    cr_assert(memcmp(&second, &after, sizeof(after)) == 0, "the others are as they were");
    rig_down(r);
}

/* 2.8.7: of a table's entries only WRITE counts: neither NEXT, INDIRECT, the ring's bits nor the
 * ID. Of the descriptor that refers to it WRITE does not count. */
Test(packed, in_an_indirect_table_only_the_write_flag_counts)
{
    struct rig *r = up(8);
    held.hold = true;
    gpa_t a = rig_alloc(r, 64), table = GPA(rig_alloc(r, 64).v + 4); /* and it is not aligned */
    rig_forge(r, table, 0, a.v, 4, I | AVAIL, 77);
    rig_forge(r, table, 1, a.v + 4, 8, W | N | USED, 78);
    rig_forge(r, table, 2, a.v + 12, 16, W, 79);
    rig_place(r, Q, &(struct rig_packed){table.v, 48, I | W, 4711}, 1);
    held_run(r);
    cr_assert_eq(held.n, 1);
    cr_assert_eq(held.req[0]->out_len, 4);
    cr_assert_eq(held.req[0]->in_len, 24);
    held_complete(0, 24);
    rig_settle(r);
    held_expect(r, 4711, 24);
    cr_assert_eq(r->q[Q].used_idx, 1);
    rig_down(r);
}

Test(packed, buffer_ids_are_any_number)
{
    struct rig *r = up(4);
    const uint16_t ids[] = {65535, 0, 32768, 4};
    gpa_t a = rig_alloc(r, 8);
    for (unsigned lap = 0; lap < 3; lap++) {
        for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
            rig_place(r, Q, &(struct rig_packed){a.v, 8, W, ids[i]}, 1);
        held_run(r);
        for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
            held_expect(r, ids[i], 8);
    }
    rig_down(r);
}

Test(packed, taken_in_the_rings_order_used_in_the_devices)
{
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues#01");
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues#02");
    struct rig *r = up(8);
    held.hold = true;
    gpa_t a = rig_alloc(r, 16);
    const struct rig_seg in[] = {{a, 1}, {GPA(a.v + 1), 1}, {GPA(a.v + 2), 1}};
    uint16_t ids[3];
    for (unsigned i = 0; i < 3; i++)
        ids[i] = rig_add(r, Q, NULL, 0, in, i + 1);
    held_run(r);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(held.req[i]->in_len, i + 1);
    held_complete(2, 3);
    held_complete(0, 1);
    rig_settle(r);
    held_complete(0, 2);
    rig_settle(r);
    held_expect(r, ids[2], 3);
    held_expect(r, ids[0], 1);
    held_expect(r, ids[1], 2);
    cr_assert_eq(r->q[Q].used_idx, 6);
    rig_down(r);
}

/* What completes in one turn is published together: the flags of its first descriptor are written
 * last, and until then the driver sees nothing of it. */
Test(packed, a_batch_appears_at_once)
{
    struct rig *r = up(8);
    held.hold = true;
    for (unsigned i = 0; i < 3; i++)
        held_add(r, 8);
    held_run(r);
    (void)rig_irqs(r);
    for (unsigned i = 0; i < 3; i++)
        held_complete(0, i + 1);
    cr_assert_not(slot(r, 0).flags & USED);
    cr_assert(slot(r, 1).flags & USED);
    cr_assert(slot(r, 2).flags & USED);
    held_expect_none(r);
    rig_settle(r);
    for (uint16_t i = 0; i < 3; i++)
        held_expect(r, i, i + 1u);
    cr_assert_eq(rig_irqs(r), 1);
    rig_down(r);
}

Test(packed, a_used_descriptor_is_left_alone)
{
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues / The Virtqueue Descriptor "
           "Table#04");
    struct rig *r = up(8);
    held_add(r, 8);
    held_run(r);
    held_expect(r, 0, 8);
    const struct vring_packed_desc before = slot(r, 0);
    for (uint16_t i = 1; i < 8; i++) {
        held_add(r, 8);
        held_run(r);
        held_expect(r, i, 8);
    }
    held_run(r);
    const struct vring_packed_desc after = slot(r, 0);
    cr_assert(memcmp(&before, &after, sizeof(after)) == 0);
    rig_down(r);
}

/* 2.8.1: AVAIL as the wrap counter and USED not; that they differ is not enough. */
Test(packed, only_bits_of_this_lap_make_it_available)
{
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues / The Virtqueue Descriptor "
           "Table#03");
    struct rig *r = up(4);
    gpa_t a = rig_alloc(r, 8);
    for (unsigned lap = 0; lap < 2; lap++) {
        const uint16_t other_lap = lap == 0 ? USED : AVAIL;
        const uint16_t not_yet[] = {0, AVAIL | USED, other_lap};
        for (unsigned k = 0; k < ARRAY_SIZE(not_yet); k++) {
            rig_forge(r, r->q[Q].desc, 0, a.v, 8, W | not_yet[k], 9);
            held_run(r);
            struct vring_packed_desc d = slot(r, 0);
            cr_assert_eq(d.flags, W | not_yet[k], "lap %u, %#x: not touched", lap, not_yet[k]);
        }
        for (uint16_t i = 0; i < 4; i++) {
            rig_place(r, Q, &(struct rig_packed){a.v, 8, W, i}, 1);
            held_run(r);
            held_expect(r, i, 8);
        }
    }
    rig_down(r);
}

/* --- laps --- */

/* Lists of one to three descriptors, which pass the end at every place. */
Test(packed, wrap_counters_flip_at_the_end)
{
    for (uint16_t size = 1; size <= 7; size++) {
        struct rig *r = up(size);
        gpa_t a = rig_alloc(r, 8);
        const struct rig_seg in[] = {{a, 1}, {GPA(a.v + 1), 1}, {GPA(a.v + 2), 1}};
        for (unsigned i = 0; i < 500; i++) {
            unsigned n = i % MIN(3, size) + 1;
            uint16_t id = rig_add(r, Q, NULL, 0, in, n);
            held_run(r);
            held_expect(r, id, n);
        }
        cr_assert_not(rig_needs_reset(r));
        rig_down(r);
    }
}

Test(packed, more_laps_than_any_counter_has_bits)
{
    struct rig *r = up(4);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    for (unsigned i = 0; i < 70000; i++) {
        uint16_t id = rig_add(r, Q, NULL, 0, &in, 1);
        held_run(r);
        held_expect(r, id, 8);
    }
    rig_down(r);
}

Test(packed, any_size_and_all_of_it)
{
    const uint16_t sizes[] = {1, 2, 3, 5, 100, 255, 256, 20000, 32767, 32768};
    for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct rig *r = up(sizes[s]);
        struct rig_seg in = {rig_alloc(r, 8), 8};
        for (unsigned lap = 0; lap < 3; lap++) {
            for (unsigned i = 0; i < sizes[s]; i++)
                rig_add(r, Q, NULL, 0, &in, 1);
            held_run(r);
            uint32_t id, len, n = 0;
            while (rig_used(r, Q, &id, &len))
                n++;
            cr_assert_eq(n, sizes[s], "size %u, lap %u", sizes[s], lap);
        }
        rig_down(r);
    }
}

Test(packed, holds_no_more_than_its_slots_and_goes_on)
{
    struct rig *r = up(2048);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    held.hold = true;
    for (unsigned i = 0; i < 2048; i++)
        rig_add(r, Q, NULL, 0, &in, 1);
    held_run(r);
    cr_assert_eq(held.n, 1024);
    held_complete(5, 0);
    rig_settle(r);
    cr_assert_eq(held.n, 1024, "the freed slot was filled");
    rig_down(r);
}

/* Also of a list that lies across the end of the ring. */
Test(packed, unpop_gives_it_back)
{
    struct rig *r = up(3);
    gpa_t a = rig_alloc(r, 8);
    const struct rig_seg in[] = {{a, 1}, {GPA(a.v + 1), 1}};
    for (unsigned i = 0; i < 7; i++) {
        uint16_t id = rig_add(r, Q, NULL, 0, in, 2);
        held.unpop_once = true;
        held_run(r);
        held_expect_none(r);
        vq_poke(held.vq);
        rig_settle(r);
        held_expect(r, id, 2);
    }
    rig_down(r);
}

/* --- notifications (2.8.9, 2.8.10) --- */

Test(packed, an_idle_queue_asks_to_be_kicked)
{
    for (unsigned flags_only = 0; flags_only < 2; flags_only++) {
        struct rig *r = held_up_packed((struct rig_options){.no_event_idx = flags_only}, 3);
        for (uint16_t i = 0; i < 50; i++) {
            held_add(r, 8);
            cr_assert(rig_must_kick(r, Q), "buffer %u, flags only: %u", i, flags_only);
            held_run(r);
            held_expect(r, i, 8);
        }
        rig_down(r);
    }
}

Test(packed, a_busy_queue_asks_for_no_kicks)
{
    for (unsigned flags_only = 0; flags_only < 2; flags_only++) {
        struct rig *r = held_up_packed((struct rig_options){.no_event_idx = flags_only}, 8);
        held.hold = true;
        held.take_at_most = 1; /* so that it never sees the queue empty */
        held_add(r, 8);
        held_add(r, 8);
        (void)rig_must_kick(r, Q);
        held_run(r);
        held_add(r, 8);
        cr_assert_not(rig_must_kick(r, Q));
        rig_down(r);
    }
}

Test(packed, interrupts_follow_the_drivers_flag)
{
    for (unsigned flags_only = 0; flags_only < 2; flags_only++) {
        struct rig *r = held_up_packed((struct rig_options){.no_event_idx = flags_only}, 8);
        for (uint16_t i = 0; i < 20; i++) {
            bool quiet = i % 3 == 1;
            quiet ? rig_hush(r, Q) : rig_listen(r, Q);
            held_add(r, 8);
            held_run(r);
            held_expect(r, i, 8);
            cr_assert_eq(rig_irqs(r), !quiet, "buffer %u", i);
        }
        rig_down(r);
    }
}

/* 2.8.10: DESC means an offset and a lap; it is honoured on either side of the ring's end. */
Test(packed, interrupts_follow_the_drivers_event)
{
    struct rig *r = up(5);
    uint16_t id = 0;
    for (unsigned start = 0; start < 12; start++) {
        rig_listen_at(r, Q, 3);
        for (unsigned i = 1; i <= 4; i++, id++) {
            held_add(r, 8);
            held_run(r);
            held_expect(r, id, 8);
            cr_assert_eq(rig_irqs(r), i == 3, "from slot %u, buffer %u", start * 4 % 5, i);
        }
        rig_listen_at(r, Q, 3); /* a batch that passes the event interrupts once */
        for (unsigned i = 0; i < 4; i++)
            held_add(r, 8);
        held_run(r);
        for (unsigned i = 0; i < 4; i++, id++)
            held_expect(r, id, 8);
        cr_assert_eq(rig_irqs(r), 1);
        rig_listen_at(r, Q, 5); /* and one that does not, does not */
        for (unsigned i = 0; i < 4; i++)
            held_add(r, 8);
        held_run(r);
        for (unsigned i = 0; i < 4; i++, id++)
            held_expect(r, id, 8);
        cr_assert_eq(rig_irqs(r), 0);
    }
    rig_down(r);
}

/* An event inside a list is passed by the list's one used descriptor. */
Test(packed, an_event_inside_a_list)
{
    struct rig *r = up(8);
    gpa_t a = rig_alloc(r, 8);
    const struct rig_seg in[] = {{a, 1}, {GPA(a.v + 1), 1}, {GPA(a.v + 2), 1}};
    for (unsigned nth = 1; nth <= 3; nth++) {
        rig_listen_at(r, Q, nth);
        uint16_t id = rig_add(r, Q, NULL, 0, in, 3);
        held_run(r);
        held_expect(r, id, 3);
        cr_assert_eq(rig_irqs(r), 1, "descriptor %u", nth);
    }
    rig_down(r);
}

/* Values that a driver must not write: a notification too many harms nobody. */
Test(packed, reserved_wishes_are_no_silence)
{
    struct rig *r = held_up_packed((struct rig_options){.no_event_idx = true}, 8);
    for (uint16_t flags = 2; flags <= 3; flags++) {
        rig_put16(r, r->q[Q].avail, 5);
        rig_put16(r, GPA(r->q[Q].avail.v + 2), flags);
        uint16_t id = held_add(r, 8);
        held_run(r);
        held_expect(r, id, 8);
        cr_assert_eq(rig_irqs(r), 1, "flags %u", flags);
    }
    rig_down(r);
}

Test(packed, spurious_notifications)
{
    struct rig *r = up(8);
    held_run(r);
    rig_kick(r, 1);
    rig_kick(r, UINT32_MAX);
    rig_settle(r);
    cr_assert_not(rig_needs_reset(r));
    held_add(r, 8);
    held_run(r);
    held_expect(r, 0, 8);
    rig_down(r);
}

/* --- reset and state --- */

Test(packed, reset_gives_back_what_is_in_flight)
{
    struct rig *r = up(8);
    held.hold = true;
    for (unsigned i = 0; i < 5; i++)
        held_add(r, 8);
    held_run(r);
    cr_assert_eq(held.n, 5);
    rig_status_set(r, 0);
    cr_assert_eq(rig_status(r), 0);
    cr_assert_eq(held.n, 0);
    (void)rig_irqs(r);
    held_run(r);
    cr_assert_eq(rig_irqs(r), 0);
    rig_down(r);
}

/* After an odd number of laps: both wrap counters are 1 again (2.6.1.1), the size is another. */
Test(packed, a_queue_that_was_reset_begins_anew)
{
    struct rig *r = up(8);
    for (uint16_t i = 0; i < 11; i++) {
        held_add(r, 8);
        held_run(r);
        held_expect(r, i, 8);
    }
    cr_assert_not(r->q[Q].avail_wrap);
    held.hold = true;
    held_add(r, 8);
    held_run(r);
    r->regs->queue_reset(r, Q);
    cr_assert_not(r->regs->queue_resetting(r, Q));
    cr_assert_not(r->regs->queue_enabled(r, Q));
    cr_assert_eq(held.n, 0);
    held.hold = false;
    r->o.queue_size = 5;
    rig_queue_up(r, Q);
    for (uint16_t i = 0; i < 11; i++) {
        held_add(r, 8);
        cr_assert(rig_must_kick(r, Q));
        held_run(r);
        held_expect(r, i, 8);
    }
    rig_down(r);
}

/* Saved and loaded at each place of two laps. */
Test(packed, survives_a_save_and_a_load)
{
    for (unsigned done = 0; done < 11; done++) {
        struct rig *r = up(5);
        for (unsigned i = 0; i < done; i++) {
            uint16_t id = held_add(r, 8);
            held_run(r);
            held_expect(r, id, 8);
        }
        (void)rig_must_kick(r, Q);
        vdev_pause(r->dev);
        uint16_t waiting = held_add(r, 8); /* made available while nobody looks */
        struct state_out s = rig_save(r);
        cr_assert_eq(rig_load(r, s.buf, s.len), 0);
        struct state_out again = rig_save(r);
        cr_assert(again.len == s.len && memcmp(again.buf, s.buf, s.len) == 0);
        vdev_resume(r->dev);
        rig_settle(r);
        held_expect(r, waiting, 8);
        (void)rig_must_kick(r, Q);
        uint16_t id = held_add(r, 8);
        cr_assert(rig_must_kick(r, Q), "after %u", done);
        held_run(r);
        held_expect(r, id, 8);
        state_out_free(&s);
        state_out_free(&again);
        rig_down(r);
    }
}
