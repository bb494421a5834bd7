/* devices/fs/tree_range.c - the ranges of a file that one owner has locked, as the host's kernel
 * keeps them: a lock takes the place of what was there, and neighbours of one type are one. */
#include "devices/fs/tree_priv.h"

static void append(struct tree_ranges *to, struct tree_range r)
{
    struct tree_range *before = to->n ? &to->v[to->n - 1] : NULL;
    if (before && before->type == r.type && before->last + 1 == r.first)
        before->last = r.last;
    else
        to->v[to->n++] = r;
}

int tree_ranges_with(const struct tree_ranges *r, const struct flock *l, struct tree_ranges *out)
{
    const struct tree_range made = {.first = l->l_start,
                                    .last = l->l_len ? l->l_start + l->l_len - 1 : INT64_MAX,
                                    .type = l->l_type};
    /* Two more at most: in the middle of another. */
    struct tree_ranges to = {.v = calloc(r->n + 2u, sizeof(struct tree_range))};
    if (!to.v)
        return -ENOMEM;
    for (unsigned i = 0; i < r->n && r->v[i].first < made.first; i++) {
        struct tree_range left = r->v[i];
        left.last = MIN(left.last, made.first - 1);
        append(&to, left);
    }
    if (made.type != F_UNLCK)
        append(&to, made);
    for (unsigned i = 0; i < r->n; i++) {
        struct tree_range right = r->v[i];
        if (right.last <= made.last)
            continue;
        right.first = MAX(right.first, made.last + 1);
        append(&to, right);
    }
    *out = to;
    return 0;
}
