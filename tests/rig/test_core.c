/* tests/rig/test_core.c - the core, where a device with one queue does not reach: what a transport
 * may ask, what runs out, what waits for whom, and pauses. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "tests/rig/board.h"
#include "tests/rig/core_fixture.h"

enum { Q = 0, TEST_SIZE = 256 };

static struct rig *board_rig;

static struct rig *up(void)
{
    return held_up(NULL, TEST_SIZE);
}

Test(core, what_a_transport_may_ask)
{
    struct rig *r = core_up((struct core_opts){.shm = 3}, NULL);
    gpa_t base = GPA(1);
    uint64_t n = 1;
    cr_assert_str_eq(vdev_name(r->dev), "core");
    cr_assert_eq(vdev_id(r->dev), VIRTIO_ID_9P);
    cr_assert_eq(vdev_config_len(r->dev), 16);
    cr_assert_eq(vdev_queue_count(r->dev), 2);
    cr_assert_eq(vdev_features(r->dev, VDEV_FEATURE_WORDS), 0);
    cr_assert(vdev_shm(r->dev, 8, &base, &n));
    cr_assert_eq(base.v, RIG_SHM + MIB(2), "each at a multiple of 2 MiB");
    cr_assert_eq(n, MIB(2));
    cr_assert_not(vdev_shm(r->dev, 9, &base, &n), "there was no room for a third");
    cr_assert_not(vdev_shm(r->dev, 0, &base, &n));
    struct err e;
    cr_assert_lt(vdev_update(r->dev, NULL, &e), 0);
    cr_assert_str_eq(e.msg, "a core device has nothing that can be changed");
    uint8_t beyond[4] = {1, 2, 3, 4};
    vdev_config_get(r->dev, 16, beyond, sizeof(beyond));
    cr_assert_eq(get_bytes(beyond, 4), 0);
    cr_assert(vdev_queue_enabled(r->dev, 0) && vdev_queue_enabled(r->dev, 1));
    cr_assert_eq(vdev_kick_fd(r->dev, 2), -1);
    cr_assert_geq(vdev_kick_fd(r->dev, 1), 0);
    cr_assert_null(vdev_queue(r->dev, 2));
    cr_assert_eq(vq_index(vdev_queue(r->dev, 1)), 1);
    cr_assert_null(vdev_queue_config(r->dev, 2));
    cr_assert_null(vdev_queue_program(r->dev, 0), "it is enabled");
    cr_assert(served(r, 0) && served(r, 1));
    vdev_free(NULL);
    transport_free(NULL);
    rig_down(r);
    r = core_up((struct core_opts){0}, NULL);
    cr_assert_eq(vdev_add_shm(r->dev, 0, (void *)MIB(8), MIB(1)), 0, "0 is an ID as any other");
    rig_down(r);
}

/* 6, 4.1, 4.2: of all that there could be, what a transport carries. */
Test(core, features_that_a_transport_carries)
{
    static const uint8_t both[] = {
        VIRTIO_F_VERSION_1,      VIRTIO_F_ACCESS_PLATFORM, VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER,
        VIRTIO_F_ORDER_PLATFORM, VDEV_F_NOTIFICATION_DATA, VIRTIO_F_RING_RESET,  VDEV_F_SUSPEND};
    static const uint8_t pci[] = {VDEV_F_NOTIF_CONFIG_DATA, VDEV_F_ADMIN_VQ};
    const struct vdev_options v = {.admin_vq = true};
    for (unsigned t = 0; t < 2; t++) {
        struct rig *r =
            core_up((struct core_opts){.offers_all = true},
                    &(struct rig_options){.transport = t ? RIG_PCI : RIG_MMIO, .vdev = &v});
        uint32_t expected[VDEV_FEATURE_WORDS] = {UINT32_MAX, 0, UINT32_MAX, UINT32_MAX};
        for (unsigned bit = 50; bit < 64; bit++) /* devices' */
            expected[1] |= 1u << (bit - 32);
        for (unsigned i = 0; i < ARRAY_SIZE(both); i++)
            expected[1] |= 1u << (both[i] - 32);
        for (unsigned i = 0; t && i < ARRAY_SIZE(pci); i++)
            expected[1] |= 1u << (pci[i] - 32);
        for (unsigned word = 0; word < VDEV_FEATURE_WORDS; word++)
            cr_assert_eq(r->regs->features(r, word), expected[word], "word %u, %s", word,
                         rig_where(r));
        rig_down(r);
    }
}

