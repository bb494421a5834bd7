/* guest-tests/hostile.c - a driver that does everything wrong, to see that nobody but itself is
 * worse off: it runs the attacks of the other hostile_*.c files on one device, and holds that
 * device and its neighbour against what they owe a good driver.
 *
 * On the command line: target=blk|rng, face=legacy for that face of a transitional device, seed=N,
 * only=NAME for the attacks whose names begin so. */
#include "hostile.h"

#include <linux/virtio_blk.h>

#include "lib/irq.h"

enum {
    SECTOR = 512,
    GOOD_SECTOR = 100,
    QUEUE_SIZE = 64,
    RNG_BYTES = 16,
    GUARD = 4096,
    FLIGHT_BYTES = 256 * 1024,
    MIB = 1 << 20,
};

static const uint64_t GUARD_WORD = 0x21647261756721;

unsigned run_is;
struct target *neighbour;
uint64_t scratch, ram_end;

static uint64_t random_state;
static uint64_t *guard; /* behind the ring's memory: no device has been told of it */
static const char *label = "?";
static unsigned n_attacks, n_passed, n_rejected;

uint64_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1d;
}

/* --- good requests --- */

static struct {
    struct virtio_blk_outhdr header;
    uint8_t status;
    uint64_t data[SECTOR / 8];
} disk_request;
static uint64_t disk_salt;
static uint8_t rng_buffer[RNG_BYTES];

static void disk_put(struct target *t, uint32_t type)
{
    disk_request.header = (struct virtio_blk_outhdr){.type = type, .sector = GOOD_SECTOR};
    disk_request.status = 0xee;
    const struct seg s[] = {
        {.at = &disk_request.header, .len = sizeof(disk_request.header)},
        {.at = disk_request.data, .len = SECTOR, .writable = type == VIRTIO_BLK_T_IN},
        {.at = &disk_request.status, .len = 1, .writable = true}};
    if (ring_add(&t->ring, s, ARRAY_SIZE(s)) < 0)
        end_fail("no room for a good request");
    virtio_notify(&t->dev, t->queue);
}

static bool came_back(struct target *t, uint32_t *len)
{
    uint16_t head;
    return WAIT_FOR(ring_take(&t->ring, &head, len) || target_fails(t)) && !target_fails(t);
}

static void disk_submit(struct target *t)
{
    disk_salt++;
    disk_request.data[0] = disk_request.data[SECTOR / 8 - 1] = disk_salt;
    disk_put(t, VIRTIO_BLK_T_OUT);
}

/* The sector is written, and now it is read. */
static bool disk_finish(struct target *t)
{
    uint32_t len;
    if (!came_back(t, &len) || disk_request.status != VIRTIO_BLK_S_OK)
        return false;
    disk_request.data[0] = disk_request.data[SECTOR / 8 - 1] = 0;
    disk_put(t, VIRTIO_BLK_T_IN);
    return came_back(t, &len) && disk_request.status == VIRTIO_BLK_S_OK && len == SECTOR + 1 &&
           disk_request.data[0] == disk_salt && disk_request.data[SECTOR / 8 - 1] == disk_salt;
}

static void rng_submit(struct target *t)
{
    const struct seg s = {.at = rng_buffer, .len = RNG_BYTES, .writable = true};
    memset(rng_buffer, 0, sizeof(rng_buffer));
    if (ring_add(&t->ring, &s, 1) < 0)
        end_fail("no room for a good request");
    virtio_notify(&t->dev, t->queue);
}

static bool rng_finish(struct target *t)
{
    uint32_t len;
    uint64_t any = 0;
    if (!came_back(t, &len) || len != RNG_BYTES)
        return false;
    for (unsigned i = 0; i < RNG_BYTES; i++)
        any |= rng_buffer[i];
    return any != 0;
}

static struct target disk = {.submit = disk_submit, .finish = disk_finish, .size = QUEUE_SIZE};
static struct target rng = {.submit = rng_submit, .finish = rng_finish, .size = QUEUE_SIZE};

bool target_works(struct target *t)
{
    t->submit(t);
    return t->finish(t);
}

