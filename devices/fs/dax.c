/* devices/fs/dax.c - the DAX window (virtio 1.4, 5.11.6.4): memory of the device's in which the
 * guest sees pages of the host's page cache.
 *
 * Where nothing is mapped there is nothing: an access ends the guest, as one to any memory that is
 * not there does. We never touch the window ourselves. The list of mappings bounds what a guest can
 * take of the process's mappings, and lets them be saved. */
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "devices/fs/fs_priv.h"
#include "devices/hostmap.h"

int window_new(struct fs_window *w, uint64_t len)
{
    struct fs_mapping *map = calloc(FS_MAPPINGS_MAX + 2, sizeof(*map)); /* two splits */
    if (!map)
        return -ENOMEM;
    int rc = hostmap_reserve(len, &w->host);
    if (rc < 0) {
        free(map);
        return rc;
    }
    w->map = map;
    w->len = len;
    return 0;
}

/* There is always something of ours in the window: whatever the kernel would put into a hole of it,
 * a stack or memory of malloc()'s, the guest would see. What has failed has left the window as it
 * was: the kernel looks first whether the process may have so many mappings, and only what a file
 * system cannot refuse is done in place. But it may have run out of memory for its own records once
 * the old mapping was gone. */
static int empty(const struct fs_window *w, uint64_t off, uint64_t len, int how)
{
    return mmap(w->host + off, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | how,
                -1, 0) == MAP_FAILED
               ? -errno
               : 0;
}

static bool was_hole(const struct fs_window *w, uint64_t off, uint64_t len)
{
    return empty(w, off, len, MAP_FIXED_NOREPLACE) == 0;
}

static int take_away(const struct fs_window *w, uint64_t off, uint64_t len)
{
    int rc = empty(w, off, len, MAP_FIXED);
    return rc < 0 && was_hole(w, off, len) ? 0 : rc;
}

/* Files of huge pages can only be mapped, and taken away, in those. */
static bool has_small_pages(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type != HUGETLBFS_MAGIC;
}

/* Some file systems refuse a mapping late (FUSE and 9p without a cache, sysfs): it is made
 * elsewhere and then moved. */
static int put(const struct fs_window *w, const struct fs_mapping *m, int fd)
{
    int prot = PROT_READ | (m->writable ? PROT_WRITE : 0);
    if (!has_small_pages(fd))
        return -ENODEV;
    void *made = mmap(NULL, m->len, prot, MAP_SHARED | MAP_NORESERVE, fd, (off_t)m->foff);
    if (made == MAP_FAILED)
        return -errno;
    if (mremap(made, m->len, m->len, MREMAP_MAYMOVE | MREMAP_FIXED, w->host + m->off) != MAP_FAILED)
        return 0;
    int rc = -errno;
    (void)munmap(made, m->len);
    return rc;
}

/* --- the list, in order of offsets --- */

static atomic_uint in_all_windows;

/* About: another window may be changing. */
static bool has_room(const struct fs_window *w, unsigned n)
{
    return n <= FS_MAPPINGS_MAX && atomic_load(&in_all_windows) - w->n + n <= FS_MAPPINGS_ALL;
}

static void recount(struct fs_window *w)
{
    (void)atomic_fetch_add(&in_all_windows, w->n - atomic_exchange(&w->count, w->n));
}

static void erase(struct fs_window *w, unsigned i)
{
    memmove(&w->map[i], &w->map[i + 1], (--w->n - i) * sizeof(w->map[0]));
}

static void insert(struct fs_window *w, unsigned i, struct fs_mapping m)
{
    memmove(&w->map[i + 1], &w->map[i], (w->n++ - i) * sizeof(w->map[0]));
    w->map[i] = m;
}

