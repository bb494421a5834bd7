/* transport/pci/intx.c - INTA# of every function, wired to four level-triggered lines (PCI Local
 * Bus 3.0, 2.2.6). No lock: a level and the permission to show it are two atomics.
 *
 * Each line has one pair of eventfds, however many functions share it, made when it is asserted for
 * the first time: for most guests never, since their drivers have MSI-X. Each would cost a start
 * two descriptors and a grace period of the kernel's, and so would the VM's end. */
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

static bool open_line(struct intx_pin *p);

/* A line that is asserted already stays so: one signal too many costs nothing. */
static void assert_line(struct intx_pin *p)
{
    if (atomic_load(&p->open) || open_line(p))
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

static void watch_line(void *ctx)
{
    struct intx_pin *p = ctx;
    p->watch =
        (struct loop_watch){.fd = p->resample, .events = POLLIN, .fn = on_resample, .ctx = p};
    if (loop_watch(p->bus->env.loop, &p->watch) < 0)
        log_error("PCI: no memory to watch an interrupt line: it comes once");
}

/* Any thread: only the loop's may watch. False: the host refuses, and the next one tries again. */
static bool open_line(struct intx_pin *p)
{
    struct pci_bus *b = p->bus;
    (void)pthread_mutex_lock(&b->pins_lock);
    int rc = 0;
    if (!atomic_load(&p->open)) {
        rc = b->env.irq->intx_open(b->env.irq_ctx, (unsigned)(p - b->pins), &p->trigger,
                                   &p->resample);
        if (rc == 0) {
            loop_post(b->env.loop, &p->watch_it);
            atomic_store(&p->open, true);
        }
    }
    (void)pthread_mutex_unlock(&b->pins_lock);
    if (rc < 0)
        log_limited(&p->refused, LOG_ERROR, "PCI: an interrupt is lost: %s", strerror(-rc));
    return rc == 0;
}

void intx_pins_init(struct pci_bus *b)
{
    (void)pthread_mutex_init(&b->pins_lock, NULL);
    for (unsigned i = 0; i < PCI_PINS; i++) {
        struct intx_pin *p = &b->pins[i];
        *p = (struct intx_pin){.bus = b, .trigger = -1, .resample = -1};
        p->watch_it = (struct loop_task){.fn = watch_line, .ctx = p};
    }
}

void intx_pins_close(struct pci_bus *b)
{
    for (unsigned i = 0; i < PCI_PINS; i++) {
        struct intx_pin *p = &b->pins[i];
        loop_task_cancel(b->env.loop, &p->watch_it);
        loop_unwatch(b->env.loop, &p->watch);
        fd_cleanup_(&p->trigger);
        fd_cleanup_(&p->resample);
    }
    (void)pthread_mutex_destroy(&b->pins_lock);
}

/* Both sides write their own atomic and then read the other's, so that of a level and a permission
 * that arrive at once at least one side sees both. */
void pci_intx_set(struct pci_function *f, bool level)
{
    bool was = atomic_exchange(&f->level, level);
    struct intx_pin *p = pin_of(f);
    if (level && (!was || !atomic_load(&p->open)) && asserts(f)) /* nobody heard of the last one */
        assert_line(p);
}

void intx_obey(struct pci_function *f)
{
    bool enabled = !(get_command(f) & PCI_COMMAND_INTX_DISABLE);
    bool allowed = enabled && !atomic_load(&f->msix.enabled);
    if (!atomic_exchange(&f->intx_allowed, allowed) && asserts(f))
        assert_line(pin_of(f));
}
