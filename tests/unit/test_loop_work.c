/* tests/unit/test_loop_work.c - pools of threads for work that may block: each piece runs once
 * elsewhere and ends on the loop, and what is stuck stops nothing but its own pool. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "base/loop.h"

static struct loop *l;

/* One body, a test for each back end; where io_uring is refused, that one is epoll's again. */
#define BOTH(name)                                                                                 \
    static void name(void);                                                                        \
    Test(uring_work, name, .timeout = 30)                                                          \
    {                                                                                              \
        cr_assert_eq(loop_new("test", LOOP_AUTO, &l), 0);                                          \
        name();                                                                                    \
        loop_free(l);                                                                              \
    }                                                                                              \
    Test(epoll_work, name, .timeout = 30)                                                          \
    {                                                                                              \
        cr_assert_eq(loop_new("test", LOOP_EPOLL, &l), 0);                                         \
        name();                                                                                    \
        loop_free(l);                                                                              \
    }                                                                                              \
    static void name(void)

static void wait_for(sem_t *s)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    while (sem_timedwait(s, &until) < 0)
        cr_assert_eq(errno, EINTR, "it never came");
}

struct job {
    struct loop_work w;
    sem_t *begins, *may_end; /* NULL: neither tells nor waits */
    unsigned worked, done;
    pthread_t worked_on;
    struct loop_pool *again; /* done hands it in once more */
};
static unsigned jobs_done;
static pthread_t done_on;

static void job_work(struct loop_work *w)
{
    struct job *j = container_of(w, struct job, w);
    j->worked_on = pthread_self();
    j->worked++;
    if (j->begins)
        sem_post(j->begins);
    if (j->may_end)
        wait_for(j->may_end);
}

static void job_done(struct loop_work *w)
{
    struct job *j = container_of(w, struct job, w);
    done_on = pthread_self();
    j->done++;
    jobs_done++;
    if (j->again)
        loop_work(TAKE_PTR(j->again), w);
}

static void hand_in(struct loop_pool *p, struct job *j)
{
    j->w = (struct loop_work){.fn = job_work, .done = job_done};
    loop_work(p, &j->w);
}

static struct loop_pool *new_pool(unsigned n)
{
    struct loop_pool *p;
    cr_assert_eq(loop_pool_new(l, "pool", n, NULL, &p), 0);
    return p;
}

BOTH(work_runs_elsewhere_and_ends_here)
{
    struct loop_pool *p = new_pool(2);
    struct job j = {.again = p};
    hand_in(p, &j);
    cr_assert_eq(j.done, 0, "not before a turn");
    loop_settle(l);
    cr_assert_eq(j.worked, 2);
    cr_assert_eq(j.done, 2);
    cr_assert_not(pthread_equal(j.worked_on, pthread_self()));
    cr_assert(pthread_equal(done_on, pthread_self()));
    loop_pool_free(p);
}

static void count_run(void *ctx)
{
    ++*(unsigned *)ctx;
}

BOTH(work_that_blocks_holds_up_neither_the_loop_nor_another_pool)
{
    enum { THREADS = 3 };
    struct loop_pool *stuck = new_pool(THREADS), *other = new_pool(1);
    sem_t begins, may_end;
    struct job jobs[THREADS + 1] = {0}, quick = {0};
    unsigned ran = 0;
    struct loop_task t = {.fn = count_run, .ctx = &ran};
    sem_init(&begins, 0, 0);
    sem_init(&may_end, 0, 0);
    jobs_done = 0;
    for (unsigned i = 0; i <= THREADS; i++) {
        jobs[i].begins = &begins;
        jobs[i].may_end = &may_end;
        hand_in(stuck, &jobs[i]);
    }
    for (unsigned i = 0; i < THREADS; i++)
        wait_for(&begins); /* so many at once, */
    cr_assert_eq(jobs[THREADS].worked, 0, "and no more");
    hand_in(other, &quick);
    loop_post(l, &t);
    while (!quick.done)
        (void)loop_step(l, -1);
    cr_assert_eq(ran, 1);
    cr_assert_eq(jobs_done, 1);
    for (unsigned i = 0; i <= THREADS; i++)
        sem_post(&may_end);
    loop_settle(l);
    cr_assert_eq(jobs_done, THREADS + 2);
    loop_pool_free(stuck);
    loop_pool_free(other);
}

BOTH(much_work_on_a_loop_with_a_thread)
{
    enum { JOBS = 500 };
    static struct job jobs[JOBS];
    struct loop_pool *p = new_pool(4);
    memset(jobs, 0, sizeof(jobs));
    jobs_done = 0;
    for (unsigned i = 0; i < JOBS; i++)
        hand_in(p, &jobs[i]);
    cr_assert_eq(loop_start(l), 0);
    loop_stop(l); /* ends what was handed in */
    cr_assert_eq(jobs_done, JOBS);
    for (unsigned i = 0; i < JOBS; i++)
        cr_assert(jobs[i].worked == 1 && jobs[i].done == 1, "job %u", i);
    loop_pool_free(p);
}

static void post_ends(void *ctx)
{
    sem_post(ctx);
}

BOTH(settling_waits_for_work)
{
    sem_t may_end;
    struct job j = {.may_end = &may_end}, k = {0};
    struct loop_pool *p = new_pool(1);
    struct loop_task t = {.fn = post_ends, .ctx = &may_end};
    sem_init(&may_end, 0, 0);
    hand_in(p, &j);
    hand_in(p, &k);
    loop_post(l, &t);
    loop_settle(l);
    cr_assert(j.done == 1 && k.done == 1);
    loop_pool_free(p);
    loop_pool_free(NULL);
}

BOTH(work_without_a_thread)
{
    struct loop_pool *p = new_pool(0);
    struct job j = {0};
    hand_in(p, &j);
    cr_assert_eq(j.worked, 1, "at once");
    cr_assert_eq(j.done, 0);
    loop_settle(l);
    cr_assert_eq(j.done, 1);
    loop_pool_free(p);
}