bool target_fails(const struct target *t)
{
    return virtio_get(&t->dev, VR_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

void target_begin(struct target *t)
{
    virtio_begin(&t->dev, t->wanted);
}

void target_start(struct target *t)
{
    target_begin(t);
    ring_start(&t->ring, &t->dev, t->queue, t->size);
    virtio_go(&t->dev);
    ring_quiet(&t->ring, true);
}

/* --- material --- */

bool bad_address(unsigned i, uint32_t len, uint64_t *out)
{
    const uint64_t list[] = {
        ram_end,
        ram_end - len / 2, /* the first half is RAM */
        ram_end - 1,
        MMIO_HOLE_FIRST,
        MMIO_HOLE_FIRST - len / 2,
        neighbour->dev.base & ~0xfffull,
        MMIO_ECAM,
        MMIO_IOAPIC,
        MMIO_LAPIC,
        0x100000000,
        0x100000000 - len / 2,
        1ull << 52,
        1ull << 63,
        0 - (uint64_t)len / 2, /* ends where RAM begins, beyond 2^64 */
        0 - (uint64_t)len,
        UINT64_MAX,
    };
    /* An I/O port is no address; its number would be one of RAM. */
    if (i < ARRAY_SIZE(list))
        *out = list[i] < MIB ? ram_end : list[i];
    return i < ARRAY_SIZE(list);
}

void split_publish(struct ring *r, uint16_t head)
{
    uint16_t at = r->avail->idx;
    r->avail->ring[at % r->size] = head;
    __atomic_store_n(&r->avail->idx, at + 1, __ATOMIC_RELEASE);
}

void raw_put(struct target *t, uint16_t id, const struct link *l, unsigned n)
{
    struct ring *r = &t->ring;
    if (!r->packed) {
        for (unsigned i = 0; i < n; i++)
            r->desc[id + i] = (struct vring_desc){.addr = l[i].addr,
                                                  .len = l[i].len,
                                                  .flags = l[i].flags,
                                                  .next = (uint16_t)(id + i + 1)};
        split_publish(r, id);
        return;
    }
    uint16_t first = r->next_avail, first_flags = l[0].flags | ring_avail_bits(r);
    for (unsigned i = 0; i < n; i++) {
        r->slots[r->next_avail] = (struct vring_packed_desc){
            .addr = l[i].addr,
            .len = l[i].len,
            .id = id,
            .flags = i ? l[i].flags | ring_avail_bits(r) : r->slots[first].flags};
        ring_advance(r, 1);
    }
    __atomic_store_n(&r->slots[first].flags, first_flags, __ATOMIC_RELEASE);
}

void raw_submit(struct target *t, const struct link *l, unsigned n)
{
    raw_put(t, t->ring.size / 2, l, n);
    virtio_notify(&t->dev, t->queue);
}

/* As ring_take() knows of it. */
void raw_wait(struct target *t, unsigned n)
{
    struct ring *r = &t->ring;
    uint16_t head, before = r->n_free;
    uint32_t len;
    r->length[r->size / 2] = (uint16_t)n;
    if (!r->packed) {
        CHECK(WAIT_FOR(r->used->idx != r->last_used || target_fails(t)));
        if (r->used->idx != r->last_used)
            r->last_used++;
        return;
    }
    uint16_t free_head = r->free_head;
    CHECK(WAIT_FOR(ring_take(r, &head, &len) || target_fails(t)));
    r->n_free = before; /* it was not from the free list */
    r->free_head = free_head;
}

void leave_in_flight(struct target *t, unsigned n)
{
    static struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_IN};
    for (unsigned i = 0; i < n; i++) {
        void *data = (void *)(scratch + (uint64_t)i % 8 * FLIGHT_BYTES);
        const struct seg s[] = {
            {.at = &header, .len = sizeof(header)},
            {.at = data, .len = FLIGHT_BYTES, .writable = true},
            {.at = (void *)(scratch + MIB * 16 + i), .len = 1, .writable = true}};
        if (ring_add(&t->ring, s, ARRAY_SIZE(s)) < 0)
            break;
    }
    virtio_notify(&t->dev, t->queue);
}

/* --- judging --- */

static _Noreturn void wedged(const struct attack *a, unsigned i, const char *what)
{
    end_fail("case %s %s: WEDGED at %u: %s", a->name, label, i, what);
}

static void check_guard(void)
{
    CHECK_EQ(guard[0], GUARD_WORD);
    CHECK_EQ(guard[GUARD / 8 - 1], GUARD_WORD);
}

/* Did the device refuse? If it did not, it has served a good request, or is to be reset. */
static bool rejected(const struct attack *a, struct target *t, unsigned i)
{
    if (a->expect == REJECTS)
        return WAIT_FOR(t->refused || target_fails(t));
    if (t->refused || target_fails(t))
        return true;
    if (a->spoils)
        return false;
    if (target_works(t))
        return false;
    if (!target_fails(t))
        wedged(a, i, "a good request is not served");
    return true;
}

static bool run_one(const struct attack *a, struct target *t, unsigned i, bool *any_rejected)
{
    t->refused = false;
    if (!a->make(t, i))
        return false;
    if (!target_works(neighbour))
        wedged(a, i, "the neighbour");
    bool no = rejected(a, t, i);
    if ((no && a->expect == PASSES) || (!no && a->expect == REJECTS)) {
        out("unexpected: %s %s at %u: %s\n", a->name, label, i, no ? "REJECT" : "PASS");
        CHECK(!"as the specification has it");
    }
    if (no || a->spoils) {
        target_start(t);
        if (!target_works(t))
            wedged(a, i, "not revived by a reset");
    }
    check_guard();
    *any_rejected |= no;
    return true;
}

static bool begins(const char *name, const char *word)
{
    for (; *word && *word != ' '; name++, word++) {
        if (*name != *word)
            return false;
    }
    return true;
}

static void run_all(const struct attack *list, struct target *t)
{
    const char *only = arg("only", 0);
    for (const struct attack *a = list; a->name; a++) {
        bool no = false;
        unsigned i = 0;
        if ((a->only & run_is) != a->only)
            continue;
        if (only && !begins(a->name, only))
            continue;
        while (run_one(a, t, i, &no))
            i++;
        if (i == 0)
            continue;
        out("case %s %s: %s x%u%s%s\n", a->name, label, no ? "REJECT" : "PASS", i,
            a->rows ? ", rows " : "", a->rows ? a->rows : "");
        n_attacks += i;
        n_passed += !no;
        n_rejected += no;
    }
}

/* --- setting up --- */

static void find(struct target *t, uint32_t id)
{
    virtio_find(id, &t->dev);
    t->wanted = FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | FEATURE(VIRTIO_F_RING_PACKED) |
                FEATURE(VIRTIO_F_IN_ORDER) | FEATURE(VIRTIO_NOTIFICATION_DATA_BIT) |
                FEATURE(VIRTIO_RING_RESET_BIT) | FEATURE(VIRTIO_SUSPEND_BIT) |
                FEATURE(VIRTIO_BLK_F_FLUSH) * (id == VIRTIO_ID_BLOCK);
    target_start(t);
    if (!target_works(t))
        end_fail("device %u does not work, and nobody has attacked it", id);
}

static void set_label(const struct target *t)
{
    static char text[64];
    const char *words[] = {virtio_kind_names[t->dev.kind], t->ring.packed ? " packed" : " split"};
    size_t at = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(words); i++) {
        memcpy(text + at, words[i], strlen(words[i]));
        at += strlen(words[i]);
    }
    label = text;
}

