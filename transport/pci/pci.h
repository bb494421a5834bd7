/* transport/pci/pci.h - a PCI bus with one host bridge, and functions on it: configuration space,
 * BARs that the guest may move, capabilities, MSI-X and INTx. Nothing here knows virtio.
 *
 * Configuration space is reached by ECAM and by ports 0xcf8 and 0xcfc (PCI Local Bus 3.0, 3.2.2.3;
 * PCI Express 5.0, 7.2.2). BARs have addresses from the start, since there is no firmware; what a
 * guest moves outside of the windows, or disables, answers nobody. vCPU threads make accesses, any
 * thread raises interrupts. */
#pragma once

#include "base/base.h"
#include "base/bus.h"
#include "base/loop.h"
#include "base/state.h"

struct pci_bus;
struct pci_function;

enum { PCI_SLOTS = 32, PCI_PINS = 4, PCI_BARS = 6, PCI_MSIX_MAX = 2048, PCI_NO_VECTOR = 0xffff };

/* How interrupts leave the bus: KVM's, or a test's. */
struct pci_irq_ops {
    /* One message-signalled interrupt: *fd is an eventfd, the bus's from now on, and each signal of
     * it sends the message that msi_route() gave to *id last. Control threads. */
    int (*msi_open)(void *ctx, unsigned *id, int *fd);
    int (*msi_route)(void *ctx, unsigned id, uint64_t address, uint32_t data);
    void (*msi_close)(void *ctx, unsigned id, int fd); /* closes fd */
    /* A level-triggered line, pin 0 to 3 after swizzling. A signal of *trigger asserts it; when the
     * guest ends the interrupt it is deasserted and *resample is signalled. Both are the bus's.
     * Any thread, at the first time that a function asserts it. */
    int (*intx_open)(void *ctx, unsigned pin, int *trigger, int *resample);
};

struct pci_window {
    uint64_t base, len; /* len 0: there is none */
};
struct pci_env {
    struct bus *pio, *mmio;
    struct loop *loop; /* watches the resample descriptors */
    gpa_t ecam;        /* 1 MiB: one bus */
    struct pci_window io, mem32, mem64;
    const struct pci_irq_ops *irq;
    void *irq_ctx;
};
/* Maps ECAM, the configuration ports and the windows; slot 0 is the host bridge. */
int CHECKED pci_bus_new(const struct pci_env *env, struct pci_bus **out);
void pci_bus_free(struct pci_bus *b); /* after its functions; NULL is fine */
void pci_bus_reset(
    struct pci_bus *b); /* the configuration address port; functions reset themselves */
void pci_bus_save(const struct pci_bus *b, struct state_out *s);
int CHECKED pci_bus_load(struct pci_bus *b, struct state_in *s);

struct pci_ids {
    uint16_t vendor, device, subsystem_vendor, subsystem;
    uint8_t revision;
    uint32_t class_code; /* 24 bits: class, subclass, interface */
};

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };
struct pci_bar {
    enum pci_bar_kind kind;
    bool prefetchable;
    uint64_t size;                /* a power of two; I/O at least 4, memory at least 16 */
    const struct region_ops *ops; /* accesses never leave the BAR; NULL: it is plain memory that
                                     the owner maps in `moved`, or MSI-X's own */
};

struct pci_function_ops {
    /* BAR `bar` answers at guest address or port `at` (on), or no longer does (!on). A move is two
     * calls: off where it was, then on where it is. May be NULL. Serialised for a function; the
     * last word is always the truth. */
    void (*moved)(void *ctx, unsigned bar, bool on, uint64_t at);
    /* Configuration accesses inside [hook_at, hook_at + hook_len), set by pci_hook(); the bytes in
     * the configuration space have been updated by a write already, and are what is returned unless
     * `read` changes them. `cfg` points at hook_at. Any vCPU thread, serialised for a function. */
    void (*hook_read)(void *ctx, uint8_t *cfg, unsigned off, unsigned size);
    void (*hook_write)(void *ctx, uint8_t *cfg, unsigned off, unsigned size);
};

/* In the lowest free slot, or in `slot` unless that is 0; -ENOSPC when there is none. -EBUSY:
 * taken. `name` is static. Then BARs, capabilities and MSI-X are added; pci_function_start() ends
 * that, gives BARs their addresses and puts the function on the bus. */
int CHECKED pci_function_new(struct pci_bus *b, const char *name, const struct pci_ids *ids,
                             unsigned slot, const struct pci_function_ops *ops, void *ctx,
                             struct pci_function **out);
void pci_add_bar(struct pci_function *f, unsigned index, const struct pci_bar *bar);
/* `body` is what follows the ID and the next pointer; `writable` has as many bytes, with a bit set
 * for each that the guest may change (NULL: none). Returns the capability's offset. */
unsigned pci_add_capability(struct pci_function *f, uint8_t id, const void *body, unsigned len,
                            const uint8_t *writable);
/* Registers of the function's own from `at` on, behind its capabilities; `writable` as above. They
 * are 0 at first. */
void pci_add_registers(struct pci_function *f, unsigned at, const uint8_t *writable, unsigned len);
void pci_hook(struct pci_function *f, unsigned at, unsigned len);
/* A table of `vectors` entries and its pending bits fill BAR `bar`, which is added for it. */
void pci_add_msix(struct pci_function *f, unsigned bar, unsigned vectors);
int CHECKED pci_function_start(struct pci_function *f); /* -ENOSPC: a window is too small */
/* NULL and half-built are fine. Calls nothing back: reset first, to have `moved` say "off". */
void pci_function_free(struct pci_function *f);
/* As at power-on: command, BARs (back to their first addresses), MSI-X, INTx. */
void pci_function_reset(struct pci_function *f);
void pci_function_save(const struct pci_function *f, struct state_out *s);
int CHECKED pci_function_load(struct pci_function *f, struct state_in *s);

unsigned pci_slot(const struct pci_function *f);
unsigned pci_msix_vectors(const struct pci_function *f);
bool pci_msix_enabled(const struct pci_function *f);
/* Sends vector v, or remembers it as pending while it or the function is masked or may not master
 * the bus. Out of range, or MSI-X disabled: nothing happens. Any thread, no lock. */
void pci_msix_raise(struct pci_function *f, unsigned v);
/* What is pending is sent no more: whoever raised it was reset. */
void pci_msix_forget(struct pci_function *f);
/* The function's INTA#. The level is the caller's to keep: true until it has nothing to say. Shown
 * in the status register's interrupt bit; reaches the guest unless MSI-X is on or the command
 * register disables it. Any thread. */
void pci_intx_set(struct pci_function *f, bool level);

/* What PCI_CAP_ID_VNDR's window needs (virtio 1.4, 4.1.4.9): an access to a BAR as if the guest had
 * made it, wherever that BAR is. False when there is no such BAR or range, and *val is 0 then. */
bool pci_bar_access(struct pci_function *f, unsigned bar, uint64_t off, unsigned size, bool write,
                    uint64_t *val);
