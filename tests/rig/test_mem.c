/* tests/rig/test_mem.c - the memory device (virtio 1.4, 5.15): its configuration, its features,
 * what resets do, and what of it CPUs and descriptors reach. */
#include "tests/rig/mem_try.h"
#include "tests/rig/ways.h"

/* --- configuration (5.15.4) --- */

static void expect_sane(struct rig *r)
{
    uint64_t block = FIELD(r, block_size), usable = FIELD(r, usable_region_size);
    cr_assert(block && (block & (block - 1)) == 0);
    cr_assert_eq((FIELD(r, addr) | FIELD(r, region_size) | usable | FIELD(r, plugged_size) |
                  FIELD(r, requested_size)) %
                     block,
                 0);
    cr_assert_geq(usable, FIELD(r, requested_size));
    cr_assert_leq(usable, FIELD(r, region_size));
    cr_assert_leq(FIELD(r, plugged_size), usable);
}

static const char *const specs[] = {SPEC,
                                    "mem,size=512M",
                                    "mem,size=2M,requested=2M",
                                    "mem,size=512M,requested=512M",
                                    "mem,size=512M,block=128M,requested=128M",
                                    "mem,64G,requested=1G"};

Test(mem, configuration)
{
    PROVES("Device Types / Memory Device / Device configuration layout#04");
    PROVES("Device Types / Memory Device / Device configuration layout#05");
    PROVES("Device Types / Memory Device / Device configuration layout#06");
    PROVES("Device Types / Memory Device / Device configuration layout#07");
    static const uint64_t sizes[] = {SIZE, SIZE, MIB(2), SIZE, SIZE, GIB(64)};
    static const uint64_t blocks[] = {BLOCK, BLOCK, BLOCK, BLOCK, MIB(128), MIB(8)};
    for (unsigned i = 0; i < ARRAY_SIZE(specs); i++) {
        struct rig *r = rig_up(specs[i], NULL);
        expect_sane(r);
        cr_assert_eq(FIELD(r, region_size), sizes[i]);
        cr_assert_eq(FIELD(r, block_size), blocks[i]);
        cr_assert_eq(FIELD(r, plugged_size), 0);
        cr_assert_eq(FIELD(r, node_id), 0);
        cr_assert_eq(FIELD(r, addr) % MIB(128), 0);
        rig_down(r);
    }
}

Test(mem, what_cannot_change)
{
    PROVES("Device Types / Memory Device / Device configuration layout#02");
    PROVES("Device Types / Memory Device / Device configuration layout#04");
    PROVES("Device Types / Memory Device / Device configuration layout#06");
    struct rig *r = rig_up(SPEC, NULL);
    uint64_t block = FIELD(r, block_size), addr = FIELD(r, addr), size = FIELD(r, region_size);
    for (unsigned step = 0; step < 11; step++) {
        for (unsigned off = 0; off < sizeof(struct virtio_mem_config); off += 4)
            rig_config_set(r, off, 4, 0x11111111); /* which a driver must not */
        if (step == 1)
            resize(r, SIZE);
        else if (step == 2)
            cr_assert_eq(plug(r, 0, 100), VIRTIO_MEM_RESP_ACK);
        else if (step == 3)
            resize(r, 0);
        else if (step == 4)
            cr_assert_eq(unplug_all(r), VIRTIO_MEM_RESP_ACK);
        else if (step == 5)
            rig_negotiate(r);
        else if (step == 6)
            transport_reset(r->transport);
        else if (step == 7)
            rig_up_again(r), resize(r, SIZE);
        else if (step == 8) /* and what is usable stays enough for what is asked for */
            cr_assert_eq(unplug_all(r), VIRTIO_MEM_RESP_ACK);
        else if (step == 9)
            rig_save_and_load(r);
        else if (step == 10)
            transport_reset(r->transport);
        cr_assert_eq(FIELD(r, block_size), block);
        cr_assert_eq(FIELD(r, addr), addr);
        cr_assert_eq(FIELD(r, region_size), size);
        cr_assert_eq(FIELD(r, node_id), 0);
        expect_sane(r);
    }
    rig_down(r);
}

Test(mem, the_user_wants_more_or_less)
{
    PROVES("Device Types / Memory Device / Device configuration layout#01");
    PROVES("Device Types / Memory Device / Device configuration layout#04");
    PROVES("Device Types / Memory Device / Device configuration layout#08");
    PROVES("Device Types / Memory Device / Device configuration layout#09");
    struct rig *r = rig_up("mem,size=512M,requested=2M", NULL);
    uint64_t before = FIELD(r, usable_region_size);
    cr_assert_lt(before, SIZE);
    (void)notified(r);
    resize(r, MIB(128));
    cr_assert(notified(r));
    cr_assert_eq(FIELD(r, requested_size), MIB(128));
    cr_assert_gt(FIELD(r, usable_region_size), before);
    before = FIELD(r, usable_region_size);
    resize(r, MIB(4));
    cr_assert(notified(r));
    cr_assert_eq(FIELD(r, requested_size), MIB(4));
    cr_assert_eq(FIELD(r, usable_region_size), before, "it does not shrink");
    resize(r, MIB(4));
    cr_assert_not(notified(r), "nothing has changed");
    resize(r, SIZE);
    cr_assert(notified(r));
    cr_assert_eq(FIELD(r, usable_region_size), SIZE);
    rig_negotiate(r);
    cr_assert_eq(FIELD(r, usable_region_size), SIZE, "nor by the driver's reset");
    cr_assert_eq(FIELD(r, requested_size), SIZE);

    struct err e = {0};
    cr_assert_lt(update(r, SIZE + BLOCK, &e), 0);
    cr_assert(strstr(e.msg, "514M") && strstr(e.msg, "512M"), "%s", e.msg);
    cr_assert_lt(update(r, MIB(3), &e), 0);
    cr_assert(strstr(e.msg, "multiple of the block, 2M"), "%s", e.msg);
    cr_assert_eq(FIELD(r, requested_size), SIZE);
    cr_assert_not(notified(r));
    rig_down(r);
}

