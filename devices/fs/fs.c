/* devices/fs/fs.c - file system device (virtio 1.4, 5.11): a folder of the host's, by the FUSE
 * protocol. Here are its queues and the way of a request: from the ring to a thread, and back.
 *
 * Whatever a guest writes into a request gets an error for an answer, or none where there is no
 * room for one: nothing in it is a reason to give up the device. */
#include <linux/virtio_fs.h>
#include <linux/virtio_ids.h>
#include <stdio.h>

#include "devices/fs/fs_priv.h"

enum {
    HIPRIO_SIZE = 128,
    REQUEST_SIZE = 512, /* Linux takes four entries for itself, and one for each page of data */
    THREADS = 4,
    BATCH_MAX =
        4096, /* entries of one BATCH_FORGET; a buffer that repeats itself could have more */
};

struct fs_opts {
    const char *tag, *dir;
    bool ro;
    int cache;
    uint64_t dax;
    uint32_t queues; /* 0: one */
    struct opt_strs uid_map, gid_map;
};

/* --- the way back --- */

/* The guest's user sees a limit that is the host's, and cannot know. */
static void tell_full(struct fs *fs)
{
    log_limited(&fs->full, LOG_WARN,
                "%s: the guest knows %llu files and has %llu open: more are not to be had below "
                "this process's limit of descriptors",
                fs->name, (unsigned long long)tree_nodes(fs->tree),
                (unsigned long long)tree_files(fs->tree));
}

static void answer(struct fs_req *r)
{
    struct fs *fs = r->fs;
    if (r->waits)
        waits_remove(r);
    if (r->error == -ENFILE)
        tell_full(fs);
    fs->count.requests++;
    fs->count.failed += r->error < 0;
    fs->count.read_bytes += r->read_bytes;
    fs->count.write_bytes += r->write_bytes;
    r->req->written = r->written;
    vq_complete(r->q, r->req);
}

void fs_answer_error(struct fs_req *r, int rc)
{
    fuse_refuse(r, rc);
    answer(r);
}

static void worked(struct loop_work *w)
{
    struct fs_req *r = container_of(w, struct fs_req, work);
    struct fs *fs = r->fs;
    bool freed = r->frees_locks;
    if (r->h.opcode == FUSE_INIT)
        waits_forget(fs);
    if (r->outcome != FS_PARK)
        answer(r);
    else if (!waits_park(r))
        fs_answer_error(r, r->error);
    if (freed)
        waits_retry(fs);
}

static void work(struct loop_work *w)
{
    fuse_serve(container_of(w, struct fs_req, work));
}

void fs_try(struct fs_req *r)
{
    r->freed = r->fs->waits.freed;
    loop_work(fuse_pool(r), &r->work);
}

/* --- what has high priority --- */

static void forget_one(struct fs_req *r)
{
    struct fuse_forget_in in;
    if (vq_req_read(r->req, sizeof(r->h), &in, sizeof(in)) == 0)
        tree_forget(r->fs->tree, r->h.nodeid, in.nlookup);
}

static void forget_batch(struct fs_req *r)
{
    struct fuse_batch_forget_in in;
    struct fuse_forget_one one;
    size_t off = sizeof(r->h);
    if (vq_req_read(r->req, off, &in, sizeof(in)) < 0)
        return;
    off += sizeof(in);
    for (uint32_t i = 0; i < MIN(in.count, (uint32_t)BATCH_MAX); i++, off += sizeof(one)) {
        if (vq_req_read(r->req, off, &one, sizeof(one)) < 0)
            return;
        tree_forget(r->fs->tree, one.nodeid, one.nlookup);
    }
}

static void work_forget(struct loop_work *w)
{
    struct fs_req *r = container_of(w, struct fs_req, work);
    if (r->h.opcode == FUSE_FORGET)
        forget_one(r);
    else
        forget_batch(r);
}

static void worked_forget(struct loop_work *w)
{
    struct fs_req *r = container_of(w, struct fs_req, work);
    r->fs->count.forgets++;
    vq_complete(r->q, r->req); /* no answer, wherever it came from */
}

