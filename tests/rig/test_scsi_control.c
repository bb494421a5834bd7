/* tests/rig/test_scsi_control.c - the SCSI host's control queue (virtio 1.4, 5.6.6.2): task
 * management functions and what becomes of the commands that they are for. */
#include <linux/virtio_ring.h>

#include "devices/virtio/vq_priv.h"
#include "tests/rig/published.h"
#include "tests/rig/scsi_try.h"

enum { TMF_LEN = 24, AN_LEN = 16, UNANSWERED = 0xee };

struct tmf {
    gpa_t at;
    uint32_t used;
};

static struct tmf tmf_put(struct rig *r, uint32_t what, unsigned target, unsigned lun, uint64_t id)
{
    struct tmf t = {.at = rig_alloc(r, TMF_LEN + 1)};
    struct virtio_scsi_ctrl_tmf_req h = {.type = VIRTIO_SCSI_T_TMF,
                                         .subtype = what,
                                         .lun = {1, (uint8_t)target, 0x40, (uint8_t)lun},
                                         .tag = id};
    uint8_t *p = rig_at(r, t.at, TMF_LEN + 1);
    memcpy(p, &h, sizeof(h));
    p[TMF_LEN] = UNANSWERED;
    const struct rig_seg out = {t.at, TMF_LEN}, in = {GPA(t.at.v + TMF_LEN), 1};
    rig_add(r, 0, &out, 1, &in, 1);
    return t;
}

static struct tmf tmf_add(struct rig *r, uint32_t what, unsigned target, unsigned lun, uint64_t id)
{
    struct tmf t = tmf_put(r, what, target, lun, id);
    rig_kick(r, 0);
    rig_settle(r);
    return t;
}

static int tmf_answer(struct rig *r, struct tmf t)
{
    uint32_t id, len;
    if (!rig_used(r, 0, &id, &len))
        return -1;
    cr_assert_eq(len, 1);
    return *(uint8_t *)rig_at(r, GPA(t.at.v + TMF_LEN), 1);
}

static int tmf(struct rig *r, uint32_t what, unsigned target, unsigned lun, uint64_t id)
{
    return tmf_answer(r, tmf_add(r, what, target, lun, id));
}

/* A read of target 0 that the host holds up. */
static struct cmd held_read(struct rig *r, uint64_t id)
{
    struct cmd c = CMD(0, 0, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0);
    c.id = id;
    c.in_len = 512;
    host.hold = true;
    cmd_add(r, &c);
    cr_assert(!cmd_ended(r, &c));
    return c;
}

Test(scsi_control, aborts)
{
    PROVES(
        "stray:Device Types / SCSI Host Device / Device Operation / Device Operation: controlq#02");
    PROVES(
        "stray:Device Types / SCSI Host Device / Device Operation / Device Operation: controlq#03");
    static const uint32_t what[] = {VIRTIO_SCSI_T_TMF_ABORT_TASK, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET,
                                    VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET};
    struct rig *r = up();
    for (size_t i = 0; i < ARRAY_SIZE(what); i++) {
        struct cmd a = held_read(r, 7), b = held_read(r, 8);
        struct tmf t = tmf_add(r, what[i], 0, 0, 7);
        cr_assert_eq(tmf_answer(r, t), -1, "the command is still in flight");
        cr_assert(!cmd_ended(r, &a));
        let_go(r);
        cr_assert(cmd_ended(r, &a) && cmd_ended(r, &b));
        cr_assert_eq(tmf_answer(r, t), VIRTIO_SCSI_S_OK);
        cr_assert_eq(a.response, VIRTIO_SCSI_S_ABORTED);
        cr_assert_eq(b.response, i == 0 ? VIRTIO_SCSI_S_OK : VIRTIO_SCSI_S_ABORTED);
    }
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 99), VIRTIO_SCSI_S_OK,
                 "it is not there");
    cr_assert_eq(reported(r, "task_management_functions"), 4);
    rig_down(r);
}

Test(scsi_control, the_driver_sees_the_command_before_the_function)
{
    PROVES(
        "stray:Device Types / SCSI Host Device / Device Operation / Device Operation: controlq#04");
    struct rig *r = up();
    struct cmd a = held_read(r, 7);
    struct tmf t = tmf_add(r, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0, 0);
    rig_listen(r, 0);
    rig_listen(r, 2);
    n_published = 0;
    let_go(r);
    cr_assert(n_published == 2 && published[0] == 2 && published[1] == 0);
    cr_assert(cmd_ended(r, &a));
    cr_assert_eq(tmf_answer(r, t), VIRTIO_SCSI_S_OK);
    rig_down(r);
}

