/* devices/fs/waits.c - requests that wait for a lock (FUSE_SETLKW). They take no thread: each is
 * tried, put aside, and tried again when the guest let a lock go, and every now and then, because
 * somebody on the host may have. The loop goes through all of them, so there are not many. */
#include "devices/fs/fs_priv.h"

static const uint64_t AGAIN_NS = 50000000; /* for so many that wait: */
enum { AGAIN_OF = 16 };

static void retry(struct fs *fs);

static void expired(void *ctx)
{
    retry(ctx);
}

int waits_init(struct fs *fs)
{
    return loop_timer_open(fs->loop, &fs->waits.timer, expired, fs);
}

static void close_on_loop(void *ctx)
{
    loop_timer_close(ctx);
}

void waits_free(struct fs *fs)
{
    loop_call(fs->loop, close_on_loop, &fs->waits.timer);
}

/* An INTERRUPT has a queue of its own, and may overtake. */
static bool was_interrupted(struct fs *fs, uint64_t unique)
{
    for (size_t i = 0; i < ARRAY_SIZE(fs->waits.early); i++) {
        if (fs->waits.early[i] == unique && unique) {
            fs->waits.early[i] = 0;
            return true;
        }
    }
    return false;
}

bool waits_add(struct fs_req *r)
{
    struct fs *fs = r->fs;
    if (fs->waits.n == FS_WAITS_MAX)
        return false;
    fs->waits.n++;
    r->waits = true;
    r->interrupted = was_interrupted(fs, r->h.unique);
    r->next = fs->waits.first;
    r->at = &fs->waits.first;
    if (r->next)
        r->next->at = &r->next;
    fs->waits.first = r;
    return true;
}

void waits_remove(struct fs_req *r)
{
    *r->at = r->next;
    if (r->next)
        r->next->at = r->at;
    r->fs->waits.n--;
}

/* What a driver's user sees when it is the machine that does not wait: an error that fcntl() has,
 * and nothing that the guest's kernel would take for a signal. */
static int why_not(const struct fs_req *r)
{
    if (r->interrupted || atomic_load(&r->fs->aborting[r->queue]))
        return -EINTR;
    return r->fs->draining[r->queue] ? -ENOLCK : 0;
}

bool waits_park(struct fs_req *r)
{
    struct fs *fs = r->fs;
    r->error = why_not(r);
    if (r->error < 0)
        return false;
    if (r->freed != fs->waits.freed) {
        fs_try(r);
        return true;
    }
    r->parked = true;
    if (fs->waits.n_parked++ == 0)
        loop_timer_set(&fs->waits.timer, AGAIN_NS * (1 + fs->waits.n / AGAIN_OF));
    return true;
}

static void unpark(struct fs_req *r)
{
    r->parked = false;
    r->fs->waits.n_parked--;
}

static void retry(struct fs *fs)
{
    for (struct fs_req *r = fs->waits.first, *next; r && fs->waits.n_parked; r = next) {
        next = r->next;
        if (r->parked) {
            unpark(r);
            fs_try(r);
        }
    }
}

void waits_retry(struct fs *fs)
{
    fs->waits.freed++;
    retry(fs);
}

static void end(struct fs_req *r)
{
    if (!r->parked)
        return; /* on a thread: when it comes back */
    unpark(r);
    fs_answer_error(r, why_not(r));
}

void waits_interrupt(struct fs *fs, uint64_t unique)
{
    for (struct fs_req *r = fs->waits.first; r; r = r->next) {
        if (r->h.unique == unique) {
            r->interrupted = true;
            end(r);
            return;
        }
    }
    fs->waits.early[fs->waits.n_early++ % ARRAY_SIZE(fs->waits.early)] = unique;
}

void waits_forget(struct fs *fs)
{
    memset(fs->waits.early, 0, sizeof(fs->waits.early));
}

void waits_end_queue(struct fs *fs, unsigned queue)
{
    for (struct fs_req *r = fs->waits.first, *next; r; r = next) {
        next = r->next;
        if (r->queue == queue)
            end(r);
    }
}
