/* devices/pmem.c - persistent memory (virtio 1.4, 5.19): a file in the guest's address space, which
 * the host's page cache holds once for all, and a request that makes what was written durable.
 *
 * The file has to stay as long as it is: where it was cut short, an access of the guest ends the
 * guest, and one of ours would end us. So it is locked against other VMs, and has all its blocks
 * before the guest runs, lest the first write to a hole find the disk full. */
#include <assert.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pmem.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/gmem.h"
#include "base/log.h"
#include "base/loop.h"
#include "devices/hostfile.h"
#include "devices/hostmap.h"
#include "devices/virtio/vdev.h"

enum {
    PMEM_F_SHMEM_REGION = 0, /* newer than the UAPI header */
    SHM_ID = 0,
    QUEUE_SIZE = 64,
    UNIT = 2 << 20, /* Linux maps persistent memory in pieces of it */
    PLACE_ALIGN = 128 << 20,
};

struct pmem_opts {
    const char *file;
    uint64_t size; /* 0: the file's */
    bool ro, shm;
};

struct pmem {
    struct loop *loop;
    char name[64]; /* for the log */
    int fd;
    uint8_t *host;
    uint64_t size;
    gpa_t at;
    bool ro;
    /* The loop's. The host's kernel reports once that it could not write a page back, and counts it
     * as clean from then on: so a later flush that succeeds proves nothing about what was written
     * before, up to the next power-on. */
    bool failed;
    uint64_t flushes, failures;
    struct log_limit errors;
};

struct pmem_req { /* vq_req_state() */
    struct loop_io io;
    struct pmem *p;
    struct vq *q;
    struct vq_req *req;
};

/* --- requests (5.19.6, 5.19.7) --- */

static void answer(struct vq *q, struct vq_req *req, bool ok)
{
    const struct virtio_pmem_resp resp = {.ret = htole32(ok ? 0 : (uint32_t)-1)};
    if (vq_req_write(req, 0, &resp, sizeof(resp)) == 0)
        req->written = sizeof(resp);
    vq_complete(q, req);
}

static void synced(struct loop_io *io, int64_t result)
{
    struct pmem_req *r = container_of(io, struct pmem_req, io);
    struct pmem *p = r->p;
    p->flushes++;
    if (result < 0) {
        p->failed = true;
        p->failures++;
        log_limited(&p->errors, LOG_WARN, "%s: flush failed: %s", p->name, strerror((int)-result));
    }
    answer(r->q, r->req, !p->failed);
}

static void sync_file(struct pmem_req *r)
{
    r->io = (struct loop_io){.op = LOOP_FDATASYNC, .fd = r->p->fd, .done = synced};
    loop_io(r->p->loop, &r->io);
}

static void pmem_kick(struct vdev *d, struct vq *q)
{
    struct pmem *p = vdev_priv(d);
    vq_for_each (req, q) {
        struct virtio_pmem_req h;
        if (vq_req_read(req, 0, &h, sizeof(h)) < 0 ||
            le32toh(h.type) != VIRTIO_PMEM_REQ_TYPE_FLUSH) {
            answer(q, req, false);
            continue;
        }
        struct pmem_req *r = vq_req_state(q, req);
        *r = (struct pmem_req){.p = p, .q = q, .req = req};
        sync_file(r);
    }
}

/* --- configuration, state --- */

static void pmem_config_read(struct vdev *d, void *cfg)
{
    const struct pmem *p = vdev_priv(d);
    struct virtio_pmem_config c = {.start = htole64(p->at.v), .size = htole64(p->size)};
    if (vdev_has(d, PMEM_F_SHMEM_REGION)) /* 5.19.5.1 */
        c = (struct virtio_pmem_config){0};
    memcpy(cfg, &c, sizeof(c));
}

static void pmem_power_on(struct vdev *d)
{
    struct pmem *p = vdev_priv(d);
    p->failed = false;
}

