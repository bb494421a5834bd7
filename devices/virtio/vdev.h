/* devices/virtio/vdev.h - what a virtio device implements and what it may call. It knows neither
 * transport nor KVM.
 *
 * A device is one const ops table and one registry row (registry.c). From the row come --device,
 * --help, the manual's section and the tests' matrix. */
#pragma once

#include "base/base.h"
#include "base/opts.h"
#include "base/report.h"
#include "base/sandbox.h"
#include "base/state.h"
#include "devices/virtio/vq.h"

/* What every device can be asked to offer or not, on top of what the transport allows. */
struct vdev_options {
    bool packed, indirect, event_idx, in_order, notification_data, notif_config_data, ring_reset;
    bool order_platform, suspend, admin_vq;
    uint32_t queue_size; /* 0: the device's own choice, for each queue; else a power of two */
};
extern const struct vdev_options vdev_options_default;
extern const struct opt_desc vdev_option_keys[]; /* for a struct vdev_options */

struct chardev;
struct gmem;
struct loop;
struct vdev;

/* All that a device may use of the machine. Borrowed; outlives the device. */
struct build_env {
    struct gmem *mem;
    struct loop *loop;                  /* where its queues and descriptors live */
    struct loop *const *loops;          /* for vdev_env_loop(); the first is `loop`. Only inside */
    unsigned n_loops;                   /* create(); 0: there is no other */
    struct chardev *console;            /* the host's end of the machine's console */
    const struct vdev_options *options; /* NULL: the defaults */
    /* Shows host memory to the guest, at an address of the machine's choice that is a multiple of
     * `align`, for as long as the machine lives; a device lets descriptors lead there by
     * gmem_add(). There is no way back: a create() that fails after it ends the machine. `ro`: the
     * guest's writes go nowhere. NULL: this machine cannot. -ENOSPC: its address space is used up;
     * or another -errno. */
    int (*place)(void *ctx, void *host, uint64_t len, uint64_t align, bool ro, gpa_t *at);
    void *place_ctx;
};

struct vdev_ops {
    uint16_t config_len; /* bytes of device-specific configuration */
    uint16_t req_size;   /* bytes of vq_req_state() */
    /* Control, on a vCPU's thread, one at a time for a device. */
    void (*config_read)(struct vdev *d, void *cfg); /* fill all config_len bytes, little-endian */
    void (*config_write)(struct vdev *d, const void *cfg, size_t off, size_t len); /* cfg: whole */
    bool (*features_ok)(struct vdev *d); /* more than "a subset of what was offered"; may be NULL */
    int (*start)(struct vdev *d);        /* DRIVER_OK: features are final; may be NULL */
    void (*reset)(struct vdev *d);       /* all queues have stopped and are empty; may be NULL */
    void (*queue_reset)(struct vdev *d, unsigned i); /* that one has (2.6.1); may be NULL */
    /* Data, on the queue's loop. */
    void (*kick)(struct vdev *d, struct vq *q);
    void (*drain)(struct vdev *d, struct vq *q); /* hurry or drop what is held; may be NULL */
    /* What the host's user does while the device lives, on its own loop, whatever its status.
     * update(): `opts` is a block as create() had it, in which rows marked `live` may have changed;
     * on failure nothing has. report(): counters since creation, and state worth seeing. NULL: no
     * row is live; nothing to say. */
    int (*update)(struct vdev *d, const void *opts, struct err *e);
    void (*report)(const struct vdev *d, struct report *r);
    void (*power_on)(struct vdev *d); /* after reset(): of the whole machine; may be NULL */
    /* State beyond features, status and queues, on the loop's thread; no request is in flight. May
     * be NULL. */
    void (*save)(const struct vdev *d, struct state_out *s);
    int (*load)(struct vdev *d, struct state_in *s);
    void (*loaded)(struct vdev *d); /* control: load() went well; may be NULL */
    void (*free)(struct vdev *d);   /* frees vdev_priv(); no queue is live */
};

struct vdev_class {
    const char *name, *summary; /* --device NAME,...; one line of help */
    uint16_t virtio_id;         /* virtio 1.4, 5 */
    uint32_t pci_class;         /* 24 bits: class, subclass, interface */
    const struct vdev_ops *ops;
    const struct opt_desc *opts;
    size_t opts_size;
    const void *opts_default; /* opts_size bytes, or NULL: zeroes */
    /* The system calls of its threads (base/sandbox.h), beyond those of all; NULL-terminated. The
     * first list is needed by each device, others where somebody says sandbox_need(). NULL: none.
     */
    const struct sandbox_list *const *sandbox;
    /* Whether such a device lives on the loop whose thread is SANDBOX_SLIRP: all that use libslirp,
     * which has state for all of them, and asks the host for more than all the others together.
     * NULL: never. */
    bool (*on_slirp)(const void *opts);
    int (*create)(const void *opts, const struct build_env *env, struct vdev **out, struct err *e);
};
extern const struct vdev_class *const vdev_classes[]; /* registry.c; NULL-terminated */

/* For create(): a device with n queues of at most sizes[i] entries (powers of two). On success it
 * owns priv, which ops->free() frees. -ENOMEM or another -errno of the host's. */
int CHECKED vdev_new(const struct vdev_class *c, const struct build_env *env, void *priv,
                     const uint16_t *sizes, unsigned n, struct vdev **out);
/* Offers a feature beyond those of the core; only inside create(). */
void vdev_offer(struct vdev *d, unsigned feature);
/* A queue that shares nothing with others but what is atomic may live on another loop than the
 * device: the k-th of those that there are, beginning with the device's own. Only inside create().
 */
struct loop *vdev_env_loop(const struct build_env *env, unsigned k);
void vdev_queue_on(struct vdev *d, unsigned i, struct loop *l);
struct loop *vdev_queue_loop(const struct vdev *d, unsigned i); /* any thread */

/* Memory that driver and device share, found by id (2.10): whole pages of the device's own, which
 * it frees no sooner than in free(), and over which it may map what it likes by MAP_FIXED at any
 * time. What it leaves unmapped ends the guest that touches it. The transport decides where the
 * guest sees it; descriptors never lead there. Only inside create(). -EEXIST: the id has one. */
int CHECKED vdev_add_shm(struct vdev *d, uint8_t id, void *host, uint64_t len);

void *vdev_priv(const struct vdev *d);
/* The driver accepted it; final once FEATURES_OK is set. */
bool vdev_has(const struct vdev *d, unsigned feature);
struct vq *vdev_queue(struct vdev *d, unsigned i);         /* NULL unless live; on its loop */
bool vdev_queue_enabled(const struct vdev *d, unsigned i); /* by the driver; any thread */
/* Has that queue's kick() run soon, on its loop, if it is live; on any loop. */
void vdev_poke(struct vdev *d, unsigned i);
bool vdev_started(const struct vdev *d); /* DRIVER_OK, and nothing failed */
/* Since the reset: notifications that came, and interrupts that were raised. */
void vdev_queue_counts(const struct vdev *d, unsigned i, uint64_t *kicks, uint64_t *interrupts);
/* An interrupt, and a new generation for whoever reads it: any thread, after the change. */
void vdev_config_changed(struct vdev *d);
/* The guest's fault: DEVICE_NEEDS_RESET, no request is taken any more, one limited log line. */
void vdev_fail(struct vdev *d, const char *fmt, ...) PRINTF_LIKE(2, 3);
