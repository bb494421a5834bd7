/* tests/rig/fs_fixture.h - what the tests of the file system device share: a folder of the test's
 * own, and a FUSE driver that asks one thing at a time, or leaves a request waiting. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/rig/reported.h"
#include "tests/rig/rig.h"

enum {
    HIPRIO = 0,
    REQUESTS = 1,
    ROOM = 192 << 10, /* for each direction of a request */
    FILL = 0xee,
    HEAD_IN = sizeof(struct fuse_in_header),
    HEAD_OUT = sizeof(struct fuse_out_header),
};

static char folder[64];
static struct rig *rig;
static gpa_t out_at, in_at;
static uint64_t last_unique;

/* --- the folder --- */

static inline const char *in_folder(const char *name)
{
    static char path[2][512];
    static unsigned n;
    n ^= 1;
    (void)snprintf(path[n], sizeof(path[n]), "%s/%s", folder, name);
    return path[n];
}

static inline void make_folder(void)
{
    (void)snprintf(folder, sizeof(folder), "/tmp/vmm-test-fs-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static inline void remove_folder(void)
{
    char cmd[128];
    (void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", folder);
    cr_assert_eq(system(cmd), 0);
}

static inline void write_file(const char *name, const void *bytes, size_t len)
{
    int fd = open(in_folder(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

static inline size_t read_file(const char *name, void *bytes, size_t max)
{
    int fd = open(in_folder(name), O_RDONLY);
    cr_assert_geq(fd, 0, "%s: %m", name);
    ssize_t n = read(fd, bytes, max);
    close(fd);
    cr_assert_geq(n, 0);
    return (size_t)n;
}

/* --- requests --- */

/* What an argument is made of: a value, a text with its zero, or bytes. */
struct arg {
    const void *p;
    size_t len;
};
#define VALUE(x)  ((struct arg){&(x), sizeof(x)})
#define TEXT(s)   ((struct arg){(s), strlen(s) + 1})
#define RAW(p, n) ((struct arg){(p), (n)})
#define ARGS(...)                                                                                  \
    (const struct arg[]){__VA_ARGS__}, sizeof((struct arg[]){__VA_ARGS__}) / sizeof(struct arg)
#define NOTHING NULL, 0

static inline struct fuse_in_header header(uint32_t op, uint64_t node, size_t arg_len)
{
    return (struct fuse_in_header){.len = (uint32_t)(HEAD_IN + arg_len),
                                   .opcode = op,
                                   .unique = ++last_unique,
                                   .nodeid = node,
                                   .uid = getuid(),
                                   .gid = getgid(),
                                   .pid = 77};
}

static inline uint32_t place(const struct fuse_in_header *h, const struct arg *args, unsigned n)
{
    uint8_t *at = rig_at(rig, out_at, ROOM);
    memcpy(at, h, HEAD_IN);
    uint32_t len = HEAD_IN;
    for (unsigned i = 0; i < n; i++) {
        memcpy(at + len, args[i].p, args[i].len);
        len += (uint32_t)args[i].len;
    }
    return len;
}

static inline void submit(unsigned q, uint32_t out_len, gpa_t in, uint32_t in_len)
{
    const struct rig_seg out_seg = {out_at, out_len}, in_seg = {in, in_len};
    if (in_len)
        memset(rig_at(rig, in, in_len), FILL, in_len);
    rig_add(rig, q, &out_seg, 1, &in_seg, in_len > 0);
    rig_kick(rig, q);
}

/* The used length of the next answer, whose header is *o. */
static inline uint32_t take_answer(unsigned q, gpa_t in, struct fuse_out_header *o)
{
    uint32_t id, used;
    cr_assert(rig_used(rig, q, &id, &used), "no answer");
    *o = (struct fuse_out_header){0};
    if (used) {
        cr_assert_geq(used, HEAD_OUT);
        memcpy(o, rig_at(rig, in, HEAD_OUT), HEAD_OUT);
        cr_assert_eq(o->len, used);
        cr_assert_leq(o->error, 0);
        cr_assert(o->error == 0 || used == HEAD_OUT);
    }
    return used;
}

static inline size_t args_len(const struct arg *args, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n; i++)
        len += args[i].len;
    return len;
}

/* Bytes of the answer's payload, which goes to `to`, or its error. */
static inline int64_t ask(uint32_t op, uint64_t node, const struct arg *args, unsigned n, void *to,
                          size_t room)
{
    const struct fuse_in_header h = header(op, node, args_len(args, n));
    struct fuse_out_header o;
    submit(REQUESTS, place(&h, args, n), in_at, (uint32_t)(HEAD_OUT + room));
    rig_settle(rig);
    uint32_t used = take_answer(REQUESTS, in_at, &o);
    cr_assert_gt(used, 0, "no answer to %u", op);
    cr_assert_eq(o.unique, h.unique);
    if (o.error)
        return o.error;
    cr_assert_leq(used - HEAD_OUT, room);
    if (used > HEAD_OUT)
        memcpy(to, rig_at(rig, GPA(in_at.v + HEAD_OUT), room), used - HEAD_OUT);
    return used - HEAD_OUT;
}

/* The answer has exactly this form, or is an error. */
static inline int ask_for(uint32_t op, uint64_t node, const struct arg *args, unsigned n, void *to,
                          size_t len)
{
    int64_t rc = ask(op, node, args, n, to, len);
    cr_assert(rc < 0 || rc == (int64_t)len, "%u: %ld bytes", op, (long)rc);
    return rc < 0 ? (int)rc : 0;
}

/* On the queue of high priority: has no answer. */
static inline void tell(uint32_t op, uint64_t node, const struct arg *args, unsigned n)
{
    const struct fuse_in_header h = header(op, node, args_len(args, n));
    struct fuse_out_header o;
    submit(HIPRIO, place(&h, args, n), in_at, 0);
    rig_settle(rig);
    cr_assert_eq(take_answer(HIPRIO, in_at, &o), 0);
}

static inline struct fuse_init_out init_with(uint32_t minor, uint64_t flags)
{
    const struct fuse_init_in in = {.major = FUSE_KERNEL_VERSION,
                                    .minor = minor,
                                    .max_readahead = 1 << 20,
                                    .flags = (uint32_t)flags,
                                    .flags2 = (uint32_t)(flags >> 32)};
    struct fuse_init_out out;
    cr_assert_eq(ask_for(FUSE_INIT, 0, ARGS(VALUE(in)), &out, sizeof(out)), 0);
    return out;
}

/* --- up and down --- */

static inline void buffers_up(void)
{
    out_at = rig_alloc(rig, ROOM);
    in_at = rig_alloc(rig, ROOM);
}

static inline struct rig *fs_rig(const char *extra, const struct rig_options *o)
{
    char spec[160];
    (void)snprintf(spec, sizeof(spec), "fs,%s,tag=shared%s", folder, extra);
    return rig_up(spec, o);
}

static inline void up_cold(const char *extra, const struct rig_options *o)
{
    make_folder();
    rig = fs_rig(extra, o);
    buffers_up();
}

static inline void up_with(const char *extra, const struct rig_options *o)
{
    up_cold(extra, o);
    (void)init_with(36, ~0ull);
}

static inline void up(void)
{
    up_with("", NULL);
}

static inline void down(void)
{
    rig_down(rig);
    remove_folder();
}

/* --- what most tests need --- */

static inline int lookup(uint64_t parent, const char *name, struct fuse_entry_out *e)
{
    return ask_for(FUSE_LOOKUP, parent, ARGS(TEXT(name)), e, sizeof(*e));
}

static inline uint64_t node_of(const char *name)
{
    struct fuse_entry_out e;
    cr_assert_eq(lookup(FUSE_ROOT_ID, name, &e), 0, "%s", name);
    return e.nodeid;
}

static inline int getattr(uint64_t node, struct fuse_attr *a)
{
    const struct fuse_getattr_in in = {0};
    struct fuse_attr_out out;
    int rc = ask_for(FUSE_GETATTR, node, ARGS(VALUE(in)), &out, sizeof(out));
    if (rc == 0)
        *a = out.attr;
    return rc;
}

static inline int open_node(uint64_t node, uint32_t flags, uint64_t *fh)
{
    const struct fuse_open_in in = {.flags = flags};
    struct fuse_open_out out;
    int rc = ask_for(FUSE_OPEN, node, ARGS(VALUE(in)), &out, sizeof(out));
    *fh = rc == 0 ? out.fh : 0;
    return rc;
}

static inline uint64_t open_name(const char *name, uint32_t flags)
{
    uint64_t fh;
    cr_assert_eq(open_node(node_of(name), flags, &fh), 0);
    return fh;
}

static inline int64_t read_at(uint64_t fh, uint64_t off, void *to, uint32_t len)
{
    const struct fuse_read_in in = {.fh = fh, .offset = off, .size = len};
    return ask(FUSE_READ, FUSE_ROOT_ID, ARGS(VALUE(in)), to, len);
}

static inline int64_t write_at(uint64_t fh, uint64_t off, const void *from, uint32_t len)
{
    const struct fuse_write_in in = {.fh = fh, .offset = off, .size = len};
    struct fuse_write_out out;
    int rc = ask_for(FUSE_WRITE, FUSE_ROOT_ID, ARGS(VALUE(in), RAW(from, len)), &out, sizeof(out));
    return rc < 0 ? rc : (int64_t)out.size;
}

static inline int create(uint64_t parent, const char *name, uint32_t mode, uint32_t flags,
                         uint64_t *node, uint64_t *fh)
{
    const struct fuse_create_in in = {.flags = flags | O_CREAT, .mode = S_IFREG | mode};
    struct {
        struct fuse_entry_out entry;
        struct fuse_open_out open;
    } out;
    int rc = ask_for(FUSE_CREATE, parent, ARGS(VALUE(in), TEXT(name)), &out, sizeof(out));
    *node = rc == 0 ? out.entry.nodeid : 0;
    *fh = rc == 0 ? out.open.fh : 0;
    return rc;
}

static inline int release(uint64_t fh)
{
    const struct fuse_release_in in = {.fh = fh};
    return ask_for(FUSE_RELEASE, FUSE_ROOT_ID, ARGS(VALUE(in)), NULL, 0);
}
