/* tests/unit/test_loop_threads.c - the event loop on a thread of its own, for io_uring and for
 * epoll: who calls whom, and that it begins and ends cleanly at any moment. */
#include <dirent.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "tests/unit/loop_try.h"

static sem_t sem;

static void post_sem(void *ctx)
{
    sem_post(ctx);
}

BOTH(a_call_runs_on_the_loops_thread)
{
    pthread_t where;
    cr_assert_not(loop_runs(l));
    loop_call(l, note_thread, &where);
    cr_assert(pthread_equal(where, pthread_self()), "without a thread: in place");
    start();
    cr_assert_eq(loop_backend(l), backend);
    char name[32] = "";
    cr_assert_eq(pthread_getname_np(loop_thread, name, sizeof(name)), 0);
    cr_assert_str_eq(name, "test");
    loop_stop(l);
    cr_assert_not(loop_runs(l));
    loop_stop(l);
}

static void call_from_itself(void *ctx)
{
    pthread_t where;
    cr_assert_not(loop_runs(l), "not from its own thread");
    loop_call(l, note_thread, &where);
    *(bool *)ctx = pthread_equal(where, pthread_self());
}

BOTH(a_call_from_its_own_thread_runs_in_place)
{
    bool same = false;
    start();
    loop_call(l, call_from_itself, &same);
    cr_assert(same);
    loop_stop(l);
}

static unsigned counted; /* by the loop's thread only */

static void count(void *ctx)
{
    (void)ctx;
    counted++;
}

static void *caller(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 1000; i++)
        loop_call(l, count, NULL);
    return NULL;
}

BOTH(calls_from_many_threads)
{
    pthread_t threads[4];
    counted = 0;
    start();
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, caller, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    loop_stop(l);
    cr_assert_eq(counted, 4000);
}

BOTH(a_post_from_another_thread_wakes_it)
{
    sem_init(&sem, 0, 0);
    struct loop_task t = {.fn = post_sem, .ctx = &sem};
    start();
    for (unsigned i = 0; i < 1000; i++) {
        loop_post(l, &t);
        wait_for(&sem);
    }
    loop_stop(l);
}

BOTH(what_was_posted_before_the_start_runs)
{
    sem_init(&sem, 0, 0);
    struct loop_task t = {.fn = post_sem, .ctx = &sem};
    loop_post(l, &t);
    start();
    wait_for(&sem);
    loop_stop(l);
}

static void *post_many(void *arg)
{
    struct loop_task *t = arg;
    for (unsigned i = 0; i < 1000; i++)
        loop_post(l, &t[i]);
    return NULL;
}

