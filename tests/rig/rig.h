/* tests/rig/rig.h - a driver in this process: guest RAM between guard pages, a device behind one of
 * five transports, either ring format, and nothing that sleeps. Speaks to a device only as a guest
 * could: by register accesses on a bus and by bytes in RAM. It may cheat, too.
 *
 * rig.c is the machine and the steps that all drivers take; rig_mmio.c and rig_pci.c know
 * registers, rig_split.c and rig_packed.c know rings. */
#pragma once

#include <criterion/criterion.h>

#include "base/bus.h"
#include "base/chardev.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"
#include "tests/rig/proves.h"
#include "transport/transport.h"

enum { RIG_QUEUES = 16, RIG_WINDOWS = 8, RIG_LOOPS = 3, RIG_BASE = 0xd0000000, RIG_RAM = 32 << 20 };
#define RIG_PLACES 0x200000000ull /* where memory that a device places goes, */
#define RIG_SHM    0x300000000ull /* and what it shares by virtio-mmio */

enum rig_transport { /* mmio unless a test says otherwise */
                     RIG_MMIO,
                     RIG_MMIO_LEGACY,
                     RIG_PCI,
                     RIG_PCI_TRANSITIONAL,        /* driven through its modern interface, */
                     RIG_PCI_TRANSITIONAL_LEGACY, /* and through the other one */
                     RIG_PCI_LEGACY,
                     RIG_TRANSPORTS,
};
extern const char *const rig_transport_names[]; /* for messages */

struct rig_options {
    enum rig_transport transport;
    const struct vdev_options *vdev;          /* what the device offers; NULL: the defaults, */
    bool packed, in_order, notification_data; /* and these */
    uint32_t device_queue_size;               /* the device's most; 0: its own choice */
    bool no_indirect, no_event_idx;           /* the driver does not accept these */
    uint64_t without;                         /* nor these low 64 feature bits */
    uint16_t queue_size;                      /* 0: what the device offers at most */
    bool intx;                                /* pci: no MSI-X */
    bool ports;                               /* pci: configuration space by 0xcf8 and 0xcfc */
    enum loop_backend backend;
    uint64_t poll_ns;         /* as for loop_poll_set() */
    unsigned loops;           /* up to RIG_LOOPS; 0: one */
    const char *console_path; /* port 0 writes there; NULL: nowhere */
    struct chardev *console;  /* or this one */
    bool stop_before_driver_ok;
    bool no_reset; /* the driver trusts a device that was just switched on */
    int (*doorbell)(void *ctx, const struct doorbell *b, bool on); /* NULL: every one traps */
    void *doorbell_ctx;
    bool no_window; /* the machine shows no device's memory */
};
/* Of the options that say nothing of these two: the test's own, while ways.h has it at work. */
struct rig_way {
    enum rig_transport transport;
    bool packed;
};
extern struct rig_way rig_way;
/* Memory of the device's that the machine shows to the guest. */
struct rig_window {
    gpa_t at;
    uint64_t len; /* 0: this one is free */
    uint8_t *host;
    bool ro, placed; /* placed: for good */
};
struct rig_queue {
    gpa_t desc, avail, used; /* packed: the ring, the driver's wishes, the device's wishes */
    uint16_t size, free, avail_idx, used_idx;
    uint16_t asked; /* avail_idx when rig_must_kick() was asked last */
    /* Packed. The indices above are slots then, and `free` is the next buffer ID. */
    bool avail_wrap, used_wrap, asked_wrap;
    uint16_t *span;      /* descriptors of each buffer ID in flight */
    uint16_t used_flags; /* of what rig_used() returned last */
};

struct rig_seg {
    gpa_t at;
    uint32_t len;
};

struct rig;
/* A driver's view of a transport, in the specification's words. */
struct rig_regs {
    void (*up)(struct rig *r); /* finds the device */
    uint8_t (*status)(struct rig *r);
    void (*status_set)(struct rig *r, uint8_t s);
    uint32_t (*features)(struct rig *r, uint32_t word);
    void (*accept)(struct rig *r, uint32_t word, uint32_t bits);
    uint32_t (*accepted)(struct rig *r, uint32_t word); /* NULL: cannot be read back */
    uint16_t (*queue_max)(struct rig *r, uint32_t q);
    void (*queue_size)(struct rig *r, uint32_t q, uint32_t size); /* NULL: it is fixed */
    void (*queue_areas)(struct rig *r, uint32_t q, uint64_t desc, uint64_t driver, uint64_t device);
    void (*queue_enable)(struct rig *r, uint32_t q); /* legacy: a no-op, an address enables */
    bool (*queue_enabled)(struct rig *r, uint32_t q);
    void (*queue_reset)(struct rig *r, uint32_t q); /* NULL: has none */
    bool (*queue_resetting)(struct rig *r, uint32_t q);
    void (*notify)(struct rig *r, uint32_t q, uint32_t value);
    void (*config_read)(struct rig *r, unsigned off, unsigned size, uint64_t *v);
    void (*config_write)(struct rig *r, unsigned off, unsigned size, uint64_t v);
    uint32_t (*generation)(struct rig *r);  /* NULL: has none */
    unsigned (*pending)(struct rig *r);     /* 1: a used buffer, 2: configuration; looks only */
    unsigned (*acknowledge)(struct rig *r); /* the same, and they are gone */
    unsigned (*interrupts)(struct rig *r);  /* that reached the CPU since the last call */
};
/* A driver's view of a ring. */
struct rig_ring {
    void (*init)(struct rig *r, unsigned q); /* rings as they are when a queue begins */
    void (*forge)(struct rig *r, gpa_t table, unsigned slot, uint64_t addr, uint32_t len,
                  uint16_t flags, uint16_t next_or_id);
    uint16_t (*add)(struct rig *r, unsigned q, const struct rig_seg *s, unsigned n_out, unsigned n,
                    gpa_t table); /* table 0: direct */
    bool (*used)(struct rig *r, unsigned q, uint32_t *id, uint32_t *len);
    bool (*must_kick)(struct rig *r, unsigned q);
    void (*hush)(struct rig *r, unsigned q);
    void (*wish)(struct rig *r, unsigned q, unsigned nth); /* 0: of each */
};

