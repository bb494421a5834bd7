/* tests/rig/test_fs_dax.c - the DAX window (virtio 1.4, 5.11.6.4): what is mapped where, mappings
 * over mappings, and those that must not be. */
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>

#include "devices/fs/fs_priv.h"
#include "tests/rig/fs_fixture.h"

/* A kernel that has no mappings left: it says so before anything is changed, or, when it is short
 * of memory for its own records, once what was there has gone. */
static _Atomic enum { HAS_ROOM, NO_ROOM, NO_MEMORY } kernel;

static bool refuses(void *at, size_t len)
{
    if (at && kernel == NO_MEMORY)
        (void)munmap(at, len);
    errno = ENOMEM;
    return at && kernel != HAS_ROOM;
}

void *__real_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
    return flags & MAP_FIXED && refuses(at, len) ? MAP_FAILED
                                                 : __real_mmap(at, len, prot, flags, fd, off);
}

void *__real_mremap(void *old, size_t len, size_t now, int flags, void *at);
void *__wrap_mremap(void *old, size_t len, size_t now, int flags, void *at);
void *__wrap_mremap(void *old, size_t len, size_t now, int flags, void *at)
{
    return refuses(at, now) ? MAP_FAILED : __real_mremap(old, len, now, flags, at);
}

enum { PAGE = 4096, PAGES = 1024, WINDOW = 4 << 20 };
enum { READ = FUSE_SETUPMAPPING_FLAG_READ, WRITE = FUSE_SETUPMAPPING_FLAG_WRITE };

static uint64_t node;

/* Each page of the file begins with its number. */
static void make_pages(const char *name, unsigned n, unsigned first)
{
    uint8_t page[PAGE] = {0};
    int fd = open(in_folder(name), O_RDWR | O_CREAT, 0644);
    for (unsigned i = 0; i < n; i++) {
        put_bytes(page, first + i, 4);
        cr_assert_eq(pwrite(fd, page, PAGE, (off_t)i * PAGE), PAGE);
    }
    close(fd);
}

static void dax_up(const char *extra, const struct rig_options *o)
{
    up_cold(extra, o);
    make_pages("f", PAGES, 0);
    struct fuse_init_out init = init_with(36, ~0ull);
    cr_assert(init.flags & FUSE_MAP_ALIGNMENT);
    cr_assert_eq(init.map_alignment, 12);
    node = node_of("f");
}

static int map_fh(uint64_t of, uint64_t fh, uint64_t foff, uint64_t len, uint64_t moff,
                  uint64_t flags)
{
    const struct fuse_setupmapping_in in = {
        .fh = fh, .foffset = foff, .len = len, .flags = flags, .moffset = moff};
    return ask_for(FUSE_SETUPMAPPING, of, ARGS(VALUE(in)), NULL, 0);
}

/* In pages, as Linux does: by the node. */
static int map(uint64_t fpage, uint64_t n, uint64_t mpage, uint64_t flags)
{
    return map_fh(node, UINT64_MAX, fpage * PAGE, n * PAGE, mpage * PAGE, flags);
}

static int unmap(uint64_t mpage, uint64_t n)
{
    const struct fuse_removemapping_in in = {.count = 1};
    const struct fuse_removemapping_one one = {.moffset = mpage * PAGE, .len = n * PAGE};
    return ask_for(FUSE_REMOVEMAPPING, node, ARGS(VALUE(in), VALUE(one)), NULL, 0);
}

static uint8_t *window(void)
{
    struct vdev_shm_region s;
    cr_assert(vdev_shm_at(rig->dev, 0, &s));
    cr_assert_eq(s.id, 0);
    cr_assert_eq(s.len, WINDOW);
    return s.host;
}

static sigjmp_buf fault;

static void on_fault(int sig)
{
    (void)sig;
    siglongjmp(fault, 1);
}

/* The number of the page there, or -1: nothing is. */
static int page_at(unsigned mpage)
{
    volatile int n = -1;
    struct sigaction sa = {.sa_handler = on_fault}, old_segv, old_bus;
    (void)sigaction(SIGSEGV, &sa, &old_segv);
    (void)sigaction(SIGBUS, &sa, &old_bus);
    if (sigsetjmp(fault, 1) == 0)
        n = (int)get_bytes(window() + (size_t)mpage * PAGE, 4);
    (void)sigaction(SIGSEGV, &old_segv, NULL);
    (void)sigaction(SIGBUS, &old_bus, NULL);
    return n;
}

