/* tests/rig/test_admin.c - what administration commands mean (virtio 1.4, 2.12): lists, validation,
 * and the answers of a device without capabilities and resource objects. */
#include "tests/rig/admin.h"

/* --- lists --- */

Test(admin, what_there_is)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#05");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Legacy Interface#01");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Device and driver capabilities#01");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Device parts#01");
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t all = admin_supported(r);
    cr_assert_eq(all & BOTH, BOTH);
    for (unsigned i = LEGACY_FIRST; i <= LEGACY_LAST; i++)
        cr_assert_not(all >> i & 1, "none of the legacy interface's");
    for (unsigned i = CAP_ID_LIST_QUERY; i <= DRIVER_CAP_SET; i++)
        cr_assert(all >> i & 1, "all of the capabilities'");
    for (unsigned i = RESOURCE_CREATE; i <= RESOURCE_DESTROY; i++)
        cr_assert(all >> i & 1, "all of the resource objects',");
    cr_assert_eq(all >> PARTS_FIRST, 0, "none of the device parts'");
    admin_use_all(r);
    const uint64_t parts[2] = {0};
    admin_expect(r,
                 (struct admin_command){.opcode = RESOURCE_CREATE, .data = parts, .data_len = 16},
                 ST_ENOSPC, Q_FIELD);
    rig_down(r);
}

Test(admin, after_a_reset_two_commands_are_used)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#15");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#17");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#18");
    struct rig *r = admin_up((struct rig_options){0});
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned opcode = 2; opcode < 64; opcode++)
            admin_expect(r, (struct admin_command){.opcode = opcode}, ST_EINVAL, Q_OPCODE);
        cr_assert_eq(admin_ask(r, (struct admin_command){.opcode = LIST_QUERY}).status, ST_OK);
        admin_use_all(r);
        admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_OK, Q_OK);
        if (i == 1)
            transport_reset(r->transport); /* the machine's, and then the driver's */
        if (i == 1)
            r->regs->up(r);
        rig_negotiate(r);
    }
    rig_down(r);
}

/* 2.1: what was switched on is as after a reset, and a driver need not reset it. */
Test(admin, as_it_is_switched_on)
{
    struct rig *r = admin_up((struct rig_options){.no_reset = true});
    admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_EINVAL, Q_OPCODE);
    admin_use_all(r);
    admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_OK, Q_OK);
    uint64_t kicks, interrupts; /* of the device's own queues there are counts */
    vdev_queue_counts(r->dev, ADMIN, &kicks, &interrupts);
    cr_assert(kicks == 0 && interrupts == 0);
    rig_down(r);
}

Test(admin, the_list_in_use)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#16");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#17");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#18");
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t all = admin_supported(r);
    for (unsigned opcode = CAP_ID_LIST_QUERY; opcode <= RESOURCE_DESTROY; opcode++) {
        uint64_t list = BOTH | 1ull << opcode;
        admin_expect(r, admin_use(&list, 1), ST_OK, Q_OK);
        for (unsigned i = CAP_ID_LIST_QUERY; i < 64; i++) {
            struct admin_answer a = admin_ask(r, (struct admin_command){.opcode = i});
            cr_assert_eq(a.status == ST_EINVAL && a.qualifier == Q_OPCODE, i != opcode);
        }
        cr_assert_eq(admin_supported(r), all, "which is another list");
    }
    uint64_t one = 1 << LIST_USE; /* a driver may block these as well */
    admin_expect(r, admin_use(&one, 1), ST_OK, Q_OK);
    admin_expect(r, (struct admin_command){.opcode = LIST_QUERY}, ST_EINVAL, Q_OPCODE);
    one = 0;
    admin_expect(r, admin_use(&one, 1), ST_OK, Q_OK);
    admin_expect(r, admin_use(&all, 1), ST_EINVAL, Q_OPCODE);
    rig_negotiate(r);
    admin_use_all(r);
    rig_down(r);
}

/* Also one that the device had accepted: never is a command taken back. */
Test(admin, lists_stay_what_they_are)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#19");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#21");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#22");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#23");
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t all = admin_supported(r);
    const uint64_t lists[] = {all, BOTH, BOTH | 1 << CAP_ID_LIST_QUERY,
                              all & ~(1ull << RESOURCE_CREATE)};
    for (unsigned i = 0; i < 2 * ARRAY_SIZE(lists); i++) {
        admin_expect(r, admin_use(&lists[i / 2], 1), ST_OK, Q_OK);
        cr_assert_eq(admin_supported(r), all);
        if (i & 1) {
            transport_reset(r->transport);
            r->regs->up(r);
        }
        rig_negotiate(r);
        cr_assert_eq(admin_supported(r), all);
        admin_expect(r, admin_use(&lists[i / 2], 1), ST_OK, Q_OK);
    }
    rig_down(r);
}

/* With what the device has not got: refused, and nothing has changed. */
Test(admin, lists_that_are_refused)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#06");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#07");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#08");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#10");
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t all = admin_supported(r), mine = BOTH | 1 << DEVICE_CAP_GET;
    admin_expect(r, admin_use(&mine, 1), ST_OK, Q_OK);
    for (unsigned opcode = 0; opcode < 256; opcode++) {
        uint64_t list[4] = {BOTH};
        list[opcode / 64] |= 1ull << opcode % 64;
        if (opcode < 64 && all >> opcode & 1)
            continue;
        admin_expect(r, admin_use(list, 4), ST_EINVAL, Q_FIELD);
        admin_expect(r, (struct admin_command){.opcode = DRIVER_CAP_SET}, ST_EINVAL, Q_OPCODE);
        admin_expect(r, (struct admin_command){.opcode = DEVICE_CAP_GET}, ST_ENXIO, Q_FIELD);
    }
    cr_assert(board_serves(r, 0, rig_kick));
    rig_down(r);
}

