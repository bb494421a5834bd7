/* tests/rig/ways.h - a test on each way that leads to a device: transports and ring formats. What a
 * test's rigs do not say of themselves, its way says. */
#pragma once

#include "tests/rig/rig.h"

enum ways { /* a way has all of these, if it is to be gone */
            ALL_WAYS = 0,
            W_MODERN = 1,
            W_LEGACY = 2,
            W_SPLIT = 4,
            W_PACKED = 8,
            W_MMIO = 16,
            W_PCI = 32,
            W_PLAIN = 64, /* for devices that have no legacy interface, too */
};

/* Test(suite, name), with everything in its body done once by each of `ways`. */
#define TEST_EACH_WAY(ways, suite, name, ...)                                                      \
    static void suite##_##name##_(void);                                                           \
    Test(suite, name, ##__VA_ARGS__)                                                               \
    {                                                                                              \
        for_each_way((ways), suite##_##name##_);                                                   \
    }                                                                                              \
    static void suite##_##name##_(void)

void for_each_way(unsigned ways, void (*body)(void));
