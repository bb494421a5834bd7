/* vmm/options_device.c - devices on the command line: the keys of their class, those that all
 * devices share, and what no transport can do. */
#include <assert.h>
#include <linux/virtio_config.h>

#include "vmm/options_table.h"

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

const struct opt_desc *option_key(const struct opt_desc *rows, const char *key)
{
    for (; rows->type != OPT_END; rows++) {
        if (!strcmp(rows->key, key))
            return rows;
    }
    return NULL;
}

static struct device_common *common_of(const struct option_device *d)
{
    return (struct device_common *)(void *)(d->opts + d->common_at);
}

int option_device_begin(struct option_device *d, const struct vdev_class *c, struct err *e)
{
    *d = (struct option_device){.class = c,
                                .common_at = align_up(c->opts_size, _Alignof(max_align_t))};
    d->keys = join_keys(c, d->common_at);
    d->opts = calloc(1, d->common_at + sizeof(struct device_common));
    if (!d->keys || !d->opts)
        return err_host(e, -ENOMEM, "a %s device", c->name);
    if (c->opts_default)
        memcpy(d->opts, c->opts_default, c->opts_size);
    *common_of(d) =
        (struct device_common){.transport = NO_TRANSPORT, .virtio = vdev_options_default};
    return 0;
}

void option_device_drop(struct option_device *d)
{
    free(d->keys);
    free(d->opts);
    *d = (struct option_device){0};
}

/* Room for one more; the device is not counted yet. */
static struct device_config *next_device(struct vm_config *cfg)
{
    struct device_config *grown = realloc(cfg->devices, (cfg->n_devices + 1) * sizeof(*grown));
    if (!grown)
        return NULL;
    cfg->devices = grown;
    return &grown[cfg->n_devices];
}

int option_device_end(struct option_device *d, struct vm_config *cfg, const char *what,
                      struct err *e)
{
    const struct device_common *common = common_of(d);
    const struct opt_desc *own = option_key(d->class->opts, "id");
    AUTO_FREE char *name = strdup(what);
    struct device_config *to = name ? next_device(cfg) : NULL;
    if (!to)
        return err_host(e, -ENOMEM, "%s", what);
    *to = (struct device_config){.class = d->class,
                                 .transport = common->transport,
                                 .id = common->id,
                                 .virtio = common->virtio,
                                 .opts = TAKE_PTR(d->opts),
                                 .what = TAKE_PTR(name)};
    if (own && own->type == OPT_STR) /* a class may want to know it as well */
        memcpy(&to->id, (const char *)to->opts + own->offset, sizeof(to->id));
    cfg->n_devices++;
    return 0;
}

int option_add_device(struct vm_config *cfg, const struct vdev_class *c, const char *option,
                      const char *text, const char *what, struct err *e)
{
    struct option_device d;
    int rc = option_device_begin(&d, c, e);
    if (rc == 0)
        rc = opts_parse(d.keys, option, text, d.opts, e);
    if (rc == 0)
        rc = option_device_end(&d, cfg, what, e);
    option_device_drop(&d);
    return rc;
}

int option_copy_devices(const struct vm_config *from, struct vm_config *to, struct err *e)
{
    for (unsigned i = 0; i < from->n_devices; i++) {
        const struct device_config *d = &from->devices[i];
        AUTO_FREE void *opts = malloc(MAX(d->class->opts_size, (size_t)1));
        AUTO_FREE char *name = strdup(d->what);
        struct device_config *copy = opts && name ? next_device(to) : NULL;
        if (!copy)
            return err_host(e, -ENOMEM, "%s", d->what);
        memcpy(opts, d->opts, d->class->opts_size);
        *copy = *d;
        copy->opts = TAKE_PTR(opts);
        copy->what = TAKE_PTR(name);
        to->n_devices++;
    }
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
static int add_default_device(struct vm_config *cfg, const char *class, struct err *e)
{
    const struct vdev_class *c = option_find_class(class, strlen(class));
    char what[64];

    assert(c); /* registry.c */
    for (unsigned i = 0; i < cfg->n_devices; i++) {
        if (cfg->devices[i].class == c)
            return 0;
    }
    (void)snprintf(what, sizeof(what), "--device %s", class);
    return option_add_device(cfg, c, what, "", what, e);
}

/* An id is how the control socket tells devices of one class apart. */
static int check_id(const struct vm_config *cfg, unsigned at, struct err *e)
{
    const struct device_config *d = &cfg->devices[at];
    for (unsigned i = 0; d->id && i < at; i++) {
        const struct device_config *other = &cfg->devices[i];
        if (other->id && other->class == d->class && !strcmp(other->id, d->id))
            return err_input(e, 0, "%s: id=%s is that of %s", d->what, d->id, other->what);
    }
    return 0;
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

int option_finish_devices(struct vm_config *cfg, struct err *e)
{
    int rc = add_default_device(cfg, "console", e);
    if (rc == 0)
        rc = add_default_device(cfg, "rng", e);
    for (unsigned i = 0; rc == 0 && i < cfg->n_devices; i++) {
        struct device_config *d = &cfg->devices[i];
        if (d->transport == NO_TRANSPORT)
            d->transport = cfg->transport;
        rc = check_device(d, e);
        if (rc == 0)
            rc = check_id(cfg, i, e);
    }
    return rc;
}