Test(core, no_descriptors_left_to_make_a_queue)
{
    struct rig *r = up();
    const uint16_t sizes[] = {8, 8, 8};
    const struct build_env env = {.mem = r->mem, .loop = r->loop};
    struct vdev *d = NULL;
    struct rlimit old, none;
    int next = dup(0);
    close(next);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = (rlim_t)next + 1, .rlim_max = old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    cr_assert_eq(vdev_new(&held_class, &env, NULL, sizes, 3, &d), -EMFILE);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &old), 0);
    cr_assert_null(d);
    cr_assert_eq(dup(0), next, "what was opened is closed");
    close(next);
    rig_down(r);
}

Test(core, a_window_that_is_taken)
{
    struct rig *r = up();
    const struct transport_env env = {.mmio = r->bus};
    struct transport *second = NULL;
    const struct transport_place at = {.base = GPA(RIG_BASE + 0x800), .irq_fd = -1};
    cr_assert_eq(transport_new(TRANSPORT_MMIO, r->dev, &env, &at, &second), -EBUSY);
    cr_assert_null(second);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    rig_add(r, Q, NULL, 0, &in, 1);
    rig_kick(r, Q);
    rig_settle(r);
    cr_assert(rig_used(r, Q, &id, &len), "the device is still the first one's");
    rig_down(r);
}

Test(core, a_device_that_cannot_start)
{
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#02");
    PROVES("Basic Facilities of a Virtio Device / Device Status Field#03");
    const struct rig_options early = {.stop_before_driver_ok = true};
    struct rig *r = core_up((struct core_opts){.start_rc = -EIO}, &early);
    cr_assert_eq(core_starts, 0);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 15);
    cr_assert_eq(core_starts, 1);
    cr_assert(rig_needs_reset(r));
    cr_assert_eq(rig_irqs(r), 1, "2.1.2: DRIVER_OK was set, so it is announced");
    cr_assert_not(vdev_started(r->dev));
    cr_assert_not(served(r, 0));
    cr_assert_eq(held.kicks, 0);
    core.start_rc = 0;
    r->o.stop_before_driver_ok = false;
    rig_negotiate(r);
    cr_assert(served(r, 0) && served(r, 1));
    rig_down(r);
}

Test(core, a_device_may_refuse_features)
{
    const struct rig_options early = {.stop_before_driver_ok = true};
    struct rig *r = core_up((struct core_opts){.picky = true}, &early);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 3);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, 0);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
    rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, 1);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
    cr_assert_eq(rig_reg(r, VIRTIO_MMIO_STATUS), 3);
    rig_down(r);
}

/* A vCPU waits while the loop's own thread finishes what is in flight. */
static void complete_all(void *ctx)
{
    (void)ctx;
    while (held.n > 0)
        vq_complete(held.vq, held.req[--held.n]);
}

static atomic_uint held_now;

static void note_held(void *ctx)
{
    (void)ctx;
    held_now = held.n;
}

static void *complete_later(void *ctx)
{
    const struct timespec nap = {.tv_nsec = 50000000};
    (void)nanosleep(&nap, NULL);
    loop_call(((struct rig *)ctx)->loop, complete_all, NULL);
    return NULL;
}

