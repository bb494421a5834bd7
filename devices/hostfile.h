/* devices/hostfile.h - a regular file or a block device of the host that a device is made of. */
#pragma once

#include <sys/stat.h>

#include "base/base.h"

/* Opens and locks it, for writing unless `ro`; `more` are further flags of open(). The lock keeps
 * out other VMs: none writes what this one uses, or changes what it only reads; it lasts as long as
 * the descriptor. `what` begins the messages: "disk", "pmem". */
int CHECKED hostfile_open(const char *what, const char *path, bool ro, int more, int *fd,
                          struct stat *st, struct err *e);
