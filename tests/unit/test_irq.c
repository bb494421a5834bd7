/* tests/unit/test_irq.c - interrupts and doorbells on the KVM that this host has, with a guest of
 * forty instructions to receive and to ring them. Without a KVM each test is skipped and says so.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "arch/x86_64/cpu.h"

enum { RAM = 0x200000, CODE = 0x100000, IDT = 0x110000, PIN = 17 };
enum { LEVEL_VECTOR = 0x41, MSI_VECTOR = 0x42 };
/* Where the guest reports by OUT. */
enum { READY = 0x90, LEVEL_ENTERED = 0x91, LEVEL_ENDED = 0x92, MSI_ENTERED = 0x93 };
enum { BELL_PORT = 0x1234, BELL = 0xd0000000 };

/* Local APIC on; pin 17 is level-triggered; rings a port and two addresses; then waits. */
extern const uint8_t guest_code[], guest_level[], guest_msi[], guest_end[];
__asm__(".section .rodata\n"
        "guest_code:\n"
        "  mov $0x120000, %esp\n"
        "  mov $0xfee000f0, %eax\n"
        "  movl $0x1ff, (%rax)\n"
        "  mov $0xfec00000, %eax\n"
        "  movl $0x33, (%rax)\n" /* pin 17, upper half: APIC 0 */
        "  movl $0, 0x10(%rax)\n"
        "  movl $0x32, (%rax)\n"
        "  movl $0x8041, 0x10(%rax)\n" /* level, vector 0x41 */
        "  mov $0x1234, %edx\n"
        "  mov $7, %eax\n"
        "  out %ax, %dx\n"
        "  mov $0xd0000000, %ebx\n"
        "  movl $5, (%rbx)\n"
        "  movl $6, (%rbx)\n"
        "  movw $9, 0x10(%rbx)\n"
        "  out %al, $0x90\n"
        "  sti\n"
        "1: hlt\n"
        "  jmp 1b\n"
        "guest_level:\n"
        "  out %al, $0x91\n"
        "  mov $0xfee000b0, %ecx\n"
        "  movl $0, (%rcx)\n"
        "  out %al, $0x92\n"
        "  iretq\n"
        "guest_msi:\n"
        "  out %al, $0x93\n"
        "  mov $0xfee000b0, %ecx\n"
        "  movl $0, (%rcx)\n"
        "  iretq\n"
        "guest_end:\n"
        ".previous\n");

static struct vm vm;
static struct vcpu_fd cpu;
static struct gmem *mem;
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
    cr_assert_eq(arch_vm_setup(&vm, &e), 0, "%s", e.msg);
}

static void gate(unsigned vector, const uint8_t *handler)
{
    enum { INTERRUPT_GATE = 0x8e };
    uint8_t *at = gmem_at(mem, GPA(IDT + 16 * vector), 16);
    uint64_t rip = CODE + (uint64_t)(handler - guest_code);
    put_bytes(at,
              (rip & 0xffff) | BOOT_CS << 16 | (uint64_t)INTERRUPT_GATE << 40 |
                  (rip >> 16 & 0xffff) << 48,
              8);
    put_bytes(at + 8, rip >> 32, 8);
}

/* A machine that is about to run guest_code. */
static void boot(void)
{
    const struct gmem_region ram = {.base = GPA(0), .len = RAM};
    const struct gmem_options plain = {0};
    const struct boot_entry entry = {.mode = BOOT_LONG64, .rip = CODE};
    struct kvm_cpuid2 *cpuid;
    struct kvm_sregs s;
    open_vm();
    cr_assert_eq(gmem_new(&ram, 1, &plain, &mem, &e), 0);
    cr_assert_eq(vm_add_memory(&vm, GPA(0), gmem_at(mem, GPA(0), RAM), RAM, &e), 0, "%s", e.msg);
    cr_assert_eq(vm_add_irqchip(&vm, &e), 0, "%s", e.msg);
    cr_assert_eq(boot_write_tables(mem, &e), 0);
    cr_assert_eq(vcpu_fd_open(&vm, 0, &cpu, &e), 0, "%s", e.msg);
    cr_assert_eq(cpuid_supported(&vm, &cpuid, &e), 0, "%s", e.msg);
    cr_assert_eq(cpu_setup(&cpu, cpuid, 0, &e), 0, "%s", e.msg);
    free(cpuid);
    cr_assert_eq(cpu_boot(&cpu, &entry, &e), 0, "%s", e.msg);
    cr_assert_eq(ioctl(cpu.fd, KVM_GET_SREGS, &s), 0);
    s.idt = (struct kvm_dtable){.base = IDT, .limit = 0xfff};
    cr_assert_eq(ioctl(cpu.fd, KVM_SET_SREGS, &s), 0);
    memcpy(gmem_at(mem, GPA(CODE), 4096), guest_code, (size_t)(guest_end - guest_code));
    gate(LEVEL_VECTOR, guest_level);
    gate(MSI_VECTOR, guest_msi);
}

