/* devices/mem/mem.c - memory that the guest plugs and unplugs as the host's user asks (virtio 1.4,
 * 5.15). See mem_priv.h for how it is done. */
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>
#include <sys/mman.h>

#include "base/gmem.h"
#include "devices/hostmap.h"
#include "devices/mem/mem_priv.h"

enum {
    MEM_F_PERSISTENT_SUSPEND = 2, /* newer than the UAPI header */
    QUEUE_SIZE = 64,
};
#define PLACE_ALIGN MIB(128) /* what Linux adds at once */

struct mem_opts {
    uint64_t size, requested, block; /* block 0: by the size */
};

/* --- configuration --- */

static void mem_config_read(struct vdev *d, void *cfg)
{
    const struct mem *m = vdev_priv(d);
    uint64_t requested = atomic_load(&m->requested); /* first: what is usable grows before it */
    const struct virtio_mem_config c = {
        .block_size = htole64(m->block),
        .addr = htole64(m->at.v),
        .region_size = htole64(m->size),
        .usable_region_size = htole64(atomic_load(&m->usable)),
        .plugged_size = htole64(atomic_load(&m->plugged)),
        .requested_size = htole64(requested),
    };
    memcpy(cfg, &c, sizeof(c));
}

/* To read what is not plugged would end the guest, so a driver has to know that it must not. */
static bool mem_features_ok(struct vdev *d)
{
    return vdev_has(d, VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
}

static int check_requested(uint64_t requested, uint64_t size, uint64_t block, struct err *e)
{
    if (requested > size)
        return err_input(e, 0, "mem: requested=%lluM is more than size=%lluM",
                         (unsigned long long)(requested >> 20), (unsigned long long)(size >> 20));
    if (requested % block)
        return err_input(e, 0, "mem: requested=%lluK is not a multiple of the block, %lluM",
                         (unsigned long long)(requested >> 10), (unsigned long long)(block >> 20));
    return 0;
}

static int mem_update(struct vdev *d, const void *opts, struct err *e)
{
    struct mem *m = vdev_priv(d);
    uint64_t requested = ((const struct mem_opts *)opts)->requested;
    int rc = check_requested(requested, m->size, m->block, e);
    if (rc < 0 || requested == atomic_load(&m->requested))
        return rc;
    atomic_store(&m->usable, MAX(atomic_load(&m->usable), mem_usable_for(m, requested)));
    atomic_store(&m->requested, requested);
    vdev_config_changed(d);
    return 0;
}

static void mem_report(const struct vdev *d, struct report *r)
{
    const struct mem *m = vdev_priv(d);
    report_number(r, "size", m->size);
    report_number(r, "block_size", m->block);
    report_number(r, "requested", atomic_load(&m->requested));
    report_number(r, "usable", atomic_load(&m->usable));
    report_number(r, "plugged", atomic_load(&m->plugged));
    report_number(r, "plug_requests", m->plugs);
    report_number(r, "unplug_requests", m->unplugs);
    report_number(r, "refused_requests", m->refusals);
}

/* --- creation --- */

static void mem_destroy(struct mem *m)
{
    hostmap_free(m->own, m->size);
    hostmap_free(m->guest, m->size);
    fd_cleanup_(&m->fd);
    free(m->present);
    free(m);
}

static void mem_free(struct vdev *d)
{
    mem_destroy(vdev_priv(d));
}

static int choose_block(const struct mem_opts *o, uint64_t *block, struct err *e)
{
    uint64_t least = MEM_BLOCK_MIN;
    while (o->size / least > MEM_BLOCKS_MAX)
        least *= 2;
    *block = o->block ? o->block : least;
    if (o->size == 0)
        return err_input(e, 0, "mem: size=0 is no memory");
    if (*block & (*block - 1) || *block < least)
        return err_input(e, 0,
                         "mem: block=%lluK: must be a power of two, and for size=%lluM at least "
                         "%lluM",
                         (unsigned long long)(*block >> 10), (unsigned long long)(o->size >> 20),
                         (unsigned long long)(least >> 20));
    if (o->size % *block)
        return err_input(e, 0, "mem: size=%lluM is not a multiple of the block, %lluM",
                         (unsigned long long)(o->size >> 20), (unsigned long long)(*block >> 20));
    return check_requested(o->requested, o->size, *block, e);
}

static int map_memory(struct mem *m, struct err *e)
{
    m->present = calloc(mem_words(m), sizeof(*m->present));
    if (!m->present)
        return err_host(e, -ENOMEM, "mem");
    m->fd = memfd_create("vmm-mem", MFD_CLOEXEC);
    if (m->fd < 0)
        return err_host(e, -errno, "mem: cannot create a memfd");
    int rc = ftruncate(m->fd, (off_t)m->size) < 0 ? -errno : 0;
    if (rc == 0)
        rc = hostmap_new(m->fd, m->size, PROT_READ | PROT_WRITE, &m->own);
    if (rc == 0)
        rc = hostmap_new(m->fd, m->size, PROT_NONE, &m->guest);
    if (rc < 0)
        return err_input(e, rc, "mem: the host cannot map %llu MiB",
                         (unsigned long long)(m->size >> 20));
    return 0;
}

static int place(struct mem *m, const struct build_env *env, struct err *e)
{
    int rc = env->place ? env->place(env->place_ctx, m->guest, m->size, MAX(PLACE_ALIGN, m->block),
                                     false, &m->at)
                        : -EOPNOTSUPP;
    if (rc == -ENOSPC)
        return err_input(e, 0, "mem: size=%lluM has no room in the guest's address space",
                         (unsigned long long)(m->size >> 20));
    if (rc < 0)
        return err_host(e, rc, "mem: cannot be shown to the guest");
    const struct gmem_region r = {
        .base = m->at, .len = m->size, .host = m->own, .block = m->block, .present = m->present};
    rc = gmem_add(env->mem, &r);
    return rc < 0 ? err_host(e, rc, "mem: guest memory") : 0;
}

static int mem_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e);

