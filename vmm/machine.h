/* vmm/machine.h - everything wired together: memory, buses, devices, vCPUs, and the one place where
 * it is decided how a guest's life ends. The only layer that knows all others. */
#pragma once

#include "vmm/config.h"

struct machine;

/* How a run ended; the process's exit status follows from it. */
enum machine_end {
    MACHINE_POWERED_OFF, /* 0: by the guest */
    MACHINE_QUIT,        /* 0: Ctrl-A x */
    MACHINE_REBOOTED,    /* 0: a reset, and --on-reboot exit */
    MACHINE_CRASHED,     /* 3: triple fault, panic, or KVM could not go on */
    MACHINE_FAILED,      /* 1: the host's fault */
    MACHINE_SIGNALLED,   /* 128 + signal */
};

/* The guest does not run yet. The config must outlive the machine. */
int CHECKED machine_build(const struct vm_config *cfg, struct machine **out, struct err *e);
/* The guest runs when this returns. Called once. */
void machine_start(struct machine *m);

/* What else the main thread looks after while the guest runs. */
struct machine_also {
    int fd;                       /* readable: ready() has something to do; -1: there is none */
    int (*timeout_ms)(void *ctx); /* ready() is due after that at the latest; -1: never */
    void (*ready)(void *ctx);     /* must not block */
    void *ctx;
};
/* Waits until the guest is done, the user quits, or one of the signals that main() blocked comes.
 * *signo is set for MACHINE_SIGNALLED. Called once, on the main thread. `also` may be NULL. */
enum machine_end machine_run(struct machine *m, const struct machine_also *also, int *signo);

/* A paused guest executes nothing, and its devices touch none of its memory: vCPUs first, then
 * queues, which are drained. What ends a guest ends a paused one too; a reset waits until it is
 * resumed. Main thread, after machine_start(); to ask for what is already so is fine. */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);
bool machine_paused(const struct machine *m);
/* The device that the configuration has at this index. */
struct vdev *machine_device(const struct machine *m, unsigned i);

void machine_free(struct machine *m); /* build in reverse; NULL is fine */

/* Writes the device tree of the machine that cfg describes. */
int CHECKED machine_dump_dtb(const struct vm_config *cfg, struct err *e);
