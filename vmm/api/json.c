/* vmm/api/json.c - see json.h. libjansson's parser does not bear that memory is refused to it: it
 * leaves out the character that there was no room for, which makes a path another path, or misses a
 * string's end. So it has a reserve for the rest of its way, and the result is not used. */
#include "vmm/api/json.h"

/* Bytes for each of the text: "{}," is what needs most, some 80. */
enum { RESERVE = 128, RESERVE_LEAST = 4096, ALIGN = 16 };

static struct {
    uint8_t *at; /* NULL: nothing is being read */
    size_t size, taken;
} reserve;

static void *get(size_t size)
{
    void *p = malloc(size);
    if (p || !reserve.at || size > reserve.size - reserve.taken)
        return p;
    p = reserve.at + reserve.taken;
    reserve.taken = MIN(reserve.size, align_up(reserve.taken + size, ALIGN));
    return p;
}

static void put(void *p)
{
    if ((uintptr_t)p - (uintptr_t)reserve.at >= reserve.size)
        free(p);
}

int api_json_load(const char *text, size_t len, json_t **out, json_error_t *why)
{
    reserve.size = len * RESERVE + RESERVE_LEAST;
    reserve.taken = 0;
    reserve.at = malloc(reserve.size);
    if (!reserve.at)
        return -ENOMEM;
    json_set_alloc_funcs(get, put);
    json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, why);
    int rc = reserve.taken ? -ENOMEM : json ? 0 : -EINVAL;
    if (rc < 0)
        json_decref(json);
    free(TAKE_PTR(reserve.at));
    if (rc == 0)
        *out = json;
    return rc;
}
