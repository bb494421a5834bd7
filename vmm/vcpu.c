/* vmm/vcpu.c - see vcpu.h. A vCPU leaves guest mode for three reasons: an access that somebody
 * emulates, something fatal, or a signal that says "look at the team's flags". */
#include "vmm/vcpu.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/sandbox.h"

enum { KICK_SIGNAL = SIGUSR1 };

static void on_kick(int signo)
{
    (void)signo; /* that KVM_RUN returns is all it is for */
}

void vcpu_team_init(struct vcpu_team *t)
{
    (void)pthread_mutex_init(&t->lock, NULL);
    (void)pthread_cond_init(&t->changed, NULL);
    atomic_init(&t->park, true);
    struct sigaction sa = {.sa_handler = on_kick};
    (void)sigaction(KICK_SIGNAL, &sa, NULL);
}

void vcpu_team_destroy(struct vcpu_team *t)
{
    (void)pthread_mutex_destroy(&t->lock);
    (void)pthread_cond_destroy(&t->changed);
}

static void handle_io(struct vcpu *v)
{
    const struct kvm_run *run = v->kvm.run;
    uint8_t *data = (uint8_t *)v->kvm.run + run->io.data_offset;
    bool out = run->io.direction == KVM_EXIT_IO_OUT;
    for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
        uint64_t val = out ? get_bytes(data, run->io.size) : 0;
        (void)bus_access(v->team->pio, GPA(run->io.port), run->io.size, out, &val);
        if (!out)
            put_bytes(data, val, run->io.size);
    }
}

static void handle_mmio(struct vcpu *v)
{
    struct kvm_run *run = v->kvm.run;
    unsigned len = MIN(run->mmio.len, 8u);
    uint64_t val = run->mmio.is_write ? get_bytes(run->mmio.data, len) : 0;
    (void)bus_access(v->team->mmio, GPA(run->mmio.phys_addr), len, run->mmio.is_write, &val);
    if (!run->mmio.is_write)
        put_bytes(run->mmio.data, val, len);
}

/* Shared with KVM, and with whoever kicks this vCPU. */
static void set_immediate_exit(struct vcpu *v, uint8_t on)
{
    __atomic_store_n(&v->kvm.run->immediate_exit, on, __ATOMIC_SEQ_CST);
}

/* KVM's api.rst on KVM_RUN: after an I/O exit the access is complete only when KVM_RUN was entered
 * again; registers may not be changed before. One instruction may take several exits (an access
 * across pages, a repeated move), and KVM leaves its emulation after 1024 of them. */
static void complete_io(struct vcpu *v)
{
    enum { EXITS_MAX = 2048 };
    set_immediate_exit(v, 1);
    for (unsigned i = 0; i < EXITS_MAX && ioctl(v->kvm.fd, KVM_RUN, 0) == 0; i++) {
        if (v->kvm.run->exit_reason == KVM_EXIT_IO)
            handle_io(v);
        else if (v->kvm.run->exit_reason == KVM_EXIT_MMIO)
            handle_mmio(v);
        else
            break;
    }
    set_immediate_exit(v, 0);
}

/* Returns false when the thread is to end. */
static bool park(struct vcpu *v)
{
    struct vcpu_team *t = v->team;
    (void)pthread_mutex_lock(&t->lock);
    t->parked++;
    (void)pthread_cond_broadcast(&t->changed);
    while (atomic_load(&t->park) && !t->quit)
        (void)pthread_cond_wait(&t->changed, &t->lock);
    t->parked--;
    if (v->kvm.run)
        set_immediate_exit(v, 0); /* a late kick's */
    bool go_on = !t->quit;
    (void)pthread_mutex_unlock(&t->lock);
    return go_on;
}

static void fault(struct vcpu *v, enum vcpu_fault why)
{
    v->halted = true;
    v->team->fault(v->team->ctx, why);
}

