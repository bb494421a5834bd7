/* tests/rig/test_attack_twice.c - descriptors that are others when they are looked at again, on
 * each way to a device: whatever the moment, a device gets requests whose every byte is memory, or
 * none. What is done is in tests/attacks/attacks.tsv. */
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "base/log.h"
#include "tests/rig/glance.h"
#include "tests/rig/held.h"
#include "tests/rig/ways.h"

enum { Q = 0, SIZE = 8, PAGE = 4096, PAGES = 2, ENTRIES = 4, HEAD_LEN = 24, BUFFER = 0x100000 };
enum { N = VRING_DESC_F_NEXT, W = VRING_DESC_F_WRITE, I = VRING_DESC_F_INDIRECT };

static struct rig *rig;
static uint8_t *ring, *table, *avail; /* where they are; avail of a split ring */

/* --- ways to change one's mind: everything at once, or one field --- */

static void each_descriptor(void (*one)(uint8_t *d))
{
    for (unsigned i = 0; i < SIZE; i++)
        one(ring + 16 * i);
    for (unsigned i = 0; i < ENTRIES; i++)
        one(table + 16 * i);
}

static void other_addr(uint8_t *d)
{
    put_bytes(d, RIG_RAM - 4, 8);
}

static void other_len(uint8_t *d)
{
    put_bytes(d + 8, 0xfffffff0, 4);
}

/* What follows is far away, a page behind all memory, which nobody may touch. */
static void other_words(uint8_t *d)
{
    enum { FAR = (PAGE + 1024) / 16 };
    put_bytes(d + 14, FAR, 2);
}

static void other_flags(uint8_t *d)
{
    bool packed = rig_has(rig, VIRTIO_F_RING_PACKED);
    d[packed ? 14 : 12] ^= N | W | I;
}

static void all_addr(void)
{
    each_descriptor(other_addr);
}

static void all_len(void)
{
    each_descriptor(other_len);
}

static void all_words(void)
{
    each_descriptor(other_words);
}

static void all_flags(void)
{
    each_descriptor(other_flags);
}

static void everything(void)
{
    all_addr();
    all_len();
    all_words();
}

static void other_heads(void)
{
    memset(avail + 4, 0xff, (size_t)SIZE * 2);
}

static void other_index(void)
{
    put_bytes(avail + 2, 0x7fff, 2);
}

static void (*const changes[])(void) = {all_addr,   all_len,     all_words,  all_flags,
                                        everything, other_heads, other_index};

/* --- what the device makes of it --- */

static void expect_memory(const struct vq_req *q)
{
    const uint8_t *ram = rig_at(rig, GPA(0), RIG_RAM);
    size_t sum[2] = {0};
    for (unsigned i = 0; i < q->n_out + q->n_in; i++) {
        const uint8_t *at = q->iov[i].iov_base;
        size_t len = q->iov[i].iov_len, off = (size_t)(at - ram);
        cr_assert(len > 0 && off < RIG_RAM && len <= RIG_RAM - off, "look %u: %zu at %#zx",
                  glance.nth, len, off);
        sum[i >= q->n_out] += len;
    }
    cr_assert(sum[0] == q->out_len && sum[1] == q->in_len, "look %u", glance.nth);
}

/* Two lists of descriptors, and two tables of which one is long. */
static void make_available(void)
{
    const struct rig_seg out[] = {{GPA(BUFFER), HEAD_LEN}, {GPA(BUFFER + 64), 8}};
    const struct rig_seg in[] = {{GPA(BUFFER + 128), 16}, {GPA(BUFFER + 256), 32}};
    rig->ram_next = align_up(rig->ram_next, 256);
    table = rig_at(rig, GPA(rig->ram_next), ENTRIES * 16);
    rig_add_indirect(rig, Q, out, 2, in, 2);
    rig_add(rig, Q, out, 1, in, 2);
    rig_add(rig, Q, out, 2, in, 1);
}

static bool changes_after(unsigned nth, void (*change)(void))
{
    const uint64_t first = RIG_RAM - PAGES * PAGE;
    rig = held_up(NULL, SIZE);
    uint64_t ram = rig->ram_next;
    rig->ram_next = rig->legacy ? first : RIG_RAM - PAGE; /* a legacy ring is two pages */
    rig_negotiate(rig);
    HOLDS(rig, "20a 20b");
    ring = rig_at(rig, rig->q[Q].desc, 16 * SIZE);
    avail = rig_at(rig, rig->q[Q].avail, 4);
    held.hold = true;
    make_available();
    rig->ram_next = ram;
    rig_kick(rig, Q);
    glance_begin(rig_at(rig, GPA(first), PAGES * PAGE), (size_t)PAGES * PAGE, nth, change);
    rig_settle(rig);
    bool more = glance_end();
    for (unsigned i = 0; i < held.n; i++)
        expect_memory(held.req[i]);
    cr_assert(rig_needs_reset(rig) || held.n > 0);
    while (held.n > 0)
        held_complete(0, 8);
    rig_settle(rig);
    uint32_t head, len;
    while (!rig_has(rig, VIRTIO_F_RING_PACKED) && rig_used(rig, Q, &head, &len))
        cr_assert_lt(head, SIZE, "look %u: %#x is no head", nth, head);
    held.hold = false;
    rig_negotiate(rig);
    uint16_t id = held_add(rig, 8);
    held_run(rig);
    held_expect(rig, id, 8);
    rig_down(rig);
    return more;
}

TEST_EACH_WAY(ALL_WAYS, attack_twice, descriptors)
{
    log_set_level(LOG_OFF);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        unsigned nth = 1;
        while (changes_after(nth, changes[i]))
            nth++;
        cr_assert_gt(nth, 15, "each descriptor is two looks");
        cr_assert_lt(nth, 200);
    }
}