Test(core, a_reset_waits_for_the_loops_thread)
{
    const struct rig_options late = {.backend = LOOP_EPOLL};
    struct rig *r = core_up((struct core_opts){0}, &late);
    struct rig_seg in = {rig_alloc(r, 8), 8};
    cr_assert_eq(loop_start(r->loop), 0);
    for (unsigned round = 0; round < 3; round++) {
        pthread_t other;
        held.hold = true;
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_add(r, Q, NULL, 0, &in, 1);
        rig_kick(r, Q);
        for (held_now = 0; held_now < 2;)
            loop_call(r->loop, note_held, NULL);
        cr_assert_eq(pthread_create(&other, NULL, complete_later, r), 0);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
        cr_assert_eq(held.n, 0, "nothing is in flight when the write returns");
        pthread_join(other, NULL);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 1);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 3);
        for (uint32_t word = 0; word < 2; word++) {
            rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, word);
            rig_reg_set(r, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(r->features >> 32 * word));
        }
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 11);
        rig_queue_up(r, Q);
        rig_reg_set(r, VIRTIO_MMIO_STATUS, 15);
    }
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 0);
    loop_stop(r->loop);
    rig_down(r);
}

/* --- pause --- */

Test(pause, what_starts_meanwhile_starts_with_the_resume)
{
    const struct rig_options early = {.stop_before_driver_ok = true};
    struct rig *r = core_up((struct core_opts){0}, &early);
    vdev_pause(r->dev);
    vdev_resume(r->dev);
    rig_settle(r);
    cr_assert_null(vdev_queue(r->dev, 0), "a resume is no DRIVER_OK");
    vdev_pause(r->dev);
    rig_reg_set(r, VIRTIO_MMIO_STATUS, 15);
    cr_assert_not(served(r, 0), "a paused device takes nothing");
    vdev_resume(r->dev);
    rig_settle(r);
    uint32_t id, len;
    cr_assert(rig_used(r, 0, &id, &len));
    cr_assert(served(r, 0) && served(r, 1));

    /* The same for one queue. */
    vdev_pause(r->dev);
    vdev_pause(r->dev);
    rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, 1);
    rig_reg_set(r, 0x0c0, 1); /* QueueReset */
    rig_queue_up(r, 1);
    cr_assert_not(served(r, 1));
    for (unsigned i = 0; i < 2; i++) {
        vdev_resume(r->dev);
        rig_settle(r);
    }
    cr_assert(rig_used(r, 1, &id, &len));
    unsigned kicks = held.kicks;
    rig_kick(r, 1);
    rig_settle(r);
    cr_assert_eq(held.kicks, kicks + 1, "it is watched once");
    rig_down(r);
}

Test(pause, outlasts_a_reset_by_the_driver)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    vdev_pause(r->dev);
    rig_negotiate(r);
    cr_assert_not(served(r, 0));
    vdev_resume(r->dev);
    rig_settle(r);
    uint32_t id, len;
    cr_assert(rig_used(r, 0, &id, &len));
    rig_down(r);
}

/* A device decides by the whole of it, also when the driver writes a part (2.5). */
Test(core, a_part_of_the_configuration_is_written)
{
    struct rig *r = held_up(NULL, 8);
    const uint8_t whole[8] = {0x10, 0x11, 0x12, 0x77, 0x14, 0x15, 0x16, 0x17};
    rig_config_set(r, 3, 1, 0x77);
    cr_assert_eq(held.config_writes, 1);
    cr_assert_arr_eq(held.config_written, whole, sizeof(whole));
    rig_down(r);
}

/* A queue that was armed when it was stopped is armed again, and says so. */
Test(pause, an_idle_queue_goes_on_asking_for_notifications)
{
    for (unsigned k = 0; k < 4; k++) {
        struct rig *r = held_up(&(struct rig_options){.packed = k & 1, .no_event_idx = k & 2}, 8);
        for (unsigned i = 0; i < 3; i++) {
            (void)rig_must_kick(r, Q);
            vdev_pause(r->dev);
            vdev_resume(r->dev);
            rig_settle(r);
            uint16_t id = held_add(r, 8);
            cr_assert(rig_must_kick(r, Q), "%u", k);
            held_run(r);
            held_expect(r, id, 8);
        }
        rig_down(r);
    }
}

