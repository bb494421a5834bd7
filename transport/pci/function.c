/* transport/pci/function.c - a function's configuration space (PCI Local Bus 3.0, chapter 6):
 * header, BARs and capabilities. Registers are plain bytes with a mask of those that a guest may
 * change; what follows from them is derived again after each write, so a write, a reset and a load
 * end in the same place. */
#include "transport/pci/pci_priv.h"

#include <assert.h>

enum { STATE_VERSION = 1 };
/* 6.2.4: which line it is, is for tables or firmware to say; unknown as yet. */
enum { LINE_UNKNOWN = 0xff };

/* --- BARs (6.2.5) --- */

static unsigned bar_register(unsigned bar)
{
    return PCI_BASE_ADDRESS_0 + 4 * bar;
}

static unsigned bar_width(const struct bar *r)
{
    return r->is.kind == PCI_BAR_MEM64 ? 8 : 4;
}

static uint64_t bar_address(const struct pci_function *f, unsigned bar)
{
    const struct bar *r = &f->bars[bar];
    return get_bytes(f->config + bar_register(bar), bar_width(r)) & ~(r->is.size - 1);
}

static void bar_put_address(struct pci_function *f, unsigned bar, uint64_t address)
{
    uint8_t *at = f->config + bar_register(bar);
    unsigned width = bar_width(&f->bars[bar]);
    uint64_t flags = get_bytes(at, 4) & (f->bars[bar].is.size - 1);
    put_bytes(at, address | flags, width);
}

static bool within(const struct pci_window *w, uint64_t at, uint64_t size)
{
    return at - w->base < w->len && size <= w->len - (at - w->base);
}

/* Where a BAR answers, by the registers: nowhere unless its space is enabled and it lies in one of
 * the host bridge's windows. 64-bit ones may lie below 4 GiB. */
