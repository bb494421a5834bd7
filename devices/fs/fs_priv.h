/* devices/fs/fs_priv.h - a file system device from inside (virtio 1.4, 5.11): queues and requests
 * (fs.c), what waits for a lock (waits.c), the FUSE protocol (fuse.c, session.c, ops_*.c), and the
 * window of mapped files (dax.c). The host's folder is behind tree.h.
 *
 * The loop owns queues, requests and counters. A request is carried out by a thread of a pool, from
 * its arguments to its answer, or by the loop if it is a READ of what is in memory; what those
 * threads share is the session, the tree and the window. */
#pragma once

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "base/loop.h"
#include "devices/fs/tree.h"
#include "devices/virtio/vdev.h"

#define FUSE_INIT_ARG_MIN offsetof(struct fuse_init_in, flags2) /* before INIT_EXT */

/* The pools, whose threads have the names of their lists of system calls. */
#define FS_NAMES "fs"
#define FS_DATA  "fs-data"
extern const struct sandbox_list fs_names, fs_data;

enum {
    FS_HIPRIO = 0,
    FS_REQUEST = 1,
    FS_QUEUES_MAX = 64,
    FS_TRANSFER_MAX = 1 << 20, /* bytes of one READ or WRITE */
    FS_NOW_MAX = 128 << 10,  /* of one READ that the loop does by itself: less than a hop costs, */
    FS_NOW_TURN = 1 << 20,   /* and of all of them, before threads share the rest */
    FS_WAITS_MAX = 512,      /* requests for a lock that wait: a ring of them */
    FS_PAGE = 4096,          /* FUSE counts a request's data in these */
    FS_MAPPINGS_MAX = 4096,  /* of a window, */
    FS_MAPPINGS_ALL = 16384, /* of all: each is two or three of the process's 65530 */
    FS_MAP_SHIFT = 12,
    FUSE_MINOR = 37,
    FUSE_MINOR_MIN = 31, /* Linux 5.4, the first with a driver */
};
#define FS_WINDOW_MIN MIB(2)
#define FS_WINDOW_MAX GIB(8) /* in the pieces of 2 MiB that Linux maps, FS_MAPPINGS_MAX */

enum fs_cache { FS_CACHE_NONE, FS_CACHE_AUTO, FS_CACHE_ALWAYS };

/* What INIT has agreed on. Written with the lock held for writing, when nothing else runs. */
struct fs_session {
    pthread_rwlock_t lock;
    bool up;
    uint32_t minor;
    uint64_t flags; /* FUSE_ of INIT, that both want */
};

struct fs_mapping {
    uint64_t off, len; /* in the window */
    uint64_t node, foff;
    bool writable;
};
struct fs_window {
    uint8_t *host; /* NULL: there is none */
    uint64_t len;
    pthread_mutex_t lock; /* what is mapped; held over mmap(), for which NFS asks its server */
    struct fs_mapping *map;
    unsigned n;
    atomic_uint count; /* n, for those who must not wait */
};

struct fs_req;
struct fs {
    struct loop *loop;
    struct vdev *dev;
    char name[64]; /* for the log */
    char tag[36];
    uint32_t queues;
    enum fs_cache cache;
    bool ro;
    struct tree *tree;
    /* Requests about names and attributes; about what is in open files and folders; and FORGET,
     * which a stuck folder must not keep waiting. */
    struct loop_pool *names, *data, *hiprio;
    struct fs_session session;
    struct fs_window window;
    /* Of each queue: nobody waits for its results any more. The threads look at it. */
    atomic_bool aborting[FS_REQUEST + FS_QUEUES_MAX];

    /* The loop's. */
    bool draining[FS_REQUEST + FS_QUEUES_MAX];
    struct {
        struct fs_req *first; /* SETLKW, from the ring to its answer */
        uint64_t freed;       /* how often a lock may have gone */
        uint64_t early[8];    /* INTERRUPTs that came before what they interrupt */
        unsigned n_early, n, n_parked;
        struct loop_timer timer;
    } waits;
    struct log_limit full;
    struct {
        uint64_t requests, failed, forgets, interrupts, read_bytes, write_bytes;
    } count;
};

enum fs_outcome { FS_DONE, FS_PARK, FS_WAITS /* a thread has to do it */ };
struct fs_req { /* vq_req_state() */
    struct loop_work work;
    struct fs *fs;
    struct vq *q;
    struct vq_req *req;
    struct fuse_in_header h; /* the only copy */
    unsigned queue;
    /* What a thread tells the loop. */
    enum fs_outcome outcome;
    uint32_t written;
    int error;
    bool frees_locks;
    uint64_t read_bytes, write_bytes;
    struct tree_file *late; /* what the loop could not put back, for a thread to do so */
    /* The loop's, of SETLKW. */
    bool waits, parked, interrupted;
    uint64_t freed;
    struct fs_req *next, **at; /* what points here */
};

/* ---- fuse.c ---- */

/* On a thread: does what is asked and writes the answer, or says in `outcome` that it must be tried
 * again. */
void fuse_serve(struct fs_req *r);
/* The same on the loop, of a READ of at most `most` bytes that need not be waited for. False:
 * nothing is done, a thread has to. */
