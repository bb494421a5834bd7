/* tests/rig/test_balloon_more.c - what a balloon's driver tells beside what is in it: statistics
 * (virtio 1.4, 5.5.6.3), hints (5.5.6.5), reports of free pages (5.5.6.7); and a balloon saved. */
#include "tests/rig/balloon_fixture.h"
#include "tests/rig/ways.h"

/* --- statistics --- */

struct entry {
    uint16_t tag;
    uint64_t val;
};

static void offer_stats(struct rig *r, const struct entry *e, unsigned n, unsigned extra)
{
    uint8_t buf[300 * 10 + 9];
    for (unsigned i = 0; i < n; i++) {
        put_bytes(buf + i * 10, e[i].tag, 2);
        put_bytes(buf + i * 10 + 2, e[i].val, 8);
    }
    memset(buf + n * 10, 0, extra);
    struct rig_seg s = bytes(r, buf, n * 10 + extra);
    rig_add(r, STATSQ, &s, 1, NULL, 0);
    rig_kick(r, STATSQ);
    rig_settle(r);
}

static bool stats_used(struct rig *r)
{
    uint32_t id, len = 1;
    bool used = rig_used(r, STATSQ, &id, &len);
    cr_assert(!used || len == 0);
    return used;
}

Test(balloon_more, statistics_in_any_order_and_unknown_ones)
{
    PROVES("Device Types / Memory Balloon Device / Device Operation / Memory Statistics#01");
    PROVES("Device Types / Memory Balloon Device / Device Operation / Memory Statistics#02");
    static const char *const names[] = {
        "swap_in",    "swap_out",    "majflt",        "minflt",        "memfree",  "memtot",
        "avail",      "caches",      "htlb_pgalloc",  "htlb_pgfail",   "oom_kill", "alloc_stall",
        "async_scan", "direct_scan", "async_reclaim", "direct_reclaim"};
    struct rig *r = rig_up("balloon", NULL);
    struct entry e[20];
    for (unsigned i = 0; i < 16; i++) {
        cr_assert_eq(told(r, names[i]), UINT64_MAX, "%s: nobody has said anything", names[i]);
        e[15 - i] = (struct entry){(uint16_t)i, 1000 + i};
    }
    e[16] = (struct entry){4, UINT64_MAX - 1}; /* one twice: the last one counts */
    e[17] = (struct entry){16, 1};             /* and some of the future */
    e[18] = (struct entry){32, 3};
    e[19] = (struct entry){UINT16_MAX, 2};
    offer_stats(r, e, 20, 9);
    for (unsigned i = 0; i < 16; i++)
        cr_assert_eq(reported(r, names[i]), i == 4 ? UINT64_MAX - 1 : 1000 + i, "%s", names[i]);
    cr_assert_eq(reported(r, "stats_updates"), 1);
    rig_status_set(r, 0);
    cr_assert_eq(told(r, "memtot"), UINT64_MAX, "of a guest that is gone");
    rig_down(r);
}

Test(balloon_more, the_device_asks_for_statistics)
{
    struct rig *r = rig_up("balloon,stats=3", NULL);
    struct err err;
    cr_assert_eq(armed_ns, UINT64_C(3000000000));
    fire(r); /* it has no buffer: nothing to ask with */
    cr_assert(!stats_used(r));
    offer_stats(r, (struct entry[]){{4, 7}}, 1, 0);
    cr_assert(!stats_used(r), "the buffer is kept until it is time");
    fire(r);
    cr_assert(stats_used(r));
    fire(r);
    cr_assert(!stats_used(r), "the driver has not answered");
    offer_stats(r, (struct entry[]){{4, 8}}, 1, 0);
    cr_assert_eq(reported(r, "memfree"), 8);
    offer_stats(r, (struct entry[]){{4, 9}}, 1, 0); /* one too many */
    cr_assert_eq(reported(r, "memfree"), 9);
    cr_assert(stats_used(r) && !stats_used(r), "one of them is kept");
    cr_assert_eq(rig_update(r, "stats=60", &err), 0);
    cr_assert_eq(armed_ns, UINT64_C(60000000000));
    fire(r);
    cr_assert(stats_used(r));
    cr_assert_eq(rig_update(r, "", &err), 0);
    cr_assert_eq(armed_ns, 0, "never again");
    cr_assert(!rig_needs_reset(r));
    rig_down(r);
}

