/* vmm/api/api.c - the API's life: before the guest, with it, after it. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "vmm/api/api_priv.h"

static int open_outputs(struct api *a, struct err *e)
{
    static const struct api_body *const bodies[] = {&api_logger, &api_metrics};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_SIZE(bodies); i++) {
        const json_t *section = json_object_get(a->config.from, bodies[i]->section);
        rc = section ? api_open_output(a, bodies[i], section, e) : 0;
    }
    return rc;
}

static int set_up(struct api *a, struct err *e)
{
    json_t *json = NULL;
    int rc = 0;
    if (a->base->config_file)
        rc = api_config_load(a->base->config_file, &json, e);
    else if (!(json = json_object()))
        rc = err_host(e, -ENOMEM, "control socket");
    if (rc == 0)
        rc = api_config_make(a->base, json, &a->config, e);
    json_decref(json);
    if (rc == 0)
        rc = open_outputs(a, e);
    if (rc == 0 && a->base->api_sock)
        rc = http_open(a, a->base->api_sock, &a->http, e);
    return rc;
}

int api_new(const struct vm_config *base, struct api **out, struct err *e)
{
    struct api *a = calloc(1, sizeof(*a));
    if (!a)
        return err_host(e, -ENOMEM, "control socket");
    *a = (struct api){.base = base, .outputs = {.metrics_fd = -1}};
    int rc = set_up(a, e);
    if (rc < 0) {
        api_free(a);
        return rc;
    }
    *out = a;
    return 0;
}

void api_free(struct api *a)
{
    if (!a)
        return;
    http_close(a->http);
    api_close_outputs(a);
    machine_free(a->machine);
    api_config_drop(&a->config);
    free(a);
}

static int timeout_ms(void *ctx)
{
    const struct api *a = ctx;
    int http = a->http ? http_timeout_ms(a->http) : -1, metrics = api_metrics_timeout_ms(a);
    return http < 0 ? metrics : metrics < 0 ? http : MIN(http, metrics);
}

static void ready(void *ctx)
{
    struct api *a = ctx;
    if (a->http)
        http_run(a->http);
    api_metrics_tick(a);
}

/* False: it is one that ends us. */
static bool take_signal(int fd, int *signo)
{
    struct signalfd_siginfo info;
    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info) || info.ssi_signo == SIGWINCH)
        return true;
    *signo = (int)info.ssi_signo;
    return false;
}

bool api_wait(struct api *a, int *signo)
{
    sigset_t mask;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    AUTO_FD signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    while (!a->machine) {
        struct pollfd fds[] = {{.fd = http_fd(a->http), .events = POLLIN},
                               {.fd = signals, .events = POLLIN}};
        if (poll_ms(fds, ARRAY_SIZE(fds), timeout_ms(a)) > 0 && fds[1].revents &&
            !take_signal(signals, signo))
            return false;
        ready(a);
    }
    return true;
}

enum machine_end api_run(struct api *a, int *signo)
{
    const struct machine_also also = {
        .fd = a->http ? http_fd(a->http) : -1, .timeout_ms = timeout_ms, .ready = ready, .ctx = a};
    return machine_run(a->machine, &also, signo);
}
