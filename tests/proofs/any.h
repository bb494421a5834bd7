/* tests/proofs/any.h - values of which nothing is known but a range. */
#pragma once

#include <__fc_builtin.h>
#include <stdint.h>

/* All of them at once, */
static unsigned any(unsigned least, unsigned most)
{
    return Frama_C_unsigned_int_interval(least, most);
}
static uint64_t any64_upto(uint64_t most)
{
    return Frama_C_unsigned_long_interval(0, most);
}
static uint64_t any64(void)
{
    return any64_upto(UINT64_MAX);
}
/* or each by itself. */
static unsigned one_of(unsigned least, unsigned most)
{
    return (unsigned)Frama_C_interval_split((int)least, (int)most);
}

/* It has been proven when what is behind it cannot be reached. */
static void check(int holds)
{
    if (!holds)
        *(volatile char *)0 = 0;
}
