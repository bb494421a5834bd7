/* vmm/api/api.h - control from outside: a machine that is configured, started, watched and changed
 * by HTTP requests on a Unix socket, or configured by a file (docs/adr/0014).
 *
 * There is no thread for it. The main thread, which decides how a guest's life ends, also answers,
 * between one wait and the next: so no request meets another, or the machine at a bad moment.
 * Nothing that a client does or leaves undone is waited for. */
#pragma once

#include "vmm/machine.h"

struct api;

/* Makes the socket and reads the file that the configuration names. It keeps `base`, which
 * outlives it. */
int CHECKED api_new(const struct vm_config *base, struct api **out, struct err *e);
void api_free(struct api *a); /* the socket is gone, then the machine; NULL is fine */

/* Starts the guest now. */
int CHECKED api_start(struct api *a, struct err *e);
/* Answers until a client has started the guest: true; or one of the signals that main() blocked
 * has come: false, *signo is which. */
bool api_wait(struct api *a, int *signo);
/* Answers until the guest is done, as machine_run(). */
enum machine_end api_run(struct api *a, int *signo);
