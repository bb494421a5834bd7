/* devices/hostmap.c - see hostmap.h. */
#include "devices/hostmap.h"

#include <sys/mman.h>

int hostmap_reserve(uint64_t len, uint8_t **out)
{
    uint64_t room = len + HOSTMAP_ALIGN;
    if (room < len)
        return -ENOMEM;
    uint8_t *all = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return -errno;
    uint8_t *at = (uint8_t *)align_up((uint64_t)all, HOSTMAP_ALIGN);
    if (at > all)
        (void)munmap(all, (size_t)(at - all));
    (void)munmap(at + len, room - len - (size_t)(at - all));
    *out = at;
    return 0;
}

int hostmap_new(int fd, uint64_t len, int prot, uint8_t **out)
{
    uint8_t *at = NULL;
    int rc = hostmap_reserve(len, &at);
    if (rc < 0)
        return rc;
    if (mmap(at, len, prot, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED) {
        rc = -errno;
        hostmap_free(at, len);
        return rc;
    }
    *out = at;
    return 0;
}

void hostmap_free(uint8_t *p, uint64_t len)
{
    if (p)
        (void)munmap(p, len);
}
