/* kvm/kvm.h - KVM's file descriptors: the VM, its memory slots, its interrupts and doorbells, its
 * vCPUs. What a vCPU's registers must hold is arch/'s business.
 *
 * The order of calls is what makes a start cheap: memory slots first (after an interrupt chip or a
 * doorbell exists, each costs a grace period of the kernel's), then the chip, vCPUs, doorbells. */
#pragma once

#include <linux/kvm.h>

#include "base/base.h"

struct vm {
    int kvm_fd, fd;
    unsigned max_cpus;
    size_t run_size; /* of a vCPU's shared page */
    unsigned n_slots;
};

/* Opens /dev/kvm and makes a VM; says in one sentence what is missing or not permitted. */
int CHECKED vm_open(struct vm *vm, struct err *e);
void vm_close(struct vm *vm); /* zero-initialised with fds -1, or half-open, is fine */

/* KVM_CHECK_EXTENSION: 0 when KVM has not got it. */
int vm_cap(const struct vm *vm, int cap);

int CHECKED vm_add_memory(struct vm *vm, gpa_t base, void *host, uint64_t len, struct err *e);
/* PIC, I/O APIC and local APICs in the kernel. */
int CHECKED vm_add_irqchip(struct vm *vm, struct err *e);
/* Each signal of eventfd fd pulses global interrupt gsi. */
int CHECKED vm_add_irqfd(struct vm *vm, unsigned gsi, int fd);
/* Writes of `value`, len bytes wide, at MMIO address `at` signal fd and do not exit. */
int CHECKED vm_add_ioeventfd(struct vm *vm, gpa_t at, unsigned len, uint64_t value, int fd);

struct vcpu_fd {
    int fd;
    struct kvm_run *run;
    size_t run_size;
};
int CHECKED vcpu_fd_open(struct vm *vm, unsigned id, struct vcpu_fd *out, struct err *e);
void vcpu_fd_close(struct vcpu_fd *v);
