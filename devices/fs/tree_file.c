/* devices/fs/tree_file.c - files and folders that the guest has open. Only regular files and
 * folders ever are: what else there is might block, or do something, when it is opened. */
#include "devices/fs/tree_priv.h"

static bool writes(unsigned flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
}

/* At the end, as an id: tree_node.c. */
static void insert(struct tree *t, struct tree_file *f)
{
    struct tree_file **at = &t->by_handle[tree_bucket(t, f->handle)];
    while (*at)
        at = &(*at)->next;
    f->next = NULL;
    *at = f;
    f->node->files++;
}

static int not_added(struct tree *t, int fd, int rc)
{
    if (fd >= 0)
        close(fd);
    tree_give_slot(t, &t->files);
    return rc;
}

int tree_file_add(struct tree *t, struct tree_node *n, int fd, unsigned flags, uint64_t *handle)
{
    struct tree_file *f = calloc(1, sizeof(*f));
    if (!f)
        return not_added(t, fd, -ENOMEM);
    f->node = n;
    f->fd = fd;
    f->flags = flags;
    f->refs = 1;
    f->whole = F_UNLCK;
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutex_lock(&t->lock);
    bool loaded = *handle != 0, ok = loaded || t->last_handle < TREE_ID_MAX;
    if (ok) {
        n->refs++;
        f->handle = loaded ? *handle : ++t->last_handle;
        *handle = f->handle;
        insert(t, f);
    }
    pthread_mutex_unlock(&t->lock);
    if (ok)
        return 0;
    pthread_mutex_destroy(&f->lock);
    free(f);
    return not_added(t, fd, -ENFILE);
}

int tree_file_opened(struct tree *t, struct tree_node *n, int fd, unsigned flags, uint64_t *handle)
{
    uint64_t h = 0;
    if (fd < 0) {
        tree_give_slot(t, &t->files);
        return fd;
    }
    int rc = tree_file_add(t, n, fd, flags, &h);
    if (rc == 0)
        *handle = h;
    return rc;
}