static uint64_t bar_decodes_at(const struct pci_function *f, unsigned bar)
{
    const struct pci_env *env = &f->bus->env;
    const struct bar *r = &f->bars[bar];
    bool io = r->is.kind == PCI_BAR_IO;
    if (!(get_command(f) & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return BAR_NOWHERE;
    uint64_t at = bar_address(f, bar);
    if (within(io ? &env->io : &env->mem32, at, r->is.size))
        return at;
    return r->is.kind == PCI_BAR_MEM64 && within(&env->mem64, at, r->is.size) ? at : BAR_NOWHERE;
}

static void bar_obey(struct pci_function *f, unsigned bar)
{
    struct bar *r = &f->bars[bar];
    uint64_t was = atomic_load(&r->at), at = bar_decodes_at(f, bar);
    if (at == was)
        return;
    atomic_store(&r->at, at);
    if (!f->ops->moved)
        return;
    if (was != BAR_NOWHERE)
        f->ops->moved(f->ctx, bar, false, was);
    if (at != BAR_NOWHERE)
        f->ops->moved(f->ctx, bar, true, at);
}

void pci_add_bar(struct pci_function *f, unsigned index, const struct pci_bar *bar)
{
    bool io = bar->kind == PCI_BAR_IO, wide = bar->kind == PCI_BAR_MEM64;
    assert(index + wide < PCI_BARS && f->bars[index].is.kind == PCI_BAR_NONE);
    assert(index == 0 || f->bars[index - 1].is.kind != PCI_BAR_MEM64);
    assert(bar->kind != PCI_BAR_NONE && (bar->size & (bar->size - 1)) == 0);
    assert(bar->size >= (io ? 4 : 16) && (wide || bar->size <= GIB(2)));
    f->bars[index] = (struct bar){.is = *bar, .ctx = f->ctx, .at = BAR_NOWHERE};
    uint32_t flags = (io ? PCI_BASE_ADDRESS_SPACE_IO : 0) |
                     (wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
                     (bar->prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
    put_bytes(f->config + bar_register(index), flags, 4);
    put_bytes(f->writable + bar_register(index), ~(bar->size - 1), wide ? 8 : 4);
}

void bar_access(const struct bar *r, uint64_t off, unsigned size, bool write, uint64_t *val)
{
    if (write)
        r->is.ops->write(r->ctx, off, size, *val);
    else
        *val = r->is.ops->read(r->ctx, off, size);
}

bool pci_bar_access(struct pci_function *f, unsigned bar, uint64_t off, unsigned size, bool write,
                    uint64_t *val)
{
    const struct bar *r = bar < PCI_BARS ? &f->bars[bar] : NULL;
    if (!r || !r->is.ops || size == 0 || size > 8 || off >= r->is.size || size > r->is.size - off) {
        *val = 0;
        return false;
    }
    bar_access(r, off, size, write, val);
    return true;
}

/* The BAR of a started function that a range meets, or NULL. */
static const struct bar *home_taken(const struct pci_bus *b, const struct pci_function *self,
                                    bool io, uint64_t at, uint64_t size)
{
    for (unsigned i = 0; i <= PCI_SLOTS; i++) {
        const struct pci_function *f = i < PCI_SLOTS ? b->functions[i] : self;
        for (unsigned k = 0; f && k < PCI_BARS; k++) {
            const struct bar *r = &f->bars[k];
            if (r->home && (r->is.kind == PCI_BAR_IO) == io && at < r->home + r->is.size &&
                r->home < at + size)
                return r;
        }
    }
    return NULL;
}

/* The lowest free address that is a multiple of the size: 6.2.5.1 has it so for every BAR. */
static int bar_find_home(struct pci_function *f, unsigned bar)
{
    const struct pci_env *env = &f->bus->env;
    struct bar *r = &f->bars[bar];
    bool io = r->is.kind == PCI_BAR_IO;
    bool high = r->is.kind == PCI_BAR_MEM64 && env->mem64.len;
    const struct pci_window *w = io ? &env->io : high ? &env->mem64 : &env->mem32;
    uint64_t at = align_up(MAX(w->base, 1ull), r->is.size);
    const struct bar *other;
    while (within(w, at, r->is.size) && (other = home_taken(f->bus, f, io, at, r->is.size)))
        at = align_up(other->home + other->is.size, r->is.size);
    if (!within(w, at, r->is.size))
        return -ENOSPC;
    r->home = at;
    bar_put_address(f, bar, at);
    return 0;
}

/* --- accesses --- */

/* With the lock. */
static void obey(struct pci_function *f)
{
    for (unsigned i = 0; i < PCI_BARS; i++) {
        if (f->bars[i].is.kind != PCI_BAR_NONE)
            bar_obey(f, i);
    }
    msix_obey(f);
    intx_obey(f);
}

typedef void hook_fn(void *ctx, uint8_t *cfg, unsigned off, unsigned size);

/* Calls a hook for the part of an access that is its business. */
static void call_hook(struct pci_function *f, hook_fn *fn, unsigned off, unsigned size)
{
    unsigned from = MAX(off, f->hook_at), to = MIN(off + size, f->hook_at + f->hook_len);
    if (fn && from < to)
        fn(f->ctx, f->config + f->hook_at, from - f->hook_at, to - from);
}

uint64_t config_read(struct pci_function *f, unsigned off, unsigned size)
{
    uint8_t v[8];
    memset(v, 0xff, sizeof(v));
    (void)pthread_mutex_lock(&f->lock);
    call_hook(f, f->ops->hook_read, off, size);
    for (unsigned i = 0; i < size && off + i < CONFIG_SIZE; i++) {
        v[i] = f->config[off + i];
        if (off + i == PCI_STATUS && atomic_load(&f->level))
            v[i] |= PCI_STATUS_INTERRUPT; /* 6.2.3: whatever the command register says */
    }
    (void)pthread_mutex_unlock(&f->lock);
    return get_bytes(v, size);
}

void config_write(struct pci_function *f, unsigned off, unsigned size, uint64_t val)
{
    (void)pthread_mutex_lock(&f->lock);
    for (unsigned i = 0; i < size && off + i < CONFIG_SIZE; i++) {
        uint8_t mask = f->writable[off + i], *at = &f->config[off + i];
        *at = (uint8_t)((*at & ~mask) | (val >> 8 * i & mask));
    }
    obey(f);
    call_hook(f, f->ops->hook_write, off, size);
    (void)pthread_mutex_unlock(&f->lock);
}

/* --- life --- */

static int find_slot(const struct pci_bus *b, unsigned wanted, unsigned *out)
{
    if (wanted >= PCI_SLOTS)
        return -EINVAL;
    if (wanted && b->taken & 1u << wanted)
        return -EBUSY;
    if (!wanted && b->taken == UINT32_MAX)
        return -ENOSPC;
    *out = wanted ? wanted : (unsigned)__builtin_ctz(~b->taken);
    return 0;
}

static void header_fill(struct pci_function *f, const struct pci_ids *ids)
{
    uint8_t *c = f->config;
    put_bytes(c + PCI_VENDOR_ID, ids->vendor, 2);
    put_bytes(c + PCI_DEVICE_ID, ids->device, 2);
    put_bytes(c + PCI_CLASS_REVISION, ids->revision | (uint64_t)ids->class_code << 8, 4);
    put_bytes(c + PCI_SUBSYSTEM_VENDOR_ID, ids->subsystem_vendor, 2);
    put_bytes(c + PCI_SUBSYSTEM_ID, ids->subsystem, 2);
    c[PCI_INTERRUPT_LINE] = LINE_UNKNOWN;
    c[PCI_INTERRUPT_PIN] = 1;
    f->writable[PCI_INTERRUPT_LINE] = 0xff;
    /* 6.2.2: a function implements the bits that mean something for it; there are no parity or
     * system errors here. */
    put_bytes(f->writable + PCI_COMMAND,
              PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
              2);
}

int pci_function_new(struct pci_bus *b, const char *name, const struct pci_ids *ids, unsigned slot,
                     const struct pci_function_ops *ops, void *ctx, struct pci_function **out)
{
    int rc = find_slot(b, slot, &slot);
    if (rc < 0)
        return rc;
    struct pci_function *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    f->bus = b;
    f->name = name;
    f->slot = slot;
    f->ops = ops;
    f->ctx = ctx;
    f->last_cap = PCI_CAPABILITY_LIST; /* holds the first one's offset, as a `next` would */
    f->free_at = PCI_STD_HEADER_SIZEOF;
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_mutex_init(&f->msix.lock, NULL);
    header_fill(f, ids);
    b->taken |= 1u << slot;
    *out = f;
    return 0;
}

unsigned pci_add_capability(struct pci_function *f, uint8_t id, const void *body, unsigned len,
                            const uint8_t *writable)
{
    unsigned at = f->free_at;
    assert(at + PCI_CAP_FLAGS + len <= CONFIG_SIZE);
    f->config[at + PCI_CAP_LIST_ID] = id;
    memcpy(f->config + at + PCI_CAP_FLAGS, body, len);
    if (writable)
        memcpy(f->writable + at + PCI_CAP_FLAGS, writable, len);
    f->config[f->last_cap] = (uint8_t)at;
    f->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
    f->last_cap = at + PCI_CAP_LIST_NEXT;
    f->free_at = (unsigned)align_up(at + PCI_CAP_FLAGS + len, 4);
    return at;
}

void pci_add_registers(struct pci_function *f, unsigned at, const uint8_t *writable, unsigned len)
{
    assert(at >= f->free_at && at + len <= CONFIG_SIZE);
    memcpy(f->writable + at, writable, len);
    f->free_at = (unsigned)align_up(at + len, 4);
}

void pci_hook(struct pci_function *f, unsigned at, unsigned len)
{
    assert(at + len <= CONFIG_SIZE);
    f->hook_at = at;
    f->hook_len = len;
}

int pci_function_start(struct pci_function *f)
{
    int rc = f->error;
    for (unsigned i = 0; rc == 0 && i < PCI_BARS; i++) {
        if (f->bars[i].is.kind != PCI_BAR_NONE)
            rc = bar_find_home(f, i);
    }
    if (rc < 0)
        return rc;
    atomic_store(&f->intx_allowed, true);
    memcpy(f->initial, f->config, sizeof(f->initial));
    f->bus->functions[f->slot] = f;
    return 0;
}

void pci_function_free(struct pci_function *f)
{
    if (!f)
        return;
    f->bus->functions[f->slot] = NULL;
    f->bus->taken &= ~(1u << f->slot);
    msix_free(f);
    (void)pthread_mutex_destroy(&f->msix.lock);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

void pci_function_reset(struct pci_function *f)
{
    (void)pthread_mutex_lock(&f->lock);
    atomic_store(&f->level, false);
    memcpy(f->config, f->initial, sizeof(f->config));
    obey(f);
    msix_reset(f);
    (void)pthread_mutex_unlock(&f->lock);
}

unsigned pci_slot(const struct pci_function *f)
{
    return f->slot;
}

/* --- state --- */

void pci_function_save(const struct pci_function *f, struct state_out *s)
{
    state_begin(s, "PCIF", STATE_VERSION);
    state_u8(s, (uint8_t)f->slot);
    state_u8(s, atomic_load(&f->level));
    state_bytes(s, f->config, sizeof(f->config));
    msix_save(f, s);
    state_end(s);
}

/* What a guest cannot change has to be what it is here: it was this function that was saved. Where
 * a hook fills in bytes, they may differ, and are filled in again. */
static bool take_config(const struct pci_function *f, uint8_t config[CONFIG_SIZE])
{
    for (unsigned i = 0; i < CONFIG_SIZE; i++) {
        uint8_t fixed = (uint8_t)~f->writable[i];
        if ((config[i] ^ f->initial[i]) & fixed && i - f->hook_at >= f->hook_len)
            return false;
        config[i] = (uint8_t)((config[i] & ~fixed) | (f->initial[i] & fixed));
    }
    return true;
}

int pci_function_load(struct pci_function *f, struct state_in *s)
{
    uint32_t version;
    uint8_t config[CONFIG_SIZE];
    struct msix_image table;
    int rc = state_open(s, "PCIF", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    uint8_t slot = state_get_u8(s), level = state_get_u8(s);
    state_get_bytes(s, config, sizeof(config));
    rc = msix_image_get(f, s, &table);
    if (rc < 0)
        return rc;
    rc = state_close(s);
    if (rc == 0 && (slot != f->slot || level > 1 || !take_config(f, config)))
        rc = -EBADMSG;
    if (rc == 0) {
        (void)pthread_mutex_lock(&f->lock);
        memcpy(f->config, config, sizeof(f->config));
        msix_image_apply(f, &table);
        atomic_store(&f->level, false); /* so that it is asserted again below */
        obey(f);
        (void)pthread_mutex_unlock(&f->lock);
        pci_intx_set(f, level);
    }
    msix_image_free(&table);
    return rc;
}
