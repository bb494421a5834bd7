/* transport/pci/i6300esb.c - see i6300esb.h. vCPU threads write registers, the loop has the timer;
 * both under `lock`, which is a leaf. */
#include "transport/pci/i6300esb.h"

#include <pthread.h>

#include "transport/pci/pci_priv.h"

/* Configuration space (16.4). */
enum {
    CONFIG_AT = 0x60, /* 16 bits */
    CONFIG_FAST = 1 << 2,
    CONFIG_OUTPUT_OFF = 1 << 5, /* the second stage has no effect */
    CONFIG_MASK = 0x27,         /* with what the first stage is to do, which here is nothing */
    LOCK_AT = 0x68,             /* 8 bits */
    LOCK_LOCKED = 1 << 0,       /* until the reset: this bit and the next */
    LOCK_ENABLE = 1 << 1,
    LOCK_FREE_RUN = 1 << 2, /* begins anew after the second stage */
    LOCK_MASK = 7,
};
/* Registers in BAR 0 (16.5). Writes need two other ones before them, of 0x80 and 0x86 to RELOAD. */
enum {
    PRELOAD_1 = 0,
    PRELOAD_2 = 4,
    INTERRUPT = 8, /* bit 0: the first stage has run out; writing 1 clears it */
    RELOAD = 12,
    BAR_SIZE = 16,
    UNLOCK_1 = 0x80,
    UNLOCK_2 = 0x86,
    RELOAD_NOW = 1 << 8,
    RELOAD_BITTEN = 1 << 9, /* writing 1 clears it */
    PRELOAD_MASK = 0xfffff,
};
enum { CLOCK_HZ = 33000000, SLOW_SHIFT = 15, FAST_SHIFT = 5, STATE_VERSION = 1 };

struct i6300esb {
    struct pci_function *f;
    struct loop *loop;
    void (*bite)(void *ctx);
    void *ctx;

    pthread_mutex_t lock;
    uint32_t preload[2];
    uint16_t config;
    uint8_t lock_reg;
    uint8_t unlocked; /* how many of the two magic writes have come */
    uint8_t stage;    /* 0: stopped, else 1 or 2 */
    bool interrupt, bitten, paused;

    struct loop_timer timer;
    struct loop_task arm; /* brings the timer in line with `stage` */
};

/* --- the timer --- */

/* A preload of 0 is one tick, and not never; but at least a millisecond, a slow tick: shorter ones,
 * which no driver asks for, would keep the loop busy for a guest that sleeps. */
static uint64_t stage_ns(const struct i6300esb *w)
{
    unsigned shift = w->config & CONFIG_FAST ? FAST_SHIFT : SLOW_SHIFT;
    uint64_t clocks = (uint64_t)w->preload[w->stage - 1] << shift;
    return MAX(clocks, 1ull << SLOW_SHIFT) * 1000000000 / CLOCK_HZ;
}

static void arm_on_loop(void *ctx)
{
    struct i6300esb *w = ctx;
    (void)pthread_mutex_lock(&w->lock);
    loop_timer_set(&w->timer, w->stage && !w->paused ? stage_ns(w) : 0);
    (void)pthread_mutex_unlock(&w->lock);
}

/* With the lock. */
static void enter(struct i6300esb *w, uint8_t stage)
{
    w->stage = stage;
    loop_post(w->loop, &w->arm);
}

static void expired(void *ctx)
{
    struct i6300esb *w = ctx;
    (void)pthread_mutex_lock(&w->lock);
    bool bites = w->stage == 2 && !(w->config & CONFIG_OUTPUT_OFF);
    if (w->stage == 1) {
        w->interrupt = true;
        enter(w, 2);
    } else if (w->stage == 2) {
        w->bitten |= bites;
        enter(w, w->lock_reg & LOCK_FREE_RUN ? 1 : 0);
    }
    (void)pthread_mutex_unlock(&w->lock);
    if (bites)
        w->bite(w->ctx);
}

