/* devices/net/pcap.c - a capture: every frame that passes a back end goes to a file too, in the
 * format that tcpdump and Wireshark read (draft-ietf-opsawg-pcap). Each record is written at once,
 * so the file can be followed; when the file cannot grow the capture ends and the network goes on.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "base/log.h"
#include "devices/net/backend.h"

enum {
    MAGIC_NS = 0xa1b23c4d, /* time stamps in nanoseconds */
    LINKTYPE_ETHERNET = 1,
    SNAP_LEN = 262144, /* tcpdump's own: no frame is cut */
};

struct file_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, snap_len, link_type;
};
struct record_header {
    uint32_t seconds, nanoseconds, captured, original;
};

struct pcap {
    struct net_backend b;
    struct net_backend *inner;
    char *path;
    int fd; /* -1: the capture has ended */
    off_t end;
    struct iovec *iov; /* room for a record */
};

static struct pcap *of(struct net_backend *b)
{
    return container_of(b, struct pcap, b);
}

/* Half a record would end the file for its readers. */
static void end_capture(struct pcap *p, int rc)
{
    bool torn = ftruncate(p->fd, p->end) < 0;
    log_warn("capture %s: ends here%s: %s", p->path, torn ? ", with half a frame" : "",
             rc ? strerror(-rc) : "the disk is full");
    (void)close(TAKE_FD(p->fd));
}

/* iov[0] is the offload header, which is not on the wire. */
static void record(struct pcap *p, const struct iovec *iov, unsigned n, size_t len)
{
    struct timespec now;
    size_t left = len;
    unsigned k = 1;
    if (p->fd < 0)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct record_header h = {.seconds = (uint32_t)now.tv_sec,
                              .nanoseconds = (uint32_t)now.tv_nsec,
                              .captured = (uint32_t)len,
                              .original = (uint32_t)len};
    p->iov[0] = (struct iovec){.iov_base = &h, .iov_len = sizeof(h)};
    for (unsigned i = 1; i < n && left > 0; i++, k++) {
        p->iov[k] = iov[i];
        p->iov[k].iov_len = MIN(left, iov[i].iov_len);
        left -= p->iov[k].iov_len;
    }
    ssize_t r = writev(p->fd, p->iov, (int)k);
    if (r == (ssize_t)(sizeof(h) + len))
        p->end += r;
    else
        end_capture(p, r < 0 ? -errno : 0);
}

static ssize_t pcap_recv(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct pcap *p = of(b);
    ssize_t r = p->inner->ops->recv(p->inner, queue, iov, n);
    if (r > 0)
        record(p, iov, n, (size_t)r);
    return r;
}

static int pcap_send(struct net_backend *b, unsigned queue, const struct iovec *iov, unsigned n)
{
    struct pcap *p = of(b);
    size_t len = 0;
    int rc = p->inner->ops->send(p->inner, queue, iov, n);
    for (unsigned i = 1; i < n; i++)
        len += iov[i].iov_len;
    if (rc == 0)
        record(p, iov, n, len);
    return rc;
}

static void pcap_listen(struct net_backend *b, unsigned queue, bool on)
{
    struct pcap *p = of(b);
    p->inner->sink = b->sink; /* the device set it since */
    p->inner->ops->listen(p->inner, queue, on);
}

static void pcap_set_offloads(struct net_backend *b, uint64_t features)
{
    struct pcap *p = of(b);
    p->inner->ops->set_offloads(p->inner, features);
}

static void pcap_quiet(struct net_backend *b, unsigned queue)
{
    struct pcap *p = of(b);
    p->inner->ops->quiet(p->inner, queue);
}

static void pcap_attach(struct net_backend *b, unsigned queue, bool on)
{
    struct pcap *p = of(b);
    p->inner->ops->attach(p->inner, queue, on);
}

static void pcap_free(struct net_backend *b)
{
    struct pcap *p = of(b);
    net_backend_free(p->inner);
    fd_cleanup_(&p->fd);
    free(p->path);
    free(p->iov);
    free(p);
}

const struct sandbox_list net_pcap_calls = {
    .name = "net pcap",
    .calls = (const struct sandbox_call[]){{.nr = SYS_writev, .on = ON_LOOP, .why = SANDBOX_LAB},
                                           {.nr = SYS_ftruncate, .on = ON_LOOP, .why = SANDBOX_LAB},
                                           {0}}};

static const struct net_backend_ops pcap_ops = {.recv = pcap_recv,
                                                .send = pcap_send,
                                                .listen = pcap_listen,
                                                .set_offloads = pcap_set_offloads,
                                                .quiet = pcap_quiet,
                                                .attach = pcap_attach,
                                                .free = pcap_free};

static int open_file(struct pcap *p, const char *what, struct err *e)
{
    struct stat st;
    const struct file_header h = {.magic = MAGIC_NS,
                                  .major = 2,
                                  .minor = 4,
                                  .snap_len = SNAP_LEN,
                                  .link_type = LINKTYPE_ETHERNET};
    /* Nothing is lost before it is known to be a file; a FIFO would stop all of us. */
    p->fd = open(p->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
    if (p->fd < 0 || fstat(p->fd, &st) < 0)
        return err_input(e, -errno, "%s: pcap %s", what, p->path);
    if (!S_ISREG(st.st_mode))
        return err_input(e, 0, "%s: pcap %s: is no regular file", what, p->path);
    if (ftruncate(p->fd, 0) < 0 || write(p->fd, &h, sizeof(h)) != (ssize_t)sizeof(h))
        return err_input(e, -errno, "%s: pcap %s: cannot be written", what, p->path);
    p->end = sizeof(h);
    return 0;
}

int net_pcap_open(const char *path, const char *what, struct net_backend *inner,
                  struct net_backend **out, struct err *e)
{
    sandbox_need(&net_pcap_calls);
    struct pcap *p = calloc(1, sizeof(*p));
    if (!p)
        return err_host(e, -ENOMEM, "%s: pcap %s", what, path);
    p->fd = -1;
    p->b = *inner;      /* it can do what the inner one can, */
    p->b.apart = false; /* but the file is one */
    p->b.ops = &pcap_ops;
    p->path = strdup(path);
    p->iov = calloc(NET_IOV_MAX, sizeof(p->iov[0]));
    int rc =
        p->path && p->iov ? open_file(p, what, e) : err_host(e, -ENOMEM, "%s: pcap %s", what, path);
    if (rc < 0) {
        pcap_free(&p->b);
        return rc;
    }
    p->inner = inner;
    *out = &p->b;
    return 0;
}
