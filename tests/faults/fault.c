/* tests/faults/fault.c - see fault.h: a wrapper for each function of the host's that may fail. */
#include "tests/faults/fault.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/loop_priv.h"

static struct {
    struct fault f;
    atomic_uint calls, hits;
} points[FAULT_POINTS];
static atomic_bool paused;

void fault_pause(bool on)
{
    atomic_store(&paused, on);
}

void fault_set(enum fault_point at, struct fault f)
{
    points[at].f = f;
    atomic_store(&points[at].hits, 0);
    atomic_store(&points[at].calls, 0); /* last: from here on it counts */
}

unsigned fault_calls(enum fault_point at)
{
    return atomic_load(&points[at].calls);
}

unsigned fault_hits(enum fault_point at)
{
    return atomic_load(&points[at].hits);
}

void fault_clear(void)
{
    for (int i = 0; i < FAULT_POINTS; i++)
        fault_set((enum fault_point)i, (struct fault){0});
}

/* What this call is to suffer, or NULL. */
static const struct fault *suffer(enum fault_point at)
{
    const struct fault *f = &points[at].f;
    if (atomic_load(&paused))
        return NULL;
    unsigned n = atomic_fetch_add(&points[at].calls, 1);
    if (n < f->skip || n - f->skip >= f->times)
        return NULL;
    atomic_fetch_add(&points[at].hits, 1);
    return f;
}

/* --- what can be used up --- */

/* WRAP(what it returns then, its errno, ...): a function that takes something of the host's. */
static bool used_up(int error)
{
    const struct fault *f = suffer(FAULT_RESOURCE);
    if (f)
        errno = f->error ? f->error : error;
    return f;
}

#define WRAP(type, name, args, call, none, error)                                                  \
    type __real_##name args;                                                                       \
    type __wrap_##name args;                                                                       \
    type __wrap_##name args                                                                        \
    {                                                                                              \
        return used_up(error) ? (none) : __real_##name call;                                       \
    }

WRAP(void *, malloc, (size_t n), (n), NULL, ENOMEM)
WRAP(void *, calloc, (size_t n, size_t m), (n, m), NULL, ENOMEM)
WRAP(void *, realloc, (void *p, size_t n), (p, n), NULL, ENOMEM)
WRAP(void *, aligned_alloc, (size_t a, size_t n), (a, n), NULL, ENOMEM)
WRAP(char *, strdup, (const char *s), (s), NULL, ENOMEM)
WRAP(char *, strndup, (const char *s, size_t n), (s, n), NULL, ENOMEM)
WRAP(char *, realpath, (const char *s, char *to), (s, to), NULL, ENOMEM)
WRAP(FILE *, fopen, (const char *s, const char *how), (s, how), NULL, EMFILE)
WRAP(FILE *, fdopen, (int fd, const char *how), (fd, how), NULL, ENOMEM)
WRAP(void *, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off),
     (at, n, prot, flags, fd, off), MAP_FAILED, ENOMEM)
WRAP(int, memfd_create, (const char *s, unsigned flags), (s, flags), -1, EMFILE)
WRAP(int, eventfd, (unsigned n, int flags), (n, flags), -1, EMFILE)
WRAP(int, timerfd_create, (clockid_t c, int flags), (c, flags), -1, EMFILE)
WRAP(int, signalfd, (int fd, const sigset_t *s, int flags), (fd, s, flags), -1, EMFILE)
WRAP(int, epoll_create1, (int flags), (flags), -1, EMFILE)
WRAP(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev), -1, ENOMEM)
WRAP(int, socket, (int d, int t, int p), (d, t, p), -1, EMFILE)
WRAP(int, dup3, (int from, int to, int flags), (from, to, flags), -1, EMFILE)
WRAP(int, pthread_create, (pthread_t * t, const pthread_attr_t *a, void *(*fn)(void *), void *arg),
     (t, a, fn, arg), EAGAIN, EAGAIN)

static int take_text(char **out, const char *fmt, va_list ap)
{
    return used_up(ENOMEM) ? -1 : vasprintf(out, fmt, ap);
}

int __wrap_asprintf(char **out, const char *fmt, ...);
int __wrap_asprintf(char **out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = take_text(out, fmt, ap);
    va_end(ap);
    return n;
}

/* By this name where the compiler fortifies. */
int __wrap___asprintf_chk(char **out, int flag, const char *fmt, ...);
int __wrap___asprintf_chk(char **out, int flag, const char *fmt, ...)
{
    va_list ap;
    (void)flag;
    va_start(ap, fmt);
    int n = take_text(out, fmt, ap);
    va_end(ap);
    return n;
}

int __real_io_uring_queue_init_params(unsigned n, struct io_uring *r, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *r, struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned n, struct io_uring *r, struct io_uring_params *p)
{
    const struct fault *f = suffer(FAULT_URING);
    if (f)
        return -f->error;
    return used_up(ENOMEM) ? -ENOMEM : __real_io_uring_queue_init_params(n, r, p);
}

/* --- file operations of the loop --- */

enum { DAMAGE = 0xdd };

static void damage(const struct iovec *iov, unsigned n, size_t from)
{
    for (unsigned i = 0; i < n; from -= MIN(from, iov[i].iov_len), i++) {
        if (from < iov[i].iov_len)
            memset((uint8_t *)iov[i].iov_base + from, DAMAGE, iov[i].iov_len - from);
    }
}

