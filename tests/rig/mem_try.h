/* tests/rig/mem_try.h - what the memory device's tests share: a driver, eyes of the guest's CPUs
 * and of its DMA, and a host that can refuse. */
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_mem.h>
#include <linux/virtio_ring.h>
#include <sys/mman.h>

#include "base/gmem.h"
#include "tests/rig/reported.h"

#define BLOCK  MIB(2)
#define SIZE   MIB(512)
#define WANTED MIB(64)
#define SPEC   "mem,size=512M,requested=64M"

enum { RUNNING = 15, PAGE = 4096, SUSPEND = VDEV_S_SUSPEND, PERSISTENT_SUSPEND = 2 };

/* --- what the host refuses --- */

int __real_mprotect(void *p, size_t len, int prot);
int __wrap_mprotect(void *p, size_t len, int prot);
static unsigned protect_fails_after; /* so many calls; 0: never */

int __wrap_mprotect(void *p, size_t len, int prot)
{
    if (protect_fails_after && --protect_fails_after == 0) {
        errno = ENOMEM;
        return -1;
    }
    return __real_mprotect(p, len, prot);
}

/* --- a driver --- */

#define FIELD(r, name)                                                                             \
    rig_config(r, offsetof(struct virtio_mem_config, name),                                        \
               sizeof(((struct virtio_mem_config *)0)->name))

static inline uint64_t at(struct rig *r, uint64_t off)
{
    return FIELD(r, addr) + off;
}

static inline struct virtio_mem_req request(uint16_t type, uint64_t addr, uint16_t n)
{
    return (struct virtio_mem_req){.type = type,
                                   .padding = {1, 2, 3}, /* of no meaning */
                                   .u.plug = {.addr = addr, .nb_blocks = n, .padding = {4, 5, 6}}};
}

static inline struct virtio_mem_resp ask_raw(struct rig *r, const void *req, uint32_t len)
{
    struct virtio_mem_resp resp;
    struct rig_seg out = {rig_alloc(r, len + 1), len};
    struct rig_seg in = {rig_alloc(r, sizeof(resp)), sizeof(resp)};
    uint32_t id, used;
    memcpy(rig_at(r, out.at, len), req, len);
    memset(rig_at(r, in.at, in.len), 0xee, in.len);
    rig_add(r, 0, &out, len != 0, &in, 1);
    rig_kick(r, 0);
    rig_settle(r);
    cr_assert(rig_used(r, 0, &id, &used));
    cr_assert_eq(used, sizeof(resp));
    memcpy(&resp, rig_at(r, in.at, in.len), in.len);
    r->ram_next = out.at.v; /* it can be used again */
    return resp;
}

static inline uint16_t ask(struct rig *r, uint16_t type, uint64_t addr, uint16_t n)
{
    struct virtio_mem_req req = request(type, addr, n);
    return ask_raw(r, &req, sizeof(req)).type;
}

static inline uint16_t plug(struct rig *r, uint64_t off, uint16_t n)
{
    return ask(r, VIRTIO_MEM_REQ_PLUG, at(r, off), n);
}

static inline uint16_t unplug(struct rig *r, uint64_t off, uint16_t n)
{
    return ask(r, VIRTIO_MEM_REQ_UNPLUG, at(r, off), n);
}

static inline uint16_t unplug_all(struct rig *r)
{
    return ask(r, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);
}

static inline uint16_t state(struct rig *r, uint64_t off, uint16_t n)
{
    struct virtio_mem_req req = request(VIRTIO_MEM_REQ_STATE, at(r, off), n);
    struct virtio_mem_resp resp = ask_raw(r, &req, sizeof(req));
    cr_assert_eq(resp.type, VIRTIO_MEM_RESP_ACK);
    return resp.u.state.state;
}

/* Whether a CPU of the guest's can touch that byte; asked of the kernel, which does not crash. */
static inline bool reachable(struct rig *r, uint64_t off)
{
    static int fd = -1;
    if (fd < 0)
        fd = memfd_create("probe", MFD_CLOEXEC);
    return pwrite(fd, rig_window_at(r, GPA(at(r, off)), 1), 1, 0) == 1;
}

static inline uint8_t *cpu(struct rig *r, uint64_t off)
{
    return rig_window_at(r, GPA(at(r, off)), PAGE);
}

static inline void *dma(struct rig *r, uint64_t off, uint64_t len)
{
    return gmem_at(r->mem, GPA(at(r, off)), len);
}

static inline unsigned resident(void *host, size_t len)
{
    unsigned char vec[1024];
    unsigned n = 0;
    cr_assert_leq(len / PAGE, sizeof(vec));
    cr_assert_eq(mincore(host, len, vec), 0);
    for (size_t i = 0; i < len / PAGE; i++)
        n += vec[i] & 1;
    return n;
}

static inline int update(struct rig *r, uint64_t requested, struct err *e)
{
    char text[64];
    cr_assert_eq(requested % MIB(1), 0);
    (void)snprintf(text, sizeof(text), "size=512M,requested=%lluM",
                   (unsigned long long)(requested >> 20));
    int rc = rig_update(r, text, e);
    rig_settle(r);
    return rc;
}

static inline void resize(struct rig *r, uint64_t requested)
{
    struct err e = {0};
    cr_assert_eq(update(r, requested, &e), 0, "%s", e.msg);
}

/* Of a change of the configuration, since the last question. */
static inline bool notified(struct rig *r)
{
    bool it = r->regs->pending(r) & 2;
    (void)rig_irqs(r);
    return it;
}
