/* arch/x86_64/cpuid.c - what CPUID tells the guest: what KVM supports, with this machine's topology
 * and none of the host's. */
#include <cpuid.h>
#include <sys/ioctl.h>

#include "arch/x86_64/cpu.h"

enum { MAX_ENTRIES = 256 };

static bool reg_set(uint32_t *reg, unsigned bit, bool on)
{
    *reg = on ? *reg | 1u << bit : *reg & ~(1u << bit);
    return on;
}

int cpuid_supported(const struct vm *vm, struct kvm_cpuid2 **out, struct err *e)
{
    size_t size = sizeof(struct kvm_cpuid2) + MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2);
    struct kvm_cpuid2 *c = calloc(1, size);
    if (!c)
        return err_host(e, -ENOMEM, "CPUID");
    c->nent = MAX_ENTRIES;
    if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c) < 0) {
        int rc = -errno;
        free(c);
        return err_host(e, rc, "KVM does not say which CPUID it supports");
    }
    bool deadline = vm_cap(vm, KVM_CAP_TSC_DEADLINE_TIMER);
    for (unsigned i = 0; i < c->nent; i++) {
        struct kvm_cpuid_entry2 *l = &c->entries[i];
        if (l->function == 1) {
            reg_set(&l->ecx, 3, false); /* MONITOR: would wait on the host's CPU */
            reg_set(&l->ecx, 5, false); /* VMX: see below */
            reg_set(&l->ecx, 21, true); /* x2APIC: the local APICs are in the kernel */
            reg_set(&l->ecx, 24, deadline);
            reg_set(&l->ecx, 31, true); /* a hypervisor is present */
        } else if (l->function == 0x80000001) {
            /* SVM: KVM's nested virtualization is a large surface to give to untrusted guests. */
            reg_set(&l->ecx, 2, false);
        } else if (l->function == 0x8000000a) {
            l->eax = l->ebx = l->ecx = l->edx = 0;
        }
    }
    *out = c;
    return 0;
}

static unsigned bits_for(unsigned n)
{
    unsigned bits = 0;
    while (1u << bits < n)
        bits++;
    return bits;
}

/* Leaf 0xb and 0x1f (Intel SDM 2A, CPUID): sub-leaf 0 is the thread level, 1 the core level. */
static void extended_topology(struct kvm_cpuid_entry2 *l, unsigned id, unsigned cpus)
{
    enum { INVALID, SMT, CORE };
    l->edx = id;
    l->ecx = l->index & 0xff;
    l->eax = l->ebx = 0;
    if (l->index == 0) {
        l->ebx = 1;
        l->ecx |= SMT << 8;
    } else if (l->index == 1) {
        l->eax = bits_for(cpus);
        l->ebx = cpus;
        l->ecx |= CORE << 8;
    }
}

void cpuid_topology(struct kvm_cpuid2 *c, unsigned id, unsigned cpus)
{
    unsigned apic8 = MIN(id, 0xffu), cpus8 = MIN(1u << bits_for(cpus), 0xffu);
    for (unsigned i = 0; i < c->nent; i++) {
        struct kvm_cpuid_entry2 *l = &c->entries[i];
        switch (l->function) {
        case 1:
            l->ebx = (l->ebx & 0xffff) | cpus8 << 16 | apic8 << 24;
            reg_set(&l->edx, 28, cpus > 1);
            break;
        case 4: /* caches: all but the last level belong to one core */
            if ((l->eax & 0x1f) != 0) {
                bool shared = (l->eax >> 5 & 7) >= 3;
                unsigned sharing = shared ? (1u << bits_for(cpus)) - 1 : 0;
                unsigned cores = MIN((1u << bits_for(cpus)) - 1, 0x3fu);
                l->eax = (l->eax & 0x3fff) | MIN(sharing, 0xfffu) << 14 | cores << 26;
            }
            break;
        case 0xb:
        case 0x1f:
            extended_topology(l, id, cpus);
            break;
        case 0x80000008: /* AMD: cores less one, and how many id bits they take */
            l->ecx = (l->ecx & 0xffff0f00) | bits_for(cpus) << 12 | MIN(cpus - 1, 0xffu);
            break;
        case 0x8000001d: /* AMD: caches, as leaf 4 */
            if ((l->eax & 0x1f) != 0) {
                unsigned sharing = (l->eax >> 5 & 7) >= 3 ? cpus - 1 : 0;
                l->eax = (l->eax & 0x3fff) | MIN(sharing, 0xfffu) << 14;
            }
            break;
        case 0x8000001e: /* AMD: extended APIC id, core id, one thread to a core, one node */
            l->eax = id;
            l->ebx = id & 0xff;
            l->ecx = 0;
            break;
        default:
            break;
        }
    }
}
