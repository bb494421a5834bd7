/* tests/race/race_tree.c - a shared folder that several of the guest's threads use at once, while
 * somebody on the host puts a link to a folder outside in the place of one inside, again and again;
 * under ThreadSanitizer. Exits with 0 when nothing outside was ever found, opened or changed. */
#include <dirent.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

#include "devices/fs/tree.h"
#include "tests/rig/claim.h"

enum { ROUNDS = 12000, WORKERS = 4, HANDLES = 8, IDS = 4096 };

static struct tree *t;
static char top[] = "/tmp/race_tree_XXXXXX", path[6][64];
enum { SHARE, OUTSIDE, CANARY, FOLDER, LINK, INSIDE };
static struct stat canary, outside;
static atomic_bool done, failed;
static atomic_uint opened, found, swapped, moved, locked;

#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "race_tree: %d: %s (%s)\n", __LINE__, #what, strerror(errno));         \
            failed = true;                                                                         \
        }                                                                                          \
    } while (0)

static void make_file(const char *name, const char *text)
{
    int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
    MUST(fd >= 0 && write(fd, text, strlen(text)) > 0);
    close(fd);
}

static void make_folders(void)
{
    static const char *const names[] = {"share",      "outside", "outside/canary",
                                        "share/here", "share/l", "share/here/canary"};
    MUST(mkdtemp(top));
    for (unsigned i = 0; i < 6; i++)
        snprintf(path[i], sizeof(path[i]), "%s/%s", top, names[i]);
    MUST(mkdir(path[SHARE], 0777) == 0 && mkdir(path[OUTSIDE], 0777) == 0);
    MUST(mkdir(path[FOLDER], 0777) == 0 && symlink("../outside", path[LINK]) == 0);
    make_file(path[CANARY], "canary");
    make_file(path[INSIDE], "inside");
    MUST(stat(path[CANARY], &canary) == 0 && stat(path[OUTSIDE], &outside) == 0);
}

/* The host's side: what is a folder is a link to outside, and the other way around. */
static void *swap(void *arg)
{
    (void)arg;
    while (!done) {
        if (syscall(SYS_renameat2, AT_FDCWD, path[FOLDER], AT_FDCWD, path[LINK], RENAME_EXCHANGE) ==
            0)
            swapped++;
    }
    return NULL;
}

struct worker {
    unsigned seed;
    uint64_t handles[HANDLES];
    struct tree_user u;
};

static unsigned any(struct worker *w, unsigned n)
{
    w->seed = w->seed * 1103515245 + 12345;
    return (w->seed >> 16) % n;
}

static void see(const struct statx *st)
{
    MUST(st->stx_ino != canary.st_ino && st->stx_ino != outside.st_ino);
}

static const char *const names[] = {"here", "l", "canary", "a", "b", "c"};

static const char *name_of(struct worker *w)
{
    return names[any(w, 6)];
}

/* The root, a folder that is looked for now, or an id of anybody's. */
static struct tree_node *some(struct worker *w)
{
    struct tree_entry en;
    unsigned how = any(w, 8);
    if (how == 0)
        return tree_get(t, TREE_ROOT);
    if (how == 1)
        return tree_get(t, any(w, IDS));
    struct tree_node *root = tree_get(t, TREE_ROOT), *n = NULL;
    if (tree_lookup(t, root, any(w, 4) ? "here" : "l", &en) == 0) {
        see(&en.st);
        found++;
        n = tree_get(t, en.id);
        if (any(w, 3) == 0)
            tree_forget(t, en.id, 1);
    }
    tree_put(t, root);
    return n;
}

static void keep(struct worker *w, uint64_t handle)
{
    struct stat st;
    struct tree_file *f = tree_file_get(t, handle);
    int fd = f ? tree_file_fd(f) : -1;
    if (fd >= 0) {
        MUST(fstat(fd, &st) == 0);
        MUST(st.st_ino != canary.st_ino && st.st_ino != outside.st_ino);
        opened++;
    }
    tree_file_put(t, f);
    uint64_t *place = &w->handles[any(w, HANDLES)];
    tree_close(t, *place);
    *place = handle;
}

static void use_node(struct worker *w, struct tree_node *n)
{
    struct tree_entry en;
    struct statx st;
    uint64_t h;
    char buf[64];
    struct tree_change c = {.what = 1u << any(w, 7), .mode = 0700 | any(w, 010000), .size = 1};
    switch (any(w, 6)) {
    case 0:
        if (tree_open(t, &w->u, n, any(w, 3) | (any(w, 2) ? O_TRUNC : 0), true, &h) == 0)
            keep(w, h);
        break;
    case 1:
        if (tree_open_folder(t, n, &h) == 0)
            keep(w, h);
        break;
    case 2:
        if (tree_change(t, &w->u, n, NULL, &c, &st) == 0)
            see(&st);
        break;
    case 3:
        (void)!tree_setxattr(t, n, "user.x", "y", 1, 0);
        (void)!tree_listxattr(t, n, buf, sizeof(buf));
        break;
    case 4:
        if (tree_stat(t, n, &st) == 0)
            see(&st);
        break;
    default:
        if (tree_lookup(t, n, name_of(w), &en) == 0) {
            see(&en.st);
            struct tree_node *below = tree_get(t, en.id);
            if (below && tree_open(t, &w->u, below, O_RDWR, true, &h) == 0)
                keep(w, h);
            tree_put(t, below);
            if (any(w, 2))
                tree_forget(t, en.id, 1);
        }
    }
}

