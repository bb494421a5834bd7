/* tests/fuzz/clock.h - a monotonic clock that stands until the script moves it on, and the timers
 * of loops, which go by it. The linker sees to it (--wrap). */
#pragma once

#include "base/loop.h"

void clock_begin(void); /* as at the first input's beginning */
/* Each timer that runs out does so at its time; then the loop settles. */
void clock_pass(struct loop *l, uint64_t ns);
