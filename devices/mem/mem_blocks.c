/* devices/mem/mem_blocks.c - which blocks are plugged, as the guest's CPUs, our descriptors and a
 * saved state have it. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>

#include "devices/mem/mem_priv.h"

enum { STATE_VERSION = 1 };
#define SLACK MIB(256) /* how far a driver may look for blocks beyond what is requested */

size_t mem_words(const struct mem *m)
{
    return (m->size / m->block + MEM_WORD_BITS - 1) / MEM_WORD_BITS;
}

bool mem_is_plugged(const struct mem *m, uint64_t off)
{
    uint64_t i = off / m->block;
    return atomic_load(&m->present[i / MEM_WORD_BITS]) >> (i % MEM_WORD_BITS) & 1;
}

void mem_mark(struct mem *m, uint64_t begin, uint64_t end, bool on)
{
    for (uint64_t i = begin / m->block; i < end / m->block; i++) {
        uint64_t bit = 1ull << (i % MEM_WORD_BITS);
        if (on)
            atomic_fetch_or(&m->present[i / MEM_WORD_BITS], bit);
        else
            atomic_fetch_and(&m->present[i / MEM_WORD_BITS], ~bit);
    }
}

uint64_t mem_count(const struct mem *m, uint64_t begin, uint64_t end)
{
    uint64_t n = 0;
    for (uint64_t off = begin; off < end; off += m->block)
        n += mem_is_plugged(m, off) ? m->block : 0;
    return n;
}

int mem_let_guest(struct mem *m, uint64_t begin, uint64_t end, bool on)
{
    int prot = on ? PROT_READ | PROT_WRITE : PROT_NONE;
    return mprotect(m->guest + begin, end - begin, prot) < 0 ? -errno : 0;
}

uint64_t mem_usable_for(const struct mem *m, uint64_t requested)
{
    uint64_t slack = align_up(SLACK, m->block);
    return slack < m->size - requested ? requested + slack : m->size;
}

/* --- power-on, state --- */

void mem_power_on(struct vdev *d)
{
    struct mem *m = vdev_priv(d);
    mem_mark(m, 0, m->size, false);
    atomic_store(&m->plugged, 0);
    atomic_store(&m->usable, mem_usable_for(m, atomic_load(&m->requested)));
    if (mem_let_guest(m, 0, m->size, false) < 0 ||
        fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)m->size) < 0)
        log_limited(&m->errors, LOG_WARN, "mem: cannot unplug: %s", strerror(errno));
}

void mem_save(const struct vdev *d, struct state_out *s)
{
    const struct mem *m = vdev_priv(d);
    state_begin(s, "MEM ", STATE_VERSION);
    state_u64(s, m->at.v);
    state_u64(s, m->size);
    state_u64(s, m->block);
    state_u64(s, atomic_load(&m->requested));
    state_u64(s, atomic_load(&m->usable));
    for (size_t i = 0; i < mem_words(m); i++)
        state_u64(s, atomic_load(&m->present[i]));
    state_end(s);
}

static bool plugged_in(const uint64_t *present, uint64_t i)
{
    return present[i / MEM_WORD_BITS] >> (i % MEM_WORD_BITS) & 1;
}

static bool image_fits(const struct mem *m, uint64_t requested, uint64_t usable,
                       const uint64_t *present)
{
    if (requested > m->size || usable > m->size || requested > usable ||
        (requested | usable) % m->block)
        return false;
    for (uint64_t i = usable / m->block; i < mem_words(m) * MEM_WORD_BITS; i++) {
        if (plugged_in(present, i))
            return false;
    }
    return true;
}

/* Contents are guest memory, and saved with that. */
int mem_load(struct vdev *d, struct state_in *s)
{
    struct mem *m = vdev_priv(d);
    uint64_t present[MEM_BLOCKS_MAX / MEM_WORD_BITS] = {0};
    uint32_t version;
    int rc = state_open(s, "MEM ", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    bool same = state_get_u64(s) == m->at.v;
    same &= state_get_u64(s) == m->size;
    same &= state_get_u64(s) == m->block;
    uint64_t requested = state_get_u64(s), usable = state_get_u64(s);
    for (size_t n = 0; n < mem_words(m); n++)
        present[n] = state_get_u64(s);
    rc = state_close(s);
    if (rc < 0 || !same || !image_fits(m, requested, usable, present))
        return -EBADMSG;
    mem_power_on(d);
    for (uint64_t off = 0; off < usable && rc == 0; off += m->block) {
        if (!plugged_in(present, off / m->block))
            continue;
        rc = mem_let_guest(m, off, off + m->block, true);
        mem_mark(m, off, off + m->block, rc == 0);
    }
    if (rc < 0) {
        mem_power_on(d); /* as before the first of them */
        return rc;
    }
    atomic_store(&m->usable, usable);
    atomic_store(&m->requested, requested);
    atomic_store(&m->plugged, mem_count(m, 0, m->size));
    return 0;
}
