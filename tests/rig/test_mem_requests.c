/* tests/rig/test_mem_requests.c - the memory device's requests (virtio 1.4, 5.15.6): what is
 * refused, what a host cannot do, and what is saved. */
#include "tests/rig/mem_try.h"
#include "tests/rig/ways.h"

/* --- PLUG, UNPLUG, STATE --- */

static void ignores_what_means_nothing(uint16_t type, bool plugged)
{
    struct rig *r = rig_up(SPEC, NULL);
    struct virtio_mem_req req = request(type, at(r, 0), 1);
    uint8_t longer[64];
    if (plugged)
        cr_assert_eq(plug(r, 0, 2), VIRTIO_MEM_RESP_ACK);
    memset(req.padding, 0xff, sizeof(req.padding));
    memset(req.u.plug.padding, 0xff, sizeof(req.u.plug.padding));
    cr_assert_eq(ask_raw(r, &req, sizeof(req)).type, VIRTIO_MEM_RESP_ACK);
    req.u.plug.addr += BLOCK;
    memset(longer, 0xff, sizeof(longer));
    memcpy(longer, &req, sizeof(req));
    cr_assert_eq(ask_raw(r, longer, sizeof(longer)).type, VIRTIO_MEM_RESP_ACK, "and what follows");
    rig_down(r);
}

Test(mem, what_means_nothing_is_ignored)
{
    PROVES("Device Types / Memory Device / Device Operation / PLUG request#01");
    PROVES("Device Types / Memory Device / Device Operation / PLUG request#02");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG request#01");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG request#02");
    PROVES("Device Types / Memory Device / Device Operation / STATE request#01");
    PROVES("Device Types / Memory Device / Device Operation / STATE request#02");
    ignores_what_means_nothing(VIRTIO_MEM_REQ_PLUG, false);
    ignores_what_means_nothing(VIRTIO_MEM_REQ_UNPLUG, true);
    ignores_what_means_nothing(VIRTIO_MEM_REQ_STATE, true);
    ignores_what_means_nothing(VIRTIO_MEM_REQ_STATE, false);
}

TEST_EACH_WAY(W_PLAIN, mem, ranges_that_are_not_in_the_region)
{
    PROVES("Device Types / Memory Device / Device Operation / PLUG request#03");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG request#03");
    PROVES("Device Types / Memory Device / Device Operation / STATE request#03");
    struct rig *r = rig_up("mem,size=512M,requested=128M", NULL);
    HOLDS(r, "32e 32g");
    cr_assert_eq(plug(r, 0, 32), VIRTIO_MEM_RESP_ACK);
    const uint64_t a = FIELD(r, addr), usable = FIELD(r, usable_region_size);
    cr_assert_lt(usable, SIZE);
    const struct {
        uint64_t addr;
        uint16_t n;
    } bad[] = {
        {a, 0},
        {a + 1, 1},
        {a + BLOCK / 2, 1},
        {a + BLOCK - 1, 2},
        {a - BLOCK, 1},
        {a - BLOCK, 2},
        {a - 1, 1},
        {0, 1},
        {0, UINT16_MAX},
        {a + usable, 1},
        {a + usable - BLOCK, 2},
        {a, UINT16_MAX},
        {a, usable / BLOCK + 1},
        {a + SIZE, 1},
        {a + SIZE - BLOCK, 1},
        {UINT64_MAX, 1},
        {-(uint64_t)BLOCK, 1},
        {-(uint64_t)BLOCK, 2},
        {a ^ 1ull << 63, 1},
        {a + (1ull << 48), 1},
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        for (uint16_t type = VIRTIO_MEM_REQ_PLUG; type <= VIRTIO_MEM_REQ_STATE; type++) {
            if (type != VIRTIO_MEM_REQ_UNPLUG_ALL)
                cr_assert_eq(ask(r, type, bad[i].addr, bad[i].n), VIRTIO_MEM_RESP_ERROR, "%u, %u",
                             i, type);
        }
        cr_assert_eq(FIELD(r, plugged_size), 32 * BLOCK);
    }
    cr_assert_eq(state(r, 0, usable / BLOCK), VIRTIO_MEM_STATE_MIXED);
    cr_assert_eq(state(r, usable - BLOCK, 1), VIRTIO_MEM_STATE_UNPLUGGED);
    rig_down(r);
}

