/* vmm/api/config.c - see config.h. */
#include "vmm/api/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "vmm/api/json.h"

/* No machine has room for so many devices; how many it has, machine_build() knows. */
enum { DEVICES_MAX = 64 };
enum { WHAT = 128, ID_MAX = 64, FILE_MAX = 1 << 20 };

/* --- names --- */

const char *api_device_name(const struct vm_config *cfg, unsigned i, char buf[API_DEVICE_NAME])
{
    const struct device_config *d = &cfg->devices[i];
    unsigned n = 0;
    if (d->id)
        return d->id;
    for (unsigned k = 0; k < i; k++)
        n += cfg->devices[k].class == d->class;
    (void)snprintf(buf, API_DEVICE_NAME, "%s%u", d->class->name, n);
    return buf;
}

int api_find_device(const struct vm_config *cfg, const char *class, const char *id)
{
    char buf[API_DEVICE_NAME];
    for (unsigned i = 0; i < cfg->n_devices; i++) {
        if (!strcmp(cfg->devices[i].class->name, class) &&
            (!id || !strcmp(id, api_device_name(cfg, i, buf))))
            return (int)i;
    }
    return -1;
}

int api_check_id(const char *id, const char *what, struct err *e)
{
    size_t n = 0;
    while (isalnum((unsigned char)id[n]) || id[n] == '_' || id[n] == '-')
        n++;
    if (n == 0 || n > ID_MAX || id[n])
        return err_input(e, 0, "%s: an id is 1 to %d letters, digits, _ and -", what, ID_MAX);
    return 0;
}

static const char *what_of(const struct api_body *b, const json_t *json, char buf[WHAT])
{
    const char *id = b->id ? json_string_value(json_object_get(json, b->id)) : NULL;
    (void)snprintf(buf, WHAT, "%s%s%.64s", b->section, id ? "/" : "", id ? id : "");
    return buf;
}

/* --- JSON to a configuration --- */

static bool is_root(const struct api_body *b, const json_t *json)
{
    return json_is_true(json_object_get(json, b == &api_drive ? "is_root_device" : "root_device"));
}

static int add_device(const struct api_body *b, const json_t *json, struct vm_config *cfg,
                      struct err *e)
{
    char what[WHAT];
    (void)what_of(b, json, what);
    const struct vdev_class *c = option_find_class(b->class, strlen(b->class));
    if (!c)
        return err_input(e, 0, "%s: this vmm has no %s device", what, b->class);
    struct option_device d;
    int rc = option_device_begin(&d, c, e);
    if (rc == 0)
        rc = api_body_to_device(b, json, what, d.keys, false, d.opts, e);
    if (rc == 0)
        rc = option_device_end(&d, cfg, what, e);
    option_device_drop(&d);
    return rc;
}

static int add_section(const struct api_body *b, const json_t *json, struct api_config *out,
                       struct err *e)
{
    char what[WHAT];
    struct api_settings s = {0}; /* whoever opens the files asks again: outputs.c */
    if (b->class)
        return add_device(b, json, &out->cfg, e);
    return api_body_to_config(b, json, what_of(b, json, what), &out->cfg, &s, e);
}