TEST_EACH_WAY(ALL_WAYS, balloon_more, statistics_without_end)
{
    struct rig *r = rig_up("balloon,stats=3", NULL);
    HOLDS(r, "32b");
    if (r->legacy) { /* whose first buffer may hold anything */
        offer_stats(r, (struct entry[]){{4, 7}}, 1, 0);
        fire(r);
        cr_assert(stats_used(r));
    }
    struct entry e[300] = {[255] = {5, 1}, [256] = {6, 2}};
    offer_stats(r, e, 300, 0);
    cr_assert_eq(reported(r, "memtot"), 1);
    cr_assert_eq(told(r, "avail"), UINT64_MAX, "nobody looks that far");
    const struct rig_seg in = {rig_alloc(r, 64), 64};
    rig_add(r, STATSQ, NULL, 0, &in, 1);
    rig_kick(r, STATSQ);
    rig_settle(r);
    cr_assert_eq(reported(r, "memtot"), 1, "nothing to read");
    rig_down(r);
}

Test(balloon_more, statistics_of_legacy_drivers)
{
    PROVES("legacy:Device Types / Memory Balloon Device / Device Operation / Memory Statistics / "
           "Legacy Interface: Memory Statistics#01");
    PROVES("legacy:Device Types / Memory Balloon Device / Device Operation / Memory Statistics / "
           "Legacy Interface: Memory Statistics#02");
    for_each_legacy(t)
    {
        struct rig *r = rig_up("balloon,stats=3", &(struct rig_options){.transport = *t});
        offer_stats(r, (struct entry[]){{4, 7}}, 1, 0);
        cr_assert_eq(told(r, "memfree"), UINT64_MAX, "the first buffer may hold anything");
        fire(r);
        cr_assert(stats_used(r));
        offer_stats(r, (struct entry[]){{4, 0x1122334455667788}}, 1, 0);
        cr_assert_eq(reported(r, "memfree"), 0x1122334455667788);
        rig_status_set(r, 0);
        rig_negotiate(r);
        offer_stats(r, (struct entry[]){{4, 7}}, 1, 0);
        cr_assert_eq(told(r, "memfree"), UINT64_MAX, "nor after a reset");
        rig_down(r);
    }
}

/* --- hints --- */

static void command(struct rig *r, uint32_t id)
{
    uint32_t le = htole32(id);
    struct rig_seg s = bytes(r, &le, 4);
    cr_assert_eq(submit(r, HINTQ, &s, 1, NULL, 0), 0);
}

/* Whether the host took it. */
static bool hint(struct rig *r, gpa_t at)
{
    const struct rig_seg in = {at, PAGE};
    memset(rig_at(r, at, PAGE), MARK, PAGE);
    cr_assert_eq(submit(r, HINTQ, NULL, 0, &in, 1), 0, "a page is not written");
    bool gone = !resident(r, at);
    cr_assert_eq(byte_at(r, at), gone ? 0 : MARK);
    return gone;
}

static uint32_t begin_round(struct rig *r)
{
    (void)rig_irqs(r);
    fire(r);
    cr_assert_eq(rig_irqs(r), 1, "the configuration changed");
    uint32_t id = (uint32_t)rig_config(r, CMD_ID, 4);
    cr_assert_geq(id, 2);
    return id;
}

