/* devices/scsi/cd.c - commands of a CD or DVD drive (MMC-5) that holds one disc with one session
 * and one track of data, as far as operating systems use them. */
#include "devices/scsi/scsi_priv.h"

enum { CD_BLOCKS_MAX = 450000 }; /* 100 minutes; what is more is a DVD */

static void prevent_allow(struct scsi_cmd *c)
{
    c->unit->prevented = c->cdb[4] & 1;
    scsi_good(c, 0);
}

/* --- READ TOC --- */

static void put_address(uint8_t d[4], uint64_t lba, bool msf)
{
    enum { FRAMES = 75, LEAD_IN = 150 };
    if (!msf) {
        put_be(d, lba, 4);
        return;
    }
    lba += LEAD_IN;
    d[1] = (uint8_t)MIN(lba / (60 * FRAMES), (uint64_t)255);
    d[2] = (uint8_t)(lba / FRAMES % 60);
    d[3] = (uint8_t)(lba % FRAMES);
}

static size_t put_track(uint8_t *d, uint8_t track, uint64_t lba, bool msf)
{
    d[1] = 0x14; /* ADR 1, a data track */
    d[2] = track;
    put_address(d + 4, lba, msf);
    return 8;
}

static void read_toc(struct scsi_cmd *c)
{
    enum { TOC = 0, SESSIONS = 1, LEAD_OUT = 0xaa };
    bool msf = c->cdb[1] & 2;
    uint8_t format = c->cdb[2] & 0xf, first = c->cdb[6];
    uint8_t d[4 + 2 * 8] = {[2] = 1, [3] = 1};
    size_t n = 4;
    if (format == 0) /* where ATAPI had it first */
        format = c->cdb[9] >> 6;
    if (format > SESSIONS || (format == TOC && first > 1 && first != LEAD_OUT)) {
        scsi_check(c, SENSE_FIELD);
        return;
    }
    if (format == SESSIONS || first <= 1)
        n += put_track(d + n, 1, 0, msf);
    if (format == TOC)
        n += put_track(d + n, LEAD_OUT, c->unit->blocks, msf);
    put_be(d, n - 2, 2);
    scsi_data(c, d, n, get_be(c->cdb + 7, 2));
}

/* --- GET CONFIGURATION --- */

enum { PROFILE_CD_ROM = 0x08, PROFILE_DVD_ROM = 0x10 };

static unsigned profile(const struct scsi_unit *u)
{
    if (u->ejected)
        return 0;
    return u->blocks > CD_BLOCKS_MAX ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

struct features {
    uint8_t d[96];
    size_t n;
    uint8_t which; /* RT */
    uint64_t from;
};

static void add(struct features *f, uint16_t code, bool persistent, bool current,
                const uint8_t *data, size_t len)
{
    enum { ALL = 0, CURRENT = 1 };
    bool wanted = f->which == ALL       ? code >= f->from
                  : f->which == CURRENT ? code >= f->from && current
                                        : code == f->from;
    if (!wanted)
        return;
    uint8_t *p = f->d + f->n;
    put_be(p, code, 2);
    p[2] = (uint8_t)(persistent << 1 | current);
    p[3] = (uint8_t)len;
    memcpy(p + 4, data, len);
    f->n += 4 + len;
}

static void get_configuration(struct scsi_cmd *c)
{
    unsigned now = profile(c->unit);
    bool cd = now == PROFILE_CD_ROM, dvd = now == PROFILE_DVD_ROM;
    struct features f = {.n = 8, .which = c->cdb[1] & 3, .from = get_be(c->cdb + 2, 2)};
    if (f.which == 3) {
        scsi_check(c, SENSE_FIELD);
        return;
    }
    const uint8_t profiles[] = {0, PROFILE_DVD_ROM, dvd, 0, 0, PROFILE_CD_ROM, cd, 0};
    const uint8_t core[] = {0, 0, 0, 1, 0, 0, 0, 0};      /* SCSI */
    const uint8_t removable[] = {0x29, 0, 0, 0};          /* a tray, that ejects and locks */
    const uint8_t random[] = {0, 0, 0x08, 0, 0, 1, 1, 0}; /* 2048 bytes, one at a time */
    const uint8_t none[4] = {0};
    add(&f, 0x0000, true, true, profiles, sizeof(profiles));
    add(&f, 0x0001, true, true, core, sizeof(core));
    add(&f, 0x0003, true, true, removable, sizeof(removable));
    add(&f, 0x0010, false, now != 0, random, sizeof(random));
    add(&f, 0x001e, false, cd, none, sizeof(none));
    add(&f, 0x001f, false, dvd, none, sizeof(none));
    put_be(f.d, f.n - 4, 4);
    put_be(f.d + 6, now, 2);
    scsi_data(c, f.d, f.n, get_be(c->cdb + 7, 2));
}

/* --- GET EVENT STATUS NOTIFICATION --- */

static void get_event_status(struct scsi_cmd *c)
{
    enum { POLLED = 1, MEDIA = 4, NONE = 0x80 };
    enum { TRAY_OPEN = 1, PRESENT = 2 };
    struct scsi_unit *u = c->unit;
    bool media = c->cdb[4] & 1 << MEDIA;
    uint8_t d[8] = {0, media ? 6 : 2, media ? MEDIA : NONE, 1 << MEDIA};
    size_t n = media ? 8 : 4, allowed = get_be(c->cdb + 7, 2);
    if (!(c->cdb[1] & POLLED)) {
        scsi_check(c, SENSE_FIELD);
        return;
    }
    if (media) {
        d[4] = u->media_event;
        d[5] = u->ejected ? TRAY_OPEN : PRESENT;
    }
    if (media && allowed >= n && c->in_len >= allowed)
        u->media_event = 0; /* it is told now */
    scsi_data(c, d, n, allowed);
}

const struct scsi_op scsi_cd_ops[] = {
    {0x1e, 6, OP_CD, prevent_allow},
    {0x43, 10, OP_CD | OP_MEDIUM, read_toc},
    {0x46, 10, OP_CD | OP_ANYTIME, get_configuration},
    {0x4a, 10, OP_CD | OP_ANYTIME, get_event_status},
    {0},
};