/* What begins at `at`, or later: its index. */
static unsigned find(const struct fs_window *w, uint64_t at)
{
    unsigned lo = 0, hi = w->n;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (w->map[mid].off < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* A mapping that goes across `at` becomes two. */
static void split(struct fs_window *w, uint64_t at)
{
    unsigned i = find(w, at);
    struct fs_mapping *m = &w->map[i] - 1;
    if (i == 0 || m->off + m->len <= at)
        return;
    struct fs_mapping tail = *m;
    m->len = at - m->off;
    tail.off += m->len;
    tail.foff += m->len;
    tail.len -= m->len;
    insert(w, i, tail);
}

/* How many there are once [off, off + len) is empty. */
static unsigned without(const struct fs_window *w, uint64_t off, uint64_t len)
{
    unsigned first = find(w, off), behind = find(w, off + len);
    bool beyond = behind > 0 && w->map[behind - 1].off + w->map[behind - 1].len > off + len;
    return w->n - (behind - first) + beyond;
}

static void forget_range(struct fs_window *w, uint64_t off, uint64_t len)
{
    split(w, off);
    split(w, off + len);
    for (unsigned i = find(w, off); i < w->n && w->map[i].off < off + len;)
        erase(w, i);
}

int window_map(struct fs_window *w, const struct fs_mapping *m, int fd)
{
    (void)pthread_mutex_lock(&w->lock);
    int rc = has_room(w, without(w, m->off, m->len) + 1) ? put(w, m, fd) : -ENOSPC;
    if (rc == 0 || was_hole(w, m->off, m->len))
        forget_range(w, m->off, m->len);
    if (rc == 0)
        insert(w, find(w, m->off), *m);
    recount(w);
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

/* A hole in the middle is one mapping more. */
int window_unmap(struct fs_window *w, uint64_t off, uint64_t len)
{
    (void)pthread_mutex_lock(&w->lock);
    int rc = has_room(w, without(w, off, len)) ? take_away(w, off, len) : -ENOSPC;
    if (rc == 0)
        forget_range(w, off, len);
    recount(w);
    (void)pthread_mutex_unlock(&w->lock);
    return rc;
}

/* What cannot be taken away now is when the next session begins. */
void window_clear(struct fs_window *w)
{
    if (!w->host)
        return;
    (void)pthread_mutex_lock(&w->lock);
    if (w->n && take_away(w, 0, w->len) == 0)
        w->n = 0;
    recount(w);
    (void)pthread_mutex_unlock(&w->lock);
}

void window_free(struct fs_window *w)
{
    w->n = 0;
    recount(w);
    hostmap_free(w->host, w->len);
    free(w->map);
    (void)pthread_mutex_destroy(&w->lock);
}

/* --- requests --- */

static bool in_window(const struct fs_window *w, uint64_t off, uint64_t len)
{
    return len > 0 && (off | len) % FS_PAGE == 0 && off <= w->len && len <= w->len - off;
}

/* Linux has no handle at hand, and says so. */
static int open_for(struct fuse_call *c, struct tree_node *n, bool write, uint64_t *handle)
{
    return tree_open(c->tree, &c->user, n, write ? O_RDWR : O_RDONLY, false, handle);
}

static int map_by_handle(struct fuse_call *c, const struct fs_mapping *m, uint64_t handle,
                         const struct tree_node *n)
{
    struct tree_file *f = tree_file_get(c->tree, handle);
    if (!f)
        return -EBADF;
    int mode = (int)tree_file_flags(f) & O_ACCMODE;
    int fd = tree_file_fd(f);
    int rc = fd < 0                                                 ? fd
             : tree_file_node(f) != n                               ? -EBADF
             : mode == O_RDWR || (mode == O_RDONLY && !m->writable) ? 0
                                                                    : -EACCES;
    if (rc == 0 && m->writable)
        rc = tree_kill_suid(c->tree, f);
    if (rc == 0)
        rc = window_map(&c->fs->window, m, fd);
    tree_file_put(c->tree, f);
    return rc;
}

int fuse_setupmapping(struct fuse_call *c)
{
    const struct fuse_setupmapping_in in = FUSE_ARG(c, struct fuse_setupmapping_in);
    const uint64_t known = FUSE_SETUPMAPPING_FLAG_READ | FUSE_SETUPMAPPING_FLAG_WRITE;
    struct fs_window *w = &c->fs->window;
    if (!w->host)
        return -ENOSYS;
    if (!in_window(w, in.moffset, in.len) || in.foffset % FS_PAGE ||
        in.foffset > INT64_MAX - in.len || !in.flags || in.flags & ~known)
        return -EINVAL;
    const struct fs_mapping m = {.off = in.moffset,
                                 .len = in.len,
                                 .node = c->r->h.nodeid,
                                 .foff = in.foffset,
                                 .writable = in.flags & FUSE_SETUPMAPPING_FLAG_WRITE};
    struct tree_node *n = fuse_node(c);
    if (!n)
        return -ESTALE;
    uint64_t handle = in.fh;
    bool own = in.fh == UINT64_MAX;
    int rc = own ? open_for(c, n, m.writable, &handle) : 0;
    bool opened = own && rc == 0;
    if (rc == 0)
        rc = map_by_handle(c, &m, handle, n);
    if (opened)
        tree_close(c->tree, handle);
    tree_put(c->tree, n);
    return rc;
}

int fuse_removemapping(struct fuse_call *c)
{
    const struct fuse_removemapping_in in = FUSE_ARG(c, struct fuse_removemapping_in);
    struct fs_window *w = &c->fs->window;
    struct fuse_removemapping_one one;
    if (!w->host)
        return -ENOSYS;
    if (in.count != (c->arg_len - sizeof(in)) / sizeof(one) ||
        (c->arg_len - sizeof(in)) % sizeof(one))
        return -EINVAL;
    for (size_t at = sizeof(in); at < c->arg_len; at += sizeof(one)) { /* all are looked at first */
        memcpy(&one, c->arg + at, sizeof(one));
        if (!in_window(w, one.moffset, one.len))
            return -EINVAL;
    }
    int rc = 0;
    for (size_t at = sizeof(in); rc == 0 && at < c->arg_len; at += sizeof(one)) {
        memcpy(&one, c->arg + at, sizeof(one));
        rc = window_unmap(w, one.moffset, one.len);
    }
    return rc;
}

/* --- state: a mapping is where the guest knows it, so it is made anew --- */

void window_save(const struct fs *fs, struct state_out *s)
{
    const struct fs_window *w = &fs->window;
    state_begin(s, "FDAX", 1);
    state_u64(s, w->len);
    state_u32(s, w->n);
    for (unsigned i = 0; i < w->n; i++) {
        state_u64(s, w->map[i].off);
        state_u64(s, w->map[i].len);
        state_u64(s, w->map[i].node);
        state_u64(s, w->map[i].foff);
        state_u8(s, w->map[i].writable);
    }
    state_end(s);
}

/* A file that is not what it was any more leaves a hole: whoever looks there meets nothing, and not
 * another file. */
static void map_anew(struct fs *fs, const struct fs_mapping *m)
{
    const struct tree_user nobody = {0};
    uint64_t handle;
    struct tree_node *n = tree_get(fs->tree, m->node);
    if (n &&
        tree_open(fs->tree, &nobody, n, m->writable ? O_RDWR : O_RDONLY, false, &handle) == 0) {
        struct tree_file *f = tree_file_get(fs->tree, handle);
        if (tree_file_fd(f) >= 0)
            (void)(window_map(&fs->window, m, tree_file_fd(f)) == 0);
        tree_file_put(fs->tree, f);
        tree_close(fs->tree, handle);
    }
    tree_put(fs->tree, n);
}

int window_load(struct fs *fs, struct state_in *s)
{
    struct fs_window *w = &fs->window;
    uint32_t version;
    int rc = state_open(s, "FDAX", 1, &version);
    if (rc < 0)
        return rc;
    uint64_t len = state_get_u64(s), end = 0;
    uint32_t n = state_get_u32(s);
    if (len != w->len || n > (w->host ? FS_MAPPINGS_MAX : 0))
        return -EBADMSG;
    for (uint32_t i = 0; i < n && !s->error; i++) {
        struct fs_mapping m = {.off = state_get_u64(s), .len = state_get_u64(s)};
        m.node = state_get_u64(s);
        m.foff = state_get_u64(s);
        uint8_t writable = state_get_u8(s);
        if (s->error || writable > 1 || !in_window(w, m.off, m.len) || m.off < end ||
            m.foff % FS_PAGE || m.foff > INT64_MAX - m.len)
            return -EBADMSG;
        m.writable = writable;
        end = m.off + m.len;
        map_anew(fs, &m);
    }
    return state_close(s);
}
