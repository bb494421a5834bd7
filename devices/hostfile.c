/* devices/hostfile.c - see hostfile.h. */
#include "devices/hostfile.h"

#include <fcntl.h>

static int lock_file(int fd, const char *what, const char *path, bool ro, struct err *e)
{
    struct flock l = {.l_type = ro ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &l) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return err_input(e, 0, "%s %s: in use: another device or process holds its lock", what,
                         path);
    return err_input(e, -errno, "%s %s: cannot be locked", what, path);
}

int hostfile_open(const char *what, const char *path, bool ro, int more, int *fd, struct stat *st,
                  struct err *e)
{
    int flags = (ro ? O_RDONLY : O_RDWR) | more | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    AUTO_FD f = open(path, flags, 0600);
    if (f < 0 && errno == EISDIR)
        return err_input(e, 0, "%s %s: is a directory", what, path);
    if (f < 0 || fstat(f, st) < 0)
        return err_input(e, -errno, "%s %s", what, path);
    /* Not blocking was for opening: a FIFO must not hold us up, but file I/O may wait. */
    if (fcntl(f, F_SETFL, flags & O_ACCMODE) < 0)
        return err_input(e, -errno, "%s %s", what, path);
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
        return err_input(e, 0, "%s %s: is neither a file nor a block device", what, path);
    int rc = lock_file(f, what, path, ro, e);
    if (rc == 0)
        *fd = TAKE_FD(f);
    return rc;
}
