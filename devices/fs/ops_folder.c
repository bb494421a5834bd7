/* devices/fs/ops_folder.c - FUSE requests about open folders. */
#include <dirent.h>

#include "devices/fs/fs_priv.h"

enum { ONE_ENTRY = 288 }; /* the longest that the host can have for us */

int fuse_opendir(struct fuse_call *c)
{
    struct fuse_open_out out = {
        .open_flags = c->fs->cache == FS_CACHE_ALWAYS ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR : 0};
    struct tree_node *n = fuse_node(c);
    int rc = n ? tree_open_folder(c->tree, n, &out.fh) : -ESTALE;
    tree_put(c->tree, n);
    if (rc < 0)
        return rc;
    FUSE_OUT(c, out);
    return 0;
}

int fuse_releasedir(struct fuse_call *c)
{
    const struct fuse_release_in in = FUSE_ARG(c, struct fuse_release_in);
    struct tree_file *f = tree_file_get(c->tree, in.fh);
    if (!f)
        return -EBADF;
    tree_file_put(c->tree, f);
    tree_close(c->tree, in.fh);
    return 0;
}

/* As getdents64() gives them. */
struct host_entry {
    uint64_t ino, off;
    uint16_t len;
    uint8_t type;
    char name[];
};

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void put_dirent(uint8_t *at, const struct host_entry *h, size_t name_len)
{
    const struct fuse_dirent d = {
        .ino = h->ino, .off = h->off, .namelen = (uint32_t)name_len, .type = h->type};
    memcpy(at, &d, FUSE_NAME_OFFSET);
    memcpy(at + FUSE_NAME_OFFSET, h->name, name_len);
}

/* Adds it to the answer, if there is room: with `folder`, and a look at what it is. One that has
 * gone since is told without: the guest will see for itself. */
static bool put_entry(struct fuse_call *c, size_t limit, const struct host_entry *h,
                      struct tree_node *folder)
{
    size_t name_len = strlen(h->name);
    size_t front = folder ? sizeof(struct fuse_entry_out) : 0;
    size_t len = front + FUSE_REC_ALIGN(FUSE_NAME_OFFSET + name_len);
    if (len > limit - c->out_len)
        return false;
    uint8_t *at = c->out + c->out_len;
    memset(at, 0, len);
    struct tree_entry e;
    if (folder && !is_dots(h->name) && tree_lookup(c->tree, folder, h->name, &e) == 0) {
        struct fuse_entry_out out;
        fuse_fill_entry(c->fs, &e, &out);
        memcpy(at, &out, sizeof(out));
    }
    put_dirent(at + front, h, name_len);
    c->out_len += len;
    return true;
}

static int read_folder(struct fuse_call *c, bool plus)
{
    const struct fuse_read_in in = FUSE_ARG(c, struct fuse_read_in);
    const size_t limit = MIN((size_t)in.size, c->out_max);
    /* Entries become longer on their way: 24 bytes at worst 32, or 160. What was read should fit:
     * in a folder that is being emptied, a tmpfs of Linux before 6.6 skips names when it is asked
     * for any other than the next. With too little room for that, what does not fit is read again.
     */
    const size_t want = MAX(plus ? limit / 160 * 24 : limit / 32 * 24, (size_t)ONE_ENTRY);
    AUTO_FREE uint8_t *buf = malloc(want);
    struct tree_file *f = tree_file_get(c->tree, in.fh);
    int rc = !f ? -EBADF : !buf ? -ENOMEM : tree_read_folder(c->tree, f, in.offset, buf, want);
    bool fits = true;
    for (size_t at = 0; rc > 0 && at < (size_t)rc && fits;) {
        const struct host_entry *h = (const void *)(buf + at);
        fits = put_entry(c, limit, h, plus ? tree_file_node(f) : NULL);
        at += h->len;
    }
    tree_file_put(c->tree, f);
    if (rc < 0)
        return rc;
    return rc > 0 && c->out_len == 0 ? -EINVAL : 0; /* no room for one: not the folder's end */
}

int fuse_readdir(struct fuse_call *c)
{
    return read_folder(c, false);
}

int fuse_readdirplus(struct fuse_call *c)
{
    return read_folder(c, true);
}
