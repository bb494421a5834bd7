/* devices/virtio/vdev_admin.c - the administration virtqueue (virtio 1.4, 2.12 and 2.13): commands
 * for the self group. This device has no capabilities and no resource types yet, and says so. */
#include "devices/virtio/vdev_priv.h"

enum {
    GROUP_SELF = 0,
    OPCODES = 1 << 16,
};
enum opcode {
    LIST_QUERY = 0x0,
    LIST_USE = 0x1,
    CAP_ID_LIST_QUERY = 0x7,
    DEVICE_CAP_GET = 0x8,
    DRIVER_CAP_SET = 0x9,
    RESOURCE_CREATE = 0xa,
    RESOURCE_QUERY =
        0xb, /* by the table; their paragraphs have these two the other way round, and */
    RESOURCE_MODIFY = 0xc, /* here both have the same answer */
    RESOURCE_DESTROY = 0xd,
};
static const uint64_t first_two = 1ull << LIST_QUERY | 1ull << LIST_USE;
static const uint64_t supported =
    1ull << LIST_QUERY | 1ull << LIST_USE | 1ull << CAP_ID_LIST_QUERY | 1ull << DEVICE_CAP_GET |
    1ull << DRIVER_CAP_SET | 1ull << RESOURCE_CREATE | 1ull << RESOURCE_QUERY |
    1ull << RESOURCE_MODIFY | 1ull << RESOURCE_DESTROY;

enum { OK = 0, ENXIO_ = 6, EINVAL_ = 22, ENOSPC_ = 28 };
enum { Q_OK = 0, Q_OPCODE = 2, Q_FIELD = 3, Q_GROUP = 4, Q_MEMBER = 5 };
/* As they are in guest memory, little-endian; the command's data come behind it. */
struct command {
    uint16_t opcode, group;
    uint8_t reserved[12];
    uint64_t member;
};
struct reply {
    uint16_t status, qualifier;
    uint32_t reserved;
    uint64_t result;
};
struct answer {
    uint16_t status, qualifier;
    bool has_result;
    uint64_t result;
};

void admin_reset(struct vdev_admin *a)
{
    a->used = first_two;
}

static struct answer invalid(uint16_t qualifier)
{
    return (struct answer){.status = EINVAL_, .qualifier = qualifier};
}

/* 2.13: a driver's structure may be shorter than the device's, which is zero then, or longer. */
static void take(const struct vq_req *r, size_t off, void *dst, size_t len)
{
    size_t there = r->out_len - MIN(off, r->out_len);
    memset(dst, 0, len);
    if (vq_req_read(r, off, dst, MIN(there, len)) < 0)
        return; /* it ends before `off` */
}

/* An array of words with a bit for each opcode that there can be, of any length. */
static struct answer list_use(struct vdev_admin *a, const struct vq_req *r)
{
    uint64_t list[OPCODES / 64], more = 0;
    take(r, sizeof(struct command), list, sizeof(list));
    for (size_t i = 1; i < ARRAY_SIZE(list); i++)
        more |= list[i];
    if (le64toh(list[0]) & ~supported || more)
        return invalid(Q_FIELD);
    a->used = le64toh(list[0]);
    return (struct answer){.status = OK};
}

static struct answer execute(struct vdev_admin *a, const struct vq_req *r)
{
    struct command c;
    take(r, 0, &c, sizeof(c));
    uint16_t opcode = le16toh(c.opcode);
    if (c.group != htole16(GROUP_SELF))
        return invalid(Q_GROUP);
    if (opcode > RESOURCE_DESTROY || !(a->used >> opcode & 1))
        return invalid(Q_OPCODE);
    if (!(first_two >> opcode & 1) && c.member)
        return invalid(Q_MEMBER); /* the group's only member is 0, and the lists are about nobody */
    switch ((enum opcode)opcode) {
    case LIST_QUERY:
        return (struct answer){.has_result = true, .result = supported};
    case LIST_USE:
        return list_use(a, r);
    case CAP_ID_LIST_QUERY: /* none */
        return (struct answer){.has_result = true, .result = 0};
    case RESOURCE_CREATE: /* of each type there can be none */
        return (struct answer){.status = ENOSPC_, .qualifier = Q_FIELD};
    default: /* no capability and no resource has such an ID */
        return (struct answer){.status = ENXIO_, .qualifier = Q_FIELD};
    }
}

static void answer(struct vq_req *r, const struct answer *a)
{
    const struct reply reply = {.status = htole16(a->status),
                                .qualifier = htole16(a->qualifier),
                                .result = htole64(a->result)};
    size_t whole = a->has_result ? sizeof(reply) : offsetof(struct reply, result);
    size_t len = MIN(whole, r->in_len);
    if (vq_req_write(r, 0, &reply, len) == 0)
        r->written = (uint32_t)len;
}

void admin_kick(struct vdev *d, struct vq *q)
{
    vq_for_each (req, q) {
        const struct answer a = execute(&d->admin, req);
        answer(req, &a);
        vq_complete(q, req);
    }
}

void admin_save(const struct vdev_admin *a, struct state_out *s)
{
    state_u64(s, a->used);
}

int admin_load(struct vdev_admin *a, struct state_in *s)
{
    uint64_t used = state_get_u64(s);
    if (used & ~supported)
        return -EBADMSG;
    a->used = used;
    return 0;
}
