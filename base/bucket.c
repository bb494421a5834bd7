/* base/bucket.c - see bucket.h. A token is counted as refill_ns parts, so that each nanosecond pays
 * back `size` of them: sums of products, and one division, when somebody has to wait. 128 bits hold
 * any of it: a bucket has fewer than 2^110 parts, and one request takes fewer than 2^111. */
#include "base/bucket.h"

static uint64_t refill_ns(const struct bucket *b)
{
    return b->limit.refill_ms * 1000000;
}

/* A clock that stands still or goes back brings nothing, and costs nothing. */
static void pass_time(struct bucket *b, uint64_t now_ns)
{
    if (now_ns <= b->at_ns)
        return;
    unsigned __int128 paid = (unsigned __int128)(now_ns - b->at_ns) * b->limit.size;
    b->owed -= MIN(paid, b->owed);
    b->at_ns = now_ns;
}

void bucket_set(struct bucket *b, const struct bucket_limit *l, uint64_t now_ns)
{
    if (memcmp(&b->limit, l, sizeof(*l)) != 0)
        *b = (struct bucket){.limit = *l, .once = l->once, .at_ns = now_ns};
}

uint64_t bucket_wait_ns(struct bucket *b, uint64_t now_ns)
{
    if (b->limit.size == 0 || b->once > 0)
        return 0;
    pass_time(b, now_ns);
    unsigned __int128 most = (unsigned __int128)(b->limit.size - 1) * refill_ns(b);
    if (b->owed <= most)
        return 0;
    unsigned __int128 ns = (b->owed - most + b->limit.size - 1) / b->limit.size;
    return (uint64_t)MIN(ns, (unsigned __int128)INT64_MAX);
}

void bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns)
{
    if (b->limit.size == 0)
        return;
    uint64_t once = MIN(n, b->once);
    b->once -= once;
    pass_time(b, now_ns);
    b->owed += (unsigned __int128)(n - once) * refill_ns(b);
}
