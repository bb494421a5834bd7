/* tests/rig/rig_priv.h - what the rig's own files share. */
#pragma once

#include "base/gmem.h"
#include "tests/rig/rig.h"

extern const struct rig_regs rig_mmio_regs, rig_mmio_legacy_regs, rig_pci_regs, rig_pci_legacy_regs;
extern const struct rig_ring rig_split_ring, rig_packed_ring;

/* The legacy ring (2.7.2) is one piece; the used ring begins at the next page. */
enum { RIG_PAGE = 4096 };

/* The machine's half of PCI: before the device is put on the bus, and after it was taken off. */
struct pci_bus *rig_pci_new(struct rig *r);
void rig_pci_free(struct rig *r);
