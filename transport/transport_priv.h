/* transport/transport_priv.h - what the kinds of transport share among themselves. */
#pragma once

#include <pthread.h>

#include "transport/transport.h"

struct transport_ops {
    void (*reset)(struct transport *t);                     /* the device has been */
    void (*save)(struct transport *t, struct state_out *s); /* its own; the device's follows */
    int (*load)(struct transport *t, struct state_in *s);   /* nothing has changed on failure */
    void (*free)(struct transport *t); /* the shell; the device is silent, and freed after it */
};
struct transport { /* each kind's first member */
    const struct transport_ops *ops;
    struct transport_env env;
    struct vdev *dev;
    struct vdev_port port;
    pthread_mutex_t lock; /* the registers, and what is done to what they select */
};
void transport_init(struct transport *t, const struct transport_ops *ops, struct vdev *d,
                    const struct transport_env *env);
void transport_destroy(struct transport *t);

/* The device's regions of shared memory are one after the other from `at` on, or nowhere. */
void transport_shm_place(struct transport *t, bool on, uint64_t at);

/* The legacy ring (2.7.2): descriptors, available ring, and used ring at the next multiple of
 * `align`, a power of two, in one piece from `base`; base 0 takes the queue away. */
void legacy_queue_set(struct vdev *d, unsigned i, uint16_t size, gpa_t base, uint64_t align);

int CHECKED mmio_new(struct vdev *d, bool legacy, const struct transport_place *at,
                     const struct transport_env *env, struct transport **out);
int CHECKED virtio_pci_new(struct vdev *d, enum transport_kind k, const struct transport_place *at,
                           const struct transport_env *env, struct transport **out);
