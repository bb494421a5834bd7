/* devices/fs/tree.c - see tree.h: setting up, letting go. */
#include "devices/fs/tree.h"

#include <sys/random.h>

#include "base/jail.h"
#include "devices/fs/tree_priv.h"

enum { BITS_MIN = 8, BITS_MAX = 17 };

static int open_proc(struct tree *t, struct err *e)
{
    t->proc = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (t->proc < 0)
        return err_host(e, -errno, "a shared folder needs /proc/self/fd");
    /* Something else may be mounted there. */
    AUTO_FD again = tree_reopen(t, t->proc, O_PATH);
    struct stat a, b;
    if (again < 0 || fstat(t->proc, &a) < 0 || fstat(again, &b) < 0 || a.st_dev != b.st_dev ||
        a.st_ino != b.st_ino)
        return err_host(e, 0, "a shared folder needs /proc/self/fd: what is there is not /proc");
    return 0;
}

static int open_root(struct tree *t, const char *dir, struct err *e)
{
    int rc = tree_take_slot(t, &t->nodes);
    if (rc < 0)
        return err_host(e, rc, "shared folder %s", dir);
    struct tree_node *n = t->root = tree_node_new();
    if (!n) {
        tree_give_slot(t, &t->nodes);
        return err_host(e, -ENOMEM, "shared folder %s", dir);
    }
    n->fd = jail_open_folder(dir);
    if (n->fd < 0)
        return err_input(e, -errno, "shared folder %s", dir);
    struct statx st;
    rc = tree_statx(t, n->fd, &st);
    if (rc == 0)
        rc = tree_refuse_proc(n->fd);
    if (rc < 0)
        return err_host(e, rc, "shared folder %s", dir);
    if (!(st.stx_mask & STATX_MNT_ID))
        return err_host(e, 0, "a shared folder needs a kernel of 5.8 or newer");
    AUTO_FD probe = tree_openat(n->fd, ".", O_PATH, 0);
    if (probe < 0)
        return err_host(e, probe, "shared folder %s: openat2()", dir);
    sandbox_path(dir, t->ro ? SANDBOX_READ : SANDBOX_WRITE);
    n->id = TREE_ROOT;
    n->lookups = 1;
    n->type = S_IFDIR;
    n->key = tree_key_of(&st);
    n->born = st.stx_btime.tv_sec;
    tree_insert(t, n);
    t->last_id = TREE_ROOT;
    return 0;
}

static int make_tables(struct tree *t, struct err *e)
{
    t->bits = BITS_MIN;
    while (tree_buckets(t) < tree_most(t, &t->nodes) && t->bits < BITS_MAX)
        t->bits++;
    if (getrandom(t->odd, sizeof(t->odd), 0) != sizeof(t->odd))
        return err_host(e, -errno, "a shared folder: random numbers");
    for (size_t i = 0; i < ARRAY_SIZE(t->odd); i++)
        t->odd[i] |= 1;
    t->by_id = calloc(tree_buckets(t), sizeof(struct tree_node *));
    t->by_key = calloc(tree_buckets(t), sizeof(struct tree_node *));
    t->by_handle = calloc(tree_buckets(t), sizeof(struct tree_file *));
    if (!t->by_id || !t->by_key || !t->by_handle)
        return err_host(e, -ENOMEM, "a shared folder");
    return 0;
}

static int set_up(struct tree *t, const struct tree_config *c, struct err *e)
{
    int rc = open_proc(t, e);
    if (rc == 0)
        rc = tree_ids_init(t, c, e);
    if (rc < 0)
        return rc;
    t->ro = c->ro;
    t->max_nodes = c->max_nodes ? c->max_nodes : UINT64_MAX;
    t->max_files = c->max_files ? c->max_files : UINT64_MAX;
    rc = make_tables(t, e);
    return rc < 0 ? rc : open_root(t, c->dir, e);
}

int tree_new(const struct tree_config *c, struct tree **out, struct err *e)
{
    struct tree *t = calloc(1, sizeof(*t));
    if (!t)
        return err_host(e, -ENOMEM, "a shared folder");
    t->proc = -1;
    tree_share(true);
    pthread_mutex_init(&t->lock, NULL);
    int rc = set_up(t, c, e);
    if (rc == 0)
        *out = t;
    else
        tree_free(t);
    return rc;
}

static struct tree_file *any_file(struct tree *t, uint64_t *bucket)
{
    while (*bucket < tree_buckets(t) && !t->by_handle[*bucket])
        ++*bucket;
    return *bucket < tree_buckets(t) ? t->by_handle[*bucket] : NULL;
}

static void close_all(struct tree *t)
{
    uint64_t bucket = 0;
    for (;;) {
        pthread_mutex_lock(&t->lock);
        struct tree_file *f = any_file(t, &bucket);
        uint64_t handle = f ? f->handle : 0;
        pthread_mutex_unlock(&t->lock);
        if (!f)
            return;
        tree_close(t, handle);
    }
}

static void forget_bucket(struct tree *t, uint64_t bucket)
{
    for (;;) {
        pthread_mutex_lock(&t->lock);
        struct tree_node *n = t->by_id[bucket];
        while (n && n == t->root)
            n = n->next_by_id;
        uint64_t id = n ? n->id : 0;
        pthread_mutex_unlock(&t->lock);
        if (!n)
            return;
        tree_forget(t, id, UINT64_MAX);
    }
}

void tree_forget_all(struct tree *t)
{
    close_all(t);
    for (uint64_t i = 0; i < tree_buckets(t); i++)
        forget_bucket(t, i);
}

void tree_free(struct tree *t)
{
    if (!t)
        return;
    if (t->by_id && t->by_key && t->by_handle)
        tree_forget_all(t);
    tree_node_free(t, t->root);
    if (t->proc >= 0)
        close(t->proc);
    free(t->by_id);
    free(t->by_key);
    free(t->by_handle);
    free(t->groups);
    pthread_mutex_destroy(&t->lock);
    tree_share(false);
    free(t);
}
