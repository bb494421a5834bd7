/* devices/scsi/units.c - which logical units there are: from the options when the device is made,
 * and again whenever the user changes them while it lives. */
#include <stdio.h>

#include "devices/scsi/scsi_priv.h"

enum { DISK_BLOCK = 512, CD_BLOCK = 2048 };

/* --- addresses --- */

enum scsi_where scsi_lun_decode(const uint8_t lun[8], struct scsi_address *at)
{
    static const uint8_t host[8] = {0xc1, 0x01};
    if (memcmp(lun, host, sizeof(host)) == 0)
        return SCSI_ALL_TARGETS;
    if (lun[0] != 1 || get_be(lun + 4, 4))
        return SCSI_NOWHERE;
    *at = (struct scsi_address){.target = lun[1]};
    unsigned level = (unsigned)get_be(lun + 2, 2);
    if (level == 0xc101)
        return SCSI_WELL_KNOWN;
    if (level >> 14 == 1) /* flat space; else peripheral, on bus 0 */
        level &= 0x3fff;
    else if (level > 0xff)
        return SCSI_NOWHERE;
    at->lun = (uint16_t)level;
    return SCSI_UNIT;
}

void scsi_lun_encode(struct scsi_address at, uint8_t lun[8])
{
    memset(lun, 0, 8);
    lun[0] = 1;
    lun[1] = at.target;
    put_be(lun + 2, 0x4000u | at.lun, 2); /* 5.6.6.1: a single level; flat space, as Linux has it */
}

static bool same(struct scsi_address a, struct scsi_address b)
{
    return a.target == b.target && a.lun == b.lun;
}

struct scsi_unit *scsi_unit_at(const struct scsi *s, struct scsi_address at)
{
    for (unsigned i = 0; i < s->n_units; i++) {
        if (same(s->units[i]->at, at))
            return s->units[i];
    }
    return NULL;
}

bool scsi_target_exists(const struct scsi *s, uint8_t target)
{
    for (unsigned i = 0; i < s->n_units; i++) {
        if (s->units[i]->at.target == target)
            return true;
    }
    return false;
}

/* --- one unit --- */

static void unit_free(struct scsi_unit *u)
{
    if (!u)
        return;
    blkfile_close(&u->file);
    free(u->path);
    free(u->fill);
    free(u);
}

void scsi_unit_release(struct scsi_unit *u)
{
    if (--u->users == 0 && u->removed)
        unit_free(u);
}

void scsi_unit_reset(struct scsi_unit *u, enum scsi_attention why)
{
    u->attention |= why;
    u->stopped = u->ejected;
    u->prevented = false;
}

/* The same for the same file, wherever it is attached, and for no other. */
static void make_serial(struct scsi_unit *u)
{
    char *real = realpath(u->path, NULL);
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *p = real ? real : u->path; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 1099511628211u;
    (void)snprintf(u->serial, sizeof(u->serial), "%016llx", (unsigned long long)hash);
    free(real);
}

/* --- what the options ask for --- */

struct wanted {
    const char *path;
    struct scsi_address at;
    bool named, ro, cd;
    struct scsi_unit *unit; /* that is there, or has been opened */
    bool fresh;
};

/* "TARGET:LUN:FILE"; without the numbers it is all a file's name. */
static int parse(const char *text, struct wanted *w, struct err *e)
{
    unsigned long target, lun;
    char *end;
    w->path = text;
    if (*text < '0' || *text > '9')
        return 0;
    target = strtoul(text, &end, 10);
    if (*end != ':' || end[1] < '0' || end[1] > '9')
        return 0;
    lun = strtoul(end + 1, &end, 10);
    if (*end != ':')
        return 0;
    if (target > SCSI_TARGET_MAX)
        return err_input(e, 0, "scsi %s: the target is more than %d", text, SCSI_TARGET_MAX);
    if (lun > SCSI_LUN_MAX)
        return err_input(e, 0, "scsi %s: the logical unit is more than %d", text, SCSI_LUN_MAX);
    if (end[1] == '\0')
        return err_input(e, 0, "scsi %s: names no file", text);
    w->path = end + 1;
    w->at = (struct scsi_address){.target = (uint8_t)target, .lun = (uint16_t)lun};
    w->named = true;
    return 0;
}

static int read_options(const struct scsi_opts *o, struct wanted *w, unsigned *n, struct err *e)
{
    const struct opt_strs *lists[] = {&o->disks, &o->ro, &o->cds};
    unsigned k = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(lists); i++) {
        for (unsigned j = 0; j < lists[i]->n; j++, k++) {
            w[k] = (struct wanted){.ro = i > 0, .cd = i == 2};
            int rc = parse(lists[i]->v[j], &w[k], e);
            if (rc < 0)
                return rc;
            for (unsigned other = 0; w[k].named && other < k; other++) {
                if (w[other].named && same(w[other].at, w[k].at))
                    return err_input(e, 0, "scsi %s: unit %u of target %u is given twice",
                                     lists[i]->v[j], w[k].at.lun, w[k].at.target);
            }
        }
    }
    *n = k;
    return k > 0 ? 0 : err_input(e, 0, "scsi: names no disk and no CD");
}

static bool is_wanted(const struct scsi_unit *u, const struct wanted *w)
{
    return !w->unit && u->cd == w->cd && u->file.ro == w->ro && u->named == w->named &&
           (!w->named || same(u->at, w->at)) && strcmp(u->path, w->path) == 0;
}

/* Who is there already stays where it is. */
static void match(const struct scsi *s, struct wanted *w, unsigned n)
{
    for (unsigned i = 0; i < s->n_units; i++) {
        for (unsigned k = 0; k < n; k++) {
            if (is_wanted(s->units[i], &w[k])) {
                w[k].unit = s->units[i];
                w[k].at = s->units[i]->at;
                break;
            }
        }
    }
}

