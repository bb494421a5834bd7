/* tests/rig/admin.c - see admin.h. */
#include "tests/rig/admin.h"

enum { MARK = 0xee };

struct rig *admin_up(struct rig_options o)
{
    static const struct vdev_options v = {
        .indirect = true, .ring_reset = true, .suspend = true, .admin_vq = true};
    o.transport = RIG_PCI;
    o.vdev = &v;
    struct rig *r = board_up((struct board_options){0}, &o);
    cr_assert(rig_has(r, VDEV_F_ADMIN_VQ));
    return r;
}

static unsigned segments(struct rig_seg *s, gpa_t at, size_t len, bool cut)
{
    unsigned n = cut ? (unsigned)len : len > 0;
    for (unsigned i = 0; i < n; i++)
        s[i] = (struct rig_seg){GPA(at.v + i), cut ? 1 : (uint32_t)len};
    return n;
}

gpa_t admin_submit(struct rig *r, const struct admin_command *c)
{
    size_t whole = HEADER + c->data_len, len = c->readable ? c->readable : whole;
    size_t in = c->writable ? c->writable : ANSWER_MAX;
    gpa_t out_at = rig_alloc(r, MAX(whole, len)), in_at = rig_alloc(r, in);
    uint8_t *h = rig_at(r, out_at, MAX(whole, len));
    struct rig_seg out_seg[ANSWER_MAX], in_seg[ANSWER_MAX];
    put_bytes(h, c->opcode, 2);
    put_bytes(h + 2, c->group, 2);
    memset(h + 4, MARK, 12); /* reserved: ignored */
    put_bytes(h + MEMBER, c->member, 8);
    if (c->data_len)
        memcpy(h + HEADER, c->data, c->data_len);
    memset(rig_at(r, in_at, in), MARK, in);
    cr_assert(!c->cut || MAX(len, in) <= ANSWER_MAX);
    unsigned n_out = segments(out_seg, out_at, len, c->cut);
    unsigned n_in = segments(in_seg, in_at, in, c->cut);
    (c->cut ? rig_add_indirect : rig_add)(r, ADMIN, out_seg, n_out, in_seg, n_in);
    return in_at;
}

struct admin_answer admin_collect(struct rig *r, const struct admin_command *c, gpa_t at)
{
    struct admin_answer a = {0};
    uint32_t id;
    size_t in = c->writable ? c->writable : ANSWER_MAX;
    cr_assert(rig_used(r, ADMIN, &id, &a.used_len), "command %#x is not answered", c->opcode);
    memset(a.bytes, MARK, sizeof(a.bytes));
    memcpy(a.bytes, rig_at(r, at, in), MIN(in, sizeof(a.bytes)));
    a.status = (unsigned)get_bytes(a.bytes, 2);
    a.qualifier = (unsigned)get_bytes(a.bytes + 2, 2);
    a.result = get_bytes(a.bytes + STATUS, 8);
    for (size_t i = a.used_len; i < sizeof(a.bytes); i++)
        cr_assert_eq(a.bytes[i], MARK, "byte %zu was written, and it was not said", i);
    return a;
}

struct admin_answer admin_ask(struct rig *r, struct admin_command c)
{
    gpa_t at = admin_submit(r, &c);
    rig_kick(r, ADMIN);
    rig_settle(r);
    return admin_collect(r, &c, at);
}

void admin_expect(struct rig *r, struct admin_command c, unsigned status, unsigned qualifier)
{
    struct admin_answer a = admin_ask(r, c);
    cr_assert_eq(a.status, status, "command %#x: status %u", c.opcode, a.status);
    cr_assert_eq(a.qualifier, qualifier, "command %#x: qualifier %u", c.opcode, a.qualifier);
    cr_assert_not(rig_needs_reset(r));
}

uint64_t admin_supported(struct rig *r)
{
    struct admin_answer a = admin_ask(r, (struct admin_command){.opcode = LIST_QUERY});
    cr_assert_eq(a.status, ST_OK);
    return a.result;
}

struct admin_command admin_command(unsigned opcode, unsigned group, uint64_t member)
{
    return (struct admin_command){.opcode = opcode, .group = group, .member = member};
}

struct admin_command admin_use(const uint64_t *list, size_t n)
{
    return (struct admin_command){.opcode = LIST_USE, .data = list, .data_len = n * sizeof(*list)};
}

void admin_use_all(struct rig *r)
{
    uint64_t all = admin_supported(r);
    admin_expect(r, admin_use(&all, 1), ST_OK, Q_OK);
}
