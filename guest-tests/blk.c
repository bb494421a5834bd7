/* guest-tests/blk.c - the block device as a driver sees it, through real doorbells and real
 * interrupts: the way that the host's unit tests cannot go.
 *
 * The disk's first sector comes with a text from the host, and its last leaves with one for it. */
#include <linux/virtio_blk.h>

#include "lib/irq.h"
#include "lib/virtio.h"

enum {
    SECTOR = 512,
    QUEUE_SIZE = 64,
    PARALLEL = 16,     /* requests of three descriptors, with room to spare */
    BULK = 256 * 1024, /* bytes */
    IN_FLIGHT = 8,     /* of them, when something is reset; they fit into half a queue */
    REQUESTS = 1000,   /* of the long run: the ring wraps many times */
    SPAN = 512,        /* sectors that the long run uses, from FIRST on */
    FIRST = 1024,
};

struct request {
    struct virtio_blk_outhdr header;
    uint8_t status;
    struct vring_desc table[3];
    uint64_t data[SECTOR / 8];
};

static struct virtio disk;
static struct ring ring;
static struct request *requests;          /* PARALLEL of them */
static struct request *owner[QUEUE_SIZE]; /* by head */
static uint64_t sectors;
static volatile uint8_t *bulk;
static volatile uint32_t n_interrupts, n_late;

static void on_interrupt(unsigned vector)
{
    uint32_t why = virtio_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS);
    virtio_write(&disk, VIRTIO_MMIO_INTERRUPT_ACK, why);
    if (why == 0) { /* on its way while the device was reset: a driver must live with that */
        n_late++;
        return;
    }
    if (vector != VECTOR_FIRST_PIN + disk.pin || why != VIRTIO_MMIO_INT_VRING)
        end_fail("interrupt at vector %#x with status %#x", vector, why);
    n_interrupts++;
}

static void start(uint64_t features)
{
    virtio_begin(&disk, features);
    ring_start(&ring, &disk, 0, QUEUE_SIZE);
    virtio_go(&disk);
    ring_quiet(&ring, true);
}

static void submit(struct request *r, uint32_t type, uint64_t sector, uint32_t len, bool indirect)
{
    r->header = (struct virtio_blk_outhdr){.type = type, .sector = sector};
    r->status = 0xee;
    struct seg s[3] = {{.at = &r->header, .len = sizeof(r->header)}};
    unsigned n = 1;
    if (len)
        s[n++] = (struct seg){.at = r->data, .len = len, .writable = type != VIRTIO_BLK_T_OUT};
    s[n++] = (struct seg){.at = &r->status, .len = 1, .writable = true};
    int head = indirect ? ring_add_indirect(&ring, r->table, s, n) : ring_add(&ring, s, n);
    if (head < 0)
        end_fail("no room in the queue");
    owner[head] = r;
}

static struct request *complete(uint32_t *len)
{
    uint16_t head;
    if (!ring_take(&ring, &head, len))
        return NULL;
    struct request *r = owner[head];
    if (!r)
        end_fail("descriptor %u came back and was not out", head);
    owner[head] = NULL;
    return r;
}

/* One request, polled for; its status. */
static uint8_t transact(uint32_t type, uint64_t sector, uint32_t len)
{
    struct request *r = requests, *done = NULL;
    uint32_t used;
    submit(r, type, sector, len, false);
    ring_kick(&ring);
    if (!WAIT_FOR((done = complete(&used)) != NULL))
        end_fail("a request of type %u does not complete", type);
    CHECK(done == r);
    if (r->status == VIRTIO_BLK_S_OK)
        CHECK_EQ(used, type == VIRTIO_BLK_T_OUT ? 1 : len + 1);
    return r->status;
}

static uint64_t pattern(uint64_t sector, unsigned i, uint64_t salt)
{
    return (sector << 32 | i) * 0x9e3779b97f4a7c15 ^ salt;
}