int tree_may_open(const struct tree *t, const struct tree_node *n, unsigned flags)
{
    int want = (flags & O_ACCMODE) == O_WRONLY ? 0 : R_OK;
    if (n->fd < 0)
        return n->fd;
    if (S_ISDIR(n->type))
        return -EISDIR;
    if (S_ISLNK(n->type))
        return -ELOOP;
    if (!S_ISREG(n->type))
        return -EPERM;
    if ((flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    if (t->ro && writes(flags))
        return -EROFS;
    return tree_may(t, n->fd, want | (writes(flags) ? W_OK : 0));
}

static int open_file(struct tree *t, struct tree_node *n, unsigned flags, bool kill_suid)
{
    AUTO_FD fd = tree_reopen(t, n->fd, flags & TREE_OPEN_FLAGS);
    if (fd < 0)
        return fd;
    bool truncates = flags & O_TRUNC;
    bool kill = (truncates && kill_suid) || (writes(flags) && !tree_is_guests(t, n->fd));
    int rc = kill ? tree_clear_suid(t, n->fd) : 0;
    if (rc == 0 && truncates)
        rc = tree_truncate(t, n, 0);
    return rc < 0 ? rc : TAKE_FD(fd);
}

int tree_open(struct tree *t, const struct tree_user *u, struct tree_node *n, unsigned flags,
              bool kill_suid, uint64_t *handle)
{
    (void)u; /* the guest's kernel has looked at the mode, and knows all of its user's groups */
    int rc = tree_may_open(t, n, flags);
    if (rc == 0)
        rc = tree_take_slot(t, &t->files);
    if (rc < 0)
        return rc;
    int fd = open_file(t, n, flags, kill_suid);
    return tree_file_opened(t, n, fd, flags & TREE_OPEN_FLAGS, handle);
}

/* A new file, and only a new one: what stands there already may be no file at all. */
static int create_new(struct tree *t, const struct tree_user *u, const struct tree_node *n,
                      const char *name, uint32_t mode, unsigned flags)
{
    struct tree_as as;
    int fd = tree_as_user(t, u, &as);
    if (fd < 0)
        return fd;
    fd = tree_openat(n->fd, name, (flags & TREE_OPEN_FLAGS) | O_CREAT | O_EXCL | O_NOCTTY,
                     mode & 07777);
    tree_as_self(t, &as);
    return fd;
}

static int open_old(struct tree *t, const struct tree_user *u, struct tree_node *n,
                    const char *name, unsigned flags, bool kill_suid, struct tree_entry *out,
                    uint64_t *handle)
{
    struct tree_entry entry;
    int rc = tree_lookup(t, n, name, &entry);
    if (rc < 0)
        return rc;
    struct tree_node *old = tree_get(t, entry.id);
    rc = old ? tree_open(t, u, old, flags, kill_suid, handle) : -ESTALE;
    if (rc == 0 && (flags & O_TRUNC))
        rc = tree_stat(t, old, &entry.st);
    tree_put(t, old);
    if (rc == 0)
        *out = entry;
    else
        tree_forget(t, entry.id, 1);
    return rc;
}

/* The new file's node is what was opened, whatever has its name by now. `fd` and both slots are
 * taken, on failure too. */
static int create_done(struct tree *t, const struct tree_node *n, const char *name, int fd,
                       unsigned flags, struct tree_entry *out, uint64_t *handle)
{
    struct tree_node *made;
    struct tree_entry entry;
    int path = tree_reopen(t, fd, O_PATH);
    int rc = path < 0 ? path : tree_intern(t, path, n, name, &entry, &made);
    if (path < 0)
        tree_give_slot(t, &t->nodes);
    if (rc < 0) {
        close(fd);
        tree_give_slot(t, &t->files);
        return rc;
    }
    rc = tree_file_opened(t, made, fd, flags & TREE_OPEN_FLAGS, handle);
    tree_put(t, made);
    if (rc == 0)
        *out = entry;
    else
        tree_forget(t, entry.id, 1);
    return rc;
}

int tree_create(struct tree *t, const struct tree_user *u, struct tree_node *n, const char *name,
                uint32_t mode, unsigned flags, bool kill_suid, struct tree_entry *out,
                uint64_t *handle)
{
    int rc = tree_check_name(name);
    if (rc == 0 && t->ro)
        rc = -EROFS;
    if (rc == 0 && n->fd < 0)
        rc = n->fd;
    if (rc == 0 && (flags & O_ACCMODE) == O_ACCMODE)
        rc = -EINVAL;
    if (rc == 0)
        rc = tree_may(t, n->fd, W_OK | X_OK);
    if (rc == 0)
        rc = tree_take_slot(t, &t->nodes);
    if (rc < 0)
        return rc;
    rc = tree_take_slot(t, &t->files);
    if (rc < 0) {
        tree_give_slot(t, &t->nodes);
        return rc;
    }
    int fd = create_new(t, u, n, name, mode, flags);
    if (fd >= 0)
        return create_done(t, n, name, fd, flags, out, handle);
    tree_give_slot(t, &t->nodes);
    tree_give_slot(t, &t->files);
    if (fd == -EEXIST && !(flags & O_EXCL))
        return open_old(t, u, n, name, flags, kill_suid, out, handle);
    return fd;
}

static struct tree_file *find_file(struct tree *t, uint64_t handle)
{
    struct tree_file *f = t->by_handle[tree_bucket(t, handle)];
    while (f && f->handle != handle)
        f = f->next;
    return f;
}

struct tree_file *tree_file_get(struct tree *t, uint64_t handle)
{
    pthread_mutex_lock(&t->lock);
    struct tree_file *f = find_file(t, handle);
    if (f)
        f->refs++;
    pthread_mutex_unlock(&t->lock);
    return f;
}

void tree_file_put(struct tree *t, struct tree_file *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&t->lock);
    bool last = --f->refs == 0;
    bool unlock = last && --f->node->files == 0;
    pthread_mutex_unlock(&t->lock);
    if (!last)
        return;
    if (unlock)
        tree_locks_drop(t, f->node);
    if (f->fd >= 0)
        close(f->fd);
    tree_put(t, f->node);
    pthread_mutex_destroy(&f->lock);
    free(f);
    tree_give_slot(t, &t->files);
}

void tree_close(struct tree *t, uint64_t handle)
{
    pthread_mutex_lock(&t->lock);
    struct tree_file *f = find_file(t, handle);
    if (f) {
        struct tree_file **at = &t->by_handle[tree_bucket(t, handle)];
        while (*at != f)
            at = &(*at)->next;
        *at = f->next;
    }
    pthread_mutex_unlock(&t->lock);
    tree_file_put(t, f);
}

bool tree_file_put_open(struct tree *t, struct tree_file *f)
{
    pthread_mutex_lock(&t->lock);
    bool others = f->refs > 1;
    f->refs -= others;
    pthread_mutex_unlock(&t->lock);
    return others;
}

int tree_file_fd(const struct tree_file *f)
{
    return f->fd;
}

unsigned tree_file_flags(const struct tree_file *f)
{
    return f->flags;
}

struct tree_node *tree_file_node(const struct tree_file *f)
{
    return f->node;
}

uint64_t tree_files(struct tree *t)
{
    pthread_mutex_lock(&t->lock);
    uint64_t n = t->files;
    pthread_mutex_unlock(&t->lock);
    return n;
}
