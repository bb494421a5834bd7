/* tests/rig/test_matrix.c - what every device class does on every transport and ring: negotiation,
 * configuration space, requests, and every kind of reset (virtio 1.4, 2.1 to 2.6, 3.1). */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "tests/rig/matrix.h"

enum { A = 1, D = 2, OK = 4, FOK = 8 };

static void begin(struct rig *r)
{
    rig_status_set(r, 0);
    MUST(rig_status(r) == 0);
    rig_status_set(r, A);
    rig_status_set(r, A | D);
}

static void accept_only(struct rig *r, const uint32_t words[VDEV_FEATURE_WORDS])
{
    begin(r);
    for (uint32_t i = 0; i < VDEV_FEATURE_WORDS; i++)
        r->regs->accept(r, i, words[i]);
    rig_status_set(r, A | D | FOK);
}

static bool offered(struct rig *r, unsigned bit)
{
    return r->regs->features(r, bit / 32) >> (bit % 32) & 1;
}

/* --- features (2.2) --- */

Test(matrix, feature_words)
{
    PROVES("Reserved Feature Bits#01");
    for_each_cell(c, CELLS_PLAIN)
    {
        struct rig *r = cell_up(&c, 0);
        begin(r);
        MUST(offered(r, VIRTIO_F_VERSION_1) == !r->legacy);
        for (uint32_t word = 0; word < 6; word++) {
            uint32_t bits = r->regs->features(r, word);
            if (word >= VDEV_FEATURE_WORDS || (r->legacy && word > 0))
                MUST(bits == 0, "word %u", word);
            if (r->regs->accepted && (word == 0 || !r->legacy)) {
                r->regs->accept(r, word, bits);
                MUST(r->regs->accepted(r, word) == bits, "word %u is not read back", word);
            }
        }
        MUST(r->regs->features(r, UINT32_MAX) == 0);
        rig_down(r);
    }
}

/* With everything switched on that can be: still nothing that is reserved, unknown or another
 * transport's, whoever asks for it (6). */
Test(matrix, offers_only_what_there_is)
{
    PROVES("Basic Facilities of a Virtio Device / Feature Bits#04");
    PROVES("Reserved Feature Bits#10");
    const struct vdev_options all = {.packed = true,
                                     .indirect = true,
                                     .event_idx = true,
                                     .in_order = true,
                                     .notification_data = true,
                                     .notif_config_data = true,
                                     .ring_reset = true,
                                     .order_platform = true,
                                     .suspend = true};
    for_each_cell(c, CELLS_PLAIN)
    {
        struct rig *r = cell_up_with(&c, (struct rig_options){.vdev = &all});
        const unsigned never[] = {24, 25, 26, 30, 31, 37, 42, 44, 45, 46, 47, 48, 49};
        for (size_t i = 0; i < ARRAY_SIZE(never); i++)
            MUST(!offered(r, never[i]), "feature %u", never[i]);
        bool modern_pci = c.transport == RIG_PCI || c.transport == RIG_PCI_TRANSITIONAL;
        MUST(offered(r, VDEV_F_NOTIF_CONFIG_DATA) == modern_pci);
        MUST(offered(r, VIRTIO_F_ANY_LAYOUT) == r->legacy);
        for (unsigned bit = 71; bit < 128; bit++)
            MUST(!offered(r, bit), "feature %u", bit);
        cell_serve(r, &c);
        rig_down(r);
    }
}

/* Offered by itself, without what it needs, each of these is a trap (5.1.3.1, 5.2.3). */
Test(matrix, nothing_is_offered_without_what_it_needs)
{
    PROVES("Basic Facilities of a Virtio Device / Feature Bits#01");
    enum { NET = 1, BLK = 2 };
    static const struct {
        uint16_t id;
        uint8_t feature, needs[3]; /* one of them */
    } rules[] = {
        {NET, 7, {1}},   {NET, 8, {1}},   {NET, 9, {7, 8}}, {NET, 10, {1}},      {NET, 54, {1}},
        {NET, 55, {1}},  {NET, 11, {0}},  {NET, 12, {0}},   {NET, 13, {11, 12}}, {NET, 14, {0}},
        {NET, 56, {0}},  {NET, 18, {17}}, {NET, 19, {17}},  {NET, 20, {17}},     {NET, 21, {17}},
        {NET, 22, {17}}, {NET, 2, {17}},  {NET, 23, {17}},  {NET, 61, {7, 8}},   {NET, 60, {17}},
        {NET, 53, {17}}, {NET, 52, {17}}, {NET, 57, {17}},  {NET, 64, {60}},     {BLK, 11, {9}},
    };
    for_each_cell(c, CELLS_PLAIN)
    {
        struct rig *r = cell_up(&c, 0);
        for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
            if (rules[i].id != vdev_id(r->dev) || !offered(r, rules[i].feature))
                continue;
            bool met = false;
            for (unsigned k = 0; k < 3 && (k == 0 || rules[i].needs[k]); k++)
                met |= offered(r, rules[i].needs[k]);
            MUST(met, "feature %u", rules[i].feature);
        }
        rig_down(r);
    }
}

