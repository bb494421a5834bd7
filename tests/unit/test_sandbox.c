/* tests/unit/test_sandbox.c - what a confined thread can and cannot do, each tried in a process of
 * its own, with the lists and the filters that the program has. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/openat2.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/chardev_priv.h"
#include "base/jail.h"
#include "devices/fs/fs_priv.h"
#include "devices/net/backend.h"
#include "devices/virtio/vdev.h"
#include "vmm/sandbox_lists.h"

extern const struct vdev_class vsock_class;
enum { FINE = 77, NO_JAIL };
static char dir[] = "/tmp/test-sandbox-XXXXXX", path[64];

/* By which tests/sandbox knows them in a trace. */
static const char *const names[SANDBOX_THREADS] = {"main", "vcpu0", "io0", "slirp", "pool"};

struct child {
    enum sandbox_thread kind;
    const struct sandbox_list *list, *more;
    void (*fn)(void); /* confined; returns when all is well */
    int terminal;     /* which is the console's; 0: none */
};

static void *confined(void *arg)
{
    const struct child *c = arg;
    (void)pthread_setname_np(pthread_self(), names[c->kind]);
    sandbox_enter(c->kind, c->more);
    c->fn();
    _exit(FINE);
}

static void take_terminal(int fd)
{
    const struct chardev_spec spec = {.kind = CHARDEV_STDIO};
    struct loop *l;
    struct chardev *console;
    struct err e;
    if (loop_new("unused", LOOP_AUTO, &l) < 0 ||
        chardev_new_fds(&spec, fd, fd, l, &console, &e) < 0)
        _exit(1);
}

