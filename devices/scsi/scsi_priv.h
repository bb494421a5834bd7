/* devices/scsi/scsi_priv.h - a SCSI host from inside: its units (units.c), one command from the
 * buffer to the response (cmd.c), what commands do (primary.c, block.c, cd.c), the control queue
 * (control.c), the event queue (event.c) and saved state (state.c).
 *
 * All of it is the loop's, but for what is atomic. Numbers of SCSI are big-endian, of virtio
 * little-endian. */
#pragma once

#include <linux/virtio_scsi.h>
#include <stdatomic.h>

#include "base/log.h"
#include "devices/blkio.h"
#include "devices/virtio/vdev.h"

enum { SCSI_CONTROL, SCSI_EVENTS, SCSI_REQUESTS /* the first of them: 5.6.2 */ };
enum {
    SCSI_UNITS_MAX = 3 * OPT_STRS_MAX,
    SCSI_TARGET_MAX = 255, /* 5.6.6.1 */
    SCSI_LUN_MAX = 16383,
    SCSI_CDB_MAX = 260, /* SPC-4, 4.2.3; and the shortest there is */
    SCSI_CDB_MIN = 6,
    SCSI_SENSE_MAX = 252, /* SPC-4, 4.5.1 */
    SCSI_SENSE_LEN = 18,  /* what is made here: fixed format */
    SCSI_TMFS = 64,       /* that wait for commands */
    SCSI_EVENTS_MAX = 32, /* that wait for a buffer */
    SCSI_BLOCK_MAX = 4096,
    SCSI_FILL = 64 * 1024,       /* what WRITE SAME writes at once; a multiple of any block */
    SCSI_SAME_MAX = 16 << 20,    /* bytes of one WRITE SAME, which may have to be written */
    SCSI_MOVE_MAX = 64 << 20,    /* of one READ or WRITE of a disk's */
    SCSI_UNMAP_MAX = 64,         /* descriptors of one UNMAP */
    SCSI_UNMAP_BLOCKS = 1 << 22, /* of one descriptor */
};

/* What GET EVENT STATUS tells of a medium (MMC-5, 6.6.2.3), and the reason of the one change of
 * parameters that there is. */
enum { SCSI_MEDIA_NEW = 2, SCSI_MEDIA_REMOVED = 3, SCSI_CAPACITY_CHANGED = 0x2a | 0x09 << 8 };

/* Unit attention conditions that a unit has yet to report, the most urgent first. */
enum scsi_attention {
    UA_POWER_ON = 1 << 0, /* 29/00: power-on, or the reset of the virtio device */
    UA_RESET = 1 << 1,    /* 29/03: a task management function */
    UA_MEDIUM = 1 << 2,   /* 28/00: the medium may have changed */
    UA_CAPACITY = 1 << 3, /* 2a/09 */
    UA_LUNS = 1 << 4,     /* 3f/0e: REPORT LUNS has something new */
    UA_ALL = (1 << 5) - 1,
};

struct scsi_address {
    uint8_t target;
    uint16_t lun;
};

/* One logical unit. It outlives its place in the table while commands are in flight. */
struct scsi_unit {
    struct scsi_address at;
    bool named; /* the user gave the address */
    bool cd;
    bool removed;
    char *path;
    char serial[17];
    struct blkfile file;
    uint64_t blocks;
    uint32_t block; /* bytes; never changes */
    unsigned users; /* commands in flight */
    uint8_t *fill;  /* of the WRITE SAME at work; SCSI_FILL bytes */
    bool filling;
    /* What a driver can see. */
    unsigned attention; /* enum scsi_attention */
    bool stopped, ejected, prevented;
    uint8_t media_event; /* MMC: the last that GET EVENT STATUS has not told */
    /* Since it was added. */
    uint64_t reads, writes, read_bytes, write_bytes, others, failed;
};

struct scsi_event {
    uint32_t event, reason;
    struct scsi_address at;
};

/* A task management function that waits for commands to end. */
struct scsi_tmf {
    struct vq *q;
    struct vq_req *req;
    unsigned pending;
};

struct scsi_cmd;
struct scsi {
    struct vdev *dev; /* NULL while it is made */
    struct loop *loop;
    char name[64]; /* for the log */
    unsigned queues;
    uint32_t seg_max;
    bool direct;
    atomic_uint cdb_size, sense_size;
    uint32_t cdb_draft, sense_draft; /* as far as the driver has written them; control's */
    struct scsi_unit *units[SCSI_UNITS_MAX];
    unsigned n_units;
    struct scsi_cmd *commands; /* in flight */
    struct scsi_tmf tmf[SCSI_TMFS];
    uint64_t tmf_used; /* bits */
    struct loop_task tmf_task;
    struct scsi_event events[SCSI_EVENTS_MAX];
    unsigned n_events;
    bool missed;
    struct log_limit errors;
    uint64_t unaddressed, refused, functions, events_sent, events_lost;
};

/* --- one command (cmd.c) --- */

struct scsi_op;
struct scsi_cmd { /* vq_req_state() */
    struct blkio io;
    struct scsi *s;
    struct scsi_unit *unit; /* NULL: the REPORT LUNS unit, or none at this address */
    struct vq *q;
    struct vq_req *req;
    struct scsi_cmd *next, **at; /* among those in flight */
    const struct scsi_op *op;
    uint64_t id;
    uint64_t waiters; /* bits: task management functions that wait for it */
    struct scsi_address to;
    bool all_targets, well_known; /* where `lun` leads if not to a unit */
    uint8_t cdb[16];
    uint8_t ended; /* a response that a task management function has decided, or 0 */
    uint16_t sense_size;
    size_t out_at, out_len, in_at, in_len; /* the data in the request's two parts */
    size_t said; /* UNMAP, WRITE SAME: bytes of data that say what to do, not what to store */
    unsigned index, count; /* UNMAP: its descriptors */
};