Test(mem, plugged_size_follows_in_silence)
{
    PROVES("Device Types / Memory Device / Device configuration layout#03");
    PROVES("Device Types / Memory Device / Device configuration layout#10");
    PROVES("Device Types / Memory Device / Device Operation / PLUG request#07");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG request#07");
    struct rig *r = rig_up(SPEC, NULL);
    (void)notified(r);
    cr_assert_eq(plug(r, 0, 3), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(FIELD(r, plugged_size), 3 * BLOCK);
    cr_assert_eq(plug(r, 7 * BLOCK, 1), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(FIELD(r, plugged_size), 4 * BLOCK);
    cr_assert_eq(unplug(r, BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(FIELD(r, plugged_size), 2 * BLOCK);
    cr_assert_eq(unplug_all(r), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(FIELD(r, plugged_size), 0);
    cr_assert_not(r->regs->pending(r) & 2);
    rig_down(r);
}

/* --- features, resets (5.15.5) --- */

Test(mem, a_driver_that_would_read_what_is_not_plugged)
{
    PROVES("Device Types / Memory Device / Device Initialization#01");
    PROVES("Device Types / Memory Device / Device Initialization#04");
    struct rig *r = rig_up(SPEC, NULL);
    uint32_t offered = r->regs->features(r, 0);
    cr_assert(offered & 1u << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
    cr_assert(offered & 1u << PERSISTENT_SUSPEND);
    cr_assert_not(offered & 1u << VIRTIO_MEM_F_ACPI_PXM, "no table describes nodes");
    rig_status_set(r, 0);
    rig_status_set(r, 3);
    r->regs->accept(r, 0, 0);
    r->regs->accept(r, 1, 1);
    rig_status_set(r, 11);
    cr_assert_eq(rig_status(r), 3);
    r->regs->accept(r, 0, 1u << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
    rig_status_set(r, 11);
    cr_assert_eq(rig_status(r), 11);
    rig_down(r);
}

Test(mem, a_reset_of_the_device_changes_no_block)
{
    PROVES("Device Types / Memory Device / Device Initialization#02");
    PROVES("Device Types / Memory Device / Device Initialization#03");
    struct rig *r = rig_up(SPEC, NULL);
    cr_assert_eq(plug(r, 5 * BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    memset(cpu(r, 6 * BLOCK), 0x5a, PAGE);
    rig_status_set(r, 0);
    cr_assert_eq(FIELD(r, plugged_size), 2 * BLOCK);
    cr_assert_eq(cpu(r, 6 * BLOCK)[PAGE - 1], 0x5a);
    rig_negotiate(r);
    cr_assert_eq(FIELD(r, plugged_size), 2 * BLOCK);
    cr_assert_eq(state(r, 5 * BLOCK, 2), VIRTIO_MEM_STATE_PLUGGED);
    cr_assert_eq(state(r, 0, 5), VIRTIO_MEM_STATE_UNPLUGGED);
    cr_assert_eq(cpu(r, 6 * BLOCK)[0], 0x5a);
    cr_assert_eq(plug(r, 0, 1), VIRTIO_MEM_RESP_ACK);
    rig_down(r);
}

Test(mem, a_reset_of_the_machine_unplugs_all)
{
    PROVES("Device Types / Memory Device / Device Operation#06");
    PROVES("Device Types / Memory Device / Device Operation#07");
    struct rig *r = rig_up("mem,size=512M,requested=512M", NULL);
    cr_assert_eq(plug(r, 0, 100), VIRTIO_MEM_RESP_ACK);
    memset(cpu(r, BLOCK), 0x5a, PAGE);
    uint8_t *own = dma(r, BLOCK, BLOCK);
    resize(r, WANTED);
    transport_reset(r->transport);
    cr_assert_null(dma(r, BLOCK, 1));
    cr_assert_not(reachable(r, BLOCK));
    cr_assert_eq(resident(own, BLOCK), 0);
    rig_up_again(r);
    cr_assert_eq(FIELD(r, plugged_size), 0);
    cr_assert_eq(FIELD(r, requested_size), WANTED, "it is still asked for");
    cr_assert_lt(FIELD(r, usable_region_size), SIZE);
    cr_assert_eq(plug(r, BLOCK, 1), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(*cpu(r, BLOCK), 0);
    rig_down(r);
}

Test(mem, a_suspended_device_keeps_its_blocks)
{
    PROVES("Device Types / Memory Device / Device Operation#08");
    struct rig *r = rig_up(SPEC, NULL);
    cr_assert(rig_has(r, PERSISTENT_SUSPEND));
    cr_assert_eq(plug(r, BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    memset(cpu(r, BLOCK), 0x5a, PAGE);
    rig_status_set(r, RUNNING | SUSPEND);
    cr_assert(reachable(r, BLOCK) && dma(r, BLOCK, 2 * BLOCK));
    rig_status_set(r, RUNNING);
    rig_settle(r);
    cr_assert_eq(state(r, BLOCK, 2), VIRTIO_MEM_STATE_PLUGGED);
    cr_assert_eq(state(r, 3 * BLOCK, 20), VIRTIO_MEM_STATE_UNPLUGGED);
    cr_assert_eq(*cpu(r, BLOCK), 0x5a);
    rig_down(r);
}

/* --- who reaches what (5.15.6) --- */

Test(mem, plugged_memory_is_memory)
{
    PROVES("Device Types / Memory Device / Device Operation#02");
    PROVES("Device Types / Memory Device / Device Operation#03");
    PROVES("Device Types / Memory Device / Device Operation#04");
    struct rig *r = rig_up(SPEC, NULL);
    for (uint64_t off = 0; off < 4 * BLOCK; off += BLOCK)
        cr_assert(!reachable(r, off) && !dma(r, off, 1));
    cr_assert_eq(plug(r, BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    cr_assert(reachable(r, BLOCK) && reachable(r, 3 * BLOCK - 1));
    cr_assert(!reachable(r, BLOCK - 1) && !reachable(r, 3 * BLOCK));
    cr_assert(!dma(r, BLOCK - 1, 2) && !dma(r, 3 * BLOCK - 1, 2));

    uint8_t *own = dma(r, BLOCK, 2 * BLOCK);
    cr_assert_not_null(own);
    memset(cpu(r, BLOCK), 0x11, PAGE);
    memset(cpu(r, 2 * BLOCK), 0x22, PAGE);
    cr_assert_eq(own[0], 0x11, "one memory, two views");
    cr_assert_geq(resident(own, 2 * BLOCK), 2);
    own[BLOCK + 1] = 0x33;
    cr_assert_eq(cpu(r, 2 * BLOCK)[1], 0x33);

    cr_assert_eq(plug(r, 3 * BLOCK, 1), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(unplug(r, BLOCK, 1), VIRTIO_MEM_RESP_ACK);
    cr_assert(!reachable(r, BLOCK) && !dma(r, BLOCK, 1));
    cr_assert_eq(cpu(r, 2 * BLOCK)[0], 0x22, "its neighbour is what it was");
    cr_assert_eq(resident(own, BLOCK), 0, "the host has it back");
    cr_assert_eq(own[0], 0, "and what was in flight does not fault");
    cr_assert_eq(plug(r, BLOCK, 1), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(*cpu(r, BLOCK), 0);
    rig_down(r);
}

/* A driver whose ring, and whose request, are in what it takes away. */
Test(mem, its_own_ring_is_unplugged)
{
    for (unsigned packed = 0; packed < 2; packed++) {
        struct rig *r = rig_up(SPEC, &(struct rig_options){.packed = packed});
        cr_assert_eq(plug(r, 0, 2), VIRTIO_MEM_RESP_ACK);
        rig_negotiate_features(r);
        uint64_t low = r->ram_next;
        r->ram_next = at(r, 0);
        rig_queue_up(r, 0);
        rig_driver_ok(r);
        const struct virtio_mem_req req = request(VIRTIO_MEM_REQ_UNPLUG, at(r, 0), 2);
        struct rig_seg out = {rig_alloc(r, sizeof(req)), sizeof(req)}, in = {rig_alloc(r, 10), 10};
        memcpy(rig_at(r, out.at, out.len), &req, sizeof(req));
        rig_add(r, 0, &out, 1, &in, 1);
        rig_kick(r, 0);
        rig_settle(r);
        cr_assert_eq(FIELD(r, plugged_size), 0);
        for (unsigned i = 0; i < 5; i++)
            rig_kick(r, 0);
        rig_settle(r);
        r->ram_next = low;
        rig_negotiate(r);
        cr_assert_eq(plug(r, 0, 2), VIRTIO_MEM_RESP_ACK, "a reset helps");
        rig_down(r);
    }
}

TEST_EACH_WAY(W_PLAIN, mem, a_descriptor_into_what_is_not_plugged)
{
    struct rig *r = rig_up(SPEC, NULL);
    HOLDS(r, "32e");
    struct rig_seg in = {GPA(at(r, 0)), 10};
    rig_add(r, 0, NULL, 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_needs_reset(r));
    rig_negotiate(r);
    cr_assert_eq(plug(r, 0, 1), VIRTIO_MEM_RESP_ACK);
    rig_down(r);
}