/* Also a function that becomes due while the answer to another is on its way. */
Test(scsi_control, nor_a_function_before_its_command_among_others)
{
    struct rig *r = up_as("scsi,disk=%s,cd=%s",
                          &(struct rig_options){.without = 1ull << VIRTIO_RING_F_EVENT_IDX});
    calm(r, 0);
    struct cmd a = held_read(r, 7);
    static const struct {
        uint32_t what;
        uint64_t id;
    } functions[] = {{VIRTIO_SCSI_T_TMF_ABORT_TASK, 99},
                     {VIRTIO_SCSI_T_TMF_ABORT_TASK, 7},
                     {VIRTIO_SCSI_T_TMF_QUERY_TASK, 99}};
    for (size_t i = 0; i < ARRAY_SIZE(functions); i++)
        (void)tmf_put(r, functions[i].what, 0, 0, functions[i].id);
    rig_listen(r, 0);
    rig_listen(r, 2);
    n_published = 0;
    vq_run(vdev_queue(r->dev, 0));
    host.held[0]->done(host.held[0], BLOCK); /* in the same turn */
    host.n_held = 0;
    rig_settle(r);
    cr_assert(n_published == 3 && published[0] == 0 && published[1] == 2 && published[2] == 0);
    cr_assert(cmd_ended(r, &a));
    rig_down(r);
}

Test(scsi_control, resets)
{
    PROVES(
        "stray:Device Types / SCSI Host Device / Device Operation / Device Operation: controlq#01");
    struct rig *r = up();
    struct cmd a = held_read(r, 7);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 1, 0, 0), VIRTIO_SCSI_S_OK,
                 "another");
    struct tmf t = tmf_add(r, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0, 0);
    struct tmf u = tmf_add(r, VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, 0, 55, 0);
    cr_assert_eq(tmf_answer(r, t), -1);
    let_go(r);
    cr_assert(cmd_ended(r, &a));
    cr_assert_eq(a.response, VIRTIO_SCSI_S_RESET);
    cr_assert_eq(tmf_answer(r, t), VIRTIO_SCSI_S_OK);
    cr_assert_eq(tmf_answer(r, u), VIRTIO_SCSI_S_OK);
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x29, 3);
    is_refused(run(r, CMD(1, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x29, 3);
    is_good(run(r, CMD(0, 0, TEST_UNIT_READY)));
    rig_down(r);
}

/* A command that takes many steps takes none after it was aborted. */
Test(scsi_control, an_aborted_command_goes_no_further)
{
    struct rig *r = up();
    struct cmd c = CMD(0, 0, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0);
    host.no_allocate = true;
    host.hold = true;
    c.id = 1;
    cmd_add(r, &c);
    struct loop_io *io = host.held[0];
    host.n_held = 0; /* by writing from now on */
    io->done(io, -EOPNOTSUPP);
    rig_settle(r);
    cr_assert_eq(host.n[LOOP_WRITEV], 1);
    struct tmf t = tmf_add(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 1);
    let_go(r);
    cr_assert(cmd_ended(r, &c));
    cr_assert_eq(c.response, VIRTIO_SCSI_S_ABORTED);
    cr_assert_eq(tmf_answer(r, t), VIRTIO_SCSI_S_OK);
    cr_assert_eq(host.n[LOOP_WRITEV], 1);
    rig_down(r);
}

/* Nor does one of many parts begin the next of them. */
Test(scsi_control, an_aborted_unmap_goes_no_further)
{
    struct rig *r = up();
    uint8_t list[8 + 2 * 16] = {0, 38, 0, 32, [8 + 11] = 1, [24 + 7] = 8, [24 + 11] = 1};
    struct cmd c = CMD(0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, sizeof(list), 0);
    c.out = list;
    c.out_len = sizeof(list);
    c.id = 1;
    host.hold = true;
    cmd_add(r, &c);
    struct tmf t = tmf_add(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 1);
    let_go(r);
    cr_assert(cmd_ended(r, &c));
    cr_assert_eq(c.response, VIRTIO_SCSI_S_ABORTED);
    cr_assert_eq(tmf_answer(r, t), VIRTIO_SCSI_S_OK);
    cr_assert_eq(host.n[LOOP_FALLOCATE], 1);
    rig_down(r);
}

/* With IN_ORDER the aborted command is seen after those before it, so the function is, too. */
Test(scsi_control, a_function_waits_for_what_the_driver_cannot_see_yet)
{
    struct rig *r = up_as("scsi,disk=0:0:%s,cd=0:1:%s", &(struct rig_options){.in_order = true});
    is_refused(run(r, CMD(0, 0, TEST_UNIT_READY)), KEY_ATTENTION, 0x29, 0);
    is_refused(run(r, CMD(0, 1, TEST_UNIT_READY)), KEY_ATTENTION, 0x29, 0);
    struct cmd a = held_read(r, 1), b = CMD(0, 1, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0);
    host.hold = false;
    b.in_len = 2048;
    b.id = 2;
    cmd_add(r, &b);
    struct tmf t = tmf_add(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 1, 2);
    cr_assert_eq(tmf_answer(r, t), -1);
    let_go(r);
    cr_assert_eq(tmf_answer(r, t), VIRTIO_SCSI_S_OK);
    cr_assert(cmd_ended(r, &a) && cmd_ended(r, &b));
    is_good(a);
    rig_down(r);
}

/* It is the driver's view that counts: the device may not have looked at that queue yet. */
Test(scsi_control, aborts_what_has_just_been_made_available)
{
    struct rig *r = up();
    struct cmd a = CMD(0, 0, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0);
    a.id = 7;
    a.in_len = 512;
    cmd_put(r, &a); /* its notification comes later */
    struct tmf t = tmf_add(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 7);
    cr_assert_eq(tmf_answer(r, t), VIRTIO_SCSI_S_OK);
    cr_assert(cmd_ended(r, &a));
    cr_assert_eq(a.response, VIRTIO_SCSI_S_ABORTED);
    rig_down(r);
}

/* Whatever the user has made of the queues' sizes. */
Test(scsi_control, more_functions_wait_than_there_is_room_for)
{
    enum { WAIT = 64, QUEUE_SIZE = 256 };
    struct rig *r =
        up_as("scsi,disk=%s,cd=%s", &(struct rig_options){.device_queue_size = QUEUE_SIZE});
    calm(r, 0);
    struct cmd a = held_read(r, 7);
    for (unsigned i = 0; i < WAIT; i++)
        cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 7), -1);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0, 0), VIRTIO_SCSI_S_BUSY);
    let_go(r);
    cr_assert(cmd_ended(r, &a));
    cr_assert_eq(a.response, VIRTIO_SCSI_S_ABORTED);
    uint32_t id, len;
    for (unsigned i = 0; i < WAIT; i++)
        cr_assert(rig_used(r, 0, &id, &len));
    is_good(run(r, CMD(0, 0, TEST_UNIT_READY))); /* what was refused did nothing */
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 0, 0), VIRTIO_SCSI_S_OK);
    rig_down(r);
}

