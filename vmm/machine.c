/* vmm/machine.c - builds a machine from a vm_config, runs it, resets it in place, takes it down.
 *
 * Threads: this one (signals, and what the others report through `wake_fd`), one for each vCPU, one
 * for each event loop; each device is on one of those. Lock order: machine, transport, device
 * control. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "base/jail.h"
#include "base/loop.h"
#include "vmm/machine_priv.h"

enum { NOTHING_YET = -1, WANT_RESET = -2 }; /* besides enum machine_end, in machine.verdict */

/* --- how a guest's life ends --- */

static void decide(struct machine *m, int verdict)
{
    (void)pthread_mutex_lock(&m->lock);
    bool outranks = m->verdict == WANT_RESET && verdict != WANT_RESET;
    if (m->verdict == NOTHING_YET || outranks)
        m->verdict = verdict;
    (void)pthread_mutex_unlock(&m->lock);
    vcpus_hold(&m->team);     /* the vCPU that asked runs no further instruction */
    event_signal(m->wake_fd); /* the main thread closes it last */
}

static int verdict_of_reset(const struct machine *m)
{
    return m->cfg->restart ? WANT_RESET : MACHINE_REBOOTED;
}

void machine_event(struct machine *m, enum platform_event ev)
{
    switch (ev) {
    case PLATFORM_POWER_OFF:
        decide(m, MACHINE_POWERED_OFF);
        break;
    case PLATFORM_RESET:
        decide(m, verdict_of_reset(m));
        break;
    case PLATFORM_PANIC:
        log_error("the guest's kernel panicked");
        decide(m, MACHINE_CRASHED);
        break;
    }
}

static void on_platform_event(void *ctx, enum platform_event ev)
{
    machine_event(ctx, ev);
}

static void on_vcpu_fault(void *ctx, enum vcpu_fault why)
{
    static const int verdicts[] = {[VCPU_TRIPLE_FAULT] = MACHINE_CRASHED,
                                   [VCPU_STUCK] = MACHINE_CRASHED,
                                   [VCPU_HOST] = MACHINE_FAILED,
                                   [VCPU_SHUTDOWN] = MACHINE_POWERED_OFF};
    struct machine *m = ctx;
    decide(m, why == VCPU_RESET ? verdict_of_reset(m) : verdicts[why]);
}

static void on_quit(void *ctx)
{
    decide(ctx, MACHINE_QUIT);
}

/* --- building --- */

static const char *cmdline_of(const struct vm_config *cfg)
{
    return cfg->cmdline ? cfg->cmdline : DEFAULT_CMDLINE;
}

static int open_input(const char *path, const char *noun, struct err *e)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_input(e, -errno, "%s %s", noun, path);
    if (S_ISDIR(st.st_mode))
        return err_input(e, 0, "%s %s: is a directory", noun, path);
    if (!S_ISREG(st.st_mode))
        return err_input(e, 0, "%s %s: is not a regular file", noun, path);
    return TAKE_FD(fd);
}

static int open_inputs(struct machine *m, struct err *e)
{
    m->kernel_fd = open_input(m->cfg->kernel, "kernel", e);
    if (m->kernel_fd < 0)
        return m->kernel_fd;
    if (m->cfg->initrd) {
        m->initrd_fd = open_input(m->cfg->initrd, "initrd", e);
        if (m->initrd_fd < 0)
            return m->initrd_fd;
    }
    return 0;
}

static int build_memory(struct machine *m, struct err *e)
{
    const struct gmem_region regions[] = {
        {.base = GPA(0), .len = m->platform.ram_low},
        {.base = GPA(LAYOUT_HOLE_END), .len = m->platform.ram_high},
    };
    int rc = gmem_new(regions, m->platform.ram_high ? 2 : 1, &m->cfg->mem, &m->mem, e);
    const struct gmem_region *r;
    unsigned n = rc == 0 ? gmem_regions(m->mem, &r) : 0;
    for (unsigned i = 0; rc == 0 && i < n; i++)
        rc = vm_add_memory(&m->vm, r[i].base, r[i].host, r[i].len, e);
    return rc;
}

