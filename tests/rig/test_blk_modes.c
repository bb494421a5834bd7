/* tests/rig/test_blk_modes.c - what the block device offers and how it then behaves (virtio 1.4,
 * 5.2.2 to 5.2.5): configuration, the mode of its cache, several queues, the legacy interface. */
#include "tests/rig/blk_try.h"
#include "tests/rig/proves.h"

Test(blk, configuration)
{
    PROVES("Device Types / Block Device / Device Initialization#04");
    struct rig *r = up();
    struct virtio_blk_config c = config(r);
    cr_assert_eq(c.capacity, SECTORS);
    cr_assert_eq(c.seg_max, 254);
    cr_assert_eq(c.blk_size, 512);
    cr_assert_eq(c.physical_block_exp, 3);
    cr_assert_eq(c.unused, 0);
    cr_assert_eq(c.unused1[0] | c.unused1[1] | c.unused1[2], 0);
    cr_assert_eq(c.wce, 1);
    set_wce(r, 0);
    cr_assert_eq(config(r).wce, 0);
    rig_negotiate(r);
    cr_assert_eq(config(r).wce, 1, "a reset brings the default back");
    down(r);
}

/* The bits of the device's own type (2.2). */
static uint32_t offered(const char *extra)
{
    struct rig *r = up_with(extra, NULL);
    uint32_t bits = vdev_features(r->dev, 0), legacy = vdev_legacy_features(r->dev);
    down(r);
    cr_assert_eq(legacy, bits | 1u << VIRTIO_F_ANY_LAYOUT, "neither barriers nor SCSI nor zones");
    return bits & 0xffffff;
}

Test(blk, what_is_offered)
{
    PROVES("Device Types / Block Device / Device Initialization#01");
    PROVES("Device Types / Block Device / Device Initialization#02");
    PROVES("Device Types / Block Device / Device Initialization#05");
    PROVES("Device Types / Block Device / Device Initialization#06");
    PROVES("Device Types / Block Device / Device Operation#16");
    const uint32_t always = 1u << VIRTIO_BLK_F_SEG_MAX | 1u << VIRTIO_BLK_F_BLK_SIZE |
                            1u << VIRTIO_BLK_F_FLUSH | 1u << VIRTIO_BLK_F_TOPOLOGY |
                            1u << VIRTIO_BLK_F_CONFIG_WCE | 1u << VIRTIO_BLK_F_WRITE_ZEROES;
    cr_assert_eq(offered(""), always | 1u << VIRTIO_BLK_F_DISCARD);
    cr_assert_eq(offered(",ro"), always | 1u << VIRTIO_BLK_F_RO);
    cr_assert_eq(offered(",queues=2"), always | 1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_MQ);
}

Test(blk, no_zones)
{
    PROVES("Device Types / Block Device / Device Initialization#07");
    struct rig *r = up();
    for (unsigned off = 72; off < 96; off++) /* newer than the UAPI header */
        cr_assert_eq(rig_config(r, off, 1), 0);
    down(r);
}