Test(matrix, an_unoffered_feature_is_refused)
{
    PROVES("Basic Facilities of a Virtio Device / Feature Bits#03");
    PROVES("Reserved Feature Bits#02");
    for_each_cell(c, CELLS_PLAIN)
    {
        if (cell_is_legacy(&c))
            continue; /* which has no way to say so */
        struct rig *r = cell_up(&c, 0);
        for (unsigned bit = 0; bit < 128; bit++) {
            if (offered(r, bit))
                continue;
            uint32_t words[VDEV_FEATURE_WORDS] = {c.class->must, 1, 0, 0};
            words[bit / 32] |= 1u << (bit % 32);
            accept_only(r, words);
            MUST(rig_status(r) == (A | D), "feature %u", bit);
        }
        accept_only(r, (const uint32_t[VDEV_FEATURE_WORDS]){c.class->must, 0, 0, 0});
        MUST(rig_status(r) == (A | D), "no VERSION_1");
        rig_negotiate(r);
        cell_serve(r, &c);
        rig_down(r);
    }
}

/* Of the core's features every subset; what was accepted once is accepted again. */
Test(matrix, any_subset_is_accepted_again_and_again)
{
    PROVES("Basic Facilities of a Virtio Device / Feature Bits#02");
    PROVES("Basic Facilities of a Virtio Device / Feature Bits#05");
    static const unsigned core[] = {VIRTIO_RING_F_INDIRECT_DESC,
                                    VIRTIO_RING_F_EVENT_IDX,
                                    VIRTIO_F_RING_PACKED,
                                    VIRTIO_F_IN_ORDER,
                                    VDEV_F_NOTIFICATION_DATA,
                                    VIRTIO_F_RING_RESET,
                                    VDEV_F_SUSPEND};
    const struct rig_options o = {.notification_data = true, .in_order = true, .packed = true};
    for_each_cell(c, CELLS_PLAIN)
    {
        if (cell_is_legacy(&c))
            continue;
        c.packed = c.in_order = c.notification_data = true;
        struct rig *r = cell_up_with(&c, o);
        for (unsigned set = 0; set < 1u << ARRAY_SIZE(core); set++) {
            uint64_t bits = 1ull << VIRTIO_F_VERSION_1 | c.class->must;
            for (unsigned i = 0; i < ARRAY_SIZE(core); i++)
                bits |= (uint64_t)(set >> i & 1) << core[i];
            for (unsigned again = 0; again < 2; again++) {
                accept_only(r, (const uint32_t[VDEV_FEATURE_WORDS]){(uint32_t)bits,
                                                                    (uint32_t)(bits >> 32)});
                MUST(rig_status(r) == (A | D | FOK), "features %#lx", (unsigned long)bits);
            }
        }
        rig_down(r);
    }
}

/* --- configuration space (2.5) --- */

/* Whole, by accesses of one width. */
static void read_config(struct rig *r, unsigned width, uint8_t *to, size_t len)
{
    for (unsigned off = 0; off + width <= len; off += width)
        put_bytes(to + off, rig_config(r, off, width), width);
}

Test(matrix, configuration_is_there_before_features_ok)
{
    PROVES("Basic Facilities of a Virtio Device / Device Configuration Space#01");
    for_each_cell(c, CELLS_PLAIN)
    {
        struct rig *r = cell_up(&c, 0);
        uint8_t fresh[256] = {0}, begun[256] = {0};
        size_t len = vdev_config_len(r->dev) & ~3ul;
        rig_status_set(r, 0);
        for (unsigned width = 1; width <= 4; width *= 2) {
            read_config(r, width, fresh, len);
            begin(r);
            read_config(r, 1, begun, len);
            MUST(memcmp(fresh, begun, len) == 0, "%u bytes at a time", width);
            rig_status_set(r, 0);
        }
        unsigned something = len == 0;
        for (size_t i = 0; i < len; i++)
            something |= fresh[i];
        MUST(something, "nothing but zeroes");
        rig_down(r);
    }
}

Test(matrix, generation_and_interrupt_of_a_change)
{
    PROVES("Virtio Transport Options / Virtio Over MMIO / MMIO Device Register Layout#06");
    for_each_cell(c, CELLS_RINGS)
    {
        struct rig *r = cell_up(&c, 0);
        cell_serve(r, &c);
        (void)rig_irqs(r);
        (void)r->regs->acknowledge(r);
        uint64_t first = rig_config(r, 0, 1);
        uint32_t before = r->regs->generation ? r->regs->generation(r) : 0;
        vdev_config_changed(r->dev);
        MUST(rig_config(r, 0, 1) == first);
        if (r->regs->generation && vdev_config_len(r->dev))
            MUST(r->regs->generation(r) != before);
        MUST(r->regs->pending(r) == 2);
        MUST(rig_irqs(r) == 1);
        MUST(r->regs->pending(r) == 0);
        rig_down(r);
    }
}

