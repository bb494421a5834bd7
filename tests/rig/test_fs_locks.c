/* tests/rig/test_fs_locks.c - locks of files: who has one, who waits for one, and what ends the
 * waiting: that it is free, an interruption, a reset, a pause. */
#include <sys/file.h>

#include "tests/rig/fs_fixture.h"

enum { ALICE = 11, BOB = 22 };

static uint64_t fh, node;

static void locks_up(const struct rig_options *o)
{
    up_with("", o);
    write_file("f", "0123456789", 10);
    node = node_of("f");
    cr_assert_eq(open_node(node, O_RDWR, &fh), 0);
}

static struct fuse_lk_in lock_arg(uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
    return (struct fuse_lk_in){
        .fh = fh, .owner = owner, .lk = {.start = start, .end = end, .type = type, .pid = 7}};
}

static int set_lock(uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
    const struct fuse_lk_in in = lock_arg(owner, type, start, end);
    return ask_for(FUSE_SETLK, node, ARGS(VALUE(in)), NULL, 0);
}

static struct fuse_file_lock get_lock(uint64_t owner, uint64_t start, uint64_t end)
{
    const struct fuse_lk_in in = lock_arg(owner, F_WRLCK, start, end);
    struct fuse_lk_out out;
    cr_assert_eq(ask_for(FUSE_GETLK, node, ARGS(VALUE(in)), &out, sizeof(out)), 0);
    return out.lk;
}

/* A lock that is waited for. */
struct waiting {
    uint64_t unique;
    gpa_t in;
    uint16_t id;
};

static void add_wait(struct waiting *w, struct fuse_lk_in in)
{
    const struct fuse_in_header h = header(FUSE_SETLKW, node, sizeof(in));
    gpa_t out = rig_alloc(rig, HEAD_IN + sizeof(in));
    memcpy(rig_at(rig, out, HEAD_IN), &h, HEAD_IN);
    memcpy(rig_at(rig, GPA(out.v + HEAD_IN), sizeof(in)), &in, sizeof(in));
    *w = (struct waiting){.unique = h.unique, .in = rig_alloc(rig, HEAD_OUT)};
    const struct rig_seg out_seg = {out, HEAD_IN + sizeof(in)}, in_seg = {w->in, HEAD_OUT};
    w->id = rig_add(rig, REQUESTS, &out_seg, 1, &in_seg, 1);
}

static struct waiting wait_for(uint64_t owner, uint32_t type, uint64_t start, uint64_t end)
{
    struct waiting w;
    add_wait(&w, lock_arg(owner, type, start, end));
    rig_kick(rig, REQUESTS);
    rig_settle(rig);
    return w;
}

static bool nothing_ended(void)
{
    uint32_t id, len;
    return !rig_used(rig, REQUESTS, &id, &len);
}

static int outcome(const struct waiting *w)
{
    struct fuse_out_header o;
    uint32_t id, len;
    cr_assert(rig_used(rig, REQUESTS, &id, &len), "it still waits");
    cr_assert_eq(id, w->id);
    cr_assert_eq(len, HEAD_OUT);
    memcpy(&o, rig_at(rig, w->in, HEAD_OUT), HEAD_OUT);
    cr_assert_eq(o.unique, w->unique);
    cr_assert_eq(o.len, HEAD_OUT);
    return o.error;
}

Test(fs_locks, ranges)
{
    locks_up(NULL);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 2, 5), 0);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 5, 9), -EAGAIN);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 6, INT64_MAX), 0);
    cr_assert_eq(set_lock(ALICE, F_RDLCK, 1 << 20, 1 << 20), -EAGAIN, "to the end of all files");
    struct fuse_file_lock l = get_lock(BOB, 0, 100);
    cr_assert_eq(l.type, F_WRLCK);
    cr_assert(l.start == 2 && l.end == 5);
    l = get_lock(ALICE, 4, 7);
    cr_assert(l.type == F_WRLCK && l.start == 6 && l.end == INT64_MAX);
    cr_assert_eq(get_lock(ALICE, 0, 5).type, F_UNLCK);
    cr_assert_eq(set_lock(ALICE, F_UNLCK, 2, 3), 0);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 2, 3), 0);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 4, 4), -EAGAIN);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 5, 4), -EINVAL);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 0, UINT64_MAX), -EINVAL);
    cr_assert_eq(set_lock(BOB, 77, 0, 1), -EINVAL);
    fh = 4711;
    cr_assert_eq(set_lock(BOB, F_WRLCK, 0, 1), -EBADF);
    down();
}

