/* tests/faults/test_fault_net.c - a network interface whose host fails: a frame is lost, or waits,
 * and the queues go on. */
#include <sched.h>
#include <sys/mount.h>

#include "tests/faults/fault.h"
#include "tests/rig/net_fixture.h"

static uint8_t frame[100], got[2048];

static struct fx *up(void)
{
    struct fx *f = fx_up(1, false, NULL, NULL);
    fx_post(f, 0, 16, 2048);
    rig_kick(f->r, 0);
    rig_settle(f->r);
    return f;
}

static bool sends(struct fx *f)
{
    uint32_t id, len;
    fx_frame(frame, TO_OTHER, 0x0800, sizeof(frame));
    fx_tx(f, 1, NULL, frame, sizeof(frame));
    cr_assert(rig_used(f->r, 1, &id, &len), "it is given back, sent or not");
    return fx_recv(f, 0, NULL, got, sizeof(got)) == sizeof(frame);
}

static bool receives(struct fx *f)
{
    fx_frame(frame, TO_GUEST, 0x0800, sizeof(frame));
    fx_send(f, 0, NULL, frame, sizeof(frame));
    return fx_arrives(f, 0, frame, sizeof(frame));
}

Test(fault_net, a_frame_that_cannot_be_sent_is_dropped)
{
    const int errors[] = {EIO, ENOBUFS, ENOMEM, ENETDOWN, EMSGSIZE, EINVAL};
    struct fx *f = up();
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        fault_set(FAULT_WRITEV, (struct fault){.times = 1, .error = errors[i]});
        cr_assert_not(sends(f), "%s", strerror(errors[i]));
        cr_assert(sends(f));
    }
    cr_assert(receives(f));
    fault_clear();
    fx_down(f);
}

Test(fault_net, interrupted_and_full_is_not_lost)
{
    struct fx *f = up();
    fault_set(FAULT_WRITEV, (struct fault){.times = 100, .error = EINTR});
    cr_assert(sends(f));
    fault_clear();
    fx_frame(frame, TO_GUEST, 0x0800, sizeof(frame));
    fx_send(f, 0, NULL, frame, sizeof(frame));
    fault_set(FAULT_READV, (struct fault){.times = 100, .error = EINTR});
    cr_assert(fx_arrives(f, 0, frame, sizeof(frame)));
    fault_set(FAULT_WRITEV,
              (struct fault){.times = 5, .error = EAGAIN}); /* and yet it is writable */
    cr_assert(sends(f));
    cr_assert_eq(fault_hits(FAULT_WRITEV), 5);
    fault_clear();
    fx_frame(frame, TO_GUEST, 0x0800, sizeof(frame));
    fx_send(f, 0, NULL, frame, sizeof(frame));
    fault_set(FAULT_READV, (struct fault){.times = 5, .error = EAGAIN});
    cr_assert(fx_arrives(f, 0, frame, sizeof(frame)));
    cr_assert_eq(fault_hits(FAULT_READV), 5);
    fault_clear();
    fx_down(f);
}

/* The other way still works, and so does all that is said about the device. */
Test(fault_net, a_cable_that_is_cut_is_said_once)
{
    struct fx *f = up();
    fx_frame(frame, TO_GUEST, 0x0800, sizeof(frame));
    fx_send(f, 0, NULL, frame, sizeof(frame));
    fault_set(FAULT_READV, (struct fault){.times = 1, .error = EIO});
    rig_settle(f->r);
    cr_assert_eq(fault_hits(FAULT_READV), 1);
    fault_clear();
    cr_assert(sends(f));
    cr_assert_not(rig_needs_reset(f->r));
    transport_reset(f->r->transport);
    rig_up_again(f->r);
    cr_assert(sends(f));
    fx_down(f);
}

/* In a network of this test's own. It would never settle if the descriptor, which is ready for ever
 * now, were asked again and again. */
Test(fault_net, a_tap_that_vanishes)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
        mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
        mount("sys", "/sys", "sysfs", 0, NULL) < 0 ||
        system("ip tuntap add dev vmm0 mode tap 2>/dev/null") != 0 ||
        system("ip link set vmm0 up") != 0)
        cr_skip_test("this user may not make a tap here");
    const enum loop_backend backends[] = {LOOP_AUTO, LOOP_EPOLL};
    for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
        struct fx f = {.hdr = HDR};
        f.r = rig_up("net,backend=tap,ifname=vmm0", &(struct rig_options){.backend = backends[i]});
        fx_post(&f, 0, 16, 2048);
        rig_kick(f.r, 0);
        rig_settle(f.r);
        uint32_t id, len;
        fx_frame(frame, TO_OTHER, 0x0800, sizeof(frame));
        fx_tx(&f, 1, NULL, frame, sizeof(frame));
        cr_assert(rig_used(f.r, 1, &id, &len));
        cr_assert_eq(system("ip link del vmm0"), 0);
        rig_settle(f.r);
        for (unsigned n = 0; n < 3; n++) {
            fx_tx(&f, 1, NULL, frame, sizeof(frame));
            cr_assert(rig_used(f.r, 1, &id, &len), "it is dropped");
        }
        cr_assert_not(rig_needs_reset(f.r));
        transport_reset(f.r->transport);
        rig_up_again(f.r);
        fx_tx(&f, 1, NULL, frame, sizeof(frame));
        rig_down(f.r);
        cr_assert_eq(system("ip tuntap add dev vmm0 mode tap && ip link set vmm0 up"), 0);
    }
}