struct rig {
    struct gmem *mem;
    struct bus *bus, *pio;
    struct loop *loop; /* loops[0], and the device's own */
    struct loop *loops[RIG_LOOPS];
    unsigned n_loops;
    struct chardev *console;
    struct transport *transport;
    struct vdev *dev;
    struct vdev_options vdev_options;
    const struct rig_regs *regs;
    const struct rig_ring *ring; /* that was negotiated */
    struct rig_pci *pci;
    int irq_fd;
    uint64_t ram_next;
    uint64_t features; /* the low 64 of those that were accepted */
    bool own_console, legacy;
    struct rig_options o;
    struct rig_queue q[RIG_QUEUES];
    struct rig_window windows[RIG_WINDOWS];
    uint64_t place_next;
};

/* "blk,path=..." as on the command line; asserts that creation succeeds and negotiation too. */
struct rig *rig_up(const char *device, const struct rig_options *o);
struct rig *rig_up_class(const struct vdev_class *c, const void *opts, const struct rig_options *o);
void rig_down(struct rig *r); /* asserts that nothing is left of the device */
/* It cannot be made, and the one sentence about it has these words. */
void rig_refuses(const char *device, const struct rig_options *o, const char *words);
void rig_up_again(struct rig *r);           /* the machine was reset: found anew, negotiated */
const char *rig_where(const struct rig *r); /* "pci packed": for HOLDS(), until the next call */

/* The options that are left when "size=4M" is given for such a device, at run time. */
int CHECKED rig_update(struct rig *r, const char *text, struct err *e);

/* A life in two parts. Saving pauses the device; loading, in the same RAM, begins with a machine
 * reset and leaves the device paused; save_and_load is both, and the device goes on. */
struct state_out rig_save(struct rig *r);
int CHECKED rig_load(struct rig *r, const void *buf, size_t len);
void rig_save_and_load(struct rig *r);

unsigned rig_open_files(void); /* descriptors that this process has */

/* Of mmio only. */
uint32_t rig_reg(struct rig *r, uint32_t off);
void rig_reg_set(struct rig *r, uint32_t off, uint32_t v);

uint8_t rig_status(struct rig *r);
void rig_status_set(struct rig *r, uint8_t s);
uint64_t rig_config(struct rig *r, unsigned off, unsigned size);
void rig_config_set(struct rig *r, unsigned off, unsigned size, uint64_t v);

/* reset, features, queues, DRIVER_OK; in two halves for those who stop between them. */
void rig_negotiate(struct rig *r);
void rig_negotiate_features(struct rig *r);
void rig_driver_ok(struct rig *r);
void rig_queue_up(struct rig *r, unsigned q);
bool rig_has(const struct rig *r, unsigned feature);
bool rig_needs_reset(struct rig *r);

gpa_t rig_alloc(struct rig *r, size_t len); /* zeroed, 16-byte aligned */
gpa_t rig_alloc_at(struct rig *r, size_t len, uint64_t align);
void *rig_at(struct rig *r, gpa_t at, size_t len);
/* The same of what a device placed or shares, as the guest's CPUs see it; NULL: nothing is there.
 */
void *rig_window_at(struct rig *r, gpa_t at, size_t len);

/* A buffer by its host pointers (inside guest RAM): out segments, then in ones. Places descriptors,
 * makes them available, does not notify. Returns the head, or the buffer ID of a packed ring. */
uint16_t rig_add(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                 const struct rig_seg *in, unsigned n_in);
uint16_t rig_add_indirect(struct rig *r, unsigned q, const struct rig_seg *out, unsigned n_out,
                          const struct rig_seg *in, unsigned n_in);
/* Raw writes into a descriptor table, in the format that was negotiated. */
void rig_forge(struct rig *r, gpa_t table, unsigned slot, uint64_t addr, uint32_t len,
               uint16_t flags, uint16_t next);
void rig_offer(struct rig *r, unsigned q, uint16_t head); /* split: avail ring and idx only */

/* One descriptor of a packed ring as a driver would place it; AVAIL and USED are added to the flags
 * by the wrap counter. Placed from the last to the first, as a list must be. */
struct rig_packed {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, id;
};
void rig_place(struct rig *r, unsigned q, const struct rig_packed *d, unsigned n);

void rig_kick(struct rig *r, unsigned q);
void rig_settle(struct rig *r); /* runs the loops until nothing is left to do */
/* The next used entry, if there is one. */
bool rig_used(struct rig *r, unsigned q, uint32_t *id, uint32_t *len);
/* Interrupts since the last call; acknowledges them as a driver does. */
unsigned rig_irqs(struct rig *r);

/* Whether the device wants to be told of what was added since the last question. */
bool rig_must_kick(struct rig *r, unsigned q);
/* What the driver wants to be told: nothing; each used buffer; with EVENT_IDX the nth from now. */
void rig_hush(struct rig *r, unsigned q);
void rig_listen(struct rig *r, unsigned q);
void rig_listen_at(struct rig *r, unsigned q, unsigned nth);

uint16_t rig_get16(struct rig *r, gpa_t at);
void rig_put16(struct rig *r, gpa_t at, uint16_t v);