enum scsi_op_flags {
    OP_DISK = 1,
    OP_CD = 2,
    OP_NO_UNIT = 4, /* also where there is no unit */
    OP_ANYTIME = 8, /* an attention waits for the next command */
    OP_MEDIUM = 16, /* needs one, and the unit started */
    OP_WRITES = 32,
};
struct scsi_op {
    uint8_t code, len; /* of the CDB */
    uint8_t flags;
    void (*run)(struct scsi_cmd *c);
};

/* Sense keys, and additional sense codes with their qualifiers (SPC-4, 4.5.6). */
enum scsi_sense {
    SENSE_NONE = 0,
    SENSE_NOT_STARTED = 0x020402,
    SENSE_NO_MEDIUM = 0x023a02, /* the tray is open */
    SENSE_WRITE_ERROR = 0x030c00,
    SENSE_READ_ERROR = 0x031100,
    SENSE_LIST_LENGTH = 0x051a00,
    SENSE_OPCODE = 0x052000,
    SENSE_RANGE = 0x052100,
    SENSE_FIELD = 0x052400,
    SENSE_NO_UNIT = 0x052500,
    SENSE_LIST_FIELD = 0x052600,
    SENSE_NO_SAVING = 0x053900,
    SENSE_PREVENTED = 0x055302,
    SENSE_PROTECTED = 0x072700,
    SENSE_NO_SPACE = 0x072707,
};

void scsi_cmds_start(struct scsi *s, struct vq *q); /* those that wait in a request queue */
/* Each of these ends the command: `moved` bytes of data; the response itself; a status; CHECK
 * CONDITION, and where on the medium. */
void scsi_good(struct scsi_cmd *c, uint64_t moved);
void scsi_respond(struct scsi_cmd *c, uint8_t response);
void scsi_task_set_full(struct scsi_cmd *c);
void scsi_check(struct scsi_cmd *c, enum scsi_sense sense);
void scsi_check_at(struct scsi_cmd *c, enum scsi_sense sense, uint64_t moved, uint64_t lba);
/* Ends it with data that the CDB allows `allowed` bytes of. */
void scsi_data(struct scsi_cmd *c, const void *data, size_t len, size_t allowed);
/* False, and it has ended: the CDB asks for more data than the driver has room for, or gives. */
bool scsi_has_out(struct scsi_cmd *c, uint64_t len);
bool scsi_has_in(struct scsi_cmd *c, uint64_t len);
int scsi_out(const struct scsi_cmd *c, size_t off, void *dst, size_t len); /* dataout; -EMSGSIZE */
/* Takes the unit's most urgent attention; SENSE_NONE: there is none. */
enum scsi_sense scsi_attention_take(struct scsi_unit *u);
void scsi_sense_fixed(uint8_t sense[SCSI_SENSE_LEN], enum scsi_sense what);

extern const struct scsi_op scsi_primary_ops[], scsi_block_ops[], scsi_cd_ops[]; /* run NULL: end */

static inline uint64_t get_be(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}
static inline void put_be(uint8_t *p, uint64_t v, size_t n)
{
    for (; n > 0; v >>= 8)
        p[--n] = (uint8_t)v;
}

/* --- units (units.c) --- */

struct scsi_opts {
    struct opt_strs disks, ro, cds;
    uint32_t queues; /* 0: one */
    const char *id;
    bool direct;
};
/* Makes the table what the options say: whoever is missing goes, whoever is new comes, and the
 * length of the others is looked at. With events if the driver wants them. On failure nothing has
 * changed. */
int CHECKED scsi_units_set(struct scsi *s, const struct scsi_opts *o, struct err *e);
void scsi_units_free(struct scsi *s);
struct scsi_unit *scsi_unit_at(const struct scsi *s, struct scsi_address at);
bool scsi_target_exists(const struct scsi *s, uint8_t target);
void scsi_unit_reset(struct scsi_unit *u, enum scsi_attention why);
void scsi_unit_release(struct scsi_unit *u); /* one command less */

/* The eight bytes of 5.6.6.1, both ways. */
enum scsi_where { SCSI_NOWHERE, SCSI_UNIT, SCSI_WELL_KNOWN, SCSI_ALL_TARGETS };
enum scsi_where scsi_lun_decode(const uint8_t lun[8], struct scsi_address *at);
void scsi_lun_encode(struct scsi_address at, uint8_t lun[8]);

/* --- the other queues (control.c, event.c), state (state.c) --- */

void scsi_control_kick(struct scsi *s, struct vq *q);
void scsi_control_drain(struct scsi *s, struct vq *q);
void scsi_tmf_ended(struct scsi *s, uint64_t waiters); /* a command that these waited for */
void scsi_tmf_task(void *scsi);

void scsi_event(struct scsi *s, uint32_t event, struct scsi_address at, uint32_t reason);
void scsi_events_flush(struct scsi *s);

void scsi_save(const struct vdev *d, struct state_out *out);
int CHECKED scsi_load(struct vdev *d, struct state_in *in);