static void pmem_report(const struct vdev *d, struct report *r)
{
    const struct pmem *p = vdev_priv(d);
    report_number(r, "size", p->size);
    report_number(r, "flushes", p->flushes);
    report_number(r, "failed_flushes", p->failures);
}

static void pmem_save(const struct vdev *d, struct state_out *s)
{
    const struct pmem *p = vdev_priv(d);
    state_begin(s, "PMEM", 1);
    state_u64(s, p->at.v);
    state_u64(s, p->size);
    state_u8(s, p->failed);
    state_end(s);
}

/* The guest knows where it is and how long, and that cannot be changed behind its back. */
static int pmem_load(struct vdev *d, struct state_in *s)
{
    struct pmem *p = vdev_priv(d);
    uint32_t version;
    int rc = state_open(s, "PMEM", 1, &version);
    if (rc < 0)
        return rc;
    uint64_t at = state_get_u64(s), size = state_get_u64(s);
    uint8_t failed = state_get_u8(s);
    rc = state_close(s);
    if (rc < 0 || at != p->at.v || size != p->size || failed > 1)
        return -EBADMSG;
    p->failed = failed;
    return 0;
}

static void pmem_destroy(struct pmem *p)
{
    hostmap_free(p->host, p->size);
    fd_cleanup_(&p->fd);
    free(p);
}

static void pmem_free(struct vdev *d)
{
    pmem_destroy(vdev_priv(d));
}

/* --- creation --- */

/* How long it is, after it has grown if it may. */
static int measure(int fd, const struct pmem_opts *o, const struct stat *st, uint64_t *len,
                   struct err *e)
{
    bool regular = S_ISREG(st->st_mode);
    *len = (uint64_t)st->st_size;
    if (!regular && ioctl(fd, BLKGETSIZE64, len) < 0)
        return err_input(e, -errno, "pmem %s: cannot be measured", o->file);
    if (regular && !o->ro && o->size > *len) {
        if (ftruncate(fd, (off_t)o->size) < 0)
            return err_input(e, -errno, "pmem %s: cannot grow to %llu MiB", o->file,
                             (unsigned long long)(o->size >> 20));
        *len = o->size;
    }
    return 0;
}

static int check_size(const struct pmem_opts *o, uint64_t len, uint64_t *size, struct err *e)
{
    *size = o->size ? o->size : len;
    if (*size == 0)
        return err_input(e, 0, "pmem %s: is empty; size= makes it as long as it is to be", o->file);
    if (*size > len)
        return err_input(e, 0, "pmem %s: has %llu bytes, and size= asks for %llu", o->file,
                         (unsigned long long)len, (unsigned long long)*size);
    if (*size % UNIT)
        return err_input(e, 0,
                         "pmem %s: %llu bytes are not a multiple of 2 MiB, and guests map "
                         "persistent memory in such pieces",
                         o->file, (unsigned long long)*size);
    return 0;
}

static int open_file(struct pmem *p, const struct pmem_opts *o, struct err *e)
{
    uint64_t len = 0, size = 0;
    struct stat st = {0};
    int rc = hostfile_open("pmem", o->file, o->ro, o->size && !o->ro ? O_CREAT : 0, &p->fd, &st, e);
    if (rc == 0)
        rc = measure(p->fd, o, &st, &len, e);
    if (rc == 0)
        rc = check_size(o, len, &size, e);
    if (rc < 0)
        return rc;
    if (S_ISREG(st.st_mode) && !o->ro && fallocate(p->fd, 0, 0, (off_t)size) < 0 &&
        errno != EOPNOTSUPP)
        return err_input(e, -errno, "pmem %s: the host has not the room for all of it", o->file);
    rc = hostmap_new(p->fd, size, o->ro ? PROT_READ : PROT_READ | PROT_WRITE, &p->host);
    if (rc < 0)
        return err_input(e, rc, "pmem %s: cannot be mapped", o->file);
    p->size = size;
    return 0;
}

