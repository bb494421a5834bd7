/* tests/unit/test_jail.c - a shared folder in a jail, from inside, where a guest's requests are
 * carried out. What is seen from outside is tests/jail's. */
#include "base/jail.h"

#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "tests/unit/tree_try.h"

enum { NO_JAIL = 77 };

static struct jail_config jail;
static char root[96], where[160];

/* Here there is no Criterion: the process that remained outside looks at the exit status. */
#define ENTER()                                                                                    \
    do {                                                                                           \
        MUST(jail_enter(&e) == 0);                                                                 \
        MUST(access(share, F_OK) < 0 && errno == ENOENT);                                          \
    } while (0)
#define MUST(what)                                                                                 \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #what, e.msg);         \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* False outside, when it is over. */
static bool inside(void)
{
    int status;
    if (geteuid() != 0)
        cr_skip_test("needs root");
    make_folders();
    snprintf(root, sizeof(root), "%s/root", top);
    snprintf(where, sizeof(where), "%s/mounted", share);
    cr_assert_eq(mkdir(root, 0755), 0);
    cr_assert_eq(mkdir(where, 0755), 0);
    cr_assert_eq(chown(share, USER, GROUP), 0);
    jail = (struct jail_config){.dir = root, .uid = USER, .gid = GROUP, .own_net = true};
    pid_t pid = fork(); /* who stands outside gets the new root, too, and cannot tidy up */
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        int rc = jail_begin(&jail, &status, &e);
        if (rc == 0)
            return true;
        _exit(rc > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : NO_JAIL);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_JAIL)
        cr_skip_test("no jail can be made here");
    cr_assert_eq(WEXITSTATUS(status), 0);
    return false;
}

Test(jail, a_shared_folder_has_no_way_out, .fini = teardown)
{
    struct stat a, b;
    if (!inside())
        return;
    int fd = jail_open_folder(share);
    MUST(fd >= 0);
    ENTER();
    MUST(fstat(fd, &a) == 0 && fstatat(fd, "..", &b, 0) == 0);
    MUST(a.st_dev == b.st_dev && a.st_ino == b.st_ino);
    MUST(faccessat(fd, "../outside/canary", F_OK, 0) < 0);
    _exit(0);
}

Test(jail, what_is_mounted_below_a_shared_folder_stays, .fini = teardown)
{
    struct tree_entry entry;
    if (!inside())
        return;
    MUST(mount("tmpfs", where, "tmpfs", 0, NULL) == 0);
    host_file(at("mounted/file"), "below");
    new_tree();
    ENTER();
    struct tree_node *n = tree_get(t, 1);
    MUST(tree_lookup(t, n, "mounted", &entry) == 0);
    struct tree_node *below = tree_get(t, entry.id);
    MUST(tree_lookup(t, below, "file", &entry) == 0);
    MUST(entry.st.stx_size == 5);
    _exit(0);
}

Test(jail, a_shared_folder_acts_as_the_new_user, .fini = teardown)
{
    struct tree_entry entry;
    uint64_t handle;
    if (!inside())
        return;
    host_file(at("roots"), "root's");
    MUST(chmod(at("roots"), 0600) == 0);
    new_tree();
    ENTER();
    struct tree_node *n = tree_get(t, 1);
    MUST(tree_create(t, &somebody, n, "new", 0644, O_RDWR, false, &entry, &handle) == 0);
    struct tree_file *f = tree_file_get(t, handle);
    struct stat st;
    MUST(fstat(tree_file_fd(f), &st) == 0 && st.st_uid == USER && st.st_gid == GROUP);
    MUST(entry.st.stx_uid == 0 && entry.st.stx_gid == 0); /* the user's are root's in the guest */
    MUST(tree_lookup(t, n, "roots", &entry) == 0);
    struct tree_node *roots = tree_get(t, entry.id);
    MUST(tree_open(t, &root_user, roots, O_RDONLY, false, &handle) == -EACCES);
    _exit(0);
}

/* The outside is not led beyond what it was sent, whatever that says. */
Test(jail, more_sockets_than_there_is_room_for, .fini = teardown)
{
    enum { SOCKETS = 32 };
    struct {
        unsigned n;
        char sockets[SOCKETS][sizeof(((struct sockaddr_un *)0)->sun_path)];
    } request = {.n = UINT32_MAX};
    int ask = 3, type = 0, rc = -1;
    if (!inside())
        return;
    memset(request.sockets, 'x', sizeof(request.sockets));
    for (; type != SOCK_SEQPACKET; ask++) {
        socklen_t len = sizeof(type);
        MUST(ask < 256);
        (void)getsockopt(ask, SOL_SOCKET, SO_TYPE, &type, &len);
    }
    MUST(send(ask - 1, &request, sizeof(request), 0) == sizeof(request));
    MUST(recv(ask - 1, &rc, sizeof(rc), 0) == sizeof(rc) && rc == 0);
    _exit(0);
}

Test(jail, without_one_nothing_changes)
{
    const struct jail_config none = {0};
    int status;
    uid_t uid;
    gid_t gid;
    struct stat a, b;
    cr_assert_eq(jail_begin(&none, &status, &e), 0);
    cr_assert_eq(stat("/", &a), 0);
    cr_assert_eq(jail_enter(&e), 0);
    cr_assert_eq(stat("/", &b), 0);
    cr_assert(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    cr_assert_not(jail_will_be(&uid, &gid));
    jail_remove_at_end("/");
}