Test(scsi_control, queries_and_what_is_not_done)
{
    struct rig *r = up();
    struct cmd a = held_read(r, 7);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 7), VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 8), VIRTIO_SCSI_S_OK);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 0, 8),
                 VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 1, 0, 8), VIRTIO_SCSI_S_OK);
    let_go(r);
    cr_assert(cmd_ended(r, &a));
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_CLEAR_ACA, 0, 0, 0), VIRTIO_SCSI_S_FUNCTION_REJECTED);
    cr_assert_eq(tmf(r, 77, 0, 0, 0), VIRTIO_SCSI_S_FUNCTION_REJECTED);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 9, 0), VIRTIO_SCSI_S_INCORRECT_LUN);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 9, 0, 0), VIRTIO_SCSI_S_BAD_TARGET);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, 9, 0, 0), VIRTIO_SCSI_S_BAD_TARGET);
    rig_down(r);
}

Test(scsi_control, a_queue_that_is_taken_away)
{
    struct rig *r = up();
    struct cmd a = held_read(r, 7);
    struct tmf t = tmf_add(r, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 0, 7);
    vdev_queue_disable(r->dev, 0);
    cr_assert_eq(*(uint8_t *)rig_at(r, GPA(t.at.v + TMF_LEN), 1), VIRTIO_SCSI_S_FAILURE);
    let_go(r);
    cr_assert(cmd_ended(r, &a));
    cr_assert_eq(a.response, VIRTIO_SCSI_S_ABORTED);
    rig_down(r);
}

