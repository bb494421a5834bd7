/* tests/fuzz/requests.h - requests that a class may well take: the header as its drivers make it,
 * and what the script says in it. Chance alone finds few of them; a class without a row here is
 * fuzzed by the guest's other requests. */
#pragma once

#include "tests/fuzz/fuzz.h"

enum { REQUEST_OUT_MAX = 4096, REQUEST_POOL = 4 };
struct request {
    unsigned queue;
    uint8_t out[REQUEST_OUT_MAX];
    uint32_t n_out, n_in;
};
/* `pool`: numbers that the device gave to earlier requests. False: the class has no row. */
bool request_make(const char *class, struct script *s, const uint64_t pool[REQUEST_POOL],
                  struct request *out);
