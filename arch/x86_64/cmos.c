/* arch/x86_64/cmos.c - MC146818 clock and CMOS memory: tells a kernel the time of day at boot, and
 * old ones how much memory there is. The time is the host's plus an offset, so it never drifts and
 * needs no timer. */
#include "arch/x86_64/cmos_priv.h"

#include <pthread.h>
#include <time.h>

/* MC146818 data sheet, "Address map". */
enum {
    REG_SECONDS = 0x00,
    REG_MINUTES = 0x02,
    REG_HOURS = 0x04,
    REG_WEEKDAY = 0x06, /* Sunday is 1 */
    REG_DAY = 0x07,
    REG_MONTH = 0x08,
    REG_YEAR = 0x09,
    REG_A = 0x0a,
    REG_B = 0x0b,
    REG_C = 0x0c,
    REG_D = 0x0d,
    REG_BASE_MEM = 0x15, /* KiB below 1 MiB */
    REG_EXT_MEM = 0x17,  /* KiB above 1 MiB; again at 0x30 */
    REG_EXT_MEM2 = 0x30,
    REG_CENTURY = 0x32,
    REG_MEM_16M = 0x34, /* 64 KiB units above 16 MiB */
    REG_MEM_4G = 0x5b,  /* 64 KiB units above 4 GiB */
    CMOS_BYTES = 128,
};
enum {
    A_UIP = 0x80,
    A_DIVIDER = 0x70,
    A_DIVIDER_RESET = 0x60, /* the divider's upper two bits: held in reset */
    A_DEFAULT = 0x26,       /* 32768 Hz, 1024 Hz */
    B_SET = 0x80,
    B_IRQ_ENABLES = 0x70,
    B_BINARY = 0x04,
    B_24H = 0x02,
    D_VALID = 0x80,
    HOUR_PM = 0x80,
};
static const uint8_t time_regs[] = {REG_SECONDS, REG_MINUTES, REG_HOURS, REG_WEEKDAY,
                                    REG_DAY,     REG_MONTH,   REG_YEAR,  REG_CENTURY};

#define NS_PER_S 1000000000ll
/* UIP announces an update this long before it (data sheet, "Update cycle": t_BUC). */
#define UIP_NS 244000ll
/* No date that the registers can hold is further from 1970; a saved offset beyond is a lie. */
#define OFFSET_MAX_S (1ll << 40)

/* Seconds since 1970 and the nanoseconds into the current one. */
struct moment {
    int64_t s, ns;
};

struct cmos {
    struct bus *pio;
    cmos_clock_fn *now_ns;
    void *clock_ctx;
    uint64_t ram_low, ram_high;

    pthread_mutex_t lock; /* everything below */
    uint8_t index;
    uint8_t ram[CMOS_BYTES]; /* time registers: valid only while the clock stands */
    struct moment offset;    /* guest's time minus host's */
};

