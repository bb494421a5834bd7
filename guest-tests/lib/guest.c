/* guest-tests/lib/guest.c - a test's beginning and end, its checks, its arguments and its clock.
 * Kept to what every test needs, so that little has to work before one can report. */
#include "guest.h"

#include "irq.h"

enum { ZERO_PAGE_CMDLINE = 0x228, ARENA_PAGES = 256, PAGE = 4096 };

void start_c(const uint8_t *zero_page);

static const char *cmdline = "";
static unsigned n_checks, n_failed, n_skipped;
static uint8_t arena[ARENA_PAGES][PAGE] __attribute__((aligned(PAGE)));
static size_t arena_used;

void start_c(const uint8_t *zero_page)
{
    uint32_t at;
    memcpy(&at, zero_page + ZERO_PAGE_CMDLINE, sizeof(at));
    cmdline = (const char *)(uintptr_t)at;
    irq_init();
    guest_main();
    end();
}

/* --- the end --- */

static _Noreturn void power_off(void)
{
    port_write8(PORT_SLEEP_CONTROL, SLEEP_S5);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void end(void)
{
    if (n_failed)
        end_fail("%u of %u checks", n_failed, n_checks);
    out("guest-test %s PASS %u checks, %u skipped\n", TEST_NAME, n_checks, n_skipped);
    power_off();
}

void end_fail(const char *fmt, ...)
{
    va_list ap;
    interrupts_off();
    out("guest-test %s FAIL ", TEST_NAME);
    va_start(ap, fmt);
    out_v(fmt, ap);
    va_end(ap);
    out("\n");
    power_off();
}

void skip(const char *what, const char *why)
{
    n_skipped++;
    out("skipped: %s: %s\n", what, why);
}

/* --- checks --- */

void check_counted(void)
{
    n_checks++;
}

void check_failed(const char *file, int line, const char *expr)
{
    n_checks++;
    n_failed++;
    out("failed: %s:%d: %s\n", file, line, expr);
}

void check_eq(const char *file, int line, const char *expr, uint64_t got, uint64_t want)
{
    n_checks++;
    if (got == want)
        return;
    n_failed++;
    out("failed: %s:%d: %s is %#lx, not %#lx\n", file, line, expr, got, want);
}

/* --- arguments --- */

const char *arg(const char *name, unsigned nth)
{
    size_t len = strlen(name);
    for (const char *s = cmdline; *s;) {
        if (memcmp(s, name, len) == 0 && s[len] == '=' && nth-- == 0)
            return s + len + 1;
        while (*s && *s != ' ')
            s++;
        while (*s == ' ')
            s++;
    }
    return NULL;
}

bool arg_is(const char *name, const char *word)
{
    const char *s = arg(name, 0);
    size_t len = strlen(word);
    return s && memcmp(s, word, len) == 0 && (s[len] == ' ' || s[len] == '\0');
}

static unsigned digit(char c)
{
    unsigned lower = (unsigned)c | 0x20;
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : 16;
}

uint64_t number(const char **s)
{
    uint64_t v = 0, base = 10;
    if ((*s)[0] == '0' && (*s)[1] == 'x') {
        base = 16;
        *s += 2;
    }
    for (; digit(**s) < base; (*s)++)
        v = v * base + digit(**s);
    static const char units[] = {'K', 'M', 'G'};
    for (unsigned i = 0; i < ARRAY_SIZE(units); i++) {
        if (**s == units[i]) {
            v <<= 10 * (i + 1);
            (*s)++;
            break;
        }
    }
    return v;
}

uint64_t arg_number(const char *name, uint64_t otherwise)
{
    const char *s = arg(name, 0);
    return s ? number(&s) : otherwise;
}

/* --- time --- */

uint8_t cmos_read(uint8_t reg)
{
    port_write8(PORT_CMOS_INDEX, reg);
    return port_read8(PORT_CMOS_DATA);
}

void cmos_write(uint8_t reg, uint8_t v)
{
    port_write8(PORT_CMOS_INDEX, reg);
    port_write8(PORT_CMOS_DATA, v);
}

/* The clock is looked at once in a while only, since each look leaves the guest. */
uint32_t stopwatch_seconds(struct stopwatch *s)
{
    if (s->calls++ % 256 == 0) {
        uint8_t now = cmos_read(0);
        if (s->calls > 1 && now != s->second)
            s->seconds++;
        s->second = now;
    }
    return s->seconds;
}

/* --- memory --- */

void *pages(size_t n)
{
    if (n > ARENA_PAGES - arena_used)
        end_fail("the arena has no %u pages left", (unsigned)n);
    void *p = arena[arena_used];
    arena_used += n;
    return p;
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *d = to;
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
    return to;
}

/* By eight bytes where that comes out even: where KVM emulates, an iteration has its price. */
void *memset(void *to, int byte, size_t n)
{
    void *d = to;
    if (((uint64_t)to | n) % 8 == 0) {
        uint64_t pattern = (uint8_t)byte * 0x0101010101010101ull;
        n /= 8;
        __asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(pattern) : "memory");
        return to;
    }
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(byte) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;
    for (size_t i = 0; i < n; i++) {
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}
