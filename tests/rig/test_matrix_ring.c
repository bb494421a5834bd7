/* tests/rig/test_matrix_ring.c - rings under every device class: sizes, laps, and who wants to be
 * told what (virtio 1.4, 2.7.7, 2.7.10, 2.8.9, 2.8.10). */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/rig/matrix.h"

/* A driver that notifies only when it is asked to. */
Test(matrix, an_idle_device_asks_for_notifications)
{
    for_each_cell(c, CELLS_ALL)
    {
        struct rig *r = cell_up(&c, 4);
        for (unsigned i = 0; i < 11; i++) {
            struct matrix_request q;
            cell_add(r, &c, &q);
            MUST(rig_must_kick(r, c.class->queue), "request %u", i);
            rig_kick(r, c.class->queue);
            rig_settle(r);
            cell_expect(r, &c, &q);
        }
        rig_down(r);
    }
}

Test(matrix, interrupts_as_the_driver_wishes)
{
    for_each_cell(c, CELLS_ALL)
    {
        struct rig *r = cell_up(&c, 4);
        cell_serve(r, &c); /* the console announces its size with the first one */
        for (unsigned i = 0; i < 9; i++) {
            (void)rig_irqs(r);
            if (i % 3 == 0)
                rig_hush(r, c.class->queue);
            else if (i % 3 == 1)
                rig_listen(r, c.class->queue);
            else
                rig_listen_at(r, c.class->queue, 1);
            cell_serve(r, &c);
            MUST(rig_irqs(r) == (i % 3 != 0), "request %u", i);
        }
        rig_down(r);
    }
}

/* With EVENT_IDX the second one of three, in whatever place of the ring. */
Test(matrix, interrupts_at_an_event)
{
    for_each_cell(c, CELLS_ALL)
    {
        if (!c.event_idx || (c.packed && !c.indirect && c.class->descs > 1))
            continue; /* the event is a descriptor there, not a buffer */
        struct rig *r = cell_up(&c, 4);
        cell_serve(r, &c);
        for (unsigned i = 0; i < 5; i++) {
            (void)rig_irqs(r);
            rig_listen_at(r, c.class->queue, 2);
            for (unsigned k = 1; k <= 3; k++) {
                cell_serve(r, &c);
                MUST(rig_irqs(r) == (k == 2), "round %u, request %u", i, k);
            }
        }
        rig_down(r);
    }
}

/* Whatever the order is in which they come back. */
static void expect_all(struct rig *r, const struct cell *c, struct matrix_request *q, unsigned n)
{
    for (unsigned left = n; left > 0; left--) {
        uint32_t id, len;
        unsigned i = 0;
        MUST(rig_used(r, c->class->queue, &id, &len), "%u of %u are not used", left, n);
        while (i < left && q[i].id != id)
            i++;
        MUST(i < left, "buffer %u is not in flight", id);
        MUST(len == c->class->used_len, "length %u", len);
        c->class->check(r, &q[i], len);
        memmove(&q[i], &q[i + 1], (left - 1 - i) * sizeof(*q));
    }
}

/* 2.6.4: nobody may care where a driver cuts its buffers. */
Test(matrix, any_framing)
{
    PROVES("Basic Facilities of a Virtio Device / Message Framing#01");
    static const uint32_t cuts[] = {1, 2, 3, 7, 15, 16, 17, 100, 511, 513};
    for_each_cell(c, CELLS_RINGS)
    {
        for (unsigned indirect = 0; indirect < 2; indirect++) {
            c.indirect = indirect;
            struct rig *r = cell_up(&c, 1024);
            for (unsigned i = 0; i < ARRAY_SIZE(cuts); i++) {
                matrix_cut = cuts[i];
                cell_serve(r, &c);
            }
            MUST(!rig_needs_reset(r));
            rig_down(r);
        }
    }
    matrix_cut = 0;
}