/* --- what begins and ends with a queue --- */

Test(core, a_transport_frees_its_device)
{
    for (enum rig_transport t = RIG_MMIO; t <= RIG_PCI; t += RIG_PCI - RIG_MMIO) {
        unsigned before = rig_open_files();
        struct rig *r = core_up((struct core_opts){0}, &(struct rig_options){.transport = t});
        cr_assert_geq(vdev_kick_all_fd(r->dev), 0);
        cr_assert_eq(held.frees, 0);
        rig_down(r);
        cr_assert_eq(held.frees, 1);
        cr_assert_eq(rig_open_files(), before, "its descriptors are closed");
    }
}

/* Each bit of the driver's is asked for by its number. */
Test(core, features_by_number)
{
    struct rig *r = core_up((struct core_opts){.offers_all = true},
                            &(struct rig_options){.stop_before_driver_ok = true});
    rig_status_set(r, 0);
    for (unsigned bit = 0; bit < 32 * VDEV_FEATURE_WORDS; bit++) {
        for (unsigned word = 0; word < VDEV_FEATURE_WORDS; word++)
            vdev_features_write(r->dev, word, word == bit / 32 ? 1u << bit % 32 : 0);
        for (unsigned other = 0; other < 32 * VDEV_FEATURE_WORDS; other++) {
            bool carried = vdev_features_driver(r->dev, bit / 32) != 0;
            cr_assert_eq(vdev_has(r->dev, other), carried && other == bit, "%u, %u", bit, other);
        }
    }
    rig_down(r);
}

/* What failed may not be set up any further. */
Test(core, a_failed_device_is_not_programmed)
{
    struct rig *r = up();
    r->regs->queue_reset(r, Q);
    cr_assert_not_null(vdev_queue_program(r->dev, Q));
    vdev_fail(r->dev, "for the test's sake");
    cr_assert_null(vdev_queue_program(r->dev, Q));
    rig_down(r);
}

Test(core, a_machine_reset_is_the_devices_too)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    rig_status_set(r, 0);
    cr_assert_eq(core_power_ons, 0, "a driver's reset is less");
    rig_negotiate(r);
    transport_reset(r->transport);
    cr_assert_eq(core_power_ons, 1);
    cr_assert_eq(rig_status(r), 0);
    for (unsigned word = 0; word < VDEV_FEATURE_WORDS; word++)
        cr_assert_eq(vdev_features_driver(r->dev, word), 0);
    cr_assert_null(vdev_queue(r->dev, Q), "no queue is live");
    rig_down(r);
}

/* 2.3, 2.1.2: nothing is announced before DRIVER_OK, nor while the device is being reset. */
static void change(void)
{
    vdev_config_changed(board_rig->dev);
}

Test(core, when_a_change_is_not_announced)
{
    for (enum rig_transport t = RIG_MMIO; t <= RIG_PCI; t += RIG_PCI - RIG_MMIO) {
        struct rig *r = board_rig =
            board_up((struct board_options){0},
                     &(struct rig_options){.transport = t, .stop_before_driver_ok = true});
        change();
        cr_assert_eq(rig_irqs(r), 0, "%s", rig_where(r));
        rig_driver_ok(r);
        change();
        cr_assert_eq(rig_irqs(r), 1);
        held.hold = true;
        cr_assert_not(board_serves(r, 0, rig_kick));
        cr_assert_eq(held.n, 1);
        rig_hush(r, 0);
        (void)rig_irqs(r);
        board.draining = change;
        rig_status_set(r, 0);
        board.draining = NULL;
        cr_assert_eq(held.n, 0, "it was drained");
        cr_assert_eq(rig_irqs(r), 0, "%s", rig_where(r));
        rig_down(r);
    }
}