static void rounds(enum rig_transport t)
{
    struct rig *r = rig_up("balloon,hinting,hints=60", &(struct rig_options){.transport = t});
    cr_assert_eq(armed_ns, UINT64_C(60000000000));
    gpa_t at = pages(r, 1);
    uint32_t last = 1;
    cr_assert_eq(rig_config(r, CMD_ID, 4), 0, "STOP: nobody needs hints");
    cr_assert(!hint(r, at));
    for (unsigned i = 0; i < 4; i++) {
        uint32_t id = begin_round(r);
        cr_assert_gt(id, last, "never the same again");
        cr_assert(!hint(r, at), "of what command?");
        command(r, last);
        cr_assert(!hint(r, at), "of another one");
        command(r, id + 1);
        cr_assert(!hint(r, at), "of none that there was");
        command(r, id);
        cr_assert(hint(r, at));
        cr_assert(hint(r, at), "and again");
        fire(r);
        cr_assert_eq(rig_config(r, CMD_ID, 4), id, "the round goes on");
        (void)rig_irqs(r);
        command(r, 0);
        cr_assert_geq(rig_irqs(r), 1);
        cr_assert_eq(rig_config(r, CMD_ID, 4), 1, "DONE: the driver may have them back");
        cr_assert(!hint(r, at));
        command(r, id);
        cr_assert(!hint(r, at), "that is over");
        last = id;
        if (i == 1) {
            rig_status_set(r, 0);
            cr_assert_eq(rig_config(r, CMD_ID, 4), 0);
            rig_negotiate(r);
        }
    }
    cr_assert_eq(reported(r, "hint_rounds"), 4);
    cr_assert_eq(reported(r, "hinted_bytes"), 8 * PAGE);
    cr_assert_eq(reported(r, "released_bytes"), 8 * PAGE);
    rig_down(r);
}

Test(balloon_more, rounds_of_hints)
{
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Hinting#01");
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Hinting#02");
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Hinting#03");
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Hinting#04");
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Hinting#05");
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Hinting#06");
    rounds(RIG_MMIO);
    rounds(RIG_PCI);
}

Test(balloon_more, hints_of_legacy_drivers)
{
    PROVES("legacy:Device Types / Memory Balloon Device / Device Operation / Free Page Hinting / "
           "Legacy Interface: Free Page Hinting#01");
    for_each_legacy(t) rounds(*t);
}

Test(balloon_more, a_round_that_the_user_ends)
{
    struct rig *r = rig_up("balloon,hinting,hints=60", NULL);
    struct err e;
    gpa_t at = pages(r, 1);
    uint32_t id = begin_round(r);
    command(r, id);
    cr_assert(hint(r, at));
    cr_assert_eq(rig_update(r, "hinting", &e), 0);
    cr_assert_eq(rig_config(r, CMD_ID, 4), 1);
    cr_assert(!hint(r, at));
    (void)rig_irqs(r);
    cr_assert_eq(rig_update(r, "hinting,hints=1", &e), 0);
    cr_assert_eq(rig_irqs(r), 1, "who asks for hints has a round at once");
    uint32_t next = (uint32_t)rig_config(r, CMD_ID, 4);
    cr_assert_gt(next, id);
    command(r, 0); /* the answer to the first one */
    cr_assert_eq(rig_config(r, CMD_ID, 4), next, "is none to the second");
    command(r, next);
    cr_assert(hint(r, at));
    rig_down(r);
}

Test(balloon_more, a_round_that_ends_within_a_request)
{
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Hinting#05");
    struct rig *r = rig_up("balloon,hinting,hints=60", NULL);
    struct err e;
    uint32_t id, len;
    struct rig_seg in[64];
    for (unsigned i = 0; i < 64; i++)
        in[i] = (struct rig_seg){GPA(MIB(8)), MIB(16)};
    command(r, begin_round(r));
    rig_add(r, HINTQ, NULL, 0, in, 64);
    rig_kick(r, HINTQ);
    (void)loop_step(r->loop, -1);
    uint64_t released = reported(r, "released_bytes");
    cr_assert_geq(released, MIB(64));
    cr_assert_eq(rig_update(r, "hinting", &e), 0);
    rig_settle(r);
    cr_assert(rig_used(r, HINTQ, &id, &len));
    cr_assert_eq(reported(r, "released_bytes"), released);
    rig_down(r);
}

