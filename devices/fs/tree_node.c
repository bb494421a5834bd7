/* devices/fs/tree_node.c - the files that the guest knows: each once, whoever finds it and by
 * whatever name, for as long as the guest remembers it, has it open or somebody borrows it. */
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "devices/fs/tree_priv.h"

int tree_check_name(const char *name)
{
    size_t len = strnlen(name, TREE_NAME_MAX + 1);
    if (len > TREE_NAME_MAX)
        return -ENAMETOOLONG;
    if (len == 0 || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    return 0;
}

int tree_openat(int folder, const char *name, unsigned flags, unsigned mode)
{
    struct open_how how = {
        .flags = flags | O_NOFOLLOW | O_CLOEXEC,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, folder, name, &how, sizeof(how));
    return fd < 0 ? tree_errno() : (int)fd;
}

int tree_reopen(const struct tree *t, int fd, unsigned flags)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", fd);
    struct open_how how = {.flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY)};
    long again = syscall(SYS_openat2, t->proc, number, &how, sizeof(how));
    return again < 0 ? tree_errno() : (int)again;
}

int tree_statx(const struct tree *t, int fd, struct statx *out)
{
    struct statx st = {0};
    if (statx(fd, "", AT_EMPTY_PATH, TREE_STATX, &st) < 0)
        return tree_errno();
    st.stx_uid = tree_to_guest(&t->uids, st.stx_uid);
    st.stx_gid = tree_to_guest(&t->gids, st.stx_gid);
    *out = st;
    return 0;
}

struct tree_key tree_key_of(const struct statx *st)
{
    return (struct tree_key){.dev = makedev(st->stx_dev_major, st->stx_dev_minor),
                             .ino = st->stx_ino,
                             .mnt = st->stx_mnt_id};
}

static uint64_t key_bucket(const struct tree *t, const struct tree_key *k)
{
    return (k->ino * t->odd[0] + k->dev * t->odd[1] + k->mnt * t->odd[2]) >> (64 - t->bits);
}

static bool same(const struct tree_key *a, const struct tree_key *b)
{
    return a->ino == b->ino && a->dev == b->dev && a->mnt == b->mnt;
}

struct tree_node *tree_find(struct tree *t, uint64_t id)
{
    struct tree_node *n = t->by_id[tree_bucket(t, id)];
    while (n && n->id != id)
        n = n->next_by_id;
    return n;
}

struct tree_node *tree_find_key(struct tree *t, const struct tree_key *k)
{
    struct tree_node *n = t->by_key[key_bucket(t, k)];
    while (n && !same(&n->key, k))
        n = n->next_by_key;
    return n;
}

/* At the end: what is loaded as it was saved is saved so again. */
static void insert_id(struct tree *t, struct tree_node *n)
{
    struct tree_node **at = &t->by_id[tree_bucket(t, n->id)];
    while (*at)
        at = &(*at)->next_by_id;
    n->next_by_id = NULL;
    *at = n;
    n->known = true;
}

static void remove_id(struct tree *t, struct tree_node *n)
{
    struct tree_node **at = &t->by_id[tree_bucket(t, n->id)];
    while (*at != n)
        at = &(*at)->next_by_id;
    *at = n->next_by_id;
    n->known = false;
}

/* What is lost has no key, only what somebody says that it was. */
static void remove_key(struct tree *t, struct tree_node *n)
{
    if (n->fd < 0)
        return;
    struct tree_node **at = &t->by_key[key_bucket(t, &n->key)];
    while (*at != n)
        at = &(*at)->next_by_key;
    *at = n->next_by_key;
}

void tree_insert(struct tree *t, struct tree_node *n)
{
    insert_id(t, n);
    if (n->fd < 0)
        return;
    struct tree_node **at = &t->by_key[key_bucket(t, &n->key)];
    n->next_by_key = *at;
    *at = n;
}

void tree_remove(struct tree *t, struct tree_node *n)
{
    remove_id(t, n);
    remove_key(t, n);
}

struct tree_node *tree_node_new(void)
{
    struct tree_node *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    n->fd = -ESTALE;
    pthread_mutex_init(&n->locks_lock, NULL);
    return n;
}

void tree_node_free(struct tree *t, struct tree_node *n)
{
    if (!n)
        return;
    tree_locks_drop(t, n);
    if (n->fd >= 0)
        close(n->fd);
    pthread_mutex_destroy(&n->locks_lock);
    free(n->name);
    free(n);
    tree_give_slot(t, &t->nodes);
}

