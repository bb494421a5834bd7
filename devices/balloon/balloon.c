/* devices/balloon/balloon.c - traditional memory balloon (virtio 1.4, 5.5): the host asks the guest
 * for memory and gets back what the guest puts into the balloon, reports free, or hints at.
 *
 * All of that is the guest's word about its own memory: it can lose its own data by it, and nothing
 * else. A balloon limits no guest that does not want to be limited. */
#include <endian.h>
#include <linux/virtio_ids.h>

#include "devices/balloon/balloon_priv.h"
#include "devices/virtio/vdev_ctl.h"

enum { QUEUE_SIZE = 128, SECONDS_MAX = 24 * 60 * 60 };

/* --- queues --- */

/* 5.5.2 numbers queues whether those before them exist or not. Linux leaves no holes: with
 * reporting alone its queue 2 is for reports. It shows in which queues it has set up. */
static bool is_compact(struct vdev *d, const bool has[ROLES])
{
    for (unsigned i = 0; i < ROLES; i++) {
        if (has[i] && !vdev_queue_config(d, i)->enabled)
            return true;
    }
    return false;
}

static void roles_that_exist(const struct vdev *d, bool has[ROLES])
{
    has[INFLATE] = has[DEFLATE] = true;
    has[STATS] = vdev_has(d, VIRTIO_BALLOON_F_STATS_VQ);
    has[HINTS] = vdev_has(d, VIRTIO_BALLOON_F_FREE_PAGE_HINT);
    has[REPORTS] = vdev_has(d, VIRTIO_BALLOON_F_REPORTING);
}

void balloon_number_queues(struct balloon *b)
{
    bool has[ROLES];
    unsigned n = 0;
    roles_that_exist(b->dev, has);
    memset(b->role_of, ROLES, sizeof(b->role_of));
    for (unsigned i = 0; i < ROLES; i++) {
        if (has[i])
            b->role_of[b->compact ? n++ : i] = (uint8_t)i;
    }
}

static int balloon_start(struct vdev *d)
{
    struct balloon *b = vdev_priv(d);
    bool has[ROLES];
    roles_that_exist(d, has);
    b->compact = is_compact(d, has);
    balloon_number_queues(b);
    return 0;
}

static bool go_on(struct balloon *b, enum role role, struct work *w, uint64_t *left)
{
    switch (role) {
    case INFLATE:
        return balloon_inflate(b, w, left);
    case HINTS:
        return balloon_hint(b, w, left);
    case REPORTS:
        return balloon_report(b, w, left);
    default: /* what the guest takes back the host provides when it is touched */
        b->deflated += w->req->out_len / sizeof(uint32_t) << VIRTIO_BALLOON_PFN_SHIFT;
        return true;
    }
}

static void balloon_kick(struct vdev *d, struct vq *q)
{
    struct balloon *b = vdev_priv(d);
    enum role role = b->role_of[vq_index(q)];
    if (role == ROLES)
        return;
    if (role == STATS) {
        balloon_stats_kick(b, q);
        return;
    }
    struct work *w = &b->work[role];
    uint64_t left = TURN_BYTES;
    while (w->req || (w->req = vq_next(q)) != NULL) {
        if (left == 0 || !go_on(b, role, w, &left)) {
            vq_poke(q);
            return;
        }
        w->done = 0;
        vq_complete(q, TAKE_PTR(w->req));
    }
}

/* After a pause an unfinished request begins anew, which is harmless while the driver waits for it.
 * For hints it does not wait: there, what is not done yet is not done. */
static void balloon_drain(struct vdev *d, struct vq *q)
{
    struct balloon *b = vdev_priv(d);
    enum role role = b->role_of[vq_index(q)];
    struct work *w = role == ROLES ? NULL : &b->work[role];
    if (!w || !w->req)
        return;
    w->done = 0;
    if (role == HINTS)
        vq_complete(q, TAKE_PTR(w->req));
    else
        vq_unpop(q, TAKE_PTR(w->req));
}

static void reset_on_loop(void *ctx)
{
    struct balloon *b = ctx;
    b->driver_id = VIRTIO_BALLOON_CMD_ID_STOP;
    b->stats_begun = false;
    b->stats_have = 0;
    memset(b->stats, 0, sizeof(b->stats)); /* nor is it saved for the next one */
}

static void balloon_reset(struct vdev *d)
{
    struct balloon *b = vdev_priv(d);
    atomic_store(&b->actual, 0); /* whoever comes next has all of its memory */
    atomic_store(&b->draft, 0);
    atomic_store(&b->poison, 0);
    atomic_store(&b->cmd_id, VIRTIO_BALLOON_CMD_ID_STOP);
    loop_call(b->loop, reset_on_loop, b);
}

/* --- configuration space (5.5.4): little-endian by the legacy interface too --- */

