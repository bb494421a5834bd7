/* devices/registry.c - every device class there is; one row each. */
#include "devices/virtio/vdev.h"

extern const struct vdev_class balloon_class, blk_class, console_class, fs_class, mem_class,
    net_class, pmem_class, rng_class, rtc_class, scsi_class, vsock_class;

const struct vdev_class *const vdev_classes[] = {
    &balloon_class, &blk_class, &console_class, &fs_class,   &mem_class,   &net_class,
    &pmem_class,    &rng_class, &rtc_class,     &scsi_class, &vsock_class, NULL};
