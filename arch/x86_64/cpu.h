/* arch/x86_64/cpu.h - a vCPU's contents: CPUID, and registers for the first instruction and for
 * what reset must bring back. */
#pragma once

#include "arch/x86_64/boot.h"
#include "kvm/kvm.h"

/* What KVM can offer, once for all vCPUs of a VM; malloc'ed. */
int CHECKED cpuid_supported(const struct vm *vm, struct kvm_cpuid2 **out, struct err *e);
/* Makes `c` say that this is CPU `id` of `cpus`, one thread to a core, all in one package. */
void cpuid_topology(struct kvm_cpuid2 *c, unsigned id, unsigned cpus);
/* KVM_SET_TSS_ADDR and the like, which Intel hosts need before the first vCPU exists. */
int CHECKED arch_vm_setup(struct vm *vm, struct err *e);

/* Sets CPUID and what differs from KVM's own reset state. The boot CPU starts at *entry; the others
 * wait for INIT and SIPI. */
int CHECKED cpu_setup(struct vcpu_fd *v, struct kvm_cpuid2 *c, unsigned id, struct err *e);
int CHECKED cpu_boot(struct vcpu_fd *v, const struct boot_entry *entry, struct err *e);

/* Everything that KVM_RUN may change, as it was before the first one; for a reset in place. */
struct cpu_state;
int CHECKED cpu_state_get(const struct vm *vm, const struct vcpu_fd *v, struct cpu_state **out,
                          struct err *e);
int CHECKED cpu_state_set(const struct vm *vm, struct vcpu_fd *v, struct cpu_state *s,
                          struct err *e);
void cpu_state_free(struct cpu_state *s);

/* The interrupt chips, likewise. */
struct irqchip_state;
int CHECKED irqchip_state_get(const struct vm *vm, struct irqchip_state **out);
int CHECKED irqchip_state_set(const struct vm *vm, const struct irqchip_state *s);

/* Which KVM this is, found out by running a few instructions in a throw-away VM. */
enum host_kind { HOST_HARDWARE, HOST_EMULATED };
struct host_report {
    enum host_kind kind;
    bool pvm;                /* /sys/module/kvm_pvm is there */
    const char *missing[16]; /* instructions that a stock kernel needs and this KVM cannot run */
    unsigned n_missing;
};
int CHECKED host_probe(struct host_report *out, struct err *e);