BOTH(posts_from_many_threads)
{
    static struct loop_task t[4][1000];
    pthread_t threads[4];
    counted = 0;
    start();
    for (unsigned i = 0; i < 4; i++) {
        for (unsigned k = 0; k < 1000; k++)
            t[i][k] = (struct loop_task){.fn = count};
        cr_assert_eq(pthread_create(&threads[i], NULL, post_many, t[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    sem_init(&sem, 0, 0);
    struct loop_task last = {.fn = post_sem, .ctx = &sem};
    loop_post(l, &last);
    wait_for(&sem);
    loop_stop(l);
    cr_assert_eq(counted, 4000);
}

BOTH(done_runs_on_the_loops_thread)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    start();
    loop_call(l, submit_many, NULL);
    for (unsigned i = 0; i < 10000 && ops_done < MANY; i++) {
        struct timespec ms = {.tv_nsec = 1000000};
        (void)nanosleep(&ms, NULL);
        bool ignored;
        loop_call(l, call_from_itself, &ignored);
    }
    all_done();
    cr_assert(pthread_equal(done_on, loop_thread));
    loop_stop(l);
    close(fd);
}

/* --- beginning and end --- */

BOTH(starts_and_stops_again_and_again)
{
    int fd = eventfd(0, EFD_CLOEXEC), file = scratch(), p[2];
    sem_init(&sem, 0, 0);
    struct heard h = {0}, quiet = {0};
    make_pipe(p, "");
    watch(&quiet, p[0], POLLIN);
    watch(&h, fd, POLLIN);
    loop_unwatch(l, &h.w);
    h.w.counter = true;
    cr_assert_eq(loop_watch(l, &h.w), 0);
    for (unsigned i = 1, ran = 0; i <= 20; i++) {
        struct loop_task t = {.fn = post_sem, .ctx = &sem};
        const uint64_t one = 1;
        prepare_many(LOOP_WRITEV, file);
        start();
        cr_assert_eq(write(fd, &one, 8), 8);
        loop_call(l, submit_many, NULL);
        loop_post(l, &t);
        wait_for(&sem);
        for (unsigned k = 0; k < 10000 && (ops_done < MANY || h.ran == ran); k++) {
            struct timespec ms = {.tv_nsec = 1000000};
            (void)nanosleep(&ms, NULL);
            loop_call(l, count, NULL);
        }
        loop_stop(l);
        all_done();
        cr_assert(h.ran > ran && h.ran <= ran + 2, "%u after %u: and once that it was", h.ran, ran);
        ran = h.ran;
        cr_assert_eq(quiet.ran, 0, "an end is no event");
    }
    cr_assert_eq(write(p[1], "x", 1), 1);
    (void)loop_step(l, 1000);
    cr_assert_eq(quiet.ran, 1, "and it is still watched");
    loop_unwatch(l, &quiet.w);
    loop_unwatch(l, &h.w);
    close(fd);
    close(file);
    close_pipe(p);
}

BOTH(stepped_by_hand_after_a_stop)
{
    char byte = 'x';
    int file = scratch(), p[2];
    struct heard h = {0};
    start();
    loop_stop(l);
    cr_assert_eq(rw(LOOP_WRITEV, file, &byte, 1, 0), 1);
    make_pipe(p, "x");
    watch(&h, p[0], POLLIN);
    (void)loop_step(l, 1000);
    cr_assert_eq(h.ran, 1);
    loop_unwatch(l, &h.w);
    close_pipe(p);
    close(file);
}

BOTH(started_after_it_was_stepped_by_hand)
{
    sem_init(&sem, 0, 0);
    struct loop_task t = {.fn = post_sem, .ctx = &sem};
    (void)loop_step(l, 0);
    start();
    loop_post(l, &t);
    wait_for(&sem);
    loop_stop(l);
}

BOTH(free_waits_for_what_is_in_flight)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    submit_many(NULL);
    (void)loop_step(l, 0);
    loop_free(TAKE_PTR(l));
    all_done();
    close(fd);
}

BOTH(free_stops_a_thread_with_io_in_flight)
{
    int fd = scratch();
    prepare_many(LOOP_WRITEV, fd);
    for (unsigned i = 0; i < MANY; i++)
        many[i].io.dsync = true;
    start();
    loop_call(l, submit_many, NULL);
    loop_free(TAKE_PTR(l));
    all_done();
    close(fd);
}

BOTH(many_unwatched_after_the_thread_has_ended)
{
    enum { N = 200 };
    static struct heard h[N];
    int p[2];
    make_pipe(p, "");
    for (unsigned i = 0; i < N; i++) {
        int fd = dup(p[0]);
        watch(&h[i], fd, POLLIN);
    }
    start();
    loop_call(l, count, NULL);
    loop_call(l, count, NULL);
    loop_stop(l);
    for (unsigned i = 0; i < N; i++) {
        loop_unwatch(l, &h[i].w);
        close(h[i].w.fd);
    }
    close_pipe(p);
}

static unsigned open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    unsigned n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

BOTH(leaves_no_descriptor_behind)
{
    int file = scratch();
    unsigned before = open_fds();
    struct loop *kept = TAKE_PTR(l);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert_eq(loop_new("test", backend, &l), 0);
        if (i % 2)
            start();
        else
            (void)loop_step(l, 0);
        prepare_many(LOOP_WRITEV, file);
        if (i % 2)
            loop_stop(l);
        else
            submit_many(NULL), loop_settle(l);
        loop_free(l);
    }
    l = kept;
    cr_assert_eq(open_fds(), before);
    close(file);
}

Test(epoll, free_takes_null)
{
    loop_free(NULL);
}

Test(epoll, whatever_there_is)
{
    cr_assert_eq(loop_new("auto", LOOP_AUTO, &l), 0);
    (void)loop_step(l, 0);
    cr_assert_neq(loop_backend(l), LOOP_AUTO);
    loop_free(l);
}
