/* tests/rig/test_attack_ring.c - what a driver's descriptors lead to, and how much of them there
 * is, on each way to a device; beside test_ring_hostile.c and test_packed_hostile.c, which know one
 * format each. What is done is in tests/attacks/attacks.tsv. */
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "base/log.h"
#include "tests/rig/held.h"
#include "tests/rig/rig_pci.h"
#include "tests/rig/ways.h"

enum { Q = 0, SIZE = 8, N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };

static struct rig *up(void)
{
    return held_up(NULL, SIZE);
}

/* One descriptor, as it stands. */
static void put(struct rig *r, uint64_t addr, uint32_t len, uint16_t flags)
{
    if (rig_has(r, VIRTIO_F_RING_PACKED)) {
        rig_place(r, Q, &(struct rig_packed){addr, len, flags, 1}, 1);
    } else {
        rig_forge(r, r->q[Q].desc, 0, addr, len, flags, 0);
        rig_offer(r, Q, 0);
    }
}

/* Nothing of it reaches the device, and a reset helps. */
static void must_latch(struct rig *r)
{
    unsigned n = held.n;
    const uint8_t running = rig_status(r);
    held.hold = true;
    held_run(r);
    cr_assert_eq(held.n, n);
    cr_assert_eq(rig_status(r), running | VIRTIO_CONFIG_S_NEEDS_RESET);
    held.hold = false;
    rig_negotiate(r);
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
}

/* --- where buffers are --- */

/* In four places: what is read, what is written, a table, and an entry of a table. */
static void lead_to(struct rig *r, uint64_t at, uint32_t len)
{
    uint64_t ram = r->ram_next;
    for (unsigned how = 0; how < 4; how++) {
        r->ram_next = ram;
        if (how == 2) {
            put(r, at, (uint32_t)MIN(align_up(len, 16), 0xfffffff0u), I);
        } else if (how == 3) {
            gpa_t table = rig_alloc(r, 16);
            rig_forge(r, table, 0, at, len, W, 0);
            put(r, table.v, 16, I);
        } else {
            put(r, at, len, how ? W : 0);
        }
        must_latch(r);
    }
}

/* Registers, its own status among them, doorbells, tables of vectors, interrupt controllers. */
TEST_EACH_WAY(ALL_WAYS, attack_ring, buffers_that_are_no_memory)
{
    struct rig *r = up();
    log_set_level(LOG_OFF);
    HOLDS(r, "25 28 32f");
    static const uint64_t places[] = {RIG_BASE,   RIG_BASE + VIRTIO_MMIO_STATUS,
                                      0xe0000000, 0xe0008000,
                                      0xfec00000, 0xfee00000,
                                      RIG_PLACES, RIG_SHM,
                                      RIG_RAM,    1ull << 63};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        lead_to(r, places[i], 4);
    for (unsigned i = 0; r->pci && i < PCI_BARS; i++) {
        const struct rig_bar *b = &r->pci->bar[i];
        if (b->size && !b->io) {
            lead_to(r, b->at, 4);
            lead_to(r, b->at + b->size - 4, 4);
        }
    }
    rig_down(r);
}

TEST_EACH_WAY(ALL_WAYS, attack_ring, buffers_that_leave_memory)
{
    static uint8_t more[4 * 4096] __attribute__((aligned(4096)));
    struct gmem_region next = {.base = GPA(RIG_RAM), .len = sizeof(more), .host = more};
    struct rig *r = up();
    log_set_level(LOG_OFF);
    HOLDS(r, "23a 21d");
    lead_to(r, RIG_RAM - 8, 16);
    lead_to(r, RIG_RAM - 1, 0x1001);
    lead_to(r, 0, RIG_RAM + 1);
    lead_to(r, UINT64_MAX - 7, 16);
    lead_to(r, UINT64_MAX - 15, UINT32_MAX);
    lead_to(r, 0 - (uint64_t)8, 16); /* and comes back in at 0 */
    /* What follows is memory too, and is somewhere else on the host. */
    cr_assert_eq(gmem_add(r->mem, &next), 0);
    HOLDS(r, "23b");
    lead_to(r, RIG_RAM - 8, 16);
    lead_to(r, RIG_RAM - 4096, 8192);
    held.hold = true;
    put(r, RIG_RAM, 16, W);
    held_run(r);
    cr_assert_eq(held.n, 1, "each by itself is good");
    cr_assert_eq(held.req[0]->iov[0].iov_base, more);
    rig_down(r);
}