static void forget(struct fs_req *r)
{
    r->work = (struct loop_work){.fn = work_forget, .done = worked_forget};
    loop_work(r->fs->hiprio, &r->work);
}

static void interrupt(struct fs_req *r)
{
    struct fuse_interrupt_in in;
    if (vq_req_read(r->req, sizeof(r->h), &in, sizeof(in)) == 0)
        waits_interrupt(r->fs, in.unique);
    r->fs->count.interrupts++;
    vq_complete(r->q, r->req);
}

/* --- queues --- */

/* *now is what the loop may still read by itself. */
static void take(struct fs *fs, struct vq *q, struct vq_req *req, size_t *now)
{
    struct fs_req *r = vq_req_state(q, req);
    *r = (struct fs_req){.fs = fs, .q = q, .req = req, .queue = vq_index(q)};
    r->work = (struct loop_work){.fn = work, .done = worked};
    if (vq_req_read(req, 0, &r->h, sizeof(r->h)) < 0) {
        vq_complete(q, req); /* not even whom to answer */
        return;
    }
    switch (r->h.opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
        forget(r);
        return;
    case FUSE_INTERRUPT:
        interrupt(r);
        return;
    case FUSE_SETLKW:
        if (!waits_add(r)) {
            fs_answer_error(r, -ENOLCK);
            return;
        }
        break;
    default:
        break;
    }
    if (req->in_len < sizeof(struct fuse_out_header)) { /* nobody would hear of it: not done */
        fs_answer_error(r, -EINVAL);
    } else if (fuse_serve_now(r, MIN(*now, (size_t)FS_NOW_MAX))) {
        *now -= r->read_bytes;
        answer(r);
    } else {
        fs_try(r);
    }
}

static void fs_kick(struct vdev *d, struct vq *q)
{
    struct fs *fs = vdev_priv(d);
    atomic_store(&fs->aborting[vq_index(q)], false);
    fs->draining[vq_index(q)] = false;
    size_t now = FS_NOW_TURN;
    vq_for_each (req, q)
        take(fs, q, req, &now);
}

static void fs_drain(struct vdev *d, struct vq *q)
{
    struct fs *fs = vdev_priv(d);
    unsigned i = vq_index(q);
    atomic_store(&fs->aborting[i], vq_aborting(q));
    fs->draining[i] = true;
    waits_end_queue(fs, i);
}

/* --- control --- */

static void fs_config_read(struct vdev *d, void *cfg)
{
    const struct fs *fs = vdev_priv(d);
    struct virtio_fs_config c = {.num_request_queues = htole32(fs->queues)};
    memcpy(c.tag, fs->tag, sizeof(c.tag));
    memcpy(cfg, &c, sizeof(c));
}

static void fs_reset(struct vdev *d)
{
    struct fs *fs = vdev_priv(d);
    session_end(fs);
    waits_forget(fs);
}

static void fs_report(const struct vdev *d, struct report *r)
{
    struct fs *fs = vdev_priv(d);
    report_number(r, "requests", fs->count.requests);
    report_number(r, "failed_requests", fs->count.failed);
    report_number(r, "forgets", fs->count.forgets);
    report_number(r, "interrupts", fs->count.interrupts);
    report_number(r, "read_bytes", fs->count.read_bytes);
    report_number(r, "written_bytes", fs->count.write_bytes);
    report_number(r, "waiting_for_locks", fs->waits.n_parked);
    report_number(r, "known_files", tree_nodes(fs->tree));
    report_number(r, "open_files", tree_files(fs->tree));
    report_number(r, "mappings", atomic_load(&fs->window.count));
}

static void fs_save(const struct vdev *d, struct state_out *s)
{
    const struct fs *fs = vdev_priv(d);
    state_begin(s, "FS  ", 1);
    state_u8(s, fs->session.up);
    state_u32(s, fs->session.minor);
    state_u64(s, fs->session.flags);
    state_end(s);
    tree_save(fs->tree, s);
    window_save(fs, s);
}

