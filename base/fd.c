/* base/fd.c - see base.h: descriptors, and names of what they are. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/base.h"

/* Not poll(), which a process that was stopped and continued goes on with by another system call
 * (restart_syscall), and each that a thread may make is one too many. */
uint32_t poll_now(int fd, short events)
{
    static const struct timespec now;
    struct pollfd p = {.fd = fd, .events = events};
    return ppoll(&p, 1, &now, NULL) > 0 ? (uint32_t)p.revents : 0;
}

int poll_ms(struct pollfd *fds, unsigned n, int timeout_ms)
{
    const struct timespec t = {.tv_sec = timeout_ms / 1000,
                               .tv_nsec = timeout_ms % 1000 * 1000000l};
    return ppoll(fds, n, timeout_ms < 0 ? NULL : &t, NULL);
}

int fd_unblocked(int fd)
{
    char self[32];
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    int own = open(self, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return own < 0 ? -errno : own;
}

int own_path_made(struct own_path *o, const char *path)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return -errno;
    *o = (struct own_path){.dev = st.st_dev, .ino = st.st_ino};
    return 0;
}

void own_path_remove(const struct own_path *o, const char *path)
{
    struct stat st;
    if (o->ino && lstat(path, &st) == 0 && st.st_dev == o->dev && st.st_ino == o->ino)
        (void)unlink(path);
}

/* --- how many --- */

enum { RESERVE = 1024 };

static pthread_once_t counted = PTHREAD_ONCE_INIT;
static atomic_uint_least64_t room, taken;

static void count(void)
{
    struct rlimit l = {0};
    (void)getrlimit(RLIMIT_NOFILE, &l);
    const struct rlimit most = {.rlim_cur = l.rlim_max, .rlim_max = l.rlim_max};
    if (l.rlim_cur < l.rlim_max && setrlimit(RLIMIT_NOFILE, &most) == 0)
        l = most;
    room = l.rlim_cur - MIN(l.rlim_cur / 4, (uint64_t)RESERVE); /* a quarter, where there are few */
}

uint64_t fd_room(void)
{
    (void)pthread_once(&counted, count);
    return room;
}

bool fd_take(void)
{
    if (atomic_fetch_add(&taken, 1) < fd_room())
        return true;
    taken--;
    return false;
}

void fd_give(void)
{
    taken--;
}

uint64_t fd_share(uint64_t most)
{
    uint64_t n, all = fd_room();
    do {
        n = MIN(most, all / 4);
    } while (!atomic_compare_exchange_weak(&room, &all, all - n));
    return n;
}

void fd_unshare(uint64_t n)
{
    room += n;
}