/* The root device is the first of its kind, by which the kernel names it. */
static int add_all_of(const struct api_body *b, json_t *section, struct api_config *out,
                      struct err *e)
{
    size_t i;
    json_t *one;
    int rc = 0;
    if (!b->id)
        return section ? add_section(b, section, out, e) : 0;
    for (int root = 1; root >= 0; root--) {
        json_array_foreach(section, i, one)
        {
            if (is_root(b, one) == root)
                rc = add_section(b, one, out, e);
            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

static const json_t *root_of(const struct api_config *c, const struct api_body *b, unsigned *n)
{
    const json_t *found = NULL;
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(c->from, b->section), i, one)
    {
        if (is_root(b, one)) {
            found = one;
            ++*n;
        }
    }
    return found;
}

/* The kernel is told what its root is. */
static int name_root(struct api_config *c, struct err *e)
{
    unsigned n = 0;
    const json_t *disk = root_of(c, &api_drive, &n), *pmem = root_of(c, &api_pmem, &n);
    const char *uuid = json_string_value(json_object_get(disk, "partuuid"));
    bool ro = json_is_true(disk ? json_object_get(disk, "is_read_only")
                                : json_object_get(pmem, "read_only"));
    if (n > 1)
        return err_input(e, 0, "%u devices are each to be the root device", n);
    if (n == 0)
        return 0;
    if (asprintf(&c->cmdline, "%s root=%s%s %s",
                 c->cfg.cmdline ? c->cfg.cmdline : "console=ttyS0 panic=-1",
                 uuid   ? "PARTUUID="
                 : pmem ? "/dev/pmem0"
                        : "/dev/vda",
                 uuid ? uuid : "", ro ? "ro" : "rw") < 0) {
        c->cmdline = NULL;
        return err_host(e, -ENOMEM, "command line");
    }
    c->boot_args = c->cfg.cmdline;
    c->cfg.cmdline = c->cmdline;
    return 0;
}

/* What has no id is called something too. */
static int check_names(const struct vm_config *cfg, struct err *e)
{
    char a[API_DEVICE_NAME], b[API_DEVICE_NAME];
    for (unsigned i = 0; i < cfg->n_devices; i++) {
        for (unsigned k = 0; k < i; k++) {
            const struct device_config *d = &cfg->devices[i], *other = &cfg->devices[k];
            if (d->class == other->class &&
                !strcmp(api_device_name(cfg, i, a), api_device_name(cfg, k, b)))
                return err_input(e, 0, "%s: its name is %s, as that of %s", d->what, a,
                                 other->what);
        }
    }
    return 0;
}

int api_config_make(const struct vm_config *base, json_t *from, struct api_config *out,
                    struct err *e)
{
    struct api_config c = {.cfg = *base, .from = json_incref(from)};
    int rc = 0;
    c.cfg.devices = NULL;
    c.cfg.n_devices = 0;
    /* The root disk is the first of all. */
    for (unsigned i = 0; rc == 0 && api_bodies[i]; i++)
        rc = add_all_of(api_bodies[i], json_object_get(from, api_bodies[i]->section), &c, e);
    if (rc == 0)
        rc = name_root(&c, e);
    if (rc == 0)
        rc = option_copy_devices(base, &c.cfg, e);
    if (rc == 0 && c.cfg.n_devices > DEVICES_MAX)
        rc = err_input(e, 0, "%u devices are asked for, and there is room for fewer than %d",
                       c.cfg.n_devices, DEVICES_MAX);
    if (rc == 0)
        rc = option_finish_devices(&c.cfg, e);
    if (rc == 0)
        rc = check_names(&c.cfg, e);
    if (rc < 0) {
        api_config_drop(&c);
        return rc;
    }
    *out = c;
    return 0;
}

void api_config_drop(struct api_config *c)
{
    option_drop_devices(&c->cfg);
    free(c->cmdline);
    json_decref(c->from);
    *c = (struct api_config){0};
}

/* --- what is PUT --- */

static size_t find_entry(const json_t *array, const struct api_body *b, const char *id)
{
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)array, i, one)
    {
        const char *has = json_string_value(json_object_get(one, b->id));
        if (has && !strcmp(has, id))
            break;
    }
    return i;
}

/* -1 without memory. */
static int put_entry(json_t *root, const struct api_body *b, const char *id, json_t *value)
{
    json_t *array = json_object_get(root, b->section);
    if (!array) {
        array = json_array();
        if (json_object_set_new(root, b->section, array) < 0)
            return -1;
    }
    size_t at = find_entry(array, b, id);
    return at < json_array_size(array) ? json_array_set(array, at, value)
                                       : json_array_append(array, value);
}

int api_config_put(const json_t *from, const struct api_body *b, const char *id, json_t *value,
                   bool merge, json_t **to, struct err *e)
{
    json_t *root = json_deep_copy(from);
    json_t *old = json_object_get(root, b->section);
    int rc;
    if (root && merge && old)
        rc = json_object_update(old, value);
    else
        rc = !root   ? -1
             : b->id ? put_entry(root, b, id, value)
                     : json_object_set(root, b->section, value);
    if (rc < 0) {
        json_decref(root);
        return err_host(e, -ENOMEM, "%s", b->section);
    }
    *to = root;
    return 0;
}

/* --- files --- */

static int load_one(const struct api_body *b, json_t *value, json_t **root, struct err *e)
{
    char what[WHAT];
    json_t *next;
    int rc = api_body_check(b, value, true, what_of(b, value, what), e);
    const char *id = b->id ? json_string_value(json_object_get(value, b->id)) : NULL;
    if (rc == 0 && id)
        rc = api_check_id(id, b->section, e);
    if (rc == 0 && id &&
        find_entry(json_object_get(*root, b->section), b, id) <
            json_array_size(json_object_get(*root, b->section)))
        rc = err_input(e, 0, "%s is there twice", what);
    if (rc == 0)
        rc = api_config_put(*root, b, id, value, false, &next, e);
    if (rc < 0)
        return rc;
    json_decref(*root);
    *root = next;
    return 0;
}

