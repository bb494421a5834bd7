/* tests/rig/test_fs.c - the file system device (virtio 1.4, 5.11): its configuration, its session
 * and its queues, and that a folder which hangs holds up nothing but itself. */
#include <linux/virtio_fs.h>
#include <linux/virtio_mmio.h>
#include <pthread.h>
#include <semaphore.h>

#include "tests/rig/fs_fixture.h"

/* --- a file system that hangs: the linker sees to it (--wrap) --- */

enum { THREADS = 4 }; /* of the device */
static sem_t begun, may_end;
static bool hangs;

ssize_t __real_preadv(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t off);
ssize_t __wrap_preadv(int fd, const struct iovec *iov, int n, off_t off)
{
    if (hangs) {
        sem_post(&begun);
        sem_wait(&may_end);
    }
    return __real_preadv(fd, iov, n, off);
}

/* And whoever may not wait is told so. */
ssize_t __real_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    if (!hangs)
        return __real_preadv2(fd, iov, n, off, flags);
    errno = EAGAIN;
    return -1;
}

static void hang(void)
{
    sem_init(&begun, 0, 0);
    sem_init(&may_end, 0, 0);
    hangs = true;
}

/* n READs that do not end; each has an answer of its own. */
static gpa_t hang_reads(unsigned n, uint64_t fh)
{
    gpa_t in = rig_alloc(rig, n * 64), args = rig_alloc(rig, n * 128);
    hang();
    for (unsigned i = 0; i < n; i++) {
        const struct fuse_read_in arg = {.fh = fh, .size = 4};
        const struct fuse_in_header h = header(FUSE_READ, FUSE_ROOT_ID, sizeof(arg));
        const struct rig_seg out_seg = {GPA(args.v + i * 128), HEAD_IN + sizeof(arg)};
        const struct rig_seg in_seg = {GPA(in.v + i * 64), HEAD_OUT + 4};
        memcpy(rig_at(rig, out_seg.at, HEAD_IN), &h, HEAD_IN);
        memcpy(rig_at(rig, GPA(out_seg.at.v + HEAD_IN), sizeof(arg)), &arg, sizeof(arg));
        rig_add(rig, REQUESTS, &out_seg, 1, &in_seg, 1);
    }
    rig_kick(rig, REQUESTS);
    for (int threads = 0; threads < MIN((int)n, THREADS); (void)sem_getvalue(&begun, &threads))
        (void)loop_step(rig->loop, 0);
    return in;
}

static void let_go(unsigned n)
{
    hangs = false;
    for (unsigned i = 0; i < n; i++)
        sem_post(&may_end);
}

/* --- configuration (5.11.4) --- */

Test(fs, configuration)
{
    PROVES("Device Types / File System Device / Device configuration layout#01");
    struct virtio_fs_config c;
    up();
    for (unsigned i = 0; i < sizeof(c); i++)
        ((uint8_t *)&c)[i] = (uint8_t)rig_config(rig, i, 1);
    cr_assert_eq(memcmp(c.tag, "shared\0\0", 8), 0);
    for (unsigned i = 6; i < sizeof(c.tag); i++)
        cr_assert_eq(c.tag[i], 0);
    cr_assert_eq(c.num_request_queues, 1);
    rig_config_set(rig, offsetof(struct virtio_fs_config, num_request_queues), 4, 7);
    cr_assert_eq(rig_config(rig, offsetof(struct virtio_fs_config, num_request_queues), 4), 1);
    rig_down(rig);
    rig = fs_rig(",queues=5", NULL);
    cr_assert_eq(rig_config(rig, offsetof(struct virtio_fs_config, num_request_queues), 4), 5);
    down();
}

Test(fs, a_tag_without_a_zero)
{
    const char *tag = "abcdefghijklmnopqrstuvwxyz0123456789";
    char spec[160];
    make_folder();
    (void)snprintf(spec, sizeof(spec), "fs,%s,tag=%s", folder, tag);
    rig = rig_up(spec, NULL);
    for (unsigned i = 0; i < 36; i++)
        cr_assert_eq(rig_config(rig, i, 1), (uint8_t)tag[i]);
    rig_down(rig);
    (void)snprintf(spec, sizeof(spec), "fs,%s,tag=%s!", folder, tag);
    rig_refuses(spec, NULL, "longer than 36 bytes");
    (void)snprintf(spec, sizeof(spec), "fs,%s/nowhere,tag=x", folder);
    rig_refuses(spec, NULL, "nowhere");
    (void)snprintf(spec, sizeof(spec), "fs,%s,tag=x,dax=3M", folder);
    rig_refuses(spec, NULL, "power of two");
    (void)snprintf(spec, sizeof(spec), "fs,%s,tag=x,dax=16G", folder);
    rig_refuses(spec, NULL, "power of two");
    remove_folder();
}

