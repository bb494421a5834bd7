/* base/chardev.h - the host's end of a console: this terminal, a pseudo-terminal, a file, a Unix
 * socket, or nothing.
 *
 * Up to CHARDEV_CLIENTS devices share one. What they write is interleaved; what the host types
 * goes to the first of them that wants input, and stays with the host while none has room, so that
 * nothing is ever lost. A terminal is read ahead, for its escape keys, and so is what a peer left
 * behind when it went; both up to 256 KiB.
 *
 * chardev_write() and chardev_rx_ready() may be called from any thread; the client's functions run
 * on the loop's thread, without the chardev's lock held, and as long as the chardev lives. */
#pragma once

#include "base/base.h"
#include "base/loop.h"
#include "base/sandbox.h"

struct chardev;
extern const struct sandbox_list chardev_socket_calls; /* where the host's end is a socket */

enum { CHARDEV_CLIENTS = 2 };
enum chardev_event { CHARDEV_CONNECTED, CHARDEV_DISCONNECTED, CHARDEV_RESIZED };
struct chardev_client {
    bool (*wants_input)(void *ctx);                           /* the guest listens on this one */
    size_t (*room)(void *ctx);                                /* bytes that receive() takes now */
    void (*receive)(void *ctx, const uint8_t *p, size_t len); /* len is at most room() */
    void (*writable)(void *ctx);                     /* after anybody's short chardev_write() */
    void (*event)(void *ctx, enum chardev_event ev); /* may be NULL */
    void *ctx;
};

struct chardev_spec {
    enum { CHARDEV_STDIO, CHARDEV_PTY, CHARDEV_FILE, CHARDEV_NONE, CHARDEV_UNIX } kind;
    const char *path; /* FILE: truncated and written, no input. UNIX: listened on, one peer */
    /* STDIO on a terminal: raw mode, Ctrl-A x calls quit (on the loop's thread), Ctrl-A h helps,
     * Ctrl-A Ctrl-A is one, Ctrl-A and another key is that key. One per process. */
    void (*quit)(void *ctx);
    void *quit_ctx;
};
/* Opens the host's end; nothing is read before chardev_start(). */
int CHECKED chardev_new(const struct chardev_spec *spec, struct loop *l, struct chardev **out,
                        struct err *e);
/* Gives the terminal back as it was; unlinks the socket. NULL is fine. On the loop's thread, or
 * when the loop has ended. */
void chardev_free(struct chardev *c);
/* Before chardev_start(); the earlier client is asked first. */
void chardev_attach(struct chardev *c, const struct chardev_client *client);
int CHECKED chardev_start(struct chardev *c); /* on the loop's thread, or before it runs */

/* How much was taken; short when the host's side is full, and then writable() follows. With nobody
 * there to read (no peer, none, or standard output gone, which is logged once) everything is taken
 * and dropped. SIGPIPE must be ignored. */
size_t chardev_write(struct chardev *c, const void *p, size_t len);
void chardev_rx_ready(struct chardev *c); /* a client has room, or wants input, again */
bool chardev_connected(const struct chardev *c);
bool chardev_size(const struct chardev *c, uint16_t *cols, uint16_t *rows); /* false: unknown */
void chardev_resized(struct chardev *c);           /* SIGWINCH came; any thread */
const char *chardev_path(const struct chardev *c); /* PTY: its name; else NULL */

/* Async-signal-safe: puts this process's terminal back as chardev_new() found it, if it did. */
void chardev_restore_terminal(void);