static bool writable_at(unsigned mpage)
{
    volatile bool is = false;
    struct sigaction sa = {.sa_handler = on_fault}, old;
    (void)sigaction(SIGSEGV, &sa, &old);
    if (sigsetjmp(fault, 1) == 0) {
        *(volatile uint8_t *)(window() + (size_t)mpage * PAGE + 100) = 7;
        is = true;
    }
    (void)sigaction(SIGSEGV, &old, NULL);
    return is;
}

Test(fs_dax, a_file_is_seen)
{
    PROVES("Device Types / File System Device / Device Operation / Device Operation: DAX "
           "Window#01");
    PROVES("Device Types / File System Device / Device Operation / Device Operation: DAX "
           "Window#02");
    PROVES("Device Types / File System Device / Device Operation / Device Operation: DAX "
           "Window#03");
    uint8_t buf[PAGE];
    dax_up(",dax=4M", NULL);
    cr_assert_eq(page_at(0), -1);
    cr_assert_eq(map(10, 4, 0, READ), 0);
    cr_assert_eq(map(20, 1, 5, READ | WRITE), 0);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(page_at(i), (int)(10 + i));
    cr_assert_eq(page_at(4), -1);
    cr_assert_eq(page_at(5), 20);
    cr_assert_eq(page_at(6), -1);
    cr_assert_not(writable_at(0));
    cr_assert(writable_at(5));
    cr_assert_eq(reported(rig, "mappings"), 2);
    uint64_t fh = open_name("f", O_RDWR);
    cr_assert_eq(read_at(fh, 20 * PAGE, buf, PAGE), PAGE, "and is read all the same");
    cr_assert_eq(buf[100], 7);
    cr_assert_eq(write_at(fh, 10 * PAGE, "\x63\0\0\0", 4), 4);
    cr_assert_eq(page_at(0), 0x63);
    cr_assert_eq(reported(rig, "open_files"), 1, "a mapping keeps nothing open");
    down();
}

Test(fs_dax, mappings_over_mappings)
{
    PROVES("Device Types / File System Device / Device Operation / Device Operation: DAX "
           "Window#04");
    dax_up(",dax=4M", NULL);
    cr_assert_eq(map(0, 10, 0, READ), 0);
    cr_assert_eq(map(100, 10, 0, READ), 0); /* the same range */
    cr_assert_eq(page_at(0), 100);
    cr_assert_eq(reported(rig, "mappings"), 1);
    cr_assert_eq(map(200, 2, 4, READ), 0); /* in the middle */
    cr_assert_eq(reported(rig, "mappings"), 3);
    cr_assert_eq(page_at(3), 103);
    cr_assert_eq(page_at(4), 200);
    cr_assert_eq(page_at(6), 106);
    cr_assert_eq(map(300, 5, 8, READ), 0); /* across the end */
    cr_assert_eq(reported(rig, "mappings"), 4);
    cr_assert_eq(page_at(7), 107);
    cr_assert_eq(page_at(8), 300);
    cr_assert_eq(page_at(12), 304);
    cr_assert_eq(map(400, 6, 1, READ), 0); /* over several */
    cr_assert_eq(reported(rig, "mappings"), 4);
    static const int now[] = {100, 400, 401, 402, 403, 404, 405, 107, 300, 301, 302, 303, 304, -1};
    for (unsigned i = 0; i < ARRAY_SIZE(now); i++)
        cr_assert_eq(page_at(i), now[i], "page %u: %d", i, page_at(i));

    cr_assert_eq(unmap(2, 2), 0);
    cr_assert_eq(reported(rig, "mappings"), 5);
    cr_assert(page_at(1) == 400 && page_at(2) == -1 && page_at(3) == -1 && page_at(4) == 403);
    cr_assert_eq(unmap(0, PAGES), 0, "all of it, mapped or not");
    cr_assert_eq(reported(rig, "mappings"), 0);
    cr_assert_eq(page_at(8), -1);
    cr_assert_eq(unmap(8, 1), 0);
    down();
}