static int load_section(const char *name, json_t *value, json_t **root, struct err *e)
{
    const struct api_body *b = NULL;
    for (unsigned i = 0; api_bodies[i] && !b; i++)
        b = strcmp(api_bodies[i]->section, name) ? NULL : api_bodies[i];
    if (json_is_null(value))
        return 0;
    if (!b)
        return err_input(e, 0, "section \"%.64s\" is not supported", name);
    if (!b->id)
        return load_one(b, value, root, e);
    if (!json_is_array(value))
        return err_input(e, 0, "%s: it must be an array", name);
    if (json_array_size(value) > DEVICES_MAX)
        return err_input(e, 0, "%s: there is room for fewer than %d", name, DEVICES_MAX);
    size_t i;
    json_t *one;
    json_array_foreach(value, i, one)
    {
        int rc = load_one(b, one, root, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int load_all(json_t *file, json_t **to, struct err *e)
{
    const char *name;
    json_t *value, *root = json_object();
    int rc = root ? 0 : err_host(e, -ENOMEM, "configuration");
    json_object_foreach(file, name, value)
    {
        if (rc == 0)
            rc = load_section(name, value, &root, e);
    }
    if (rc == 0 && !json_object_get(root, api_boot_source.section))
        rc = err_input(e, 0, "%s is missing", api_boot_source.section);
    if (rc < 0) {
        json_decref(root);
        return rc;
    }
    *to = root;
    return 0;
}

static int read_file(const char *path, char **text, size_t *len, struct err *e)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_input(e, -errno, "--config-file %s", path);
    if (!S_ISREG(st.st_mode))
        return err_input(e, 0, "--config-file %s: is not a regular file", path);
    if (st.st_size > FILE_MAX)
        return err_input(e, 0, "--config-file %s: is longer than %d bytes", path, FILE_MAX);
    AUTO_FREE char *buf = malloc((size_t)st.st_size + 1);
    if (!buf)
        return err_host(e, -ENOMEM, "--config-file %s", path);
    ssize_t n = pread(fd, buf, (size_t)st.st_size, 0);
    if (n < 0)
        return err_input(e, -errno, "--config-file %s", path);
    *len = (size_t)n;
    *text = TAKE_PTR(buf);
    return 0;
}

int api_config_load(const char *path, json_t **to, struct err *e)
{
    AUTO_FREE char *text = NULL;
    size_t len;
    json_error_t why;
    struct err inner;
    int rc = read_file(path, &text, &len, e);
    if (rc < 0)
        return rc;
    json_t *file;
    rc = api_json_load(text, len, &file, &why);
    if (rc == -ENOMEM)
        return err_host(e, rc, "--config-file %s", path);
    if (rc < 0) {
        make_one_line(why.text, strlen(why.text));
        return err_input(e, 0, "--config-file %s: line %d: %s", path, why.line, why.text);
    }
    rc = json_is_object(file) ? load_all(file, to, &inner)
                              : err_input(&inner, 0, "it must be an object");
    json_decref(file);
    return rc < 0 ? err_set(e, inner.kind, 0, "--config-file %s: %s", path, inner.msg) : 0;
}

/* --- and back --- */

/* What was PUT for this device, with the fields that are no option: a new object. */
static json_t *entry_of(const struct api_config *c, const struct api_body *b, const char *id)
{
    json_t *section = json_object_get(c->from, b->section);
    if (b->id)
        section = json_array_get(section, find_entry(section, b, id));
    return section ? json_deep_copy(section) : json_object();
}

static json_t *show_device(const struct api_config *c, const struct api_body *b, unsigned i)
{
    char buf[API_DEVICE_NAME];
    const struct device_config *d = &c->cfg.devices[i];
    const char *name = api_device_name(&c->cfg, i, buf);
    json_t *json = entry_of(c, b, name);
    if (!json)
        return NULL;
    api_body_from_device(b, d->opts, d->class->opts, json);
    if (b->id)
        (void)json_object_set_new(json, b->id, json_string(name));
    if (b == &api_drive && !json_object_get(json, "is_root_device"))
        (void)json_object_set_new(json, "is_root_device", json_false());
    return json;
}

static json_t *show_devices(const struct api_config *c, const struct api_body *b)
{
    json_t *array = json_array();
    for (unsigned i = 0; b->class && i < c->cfg.n_devices; i++) {
        const struct device_config *d = &c->cfg.devices[i];
        if (!strcmp(d->class->name, b->class) && api_body_can_show(b, d->opts, d->class->opts))
            (void)json_array_append_new(array, show_device(c, b, i));
    }
    return array;
}

json_t *api_config_show_section(const struct api_config *c, const struct api_body *b)
{
    int at = b->class ? api_find_device(&c->cfg, b->class, NULL) : 0;
    if (b->id)
        return show_devices(c, b);
    if (b->class)
        return at < 0 ? json_null() : show_device(c, b, (unsigned)at);
    json_t *section = json_object_get(c->from, b->section);
    if (b != &api_machine && b != &api_boot_source)
        return section ? json_deep_copy(section) : json_null();
    json_t *json = section ? json_deep_copy(section) : json_object();
    struct vm_config cfg = c->cfg;
    if (c->cmdline)
        cfg.cmdline = c->boot_args;
    api_body_from_config(b, &cfg, json);
    return json;
}

json_t *api_config_show(const struct api_config *c)
{
    json_t *all = json_object();
    for (unsigned i = 0; all && api_bodies[i]; i++)
        (void)json_object_set_new(all, api_bodies[i]->section,
                                  api_config_show_section(c, api_bodies[i]));
    return all;
}
