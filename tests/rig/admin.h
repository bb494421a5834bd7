/* tests/rig/admin.h - a driver of the administration virtqueue (virtio 1.4, 2.12, 2.13), of a
 * device that is alone in its group, has no capabilities and no resource types. */
#pragma once

#include "tests/rig/board.h"

enum { ADMIN = 1, HEADER = 24, MEMBER = 16, STATUS = 8, ANSWER_MAX = 64 };
enum { SELF = 0, SRIOV = 1 };
enum {
    LIST_QUERY = 0,
    LIST_USE = 1,
    LEGACY_FIRST = 2,
    LEGACY_LAST = 6,
    CAP_ID_LIST_QUERY = 7,
    DEVICE_CAP_GET = 8,
    DRIVER_CAP_SET = 9,
    RESOURCE_CREATE = 0xa,
    RESOURCE_DESTROY = 0xd,
    PARTS_FIRST = 0xe,
};
enum { ST_OK = 0, ST_ENXIO = 6, ST_EINVAL = 22, ST_ENOSPC = 28 };
enum { Q_OK = 0, Q_OPCODE = 2, Q_FIELD = 3, Q_GROUP = 4, Q_MEMBER = 5 };

struct admin_command {
    unsigned opcode, group;
    uint64_t member;
    const void *data;
    size_t data_len;
    size_t readable; /* bytes of all that are in the buffer; 0: as many as there are */
    size_t writable; /* 0: ANSWER_MAX */
    bool cut;        /* one segment for each byte */
};
struct admin_answer {
    unsigned status, qualifier;
    uint64_t result;
    uint32_t used_len;
    uint8_t bytes[ANSWER_MAX];
};

/* A device with one queue of its own, so that this one is at index 1. */
struct rig *admin_up(struct rig_options o);

gpa_t admin_submit(struct rig *r, const struct admin_command *c); /* where its answer will be */
/* Fails if anything is written behind what was said to be. */
struct admin_answer admin_collect(struct rig *r, const struct admin_command *c, gpa_t at);
struct admin_answer admin_ask(struct rig *r, struct admin_command c); /* both, and a notification */
void admin_expect(struct rig *r, struct admin_command c, unsigned status, unsigned qualifier);

struct admin_command admin_command(unsigned opcode, unsigned group, uint64_t member);
struct admin_command admin_use(const uint64_t *list, size_t n);
uint64_t admin_supported(struct rig *r);
void admin_use_all(struct rig *r);
enum { BOTH = 1 << LIST_QUERY | 1 << LIST_USE };
