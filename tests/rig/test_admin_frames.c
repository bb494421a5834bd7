/* tests/rig/test_admin_frames.c - administration commands as a virtqueue has them
 * (virtio 1.4, 2.13): short, long, in pieces and in their order; and how their state is kept. */
#include "tests/rig/admin.h"

/* --- framing (2.13) --- */

/* What is missing of a command is zero: without a byte of a group or a member it is this one's. */
Test(admin, short_commands)
{
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#01");
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#04");
    struct rig *r = admin_up((struct rig_options){0});
    admin_use_all(r);
    for (size_t len = 1; len < HEADER; len++) {
        bool member = len > MEMBER;
        admin_expect(r,
                     (struct admin_command){
                         .opcode = CAP_ID_LIST_QUERY, .member = UINT64_MAX, .readable = len},
                     member ? ST_EINVAL : ST_OK, member ? Q_MEMBER : Q_OK);
        cr_assert_eq(
            admin_ask(r, (struct admin_command){.opcode = LIST_QUERY, .readable = len}).status,
            ST_OK);
    }
    uint64_t data = 0xffffffffffff0000; /* a list that ends after its zeroes */
    for (size_t len = 0; len <= 2; len++) {
        admin_expect(
            r,
            (struct admin_command){
                .opcode = LIST_USE, .data = &data, .data_len = 8, .readable = HEADER + len},
            ST_OK, Q_OK);
        admin_expect(r, (struct admin_command){.opcode = LIST_QUERY}, ST_EINVAL, Q_OPCODE);
        rig_negotiate(r);
    }
    data = BOTH | 1 << CAP_ID_LIST_QUERY | ~0xffffull;
    admin_expect(r,
                 (struct admin_command){
                     .opcode = LIST_USE, .data = &data, .data_len = 8, .readable = HEADER + 2},
                 ST_OK, Q_OK);
    admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_OK, Q_OK);
    admin_expect(r,
                 (struct admin_command){
                     .opcode = LIST_USE, .data = &data, .data_len = 8, .readable = HEADER + 3},
                 ST_EINVAL, Q_FIELD);
    rig_down(r);
}

/* Nothing to read at all is LIST_QUERY, and nothing to write is no answer. */
Test(admin, commands_that_are_not_there)
{
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#01");
    struct rig *r = admin_up((struct rig_options){0});
    struct rig_seg seg = {rig_alloc(r, 64), 64};
    uint32_t id, len;
    rig_add(r, ADMIN, NULL, 0, &seg, 1);
    rig_kick(r, ADMIN);
    rig_settle(r);
    cr_assert(rig_used(r, ADMIN, &id, &len));
    cr_assert_eq(len, STATUS + 8);
    cr_assert_eq(get_bytes(rig_at(r, seg.at, 16), 4), ST_OK);
    cr_assert_eq(get_bytes((uint8_t *)rig_at(r, seg.at, 16) + STATUS, 8), admin_supported(r));
    memset(rig_at(r, seg.at, 64), 0, 64);
    rig_add(r, ADMIN, &seg, 1, NULL, 0);
    rig_kick(r, ADMIN);
    rig_settle(r);
    cr_assert(rig_used(r, ADMIN, &id, &len));
    cr_assert_eq(len, 0);
    cr_assert_not(rig_needs_reset(r));
    rig_down(r);
}

/* What does not fit is not written, and the command is done all the same. */
Test(admin, short_answers)
{
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#01");
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#03");
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#04");
    struct rig *r = admin_up((struct rig_options){0});
    uint8_t whole[STATUS + 8] = {0};
    put_bytes(whole + STATUS, admin_supported(r), 8);
    for (size_t len = 1; len < ANSWER_MAX; len++) {
        struct admin_answer a =
            admin_ask(r, (struct admin_command){.opcode = LIST_QUERY, .writable = len});
        cr_assert_eq(a.used_len, MIN(len, sizeof(whole)));
        cr_assert_eq(memcmp(a.bytes, whole, a.used_len), 0, "%zu bytes", len);
    }
    uint64_t all = admin_supported(r);
    struct admin_command c = admin_use(&all, 1);
    c.writable = 1;
    cr_assert_eq(admin_ask(r, c).status & 0xff, ST_OK);
    admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_OK, Q_OK);
    rig_down(r);
}