Test(balloon_more, no_hints_without_the_feature)
{
    struct rig *r = rig_up("balloon,hinting,hints=60",
                           &(struct rig_options){.without = BALLOON_F(FREE_PAGE_HINT)});
    fire(r);
    cr_assert_eq(rig_config(r, CMD_ID, 4), 0);
    cr_assert_eq(reported(r, "hint_rounds"), 0);
    rig_down(r);
    r = rig_up("balloon,hinting,hints=60", &(struct rig_options){.stop_before_driver_ok = true});
    fire(r);
    cr_assert_eq(rig_config(r, CMD_ID, 4), 0, "nobody is there to hint");
    rig_down(r);
}

/* --- reports --- */

static bool report_pages(struct rig *r, uint8_t fill)
{
    gpa_t at = pages(r, 4);
    memset(rig_at(r, at, 4 * PAGE), fill, 4 * PAGE);
    const struct rig_seg in[] = {{at, PAGE}, {page_at(at, 2), 2 * PAGE}};
    cr_assert_eq(submit(r, REPORTQ, NULL, 0, in, 2), 0);
    bool gone = !resident(r, at);
    cr_assert_eq(!resident(r, page_at(at, 2)), gone);
    cr_assert_eq(!resident(r, page_at(at, 3)), gone);
    cr_assert_eq(byte_at(r, page_at(at, 1)), fill, "which was not reported");
    cr_assert_eq(byte_at(r, at), gone ? 0 : fill);
    return gone;
}

Test(balloon_more, reported_pages_leave_the_host)
{
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Reporting#01");
    struct rig *r =
        rig_up("balloon,reporting", &(struct rig_options){.without = BALLOON_F(PAGE_POISON)});
    cr_assert(report_pages(r, MARK));
    cr_assert_eq(reported(r, "reported_bytes"), 3 * PAGE);
    cr_assert_eq(reported(r, "released_bytes"), 3 * PAGE);
    /* Parts of pages stay. */
    gpa_t at = pages(r, 2);
    const struct rig_seg in = {GPA(at.v + 1), 2 * PAGE - 2};
    cr_assert_eq(submit(r, REPORTQ, NULL, 0, &in, 1), 0);
    cr_assert(resident(r, at) && resident(r, page_at(at, 1)));
    const struct rig_seg out = bytes(r, "text", 4);
    cr_assert_eq(submit(r, REPORTQ, &out, 1, NULL, 0), 0);
    cr_assert_eq(reported(r, "released_bytes"), 3 * PAGE);
    rig_down(r);
}

static void poison(struct rig *r, uint32_t value)
{
    rig_status_set(r, 0);
    rig_negotiate_features(r);
    for (unsigned q = 0; q < 5; q++)
        rig_queue_up(r, q);
    rig_config_set(r, POISON, 4, value);
    rig_driver_ok(r);
}

Test(balloon_more, reported_pages_keep_the_drivers_value)
{
    PROVES("Device Types / Memory Balloon Device / Device Operation / Free Page Reporting#02");
    PROVES("Device Types / Memory Balloon Device / Device Operation / Page Poison#01");
    struct rig *r = rig_up("balloon,reporting", NULL);
    poison(r, 0x5a5a5a5a);
    cr_assert_eq(rig_config(r, POISON, 4), 0x5a5a5a5a);
    cr_assert(!report_pages(r, 0x5a));
    cr_assert_eq(reported(r, "reported_bytes"), 3 * PAGE);
    cr_assert_eq(reported(r, "released_bytes"), 0);
    rig_config_set(r, POISON, 4, 0);
    cr_assert_eq(rig_config(r, POISON, 4), 0x5a5a5a5a, "not while it runs");
    cr_assert(!report_pages(r, 0x5a));
    poison(r, 0);
    cr_assert(report_pages(r, 0));
    rig_down(r);
    r = rig_up("balloon,reporting", &(struct rig_options){.without = BALLOON_F(PAGE_POISON)});
    poison(r, 0x5a5a5a5a); /* which was not negotiated */
    cr_assert_eq(rig_config(r, POISON, 4), 0);
    cr_assert(report_pages(r, 0x5a));
    rig_down(r);
}

