/* transport/virtio_pci.h - inside the PCI transport: the function (virtio_pci.c), its register
 * files for modern drivers (virtio_pci_modern.c) and for legacy ones (virtio_pci_legacy.c).
 *
 * Locks, in this order: the PCI function's, transport (the selectors), device control; then, each
 * alone, `isr_lock` and `doorbell_lock`. */
#pragma once

#include <stdatomic.h>

#include "transport/pci/pci.h"
#include "transport/transport_priv.h"

enum { BAR_LEGACY = 0, BAR_MSIX = 1, BAR_SHM = 2, BAR_REGS = 4 };

/* Where the modern structures are in BAR_REGS; one doorbell of four bytes for each queue. */
enum {
    REGS_COMMON = 0x0000,
    REGS_ISR = 0x1000,
    REGS_DEVICE = 0x2000,
    REGS_NOTIFY = 0x3000,
    REGS_STRIDE = 0x1000,
    NOTIFY_MULTIPLIER = 4,
    COMMON_LEN = 64,
};
enum { ISR_QUEUE = 1, ISR_CONFIG = 2 };

struct virtio_pci {
    struct transport t;
    enum transport_kind kind;
    struct pci_function *f;
    unsigned n_queues; /* with the administration virtqueue */
    uint32_t device_feature_select, driver_feature_select;
    uint16_t queue_select;

    pthread_mutex_t isr_lock; /* bits and line change together */
    uint8_t isr;

    pthread_mutex_t doorbell_lock;
    bool regs_on, legacy_on;
    uint64_t regs_at, legacy_at;

    _Atomic uint16_t config_vector;
    struct virtio_pci_queue {
        _Atomic uint16_t vector; /* PCI_NO_VECTOR: none */
        bool listening;          /* under doorbell_lock */
    } queues[];
};

extern const struct region_ops virtio_pci_regs_ops, virtio_pci_legacy_ops; /* ctx: virtio_pci */
/* The status register was written 0 and the device is reset: what belongs to it is so too. */
void virtio_pci_registers_reset(struct virtio_pci *p);
uint8_t virtio_pci_isr_read(struct virtio_pci *p); /* and all of it is acknowledged */
/* An event's vector as a driver writes it: one that there is not is none (4.1.5.1.2.1). */
void virtio_pci_set_vector(struct virtio_pci *p, _Atomic uint16_t *event, uint16_t v);
