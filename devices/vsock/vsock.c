/* devices/vsock/vsock.c - a socket device (virtio 1.4, 5.10): streams and messages between programs
 * of the guest and Unix sockets of the host. */
#include <linux/sockios.h>
#include <linux/virtio_ids.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "devices/vsock/vsock_priv.h"

enum { QUEUE_SIZE = 256, EVENT_QUEUE_SIZE = 16 };
enum { CID_FIRST = 3, CID_LAST = 0xfffffffe }; /* the others are reserved: 5.10.4 */

struct vsock_opts {
    uint64_t cid;
    const char *uds;
};

static void vsock_config_read(struct vdev *d, void *cfg)
{
    const struct vsock *v = vdev_priv(d);
    put_bytes(cfg, v->cid, sizeof(struct virtio_vsock_config));
}

static void vsock_kick(struct vdev *d, struct vq *q)
{
    struct vsock *v = vdev_priv(d);
    if (vq_index(q) == VSOCK_EVENT)
        vsock_event(v);
    if (vq_index(q) == VSOCK_TX)
        vsock_tx(v, q);
    vsock_rx(v); /* and what the driver sent may have been answered */
}

static void forget(void *ctx)
{
    struct vsock *v = ctx;
    conns_end(v, false);
    v->transport_reset = false;
}

static int vsock_start(struct vdev *d)
{
    struct vsock *v = vdev_priv(d);
    loop_call(v->loop, forget, v); /* a driver that begins has no connection */
    return 0;
}

static void vsock_reset(struct vdev *d)
{
    struct vsock *v = vdev_priv(d);
    loop_call(v->loop, forget, v);
}

static void vsock_save(const struct vdev *d, struct state_out *s)
{
    const struct vsock *v = vdev_priv(d);
    state_begin(s, "VSCK", 1);
    state_u64(s, v->cid);
    state_end(s);
}

/* Connections end at the host's side of them, so they do not survive; the driver has to be told,
 * and it will read guest_cid again, which may be another one now (5.10.6.7). */
static int vsock_load(struct vdev *d, struct state_in *s)
{
    struct vsock *v = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "VSCK", 1, &version);
    if (rc < 0)
        return rc;
    uint64_t cid = state_get_u64(s);
    if (cid < CID_FIRST || cid > CID_LAST)
        return -EBADMSG;
    rc = state_close(s);
    if (rc < 0)
        return rc;
    conns_end(v, false);
    v->transport_reset = true;
    return 0;
}

static void vsock_report(const struct vdev *d, struct report *r)
{
    const struct vsock *v = vdev_priv(d);
    const struct vsock_counters *c = &v->count;
    report_text(r, "uds", v->path);
    report_number(r, "cid", v->cid);
    report_number(r, "connections", v->conn_n);
    report_number(r, "rx_packets", c->rx_packets);
    report_number(r, "rx_bytes", c->rx_bytes);
    report_number(r, "tx_packets", c->tx_packets);
    report_number(r, "tx_bytes", c->tx_bytes);
    report_number(r, "opened_by_guest", c->opened_by_guest);
    report_number(r, "opened_by_host", c->opened_by_host);
    report_number(r, "refused", c->refused);
    report_number(r, "expired", c->expired);
    report_number(r, "resets", c->resets);
    report_number(r, "bad_packets", c->bad_packets);
    report_number(r, "violations", c->violations);
    report_number(r, "short_buffers", c->short_buffers);
    report_number(r, "held_up", c->held_up);
    report_number(r, "transport_resets", c->transport_resets);
}

static void close_on_loop(void *ctx)
{
    struct vsock *v = ctx;
    conns_end(v, true);
    host_close(v);
}

static void vsock_destroy(struct vsock *v)
{
    loop_call(v->loop, close_on_loop, v);
    fd_unshare(v->conn_max);
    free(v);
}

static void vsock_free(struct vdev *d)
{
    vsock_destroy(vdev_priv(d));
}

