/* devices/virtio/vdev_ctl.h - the device's other face: all that a transport may call. Features,
 * status, configuration space and queues of one device, in one state machine (virtio 1.4, 2 and 3).
 *
 * Any vCPU thread may call these; they serialise among themselves and against the device's loop. */
#pragma once

#include "base/gmem.h"
#include "base/report.h"
#include "base/state.h"

struct vdev;

/* Newer than the UAPI headers (virtio 1.4, 2.1 and 6). */
enum {
    VDEV_F_NOTIFICATION_DATA = 38,
    VDEV_F_NOTIF_CONFIG_DATA = 39,
    VDEV_F_ADMIN_VQ = 41,
    VDEV_F_SUSPEND = 43,
    VDEV_S_SUSPEND = 16,
};

/* Feature bits come in four words of 32: virtio 1.4 has bits above 63. */
enum { VDEV_FEATURE_WORDS = 4 };

enum vdev_irq { VDEV_IRQ_QUEUE, VDEV_IRQ_CONFIG };
struct vdev_port { /* supplied by the transport */
    void (*raise)(struct vdev_port *p, enum vdev_irq why, unsigned queue); /* any thread */
    /* From now on the queue takes notifications, or it no longer does: the moment to bind a
     * doorbell or to unbind it. Control's thread, serialised for a device. May be NULL. */
    void (*listen)(struct vdev_port *p, unsigned queue, bool on);
    bool modern, legacy; /* the interfaces that a driver has: nothing loads that came by another */
};

/* What the driver programmed: plain data, frozen from enable to reset. */
struct vq_config {
    gpa_t desc, driver, device; /* the three areas, in the specification's words */
    uint16_t max_size, size;
    uint16_t next_avail, next_used; /* where it resumes; bit 15 is the wrap counter when packed */
    bool enabled;
};

/* Before the guest runs. `mask` holds the features that this transport can carry. */
void vdev_attach(struct vdev *d, struct vdev_port *p, const uint32_t mask[VDEV_FEATURE_WORDS]);
void vdev_free(struct vdev *d); /* stops it first; NULL is fine */

const char *vdev_name(const struct vdev *d);
uint16_t vdev_id(const struct vdev *d);
uint32_t vdev_pci_class(const struct vdev *d);   /* 0: it says nothing */
unsigned vdev_queue_count(const struct vdev *d); /* of its type; an administration virtqueue is */
bool vdev_has_admin_queue(const struct vdev *d); /* behind those, at this index (2.13) */
size_t vdev_config_len(const struct vdev *d);

uint8_t vdev_status(const struct vdev *d);
/* The one and only status machine. 0 resets and returns when everything has drained. Bits that
 * would be cleared, or are out of order, are not taken. */
void vdev_status_write(struct vdev *d, uint8_t s);
void vdev_reset(struct vdev *d);
void vdev_power_on(struct vdev *d); /* the whole machine is reset: this, and what survives that */

uint32_t vdev_features(const struct vdev *d, unsigned word); /* offered; 0 past the last word */
uint32_t vdev_features_driver(const struct vdev *d, unsigned word); /* what it wrote last */
void vdev_features_write(struct vdev *d, unsigned word, uint32_t bits);

/* The queue as it is programmed, or NULL for one that does not exist. */
const struct vq_config *vdev_queue_config(const struct vdev *d, unsigned i);
/* The same, to change; NULL too when it is enabled or it is not the time. */
struct vq_config *vdev_queue_program(struct vdev *d, unsigned i);
/* Validates and opens it; a bad configuration fails the device and leaves it disabled. */
void vdev_queue_enable(struct vdev *d, unsigned i);
void vdev_queue_reset(struct vdev *d, unsigned i);   /* returns when drained; needs RING_RESET */
void vdev_queue_disable(struct vdev *d, unsigned i); /* the same, always */
/* An eventfd: bind it as ioeventfd, or vdev_kick(). It lives as long as the device. */
int vdev_kick_fd(const struct vdev *d, unsigned i);
/* Another, whose signal kicks all queues that are live; -1 when there is no memory for it. */
int vdev_kick_all_fd(struct vdev *d);
void vdev_kick(struct vdev *d, unsigned i); /* ignores queues that do not exist */

void vdev_config_get(struct vdev *d, size_t off, void *dst, size_t len); /* 0 past the end */
void vdev_config_set(struct vdev *d, size_t off, const void *src, size_t len);
uint32_t vdev_generation(const struct vdev *d);

/* The legacy interface of the same device (2.2.3, 3.1.2, 4.1.4.10, 4.2.4): 32 feature bits and no
 * FEATURES_OK. A driver that comes this way has not got VIRTIO_F_VERSION_1, by which a device can
 * tell. The ring is where the transport's layout says: desc 0 takes the queue away, anything else
 * enables it. Legacy drivers notify before DRIVER_OK: the first vdev_kick() starts the device. */
uint32_t vdev_legacy_features(const struct vdev *d);
void vdev_legacy_features_write(struct vdev *d, uint32_t bits);
void vdev_legacy_status_write(struct vdev *d, uint8_t s);
void vdev_legacy_queue_set(struct vdev *d, unsigned i, uint16_t size, gpa_t desc, gpa_t driver,
                           gpa_t device);

bool vdev_has(const struct vdev *d, unsigned feature); /* by the driver, before or after OK */

bool vdev_shm(struct vdev *d, uint32_t id, gpa_t *base, uint64_t *len); /* false: none, for now */
/* All regions are in one piece of address space, vdev_shm_total() long; vdev_shm_at() tells region
 * by region what is where in it, false past the last. A transport that has put one into the guest's
 * address space says where, or that it is nowhere, as it is at first. */
struct vdev_shm_region {
    uint8_t id;
    uint64_t off, len;
    void *host;
};
uint64_t vdev_shm_total(const struct vdev *d);
bool vdev_shm_at(const struct vdev *d, unsigned i, struct vdev_shm_region *out);
void vdev_shm_place(struct vdev *d, unsigned i, bool on, gpa_t at);

/* The host's side, from any thread but the loop's while it runs: see vdev_ops. A device without
 * live options refuses with ERR_INPUT. What its queues have counted since the reset is reported
 * too. */
int CHECKED vdev_update(struct vdev *d, const void *opts, struct err *e);
void vdev_report(const struct vdev *d, struct report *r);

/* Pause stops all queues and drains them; what was programmed stays. Save needs a paused device;
 * load needs one that was never started, leaves it paused, and treats its input as hostile. */
void vdev_pause(struct vdev *d);
void vdev_resume(struct vdev *d);
void vdev_save(const struct vdev *d, struct state_out *s);
int CHECKED vdev_load(struct vdev *d, struct state_in *s);
