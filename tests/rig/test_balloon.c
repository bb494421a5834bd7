/* tests/rig/test_balloon.c - the balloon (virtio 1.4, 5.5): what is put into it leaves the host,
 * whatever else a driver may say does not. Reports, hints, statistics: test_balloon_more.c. */
#include "tests/rig/balloon_fixture.h"
#include "tests/rig/ways.h"

Test(balloon, pages_in_the_balloon_leave_the_host)
{
    PROVES("Device Types / Memory Balloon Device / Device Operation#01");
    struct rig *r = rig_up("balloon", NULL);
    gpa_t at = pages(r, 16);
    uint64_t pfn = at.v / PAGE;
    /* Neighbours upwards, downwards, twice, alone. */
    const uint32_t list[] = {pfn + 2, pfn + 3,  pfn + 4, pfn + 8, pfn + 7,
                             pfn + 7, pfn + 12, pfn + 2, pfn + 14};
    static const bool gone[16] = {[2] = 1, [3] = 1, [4] = 1, [7] = 1, [8] = 1, [12] = 1, [14] = 1};
    name_pages(r, INFLATEQ, list, ARRAY_SIZE(list));
    for (unsigned i = 0; i < 16; i++)
        cr_assert_eq(resident(r, page_at(at, i)), !gone[i], "page %u", i);
    for (unsigned i = 0; i < 16; i++)
        cr_assert_eq(byte_at(r, page_at(at, i)), gone[i] ? 0 : MARK, "page %u", i);
    cr_assert_eq(reported(r, "inflated_bytes"), 9 * PAGE);
    cr_assert_eq(reported(r, "released_bytes"), 9 * PAGE, "what was named twice went twice");
    rig_down(r);
}

/* With neither MUST_TELL_HOST nor a word on the deflate queue. */
static void used_before_the_host_is_told(struct rig *r)
{
    gpa_t at = pages(r, 2);
    inflate(r, at);
    cr_assert(!resident(r, at));
    memset(rig_at(r, at, PAGE), 0x77, PAGE);
    inflate(r, page_at(at, 1));
    cr_assert_eq(byte_at(r, at), 0x77);
    uint32_t pfn = htole32((uint32_t)(at.v / PAGE));
    name_pages(r, DEFLATEQ, &pfn, 1);
    cr_assert_eq(byte_at(r, at), 0x77);
    cr_assert_eq(reported(r, "deflated_bytes"), PAGE);
    cr_assert(!rig_needs_reset(r));
}

Test(balloon, a_driver_may_use_pages_before_the_host_is_told)
{
    PROVES("legacy:Device Types / Memory Balloon Device / Feature bits / Legacy Interface: Feature "
           "bits#01");
    PROVES("legacy:Device Types / Memory Balloon Device / Feature bits / Legacy Interface: Feature "
           "bits#02");
    const uint64_t without = BALLOON_F(MUST_TELL_HOST);
    for_each_legacy(t)
    {
        struct rig *r =
            rig_up("balloon", &(struct rig_options){.transport = *t, .without = without});
        cr_assert(!rig_has(r, VIRTIO_BALLOON_F_MUST_TELL_HOST));
        used_before_the_host_is_told(r);
        rig_down(r);
    }
    struct rig *r = rig_up("balloon", &(struct rig_options){.without = without});
    used_before_the_host_is_told(r);
    rig_down(r);
}

Test(balloon, pages_that_were_taken_back_are_left_alone)
{
    struct rig *r = rig_up("balloon", NULL);
    cr_assert(rig_has(r, VIRTIO_BALLOON_F_MUST_TELL_HOST));
    gpa_t at = pages(r, 1);
    inflate(r, at);
    cr_assert(!resident(r, at));
    uint32_t pfn = htole32((uint32_t)(at.v / PAGE));
    name_pages(r, DEFLATEQ, &pfn, 1);
    memset(rig_at(r, at, PAGE), 0x77, PAGE);
    rig_settle(r);
    cr_assert_eq(byte_at(r, at), 0x77);
    rig_down(r);
}

TEST_EACH_WAY(ALL_WAYS, balloon, what_is_no_ram_is_ignored)
{
    struct rig *r = rig_up("balloon", NULL);
    HOLDS(r, "32d");
    gpa_t at = pages(r, 4);
    uint32_t pfn = (uint32_t)(at.v / PAGE), end = RIG_RAM / PAGE;
    /* The same page, if its address were cut to 32 bits; the edges of RAM; of everything. */
    const uint32_t list[] = {pfn | 1u << 20, pfn | 1u << 31, end, end + 1, UINT32_MAX, 0xfffff};
    name_pages(r, INFLATEQ, list, ARRAY_SIZE(list));
    name_pages(r, DEFLATEQ, list, ARRAY_SIZE(list));
    cr_assert(resident(r, at));
    cr_assert_eq(byte_at(r, at), MARK);
    cr_assert_eq(reported(r, "released_bytes"), 0);
    /* A run that leaves RAM loses only what is RAM. */
    gpa_t last = GPA(RIG_RAM - PAGE);
    memset(rig_at(r, last, PAGE), MARK, PAGE);
    name_pages(r, INFLATEQ, (const uint32_t[]){end - 1, end, end + 1}, 3);
    cr_assert_eq(reported(r, "released_bytes"), PAGE);
    cr_assert_eq(byte_at(r, last), 0);
    rig_down(r);
}

