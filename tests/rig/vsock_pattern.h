/* tests/rig/vsock_pattern.h - what the socket device's tests of much data share: bytes that tell
 * their place, and both sides to send and to compare them. */
#pragma once

#include "tests/rig/vsock_fixture.h"

static uint8_t pattern[4 * VSOCK_BUF];

static inline void fill_pattern(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 7 + i / 251);
}

/* As much as the socket takes; more than the device may hold. */
static inline size_t host_sends_much(struct guest *g, int fd, size_t len)
{
    size_t done = 0;
    int room = (int)sizeof(pattern);
    cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
    while (done < len) {
        ssize_t n = send(fd, pattern + done, len - done, MSG_NOSIGNAL);
        cr_assert_gt(n, 0, "%m");
        done += (size_t)n;
    }
    rig_settle(g->r);
    return done;
}

static inline void host_reads_much(struct guest *g, int fd, size_t from, size_t len)
{
    while (len > 0) {
        uint8_t got[8192];
        rig_settle(g->r);
        ssize_t n = recv(fd, got, MIN(sizeof(got), len), 0);
        cr_assert_gt(n, 0, "%zu bytes are missing: %m", len);
        cr_assert_eq(memcmp(got, pattern + from, (size_t)n), 0, "at %zu", from);
        from += (size_t)n;
        len -= (size_t)n;
    }
    rig_settle(g->r);
}

/* Data for `len` bytes from `from` on, whatever the packets. */
static inline void guest_reads(struct guest *g, size_t from, size_t len)
{
    while (len > 0) {
        guest_expect(g, OP(RW));
        cr_assert_leq(g->p.h.len, len);
        cr_assert_eq(memcmp(g->p.data, pattern + from, g->p.h.len), 0, "at %zu", from);
        from += g->p.h.len;
        len -= g->p.h.len;
    }
}
