/* vmm/machine_devices.c - puts each virtio device behind its transport and the transport on its
 * bus, with interrupts and doorbells of KVM's. */
#include <sys/eventfd.h>

#include "base/loop.h"
#include "vmm/machine_priv.h"

/* --- what goes where --- */

/* The pins of the I/O APIC that no platform device has; the last four are PCI's if there is PCI. */
static const uint8_t mmio_pins[LAYOUT_MMIO_MAX] = {20, 21, 22, 23, 5,  6,  7,  9,  10,
                                                   11, 12, 13, 14, 15, 16, 17, 18, 19};

static int check_counts(unsigned mmio, unsigned pci, unsigned consoles, struct err *e)
{
    unsigned pins = pci ? LAYOUT_MMIO_MAX - PCI_PINS : LAYOUT_MMIO_MAX;
    if (mmio > pins)
        return err_input(e, 0,
                         "%u virtio-mmio devices are asked for, and there are %u interrupt "
                         "lines for them",
                         mmio, pins);
    if (pci > PCI_SLOTS - 1)
        return err_input(e, 0, "%u PCI devices are asked for, and the bus has %d slots", pci,
                         PCI_SLOTS - 1);
    if (consoles > 1)
        return err_input(e, 0, "%u console devices are asked for, and there is one console",
                         consoles);
    return 0;
}

int devices_describe(const struct vm_config *cfg, struct platform *p,
                     struct mmio_slot slots[LAYOUT_MMIO_MAX], struct err *e)
{
    unsigned consoles = 0, mmio = 0;
    for (unsigned i = 0; i < cfg->n_devices; i++) {
        const struct device_config *d = &cfg->devices[i];
        consoles += is_console(d);
        if (transport_is_pci((enum transport_kind)d->transport))
            continue;
        if (mmio < LAYOUT_MMIO_MAX)
            slots[mmio] =
                (struct mmio_slot){.base = GPA(LAYOUT_VIRTIO_MMIO + mmio * LAYOUT_MMIO_STRIDE),
                                   .len = LAYOUT_MMIO_STRIDE,
                                   .irq = mmio_pins[mmio]};
        mmio++;
    }
    unsigned pci = cfg->n_devices - mmio + (cfg->watchdog != WATCHDOG_NONE);
    int rc = check_counts(mmio, pci, consoles, e);
    if (rc < 0)
        return rc;
    uint64_t low = MIN(cfg->mem_size, (uint64_t)LAYOUT_HOLE_START);
    *p = (struct platform){.cpus = cfg->cpus,
                           .ram_low = low,
                           .ram_high = cfg->mem_size - low,
                           .mmio = slots,
                           .n_mmio = mmio,
                           .discovery = cfg->discovery};
    p->pci.present = pci > 0;
    return 0;
}

/* --- interrupts and doorbells --- */

int machine_irq_line(struct machine *m, unsigned gsi, int *out, struct err *e)
{
    AUTO_FD fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = fd < 0 ? -errno : vm_add_irqfd(&m->vm, gsi, fd);
    if (rc < 0)
        return err_host(e, rc, "interrupt line %u", gsi);
    *out = TAKE_FD(fd);
    return 0;
}

static int msi_open(void *ctx, unsigned *id, int *fd)
{
    return vm_msi_open(&((struct machine *)ctx)->vm, id, fd);
}

static int msi_route(void *ctx, unsigned id, uint64_t address, uint32_t data)
{
    return vm_msi_route(&((struct machine *)ctx)->vm, id, address, data);
}

static void msi_close(void *ctx, unsigned id, int fd)
{
    struct machine *m = ctx;
    if (m->ending)
        (void)close(fd);
    else
        vm_msi_close(&m->vm, id, fd);
}

static int intx_open(void *ctx, unsigned pin, int *trigger, int *resample)
{
    struct machine *m = ctx;
    AUTO_FD t = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    AUTO_FD r = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t < 0 || r < 0)
        return -errno;
    int rc = vm_add_level_irqfd(&m->vm, IRQ_PCI_FIRST + pin, t, r);
    if (rc < 0)
        return rc;
    *trigger = TAKE_FD(t);
    *resample = TAKE_FD(r);
    return 0;
}

