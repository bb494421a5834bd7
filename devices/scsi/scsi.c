/* devices/scsi/scsi.c - SCSI host (virtio 1.4, 5.6) whose disks and CDs are files of the host: the
 * device as the core sees it. See scsi_priv.h for what the other files do. */
#include <linux/virtio_ids.h>
#include <stdio.h>

#include "devices/scsi/scsi_priv.h"

enum {
    QUEUES_MAX = 64,
    CONTROL_SIZE = 64, /* and of the event queue */
    QUEUE_SIZE = 256,
    FRAMING = 2,          /* a header and a response take a descriptor each */
    MAX_SECTORS = 0xffff, /* a hint */
    COMMANDS_PER_UNIT = 128,
};

/* --- queues --- */

static void scsi_kick(struct vdev *d, struct vq *q)
{
    struct scsi *s = vdev_priv(d);
    if (vq_index(q) == SCSI_CONTROL) {
        scsi_control_kick(s, q);
    } else if (vq_index(q) == SCSI_EVENTS) {
        scsi_events_flush(s); /* buffers are taken when there is something to say */
    } else {
        scsi_cmds_start(s, q);
    }
}

static void scsi_drain(struct vdev *d, struct vq *q)
{
    if (vq_index(q) == SCSI_CONTROL)
        scsi_control_drain(vdev_priv(d), q);
}

/* --- configuration --- */

static void scsi_config_read(struct vdev *d, void *cfg)
{
    const struct scsi *s = vdev_priv(d);
    const struct virtio_scsi_config c = {
        .num_queues = htole32(s->queues),
        .seg_max = htole32(s->seg_max),
        .max_sectors = htole32(MAX_SECTORS),
        .cmd_per_lun = htole32(COMMANDS_PER_UNIT),
        .event_info_size = htole32(sizeof(struct virtio_scsi_event)),
        .sense_size = htole32(atomic_load(&s->sense_size)),
        .cdb_size = htole32(atomic_load(&s->cdb_size)),
        .max_target = htole16(SCSI_TARGET_MAX),
        .max_lun = htole32(SCSI_LUN_MAX),
    };
    memcpy(cfg, &c, sizeof(c));
}

/* What a driver writes byte by byte passes through values that it does not mean: the draft has
 * them, and counts once it is a size that can be. */
static void write_size(uint32_t *draft, atomic_uint *size, size_t at, uint32_t least, uint32_t most,
                       const uint8_t *cfg, size_t off, size_t len)
{
    for (size_t i = MAX(off, at); i < MIN(off + len, at + sizeof(*draft)); i++)
        ((uint8_t *)draft)[i - at] = cfg[i];
    if (*draft >= least && *draft <= most)
        atomic_store(size, *draft);
}

static void scsi_config_write(struct vdev *d, const void *cfg, size_t off, size_t len)
{
    struct scsi *s = vdev_priv(d);
    write_size(&s->sense_draft, &s->sense_size, offsetof(struct virtio_scsi_config, sense_size), 0,
               SCSI_SENSE_MAX, cfg, off, len);
    write_size(&s->cdb_draft, &s->cdb_size, offsetof(struct virtio_scsi_config, cdb_size),
               SCSI_CDB_MIN, SCSI_CDB_MAX, cfg, off, len);
}

static void default_sizes(struct scsi *s)
{
    s->cdb_draft = VIRTIO_SCSI_CDB_DEFAULT_SIZE;
    s->sense_draft = VIRTIO_SCSI_SENSE_DEFAULT_SIZE;
    atomic_store(&s->cdb_size, s->cdb_draft);
    atomic_store(&s->sense_size, s->sense_draft);
}

static void reset_on_loop(void *ctx)
{
    struct scsi *s = ctx;
    for (unsigned i = 0; i < s->n_units; i++)
        scsi_unit_reset(s->units[i], UA_POWER_ON);
    s->n_events = 0;
    s->missed = false;
}

static void scsi_reset(struct vdev *d)
{
    struct scsi *s = vdev_priv(d);
    default_sizes(s);
    loop_call(s->loop, reset_on_loop, s);
}

static void power_on_loop(void *ctx)
{
    struct scsi *s = ctx;
    for (unsigned i = 0; i < s->n_units; i++)
        s->units[i]->ejected = s->units[i]->stopped = false; /* the tray closes */
}

static void scsi_power_on(struct vdev *d)
{
    struct scsi *s = vdev_priv(d);
    loop_call(s->loop, power_on_loop, s);
}

/* --- the host's side --- */

static int scsi_update(struct vdev *d, const void *opts, struct err *e)
{
    return scsi_units_set(vdev_priv(d), opts, e);
}

static void report_unit(const struct scsi_unit *u, struct report *r)
{
    const struct {
        const char *name;
        uint64_t value;
    } all[] = {{"bytes", u->blocks * u->block}, {"reads", u->reads},
               {"writes", u->writes},           {"read_bytes", u->read_bytes},
               {"write_bytes", u->write_bytes}, {"other_commands", u->others},
               {"failed_commands", u->failed}};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "target%u_lun%u_%s", u->at.target, u->at.lun,
                       all[i].name);
        report_number(r, name, all[i].value);
    }
}

