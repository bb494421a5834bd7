/* tests/fuzz/oracle.c - see oracle.h. */
#include "tests/fuzz/oracle.h"

#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_net.h>

enum { CONFIG_MAX = 256, WRAP = 0x8000 };

/* --- one state --- */

static bool interfaces(const struct rig *r, bool legacy)
{
    switch (r->o.transport) {
    case RIG_MMIO:
    case RIG_PCI:
        return !legacy;
    case RIG_MMIO_LEGACY:
    case RIG_PCI_LEGACY:
        return legacy;
    default:
        return true;
    }
}

/* 2.1, 3.1.1, 3.4 */
static void status(const struct rig *r, uint8_t s)
{
    enum { BEGIN = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, RESERVED = 32 };
    bool ok = s & VIRTIO_CONFIG_S_FEATURES_OK, driver_ok = s & VIRTIO_CONFIG_S_DRIVER_OK;
    EXPECT(!(s & RESERVED), "%#x", s);
    EXPECT(!ok || (s & BEGIN) == BEGIN, "%#x", s);
    EXPECT(!ok || interfaces(r, false), "%#x without a way to say so", s);
    EXPECT(ok || !driver_ok || interfaces(r, true), "%#x", s);
    EXPECT(!(s & VDEV_S_SUSPEND) || (ok && !driver_ok && vdev_has(r->dev, VDEV_F_SUSPEND)), "%#x",
           s);
}

/* 2.2: what was accepted was offered. Before FEATURES_OK a driver may write what it likes, but not
 * one that has no such step. */
static void features(const struct rig *r, uint8_t s)
{
    if (!interfaces(r, false))
        EXPECT(!(vdev_features_driver(r->dev, 0) & ~vdev_legacy_features(r->dev)) &&
               !vdev_features_driver(r->dev, 1));
    if (!(s & VIRTIO_CONFIG_S_FEATURES_OK))
        return;
    EXPECT(vdev_has(r->dev, VIRTIO_F_VERSION_1));
    for (unsigned w = 0; w < VDEV_FEATURE_WORDS; w++)
        EXPECT(!(vdev_features_driver(r->dev, w) & ~vdev_features(r->dev, w)), "word %u: %#x", w,
               vdev_features_driver(r->dev, w));
}

static void area(const struct rig *r, unsigned q, gpa_t at, size_t len, unsigned align)
{
    EXPECT(at.v % align == 0, "queue %u: %#lx", q, (unsigned long)at.v);
    EXPECT(gmem_at(r->mem, at, len), "queue %u: %#lx is not in RAM", q, (unsigned long)at.v);
}

/* 2.6, 2.7, 2.8: of a queue that is enabled. */
static void queue(const struct rig *r, uint8_t s, unsigned i, const struct vq_config *c)
{
    bool packed = vdev_has(r->dev, VIRTIO_F_RING_PACKED);
    EXPECT(s & VIRTIO_CONFIG_S_FEATURES_OK || interfaces(r, true),
           "queue %u is enabled before FEATURES_OK", i);
    EXPECT(i < vdev_queue_count(r->dev) || vdev_has(r->dev, VDEV_F_ADMIN_VQ),
           "an administration virtqueue that was not accepted");
    EXPECT(c->size > 0 && c->size <= c->max_size, "queue %u: size %u", i, c->size);
    area(r, i, c->desc, c->size * 16u, 16);
    if (packed) {
        EXPECT((c->next_avail & ~WRAP) < c->size && (c->next_used & ~WRAP) < c->size,
               "queue %u of %u: %#x, %#x", i, c->size, c->next_avail, c->next_used);
        area(r, i, c->driver, 4, 4);
        area(r, i, c->device, 4, 4);
        return;
    }
    EXPECT((c->size & (c->size - 1)) == 0, "queue %u: size %u", i, c->size);
    area(r, i, c->driver, 6 + c->size * 2u, 2);
    area(r, i, c->device, 6 + c->size * 8u, 4);
}