static int64_t host_clock(void *ctx)
{
    struct timespec ts;
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

void cmos_set_clock(struct cmos *c, cmos_clock_fn *now_ns, void *ctx)
{
    c->now_ns = now_ns;
    c->clock_ctx = ctx;
}

static struct moment moment_normal(int64_t s, int64_t ns)
{
    int64_t carry = ns / NS_PER_S - (ns % NS_PER_S < 0);
    return (struct moment){s + carry, ns - carry * NS_PER_S};
}

static struct moment host_now(struct cmos *c)
{
    return moment_normal(0, c->now_ns(c->clock_ctx));
}

static struct moment guest_now(struct cmos *c)
{
    struct moment host = host_now(c);
    return moment_normal(host.s + c->offset.s, host.ns + c->offset.ns);
}

/* Dates. gmtime_r() is no use here: glibc reads the time zone's file inside it, on a thread that
 * may open nothing. Years are counted from March, so that the leap day comes last, and in eras of
 * 400 years, which all have the same number of days. */
enum { ERA_YEARS = 400, ERA_DAYS = 146097, DAYS_TO_1970 = 719468 /* from 1 March of year 0 */ };

/* Days before the nth month after March: 0, 31, 61, 92... */
static int64_t days_before_month(int64_t n)
{
    return (153 * n + 2) / 5;
}

static int64_t days_since_1970(int64_t year, int64_t month, int64_t day)
{
    if (month <= 2)
        year--;
    int64_t era = year / ERA_YEARS, in_era = year % ERA_YEARS;
    int64_t days = in_era * 365 + in_era / 4 - in_era / 100;
    return era * ERA_DAYS + days + days_before_month((month + 9) % 12) + day - 1 - DAYS_TO_1970;
}

static void date_of(int64_t days, int64_t *year, int64_t *month, int64_t *day)
{
    days += DAYS_TO_1970;
    int64_t era = days / ERA_DAYS - (days % ERA_DAYS < 0);
    int64_t rest = days - era * ERA_DAYS;
    /* A leap day is left out every 4 years, kept back every 100, left out every 400. */
    int64_t in_era = (rest - rest / 1460 + rest / 36524 - rest / (ERA_DAYS - 1)) / 365;
    rest -= in_era * 365 + in_era / 4 - in_era / 100;
    int64_t from_march = (5 * rest + 2) / 153;
    *day = rest - days_before_month(from_march) + 1;
    *month = (from_march + 2) % 12 + 1;
    *year = era * ERA_YEARS + in_era + (*month <= 2);
}

/* Registers. */

static uint8_t encode(const struct cmos *c, int64_t v)
{
    return (uint8_t)(c->ram[REG_B] & B_BINARY ? v : v / 10 * 16 + v % 10);
}

static int64_t decode(const struct cmos *c, uint8_t reg)
{
    uint8_t v = c->ram[reg];
    return c->ram[REG_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct cmos *c, int64_t hour)
{
    if (c->ram[REG_B] & B_24H)
        return encode(c, hour);
    uint8_t twelve = encode(c, (hour + 11) % 12 + 1);
    return hour >= 12 ? twelve | HOUR_PM : twelve;
}

static int64_t decode_hour(struct cmos *c)
{
    if (c->ram[REG_B] & B_24H)
        return decode(c, REG_HOURS);
    uint8_t raw = c->ram[REG_HOURS];
    c->ram[REG_HOURS] = raw & (uint8_t)~HOUR_PM;
    int64_t hour = decode(c, REG_HOURS) % 12 + (raw & HOUR_PM ? 12 : 0);
    c->ram[REG_HOURS] = raw;
    return hour;
}

static void time_to_registers(struct cmos *c)
{
    int64_t now = guest_now(c).s, year, month, day;
    int64_t days = now / 86400 - (now % 86400 < 0), secs = now - days * 86400;

    date_of(days, &year, &month, &day);
    year = MIN(MAX(year, (int64_t)0), (int64_t)9999);
    c->ram[REG_SECONDS] = encode(c, secs % 60);
    c->ram[REG_MINUTES] = encode(c, secs / 60 % 60);
    c->ram[REG_HOURS] = encode_hour(c, secs / 3600);
    c->ram[REG_WEEKDAY] = encode(c, ((days + 4) % 7 + 7) % 7 + 1); /* 1970 began on a Thursday */
    c->ram[REG_DAY] = encode(c, day);
    c->ram[REG_MONTH] = encode(c, month);
    c->ram[REG_YEAR] = encode(c, year % 100);
    c->ram[REG_CENTURY] = encode(c, year / 100);
}

/* The guest's own numbers may be no date; then any moment will do, as long as nothing overflows. */
static void registers_to_time(struct cmos *c, int64_t ns)
{
    int64_t month = MIN(MAX(decode(c, REG_MONTH), (int64_t)1), (int64_t)12);
    int64_t days = days_since_1970(decode(c, REG_CENTURY) * 100 + decode(c, REG_YEAR), month,
                                   decode(c, REG_DAY));
    int64_t s =
        days * 86400 + decode_hour(c) * 3600 + decode(c, REG_MINUTES) * 60 + decode(c, REG_SECONDS);
    struct moment host = host_now(c);
    c->offset = moment_normal(s - host.s, ns - host.ns);
}

static bool divider_held(const struct cmos *c)
{
    return (c->ram[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
}

/* Software stops the clock to set it, by SET or by the divider's reset. */
static bool stands(const struct cmos *c)
{
    return c->ram[REG_B] & B_SET || divider_held(c);
}

static bool is_time_reg(uint8_t reg)
{
    return memchr(time_regs, reg, sizeof(time_regs)) != NULL;
}

/* Changes register A or B, and with it whether the clock stands. */
static void write_control(struct cmos *c, uint8_t reg, uint8_t v)
{
    bool stood = stands(c), held = divider_held(c);
    /* Bit modes apply to what is read from now on, not to a time that stands. */
    int64_t ns = guest_now(c).ns;
    if (!stood)
        time_to_registers(c);
    c->ram[reg] = v;
    /* The first update comes half a second after the divider's release (data sheet, "Divider
     * control"); Linux sets the time half a second early because of this. */
    if (stood && !stands(c))
        registers_to_time(c, held ? NS_PER_S / 2 : ns);
}

static void write_reg(struct cmos *c, uint8_t reg, uint8_t v)
{
    switch (reg) {
    case REG_A:
        write_control(c, REG_A, v & (uint8_t)~A_UIP);
        return;
    case REG_B: /* no interrupts: what asks for them does not stick */
        write_control(c, REG_B, v & (uint8_t)~B_IRQ_ENABLES);
        return;
    case REG_C:
    case REG_D:
        return;
    }
    bool sets_clock = is_time_reg(reg) && !stands(c);
    int64_t ns = guest_now(c).ns;
    if (sets_clock)
        time_to_registers(c);
    c->ram[reg] = v;
    if (sets_clock)
        registers_to_time(c, ns);
}

static uint8_t read_reg(struct cmos *c, uint8_t reg)
{
    switch (reg) {
    case REG_A:
        if (!stands(c) && guest_now(c).ns >= NS_PER_S - UIP_NS)
            return c->ram[REG_A] | A_UIP;
        return c->ram[REG_A];
    case REG_C:
        return 0;
    case REG_D:
        return D_VALID;
    }
    if (is_time_reg(reg) && !stands(c))
        time_to_registers(c);
    return c->ram[reg];
}

static uint64_t cmos_read(void *ctx, uint64_t off, unsigned size)
{
    struct cmos *c = ctx;
    if (size != 1 || off == 0) /* the index is write-only */
        return UINT64_MAX;
    pthread_mutex_lock(&c->lock);
    uint8_t v = read_reg(c, c->index);
    pthread_mutex_unlock(&c->lock);
    return v;
}

static void cmos_write(void *ctx, uint64_t off, unsigned size, uint64_t val)
{
    struct cmos *c = ctx;
    if (size != 1)
        return;
    pthread_mutex_lock(&c->lock);
    if (off == 0)
        c->index = val & (CMOS_BYTES - 1); /* bit 7 masks NMIs, of which there are none */
    else
        write_reg(c, c->index, (uint8_t)val);
    pthread_mutex_unlock(&c->lock);
}

static const struct region_ops cmos_ops = {.read = cmos_read, .write = cmos_write};

/* What firmware leaves behind at each boot. */
static void put_memory_size(struct cmos *c)
{
    uint64_t base = MIN(c->ram_low, KIB(640));
    uint64_t above_1m = c->ram_low > MIB(1) ? c->ram_low - MIB(1) : 0;
    uint64_t above_16m = c->ram_low > MIB(16) ? c->ram_low - MIB(16) : 0;
    uint64_t ext_kib = MIN(above_1m >> 10, (uint64_t)UINT16_MAX);

    put_bytes(&c->ram[REG_BASE_MEM], base >> 10, 2);
    put_bytes(&c->ram[REG_EXT_MEM], ext_kib, 2);
    put_bytes(&c->ram[REG_EXT_MEM2], ext_kib, 2);
    put_bytes(&c->ram[REG_MEM_16M], MIN(above_16m >> 16, (uint64_t)UINT16_MAX), 2);
    put_bytes(&c->ram[REG_MEM_4G], MIN(c->ram_high >> 16, (uint64_t)0xffffff), 3);
}

int cmos_new(struct bus *pio, uint64_t ram_low, uint64_t ram_high, struct cmos **out)
{
    struct cmos *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->pio = pio;
    c->ram_low = ram_low;
    c->ram_high = ram_high;
    pthread_mutex_init(&c->lock, NULL);
    cmos_set_clock(c, host_clock, NULL);
    cmos_reset(c);

    struct region r = {
        .name = "cmos", .base = GPA(PORT_CMOS), .len = 2, .ops = &cmos_ops, .ctx = c};
    int err = bus_map(pio, &r);
    if (err < 0) {
        c->pio = NULL;
        cmos_free(c);
        return err;
    }
    *out = c;
    return 0;
}

void cmos_free(struct cmos *c)
{
    if (!c)
        return;
    if (c->pio)
        bus_unmap(c->pio, GPA(PORT_CMOS));
    pthread_mutex_destroy(&c->lock);
    free(c);
}

void cmos_reset(struct cmos *c)
{
    pthread_mutex_lock(&c->lock);
    c->index = 0;
    c->ram[REG_A] = A_DEFAULT;
    c->ram[REG_B] = B_24H;
    put_memory_size(c);
    pthread_mutex_unlock(&c->lock);
}

void cmos_save(const struct cmos *c, struct state_out *o)
{
    struct cmos *locked = (struct cmos *)c;
    pthread_mutex_lock(&locked->lock);
    state_begin(o, "cmos", 1);
    state_u8(o, c->index);
    state_u64(o, (uint64_t)c->offset.s);
    state_u32(o, (uint32_t)c->offset.ns);
    state_bytes(o, c->ram, sizeof(c->ram));
    state_end(o);
    pthread_mutex_unlock(&locked->lock);
}

int cmos_load(struct cmos *c, struct state_in *i)
{
    uint8_t ram[CMOS_BYTES];
    uint32_t version;
    int r = state_open(i, "cmos", 1, &version);
    if (r < 0)
        return r;
    uint8_t index = state_get_u8(i);
    struct moment offset = {.s = (int64_t)state_get_u64(i)};
    offset.ns = state_get_u32(i);
    state_get_bytes(i, ram, sizeof(ram));
    r = state_close(i);
    if (r < 0)
        return r;
    if (index >= CMOS_BYTES || offset.ns >= NS_PER_S || offset.s > OFFSET_MAX_S ||
        offset.s < -OFFSET_MAX_S || ram[REG_A] & A_UIP || ram[REG_B] & B_IRQ_ENABLES)
        return -EBADMSG;

    pthread_mutex_lock(&c->lock);
    c->index = index;
    c->offset = offset;
    memcpy(c->ram, ram, sizeof(ram));
    pthread_mutex_unlock(&c->lock);
    return 0;
}
