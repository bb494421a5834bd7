/* base/gmem.c - see gmem.h. All regions share one reservation of address space with an
 * inaccessible page before and after, so that an overrun faults instead of reaching the heap. */
#include "base/gmem.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/mman.h>
#include <stdatomic.h>
#include <sys/mman.h>

enum { MAX_REGIONS = 8, MAX_ADDED = 32, MAX_ALL = MAX_REGIONS + MAX_ADDED };
static const uint64_t guard = 4096;

struct gmem {
    struct gmem_region regions[MAX_ALL]; /* n of our own, then those that were added */
    unsigned n, n_all;
    int fd;
    bool huge, prefault;
    uint8_t *map;
    uint64_t map_len, len;
};

/* Also without huge pages of our own: KVM maps 2 MiB at once only where guest and host address
 * agree in their low bits, and the host may use transparent huge pages by itself. */
static uint64_t page_of(enum gmem_backing b)
{
    return b == GMEM_HUGE_1G ? GIB(1) : MIB(2);
}

static int open_memfd(const struct gmem_options *o, uint64_t len, struct err *e)
{
    unsigned flags = MFD_CLOEXEC;
    if (o->backing == GMEM_HUGE_2M)
        flags |= MFD_HUGETLB | MFD_HUGE_2MB;
    if (o->backing == GMEM_HUGE_1G)
        flags |= MFD_HUGETLB | MFD_HUGE_1GB;
    AUTO_FD fd = memfd_create("vmm-guest-ram", flags);
    if (fd < 0)
        return err_host(e, -errno, "guest memory: cannot create a memfd");
    if (ftruncate(fd, (off_t)len) < 0)
        return err_host(e, -errno, "guest memory: cannot size the memfd");
    return TAKE_FD(fd);
}

/* Maps [at, at+len) of the reservation; file offset 0 is the first byte of RAM. */
static int map_ram(struct gmem *m, const struct gmem_options *o, uint8_t *at, struct err *e)
{
    int flags = MAP_FIXED | MAP_NORESERVE;
    if (o->shared) {
        m->fd = open_memfd(o, m->len, e);
        if (m->fd < 0)
            return m->fd;
        flags |= MAP_SHARED;
    } else {
        flags |= MAP_PRIVATE | MAP_ANONYMOUS;
        if (o->backing == GMEM_HUGE_2M)
            flags |= MAP_HUGETLB | MAP_HUGE_2MB;
        if (o->backing == GMEM_HUGE_1G)
            flags |= MAP_HUGETLB | MAP_HUGE_1GB;
    }
    m->huge = o->backing == GMEM_HUGE_2M || o->backing == GMEM_HUGE_1G;
    m->prefault = o->prefault;
    if (m->huge) /* take the pages from the pool now: a shortage must not be a SIGBUS later */
        flags &= ~MAP_NORESERVE;
    if (mmap(at, m->len, PROT_READ | PROT_WRITE, flags, m->fd, 0) == MAP_FAILED) {
        int rc = -errno;
        if (m->huge)
            return err_host(e, rc, "guest memory: the host has not %llu MiB of free huge pages",
                            (unsigned long long)(m->len >> 20));
        return err_host(e, rc, "guest memory: cannot map %llu MiB",
                        (unsigned long long)(m->len >> 20));
    }
    if (o->backing == GMEM_THP && madvise(at, m->len, MADV_HUGEPAGE) < 0)
        return err_host(e, -errno, "guest memory: no transparent huge pages on this host");
    if (o->prefault && madvise(at, m->len, MADV_POPULATE_WRITE) < 0)
        return err_host(e, -errno, "guest memory: cannot populate %llu MiB",
                        (unsigned long long)(m->len >> 20));
    return 0;
}

/* Whole pages, and the address behind the last one is an address, too: so no sum that is formed of
 * a region wraps. */
static bool well_formed(const struct gmem_region *r)
{
    return r->len != 0 && (r->len | r->base.v) % 4096 == 0 && r->len <= UINT64_MAX - r->base.v;
}

int gmem_new(const struct gmem_region *regions, unsigned n, const struct gmem_options *o,
             struct gmem **out, struct err *e)
{
    if (n == 0 || n > MAX_REGIONS)
        return err_host(e, 0, "guest memory: %u regions", n);
    struct gmem *m = calloc(1, sizeof(*m));
    if (!m)
        return err_host(e, -ENOMEM, "guest memory");
    m->fd = -1;
    m->n = m->n_all = n;