Test(balloon, odd_buffers)
{
    struct rig *r = rig_up("balloon", NULL);
    gpa_t at = pages(r, 2);
    uint8_t list[11];
    put_bytes(list, at.v / PAGE, 4);
    put_bytes(list + 4, at.v / PAGE + 1, 4);
    memset(list + 8, 0, 3); /* part of page 0 */
    struct rig_seg s[11];
    for (unsigned i = 0; i < 11; i++)
        s[i] = bytes(r, list + i, 1);
    cr_assert_eq(submit(r, INFLATEQ, s, 11, NULL, 0), 0);
    cr_assert_eq(reported(r, "released_bytes"), 2 * PAGE);
    cr_assert(!resident(r, at) && !resident(r, page_at(at, 1)));
    cr_assert_eq(submit(r, INFLATEQ, s, 3, NULL, 0), 0, "not even one");
    const struct rig_seg in = {rig_alloc(r, 64), 64};
    for (unsigned q = INFLATEQ; q <= DEFLATEQ; q++)
        cr_assert_eq(submit(r, q, NULL, 0, &in, 1), 0, "nothing to read");
    cr_assert_eq(reported(r, "released_bytes"), 2 * PAGE);
    rig_down(r);
}

/* Millions of numbers are read over many turns, and others have theirs in between. */
enum { GIANT = 8 << 20, GIANT_AT = 16 << 20 };

static void begin_giant(struct rig *r)
{
    memset(rig_at(r, GPA(GIANT_AT), GIANT), 0xff, GIANT);
    const struct rig_seg s = {GPA(GIANT_AT), GIANT};
    rig_add(r, INFLATEQ, &s, 1, NULL, 0);
    rig_kick(r, INFLATEQ);
    (void)loop_step(r->loop, -1);
}

TEST_EACH_WAY(ALL_WAYS, balloon, a_giant_request_leaves_others_their_turn)
{
    struct rig *r = rig_up("balloon", NULL);
    HOLDS(r, "18b");
    uint32_t id, len, pfn = 1;
    begin_giant(r);
    struct rig_seg s = bytes(r, &pfn, 4);
    rig_add(r, DEFLATEQ, &s, 1, NULL, 0);
    rig_kick(r, DEFLATEQ);
    unsigned turns = 0;
    for (; !rig_used(r, DEFLATEQ, &id, &len); turns++)
        (void)loop_step(r->loop, -1);
    cr_assert_lt(turns, 20);
    cr_assert(!rig_used(r, INFLATEQ, &id, &len), "it takes two thousand turns");
    uint64_t before = reported(r, "inflated_bytes");
    (void)loop_step(r->loop, -1);
    cr_assert_leq(reported(r, "inflated_bytes") - before, 1024 * PAGE, "pages named in one turn");
    rig_settle(r);
    cr_assert(rig_used(r, INFLATEQ, &id, &len));
    cr_assert_eq(reported(r, "inflated_bytes"), (uint64_t)GIANT / 4 * PAGE);
    rig_down(r);
}

TEST_EACH_WAY(ALL_WAYS, balloon, a_giant_request_may_be_given_up)
{
    struct rig *r = rig_up("balloon", NULL);
    HOLDS(r, "27c");
    begin_giant(r);
    uint64_t named = reported(r, "inflated_bytes");
    rig_status_set(r, 0);
    rig_settle(r);
    cr_assert_eq(reported(r, "inflated_bytes"), named);
    rig_negotiate(r);
    gpa_t at = pages(r, 1);
    inflate(r, at);
    cr_assert(!resident(r, at), "not a number of the old one");
    cr_assert_eq(reported(r, "inflated_bytes"), named + PAGE);
    rig_down(r);
}

Test(balloon, a_pause_begins_the_request_anew)
{
    struct rig *r = rig_up("balloon", NULL);
    uint32_t id, len;
    begin_giant(r);
    vdev_pause(r->dev);
    cr_assert(!rig_used(r, INFLATEQ, &id, &len));
    vdev_resume(r->dev);
    rig_settle(r);
    cr_assert(rig_used(r, INFLATEQ, &id, &len));
    rig_down(r);
}

/* --- configuration --- */

