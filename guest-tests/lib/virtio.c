/* guest-tests/lib/virtio.c - see virtio.h: devices, how they are found, and their registers, of
 * which each transport has its own table. */
#include "virtio.h"

const char *const virtio_kind_names[] = {[VIRTIO_MMIO] = "mmio",
                                         [VIRTIO_MMIO_LEGACY] = "mmio-legacy",
                                         [VIRTIO_PCI] = "pci",
                                         [VIRTIO_PCI_LEGACY] = "pci-legacy"};

enum {
    VENDOR_ID = 0x1af4,
    FIRST_TRANSITIONAL = 0x1000,
    FIRST_MODERN = 0x1040,
    LAST_MODERN = 0x107f,
    COMMON_QUEUE_RESET = 58, /* newer than the UAPI header */
};

/* --- registers --- */

/* Offset and bytes; no bytes: there is no such register. */
static const struct place {
    uint16_t at;
    uint8_t size;
} places[VIRTIO_KINDS][VIRTIO_REGS] = {
    [VIRTIO_MMIO] = {[VR_DEVICE_FEATURES_SEL] = {VIRTIO_MMIO_DEVICE_FEATURES_SEL, 4},
                     [VR_DEVICE_FEATURES] = {VIRTIO_MMIO_DEVICE_FEATURES, 4},
                     [VR_DRIVER_FEATURES_SEL] = {VIRTIO_MMIO_DRIVER_FEATURES_SEL, 4},
                     [VR_DRIVER_FEATURES] = {VIRTIO_MMIO_DRIVER_FEATURES, 4},
                     [VR_QUEUE_SEL] = {VIRTIO_MMIO_QUEUE_SEL, 4},
                     [VR_QUEUE_MAX] = {VIRTIO_MMIO_QUEUE_NUM_MAX, 4},
                     [VR_QUEUE_SIZE] = {VIRTIO_MMIO_QUEUE_NUM, 4},
                     [VR_QUEUE_READY] = {VIRTIO_MMIO_QUEUE_READY, 4},
                     [VR_QUEUE_RESET] = {VIRTIO_QUEUE_RESET, 4},
                     [VR_DESC] = {VIRTIO_MMIO_QUEUE_DESC_LOW, 4},
                     [VR_DRIVER] = {VIRTIO_MMIO_QUEUE_AVAIL_LOW, 4},
                     [VR_DEVICE] = {VIRTIO_MMIO_QUEUE_USED_LOW, 4},
                     [VR_STATUS] = {VIRTIO_MMIO_STATUS, 4}},
    [VIRTIO_MMIO_LEGACY] = {[VR_DEVICE_FEATURES_SEL] = {VIRTIO_MMIO_DEVICE_FEATURES_SEL, 4},
                            [VR_DEVICE_FEATURES] = {VIRTIO_MMIO_DEVICE_FEATURES, 4},
                            [VR_DRIVER_FEATURES_SEL] = {VIRTIO_MMIO_DRIVER_FEATURES_SEL, 4},
                            [VR_DRIVER_FEATURES] = {VIRTIO_MMIO_DRIVER_FEATURES, 4},
                            [VR_QUEUE_SEL] = {VIRTIO_MMIO_QUEUE_SEL, 4},
                            [VR_QUEUE_MAX] = {VIRTIO_MMIO_QUEUE_NUM_MAX, 4},
                            [VR_QUEUE_SIZE] = {VIRTIO_MMIO_QUEUE_NUM, 4},
                            [VR_QUEUE_PFN] = {VIRTIO_MMIO_QUEUE_PFN, 4},
                            [VR_PAGE_SIZE] = {VIRTIO_MMIO_GUEST_PAGE_SIZE, 4},
                            [VR_QUEUE_ALIGN] = {VIRTIO_MMIO_QUEUE_ALIGN, 4},
                            [VR_STATUS] = {VIRTIO_MMIO_STATUS, 4}},
    [VIRTIO_PCI] = {[VR_DEVICE_FEATURES_SEL] = {VIRTIO_PCI_COMMON_DFSELECT, 4},
                    [VR_DEVICE_FEATURES] = {VIRTIO_PCI_COMMON_DF, 4},
                    [VR_DRIVER_FEATURES_SEL] = {VIRTIO_PCI_COMMON_GFSELECT, 4},
                    [VR_DRIVER_FEATURES] = {VIRTIO_PCI_COMMON_GF, 4},
                    [VR_QUEUE_SEL] = {VIRTIO_PCI_COMMON_Q_SELECT, 2},
                    [VR_QUEUE_MAX] = {VIRTIO_PCI_COMMON_Q_SIZE, 2},
                    [VR_QUEUE_SIZE] = {VIRTIO_PCI_COMMON_Q_SIZE, 2},
                    [VR_QUEUE_READY] = {VIRTIO_PCI_COMMON_Q_ENABLE, 2},
                    [VR_QUEUE_RESET] = {COMMON_QUEUE_RESET, 2},
                    [VR_DESC] = {VIRTIO_PCI_COMMON_Q_DESCLO, 4},
                    [VR_DRIVER] = {VIRTIO_PCI_COMMON_Q_AVAILLO, 4},
                    [VR_DEVICE] = {VIRTIO_PCI_COMMON_Q_USEDLO, 4},
                    [VR_STATUS] = {VIRTIO_PCI_COMMON_STATUS, 1},
                    [VR_CONFIG_VECTOR] = {VIRTIO_PCI_COMMON_MSIX, 2},
                    [VR_QUEUE_VECTOR] = {VIRTIO_PCI_COMMON_Q_MSIX, 2}},
    [VIRTIO_PCI_LEGACY] = {[VR_DEVICE_FEATURES] = {VIRTIO_PCI_HOST_FEATURES, 4},
                           [VR_DRIVER_FEATURES] = {VIRTIO_PCI_GUEST_FEATURES, 4},
                           [VR_QUEUE_SEL] = {VIRTIO_PCI_QUEUE_SEL, 2},
                           [VR_QUEUE_MAX] = {VIRTIO_PCI_QUEUE_NUM, 2},
                           [VR_QUEUE_PFN] = {VIRTIO_PCI_QUEUE_PFN, 4},
                           [VR_STATUS] = {VIRTIO_PCI_STATUS, 1},
                           [VR_CONFIG_VECTOR] = {VIRTIO_MSI_CONFIG_VECTOR, 2},
                           [VR_QUEUE_VECTOR] = {VIRTIO_MSI_QUEUE_VECTOR, 2}},
};

