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
/* Runs until the guest is done, the user quits, or one of the signals that main() blocked comes.
 * *signo is set for MACHINE_SIGNALLED. Called once, on the main thread. */
enum machine_end machine_run(struct machine *m, int *signo);
void machine_free(struct machine *m); /* build in reverse; NULL is fine */

/* Writes the device tree of the machine that cfg describes. */
int CHECKED machine_dump_dtb(const struct vm_config *cfg, struct err *e);
