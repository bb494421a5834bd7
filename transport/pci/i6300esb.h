/* transport/pci/i6300esb.h - the watchdog timer of Intel's 6300ESB (datasheet 300641, chapter 16),
 * a PCI function, because stock kernels of every system have a driver for it.
 *
 * Two stages of up to 2^20 ticks each. When the second one runs out, the guest has not fed the
 * watchdog for too long. */
#pragma once

#include "base/loop.h"
#include "transport/pci/pci.h"

struct i6300esb;

/* In the lowest free slot; -ENOSPC: there is none. It starts disabled; bite() is called on the
 * loop's thread. */
int CHECKED i6300esb_new(struct pci_bus *b, struct loop *l, void (*bite)(void *ctx), void *ctx,
                         struct i6300esb **out);
void i6300esb_free(struct i6300esb *w); /* the loop has no thread any more; NULL is fine */
/* As at power-on, but that it bit is still told. */
void i6300esb_reset(struct i6300esb *w);
/* Nothing runs out while it is paused; the stage that was running then begins anew. */
void i6300esb_pause(struct i6300esb *w);
void i6300esb_resume(struct i6300esb *w);
/* The time that is left is not saved: after a load the stage that was running begins anew. */
void i6300esb_save(struct i6300esb *w, struct state_out *s);
int CHECKED i6300esb_load(struct i6300esb *w, struct state_in *s);