bool virtio_is_pci(const struct virtio *v)
{
    return v->kind == VIRTIO_PCI || v->kind == VIRTIO_PCI_LEGACY;
}

bool virtio_is_legacy(const struct virtio *v)
{
    return v->kind == VIRTIO_MMIO_LEGACY || v->kind == VIRTIO_PCI_LEGACY;
}

uint32_t virtio_read(const struct virtio *v, uint32_t reg)
{
    return mmio_read32(v->base + reg);
}

void virtio_write(const struct virtio *v, uint32_t reg, uint32_t value)
{
    mmio_write32(v->base + reg, value);
}

bool virtio_has_reg(const struct virtio *v, enum virtio_reg r)
{
    return places[v->kind][r].size;
}

static uint64_t access_read(const struct virtio *v, uint64_t at, unsigned size)
{
    return v->kind == VIRTIO_PCI_LEGACY ? port_read((uint16_t)at, size) : mmio_read(at, size);
}

static void access_write(const struct virtio *v, uint64_t at, unsigned size, uint64_t value)
{
    if (v->kind == VIRTIO_PCI_LEGACY)
        port_write((uint16_t)at, size, (uint32_t)value);
    else
        mmio_write(at, size, value);
}

uint32_t virtio_get(const struct virtio *v, enum virtio_reg r)
{
    const struct place *p = &places[v->kind][r];
    return p->size ? (uint32_t)access_read(v, v->base + p->at, p->size) : 0;
}

void virtio_set(const struct virtio *v, enum virtio_reg r, uint32_t value)
{
    const struct place *p = &places[v->kind][r];
    if (p->size)
        access_write(v, v->base + p->at, p->size, value);
}

void virtio_set_area(const struct virtio *v, enum virtio_reg r, uint64_t value)
{
    const struct place *p = &places[v->kind][r];
    virtio_set(v, r, (uint32_t)value);
    if (p->size)
        access_write(v, v->base + p->at + 4, p->size, value >> 32);
}

