/* tests/fuzz/world.c - see world.h. */
#include "tests/fuzz/world.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { PACKET_MAX = 2048 };

/* Of a process: DIR/secret beside DIR/share, and the sockets. */
static char dir[64];
static char secret[17]; /* another one for each input: libFuzzer remembers what it saw compared */

static const char *in_dir(const char *name)
{
    static char path[2][128];
    static unsigned n;
    n ^= 1;
    (void)snprintf(path[n], sizeof(path[n]), "%s/%s", dir, name);
    return path[n];
}

static void write_file(const char *name, const char *text)
{
    AUTO_FD fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    EXPECT(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: %m", name);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    (void)remove(path);
    return 0;
}

static void clear(const char *path)
{
    (void)nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void remove_dir(void)
{
    clear(dir);
}

static void make_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    if (dir[0])
        return;
    if (!tmp) /* in memory, where what a device syncs costs nothing */
        tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    (void)snprintf(dir, sizeof(dir), "%.32s/vmm-fuzz-XXXXXX", tmp);
    EXPECT(mkdtemp(dir), "%s: %m", dir);
    EXPECT(atexit(remove_dir) == 0);
}

static void make_share(void)
{
    clear(in_dir("share"));
    uint64_t dice;
    EXPECT(getrandom(&dice, sizeof(dice), 0) == sizeof(dice));
    (void)snprintf(secret, sizeof(secret), "%016lx", (unsigned long)dice);
    write_file("secret", secret);
    EXPECT(mkdir(in_dir("share"), 0755) == 0 && mkdir(in_dir("share/d"), 0755) == 0, "%m");
    write_file("share/a", "some text");
    write_file("share/d/b", "more");
    EXPECT(symlink("../secret", in_dir("share/l")) == 0, "%m");
}

static int make_file(void)
{
    int fd = memfd_create("disk", MFD_CLOEXEC);
    EXPECT(fd >= 0 && ftruncate(fd, WORLD_FILE_LEN) == 0, "%m");
    return fd;
}

static int listen_at(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", in_dir(name));
    (void)unlink(a.sun_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 && listen(fd, 4) == 0, "%m");
    return fd;
}

static void net_options(struct world *w)
{
    int a[2], b[2];
    EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, a) == 0);
    EXPECT(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b) == 0);
    w->peer[0] = a[0];
    w->peer[1] = b[0];
    (void)snprintf(w->spec, sizeof(w->spec),
                   "net,backend=socket,fd=%d:%d,queues=2,mac=52:54:00:00:00:01,vnet_hdr,rss,hash",
                   a[1], b[1]);
}

/* As in the matrix, which knows every class; or with more than it needs there. */
static void options(struct world *w)
{
    const char *o = w->class->options, *name = w->class->name;
    size_t len = strcspn(o, "%");
    char path[128] = "";
    if (strcmp(name, "net") == 0) {
        net_options(w);
        return;
    }
    if (strcmp(name, "fs") == 0) {
        make_share();
        (void)snprintf(w->spec, sizeof(w->spec), "fs,dir=%s,tag=fuzz,dax=2M", in_dir("share"));
        return;
    }
    if (strcmp(name, "console") == 0) {
        (void)snprintf(w->spec, sizeof(w->spec), "console,channel=c:%s", in_dir("s"));
        return;
    }
    if (strcmp(name, "scsi") == 0) {
        w->file = make_file();
        w->disc = make_file();
        (void)snprintf(w->spec, sizeof(w->spec), "scsi,disk=/proc/self/fd/%d,cd=/proc/self/fd/%d",
                       w->file, w->disc);
        return;
    }
    if (w->class->socket) {
        (void)snprintf(path, sizeof(path), "%s", in_dir("s"));
        w->listens = listen_at("s_1");
    } else if (o[len]) {
        w->file = make_file();
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", w->file);
    }
    (void)snprintf(w->spec, sizeof(w->spec), "%s%s%.*s%s", name, *o ? "," : "", (int)len, o, path);
}

struct world *world_new(const char *class)
{
    struct world *w = calloc(1, sizeof(*w));
    EXPECT(w);
    *w = (struct world){.class = matrix_class_named(class), .file = -1, .disc = -1, .listens = -1};
    for (unsigned i = 0; i < WORLD_PEERS; i++)
        w->peer[i] = -1;
    make_dir();
    options(w);
    return w;
}

static void same_length(int fd)
{
    struct stat st;
    if (fd < 0)
        return;
    EXPECT(fstat(fd, &st) == 0 && st.st_size == WORLD_FILE_LEN, "a file of %ld bytes",
           (long)st.st_size);
}

