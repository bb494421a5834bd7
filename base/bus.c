/* base/bus.c - see bus.h. The table is a sorted array behind one atomic pointer: a writer builds a
 * new one and publishes it; old ones are kept until bus_free(), since a vCPU may still be reading
 * them and the table changes a handful of times in a machine's life. */
#include "base/bus.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"

struct table {
    struct table *older;
    size_t n;
    struct region r[];
};
struct bus {
    const char *name;
    _Atomic(struct table *) table;
    pthread_mutex_t writers;
    struct log_limit unclaimed;
};

static struct table *table_new(size_t n)
{
    struct table *t = calloc(1, sizeof(*t) + n * sizeof(t->r[0]));
    if (t)
        t->n = n;
    return t;
}

int bus_new(const char *name, struct bus **out)
{
    struct bus *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    struct table *t = table_new(0);
    if (!t) {
        free(b);
        return -ENOMEM;
    }
    b->name = name;
    (void)pthread_mutex_init(&b->writers, NULL);
    atomic_init(&b->table, t);
    *out = b;
    return 0;
}

void bus_free(struct bus *b)
{
    if (!b)
        return;
    for (struct table *t = atomic_load(&b->table); t;) {
        struct table *older = t->older;
        free(t);
        t = older;
    }
    (void)pthread_mutex_destroy(&b->writers);
    free(b);
}

/* How many regions start at or below `at`. */
static size_t regions_upto(const struct table *t, uint64_t at)
{
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->r[mid].base.v <= at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static void publish(struct bus *b, struct table *old, struct table *t)
{
    t->older = old;
    atomic_store_explicit(&b->table, t, memory_order_release);
}

int bus_map(struct bus *b, const struct region *r)
{
    uint64_t last = r->base.v + r->len - 1;
    if (r->len == 0 || last < r->base.v)
        return -EINVAL;

    int rc = 0;
    (void)pthread_mutex_lock(&b->writers);
    struct table *old = atomic_load(&b->table);
    size_t at = regions_upto(old, r->base.v);
    const struct region *left = at > 0 ? &old->r[at - 1] : NULL;
    struct table *t = NULL;
    if ((left && r->base.v - left->base.v < left->len) ||
        (at < old->n && old->r[at].base.v <= last)) {
        rc = -EBUSY;
    } else if ((t = table_new(old->n + 1)) == NULL) {
        rc = -ENOMEM;
    } else {
        memcpy(t->r, old->r, at * sizeof(t->r[0]));
        t->r[at] = *r;
        memcpy(t->r + at + 1, old->r + at, (old->n - at) * sizeof(t->r[0]));
        publish(b, old, t);
    }
    (void)pthread_mutex_unlock(&b->writers);
    return rc;
}

void bus_unmap(struct bus *b, gpa_t base)
{
    (void)pthread_mutex_lock(&b->writers);
    struct table *old = atomic_load(&b->table);
    size_t at = regions_upto(old, base.v);
    if (at > 0 && old->r[at - 1].base.v == base.v) {
        struct table *t = table_new(old->n - 1);
        if (t) {
            memcpy(t->r, old->r, (at - 1) * sizeof(t->r[0]));
            memcpy(t->r + at - 1, old->r + at, (old->n - at) * sizeof(t->r[0]));
            publish(b, old, t);
        } else { /* no memory to shrink: an empty region claims nothing */
            old->r[at - 1].len = 0;
        }
    }
    (void)pthread_mutex_unlock(&b->writers);
}

bool bus_access(struct bus *b, gpa_t at, unsigned size, bool write, uint64_t *val)
{
    const struct table *t = atomic_load_explicit(&b->table, memory_order_acquire);
    size_t n = regions_upto(t, at.v);
    if (n > 0) {
        const struct region *r = &t->r[n - 1];
        uint64_t off = at.v - r->base.v;
        if (off < r->len && size <= r->len - off) {
            if (write)
                r->ops->write(r->ctx, off, size, *val);
            else
                *val = r->ops->read(r->ctx, off, size);
            return true;
        }
    }
    if (!write)
        *val = UINT64_MAX;
    log_limited(&b->unclaimed, LOG_INFO, "%s: nothing answers a %u-byte %s at %#llx", b->name, size,
                write ? "write" : "read", (unsigned long long)at.v);
    return false;
}