static void describe_stuck(const struct vcpu *v)
{
    const struct kvm_run *run = v->kvm.run;
    struct kvm_regs r = {0};
    char bytes[64] = "";
    (void)ioctl(v->kvm.fd, KVM_GET_REGS, &r);
    if (run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION && run->internal.ndata >= 4 &&
        (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
        unsigned n = MIN((unsigned)run->emulation_failure.insn_size, 15u);
        for (unsigned i = 0; i < n; i++)
            (void)snprintf(bytes + 3 * i, sizeof(bytes) - 3 * i, " %02x",
                           run->emulation_failure.insn_bytes[i]);
    }
    log_error("vCPU %u: KVM cannot go on (internal error %u) at %#llx%s%s; see --check-host", v->id,
              run->internal.suberror, (unsigned long long)r.rip, *bytes ? ", instruction" : "",
              bytes);
}

/* Where nothing is in the guest's address space, an access is emulated. Where something is and the
 * host has no page behind it, KVM knows no answer: a block of memory that is not plugged, a mapped
 * file that was cut short. */
static void describe_missing(const struct vcpu *v)
{
    struct kvm_regs r = {0};
    (void)ioctl(v->kvm.fd, KVM_GET_REGS, &r);
    log_error("vCPU %u: the guest touched memory that is not there; the instruction is at %#llx",
              v->id, (unsigned long long)r.rip);
}

static void handle_exit(struct vcpu *v)
{
    const struct kvm_run *run = v->kvm.run;
    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        handle_io(v);
        break;
    case KVM_EXIT_MMIO:
        handle_mmio(v);
        break;
    case KVM_EXIT_INTR:
        break;
    case KVM_EXIT_SHUTDOWN:
        log_error("vCPU %u: triple fault", v->id);
        fault(v, VCPU_TRIPLE_FAULT);
        break;
    case KVM_EXIT_SYSTEM_EVENT:
        fault(v, run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? VCPU_SHUTDOWN
                 : run->system_event.type == KVM_SYSTEM_EVENT_RESET  ? VCPU_RESET
                                                                     : VCPU_TRIPLE_FAULT);
        break;
    case KVM_EXIT_INTERNAL_ERROR:
        describe_stuck(v);
        fault(v, VCPU_STUCK);
        break;
    case KVM_EXIT_FAIL_ENTRY:
        log_error("vCPU %u: the CPU refuses to enter the guest: reason %#llx", v->id,
                  (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
        fault(v, VCPU_HOST);
        break;
    default:
        log_error("vCPU %u: unexpected exit %u", v->id, run->exit_reason);
        fault(v, VCPU_STUCK);
        break;
    }
}

static void *vcpu_main(void *arg)
{
    struct vcpu *v = arg;
    char name[16];
    (void)snprintf(name, sizeof(name), "vcpu%u", v->id);
    (void)pthread_setname_np(pthread_self(), name);
    sigset_t kick;
    (void)sigemptyset(&kick);
    (void)sigaddset(&kick, KICK_SIGNAL);
    (void)pthread_sigmask(SIG_UNBLOCK, &kick, NULL);

    v->prepared = v->team->prepare(v->team->ctx, v);
    sandbox_enter(SANDBOX_VCPU, NULL);
    if (!park(v))
        return NULL;
    for (;;) {
        if (atomic_load(&v->team->park) || v->halted) {
            if (v->halted)
                vcpus_hold(v->team);
            complete_io(v);
            if (!park(v))
                return NULL;
            continue;
        }
        if (ioctl(v->kvm.fd, KVM_RUN, 0) == 0) {
            handle_exit(v);
        } else if (errno == EFAULT) {
            describe_missing(v);
            fault(v, VCPU_STUCK);
        } else if (errno != EINTR && errno != EAGAIN) {
            log_error("vCPU %u: KVM_RUN: %s", v->id, strerror(errno));
            fault(v, VCPU_HOST);
        }
    }
}

int vcpu_start(struct vcpu *v)
{
    sigset_t kick, old; /* blocked from birth, so that none arrives before the thread can use it */
    (void)sigemptyset(&kick);
    (void)sigaddset(&kick, KICK_SIGNAL);
    (void)pthread_sigmask(SIG_BLOCK, &kick, &old);
    int rc = -pthread_create(&v->thread, NULL, vcpu_main, v);
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc < 0)
        return rc;
    v->started = true;
    v->team->n++;
    return 0;
}

void vcpus_hold(struct vcpu_team *t)
{
    atomic_store(&t->park, true);
}

/* A signal that comes between the look at `park` and KVM_RUN would be lost, but for immediate_exit,
 * which KVM looks at once more on its way in. */
static void kick(struct vcpu *v)
{
    if (v->kvm.run) /* or there is nothing yet that could run */
        set_immediate_exit(v, 1);
    (void)pthread_kill(v->thread, KICK_SIGNAL);
}

static void wait_parked(struct vcpu_team *t)
{
    (void)pthread_mutex_lock(&t->lock);
    while (t->parked < t->n)
        (void)pthread_cond_wait(&t->changed, &t->lock);
    (void)pthread_mutex_unlock(&t->lock);
}

int vcpus_prepared(struct vcpu_team *t, const struct vcpu *v, unsigned n, struct err *e)
{
    wait_parked(t);
    for (unsigned i = 0; i < n; i++) {
        if (v[i].prepared < 0) {
            *e = v[i].why_not;
            return v[i].prepared;
        }
    }
    return 0;
}

void vcpus_park(struct vcpu_team *t, struct vcpu *v, unsigned n)
{
    vcpus_hold(t);
    for (unsigned i = 0; i < n; i++) {
        if (v[i].started)
            kick(&v[i]);
    }
    wait_parked(t);
}

void vcpus_resume(struct vcpu_team *t)
{
    (void)pthread_mutex_lock(&t->lock);
    atomic_store(&t->park, false);
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
}

void vcpus_end(struct vcpu_team *t, struct vcpu *v, unsigned n)
{
    if (t->n)
        vcpus_park(t, v, n);
    (void)pthread_mutex_lock(&t->lock);
    t->quit = true;
    (void)pthread_cond_broadcast(&t->changed);
    (void)pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < n; i++) {
        if (v[i].started)
            (void)pthread_join(v[i].thread, NULL);
        v[i].started = false;
    }
}
