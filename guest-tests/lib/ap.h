/* guest-tests/lib/ap.h - starting a second CPU the way the architecture has it: INIT, then a
 * startup IPI, into real mode (Intel SDM volume 3, 9.4). */
#pragma once

#include <stdint.h>

/* CPU `id` calls fn() in long mode with a stack of its own, interrupts off and its local APIC and
 * descriptor table ready. Does not wait for it. There is one stack, so one CPU at a time. */
void ap_start(uint32_t id, void (*fn)(void));
