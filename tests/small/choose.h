/* tests/small/choose.h - all combinations of choices, by running again: a run asks choose()
 * whenever it needs to know something, and is repeated until every answer has been given
 * everywhere. What a run does not ask for does not multiply. */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

struct choices {
    uint8_t is[64], of[64]; /* zeroed: before the first run */
    unsigned n, asked;
};

/* 0 to of - 1. */
static inline unsigned choose(struct choices *c, unsigned of)
{
    if (c->asked == c->n) {
        assert(c->n < sizeof(c->is) && of <= UINT8_MAX);
        c->is[c->n] = 0;
        c->of[c->n++] = (uint8_t)of;
    }
    assert(c->of[c->asked] == of); /* a run depends on nothing but its choices */
    return c->is[c->asked++];
}

/* Before the next run; false: that was the last one. */
static inline bool choose_next(struct choices *c)
{
    c->n = c->asked;
    c->asked = 0;
    while (c->n > 0 && c->is[c->n - 1] + 1 == c->of[c->n - 1])
        c->n--;
    if (c->n > 0)
        c->is[c->n - 1]++;
    return c->n > 0;
}
