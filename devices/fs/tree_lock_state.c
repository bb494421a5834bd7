/* devices/fs/tree_lock_state.c - the locks that are held, saved and taken again. The kernel knows
 * them and says so in /proc/self/fdinfo, so nobody has to keep a second account. */
#include <stdio.h>

#include "devices/fs/tree_priv.h"

enum { LOCK_END = 0, LOCK_RANGE, LOCK_WHOLE };

/* One of fdinfo's lines "lock: 1: OFDLCK ADVISORY WRITE -1 fe:00:12 0 EOF". */
static bool parse(const char *line, struct flock *l)
{
    char type[16], begin[32], end[32];
    if (sscanf(line, "lock: %*d: %*15s %*15s %15s %*d %*x:%*x:%*u %31s %31s", type, begin, end) !=
        3)
        return false;
    long long start = strtoll(begin, NULL, 10);
    long long last = strcmp(end, "EOF") == 0 ? -1 : strtoll(end, NULL, 10);
    *l = (struct flock){.l_type = strcmp(type, "WRITE") == 0 ? F_WRLCK : F_RDLCK,
                        .l_whence = SEEK_SET,
                        .l_start = start,
                        .l_len = last < 0 ? 0 : last - start + 1};
    return true;
}

static void save_locks_of(const struct tree *t, int fd, unsigned kind, uint64_t handle,
                          uint64_t owner, struct state_out *s)
{
    char name[32];
    AUTO_FREE char *line = NULL;
    size_t cap = 0;
    snprintf(name, sizeof(name), "../fdinfo/%d", fd);
    int info = openat(t->proc, name, O_RDONLY | O_CLOEXEC);
    FILE *file = info < 0 ? NULL : fdopen(info, "r");
    if (!file) {
        if (info >= 0)
            close(info);
        return;
    }
    while (getline(&line, &cap, file) > 0) {
        struct flock l;
        if (!parse(line, &l))
            continue;
        state_u8(s, (uint8_t)kind);
        state_u64(s, handle);
        state_u64(s, owner);
        state_u8(s, l.l_type == F_WRLCK);
        state_u64(s, (uint64_t)l.l_start);
        state_u64(s, (uint64_t)l.l_len);
    }
    (void)fclose(file);
}

struct saving {
    const struct tree *t;
    struct state_out *s;
    uint64_t handle;
};

static void save_owner(uint64_t owner, int fd, void *arg)
{
    struct saving *sv = arg;
    save_locks_of(sv->t, fd, LOCK_RANGE, sv->handle, owner, sv->s);
}

static void save_file(struct tree *t, struct tree_file *f, bool first, struct state_out *s)
{
    struct saving sv = {.t = t, .s = s, .handle = f->handle};
    if (f->fd < 0)
        return;
    save_locks_of(t, f->fd, LOCK_WHOLE, f->handle, 0, s);
    if (first)
        tree_locks_each(f->node, save_owner, &sv);
}

static struct tree_file *next_file(struct tree *t, unsigned *bucket, const struct tree_file *f,
                                   bool *first)
{
    pthread_mutex_lock(&t->lock);
    struct tree_file *next = f ? f->next : NULL;
    while (!next && *bucket < TREE_FILE_BUCKETS)
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
    unsigned bucket = 0;
    t->round++;
    struct tree_file *f = NULL, *next;
    for (; (next = next_file(t, &bucket, f, &first)); f = next) {
        tree_file_put(t, f);
        save_file(t, next, first, s);
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

int tree_locks_load(struct tree *t, struct state_in *s)
{
    unsigned kind;
    while ((kind = state_get_u8(s)) != LOCK_END) {
        int rc = load_one(t, s, kind);
        if (rc < 0)
            return rc;
    }
    return s->error;
}