static void poison_before_driver_ok(enum rig_transport t)
{
    struct rig *r = rig_up("balloon,reporting", &(struct rig_options){.transport = t});
    rig_status_set(r, 0);
    rig_negotiate_features(r);
    for (unsigned q = 0; q < 5; q++)
        rig_queue_up(r, q);
    rig_kick(r, STATSQ); /* as Linux does, long before DRIVER_OK */
    rig_settle(r);
    rig_config_set(r, POISON, 4, 0x5a5a5a5a);
    rig_driver_ok(r);
    cr_assert(!report_pages(r, 0x5a));
    rig_down(r);
}

Test(balloon_more, a_value_that_comes_after_the_first_notification)
{
    poison_before_driver_ok(RIG_MMIO);
    for_each_legacy(t) poison_before_driver_ok(*t);
}

Test(balloon_more, a_giant_report_takes_turns)
{
    struct rig *r = rig_up("balloon,reporting", NULL);
    uint32_t id, len;
    struct rig_seg in[96];
    for (unsigned i = 0; i < 96; i++)
        in[i] = (struct rig_seg){GPA(MIB(8)), MIB(16)};
    rig_add(r, REPORTQ, NULL, 0, in, 96);
    rig_kick(r, REPORTQ);
    (void)loop_step(r->loop, -1);
    uint64_t before = reported(r, "released_bytes");
    (void)loop_step(r->loop, -1);
    cr_assert_eq(reported(r, "released_bytes") - before, MIB(64), "in one turn");
    cr_assert(!rig_used(r, REPORTQ, &id, &len));
    rig_settle(r);
    cr_assert(rig_used(r, REPORTQ, &id, &len));
    cr_assert_eq(reported(r, "released_bytes"), 96 * MIB(16));
    cr_assert_eq(reported(r, "reported_bytes"), 96 * MIB(16));
    rig_down(r);
}

/* --- saved in mid-life --- */

Test(balloon_more, goes_on_elsewhere)
{
    struct rig *r = rig_up("balloon,size=8M,stats=3,hinting,reporting", NULL), *to;
    struct err e;
    poison(r, 0x5a5a5a5a);
    rig_config_set(r, ACTUAL, 4, 77);
    offer_stats(r, (struct entry[]){{4, 7}}, 1, 0);
    cr_assert_eq(rig_update(r, "size=4M,stats=3,hinting,reporting,hints=60", &e), 0);
    uint32_t round = (uint32_t)rig_config(r, CMD_ID, 4);
    cr_assert_geq(round, 2);
    command(r, round);
    struct state_out s = rig_save(r);
    to = rig_up("balloon,size=8M,stats=3,hinting,reporting", NULL);
    for (size_t cut = 0; cut < s.len; cut++)
        cr_assert_lt(rig_load(to, s.buf, cut), 0);
    cr_assert_eq(rig_load(to, s.buf, s.len), 0);
    cr_assert_eq(rig_config(to, NUM_PAGES, 4), 1024, "as the driver knows it");
    cr_assert_eq(rig_config(to, ACTUAL, 4), 77);
    cr_assert_eq(rig_config(to, POISON, 4), 0x5a5a5a5a);
    cr_assert_eq(rig_config(to, CMD_ID, 4), round);
    cr_assert_eq(reported(to, "memfree"), 7);
    cr_assert_eq(reported(to, "actual_bytes"), 77 * PAGE);
    /* The rings are in the other rig's memory: back to it. */
    cr_assert_eq(rig_load(r, s.buf, s.len), 0);
    vdev_resume(r->dev);
    rig_settle(r);
    cr_assert(hint(r, pages(r, 1)), "the round goes on");
    cr_assert(!report_pages(r, 0x5a));
    command(r, 0);
    cr_assert(!stats_used(r), "the buffer is kept still");
    cr_assert_eq(rig_update(r, "size=4M,stats=4,hinting,reporting", &e), 0);
    fire(r);
    state_out_free(&s);
    rig_down(to);
    rig_down(r);
}
