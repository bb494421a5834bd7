/* base/loop_work.c - see loop.h: threads for what may block, and the way back to the loop. */
#include <assert.h>

#include "base/loop_priv.h"

struct loop_pool {
    struct loop *loop;
    const char *name;
    const struct sandbox_list *calls;
    unsigned n;           /* threads */
    pthread_mutex_t lock; /* todo, stop */
    pthread_cond_t more;
    struct loop_work *todo, **todo_tail;
    atomic_bool stop;
    unsigned in_flight; /* the loop's */
    pthread_t threads[];
};

void loop_pool_free(struct loop_pool *p)
{
    if (!p)
        return;
    assert(p->in_flight == 0);
    (void)pthread_mutex_lock(&p->lock);
    p->stop = true;
    (void)pthread_cond_broadcast(&p->more);
    (void)pthread_mutex_unlock(&p->lock);
    sandbox_stopped();
    for (unsigned i = 0; i < p->n; i++)
        (void)pthread_join(p->threads[i], NULL);
    (void)pthread_mutex_destroy(&p->lock);
    (void)pthread_cond_destroy(&p->more);
    free(p);
}

static struct loop_work *take(struct loop_pool *p)
{
    struct loop_work *w = p->todo;
    if (w && (p->todo = w->next) == NULL)
        p->todo_tail = &p->todo;
    return w;
}

static void hand_back(struct loop *l, struct loop_work *w)
{
    w->next = NULL;
    (void)pthread_mutex_lock(&l->lock);
    *l->worked_tail = w;
    l->worked_tail = &w->next;
    loop_news(l);
    event_signal(l->wake_fd); /* before the loop can take it, and be freed */
    (void)pthread_mutex_unlock(&l->lock);
}

static void *pool_main(void *arg)
{
    struct loop_pool *p = arg;
    (void)pthread_setname_np(pthread_self(), p->name);
    sandbox_enter_unless(SANDBOX_POOL, p->calls, &p->stop);
    (void)pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        struct loop_work *w = take(p);
        if (!w) {
            (void)pthread_cond_wait(&p->more, &p->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&p->lock);
        w->fn(w);
        hand_back(p->loop, w);
        (void)pthread_mutex_lock(&p->lock);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* All at once: a thread that is born later would have the filter of whoever made it. */
int loop_pool_new(struct loop *l, const char *name, unsigned n, const struct sandbox_list *calls,
                  struct loop_pool **out)
{
    struct loop_pool *p = calloc(1, sizeof(*p) + n * sizeof(p->threads[0]));
    if (!p)
        return -ENOMEM;
    p->loop = l;
    p->name = name;
    p->calls = calls;
    p->todo_tail = &p->todo;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->more, NULL);
    int rc = 0;
    for (; rc == 0 && p->n < n; p->n += rc == 0)
        rc = -pthread_create(&p->threads[p->n], NULL, pool_main, p);
    if (rc < 0)
        loop_pool_free(p);
    else
        *out = p;
    return rc;
}

void loop_work(struct loop_pool *p, struct loop_work *w)
{
    w->pool = p;
    w->next = NULL;
    p->in_flight++;
    p->loop->working++;
    (void)pthread_mutex_lock(&p->lock);
    bool alone = p->n == 0;
    if (!alone) {
        *p->todo_tail = w;
        p->todo_tail = &w->next;
        (void)pthread_cond_signal(&p->more);
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (alone) {
        w->fn(w);
        hand_back(p->loop, w);
    }
}

unsigned loop_work_finish(struct loop *l)
{
    (void)pthread_mutex_lock(&l->lock);
    struct loop_work *w = TAKE_PTR(l->worked);
    l->worked_tail = &l->worked;
    loop_news(l);
    (void)pthread_mutex_unlock(&l->lock);

    unsigned n = 0;
    for (struct loop_work *next; w; w = next, n++) {
        next = w->next;
        l->working--;
        w->pool->in_flight--;
        w->done(w);
    }
    return n;
}
