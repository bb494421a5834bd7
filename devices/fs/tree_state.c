/* devices/fs/tree_state.c - what the guest knows and has open, saved as names in folders and found
 * again by them. Nothing that was saved is believed: a node is what its name leads to now, if that
 * is the same file still, and otherwise lost for good. */
#include <stdio.h>

#include "devices/fs/tree_priv.h"

static const char tag[4] = "FSTR";
enum { VERSION = 1, FILE_FLAGS = TREE_OPEN_FLAGS | O_DIRECTORY };

/* ---- Saving ---- */

typedef void visit_fn(struct tree_node *n, void *arg);

/* Each node once: those that are known, and those that are only open. With the lock held. */
static void each_node(struct tree *t, visit_fn *fn, void *arg)
{
    for (uint64_t i = 0; i < tree_buckets(t); i++) {
        for (struct tree_node *n = t->by_id[i]; n; n = n->next_by_id) {
            if (n != t->root)
                fn(n, arg);
        }
    }
    t->round++;
    for (uint64_t i = 0; i < tree_buckets(t); i++) {
        for (struct tree_file *f = t->by_handle[i]; f; f = f->next) {
            if (!f->node->known && f->node->round != t->round)
                fn(f->node, arg);
            f->node->round = t->round;
        }
    }
}

static void count_node(struct tree_node *n, void *arg)
{
    (void)n;
    ++*(uint32_t *)arg;
}

static void save_node(struct tree_node *n, void *arg)
{
    struct state_out *s = arg;
    state_u64(s, n->id);
    state_u64(s, n->parent);
    state_u64(s, n->known ? n->lookups : 0);
    state_u32(s, n->type);
    state_u64(s, n->key.dev);
    state_u64(s, n->key.ino);
    state_u64(s, (uint64_t)n->born);
    state_bytes(s, n->name, n->name ? strlen(n->name) : 0);
}

static void save_files(struct tree *t, struct state_out *s)
{
    uint32_t count = 0;
    for (uint64_t i = 0; i < tree_buckets(t); i++) {
        for (struct tree_file *f = t->by_handle[i]; f; f = f->next)
            count++;
    }
    state_u32(s, count);
    for (uint64_t i = 0; i < tree_buckets(t); i++) {
        for (struct tree_file *f = t->by_handle[i]; f; f = f->next) {
            state_u64(s, f->handle);
            state_u64(s, f->node->id);
            state_u32(s, f->flags);
        }
    }
}

void tree_save(struct tree *t, struct state_out *s)
{
    uint32_t count = 0;
    state_begin(s, tag, VERSION);
    pthread_mutex_lock(&t->lock);
    state_u64(s, t->last_id);
    state_u64(s, t->last_handle);
    each_node(t, count_node, &count);
    state_u32(s, count);
    each_node(t, save_node, s);
    save_files(t, s);
    pthread_mutex_unlock(&t->lock);
    tree_locks_save(t, s);
    state_end(s);
}

/* ---- Loading ---- */

enum { FOUND = 0, WAITING, ON_THE_WAY }; /* tree_node.loading */

static int load_name(struct state_in *s, struct tree_node *n)
{
    char name[TREE_NAME_MAX + 1];
    size_t len = state_get_blob(s, name, TREE_NAME_MAX);
    if (s->error || memchr(name, 0, len))
        return -EBADMSG;
    name[len] = 0;
    if (len && tree_check_name(name) < 0)
        return -EBADMSG;
    n->name = len ? strdup(name) : NULL;
    return len && !n->name ? -ENOMEM : 0;
}

static int load_node(struct tree *t, struct state_in *s)
{
    int rc = tree_take_slot(t, &t->nodes);
    if (rc < 0)
        return rc;
    struct tree_node *n = tree_node_new();
    if (!n) {
        tree_give_slot(t, &t->nodes);
        return -ENOMEM;
    }
    n->id = state_get_u64(s);
    n->parent = state_get_u64(s);
    n->lookups = state_get_u64(s);
    n->type = state_get_u32(s);
    n->key.dev = state_get_u64(s);
    n->key.ino = state_get_u64(s);
    n->born = (int64_t)state_get_u64(s);
    n->loading = WAITING;
    rc = load_name(s, n);
    pthread_mutex_lock(&t->lock);
    if (rc == 0 && (n->id <= TREE_ROOT || n->id > t->last_id || (n->type & ~(mode_t)S_IFMT) ||
                    tree_find(t, n->id)))
        rc = -EBADMSG;
    if (rc == 0)
        tree_insert(t, n);
    pthread_mutex_unlock(&t->lock);
    if (rc < 0)
        tree_node_free(t, n);
    return rc;
}

/* What is there now, if it is what was there then. */
static int same_as_before(struct tree *t, const struct tree_node *parent, const struct tree_node *n,
                          int fd, struct tree_key *k)
{
    struct statx st;
    int rc = tree_statx(t, fd, &st);
    if (rc < 0)
        return rc;
    *k = tree_key_of(&st);
    if (k->dev != n->key.dev || k->ino != n->key.ino || (st.stx_mode & S_IFMT) != n->type ||
        st.stx_btime.tv_sec != n->born)
        return -ESTALE;
    return k->mnt != parent->key.mnt ? tree_refuse_proc(fd) : 0;
}

