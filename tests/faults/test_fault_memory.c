/* tests/faults/test_fault_memory.c - memory, descriptors and threads run out in the middle of a
 * device's life, at each allocation in turn, once or from then on: a request ends or the device
 * asks for a reset, and after a reset it serves as if nothing had been. */
#include "base/log.h"
#include "tests/faults/fault.h"
#include "tests/rig/held.h"
#include "tests/rig/matrix.h"

static void request(struct rig *r, const struct cell *c)
{
    struct matrix_request q;
    fault_pause(true);
    bool lives = !rig_needs_reset(r);
    if (lives)
        cell_add(r, c, &q);
    fault_pause(false);
    if (!lives)
        return;
    uint32_t id, len;
    rig_kick(r, c->class->queue);
    rig_settle(r);
    MUST(rig_used(r, c->class->queue, &id, &len) || rig_needs_reset(r), "a request is lost");
}

/* What happens to a device between two resets of the machine. */
static void life(struct rig *r, const struct cell *c)
{
    transport_reset(r->transport);
    rig_up_again(r);
    request(r, c);
    rig_negotiate(r);
    request(r, c);
    vdev_pause(r->dev);
    struct state_out s = {0};
    transport_save(r->transport, &s);
    if (s.error == 0) {
        struct state_in in = {.buf = s.buf, .len = s.len};
        transport_reset(r->transport);
        (void)!transport_load(r->transport, &in);
    }
    state_out_free(&s);
    vdev_resume(r->dev);
}

static void lives(const struct cell *c, struct fault f)
{
    struct rig *r = cell_up(c, 0);
    fault_set(FAULT_RESOURCE, f);
    life(r, c);
    fault_clear();
    transport_reset(r->transport);
    rig_up_again(r);
    cell_serve(r, c);
    cell_serve(r, c);
    rig_down(r);
}

static unsigned calls(const struct cell *c)
{
    struct rig *r = cell_up(c, 0);
    fault_set(FAULT_RESOURCE, (struct fault){0});
    life(r, c);
    unsigned n = fault_calls(FAULT_RESOURCE);
    fault_clear();
    rig_down(r);
    return n;
}

Test(fault_memory, at_every_allocation_of_a_life)
{
    unsigned n = 0, cells = 0;
    log_set_level(LOG_OFF); /* each would be told of, thousands of times */
    for_each_cell(c, CELLS_PLAIN)
    {
        unsigned most = calls(&c);
        MUST(most > 0, "nothing is asked for: nothing is led through here");
        for (unsigned k = 0; k < most; k++) {
            lives(&c, (struct fault){.skip = k, .times = 1});
            lives(&c, (struct fault){.skip = k, .times = FAULT_ALWAYS});
        }
        n += most;
        cells++;
    }
    printf("fault_memory: %u allocations in the lives of %u devices\n", n, cells);
}

/* A chain that is longer than what a slot has by itself, when there is no memory for more. */
Test(fault_memory, for_a_long_chain)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = held_up(&(struct rig_options){.packed = packed}, 64);
        struct rig_seg in[5];
        for (unsigned i = 0; i < ARRAY_SIZE(in); i++)
            in[i] = (struct rig_seg){rig_alloc(r, 8), 8};
        rig_add(r, 0, NULL, 0, in, ARRAY_SIZE(in));
        fault_set(FAULT_RESOURCE, (struct fault){.times = 1});
        held_run(r);
        cr_assert_eq(fault_hits(FAULT_RESOURCE), 1);
        fault_clear();
        held_expect_none(r);
        cr_assert(rig_needs_reset(r));
        rig_negotiate(r);
        uint16_t id = rig_add(r, 0, NULL, 0, in, ARRAY_SIZE(in));
        held_run(r);
        held_expect(r, id, 8 * ARRAY_SIZE(in));
        rig_down(r);
    }
}