static void fill(struct request *r, uint64_t sector, uint64_t salt)
{
    for (unsigned i = 0; i < ARRAY_SIZE(r->data); i++)
        r->data[i] = pattern(sector, i, salt);
}

static bool holds(const struct request *r, uint64_t sector, uint64_t salt)
{
    for (unsigned i = 0; i < ARRAY_SIZE(r->data); i++) {
        if (r->data[i] != pattern(sector, i, salt))
            return false;
    }
    return true;
}

static void round_trip(uint64_t sector, uint64_t salt)
{
    fill(requests, sector, salt);
    CHECK_EQ(transact(VIRTIO_BLK_T_OUT, sector, SECTOR), VIRTIO_BLK_S_OK);
    memset(requests->data, 0, SECTOR);
    CHECK_EQ(transact(VIRTIO_BLK_T_IN, sector, SECTOR), VIRTIO_BLK_S_OK);
    CHECK(holds(requests, sector, salt));
}

static void test_polled(void)
{
    static const char from_host[] = "from the host", to_host[] = "from the guest";
    start(FEATURE(VIRTIO_BLK_F_FLUSH));
    CHECK(virtio_has(&disk, VIRTIO_BLK_F_FLUSH));
    sectors = mmio_read64(disk.base + VIRTIO_MMIO_CONFIG);
    CHECK_EQ(sectors, arg_number("sectors", sectors));
    if (sectors < FIRST + SPAN + 1)
        end_fail("the disk has only %lu sectors", sectors);
    CHECK_EQ(transact(VIRTIO_BLK_T_IN, 0, SECTOR), VIRTIO_BLK_S_OK);
    CHECK(memcmp(requests->data, from_host, sizeof(from_host) - 1) == 0);
    round_trip(1, 0);
    memset(requests->data, 0, SECTOR);
    memcpy(requests->data, to_host, sizeof(to_host) - 1);
    CHECK_EQ(transact(VIRTIO_BLK_T_OUT, sectors - 1, SECTOR), VIRTIO_BLK_S_OK);
    CHECK_EQ(transact(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);

    memset(requests->data, 0, SECTOR);
    CHECK_EQ(transact(VIRTIO_BLK_T_GET_ID, 0, VIRTIO_BLK_ID_BYTES), VIRTIO_BLK_S_OK);
    CHECK(memcmp(requests->data, "scratch", 8) == 0);
    CHECK_EQ(transact(VIRTIO_BLK_T_IN, sectors, SECTOR), VIRTIO_BLK_S_IOERR);
    CHECK_EQ(transact(VIRTIO_BLK_T_OUT, UINT64_MAX, SECTOR), VIRTIO_BLK_S_IOERR);
    CHECK_EQ(transact(VIRTIO_BLK_T_IN, 0, SECTOR - 1), VIRTIO_BLK_S_IOERR);
    CHECK_EQ(transact(0x7777, 0, SECTOR), VIRTIO_BLK_S_UNSUPP);
    CHECK_EQ(n_interrupts, 0);
    out("blk: %lu sectors; %u notifications\n", sectors, ring.n_kicks);
}

/* Through the I/O APIC, one at a time; the CPU halts in between. */
static void test_interrupts(void)
{
    CHECK_EQ(virtio_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    ring_quiet(&ring, false);
    fill(requests, 2, 1);
    for (unsigned i = 0; i < 20; i++) {
        uint32_t used, before = n_interrupts;
        submit(requests, i % 2 ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT, 2, SECTOR, false);
        ring_kick(&ring);
        if (i < 2) { /* first with a limit, to say what is wrong; then halting, to miss nothing */
            interrupts_on();
            if (!WAIT_FOR(n_interrupts != before))
                end_fail("no interrupt; status %#x, ring %u of %u",
                         virtio_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS), ring.used->idx,
                         ring.avail->idx);
            interrupts_off();
        }
        while (n_interrupts == before)
            interrupt_wait();
        CHECK_EQ(n_interrupts, before + 1);
        CHECK(complete(&used) == requests);
        CHECK_EQ(requests->status, VIRTIO_BLK_S_OK);
        CHECK(holds(requests, 2, 1));
        CHECK_EQ(virtio_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
    }
    /* Quiet again: a completion is seen in the ring only. */
    uint32_t before = n_interrupts;
    ring_quiet(&ring, true);
    interrupts_on();
    round_trip(3, 2);
    interrupts_off();
    CHECK_EQ(n_interrupts, before);
    /* Masked in the I/O APIC: nothing comes, but the status register tells. */
    ioapic_mask(disk.pin);
    ring_quiet(&ring, false);
    interrupts_on();
    CHECK_EQ(transact(VIRTIO_BLK_T_IN, 3, SECTOR), VIRTIO_BLK_S_OK);
    CHECK(WAIT_FOR(virtio_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS) == VIRTIO_MMIO_INT_VRING));
    interrupts_off();
    CHECK_EQ(n_interrupts, before);
    virtio_write(&disk, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    ring_quiet(&ring, true);
    ioapic_connect(disk.pin, on_interrupt);
}

/* REQUESTS requests, PARALLEL at a time: writes of the whole span first, then reads of it. */
static void long_run(const char *what, bool indirect, bool by_interrupt, uint64_t salt)
{
    uint32_t kicks = ring.n_kicks, interrupts = n_interrupts, bad = 0;
    if (by_interrupt)
        interrupts_on();
    for (unsigned begun = 0, done = 0; done < REQUESTS;) {
        bool out_now = done < REQUESTS / 2;
        unsigned end_of_half = out_now ? REQUESTS / 2 : REQUESTS;
        for (unsigned i = 0; i < PARALLEL && begun < end_of_half; i++, begun++) {
            uint64_t sector = FIRST + begun % (REQUESTS / 2) % SPAN;
            struct request *r = &requests[i];
            if (out_now)
                fill(r, sector, salt);
            submit(r, out_now ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector, SECTOR, indirect);
        }
        ring_quiet(&ring, !by_interrupt);
        ring_kick(&ring);
        while (done < begun) {
            uint32_t used, before = n_interrupts;
            ring_quiet(&ring, !by_interrupt);
            struct request *r = complete(&used);
            if (r) {
                done++;
                if (r->status != VIRTIO_BLK_S_OK || used != (out_now ? 1 : SECTOR + 1) ||
                    !holds(r, r->header.sector, salt))
                    bad++;
            } else if (by_interrupt) {
                interrupts_off();
                while (n_interrupts == before && ring.used->idx == ring.last_used)
                    interrupt_wait();
                interrupts_on();
            } else if (!WAIT_FOR(ring.used->idx != ring.last_used)) {
                end_fail("%s: %u of %u requests completed", what, done, begun);
            }
        }
    }
    CHECK_EQ(bad, 0);
    if (by_interrupt)
        CHECK(WAIT_FOR(n_interrupts > interrupts));
    else
        CHECK_EQ(n_interrupts, interrupts);
    interrupts_off();
    interrupts = n_interrupts - interrupts;
    CHECK(ring.n_kicks - kicks <= REQUESTS / PARALLEL + 2);
    CHECK_EQ(ring.n_free, QUEUE_SIZE);
    out("blk: %u requests %s: %u notifications, %u interrupts\n", REQUESTS, what,
        ring.n_kicks - kicks, interrupts);
    ring_quiet(&ring, true);
}

/* Large ones, so that a reset finds some of them under way. They all read into `bulk`. */
static void leave_in_flight(void)
{
    for (unsigned n = 0; n < IN_FLIGHT; n++) {
        struct request *r = &requests[n];
        r->header = (struct virtio_blk_outhdr){.type = VIRTIO_BLK_T_IN, .sector = n};
        const struct seg s[] = {{.at = &r->header, .len = sizeof(r->header)},
                                {.at = (const void *)bulk, .len = BULK, .writable = true},
                                {.at = &r->status, .len = 1, .writable = true}};
        if (ring_add(&ring, s, ARRAY_SIZE(s)) < 0)
            end_fail("no room in the queue");
    }
    ring_kick(&ring);
}

/* After a reset: what the device had is the driver's, and may not change any more. */
static void take_back(void)
{
    virtio_write(&disk, VIRTIO_MMIO_QUEUE_SEL, 0);
    CHECK_EQ(virtio_read(&disk, VIRTIO_MMIO_QUEUE_READY), 0);
    for (unsigned i = 0; i < BULK / SECTOR; i++)
        bulk[i * SECTOR] = 0x55;
}

static void check_taken_back(void)
{
    unsigned changed = 0;
    for (unsigned i = 0; i < BULK / SECTOR; i++)
        changed += bulk[i * SECTOR] != 0x55;
    CHECK_EQ(changed, 0);
}

/* 2.6.1 of the specification: one queue anew, the device goes on. */
static void test_queue_reset(void)
{
    if (!virtio_has(&disk, VIRTIO_RING_RESET_BIT)) {
        CHECK(!"RING_RESET is offered");
        return;
    }
    for (unsigned i = 0; i < 5; i++) {
        /* With requests in flight: their buffers are ours again when the reset is done. */
        uint16_t before = ring.used->idx;
        leave_in_flight();
        virtio_write(&disk, VIRTIO_MMIO_QUEUE_SEL, 0);
        virtio_write(&disk, VIRTIO_QUEUE_RESET, 1);
        CHECK(WAIT_FOR(virtio_read(&disk, VIRTIO_QUEUE_RESET) == 0));
        uint16_t completed = (uint16_t)(ring.used->idx - before);
        take_back();
        virtio_write(&disk, VIRTIO_MMIO_QUEUE_NOTIFY, 0); /* nobody answers */
        ring_start(&ring, &disk, 0, i % 2 ? QUEUE_SIZE : QUEUE_SIZE / 2);
        ring_quiet(&ring, true);
        round_trip(5 + i, 4 + i);
        check_taken_back();
        out("blk: queue reset when %u of %u requests had completed\n", completed, IN_FLIGHT);
    }
}

static void test_device_reset(void)
{
    for (unsigned i = 0; i < 3; i++) {
        leave_in_flight();
        virtio_reset(&disk);
        take_back();
        CHECK_EQ(virtio_read(&disk, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
        start(FEATURE(VIRTIO_RING_F_EVENT_IDX));
        round_trip(10 + i, 20 + i);
        check_taken_back();
    }
}

void guest_main(void)
{
    virtio_find(VIRTIO_ID_BLOCK, &disk);
    bulk = pages(BULK / 4096);
    requests = pages((sizeof(*requests) * PARALLEL + 4095) / 4096);
    lapic_init();
    ioapic_connect(disk.pin, on_interrupt);
    test_polled();
    test_interrupts();
    long_run("polled", false, false, 100);
    long_run("by interrupt", false, true, 101);
    start(FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | FEATURE(VIRTIO_RING_F_EVENT_IDX) |
          FEATURE(VIRTIO_RING_RESET_BIT) | FEATURE(VIRTIO_BLK_F_FLUSH));
    CHECK(virtio_has(&disk, VIRTIO_RING_F_INDIRECT_DESC));
    CHECK(virtio_has(&disk, VIRTIO_RING_F_EVENT_IDX));
    long_run("indirect, event index, polled", true, false, 102);
    long_run("indirect, event index, by interrupt", true, true, 103);
    test_queue_reset();
    test_device_reset();
    virtio_reset(&disk);
    CHECK_EQ(irq_stray(), 0);
    out("blk: %u interrupts came when their bit was acknowledged already\n", n_late);
}
