/* transport/pci/pci_priv.h - what the files of the PCI layer share: a function and its parts, and
 * the bus. pci.h is the contract.
 *
 * Locks, outermost first:
 *   function.lock   its configuration space; `moved` and the hooks run under it
 *   the owner's own locks
 *   msix.lock       the vector table; irq_ops' MSI functions run under it
 * Window accesses find their BAR without a lock and call its ops with none held, so whatever a BAR
 * does may wait for configuration accesses of other vCPUs. Ops that pci_bar_access() calls out of a
 * hook run under function.lock: what an owner calls from its ops (raise, intx_set, enabled) never
 * takes it. */
#pragma once

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "transport/pci/pci.h"

enum { CONFIG_SIZE = PCI_CFG_SPACE_SIZE };
/* struct bar's `at` while it answers nobody: no BAR can be at an odd address. */
#define BAR_NOWHERE 1ull

struct bar {
    struct pci_bar is; /* as it was added */
    void *ctx;         /* of is.ops */
    uint64_t home;     /* where it is at power-on */
    _Atomic uint64_t at;
};

struct msix_vector {
    uint32_t word[4]; /* as the guest sees it: address, upper address, data, control */
    /* Made when it is first needed, kept until the function is freed. */
    int fd;
    unsigned id;
    bool routed;
    uint64_t routed_address;
    uint32_t routed_data;
    atomic_int live; /* fd while the vector may be sent, otherwise -1 */
};
struct msix {
    unsigned n, cap; /* 0, 0: there is none */
    uint64_t pba;    /* offset in the BAR */
    pthread_mutex_t lock;
    atomic_bool enabled;
    bool sending; /* enabled, not masked as a whole, bus mastering is on */
    struct msix_vector *vector;
    _Atomic uint64_t *pending; /* one bit for each */
    struct log_limit failures;
};

struct pci_function {
    struct pci_bus *bus;
    const char *name;
    unsigned slot;
    const struct pci_function_ops *ops;
    void *ctx;
    int error; /* of an addition; pci_function_start() returns it */

    pthread_mutex_t lock;
    uint8_t config[CONFIG_SIZE], initial[CONFIG_SIZE];
    uint8_t writable[CONFIG_SIZE]; /* a bit for each that the guest may change */
    unsigned last_cap, free_at;    /* where capabilities end */
    unsigned hook_at, hook_len;
    struct bar bars[PCI_BARS];
    struct msix msix;
    atomic_bool level, intx_allowed; /* INTA#, and whether it may be seen */
};

struct intx_pin { /* shared by every fourth slot */
    struct pci_bus *bus;
    atomic_bool open; /* both of these are there, with pins_lock */
    int trigger, resample;
    struct loop_task watch_it;
    struct loop_watch watch; /* of resample */
    struct log_limit refused;
};
struct window {
    struct pci_bus *bus;
    struct pci_window is;
    bool io;
};
struct pci_bus {
    struct pci_env env;
    _Atomic uint32_t config_address;
    struct pci_function *bridge;
    struct pci_function *functions[PCI_SLOTS]; /* those that were started */
    uint32_t taken;                            /* a bit for each slot */
    struct window windows[3];
    unsigned n_mapped; /* of the regions on the two buses */
    struct intx_pin pins[PCI_PINS];
    pthread_mutex_t pins_lock; /* a leaf */
    struct log_limit unclaimed;
};

static inline unsigned get_command(const struct pci_function *f)
{
    return (unsigned)get_bytes(f->config + PCI_COMMAND, 2);
}

/* Bytes past the end of the configuration space read as ones, and are not written. */
uint64_t config_read(struct pci_function *f, unsigned off, unsigned size);
void config_write(struct pci_function *f, unsigned off, unsigned size, uint64_t val);

/* An access that lies within the BAR. */
void bar_access(const struct bar *r, uint64_t off, unsigned size, bool write, uint64_t *val);

/* Brings delivery in line with the registers. */
void msix_obey(struct pci_function *f);
void msix_reset(struct pci_function *f); /* the table; after msix_obey() */
void msix_free(struct pci_function *f);
void msix_save(const struct pci_function *f, struct state_out *s);
/* Reads into a table of f->msix.n vectors and its pending bits. */
struct msix_image {
    uint32_t (*word)[4];
    uint64_t *pending;
};
int CHECKED msix_image_get(const struct pci_function *f, struct state_in *s,
                           struct msix_image *out);
void msix_image_free(struct msix_image *i);
/* Takes it; msix_obey() must follow. */
void msix_image_apply(struct pci_function *f, const struct msix_image *i);

void intx_pins_init(struct pci_bus *b);
void intx_pins_close(struct pci_bus *b);
/* As msix_obey(), which comes first. */
void intx_obey(struct pci_function *f);