struct tree_node *tree_get(struct tree *t, uint64_t id)
{
    pthread_mutex_lock(&t->lock);
    struct tree_node *n = tree_find(t, id);
    if (n)
        n->refs++;
    pthread_mutex_unlock(&t->lock);
    return n;
}

void tree_put(struct tree *t, struct tree_node *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&t->lock);
    bool last = --n->refs == 0 && !n->known;
    if (last)
        remove_key(t, n);
    pthread_mutex_unlock(&t->lock);
    if (last)
        tree_node_free(t, n);
}

void tree_forget(struct tree *t, uint64_t id, uint64_t times)
{
    pthread_mutex_lock(&t->lock);
    struct tree_node *n = tree_find(t, id);
    bool last = false;
    if (n && n != t->root) {
        n->lookups -= MIN(n->lookups, times);
        if (n->lookups == 0)
            remove_id(t, n);
        last = n->lookups == 0 && n->refs == 0;
        if (last)
            remove_key(t, n);
    }
    pthread_mutex_unlock(&t->lock);
    if (last)
        tree_node_free(t, n);
}

/* The memory and the descriptors of processes, ours among them, are files in /proc. */
int tree_refuse_proc(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return tree_errno();
    return fs.f_type == PROC_SUPER_MAGIC ? -EACCES : 0;
}

/* Adds `fresh`, or says who was there before: one that the guest has open and had forgotten gets a
 * new id. NULL: there are no more ids. With the lock held. */
static struct tree_node *one_of(struct tree *t, struct tree_node *fresh)
{
    struct tree_node *n = tree_find_key(t, &fresh->key);
    if ((!n || !n->known) && t->last_id == TREE_ID_MAX)
        return NULL;
    if (!n) {
        n = fresh;
        n->id = ++t->last_id;
        tree_insert(t, n);
    } else if (!n->known) {
        n->id = ++t->last_id;
        insert_id(t, n);
    }
    n->lookups++;
    return n;
}

int tree_intern(struct tree *t, int fd, const struct tree_node *parent, const char *name,
                struct tree_entry *out, struct tree_node **borrowed)
{
    struct tree_node *fresh = tree_node_new();
    if (!fresh) {
        close(fd);
        tree_give_slot(t, &t->nodes);
        return -ENOMEM;
    }
    fresh->fd = fd;
    struct tree_entry entry = {0};
    int rc = tree_statx(t, fd, &entry.st);
    fresh->key = tree_key_of(&entry.st);
    if (rc == 0 && fresh->key.mnt != parent->key.mnt)
        rc = tree_refuse_proc(fd);
    fresh->name = strdup(name);
    if (rc == 0 && !fresh->name)
        rc = -ENOMEM;
    if (rc < 0) {
        tree_node_free(t, fresh);
        return rc;
    }
    fresh->type = entry.st.stx_mode & S_IFMT;
    fresh->born = entry.st.stx_btime.tv_sec;
    pthread_mutex_lock(&t->lock);
    struct tree_node *n = one_of(t, fresh);
    if (!n) {
        pthread_mutex_unlock(&t->lock);
        tree_node_free(t, fresh);
        return -ENFILE;
    }
    n->parent = parent->id;
    if (n != fresh) {
        char *old = n->name;
        n->name = fresh->name;
        fresh->name = old;
    }
    entry.id = n->id;
    if (borrowed) {
        n->refs++;
        *borrowed = n;
    }
    pthread_mutex_unlock(&t->lock);
    if (n != fresh)
        tree_node_free(t, fresh);
    *out = entry;
    return 0;
}

void tree_seen_at(struct tree *t, const struct tree_node *parent, const char *name)
{
    AUTO_FD fd = tree_openat(parent->fd, name, O_PATH, 0);
    AUTO_FREE char *copy = strdup(name);
    struct statx st = {0};
    if (fd < 0 || !copy || tree_statx(t, fd, &st) < 0)
        return;
    struct tree_key k = tree_key_of(&st);
    pthread_mutex_lock(&t->lock);
    struct tree_node *n = tree_find_key(t, &k);
    if (n && n != t->root) {
        free(n->name);
        n->name = TAKE_PTR(copy);
        n->parent = parent->id;
    }
    pthread_mutex_unlock(&t->lock);
}

uint64_t tree_nodes(struct tree *t)
{
    pthread_mutex_lock(&t->lock);
    uint64_t n = t->nodes;
    pthread_mutex_unlock(&t->lock);
    return n;
}