/* Into the guest's address space, and into what descriptors may lead to. */
static int place(struct pmem *p, const struct build_env *env, const struct pmem_opts *o,
                 struct err *e)
{
    int rc = env->place ? env->place(env->place_ctx, p->host, p->size, PLACE_ALIGN, p->ro, &p->at)
                        : -EOPNOTSUPP;
    if (rc == -ENOSPC)
        return err_input(e, 0, "pmem %s: %llu MiB have no room in the guest's address space",
                         o->file, (unsigned long long)(p->size >> 20));
    if (rc < 0)
        return err_host(e, rc, "pmem %s: cannot be shown to the guest", o->file);
    const struct gmem_region r = {.base = p->at, .len = p->size, .host = p->host, .ro = p->ro};
    rc = gmem_add(env->mem, &r);
    return rc < 0 ? err_host(e, rc, "pmem %s: guest memory", o->file) : 0;
}

static int pmem_create(const void *opts, const struct build_env *env, struct vdev **out,
                       struct err *e);

static const struct opt_desc pmem_opts[] = {
    {.key = "file",
     .type = OPT_STR,
     .offset = offsetof(struct pmem_opts, file),
     .metavar = "FILE",
     .help = "file or block device: a multiple of 2 MiB, of which every block is allocated",
     .positional = true,
     .required = true},
    {.key = "size",
     .type = OPT_SIZE,
     .offset = offsetof(struct pmem_opts, size),
     .metavar = "SIZE",
     .help = "how much of it; a file that is shorter grows; default: all"},
    {.key = "ro",
     .type = OPT_FLAG,
     .offset = offsetof(struct pmem_opts, ro),
     .help = "the guest's writes go nowhere"},
    {.key = "shm",
     .type = OPT_FLAG,
     .offset = offsetof(struct pmem_opts, shm),
     .help = "offer it as shared memory too, which newer drivers then prefer and other devices "
             "cannot reach"},
    {.type = OPT_END},
};

static const struct vdev_ops pmem_ops = {
    .config_len = sizeof(struct virtio_pmem_config),
    .req_size = sizeof(struct pmem_req),
    .config_read = pmem_config_read,
    .power_on = pmem_power_on,
    .kick = pmem_kick,
    .report = pmem_report,
    .save = pmem_save,
    .load = pmem_load,
    .free = pmem_free,
};
extern const struct vdev_class pmem_class;
const struct vdev_class pmem_class = {
    .name = "pmem",
    .summary = "persistent memory: a file in the guest's address space",
    .virtio_id = VIRTIO_ID_PMEM,
    .pci_class = 0x058000,
    .ops = &pmem_ops,
    .opts = pmem_opts,
    .opts_size = sizeof(struct pmem_opts),
    .create = pmem_create,
};

static int pmem_create(const void *opts, const struct build_env *env, struct vdev **out,
                       struct err *e)
{
    static const uint16_t sizes[] = {QUEUE_SIZE};
    const struct pmem_opts *o = opts;
    struct vdev *d;
    if (o->ro && o->shm)
        return err_input(e, 0, "pmem %s: ro and shm do not go together", o->file);
    struct pmem *p = calloc(1, sizeof(*p));
    if (!p)
        return err_host(e, -ENOMEM, "pmem %s", o->file);
    p->loop = env->loop;
    p->fd = -1;
    p->ro = o->ro;
    (void)snprintf(p->name, sizeof(p->name), "pmem %s", o->file);
    int rc = open_file(p, o, e);
    if (rc == 0)
        rc = place(p, env, o, e);
    if (rc == 0 && (rc = vdev_new(&pmem_class, env, p, sizes, ARRAY_SIZE(sizes), &d)) < 0)
        (void)err_host(e, rc, "pmem %s", o->file);
    if (rc < 0) {
        pmem_destroy(p);
        return rc;
    }
    if (o->shm) {
        rc = vdev_add_shm(d, SHM_ID, p->host, p->size);
        assert(rc == 0); /* it is the first */
        vdev_offer(d, PMEM_F_SHMEM_REGION);
    }
    *out = d;
    return 0;
}
