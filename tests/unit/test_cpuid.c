/* tests/unit/test_cpuid.c - the topology that CPUID tells, for one CPU and for many. */
#include <criterion/criterion.h>

#include "arch/x86_64/cpu.h"

enum { LEAVES = 9 };

static struct kvm_cpuid2 *leaves(void)
{
    static const uint32_t which[LEAVES][2] = {{1, 0},          {4, 1},          {4, 3},
                                              {0xb, 0},        {0xb, 1},        {0xb, 2},
                                              {0x80000008, 0}, {0x8000001d, 3}, {0x8000001e, 0}};
    struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + LEAVES * sizeof(c->entries[0]));
    c->nent = LEAVES;
    for (unsigned i = 0; i < LEAVES; i++) {
        struct kvm_cpuid_entry2 *l = &c->entries[i];
        *l = (struct kvm_cpuid_entry2){.function = which[i][0], .index = which[i][1]};
        l->ebx = 0xabcd1234;
    }
    c->entries[1].eax = 1 | 1 << 5 | 0xfc000000; /* L1 data; a host with many cores */
    c->entries[2].eax = 3 | 3 << 5 | 0xffffc000; /* L3 unified, shared by all of them */
    c->entries[6].eax = 48;
    c->entries[6].ecx = 0xf0ff;
    c->entries[7].eax = 3 | 3 << 5;
    return c;
}

Test(cpuid, one_cpu)
{
    struct kvm_cpuid2 *c = leaves();
    cpuid_topology(c, 0, 1);
    const struct kvm_cpuid_entry2 *l = c->entries;
    cr_assert_eq(l[0].ebx, 0x00011234, "id 0, one logical CPU, the rest untouched");
    cr_assert_eq(l[0].edx >> 28 & 1, 0, "no HTT");
    cr_assert_eq(l[2].eax >> 26, 0, "one core");
    cr_assert_eq(l[2].eax >> 14 & 0xfff, 0, "its cache is its own");
    cr_assert_eq(l[3].ebx, 1, "one thread");
    cr_assert_eq(l[4].ebx, 1, "one core");
    cr_assert_eq(l[6].ecx & 0xff, 0);
    free(c);
}

Test(cpuid, the_third_of_six)
{
    struct kvm_cpuid2 *c = leaves();
    cpuid_topology(c, 2, 6);
    const struct kvm_cpuid_entry2 *l = c->entries;
    cr_assert_eq(l[0].ebx >> 24, 2);
    cr_assert_eq(l[0].ebx >> 16 & 0xff, 8, "ids take three bits");
    cr_assert_eq(l[0].edx >> 28 & 1, 1);
    cr_assert_eq(l[1].eax >> 14 & 0xfff, 0, "L1 belongs to a core");
    cr_assert_eq(l[2].eax >> 14 & 0xfff, 7, "L3 to all");
    cr_assert_eq(l[2].eax >> 26, 7);
    for (unsigned i = 3; i <= 5; i++)
        cr_assert_eq(l[i].edx, 2, "the x2APIC id");
    cr_assert_eq(l[3].ecx, 1 << 8, "level 0: threads");
    cr_assert_eq(l[3].eax, 0);
    cr_assert_eq(l[4].ecx, 1 | 2 << 8, "level 1: cores");
    cr_assert_eq(l[4].eax, 3);
    cr_assert_eq(l[4].ebx, 6);
    cr_assert_eq(l[5].ecx, 2, "no level 2");
    cr_assert_eq(l[5].ebx, 0);
    cr_assert_eq(l[6].ecx & 0xff, 5);
    cr_assert_eq(l[6].ecx >> 12 & 0xf, 3);
    cr_assert_eq(l[8].eax, 2);
    cr_assert_eq(l[8].ebx, 2, "a core of its own");
    free(c);
}

Test(cpuid, ids_past_eight_bits)
{
    struct kvm_cpuid2 *c = leaves();
    cpuid_topology(c, 300, 512);
    const struct kvm_cpuid_entry2 *l = c->entries;
    cr_assert_eq(l[0].ebx >> 24, 255);
    cr_assert_eq(l[0].ebx >> 16 & 0xff, 255);
    cr_assert_eq(l[3].edx, 300);
    cr_assert_eq(l[4].eax, 9);
    free(c);
}