/* --- the session --- */

Test(fs, what_is_agreed_on)
{
    up_cold("", NULL);
    struct fuse_init_out o = init_with(36, ~0ull);
    cr_assert_eq(o.major, 7);
    cr_assert_eq(o.max_write, 1 << 20);
    cr_assert_eq(o.max_pages, 256);
    cr_assert_eq(o.time_gran, 1);
    cr_assert_eq(o.max_readahead, 1 << 20);
    const uint32_t must = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC |
                          FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO | FUSE_PARALLEL_DIROPS |
                          FUSE_HANDLE_KILLPRIV_V2 | FUSE_POSIX_LOCKS | FUSE_FLOCK_LOCKS |
                          FUSE_MAX_PAGES | FUSE_INIT_EXT | FUSE_AUTO_INVAL_DATA;
    const uint32_t must_not = FUSE_WRITEBACK_CACHE | FUSE_POSIX_ACL | FUSE_MAP_ALIGNMENT |
                              FUSE_EXPORT_SUPPORT | FUSE_DONT_MASK;
    cr_assert_eq(o.flags & must, must);
    cr_assert_eq(o.flags & must_not, 0);
    cr_assert_eq(o.flags2, 0);
    o = init_with(31, FUSE_ASYNC_READ);
    cr_assert_eq(o.flags, FUSE_ASYNC_READ, "nothing that the driver does not know");
    cr_assert_eq(o.max_pages, 0);
    cr_assert_eq(o.max_write, 32 * 4096);
    down();
}

Test(fs, cache_modes)
{
    static const struct {
        const char *mode;
        uint32_t flags, open_flags;
        uint64_t valid;
    } modes[] = {{",cache=none", 0, FOPEN_DIRECT_IO, 0},
                 {",cache=auto", FUSE_AUTO_INVAL_DATA, 0, 1},
                 {",cache=always", FUSE_WRITEBACK_CACHE, FOPEN_KEEP_CACHE, 86400}};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
        struct fuse_entry_out e;
        struct fuse_open_out o;
        const struct fuse_open_in in = {.flags = O_WRONLY};
        up_cold(modes[i].mode, NULL);
        write_file("f", "text", 4);
        struct fuse_init_out init = init_with(36, ~0ull);
        cr_assert_eq(init.flags & (FUSE_WRITEBACK_CACHE | FUSE_AUTO_INVAL_DATA), modes[i].flags);
        cr_assert_eq(lookup(FUSE_ROOT_ID, "f", &e), 0);
        cr_assert_eq(e.entry_valid, modes[i].valid);
        cr_assert_eq(e.attr_valid, modes[i].valid);
        cr_assert_eq(ask_for(FUSE_OPEN, e.nodeid, ARGS(VALUE(in)), &o, sizeof(o)), 0);
        cr_assert_eq(o.open_flags, modes[i].open_flags);
        char c;
        int64_t got = read_at(o.fh, 0, &c, 1);
        cr_assert_eq(got, init.flags & FUSE_WRITEBACK_CACHE ? 1 : -EBADF,
                     "the guest reads around what it writes");
        down();
    }
    up_cold(",cache=always,ro", NULL);
    cr_assert_eq(init_with(36, ~0ull).flags & FUSE_WRITEBACK_CACHE, 0);
    down();
}

static int init_as(uint32_t major, uint32_t minor, struct fuse_init_out *out)
{
    const struct fuse_init_in in = {.major = major, .minor = minor, .flags = FUSE_ASYNC_READ};
    return ask_for(FUSE_INIT, 0, ARGS(VALUE(in)), out, sizeof(*out));
}

