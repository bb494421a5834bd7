/* devices/fs/tree_priv.h - what the files of tree*.c share. Locks: `lock` of a tree guards its
 * tables, counts and names, and is never held over a call that may block; `lock` of a file guards
 * the position of its descriptor; `locks_lock` of a node its locks, and is held over fcntl()
 * and flock(), which do not wait. Order: locks_lock, then lock of the tree. */
#pragma once

#include <pthread.h>

#include "devices/fs/tree.h"

enum { TREE_RANGES_MAX = OPT_STRS_MAX, TREE_NOBODY = 65534 };
#define TREE_ID_MAX INT64_MAX /* the last node's, and the last handle: none is used twice */
#define TREE_STATX  (STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID)

/* Which file of the host's: two nodes never have the same. */
struct tree_key {
    uint64_t dev, ino, mnt;
};

struct tree_lock_owner;

struct tree_node {
    struct tree_node *next_by_id, *next_by_key;
    uint64_t id, lookups;
    unsigned refs; /* borrowers and open files */
    int fd;        /* O_PATH, or -ESTALE: the file was gone when this was loaded */
    mode_t type;   /* S_IFMT */
    bool known;    /* by its id; by its key it is for as long as it exists, if it was not lost */
    struct tree_key key;
    int64_t born; /* seconds: tells a new file with an old number, when loading */
    uint64_t parent;
    char *name; /* in the folder of that id, when last seen there; NULL: nowhere */
    pthread_mutex_t locks_lock;
    struct tree_lock_owner *locks;
    unsigned files; /* open */
    uint64_t round; /* the last of the tree's in which somebody who visits all was here */
    unsigned char loading;
};

struct tree_file {
    struct tree_file *next;
    uint64_t handle;
    struct tree_node *node; /* borrowed */
    int fd;                 /* or -ESTALE */
    unsigned flags, refs;
    short whole; /* flock(): F_RDLCK, F_WRLCK or F_UNLCK. locks_lock of the node guards it */
    pthread_mutex_t lock;
};

struct tree_ids {
    struct {
        uint32_t guest, host, count;
    } range[TREE_RANGES_MAX];
    unsigned n;
};

struct tree {
    int proc; /* /proc/self/fd */
    bool ro;
    bool privileged; /* may act for others */
    bool keeps_suid; /* setuid bits survive what we write, unless we clear them */
    bool mapped;     /* and only for those of the maps */
    struct tree_ids uids, gids;
    uid_t uid; /* our own */
    gid_t gid;
    gid_t *groups;
    int n_groups;
    uint64_t max_nodes, max_files; /* UINT64_MAX: its share of all there are */

    pthread_mutex_t lock;
    /* Tables of 1 << bits each. Who chooses ids, handles or inode numbers (a guest, a state) does
     * not know `odd`, and so cannot choose those that meet. */
    unsigned bits;
    uint64_t odd[3];
    struct tree_node **by_id, **by_key;
    struct tree_file **by_handle;
    struct tree_node *root;
    uint64_t last_id, last_handle;
    uint64_t round;
    uint64_t nodes, files; /* descriptors that are taken for them; files: lock owners too */
    unsigned locked;       /* ranges */
};

enum {
    TREE_OPEN_FLAGS = O_ACCMODE | O_APPEND | O_DIRECT | O_SYNC | O_DSYNC,
    TREE_OWNERS_MAX = 4096, /* of locks, for each node: they are gone through one by one */
    TREE_LOCKS_MAX = 8192,  /* ranges that are locked, of all owners and files of a tree */
};

/* errno as the guest shall see it: that we are out of descriptors is the system's limit to it. */
int tree_errno(void);

/* ---- tree_limits.c: descriptors, of which the whole process has only so many ---- */

void tree_share(bool more); /* a tree more, or one less, to share them */
/* `count` is &t->nodes or &t->files: how many there may be; one more, or -ENFILE; one less. */
uint64_t tree_most(const struct tree *t, const uint64_t *count);
int CHECKED tree_take_slot(struct tree *t, uint64_t *count);
void tree_give_slot(struct tree *t, uint64_t *count);

/* ---- tree_node.c ---- */

int CHECKED tree_check_name(const char *name);
/* One component, without following it; a descriptor or -errno. */
int CHECKED tree_openat(int folder, const char *name, unsigned flags, unsigned mode);
/* The same file once more. The caller has looked at its type. */
int CHECKED tree_reopen(const struct tree *t, int fd, unsigned flags);
/* With ids as the guest knows them. */
int CHECKED tree_statx(const struct tree *t, int fd, struct statx *out);
int CHECKED tree_refuse_proc(int fd); /* -EACCES: it is a file in /proc */
struct tree_key tree_key_of(const struct statx *st);
/* The node of what `fd` is, which takes `fd` and one slot of nodes, on failure too. The guest knows
 * it once more. `borrowed` may be NULL. */
