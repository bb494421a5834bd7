/* guest-tests/memory.c - memory that devices put into the guest's address space, as a CPU finds it
 * on a real KVM: a file, blocks that come and go, a BAR that moves; and how a guest ends that
 * touches what is not there.
 *
 * how=touch: it does so at the end. how=ro: the file is there to read only. */
#include <linux/virtio_mem.h>
#include <linux/virtio_pmem.h>

#include "lib/virtio.h"

enum { SIZE = 16, PAGE = 4096, SHMEM_REGION = 0, SHM_CAPABILITY = 8 };
#define GIB(n) ((uint64_t)(n) << 30)

static const char from_host[] = "from the host", from_guest[] = "from the guest";

/* --- page tables --- */

/* The GiB around `at`, one to one: what a guest begins with are four of them. */
static void map(uint64_t at)
{
    enum { PRESENT = 1, WRITABLE = 2, LARGE = 0x80, ENTRIES = 512, LARGE_SHIFT = 21 };
    uint64_t *pml4, gib = at & ~(GIB(1) - 1);
    __asm__ volatile("mov %%cr3, %0" : "=r"(pml4));
    uint64_t *slot = &pml4[at >> 39 & 511];
    if (!(*slot & PRESENT))
        *slot = (uint64_t)pages(1) | PRESENT | WRITABLE;
    uint64_t *pdpt = (uint64_t *)(*slot & ~0xfffull);
    if (pdpt[at >> 30 & 511] & PRESENT)
        return;
    uint64_t *directory = pages(1);
    for (uint64_t i = 0; i < ENTRIES; i++)
        directory[i] = gib | i << LARGE_SHIFT | PRESENT | WRITABLE | LARGE;
    pdpt[at >> 30 & 511] = (uint64_t)directory | PRESENT | WRITABLE;
    __asm__ volatile("mov %0, %%cr3" : : "r"(pml4) : "memory");
}

static void ask(struct ring *r, const void *req, uint32_t req_len, void *resp, uint32_t resp_len)
{
    const struct seg s[] = {{.at = req, .len = req_len},
                            {.at = resp, .len = resp_len, .writable = true}};
    uint16_t head;
    uint32_t len;
    CHECK(ring_add(r, s, ARRAY_SIZE(s)) >= 0);
    ring_kick(r);
    if (!WAIT_FOR(ring_take(r, &head, &len)))
        end_fail("no answer");
    CHECK_EQ(len, resp_len);
}

/* --- persistent memory --- */

static uint32_t flush(struct ring *r)
{
    static struct virtio_pmem_req req;
    static struct virtio_pmem_resp resp;
    resp.ret = 1;
    ask(r, &req, sizeof(req), &resp, sizeof(resp));
    return resp.ret;
}

static void test_file(void)
{
    static struct ring r;
    struct virtio v;
    virtio_find(VIRTIO_ID_PMEM, &v);
    virtio_begin(&v, 0);
    ring_start(&r, &v, 0, SIZE);
    virtio_go(&v);
    uint64_t at = virtio_config_read(&v, offsetof(struct virtio_pmem_config, start), 4) |
                  virtio_config_read(&v, offsetof(struct virtio_pmem_config, start) + 4, 4) << 32;
    uint64_t len = virtio_config_read(&v, offsetof(struct virtio_pmem_config, size), 4);
    CHECK(at >= GIB(4) && len >= 2 << 20);
    map(at);
    CHECK(memcmp((void *)at, from_host, strlen(from_host)) == 0);
    for (size_t i = 0; i < strlen(from_guest); i++)
        mmio_write8(at + PAGE + i, (uint8_t)from_guest[i]);
    bool written = memcmp((void *)(at + PAGE), from_guest, strlen(from_guest)) == 0;
    CHECK_EQ(written, !arg_is("how", "ro"));
    CHECK_EQ(flush(&r), 0);
    CHECK_EQ(mmio_read8(at + len - 1), 0);
}

/* --- memory that is plugged --- */

static struct ring requests;

static uint16_t mem_ask(uint16_t type, uint64_t at, uint16_t n)
{
    static struct virtio_mem_req req;
    static struct virtio_mem_resp resp;
    req = (struct virtio_mem_req){.type = type, .u.plug = {.addr = at, .nb_blocks = n}};
    ask(&requests, &req, sizeof(req), &resp, sizeof(resp));
    return resp.type;
}

