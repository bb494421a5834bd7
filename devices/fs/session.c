/* devices/fs/session.c - a FUSE session: what device and driver agree on, and its end. */
#include "devices/fs/fs_priv.h"

uint64_t session_offer(const struct fs *fs)
{
    uint64_t f = FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS | FUSE_ATOMIC_O_TRUNC |
                 FUSE_BIG_WRITES | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO |
                 FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_MAX_PAGES | FUSE_INIT_EXT;
    if (fs->cache == FS_CACHE_AUTO)
        f |= FUSE_AUTO_INVAL_DATA;
    if (fs->cache == FS_CACHE_ALWAYS)
        f |= FUSE_CACHE_SYMLINKS | (fs->ro ? 0 : FUSE_WRITEBACK_CACHE);
    if (fs->window.host)
        f |= FUSE_MAP_ALIGNMENT;
    return f;
}

static void end(struct fs *fs)
{
    window_clear(&fs->window);
    tree_forget_all(fs->tree);
    fs->session.up = false;
    fs->session.minor = 0;
    fs->session.flags = 0;
}

void session_end(struct fs *fs)
{
    (void)pthread_rwlock_wrlock(&fs->session.lock);
    end(fs);
    (void)pthread_rwlock_unlock(&fs->session.lock);
}

/* 5.11.6.1: the next INIT ends the session, and begins one. */
int fuse_init(struct fuse_call *c)
{
    struct fs *fs = c->fs;
    struct fuse_init_in in = {0};
    memcpy(&in, c->arg, MIN(c->arg_len, sizeof(in)));
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION, .minor = FUSE_MINOR};
    if (in.major < FUSE_KERNEL_VERSION ||
        (in.major == FUSE_KERNEL_VERSION && in.minor < FUSE_MINOR_MIN))
        return -EPROTO;
    end(fs);
    if (in.major > FUSE_KERNEL_VERSION) { /* it will come again, with ours */
        FUSE_OUT(c, out);
        return 0;
    }
    uint64_t wants = in.flags;
    if (in.flags & FUSE_INIT_EXT && c->arg_len >= offsetof(struct fuse_init_in, unused))
        wants |= (uint64_t)in.flags2 << 32;
    fs->session.up = true;
    fs->session.minor = MIN(in.minor, (uint32_t)FUSE_MINOR);
    fs->session.flags = wants & session_offer(fs);
    out.max_readahead = in.max_readahead;
    out.flags = (uint32_t)fs->session.flags;
    out.flags2 = (uint32_t)(fs->session.flags >> 32);
    out.max_background = 64;
    out.congestion_threshold = 48;
    out.max_write = session_has(fs, FUSE_MAX_PAGES) ? FS_TRANSFER_MAX : 32 * FS_PAGE;
    out.time_gran = 1;
    if (session_has(fs, FUSE_MAX_PAGES))
        out.max_pages = FS_TRANSFER_MAX / FS_PAGE;
    if (session_has(fs, FUSE_MAP_ALIGNMENT))
        out.map_alignment = FS_MAP_SHIFT;
    FUSE_OUT(c, out);
    return 0;
}

int fuse_destroy(struct fuse_call *c)
{
    end(c->fs);
    return 0;
}