void world_check(const struct world *w, const void *seen, size_t len)
{
    char text[sizeof(secret) + 1] = "";
    same_length(w->file);
    same_length(w->disc);
    if (strcmp(w->class->name, "fs") != 0)
        return;
    AUTO_FD fd = open(in_dir("secret"), O_RDONLY | O_CLOEXEC);
    EXPECT(fd >= 0 && read(fd, text, sizeof(text)) == sizeof(secret) - 1, "%m");
    EXPECT(strcmp(text, secret) == 0, "a guest wrote \"%s\"", text);
    EXPECT(!memmem(seen, len, secret, strlen(secret)), "a guest read it");
}

void world_mark(const struct world *w)
{
    uint8_t bytes[MATRIX_MARK_LEN];
    memset(bytes, MATRIX_MARK, sizeof(bytes));
    if (w->file >= 0)
        EXPECT(pwrite(w->file, bytes, sizeof(bytes), 0) == sizeof(bytes), "%m");
}

void world_free(struct world *w)
{
    fd_cleanup_(&w->file);
    fd_cleanup_(&w->disc);
    fd_cleanup_(&w->listens);
    for (unsigned i = 0; i < WORLD_PEERS; i++)
        fd_cleanup_(&w->peer[i]);
    free(w);
}

/* --- acts --- */

static void call(struct world *w, unsigned i)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strcmp(w->class->name, "net") == 0)
        return; /* it has its cables from the beginning */
    fd_cleanup_(&w->peer[i]);
    (void)snprintf(a.sun_path, sizeof(a.sun_path), "%s", in_dir("s"));
    w->peer[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    EXPECT(w->peer[i] >= 0);
    if (connect(w->peer[i], (struct sockaddr *)&a, sizeof(a)) < 0) {
        (void)close(w->peer[i]);
        w->peer[i] = -1;
    }
}

static void answer(struct world *w, unsigned i)
{
    if (w->listens < 0)
        return;
    fd_cleanup_(&w->peer[i]);
    w->peer[i] = accept4(w->listens, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void say(const struct world *w, unsigned i, struct script *s)
{
    uint8_t bytes[PACKET_MAX];
    size_t len = take(s, 2) % sizeof(bytes), there = MIN(len, s->len);
    take_bytes(s, bytes, there); /* the rest is zeroes that cost no input */
    memset(bytes + there, 0, len - there);
    if (w->peer[i] >= 0)
        (void)!write(w->peer[i], bytes, len);
}

static void hear(const struct world *w, unsigned i)
{
    uint8_t bytes[PACKET_MAX];
    for (unsigned n = 0; w->peer[i] >= 0 && n < 64 && read(w->peer[i], bytes, sizeof(bytes)) > 0;)
        n++;
}

/* What the user may change while the guest runs; each takes a number. */
static void turn(struct world *w, struct rig *r, struct script *s)
{
    static const struct {
        const char *class, *knob;
    } knobs[] = {
        {"balloon", "size=%uM"},           {"mem", "size=128M,requested=%uM"},
        {"net", "backend=none,tx_pps=%u"}, {"net", "backend=none,link=down,rx_bps=%uK"},
        {"blk", "path=/dev/null,bps=%uK"},
    };
    unsigned which = take8(s), n = take8(s);
    w->turned = true;
    for (unsigned k = 0; k < ARRAY_SIZE(knobs); k++) {
        unsigned i = (k + which) % ARRAY_SIZE(knobs);
        char text[64];
        struct err e;
        if (strcmp(knobs[i].class, w->class->name) != 0)
            continue;
        (void)snprintf(text, sizeof(text), knobs[i].knob, n);
        (void)!rig_update(r, text, &e); /* or it is refused */
        return;
    }
}

void world_act(struct world *w, struct rig *r, struct script *s)
{
    enum { CALL, ANSWER, SAY, HEAR, HANG_UP, TURN, ACTS };
    uint8_t what = take8(s);
    unsigned i = what / ACTS % WORLD_PEERS;
    switch (what % ACTS) {
    case CALL:
        call(w, i);
        break;
    case ANSWER:
        answer(w, i);
        break;
    case SAY:
        say(w, i, s);
        break;
    case HEAR:
        hear(w, i);
        break;
    case HANG_UP:
        fd_cleanup_(&w->peer[i]);
        w->peer[i] = -1;
        break;
    case TURN:
        turn(w, r, s);
        break;
    }
}
