/* devices/fs/tree_lock.c - locks that other processes of the host see and respect. Each owner in
 * the guest has a descriptor of its own for each file that it locks: OFD locks of one descriptor
 * are to those of another as POSIX has them between processes. */
#include <sys/file.h>

#include "devices/fs/tree_priv.h"

struct tree_lock_owner {
    struct tree_lock_owner *next;
    uint64_t owner;
    int fd;
    struct tree_ranges held;
};

/* `had` ranges become `now`, unless all together are more than `max` then. */
static bool count_ranges(struct tree *t, unsigned had, unsigned now, unsigned max)
{
    pthread_mutex_lock(&t->lock);
    bool ok = now <= had || t->locked - had + now <= max;
    if (ok)
        t->locked = t->locked - had + now;
    pthread_mutex_unlock(&t->lock);
    return ok;
}

/* With locks_lock held, all of these. */
static struct tree_lock_owner *find(struct tree_node *n, uint64_t owner)
{
    struct tree_lock_owner *o = n->locks;
    while (o && o->owner != owner)
        o = o->next;
    return o;
}

static void drop(struct tree *t, struct tree_lock_owner **at)
{
    struct tree_lock_owner *o = *at;
    *at = o->next;
    close(o->fd); /* with its locks */
    (void)count_ranges(t, o->held.n, 0, 0);
    free(o->held.v);
    free(o);
    tree_give_slot(t, &t->files);
}

static void drop_owner(struct tree *t, struct tree_node *n, uint64_t owner)
{
    struct tree_lock_owner **at = &n->locks;
    while (*at && (*at)->owner != owner)
        at = &(*at)->next;
    if (*at)
        drop(t, at);
}

/* For writing too, if the guest may: another file of the same owner's may be open for it. Where it
 * may not, a program would seem to be written to, and could not be run on the host. */
static int open_lock(const struct tree *t, const struct tree_node *n)
{
    bool may = !t->ro && S_ISREG(n->type) && tree_may(t, n->fd, W_OK) == 0;
    int fd = may ? tree_reopen(t, n->fd, O_RDWR) : -EACCES;
    return fd < 0 ? tree_reopen(t, n->fd, O_RDONLY) : fd;
}

static int add(struct tree *t, struct tree_node *n, uint64_t owner, struct tree_lock_owner **out)
{
    unsigned others = 0;
    for (struct tree_lock_owner *o = n->locks; o; o = o->next)
        others++;
    struct tree_lock_owner *o = others < TREE_OWNERS_MAX ? calloc(1, sizeof(*o)) : NULL;
    if (!o || tree_take_slot(t, &t->files) < 0) {
        free(o);
        return -ENOLCK;
    }
    o->owner = owner;
    o->fd = open_lock(t, n);
    if (o->fd < 0) {
        int rc = o->fd;
        free(o);
        tree_give_slot(t, &t->files);
        return rc;
    }
    o->next = n->locks;
    *out = n->locks = o;
    return 0;
}

static bool sane(const struct flock *l)
{
    return l->l_whence == SEEK_SET && l->l_start >= 0 && l->l_len >= 0 &&
           l->l_len <= INT64_MAX - l->l_start;
}

static int check(const struct tree_file *f, const struct flock *l)
{
    if (f->fd < 0)
        return f->fd;
    if (!sane(l))
        return -EINVAL;
    return l->l_type == F_UNLCK || l->l_type == F_RDLCK || l->l_type == F_WRLCK ? 0 : -EINVAL;
}

/* A lock to read is for who may read; to ask whether there is one, anybody may. */
static int may_lock(const struct tree_file *f, const struct flock *l)
{
    unsigned mode = f->flags & O_ACCMODE;
    return (l->l_type == F_RDLCK && mode == O_WRONLY) || (l->l_type == F_WRLCK && mode == O_RDONLY)
               ? -EBADF
               : 0;
}

int tree_lock_test(struct tree *t, struct tree_file *f, uint64_t owner, struct flock *l)
{
    (void)t;
    int rc = check(f, l);
    if (rc == 0 && l->l_type == F_UNLCK)
        rc = -EINVAL;
    if (rc < 0)
        return rc;
    struct flock got = *l;
    got.l_pid = 0;
    pthread_mutex_lock(&f->node->locks_lock);
    struct tree_lock_owner *o = find(f->node, owner);
    if (fcntl(o ? o->fd : f->fd, F_OFD_GETLK, &got) < 0)
        rc = tree_errno();
    pthread_mutex_unlock(&f->node->locks_lock);
    if (rc < 0)
        return rc;
    got.l_pid = 0; /* the host's processes are unknown in the guest, and its own are to us */
    *l = got;
    return 0;
}