Test(fs_dax, mappings_that_cannot_be)
{
    PROVES("Device Types / File System Device / Device Operation / Device Operation: DAX "
           "Window#05");
    dax_up(",dax=4M", NULL);
    cr_assert_eq(map(0, 1, PAGES - 1, READ), 0, "the last page");
    cr_assert_eq(map(0, 2, PAGES - 1, READ), -EINVAL);
    cr_assert_eq(map(0, 1, PAGES, READ), -EINVAL);
    cr_assert_eq(map(0, PAGES + 1, 0, READ), -EINVAL);
    cr_assert_eq(map(0, 0, 0, READ), -EINVAL);
    cr_assert_eq(map_fh(node, -1ull, 0, -(uint64_t)PAGE, PAGE, READ), -EINVAL);
    cr_assert_eq(map_fh(node, -1ull, 0, PAGE, -(uint64_t)PAGE, READ), -EINVAL);
    cr_assert_eq(map_fh(node, -1ull, 512, PAGE, 0, READ), -EINVAL);
    cr_assert_eq(map_fh(node, -1ull, 0, PAGE + 1, 0, READ), -EINVAL);
    cr_assert_eq(map_fh(node, -1ull, 0, PAGE, 2048, READ), -EINVAL);
    cr_assert_eq(map_fh(node, -1ull, 1ull << 63, PAGE, 0, READ), -EINVAL);
    cr_assert_eq(map_fh(node, -1ull, INT64_MAX & ~4095ull, PAGE, 0, READ), -EINVAL);
    cr_assert_eq(map(0, 1, 0, 0), -EINVAL);
    cr_assert_eq(map(0, 1, 0, READ | 4), -EINVAL);
    cr_assert_eq(map_fh(4711, -1ull, 0, PAGE, 0, READ), -ESTALE);
    cr_assert_lt(map_fh(FUSE_ROOT_ID, -1ull, 0, PAGE, 0, READ), 0, "a folder");
    cr_assert_eq(page_at(0), -1);
    cr_assert_eq(unmap(PAGES, 1), -EINVAL);
    cr_assert_eq(unmap(0, 0), -EINVAL);
    cr_assert_eq(page_at(PAGES - 1), 0);

    struct fuse_removemapping_in in = {.count = 2};
    const struct fuse_removemapping_one one[2] = {{(PAGES - 1) * PAGE, PAGE}, {1, 1}};
    cr_assert_eq(ask_for(FUSE_REMOVEMAPPING, node, ARGS(VALUE(in), RAW(one, sizeof(one))), NULL, 0),
                 -EINVAL);
    cr_assert_eq(page_at(PAGES - 1), 0, "none of them");
    in.count = UINT32_MAX;
    cr_assert_eq(ask_for(FUSE_REMOVEMAPPING, node, ARGS(VALUE(in), RAW(one, sizeof(one))), NULL, 0),
                 -EINVAL);
    in.count = 0;
    cr_assert_eq(ask_for(FUSE_REMOVEMAPPING, node, ARGS(VALUE(in)), NULL, 0), 0);
    down();
}

Test(fs_dax, by_handles)
{
    uint64_t ro, rw, wo;
    dax_up(",dax=4M", NULL);
    write_file("g", "x", 1);
    ro = open_name("f", O_RDONLY);
    rw = open_name("f", O_RDWR);
    wo = open_name("f", O_WRONLY);
    cr_assert_eq(map_fh(node, ro, 0, PAGE, 0, READ), 0);
    cr_assert_eq(map_fh(node, ro, 0, PAGE, 0, READ | WRITE), -EACCES);
    cr_assert_eq(map_fh(node, rw, 0, PAGE, 0, READ | WRITE), 0);
    cr_assert_eq(map_fh(node, wo, 0, PAGE, 0, WRITE), -EACCES);
    cr_assert_eq(map_fh(node, 999, 0, PAGE, 0, READ), -EBADF);
    cr_assert_eq(map_fh(node_of("g"), rw, 0, PAGE, 0, READ), -EBADF, "a handle of another file");
    down();
}

/* Each mapping is some of the process's, of which it has not many: as many as the largest window
 * has pieces of the size that Linux uses. */