/* How much the guest's CPUs can address. */
static unsigned address_bits(const struct kvm_cpuid2 *c)
{
    unsigned bits = 36;
    for (unsigned i = 0; i < c->nent; i++) {
        if (c->entries[i].function == 0x80000008)
            bits = c->entries[i].eax & 0xff;
    }
    return bits;
}

static int check_cpus(const struct machine *m, struct err *e)
{
    if (m->platform.cpus > m->vm.max_cpus)
        return err_input(e, 0, "--cpus: %u are asked for, and this KVM has at most %u",
                         m->platform.cpus, m->vm.max_cpus);
    return 0;
}

static int check_memory(struct machine *m, struct err *e)
{
    unsigned bits = address_bits(m->cpuid);
    m->address_limit = platform_address_limit(bits);
    if (m->platform.ram_high && LAYOUT_HOLE_END + m->platform.ram_high > m->address_limit)
        return err_input(e, 0, "--mem: %llu MiB are more than the host can address (%u bits)",
                         (unsigned long long)(m->cfg->mem_size >> 20), bits);
    return 0;
}

static int build_platform(struct machine *m, struct err *e)
{
    const struct platform_events events = {.raise = on_platform_event, .ctx = m};
    struct chardev_spec console = m->cfg->console;
    console.quit = on_quit;
    console.quit_ctx = m;
    int rc = bus_new("port", &m->pio);
    if (rc == 0)
        rc = bus_new("MMIO", &m->mmio);
    m->team.pio = m->pio;
    m->team.mmio = m->mmio;
    if (rc < 0)
        return err_host(e, rc, "machine");
    rc = loops_build(m, e);
    if (rc == 0)
        rc = chardev_new(&console, m->io[0], &m->console, e);
    if (rc == 0 && chardev_path(m->console)) /* or nobody could find it */
        (void)fprintf(stderr, "vmm: console: %s\n", chardev_path(m->console));
    if (rc == 0)
        rc = machine_irq_line(m, IRQ_SERIAL, &m->serial_irq, e);
    if (rc == 0)
        rc = machine_irq_line(m, IRQ_GED, &m->vmgenid_irq, e);
    if (rc < 0)
        return rc;
    rc = serial_new(m->pio, m->console, m->serial_irq, &m->serial);
    if (rc == 0)
        rc = cmos_new(m->pio, m->platform.ram_low, m->platform.ram_high, &m->cmos);
    if (rc == 0)
        rc = pm_new(m->pio, m->mmio, &events, m->console, &m->pm);
    if (rc == 0)
        rc = vmgenid_new(m->mem, m->vmgenid_irq, &m->vmgenid);
    return rc < 0 ? err_host(e, rc, "platform devices") : 0;
}

static void announce(struct machine *m, bool *what)
{
    (void)pthread_mutex_lock(&m->lock);
    *what = true;
    (void)pthread_cond_broadcast(&m->progress);
    (void)pthread_mutex_unlock(&m->lock);
}

static void await(struct machine *m, const bool *what)
{
    (void)pthread_mutex_lock(&m->lock);
    while (!*what)
        (void)pthread_cond_wait(&m->progress, &m->lock);
    (void)pthread_mutex_unlock(&m->lock);
}

static int set_up_vcpu(struct machine *m, struct vcpu *v, struct err *e)
{
    size_t size = sizeof(*m->cpuid) + m->cpuid->nent * sizeof(m->cpuid->entries[0]);
    AUTO_FREE struct kvm_cpuid2 *cpuid = malloc(size);
    if (!cpuid)
        return err_host(e, -ENOMEM, "vCPU %u", v->id);
    memcpy(cpuid, m->cpuid, size);
    cpuid_topology(cpuid, v->id, m->platform.cpus);
    int rc = cpu_setup(&v->kvm, cpuid, v->id, e);
    if (rc == 0 && m->cfg->restart)
        rc = cpu_state_get(&m->vm, &v->kvm, &m->initial[v->id], e);
    return rc;
}

/* Each vCPU's thread sets it up while the main thread builds the rest. The first one begins before
 * there is a VM: to say which CPUID it supports takes KVM as long as all the rest together, where
 * the host is a guest itself and has to ask its own host leaf by leaf. */
