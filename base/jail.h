/* base/jail.h - the process apart from the rest of the host (docs/adr/0020-jail.md): alone among
 * processes, in a network of its own, as a user without capabilities, and, before the guest runs
 * its first instruction, with an empty folder for a root. Files are opened before that, by their
 * names on the host.
 *
 * One thread, but for jail_enter(), which the main thread calls while others run. Without a jail,
 * everything here does nothing. */
#pragma once

#include "base/base.h"

struct jail_config {
    const char *dir;    /* the new root; NULL: no jail */
    uint32_t uid, gid;  /* 0: not given */
    const char *cgroup; /* a folder of cgroup2's to be in; NULL: where we are */
    const char *netns;  /* a file that is a network namespace; NULL: see own_net */
    bool own_net;       /* a new network, in which there is nothing */
};

/* Splits the process in two, before it has threads. The one that gets 0 goes on, in namespaces of
 * its own. The one that gets 1 has stayed outside: it has handed over signals and waited, and
 * *status is how the other ended, as wait() says it. */
int CHECKED jail_begin(const struct jail_config *c, int *status, struct err *e);
/* The root becomes that folder, for all threads; user, group and capabilities are given up. What is
 * opened after that is opened there. No guest may run when it has failed; it fails ever after. */
int CHECKED jail_enter(struct err *e);

/* A socket that was just made here goes with the machine, which could not remove it from inside. */
void jail_remove_at_end(const char *path);
/* Opens a folder (O_PATH) that nothing leads out of: what is mounted below it stays there, and ".."
 * ends at it. As open(). */
int jail_open_folder(const char *path);
/* Whether the terminal is somebody else's at the moment, as the outside saw it: job control is not
 * seen from inside. */
bool jail_in_background(void);
/* Who this process is going to be; false: who it is. */
bool jail_will_be(uid_t *uid, gid_t *gid);
