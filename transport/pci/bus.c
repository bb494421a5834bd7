/* transport/pci/bus.c - the host bridge: two ways to configuration space, the windows behind which
 * BARs are, and the bus with its one state, the configuration address.
 *
 * Each of these is one region of a struct bus for good, since BARs move as often as a guest likes
 * and struct bus keeps every table that it ever had. Where a BAR is, is one atomic word, and at
 * most 186 of them are compared: an access that gets here has cost a thousand times as much. */
#include "transport/pci/pci_priv.h"

enum { STATE_VERSION = 1 };
enum { CONFIG_ADDRESS = 0xcf8, CONFIG_DATA = 4, CONFIG_PORTS = 8 }; /* 3.2.2.3.2 */
enum { ADDRESS_ENABLE = 1u << 31, ADDRESS_BITS = 0x80fffffc, ADDRESS_REGISTER = 0xfc };
enum { ECAM_FUNCTION = 4096, ECAM_LEN = PCI_SLOTS * 8 * ECAM_FUNCTION };

/* `devfn` is the slot in its upper five bits and the function in the other three, which is 0 for
 * all there are. */
static struct pci_function *function_at(const struct pci_bus *b, unsigned devfn)
{
    return devfn % 8 ? NULL : b->functions[devfn / 8];
}

/* An access to nobody reads as ones: master abort, 6.1. */
static uint64_t nobody(unsigned size)
{
    return UINT64_MAX >> (64 - 8 * size);
}

/* --- ECAM (PCI Express 5.0, 7.2.2) --- */

static uint64_t ecam_read(void *ctx, uint64_t off, unsigned size)
{
    struct pci_function *f = function_at(ctx, (unsigned)(off / ECAM_FUNCTION));
    return f ? config_read(f, off % ECAM_FUNCTION, size) : nobody(size);
}

static void ecam_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_function *f = function_at(ctx, (unsigned)(off / ECAM_FUNCTION));
    if (f)
        config_write(f, off % ECAM_FUNCTION, size, val);
}

static const struct region_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

/* --- the ports (PCI Local Bus 3.0, 3.2.2.3.2) --- */

/* The function that the address register selects; NULL also while it enables nothing. */
static struct pci_function *selected(const struct pci_bus *b, uint32_t address)
{
    bool bus_0 = (address >> 16 & 0xff) == 0;
    return address & ADDRESS_ENABLE && bus_0 ? function_at(b, address >> 8 & 0xff) : NULL;
}

/* The address register is there for 32-bit accesses only. Narrower ones mean other devices, among
 * them the reset register of a PC at 0xcf9, which this machine has not got. */
static uint64_t ports_read(void *ctx, uint64_t off, unsigned size)
{
    const struct pci_bus *b = ctx;
    uint32_t address = atomic_load(&b->config_address);
    if (off < CONFIG_DATA)
        return off == 0 && size == 4 ? address : nobody(size);
    struct pci_function *f = selected(b, address);
    return f ? config_read(f, (address & ADDRESS_REGISTER) + (unsigned)off - CONFIG_DATA, size)
             : nobody(size);
}

static void ports_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct pci_bus *b = ctx;
    if (off < CONFIG_DATA) {
        if (off == 0 && size == 4)
            atomic_store(&b->config_address, (uint32_t)val & ADDRESS_BITS);
        return;
    }
    uint32_t address = atomic_load(&b->config_address);
    struct pci_function *f = selected(b, address);
    if (f)
        config_write(f, (address & ADDRESS_REGISTER) + (unsigned)off - CONFIG_DATA, size, val);
}

static const struct region_ops ports_ops = {.read = ports_read, .write = ports_write};

/* --- windows --- */

/* The BAR that holds the whole access: the first, where a guest has put two in one place. */
static const struct bar *bar_at(const struct pci_bus *b, bool io, uint64_t at, unsigned size,
                                uint64_t *off)
{
    for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
        const struct pci_function *f = b->functions[slot];
        for (unsigned i = 0; f && i < PCI_BARS; i++) {
            const struct bar *r = &f->bars[i];
            uint64_t base = atomic_load_explicit(&r->at, memory_order_acquire);
            if ((r->is.kind == PCI_BAR_IO) != io || !r->is.ops || base == BAR_NOWHERE ||
                at - base >= r->is.size || size > r->is.size - (at - base))
                continue;
            *off = at - base;
            return r;
        }
    }
    return NULL;
}

static void window_access(struct window *w, uint64_t off, unsigned size, bool write, uint64_t *val)
{
    uint64_t at = w->is.base + off;
    const struct bar *r = bar_at(w->bus, w->io, at, size, &off);
    if (r) {
        bar_access(r, off, size, write, val);
        return;
    }
    *val = nobody(size);
    log_limited(&w->bus->unclaimed, LOG_INFO, "PCI: no BAR answers a %u-byte %s at %s%#llx", size,
                write ? "write" : "read", w->io ? "port " : "", (unsigned long long)at);
}

