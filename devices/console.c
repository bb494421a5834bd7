/* devices/console.c - console (virtio 1.4, 5.3): port 0 is the machine's console (hvc0), further
 * named ports are channels to Unix sockets on the host.
 *
 * What the guest wrote and the host cannot take yet stays in its buffer, and what the host sent and
 * the guest has no buffer for stays with the host: nothing is copied aside, nothing is lost. */
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/chardev.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/virtio/vdev.h"

enum {
    CHANNELS_MAX = OPT_STRS_MAX,
    PORTS_MAX = CHANNELS_MAX + 1,
    QUEUE_SIZE = 128,
    TX_TURN = 256 * 1024, /* bytes of output in one turn of the loop, */
    TX_SEGMENT = 64,      /* of which each segment has so many at least, for it is a write */
    CONTROL_RX = 2,       /* queue numbers: 5.3.2 */
    CONTROL_TX = 3,
    NAME_MAX_LEN = 64,
};

/* What the guest is still to be told about a port; sent in this order. */
enum pending { TELL_ADD = 1, TELL_CONSOLE = 2, TELL_NAME = 4, TELL_OPEN = 8 };

struct port {
    struct console *con;
    unsigned id;
    char name[NAME_MAX_LEN];
    struct chardev *host;
    struct vq_req *rx;      /* a buffer waiting for input */
    struct vq_req *tx;      /* a buffer whose output the host has not taken whole */
    size_t tx_done;         /* of it, or of the next one after a pause */
    uint64_t input, output; /* bytes, since creation */
    unsigned pending;       /* enum pending */
    bool added, guest_open;
};

struct console {
    struct vdev *dev;
    struct loop *loop;
    bool multiport;      /* negotiated */
    bool ready;          /* DEVICE_READY came */
    atomic_uint size;    /* of port 0: rows, columns */
    bool size_announced; /* since the last reset */
    unsigned n;
    struct port ports[PORTS_MAX];
};

struct console_opts {
    struct opt_strs channels;
};

/* 5.3.2: ports from 1 on come after the control queues. */
static unsigned rx_queue(const struct port *p)
{
    return p->id == 0 ? 0 : 2 + 2 * p->id;
}

static unsigned tx_queue(const struct port *p)
{
    return rx_queue(p) + 1;
}

static struct vq *rx_of(const struct port *p)
{
    return vdev_queue(p->con->dev, rx_queue(p));
}

/* --- input: host to guest --- */

static bool port_wants_input(void *ctx)
{
    struct port *p = ctx;
    return rx_of(p) && (!p->con->multiport || p->guest_open);
}

static size_t port_room(void *ctx)
{
    struct port *p = ctx;
    struct vq *q = rx_of(p);
    while (q && !p->rx && (p->rx = vq_next(q)) != NULL && p->rx->in_len == 0) {
        vq_complete(q, TAKE_PTR(p->rx)); /* nothing fits into this one */
    }
    return p->rx ? p->rx->in_len : 0;
}

static void port_receive(void *ctx, const uint8_t *data, size_t len)
{
    struct port *p = ctx;
    struct vq *q = rx_of(p);
    struct vq_req *req = TAKE_PTR(p->rx);
    if (!q || !req || vq_req_write(req, 0, data, len) < 0)
        return; /* room() was asked just before, on this thread */
    req->written = (uint32_t)len;
    p->input += len;
    vq_complete(q, req);
}

/* --- output: guest to host --- */

/* Writes what is left of p->tx, at most *budget bytes; true when all of it is out. */
static bool tx_push(struct port *p, size_t *budget)
{
    size_t off = p->tx_done;
    for (unsigned i = 0; i < p->tx->n_out; i++) {
        const struct iovec *v = &p->tx->iov[i];
        if (off >= v->iov_len) {
            off -= v->iov_len;
            continue;
        }
        size_t want = MIN(v->iov_len - off, *budget);
        size_t n = chardev_write(p->host, (const uint8_t *)v->iov_base + off, want);
        p->tx_done += n;
        p->output += n;
        *budget -= n ? MIN(*budget, MAX(n, (size_t)TX_SEGMENT)) : 0;
        if (n < v->iov_len - off)
            return false;
        off = 0;
    }
    return true;
}

/* Linux reads the size when it changes, and not at first. Its first output says that the console is
 * there to be told. */
static void announce_size(struct console *c)
{
    if (!c->size_announced && !c->multiport)
        vdev_config_changed(c->dev);
    c->size_announced = true;
}

