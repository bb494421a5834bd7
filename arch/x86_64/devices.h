/* arch/x86_64/devices.h - the few platform devices that a PC kernel expects and virtio does not
 * replace: serial port, CMOS clock, keyboard controller (reset only), power management, pvpanic,
 * debug console.
 *
 * Each maps itself on the port bus, is called by any vCPU thread, and saves and loads itself. A
 * machine event is reported through struct platform_events, on the calling vCPU's thread. */
#pragma once

#include "arch/x86_64/layout.h"
#include "base/base.h"
#include "base/bus.h"
#include "base/chardev.h"
#include "base/gmem.h"
#include "base/state.h"

enum platform_event { PLATFORM_POWER_OFF, PLATFORM_RESET, PLATFORM_PANIC };
struct platform_events {
    void (*raise)(void *ctx, enum platform_event ev);
    void *ctx;
};

/* 16550A with 16-byte FIFOs on PORT_SERIAL. irq_fd is an eventfd that pulses IRQ_SERIAL (edge);
 * borrowed. Output goes to `out`, whose first client it becomes; free `out` first. */
struct serial;
int CHECKED serial_new(struct bus *pio, struct chardev *out, int irq_fd, struct serial **s);
void serial_free(struct serial *s);
void serial_reset(struct serial *s);
void serial_save(const struct serial *s, struct state_out *o);
int CHECKED serial_load(struct serial *s, struct state_in *i);

/* MC146818: time of day in UTC from the host's clock plus an offset that the guest may set, 128
 * bytes of CMOS RAM with the memory size where firmware leaves it; no interrupts. */
struct cmos;
int CHECKED cmos_new(struct bus *pio, uint64_t ram_low, uint64_t ram_high, struct cmos **c);
void cmos_free(struct cmos *c);
void cmos_reset(struct cmos *c);
void cmos_save(const struct cmos *c, struct state_out *o);
int CHECKED cmos_load(struct cmos *c, struct state_in *i);

/* Stateless: the 8042's reset line (command 0xfe), ACPI sleep control and reset registers, the
 * syscon word of --discovery fdt (1 powers off, 2 resets) on the MMIO bus, pvpanic, and the debug
 * console, which copies bytes to `debug` (NULL: dropped). */
struct pm;
int CHECKED pm_new(struct bus *pio, struct bus *mmio, const struct platform_events *ev,
                   struct chardev *debug, struct pm **out);
void pm_free(struct pm *p);

/* The machine's generation ID ("Virtual Machine Generation ID", Microsoft): 128 random bits in RAM,
 * at LAYOUT_VMGENID, that are others whenever the guest goes on from a state which it, or a copy of
 * it, has gone on from before; so that it makes its random numbers anew. A reset is no such thing.
 * irq_fd is an eventfd that pulses IRQ_GED; borrowed, as is the memory. Not called by two threads
 * at the same time. There is nothing to save: a machine that is restored has another ID. */
struct vmgenid;
int CHECKED vmgenid_new(const struct gmem *m, int irq_fd, struct vmgenid **out);
void vmgenid_free(struct vmgenid *v);
/* Into RAM, before the guest's first instruction. */
void vmgenid_write(const struct vmgenid *v);
/* Another one, in RAM too, and the guest is told; -errno if the host has no random numbers. */
int CHECKED vmgenid_change(struct vmgenid *v);