/* --- registers --- */

static uint64_t bar_read(void *ctx, uint64_t off, unsigned size)
{
    struct i6300esb *w = ctx;
    (void)pthread_mutex_lock(&w->lock);
    const uint32_t regs[] = {w->preload[0], w->preload[1], w->interrupt,
                             w->bitten ? RELOAD_BITTEN : 0};
    (void)pthread_mutex_unlock(&w->lock);
    uint8_t bytes[BAR_SIZE];
    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
        put_bytes(bytes + 4 * i, regs[i], 4);
    return get_bytes(bytes + off, size);
}

/* What comes behind the two magic writes; with the lock. */
static void write_unlocked(struct i6300esb *w, uint64_t off, uint32_t val)
{
    switch (off) {
    case PRELOAD_1:
        w->preload[0] = val & PRELOAD_MASK;
        break;
    case PRELOAD_2:
        w->preload[1] = val & PRELOAD_MASK;
        break;
    case INTERRUPT:
        w->interrupt &= !(val & 1);
        break;
    case RELOAD:
        w->bitten &= !(val & RELOAD_BITTEN);
        if (val & RELOAD_NOW && w->lock_reg & LOCK_ENABLE)
            enter(w, 1);
        break;
    }
}

static void bar_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct i6300esb *w = ctx;
    (void)pthread_mutex_lock(&w->lock);
    if (off == RELOAD && size <= 4 && w->unlocked == 0 && val == UNLOCK_1) {
        w->unlocked = 1;
    } else if (off == RELOAD && size <= 4 && w->unlocked == 1 && val == UNLOCK_2) {
        w->unlocked = 2;
    } else {
        if (w->unlocked == 2 && size <= 4)
            write_unlocked(w, off, (uint32_t)val);
        w->unlocked = 0;
    }
    (void)pthread_mutex_unlock(&w->lock);
}

static const struct region_ops bar_ops = {.read = bar_read, .write = bar_write};

/* The bytes from CONFIG_AT on have been written. Both registers are looked at as a whole: what a
 * write has not touched is what it was. */
static void registers_written(void *ctx, uint8_t *cfg, unsigned off, unsigned size)
{
    struct i6300esb *w = ctx;
    (void)off, (void)size;
    (void)pthread_mutex_lock(&w->lock);
    uint8_t old = w->lock_reg, now = cfg[LOCK_AT - CONFIG_AT];
    if (old & LOCK_LOCKED)
        now = (uint8_t)((now & LOCK_FREE_RUN) | (old & (LOCK_LOCKED | LOCK_ENABLE)));
    cfg[LOCK_AT - CONFIG_AT] = w->lock_reg = now;
    w->config = (uint16_t)get_bytes(cfg, 2);
    bool was = old & LOCK_ENABLE, is = now & LOCK_ENABLE;
    if (was != is)
        enter(w, is ? 1 : 0);
    (void)pthread_mutex_unlock(&w->lock);
}

static const struct pci_function_ops function_ops = {.hook_write = registers_written};

/* --- life --- */

static int add_function(struct i6300esb *w, struct pci_bus *b)
{
    static const struct pci_ids ids = {.vendor = 0x8086, .device = 0x25ab, .class_code = 0x088000};
    static const uint8_t writable[LOCK_AT - CONFIG_AT + 1] = {[0] = CONFIG_MASK,
                                                              [LOCK_AT - CONFIG_AT] = LOCK_MASK};
    int rc = pci_function_new(b, "i6300esb", &ids, 0, &function_ops, w, &w->f);
    if (rc < 0)
        return rc;
    pci_add_bar(w->f, 0,
                &(struct pci_bar){.kind = PCI_BAR_MEM32, .size = BAR_SIZE, .ops = &bar_ops});
    pci_add_registers(w->f, CONFIG_AT, writable, sizeof(writable));
    pci_hook(w->f, CONFIG_AT, sizeof(writable));
    return pci_function_start(w->f);
}

