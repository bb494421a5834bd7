/* tests/small/small.h - a queue alone, without device, loop and transport, beside a model of it:
 * what either takes from the same ring, and what it leaves there, must be the same.
 *
 * Each area of the ring ends where the next page cannot be touched, and so does the one indirect
 * table; buffers are 4 GiB that nobody may touch at all, since a queue only finds them. */
#pragma once

#include "devices/virtio/vdev.h"
#include "devices/virtio/vq_priv.h"
#include "tests/small/choose.h"

enum { SMALL_SIZE = 4, SMALL_TABLE = 2, SMALL_SEGS = 8, SMALL_REQS = 12, SMALL_AREA = 64 };
enum small_area { DESC, DRIVER, DEVICE, TABLE, AREAS };

/* What is tried. */
struct small_case {
    bool packed;
    uint16_t size;
    uint16_t next_avail, next_used; /* where it resumes, as in struct vq_config */
    bool indirect, event_idx, in_order;
    enum small_alphabet { SMALL_FEW, SMALL_SOME, SMALL_ALL } alphabet;
    bool wishes;     /* all that a driver may ask of interrupts; else: each */
    unsigned rounds; /* how often the driver gets to write its ring */
    enum small_mode {
        SMALL_AT_ONCE, /* each request is completed before the next one is taken */
        SMALL_HOLD,    /* when nothing more is to be had, the last one first */
        SMALL_UNPOP,   /* each is given back, taken again, and completed */
    } mode;
};

/* What was taken, and whether the ring was found broken. */
struct small_outcome {
    struct small_req {
        unsigned id, n_desc, n_out, n_in; /* id: head, or buffer ID */
        uint64_t len;
        struct small_seg {
            uint64_t at, len;
        } seg[SMALL_SEGS];
    } req[SMALL_REQS];
    unsigned n, interrupts;
    bool broken;
    bool any_interrupts; /* of a model: the driver has no right to any */
};

struct small {
    const struct small_case *c;
    struct choices choices;
    unsigned long states, broken;
    struct gmem *mem;
    uint8_t *page[AREAS];
    uint8_t *area[AREAS]; /* the last bytes of a page */
    size_t len[AREAS];
    struct vq_config cfg;
    struct vq *q;
    struct vq_req *held[SMALL_REQS];
    unsigned n_held;
    struct small_outcome is, must;    /* the queue's, the model's */
    uint8_t image[AREAS][SMALL_AREA]; /* the areas, as the model has them */
    bool known[2][SMALL_SIZE];        /* of DESC and TABLE: what was chosen */
};

/* A ring format's model, written from the specification and as simple as can be. It reads and
 * writes `image` and `must`. */
struct small_model {
    void (*begin)(struct small *s);
    void (*at)(uint16_t *avail, uint16_t *used); /* how far it is, as in struct vq_config */
    void (*round)(struct small *s); /* the driver writes, and the model takes all it may */
};

/* Runs all that there is of a case, and adds to `states`. */
void small_try(const struct small_case *c, const struct small_model *m, unsigned long *states);

/* What a queue says to such a case with one of its areas moved by that many bytes: 0, or -errno. */
int small_open_moved(const struct small_case *c, enum small_area a, int by);

/* For models. */
unsigned small_choose(struct small *s, unsigned of);
/* The driver writes to an area: the queue and the model see it. */
void small_write(struct small *s, enum small_area a, size_t off, uint64_t v, size_t n);
uint64_t small_read(const struct small *s, enum small_area a, size_t off, size_t n);
/* From the alphabet: a segment; a table, or what looks like one. */
struct small_seg small_choose_seg(struct small *s);
struct small_seg small_choose_table(struct small *s);
bool small_inside(struct small_seg seg); /* or empty, wherever it is */
bool small_is_table(struct small_seg seg);
unsigned small_table_at(struct small_seg table); /* its first descriptor in TABLE */
/* false: it must not be there. */
bool small_add(struct small_req *r, struct small_seg seg, bool write);
