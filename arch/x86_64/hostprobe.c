/* arch/x86_64/hostprobe.c - which KVM this is, by trying. A software KVM (PVM-backed) runs the
 * guest's kernel mode through KVM's instruction emulator, which lacks what stock kernels use; so a
 * throw-away VM runs each instruction in question at CPL 0 and sees whether KVM gives up. */
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "arch/x86_64/cpu.h"

enum { CODE = 0x100000, SCRATCH = 0x110000, MEM = 0x200000, DONE_PORT = 0xf4 };

/* Each ends in OUT to DONE_PORT. RDI points to 512 aligned bytes of memory. */
static const struct trial {
    const char *name;
    uint8_t len, code[13];
} trials[] = {
    {"(nothing)", 1, {0x90}},
    {"cmpxchg16b", 4, {0x48, 0x0f, 0xc7, 0x0f}},
    {"popcnt", 5, {0xf3, 0x48, 0x0f, 0xb8, 0xc0}},
    {"crc32", 6, {0xf2, 0x48, 0x0f, 0x38, 0xf1, 0xc0}},
    {"fninit", 2, {0xdb, 0xe3}},
    {"ldmxcsr", 3, {0x0f, 0xae, 0x17}},
    {"xgetbv", 3, {0x0f, 0x01, 0xd0}},
    {"verw", 3, {0x0f, 0x00, 0x2f}},
};

static int run_trial(uint8_t *mem, const struct vcpu_fd *v, const struct kvm_regs *regs,
                     const struct trial *t, bool *ok)
{
    enum { MXCSR = 0x1f80 };
    memset(mem + SCRATCH, 0, 512);
    put_bytes(mem + SCRATCH, MXCSR, 4);
    memcpy(mem + CODE, t->code, t->len);
    const uint8_t done[] = {0xe6, DONE_PORT, 0xf4}; /* out; hlt */
    memcpy(mem + CODE + t->len, done, sizeof(done));
    if (ioctl(v->fd, KVM_SET_REGS, regs) < 0)
        return -errno;
    int rc;
    do {
        rc = ioctl(v->fd, KVM_RUN, 0);
    } while (rc < 0 && errno == EINTR);
    *ok = rc == 0 && v->run->exit_reason == KVM_EXIT_IO && v->run->io.port == DONE_PORT;
    if (*ok) { /* lets the OUT retire */
        v->run->immediate_exit = 1;
        (void)ioctl(v->fd, KVM_RUN, 0);
        v->run->immediate_exit = 0;
    }
    return 0;
}

/* A fresh VM for each: what one instruction broke must not speak for the next. */
static int try_one(const struct trial *t, bool *ok, struct err *e)
{
    struct vm vm;
    struct vcpu_fd v = {.fd = -1};
    struct kvm_cpuid2 *cpuid = NULL;
    struct gmem *mem = NULL;
    const struct gmem_region ram = {.base = GPA(0), .len = MEM};
    const struct gmem_options plain = {0};
    int rc = vm_open(&vm, e);
    if (rc == 0)
        rc = vm_create(&vm, e);
    if (rc == 0)
        rc = arch_vm_setup(&vm, e);
    if (rc == 0)
        rc = gmem_new(&ram, 1, &plain, &mem, e);
    uint8_t *host = rc == 0 ? gmem_at(mem, GPA(0), MEM) : NULL;
    if (rc == 0)
        rc = vm_add_memory(&vm, GPA(0), host, MEM, e);
    if (rc == 0)
        rc = boot_write_tables(mem, e);
    if (rc == 0)
        rc = cpuid_supported(&vm, &cpuid, e);
    if (rc == 0)
        rc = vcpu_fd_open(&vm, 0, &v, e);
    if (rc == 0 && ioctl(v.fd, KVM_SET_CPUID2, cpuid) < 0)
        rc = err_host(e, -errno, "KVM does not take a CPUID");
    const struct boot_entry entry = {.mode = BOOT_LONG64, .rip = CODE};
    if (rc == 0)
        rc = cpu_boot(&v, &entry, e);
    struct kvm_sregs s;
    if (rc == 0 && ioctl(v.fd, KVM_GET_SREGS, &s) == 0) {
        s.cr4 |= 1 << 9 | 1 << 10; /* OSFXSR, OSXMMEXCPT */
        (void)ioctl(v.fd, KVM_SET_SREGS, &s);
        s.cr4 |= 1 << 18; /* OSXSAVE, where there is such a thing */
        (void)ioctl(v.fd, KVM_SET_SREGS, &s);
        const struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rdi = SCRATCH};
        if ((rc = run_trial(host, &v, &regs, t, ok)) < 0)
            (void)err_host(e, rc, "KVM does not run a test VM");
    }
    free(cpuid);
    vcpu_fd_close(&v);
    vm_close(&vm);
    gmem_free(mem);
    return rc;
}

int host_probe(struct host_report *out, struct err *e)
{
    *out = (struct host_report){.pvm = access("/sys/module/kvm_pvm", F_OK) == 0};
    for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
        bool ok = false;
        int rc = try_one(&trials[i], &ok, e);
        if (rc < 0)
            return rc;
        if (!ok && i == 0)
            return err_host(e, 0, "/dev/kvm: does not run even an empty VM");
        if (!ok && out->n_missing < ARRAY_SIZE(out->missing))
            out->missing[out->n_missing++] = trials[i].name;
    }
    out->kind = out->n_missing ? HOST_EMULATED : HOST_HARDWARE;
    return 0;
}