static const struct pci_irq_ops pci_irqs = {
    .msi_open = msi_open, .msi_route = msi_route, .msi_close = msi_close, .intx_open = intx_open};

/* Unbinding waits for a grace period of the kernel's, which nobody needs at the end. */
static int doorbell(void *ctx, const struct doorbell *b, bool on)
{
    struct machine *m = ctx;
    const struct vm_doorbell d = {.port = b->port,
                                  .at = GPA(b->at),
                                  .len = b->len,
                                  .any = b->any,
                                  .value = b->value,
                                  .fd = b->fd};
    if (on)
        return vm_add_ioeventfd(&m->vm, &d);
    if (!m->ending)
        vm_remove_ioeventfd(&m->vm, &d);
    return 0;
}

/* --- devices' memory --- */

/* The next free part of the address space above RAM; a failure takes nothing. */
static int take_addresses(struct machine *m, uint64_t len, uint64_t align, gpa_t *at)
{
    uint64_t base = align_up(m->high_end, MAX(align, (uint64_t)MIB(2)));
    if (base >= m->address_limit || len > m->address_limit - base)
        return -ENOSPC;
    m->high_end = base + len;
    *at = GPA(base);
    return 0;
}

static int place(void *ctx, void *host, uint64_t len, uint64_t align, bool ro, gpa_t *at)
{
    struct machine *m = ctx;
    gpa_t to;
    int rc = take_addresses(m, len, align, &to);
    if (rc == 0)
        rc = vm_map_memory(&m->vm, to, host, len, ro);
    if (rc == 0)
        *at = to;
    return rc;
}

static int window(void *ctx, gpa_t at, void *host, uint64_t len, bool on)
{
    struct machine *m = ctx;
    if (on)
        return vm_map_memory(&m->vm, at, host, len, false);
    if (!m->ending) /* which takes as long as for a doorbell */
        vm_unmap_memory(&m->vm, at);
    return 0;
}

/* --- building --- */

static int build_pci(struct machine *m, struct err *e)
{
    struct pci_host *h = &m->platform.pci;
    if (h->present)
        pci_host_init(h, m->high_end, m->address_limit);
    const struct pci_env env = {.pio = m->pio,
                                .mmio = m->mmio,
                                .loop = m->io[0],
                                .ecam = GPA(LAYOUT_PCI_ECAM),
                                .io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_LEN},
                                .mem32 = {LAYOUT_PCI_MEM32, LAYOUT_PCI_MEM32_LEN},
                                .mem64 = {h->mem64.base, h->mem64.len},
                                .irq = &pci_irqs,
                                .irq_ctx = m};
    int rc = h->present ? pci_bus_new(&env, &m->pci) : 0;
    return rc < 0 ? err_host(e, rc, "PCI bus") : 0;
}

/* A device on its way: all of them are made first, since their memory decides where PCI's window
 * begins. */
struct unwired {
    struct vdev *dev;          /* NULL: its transport has it, or it is not made */
    struct transport_place at; /* irq_fd is ours until then */
    unsigned mmio_slot;
};
static const struct unwired unwired_nothing = {.at = {.irq_fd = -1}};

static bool is_pci(const struct machine *m, unsigned i)
{
    return transport_is_pci((enum transport_kind)m->cfg->devices[i].transport);
}

/* The device alone. On PCI the guest finds room for what it shares; else it is here. */
static int create_device(struct machine *m, unsigned i, struct unwired *u, struct err *e)
{
    const struct device_config *c = &m->cfg->devices[i];
    struct loop *loops[IO_THREADS_MAX];
    unsigned n_loops = loops_of(m, i, loops);
    const struct build_env env = {.mem = m->mem,
                                  .loop = loops[0],
                                  .loops = loops,
                                  .n_loops = n_loops,
                                  .console = m->console,
                                  .options = &c->virtio,
                                  .place = place,
                                  .place_ctx = m};
    if (c->class->sandbox)
        sandbox_need(c->class->sandbox[0]);
    int rc = c->class->create(c->opts, &env, &u->dev, e);
    if (rc < 0)
        return rc;
    uint64_t shared = vdev_shm_total(u->dev);
    if (shared && !is_pci(m, i) &&
        (rc = take_addresses(m, shared, LAYOUT_HIGH_ALIGN, &u->at.shm)) < 0)
        return err_input(e, rc, "%s: %llu MiB of shared memory", c->what,
                         (unsigned long long)(shared >> 20));
    return 0;
}