/* Once more, by a device: its answers come there too. */
static void test_dma(uint64_t at)
{
    static struct virtio_mem_req req = {.type = VIRTIO_MEM_REQ_UNPLUG};
    struct virtio_mem_resp *resp = (void *)at;
    *resp = (struct virtio_mem_resp){.type = 0xeeee};
    ask(&requests, &req, sizeof(req), resp, sizeof(*resp));
    CHECK_EQ(resp->type, VIRTIO_MEM_RESP_ERROR);
}

static void test_blocks(void)
{
    struct virtio v;
    virtio_find(VIRTIO_ID_MEM, &v);
    virtio_begin(&v, FEATURE(VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE));
    ring_start(&requests, &v, 0, SIZE);
    virtio_go(&v);
    uint64_t at = virtio_config_read(&v, offsetof(struct virtio_mem_config, addr), 4) |
                  virtio_config_read(&v, offsetof(struct virtio_mem_config, addr) + 4, 4) << 32;
    uint64_t block = virtio_config_read(&v, offsetof(struct virtio_mem_config, block_size), 4);
    map(at);
    for (unsigned round = 0; round < 20; round++) {
        CHECK_EQ(mem_ask(VIRTIO_MEM_REQ_PLUG, at, 3), VIRTIO_MEM_RESP_ACK);
        for (uint64_t off = 0; off < 3 * block; off += PAGE) {
            if (mmio_read32(at + off) != 0)
                end_fail("round %u: there is something in new memory", round);
            mmio_write32(at + off, 0x12345678);
        }
        test_dma(at + block);
        CHECK_EQ(mem_ask(VIRTIO_MEM_REQ_UNPLUG, at + 2 * block, 1), VIRTIO_MEM_RESP_ACK);
        CHECK_EQ(mmio_read32(at + block - PAGE), 0x12345678);
        CHECK_EQ(mem_ask(VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_ACK);
    }
    if (!arg_is("how", "touch"))
        return;
    CHECK_EQ(mem_ask(VIRTIO_MEM_REQ_PLUG, at, 1), VIRTIO_MEM_RESP_ACK);
    mmio_write32(at, 1);
    CHECK_EQ(mem_ask(VIRTIO_MEM_REQ_UNPLUG, at, 1), VIRTIO_MEM_RESP_ACK);
    out("memory: now it is touched\n");
    CHECK_EQ(mmio_read32(at), UINT32_MAX); /* mostly that never returns */
}

/* --- shared memory, behind a BAR --- */

static void bar_put(unsigned slot, unsigned bar, uint64_t at)
{
    pci_write(slot, PCI_BASE_ADDRESS_0 + 4 * bar, 4, (uint32_t)at);
    pci_write(slot, PCI_BASE_ADDRESS_0 + 4 * bar + 4, 4, at >> 32);
}

/* It shows the file wherever the BAR is, and does no harm over what is there already. */
static void test_bar(void)
{
    struct virtio v;
    bool io;
    unsigned cap = 0;
    virtio_find(VIRTIO_ID_PMEM, &v);
    if (!virtio_is_pci(&v)) {
        skip("a BAR that moves", "this is virtio-mmio");
        return;
    }
    do
        cap = pci_capability(v.slot, PCI_CAP_ID_VNDR, cap);
    while (cap && pci_read(v.slot, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1) != SHM_CAPABILITY);
    if (!cap)
        end_fail("no shared memory");
    unsigned bar = (unsigned)pci_read(v.slot, cap + VIRTIO_PCI_CAP_BAR, 1);
    uint64_t home = pci_bar(v.slot, bar, &io), other = home + (64 << 20);
    map(home);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t at = i % 2 ? home : other;
        bar_put(v.slot, bar, at);
        CHECK(memcmp((void *)at, from_host, strlen(from_host)) == 0);
        CHECK_EQ(mmio_read32(i % 2 ? other : home), UINT32_MAX);
    }
    const uint64_t taken[] = {0, 1 << 20, GIB(4), 0xfee00000, 0xe0000000, 0xd0000000};
    for (unsigned i = 0; i < ARRAY_SIZE(taken); i++) {
        bar_put(v.slot, bar, taken[i]);
        CHECK_EQ(mmio_read32(home), UINT32_MAX);
    }
    bar_put(v.slot, bar, home);
    CHECK(memcmp((void *)home, from_host, strlen(from_host)) == 0);
}

void guest_main(void)
{
    test_file();
    if (arg_is("how", "ro"))
        return;
    test_bar();
    test_blocks();
}