static void find_again(struct tree *t, struct tree_node *n)
{
    struct tree_node *parent = tree_get(t, n->parent);
    struct tree_key k = n->key;
    AUTO_FD fd = -ESTALE;
    if (parent && parent->fd >= 0 && parent->loading == FOUND && n->name)
        fd = tree_openat(parent->fd, n->name, O_PATH, 0);
    bool ok = fd >= 0 && same_as_before(t, parent, n, fd, &k) == 0;
    pthread_mutex_lock(&t->lock);
    if (ok && !tree_find_key(t, &k)) {
        tree_remove(t, n);
        n->key = k;
        n->fd = TAKE_FD(fd);
        tree_insert(t, n);
    }
    pthread_mutex_unlock(&t->lock);
    n->loading = FOUND;
    tree_put(t, parent);
}

/* The folders on the way first, whatever their order was; `way` has room for all nodes. A way that
 * comes back to itself leads nowhere. */
static void find_with_folders(struct tree *t, struct tree_node *n, struct tree_node **way)
{
    size_t len = 0;
    while (n && n->loading == WAITING) {
        n->loading = ON_THE_WAY;
        way[len++] = n;
        pthread_mutex_lock(&t->lock);
        n = tree_find(t, n->parent);
        pthread_mutex_unlock(&t->lock);
    }
    while (len > 0)
        find_again(t, way[--len]);
}

static int load_nodes(struct tree *t, struct state_in *s)
{
    uint32_t count = state_get_u32(s);
    for (uint32_t i = 0; i < count; i++) {
        int rc = s->error ? -EBADMSG : load_node(t, s);
        if (rc < 0)
            return rc;
    }
    AUTO_FREE struct tree_node **all = calloc((size_t)count * 2 + 1, sizeof(struct tree_node *));
    if (!all)
        return -ENOMEM;
    size_t n = 0;
    for (uint64_t i = 0; i < tree_buckets(t); i++) {
        for (struct tree_node *at = t->by_id[i]; at; at = at->next_by_id) {
            if (at != t->root)
                all[n++] = at;
        }
    }
    for (size_t i = 0; i < n; i++)
        find_with_folders(t, all[i], all + count);
    return 0;
}

static int open_again(struct tree *t, struct tree_node *n, unsigned flags)
{
    if (flags & O_DIRECTORY) {
        bool ok = n->fd >= 0 && S_ISDIR(n->type) && tree_may(t, n->fd, R_OK) == 0;
        return ok ? tree_reopen(t, n->fd, O_RDONLY | O_DIRECTORY) : -ESTALE;
    }
    return tree_may_open(t, n, flags) < 0 ? -ESTALE : tree_reopen(t, n->fd, flags);
}

static int load_file(struct tree *t, struct state_in *s)
{
    uint64_t handle = state_get_u64(s), id = state_get_u64(s);
    unsigned flags = state_get_u32(s);
    struct tree_file *other = tree_file_get(t, handle);
    tree_file_put(t, other);
    if (s->error || other || handle == 0 || handle > t->last_handle ||
        (flags & ~(unsigned)FILE_FLAGS))
        return -EBADMSG;
    struct tree_node *n = tree_get(t, id);
    if (!n)
        return -EBADMSG;
    int rc = tree_take_slot(t, &t->files);
    if (rc == 0) {
        int fd = open_again(t, n, flags);
        rc = tree_file_add(t, n, fd < 0 ? -ESTALE : fd, flags, &handle);
    }
    tree_put(t, n);
    return rc;
}

static int load_all(struct tree *t, struct state_in *s)
{
    uint64_t last_id = state_get_u64(s), last_handle = state_get_u64(s);
    if (s->error || last_id > TREE_ID_MAX || last_handle > TREE_ID_MAX)
        return -EBADMSG;
    /* Never back: what was given out before must not be given out again. */
    t->last_id = MAX(t->last_id, last_id);
    t->last_handle = MAX(t->last_handle, last_handle);
    int rc = load_nodes(t, s);
    uint32_t count = rc == 0 ? state_get_u32(s) : 0;
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = load_file(t, s);
    return rc < 0 ? rc : tree_locks_load(t, s);
}

/* Nodes that were open but no longer known. */
static void forget_unknown(struct tree *t)
{
    for (uint64_t i = 0; i < tree_buckets(t); i++) {
        struct tree_node *next;
        for (struct tree_node *n = t->by_id[i]; n; n = next) {
            next = n->next_by_id;
            if (n->lookups == 0)
                tree_forget(t, n->id, 0);
        }
    }
}

int tree_load(struct tree *t, struct state_in *s)
{
    uint32_t version;
    tree_forget_all(t);
    const uint64_t id = t->last_id, handle = t->last_handle;
    int rc = state_open(s, tag, VERSION, &version);
    if (rc < 0)
        return rc;
    rc = load_all(t, s);
    if (rc == 0)
        rc = state_close(s);
    if (rc == 0) {
        forget_unknown(t);
        return 0;
    }
    tree_forget_all(t);
    t->last_id = id; /* nobody was given any meanwhile */
    t->last_handle = handle;
    return rc;
}