static void shut(void)
{
    vcpu_fd_close(&cpu);
    vm_close(&vm);
    gmem_free(mem);
}

static int event(void)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    return fd;
}

static uint64_t signals(int fd)
{
    uint64_t n = 0;
    return read(fd, &n, sizeof(n)) < 0 ? 0 : n;
}

static void signal_fd(int fd)
{
    uint64_t one = 1;
    cr_assert_eq(write(fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

/* Runs until the guest reports, which must be this. */
static void reports(unsigned port)
{
    int rc;
    do {
        rc = ioctl(cpu.fd, KVM_RUN, 0);
    } while (rc < 0 && errno == EINTR);
    cr_assert_eq(rc, 0);
    cr_assert_eq(cpu.run->exit_reason, KVM_EXIT_IO, "exit %u", cpu.run->exit_reason);
    cr_assert_eq(cpu.run->io.port, port, "it reports %#x, not %#x", cpu.run->io.port, port);
}

/* An access that is no doorbell's comes out. */
static void traps_at(uint64_t at)
{
    cr_assert_eq(ioctl(cpu.fd, KVM_RUN, 0), 0);
    cr_assert_eq(cpu.run->exit_reason, KVM_EXIT_MMIO, "exit %u", cpu.run->exit_reason);
    cr_assert_eq(cpu.run->mmio.phys_addr, at);
}

TestSuite(irq, .timeout = 60);

/* --- doorbells --- */

Test(irq, doorbells_refuse)
{
    open_vm();
    int fd = event();
    struct vm_doorbell d = {.at = GPA(BELL), .len = 4, .fd = fd};
    cr_assert_eq(vm_add_irqchip(&vm, &e), 0, "%s", e.msg);
    cr_expect_eq(vm_add_ioeventfd(&vm, &d), 0);
    cr_expect_eq(vm_add_ioeventfd(&vm, &d), -EEXIST);
    d.value = 1;
    cr_expect_eq(vm_add_ioeventfd(&vm, &d), 0);
    d.port = true;
    cr_expect_eq(vm_add_ioeventfd(&vm, &d), 0, "another space");
    d.len = 3;
    cr_expect_eq(vm_add_ioeventfd(&vm, &d), -EINVAL);
    d.len = 4;
    d.fd = -1;
    cr_expect_eq(vm_add_ioeventfd(&vm, &d), -EBADF);
    close(fd);
    vm_close(&vm);
}

static const struct vm_doorbell any_width = {.at = GPA(BELL + 0x10)};

static void bells(struct vm_doorbell out[4])
{
    out[0] = (struct vm_doorbell){
        .port = true, .at = GPA(BELL_PORT), .len = 2, .any = true, .fd = event()};
    out[1] = (struct vm_doorbell){.at = GPA(BELL), .len = 4, .value = 5, .fd = event()};
    out[2] = (struct vm_doorbell){.at = GPA(BELL), .len = 4, .value = 6, .fd = event()};
    out[3] = any_width;
    out[3].fd = event();
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(vm_add_ioeventfd(&vm, &out[i]), 0, "%u", i);
}

Test(irq, doorbells_ring_without_an_exit)
{
    struct vm_doorbell d[4];
    boot();
    bells(d);
    reports(READY);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_eq(signals(d[i].fd), 1, "%u", i);
        close(d[i].fd);
    }
    shut();
}

Test(irq, doorbells_go_away)
{
    struct vm_doorbell d[4];
    boot();
    bells(d);
    vm_remove_ioeventfd(&vm, &d[0]);
    vm_remove_ioeventfd(&vm, &d[2]);
    vm_remove_ioeventfd(&vm, &d[3]);
    vm_remove_ioeventfd(&vm, &d[3]); /* again is fine */
    reports(BELL_PORT);
    traps_at(BELL);
    traps_at(BELL + 0x10);
    reports(READY);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_eq(signals(d[i].fd), i == 1, "%u", i);
        close(d[i].fd);
    }
    shut();
}

/* --- interrupts --- */

static void boot_and_be_ready(void)
{
    struct vm_doorbell d[4];
    boot();
    bells(d);
    reports(READY);
    for (unsigned i = 0; i < 4; i++)
        close(d[i].fd);
}

Test(irq, level_until_it_is_ended)
{
    boot_and_be_ready();
    int trigger = event(), resample = event();
    cr_assert_eq(vm_add_level_irqfd(&vm, PIN, trigger, resample), 0);
    for (unsigned i = 0; i < 3; i++) {
        signal_fd(trigger);
        cr_expect_eq(signals(resample), 0, "not ended yet");
        reports(LEVEL_ENTERED); /* a PVM-backed KVM ends it here, when it is delivered */
        reports(LEVEL_ENDED);
        cr_expect_eq(signals(resample), 1);
    }
    vm_remove_irqfd(&vm, PIN, trigger);
    signal_fd(trigger);
    cr_expect_eq(signals(trigger), 1, "nobody reads it any more");
    cr_expect_eq(vm_add_level_irqfd(&vm, PIN, trigger, -1), -EBADF);
    close(trigger);
    close(resample);
    shut();
}

Test(irq, messages_go_where_their_route_says)
{
    unsigned gsi, other;
    int fd, other_fd;
    boot_and_be_ready();
    cr_assert_eq(vm_msi_open(&vm, &gsi, &fd), 0);
    cr_assert_eq(vm_msi_open(&vm, &other, &other_fd), 0);
    cr_expect_eq(gsi, 24);
    cr_expect_eq(other, 25);
    signal_fd(fd); /* no route: nothing */
    cr_assert_eq(vm_msi_route(&vm, other, 0xfee00000, LEVEL_VECTOR), 0);
    signal_fd(fd);
    signal_fd(other_fd);
    reports(LEVEL_ENTERED);
    reports(LEVEL_ENDED);
    cr_assert_eq(vm_msi_route(&vm, gsi, 0xfee00000, MSI_VECTOR), 0);
    signal_fd(fd);
    reports(MSI_ENTERED);
    signal_fd(other_fd);
    reports(LEVEL_ENTERED);
    reports(LEVEL_ENDED);
    cr_assert_eq(vm_msi_route(&vm, other, 0xfee00000, MSI_VECTOR), 0);
    signal_fd(other_fd);
    reports(MSI_ENTERED);
    vm_msi_close(&vm, gsi, fd);
    vm_msi_close(&vm, other, other_fd);
    shut();
}

Test(irq, the_pins_stay_connected)
{
    unsigned gsi;
    int fd, trigger = event(), resample = event();
    struct kvm_irqchip pic = {.chip_id = KVM_IRQCHIP_PIC_SLAVE};
    boot_and_be_ready();
    cr_assert_eq(vm_msi_open(&vm, &gsi, &fd), 0);
    cr_assert_eq(vm_msi_route(&vm, gsi, 0xfee00000, MSI_VECTOR), 0);
    cr_assert_eq(vm_add_level_irqfd(&vm, PIN, trigger, resample), 0);
    signal_fd(trigger);
    reports(LEVEL_ENTERED);
    reports(LEVEL_ENDED);
    cr_expect_eq(signals(resample), 1);
    /* Every line below 16 reaches a PIC as well as the I/O APIC. */
    for (unsigned line = 0; line < 24; line++) {
        struct kvm_irq_level up = {.irq = line, .level = 1};
        struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
        if (line == PIN)
            continue;
        cr_assert_eq(ioctl(vm.fd, KVM_IRQ_LINE, &up), 0);
        cr_assert_eq(ioctl(vm.fd, KVM_GET_IRQCHIP, &chip), 0);
        cr_expect(chip.chip.ioapic.irr & 1u << line, "pin %u", line);
        pic.chip_id = line < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE;
        cr_assert_eq(ioctl(vm.fd, KVM_GET_IRQCHIP, &pic), 0);
        if (line < 16)
            cr_expect(pic.chip.pic.last_irr & 1 << line % 8, "line %u", line);
    }
    vm_msi_close(&vm, gsi, fd);
    close(trigger);
    close(resample);
    shut();
}

Test(irq, a_route_that_is_refused_changes_nothing)
{
    unsigned gsi;
    int fd;
    boot_and_be_ready();
    cr_assert_eq(vm_msi_open(&vm, &gsi, &fd), 0);
    cr_assert_eq(vm_msi_route(&vm, gsi, 0xfee00000, MSI_VECTOR), 0);
    int kvm = vm.fd;
    vm.fd = -1;
    cr_expect_eq(vm_msi_route(&vm, gsi, 0xfee00000, LEVEL_VECTOR), -EBADF);
    vm.fd = kvm;
    unsigned other;
    int other_fd;
    cr_assert_eq(vm_msi_open(&vm, &other, &other_fd), 0);
    cr_assert_eq(vm_msi_route(&vm, other, 0xfee00000, LEVEL_VECTOR), 0); /* the whole table */
    signal_fd(fd);
    reports(MSI_ENTERED);
    vm_msi_close(&vm, gsi, fd);
    vm_msi_close(&vm, other, other_fd);
    shut();
}

Test(irq, a_gsi_is_used_again)
{
    unsigned gsi[3], again;
    int fd[3], again_fd;
    open_vm();
    cr_assert_eq(vm_add_irqchip(&vm, &e), 0, "%s", e.msg);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(vm_msi_open(&vm, &gsi[i], &fd[i]), 0);
        cr_expect_eq(gsi[i], 24 + i);
    }
    vm_msi_close(&vm, gsi[1], fd[1]);
    cr_assert_eq(vm_msi_open(&vm, &again, &again_fd), 0);
    cr_expect_eq(again, gsi[1]);
    vm_msi_close(&vm, again, again_fd);
    vm_msi_close(&vm, gsi[0], fd[0]);
    vm_msi_close(&vm, gsi[2], fd[2]);
    vm_close(&vm);
}

