/* vmm/sandbox_lists.h - the lists of system calls (base/sandbox.h) that are the machine's own, and
 * all that there are. */
#pragma once

#include "base/sandbox.h"

extern const struct sandbox_list sandbox_vcpu, sandbox_machine, sandbox_api, sandbox_outputs;

/* The i-th of all lists, whoever has it; NULL: no more. */
const struct sandbox_list *sandbox_lists(unsigned i);
