/* kvm/irq.c - interrupts that an eventfd causes, messages among them, and writes of a guest that an
 * eventfd tells of.
 *
 * KVM has one routing table for a VM and replaces it as a whole, so whoever adds a message repeats
 * all that there is: the pins of the interrupt chips, which KVM had connected by itself, and the
 * other messages. */
#include "kvm/kvm.h"

#include <assert.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

enum { IOAPIC_PINS = 24, PIC_LINES = 16, PINS_ROUTES = IOAPIC_PINS + PIC_LINES };

/* Of gsi IOAPIC_PINS + its index. */
struct vm_route {
    bool open, routed;
    uint32_t data;
    uint64_t address;
};

/* --- eventfds --- */

static int irqfd(struct vm *vm, unsigned gsi, int fd, int resample, uint32_t flags)
{
    struct kvm_irqfd r = {
        .fd = (uint32_t)fd, .gsi = gsi, .flags = flags, .resamplefd = (uint32_t)resample};
    return ioctl(vm->fd, KVM_IRQFD, &r) < 0 ? -errno : 0;
}

int vm_add_irqfd(struct vm *vm, unsigned gsi, int fd)
{
    return irqfd(vm, gsi, fd, 0, 0);
}

int vm_add_level_irqfd(struct vm *vm, unsigned gsi, int trigger, int resample)
{
    return irqfd(vm, gsi, trigger, resample, KVM_IRQFD_FLAG_RESAMPLE);
}

void vm_remove_irqfd(struct vm *vm, unsigned gsi, int fd)
{
    if (irqfd(vm, gsi, fd, 0, KVM_IRQFD_FLAG_DEASSIGN) < 0)
        return; /* it was not there */
}

/* --- messages --- */

static void pin_route(struct kvm_irq_routing_entry *e, unsigned gsi, unsigned chip, unsigned pin)
{
    *e = (struct kvm_irq_routing_entry){
        .gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {.irqchip = chip, .pin = pin}};
}

/* What an interrupt chip comes with: gsi n is pin n of the I/O APIC, and the first 16 are lines of
 * the two PICs as well. */
static void route_pins(struct kvm_irq_routing *t)
{
    for (unsigned gsi = 0; gsi < IOAPIC_PINS; gsi++)
        pin_route(&t->entries[t->nr++], gsi, KVM_IRQCHIP_IOAPIC, gsi);
    for (unsigned gsi = 0; gsi < PIC_LINES; gsi++)
        pin_route(&t->entries[t->nr++], gsi,
                  gsi < PIC_LINES / 2 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
                  gsi % (PIC_LINES / 2));
}

static int set_routing(struct vm *vm)
{
    struct kvm_irq_routing *t = vm->table;
    t->nr = 0;
    route_pins(t);
    for (unsigned i = 0; i < vm->n_routes; i++) {
        const struct vm_route *r = &vm->routes[i];
        if (!r->routed)
            continue;
        t->entries[t->nr++] =
            (struct kvm_irq_routing_entry){.gsi = IOAPIC_PINS + i,
                                           .type = KVM_IRQ_ROUTING_MSI,
                                           .u.msi = {.address_lo = (uint32_t)r->address,
                                                     .address_hi = (uint32_t)(r->address >> 32),
                                                     .data = r->data}};
    }
    return ioctl(vm->fd, KVM_SET_GSI_ROUTING, t) < 0 ? -errno : 0;
}

/* Twice as many routes, and a table that holds them. */
static int grow(struct vm *vm, unsigned max)
{
    unsigned n = MIN(vm->n_routes ? 2 * vm->n_routes : 16, max);
    if (n == vm->n_routes)
        return -ENOSPC;
    struct vm_route *routes = realloc(vm->routes, n * sizeof(*routes));
    if (!routes)
        return -ENOMEM;
    vm->routes = routes;
    struct kvm_irq_routing *table =
        realloc(vm->table, sizeof(*table) + (PINS_ROUTES + n) * sizeof(table->entries[0]));
    if (!table)
        return -ENOMEM;
    vm->table = table;
    table->flags = 0;
    memset(routes + vm->n_routes, 0, (n - vm->n_routes) * sizeof(*routes));
    vm->n_routes = n;
    return 0;
}

