/* guest-tests/lib/pci.h - PCI configuration space by both ways there are, capabilities and BARs
 * (PCI Local Bus 3.0, 3.2.2.3 and 6). Only function 0 of each slot of bus 0 is meant. */
#pragma once

#include <linux/pci_regs.h>

#include "guest.h"

enum { PCI_SLOTS = 32, PCI_FUNCTION_BYTES = 4096, PCI_NOBODY = 0xffff };

/* Any offset, `size` 1, 2, 4, or 8 by ECAM only. */
uint64_t pci_read(unsigned slot, unsigned off, unsigned size);
void pci_write(unsigned slot, unsigned off, unsigned size, uint64_t v);
/* The same through the two ports. */
uint32_t pci_port_read(unsigned slot, unsigned off, unsigned size);
void pci_port_write(unsigned slot, unsigned off, unsigned size, uint32_t v);

/* The next capability with this ID behind the one at `after`, or the first for 0; 0: none. */
unsigned pci_capability(unsigned slot, uint8_t id, unsigned after);
/* Where a BAR is: an address, or a port if *io. */
uint64_t pci_bar(unsigned slot, unsigned bar, bool *io);
/* Sets these bits of the command register and clears all others. */
void pci_command(unsigned slot, uint16_t bits);

/* Accesses of 1, 2, 4 or 8 bytes, to memory and to ports (not of 8). */
uint64_t mmio_read(uint64_t at, unsigned size);
void mmio_write(uint64_t at, unsigned size, uint64_t v);
uint32_t port_read(uint16_t port, unsigned size);
void port_write(uint16_t port, unsigned size, uint32_t v);
