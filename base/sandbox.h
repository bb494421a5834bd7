/* base/sandbox.h - what a thread may still ask the kernel for once the machine is built: system
 * calls by a seccomp filter of its own, paths by Landlock.
 *
 * Each part of the program that runs on such threads has a list of the calls that it makes there;
 * the build makes filters of all lists with libseccomp (vmm/sandbox_gen.c), and a thread's filter
 * is put together of those that its machine needs. Lists and paths are gathered on the main thread
 * while the machine is built; other threads may be born meanwhile, and wait. */
#pragma once

#include <linux/filter.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#include "base/base.h"

/* A thread belongs to one of these; a call may be for several. */
enum sandbox_thread {
    SANDBOX_MAIN, /* signals, the control socket, reset and the end */
    SANDBOX_VCPU,
    SANDBOX_LOOP,  /* an event loop */
    SANDBOX_SLIRP, /* the one of networks in user space, whose sockets take as many as all else */
    SANDBOX_POOL,  /* a thread for what may block; it has the list that was given to the pool */
    SANDBOX_THREADS,
};
enum {
    ON_MAIN = 1 << SANDBOX_MAIN,
    ON_VCPU = 1 << SANDBOX_VCPU,
    ON_LOOP = 1 << SANDBOX_LOOP,
    ON_SLIRP = 1 << SANDBOX_SLIRP,
    ON_POOL = 1 << SANDBOX_POOL,
    ON_LOOPS = ON_LOOP | ON_SLIRP,
    ON_ALL = ON_MAIN | ON_VCPU | ON_LOOPS | ON_POOL,
};

/* One system call, or those of its uses where (argument `arg` & mask) == value, and of which the
 * same is true of the second condition. */
struct sandbox_call {
    int nr;
    unsigned on;    /* ON_... */
    uint8_t arg;    /* from 0; with a mask */
    uint64_t mask;  /* 0: however it is called */
    uint64_t value; /* SANDBOX_OWN_PID: this process's id */
    uint8_t arg2;
    uint64_t mask2, value2;
    const char *why; /* why it stays, where tests/sandbox sees nothing that needs it; else NULL */
};
#define SANDBOX_OWN_PID 0x5eedf11du /* no process has so high a number */

struct sandbox_list {
    const char *name;                 /* unique */
    const struct sandbox_call *calls; /* ends with on == 0 */
    bool always;                      /* every machine needs it, without sandbox_need() */
    bool chosen;                      /* a thread's `more`, so that none has two of these */
};
/* What the C library, the log, a terminal and an ordinary end need, and the loops. */
extern const struct sandbox_list sandbox_every_thread, sandbox_loop, sandbox_loop_uring,
    sandbox_loop_epoll, sandbox_loop_files, sandbox_loop_share;

/* What the build made of a list's calls on one kind of thread: a filter without a beginning (which
 * architecture it is), whose verdict on all other calls is SANDBOX_NEXT. */
struct sandbox_program {
    const char *list; /* NULL: all that are always needed, as one */
    unsigned on;      /* one ON_... */
    const struct sock_filter *insns;
    unsigned n;
};
#define SANDBOX_NEXT 0xffe /* as the SECCOMP_RET_ERRNO that it is until it is replaced */
struct sandbox_programs {
    const struct sandbox_program *v;
    unsigned n;
    const char *names; /* of the system calls from 0 on, with a NUL behind each; then another */
};
extern const struct sandbox_programs sandbox_programs; /* generated */

/* The exit status of a process in which a thread asked for what it may not. */
enum { SANDBOX_EXIT_STATUS = 4 };

/* Turns the sandbox on for machines to come: no new privileges, no core. Until then, and where the
 * sandbox is not built in (sanitizers, coverage), everything below does nothing. */
int CHECKED sandbox_use(const struct sandbox_programs *p, struct err *e);
bool sandbox_built_in(void);

/* A machine is built: from now on threads wait in sandbox_enter(). `live`: files may be named while
 * its guest runs. */
int CHECKED sandbox_begin(bool live, struct err *e);
void sandbox_need(const struct sandbox_list *l); /* once more is fine */
enum sandbox_access {
    SANDBOX_READ,   /* it, and what is below it */
    SANDBOX_WRITE,  /* also to make, change and remove */
    SANDBOX_REMOVE, /* names in the folder that it is in */
    SANDBOX_LIVE, /* SANDBOX_WRITE for the folder that it is in; nothing where files are not live */
};
/* Threads may come to use the path, which is there now; what is not there needs nothing. */
void sandbox_path(const char *path, enum sandbox_access access);
/* It is built: threads go on. */
void sandbox_seal(void);
/* It came to nothing: its threads go on, to their end. */
void sandbox_abandon(void);

/* Drops to the thread's filter, of what the machine needs and `more` (NULL: nothing more). It waits
 * for sandbox_seal(). A thread that cannot be confined ends the process. A forbidden call ends it
 * too, with a line that names it and with SANDBOX_EXIT_STATUS. */
void sandbox_enter(enum sandbox_thread kind, const struct sandbox_list *more);
/* The same; but a thread that is to end, for its device came to nothing, does not wait. Whoever
 * sets *stop says so by sandbox_stopped(). */
void sandbox_enter_unless(enum sandbox_thread kind, const struct sandbox_list *more,
                          const atomic_bool *stop);
void sandbox_stopped(void);
