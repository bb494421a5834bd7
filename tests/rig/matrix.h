/* tests/rig/matrix.h - every device class on every transport with every ring and every core feature
 * that may go together: the cells that test_matrix*.c run the same checks in. */
#pragma once

#include "tests/rig/rig.h"

/* What a disk must have in its first sectors. */
enum { MATRIX_MARK = 0x5c, MATRIX_MARK_LEN = 4096 };

/* One request that is harmless and has an outcome: how each class does its least. */
struct matrix_request {
    gpa_t at; /* the class's own */
    uint16_t id;
    struct rig_seg out; /* what the device may only read, and its sum */
    uint64_t sum;
};
struct matrix_class {
    const char *name;
    const char *options; /* behind the name, or a format for the path of a scratch file */
    unsigned queue;      /* that takes it */
    unsigned descs;      /* that it needs when they are direct */
    void (*add)(struct rig *r, struct matrix_request *q, bool indirect);
    void (*check)(struct rig *r, const struct matrix_request *q, uint32_t used_len);
    uint32_t used_len;
    uint32_t must; /* features of its own without which it accepts nothing */
    bool socket;   /* the path in the options is of a socket that it makes */
};

const struct matrix_class *matrix_class_named(const char *name);

struct cell {
    const struct matrix_class *class;
    enum rig_transport transport;
    bool intx, packed, indirect, event_idx, in_order, notification_data, ring_reset;
    unsigned next; /* where the iteration is */
};
extern char cell_name[160]; /* of the cell that is being tried, for messages */
extern uint32_t matrix_cut; /* requests are cut into segments of so many bytes; 0: they are not */

enum cells {
    CELLS_ALL,   /* each legal combination */
    CELLS_RINGS, /* each class, transport and ring format, with default features */
    CELLS_PLAIN, /* each class and transport */
};
bool cell_next(struct cell *c, enum cells which); /* begin with {0} */
#define for_each_cell(c, which) for (struct cell c = {0}; cell_next(&(c), which);)
bool cell_is_legacy(const struct cell *c);

/* The device of a cell with queues of `size` (0: as the device likes), up to DRIVER_OK unless the
 * options say otherwise. */
struct rig *cell_up(const struct cell *c, uint16_t size);
struct rig *cell_up_with(const struct cell *c, struct rig_options o);

/* One request from the buffer to the outcome. */
void cell_add(struct rig *r, const struct cell *c, struct matrix_request *q);
void cell_expect(struct rig *r, const struct cell *c, const struct matrix_request *q);
void cell_serve(struct rig *r, const struct cell *c);

/* What the driver shares with the device of the cell's queue: to see that nothing is touched. */
struct ring_image {
    size_t len;
    uint8_t *bytes;
};
struct ring_image ring_image(struct rig *r, unsigned q);
bool ring_unchanged(struct rig *r, unsigned q, struct ring_image *i); /* frees it */

#define MUST(cond, ...)       MUST_(cond, "" __VA_ARGS__)
#define MUST_(cond, fmt, ...) cr_assert(cond, "%s: " fmt, cell_name __VA_OPT__(, ) __VA_ARGS__)
