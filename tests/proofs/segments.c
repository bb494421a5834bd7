/* tests/proofs/segments.c - a part of some segments: what Frama-C's Eva analyses (tools/prove).
 * Every place to begin at and every length, and such as no segments have.
 *
 * inlined: any */
#include <stddef.h>

#include "base/iov.h"
#include "tests/proofs/segments.h"

static void part(const struct iovec *iov, size_t sum, size_t skip, size_t len)
{
    struct iovec to[SEGMENTS];
    for (unsigned room = 0; room <= SEGMENTS; room++) {
        size_t total, whole = skip < sum ? MIN(len, sum - skip) : 0;
        struct iovec *end = to + SEGMENTS - room; /* what is written behind it shows */
        unsigned k = iov_part(iov, SEGMENTS, skip, len, end, room, &total);
        check(k <= room && total <= whole && (k == room || total == whole));
        check(touch(end, k) == total);
    }
}

int main(void)
{
    struct iovec iov[SEGMENTS];
    for (unsigned choice = 0; choice < CHOICES; choice++) {
        size_t sum = make_segments(iov, choice);
        for (size_t skip = 0; skip <= MOST + 1; skip++) {
            for (size_t len = 0; len <= MOST + 1; len++)
                part(iov, sum, skip, len);
            part(iov, sum, skip, SIZE_MAX);
        }
        part(iov, sum, SIZE_MAX, SIZE_MAX);
        part(iov, sum, MOST + any64_upto(SIZE_MAX - MOST), any64());
    }
    return 0;
}
