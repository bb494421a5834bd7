/* vmm/options_device.c - devices on the command line: the keys of their class, those that all
 * devices share, and what no transport can do. */
#include <assert.h>
#include <linux/virtio_config.h>

#include "vmm/options_priv.h"

enum { NO_TRANSPORT = -1 };

const struct opt_desc device_common_keys[] = {
    {.key = "id",
     .type = OPT_STR,
     .offset = offsetof(struct device_common, id),
     .metavar = "NAME",
     .help = "what the control socket calls it"},
    {.key = "transport",
     .type = OPT_ENUM,
     .offset = offsetof(struct device_common, transport),
     .help = "how the guest reaches it; --transport says it for all",
     .names = transport_names},
    {.type = OPT_END},
};

const struct vdev_class *option_find_class(const char *name, size_t len)
{
    for (const struct vdev_class *const *c = vdev_classes; *c; c++) {
        if (strlen((*c)->name) == len && !memcmp((*c)->name, name, len))
            return *c;
    }
    return NULL;
}

static size_t count_rows(const struct opt_desc *t)
{
    size_t n = 0;
    while (t[n].type != OPT_END)
        n++;
    return n;
}

/* Appends the rows of `t`, for a struct that is at `offset` of the whole. */
static struct opt_desc *append_rows(struct opt_desc *to, const struct opt_desc *t, size_t offset)
{
    for (; t->type != OPT_END; t++, to++) {
        *to = *t;
        to->offset += offset;
    }
    *to = (struct opt_desc){.type = OPT_END};
    return to;
}

/* One table of the class's keys and the common ones, for one block of memory. */
static struct opt_desc *join_keys(const struct vdev_class *c, size_t common_at)
{
    size_t n = count_rows(c->opts) + count_rows(device_common_keys) + count_rows(vdev_option_keys);
    struct opt_desc *t = calloc(n + 1, sizeof(*t)), *to = t;
    if (!t)
        return NULL;
    to = append_rows(to, c->opts, 0);
    to = append_rows(to, device_common_keys, common_at);
    (void)append_rows(to, vdev_option_keys, common_at + offsetof(struct device_common, virtio));
    return t;
}

int option_add_device(struct option_parse *p, const struct vdev_class *c, const char *option,
                      const char *text, const char *what, struct err *e)
{
    struct vm_config *cfg = &p->cfg;
    size_t common_at = align_up(c->opts_size, _Alignof(max_align_t));
    AUTO_FREE struct opt_desc *keys = join_keys(c, common_at);
    AUTO_FREE uint8_t *opts = calloc(1, common_at + sizeof(struct device_common));
    AUTO_FREE char *name = strdup(what);

    if (!keys || !opts || !name)
        return err_host(e, -ENOMEM, "%s", option);
    struct device_common *common = (struct device_common *)(void *)(opts + common_at);
    if (c->opts_default)
        memcpy(opts, c->opts_default, c->opts_size);
    *common = (struct device_common){.transport = NO_TRANSPORT, .virtio = vdev_options_default};
    int rc = opts_parse(keys, option, text, opts, e);
    if (rc < 0)
        return rc;
    struct device_config *grown = realloc(cfg->devices, (cfg->n_devices + 1) * sizeof(*grown));
    if (!grown)
        return err_host(e, -ENOMEM, "%s", option);
    cfg->devices = grown;
    cfg->devices[cfg->n_devices++] = (struct device_config){.class = c,
                                                            .transport = common->transport,
                                                            .id = common->id,
                                                            .virtio = common->virtio,
                                                            .opts = TAKE_PTR(opts),
                                                            .what = TAKE_PTR(name)};
    return 0;
}

void option_drop_devices(struct vm_config *cfg)
{
    for (unsigned i = 0; i < cfg->n_devices; i++) {
        free(cfg->devices[i].opts);
        free((char *)cfg->devices[i].what);
    }
    free(cfg->devices);
    cfg->devices = NULL;
    cfg->n_devices = 0;
}

/* What every guest wants, behind the user's own devices. */
static int add_default_device(struct option_parse *p, const char *class, struct err *e)
{
    const struct vdev_class *c = option_find_class(class, strlen(class));
    char what[64];

    assert(c); /* registry.c */
    for (unsigned i = 0; i < p->cfg.n_devices; i++) {
        if (p->cfg.devices[i].class == c)
            return 0;
    }
    (void)snprintf(what, sizeof(what), "--device %s", class);
    return option_add_device(p, c, what, "", what, e);
}

static int check_device(const struct device_config *d, struct err *e)
{
    const struct vdev_options *o = &d->virtio;
    const char *transport = transport_names[d->transport], *wish = NULL;
    bool modern = d->transport == TRANSPORT_PCI || d->transport == TRANSPORT_MMIO;
    bool legacy_only =
        d->transport == TRANSPORT_PCI_LEGACY || d->transport == TRANSPORT_MMIO_LEGACY;

    if (!modern && !transport_has_legacy(d->class->virtio_id))
        return err_input(e, 0, "%s: a %s device has no legacy interface for transport %s", d->what,
                         d->class->name, transport);
    if (o->queue_size & (o->queue_size - 1))
        return err_input(e, 0, "%s: queue_size=%u is not a power of two", d->what, o->queue_size);
    if (legacy_only)
        wish = o->packed              ? "packed"
               : o->in_order          ? "in_order"
               : o->notification_data ? "notification_data"
               : o->order_platform    ? "order_platform"
                                      : NULL;
    if (!wish && (legacy_only || d->transport == TRANSPORT_MMIO))
        wish = o->admin_vq ? "admin_vq" : o->notif_config_data ? "notif_config_data" : NULL;
    if (wish)
        return err_input(e, 0, "%s: %s=on: transport %s has no such thing", d->what, wish,
                         transport);
    return 0;
}

int option_finish_devices(struct option_parse *p, struct err *e)
{
    int rc = add_default_device(p, "console", e);
    if (rc == 0)
        rc = add_default_device(p, "rng", e);
    for (unsigned i = 0; rc == 0 && i < p->cfg.n_devices; i++) {
        struct device_config *d = &p->cfg.devices[i];
        if (d->transport == NO_TRANSPORT)
            d->transport = p->cfg.transport;
        rc = check_device(d, e);
    }
    return rc;
}
