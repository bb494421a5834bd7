/* tests/rig/bells.c - see bells.h. */
#include "tests/rig/bells.h"

#include <unistd.h>

static bool same(const struct doorbell *a, const struct doorbell *b)
{
    return a->port == b->port && a->at == b->at && a->len == b->len && a->any == b->any &&
           a->value == b->value && a->fd == b->fd;
}

int bells_bind(void *ctx, const struct doorbell *b, bool on)
{
    struct bells *all = ctx;
    unsigned i = 0;
    if (all->refuse)
        return -ENOSPC;
    while (i < all->n && !same(&all->on[i], b))
        i++;
    cr_assert_eq(i < all->n, !on, "at %#lx: bound twice, or unbound and not bound",
                 (unsigned long)b->at);
    cr_assert_lt(all->n, ARRAY_SIZE(all->on));
    if (on)
        all->on[all->n++] = *b;
    else
        all->on[i] = all->on[--all->n];
    return 0;
}

const struct doorbell *bells_find(const struct bells *b, bool port, uint64_t at, uint64_t value)
{
    for (unsigned i = 0; i < b->n; i++) {
        const struct doorbell *d = &b->on[i];
        if (d->port == port && d->at == at && (d->any || d->value == value))
            return d;
    }
    return NULL;
}

void bells_ring(const struct doorbell *b)
{
    uint64_t one = 1;
    cr_assert_not_null(b, "nobody would hear it");
    cr_assert_eq(write(b->fd, &one, sizeof(one)), sizeof(one));
}
