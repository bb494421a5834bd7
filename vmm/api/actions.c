/* vmm/api/actions.c - what requests do. */
#include "vmm/api/api_priv.h"

#include "vmm/options.h"

enum api_state api_state(const struct api *a)
{
    return !a->machine ? API_NOT_STARTED : machine_paused(a->machine) ? API_PAUSED : API_RUNNING;
}

static int reply(struct api_call *c, json_t *json, struct err *e)
{
    c->reply = json;
    return json ? 0 : err_host(e, -ENOMEM, "answer");
}

/* --- what there is --- */

int api_show_instance(struct api_call *c, struct err *e)
{
    enum api_state s = api_state(c->api);
    return reply(c,
                 json_pack("{s:s, s:s, s:s, s:s}", "app_name", "vmm", "id", API_INSTANCE_ID,
                           "state",
                           s == API_NOT_STARTED ? "Not started"
                           : s == API_RUNNING   ? "Running"
                                                : "Paused",
                           "vmm_version", VMM_VERSION),
                 e);
}

int api_show_version(struct api_call *c, struct err *e)
{
    return reply(c, json_pack("{s:s}", "firecracker_version", VMM_VERSION), e);
}

int api_show_config(struct api_call *c, struct err *e)
{
    return reply(c, api_config_show(&c->api->config), e);
}

int api_show_section(struct api_call *c, struct err *e)
{
    return reply(c, api_config_show_section(&c->api->config, c->route->body), e);
}

/* --- what is to be --- */

/* The configuration as it would be; only when it makes sense does it become what is. */
static int put(struct api_call *c, bool merge, struct err *e)
{
    struct api *a = c->api;
    const struct api_body *b = c->route->body;
    struct api_config next;
    json_t *json;
    int rc = api_config_put(a->config.from, b, c->id, c->body, merge, &json, e);
    if (rc < 0)
        return rc;
    rc = api_config_make(a->base, json, &next, e);
    json_decref(json);
    if (rc < 0)
        return rc;
    api_config_drop(&a->config);
    a->config = next;
    return 0;
}

int api_put(struct api_call *c, struct err *e)
{
    return put(c, false, e);
}

int api_merge(struct api_call *c, struct err *e)
{
    return c->body ? put(c, true, e) : 0;
}

/* --- what happens --- */

int api_start(struct api *a, struct err *e)
{
    if (!a->config.cfg.kernel)
        return err_input(e, 0, "nothing to boot: PUT /boot-source comes first");
    int rc = machine_build(&a->config.cfg, &a->machine, e);
    if (rc == 0)
        machine_start(a->machine);
    return rc;
}

int api_act(struct api_call *c, struct err *e)
{
    const char *action = json_string_value(json_object_get(c->body, "action_type"));
    if (!strcasecmp(action, "InstanceStart")) {
        if (c->api->machine)
            return err_input(e, 0, "InstanceStart: the guest is started already");
        return api_start(c->api, e);
    }
    if (!strcasecmp(action, "SendCtrlAltDel"))
        return err_input(e, 0, "SendCtrlAltDel: this machine has no keyboard");
    return api_flush_metrics(c->api, e);
}

int api_set_state(struct api_call *c, struct err *e)
{
    (void)e;
    if (!strcasecmp(json_string_value(json_object_get(c->body, "state")), "Paused"))
        machine_pause(c->api->machine);
    else
        machine_resume(c->api->machine);
    return 0;
}
