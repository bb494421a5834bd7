/* arch/x86_64/cpu.c - registers: the state in which the boot protocols want the first CPU, and the
 * state to go back to at a reset. */
#include "arch/x86_64/cpu.h"

#include <sys/ioctl.h>

enum {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR4_PAE = 1 << 5,
    EFER_LME = 1 << 8,
    EFER_LMA = 1 << 10,
    MSR_MISC_ENABLE = 0x1a0,
    MISC_ENABLE_FAST_STRING = 1,
    LVT0 = 0x350,
    LVT1 = 0x360,
    LVT_EXTINT = 7 << 8,
    LVT_NMI = 4 << 8,
};
static const uint64_t cr0_pg = 1ull << 31;

int arch_vm_setup(struct vm *vm, struct err *e)
{
    uint64_t identity = LAYOUT_KVM_IDENTITY;
    if (vm_cap(vm, KVM_CAP_SET_IDENTITY_MAP_ADDR) &&
        ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
        return err_host(e, -errno, "KVM_SET_IDENTITY_MAP_ADDR");
    if (vm_cap(vm, KVM_CAP_SET_TSS_ADDR) &&
        ioctl(vm->fd, KVM_SET_TSS_ADDR, (unsigned long)LAYOUT_KVM_TSS) < 0)
        return err_host(e, -errno, "KVM_SET_TSS_ADDR");
    return 0;
}

int cpu_setup(struct vcpu_fd *v, struct kvm_cpuid2 *c, unsigned id, struct err *e)
{
    if (ioctl(v->fd, KVM_SET_CPUID2, c) < 0)
        return err_host(e, -errno, "KVM does not take vCPU %u's CPUID", id);

    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry[1];
    } msrs = {.head.nmsrs = 1,
              .entry = {{.index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING}}};
    if (ioctl(v->fd, KVM_SET_MSRS, &msrs) < 0)
        return err_host(e, -errno, "KVM does not take vCPU %u's MSRs", id);

    /* Firmware's work: legacy interrupts and NMI reach the boot CPU's local APIC. */
    struct kvm_lapic_state lapic;
    if (id != 0)
        return 0;
    if (ioctl(v->fd, KVM_GET_LAPIC, &lapic) < 0)
        return err_host(e, -errno, "KVM does not show vCPU %u's local APIC", id);
    put_bytes(lapic.regs + LVT0, LVT_EXTINT, 4);
    put_bytes(lapic.regs + LVT1, LVT_NMI, 4);
    if (ioctl(v->fd, KVM_SET_LAPIC, &lapic) < 0)
        return err_host(e, -errno, "KVM does not take vCPU %u's local APIC", id);
    return 0;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, bool long_mode)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .db = !long_mode,
                                .s = 1,
                                .l = long_mode,
                                .g = 1};
}

int cpu_boot(struct vcpu_fd *v, const struct boot_entry *entry, struct err *e)
{
    enum { CODE = 0xb, DATA = 0x3, TSS_BUSY = 0xb };
    bool long_mode = entry->mode == BOOT_LONG64;
    struct kvm_sregs s;
    if (ioctl(v->fd, KVM_GET_SREGS, &s) < 0)
        return err_host(e, -errno, "KVM does not show the boot CPU's registers");
    s.cs = flat(long_mode ? BOOT_CS : BOOT_CS32, CODE, long_mode);
    s.ds = flat(BOOT_DS, DATA, false);
    s.es = s.fs = s.gs = s.ss = s.ds;
    s.tr = (struct kvm_segment){.limit = 0x67, .type = TSS_BUSY, .present = 1};
    s.gdt = (struct kvm_dtable){.base = LAYOUT_GDT, .limit = BOOT_GDT_LIMIT};
    s.idt = (struct kvm_dtable){0};
    s.cr0 = CR0_PE | CR0_ET;
    s.cr4 = 0;
    s.efer = 0;
    if (long_mode) {
        s.cr0 |= cr0_pg | CR0_MP | CR0_NE | CR0_WP | CR0_AM;
        s.cr3 = LAYOUT_PAGE_TABLES;
        s.cr4 = CR4_PAE;
        s.efer = EFER_LME | EFER_LMA;
    }
    if (ioctl(v->fd, KVM_SET_SREGS, &s) < 0)
        return err_host(e, -errno, "KVM does not take the boot CPU's registers");

    struct kvm_regs r = {.rip = entry->rip, .rflags = 2};
    if (long_mode)
        r.rsi = entry->info;
    else
        r.rbx = entry->info;
    if (ioctl(v->fd, KVM_SET_REGS, &r) < 0)
        return err_host(e, -errno, "KVM does not take the boot CPU's registers");
    struct kvm_mp_state mp = {.mp_state = KVM_MP_STATE_RUNNABLE};
    if (ioctl(v->fd, KVM_SET_MP_STATE, &mp) < 0)
        return err_host(e, -errno, "KVM does not let the boot CPU run");
    return 0;
}

/* --- what reset brings back --- */

struct cpu_state {
    struct kvm_regs regs;
    struct kvm_sregs sregs;
    struct kvm_fpu fpu;     /* without XSAVE */
    struct kvm_xsave xsave; /* with it */
    struct kvm_xcrs xcrs;
    struct kvm_debugregs debug;
    struct kvm_vcpu_events events;
    struct kvm_mp_state mp;
    struct kvm_lapic_state lapic;
    struct kvm_msrs *msrs;
};

void cpu_state_free(struct cpu_state *s)
{
    if (!s)
        return;
    free(s->msrs);
    free(s);
}

static struct kvm_msrs *msrs_new(size_t n)
{
    return calloc(1, sizeof(struct kvm_msrs) + n * sizeof(struct kvm_msr_entry));
}

