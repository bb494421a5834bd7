/* vmm/sandbox_lists.c - see sandbox_lists.h: what KVM is asked for once the guest runs, and by
 * whom; and where the devices' lists are. */
#include "vmm/sandbox_lists.h"

#include <linux/kvm.h>

#include "base/chardev.h"
#include "devices/virtio/vdev.h"

#define KVM(request, threads)                                                                      \
    {                                                                                              \
        .nr = SYS_ioctl, .on = (threads), .arg = 1, .mask = UINT32_MAX, .value = (request)         \
    }

const struct sandbox_list sandbox_vcpu = {
    "vCPU",
    (const struct sandbox_call[]){
        KVM(KVM_RUN, ON_VCPU),
        KVM(KVM_GET_REGS, ON_VCPU),                         /* where it went wrong */
        KVM(KVM_IRQFD, ON_VCPU | ON_MAIN),                  /* a vector is unmasked; reset */
        KVM(KVM_SET_GSI_ROUTING, ON_VCPU | ON_MAIN),        /* and where it leads */
        KVM(KVM_IOEVENTFD, ON_VCPU | ON_MAIN),              /* doorbells */
        KVM(KVM_SET_USER_MEMORY_REGION, ON_VCPU | ON_MAIN), /* a BAR with memory behind it */
        {.nr = SYS_eventfd2, .on = ON_VCPU},                /* for a vector, a doorbell */
        {.nr = SYS_timerfd_settime, .on = ON_VCPU},         /* the terminal has no room */
        {0}}};

const struct sandbox_list sandbox_machine = {
    "machine", (const struct sandbox_call[]){
                   {.nr = SYS_rt_sigaction, .on = ON_MAIN}, /* to die by a signal */
                   {.nr = SYS_signalfd4, .on = ON_MAIN},
                   {.nr = SYS_pread64, .on = ON_MAIN}, /* the kernel, once more */
                   {.nr = SYS_fstat, .on = ON_MAIN},
                   {.nr = SYS_getrandom, .on = ON_MAIN},
                   {.nr = SYS_fallocate, .on = ON_MAIN}, /* RAM in a memory file is thrown away */
                   KVM(KVM_SET_IRQCHIP, ON_MAIN),
                   KVM(KVM_KVMCLOCK_CTRL, ON_MAIN),
                   KVM(KVM_SET_REGS, ON_MAIN),
                   KVM(KVM_SET_SREGS, ON_MAIN),
                   {0}}};

const struct sandbox_list sandbox_api = {"control socket", (const struct sandbox_call[]){{0}}};

static const struct sandbox_list *const own[] = {
    &sandbox_every_thread, &sandbox_vcpu,       &sandbox_machine,
    &sandbox_api,          &sandbox_loop,       &sandbox_loop_uring,
    &sandbox_loop_epoll,   &sandbox_loop_files, &chardev_socket_calls};

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
