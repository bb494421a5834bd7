/* devices/hostmap.h - host memory that a guest will see: mapped at a multiple of 2 MiB, because KVM
 * uses huge pages only where host and guest address agree in their low bits. */
#pragma once

#include "base/base.h"

enum { HOSTMAP_ALIGN = 2 << 20 };

/* mmap() of [0, len) of fd with MAP_SHARED and nothing reserved; len is in whole pages. */
int CHECKED hostmap_new(int fd, uint64_t len, int prot, uint8_t **out);
/* Room for as much, in which nothing is mapped yet. */
int CHECKED hostmap_reserve(uint64_t len, uint8_t **out);
void hostmap_free(uint8_t *p, uint64_t len); /* NULL is fine */
