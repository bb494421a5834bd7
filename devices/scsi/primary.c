/* devices/scsi/primary.c - commands that every unit has (SPC-4): what it is, how it is, and which
 * others there are. */
#include "devices/scsi/scsi_priv.h"

enum { TYPE_DISK = 0x00, TYPE_CD = 0x05, TYPE_WELL_KNOWN = 0x1e, TYPE_NONE = 0x7f };
enum { DESCRIPTOR_CURRENT = 0x72 };

static uint8_t type_of(const struct scsi_cmd *c)
{
    if (c->well_known)
        return TYPE_WELL_KNOWN;
    return !c->unit ? TYPE_NONE : c->unit->cd ? TYPE_CD : TYPE_DISK;
}

static void test_unit_ready(struct scsi_cmd *c)
{
    if (!c->unit && !c->well_known)
        scsi_check(c, SENSE_NO_UNIT);
    else
        scsi_good(c, 0);
}

static void request_sense(struct scsi_cmd *c)
{
    uint8_t fixed[SCSI_SENSE_LEN];
    enum scsi_sense what = SENSE_NONE;
    if (c->unit)
        what = scsi_attention_take(c->unit);
    else if (!c->well_known)
        what = SENSE_NO_UNIT;
    scsi_sense_fixed(fixed, what);
    if (c->cdb[1] & 1) {
        const uint8_t descriptor[8] = {DESCRIPTOR_CURRENT, fixed[2], fixed[12], fixed[13]};
        scsi_data(c, descriptor, sizeof(descriptor), c->cdb[4]);
    } else {
        scsi_data(c, fixed, sizeof(fixed), c->cdb[4]);
    }
}

/* --- INQUIRY --- */

static void put_text(uint8_t *to, size_t len, const char *text)
{
    for (size_t i = 0; i < len; i++)
        to[i] = *text ? (uint8_t)*text++ : ' ';
}

static void standard_inquiry(struct scsi_cmd *c)
{
    static const uint8_t spc4 = 6, removable = 0x80, hisup_format_2 = 0x12, cmdque = 2;
    uint8_t d[36] = {type_of(c), 0, spc4, hisup_format_2, sizeof(d) - 5};
    bool cd = c->unit && c->unit->cd;
    d[1] = cd ? removable : 0;
    d[7] = cmdque;
    put_text(d + 8, 8, "VMM");
    put_text(d + 16, 16, cd ? "VIRTUAL-CD" : "VIRTUAL-DISK");
    put_text(d + 32, 4, "1");
    scsi_data(c, d, sizeof(d), get_be(c->cdb + 3, 2));
}

/* 7.8.6: one designator of the unit, "T10 vendor ID based". */
static size_t page_identification(const struct scsi_unit *u, uint8_t *d)
{
    static const uint8_t ascii = 2, t10_vendor_id = 1;
    size_t serial = strlen(u->serial);
    d[0] = ascii;
    d[1] = t10_vendor_id;
    d[3] = (uint8_t)(8 + serial);
    put_text(d + 4, 8, "VMM");
    memcpy(d + 12, u->serial, serial);
    return 12 + serial;
}

/* SBC-3, 6.5.3: how much one command may ask for. */
static size_t page_block_limits(const struct scsi_unit *u, uint8_t *p)
{
    static const uint8_t wsnz = 1; /* WRITE SAME of no blocks is not one of all that follow */
    uint8_t *d = p - 4;            /* as the standard counts */
    d[4] = wsnz;
    put_be(d + 6, 1u << u->file.physical_exp, 2);
    put_be(d + 8, SCSI_MOVE_MAX / u->block, 4);
    if (u->file.punch) {
        put_be(d + 20, SCSI_UNMAP_BLOCKS, 4);
        put_be(d + 24, SCSI_UNMAP_MAX, 4);
        put_be(d + 28, 1u << u->file.physical_exp, 4);
    }
    put_be(d + 36, SCSI_SAME_MAX / u->block, 8);
    return 60;
}

static size_t page_characteristics(uint8_t *p)
{
    put_be(p, 1, 2); /* does not rotate */
    return 60;
}

