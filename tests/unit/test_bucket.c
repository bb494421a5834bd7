/* tests/unit/test_bucket.c - tokens to the last one: over a second and over centuries, with limits
 * as small and as big as there are, and whatever the clock does. */
#include <criterion/criterion.h>

#include "base/bucket.h"

static const uint64_t MS = 1000000, S = 1000000000, START = 77777;

static struct bucket full(uint64_t size, uint64_t once, uint64_t refill_ms)
{
    struct bucket b = {0};
    bucket_set(&b, &(struct bucket_limit){size, once, refill_ms}, START);
    return b;
}

Test(bucket, no_limit)
{
    struct bucket b = {0};
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(bucket_wait_ns(&b, START), 0);
        bucket_take(&b, UINT64_MAX, START);
    }
}

Test(bucket, as_many_as_it_holds_and_then_one_by_one)
{
    struct bucket b = full(10, 0, 1000);
    for (unsigned i = 0; i < 10; i++) {
        cr_assert_eq(bucket_wait_ns(&b, START), 0, "%u", i);
        bucket_take(&b, 1, START);
    }
    cr_assert_eq(bucket_wait_ns(&b, START), S / 10);
    cr_assert_eq(bucket_wait_ns(&b, START + S / 10 - 1), 1, "not a nanosecond early");
    cr_assert_eq(bucket_wait_ns(&b, START + S / 10), 0, "nor late");
    bucket_take(&b, 1, START + S / 10);
    cr_assert_eq(bucket_wait_ns(&b, START + S / 10), S / 10);
}

Test(bucket, never_more_than_full)
{
    struct bucket b = full(3, 0, 1000);
    bucket_take(&b, 1, START);
    uint64_t later = START + 1000 * S;
    cr_assert_eq(bucket_wait_ns(&b, later), 0);
    bucket_take(&b, 3, later);
    cr_assert_neq(bucket_wait_ns(&b, later), 0);
    bucket_take(&b, 3, later + 1000 * S); /* who does not ask first gets no more either */
    cr_assert_neq(bucket_wait_ns(&b, later + 1000 * S), 0);
}

/* More than there is, and more than there ever is. */
Test(bucket, what_is_owed_is_paid_back)
{
    struct bucket b = full(100, 0, 1000);
    bucket_take(&b, 1000, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 9 * S + S / 100);
    cr_assert_eq(bucket_wait_ns(&b, START + 9 * S), S / 100);
    cr_assert_eq(bucket_wait_ns(&b, START + 9 * S + S / 100), 0);
}

Test(bucket, the_burst_that_comes_once)
{
    struct bucket b = full(4, 6, 1000);
    bucket_take(&b, 5, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 0);
    bucket_take(&b, 5, START); /* one of these, four of the others */
    cr_assert_eq(bucket_wait_ns(&b, START), S / 4);
    cr_assert_eq(bucket_wait_ns(&b, START + 100 * S), 0);
    bucket_take(&b, 4, START + 100 * S);
    cr_assert_neq(bucket_wait_ns(&b, START + 100 * S), 0, "it is gone for good");
}

/* A rate that no number of nanoseconds is a multiple of. Each request goes as soon as it may: in
 * ten million of them, and 39 days, not one nanosecond is lost. */
Test(bucket, nothing_drifts)
{
    struct bucket b = full(3, 0, 10);
    uint64_t now = START, n = 10 * 1000 * 1000;
    for (uint64_t i = 0; i < n; i++) {
        now += bucket_wait_ns(&b, now);
        bucket_take(&b, 1, now);
    }
    cr_assert_eq(now - START, ((n - 3) * 10 * MS + 2) / 3);
}

/* The same, whoever looks in between. */
Test(bucket, looking_costs_nothing)
{
    struct bucket b = full(7, 0, 1000);
    bucket_take(&b, 70, START);
    uint64_t opens = START + bucket_wait_ns(&b, START);
    for (uint64_t now = START; now < opens; now += 9973 * 11)
        cr_assert_eq(now + bucket_wait_ns(&b, now), opens);
    cr_assert_eq(bucket_wait_ns(&b, opens), 0);
}

Test(bucket, the_smallest_and_the_biggest)
{
    struct bucket b = full(1, 0, BUCKET_REFILL_MS_MAX);
    bucket_take(&b, 1, START);
    cr_assert_eq(bucket_wait_ns(&b, START), BUCKET_REFILL_MS_MAX * MS);
    bucket_take(&b, 1ull << 33, START);
    cr_assert_eq(bucket_wait_ns(&b, START), INT64_MAX, "for ever");
    cr_assert_eq(bucket_wait_ns(&b, UINT64_MAX), INT64_MAX);

    b = full(BUCKET_SIZE_MAX, 0, BUCKET_REFILL_MS_MAX);
    bucket_take(&b, BUCKET_SIZE_MAX, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 1);
    bucket_take(&b, UINT64_MAX, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 2 * BUCKET_REFILL_MS_MAX * MS + 1);
    cr_assert_eq(bucket_wait_ns(&b, UINT64_MAX), 0, "centuries later");
    bucket_take(&b, BUCKET_SIZE_MAX, UINT64_MAX);
    cr_assert_eq(bucket_wait_ns(&b, UINT64_MAX), 1, "it was full, and no more");

    b = full(BUCKET_SIZE_MAX, UINT64_MAX, 1);
    bucket_take(&b, UINT64_MAX, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 0);
    bucket_take(&b, BUCKET_SIZE_MAX, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 1);
}

Test(bucket, a_clock_that_goes_nowhere_or_back)
{
    struct bucket b = full(2, 0, 1000);
    bucket_take(&b, 2, START + S);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(bucket_wait_ns(&b, START + S), S / 2);
    cr_assert_eq(bucket_wait_ns(&b, 0), S / 2);
    cr_assert_eq(bucket_wait_ns(&b, START), S / 2);
    cr_assert_eq(bucket_wait_ns(&b, START + S), S / 2, "what has passed has not passed twice");
    cr_assert_eq(bucket_wait_ns(&b, START + S + S / 2), 0);
}

Test(bucket, another_limit_is_another_bucket)
{
    struct bucket b = full(2, 0, 1000);
    bucket_take(&b, 2, START);
    bucket_set(&b, &(struct bucket_limit){2, 0, 1000}, START);
    cr_assert_eq(bucket_wait_ns(&b, START), S / 2, "the same one");
    bucket_set(&b, &(struct bucket_limit){2, 0, 500}, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 0);
    bucket_take(&b, 2, START);
    bucket_set(&b, &(struct bucket_limit){0}, START);
    cr_assert_eq(bucket_wait_ns(&b, START), 0);
}
