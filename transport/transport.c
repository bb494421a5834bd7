/* transport/transport.c - see transport.h: the table of kinds, and what they have in common. */
#include "transport/transport_priv.h"

#include <linux/virtio_ids.h>

const char *const transport_names[] = {[TRANSPORT_PCI] = "pci",
                                       [TRANSPORT_PCI_TRANSITIONAL] = "pci-transitional",
                                       [TRANSPORT_PCI_LEGACY] = "pci-legacy",
                                       [TRANSPORT_MMIO] = "mmio",
                                       [TRANSPORT_MMIO_LEGACY] = "mmio-legacy",
                                       [TRANSPORT_KINDS] = NULL};

bool transport_is_pci(enum transport_kind k)
{
    return k <= TRANSPORT_PCI_LEGACY;
}

bool transport_has_legacy(uint16_t virtio_id)
{
    switch (virtio_id) {
    case VIRTIO_ID_NET:
    case VIRTIO_ID_BLOCK:
    case VIRTIO_ID_CONSOLE:
    case VIRTIO_ID_RNG:
    case VIRTIO_ID_BALLOON:
    case VIRTIO_ID_SCSI:
    case VIRTIO_ID_9P:
        return true;
    default:
        return false;
    }
}

int transport_new(enum transport_kind k, struct vdev *d, const struct transport_env *env,
                  const struct transport_place *at, struct transport **out)
{
    if (k != TRANSPORT_PCI && k != TRANSPORT_MMIO && !transport_has_legacy(vdev_id(d)))
        return -EOPNOTSUPP;
    struct transport *t;
    int rc = transport_is_pci(k) ? virtio_pci_new(d, k, at, env, &t)
                                 : mmio_new(d, k == TRANSPORT_MMIO_LEGACY, at, env, &t);
    if (rc == 0)
        *out = t;
    return rc;
}

void transport_init(struct transport *t, const struct transport_ops *ops, struct vdev *d,
                    const struct transport_env *env)
{
    t->ops = ops;
    t->env = *env;
    t->dev = d;
    (void)pthread_mutex_init(&t->lock, NULL);
}

void transport_destroy(struct transport *t)
{
    (void)pthread_mutex_destroy(&t->lock);
}

void transport_free(struct transport *t)
{
    if (!t)
        return;
    struct vdev *d = t->dev;
    vdev_reset(d); /* it still raises interrupts until now */
    transport_shm_place(t, false, 0);
    t->ops->free(t);
    vdev_free(d);
}

struct vdev *transport_device(const struct transport *t)
{
    return t->dev;
}

void transport_reset(struct transport *t)
{
    vdev_power_on(t->dev);
    t->ops->reset(t);
}

void transport_save(struct transport *t, struct state_out *s)
{
    t->ops->save(t, s);
    vdev_save(t->dev, s);
}

int transport_load(struct transport *t, struct state_in *s)
{
    int rc = t->ops->load(t, s);
    if (rc == 0 && (rc = vdev_load(t->dev, s)) < 0)
        t->ops->reset(t);
    return rc;
}

/* One that did not find its place is not in anybody's: what is there is another's to remove. */
void transport_shm_place(struct transport *t, bool on, uint64_t at)
{
    struct vdev_shm_region s;
    gpa_t was;
    uint64_t len;
    for (unsigned i = 0; vdev_shm_at(t->dev, i, &s); i++) {
        if (vdev_shm(t->dev, s.id, &was, &len)) {
            (void)t->env.window(t->env.ctx, was, s.host, len, false);
            vdev_shm_place(t->dev, i, false, was);
        }
        gpa_t to = GPA(at + s.off);
        if (on && t->env.window && t->env.window(t->env.ctx, to, s.host, s.len, true) == 0)
            vdev_shm_place(t->dev, i, true, to);
    }
}

void legacy_queue_set(struct vdev *d, unsigned i, uint16_t size, gpa_t base, uint64_t align)
{
    enum { DESC = 16, AVAIL_FIXED = 6 }; /* flags, idx, used_event */
    gpa_t avail = GPA(base.v + (uint64_t)DESC * size);
    gpa_t used = GPA(align_up(avail.v + AVAIL_FIXED + 2ull * size, align));
    vdev_legacy_queue_set(d, i, base, avail, used);
}
