/* tests/bench/fs.c - a shared folder: a file in the page cache read through FUSE requests and
 * through the DAX window, beside pread() and a plain mapping of the same file.
 *
 * A sample is what one thread gets that waits for each answer, as a guest does that reads a file
 * from its beginning to its end, eight times: what of a mapping has left the TLB and the caches
 * since the sample before costs the first of them three times as much as the others. */
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/mman.h>

#include "tests/bench/bench.h"
#include "tests/bench/driver.h"

enum {
    REQUESTS = 1, /* the queue */
    PIECE = 128 << 10,
    MAPPING = 2 << 20, /* as Linux maps */
    TIMES = 8,
    HEAD_IN = sizeof(struct fuse_in_header),
    HEAD_OUT = sizeof(struct fuse_out_header),
};

enum how { BY_PREAD, BY_MMAP, BY_READ, BY_WINDOW, BY_WINDOW_ANEW };

struct fs_work {
    enum how how;
    int fd;
    uint8_t *buffer;
    struct machine m;
    struct driver d;
    uint64_t unique, node, fh;
    uint8_t *window;
};

/* --- the driver --- */

/* The answer's payload, of at most `room` bytes; *len is how many. */
static const void *ask(struct fs_work *w, uint32_t op, const void *arg, size_t arg_len, size_t room,
                       size_t *len)
{
    struct request *r = &w->d.requests[0];
    const struct fuse_in_header h = {.len = (uint32_t)(HEAD_IN + arg_len),
                                     .opcode = op,
                                     .unique = ++w->unique,
                                     .nodeid = w->node,
                                     .uid = getuid(),
                                     .gid = getgid()};
    uint8_t *out = machine_at(&w->m, r->at[0], HEAD_IN + arg_len);
    memcpy(out, &h, HEAD_IN);
    memcpy(out + HEAD_IN, arg, arg_len);
    r->len[0] = h.len;
    r->len[1] = (uint32_t)(HEAD_OUT + room);
    driver_describe(&w->d, 0);
    driver_wish(&w->d);
    driver_add(&w->d, 0);
    driver_publish(&w->d);
    if (driver_must_kick(&w->d))
        vdev_kick(w->m.dev, REQUESTS);
    while (driver_reap(&w->d) < 0)
        (void)loop_step(w->m.loop, -1);
    const uint8_t *in = machine_at(&w->m, r->at[1], HEAD_OUT + room);
    struct fuse_out_header o;
    memcpy(&o, in, sizeof(o));
    BENCH_MUST(o.unique == h.unique && o.error == 0);
    *len = o.len - HEAD_OUT;
    return in + HEAD_OUT;
}

/* One whose answer has one form. */
static void ask_for(struct fs_work *w, uint32_t op, const void *arg, size_t arg_len, void *to,
                    size_t room)
{
    size_t len;
    const void *got = ask(w, op, arg, arg_len, room, &len);
    BENCH_MUST(len == room);
    if (room > 0)
        memcpy(to, got, room);
}

static void map(struct fs_work *w, uint64_t at)
{
    const struct fuse_setupmapping_in in = {.fh = w->fh,
                                            .foffset = at,
                                            .len = MAPPING,
                                            .flags = FUSE_SETUPMAPPING_FLAG_READ,
                                            .moffset = at};
    ask_for(w, FUSE_SETUPMAPPING, &in, sizeof(in), NULL, 0);
}

/* --- up and down --- */

static void device_up(struct fs_work *w)
{
    const struct shape s = {.event_idx = true, .segments = 2, .writable = 1, .slots = 1};
    char spec[160];
    (void)snprintf(spec, sizeof(spec), "fs,%s,tag=bench,dax=%um", bench_folder(), BENCH_FILE >> 20);
    machine_up(&w->m);
    machine_device(&w->m, spec);
    machine_negotiate(&w->m, &s);
    driver_up(&w->d, &w->m, REQUESTS, &s);
    w->d.requests[0].at[1] = machine_high(&w->m, HEAD_OUT + PIECE);
    machine_driver_ok(&w->m);

    const struct fuse_init_in init = {.major = FUSE_KERNEL_VERSION,
                                      .minor = 36,
                                      .max_readahead = 1 << 20,
                                      .flags = ~0u,
                                      .flags2 = ~0u};
    struct fuse_init_out init_out;
    ask_for(w, FUSE_INIT, &init, sizeof(init), &init_out, sizeof(init_out));
    struct fuse_entry_out entry;
    w->node = FUSE_ROOT_ID;
    ask_for(w, FUSE_LOOKUP, "data", sizeof("data"), &entry, sizeof(entry));
    w->node = entry.nodeid;
    const struct fuse_open_in open_in = {.flags = O_RDONLY};
    struct fuse_open_out open_out;
    ask_for(w, FUSE_OPEN, &open_in, sizeof(open_in), &open_out, sizeof(open_out));
    w->fh = open_out.fh;

    struct vdev_shm_region window;
    BENCH_MUST(vdev_shm_at(w->m.dev, 0, &window) && window.len >= BENCH_FILE);
    w->window = window.host;
    for (uint64_t at = 0; w->how == BY_WINDOW && at < BENCH_FILE; at += MAPPING)
        map(w, at);
}