static int load_session(struct fs *fs, struct state_in *s)
{
    uint32_t version;
    int rc = state_open(s, "FS  ", 1, &version);
    if (rc < 0)
        return rc;
    uint8_t up = state_get_u8(s);
    uint32_t minor = state_get_u32(s);
    uint64_t flags = state_get_u64(s);
    rc = state_close(s);
    /* The guest goes by what was agreed on: this device must have offered the same. */
    if (rc < 0 || up > 1 || (up && minor < FUSE_MINOR_MIN) || minor > FUSE_MINOR ||
        flags & ~session_offer(fs))
        return -EBADMSG;
    fs->session.up = up;
    fs->session.minor = minor;
    fs->session.flags = flags;
    return 0;
}

static int fs_load(struct vdev *d, struct state_in *s)
{
    struct fs *fs = vdev_priv(d);
    int rc = load_session(fs, s);
    if (rc == 0)
        rc = tree_load(fs->tree, s);
    if (rc == 0)
        rc = window_load(fs, s);
    return rc;
}

static void fs_destroy(struct fs *fs)
{
    loop_pool_free(fs->names);
    loop_pool_free(fs->data);
    loop_pool_free(fs->hiprio);
    waits_free(fs);
    window_free(&fs->window);
    tree_free(fs->tree);
    (void)pthread_rwlock_destroy(&fs->session.lock);
    free(fs);
}

static void fs_free(struct vdev *d)
{
    fs_destroy(vdev_priv(d));
}

/* --- creation --- */

static int fs_create(const void *opts, const struct build_env *env, struct vdev **out,
                     struct err *e);

static const char *const cache_names[] = {
    [FS_CACHE_NONE] = "none", [FS_CACHE_AUTO] = "auto", [FS_CACHE_ALWAYS] = "always", NULL};

static const struct opt_desc fs_opts[] = {
    {.key = "dir",
     .type = OPT_STR,
     .offset = offsetof(struct fs_opts, dir),
     .metavar = "DIR",
     .help = "folder to share, with all that is in it and that comes into it",
     .positional = true,
     .required = true},
    {.key = "tag",
     .type = OPT_STR,
     .offset = offsetof(struct fs_opts, tag),
     .metavar = "NAME",
     .help = "by which the guest mounts it (mount -t virtiofs NAME /mnt): at most 36 bytes",
     .required = true},
    {.key = "ro",
     .type = OPT_FLAG,
     .offset = offsetof(struct fs_opts, ro),
     .help = "the guest may change nothing"},
    {.key = "cache",
     .type = OPT_ENUM,
     .offset = offsetof(struct fs_opts, cache),
     .names = cache_names,
     .metavar = "MODE",
     .help = "what the guest may keep: none, auto (attributes for a second, data until the next "
             "open), or always, for a folder that nobody else changes [auto]"},
    {.key = "dax",
     .type = OPT_SIZE,
     .offset = offsetof(struct fs_opts, dax),
     .metavar = "SIZE",
     .help = "window in which the guest sees files without a copy (mount -o dax): a power of two "
             "of 2M to 8G; a file that somebody cuts short under it ends the guest"},
    {.key = "uid-map",
     .type = OPT_STRS,
     .offset = offsetof(struct fs_opts, uid_map),
     .metavar = "GUEST:HOST:COUNT",
     .help = "users of the guest that are users of the host"},
    {.key = "gid-map",
     .type = OPT_STRS,
     .offset = offsetof(struct fs_opts, gid_map),
     .metavar = "GUEST:HOST:COUNT",
     .help = "the same of groups"},
    {.key = "queues",
     .type = OPT_U32,
     .offset = offsetof(struct fs_opts, queues),
     .metavar = "N",
     .help = "request queues [1]",
     .min = 1,
     .max = FS_QUEUES_MAX},
    {.type = OPT_END},
};
static const struct fs_opts fs_defaults = {.cache = FS_CACHE_AUTO};

static const struct vdev_ops fs_ops = {
    .config_len = sizeof(struct virtio_fs_config),
    .req_size = sizeof(struct fs_req),
    .config_read = fs_config_read,
    .reset = fs_reset,
    .kick = fs_kick,
    .drain = fs_drain,
    .report = fs_report,
    .save = fs_save,
    .load = fs_load,
    .free = fs_free,
};
static const struct sandbox_list fs_calls = {
    .name = "fs: its loop",
    .calls = (const struct sandbox_call[]){{.nr = SYS_preadv2, .on = ON_LOOP}, {0}}};
