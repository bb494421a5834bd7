/* tests/proofs/segments.h - segments of one and of two bytes, each at the end of its memory. */
#pragma once

#include <sys/uio.h>

#include "tests/proofs/any.h"

enum { SEGMENTS = 3, CHOICES = 1 << SEGMENTS, MOST = 2 * SEGMENTS };

/* Lengths as `choice` has bits; the sum of them. */
static size_t make_segments(struct iovec iov[SEGMENTS], unsigned choice)
{
    static uint8_t first[2], second[2], third[2];
    uint8_t *memory[SEGMENTS] = {first, second, third};
    size_t sum = 0;
    for (unsigned i = 0; i < SEGMENTS; i++) {
        size_t len = 1 + (choice >> i & 1);
        iov[i] = (struct iovec){.iov_base = memory[i] + 2 - len, .iov_len = len};
        sum += len;
    }
    return sum;
}

/* All that they say is there; the sum of it. */
static size_t touch(const struct iovec *iov, unsigned n)
{
    size_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        const volatile uint8_t *p = iov[i].iov_base;
        check(iov[i].iov_len > 0);
        (void)p[0];
        (void)p[iov[i].iov_len - 1];
        sum += iov[i].iov_len;
    }
    return sum;
}
