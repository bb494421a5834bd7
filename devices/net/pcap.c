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
    SNAP_LEN = 262144,             /* tcpdump's own: no frame is cut */
    FRAME_MAX = NET_FRAME_MAX + 1, /* a longer one may have come, and is told apart by one byte */
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
    int fd;
    off_t end;
    bool ended;
    uint8_t *record; /* one, whole: it leaves in one write() */
};

static struct pcap *of(struct net_backend *b)
{
    return container_of(b, struct pcap, b);
}

/* Half a record is what readers find at the end of a file that still grows; it is cut off when the
 * back end goes. */
static void end_capture(struct pcap *p, int rc)
{
    log_warn("capture %s: ends here: %s", p->path, rc ? strerror(-rc) : "the disk is full");
    p->ended = true;
}

/* iov[0] is the offload header, which is not on the wire. */
static void record(struct pcap *p, const struct iovec *iov, unsigned n, size_t len)
{
    struct timespec now;
    size_t at = sizeof(struct record_header), all = at + MIN(len, (size_t)FRAME_MAX);
    if (p->ended)
        return;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct record_header h = {.seconds = (uint32_t)now.tv_sec,
                              .nanoseconds = (uint32_t)now.tv_nsec,
                              .captured = (uint32_t)(all - at),
                              .original = (uint32_t)len};
    memcpy(p->record, &h, sizeof(h));
    for (unsigned i = 1; i < n && at < all; i++) {
        size_t part = MIN(all - at, iov[i].iov_len);
        memcpy(p->record + at, iov[i].iov_base, part);
        at += part;
    }
    ssize_t r = write(p->fd, p->record, all);
    if (r == (ssize_t)all)
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
    if (p->ended && ftruncate(p->fd, p->end) < 0)
        log_warn("capture %s: ends with half a frame", p->path);
    fd_cleanup_(&p->fd);
    free(p->path);
    free(p->record);
    free(p);
}

const struct sandbox_list net_pcap_calls = {
    .name = "net pcap",
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_ftruncate, .on = ON_MAIN, .why = "a capture that found the disk full"}, {0}}};

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
    p->record = malloc(sizeof(struct record_header) + FRAME_MAX);
    int rc = p->path && p->record ? open_file(p, what, e)
                                  : err_host(e, -ENOMEM, "%s: pcap %s", what, path);
    if (rc < 0) {
        pcap_free(&p->b);
        return rc;
    }
    p->inner = inner;
    *out = &p->b;
    return 0;
}
