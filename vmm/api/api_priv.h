/* vmm/api/api_priv.h - the control socket from inside: http.c has the protocol, routes.c what is
 * there and when, actions.c and device.c what it does, outputs.c what it writes. */
#pragma once

#include "vmm/api/api.h"
#include "vmm/api/config.h"

enum api_state { API_NOT_STARTED = 1, API_RUNNING = 2, API_PAUSED = 4, API_ALWAYS = 7 };

enum { API_BODY_MAX = 51200 };
#define API_INSTANCE_ID "anonymous-instance"

/* Where the log and the metrics go; outputs.c */
struct api_outputs {
    int metrics_fd;  /* -1: none */
    bool torn;       /* the last line of metrics is there in part */
    int64_t due_ms;  /* the next, by CLOCK_MONOTONIC */
    uint64_t missed; /* lines that could not be written */
};

struct api_http;
struct api {
    const struct vm_config *base;
    struct api_config config; /* what is configured, or runs */
    struct machine *machine;  /* NULL: not started */
    struct api_outputs outputs;
    uint64_t requests, refused;
    struct api_http *http; /* NULL: no socket */
};

enum api_state api_state(const struct api *a);

/* One request being answered. */
struct api_call {
    struct api *api;
    const struct api_route *route;
    const char *id; /* of the path; NULL: it has none */
    json_t *body;   /* an object; NULL: there is none */
    json_t *reply;  /* NULL: nothing to say */
};

struct api_route {
    const char *verb, *path; /* the path may end in one name: "/drives/{id}" */
    unsigned states;         /* in which it is allowed */
    int (*act)(struct api_call *c, struct err *e);
    const struct api_body *body; /* NULL: it has none */
    bool whole;                  /* required fields are */
};

/* Returns the status, and in *out the text of the answer, or NULL: there is none; the caller frees
 * it. */
unsigned api_answer(struct api *a, const char *verb, const char *path, const char *body, size_t len,
                    char **out);
/* The answer to what is no request of ours. */
char *api_fault(const char *message);

/* actions.c */
int api_show_instance(struct api_call *c, struct err *e);
int api_show_version(struct api_call *c, struct err *e);
int api_show_config(struct api_call *c, struct err *e);
int api_show_section(struct api_call *c, struct err *e);
int api_put(struct api_call *c, struct err *e);
int api_merge(struct api_call *c, struct err *e);
int api_act(struct api_call *c, struct err *e);
int api_set_state(struct api_call *c, struct err *e);

/* device.c: of devices that are there */
int api_patch_device(struct api_call *c, struct err *e);
int api_patch_balloon(struct api_call *c, struct err *e);
int api_show_balloon(struct api_call *c, struct err *e);
int api_show_balloon_stats(struct api_call *c, struct err *e);
int api_show_hinting(struct api_call *c, struct err *e);
int api_start_hinting(struct api_call *c, struct err *e);
int api_stop_hinting(struct api_call *c, struct err *e);
int api_show_hotplug(struct api_call *c, struct err *e);
/* What the device reports, as an object. */
json_t *api_report(const struct vdev *d);
json_t *api_report_threads(const struct machine *m); /* the same of each of its loops */

/* outputs.c */
int api_put_output(struct api_call *c, struct err *e);
/* Opens what a logger or metrics section names, and does what else it says. */
int CHECKED api_open_output(struct api *a, const struct api_body *b, const json_t *json,
                            struct err *e);
int CHECKED api_flush_metrics(struct api *a, struct err *e);
int api_metrics_timeout_ms(const struct api *a); /* -1: never */
void api_metrics_tick(struct api *a);            /* writes them, if it is time */
void api_close_outputs(struct api *a);

/* http.c */
int CHECKED http_open(struct api *a, const char *path, struct api_http **out, struct err *e);
void http_close(struct api_http *h); /* NULL is fine */
int http_fd(const struct api_http *h);
int http_timeout_ms(const struct api_http *h); /* -1: never */
void http_run(struct api_http *h);
