/* tests/bench/count.c - counts what a piece of work does, instruction by instruction: the CPU traps
 * after each one. Exact, and there where the host lends no counters. */
#include <signal.h>
#include <ucontext.h>

#include "tests/bench/bench.h"

static struct bench_counts seen;

/* Between two instructions of the work. */
static void on_trap(int sig, siginfo_t *info, void *context)
{
    static const uint8_t syscall[] = {0x0f, 0x05};
    const ucontext_t *c = context;
    (void)sig, (void)info;
    seen.instructions++;
    seen.system_calls +=
        memcmp((const void *)c->uc_mcontext.gregs[REG_RIP], syscall, sizeof(syscall)) == 0;
}

/* The trap flag; below the stack pointer may be 128 bytes of the caller's. */
#define TRAP_ON "lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
#define TRAP_OFF                                                                                   \
    "lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp"

static struct bench_counts count(void (*fn)(void *work), void *work)
{
    seen = (struct bench_counts){0};
    __asm__ volatile(TRAP_ON ::: "memory", "cc");
    fn(work);
    __asm__ volatile(TRAP_OFF ::: "memory", "cc");
    return seen;
}

static void nothing(void *work)
{
    (void)work;
}

struct bench_counts bench_count(void (*fn)(void *work), void *work)
{
    struct sigaction old;
    const struct sigaction a = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    BENCH_MUST(sigaction(SIGTRAP, &a, &old) == 0);
    struct bench_counts none = count(nothing, work), c = count(fn, work);
    BENCH_MUST(sigaction(SIGTRAP, &old, NULL) == 0);
    c.instructions -= none.instructions;
    c.system_calls -= none.system_calls;
    return c;
}