/* With the lock. */
static void power_on(struct i6300esb *w)
{
    w->preload[0] = w->preload[1] = PRELOAD_MASK;
    w->config = 0;
    w->lock_reg = w->unlocked = 0;
    w->interrupt = false;
    w->stage = 0;
}

int i6300esb_new(struct pci_bus *b, struct loop *l, void (*bite)(void *ctx), void *ctx,
                 struct i6300esb **out)
{
    struct i6300esb *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->loop = l;
    w->bite = bite;
    w->ctx = ctx;
    w->arm = (struct loop_task){.fn = arm_on_loop, .ctx = w};
    (void)pthread_mutex_init(&w->lock, NULL);
    power_on(w);
    int rc = loop_timer_open(l, &w->timer, expired, w);
    if (rc == 0)
        rc = add_function(w, b);
    if (rc < 0) {
        i6300esb_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

void i6300esb_free(struct i6300esb *w)
{
    if (!w)
        return;
    pci_function_free(w->f);
    loop_task_cancel(w->loop, &w->arm);
    loop_timer_close(&w->timer);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

/* The timer has stopped when this returns. */
void i6300esb_reset(struct i6300esb *w)
{
    (void)pthread_mutex_lock(&w->lock);
    power_on(w);
    (void)pthread_mutex_unlock(&w->lock);
    loop_call(w->loop, arm_on_loop, w);
    pci_function_reset(w->f);
}

static void set_paused(struct i6300esb *w, bool on)
{
    (void)pthread_mutex_lock(&w->lock);
    w->paused = on;
    (void)pthread_mutex_unlock(&w->lock);
    loop_call(w->loop, arm_on_loop, w);
}

void i6300esb_pause(struct i6300esb *w)
{
    set_paused(w, true);
}

void i6300esb_resume(struct i6300esb *w)
{
    set_paused(w, false);
}

/* --- state --- */

void i6300esb_save(struct i6300esb *w, struct state_out *s)
{
    pci_function_save(w->f, s);
    (void)pthread_mutex_lock(&w->lock);
    state_begin(s, "WDOG", STATE_VERSION);
    state_u32(s, w->preload[0]);
    state_u32(s, w->preload[1]);
    state_u8(s, w->unlocked);
    state_u8(s, w->stage);
    state_u8(s, w->interrupt);
    state_u8(s, w->bitten);
    state_end(s);
    (void)pthread_mutex_unlock(&w->lock);
}

int i6300esb_load(struct i6300esb *w, struct state_in *s)
{
    uint32_t version;
    int rc = pci_function_load(w->f, s);
    if (rc == 0)
        rc = state_open(s, "WDOG", STATE_VERSION, &version);
    if (rc < 0)
        return rc;
    uint32_t preload[] = {state_get_u32(s), state_get_u32(s)};
    uint8_t unlocked = state_get_u8(s), stage = state_get_u8(s);
    uint8_t interrupt = state_get_u8(s), bitten = state_get_u8(s);
    rc = state_close(s);
    uint16_t config = (uint16_t)config_read(w->f, CONFIG_AT, 2);
    uint8_t lock_reg = (uint8_t)config_read(w->f, LOCK_AT, 1);
    if (rc == 0 && (preload[0] > PRELOAD_MASK || preload[1] > PRELOAD_MASK || unlocked > 2 ||
                    stage > 2 || interrupt > 1 || bitten > 1 || config & ~CONFIG_MASK ||
                    lock_reg & ~LOCK_MASK || (stage && !(lock_reg & LOCK_ENABLE))))
        rc = -EBADMSG;
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&w->lock);
    memcpy(w->preload, preload, sizeof(preload));
    w->config = config;
    w->lock_reg = lock_reg;
    w->unlocked = unlocked;
    w->interrupt = interrupt;
    w->bitten = bitten;
    enter(w, stage);
    (void)pthread_mutex_unlock(&w->lock);
    return 0;
}
