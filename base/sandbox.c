/* base/sandbox.c - see sandbox.h: who waits for whom, and a thread's filter. */
#include "base/sandbox.h"

#include <assert.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include "base/chardev.h"
#include "base/log.h"
#include "base/sandbox_priv.h"

enum { LISTS_MAX = 32, INSNS_MAX = 1024, X32_NUMBERS = 0x40000000 };

enum state { OFF, UNUSED, GATHERING, SEALED };
static struct {
    const struct sandbox_programs *programs;
    pthread_mutex_t lock; /* state; to be waited for with `changed` */
    pthread_cond_t changed;
    enum state state;
    /* The main thread's until it is sealed; nobody's to change after that. */
    const struct sandbox_list *lists[LISTS_MAX];
    unsigned n_lists;
    pid_t pid;
} box = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static _Thread_local char thread_name[16];

bool sandbox_built_in(void)
{
#ifdef NO_SANDBOX
    return false;
#else
    return true;
#endif
}

static void set_state(enum state s)
{
    (void)pthread_mutex_lock(&box.lock);
    box.state = s;
    (void)pthread_cond_broadcast(&box.changed);
    (void)pthread_mutex_unlock(&box.lock);
}

static const char *name_of(int nr)
{
    const char *name = box.programs->names;
    for (; nr > 0 && *name; nr--) /* the last is empty */
        name += strlen(name) + 1;
    return *name ? name : "unknown";
}

/* The call that it comes from is this thread's own, so nothing of ours is half done below it. */
static void on_forbidden(int signo, siginfo_t *info, void *context)
{
    const greg_t *r = ((const ucontext_t *)context)->uc_mcontext.gregs;
    (void)signo;
    log_error("thread %s: forbidden system call %s (%d), with %#llx, %#llx, %#llx", thread_name,
              name_of(info->si_syscall), info->si_syscall, r[REG_RDI], r[REG_RSI], r[REG_RDX]);
    chardev_restore_terminal(); /* NOLINT(bugprone-signal-handler,cert-sig30-c): tcsetattr() is */
    _exit(SANDBOX_EXIT_STATUS);
}

int sandbox_use(const struct sandbox_programs *p, struct err *e)
{
    if (!sandbox_built_in())
        return 0;
    static const uint32_t action = SECCOMP_RET_TRAP;
    struct sigaction sa = {.sa_sigaction = on_forbidden, .sa_flags = SA_SIGINFO};
    if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0)
        return err_host(e, -errno, "the kernel has no seccomp filters (see --sandbox)");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        sigaction(SIGSYS, &sa, NULL) < 0)
        return err_host(e, -errno, "sandbox");
    box.programs = p;
    set_state(UNUSED);
    return 0;
}

static bool gathering(void)
{
    return box.state == GATHERING; /* which only the main thread changes */
}

int sandbox_begin(bool live, struct err *e)
{
    if (box.state == OFF)
        return 0;
    box.n_lists = 0;
    box.pid = getpid();
    int rc = landlock_begin(live, e);
    if (rc < 0)
        return rc;
    set_state(GATHERING);
    return 0;
}

void sandbox_need(const struct sandbox_list *l)
{
    for (unsigned i = 0; i < box.n_lists; i++) {
        if (box.lists[i] == l)
            return;
    }
    if (!gathering())
        return;
    assert(box.n_lists < LISTS_MAX); /* there are not so many */
    box.lists[box.n_lists++] = l;
}

void sandbox_path(const char *path, enum sandbox_access access)
{
    if (gathering())
        landlock_path(path, access);
}

void sandbox_seal(void)
{
    if (gathering())
        set_state(SEALED);
}

void sandbox_abandon(void)
{
    if (gathering())
        set_state(UNUSED);
}

void sandbox_stopped(void)
{
    (void)pthread_mutex_lock(&box.lock);
    (void)pthread_cond_broadcast(&box.changed);
    (void)pthread_mutex_unlock(&box.lock);
}

/* False: nobody is to be confined, or this thread is to end. */
static bool wait_sealed(const atomic_bool *stop)
{
    (void)pthread_mutex_lock(&box.lock);
    while (box.state == GATHERING && !atomic_load(stop))
        (void)pthread_cond_wait(&box.changed, &box.lock);
    bool sealed = box.state == SEALED;
    (void)pthread_mutex_unlock(&box.lock);
    return sealed;
}

/* --- a filter --- */

struct filter {
    struct sock_filter insns[INSNS_MAX];
    unsigned n;
};

/* What a program has no opinion on goes to whatever follows it. */
static void append(struct filter *f, const struct sandbox_program *p)
{
    assert(f->n + p->n < INSNS_MAX);
    for (unsigned i = 0; i < p->n; i++) {
        struct sock_filter in = p->insns[i];
        if (in.code == (BPF_RET | BPF_K) && in.k == (SECCOMP_RET_ERRNO | SANDBOX_NEXT))
            in = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, p->n - i - 1);
        else if (in.code == (BPF_JMP | BPF_JEQ | BPF_K) && in.k == SANDBOX_OWN_PID)
            in.k = (uint32_t)box.pid;
        f->insns[f->n++] = in;
    }
}

/* Another architecture's numbers, or x32's, mean other calls. */
static void begin(struct filter *f)
{
    static const struct sock_filter first[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_NUMBERS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    memcpy(f->insns, first, sizeof(first));
    f->n = ARRAY_SIZE(first);
}

/* NULL: what is always needed. */
static void append_list(struct filter *f, const struct sandbox_list *l, enum sandbox_thread kind)
{
    for (unsigned i = 0; i < box.programs->n; i++) {
        const struct sandbox_program *p = &box.programs->v[i];
        bool wanted = l ? p->list && !strcmp(p->list, l->name) : !p->list;
        if (wanted && p->on & 1u << kind)
            append(f, p);
    }
}

/* SPEC_ALLOW: there is no code of others in this process; older kernels would slow the thread down
 * for such code's sake. */
static int install(struct filter *f)
{
    f->insns[f->n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP);
    const struct sock_fprog prog = {.len = (unsigned short)f->n, .filter = f->insns};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &prog) < 0
               ? -errno
               : 0;
}

void sandbox_enter(enum sandbox_thread kind, const struct sandbox_list *more)
{
    static const atomic_bool never;
    sandbox_enter_unless(kind, more, &never);
}

void sandbox_enter_unless(enum sandbox_thread kind, const struct sandbox_list *more,
                          const atomic_bool *stop)
{
    struct filter f;
    if (!wait_sealed(stop))
        return;
    (void)pthread_getname_np(pthread_self(), thread_name, sizeof(thread_name));
    begin(&f);
    append_list(&f, NULL, kind);
    for (unsigned i = 0; i < box.n_lists; i++)
        append_list(&f, box.lists[i], kind);
    if (more)
        append_list(&f, more, kind);
    int rc = landlock_enter();
    if (rc == 0)
        rc = install(&f);
    if (rc == 0)
        return;
    log_error("thread %s cannot be confined: %s", thread_name, strerror(-rc));
    chardev_restore_terminal();
    _exit(EXIT_FAILURE);
}
