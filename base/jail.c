/* base/jail.c - see jail.h. There are two processes: the guest's, which is the first of its
 * namespace, and this one's remains outside, which changes the other's root for it when asked, for
 * that takes a capability that the other need not have, and removes its sockets in the end. */
#include "base/jail.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/sandbox.h"

enum { SOCKETS_MAX = 32, PATH_BYTES = sizeof(((struct sockaddr_un *)0)->sun_path) };

/* What the inside asks the outside to do. */
struct request {
    unsigned n;
    char sockets[SOCKETS_MAX][PATH_BYTES];
};

/* The process inside; all zero without a jail. */
static struct {
    const struct jail_config *config;
    int outside; /* a socket, to ask by */
    bool background;
    struct request request;
} jail = {.outside = -1};

/* --- outside --- */

/* A socket of the inside's, by its folder. */
struct left_over {
    int folder;
    char name[PATH_BYTES];
    dev_t dev;
    ino_t ino;
};

struct outside {
    pid_t inside;
    int ask; /* -1: nothing is to be asked any more */
    int dir;
    struct left_over left[SOCKETS_MAX];
    unsigned n_left;
};

static void remember(struct outside *o, const char *path)
{
    struct left_over l = {.folder = -1};
    struct stat st;
    const char *slash = strrchr(path, '/');
    char folder[PATH_BYTES] = ".";
    if (slash)
        (void)snprintf(folder, sizeof(folder), "%.*s", (int)(slash - path + 1), path);
    (void)snprintf(l.name, sizeof(l.name), "%s", slash ? slash + 1 : path);
    if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
        return;
    l.folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    l.dev = st.st_dev;
    l.ino = st.st_ino;
    o->left[o->n_left++] = l;
}