/* --- requests --- */

/* Past the end of the ring, more than once; each is announced. */
Test(matrix, requests_are_served)
{
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / The Virtqueue Used Ring#02");
    for_each_cell(c, CELLS_ALL)
    {
        struct rig *r = cell_up(&c, 4);
        for (unsigned i = 0; i < 11; i++) {
            rig_listen(r, c.class->queue);
            (void)rig_irqs(r);
            cell_serve(r, &c);
            MUST(r->regs->pending(r) & 1, "request %u", i);
            MUST(rig_irqs(r) >= 1, "request %u", i);
        }
        MUST(!rig_needs_reset(r));
        rig_down(r);
    }
}

Test(matrix, nothing_happens_before_driver_ok)
{
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#01");
    for_each_cell(c, CELLS_ALL)
    {
        if (cell_is_legacy(&c))
            continue; /* test_legacy.c: there it may */
        struct rig *r = cell_up_with(&c, (struct rig_options){.stop_before_driver_ok = true});
        struct matrix_request q;
        cell_add(r, &c, &q);
        struct ring_image before = ring_image(r, c.class->queue);
        rig_kick(r, c.class->queue);
        rig_settle(r);
        MUST(ring_unchanged(r, c.class->queue, &before));
        MUST(rig_irqs(r) == 0 && r->regs->pending(r) == 0);
        rig_driver_ok(r);
        cell_expect(r, &c, &q); /* it was there all the time */
        rig_down(r);
    }
}

/* --- resets --- */

/* In the middle of something: the requests are on their way, the loop has had one turn. */
static void busy(struct rig *r, const struct cell *c)
{
    struct matrix_request q;
    for (unsigned i = 0; i < 3; i++) {
        cell_add(r, c, &q);
        rig_kick(r, c->class->queue);
    }
    (void)loop_step(r->loop, 0);
}

static void expect_silence(struct rig *r, const struct cell *c)
{
    (void)rig_irqs(r);
    (void)r->regs->acknowledge(r);
    struct ring_image before = ring_image(r, c->class->queue);
    rig_kick(r, c->class->queue);
    rig_settle(r);
    MUST(ring_unchanged(r, c->class->queue, &before), "the ring was touched");
    MUST(rig_irqs(r) == 0 && r->regs->pending(r) == 0, "it interrupts");
}

Test(matrix, a_reset_in_the_middle_of_it)
{
    PROVES("Basic Facilities of a Virtio Device / Device Reset#01");
    PROVES("Basic Facilities of a Virtio Device / Device Reset#02");
    for_each_cell(c, CELLS_ALL)
    {
        struct rig *r = cell_up(&c, 8);
        busy(r, &c);
        rig_status_set(r, 0);
        MUST(rig_status(r) == 0);
        MUST(!r->regs->queue_enabled(r, c.class->queue));
        expect_silence(r, &c);
        rig_negotiate(r);
        cell_serve(r, &c);
        rig_down(r);
    }
}

/* The queue alone, and again with another size (2.6.1). */
Test(matrix, a_queue_reset_in_the_middle_of_it)
{
    PROVES(
        "Basic Facilities of a Virtio Device / Virtqueues / Virtqueue Reset / Virtqueue Reset#01");
    PROVES(
        "Basic Facilities of a Virtio Device / Virtqueues / Virtqueue Reset / Virtqueue Reset#02");
    PROVES("Basic Facilities of a Virtio Device / Virtqueues / Virtqueue Reset / Virtqueue "
           "Re-enable#01");
    for_each_cell(c, CELLS_ALL)
    {
        if (!c.ring_reset)
            continue;
        unsigned queue = c.class->queue;
        struct rig *r = cell_up(&c, 8);
        busy(r, &c);
        r->regs->queue_reset(r, queue);
        MUST(!r->regs->queue_resetting(r, queue) && !r->regs->queue_enabled(r, queue));
        MUST(rig_status(r) == (A | D | FOK | OK));
        expect_silence(r, &c);
        r->o.queue_size = c.packed ? 3 : 4;
        rig_queue_up(r, queue);
        MUST(r->regs->queue_enabled(r, queue));
        for (unsigned i = 0; i < 7; i++)
            cell_serve(r, &c);
        MUST(!rig_needs_reset(r));
        rig_down(r);
    }
}

Test(matrix, a_queue_reset_that_was_not_negotiated)
{
    for_each_cell(c, CELLS_PLAIN)
    {
        if (cell_is_legacy(&c))
            continue;
        c.ring_reset = false;
        struct rig *r = cell_up(&c, 8);
        r->regs->queue_reset(r, c.class->queue);
        MUST(r->regs->queue_enabled(r, c.class->queue));
        cell_serve(r, &c);
        rig_down(r);
    }
}