Test(fs, drivers_of_other_times)
{
    struct fuse_init_out o;
    struct fuse_attr a;
    up_cold("", NULL);
    cr_assert_eq(getattr(FUSE_ROOT_ID, &a), -EIO, "not before INIT");
    cr_assert_eq(init_as(7, 30, &o), -EPROTO);
    cr_assert_eq(init_as(6, 99, &o), -EPROTO);
    cr_assert_eq(getattr(FUSE_ROOT_ID, &a), -EIO);
    cr_assert_eq(init_as(8, 0, &o), 0, "it is told what we have, and comes again");
    cr_assert_eq(o.major, 7);
    cr_assert_eq(o.flags, 0);
    cr_assert_eq(getattr(FUSE_ROOT_ID, &a), -EIO);
    const uint32_t old[4] = {7, 31, 1 << 16, FUSE_ASYNC_READ}; /* before INIT_EXT */
    cr_assert_eq(ask_for(FUSE_INIT, 0, ARGS(VALUE(old)), &o, sizeof(o)), 0);
    cr_assert_eq(o.flags, FUSE_ASYNC_READ);
    cr_assert_eq(getattr(FUSE_ROOT_ID, &a), 0);
    cr_assert(S_ISDIR(a.mode));
    down();
}

Test(fs, a_session_ends)
{
    struct fuse_attr a;
    up();
    write_file("f", "text", 4);
    for (unsigned how = 0; how < 3; how++) {
        uint64_t node = node_of("f"), fh = open_name("f", O_RDONLY);
        char c;
        if (how == 0)
            cr_assert_eq(ask_for(FUSE_DESTROY, 0, NOTHING, NULL, 0), 0);
        if (how == 2)
            rig_up_again(rig), buffers_up();
        if (how != 1)
            cr_assert_eq(getattr(FUSE_ROOT_ID, &a), -EIO);
        (void)init_with(36, ~0ull);
        cr_assert_eq(getattr(node, &a), -ESTALE, "%u", how);
        cr_assert_eq(read_at(fh, 0, &c, 1), -EBADF);
        cr_assert_eq(getattr(FUSE_ROOT_ID, &a), 0);
    }
    down();
}

/* --- queues --- */

Test(fs, any_request_queue)
{
    struct fuse_out_header o;
    struct fuse_attr_out attr;
    const struct fuse_getattr_in in = {0};
    up_with(",queues=3", NULL);
    for (unsigned q = REQUESTS; q < REQUESTS + 3; q++) {
        const struct fuse_in_header h = header(FUSE_GETATTR, FUSE_ROOT_ID, sizeof(in));
        submit(q, place(&h, ARGS(VALUE(in))), in_at, HEAD_OUT + sizeof(attr));
        rig_settle(rig);
        cr_assert_eq(take_answer(q, in_at, &o), HEAD_OUT + sizeof(attr));
        cr_assert_eq(o.error, 0);
    }
    down();
}

Test(fs, forget)
{
    struct fuse_attr a;
    const struct fuse_forget_in once = {1}, thrice = {3};
    up();
    write_file("f", "text", 4);
    uint64_t node = node_of("f");
    cr_assert_eq(node_of("f"), node);
    tell(FUSE_FORGET, node, ARGS(VALUE(once)));
    cr_assert_eq(getattr(node, &a), 0, "it is known once more");
    tell(FUSE_FORGET, node, ARGS(VALUE(once)));
    cr_assert_eq(getattr(node, &a), -ESTALE);
    uint64_t other = node_of("f");
    cr_assert_neq(other, node, "an id is never used twice");
    (void)node_of("f"), (void)node_of("f");
    /* With room for an answer, on a request queue: none all the same. */
    const struct fuse_in_header h = header(FUSE_FORGET, other, sizeof(thrice));
    struct fuse_out_header o;
    submit(REQUESTS, place(&h, ARGS(VALUE(thrice))), in_at, 64);
    rig_settle(rig);
    cr_assert_eq(take_answer(REQUESTS, in_at, &o), 0);
    cr_assert_eq(getattr(other, &a), -ESTALE);
    down();
}

