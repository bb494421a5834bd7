/* base/sandbox_calls.c - the system calls behind what every thread does, and behind the loops. */
#include <asm/ioctls.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/loop_priv.h"

#define TERMINAL(request, threads)                                                                 \
    {                                                                                              \
        .nr = SYS_ioctl, .on = (threads), .arg = 1, .mask = UINT32_MAX, .value = (request)         \
    }

const struct sandbox_list sandbox_every_thread = {
    .name = "every thread",
    .calls =
        (const struct sandbox_call[]){
            {.nr = SYS_futex, .on = ON_ALL},
            {.nr = SYS_write, .on = ON_ALL},
            {.nr = SYS_read, .on = ON_MAIN | ON_LOOPS},
            {.nr = SYS_close, .on = ON_MAIN | ON_LOOPS | ON_POOL},
            {.nr = SYS_ppoll, .on = ON_ALL},
            /* The C library's memory; none of it is to be run. */
            {.nr = SYS_brk, .on = ON_ALL},
            {.nr = SYS_mmap, .on = ON_ALL, .arg = 2, .mask = PROT_EXEC},
            {.nr = SYS_munmap, .on = ON_ALL},
            {.nr = SYS_mremap, .on = ON_ALL},
            {.nr = SYS_madvise, .on = ON_ALL}, /* a thread's stack, at its end */
            {.nr = SYS_clock_gettime,
             .on = ON_ALL,
             .why = "a host whose clock user space cannot read"},
            {.nr = SYS_rt_sigreturn, .on = ON_VCPU},
            {.nr = SYS_rt_sigprocmask, .on = ON_ALL}, /* a thread's end */
            {.nr = SYS_getpid, .on = ON_ALL},
            {.nr = SYS_gettid, .on = ON_ALL},
            {.nr = SYS_tgkill,
             .on = ON_ALL,
             .arg = 0,
             .mask = UINT32_MAX,
             .value = SANDBOX_OWN_PID},
            TERMINAL(TCSETS, ON_ALL), /* it is given back, if it is still ours */
            TERMINAL(TIOCGPGRP, ON_ALL),
            TERMINAL(TCGETS, ON_ALL), /* as tcsetattr() looks at what it has set */
            {.nr = SYS_exit, .on = ON_VCPU | ON_LOOPS | ON_POOL},
            {.nr = SYS_exit_group, .on = ON_ALL},
            {0}},
    .always = true};

const struct sandbox_list sandbox_loop = {
    .name = "loop",
    .calls =
        (const struct sandbox_call[]){{.nr = SYS_timerfd_settime, .on = ON_LOOPS | ON_MAIN}, {0}},
    .always = true};

const struct sandbox_list sandbox_loop_uring = {
    .name = "loop on io_uring",
    .chosen = true,
    .calls = (const struct sandbox_call[]){{.nr = SYS_io_uring_enter, .on = ON_LOOPS},
                                           {.nr = SYS_io_uring_register, .on = ON_LOOPS},
                                           {0}}};

const struct sandbox_list sandbox_loop_epoll = {
    .name = "loop on epoll",
    .chosen = true,
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_epoll_wait, .on = ON_LOOPS}, {.nr = SYS_epoll_ctl, .on = ON_LOOPS}, {0}}};

#define POLICY(policy, ...)                                                                        \
    {                                                                                              \
        .nr = SYS_sched_setscheduler, .arg = 1, .mask = UINT32_MAX, .value = (policy), __VA_ARGS__ \
    }
#define SHARES_TOO "with one CPU only, where its guest has drivers of its own"
const struct sandbox_list sandbox_loop_share = {
    .name = "loop on the vCPUs' CPU",
    .calls = (const struct sandbox_call[]){POLICY(SCHED_BATCH, .on = ON_LOOP),
                                           POLICY(SCHED_OTHER, .on = ON_LOOP),
                                           POLICY(SCHED_BATCH, .on = ON_SLIRP, .why = SHARES_TOO),
                                           POLICY(SCHED_OTHER, .on = ON_SLIRP, .why = SHARES_TOO),
                                           {0}}};

const struct sandbox_list sandbox_loop_files = {
    .name = LOOP_IO_POOL,
    .chosen = true,
    .calls = (const struct sandbox_call[]){{.nr = SYS_preadv, .on = ON_POOL},
                                           {.nr = SYS_pwritev2, .on = ON_POOL},
                                           {.nr = SYS_fdatasync, .on = ON_POOL},
                                           {.nr = SYS_fallocate, .on = ON_POOL},
                                           {0}}};
