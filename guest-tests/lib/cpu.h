/* guest-tests/lib/cpu.h - single instructions: ports, memory-mapped registers, special registers.
 * Each accessor is one instruction of the width it names, which C alone does not promise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CPU_PORT(bits, suffix, reg)                                                                \
    static inline uint##bits##_t port_read##bits(uint16_t port)                                    \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        __asm__ volatile("in" suffix " %w1, %" reg "0" : "=a"(v) : "Nd"(port) : "memory");         \
        return v;                                                                                  \
    }                                                                                              \
    static inline void port_write##bits(uint16_t port, uint##bits##_t v)                           \
    {                                                                                              \
        __asm__ volatile("out" suffix " %" reg "0, %w1" : : "a"(v), "Nd"(port) : "memory");        \
    }                                                                                              \
    /* n of them, from or to memory, by one instruction. */                                        \
    static inline void port_read##bits##s(uint16_t port, uint##bits##_t *to, size_t n)             \
    {                                                                                              \
        __asm__ volatile("rep ins" suffix : "+D"(to), "+c"(n) : "d"(port) : "memory");             \
    }                                                                                              \
    static inline void port_write##bits##s(uint16_t port, const uint##bits##_t *from, size_t n)    \
    {                                                                                              \
        __asm__ volatile("rep outs" suffix : "+S"(from), "+c"(n) : "d"(port) : "memory");          \
    }
CPU_PORT(8, "b", "b")
CPU_PORT(16, "w", "w")
CPU_PORT(32, "l", "k")
#undef CPU_PORT

#define CPU_MMIO(bits, reg)                                                                        \
    static inline uint##bits##_t mmio_read##bits(uint64_t at)                                      \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        __asm__ volatile("mov %1, %" reg "0"                                                       \
                         : "=r"(v)                                                                 \
                         : "m"(*(volatile uint##bits##_t *)at)                                     \
                         : "memory");                                                              \
        return v;                                                                                  \
    }                                                                                              \
    static inline void mmio_write##bits(uint64_t at, uint##bits##_t v)                             \
    {                                                                                              \
        __asm__ volatile("mov %" reg "1, %0"                                                       \
                         : "=m"(*(volatile uint##bits##_t *)at)                                    \
                         : "r"(v)                                                                  \
                         : "memory");                                                              \
    }
CPU_MMIO(8, "b")
CPU_MMIO(16, "w")
CPU_MMIO(32, "k")
CPU_MMIO(64, "q")
#undef CPU_MMIO

static inline uint64_t msr_read(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (uint64_t)hi << 32 | lo;
}

static inline void msr_write(uint32_t msr, uint64_t v)
{
    __asm__ volatile("wrmsr" : : "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "c"(msr) : "memory");
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
    struct cpuid r;
    __asm__ volatile("cpuid"
                     : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
                     : "a"(leaf), "c"(sub));
    return r;
}

static inline uint64_t cr3_read(void)
{
    uint64_t v;
    __asm__ volatile("mov %%cr3, %0" : "=r"(v));
    return v;
}

static inline void cpu_pause(void)
{
    __asm__ volatile("pause" : : : "memory");
}

static inline void interrupts_on(void)
{
    __asm__ volatile("sti" : : : "memory");
}

static inline void interrupts_off(void)
{
    __asm__ volatile("cli" : : : "memory");
}

/* Sleeps until an interrupt; none is lost between the two instructions. Interrupts are off before
 * and after. */
static inline void interrupt_wait(void)
{
    __asm__ volatile("sti; hlt; cli" : : : "memory");
}