static void balloon_config_read(struct vdev *d, void *cfg)
{
    struct balloon *b = vdev_priv(d);
    const struct virtio_balloon_config c = {.num_pages = htole32(atomic_load(&b->target)),
                                            .actual = htole32(atomic_load(&b->draft)),
                                            .free_page_hint_cmd_id =
                                                htole32(atomic_load(&b->cmd_id)),
                                            .poison_val = htole32(atomic_load(&b->poison))};
    memcpy(cfg, &c, sizeof(c));
}

static bool touches(size_t field, size_t off, size_t len)
{
    return off < field + sizeof(uint32_t) && off + len > field;
}

static void balloon_config_write(struct vdev *d, const void *cfg, size_t off, size_t len)
{
    struct balloon *b = vdev_priv(d);
    struct virtio_balloon_config c;
    memcpy(&c, cfg, sizeof(c));
    size_t actual = offsetof(struct virtio_balloon_config, actual);
    if (touches(actual, off, len)) {
        atomic_store(&b->draft, le32toh(c.actual));
        if (off + len >= actual + sizeof(c.actual)) /* 5.5.6.2.1: not before its last byte */
            atomic_store(&b->actual, le32toh(c.actual));
    }
    /* 5.5.6.6.1: written before DRIVER_OK, never while it is set. */
    if (touches(offsetof(struct virtio_balloon_config, poison_val), off, len) &&
        vdev_has(d, VIRTIO_BALLOON_F_PAGE_POISON) && !(vdev_status(d) & VIRTIO_CONFIG_S_DRIVER_OK))
        atomic_store(&b->poison, le32toh(c.poison_val));
}

/* --- the host's side --- */

static uint64_t ram_size(const struct gmem *m)
{
    const struct gmem_region *r;
    uint64_t len = 0;
    for (unsigned i = 0, n = gmem_regions(m, &r); i < n; i++)
        len += r[i].len;
    return len;
}

static int check(const struct balloon_opts *o, const struct gmem *mem, struct err *e)
{
    uint64_t ram = ram_size(mem);
    if (o->size > ram)
        return err_input(e, 0, "balloon: size: the guest has only %llu MiB of memory",
                         (unsigned long long)(ram >> 20));
    if (o->hints && !o->hinting)
        return err_input(e, 0, "balloon: hints=%u needs hinting=on", o->hints);
    return 0;
}

static uint32_t pages_of(uint64_t size)
{
    return (uint32_t)MIN(size >> VIRTIO_BALLOON_PFN_SHIFT, (uint64_t)UINT32_MAX);
}

static void set_interval(struct loop_timer *t, uint32_t *now, uint32_t seconds)
{
    if (*now != seconds)
        loop_timer_set(t, seconds * UINT64_C(1000000000));
    *now = seconds;
}

static int balloon_update(struct vdev *d, const void *opts, struct err *e)
{
    struct balloon *b = vdev_priv(d);
    const struct balloon_opts *o = opts;
    int rc = check(o, b->mem, e);
    if (rc < 0)
        return rc;
    if (atomic_exchange(&b->target, pages_of(o->size)) != pages_of(o->size))
        vdev_config_changed(d);
    set_interval(&b->stats_timer, &b->stats_every, o->stats);
    bool begins = o->hints && !b->hints_every;
    set_interval(&b->hints_timer, &b->hints_every, o->hints);
    if (begins)
        balloon_hints_tick(b); /* who asks for hints wants them now */
    if (!o->hints)
        balloon_hints_end(b);
    return 0;
}

static void balloon_report_all(const struct vdev *d, struct report *r)
{
    const struct balloon *b = vdev_priv(d);
    const uint64_t page = 1 << VIRTIO_BALLOON_PFN_SHIFT;
    report_number(r, "target_bytes", atomic_load(&b->target) * page);
    report_number(r, "actual_bytes", atomic_load(&b->actual) * page);
    report_number(r, "inflated_bytes", b->inflated);
    report_number(r, "deflated_bytes", b->deflated);
    report_number(r, "reported_bytes", b->reported);
    report_number(r, "hinted_bytes", b->hinted);
    report_number(r, "hint_rounds", b->hint_rounds);
    report_number(r, "hint_command", atomic_load(&b->cmd_id));
    report_number(r, "hint_driver_command", b->driver_id);
    report_number(r, "released_bytes", b->released);
    balloon_stats_report(b, r);
}

static void close_on_loop(void *ctx)
{
    struct balloon *b = ctx;
    loop_timer_close(&b->stats_timer);
    loop_timer_close(&b->hints_timer);
}

static void balloon_free(struct vdev *d)
{
    struct balloon *b = vdev_priv(d);
    loop_call(b->loop, close_on_loop, b);
    free(b);
}