bool CHECKED fuse_serve_now(struct fs_req *r, size_t most);
/* Whose threads it is for. */
struct loop_pool *fuse_pool(const struct fs_req *r);
void fuse_refuse(struct fs_req *r, int rc); /* with an error; anywhere */

/* One request while it is carried out. */
struct fuse_call {
    struct fs *fs;
    struct fs_req *r;
    struct tree *tree;
    struct tree_user user;
    const uint8_t *arg; /* private, with a zero behind it */
    size_t arg_len;
    uint8_t *out; /* becomes the answer's payload */
    size_t out_len, out_max;
    bool direct; /* the payload is where it belongs already, out_len bytes */
    size_t now;  /* 0, or on the loop: the most that it may read, without waiting */
};
typedef int fuse_fn(struct fuse_call *c); /* 0 or what the guest is to see */
struct fuse_op {
    fuse_fn *fn;
    uint16_t arg_min; /* bytes before names and the like */
    uint16_t out_min; /* bytes that an answer has at least: no room, no deed */
    uint32_t arg_max; /* more is refused, unless it is data */
    uint32_t out_max;
    bool arg_data;    /* behind arg_max bytes is what fn reads by itself */
    bool frees_locks; /* a lock may be gone afterwards */
    bool alone;       /* nothing else may run */
    bool data;        /* for the threads of fs->data */
};
extern const struct fuse_op fuse_ops[];
extern const size_t fuse_n_ops;

/* The fixed argument; what the row asks for is there. */
#define FUSE_ARG(c, type)                                                                          \
    ({                                                                                             \
        type fuse_arg_;                                                                            \
        memcpy(&fuse_arg_, (c)->arg, sizeof(fuse_arg_));                                           \
        fuse_arg_;                                                                                 \
    })
#define FUSE_OUT(c, value)                                                                         \
    do {                                                                                           \
        memcpy((c)->out, &(value), sizeof(value));                                                 \
        (c)->out_len = sizeof(value);                                                              \
    } while (0)
/* The n names that begin at `at` and fill the argument to its end, each with its zero. */
int CHECKED fuse_strings(const struct fuse_call *c, size_t at, const char **name, unsigned n);

/* The node that the request is about; put it back. */
struct tree_node *fuse_node(struct fuse_call *c);
void fuse_fill_attr(const struct statx *st, struct fuse_attr *a);
void fuse_fill_entry(const struct fs *fs, const struct tree_entry *e, struct fuse_entry_out *out);
uint64_t fuse_valid_s(const struct fs *fs); /* how long the guest may believe what it knows */

fuse_fn fuse_init, fuse_destroy;
fuse_fn fuse_lookup, fuse_readlink, fuse_symlink, fuse_mknod, fuse_mkdir, fuse_unlink, fuse_rmdir,
    fuse_rename, fuse_rename2, fuse_link;
fuse_fn fuse_getattr, fuse_setattr, fuse_statfs, fuse_access, fuse_syncfs, fuse_setxattr,
    fuse_getxattr, fuse_listxattr, fuse_removexattr;
fuse_fn fuse_open, fuse_create, fuse_read, fuse_write, fuse_release, fuse_flush, fuse_fsync,
    fuse_fallocate, fuse_lseek, fuse_copy;
fuse_fn fuse_opendir, fuse_readdir, fuse_readdirplus, fuse_releasedir;
fuse_fn fuse_getlk, fuse_setlk, fuse_setlkw;
fuse_fn fuse_setupmapping, fuse_removemapping;

/* ---- session.c: with session.lock ---- */

void session_end(struct fs *fs); /* nothing is known, open, locked or mapped */
uint64_t session_offer(const struct fs *fs);
static inline bool session_has(const struct fs *fs, uint64_t flag)
{
    return fs->session.flags & flag;
}

/* ---- dax.c ---- */

int CHECKED window_new(struct fs_window *w, uint64_t len);
void window_free(struct fs_window *w);
void window_clear(struct fs_window *w);
/* Over [off, off + len), which is inside and aligned, whatever was there; `fd` is only used here.
 */
int CHECKED window_map(struct fs_window *w, const struct fs_mapping *m, int fd);
int CHECKED window_unmap(struct fs_window *w, uint64_t off, uint64_t len);
void window_save(const struct fs *fs, struct state_out *s);
int CHECKED window_load(struct fs *fs, struct state_in *s);

/* ---- waits.c: the loop's ---- */

int CHECKED waits_init(struct fs *fs);
void waits_free(struct fs *fs);
bool CHECKED waits_add(struct fs_req *r); /* false: too many do */
/* It was tried: true when it goes on waiting, false when it has to be answered. */
bool waits_park(struct fs_req *r);
void waits_remove(struct fs_req *r);
void waits_retry(struct fs *fs);                      /* a lock may have gone */
void waits_interrupt(struct fs *fs, uint64_t unique); /* FUSE_INTERRUPT */
void waits_forget(struct fs *fs); /* a driver begins anew, and so do its numbers */
void waits_end_queue(struct fs *fs, unsigned queue); /* it stops */

/* ---- fs.c ---- */

void fs_try(struct fs_req *r); /* hands it to a thread, for the first time or again */
void fs_answer_error(struct fs_req *r, int rc); /* on the loop */
