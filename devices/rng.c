/* devices/rng.c - entropy (virtio 1.4, 5.4): the guest offers buffers, the host's generator fills
 * them. */
#include <linux/virtio_ids.h>
#include <sys/random.h>

#include "devices/virtio/vdev.h"

enum { RNG_MAX = 64 * 1024 }; /* a request: segments may overlap, so their sum proves nothing */

struct rng {
    uint64_t bytes, requests; /* served; the loop's */
};

static void rng_kick(struct vdev *d, struct vq *q)
{
    struct rng *g = vdev_priv(d);
    vq_for_each (req, q) {
        size_t want = MIN(req->in_len, (size_t)RNG_MAX);
        while (req->written < want) {
            uint8_t chunk[256]; /* getrandom() fills up to 256 bytes whole */
            size_t n = MIN(want - req->written, sizeof(chunk));
            if (getrandom(chunk, n, 0) != (ssize_t)n ||
                vq_req_write(req, req->written, chunk, n) < 0)
                break;
            req->written += (uint32_t)n;
        }
        g->bytes += req->written;
        g->requests++;
        vq_complete(q, req);
    }
}

static void rng_free(struct vdev *d)
{
    free(vdev_priv(d));
}

static void rng_report(const struct vdev *d, struct report *r)
{
    const struct rng *g = vdev_priv(d);
    report_number(r, "bytes", g->bytes);
    report_number(r, "requests", g->requests);
}

static const struct vdev_ops rng_ops = {.kick = rng_kick, .free = rng_free, .report = rng_report};

static int rng_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e);

static const struct opt_desc rng_opts[] = {{.type = OPT_END}};
static const struct sandbox_list rng_calls = {
    .name = "rng",
    .calls = (const struct sandbox_call[]){{.nr = SYS_getrandom, .on = ON_LOOP}, {0}}};

extern const struct vdev_class rng_class;
const struct vdev_class rng_class = {.name = "rng",
                                     .summary = "entropy source",
                                     .virtio_id = VIRTIO_ID_RNG,
                                     .pci_class = 0x00ff00,
                                     .ops = &rng_ops,
                                     .opts = rng_opts,
                                     .create = rng_create,
                                     .sandbox =
                                         (const struct sandbox_list *const[]){&rng_calls, NULL}};

static int rng_create(const void *opts, const struct build_env *env, struct vdev **out,
                      struct err *e)
{
    (void)opts;
    static const uint16_t sizes[] = {64};
    struct rng *g = calloc(1, sizeof(*g));
    int rc = g ? vdev_new(&rng_class, env, g, sizes, ARRAY_SIZE(sizes), out) : -ENOMEM;
    if (rc < 0) {
        free(g);
        return err_host(e, rc, "rng");
    }
    return 0;
}
