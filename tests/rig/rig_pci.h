/* tests/rig/rig_pci.h - a PCI function as the rig found it. */
#pragma once

#include <linux/virtio_pci.h>

#include "tests/rig/rig_priv.h"
#include "transport/pci/pci.h"

enum { RIG_VECTORS = 256, RIG_VECTOR_CONFIG = 0, RIG_VECTOR_QUEUES = 1 };

/* Of the common configuration, and newer than the UAPI header. */
enum {
    RIG_QUEUE_NOTIF_CONFIG = 56,
    RIG_QUEUE_RESET = 58,
    RIG_ADMIN_INDEX = 60,
    RIG_ADMIN_NUM = 62,
    RIG_CAP_SHARED_MEMORY = 8,
    RIG_CAP_VENDOR = 9,
};

struct rig_pci {
    struct pci_bus *bus;
    unsigned slot;
    struct rig_bar {
        uint64_t at, size; /* size 0: there is none */
        bool io;
    } bar[PCI_BARS];
    struct rig_cap {
        bool there;
        unsigned at, bar; /* in configuration space; of what it refers to */
        uint32_t off, len;
    } cap[VIRTIO_PCI_CAP_PCI_CFG + 1]; /* by type */
    uint32_t multiplier;
    uint32_t notify_off[RIG_QUEUES], notify_data[RIG_QUEUES];
    unsigned msix, vectors; /* its capability, how many */

    struct rig_msi {
        int fd;
        uint32_t data; /* the vector, as msix_up() programs it */
    } msi[RIG_VECTORS];
    unsigned n_msi;
    int trigger, resample; /* INTx, or -1 */
    unsigned count, what;  /* interrupts; 1: of queues, 2: of the configuration */
};

void rig_pci_up(struct rig *r); /* finds it, and turns on what a driver does */
uint32_t rig_pci_get(struct rig *r, unsigned off, unsigned size); /* configuration space */
void rig_pci_put(struct rig *r, unsigned off, unsigned size, uint32_t v);
void rig_bar_access(struct rig *r, unsigned bar, uint64_t off, unsigned size, bool write,
                    uint64_t *v);
/* A structure that a capability refers to; the common one of them. */
uint64_t rig_structure(struct rig *r, unsigned type, unsigned off, unsigned size);
void rig_structure_set(struct rig *r, unsigned type, unsigned off, unsigned size, uint64_t v);
uint64_t rig_common(struct rig *r, unsigned off, unsigned size);
void rig_common_set(struct rig *r, unsigned off, unsigned size, uint64_t v);
void rig_pci_collect(struct rig *r); /* interrupts, into count and, with MSI-X, what */
void rig_pci_end_of_interrupt(struct rig *r);