static const struct sandbox_list *const fs_lists[] = {&fs_calls, &fs_names, &fs_data, NULL};

extern const struct vdev_class fs_class;
const struct vdev_class fs_class = {
    .name = "fs",
    .summary = "a folder of the host's",
    .virtio_id = VIRTIO_ID_FS,
    .pci_class = 0x018000,
    .ops = &fs_ops,
    .opts = fs_opts,
    .opts_size = sizeof(struct fs_opts),
    .opts_default = &fs_defaults,
    .create = fs_create,
    .sandbox = fs_lists,
};

static int check(const struct fs_opts *o, struct err *e)
{
    size_t len = strlen(o->tag);
    if (len > sizeof(((struct fs *)0)->tag))
        return err_input(e, 0, "fs %s: tag \"%s\" is longer than 36 bytes", o->dir, o->tag);
    if (o->dax && (o->dax < FS_WINDOW_MIN || o->dax > FS_WINDOW_MAX || o->dax & (o->dax - 1)))
        return err_input(e, 0, "fs %s: dax= is to be a power of two, 2M to 8G", o->dir);
    return 0;
}

static int open_tree(struct fs *fs, const struct fs_opts *o, struct err *e)
{
    const struct tree_config c = {
        .dir = o->dir, .ro = o->ro, .uid_map = o->uid_map, .gid_map = o->gid_map};
    return tree_new(&c, &fs->tree, e);
}

static int fill(struct fs *fs, uint64_t dax)
{
    int rc = loop_pool_new(fs->loop, FS_NAMES, THREADS, &fs_names, &fs->names);
    if (rc == 0)
        rc = loop_pool_new(fs->loop, FS_DATA, THREADS, &fs_data, &fs->data);
    if (rc == 0)
        rc = loop_pool_new(fs->loop, "fs-hiprio", 1, NULL, &fs->hiprio);
    if (rc == 0)
        rc = waits_init(fs);
    if (rc == 0 && dax)
        rc = window_new(&fs->window, dax);
    return rc;
}

static void init_session(struct fs_session *s)
{
    /* INIT has to get its turn, however busy the other queues are. */
    pthread_rwlockattr_t a;
    (void)pthread_rwlockattr_init(&a);
    (void)pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&s->lock, &a);
    (void)pthread_rwlockattr_destroy(&a);
}

static int fs_create(const void *opts, const struct build_env *env, struct vdev **out,
                     struct err *e)
{
    const struct fs_opts *o = opts;
    uint16_t sizes[FS_REQUEST + FS_QUEUES_MAX];
    int rc = check(o, e);
    if (rc < 0)
        return rc;
    struct fs *fs = calloc(1, sizeof(*fs));
    if (!fs)
        return err_host(e, -ENOMEM, "fs %s", o->dir);
    fs->loop = env->loop;
    fs->cache = o->cache;
    fs->ro = o->ro;
    fs->queues = MAX(o->queues, 1u);
    memcpy(fs->tag, o->tag, strlen(o->tag));
    (void)snprintf(fs->name, sizeof(fs->name), "fs %s", o->tag);
    init_session(&fs->session);
    (void)pthread_mutex_init(&fs->window.lock, NULL);
    for (unsigned i = 0; i < FS_REQUEST + fs->queues; i++)
        sizes[i] = i == FS_HIPRIO ? HIPRIO_SIZE : REQUEST_SIZE;

    rc = open_tree(fs, o, e);
    if (rc == 0 && ((rc = fill(fs, o->dax)) < 0 ||
                    (rc = vdev_new(&fs_class, env, fs, sizes, FS_REQUEST + fs->queues, out)) < 0))
        (void)err_host(e, rc, "fs %s", o->dir);
    if (rc < 0) {
        fs_destroy(fs);
        return rc;
    }
    fs->dev = *out;
    if (fs->window.host &&
        vdev_add_shm(*out, VIRTIO_FS_SHMCAP_ID_CACHE, fs->window.host, fs->window.len) < 0)
        abort(); /* it is the first */
    return 0;
}
