/* base/sandbox_calls.c - the system calls behind what every thread does, and behind the loops. */
#include <asm/ioctls.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/sandbox.h"

#define IS_TERMINAL "standard input is a terminal: tests/cli"
#define TERMINAL(request, threads)                                                                 \
    {                                                                                              \
        .nr = SYS_ioctl, .on = (threads), .arg = 1, .mask = UINT32_MAX, .value = (request),        \
        .why = IS_TERMINAL                                                                         \
    }

const struct sandbox_list sandbox_every_thread = {
    .name = "every thread",
    .calls =
        (const struct sandbox_call[]){
            {.nr = SYS_futex, .on = ON_ALL},
            {.nr = SYS_write, .on = ON_ALL},
            {.nr = SYS_read, .on = ON_MAIN | ON_LOOP},
            {.nr = SYS_close, .on = ON_MAIN | ON_LOOP | ON_POOL},
            {.nr = SYS_poll, .on = ON_ALL, .why = "a line for the log"},
            /* The C library's memory; none of it is to be run. */
            {.nr = SYS_brk, .on = ON_ALL, .why = SANDBOX_LIBC},
            {.nr = SYS_mmap, .on = ON_ALL, .arg = 2, .mask = PROT_EXEC, .why = SANDBOX_LIBC},
            {.nr = SYS_munmap, .on = ON_ALL, .why = SANDBOX_LIBC},
            {.nr = SYS_mremap, .on = ON_ALL, .why = SANDBOX_LIBC},
            {.nr = SYS_madvise, .on = ON_ALL}, /* a thread's stack, at its end */
            {.nr = SYS_clock_gettime, .on = ON_ALL, .why = SANDBOX_LIBC},
            {.nr = SYS_restart_syscall,
             .on = ON_ALL,
             .why = "what has a time limit, after somebody has stopped and continued us"},
            {.nr = SYS_rt_sigreturn, .on = ON_VCPU},
            {.nr = SYS_rt_sigprocmask, .on = ON_ALL}, /* a thread's end */
            {.nr = SYS_getpid, .on = ON_ALL, .why = SANDBOX_BUG},
            {.nr = SYS_gettid, .on = ON_ALL, .why = SANDBOX_BUG},
            {.nr = SYS_tgkill,
             .on = ON_ALL,
             .arg = 0,
             .mask = UINT32_MAX,
             .value = SANDBOX_OWN_PID,
             .why = SANDBOX_BUG},
            TERMINAL(TCSETS, ON_ALL), /* it is given back, if it is still ours */
            TERMINAL(TIOCGPGRP, ON_ALL),
            {.nr = SYS_getpgrp, .on = ON_ALL, .why = IS_TERMINAL},
            TERMINAL(TCGETS, ON_ALL), /* as tcsetattr() looks at what it has set */
            {.nr = SYS_exit, .on = ON_VCPU | ON_LOOP | ON_POOL},
            {.nr = SYS_exit_group, .on = ON_ALL, .why = "the end after a forbidden call"},
            {0}},
    .always = true};

const struct sandbox_list sandbox_loop = {
    .name = "loop",
    .calls =
        (const struct sandbox_call[]){
            {.nr = SYS_timerfd_settime, .on = ON_LOOP | ON_MAIN, .why = SANDBOX_LAB}, {0}},
    .always = true};

const struct sandbox_list sandbox_loop_uring = {
    .name = "loop on io_uring",
    .calls = (const struct sandbox_call[]){{.nr = SYS_io_uring_enter, .on = ON_LOOP},
                                           {.nr = SYS_io_uring_register, .on = ON_LOOP},
                                           {0}}};

const struct sandbox_list sandbox_loop_epoll = {
    .name = "loop on epoll",
    .calls = (const struct sandbox_call[]){
        {.nr = SYS_epoll_wait, .on = ON_LOOP}, {.nr = SYS_epoll_ctl, .on = ON_LOOP}, {0}}};

const struct sandbox_list sandbox_loop_share = {
    .name = "loop on the vCPUs' CPU",
    .calls = (const struct sandbox_call[]){{.nr = SYS_sched_setscheduler,
                                            .on = ON_LOOP,
                                            .arg = 1,
                                            .mask = UINT32_MAX,
                                            .value = SCHED_BATCH},
                                           {.nr = SYS_sched_setscheduler,
                                            .on = ON_LOOP,
                                            .arg = 1,
                                            .mask = UINT32_MAX,
                                            .value = SCHED_OTHER},
                                           {0}}};

const struct sandbox_list sandbox_loop_files = {
    .name = "file I/O of a loop on epoll",
    .calls = (const struct sandbox_call[]){{.nr = SYS_preadv, .on = ON_POOL},
                                           {.nr = SYS_pwritev2, .on = ON_POOL},
                                           {.nr = SYS_fdatasync, .on = ON_POOL},
                                           {.nr = SYS_fallocate, .on = ON_POOL},
                                           {0}}};
