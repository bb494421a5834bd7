/* tests/unit/test_loop_io.c - file operations of the event loop, for io_uring and for epoll: each
 * ends, once, with what the file said. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/unit/loop_try.h"

BOTH(write_and_read_by_pieces)
{
    int fd = scratch();
    char a[] = "scatter", b[] = "gather", back[16] = "";
    struct op w = {.io = {.op = LOOP_WRITEV, .fd = fd, .n_iov = 2, .off = 100}};
    w.iov[0] = (struct iovec){.iov_base = a, .iov_len = 7};
    w.iov[1] = (struct iovec){.iov_base = b, .iov_len = 6};
    w.io.iov = w.iov;
    cr_assert_eq(run(&w), 13);
    w.io.dsync = true;
    w.io.off = 200;
    cr_assert_eq(run(&w), 13);
    cr_assert_eq(pread(fd, back, sizeof(back), 200), 13);
    cr_assert_eq(memcmp(back, "scattergather", 13), 0);

    struct op r = {.io = {.op = LOOP_READV, .fd = fd, .n_iov = 2, .off = 98}};
    char c[4], d[6];
    r.iov[0] = (struct iovec){.iov_base = c, .iov_len = 4};
    r.iov[1] = (struct iovec){.iov_base = d, .iov_len = 6};
    r.io.iov = r.iov;
    cr_assert_eq(run(&r), 10);
    cr_assert_eq(memcmp(c, "\0\0sc", 4), 0);
    cr_assert_eq(memcmp(d, "atterg", 6), 0);
    cr_assert_eq(lseek(fd, 0, SEEK_CUR), 0, "the descriptor's own offset stays");

    cr_assert_eq(rw(LOOP_READV, fd, back, 16, 205), 8, "short at the end");
    cr_assert_eq(rw(LOOP_READV, fd, back, 16, 213), 0);
    cr_assert_eq(rw(LOOP_READV, fd, back, 16, 1 << 20), 0);
    close(fd);
}

BOTH(sync_and_holes)
{
    int fd = memfd_create("scratch", MFD_CLOEXEC), file = scratch();
    static char block[8192], back[8192];
    memset(block, 'x', sizeof(block));
    cr_assert_eq(rw(LOOP_WRITEV, fd, block, sizeof(block), 0), (int64_t)sizeof(block));
    struct op sync = {.io = {.op = LOOP_FDATASYNC, .fd = file}};
    cr_assert_eq(run(&sync), 0);
    struct op punch = {.io = {.op = LOOP_FALLOCATE,
                              .fd = fd,
                              .mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              .off = 4096,
                              .len = 4096}};
    cr_assert_eq(run(&punch), 0);
    cr_assert_eq(rw(LOOP_READV, fd, back, sizeof(back), 0), (int64_t)sizeof(back));
    cr_assert_eq(memcmp(back, block, 4096), 0);
    for (unsigned i = 4096; i < sizeof(back); i++)
        cr_assert_eq(back[i], 0);
    struct op grow = {.io = {.op = LOOP_FALLOCATE, .fd = fd, .off = 0, .len = 1 << 20}};
    cr_assert_eq(run(&grow), 0);
    cr_assert_eq(lseek(fd, 0, SEEK_END), 1 << 20);
    close(fd);
    close(file);
}

BOTH(what_the_host_refuses_is_the_result)
{
    char byte = 'x';
    int p[2], ro = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), file = scratch();
    cr_assert_eq(rw(LOOP_READV, -1, &byte, 1, 0), -EBADF);
    cr_assert_eq(rw(LOOP_WRITEV, -1, &byte, 1, 0), -EBADF);
    cr_assert_eq(rw(LOOP_WRITEV, ro, &byte, 1, 0), -EBADF);
    struct op sync = {.io = {.op = LOOP_FDATASYNC, .fd = -1}};
    cr_assert_eq(run(&sync), -EBADF);
    struct op punch = {.io = {.op = LOOP_FALLOCATE, .fd = -1, .len = 4096}};
    cr_assert_eq(run(&punch), -EBADF);
    make_pipe(p, "");
    punch.io.fd = p[1];
    cr_assert_eq(run(&punch), -ESPIPE);
    sync.io.fd = p[1];
    cr_assert_eq(run(&sync), -EINVAL);
    punch.io.fd = file;
    punch.io.len = 0;
    cr_assert_eq(run(&punch), -EINVAL);
    struct op many = {.io = {.op = LOOP_READV, .fd = ro, .iov = many.iov, .n_iov = 5000}};
    cr_assert_eq(run(&many), -EINVAL, "more than IOV_MAX");

    struct rlimit old, small;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    int64_t past = rw(LOOP_WRITEV, file, &byte, 1, 8192);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    cr_assert_eq(past, -EFBIG);
    close_pipe(p);
    close(ro);
    close(file);
}

BOTH(a_thousand_operations_at_once)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    for (unsigned i = 0; i < MANY; i++) {
        values[i] = i * 0x0101010101;
        loop_io(l, &many[i].io);
    }
    cr_assert_eq(ops_done, 0, "nothing runs in place");
    loop_settle(l);
    all_done();
    memset(values, 0, sizeof(values));
    prepare_many(LOOP_READV, fd);
    for (unsigned i = 0; i < MANY; i++)
        loop_io(l, &many[i].io);
    loop_settle(l);
    all_done();
    for (unsigned i = 0; i < MANY; i++)
        cr_assert_eq(values[i], i * 0x0101010101);
    close(fd);
}

BOTH(one_after_the_other)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    for (unsigned i = 0; i + 1 < MANY; i++)
        many[i].then = &many[i + 1];
    loop_io(l, &many[0].io);
    loop_settle(l);
    all_done();
    close(fd);
}
