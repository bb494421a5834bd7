/* base/probe.h - static probes: places in the running program that perf, bpftrace and SystemTap
 * find by name. What each one tells is in docs/tracing.md.
 *
 * One costs a nop while nobody listens, and its arguments nothing as long as they are values that
 * are at hand: a variable, a field. Without <sys/sdt.h> at build time there are none. */
#pragma once

#ifdef HAVE_SDT
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define PROBE(name, ...) STAP_PROBEV(vmm, name, __VA_ARGS__)
#else
#define PROBE(name, ...) ((void)0)
#endif