static int prepare_vcpu(void *ctx, struct vcpu *v)
{
    struct machine *m = ctx;
    int rc = 0;
    if (v->id == 0) {
        rc = cpuid_supported(&m->vm, &m->cpuid, &v->why_not);
        announce(m, &m->cpuid_asked);
    }
    await(m, &m->cpuid_asked);
    await(m, &m->vcpus_made);
    if (!m->cpuid || v->kvm.fd < 0)
        return rc; /* there will be no machine */
    return set_up_vcpu(m, v, &v->why_not);
}

static int start_vcpu(struct vcpu *v, struct err *e)
{
    int rc = vcpu_start(v);
    return rc < 0 ? err_host(e, rc, "cannot start the thread of vCPU %u", v->id) : 0;
}

static int start_first_vcpu(struct machine *m, struct err *e)
{
    m->vcpus = calloc(m->platform.cpus, sizeof(m->vcpus[0]));
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers it is */
    m->initial = calloc(m->platform.cpus, sizeof(m->initial[0]));
    if (!m->vcpus || !m->initial)
        return err_host(e, -ENOMEM, "%u vCPUs", m->platform.cpus);
    for (unsigned i = 0; i < m->platform.cpus; i++)
        m->vcpus[i] = (struct vcpu){.team = &m->team, .id = i, .kvm = {.fd = -1}};
    return start_vcpu(&m->vcpus[0], e);
}

static int build_vcpus(struct machine *m, struct err *e)
{
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < m->platform.cpus; i++)
        rc = vcpu_fd_open(&m->vm, i, &m->vcpus[i].kvm, e);
    for (unsigned i = 1; rc == 0 && i < m->platform.cpus; i++)
        rc = start_vcpu(&m->vcpus[i], e);
    return rc;
}

/* Kernel, initrd and tables into RAM, and the boot CPU to where they begin. */
static int load_guest(struct machine *m, struct err *e)
{
    const struct boot_spec spec = {.platform = &m->platform,
                                   .kernel_fd = m->kernel_fd,
                                   .kernel_name = m->cfg->kernel,
                                   .initrd_fd = m->initrd_fd,
                                   .initrd_name = m->cfg->initrd,
                                   .cmdline = cmdline_of(m->cfg)};
    struct boot_entry entry;
    vmgenid_write(m->vmgenid);
    int rc = boot_load(m->mem, &spec, &entry, e);
    if (rc == 0)
        rc = vcpus_prepared(&m->team, m->vcpus, m->platform.cpus, e);
    return rc < 0 ? rc : cpu_boot(&m->vcpus[0].kvm, &entry, e);
}

static int build_irqchip(struct machine *m, struct err *e)
{
    int rc = vm_add_irqchip(&m->vm, e);
    if (rc == 0 && m->cfg->restart && (rc = irqchip_state_get(&m->vm, &m->initial_irqchip)) < 0)
        return err_host(e, rc, "KVM does not show the state of the interrupt chips");
    return rc;
}

/* All for which nobody needs to know CPUID. */
static int build_vm(struct machine *m, struct err *e)
{
    int rc = vm_create(&m->vm, e);
    if (rc == 0)
        rc = arch_vm_setup(&m->vm, e);
    if (rc == 0)
        rc = build_memory(m, e); /* all slots before the interrupt chip: see kvm.h */
    if (rc == 0)
        rc = build_irqchip(m, e);
    if (rc == 0)
        rc = build_vcpus(m, e);
    if (rc == 0)
        rc = build_platform(m, e);
    return rc;
}

static int build(struct machine *m, struct err *e)
{
    m->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->wake_fd < 0)
        return err_host(e, -errno, "machine");
    int rc = devices_describe(m->cfg, &m->platform, m->slots, e);
    if (rc == 0)
        rc = open_inputs(m, e);
    if (rc == 0)
        rc = vm_open(&m->vm, e);
    if (rc == 0)
        rc = check_cpus(m, e);
    if (rc == 0)
        rc = confine(m->cfg, e);
    if (rc == 0)
        rc = start_first_vcpu(m, e);
    if (rc < 0)
        return rc;
    rc = build_vm(m, e);
    announce(m, &m->vcpus_made);
    await(m, &m->cpuid_asked);
    if (m->cpuid && check_memory(m, e) < 0) /* it is the better reason */
        return -EINVAL;
    if (rc == 0 && !m->cpuid) {
        sandbox_abandon(); /* which they wait for */
        rc = vcpus_prepared(&m->team, m->vcpus, m->platform.cpus, e);
    }
    if (rc == 0)
        rc = devices_build(m, e);
    if (rc == 0 && (rc = chardev_start(m->console)) < 0)
        (void)err_host(e, rc, "console");
    if (rc == 0) /* all is open, and no thread does anything yet */
        rc = jail_enter(e);
    if (rc == 0) {
        sandbox_seal();
        rc = loops_start(m, e);
    }
    if (rc == 0)
        rc = load_guest(m, e);
    return rc;
}

