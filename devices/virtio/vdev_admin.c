/* devices/virtio/vdev_admin.c - the administration virtqueue (virtio 1.4, 2.12 and 2.13). */
#include "devices/virtio/vdev_priv.h"

struct vdev_admin {
    bool unused;
};

int admin_new(struct vdev_admin **out)
{
    struct vdev_admin *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    *out = a;
    return 0;
}

void admin_free(struct vdev_admin *a)
{
    free(a);
}

void admin_kick(struct vdev *d, struct vq *q)
{
    (void)d;
    vq_for_each (req, q)
        vq_complete(q, req);
}

void admin_reset(struct vdev_admin *a)
{
    (void)a;
}