Test(fs_locks, a_flush_lets_go)
{
    locks_up(NULL);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 0, 5), 0);
    struct waiting w = wait_for(BOB, F_WRLCK, 0, 9);
    cr_assert(nothing_ended());
    cr_assert_eq(reported(rig, "waiting_for_locks"), 1);
    const struct fuse_flush_in in = {.fh = fh, .lock_owner = ALICE};
    const struct fuse_in_header h = header(FUSE_FLUSH, node, sizeof(in));
    struct fuse_out_header o;
    submit(REQUESTS, place(&h, ARGS(VALUE(in))), in_at, HEAD_OUT);
    rig_settle(rig);
    cr_assert_eq(take_answer(REQUESTS, in_at, &o), HEAD_OUT);
    cr_assert_eq(outcome(&w), 0);
    cr_assert_eq(reported(rig, "waiting_for_locks"), 0);
    cr_assert_eq(set_lock(ALICE, F_RDLCK, 9, 9), -EAGAIN, "it has it indeed");
    down();
}

/* Many wait: each gets its turn, and never two at once. */
Test(fs_locks, one_after_the_other)
{
    enum { N = 10 };
    struct waiting w[N];
    unsigned got = 0;
    locks_up(NULL);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 0, 0), 0);
    for (unsigned i = 0; i < N; i++)
        w[i] = wait_for(100 + i, F_WRLCK, 0, 0);
    cr_assert_eq(reported(rig, "waiting_for_locks"), N);
    uint64_t holder = ALICE;
    while (got < N) {
        const struct fuse_lk_in in = lock_arg(holder, F_UNLCK, 0, 0);
        const struct fuse_in_header h = header(FUSE_SETLK, node, sizeof(in));
        struct fuse_out_header o;
        uint32_t id, len;
        submit(REQUESTS, place(&h, ARGS(VALUE(in))), in_at, HEAD_OUT);
        rig_settle(rig);
        cr_assert_eq(take_answer(REQUESTS, in_at, &o), HEAD_OUT);
        cr_assert(rig_used(rig, REQUESTS, &id, &len), "nobody got it");
        for (unsigned i = 0; i < N; i++) {
            if (w[i].id == id && w[i].unique) {
                memcpy(&o, rig_at(rig, w[i].in, HEAD_OUT), HEAD_OUT);
                cr_assert(o.unique == w[i].unique && o.error == 0);
                w[i].unique = 0;
                holder = 100 + i;
                break;
            }
        }
        cr_assert(nothing_ended(), "two of them");
        got++;
    }
    down();
}

/* Somebody on the host had it: nothing tells us when it goes. */
Test(fs_locks, a_lock_of_the_hosts)
{
    locks_up(NULL);
    int fd = open(in_folder("f"), O_RDWR);
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    cr_assert_eq(fcntl(fd, F_OFD_SETLK, &l), 0);
    cr_assert_eq(set_lock(ALICE, F_RDLCK, 0, 0), -EAGAIN);
    struct waiting w = wait_for(ALICE, F_RDLCK, 0, 0);
    cr_assert(nothing_ended());
    close(fd);
    while (reported(rig, "waiting_for_locks") || reported(rig, "requests") < 5)
        (void)loop_step(rig->loop, -1);
    rig_settle(rig);
    cr_assert_eq(outcome(&w), 0);
    down();
}

Test(fs_locks, whole_files)
{
    locks_up(NULL);
    struct fuse_lk_in in = lock_arg(ALICE, F_WRLCK, 0, INT64_MAX);
    in.lk_flags = FUSE_LK_FLOCK;
    cr_assert_eq(ask_for(FUSE_SETLK, node, ARGS(VALUE(in)), NULL, 0), 0);
    int fd = open(in_folder("f"), O_RDWR);
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), -1, "the host sees it");
    in.lk.type = F_UNLCK;
    cr_assert_eq(ask_for(FUSE_SETLK, node, ARGS(VALUE(in)), NULL, 0), 0);
    cr_assert_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    in.lk.type = F_WRLCK;
    cr_assert_eq(ask_for(FUSE_SETLK, node, ARGS(VALUE(in)), NULL, 0), -EAGAIN);
    close(fd);
    down();
}

Test(fs_locks, interrupted)
{
    locks_up(NULL);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 0, 0), 0);
    struct waiting a = wait_for(BOB, F_WRLCK, 0, 0), b = wait_for(33, F_WRLCK, 0, 0);
    const struct fuse_interrupt_in none = {.unique = 999999}, in = {.unique = b.unique};
    tell(FUSE_INTERRUPT, 0, ARGS(VALUE(none)));
    cr_assert(nothing_ended());
    tell(FUSE_INTERRUPT, 0, ARGS(VALUE(in)));
    cr_assert_eq(outcome(&b), -EINTR);
    cr_assert(nothing_ended());
    cr_assert_eq(reported(rig, "waiting_for_locks"), 1);
    /* It comes by a queue of its own, and so may come first. */
    const struct fuse_interrupt_in early = {.unique = last_unique + 2};
    tell(FUSE_INTERRUPT, 0, ARGS(VALUE(early)));
    struct waiting c = wait_for(44, F_WRLCK, 0, 0);
    cr_assert_eq(c.unique, early.unique);
    cr_assert_eq(outcome(&c), -EINTR);
    c = wait_for(44, F_WRLCK, 0, 0);
    cr_assert(nothing_ended(), "that was for the one before");
    rig_status_set(rig, 0);
    (void)a;
    down();
}