static uint64_t window_read(void *ctx, uint64_t off, unsigned size)
{
    uint64_t v;
    window_access(ctx, off, size, false, &v);
    return v;
}

static void window_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    window_access(ctx, off, size, true, &val);
}

static const struct region_ops window_ops = {.read = window_read, .write = window_write};

/* --- life --- */

/* Everything that the bus has on the machine's buses, one after the other: false past the last. */
static bool region_of(struct pci_bus *b, unsigned i, struct bus **on, struct region *out)
{
    enum { ECAM, PORTS, WINDOWS };
    const struct pci_env *env = &b->env;
    *on = env->mmio;
    if (i == ECAM) {
        *out = (struct region){"PCI ECAM", env->ecam, ECAM_LEN, &ecam_ops, b};
        return true;
    }
    if (i == PORTS) {
        *on = env->pio;
        *out =
            (struct region){"PCI configuration", GPA(CONFIG_ADDRESS), CONFIG_PORTS, &ports_ops, b};
        return true;
    }
    if (i - WINDOWS >= ARRAY_SIZE(b->windows))
        return false;
    struct window *w = &b->windows[i - WINDOWS];
    if (w->io)
        *on = env->pio;
    *out = (struct region){"PCI window", GPA(w->is.base), w->is.len, &window_ops, w};
    return true;
}

static int map_regions(struct pci_bus *b)
{
    struct bus *on;
    struct region r;
    for (; region_of(b, b->n_mapped, &on, &r); b->n_mapped++) {
        int rc = r.len ? bus_map(on, &r) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void unmap_regions(struct pci_bus *b)
{
    struct bus *on;
    struct region r;
    while (b->n_mapped > 0 && region_of(b, --b->n_mapped, &on, &r)) {
        if (r.len)
            bus_unmap(on, r.base);
    }
}

/* Red Hat's number for the host bridge of a machine that has no chipset to imitate: Linux has no
 * quirks for it, as it has for those of real ones, and lspci knows that it is virtual. Bridges have
 * no subsystem, and this one interrupts nobody. */
static int bridge_new(struct pci_bus *b)
{
    enum { REDHAT = 0x1b36, HOST_BRIDGE = 0x0008, CLASS_HOST_BRIDGE = 0x060000 };
    static const struct pci_ids ids = {
        .vendor = REDHAT, .device = HOST_BRIDGE, .class_code = CLASS_HOST_BRIDGE};
    static const struct pci_function_ops ops = {0};
    int rc = pci_function_new(b, "host bridge", &ids, 0, &ops, NULL, &b->bridge);
    if (rc < 0)
        return rc;
    b->bridge->config[PCI_INTERRUPT_PIN] = 0;
    return pci_function_start(b->bridge);
}

int pci_bus_new(const struct pci_env *env, struct pci_bus **out)
{
    struct pci_bus *b = calloc(1, sizeof(*b));
    if (!b)
        return -ENOMEM;
    b->env = *env;
    b->windows[0] = (struct window){.bus = b, .is = env->io, .io = true};
    b->windows[1] = (struct window){.bus = b, .is = env->mem32};
    b->windows[2] = (struct window){.bus = b, .is = env->mem64};
    intx_pins_init(b);
    int rc = bridge_new(b);
    if (rc == 0)
        rc = map_regions(b);
    if (rc < 0) {
        pci_bus_free(b);
        return rc;
    }
    *out = b;
    return 0;
}

void pci_bus_free(struct pci_bus *b)
{
    if (!b)
        return;
    unmap_regions(b);
    intx_pins_close(b);
    pci_function_free(b->bridge);
    free(b);
}

void pci_bus_reset(struct pci_bus *b)
{
    pci_function_reset(b->bridge);
    atomic_store(&b->config_address, 0);
}

void pci_bus_save(const struct pci_bus *b, struct state_out *s)
{
    state_begin(s, "PCIB", STATE_VERSION);
    state_u32(s, atomic_load(&b->config_address));
    state_end(s);
    pci_function_save(b->bridge, s);
}

int pci_bus_load(struct pci_bus *b, struct state_in *s)
{
    uint32_t version;
    int rc = state_open(s, "PCIB", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    uint32_t address = state_get_u32(s);
    rc = state_close(s);
    if (rc == 0 && address & ~ADDRESS_BITS)
        rc = -EBADMSG;
    if (rc == 0)
        rc = pci_function_load(b->bridge, s);
    if (rc == 0)
        atomic_store(&b->config_address, address);
    return rc;
}