Test(fs, forget_many)
{
    struct fuse_attr a;
    struct fuse_batch_forget_in in = {.count = 3};
    struct fuse_forget_one one[3];
    up();
    for (unsigned i = 0; i < 3; i++) {
        char name[] = {'a' + (char)i, 0};
        write_file(name, "x", 1);
        one[i] = (struct fuse_forget_one){node_of(name), 1};
    }
    tell(FUSE_BATCH_FORGET, 0, ARGS(VALUE(in), RAW(one, 2 * sizeof(one[0]))));
    cr_assert_eq(getattr(one[0].nodeid, &a), -ESTALE);
    cr_assert_eq(getattr(one[1].nodeid, &a), -ESTALE);
    cr_assert_eq(getattr(one[2].nodeid, &a), 0, "it was cut off");
    in.count = UINT32_MAX;
    tell(FUSE_BATCH_FORGET, 0, ARGS(VALUE(in), RAW(&one[2], sizeof(one[2]))));
    cr_assert_eq(getattr(one[2].nodeid, &a), -ESTALE);
    down();
}

Test(fs, high_priority_is_not_held_up)
{
    PROVES("Device Types / File System Device / Device Operation / Device Operation: High "
           "Priority Queue#01");
    PROVES("Device Types / File System Device / Device Operation / Device Operation: High "
           "Priority Queue#02");
    enum { N = 20 };
    const struct fuse_forget_in once = {1};
    struct fuse_out_header o;
    uint32_t id, used;
    up();
    write_file("f", "text", 4);
    write_file("g", "text", 4);
    uint64_t fh = open_name("f", O_RDONLY), node = node_of("g");
    gpa_t in = hang_reads(N, fh); /* many more than there are threads */
    const struct fuse_in_header h = header(FUSE_FORGET, node, sizeof(once));
    submit(HIPRIO, place(&h, ARGS(VALUE(once))), in_at, 0);
    while (!rig_used(rig, HIPRIO, &id, &used))
        (void)loop_step(rig->loop, -1);
    cr_assert_not(rig_used(rig, REQUESTS, &id, &used));
    let_go(N);
    rig_settle(rig);
    for (unsigned i = 0; i < N; i++) {
        cr_assert(rig_used(rig, REQUESTS, &id, &used));
        cr_assert_eq(used, HEAD_OUT + 4);
        memcpy(&o, rig_at(rig, GPA(in.v + i * 64), HEAD_OUT), HEAD_OUT);
        cr_assert_eq(o.error, 0);
        cr_assert_eq(memcmp(rig_at(rig, GPA(in.v + i * 64 + HEAD_OUT), 4), "text", 4), 0);
    }
    struct fuse_attr a;
    cr_assert_eq(getattr(node, &a), -ESTALE);
    down();
}

/* The reads that no thread has begun end at once; the reset waits for the others. */
static void *let_go_soon(void *unused)
{
    (void)unused;
    let_go(THREADS);
    return NULL;
}

Test(fs, reset_waits_for_what_is_in_flight)
{
    enum { N = 20 };
    pthread_t t;
    uint8_t before[N * 64];
    up();
    write_file("f", "text", 4);
    gpa_t in = hang_reads(N, open_name("f", O_RDONLY));
    cr_assert_eq(pthread_create(&t, NULL, let_go_soon, NULL), 0);
    rig_status_set(rig, 0);
    cr_assert_eq(rig_status(rig), 0);
    memcpy(before, rig_at(rig, in, sizeof(before)), sizeof(before));
    cr_assert_eq(pthread_join(t, NULL), 0);
    rig_settle(rig);
    cr_assert_eq(memcmp(before, rig_at(rig, in, sizeof(before)), sizeof(before)), 0);
    rig_up_again(rig);
    buffers_up();
    (void)init_with(36, ~0ull);
    cr_assert_gt(open_name("f", O_RDONLY), 0);
    down();
}

Test(fs, tells_what_it_has_done)
{
    up();
    write_file("f", "text", 4);
    uint64_t fh = open_name("f", O_RDWR);
    char buf[4];
    cr_assert_eq(read_at(fh, 0, buf, 4), 4);
    cr_assert_eq(write_at(fh, 0, "abc", 3), 3);
    cr_assert_eq(write_at(99, 0, "abc", 3), -EBADF);
    cr_assert_eq(reported(rig, "read_bytes"), 4);
    cr_assert_eq(reported(rig, "written_bytes"), 3);
    cr_assert_eq(reported(rig, "failed_requests"), 1);
    cr_assert_eq(reported(rig, "requests"), 6);
    cr_assert_eq(reported(rig, "open_files"), 1);
    cr_assert_eq(reported(rig, "known_files"), 2);
    cr_assert_eq(reported(rig, "waiting_for_locks"), 0);
    cr_assert_eq(reported(rig, "mappings"), 0);
    down();
}