/* How it ended, as wait() says it; `said`: what it wrote to standard error. */
static int try(const struct child *c, char said[1024])
{
    int p[2], status;
    struct err e;
    if (!sandbox_built_in())
        cr_skip("the sandbox is not in this build: sanitizers and coverage ask for more");
    cr_assert_eq(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t t;
        (void)dup2(p[1], STDERR_FILENO);
        if (c->terminal)
            take_terminal(c->terminal);
        if (sandbox_use(&sandbox_programs, &e) < 0 || sandbox_begin(false, &e) < 0)
            _exit(1);
        if (c->list)
            sandbox_need(c->list);
        sandbox_path(dir, SANDBOX_WRITE);
        (void)pthread_create(&t, NULL, confined, (void *)c);
        sandbox_seal();
        (void)pthread_join(t, NULL);
        _exit(1);
    }
    (void)close(p[1]);
    ssize_t n = 0, k;
    while ((k = read(p[0], said + n, 1023 - (size_t)n)) > 0)
        n += k;
    said[n] = '\0';
    (void)close(p[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static void ends_with(const struct child *c, int want, char said[1024])
{
    int status = try(c, said);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == want, "kind %d: status %#x: %s", c->kind,
              status, said);
}

static void works(const struct child *c)
{
    char said[1024];
    ends_with(c, FINE, said);
}

static void ends(const struct child *c, const char *call)
{
    char said[1024], want[128];
    ends_with(c, SANDBOX_EXIT_STATUS, said);
    (void)snprintf(want, sizeof(want), "thread %s: forbidden system call %s", names[c->kind], call);
    cr_assert(strstr(said, want), "%s", said);
}

static void ask_parent(void)
{
    (void)getppid();
}
/* What the C library asks for by itself: pages, for itself and for large blocks; and the log. */
static void live(void)
{
    enum { LARGE = 1 << 20, SMALL = 4096, MANY = 100 };
    void *small[MANY];
    free(malloc(LARGE));
    char *p = realloc(malloc(LARGE), 4 * LARGE);
    p[0] = 1;
    free(p);
    for (unsigned i = 0; i < MANY; i++)
        small[i] = malloc(SMALL);
    for (unsigned i = 0; i < MANY; i++)
        free(small[i]);
    log_warn("alive");
}

Test(sandbox, each_kind_of_thread_ends_with_a_line)
{
    for (unsigned k = 0; k < SANDBOX_THREADS; k++) {
        const struct child bad = {.kind = k, .fn = ask_parent}, good = {.kind = k, .fn = live};
        ends(&bad, "getppid (110)");
        works(&good);
    }
}

static void fail(void)
{
    abort();
}
Test(sandbox, the_terminal_is_given_back_by_whoever_ends)
{
    for (unsigned k = 0; k < SANDBOX_THREADS; k++) {
        struct termios before, after;
        int master = posix_openpt(O_RDWR | O_NOCTTY);
        cr_assert(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
        cr_assert(slave > 0 && tcgetattr(slave, &before) == 0);
        ends(&(struct child){.kind = k, .fn = ask_parent, .terminal = slave}, "getppid (110)");
        cr_assert_eq(tcgetattr(slave, &after), 0);
        cr_assert_eq(before.c_lflag, after.c_lflag);
        (void)close(slave);
        (void)close(master);
    }
}

Test(sandbox, an_abort_is_one)
{
    for (unsigned k = 0; k < SANDBOX_THREADS; k++) {
        char said[1024];
        int status = try(&(struct child){.kind = k, .fn = fail}, said);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "kind %d: status %#x: %s", k,
                  status, said);
    }
}

static void execute(void)
{
    char *argv[] = {(char *)"true", NULL};
    (void)execv("/bin/true", argv);
}
static void be_more(void)
{
    (void)syscall(SYS_clone, 0, 0, 0, 0, 0);
}
static void map_code(void)
{
    (void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void signal_another(void)
{
    (void)syscall(SYS_tgkill, 1, 1, 0);
}
static void signal_self(void)
{
    (void)syscall(SYS_tgkill, getpid(), gettid(), 0);
}
static void other_abi(void)
{
    (void)syscall(0x40000000 | SYS_write, -1, NULL, 0); /* x32's number of an allowed call */
}

Test(sandbox, no_thread_can_run_code_or_signal_others)
{
    for (unsigned k = 0; k < SANDBOX_THREADS; k++) {
        ends(&(struct child){.kind = k, .fn = execute}, "execve (59)");
        ends(&(struct child){.kind = k, .fn = be_more}, "clone (56)");
        ends(&(struct child){.kind = k, .fn = map_code}, "mmap (9)");
        ends(&(struct child){.kind = k, .fn = signal_another}, "tgkill (234)");
        works(&(struct child){.kind = k, .fn = signal_self});
    }
}

Test(sandbox, another_abi_is_death)
{
    int status;
    if (!sandbox_built_in())
        cr_skip("the sandbox is not in this build");
    pid_t pid = fork();
    if (pid == 0) {
        struct err e;
        if (sandbox_use(&sandbox_programs, &e) < 0 || sandbox_begin(false, &e) < 0)
            _exit(1);
        sandbox_seal();
        sandbox_enter(SANDBOX_POOL, NULL);
        other_abi();
        _exit(FINE);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "status %#x", status);
}

static void kvm_run(void)
{
    cr_assert_eq(ioctl(-1, KVM_RUN, 0), -1);
}
static void kvm_create(void)
{
    (void)ioctl(-1, KVM_CREATE_VCPU, 0);
}
Test(sandbox, a_vcpu_runs_and_nobody_makes_another)
{
    works(&(struct child){.kind = SANDBOX_VCPU, .fn = kvm_run});
    ends(&(struct child){.kind = SANDBOX_LOOP, .fn = kvm_run}, "ioctl (16)");
    ends(&(struct child){.kind = SANDBOX_VCPU, .fn = kvm_create}, "ioctl (16)");
    ends(&(struct child){.kind = SANDBOX_MAIN, .fn = kvm_create}, "ioctl (16)");
}

static void unix_socket(void)
{
    cr_assert_geq(socket(AF_UNIX, SOCK_STREAM, 0), 0);
}
static void inet_socket(void)
{
    (void)socket(AF_INET, SOCK_STREAM, 0);
}
Test(sandbox, a_device_brings_its_own_calls_and_no_others)
{
    const struct sandbox_list *vsock = vsock_class.sandbox[0];
    works(&(struct child){.kind = SANDBOX_LOOP, .list = vsock, .fn = unix_socket});
    ends(&(struct child){.kind = SANDBOX_LOOP, .list = vsock, .fn = inet_socket}, "socket (41)");
    ends(&(struct child){.kind = SANDBOX_LOOP, .fn = unix_socket}, "socket (41)");
    ends(&(struct child){.kind = SANDBOX_VCPU, .list = vsock, .fn = unix_socket}, "socket (41)");
}

static void unix_datagrams(void)
{
    cr_assert_geq(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), 0);
}
static void a_scope(void)
{
    if (if_nametoindex("lo") == 0)
        _exit(1);
}
/* libslirp reads the host's resolv.conf anew: "nameserver fe80::1%eth0" may come to stand in it. */
Test(sandbox, a_name_server_with_a_scope)
{
    works(&(struct child){.kind = SANDBOX_SLIRP, .list = &net_user_calls, .fn = a_scope});
    works(&(struct child){.kind = SANDBOX_SLIRP, .list = &net_user_calls, .fn = unix_datagrams});
    ends(&(struct child){.kind = SANDBOX_SLIRP, .list = &net_user_calls, .fn = unix_socket},
         "socket (41)");
}

static void own_umask(void)
{
    cr_assert_eq(unshare(CLONE_FS), 0);
}
static void own_users(void)
{
    (void)unshare(CLONE_FS | CLONE_NEWUSER);
}
Test(sandbox, a_folder_s_threads_get_no_namespace)
{
    works(&(struct child){
        .kind = SANDBOX_POOL, .list = &fs_names, .more = &fs_names, .fn = own_umask});
    ends(
        &(struct child){
            .kind = SANDBOX_POOL, .list = &fs_names, .more = &fs_names, .fn = own_users},
        "unshare (272)");
}

static int open_at(const char *name, uint64_t flags)
{
    struct open_how how = {.flags = flags, .mode = flags & O_CREAT ? 0600 : 0};
    return (int)syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof(how));
}
static void open_outside(void)
{
    cr_assert_eq(open_at("/etc/passwd", O_RDONLY), -1);
    if (errno != EACCES)
        _exit(1);
    if (mkdirat(AT_FDCWD, "/tmp/test-sandbox-no", 0700) == 0 || errno != EACCES)
        _exit(1);
}
static void may_i(void) /* FUSE_ACCESS */
{
    int fd = open_at(dir, O_PATH);
    if (fd < 0 || faccessat(fd, "", R_OK, AT_EACCESS | AT_EMPTY_PATH) < 0)
        _exit(1);
}
static void open_inside(void)
{
    int fd = open_at(path, O_RDWR | O_CREAT);
    if (fd < 0 || ftruncate(fd, 1) < 0 || unlinkat(AT_FDCWD, path, 0) < 0)
        _exit(1);
}
Test(sandbox, files_elsewhere_are_refused)
{
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/file", dir);
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 2)
        cr_skip("no Landlock");
    works(&(struct child){.kind = SANDBOX_POOL, .more = &fs_names, .fn = open_inside});
    works(&(struct child){.kind = SANDBOX_POOL, .more = &fs_names, .fn = open_outside});
    works(&(struct child){.kind = SANDBOX_POOL, .more = &fs_names, .fn = may_i});
    (void)rmdir(dir);
}

static void open_in_jail(void)
{
    if (open_at("/there", O_RDONLY) < 0 || open_at("/there", O_RDWR) >= 0)
        _exit(1);
}
static int try_in_jail(const struct child *c)
{
    const struct jail_config jail = {.dir = dir, .uid = 64242, .gid = 64243, .own_net = true};
    int status;
    struct err e;
    pthread_t t;
    int rc = jail_begin(&jail, &status, &e);
    if (rc > 0)
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    if (rc < 0)
        return NO_JAIL;
    if (sandbox_use(&sandbox_programs, &e) < 0 || sandbox_begin(false, &e) < 0 ||
        pthread_create(&t, NULL, confined, (void *)c) || jail_enter(&e) < 0)
        return 1;
    sandbox_seal();
    (void)pthread_join(t, NULL);
    return 1;
}
Test(sandbox, in_a_jail_what_it_has_can_be_read)
{
    const struct child c = {.kind = SANDBOX_POOL, .more = &fs_names, .fn = open_in_jail};
    int status;
    if (!sandbox_built_in() || geteuid() != 0)
        cr_skip("needs the sandbox, and root");
    cr_assert_not_null(mkdtemp(dir));
    cr_assert_eq(chmod(dir, 0755), 0);
    (void)snprintf(path, sizeof(path), "%s/there", dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0666);
    cr_assert_geq(fd, 0);
    (void)close(fd);
    pid_t pid = fork();
    if (pid == 0)
        _exit(try_in_jail(&c));
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    (void)unlink(path);
    (void)rmdir(dir);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_JAIL)
        cr_skip("no jail can be made here");
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == FINE, "status %#x", status);
}

static void *wait_at_the_gate(void *arg)
{
    sandbox_enter(SANDBOX_VCPU, NULL);
    atomic_store((atomic_bool *)arg, true);
    (void)getppid(); /* nothing confines it */
    return NULL;
}
Test(sandbox, threads_wait_and_a_failed_machine_lets_them_go)
{
    static atomic_bool passed;
    pthread_t t;
    struct err e;
    sandbox_enter(SANDBOX_MAIN, NULL); /* it is off */
    cr_assert_eq(sandbox_use(&sandbox_programs, &e), 0);
    cr_assert_eq(sandbox_begin(false, &e), 0);
    cr_assert_eq(pthread_create(&t, NULL, wait_at_the_gate, &passed), 0);
    cr_assert(!sandbox_built_in() || !atomic_load(&passed));
    sandbox_abandon();
    cr_assert_eq(pthread_join(t, NULL), 0);
    cr_assert(passed);
    if (sandbox_built_in()) {
        cr_assert_eq(prctl(PR_GET_DUMPABLE), 0);
        cr_assert_eq(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    }
}
