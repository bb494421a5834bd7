/* base/sandbox_priv.h - Landlock's part of the sandbox. Main thread, but for landlock_enter(). */
#pragma once

#include "base/sandbox.h"

/* A rule set without a rule: nothing may be opened. A kernel that has no Landlock is none of the
 * user's errors; what follows does nothing then. */
int CHECKED landlock_begin(bool live, struct err *e);
void landlock_path(const char *path, enum sandbox_access access);
int CHECKED landlock_enter(void); /* this thread, for good */
