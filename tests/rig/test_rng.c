/* tests/rig/test_rng.c - the entropy device (virtio 1.4, 5.4): whatever buffers it is given. */
#include "tests/rig/proves.h"
#include "tests/rig/reported.h"
#include "tests/rig/rig.h"

/* One buffer; its used length. */
static uint32_t ask(struct rig *r, const struct rig_seg *out, unsigned n_out,
                    const struct rig_seg *in, unsigned n_in)
{
    uint32_t id, len;
    rig_add(r, 0, out, n_out, in, n_in);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    return len;
}

Test(rng, fills_what_it_is_given)
{
    PROVES("Device Types / Entropy Device / Device Operation#01");
    struct rig *r = rig_up("rng", NULL);
    gpa_t a = rig_alloc(r, 1001);
    const struct rig_seg in[] = {{a, 300}, {GPA(a.v + 300), 700}};
    cr_assert_eq(ask(r, NULL, 0, in, 2), 1000);
    const uint8_t *p = rig_at(r, a, 1001);
    unsigned zeroes = 0;
    for (unsigned i = 0; i < 1000; i++)
        zeroes += p[i] == 0;
    cr_assert_lt(zeroes, 50, "about four are to be expected");
    cr_assert_eq(p[1000], 0);
    const struct rig_seg one = {a, 1};
    cr_assert_eq(ask(r, NULL, 0, &one, 1), 1);
    rig_down(r);
}

Test(rng, a_giant_request_is_served_in_part)
{
    PROVES("Device Types / Entropy Device / Device Operation#02");
    struct rig *r = rig_up("rng", NULL);
    const struct rig_seg in = {GPA(0x100000), 8 << 20};
    cr_assert_eq(ask(r, NULL, 0, &in, 1), 65536);
    rig_down(r);
}

Test(rng, readable_buffers_come_back_empty)
{
    struct rig *r = rig_up("rng", NULL);
    const struct rig_seg out = {rig_alloc(r, 16), 16};
    cr_assert_eq(ask(r, &out, 1, NULL, 0), 0);
    rig_down(r);
}

Test(rng, tells_what_it_has_served)
{
    struct rig *r = rig_up("rng", NULL);
    const struct rig_seg in = {rig_alloc(r, 100), 100}, out = {rig_alloc(r, 16), 16};
    ask(r, NULL, 0, &in, 1);
    ask(r, &out, 1, NULL, 0);
    cr_assert_eq(reported(r, "bytes"), 100);
    cr_assert_eq(reported(r, "requests"), 2);
    cr_assert_eq(reported(r, "queue0_notifications"), 2);
    cr_assert_eq(reported(r, "queue0_interrupts"), 1, "of two: no more was asked for");
    rig_down(r);
}

Test(rng, has_nothing_to_change)
{
    struct rig *r = rig_up("rng", NULL);
    struct err e;
    cr_assert_lt(vdev_update(r->dev, "", &e), 0);
    cr_assert_str_eq(e.msg, "a rng device has nothing that can be changed");
    rig_down(r);
}
