/* vmm/sandbox_lists.c - see sandbox_lists.h: what KVM is asked for once the guest runs, and by
 * whom; and where the devices' lists are. */
#include "vmm/sandbox_lists.h"

#include <linux/kvm.h>

#include "base/chardev.h"
#include "devices/virtio/vdev.h"

#define KVM(request, threads, ...)                                                                 \
    {                                                                                              \
        .nr = SYS_ioctl, .on = (threads), .arg = 1, .mask = UINT32_MAX, .value = (request),        \
        __VA_ARGS__                                                                                \
    }
#define FIRST_ON_LINE "an interrupt line that a network is the first to assert"

const struct sandbox_list sandbox_vcpu = {
    .name = "vCPU",
    .calls =
        (const struct sandbox_call[]){
            KVM(KVM_RUN, ON_VCPU),
            KVM(KVM_GET_REGS, ON_VCPU, .why = "where the guest went wrong, for the log"),
            /* Vectors, and doorbells, which go at a reset; a line, whoever asserts it first. */
            KVM(KVM_IRQFD, ON_VCPU | ON_LOOP),
            {.nr = SYS_eventfd2, .on = ON_VCPU | ON_LOOP},
            KVM(KVM_IRQFD, ON_SLIRP, .why = FIRST_ON_LINE),
            {.nr = SYS_eventfd2, .on = ON_SLIRP, .why = FIRST_ON_LINE},
            KVM(KVM_IRQFD, ON_MAIN, .why = "a reset, of vectors that are in use"),
            KVM(KVM_IOEVENTFD, ON_VCPU | ON_MAIN),
            KVM(KVM_SET_GSI_ROUTING, ON_VCPU),
            /* How many routes there can be; at a reset, which registers there are. */
            KVM(KVM_CHECK_EXTENSION, ON_VCPU | ON_MAIN),
            {.nr = SYS_close, .on = ON_VCPU, .why = "what was made for KVM, and KVM refused"},
            /* A BAR with memory behind it moves. */
            KVM(KVM_SET_USER_MEMORY_REGION, ON_VCPU),
            KVM(KVM_SET_USER_MEMORY_REGION, ON_MAIN,
                .why = "a reset, with such a BAR where it was"),
            {0}},
    .always = true};

const struct sandbox_list sandbox_machine = {
    .name = "machine",
    .calls =
        (const struct sandbox_call[]){
            {.nr = SYS_rt_sigaction, .on = ON_MAIN, .why = "to die by the signal that came"},
            {.nr = SYS_pread64, .on = ON_MAIN}, /* a reset: the kernel, once more */
            {.nr = SYS_newfstatat, .on = ON_MAIN},
            {.nr = SYS_fstat, .on = ON_MAIN, .why = "another C library's fstat()"},
            KVM(KVM_GET_SREGS, ON_MAIN),
            KVM(KVM_SET_IRQCHIP, ON_MAIN),
            KVM(KVM_SET_REGS, ON_MAIN),
            KVM(KVM_SET_SREGS, ON_MAIN),
            KVM(KVM_SET_MSRS, ON_MAIN),
            KVM(KVM_SET_LAPIC, ON_MAIN),
            KVM(KVM_SET_MP_STATE, ON_MAIN),
            KVM(KVM_SET_VCPU_EVENTS, ON_MAIN),
            KVM(KVM_SET_DEBUGREGS, ON_MAIN),
            KVM(KVM_SET_XSAVE, ON_MAIN),
            KVM(KVM_SET_XCRS, ON_MAIN),
            KVM(KVM_KVMCLOCK_CTRL, ON_MAIN), /* a pause */
            {0}},
    .always = true};

/* libmicrohttpd's, and what a request may be about. */
const struct sandbox_list sandbox_api = {
    .name = "control socket",
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_accept4, .on = ON_MAIN},
        {.nr = SYS_epoll_ctl, .on = ON_MAIN},
        {.nr = SYS_epoll_wait, .on = ON_MAIN},
        {.nr = SYS_recvfrom, .on = ON_MAIN},
        {.nr = SYS_sendto, .on = ON_MAIN},
        {.nr = SYS_sendmsg, .on = ON_MAIN},
        {.nr = SYS_shutdown, .on = ON_MAIN},
        {.nr = SYS_openat, .on = ON_MAIN}, /* another log, other metrics */
        {.nr = SYS_fcntl, .on = ON_MAIN},
        {.nr = SYS_dup3, .on = ON_MAIN},
        {.nr = SYS_unlink, .on = ON_MAIN}, /* its socket */
        {0}}};

const struct sandbox_list sandbox_outputs = {
    .name = "metrics",
    .calls = (const struct sandbox_call[]){{.nr = SYS_writev, .on = ON_MAIN}, {0}}};

static const struct sandbox_list *const own[] = {
    &sandbox_every_thread, &sandbox_vcpu,       &sandbox_machine,     &sandbox_api,
    &sandbox_outputs,      &sandbox_loop,       &sandbox_loop_uring,  &sandbox_loop_epoll,
    &sandbox_loop_files,   &sandbox_loop_share, &chardev_socket_calls};

const struct sandbox_list *sandbox_lists(unsigned i)
{
    if (i < ARRAY_SIZE(own))
        return own[i];
    i -= (unsigned)ARRAY_SIZE(own);
    for (const struct vdev_class *const *c = vdev_classes; *c; c++) {
        for (const struct sandbox_list *const *l = (*c)->sandbox; l && *l; l++) {
            if (i-- == 0)
                return *l;
        }
    }
    return NULL;
}
