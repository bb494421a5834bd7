/* tests/fuzz/fuzz_state.c - saved state as hostile input: that of any device on any transport, cut
 * and changed at will, with checksums that fit. Whatever is taken is put to use and saved again,
 * and loads then; a reset makes a good device of it in any case. */
#include "tests/fuzz/guest.h"
#include "tests/fuzz/oracle.h"

enum { HEADER = 16, LENGTH = 8, CHECKSUM = 12 };

/* FNV-1a of each section but for the checksum itself, as base/state.c has it. */
static void seal(uint8_t *buf, size_t len)
{
    for (size_t at = 0; len - at >= HEADER;) {
        uint8_t *section = buf + at;
        size_t n = HEADER + get_bytes(section + LENGTH, 4);
        uint32_t h = 2166136261u;
        if (n > len - at)
            return;
        for (size_t i = 0; i < n; i++)
            h = i >= CHECKSUM && i < HEADER ? h : (h ^ section[i]) * 16777619u;
        put_bytes(section + CHECKSUM, h, 4);
        at += n;
    }
}

/* Where the n-th section begins; the last one for what is past them. */
static size_t section_at(const struct state_out *o, unsigned n)
{
    size_t at = 0;
    while (n-- > 0 && at + HEADER + get_bytes(o->buf + at + LENGTH, 4) < o->len)
        at += HEADER + get_bytes(o->buf + at + LENGTH, 4);
    return at;
}

/* A section becomes longer or shorter, and says so. */
static void respell(struct state_out *o, size_t section, size_t at, size_t out, const uint8_t *p,
                    size_t in)
{
    size_t len = get_bytes(o->buf + section + LENGTH, 4), end = section + HEADER + len;
    at = section + HEADER + at % (len + 1);
    out = MIN(out, end - at);
    uint8_t *to = realloc(o->buf, o->len + in);
    EXPECT(to);
    o->buf = to;
    o->cap = o->len + in;
    memmove(to + at + in, to + at + out, o->len - at - out);
    memcpy(to + at, p, in);
    o->len += in - out;
    put_bytes(to + section + LENGTH, len + in - out, 4);
}

static void change(struct state_out *o, struct script *s)
{
    uint8_t how = take8(s), bytes[16];
    size_t section = section_at(o, take8(s) % 8), at = take(s, 2), in = how % 9, out = in;
    if (how & 0x10)
        out = take8(s);
    take_bytes(s, bytes, in);
    respell(o, section, at, out, bytes, in);
}

static void use(struct guest *g, struct script *s, int rc)
{
    struct rig *r = g->r;
    vdev_resume(r->dev);
    for (unsigned i = 0; i < RIG_QUEUES; i++)
        vdev_kick(r->dev, i);
    rig_settle(r);
    if (rc == 0 && take8(s) % 2)
        guest_run(g, s);
    oracle_migrate(r);
    rig_settle(r);
}

void fuzz_state(struct script *s, const char *which)
{
    unsigned n = 0;
    (void)which;
    while (vdev_classes[n])
        n++;
    struct world *w = world_new(vdev_classes[take8(s) % n]->name);
    struct guest *g = guest_new(w, s);
    struct rig *r = g->r;
    struct state_out o = rig_save(r);
    uint8_t changes = take8(s);
    for (unsigned i = 0; i < changes % 8; i++)
        change(&o, s);
    if (!(changes & 8))
        seal(o.buf, o.len);
    if (changes & 16)
        o.len -= MIN(o.len, take(s, 2));
    struct state_in in = {.buf = o.buf, .len = o.len};
    transport_reset(r->transport);
    int rc = transport_load(r->transport, &in);
    EXPECT(rc == 0 || rc == -EBADMSG, "%d", rc);
    oracle_device(r);    /* refused, it is as new */
    w->turned = rc == 0; /* what the user had set is part of it */
    use(g, s, rc);
    state_out_free(&o);
    guest_end(g);
    world_free(w);
}