/* What a device does not say of its configuration reads 0; what is behind it cannot be written. */
Test(core, the_edges_of_the_configuration)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    for (unsigned suspended = 0; suspended < 2; suspended++) {
        for (unsigned off = 0; off < 32; off++)
            cr_assert_eq(rig_config(r, off, 1), off < 8 ? 0x10 + off : 0, "byte %u", off);
        cr_assert_eq(rig_config(r, 0, 4), 0x13121110);
        rig_status_set(r, 15 | VDEV_S_SUSPEND);
    }
    rig_down(r);
    r = up();
    rig_config_set(r, 7, 2, 0x77);
    rig_config_set(r, 5, 4, 0x77);
    rig_config_set(r, 8, 1, 0x77);
    rig_config_set(r, 0x800, 4, 0x77);
    cr_assert_eq(held.config_writes, 0);
    rig_config_set(r, 6, 2, 0x77);
    cr_assert_eq(held.config_writes, 1);
    rig_down(r);
}

/* Whether anybody waits for the results of what is in flight. */
Test(core, who_stops_a_queue)
{
    static const bool aborts[] = {false, false, true, true, true};
    for (unsigned how = 0; how < ARRAY_SIZE(aborts); how++) {
        struct rig *r = up();
        held.hold = true;
        held_add(r, 8);
        held_run(r);
        cr_assert_eq(held.n, 1);
        cr_assert_not(vq_aborting(held.vq));
        switch (how) {
        case 0:
            vdev_pause(r->dev);
            break;
        case 1:
            rig_status_set(r, 15 | VDEV_S_SUSPEND);
            break;
        case 2:
            r->regs->queue_reset(r, Q);
            break;
        case 3:
            rig_reg_set(r, VIRTIO_MMIO_QUEUE_SEL, Q);
            rig_reg_set(r, VIRTIO_MMIO_QUEUE_READY, 0);
            break;
        default:
            rig_status_set(r, 0);
        }
        cr_assert_eq(held.drains, 1, "%u", how);
        cr_assert_eq(held.aborting, aborts[how], "%u", how);
        rig_down(r);
    }
}

Test(core, a_device_is_told_of_a_queue_reset)
{
    const struct vdev_options v = {.admin_vq = true, .ring_reset = true};
    struct rig *r =
        core_up((struct core_opts){0}, &(struct rig_options){.transport = RIG_PCI, .vdev = &v});
    for (uint32_t q = 0; q < 3; q++) {
        cr_assert(r->regs->queue_enabled(r, q));
        r->regs->queue_reset(r, q);
        r->regs->queue_reset(r, q); /* it is no more by then */
        cr_assert_eq(core_queue_resets[0], 1);
        cr_assert_eq(core_queue_resets[1], q >= 1);
        cr_assert_eq(core_queue_resets[2], 0, "which is not the device's");
    }
    cr_assert_not_null(vdev_queue_program(r->dev, 2));
    cr_assert_null(vdev_queue_program(r->dev, 3));
    rig_down(r);
    r = core_up((struct core_opts){0},
                &(struct rig_options){.vdev = &v, .stop_before_driver_ok = true});
    rig_status_set(r, 0);
    rig_negotiate_features(r);
    cr_assert_not_null(vdev_queue_program(r->dev, 1));
    cr_assert_null(vdev_queue_program(r->dev, 2), "nobody agreed on it");
    rig_down(r);
}

/* A failure before the first notification: that starts nothing. */
Test(core, a_legacy_device_that_failed_is_not_started)
{
    struct rig *r =
        core_up((struct core_opts){0},
                &(struct rig_options){.transport = RIG_MMIO_LEGACY, .stop_before_driver_ok = true});
    cr_assert_eq(core_starts, 0);
    vdev_fail(r->dev, "for the test's sake");
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert_eq(core_starts, 0);
    rig_down(r);
}

