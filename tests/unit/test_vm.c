/* tests/unit/test_vm.c - KVM's file descriptors, on the KVM that this host has. Without one each
 * test is skipped and says so. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "arch/x86_64/cpu.h"

static struct vm vm;
static struct err e;

static void open_vm(void)
{
    int fd = open("/dev/kvm", O_RDWR);
    if (fd < 0) {
        (void)fprintf(stderr, "skipped: /dev/kvm: %s\n", strerror(errno));
        cr_skip_test("no /dev/kvm here");
    }
    close(fd);
    cr_assert_eq(vm_open(&vm, &e), 0, "%s", e.msg);
    cr_assert_eq(vm_create(&vm, &e), 0, "%s", e.msg);
}

Test(vm, opens_and_closes)
{
    open_vm();
    cr_assert_geq(vm.max_cpus, 1);
    cr_assert_geq(vm.run_size, sizeof(struct kvm_run));
    cr_assert_gt(vm_cap(&vm, KVM_CAP_USER_MEMORY), 0);
    cr_assert_eq(vm_cap(&vm, 100000), 0);
    vm_close(&vm);
    vm_close(&vm); /* again is fine */
}

Test(vm, memory_slots)
{
    open_vm();
    void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_eq(vm_add_memory(&vm, GPA(0), p, 1 << 20, &e), 0, "%s", e.msg);
    cr_assert_lt(vm_add_memory(&vm, GPA(0x80000), p, 1 << 20, &e), 0, "it overlaps");
    cr_assert_eq(e.kind, ERR_HOST);
    cr_assert(strstr(e.msg, "0x80000"), "%s", e.msg);
    cr_assert_eq(vm_add_memory(&vm, GPA(0x100000), p, 1 << 20, &e), 0, "%s", e.msg);
    vm_close(&vm);
    munmap(p, 1 << 20);
}

Test(vm, memory_that_comes_and_goes)
{
    enum { LEN = 1 << 20 };
    open_vm();
    void *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_eq(vm_add_memory(&vm, GPA(0), p, LEN, &e), 0, "%s", e.msg);
    for (unsigned i = 0; i < 200; i++) { /* more often than there are slots */
        gpa_t at = GPA((1 + i) * (uint64_t)LEN);
        cr_assert_eq(vm_map_memory(&vm, at, p, LEN, false), 0);
        cr_assert_eq(vm_map_memory(&vm, GPA(at.v + LEN / 2), p, LEN, false), -EEXIST);
        vm_unmap_memory(&vm, at);
        vm_unmap_memory(&vm, at); /* nothing is there */
    }
    cr_assert_eq(vm_map_memory(&vm, GPA(0), p, LEN, false), -EEXIST, "RAM stays");
    cr_assert_eq(vm_map_memory(&vm, GPA(LEN), p, 0, false), -EINVAL);
    int ro = vm_map_memory(&vm, GPA(LEN), p, LEN, true);
    cr_assert_eq(ro, vm_cap(&vm, KVM_CAP_READONLY_MEM) ? 0 : -EOPNOTSUPP);
    int rc = 0;
    unsigned n = 1;
    for (; rc == 0; n++)
        rc = vm_map_memory(&vm, GPA((n + 1) * (uint64_t)LEN), p, LEN, false);
    cr_assert_eq(rc, -ENOSPC);
    cr_assert_geq(n, VM_SLOTS - 1);
    vm_close(&vm);
    munmap(p, LEN);
}

Test(vm, interrupt_chips)
{
    open_vm();
    int fd = eventfd(0, 0);
    cr_assert_eq(vm_add_irqchip(&vm, &e), 0, "%s", e.msg);
    cr_assert_lt(vm_add_irqchip(&vm, &e), 0, "there is one already");
    cr_assert_eq(vm_add_irqfd(&vm, 16, fd), 0);
    cr_assert_eq(vm_add_irqfd(&vm, 17, -1), -EBADF);
    close(fd);
    vm_close(&vm);
}

Test(vm, vcpus_and_their_state)
{
    open_vm();
    struct vcpu_fd v = {.fd = -1};
    struct kvm_cpuid2 *c;
    struct cpu_state *s;
    struct irqchip_state *chips;
    cr_assert_eq(arch_vm_setup(&vm, &e), 0, "%s", e.msg);
    cr_assert_eq(vm_add_irqchip(&vm, &e), 0, "%s", e.msg);
    cr_assert_eq(vcpu_fd_open(&vm, 0, &v, &e), 0, "%s", e.msg);
    cr_assert_lt(vcpu_fd_open(&vm, 0, &v, &e), 0, "it exists");
    cr_assert_eq(cpuid_supported(&vm, &c, &e), 0, "%s", e.msg);
    for (unsigned i = 0; i < c->nent; i++) {
        if (c->entries[i].function == 1)
            cr_assert_eq(c->entries[i].ecx & (1u << 3 | 1u << 5), 0, "no MONITOR, no VMX");
        if (c->entries[i].function == 0x80000001)
            cr_assert_eq(c->entries[i].ecx & 1u << 2, 0, "no SVM");
    }
    cr_assert_eq(cpu_setup(&v, c, 0, &e), 0, "%s", e.msg);

    /* What was changed since comes back. */
    cr_assert_eq(cpu_state_get(&vm, &v, &s, &e), 0, "%s", e.msg);
    cr_assert_eq(irqchip_state_get(&vm, &chips), 0);
    struct kvm_regs before, after;
    cr_assert_eq(ioctl(v.fd, KVM_GET_REGS, &before), 0);
    const struct boot_entry entry = {.mode = BOOT_LONG64, .rip = 0x1234567, .info = 0x7000};
    cr_assert_eq(cpu_boot(&v, &entry, &e), 0, "%s", e.msg);
    cr_assert_eq(ioctl(v.fd, KVM_GET_REGS, &after), 0);
    cr_assert_eq(after.rip, 0x1234567);
    cr_assert_eq(after.rsi, 0x7000);
    cr_assert_eq(cpu_state_set(&vm, &v, s, &e), 0, "%s", e.msg);
    cr_assert_eq(irqchip_state_set(&vm, chips), 0);
    cr_assert_eq(ioctl(v.fd, KVM_GET_REGS, &after), 0);
    cr_assert(memcmp(&before, &after, sizeof(before)) == 0);
    cpu_state_free(s);
    free(chips);
    free(c);
    vcpu_fd_close(&v);
    vm_close(&vm);
}

Test(vm, the_probe_says_something)
{
    open_vm();
    vm_close(&vm);
    struct host_report r;
    cr_assert_eq(host_probe(&r, &e), 0, "%s", e.msg);
    cr_assert_eq(r.kind == HOST_HARDWARE, r.n_missing == 0);
    cr_assert(!r.pvm || r.n_missing > 0, "a PVM-backed KVM cannot run all of them");
}