static void configuration(const struct rig *r)
{
    const char *name = vdev_name(r->dev);
    union {
        uint8_t bytes[CONFIG_MAX];
        struct virtio_mem_config mem;
        struct virtio_net_config net;
        struct virtio_blk_config blk;
    } c = {0};
    vdev_config_get(r->dev, 0, c.bytes, sizeof(c.bytes));
    if (strcmp(name, "mem") == 0) { /* 5.15.4 */
        uint64_t block = le64toh(c.mem.block_size), usable = le64toh(c.mem.usable_region_size);
        uint64_t plugged = le64toh(c.mem.plugged_size), asked = le64toh(c.mem.requested_size);
        EXPECT(plugged <= usable && asked <= usable && usable <= le64toh(c.mem.region_size));
        EXPECT((plugged | asked | usable) % block == 0);
    } else if (strcmp(name, "net") == 0) { /* 5.1.4 */
        EXPECT(!(le16toh(c.net.status) & ~(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE)));
    } else if (strcmp(name, "blk") == 0) { /* 5.2.4 */
        EXPECT(c.blk.wce <= 1);
    }
}

void oracle_device(struct rig *r)
{
    uint8_t s = vdev_status(r->dev);
    const struct vq_config *c;
    status(r, s);
    features(r, s);
    for (unsigned i = 0; (c = vdev_queue_config(r->dev, i)) != NULL; i++) {
        if (c->enabled)
            queue(r, s, i, c);
    }
    configuration(r);
}

/* --- two of them --- */

/* All that a driver could ask for, but for the generation, which moves when it asks. */
struct sight {
    uint8_t status, config[CONFIG_MAX];
    uint32_t features[VDEV_FEATURE_WORDS];
    struct vq_config queues[RIG_QUEUES];
};

static void see(struct rig *r, struct sight *to)
{
    *to = (struct sight){0};
    to->status = vdev_status(r->dev);
    vdev_config_get(r->dev, 0, to->config, sizeof(to->config));
    for (unsigned i = 0; i < VDEV_FEATURE_WORDS; i++)
        to->features[i] = vdev_features_driver(r->dev, i);
    for (unsigned i = 0; i < RIG_QUEUES; i++) {
        const struct vq_config *c = vdev_queue_config(r->dev, i);
        if (!c)
            break;
        to->queues[i] = *c;
    }
}

/* How far it is, only the device knows. */
static bool same_queue(const struct vq_config *a, const struct vq_config *b)
{
    return a->desc.v == b->desc.v && a->driver.v == b->driver.v && a->device.v == b->device.v &&
           a->max_size == b->max_size && a->size == b->size && a->enabled == b->enabled;
}

void oracle_same(const struct state_out *was, const struct state_out *is)
{
    EXPECT(is->len == was->len, "%zu bytes become %zu", was->len, is->len);
    for (size_t i = 0; i < is->len; i++)
        EXPECT(is->buf[i] == was->buf[i], "byte %zu of %zu is %#x and was %#x", i, is->len,
               is->buf[i], was->buf[i]);
}

void oracle_blank(struct state_out *s, const char *tag, size_t at, size_t len)
{
    enum { LENGTH = 8, CHECKSUM = 12, HEADER = 16 };
    for (size_t next, off = 0; off < s->len; off = next) {
        uint8_t *section = s->buf + off;
        size_t has = get_bytes(section + LENGTH, 4);
        next = off + HEADER + has;
        if (tag && memcmp(section, tag, 4) != 0)
            continue;
        memset(section + CHECKSUM, 0, 4);
        memset(section + HEADER + at, 0, MIN(len, has - at));
    }
}

void oracle_migrate(struct rig *r)
{
    struct sight before, after;
    vdev_pause(r->dev);
    see(r, &before);
    struct state_out was = rig_save(r);
    EXPECT(rig_load(r, was.buf, was.len) == 0, "it does not load what it saved");
    struct state_out is = rig_save(r);
    /* A monotonic clock with an alarm is read while it loads, and what was read last is later. */
    oracle_blank(&was, "RTCK", 47, 8);
    oracle_blank(&is, "RTCK", 47, 8);
    oracle_same(&was, &is);
    see(r, &after);
    EXPECT(before.status == after.status, "%#x and %#x", before.status, after.status);
    EXPECT(memcmp(before.config, after.config, sizeof(before.config)) == 0, "config space");
    EXPECT(memcmp(before.features, after.features, sizeof(before.features)) == 0, "features");
    for (unsigned i = 0; i < RIG_QUEUES; i++)
        EXPECT(same_queue(&before.queues[i], &after.queues[i]), "queue %u", i);
    state_out_free(&was);
    state_out_free(&is);
    vdev_resume(r->dev);
}
