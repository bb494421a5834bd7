/* tests/unit/test_machine.c - a machine that is paused stays so, whatever its guest or a device of
 * it asked for at that moment. The guest halts, and is never woken. */
#include <criterion/criterion.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "vmm/machine_priv.h"
#include "vmm/options.h"

static struct vm_config cfg;
static struct machine *m;
static struct err err;

static const struct {
    Elf64_Ehdr h;
    Elf64_Phdr load;
    uint8_t code[4];
} kernel = {
    .h = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
          .e_type = ET_EXEC,
          .e_machine = EM_X86_64,
          .e_version = EV_CURRENT,
          .e_entry = LAYOUT_KERNEL,
          .e_phoff = sizeof(Elf64_Ehdr),
          .e_ehsize = sizeof(Elf64_Ehdr),
          .e_phentsize = sizeof(Elf64_Phdr),
          .e_phnum = 1},
    .load = {.p_type = PT_LOAD,
             .p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
             .p_paddr = LAYOUT_KERNEL,
             .p_filesz = 4,
             .p_memsz = 4},
    .code = {0xfa, 0xf4, 0xeb, 0xfd}, /* cli; 1: hlt; jmp 1b */
};

static void up(void)
{
    char path[64];
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm < 0)
        cr_skip_test("no /dev/kvm here");
    close(kvm);
    int file = memfd_create("kernel", MFD_CLOEXEC);
    cr_assert_eq(write(file, &kernel, sizeof(kernel)), (ssize_t)sizeof(kernel));
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
    char *argv[] = {(char *)"vmm",     (char *)"--kernel",  path,
                    (char *)"--mem",   (char *)"32M",       (char *)"--on-reboot",
                    (char *)"restart", (char *)"--console", (char *)"none"};
    enum options_action action;
    cr_assert_eq(options_parse(ARRAY_SIZE(argv), argv, &cfg, &action, &err), 0, "%s", err.msg);
    cr_assert_eq(machine_build(&cfg, &m, &err), 0, "%s", err.msg);
    machine_start(m);
}

static void down(void)
{
    machine_free(m);
    options_free(&cfg);
}

TestSuite(machine, .init = up, .fini = down, .timeout = 60);

/* --- what the main thread does between two waits --- */

static unsigned step;
static void (*const *steps)(void);

static int first_at_once(void *ctx)
{
    (void)ctx;
    return step == 0 ? 0 : -1; /* then it is an event of the machine's that is next */
}

static void take_step(void *ctx)
{
    (void)ctx;
    steps[step++]();
}

static enum machine_end run(void (*const *what)(void))
{
    const struct machine_also also = {.fd = -1, .timeout_ms = first_at_once, .ready = take_step};
    int signo = 0;
    steps = what;
    return machine_run(m, &also, &signo);
}

static bool is_held(void)
{
    return atomic_load(&m->team.park) && m->team.parked == m->team.n;
}

static void pause_and_reset(void)
{
    machine_pause(m);
    machine_event(m, PLATFORM_RESET);
}

static void resume(void)
{
    cr_expect(machine_paused(m) && is_held(), "a reset has woken a paused guest");
    machine_resume(m);
    cr_expect(is_held(), "the guest ran on past its reset");
}

static void power_off(void)
{
    cr_expect_not(machine_paused(m) || atomic_load(&m->team.park), "the reset is forgotten");
    machine_event(m, PLATFORM_POWER_OFF);
}

Test(machine, reset_waits_for_the_end_of_a_pause)
{
    static void (*const what[])(void) = {pause_and_reset, resume, power_off};
    cr_expect_eq(run(what), MACHINE_POWERED_OFF);
    cr_expect_eq(step, ARRAY_SIZE(what));
}

static void end_as_well(void)
{
    cr_expect(is_held());
    machine_event(m, PLATFORM_POWER_OFF);
}

Test(machine, end_does_not_wait)
{
    static void (*const what[])(void) = {pause_and_reset, end_as_well};
    cr_expect_eq(run(what), MACHINE_POWERED_OFF, "a reset that waits is overtaken");
}

static void pause_and_resume(void)
{
    for (int i = 0; i < 50; i++) {
        machine_pause(m);
        machine_pause(m);
        cr_assert(machine_paused(m) && is_held());
        machine_resume(m);
        machine_resume(m);
        cr_assert_not(machine_paused(m) || atomic_load(&m->team.park));
    }
    machine_event(m, PLATFORM_POWER_OFF);
}

Test(machine, pauses_do_not_nest)
{
    static void (*const what[])(void) = {pause_and_resume};
    cr_expect_eq(run(what), MACHINE_POWERED_OFF);
}