Test(fs_dax, a_guest_cannot_have_all_mappings)
{
    enum { MOST = 4096 };
    make_folder();
    rig = fs_rig(",dax=64M", NULL);
    buffers_up();
    (void)init_with(36, ~0ull);
    make_pages("f", 3, 0);
    node = node_of("f");
    uint64_t fh = open_name("f", O_RDONLY);
    cr_assert_eq(map(0, 3, 0, READ), 0);
    for (uint64_t n = 1; n < MOST; n++)
        cr_assert_eq(map_fh(node, fh, 0, PAGE, n * 3 * PAGE, READ), 0, "the %uth", (unsigned)n);
    cr_assert_eq(reported(rig, "mappings"), MOST);
    cr_assert_eq(map(0, 1, 5, READ), -ENOSPC);
    cr_assert_eq(map(0, 1, 1, READ), -ENOSPC, "in the middle of another");
    cr_assert_eq(unmap(1, 1), -ENOSPC, "which makes two of one");
    cr_assert_eq(map(0, 1, 3, READ), 0, "in the place of another");

    struct state_out s = rig_save(rig);
    transport_reset(rig->transport);
    cr_assert_eq(rig_load(rig, s.buf, s.len), 0);
    cr_assert_eq(reported(rig, "mappings"), MOST, "and all of them move");
    vdev_resume(rig->dev);
    rig_settle(rig);
    state_out_free(&s);

    cr_assert_eq(unmap(0, 3), 0);
    cr_assert_eq(map(0, 1, 0, READ), 0, "there is room again");
    down();
}

static bool is_ours(unsigned mpage)
{
    struct vdev_shm_region s;
    unsigned char there;
    cr_assert(vdev_shm_at(rig->dev, 0, &s));
    return mincore((uint8_t *)s.host + (size_t)mpage * PAGE, PAGE, &there) == 0;
}

/* A process has 65530, whatever the number of its folders. */
Test(fs_dax, many_windows_cannot_have_all_mappings)
{
    enum { WINDOWS = 6, LEN = FS_MAPPINGS_MAX * PAGE };
    static struct fs_window w[WINDOWS];
    unsigned all = 0, round = 0;
    int fd = memfd_create("pages", 0), rc = 0;
    cr_assert_eq(ftruncate(fd, PAGE), 0);
    for (unsigned i = 0; i < WINDOWS; i++) {
        (void)pthread_mutex_init(&w[i].lock, NULL);
        cr_assert_eq(window_new(&w[i], LEN), 0);
        for (unsigned k = 0; k < FS_MAPPINGS_MAX && rc == 0; k++, all += rc == 0) {
            const struct fs_mapping m = {.off = (uint64_t)k * PAGE, .len = PAGE};
            rc = window_map(&w[i], &m, fd);
        }
    }
    cr_assert_eq(rc, -ENOSPC);
    cr_assert_eq(all, FS_MAPPINGS_ALL);
    cr_assert_eq(window_unmap(&w[0], 0, LEN), 0);
    for (rc = 0; rc == 0; round++)
        rc = window_map(&w[WINDOWS - 1],
                        &(struct fs_mapping){.off = (uint64_t)round * PAGE, .len = PAGE}, fd);
    cr_assert_eq(round - 1, FS_MAPPINGS_MAX, "what is given back can be had by another: %u", round);
    for (unsigned i = 0; i < WINDOWS; i++)
        window_free(&w[i]);
    close(fd);
}

/* A file that cannot be mapped, as its file system says when the kernel has already made room for
 * it: a hole would be filled by our own memory next, and the guest see it. */
Test(fs_dax, a_failure_leaves_no_hole)
{
    (void)snprintf(folder, sizeof(folder), "/sys/kernel");
    rig = fs_rig(",dax=4M,ro", NULL);
    buffers_up();
    (void)init_with(36, ~0ull);
    node = node_of("uevent_seqnum");
    cr_assert(is_ours(3));
    cr_assert_eq(map(0, 1, 3, READ), -ENODEV);
    cr_assert(is_ours(3));
    rig_down(rig);
}

