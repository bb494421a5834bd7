/* tests/rig/proves.h - what a test proves. PROVES("id") in the body of a Criterion test names a row
 * of tests/conformance/normative.tsv, a sentence that the specification asks of devices.
 * HOLDS(r, "ids") names rows of tests/attacks/attacks.tsv, what a guest has done to others and does
 * here in vain, on the way that leads to the device of that rig; HOLDS_HERE("ids") where there is
 * none.
 *
 * tools/conformance and tools/attacks hold the claims that were made against the tests' results. */
#pragma once

#include <criterion/criterion.h>

#include "tests/rig/claim.h"

/* A literal, because the source is searched for it. */
#define PROVES(id) proves("VMM_PROVES", "" id, program_invocation_short_name, __FILE__)

#define HOLDS(r, ids)   proves("VMM_HOLDS", (ids), rig_where(r), __FILE__)
#define HOLDS_HERE(ids) proves("VMM_HOLDS", (ids), "elsewhere", __FILE__)

static inline void proves(const char *variable, const char *ids, const char *where,
                          const char *file)
{
    char test[256];
    (void)snprintf(test, sizeof(test), "%s::%s", criterion_current_test->category,
                   criterion_current_test->name);
    claim(variable, ids, test, where, file);
}
