/* tests/faults/test_fault_vsock.c - sockets of the host's that fail: what is interrupted, or taken
 * in part, is not lost, an error ends that connection, and the next one is served. */
#include "tests/faults/fault.h"
#include "tests/rig/vsock_fixture.h"

static struct guest *g;

static void still_serves(void)
{
    fault_clear();
    g->guest_port++;
    g->fwd_cnt = 0;
    int fd = guest_connects(g, STREAM);
    guest_data(g, "hello", 5, 0);
    host_reads(g, fd, "hello");
    close(fd);
    cr_assert_not(rig_needs_reset(g->r));
    guest_down(g);
}

Test(fault_vsock, interrupted_and_in_part)
{
    const struct fault faults[] = {{.times = 50, .error = EINTR},
                                   {.times = FAULT_ALWAYS, .most = 1}};
    g = guest_up(NULL, 32);
    int fd = guest_connects(g, STREAM);
    for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
        fault_set(FAULT_SEND, faults[i]);
        guest_data(g, "to the host", 11, 0);
        host_reads(g, fd, "to the host");
        cr_assert_gt(fault_hits(FAULT_SEND), 0);
        fault_clear();
        if (faults[i].most)
            continue;
        fault_set(FAULT_RECVMSG, faults[i]);
        host_says(g, fd, "to the guest");
        do
            cr_assert(guest_recv(g));
        while (g->p.h.op == OP(CREDIT_UPDATE));
        cr_assert_eq(g->p.h.op, OP(RW));
        cr_assert_eq(memcmp(g->p.data, "to the guest", 12), 0);
        fault_clear();
    }
    close(fd);
    rig_settle(g->r);
    while (guest_recv(g))
        ;
    still_serves();
}

Test(fault_vsock, an_error_ends_the_connection)
{
    const int errors[] = {EIO, EPIPE, ECONNRESET, ENOMEM};
    g = guest_up(NULL, 32);
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        g->guest_port++;
        int fd = guest_connects(g, STREAM);
        fault_set(FAULT_RECVMSG, (struct fault){.times = 1, .error = errors[i]});
        host_says(g, fd, "lost");
        fault_clear();
        cr_assert(guest_recv(g), "%s: it hears of it", strerror(errors[i]));
        cr_assert(g->p.h.op == OP(RST) || g->p.h.op == OP(SHUTDOWN), "%u", g->p.h.op);
        close(fd);
        guest_op(g, OP(RST), 0);
        while (guest_recv(g))
            ;
    }
    still_serves();
}