/* Bytes that were not to be written yet: nobody may count on them. */
static void damage_file(int fd, uint64_t off, size_t len)
{
    static const uint8_t bytes[4096] = {[0 ... 4095] = DAMAGE};
    for (size_t done = 0; done < len; done += MIN(len - done, sizeof(bytes)))
        (void)!pwrite(fd, bytes, MIN(len - done, sizeof(bytes)), (off_t)(off + done));
}

void __real_loop_io_finish(struct loop *l, struct loop_io *io, int64_t result);
void __wrap_loop_io_finish(struct loop *l, struct loop_io *io, int64_t result);
void __wrap_loop_io_finish(struct loop *l, struct loop_io *io, int64_t result)
{
    const struct fault *f = suffer((enum fault_point)(FAULT_LOOP_READ + (int)io->op));
    if (f && f->most && result > (int64_t)f->most) {
        if (io->op == LOOP_READV)
            damage(io->iov, io->n_iov, f->most);
        else
            damage_file(io->fd, io->off + f->most, (size_t)result - f->most);
        result = (int64_t)f->most;
    } else if (f && !f->most) {
        result = -f->error;
    }
    __real_loop_io_finish(l, io, result);
}

/* --- calls in place --- */

/* The first `most` bytes of what the caller has. */
static unsigned cut(const struct iovec *iov, unsigned n, size_t most, struct iovec *out)
{
    unsigned k = 0;
    for (; k < n && most > 0; most -= out[k++].iov_len)
        out[k] = (struct iovec){iov[k].iov_base, MIN(iov[k].iov_len, most)};
    return k;
}

enum { SEGMENTS = 1024 };

/* WRAP_IO(where, its declaration, a call with other segments): those that move bytes. */
#define WRAP_IO(at, name, args, call, call_cut)                                                    \
    ssize_t __real_##name args;                                                                    \
    ssize_t __wrap_##name args;                                                                    \
    ssize_t __wrap_##name args                                                                     \
    {                                                                                              \
        struct iovec less[SEGMENTS];                                                               \
        const struct fault *f = suffer(at);                                                        \
        if (!f)                                                                                    \
            return __real_##name call;                                                             \
        if (f->most)                                                                               \
            return __real_##name call_cut;                                                         \
        errno = f->error;                                                                          \
        return -1;                                                                                 \
    }
#define LESS less, (int)cut(iov, (unsigned)n, f->most, less)

WRAP_IO(FAULT_READV, readv, (int fd, const struct iovec *iov, int n), (fd, iov, n), (fd, LESS))
WRAP_IO(FAULT_WRITEV, writev, (int fd, const struct iovec *iov, int n), (fd, iov, n), (fd, LESS))
WRAP_IO(FAULT_PREADV, preadv, (int fd, const struct iovec *iov, int n, off_t off),
        (fd, iov, n, off), (fd, LESS, off))
/* Only ever used to ask what is in memory (RWF_NOWAIT): nothing is, so that preadv() is asked. */
ssize_t __real_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags);
ssize_t __wrap_preadv2(int fd, const struct iovec *iov, int n, off_t off, int flags)
{
    if (!points[FAULT_PREADV].f.times)
        return __real_preadv2(fd, iov, n, off, flags);
    errno = EAGAIN;
    return -1;
}
WRAP_IO(FAULT_PWRITEV, pwritev2, (int fd, const struct iovec *iov, int n, off_t off, int flags),
        (fd, iov, n, off, flags), (fd, LESS, off, flags))

#define WRAP_BYTES(at, name, args, call, call_cut)                                                 \
    ssize_t __real_##name args;                                                                    \
    ssize_t __wrap_##name args;                                                                    \
    ssize_t __wrap_##name args                                                                     \
    {                                                                                              \
        const struct fault *f = suffer(at);                                                        \
        if (!f)                                                                                    \
            return __real_##name call;                                                             \
        if (f->most)                                                                               \
            return __real_##name call_cut;                                                         \
        errno = f->error;                                                                          \
        return -1;                                                                                 \
    }

WRAP_BYTES(FAULT_WRITE, write, (int fd, const void *p, size_t n), (fd, p, n),
           (fd, p, MIN(n, f->most)))
WRAP_BYTES(FAULT_SEND, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags),
           (fd, p, MIN(n, f->most), flags))

/* The message is the caller's, and gets its segments back. */
#define WRAP_MSG(at, name, type)                                                                   \
    ssize_t __real_##name(int fd, type *m, int flags);                                             \
    ssize_t __wrap_##name(int fd, type *m, int flags);                                             \
    ssize_t __wrap_##name(int fd, type *m, int flags)                                              \
    {                                                                                              \
        struct iovec less[SEGMENTS];                                                               \
        const struct fault *f = suffer(at);                                                        \
        if (!f)                                                                                    \
            return __real_##name(fd, m, flags);                                                    \
        struct msghdr part = *m;                                                                   \
        part.msg_iov = less;                                                                       \
        part.msg_iovlen = cut(m->msg_iov, (unsigned)m->msg_iovlen, f->most, less);                 \
        if (f->most)                                                                               \
            return __real_##name(fd, &part, flags);                                                \
        errno = f->error;                                                                          \
        return -1;                                                                                 \
    }
WRAP_MSG(FAULT_SEND, sendmsg, const struct msghdr)
WRAP_MSG(FAULT_RECVMSG, recvmsg, struct msghdr)