/* At any place of what was given in pieces. */
Test(core, a_part_of_a_request_is_read)
{
    struct rig *r = up();
    struct rig_seg out[] = {{rig_alloc(r, 3), 3}, {rig_alloc(r, 5), 5}, {rig_alloc(r, 2), 2}};
    uint8_t want[10], got[10];
    for (unsigned i = 0, s = 0, at = 0; i < sizeof(want); i++, at++) {
        if (at == out[s].len)
            s++, at = 0;
        want[i] = *((uint8_t *)rig_at(r, out[s].at, out[s].len) + at) = (uint8_t)(0x30 + i);
    }
    held.hold = true;
    rig_add(r, Q, out, 3, NULL, 0);
    held_run(r);
    cr_assert_eq(held.n, 1);
    for (size_t off = 0; off <= sizeof(want); off++) {
        for (size_t len = 0; len <= sizeof(want) - off; len++) {
            cr_assert_eq(vq_req_read(held.req[0], off, got, len), 0);
            cr_assert_eq(memcmp(got, want + off, len), 0, "%zu bytes at %zu", len, off);
        }
        cr_assert_eq(vq_req_read(held.req[0], off, got, sizeof(want) + 1 - off), -EMSGSIZE);
    }
    rig_down(r);
}

/* DRIVER_OK and a reset, and the loop comes to neither before both are over. */
Test(core, a_start_that_was_taken_back)
{
    const struct rig_options early = {.stop_before_driver_ok = true};
    struct rig *r = core_up((struct core_opts){0}, &early);
    rig_status_set(r, 15);
    rig_status_set(r, 0);
    rig_settle(r);
    cr_assert_null(vdev_queue(r->dev, 0));
    cr_assert_eq(held.kicks, 0);
    r->o.stop_before_driver_ok = false;
    rig_negotiate(r);
    cr_assert(served(r, 0) && served(r, 1));
    rig_down(r);
}

/* A device that asks for its queue to be looked at again: on its loop, and not in place. */
Test(core, a_queue_is_poked)
{
    struct rig *r = up();
    unsigned kicks = held.kicks;
    uint64_t told, interrupts;
    vdev_poke(r->dev, Q);
    cr_assert_eq(held.kicks, kicks);
    rig_settle(r);
    cr_assert_eq(held.kicks, kicks + 1);
    vdev_queue_counts(r->dev, Q, &told, &interrupts);
    cr_assert_eq(told, 0, "the driver has notified nobody");
    unsigned resets = held.resets;
    rig_status_set(r, 0);
    cr_assert_eq(held.resets, resets + 1);
    vdev_poke(r->dev, Q);
    rig_settle(r);
    cr_assert_eq(held.kicks, kicks + 1, "it is not live");
    rig_down(r);
}

static void expect_counts(struct rig *r, unsigned q, uint64_t kicks, uint64_t interrupts)
{
    uint64_t k = 99, i = 99;
    vdev_queue_counts(r->dev, q, &k, &i);
    cr_expect_eq(k, kicks, "queue %u: %lu notifications", q, (unsigned long)k);
    cr_expect_eq(i, interrupts, "queue %u: %lu interrupts", q, (unsigned long)i);
}

Test(core, notifications_and_interrupts_are_counted)
{
    struct rig *r = core_up((struct core_opts){0}, NULL);
    expect_counts(r, 0, 0, 0);
    for (unsigned i = 0; i < 3; i++) {
        rig_listen(r, 1);
        cr_assert(served(r, 1));
    }
    expect_counts(r, 0, 0, 0);
    expect_counts(r, 1, 3, 3);
    expect_counts(r, 2, 0, 0);
    vdev_config_changed(r->dev); /* is no queue's */
    expect_counts(r, 1, 3, 3);
    rig_status_set(r, 0);
    expect_counts(r, 1, 0, 0);
    rig_down(r);
}
