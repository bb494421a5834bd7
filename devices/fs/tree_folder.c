/* devices/fs/tree_folder.c - open folders, and what is in them: as the host's kernel gives it, but
 * for what is above the shared one. */
#include <sys/syscall.h>

#include "devices/fs/tree_priv.h"

/* struct linux_dirent64, which no header has: u64 ino, u64 off, u16 length, u8 type, name. */
enum { DIRENT_LEN = 16, DIRENT_NAME = 19 };

int tree_open_folder(struct tree *t, struct tree_node *n, uint64_t *handle)
{
    int rc = n->fd < 0 ? n->fd : S_ISDIR(n->type) ? 0 : -ENOTDIR;
    if (rc == 0)
        rc = tree_may(t, n->fd, R_OK);
    if (rc == 0)
        rc = tree_take_slot(t, &t->files);
    if (rc < 0)
        return rc;
    int fd = tree_reopen(t, n->fd, O_RDONLY | O_DIRECTORY);
    return tree_file_opened(t, n, fd, O_RDONLY | O_DIRECTORY, handle);
}

/* What is above the root is none of the guest's business. */
static void hide_above(const struct tree *t, char *buf, size_t len)
{
    for (size_t at = 0; at < len;) {
        if (strcmp(buf + at + DIRENT_NAME, "..") == 0)
            put_bytes(buf + at, t->root->key.ino, 8);
        at += get_bytes(buf + at + DIRENT_LEN, 2);
    }
}

int tree_read_folder(struct tree *t, struct tree_file *f, uint64_t at, void *buf, size_t len)
{
    if (f->fd < 0)
        return f->fd;
    pthread_mutex_lock(&f->lock);
    long n = lseek(f->fd, (off_t)at, SEEK_SET) < 0 ? -1 : 0;
    if (n == 0)
        n = syscall(SYS_getdents64, f->fd, buf, MIN(len, (size_t)INT32_MAX));
    n = n < 0 ? tree_errno() : n;
    pthread_mutex_unlock(&f->lock);
    if (n > 0 && f->node == t->root)
        hide_above(t, buf, (size_t)n);
    return (int)n;
}
