/* guest-tests/console.c - virtio-console from a driver without the multiport feature: lines through
 * the transmit queue, which the host's side compares, an answer through the receive queue, and the
 * emergency byte that needs no queue. */
#include <linux/virtio_console.h>

#include "lib/virtio.h"

enum { RX = 0, TX = 1, SIZE = 16 };

static struct ring rx, tx;

static void take_one(struct ring *r, uint16_t *head, uint32_t *len)
{
    if (!WAIT_FOR(ring_take(r, head, len)))
        end_fail("queue %u does not complete", r->index);
}

/* 5.3.5.1: in the initialisation phase too. */
static void emergency(const struct virtio *v, const char *s)
{
    CHECK(virtio_offered(v) & FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE));
    uint64_t at = v->base + VIRTIO_MMIO_CONFIG + offsetof(struct virtio_console_config, emerg_wr);
    for (; *s; s++)
        mmio_write32(at, (uint8_t)*s);
}

static void test_transmit(void)
{
    static const char line[] = "console: one line through the transmit queue\n";
    const struct seg one = {.at = line, .len = sizeof(line) - 1};
    uint16_t head;
    uint32_t len;
    CHECK(ring_add(&tx, &one, 1) >= 0);
    ring_kick(&tx);
    take_one(&tx, &head, &len);
    CHECK_EQ(len, 0); /* the device wrote nothing into it */

    static const char *const words[] = {"console: ", "a line ", "in ", "five ", "segments\n"};
    struct seg segs[ARRAY_SIZE(words)];
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++)
        segs[i] = (struct seg){.at = words[i], .len = (uint32_t)strlen(words[i])};
    CHECK(ring_add(&tx, segs, ARRAY_SIZE(words)) >= 0);
    ring_kick(&tx);
    take_one(&tx, &head, &len);

    /* As many as the queue holds, behind one notification; they arrive in this order. */
    static char lines[SIZE][32];
    static const char text[] = "console: buffer ?\n";
    for (unsigned i = 0; i < SIZE; i++) {
        memcpy(lines[i], text, sizeof(text));
        lines[i][sizeof(text) - 3] = (char)('a' + i);
        const struct seg s = {.at = lines[i], .len = sizeof(text) - 1};
        CHECK(ring_add(&tx, &s, 1) >= 0);
    }
    CHECK_EQ(ring_add(&tx, &one, 1), -1);
    ring_kick(&tx);
    for (unsigned i = 0; i < SIZE; i++)
        take_one(&tx, &head, &len);
    CHECK(!ring_take(&tx, &head, &len));
}

/* What the host types in. It may come in pieces. */
static void test_receive(void)
{
    const char *want = arg("typed", 0);
    if (!want) {
        skip("the receive queue", "no typed= on the command line");
        return;
    }
    size_t n = 0, got = 0;
    while (want[n] && want[n] != ' ')
        n++;
    static char buffer[64];
    const struct seg s = {.at = buffer, .len = sizeof(buffer), .writable = true};
    while (got < n) {
        uint16_t head;
        uint32_t len;
        CHECK(ring_add(&rx, &s, 1) >= 0);
        ring_kick(&rx);
        take_one(&rx, &head, &len);
        if (len == 0 || len > n - got)
            end_fail("%u bytes were received, where at most %lu were typed", len, n - got);
        CHECK(memcmp(buffer, want + got, len) == 0);
        got += len;
    }
}

void guest_main(void)
{
    struct virtio v;
    virtio_find(VIRTIO_ID_CONSOLE, &v);
    emergency(&v, "console: emergency\n");
    virtio_begin(&v, FEATURE(VIRTIO_CONSOLE_F_SIZE));
    uint64_t cfg = v.base + VIRTIO_MMIO_CONFIG;
    CHECK(mmio_read16(cfg) > 0 && mmio_read16(cfg + 2) > 0);
    CHECK_EQ(mmio_read32(cfg), mmio_read16(cfg) | (uint32_t)mmio_read16(cfg + 2) << 16);
    ring_start(&rx, &v, RX, SIZE);
    ring_start(&tx, &v, TX, SIZE);
    virtio_go(&v);
    test_transmit();
    test_receive();
    virtio_reset(&v);
}
