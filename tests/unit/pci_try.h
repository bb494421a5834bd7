/* tests/unit/pci_try.h - a PCI bus with a test for its machine: interrupts arrive in eventfds that
 * can be counted, and accesses go through the same buses as a guest's. */
#pragma once

#include <criterion/criterion.h>
#include <linux/pci_regs.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "base/log.h"
#include "transport/pci/pci.h"

enum { ECAM = 0xe0000000, IO = 0x1000, MEM32 = 0xc0000000, MSI_MAX = 4096 };
#define MEM64 0x400000000ull

struct try_msi {
    bool open;
    int fd;
    uint64_t address;
    uint32_t data;
    unsigned routes; /* how often it was told */
};
static struct {
    struct try_msi msi[MSI_MAX];
    unsigned n_msi, n_closed;
    int open_fails, route_fails, intx_fails;
    int trigger[PCI_PINS], resample[PCI_PINS];
    unsigned n_pins;
} irqs;

static int try_msi_open(void *ctx, unsigned *id, int *fd)
{
    (void)ctx;
    if (irqs.open_fails)
        return irqs.open_fails;
    cr_assert_lt(irqs.n_msi, MSI_MAX);
    struct try_msi *m = &irqs.msi[irqs.n_msi];
    *m = (struct try_msi){.open = true, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    cr_assert_geq(m->fd, 0);
    *id = irqs.n_msi++;
    *fd = m->fd;
    return 0;
}

static int try_msi_route(void *ctx, unsigned id, uint64_t address, uint32_t data)
{
    (void)ctx;
    cr_assert(id < irqs.n_msi && irqs.msi[id].open);
    if (irqs.route_fails)
        return irqs.route_fails;
    irqs.msi[id].address = address;
    irqs.msi[id].data = data;
    irqs.msi[id].routes++;
    return 0;
}

static void try_msi_close(void *ctx, unsigned id, int fd)
{
    (void)ctx;
    cr_assert(id < irqs.n_msi && irqs.msi[id].open && irqs.msi[id].fd == fd);
    irqs.msi[id].open = false;
    irqs.n_closed++;
    close(fd);
}

static int try_intx_open(void *ctx, unsigned pin, int *trigger, int *resample)
{
    (void)ctx;
    cr_assert_lt(pin, PCI_PINS);
    if (irqs.intx_fails)
        return irqs.intx_fails;
    *trigger = irqs.trigger[pin] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    *resample = irqs.resample[pin] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    irqs.n_pins++;
    return 0;
}

static const struct pci_irq_ops try_irq_ops = {
    .msi_open = try_msi_open,
    .msi_route = try_msi_route,
    .msi_close = try_msi_close,
    .intx_open = try_intx_open,
};

/* How often an eventfd was signalled since the last look. */
static inline uint64_t signals(int fd)
{
    uint64_t n = 0;
    return read(fd, &n, sizeof(n)) < 0 ? 0 : n;
}

static struct bus *pio, *mmio;
static struct loop *loop;
static struct pci_bus *pci;
static struct pci_env env;

static inline void pci_up(void)
{
    memset(&irqs, 0, sizeof(irqs));
    for (unsigned i = 0; i < PCI_PINS; i++)
        irqs.trigger[i] = irqs.resample[i] = -1;
    cr_assert_eq(bus_new("port", &pio), 0);
    cr_assert_eq(bus_new("MMIO", &mmio), 0);
    cr_assert_eq(loop_new("io0", LOOP_EPOLL, &loop), 0);
    env = (struct pci_env){.pio = pio,
                           .mmio = mmio,
                           .loop = loop,
                           .ecam = GPA(ECAM),
                           .io = {IO, 0xf000},
                           .mem32 = {MEM32, 0x10000000},
                           .mem64 = {MEM64, GIB(16)},
                           .irq = &try_irq_ops};
    cr_assert_eq(pci_bus_new(&env, &pci), 0);
}

static inline void pci_down(void)
{
    pci_bus_free(pci);
    loop_free(loop);
    bus_free(pio);
    bus_free(mmio);
}

static inline uint64_t get(struct bus *b, uint64_t at, unsigned size)
{
    uint64_t v = 0x5a5a5a5a5a5a5a5a;
    (void)bus_access(b, GPA(at), size, false, &v);
    return v;
}

static inline void put(struct bus *b, uint64_t at, unsigned size, uint64_t v)
{
    (void)bus_access(b, GPA(at), size, true, &v);
}

static inline uint64_t cfg(unsigned slot, unsigned off, unsigned size)
{
    return get(mmio, ECAM + slot * 0x8000 + off, size);
}

static inline void cfg_put(unsigned slot, unsigned off, unsigned size, uint64_t v)
{
    put(mmio, ECAM + slot * 0x8000 + off, size, v);
}

/* A function that remembers what it is told. BAR contents are 64 bytes, over and over. */
struct gadget {
    struct pci_function *f;
    struct {
        unsigned bar;
        bool on;
        uint64_t at;
    } moves[64];
    unsigned n_moves, n_reads, n_writes;
    uint64_t off;
    unsigned size;
    uint8_t mem[64];
    /* hooks */
    unsigned hook_off, hook_size, n_hook_reads, n_hook_writes;
    uint8_t hook_saw;
};

static inline uint64_t gadget_read(void *ctx, uint64_t off, unsigned size)
{
    struct gadget *g = ctx;
    g->n_reads++;
    g->off = off;
    g->size = size;
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= (uint64_t)g->mem[(off + i) % 64] << 8 * i;
    return v;
}

static inline void gadget_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct gadget *g = ctx;
    g->n_writes++;
    g->off = off;
    g->size = size;
    for (unsigned i = 0; i < size; i++)
        g->mem[(off + i) % 64] = (uint8_t)(val >> 8 * i);
}