static void tx_run(struct port *p, struct vq *q)
{
    size_t budget = TX_TURN; /* a guest's output must not hold up the other devices */
    while (p->tx || (p->tx = vq_next(q)) != NULL) {
        if (p->id == 0)
            announce_size(p->con);
        if (!tx_push(p, &budget)) {
            if (budget == 0)
                vq_poke(q);
            return; /* else port_writable() goes on */
        }
        p->tx_done = 0;
        vq_complete(q, TAKE_PTR(p->tx));
    }
}

static void port_writable(void *ctx)
{
    struct port *p = ctx;
    struct vq *q = vdev_queue(p->con->dev, tx_queue(p));
    if (q)
        tx_run(p, q);
}

/* --- control (5.3.6.2) --- */

static void control_send(struct console *c)
{
    struct vq *q = vdev_queue(c->dev, CONTROL_RX);
    if (!q || !c->ready)
        return;
    for (unsigned i = 0; i < c->n; i++) {
        struct port *p = &c->ports[i];
        while (p->pending) {
            struct vq_req *req = vq_next(q);
            if (!req)
                return; /* goes on when the driver adds buffers */
            unsigned what = p->pending & -p->pending;
            struct virtio_console_control m = {.id = htole32(p->id)};
            size_t name_len = 0;
            switch (what) {
            case TELL_ADD:
                m.event = htole16(VIRTIO_CONSOLE_PORT_ADD);
                break;
            case TELL_CONSOLE:
                m.event = htole16(VIRTIO_CONSOLE_CONSOLE_PORT);
                m.value = htole16(1);
                break;
            case TELL_NAME:
                m.event = htole16(VIRTIO_CONSOLE_PORT_NAME);
                m.value = htole16(1);
                name_len = strlen(p->name);
                break;
            default:
                m.event = htole16(VIRTIO_CONSOLE_PORT_OPEN);
                m.value = htole16(p->id == 0 || chardev_connected(p->host));
                break;
            }
            p->pending &= ~what;
            if (vq_req_write(req, 0, &m, sizeof(m)) == 0 &&
                vq_req_write(req, sizeof(m), p->name, name_len) == 0)
                req->written = (uint32_t)(sizeof(m) + name_len);
            vq_complete(q, req);
        }
    }
}

static void control_handle(struct console *c, const struct virtio_console_control *m)
{
    unsigned id = le32toh(m->id), event = le16toh(m->event), value = le16toh(m->value);
    if (event == VIRTIO_CONSOLE_DEVICE_READY && value == 1) {
        c->ready = true;
        for (unsigned i = 0; i < c->n; i++) {
            if (!c->ports[i].added) /* a port that exists may not be added again */
                c->ports[i].pending |= TELL_ADD;
            c->ports[i].added = true;
        }
        return;
    }
    struct port *p = id < c->n && c->ports[id].added ? &c->ports[id] : NULL;
    if (!p)
        return;
    if (event == VIRTIO_CONSOLE_PORT_READY && value == 1) {
        p->pending |= p->id == 0 ? TELL_CONSOLE | TELL_OPEN : TELL_NAME;
        if (chardev_connected(p->host))
            p->pending |= TELL_OPEN;
    } else if (event == VIRTIO_CONSOLE_PORT_OPEN) {
        p->guest_open = value != 0;
        if (p->guest_open)
            chardev_rx_ready(p->host);
    }
}

/* Both at once, and only when a change is announced: the generation speaks for them. */
static void measure(struct console *c)
{
    uint16_t cols = 80, rows = 25;
    (void)chardev_size(c->ports[0].host, &cols, &rows); /* unknown: what a terminal once was */
    atomic_store(&c->size, (uint32_t)rows << 16 | cols);
}

static void port_event(void *ctx, enum chardev_event ev)
{
    struct port *p = ctx;
    if (ev == CHARDEV_RESIZED) {
        /* In the multiport case the message would be VIRTIO_CONSOLE_RESIZE, whose two fields Linux
         * up to 2025 reads in the other order: no size is better than a wrong one. */
        if (p->id == 0) {
            measure(p->con);
            vdev_config_changed(p->con->dev);
        }
        return;
    }
    if (p->added) {
        p->pending |= TELL_OPEN;
        control_send(p->con);
    }
}

/* --- the device --- */

static struct port *port_of_queue(struct console *c, unsigned q)
{
    unsigned id = q < 2 ? 0 : (q - 2) / 2;
    return &c->ports[id];
}