static int wire_device(struct machine *m, unsigned i, struct unwired *u, struct err *e)
{
    const struct device_config *c = &m->cfg->devices[i];
    const struct transport_env env = {
        .mmio = m->mmio, .pci = m->pci, .doorbell = doorbell, .window = window, .ctx = m};
    int rc = 0;
    if (!is_pci(m, i)) {
        const struct mmio_slot *slot = &m->slots[u->mmio_slot];
        u->at.base = slot->base;
        rc = machine_irq_line(m, slot->irq, &u->at.irq_fd, e);
        if (rc < 0)
            return rc;
    }
    rc = transport_new((enum transport_kind)c->transport, u->dev, &env, &u->at, &m->devices[i]);
    if (rc < 0)
        return err_host(e, rc, "%s", c->what);
    *u = unwired_nothing;
    m->n_devices++;
    return 0;
}

static void on_bite(void *ctx)
{
    struct machine *m = ctx;
    log_limited(&m->bites, LOG_WARN, "the guest has not fed its watchdog");
    machine_event(m, m->cfg->watchdog == WATCHDOG_RESET ? PLATFORM_RESET : PLATFORM_POWER_OFF);
}

static int build_watchdog(struct machine *m, struct err *e)
{
    if (m->cfg->watchdog == WATCHDOG_NONE)
        return 0;
    int rc = i6300esb_new(m->pci, m->io[0], on_bite, m, &m->watchdog);
    return rc < 0 ? err_host(e, rc, "--watchdog") : 0;
}

int devices_build(struct machine *m, struct err *e)
{
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers it is */
    m->devices = calloc(m->cfg->n_devices + 1, sizeof(m->devices[0]));
    AUTO_FREE struct unwired *u = calloc(m->cfg->n_devices + 1, sizeof(*u));
    if (!m->devices || !u)
        return err_host(e, -ENOMEM, "devices");
    m->high_end = align_up(LAYOUT_HOLE_END + m->platform.ram_high, LAYOUT_HIGH_ALIGN);
    unsigned mmio = 0;
    int rc = 0;
    for (unsigned i = 0; i < m->cfg->n_devices; i++) {
        u[i] = unwired_nothing;
        u[i].mmio_slot = is_pci(m, i) ? 0 : mmio++;
    }
    for (unsigned i = 0; rc == 0 && i < m->cfg->n_devices; i++)
        rc = create_device(m, i, &u[i], e);
    if (rc == 0)
        rc = build_pci(m, e);
    for (unsigned i = 0; rc == 0 && i < m->cfg->n_devices; i++)
        rc = wire_device(m, i, &u[i], e);
    if (rc == 0)
        rc = build_watchdog(m, e);
    for (unsigned i = 0; i < m->cfg->n_devices; i++) {
        fd_cleanup_(&u[i].at.irq_fd);
        vdev_free(u[i].dev);
    }
    return rc;
}

void devices_reset(struct machine *m)
{
    for (unsigned i = 0; i < m->n_devices; i++)
        transport_reset(m->devices[i]);
    if (m->watchdog)
        i6300esb_reset(m->watchdog);
    if (m->pci)
        pci_bus_reset(m->pci);
}

void devices_pause(struct machine *m)
{
    for (unsigned i = 0; i < m->n_devices; i++)
        vdev_pause(transport_device(m->devices[i]));
    if (m->watchdog)
        i6300esb_pause(m->watchdog);
}

void devices_resume(struct machine *m)
{
    if (m->watchdog)
        i6300esb_resume(m->watchdog);
    for (unsigned i = 0; i < m->n_devices; i++)
        vdev_resume(transport_device(m->devices[i]));
}

void devices_free(struct machine *m)
{
    i6300esb_free(m->watchdog);
    for (unsigned i = m->n_devices; i-- > 0;)
        transport_free(m->devices[i]);
    free(m->devices);
    pci_bus_free(m->pci);
}
