/* base/log.c - see log.h. A line is built on the stack and leaves in one write(), so that lines of
 * different threads never mix. */
#include "base/log.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

static atomic_int max_level = LOG_WARN;
static atomic_int log_fd = STDERR_FILENO;
static size_t at_once = SIZE_MAX; /* bytes that are written after one look whether any can be */
static atomic_bool cut;           /* the last line has no end */
static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const level_names[] = {"off", "error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
    max_level = (int)level;
}

/* Always the same number once there is one: another thread may be about to write to it, and must
 * not meet what else the number would stand for by then, a guest's disk say. */
int log_to(int fd)
{
    int own = log_fd;
    if (own != STDERR_FILENO)
        return dup3(fd, own, O_CLOEXEC) < 0 ? -errno : 0;
    own = fd == STDERR_FILENO ? fd : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (own < 0)
        return -errno;
    log_fd = own;
    return 0;
}

void log_terminal(void)
{
    if (!isatty(STDERR_FILENO))
        return;
    AUTO_FD own = fd_unblocked(STDERR_FILENO);
    if (own < 0 || log_to(own) < 0)
        at_once = 1;
}

int log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

enum { LINE = 1024 };

/* A log that cannot be written has nobody to be reported to, and may hold up no vCPU. In front of
 * the line is an end for the last one. */
static void put(const char *line, size_t len)
{
    bool was = atomic_exchange(&cut, false);
    size_t done = 0;
    ssize_t n = 1;
    line -= was;
    len += was;
    for (int fd = log_fd; done < len && n > 0 && poll_now(fd, POLLOUT); done += (size_t)MAX(n, 0))
        n = write(fd, line + done, MIN(len - done, at_once));
    if (done < len && (was || done > 0))
        atomic_store(&cut, true);
}

static void emit(enum log_level level, const char *tail, const char *fmt, va_list ap)
{
    char all[1 + LINE] = "\n", *line = all + 1;
    int n = snprintf(line, LINE, "vmm: %s: ", level_names[level]);
    int m = vsnprintf(line + n, LINE - (size_t)n, fmt, ap);
    if (m < 0)
        return;
    /* Room for the tail, whatever the line's length. */
    size_t len = MIN((size_t)n + (size_t)m, LINE - 2 - strlen(tail));
    make_one_line(line, len);
    len += (size_t)snprintf(line + len, LINE - len, "%s\n", tail);
    put(line, len);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if ((int)level > max_level)
        return;
    va_list ap;
    va_start(ap, fmt);
    emit(level, "", fmt, ap);
    va_end(ap);
}

void log_limited(struct log_limit *l, enum log_level level, const char *fmt, ...)
{
    if ((int)level > max_level)
        return;

    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t now = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
    char tail[64] = "";

    (void)pthread_mutex_lock(&limit_lock);
    if (l->window_start_ns == 0 || now - l->window_start_ns > 10000000000) {
        if (l->dropped)
            (void)snprintf(tail, sizeof(tail), " (%u such lines left out)", l->dropped);
        *l = (struct log_limit){.window_start_ns = now};
    }
    bool pass = l->in_window < LOG_BURST;
    if (pass)
        l->in_window++;
    else
        l->dropped++;
    (void)pthread_mutex_unlock(&limit_lock);

    if (!pass)
        return;
    va_list ap;
    va_start(ap, fmt);
    emit(level, tail, fmt, ap);
    va_end(ap);
}