static const struct opt_desc mem_opts[] = {
    {.key = "size",
     .type = OPT_SIZE,
     .offset = offsetof(struct mem_opts, size),
     .metavar = "SIZE",
     .help = "how much the guest may plug at most; Linux wants multiples of 128M",
     .positional = true,
     .required = true},
    {.key = "requested",
     .type = OPT_SIZE,
     .offset = offsetof(struct mem_opts, requested),
     .metavar = "SIZE",
     .help = "how much it is asked to plug; default: nothing",
     .live = true},
    {.key = "block",
     .type = OPT_SIZE,
     .offset = offsetof(struct mem_opts, block),
     .metavar = "SIZE",
     .help = "what is plugged or not as a whole; default: 2M, and more from 16G on"},
    {.type = OPT_END},
};

static const struct vdev_ops mem_ops = {
    .config_len = sizeof(struct virtio_mem_config),
    .config_read = mem_config_read,
    .features_ok = mem_features_ok,
    .power_on = mem_power_on,
    .kick = mem_kick,
    .update = mem_update,
    .report = mem_report,
    .save = mem_save,
    .load = mem_load,
    .free = mem_free,
};
static const struct sandbox_list mem_calls = {
    .name = "mem",
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_mprotect, .on = ON_LOOP, .arg = 2, .mask = PROT_EXEC},
        {.nr = SYS_fallocate, .on = ON_LOOP},
        {0}}};

extern const struct vdev_class mem_class;
const struct vdev_class mem_class = {
    .name = "mem",
    .summary = "memory that grows and shrinks while the guest runs",
    .virtio_id = VIRTIO_ID_MEM,
    .pci_class = 0x050000,
    .ops = &mem_ops,
    .opts = mem_opts,
    .opts_size = sizeof(struct mem_opts),
    .create = mem_create,
    .sandbox = (const struct sandbox_list *const[]){&mem_calls, NULL},
};

static int mem_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e)
{
    static const uint16_t sizes[] = {QUEUE_SIZE};
    const struct mem_opts *o = opts;
    struct vdev *d;
    uint64_t block;
    int rc = choose_block(o, &block, e);
    if (rc < 0)
        return rc;
    struct mem *m = calloc(1, sizeof(*m));
    if (!m)
        return err_host(e, -ENOMEM, "mem");
    m->loop = env->loop;
    m->fd = -1;
    m->size = o->size;
    m->block = block;
    atomic_init(&m->requested, o->requested);
    atomic_init(&m->usable, mem_usable_for(m, o->requested));
    rc = map_memory(m, e);
    if (rc == 0)
        rc = place(m, env, e);
    if (rc == 0 && (rc = vdev_new(&mem_class, env, m, sizes, ARRAY_SIZE(sizes), &d)) < 0)
        (void)err_host(e, rc, "mem");
    if (rc < 0) {
        mem_destroy(m);
        return rc;
    }
    vdev_offer(d, VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE);
    vdev_offer(d, MEM_F_PERSISTENT_SUSPEND);
    *out = d;
    return 0;
}
