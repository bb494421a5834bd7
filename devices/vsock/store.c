/* devices/vsock/store.c - what the driver sent and the host has not taken yet. The sender has
 * credit for all of it (virtio 1.4, 5.10.6.3), so it always fits. */
#include <assert.h>

#include "devices/vsock/vsock_priv.h"

enum { WORD = 64 };

static uint32_t at(const struct store *s, uint32_t i)
{
    return (s->from + i) % VSOCK_BUF;
}

static int prepare(struct store *s, bool messages)
{
    if (!s->bytes)
        s->bytes = malloc(VSOCK_BUF);
    if (messages && !s->ends)
        s->ends = calloc(VSOCK_BUF / WORD, sizeof(s->ends[0]));
    return s->bytes && (s->ends || !messages) ? 0 : -ENOMEM;
}

static void put(struct store *s, const uint8_t *p, size_t len)
{
    uint32_t to = at(s, s->len);
    size_t first = MIN(len, (size_t)VSOCK_BUF - to);
    memcpy(s->bytes + to, p, first);
    memcpy(s->bytes, p + first, len - first);
    s->len += (uint32_t)len;
}

int store_put(struct store *s, bool messages, const struct iovec *iov, unsigned n, size_t skip,
              size_t len)
{
    assert(len <= VSOCK_BUF - s->len);
    int rc = prepare(s, messages);
    if (rc < 0)
        return rc;
    for (unsigned i = 0; i < n && len > 0; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        size_t part = MIN(iov[i].iov_len - skip, len);
        put(s, (const uint8_t *)iov[i].iov_base + skip, part);
        len -= part;
        skip = 0;
    }
    if (!messages)
        s->whole = s->len;
    return 0;
}

void store_end_message(struct store *s)
{
    if (s->len == s->whole)
        return; /* an empty one */
    uint32_t last = at(s, s->len - 1);
    s->ends[last / WORD] |= 1ull << last % WORD;
    s->whole = s->len;
}

/* How long the first message is. */
static uint32_t first_message(const struct store *s)
{
    uint32_t len = 0;
    while (len < s->whole) {
        uint32_t i = at(s, len);
        uint64_t word = s->ends[i / WORD] >> i % WORD;
        if (word)
            return len + (uint32_t)__builtin_ctzll(word) + 1;
        len += WORD - i % WORD;
    }
    return s->whole;
}

unsigned store_peek(const struct store *s, struct iovec to[2], size_t *len)
{
    *len = s->ends ? first_message(s) : s->whole;
    size_t first = MIN(*len, (size_t)VSOCK_BUF - s->from);
    to[0] = (struct iovec){.iov_base = s->bytes + s->from, .iov_len = first};
    to[1] = (struct iovec){.iov_base = s->bytes, .iov_len = *len - first};
    return *len > first ? 2 : 1;
}

void store_take(struct store *s, size_t len)
{
    if (s->ends && len > 0) {
        uint32_t last = at(s, (uint32_t)len - 1);
        s->ends[last / WORD] &= ~(1ull << last % WORD);
    }
    s->from = at(s, (uint32_t)len);
    s->len -= (uint32_t)len;
    s->whole -= (uint32_t)len;
}

void store_free(struct store *s)
{
    free(s->bytes);
    free(s->ends);
    *s = (struct store){0};
}