/* 2.7.5.3.1: what a driver may make of it fits into the queue. */
Test(blk, segments_of_a_small_queue)
{
    static const struct {
        uint32_t queue_size, seg_max;
    } cases[] = {{0, 254}, {1024, 254}, {8, 6}, {2, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct rig_options o = {.device_queue_size = cases[i].queue_size};
        struct rig *r = up_with("", &o);
        cr_assert_eq(config(r).seg_max, cases[i].seg_max, "%u", o.device_queue_size);
        down(r);
    }
}

Test(blk, without_flush_the_cache_writes_through) /* 5.2.5.2 */
{
    PROVES("Device Types / Block Device / Device Initialization#03");
    struct rig *r = up_with("", &(struct rig_options){.without = 1ull << VIRTIO_BLK_F_FLUSH});
    cr_assert_eq(config(r).wce, 0);
    down(r);
    r = up_with("", &(struct rig_options){.without = 1ull << VIRTIO_BLK_F_CONFIG_WCE});
    cr_assert_eq(config(r).wce, 1);
    set_wce(r, 0);
    cr_assert_eq(config(r).wce, 1, "not negotiated, not written");
    down(r);
}

static const uint64_t f_flush = 1ull << VIRTIO_BLK_F_FLUSH;
static const uint64_t f_config_wce = 1ull << VIRTIO_BLK_F_CONFIG_WCE;

/* What the driver accepts and what it says of the cache decide whether a write is stable. */
Test(blk, stable_writes)
{
    PROVES("Device Types / Block Device / Device Operation#13");
    static const struct {
        uint64_t without;
        int wce;
        bool stable;
    } cases[] = {{f_flush | f_config_wce, -1, true},
                 {f_config_wce, -1, false},
                 {f_flush, -1, true},
                 {f_flush, 1, false},
                 {0, -1, false},
                 {0, 0, true}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct rig *r = up_with("", &(struct rig_options){.without = cases[i].without});
        struct virtio_blk_discard_write_zeroes seg = {.num_sectors = 1};
        uint8_t data[512] = {0};
        if (cases[i].wce >= 0)
            set_wce(r, (uint8_t)cases[i].wce);
        memset(&host, 0, sizeof(host));
        cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 0, data, 512, false), VIRTIO_BLK_S_OK);
        cr_assert_eq(host.dsync, cases[i].stable, "case %zu", i);
        cr_assert_eq(host.n[LOOP_FDATASYNC], 0);
        for (unsigned type = VIRTIO_BLK_T_DISCARD; type <= VIRTIO_BLK_T_WRITE_ZEROES; type += 2) {
            host.n[LOOP_FDATASYNC] = 0;
            cr_assert_eq(request(r, type, 0, &seg, sizeof(seg), false), VIRTIO_BLK_S_OK);
            cr_assert_eq(host.n[LOOP_FDATASYNC], cases[i].stable, "case %zu, type %u", i, type);
        }
        down(r);
    }
}

Test(blk, a_flush_ends_when_the_hosts_does)
{
    PROVES("Device Types / Block Device / Device Operation#13");
    struct rig *r = up();
    uint32_t id, len;
    host.hold_sync = true;
    cr_assert_eq(request(r, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false), -1);
    __real_loop_io(r->loop, host.held);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &len));
    host.hold_sync = false;
    host.fail_sync = true;
    cr_assert_eq(request(r, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false), VIRTIO_BLK_S_IOERR);
    down(r);
}

/* --- several queues --- */

Test(blk, all_queues_are_alike)
{
    struct rig *r = up_with(",queues=4,serial=MQ", NULL);
    uint8_t data[512], back[512];
    char id[21] = {0};
    cr_assert(rig_has(r, VIRTIO_BLK_F_MQ));
    cr_assert_eq(config(r).num_queues, 4);
    for (unsigned q = 0; q < 4; q++) {
        struct virtio_blk_discard_write_zeroes seg = {.sector = 10 + q, .num_sectors = 1};
        memset(data, (int)(0xa0 + q), sizeof(data));
        cr_assert_eq(request_on(r, q, VIRTIO_BLK_T_OUT, 20 + q, data, 512, false), 0);
        cr_assert_eq(request_on(r, q, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, false), 0);
        cr_assert_eq(request_on(r, q, VIRTIO_BLK_T_GET_ID, 0, id, 20, true), 0);
        cr_assert_str_eq(id, "MQ");
        cr_assert_eq(request_on(r, q, VIRTIO_BLK_T_DISCARD, 0, &seg, sizeof(seg), false), 0);
        cr_assert_eq(request_on(r, q, VIRTIO_BLK_T_IN, 20 + q, back, 512, true), 0);
        cr_assert(memcmp(back, data, 512) == 0);
        cr_assert_eq(request_on(r, q, 99, 0, data, 512, true), VIRTIO_BLK_S_UNSUPP);
    }
    cr_assert_eq(r->q[4].size, 0, "and there is no fifth");
    down(r);
}