Test(fs_locks, a_reset_ends_the_waiting)
{
    locks_up(NULL);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 0, 0), 0);
    for (unsigned i = 0; i < 5; i++)
        (void)wait_for(BOB + i, F_WRLCK, 0, 0);
    rig_up_again(rig);
    buffers_up();
    (void)init_with(36, ~0ull);
    cr_assert_eq(reported(rig, "waiting_for_locks"), 0);
    node = node_of("f");
    cr_assert_eq(open_node(node, O_RDWR, &fh), 0);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 0, 0), 0, "and the locks are gone");
    down();
}

/* Nothing that the driver's kernel would take for a signal: it would show its user errno 512. */
Test(fs_locks, a_pause_ends_the_waiting)
{
    locks_up(NULL);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 0, 0), 0);
    struct waiting w = wait_for(BOB, F_WRLCK, 0, 0);
    vdev_pause(rig->dev);
    vdev_resume(rig->dev);
    rig_settle(rig);
    cr_assert_eq(outcome(&w), -ENOLCK);
    cr_assert_eq(set_lock(ALICE, F_UNLCK, 0, 0), 0);
    cr_assert_eq(set_lock(BOB, F_WRLCK, 0, 0), 0);
    down();
}

/* Many more than there are threads: the device goes on for everybody else. */
Test(fs_locks, nobody_waits_for_those_who_wait)
{
    struct waiting w[40];
    locks_up(NULL);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 0, 0), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
        w[i] = wait_for(BOB + i, F_WRLCK, 0, 0);
    struct fuse_attr a;
    for (unsigned i = 0; i < 100; i++)
        cr_assert_eq(getattr(node, &a), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
        const struct fuse_interrupt_in in = {.unique = w[i].unique};
        tell(FUSE_INTERRUPT, 0, ARGS(VALUE(in)));
        cr_assert_eq(outcome(&w[i]), -EINTR);
    }
    down();
}

/* The loop goes through all of them for each lock that goes: one ring's worth, however many there
 * are. */
Test(fs_locks, so_many_wait)
{
    enum { MOST = 512, QUEUES = 3, EACH = 200 };
    unsigned refused = 0;
    uint32_t id, len;
    up_with(",queues=3", NULL);
    write_file("f", "0123456789", 10);
    node = node_of("f");
    cr_assert_eq(open_node(node, O_RDWR, &fh), 0);
    cr_assert_eq(set_lock(ALICE, F_WRLCK, 0, 0), 0);
    const struct fuse_lk_in arg = lock_arg(BOB, F_WRLCK, 0, 0);
    const struct fuse_in_header h = header(FUSE_SETLKW, node, sizeof(arg));
    const struct rig_seg out_seg = {out_at, place(&h, ARGS(VALUE(arg)))};
    const struct rig_seg in_seg = {in_at, HEAD_OUT};
    for (unsigned q = REQUESTS; q < REQUESTS + QUEUES; q++) {
        for (unsigned i = 0; i < EACH; i++)
            (void)rig_add(rig, q, &out_seg, 1, &in_seg, 1);
        rig_kick(rig, q);
    }
    rig_settle(rig);
    cr_assert_eq(reported(rig, "waiting_for_locks"), MOST);
    for (unsigned q = REQUESTS; q < REQUESTS + QUEUES; q++) {
        for (; rig_used(rig, q, &id, &len); refused++) {
            struct fuse_out_header o;
            cr_assert_eq(len, HEAD_OUT);
            memcpy(&o, rig_at(rig, in_at, HEAD_OUT), HEAD_OUT);
            cr_assert_eq(o.error, -ENOLCK);
        }
    }
    cr_assert_eq(refused, QUEUES * EACH - MOST);
    const struct fuse_interrupt_in one = {.unique = h.unique};
    tell(FUSE_INTERRUPT, 0, ARGS(VALUE(one)));
    cr_assert_eq(reported(rig, "waiting_for_locks"), MOST - 1);
    (void)place(&h, ARGS(VALUE(arg)));
    (void)rig_add(rig, REQUESTS, &out_seg, 1, &in_seg, 1);
    rig_kick(rig, REQUESTS);
    rig_settle(rig);
    cr_assert_eq(reported(rig, "waiting_for_locks"), MOST, "and there is a place again");
    down();
}
