/* devices/fs/tree_lock_state.c - the locks that are held, saved and taken again. */
#include "devices/fs/tree_priv.h"

enum { LOCK_END = 0, LOCK_RANGE, LOCK_WHOLE };

struct saving {
    struct state_out *s;
    uint64_t handle;
};

static void save_lock(const struct saving *sv, unsigned kind, uint64_t owner, struct tree_range r)
{
    state_u8(sv->s, (uint8_t)kind);
    state_u64(sv->s, sv->handle);
    state_u64(sv->s, owner);
    state_u8(sv->s, r.type == F_WRLCK);
    state_u64(sv->s, (uint64_t)r.first);
    state_u64(sv->s, r.last == INT64_MAX ? 0 : (uint64_t)(r.last - r.first + 1));
}

static void save_owner(uint64_t owner, const struct tree_ranges *held, void *arg)
{
    for (unsigned i = 0; i < held->n; i++)
        save_lock(arg, LOCK_RANGE, owner, held->v[i]);
}

static void save_file(struct tree_file *f, bool first, struct state_out *s)
{
    struct saving sv = {.s = s, .handle = f->handle};
    if (f->fd < 0)
        return;
    pthread_mutex_lock(&f->node->locks_lock);
    const struct tree_range whole = {.last = INT64_MAX, .type = f->whole};
    pthread_mutex_unlock(&f->node->locks_lock);
    if (whole.type != F_UNLCK)
        save_lock(&sv, LOCK_WHOLE, 0, whole);
    if (first)
        tree_locks_each(f->node, save_owner, &sv);
}

static struct tree_file *next_file(struct tree *t, uint64_t *bucket, const struct tree_file *f,
                                   bool *first)
{
    pthread_mutex_lock(&t->lock);
    struct tree_file *next = f ? f->next : NULL;
    while (!next && *bucket < tree_buckets(t))
        next = t->by_handle[(*bucket)++];
    if (next) {
        *first = next->node->round != t->round;
        next->node->round = t->round;
        next->refs++;
    }
    pthread_mutex_unlock(&t->lock);
    return next;
}

void tree_locks_save(struct tree *t, struct state_out *s)
{
    bool first = false;
    uint64_t bucket = 0;
    t->round++;
    struct tree_file *f = NULL, *next;
    for (; (next = next_file(t, &bucket, f, &first)); f = next) {
        tree_file_put(t, f);
        save_file(next, first, s);
    }
    tree_file_put(t, f);
    state_u8(s, LOCK_END);
}

/* A lock that somebody else has by now is lost. */
static int load_one(struct tree *t, struct state_in *s, unsigned kind)
{
    struct tree_file *f = tree_file_get(t, state_get_u64(s));
    uint64_t owner = state_get_u64(s);
    uint8_t write = state_get_u8(s);
    struct flock l = {.l_type = write ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    l.l_start = (off_t)state_get_u64(s);
    l.l_len = (off_t)state_get_u64(s);
    bool ok = !s->error && f && kind <= LOCK_WHOLE && write <= 1;
    if (ok)
        (void)!tree_lock_again(t, f, owner, &l, kind == LOCK_WHOLE);
    tree_file_put(t, f);
    return ok ? 0 : -EBADMSG;
}

/* No more than could be saved: each file has one of the whole, and ranges have their bound. */
int tree_locks_load(struct tree *t, struct state_in *s)
{
    uint64_t wholes = tree_files(t), ranges = TREE_LOCKS_MAX;
    unsigned kind;
    while ((kind = state_get_u8(s)) != LOCK_END) {
        uint64_t *left = kind == LOCK_WHOLE ? &wholes : &ranges;
        int rc = *left > 0 ? load_one(t, s, kind) : -EBADMSG;
        if (rc < 0)
            return rc;
        --*left;
    }
    return s->error;
}