static void look_around(const struct target *t)
{
    run_is = virtio_is_legacy(&t->dev) ? ON_LEGACY : ON_MODERN;
    run_is |= virtio_is_pci(&t->dev) ? ON_PCI : ON_MMIO;
    run_is |= t->ring.packed ? ON_PACKED : ON_SPLIT;
    run_is |= t == &disk ? ON_BLK : 0;
    struct virtio other;
    if (virtio_is_pci(&t->dev) && virtio_pci_slot(t->dev.slot, false, &other) &&
        virtio_pci_slot(t->dev.slot, true, &other))
        run_is |= ON_BOTH_FACES;
}

void guest_main(void)
{
    static const struct attack *const lists[] = {register_attacks, queue_attacks,  chain_attacks,
                                                 ring_attacks,     flight_attacks, pci_attacks,
                                                 fuzz_attacks};
    uint64_t seed = arg_number("seed", 1);
    random_state = seed ? seed : 1;
    ram_end = arg_number("ram", 128 * MIB);
    scratch = ram_end / 2;
    lapic_init(); /* messages go there, and are never taken: interrupts stay off */
    struct target *t = arg_is("target", "rng") ? &rng : &disk;
    neighbour = t == &disk ? &rng : &disk;
    find(t, t == &disk ? VIRTIO_ID_BLOCK : VIRTIO_ID_RNG);
    guard = pages(1);
    guard[0] = guard[GUARD / 8 - 1] = GUARD_WORD;
    find(neighbour, t == &disk ? VIRTIO_ID_RNG : VIRTIO_ID_BLOCK);
    look_around(t);
    set_label(t);
    out("hostile: %s, seed %lu\n", label, seed);
    for (unsigned i = 0; i < ARRAY_SIZE(lists); i++)
        run_all(lists[i], t);
    CHECK(n_attacks > 0);
    out("hostile: %u attacks in %u cases: %u PASS, %u REJECT\n", n_attacks, n_passed + n_rejected,
        n_passed, n_rejected);
}
