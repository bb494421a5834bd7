/* base/chardev_term.c - the terminal that this process was started on: raw while the guest has it,
 * escape keys, and as it was when we leave, however we leave. */
#include <termios.h>
#include <unistd.h>

#include "base/chardev_priv.h"
#include "base/jail.h"

enum { CTRL_A = 1 };

/* One process, one terminal. Written before `raw` is set and read by a signal handler after. */
static struct termios before;
static int raw_fd;
static pid_t group; /* ours, which nobody changes any more */
static atomic_bool raw;

/* Whoever changes the terminal from the background of its session is stopped, and with this process
 * its guest and its control socket. */
static bool in_background(int fd)
{
    pid_t front = tcgetpgrp(fd); /* fails when it is not the terminal of our session */
    return front > 0 && front != group;
}

int term_open(struct chardev *c, struct err *e)
{
    struct termios t;

    group = getpgrp();
    if (in_background(c->in_fd) || jail_in_background())
        return err_input(e, 0,
                         "stdio: the terminal is not for processes in the background; "
                         "--console file=PATH, pty or none is");
    if (atomic_load(&raw))
        return err_input(e, 0, "stdio: the terminal is already in use");
    if (tcgetattr(c->in_fd, &t) < 0)
        return err_host(e, -errno, "stdio: terminal");
    before = t;
    raw_fd = c->in_fd;
    /* Output processing stays on: our own messages end in a bare newline, and the guest's CR LF is
     * none the worse for a second CR. */
    t.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | IGNCR | INLCR | INPCK | ISTRIP | IXON | PARMRK);
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
    t.c_cflag = (t.c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    atomic_store(&raw, true);
    if (tcsetattr(c->in_fd, TCSANOW, &t) < 0) {
        atomic_store(&raw, false);
        return err_host(e, -errno, "stdio: terminal");
    }
    c->terminal = true;
    return 0;
}

void chardev_restore_terminal(void)
{
    int saved = errno;
    if (atomic_load(&raw) && !in_background(raw_fd)) /* else the shell has it, as it wants it */
        (void)tcsetattr(raw_fd, TCSANOW, &before);
    errno = saved;
}

void term_close(void)
{
    chardev_restore_terminal();
    atomic_store(&raw, false);
}

static void help(struct chardev *c)
{
    static const char text[] = "\r\n"
                               "Ctrl-A x       quit\r\n"
                               "Ctrl-A h       this help\r\n"
                               "Ctrl-A Ctrl-A  send Ctrl-A\r\n";
    if (isatty(c->out_fd))
        (void)chardev_write(c, text, sizeof(text) - 1);
}

/* Any other key after Ctrl-A is sent without it, so that input never grows. */
size_t term_filter(struct chardev *c, uint8_t *p, size_t len)
{
    size_t kept = 0;

    for (size_t i = 0; i < len; i++) {
        bool escaped = c->escape;
        c->escape = p[i] == CTRL_A && !escaped;
        if (c->escape)
            continue;
        if (escaped && p[i] == 'x') {
            if (c->quit)
                c->quit(c->quit_ctx);
        } else if (escaped && p[i] == 'h') {
            help(c);
        } else {
            p[kept++] = p[i];
        }
    }
    return kept;
}