static size_t page_provisioning(const struct scsi_unit *u, uint8_t *p)
{
    static const uint8_t unmap_ws16_ws10_lbprz = 0xe4, thin = 2;
    if (u->file.punch) {
        p[1] = unmap_ws16_ws10_lbprz;
        p[2] = thin;
    }
    return 4;
}

static void vital_product_data(struct scsi_cmd *c)
{
    static const uint8_t pages[] = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};
    enum { OF_ALL = 3 };
    const struct scsi_unit *u = c->unit;
    uint8_t d[4 + 64] = {type_of(c), c->cdb[2]};
    size_t n = 0;
    if (c->cdb[2] != 0 && (!u || (u->cd && c->cdb[2] >= 0xb0))) {
        scsi_check(c, SENSE_FIELD);
        return;
    }
    switch (c->cdb[2]) {
    case 0x00:
        n = !u ? 1 : u->cd ? OF_ALL : sizeof(pages);
        memcpy(d + 4, pages, n);
        break;
    case 0x80:
        n = strlen(u->serial);
        memcpy(d + 4, u->serial, n);
        break;
    case 0x83:
        n = page_identification(u, d + 4);
        break;
    case 0xb0:
        n = page_block_limits(u, d + 4);
        break;
    case 0xb1:
        n = page_characteristics(d + 4);
        break;
    case 0xb2:
        n = page_provisioning(u, d + 4);
        break;
    default:
        scsi_check(c, SENSE_FIELD);
        return;
    }
    put_be(d + 2, n, 2);
    scsi_data(c, d, 4 + n, get_be(c->cdb + 3, 2));
}

static void inquiry(struct scsi_cmd *c)
{
    bool vital = c->cdb[1] & 1;
    if (c->cdb[1] & ~1 || (!vital && c->cdb[2]))
        scsi_check(c, SENSE_FIELD);
    else if (vital)
        vital_product_data(c);
    else
        standard_inquiry(c);
}

/* --- REPORT LUNS --- */

/* Of a target as its single-level LUN, SAM-5 4.7.7; of the host as a driver writes it, which is
 * 4.7.8's way to name a unit on a bus. */
static void put_lun(uint8_t *d, const struct scsi_unit *u, bool with_target)
{
    if (with_target)
        scsi_lun_encode(u->at, d);
    else if (u->at.lun < 256)
        d[1] = (uint8_t)u->at.lun;
    else
        put_be(d, 0x4000u | u->at.lun, 2);
}

static int by_address(const void *a, const void *b)
{
    return memcmp(a, b, 8);
}

static void report_luns(struct scsi_cmd *c)
{
    enum { HEAD = 8, UNITS = 0, WELL_KNOWN = 1, ALL = 2 };
    static const uint8_t report_luns_unit[] = {0xc1, 0x01};
    uint8_t d[HEAD + 8 * (SCSI_UNITS_MAX + 1)] = {0};
    uint8_t what = c->cdb[2];
    size_t n = 0, allowed = get_be(c->cdb + 6, 4);
    if (!c->unit && !c->well_known && c->to.lun != 0) {
        scsi_check(c, SENSE_NO_UNIT);
        return;
    }
    if (what > ALL || allowed < 16) { /* 6.33 */
        scsi_check(c, SENSE_FIELD);
        return;
    }
    for (unsigned i = 0; what != WELL_KNOWN && i < c->s->n_units; i++) {
        struct scsi_unit *u = c->s->units[i];
        if (!c->all_targets && u->at.target != c->to.target)
            continue;
        put_lun(d + HEAD + 8 * n++, u, c->all_targets);
        u->attention &= ~(unsigned)UA_LUNS;
    }
    qsort(d + HEAD, n, 8, by_address);
    if (what != UNITS)
        memcpy(d + HEAD + 8 * n++, report_luns_unit, sizeof(report_luns_unit));
    put_be(d, 8 * n, 4);
    scsi_data(c, d, HEAD + 8 * n, allowed);
}

/* --- MODE SENSE --- */

enum { CURRENT = 0, CHANGEABLE = 1, DEFAULT = 2, SAVED = 3 };
enum {
    PAGE_ERRORS = 0x01,
    PAGE_CACHING = 0x08,
    PAGE_CONTROL = 0x0a,
    PAGE_CD = 0x2a,
    PAGE_ALL = 0x3f
};