Test(balloon, the_target_and_what_the_driver_has)
{
    struct rig *r = rig_up("balloon,size=8M", NULL);
    struct err e = {0};
    cr_assert_eq(rig_config(r, NUM_PAGES, 4), 2048);
    cr_assert_eq(reported(r, "target_bytes"), MIB(8));
    rig_config_set(r, ACTUAL, 4, 1000);
    cr_assert_eq(rig_config(r, ACTUAL, 4), 1000);
    cr_assert_eq(reported(r, "actual_bytes"), 1000 * PAGE);
    (void)rig_irqs(r);
    cr_assert_eq(rig_update(r, "size=4M", &e), 0);
    cr_assert_eq(r->regs->pending(r), 2, "the configuration changed");
    cr_assert_eq(rig_irqs(r), 1);
    cr_assert_eq(rig_config(r, NUM_PAGES, 4), 1024);
    cr_assert_eq(rig_update(r, "size=4M", &e), 0);
    cr_assert_eq(rig_irqs(r), 0, "it did not change");
    rig_config_set(r, NUM_PAGES, 4, 7); /* read-only, as is the other one */
    rig_config_set(r, CMD_ID, 4, 7);
    cr_assert_eq(rig_config(r, NUM_PAGES, 4), 1024);
    cr_assert_eq(rig_config(r, CMD_ID, 4), 0);
    rig_status_set(r, 0);
    cr_assert_eq(rig_config(r, ACTUAL, 4), 0, "the guest has all of its memory again");
    cr_assert_eq(reported(r, "actual_bytes"), 0);
    cr_assert_eq(rig_config(r, NUM_PAGES, 4), 1024);
    rig_down(r);
}

Test(balloon, more_than_there_is)
{
    struct rig *r = rig_up("balloon", NULL);
    struct err e = {0};
    cr_assert_lt(rig_update(r, "size=33M,stats=3", &e), 0);
    cr_assert_str_eq(e.msg, "balloon: size: the guest has only 32 MiB of memory");
    cr_assert_eq(e.kind, ERR_INPUT);
    cr_assert_lt(rig_update(r, "hints=3", &e), 0);
    cr_assert_str_eq(e.msg, "balloon: hints=3 needs hinting=on");
    cr_assert_null(armed, "and nothing has changed");
    cr_assert_eq(rig_update(r, "size=32M", &e), 0);
    cr_assert_eq(rig_config(r, NUM_PAGES, 4), RIG_RAM / PAGE);
    rig_down(r);
}

Test(balloon, features_are_the_users_choice)
{
    struct rig *r = rig_up("balloon", NULL);
    uint64_t all = BALLOON_F(DEFLATE_ON_OOM) | BALLOON_F(FREE_PAGE_HINT) | BALLOON_F(REPORTING);
    uint64_t always = BALLOON_F(MUST_TELL_HOST) | BALLOON_F(STATS_VQ) | BALLOON_F(PAGE_POISON);
    cr_assert_eq(r->features & (all | always), always);
    rig_down(r);
    r = rig_up("balloon,deflate_on_oom,hinting,reporting,page_poison=off", NULL);
    cr_assert_eq(r->features & (all | always), (all | always) & ~BALLOON_F(PAGE_POISON));
    rig_down(r);
}

Test(balloon, legacy_configuration_is_little_endian)
{
    PROVES("legacy:Device Types / Memory Balloon Device / Device configuration layout / Legacy "
           "Interface: Device configuration layout#01");
    PROVES("legacy:Device Types / Memory Balloon Device / Device Operation / Legacy Interface: "
           "Device Operation#03");
    for_each_legacy(t)
    {
        struct rig *r = rig_up("balloon,size=8M", &(struct rig_options){.transport = *t});
        for (unsigned i = 0; i < 4; i++)
            cr_assert_eq(rig_config(r, NUM_PAGES + i, 1), i == 1 ? 8 : 0);
        const uint8_t value[] = {0x11, 0x22, 0x01, 0x00};
        for (unsigned i = 0; i < 4; i++) {
            cr_assert_eq(reported(r, "actual_bytes"), 0, "before the last byte, byte %u", i);
            rig_config_set(r, ACTUAL + i, 1, value[i]);
            cr_assert_eq(rig_config(r, ACTUAL + i, 1), value[i]);
        }
        cr_assert_eq(reported(r, "actual_bytes"), 0x12211 * (uint64_t)PAGE);
        rig_down(r);
    }
}

/* --- queues that a driver numbers without holes --- */

static void report_on(struct rig *r, unsigned q, bool works)
{
    gpa_t at = pages(r, 1);
    const struct rig_seg in = {at, PAGE};
    uint32_t id, len;
    rig_add(r, q, NULL, 0, &in, 1);
    rig_kick(r, q);
    rig_settle(r);
    cr_assert_eq(rig_used(r, q, &id, &len), works, "queue %u", q);
    cr_assert_eq(resident(r, at), !works, "queue %u", q);
}

Test(balloon, queues_with_holes_and_without)
{
    for (unsigned compact = 0; compact < 2; compact++) {
        struct rig *r = rig_up(
            "balloon,reporting,hinting",
            &(struct rig_options){.without = BALLOON_F(STATS_VQ) | BALLOON_F(FREE_PAGE_HINT)});
        rig_status_set(r, 0);
        rig_negotiate_features(r);
        for (unsigned q = 0; q < (compact ? 3 : 5); q++)
            rig_queue_up(r, q);
        rig_driver_ok(r);
        report_on(r, compact ? STATSQ : REPORTQ, true);
        if (!compact)
            report_on(r, STATSQ, false);
        /* And still so after a load. */
        rig_save_and_load(r);
        report_on(r, compact ? STATSQ : REPORTQ, true);
        rig_down(r);
    }
}