/* As many as KVM takes, then an error; and every route of them all is taken. */
Test(irq, as_many_messages_as_there_are)
{
    static int fds[8192];
    unsigned gsi = 0, n = 0;
    int rc;
    open_vm();
    cr_assert_eq(vm_add_irqchip(&vm, &e), 0, "%s", e.msg);
    unsigned max = (unsigned)vm_cap(&vm, KVM_CAP_IRQ_ROUTING) - 40;
    while ((rc = vm_msi_open(&vm, &gsi, &fds[n])) == 0 && n < ARRAY_SIZE(fds) - 1) {
        if (++n == 17 || n == max)
            cr_assert_eq(vm_msi_route(&vm, gsi, 0xfee00000, MSI_VECTOR), 0, "%u", n);
    }
    cr_expect((rc == -ENOSPC && n == max) || rc == -EMFILE, "%d after %u", rc, n);
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
    vm_close(&vm);
}

static void *opener(void *arg)
{
    for (unsigned i = 0; i < 50; i++) {
        unsigned gsi;
        int fd;
        if (vm_msi_open(&vm, &gsi, &fd) < 0)
            return arg;
        int rc = vm_msi_route(&vm, gsi, 0xfee00000, MSI_VECTOR);
        vm_msi_close(&vm, gsi, fd);
        if (rc < 0)
            return arg;
    }
    return NULL;
}

Test(irq, by_any_thread)
{
    pthread_t threads[4];
    open_vm();
    cr_assert_eq(vm_add_irqchip(&vm, &e), 0, "%s", e.msg);
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, opener, &vm), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        cr_expect_null(failed);
    }
    unsigned gsi;
    int fd;
    cr_assert_eq(vm_msi_open(&vm, &gsi, &fd), 0);
    cr_expect_eq(gsi, 24, "all have been given back");
    vm_msi_close(&vm, gsi, fd);
    vm_close(&vm);
}