static bool taken(const struct wanted *w, unsigned n, unsigned target)
{
    for (unsigned k = 0; k < n; k++) {
        if ((w[k].named || w[k].unit) && w[k].at.target == target)
            return true;
    }
    return false;
}

static int open_unit(const struct scsi *s, struct wanted *w, struct err *e)
{
    const char *what = w->cd ? "cd" : "disk";
    struct scsi_unit *u = calloc(1, sizeof(*u));
    if (!u)
        return err_host(e, -ENOMEM, "%s %s", what, w->path);
    *u = (struct scsi_unit){.at = w->at,
                            .named = w->named,
                            .cd = w->cd,
                            .path = strdup(w->path),
                            .fill = w->ro ? NULL : malloc(SCSI_FILL),
                            .attention = UA_POWER_ON,
                            .file = {.fd = -1, .plain_fd = -1}};
    w->unit = u;
    w->fresh = true;
    if (!u->path || (!u->fill && !w->ro))
        return err_host(e, -ENOMEM, "%s %s", what, w->path);
    int rc =
        blkfile_open(what, w->path, w->ro, s->direct, w->cd ? CD_BLOCK : DISK_BLOCK, &u->file, e);
    if (rc < 0)
        return rc;
    u->block = w->cd ? CD_BLOCK : u->file.block;
    u->blocks = u->file.size / u->block;
    if (u->blocks == 0)
        return err_input(e, 0, "%s %s: is empty", what, w->path);
    if (u->block > SCSI_BLOCK_MAX)
        return err_input(e, 0, "%s %s: blocks of %u bytes are not supported", what, w->path,
                         u->block);
    make_serial(u);
    return 0;
}

/* Those without an address get the lowest target that is free, as its unit 0. */
static int open_new(const struct scsi *s, struct wanted *w, unsigned n, struct err *e)
{
    for (unsigned k = 0; k < n; k++) {
        if (w[k].unit)
            continue;
        while (!w[k].named && taken(w, n, w[k].at.target))
            w[k].at.target++; /* there are more targets than units */
        int rc = open_unit(s, &w[k], e);
        if (rc < 0)
            return rc;
        w[k].unit->at = w[k].at;
        for (unsigned other = 0; other < n; other++) {
            if (other != k && w[other].unit && same(w[other].at, w[k].at))
                return err_input(e, 0, "scsi %s: unit %u of target %u is taken", w[k].path,
                                 w[k].at.lun, w[k].at.target);
        }
    }
    return 0;
}

/* --- the table --- */

/* Units that share the target have something new to report. */
static void luns_changed(struct scsi *s, uint8_t target)
{
    for (unsigned i = 0; i < s->n_units; i++) {
        if (s->units[i]->at.target == target)
            s->units[i]->attention |= UA_LUNS;
    }
}

static void remove_unit(struct scsi *s, unsigned i)
{
    struct scsi_unit *u = s->units[i];
    struct scsi_address at = u->at;
    s->units[i] = s->units[--s->n_units];
    u->removed = true;
    if (u->users == 0)
        unit_free(u);
    luns_changed(s, at.target);
    scsi_event(s, VIRTIO_SCSI_T_TRANSPORT_RESET, at, VIRTIO_SCSI_EVT_RESET_REMOVED);
}

static void add_unit(struct scsi *s, struct scsi_unit *u)
{
    if (s->dev)
        luns_changed(s, u->at.target);
    s->units[s->n_units++] = u;
    scsi_event(s, VIRTIO_SCSI_T_TRANSPORT_RESET, u->at, VIRTIO_SCSI_EVT_RESET_RESCAN);
}

/* 5.6.6.3: never of an MMC device, where it is a medium that changed. */
static void look_at_length(struct scsi *s, struct scsi_unit *u)
{
    uint64_t size;
    if (blkfile_measure(&u->file, &size) < 0 || size / u->block == 0 ||
        size / u->block == u->blocks)
        return;
    u->blocks = size / u->block;
    u->attention |= u->cd ? UA_MEDIUM : UA_CAPACITY;
    if (u->cd)
        u->media_event = SCSI_MEDIA_NEW;
    else
        scsi_event(s, VIRTIO_SCSI_T_PARAM_CHANGE, u->at, SCSI_CAPACITY_CHANGED);
}

static bool stays(const struct scsi_unit *u, const struct wanted *w, unsigned n)
{
    for (unsigned k = 0; k < n; k++) {
        if (w[k].unit == u)
            return true;
    }
    return false;
}

int scsi_units_set(struct scsi *s, const struct scsi_opts *o, struct err *e)
{
    struct wanted w[SCSI_UNITS_MAX];
    unsigned n;
    int rc = read_options(o, w, &n, e);
    if (rc < 0)
        return rc;
    match(s, w, n);
    rc = open_new(s, w, n, e);
    for (unsigned k = 0; rc < 0 && k < n; k++) {
        if (w[k].fresh)
            unit_free(w[k].unit);
    }
    if (rc < 0)
        return rc;
    for (unsigned i = s->n_units; i-- > 0;) {
        if (!stays(s->units[i], w, n))
            remove_unit(s, i);
    }
    for (unsigned i = 0; i < s->n_units; i++)
        look_at_length(s, s->units[i]);
    for (unsigned k = 0; k < n; k++) {
        if (w[k].fresh)
            add_unit(s, w[k].unit);
    }
    return 0;
}

void scsi_units_free(struct scsi *s)
{
    while (s->n_units > 0)
        unit_free(s->units[--s->n_units]);
}
