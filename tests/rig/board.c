/* tests/rig/board.c - see board.h. */
#include "tests/rig/board.h"

#include <linux/virtio_ids.h>

enum { SIZE = 8, QUEUES_MAX = 64 };

struct board board;

static void config_read(struct vdev *d, void *cfg)
{
    (void)d;
    memcpy(cfg, board.config, sizeof(board.config));
}

static void config_write(struct vdev *d, const void *cfg, size_t off, size_t len)
{
    (void)d;
    memcpy(board.config + off, (const uint8_t *)cfg + off, len);
}

static void drain(struct vdev *d, struct vq *q)
{
    (void)d;
    if (board.draining)
        board.draining();
    while (held.n > 0)
        vq_complete(q, held.req[--held.n]);
}

static const struct vdev_ops ops = {.config_len = BOARD_CONFIG_LEN,
                                    .config_read = config_read,
                                    .config_write = config_write,
                                    .req_size = HELD_STATE,
                                    .kick = held_kick,
                                    .drain = drain,
                                    .free = held_free};
static const struct vdev_ops bare_ops = {
    .req_size = HELD_STATE, .kick = held_kick, .drain = drain, .free = held_free};

static struct vdev_class class;

static int create(const void *opts, const struct build_env *env, struct vdev **out, struct err *e)
{
    (void)opts, (void)e;
    uint16_t sizes[QUEUES_MAX];
    for (unsigned i = 0; i < QUEUES_MAX; i++)
        sizes[i] = SIZE;
    int rc = vdev_new(&class, env, NULL, sizes, MAX(board.o.queues, 1u), out);
    for (unsigned i = 0; rc == 0 && i < ARRAY_SIZE(board.o.shm); i++) {
        if (board.o.shm[i])
            rc = vdev_add_shm(*out, (uint8_t)(BOARD_SHM_FIRST + i), BOARD_SHM_HOST(i),
                              board.o.shm[i]);
    }
    return rc;
}

struct rig *board_up(struct board_options o, const struct rig_options *ro)
{
    class = (struct vdev_class){.name = "board",
                                .virtio_id = o.virtio_id ? o.virtio_id : VIRTIO_ID_SCSI,
                                .pci_class = o.pci_class,
                                .ops = o.bare ? &bare_ops : &ops,
                                .create = create};
    memset(&held, 0, sizeof(held));
    board = (struct board){.o = o};
    for (unsigned i = 0; i < BOARD_CONFIG_LEN; i++)
        board.config[i] = (uint8_t)(0xa0 + i);
    return rig_up_class(&class, NULL, ro);
}

bool board_serves(struct rig *r, unsigned q, void (*notify)(struct rig *r, unsigned q))
{
    struct rig_seg in = {rig_alloc(r, 8), 8};
    uint32_t id, len;
    rig_add(r, q, NULL, 0, &in, 1);
    notify(r, q);
    rig_settle(r);
    return rig_used(r, q, &id, &len);
}