static void console_kick(struct vdev *d, struct vq *q)
{
    struct console *c = vdev_priv(d);
    unsigned i = vq_index(q);
    if (i >= CONTROL_RX && !c->multiport) /* 5.3.2: these queues do not exist then */
        return;
    if (i == CONTROL_RX) {
        control_send(c);
    } else if (i == CONTROL_TX) {
        vq_for_each (req, q) {
            struct virtio_console_control m;
            if (vq_req_read(req, 0, &m, sizeof(m)) == 0)
                control_handle(c, &m);
            vq_complete(q, req);
        }
        control_send(c);
    } else if (i % 2 == 0) {
        chardev_rx_ready(port_of_queue(c, i)->host);
    } else {
        tx_run(port_of_queue(c, i), q);
    }
}

static void console_drain(struct vdev *d, struct vq *q)
{
    struct console *c = vdev_priv(d);
    unsigned i = vq_index(q);
    struct port *p = port_of_queue(c, i);
    if (i == CONTROL_RX || i == CONTROL_TX)
        return;
    struct vq_req **held = i % 2 == 0 ? &p->rx : &p->tx;
    if (vq_aborting(q) && i % 2 != 0)
        p->tx_done = 0; /* what a pause would go on with is none of a fresh queue's business */
    if (*held)
        vq_unpop(q, TAKE_PTR(*held));
}

static int console_start(struct vdev *d)
{
    struct console *c = vdev_priv(d);
    c->multiport = vdev_has(d, VIRTIO_CONSOLE_F_MULTIPORT); /* no queue is live yet */
    return 0;
}

static void reset_on_loop(void *ctx)
{
    struct console *c = ctx;
    c->ready = c->multiport = c->size_announced = false;
    for (unsigned i = 0; i < c->n; i++) {
        struct port *p = &c->ports[i];
        p->pending = 0;
        p->tx_done = 0;
        p->added = p->guest_open = false;
    }
}

static void console_reset(struct vdev *d)
{
    struct console *c = vdev_priv(d);
    loop_call(c->loop, reset_on_loop, c);
}

static void console_config_read(struct vdev *d, void *cfg)
{
    struct console *c = vdev_priv(d);
    uint32_t size = atomic_load(&c->size);
    const struct virtio_console_config k = {.cols = htole16((uint16_t)size),
                                            .rows = htole16((uint16_t)(size >> 16)),
                                            .max_nr_ports = htole32(c->n)};
    memcpy(cfg, &k, sizeof(k));
}

/* 5.3.5.1: the lower byte goes out even when nothing is configured. */
static void console_config_write(struct vdev *d, const void *cfg, size_t off, size_t len)
{
    const struct console *c = vdev_priv(d);
    size_t at = offsetof(struct virtio_console_config, emerg_wr);
    if (off == at && len > 0)
        (void)chardev_write(c->ports[0].host, (const uint8_t *)cfg + at, 1);
}

static void console_save(const struct vdev *d, struct state_out *s)
{
    const struct console *c = vdev_priv(d);
    state_begin(s, "CONS", 1);
    state_u8(s, c->ready);
    state_u32(s, c->n);
    for (unsigned i = 0; i < c->n; i++) {
        const struct port *p = &c->ports[i];
        state_u8(s, (uint8_t)p->pending);
        state_u8(s, (uint8_t)(p->added | p->guest_open << 1));
        state_u64(s, p->tx_done);
    }
    state_end(s);
}

static int console_load(struct vdev *d, struct state_in *s)
{
    struct console *c = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "CONS", 1, &version);
    if (rc < 0)
        return rc;
    c->multiport = vdev_has(d, VIRTIO_CONSOLE_F_MULTIPORT);
    c->ready = state_get_u8(s) & 1;
    if (state_get_u32(s) != c->n)
        return -EBADMSG;
    for (unsigned i = 0; i < c->n; i++) {
        struct port *p = &c->ports[i];
        p->pending = state_get_u8(s) & (TELL_ADD | TELL_CONSOLE | TELL_NAME | TELL_OPEN);
        uint8_t flags = state_get_u8(s);
        p->added = flags & 1;
        p->guest_open = flags >> 1 & 1;
        p->tx_done = state_get_u64(s); /* more than a buffer has reads as all of it */
    }
    return state_close(s);
}

static void console_free(struct vdev *d)
{
    struct console *c = vdev_priv(d);
    for (unsigned i = 1; i < c->n; i++) /* port 0 is the machine's */
        chardev_free(c->ports[i].host);
    free(c);
}

/* --- creation --- */