/* The lowest that is free, as index in vm->routes; with the lock. */
static int take_route(struct vm *vm, unsigned max, unsigned *out)
{
    unsigned i = 0;
    while (i < vm->n_routes && vm->routes[i].open)
        i++;
    int rc = i == vm->n_routes ? grow(vm, max) : 0;
    if (rc < 0)
        return rc;
    vm->routes[i] = (struct vm_route){.open = true};
    *out = i;
    return 0;
}

static void drop_route(struct vm *vm, unsigned gsi)
{
    (void)pthread_mutex_lock(&vm->routing_lock);
    vm->routes[gsi - IOAPIC_PINS] = (struct vm_route){0};
    (void)pthread_mutex_unlock(&vm->routing_lock);
}

int vm_msi_open(struct vm *vm, unsigned *gsi, int *fd)
{
    int routes = vm_cap(vm, KVM_CAP_IRQ_ROUTING); /* how many a table may have */
    if (routes <= PINS_ROUTES)
        return -EOPNOTSUPP;
    AUTO_FD event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        return -errno;
    unsigned i;
    (void)pthread_mutex_lock(&vm->routing_lock);
    int rc = take_route(vm, (unsigned)routes - PINS_ROUTES, &i);
    (void)pthread_mutex_unlock(&vm->routing_lock);
    if (rc < 0)
        return rc;
    rc = vm_add_irqfd(vm, IOAPIC_PINS + i, event);
    if (rc < 0) {
        drop_route(vm, IOAPIC_PINS + i);
        return rc;
    }
    *gsi = IOAPIC_PINS + i;
    *fd = TAKE_FD(event);
    return 0;
}

int vm_msi_route(struct vm *vm, unsigned gsi, uint64_t address, uint32_t data)
{
    (void)pthread_mutex_lock(&vm->routing_lock);
    assert(gsi - IOAPIC_PINS < vm->n_routes && vm->routes[gsi - IOAPIC_PINS].open);
    struct vm_route *r = &vm->routes[gsi - IOAPIC_PINS], was = *r;
    *r = (struct vm_route){.open = true, .routed = true, .address = address, .data = data};
    int rc = set_routing(vm);
    if (rc < 0)
        *r = was;
    (void)pthread_mutex_unlock(&vm->routing_lock);
    return rc;
}

/* The route stays in KVM's table until the next one is set: nobody signals it any more. Unbinding
 * comes first, so that the gsi is not another's while this eventfd still reaches it. */
void vm_msi_close(struct vm *vm, unsigned gsi, int fd)
{
    vm_remove_irqfd(vm, gsi, fd);
    (void)close(fd);
    drop_route(vm, gsi);
}

/* --- doorbells --- */

static int ioeventfd(struct vm *vm, const struct vm_doorbell *d, uint32_t flags)
{
    struct kvm_ioeventfd r = {.datamatch = d->value,
                              .addr = d->at.v,
                              .len = d->len,
                              .fd = d->fd,
                              .flags = flags | (d->port ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                                       (d->any || !d->len ? 0 : KVM_IOEVENTFD_FLAG_DATAMATCH)};
    return ioctl(vm->fd, KVM_IOEVENTFD, &r) < 0 ? -errno : 0;
}

int vm_add_ioeventfd(struct vm *vm, const struct vm_doorbell *d)
{
    return ioeventfd(vm, d, 0);
}

void vm_remove_ioeventfd(struct vm *vm, const struct vm_doorbell *d)
{
    if (ioeventfd(vm, d, KVM_IOEVENTFD_FLAG_DEASSIGN) < 0)
        return; /* it was not there */
}