static struct ring_image indirect_table(struct rig *r, unsigned q)
{
    struct rig_queue *rq = &r->q[q];
    const uint8_t *d = rig_at(r, rq->desc, rq->size * 16u);
    uint32_t len = (uint32_t)get_bytes(d + 8, 4);
    struct ring_image image = {.len = len, .bytes = malloc(len)};
    memcpy(image.bytes, rig_at(r, GPA(get_bytes(d, 8)), len), len);
    return image;
}

/* The split ring's is the driver's alone, and so is the available ring; so are indirect tables. */
Test(matrix, what_is_the_drivers_is_not_written)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / The Virtqueue Descriptor Table#01");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / The Virtqueue Descriptor Table#04");
    PROVES("Basic Facilities of a Virtio Device / Packed Virtqueues / The Virtqueue Descriptor "
           "Table#01");
    for_each_cell(c, CELLS_ALL)
    {
        struct rig *r = cell_up(&c, 4);
        struct rig_queue *rq = &r->q[c.class->queue];
        struct matrix_request q;
        uint8_t before[64 + 16];
        size_t len = c.packed ? 0 : sizeof(before) - 16, avail = c.packed ? 4 : 6 + 2 * 4;
        cell_add(r, &c, &q);
        memcpy(before, rig_at(r, rq->desc, len), len);
        memcpy(before + 64, rig_at(r, rq->avail, avail), avail);
        struct ring_image table = {0};
        if (c.indirect)
            table = indirect_table(r, c.class->queue);
        uint64_t table_at = get_bytes(rig_at(r, rq->desc, 8), 8);
        rig_kick(r, c.class->queue);
        rig_settle(r);
        cell_expect(r, &c, &q); /* and what is to be read is as it was */
        MUST(memcmp(before, rig_at(r, rq->desc, len), len) == 0, "the descriptor table");
        MUST(memcmp(before + 64, rig_at(r, rq->avail, avail), avail) == 0, "the driver's area");
        if (c.indirect)
            MUST(memcmp(table.bytes, rig_at(r, GPA(table_at), table.len), table.len) == 0);
        free(table.bytes);
        rig_down(r);
    }
}

static void all_of_it(const struct cell *c, uint16_t size)
{
    unsigned each = c->indirect ? 1 : c->class->descs;
    struct matrix_request *q = calloc(size, sizeof(*q));
    struct rig *r = cell_up(c, size);
    MUST(r->q[c->class->queue].size == size);
    for (unsigned lap = 0; lap < 3; lap++) {
        unsigned n = MIN(size / each, 1000u); /* the rig has only so much RAM */
        for (unsigned i = 0; i < n; i++)
            cell_add(r, c, &q[i]);
        rig_kick(r, c->class->queue);
        rig_settle(r);
        expect_all(r, c, q, n);
    }
    MUST(!rig_needs_reset(r));
    free(q);
    rig_down(r);
}

Test(matrix, sizes)
{
    static const uint16_t sizes[] = {1, 2, 3, 256, 32768};
    for_each_cell(c, CELLS_RINGS)
    {
        for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
            for (unsigned indirect = 0; indirect < 2; indirect++) {
                c.indirect = indirect;
                bool fits = indirect || sizes[i] >= c.class->descs;
                if (fits && (c.packed || sizes[i] != 3))
                    all_of_it(&c, sizes[i]);
            }
        }
    }
}

/* 2.7.13.3: the indices of a split ring are free running and wrap at 65536, whatever its size; and
 * a packed one's wrap counters have flipped as often as they will. */
Test(matrix, seventy_thousand_requests)
{
    for_each_cell(c, CELLS_RINGS)
    {
        if (strcmp(c.class->name, "rng") != 0 || c.intx)
            continue;
        c.indirect = false;
        struct rig *r = cell_up(&c, 4);
        const struct rig_seg in = {rig_alloc(r, 1), 1};
        for (unsigned i = 0; i < 70000; i++) {
            uint32_t id, len;
            uint16_t added = rig_add(r, 0, NULL, 0, &in, 1);
            rig_kick(r, 0);
            rig_settle(r);
            MUST(rig_used(r, 0, &id, &len) && id == added && len == 1, "request %u", i);
        }
        rig_down(r);
    }
}