Test(blk, one_queue_where_more_were_not_accepted) /* 5.2.2 */
{
    struct rig *r = up_with(",queues=4", &(struct rig_options){.without = 1ull << VIRTIO_BLK_F_MQ});
    uint8_t data[512];
    cr_assert_eq(request_on(r, 0, VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_OK);
    cr_assert_eq(request_on(r, 1, VIRTIO_BLK_T_IN, 0, data, 512, true), -1);
    down(r);
}

Test(blk, a_queue_is_reset_without_the_others)
{
    struct rig *r = up_with(",queues=2", NULL);
    uint8_t data[512];
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 1);
    rig_reg_set(r, 0x0c0, 1); /* QueueReset */
    cr_assert_eq(request_on(r, 1, VIRTIO_BLK_T_IN, 0, data, 512, true), -1);
    cr_assert_eq(request_on(r, 0, VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_OK);
    rig_queue_up(r, 1);
    cr_assert_eq(request_on(r, 1, VIRTIO_BLK_T_IN, 0, data, 512, true), VIRTIO_BLK_S_OK);
    down(r);
}

/* --- the legacy interface --- */

static const enum rig_transport legacy[] = {RIG_MMIO_LEGACY, RIG_PCI_TRANSITIONAL_LEGACY,
                                            RIG_PCI_LEGACY};

/* Only the driver's own write changes the mode, until DRIVER_OK ends the negotiation. */
Test(blk, the_cache_of_a_legacy_driver)
{
    PROVES("legacy:Device Types / Block Device / Device Initialization / "
           "Legacy Interface: Device Initialization#01");
    PROVES("legacy:Device Types / Block Device / Device Initialization / "
           "Legacy Interface: Device Initialization#02");
    PROVES("legacy:Device Types / Block Device / Device Initialization / "
           "Legacy Interface: Device Initialization#03");
    PROVES("legacy:Device Types / Block Device / Device Initialization / "
           "Legacy Interface: Device Initialization#04");
    static const struct {
        uint64_t features;
        int write;
        uint8_t before, after; /* DRIVER_OK */
    } cases[] = {{f_config_wce, -1, 1, 1},
                 {f_config_wce, 0, 0, 0},
                 {f_config_wce | f_flush, -1, 1, 1},
                 {f_config_wce | f_flush, 0, 0, 0},
                 {f_flush, 0, 0, 1},
                 {0, -1, 1, 0}};
    enum { A = VIRTIO_CONFIG_S_ACKNOWLEDGE, D = VIRTIO_CONFIG_S_DRIVER };
    for (size_t n = 0; n < ARRAY_SIZE(cases) * ARRAY_SIZE(legacy); n++) {
        size_t i = n / ARRAY_SIZE(legacy);
        struct rig *r =
            up_with("", &(struct rig_options){.transport = legacy[n % ARRAY_SIZE(legacy)]});
        uint8_t data[512] = {0};
        rig_status_set(r, 0);
        if (cases[i].write >= 0)
            set_wce(r, (uint8_t)cases[i].write);
        rig_status_set(r, A);
        rig_status_set(r, A | D);
        cr_assert_eq(config(r).wce, cases[i].before, "case %zu", i);
        r->regs->accept(r, 0, (uint32_t)cases[i].features);
        cr_assert_eq(config(r).wce, cases[i].before, "case %zu", i);
        rig_queue_up(r, 0);
        rig_driver_ok(r);
        cr_assert_eq(config(r).wce, cases[i].after, "case %zu", i);
        cr_assert_eq(request(r, VIRTIO_BLK_T_OUT, 0, data, 512, false), VIRTIO_BLK_S_OK);
        cr_assert_eq(host.dsync, !cases[i].after, "case %zu", i);
        down(r);
    }
}

/* x86 is little-endian, and so are its guests. */
Test(blk, requests_of_a_legacy_driver)
{
    PROVES("legacy:Device Types / Block Device / Device configuration layout / "
           "Legacy Interface: Device configuration layout#01");
    PROVES("legacy:Device Types / Block Device / Device Operation / "
           "Legacy Interface: Device Operation#01");
    PROVES("legacy:Device Types / Block Device / Device Operation / "
           "Legacy Interface: Device Operation#03");
    for (size_t i = 0; i < ARRAY_SIZE(legacy); i++) {
        struct rig *r = up_with("", &(struct rig_options){.transport = legacy[i]});
        uint8_t data[512];
        cr_assert_eq(config(r).capacity, SECTORS);
        cr_assert_eq(request(r, VIRTIO_BLK_T_IN, 7, data, 512, true), VIRTIO_BLK_S_OK);
        cr_assert_eq(data[0], 7);
        memset(&host, 0, sizeof(host));
        cr_assert_eq(request(r, 5, 0, NULL, 0, false), VIRTIO_BLK_S_OK); /* FLUSH_OUT */
        cr_assert_eq(host.n[LOOP_FDATASYNC], 1);
        down(r);
    }
}
