/* base/sandbox_paths.c - Landlock: which files a thread may still open, make and remove. What is
 * open already stays so. */
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/sandbox_priv.h"

/* Newer than the oldest <linux/landlock.h> that this is built with. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ull << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ull << 15)
#endif
#ifndef LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ull << 0)
#endif

/* struct landlock_ruleset_attr, of ABI 6; an older kernel takes a shorter one. */
struct ruleset {
    uint64_t fs, net, scoped;
};
enum {
    ABI_REFER = 2, /* without it nothing can be moved from one folder to another */
    ABI_TRUNCATE = 3,
    ABI_IOCTL_DEV = 5,
    ABI_SCOPED = 6,
};

#define READ   (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define REMOVE (LANDLOCK_ACCESS_FS_REMOVE_FILE)
#define WRITE                                                                                      \
    (READ | REMOVE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE |                 \
     LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_DIR |  \
     LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |   \
     LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REFER)
#define ALL (WRITE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_IOCTL_DEV)
/* What means something for a file that is no folder. */
#define OF_A_FILE                                                                                  \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

static int rules = -1;
static uint64_t handled; /* what the kernel knows of ALL */
static bool files_live;

int landlock_begin(bool live, struct err *e)
{
    fd_cleanup_(&rules);
    files_live = live;
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < ABI_REFER) {
        log_debug("sandbox: no Landlock that would do (Linux 5.19), so paths are not restricted");
        return 0;
    }
    handled = ALL;
    if (abi < ABI_TRUNCATE)
        handled &= ~LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi < ABI_IOCTL_DEV)
        handled &= ~LANDLOCK_ACCESS_FS_IOCTL_DEV;
    const struct ruleset r = {.fs = handled, .scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET};
    size_t size = abi < ABI_SCOPED ? offsetof(struct ruleset, net) : sizeof(r);
    rules = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
    return rules < 0 ? err_host(e, -errno, "sandbox: Landlock") : 0;
}

/* The folder that the path's last part is in. */
static int open_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    return folder ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
}

void landlock_path(const char *path, enum sandbox_access access)
{
    static const uint64_t rights[] = {[SANDBOX_READ] = READ,
                                      [SANDBOX_WRITE] = WRITE,
                                      [SANDBOX_REMOVE] = REMOVE,
                                      [SANDBOX_LIVE] = WRITE};
    struct stat st;
    if (rules < 0 || (access == SANDBOX_LIVE && !files_live))
        return;
    bool folder = access == SANDBOX_REMOVE || access == SANDBOX_LIVE;
    AUTO_FD fd = folder ? open_folder(path) : open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return;
    const struct landlock_path_beneath_attr rule = {
        .parent_fd = fd,
        .allowed_access = rights[access] & handled & (S_ISDIR(st.st_mode) ? ALL : OF_A_FILE)};
    if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
        log_warn("sandbox: %s will not be reached: %s", path, strerror(errno));
}

int landlock_enter(void)
{
    return rules >= 0 && syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? -errno : 0;
}
