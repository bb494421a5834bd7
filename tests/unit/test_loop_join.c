/* tests/unit/test_loop_join.c - file operations that go on where another one ends: io_uring is
 * given one for all of them, and each has the result that it would have had alone. */
#include <signal.h>
#include <sys/resource.h>

#include "base/loop_priv.h"
#include "tests/unit/loop_try.h"

enum { N = 16, BLOCK = 4096 };
static char blocks[N][BLOCK];
static struct op ops[N];

static void blocks_fill(void)
{
    for (unsigned i = 0; i < N; i++)
        memset(blocks[i], 'a' + (int)i, BLOCK);
}

/* One block each, one behind the other. */
static void prepare(enum loop_io_op op, int fd, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        ops[i] = (struct op){.io = {.op = op, .fd = fd, .n_iov = 1, .off = i * (uint64_t)BLOCK}};
        ops[i].iov[0] = (struct iovec){.iov_base = blocks[i], .iov_len = BLOCK};
    }
}

/* Hands them over together; so many become part of another, where there is io_uring. */
static void go_with(const struct iovec *iov, unsigned n, unsigned joined)
{
    uint64_t before = l->joined;
    for (unsigned i = 0; i < n; i++) {
        ops[i].io.iov = iov ? iov : ops[i].iov;
        ops[i].io.done = op_done;
        ops[i].result = -1;
        ops[i].done = 0;
        loop_io(l, &ops[i].io);
    }
    loop_settle(l);
    for (unsigned i = 0; i < n; i++)
        cr_expect_eq(ops[i].done, 1, "operation %u ended %u times", i, ops[i].done);
    cr_expect_eq(l->joined - before, backend == LOOP_URING ? joined : 0, "%lu were joined",
                 l->joined - before);
}

static void go(unsigned n, unsigned joined)
{
    go_with(NULL, n, joined);
}

static void expect(unsigned i, int64_t result)
{
    cr_expect_eq(ops[i].result, result, "operation %u: %ld", i, ops[i].result);
}

BOTH(neighbours_become_one)
{
    static char back[N][BLOCK];
    int fd = scratch();
    blocks_fill();
    prepare(LOOP_WRITEV, fd, N);
    go(N, N - 1);
    for (unsigned i = 0; i < N; i++)
        expect(i, BLOCK);
    cr_assert_eq(pread(fd, back, sizeof(back), 0), (ssize_t)sizeof(back));
    cr_expect_arr_eq(back, blocks, sizeof(back));

    memset(blocks, 0, sizeof(blocks));
    prepare(LOOP_READV, fd, N);
    go(N, N - 1);
    for (unsigned i = 0; i < N; i++)
        expect(i, BLOCK);
    cr_expect_arr_eq(back, blocks, sizeof(back));
    close(fd);
}

BOTH(others_do_not)
{
    int fd = scratch(), other = scratch();
    prepare(LOOP_WRITEV, fd, 8);
    ops[1].io.off++;                                              /* a gap */
    ops[2].io.fd = other;                                         /* another file */
    ops[4].io.dsync = ops[5].io.dsync = true;                     /* an error that is said once */
    ops[6].io = (struct loop_io){.op = LOOP_FDATASYNC, .fd = fd}; /* in between */
    go(8, 0);
    prepare(LOOP_READV, fd, 2);
    ops[0].io.op = LOOP_WRITEV;
    go(2, 0);
    prepare(LOOP_FALLOCATE, fd, 2);
    ops[0].io.len = ops[1].io.len = BLOCK;
    go(2, 0);
    for (unsigned i = 0; i < 2; i++)
        expect(i, 0);
    close(fd);
    close(other);
}

BOTH(a_file_that_ends_among_them)
{
    int fd = scratch();
    cr_assert_eq(ftruncate(fd, BLOCK * 5 / 2), 0);
    prepare(LOOP_READV, fd, 5);
    go(5, 4);
    expect(0, BLOCK), expect(1, BLOCK), expect(2, BLOCK / 2), expect(3, 0), expect(4, 0);
    close(fd);
}

BOTH(an_error_is_its_own_only)
{
    static char back[N][BLOCK];
    int fd = scratch();
    struct rlimit most = {.rlim_cur = BLOCK * 5 / 2, .rlim_max = RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &most), 0);
    blocks_fill();
    prepare(LOOP_WRITEV, fd, 4);
    go(4, 3);
    most.rlim_cur = RLIM_INFINITY;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &most), 0);
    expect(0, BLOCK), expect(1, BLOCK), expect(2, BLOCK / 2), expect(3, -EFBIG);
    cr_expect_eq(pread(fd, back, sizeof(back), 0), BLOCK * 5 / 2);
    cr_expect_arr_eq(back, blocks, BLOCK * 5 / 2);

    close(fd);
    prepare(LOOP_READV, fd, 3);
    go(3, 2);
    for (unsigned i = 0; i < 3; i++)
        expect(i, -EBADF);
}

/* What one operation may be: 1 MiB, 256 segments; and all that were not taken yet, 1024. */
BOTH(there_is_an_end_to_it)
{
    static char many[3][768 << 10];
    static struct iovec pieces[100];
    int fd = scratch();
    prepare(LOOP_WRITEV, fd, 3);
    for (unsigned i = 0; i < 3; i++) {
        ops[i].iov[0] = (struct iovec){.iov_base = many[i], .iov_len = sizeof(many[0]) / (1 + i)};
        ops[i].io.off = i ? ops[i - 1].io.off + ops[i - 1].iov[0].iov_len : 0;
    }
    go(3, 1);
    prepare(LOOP_WRITEV, fd, N);
    for (unsigned k = 0; k < ARRAY_SIZE(pieces); k++)
        pieces[k] = (struct iovec){.iov_base = blocks[0], .iov_len = 1};
    for (unsigned i = 0; i < N; i++) {
        ops[i].io.off = i * ARRAY_SIZE(pieces);
        ops[i].io.n_iov = ARRAY_SIZE(pieces);
    }
    go_with(pieces, N, 5); /* in twos, and then there is no room for another two */
    for (unsigned i = 0; i < N; i++)
        expect(i, ARRAY_SIZE(pieces));
    close(fd);
}
