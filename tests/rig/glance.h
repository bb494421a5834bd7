/* tests/rig/glance.h - memory that is another after the nth look at it. Pages that nobody may touch
 * let each instruction that does through by itself, and in between a guest changes its mind: what
 * a thread beside the device would hit once in a million times, each place of it in turn. */
#pragma once

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

static struct glance {
    uint8_t *from;
    size_t len;
    void (*change)(void);
    unsigned nth, n; /* the look after which it changes; those that there were */
} glance;

enum { GLANCE_TRAP_FLAG = 0x100 }; /* of EFLAGS: a trap after the next instruction */

static inline void glance_look(int sig, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    const uint8_t *at = info->si_addr;
    if (at < glance.from || at >= glance.from + glance.len) {
        (void)signal(sig, SIG_DFL); /* it is really lost */
        return;
    }
    (void)mprotect(glance.from, glance.len, PROT_READ | PROT_WRITE);
    c->uc_mcontext.gregs[REG_EFL] |= GLANCE_TRAP_FLAG;
}

static inline void glance_looked(int sig, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    (void)sig, (void)info;
    c->uc_mcontext.gregs[REG_EFL] &= ~GLANCE_TRAP_FLAG;
    if (++glance.n == glance.nth)
        glance.change();
    (void)mprotect(glance.from, glance.len, PROT_NONE);
}

/* From here on: whole pages. */
static inline void glance_begin(void *from, size_t len, unsigned nth, void (*change)(void))
{
    glance = (struct glance){.from = from, .len = len, .change = change, .nth = nth};
    const struct sigaction look = {.sa_sigaction = glance_look, .sa_flags = SA_SIGINFO};
    const struct sigaction looked = {.sa_sigaction = glance_looked, .sa_flags = SA_SIGINFO};
    cr_assert(sigaction(SIGSEGV, &look, NULL) == 0 && sigaction(SIGTRAP, &looked, NULL) == 0);
    cr_assert_eq(mprotect(from, len, PROT_NONE), 0);
}

/* Whether there were that many. */
static inline bool glance_end(void)
{
    cr_assert_eq(mprotect(glance.from, glance.len, PROT_READ | PROT_WRITE), 0);
    (void)signal(SIGSEGV, SIG_DFL);
    (void)signal(SIGTRAP, SIG_DFL);
    return glance.n >= glance.nth;
}