uint64_t virtio_get_area(const struct virtio *v, enum virtio_reg r)
{
    uint64_t high = access_read(v, v->base + places[v->kind][r].at + 4, 4);
    return high << 32 | virtio_get(v, r);
}

void virtio_notify(const struct virtio *v, uint32_t queue)
{
    if (v->kind == VIRTIO_PCI)
        mmio_write16(v->notify + (uint64_t)queue * v->notify_multiplier, (uint16_t)queue);
    else
        access_write(v, v->notify, v->kind == VIRTIO_PCI_LEGACY ? 2 : 4, queue);
}

/* Legacy PCI has it behind the vectors, if MSI-X is on. */
static uint64_t config_at(const struct virtio *v, unsigned off)
{
    if (v->kind != VIRTIO_PCI_LEGACY)
        return v->config + off;
    unsigned cap = pci_capability(v->slot, PCI_CAP_ID_MSIX, 0);
    bool on = cap && pci_read(v->slot, cap + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE;
    return v->base + VIRTIO_PCI_CONFIG_OFF(on) + off;
}

uint64_t virtio_config_read(const struct virtio *v, unsigned off, unsigned size)
{
    return access_read(v, config_at(v, off), size);
}

void virtio_config_write(const struct virtio *v, unsigned off, unsigned size, uint64_t value)
{
    access_write(v, config_at(v, off), size, value);
}

/* --- finding --- */

bool virtio_slot(unsigned nth, struct virtio *v)
{
    const char *s = arg("virtio_mmio.device", nth); /* SIZE@BASE:IRQ */
    if (!s)
        return false;
    *v = (struct virtio){0};
    CHECK_EQ(number(&s), VIRTIO_WINDOW);
    s++;
    v->base = number(&s);
    s++;
    v->pin = (unsigned)number(&s);
    CHECK(v->base >= MMIO_HOLE_FIRST && v->base % VIRTIO_WINDOW == 0 && v->pin < IOAPIC_PINS);
    v->kind = virtio_read(v, VIRTIO_MMIO_VERSION) == 1 ? VIRTIO_MMIO_LEGACY : VIRTIO_MMIO;
    v->isr = v->base + VIRTIO_MMIO_INTERRUPT_STATUS;
    v->notify = v->base + VIRTIO_MMIO_QUEUE_NOTIFY;
    v->config = v->base + VIRTIO_MMIO_CONFIG;
    return true;
}

/* 4.1.4: where the structure of this type is; 0: there is none. *cap is its capability. */
static uint64_t structure(const struct virtio *v, uint8_t type, unsigned *cap)
{
    for (unsigned at = 0; (at = pci_capability(v->slot, PCI_CAP_ID_VNDR, at)) != 0;) {
        if (pci_read(v->slot, at + VIRTIO_PCI_CAP_CFG_TYPE, 1) != type)
            continue;
        bool io;
        *cap = at;
        uint64_t bar =
            pci_bar(v->slot, (unsigned)pci_read(v->slot, at + VIRTIO_PCI_CAP_BAR, 1), &io);
        CHECK(!io && bar);
        return bar + pci_read(v->slot, at + VIRTIO_PCI_CAP_OFFSET, 4);
    }
    return 0;
}

static bool open_modern(struct virtio *v)
{
    unsigned cap = 0;
    v->kind = VIRTIO_PCI;
    v->base = structure(v, VIRTIO_PCI_CAP_COMMON_CFG, &cap);
    v->isr = structure(v, VIRTIO_PCI_CAP_ISR_CFG, &cap);
    v->config = structure(v, VIRTIO_PCI_CAP_DEVICE_CFG, &cap);
    v->notify = structure(v, VIRTIO_PCI_CAP_NOTIFY_CFG, &cap);
    if (!v->base || !v->notify || !v->isr)
        return false;
    v->notify_multiplier = (uint32_t)pci_read(v->slot, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
    return true;
}

static bool open_legacy(struct virtio *v)
{
    bool io;
    v->kind = VIRTIO_PCI_LEGACY;
    v->base = pci_bar(v->slot, 0, &io);
    v->isr = v->base + VIRTIO_PCI_ISR;
    v->notify = v->base + VIRTIO_PCI_QUEUE_NOTIFY;
    return io && v->base;
}

bool virtio_pci_slot(unsigned slot, bool legacy, struct virtio *v)
{
    uint32_t device = (uint32_t)pci_read(slot, PCI_DEVICE_ID, 2);
    if (pci_read(slot, PCI_VENDOR_ID, 2) != VENDOR_ID || device < FIRST_TRANSITIONAL ||
        device > LAST_MODERN)
        return false;
    *v = (struct virtio){.slot = slot};
    pci_command(slot, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return legacy ? open_legacy(v) : open_modern(v);
}

uint32_t virtio_device_id(const struct virtio *v)
{
    if (!virtio_is_pci(v))
        return virtio_read(v, VIRTIO_MMIO_DEVICE_ID);
    uint32_t device = (uint32_t)pci_read(v->slot, PCI_DEVICE_ID, 2);
    return device >= FIRST_MODERN ? device - FIRST_MODERN
                                  : (uint32_t)pci_read(v->slot, PCI_SUBSYSTEM_ID, 2);
}

void virtio_find(uint32_t id, struct virtio *v)
{
    for (unsigned i = 0; virtio_slot(i, v); i++) {
        if (virtio_device_id(v) == id)
            return;
    }
    bool legacy = arg_is("face", "legacy");
    for (unsigned i = 1; i < PCI_SLOTS; i++) {
        bool there = virtio_pci_slot(i, legacy, v) || virtio_pci_slot(i, true, v);
        if (there && virtio_device_id(v) == id)
            return;
    }
    end_fail("there is no virtio device %u", id);
}

/* --- a driver's steps (3.1) --- */

uint64_t virtio_offered(const struct virtio *v)
{
    virtio_set(v, VR_DEVICE_FEATURES_SEL, 1);
    uint64_t high = v->kind == VIRTIO_PCI_LEGACY ? 0 : virtio_get(v, VR_DEVICE_FEATURES);
    virtio_set(v, VR_DEVICE_FEATURES_SEL, 0);
    return high << 32 | virtio_get(v, VR_DEVICE_FEATURES);
}

void virtio_reset(struct virtio *v)
{
    virtio_set(v, VR_STATUS, 0);
    CHECK(WAIT_FOR(virtio_get(v, VR_STATUS) == 0));
}

static void add_status(const struct virtio *v, uint32_t bits)
{
    virtio_set(v, VR_STATUS, virtio_get(v, VR_STATUS) | bits);
}

void virtio_begin(struct virtio *v, uint64_t wanted)
{
    virtio_reset(v);
    add_status(v, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    add_status(v, VIRTIO_CONFIG_S_DRIVER);
    uint64_t offered = virtio_offered(v);
    if (virtio_is_legacy(v)) {
        v->features = wanted & offered & UINT32_MAX;
        virtio_set(v, VR_DRIVER_FEATURES_SEL, 0);
        virtio_set(v, VR_DRIVER_FEATURES, (uint32_t)v->features);
        return;
    }
    CHECK(offered & FEATURE(VIRTIO_F_VERSION_1));
    v->features = (wanted | FEATURE(VIRTIO_F_VERSION_1)) & offered;
    for (unsigned i = 0; i < 2; i++) {
        virtio_set(v, VR_DRIVER_FEATURES_SEL, i);
        virtio_set(v, VR_DRIVER_FEATURES, (uint32_t)(v->features >> 32 * i));
    }
    add_status(v, VIRTIO_CONFIG_S_FEATURES_OK);
    if (!(virtio_get(v, VR_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK))
        end_fail("the device at %#lx refuses features %#lx", v->base, v->features);
}

void virtio_go(struct virtio *v)
{
    add_status(v, VIRTIO_CONFIG_S_DRIVER_OK);
    CHECK_EQ(virtio_get(v, VR_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                                           VIRTIO_CONFIG_S_DRIVER_OK |
                                           (virtio_is_legacy(v) ? 0 : VIRTIO_CONFIG_S_FEATURES_OK));
}

bool virtio_has(const struct virtio *v, unsigned bit)
{
    return v->features & FEATURE(bit);
}
