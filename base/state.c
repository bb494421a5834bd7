/* base/state.c - see state.h. Section: tag[4], u32 version, u32 length, u32 checksum of the
 * payload (FNV-1a), payload. All integers little-endian. */
#include "base/state.h"

enum { HEADER = 16, MAX_SECTION = 1 << 28 };

static uint32_t fnv1a(uint32_t h, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * 16777619u;
    return h;
}

/* Of tag, version, length and payload: all but itself. */
static uint32_t checksum(const uint8_t *section, size_t len)
{
    return fnv1a(fnv1a(2166136261u, section, HEADER - 4), section + HEADER, len);
}

static uint8_t *grow(struct state_out *s, size_t len)
{
    if (s->error)
        return NULL;
    if (s->cap - s->len < len) {
        size_t cap = MAX(s->cap * 2, s->len + len + 256);
        uint8_t *p = realloc(s->buf, cap);
        if (!p) {
            s->error = -ENOMEM;
            return NULL;
        }
        s->buf = p;
        s->cap = cap;
    }
    uint8_t *at = s->buf + s->len;
    s->len += len;
    return at;
}

static void put(struct state_out *s, uint64_t v, size_t n)
{
    uint8_t *p = grow(s, n);
    if (p)
        put_bytes(p, v, n);
}

void state_begin(struct state_out *s, const char tag[4], uint32_t version)
{
    s->section = s->len;
    uint8_t *p = grow(s, HEADER);
    if (!p)
        return;
    memcpy(p, tag, 4);
    put_bytes(p + 4, version, 4);
}

void state_u8(struct state_out *s, uint8_t v)
{
    put(s, v, 1);
}

void state_u16(struct state_out *s, uint16_t v)
{
    put(s, v, 2);
}

void state_u32(struct state_out *s, uint32_t v)
{
    put(s, v, 4);
}

void state_u64(struct state_out *s, uint64_t v)
{
    put(s, v, 8);
}

void state_bytes(struct state_out *s, const void *p, size_t len)
{
    put(s, len, 4);
    uint8_t *at = grow(s, len);
    if (at && len)
        memcpy(at, p, len);
}

void state_end(struct state_out *s)
{
    if (s->error)
        return;
    uint8_t *h = s->buf + s->section;
    size_t len = s->len - s->section - HEADER;
    put_bytes(h + 8, len, 4);
    put_bytes(h + 12, checksum(h, len), 4);
}

void state_out_free(struct state_out *s)
{
    free(s->buf);
    *s = (struct state_out){0};
}

int state_open(struct state_in *s, const char tag[4], uint32_t max_version, uint32_t *version)
{
    if (s->error || s->len - s->pos < HEADER)
        return -EBADMSG;
    const uint8_t *h = s->buf + s->pos;
    uint32_t v = (uint32_t)get_bytes(h + 4, 4);
    size_t len = get_bytes(h + 8, 4);
    if (memcmp(h, tag, 4) != 0 || v == 0 || v > max_version || len > MAX_SECTION ||
        len > s->len - s->pos - HEADER || checksum(h, len) != get_bytes(h + 12, 4))
        return -EBADMSG;
    s->pos += HEADER;
    s->section_end = s->pos + len;
    *version = v;
    return 0;
}

static const uint8_t *take(struct state_in *s, size_t n)
{
    if (s->error || n > s->section_end - s->pos) {
        s->error = -EBADMSG;
        return NULL;
    }
    const uint8_t *p = s->buf + s->pos;
    s->pos += n;
    return p;
}

static uint64_t get(struct state_in *s, size_t n)
{
    const uint8_t *p = take(s, n);
    return p ? get_bytes(p, n) : 0;
}

uint8_t state_get_u8(struct state_in *s)
{
    return (uint8_t)get(s, 1);
}

uint16_t state_get_u16(struct state_in *s)
{
    return (uint16_t)get(s, 2);
}

uint32_t state_get_u32(struct state_in *s)
{
    return (uint32_t)get(s, 4);
}

uint64_t state_get_u64(struct state_in *s)
{
    return get(s, 8);
}

void state_get_bytes(struct state_in *s, void *p, size_t len)
{
    const uint8_t *from = state_get_u32(s) == len ? take(s, len) : NULL;
    if (!from)
        s->error = -EBADMSG;
    if (len && from)
        memcpy(p, from, len);
    else if (len)
        memset(p, 0, len);
}

size_t state_get_blob(struct state_in *s, void *p, size_t max)
{
    size_t len = state_get_u32(s);
    const uint8_t *from = len <= max ? take(s, len) : NULL;
    if (!from) {
        s->error = -EBADMSG;
        return 0;
    }
    if (len)
        memcpy(p, from, len);
    return len;
}

int state_close(struct state_in *s)
{
    if (s->error || s->pos != s->section_end)
        return s->error = -EBADMSG;
    return 0;
}
