/* vmm/api/routes.c - every path and verb there is, and in which states: one row each. */
#include "vmm/api/api_priv.h"

#include <stdio.h>

#include "vmm/api/json.h"

/* What Firecracker has and this machine does not, in words that say so. */
static int no_snapshots(struct api_call *c, struct err *e)
{
    (void)c;
    return err_input(e, 0, "snapshots are not supported");
}

static int no_mmds(struct api_call *c, struct err *e)
{
    (void)c;
    return err_input(e, 0, "there is no metadata service");
}

static int no_cpu_config(struct api_call *c, struct err *e)
{
    (void)c;
    return err_input(e, 0, "the guest's CPU is the host's, and cannot be configured");
}

enum { BEFORE = API_NOT_STARTED, AFTER = API_RUNNING | API_PAUSED, ALWAYS = API_ALWAYS };

static const struct api_route routes[] = {
    {.verb = "GET", .path = "/", .states = ALWAYS, .act = api_show_instance},
    {.verb = "GET", .path = "/version", .states = ALWAYS, .act = api_show_version},
    {.verb = "GET", .path = "/vm/config", .states = ALWAYS, .act = api_show_config},
    {.verb = "PATCH",
     .path = "/vm",
     .states = AFTER,
     .act = api_set_state,
     .body = &api_vm,
     .whole = true},
    {.verb = "PUT",
     .path = "/actions",
     .states = ALWAYS,
     .act = api_act,
     .body = &api_action,
     .whole = true},
    {.verb = "PUT",
     .path = "/boot-source",
     .states = BEFORE,
     .act = api_put,
     .body = &api_boot_source,
     .whole = true},
    {.verb = "GET",
     .path = "/machine-config",
     .states = ALWAYS,
     .act = api_show_section,
     .body = &api_machine},
    {.verb = "PUT",
     .path = "/machine-config",
     .states = BEFORE,
     .act = api_put,
     .body = &api_machine,
     .whole = true},
    {.verb = "PATCH",
     .path = "/machine-config",
     .states = BEFORE,
     .act = api_merge,
     .body = &api_machine},
    {.verb = "PUT",
     .path = "/drives/{id}",
     .states = BEFORE,
     .act = api_put,
     .body = &api_drive,
     .whole = true},
    {.verb = "PATCH",
     .path = "/drives/{id}",
     .states = AFTER,
     .act = api_patch_device,
     .body = &api_drive_patch,
     .whole = true},
    {.verb = "PUT",
     .path = "/network-interfaces/{id}",
     .states = BEFORE,
     .act = api_put,
     .body = &api_net,
     .whole = true},
    {.verb = "PATCH",
     .path = "/network-interfaces/{id}",
     .states = AFTER,
     .act = api_patch_device,
     .body = &api_net_patch,
     .whole = true},
    {.verb = "PUT",
     .path = "/pmem/{id}",
     .states = BEFORE,
     .act = api_put,
     .body = &api_pmem,
     .whole = true},
    {.verb = "PATCH",
     .path = "/pmem/{id}",
     .states = AFTER,
     .act = api_patch_device,
     .body = &api_pmem_patch,
     .whole = true},
    {.verb = "PUT",
     .path = "/vsock",
     .states = BEFORE,
     .act = api_put,
     .body = &api_vsock,
     .whole = true},
    {.verb = "PUT",
     .path = "/entropy",
     .states = BEFORE,
     .act = api_put,
     .body = &api_entropy,
     .whole = true},
    {.verb = "PUT",
     .path = "/serial",
     .states = BEFORE,
     .act = api_put,
     .body = &api_serial,
     .whole = true},
    {.verb = "PUT",
     .path = "/logger",
     .states = ALWAYS,
     .act = api_put_output,
     .body = &api_logger,
     .whole = true},
    {.verb = "PUT",
     .path = "/metrics",
     .states = ALWAYS,
     .act = api_put_output,
     .body = &api_metrics,
     .whole = true},
    {.verb = "GET",
     .path = "/balloon",
     .states = ALWAYS,
     .act = api_show_balloon,
     .body = &api_balloon},
    {.verb = "PUT",
     .path = "/balloon",
     .states = BEFORE,
     .act = api_put,
     .body = &api_balloon,
     .whole = true},
    {.verb = "PATCH",
     .path = "/balloon",
     .states = ALWAYS,
     .act = api_patch_balloon,
     .body = &api_balloon_patch,
     .whole = true},
    {.verb = "GET",
     .path = "/balloon/statistics",
     .states = AFTER,
     .act = api_show_balloon_stats,
     .body = &api_balloon},
    {.verb = "PATCH",
     .path = "/balloon/statistics",
     .states = ALWAYS,
     .act = api_patch_balloon,
     .body = &api_balloon_stats_patch,
     .whole = true},
    {.verb = "PATCH",
     .path = "/balloon/hinting/start",
     .states = AFTER,
     .act = api_start_hinting,
     .body = &api_hinting_start},
    {.verb = "GET",
     .path = "/balloon/hinting/status",
     .states = AFTER,
     .act = api_show_hinting,
     .body = &api_balloon},
    {.verb = "PATCH",
     .path = "/balloon/hinting/stop",
     .states = AFTER,
     .act = api_stop_hinting,
     .body = &api_hinting_start},
    {.verb = "GET",
     .path = "/hotplug/memory",
     .states = ALWAYS,
     .act = api_show_hotplug,
     .body = &api_hotplug},
    {.verb = "PUT",
     .path = "/hotplug/memory",
     .states = BEFORE,
     .act = api_put,
     .body = &api_hotplug,
     .whole = true},
    {.verb = "PATCH",
     .path = "/hotplug/memory",
     .states = AFTER,
     .act = api_patch_device,
     .body = &api_hotplug_patch,
     .whole = true},
    {.verb = "PUT", .path = "/snapshot/create", .states = ALWAYS, .act = no_snapshots},
    {.verb = "PUT", .path = "/snapshot/load", .states = ALWAYS, .act = no_snapshots},
    {.verb = "GET", .path = "/mmds", .states = ALWAYS, .act = no_mmds},
    {.verb = "PUT", .path = "/mmds", .states = ALWAYS, .act = no_mmds},
    {.verb = "PATCH", .path = "/mmds", .states = ALWAYS, .act = no_mmds},
    {.verb = "PUT", .path = "/mmds/config", .states = ALWAYS, .act = no_mmds},
    {.verb = "PUT", .path = "/cpu-config", .states = ALWAYS, .act = no_cpu_config},
};

