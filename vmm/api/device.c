/* vmm/api/device.c - requests about devices that are there: what they report, and what can be
 * changed of them. */
#include <stdio.h>

#include "devices/virtio/vdev_ctl.h"
#include "vmm/api/api_priv.h"

/* --- reports --- */

struct json_report {
    struct report r;
    json_t *to;
};

static void add_number(struct report *r, const char *name, uint64_t value)
{
    struct json_report *j = container_of(r, struct json_report, r);
    (void)json_object_set_new(j->to, name, json_integer((json_int_t)value));
}

static void add_text(struct report *r, const char *name, const char *value)
{
    struct json_report *j = container_of(r, struct json_report, r);
    (void)json_object_set_new(j->to, name, json_string(value));
}

static struct json_report new_report(void)
{
    return (struct json_report){.r = {.number = add_number, .text = add_text}, .to = json_object()};
}

json_t *api_report(const struct vdev *d)
{
    struct json_report j = new_report();
    if (j.to)
        vdev_report(d, &j.r);
    return j.to;
}

json_t *api_report_threads(const struct machine *m)
{
    json_t *all = json_array();
    struct json_report j = new_report();
    for (unsigned i = 0; j.to && machine_report_thread(m, i, &j.r); i++) {
        (void)json_array_append_new(all, j.to);
        j = new_report();
    }
    json_decref(j.to);
    return all;
}

static json_int_t number_in(const json_t *report, const char *name)
{
    return json_integer_value(json_object_get(report, name));
}

/* --- finding them --- */

/* -EINVAL: there is no such device. */
static int find(const struct api_call *c, const char *class, struct err *e)
{
    int i = api_find_device(&c->api->config.cfg, class, c->id);
    if (i >= 0)
        return i;
    return c->id ? err_input(e, 0, "%s/%.64s: there is no such device", c->route->body->section,
                             c->id)
                 : err_input(e, 0, "%s: the machine has no such device", c->route->body->section);
}

static struct device_config *config_of(const struct api_call *c, int i)
{
    return &c->api->config.cfg.devices[i];
}

/* What a row of the class's table has in the device's options. */
static uint64_t number_of(const struct device_config *d, const char *key)
{
    const struct opt_desc *row = option_key(d->class->opts, key);
    const char *at = (const char *)d->opts + (row ? row->offset : 0);
    if (!row)
        return 0;
    return row->type == OPT_FLAG ? (uint64_t) * (const bool *)(const void *)at
                                 : get_bytes(at, row->type == OPT_U32 ? 4 : 8);
}

/* --- changing them --- */

/* The device takes the changed block, or nothing has changed. Owns `opts` on success. */
static int update(struct api *a, int i, void *opts, struct err *e)
{
    struct device_config *d = &a->config.cfg.devices[i];
    int rc = vdev_update(machine_device(a->machine, (unsigned)i), opts, e);
    if (rc < 0)
        return rc;
    free(d->opts);
    d->opts = opts;
    return 0;
}

static void *copy_of(const struct device_config *d)
{
    void *opts = malloc(MAX(d->class->opts_size, (size_t)1));
    if (opts)
        memcpy(opts, d->opts, d->class->opts_size);
    return opts;
}

/* No live row that a body has is a string (tests/unit/test_api.c): nothing of the body stays. */
int api_patch_device(struct api_call *c, struct err *e)
{
    const struct api_body *b = c->route->body;
    char what[128];
    int i = find(c, b->class, e);
    if (i < 0)
        return i;
    const struct device_config *d = config_of(c, i);
    (void)snprintf(what, sizeof(what), "%s%s%.64s", b->section, c->id ? "/" : "",
                   c->id ? c->id : "");
    AUTO_FREE void *opts = copy_of(d);
    if (!opts)
        return err_host(e, -ENOMEM, "%s", what);
    int rc = api_body_to_device(b, c->body, what, d->class->opts, true, opts, e);
    if (rc < 0)
        return rc;
    rc = update(c->api, i, opts, e);
    if (rc == 0)
        (void)TAKE_PTR(opts);
    return rc;
}

/* --- balloon --- */

/* Before the start, it is a part of what has been PUT. */
int api_patch_balloon(struct api_call *c, struct err *e)
{
    if (c->api->machine)
        return api_patch_device(c, e);
    if (!json_object_get(c->api->config.from, api_balloon.section))
        return err_input(e, 0, "balloon: there is none; PUT /balloon comes first");
    return api_merge(c, e);
}

int api_show_balloon(struct api_call *c, struct err *e)
{
    int i = find(c, "balloon", e);
    return i < 0 ? i : api_show_section(c, e);
}