/* --- how much there is --- */

static struct rig *refilled;
static unsigned taken, turn_after;

static void refill(void)
{
    if (++taken < 10000)
        put(refilled, 0x1000, 8, W);
}

static void others_turn(void *ctx)
{
    (void)ctx;
    turn_after = turn_after ? turn_after : taken;
}

/* It makes more available whenever the device takes something: others get their turn. */
TEST_EACH_WAY(ALL_WAYS, attack_ring, a_driver_that_is_never_done)
{
    struct rig *r = refilled = up();
    struct loop_task other = {.fn = others_turn};
    HOLDS(r, "18a");
    taken = turn_after = 0;
    put(r, 0x1000, 8, W);
    rig_kick(r, Q);
    held.on_take = refill;
    loop_post(r->loop, &other);
    for (unsigned turns = 0; !turn_after && turns < 4; turns++)
        (void)loop_step(r->loop, 0);
    cr_assert(turn_after && turn_after <= 2 * SIZE, "after %u", turn_after);
    held.on_take = NULL;
    rig_negotiate(r);
    uint16_t id = held_add(r, 8);
    held_run(r);
    held_expect(r, id, 8);
    rig_down(r);
}

/* As many as a ring has, none of which comes back: a slot each, and no more. */
TEST_EACH_WAY(ALL_WAYS, attack_ring, everything_in_flight_and_more)
{
    enum { MANY = 4096, MOST = 1024 };
    struct rig *r = held_up(NULL, MANY);
    HOLDS(r, "16a");
    held.hold = true;
    for (unsigned lap = 0; lap < 4; lap++) {
        for (unsigned i = 0; lap == 0 && i < MANY; i++)
            held_add(r, 1);
        held_run(r);
        cr_assert_eq(held.n, MOST);
        cr_assert_not(rig_needs_reset(r));
    }
    while (held.n > 0) {
        held_complete(held.n - 1, 1);
        if (held.n % 64 == 0)
            held.hold = false;
    }
    rig_settle(r);
    uint32_t id, len;
    for (unsigned i = 0; i < MANY; i++)
        cr_assert(rig_used(r, Q, &id, &len), "%u", i);
    rig_down(r);
}

/* Entries of a table are counted before they are looked at, whatever their length. */
TEST_EACH_WAY(ALL_WAYS, attack_ring, tables_longer_than_any_chain)
{
    enum { ENTRIES = 70000 };
    struct rig *r = up();
    log_set_level(LOG_OFF);
    HOLDS(r, "19a 24a");
    gpa_t table = rig_alloc(r, ENTRIES * 16);
    for (uint32_t len = 0; len <= 1; len++) {
        for (unsigned i = 0; i < ENTRIES; i++)
            rig_forge(r, table, i, 0x1000, len, W | N, (uint16_t)(i + 1));
        static const uint32_t entries[] = {ENTRIES, 65537, 65536, 32768, 1027};
        for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
            rig_forge(r, table, entries[i] - 1, 0x1000, len, W, 0); /* and there it ends */
            put(r, table.v, entries[i] * 16, I);
            must_latch(r);
        }
    }
    put(r, table.v, UINT32_MAX - 15, I);
    must_latch(r);
    rig_down(r);
}

/* --- when there is no queue --- */

/* Rings as the driver left them, with something in them, and a bell that rings. */
TEST_EACH_WAY(ALL_WAYS, attack_ring, a_queue_that_is_not_there)
{
    struct rig *r = up();
    HOLDS(r, "22a");
    for (unsigned how = 0; how < 3; how++) {
        held_add(r, 8);
        if (how == 0)
            rig_status_set(r, 0);
        else if (how == 1 && r->regs->queue_reset)
            r->regs->queue_reset(r, Q);
        else
            transport_reset(r->transport);
        unsigned kicks = held.kicks;
        for (unsigned i = 0; i < 3; i++) {
            rig_kick(r, Q);
            vdev_kick(r->dev, Q);
            rig_settle(r);
        }
        cr_assert_eq(held.kicks, kicks);
        held_expect_none(r);
        rig_up_again(r);
        uint16_t id = held_add(r, 8);
        held_run(r);
        held_expect(r, id, 8);
    }
    rig_down(r);
}