/* --- finding it --- */

/* True when the path is that of the pattern; *id is then the name at its end, or NULL. */
static bool matches(const char *pattern, const char *path, const char **id)
{
    size_t fixed = strcspn(pattern, "{");
    if (!pattern[fixed]) {
        *id = NULL;
        return !strcmp(pattern, path);
    }
    *id = path + fixed;
    return strlen(path) > fixed && !memcmp(pattern, path, fixed) && !strchr(*id, '/');
}

static const struct api_route *find_route(const char *verb, const char *path, const char **id,
                                          struct err *e)
{
    bool known = false;
    for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
        if (!matches(routes[i].path, path, id))
            continue;
        known = true;
        if (!strcmp(routes[i].verb, verb))
            return &routes[i];
    }
    if (known)
        (void)err_input(e, 0, "%.64s: %.16s is not for this resource", path, verb);
    else
        (void)err_input(e, 0, "%.64s: no such resource", path);
    return NULL;
}

static int check_state(const struct api_call *c, struct err *e)
{
    enum api_state now = api_state(c->api);
    if (c->route->states & now)
        return 0;
    return err_input(e, 0,
                     now == API_NOT_STARTED ? "%s %s: the guest is not started"
                                            : "%s %s: the guest is started already",
                     c->route->verb, c->route->path);
}

/* --- its body --- */

static int parse_body(struct api_call *c, const char *text, size_t len, struct err *e)
{
    json_error_t why;
    if (!strcmp(c->route->verb, "GET"))
        return len ? err_input(e, 0, "GET has no body") : 0;
    if (!c->route->body || (!len && !c->route->whole)) /* without a table, all is refused */
        return 0;
    if (!len)
        return err_input(e, 0, "%s %s: the body is missing", c->route->verb, c->route->path);
    int rc = api_json_load(text, len, &c->body, &why);
    if (rc == -ENOMEM)
        return err_host(e, rc, "the body");
    return rc == 0 ? 0 : err_input(e, 0, "the body is not JSON: line %d: %s", why.line, why.text);
}

/* The name at the path's end and that in the body are the same. */
static int check_name(struct api_call *c, const char *what, struct err *e)
{
    const struct api_body *b = c->route->body;
    int rc = api_check_id(c->id, what, e);
    const char *in_body = json_string_value(json_object_get(c->body, b->id));
    if (rc == 0 && in_body && strcmp(in_body, c->id))
        rc = err_input(e, 0, "%s: %s is \"%.64s\"", what, b->id, in_body);
    return rc;
}

static int check_body(struct api_call *c, struct err *e)
{
    char what[128];
    const struct api_body *b = c->route->body;
    if (!b || !c->body)
        return 0;
    (void)snprintf(what, sizeof(what), "%s%s%.64s", b->section, c->id ? "/" : "",
                   c->id ? c->id : "");
    int rc = api_body_check(b, c->body, c->route->whole, what, e);
    return rc == 0 && c->id ? check_name(c, what, e) : rc;
}

/* --- answering it --- */

static json_t *plain_string(const char *text)
{
    json_t *s = json_string(text);
    if (s)
        return s;
    AUTO_FREE char *ascii = strdup(text); /* a character that was cut in the middle, say */
    for (char *p = ascii; p && *p; p++)
        *p = (char)((unsigned char)*p < 0x80 ? *p : '?');
    return ascii ? json_string(ascii) : NULL;
}

char *api_fault(const char *message)
{
    json_t *o = json_object();
    (void)json_object_set_new(o, "fault_message", plain_string(message));
    char *text = o ? json_dumps(o, JSON_ENSURE_ASCII) : NULL;
    json_decref(o);
    return text;
}

static int handle(struct api_call *c, const char *verb, const char *path, const char *body,
                  size_t len, struct err *e)
{
    c->route = find_route(verb, path, &c->id, e);
    if (!c->route)
        return -EINVAL;
    int rc = parse_body(c, body, len, e);
    if (rc == 0)
        rc = check_body(c, e);
    if (rc == 0)
        rc = check_state(c, e);
    return rc == 0 ? c->route->act(c, e) : rc;
}

unsigned api_answer(struct api *a, const char *verb, const char *path, const char *body, size_t len,
                    char **out)
{
    struct api_call c = {.api = a};
    struct err e;
    unsigned status = 204;
    *out = NULL;
    a->requests++;
    if (handle(&c, verb, path, body, len, &e) < 0) {
        a->refused++;
        make_one_line(e.msg, strlen(e.msg));
        *out = api_fault(e.msg);
        status = e.kind == ERR_INPUT ? 400 : 500;
    } else if (c.reply) {
        *out = json_dumps(c.reply, JSON_ENSURE_ASCII);
        status = *out ? 200 : 500;
    }
    json_decref(c.reply);
    json_decref(c.body);
    return status;
}
