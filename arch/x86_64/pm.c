/* arch/x86_64/pm.c - the ways in which a guest ends or restarts itself, and its last words: 8042
 * reset line, ACPI sleep and reset registers, syscon word, pvpanic, debug console. */
#include <stdatomic.h>

#include "arch/x86_64/devices.h"

enum {
    I8042_RESET = 0xfe,
    I8042_OUTPUT_FULL = 0x01, /* status: a byte waits to be read; bit 1, input full, stays 0 */
    I8042_EMPTY_EVERY = 4096,
    PVPANIC_PANICKED = 1 << 0, /* both the event and the capability */
    DEBUGCON_PRESENT = 0xe9,
    SYSCON_POWER_OFF = 1,
    SYSCON_RESET = 2,
};

enum { PM_REGIONS_MAX = 6 };
struct pm {
    struct platform_events ev;
    struct chardev *debug;
    atomic_uint status_reads;
    struct {
        struct bus *bus;
        gpa_t base;
    } mapped[PM_REGIONS_MAX];
    unsigned n_mapped;
};

static void raise_event(struct pm *p, enum platform_event ev)
{
    p->ev.raise(p->ev.ctx, ev);
}

/* The keyboard controller has a reset line and no keyboard. Its output never runs dry: Linux, which
 * empties it before anything else, gives up after 17 looks, where it would wait half a second for
 * an answer to its first command. Input is never full, so that nobody waits before command 0xfe.
 * Some kernels drain without a limit; they find it empty once in a while. */
static uint64_t i8042_status(void *ctx, uint64_t off, unsigned size)
{
    struct pm *p = ctx;
    (void)off;
    if (size != 1)
        return UINT64_MAX;
    unsigned n = atomic_fetch_add_explicit(&p->status_reads, 1, memory_order_relaxed);
    return n % I8042_EMPTY_EVERY == I8042_EMPTY_EVERY - 1 ? 0 : I8042_OUTPUT_FULL;
}

static void i8042_command(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    if (size == 1 && val == I8042_RESET)
        raise_event(ctx, PLATFORM_RESET);
}

static uint64_t read_ones(void *ctx, uint64_t off, unsigned size)
{
    (void)ctx, (void)off, (void)size;
    return UINT64_MAX;
}

static void write_nothing(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    (void)ctx, (void)off, (void)size, (void)val;
}

/* ACPI 6.5, 4.8.3.7 "Sleep Control and Status Registers": hardware-reduced, a byte each. Nothing
 * ever wakes, so the status is 0, and so is everything else that can be read. */
static uint64_t acpi_read(void *ctx, uint64_t off, unsigned size)
{
    (void)ctx, (void)off;
    return size == 1 ? 0 : UINT64_MAX;
}

static void acpi_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    if (size != 1)
        return;
    if (off == PM_SLEEP_CONTROL && val & PM_SLP_EN && (val >> PM_SLP_TYP_SHIFT & 7) == PM_S5)
        raise_event(ctx, PLATFORM_POWER_OFF);
    if (off == PM_RESET && val == PM_RESET_VALUE)
        raise_event(ctx, PLATFORM_RESET);
}

static uint64_t pvpanic_read(void *ctx, uint64_t off, unsigned size)
{
    (void)ctx, (void)off;
    return size == 1 ? PVPANIC_PANICKED : UINT64_MAX;
}

static void pvpanic_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    if (size == 1 && val & PVPANIC_PANICKED)
        raise_event(ctx, PLATFORM_PANIC);
}

static uint64_t debugcon_read(void *ctx, uint64_t off, unsigned size)
{
    (void)ctx, (void)off;
    return size == 1 ? DEBUGCON_PRESENT : UINT64_MAX;
}

/* No flow control: a byte that the host cannot take now is lost. */
static void debugcon_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct pm *p = ctx;
    uint8_t byte = (uint8_t)val;
    (void)off;
    if (size == 1 && p->debug)
        (void)chardev_write(p->debug, &byte, 1);
}

static uint64_t syscon_read(void *ctx, uint64_t off, unsigned size)
{
    (void)ctx, (void)off;
    return size == 4 ? 0 : UINT64_MAX;
}

static void syscon_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    if (size == 4 && (uint32_t)val == SYSCON_POWER_OFF)
        raise_event(ctx, PLATFORM_POWER_OFF);
    if (size == 4 && (uint32_t)val == SYSCON_RESET)
        raise_event(ctx, PLATFORM_RESET);
}

static const struct region_ops i8042_data_ops = {.read = read_ones, .write = write_nothing};
static const struct region_ops i8042_command_ops = {.read = i8042_status, .write = i8042_command};
static const struct region_ops acpi_ops = {.read = acpi_read, .write = acpi_write};
static const struct region_ops pvpanic_ops = {.read = pvpanic_read, .write = pvpanic_write};
static const struct region_ops debugcon_ops = {.read = debugcon_read, .write = debugcon_write};
static const struct region_ops syscon_ops = {.read = syscon_read, .write = syscon_write};

int pm_new(struct bus *pio, struct bus *mmio, const struct platform_events *ev,
           struct chardev *debug, struct pm **out)
{
    const struct {
        struct bus *bus;
        const char *name;
        uint64_t base, len;
        const struct region_ops *ops;
    } map[] = {
        {pio, "i8042-data", PORT_I8042_DATA, 1, &i8042_data_ops},
        {pio, "i8042-command", PORT_I8042_CMD, 1, &i8042_command_ops},
        {pio, "acpi-pm", PORT_PM, PM_PORTS, &acpi_ops},
        {pio, "pvpanic", PORT_PVPANIC, 1, &pvpanic_ops},
        {pio, "debugcon", PORT_DEBUGCON, 1, &debugcon_ops},
        {mmio, "syscon", LAYOUT_SYSCON, 4, &syscon_ops},
    };
    _Static_assert(ARRAY_SIZE(map) <= PM_REGIONS_MAX, "pm.mapped");
    struct pm *p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    p->ev = *ev;
    p->debug = debug;
    for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
        struct region r = {
            .name = map[i].name,
            .base = GPA(map[i].base),
            .len = map[i].len,
            .ops = map[i].ops,
            .ctx = p,
        };
        int err = bus_map(map[i].bus, &r);
        if (err < 0) {
            pm_free(p);
            return err;
        }
        p->mapped[p->n_mapped].bus = map[i].bus;
        p->mapped[p->n_mapped++].base = r.base;
    }
    *out = p;
    return 0;
}

void pm_free(struct pm *p)
{
    if (!p)
        return;
    while (p->n_mapped-- > 0)
        bus_unmap(p->mapped[p->n_mapped].bus, p->mapped[p->n_mapped].base);
    free(p);
}
