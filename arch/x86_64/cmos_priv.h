/* arch/x86_64/cmos_priv.h - the clock behind the CMOS clock, so that tests can choose the time. */
#pragma once

#include "arch/x86_64/devices.h"

/* now_ns: nanoseconds since 1970 in UTC. Before the guest runs. */
typedef int64_t cmos_clock_fn(void *ctx);
void cmos_set_clock(struct cmos *c, cmos_clock_fn *now_ns, void *ctx);