static const struct vdev_ops vsock_ops = {.config_len = sizeof(struct virtio_vsock_config),
                                          .config_read = vsock_config_read,
                                          .start = vsock_start,
                                          .reset = vsock_reset,
                                          .kick = vsock_kick,
                                          .report = vsock_report,
                                          .save = vsock_save,
                                          .load = vsock_load,
                                          .free = vsock_free};

static int vsock_create(const void *opts, const struct build_env *env, struct vdev **out,
                        struct err *e);

#define AT(field) offsetof(struct vsock_opts, field)
static const struct opt_desc vsock_opts[] = {
    {.key = "cid",
     .type = OPT_U64,
     .offset = AT(cid),
     .metavar = "N",
     .min = CID_FIRST,
     .max = CID_LAST,
     .required = true,
     .help = "the guest's context ID, by which its sockets are addressed"},
    {.key = "uds",
     .type = OPT_STR,
     .offset = AT(uds),
     .metavar = "PATH",
     .required = true,
     .help =
         "Unix socket to make: a client says \"CONNECT port\" and is told \"OK\"; what the guest "
         "connects to, port P of CID 2, is the socket PATH_P"},
    {.type = OPT_END},
};

static const struct sandbox_list vsock_calls = {
    .name = "vsock",
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_socket, .on = ON_LOOP, .arg = 0, .mask = UINT32_MAX, .value = AF_UNIX},
        {.nr = SYS_connect, .on = ON_LOOP},
        {.nr = SYS_accept4, .on = ON_LOOP},
        {.nr = SYS_setsockopt, .on = ON_LOOP},
        {.nr = SYS_shutdown, .on = ON_LOOP},
        {.nr = SYS_sendmsg, .on = ON_LOOP},
        {.nr = SYS_recvmsg, .on = ON_LOOP},
        {.nr = SYS_ioctl,
         .on = ON_LOOP,
         .arg = 1,
         .mask = UINT32_MAX,
         .value = SIOCOUTQ,
         .why = "a host that reads slowly at the end: test_vsock_flow"},
        {.nr = SYS_ioctl, .on = ON_LOOP, .arg = 1, .mask = UINT32_MAX, .value = SIOCINQ},
        {.nr = SYS_epoll_ctl, .on = ON_LOOP},
        {.nr = SYS_epoll_wait, .on = ON_LOOP},
        {.nr = SYS_unlink, .on = ON_MAIN},
        {0}}};

extern const struct vdev_class vsock_class;
const struct vdev_class vsock_class = {
    .name = "vsock",
    .summary = "stream and seqpacket sockets between the guest and Unix sockets of the host",
    .virtio_id = VIRTIO_ID_VSOCK,
    .pci_class = 0x078000,
    .ops = &vsock_ops,
    .opts = vsock_opts,
    .opts_size = sizeof(struct vsock_opts),
    .create = vsock_create,
    .sandbox = (const struct sandbox_list *const[]){&vsock_calls, NULL}};

static int vsock_create(const void *opts, const struct build_env *env, struct vdev **out,
                        struct err *e)
{
    const struct vsock_opts *o = opts;
    static const uint16_t sizes[] = {QUEUE_SIZE, QUEUE_SIZE, EVENT_QUEUE_SIZE};
    struct vsock *v = calloc(1, sizeof(*v));
    if (!v)
        return err_host(e, -ENOMEM, "vsock");
    v->loop = env->loop;
    v->cid = (uint32_t)o->cid;
    v->listen_fd = v->epoll_fd = -1;
    v->conn_max = (unsigned)fd_share(VSOCK_CONNS);
    conns_init(v);
    int rc = host_open(v, o->uds, e);
    if (rc == 0) {
        rc = vdev_new(&vsock_class, env, v, sizes, ARRAY_SIZE(sizes), &v->dev);
        if (rc < 0)
            (void)err_host(e, rc, "vsock");
    }
    if (rc < 0) {
        vsock_destroy(v);
        return rc;
    }
    vdev_offer(v->dev, VSOCK_F_STREAM);
    vdev_offer(v->dev, VIRTIO_VSOCK_F_SEQPACKET);
    vdev_offer(v->dev, VSOCK_F_NO_IMPLIED_STREAM);
    *out = v->dev;
    return 0;
}