/* Whoever asks for another type and does not get it has lost the one he had. */
static int lock_whole(struct tree_file *f, short type)
{
    int op = type == F_UNLCK ? LOCK_UN : type == F_RDLCK ? LOCK_SH : LOCK_EX;
    pthread_mutex_lock(&f->node->locks_lock);
    int rc = flock(f->fd, op | LOCK_NB) < 0 ? tree_errno() : 0;
    if (rc == 0 || rc == -EAGAIN)
        f->whole = (short)(rc == 0 ? type : F_UNLCK);
    pthread_mutex_unlock(&f->node->locks_lock);
    return rc;
}

static int set_held(struct tree *t, struct tree_lock_owner *o, const struct flock *l)
{
    struct tree_ranges wanted;
    struct flock in = *l;
    in.l_pid = 0;
    if (tree_ranges_with(&o->held, l, &wanted) < 0)
        return -ENOLCK;
    if (!count_ranges(t, o->held.n, wanted.n, TREE_LOCKS_MAX)) {
        free(wanted.v);
        return -ENOLCK;
    }
    if (fcntl(o->fd, F_OFD_SETLK, &in) < 0) {
        int rc = errno == EACCES ? -EAGAIN : tree_errno();
        (void)count_ranges(t, wanted.n, o->held.n, UINT32_MAX);
        free(wanted.v);
        return rc;
    }
    free(o->held.v);
    o->held = wanted;
    return 0;
}

/* `n->locks` has `o` only as long as it holds something. */
static int set(struct tree *t, struct tree_node *n, uint64_t owner, const struct flock *l)
{
    struct tree_lock_owner *o = find(n, owner);
    if (l->l_type == F_UNLCK && (!o || (l->l_start == 0 && l->l_len == 0))) {
        drop_owner(t, n, owner);
        return 0;
    }
    int rc = o ? 0 : add(t, n, owner, &o);
    if (rc < 0)
        return rc;
    rc = set_held(t, o, l);
    if (o->held.n == 0)
        drop_owner(t, n, owner);
    return rc;
}

int tree_lock(struct tree *t, struct tree_file *f, uint64_t owner, const struct flock *l,
              bool whole)
{
    if (whole) {
        bool known = l->l_type == F_UNLCK || l->l_type == F_RDLCK || l->l_type == F_WRLCK;
        return f->fd < 0 ? f->fd : known ? lock_whole(f, l->l_type) : -EINVAL;
    }
    int rc = check(f, l);
    if (rc == 0)
        rc = may_lock(f, l);
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&f->node->locks_lock);
    rc = set(t, f->node, owner, l);
    pthread_mutex_unlock(&f->node->locks_lock);
    return rc;
}

int tree_lock_again(struct tree *t, struct tree_file *f, uint64_t owner, const struct flock *l,
                    bool whole)
{
    if (f->fd < 0 || !sane(l))
        return -ESTALE;
    if (whole)
        return lock_whole(f, l->l_type);
    pthread_mutex_lock(&f->node->locks_lock);
    int rc = set(t, f->node, owner, l);
    pthread_mutex_unlock(&f->node->locks_lock);
    return rc;
}

void tree_locks_each(struct tree_node *n, tree_owner_fn *fn, void *arg)
{
    pthread_mutex_lock(&n->locks_lock);
    for (struct tree_lock_owner *o = n->locks; o; o = o->next)
        fn(o->owner, &o->held, arg);
    pthread_mutex_unlock(&n->locks_lock);
}

void tree_unlock_all(struct tree *t, struct tree_file *f, uint64_t owner)
{
    pthread_mutex_lock(&f->node->locks_lock);
    drop_owner(t, f->node, owner);
    pthread_mutex_unlock(&f->node->locks_lock);
}

void tree_locks_drop(struct tree *t, struct tree_node *n)
{
    pthread_mutex_lock(&n->locks_lock);
    pthread_mutex_lock(&t->lock);
    bool open = n->files > 0;
    pthread_mutex_unlock(&t->lock);
    while (!open && n->locks)
        drop(t, &n->locks);
    pthread_mutex_unlock(&n->locks_lock);
}