int machine_build(const struct vm_config *cfg, struct machine **out, struct err *e)
{
    struct machine *m = calloc(1, sizeof(*m));
    if (!m)
        return err_host(e, -ENOMEM, "machine");
    *m = (struct machine){.cfg = cfg,
                          .kernel_fd = -1,
                          .initrd_fd = -1,
                          .vm = {.kvm_fd = -1, .fd = -1},
                          .serial_irq = -1,
                          .vmgenid_irq = -1,
                          .wake_fd = -1,
                          .verdict = NOTHING_YET};
    (void)pthread_mutex_init(&m->lock, NULL);
    (void)pthread_cond_init(&m->progress, NULL);
    m->team.prepare = prepare_vcpu;
    m->team.fault = on_vcpu_fault;
    m->team.ctx = m;
    vcpu_team_init(&m->team);
    int rc = build(m, e);
    if (rc < 0) {
        sandbox_abandon();
        machine_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

void machine_free(struct machine *m)
{
    if (!m)
        return;
    vcpus_end(&m->team, m->vcpus, m->vcpus ? m->platform.cpus : 0);
    m->ending = true;
    devices_reset(m); /* while the loops can still finish what is in flight */
    loops_stop(m);
    devices_free(m);
    vmgenid_free(m->vmgenid);
    pm_free(m->pm);
    cmos_free(m->cmos);
    serial_free(m->serial);
    chardev_free(m->console);
    loops_free(m);
    for (unsigned i = 0; m->vcpus && i < m->platform.cpus; i++) {
        vcpu_fd_close(&m->vcpus[i].kvm);
        cpu_state_free(m->initial ? m->initial[i] : NULL);
    }
    free(m->vcpus);
    free(m->initial);
    free(m->initial_irqchip);
    free(m->cpuid);
    fd_cleanup_(&m->serial_irq);
    fd_cleanup_(&m->vmgenid_irq);
    vm_close(&m->vm);
    bus_free(m->pio);
    bus_free(m->mmio);
    gmem_free(m->mem);
    fd_cleanup_(&m->kernel_fd);
    fd_cleanup_(&m->initrd_fd);
    fd_cleanup_(&m->wake_fd);
    vcpu_team_destroy(&m->team);
    (void)pthread_cond_destroy(&m->progress);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
}

/* --- running --- */

/* Everything as it was before the first instruction; the vCPUs are parked. */
static int reset(struct machine *m, struct err *e)
{
    devices_reset(m);
    serial_reset(m->serial);
    cmos_reset(m->cmos);
    gmem_discard(m->mem);
    int rc = irqchip_state_set(&m->vm, m->initial_irqchip);
    if (rc < 0)
        return err_host(e, rc, "KVM does not take the interrupt chips' state");
    for (unsigned i = 0; rc == 0 && i < m->platform.cpus; i++) {
        m->vcpus[i].halted = false;
        rc = cpu_state_set(&m->vm, &m->vcpus[i].kvm, m->initial[i], e);
    }
    return rc < 0 ? rc : load_guest(m, e);
}

/* True when the guest is to go on. */
static bool handle_verdict(struct machine *m, enum machine_end *end)
{
    (void)pthread_mutex_lock(&m->lock);
    int verdict = m->verdict;
    (void)pthread_mutex_unlock(&m->lock);
    if (verdict == NOTHING_YET || (verdict == WANT_RESET && m->paused))
        return true; /* machine_resume() comes back to it */
    vcpus_park(&m->team, m->vcpus, m->platform.cpus);
    if (verdict != WANT_RESET) {
        *end = (enum machine_end)verdict;
        return false;
    }
    log_limited(&m->resets, LOG_INFO, "the guest is reset");
    struct err e;
    if (reset(m, &e) < 0) {
        log_error("reset: %s", e.msg);
        *end = MACHINE_FAILED;
        return false;
    }
    (void)pthread_mutex_lock(&m->lock);
    bool go_on = m->verdict == WANT_RESET;
    if (go_on)
        m->verdict = NOTHING_YET;
    else
        *end = (enum machine_end)m->verdict; /* decided meanwhile */
    (void)pthread_mutex_unlock(&m->lock);
    if (go_on)
        vcpus_resume(&m->team);
    return go_on;
}

static bool handle_signal(struct machine *m, int signals, int *signo)
{
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return true;
    if (info.ssi_signo == SIGWINCH) {
        chardev_resized(m->console);
        return true;
    }
    *signo = (int)info.ssi_signo;
    return false;
}

static enum machine_end watch(struct machine *m, const struct machine_also *also, int signals,
                              int *signo)
{
    enum machine_end end;
    for (;;) {
        struct pollfd fds[] = {{.fd = m->wake_fd, .events = POLLIN},
                               {.fd = signals, .events = POLLIN},
                               {.fd = also ? also->fd : -1, .events = POLLIN}};
        uint64_t count;
        int timeout = also ? also->timeout_ms(also->ctx) : -1;
        if (poll_ms(fds, ARRAY_SIZE(fds), timeout) < 0) {
            if (errno == EINTR)
                continue;
            return MACHINE_FAILED;
        }
        if (fds[1].revents && !handle_signal(m, signals, signo))
            return MACHINE_SIGNALLED;
        if (fds[0].revents && read(m->wake_fd, &count, sizeof(count)) > 0 &&
            !handle_verdict(m, &end))
            return end;
        if (also)
            also->ready(also->ctx);
    }
}

void machine_start(struct machine *m)
{
    vcpus_resume(&m->team);
}

enum machine_end machine_run(struct machine *m, const struct machine_also *also, int *signo)
{
    sigset_t mask;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask); /* what main() blocked is what comes here */
    AUTO_FD signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        log_error("signals: %s", strerror(errno));
        return MACHINE_FAILED;
    }
    sandbox_enter(SANDBOX_MAIN, NULL);
    return watch(m, also, signals, signo);
}