static const struct vdev_ops balloon_ops = {
    .config_len = sizeof(struct virtio_balloon_config),
    .config_read = balloon_config_read,
    .config_write = balloon_config_write,
    .start = balloon_start,
    .reset = balloon_reset,
    .kick = balloon_kick,
    .drain = balloon_drain,
    .update = balloon_update,
    .report = balloon_report_all,
    .save = balloon_save,
    .load = balloon_load,
    .free = balloon_free,
};

static int balloon_create(const void *opts, const struct build_env *env, struct vdev **out,
                          struct err *e);

#define AT(field) offsetof(struct balloon_opts, field)
static const struct opt_desc balloon_opts[] = {
    {.key = "size",
     .type = OPT_SIZE,
     .offset = AT(size),
     .metavar = "SIZE",
     .help = "memory that the guest is asked to give back; it may refuse [0]",
     .live = true},
    {.key = "stats",
     .type = OPT_U32,
     .offset = AT(stats),
     .metavar = "SECONDS",
     .help = "ask for statistics of the guest's memory that often; 0: never [0]",
     .max = SECONDS_MAX,
     .live = true},
    {.key = "deflate_on_oom",
     .type = OPT_FLAG,
     .offset = AT(deflate_on_oom),
     .help = "a guest that is out of memory may take from the balloon"},
    {.key = "reporting",
     .type = OPT_FLAG,
     .offset = AT(reporting),
     .help = "let the guest report free memory: the host has it until the guest uses it again"},
    {.key = "page_poison",
     .type = OPT_FLAG,
     .offset = AT(page_poison),
     .help = "let the guest say what it fills free pages with; a report keeps that [on]"},
    {.key = "hinting",
     .type = OPT_FLAG,
     .offset = AT(hinting),
     .help = "let the guest hint at free memory when it is asked; one that runs short of memory "
             "meanwhile can lose data by it, which reporting never does"},
    {.key = "hints",
     .type = OPT_U32,
     .offset = AT(hints),
     .metavar = "SECONDS",
     .help = "ask for hints that often; 0: never [0]",
     .max = SECONDS_MAX,
     .live = true},
    {.type = OPT_END},
};
static const struct balloon_opts balloon_defaults = {.page_poison = true};

static const struct sandbox_list balloon_calls = {
    .name = "balloon",
    .calls = (const struct sandbox_call[]){{.nr = SYS_fallocate, .on = ON_LOOP}, {0}}};

extern const struct vdev_class balloon_class;
const struct vdev_class balloon_class = {
    .name = "balloon",
    .summary = "gives memory that the guest can do without back to the host",
    .virtio_id = VIRTIO_ID_BALLOON,
    .pci_class = 0x00ff00,
    .ops = &balloon_ops,
    .opts = balloon_opts,
    .opts_size = sizeof(struct balloon_opts),
    .opts_default = &balloon_defaults,
    .create = balloon_create,
    .sandbox = (const struct sandbox_list *const[]){&balloon_calls, NULL},
};

static void offer(struct vdev *d, const struct balloon_opts *o)
{
    vdev_offer(d, VIRTIO_BALLOON_F_MUST_TELL_HOST);
    vdev_offer(d, VIRTIO_BALLOON_F_STATS_VQ);
    if (o->deflate_on_oom)
        vdev_offer(d, VIRTIO_BALLOON_F_DEFLATE_ON_OOM);
    if (o->hinting)
        vdev_offer(d, VIRTIO_BALLOON_F_FREE_PAGE_HINT);
    if (o->page_poison)
        vdev_offer(d, VIRTIO_BALLOON_F_PAGE_POISON);
    if (o->reporting)
        vdev_offer(d, VIRTIO_BALLOON_F_REPORTING);
}

static int balloon_create(const void *opts, const struct build_env *env, struct vdev **out,
                          struct err *e)
{
    static const uint16_t sizes[ROLES] = {QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE,
                                          QUEUE_SIZE};
    const struct balloon_opts *o = opts;
    int rc = check(o, env->mem, e);
    if (rc < 0)
        return rc;
    struct balloon *b = calloc(1, sizeof(*b));
    if (!b)
        return err_host(e, -ENOMEM, "balloon");
    b->mem = env->mem;
    b->loop = env->loop;
    memset(b->role_of, ROLES, sizeof(b->role_of));
    rc = loop_timer_open(b->loop, &b->stats_timer, balloon_stats_tick, b);
    if (rc == 0)
        rc = loop_timer_open(b->loop, &b->hints_timer, balloon_hints_tick, b);
    if (rc == 0)
        rc = vdev_new(&balloon_class, env, b, sizes, ROLES, out);
    if (rc < 0) {
        close_on_loop(b);
        free(b);
        return err_host(e, rc, "balloon");
    }
    b->dev = *out;
    atomic_store(&b->target, pages_of(o->size));
    set_interval(&b->stats_timer, &b->stats_every, o->stats);
    set_interval(&b->hints_timer, &b->hints_every, o->hints);
    offer(*out, o);
    return 0;
}
