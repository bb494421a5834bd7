/* transport/transport.h - a guest-visible shell around one virtio device. It decodes registers and
 * delivers notifications; everything that means something happens in vdev_ctl.h.
 *
 * What a transport needs of the machine comes in as functions, so that tests can be the machine. */
#pragma once

#include "base/base.h"
#include "base/bus.h"
#include "base/state.h"
#include "devices/virtio/vdev_ctl.h"

struct transport_env {
    struct bus *mmio;
    /* Makes a guest's write of `value`, `len` bytes wide at `at`, count on eventfd fd, without an
     * exit to user space. A refusal is no error: the write then traps and has the same effect. */
    int (*doorbell)(void *ctx, gpa_t at, unsigned len, uint64_t value, int fd);
    void *ctx;
};

/* virtio-mmio, version 2 (virtio 1.4, 4.2): one page of registers, one edge-triggered interrupt. */
struct mmio_transport;
/* irq_fd is an eventfd that pulses the line; owned from now on. Owns the device too, on success. */
int CHECKED mmio_transport_new(struct vdev *d, const struct transport_env *env, gpa_t base,
                               int irq_fd, struct mmio_transport **out);
void mmio_transport_free(struct mmio_transport *t);  /* and its device; NULL is fine */
void mmio_transport_reset(struct mmio_transport *t); /* as at power-on */
/* With the device paused; its own state follows in the stream. */
void mmio_transport_save(struct mmio_transport *t, struct state_out *s);
int CHECKED mmio_transport_load(struct mmio_transport *t, struct state_in *s);
