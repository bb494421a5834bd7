/* vmm/api/http.c - HTTP/1.1 on a Unix socket, by libmicrohttpd, which is driven by the main thread:
 * it has an epoll descriptor, a time after which it wants to look again, and no thread. */
#include <limits.h>
#include <microhttpd.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/jail.h"
#include "base/lib.h"
#include "vmm/api/api_priv.h"

/* The library must not meet its own limit: it would listen no more, and not say when it would
 * again. So one too many is turned away here. */
enum {
    CONNECTIONS = 16,
    LIBRARY_CONNECTIONS = 64,
    IDLE_SECONDS = 30,
    MEMORY = 16 << 10,
    BACKLOG = 16
};

/* What is called of libmicrohttpd, which is loaded with the first control socket. */
static struct {
    __typeof__(MHD_start_daemon) *start_daemon;
    __typeof__(MHD_stop_daemon) *stop_daemon;
    __typeof__(MHD_run) *run;
    __typeof__(MHD_get_timeout) *get_timeout;
    __typeof__(MHD_get_daemon_info) *get_daemon_info;
    __typeof__(MHD_lookup_connection_value) *lookup_connection_value;
    __typeof__(MHD_create_response_from_buffer) *create_response_from_buffer;
    __typeof__(MHD_add_response_header) *add_response_header;
    __typeof__(MHD_queue_response) *queue_response;
    __typeof__(MHD_destroy_response) *destroy_response;
} mhd;

static int load(struct err *e)
{
    const struct lib_function functions[] = {
        {"MHD_start_daemon", &mhd.start_daemon},
        {"MHD_stop_daemon", &mhd.stop_daemon},
        {"MHD_run", &mhd.run},
        {"MHD_get_timeout", &mhd.get_timeout},
        {"MHD_get_daemon_info", &mhd.get_daemon_info},
        {"MHD_lookup_connection_value", &mhd.lookup_connection_value},
        {"MHD_create_response_from_buffer", &mhd.create_response_from_buffer},
        {"MHD_add_response_header", &mhd.add_response_header},
        {"MHD_queue_response", &mhd.queue_response},
        {"MHD_destroy_response", &mhd.destroy_response},
    };
    return lib_load(MICROHTTPD_SONAME, functions, ARRAY_SIZE(functions), e);
}

struct api_http {
    struct api *api;
    struct MHD_Daemon *daemon;
    int fd; /* epoll's */
    unsigned connections;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
    struct own_path own;
};

/* A request while its body comes in. */
struct request {
    char *body;
    size_t len;
    bool too_long;
};

/* --- answers --- */

static enum MHD_Result send_answer(struct MHD_Connection *c, unsigned status, char *text)
{
    struct MHD_Response *r = mhd.create_response_from_buffer(
        text ? strlen(text) : 0, text, text ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    enum MHD_Result ok = MHD_YES;
    if (text)
        ok = mhd.add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    if (ok == MHD_YES)
        ok = mhd.queue_response(c, status, r);
    mhd.destroy_response(r);
    return ok;
}

static enum MHD_Result refuse_length(struct api *a, struct MHD_Connection *c)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "the body is longer than %d bytes", API_BODY_MAX);
    a->requests++;
    a->refused++;
    return send_answer(c, MHD_HTTP_CONTENT_TOO_LARGE, api_fault(text));
}

/* --- requests --- */

static bool declares_too_much(struct MHD_Connection *c)
{
    const char *len =
        mhd.lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return len && strtoull(len, NULL, 10) > API_BODY_MAX;
}

/* Memory is taken for what has come, not for what was announced. */
static bool append(struct request *r, const char *data, size_t len)
{
    if (r->too_long || len > API_BODY_MAX - r->len) {
        r->too_long = true;
        return true;
    }
    char *grown = realloc(r->body, r->len + len);
    if (!grown)
        return false;
    memcpy(grown + r->len, data, len);
    r->body = grown;
    r->len += len;
    return true;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path,
                                  const char *verb, const char *version, const char *data,
                                  size_t *len, void **own)
{
    struct api_http *h = ctx;
    struct request *r = *own;
    char *text;
    (void)version;
    if (!r) { /* only the header has come */
        if (declares_too_much(c))
            return refuse_length(h->api, c);
        *own = calloc(1, sizeof(*r));
        return *own ? MHD_YES : MHD_NO;
    }
    if (*len) {
        bool ok = append(r, data, *len);
        *len = 0;
        return ok ? MHD_YES : MHD_NO;
    }
    if (r->too_long)
        return refuse_length(h->api, c);
    unsigned status = api_answer(h->api, verb, path, r->body ? r->body : "", r->len, &text);
    return send_answer(c, status, text);
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **own,
                         enum MHD_RequestTerminationCode why)
{
    struct request *r = *own;
    (void)ctx, (void)c, (void)why;
    if (r)
        free(r->body);
    free(r);
    *own = NULL;
}