Test(mem, blocks_that_are_already)
{
    PROVES("Device Types / Memory Device / Device Operation / PLUG request#04");
    PROVES("Device Types / Memory Device / Device Operation / PLUG request#06");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG request#04");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG request#06");
    struct rig *r = rig_up(SPEC, NULL);
    cr_assert_eq(unplug(r, 0, 1), VIRTIO_MEM_RESP_ERROR);
    cr_assert_eq(plug(r, 2 * BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(plug(r, 2 * BLOCK, 2), VIRTIO_MEM_RESP_ERROR);
    cr_assert_eq(plug(r, BLOCK, 2), VIRTIO_MEM_RESP_ERROR, "the second is");
    cr_assert_eq(plug(r, 3 * BLOCK, 2), VIRTIO_MEM_RESP_ERROR, "the first is");
    cr_assert(!reachable(r, BLOCK) && !reachable(r, 4 * BLOCK));
    cr_assert_eq(unplug(r, BLOCK, 2), VIRTIO_MEM_RESP_ERROR, "the first is not");
    cr_assert_eq(unplug(r, 3 * BLOCK, 2), VIRTIO_MEM_RESP_ERROR, "the second is not");
    cr_assert_eq(FIELD(r, plugged_size), 2 * BLOCK);
    cr_assert(reachable(r, 2 * BLOCK) && reachable(r, 3 * BLOCK));
    cr_assert_eq(unplug(r, 2 * BLOCK, 2), VIRTIO_MEM_RESP_ACK);
    rig_down(r);
}

Test(mem, no_more_than_is_requested)
{
    struct rig *r = rig_up("mem,size=512M,requested=8M", NULL);
    cr_assert_eq(plug(r, 0, 5), VIRTIO_MEM_RESP_NACK);
    cr_assert_eq(plug(r, 0, 4), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(plug(r, 4 * BLOCK, 1), VIRTIO_MEM_RESP_NACK);
    cr_assert_not(reachable(r, 4 * BLOCK));
    resize(r, MIB(4));
    cr_assert_eq(FIELD(r, plugged_size), MIB(8), "it is the driver's to unplug");
    cr_assert_eq(unplug(r, 0, 1), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(plug(r, 0, 1), VIRTIO_MEM_RESP_NACK, "still too much");
    resize(r, MIB(8));
    cr_assert_eq(plug(r, 0, 1), VIRTIO_MEM_RESP_ACK);
    rig_down(r);
}

Test(mem, states)
{
    PROVES("Device Types / Memory Device / Device Operation / STATE request#04");
    PROVES("Device Types / Memory Device / Device Operation / STATE request#05");
    PROVES("Device Types / Memory Device / Device Operation / STATE request#06");
    PROVES("Device Types / Memory Device / Device Operation / STATE request#07");
    struct rig *r = rig_up("mem,size=512M,requested=256M", NULL);
    cr_assert_eq(state(r, 0, 100), VIRTIO_MEM_STATE_UNPLUGGED);
    cr_assert_eq(plug(r, 60 * BLOCK, 10), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(state(r, 60 * BLOCK, 10), VIRTIO_MEM_STATE_PLUGGED);
    cr_assert_eq(state(r, 69 * BLOCK, 1), VIRTIO_MEM_STATE_PLUGGED);
    cr_assert_eq(state(r, 60 * BLOCK, 11), VIRTIO_MEM_STATE_MIXED);
    cr_assert_eq(state(r, 59 * BLOCK, 2), VIRTIO_MEM_STATE_MIXED);
    cr_assert_eq(state(r, 0, 60), VIRTIO_MEM_STATE_UNPLUGGED);
    cr_assert_eq(state(r, 70 * BLOCK, 100), VIRTIO_MEM_STATE_UNPLUGGED);
    rig_down(r);
}

/* --- UNPLUG ALL --- */

Test(mem, unplug_all)
{
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG ALL request#01");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG ALL request#02");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG ALL request#04");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG ALL request#05");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG ALL request#06");
    struct rig *r = rig_up("mem,size=512M,requested=512M", NULL);
    cr_assert_eq(unplug_all(r), VIRTIO_MEM_RESP_ACK, "nothing is");
    for (unsigned i = 0; i < 256; i += 2)
        cr_assert_eq(plug(r, i * BLOCK, 1), VIRTIO_MEM_RESP_ACK);
    uint8_t *own = dma(r, 254 * BLOCK, BLOCK);
    memset(cpu(r, 254 * BLOCK), 1, PAGE);
    resize(r, MIB(4));
    (void)notified(r);
    cr_assert_eq(FIELD(r, usable_region_size), SIZE);
    struct virtio_mem_req req;
    memset(&req, 0xff, sizeof(req));
    req.type = VIRTIO_MEM_REQ_UNPLUG_ALL;
    cr_assert_eq(ask_raw(r, &req, sizeof(req)).type, VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(FIELD(r, plugged_size), 0);
    cr_assert_lt(FIELD(r, usable_region_size), SIZE);
    cr_assert_not(notified(r));
    cr_assert_eq(resident(own, BLOCK), 0);
    for (unsigned i = 0; i < 256; i++)
        cr_assert(!reachable(r, i * BLOCK) && !dma(r, i * BLOCK, 1));
    cr_assert_eq(ask_raw(r, &req, 2).type, VIRTIO_MEM_RESP_ACK, "its type is all it needs");
    rig_down(r);
}

/* --- what the host cannot, and odd framing --- */

Test(mem, busy_when_the_host_cannot)
{
    PROVES("Device Types / Memory Device / Device Operation / PLUG request#05");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG request#05");
    PROVES("Device Types / Memory Device / Device Operation / UNPLUG ALL request#03");
    struct rig *r = rig_up("mem,size=512M,requested=512M", NULL);
    protect_fails_after = 1;
    cr_assert_eq(plug(r, 0, 1), VIRTIO_MEM_RESP_BUSY);
    cr_assert_eq(state(r, 0, 1), VIRTIO_MEM_STATE_UNPLUGGED);
    cr_assert(!reachable(r, 0) && !dma(r, 0, 1));
    cr_assert_eq(plug(r, 0, 256), VIRTIO_MEM_RESP_ACK);
    memset(cpu(r, 0), 0x5a, PAGE);
    protect_fails_after = 1;
    cr_assert_eq(unplug(r, 0, 2), VIRTIO_MEM_RESP_BUSY);
    protect_fails_after = 2; /* its second step */
    cr_assert_eq(unplug(r, 0, 256), VIRTIO_MEM_RESP_BUSY);
    protect_fails_after = 2;
    cr_assert_eq(unplug_all(r), VIRTIO_MEM_RESP_BUSY);
    cr_assert_eq(FIELD(r, plugged_size), SIZE);
    cr_assert_eq(*cpu(r, 0), 0x5a, "nothing has happened to it");
    cr_assert(reachable(r, MIB(255)) && dma(r, 0, SIZE));
    cr_assert_eq(unplug_all(r), VIRTIO_MEM_RESP_ACK);
    rig_down(r);
}

Test(mem, requests_that_are_none)
{
    struct rig *r = rig_up(SPEC, NULL);
    struct virtio_mem_req req = request(4, at(r, 0), 1);
    cr_assert_eq(ask_raw(r, &req, sizeof(req)).type, VIRTIO_MEM_RESP_ERROR);
    req.type = UINT16_MAX;
    cr_assert_eq(ask_raw(r, &req, sizeof(req)).type, VIRTIO_MEM_RESP_ERROR);
    req.type = VIRTIO_MEM_REQ_PLUG;
    for (uint32_t len = 0; len < 17; len++) /* what is missing is 0 */
        cr_assert_eq(ask_raw(r, &req, len).type, VIRTIO_MEM_RESP_ERROR, "%u bytes", len);
    cr_assert_eq(FIELD(r, plugged_size), 0);
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

Test(mem, answers_that_have_no_room)
{
    struct rig *r = rig_up(SPEC, NULL);
    const struct virtio_mem_req req = request(VIRTIO_MEM_REQ_STATE, at(r, 0), 1);
    struct rig_seg out = {rig_alloc(r, sizeof(req)), sizeof(req)}, in = {rig_alloc(r, 16), 0};
    memcpy(rig_at(r, out.at, out.len), &req, sizeof(req));
    static const uint32_t lens[][2] = {{0, 0}, {1, 0}, {2, 2}, {9, 9}, {10, 10}, {16, 10}};
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        uint32_t id, used;
        in.len = lens[i][0];
        rig_add(r, 0, &out, 1, &in, in.len != 0);
        rig_kick(r, 0);
        rig_settle(r);
        cr_assert(rig_used(r, 0, &id, &used));
        cr_assert_eq(used, lens[i][1]);
    }
    rig_down(r);
}

/* What comes while an unplug is at work is served after it, in the order in which it came. */
Test(mem, many_at_once)
{
    enum { N = 20 };
    struct rig *r = rig_up("mem,size=512M,requested=512M", NULL);
    struct rig_seg in[N];
    uint16_t head[N];
    for (unsigned i = 0; i < N; i++) {
        static const uint16_t types[] = {VIRTIO_MEM_REQ_PLUG, VIRTIO_MEM_REQ_UNPLUG};
        const struct virtio_mem_req req = request(types[i % 2], at(r, 0), 256);
        struct rig_seg out = {rig_alloc(r, sizeof(req)), sizeof(req)};
        in[i] = (struct rig_seg){rig_alloc(r, 10), 10};
        memset(rig_at(r, in[i].at, 10), 0xee, 10);
        memcpy(rig_at(r, out.at, out.len), &req, sizeof(req));
        head[i] = rig_add(r, 0, &out, 1, &in[i], 1);
    }
    rig_kick(r, 0);
    rig_settle(r);
    for (unsigned i = 0; i < N; i++) {
        uint32_t id, used;
        cr_assert(rig_used(r, 0, &id, &used), "%u", i);
        cr_assert_eq(id, head[i], "%u", i);
        cr_assert_eq(rig_get16(r, in[i].at), VIRTIO_MEM_RESP_ACK, "%u", i);
    }
    cr_assert_eq(FIELD(r, plugged_size), 0);
    rig_down(r);
}

Test(mem, a_reset_in_the_middle_of_an_unplug)
{
    struct rig *r = rig_up("mem,size=512M,requested=512M", NULL);
    cr_assert_eq(plug(r, 0, 256), VIRTIO_MEM_RESP_ACK);
    const struct virtio_mem_req req = request(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);
    struct rig_seg out = {rig_alloc(r, sizeof(req)), sizeof(req)}, in = {rig_alloc(r, 10), 10};
    memcpy(rig_at(r, out.at, out.len), &req, sizeof(req));
    rig_add(r, 0, &out, 1, &in, 1);
    rig_kick(r, 0);
    (void)loop_step(r->loop, 0);
    rig_status_set(r, 0);
    cr_assert_eq(rig_status(r), 0);
    rig_negotiate(r);
    bool gone = FIELD(r, plugged_size) == 0;
    cr_assert(gone || FIELD(r, plugged_size) == SIZE, "all or nothing");
    cr_assert_eq(reachable(r, SIZE - 1), !gone);
    cr_assert_eq(unplug_all(r), VIRTIO_MEM_RESP_ACK);
    rig_down(r);
}

/* --- state, report, mistakes --- */

Test(mem, saved_and_loaded)
{
    struct rig *r = rig_up("mem,size=512M,requested=512M", NULL);
    cr_assert_eq(plug(r, 3 * BLOCK, 4), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(plug(r, 64 * BLOCK, 65), VIRTIO_MEM_RESP_ACK);
    resize(r, WANTED);
    rig_save_and_load(r);
    rig_settle(r);
    cr_assert_eq(FIELD(r, plugged_size), 69 * BLOCK);
    cr_assert_eq(FIELD(r, requested_size), WANTED);
    cr_assert_eq(FIELD(r, usable_region_size), SIZE);
    cr_assert_eq(state(r, 3 * BLOCK, 4), VIRTIO_MEM_STATE_PLUGGED);
    cr_assert_eq(state(r, 64 * BLOCK, 65), VIRTIO_MEM_STATE_PLUGGED);
    cr_assert_eq(state(r, 7 * BLOCK, 57), VIRTIO_MEM_STATE_UNPLUGGED);
    cr_assert(reachable(r, 3 * BLOCK) && reachable(r, 129 * BLOCK - 1));
    cr_assert(!reachable(r, 129 * BLOCK) && !reachable(r, 3 * BLOCK - 1));
    cr_assert_not_null(dma(r, 64 * BLOCK, 65 * BLOCK));
    rig_down(r);
}

/* FNV-1a of a section but for the checksum itself, as base/state.c has it. */
static void reseal(uint8_t *section)
{
    enum { LENGTH = 8, CHECKSUM = 12, HEADER = 16 };
    size_t len = get_bytes(section + LENGTH, 4);
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < HEADER + len; i++)
        h = i >= CHECKSUM && i < HEADER ? h : (h ^ section[i]) * 16777619u;
    put_bytes(section + CHECKSUM, h, 4);
}

Test(mem, a_state_that_cannot_be)
{
    enum { HEADER = 16, AT = 0, REGION = 8, BLOCKS = 16, REQUESTED = 24, USABLE = 32, BITS = 40 };
    struct rig *r = rig_up("mem,size=512M,requested=2M", NULL);
    struct state_out s = rig_save(r);
    uint8_t *section = memmem(s.buf, s.len, "MEM ", 4);
    cr_assert_not_null(section);
    const struct {
        unsigned off;
        uint64_t v;
    } bad[] = {
        {AT, 0},
        {REGION, GIB(1)},
        {BLOCKS, PAGE},
        {REQUESTED, SIZE + BLOCK},
        {REQUESTED, 1},
        {REQUESTED, SIZE}, /* more than is usable */
        {USABLE, SIZE + BLOCK},
        {USABLE, UINT64_MAX},
        {USABLE, 0},
        {USABLE, BLOCK + 1},
        {BITS + 8 * 3, 1ull << 63}, /* plugged, and not usable */
    };
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        uint8_t *p = section + HEADER + bad[i].off;
        uint64_t was = get_bytes(p, 8);
        put_bytes(p, bad[i].v, 8);
        reseal(section);
        cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG, "%u", i);
        put_bytes(p, was, 8);
    }
    put_bytes(section + HEADER + BITS, 7, 8); /* more than is requested, as after a resize */
    reseal(section);
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    cr_assert_eq(FIELD(r, plugged_size), 3 * BLOCK);
    uint64_t usable = FIELD(r, usable_region_size);
    put_bytes(section + HEADER + REQUESTED, 0, 8);
    put_bytes(section + HEADER + USABLE, 4 * BLOCK, 8);
    reseal(section);
    protect_fails_after = 4;
    cr_assert_eq(rig_load(r, s.buf, s.len), -EBADMSG, "the host cannot");
    cr_assert_eq(FIELD(r, plugged_size), 0, "as after a power-on");
    cr_assert_eq(FIELD(r, requested_size), BLOCK);
    cr_assert_eq(FIELD(r, usable_region_size), usable);
    cr_assert(!reachable(r, 0) && !dma(r, 0, BLOCK));
    state_out_free(&s);
    rig_down(r);
}

Test(mem, tells_its_sizes)
{
    struct rig *r = rig_up(SPEC, NULL);
    cr_assert_eq(plug(r, 0, 3), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(plug(r, 0, 3), VIRTIO_MEM_RESP_ERROR);
    cr_assert_eq(unplug(r, 0, 1), VIRTIO_MEM_RESP_ACK);
    cr_assert_eq(reported(r, "size"), SIZE);
    cr_assert_eq(reported(r, "block_size"), BLOCK);
    cr_assert_eq(reported(r, "requested"), WANTED);
    cr_assert_eq(reported(r, "usable"), FIELD(r, usable_region_size));
    cr_assert_eq(reported(r, "plugged"), 2 * BLOCK);
    cr_assert_eq(reported(r, "plug_requests"), 1);
    cr_assert_eq(reported(r, "unplug_requests"), 1);
    cr_assert_eq(reported(r, "refused_requests"), 1);
    rig_down(r);
}

Test(mem, mistakes_on_the_command_line)
{
    rig_refuses("mem,size=0", NULL, "size=0");
    rig_refuses("mem,size=512M,requested=514M", NULL, "requested=514M is more than size=512M");
    rig_refuses("mem,size=512M,requested=3M", NULL, "multiple of the block, 2M");
    rig_refuses("mem,size=511M", NULL, "size=511M is not a multiple of the block, 2M");
    rig_refuses("mem,size=512M,block=3M", NULL, "block=3072K: must be a power of two");
    rig_refuses("mem,size=512M,block=1M", NULL, "at least 2M");
    rig_refuses("mem,size=64G,block=2M", NULL, "for size=65536M at least 8M");
    rig_refuses(SPEC, &(struct rig_options){.no_window = true}, "512M has no room");
}