static int port_attach(struct console *c, struct chardev *host)
{
    struct port *p = &c->ports[c->n];
    const struct chardev_client client = {.wants_input = port_wants_input,
                                          .room = port_room,
                                          .receive = port_receive,
                                          .writable = port_writable,
                                          .event = port_event,
                                          .ctx = p};
    p->con = c;
    p->id = c->n++;
    p->host = host;
    chardev_attach(host, &client);
    return p->id == 0 ? 0 : chardev_start(host);
}

/* "NAME:PATH" */
static int channel_open(struct console *c, const char *spec, struct err *e)
{
    const char *colon = strchr(spec, ':');
    size_t len = colon ? (size_t)(colon - spec) : 0;
    if (len == 0 || len >= NAME_MAX_LEN || colon[1] == '\0')
        return err_input(e, 0, "console channel \"%s\": NAME:PATH is wanted", spec);
    struct chardev *host;
    const struct chardev_spec unix_spec = {.kind = CHARDEV_UNIX, .path = colon + 1};
    int rc = chardev_new(&unix_spec, c->loop, &host, e);
    if (rc < 0)
        return rc;
    memcpy(c->ports[c->n].name, spec, len);
    rc = port_attach(c, host);
    return rc < 0 ? err_host(e, rc, "console channel \"%s\"", spec) : 0;
}

static int console_create(const void *opts, const struct build_env *env, struct vdev **out,
                          struct err *e);

static const struct opt_desc console_opts[] = {
    {.key = "channel",
     .type = OPT_STRS,
     .offset = offsetof(struct console_opts, channels),
     .metavar = "NAME:PATH",
     .help = "a named port that is a Unix socket on the host; repeatable"},
    {.type = OPT_END},
};

static void console_report(const struct vdev *d, struct report *r)
{
    const struct console *c = vdev_priv(d);
    uint64_t input = 0, output = 0;
    for (unsigned i = 0; i < c->n; i++) {
        input += c->ports[i].input;
        output += c->ports[i].output;
    }
    report_number(r, "input_bytes", input);
    report_number(r, "output_bytes", output);
}

static const struct vdev_ops console_ops = {
    .config_len = sizeof(struct virtio_console_config),
    .config_read = console_config_read,
    .config_write = console_config_write,
    .start = console_start,
    .reset = console_reset,
    .kick = console_kick,
    .drain = console_drain,
    .save = console_save,
    .load = console_load,
    .report = console_report,
    .free = console_free,
};
static const struct sandbox_list console_calls = {
    .name = "console",
    .calls = (const struct sandbox_call[]){{.nr = SYS_ioctl,
                                            .on = ON_LOOP,
                                            .arg = 1,
                                            .mask = UINT32_MAX,
                                            .value = TIOCGWINSZ,
                                            .why = "a terminal: tests/cli"},
                                           {0}}};

extern const struct vdev_class console_class;
const struct vdev_class console_class = {
    .name = "console",
    .summary = "console (hvc0) and named channels",
    .virtio_id = VIRTIO_ID_CONSOLE,
    .pci_class = 0x078000,
    .ops = &console_ops,
    .opts = console_opts,
    .opts_size = sizeof(struct console_opts),
    .create = console_create,
    .sandbox = (const struct sandbox_list *const[]){&console_calls, NULL},
};

static int console_create(const void *opts, const struct build_env *env, struct vdev **out,
                          struct err *e)
{
    const struct console_opts *o = opts;
    uint16_t sizes[2 + 2 * PORTS_MAX];
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        sizes[i] = QUEUE_SIZE;

    struct console *c = calloc(1, sizeof(*c));
    if (!c)
        return err_host(e, -ENOMEM, "console");
    c->loop = env->loop;
    int rc = port_attach(c, env->console);
    for (unsigned i = 0; rc == 0 && i < o->channels.n; i++)
        rc = channel_open(c, o->channels.v[i], e);
    unsigned queues = o->channels.n ? 2 + 2 * c->n : 2;
    if (rc == 0 && (rc = vdev_new(&console_class, env, c, sizes, queues, out)) < 0)
        (void)err_host(e, rc, "console");
    if (rc < 0) {
        for (unsigned i = 1; i < c->n; i++)
            chardev_free(c->ports[i].host);
        free(c);
        return rc;
    }
    c->dev = *out;
    measure(c);
    vdev_offer(*out, VIRTIO_CONSOLE_F_SIZE);
    vdev_offer(*out, VIRTIO_CONSOLE_F_EMERG_WRITE);
    if (o->channels.n)
        vdev_offer(*out, VIRTIO_CONSOLE_F_MULTIPORT);
    return 0;
}
