/* guest-tests/lib/virtio.h - a small virtio driver core (virtio 1.4): MMIO and PCI, modern and
 * legacy, split rings and packed ones, polled or by interrupt. One CPU uses it. */
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "pci.h"

#define FEATURE(bit) (1ull << (bit))
enum {
    VIRTIO_QUEUE_RESET = 0x0c0,
    VIRTIO_NOTIFICATION_DATA_BIT = 38,
    VIRTIO_RING_RESET_BIT = 40,
    VIRTIO_SUSPEND_BIT = 43,
    VIRTIO_STATUS_SUSPEND = 16,
    VIRTIO_NO_VECTOR = 0xffff,
};

enum virtio_kind {
    VIRTIO_MMIO,        /* 4.2, version 2 */
    VIRTIO_MMIO_LEGACY, /* 4.2.4, version 1 */
    VIRTIO_PCI,         /* 4.1 */
    VIRTIO_PCI_LEGACY,  /* 4.1.4.10, also of a transitional device */
    VIRTIO_KINDS,
};
extern const char *const virtio_kind_names[];

struct virtio {
    enum virtio_kind kind;
    uint64_t base; /* the window, the common structure, or the port */
    unsigned pin;  /* of the I/O APIC (MMIO only) */
    unsigned slot; /* PCI only */
    uint64_t isr, notify, config;
    uint32_t notify_multiplier;
    uint64_t features; /* agreed on */
};

/* The nth slot that virtio_mmio.device= names (--discovery cmdline); false: there is none. */
bool virtio_slot(unsigned nth, struct virtio *v);
/* The function in this slot, through its legacy I/O BAR or its modern structures; memory, I/O and
 * bus mastering on. False: there is none, or it has no such face. */
bool virtio_pci_slot(unsigned slot, bool legacy, struct virtio *v);
uint32_t virtio_device_id(const struct virtio *v);
/* The first device of this kind, on either transport: by its modern face if it has one, unless
 * face=legacy is on the command line. Without a device the test ends. */
void virtio_find(uint32_t id, struct virtio *v);
bool virtio_is_pci(const struct virtio *v);
bool virtio_is_legacy(const struct virtio *v);

/* virtio-mmio's registers by their offsets. */
uint32_t virtio_read(const struct virtio *v, uint32_t reg);
void virtio_write(const struct virtio *v, uint32_t reg, uint32_t value);

/* What every transport has in some form. Of one that a transport lacks, reads are 0 and writes
 * nothing. */
enum virtio_reg {
    VR_DEVICE_FEATURES_SEL,
    VR_DEVICE_FEATURES,
    VR_DRIVER_FEATURES_SEL,
    VR_DRIVER_FEATURES,
    VR_QUEUE_SEL,
    VR_QUEUE_MAX, /* on PCI what VR_QUEUE_SIZE reads first */
    VR_QUEUE_SIZE,
    VR_QUEUE_READY,
    VR_QUEUE_RESET,
    VR_DESC, /* 64 bits as two words; so are the next two */
    VR_DRIVER,
    VR_DEVICE,
    VR_QUEUE_PFN, /* legacy, and the next two of legacy MMIO */
    VR_PAGE_SIZE,
    VR_QUEUE_ALIGN,
    VR_STATUS,
    VR_CONFIG_VECTOR,
    VR_QUEUE_VECTOR,
    VIRTIO_REGS,
};
bool virtio_has_reg(const struct virtio *v, enum virtio_reg r);
uint32_t virtio_get(const struct virtio *v, enum virtio_reg r);
void virtio_set(const struct virtio *v, enum virtio_reg r, uint32_t value);
void virtio_set_area(const struct virtio *v, enum virtio_reg r, uint64_t value);
uint64_t virtio_get_area(const struct virtio *v, enum virtio_reg r);
void virtio_notify(const struct virtio *v, uint32_t queue);
/* Device-specific configuration; `size` as of mmio_read(). */
uint64_t virtio_config_read(const struct virtio *v, unsigned off, unsigned size);
void virtio_config_write(const struct virtio *v, unsigned off, unsigned size, uint64_t value);

uint64_t virtio_offered(const struct virtio *v);
/* Reset, and as far as FEATURES_OK with those of `wanted` that are offered; VERSION_1 is, but by
 * legacy faces. */
void virtio_begin(struct virtio *v, uint64_t wanted);
/* DRIVER_OK. */
void virtio_go(struct virtio *v);
void virtio_reset(struct virtio *v);
bool virtio_has(const struct virtio *v, unsigned bit);

enum { RING_MAX = 256 };
struct ring {
    const struct virtio *dev;
    unsigned index;
    uint16_t size;
    uint8_t *memory; /* three pages */
    /* Split (2.7): */
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
    /* Packed (2.8): */
    bool packed;
    struct vring_packed_desc *slots;
    struct vring_packed_desc_event *driver, *device;
    bool avail_wrap, used_wrap;
    uint16_t next_avail, n_added;              /* added: descriptors since the last kick */
    uint16_t length[RING_MAX], next[RING_MAX]; /* of a buffer ID: its list's, the next free one */
    uint16_t free_head, n_free, last_used, last_kicked;
    uint32_t n_kicks; /* notifications that were sent */
};
struct seg {
    const void *at;
    uint32_t len;
    bool writable; /* by the device */
};

/* (Re)programs and enables the queue; the ring's memory is taken the first time only. A legacy PCI
 * device has the say about the size: ring->size is what it is. */
void ring_start(struct ring *r, const struct virtio *v, unsigned index, uint16_t size);
/* The first half of it: memory, and where everything is in it. */
void ring_lay_out(struct ring *r, const struct virtio *v, unsigned index, uint16_t size);
/* Puts a chain into the ring; its head or buffer ID, or -1 if there is no room. */
int ring_add(struct ring *r, const struct seg *s, unsigned n);
/* The same as one indirect descriptor, whose table is the caller's until it comes back. */
int ring_add_indirect(struct ring *r, struct vring_desc *table, const struct seg *s, unsigned n);
/* Notifies the device, if it wants to hear of what was added since the last time. */
void ring_kick(struct ring *r);
/* Next completion: false if there is none. */
bool ring_take(struct ring *r, uint16_t *head, uint32_t *len);
/* Interrupts from this ring: none, or one at the next completion. */
void ring_quiet(struct ring *r, bool quiet);
/* Packed: the bits that make a descriptor available now. */
uint16_t ring_avail_bits(const struct ring *r);
/* Packed: n descriptors were made available. */
void ring_advance(struct ring *r, unsigned n);