static const struct region_ops gadget_bar = {.read = gadget_read, .write = gadget_write};

static inline void gadget_moved(void *ctx, unsigned bar, bool on, uint64_t at)
{
    struct gadget *g = ctx;
    unsigned i = g->n_moves++ % ARRAY_SIZE(g->moves);
    g->moves[i].bar = bar;
    g->moves[i].on = on;
    g->moves[i].at = at;
}

static inline void gadget_hook_read(void *ctx, uint8_t *at, unsigned off, unsigned size)
{
    struct gadget *g = ctx;
    g->n_hook_reads++;
    g->hook_off = off;
    g->hook_size = size;
    at[1] = 0x77;
}

static inline void gadget_hook_write(void *ctx, uint8_t *at, unsigned off, unsigned size)
{
    struct gadget *g = ctx;
    g->n_hook_writes++;
    g->hook_off = off;
    g->hook_size = size;
    g->hook_saw = at[0];
}

static const struct pci_function_ops gadget_ops = {
    .moved = gadget_moved, .hook_read = gadget_hook_read, .hook_write = gadget_hook_write};
static const struct pci_ids gadget_ids = {.vendor = 0x1234,
                                          .device = 0x5678,
                                          .subsystem_vendor = 0x9abc,
                                          .subsystem = 0xdef0,
                                          .revision = 0x42,
                                          .class_code = 0x020304};

static inline void gadget_new(struct gadget *g, unsigned slot)
{
    *g = (struct gadget){0};
    cr_assert_eq(pci_function_new(pci, "gadget", &gadget_ids, slot, &gadget_ops, g, &g->f), 0);
}

static inline void gadget_bar_add(struct gadget *g, unsigned i, enum pci_bar_kind kind,
                                  uint64_t size)
{
    pci_add_bar(g->f, i, &(struct pci_bar){.kind = kind, .size = size, .ops = &gadget_bar});
}

static struct gadget g1; /* in slot 1 */

/* With I/O, 32-bit and 64-bit BARs, the last of which its owner maps. */

static inline void with_gadget(void)
{
    pci_up();
    gadget_new(&g1, 1);
    gadget_bar_add(&g1, 0, PCI_BAR_IO, 64);
    gadget_bar_add(&g1, 1, PCI_BAR_MEM32, 0x1000);
    gadget_bar_add(&g1, 2, PCI_BAR_MEM64, MIB(2));
    pci_add_bar(g1.f, 4,
                &(struct pci_bar){.kind = PCI_BAR_MEM64, .size = GIB(8), .prefetchable = true});
    cr_assert_eq(pci_function_start(g1.f), 0);
}

static inline void without_gadget(void)
{
    pci_function_free(g1.f);
    pci_down();
}

static inline uint64_t bar(unsigned i)
{
    return cfg(1, PCI_BASE_ADDRESS_0 + 4 * i, 4);
}

static inline void bar_put(unsigned i, uint32_t v)
{
    cfg_put(1, PCI_BASE_ADDRESS_0 + 4 * i, 4, v);
}

static inline void decode(unsigned command)
{
    cfg_put(1, PCI_COMMAND, 2, command);
}

/* Two threads that meet: after race_go() the other one does its part once, until race_join(). */
enum { RACES = 100000 };
static struct {
    pthread_t thread;
    void (*part)(void);
    atomic_uint asked, done;
    atomic_bool ends;
} race;

static inline void *race_thread(void *arg)
{
    while (!race.ends) {
        if (race.done == race.asked) {
            sched_yield();
            continue;
        }
        race.part();
        race.done++;
    }
    return arg;
}

static inline void race_start(void (*part)(void))
{
    race.part = part;
    cr_assert_eq(pthread_create(&race.thread, NULL, race_thread, NULL), 0);
}

static inline void race_go(void)
{
    race.asked++;
}

/* Some time, so that rounds differ. */
static inline void race_wait(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        __asm__ volatile("");
}

static inline void race_join(void)
{
    while (race.done != race.asked)
        sched_yield();
}

static inline void race_end(void)
{
    race.ends = true;
    pthread_join(race.thread, NULL);
}