static enum MHD_Result let_in(void *ctx, const struct sockaddr *addr, socklen_t len)
{
    const struct api_http *h = ctx;
    (void)addr, (void)len;
    return h->connections < CONNECTIONS ? MHD_YES : MHD_NO;
}

static void count_connection(void *ctx, struct MHD_Connection *c, void **own,
                             enum MHD_ConnectionNotificationCode what)
{
    struct api_http *h = ctx;
    (void)c, (void)own;
    h->connections += what == MHD_CONNECTION_NOTIFY_STARTED ? 1 : -1;
}

/* Names have no characters that would be written as %xx: what has one is no name. */
static size_t keep_as_is(void *ctx, struct MHD_Connection *c, char *s)
{
    (void)ctx, (void)c;
    return strlen(s);
}

static void drop_message(void *ctx, const char *fmt, va_list ap)
{
    (void)ctx, (void)fmt, (void)ap; /* what a client does wrong is the client's to know */
}

/* --- life --- */

/* Only this user may connect. */
static int listen_at(const char *path, struct own_path *own, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(at.sun_path))
        return err_input(e, 0, "--api-sock %.64s...: a socket's name has at most %zu bytes", path,
                         sizeof(at.sun_path) - 1);
    memcpy(at.sun_path, path, strlen(path));
    AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_host(e, -errno, "--api-sock %s", path);
    mode_t old = umask(0177);
    int rc = bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
    (void)umask(old);
    if (rc == -EADDRINUSE)
        return err_input(e, 0, "--api-sock %s: there is such a file already", path);
    if (rc < 0)
        return err_input(e, rc, "--api-sock %s", path);
    rc = own_path_made(own, path);
    if (rc == 0 && listen(fd, BACKLOG) < 0)
        rc = -errno;
    if (rc < 0) {
        own_path_remove(own, path);
        return err_host(e, rc, "--api-sock %s", path);
    }
    jail_remove_at_end(path);
    return TAKE_FD(fd);
}

static struct MHD_Daemon *start_daemon(struct api_http *h, int fd)
{
    return mhd.start_daemon(
        MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, let_in, h, on_request, h, MHD_OPTION_EXTERNAL_LOGGER,
        drop_message, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)LIBRARY_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_as_is, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
        MHD_OPTION_NOTIFY_CONNECTION, count_connection, h, MHD_OPTION_END);
}

int http_open(struct api *a, const char *path, struct api_http **out, struct err *e)
{
    int rc = load(e);
    if (rc < 0)
        return rc;
    AUTO_FREE struct api_http *h = calloc(1, sizeof(*h));
    if (!h)
        return err_host(e, -ENOMEM, "control socket");
    AUTO_FD fd = listen_at(path, &h->own, e);
    if (fd < 0)
        return fd;
    h->api = a;
    (void)snprintf(h->path, sizeof(h->path), "%s", path);
    h->daemon = start_daemon(h, fd);
    const union MHD_DaemonInfo *info =
        h->daemon ? mhd.get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info) {
        own_path_remove(&h->own, path);
        return err_host(e, 0, "--api-sock %s: no HTTP server can be made", path);
    }
    h->fd = info->epoll_fd;
    (void)TAKE_FD(fd); /* the daemon closes it */
    *out = TAKE_PTR(h);
    return 0;
}

void http_close(struct api_http *h)
{
    if (!h)
        return;
    own_path_remove(&h->own, h->path);
    mhd.stop_daemon(h->daemon);
    free(h);
}

int http_fd(const struct api_http *h)
{
    return h->fd;
}

int http_timeout_ms(const struct api_http *h)
{
    MHD_UNSIGNED_LONG_LONG ms;
    if (mhd.get_timeout(h->daemon, &ms) != MHD_YES)
        return -1;
    return ms > INT_MAX ? INT_MAX : (int)ms;
}

void http_run(struct api_http *h)
{
    (void)mhd.run(h->daemon);
    (void)mhd.run(h->daemon); /* it accepts again, if it had no descriptors left */
}
