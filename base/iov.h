/* base/iov.h - what stands in segments of memory, as readv() and writev() take them, without regard
 * to where it was cut. Any thread. */
#pragma once

#include "base/base.h"

/* The bytes [skip, skip+len) of n segments, as far as those lead and `room` others: fills in `to`
 * and *total, how many bytes that are, and returns how many of `to` it took. */
static inline unsigned iov_part(const struct iovec *v, unsigned n, size_t skip, size_t len,
                                struct iovec *to, unsigned room, size_t *total)
{
    unsigned k = 0;
    *total = 0;
    for (unsigned i = 0; i < n && len > 0 && k < room; i++) {
        if (skip >= v[i].iov_len) {
            skip -= v[i].iov_len;
            continue;
        }
        size_t part = MIN(v[i].iov_len - skip, len);
        to[k++] = (struct iovec){.iov_base = (uint8_t *)v[i].iov_base + skip, .iov_len = part};
        *total += part;
        len -= part;
        skip = 0;
    }
    return k;
}
