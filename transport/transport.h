/* transport/transport.h - guest-visible shells around one virtio device, all alike from outside. A
 * transport decodes registers and delivers notifications; everything that means something happens
 * in vdev_ctl.h.
 *
 * What a transport needs of the machine comes in as functions, so that tests can be the machine. */
#pragma once

#include "base/base.h"
#include "base/bus.h"
#include "base/state.h"
#include "devices/virtio/vdev_ctl.h"

struct pci_bus;

/* A guest's write that counts on an eventfd without an exit to user space. */
struct doorbell {
    bool port;    /* an I/O port, not MMIO */
    uint64_t at;  /* its address */
    unsigned len; /* bytes wide; 0: any width */
    bool any;     /* of any value, else of this one only: */
    uint64_t value;
    int fd;
};
struct transport_env {
    struct bus *mmio;    /* for the mmio kinds */
    struct pci_bus *pci; /* for the pci kinds */
    /* Binds it, or unbinds what was bound. A refusal is no error: the write then traps and has the
     * same effect. Control threads. */
    int (*doorbell)(void *ctx, const struct doorbell *b, bool on);
    /* Host memory appears in the guest's address space, or what is at `at` does no longer. On a
     * refusal, such as -EEXIST where other memory is, nothing is there. Control threads. NULL: the
     * guest sees no device's memory. */
    int (*window)(void *ctx, gpa_t at, void *host, uint64_t len, bool on);
    void *ctx;
};

enum transport_kind {
    TRANSPORT_PCI,              /* virtio 1.4, 4.1 */
    TRANSPORT_PCI_TRANSITIONAL, /* the same with the 0.9.5 I/O BAR in front */
    TRANSPORT_PCI_LEGACY,       /* the 0.9.5 I/O BAR only */
    TRANSPORT_MMIO,             /* 4.2, version 2 */
    TRANSPORT_MMIO_LEGACY,      /* 4.2.4, version 1 */
    TRANSPORT_KINDS,
};
extern const char *const transport_names[]; /* by kind, NULL-terminated: "pci", "mmio-legacy" */
bool transport_is_pci(enum transport_kind k);
/* Whether a device type has a legacy interface, and so a transitional PCI device ID (4.1.2.1). */
bool transport_has_legacy(uint16_t virtio_id);

struct transport_place {
    gpa_t base;    /* mmio kinds: a page of registers, */
    int irq_fd;    /* and an eventfd that pulses the interrupt line; owned on success; */
    gpa_t shm;     /* address space for the device's shared memory, if it has any */
    unsigned slot; /* pci kinds: 0 is the next free one */
};

struct transport;
/* Owns the device on success. -EOPNOTSUPP: the device has no such interface; -ENOSPC: no slot. */
int CHECKED transport_new(enum transport_kind k, struct vdev *d, const struct transport_env *env,
                          const struct transport_place *at, struct transport **out);
void transport_free(struct transport *t);                 /* and its device; NULL is fine */
void transport_reset(struct transport *t);                /* as at power-on */
struct vdev *transport_device(const struct transport *t); /* it stays the transport's */
/* With the device paused; its own state follows in the stream. */
void transport_save(struct transport *t, struct state_out *s);
int CHECKED transport_load(struct transport *t, struct state_in *s);