/* The MSRs that KVM would save, in as few calls as can be: each ends at one that this vCPU does not
 * show, which is then none of ours. */
static int msrs_get(const struct vm *vm, const struct vcpu_fd *v, struct kvm_msrs **out)
{
    struct kvm_msr_list probe = {0};
    if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &probe) < 0 && errno != E2BIG)
        return -errno;
    AUTO_FREE struct kvm_msr_list *list = calloc(1, sizeof(*list) + probe.nmsrs * sizeof(uint32_t));
    AUTO_FREE struct kvm_msrs *some = msrs_new(probe.nmsrs);
    AUTO_FREE struct kvm_msrs *all = msrs_new(probe.nmsrs);
    if (!list || !some || !all)
        return -ENOMEM;
    list->nmsrs = probe.nmsrs;
    if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
        return -errno;
    for (uint32_t at = 0; at < list->nmsrs; at++) {
        some->nmsrs = list->nmsrs - at;
        for (uint32_t i = 0; i < some->nmsrs; i++)
            some->entries[i] = (struct kvm_msr_entry){.index = list->indices[at + i]};
        int n = ioctl(v->fd, KVM_GET_MSRS, some);
        if (n < 0)
            return -errno;
        memcpy(all->entries + all->nmsrs, some->entries, (size_t)n * sizeof(some->entries[0]));
        all->nmsrs += (uint32_t)n;
        at += (uint32_t)n;
    }
    *out = TAKE_PTR(all);
    return 0;
}

/* One row for each piece of state, with the capability it needs (negative: needs to be absent). The
 * mode comes first: it decides what the rest may be. */
static const struct {
    const char *name;
    unsigned long get, set;
    size_t offset;
    int cap;
} pieces[] = {
    {"SREGS", KVM_GET_SREGS, KVM_SET_SREGS, offsetof(struct cpu_state, sregs), 0},
    {"REGS", KVM_GET_REGS, KVM_SET_REGS, offsetof(struct cpu_state, regs), 0},
    {"DEBUGREGS", KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, offsetof(struct cpu_state, debug), 0},
    {"LAPIC", KVM_GET_LAPIC, KVM_SET_LAPIC, offsetof(struct cpu_state, lapic), 0},
    {"VCPU_EVENTS", KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, offsetof(struct cpu_state, events),
     0},
    {"MP_STATE", KVM_GET_MP_STATE, KVM_SET_MP_STATE, offsetof(struct cpu_state, mp), 0},
    {"XCRS", KVM_GET_XCRS, KVM_SET_XCRS, offsetof(struct cpu_state, xcrs), KVM_CAP_XCRS},
    {"XSAVE", KVM_GET_XSAVE, KVM_SET_XSAVE, offsetof(struct cpu_state, xsave), KVM_CAP_XSAVE},
    {"FPU", KVM_GET_FPU, KVM_SET_FPU, offsetof(struct cpu_state, fpu), -KVM_CAP_XSAVE},
};

static bool has_piece(const struct vm *vm, size_t i)
{
    int cap = pieces[i].cap;
    return cap == 0 || (vm_cap(vm, abs(cap)) != 0) == (cap > 0);
}

int cpu_state_get(const struct vm *vm, const struct vcpu_fd *v, struct cpu_state **out,
                  struct err *e)
{
    struct cpu_state *s = calloc(1, sizeof(*s));
    if (!s)
        return err_host(e, -ENOMEM, "vCPU state");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(pieces); i++) {
        if (has_piece(vm, i) && ioctl(v->fd, pieces[i].get, (uint8_t *)s + pieces[i].offset) < 0)
            rc = err_host(e, -errno, "KVM_GET_%s", pieces[i].name);
    }
    if (rc == 0 && (rc = msrs_get(vm, v, &s->msrs)) < 0)
        (void)err_host(e, rc, "KVM_GET_MSRS");
    if (rc < 0) {
        cpu_state_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

int cpu_state_set(const struct vm *vm, struct vcpu_fd *v, struct cpu_state *s, struct err *e)
{
    for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
        if (has_piece(vm, i) && ioctl(v->fd, pieces[i].set, (uint8_t *)s + pieces[i].offset) < 0)
            return err_host(e, -errno, "KVM_SET_%s", pieces[i].name);
    }
    for (unsigned i = 0; i < s->msrs->nmsrs; i++) {
        struct {
            struct kvm_msrs head;
            struct kvm_msr_entry entry[1];
        } one = {.head.nmsrs = 1, .entry = {s->msrs->entries[i]}};
        if (ioctl(v->fd, KVM_SET_MSRS, &one) < 0)
            return err_host(e, -errno, "KVM_SET_MSRS of %#x", one.entry[0].index);
        /* None set is one that may only be read: it needs no bringing back. */
    }
    return 0;
}

struct irqchip_state {
    struct kvm_irqchip chip[3];
};

int irqchip_state_get(const struct vm *vm, struct irqchip_state **out)
{
    struct irqchip_state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    for (uint32_t i = 0; i < ARRAY_SIZE(s->chip); i++) {
        s->chip[i].chip_id = i; /* PIC master, PIC slave, I/O APIC */
        if (ioctl(vm->fd, KVM_GET_IRQCHIP, &s->chip[i]) < 0) {
            int rc = -errno;
            free(s);
            return rc;
        }
    }
    *out = s;
    return 0;
}

int irqchip_state_set(const struct vm *vm, const struct irqchip_state *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(s->chip); i++) {
        struct kvm_irqchip chip = s->chip[i];
        if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
            return -errno;
    }
    return 0;
}