void machine_pause(struct machine *m)
{
    if (m->paused)
        return;
    vcpus_park(&m->team, m->vcpus, m->platform.cpus);
    devices_pause(m);
    for (unsigned i = 0; i < m->platform.cpus; i++)
        vcpu_fd_was_paused(&m->vcpus[i].kvm);
    m->paused = true;
}

void machine_resume(struct machine *m)
{
    if (!m->paused)
        return;
    m->paused = false;
    devices_resume(m);
    (void)pthread_mutex_lock(&m->lock);
    bool go_on = m->verdict == NOTHING_YET;
    (void)pthread_mutex_unlock(&m->lock);
    if (go_on)
        vcpus_resume(&m->team);
    else
        event_signal(m->wake_fd); /* a reset has waited */
}

bool machine_paused(const struct machine *m)
{
    return m->paused;
}

struct vdev *machine_device(const struct machine *m, unsigned i)
{
    return transport_device(m->devices[i]);
}

int machine_dump_dtb(const struct vm_config *cfg, struct err *e)
{
    struct platform p;
    struct mmio_slot slots[LAYOUT_MMIO_MAX];
    AUTO_FREE void *dtb = NULL;
    size_t len;
    int rc = devices_describe(cfg, &p, slots, e);
    if (rc < 0)
        return rc;
    rc = fdt_build(&p, cmdline_of(cfg), &dtb, &len);
    if (rc < 0)
        return err_host(e, rc, "device tree");
    AUTO_FD fd = open(cfg->dump_dtb, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return err_input(e, -errno, "--dump-dtb %s", cfg->dump_dtb);
    const uint8_t *at = dtb;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n <= 0)
            return err_input(e, n < 0 ? -errno : -EIO, "--dump-dtb %s", cfg->dump_dtb);
        at += n;
        len -= (size_t)n;
    }
    return 0;
}