static uint32_t control(struct rig *r, const void *out, uint32_t out_len, void *in, uint32_t in_len)
{
    gpa_t at = rig_alloc(r, 64);
    uint8_t *p = rig_at(r, at, 64);
    uint32_t id, len;
    memset(p + 32, UNANSWERED, 32);
    memcpy(p, out, out_len);
    const struct rig_seg o = {at, out_len}, i = {GPA(at.v + 32), in_len};
    rig_add(r, 0, &o, out_len ? 1 : 0, &i, in_len ? 1 : 0);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    memcpy(in, p + 32, in_len);
    return len;
}

Test(scsi_control, no_unit_has_asynchronous_notifications)
{
    struct rig *r = up();
    uint8_t in[8];
    for (uint32_t type = VIRTIO_SCSI_T_AN_QUERY; type <= VIRTIO_SCSI_T_AN_SUBSCRIBE; type++) {
        struct virtio_scsi_ctrl_an_req h = {
            .type = type, .lun = {1, 1, 0x40, 0}, .event_requested = 0x7e};
        cr_assert_eq(control(r, &h, sizeof(h), in, 5), 5);
        cr_assert(get_bytes(in, 4) == 0 && in[4] == VIRTIO_SCSI_S_OK);
        h.lun[1] = 9;
        (void)control(r, &h, sizeof(h), in, 5);
        cr_assert_eq(in[4], VIRTIO_SCSI_S_BAD_TARGET);
        cr_assert_eq(control(r, &h, sizeof(h), in, 3), 0);
        cr_assert_eq(control(r, &h, 15, in, 5), 5);
        cr_assert_eq(in[4], VIRTIO_SCSI_S_FAILURE);
    }
    rig_down(r);
}

Test(scsi_control, what_is_no_request)
{
    struct rig *r = up();
    const uint32_t h[6] = {3};
    uint8_t in[8];
    cr_assert_eq(control(r, h, 24, in, 1), 1);
    cr_assert_eq(in[0], VIRTIO_SCSI_S_FAILURE);
    cr_assert_eq(control(r, h, 3, in, 5), 0);
    cr_assert_eq(in[4], VIRTIO_SCSI_S_FAILURE);
    cr_assert_eq(control(r, h, 24, in, 0), 0);
    cr_assert_eq(control(r, h, 0, in, 1), 1);
    const uint32_t tmf[6] = {0};
    cr_assert_eq(control(r, tmf, 23, in, 1), 1);
    cr_assert_eq(in[0], VIRTIO_SCSI_S_FAILURE);
    cr_assert_eq(control(r, tmf, 24, in, 0), 0);
    cr_assert(!rig_needs_reset(r));
    rig_down(r);
}

/* 5.6.6.1.1: what a reset of the device finds in flight ends with FAILURE. */
Test(scsi_control, a_reset_with_commands_in_flight)
{
    PROVES(
        "Device Types / SCSI Host Device / Device Operation / Device Operation: Request Queues#04");
    struct rig *r = up();
    struct cmd c = CMD(0, 0, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0);
    host.no_allocate = true;
    cmd_add(r, &c);
    (void)cmd_ended(r, &c);
    c.at = GPA(0);
    struct cmd d = CMD(0, 0, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0);
    d.at = rig_alloc(r, HEAD + RESP);
    uint8_t *p = rig_at(r, d.at, HEAD + RESP);
    memcpy(p, d.lun, 8);
    memcpy(p + 19, d.cdb, 32);
    const struct rig_seg out = {d.at, HEAD}, in = {GPA(d.at.v + HEAD), RESP};
    rig_add(r, 2, &out, 1, &in, 1);
    rig_kick(r, 2);
    loop_step(r->loop, 0); /* it has begun, and is not through */
    rig_status_set(r, 0);
    cmd_parse(r, &d);
    cr_assert_eq(d.response, VIRTIO_SCSI_S_FAILURE);
    rig_negotiate(r);
    calm(r, 0);
    rig_down(r);
}

Test(scsi_control, a_legacy_driver)
{
    PROVES(
        "legacy:Device Types / SCSI Host Device / Device Operation / Device Operation: controlq / "
        "Legacy Interface: Device Operation: controlq#01");
    struct rig *r = up_as("scsi,disk=%s,cd=%s",
                          &(struct rig_options){.transport = RIG_PCI_TRANSITIONAL_LEGACY});
    calm(r, 0);
    struct cmd a = held_read(r, 0x0102030405060708);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 0x0102030405060708),
                 VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
    cr_assert_eq(tmf(r, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 0, 0x0807060504030201), VIRTIO_SCSI_S_OK);
    let_go(r);
    cr_assert(cmd_ended(r, &a));
    rig_down(r);
}