    uint64_t page = page_of(o->backing), end = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct gmem_region *r = &regions[i];
        if (!well_formed(r) || r->base.v < end) {
            free(m);
            return err_host(e, 0, "guest memory: region %u is not laid out properly", i);
        }
        end = r->base.v + r->len;
        m->len += r->len;
    }
    int rc;
    if (m->len % page && (o->backing == GMEM_HUGE_2M || o->backing == GMEM_HUGE_1G)) {
        rc = err_input(e, 0, "--mem: the size is not a multiple of the huge page size");
        goto fail;
    }

    /* Room to align to the page size, which is in front then and not less than a guard, and a guard
     * behind. */
    m->map_len = m->len + page + guard;
    errno = ENOMEM;
    m->map = m->map_len < m->len ? MAP_FAILED
                                 : mmap(NULL, m->map_len, PROT_NONE,
                                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m->map == MAP_FAILED) {
        m->map = NULL;
        rc = err_input(e, -errno, "--mem: the host cannot address %llu MiB",
                       (unsigned long long)(m->len >> 20));
        goto fail;
    }
    uint8_t *at = (uint8_t *)align_up((uint64_t)m->map + guard, page);
    rc = map_ram(m, o, at, e);
    if (rc < 0)
        goto fail;
    for (unsigned i = 0; i < n; i++) {
        m->regions[i] =
            (struct gmem_region){.base = regions[i].base, .len = regions[i].len, .host = at};
        at += regions[i].len;
    }
    *out = m;
    return 0;
fail:
    gmem_free(m);
    return rc;
}

void gmem_free(struct gmem *m)
{
    if (!m)
        return;
    if (m->map)
        (void)munmap(m->map, m->map_len);
    fd_cleanup_(&m->fd);
    free(m);
}

unsigned gmem_regions(const struct gmem *m, const struct gmem_region **out)
{
    *out = m->regions;
    return m->n;
}

int gmem_fd(const struct gmem *m)
{
    return m->fd;
}

int gmem_add(struct gmem *m, const struct gmem_region *r)
{
    if (!well_formed(r) || (uint64_t)r->host % 4096 ||
        (r->present && (r->block == 0 || r->len % r->block)))
        return -EINVAL;
    for (unsigned i = 0; i < m->n_all; i++) {
        const struct gmem_region *o = &m->regions[i];
        if (r->base.v < o->base.v + o->len && o->base.v < r->base.v + r->len)
            return -EEXIST;
    }
    if (m->n_all - m->n == MAX_ADDED)
        return -ENOSPC;
    m->regions[m->n_all++] = *r;
    return 0;
}

/* Whether every block that [off, off + len) touches is there; a range of no bytes is in one. */
static bool all_present(const struct gmem_region *r, uint64_t off, uint64_t len)
{
    enum { BITS = 64 };
    uint64_t last = (off + MAX(len, 1u) - 1) / r->block;
    for (uint64_t i = off / r->block; i <= last; i++) {
        if (!(atomic_load(&r->present[i / BITS]) >> (i % BITS) & 1))
            return false;
    }
    return true;
}

static uint8_t *look_up(const struct gmem *m, gpa_t at, uint64_t len, bool write)
{
    for (unsigned i = 0; i < m->n_all; i++) {
        const struct gmem_region *r = &m->regions[i];
        uint8_t *host = gmem_region_at(r, at, len);
        if (!host)
            continue;
        bool there = !r->present || all_present(r, (uint64_t)(host - r->host), len);
        return there && !(write && r->ro) ? host : NULL;
    }
    return NULL;
}

void *gmem_at(const struct gmem *m, gpa_t at, uint64_t len)
{
    return look_up(m, at, len, true);
}

const void *gmem_at_ro(const struct gmem *m, gpa_t at, uint64_t len)
{
    return look_up(m, at, len, false);
}

void gmem_discard(struct gmem *m)
{
    /* Pages that were promised are kept: they might not be there to be had again. */
    bool keep = m->huge || m->prefault;
    int advice = m->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED;
    for (unsigned i = 0; i < m->n; i++) {
        struct gmem_region *r = &m->regions[i];
        if (keep || madvise(r->host, r->len, advice) < 0)
            memset(r->host, 0, r->len);
    }
}

/* Of a shared mapping the file must lose its pages, not only this mapping. */
static bool release(struct gmem *m, uint8_t *host, uint64_t len)
{
    if (m->fd < 0)
        return madvise(host, len, MADV_DONTNEED) == 0;
    return fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, host - m->regions[0].host,
                     (off_t)len) == 0;
}

uint64_t gmem_release(struct gmem *m, gpa_t at, uint64_t len)
{
    enum { PAGE = 4096 };
    uint64_t released = 0, end = at.v + MIN(len, UINT64_MAX - at.v);
    for (unsigned i = 0; i < m->n && !m->huge; i++) {
        const struct gmem_region *r = &m->regions[i];
        uint64_t from = MAX(at.v, r->base.v), to = MIN(end, r->base.v + r->len);
        if (from >= to)
            continue;
        from = align_up(from, PAGE) - r->base.v;
        to = (to & ~(uint64_t)(PAGE - 1)) - r->base.v;
        if (from < to && release(m, r->host + from, to - from))
            released += to - from;
    }
    return released;
}