static void remove_left(struct outside *o)
{
    for (unsigned i = 0; i < o->n_left; i++) {
        struct left_over *l = &o->left[i];
        struct stat st;
        if (fstatat(l->folder, l->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == l->dev &&
            st.st_ino == l->ino)
            (void)unlinkat(l->folder, l->name, 0);
        fd_cleanup_(&l->folder);
    }
}

/* In the mount namespace of both. Processes whose root was the old one get the new one. */
static int change_root(int dir)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
                                          MOUNT_ATTR_NOEXEC};
    AUTO_FD root = open_tree(dir, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (root < 0 || mount_setattr(root, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0 ||
        move_mount(root, "", dir, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0 ||
        fchdir(root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 ||
        chdir("/") < 0)
        return -errno;
    return 0;
}

static void serve(struct outside *o)
{
    struct request r;
    if (recv(o->ask, &r, sizeof(r), 0) == sizeof(r)) {
        for (unsigned i = 0; i < MIN(r.n, (unsigned)SOCKETS_MAX); i++) {
            r.sockets[i][PATH_BYTES - 1] = '\0';
            remember(o, r.sockets[i]);
        }
        int rc = change_root(o->dir);
        (void)send(o->ask, &rc, sizeof(rc), MSG_NOSIGNAL);
    }
    fd_cleanup_(&o->ask); /* asked once, while no guest has run */
    o->ask = -1;
}

/* True when the inside has ended. */
static bool hand_over(const struct outside *o, int signals, int *status)
{
    struct signalfd_siginfo info;
    if (read(signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return false;
    if (info.ssi_signo == SIGCHLD)
        return waitpid(o->inside, status, WNOHANG) > 0;
    (void)kill(o->inside, (int)info.ssi_signo);
    return false;
}

static int stand_outside(struct outside *o, int signals)
{
    int status = 0;
    bool ended = false;
    while (!ended) {
        struct pollfd fds[] = {{.fd = signals, .events = POLLIN}, {.fd = o->ask, .events = POLLIN}};
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0)
            continue;
        if (fds[1].revents)
            serve(o);
        if (fds[0].revents)
            ended = hand_over(o, signals, &status);
    }
    remove_left(o);
    return status;
}

/* --- inside --- */

static int write_word(int fd, const char *word)
{
    return write(fd, word, strlen(word)) < 0 ? -errno : 0;
}

struct capabilities { /* of the calling thread */
    struct __user_cap_header_struct header;
    struct __user_cap_data_struct of[2];
};

static int get_capabilities(struct capabilities *c)
{
    c->header = (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3};
    return (int)syscall(SYS_capget, &c->header, c->of);
}

static void drop_bounding_set(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_DROP, cap) == 0; cap++)
        ;
}

/* /sys/class/net has the interfaces of whoever mounted it. */
static int join_network(int netns)
{
    if (setns(netns, CLONE_NEWNET) < 0 ||
        mount("sysfs", "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return -errno;
    return 0;
}

static int join(const struct jail_config *c, int cgroup, int netns, struct err *e)
{
    int rc;
    if (cgroup >= 0 && (rc = write_word(cgroup, "0")) < 0)
        return err_host(e, rc, "--jail: cgroup %s cannot be joined", c->cgroup);
    if (netns >= 0 && (rc = join_network(netns)) < 0)
        return rc == -EINVAL ? err_input(e, 0, "--jail: netns %s: is no network", c->netns)
                             : err_host(e, rc, "--jail: netns %s", c->netns);
    if (unshare(CLONE_NEWIPC | CLONE_NEWUTS | (c->own_net ? CLONE_NEWNET : 0)) < 0)
        return err_host(e, -errno, "--jail: namespaces");
    return 0;
}

/* Before there are threads: each of them will be so. Root keeps its capabilities until all is open;
 * others have some in here only, where they open nothing. */
static int settle(bool root, struct err *e)
{
    struct capabilities c;
    drop_bounding_set();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || get_capabilities(&c) < 0)
        return err_host(e, -errno, "--jail: capabilities");
    for (size_t i = 0; i < ARRAY_SIZE(c.of); i++)
        c.of[i] = (struct __user_cap_data_struct){.effective = root ? c.of[i].effective : 0,
                                                  .permitted = root ? c.of[i].permitted : 0};
    if (syscall(SYS_capset, &c.header, c.of) < 0)
        return err_host(e, -errno, "--jail: capabilities");
    return 0;
}

/* --- the beginning --- */

static int check(const struct jail_config *c, bool root, struct err *e)
{
    if (root && (!c->uid || !c->gid))
        return err_input(e, 0, "--jail: root has to say who it will be: uid= and gid=");
    if (!root && (c->uid || c->gid))
        return err_input(e, 0, "--jail: only root can become somebody else (uid=, gid=)");
    return 0;
}

static int open_parts(const struct jail_config *c, int *cgroup, int *netns, struct err *e)
{
    AUTO_FREE char *procs = NULL;
    if (c->cgroup) {
        if (asprintf(&procs, "%s/cgroup.procs", c->cgroup) < 0) {
            procs = NULL;
            return err_host(e, -ENOMEM, "--jail");
        }
        *cgroup = open(procs, O_WRONLY | O_CLOEXEC);
        if (*cgroup < 0)
            return err_input(e, -errno, "--jail: cgroup %s", c->cgroup);
    }
    if (c->netns) {
        *netns = open(c->netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (*netns < 0)
            return err_input(e, -errno, "--jail: netns %s", c->netns);
    }
    return 0;
}

static int write_map(const char *file, unsigned id)
{
    char line[32];
    (void)snprintf(line, sizeof(line), "%u %u 1", id, id);
    AUTO_FD fd = open(file, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : write_word(fd, line);
}

/* An ordinary user has the capabilities for the rest in a user namespace, as whoever it is. */
static int become_capable(struct err *e)
{
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER) < 0)
        return err_host(e, -errno,
                        "--jail: without root, this host would have to allow user namespaces");
    AUTO_FD fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : write_word(fd, "deny");
    if (rc == 0)
        rc = write_map("/proc/self/uid_map", uid);
    if (rc == 0)
        rc = write_map("/proc/self/gid_map", gid);
    return rc < 0 ? err_host(e, rc, "--jail: user namespace") : 0;
}

/* The folder is opened where its mount will be changed. */
static int leave(const char *path, bool root, int *dir, struct err *e)
{
    int rc = root ? 0 : become_capable(e);
    if (rc < 0)
        return rc;
    if (unshare(CLONE_NEWNS | CLONE_NEWPID) < 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return err_host(e, -errno, "--jail: namespaces");
    *dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return *dir < 0 ? err_input(e, -errno, "--jail %s", path) : 0;
}

/* Signals that would end us are for the inside; a stop would leave it running. */
static int take_signals(void)
{
    static const int ours[] = {SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
    sigset_t mask;
    (void)sigemptyset(&mask);
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        (void)sigaddset(&mask, ours[i]);
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    (void)signal(SIGTSTP, SIG_IGN);
    (void)signal(SIGTTIN, SIG_IGN);
    (void)signal(SIGTTOU, SIG_IGN);
    return signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int die_with_outside(void)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
}

static void no_core(void)
{
    const struct rlimit none = {0};
    (void)setrlimit(RLIMIT_CORE, &none);
}

int jail_begin(const struct jail_config *c, int *status, struct err *e)
{
    bool root = geteuid() == 0;
    if (!c->dir)
        return 0;
    AUTO_FD dir = -1, cgroup = -1, netns = -1;
    pid_t front = tcgetpgrp(STDIN_FILENO); /* fails when it is no terminal of our session */
    bool background = front > 0 && front != getpgrp();
    int rc = check(c, root, e);
    if (rc == 0)
        rc = open_parts(c, &cgroup, &netns, e);
    if (rc == 0)
        rc = leave(c->dir, root, &dir, e);
    if (rc < 0)
        return rc;
    int pair[2];
    AUTO_FD signals = take_signals();
    if (signals < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_host(e, -errno, "--jail");
    AUTO_FD ask = pair[0], outside = pair[1];
    no_core();
    pid_t pid = fork();
    if (pid < 0)
        return err_host(e, -errno, "--jail");
    if (pid > 0) {
        fd_cleanup_(&outside);
        outside = -1;
        struct outside o = {.inside = pid, .ask = TAKE_FD(ask), .dir = dir};
        *status = stand_outside(&o, signals);
        return 1;
    }
    rc = die_with_outside();
    if (rc < 0)
        return err_host(e, rc, "--jail");
    rc = join(c, cgroup, netns, e);
    if (rc == 0)
        rc = settle(root, e);
    if (rc == 0) {
        jail.config = c;
        jail.background = background;
        jail.outside = TAKE_FD(outside);
    }
    return rc;
}

/* --- inside --- */

static int ask_for_root(void)
{
    int rc;
    if (send(jail.outside, &jail.request, sizeof(jail.request), MSG_NOSIGNAL) < 0)
        return -errno;
    if (recv(jail.outside, &rc, sizeof(rc), 0) != sizeof(rc))
        return -ECONNRESET;
    fd_cleanup_(&jail.outside);
    jail.outside = -1;
    return rc;
}

int jail_enter(struct err *e)
{
    const struct jail_config *c = jail.config;
    if (!c)
        return 0;
    int rc = ask_for_root();
    if (rc == 0 && chdir("/") < 0)
        rc = -errno;
    if (rc < 0)
        return err_host(e, rc, "--jail %s: cannot be made the root", c->dir);
    /* A terminal cannot be typed at for its shell by who is not of its session. */
    (void)setsid();
    if (c->uid && (setgroups(0, NULL) < 0 || setresgid(c->gid, c->gid, c->gid) < 0 ||
                   setresuid(c->uid, c->uid, c->uid) < 0))
        return err_host(e, -errno, "--jail: cannot become uid %u, gid %u", c->uid, c->gid);
    struct capabilities
        caps; /* they went with root's user, unless somebody has arranged otherwise */
    if (get_capabilities(&caps) < 0 || caps.of[0].permitted || caps.of[1].permitted)
        return err_host(e, 0, "--jail: capabilities stay (securebits)");
    /* What is opened from now on is looked for in here, where the rules that were made for the
     * host's files mean nothing. */
    sandbox_path("/", SANDBOX_READ);
    rc = die_with_outside(); /* a change of user has called it off */
    return rc < 0 ? err_host(e, rc, "--jail") : 0;
}

void jail_remove_at_end(const char *path)
{
    struct request *r = &jail.request;
    if (!jail.config || r->n == SOCKETS_MAX || strlen(path) >= PATH_BYTES)
        return;
    memcpy(r->sockets[r->n++], path, strlen(path) + 1);
}

int jail_open_folder(const char *path)
{
    AUTO_FD fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || !jail.config)
        return TAKE_FD(fd);
    int tree =
        open_tree(fd, "", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    return tree < 0 && errno == EPERM ? TAKE_FD(fd) : tree;
}

bool jail_in_background(void)
{
    return jail.background;
}

bool jail_will_be(uid_t *uid, gid_t *gid)
{
    if (!jail.config || !jail.config->uid)
        return false;
    *uid = jail.config->uid;
    *gid = jail.config->gid;
    return true;
}