int api_show_balloon_stats(struct api_call *c, struct err *e)
{
    static const char *const names[][2] = {
        {"swap_in", "swap_in"},
        {"swap_out", "swap_out"},
        {"majflt", "major_faults"},
        {"minflt", "minor_faults"},
        {"memfree", "free_memory"},
        {"memtot", "total_memory"},
        {"avail", "available_memory"},
        {"caches", "disk_caches"},
        {"htlb_pgalloc", "hugetlb_allocations"},
        {"htlb_pgfail", "hugetlb_failures"},
        {"oom_kill", "oom_kill"},
        {"alloc_stall", "alloc_stall"},
        {"async_scan", "async_scan"},
        {"direct_scan", "direct_scan"},
        {"async_reclaim", "async_reclaim"},
        {"direct_reclaim", "direct_reclaim"},
    };
    int i = find(c, "balloon", e);
    if (i < 0)
        return i;
    if (!number_of(config_of(c, i), "stats"))
        return err_input(e, 0, "balloon: its stats_polling_interval_s is 0");
    json_t *r = api_report(machine_device(c->api->machine, (unsigned)i));
    json_int_t target = number_in(r, "target_bytes"), actual = number_in(r, "actual_bytes");
    c->reply = json_pack("{s:I, s:I, s:I, s:I}", "target_pages", target >> 12, "actual_pages",
                         actual >> 12, "target_mib", target >> 20, "actual_mib", actual >> 20);
    for (size_t k = 0; c->reply && k < ARRAY_SIZE(names); k++) {
        json_t *v = json_object_get(r, names[k][0]);
        if (v)
            (void)json_object_set(c->reply, names[k][1], v);
    }
    json_decref(r);
    return c->reply ? 0 : err_host(e, -ENOMEM, "balloon");
}

/* -EINVAL: it has no hints. */
static int find_hinting(const struct api_call *c, struct err *e)
{
    int i = find(c, "balloon", e);
    if (i >= 0 && !number_of(config_of(c, i), "hinting"))
        return err_input(e, 0, "balloon: free_page_hinting is not enabled");
    return i;
}

int api_show_hinting(struct api_call *c, struct err *e)
{
    int i = find_hinting(c, e);
    if (i < 0)
        return i;
    json_t *r = api_report(machine_device(c->api->machine, (unsigned)i));
    c->reply = json_pack("{s:I, s:I}", "host_cmd", number_in(r, "hint_command"), "guest_cmd",
                         number_in(r, "hint_driver_command"));
    json_decref(r);
    return c->reply ? 0 : err_host(e, -ENOMEM, "balloon");
}

/* The device asks for hints periodically; with the longest period, it asks once. */
static int set_hints(struct api_call *c, bool on, struct err *e)
{
    int i = find_hinting(c, e);
    if (i < 0)
        return i;
    const struct device_config *d = config_of(c, i);
    const struct opt_desc *row = option_key(d->class->opts, "hints");
    AUTO_FREE void *opts = copy_of(d);
    char text[32];
    if (!opts || !row)
        return err_host(e, -ENOMEM, "balloon");
    (void)snprintf(text, sizeof(text), "%llu", on ? (unsigned long long)row->max : 0);
    int rc = opt_parse_value(row, "balloon", text, opts, e);
    if (rc == 0)
        rc = update(c->api, i, opts, e);
    if (rc == 0)
        (void)TAKE_PTR(opts);
    return rc;
}

/* A round that was begun before ends first. */
int api_start_hinting(struct api_call *c, struct err *e)
{
    if (json_is_false(json_object_get(c->body, "acknowledge_on_stop")))
        return err_input(e, 0,
                         "balloon: acknowledge_on_stop: a guest that has told all it knows gets "
                         "its pages back at once");
    int rc = set_hints(c, false, e);
    return rc < 0 ? rc : set_hints(c, true, e);
}

int api_stop_hinting(struct api_call *c, struct err *e)
{
    return set_hints(c, false, e);
}

/* --- memory --- */

int api_show_hotplug(struct api_call *c, struct err *e)
{
    int i = find(c, "mem", e);
    if (i < 0)
        return i;
    const struct device_config *d = config_of(c, i);
    json_t *slot =
        json_object_get(json_object_get(c->api->config.from, api_hotplug.section), "slot_size_mib");
    json_t *r = c->api->machine ? api_report(machine_device(c->api->machine, (unsigned)i)) : NULL;
    json_int_t size = (json_int_t)number_of(d, "size");
    json_int_t block = r ? number_in(r, "block_size") : (json_int_t)number_of(d, "block");
    json_int_t requested = (json_int_t)number_of(d, "requested");
    c->reply = json_pack("{s:I, s:I, s:I, s:I, s:I}", "total_size_mib", size >> 20, "slot_size_mib",
                         slot ? json_integer_value(slot) : block >> 20, "block_size_mib",
                         block >> 20, "plugged_size_mib", number_in(r, "plugged") >> 20,
                         "requested_size_mib", requested >> 20);
    json_decref(r);
    return c->reply ? 0 : err_host(e, -ENOMEM, "memory-hotplug");
}
