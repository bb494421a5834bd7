/* tests/rig/ways.c - see ways.h. */
#include "tests/rig/ways.h"

static const struct {
    struct rig_way way;
    unsigned is;
} ways_there_are[] = {
    {{RIG_MMIO, false}, W_PLAIN | W_MODERN | W_SPLIT | W_MMIO},
    {{RIG_MMIO, true}, W_PLAIN | W_MODERN | W_PACKED | W_MMIO},
    {{RIG_MMIO_LEGACY, false}, W_LEGACY | W_SPLIT | W_MMIO},
    {{RIG_PCI, false}, W_PLAIN | W_MODERN | W_SPLIT | W_PCI},
    {{RIG_PCI, true}, W_PLAIN | W_MODERN | W_PACKED | W_PCI},
    {{RIG_PCI_TRANSITIONAL, false}, W_MODERN | W_SPLIT | W_PCI},
    {{RIG_PCI_TRANSITIONAL, true}, W_MODERN | W_PACKED | W_PCI},
    {{RIG_PCI_TRANSITIONAL_LEGACY, false}, W_LEGACY | W_SPLIT | W_PCI},
    {{RIG_PCI_LEGACY, false}, W_LEGACY | W_SPLIT | W_PCI},
};

void for_each_way(unsigned ways, void (*body)(void))
{
    for (size_t i = 0; i < ARRAY_SIZE(ways_there_are); i++) {
        if ((ways_there_are[i].is & ways) != ways)
            continue;
        rig_way = ways_there_are[i].way;
        body();
    }
    rig_way = (struct rig_way){0};
}
