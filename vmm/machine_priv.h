/* vmm/machine_priv.h - the machine from inside: machine.c has its life, machine_loops.c its
 * event loops, machine_sandbox.c what its threads may do, machine_devices.c its virtio devices and
 * how they reach the guest. */
#pragma once

#include <pthread.h>

#include "arch/x86_64/cpu.h"
#include "arch/x86_64/devices.h"
#include "base/log.h"
#include "transport/pci/i6300esb.h"
#include "transport/pci/pci.h"
#include "vmm/machine.h"
#include "vmm/vcpu.h"

struct machine {
    const struct vm_config *cfg;
    struct platform platform;
    struct mmio_slot slots[LAYOUT_MMIO_MAX];
    int kernel_fd, initrd_fd;

    struct vm vm;
    struct gmem *mem;
    struct bus *pio, *mmio;
    struct loop *io[IO_THREADS_MAX + 1]; /* the first has the console and the platform, too */
    unsigned n_io; /* those that were asked for, and perhaps one of networks in user space */
    struct chardev *console;
    struct serial *serial;
    int serial_irq;
    struct cmos *cmos;
    struct pm *pm;
    struct vmgenid *vmgenid;
    int vmgenid_irq;
    struct pci_bus *pci;       /* NULL: no device is on it */
    struct i6300esb *watchdog; /* NULL: none is asked for */
    struct log_limit bites;
    uint64_t address_limit;     /* the first guest-physical one that there is not */
    uint64_t high_end;          /* where RAM and devices' memory end */
    struct transport **devices; /* as many as the configuration has, in its order */
    unsigned n_devices;         /* of them are there */
    bool ending; /* the VM is about to go: what KVM would undo for us is not undone */

    struct kvm_cpuid2 *cpuid;     /* NULL: not known; until all vCPUs have it */
    bool cpuid_asked, vcpus_made; /* while building: which thread waits for what of the other */
    pthread_cond_t progress;      /* one of them is true; with `lock` */
    struct vcpu_team team;
    struct vcpu *vcpus;
    struct cpu_state **initial; /* of each vCPU; only with --on-reboot restart */
    struct irqchip_state *initial_irqchip;

    bool paused; /* the main thread's */
    int wake_fd;
    pthread_mutex_t lock;
    int verdict; /* the first one counts; but an end counts more than a reset */
    struct log_limit resets;
};

/* The guest, or a device on its behalf, ends or restarts the machine; any thread of it. */
void machine_event(struct machine *m, enum platform_event ev);
/* Pulses an interrupt line whenever the eventfd is signalled. */
int CHECKED machine_irq_line(struct machine *m, unsigned gsi, int *out, struct err *e);

/* Threads that are made from here on wait for sandbox_seal(), to be confined. */
int CHECKED confine(const struct vm_config *cfg, struct err *e);

int CHECKED loops_build(struct machine *m, struct err *e);
/* A device's, its own first; how many. */
unsigned loops_of(const struct machine *m, unsigned device, struct loop *loops[IO_THREADS_MAX]);
bool is_console(const struct device_config *d);
int CHECKED loops_start(struct machine *m, struct err *e);
void loops_stop(struct machine *m);
void loops_free(struct machine *m); /* nothing is left on them */

/* Where the devices of a configuration will be: the platform's description, and `slots`, which it
 * refers to. Refuses more of them than there is room for. */
int CHECKED devices_describe(const struct vm_config *cfg, struct platform *p,
                             struct mmio_slot slots[LAYOUT_MMIO_MAX], struct err *e);
int CHECKED devices_build(struct machine *m, struct err *e);
void devices_pause(struct machine *m); /* the vCPUs are parked, the loops run; so for the next */
void devices_resume(struct machine *m);
void devices_reset(struct machine *m); /* as at power-on; the loops run */
void devices_free(struct machine *m);  /* half-built is fine */
