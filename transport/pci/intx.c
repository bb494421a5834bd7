/* transport/pci/intx.c - INTA# of every function, wired to four level-triggered lines (PCI Local
 * Bus 3.0, 2.2.6). No lock: a level and the permission to show it are two atomics.
 *
 * Each line has one pair of eventfds, however many functions share it, made when its first function
 * starts: that costs some 20 us, and nothing can fail or need the loop's thread later. */
#include <poll.h>

#include "transport/pci/pci_priv.h"

static struct intx_pin *pin_of(const struct pci_function *f)
{
    return &f->bus->pins[f->slot % PCI_PINS];
}

static bool asserts(const struct pci_function *f)
{
    return atomic_load(&f->level) && atomic_load(&f->intx_allowed);
}

/* A line that is asserted already stays so: one signal too many costs nothing. */
static void assert_line(const struct intx_pin *p)
{
    event_signal(p->trigger);
}

/* The guest ended the interrupt and the line was deasserted. Whoever raises its level from now on
 * asserts it; whoever never lowered it is found here. */
static void on_resample(void *ctx, uint32_t events)
{
    struct intx_pin *p = ctx;
    uint64_t count;
    (void)events;
    if (read(p->resample, &count, sizeof(count)) < 0)
        return;
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        const struct pci_function *f = p->bus->functions[slot];
        if (f && pin_of(f) == p && asserts(f)) {
            assert_line(p);
            return;
        }
    }
}

int intx_pin_open(struct pci_bus *b, unsigned pin)
{
    struct intx_pin *p = &b->pins[pin];
    if (p->trigger >= 0)
        return 0;
    AUTO_FD trigger = -1;
    AUTO_FD resample = -1;
    int rc = b->env.irq->intx_open(b->env.irq_ctx, pin, &trigger, &resample);
    if (rc < 0)
        return rc;
    p->watch = (struct loop_watch){.fd = resample, .events = POLLIN, .fn = on_resample, .ctx = p};
    rc = loop_watch(b->env.loop, &p->watch);
    if (rc < 0)
        return rc;
    p->bus = b;
    p->trigger = TAKE_FD(trigger);
    p->resample = TAKE_FD(resample);
    return 0;
}

void intx_pins_close(struct pci_bus *b)
{
    for (unsigned i = 0; i < PCI_PINS; i++) {
        struct intx_pin *p = &b->pins[i];
        if (p->trigger < 0)
            continue;
        loop_unwatch(b->env.loop, &p->watch);
        fd_cleanup_(&p->trigger);
        fd_cleanup_(&p->resample);
    }
}

/* Both sides write their own atomic and then read the other's, so that of a level and a permission
 * that arrive at once at least one side sees both. */
void pci_intx_set(struct pci_function *f, bool level)
{
    bool was = atomic_exchange(&f->level, level);
    if (level && !was && asserts(f))
        assert_line(pin_of(f));
}

void intx_obey(struct pci_function *f)
{
    bool enabled = !(get_command(f) & PCI_COMMAND_INTX_DISABLE);
    bool allowed = enabled && !atomic_load(&f->msix.enabled);
    if (!atomic_exchange(&f->intx_allowed, allowed) && asserts(f))
        assert_line(pin_of(f));
}
