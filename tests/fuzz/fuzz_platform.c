/* tests/fuzz/fuzz_platform.c - the few devices of a PC that are no virtio: serial port, CMOS, power
 * management, debug console, and the watchdog on its PCI bus; their registers in any order, time,
 * and their saved states. */
#include <sys/eventfd.h>

#include "arch/x86_64/devices.h"
#include "tests/fuzz/clock.h"
#include "tests/fuzz/oracle.h"
#include "transport/pci/i6300esb.h"

enum { STEPS_MAX = 300, ECAM = 0xe0000000 };

struct pc {
    struct bus *pio, *mmio;
    struct loop *loop;
    struct pci_bus *pci;
    struct chardev *console;
    struct serial *serial;
    struct cmos *cmos;
    struct pm *pm;
    struct i6300esb *dog;
    int irq_fd;
};

static void happened(void *ctx, enum platform_event ev)
{
    (void)ctx, (void)ev;
}

static void bite(void *ctx)
{
    (void)ctx;
}

static int no_msi(void *ctx, unsigned *id, int *fd)
{
    (void)ctx, (void)id, (void)fd;
    return -ENOSPC;
}

static int no_route(void *ctx, unsigned id, uint64_t address, uint32_t data)
{
    (void)ctx, (void)id, (void)address, (void)data;
    return -ENOSPC;
}

static int no_intx(void *ctx, unsigned pin, int *trigger, int *resample)
{
    (void)ctx, (void)pin, (void)trigger, (void)resample;
    return -ENOSPC;
}

static void up(struct pc *p)
{
    static const struct pci_irq_ops irq = {
        .msi_open = no_msi, .msi_route = no_route, .intx_open = no_intx};
    const struct chardev_spec none = {.kind = CHARDEV_NONE};
    const struct platform_events events = {happened, p};
    struct err e = {0};
    EXPECT(bus_new("ports", &p->pio) == 0 && bus_new("memory", &p->mmio) == 0);
    EXPECT(loop_new("fuzz", LOOP_EPOLL, &p->loop) == 0);
    EXPECT(chardev_new(&none, p->loop, &p->console, &e) == 0, "%s", e.msg);
    p->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    EXPECT(serial_new(p->pio, p->console, p->irq_fd, &p->serial) == 0);
    EXPECT(cmos_new(p->pio, MIB(64), GIB(1), &p->cmos) == 0);
    EXPECT(pm_new(p->pio, p->mmio, &events, p->console, &p->pm) == 0);
    const struct pci_env env = {.pio = p->pio,
                                .mmio = p->mmio,
                                .loop = p->loop,
                                .ecam = GPA(ECAM),
                                .io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_LEN},
                                .mem32 = {LAYOUT_PCI_MEM32, LAYOUT_PCI_MEM32_LEN},
                                .irq = &irq};
    EXPECT(pci_bus_new(&env, &p->pci) == 0);
    EXPECT(i6300esb_new(p->pci, p->loop, bite, p, &p->dog) == 0);
    EXPECT(chardev_start(p->console) == 0);
}

static void down(struct pc *p)
{
    chardev_free(p->console);
    i6300esb_free(p->dog);
    pci_bus_free(p->pci);
    serial_free(p->serial);
    cmos_free(p->cmos);
    pm_free(p->pm);
    loop_free(p->loop);
    bus_free(p->pio);
    bus_free(p->mmio);
    (void)close(p->irq_fd);
}

static void access_somewhere(struct pc *p, struct script *s)
{
    static const uint16_t ports[] = {PORT_I8042_DATA, PORT_I8042_CMD,  PORT_CMOS,
                                     PORT_DEBUGCON,   PORT_SERIAL,     PORT_PVPANIC,
                                     PORT_PM,         PORT_PCI_CONFIG, LAYOUT_PCI_IO};
    static const uint64_t places[] = {ECAM, ECAM + 0x8000, LAYOUT_PCI_MEM32, LAYOUT_SYSCON};
    uint8_t where = take8(s), how = take8(s);
    unsigned size = how & 0x40 ? 1u + how % 8 : 1u << how % 3;
    bool port = where & 0x80;
    uint64_t at = port ? ports[where % ARRAY_SIZE(ports)] : places[where % ARRAY_SIZE(places)];
    at += take8(s);
    uint64_t v = how & 0x80 ? take(s, size) : 0;
    (void)bus_access(port ? p->pio : p->mmio, GPA(at), size, how & 0x80, &v);
}

static struct state_out save(struct pc *p)
{
    struct state_out o = {0};
    i6300esb_pause(p->dog);
    serial_save(p->serial, &o);
    cmos_save(p->cmos, &o);
    pci_bus_save(p->pci, &o);
    i6300esb_save(p->dog, &o);
    return o;
}

static void reset(struct pc *p)
{
    serial_reset(p->serial);
    cmos_reset(p->cmos);
    pci_bus_reset(p->pci);
    i6300esb_reset(p->dog);
}

static void migrate(struct pc *p)
{
    struct state_out o = save(p);
    reset(p);
    struct state_in in = {.buf = o.buf, .len = o.len};
    EXPECT(o.error == 0 && serial_load(p->serial, &in) == 0 && cmos_load(p->cmos, &in) == 0);
    EXPECT(pci_bus_load(p->pci, &in) == 0 && i6300esb_load(p->dog, &in) == 0 && in.pos == o.len);
    struct state_out again = save(p);
    oracle_same(&o, &again);
    state_out_free(&again);
    i6300esb_resume(p->dog);
    state_out_free(&o);
}

/* One section of somebody's, with what the script says in it. */
static void load_hostile(struct pc *p, struct script *s)
{
    static const char tags[][5] = {"uart", "cmos", "PCIB", "PCIF"};
    struct state_out o = {0};
    uint8_t how = take8(s), len = take8(s);
    state_begin(&o, tags[how % 4], how / 4 % 4);
    for (unsigned i = 0; i < len; i++)
        state_u8(&o, take8(s));
    state_end(&o);
    struct state_in in = {.buf = o.buf, .len = o.len};
    switch (how % 4) {
    case 0:
        (void)!serial_load(p->serial, &in);
        break;
    case 1:
        (void)!cmos_load(p->cmos, &in);
        break;
    case 2:
        (void)!pci_bus_load(p->pci, &in);
        break;
    case 3:
        (void)!i6300esb_load(p->dog, &in);
        break;
    }
    state_out_free(&o);
}

static void step(struct pc *p, struct script *s)
{
    enum { ACCESS, SETTLE = 10, RESET, MIGRATE, LOAD, TIME, STEPS };
    switch (take8(s) % STEPS) {
    case SETTLE:
        loop_settle(p->loop);
        break;
    case RESET:
        reset(p);
        break;
    case MIGRATE:
        migrate(p);
        break;
    case LOAD:
        load_hostile(p, s);
        break;
    case TIME:
        clock_pass(p->loop, UINT64_C(1000000) << take8(s) % 20);
        break;
    default:
        access_somewhere(p, s);
    }
}

void fuzz_platform(struct script *s, const char *which)
{
    struct pc p = {0};
    (void)which;
    up(&p);
    for (unsigned i = 0; i < STEPS_MAX && s->len > 0; i++)
        step(&p, s);
    loop_settle(p.loop);
    down(&p);
}
