/* kvm/kvm.h - KVM's file descriptors: the VM, its memory slots, its interrupts and doorbells, its
 * vCPUs. What a vCPU's registers must hold is arch/'s business.
 *
 * The order of calls is what makes a start cheap: memory slots first (after an interrupt chip or a
 * doorbell exists, each costs a grace period of the kernel's), then the chip, vCPUs, doorbells. */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>

#include "base/base.h"

struct vm_route;
enum { VM_SLOTS = 128 };
struct vm {
    int kvm_fd, fd;
    unsigned max_cpus;
    size_t run_size;            /* of a vCPU's shared page */
    pthread_mutex_t slots_lock; /* a leaf */
    struct vm_slot {
        gpa_t base;
        uint64_t len; /* 0: it is free */
    } slots[VM_SLOTS];

    pthread_mutex_t routing_lock; /* a leaf; of all that follows */
    struct vm_route *routes;      /* of message-signalled interrupts */
    unsigned n_routes;
    struct kvm_irq_routing *table; /* scratch: as it was last given to KVM */
};

/* Opens /dev/kvm; says in one sentence what is missing or not permitted. What is asked of KVM in
 * general may be asked from here on. */
int CHECKED vm_open(struct vm *vm, struct err *e);
int CHECKED vm_create(struct vm *vm, struct err *e);
void vm_close(struct vm *vm); /* zero-initialised with fds -1, or half-open, is fine */

/* KVM_CHECK_EXTENSION: 0 when KVM has not got it. */
int vm_cap(const struct vm *vm, int cap);

int CHECKED vm_add_memory(struct vm *vm, gpa_t base, void *host, uint64_t len, struct err *e);
/* The same at any time and by any thread. What the host maps at `host` may change while it is in
 * place: the guest's next access finds what is there then, and what is not there ends KVM_RUN with
 * EFAULT. `ro`: a write traps as if there were nothing. -EEXIST: it overlaps other memory; -ENOSPC:
 * there are too many; -EOPNOTSUPP: this KVM knows no `ro`. */
int CHECKED vm_map_memory(struct vm *vm, gpa_t base, void *host, uint64_t len, bool ro);
void vm_unmap_memory(struct vm *vm, gpa_t base); /* what is mapped there, if anything is */
/* PIC, I/O APIC and local APICs in the kernel. */
int CHECKED vm_add_irqchip(struct vm *vm, struct err *e);

/* Interrupts and doorbells (kvm/irq.c). All of these may be called by any thread, also while vCPUs
 * run; a binding ends with the last descriptor of its eventfd, if it is not ended before. */

/* Each signal of eventfd fd pulses global interrupt gsi. */
int CHECKED vm_add_irqfd(struct vm *vm, unsigned gsi, int fd);
/* Each signal of trigger asserts gsi; when the guest ends the interrupt, KVM deasserts it and
 * signals resample. */
int CHECKED vm_add_level_irqfd(struct vm *vm, unsigned gsi, int trigger, int resample);
void vm_remove_irqfd(struct vm *vm, unsigned gsi, int fd); /* of either kind */

/* A message-signalled interrupt of one's own: a new gsi behind the I/O APIC's pins, and an eventfd
 * for it, which sends nothing until it has a route. -EOPNOTSUPP: this KVM cannot; -ENOSPC: it has
 * no more. */
int CHECKED vm_msi_open(struct vm *vm, unsigned *gsi, int *fd);
/* From now on the eventfd of gsi sends this message. After a failure it sends what it did. */
int CHECKED vm_msi_route(struct vm *vm, unsigned gsi, uint64_t address, uint32_t data);
void vm_msi_close(struct vm *vm, unsigned gsi, int fd); /* closes fd */

/* A guest's writes to one address that signal fd and do not exit. */
struct vm_doorbell {
    bool port; /* an I/O port, not a memory address */
    gpa_t at;
    unsigned len; /* bytes: 1, 2, 4, 8; or 0: any, and then any value */
    bool any;     /* any value, or only this one */
    uint64_t value;
    int fd;
};
/* -EEXIST: another one gets these writes. */
int CHECKED vm_add_ioeventfd(struct vm *vm, const struct vm_doorbell *d);
void vm_remove_ioeventfd(struct vm *vm, const struct vm_doorbell *d);

struct vcpu_fd {
    int fd;
    struct kvm_run *run;
    size_t run_size;
};
int CHECKED vcpu_fd_open(struct vm *vm, unsigned id, struct vcpu_fd *out, struct err *e);
void vcpu_fd_close(struct vcpu_fd *v);
/* While it is parked: tells the guest's kvmclock that time went by without it, or its lockup
 * detectors would see a hang. A guest without kvmclock is told nothing. */
void vcpu_fd_was_paused(struct vcpu_fd *v);