Test(admin, long_commands)
{
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#02");
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#04");
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#05");
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#06");
    static uint64_t list[(8192 + 64) / 8];
    struct rig *r = admin_up((struct rig_options){0});
    list[0] = admin_supported(r);
    memset(&list[8192 / 8], 0xff, 64); /* behind the last opcode that there can be */
    static const size_t lens[] = {8, 12, 16, 4096, 8192, 8193, 8200, sizeof(list)};
    for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
        struct admin_command c = admin_use(list, 0);
        c.data_len = lens[i];
        struct admin_answer a = admin_ask(r, c);
        cr_assert_eq(get_bytes(a.bytes, 8), ST_OK, "%zu bytes", lens[i]);
        cr_assert_eq(a.used_len, STATUS, "there is no result");
        c.opcode = CAP_ID_LIST_QUERY;
        a = admin_ask(r, c);
        cr_assert_eq(get_bytes(a.bytes, 8), ST_OK);
        cr_assert_eq(a.used_len, STATUS + 8);
        c.opcode = LEGACY_FIRST;
        a = admin_ask(r, c);
        cr_assert_eq(get_bytes(a.bytes, 8), ST_EINVAL | Q_OPCODE << 16, "the rest is zero");
        cr_assert_eq(a.used_len, STATUS);
        rig_negotiate(r);
    }
    list[8192 / 8 - 1] = 1ull << 63; /* the last one */
    admin_expect(r, admin_use(list, 8192 / 8), ST_EINVAL, Q_FIELD);
    rig_down(r);
}

/* 2.6.4.1: where a driver cuts its buffers is its own affair. */
Test(admin, commands_in_pieces)
{
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t all = admin_supported(r);
    struct admin_command c = admin_use(&all, 1);
    c.cut = true;
    c.writable = 13;
    admin_expect(r, c, ST_OK, Q_OK);
    struct admin_answer a =
        admin_ask(r, (struct admin_command){.opcode = LIST_QUERY, .cut = true, .writable = 16});
    cr_assert_eq(a.result, all);
    rig_down(r);
}

Test(admin, commands_are_done_in_their_order)
{
    PROVES("Basic Facilities of a Virtio Device / Administration virtqueues#07");
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t some = BOTH | 1 << CAP_ID_LIST_QUERY;
    uint64_t less = BOTH;
    const struct admin_command c[] = {{.opcode = CAP_ID_LIST_QUERY},
                                      admin_use(&some, 1),
                                      {.opcode = CAP_ID_LIST_QUERY},
                                      admin_use(&less, 1),
                                      {.opcode = CAP_ID_LIST_QUERY}};
    const unsigned expected[] = {ST_EINVAL, ST_OK, ST_OK, ST_OK, ST_EINVAL};
    gpa_t at[ARRAY_SIZE(c)];
    for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
        at[i] = admin_submit(r, &c[i]);
    rig_kick(r, ADMIN);
    rig_settle(r);
    for (unsigned i = 0; i < ARRAY_SIZE(c); i++)
        cr_assert_eq(admin_collect(r, &c[i], at[i]).status, expected[i], "command %u", i);
    rig_down(r);
}

/* --- its state --- */

Test(admin, the_list_is_loaded)
{
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t list = BOTH | 1 << CAP_ID_LIST_QUERY;
    admin_expect(r, admin_use(&list, 1), ST_OK, Q_OK);
    rig_save_and_load(r);
    rig_settle(r);
    admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_OK, Q_OK);
    admin_expect(r, (struct admin_command){.opcode = DEVICE_CAP_GET}, ST_EINVAL, Q_OPCODE);
    rig_down(r);
}

/* A queue reset is not a device reset; nor does it stop the others. */
Test(admin, its_queue_is_reset)
{
    struct rig *r = admin_up((struct rig_options){0});
    admin_use_all(r);
    r->regs->queue_reset(r, ADMIN);
    cr_assert_not(r->regs->queue_enabled(r, ADMIN));
    cr_assert(board_serves(r, 0, rig_kick));
    rig_queue_up(r, ADMIN);
    rig_settle(r);
    admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_OK, Q_OK);
    rig_down(r);
}

/* 2.12: it is there for those who agreed on it, also with packed rings. */
Test(admin, with_packed_rings)
{
    struct rig *r = admin_up((struct rig_options){.packed = true, .in_order = true});
    admin_use_all(r);
    admin_expect(r, (struct admin_command){.opcode = DEVICE_CAP_GET}, ST_ENXIO, Q_FIELD);
    rig_down(r);
}