static void *up(const struct bench_row *r)
{
    struct fs_work *w = calloc(1, sizeof(*w));
    BENCH_MUST(w != NULL);
    w->how = *(const enum how *)r->shape;
    w->fd = open(bench_file(), O_RDONLY | O_CLOEXEC);
    w->buffer = aligned_alloc(4096, PIECE);
    BENCH_MUST(w->fd >= 0 && w->buffer != NULL);
    memset(w->buffer, 0, PIECE);
    if (w->how == BY_MMAP) {
        w->window = mmap(NULL, BENCH_FILE, PROT_READ, MAP_SHARED, w->fd, 0);
        BENCH_MUST(w->window != MAP_FAILED);
    } else if (w->how != BY_PREAD) {
        device_up(w);
    }
    (void)r->sample(w, true);
    return w;
}

static void down(void *work)
{
    struct fs_work *w = work;
    if (w->how == BY_MMAP) {
        (void)munmap(w->window, BENCH_FILE);
    } else if (w->how != BY_PREAD) {
        machine_down(&w->m);
        driver_down(&w->d);
    }
    fd_cleanup_(&w->fd);
    free(w->buffer);
    free(w);
}

/* --- samples --- */

static void piece(struct fs_work *w, uint64_t at)
{
    size_t len = PIECE;
    if (w->how == BY_PREAD) {
        BENCH_MUST(pread(w->fd, w->buffer, PIECE, (off_t)at) == PIECE);
    } else if (w->how == BY_READ) {
        const struct fuse_read_in in = {.fh = w->fh, .offset = at, .size = PIECE};
        const uint8_t *got = ask(w, FUSE_READ, &in, sizeof(in), PIECE, &len);
        BENCH_MUST(got[0] == (uint8_t)((at >> 20) + 1));
    } else {
        if (w->how == BY_WINDOW_ANEW && at % MAPPING == 0)
            map(w, at);
        memcpy(w->buffer, w->window + at, PIECE);
        BENCH_MUST(w->buffer[0] == (uint8_t)((at >> 20) + 1));
    }
    BENCH_MUST(len == PIECE);
}

static double sample(void *work, bool once)
{
    uint64_t n = once ? MAPPING : (uint64_t)TIMES * BENCH_FILE, t0 = bench_wall_ns();
    for (uint64_t at = 0; at < n; at += PIECE)
        piece(work, at % BENCH_FILE);
    return (double)(n >> 20) * 1e9 / (double)(bench_wall_ns() - t0);
}

static void exact(const struct bench_row *r, void *work, bool once)
{
    struct fs_work *w = work;
    uint64_t a = bench_allocations(), i = w->m.interrupts;
    (void)once;
    if (w->how != BY_READ)
        return;
    piece(w, PIECE);
    bench_print_exact(r, "allocations/request", (double)(bench_allocations() - a));
    bench_print_exact(r, "interrupts/request", (double)(w->m.interrupts - i));
}

void bench_fs(void)
{
    static const struct {
        enum how how;
        const char *name;
    } rows[] = {
        {BY_PREAD, "pread, 128 KiB"},
        {BY_MMAP, "plain mapping"},
        {BY_READ, "READ, 128 KiB"},
        {BY_WINDOW, "DAX, mapped"},
        {BY_WINDOW_ANEW, "DAX, mapped anew, 2 MiB"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct bench_row r = {.group = "fs",
                              .unit = "MiB/s",
                              .base = i > 0 ? rows[0].name : NULL,
                              .shape = &rows[i].how,
                              .up = up,
                              .sample = sample,
                              .exact = exact,
                              .down = down};
        (void)snprintf(r.name, sizeof(r.name), "%s", rows[i].name);
        bench_add(&r);
    }
}