Test(fs_dax, a_process_without_mappings)
{
    dax_up(",dax=4M", NULL);
    cr_assert_eq(map(10, 4, 0, READ), 0);
    kernel = NO_ROOM;
    cr_assert_eq(map(20, 2, 1, READ), -ENOMEM);
    cr_assert_eq(map(20, 2, 6, READ), -ENOMEM);
    cr_assert_eq(unmap(0, 2), -ENOMEM);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(page_at(i), (int)(10 + i), "as it was");
    cr_assert_eq(page_at(6), -1);
    cr_assert_eq(reported(rig, "mappings"), 1);
    (void)init_with(36, ~0ull);
    cr_assert_eq(page_at(0), 10, "it cannot be taken away");
    cr_assert_eq(reported(rig, "mappings"), 1);
    kernel = HAS_ROOM;
    (void)init_with(36, ~0ull);
    cr_assert_eq(page_at(0), -1);
    cr_assert_eq(reported(rig, "mappings"), 0);
    node = node_of("f");
    cr_assert_eq(map(10, 4, 0, READ), 0);
    kernel = NO_MEMORY;
    cr_assert_eq(map(20, 1, 1, READ), -ENOMEM);
    cr_assert(is_ours(1) && page_at(0) == 10 && page_at(1) == -1 && page_at(2) == 12);
    cr_assert_eq(reported(rig, "mappings"), 2);
    cr_assert_eq(unmap(0, 1), 0, "gone it is");
    cr_assert(is_ours(0) && page_at(0) == -1 && page_at(2) == 12);
    cr_assert_eq(reported(rig, "mappings"), 1);
    kernel = HAS_ROOM;
    cr_assert_eq(map(20, 2, 0, READ), 0);
    cr_assert(page_at(0) == 20 && page_at(1) == 21 && page_at(2) == 12);
    down();
}

/* A folder of huge pages: a part of one cannot be taken away again. */
Test(fs_dax, files_of_huge_pages)
{
    make_folder();
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0 ||
        mount("none", folder, "hugetlbfs", 0, NULL) < 0) {
        remove_folder();
        cr_skip_test("needs root, and hugetlbfs");
    }
    rig = fs_rig(",dax=4M", NULL);
    buffers_up();
    (void)init_with(36, ~0ull);
    int fd = open(in_folder("f"), O_RDWR | O_CREAT, 0600);
    cr_assert_eq(ftruncate(fd, 2 << 20), 0);
    close(fd);
    node = node_of("f");
    cr_assert_eq(map(0, 1, 0, READ), -ENODEV);
    cr_assert_eq(map(0, 512, 0, READ), -ENODEV);
    cr_assert_eq(unmap(0, 1), 0);
    rig_down(rig);
    (void)umount(folder);
    remove_folder();
}

Test(fs_dax, the_end_of_a_session)
{
    dax_up(",dax=4M", NULL);
    for (unsigned how = 0; how < 3; how++) {
        cr_assert_eq(map(how, 1, how, READ), 0);
        cr_assert_eq(page_at(how), (int)how);
        if (how == 0)
            cr_assert_eq(ask_for(FUSE_DESTROY, 0, NOTHING, NULL, 0), 0);
        if (how == 1)
            rig_up_again(rig), buffers_up();
        if (how < 2)
            cr_assert_eq(page_at(how), -1);
        (void)init_with(36, ~0ull);
        cr_assert_eq(page_at(how), -1);
        cr_assert_eq(reported(rig, "mappings"), 0);
        node = node_of("f");
    }
    down();
}

Test(fs_dax, a_folder_that_must_not_change)
{
    dax_up(",dax=4M,ro", NULL);
    cr_assert_eq(map(0, 1, 0, READ | WRITE), -EROFS);
    cr_assert_eq(map(3, 1, 0, READ), 0);
    cr_assert_eq(page_at(0), 3);
    cr_assert_not(writable_at(0));
    down();
}

Test(fs_dax, without_a_window)
{
    struct vdev_shm_region s;
    up();
    write_file("f", "x", 1);
    node = node_of("f");
    cr_assert_not(vdev_shm_at(rig->dev, 0, &s));
    cr_assert_eq(map(0, 1, 0, READ), -ENOSYS);
    cr_assert_eq(unmap(0, 1), -ENOSYS);
    down();
}

/* The guest goes on with what it had mapped. */
Test(fs_dax, moves_with_the_machine)
{
    dax_up(",dax=4M", NULL);
    cr_assert_eq(map(10, 4, 0, READ), 0);
    cr_assert_eq(map(20, 1, 2, READ | WRITE), 0);
    struct state_out s = rig_save(rig);
    transport_reset(rig->transport);
    cr_assert_eq(page_at(0), -1);
    cr_assert_eq(rig_load(rig, s.buf, s.len), 0);
    cr_assert_eq(reported(rig, "mappings"), 3);
    cr_assert(page_at(0) == 10 && page_at(1) == 11 && page_at(2) == 20 && page_at(3) == 13);
    cr_assert(writable_at(2) && !writable_at(0));
    vdev_resume(rig->dev);
    rig_settle(rig);
    cr_assert_eq(unmap(0, 4), 0);
    state_out_free(&s);
    down();
}
