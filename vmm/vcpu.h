/* vmm/vcpu.h - a thread that runs one vCPU, decodes its exits, and parks when it is told to. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/bus.h"
#include "kvm/kvm.h"

enum vcpu_fault {
    VCPU_TRIPLE_FAULT,
    VCPU_STUCK, /* KVM_EXIT_INTERNAL_ERROR: it met what it cannot emulate */
    VCPU_HOST,  /* KVM_RUN itself failed */
    VCPU_SHUTDOWN,
    VCPU_RESET,
};

struct vcpu;
struct vcpu_team {                                 /* shared by all vCPUs of a machine */
    struct bus *pio, *mmio;                        /* set before the first vCPU starts */
    int (*prepare)(void *ctx, struct vcpu *v);     /* first thing on the vCPU's thread */
    void (*fault)(void *ctx, enum vcpu_fault why); /* on the vCPU's thread; then it parks */
    void *ctx;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned n, parked;
    atomic_bool park; /* go to the parking place, as soon as can be */
    bool quit;        /* and end there */
};

struct vcpu {
    struct vcpu_team *team;
    unsigned id;
    struct vcpu_fd kvm;
    pthread_t thread;
    bool started, halted; /* halted: after a fault, until reset */
    int prepared;         /* what prepare() returned, and why it failed */
    struct err why_not;
};

/* Zero but for what its owner calls; it parks all. */
void vcpu_team_init(struct vcpu_team *t);
void vcpu_team_destroy(struct vcpu_team *t);

/* The thread prepares the vCPU and parks. */
int CHECKED vcpu_start(struct vcpu *v);
/* Waits until all that were started are prepared. */
int CHECKED vcpus_prepared(struct vcpu_team *t, const struct vcpu *v, unsigned n, struct err *e);
/* Sends all threads to park, and returns when they are there, with no I/O half done. */
void vcpus_park(struct vcpu_team *t, struct vcpu *v, unsigned n);
/* Asks for the same and does not wait; for a vCPU's own thread. */
void vcpus_hold(struct vcpu_team *t);
void vcpus_resume(struct vcpu_team *t);
void vcpus_end(struct vcpu_team *t, struct vcpu *v, unsigned n); /* joins */
