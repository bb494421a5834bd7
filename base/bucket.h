/* base/bucket.h - a token bucket: what passes takes tokens, and time brings them back. It knows no
 * clock: whoever asks says what time it is.
 *
 * What goes when it is not empty goes at once, however much it takes: what was not there is owed,
 * and the next waits until it is paid back. So nothing has to be known before it is done, nothing
 * is too big to pass, and over any length of time no more passes than the rate, the bucket's size
 * and one request of each thread. All of it is integers: nothing is rounded, nothing drifts. */
#pragma once

#include "base/base.h"

#define BUCKET_SIZE_MAX      INT64_MAX
#define BUCKET_REFILL_MS_MAX (24ull * 3600 * 1000)

/* All zeroes: no limit. */
struct bucket_limit {
    uint64_t size;      /* tokens that it holds, at most BUCKET_SIZE_MAX */
    uint64_t once;      /* tokens in addition, taken first, that do not come back */
    uint64_t refill_ms; /* in which an empty one is full again: 1 to BUCKET_REFILL_MS_MAX */
};

struct bucket {
    struct bucket_limit limit;
    uint64_t once;          /* left of these */
    uint64_t at_ns;         /* up to when time has been counted */
    unsigned __int128 owed; /* tokens that are missing, each refill_ms in ns; 0: it is full */
};

/* Full, if the limit is another one than it was; else nothing changes. */
void bucket_set(struct bucket *b, const struct bucket_limit *l, uint64_t now_ns);
/* Until there is a token; 0: there is one. */
uint64_t bucket_wait_ns(struct bucket *b, uint64_t now_ns);
/* n tokens, of which there may be fewer. */
void bucket_take(struct bucket *b, uint64_t n, uint64_t now_ns);