int CHECKED tree_intern(struct tree *t, int fd, const struct tree_node *parent, const char *name,
                        struct tree_entry *out, struct tree_node **borrowed);
/* A node that is found in a folder under this name, if it is known. */
void tree_seen_at(struct tree *t, const struct tree_node *parent, const char *name);
struct tree_node *tree_node_new(void);
void tree_node_free(struct tree *t, struct tree_node *n);
static inline uint64_t tree_buckets(const struct tree *t)
{
    return 1ull << t->bits;
}
static inline uint64_t tree_bucket(const struct tree *t, uint64_t id)
{
    return id * t->odd[0] >> (64 - t->bits);
}
/* With the lock held. */
struct tree_node *tree_find(struct tree *t, uint64_t id);
struct tree_node *tree_find_key(struct tree *t, const struct tree_key *k);
void tree_insert(struct tree *t, struct tree_node *n);
void tree_remove(struct tree *t, struct tree_node *n);

/* ---- tree_ids.c ---- */

int CHECKED tree_ids_init(struct tree *t, const struct tree_config *c, struct err *e);
bool tree_to_host(const struct tree_ids *ids, uint32_t guest, uint32_t *host);
uint32_t tree_to_guest(const struct tree_ids *ids, uint32_t host);
/* Whether the guest may do `want` (R_OK, W_OK, X_OK, or TREE_OWNER: what only an owner may) to what
 * `fd` is: anything, unless there are maps and its owner is not in them; then what everybody may.
 */
enum { TREE_OWNER = 8 };
int CHECKED tree_may(const struct tree *t, int fd, int want);
/* False: there are maps, and its owner or group is not in them. A program of somebody else's keeps
 * no setuid bit when the guest may write to it, whatever the guest says: it is not the guest's
 * kernel that may have CAP_FSETID over it. */
bool tree_is_guests(const struct tree *t, int fd);
/* The calling thread creates as somebody else, with no umask, until tree_as_self(). */
struct tree_as {
    bool switched;
    mode_t umask;
    uint32_t caps[6];
};
int CHECKED tree_as_user(const struct tree *t, const struct tree_user *u, struct tree_as *as);
void tree_as_self(const struct tree *t, struct tree_as *as);

/* ---- tree_file.c ---- */

/* Takes `fd` and one slot of files, on failure too. *handle is 0, or the one it had. A negative
 * `fd` is that of a file that was lost. */
int CHECKED tree_file_add(struct tree *t, struct tree_node *n, int fd, unsigned flags,
                          uint64_t *handle);
/* The same, of a new one, and a negative `fd` is why it could not be opened. */
int CHECKED tree_file_opened(struct tree *t, struct tree_node *n, int fd, unsigned flags,
                             uint64_t *handle);
/* What an open is refused for, before anything is touched. */
int CHECKED tree_may_open(const struct tree *t, const struct tree_node *n, unsigned flags);

/* ---- tree_attr.c ---- */

int CHECKED tree_clear_suid(const struct tree *t, int fd);
int CHECKED tree_truncate(const struct tree *t, const struct tree_node *n, uint64_t size);

/* ---- tree_range.c ---- */

/* What an owner has locked of a file, in order, and as few as there can be: the kernel has one
 * record for each. */
struct tree_range {
    int64_t first, last; /* INT64_MAX: to the end, wherever that is */
    short type;          /* F_RDLCK or F_WRLCK */
};
struct tree_ranges {
    struct tree_range *v; /* free() */
    unsigned n;
};
/* What there will be once `l`, which is sane, has been done. */
int CHECKED tree_ranges_with(const struct tree_ranges *r, const struct flock *l,
                             struct tree_ranges *out);

/* ---- tree_lock.c ---- */

/* All of them, unless somebody has the file open again. */
void tree_locks_drop(struct tree *t, struct tree_node *n);
typedef void tree_owner_fn(uint64_t owner, const struct tree_ranges *held, void *arg);
void tree_locks_each(struct tree_node *n, tree_owner_fn *fn, void *arg);
/* As when it was first taken, whatever the file is open for: it may have been by another handle. */
int CHECKED tree_lock_again(struct tree *t, struct tree_file *f, uint64_t owner,
                            const struct flock *l, bool whole);

/* ---- tree_lock_state.c ---- */

void tree_locks_save(struct tree *t, struct state_out *s);
int CHECKED tree_locks_load(struct tree *t, struct state_in *s);
