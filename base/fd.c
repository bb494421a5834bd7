/* base/fd.c - see base.h: descriptors. */
#include <poll.h>
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