static void use_names(struct worker *w, struct tree_node *n)
{
    struct tree_entry en;
    uint64_t h;
    struct tree_node *other;
    const char *name = names[2 + any(w, 4)]; /* not the two that are swapped: the host is to win */
    switch (any(w, 5)) {
    case 0:
        if (tree_create(t, &w->u, n, name, 0666, O_RDWR | (any(w, 2) ? O_TRUNC : 0), true, &en,
                        &h) == 0) {
            see(&en.st);
            keep(w, h);
            if (any(w, 2))
                tree_forget(t, en.id, 1);
        }
        break;
    case 1:
        (void)!tree_unlink(t, n, name, any(w, 2));
        break;
    case 2:
        other = some(w);
        if (other && tree_rename(t, n, name, other, names[3 + any(w, 3)],
                                 any(w, 2) ? RENAME_EXCHANGE : 0) == 0)
            moved++;
        tree_put(t, other);
        break;
    case 3:
        other = tree_get(t, any(w, IDS));
        if (other && tree_link(t, other, n, name, &en) == 0)
            see(&en.st);
        tree_put(t, other);
        break;
    default:
        if (tree_mkdir(t, &w->u, n, name, 0777, &en) == 0)
            see(&en.st);
    }
}

static void use_file(struct worker *w)
{
    uint64_t handle = w->handles[any(w, HANDLES)];
    struct tree_file *f = tree_file_get(t, handle);
    struct flock l = {.l_type = any(w, 2) ? F_WRLCK : F_UNLCK, .l_start = any(w, 4)};
    _Alignas(8) char buf[512];
    if (!f)
        return;
    switch (any(w, 6)) {
    case 0:
        (void)!pwrite(tree_file_fd(f), "hello", 5, 0);
        break;
    case 1:
        (void)!tree_read_folder(t, f, 0, buf, sizeof(buf));
        break;
    case 2:
        locked += tree_lock(t, f, any(w, 3), &l, any(w, 2)) == 0;
        break;
    case 3:
        (void)!tree_lock_test(t, f, any(w, 3), &(struct flock){.l_type = F_WRLCK});
        break;
    case 4:
        tree_unlock_all(t, f, any(w, 3));
        break;
    default:
        tree_close(t, handle);
    }
    tree_file_put(t, f);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    for (unsigned i = 0; i < ROUNDS && !failed; i++) {
        struct tree_node *n = some(w);
        if (n && any(w, 3))
            use_node(w, n);
        else if (n)
            use_names(w, n);
        tree_put(t, n);
        use_file(w);
        if (any(w, 3) == 0)
            tree_forget(t, any(w, IDS), any(w, 4));
    }
    return NULL;
}

static unsigned descriptors(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    closedir(d);
    return n;
}

static void nothing_outside_was_touched(int watch)
{
    struct stat now;
    char events[4096];
    MUST(read(watch, events, sizeof(events)) < 0 && errno == EAGAIN);
    MUST(stat(path[CANARY], &now) == 0);
    MUST(now.st_size == canary.st_size && now.st_mode == canary.st_mode);
    MUST(now.st_nlink == 1 && now.st_uid == canary.st_uid);
    MUST(now.st_ctim.tv_sec == canary.st_ctim.tv_sec &&
         now.st_ctim.tv_nsec == canary.st_ctim.tv_nsec);
    MUST(stat(path[OUTSIDE], &now) == 0);
    MUST(now.st_ctim.tv_sec == outside.st_ctim.tv_sec &&
         now.st_ctim.tv_nsec == outside.st_ctim.tv_nsec);
}

static void run(void)
{
    pthread_t swapper, threads[WORKERS];
    struct worker w[WORKERS] = {0};
    done = false;
    MUST(pthread_create(&swapper, NULL, swap, NULL) == 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        w[i].seed = i;
        w[i].u.uid = w[i].u.gid = i % 2 ? 0 : 1000 + i;
        MUST(pthread_create(&threads[i], NULL, work, &w[i]) == 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        MUST(pthread_join(threads[i], NULL) == 0);
    done = true;
    MUST(pthread_join(swapper, NULL) == 0);
}

int main(void)
{
    struct err e;
    umask(0);
    make_folders();
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    MUST(inotify_add_watch(watch, path[OUTSIDE], IN_ALL_EVENTS) >= 0);
    unsigned before = descriptors();
    MUST(tree_new(&(struct tree_config){.dir = path[SHARE]}, &t, &e) == 0);
    if (!failed)
        run();
    nothing_outside_was_touched(watch);
    claim("VMM_HOLDS", "33a 33f", "race_tree", "elsewhere", __FILE__);
    tree_forget_all(t);
    MUST(tree_nodes(t) == 1 && tree_files(t) == 0);
    tree_free(t);
    MUST(descriptors() == before);
    MUST(opened > 0 && found > 0 && swapped > 0 && moved > 0 && locked > 0);
    printf("race_tree: %u found, %u opened, %u moved, %u locked, %u swaps\n", found, opened, moved,
           locked, swapped);
    close(watch);
    char cmd[64];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", top);
    MUST(system(cmd) == 0);
    return failed;
}
