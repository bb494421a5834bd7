/* devices/virtio/vdev_priv.h - a virtio device from inside: what vdev.c (features, status,
 * configuration), vdev_queue.c (queues and how they stop), vdev_state.c (pause, save, load) and
 * vdev_admin.c (the administration virtqueue) share.
 *
 * Two parties meet here. Control comes from vCPU threads, one at a time, under `control`. Data runs
 * on a loop, which owns a queue from start to stop and never takes `control`: so a vCPU may wait
 * for a loop while it holds the lock. What both read is atomic. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"
#include "devices/virtio/vdev_ctl.h"
#include "devices/virtio/vq_priv.h"

enum { VDEV_CONFIG_MAX = 256, VDEV_SHM_MAX = 2 };
enum { VDEV_SHM_PAGE = 4096, VDEV_SHM_ALIGN = 2 << 20 };

struct queue {
    struct vdev *dev;
    struct loop *loop; /* the device's own, but for vdev_spread() */
    struct vq_config cfg;
    struct vq *vq; /* while enabled; control's */
    int kick_fd;
    bool listening;  /* the transport has been told that it takes notifications; control's */
    bool abort;      /* how it is stopped, */
    bool draining;   /* and not at its end yet; under idle_lock */
    struct vq *live; /* from start to stop; the loop's, and the watch too */
    struct loop_watch watch;
    struct loop_task start;
    _Atomic uint64_t kicks, interrupts; /* written by the loop, and by control when it is stopped */
};

struct vdev {
    const struct vdev_class *class;
    const struct vdev_ops *ops;
    struct build_env env;
    void *priv;
    struct vdev_port *port;

    pthread_mutex_t control;
    uint32_t offered[VDEV_FEATURE_WORDS];
    _Atomic uint32_t driver[VDEV_FEATURE_WORDS]; /* any thread may ask what was accepted */
    atomic_uchar status;
    atomic_uint generation;
    atomic_bool running; /* queues that are enabled are live: DRIVER_OK, not suspended; or a legacy
                            driver's first notification */
    atomic_bool resetting;      /* the loop announces nothing any more */
    atomic_bool legacy;         /* the driver came by the legacy interface */
    atomic_bool config_pending; /* it changed while the device was suspended */
    atomic_bool config_news;    /* it changed, and the driver has not read it since */
    bool paused;
    uint8_t frozen[VDEV_CONFIG_MAX]; /* the configuration, while the device is suspended */
    uint8_t seen[VDEV_CONFIG_MAX];   /* the configuration, as the driver read it last */

    pthread_mutex_t idle_lock; /* a vCPU waits here for queues to drain */
    pthread_cond_t idle;

    int all_fd; /* vdev_kick_all_fd(), or -1; watched by the device's own loop */
    struct loop_watch all_watch;

    struct vdev_shm {
        struct vdev_shm_region is;
        gpa_t base; /* while it is `on` */
        bool on;
    } shm[VDEV_SHM_MAX];
    unsigned n_shm;
    struct log_limit faults;
    struct vdev_admin *admin; /* NULL: no administration virtqueue */
    unsigned n;               /* queues of the device's type */
    unsigned n_all;           /* and the administration virtqueue behind them */
    struct queue queues[];
};

/* All under `control`. */
int CHECKED queue_open(struct queue *q);
void queue_start(struct queue *q);
void queue_close(struct queue *q);                        /* and what was programmed is forgotten */
void queues_start(struct vdev *d);                        /* those that are enabled */
bool vdev_queue_exists(const struct vdev *d, unsigned i); /* for this driver */
/* Returns when no queue of [first, last) has a request in flight. With `abort` nobody waits for the
 * results of those. */
void queues_stop(struct vdev *d, unsigned first, unsigned last, bool abort);
void unwatch_all(void *vdev); /* on the device's loop */
void vdev_reset_locked(struct vdev *d);
void vdev_start_locked(struct vdev *d);
bool vdev_features_acceptable(struct vdev *d);
/* The driver uses the legacy interface from now on, and what a modern one wrote before it is
 * nothing; false when a modern driver has the device, up to its reset. */
bool CHECKED vdev_legacy_locked(struct vdev *d);
bool vdev_suspended(const struct vdev *d); /* any thread */

/* vdev_admin.c */
int CHECKED admin_new(struct vdev_admin **out);
void admin_free(struct vdev_admin *a);
void admin_kick(struct vdev *d, struct vq *q);
void admin_reset(struct vdev_admin *a);
void admin_save(const struct vdev_admin *a, struct state_out *s);
int CHECKED admin_load(struct vdev_admin *a, struct state_in *s);