static void scsi_report(const struct vdev *d, struct report *r)
{
    const struct scsi *s = vdev_priv(d);
    report_number(r, "units", s->n_units);
    for (unsigned i = 0; i < s->n_units; i++)
        report_unit(s->units[i], r);
    report_number(r, "unaddressed_commands", s->unaddressed);
    report_number(r, "refused_commands", s->refused);
    report_number(r, "task_management_functions", s->functions);
    report_number(r, "events", s->events_sent);
    report_number(r, "lost_events", s->events_lost);
}

static void close_on_loop(void *ctx)
{
    struct scsi *s = ctx;
    loop_defer_cancel(s->loop, &s->tmf_task);
}

static void scsi_free(struct vdev *d)
{
    struct scsi *s = vdev_priv(d);
    loop_call(s->loop, close_on_loop, s);
    scsi_units_free(s);
    free(s);
}

/* --- creation --- */

static int scsi_create(const void *opts, const struct build_env *env, struct vdev **out,
                       struct err *e);

static const struct opt_desc scsi_opts[] = {
    {.key = "disk",
     .type = OPT_STRS,
     .offset = offsetof(struct scsi_opts, disks),
     .metavar = "[TARGET:LUN:]FILE",
     .help = "disk, a raw image or a block device; up to 8 times",
     .positional = true,
     .live = true},
    {.key = "ro",
     .type = OPT_STRS,
     .offset = offsetof(struct scsi_opts, ro),
     .metavar = "[TARGET:LUN:]FILE",
     .help = "disk that the guest cannot write; up to 8 times",
     .live = true},
    {.key = "cd",
     .type = OPT_STRS,
     .offset = offsetof(struct scsi_opts, cds),
     .metavar = "[TARGET:LUN:]FILE",
     .help = "CD or DVD, an ISO image; up to 8 times",
     .live = true},
    {.key = "direct",
     .type = OPT_FLAG,
     .offset = offsetof(struct scsi_opts, direct),
     .help = "bypass the host's page cache (O_DIRECT)"},
    {.key = "queues",
     .type = OPT_U32,
     .offset = offsetof(struct scsi_opts, queues),
     .metavar = "N",
     .help = "request queues; one for each CPU is best [1]",
     .min = 1,
     .max = QUEUES_MAX},
    {.key = "id",
     .type = OPT_STR,
     .offset = offsetof(struct scsi_opts, id),
     .metavar = "NAME",
     .help = "its name in messages [scsi], and for the control socket"},
    {.type = OPT_END},
};

static const struct vdev_ops scsi_ops = {
    .config_len = sizeof(struct virtio_scsi_config),
    .req_size = sizeof(struct scsi_cmd),
    .config_read = scsi_config_read,
    .config_write = scsi_config_write,
    .reset = scsi_reset,
    .kick = scsi_kick,
    .drain = scsi_drain,
    .update = scsi_update,
    .report = scsi_report,
    .power_on = scsi_power_on,
    .save = scsi_save,
    .load = scsi_load,
    .free = scsi_free,
};
extern const struct vdev_class scsi_class;
const struct vdev_class scsi_class = {
    .name = "scsi",
    .summary = "SCSI host with disks and CDs",
    .virtio_id = VIRTIO_ID_SCSI,
    .pci_class = 0x010000,
    .ops = &scsi_ops,
    .opts = scsi_opts,
    .opts_size = sizeof(struct scsi_opts),
    .create = scsi_create,
};

static int scsi_create(const void *opts, const struct build_env *env, struct vdev **out,
                       struct err *e)
{
    const struct scsi_opts *o = opts;
    uint32_t queue_size = env->options ? env->options->queue_size : 0;
    uint16_t sizes[SCSI_REQUESTS + QUEUES_MAX] = {CONTROL_SIZE, CONTROL_SIZE};
    for (size_t i = SCSI_REQUESTS; i < ARRAY_SIZE(sizes); i++)
        sizes[i] = QUEUE_SIZE;
    struct scsi *s = calloc(1, sizeof(*s));
    if (!s)
        return err_host(e, -ENOMEM, "scsi");
    s->loop = env->loop;
    s->direct = o->direct;
    s->queues = MAX(o->queues, 1u);
    s->tmf_task = (struct loop_task){.fn = scsi_tmf_task, .ctx = s};
    /* 2.7.5.3.1: no chain is longer than its queue, indirect or not. */
    queue_size = queue_size ? MIN(queue_size, (uint32_t)QUEUE_SIZE) : QUEUE_SIZE;
    s->seg_max = queue_size > FRAMING ? queue_size - FRAMING : 1;
    (void)snprintf(s->name, sizeof(s->name), "%s", o->id ? o->id : "scsi");
    default_sizes(s);

    int rc = scsi_units_set(s, o, e);
    if (rc == 0 &&
        (rc = vdev_new(&scsi_class, env, s, sizes, SCSI_REQUESTS + s->queues, &s->dev)) < 0)
        (void)err_host(e, rc, "scsi");
    if (rc < 0) {
        scsi_units_free(s);
        free(s);
        return rc;
    }
    vdev_offer(s->dev, VIRTIO_SCSI_F_HOTPLUG);
    vdev_offer(s->dev, VIRTIO_SCSI_F_CHANGE);
    *out = s->dev;
    return 0;
}
