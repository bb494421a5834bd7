/* guest-tests/lib/machine.h - the machine as its guest is promised it: addresses, ports and values.
 * Written down a second time on purpose: a change of what guests see must break a test. */
#pragma once

/* The boot loader's GDT and its selectors, and low memory that nobody uses. */
#define LOW_GDT        0x500
#define LOW_TRAMPOLINE 0x1000
#define GDT_LIMIT      0x27
#define SEL_CODE64     0x10
#define SEL_DATA       0x18
#define SEL_CODE32     0x20

#ifndef __ASSEMBLER__
/* I/O ports. */
enum {
    PORT_I8042_DATA = 0x60,
    PORT_I8042_COMMAND = 0x64,
    PORT_CMOS_INDEX = 0x70,
    PORT_CMOS_DATA = 0x71,
    PORT_DEBUG = 0xe9,
    PORT_SERIAL = 0x3f8,
    PORT_SERIAL_SCRATCH = 0x3ff,
    PORT_PVPANIC = 0x505,
    PORT_SLEEP_CONTROL = 0x600,
    PORT_SLEEP_STATUS = 0x601,
    PORT_RESET = 0x602,
    PORT_PCI_ADDRESS = 0xcf8,
    PORT_PCI_DATA = 0xcfc,
    /* Ports and addresses where there is nothing. */
    PORT_NOTHING = 0x1234,
};
enum {
    I8042_PULSE_RESET = 0xfe,
    I8042_INPUT_FULL = 0x02,
    PVPANIC_PANICKED = 0x01,
    SLEEP_S5 = 5 << 2 | 0x20, /* type 5 and SLP_EN */
    RESET_VALUE = 1,
};

/* Physical addresses, which are the virtual ones too. */
#define MMIO_HOLE_FIRST 0xc0000000ull
#define MMIO_NOTHING    0xcabc0000ull
#define MMIO_SYSCON     0xd8000000ull
#define MMIO_ECAM       0xe0000000ull /* PCI configuration: a bus of 32 slots of 8 functions */
#define MMIO_IOAPIC     0xfec00000ull
#define MMIO_LAPIC      0xfee00000ull
enum { VIRTIO_WINDOW = 0x1000, IOAPIC_PINS = 24 };
enum { SYSCON_POWER_OFF = 1, SYSCON_RESET = 2 };
#endif
