/* vmm/api/outputs.c - where the log and the metrics go: files or named pipes, which are written
 * without waiting for whoever reads them. A line of metrics is a JSON object. */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "vmm/api/api_priv.h"

enum { METRICS_EVERY_MS = 60000 };

/* A pipe needs no reader yet, which for writing only it would. */
static int open_output(const char *path, const char *what, struct err *e)
{
    struct stat st;
    bool pipe = stat(path, &st) == 0 && S_ISFIFO(st.st_mode);
    int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    AUTO_FD fd = open(path, flags | (pipe ? O_RDWR : O_WRONLY | O_APPEND | O_CREAT), 0600);
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_input(e, -errno, "%s %s", what, path);
    if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return err_input(e, 0, "%s %s: is neither a file nor a pipe", what, path);
    return TAKE_FD(fd);
}

static void replace(int *to, int fd)
{
    fd_cleanup_(to);
    *to = fd;
}

static int64_t now_ms(clockid_t clock)
{
    struct timespec ts;
    (void)clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int api_open_output(struct api *a, const struct api_body *b, const json_t *json, struct err *e)
{
    struct vm_config cfg = *a->base; /* what the body does not say is not as it was */
    struct api_settings s = {0};
    struct api_outputs *o = &a->outputs;
    int rc = api_body_to_config(b, json, b->section, &cfg, &s, e);
    if (rc < 0)
        return rc;
    const char *path = b == &api_logger ? s.log_path : s.metrics_path;
    AUTO_FD fd = path ? open_output(path, b == &api_logger ? "log_path" : "metrics_path", e) : -1;
    if (path && fd < 0)
        return fd;
    if (b == &api_logger) {
        rc = log_to(fd >= 0 ? fd : STDERR_FILENO);
        if (rc < 0)
            return err_host(e, rc, "log_path");
        log_set_level(cfg.log);
        return 0;
    }
    replace(&o->metrics_fd, TAKE_FD(fd));
    o->torn = false;
    o->due_ms = now_ms(CLOCK_MONOTONIC) + METRICS_EVERY_MS;
    return 0;
}

/* While the guest runs too: after its file was moved away, say. */
int api_put_output(struct api_call *c, struct err *e)
{
    const struct api_body *b = c->route->body;
    int rc = api_open_output(c->api, b, c->body, e);
    if (rc == 0 && json_object_set(c->api->config.from, b->section, c->body) < 0)
        return err_host(e, -ENOMEM, "%s", b->section);
    return rc;
}

/* --- metrics --- */

static json_t *devices(const struct api *a)
{
    char buf[API_DEVICE_NAME];
    const struct vm_config *cfg = &a->config.cfg;
    json_t *all = json_array();
    for (unsigned i = 0; all && a->machine && i < cfg->n_devices; i++) {
        json_t *one = json_pack("{s:s, s:s}", "class", cfg->devices[i].class->name, "id",
                                api_device_name(cfg, i, buf));
        json_t *report = api_report(machine_device(a->machine, i));
        (void)json_object_update_missing(one, report);
        json_decref(report);
        (void)json_array_append_new(all, one);
    }
    return all;
}

static char *line(const struct api *a)
{
    enum api_state s = api_state(a);
    json_t *o =
        json_pack("{s:I, s:s, s:{s:I, s:I}, s:I, s:o}", "utc_timestamp_ms",
                  (json_int_t)now_ms(CLOCK_REALTIME), "state",
                  s == API_NOT_STARTED ? "Not started"
                  : s == API_RUNNING   ? "Running"
                                       : "Paused",
                  "api", "requests", (json_int_t)a->requests, "refused", (json_int_t)a->refused,
                  "missed_lines", (json_int_t)a->outputs.missed, "devices", devices(a));
    const json_t *wish = json_object_get(a->config.from, api_metrics.section);
    json_t *properties = json_object_get(wish, "properties");
    if (a->machine)
        (void)json_object_set_new(o, "io_threads", api_report_threads(a->machine));
    if (json_is_true(json_object_get(wish, "emit_id")))
        (void)json_object_set_new(o, "id", json_string(API_INSTANCE_ID));
    if (json_is_object(properties))
        (void)json_object_set(o, "properties", properties);
    char *text = json_dumps(o, JSON_ENSURE_ASCII | JSON_COMPACT);
    json_decref(o);
    return text;
}

/* A pipe that nobody empties takes part of a line, or nothing. */
int api_flush_metrics(struct api *a, struct err *e)
{
    struct api_outputs *o = &a->outputs;
    if (o->metrics_fd < 0)
        return err_input(e, 0, "FlushMetrics: there is no metrics_path");
    AUTO_FREE char *text = line(a);
    size_t len = text ? strlen(text) : 0;
    struct iovec iov[] = {{(char *)"\n", o->torn ? 1 : 0}, {text, len}, {(char *)"\n", 1}};
    ssize_t want = (ssize_t)(iov[0].iov_len + len + 1);
    ssize_t n = text ? writev(o->metrics_fd, iov, ARRAY_SIZE(iov)) : -1;
    if (n > 0)
        o->torn = n < want;
    if (n == want)
        return 0;
    o->missed++;
    return err_host(e, n < 0 ? -errno : -EAGAIN, "metrics_path");
}

int api_metrics_timeout_ms(const struct api *a)
{
    if (a->outputs.metrics_fd < 0)
        return -1;
    int64_t left = a->outputs.due_ms - now_ms(CLOCK_MONOTONIC);
    return left < 0 ? 0 : (int)MIN(left, (int64_t)METRICS_EVERY_MS);
}

void api_metrics_tick(struct api *a)
{
    struct err e;
    if (api_metrics_timeout_ms(a) != 0)
        return;
    a->outputs.due_ms = now_ms(CLOCK_MONOTONIC) + METRICS_EVERY_MS;
    if (api_flush_metrics(a, &e) < 0)
        log_debug("%s", e.msg); /* the next line tells how many are missing */
}

/* The last of the metrics. The log keeps its file until the process ends. */
void api_close_outputs(struct api *a)
{
    struct err e;
    if (a->machine && a->outputs.metrics_fd >= 0 && api_flush_metrics(a, &e) < 0)
        log_debug("%s", e.msg);
    replace(&a->outputs.metrics_fd, -1);
}