/* Nothing can be changed, so a mask of what can is zeroes. */
static size_t mode_page(const struct scsi_unit *u, uint8_t page, bool values, uint8_t *p)
{
    static const uint8_t lengths[] = {
        [PAGE_ERRORS] = 0x0a, [PAGE_CACHING] = 0x12, [PAGE_CONTROL] = 0x0a, [PAGE_CD] = 0x14};
    static const uint8_t write_cache = 4;
    p[0] = page;
    p[1] = lengths[page];
    if (values && page == PAGE_CACHING)
        p[2] = write_cache;
    if (values && page == PAGE_CD) {
        p[2] = 0x0b;                                /* reads CD-R, CD-RW, DVD-ROM */
        p[6] = (uint8_t)(0x29 | u->prevented << 1); /* a tray, that ejects and locks */
        put_be(p + 8, 8467, 2);                     /* kB/s, which nobody measures: 48 times */
        put_be(p + 14, 8467, 2);
    }
    return 2u + lengths[page];
}

static bool has_page(const struct scsi_unit *u, uint8_t page)
{
    return page == PAGE_ERRORS || page == (u->cd ? PAGE_CD : PAGE_CACHING) ||
           (page == PAGE_CONTROL && !u->cd);
}

static size_t mode_pages(const struct scsi_unit *u, uint8_t wanted, bool values, uint8_t *p)
{
    static const uint8_t pages[] = {PAGE_ERRORS, PAGE_CACHING, PAGE_CONTROL, PAGE_CD};
    size_t n = 0;
    for (size_t i = 0; i < sizeof(pages); i++) {
        if (has_page(u, pages[i]) && (wanted == PAGE_ALL || wanted == pages[i]))
            n += mode_page(u, pages[i], values, p + n);
    }
    return n;
}

static void mode_sense(struct scsi_cmd *c)
{
    static const uint8_t protected = 0x80, dpofua = 0x10;
    const struct scsi_unit *u = c->unit;
    bool ten = c->op->len == 10;
    size_t head = ten ? 8 : 4, blocks = c->cdb[1] & 8 || u->cd ? 0 : 8;
    uint8_t d[8 + 8 + 64] = {0}, page = c->cdb[2] & 0x3f, control = c->cdb[2] >> 6;
    if (control == SAVED) {
        scsi_check(c, SENSE_NO_SAVING);
        return;
    }
    size_t n = mode_pages(u, page, control != CHANGEABLE, d + head + blocks);
    if (n == 0 || (c->cdb[3] && (page != PAGE_ALL || c->cdb[3] != 0xff))) {
        scsi_check(c, SENSE_FIELD);
        return;
    }
    if (blocks) {
        put_be(d + head, MIN(u->blocks, (uint64_t)UINT32_MAX), 4);
        put_be(d + head + 5, u->block, 3);
    }
    n += head + blocks;
    d[ten ? 3 : 2] = u->cd ? 0 : (uint8_t)((u->file.ro ? protected : 0) | dpofua);
    put_be(d, n - (ten ? 2 : 1), ten ? 2 : 1);
    d[ten ? 7 : 3] = (uint8_t)blocks;
    scsi_data(c, d, n, ten ? get_be(c->cdb + 7, 2) : c->cdb[4]);
}

const struct scsi_op scsi_primary_ops[] = {
    {0x00, 6, OP_DISK | OP_CD | OP_MEDIUM | OP_NO_UNIT, test_unit_ready},
    {0x03, 6, OP_DISK | OP_CD | OP_ANYTIME | OP_NO_UNIT, request_sense},
    {0x12, 6, OP_DISK | OP_CD | OP_ANYTIME | OP_NO_UNIT, inquiry},
    {0x1a, 6, OP_DISK | OP_CD, mode_sense},
    {0x5a, 10, OP_DISK | OP_CD, mode_sense},
    {0xa0, 12, OP_DISK | OP_CD | OP_ANYTIME | OP_NO_UNIT, report_luns},
    {0},
};
