/* guest-tests/lib/pci.c - see pci.h. ECAM is the way that is used when both would do. */
#include "pci.h"

enum { ADDRESS_ENABLE = 1u << 31, FUNCTIONS = 8 };

uint64_t mmio_read(uint64_t at, unsigned size)
{
    switch (size) {
    case 1:
        return mmio_read8(at);
    case 2:
        return mmio_read16(at);
    case 4:
        return mmio_read32(at);
    default:
        return mmio_read64(at);
    }
}

void mmio_write(uint64_t at, unsigned size, uint64_t v)
{
    switch (size) {
    case 1:
        mmio_write8(at, (uint8_t)v);
        break;
    case 2:
        mmio_write16(at, (uint16_t)v);
        break;
    case 4:
        mmio_write32(at, (uint32_t)v);
        break;
    default:
        mmio_write64(at, v);
        break;
    }
}

uint32_t port_read(uint16_t port, unsigned size)
{
    switch (size) {
    case 1:
        return port_read8(port);
    case 2:
        return port_read16(port);
    default:
        return port_read32(port);
    }
}

void port_write(uint16_t port, unsigned size, uint32_t v)
{
    switch (size) {
    case 1:
        port_write8(port, (uint8_t)v);
        break;
    case 2:
        port_write16(port, (uint16_t)v);
        break;
    default:
        port_write32(port, v);
        break;
    }
}

static uint64_t ecam(unsigned slot, unsigned off)
{
    return MMIO_ECAM + (uint64_t)slot * FUNCTIONS * PCI_FUNCTION_BYTES + off;
}

uint64_t pci_read(unsigned slot, unsigned off, unsigned size)
{
    return mmio_read(ecam(slot, off), size);
}

void pci_write(unsigned slot, unsigned off, unsigned size, uint64_t v)
{
    mmio_write(ecam(slot, off), size, v);
}

static uint16_t select_register(unsigned slot, unsigned off)
{
    port_write32(PORT_PCI_ADDRESS, ADDRESS_ENABLE | slot << 11 | (off & 0xfc));
    return (uint16_t)(PORT_PCI_DATA + off % 4);
}

uint32_t pci_port_read(unsigned slot, unsigned off, unsigned size)
{
    return port_read(select_register(slot, off), size);
}

void pci_port_write(unsigned slot, unsigned off, unsigned size, uint32_t v)
{
    port_write(select_register(slot, off), size, v);
}

unsigned pci_capability(unsigned slot, uint8_t id, unsigned after)
{
    enum { MOST = (256 - PCI_STD_HEADER_SIZEOF) / 4 }; /* a list that is longer has a loop */
    unsigned at = (unsigned)pci_read(slot, after ? after + 1 : PCI_CAPABILITY_LIST, 1);
    for (unsigned i = 0; at && i < MOST; i++) {
        CHECK(at >= PCI_STD_HEADER_SIZEOF && at % 4 == 0);
        if (pci_read(slot, at, 1) == id)
            return at;
        at = (unsigned)pci_read(slot, at + PCI_CAP_LIST_NEXT, 1);
    }
    CHECK_EQ(at, 0);
    return 0;
}

uint64_t pci_bar(unsigned slot, unsigned bar, bool *io)
{
    unsigned at = PCI_BASE_ADDRESS_0 + 4 * bar;
    uint32_t low = (uint32_t)pci_read(slot, at, 4);
    *io = low & PCI_BASE_ADDRESS_SPACE_IO;
    if (*io)
        return low & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
    uint64_t high = low & PCI_BASE_ADDRESS_MEM_TYPE_64 ? pci_read(slot, at + 4, 4) : 0;
    return high << 32 | (low & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK);
}

void pci_command(unsigned slot, uint16_t bits)
{
    pci_write(slot, PCI_COMMAND, 2, bits);
}