/* --- validation --- */

Test(admin, groups_come_first_then_opcodes_then_members)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#01");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#02");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#03");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#04");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#25");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Device and driver capabilities#05");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Device and driver capabilities#06");
    static const unsigned groups[] = {SRIOV, 2, 0x100, 0xffff};
    static const unsigned unknown[] = {LEGACY_FIRST, PARTS_FIRST, 0x12,   63,     64,
                                       65,           128,         0x7fff, 0x8000, 0xffff};
    static const uint64_t members[] = {1, 0x100, 1ull << 32, 1ull << 63, UINT64_MAX};
    struct rig *r = admin_up((struct rig_options){0});
    admin_use_all(r);
    for (unsigned m = 0; m < ARRAY_SIZE(members); m++) {
        for (unsigned g = 0; g < ARRAY_SIZE(groups); g++) {
            for (unsigned op = 0; op <= 64; op++)
                admin_expect(r, admin_command(op, groups[g], members[m]), ST_EINVAL, Q_GROUP);
        }
        for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++)
            admin_expect(r, admin_command(unknown[i], SELF, members[m]), ST_EINVAL, Q_OPCODE);
        for (unsigned op = CAP_ID_LIST_QUERY; op <= RESOURCE_DESTROY; op++)
            admin_expect(r, admin_command(op, SELF, members[m]), ST_EINVAL, Q_MEMBER);
        cr_assert_eq(admin_ask(r, admin_command(LIST_QUERY, SELF, members[m])).status, ST_OK,
                     "which is about no member");
        uint64_t all = admin_supported(r);
        struct admin_command use = admin_use(&all, 1);
        use.member = members[m];
        admin_expect(r, use, ST_OK, Q_OK);
    }
    admin_expect(r, (struct admin_command){.opcode = SRIOV, .group = SRIOV}, ST_EINVAL, Q_GROUP);
    rig_down(r);
}

/* Not a device that needs a reset, nor one whose list is another. */
Test(admin, what_is_invalid_changes_nothing)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#06");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#07");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#08");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#09");
    struct rig *r = admin_up((struct rig_options){0});
    uint64_t list = BOTH | 1 << CAP_ID_LIST_QUERY, none = 0, bad = 1 << LEGACY_FIRST;
    admin_expect(r, admin_use(&list, 1), ST_OK, Q_OK);
    const struct admin_command invalid[] = {
        {.opcode = LIST_USE, .group = SRIOV, .data = &none, .data_len = 8},
        {.opcode = LIST_USE, .data = &bad, .data_len = 8},
        {.opcode = DRIVER_CAP_SET, .data = &none, .data_len = 8},
        {.opcode = CAP_ID_LIST_QUERY, .member = 1},
        {.opcode = 0xffff, .group = 0xffff, .member = UINT64_MAX},
    };
    uint8_t status = rig_status(r);
    for (unsigned i = 0; i < ARRAY_SIZE(invalid); i++) {
        cr_assert_eq(admin_ask(r, invalid[i]).status, ST_EINVAL);
        cr_assert_eq(rig_status(r), status);
        admin_expect(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY}, ST_OK, Q_OK);
        admin_expect(r, (struct admin_command){.opcode = DEVICE_CAP_GET}, ST_EINVAL, Q_OPCODE);
        cr_assert(board_serves(r, 0, rig_kick));
    }
    rig_down(r);
}

/* --- capabilities and resource objects, of which there are none --- */

Test(admin, no_capability)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Device and driver capabilities#08");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands#06");
    struct rig *r = admin_up((struct rig_options){0});
    admin_use_all(r);
    struct admin_answer a = admin_ask(r, (struct admin_command){.opcode = CAP_ID_LIST_QUERY});
    cr_assert_eq(a.status, ST_OK);
    cr_assert_eq(a.used_len, STATUS + 8);
    cr_assert_eq(a.result, 0);
    for (unsigned id = 0; id <= UINT16_MAX; id += id < 0x1000 ? 1 : 0xfff) {
        uint64_t data[2] = {id};
        r->ram_next = 0x1000000;
        admin_expect(r,
                     (struct admin_command){.opcode = DEVICE_CAP_GET, .data = data, .data_len = 8},
                     ST_ENXIO, Q_FIELD);
        admin_expect(r,
                     (struct admin_command){.opcode = DRIVER_CAP_SET, .data = data, .data_len = 16},
                     ST_ENXIO, Q_FIELD);
    }
    rig_down(r);
}

Test(admin, no_resource_object)
{
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Device resource objects#02");
    PROVES("Basic Facilities of a Virtio Device / Device groups / "
           "Group administration commands / Device resource objects#03");
    static const uint16_t types[] = {0, 1, 0x1ff, 0x200, 0x4ff, 0x500, 0xffff};
    struct rig *r = admin_up((struct rig_options){0});
    admin_use_all(r);
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        for (uint64_t id = 0; id < 3; id++) {
            uint64_t data[3] = {types[i] | id << 32};
            struct admin_command c = {.opcode = RESOURCE_CREATE, .data = data, .data_len = 24};
            admin_expect(r, c, ST_ENOSPC, Q_FIELD);
            for (c.opcode = RESOURCE_CREATE + 1; c.opcode <= RESOURCE_DESTROY; c.opcode++)
                admin_expect(r, c, ST_ENXIO, Q_FIELD);
        }
    }
    rig_down(r);
}
